//! One WebSocket connection: its handshake, and the task that reads and writes it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::super::connect::{Connection, Connector};
use super::super::http1::{self, Marks, RequestHead, Response, ending};
use super::super::pending::{Named, Pending, Received, named, request_id};
use super::super::tls;
use super::frame::{self, Event, Passed, Reader, Violation};
use crate::client::memory::Bounds;
use crate::client::{CallError, GatewayCode};
use crate::wire::{Encoded, Form, RequestId, Target};

/// Requests that wait for the socket. Those in flight are bounded by who sends them; this many of
/// them, at the most, are ahead of a request that comes now, and who comes later waits outside.
const QUEUE: usize = 1024;
/// Frames are gathered up to here and leave in one write; a longer one leaves alone.
const WRITE_BYTES: usize = 64 << 10;
/// A buffer that a large request has made larger than this is given back.
const KEPT_BYTES: usize = 4 * WRITE_BYTES;
/// What a read has room for: a good many small replies.
const READ_BYTES: usize = 16 << 10;
/// How long a gateway may take to close after we said that nothing more comes. It has no request
/// left to finish then.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// What tells a gateway that no more requests come: Python's `bytes(True)`.
const END_OF_REQUESTS: &[u8] = &[0];

/// A request on its way to the socket.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: RequestId,
    pub(super) message: Encoded,
}

/// An open connection. Dropping its queue closes it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) queue: mpsc::Sender<Outgoing>,
    pub(super) pending: Arc<Pending>,
}

/// What all links of a session have in common.
pub(super) struct Opening {
    pub(super) connector: Connector,
    /// Header lines of the handshake but for WebSocket's own.
    pub(super) headers: String,
    pub(super) form: Form,
    pub(super) bounds: Bounds,
}

impl Opening {
    /// Connects, shakes hands and starts the task that drives the connection.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Lost`, and `Protocol` or `Gateway` when the handshake is refused.
    pub(super) async fn open(&self, pending: Arc<Pending>) -> Result<Link, CallError> {
        let io = self.connector.connect().await?;
        let limit = self.connector.limit();
        let (io, input) = timeout(limit, self.shake_hands(io))
            .await
            .map_err(|_| self.protocol(format!("no answer to the handshake within {limit:?}")))??;
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let driver = Driver {
            io,
            reader: Reader::new(input, &self.bounds),
            first: None,
            out: Vec::new(),
            out_at: 0,
            outgoing,
            pending: pending.clone(),
            target: self.connector.target().clone(),
            form: self.form,
            message_bytes_max: self.bounds.message_bytes_max,
            answered: false,
        };
        tokio::spawn(driver.run());
        Ok(Link { queue, pending })
    }

    async fn shake_hands(&self, io: Connection) -> Result<(Connection, BytesMut), CallError> {
        let key = generate_key();
        let headers = format!(
            "{}connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: bytes\r\nsec-websocket-key: {key}\r\n",
            self.headers
        );
        let head = RequestHead::new("GET", "/", &headers);
        let mut connection = http1::Connection::new(io);
        let mut marks = Marks::default();
        let limit = self.bounds.message_bytes_max;
        let exchange = connection.exchange(&head, None, &self.bounds, &mut marks).await;
        let response = exchange.map_err(|b| {
            b.into_error(self.connector.target(), "WebSocket", limit, marks.first.is_some())
        })?;
        match response.status {
            101 => {
                self.check(&response, &key)?;
                Ok(connection.into_parts())
            }
            // These come from a proxy, or a gateway that cannot at the moment.
            status @ (401 | 407 | 408 | 429 | 500..) => Err(CallError::Gateway {
                code: GatewayCode::Http(status),
                message: response.words(),
                retry_after: response.retry_after(),
            }),
            status => {
                let words = match response.header("location") {
                    Some(location) => format!("it has moved to `{location}`"),
                    None => response.words(),
                };
                let reason = format!("it answers the handshake with status {status}: {words}");
                Err(self.protocol(reason))
            }
        }
    }

    /// A gateway names no subprotocol, whatever was asked for.
    fn check(&self, response: &Response, key: &str) -> Result<(), CallError> {
        if response.header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
            return Err(self.protocol("its answer to the handshake proves nothing".into()));
        }
        if response.header("sec-websocket-extensions").is_some_and(|e| !e.is_empty()) {
            return Err(self.protocol("it uses an extension that was not asked for".into()));
        }
        match response.header("sec-websocket-protocol") {
            None | Some("bytes") => Ok(()),
            Some(other) => Err(self.protocol(format!("it speaks the subprotocol `{other}`"))),
        }
    }

    fn protocol(&self, reason: String) -> CallError {
        let target = self.connector.target().clone();
        CallError::Protocol { target, expected: "WebSocket", reason, named: false }
    }
}

/// Reads and writes one connection, in one task: it never waits for one while the other could go on,
/// so a server that reads only after it was read from does not stop us.
struct Driver {
    io: Connection,
    reader: Reader,
    /// When the first byte of a message came that is not yet whole.
    first: Option<Instant>,
    /// Frames for the socket; up to `out_at` they are with it.
    out: Vec<u8>,
    out_at: usize,
    outgoing: mpsc::Receiver<Outgoing>,
    pending: Arc<Pending>,
    target: Target,
    form: Form,
    message_bytes_max: usize,
    /// Whether a reply has come.
    answered: bool,
}

/// How a connection comes to its end.
enum End {
    /// Nobody is left who could send.
    Done,
    /// It ended by itself.
    Error(CallError),
}

/// Whoever waits hears of the end, also when the runtime drops the task.
struct EndOnDrop(Arc<Pending>, Target);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let reason = "its task was stopped".into();
        self.0.end(CallError::Lost { target: self.1.clone(), reason });
    }
}

impl Driver {
    async fn run(mut self) {
        let guard = EndOnDrop(self.pending.clone(), self.target.clone());
        match poll_fn(|cx| self.poll(cx, true)).await {
            End::Error(error) => guard.0.end(error),
            End::Done => {
                // The gateway closes when it has read this; what it says until then is for nobody.
                self.push(frame::BINARY, END_OF_REQUESTS);
                let _ = timeout(CLOSE_WAIT, poll_fn(|cx| self.poll(cx, false))).await;
            }
        }
        // Our answer to a close frame, if one came.
        let _ = timeout(CLOSE_WAIT, poll_fn(|cx| self.poll_write(cx))).await;
    }

    /// Goes on with whatever can go on; ready at the end of the connection.
    fn poll(&mut self, cx: &mut Context<'_>, takes_requests: bool) -> Poll<End> {
        loop {
            let mut done = false;
            let mut blocked = false;
            while !blocked {
                if takes_requests && self.out.is_empty() {
                    done = self.take_requests(cx);
                }
                if self.out.is_empty() {
                    break;
                }
                match self.poll_write(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(End::Error(self.hang_up(cx, &error)));
                    }
                    Poll::Pending => blocked = true,
                }
            }
            if let Poll::Ready(error) = self.poll_read(cx) {
                return Poll::Ready(End::Error(error));
            }
            // Pongs came in between.
            if !blocked && !self.out.is_empty() {
                continue;
            }
            return if done { Poll::Ready(End::Done) } else { Poll::Pending };
        }
    }

    /// What a failed write means: if the server said why it hung up, then that.
    fn hang_up(&mut self, cx: &mut Context<'_>, error: &io::Error) -> CallError {
        match self.poll_read(cx) {
            Poll::Ready(said) => said,
            Poll::Pending => self.lost(error),
        }
    }

    /// Gathers requests for one write; true when no more can come.
    fn take_requests(&mut self, cx: &mut Context<'_>) -> bool {
        while self.out.len() < WRITE_BYTES {
            match self.outgoing.poll_recv(cx) {
                Poll::Ready(Some(Outgoing { id, message })) => {
                    if self.pending.written(id) {
                        let (head, tail) = (message.head(), message.tail());
                        let pieces: [&[u8]; 3] = [&head, &id.digits(), &tail];
                        frame::write(&mut self.out, frame::BINARY, &pieces, rand::random());
                    }
                }
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }

    /// Hands what is in `out` to the socket; ready when all of it is there.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_at < self.out.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.out_at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.out_at += count,
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        self.out_at = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads all there is and hands out the replies in it; ready when nothing more can come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        loop {
            let input = &mut self.reader.input;
            let room = input.capacity() - input.len();
            if room == 0 || input.is_empty() && room < READ_BYTES / 4 {
                input.reserve(READ_BYTES);
            }
            match ready!(pin!(self.io.read_buf(input)).poll(cx)) {
                Ok(0) => {
                    return Poll::Ready(self.lost(&io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(self.lost(&error)),
            }
            if let Err(error) = self.take_events() {
                return Poll::Ready(error);
            }
        }
    }

    fn take_events(&mut self) -> Result<(), CallError> {
        let now = Instant::now();
        loop {
            match self.reader.next() {
                Ok(Some(Event::Message(message))) => {
                    let first = self.first.take().unwrap_or(now);
                    self.deliver(message, first, now)?;
                }
                Ok(Some(Event::Passed(beginning, why))) => {
                    self.first = None;
                    let error = match why {
                        Passed::TooLarge => CallError::TooLarge { limit: self.message_bytes_max },
                        Passed::NoRoom(full) => full.into(),
                    };
                    match request_id(&beginning) {
                        Some(id) => self.pending.fail(id, error),
                        // It may be anyone's.
                        None => return Err(error),
                    }
                }
                Ok(Some(Event::TooLong)) => {
                    let reason = "the gateway sends a response that is too long to be passed over";
                    let (target, reason) = (self.target.clone(), reason.into());
                    return Err(CallError::Lost { target, reason });
                }
                Ok(Some(Event::Ping(payload))) => {
                    // A server that sends pings and reads nothing goes without some answers.
                    if self.out.len() < WRITE_BYTES {
                        self.push(frame::PONG, &payload);
                    }
                }
                Ok(Some(Event::Close { code, reason })) => {
                    let echo = code.map(u16::to_be_bytes);
                    self.push(frame::CLOSE, echo.as_ref().map_or(&[], |code| &code[..]));
                    return Err(self.closed(code, reason));
                }
                Ok(None) => {
                    if self.reader.is_amid_message() {
                        self.first.get_or_insert(now);
                    }
                    return Ok(());
                }
                Err(Violation(what)) => {
                    self.push(frame::CLOSE, &frame::PROTOCOL_ERROR.to_be_bytes());
                    return Err(self.protocol(format!("it sent {what}")));
                }
            }
        }
    }

    fn deliver(&mut self, message: Bytes, first: Instant, done: Instant) -> Result<(), CallError> {
        let named = named(&message);
        // An answer without an id is odd, and counted; what is no DataRequest at all is not Jina.
        if !matches!(named, Named::Id(_))
            && (message.is_empty() || self.form.decode_head(&message).is_err())
        {
            return Err(self.protocol("it sent no DataRequest with a request id".into()));
        }
        self.answered = true;
        self.pending.arrived(named, Received { message, first, done });
        Ok(())
    }

    fn push(&mut self, opcode: u8, payload: &[u8]) {
        frame::write(&mut self.out, opcode, &[payload], rand::random());
    }

    /// The meaning of a close frame.
    fn closed(&self, code: Option<u16>, reason: String) -> CallError {
        let Some(code) = code.filter(|code| !matches!(code, 1000 | 1001)) else {
            let code = code.map_or_else(|| "no code".into(), |code| format!("code {code}"));
            let colon = if reason.is_empty() { "" } else { ": " };
            let reason = format!("the gateway closed it ({code}{colon}{reason})");
            return CallError::Lost { target: self.target.clone(), reason };
        };
        let message = match code {
            _ if !reason.is_empty() => reason,
            1002 => "protocol error".into(),
            1003 => "data of a kind it does not take".into(),
            1007 => "data that is not what it should be".into(),
            1008 => "against its policy".into(),
            1009 => "message too big".into(),
            1011 => "internal error".into(),
            1012 => "it restarts".into(),
            1013 => "try again later".into(),
            _ => "no reason given".into(),
        };
        CallError::Gateway { code: GatewayCode::Close(code), message, retry_after: None }
    }

    /// The end of a connection without a close frame.
    fn lost(&self, error: &io::Error) -> CallError {
        tls::failure_behind(&self.target, error).unwrap_or_else(|| CallError::Lost {
            target: self.target.clone(),
            reason: format!(
                "{} without a close frame (1006){}",
                ending(error),
                // One that has answered can read us: it was stopped, or killed.
                if self.answered {
                    ""
                } else {
                    ", as gateways do on a request that they cannot read (another family, a bad \
                     `target_executor`)"
                }
            ),
        })
    }

    fn protocol(&self, reason: String) -> CallError {
        let target = self.target.clone();
        CallError::Protocol { target, expected: "Jina over WebSocket", reason, named: false }
    }
}
