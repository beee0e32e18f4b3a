//! HTTP: JSON bodies, one request each.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, FuturesUnordered};
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::pydantic::{self, PostV1, PostV2, Refusal};
use super::{CallFailure, Gateway, MESSAGE_MAX, codecs, cors, graphql, openapi, sse, websocket};
use crate::flow::config::StreamOf;
use crate::flow::executor::complete_v1;
use crate::flow::message::{Docs, Message};
use crate::wire::{Document, Family, Form, Header, Map, Protocol};

/// All at once, or as it comes to be.
pub(super) type Body = Either<Full<Bytes>, StreamBody<Frames>>;
type Frames = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;
pub(super) type Reply = Response<Body>;

/// What a path is for.
enum Route {
    /// Documents, for the endpoint; `None` when the body names it.
    Data(Option<String>),
    /// A Document for an endpoint that answers it with many.
    Stream(StreamOf),
    /// GraphQL.
    GraphQl,
    /// Anything without Documents.
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
    if let Some(reply) = cors::preflight(request.method(), request.headers()) {
        return Ok(reply);
    }
    let page = cors::Page::of(request.headers());
    let mut reply = answer(&gateway, &line, request).await;
    if let Some(page) = page {
        page.allow(reply.headers_mut());
    }
    Ok(reply)
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
        pydantic::parse(&body, content_type, gateway.family).map_err(refuse)
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
        Route::Stream(of) => {
            parsed(body).await.map(|body| sse::serve(gateway, of, body, head.uri.query()))
        }
        Route::Data(endpoint) => match (parsed(body).await, gateway.family) {
            (Ok(body), Family::V1) => Ok(post_v1(gateway, line, endpoint, body).await),
            (Ok(body), Family::V2) => Ok(post_v2(gateway, line, endpoint, body).await),
            (Err(reply), _) => Err(reply),
        },
    };
    answered.unwrap_or_else(|refusal| refusal)
}

/// All of a body.
///
/// # Errors
/// What is answered where it does not come, or is too large.
async fn whole(body: Incoming) -> Result<Bytes, Reply> {
    match Limited::new(body, MESSAGE_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => {
            let detail = json!({"detail": "There was an error parsing the body"});
            Err(json_reply(StatusCode::BAD_REQUEST, &detail))
        }
    }
}

/// What the body of a request is for, or what is answered whatever it holds.
async fn route(gateway: &Gateway, head: &Parts) -> Route {
    if websocket::is_asked_for(&head.headers) {
        return Route::Side(websocket::forbidden());
    }
    let path = head.uri.path();
    let routes = routes(gateway, path);
    let Some((first, _)) = routes.first() else {
        return Route::Side(redirect(gateway, path, &head.headers).unwrap_or_else(not_found));
    };
    // A real gateway names the method of the first route only.
    let first = first.clone();
    match routes.into_iter().find(|(allowed, _)| *allowed == head.method) {
        None => Route::Side(not_allowed(&first)),
        Some((_, Route::GraphQl)) if head.method == Method::GET => {
            let accept = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
            let for_people = accept.is_some_and(|accept| accept.contains("text/html"));
            Route::Side(match head.uri.query() {
                None if for_people => html(openapi::GRAPHIQL),
                query => graphql::get(gateway, query.unwrap_or_default()).await,
            })
        }
        Some((_, route)) => route,
    }
}

/// Reads what nobody wants of a request: hyper ends a connection whose request was not read. Of a
/// long one it is not worth it.
pub(super) async fn skip(body: Incoming) {
    const WORTH: usize = 64 << 10;
    let _ = Limited::new(body, WORTH).collect().await;
}

/// What a path is for, by method.
fn routes(gateway: &Gateway, path: &str) -> Vec<(Method, Route)> {
    let mut routes = Vec::new();
    if let Some(reply) = side_route(gateway, Protocol::Http, path) {
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
            if path == "/default" && gateway.has_default() {
                routes.push((Method::POST, data(Some("/default"))));
            } else if let Some(of) = gateway.stream(path) {
                routes.push((Method::GET, Route::Stream(of)));
            } else if gateway.endpoints().contains(path) {
                routes.push((Method::POST, data(Some(path))));
            }
        }
    }
    routes
}

/// What the port of a protocol has for readers and for those who wait for the Flow.
pub(super) fn side_route(gateway: &Gateway, protocol: Protocol, path: &str) -> Option<Reply> {
    Some(json_reply(
        StatusCode::OK,
        &match path {
            "/" => json!({}),
            "/dry_run" => match super::dry_run_status(gateway) {
                None => json!({"code": 0, "description": "", "exception": null}),
                Some(status) => {
                    let exception = status.exception.unwrap_or_default();
                    json!({
                        "code": status.code,
                        "description": status.description,
                        "exception": {
                            "name": exception.name,
                            "args": exception.args,
                            "stacks": exception.stacks,
                            "executor": exception.executor,
                        },
                    })
                }
            },
            "/status" => {
                let (jina, envs) = gateway.about();
                json!({"jina": jina, "envs": envs})
            }
            "/openapi.json" => openapi::schema(gateway, protocol),
            "/docs" => return Some(html(openapi::DOCS)),
            "/redoc" => return Some(html(openapi::REDOC)),
            _ => return None,
        },
    ))
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
    let sent =
        gateway.topology.can_be_cut_off().then(|| (post.data.clone(), post.parameters.clone()));
    let Ok(message) = message_v1(post, endpoint.clone()) else { return internal_error() };
    let request_id = message.header.request_id.clone();
    match run(gateway, line, message).await {
        Ok(Answer::Message(message)) => encode(gateway, message),
        Ok(Answer::Bytes(bytes)) => reply(StatusCode::OK, "application/json", bytes),
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
            let data = data.map(|docs| docs.iter().map(all_keys).collect::<Vec<_>>());
            let body = json!({
                "header": header,
                "parameters": parameters,
                "routes": null,
                "data": data,
            });
            json_reply(status, &body)
        }
        Err(_) => internal_error(),
    }
}

/// The message of a body.
///
/// # Errors
/// What a real gateway says when it trips over a Document.
pub(super) fn message_v1(post: PostV1, endpoint: Option<String>) -> Result<Message, String> {
    let mut docs = Vec::new();
    for doc in post.data.into_iter().flatten() {
        docs.push(Value::Object(one_content(doc)?));
    }
    let docs = Family::V1.docs_from_json(&docs.into());
    let mut docs = docs.map_err(|error| error.to_string())?;
    docs.iter_mut().for_each(complete_v1);
    Ok(Message {
        header: Header {
            request_id: new_id(),
            exec_endpoint: Some(endpoint.unwrap_or(post.exec_endpoint)),
            target_executor: post.target_executor,
            status: None,
        },
        parameters: post.parameters.unwrap_or_default().into(),
        docs: Docs::Read(docs),
        ..Message::default()
    })
}

/// A Document with one content: of several the tensor is kept, else the blob.
fn one_content(mut doc: Map) -> Result<Map, String> {
    if let Some(Value::String(blob)) = doc.get("blob") {
        let blob = BASE64_STANDARD.encode(codecs::base64(blob)?);
        doc.insert("blob".into(), blob.into());
    }
    let empty = |doc: &Map, key: &str| doc.get(key).and_then(Value::as_str) == Some("");
    for key in ["text", "blob"] {
        if empty(&doc, key) {
            doc.shift_remove(key);
        }
    }
    if doc.contains_key("tensor") {
        doc.shift_remove("blob");
    }
    if doc.contains_key("tensor") || doc.contains_key("blob") {
        doc.shift_remove("text");
    }
    Ok(doc)
}

/// The keys of a v1 Document, unset ones null.
fn all_keys(doc: &Map) -> Value {
    const KEYS: [&str; 19] = [
        "id",
        "parent_id",
        "granularity",
        "adjacency",
        "blob",
        "tensor",
        "mime_type",
        "text",
        "weight",
        "uri",
        "tags",
        "offset",
        "location",
        "embedding",
        "modality",
        "evaluations",
        "scores",
        "chunks",
        "matches",
    ];
    let value = |key: &str| match (key, doc.get(key)) {
        ("chunks" | "matches", Some(Value::Array(docs))) => {
            docs.iter().map(|doc| doc.as_object().map_or(Value::Null, all_keys)).collect()
        }
        (_, value) => value.cloned().unwrap_or_default(),
    };
    Value::Object(KEYS.map(|key| (key.to_owned(), value(key))).into_iter().collect())
}

/// A gateway of v2 cuts what one body holds into requests of so many Documents, and answers with
/// the first of them that is done: the Documents of the others are lost, though Executors saw them.
const V2_DOCUMENTS_ANSWERED: usize = 100;

async fn post_v2(
    gateway: &Arc<Gateway>,
    line: &CancellationToken,
    endpoint: Option<String>,
    body: Option<Value>,
) -> Reply {
    let post = match PostV2::read(body, gateway.world.any_field) {
        Ok(post) => post,
        Err(refusal) => return refuse(refusal),
    };
    let docs: Value = post.data.into_iter().map(Value::Object).collect();
    if !fits_int32(&docs) {
        return internal_error();
    }
    let Ok(mut docs) = Family::V2.docs_from_json(&docs) else { return internal_error() };
    let given = match post.header {
        Some(id) => id,
        None if post.alone => docs.first().map(|doc| doc.id.clone()),
        None => None,
    };
    for doc in &mut docs {
        doc.settle(Family::V2, &mut || crate::flow::new_uuid().as_u128());
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
        Ok(Answer::Bytes(bytes)) => reply(StatusCode::OK, "application/json", bytes),
        Ok(Answer::Message(message)) => match &message.header.status {
            Some(status) => {
                let detail = json!({"detail": status.description});
                json_reply(StatusCode::INTERNAL_SERVER_ERROR, &detail)
            }
            None => encode(gateway, message),
        },
        Err(_) => internal_error(),
    }
}

/// Integers of v2 have 32 bits, but for those of arrays, which are no fields of their own.
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

/// What comes of a request.
#[expect(clippy::large_enum_variant, reason = "one a request, moved once; a box would cost more")]
enum Answer {
    Message(Message),
    /// Instead of what the Executors gave.
    Bytes(Bytes),
}

async fn run(
    gateway: &Gateway,
    line: &CancellationToken,
    message: Message,
) -> Result<Answer, CallFailure> {
    let note = gateway.arrived(&message, Protocol::Http);
    let handled = gateway.handle(message).await;
    let dropped = handled.as_ref().is_ok_and(|message| message.faults.drop);
    note.departs(handled.is_ok() && !dropped);
    let message = handled?;
    if dropped {
        line.cancel();
        // The connection ends before this could be answered.
        std::future::pending::<()>().await;
    }
    Ok(match message.faults.garbage {
        true => Answer::Bytes(super::garbage()),
        false => Answer::Message(message),
    })
}

fn encode(gateway: &Gateway, message: Message) -> Reply {
    let family = gateway.family;
    let encoded = message
        .into_request(family)
        .ok()
        .and_then(|answer| Form::Json(family).encode_response(&answer).ok());
    match encoded {
        Some(bytes) => reply(StatusCode::OK, "application/json", bytes),
        None => internal_error(),
    }
}

fn new_id() -> String {
    crate::flow::new_uuid().simple().to_string()
}

pub(super) fn refuse(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Invalid(problems) => {
            json_reply(StatusCode::UNPROCESSABLE_ENTITY, &json!({"detail": problems}))
        }
        Refusal::TooDeep => {
            let detail = json!({"detail": "There was an error parsing the body"});
            json_reply(StatusCode::BAD_REQUEST, &detail)
        }
        Refusal::Internal => internal_error(),
    }
}

/// A path with a slash too many leads to the one without.
fn redirect(gateway: &Gateway, path: &str, headers: &HeaderMap) -> Option<Reply> {
    let without = path.strip_suffix('/').filter(|path| !path.is_empty())?;
    if routes(gateway, without).is_empty() {
        return None;
    }
    let host = headers.get(HOST)?.to_str().ok()?;
    let location = HeaderValue::from_str(&format!("http://{host}{without}")).ok()?;
    let mut reply = Response::new(Either::Left(Full::default()));
    *reply.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    reply.headers_mut().insert(LOCATION, location);
    Some(reply)
}

pub(super) fn not_found() -> Reply {
    json_reply(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"}))
}

pub(super) fn not_allowed(method: &Method) -> Reply {
    let mut reply =
        json_reply(StatusCode::METHOD_NOT_ALLOWED, &json!({"detail": "Method Not Allowed"}));
    if let Ok(allow) = HeaderValue::from_str(method.as_str()) {
        reply.headers_mut().insert(ALLOW, allow);
    }
    reply
}

pub(super) fn internal_error() -> Reply {
    text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Reply {
    reply(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn html(page: &'static str) -> Reply {
    reply(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(page.as_bytes()))
}

pub(super) fn json_reply(status: StatusCode, body: &Value) -> Reply {
    reply(status, "application/json", body.to_string().into())
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Names and values of a query string, decoded.
pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| {
        let bytes = part.replace('+', " ").into_bytes();
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut i = 0;
        while i < bytes.len() {
            let hex = bytes.get(i + 1..i + 3).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) if bytes[i] == b'%' => {
                    decoded.push(byte);
                    i += 3;
                }
                _ => {
                    decoded.push(bytes[i]);
                    i += 1;
                }
            }
        }
        String::from_utf8_lossy(&decoded).into_owned()
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_is_decoded() {
        let query = query("query=%7B__typename%7D&a=1+2&b=%zz&c");
        assert_eq!(query["query"], "{__typename}");
        assert_eq!((&*query["a"], &*query["b"], &*query["c"]), ("1 2", "%zz", ""));
    }
}
