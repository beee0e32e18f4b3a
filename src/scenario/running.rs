//! A commented suite for a Flow that is running, made of what it tells of its endpoints.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::source::to_yaml;
use crate::wire::{Schema, Schemas};

/// A suite for the Flow at an address: a scenario for each endpoint that it told of, with Documents that fit
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
    let told: Vec<_> = schemas.iter().filter(|(name, _)| !name.contains("_jina_")).collect();
    if told.is_empty() {
        text.push_str(
            "  # The Flow told no schemas: give here what its endpoints take.\n\
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
    for (endpoint, schema) in &told {
        let takes = match schema.input.is_default() {
            true => "Documents as those of v1".to_owned(),
            false => format!("`{}`", shown(schema.input.name())),
        };
        let _ = writeln!(text, "  # `{}` takes {takes}.", shown(endpoint));
        let yaml = to_yaml(&json!({name(endpoint): generator(&schema.input)}));
        for line in yaml.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.push_str("\nscenarios:\n");
    for (endpoint, schema) in &told {
        let name = name(endpoint);
        let on = if name == "default" { "/".to_owned() } else { format!("/{name}") };
        let (name, on) = (quoted(&name), quoted(&on));
        let _ = writeln!(
            text,
            "  - name: {name}\n    on: {on}\n    documents: {name}\n    request_size: 1"
        );
        if schema.streams {
            text.push_str("    stream: true\n");
        }
        text.push_str(
            "    # load: {rate: 20/s, duration: 10s}\n\
             \x20   assert:\n\
             \x20     - response.status == \"SUCCESS\"\n",
        );
        if !schema.output.is_default() {
            let fields: Vec<&str> = schema.output.fields().collect();
            let fields = shown(&fields.join(", "));
            let _ = writeln!(text, "      # The Documents of its responses have {fields}.");
        }
    }
    text
}

/// The generator of Documents that fit.
fn generator(schema: &Schema) -> Value {
    match schema.is_default() {
        true => json!({"count": 100, "text": {"words": "5..30"}}),
        false => json!({"count": 100, "fields": schema.example()}),
    }
}

fn name(endpoint: &str) -> String {
    match endpoint.trim_matches('/') {
        "" => "default".into(),
        name => shown(name),
    }
}

/// As YAML has it, in quotes where it asks for them.
fn quoted(text: &str) -> String {
    to_yaml(&text.into()).trim_end().to_owned()
}

/// On one line, whatever the Flow says.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
