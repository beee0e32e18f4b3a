//! Documents in bodies, field by field.

use serde_json::Value;

use super::reader::{Loc, Reader, Wrong, shown};
use crate::flow::executor::Fields;
use crate::wire::{Document, Family, Map};

/// The type of a field.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Any value, shown as text.
    Shown,
    Integer,
    Float,
    Floats,
    Array,
    /// An array that is not validated; anything else makes the gateway answer 500.
    AnyArray,
    Tags,
    Object,
    Scores,
    Documents,
}

const FIELDS_V1: [(&str, Kind); 19] = [
    ("id", Kind::Text),
    ("parent_id", Kind::Text),
    ("granularity", Kind::Integer),
    ("adjacency", Kind::Integer),
    ("blob", Kind::Text),
    ("tensor", Kind::Array),
    ("mime_type", Kind::Text),
    ("text", Kind::Text),
    ("weight", Kind::Float),
    ("uri", Kind::Text),
    ("tags", Kind::Tags),
    ("offset", Kind::Float),
    ("location", Kind::Floats),
    ("embedding", Kind::Array),
    ("modality", Kind::Text),
    ("evaluations", Kind::Scores),
    ("scores", Kind::Scores),
    ("chunks", Kind::Documents),
    ("matches", Kind::Documents),
];

const FIELDS_V2: [(&str, Kind); 10] = [
    ("id", Kind::Shown),
    ("tensor", Kind::AnyArray),
    ("chunks", Kind::Documents),
    ("matches", Kind::Documents),
    ("blob", Kind::Text),
    ("text", Kind::Text),
    ("url", Kind::Text),
    ("embedding", Kind::AnyArray),
    ("tags", Kind::Object),
    ("scores", Kind::Object),
];

impl Reader {
    /// The Documents of a v1 body: a list, or an object of lists, of which `docs` is used.
    pub(super) fn data_v1(&mut self, data: &Value, at: Loc<'_>) -> Option<Vec<Map>> {
        match data {
            Value::Array(docs) => Some(self.documents(docs, at)),
            Value::Object(lists) => {
                let mut docs = lists.is_empty().then(Vec::new);
                for (key, list) in lists {
                    match list {
                        Value::Array(list) => {
                            let read = self.documents(list, at.name(key));
                            docs = if key == "docs" { Some(read) } else { docs };
                        }
                        _ => self.add(at.name(key), Wrong::NoList, list),
                    }
                }
                // Without `docs`, a real gateway iterates over the keys, which are not Documents.
                self.internal |= docs.is_none();
                docs
            }
            Value::String(text) if text.is_empty() => Some(Vec::new()),
            _ => {
                self.add(at, Wrong::NoList, data);
                None
            }
        }
    }

    pub(super) fn documents(&mut self, docs: &[Value], at: Loc<'_>) -> Vec<Map> {
        let docs = docs.iter().enumerate();
        docs.filter_map(|(i, doc)| self.document(doc, at.index(i))).collect()
    }

    /// The fields of a Document that are set, in the order of the schema.
    pub(super) fn document(&mut self, value: &Value, at: Loc<'_>) -> Option<Map> {
        let given = self.object(value, at)?;
        if let Fields::Own(own) = self.fields.clone() {
            if let Err(invalid) =
                own.schema.check(&mut Document::of_fields(given.clone().into_owned()))
            {
                self.add_invalid(at, invalid);
            }
            return Some(given.into_owned());
        }
        let before = (self.found.len(), self.internal);
        let fields: &[(&str, Kind)] = match self.family {
            Family::V1 => &FIELDS_V1,
            Family::V2 => &FIELDS_V2,
        };
        let mut doc = Map::new();
        for (name, kind) in fields {
            let Some(value) = given.get(*name) else { continue };
            let read = match (value, self.family) {
                (Value::Null, Family::V1) => None,
                (Value::Null, Family::V2) if *name != "tags" => Some(Value::Null),
                _ => self.field(value, *kind, at.name(name)),
            };
            doc.extend(read.map(|value| ((*name).to_owned(), value)));
        }
        if matches!(self.fields, Fields::Any) {
            // A Document with values that v1 cannot hold stays as it is.
            if before != (self.found.len(), self.internal) {
                self.found.truncate(before.0);
                self.internal = before.1;
                return Some(given.into_owned());
            }
            let further = given.iter().filter(|(name, _)| !fields.iter().any(|it| it.0 == *name));
            doc.extend(further.map(|(name, value)| (name.clone(), value.clone())));
        }
        Some(doc)
    }

    fn field(&mut self, value: &Value, kind: Kind, at: Loc<'_>) -> Option<Value> {
        match kind {
            Kind::Text => self.text(value, at).map(Value::from),
            Kind::Shown => Some(shown(value).into()),
            Kind::Integer => self.integer(value, at),
            Kind::Float => self.float(value, at),
            Kind::Floats => {
                let values = self.list(value, at)?.iter().enumerate();
                Some(values.filter_map(|(i, value)| self.float(value, at.index(i))).collect())
            }
            Kind::Array => {
                if !value.is_array() || shape(value).is_none() {
                    self.add(at, Wrong::NoArray, value);
                }
                Some(value.clone())
            }
            Kind::AnyArray => {
                self.internal |= !value.is_array();
                Some(value.clone())
            }
            Kind::Tags => {
                // pydantic reads the integers 1 and 0 as booleans.
                let mut map = self.object(value, at)?.into_owned();
                for value in map.values_mut() {
                    match value.as_i64() {
                        Some(0) => *value = false.into(),
                        Some(1) => *value = true.into(),
                        _ => (),
                    }
                }
                Some(map.into())
            }
            Kind::Object => self.object(value, at).map(|map| map.into_owned().into()),
            Kind::Scores => self.scores(value, at),
            Kind::Documents => {
                let docs = self.list(value, at)?;
                Some(self.documents(docs, at).into_iter().map(Value::Object).collect())
            }
        }
    }

    fn scores(&mut self, value: &Value, at: Loc<'_>) -> Option<Value> {
        let mut scores = Map::new();
        for (name, score) in self.object(value, at)?.iter() {
            let at = at.name(name);
            let Some(given) = self.object(score, at) else { continue };
            let mut score = Map::new();
            for key in ["value", "op_name", "description", "ref_id"] {
                let Some(value) = given.get(key).filter(|value| !value.is_null()) else { continue };
                let kind = if key == "value" { Kind::Float } else { Kind::Text };
                let read = self.field(value, kind, at.name(key));
                score.extend(read.map(|value| (key.to_owned(), value)));
            }
            scores.insert(name.clone(), score.into());
        }
        Some(scores.into())
    }
}

/// A v1 Document with all keys of the schema, unset ones null.
pub(in crate::flow::gateway) fn all_keys(doc: &Map) -> Value {
    let value = |key: &str| match (key, doc.get(key)) {
        ("chunks" | "matches", Some(Value::Array(docs))) => {
            docs.iter().map(|doc| doc.as_object().map_or(Value::Null, all_keys)).collect()
        }
        (_, value) => value.cloned().unwrap_or_default(),
    };
    Value::Object(FIELDS_V1.map(|(key, _)| (key.to_owned(), value(key))).into_iter().collect())
}

/// The shape of nested lists, if they are regular.
fn shape(value: &Value) -> Option<Vec<usize>> {
    let Value::Array(items) = value else { return Some(Vec::new()) };
    let mut shapes = items.iter().map(shape);
    let Some(first) = shapes.next() else { return Some(vec![0]) };
    let mut first = first?;
    if !shapes.all(|shape| shape.as_ref() == Some(&first)) {
        return None;
    }
    first.push(items.len());
    Some(first)
}
