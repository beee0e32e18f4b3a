//! The embedded Flow, spoken to from outside.

use bytes::{Buf, BufMut, Bytes};
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{DataRequest, Document, Family, Form, Header, Map, Protocol};
use tokio_stream::StreamExt;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Messages pass as bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Sends messages to a gRPC method, gives its answers and how the call ended.
async fn call(
    flow: &Flow,
    path: &'static str,
    messages: Vec<Bytes>,
) -> (Vec<Bytes>, tonic::Status) {
    let target = flow.target(Protocol::Grpc).expect("the Flow speaks gRPC");
    let uri = format!("http://{}:{}", target.host, target.port);
    let channel = tonic::transport::Endpoint::from_shared(uri).expect("an address");
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.expect("the Flow listens"));
    grpc.ready().await.expect("it is connected");
    let request = tonic::Request::new(tokio_stream::iter(messages));
    let mut answers = Vec::new();
    let mut stream = match grpc.streaming(request, path.parse().expect("a path"), Raw).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (answers, status),
    };
    loop {
        match stream.next().await {
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(status)) => return (answers, status),
            None => return (answers, tonic::Status::ok("")),
        }
    }
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
    let (answers, status) = call(
        &flow,
        "/jina.JinaRPC/Call",
        vec![
            request("/index", vec![doc("a", "red apple"), doc("b", "green pear")]),
            request("/search", vec![doc("q", "an apple that is red")]),
        ],
    )
    .await;
    assert_eq!(status.code(), tonic::Code::Ok);
    assert_eq!(answers.len(), 2);
    let found = answer(&answers[1]);
    assert_eq!(found.docs()[0].matches[0].id, "a");
    let routes: Vec<_> = found.routes.iter().map(|route| route.executor.as_str()).collect();
    assert_eq!(routes, ["gateway", "encoder", "indexer"]);
    flow.stop().await;
}
