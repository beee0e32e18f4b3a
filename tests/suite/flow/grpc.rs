//! A gRPC client that passes raw bytes.

use bytes::{Buf, BufMut, Bytes};
use flowbench::flow::Flow;
use flowbench::wire::Protocol;
use tokio_stream::{Stream, StreamExt};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::{Status, Streaming};

/// The method that requests go to.
pub(super) const CALL: &str = "/jina.JinaRPC/Call";

/// A call to make.
#[derive(Clone, Debug)]
pub(super) struct Call {
    path: String,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) compression: Option<CompressionEncoding>,
}

/// The outcome of a call.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) answers: Vec<Bytes>,
    pub(super) status: Status,
}

impl Call {
    pub(super) fn new(path: &str) -> Call {
        Call { path: path.to_owned(), metadata: Vec::new(), compression: None }
    }

    /// Sends messages and collects the responses.
    pub(super) async fn send(&self, flow: &Flow, messages: Vec<Bytes>) -> Called {
        self.stream(flow, tokio_stream::iter(messages)).await
    }

    /// Like [`Call::send`], with messages that arrive over time.
    pub(super) async fn stream(
        &self,
        flow: &Flow,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Called {
        let mut answers = Vec::new();
        let mut stream = match self.open(flow, messages).await {
            Ok(stream) => stream,
            Err(status) => return Called { answers, status },
        };
        loop {
            match stream.next().await {
                Some(Ok(answer)) => answers.push(answer),
                Some(Err(status)) => return Called { answers, status },
                None => return Called { answers, status: Status::ok("") },
            }
        }
    }

    /// Starts the call, and leaves reading the responses to the caller.
    pub(super) async fn open(
        &self,
        flow: &Flow,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let uri = format!("http://{}", super::address(flow, Protocol::Grpc));
        let channel = tonic::transport::Endpoint::from_shared(uri).expect("an address");
        let channel = channel.connect().await.expect("the Flow listens");
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
        if let Some(encoding) = self.compression {
            grpc = grpc.send_compressed(encoding);
        }
        grpc.ready().await.expect("it is connected");
        let mut request = tonic::Request::new(messages);
        *request.metadata_mut() = self.metadata();
        let path = self.path.parse().expect("a path");
        grpc.streaming(request, path, Raw).await.map(tonic::Response::into_inner)
    }

    fn metadata(&self) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (key, value) in &self.metadata {
            let key: AsciiMetadataKey = key.parse().expect("a key");
            metadata.insert(key, value.parse().expect("a value"));
        }
        metadata
    }
}

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
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
