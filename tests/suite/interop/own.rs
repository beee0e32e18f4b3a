//! Documents with custom schemas: an Executor sees ours in the same way as those that Jina's own client sends.

use std::io::Write;
use std::process::{Command, Stdio};

use flowbench::wire::Protocol;
use serde_json::{Value, json};

use super::flow::{RealFlow, Setup};
use super::python::{Release, files};
use super::{PROTOCOLS, commands};

/// The content for an endpoint: `fields:` as in a suite, and the same as JSON for Python.
struct Case {
    on: &'static str,
    fields: &'static str,
    python: Value,
}

fn clashes() -> Vec<Case> {
    let case = |fields, python| Case { on: "/clash", fields, python };
    vec![
        // Unset fields have the schema's default.
        case("{text: 5}", json!({"text": 5})),
        case(
            "{text: 5, uri: u, url: 'http://a/b.png'}",
            json!({"text": 5, "uri": "u", "url": "http://a/b.png"}),
        ),
        case(
            "{text: 5, tags: [a, b], scores: [0.25, 2], evaluations: {b: 2}}",
            json!({"text": 5, "tags": ["a", "b"], "scores": [0.25, 2.0], "evaluations": {"b": 2}}),
        ),
        case(
            "{text: 5, tags: [], scores: [], evaluations: {}, location: {}}",
            json!({"text": 5, "tags": [], "scores": [], "evaluations": {}, "location": {}}),
        ),
        case(
            "{text: 5, weight: light, blob: {base64: aGVsbG8=}, chunks: 2, mime_type: false}",
            json!({"text": 5, "weight": "light", "blob": "hello", "chunks": 2, "mime_type": false}),
        ),
        case(
            "{text: 5, embedding: [[1.5, 2.5], [3.5]], matches: {a: 1.5}, modality: 1, location: {b: 2.5}}",
            json!({"text": 5, "embedding": [[1.5, 2.5], [3.5]], "matches": {"a": 1.5}, "modality": 1, "location": {"b": 2.5}}),
        ),
        case(
            "{text: 5, offset: 0.0, parent_id: 0, granularity: '', adjacency: [2, 3], content: c}",
            json!({"text": 5, "offset": 0.0, "parent_id": 0, "granularity": "", "adjacency": [2, 3], "content": "c"}),
        ),
        case(
            "{text: 5, modality: null, offset: null, parent_id: null}",
            json!({"text": 5, "modality": null, "offset": null, "parent_id": null}),
        ),
        case(
            "{text: 5, tensor: {tensor: {shape: [3, 4], distribution: ones}}}",
            json!({"text": 5, "tensor": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]}),
        ),
    ]
}

fn types(on: &'static str) -> Vec<Case> {
    let case = |fields, python| Case { on, fields, python };
    vec![
        case("{prompt: \"say ${{ 'hi' }}\"}", json!({"prompt": "say hi"})),
        case(
            "{prompt: a, temperature: 0.5, n: 3, stream: true}",
            json!({"prompt": "a", "temperature": 0.5, "n": 3, "stream": true}),
        ),
        case(
            "{prompt: a, temperature: 2, n: 3.0}",
            json!({"prompt": "a", "temperature": 2.0, "n": 3}),
        ),
        case(
            "{prompt: a, image: 'http://a/b.png', data: {base64: aGVsbG8=}}",
            json!({"prompt": "a", "image": "http://a/b.png", "data": "hello"}),
        ),
        case(
            "{prompt: a, vec: {values: [1, 2.5]}, mat: {shape: [3, 4], distribution: zeros}}",
            json!({"prompt": "a", "vec": [1, 2.5], "mat": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]}),
        ),
        case("{prompt: a, either: b}", json!({"prompt": "a", "either": "b"})),
        case(
            "{prompt: a, either: 7, prices: {a: 1.5}, table: [[1, 2], [3]], names: [x, y]}",
            json!({"prompt": "a", "either": 7, "prices": {"a": 1.5}, "table": [[1, 2], [3]], "names": ["x", "y"]}),
        ),
        case("{prompt: a, maybe: [0.5, 1]}", json!({"prompt": "a", "maybe": [0.5, 1.0]})),
        case("{prompt: a, image: null, maybe: null}", json!({"prompt": "a"})),
    ]
}

fn nested() -> Vec<Case> {
    let case = |fields, python| Case { on: "/rich", fields, python };
    vec![
        case("{prompt: a, point: {fields: {x: 1.5}}}", json!({"prompt": "a", "point": {"x": 1.5}})),
        case(
            "{prompt: a, point: {x: 1.5, label: l}}",
            json!({"prompt": "a", "point": {"x": 1.5, "label": "l"}}),
        ),
        case(
            "{prompt: a, points: {count: 2, fields: {x: \"${{ i }}\"}}}",
            json!({"prompt": "a", "points": [{"x": 0.0}, {"x": 1.0}]}),
        ),
        case(
            "{prompt: a, any_dict: {a: [1, {b: 2.5}], c: null}}",
            json!({"prompt": "a", "any_dict": {"a": [1, {"b": 2.5}], "c": null}}),
        ),
    ]
}

fn enums() -> Vec<Case> {
    let case = |fields, python| Case { on: "/rich", fields, python };
    vec![
        case("{prompt: a, colour: blue}", json!({"prompt": "a", "colour": "blue"})),
        case(
            "{prompt: a, colour: \"${{ ['red', 'blue'][i] }}\"}",
            json!({"prompt": "a", "colour": "red"}),
        ),
        case("{prompt: a, colour: null}", json!({"prompt": "a"})),
    ]
}

/// What an Executor saw in our Documents.
fn ours(flow: &RealFlow, protocol: Protocol, cases: &[Case], more: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = format!("flows: {{f: {{host: '{}'}}}}\nscenarios:\n", flow.target(protocol));
    for (n, Case { on, fields, .. }) in cases.iter().enumerate() {
        text += &format!(
            "  - {{name: s{n}, on: {on}, documents: {{count: 1, fields: {fields}}}{more}, on_done: [{{save: s{n}.jsonl}}]}}\n"
        );
    }
    let suite = folder.path().join("suite.yaml");
    std::fs::write(&suite, text).expect("it can be written");
    let ran = commands::run(&["run", suite.to_str().expect("a path")], "");
    assert_eq!(ran.code, Some(0), "{protocol:?}: {ran:?}");
    let seen = |n| {
        let saved = std::fs::read_to_string(folder.path().join(format!("s{n}.jsonl")));
        let saved = saved.expect("it was saved");
        let saved: Value =
            serde_json::from_str(saved.lines().next().expect("a Document")).expect("JSON");
        assert_eq!(saved["title"], "seen", "{saved}");
        serde_json::from_str(saved["seen"].as_str().expect("text")).expect("JSON")
    };
    (0..cases.len()).map(seen).collect()
}

/// What an Executor saw in those that Jina's client sent.
fn jinas(flow: &RealFlow, protocol: Protocol, cases: &[Case]) -> Vec<Value> {
    let target = flow.target(protocol);
    let name = ["grpc", "http", "websocket"][protocol as usize];
    let mut child = Command::new(Release::V2.python().expect("the Flow is up"))
        .arg(files().join("own_docs.py"))
        .args([name, &target.port.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the environment's interpreter starts");
    let mut input = child.stdin.take().expect("it is piped");
    for case in cases {
        writeln!(input, "{} {}", case.on, case.python).expect("it reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let lines = String::from_utf8(output.stdout).expect("it writes text");
    let seen: Vec<Value> =
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(seen.len(), cases.len(), "{lines}");
    seen
}

/// Checks that an Executor sees the same from both clients; over HTTP an array has no type, and gets 64 bits.
fn compare(setup: &Setup, cases: &[Case], protocols: &[Protocol]) {
    let Some(flow) = setup.clone().shared() else { return };
    for protocol in protocols {
        let (ours, jinas) = (ours(&flow, *protocol, cases, ""), jinas(&flow, *protocol, cases));
        for ((ours, jinas), case) in ours.iter().zip(&jinas).zip(cases) {
            assert_eq!(ours, jinas, "{protocol:?}: {}", case.fields);
        }
    }
}

fn own() -> Setup {
    Setup::new(Release::V2, &PROTOCOLS).with(&["--executors", "own"])
}

#[test]
fn fields_keep_their_names_and_types_whatever_v1_means_by_them() {
    compare(&own(), &clashes(), &PROTOCOLS);
}

#[test]
fn every_type_can_be_sent() {
    compare(&own(), &types("/flat"), &PROTOCOLS);
}

#[test]
fn documents_nest() {
    let setup = Setup::new(Release::V2, &PROTOCOLS).with(&["--executors", "own_rich"]);
    compare(&setup, &types("/rich"), &[Protocol::Grpc, Protocol::WebSocket]);
    compare(&setup, &nested(), &PROTOCOLS);
}

#[test]
fn enums_are_of_their_values() {
    let setup = Setup::new(Release::V2, &PROTOCOLS).with(&["--executors", "own_rich"]);
    // Gateways of 3.34 corrupt enums over HTTP, from any client; a Deployment has no gateway.
    compare(&setup, &enums(), &[Protocol::Grpc, Protocol::WebSocket]);
}

const OF_DEPLOYMENTS: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

#[test]
fn a_deployment_takes_fields_of_any_name_and_type() {
    let setup =
        Setup::new(Release::V2, &OF_DEPLOYMENTS).with(&["--deployment", "--executors", "own"]);
    compare(&setup, &clashes(), &OF_DEPLOYMENTS);
    compare(&setup, &types("/flat"), &OF_DEPLOYMENTS);
}

#[test]
fn a_deployment_takes_documents_in_documents_and_enums() {
    let setup =
        Setup::new(Release::V2, &OF_DEPLOYMENTS).with(&["--deployment", "--executors", "own_rich"]);
    compare(&setup, &types("/rich"), &OF_DEPLOYMENTS);
    compare(&setup, &nested(), &OF_DEPLOYMENTS);
    compare(&setup, &enums(), &OF_DEPLOYMENTS);
}

#[test]
fn a_streaming_endpoint_of_a_deployment_takes_them_too() {
    let setup = Setup::new(Release::V2, &[Protocol::Grpc]).with(&[
        "--deployment",
        "--executors",
        "own_stream",
    ]);
    let Some(flow) = setup.shared() else { return };
    let seen = ours(&flow, Protocol::Grpc, &types("/yield"), ", stream: true, request_size: 1");
    assert_eq!(seen[1]["Flat"]["temperature"], 0.5);
    assert_eq!(seen[3]["Flat"]["data"]["bytes"], json!([104, 101, 108, 108, 111]));
}

#[test]
fn a_streaming_endpoint_takes_them_too() {
    let setup = Setup::new(Release::V2, &[Protocol::Grpc]).with(&["--executors", "own_stream"]);
    let Some(flow) = setup.shared() else { return };
    let cases = types("/yield");
    let seen = ours(&flow, Protocol::Grpc, &cases, ", stream: true, request_size: 1");
    for (seen, case) in seen.iter().zip(&cases) {
        assert_eq!(seen["Flat"]["prompt"], case.python["prompt"]);
    }
    assert_eq!(seen[1]["Flat"]["temperature"], 0.5);
}

#[test]
fn answers_are_read_whatever_their_types() {
    let Some(flow) = own().shared() else { return };
    for protocol in PROTOCOLS {
        let folder = tempfile::tempdir().expect("a folder");
        let suite = folder.path().join("suite.yaml");
        let text = format!(
            "flows: {{f: {{host: '{}'}}}}
scenarios:
  - name: echo
    on: /echo
    documents: {{count: 2, fields: {{text: \"${{{{ i + 5 }}}}\", tags: [a, b], uri: u, url: 'http://a/b.png'}}}}
    assert:
      - response.docs[0].text == 5
      - request.docs[1].text == 6
      - response.docs[1].tags == request.docs[1].tags
      - response.docs[0].uri == 'u'
      - response.docs[0].url == 'http://a/b.png'
      - response.docs[0].scores == [0.5]
      - response.docs[0].tensor is none
      - response.docs[0].embedding[0][0] == 1
      - response.docs[0].weight == 'heavy'
      - response.docs[0].chunks == 7
      - response.docs[0].content == 'default'
      - response.docs[0].mime_type is true
      - response.docs[0].location.a == 0.5
",
            flow.target(protocol)
        );
        std::fs::write(&suite, text).expect("it can be written");
        let ran = commands::run(&["run", suite.to_str().expect("a path")], "");
        assert_eq!(ran.code, Some(0), "{protocol:?}: {ran:?}");
    }
}

#[test]
fn a_flow_tells_its_schemas_and_what_does_not_fit_is_told_before() {
    let Some(flow) = own().shared() else { return };
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let folder = tempfile::tempdir().expect("a folder");
        let suite = folder.path().join("suite.yaml");
        let suite = suite.to_str().expect("a path");
        let write = |fields: &str| {
            let text = format!(
                "flows: {{f: {{host: '{}'}}}}\nscenarios:\n  - name: s\n    on: /flat\n    documents:\n      \
                 count: 1\n      fields: {fields}\n",
                flow.target(protocol)
            );
            std::fs::write(suite, text).expect("it can be written");
        };
        for (fields, at, message) in [
            (
                "{prompt: a, n: three}",
                "7:",
                "endpoint `/flat`: field `n` requires a whole number, found the text `three`",
            ),
            (
                "{prompt: a, tempreture: 1}",
                "7:",
                "endpoint `/flat`: `Flat` has no field `tempreture`",
            ),
            (
                "{n: 1}",
                "7:",
                "endpoint `/flat`: field `prompt` of `Flat` requires text, but is missing",
            ),
            (
                "{prompt: a, names: b}",
                "7:",
                "endpoint `/flat`: field `names` requires a list (text), found the text `b`",
            ),
        ] {
            write(fields);
            let ran = commands::run(&["check", suite, "--flow"], "");
            assert_eq!(ran.code, Some(2), "{protocol:?} {fields}: {ran:?}");
            assert!(
                ran.err.contains(message) && ran.err.contains(&format!("suite.yaml:{at}")),
                "{protocol:?}: {}",
                ran.err
            );
            let ran = commands::run(&["run", suite], "");
            let what =
                message.split_once(": ").expect("two parts").1.split('`').nth(1).expect("a name");
            assert!(ran.code == Some(1) || ran.code == Some(3) || ran.code == Some(2), "{ran:?}");
            assert!(ran.out.contains(what), "{protocol:?}: {}", ran.out);
        }
        // Values that fit, both directly and after conversion.
        write(
            "{prompt: \"${{ i }}\", n: \"3\", temperature: 1, mat: [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]}",
        );
        let ran = commands::run(&["check", suite, "--flow"], "");
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{protocol:?}");
        assert_eq!(commands::run(&["run", suite], "").code, Some(0), "{protocol:?}");
    }
}

#[test]
fn a_suite_for_a_running_flow_runs() {
    let Some(flow) = own().shared() else { return };
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let folder = tempfile::tempdir().expect("a folder");
        let suite = folder.path().join("suite.yaml");
        let suite = suite.to_str().expect("a path");
        let ran = commands::run(&["init", &flow.target(protocol).to_string(), suite], "");
        assert_eq!(ran.code, Some(0), "{protocol:?}: {ran:?}");
        let text = std::fs::read_to_string(suite).expect("it was written");
        for endpoint in ["on: /clash\n", "on: /flat\n", "on: /echo\n"] {
            assert!(text.contains(endpoint), "{protocol:?}: {text}");
        }
        let ran = commands::run(&["check", suite, "--flow"], "");
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{protocol:?}");
        let ran = commands::run(&["run", suite], "");
        assert!(
            ran.out.contains("clash") && !ran.out.contains("Executor failed"),
            "{protocol:?}: {}",
            ran.out
        );
        assert_eq!(ran.code, Some(0), "{protocol:?}: {}\n{text}", ran.out);
    }
}
