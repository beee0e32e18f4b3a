//! Variables with a declaration instead of only a value: `{env: CLIENTS, type: integer, default: 4}`.

use std::collections::BTreeMap;
use std::fmt;

use crate::source::{Node, Problem, Sources, Value};
use crate::units::{ByteSize, MASK, Percentage, Rate, Secrets, Span, nearest};

/// A variable and its final value, for display.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub name: String,
    /// `rate`, `text` …
    pub kind: &'static str,
    /// `None` for a secret.
    pub value: Option<serde_json::Value>,
    pub origin: Origin,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The suite.
    File,
    /// `--set`.
    Set,
    /// A variable of the environment.
    Environment(String),
    /// A variable in a file of `--env-file`: its name, and the file's.
    EnvFile(String, String),
    /// Its `default`, because nothing else sets it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File => f.write_str("the suite"),
            Origin::Set => f.write_str("--set"),
            Origin::Environment(name) => write!(f, "the environment ({name})"),
            Origin::EnvFile(name, file) => write!(f, "{file} ({name})"),
            Origin::Default => f.write_str("its default"),
        }
    }
}

/// The environment variables.
pub(super) struct Environment<'a> {
    /// Names and values; if a name occurs several times, the last one counts.
    pub(super) all: &'a [(String, String)],
    /// For variables from a file: the file's name, by the variable's name.
    pub(super) files: &'a BTreeMap<String, String>,
}

/// The types that a variable may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Duration,
    Rate,
    Size,
    Percentage,
    List,
    Map,
}

const KINDS: [(Kind, &str, &str); 10] = [
    (Kind::Text, "text", "text"),
    (Kind::Integer, "integer", "a whole number"),
    (Kind::Number, "number", "a number"),
    (Kind::Boolean, "boolean", "true or false"),
    (Kind::Duration, "duration", "a duration such as `30s`, at most 365d"),
    (Kind::Rate, "rate", "a rate such as `50/s`"),
    (Kind::Size, "size", "a size such as `10KiB`"),
    (Kind::Percentage, "percentage", "a percentage such as `5%`"),
    (Kind::List, "list", "a list, in JSON as in `[1, 2]`"),
    (Kind::Map, "map", "a map, in JSON as in `{\"a\": 1}`"),
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    fn wanted(self) -> &'static str {
        KINDS[self as usize].2
    }

    fn named(word: &str) -> Option<Kind> {
        KINDS.iter().find(|(_, name, _)| *name == word).map(|(kind, ..)| *kind)
    }

    /// The type of a plain value.
    pub(super) fn of(value: &serde_json::Value) -> Kind {
        match value {
            serde_json::Value::Bool(_) => Kind::Boolean,
            serde_json::Value::Number(number) if number.is_f64() => Kind::Number,
            serde_json::Value::Number(_) => Kind::Integer,
            serde_json::Value::Array(_) => Kind::List,
            serde_json::Value::Object(_) => Kind::Map,
            serde_json::Value::Null => Kind::Text,
            serde_json::Value::String(text) => {
                let units = [Kind::Rate, Kind::Duration, Kind::Size, Kind::Percentage];
                units.into_iter().find(|kind| kind.is_unit(text)).unwrap_or(Kind::Text)
            }
        }
    }

    fn is_unit(self, text: &str) -> bool {
        match self {
            Kind::Rate => text.parse::<Rate>().is_ok(),
            Kind::Duration => text.parse::<Span>().is_ok(),
            // A bare number has no unit.
            Kind::Size => text.parse::<ByteSize>().is_ok() && text.trim().parse::<f64>().is_err(),
            Kind::Percentage => text.parse::<Percentage>().is_ok(),
            _ => false,
        }
    }

    /// Converts a value to this type; `None` if it is not one. Text is parsed, because environment variables
    /// are always text.
    fn take(self, value: serde_json::Value) -> Option<serde_json::Value> {
        let read = |text: &str| {
            let node = Sources::new().parse("", text.to_owned(), None, &mut Vec::new())?;
            Some(node.to_json())
        };
        let value = match (self, value) {
            (Kind::Text, value @ serde_json::Value::String(_)) => return Some(value),
            // A number becomes text exactly as written.
            (Kind::Text, value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
                return Some(value.to_string().into());
            }
            (
                Kind::Duration | Kind::Rate | Kind::Size | Kind::Percentage,
                serde_json::Value::String(text),
            ) => return self.is_unit(&text).then(|| text.into()),
            (_, serde_json::Value::String(text)) => read(text.trim())?,
            (_, value) => value,
        };
        let fits = match self {
            Kind::Integer => value.is_i64() || value.is_u64(),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::List => value.is_array(),
            Kind::Map => value.is_object(),
            Kind::Text | Kind::Duration | Kind::Rate | Kind::Size | Kind::Percentage => false,
        };
        fits.then_some(value)
    }
}

/// The declaration of a variable.
pub(super) struct Declared<'a> {
    node: &'a Node,
    env: Option<&'a str>,
    kind: Kind,
    default: Option<&'a Node>,
    pub(super) is_secret: bool,
}

const KEYS: [&str; 4] = ["env", "type", "default", "secret"];

impl<'a> Declared<'a> {
    /// A map with `env`, with a `type` from those above or with two of the keywords, and no other keys. Any
    /// other map is a value; one whose keys are almost the keywords is reported as misspelt.
    pub(super) fn of(node: &'a Node, problems: &mut Vec<Problem>) -> Option<Declared<'a>> {
        let Value::Map(entries) = &node.value else { return None };
        let env = node.get("env").and_then(Node::text);
        let word = node.get("type").and_then(Node::text);
        let kind = word.and_then(Kind::named);
        let ours = |key: &str| KEYS.contains(&key);
        let known = entries.iter().filter(|entry| ours(&entry.key)).count();
        let is_near = |key: &str| ours(key) || nearest(key, KEYS).is_some();
        if known == 0 || !entries.iter().all(|entry| is_near(&entry.key)) {
            return None;
        }
        if entries.len() == 1 && env.is_none() && kind.is_none() {
            return None;
        }
        for entry in entries.iter().filter(|entry| !ours(&entry.key)) {
            let message = format!("unknown key `{}` in a variable", entry.key);
            problems.push(Problem::at(entry.key_place, message).suggest(&entry.key, KEYS));
        }
        if let Some(node) = node.get("env").filter(|_| env.is_none()) {
            let message =
                format!("expected the name of an environment variable, found {}", node.found());
            problems.push(Problem::at(node.place(), message));
        }
        if let (Some(word), None) = (word, kind)
            && let Some(node) = node.get("type")
        {
            let problem = Problem::at(node.place(), format!("`{word}` is not a type of variable"));
            problems.push(problem.suggest(word, KINDS.iter().map(|(_, name, _)| *name)));
        }
        let secret = node.get("secret");
        let is_secret = secret.and_then(|secret| match secret.value {
            Value::Bool(is_secret) => Some(is_secret),
            _ => {
                let message = format!("expected true or false, found {}", secret.found());
                problems.push(Problem::at(secret.place(), message));
                None
            }
        });
        let default = node.get("default");
        let kind = kind.or_else(|| default.map(|default| Kind::of(&default.to_json())));
        let kind = kind.unwrap_or(Kind::Text);
        // Text from the environment may be a password; a number or a rate is not.
        let is_secret = is_secret.unwrap_or(env.is_some() && kind == Kind::Text);
        Some(Declared { node, env, kind, default, is_secret })
    }

    /// Its value, and where that comes from; `set` is the value from the command line. `None` if it has none,
    /// or one of the wrong type, which is reported.
    pub(super) fn value(
        &self,
        name: &str,
        set: Option<serde_json::Value>,
        environment: &Environment<'_>,
        problems: &mut Vec<Problem>,
    ) -> Option<(serde_json::Value, Origin)> {
        let given = self.env.and_then(|env| {
            let (_, value) = environment.all.iter().rev().find(|(known, _)| known == env)?;
            let origin = match environment.files.get(env) {
                Some(file) => Origin::EnvFile(env.to_owned(), file.clone()),
                None => Origin::Environment(env.to_owned()),
            };
            Some((serde_json::Value::from(value.as_str()), origin))
        });
        let default = || self.default.map(|default| (default.to_json(), Origin::Default));
        let found = set.map(|value| (value, Origin::Set)).or(given).or_else(default);
        let Some((value, origin)) = found else {
            let (message, help) = match self.env {
                Some(env) => (
                    format!(
                        "variable `{name}` has no value: environment variable `{env}` is not set"
                    ),
                    format!(
                        "set {env}, in the environment or a file for `--env-file`, or give \
                         `--set {name}=…` or a `default`"
                    ),
                ),
                None => (
                    format!("variable `{name}` has no value"),
                    format!("give `--set {name}=…`, or a `default` or `env` here"),
                ),
            };
            problems.push(Problem::at(self.node.place(), message).help(help));
            return None;
        };
        let shown = if self.is_secret { MASK.to_owned() } else { text(&value) };
        match self.kind.take(value) {
            Some(value) => Some((value, origin)),
            None => {
                let message = format!(
                    "variable `{name}` requires {}, found `{shown}` from {origin}",
                    self.kind.wanted()
                );
                problems.push(Problem::at(self.node.place(), message));
                None
            }
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The expression that replaces its value if that must not be shown.
    pub(super) fn shown(&self, value: &serde_json::Value, origin: &Origin) -> String {
        match (self.env, origin) {
            (Some(env), Origin::Environment(_) | Origin::EnvFile(..)) => match self.kind {
                Kind::Integer => format!("env.{env} | int"),
                Kind::Number => format!("env.{env} | float"),
                Kind::Boolean | Kind::List | Kind::Map => format!("env.{env} | from_yaml"),
                _ => format!("env.{env}"),
            },
            _ => masked(value).to_string(),
        }
    }
}

/// A secret with the same structure, so that expressions that look into it find something.
fn masked(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(items) => items.iter().map(masked).collect(),
        serde_json::Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), masked(value))).collect()
        }
        _ => MASK.into(),
    }
}

/// A value on one line.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Marks the texts within a secret as secret.
pub(super) fn hide(value: &serde_json::Value, secrets: &Secrets) {
    match value {
        serde_json::Value::String(text) => secrets.add(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| hide(item, secrets)),
        serde_json::Value::Object(map) => map.values().for_each(|value| hide(value, secrets)),
        serde_json::Value::Number(number) => secrets.add(&number.to_string()),
        serde_json::Value::Null | serde_json::Value::Bool(_) => (),
    }
}

impl Variable {
    pub(super) fn new(
        name: &str,
        kind: Option<Kind>,
        value: serde_json::Value,
        origin: Origin,
    ) -> Variable {
        let kind = kind.unwrap_or_else(|| Kind::of(&value)).name();
        Variable { name: name.to_owned(), kind, value: Some(value), origin }
    }

    /// Its value on one line, or a placeholder for a secret.
    pub(crate) fn shown(&self) -> String {
        self.value.as_ref().map_or_else(|| MASK.to_owned(), text)
    }
}
