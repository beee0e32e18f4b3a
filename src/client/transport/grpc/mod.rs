//! gRPC: connections with a long-lived stream each, and calls of their own beside it.
//!
//! A request goes to the next connection in turn. Its stream is opened with the first request and
//! again after it has ended: one broken stream fails all that wait on it with the same error, and the
//! next request opens a new one. Replies are matched by request id, see `pending.rs`.
//!
//! A gateway answers with a *stub*, a header with nothing but the request id, when a request fails in
//! a way that ends the stream. It is held back: if the stream then ends with an error, that is what
//! the request gets; if the stream goes on, the stub was a reply after all.

mod channel;
mod frame;
mod status;
mod stream;
#[cfg(test)]
mod tests;

use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream as streams};
use prost::Message;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::channel::{Channel, Headers, Replies};
use self::frame::{Incoming, Outgoing};
use self::stream::Stream;
use super::SHARED_HEADERS;
use super::connect::Connector;
use super::pending::{Received, UnmatchedCounts};
use super::reopen::Reopen;
use crate::client::memory::Claim;
use crate::client::{
    Body, CallError, ClientConfig, Failure, Mark, Reply, Request, RequestHeaders, Timing, Unmatched,
};
use crate::wire::proto::jina::{EndpointsProto, JinaInfoProto, StatusProto};
use crate::wire::{DecodeError, Encoded, Family, Form, Head, RequestId, Schemas, decode_struct};

const SINGLE: &str = "/jina.JinaSingleDataRequestRPC/process_single_data";
const STREAM_DOC: &str = "/jina.JinaSingleDocumentRequestRPC/stream_doc";
const STATUS: &str = "/jina.JinaInfoRPC/_status";
const DRY_RUN: &str = "/jina.JinaGatewayDryRunRPC/dry_run";
const ENDPOINTS: &str = "/jina.JinaDiscoverEndpointsRPC/endpoint_discovery";

/// Connections opened at the same time when a session opens: a gateway's backlog is not endless.
const OPEN_AT_ONCE: usize = 32;

/// Connections that speak gRPC.
#[derive(Debug)]
pub(super) struct Grpc {
    setup: Arc<Setup>,
    lanes: Vec<Lane>,
    next: AtomicUsize,
}

/// What all connections share.
#[derive(Debug)]
struct Setup {
    config: Arc<ClientConfig>,
    connector: Connector,
    headers: Arc<Headers>,
    unmatched: Arc<UnmatchedCounts>,
    /// Whether this gateway answers with stubs and goes on: then they are replies. What one stream
    /// learns holds for the next.
    terse: Arc<AtomicBool>,
}

/// A connection and its streams, each of them opened again when needed.
///
/// A gateway of v1 reads no more than a thousand requests of one stream at a time. Where we are to
/// have no bound ([`ClientConfig::prefetch`] 0) another stream takes what comes beyond, so that the
/// first one's does not become ours.
#[derive(Debug)]
struct Lane {
    channel: Arc<Reopen<Arc<Channel>>>,
    streams: [Reopen<Arc<Stream>>; STREAMS_MAX],
}

/// Streams of one connection: a hundred thousand requests in flight, which is more than one takes.
const STREAMS_MAX: usize = 100;

impl Grpc {
    /// Connects all connections.
    ///
    /// # Errors
    /// The first error of any of them.
    pub(super) async fn open(
        config: Arc<ClientConfig>,
        connector: Connector,
    ) -> Result<Grpc, CallError> {
        let setup = Arc::new(Setup {
            headers: Arc::new(Headers::new(&config)?),
            config,
            connector,
            unmatched: Arc::default(),
            terse: Arc::default(),
        });
        let lane = |_| Lane {
            channel: Arc::new(Reopen::new()),
            streams: std::array::from_fn(|_| Reopen::new()),
        };
        let lanes: Vec<Lane> = (0..setup.config.connections.max(1)).map(lane).collect();
        let openings: Vec<_> =
            lanes.iter().map(|lane| connected(lane.channel.clone(), setup.clone())).collect();
        streams::iter(openings)
            .buffer_unordered(OPEN_AT_ONCE)
            .try_for_each(|_| ready(Ok(())))
            .await?;
        Ok(Grpc { setup, lanes, next: AtomicUsize::new(0) })
    }

    /// Replies that matched no request, so far.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.setup.unmatched.get()
    }

    /// One attempt of a request. Of the family only the form of the reply depends.
    pub(super) async fn call(
        &self,
        request: Request,
        family: Family,
        mark: &Mark,
    ) -> Result<Reply, Failure> {
        match request {
            Request::Post { message, .. } => self.post(message, None, family, mark).await,
            Request::Stream { message } => Box::pin(self.stream_all(message, None, mark)).await,
            Request::WithHeaders(both) => Box::pin(self.headed(&both, family, mark)).await,
            Request::Http(_) => Err(Failure::unsent(CallError::Unsupported(
                "a plain HTTP request goes over HTTP, not over gRPC".into(),
            ))),
            Request::Mutate { .. } => Err(Failure::unsent(CallError::Unsupported(
                "a GraphQL mutation cannot be sent over gRPC; it needs an HTTP session".into(),
            ))),
        }
    }

    /// A request with headers of its own.
    async fn headed(
        &self,
        both: &(RequestHeaders, Request),
        family: Family,
        mark: &Mark,
    ) -> Result<Reply, Failure> {
        let headers = Some(&both.0);
        match both.1.bare().clone() {
            Request::Post { .. } if self.setup.config.stream => {
                Err(Failure::unsent(CallError::Unsupported(SHARED_HEADERS.into())))
            }
            Request::Post { message, .. } => self.post(message, headers, family, mark).await,
            Request::Stream { message } => self.stream_all(message, headers, mark).await,
            other => Box::pin(self.call(other, family, mark)).await,
        }
    }

    /// A DataRequest, on the stream or as a call of its own.
    async fn post(
        &self,
        message: Encoded,
        headers: Option<&RequestHeaders>,
        family: Family,
        mark: &Mark,
    ) -> Result<Reply, Failure> {
        // Sizes have 32 bits in gRPC.
        if u32::try_from(message.len()).is_err() {
            return Err(Failure::unsent(CallError::Unsupported(format!(
                "a request of {} bytes; gRPC has messages of up to 4 GiB",
                message.len()
            ))));
        }
        let limit = self.setup.config.timeout;
        let mut anew = Anew::new(limit);
        let (bytes, timing) = loop {
            let (message, limit) = (message.clone(), anew.left());
            let outcome = if self.setup.config.stream {
                let lane = self.lane();
                let stream = lane.stream(&self.setup).await.map_err(Failure::unsent)?;
                stream.call(message, limit, mark).await
            } else {
                // In a place of its own, so that requests on the stream do not pay for its size.
                Box::pin(self.single(message, headers, limit, mark)).await
            };
            match outcome {
                Ok(answered) => break answered,
                Err(failure) => Box::pin(anew.after(failure)).await?,
            }
        };
        let form = Form::Protobuf(family);
        match form.decode_head(&bytes) {
            Ok(head) => Ok(Reply { head, body: Body::Message { form, bytes }, timing }),
            Err(error) => Err(Failure { error: decode_error(error), timing }),
        }
    }

    /// Sends a Document to a streaming endpoint, and gathers its replies.
    async fn stream_all(
        &self,
        message: Encoded,
        headers: Option<&RequestHeaders>,
        mark: &Mark,
    ) -> Result<Reply, Failure> {
        let mut anew = Anew::new(self.setup.config.timeout);
        loop {
            let gathered = match self.stream_within(&message, headers, anew.left(), mark).await {
                Ok(replies) => self.gather(replies).await,
                Err(failure) => Err(failure),
            };
            match gathered {
                Ok(reply) => return Ok(reply),
                Err(failure) => anew.after(failure).await?,
            }
        }
    }

    async fn gather(&self, mut replies: DocumentReplies) -> Result<Reply, Failure> {
        let mut all = Vec::new();
        let mut bytes_total = 0;
        // Large ones have claims of their own.
        let mut bytes_small = 0;
        let mut claim = self.setup.headers.claim();
        let mut reply: Option<Reply> = None;
        while let Some(mut next) = replies.next().await? {
            if let Body::Stream(bodies) = &mut next.body {
                bytes_total += bodies.iter().map(Bytes::len).sum::<usize>();
                bytes_small += bodies.iter().map(Bytes::len).filter(Claim::is_free).sum::<usize>();
                all.append(bodies);
            }
            let limit = self.setup.config.limits.message_bytes_max;
            if bytes_total > limit {
                let error = CallError::TooLarge { limit };
                return Err(Failure { error, timing: next.timing });
            }
            if let Err(full) = claim.cover(bytes_small) {
                return Err(Failure { error: full.into(), timing: next.timing });
            }
            // A failure, once told, is what the whole came to.
            if reply.as_ref().is_none_or(|reply| reply.failure().is_none()) {
                reply = Some(next);
            } else if let Some(reply) = &mut reply {
                reply.timing = next.timing;
            }
        }
        match reply {
            Some(reply) => {
                if let Some(last) = all.last_mut() {
                    *last = claim.hold(std::mem::take(last));
                }
                Ok(Reply { body: Body::Stream(all), ..reply })
            }
            None => Ok(replies.nothing()),
        }
    }

    /// Sends a Document to a streaming endpoint; replies come one by one.
    pub(super) async fn stream(&self, message: Encoded) -> Result<DocumentReplies, Failure> {
        let mut anew = Anew::new(self.setup.config.timeout);
        loop {
            match self.stream_within(&message, None, anew.left(), &Mark::default()).await {
                Ok(replies) => return Ok(replies),
                Err(failure) => anew.after(failure).await?,
            }
        }
    }

    async fn stream_within(
        &self,
        message: &Encoded,
        headers: Option<&RequestHeaders>,
        limit: Option<Duration>,
        mark: &Mark,
    ) -> Result<DocumentReplies, Failure> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let channel = self.lane().channel(&self.setup).await.map_err(Failure::unsent)?;
        let written = Arc::default();
        let message = outgoing(message.clone());
        let call = Call::begin_noting(&channel, STREAM_DOC, headers, message, &written, mark);
        match limited(deadline, limit, call).await {
            Ok(call) => Ok(DocumentReplies { call, deadline, limit, first: None }),
            Err(error) => Err(Failure::unsent(error)),
        }
    }

    /// A request as a call of its own.
    async fn single(
        &self,
        message: Encoded,
        headers: Option<&RequestHeaders>,
        limit: Option<Duration>,
        mark: &Mark,
    ) -> Result<(Bytes, Timing), Failure> {
        let channel = self.lane().channel(&self.setup).await.map_err(Failure::unsent)?;
        let written = Arc::new(OnceLock::new());
        let exchange = async {
            let mut call =
                Call::begin_noting(&channel, SINGLE, headers, outgoing(message), &written, mark)
                    .await?;
            call.replies.only().await
        };
        let deadline = limit.map(|limit| Instant::now() + limit);
        let result = limited(deadline, limit, exchange).await;
        let written = written.get().copied();
        match result {
            Ok(Received { message, first, done }) => {
                Ok((message, Timing { written, first: Some(first), done, attempts: 1 }))
            }
            Err(error) => {
                let timing = Timing { written, first: None, done: Instant::now(), attempts: 1 };
                Err(Failure { error, timing })
            }
        }
    }

    /// What the gateway reports about itself.
    pub(super) async fn info(&self) -> Result<JinaInfoProto, CallError> {
        self.ask(STATUS).await
    }

    /// Whether the gateway reaches all Executors: the status is OK then.
    pub(super) async fn dry_run(&self) -> Result<StatusProto, CallError> {
        self.ask(DRY_RUN).await
    }

    /// The endpoints that Executors serve. Only the v2 family tells.
    pub(super) async fn endpoints(&self) -> Result<EndpointsProto, CallError> {
        self.ask(ENDPOINTS).await
    }

    /// The schemas of the endpoints' Documents; none where the gateway fails to tell them.
    ///
    /// # Errors
    /// When the connection fails.
    pub(super) async fn schemas(&self) -> Result<Schemas, CallError> {
        match self.endpoints().await {
            Ok(told) => {
                let schemas = told.schemas.unwrap_or_default().encode_to_vec();
                Ok(decode_struct(schemas.into())
                    .map_or_else(|_| Schemas::default(), |schemas| Schemas::of_discovery(&schemas)))
            }
            Err(error @ (CallError::Connect { .. } | CallError::Tls { .. })) => Err(error),
            Err(_) => Ok(Schemas::default()),
        }
    }

    /// A question without arguments, answered within the time a connection may take.
    async fn ask<M: Message + Default>(&self, path: &'static str) -> Result<M, CallError> {
        let channel = self.lane().channel(&self.setup).await?;
        let exchange = async {
            let mut call = Call::begin(&channel, path, Outgoing::Empty).await?;
            call.replies.only().await
        };
        let limit = self.setup.connector.limit();
        let answer = match timeout(limit, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(CallError::Timeout(limit)),
        };
        M::decode(answer.message).map_err(decode_error)
    }

    fn lane(&self) -> &Lane {
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }
}

impl Lane {
    async fn channel(&self, setup: &Arc<Setup>) -> Result<Arc<Channel>, CallError> {
        connected(self.channel.clone(), setup.clone()).await
    }

    /// The place of the stream for the next request: the first that has room.
    fn place(&self, setup: &Setup) -> &Reopen<Arc<Stream>> {
        let [first, others @ ..] = &self.streams;
        let has_room = |place: &&Reopen<Arc<Stream>>| {
            place.look(|stream| !stream.is_open() || !stream.is_full()).unwrap_or(true)
        };
        if setup.config.prefetch != 0 || has_room(&first) {
            return first;
        }
        // One is left for questions; a stream beyond what is allowed would wait for ever.
        let allowed = self.channel.look(|channel| channel.calls_max()).unwrap_or(1);
        others.iter().take(allowed.saturating_sub(2)).find(has_room).unwrap_or(first)
    }

    /// The stream for the next request.
    async fn stream(&self, setup: &Arc<Setup>) -> Result<Arc<Stream>, CallError> {
        let mut place = self.place(setup);
        loop {
            let stream = self.open(place, setup).await?;
            if setup.config.prefetch != 0 || !stream.is_full() {
                return Ok(stream);
            }
            // It filled while it was being opened.
            let next = self.place(setup);
            if std::ptr::eq(next, place) {
                return Ok(stream);
            }
            place = next;
        }
    }

    async fn open(
        &self,
        place: &Reopen<Arc<Stream>>,
        setup: &Arc<Setup>,
    ) -> Result<Arc<Stream>, CallError> {
        place
            .get(
                |stream| stream.is_open(),
                || {
                    let (place, setup) = (self.channel.clone(), setup.clone());
                    async move {
                        let channel = connected(place.clone(), setup.clone()).await?;
                        match Stream::open(&channel, &setup).await {
                            Ok(stream) => Ok(Arc::new(stream)),
                            // The connection ended since it was last looked at: a gateway that was
                            // started anew. A fresh one that refuses too is told as it is.
                            Err(_) => {
                                let channel = connected(place.clone(), setup.clone()).await?;
                                Stream::open(&channel, &setup).await.map(Arc::new)
                            }
                        }
                    }
                },
            )
            .await
    }
}

async fn connected(
    place: Arc<Reopen<Arc<Channel>>>,
    setup: Arc<Setup>,
) -> Result<Arc<Channel>, CallError> {
    let connect = || async move {
        Channel::connect(&setup.connector, setup.headers.clone()).await.map(Arc::new)
    };
    place.get(|channel| channel.is_open(), connect).await
}

fn decode_error(error: impl Into<DecodeError>) -> CallError {
    CallError::Decode(Arc::new(error.into()))
}

/// A message under an id of its own: nothing is matched by it, since its call has no other request.
fn outgoing(message: Encoded) -> Outgoing {
    Outgoing::Request { message, id: RequestId { sender: rand::random(), number: rand::random() } }
}

/// A request that the gateway says it did not look at, or that never left us, is sent this often again.
/// That it happens once is a gateway that goes; more often, one that takes nothing.
const SENT_ANEW_MAX: u32 = 5;

/// Before it is sent for the third time; the wait doubles from then on.
const ANEW_WAIT: Duration = Duration::from_millis(5);

/// Sends a request until it is taken, all together within its limit. That is no retry: what was not
/// taken cannot have been worked on, and the server has seen one attempt.
struct Anew {
    limit: Option<Duration>,
    start: Instant,
    times: u32,
}

impl Anew {
    fn new(limit: Option<Duration>) -> Anew {
        Anew { limit, start: Instant::now(), times: 0 }
    }

    /// What is left of the time limit.
    fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.start.elapsed()))
    }

    /// Waits until it is time to send it anew.
    ///
    /// # Errors
    /// The failure, if that is how it ends.
    async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        match (&failure.error, self.limit) {
            (CallError::NotTaken { .. }, _) if self.times < SENT_ANEW_MAX => {
                if self.times > 0 {
                    sleep(ANEW_WAIT * (1 << self.times)).await;
                }
                self.times += 1;
                Ok(())
            }
            // The limit that was set, not what was left of it.
            (CallError::Timeout(_), Some(limit)) => {
                Err(Failure { error: CallError::Timeout(limit), ..failure })
            }
            _ => Err(failure),
        }
    }
}

async fn limited<T>(
    deadline: Option<Instant>,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match (deadline, limit) {
        (Some(deadline), Some(limit)) => {
            timeout_at(deadline, work).await.unwrap_or(Err(CallError::Timeout(limit)))
        }
        _ => work.await,
    }
}

/// A call with one message down.
#[derive(Debug)]
struct Call {
    replies: Replies,
    written: Arc<OnceLock<Instant>>,
}

impl Call {
    async fn begin(
        channel: &Arc<Channel>,
        path: &'static str,
        message: Outgoing,
    ) -> Result<Call, CallError> {
        Call::begin_noting(channel, path, None, message, &Arc::default(), &Mark::default()).await
    }

    /// Begins and sends; a refusal in the middle of the message shows in the replies, with its reason.
    async fn begin_noting(
        channel: &Arc<Channel>,
        path: &'static str,
        headers: Option<&RequestHeaders>,
        message: Outgoing,
        written: &Arc<OnceLock<Instant>>,
        mark: &Mark,
    ) -> Result<Call, CallError> {
        let (sending, replies) = match channel.begin(path, headers).await {
            // It ended since it was last looked at.
            Err(CallError::Lost { reason, .. }) => return Err(channel.not_taken(reason)),
            begun => begun?,
        };
        let call = Call { replies, written: written.clone() };
        let sent = sending.only(message, || {
            let now = Instant::now();
            mark.set(now);
            let _ = written.set(now);
        });
        // An error here is repeated, and explained, by the replies.
        let _ = sent.await;
        Ok(call)
    }
}

/// Replies of a streaming endpoint, one by one as they come.
#[derive(Debug)]
pub(super) struct DocumentReplies {
    call: Call,
    deadline: Option<Instant>,
    limit: Option<Duration>,
    first: Option<Instant>,
}

impl DocumentReplies {
    /// The next reply; `None` when the endpoint has no more. Its timing tells when this one was there,
    /// and when the first began.
    pub(super) async fn next(&mut self) -> Result<Option<Reply>, Failure> {
        match limited(self.deadline, self.limit, self.call.replies.next()).await {
            Ok(Some(Incoming::Message(Received { message, first, done }))) => {
                self.first.get_or_insert(first);
                let form = Form::Protobuf(Family::V2);
                match form.decode_head(&message) {
                    Ok(head) => {
                        let body = Body::Stream(vec![message]);
                        Ok(Some(Reply { head, body, timing: self.timing(done) }))
                    }
                    Err(error) => Err(self.failure(decode_error(error))),
                }
            }
            Ok(Some(Incoming::Skipped(_, why))) => Err(self.failure(why)),
            Ok(None) => Ok(None),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// What it comes to when the endpoint gave no reply at all: a success.
    fn nothing(&self) -> Reply {
        let timing = self.timing(Instant::now());
        Reply { head: Head::default(), body: Body::Stream(Vec::new()), timing }
    }

    fn timing(&self, done: Instant) -> Timing {
        let written = self.call.written.get().copied();
        Timing { written, first: self.first, done, attempts: 1 }
    }

    fn failure(&self, error: CallError) -> Failure {
        Failure { error, timing: self.timing(Instant::now()) }
    }
}
