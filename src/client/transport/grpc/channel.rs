//! One HTTP/2 connection to a gateway, and calls on it.
//!
//! This stands on h2, as tonic does. Directly, because a load tester has to know the instant at which
//! flow control lets a message go, and which of the two sides broke off; and because tonic panics on
//! a status with details that are not base64, which a server may send us.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{Method, Request, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::connect::Connector;
use super::super::pending::Received;
use super::super::tls;
use super::frame::{Broken, Incoming, Messages, Outgoing};
use super::{SINGLE, status};
use crate::client::memory::{Bounds, Claim};
use crate::client::{CallError, ClientConfig, Compression, ConfigError, GatewayCode};
use crate::wire::{Protocol, Target};

/// What Jina's gateway and client use, in bytes: enough that a large message is not sent in pieces
/// with a round trip each.
const WINDOW: u32 = 4 << 20;
/// A frame is held as a whole before it is looked at, in bytes.
const FRAME_MAX: u32 = 1 << 20;
/// Response headers and trailers, in bytes as HTTP/2 counts them. A status may carry a Python traceback.
const HEADERS_MAX: usize = 64 << 10;
/// What h2 takes of them: more, because what is beyond it leaves out without a word.
const HEADERS_READ_MAX: u32 = 1 << 20;
/// What small frames may take in memory beside their bytes, as h2 reckons it: it gives a connection up
/// that exceeds it. A gateway sends a frame for each reply, and thousands may come in while our tasks
/// wait for a processor.
const FRAMES_OVERHEAD_MAX: usize = 32 << 20;
/// How often the gateway is pinged. Jina's client does it every 10 s, and gateways put up with that.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A gateway without a sign of life for this long is taken for dead. A Python process may well be
/// deaf for seconds while it computes.
const PONG_WITHIN: Duration = Duration::from_secs(60);

/// An open HTTP/2 connection. The last clone of its `Arc` closes it.
#[derive(Debug)]
pub(super) struct Channel {
    /// In an `Arc` of its own, so that whoever drives the connection can look without keeping it open.
    requests: Arc<SendRequest<Bytes>>,
    headers: Arc<Headers>,
    fate: Arc<Fate>,
}

/// What goes before the messages of every call: the same for all, so made once.
#[derive(Debug)]
pub(super) struct Headers {
    target: Target,
    map: HeaderMap,
    /// The URIs of the methods that are called once per request.
    uris: [(&'static str, Uri); 1],
    compression: Compression,
    bounds: Bounds,
}

/// How a connection ended, for those who only hear that it did.
#[derive(Debug, Default)]
struct Fate {
    closed: AtomicBool,
    /// Cancelled when the gateway says goodbye (GOAWAY): what is under way may end, and new calls
    /// belong on a new connection.
    leaving: CancellationToken,
    /// The first error of the socket or of TLS, which h2 would pass on as a string only; or our own
    /// decision to give the connection up.
    error: OnceLock<CallError>,
}

impl Headers {
    /// The user's headers become metadata.
    ///
    /// # Errors
    /// A header that cannot be sent.
    pub(super) fn new(config: &ClientConfig) -> Result<Headers, ConfigError> {
        let mut map = config.header_map()?;
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        map.insert(TE, HeaderValue::from_static("trailers"));
        map.entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("flowbench/", env!("CARGO_PKG_VERSION"))));
        let mut metadata = |name, value| map.insert(HeaderName::from_static(name), value);
        metadata("grpc-accept-encoding", HeaderValue::from_static("identity, deflate, gzip"));
        match config.compression {
            Compression::None => None,
            Compression::Gzip => metadata("grpc-encoding", HeaderValue::from_static("gzip")),
            Compression::Deflate => metadata("grpc-encoding", HeaderValue::from_static("deflate")),
        };
        if config.results_in_order {
            metadata("__results_in_order__", HeaderValue::from_static("true"));
        }
        if config.prefetch != ClientConfig::PREFETCH {
            metadata("__prefetch__", HeaderValue::from(config.prefetch));
        }
        Ok(Headers {
            uris: [SINGLE].map(|path| (path, uri(&config.target, path))),
            target: config.target.clone(),
            map,
            compression: config.compression,
            bounds: Bounds::of(config),
        })
    }

    /// The claim on the memory of responses.
    pub(super) fn claim(&self) -> Claim {
        self.bounds.memory.claim()
    }

    fn request(&self, path: &'static str) -> Request<()> {
        let made = self.uris.iter().find(|(known, _)| *known == path);
        let uri = made.map_or_else(|| uri(&self.target, path), |(_, uri)| uri.clone());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.map.clone();
        request
    }
}

fn uri(target: &Target, path: &'static str) -> Uri {
    let scheme = Protocol::Http.scheme(target.tls);
    Uri::builder()
        .scheme(scheme)
        .authority(target.authority())
        .path_and_query(path)
        .build()
        .expect("a target's host is one that can stand in a URI")
}

impl Channel {
    /// Connects, and waits until the other side has proven that it speaks HTTP/2.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Protocol`, `Lost`.
    pub(super) async fn connect(
        connector: &Connector,
        headers: Arc<Headers>,
    ) -> Result<Channel, CallError> {
        Channel::greet(connector.connect().await?, connector.limit(), headers).await
    }

    /// Greets on an open connection, and waits for the answer to a ping.
    pub(super) async fn greet(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        limit: Duration,
        headers: Arc<Headers>,
    ) -> Result<Channel, CallError> {
        let (target, fate) = (headers.target.clone(), Arc::new(Fate::default()));
        let io = Watched { io, target: target.clone(), fate: fate.clone() };
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME_MAX)
            .max_header_list_size(HEADERS_READ_MAX)
            .data_frame_budget(FRAMES_OVERHEAD_MAX)
            .enable_push(false);
        let broken = |error: h2::Error| explain(&target, &fate, &error);
        let greeting = async {
            let (requests, mut connection) = builder.handshake(io).await.map_err(broken)?;
            let mut pings = connection.ping_pong().expect("nobody took it yet");
            tokio::select! {
                biased;
                ended = &mut connection => Err(match ended {
                    Ok(()) => silent(&target),
                    Err(error) => broken(error),
                }),
                pong = pings.ping(Ping::opaque()) => match pong {
                    Ok(_) => Ok((requests, connection, pings)),
                    Err(error) => Err(broken(error)),
                },
            }
        };
        let (requests, connection, pings) = match timeout(limit, greeting).await {
            Ok(greeted) => greeted?,
            Err(_) => {
                let reason = format!("no HTTP/2 greeting within {limit:?}");
                return Err(protocol(target, reason));
            }
        };
        let requests = Arc::new(requests);
        tokio::spawn({
            let (fate, requests) = (fate.clone(), Arc::downgrade(&requests));
            async move {
                let mut connection = pin!(connection);
                let connection = poll_fn(|cx| {
                    let ended = connection.as_mut().poll(cx);
                    if !fate.leaving.is_cancelled()
                        && requests.upgrade().is_some_and(|requests| is_leaving(&requests))
                    {
                        fate.leaving.cancel();
                    }
                    ended
                });
                // Either ends the other: an error shows in every stream, a dropped connection too.
                tokio::select! {
                    _ = connection => (),
                    () = watch(pings) => {
                        let reason = format!("no sign of life for {PONG_WITHIN:?}");
                        let _ = fate.error.set(CallError::Lost { target, reason });
                    }
                }
                fate.closed.store(true, Ordering::Release);
            }
        });
        Ok(Channel { requests, headers, fate })
    }

    /// Whether new calls can be made on it, as far as we know.
    pub(super) fn is_open(&self) -> bool {
        !self.fate.closed.load(Ordering::Acquire) && !self.fate.leaving.is_cancelled()
    }

    /// Cancelled when the gateway says goodbye.
    pub(super) fn leaving(&self) -> &CancellationToken {
        &self.fate.leaving
    }

    /// That a request is still on our side, and why it will not go out on this connection.
    pub(super) fn not_taken(&self, reason: impl ToString) -> CallError {
        let target = self.headers.target.clone();
        CallError::NotTaken { target, reason: reason.to_string() }
    }

    /// Calls that the gateway allows at a time.
    pub(super) fn calls_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// How outgoing messages are compressed.
    pub(super) fn compression(&self) -> Compression {
        self.headers.compression
    }

    /// Begins a call. Waits while the gateway has as many as it allows at a time.
    ///
    /// # Errors
    /// When the connection takes no more calls; then `is_open` is false from now on.
    pub(super) async fn begin(
        self: &Arc<Channel>,
        path: &'static str,
        headers: Option<&crate::client::RequestHeaders>,
    ) -> Result<(Sending, Replies), CallError> {
        let began = async {
            let mut requests = SendRequest::clone(&self.requests).ready().await?;
            let mut request = self.headers.request(path);
            if let Some(headers) = headers {
                headers.put_into(request.headers_mut());
            }
            requests.send_request(request, false)
        };
        match began.await {
            Ok((response, stream)) => {
                let sending = Sending { stream, channel: self.clone() };
                Ok((sending, Replies { state: State::Head(response), channel: self.clone() }))
            }
            Err(error) => {
                self.fate.closed.store(true, Ordering::Release);
                Err(self.explain(&error))
            }
        }
    }

    fn explain(&self, error: &h2::Error) -> CallError {
        explain(&self.headers.target, &self.fate, error)
    }

    /// The same of a call whose response has begun: whatever the gateway says, it has looked at it.
    fn explain_begun(&self, error: &h2::Error) -> CallError {
        match self.explain(error) {
            CallError::NotTaken { target, reason } => CallError::Lost { target, reason },
            error => error,
        }
    }

    /// # Errors
    /// Headers, or trailers, beyond our limit.
    fn check_size(&self, headers: &HeaderMap) -> Result<(), CallError> {
        // As HTTP/2 counts: 32 for each line.
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
        match headers.iter().map(line).sum::<usize>() {
            0..=HEADERS_MAX => Ok(()),
            _ => Err(self.protocol("response headers over 64 KiB".into())),
        }
    }

    fn protocol(&self, reason: String) -> CallError {
        protocol(self.headers.target.clone(), reason)
    }
}

/// Whether the gateway has said that it takes no more calls. h2 tells whoever would make one.
fn is_leaving(requests: &SendRequest<Bytes>) -> bool {
    let ready = requests.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
    matches!(ready, Poll::Ready(Err(error)) if error.is_go_away() && error.is_remote())
}

/// Ends when the gateway gives no sign of life.
async fn watch(mut pings: PingPong) {
    loop {
        sleep(PING_EVERY).await;
        match timeout(PONG_WITHIN, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection ends by itself and has better words for it.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

fn silent(target: &Target) -> CallError {
    CallError::Lost {
        target: target.clone(),
        reason: "the other side closed the connection".into(),
    }
}

/// The error of a side that broke the protocol: it is not gRPC.
fn protocol(target: Target, reason: String) -> CallError {
    CallError::Protocol { target, expected: "gRPC", reason, named: false }
}

fn explain(target: &Target, fate: &Fate, error: &h2::Error) -> CallError {
    // A stream beyond the last one that a GOAWAY names, and one that is refused, was not looked at.
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || refused) {
        let said = if refused { "it refused the stream" } else { "it said goodbye" };
        let words = match error.reason() {
            Some(Reason::NO_ERROR | Reason::REFUSED_STREAM) | None => String::new(),
            Some(reason) => format!(" ({reason:?})"),
        };
        return CallError::NotTaken { target: target.clone(), reason: format!("{said}{words}") };
    }
    if let Some(error) = fate.error.get() {
        return error.clone();
    }
    let lost = |reason: String| CallError::Lost { target: target.clone(), reason };
    let reason = error.reason().map_or_else(String::new, |reason| format!(" ({reason:?})"));
    if error.is_library() {
        let reason = format!("what it sends is not HTTP/2{reason}");
        return protocol(target.clone(), reason);
    }
    match (error.is_io(), error.is_reset()) {
        (true, _) => silent(target),
        (_, true) => lost(format!("the gateway reset the stream{reason}")),
        _ => lost(error.to_string()),
    }
}

/// The sending half of a call.
#[derive(Debug)]
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    channel: Arc<Channel>,
}

impl Sending {
    /// Waits until flow control lets something go: the gateway's window and our own buffer before the
    /// socket have room.
    ///
    /// # Errors
    /// When nothing more can be sent.
    pub(super) async fn room(&mut self, bytes: usize) -> Result<(), CallError> {
        self.stream.reserve_capacity(bytes.max(1));
        while self.stream.capacity() == 0 {
            match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(self.channel.explain(&error)),
                None => {
                    return Err(CallError::Lost {
                        target: self.channel.headers.target.clone(),
                        reason: "the gateway takes no more requests on this stream".into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Gives back the room that was asked for and is not needed.
    pub(super) fn no_room(&mut self) {
        self.stream.reserve_capacity(0);
    }

    /// Sends bytes; what does not fit the room waits in memory.
    ///
    /// # Errors
    /// When nothing more can be sent.
    pub(super) fn send(&mut self, bytes: Bytes) -> Result<(), CallError> {
        self.stream.send_data(bytes, false).map_err(|error| self.channel.explain(&error))
    }

    /// Tells that nothing more will be sent.
    pub(super) fn end(mut self) {
        // Whether it arrives shows in the replies.
        let _ = self.stream.send_data(Bytes::new(), true);
    }

    /// Sends one message and ends; `written` is called when the first byte can go.
    ///
    /// # Errors
    /// When the message cannot be sent.
    pub(super) async fn only(
        mut self,
        message: Outgoing,
        written: impl FnOnce(),
    ) -> Result<(), CallError> {
        let mut chunk = BytesMut::new();
        let tail = message
            .write(self.channel.compression(), &mut chunk)
            .expect("writing to memory does not fail");
        self.room(chunk.len()).await?;
        written();
        self.send(chunk.freeze())?;
        if let Some(tail) = tail {
            self.send(tail)?;
        }
        self.end();
        Ok(())
    }
}

/// The receiving half of a call.
#[derive(Debug)]
pub(super) struct Replies {
    state: State,
    channel: Arc<Channel>,
}

#[derive(Debug)]
enum State {
    Head(ResponseFuture),
    Body(RecvStream, Messages),
    Ended,
}

impl Replies {
    /// The next message, `None` at an end with the status OK. Safe to give up and call again.
    ///
    /// # Errors
    /// `Gateway` for another status, and every way in which a stream can break.
    pub(super) async fn next(&mut self) -> Result<Option<Incoming>, CallError> {
        loop {
            match &mut self.state {
                State::Head(response) => {
                    let (head, body) = match response.await {
                        Ok(response) => response.into_parts(),
                        Err(error) => return self.broke(self.channel.explain(&error)),
                    };
                    if let Err(error) = self.channel.check_size(&head.headers) {
                        return self.broke(error);
                    }
                    if let Some(ended) = status::read(&head.headers) {
                        self.state = State::Ended;
                        return ended.map(|()| None);
                    }
                    if let Err(error) = self.judge(head.status, &head.headers) {
                        return self.broke(error);
                    }
                    let messages = Messages::new(&head.headers, &self.channel.headers.bounds);
                    self.state = State::Body(body, messages);
                }
                State::Body(body, messages) => {
                    match messages.next() {
                        Ok(Some(incoming)) => return Ok(Some(incoming)),
                        Ok(None) => {}
                        Err(broken) => return self.broke(self.malformed(&broken)),
                    }
                    match body.data().await {
                        Some(Ok(frame)) => {
                            // We hold at most one message beyond the window, so what came in may be
                            // followed by more at once. A stream that is over needs no window.
                            let _ = body.flow_control().release_capacity(frame.len());
                            messages.push(frame);
                        }
                        Some(Err(error)) => return self.broke(self.channel.explain_begun(&error)),
                        None => {
                            let half = messages.end();
                            let ended = match body.trailers().await {
                                Ok(Some(trailers)) => match self.channel.check_size(&trailers) {
                                    Ok(()) => status::read(&trailers),
                                    Err(error) => Some(Err(error)),
                                },
                                Ok(None) => None,
                                Err(error) => Some(Err(self.channel.explain_begun(&error))),
                            };
                            self.state = State::Ended;
                            return match (ended, half) {
                                (Some(Err(error)), _) => Err(error),
                                (_, Err(broken)) => Err(self.malformed(&broken)),
                                (Some(Ok(())), Ok(())) => Ok(None),
                                (None, Ok(())) => Err(CallError::Lost {
                                    target: self.channel.headers.target.clone(),
                                    reason: "the stream ended without a status".into(),
                                }),
                            };
                        }
                    }
                }
                State::Ended => return Ok(None),
            }
        }
    }

    /// The one message of a call that has one reply. An error status counts more than a message.
    ///
    /// # Errors
    /// As `next`; `TooLarge`; `Protocol` when there is no message.
    pub(super) async fn only(&mut self) -> Result<Received, CallError> {
        let message = self.next().await?;
        let message = match message {
            Some(Incoming::Message(arrival)) => arrival,
            Some(Incoming::Skipped(_, why)) => return Err(why),
            None => return Err(self.channel.protocol("an OK without a message".into())),
        };
        match self.next().await? {
            None => Ok(message),
            Some(_) => Err(self.channel.protocol("two messages where one belongs".into())),
        }
    }

    /// The error of calls that still wait when the stream is over without an error of its own.
    pub(super) fn over(&self, reason: &str) -> CallError {
        CallError::Lost { target: self.channel.headers.target.clone(), reason: reason.into() }
    }

    fn broke<T>(&mut self, error: CallError) -> Result<T, CallError> {
        self.state = State::Ended;
        Err(error)
    }

    fn malformed(&self, broken: &Broken) -> CallError {
        if let Broken::TooLong(_) = broken {
            return self.over(&broken.to_string());
        }
        self.channel.protocol(format!("it sends {broken}"))
    }

    /// A response that is not gRPC: from a proxy on the way, or from another kind of server.
    fn judge(&self, code: StatusCode, headers: &HeaderMap) -> Result<(), CallError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_grpc = kind.is_some_and(|kind| kind.starts_with("application/grpc"));
        let kind = kind.unwrap_or("nothing");
        match (code, is_grpc) {
            (StatusCode::OK, true) => Ok(()),
            (StatusCode::OK, false) => Err(self.channel.protocol(format!(
                "it answers with the content type `{kind:.60}`, expected `application/grpc`"
            ))),
            (code, _) => Err(CallError::Gateway {
                code: GatewayCode::Http(code.as_u16()),
                message: format!("an answer with the content type `{kind:.60}`, not gRPC's"),
                retry_after: None,
            }),
        }
    }
}

/// A connection that remembers its first error.
struct Watched<T> {
    io: T,
    target: Target,
    fate: Arc<Fate>,
}

impl<T> Watched<T> {
    fn note<R>(&self, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if let Poll::Ready(Err(error)) = &result {
            self.fate.error.get_or_init(|| {
                tls::failure_behind(&self.target, error).unwrap_or_else(|| CallError::Lost {
                    target: self.target.clone(),
                    reason: error.to_string(),
                })
            });
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.note(result)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.note(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
