//! Bodies of the v2 family: `{"data": …, "parameters": …, "header": …}`, `LegacyDocumentJina` and
//! pydantic 2.

use serde_json::{Value, json};

use super::{Loc, PROBLEMS_MAX, Refusal, python_str};
use crate::wire::Map;

/// A body that was taken.
#[derive(Debug)]
pub(in crate::flow::gateway) struct PostV2 {
    /// Documents with their fields as pydantic made them.
    pub(in crate::flow::gateway) data: Vec<Map>,
    /// Whether one Document was given, and not a list.
    pub(in crate::flow::gateway) alone: bool,
    pub(in crate::flow::gateway) parameters: Option<Map>,
    /// The request id of a header that is there; it may be null.
    pub(in crate::flow::gateway) header: Option<Option<String>>,
    pub(in crate::flow::gateway) target_executor: Option<String>,
}

/// What pydantic calls the kinds of a list of Documents within a Document.
const UNION: &str = "union[is-instance[DocList],function-after[validate_fn(), json-or-python[json=list[...],python=chain[is-instance[Sequence],function-wrap[sequence_validator()]]]]]";
const SEQUENCE: &str = "function-after[validate_fn(), json-or-python[json=list[...],python=chain[is-instance[Sequence],function-wrap[sequence_validator()]]]]";
const DOC: &str = "LegacyDocumentJina";
const DOC_LIST: &str = "list[LegacyDocumentJina]";

struct Problems {
    found: Vec<Value>,
    /// How many more are told.
    room: usize,
    /// Something that ends the request with a 500.
    internal: bool,
}

impl Problems {
    fn new(room: usize) -> Problems {
        Problems { found: Vec::new(), room, internal: false }
    }

    /// For a part that may turn out to be right in another way.
    fn part(&self) -> Problems {
        Problems::new(self.room)
    }

    fn join(&mut self, part: Problems) {
        self.room = self.room.saturating_sub(part.found.len());
        self.found.extend(part.found);
        self.internal |= part.internal;
    }

    fn push(&mut self, problem: Value) {
        if self.room > 0 {
            self.room -= 1;
            self.found.push(problem);
        }
    }

    fn add(&mut self, at: Loc<'_>, kind: &str, msg: &str, input: &Value) {
        self.push(json!({"type": kind, "loc": at.to_value(), "msg": msg, "input": input}));
    }

    fn with_context(&mut self, at: Loc<'_>, kind: &str, msg: &str, input: &Value, ctx: Value) {
        self.push(
            json!({"type": kind, "loc": at.to_value(), "msg": msg, "input": input, "ctx": ctx}),
        );
    }

    /// What was read, if there is nothing wrong with it.
    fn end<T>(self, read: T) -> Result<T, Refusal> {
        match (self.found.is_empty(), self.internal) {
            (false, _) => Err(Refusal::Invalid(self.found)),
            (true, true) => Err(Refusal::Internal),
            (true, false) => Ok(read),
        }
    }

    fn no_object(&mut self, at: Loc<'_>, input: &Value) {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        self.add(at, "model_attributes_type", msg, input);
    }
}

impl PostV2 {
    /// Checks a body. With `any_field` Documents may have other fields than those of the default
    /// schema.
    pub(in crate::flow::gateway) fn read(
        body: Option<Value>,
        any_field: bool,
    ) -> Result<PostV2, Refusal> {
        let mut problems = Problems::new(PROBLEMS_MAX);
        let at = Loc::BODY;
        let body = match body {
            None => {
                problems.add(at, "missing", "Field required", &Value::Null);
                return Err(Refusal::Invalid(problems.found));
            }
            Some(body) => body,
        };
        let Value::Object(given) = &body else {
            problems.no_object(at, &body);
            return Err(Refusal::Invalid(problems.found));
        };
        let (mut data, mut alone) = (Vec::new(), false);
        match given.get("data") {
            None => problems.add(at.name("data"), "missing", "Field required", &body),
            Some(value) => {
                (data, alone) = self::data(value, at.name("data"), any_field, &mut problems);
            }
        }
        let parameters = given
            .get("parameters")
            .filter(|value| !value.is_null())
            .and_then(|value| dict(value, at.name("parameters"), &mut problems));
        let (mut header, mut target_executor) = (None, None);
        if let Some(value) = given.get("header").filter(|value| !value.is_null()) {
            let at = at.name("header");
            match value {
                Value::Object(given) => {
                    if !given.contains_key("request_id") {
                        problems.add(at.name("request_id"), "missing", "Field required", value);
                    }
                    let mut text = |name: &str| match given.get(name) {
                        None | Some(Value::Null) => None,
                        Some(value) => string(value, at.name(name), &mut problems),
                    };
                    header = Some(text("request_id"));
                    target_executor = text("target_executor");
                }
                value => problems.no_object(at, value),
            }
        }
        problems.end(PostV2 { data, alone, parameters, header, target_executor })
    }
}

/// Checks a body that is one Document.
pub(in crate::flow::gateway) fn document_v2(body: &Value, any_field: bool) -> Result<Map, Refusal> {
    let mut problems = Problems::new(PROBLEMS_MAX);
    let doc = match body {
        Value::Object(given) => document(given, Loc::BODY, any_field, &mut problems),
        body => {
            problems.no_object(Loc::BODY, body);
            Map::new()
        }
    };
    problems.end(doc)
}

/// A list of Documents, or one.
fn data(value: &Value, at: Loc<'_>, any_field: bool, problems: &mut Problems) -> (Vec<Map>, bool) {
    let mut of_list = problems.part();
    let in_list = at.name(DOC_LIST);
    let mut of_one = problems.part();
    match value {
        Value::Array(items) => {
            let docs = list(items, in_list, any_field, &mut of_list);
            if of_list.found.is_empty() {
                problems.internal |= of_list.internal;
                return (docs, false);
            }
            of_one.no_object(at.name(DOC), value);
        }
        Value::Object(given) => {
            let doc = document(given, at.name(DOC), any_field, &mut of_one);
            if of_one.found.is_empty() {
                problems.internal |= of_one.internal;
                return (vec![doc], true);
            }
            of_list.add(in_list, "list_type", "Input should be a valid list", value);
        }
        value => {
            of_list.add(in_list, "list_type", "Input should be a valid list", value);
            of_one.no_object(at.name(DOC), value);
        }
    }
    problems.join(of_list);
    problems.join(of_one);
    (Vec::new(), false)
}

fn list(items: &[Value], at: Loc<'_>, any_field: bool, problems: &mut Problems) -> Vec<Map> {
    let mut docs = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = at.index(i);
        match item {
            Value::Object(given) => docs.push(document(given, at, any_field, problems)),
            item => problems.no_object(at, item),
        }
    }
    docs
}

/// A Document with its set fields.
fn document(given: &Map, at: Loc<'_>, any_field: bool, problems: &mut Problems) -> Map {
    let mut doc = Map::new();
    for name in
        ["id", "tensor", "chunks", "matches", "blob", "text", "url", "embedding", "tags", "scores"]
    {
        let Some(value) = given.get(name) else { continue };
        let at = at.name(name);
        if value.is_null() {
            match name {
                "tags" => drop(dict(value, at, problems)),
                _ => drop(doc.insert(name.to_owned(), Value::Null)),
            }
            continue;
        }
        let read = match name {
            "id" => Some(python_str(value).into()),
            "text" | "url" => string(value, at, problems).map(Value::String),
            "blob" => match value {
                Value::String(_) => Some(value.clone()),
                value => {
                    problems.add(at, "bytes_type", "Input should be a valid bytes", value);
                    None
                }
            },
            "tags" | "scores" => dict(value, at, problems).map(Value::Object),
            "chunks" | "matches" => documents(value, at, any_field, problems),
            _ => {
                // Whatever numpy makes no array of is an error that nobody catches.
                problems.internal |= !value.is_array();
                Some(value.clone())
            }
        };
        doc.extend(read.map(|value| (name.to_owned(), value)));
    }
    if any_field {
        let further = given.iter().filter(|(name, _)| !doc.contains_key(*name));
        let further: Vec<_> = further.map(|(name, value)| (name.clone(), value.clone())).collect();
        doc.extend(further);
    }
    doc
}

/// Documents within a Document: a `DocList`, a sequence or a list.
fn documents(
    value: &Value,
    at: Loc<'_>,
    any_field: bool,
    problems: &mut Problems,
) -> Option<Value> {
    if problems.room == 0 {
        return None;
    }
    let union = at.name(UNION);
    let (instance, sequence, plain) =
        (union.name("is-instance[DocList]"), union.name(SEQUENCE), at.name(DOC_LIST));
    let no_instance = |problems: &mut Problems| {
        let msg = "Input should be an instance of DocList";
        let ctx = json!({"class": "DocList"});
        problems.with_context(instance, "is_instance_of", msg, value, ctx);
    };
    let Value::Array(items) = value else {
        no_instance(problems);
        match value {
            Value::String(_) => {
                let msg = "'str' instances are not allowed as a Sequence value";
                let ctx = json!({"type_name": "str"});
                problems.with_context(sequence, "sequence_str", msg, value, ctx);
            }
            _ => {
                let msg = "Input should be an instance of Sequence";
                let ctx = json!({"class": "Sequence"});
                problems.with_context(sequence, "is_instance_of", msg, value, ctx);
            }
        }
        problems.add(plain, "list_type", "Input should be a valid list", value);
        return None;
    };
    let mut found = problems.part();
    let docs = list(items, sequence, any_field, &mut found);
    if found.found.is_empty() {
        problems.internal |= found.internal;
        return Some(docs.into_iter().map(Value::Object).collect());
    }
    no_instance(problems);
    problems.join(found);
    list(items, plain, any_field, problems);
    None
}

fn dict(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<Map> {
    match value {
        Value::Object(map) => Some(map.clone()),
        value => {
            problems.add(at, "dict_type", "Input should be a valid dictionary", value);
            None
        }
    }
}

fn string(value: &Value, at: Loc<'_>, problems: &mut Problems) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        value => {
            problems.add(at, "string_type", "Input should be a valid string", value);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: Value) -> Value {
        match PostV2::read(Some(body), false) {
            Err(Refusal::Invalid(problems)) => problems.into(),
            other => panic!("expected problems, found {other:?}"),
        }
    }

    #[test]
    fn a_body_needs_data_and_a_header_its_id() {
        assert_eq!(
            problems(json!({"header": {"target_executor": 5}})),
            json!([
                {"type": "missing", "loc": ["body", "data"], "msg": "Field required",
                 "input": {"header": {"target_executor": 5}}},
                {"type": "missing", "loc": ["body", "header", "request_id"],
                 "msg": "Field required", "input": {"target_executor": 5}},
                {"type": "string_type", "loc": ["body", "header", "target_executor"],
                 "msg": "Input should be a valid string", "input": 5},
            ])
        );
    }

    #[test]
    fn both_forms_of_data_are_told_of() {
        assert_eq!(
            problems(json!({"data": [{"text": 1}]})),
            json!([
                {"type": "string_type", "loc": ["body", "data", DOC_LIST, 0, "text"],
                 "msg": "Input should be a valid string", "input": 1},
                {"type": "model_attributes_type", "loc": ["body", "data", DOC],
                 "msg": "Input should be a valid dictionary or object to extract fields from",
                 "input": [{"text": 1}]},
            ])
        );
        let kinds = |body| {
            let found = problems(body);
            let found = found.as_array().cloned().unwrap_or_default();
            found.into_iter().map(|problem| problem["type"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(json!({"data": [{"chunks": [5]}]})),
            [
                "is_instance_of",
                "model_attributes_type",
                "model_attributes_type",
                "model_attributes_type"
            ]
        );
    }

    #[test]
    fn problems_that_double_with_every_level_have_an_end() {
        let mut doc = json!({"chunks": [5]});
        for _ in 0..50 {
            doc = json!({"chunks": [doc]});
        }
        let count = problems(json!({"data": [doc]})).as_array().map_or(0, Vec::len);
        assert!(count <= 2 * PROBLEMS_MAX, "{count}");
    }

    #[test]
    fn one_document_and_any_id_are_taken() {
        let post = PostV2::read(Some(json!({"data": {"id": 5, "nosuch": 1}})), false);
        let post = post.expect("it is taken");
        assert!(post.alone);
        assert_eq!(Value::from(post.data[0].clone()), json!({"id": "5"}));
    }
}
