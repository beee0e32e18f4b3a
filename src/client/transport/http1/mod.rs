//! HTTP/1.1 as a client speaks it: one connection, one exchange at a time.
//!
//! This is built on a socket and `httparse`, not on hyper, because of what a load generator needs:
//! the instants of the first byte out and the first byte in are exact, a head is made once and sent
//! as it is, the task that wants the answer reads it itself instead of waking another one, and
//! bytes that are not HTTP are available to be identified. Which requests are sent, and what their
//! answers mean, is defined elsewhere.
//!
//! Bounded: a head by [`HEAD_BYTES_MAX`], a body by the limit given for it, and memory is allocated
//! as bytes arrive, whatever a `content-length` announces.

mod head;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use self::head::{Coding, Framing, ParsedHead, Unpacking, has_empty_line};
use super::{spoken, tls};
use crate::client::memory::{Bounds, Claim, NoRoom};
use crate::client::{CallError, ClientConfig, ConfigError};
use crate::wire::Target;

/// Limit of a response's status line and headers. Well above what gateways and proxies send (a few
/// hundred bytes), and above the limits they themselves set.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// As in hyper.
const HEADERS_MAX: usize = 100;
/// The line before a chunk: a number, and extensions that nobody uses.
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;
/// Headers after the last chunk; nobody uses them either.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Limit of `100 Continue` and similar responses before the final one.
const INTERIM_MAX: usize = 16;
/// Size of a read. A response to one Document fits.
const READ_BYTES: usize = 8 << 10;
/// A request body up to this size is copied behind its head and sent in one write; a longer one is
/// sent without a copy.
const COPY_BYTES_MAX: usize = 16 << 10;

/// How many request buffers are kept for later requests, and how large they may be.
const OUTPUTS_KEPT: usize = 64;
const OUTPUT_BYTES_KEPT: usize = 2 * COPY_BYTES_MAX;

/// How much of a server's message is shown.
const SHOWN_CHARS: usize = 300;
/// The message is searched for in this much of the body: an error's body may be of any size.
const SEARCHED_BYTES: usize = 16 << 10;

/// Shared by the connections of a worker, so that a waiting connection holds no memory: of
/// thousands, few have bytes in transit in the same turn.
#[derive(Default)]
pub(super) struct Buffers {
    input: BytesMut,
    outputs: Vec<Vec<u8>>,
    /// The last head that was parsed: most heads of a server are equal.
    head: Vec<u8>,
    parsed: Option<ParsedHead>,
}

/// One connection that speaks HTTP/1.1.
pub(super) struct Connection<S> {
    io: S,
    /// Bytes received and not yet consumed; lent by [`Buffers`] while no part of a response is
    /// there.
    input: BytesMut,
    /// The request that is being sent, except for a long end of its body, and how much of both is
    /// sent. Returned to [`Buffers`] afterwards.
    output: Vec<u8>,
    tail: Bytes,
    sent: usize,
    reading: Reading,
    /// Whether no exchange is in progress, none broke off, and none was the last.
    reusable: bool,
}

/// Request line and headers, made once for many requests.
#[derive(Clone)]
pub(super) struct RequestHead(Box<[u8]>);

/// When the bytes of an exchange were sent and received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Just before the first byte was handed to the socket.
    pub(super) written: Option<Instant>,
    /// When the first byte of the response arrived.
    pub(super) first: Option<Instant>,
    /// When its last byte arrived.
    pub(super) done: Option<Instant>,
}

/// A complete response, without chunks and compression.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Bytes,
    head: Bytes,
}

/// Why an exchange got no response.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended or failed; `Marks::first` says whether a response had begun.
    Ended(io::Error),
    /// The answer is not HTTP: its first bytes.
    NotHttp(Bytes),
    /// HTTP, but not as the standard requires.
    Malformed(String),
    /// Headers beyond our own limits: which limit.
    Headers(String),
    /// The body is larger than the limit; it was not read to its end.
    TooLarge,
    /// Our own memory limit has no room for the body; it was not read to its end.
    NoRoom(NoRoom),
}

impl From<NoRoom> for Broken {
    fn from(full: NoRoom) -> Broken {
        Broken::NoRoom(full)
    }
}

impl RequestHead {
    /// `headers` are whole lines, each with its `\r\n`, as [`header_lines`] makes them.
    pub(super) fn new(method: &str, path: &str, headers: &str) -> RequestHead {
        RequestHead(format!("{method} {path} HTTP/1.1\r\n{headers}").into_bytes().into())
    }
}

/// A head may hold a password or a token.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestHead(…)")
    }
}

/// The header lines that all requests to a target have in common: the host, `defaults` unless the
/// user sets them, the user's own, and the basic authorization of an address.
///
/// # Errors
/// A header that HTTP does not allow, or that would contradict what we send.
pub(super) fn header_lines(
    config: &ClientConfig,
    defaults: &[(&str, &str)],
) -> Result<String, ConfigError> {
    let own = config.header_map()?;
    let mut lines = String::new();
    let mut line = |name: &str, value: &str| {
        lines.extend([name, ": ", value, "\r\n"]);
    };
    if !own.contains_key(header::HOST) {
        // Without the port if it is the scheme's default, as in browsers.
        let authority = config.target.authority();
        let usual = if config.target.tls { ":443" } else { ":80" };
        line("host", authority.strip_suffix(usual).unwrap_or(&authority));
    }
    let agent = ("user-agent", concat!("flowbench/", env!("CARGO_PKG_VERSION")));
    for (name, value) in [agent].iter().chain(defaults) {
        if !own.contains_key(*name) {
            line(name, value);
        }
    }
    for (name, value) in &own {
        line(name.as_str(), value.to_str().expect("header_map takes visible ASCII only"));
    }
    Ok(lines)
}

impl Broken {
    /// The error of a call for this failure. `answered`: whether this port ever answered in HTTP;
    /// if not, a hang-up may mean that it speaks something else.
    pub(super) fn into_error(
        self,
        target: &Target,
        expected: &'static str,
        limit: usize,
        answered: bool,
    ) -> CallError {
        let target = target.clone();
        match self {
            Broken::Ended(error) => {
                let hint = match (answered, target.tls) {
                    (true, _) => "",
                    (false, false) => {
                        " before it sent a response; a port that requires TLS does this too"
                    }
                    (false, true) => " before it sent a response",
                };
                let reason = format!("{}{hint}", ending(&error));
                tls::failure_behind(&target, &error).unwrap_or(CallError::Lost { target, reason })
            }
            Broken::NotHttp(bytes) => {
                let (reason, named) = spoken::describe(&bytes, &target);
                CallError::Protocol { target, expected, reason, named }
            }
            Broken::Malformed(what) => CallError::Protocol {
                target,
                expected,
                reason: format!("its response is not valid HTTP: {what}"),
                named: false,
            },
            Broken::Headers(reason) => {
                CallError::Protocol { target, expected, reason, named: false }
            }
            Broken::TooLarge => CallError::TooLarge { limit },
            Broken::NoRoom(full) => full.into(),
        }
    }
}

/// How a connection ended, briefly.
pub(super) fn ending(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed it".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the server reset it".into(),
        _ => error.to_string(),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(io: S) -> Connection<S> {
        let (input, output, tail) = (BytesMut::new(), Vec::new(), Bytes::new());
        let reading = Reading::new(&Bounds::small(0));
        Connection { io, input, output, tail, sent: 0, reading, reusable: true }
    }

    /// Whether the connection can take another request, as far as is known.
    pub(super) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Whether bytes arrived beyond the last response.
    pub(super) fn has_more(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the connection can take another request: nothing has arrived, not even its end.
    ///
    /// Asks the socket without waiting; this is no system call unless something happened on it.
    pub(super) fn is_open(&mut self) -> bool {
        if !self.reusable || !self.input.is_empty() {
            return false;
        }
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut self.io).poll_read(&mut cx, &mut read);
        self.input.extend_from_slice(read.filled());
        polled.is_pending()
    }

    /// The stream and the bytes read beyond the response, after a `101 Switching Protocols`.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.io, self.input)
    }

    /// Sends a request and reads its response. `body` is in pieces; `None` is a request without
    /// one.
    ///
    /// Must not be called again after it failed or was abandoned: [`Connection::is_open`] is false
    /// then.
    pub(super) async fn exchange(
        &mut self,
        head: &RequestHead,
        body: Option<[&[u8]; 3]>,
        bounds: &Bounds,
        marks: &mut Marks,
    ) -> Result<Response, Broken> {
        *marks = Marks::default();
        let buffers = &mut Buffers::default();
        let body = body.map(|[start, middle, end]| ([start, middle], Bytes::copy_from_slice(end)));
        self.begin(head, body, bounds, buffers);
        poll_fn(|cx| self.poll_exchange(cx, bounds, marks, buffers)).await
    }

    /// Begins an exchange, which [`Connection::poll_exchange`] continues. The last piece of the
    /// body may be long; it is not copied then.
    pub(super) fn begin(
        &mut self,
        head: &RequestHead,
        body: Option<([&[u8]; 2], Bytes)>,
        bounds: &Bounds,
        buffers: &mut Buffers,
    ) {
        self.reusable = false;
        self.output = buffers.outputs.pop().unwrap_or_default();
        self.output.clear();
        self.output.extend_from_slice(&head.0);
        self.tail = Bytes::new();
        self.sent = 0;
        if let Some(([start, middle], end)) = body {
            let length = start.len() + middle.len() + end.len();
            self.output.extend_from_slice(b"content-length: ");
            push_decimal(&mut self.output, length);
            self.output.extend_from_slice(b"\r\n\r\n");
            self.output.extend_from_slice(start);
            self.output.extend_from_slice(middle);
            if self.output.len() + end.len() <= COPY_BYTES_MAX {
                self.output.extend_from_slice(&end);
            } else {
                self.tail = end;
            }
        } else {
            self.output.extend_from_slice(b"\r\n");
        }
        self.reading = Reading::new(bounds);
    }

    /// Continues the exchange.
    ///
    /// # Errors
    /// Why it got no response. The connection cannot be used again then.
    pub(super) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        bounds: &Bounds,
        marks: &mut Marks,
        buffers: &mut Buffers,
    ) -> Poll<Result<Response, Broken>> {
        if self.input.is_empty() {
            self.input = std::mem::take(&mut buffers.input);
        }
        let polled = self.go_on(cx, bounds, marks, buffers);
        if self.input.is_empty() && self.input.capacity() > buffers.input.capacity() {
            buffers.input = std::mem::take(&mut self.input);
        }
        if let Poll::Ready(Err(_)) = polled {
            // The memory claimed for the rest is not needed.
            self.reading = Reading::new(bounds);
        }
        polled
    }

    fn go_on(
        &mut self,
        cx: &mut Context<'_>,
        bounds: &Bounds,
        marks: &mut Marks,
        buffers: &mut Buffers,
    ) -> Poll<Result<Response, Broken>> {
        if self.reading.out == Out::Going {
            // A server may refuse a request, and close the connection, before it has read all of it
            // (a proxy's 413). Its answer must still be read then.
            match self.poll_send(cx, marks) {
                Poll::Ready(Ok(())) => {
                    self.reading.out = Out::Whole;
                    self.tail = Bytes::new();
                    buffers.keep(std::mem::take(&mut self.output));
                }
                Poll::Ready(Err(error)) if is_hang_up(error.kind()) => {
                    self.reading.out = Out::Partly;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Ended(error))),
                // The socket takes no more, perhaps because the server stopped reading in order to
                // answer.
                Poll::Pending => {
                    let read = ready!(self.poll_read(cx));
                    self.reading.out = Out::Partly;
                    if let Err(error) = self.came(read, marks) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
        loop {
            if let Some(response) = self.advance(bounds, marks, buffers)? {
                return Poll::Ready(Ok(response));
            }
            if let At::Unpacking(_) = self.reading.at {
                // A few bytes may take long to decompress, so others get their turn in between.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = ready!(self.poll_read(cx));
            self.came(read, marks)?;
        }
    }

    /// Handles the result of a read.
    fn came(&mut self, read: io::Result<usize>, marks: &mut Marks) -> Result<(), Broken> {
        match read {
            Ok(0) if matches!(self.reading.at, At::UntilClose) => {
                self.reading.closed = true;
                Ok(())
            }
            Ok(0) => Err(Broken::Ended(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed by the server",
            ))),
            Ok(_) => {
                let now = Instant::now();
                marks.first.get_or_insert(now);
                self.reading.came = Some(now);
                Ok(())
            }
            Err(error) => Err(Broken::Ended(error)),
        }
    }

    /// Writes the rest of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>, marks: &mut Marks) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() + self.tail.len() {
            let split = self.sent.min(self.output.len());
            let (head, tail) = (&self.output[split..], &self.tail[self.sent - split..]);
            // Taken before the write, because the kernel may send at once.
            let now = Instant::now();
            let written = if tail.is_empty() {
                Pin::new(&mut self.io).poll_write(cx, head)
            } else {
                let pieces = [IoSlice::new(head), IoSlice::new(tail)];
                Pin::new(&mut self.io).poll_write_vectored(cx, &pieces)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
            marks.written.get_or_insert(now);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Parses what has arrived; `None` if more bytes are needed, or others are to get their turn.
    fn advance(
        &mut self,
        bounds: &Bounds,
        marks: &mut Marks,
        buffers: &mut Buffers,
    ) -> Result<Option<Response>, Broken> {
        let limit = bounds.message_bytes_max;
        loop {
            let Reading { at, body, claim, closed, .. } = &mut self.reading;
            match at {
                At::Head { seen, interim } => {
                    let (from, before) = (*seen, *interim);
                    let Some(parsed) = self.head(from, buffers)? else { return Ok(None) };
                    let head = self.input.split_to(parsed.bytes).freeze();
                    // 101 ends the exchange: another protocol follows.
                    if parsed.status < 200 && parsed.status != 101 {
                        if before + 1 == INTERIM_MAX {
                            let what = "too many interim responses";
                            return Err(Broken::Malformed(what.into()));
                        }
                        self.reading.at = At::Head { seen: 0, interim: before + 1 };
                        continue;
                    }
                    self.reading.at = match parsed.framing {
                        Framing::Length(length) => {
                            let length = usize::try_from(length).ok().filter(|&l| l <= limit);
                            At::Sized(length.ok_or(Broken::TooLarge)?)
                        }
                        Framing::Chunked => At::ChunkSize,
                        Framing::UntilClose => At::UntilClose,
                    };
                    self.reading.head = Some((parsed, head));
                }
                At::Sized(length) => {
                    let length = *length;
                    if self.input.len() < length {
                        // At most twice what has arrived: an announced length alone claims no
                        // memory.
                        if self.input.capacity() == self.input.len() {
                            let missing = length - self.input.len();
                            self.input.reserve(missing.min(self.input.len().max(READ_BYTES)));
                            claim.cover(self.input.capacity())?;
                        }
                        return Ok(None);
                    }
                    let body = self.input.split_to(length).freeze();
                    return self.whole(body, bounds, marks);
                }
                At::ChunkSize => match chunk_size(&self.input)? {
                    None => return Ok(None),
                    Some((line, size)) => {
                        self.input.advance(line);
                        if size > (limit - body.len()) as u64 {
                            return Err(Broken::TooLarge);
                        }
                        *at = if size == 0 { At::Trailers } else { At::Chunk(size) };
                    }
                },
                At::Chunk(missing) => {
                    let count =
                        self.input.len().min(usize::try_from(*missing).unwrap_or(usize::MAX));
                    body.extend_from_slice(&self.input[..count]);
                    claim.cover(body.capacity())?;
                    self.input.advance(count);
                    *missing -= count as u64;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    *at = At::ChunkEnd;
                }
                At::ChunkEnd => {
                    if self.input.len() < 2 {
                        return Ok(None);
                    }
                    if &self.input[..2] != b"\r\n" {
                        let what = "a chunk longer than its stated size";
                        return Err(Broken::Malformed(what.into()));
                    }
                    self.input.advance(2);
                    *at = At::ChunkSize;
                }
                // Headers after the last chunk, up to the empty line. None of them is needed.
                At::Trailers => {
                    let Some(bytes) = trailers_length(&self.input)? else { return Ok(None) };
                    self.input.advance(bytes);
                    let body = std::mem::take(body).freeze();
                    return self.whole(body, bounds, marks);
                }
                At::UntilClose => {
                    if self.input.len() > limit {
                        return Err(Broken::TooLarge);
                    }
                    claim.cover(self.input.capacity())?;
                    if !*closed {
                        return Ok(None);
                    }
                    let body = self.input.split().freeze();
                    return self.whole(body, bounds, marks);
                }
                At::Unpacking(unpacking) => {
                    let Some(body) = unpacking.step(bounds)? else { return Ok(None) };
                    return Ok(Some(self.response(body)));
                }
            }
        }
    }

    /// The body is complete, as received.
    fn whole(
        &mut self,
        body: Bytes,
        bounds: &Bounds,
        marks: &mut Marks,
    ) -> Result<Option<Response>, Broken> {
        // A body without a length ends when the server closes, which is now, after the last read.
        let came = self.reading.came.filter(|_| !self.reading.closed);
        marks.done = Some(came.unwrap_or_else(Instant::now));
        let coding = self.reading.head.as_ref().map_or(Coding::Identity, |(head, _)| head.coding);
        let body = self.reading.claim.hold(body);
        if let Coding::Identity = coding {
            return Ok(Some(self.response(body)));
        }
        let mut unpacking = Unpacking::new(coding, body, bounds);
        if let Some(body) = unpacking.step(bounds)? {
            return Ok(Some(self.response(body)));
        }
        self.reading.at = At::Unpacking(Box::new(unpacking));
        Ok(None)
    }

    fn response(&mut self, body: Bytes) -> Response {
        let (parsed, head) = self.reading.head.take().expect("a body follows a head");
        // Bytes beyond the response were not asked for: whatever they are, they would be mistaken
        // for the next response.
        let whole = self.reading.out == Out::Whole;
        self.reusable = parsed.keep_alive && whole && self.input.is_empty();
        Response { status: parsed.status, body, head }
    }

    /// A head, if `input` has a complete one; `seen` bytes of it were examined before.
    fn head(&mut self, seen: usize, buffers: &mut Buffers) -> Result<Option<ParsedHead>, Broken> {
        if self.input.is_empty() {
            return Ok(None);
        }
        if let Some(parsed) = buffers.parsed.filter(|_| self.input.starts_with(&buffers.head)) {
            return Ok(Some(parsed));
        }
        let start = &self.input[..self.input.len().min(HTTP.len())];
        if !HTTP.starts_with(start) {
            return Err(Broken::NotHttp(self.input.split().freeze()));
        }
        // Parsing from the start again after every byte of a slow server would take quadratic time,
        // so parsing waits for the empty line.
        if (seen == 0 || has_empty_line(&self.input[seen..]))
            && let Some(parsed) = ParsedHead::parse(&self.input)?
        {
            buffers.head.clear();
            buffers.head.extend_from_slice(&self.input[..parsed.bytes]);
            buffers.parsed = Some(parsed);
            return Ok(Some(parsed));
        }
        if self.input.len() > HEAD_BYTES_MAX {
            return Err(Broken::Headers("response headers over 64 KiB".into()));
        }
        if let At::Head { seen, .. } = &mut self.reading.at {
            *seen = self.input.len().saturating_sub(2);
        }
        Ok(None)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.input.capacity() - self.input.len();
        if room == 0 || self.input.is_empty() && room < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }
}

impl Buffers {
    /// Keeps the buffer of a request that was sent for another one.
    fn keep(&mut self, output: Vec<u8>) {
        if self.outputs.len() < OUTPUTS_KEPT && output.capacity() <= OUTPUT_BYTES_KEPT {
            self.outputs.push(output);
        }
    }
}

fn push_decimal(out: &mut Vec<u8>, number: usize) {
    io::Write::write_fmt(out, format_args!("{number}")).expect("a vector takes all");
}

/// The line before a chunk: its length, and that of the chunk; `None` if more bytes are needed.
fn chunk_size(input: &[u8]) -> Result<Option<(usize, u64)>, Broken> {
    let malformed = || Broken::Malformed("a chunk without a size".into());
    // `httparse` accepts an empty line as a size of zero.
    if input.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    match httparse::parse_chunk_size(input).map_err(|_| malformed())? {
        httparse::Status::Complete(line_and_size) => Ok(Some(line_and_size)),
        httparse::Status::Partial if input.len() > CHUNK_LINE_BYTES_MAX => Err(malformed()),
        httparse::Status::Partial => Ok(None),
    }
}

/// The progress of an exchange.
struct Reading {
    out: Out,
    at: At,
    head: Option<(ParsedHead, Bytes)>,
    /// The chunks received so far, if the body is in chunks.
    body: BytesMut,
    claim: Claim,
    /// When the last read returned.
    came: Option<Instant>,
    /// The server has closed the connection, and the body ends with that.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Out {
    Going,
    Whole,
    /// The server has not read all of it.
    Partly,
}

/// The part of a response that comes next.
enum At {
    Head { seen: usize, interim: usize },
    Sized(usize),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Unpacking(Box<Unpacking>),
}

impl Reading {
    fn new(bounds: &Bounds) -> Reading {
        Reading {
            out: Out::Going,
            at: At::Head { seen: 0, interim: 0 },
            head: None,
            body: BytesMut::new(),
            claim: bounds.memory.claim(),
            came: None,
            closed: false,
        }
    }
}

/// A response of another version of HTTP, whose body may still have to be decompressed.
pub(super) struct Whole {
    response: Option<Response>,
    unpacking: Option<Box<Unpacking>>,
}

impl Whole {
    /// `head` is as HTTP/1.1 writes it.
    ///
    /// # Errors
    /// A head with more lines than we accept, or with a line that contradicts itself.
    pub(super) fn new(head: Bytes, body: Bytes, bounds: &Bounds) -> Result<Whole, Broken> {
        let malformed = || Broken::Malformed("truncated headers".into());
        let parsed = ParsedHead::parse(&head)?.ok_or_else(malformed)?;
        let (body, unpacking) = match parsed.coding {
            Coding::Identity => (body, None),
            coding => (Bytes::new(), Some(Box::new(Unpacking::new(coding, body, bounds)))),
        };
        let response = Some(Response { status: parsed.status, body, head });
        Ok(Whole { response, unpacking })
    }

    /// The response; `None` if more is to be decompressed in another turn.
    pub(super) fn step(&mut self, bounds: &Bounds) -> Result<Option<Response>, Broken> {
        if let Some(unpacking) = &mut self.unpacking {
            let Some(body) = unpacking.step(bounds)? else { return Ok(None) };
            if let Some(response) = &mut self.response {
                response.body = body;
            }
        }
        Ok(self.response.take())
    }
}

impl Response {
    /// The value of a header, the first if there are several. Parses the head again, because it is
    /// rarely needed.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(&self.head).ok()?;
        let header = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(header.value).ok().map(str::trim)
    }

    /// All headers with text in them, names in lower case.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        if response.parse(&self.head).is_err() {
            return Vec::new();
        }
        let text = |header: &httparse::Header<'_>| {
            let value = str::from_utf8(header.value).ok()?.trim().to_owned();
            Some((header.name.to_ascii_lowercase(), value))
        };
        response.headers.iter().filter_map(text).collect()
    }

    /// How long the server asks us to wait, if it says so in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }

    /// What it says in words: the title of a web page, else the beginning of the body, else the
    /// meaning of the status.
    pub(super) fn words(&self) -> String {
        let start = &self.body[..self.body.len().min(SEARCHED_BYTES)];
        let body = String::from_utf8_lossy(start);
        let title = between(&body, "<title>", "</title>").filter(|title| !title.trim().is_empty());
        let words = shown(title.unwrap_or(&body));
        if !words.is_empty() {
            return words;
        }
        let status = http::StatusCode::from_u16(self.status).ok();
        status.and_then(|status| status.canonical_reason()).unwrap_or("no message").to_owned()
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

/// One line of at most `SHOWN_CHARS` characters.
pub(super) fn shown(text: &str) -> String {
    let mut words = String::new();
    for (count, c) in text.trim().chars().enumerate() {
        if count == SHOWN_CHARS {
            words.push('…');
            break;
        }
        words.push(if c.is_control() { ' ' } else { c });
    }
    words
}

/// The length of the trailers that these bytes begin with; `None` if more bytes are needed.
///
/// Separate from reading, so that the space for headers is not part of every request in flight.
fn trailers_length(input: &[u8]) -> Result<Option<usize>, Broken> {
    let malformed = |reason| Broken::Malformed(format!("bad trailers: {reason}"));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(input, &mut headers).map_err(|e| malformed(e.to_string()))? {
        httparse::Status::Complete((bytes, _)) => Ok(Some(bytes)),
        httparse::Status::Partial if input.len() > TRAILER_BYTES_MAX => {
            Err(malformed(format!("more than {TRAILER_BYTES_MAX} bytes")))
        }
        httparse::Status::Partial => Ok(None),
    }
}

/// How every response begins.
const HTTP: &[u8] = b"HTTP/1.";

fn is_hang_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset)
}

#[cfg(test)]
mod tests;
