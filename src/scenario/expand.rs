//! Prepares nodes for reading: expressions evaluated, defaults merged, matrices expanded.

use crate::source::{Entry, LIST_HELP, Node, Place, Problem, Sources, Spot, Value};
use crate::template::{self, Context};
use crate::wire::Map;

use super::Scenario;

/// The most combinations of one matrix; run one after the other, each takes at least some seconds.
const COMBINATIONS_MAX: usize = 1000;

/// One combination of a matrix: the values, and the entries that they came from.
#[derive(Debug, Default)]
pub(super) struct Combination {
    pub(super) values: Map,
    entries: Vec<Entry>,
}

/// Replaces every expression in a node by its value. An expression without a value is reported and removed.
pub(super) fn evaluate(node: &mut Node, context: &Context, problems: &mut Vec<Problem>) -> bool {
    let broken = match &mut node.value {
        Value::Text(text) if template::has_expressions(text) => {
            // The variable's problem has been reported where it is defined.
            if context.lacks(text) {
                return false;
            }
            match template::evaluate_text(text, context) {
                Ok((value, secret)) => {
                    let made = Node::made(value, node.place());
                    *node = if secret || node.is_secret() { made.secret() } else { made };
                    return true;
                }
                Err(error) => {
                    error.tell(Spot::of(node), problems);
                    return false;
                }
            }
        }
        Value::List(items) => {
            let before = items.len();
            items.retain_mut(|item| evaluate(item, context, problems));
            items.len() < before
        }
        Value::Map(entries) => {
            retain(entries, |entry| evaluate(&mut entry.value, context, problems))
        }
        _ => false,
    };
    if broken {
        node.mark_broken();
    }
    true
}

/// Keeps the entries for which `keep` holds; returns whether any were removed.
fn retain(entries: &mut Vec<Entry>, mut keep: impl FnMut(&mut Entry) -> bool) -> bool {
    let before = entries.len();
    entries.retain_mut(|entry| keep(entry));
    entries.len() < before
}

/// Evaluates the expressions of a scenario or a step that are evaluated once. Those in parameters, variables,
/// plain requests and Document fields are evaluated for each request, those in `log` for each response.
pub(super) fn evaluate_scenario(node: &mut Node, context: &Context, problems: &mut Vec<Problem>) {
    let Value::Map(entries) = &mut node.value else { return };
    let broken = retain(entries, |entry| match (entry.key.as_str(), &mut entry.value.value) {
        ("parameters" | "variables" | "headers", _) => true,
        ("request", Value::Map(parts)) => {
            let broken = retain(parts, |part| {
                matches!(part.key.as_str(), "path" | "headers" | "json" | "body")
                    || evaluate(&mut part.value, context, problems)
            });
            if broken {
                entry.value.mark_broken();
            }
            true
        }
        ("documents", Value::Map(_)) => {
            evaluate_generator(&mut entry.value, context, problems);
            true
        }
        ("on_done" | "on_error" | "on_always", Value::List(actions)) => {
            let before = actions.len();
            actions.retain_mut(|action| {
                action.get("log").is_some() || evaluate(action, context, problems)
            });
            if actions.len() < before {
                entry.value.mark_broken();
            }
            true
        }
        ("steps" | "choose", Value::List(steps)) => {
            steps.iter_mut().for_each(|step| evaluate_scenario(step, context, problems));
            true
        }
        _ => evaluate(&mut entry.value, context, problems),
    });
    if broken {
        node.mark_broken();
    }
}

/// Evaluates the expressions of a generator that are evaluated once: amounts and shapes. Those in the fields
/// are evaluated for each Document.
pub(super) fn evaluate_generator(node: &mut Node, context: &Context, problems: &mut Vec<Problem>) {
    let Value::Map(entries) = &mut node.value else { return };
    let broken = retain(entries, |entry| match (entry.key.as_str(), &mut entry.value.value) {
        (
            "count" | "jsonl" | "csv" | "columns" | "docarray" | "order" | "exponent" | "repeat",
            _,
        ) => evaluate(&mut entry.value, context, problems),
        ("chunks" | "matches", Value::Map(_)) => {
            evaluate_generator(&mut entry.value, context, problems);
            true
        }
        ("text" | "content" | "blob" | "tensor" | "embedding", Value::Map(parts)) => {
            let broken = retain(parts, |part| {
                matches!(part.key.as_str(), "values" | "base64")
                    || evaluate(&mut part.value, context, problems)
            });
            if broken {
                entry.value.mark_broken();
            }
            true
        }
        _ => true,
    });
    if broken {
        node.mark_broken();
    }
}

/// Adds to a scenario the default keys that it does not set, where they apply to it.
pub(super) fn merge_defaults(scenario: &Node, defaults: Option<&Node>) -> Node {
    const OF_POSTS: [&str; 6] =
        ["on", "documents", "request_size", "parameters", "target_executor", "stream"];
    const OF_MUTATIONS: [&str; 2] = ["mutate", "variables"];
    let mut merged = scenario.clone();
    let has = |keys: &[&str]| keys.iter().any(|key| scenario.get(key).is_some());
    for entry in defaults.map(Node::entries).unwrap_or_default() {
        let key = entry.key.as_str();
        let foreign = (OF_POSTS.contains(&key) && has(&["mutate", "request"]))
            || (OF_MUTATIONS.contains(&key)
                && (has(&OF_POSTS) || has(&["request", "steps", "choose"])))
            || (key == "request" && (has(&OF_POSTS) || has(&["mutate", "steps", "choose"])))
            || (["steps", "choose"].contains(&key)
                && (has(&OF_POSTS) || has(&OF_MUTATIONS) || has(&["request", "steps", "choose"])));
        if scenario.get(key).is_none() && !foreign && key != "name" {
            merged.set(entry.clone());
        }
    }
    merged
}

/// The combinations of a matrix, with the last key changing fastest; `None` if it has problems.
pub(super) fn combinations(
    matrix: &Entry,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Combination>> {
    let before = problems.len();
    let mut told_only = 0;
    if !expect(&matrix.value, Kind::Map, problems) {
        return None;
    }
    let keys = Sources::keys_of::<Scenario>();
    let mut combinations = vec![Combination::default()];
    for entry in matrix.value.entries() {
        let at = entry.key_place;
        if entry.key == "name" || entry.key == "matrix" {
            problems.push(Problem::at(at, format!("`{}` cannot be varied by a matrix", entry.key)));
            continue;
        }
        // A key that is not a scenario's must be used in an expression; otherwise it is a misspelt key.
        let used = || {
            sources.contain(&format!("matrix.{}", entry.key))
                || sources.contain(&format!("matrix['{}']", entry.key))
                || sources.contain(&format!("matrix[\"{}\"]", entry.key))
        };
        if !keys.contains(&entry.key.as_str()) && !used() {
            let message =
                format!("`{}` is not a key of a scenario, and no expression uses it", entry.key);
            problems.push(Problem::at(at, message).suggest(&entry.key, keys.iter().copied()));
            // This problem does not affect the other keys.
            told_only += 1;
            continue;
        }
        if !expect(&entry.value, Kind::List, problems) {
            continue;
        }
        if entry.value.items().is_empty() {
            problems.push(Problem::at(entry.value.place(), "a matrix needs at least one value"));
            continue;
        }
        if combinations.len().saturating_mul(entry.value.items().len()) > COMBINATIONS_MAX {
            let message = format!("a matrix has at most {COMBINATIONS_MAX} combinations");
            problems.push(Problem::at(matrix.key_place, message));
            return None;
        }
        combinations = combinations
            .iter()
            .flat_map(|known| entry.value.items().iter().map(|value| known.with(entry, value)))
            .collect();
    }
    (problems.len() == before + told_only).then_some(combinations)
}

impl Combination {
    fn with(&self, key: &Entry, value: &Node) -> Combination {
        let mut values = self.values.clone();
        values.insert(key.key.clone(), value.to_json());
        let mut entries = self.entries.clone();
        entries.push(Entry {
            key: key.key.clone(),
            key_place: key.key_place,
            value: value.clone(),
        });
        Combination { values, entries }
    }

    /// Sets the keys of a scenario that the combination has values for.
    pub(super) fn apply(&self, scenario: &mut Node) {
        let keys = Sources::keys_of::<Scenario>();
        for entry in self.entries.iter().filter(|entry| keys.contains(&entry.key.as_str())) {
            scenario.set(entry.clone());
        }
    }

    /// ` [protocol=grpc, request_size=10]`; empty without a matrix.
    pub(super) fn suffix(&self) -> String {
        suffix(&self.values)
    }
}

/// ` [protocol=grpc, request_size=10]`; empty if there are no values.
pub(crate) fn suffix(values: &Map) -> String {
    if values.is_empty() {
        return String::new();
    }
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let parts: Vec<String> =
        values.iter().map(|(key, part)| format!("{key}={}", value(part))).collect();
    format!(" [{}]", parts.join(", "))
}

/// The YAML type that a part of a file must have before it can be taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    List,
}

/// Reports a node of another type.
pub(super) fn expect(node: &Node, kind: Kind, problems: &mut Vec<Problem>) -> bool {
    let (fits, word) = match (&node.value, kind) {
        (Value::Map(_), Kind::Map) | (Value::List(_), Kind::List) => (true, ""),
        (_, Kind::Map) => (false, "a map"),
        (_, Kind::List) => (false, "a list"),
    };
    if !fits {
        Spot::of(node).problem(
            problems,
            format!("expected {word}, found {}", node.found()),
            |problem| match kind {
                Kind::List => problem.help(LIST_HELP),
                Kind::Map => problem,
            },
        );
    }
    fits
}

/// Reports a name that is defined in two places.
pub(super) fn twice(what: &str, name: &str, second: Place, first: Place) -> Problem {
    Problem::at(second, format!("{what} `{name}` is defined twice"))
        .see(first, "first defined here")
}
