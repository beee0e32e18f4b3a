//! HTTP/1.1 as a client speaks it: one connection, one exchange at a time.
//!
//! This stands on a socket and `httparse`, not on hyper, for what a load generator asks for: the
//! instants of the first byte out and the first byte in are exact, a head is made once and goes out
//! as it is, the task that wants the answer reads it itself instead of waking another one, and bytes
//! that are not HTTP are at hand to be named. Which requests are sent, and what their answers mean,
//! is told elsewhere.
//!
//! Bounded: a head by [`HEAD_BYTES_MAX`], a body by the limit given for it, and memory is taken as
//! bytes come in, whatever a `content-length` announces.

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

/// A response's status line and headers. Well above what gateways and proxies send (some hundred
/// bytes), and what they themselves take as a limit.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// As hyper has it.
const HEADERS_MAX: usize = 100;
/// The line before a chunk: a number, and extensions nobody uses.
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;
/// Headers after the last chunk; nobody uses them either.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// `100 Continue` and the like before the response proper.
const INTERIM_MAX: usize = 16;
/// What a read has room for. A response to one Document fits in.
const READ_BYTES: usize = 8 << 10;
/// A request body up to here is copied behind its head and leaves in one write; a longer one goes
/// out from where it is.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Buffers of requests that are kept for the next ones, and how large such a one may be.
const OUTPUTS_KEPT: usize = 64;
const OUTPUT_BYTES_KEPT: usize = 2 * COPY_BYTES_MAX;

/// Of what a server said, this much is shown.
const SHOWN_CHARS: usize = 300;
/// And it is looked for in this much: a body of an error may be as large as any.
const SEARCHED_BYTES: usize = 16 << 10;

/// What the connections of a worker share, so that one that waits holds no memory: of thousands, few have
/// bytes on the way in the same turn.
#[derive(Default)]
pub(super) struct Buffers {
    input: BytesMut,
    outputs: Vec<Vec<u8>>,
    /// The head that was parsed last: most of a server's are equal.
    head: Vec<u8>,
    parsed: Option<ParsedHead>,
}

/// One connection that speaks HTTP/1.1.
pub(super) struct Connection<S> {
    io: S,
    /// What came in and is not yet consumed; lent by [`Buffers`] while nothing of a response is there.
    input: BytesMut,
    /// The request on its way out, but for a long end of its body, and how much of both is out. Goes back to
    /// [`Buffers`] once it is.
    output: Vec<u8>,
    tail: Bytes,
    sent: usize,
    reading: Reading,
    /// Whether no exchange is under way, none broke off, and none was the last.
    reusable: bool,
}

/// Request line and headers, made once for many requests.
#[derive(Clone)]
pub(super) struct RequestHead(Box<[u8]>);

/// When the bytes of an exchange went out and came in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Just before the first byte was handed to the socket.
    pub(super) written: Option<Instant>,
    /// When the first byte of the response was there.
    pub(super) first: Option<Instant>,
    /// When its last byte was there.
    pub(super) done: Option<Instant>,
}

/// A response, read to its end and freed of chunks and compression.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Bytes,
    head: Bytes,
}

/// Why an exchange brought no response.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended or failed; `Marks::first` tells whether a response had begun.
    Ended(io::Error),
    /// What came is no HTTP: its first bytes.
    NotHttp(Bytes),
    /// HTTP, but not as the standard has it.
    Malformed(String),
    /// Headers beyond our own limits: which.
    Headers(String),
    /// The body is larger than the limit; it was not read to its end.
    TooLarge,
    /// Our own memory has no room for the body; it was not read to its end.
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

/// The header lines that all requests to a target have in common: the host, `defaults` as far as the
/// user says nothing else, the user's own, and the basic authorization of an address.
///
/// # Errors
/// A header that HTTP does not allow, or that would say something else than what we send.
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
        // Without the port that the scheme means anyway, as browsers have it.
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
    /// The failure of a call, in words. `answered`: whether this port ever answered in HTTP; if not,
    /// a hang-up may mean that it speaks something else.
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
                        " before it answered anything; a port that wants TLS does so too"
                    }
                    (false, true) => " before it answered anything",
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
                reason: format!("its answer is not valid HTTP: {what}"),
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

/// How a connection ended, in few words.
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

    /// Whether, as far as is known, the connection can take another request.
    pub(super) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Whether something came in beyond the last response.
    pub(super) fn has_more(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the connection can take another request: nothing has come in, no end either.
    ///
    /// Asks the socket without waiting; as long as nothing happened on it this is no system call.
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

    /// The stream and what was read beyond the response, after a `101 Switching Protocols`.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.io, self.input)
    }

    /// Sends a request and reads its response. `body` comes in pieces; `None` is a request without.
    ///
    /// Not to be called again after it failed or was given up: [`Connection::is_open`] is false then.
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

    /// Begins an exchange, which [`Connection::poll_exchange`] goes on with. The last piece of the body may
    /// be long, and is not copied then.
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

    /// Goes on with the exchange that was begun.
    ///
    /// # Errors
    /// Why it has no response. The connection is of no more use then.
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
            // What it claimed for the rest is not needed.
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
            // A server may refuse a request, and close the connection, before it has read all of it (a
            // proxy's 413): then what it said is still to be read.
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
                // The socket takes no more: perhaps because the server has stopped reading to answer.
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
                // What few bytes become may take long to make, so others get their turn in between.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let read = ready!(self.poll_read(cx));
            self.came(read, marks)?;
        }
    }

    /// What a read came to.
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

    /// Writes what is left of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>, marks: &mut Marks) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() + self.tail.len() {
            let split = self.sent.min(self.output.len());
            let (head, tail) = (&self.output[split..], &self.tail[self.sent - split..]);
            // Before the kernel takes it: what it sends at once is not sent before.
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

    /// Reads on in what has come; `None` when more must come, or others are to get their turn.
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
                    // 101 ends the exchange: what follows is another protocol.
                    if parsed.status < 200 && parsed.status != 101 {
                        if before + 1 == INTERIM_MAX {
                            let what = "one interim response after the other";
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
                        // At most twice what has come: an announcement alone claims no memory.
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
                        let what = "a chunk that is longer than it says";
                        return Err(Broken::Malformed(what.into()));
                    }
                    self.input.advance(2);
                    *at = At::ChunkSize;
                }
                // Headers after the last chunk, up to the empty line. They say nothing we ask for.
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

    /// The body is there, as it came.
    fn whole(
        &mut self,
        body: Bytes,
        bounds: &Bounds,
        marks: &mut Marks,
    ) -> Result<Option<Response>, Broken> {
        // The close that ends a body without a length is no read of bytes, but it is what told the end.
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
        // Bytes beyond the response were not asked for: whatever they are, the next response would
        // be taken for what it is not.
        let whole = self.reading.out == Out::Whole;
        self.reusable = parsed.keep_alive && whole && self.input.is_empty();
        Response { status: parsed.status, body, head }
    }

    /// A head, if a whole one is in `input`, of which so much has been looked at.
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
        // Parsing from the start again after every byte of a slow server would be square work, so it
        // waits for the empty line.
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
    /// Keeps the buffer of a request that is out for another one.
    fn keep(&mut self, output: Vec<u8>) {
        if self.outputs.len() < OUTPUTS_KEPT && output.capacity() <= OUTPUT_BYTES_KEPT {
            self.outputs.push(output);
        }
    }
}

fn push_decimal(out: &mut Vec<u8>, number: usize) {
    io::Write::write_fmt(out, format_args!("{number}")).expect("a vector takes all");
}

/// The line before a chunk: its length, and that of the chunk; `None` when more must come.
fn chunk_size(input: &[u8]) -> Result<Option<(usize, u64)>, Broken> {
    let malformed = || Broken::Malformed("a chunk without a size".into());
    // `httparse` takes an empty line for a size of zero.
    if input.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    match httparse::parse_chunk_size(input).map_err(|_| malformed())? {
        httparse::Status::Complete(line_and_size) => Ok(Some(line_and_size)),
        httparse::Status::Partial if input.len() > CHUNK_LINE_BYTES_MAX => Err(malformed()),
        httparse::Status::Partial => Ok(None),
    }
}

/// How far an exchange has come.
struct Reading {
    out: Out,
    at: At,
    head: Option<(ParsedHead, Bytes)>,
    /// Of a body in chunks, those that are there.
    body: BytesMut,
    claim: Claim,
    /// When the last read returned.
    came: Option<Instant>,
    /// The server has closed, where that is how a body ends.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Out {
    Going,
    Whole,
    /// The server has not read all of it.
    Partly,
}

/// What comes next of a response.
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
    /// A head with more lines than we take, or with one that contradicts itself.
    pub(super) fn new(head: Bytes, body: Bytes, bounds: &Bounds) -> Result<Whole, Broken> {
        let malformed = || Broken::Malformed("headers that end early".into());
        let parsed = ParsedHead::parse(&head)?.ok_or_else(malformed)?;
        let (body, unpacking) = match parsed.coding {
            Coding::Identity => (body, None),
            coding => (Bytes::new(), Some(Box::new(Unpacking::new(coding, body, bounds)))),
        };
        let response = Some(Response { status: parsed.status, body, head });
        Ok(Whole { response, unpacking })
    }

    /// The response; `None`: there is more to decompress in another turn.
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
    /// The value of a header, the first if there are several. Reads the head anew: for the rare
    /// case that somebody asks.
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

    /// How long it asks us to wait, where it says so in seconds.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }

    /// What it says in words: of a web page its title, else its beginning, else what its status means.
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

/// How long the trailers are that these bytes begin with; `None` when more must come.
///
/// Apart from the reading, so that the room for headers is no part of every request in flight.
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

/// What every response begins with.
const HTTP: &[u8] = b"HTTP/1.";

fn is_hang_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset)
}

#[cfg(test)]
mod tests;
