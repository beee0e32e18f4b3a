//! A table of posts with expected results and one check, the same over every protocol, in both families, with
//! and without TLS.

use std::sync::Arc;

use flowbench::client::{CallError, Client, Compression, Response};
use flowbench::wire::{Document, Family, Protocol};
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value, json};

use super::flow::{RealFlow, Setup};
use super::python::Release;
use super::{PROTOCOLS, client, runtime};

/// One post. Defaults are Jina's.
#[derive(Default)]
struct Case {
    name: &'static str,
    /// The endpoint.
    on: &'static str,
    inputs: Inputs,
    parameters: Value,
    target_executor: &'static str,
    /// 0 means the default.
    request_size: usize,
    compression: Compression,
    /// One per request, in order.
    responses: Vec<Expected>,
    /// Whether Jina 3.6.5 does not support it.
    since_3_12: bool,
}

#[derive(Default)]
enum Inputs {
    /// No inputs at all.
    #[default]
    None,
    /// Documents with these texts; the list may be empty.
    Texts(Vec<String>),
}

/// One response, as reported by a gateway that reports everything.
#[derive(Clone, Default)]
struct Expected {
    texts: Vec<String>,
    /// What `summer` returned.
    sum: Value,
    /// Description, class and arguments of the exception that `failer` raised.
    exception: Option<(&'static str, &'static str, &'static [&'static str])>,
    /// Executors that were skipped because of `target_executor`.
    skipped: &'static [&'static str],
}

const CHAIN: [&str; 5] = ["echo", "appender", "sleeper", "failer", "summer"];

fn cases() -> Vec<Case> {
    let texts = |texts: &[&str]| Inputs::Texts(texts.iter().map(ToString::to_string).collect());
    let answer = |texts: &[&str]| Expected {
        texts: texts.iter().map(ToString::to_string).collect(),
        ..Expected::default()
    };
    let many: Vec<_> = (0..250).map(|n| format!("number {n}")).collect();
    vec![
        Case {
            name: "Documents come back",
            on: "/",
            inputs: texts(&["hello", "", "wörld 🌍 \" \\ \n"]),
            responses: vec![answer(&["hello", "", "wörld 🌍 \" \\ \n"])],
            ..Case::default()
        },
        Case {
            name: "an endpoint is bound by an Executor",
            on: "/append",
            inputs: texts(&["a"]),
            responses: vec![answer(&["a", "appender was here and got 1 document"])],
            ..Case::default()
        },
        Case {
            name: "an endpoint removes all Documents",
            on: "/clear",
            inputs: texts(&["a", "b"]),
            responses: vec![answer(&[])],
            ..Case::default()
        },
        Case {
            name: "an endpoint that nobody bound goes to the default of everybody",
            on: "/nowhere",
            inputs: texts(&["a"]),
            responses: vec![answer(&["a"])],
            ..Case::default()
        },
        Case {
            name: "parameters reach the Executors",
            on: "/",
            inputs: texts(&["a"]),
            parameters: json!({"append": true, "append_count": 2, "nested": {"list": [1.5, "x", null]}}),
            responses: vec![answer(&[
                "a",
                "appender was here and got 1 document",
                "appender was here and got 2 document",
            ])],
            ..Case::default()
        },
        Case {
            name: "parameters reach the Executor they are for",
            on: "/",
            inputs: texts(&["a"]),
            parameters: json!({"appender": {"append": true}, "summer__append": true}),
            responses: vec![answer(&["a", "appender was here and got 1 document"])],
            since_3_12: true,
            ..Case::default()
        },
        Case {
            name: "a request of parameters alone",
            on: "/",
            parameters: json!({"sum": true}),
            responses: vec![Expected {
                sum: json!({
                    "count": 0.0, "chars": 0.0, "first": null,
                    "nested": {"ok": true, "list": [1.0, 2.5, "x", null]},
                }),
                ..Expected::default()
            }],
            ..Case::default()
        },
        Case { name: "nothing at all", on: "/", responses: vec![answer(&[])], ..Case::default() },
        Case {
            name: "an empty list",
            on: "/",
            inputs: texts(&[]),
            responses: vec![answer(&[])],
            ..Case::default()
        },
        Case {
            name: "what an Executor returns",
            on: "/sum",
            inputs: texts(&["ab", "c"]),
            responses: vec![Expected {
                sum: json!({
                    "count": 2.0, "chars": 3.0, "first": "ab",
                    "nested": {"ok": true, "list": [1.0, 2.5, "x", null]},
                }),
                ..answer(&["ab", "c"])
            }],
            ..Case::default()
        },
        Case {
            name: "an Executor raises",
            on: "/",
            inputs: texts(&["a", "b"]),
            parameters: json!({"fail": true}),
            responses: vec![Expected {
                exception: Some((
                    "ValueError('failer was asked to fail')",
                    "ValueError",
                    &["failer was asked to fail"],
                )),
                ..answer(&["a", "b"])
            }],
            ..Case::default()
        },
        Case {
            name: "an Executor raises with two arguments",
            on: "/",
            inputs: texts(&["a"]),
            parameters: json!({"fail": "type"}),
            responses: vec![Expected {
                exception: Some((
                    "TypeError('failer raised a TypeError', 7)",
                    "TypeError",
                    &["failer raised a TypeError", "7"],
                )),
                ..answer(&["a"])
            }],
            ..Case::default()
        },
        Case {
            name: "an Executor raises what nobody else knows",
            on: "/",
            inputs: texts(&["a"]),
            parameters: json!({"fail": "custom"}),
            responses: vec![Expected {
                exception: Some((
                    "CustomError('failer raised its own class', {'a': 1})",
                    "CustomError",
                    &["failer raised its own class", "{'a': 1}"],
                )),
                ..answer(&["a"])
            }],
            ..Case::default()
        },
        Case {
            name: "an Executor raises for the second of three requests",
            on: "/",
            inputs: texts(&["a", "fail", "c"]),
            request_size: 1,
            responses: vec![
                answer(&["a"]),
                Expected {
                    exception: Some((
                        "ValueError('failer was asked to fail')",
                        "ValueError",
                        &["failer was asked to fail"],
                    )),
                    ..answer(&["fail"])
                },
                answer(&["c"]),
            ],
            ..Case::default()
        },
        Case {
            name: "one Executor is the target",
            on: "/append",
            inputs: texts(&["a"]),
            target_executor: "append",
            responses: vec![Expected {
                skipped: &["echo", "sleeper", "failer", "summer"],
                ..answer(&["a", "appender was here and got 1 document"])
            }],
            ..Case::default()
        },
        Case {
            name: "the target is a regular expression from the start of the name",
            on: "/append",
            inputs: texts(&["a"]),
            target_executor: "s|.*er$",
            parameters: json!({"sum": true}),
            responses: vec![Expected {
                skipped: &["echo"],
                sum: json!({
                    "count": 2.0, "chars": 37.0, "first": "a",
                    "nested": {"ok": true, "list": [1.0, 2.5, "x", null]},
                }),
                ..answer(&["a", "appender was here and got 1 document"])
            }],
            ..Case::default()
        },
        Case {
            name: "no Executor is the target",
            on: "/append",
            inputs: texts(&["a"]),
            target_executor: "ppender",
            responses: vec![Expected { skipped: &CHAIN, ..answer(&["a"]) }],
            ..Case::default()
        },
        Case {
            name: "Documents are cut into requests",
            on: "/",
            inputs: Inputs::Texts(many.clone()),
            responses: many
                .chunks(100)
                .map(|texts| Expected { texts: texts.to_vec(), ..Expected::default() })
                .collect(),
            ..Case::default()
        },
        Case {
            name: "Documents are cut into requests of another size",
            on: "/",
            inputs: texts(&["a", "b", "c", "d", "e"]),
            request_size: 2,
            responses: vec![answer(&["a", "b"]), answer(&["c", "d"]), answer(&["e"])],
            ..Case::default()
        },
        Case {
            name: "requests are compressed with gzip",
            on: "/append",
            inputs: texts(&["abc".repeat(1000).as_str()]),
            compression: Compression::Gzip,
            responses: vec![answer(&[
                "abc".repeat(1000).as_str(),
                "appender was here and got 1 document",
            ])],
            ..Case::default()
        },
        Case {
            name: "requests are compressed with deflate",
            on: "/append",
            inputs: texts(&["abc".repeat(1000).as_str()]),
            compression: Compression::Deflate,
            responses: vec![answer(&[
                "abc".repeat(1000).as_str(),
                "appender was here and got 1 document",
            ])],
            ..Case::default()
        },
        Case {
            name: "five megabytes in one Document",
            on: "/",
            inputs: texts(&["x".repeat(5 << 20).as_str()]),
            responses: vec![answer(&["x".repeat(5 << 20).as_str()])],
            ..Case::default()
        },
    ]
}

#[test]
fn v1_plain() {
    check(Setup::new(Release::V1, &PROTOCOLS).with(&["--graphql"]));
}

#[test]
fn v1_tls() {
    check(Setup::new(Release::V1, &PROTOCOLS).tls(true));
}

#[test]
fn v2_plain() {
    check(Setup::new(Release::V2, &PROTOCOLS));
}

#[test]
fn v2_tls() {
    check(Setup::new(Release::V2, &PROTOCOLS).tls(true));
}

#[test]
fn v1_of_3_6_5_over_grpc() {
    check(Setup::new(Release::V1Old, &[Protocol::Grpc]));
}

#[test]
fn v1_of_3_6_5_over_http() {
    check(Setup::new(Release::V1Old, &[Protocol::Http]));
}

#[test]
fn v1_of_3_6_5_over_websocket() {
    check(Setup::new(Release::V1Old, &[Protocol::WebSocket]));
}

/// Posts every case over every protocol of the Flow, several at the same time.
fn check(setup: Setup) {
    const AT_ONCE: usize = 6;
    let Some(flow) = setup.clone().shared() else { return };
    let (cases, setup) = (Arc::new(cases()), Arc::new(setup));
    let wrong: Vec<String> = runtime().block_on(async {
        let posts = setup.protocols.iter().flat_map(|protocol| {
            let client = client(&flow, *protocol);
            let (cases, setup, flow) = (&cases, &setup, &flow);
            (0..cases.len()).map(move |n| {
                check_one(setup.clone(), flow.clone(), client.clone(), cases.clone(), n)
            })
        });
        // Each in its own task, so that they keep both processors busy.
        let ended = stream::iter(posts.map(tokio::spawn)).buffer_unordered(AT_ONCE);
        ended
            .filter_map(async |ended| ended.unwrap_or_else(|panic| Err(panic.to_string())).err())
            .collect()
            .await
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn check_one(
    setup: Arc<Setup>,
    flow: Arc<RealFlow>,
    client: Client,
    cases: Arc<Vec<Case>>,
    case: usize,
) -> Result<(), String> {
    let (case, protocol) = (&cases[case], client.config().target.protocol);
    if case.since_3_12 && setup.release == Release::V1Old {
        return Ok(());
    }
    let family = flow.family();
    let expected: Vec<_> =
        case.responses.iter().map(|r| r.told(case, &setup, protocol, family)).collect();
    let mut post = client.post(case.on).results_in_order(true).compression(case.compression);
    post = post.target_executor(case.target_executor);
    if let Value::Object(parameters) = &case.parameters {
        post = post.parameters(parameters.clone());
    }
    if case.request_size > 0 {
        post = post.request_size(case.request_size);
    }
    if let Inputs::Texts(texts) = &case.inputs {
        post = post.inputs(texts.iter().map(Document::from_text));
    }
    let found = match post.responses().await {
        Ok(responses) => responses.into_iter().map(|r| told(case, r)).collect(),
        Err(error) => vec![json!(error.to_string())],
    };
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (shortened(&json!(found)), shortened(&json!(expected)));
    Err(format!("{} over {protocol:?}:\n   found {found}\nexpected {expected}", case.name))
}

impl Expected {
    /// This response as the Flow should report it over this protocol.
    fn told(&self, case: &Case, setup: &Setup, protocol: Protocol, family: Family) -> Value {
        // HTTP of v2 has neither endpoint nor routes, and only the `repr` of an exception. The client turns
        // that into an error response, with the endpoint that it sent.
        let terse = protocol == Protocol::Http && family == Family::V2;
        let failed = self.exception.is_some();
        let visited = CHAIN.iter().take_while(|name| !failed || **name != "summer");
        let routes = visited.map(|name| {
            let skipped = self.skipped.contains(name);
            json!([
                name,
                if skipped {
                    "skipped"
                } else if failed && *name == "failer" {
                    "failed"
                } else {
                    "done"
                }
            ])
        });
        let failure = self.exception.map(|(description, class, args)| match terse {
            true => json!({
                "description": description,
                "executor": null,
                "exception": {"name": class, "args": [], "executor": ""},
            }),
            false => json!({
                "description": description,
                "executor": "failer",
                "exception": {"name": class, "args": args, "executor": "Failer"},
            }),
        });
        let mut parameters = case.parameters.clone();
        doubles(&mut parameters);
        if !self.sum.is_null() {
            parameters["__results__"] = json!({"summer/rep-0": self.sum});
        }
        // Releases after 3.6.5 clear it.
        let target = match setup.release {
            Release::V1Old if !case.target_executor.is_empty() => case.target_executor,
            _ => "",
        };
        json!({
            "on": if terse && !failed { Value::Null } else { json!(case.on) },
            "target_executor": target,
            "texts": if terse && failed { json!([]) } else { json!(self.texts) },
            "parameters": if terse && failed { json!({}) } else { parameters },
            "routes": if terse { json!([]) } else { [json!(["gateway", "done"])].into_iter().chain(routes).collect() },
            "failure": failure,
        })
    }
}

/// A response in the form of [`Expected::told`].
fn told(case: &Case, response: Response) -> Value {
    let failure = response.failure().map(|failure| match failure {
        CallError::Executor { description, executor, exception } => json!({
            "description": description,
            "executor": executor,
            "exception": exception.map(|e| json!({"name": e.name, "args": e.args, "executor": e.executor})),
        }),
        other => json!(other.to_string()),
    });
    let routes = response.routes().iter().map(|route| {
        let failed = route.status.as_ref().is_some_and(|status| !status.is_ok());
        let done = if route.end_time.is_some() { "done" } else { "skipped" };
        json!([route.executor.as_str(), if failed { "failed" } else { done }])
    });
    let routes: Value = routes.collect();
    let header = response.header().clone();
    let data = match response.into_data_request() {
        Ok(data) => data,
        Err(error) => return json!(error.to_string()),
    };
    let mut parameters = Value::Object(data.parameters.clone());
    doubles(&mut parameters);
    // Empty parameters are sent as empty results, and are returned as such over protobuf.
    if data.results().is_some_and(Map::is_empty) && case.parameters.is_null() {
        parameters = Value::Null;
    }
    json!({
        "on": header.exec_endpoint,
        "target_executor": header.target_executor.unwrap_or_default(),
        "texts": data.docs().iter().map(|doc| doc.text.clone().unwrap_or_default()).collect::<Vec<_>>(),
        "parameters": parameters,
        "routes": routes,
        "failure": failure,
    })
}

/// Numbers of parameters are doubles on the wire.
fn doubles(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(values) => values.iter_mut().for_each(doubles),
        Value::Object(map) => map.values_mut().for_each(doubles),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// For display: without the middle of long values.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.len() < 4000 {
        return text;
    }
    let head: String = text.chars().take(2000).collect();
    let mut tail: Vec<_> = text.chars().rev().take(1000).collect();
    tail.reverse();
    format!("{head} … {}", tail.into_iter().collect::<String>())
}
