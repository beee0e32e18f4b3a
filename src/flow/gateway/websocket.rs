//! WebSocket: requests and responses as frames of one connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as Frame};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::PostV1;
use super::failure::CallFailure;
use super::handle::{Answer, Gateway, MESSAGE_MAX, garbage};
use super::outbox::Outbox;
use super::post::message_v1;
use super::reply::{self, Body};
use super::side;
use crate::wire::{Family, Form, Protocol};

/// The frame that ends the requests: Python's `bytes(True)`.
const END: &[u8] = &[0];

/// Maximum total size in bytes of the requests that one connection processes at a time.
const IN_WORK_BYTES_MAX: usize = 256 << 20;

/// Maximum number of frames handled before other connections get their turn.
const BURST: usize = 256;

/// Signals that end a connection.
pub(super) struct Ends {
    /// Finish the requests that are being processed.
    pub(super) stop: CancellationToken,
    /// Close immediately.
    pub(super) abort: CancellationToken,
}

/// The content of frames, by the requested subprotocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// `bytes`: a `DataRequestProto` each.
    Binary,
    /// Anything else: a JSON object each.
    Json,
}

/// Answers one HTTP request: usually the one that upgrades to WebSocket.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    ends: Ends,
    tasks: &TaskTracker,
    mut request: Request<Incoming>,
) -> Result<reply::Reply, Infallible> {
    let headers = request.headers();
    let upgrade = is_asked_for(headers);
    let asked = headers.get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
    let mode = if asked == Some(b"bytes") { Mode::Binary } else { Mode::Json };
    let path = request.uri().path().to_owned();
    let key = headers.get(SEC_WEBSOCKET_KEY).cloned();
    let (true, Some(key)) = (upgrade, key) else {
        let method = request.method().clone();
        reply::skip(request.into_body()).await;
        return Ok(match side::route(&gateway, Protocol::WebSocket, &path) {
            None => reply::not_found(),
            Some(reply) if method == Method::GET => reply,
            Some(_) => reply::not_allowed(&Method::GET),
        });
    };
    let dry_run = match path.as_str() {
        "/" => false,
        "/dry_run" => true,
        _ => return Ok(forbidden()),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tasks.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let Ends { stop, abort } = ends;
        let conversation = async {
            match dry_run {
                true => answer_dry_run(&gateway, socket, mode).await,
                false => Conversation::new(gateway, socket, mode).run(stop).await,
            }
        };
        tokio::select! {
            () = abort.cancelled() => (),
            () = conversation => (),
        }
    });
    // The gateway never confirms a subprotocol.
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .expect("base64 makes a header value");
    reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply)
}

/// Whether a request asks for an upgrade to WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The answer to a WebSocket handshake where WebSocket is not served.
pub(super) fn forbidden() -> reply::Reply {
    let mut reply = Response::new(Body::default());
    *reply.status_mut() = StatusCode::FORBIDDEN;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Answers at once, without waiting for a frame.
async fn answer_dry_run<S>(gateway: &Gateway, mut socket: WebSocketStream<S>, mode: Mode)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match gateway.dry_run() {
        Err(error) => close(&mut socket, CloseCode::Error, &error.close_reason()).await,
        Ok(()) => {
            let success = match mode {
                Mode::Binary => Frame::Binary(Bytes::new()),
                Mode::Json => Frame::Text("{}".into()),
            };
            if socket.send(success).await.is_ok() {
                close(&mut socket, CloseCode::Normal, "").await;
            }
        }
    }
}

/// The outcome of a request, and the request's size in bytes.
type Done = (Result<Answer, CallFailure>, usize);
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// One connection.
struct Conversation<S> {
    gateway: Arc<Gateway>,
    socket: WebSocketStream<S>,
    mode: Mode,
    /// At most `prefetch` requests.
    in_work: FuturesUnordered<Work>,
    bytes_in_work: usize,
    outbox: Outbox,
    /// Whether requests may still come.
    open: bool,
}

/// How a connection ends.
enum Ending {
    /// With a close frame.
    Close(CloseCode, String),
    /// Without a close frame, as when a real gateway fails.
    Drop,
}

enum Event {
    Frame(Option<Result<Frame, SocketError>>),
    Done(Done),
    Stop,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    fn new(gateway: Arc<Gateway>, socket: WebSocketStream<S>, mode: Mode) -> Conversation<S> {
        Conversation {
            gateway,
            socket,
            mode,
            in_work: FuturesUnordered::new(),
            bytes_in_work: 0,
            outbox: Outbox::default(),
            open: true,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut stopped = false;
        let ending = loop {
            if !self.open && self.in_work.is_empty() {
                self.outbox.end();
                let code = if stopped { CloseCode::Restart } else { CloseCode::Normal };
                break match self.write().await {
                    Ok(()) => Ending::Close(code, String::new()),
                    Err(_) => Ending::Drop,
                };
            }
            let event = tokio::select! {
                () = stop.cancelled(), if !stopped => Event::Stop,
                Some(done) = self.in_work.next() => Event::Done(done),
                frame = self.socket.next(), if self.reads() => Event::Frame(frame),
            };
            if matches!(event, Event::Stop) {
                (stopped, self.open) = (true, false);
                continue;
            }
            if let Err(ending) = self.handle_all(event).await {
                break ending;
            }
        };
        match ending {
            Ending::Drop => (),
            Ending::Close(code, reason) => close(&mut self.socket, code, &reason).await,
        }
    }

    fn reads(&self) -> bool {
        self.open
            && self.in_work.len() < self.gateway.prefetch
            && self.bytes_in_work < IN_WORK_BYTES_MAX
    }

    /// Handles an event and all other pending ones, so that answers are sent together.
    async fn handle_all(&mut self, event: Event) -> Result<(), Ending> {
        let mut next = Some(event);
        for _ in 0..BURST {
            match next.take() {
                None | Some(Event::Stop) => break,
                Some(Event::Done((done, bytes))) => {
                    self.bytes_in_work -= bytes;
                    self.settle(done)?;
                }
                Some(Event::Frame(frame)) => self.take(frame)?,
            }
            while let Some(bytes) = self.outbox.next() {
                self.feed(bytes).await?;
            }
            next = match self.in_work.next().now_or_never() {
                Some(Some(done)) => Some(Event::Done(done)),
                _ if self.reads() => self.socket.next().now_or_never().map(Event::Frame),
                _ => None,
            };
        }
        if let Some(Event::Done((done, bytes))) = next {
            self.bytes_in_work -= bytes;
            self.settle(done)?;
        } else if let Some(Event::Frame(frame)) = next {
            self.take(frame)?;
        }
        self.write().await
    }

    /// Takes a frame. An answer that is ready at once is put into the outbox.
    fn take(&mut self, frame: Option<Result<Frame, SocketError>>) -> Result<(), Ending> {
        let bytes = match (frame, self.mode) {
            (Some(Ok(Frame::Binary(bytes))), Mode::Binary) => bytes,
            (Some(Ok(Frame::Text(text))), Mode::Json) => return self.take_json(&text),
            (Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))), _) => return Ok(()),
            // The library has already prepared the close frame that answers it.
            (Some(Ok(Frame::Close(_))), _) => {
                return Err(Ending::Close(CloseCode::Normal, String::new()));
            }
            _ => return Err(Ending::Drop),
        };
        if bytes == END {
            self.open = false;
            return Ok(());
        }
        let (gateway, length) = (self.gateway.clone(), bytes.len());
        self.start(
            length,
            async move { (gateway.answer(bytes, Protocol::WebSocket).await, length) },
        )
    }

    fn take_json(&mut self, text: &str) -> Result<(), Ending> {
        let map = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(Value::Array(_)) => return Ok(()), // a real gateway looks past it
            _ => return Err(Ending::Drop),
        };
        if map.is_empty() {
            self.open = false;
            return Ok(());
        }
        if self.gateway.family == Family::V2 || !map.contains_key("data") {
            return Err(Ending::Drop);
        }
        let post = PostV1::read(Some(map.into()), true).map_err(|_| Ending::Drop)?;
        let message = message_v1(post, None).map_err(|_| Ending::Drop)?;
        let (gateway, length) = (self.gateway.clone(), text.len());
        self.start(length, async move {
            let note = gateway.arrived(&message, Protocol::WebSocket);
            let answered = async {
                let answer = gateway.handle(message).await?;
                let faults = answer.faults;
                let bytes = match faults.garbage {
                    true => garbage(),
                    false => {
                        let answer = answer.into_request(Family::V1)?;
                        Form::WebSocketJson.encode_response(&answer)?
                    }
                };
                Ok(Answer { bytes, faults })
            }
            .await;
            note.departs(answered.as_ref().is_ok_and(|answer: &Answer| !answer.faults.drop));
            (answered, length)
        })
    }

    fn start(
        &mut self,
        length: usize,
        work: impl Future<Output = Done> + Send + 'static,
    ) -> Result<(), Ending> {
        let mut work: Work = Box::pin(work);
        // An answer that is ready immediately need not wait in the set.
        match (&mut work).now_or_never() {
            Some((done, _)) => self.settle(done),
            None => {
                self.bytes_in_work += length;
                self.in_work.push(work);
                Ok(())
            }
        }
    }

    fn settle(&mut self, done: Result<Answer, CallFailure>) -> Result<(), Ending> {
        match done {
            Ok(reply) if reply.faults.drop => Err(Ending::Drop),
            Ok(reply) => {
                self.outbox.put(reply);
                Ok(())
            }
            Err(CallFailure::Network { error, .. }) => {
                Err(Ending::Close(CloseCode::Error, error.close_reason()))
            }
            Err(_) => Err(Ending::Drop),
        }
    }

    /// Puts an answer into the socket's buffer.
    async fn feed(&mut self, bytes: Bytes) -> Result<(), Ending> {
        let frame = match self.mode {
            Mode::Binary => Frame::Binary(bytes),
            Mode::Json => match bytes.try_into() {
                Ok(text) => Frame::Text(text),
                // Garbage is not text, so it is sent as binary.
                Err(_) => Frame::Binary(garbage()),
            },
        };
        self.socket.feed(frame).await.map_err(|_| Ending::Drop)
    }

    /// Sends all answers that are ready.
    async fn write(&mut self) -> Result<(), Ending> {
        while let Some(bytes) = self.outbox.next() {
            self.feed(bytes).await?;
        }
        self.socket.flush().await.map_err(|_| Ending::Drop)
    }
}

async fn close<S>(socket: &mut WebSocketStream<S>, code: CloseCode, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// How long the other side may take to close.
    const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);
    let frame = CloseFrame { code, reason: reason.to_owned().into() };
    let goodbye = async {
        // It fails if the other side has already sent a close frame. Reading sends the answer to that, and
        // waits for the answer to ours.
        let _ = socket.close(Some(frame)).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    // After the timeout, the connection is dropped.
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}
