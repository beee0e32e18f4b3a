//! Trace ids arrive, and the report has those of the slowest requests and of failures.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::run::{Place, Ran};

/// An HTTP server that records the traceparent of each request; every fifth fails.
fn server() -> (u16, Arc<Mutex<Vec<Option<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let kept = seen.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let kept = kept.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let head = String::from_utf8_lossy(&buffer[..read]).to_ascii_lowercase();
                    let parent = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
                    let count = {
                        let mut kept = kept.lock().expect("nobody panics with it");
                        kept.push(parent.map(str::to_owned));
                        kept.len()
                    };
                    let status = if count % 5 == 0 { "500 No" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, seen)
}

fn traces(place: &Place) -> Value {
    place.report()["scenarios"][0]["traces"].clone()
}

#[test]
fn a_share_of_plain_requests_has_a_trace() {
    let (port, seen) = server();
    let place = Place::new(&format!(
        "flows: {{f: {{host: 'http://127.0.0.1:{port}'}}}}
scenarios:
  - name: s
    request: {{path: /x}}
    load: {{clients: 2, requests: 400}}
    trace: {{sample: 50%, link: 'http://jaeger/trace/{{id}}'}}
    thresholds: [error_rate < 50%]"
    ));
    place.run(&["--out", "out"]).ends(0);
    let seen = seen.lock().expect("nobody panics with it").clone();
    let ids: Vec<String> = seen
        .iter()
        .flatten()
        .map(|parent| parent.split('-').nth(1).expect("an id").to_owned())
        .collect();
    assert!((140..260).contains(&ids.len()), "{} of {}", ids.len(), seen.len());
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    for parent in seen.iter().flatten() {
        let parts: Vec<&str> = parent.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!((lengths, parts[0], parts[3]), (vec![2, 32, 16, 2], "00", "01"), "{parent}");
    }
    let traces = traces(&place);
    for list in ["slowest", "failed"] {
        let told = traces[list].as_array().expect("a list");
        assert_eq!(told.len(), 10, "{traces}");
        assert!(told.iter().all(|one| ids.iter().any(|id| one["id"] == **id)), "{traces}");
    }
    assert_eq!(traces["requests"], ids.len() as u64);
    let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    let first = traces["slowest"][0]["id"].as_str().expect("an id");
    assert!(html.contains(&format!("jaeger&#x2f;trace&#x2f;{first}")), "a link");
}

#[test]
fn over_a_stream_each_thread_has_one_trace_and_says_so() {
    let place = Place::new(
        "scenarios:
  - name: s
    protocol: grpc
    documents: {text: a}
    load: {clients: 2, requests: 40}
    workers: 2
    trace: {sample: 100%}
  - name: unary
    documents: {text: a}
    call: unary
    load: {clients: 2, requests: 40}
    trace: {sample: 100%}
flows: {f: {embedded: {family: v2}}}",
    );
    place.run(&["--out", "out"]).ends(0);
    let report = place.report();
    let shared = &report["scenarios"][0]["traces"];
    assert_eq!(shared["connections"].as_array().map(Vec::len), Some(2), "{shared}");
    assert_eq!(shared["requests"], 0);
    let own = &report["scenarios"][1]["traces"];
    assert_eq!(
        (&own["requests"], own["slowest"].as_array().map(Vec::len)),
        (&40.into(), Some(10)),
        "{own}"
    );
    let html = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(html.contains("each sending thread has one trace"));
}

#[test]
fn a_link_without_a_place_for_the_id_is_refused() {
    let place = Place::new(
        "scenarios: [{name: s, documents: {count: 1, text: a}, trace: {link: 'http://jaeger/'}}]",
    );
    let ran = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
    assert!(
        ran.ends(2).err.contains("expected an address with `{id}` in it, found `http://jaeger/`"),
        "{}",
        ran.err
    );
}

#[test]
fn a_mutation_has_a_trace_too() {
    let (port, seen) = server();
    let place = Place::new(&format!(
        "flows: {{f: {{host: 'http://127.0.0.1:{port}', family: v1}}}}
scenarios:
  - name: s
    mutate: 'mutation {{ docs(data: {{text: \"a\"}}) {{ id }} }}'
    load: {{clients: 2, requests: 100}}
    trace: {{sample: 100%}}
    thresholds: [requests == 100]"
    ));
    place.run(&["--out", "out"]);
    let seen = seen.lock().expect("nobody panics with it").clone();
    let ids: Vec<&str> =
        seen.iter().flatten().filter_map(|parent| parent.split('-').nth(1)).collect();
    assert_eq!(ids.len(), 100);
    let traces = traces(&place);
    let told =
        ["slowest", "failed"].map(|list| traces[list].as_array().cloned().unwrap_or_default());
    let told = told.concat();
    assert!(!told.is_empty(), "{traces}");
    assert!(told.iter().all(|one| ids.iter().any(|id| one["id"] == **id)), "{traces}");
}
