//! Plain requests over HTTP/2, to hyper's server: in clear text and inside TLS.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::run::{Place, counts_are_conserved};

/// Requests after which a connection is said goodbye to.
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

/// Serves HTTP/2 until the runtime ends; gives its port.
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
        ran.ends(2).err.contains("HTTP/2 is for flows whose scenarios all send plain requests"),
        "{}",
        ran.err
    );
    let place = Place::new(
        "flows: {f: {host: 'http://127.0.0.1:1', http_version: 3}}\nscenarios: [{name: s, request: {path: /}, load: {clients: 1, requests: 1}}]\n",
    );
    let ran = place.run(&["--out", "out"]);
    assert!(ran.ends(2).err.contains("expected `1.1` or `2`, found `3`"), "{}", ran.err);
}
