//! Recorded responses of real gateways, compared with ours value by value, except for generated ids, times and
//! addresses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flowbench::flow::Flow;
use flowbench::wire::proto::jina::{
    DataRequestProto, StatusProto, data_request_proto::data_content_proto::Documents,
};
use flowbench::wire::proto::{v1, v2};
use flowbench::wire::{Family, Protocol};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use regex::Regex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};
use tonic::codec::CompressionEncoding;

use super::grpc::Call;
use super::{CHAIN, address, start};
use crate::golden::{cases, file, list};

/// Replaces generated ids.
const MADE_UP: &str = "made up";

/// A Flow like the one that responded in the cases whose names have this prefix.
async fn flow_of(family: &str, prefix: &str) -> Flow {
    let executors = match prefix {
        "down_" => CHAIN.replacen("{name: echo}", "{name: echo, down: true}", 1),
        // The timeout is shorter than the recorded one, so that tests wait less.
        "timeout_" => "timeout_send: 40ms\nexecutors: [{name: sleeper, uses: sleeper}]\n".into(),
        _ => CHAIN.into(),
    };
    let flow = start(&format!("family: {family}\n{executors}")).await;
    // The first request to a v1 gateway takes a different path through Executors than later ones.
    Call::new(super::grpc::CALL).send(&flow, vec![Bytes::from_static(b"\x0a\x00")]).await;
    flow
}

/// The cases of a folder that a Flow in this state responded to.
fn of_state(folder: &str, prefix: &str) -> Vec<(String, Value)> {
    let state = |name: &str| {
        let name = Path::new(name).file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        ["down_", "timeout_"].into_iter().find(|state| name.starts_with(state)).unwrap_or("")
    };
    let found: Vec<_> =
        cases(folder).into_iter().filter(|(name, _)| state(name) == prefix).collect();
    assert!(!found.is_empty(), "{folder} has cases of `{prefix}`");
    found
}

/// All ids in a request.
type Ids = BTreeSet<String>;

/// A message with all values masked that differ from run to run.
#[derive(Debug, PartialEq)]
enum Masked {
    V1(DataRequestProto, v1::DocumentArrayProto),
    V2(DataRequestProto, v2::DocListProto),
    Bytes(Bytes),
}

fn masked(family: Family, message: Bytes, sent: &Ids) -> Masked {
    let mut request = DataRequestProto::decode(message).expect("a valid message");
    for route in &mut request.routes {
        route.start_time = route.start_time.map(|_| prost_types::Timestamp::default());
        route.end_time = route.end_time.map(|_| prost_types::Timestamp::default());
        route.status.as_mut().map(mask_status);
    }
    if let Some(header) = &mut request.header {
        header.status.as_mut().map(mask_status);
    }
    let docs = match request.data.take().and_then(|data| data.documents) {
        Some(Documents::Docs(docs)) => docs,
        Some(Documents::DocsBytes(_)) => panic!("no gateway answers with them"),
        None => {
            request.data = None;
            Bytes::new()
        }
    };
    match family {
        Family::V1 => {
            let mut docs = v1::DocumentArrayProto::decode(docs).expect("Documents of v1");
            docs.docs.iter_mut().for_each(|doc| mask_v1(doc, sent));
            Masked::V1(request, docs)
        }
        Family::V2 => {
            let mut docs = v2::DocListProto::decode(docs).expect("Documents of v2");
            docs.docs.iter_mut().for_each(|doc| mask_v2(doc, sent));
            Masked::V2(request, docs)
        }
    }
}

/// Reduces stacks to their height and their last line.
fn mask_status(status: &mut StatusProto) {
    status.description = mask_text(&status.description);
    if let Some(exception) = &mut status.exception {
        let last = exception.stacks.last().map(|last| mask_text(last)).unwrap_or_default();
        exception.stacks = vec![exception.stacks.len().to_string(), last];
    }
}

/// Masks ports in addresses, and Python's wording of errors in regular expressions.
fn mask_text(text: &str) -> String {
    static PORT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"127\.0\.0\.1:\d+").expect("it is valid"));
    static PATTERN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"('re\.error'>: ).+").expect("it is valid"));
    let text = PORT.replace_all(text, "127.0.0.1:PORT");
    PATTERN.replace_all(&text, "${1}why").into_owned()
}

fn mask_v1(doc: &mut v1::DocumentProto, sent: &Ids) {
    mask_id(&mut doc.id, sent);
    mask_id(&mut doc.parent_id, sent);
    doc.chunks.iter_mut().chain(&mut doc.matches).for_each(|doc| mask_v1(doc, sent));
}

fn mask_v2(doc: &mut v2::DocProto, sent: &Ids) {
    for node in doc.data.values_mut() {
        match &mut node.content {
            Some(v2::node_proto::Content::Text(text)) if node.docarray_type.is_some() => {
                mask_id(text, sent);
            }
            Some(v2::node_proto::Content::DocArray(docs)) => {
                docs.docs.iter_mut().for_each(|doc| mask_v2(doc, sent));
            }
            _ => (),
        }
    }
}

fn mask_id(id: &mut String, sent: &Ids) {
    if !id.is_empty() && !sent.contains(id) {
        *id = MADE_UP.into();
    }
}

/// Collects everything in a sidecar that may be an id.
fn ids(value: &Value, found: &mut Ids) {
    match value {
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| ids(item, found)),
        Value::Object(map) => map.values().for_each(|value| ids(value, found)),
        _ => (),
    }
}

async fn grpc(folder: &str, family: Family, prefix: &str) {
    let folder = Path::new(folder);
    let name = folder.to_string_lossy();
    let flow = flow_of(&name[..2], prefix).await;
    for (case_name, case) in of_state(&name, prefix) {
        for call in list(&case, "calls") {
            let mut sent = Ids::new();
            ids(&call["requests"], &mut sent);
            let read =
                |message: &Value| file(folder.join(message["file"].as_str().expect("a file")));
            let requests: Vec<Bytes> = list(call, "requests").iter().map(read).collect();
            let path = call["path"].as_str().expect("a path");
            let mut to_make = Call::new(path);
            for (key, value) in call["request_headers"].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap_or_default();
                match key.as_str() {
                    "content-type" | "te" | "grpc-accept-encoding" | "grpc-timeout" => (),
                    "grpc-encoding" => {
                        to_make.compression = Some(match value {
                            "gzip" => CompressionEncoding::Gzip,
                            _ => CompressionEncoding::Deflate,
                        });
                    }
                    _ => to_make.metadata.push((key.clone(), value.to_owned())),
                }
            }
            let called = to_make.send(&flow, requests).await;
            let of_documents = path == super::grpc::CALL || path.ends_with("process_single_data");
            let mask = |message: Bytes| match path {
                _ if of_documents => masked(family, message, &sent),
                "/jina.JinaGatewayDryRunRPC/dry_run" => {
                    let mut status = StatusProto::decode(message).expect("a status");
                    mask_status(&mut status);
                    // The height of its stack depends on where Jina is installed.
                    status.exception.iter_mut().for_each(|e| e.stacks = Vec::new());
                    Masked::Bytes(status.encode_to_vec().into())
                }
                _ => Masked::Bytes(message),
            };
            let trailer = |key: &str| call["trailers"][key].as_str().unwrap_or_default();
            // Python's server sends an empty message with the failure of a unary call.
            let failed = trailer("grpc-status") != "0";
            let answers = list(call, "responses").iter().map(read);
            let answers = answers.filter(|message| !(failed && message.is_empty()));
            let expected = answers.map(mask).collect::<Vec<_>>();
            let found = called.answers.into_iter().map(mask).collect::<Vec<_>>();
            assert_eq!(found, expected, "{case_name}");
            let status = (i32::from(called.status.code()).to_string(), called.status.message());
            assert_eq!(status.0, trailer("grpc-status"), "{case_name}");
            assert_eq!(mask_text(status.1), mask_text(trailer("grpc-message")), "{case_name}");
        }
    }
    flow.stop().await;
}

#[tokio::test]
async fn grpc_v1() {
    grpc("v1/grpc", Family::V1, "").await;
}

#[tokio::test]
async fn grpc_v1_with_an_executor_down() {
    grpc("v1/grpc", Family::V1, "down_").await;
}

#[tokio::test]
async fn grpc_v1_with_an_executor_that_takes_too_long() {
    grpc("v1/grpc", Family::V1, "timeout_").await;
}

#[tokio::test]
async fn grpc_v2() {
    grpc("v2/grpc", Family::V2, "").await;
}

#[tokio::test]
async fn grpc_v2_with_an_executor_down() {
    grpc("v2/grpc", Family::V2, "down_").await;
}

#[tokio::test]
async fn grpc_v2_with_an_executor_that_takes_too_long() {
    grpc("v2/grpc", Family::V2, "timeout_").await;
}

/// An HTTP body or text frame with all values masked that differ from run to run.
fn mask_json(value: &mut Value, sent: &Ids) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mask_json(item, sent)),
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), &mut *value) {
                    ("stacks", Value::Array(stacks)) => {
                        let last = stacks.last().and_then(Value::as_str).unwrap_or_default();
                        // Network errors have other stacks, whose height is that of Jina's code.
                        let network = last.contains("FrameSummary") || last.contains("Internal");
                        *value = match network || stacks.is_empty() {
                            true => Value::Null,
                            false => json!([stacks.len(), mask_text(last)]),
                        };
                    }
                    ("startTime" | "endTime" | "start_time" | "end_time", Value::String(_)) => {
                        *value = "a time".into();
                    }
                    (
                        "id" | "parent_id" | "requestId" | "request_id" | "parentId",
                        Value::String(id),
                    ) => mask_id(id, sent),
                    ("description", Value::String(text)) => *text = mask_text(text),
                    _ => mask_json(value, sent),
                }
            }
        }
        _ => (),
    }
}

async fn http(folder: &str, prefix: &str) {
    let flow = flow_of(&folder[..2], prefix).await;
    let socket = || async {
        let socket = TcpStream::connect(address(&flow, Protocol::Http)).await.expect("it listens");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .expect("a connection");
        tokio::spawn(connection);
        sender
    };
    for (name, case) in of_state(folder, prefix) {
        for exchange in list(&case, "exchanges") {
            let (request, response) = (&exchange["request"], &exchange["response"]);
            if response.is_null() {
                // The client was gone before the response.
                continue;
            }
            let mut sent = Ids::new();
            ids(request, &mut sent);
            let text = match (&request["body_text"], &request["body"]) {
                (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
                (_, Value::Null) => String::new(),
                (_, body) => body.to_string(),
            };
            let mut builder = hyper::Request::builder()
                .method(request["method"].as_str().expect("a method"))
                .uri(request["path"].as_str().expect("a path"))
                .header("host", "flow");
            for header in list(request, "headers") {
                let (key, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
                if !matches!(key, "Content-Length" | "Connection") {
                    builder = builder.header(key, value);
                }
            }
            let body = Full::new(Bytes::from(text));
            let mut connection = socket().await;
            let answer = connection.send_request(builder.body(body).expect("a request")).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status().as_u16(), response["status"], "{name}");
            for header in list(response, "headers") {
                let (key, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
                if !matches!(key, "content-length" | "connection") {
                    let found = answer.headers().get(key).map(|value| value.to_str().unwrap());
                    assert_eq!(found, Some(value), "{name}: {key}");
                }
            }
            let body = answer.into_body().collect().await.expect("a body").to_bytes();
            if request["path"] == "/openapi.json" {
                let found: Value = serde_json::from_slice(&body).expect("JSON");
                let paths = |of: &Value| {
                    let paths = of["paths"].as_object().expect("paths").iter();
                    let paths = paths.map(|(path, methods)| {
                        let methods = methods.as_object().expect("methods").keys();
                        (path.clone(), methods.cloned().collect::<Vec<_>>())
                    });
                    paths.collect::<std::collections::BTreeMap<_, _>>()
                };
                assert_eq!(paths(&found), paths(&response["body"]), "{name}");
                continue;
            }
            let (mut found, mut expected) = match response["body_kind"].as_str() {
                Some("json") => {
                    let found = serde_json::from_slice(&body).expect("JSON");
                    (found, response["body"].clone())
                }
                _ => {
                    let found = String::from_utf8(body.to_vec()).expect("text");
                    (Value::from(found), response["body"].clone())
                }
            };
            if name == "v1/graphql/introspection.json" {
                (found, expected) = (types(&found), types(&expected));
            }
            if response["status"] == 422 {
                (found, expected) = (places(&found), places(&expected));
            }
            mask_json(&mut found, &sent);
            mask_json(&mut expected, &sent);
            assert_eq!(found, expected, "{name}");
        }
    }
    flow.stop().await;
}

/// The types of a schema from introspection, sorted, without those of introspection itself, which vary between
/// editions of GraphQL.
fn types(answer: &Value) -> Value {
    let mut schema = answer["data"]["__schema"].clone();
    let types = list(&schema, "types").iter();
    let name = |of: &Value| of["name"].as_str().expect("a name").to_owned();
    let types = types.map(|of| (name(of), of.clone())).filter(|(name, _)| !name.starts_with("__"));
    schema["types"] = types.collect::<std::collections::BTreeMap<_, _>>().into_iter().collect();
    schema
}

/// The positions of errors in a body, from problems that have all keys that clients read. If a value may have
/// several types, pydantic lists an error for each; a text that is not JSON has its own position.
fn places(body: &Value) -> Value {
    let mut places = Vec::new();
    for problem in list(body, "detail") {
        assert!(problem["msg"].is_string() && problem["type"].is_string(), "{problem}");
        let place = list(problem, "loc").iter().filter(|step| step.is_string()).take(2);
        let place: Value = place.cloned().collect();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.into()
}

#[tokio::test]
async fn http_v1() {
    http("v1/http", "").await;
}

#[tokio::test]
async fn http_v1_with_an_executor_down() {
    http("v1/http", "down_").await;
}

#[tokio::test]
async fn http_v1_with_an_executor_that_takes_too_long() {
    http("v1/http", "timeout_").await;
}

#[tokio::test]
async fn http_v2() {
    http("v2/http", "").await;
}

#[tokio::test]
async fn http_v2_with_an_executor_down() {
    http("v2/http", "down_").await;
}

#[tokio::test]
async fn http_v2_with_an_executor_that_takes_too_long() {
    http("v2/http", "timeout_").await;
}

#[tokio::test]
async fn graphql() {
    http("v1/graphql", "").await;
}

/// What a client observes on a connection.
#[derive(Debug, PartialEq)]
enum Event {
    Message(Box<Masked>),
    Text(Value),
    Close(u16, String),
    /// The connection ends without a close frame.
    Drop,
}

async fn websocket(folder: &str, family: Family, prefix: &str) {
    let flow = flow_of(&folder[..2], prefix).await;
    for (name, case) in of_state(folder, prefix) {
        for connection in list(&case, "connections") {
            conversation(&flow, family, &name, connection).await;
        }
    }
    flow.stop().await;
}

async fn conversation(flow: &Flow, family: Family, name: &str, connection: &Value) {
    let mut socket = TcpStream::connect(address(flow, Protocol::WebSocket)).await.expect("a port");
    let handshake = &connection["handshake"];
    let mut hello = format!("{}\r\nHost: flow\r\n", handshake["request"]["line"].as_str().unwrap());
    for header in list(&handshake["request"], "headers") {
        let (key, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        hello.push_str(&format!("{key}: {value}\r\n"));
    }
    socket.write_all(format!("{hello}\r\n").as_bytes()).await.expect("it takes it");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("an answer"));
    }
    let answer = String::from_utf8(answer).expect("text").to_ascii_lowercase();
    let expected = &handshake["response"];
    let line = expected["line"].as_str().unwrap().to_ascii_lowercase();
    assert!(answer.starts_with(&line), "{name}: {answer}");
    for header in list(expected, "headers") {
        let (key, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        let header = format!("\r\n{key}: {value}\r\n").to_ascii_lowercase();
        assert!(answer.contains(&header), "{name}: {header} in {answer}");
    }
    assert!(!answer.contains("sec-websocket-protocol"), "{name}");
    if !line.contains("101") {
        return;
    }

    let mut sent = Ids::new();
    let frames = list(connection, "frames");
    let of = |side: &str| frames.iter().filter(|frame| frame["from"] == side).collect::<Vec<_>>();
    of("client").iter().for_each(|frame| ids(frame, &mut sent));
    let bytes = |frame: &Value| -> Bytes {
        let text = frame["payload_base64"].as_str().unwrap_or_default();
        BASE64_STANDARD.decode(text).expect("base64").into()
    };
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
    // A client that closes by itself does so once it has received everything.
    let mut closes = false;
    for frame in of("client") {
        let to_send = match (frame["opcode"].as_str(), &frame["json"], &frame["text"]) {
            (Some("binary"), _, _) => Frame::Binary(bytes(frame)),
            (Some("text"), Value::Null, text) => Frame::text(text.as_str().unwrap_or_default()),
            (Some("text"), json, _) => Frame::text(json.to_string()),
            (Some("close"), _, _) => {
                closes = true;
                continue;
            }
            _ => continue,
        };
        // The gateway may have dropped the connection by now.
        let _ = socket.send(to_send).await;
    }
    let mut expected = Vec::new();
    for frame in of("server") {
        match frame["opcode"].as_str() {
            Some("binary") if frame["message"].is_null() => {
                expected.push(Event::Message(Box::new(Masked::Bytes(bytes(frame)))));
            }
            Some("binary") => {
                expected.push(Event::Message(Box::new(masked(family, bytes(frame), &sent))));
            }
            Some("text") => {
                let mut json = frame["json"].clone();
                mask_json(&mut json, &sent);
                expected.push(Event::Text(json));
            }
            Some("close") => {
                let code = frame["close"]["code"].as_u64().expect("a code") as u16;
                let reason = frame["close"]["reason"].as_str().unwrap_or_default();
                expected.push(Event::Close(code, mask_text(reason)));
            }
            _ if !matches!(expected.last(), Some(Event::Close(..))) => expected.push(Event::Drop),
            _ => (),
        }
    }
    let messages =
        expected.iter().filter(|e| matches!(e, Event::Message(_) | Event::Text(_))).count();
    let by_server = frames.iter().position(|frame| frame["opcode"] == "close");
    let closes = closes && by_server.is_some_and(|first| frames[first]["from"] == "client");
    let mut found = Vec::new();
    loop {
        if closes && found.len() == messages {
            let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
            let _ = socket.close(Some(frame)).await;
        }
        found.push(match socket.next().await {
            Some(Ok(Frame::Binary(bytes))) if bytes.is_empty() => {
                Event::Message(Box::new(Masked::Bytes(bytes)))
            }
            Some(Ok(Frame::Binary(bytes))) => {
                Event::Message(Box::new(masked(family, bytes, &sent)))
            }
            Some(Ok(Frame::Text(text))) => {
                let mut json = serde_json::from_str(&text).expect("JSON");
                mask_json(&mut json, &sent);
                Event::Text(json)
            }
            Some(Ok(Frame::Close(Some(frame)))) => {
                found.push(Event::Close(frame.code.into(), mask_text(&frame.reason)));
                break;
            }
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => {
                found.push(Event::Drop);
                break;
            }
        });
    }
    assert_eq!(found, expected, "{name}");
}

#[tokio::test]
async fn websocket_v1() {
    websocket("v1/websocket", Family::V1, "").await;
}

#[tokio::test]
async fn websocket_v1_with_an_executor_down() {
    websocket("v1/websocket", Family::V1, "down_").await;
}

#[tokio::test]
async fn websocket_v1_with_an_executor_that_takes_too_long() {
    websocket("v1/websocket", Family::V1, "timeout_").await;
}

#[tokio::test]
async fn websocket_v2() {
    websocket("v2/websocket", Family::V2, "").await;
}

#[tokio::test]
async fn websocket_v2_with_an_executor_down() {
    websocket("v2/websocket", Family::V2, "down_").await;
}

#[tokio::test]
async fn websocket_v2_with_an_executor_that_takes_too_long() {
    websocket("v2/websocket", Family::V2, "timeout_").await;
}
