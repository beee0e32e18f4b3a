//! gRPC: the services of `jina.proto` over HTTP/2, health and reflection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{BoxStream, FuturesOrdered, FuturesUnordered};
use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tower::Service as _;

use super::about::about;
use super::failure::CallFailure;
use super::handle::{Answer, Gateway, MESSAGE_MAX, limit};
use super::outbox::Outbox;
use super::reflection;
use crate::flow::executor::{Exception, streamed};
use crate::wire::proto::jina::{EndpointsProto, JinaInfoProto};
use crate::wire::{
    DataRequest, Document, Family, Form, Header, Protocol, decode_single, encode_single_response,
    encode_struct,
};

/// Maximum total size in bytes of the requests that one call processes at a time. Beyond that, a client that
/// keeps writing has to wait.
const IN_WORK_BYTES_MAX: usize = 256 << 20;

/// Answers one call.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    line: CancellationToken,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Body> {
    let path = request.uri().path().to_owned();
    let mut grpc = Grpc::new(Raw)
        .max_decoding_message_size(MESSAGE_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    match (path.as_str(), gateway.family) {
        ("/jina.JinaRPC/Call", _) => grpc.streaming(Call { gateway, stop, line }, request).await,
        ("/jina.JinaGatewayDryRunRPC/dry_run", _) => {
            let answer = gateway
                .dry_run_status()
                .map(|status| crate::wire::encode_status(&status))
                .unwrap_or_default();
            grpc.unary(Fixed(answer), request).await
        }
        ("/jina.JinaInfoRPC/_status", _) => {
            let (jina, envs) = about(&gateway);
            let info = JinaInfoProto { jina, envs };
            grpc.unary(Fixed(info.encode_to_vec().into()), request).await
        }
        ("/jina.JinaSingleDataRequestRPC/process_single_data", Family::V2) => {
            grpc.unary(Single { gateway, line }, request).await
        }
        ("/jina.JinaDiscoverEndpointsRPC/endpoint_discovery", Family::V2) => {
            let answer = endpoints(&gateway).encode_to_vec();
            grpc.unary(Fixed(answer.into()), request).await
        }
        ("/jina.JinaSingleDocumentRequestRPC/stream_doc", Family::V2) => {
            grpc.server_streaming(StreamDoc(gateway), request).await
        }
        ("/grpc.health.v1.Health/Check", _) => grpc.unary(Health { gateway, stop }, request).await,
        ("/grpc.health.v1.Health/Watch", _) => {
            grpc.server_streaming(Health { gateway, stop }, request).await
        }
        (reflection::METHOD, family) => {
            let mut service = reflection::service(family);
            let Ok(response) = service.call(request).await;
            response
        }
        _ => Status::unimplemented("Method not found!").into_http(),
    }
}

/// A codec that passes messages through as bytes.
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

impl UnaryService<Bytes> for Fixed {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.clone())))
    }
}

/// `jina.JinaSingleDataRequestRPC/process_single_data`.
struct Single {
    gateway: Arc<Gateway>,
    line: CancellationToken,
}

impl UnaryService<Bytes> for Single {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (gateway, line) = (self.gateway.clone(), self.line.clone());
        Box::pin(async move {
            let reply = gateway.answer(request.into_inner(), Protocol::Grpc).await;
            let reply = reply.map_err(|failure| failure.status())?;
            if reply.faults.drop {
                line.cancel();
                std::future::pending::<()>().await;
            }
            Ok(Response::new(reply.bytes))
        })
    }
}

/// `grpc.health.v1.Health`: every service that reflection lists is healthy until the Flow stops.
struct Health {
    gateway: Arc<Gateway>,
    stop: CancellationToken,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Values of `HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

impl Health {
    fn knows(&self, request: Bytes) -> Result<bool, Status> {
        let request = HealthCheckRequest::decode(request)
            .map_err(|_| Status::internal("Exception deserializing request!"))?;
        let services = reflection::services(self.gateway.family);
        Ok(request.service.is_empty() || services.contains(&request.service.as_str()))
    }
}

fn health(status: i32) -> Bytes {
    HealthCheckResponse { status }.encode_to_vec().into()
}

impl UnaryService<Bytes> for Health {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(match self.knows(request.into_inner()) {
            Ok(true) => Ok(Response::new(health(SERVING))),
            Ok(false) => Err(Status::not_found("")),
            Err(status) => Err(status),
        })
    }
}

impl ServerStreamingService<Bytes> for Health {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let stop = self.stop.clone();
        std::future::ready(self.knows(request.into_inner()).map(|known| {
            let now = if known { SERVING } else { SERVICE_UNKNOWN };
            let first = futures_util::stream::iter([Ok(health(now))]);
            let last = futures_util::stream::once(async move {
                stop.cancelled().await;
                Ok(health(NOT_SERVING))
            });
            Response::new(first.chain(last).boxed())
        }))
    }
}

/// The answer of `endpoint_discovery`; `/default` stands for the default endpoint.
fn endpoints(gateway: &Gateway) -> EndpointsProto {
    let named = gateway.topology.endpoints().into_iter().map(str::to_owned);
    let default = gateway.topology.has_default().then(|| "/default".to_owned());
    let dry_run = std::iter::once("_jina_dry_run_".to_owned());
    // Flows whose Executors declare no schemas report none.
    let schemas = gateway.topology.told_schemas();
    let schemas = (!schemas.is_empty()).then_some(schemas);
    EndpointsProto {
        endpoints: dry_run.chain(named).chain(default).collect(),
        write_endpoints: Vec::new(),
        schemas: schemas.and_then(|schemas| {
            let bytes = encode_struct(&schemas).ok()?;
            prost_types::Struct::decode(bytes).ok()
        }),
    }
}

/// `jina.JinaSingleDocumentRequestRPC/stream_doc`: one Document in, many out.
struct StreamDoc(Arc<Gateway>);

impl ServerStreamingService<Bytes> for StreamDoc {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = match decode_single(request.into_inner()) {
            Ok(request) => Ok(Response::new(stream(self.0.clone(), request))),
            Err(error) => Err(CallFailure::from(error).status()),
        };
        std::future::ready(answer)
    }
}

fn stream(
    gateway: Arc<Gateway>,
    mut request: DataRequest,
) -> BoxStream<'static, Result<Bytes, Status>> {
    let endpoint = request.header.exec_endpoint.clone().unwrap_or_default();
    let mut doc = request.data.take().and_then(|mut docs| docs.pop()).unwrap_or_default();
    let encode = |response: &DataRequest, doc: &Document| {
        encode_single_response(response, doc).map_err(|error| CallFailure::from(error).status())
    };
    let Some(of) = gateway.topology.stream(&endpoint) else {
        let exception = Exception::new("ValueError").text("endpoint must be generator");
        request.header.status =
            Some(Box::new(exception.into_status("", "stream_doc", gateway.family)));
        let answer = encode(&request, &doc);
        return futures_util::stream::iter([answer]).boxed();
    };
    if let Err(exception) = gateway.topology.fields(&endpoint).check(&mut doc) {
        request.header.status =
            Some(Box::new(exception.into_status("", "stream_doc", gateway.family)));
        let answer = encode(&request, &doc);
        return futures_util::stream::iter([answer]).boxed();
    }
    let working = gateway.working();
    let answers = futures_util::stream::iter(0..of.count).then(move |number| {
        let _until_the_last = &working;
        let gateway = gateway.clone();
        let answer = encode(&request, &streamed(&doc, number));
        async move {
            gateway.sleep(of.every.get()).await;
            answer
        }
    });
    answers.boxed()
}

/// `jina.JinaRPC/Call`.
struct Call {
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    line: CancellationToken,
}

impl StreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let metadata = |key: &str| {
            request.metadata().get(key).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let in_order = metadata("__results_in_order__") == "true";
        let prefetch = match (self.gateway.family, metadata("__prefetch__").parse()) {
            (Family::V2, Ok(prefetch)) => limit(prefetch),
            _ => self.gateway.prefetch,
        };
        let answers = Answers {
            gateway: self.gateway.clone(),
            line: self.line.clone(),
            prefetch,
            input: Some(request.into_inner()),
            in_work: match in_order {
                true => InWork::Ordered(FuturesOrdered::new()),
                false => InWork::AsTheyFinish(FuturesUnordered::new()),
            },
            bytes_in_work: 0,
            outbox: Outbox::default(),
            stopped: Box::pin(self.stop.clone().cancelled_owned()),
            failed: None,
            dropped: false,
        };
        std::future::ready(Ok(Response::new(answers)))
    }
}

/// The outcome of a request, and the request's size in bytes.
type Done = (Result<Answer, CallFailure>, usize);
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// The answers of one call, as its requests come in.
struct Answers {
    gateway: Arc<Gateway>,
    /// Cancelled in order to drop the connection.
    line: CancellationToken,
    prefetch: usize,
    /// `None` when all requests are in.
    input: Option<Streaming<Bytes>>,
    /// At most `prefetch` requests.
    in_work: InWork,
    bytes_in_work: usize,
    outbox: Outbox,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// How the call ends after its answers are sent.
    failed: Option<Status>,
    /// Whether the connection is being dropped, so that nothing more may be sent.
    dropped: bool,
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

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        match self {
            InWork::AsTheyFinish(work) => Pin::new(work).poll_next(cx),
            InWork::Ordered(work) => Pin::new(work).poll_next(cx),
        }
    }
}

impl Answers {
    fn settle(&mut self, done: Result<Answer, CallFailure>) {
        match done {
            Ok(reply) if reply.faults.drop => {
                self.line.cancel();
                self.dropped = true;
            }
            Ok(reply) => self.outbox.put(reply),
            Err(failure) => {
                // The call ends here, with all requests that are still being processed.
                self.input = None;
                self.in_work = InWork::AsTheyFinish(FuturesUnordered::new());
                if let Some(stub) = failure.stub(self.gateway.family) {
                    self.outbox.put(Answer { bytes: stub, faults: Default::default() });
                }
                self.failed = Some(failure.status());
            }
        }
    }
}

impl Stream for Answers {
    type Item = Result<Bytes, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        let this = &mut *self;
        loop {
            if this.dropped {
                return Poll::Pending;
            }
            if let Some(bytes) = this.outbox.next() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            match this.in_work.poll_next(cx) {
                Poll::Ready(Some((done, bytes))) => {
                    this.bytes_in_work -= bytes;
                    this.settle(done);
                    continue;
                }
                Poll::Ready(None) if this.input.is_none() => {
                    this.outbox.end();
                    if let Some(bytes) = this.outbox.next() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    return Poll::Ready(this.failed.take().map(Err));
                }
                _ => (),
            }
            if this.input.is_some() && this.stopped.as_mut().poll(cx).is_ready() {
                this.input = None;
                this.failed = Some(Status::unavailable("Cancelling all calls"));
                continue;
            }
            if this.in_work.len() >= this.prefetch || this.bytes_in_work >= IN_WORK_BYTES_MAX {
                return Poll::Pending;
            }
            let Some(input) = &mut this.input else { return Poll::Pending };
            match Pin::new(input).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    let (gateway, length) = (this.gateway.clone(), bytes.len());
                    let mut work: Work =
                        Box::pin(
                            async move { (gateway.answer(bytes, Protocol::Grpc).await, length) },
                        );
                    // An answer that is ready immediately need not wait in the set.
                    if this.in_work.len() == 0
                        && let Poll::Ready((done, _)) = work.as_mut().poll(cx)
                    {
                        this.settle(done);
                        continue;
                    }
                    this.bytes_in_work += length;
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

impl CallFailure {
    /// The status that ends the call.
    fn status(&self) -> Status {
        match self {
            CallFailure::Network { error, .. } if error.timed_out => {
                Status::deadline_exceeded(error.details())
            }
            CallFailure::Network { error, .. } => Status::unavailable(error.details()),
            failure => {
                let class = failure.class();
                Status::unknown(format!("Unexpected <class '{class}'>: {failure}"))
            }
        }
    }

    /// The last message of a stream before that status: it has the request's id and nothing else.
    fn stub(&self, family: Family) -> Option<Bytes> {
        let CallFailure::Network { request_id, .. } = self else { return None };
        let header = Header { request_id: request_id.clone(), ..Header::default() };
        let stub = DataRequest { header, ..DataRequest::default() };
        Form::Protobuf(family).encode_response(&stub).ok()
    }
}
