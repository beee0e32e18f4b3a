//! Failures between us and a real Flow, and our error messages.

use std::sync::Mutex;
use std::time::Duration;

use flowbench::client::{
    Call, CallError, Client, ClientConfig, FamilyChoice, PostError, Request, Retry, Timing,
    TlsOptions,
};
use flowbench::wire::{DataRequest, Document, Family, Header, Protocol, Target};

use super::flow::Setup;
use super::proxy::Proxy;
use super::python::Release;
use super::{PROTOCOLS, client, config, runtime, tls};

/// An error, and texts that its message must contain.
#[derive(Debug)]
struct Said {
    kind: &'static str,
    words: &'static [&'static str],
}

const fn said(kind: &'static str, words: &'static [&'static str]) -> Said {
    Said { kind, words }
}

/// Posts one Document, and returns the first failure.
async fn failure(client: &Client, doc: &str) -> Option<CallError> {
    match client.post("/").inputs(Document::from_text(doc)).send().await {
        Ok(mut results) => results.failures.pop(),
        Err(PostError::Call(error)) => Some(error),
        Err(error) => panic!("it cannot fail with {error}"),
    }
}

/// Sends one request, which fails, and returns its timing.
async fn timing_of_failure(client: &Client) -> Timing {
    let session = client.open().await.expect("the gateway answers");
    let request = DataRequest {
        header: Header { exec_endpoint: Some("/".into()), ..Header::default() },
        data: Some(vec![Document::from_text("a")]),
        ..DataRequest::default()
    };
    let message = session.form().encode_request(&request).expect("it can be encoded");
    let request = Request::Post { message, endpoint: "/".into() };
    session.call(request).await.expect_err("the Executor is down").timing
}

#[track_caller]
fn check(what: &str, found: Option<CallError>, expected: Option<&Said>) {
    let told = found.as_ref().map(|error| (error.kind(), error.to_string()));
    let as_expected = match (&told, expected) {
        (None, None) => true,
        (Some((kind, text)), Some(said)) => {
            *kind == said.kind && said.words.iter().all(|words| text.contains(words))
        }
        _ => false,
    };
    assert!(as_expected, "{what}: found {told:?}, expected {expected:?}");
}

#[test]
fn an_executor_of_v1_takes_too_long_and_dies() {
    an_executor_takes_too_long_and_dies(Release::V1);
}

#[test]
fn an_executor_of_v2_takes_too_long_and_dies() {
    an_executor_takes_too_long_and_dies(Release::V2);
}

fn an_executor_takes_too_long_and_dies(release: Release) {
    let setup =
        Setup::new(release, &PROTOCOLS).with(&["--executors", "sleeper", "--timeout-send", "500"]);
    let Some(mut flow) = setup.start() else { return };
    let terse = |protocol| protocol == Protocol::Http && release == Release::V2;
    let timed_out = PROTOCOLS.map(|protocol| match protocol {
        Protocol::Grpc => said(
            "gateway",
            &["DEADLINE_EXCEEDED", "Connection with deployment sleeper", "timed out"],
        ),
        Protocol::Http if terse(protocol) => {
            said("gateway", &["HTTP 500", "Internal Server Error"])
        }
        Protocol::Http => said("gateway", &["HTTP 504", "Connection with deployment sleeper"]),
        Protocol::WebSocket => {
            said("gateway", &["close 1011", "Connection to deployment", "timed out"])
        }
    });
    let down = PROTOCOLS.map(|protocol| match protocol {
        Protocol::Grpc => {
            said("gateway", &["UNAVAILABLE", "Communication error with deployment sleeper"])
        }
        Protocol::Http if terse(protocol) => {
            said("gateway", &["HTTP 500", "Internal Server Error"])
        }
        Protocol::Http => {
            said("gateway", &["HTTP 503", "Communication error with deployment sleeper"])
        }
        Protocol::WebSocket => {
            said("gateway", &["close 1011", "Network error while connecting to deployment"])
        }
    });
    let runtime = runtime();
    let clients = PROTOCOLS.map(|protocol| client(&flow, protocol));
    for (client, expected) in clients.iter().zip(&timed_out) {
        let protocol = client.config().target.protocol;
        let found = runtime.block_on(failure(client, "sleep:3000"));
        check(&format!("timeout over {protocol:?}"), found, Some(expected));
        // A gateway's error ends the stream it came on; the client opens another.
        check(
            &format!("after it, over {protocol:?}"),
            runtime.block_on(failure(client, "a")),
            None,
        );
    }
    flow.kill_executor("sleeper");
    for (client, expected) in clients.iter().zip(&down) {
        let protocol = client.config().target.protocol;
        let found = runtime.block_on(failure(client, "a"));
        check(&format!("down over {protocol:?}"), found, Some(expected));
        // This repeats every time; v2's HTTP does not say that a later attempt might succeed.
        let mut config = client.config().clone();
        config.retry = Retry {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(10),
            ..Retry::default()
        };
        let attempts = if terse(protocol) { 1 } else { 3 };
        let timing = runtime.block_on(timing_of_failure(&Client::new(config)));
        assert_eq!(timing.attempts, attempts, "{protocol:?}");
        assert!(timing.written.is_some(), "{protocol:?}");
    }
}

#[test]
fn the_gateway_dies_while_it_works() {
    for (release, protocol) in [
        (Release::V1, Protocol::Grpc),
        (Release::V2, Protocol::Http),
        (Release::V1, Protocol::WebSocket),
    ] {
        let setup = Setup::new(release, &[protocol]).with(&["--executors", "sleeper"]);
        let Some(flow) = setup.start() else { return };
        let client = client(&flow, protocol);
        let found = runtime().block_on(async {
            check("before it", failure(&client, "a").await, None);
            let request = tokio::spawn(async move { failure(&client, "sleep:30000").await });
            // By then it is either under way or cannot be sent: either way it must be reported as lost or
            // refused.
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(flow);
            request.await.expect("no panic")
        });
        check(&format!("{protocol:?}"), found, Some(&said("lost", &["127.0.0.1"])));
    }
}

#[test]
fn a_request_takes_longer_than_the_client_waits() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let mut config = config(&flow, protocol);
                config.timeout = Some(Duration::from_millis(400));
                let client = Client::new(config);
                let slow = failure(&client, "sleep:2000").await;
                check(&format!("{protocol:?}"), slow, Some(&said("timeout", &["400ms"])));
                check(&format!("after it, over {protocol:?}"), failure(&client, "a").await, None);
            }
        });
    }
}

#[test]
fn a_target_that_is_no_regular_expression_is_the_gateways_to_refuse() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let client = client(&flow, protocol);
                let post = client.post("/").inputs(Document::from_text("a")).target_executor("(");
                let found = match post.send().await {
                    Err(PostError::Call(error)) => Some(error),
                    other => panic!("{protocol:?}: {other:?}"),
                };
                let expected = match protocol {
                    Protocol::Grpc => said("gateway", &["UNKNOWN", "unterminated subpattern"]),
                    Protocol::Http => said("gateway", &["HTTP 500", "Internal Server Error"]),
                    // It silently drops the connection.
                    Protocol::WebSocket => said("lost", &[]),
                };
                check(&format!("{protocol:?}"), found, Some(&expected));
            }
        });
    }
}

#[test]
fn a_port_speaks_another_protocol() {
    let expected = |client, server| match (client, server) {
        (Protocol::Grpc, Protocol::Http) => said("protocol", &["gRPC", "HTTP"]),
        (Protocol::Grpc, Protocol::WebSocket) => said("protocol", &["gRPC", "WebSocket"]),
        (Protocol::Http, Protocol::Grpc) => said("protocol", &["HTTP", "gRPC"]),
        (Protocol::Http, Protocol::WebSocket) => said("protocol", &["HTTP", "WebSocket"]),
        (Protocol::WebSocket, Protocol::Grpc) => said("protocol", &["WebSocket", "gRPC"]),
        (Protocol::WebSocket, Protocol::Http) => said("protocol", &["WebSocket", "HTTP"]),
        (same, _) => panic!("{same:?} is the right protocol"),
    };
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for server in PROTOCOLS {
                for protocol in PROTOCOLS.into_iter().filter(|protocol| *protocol != server) {
                    let target = Target { protocol, ..flow.target(server) };
                    let found = failure(&Client::new(ClientConfig::new(target)), "a").await;
                    let what = format!("{protocol:?} to the port of {server:?}, {release:?}");
                    check(&what, found, Some(&expected(protocol, server)));
                }
            }
        });
    }
}

#[test]
fn tls_is_verified_and_its_mistakes_are_named() {
    let files = tls::files();
    let ours = || TlsOptions { ca: Some(files.ca.clone()), ..TlsOptions::default() };
    let cases = [
        ("our authority", ours(), None),
        ("nobody we know", TlsOptions::default(), Some(said("tls", &["certificate", "`ca`"]))),
        (
            "another authority",
            TlsOptions { ca: Some(files.other_ca.clone()), ..TlsOptions::default() },
            Some(said("tls", &["certificate"])),
        ),
        (
            "another name that it is for",
            TlsOptions { server_name: Some("flow.internal".into()), ..ours() },
            None,
        ),
        (
            "a name that it is not for",
            TlsOptions { server_name: Some("flow.external".into()), ..ours() },
            Some(said("tls", &["flow.external", "flow.internal"])),
        ),
        ("no verification", TlsOptions { insecure: true, ..TlsOptions::default() }, None),
    ];
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).tls(true).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                for (name, tls, expected) in &cases {
                    let mut config = config(&flow, protocol);
                    config.tls = tls.clone();
                    let found = failure(&Client::new(config), "a").await;
                    check(&format!("{name}, {protocol:?}, {release:?}"), found, expected.as_ref());
                }
                let mut plain = config(&flow, protocol);
                plain.target.tls = false;
                let found = failure(&Client::new(plain), "a").await;
                let what = format!("plain to TLS, {protocol:?}, {release:?}");
                check(&what, found, Some(&said("protocol", &["TLS"])));
            }
        });
    }
}

#[test]
fn tls_is_not_what_a_plain_port_speaks() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let mut config = config(&flow, protocol);
                config.target.tls = true;
                config.tls.ca = Some(tls::files().ca.clone());
                let found = failure(&Client::new(config), "a").await;
                check(
                    &format!("{protocol:?}, {release:?}"),
                    found,
                    Some(&said("tls", &["not TLS", "try `"])),
                );
            }
        });
    }
}

#[test]
fn a_server_wants_to_know_who_we_are() {
    let files = tls::files();
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let behind = flow.target(protocol);
                let proxy = Proxy::wanting_certificate(&behind).await;
                let mut config = ClientConfig::new(proxy.target(&behind, true));
                config.tls.ca = Some(files.ca.clone());
                let nobody = failure(&Client::new(config.clone()), "a").await;
                let expected = said("tls", &["certificate", "`cert`"]);
                check(&format!("without one, {protocol:?}"), nobody, Some(&expected));
                config.tls.cert = Some(files.client_cert.clone());
                config.tls.key = Some(files.client_key.clone());
                let known = failure(&Client::new(config), "a").await;
                check(&format!("with one, {protocol:?}"), known, None);
            }
        });
    }
}

#[test]
fn nobody_is_there() {
    runtime().block_on(async {
        // The port of a closed listener, which no one else has been given in the meantime.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        for protocol in PROTOCOLS {
            for (host, words) in [
                ("127.0.0.1", &["refused"][..]),
                ("no-such-host.invalid", &["no-such-host.invalid"]),
            ] {
                let target =
                    Target { protocol, host: host.into(), port, tls: false, user_info: None };
                let found = failure(&Client::new(ClientConfig::new(target)), "a").await;
                check(
                    &format!("{host} over {protocol:?}"),
                    found,
                    Some(&Said { kind: "connect", words }),
                );
            }
        }
    });
}

#[test]
fn what_fails_is_told_to_callbacks_with_its_response_or_without() {
    let Some(flow) = Setup::new(Release::V1, &PROTOCOLS).shared() else { return };
    runtime().block_on(async {
        for protocol in PROTOCOLS {
            let client = client(&flow, protocol);
            let mut fired = Vec::new();
            let told = Mutex::new(&mut fired);
            let tell = |text: String| told.lock().expect("nobody panics with it").push(text);
            let texts = ["a", "fail", "b"].map(Document::from_text);
            client
                .post("/")
                .inputs(texts)
                .request_size(1)
                .results_in_order(true)
                .on_done(|r| tell(format!("done {:?}", r.texts().expect("they are decoded"))))
                .on_error(|r, error| tell(format!("error {} {error}", r.is_some())))
                .on_always(|r| tell(format!("always {}", r.is_some())))
                .run()
                .await
                .expect("on_error deals with failures");
            let failed = "error true Executor failed: ValueError('failer was asked to fail')";
            let expected = [
                r#"done ["a"]"#,
                "always true",
                failed,
                "always true",
                r#"done ["b"]"#,
                "always true",
            ];
            assert_eq!(fired, expected, "{protocol:?}");
        }
    });
}

#[test]
fn requests_of_the_other_family_are_not_understood() {
    let Some(flow) = Setup::new(Release::V2, &PROTOCOLS).shared() else { return };
    let mut config = config(&flow, Protocol::Grpc);
    config.family = FamilyChoice::Is(Family::V1);
    // A Document with only text has no field whose number has another meaning in v2.
    let doc = Document { id: "d".into(), ..Document::from_text("a") };
    let sent = runtime().block_on(Client::new(config).post("/").inputs(doc).send());
    let found = match sent {
        Err(PostError::Call(error)) => Some(error),
        other => panic!("{other:?}"),
    };
    check("v1's Documents to v2", found, Some(&said("gateway", &["UNKNOWN", "DecodeError"])));
}
