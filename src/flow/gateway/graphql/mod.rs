//! GraphQL of the v1 family: `/graphql` with the schema of a real gateway, which uses strawberry and
//! graphql-core.

mod docs;
mod query;

use apollo_compiler::executable::OperationType;
use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::resolvers::{Execution, ObjectValue};
use apollo_compiler::response::serde_json_bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use self::docs::Root;
use self::query::SCHEMA;
use super::handle::Gateway;
use super::reply::{self, Reply};

const NO_QUERY: &str = "No GraphQL query found in the request";
const NOT_JSON: &str = "Unable to parse request body as JSON";

/// Answers a request in a query string.
pub(super) async fn get(gateway: &Gateway, query: &str) -> Reply {
    let mut parts = reply::query(query);
    let Some(query) = parts.remove("query") else {
        return reply::text(StatusCode::NOT_FOUND, "");
    };
    if query.is_empty() {
        return reply::text(StatusCode::BAD_REQUEST, NO_QUERY);
    }
    let variables = match parts.get("variables").filter(|text| !text.is_empty()) {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(Value::Null) => Map::new(),
            _ => return reply::text(StatusCode::BAD_REQUEST, NOT_JSON),
        },
    };
    let operation = parts.get("operationName").map(String::as_str).filter(|name| !name.is_empty());
    answer(gateway, Request { query: &query, variables, operation }, true).await
}

/// Answers a request in a body.
pub(super) async fn post(gateway: &Gateway, content_type: Option<&str>, body: &[u8]) -> Reply {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type");
    }
    let body = match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return reply::internal_error(),
        Err(_) => return reply::text(StatusCode::BAD_REQUEST, NOT_JSON),
    };
    let query = match body.get("query") {
        None | Some(Value::Null) => return reply::text(StatusCode::BAD_REQUEST, NO_QUERY),
        Some(Value::String(query)) if query.is_empty() => {
            return reply::text(StatusCode::BAD_REQUEST, NO_QUERY);
        }
        Some(Value::String(query)) => query,
        Some(_) => return reply::internal_error(),
    };
    let variables = match body.get("variables") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => return reply::internal_error(),
    };
    let operation = body.get("operationName").and_then(Value::as_str);
    answer(gateway, Request { query, variables, operation }, false).await
}

/// The parts of a request.
struct Request<'a> {
    query: &'a str,
    variables: Map<String, Value>,
    operation: Option<&'a str>,
}

async fn answer(gateway: &Gateway, request: Request<'_>, by_get: bool) -> Reply {
    let errors = |errors| reply::json(StatusCode::OK, &json!({"data": null, "errors": errors}));
    let document = match query::read(request.query) {
        Ok(document) => document,
        Err(found) => return errors(json!(found)),
    };
    // Of several operations, a real gateway executes the first.
    let operation = match request.operation {
        Some(name) => document.operations.get(Some(name)).ok(),
        None => document.operations.iter().next(),
    };
    let Some(operation) = operation else { return reply::internal_error() };
    if by_get && operation.operation_type == OperationType::Mutation {
        let message = "mutations are not allowed when using GET";
        return reply::text(StatusCode::BAD_REQUEST, message);
    }
    let variables = serde_json_bytes::Value::from(Value::Object(request.variables));
    let variables = variables.as_object().cloned().unwrap_or_default();
    let variables = match coerce_variable_values(&SCHEMA, operation, &variables) {
        Ok(variables) => variables,
        Err(error) => return errors(json!([error.to_graphql_error(&document.sources)])),
    };
    let selected = match query::selected(operation, &document) {
        Ok(selected) => selected,
        Err(error) => return errors(json!([{"message": error.to_string()}])),
    };
    let execute = |root: &dyn ObjectValue| {
        Execution::new(&SCHEMA, &document)
            .operation(operation)
            .coerced_variable_values(&variables)
            .enable_schema_introspection(true)
            .execute_sync(root)
    };
    let mut root = Root { type_name: operation.object_type(), ..Root::default() };
    let mut answer = execute(&root);
    let calls = root.calls.take();
    if answer.is_ok() && !calls.is_empty() {
        for arguments in &calls {
            let docs = docs::send(gateway, arguments, selected).await;
            root.docs.push(docs);
        }
        answer = execute(&root);
    }
    match answer {
        Ok(mut answer) => {
            for error in &mut answer.errors {
                // The prefix that the library adds to a field's message.
                if let Some(message) = error.message.strip_prefix("resolver error: ") {
                    error.message = message.to_owned();
                }
            }
            reply::json(StatusCode::OK, &json!(answer))
        }
        Err(error) => errors(json!([error.to_graphql_error(&document.sources)])),
    }
}
