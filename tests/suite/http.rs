//! The client over HTTP: real exchanges replayed, and servers that are not gateways.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowbench::client::{Body, Call, CallError, GatewayCode, Limits, Request};
use flowbench::wire::{DataRequest, Family, Form, Protocol};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::scripted::{
    self, Seen, answer_all, ask, listen, open, read_request, response, send, told,
};

fn config(port: u16, family: Family) -> flowbench::client::ClientConfig {
    scripted::config(Protocol::Http, port, family)
}

/// The parts of a golden exchange that can be replayed: request body, status, headers other than lengths,
/// response body.
struct Exchange {
    line: String,
    request: Value,
    status: u16,
    headers: String,
    body: Vec<u8>,
}

/// All exchanges in a folder, by name and in order.
fn golden(folder: &str) -> Vec<(String, Vec<Exchange>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let exchanges = case["exchanges"].as_array().into_iter().flatten();
            let exchanges = exchanges.filter(|e| e["response"].is_object()).map(exchange);
            (path.file_stem().unwrap().to_string_lossy().into_owned(), exchanges.collect())
        })
        .collect();
    cases.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!cases.is_empty());
    cases
}

fn exchange(exchange: &Value) -> Exchange {
    let (request, response) = (&exchange["request"], &exchange["response"]);
    let body = match (&response["body_text"], &response["body"]) {
        (Value::String(text), _) | (_, Value::String(text)) => text.clone().into_bytes(),
        (_, body) => serde_json::to_vec(body).unwrap(),
    };
    let mut headers = String::new();
    for header in response["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        if name != "content-length" {
            headers += &format!("{name}: {value}\r\n");
        }
    }
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Exchange {
        line: format!("{} {} HTTP/1.1", text(&request["method"]), text(&request["path"])),
        request: request["body"].clone(),
        status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
        headers,
        body,
    }
}

/// A message without the fields that differ from run to run.
fn without_ids(mut message: DataRequest) -> DataRequest {
    message.header.request_id.clear();
    message
}

/// The OpenAPI description from the gateway of the golden files, shortened.
fn openapi() -> Vec<u8> {
    let body = json!({"paths": {
        "/default": {"post": {}}, "/append": {"post": {}}, "/sum": {"post": {}},
        "/clear": {"post": {}}, "/fail": {"post": {}}, "/sleep": {"post": {}}, "/status": {"get": {}}, "/": {"get": {}},
    }});
    response(200, "content-type: application/json\r\n", body.to_string().as_bytes())
}

/// Responds to queries about endpoints, and to everything else with `answer`; reports the requests it saw.
async fn gateway(answer: Vec<u8>) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let (saw, seen) = mpsc::unbounded_channel();
    let port = listen(move |mut connection| {
        let (saw, answer) = (saw.clone(), answer.clone());
        async move {
            while let Some(request) = read_request(&mut connection).await {
                let asks = request.line.starts_with("GET /openapi.json ");
                let answer = if asks { openapi() } else { answer.clone() };
                let _ = connection.write_all(&answer).await;
                let _ = saw.send(request);
            }
        }
    })
    .await;
    (port, seen)
}

#[tokio::test]
async fn what_jinas_client_sent_is_what_we_send() {
    for (family, folder) in [(Family::V1, "v1/http"), (Family::V2, "v2/http")] {
        let form = Form::Json(family);
        for (case, exchanges) in golden(folder) {
            let of_a_client = |prefix: &str| !case.starts_with(prefix);
            if !["raw_", "down_", "timeout_"].into_iter().all(of_a_client) {
                continue;
            }
            for golden in exchanges {
                if golden.line.starts_with("GET ") {
                    continue;
                }
                let answer = response(golden.status, &golden.headers, &golden.body);
                let (port, mut seen) = gateway(answer).await;
                let session = open(config(port, family)).await;
                let request = serde_json::to_vec(&golden.request).unwrap();
                let request = without_ids(form.decode(request.into()).unwrap());
                let reply = send(&session, &request).await;

                let mut saw = seen.recv().await.unwrap();
                if family == Family::V2 {
                    assert_eq!(saw.line, "GET /openapi.json HTTP/1.1");
                    saw = seen.recv().await.unwrap();
                }
                assert_eq!(saw.line, golden.line, "{folder}/{case}");
                assert_eq!(saw.header("content-type"), Some("application/json"));
                let sent = form.decode(saw.body.into()).unwrap();
                assert_eq!(sent.header.request_id.len(), 32);
                assert_eq!(without_ids(sent), request, "{folder}/{case}");

                let Ok(reply) = reply else { continue };
                let timing = reply.timing;
                assert!(timing.written <= timing.first && timing.first <= Some(timing.done));
                if let Body::Message { .. } = &reply.body {
                    let golden = form.decode(golden.body.into()).unwrap();
                    assert_eq!(reply.decode().unwrap(), golden, "{folder}/{case}");
                    assert_eq!(reply.head.header, golden.header, "{folder}/{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_answer_of_a_real_gateway_has_its_meaning() {
    let mut meanings = String::new();
    for (family, folder) in [(Family::V1, "v1/http"), (Family::V2, "v2/http")] {
        for (case, exchanges) in golden(folder) {
            // Only bodies that can be a response to our requests, not those of other routes.
            let answers =
                exchanges.iter().filter(|e| e.status != 200 || !e.line.starts_with("GET "));
            for golden in answers {
                let answer = response(golden.status, &golden.headers, &golden.body);
                let (port, _seen) = gateway(answer).await;
                let outcome = ask(&open(config(port, family)).await).await;
                let told = told(&outcome).replace(&port.to_string(), "PORT");
                meanings += &format!("{folder}/{case}: {} → {told}\n", golden.status);
            }
        }
    }
    insta::assert_snapshot!(meanings);
}

#[tokio::test]
async fn mutations_go_to_graphql_and_errors_come_back() {
    let mut meanings = String::new();
    for (case, exchanges) in golden("v1/graphql") {
        for golden in exchanges.iter().filter(|golden| golden.line.starts_with("POST /graphql")) {
            let answer = response(golden.status, &golden.headers, &golden.body);
            let (port, mut seen) = gateway(answer).await;
            let session = open(config(port, Family::V1)).await;
            let body = golden.request.to_string().into_bytes();
            let outcome = session.call(Request::Mutate { body: body.clone().into() }).await;
            let saw = seen.recv().await.unwrap();
            assert_eq!(saw.line, "POST /graphql HTTP/1.1");
            assert_eq!(saw.header("content-type"), Some("application/json; charset=utf-8"));
            assert_eq!(saw.header("accept"), Some("application/json; charset=utf-8"));
            assert_eq!(saw.body, body);
            if let Ok(reply) = &outcome {
                let Body::GraphQl(bytes) = &reply.body else { panic!("{:?}", reply.body) };
                assert_eq!(bytes, &golden.body);
            }
            meanings += &format!("{case}: {} → {}\n", golden.status, told(&outcome));
        }
    }
    insta::assert_snapshot!(meanings);
}

#[tokio::test]
async fn a_flow_without_graphql_says_so() {
    let (port, _seen) = gateway(response(404, "", b"{\"detail\":\"Not Found\"}")).await;
    let session = open(config(port, Family::V2)).await;
    let failure = session.call(Request::Mutate { body: "{}".into() }).await.unwrap_err();
    assert!(matches!(&failure.error, CallError::Unsupported(words)
        if words.starts_with("this Flow offers no GraphQL")));
}

#[tokio::test]
async fn v2_endpoints_have_paths_of_their_own() {
    let (port, mut seen) = gateway(response(200, "", b"{\"data\":[]}")).await;
    let session = open(config(port, Family::V2)).await;
    let endpoints = ["/", "append", "/append", "/append/", "/nosuch", "", "/status"];
    let paths = ["default", "append", "append", "append", "default", "default", "default"];
    seen.recv().await.unwrap();
    for (endpoint, path) in endpoints.into_iter().zip(paths) {
        let mut request = scripted::question();
        request.header.exec_endpoint = Some(endpoint.into());
        send(&session, &request).await.unwrap();
        assert_eq!(seen.recv().await.unwrap().line, format!("POST /{path} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_v2_gateway_that_lists_nothing_is_sent_to_post() {
    for answer in [&b"no JSON"[..], b"{}", b"{\"paths\":{\"/post\":{\"get\":{}}}}"] {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (saw, answer) = (lines.clone(), response(200, "", answer));
        let port = listen(move |mut connection| {
            let (saw, answer) = (saw.clone(), answer.clone());
            async move {
                while let Some(request) = read_request(&mut connection).await {
                    saw.lock().unwrap().push(request.line);
                    connection.write_all(&answer).await.unwrap();
                }
            }
        })
        .await;
        let session = open(config(port, Family::V2)).await;
        let _ = ask(&session).await;
        let lines = lines.lock().unwrap();
        assert_eq!(*lines, ["GET /openapi.json HTTP/1.1", "POST /post HTTP/1.1"]);
    }
}

#[tokio::test]
async fn headers_of_the_user_go_along_and_override_ours() {
    let (port, mut seen) = gateway(response(200, "", b"{\"data\":[]}")).await;
    let mut settings = config(port, Family::V1);
    settings.target.user_info = Some("me:secret".into());
    settings.headers = vec![("X-Trace".into(), "7".into()), ("User-Agent".into(), "mine".into())];
    let session = open(settings.clone()).await;
    ask(&session).await.unwrap();
    let saw = seen.recv().await.unwrap();
    assert_eq!(saw.header("host"), Some(&*format!("127.0.0.1:{port}")));
    assert_eq!(saw.header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(saw.header("x-trace"), Some("7"));
    assert_eq!(saw.header("user-agent"), Some("mine"));
    let shown = format!("{session:?}");
    assert!(!shown.contains("secret") && !shown.contains("bWU6"), "{shown}");

    settings.headers = vec![("authorization".into(), "Bearer t".into())];
    ask(&open(settings).await).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().header("authorization"), Some("Bearer t"));
}

#[tokio::test]
async fn connections_are_kept_and_there_are_as_many_as_requests_at_once() {
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, together) = (connections.clone(), Arc::new(tokio::sync::Barrier::new(8)));
    let port = listen(move |mut connection| {
        count.fetch_add(1, Ordering::Relaxed);
        let together = together.clone();
        async move {
            while read_request(&mut connection).await.is_some() {
                // Eight requests must arrive at the same time for any to be answered.
                together.wait().await;
                connection.write_all(&response(200, "", b"{\"data\":[]}")).await.unwrap();
            }
        }
    })
    .await;
    let mut settings = config(port, Family::V1);
    settings.connections = 3;
    let session = open(settings).await;
    for _ in 0..5 {
        for outcome in join_all((0..8).map(|_| ask(&session))).await {
            outcome.unwrap();
        }
    }
    assert_eq!(connections.load(Ordering::Relaxed), 8);
}

#[tokio::test]
async fn a_request_on_a_connection_that_was_closed_while_idle_is_sent_again() {
    // The second request on a connection is read, but the connection ends without a response, as if the server
    // had closed it just before.
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let port = listen(move |mut connection| {
        let count = count.clone();
        async move {
            read_request(&mut connection).await;
            count.fetch_add(1, Ordering::Relaxed);
            let _ = connection.write_all(&response(200, "", b"{\"data\":[]}")).await;
            read_request(&mut connection).await;
        }
    })
    .await;
    let session = open(config(port, Family::V1)).await;
    for _ in 0..5 {
        let reply = ask(&session).await.unwrap();
        assert_eq!(reply.timing.attempts, 1);
        // Servers close idle connections after a while.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
    }
    assert_eq!(requests.load(Ordering::Relaxed), 5);
    // A connection that was in use a moment ago is not discarded as idle: its end is a failure.
    ask(&session).await.unwrap();
    assert!(matches!(ask(&session).await.unwrap_err().error, CallError::Lost { .. }));
}

#[tokio::test]
async fn a_new_connection_that_ends_without_an_answer_is_lost() {
    let port = listen(|mut connection| async move {
        read_request(&mut connection).await;
    })
    .await;
    let session = open(config(port, Family::V1)).await;
    let first = ask(&session).await.unwrap_err();
    assert!(matches!(&first.error, CallError::Lost { .. }), "{first}");
    assert!(first.timing.written.is_some() && first.timing.first.is_none());
}

#[tokio::test]
async fn the_first_failure_stands_when_no_new_connection_can_be_made() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let crash = async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await;
        connection.write_all(&response(200, "", b"{\"data\":[]}")).await.unwrap();
        read_request(&mut connection).await;
    };
    let session = open(config(port, Family::V1)).await;
    let calls = async {
        ask(&session).await.unwrap();
        ask(&session).await
    };
    let (outcome, ()) = tokio::join!(calls, crash);
    assert!(matches!(outcome.unwrap_err().error, CallError::Lost { .. }));
    let next = ask(&session).await.unwrap_err().error;
    assert!(matches!(next, CallError::Connect { .. }), "{next}");
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_the_timeout() {
    let port = listen(|connection| async move {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(connection);
    })
    .await;
    let mut settings = config(port, Family::V1);
    settings.timeout = Some(Duration::from_millis(50));
    let session = open(settings).await;
    let failure = ask(&session).await.unwrap_err();
    assert!(matches!(failure.error, CallError::Timeout(limit) if limit.as_millis() == 50));
    assert!(failure.timing.written.is_some() && failure.timing.first.is_none());
}

#[tokio::test]
async fn a_request_given_up_does_not_spoil_the_next_one() {
    // The response to the first request arrives when no one is waiting for it any more.
    let requests = Arc::new(AtomicUsize::new(0));
    let port = listen(move |mut connection| {
        let requests = requests.clone();
        async move {
            while read_request(&mut connection).await.is_some() {
                let number = requests.fetch_add(1, Ordering::Relaxed);
                if number == 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let body = json!({"header": {"requestId": number.to_string()}}).to_string();
                let _ = connection.write_all(&response(200, "", body.as_bytes())).await;
            }
        }
    })
    .await;
    let session = open(config(port, Family::V1)).await;
    let given_up = tokio::time::timeout(Duration::from_millis(20), ask(&session)).await;
    assert!(given_up.is_err());
    let reply = ask(&session).await.unwrap();
    assert_eq!(reply.head.header.request_id, "1");
}

#[tokio::test]
async fn compressed_answers_are_read_up_to_the_limit() {
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain).unwrap();
        response(200, "content-encoding: gzip\r\n", &encoder.finish().unwrap())
    };
    let (port, mut seen) = gateway(gzip(b"{\"data\": []}")).await;
    ask(&open(config(port, Family::V1)).await).await.unwrap();
    assert_eq!(seen.recv().await.unwrap().header("accept-encoding"), Some("gzip, deflate"));

    let (port, _seen) = gateway(gzip(&vec![b' '; 1 << 20])).await;
    let mut settings = config(port, Family::V1);
    settings.limits = Limits { message_bytes_max: 1000 };
    let failure = ask(&open(settings).await).await.unwrap_err();
    assert!(matches!(failure.error, CallError::TooLarge { limit: 1000 }));
}

#[tokio::test]
async fn what_is_no_gateway_is_named() {
    let page = b"<html><head><title>It works!</title></head></html>";
    let cases: [(Vec<u8>, &str); 19] = [
        (
            b"".into(),
            "lost: connection to TARGET lost: the server closed it before it sent a response; a \
             port that requires TLS does this too",
        ),
        (b"HTTP/1.1 200 OK\r\n".into(), "lost: connection to TARGET lost: the server closed it"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{".into(),
            "lost: connection to TARGET lost: the server closed it",
        ),
        (
            b"\0\0\x18\x04\0\0\0\0\0\0\x04".into(),
            "protocol: TARGET does not speak HTTP: the port seems to speak gRPC (HTTP/2): try `grpc://127.0.0.1:PORT`, or `http_version: 2` for plain requests",
        ),
        (
            b"\x15\x03\x01\0\x02\x02\x46".into(),
            "protocol: TARGET does not speak HTTP: the port seems to speak TLS: try `https://127.0.0.1:PORT`",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n".into(),
            "protocol: TARGET does not speak HTTP: the port seems to speak SSH",
        ),
        (
            b"-ERR unknown command\r\n".into(),
            "protocol: TARGET does not speak HTTP: the port begins with `-ERR unknown command`",
        ),
        (
            b"HTTP/1.1 2x0 OK\r\n\r\n".into(),
            "protocol: TARGET does not speak HTTP: its response is not valid HTTP: invalid response status",
        ),
        (
            response(200, "content-type: text/html\r\n", page),
            "protocol: TARGET does not speak Jina over HTTP: status 200 with a web page: It works!",
        ),
        (
            response(200, "content-type: text/plain\r\n", b"hello"),
            "protocol: TARGET does not speak Jina over HTTP: status 200 with `text/plain`: hello",
        ),
        (
            response(200, "", b""),
            "protocol: TARGET does not speak Jina over HTTP: status 200 with nothing",
        ),
        (response(200, "", b"{\"header\": 5}"), "decode: "),
        (
            response(204, "", b""),
            "protocol: TARGET does not speak Jina over HTTP: status 204 with nothing",
        ),
        (
            response(301, "location: https://there/\r\n", b""),
            "gateway: gateway answered HTTP 301: moved to `https://there/`; use that address",
        ),
        (response(401, "", b"\r\n"), "gateway: gateway answered HTTP 401: Unauthorized"),
        (
            response(404, "", b"{\"detail\":\"Not Found\"}"),
            "gateway: gateway answered HTTP 404: no such endpoint URL `TARGET/post`; is this the HTTP port of a Flow of family v1?",
        ),
        (
            response(
                422,
                "",
                br#"{"detail":[{"loc":["body","data",0],"msg":"bad"},{"msg":"b"},5,6]}"#,
            ),
            "gateway: gateway answered HTTP 422: body.data.0: bad; b; 5; and 1 more",
        ),
        (
            response(502, "content-type: text/html\r\n", b"<title>502 Bad\nGateway</title>"),
            "gateway: gateway answered HTTP 502: 502 Bad Gateway",
        ),
        (response(500, "", "é".repeat(1000).as_bytes()), "gateway: gateway answered HTTP 500: é"),
    ];
    for (said, expected) in cases {
        let answer = said.clone();
        let port = listen(move |mut connection| {
            let answer = answer.clone();
            async move {
                read_request(&mut connection).await;
                let _ = connection.write_all(&answer).await;
            }
        })
        .await;
        let outcome = told(&ask(&open(config(port, Family::V1)).await).await);
        let outcome = outcome.replace(&format!("http://127.0.0.1:{port}"), "TARGET");
        let outcome = outcome.replace(&port.to_string(), "PORT");
        assert!(
            outcome == expected || expected.len() < 60 && outcome.starts_with(expected),
            "{:?}\n{outcome}\n{expected}",
            said.escape_ascii().to_string()
        );
        assert!(outcome.chars().count() < 400);
    }
}

/// A server that redirects from one path to another: the paths requested, and how the last request ended.
async fn led(
    moves: impl Fn(&str, u16) -> Option<String> + Clone + Send + 'static,
) -> (Vec<String>, String) {
    let (saw, mut seen) = mpsc::unbounded_channel();
    let port = listen(move |mut connection| {
        let (saw, moves) = (saw.clone(), moves.clone());
        async move {
            while let Some(request) = read_request(&mut connection).await {
                let own = request.header("host").unwrap().rsplit(':').next().unwrap().parse();
                let path = request.line.split(' ').nth(1).unwrap().to_owned();
                let answer = match moves(&path, own.unwrap()) {
                    Some(to) => response(307, &format!("location: {to}\r\n"), b""),
                    None => response(200, "", b"{\"data\": []}"),
                };
                let body = String::from_utf8_lossy(&request.body);
                let _ = saw.send(format!("{path} {body}"));
                let _ = connection.write_all(&answer).await;
            }
        }
    })
    .await;
    let outcome = told(&ask(&open(config(port, Family::V1)).await).await);
    let mut paths = Vec::new();
    while let Ok(path) = seen.try_recv() {
        paths.push(path.split(' ').next().unwrap().to_owned());
        assert!(path.contains("exec_endpoint"), "the body goes along: {path}");
    }
    (paths, outcome)
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_and_no_other() {
    let (paths, outcome) = led(|path, port| match path {
        "/post" => Some("/a?b=c#d".into()),
        "/a?b=c" => Some(format!("HTTP://127.0.0.1:{port}/b")),
        _ => None,
    })
    .await;
    assert_eq!(paths, ["/post", "/a?b=c", "/b"]);
    assert!(outcome.starts_with("reply"), "{outcome}");
    for elsewhere in ["http://127.0.0.1:1/b", "https://127.0.0.1:PORT/b", "//there/b", "b", "/b c"]
    {
        let (paths, outcome) =
            led(move |_, port| Some(elsewhere.replace("PORT", &port.to_string()))).await;
        assert_eq!(paths, ["/post"]);
        assert!(outcome.contains("HTTP 307: moved to"), "{outcome}");
    }
    let (paths, outcome) = led(|_, _| Some("/post".into())).await;
    assert_eq!(paths.len(), 11);
    assert!(outcome.contains("HTTP 307: moved to `/post`"), "{outcome}");
}

#[tokio::test]
async fn a_port_that_is_no_http_is_named_also_when_the_family_is_given() {
    for (said, expected) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], Some("the port seems to speak SSH")),
        (b"\0\0\x18\x04\0\0\0\0\0\0\x04", Some("gRPC (HTTP/2): try `grpc://")),
        (b"", Some("the port accepts connections but sends nothing")),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", None),
    ] {
        let port = listen(move |mut connection| async move {
            read_request(&mut connection).await;
            let _ = connection.write_all(said).await;
        })
        .await;
        let session = open(config(port, Family::V1)).await;
        match (session.greet().await, expected) {
            (Ok(()), None) => (),
            (Err(error @ CallError::Protocol { .. }), Some(expected)) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            (greeted, _) => panic!("{greeted:?}"),
        }
    }
}

#[tokio::test]
async fn hints_ask_only_for_what_may_be_wrong() {
    let internal = response(500, "", b"Internal Server Error");
    let missing = response(404, "", b"{\"detail\":\"Not Found\"}");
    for (family, target, answer, expected) in [
        (Family::V1, None, &internal, "Internal Server Error; see the gateway's log"),
        (
            Family::V1,
            Some("("),
            &internal,
            "Internal Server Error; is `target_executor` a valid regular expression?",
        ),
        (
            Family::V2,
            None,
            &internal,
            "Internal Server Error; is an Executor down or over `timeout_send`?",
        ),
        (
            Family::V2,
            Some("("),
            &internal,
            "Internal Server Error; is an Executor down or over `timeout_send`, is \
             `target_executor` a valid regular expression?",
        ),
        (
            Family::V2,
            None,
            &missing,
            "no such endpoint URL `TARGET/default`; the Flow has `/append`, `/clear`, \
             `/default`, `/fail`, `/sleep`, `/sum`",
        ),
    ] {
        let (port, _seen) = gateway(answer.clone()).await;
        let session = open(config(port, family)).await;
        let mut request = scripted::question();
        request.header.target_executor = target.map(str::to_owned);
        let failure = send(&session, &request).await.unwrap_err().error;
        let CallError::Gateway { message, .. } = failure else { panic!("{failure}") };
        let message = message.replace(&format!("http://127.0.0.1:{port}"), "TARGET");
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn a_gateway_tells_when_to_come_again() {
    let (port, _seen) = gateway(response(429, "retry-after: 7\r\n", b"slow down")).await;
    let failure = ask(&open(config(port, Family::V1)).await).await.unwrap_err().error;
    let CallError::Gateway { code, retry_after, .. } = failure else { panic!("{failure}") };
    assert_eq!((code, retry_after), (GatewayCode::Http(429), Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn an_endless_answer_ends_at_the_limit() {
    for start in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n",
    ] {
        let port = listen(move |mut connection| async move {
            read_request(&mut connection).await;
            let _ = connection.write_all(start.as_bytes()).await;
            while connection.write_all(b"8\r\n12345678\r\n").await.is_ok() {}
        })
        .await;
        let mut settings = config(port, Family::V1);
        settings.limits = Limits { message_bytes_max: 100_000 };
        let failure = ask(&open(settings).await).await.unwrap_err();
        assert!(matches!(failure.error, CallError::TooLarge { limit: 100_000 }), "{start}");
    }
}

#[tokio::test]
async fn streaming_endpoints_are_not_for_http() {
    let port =
        listen(|connection| answer_all(connection, response(200, "", b"{\"data\":[]}"))).await;
    let session = open(config(port, Family::V1)).await;
    let message = Form::Protobuf(Family::V2).encode_request(&scripted::question()).unwrap();
    let failure = session.call(Request::Stream { message }).await.unwrap_err();
    assert!(matches!(failure.error, CallError::Unsupported(_)));
    assert_eq!(failure.timing.written, None);
}
