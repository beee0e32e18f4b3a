//! Bodies of HTTP requests, validated as the gateway of a family does. A body that is rejected gets a list
//! of problems in FastAPI's format, each with `loc`, `msg` and `type`. For a value that may have several
//! types, pydantic lists a problem for each; here it is one. Messages are those of pydantic, because Jina's
//! client shows them.

mod document;
mod reader;

use std::borrow::Cow;

use serde_json::{Value, json};

pub(super) use self::document::all_keys;
pub(super) use self::reader::Refusal;
use self::reader::{Loc, Reader, Wrong};
use crate::flow::executor::Fields;
use crate::wire::{Family, Map};

/// A valid body of the v1 family.
#[derive(Debug)]
pub(super) struct PostV1 {
    /// The Documents, with the fields that are set.
    pub(super) data: Option<Vec<Map>>,
    pub(super) parameters: Option<Map>,
    pub(super) target_executor: Option<String>,
    pub(super) exec_endpoint: String,
}

/// A valid body of the v2 family.
#[derive(Debug)]
pub(super) struct PostV2 {
    /// The Documents, with the fields that are set.
    pub(super) data: Vec<Map>,
    /// Whether a single Document was given rather than a list.
    pub(super) alone: bool,
    pub(super) parameters: Option<Map>,
    /// The request id of the header, if there is a header; it may be null.
    pub(super) header: Option<Option<String>>,
    pub(super) target_executor: Option<String>,
}

/// Parses a body. `None` for an empty body or `null`.
///
/// # Errors
/// When the content type says JSON but the body is not.
pub(super) fn parse(
    body: &[u8],
    content_type: Option<&str>,
    family: Family,
) -> Result<Option<Value>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    if !is_json(content_type) {
        // FastAPI passes the bytes on, and validation fails because they are not an object.
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
    /// Checks a body. `named` tells whether it may name its endpoint.
    pub(super) fn read(body: Option<Value>, named: bool) -> Result<PostV1, Refusal> {
        let mut reader = Reader::new(Family::V1, Fields::Legacy);
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

    /// Checks one Document.
    ///
    /// # Errors
    /// The problems, with `loc` counted from the Document.
    pub(super) fn document(doc: &Value) -> Result<Map, Vec<Value>> {
        let mut reader = Reader::new(Family::V1, Fields::Legacy);
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
    /// Checks a body whose Documents may have these fields.
    pub(super) fn read(body: Option<Value>, fields: &Fields) -> Result<PostV2, Refusal> {
        let mut reader = Reader::new(Family::V2, fields.clone());
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
            Some(Value::Array(docs)) => {
                let at = at.name("data");
                // Of several possible types, pydantic's `loc` names the one it tried.
                let own = fields.own().map(|own| format!("list[{}]", own.schema.name()));
                data = match &own {
                    Some(of) => reader.documents(docs, at.name(of)),
                    None => reader.documents(docs, at),
                };
            }
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

    /// Checks a body that is a single Document.
    pub(super) fn document(body: &Value, fields: &Fields) -> Result<Map, Refusal> {
        let mut reader = Reader::new(Family::V2, fields.clone());
        let doc = reader.document(body, Loc::BODY).unwrap_or_default();
        reader.end(doc)
    }
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
        let read = |body| told(PostV2::read(Some(body), &Fields::Legacy));
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
        let post = PostV2::read(Some(json!({"data": {"id": 5, "nosuch": 1}})), &Fields::Legacy);
        let post = post.expect("it is taken");
        assert!(post.alone);
        assert_eq!(Value::from(post.data[0].clone()), json!({"id": "5"}));
        let post =
            PostV2::read(Some(json!({"data": {"nosuch": 1}})), &Fields::Any).expect("it is taken");
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
