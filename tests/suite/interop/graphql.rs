//! GraphQL, which Flows of v1 serve over HTTP.

use flowbench::client::{CallError, Client};
use flowbench::wire::Protocol;
use serde_json::{Map, Value, json};

use super::flow::Setup;
use super::python::Release;
use super::{PROTOCOLS, client, config, runtime};

#[test]
fn mutations_are_answered() {
    let append = r#"mutation ($data: [StrawberryDocumentInput!]) {
        docs(data: $data, execEndpoint: "/append", targetExecutor: "appender",
             parameters: "{\"append_count\": 2}") { id text tags embedding }
    }"#;
    let cases = [
        (
            r#"mutation { docs(data: {id: "d", text: "abcd"}) { id text chunks { id } } }"#,
            json!({}),
            json!([{"id": "d", "text": "abcd", "chunks": null}]),
        ),
        (
            append,
            json!({"data": [
                {"id": "a", "text": "ä", "tags": r#"{"x": 2.5}"#, "embedding": [1.5, 2]},
            ]}),
            json!([
                {"id": "a", "text": "ä", "tags": {"x": 2.5}, "embedding": [1.5, 2.0]},
                {"text": "appender was here and got 1 document", "tags": null, "embedding": null},
                {"text": "appender was here and got 2 document", "tags": null, "embedding": null},
            ]),
        ),
        // Gateways do not tell of an Executor's exception here.
        (
            r#"mutation { docs(data: [{id: "d", text: "fail"}]) { id text } }"#,
            json!({}),
            json!([{"id": "d", "text": "fail"}]),
        ),
    ];
    let Some(flow) = Setup::new(Release::V1, &PROTOCOLS).with(&["--graphql"]).shared() else {
        return;
    };
    runtime().block_on(async {
        for protocol in PROTOCOLS {
            let mut config = config(&flow, protocol);
            config.http_target = Some(flow.target(Protocol::Http));
            let client = Client::new(config);
            for (mutation, variables, expected) in &cases {
                let variables = variables.as_object().expect("it is one").clone();
                let found = client.mutate(*mutation).variables(variables).send().await;
                let mut found = found.expect("it succeeds");
                // Ids that an Executor made up.
                for doc in found["data"]["docs"].as_array_mut().into_iter().flatten() {
                    let id = doc["id"].as_str().unwrap_or_default();
                    if id.len() == 32 {
                        doc.as_object_mut().expect("it is one").remove("id");
                    }
                }
                assert_eq!(found["data"]["docs"], *expected, "{mutation} over {protocol:?}");
            }
        }
    });
}

#[test]
fn mistakes_in_a_mutation_are_told() {
    let Some(flow) = Setup::new(Release::V1, &PROTOCOLS).with(&["--graphql"]).shared() else {
        return;
    };
    let client = client(&flow, Protocol::Http);
    for (mutation, words) in [
        ("mutation { docs(data: {text: \"a\"}) { colour } }", "colour"),
        ("mutation { docs(", "Syntax Error"),
        ("mutation { docs { id } }", "'NoneType' object is not iterable"),
    ] {
        let found = runtime().block_on(client.mutate(mutation).variables(Map::new()).send());
        match found {
            Err(CallError::GraphQl(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{mutation}: {other:?}"),
        }
    }
}

#[test]
fn flows_without_graphql_are_said_to_have_none() {
    let mutation = r#"mutation { docs(data: {text: "a"}) { id } }"#;
    for release in [Release::V1, Release::V2] {
        // Behind TLS, because v1's plain one has it.
        let Some(flow) = Setup::new(release, &PROTOCOLS).tls(true).shared() else { return };
        for protocol in PROTOCOLS {
            let found: Result<Value, _> =
                runtime().block_on(client(&flow, protocol).mutate(mutation).send());
            let what = format!("{release:?} over {protocol:?}");
            match found {
                Err(error @ CallError::Unsupported(_)) => {
                    assert!(error.to_string().contains("GraphQL"), "{what}: {error}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}
