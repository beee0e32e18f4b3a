//! A commented suite for Flows whose endpoints are known: those of a running Flow from what it reports, others
//! from their files.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::endpoints::{Asked, Path};
use crate::source::to_yaml;
use crate::wire::{Map, Schema, Schemas};

/// A suite for the Flow at an address: a scenario for each endpoint that it reports, with Documents that fit
/// the endpoint's schema.
pub fn starter_of(address: &str, schemas: &Schemas) -> String {
    let address = shown(address);
    let mut text = format!(
        "# A suite for flowbench, made for the Flow at {address}. Check it with\n\
         # `flowbench check FILE --flow`, see what it will do with `flowbench plan FILE`, run it with\n\
         # `flowbench run FILE`.\n\
         seed: 42\n\n\
         flows:\n\
         \x20 flow: {{host: {}}}\n\n\
         # What requests carry. `${{{{ … }}}}` is evaluated for each Document, `i` is its index.\n\
         documents:\n",
        quoted(&address),
    );
    let told = schemas.iter().filter(|(name, _)| !name.contains("_jina_"));
    let told = told.map(|(name, schema)| Asked {
        on: if bare(name) == "default" { "/".into() } else { format!("/{}", bare(name)) },
        input: Some(schema.input.clone()),
        output: Some(schema.output.clone()),
        streams: schema.streams,
    });
    let told: Vec<Asked> = told.collect();
    if told.is_empty() {
        text.push_str(
            "  # The Flow reported no schemas: describe here what its endpoints accept.\n\
             \x20 texts: {count: 100, text: {words: 5..30}}\n\n\
             scenarios:\n\
             \x20 - name: send\n\
             \x20   on: /\n\
             \x20   documents: texts\n\
             \x20   request_size: 1\n\
             \x20   # load: {rate: 20/s, duration: 10s}\n\
             \x20   assert:\n\
             \x20     - response.status == \"SUCCESS\"\n",
        );
        return text;
    }
    let scenarios = named(&[Part { flow: None, asked: &told, paths: None }]);
    documents(&mut text, &scenarios);
    text.push_str("\nscenarios:\n");
    scenarios.iter().for_each(|scenario| scenario.write(&mut text));
    text
}

/// A Flow of a suite, with what is known of its endpoints.
pub(super) struct Part<'a> {
    /// Its name, if scenarios have to name it.
    pub(super) flow: Option<&'a str>,
    pub(super) asked: &'a [Asked],
    /// The paths of a custom gateway, which are called instead of the endpoints.
    pub(super) paths: Option<&'a [Path]>,
}

/// A scenario of a generated suite.
pub(super) struct Scenario<'a> {
    name: String,
    flow: Option<&'a str>,
    needs: Vec<String>,
    what: What<'a>,
}

enum What<'a> {
    Endpoint(&'a Asked),
    /// One path, with the others there are.
    Path(&'a Path, Vec<&'a Path>),
    /// A custom gateway whose paths are in no file.
    Unknown,
}

/// Scenarios for all Flows; each waits for those of earlier Flows, and for the one that indexes.
pub(super) fn named<'a>(parts: &[Part<'a>]) -> Vec<Scenario<'a>> {
    let mut all: Vec<Scenario<'_>> = Vec::new();
    for part in parts {
        let before: Vec<String> = all.iter().map(|scenario| scenario.name.clone()).collect();
        let first = all.len();
        let whats = match part.paths {
            Some([]) => vec![("all".to_owned(), What::Unknown)],
            Some(paths) => {
                // Without a variable in the path, the path can be called as it is.
                let plain = |path: &&Path| !path.path.contains('{');
                let best = paths.iter().find(|path| plain(path) && path.body.is_some());
                let best = best.or_else(|| paths.iter().find(plain)).unwrap_or(&paths[0]);
                let others = paths.iter().filter(|path| *path != best).collect();
                let name = best.path.trim_matches('/').rsplit('/').next().unwrap_or_default();
                vec![(shown(name), What::Path(best, others))]
            }
            None => {
                // The endpoint that indexes comes first.
                let mut asked: Vec<&Asked> = part.asked.iter().collect();
                asked.sort_by_key(|asked| asked.on != INDEX);
                asked.into_iter().map(|asked| (name(&asked.on), What::Endpoint(asked))).collect()
            }
        };
        for (name, what) in whats {
            let name = if name.is_empty() { "all".to_owned() } else { name };
            let is_taken = |name: &str| all.iter().any(|scenario| scenario.name == name);
            let name = match (is_taken(&name), part.flow) {
                (true, Some(flow)) => format!("{flow} {name}"),
                _ => name,
            };
            let needs = match all.get(first) {
                Some(Scenario { what: What::Endpoint(Asked { on, .. }), name, .. })
                    if on == INDEX =>
                {
                    vec![name.clone()]
                }
                _ => before.clone(),
            };
            all.push(Scenario { name, flow: part.flow, needs, what });
        }
    }
    all
}

/// The endpoint that has to be called before the others.
const INDEX: &str = "/index";

/// Writes a generator for each scenario that sends Documents.
pub(super) fn documents(text: &mut String, scenarios: &[Scenario<'_>]) {
    for scenario in scenarios {
        let What::Endpoint(asked) = &scenario.what else { continue };
        if let Some(input) = &asked.input {
            let takes = match input.is_default() {
                true => "Documents as those of v1".to_owned(),
                false => format!("`{}`", shown(input.name())),
            };
            let _ = writeln!(text, "  # `{}` takes {takes}.", shown(&asked.on));
        }
        for (field, demand) in asked.input.iter().flat_map(Schema::demands) {
            let _ = writeln!(
                text,
                "  # `{}` must {}: give it such a value.",
                shown(&field),
                shown(&demand)
            );
        }
        let yaml = to_yaml(&json!({&scenario.name: generator(asked.input.as_ref())}));
        for line in yaml.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
}

impl Scenario<'_> {
    pub(super) fn write(&self, text: &mut String) {
        let name = quoted(&self.name);
        let _ = writeln!(text, "  - name: {name}");
        if let Some(flow) = self.flow {
            let _ = writeln!(text, "    flow: {}", quoted(flow));
        }
        if !self.needs.is_empty() {
            let needs: Vec<String> = self.needs.iter().map(|name| quoted(name)).collect();
            let _ = writeln!(text, "    needs: [{}]", needs.join(", "));
        }
        match &self.what {
            What::Endpoint(asked) => {
                let on = quoted(&shown(&asked.on));
                let _ = writeln!(text, "    on: {on}\n    documents: {name}\n    request_size: 1");
                if asked.streams {
                    text.push_str("    stream: true\n");
                }
                text.push_str(
                    "    # load: {rate: 20/s, duration: 10s}\n\
                     \x20   assert:\n\
                     \x20     - response.status == \"SUCCESS\"\n",
                );
                if let Some(output) = asked.output.as_ref().filter(|output| !output.is_default()) {
                    let fields: Vec<&str> = output.fields().collect();
                    let fields = shown(&fields.join(", "));
                    let _ = writeln!(text, "      # The Documents of its responses have {fields}.");
                }
            }
            What::Path(path, others) => {
                let route = |path: &&Path| format!("`{} {}`", path.method, shown(&path.path));
                let others: Vec<String> = others.iter().map(route).collect();
                if !others.is_empty() {
                    let are = if others.len() == 1 { "is" } else { "are" };
                    let _ = writeln!(text, "    # There {are} also {}.", others.join(", "));
                }
                let mut request = Map::new();
                request.insert("method".into(), path.method.as_str().into());
                request.insert("path".into(), shown(&path.path).into());
                if let Some(body) = &path.body {
                    request.insert("json".into(), plain(&body.example()));
                }
                write_request(text, request.into());
            }
            What::Unknown => {
                text.push_str("    # A guess: the path, because no file here defines one.\n");
                write_request(text, json!({"path": "/"}));
            }
        }
    }
}

/// Writes a plain request with a load: it has no Documents whose number could end it.
fn write_request(text: &mut String, request: Value) {
    for line in to_yaml(&json!({"request": request})).lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push_str(
        "    load: {clients: 2, requests: 100}\n\
         \x20   assert:\n\
         \x20     - response.status_code == 200\n",
    );
}

/// Converts an example of `fields:` to the JSON of a plain request, with expressions in place of generators.
fn plain(example: &Value) -> Value {
    let Value::Object(map) = example else {
        return match example {
            Value::Array(items) => items.iter().map(plain).collect(),
            value => value.clone(),
        };
    };
    let keys: Vec<&str> = map.keys().map(String::as_str).collect();
    match keys.as_slice() {
        ["words"] => json!(format!("${{{{ words({}) }}}}", map["words"])),
        ["bytes"] => json!("aGVsbG8="),
        ["shape"] => json!([0.5]),
        ["fields"] => plain(&map["fields"]),
        ["count", "fields"] => json!([plain(&map["fields"])]),
        _ => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<Map>().into(),
    }
}

/// A generator of Documents that fit the schema.
fn generator(schema: Option<&Schema>) -> Value {
    match schema.filter(|schema| !schema.is_default()) {
        None => json!({"count": 100, "text": {"words": "5..30"}}),
        Some(schema) => json!({"count": 100, "fields": schema.example()}),
    }
}

/// An endpoint without the slashes around it.
fn bare(endpoint: &str) -> &str {
    endpoint.trim_matches('/')
}

fn name(endpoint: &str) -> String {
    match bare(endpoint) {
        "" => "default".into(),
        name => shown(name),
    }
}

/// As a YAML scalar, quoted if necessary.
pub(super) fn quoted(text: &str) -> String {
    to_yaml(&text.into()).trim_end().to_owned()
}

/// On one line, whatever the Flow reports.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
