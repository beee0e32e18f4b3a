//! The usual crates for a client of Flows, with 64 requests in flight: tonic for gRPC, with and without prost,
//! reqwest for HTTP, tokio-tungstenite for WebSocket. They record nothing.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use flowbench::wire::proto::jina::DataRequestProto;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use super::{Error, IN_FLIGHT, Path};

/// How a call treats its messages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Codes {
    /// Passes bytes through.
    Bytes,
    /// Encodes and decodes the envelope; Documents in it stay encoded, as in our client.
    Prost,
}

/// A message as bytes and as the value that prost encodes.
#[derive(Clone)]
struct Outgoing(Bytes, Arc<DataRequestProto>);

/// Sends this many requests with these bytes. `decoded`: whether messages go through prost.
pub(crate) async fn run(
    path: Path,
    port: u16,
    message: &[u8],
    requests: u64,
    decoded: bool,
) -> Result<(), Error> {
    let bytes = Bytes::copy_from_slice(message);
    let value = || DataRequestProto::decode(bytes.clone()).map(Arc::new);
    let codes = if decoded { Codes::Prost } else { Codes::Bytes };
    match path {
        Path::Stream => {
            stream(connect(port).await?, Outgoing(bytes.clone(), value()?), requests, codes).await
        }
        Path::Unary => {
            unary(connect(port).await?, Outgoing(bytes.clone(), value()?), requests, codes).await
        }
        Path::Http => http(port, bytes, requests).await,
        Path::WebSocket => websocket(port, bytes, requests).await,
    }
}

async fn connect(port: u16) -> Result<Grpc<Channel>, Error> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
    let mut grpc = Grpc::new(endpoint.connect().await?);
    grpc.ready().await?;
    Ok(grpc)
}

async fn stream(
    mut grpc: Grpc<Channel>,
    message: Outgoing,
    requests: u64,
    codes: Codes,
) -> Result<(), Error> {
    let (requested, queue) = tokio::sync::mpsc::channel(IN_FLIGHT);
    for _ in 0..requests.min(IN_FLIGHT as u64) {
        requested.send(message.clone()).await?;
    }
    let path = http::uri::PathAndQuery::from_static("/jina.JinaRPC/Call");
    let request = tonic::Request::new(ReceiverStream::new(queue));
    let mut answers = grpc.streaming(request, path, codes).await?.into_inner();
    for sent in IN_FLIGHT as u64..requests + IN_FLIGHT as u64 {
        answers.message().await?.ok_or("the stream ended")?;
        if sent < requests {
            requested.send(message.clone()).await?;
        }
    }
    Ok(())
}

async fn unary(
    grpc: Grpc<Channel>,
    message: Outgoing,
    requests: u64,
    codes: Codes,
) -> Result<(), Error> {
    let path =
        http::uri::PathAndQuery::from_static("/jina.JinaSingleDataRequestRPC/process_single_data");
    let one = || {
        let (mut grpc, path, message) = (grpc.clone(), path.clone(), message.clone());
        async move {
            grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            grpc.unary(tonic::Request::new(message), path, codes).await
        }
    };
    in_flight(requests, one).await
}

async fn http(port: u16, message: Bytes, requests: u64) -> Result<(), Error> {
    // Nothing is encrypted here, but reqwest builds no client without a TLS provider.
    let tls = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()?
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let client =
        reqwest::Client::builder().tcp_nodelay(true).tls_backend_preconfigured(tls).build()?;
    let url = reqwest::Url::parse(&format!("http://127.0.0.1:{port}/post"))?;
    let one = || {
        let request = client
            .post(url.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(message.clone());
        async move { request.send().await?.bytes().await }
    };
    in_flight(requests, one).await
}

/// Keeps this many calls in flight until all are answered.
async fn in_flight<T, E, F>(requests: u64, one: impl Fn() -> F) -> Result<(), Error>
where
    E: std::error::Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut calls = FuturesUnordered::new();
    let mut sent = requests.min(IN_FLIGHT as u64);
    calls.extend((0..sent).map(|_| one()));
    while let Some(answer) = calls.next().await {
        answer?;
        if sent < requests {
            sent += 1;
            calls.push(one());
        }
    }
    Ok(())
}

async fn websocket(port: u16, message: Bytes, requests: u64) -> Result<(), Error> {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (message, share) = (message.clone(), requests / IN_FLIGHT as u64);
        clients.spawn(async move {
            let url = format!("ws://127.0.0.1:{port}/");
            let (mut socket, _) =
                tokio_tungstenite::connect_async_with_config(url, None, true).await?;
            for _ in 0..share {
                socket.send(Message::Binary(message.clone())).await?;
                while !socket.next().await.is_some_and(|answer| answer.is_ok_and(|a| a.is_binary()))
                {
                }
            }
            Ok::<(), tokio_tungstenite::tungstenite::Error>(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

impl Codec for Codes {
    type Encode = Outgoing;
    type Decode = Bytes;
    type Encoder = Codes;
    type Decoder = Codes;

    fn encoder(&mut self) -> Codes {
        *self
    }

    fn decoder(&mut self) -> Codes {
        *self
    }
}

impl Encoder for Codes {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, message: Outgoing, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let Outgoing(bytes, value) = message;
        match *self {
            Codes::Bytes => to.put(bytes),
            Codes::Prost => value.encode(to).map_err(unknown)?,
        }
        Ok(())
    }
}

impl Decoder for Codes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let message = from.copy_to_bytes(from.remaining());
        if *self == Codes::Prost {
            std::hint::black_box(DataRequestProto::decode(message.clone()).map_err(unknown)?);
        }
        Ok(Some(message))
    }
}

fn unknown(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}
