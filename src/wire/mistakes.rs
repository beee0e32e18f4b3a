//! Mistakes in a JSON schema written by a person: schemas reported by a Flow are read as far as possible, but
//! a meaningless schema in a file should not pass as one that accepts anything.

use serde_json::Value;

use super::Map;
use super::proto::v2::NodeProto;
use super::schema::Schema;

/// A mistake, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaMistake {
    /// Keys and list indices from the schema down to the mistake.
    pub(crate) path: Vec<Step>,
    /// What was found and what was expected.
    pub(crate) message: String,
}

/// A step of the path to a part of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The types that JSON schema has.
const TYPES: [&str; 7] = ["string", "integer", "number", "boolean", "null", "array", "object"];

/// Number of levels of a schema that are checked: deeper than a file may be.
const DEPTH_MAX: usize = 64;

/// Maximum number of mistakes reported per schema.
const MISTAKES_MAX: usize = 20;

impl Schema {
    /// The mistakes in the schema of a Document as written.
    pub(crate) fn mistakes(schema: &Value) -> Vec<SchemaMistake> {
        if Schema::read(schema, None).is_none() {
            let message =
                "not a JSON schema of a Document: it has no `properties` and does not refer to any";
            return vec![SchemaMistake { path: Vec::new(), message: message.into() }];
        }
        let mut reader = Reader { root: schema, path: Vec::new(), found: Vec::new() };
        reader.schema(schema);
        reader.found
    }
}

struct Reader<'a> {
    root: &'a Value,
    path: Vec<Step>,
    found: Vec<SchemaMistake>,
}

impl<'a> Reader<'a> {
    fn tell(&mut self, message: String) {
        if self.found.len() < MISTAKES_MAX {
            self.found.push(SchemaMistake { path: self.path.clone(), message });
        }
    }

    fn within(&mut self, step: Step, look: impl FnOnce(&mut Self)) {
        self.path.push(step);
        look(self);
        self.path.pop();
    }

    fn at(&mut self, key: &str, look: impl FnOnce(&mut Self)) {
        self.within(Step::Key(key.to_owned()), look);
    }

    fn schema(&mut self, schema: &'a Value) {
        if self.path.len() > DEPTH_MAX {
            return;
        }
        let map = match schema {
            Value::Object(map) => map,
            Value::Bool(_) => return,
            other => {
                return self.tell(format!(
                    "expected a JSON schema such as `{{type: string}}`, found `{other}`"
                ));
            }
        };
        if let Some(kind) = map.get("type") {
            self.at("type", |here| here.kind(kind));
        }
        if let Some(reference) = map.get("$ref") {
            self.at("$ref", |here| here.reference(reference));
        }
        for key in ["enum", "anyOf", "oneOf", "allOf"] {
            let Some(list) = map.get(key) else { continue };
            let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
            if items.is_empty() {
                self.at(key, |here| {
                    here.tell(format!("expected a list with at least one item, found `{list}`"));
                });
            } else if key != "enum" {
                self.at(key, |here| here.items(items));
            }
        }
        for key in ["items", "additionalProperties"] {
            if let Some(of) = map.get(key) {
                self.at(key, |here| here.schema(of));
            }
        }
        if let Some(Value::Array(items)) = map.get("prefixItems") {
            self.at("prefixItems", |here| here.items(items));
        }
        for key in ["properties", "$defs", "definitions"] {
            match map.get(key) {
                None => (),
                Some(Value::Object(parts)) => self.at(key, |here| {
                    for (name, part) in parts {
                        here.at(name, |here| here.schema(part));
                    }
                }),
                Some(other) => self.at(key, |here| {
                    here.tell(format!("expected a map of JSON schemas by name, found `{other}`"));
                }),
            }
        }
        self.required(map);
        self.default(map);
    }

    fn items(&mut self, items: &'a [Value]) {
        for (index, item) in items.iter().enumerate() {
            self.within(Step::Index(index), |here| here.schema(item));
        }
    }

    fn kind(&mut self, kind: &Value) {
        let words: Vec<&Value> = match kind {
            Value::Array(words) if !words.is_empty() => words.iter().collect(),
            word => vec![word],
        };
        for word in words {
            if !word.as_str().is_some_and(|word| TYPES.contains(&word)) {
                let shown = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
                let known = TYPES.join(", ");
                self.tell(format!("`{shown}` is not a JSON schema type (known: {known})"));
            }
        }
    }

    fn reference(&mut self, reference: &Value) {
        let Some(text) = reference.as_str() else {
            return self.tell(format!("expected text such as `#/$defs/Name`, found `{reference}`"));
        };
        let name = text.rsplit('/').next().unwrap_or(text);
        let all = ["$defs", "definitions"];
        let all = all.into_iter().filter_map(|key| self.root.get(key)?.as_object());
        let known: Vec<&String> = all.flat_map(Map::keys).collect();
        if !known.iter().any(|known| *known == name) {
            let known = match known.is_empty() {
                true => "`$defs` is empty".to_owned(),
                false => {
                    let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
                    format!("`$defs` has {}", names.join(", "))
                }
            };
            self.tell(format!("`{text}` does not resolve: {known}"));
        }
    }

    fn required(&mut self, map: &Map) {
        let Some(required) = map.get("required") else { return };
        let Some(names) = required.as_array() else {
            return self.at("required", |here| {
                here.tell(format!("expected a list of names, found `{required}`"));
            });
        };
        let fields = map.get("properties").and_then(Value::as_object);
        for (index, name) in names.iter().enumerate() {
            let is_there = name
                .as_str()
                .is_some_and(|name| fields.is_some_and(|fields| fields.contains_key(name)));
            if !is_there {
                let shown = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
                self.at("required", |here| {
                    here.within(Step::Index(index), |here| {
                        here.tell(format!("`{shown}` is required but not among `properties`"));
                    });
                });
            }
        }
    }

    /// Checks the type of a default; null is allowed, as pydantic writes it for `x: str = None`.
    fn default(&mut self, map: &Map) {
        let Some(default) = map.get("default").filter(|default| !default.is_null()) else { return };
        let mut alone = Map::new();
        alone.insert("type".into(), "object".into());
        let field = Map::from_iter([("default".to_owned(), Value::Object(map.clone()))]);
        alone.insert("properties".into(), field.into());
        for key in ["$defs", "definitions"] {
            if let Some(parts) = self.root.get(key) {
                alone.insert(key.into(), parts.clone());
            }
        }
        let Some(schema) = Schema::read(&alone.into(), None) else { return };
        if !schema.takes("default", NodeProto::of_json(default.clone())) {
            self.at("default", |here| {
                here.tell(format!("`{default}` is not of its field's type"));
            });
        }
    }
}
