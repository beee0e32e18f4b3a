//! Conditions on Documents in DocArray's query language: `{tags__lang: {$eq: en}}`.
//!
//! A real Flow takes the same under `when`. All operators of docarray 0.21 are supported; placeholders such
//! as `{tags__other}` are not.

use std::borrow::Cow;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::wire::{Document, Family, Map};

/// A condition on a Document.
#[derive(Clone, Debug)]
pub struct Condition {
    node: Node,
    /// As written; two conditions are equal if these are.
    given: Map,
}

/// Why a map is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// An unknown operator.
    #[error("unknown operator `{0}` (known here: {known})", known = OPERATORS)]
    Operator(String),
    /// A field whose value is not a map of operators.
    #[error("expected operators for `{0}`, such as `{{$eq: value}}`")]
    NoOperators(String),
    /// An operator with a value of the wrong type.
    #[error("`{operator}` takes {expected}")]
    Operand {
        /// The operator.
        operator: String,
        /// The values that it takes.
        expected: &'static str,
    },
}

const OPERATORS: &str =
    "$eq, $neq, $gt, $gte, $lt, $lte, $in, $nin, $regex, $size, $exists, $and, $or, $not";

#[derive(Clone, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test { field: String, test: Test },
}

#[derive(Clone, Debug)]
enum Test {
    Equal(Value),
    NotEqual(Value),
    Greater(Value),
    GreaterEqual(Value),
    Less(Value),
    LessEqual(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Regex(Regex),
    Size(u64),
    Exists(bool),
}

impl Condition {
    /// Reads a condition from its map.
    ///
    /// # Errors
    /// When an operator is unknown, or has a value it cannot take.
    pub fn new(given: Map) -> Result<Condition, ConditionError> {
        Ok(Condition { node: all(&given)?, given })
    }

    /// Whether a Document meets it. In v2 a missing tag meets nothing but `$exists: false`.
    pub fn holds(&self, doc: &Document, family: Family) -> bool {
        self.node.holds(doc, family)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Condition) -> bool {
        self.given == other.given
    }
}

fn all(map: &Map) -> Result<Node, ConditionError> {
    Ok(Node::All(map.iter().map(|(key, value)| entry(key, value)).collect::<Result<_, _>>()?))
}

fn entry(key: &str, value: &Value) -> Result<Node, ConditionError> {
    let operand = |expected| ConditionError::Operand { operator: key.to_owned(), expected };
    match key {
        "$not" => match value {
            Value::Object(map) => Ok(Node::Not(Box::new(all(map)?))),
            _ => Err(operand("a condition")),
        },
        "$and" | "$or" => {
            let nodes = match value {
                Value::Array(items) => items
                    .iter()
                    .map(|item| match item {
                        Value::Object(map) => all(map),
                        _ => Err(operand("a list of conditions")),
                    })
                    .collect::<Result<_, _>>()?,
                Value::Object(map) => {
                    map.iter().map(|(k, v)| entry(k, v)).collect::<Result<_, _>>()?
                }
                _ => return Err(operand("a list of conditions")),
            };
            Ok(if key == "$and" { Node::All(nodes) } else { Node::Any(nodes) })
        }
        _ if key.starts_with('$') => Err(ConditionError::Operator(key.to_owned())),
        field => match value {
            Value::Object(operators) if !operators.is_empty() => Ok(Node::All(
                operators
                    .iter()
                    .map(|(operator, value)| {
                        if operator == "$not" {
                            let inner = entry(field, value)?;
                            return Ok(Node::Not(Box::new(inner)));
                        }
                        let test = test(operator, value)?;
                        Ok(Node::Test { field: field.to_owned(), test })
                    })
                    .collect::<Result<_, _>>()?,
            )),
            _ => Err(ConditionError::NoOperators(field.to_owned())),
        },
    }
}

fn test(operator: &str, value: &Value) -> Result<Test, ConditionError> {
    let operand = |expected| ConditionError::Operand { operator: operator.to_owned(), expected };
    let list = || value.as_array().cloned().ok_or_else(|| operand("a list"));
    Ok(match operator {
        "$eq" => Test::Equal(value.clone()),
        "$neq" => Test::NotEqual(value.clone()),
        "$gt" => Test::Greater(value.clone()),
        "$gte" => Test::GreaterEqual(value.clone()),
        "$lt" => Test::Less(value.clone()),
        "$lte" => Test::LessEqual(value.clone()),
        "$in" => Test::In(list()?),
        "$nin" => Test::NotIn(list()?),
        "$regex" => Test::Regex(
            value
                .as_str()
                .and_then(|pattern| Regex::new(pattern).ok())
                .ok_or_else(|| operand("a regular expression"))?,
        ),
        "$size" => Test::Size(value.as_u64().ok_or_else(|| operand("a whole number"))?),
        "$exists" => Test::Exists(value.as_bool().ok_or_else(|| operand("true or false"))?),
        _ => return Err(ConditionError::Operator(operator.to_owned())),
    })
}

impl Node {
    fn holds(&self, doc: &Document, family: Family) -> bool {
        match self {
            Node::All(nodes) => nodes.iter().all(|node| node.holds(doc, family)),
            Node::Any(nodes) => nodes.iter().any(|node| node.holds(doc, family)),
            Node::Not(node) => !node.holds(doc, family),
            Node::Test { field, test } => {
                let value = value_of(doc, field);
                let looks_up = !matches!(test, Test::Exists(_));
                if value.is_none()
                    && looks_up
                    && family == Family::V2
                    && field.starts_with("tags__")
                {
                    return false;
                }
                test.holds(value.as_deref())
            }
        }
    }
}

impl Test {
    /// Whether a value passes the test. A missing value passes only if the test asks for absence.
    fn holds(&self, value: Option<&Value>) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let compared = |with: &Value| value.and_then(|value| compare(value, with));
        match self {
            Test::Equal(with) => equal(value, with),
            Test::NotEqual(with) => !equal(value, with),
            Test::Greater(with) => compared(with) == Some(Greater),
            Test::GreaterEqual(with) => matches!(compared(with), Some(Greater | Equal)),
            Test::Less(with) => compared(with) == Some(Less),
            Test::LessEqual(with) => matches!(compared(with), Some(Less | Equal)),
            Test::In(list) => list.iter().any(|with| equal(value, with)),
            Test::NotIn(list) => !list.iter().any(|with| equal(value, with)),
            Test::Regex(regex) => {
                value.and_then(Value::as_str).is_some_and(|text| regex.is_match(text))
            }
            Test::Size(size) => value.and_then(length) == Some(*size),
            Test::Exists(exists) => value.is_some_and(|value| !is_empty(value)) == *exists,
        }
    }
}

fn equal(value: Option<&Value>, with: &Value) -> bool {
    match (value, with) {
        (None, with) => with.is_null(),
        (Some(Value::Number(a)), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Some(value), with) => value == with,
    }
}

fn compare(value: &Value, with: &Value) -> Option<std::cmp::Ordering> {
    match (value, with) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn length(value: &Value) -> Option<u64> {
    let length = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        _ => return None,
    };
    u64::try_from(length).ok()
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || length(value) == Some(0)
}

/// A field by its name; `tags__a__b` is the tag `b` within the tag `a`.
fn value_of<'a>(doc: &'a Document, field: &str) -> Option<Cow<'a, Value>> {
    let mut path = field.split("__");
    let value = match path.next()? {
        "tags" => {
            let mut tag = match path.next() {
                None => return Some(Cow::Owned(Value::Object(doc.tags.clone()))),
                Some(key) => doc.tags.get(key)?,
            };
            for key in path {
                tag = tag.get(key)?;
            }
            return Some(Cow::Borrowed(tag));
        }
        "id" => doc.id.clone().into(),
        "text" => doc.text.clone().unwrap_or_default().into(),
        "uri" | "url" => doc.uri.clone().into(),
        "mime_type" => doc.mime_type.clone().into(),
        "modality" => doc.modality.clone().into(),
        "parent_id" => doc.parent_id.clone().into(),
        "granularity" => doc.granularity.into(),
        "adjacency" => doc.adjacency.into(),
        "weight" => doc.weight.into(),
        "offset" => doc.offset.into(),
        // Values that cannot be compared can still exist and have a size.
        "blob" => vec![Value::Null; doc.blob.as_ref()?.len().min(1)].into(),
        "tensor" => vec![Value::Null; usize::from(doc.tensor.is_some())].into(),
        "embedding" => vec![Value::Null; usize::from(doc.embedding.is_some())].into(),
        "chunks" => vec![Value::Null; doc.chunks.len()].into(),
        "matches" => vec![Value::Null; doc.matches.len()].into(),
        "scores" => score(&doc.scores, path.next())?,
        "evaluations" => score(&doc.evaluations, path.next())?,
        _ => return None,
    };
    Some(Cow::Owned(value))
}

fn score(
    scores: &indexmap::IndexMap<String, crate::wire::NamedScore>,
    name: Option<&str>,
) -> Option<Value> {
    match name {
        None => Some(vec![Value::Null; scores.len()].into()),
        Some(name) => scores.get(name).map(|score| score.value.into()),
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.given.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        let given = Map::deserialize(deserializer)?;
        Condition::new(given).map_err(de::Error::custom)
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "DocumentCondition".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object"})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(condition: Value, family: Family) -> bool {
        let doc = Document {
            id: "d".into(),
            tags: json!({"lang": "en", "price": 10, "nested": {"deep": [1, 2]}})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            ..Document::from_text("hello world")
        };
        let map = condition.as_object().cloned().expect("a map");
        Condition::new(map).expect("it is valid").holds(&doc, family)
    }

    #[test]
    fn a_tag_that_is_not_there_fulfils_nothing_in_v2() {
        for (condition, v1, v2) in [
            (json!({"tags__nosuch": {"$neq": "en"}}), true, false),
            (json!({"tags__nosuch": {"$nin": ["en"]}}), true, false),
            (json!({"tags__nosuch": {"$eq": null}}), true, false),
            (json!({"tags__nested__nosuch": {"$neq": 1}}), true, false),
            (json!({"tags__nosuch": {"$not": {"$eq": "en"}}}), true, true),
            (json!({"tags__nosuch": {"$exists": false}}), true, true),
            (json!({"tags__lang": {"$neq": "de"}}), true, true),
        ] {
            let found = [Family::V1, Family::V2].map(|family| holds(condition.clone(), family));
            assert_eq!(found, [v1, v2], "{condition}");
        }
    }

    #[test]
    fn operators_do_what_docarray_says() {
        for (condition, expected) in [
            (json!({}), true),
            (json!({"tags__lang": {"$eq": "en"}}), true),
            (json!({"tags__lang": {"$neq": "en"}}), false),
            (json!({"tags__price": {"$gt": 9, "$lte": 10}}), true),
            (json!({"tags__price": {"$lt": 10.0}}), false),
            (json!({"tags__price": {"$eq": 10.0}}), true),
            (json!({"tags__nested__deep": {"$size": 2}}), true),
            (json!({"text": {"$regex": "wor"}}), true),
            (json!({"tags__lang": {"$in": ["de", "en"]}}), true),
            (json!({"tags__lang": {"$nin": ["de", "en"]}}), false),
            (json!({"tags__nosuch": {"$exists": false}}), true),
            (json!({"tags__nosuch": {"$gt": 1}}), false),
            (json!({"chunks": {"$exists": true}}), false),
            (json!({"$or": [{"id": {"$eq": "x"}}, {"id": {"$eq": "d"}}]}), true),
            (json!({"$and": [{"id": {"$eq": "x"}}, {"id": {"$eq": "d"}}]}), false),
            (json!({"$not": {"id": {"$eq": "x"}}}), true),
            (json!({"id": {"$not": {"$eq": "d"}}}), false),
        ] {
            assert_eq!(holds(condition.clone(), Family::V1), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (condition, expected) in [
            (json!({"$nor": []}), ConditionError::Operator("$nor".into())),
            (json!({"id": "x"}), ConditionError::NoOperators("id".into())),
            (json!({"id": {}}), ConditionError::NoOperators("id".into())),
            (
                json!({"id": {"$in": "x"}}),
                ConditionError::Operand { operator: "$in".into(), expected: "a list" },
            ),
        ] {
            let map = condition.as_object().cloned().expect("a map");
            assert_eq!(Condition::new(map).err(), Some(expected), "{condition}");
        }
    }
}
