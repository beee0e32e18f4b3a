//! HTTP: JSON bodies, one request each.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use super::body::{self, PostV1, PostV2};
use super::failure::CallFailure;
use super::handle::{Gateway, MESSAGE_MAX, garbage};
use super::post::{message_v1, new_id};
use super::reply::{self, Body, Reply, internal_error, refuse, skip};
use super::{graphql, side, sse, websocket};
use crate::flow::config::StreamOf;
use crate::flow::message::{Docs, Message};
use crate::wire::{Document, Family, Form, Header, Map, Protocol};

/// How long browsers may cache a CORS preflight: the value of Python's gateway.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// What a path is for.
enum Route {
    /// Documents for this endpoint; `None` when the body names it.
    Data(Option<String>),
    /// One Document for a streaming endpoint.
    Stream(StreamOf),
    /// GraphQL.
    GraphQl,
    /// A path that takes no Documents, with its answer.
    Side(Reply),
}

/// Answers one request.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    line: CancellationToken,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    if !gateway.cors {
        return Ok(answer(&gateway, &line, request).await);
    }
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(answer(&gateway, &line, request).await) });
    let cors = CorsLayer::very_permissive().max_age(PREFLIGHT_AGE);
    cors.layer(service).oneshot(request).await
}

async fn answer(
    gateway: &Arc<Gateway>,
    line: &CancellationToken,
    request: Request<Incoming>,
) -> Reply {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let parsed = async |body| {
        let body = whole(body).await?;
        body::parse(&body, content_type, gateway.family).map_err(refuse)
    };
    let answered = match route(gateway, &head).await {
        Route::Side(reply) => {
            skip(body).await;
            Ok(reply)
        }
        Route::GraphQl => match whole(body).await {
            Ok(body) => Ok(graphql::post(gateway, content_type, &body).await),
            Err(reply) => Err(reply),
        },
        Route::Stream(of) => parsed(body)
            .await
            .map(|body| sse::serve(gateway, (head.uri.path(), of), body, head.uri.query())),
        Route::Data(endpoint) => match (parsed(body).await, gateway.family) {
            (Ok(body), Family::V1) => Ok(post_v1(gateway, line, endpoint, body).await),
            (Ok(body), Family::V2) => Ok(post_v2(gateway, line, endpoint, body).await),
            (Err(reply), _) => Err(reply),
        },
    };
    answered.unwrap_or_else(|refusal| refusal)
}

/// Reads a whole body.
///
/// # Errors
/// The answer to a body that breaks off, or is too large.
async fn whole(body: Incoming) -> Result<Bytes, Reply> {
    match Limited::new(body, MESSAGE_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => {
            let detail = json!({"detail": "There was an error parsing the body"});
            Err(reply::json(StatusCode::BAD_REQUEST, &detail))
        }
    }
}

/// The route of a request.
async fn route(gateway: &Gateway, head: &Parts) -> Route {
    if websocket::is_asked_for(&head.headers) {
        return Route::Side(websocket::forbidden());
    }
    let path = head.uri.path();
    let routes = routes(gateway, path);
    let Some((first, _)) = routes.first() else {
        return Route::Side(
            redirect(gateway, path, &head.headers).unwrap_or_else(reply::not_found),
        );
    };
    // In `Allow`, a real gateway names the method of the first route only.
    let first = first.clone();
    match routes.into_iter().find(|(allowed, _)| *allowed == head.method) {
        None => Route::Side(reply::not_allowed(&first)),
        Some((_, Route::GraphQl)) if head.method == Method::GET => {
            let query = head.uri.query().unwrap_or_default();
            Route::Side(graphql::get(gateway, query).await)
        }
        Some((_, route)) => route,
    }
}

/// The routes of a path, by method.
fn routes(gateway: &Gateway, path: &str) -> Vec<(Method, Route)> {
    let mut routes = Vec::new();
    if let Some(reply) = side::route(gateway, Protocol::Http, path) {
        routes.push((Method::GET, Route::Side(reply)));
    }
    let data = |endpoint: Option<&str>| Route::Data(endpoint.map(str::to_owned));
    match gateway.family {
        Family::V1 => match path {
            "/post" => routes.push((Method::POST, data(None))),
            "/index" | "/search" if gateway.crud => {
                routes.push((Method::POST, data(Some(path))));
            }
            "/update" if gateway.crud => routes.push((Method::PUT, data(Some(path)))),
            "/delete" if gateway.crud => routes.push((Method::DELETE, data(Some(path)))),
            "/graphql" if gateway.graphql => {
                routes.push((Method::GET, Route::GraphQl));
                routes.push((Method::POST, Route::GraphQl));
            }
            path if gateway.expose.iter().any(|endpoint| endpoint == path) => {
                routes.push((Method::POST, data(Some(path))));
            }
            _ => (),
        },
        Family::V2 => {
            if path == "/default" && gateway.topology.has_default() {
                routes.push((Method::POST, data(Some("/default"))));
            } else if let Some(of) = gateway.topology.stream(path) {
                routes.push((Method::GET, Route::Stream(of)));
            } else if gateway.topology.endpoints().contains(path) {
                routes.push((Method::POST, data(Some(path))));
            }
        }
    }
    routes
}

async fn post_v1(
    gateway: &Gateway,
    line: &CancellationToken,
    endpoint: Option<String>,
    body: Option<Value>,
) -> Reply {
    let post = match PostV1::read(body, endpoint.is_none()) {
        Ok(post) => post,
        Err(refusal) => return refuse(refusal),
    };
    let sent = gateway.can_be_cut_off().then(|| (post.data.clone(), post.parameters.clone()));
    let Ok(message) = message_v1(post, endpoint.clone()) else { return internal_error() };
    let request_id = message.header.request_id.clone();
    match run(gateway, line, message).await {
        Ok(Answered::Message(message)) => encode(gateway, message),
        Ok(Answered::Bytes(bytes)) => reply::reply(StatusCode::OK, "application/json", bytes),
        Err(CallFailure::Network { error, .. }) if endpoint.is_none() => {
            // The request's own body goes back, with the failure in its header.
            let status = match error.timed_out {
                false => StatusCode::SERVICE_UNAVAILABLE,
                true => StatusCode::GATEWAY_TIMEOUT,
            };
            let exception = json!({
                "name": "<class 'jina.excepts.InternalNetworkError'>",
                "args": [],
                "stacks": ["<FrameSummary file flowbench.py, line 1 in send_requests_once>"],
                "executor": "",
            });
            let header = json!({
                "requestId": request_id,
                "status": {"code": 1, "description": error.details(), "exception": exception},
                "execEndpoint": "",
                "targetExecutor": "",
            });
            let (data, parameters) = sent.unwrap_or_default();
            let data = data.map(|docs| docs.iter().map(body::all_keys).collect::<Vec<_>>());
            let body = json!({
                "header": header,
                "parameters": parameters,
                "routes": null,
                "data": data,
            });
            reply::json(status, &body)
        }
        Err(_) => internal_error(),
    }
}

/// A v2 gateway splits a body into requests of this many Documents, and answers with the first of them that
/// is done. The Documents of the others are lost, although Executors have processed them.
const V2_DOCUMENTS_ANSWERED: usize = 100;

async fn post_v2(
    gateway: &Arc<Gateway>,
    line: &CancellationToken,
    endpoint: Option<String>,
    body: Option<Value>,
) -> Reply {
    let fields = gateway.topology.fields(endpoint.as_deref().unwrap_or_default());
    let post = match PostV2::read(body, fields) {
        Ok(post) => post,
        Err(refusal) => return refuse(refusal),
    };
    // A custom schema checks and converts its Documents itself.
    let too_large = |doc: &Map| fields.own().is_none() && !fits_int32(&doc.clone().into());
    if post.data.iter().any(too_large) {
        return internal_error();
    }
    let docs: Option<Vec<Document>> =
        post.data.into_iter().map(|doc| fields.document(doc)).collect();
    let Some(mut docs) = docs else { return internal_error() };
    let given = match post.header {
        Some(id) => id,
        None if post.alone => docs.first().map(|doc| doc.id.clone()),
        None => None,
    };
    for doc in &mut docs {
        doc.settle(Family::V2, &mut || crate::flow::message::new_uuid().as_u128());
    }
    let request_id = match given {
        Some(id) if !id.is_empty() => id,
        _ if post.alone => docs.first().map_or_else(new_id, |doc| doc.id.clone()),
        _ => new_id(),
    };
    let parameters = post.parameters.unwrap_or_default();
    let message = |request_id: String, docs: Vec<Document>| Message {
        header: Header {
            request_id,
            exec_endpoint: endpoint.clone(),
            target_executor: post.target_executor.clone(),
            status: None,
        },
        parameters: parameters.clone().into(),
        docs: Docs::Read(docs),
        ..Message::default()
    };
    let answer = match docs.len() <= V2_DOCUMENTS_ANSWERED {
        true => run(gateway, line, message(request_id, docs)).await,
        false => {
            let mut all = FuturesUnordered::new();
            while !docs.is_empty() {
                let rest = docs.split_off(docs.len().min(V2_DOCUMENTS_ANSWERED));
                let message = message(new_id(), std::mem::replace(&mut docs, rest));
                let (gateway, line) = (gateway.clone(), line.clone());
                all.push(async move { run(&gateway, &line, message).await });
            }
            let first = all.next().await.expect("there is at least one");
            tokio::spawn(async move { while all.next().await.is_some() {} });
            first
        }
    };
    match answer {
        Ok(Answered::Bytes(bytes)) => reply::reply(StatusCode::OK, "application/json", bytes),
        Ok(Answered::Message(message)) => match &message.header.status {
            Some(status) => {
                let detail = json!({"detail": status.description});
                reply::json(StatusCode::INTERNAL_SERVER_ERROR, &detail)
            }
            None => encode(gateway, message),
        },
        Err(_) => internal_error(),
    }
}

/// Integers of v2 have 32 bits, except in arrays.
fn fits_int32(docs: &Value) -> bool {
    match docs {
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (None, None) => true,
            (whole, _) => whole.is_some_and(|n| i32::try_from(n).is_ok()),
        },
        Value::Array(items) => items.iter().all(fits_int32),
        Value::Object(map) => map.iter().all(|(key, value)| {
            matches!(key.as_str(), "tensor" | "embedding") || fits_int32(value)
        }),
        _ => true,
    }
}

/// The outcome of a request.
#[expect(clippy::large_enum_variant, reason = "one a request, moved once; a box would cost more")]
enum Answered {
    Message(Message),
    /// Garbage instead of what the Executors returned.
    Bytes(Bytes),
}

async fn run(
    gateway: &Gateway,
    line: &CancellationToken,
    message: Message,
) -> Result<Answered, CallFailure> {
    let note = gateway.arrived(&message, Protocol::Http);
    let handled = gateway.handle(message).await;
    let dropped = handled.as_ref().is_ok_and(|message| message.faults.drop);
    note.departs(handled.is_ok() && !dropped);
    let message = handled?;
    if dropped {
        line.cancel();
        // The connection ends first.
        std::future::pending::<()>().await;
    }
    Ok(match message.faults.garbage {
        true => Answered::Bytes(garbage()),
        false => Answered::Message(message),
    })
}

fn encode(gateway: &Gateway, message: Message) -> Reply {
    let family = gateway.family;
    let encoded = message
        .into_request(family)
        .ok()
        .and_then(|answer| Form::Json(family).encode_response(&answer).ok());
    match encoded {
        Some(bytes) => reply::reply(StatusCode::OK, "application/json", bytes),
        None => internal_error(),
    }
}

/// Redirects a path with a trailing slash to the one without.
fn redirect(gateway: &Gateway, path: &str, headers: &HeaderMap) -> Option<Reply> {
    let without = path.strip_suffix('/').filter(|path| !path.is_empty())?;
    if routes(gateway, without).is_empty() {
        return None;
    }
    let host = headers.get(HOST)?.to_str().ok()?;
    let location = HeaderValue::from_str(&format!("http://{host}{without}")).ok()?;
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    reply.headers_mut().insert(LOCATION, location);
    Some(reply)
}
