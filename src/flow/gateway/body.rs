//! Bodies of HTTP requests, taken as the gateway of a family takes them, and refused in the shape
//! of FastAPI: a list of problems, each with `loc`, `msg` and `type`. Of a value that may be one of
//! several things a single problem is told, where pydantic tells one for each.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::wire::{Family, Map};

/// How many problems are told.
const PROBLEMS_MAX: usize = 1000;

/// Why a body is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// 422, with what is wrong.
    Invalid(Vec<Value>),
    /// 500: a real gateway trips over it.
    Internal,
}

/// A body of the v1 family that was taken.
#[derive(Debug)]
pub(super) struct PostV1 {
    /// Documents with their set fields.
    pub(super) data: Option<Vec<Map>>,
    pub(super) parameters: Option<Map>,
    pub(super) target_executor: Option<String>,
    pub(super) exec_endpoint: String,
}

/// A body of the v2 family that was taken.
#[derive(Debug)]
pub(super) struct PostV2 {
    /// Documents with their set fields.
    pub(super) data: Vec<Map>,
    /// Whether one Document was given, and not a list.
    pub(super) alone: bool,
    pub(super) parameters: Option<Map>,
    /// The request id of a header that is there; it may be null.
    pub(super) header: Option<Option<String>>,
    pub(super) target_executor: Option<String>,
}

/// Reads a body. `None` for one that counts as not there.
///
/// # Errors
/// When it says that it is JSON, and is none.
pub(super) fn parse(
    body: &[u8],
    content_type: Option<&str>,
    family: Family,
) -> Result<Option<Value>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    if !is_json(content_type) {
        // FastAPI hands on the bytes, and they are no object.
        return Ok(Some(Value::String(String::from_utf8_lossy(body).into_owned())));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let kind = match family {
                Family::V1 => "value_error.jsondecode",
                Family::V2 => "json_invalid",
            };
            let line = error.line().saturating_sub(1);
            let before: usize =
                body.split_inclusive(|b| *b == b'\n').take(line).map(<[_]>::len).sum();
            let loc = json!(["body", before + error.column().saturating_sub(1)]);
            Err(Refusal::Invalid(vec![json!({"loc": loc, "msg": error.to_string(), "type": kind})]))
        }
    }
}

/// `application/json`, or anything of the form `application/…+json`.
fn is_json(content_type: Option<&str>) -> bool {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let Some((main, sub)) = kind.split_once('/') else { return false };
    main.eq_ignore_ascii_case("application")
        && (sub.eq_ignore_ascii_case("json") || sub.to_ascii_lowercase().ends_with("+json"))
}

impl PostV1 {
    /// Checks a body. `named` says whether it may name its endpoint.
    pub(super) fn read(body: Option<Value>, named: bool) -> Result<PostV1, Refusal> {
        let mut reader = Reader::new(Family::V1, false);
        let at = Loc::BODY;
        let body = body.unwrap_or_else(|| {
            reader.add(at, Wrong::Missing, &Value::Null);
            json!({})
        });
        let body = reader.object(&body, at).unwrap_or_default();
        let either = |alias: &str, name: &str| body.get(alias).or_else(|| body.get(name));
        let is_set = |value: &&Value| !value.is_null();
        let data = body.get("data").filter(is_set);
        let data = data.and_then(|data| reader.data_v1(data, at.name("data")));
        let target_executor = either("targetExecutor", "target_executor").filter(is_set);
        let target_executor =
            target_executor.and_then(|value| reader.text(value, at.name("targetExecutor")));
        let parameters = body.get("parameters").filter(is_set);
        let parameters = parameters.and_then(|value| reader.object(value, at.name("parameters")));
        let exec_endpoint = either("execEndpoint", "exec_endpoint").filter(|_| named);
        let exec_endpoint =
            exec_endpoint.and_then(|value| reader.text(value, at.name("execEndpoint")));
        let post = PostV1 {
            data,
            parameters: parameters.map(Cow::into_owned),
            target_executor,
            exec_endpoint: exec_endpoint.unwrap_or_else(|| "/".into()),
        };
        reader.end(post)
    }

    /// Checks one Document; else what is wrong with it.
    pub(super) fn document(doc: &Value) -> Result<Map, Vec<Value>> {
        let mut reader = Reader::new(Family::V1, false);
        let doc = reader.document(doc, Loc::BODY);
        for problem in &mut reader.found {
            if let Some(Value::Array(loc)) = problem.get_mut("loc") {
                loc.remove(0);
            }
        }
        doc.filter(|_| reader.found.is_empty()).ok_or(reader.found)
    }
}

impl PostV2 {
    /// Checks a body. With `any_field` Documents may have other fields than those of the default
    /// schema.
    pub(super) fn read(body: Option<Value>, any_field: bool) -> Result<PostV2, Refusal> {
        let mut reader = Reader::new(Family::V2, any_field);
        let at = Loc::BODY;
        let Some(body) = body else {
            reader.add(at, Wrong::Missing, &Value::Null);
            return Err(Refusal::Invalid(reader.found));
        };
        let whole = body;
        let Some(body) = reader.object(&whole, at) else {
            return Err(Refusal::Invalid(reader.found));
        };
        let is_set = |value: &&Value| !value.is_null();
        let (mut data, mut alone) = (Vec::new(), false);
        match body.get("data") {
            None => reader.add(at.name("data"), Wrong::Missing, &whole),
            Some(Value::Array(docs)) => data = reader.documents(docs, at.name("data")),
            Some(doc) => {
                data.extend(reader.document(doc, at.name("data")));
                alone = true;
            }
        }
        let parameters = body.get("parameters").filter(is_set);
        let parameters = parameters.and_then(|value| reader.object(value, at.name("parameters")));
        let (mut header, mut target_executor) = (None, None);
        let at = at.name("header");
        let sent = body.get("header").filter(is_set);
        if let Some(sent) = sent
            && let Some(given) = reader.object(sent, at)
        {
            if !given.contains_key("request_id") {
                reader.add(at.name("request_id"), Wrong::Missing, sent);
            }
            let mut text = |name: &str| {
                given.get(name).filter(is_set).and_then(|value| reader.text(value, at.name(name)))
            };
            header = Some(text("request_id"));
            target_executor = text("target_executor");
        }
        let parameters = parameters.map(Cow::into_owned);
        reader.end(PostV2 { data, alone, parameters, header, target_executor })
    }

    /// Checks a body that is one Document.
    pub(super) fn document(body: &Value, any_field: bool) -> Result<Map, Refusal> {
        let mut reader = Reader::new(Family::V2, any_field);
        let doc = reader.document(body, Loc::BODY).unwrap_or_default();
        reader.end(doc)
    }
}

/// The way to a value: names and indices.
#[derive(Clone, Copy)]
struct Loc<'a> {
    before: Option<&'a Loc<'a>>,
    step: LocPart<'a>,
}

#[derive(Clone, Copy)]
enum LocPart<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Loc<'a> {
    const BODY: Loc<'static> = Loc { before: None, step: LocPart::Name("body") };

    fn name(&'a self, name: &'a str) -> Loc<'a> {
        Loc { before: Some(self), step: LocPart::Name(name) }
    }

    fn index(&'a self, index: usize) -> Loc<'a> {
        Loc { before: Some(self), step: LocPart::Index(index) }
    }

    fn to_value(self) -> Value {
        let way = std::iter::successors(Some(&self), |loc| loc.before);
        let mut steps: Vec<Value> = way
            .map(|loc| match loc.step {
                LocPart::Name(name) => name.into(),
                LocPart::Index(index) => index.into(),
            })
            .collect();
        steps.reverse();
        steps.into()
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy)]
enum Wrong {
    Missing,
    Null,
    NoObject,
    NoList,
    NoText,
    NoInteger,
    NoFloat,
    NoArray,
}

impl Wrong {
    /// `type` and `msg`.
    fn told(self, family: Family) -> (&'static str, &'static str) {
        match (family, self) {
            (Family::V1, Wrong::Missing) => ("value_error.missing", "field required"),
            (Family::V1, Wrong::Null) => {
                ("type_error.none.not_allowed", "none is not an allowed value")
            }
            (Family::V1, Wrong::NoObject) => ("type_error.dict", "value is not a valid dict"),
            (Family::V1, Wrong::NoList) => ("type_error.list", "value is not a valid list"),
            (Family::V1, Wrong::NoText) => ("type_error.str", "str type expected"),
            (Family::V1, Wrong::NoInteger) => {
                ("type_error.integer", "value is not a valid integer")
            }
            (Family::V1, Wrong::NoFloat) => ("type_error.float", "value is not a valid float"),
            (Family::V1, Wrong::NoArray) => ("type_error", "can not determine the array type"),
            (Family::V2, Wrong::Missing) => ("missing", "Field required"),
            (Family::V2, Wrong::NoObject) => ("dict_type", "Input should be a valid dictionary"),
            (Family::V2, Wrong::NoList) => ("list_type", "Input should be a valid list"),
            (Family::V2, Wrong::NoInteger) => ("int_type", "Input should be a valid integer"),
            (Family::V2, Wrong::NoFloat | Wrong::NoArray) => {
                ("float_type", "Input should be a valid number")
            }
            (Family::V2, Wrong::Null | Wrong::NoText) => {
                ("string_type", "Input should be a valid string")
            }
        }
    }
}

/// What a field of a Document is made of.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Text of whatever was given.
    Shown,
    Integer,
    Float,
    Floats,
    Array,
    /// An array that nobody looks at before it trips who reads it.
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

/// Reads values, and keeps what is wrong with them.
struct Reader {
    family: Family,
    any_field: bool,
    found: Vec<Value>,
    /// Something that ends the request with a 500.
    internal: bool,
}

impl Reader {
    fn new(family: Family, any_field: bool) -> Reader {
        Reader { family, any_field, found: Vec::new(), internal: false }
    }

    /// Notes what is wrong with a value, or with one that misses something.
    fn add(&mut self, at: Loc<'_>, wrong: Wrong, input: &Value) {
        if self.found.len() < PROBLEMS_MAX {
            let (kind, msg) = wrong.told(self.family);
            let loc = at.to_value();
            self.found.push(match self.family {
                Family::V1 => json!({"loc": loc, "msg": msg, "type": kind}),
                Family::V2 => json!({"type": kind, "loc": loc, "msg": msg, "input": input}),
            });
        }
    }

    /// What was read, if there is nothing wrong with it.
    fn end<T>(self, read: T) -> Result<T, Refusal> {
        match (self.found.is_empty(), self.internal) {
            (false, _) => Err(Refusal::Invalid(self.found)),
            (true, true) => Err(Refusal::Internal),
            (true, false) => Ok(read),
        }
    }

    /// The Documents of a body of v1: a list, or an object with lists of which `docs` counts.
    fn data_v1(&mut self, data: &Value, at: Loc<'_>) -> Option<Vec<Map>> {
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
                // Without the key `docs` its keys are iterated over, and they are no Documents.
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

    fn documents(&mut self, docs: &[Value], at: Loc<'_>) -> Vec<Map> {
        let docs = docs.iter().enumerate();
        docs.filter_map(|(i, doc)| self.document(doc, at.index(i))).collect()
    }

    /// A Document with its set fields, in the order of the schema.
    fn document(&mut self, value: &Value, at: Loc<'_>) -> Option<Map> {
        let given = self.object(value, at)?;
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
        if self.any_field {
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
                // To pydantic 1 and 0 are booleans before they are numbers, if they are integers.
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

    /// Python of v1 makes a dict of an empty list and of an empty text, too.
    fn object<'a>(&mut self, value: &'a Value, at: Loc<'_>) -> Option<Cow<'a, Map>> {
        let is_empty = match value {
            Value::Object(map) => return Some(Cow::Borrowed(map)),
            Value::Array(items) => items.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if is_empty && self.family == Family::V1 {
            return Some(Cow::Owned(Map::new()));
        }
        self.add(at, Wrong::NoObject, value);
        None
    }

    fn list<'a>(&mut self, value: &'a Value, at: Loc<'_>) -> Option<&'a [Value]> {
        if !value.is_array() {
            self.add(at, Wrong::NoList, value);
        }
        value.as_array().map(Vec::as_slice)
    }

    /// Text, of which v1 makes numbers and booleans as well.
    fn text(&mut self, value: &Value, at: Loc<'_>) -> Option<String> {
        match (value, self.family) {
            (Value::String(_), _) | (Value::Number(_) | Value::Bool(_), Family::V1) => {
                return Some(shown(value));
            }
            (Value::Null, _) => self.add(at, Wrong::Null, value),
            _ => self.add(at, Wrong::NoText, value),
        }
        None
    }

    fn integer(&mut self, value: &Value, at: Loc<'_>) -> Option<Value> {
        let found = match value {
            Value::Bool(value) => Some(i64::from(*value).into()),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => Some((float as i64).into()),
                _ => Some(value.clone()),
            },
            Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
            _ => None,
        };
        if found.is_none() {
            self.add(at, Wrong::NoInteger, value);
        }
        found
    }

    fn float(&mut self, value: &Value, at: Loc<'_>) -> Option<Value> {
        let found = match value {
            Value::Bool(value) => Some(f64::from(u8::from(*value))),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if found.is_none() {
            self.add(at, Wrong::NoFloat, value);
        }
        found.map(Value::from)
    }
}

/// A value as Python's `str` shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The shape of nested lists, if they have one.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: std::fmt::Debug>(read: Result<T, Refusal>) -> Value {
        match read {
            Err(Refusal::Invalid(problems)) => problems.into(),
            other => panic!("expected problems, found {other:?}"),
        }
    }

    fn doc_v1(doc: Value) -> Value {
        let post = PostV1::read(Some(json!({"data": [doc]})), true).expect("it is taken");
        post.data.expect("it is there").remove(0).into()
    }

    #[test]
    fn values_are_made_to_fit_as_by_pydantic() {
        assert_eq!(doc_v1(json!({"text": 1, "id": true})), json!({"id": "True", "text": "1"}));
        assert_eq!(
            doc_v1(json!({"granularity": "3", "adjacency": 1.7})),
            json!({"granularity": 3, "adjacency": 1})
        );
        assert_eq!(
            doc_v1(json!({"weight": "1.5", "location": [1, "2"]})),
            json!({"weight": 1.5, "location": [1.0, 2.0]})
        );
        let tags = json!({"one": 1, "float": 1.0, "list": [1], "zero": 0, "two": 2});
        let kept = json!({"one": true, "float": 1.0, "list": [1], "zero": false, "two": 2});
        assert_eq!(doc_v1(json!({"tags": tags}))["tags"], kept);
        assert_eq!(doc_v1(json!({"nosuch": 1, "text": null})), json!({}));
    }

    #[test]
    fn problems_of_v1_have_place_words_and_type() {
        let read = |body| told(PostV1::read(Some(body), true));
        let list = json!({"loc": ["body", "data"], "msg": "value is not a valid list", "type": "type_error.list"});
        assert_eq!(read(json!({"data": "hi"})), json!([list]));
        assert_eq!(
            read(json!({"data": {"id": "d"}})),
            json!([{"loc": ["body", "data", "id"], "msg": "value is not a valid list", "type": "type_error.list"}])
        );
        assert_eq!(
            read(json!({"data": [{"text": [1]}], "parameters": [1], "execEndpoint": null})),
            json!([
                {"loc": ["body", "data", 0, "text"], "msg": "str type expected", "type": "type_error.str"},
                {"loc": ["body", "parameters"], "msg": "value is not a valid dict", "type": "type_error.dict"},
                {"loc": ["body", "execEndpoint"], "msg": "none is not an allowed value", "type": "type_error.none.not_allowed"},
            ])
        );
        let of_array = read(json!({"data": [{"tensor": [[1], [2, 3]]}]}));
        assert_eq!(of_array[0]["loc"], json!(["body", "data", 0, "tensor"]));
        assert_eq!(
            PostV1::read(Some(json!({"data": {"x": []}})), true).expect_err("no `docs`"),
            Refusal::Internal
        );
        assert_eq!(told(PostV1::read(None, true))[0]["type"], "value_error.missing");
    }

    #[test]
    fn problems_of_v2_have_place_words_and_type() {
        let read = |body| told(PostV2::read(Some(body), false));
        let problem = |loc: Value, kind: &str, msg: &str, input: Value| -> Value {
            json!({"loc": loc, "msg": msg, "type": kind, "input": input})
        };
        let header = json!({"target_executor": 5});
        let body = json!({"header": header});
        let id = json!(["body", "header", "request_id"]);
        assert_eq!(
            read(body.clone()),
            json!([
                problem(json!(["body", "data"]), "missing", "Field required", body),
                problem(id, "missing", "Field required", header),
                problem(
                    json!(["body", "header", "target_executor"]),
                    "string_type",
                    "Input should be a valid string",
                    json!(5)
                ),
            ])
        );
        assert_eq!(
            read(json!({"data": [{"text": 1, "chunks": [5]}]})),
            json!([
                problem(
                    json!(["body", "data", 0, "chunks", 0]),
                    "dict_type",
                    "Input should be a valid dictionary",
                    json!(5)
                ),
                problem(
                    json!(["body", "data", 0, "text"]),
                    "string_type",
                    "Input should be a valid string",
                    json!(1)
                ),
            ])
        );
    }

    #[test]
    fn one_document_and_any_id_are_taken() {
        let post = PostV2::read(Some(json!({"data": {"id": 5, "nosuch": 1}})), false);
        let post = post.expect("it is taken");
        assert!(post.alone);
        assert_eq!(Value::from(post.data[0].clone()), json!({"id": "5"}));
        let post = PostV2::read(Some(json!({"data": {"nosuch": 1}})), true).expect("it is taken");
        assert_eq!(Value::from(post.data[0].clone()), json!({"nosuch": 1}));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let read =
            |body: &str, family| told(parse(body.as_bytes(), Some("application/json"), family));
        for (body, position) in
            [("not json", 1), ("{\"data\":[]", 9), ("{\"a\":\n\n  tru}", 12), ("[1] x", 4)]
        {
            let found = read(body, Family::V1);
            assert_eq!(found[0]["loc"], json!(["body", position]), "{body}");
            assert_eq!(found[0]["type"], "value_error.jsondecode");
            assert_eq!(read(body, Family::V2)[0]["type"], "json_invalid");
        }
        assert_eq!(parse(b"", Some("application/json"), Family::V1), Ok(None));
        assert_eq!(parse(b"null", Some("application/json"), Family::V1), Ok(None));
        assert_eq!(parse(b"x", None, Family::V1), Ok(Some("x".into())));
    }
}
