//! The fields of an operation: sends Documents through the Flow.

use std::cell::RefCell;

use apollo_compiler::ast::Type;
use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::response::{JsonMap, serde_json_bytes};
use serde_json::{Map, Value, json};

use super::query::{self, NoJson, SCHEMA, TooLarge};
use crate::flow::gateway::body::PostV1;
use crate::flow::gateway::codecs::{self, CodecError};
use crate::flow::gateway::failure::CallFailure;
use crate::flow::gateway::handle::Gateway;
use crate::flow::gateway::post::{MessageError, message_v1};
use crate::wire::{DecodeError, EncodeError, Family, Protocol, graphql, python_class};

/// `Query` or `Mutation`. Resolvers cannot wait for a Flow, so it is executed once to collect the calls of `docs`, and
/// again with the Documents that came back.
#[derive(Default)]
pub(super) struct Root<'a> {
    pub(super) type_name: &'a str,
    /// The arguments of each `docs` so far, in order.
    pub(super) calls: RefCell<Vec<JsonMap>>,
    /// The answers, in the same order; empty when it is executed to collect the calls.
    pub(super) docs: Vec<Result<Vec<Value>, DocsError>>,
}

impl ObjectValue for Root<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let mut calls = self.calls.borrow_mut();
        let docs = self.docs.get(calls.len());
        calls.push(info.arguments().clone());
        match docs {
            None => Ok(ResolvedValue::SkipForPartialExecution),
            Some(Ok(docs)) => Ok(list(docs, info.field_definition().ty.item_type())),
            Some(Err(error)) => Err(FieldError { message: error.to_string() }),
        }
    }
}

/// A Document or a score.
struct Object<'a> {
    type_name: &'a str,
    fields: &'a Map<String, Value>,
}

impl ObjectValue for Object<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, FieldError> {
        let value = self.fields.get(info.field_name()).unwrap_or(&Value::Null);
        Ok(resolved(value, &info.field_definition().ty))
    }
}

fn list<'a>(items: &'a [Value], of: &'a Type) -> ResolvedValue<'a> {
    ResolvedValue::list(items.iter().map(move |item| resolved(item, of)))
}

fn resolved<'a>(value: &'a Value, of: &'a Type) -> ResolvedValue<'a> {
    let type_name = of.inner_named_type();
    match value {
        Value::Array(items) if of.is_list() => list(items, of.item_type()),
        Value::Object(fields) if SCHEMA.get_object(type_name).is_some() => {
            ResolvedValue::object(Object { type_name, fields })
        }
        leaf => ResolvedValue::leaf(leaf.clone()),
    }
}

/// Sends Documents through the Flow. An Executor's exception goes unnoticed, as it does with a real gateway.
///
/// # Errors
/// When the request is invalid, the Flow did not answer, or the answer has too many values with `selected`
/// fields per Document.
pub(super) async fn send(
    gateway: &Gateway,
    arguments: &JsonMap,
    selected: usize,
) -> Result<Vec<Value>, DocsError> {
    let given = |key: &str| {
        arguments.get(key).and_then(|value| serde_json_bytes::from_value(value.clone()).ok())
    };
    let Some(Value::Array(data)) = given("data") else {
        return Err(DocsError::NoData);
    };
    let data = data.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    let parameters = match json_of(&given("parameters").unwrap_or_default())? {
        Value::Null => None,
        Value::Object(map) => Some(map),
        other => return Err(DocsError::Parameters(python_class(&other))),
    };
    let text = |key: &str| arguments.get(key).and_then(|text| text.as_str()).map(str::to_owned);
    let post = PostV1 {
        data: Some(data),
        parameters,
        target_executor: text("targetExecutor"),
        exec_endpoint: text("execEndpoint").unwrap_or_default(),
    };
    let message = message_v1(post, None)?;
    let note = gateway.arrived(&message, Protocol::Http);
    let answer = gateway.handle(message).await;
    note.departs(answer.is_ok());
    let answer = answer?.into_request(Family::V1)?;
    let docs = answer.docs().iter().map(graphql::from_document);
    let docs = docs.collect::<Result<Vec<_>, _>>()?;
    query::bounded(selected, docs.iter().map(nested).sum())?;
    Ok(docs)
}

/// The number of Documents in a Document, itself included.
fn nested(doc: &Value) -> usize {
    let within = |key: &str| doc[key].as_array().into_iter().flatten().map(nested).sum::<usize>();
    1 + within("chunks") + within("matches")
}

/// Why Documents were not sent through the Flow, or did not come back.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocsError {
    #[error("'NoneType' object is not iterable")]
    NoData,
    /// The Python class of the parameters.
    #[error("'{0}' object has no attribute 'items'")]
    Parameters(&'static str),
    /// What is wrong, and where in the Document.
    #[error("{}", validation(.0))]
    Document(Vec<Value>),
    /// The value of a variable is not of the variable's type.
    #[error(transparent)]
    Scalar(#[from] NoJson),
    #[error("blob: {0}")]
    Blob(#[from] CodecError),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Call(#[from] CallFailure),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Parses JSON that a variable holds as text.
fn json_of(value: &Value) -> Result<Value, NoJson> {
    query::json_scalar(value, || value.to_string())
}

/// A Document from a `StrawberryDocumentInput`, as pydantic takes it.
fn document(input: &Value) -> Result<Map<String, Value>, DocsError> {
    let mut input = snake_case(input)?;
    unwrap_blobs(&mut input)?;
    PostV1::document(&input).map_err(DocsError::Document)
}

/// The message of pydantic's exception, which clients are shown.
fn validation(problems: &[Value]) -> String {
    let errors = if problems.len() == 1 { "error" } else { "errors" };
    let mut message = format!("{} validation {errors} for PydanticDocument", problems.len());
    for problem in problems {
        let way = problem["loc"].as_array().into_iter().flatten();
        let way: Vec<_> =
            way.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect();
        let text = |key: &str| problem[key].as_str().unwrap_or_default();
        let (way, msg, kind) = (way.join(" -> "), text("msg"), text("type"));
        message.push_str(&format!("\n{way}\n  {msg} (type={kind})"));
    }
    message
}

/// Decodes blobs once. A real gateway decodes them again after GraphQL has done so, which works only where
/// the client has encoded them twice.
fn unwrap_blobs(doc: &mut Value) -> Result<(), CodecError> {
    if let Some(Value::String(blob)) = doc.get_mut("blob") {
        *blob = codecs::base64(blob).and_then(codecs::utf8)?;
    }
    for key in ["chunks", "matches"] {
        for doc in doc.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            unwrap_blobs(doc)?;
        }
    }
    Ok(())
}

/// Converts keys to snake_case and tags to the JSON that they hold. A real gateway turns a list of scores
/// into a dict with the keys of the first one.
fn snake_case(input: &Value) -> Result<Value, DocsError> {
    let Value::Object(map) = input else { return Ok(input.clone()) };
    let entry = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("chunks" | "matches", Value::Array(docs)) => {
                docs.iter().map(snake_case).collect::<Result<_, _>>()?
            }
            ("scores" | "evaluations", Value::Array(scores)) => match scores.is_empty() {
                true => json!({}),
                false => json!({"name": "score"}),
            },
            ("tags", value) => json_of(value)?,
            _ => value.clone(),
        };
        let key = match key.as_str() {
            "parentId" => "parent_id",
            "mimeType" => "mime_type",
            key => key,
        };
        Ok((key.to_owned(), value))
    };
    map.iter().map(entry).collect::<Result<_, _>>().map(Value::Object)
}
