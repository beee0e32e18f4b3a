//! Bodies of the v1 family: `JinaRequestModel`, `PydanticDocument` and pydantic 1.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Loc, PROBLEMS_MAX, Refusal, field, python_str};
use crate::wire::Map;

/// A body that was taken.
#[derive(Debug)]
pub(in crate::flow::gateway) struct PostV1 {
    /// Documents with their fields as pydantic made them, unset ones left out.
    pub(in crate::flow::gateway) data: Option<Vec<Map>>,
    pub(in crate::flow::gateway) parameters: Option<Map>,
    pub(in crate::flow::gateway) target_executor: Option<String>,
    pub(in crate::flow::gateway) exec_endpoint: String,
}

#[derive(Default)]
struct Problems(Vec<Value>);

impl Problems {
    fn add(&mut self, loc: Loc<'_>, msg: &str, kind: &str) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(json!({"loc": loc.to_value(), "msg": msg, "type": kind}));
        }
    }
}

impl PostV1 {
    /// Checks a body. `named` says whether it may name its endpoint.
    pub(in crate::flow::gateway) fn read(
        body: Option<Value>,
        named: bool,
    ) -> Result<PostV1, Refusal> {
        let mut problems = Problems::default();
        let Some(body) = body else {
            problems.add(Loc::BODY, "field required", "value_error.missing");
            return Err(Refusal::Invalid(problems.0));
        };
        let Some(body) = as_dict(&body, Loc::BODY, &mut problems) else {
            return Err(Refusal::Invalid(problems.0));
        };
        let at = Loc::BODY;
        let data = body
            .get("data")
            .filter(|data| !data.is_null())
            .map(|data| self::data(data, at.name("data"), &mut problems));
        let target_executor = field(&body, "targetExecutor", "target_executor")
            .filter(|value| !value.is_null())
            .and_then(|value| text(value, at.name("targetExecutor"), &mut problems));
        let parameters = body
            .get("parameters")
            .filter(|value| !value.is_null())
            .and_then(|value| as_dict(value, at.name("parameters"), &mut problems))
            .map(Cow::into_owned);
        let mut exec_endpoint = "/".to_owned();
        if let Some(value) = field(&body, "execEndpoint", "exec_endpoint").filter(|_| named) {
            let at = at.name("execEndpoint");
            if value.is_null() {
                problems.add(at, "none is not an allowed value", "type_error.none.not_allowed");
            } else if let Some(endpoint) = text(value, at, &mut problems) {
                exec_endpoint = endpoint;
            }
        }
        if !problems.0.is_empty() {
            return Err(Refusal::Invalid(problems.0));
        }
        // A dict without the key `docs` is iterated over, and its keys are no Documents.
        let data = data.map(|data| data.ok_or(Refusal::Internal)).transpose()?;
        Ok(PostV1 { data, parameters, target_executor, exec_endpoint })
    }

    /// Checks one Document; else what is wrong with it.
    pub(in crate::flow::gateway) fn document(doc: &Value) -> Result<Map, Vec<Value>> {
        let mut problems = Problems::default();
        let doc = document(doc, Loc::BODY, &mut problems);
        for problem in &mut problems.0 {
            if let Some(Value::Array(loc)) = problem.get_mut("loc") {
                loc.remove(0);
            }
        }
        doc.filter(|_| problems.0.is_empty()).ok_or(problems.0)
    }
}

/// The Documents of a body: a list, or an object with lists of which `docs` counts.
fn data(data: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Vec<Map>> {
    let mut found = Problems::default();
    let list = |list: &Value, at: Loc<'_>, found: &mut Problems| -> Vec<Map> {
        let Value::Array(items) = list else {
            found.add(at, "value is not a valid list", "type_error.list");
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items.filter_map(|(i, item)| document(item, at.index(i), found)).collect()
    };
    if data.is_array() {
        let docs = list(data, at, &mut found);
        if found.0.is_empty() {
            return Some(docs);
        }
        found.add(at, "value is not a valid dict", "type_error.dict");
    } else {
        found.add(at, "value is not a valid list", "type_error.list");
        match data {
            Value::Object(map) => {
                let mut inner = Problems::default();
                let read: Vec<(&String, Vec<Map>)> = map
                    .iter()
                    .map(|(key, value)| (key, list(value, at.name(key), &mut inner)))
                    .collect();
                if inner.0.is_empty() {
                    return match read.is_empty() {
                        true => Some(Vec::new()),
                        false => read.into_iter().find(|(key, _)| *key == "docs").map(|(_, d)| d),
                    };
                }
                found.0.extend(inner.0);
            }
            Value::String(text) if text.is_empty() => return Some(Vec::new()),
            _ => found.add(at, "value is not a valid dict", "type_error.dict"),
        }
    }
    problems.0.extend(found.0);
    None
}

/// Python makes a dict of an empty list and of an empty text, too.
fn as_dict<'a>(value: &'a Value, at: Loc<'_>, problems: &mut Problems) -> Option<Cow<'a, Map>> {
    match value {
        Value::Object(map) => Some(Cow::Borrowed(map)),
        Value::Array(items) if items.is_empty() => Some(Cow::Owned(Map::new())),
        Value::String(text) if text.is_empty() => Some(Cow::Owned(Map::new())),
        _ => {
            problems.add(at, "value is not a valid dict", "type_error.dict");
            None
        }
    }
}

fn text(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<String> {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(python_str(value)),
        _ => {
            problems.add(at, "str type expected", "type_error.str");
            None
        }
    }
}

fn integer(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Value> {
    let found = match value {
        Value::Bool(value) => Some(i64::from(*value).into()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => Some((float as i64).into()),
            _ => Some(number.clone().into()),
        },
        Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
        _ => None,
    };
    if found.is_none() {
        problems.add(at, "value is not a valid integer", "type_error.integer");
    }
    found
}

fn float(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Value> {
    let found = match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    if found.is_none() {
        problems.add(at, "value is not a valid float", "type_error.float");
    }
    found.map(Value::from)
}

/// What a field of a Document is made of.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Float,
    Array,
    Floats,
    Tags,
    Scores,
    Documents,
}

const FIELDS: [(&str, Kind); 19] = [
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

/// A Document with its set fields, unknown ones left out.
fn document(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Map> {
    let given = as_dict(value, at, problems)?;
    let mut doc = Map::new();
    for (name, kind) in FIELDS {
        let Some(value) = given.get(name).filter(|value| !value.is_null()) else { continue };
        let at = at.name(name);
        let read = match kind {
            Kind::Text => text(value, at, problems).map(Value::String),
            Kind::Integer => integer(value, at, problems),
            Kind::Float => float(value, at, problems),
            Kind::Array => array(value, at, problems),
            Kind::Floats => items(value, at, problems, float),
            Kind::Tags => tags(value, at, problems),
            Kind::Scores => scores(value, at, problems),
            Kind::Documents => {
                items(value, at, problems, |v, at, p| document(v, at, p).map(Value::Object))
            }
        };
        doc.extend(read.map(|value| (name.to_owned(), value)));
    }
    Some(doc)
}

fn items(
    value: &Value,
    at: Loc<'_>,
    problems: &mut Problems,
    item: impl Fn(&Value, Loc<'_>, &mut Problems) -> Option<Value>,
) -> Option<Value> {
    let Value::Array(values) = value else {
        problems.add(at, "value is not a valid list", "type_error.list");
        return None;
    };
    let values = values.iter().enumerate();
    Some(values.filter_map(|(i, value)| item(value, at.index(i), problems)).collect())
}

/// To pydantic 1 and 0 are booleans before they are numbers, as long as they are integers.
fn tags(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Value> {
    let mut map = as_dict(value, at, problems)?.into_owned();
    for value in map.values_mut() {
        match value.as_i64() {
            Some(0) => *value = false.into(),
            Some(1) => *value = true.into(),
            _ => (),
        }
    }
    Some(map.into())
}

fn scores(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Value> {
    let map = as_dict(value, at, problems)?;
    let mut scores = Map::new();
    for (name, score) in map.iter() {
        let at = at.name(name);
        let Some(given) = as_dict(score, at, problems) else { continue };
        let mut score = Map::new();
        for key in ["value", "op_name", "description", "ref_id"] {
            let Some(value) = given.get(key).filter(|value| !value.is_null()) else { continue };
            let at = at.name(key);
            let read = match key {
                "value" => float(value, at, problems),
                _ => text(value, at, problems).map(Value::String),
            };
            score.extend(read.map(|value| (key.to_owned(), value)));
        }
        scores.insert(name.clone(), score.into());
    }
    Some(scores.into())
}

fn array(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Value> {
    let class = match value {
        Value::Array(_) => {
            if let Some(shape) = ragged(value) {
                let axes: Vec<_> = shape.iter().map(usize::to_string).collect();
                let shown = match axes.as_slice() {
                    [one] => format!("({one},)"),
                    _ => format!("({})", axes.join(", ")),
                };
                let message = format!(
                    "setting an array element with a sequence. The requested array has an \
                     inhomogeneous shape after {} dimensions. The detected shape was {shown} + \
                     inhomogeneous part.",
                    shape.len()
                );
                problems.add(at, &message, "value_error");
                return None;
            }
            return Some(value.clone());
        }
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        _ => "dict",
    };
    let message = format!("can not determine the array type: ['builtins'].{class}");
    problems.add(at, &message, "type_error");
    None
}

/// The shape of nested lists as far as they have one, when they have none on the whole.
fn ragged(value: &Value) -> Option<Vec<usize>> {
    let mut shape = Vec::new();
    let mut level = vec![value];
    loop {
        let lengths = level.iter().map(|value| value.as_array().map(Vec::len));
        let mut lengths = lengths.collect::<Vec<_>>();
        lengths.dedup();
        match lengths.as_slice() {
            [Some(length)] => {
                shape.push(*length);
                level = level.iter().filter_map(|value| value.as_array()).flatten().collect();
                if level.is_empty() {
                    return None;
                }
            }
            [None] => return None,
            _ => return Some(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: Value) -> Value {
        match PostV1::read(Some(body), true) {
            Err(Refusal::Invalid(problems)) => problems.into(),
            other => panic!("expected problems, found {other:?}"),
        }
    }

    fn doc(doc: Value) -> Value {
        let post = PostV1::read(Some(json!({"data": [doc]})), true).expect("it is taken");
        post.data.expect("it is there").remove(0).into()
    }

    #[test]
    fn values_are_made_to_fit_as_by_pydantic() {
        assert_eq!(doc(json!({"text": 1, "id": true})), json!({"id": "True", "text": "1"}));
        assert_eq!(
            doc(json!({"granularity": "3", "adjacency": 1.7})),
            json!({"granularity": 3, "adjacency": 1})
        );
        assert_eq!(
            doc(json!({"weight": "1.5", "location": [1, "2"]})),
            json!({"weight": 1.5, "location": [1.0, 2.0]})
        );
        let tags = json!({"one": 1, "float": 1.0, "list": [1], "zero": 0, "two": 2});
        let kept = json!({"one": true, "float": 1.0, "list": [1], "zero": false, "two": 2});
        assert_eq!(doc(json!({"tags": tags}))["tags"], kept);
        assert_eq!(doc(json!({"nosuch": 1, "text": null})), json!({}));
    }

    #[test]
    fn problems_are_told_as_by_pydantic() {
        let dict = json!({"loc": ["body", "data"], "msg": "value is not a valid dict", "type": "type_error.dict"});
        let list = json!({"loc": ["body", "data"], "msg": "value is not a valid list", "type": "type_error.list"});
        assert_eq!(problems(json!({"data": "hi"})), json!([list, dict]));
        assert_eq!(
            problems(json!({"data": {"id": "d"}})),
            json!([list, {"loc": ["body", "data", "id"], "msg": "value is not a valid list", "type": "type_error.list"}])
        );
        assert_eq!(
            problems(json!({"data": [{"text": [1]}], "parameters": [1], "execEndpoint": null})),
            json!([
                {"loc": ["body", "data", 0, "text"], "msg": "str type expected", "type": "type_error.str"},
                dict,
                {"loc": ["body", "parameters"], "msg": "value is not a valid dict", "type": "type_error.dict"},
                {"loc": ["body", "execEndpoint"], "msg": "none is not an allowed value", "type": "type_error.none.not_allowed"},
            ])
        );
        assert_eq!(
            problems(json!({"data": [{"tensor": [[1], [2, 3]]}]}))[0]["msg"],
            "setting an array element with a sequence. The requested array has an inhomogeneous \
             shape after 1 dimensions. The detected shape was (2,) + inhomogeneous part."
        );
        assert!(matches!(
            PostV1::read(Some(json!({"data": {"x": []}})), true),
            Err(Refusal::Internal)
        ));
    }
}
