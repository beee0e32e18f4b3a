//! Executes an operation: sends Documents through the Flow, and answers introspection.

use serde_json::{Map, Value as Json, json};

use super::plan::{Plan, Selected};
use super::problem::Problem;
use super::schema::SCHEMA;
use super::values::python_class;
use crate::flow::gateway::body::PostV1;
use crate::flow::gateway::codecs::{self, CodecError};
use crate::flow::gateway::failure::CallFailure;
use crate::flow::gateway::handle::Gateway;
use crate::flow::gateway::post::{MessageError, message_v1};
use crate::wire::{DecodeError, EncodeError, Family, Protocol, graphql};

/// Maximum number of values in an answer: a small query can select the same value many times over.
const VALUES_MAX: usize = 1_000_000;

/// Answers each field of an operation.
pub(super) async fn run(gateway: &Gateway, plan: Plan) -> Result<Json, Problem> {
    let mut answer = Map::new();
    let mut values = 0;
    for (key, field) in &plan.selections {
        let told = |message| Problem { message, at: field.at, path: Some(key.clone()) };
        let whole = match field.name.as_str() {
            "docs" => docs(gateway, field).await.map_err(|error| told(error.to_string()))?,
            "__schema" => SCHEMA.whole.clone(),
            "__type" => field.arguments["name"].clone(),
            // `__typename`
            _ => plan.of.into(),
        };
        let value = match field.selections.is_empty() {
            true => whole,
            false => {
                project(&whole, field, &mut values).map_err(|error| told(error.to_string()))?
            }
        };
        answer.insert(key.clone(), value);
    }
    Ok(answer.into())
}

/// The answer would be too large.
#[derive(Debug, thiserror::Error)]
#[error("The answer has more than {VALUES_MAX} values.")]
struct TooLarge;

/// The selected parts of a value. A string of type `__Type` is the name of a type of the schema.
fn project(value: &Json, selected: &Selected, values: &mut usize) -> Result<Json, TooLarge> {
    let map = match value {
        Json::Array(items) => {
            return items.iter().map(|item| project(item, selected, values)).collect();
        }
        Json::String(name) if selected.of == "__Type" => SCHEMA.named(name),
        value => Some(value),
    };
    let Some(Json::Object(map)) = map else { return Ok(Json::Null) };
    let mut found = Map::new();
    for (key, field) in &selected.selections {
        *values += 1;
        if *values > VALUES_MAX {
            return Err(TooLarge);
        }
        let value = match (field.name.as_str(), map.get(&field.name)) {
            ("__typename", _) => selected.of.into(),
            (_, None) => Json::Null,
            (_, Some(value)) if field.selections.is_empty() => value.clone(),
            (_, Some(value)) => project(value, field, values)?,
        };
        found.insert(key.clone(), value);
    }
    Ok(found.into())
}

/// Why Documents were not sent through the Flow, or did not come back.
#[derive(Debug, thiserror::Error)]
enum DocsError {
    #[error("'NoneType' object is not iterable")]
    NoData,
    /// The Python class of the parameters.
    #[error("'{0}' object has no attribute 'items'")]
    Parameters(&'static str),
    /// What is wrong, and where in the Document.
    #[error("{}", validation(.0))]
    Document(Vec<Json>),
    #[error("blob: {0}")]
    Blob(#[from] CodecError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Call(#[from] CallFailure),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Sends Documents through the Flow. An Executor's exception goes unnoticed, as it does with a real
/// gateway.
async fn docs(gateway: &Gateway, field: &Selected) -> Result<Json, DocsError> {
    let Some(Json::Array(data)) = field.arguments.get("data") else {
        return Err(DocsError::NoData);
    };
    let data = data.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    let parameters = match field.arguments.get("parameters") {
        None | Some(Json::Null) => None,
        Some(Json::Object(map)) => Some(map.clone()),
        Some(other) => return Err(DocsError::Parameters(python_class(other))),
    };
    let text = |key: &str| field.arguments.get(key).and_then(Json::as_str).map(str::to_owned);
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
    Ok(docs.collect::<Result<_, _>>()?)
}

/// A Document from a `StrawberryDocumentInput`, as pydantic takes it.
fn document(input: &Json) -> Result<Map<String, Json>, DocsError> {
    let mut input = snake_case(input);
    unwrap_blobs(&mut input)?;
    PostV1::document(&input).map_err(DocsError::Document)
}

/// The message of pydantic's exception, which clients are shown.
fn validation(problems: &[Json]) -> String {
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
fn unwrap_blobs(doc: &mut Json) -> Result<(), CodecError> {
    if let Some(Json::String(blob)) = doc.get_mut("blob") {
        *blob = codecs::base64(blob).and_then(codecs::utf8)?;
    }
    for key in ["chunks", "matches"] {
        for doc in doc.get_mut(key).and_then(Json::as_array_mut).into_iter().flatten() {
            unwrap_blobs(doc)?;
        }
    }
    Ok(())
}

/// Keys in snake_case. A real gateway turns a list of scores into a dict of the keys of the first one.
fn snake_case(input: &Json) -> Json {
    let Json::Object(map) = input else { return input.clone() };
    let entry = |(key, value): (&String, &Json)| {
        let value = match (key.as_str(), value) {
            ("chunks" | "matches", Json::Array(docs)) => docs.iter().map(snake_case).collect(),
            ("scores" | "evaluations", Json::Array(scores)) => match scores.is_empty() {
                true => json!({}),
                false => json!({"name": "score"}),
            },
            _ => value.clone(),
        };
        let key = match key.as_str() {
            "parentId" => "parent_id",
            "mimeType" => "mime_type",
            key => key,
        };
        (key.to_owned(), value)
    };
    Json::Object(map.iter().map(entry).collect())
}
