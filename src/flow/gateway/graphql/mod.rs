//! GraphQL of the v1 family: `/graphql` with the schema of a real gateway, which uses strawberry and
//! graphql-core.

mod execute;
mod plan;
mod problem;
mod schema;
mod values;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use self::plan::{Refusal, Request};
use self::problem::Problem;
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

async fn answer(gateway: &Gateway, request: Request<'_>, by_get: bool) -> Reply {
    let failed = |problem: &Problem| {
        reply::json(StatusCode::OK, &json!({"data": null, "errors": [problem.to_value()]}))
    };
    let plan = match plan::plan(&request, by_get) {
        Ok(plan) => plan,
        Err(Refusal::Problem(problem)) => return failed(&problem),
        Err(Refusal::NoOperation) => return reply::internal_error(),
        Err(Refusal::MutationByGet) => {
            let message = "mutations are not allowed when using GET";
            return reply::text(StatusCode::BAD_REQUEST, message);
        }
    };
    match execute::run(gateway, plan).await {
        Ok(data) => reply::json(StatusCode::OK, &json!({"data": data})),
        Err(problem) => failed(&problem),
    }
}
