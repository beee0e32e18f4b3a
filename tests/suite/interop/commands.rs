//! The program against real Flows.

use std::path::Path;

use flowbench::wire::{Protocol, Target};
use serde_json::Value;

use super::flow::{RealFlow, Setup};
use super::python::Release;
use super::{PROTOCOLS, tls};
use crate::shell::flowbench;

/// The program's exit code and output.
#[derive(Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) fn run(arguments: &[&str], stdin: &str) -> Ran {
    let output = flowbench(stdin, arguments, Path::new("."));
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("it writes text"),
        err: String::from_utf8(output.stderr).expect("it writes text"),
    }
}

fn done(out: &str) -> Ran {
    Ran { code: Some(0), out: out.into(), err: String::new() }
}

#[test]
fn ready_says_protocol_family_and_release() {
    for (release, said) in [
        (Release::V1, "family v1, Jina 3.12.0 with docarray 0.21.1"),
        (Release::V2, "family v2, Jina 3.34.0 with docarray 0.40.1"),
    ] {
        for tls in [false, true] {
            let Some(flow) = Setup::new(release, &PROTOCOLS).tls(tls).shared() else { return };
            for protocol in PROTOCOLS {
                let address = flow.target(protocol).to_string();
                let ca = tls::files().ca.display().to_string();
                let trusted = ["--ca", ca.as_str()];
                let trusted = if tls { &trusted[..] } else { &[] };
                let ran =
                    run(&[&["ready", address.as_str(), "--wait", "20s"], trusted].concat(), "");
                assert_eq!(ran, done(&format!("{address} is ready: {protocol}, {said}\n")));
            }
        }
    }
}

#[test]
fn what_post_prints_can_be_posted_again() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        let doc = r#"{"id":"d","text":"ä","embedding":[1.5,-2.0],"tags":{"price":2.5},"chunks":[{"id":"c","text":"part"}]}"#;
        let mut docs = doc.to_owned();
        // In a cycle through all protocols, with an Executor that adds a Document each time.
        for protocol in PROTOCOLS {
            let address = flow.target(protocol).to_string();
            let ran = run(&["post", &address, "/append", "--jsonl", "-"], &docs);
            assert_eq!(
                (ran.code, ran.err.as_str()),
                (Some(0), ""),
                "{release:?} over {protocol:?}"
            );
            docs = ran.out;
        }
        let docs: Vec<Value> =
            docs.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
        let texts: Vec<_> = docs.iter().map(|doc| doc["text"].clone()).collect();
        let added = |n| format!("appender was here and got {n} document");
        assert_eq!(texts, ["ä".into(), added(1), added(2), added(3)]);
        let first = serde_json::from_str::<Value>(doc).expect("it is JSON");
        for field in ["id", "text", "embedding", "tags"] {
            assert_eq!(docs[0][field], first[field], "{field}");
        }
        assert_eq!(docs[0]["chunks"][0]["text"], "part");
    }
}

#[test]
fn a_failure_in_an_executor_is_told_and_ends_with_1() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        for protocol in PROTOCOLS {
            let address = flow.target(protocol).to_string();
            let ran = run(&["post", &address, "--parameters", r#"{"fail": true}"#], "");
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
            assert!(ran.err.contains("ValueError('failer was asked to fail')"), "{}", ran.err);
        }
    }
}

#[test]
fn mutate_prints_the_response() {
    let Some(flow) = Setup::new(Release::V1, &PROTOCOLS).with(&["--graphql"]).shared() else {
        return;
    };
    let address = flow.target(Protocol::Http).to_string();
    let mutation = r#"mutation ($t: String) { docs(data: {id: "d", text: $t}) { id text } }"#;
    let ran = run(&["mutate", &address, mutation, "--variables", r#"{"t": "abcd"}"#], "");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let found: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(found, serde_json::json!({"data": {"docs": [{"id": "d", "text": "abcd"}]}}));
}

#[test]
fn a_suite_runs_against_a_real_flow() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        let folder = tempfile::tempdir().expect("there is room");
        let suite = folder.path().join("suite.yaml");
        std::fs::write(&suite, suite_for(&flow)).expect("there is room");
        let out = folder.path().join("report");
        let ran =
            run(&["run", &suite.display().to_string(), "--out", &out.display().to_string()], "");
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
        let report = std::fs::read(out.join("report.json")).expect("it was written");
        let report: Value = serde_json::from_slice(&report).expect("it is JSON");
        let scenarios = report["scenarios"].as_array().expect("there are some");
        assert_eq!(scenarios.len(), 6);
        for scenario in scenarios {
            let (name, requests) = (&scenario["name"], &scenario["requests"]);
            assert_eq!(scenario["passed"], true, "{name}");
            assert_eq!((&requests["sent"], &requests["ok"]), (&40.into(), &40.into()), "{name}");
            assert_eq!(scenario["documents"]["received"], 400, "{name}");
        }
    }
}

/// HTTP gateways of v2 silently lose Documents beyond 100 per request.
#[test]
fn documents_that_a_gateway_loses_fail_the_run() {
    let Some(flow) = Setup::new(Release::V2, &PROTOCOLS).shared() else { return };
    let folder = tempfile::tempdir().expect("there is room");
    let suite = folder.path().join("suite.yaml");
    let [grpc, http, _] = PROTOCOLS.map(|protocol| -> Target { flow.target(protocol) });
    let text = format!(
        "
flows: {{real: {{hosts: {{grpc: \"{grpc}\", http: \"{http}\"}}}}}}
documents: {{articles: {{count: 600, text: {{words: 5}}}}}}
scenarios:
  - name: many
    documents: articles
    request_size: 150
    matrix: {{protocol: [grpc, http]}}
  - {{name: fewer, documents: articles, protocol: http}}
  - name: allowed
    documents: articles
    request_size: 150
    protocol: http
    thresholds: [documents_missing <= 200]
"
    );
    std::fs::write(&suite, text).expect("there is room");
    let (suite, out) = (suite.display().to_string(), folder.path().join("out"));
    let ran = run(&["run", &suite, "--out", &out.display().to_string()], "");
    assert_eq!(ran.code, Some(1), "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("lose Documents"), "{}", ran.err);
    let report = std::fs::read(out.join("report.json")).expect("it was written");
    let report: Value = serde_json::from_slice(&report).expect("it is JSON");
    let told: Vec<(&Value, &Value, &Value)> = report["scenarios"]
        .as_array()
        .expect("there are some")
        .iter()
        .map(|s| (&s["passed"], &s["documents"]["received"], &s["documents"]["missing"]))
        .collect();
    let row = |passed: bool, received: u64, missing: u64| {
        (Value::from(passed), Value::from(received), Value::from(missing))
    };
    let right = [row(true, 600, 0), row(false, 400, 200), row(true, 600, 0), row(true, 400, 200)];
    let right: Vec<_> = right.iter().map(|(a, b, c)| (a, b, c)).collect();
    assert_eq!(told, right);
}

fn suite_for(flow: &RealFlow) -> String {
    let address = |protocol| -> Target { flow.target(protocol) };
    let [grpc, http, websocket] = PROTOCOLS.map(address);
    format!(
        "
flows:
  real: {{hosts: {{grpc: \"{grpc}\", http: \"{http}\", websocket: \"{websocket}\"}}}}
documents:
  articles: {{count: 400, text: {{words: 5..10}}, embedding: {{shape: [16]}}, tags: {{n: \"${{{{ i }}}}\"}}}}
scenarios:
  - name: closed
    documents: articles
    request_size: 10
    load: {{clients: 4}}
    matrix: {{protocol: [grpc, http, websocket]}}
    assert:
      - response.status == \"SUCCESS\"
      - response.docs | map(attribute=\"text\") | list == request.docs | map(attribute=\"text\") | list
  - name: open
    documents: articles
    request_size: 10
    load: {{rate: 50/s, arrivals: poisson}}
    matrix: {{protocol: [grpc, http, websocket]}}
"
    )
}
