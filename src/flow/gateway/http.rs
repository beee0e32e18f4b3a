//! HTTP: JSON bodies, one request each.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Gateway, MESSAGE_MAX};
use crate::flow::message::Message;
use crate::wire::{Family, Form};

type Reply = Response<Full<Bytes>>;

/// Answers one request.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    _line: CancellationToken,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let path = request.uri().path().to_owned();
    if let Some(reply) = side_route(&gateway, request.method(), &path) {
        return Ok(reply);
    }
    let Some((method, endpoint)) = endpoint(&gateway, &path) else {
        return Ok(json_reply(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"})));
    };
    if request.method() != method {
        return Ok(not_allowed(&method));
    }
    let body = match Limited::new(request.into_body(), MESSAGE_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let detail = json!({"detail": "Request body is too large or was cut off"});
            return Ok(json_reply(StatusCode::PAYLOAD_TOO_LARGE, &detail));
        }
    };
    Ok(post(&gateway, endpoint, body).await)
}

/// The routes that carry no Documents.
pub(super) fn side_route(gateway: &Gateway, method: &Method, path: &str) -> Option<Reply> {
    let body = match path {
        "/" => json!({}),
        "/dry_run" => json!({"code": 0, "description": "", "exception": null}),
        "/status" => json!({"jina": about(gateway), "envs": {}}),
        "/openapi.json" => openapi(gateway),
        _ => return None,
    };
    Some(match *method {
        Method::GET => json_reply(StatusCode::OK, &body),
        _ => not_allowed(&Method::GET),
    })
}

/// The method of a data route, and the endpoint it stands for unless the body names one.
fn endpoint(gateway: &Gateway, path: &str) -> Option<(Method, Option<String>)> {
    match gateway.family {
        Family::V1 => match path {
            "/post" => Some((Method::POST, None)),
            "/index" | "/search" => Some((Method::POST, Some(path.to_owned()))),
            "/update" => Some((Method::PUT, Some(path.to_owned()))),
            "/delete" => Some((Method::DELETE, Some(path.to_owned()))),
            _ => None,
        },
        Family::V2 => {
            if path == "/default" && gateway.has_default() {
                return Some((Method::POST, Some("/".into())));
            }
            gateway.endpoints().contains(path).then(|| (Method::POST, Some(path.to_owned())))
        }
    }
}

async fn post(gateway: &Gateway, endpoint: Option<String>, body: Bytes) -> Reply {
    let mut request = match Form::Json(gateway.family).decode(body) {
        Ok(request) => request,
        Err(error) => {
            let detail = json!({"detail": [
                {"loc": ["body"], "msg": error.to_string(), "type": "value_error"},
            ]});
            return json_reply(StatusCode::UNPROCESSABLE_ENTITY, &detail);
        }
    };
    if gateway.family == Family::V1 || request.header.request_id.is_empty() {
        request.header.request_id = uuid::Uuid::new_v4().simple().to_string();
    }
    if endpoint.is_some() {
        request.header.exec_endpoint = endpoint;
    }
    request.header.exec_endpoint.get_or_insert_with(|| "/".into());
    let Ok(answer) = gateway.handle(Message::from_request(request)).await else {
        return internal_error();
    };
    if let (Family::V2, Some(status)) = (gateway.family, &answer.header.status) {
        let detail = json!({"detail": status.description});
        return json_reply(StatusCode::INTERNAL_SERVER_ERROR, &detail);
    }
    let encoded = answer
        .into_request(gateway.family)
        .ok()
        .and_then(|answer| Form::Json(gateway.family).encode_response(&answer).ok());
    match encoded {
        Some(bytes) => reply(StatusCode::OK, "application/json", bytes),
        None => internal_error(),
    }
}

/// What a gateway says of itself: `jina` in `_status`.
pub(super) fn about(gateway: &Gateway) -> BTreeMap<String, String> {
    let (jina, docarray) = match gateway.family {
        Family::V1 => ("3.12.0", "0.21.1"),
        Family::V2 => ("3.34.0", "0.40.1"),
    };
    [
        ("jina", jina),
        ("docarray", docarray),
        ("flowbench", env!("CARGO_PKG_VERSION")),
        ("platform", std::env::consts::OS),
        ("architecture", std::env::consts::ARCH),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn openapi(gateway: &Gateway) -> Value {
    let mut paths = serde_json::Map::new();
    let operation = |summary: &str| json!({"summary": summary, "responses": {"200": {"description": "Successful Response"}}});
    for path in ["/", "/dry_run", "/status"] {
        paths.insert(path.into(), json!({"get": operation(path)}));
    }
    let data: Vec<(String, &str)> = match gateway.family {
        Family::V1 => [
            ("/post", "post"),
            ("/index", "post"),
            ("/search", "post"),
            ("/update", "put"),
            ("/delete", "delete"),
        ]
        .map(|(path, method)| (path.to_owned(), method))
        .into(),
        Family::V2 => {
            let default = gateway.has_default().then(|| "/default".to_owned());
            let named = gateway.endpoints().into_iter().map(str::to_owned);
            named.chain(default).map(|path| (path, "post")).collect()
        }
    };
    for (path, method) in data {
        let what = operation(&path);
        paths.insert(path, json!({ method: what }));
    }
    json!({"openapi": "3.1.0", "info": {"title": "flowbench", "version": env!("CARGO_PKG_VERSION")}, "paths": paths})
}

fn json_reply(status: StatusCode, body: &Value) -> Reply {
    reply(status, "application/json", body.to_string().into())
}

fn not_allowed(method: &Method) -> Reply {
    let mut reply =
        json_reply(StatusCode::METHOD_NOT_ALLOWED, &json!({"detail": "Method Not Allowed"}));
    let allow = HeaderValue::from_str(method.as_str()).expect("methods are tokens");
    reply.headers_mut().insert(ALLOW, allow);
    reply
}

fn internal_error() -> Reply {
    let body = Bytes::from_static(b"Internal Server Error");
    reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
