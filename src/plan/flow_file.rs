//! A Flow's YAML with some of its values replaced; the rest stays as written.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::FlowFile;
use crate::scenario::{self, FlowFacts, Hosts, Metrics, Named};
use crate::source::{Node, Problem, Problems, Sources, Spot, Value};
use crate::text;
use crate::wire::{Map, Protocol};

/// Reads the file that a flow `uses` and sets the values in `set`. A flow without an address gets the addresses
/// in the file. `None` if there are problems.
pub(super) fn read(
    given: &mut scenario::Flow,
    at: Spot<'_>,
    named: &Named,
    problems: &mut Vec<Problem>,
) -> Option<FlowFile> {
    let path = named.base.join(given.uses.as_ref()?);
    let shown = path.display().to_string();
    let of_file = at.key("uses");
    let text = match text::read(&path, text::CONFIG_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("could not read `{shown}`: {error}");
            of_file.problem(problems, message, |problem| problem);
            return None;
        }
    };
    let set: Map = given.set.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let before = problems.len();
    let changed = changed(&shown, text, &set, at, problems);
    let text = changed.filter(|_| problems.len() == before)?;
    // The command inherits our environment, too.
    let env = |name: &str| {
        let own = given.env.as_ref().and_then(|env| env.get(name)).map(|value| value.0.as_str());
        own.or_else(|| named.context.env(name)).map(str::to_owned)
    };
    let facts = match FlowFacts::read(&shown, text.clone(), &env) {
        Ok(facts) => facts,
        Err(found) => {
            of_file.problem(problems, first(&shown, &found), |problem| problem);
            return None;
        }
    };
    let addressed = given.host.is_some() || given.hosts.is_some() || given.port.is_some();
    if !addressed && facts.is_addressed {
        let address = |wanted: Protocol| {
            let found = facts.gateways.iter().find(|(protocol, _)| *protocol == wanted);
            found.map(|(protocol, port)| {
                let host = facts.host.as_deref().unwrap_or("127.0.0.1");
                format!("{}://{host}:{port}", protocol.scheme(facts.tls))
            })
        };
        given.hosts = Some(Hosts {
            grpc: address(Protocol::Grpc),
            http: address(Protocol::Http),
            websocket: address(Protocol::WebSocket),
        });
    }
    if given.metrics.is_none() && !facts.metrics.is_empty() {
        given.metrics = Some(Metrics::From(facts.addresses_of_metrics("127.0.0.1")));
    }
    let path = std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from(&shown));
    let text = (!set.is_empty()).then_some(text);
    let FlowFacts { is_deployment, executors, .. } = facts;
    Some(FlowFile { path, set, text, is_deployment, executors })
}

/// The text of a Flow's YAML with the values set; `None` if it is not YAML.
fn changed(
    name: &str,
    text: String,
    set: &Map,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let parsed = |text: &str| -> Result<Node, Option<Problems>> {
        let (mut sources, mut found) = (Sources::new(), Vec::new());
        let node = sources.parse(name, scenario::untagged(text), None, &mut found);
        match node.filter(|_| found.is_empty()) {
            Some(node) => Ok(node),
            None => Err(Problems::new(&sources, found)),
        }
    };
    let node = match parsed(&text) {
        Ok(node) => node,
        Err(found) => {
            let message =
                found.map_or_else(|| format!("`{name}` is empty"), |found| first(name, &found));
            at.key("uses").problem(problems, message, |problem| problem);
            return None;
        }
    };
    let mut changes = Vec::new();
    let mut expected = node.to_json();
    for (path, value) in set {
        let spot = at.key("set");
        let (found, pointer) = match find(&node, path) {
            Ok(found) => found,
            Err(Lacking { up_to, key, known }) => {
                let within =
                    if up_to.is_empty() { String::new() } else { format!(" in `{up_to}`") };
                let message = format!("`{name}` has no `{key}`{within}");
                spot.name(path).problem(problems, message, |problem| {
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    match known.as_slice() {
                        [] => problem,
                        known => problem.suggest(&key, known.iter().copied()),
                    }
                });
                continue;
            }
        };
        if matches!(found.value, Value::Map(_) | Value::List(_)) {
            let message =
                format!("`{path}` is {} in `{name}`; only single values can be set", found.found());
            spot.name(path).problem(problems, message, |problem| problem);
            continue;
        }
        if value.is_object() || value.is_array() {
            let message = format!("expected a text, a number or a truth value for `{path}`");
            spot.key(path).problem(problems, message, |problem| problem);
            continue;
        }
        if let Some(target) = expected.pointer_mut(&pointer) {
            *target = value.clone();
        }
        changes.push((found.place().range(), value.to_string()));
    }
    let mut changed = text;
    changes.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    for (range, value) in changes {
        if changed.get(range.clone()).is_some() {
            changed.replace_range(range, &value);
        }
    }
    // The position of an alias or of a multi-line string is not that of its value.
    let as_meant = parsed(&changed).is_ok_and(|node| node.to_json() == expected);
    if !as_meant && !set.is_empty() && problems.is_empty() {
        let message = format!(
            "the values cannot be set in `{name}`: write each on a separate line, without anchors"
        );
        at.key("set").problem(problems, message, |problem| problem);
        return None;
    }
    Some(changed)
}

/// A path that leads nowhere.
struct Lacking {
    /// The part of the path that exists.
    up_to: String,
    key: String,
    known: Vec<String>,
}

/// The value at a path (keys of maps, names or indices of list items), with its JSON pointer.
fn find<'a>(root: &'a Node, path: &str) -> Result<(&'a Node, String), Lacking> {
    let (mut node, mut pointer, mut up_to) = (root, String::new(), String::new());
    for key in path.split('.') {
        let next = match &node.value {
            Value::Map(_) => {
                node.get(key).map(|node| (node, key.replace('~', "~0").replace('/', "~1")))
            }
            Value::List(items) => {
                let named = items.iter().position(|item| name_of(item) == Some(key));
                let index = named.or_else(|| key.parse().ok()).filter(|index| *index < items.len());
                index.map(|index| (&items[index], index.to_string()))
            }
            _ => None,
        };
        let Some((found, step)) = next else {
            let known = match &node.value {
                Value::Map(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
                Value::List(items) => items.iter().filter_map(name_of).map(str::to_owned).collect(),
                _ => Vec::new(),
            };
            return Err(Lacking { up_to, key: key.into(), known });
        };
        node = found;
        pointer = format!("{pointer}/{step}");
        up_to = if up_to.is_empty() { key.into() } else { format!("{up_to}.{key}") };
    }
    Ok((node, pointer))
}

fn name_of(item: &Node) -> Option<&str> {
    item.get("name").and_then(Node::text)
}

/// The first problem of a file, in one line.
fn first(name: &str, problems: &Problems) -> String {
    let first = problems.iter().next().map(Problem::message).unwrap_or_default();
    format!("`{name}` cannot be used: {first}")
}

impl FlowFile {
    /// The command that starts it unless the flow has a `command`: `--uses` and the file are appended.
    pub(super) fn command(&self) -> Vec<String> {
        let kind = if self.is_deployment { "deployment" } else { "flow" };
        vec!["jina".into(), kind.into()]
    }

    /// The values that were set.
    pub(super) fn show(&self) -> Map {
        let mut map = Map::new();
        map.insert("uses".into(), self.path.display().to_string().into());
        if !self.set.is_empty() {
            map.insert("set".into(), Json::from(self.set.clone()));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, pairs: &[(&str, Json)]) -> Result<String, String> {
        let set = pairs.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        let node = sources.parse("suite.yaml", "{}".into(), None, &mut problems).unwrap();
        let changed = changed("flow.yml", text.into(), &set, Spot::of(&node), &mut problems);
        match problems.first() {
            None => Ok(changed.unwrap()),
            Some(problem) => Err(problem.message().into()),
        }
    }

    #[test]
    fn only_the_values_change() {
        let text = "!Flow\n# ours\nwith: {port: '54321', prefetch: 10}\nexecutors:\n  - name: encoder # e\n    \
                    replicas: 1   # more?\n    uses: \"E\"\n  - uses: other.yml\n    shards: 1\n";
        let pairs = [
            ("executors.encoder.replicas", 3.into()),
            ("executors.1.shards", 2.into()),
            ("with.port", 9.into()),
            ("executors.encoder.uses", "F: \"x\"".into()),
        ];
        let expected = "!Flow\n# ours\nwith: {port: 9, prefetch: 10}\nexecutors:\n  - name: encoder # e\n    \
                        replicas: 3   # more?\n    uses: \"F: \\\"x\\\"\"\n  - uses: other.yml\n    shards: 2\n";
        assert_eq!(set(text, &pairs).as_deref(), Ok(expected));
    }

    #[test]
    fn what_the_file_lacks_and_what_cannot_be_set_is_refused() {
        let text = "with: &w {port: 1}\nother: *w\nexecutors:\n  - {name: encoder, replicas: 1}\n";
        for (path, value, said) in [
            (
                "executors.encoder.replcas",
                2.into(),
                "`flow.yml` has no `replcas` in `executors.encoder`",
            ),
            ("executors.9.replicas", 2.into(), "`flow.yml` has no `9` in `executors`"),
            ("nothing", 2.into(), "`flow.yml` has no `nothing`"),
            (
                "executors",
                2.into(),
                "`executors` is a list in `flow.yml`; only single values can be set",
            ),
            (
                "with.port",
                serde_json::json!([1]),
                "expected a text, a number or a truth value for `with.port`",
            ),
            (
                "other.port",
                2.into(),
                "the values cannot be set in `flow.yml`: write each on a separate line, without anchors",
            ),
        ] {
            assert_eq!(set(text, &[(path, value)]), Err(said.into()), "{path}");
        }
        let broken = set("a: [", &[]).unwrap_err();
        assert!(broken.starts_with("`flow.yml` cannot be used: "), "{broken}");
    }
}
