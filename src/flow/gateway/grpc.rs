//! gRPC: the services of `jina.proto` over HTTP/2.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::Stream;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use hyper::body::Incoming;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::server::Grpc;
use tonic::{Request, Response, Status};

use super::{CallFailure, Gateway, MESSAGE_MAX};
use crate::flow::message::Message;
use crate::wire::proto::jina::JinaInfoProto;

/// Answers one call.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    _line: CancellationToken,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Body> {
    let path = request.uri().path().to_owned();
    let mut grpc = Grpc::new(Raw)
        .max_decoding_message_size(MESSAGE_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    match path.as_str() {
        "/jina.JinaRPC/Call" => grpc.streaming(Call { gateway, stop }, request).await,
        "/jina.JinaGatewayDryRunRPC/dry_run" => grpc.unary(Fixed(Bytes::new()), request).await,
        "/jina.JinaInfoRPC/_status" => {
            let info = JinaInfoProto { jina: super::http::about(&gateway), envs: BTreeMap::new() };
            grpc.unary(Fixed(info.encode_to_vec().into()), request).await
        }
        _ => Status::unimplemented("Method not found!").into_http(),
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

/// A unary method that always answers the same.
struct Fixed(Bytes);

impl tonic::server::UnaryService<Bytes> for Fixed {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.clone())))
    }
}

/// `jina.JinaRPC/Call`.
struct Call {
    gateway: Arc<Gateway>,
    stop: CancellationToken,
}

impl tonic::server::StreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let in_order = request
            .metadata()
            .get("__results_in_order__")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
        let answers = Answers {
            gateway: self.gateway.clone(),
            input: Some(request.into_inner()),
            in_work: match in_order {
                true => InWork::Ordered(FuturesOrdered::new()),
                false => InWork::AsTheyFinish(FuturesUnordered::new()),
            },
            stopped: Box::pin(self.stop.clone().cancelled_owned()),
            failed: None,
        };
        std::future::ready(Ok(Response::new(answers)))
    }
}

type Answer = Result<Bytes, Status>;
type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The answers of one call, as its requests come in.
struct Answers {
    gateway: Arc<Gateway>,
    /// `None` when all requests are in.
    input: Option<Streaming<Bytes>>,
    /// At most `prefetch` requests.
    in_work: InWork,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// How the call ends when what is in work is done.
    failed: Option<Status>,
}

enum InWork {
    AsTheyFinish(FuturesUnordered<Work>),
    Ordered(FuturesOrdered<Work>),
}

impl InWork {
    fn len(&self) -> usize {
        match self {
            InWork::AsTheyFinish(work) => work.len(),
            InWork::Ordered(work) => work.len(),
        }
    }

    fn push(&mut self, work: Work) {
        match self {
            InWork::AsTheyFinish(all) => all.push(work),
            InWork::Ordered(all) => all.push_back(work),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        match self {
            InWork::AsTheyFinish(work) => Pin::new(work).poll_next(cx),
            InWork::Ordered(work) => Pin::new(work).poll_next(cx),
        }
    }
}

impl Stream for Answers {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let this = &mut *self;
        loop {
            match this.in_work.poll_next(cx) {
                Poll::Ready(Some(Err(status))) => {
                    // The call ends here, whatever else is in work.
                    this.input = None;
                    this.in_work = InWork::AsTheyFinish(FuturesUnordered::new());
                    this.failed = None;
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Ready(Some(answer)) => return Poll::Ready(Some(answer)),
                Poll::Ready(None) if this.input.is_none() => {
                    return Poll::Ready(this.failed.take().map(Err));
                }
                _ => (),
            }
            if this.input.is_some() && this.stopped.as_mut().poll(cx).is_ready() {
                this.input = None;
                this.failed = Some(Status::unavailable("Cancelling all calls"));
                continue;
            }
            if this.in_work.len() >= this.gateway.prefetch {
                return Poll::Pending;
            }
            let Some(input) = &mut this.input else { return Poll::Pending };
            match Pin::new(input).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    let mut work: Work = Box::pin(answer(this.gateway.clone(), bytes));
                    // An answer that takes no time goes out without a stay in the set.
                    if this.in_work.len() == 0 {
                        if let Poll::Ready(answer) = work.as_mut().poll(cx) {
                            if answer.is_err() {
                                this.input = None;
                            }
                            return Poll::Ready(Some(answer));
                        }
                    }
                    this.in_work.push(work);
                }
                Poll::Ready(Some(Err(status))) => {
                    this.input = None;
                    this.failed = Some(status);
                }
                Poll::Ready(None) => this.input = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn answer(gateway: Arc<Gateway>, bytes: Bytes) -> Answer {
    let answered = async {
        if bytes.is_empty() {
            return Err(CallFailure::Empty);
        }
        let message = gateway.handle(Message::decode(bytes)?).await?;
        Ok(message.encode(gateway.family)?)
    };
    answered.await.map_err(|failure| Status::unknown(failure.to_string()))
}
