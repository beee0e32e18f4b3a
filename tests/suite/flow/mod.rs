//! The embedded Flow, spoken to from outside.

mod golden;
mod grpc;

use bytes::Bytes;
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{DataRequest, Document, Family, Form, Header, Map, Protocol};

/// The Executors of the Flow that the golden data came from.
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

fn request(on: &str, docs: Vec<Document>) -> Bytes {
    let request = DataRequest {
        header: Header {
            request_id: "0123456789abcdef".into(),
            exec_endpoint: Some(on.into()),
            ..Header::default()
        },
        parameters: Map::new(),
        routes: Vec::new(),
        data: Some(docs),
    };
    Form::Protobuf(Family::V1).encode_response(&request).expect("a valid request")
}

fn answer(bytes: &Bytes) -> DataRequest {
    Form::Protobuf(Family::V1).decode(bytes.clone()).expect("a valid answer")
}

#[tokio::test]
async fn what_was_indexed_is_found() {
    let flow = Flow::start(FlowConfig::default()).await.expect("it starts");
    let doc = |id: &str, text: &str| Document { id: id.into(), ..Document::from_text(text) };
    let requests = vec![
        request("/index", vec![doc("a", "red apple"), doc("b", "green pear")]),
        request("/search", vec![doc("q", "an apple that is red")]),
    ];
    let called = grpc::Call::new(grpc::CALL).send(&flow, requests).await;
    assert_eq!(called.status.code(), tonic::Code::Ok);
    assert_eq!(called.answers.len(), 2);
    let found = answer(&called.answers[1]);
    assert_eq!(found.docs()[0].matches[0].id, "a");
    let routes: Vec<_> = found.routes.iter().map(|route| route.executor.as_str()).collect();
    assert_eq!(routes, ["gateway", "encoder", "indexer"]);
    flow.stop().await;
}
