//! The embedded Flow, tested from outside.

mod behaviour;
mod browser;
mod golden;
mod grpc;
mod hostile;
mod schemas;
mod services;
mod topology;

use bytes::Bytes;
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{DataRequest, Document, Family, Form, Header, Protocol, Route};

/// The Executors of the Flow that produced the golden data.
const CHAIN: &str = "executors:
  - {name: echo}
  - {name: appender, uses: appender}
  - {name: sleeper, uses: sleeper}
  - {name: failer, uses: failer}
  - {name: summer, uses: summer}
";

/// A Flow from its configuration in YAML.
async fn start(yaml: &str) -> Flow {
    let config: FlowConfig = serde_yaml::from_str(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
    Flow::start(config).await.unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

/// `host:port` of a protocol.
fn address(flow: &Flow, protocol: Protocol) -> String {
    flow.target(protocol).expect("the Flow speaks it").authority()
}

/// A request with Documents.
fn request(on: &str, docs: Vec<Document>) -> DataRequest {
    DataRequest {
        header: Header {
            request_id: "0123456789abcdef".into(),
            exec_endpoint: Some(on.into()),
            ..Header::default()
        },
        data: Some(docs),
        ..DataRequest::default()
    }
}

/// Documents with these texts, and with ids that count from `d0`.
fn texts(texts: &[&str]) -> Vec<Document> {
    let doc =
        |(i, text): (usize, &&str)| Document { id: format!("d{i}"), ..Document::from_text(*text) };
    texts.iter().enumerate().map(doc).collect()
}

fn encode(family: Family, request: &DataRequest) -> Bytes {
    Form::Protobuf(family).encode_response(request).expect("a valid request")
}

fn decode(family: Family, bytes: &Bytes) -> DataRequest {
    Form::Protobuf(family).decode(bytes.clone()).expect("a valid answer")
}

/// Sends a request to a v1 Flow over gRPC, in its own call.
async fn ask(flow: &Flow, request: DataRequest) -> DataRequest {
    ask_as(Family::V1, flow, request).await
}

/// The same for a Flow of any family.
async fn ask_as(family: Family, flow: &Flow, request: DataRequest) -> DataRequest {
    let called = grpc::Call::new(grpc::CALL).send(flow, vec![encode(family, &request)]).await;
    assert_eq!(called.status.code(), tonic::Code::Ok, "{}", called.status);
    match called.answers.as_slice() {
        [answer] => decode(family, answer),
        answers => panic!("{} answers to one request", answers.len()),
    }
}

/// The names on a request's path: `echo` processed it, `-echo` was skipped, `!echo` failed.
fn way(answer: &DataRequest) -> Vec<String> {
    let stop = |route: &Route| {
        let mark = match (&route.status, &route.end_time) {
            (Some(_), _) => "!",
            (None, None) => "-",
            (None, Some(_)) => "",
        };
        format!("{mark}{}", route.executor)
    };
    answer.routes.iter().map(stop).collect()
}

/// The texts of Documents.
fn texts_of(docs: &[Document]) -> Vec<&str> {
    docs.iter().map(|doc| doc.text.as_deref().unwrap_or_default()).collect()
}

#[tokio::test]
async fn what_was_indexed_is_found() {
    let flow = Flow::start(FlowConfig::default()).await.expect("it starts");
    ask(&flow, request("/index", texts(&["red apple", "green pear"]))).await;
    let found = ask(&flow, request("/search", texts(&["an apple that is red"]))).await;
    assert_eq!(found.docs()[0].matches[0].id, "d0");
    assert_eq!(way(&found), ["gateway", "encoder", "indexer"]);
    flow.stop().await;
}
