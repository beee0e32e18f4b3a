//! Carrying out an operation: Documents through the Flow, and introspection.

use serde_json::{Map, Value as Json, json};

use super::Problem;
use super::plan::{Plan, Selected};
use super::schema::SCHEMA;
use super::values::python_class;
use crate::flow::gateway::body::PostV1;
use crate::flow::gateway::codecs::{self, CodecError};
use crate::flow::gateway::failure::CallFailure;
use crate::flow::gateway::handle::Gateway;
use crate::flow::gateway::post::{MessageError, message_v1};
use crate::wire::{DecodeError, EncodeError, Family, Protocol, graphql};

/// How many values an answer has at most: selections can multiply what little is asked for.
const VALUES_MAX: usize = 1_000_000;

/// Answers each field of an operation.
pub(super) async fn run(gateway: &Gateway, plan: Plan) -> Result<Json, Problem> {
    let mut answer = Map::new();
    let mut values = 0;
    for (key, field) in &plan.selections {
        let told = |message: String| Problem {
            path: Some(key.clone()),
            ..Problem::new(message, field.at)
        };
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

/// An answer is larger than anybody should ask for.
#[derive(Debug, thiserror::Error)]
#[error("The answer has more than {VALUES_MAX} values.")]
struct TooLarge;

/// What is selected of a value. Types stand for themselves by their names.
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
    /// The Python class they are of.
    #[error("'{0}' object has no attribute 'items'")]
    Parameters(&'static str),
    #[error("{}", validation(.0))]
    Document(Vec<Json>),
    #[error(
        "1 validation error for PydanticDocument\nblob\n  {0} (type=value_error.unicodedecode)"
    )]
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

/// What pydantic's exception says.
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

/// Takes one layer of base64 off blobs. The gateway reads blobs that GraphQL has decoded already
/// as if they still were base64, which they are only where a client has encoded them twice.
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

/// Keys as Python writes them. Of a list of scores Python makes a dict of the keys of the first.
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
