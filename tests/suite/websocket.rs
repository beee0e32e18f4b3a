//! The client over WebSocket: real frames replayed, and servers that are not gateways.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flowbench::client::{
    CallError, Client, ClientConfig, Failure, GatewayCode, Limits, Reply, Session,
};
use flowbench::wire::{DataRequest, Document, Family, Form, Header, Protocol};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::scripted::{
    self, Seen, ask, listen, open, question, read_request, response, send, told,
};

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

fn config(port: u16) -> ClientConfig {
    scripted::config(Protocol::WebSocket, port, Family::V1)
}

/// The server's side of the handshake, like a gateway's: without a subprotocol.
async fn shake_hands(connection: &mut TcpStream) -> Seen {
    let seen = read_request(connection).await.unwrap();
    let accept = derive_accept_key(seen.header("sec-websocket-key").unwrap().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    connection.write_all(answer.as_bytes()).await.unwrap();
    seen
}

/// Reads a client's frame: opcode and payload. `None` at the end of the connection.
async fn read_frame(connection: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let first = connection.read_u8().await.ok()?;
    assert_eq!(first & 0xf0, 0x80, "whole, and without extensions");
    let second = connection.read_u8().await.ok()?;
    assert_eq!(second & 0x80, 0x80, "masked");
    let length = match second & 0x7f {
        126 => u64::from(connection.read_u16().await.ok()?),
        127 => connection.read_u64().await.ok()?,
        length => u64::from(length),
    };
    let mut mask = [0; 4];
    connection.read_exact(&mut mask).await.ok()?;
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    connection.read_exact(&mut payload).await.ok()?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some((first & 15, payload))
}

/// A server's frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let header = match length {
        0..=125 => vec![0x80 | opcode, length as u8],
        126..=0xffff => [&[0x80 | opcode, 126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[0x80 | opcode, 127], &(length as u64).to_be_bytes()[..]].concat(),
    };
    [header, payload.to_vec()].concat()
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn decode(payload: &[u8]) -> DataRequest {
    Form::Protobuf(Family::V1).decode(Bytes::copy_from_slice(payload)).unwrap()
}

/// A response to a request: the same message with `words` as its `exec_endpoint`.
fn reply_to(request: &[u8], words: &str) -> Vec<u8> {
    let mut message = decode(request);
    message.header.exec_endpoint = Some(words.into());
    Form::Protobuf(Family::V1).encode_response(&message).unwrap().to_vec()
}

/// Serves each connection after its handshake.
async fn gateway<F, Served>(serve: F) -> u16
where
    F: Fn(TcpStream) -> Served + Clone + Send + 'static,
    Served: Future<Output = ()> + Send + 'static,
{
    listen(move |mut connection| {
        let serve = serve.clone();
        async move {
            shake_hands(&mut connection).await;
            serve(connection).await;
        }
    })
    .await
}

/// The outcome of one request if the gateway reads it and then sends `said`; then it either stays for a while
/// or hangs up.
async fn outcome(said: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static, stays: bool) -> String {
    let port = gateway(move |mut connection| {
        let said = said.clone();
        async move {
            let (_, request) = read_frame(&mut connection).await.unwrap();
            let said = said(&request);
            let _ = connection.write_all(&said).await;
            if stays {
                while read_frame(&mut connection).await.is_some() {}
            }
        }
    })
    .await;
    let mut settings = config(port);
    settings.timeout = Some(Duration::from_millis(200));
    settings.limits = Limits { message_bytes_max: 10_000 };
    let session = open(settings).await;
    let told = told(&ask(&session).await);
    told.replace(&format!("ws://127.0.0.1:{port}"), "TARGET")
}

/// One connection of the golden files: what the client sent, and how the server responded.
struct Golden {
    requests: Vec<Vec<u8>>,
    /// Opcodes and payloads.
    answers: Vec<(u8, Vec<u8>)>,
}

fn golden(folder: &str) -> Vec<(String, Golden)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for connection in case["connections"].as_array().unwrap() {
            let asked = &connection["handshake"]["request"]["headers"];
            let in_bytes_mode = asked.as_array().is_some_and(|headers| {
                headers.iter().any(|h| h[0] == "Sec-WebSocket-Protocol" && h[1] == "bytes")
            });
            let mut golden = Golden { requests: Vec::new(), answers: Vec::new() };
            for frame_of in connection["frames"].as_array().into_iter().flatten() {
                let payload = frame_of["payload_base64"].as_str().unwrap_or_default();
                let payload = BASE64_STANDARD.decode(payload).unwrap();
                match (&frame_of["from"], frame_of["opcode"].as_str()) {
                    (Value::String(from), Some("binary"))
                        if from == "client" && frame_of["message"] == "jina.DataRequestProto" =>
                    {
                        golden.requests.push(payload);
                    }
                    (Value::String(from), Some("binary")) if from == "server" => {
                        golden.answers.push((BINARY, payload));
                    }
                    (Value::String(from), Some("close")) if from == "server" => {
                        let close_of = &frame_of["close"];
                        let code = u16::try_from(close_of["code"].as_u64().unwrap()).unwrap();
                        let reason = close_of["reason"].as_str().unwrap().as_bytes();
                        golden.answers.push((CLOSE, [&code.to_be_bytes(), reason].concat()));
                    }
                    _ => {}
                }
            }
            if in_bytes_mode && !golden.requests.is_empty() {
                cases.push((path.file_stem().unwrap().to_string_lossy().into_owned(), golden));
            }
        }
    }
    cases.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!cases.is_empty());
    cases
}

/// Replays a connection: sends its requests at the same time, and sends the gateway's responses with our ids in
/// place of theirs. Returns what the gateway received, and the outcome of each request.
async fn replay(family: Family, golden: Golden) -> (Vec<DataRequest>, Vec<Result<Reply, Failure>>) {
    let form = Form::Protobuf(family);
    let requests: Vec<DataRequest> =
        golden.requests.iter().map(|bytes| form.decode(bytes.clone().into()).unwrap()).collect();
    let ids: Vec<(String, String)> =
        requests.iter().map(|r| (r.header.request_id.clone(), String::new())).collect();
    let (saw, mut seen) = mpsc::unbounded_channel();
    let answers = golden.answers;
    let port = gateway(move |mut connection| {
        let (saw, mut ids, answers) = (saw.clone(), ids.clone(), answers.clone());
        async move {
            for (_, ours) in &mut ids {
                let Some((BINARY, payload)) = read_frame(&mut connection).await else { return };
                let request = form.decode(payload.into()).unwrap();
                *ours = request.header.request_id.clone();
                saw.send(request).unwrap();
            }
            let ids: HashMap<_, _> = ids.into_iter().collect();
            for (opcode, mut payload) in answers {
                if opcode == BINARY {
                    let mut response = form.decode(payload.into()).unwrap();
                    response.header.request_id = ids[&response.header.request_id].clone();
                    payload = form.encode_response(&response).unwrap().to_vec();
                }
                let _ = connection.write_all(&frame(opcode, &payload)).await;
            }
        }
    })
    .await;
    let session = open(scripted::config(Protocol::WebSocket, port, family)).await;
    let outcomes = join_all(requests.iter().map(|request| send(&session, request))).await;
    drop(session);
    let mut saw = Vec::new();
    while saw.len() < requests.len() {
        saw.push(seen.recv().await.unwrap());
    }
    (saw, outcomes)
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[tokio::test]
async fn real_frames_have_their_meaning() {
    let mut meanings = String::new();
    for (family, folder) in [(Family::V1, "v1/websocket"), (Family::V2, "v2/websocket")] {
        let form = Form::Protobuf(family);
        for (case, golden) in golden(folder) {
            let mut expected: Vec<DataRequest> =
                golden.requests.iter().map(|b| form.decode(b.clone().into()).unwrap()).collect();
            let (saw, outcomes) = replay(family, golden).await;
            for (expected, saw) in expected.iter_mut().zip(&saw) {
                assert_eq!(saw.header.request_id.len(), 32);
                expected.header.request_id = saw.header.request_id.clone();
                if expected.parameters.is_empty() {
                    // These were sent by another client than Jina's, which sets the parameters.
                    expected.parameters = saw.parameters.clone();
                }
            }
            assert_eq!(saw, expected, "{folder}/{case}");
            for (request, outcome) in saw.iter().zip(outcomes) {
                if let Ok(reply) = &outcome {
                    assert_eq!(reply.head.header.request_id, request.header.request_id);
                    let timing = reply.timing;
                    assert!(timing.written <= timing.first && timing.first <= Some(timing.done));
                }
                let told = told(&outcome);
                let told = match told.split_once("ws://127.0.0.1:") {
                    Some((start, rest)) => {
                        format!(
                            "{start}TARGET{}",
                            rest.trim_start_matches(|c: char| c.is_numeric())
                        )
                    }
                    None => told,
                };
                meanings += &format!("{folder}/{case}: {told}\n");
            }
        }
    }
    insta::assert_snapshot!(meanings);
}

#[tokio::test]
async fn the_handshake_asks_for_bytes_and_carries_our_headers() {
    let (saw, mut seen) = mpsc::unbounded_channel();
    let port = listen(move |mut connection| {
        let saw = saw.clone();
        async move {
            saw.send(shake_hands(&mut connection).await).unwrap();
            while read_frame(&mut connection).await.is_some() {}
        }
    })
    .await;
    let mut settings = config(port);
    settings.target.user_info = Some("me:secret".into());
    settings.headers = vec![("x-trace".into(), "7".into())];
    let session = open(settings).await;
    let saw = seen.recv().await.unwrap();
    assert_eq!(saw.line, "GET / HTTP/1.1");
    assert_eq!(saw.header("upgrade"), Some("websocket"));
    assert_eq!(saw.header("connection"), Some("Upgrade"));
    assert_eq!(saw.header("sec-websocket-version"), Some("13"));
    assert_eq!(saw.header("sec-websocket-protocol"), Some("bytes"));
    assert_eq!(saw.header("sec-websocket-extensions"), None);
    assert_eq!(saw.header("host"), Some(&*format!("127.0.0.1:{port}")));
    assert_eq!(saw.header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(saw.header("x-trace"), Some("7"));
    assert!(!format!("{session:?}").contains("bWU6"));
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let port = gateway(|mut connection| async move {
        let mut replies = Vec::new();
        for _ in 0..100 {
            let (_, request) = read_frame(&mut connection).await.unwrap();
            let id = decode(&request).data.unwrap()[0].id.clone();
            replies.push(frame(BINARY, &reply_to(&request, &id)));
        }
        replies.reverse();
        connection.write_all(&replies.concat()).await.unwrap();
        while read_frame(&mut connection).await.is_some() {}
    })
    .await;
    let session = open(config(port)).await;
    let calls = (0..100).map(|number| {
        let mut request = question();
        request.data = Some(vec![Document { id: number.to_string(), ..Document::default() }]);
        let session = session.clone();
        async move {
            let reply = send(&session, &request).await.unwrap();
            assert_eq!(reply.head.header.exec_endpoint, Some(number.to_string()));
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn requests_are_spread_over_the_connections() {
    let requests: [_; 3] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(0)));
    let (counts, connections) = (requests.clone(), Arc::new(AtomicUsize::new(0)));
    let port = gateway(move |mut connection| {
        let count = counts[connections.fetch_add(1, Ordering::Relaxed)].clone();
        async move {
            while let Some((BINARY, request)) = read_frame(&mut connection).await {
                if request != [0] {
                    count.fetch_add(1, Ordering::Relaxed);
                    let reply = frame(BINARY, &reply_to(&request, "/"));
                    connection.write_all(&reply).await.unwrap();
                }
            }
        }
    })
    .await;
    let session = open(ClientConfig { connections: 3, ..config(port) }).await;
    for outcome in join_all((0..30).map(|_| ask(&session))).await {
        outcome.unwrap();
    }
    assert_eq!(requests.map(|count| count.load(Ordering::Relaxed)), [10; 3]);
}

#[tokio::test]
async fn a_large_request_and_its_reply_pass_a_server_that_reads_nothing_in_between() {
    // Neither fits into the socket buffers: the server writes before it has read everything.
    let document = Document { blob: Some(vec![1; 20_000_000].into()), ..Document::default() };
    let request = DataRequest {
        header: Header { exec_endpoint: Some("/".into()), ..Header::default() },
        data: Some(vec![document]),
        ..DataRequest::default()
    };
    let port = gateway(|connection| async move {
        let (mut read, mut write) = connection.into_split();
        let mut id = [0; 1000];
        read.read_exact(&mut id[..14]).await.unwrap();
        let mask: [u8; 4] = id[10..14].try_into().unwrap();
        read.read_exact(&mut id).await.unwrap();
        for (byte, mask) in id.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        // Field 1 of the message, the header; in it field 1, the id.
        let start = id.windows(2).position(|window| window == [0x0a, 32]).unwrap();
        let mut message = DataRequest::default();
        message.header.request_id = String::from_utf8(id[start + 2..start + 34].to_vec()).unwrap();
        let blob = Bytes::from(vec![2; 20_000_000]);
        message.data = Some(vec![Document { blob: Some(blob), ..Document::default() }]);
        let reply = Form::Protobuf(Family::V1).encode_response(&message).unwrap();
        write.write_all(&frame(BINARY, &reply)).await.unwrap();
        let mut rest = vec![0; 1 << 16];
        while read.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    let session = open(config(port)).await;
    let reply = send(&session, &request).await.unwrap();
    let blob = reply.decode().unwrap().docs()[0].blob.clone().unwrap();
    assert_eq!((blob.len(), blob[0]), (20_000_000, 2));
}

#[tokio::test]
async fn a_session_that_is_dropped_says_goodbye() {
    let (say, mut said) = mpsc::unbounded_channel();
    let port = gateway(move |mut connection| {
        let say = say.clone();
        async move {
            while let Some((opcode, payload)) = read_frame(&mut connection).await {
                if (opcode, &payload[..]) == (BINARY, &[0]) {
                    connection.write_all(&close(1000, "")).await.unwrap();
                }
                say.send(Some((opcode, payload))).unwrap();
            }
            say.send(None).unwrap();
        }
    })
    .await;
    drop(open(config(port)).await);
    assert_eq!(said.recv().await.unwrap(), Some((BINARY, vec![0])), "the end of requests");
    assert_eq!(said.recv().await.unwrap(), Some((CLOSE, 1000u16.to_be_bytes().to_vec())));
    assert_eq!(said.recv().await.unwrap(), None, "and the connection ended");
}

#[tokio::test]
async fn pings_are_answered() {
    let port = gateway(|mut connection| async move {
        let (_, request) = read_frame(&mut connection).await.unwrap();
        connection.write_all(&frame(PING, b"are you there?")).await.unwrap();
        assert_eq!(read_frame(&mut connection).await, Some((PONG, b"are you there?".to_vec())));
        connection.write_all(&frame(BINARY, &reply_to(&request, "/"))).await.unwrap();
    })
    .await;
    ask(&open(config(port)).await).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ended_is_opened_again() {
    let port = gateway(|mut connection| async move {
        let (_, request) = read_frame(&mut connection).await.unwrap();
        let reply = frame(BINARY, &reply_to(&request, "/"));
        connection.write_all(&[reply, close(1001, "")].concat()).await.unwrap();
        read_frame(&mut connection).await;
    })
    .await;
    let session = open(config(port)).await;
    for _ in 0..5 {
        ask(&session).await.unwrap();
        // The end of the connection is noticed as soon as the task that reads from it runs.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_that_nobody_has_seen_goes_to_the_next_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let (hang_up, hung_up) = oneshot::channel::<()>();
    let hung_up = Arc::new(tokio::sync::Mutex::new(Some(hung_up)));
    let port = gateway(move |mut connection| {
        let is_first = connections.fetch_add(1, Ordering::Relaxed) == 0;
        let hung_up = hung_up.clone();
        async move {
            if is_first {
                // Data that it has not read blocks everything behind it.
                connection.read_u8().await.unwrap();
                hung_up.lock().await.take().unwrap().await.unwrap();
                return;
            }
            let (_, request) = read_frame(&mut connection).await.unwrap();
            connection.write_all(&frame(BINARY, &reply_to(&request, "/"))).await.unwrap();
        }
    })
    .await;
    let session = open(config(port)).await;
    let mut large = question();
    large.data =
        Some(vec![Document { blob: Some(vec![0; 30_000_000].into()), ..Document::default() }]);
    let behind = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ask(&session).await
    };
    let crash = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        hang_up.send(()).unwrap();
    };
    let (large, behind, ()) = tokio::join!(send(&session, &large), behind, crash);
    let failure = large.unwrap_err();
    assert!(matches!(failure.error, CallError::Lost { .. }));
    assert!(failure.timing.written.is_some());
    assert_eq!(behind.unwrap().timing.attempts, 1);
}

#[tokio::test]
async fn the_end_of_a_connection_fails_all_that_wait_on_it() {
    let (hang_up, hung_up) = oneshot::channel::<()>();
    let hung_up = Arc::new(tokio::sync::Mutex::new(Some(hung_up)));
    let port = gateway(move |mut connection| {
        let hung_up = hung_up.clone();
        async move {
            for _ in 0..10 {
                read_frame(&mut connection).await.unwrap();
            }
            let hung_up = hung_up.lock().await.take();
            hung_up.unwrap().await.unwrap();
            connection.write_all(&close(1011, "an Executor is down")).await.unwrap();
        }
    })
    .await;
    let session = open(config(port)).await;
    let calls = join_all((0..10).map(|_| ask(&session)));
    let (outcomes, ()) = tokio::join!(calls, async { hang_up.send(()).unwrap() });
    for outcome in outcomes {
        let failure = outcome.unwrap_err();
        assert!(
            matches!(&failure.error, CallError::Gateway { code: GatewayCode::Close(1011), message, .. }
            if message == "an Executor is down")
        );
        assert!(failure.timing.written.is_some());
    }
}

#[tokio::test]
async fn a_reply_over_the_limit_fails_alone() {
    let port = gateway(|mut connection| async move {
        let (_, first) = read_frame(&mut connection).await.unwrap();
        let (_, second) = read_frame(&mut connection).await.unwrap();
        let mut long = reply_to(&first, "/");
        // An unknown field, which parsers skip.
        long.extend([0x9a, 6, 0x90, 0x4e]);
        long.extend([0; 10_000]);
        let replies = [frame(BINARY, &long), frame(BINARY, &reply_to(&second, "/"))];
        connection.write_all(&replies.concat()).await.unwrap();
        while read_frame(&mut connection).await.is_some() {}
    })
    .await;
    let mut settings = config(port);
    settings.limits = Limits { message_bytes_max: 10_000 };
    let session = open(settings).await;
    let (first, second) = tokio::join!(ask(&session), ask(&session));
    assert!(matches!(first.unwrap_err().error, CallError::TooLarge { limit: 10_000 }));
    second.unwrap();
}

#[tokio::test]
async fn a_frame_too_long_to_be_passed_over_ends_its_connection_and_the_next_request_has_another() {
    let connections = Arc::new(AtomicUsize::new(0));
    let port = gateway({
        let connections = connections.clone();
        move |mut connection| {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            async move {
                while let Some((_, request)) = read_frame(&mut connection).await {
                    let mut answer = frame(BINARY, &reply_to(&request, "/"));
                    if number == 0 {
                        let length = (1u64 << 62).to_be_bytes();
                        let head = [&[0x80 | BINARY, 127][..], &length].concat();
                        answer = [head, reply_to(&request, "/"), vec![0; 10_000]].concat();
                    }
                    connection.write_all(&answer).await.unwrap();
                }
            }
        }
    })
    .await;
    let mut settings = config(port);
    settings.limits = Limits { message_bytes_max: 10_000 };
    let session = open(settings).await;
    let first = ask(&session).await.unwrap_err().error;
    assert!(matches!(first, CallError::TooLarge { limit: 10_000 }), "{first}");
    // The end of the connection may reach us after the response to the first request.
    let second = ask(&session).await;
    assert!(second.is_ok() || ask(&session).await.is_ok());
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_gateway_that_was_killed_after_it_answered_is_not_said_to_be_unable_to_read() {
    let port = gateway(|mut connection| async move {
        let (_, request) = read_frame(&mut connection).await.unwrap();
        connection.write_all(&frame(BINARY, &reply_to(&request, "/"))).await.unwrap();
        let _ = read_frame(&mut connection).await;
    })
    .await;
    let session = open(config(port)).await;
    ask(&session).await.unwrap();
    let lost = ask(&session).await.unwrap_err().error.to_string();
    assert!(lost.ends_with("lost: the server closed it without a close frame (1006)"), "{lost}");
}

#[tokio::test]
async fn whatever_a_gateway_does_has_a_name() {
    type Said = fn(&[u8]) -> Vec<u8>;
    let lost = "lost: connection to TARGET lost: the server closed it without a close frame \
                (1006), as gateways do when they cannot read a request (another family, a bad \
                `target_executor`)";
    let not_jina = "protocol: TARGET does not speak Jina over WebSocket: it sent ";
    let nobody = "timeout: no reply within 200ms";
    let cases: [(Said, bool, &str); 22] = [
        (|r| frame(BINARY, &reply_to(r, "/")), true, "reply with 1 Documents, routes Some(0)"),
        (|_| Vec::new(), false, lost),
        (|r| frame(BINARY, &reply_to(r, "/"))[..20].to_vec(), false, lost),
        (|_| b"\x82".to_vec(), false, lost),
        (|_| Vec::new(), true, nobody),
        (|r| frame(BINARY, &reply_to(r, "/"))[..20].to_vec(), true, nobody),
        (|r| frame(BINARY, &replace(r, &id(r), &[b'0'; 32])), true, nobody),
        (
            |_| close(1000, ""),
            true,
            "lost: connection to TARGET lost: the gateway closed it (code 1000)",
        ),
        (
            |_| close(1001, "bye"),
            true,
            "lost: connection to TARGET lost: the gateway closed it (code 1001: bye)",
        ),
        (
            |_| frame(CLOSE, b""),
            true,
            "lost: connection to TARGET lost: the gateway closed it (no code)",
        ),
        (|_| close(1011, ""), true, "gateway: gateway answered close 1011: internal error"),
        (
            |_| close(1011, "It may be down."),
            true,
            "gateway: gateway answered close 1011: It may be down.",
        ),
        (|_| close(4999, ""), true, "gateway: gateway answered close 4999: no reason given"),
        (|_| frame(1, b"{}"), true, "a text frame; expected protobuf in binary frames"),
        (|_| frame(BINARY, b"garbage"), true, "no DataRequest with a request id"),
        (|_| frame(BINARY, b""), true, "no DataRequest with a request id"),
        (
            |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            true,
            "a frame of an extension that was not negotiated",
        ),
        (
            |_| vec![0x82, 0x85, 0, 0, 0, 0, 1, 2, 3, 4, 5],
            true,
            "a masked frame, which only clients may send",
        ),
        (|_| frame(0, b"rest"), true, "a continuation frame without a message"),
        (|_| vec![0x09, 0], true, "a control frame that is too long or fragmented"),
        // An oversized frame that does not start with an id may belong to any request.
        (
            |_| frame(BINARY, &[0x82; 10_001]),
            true,
            "too_large: response is larger than the limit of 10000 bytes",
        ),
        (
            |r| {
                let reply = frame(BINARY, &reply_to(r, "/"));
                [reply.clone(), reply].concat()
            },
            true,
            "reply with 1 Documents, routes Some(0)",
        ),
    ];
    for (said, stays, expected) in cases {
        let outcome = outcome(said, stays).await;
        assert!(
            outcome == expected || outcome == format!("{not_jina}{expected}"),
            "{outcome}\nexpected {expected}"
        );
    }
}

fn id(request: &[u8]) -> Vec<u8> {
    decode(request).header.request_id.into_bytes()
}

#[tokio::test]
async fn fragments_pings_and_halves_are_no_matter() {
    let said = |request: &[u8]| {
        let reply = reply_to(request, "/");
        let (start, end) = reply.split_at(10);
        let mut stream = frame(PING, b"");
        for (first, part) in [(2, start), (0x89, &b"?"[..]), (0x8a, b""), (0, b""), (0x80, end)] {
            stream.extend([first, part.len() as u8]);
            stream.extend(part);
        }
        stream
    };
    assert_eq!(outcome(said, true).await, "reply with 1 Documents, routes Some(0)");
}

#[tokio::test]
async fn a_stopped_runtime_ends_what_waits() {
    let port =
        gateway(
            |mut connection| async move { while read_frame(&mut connection).await.is_some() {} },
        )
        .await;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let session: Session = runtime.spawn(async move { open(config(port)).await }).await.unwrap();
    let call = tokio::spawn(async move { ask(&session).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    runtime.shutdown_background();
    assert!(matches!(call.await.unwrap().unwrap_err().error, CallError::Lost { .. }));
}

#[tokio::test]
async fn what_refuses_the_handshake_is_named() {
    let protocol = "protocol: TARGET does not speak WebSocket: ";
    let hung_up = format!("{protocol}the server closed it");
    let nothing =
        format!("{hung_up} before it sent a response; a port that requires TLS does this too");
    let status =
        |words: &str| format!("{protocol}it responds to the handshake with status {words}");
    let unproven =
        format!("{protocol}its handshake response lacks the right `sec-websocket-accept`");
    let accepts = |header: &str| {
        format!("HTTP/1.1 101 S\r\nsec-websocket-accept: KEY\r\n{header}\r\n\r\n").into_bytes()
    };
    let cases: [(Vec<u8>, String); 14] = [
        (b"".into(), nothing),
        (b"HTTP/1.1 101 Sw".into(), "lost: connection to TARGET lost: the server closed it".into()),
        (b"\0\0\x18\x04\0\0\0\0\0".into(), format!("{protocol}the port seems to speak gRPC")),
        (b"garbage".into(), format!("{protocol}the port begins with `garbage`")),
        (
            response(403, "", b""),
            status("403: Forbidden; the port seems to speak HTTP/1.1: try `http:"),
        ),
        (
            response(404, "", b"{\"detail\":\"Not Found\"}"),
            status("404: {\"detail\":\"Not Found\"}"),
        ),
        (response(200, "", b"<title>It works!</title>"), status("200: It works!")),
        (response(302, "location: /login\r\n", b""), status("302: it has moved to `/login`")),
        (response(401, "", b""), "gateway: gateway answered HTTP 401: Unauthorized".into()),
        (response(503, "", b"busy"), "gateway: gateway answered HTTP 503: busy".into()),
        (b"HTTP/1.1 101 S\r\n\r\n".into(), unproven.clone()),
        (b"HTTP/1.1 101 S\r\nsec-websocket-accept: x\r\n\r\n".into(), unproven),
        (
            accepts("sec-websocket-extensions: permessage-deflate"),
            format!("{protocol}it uses an extension that was not requested"),
        ),
        (
            accepts("sec-websocket-protocol: json"),
            format!("{protocol}it speaks the subprotocol `json`"),
        ),
    ];
    for (said, expected) in cases {
        let port = listen(move |mut connection| {
            let said = said.clone();
            async move {
                // After a failure the client asks which other protocol the port may speak.
                let Some(seen) = read_request(&mut connection).await else { return };
                let key = seen.header("sec-websocket-key").unwrap_or_default();
                let said = String::from_utf8_lossy(&said)
                    .replace("KEY", &derive_accept_key(key.as_bytes()));
                let _ = connection.write_all(said.as_bytes()).await;
            }
        })
        .await;
        let error = Client::new(config(port)).open().await.unwrap_err();
        let told = format!("{}: {error}", error.kind());
        let told = told.replace(&format!("ws://127.0.0.1:{port}"), "TARGET");
        assert!(told.starts_with(&expected), "{told}\nexpected {expected}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_is_given_up() {
    let port =
        listen(
            |mut connection| async move { while read_request(&mut connection).await.is_some() {} },
        )
        .await;
    let settings = ClientConfig { connect_timeout: Duration::from_millis(50), ..config(port) };
    let error = Client::new(settings).open().await.unwrap_err();
    assert!(error.to_string().contains(": no answer to the handshake within 50ms"), "{error}");
}
