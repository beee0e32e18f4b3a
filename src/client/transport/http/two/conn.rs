//! One connection: what it sends, what it reads, and its headers.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Instant;

use super::super::super::http1::Whole;
use super::super::super::http2::hpack::{self, Block};
use super::super::super::http2::socket::write_out;
use super::super::super::http2::{Code, Event, Message as _};
use super::super::super::rows::Rows;
use super::super::{Inner, content};
use super::{
    Call, Came, Conn, Content, Core, Row, goodbye, lost, not_http_2, not_taken, of_socket,
    plain_only, too_large, unlike,
};
use crate::client::{CallError, Request};
use crate::wire::Protocol;

/// Size of a read.
const READ_BYTES: usize = 64 << 10;
/// Reads from one connection before others get their turn.
const READS_AT_ONCE: usize = 4;
/// Limit of reads to learn what a server said before it hung up.
const HANG_UP_READS_MAX: usize = 64;
/// Limit of response headers, in bytes as HTTP/1.1 writes them.
const HEADERS_MAX: usize = 64 << 10;
/// Limit of interim responses before the final one.
const INTERIM_MAX: u8 = 16;

impl Conn {
    /// Fills one buffer with as much as fits and writes it, until nothing is left or the socket
    /// takes no more.
    pub(super) fn send(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), CallError> {
        self.leaves |= self.http2.is_used_up();
        loop {
            self.fill(core);
            if self.http2.out().is_empty() {
                return Ok(());
            }
            let written = |key, now| {
                if let Some(row) = core.rows.get(key) {
                    row.written.get_or_insert(now);
                }
            };
            match write_out(&mut *self.io, &mut self.http2, &mut self.positions, cx, written) {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(error)) => return Err(self.hang_up(core, cx, &error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// The error for a failed write: the server's reason for hanging up, if it gave one.
    fn hang_up(&mut self, core: &mut Core, cx: &mut Context<'_>, error: &io::Error) -> CallError {
        for _ in 0..HANG_UP_READS_MAX {
            match self.read(core, cx) {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => return error,
            }
        }
        of_socket(&core.inner, error)
    }

    /// Makes as many frames as there is room for.
    fn fill(&mut self, core: &mut Core) {
        let Core { inner, rows, came, .. } = core;
        let Conn { unsent, http2, .. } = self;
        unsent.retain(|stream| {
            let Some(entry) = http2.stream(*stream) else { return false };
            let Some((body, from)) = entry.user.rest.take() else { return false };
            let (sent, _) = http2.send(*stream, &body, from, true);
            let left = sent < body.len();
            if left && let Some(entry) = http2.stream(*stream) {
                entry.user.rest = Some((body, sent));
            }
            left
        });
        while !self.leaves && self.http2.has_room() && self.http2.streams_free() > 0 {
            let Some(key) = self.waiting.pop_front() else { break };
            let Some(row) = rows.get(key) else { continue };
            let (block, body) = match opening(inner, row) {
                Ok(opening) => opening,
                Err(error) => {
                    came.push(Came::Failure(key, error));
                    continue;
                }
            };
            let (head, interim, rest) = (None, 0, None);
            let (body_in, claim) = (BytesMut::new(), inner.bounds.memory.claim());
            let call = Call { key, head, body: body_in, claim, interim, rest };
            self.positions.put(self.http2.position(), key);
            let Some(body) = body.filter(|body| !body.is_empty()).map(Content) else {
                row.stream = self.http2.open_without_body(&block, call);
                continue;
            };
            row.stream = self.http2.open(&block, false, call);
            let (sent, _) = self.http2.send(row.stream, &body, 0, true);
            if sent < body.len()
                && let Some(entry) = self.http2.stream(row.stream)
            {
                entry.user.rest = Some((body, sent));
                self.unsent.push(row.stream);
            }
        }
    }

    /// Reads what has arrived. Returns whether there may be more; if not, the waker is registered.
    pub(super) fn read(
        &mut self,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<bool, CallError> {
        for _ in 0..READS_AT_ONCE {
            let mut input = std::mem::take(&mut core.input);
            input.reserve(READ_BYTES);
            input.extend_from_slice(&self.input);
            self.input.clear();
            let read = pin!(self.io.read_buf(&mut input)).poll(cx);
            let taken = match read {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(0)) => Err(lost(&core.inner, "the server closed the connection")),
                Poll::Ready(Ok(_)) => self.take(core, &mut input).map(|()| true),
                Poll::Ready(Err(error)) => Err(of_socket(&core.inner, &error)),
            };
            self.input.extend_from_slice(&input);
            input.clear();
            core.input = input;
            if !taken? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Processes all complete frames.
    fn take(&mut self, core: &mut Core, input: &mut BytesMut) -> Result<(), CallError> {
        let Core { inner, rows, came, .. } = core;
        let now = Instant::now();
        loop {
            let event = self.http2.next(input).map_err(|code| self.violated(inner, code))?;
            let Some(event) = event else { return Ok(()) };
            let failed = match event {
                Event::Data { stream, data, ends } => self.on_data(inner, stream, &data, ends),
                Event::Headers { stream, block, ends } => {
                    self.on_headers(inner, rows, (stream, &block, ends), now)?
                }
                Event::HeadersTooLong { stream } => Err((stream, too_large(inner))),
                Event::Reset { stream, code } => {
                    if let Some(call) = self.http2.forget(stream) {
                        let refused = code == Code::REFUSED_STREAM && call.head.is_none();
                        let error = if refused {
                            not_taken(inner, "it refused the stream".into())
                        } else {
                            lost(inner, format!("the server reset the stream ({code:?})"))
                        };
                        came.push(Came::Failure(call.key, error));
                    }
                    Ok(None)
                }
                Event::GoAway { last, code } => {
                    self.leaves = true;
                    let streams = self.http2.streams().map(|(stream, _)| stream);
                    let beyond: Vec<u32> = streams.filter(|stream| *stream > last).collect();
                    for call in beyond.into_iter().filter_map(|stream| self.http2.forget(stream)) {
                        came.push(Came::Failure(call.key, goodbye(inner, code)));
                    }
                    Ok(None)
                }
                Event::Room | Event::Pong(_) => Ok(None),
            };
            match failed {
                Ok(None) => (),
                Ok(Some(stream)) => {
                    let Some(mut call) = self.http2.close(stream) else { continue };
                    if let Some(row) = rows.get(call.key) {
                        row.done = Some(now);
                        row.stream = 0;
                    }
                    let body = call.claim.hold(call.body.freeze());
                    let head = call.head.unwrap_or_default();
                    came.push(match Whole::new(head, body, &inner.bounds) {
                        Ok(whole) => Came::Answer(call.key, whole),
                        Err(broken) => {
                            let limit = inner.bounds.message_bytes_max;
                            let target = &inner.site.target;
                            Came::Failure(
                                call.key,
                                broken.into_error(target, "HTTP/2", limit, true),
                            )
                        }
                    });
                }
                Err((stream, error)) => {
                    if let Some(call) = self.http2.reset(stream, Code::CANCEL) {
                        came.push(Came::Failure(call.key, error));
                    }
                }
            }
        }
    }

    /// Returns the stream whose response is complete now.
    fn on_data(
        &mut self,
        inner: &Inner,
        stream: u32,
        data: &[u8],
        ends: bool,
    ) -> Result<Option<u32>, (u32, CallError)> {
        let Some(entry) = self.http2.stream(stream) else { return Ok(None) };
        let call = &mut entry.user;
        if call.head.is_none() {
            return Err((stream, unlike(inner, "it sends data before headers")));
        }
        let limit = inner.bounds.message_bytes_max;
        if call.body.len() + data.len() > limit {
            return Err((stream, CallError::TooLarge { limit }));
        }
        call.body.extend_from_slice(data);
        call.claim.cover(call.body.capacity()).map_err(|full| (stream, full.into()))?;
        self.http2.release(stream, data.len());
        Ok(ends.then_some(stream))
    }

    /// The same for headers.
    fn on_headers(
        &mut self,
        inner: &Inner,
        rows: &mut Rows<Row>,
        (stream, block, ends): (u32, &[u8], bool),
        now: Instant,
    ) -> Result<Result<Option<u32>, (u32, CallError)>, CallError> {
        let told = Told::read(block).map_err(|code| self.violated(inner, code))?;
        let Some(entry) = self.http2.stream(stream) else { return Ok(Ok(None)) };
        let call = &mut entry.user;
        if call.head.is_some() {
            // Nothing in trailers is needed.
            let within = (stream, unlike(inner, "it sends headers in the middle of a response"));
            return Ok(if ends { Ok(Some(stream)) } else { Err(within) });
        }
        if told.too_large {
            return Ok(Err((stream, too_large(inner))));
        }
        let Some(status) = told.status else {
            return Ok(Err((stream, unlike(inner, "it sends a response without a status"))));
        };
        if (100..200).contains(&status) && !ends {
            call.interim += 1;
            let endless = (stream, unlike(inner, "too many interim responses"));
            return Ok(if call.interim == INTERIM_MAX { Err(endless) } else { Ok(None) });
        }
        let head = [format!("HTTP/1.1 {status} \r\n").as_bytes(), &told.lines, b"\r\n"].concat();
        call.head = Some(head.into());
        if let Some(row) = rows.get(call.key) {
            row.first.get_or_insert(now);
        }
        Ok(Ok(ends.then_some(stream)))
    }

    /// Tells the server which protocol error it made, as far as the socket takes it.
    fn violated(&mut self, inner: &Inner, code: Code) -> CallError {
        self.http2.go_away(code);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.io).poll_write(&mut cx, self.http2.out());
        not_http_2(inner, code)
    }
}

/// The header block of a request, and its body.
fn opening(inner: &Inner, row: &Row) -> Result<(Block, Option<Bytes>), CallError> {
    let (headers, bare) = match &row.request {
        Request::WithHeaders(both) => (Some(&both.0), both.1.bare()),
        bare => (None, bare),
    };
    let Request::Http(request) = bare else { return Err(plain_only()) };
    let (path, with_body) = match &row.led {
        Some((path, with_body)) => (path.as_str(), *with_body),
        None => (request.path(), true),
    };
    let method = if with_body { request.method() } else { "GET" };
    let body = content(request).filter(|_| with_body);
    let text = inner.lines_of_plain(request, headers);
    let own = lines(&text);
    let target = &inner.site.target;
    let host = own.iter().find(|(name, _)| name == "host").map(|(_, value)| *value);
    let authority = target.authority();
    let length = body.as_ref().map(|body| body.len().to_string());
    let mut all = vec![
        (":method", method),
        (":scheme", Protocol::Http.scheme(target.tls)),
        (":path", path),
        (":authority", host.unwrap_or(&authority)),
    ];
    // Headers about the connection have no place here (RFC 9113, 8.2.2).
    let of_connection = |name: &str| {
        matches!(
            name,
            "host"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "transfer-encoding"
                | "upgrade"
        )
    };
    all.extend(
        own.iter()
            .filter(|(name, _)| !of_connection(name))
            .map(|(name, value)| (name.as_str(), *value)),
    );
    all.extend(length.as_deref().map(|length| ("content-length", length)));
    let all: Vec<(&[u8], &[u8])> =
        all.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    Ok((Block::new(&all), body))
}

/// Header lines of HTTP/1.1 one by one, with names as in HTTP/2.
fn lines(text: &str) -> Vec<(String, &str)> {
    let lines = text.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect()
}

/// A parsed header block.
struct Told {
    /// Trailers have none.
    status: Option<u16>,
    /// As HTTP/1.1 writes them.
    lines: Vec<u8>,
    /// Whether it is larger than we accept.
    too_large: bool,
}

impl Told {
    fn read(block: &[u8]) -> Result<Told, Code> {
        let (mut status, mut malformed) = (None, false);
        let (mut lines, mut too_large) = (Vec::new(), false);
        hpack::read(block, |name, value| {
            if let Some(pseudo) = name.strip_prefix(b":") {
                // The only pseudo-header of a response; it comes first.
                malformed |= pseudo != b"status" || status.is_some() || !lines.is_empty();
                let digits = str::from_utf8(value).ok().filter(|digits| digits.len() == 3);
                status = digits.and_then(|digits| digits.parse::<u16>().ok());
                malformed |= status.is_none_or(|status| status < 100);
                return;
            }
            malformed |= name.iter().any(u8::is_ascii_uppercase);
            malformed |= name.is_empty() || name.contains(&b':');
            malformed |= value.iter().chain(name).any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            too_large |= lines.len() + name.len() + value.len() > HEADERS_MAX;
            if !too_large {
                for piece in [name, b": ", value, b"\r\n"] {
                    lines.extend_from_slice(piece);
                }
            }
        })
        .map_err(|_| Code::COMPRESSION_ERROR)?;
        if malformed {
            return Err(Code::PROTOCOL_ERROR);
        }
        Ok(Told { status, lines, too_large })
    }
}
