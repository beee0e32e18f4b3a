//! One WebSocket connection: how it is written and read.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::super::connect::Connection;
use super::super::http1::ending;
use super::super::pending::{Named, Received, named, request_id};
use super::super::rows::Key;
use super::super::tls;
use super::core::Core;
use super::frame::{self, Event, Passed, Reader, Violation};
use super::opening::Opening;
use crate::client::{CallError, GatewayCode};
use crate::wire::{Form, Target};

/// Frames are gathered up to this size and sent in one write; a longer one is sent alone.
const WRITE_BYTES: usize = 64 << 10;
/// A buffer that a large request has grown beyond this is released.
const KEPT_BYTES: usize = 4 * WRITE_BYTES;
/// Size of a read: many small replies.
const READ_BYTES: usize = 64 << 10;
/// Reads from one connection before others get their turn.
const READS_AT_ONCE: usize = 4;
/// Tells a gateway that no more requests come: Python's `bytes(True)`.
const END_OF_REQUESTS: &[u8] = &[0];

/// An open connection. Neither reading nor writing waits while the other could continue, so a
/// server that reads only after its replies were read does not stop us.
pub(super) struct Link {
    io: Connection,
    at: usize,
    pub(super) waker: Waker,
    /// Requests waiting for the socket.
    pub(super) queue: VecDeque<Key>,
    reader: Reader,
    /// When the first byte of an incomplete message arrived.
    first: Option<Instant>,
    /// Frames for the socket, which has taken them up to `out_at`.
    out: Vec<u8>,
    out_at: usize,
    /// Where frames of requests begin in the part of `out` that the socket has not taken.
    marks: VecDeque<(usize, Key)>,
    target: Target,
    form: Form,
    message_bytes_max: usize,
    /// Whether a reply has arrived.
    answered: bool,
    /// Whether we have announced that nothing more comes.
    finished: bool,
}

/// How a connection ends.
pub(super) enum End {
    /// No sender is left.
    Done,
    /// It ended by itself.
    Error(CallError),
}

impl Link {
    pub(super) fn new(
        at: usize,
        io: Connection,
        input: BytesMut,
        opening: &Opening,
        waker: Waker,
    ) -> Link {
        Link {
            io,
            at,
            waker,
            queue: VecDeque::new(),
            reader: Reader::new(input, &opening.bounds),
            first: None,
            out: Vec::new(),
            out_at: 0,
            marks: VecDeque::new(),
            target: opening.connector.target().clone(),
            form: opening.form,
            message_bytes_max: opening.bounds.message_bytes_max,
            answered: false,
            finished: false,
        }
    }

    /// Announces that nothing more comes. The gateway closes once it has read this; whatever it
    /// sends until then is ignored.
    pub(super) fn finish(&mut self) {
        self.push(frame::BINARY, END_OF_REQUESTS);
        self.finished = true;
    }

    /// Writes what is pending and, if `reads`, reads what has arrived; ready at the end of the
    /// connection. `count` is the number of requests waiting for their replies here.
    pub(super) fn poll(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        reads: bool,
        count: &mut usize,
    ) -> Poll<End> {
        for reads in [reads, false] {
            loop {
                self.take_requests(core);
                if self.out.is_empty() {
                    break;
                }
                match self.poll_write(Some(core), cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        let error = self.hang_up(core, cx, count, &error);
                        return Poll::Ready(self.ended(error));
                    }
                    Poll::Pending => break,
                }
            }
            if !reads {
                break;
            }
            if let Poll::Ready(error) = self.poll_read(core, cx, count) {
                return Poll::Ready(self.ended(error));
            }
            // Pongs were added in between.
        }
        Poll::Pending
    }

    fn ended(&self, error: CallError) -> End {
        if self.finished { End::Done } else { End::Error(error) }
    }

    /// Sends the closing messages, such as the answer to a close frame.
    pub(super) fn say(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_write(None, cx).map(drop)
    }

    /// The error for a failed write: the server's reason for hanging up, if it gave one.
    fn hang_up(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        count: &mut usize,
        error: &io::Error,
    ) -> CallError {
        match self.poll_read(core, cx, count) {
            Poll::Ready(said) => said,
            Poll::Pending => self.lost(error),
        }
    }

    /// Gathers requests for one write.
    fn take_requests(&mut self, core: &mut Core) {
        if self.finished {
            return;
        }
        if self.out.capacity() == 0 && !self.queue.is_empty() {
            self.out = std::mem::take(&mut core.out);
        }
        while self.out.len() < WRITE_BYTES {
            let Some(key) = self.queue.pop_front() else { return };
            let digits = core.rows.id(key).digits();
            // Requests abandoned in the meantime need not be sent.
            let Some(row) = core.rows.get(key) else { continue };
            let (head, tail) = row.message.pieces();
            self.marks.push_back((self.out.len(), key));
            frame::write(&mut self.out, frame::BINARY, &[head, &digits, tail], rand::random());
        }
    }

    /// Hands `out` to the socket; ready when the socket has taken all of it.
    fn poll_write(
        &mut self,
        mut core: Option<&mut Core>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.out_at < self.out.len() {
            // Taken before the write, because the kernel may send at once.
            let now = Instant::now();
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.out_at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.out_at += count,
            }
            while let Some((_, key)) = self.marks.front().filter(|(at, _)| *at < self.out_at) {
                if let Some(row) = core.as_mut().and_then(|core| core.rows.get(*key)) {
                    row.written = Some(now);
                }
                self.marks.pop_front();
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.out_at = 0;
        let mut out = std::mem::take(&mut self.out);
        if let Some(core) = core {
            out.clear();
            out.shrink_to(KEPT_BYTES);
            core.out = out;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what has arrived and hands out its replies; ready when nothing more can come.
    fn poll_read(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        count: &mut usize,
    ) -> Poll<CallError> {
        for _ in 0..READS_AT_ONCE {
            // The beginning of a message stays with this connection; otherwise the buffer is
            // shared.
            let shares = self.reader.input.is_empty();
            if shares {
                self.reader.input = std::mem::take(&mut core.input);
            }
            let read = self.read(core, cx, count);
            if shares {
                let rest = BytesMut::from(&self.reader.input[..]);
                core.input = std::mem::replace(&mut self.reader.input, rest);
                core.input.clear();
            }
            if let Err(error) = ready!(read) {
                return Poll::Ready(error);
            }
        }
        // There may be more, once others have had their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once.
    fn read(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
        count: &mut usize,
    ) -> Poll<Result<(), CallError>> {
        let input = &mut self.reader.input;
        let room = input.capacity() - input.len();
        if room == 0 || input.is_empty() && room < READ_BYTES / 4 {
            input.reserve(READ_BYTES);
        }
        Poll::Ready(match ready!(pin!(self.io.read_buf(input)).poll(cx)) {
            Ok(0) => Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => self.take_events(core, count),
            Err(error) => Err(self.lost(&error)),
        })
    }

    fn take_events(&mut self, core: &mut Core, count: &mut usize) -> Result<(), CallError> {
        let now = Instant::now();
        loop {
            match self.reader.next() {
                Ok(Some(Event::Message(message))) => {
                    let first = self.first.take().unwrap_or(now);
                    self.deliver(core, count, message, first, now)?;
                }
                Ok(Some(Event::Passed(beginning, why))) => {
                    self.first = None;
                    let error = match why {
                        Passed::TooLarge => CallError::TooLarge { limit: self.message_bytes_max },
                        Passed::NoRoom(full) => full.into(),
                    };
                    match request_id(&beginning) {
                        Some(id) => {
                            let failed = core.failed(self.at, Named::Id(id), error);
                            *count = count.saturating_sub(usize::from(failed));
                        }
                        // It may belong to any request.
                        None => return Err(error),
                    }
                }
                Ok(Some(Event::TooLong)) => {
                    let reason = "the gateway sent a response too large to skip";
                    let (target, reason) = (self.target.clone(), reason.into());
                    return Err(CallError::Lost { target, reason });
                }
                Ok(Some(Event::Ping(payload))) => {
                    // A server that sends pings but does not read misses some answers.
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

    fn deliver(
        &mut self,
        core: &mut Core,
        count: &mut usize,
        message: Bytes,
        first: Instant,
        done: Instant,
    ) -> Result<(), CallError> {
        let named = named(&message);
        // An answer without an id is odd, and counted; one that is not a DataRequest at all is not
        // Jina's.
        if !matches!(named, Named::Id(_))
            && (message.is_empty() || self.form.decode_head(&message).is_err())
        {
            return Err(self.protocol("it sent no DataRequest with a request id".into()));
        }
        self.answered = true;
        let arrived = core.arrived(self.at, named, Received { message, first, done });
        *count = count.saturating_sub(usize::from(arrived));
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
            1003 => "data of an unsupported type".into(),
            1007 => "invalid data".into(),
            1008 => "policy violation".into(),
            1009 => "message too big".into(),
            1011 => "internal error".into(),
            1012 => "service restart".into(),
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
                // A gateway that has answered can read us, so it was stopped or killed.
                if self.answered {
                    ""
                } else {
                    ", as gateways do when they cannot read a request (another family, a bad \
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
