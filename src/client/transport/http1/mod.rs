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
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use self::head::{Coding, Framing, ParsedHead, decompress, has_empty_line};
use super::{probe, tls};
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

/// Of what a server said, this much is shown.
const SHOWN_CHARS: usize = 300;
/// And it is looked for in this much: a body of an error may be as large as any.
const SEARCHED_BYTES: usize = 16 << 10;

/// One connection that speaks HTTP/1.1.
pub(super) struct Connection<S> {
    io: S,
    /// What came in and is not yet consumed.
    input: BytesMut,
    /// The request on its way out, but for a long end of its body.
    output: Vec<u8>,
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
                let (reason, named) = probe::describe(&bytes, &target);
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
        Connection { io, input: BytesMut::new(), output: Vec::new(), reusable: true }
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
        self.reusable
            && self.input.is_empty()
            && self.poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
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
        self.reusable = false;
        *marks = Marks::default();
        self.output.clear();
        self.output.extend_from_slice(&head.0);
        let mut tail: &[u8] = &[];
        if let Some([start, middle, end]) = body {
            let length = start.len() + middle.len() + end.len();
            io::Write::write_fmt(
                &mut self.output,
                format_args!("content-length: {length}\r\n\r\n"),
            )
            .expect("a vector takes all");
            self.output.extend_from_slice(start);
            self.output.extend_from_slice(middle);
            if self.output.len() + end.len() <= COPY_BYTES_MAX {
                self.output.extend_from_slice(end);
            } else {
                tail = end;
            }
        } else {
            self.output.extend_from_slice(b"\r\n");
        }

        marks.written = Some(Instant::now());
        let whole = self.send(tail).await.map_err(Broken::Ended)?;
        let (parsed, head, body) = self.receive(bounds, marks).await?;
        marks.done = Some(Instant::now());
        let body = match parsed.coding {
            Coding::Identity => body,
            coding => decompress(coding, &body, bounds).await?,
        };
        // Bytes beyond the response were not asked for: whatever they are, the next response would
        // be taken for what it is not.
        self.reusable = parsed.keep_alive && whole && self.input.is_empty();
        Ok(Response { status: parsed.status, body, head })
    }

    /// Writes `output` and `tail`, and says whether they went out as a whole.
    ///
    /// A server may refuse a request, and close the connection, before it has read all of it (a
    /// proxy's 413): then what it said is still to be read.
    async fn send(&mut self, tail: &[u8]) -> io::Result<bool> {
        let mut at = 0;
        let sent = poll_fn(|cx| {
            let sent = loop {
                if at == self.output.len() + tail.len() {
                    break Pin::new(&mut self.io).poll_flush(cx).map_ok(|()| true);
                }
                let split = at.min(self.output.len());
                let pieces =
                    [IoSlice::new(&self.output[split..]), IoSlice::new(&tail[at - split..])];
                match Pin::new(&mut self.io).poll_write_vectored(cx, &pieces) {
                    Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => at += count,
                    Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                    Poll::Pending => break Poll::Pending,
                }
            };
            if sent.is_ready() {
                return sent;
            }
            // The socket takes no more: perhaps because the server has stopped reading to answer.
            self.poll_read(cx).map_ok(|_| false)
        });
        match sent.await {
            Err(error) if is_hang_up(error.kind()) => Ok(false),
            sent => sent,
        }
    }

    /// Reads one response: its head, understood and as it came, and its body.
    async fn receive(
        &mut self,
        bounds: &Bounds,
        marks: &mut Marks,
    ) -> Result<(ParsedHead, Bytes, Bytes), Broken> {
        let mut interim = 0;
        let (parsed, head) = loop {
            let parsed = self.head(marks).await?;
            let head = self.input.split_to(parsed.bytes).freeze();
            // 101 ends the exchange: what follows is another protocol.
            if parsed.status >= 200 || parsed.status == 101 {
                break (parsed, head);
            }
            interim += 1;
            if interim == INTERIM_MAX {
                return Err(Broken::Malformed("one interim response after the other".into()));
            }
        };
        let (limit, mut claim) = (bounds.message_bytes_max, bounds.memory.claim());
        let body = match parsed.framing {
            Framing::Length(length) => self.sized_body(length, limit, &mut claim).await?,
            Framing::Chunked => self.chunked_body(limit, &mut claim).await?,
            Framing::UntilClose => self.rest_of_connection(limit, &mut claim).await?,
        };
        Ok((parsed, head, claim.hold(body)))
    }

    /// Reads until a whole head is in `input`.
    async fn head(&mut self, marks: &mut Marks) -> Result<ParsedHead, Broken> {
        let mut seen = 0;
        loop {
            if !self.input.is_empty() {
                marks.first.get_or_insert_with(Instant::now);
                let start = &self.input[..self.input.len().min(HTTP.len())];
                if !HTTP.starts_with(start) {
                    return Err(Broken::NotHttp(self.input.split().freeze()));
                }
                // Parsing from the start again after every byte of a slow server would be square
                // work, so it waits for the empty line.
                if (seen == 0 || has_empty_line(&self.input[seen..]))
                    && let Some(parsed) = ParsedHead::parse(&self.input)?
                {
                    return Ok(parsed);
                }
                seen = self.input.len().saturating_sub(2);
                if self.input.len() > HEAD_BYTES_MAX {
                    return Err(Broken::Headers("response headers over 64 KiB".into()));
                }
            }
            self.read_more().await?;
        }
    }

    async fn sized_body(
        &mut self,
        length: u64,
        limit: usize,
        claim: &mut Claim,
    ) -> Result<Bytes, Broken> {
        let length = usize::try_from(length).ok().filter(|&length| length <= limit);
        let length = length.ok_or(Broken::TooLarge)?;
        while self.input.len() < length {
            // At most twice what has come: an announcement alone claims no memory.
            if self.input.capacity() == self.input.len() {
                let missing = length - self.input.len();
                self.input.reserve(missing.min(self.input.len().max(READ_BYTES)));
                claim.cover(self.input.capacity())?;
            }
            self.read_more().await?;
        }
        Ok(self.input.split_to(length).freeze())
    }

    async fn chunked_body(&mut self, limit: usize, claim: &mut Claim) -> Result<Bytes, Broken> {
        let mut body = BytesMut::new();
        loop {
            let mut missing = self.chunk_size().await?;
            if missing == 0 {
                self.trailers().await?;
                return Ok(body.freeze());
            }
            if missing > (limit - body.len()) as u64 {
                return Err(Broken::TooLarge);
            }
            while missing > 0 {
                if self.input.is_empty() {
                    self.read_more().await?;
                }
                let count = self.input.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
                body.extend_from_slice(&self.input[..count]);
                claim.cover(body.capacity())?;
                self.input.advance(count);
                missing -= count as u64;
            }
            while self.input.len() < 2 {
                self.read_more().await?;
            }
            if &self.input[..2] != b"\r\n" {
                return Err(Broken::Malformed("a chunk that is longer than it says".into()));
            }
            self.input.advance(2);
        }
    }

    async fn chunk_size(&mut self) -> Result<u64, Broken> {
        loop {
            let malformed = || Broken::Malformed("a chunk without a size".into());
            // `httparse` takes an empty line for a size of zero.
            if self.input.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
                return Err(malformed());
            }
            match httparse::parse_chunk_size(&self.input).map_err(|_| malformed())? {
                httparse::Status::Complete((line, size)) => {
                    self.input.advance(line);
                    return Ok(size);
                }
                httparse::Status::Partial if self.input.len() > CHUNK_LINE_BYTES_MAX => {
                    return Err(malformed());
                }
                httparse::Status::Partial => self.read_more().await?,
            }
        }
    }

    /// Headers after the last chunk, up to the empty line. They say nothing we ask for.
    async fn trailers(&mut self) -> Result<(), Broken> {
        loop {
            if let Some(bytes) = trailers_length(&self.input)? {
                self.input.advance(bytes);
                return Ok(());
            }
            self.read_more().await?;
        }
    }

    async fn rest_of_connection(
        &mut self,
        limit: usize,
        claim: &mut Claim,
    ) -> Result<Bytes, Broken> {
        loop {
            if self.input.len() > limit {
                return Err(Broken::TooLarge);
            }
            claim.cover(self.input.capacity())?;
            if poll_fn(|cx| self.poll_read(cx)).await.map_err(Broken::Ended)? == 0 {
                return Ok(self.input.split().freeze());
            }
        }
    }

    /// Reads what there is, at least a byte.
    async fn read_more(&mut self) -> Result<(), Broken> {
        match poll_fn(|cx| self.poll_read(cx)).await {
            Ok(0) => Err(Broken::Ended(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "closed by the server",
            ))),
            Ok(_) => Ok(()),
            Err(error) => Err(Broken::Ended(error)),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.input.capacity() - self.input.len();
        if room == 0 || self.input.is_empty() && room < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
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
