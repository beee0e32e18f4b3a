//! Plain requests over HTTP/2 to hyper's server, without and with TLS.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use flowbench::client::{
    Body, Call, Client, ClientConfig, FamilyChoice, HttpRequest, HttpVersion, Request as Sent,
    Session,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::run::{Place, Ran, counts_are_conserved};

/// The number of requests after which the server closes a connection gracefully.
const GOODBYE_AFTER: usize = 25;

async fn answer(
    request: Request<Incoming>,
    count: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    count.fetch_add(1, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let told = json!({
        "version": format!("{:?}", head.version),
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map(|path| path.as_str()),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "own": header("x-own"),
        "of_all": header("x-of-all"),
        "type": header("content-type"),
        "bytes": body.len(),
    });
    let reply = Response::builder().header("content-type", "application/json");
    let text = told.to_string();
    Ok(match head.uri.path() {
        "/gzip" => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(text.as_bytes()).expect("a vector takes all");
            let packed = packed.finish().expect("a vector takes all");
            reply.header("content-encoding", "gzip").body(Full::new(packed.into()))
        }
        "/old" => reply.status(303).header("location", "/new").body(Full::default()),
        "/busy" => {
            reply.status(503).body(Full::new(json!({"why": "too much to do"}).to_string().into()))
        }
        _ => reply.body(Full::new(text.into())),
    }
    .expect("it is valid"))
}

/// Serves HTTP/2 until the runtime ends; returns its port.
async fn serve(tls: Option<rustls::ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let port = listener.local_addr().expect("it has one").port();
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => talk(TokioIo::new(tcp)).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(tcp).await {
                            talk(TokioIo::new(stream)).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn talk(io: impl hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|request| answer(request, count.clone()));
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(io, service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = tokio::time::sleep(std::time::Duration::from_millis(2)) => {
                if count.load(Ordering::Relaxed) >= GOODBYE_AFTER {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.as_mut().await;
                    return;
                }
            }
        }
    }
}

fn certified() -> (rustls::ServerConfig, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring serves them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    (config, made.cert.pem())
}

const REST: &str = "
scenarios:
  - name: all
    load: {clients: 4, requests: 120}
    headers: {x-own: '${{ i }}'}
    steps:
      - name: post
        request: {path: '/a b?q=${{ i }}', json: {text: \"${{ words(2000) }}\"}}
        assert:
          - response.status_code == 200
          - response.json.version == 'HTTP/2.0'
          - response.json.method == 'POST'
          - response.json.path is startingwith '/a%20b?q='
          - response.json.bytes > 5000
          - response.json.own | int >= 0
          - response.json.of_all == 'a'
          - response.json.type == 'application/json'
          - response.headers['content-type'] == 'application/json'
        capture: {path: response.json.path}
      - name: packed
        request: {path: /gzip, headers: {x-path: '${{ captured.path }}'}}
        assert: [\"response.json.method == 'GET'\"]
      - name: led
        request: {path: /old, method: POST, body: x}
        assert: [\"response.json.path == '/new'\", \"response.json.method == 'GET'\"]
  - name: constant
    needs: [all]
    load: {rate: 200/s, duration: 1s}
    request: {path: /same}
    assert: [\"response.json.own is none\"]
";

fn ran(flow: &str) {
    let place = Place::new(&format!(
        "flows: {{f: {{{flow}, http_version: 2, headers: {{x-of-all: a}}}}}}{REST}"
    ));
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    for scenario in report["scenarios"].as_array().expect("a list") {
        counts_are_conserved(scenario);
    }
    assert_eq!(report["scenarios"][0]["requests"]["ok"], 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_clear_text_it_is_spoken_from_the_first_byte() {
    let port = serve(None).await;
    tokio::task::spawn_blocking(move || ran(&format!("host: 'http://127.0.0.1:{port}'")))
        .await
        .expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_tls_it_is_agreed_on() {
    let (config, ca) = certified();
    let port = serve(Some(config)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca).expect("there is room");
    let flow = format!("host: 'https://localhost:{port}', tls: {{ca: '{}'}}", file.display());
    tokio::task::spawn_blocking(move || ran(&flow)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_no_success_has_its_response() {
    let port = serve(None).await;
    let place = Place::new(&format!(
        "flows: {{f: {{host: 'http://127.0.0.1:{port}', http_version: 2}}}}
scenarios:
  - name: s
    load: {{clients: 1, requests: 3}}
    request: {{path: /busy}}
    assert: [response.status_code == 200]
    on_error: [{{log: \"${{{{ response.status_code }}}} as ${{{{ response.json.why }}}}\"}}, {{check: \"'do' in response.body\"}}]
    thresholds: [error_rate <= 100%]
"
    ));
    let ran = tokio::task::spawn_blocking(move || {
        let ran = place.run(&["--out", "out"]);
        (ran, place.report())
    });
    let (ran, report) = ran.await.expect("it ends");
    assert!(
        format!("{}{}", ran.out, ran.err).contains("503 as too much to do"),
        "{}{}",
        ran.out,
        ran.err
    );
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["callbacks"]["on_error"]["failed"], 0, "{}", scenario["callbacks"]);
    assert_eq!(scenario["assertions"][0]["failed"], 0, "it failed already");
    let error = &scenario["errors"][0];
    assert_eq!(error["count"], 3);
    assert_eq!(error["details"], "status 503\n{\"why\":\"too much to do\"}");
}

#[test]
fn what_speaks_no_http_2_and_a_flow_that_is_one_are_told() {
    let server = super::Server::start();
    let place = Place::new(&format!(
        "flows: {{f: {{host: 'http://127.0.0.1:{}', http_version: 2}}}}
scenarios: [{{name: s, request: {{path: /}}, load: {{clients: 1, requests: 1}}}}]
",
        server.port
    ));
    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    assert!(ran.out.contains("does not speak HTTP/2"), "{}", ran.out);
    let place = Place::new(
        "flows: {f: {host: 'http://127.0.0.1:1', http_version: 2}}\nscenarios: [{name: s, documents: {count: 1}}]\n",
    );
    let ran = place.run(&["--out", "out"]);
    assert!(
        ran.ends(2)
            .err
            .contains("HTTP/2 is only for flows whose scenarios all send plain requests"),
        "{}",
        ran.err
    );
    let place = Place::new(
        "flows: {f: {host: 'http://127.0.0.1:1', http_version: 3}}\nscenarios: [{name: s, request: {path: /}, load: {clients: 1, requests: 1}}]\n",
    );
    let ran = place.run(&["--out", "out"]);
    assert!(ran.ends(2).err.contains("expected `1.1` or `2`, found `3`"), "{}", ran.err);
}

/// Serves HTTP/2 with h2, calling `script` with each request and its number from 0; returns its port and the
/// number of connections so far.
async fn scripted<F, S>(streams_max: u32, script: S) -> (u16, Arc<AtomicUsize>)
where
    S: Fn(usize, http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> F,
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let port = listener.local_addr().expect("it has one").port();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let (script, requests) = (script.clone(), requests.clone());
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(streams_max).initial_window_size(1000);
                let Ok(mut connection) = builder.handshake(tcp).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(script(
                        requests.fetch_add(1, Ordering::Relaxed),
                        request,
                        respond,
                    ));
                }
            });
        }
    });
    (port, connections)
}

async fn session(port: u16, change: impl FnOnce(&mut ClientConfig)) -> Session {
    let target = format!("http://127.0.0.1:{port}").parse().expect("an address");
    let mut config = ClientConfig::new(target);
    (config.http_version, config.family) = (HttpVersion::Two, FamilyChoice::NoFlow);
    change(&mut config);
    Client::new(config).open().await.expect("it speaks HTTP/2")
}

fn get(path: &str) -> Sent {
    Sent::Http(Arc::new(HttpRequest::new("GET", path).expect("a path")))
}

fn ok() -> http::Response<()> {
    http::Response::new(())
}

async fn body_of(mut incoming: h2::RecvStream) -> usize {
    let mut bytes = 0;
    while let Some(Ok(data)) = incoming.data().await {
        bytes += data.len();
        let _ = incoming.flow_control().release_capacity(data.len());
    }
    bytes
}

async fn text(session: &Session, request: Sent) -> Result<String, String> {
    match session.call(request).await {
        Ok(reply) => match reply.body {
            Body::Http(response) => Ok(String::from_utf8_lossy(&response.body).into_owned()),
            other => panic!("{other:?}"),
        },
        Err(failure) => Err(failure.to_string()),
    }
}

#[tokio::test]
async fn bodies_larger_than_any_window_go_both_ways_one_stream_at_a_time() {
    let (port, connections) = scripted(1, |_, request, mut respond| async move {
        let bytes = body_of(request.into_body()).await;
        let mut stream = respond.send_response(ok(), false).expect("it is open");
        stream.send_data(format!("{bytes}:").into(), false).expect("it is open");
        stream.send_data(vec![b'x'; 5_000_000].into(), true).expect("it is open");
    })
    .await;
    let session = session(port, |_| ()).await;
    let post = |bytes: usize| {
        let request = HttpRequest::new("POST", "/").expect("a path").body(vec![b'y'; bytes]);
        text(&session, Sent::Http(Arc::new(request)))
    };
    let answers = futures_util::future::join_all([3_000_000, 0, 1, 70_000].map(post)).await;
    for (answer, bytes) in answers.into_iter().zip([3_000_000, 0, 1, 70_000]) {
        let answer = answer.expect("it is answered");
        let (told, rest) = answer.split_once(':').expect("a number");
        assert_eq!((told.parse(), rest.len()), (Ok(bytes), 5_000_000));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_request_that_was_refused_goes_out_again_and_others_do_not() {
    let (port, _) = scripted(100, |number, _, mut respond| async move {
        match number {
            0 | 1 => respond.send_reset(h2::Reason::REFUSED_STREAM),
            2 => drop(respond.send_response(ok(), true)),
            3 => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            4 => {
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                stream.send_data("half".into(), false).expect("it is open");
                stream.send_reset(h2::Reason::CANCEL);
            }
            _ => respond.send_reset(h2::Reason::REFUSED_STREAM),
        }
    })
    .await;
    let session = session(port, |_| ()).await;
    assert_eq!(text(&session, get("/")).await, Ok(String::new()));
    let failed = text(&session, get("/")).await.expect_err("it was reset");
    assert!(failed.contains("INTERNAL_ERROR"), "{failed}");
    let failed = text(&session, get("/")).await.expect_err("it was cut short");
    assert!(failed.contains("CANCEL"), "{failed}");
    let failed = text(&session, get("/")).await.expect_err("it is refused for good");
    assert!(failed.contains("refused the stream"), "{failed}");
}

#[tokio::test]
async fn time_and_size_have_their_limits_and_others_go_on() {
    let (port, connections) = scripted(100, |_, request, mut respond| async move {
        match request.uri().path() {
            "/never" => std::future::pending().await,
            "/large" => {
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                stream.send_data(vec![0; 2000].into(), true).expect("it is open");
            }
            _ => drop(respond.send_response(ok(), true)),
        }
    })
    .await;
    let session = session(port, |config| {
        config.timeout = Some(std::time::Duration::from_millis(300));
        config.limits.message_bytes_max = 1000;
    })
    .await;
    let all = ["/never", "/large", "/"].map(|path| text(&session, get(path)));
    let [never, large, small]: [_; 3] =
        futures_util::future::join_all(all).await.try_into().expect("three");
    let never = never.expect_err("it has no answer");
    assert!(never.contains("300"), "{never}");
    let large = large.expect_err("it is too large");
    assert!(large.contains("1000"), "{large}");
    assert_eq!(small, Ok(String::new()));
    assert_eq!(text(&session, get("/")).await, Ok(String::new()));
    assert_eq!(connections.load(Ordering::Relaxed), 1, "what was given up is off its stream");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header line that is not added to the dynamic table.
fn line(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

/// The header block of a response with status 200.
fn head(lines: &[u8]) -> Vec<u8> {
    const STATUS_200: u8 = 0x88;
    [&[STATUS_200], lines].concat()
}

/// A server that greets correctly, responds to the first request with these bytes, and closes the connection:
/// at once, unless further frames are `awaited`.
async fn raw(sent: Vec<u8>, awaited: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let port = listener.local_addr().expect("it has one").port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let sent = sent.clone();
            tokio::spawn(async move {
                let mut input = vec![0; 64 << 10];
                let mut greeting = frame(4, 0, 0, &[]);
                greeting.extend(frame(4, 1, 0, &[]));
                greeting.extend(frame(6, 1, 0, b"flowbnch"));
                let _ = tcp.read(&mut input).await;
                let _ = tcp.write_all(&greeting).await;
                // The acknowledgement of our settings may come in a separate read.
                loop {
                    let Ok(count @ 1..) = tcp.read(&mut input).await else { return };
                    if input[..count].windows(4).any(|bytes| bytes == [1, 5, 0, 0]) {
                        break;
                    }
                }
                let _ = tcp.write_all(&sent).await;
                if awaited {
                    let _ = tcp.read(&mut input).await;
                    let _ = tcp.read(&mut input).await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn frames_that_make_no_response_end_the_request_and_not_the_program() {
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("data first", frame(0, 1, 1, b"x"), "data before headers"),
        ("no status", frame(1, 5, 1, &line(b"a", b"b")), "without a status"),
        ("capitals", frame(1, 5, 1, &head(&line(b"A", b"b"))), "does not send HTTP/2"),
        (
            "a line in a value",
            frame(1, 5, 1, &head(&line(b"a", b"b\r\nc: d"))),
            "does not send HTTP/2",
        ),
        ("no headers", frame(1, 5, 1, &[0xff, 0xff]), "does not send HTTP/2"),
        (
            "headers in the middle",
            [frame(1, 4, 1, &head(&[])), frame(1, 4, 1, &line(b"a", b"b"))].concat(),
            "in the middle",
        ),
        ("chunks", frame(1, 5, 1, &head(&line(b"transfer-encoding", b"odd"))), "transfer-encoding"),
        ("an end", Vec::new(), "closed"),
    ];
    for (what, sent, expected) in cases {
        let awaited = !sent.is_empty();
        let port = raw(sent, awaited).await;
        let limit = Some(std::time::Duration::from_secs(5));
        let session = session(port, |config| config.timeout = limit).await;
        let told = text(&session, get("/")).await.expect_err(what);
        assert!(told.contains(expected) && !told.contains("5 s"), "{what}: {told}");
    }
}

#[tokio::test]
async fn a_response_that_is_there_outlives_its_connection() {
    const BYTES: usize = 8 << 20;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b'x'; BYTES]).expect("a vector takes all");
    let packed = packed.finish().expect("a vector takes all");
    assert!(packed.len() < 16_000, "it is one frame: {}", packed.len());
    let lines = line(b"content-encoding", b"gzip");
    let sent = [frame(1, 4, 1, &head(&lines)), frame(0, 1, 1, &packed)].concat();
    let port = raw(sent, false).await;
    let session = session(port, |_| ()).await;
    let answer = text(&session, get("/")).await.expect("it is whole");
    assert_eq!(answer.len(), BYTES);
}

#[test]
fn a_plan_foresees_that_requests_share_connections() {
    let scenarios = "
scenarios:
  - {name: open, load: {rate: 500/s, duration: 1s}, request: {path: /}}
  - {name: closed, load: {clients: 20, requests: 100}, request: {path: /}}
  - {name: two, connections: 2, load: {rate: 500/s, duration: 1s}, request: {path: /}, thresholds: [p99 < 10ms]}
";
    for (version, foreseen) in [("1.1", ["500", "20", "2"]), ("2", ["1", "1", "2"])] {
        let flow = format!("flows: {{f: {{host: 'http://127.0.0.1:1', http_version: {version}}}}}");
        let place = Place::new(&format!("{flow}{scenarios}"));
        let ran = Ran::new(place.any(&["plan", "suite.yaml"]).output().expect("it starts"));
        let line = |line: &str| Some(line.trim().strip_prefix("connections")?.trim().to_owned());
        let lines: Vec<String> = ran.ends(0).out.lines().filter_map(line).collect();
        assert_eq!(lines.len(), 3, "{}", ran.out);
        for (line, foreseen) in lines.iter().zip(foreseen) {
            assert!(
                line.starts_with(&format!("{foreseen},"))
                    || line.starts_with(&format!("{foreseen} ")),
                "{line}"
            );
        }
        assert_eq!(lines[2].contains("/s"), version == "1.1", "{}", lines[2]);
    }
}
