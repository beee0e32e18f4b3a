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

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use http::header;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::{probe, tls};
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
    /// The body is larger than the limit; it was not read to its end.
    TooLarge,
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
                let reason = probe::describe(&bytes, &target);
                CallError::Protocol { target, expected, reason }
            }
            Broken::Malformed(what) => CallError::Protocol {
                target,
                expected,
                reason: format!("its answer is not valid HTTP: {what}"),
            },
            Broken::TooLarge => CallError::TooLarge { limit },
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
        limit: usize,
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
        let (parsed, head, body) = self.receive(limit, marks).await?;
        marks.done = Some(Instant::now());
        let body = match parsed.coding {
            Coding::Identity => body,
            coding => decompress(coding, &body, limit)?,
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
        limit: usize,
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
        let body = match parsed.framing {
            Framing::Length(length) => self.sized_body(length, limit).await?,
            Framing::Chunked => self.chunked_body(limit).await?,
            Framing::UntilClose => self.rest_of_connection(limit).await?,
        };
        Ok((parsed, head, body))
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
                    return Err(Broken::Malformed(format!(
                        "headers of more than {HEAD_BYTES_MAX} bytes"
                    )));
                }
            }
            self.read_more().await?;
        }
    }

    async fn sized_body(&mut self, length: u64, limit: usize) -> Result<Bytes, Broken> {
        let length = usize::try_from(length).ok().filter(|&length| length <= limit);
        let length = length.ok_or(Broken::TooLarge)?;
        while self.input.len() < length {
            // At most twice what has come: an announcement alone claims no memory.
            if self.input.capacity() == self.input.len() {
                let missing = length - self.input.len();
                self.input.reserve(missing.min(self.input.len().max(READ_BYTES)));
            }
            self.read_more().await?;
        }
        Ok(self.input.split_to(length).freeze())
    }

    async fn chunked_body(&mut self, limit: usize) -> Result<Bytes, Broken> {
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
        let malformed = |reason| Broken::Malformed(format!("bad trailers: {reason}"));
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let parsed = httparse::parse_headers(&self.input, &mut headers);
            match parsed.map_err(|error| malformed(error.to_string()))? {
                httparse::Status::Complete((bytes, _)) => {
                    self.input.advance(bytes);
                    return Ok(());
                }
                httparse::Status::Partial if self.input.len() > TRAILER_BYTES_MAX => {
                    return Err(malformed(format!("more than {TRAILER_BYTES_MAX} bytes")));
                }
                httparse::Status::Partial => self.read_more().await?,
            }
        }
    }

    async fn rest_of_connection(&mut self, limit: usize) -> Result<Bytes, Broken> {
        loop {
            if self.input.len() > limit {
                return Err(Broken::TooLarge);
            }
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

/// What every response begins with.
const HTTP: &[u8] = b"HTTP/1.";

fn is_hang_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset)
}

/// What a head says about what follows it.
struct ParsedHead {
    /// Its own length.
    bytes: usize,
    status: u16,
    framing: Framing,
    coding: Coding,
    keep_alive: bool,
}

enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl ParsedHead {
    /// `None`: there is more to come.
    fn parse(input: &[u8]) -> Result<Option<ParsedHead>, Broken> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut headers,
        );
        let bytes = match parsed.map_err(|error| Broken::Malformed(error.to_string()))? {
            httparse::Status::Complete(bytes) => bytes,
            httparse::Status::Partial => return Ok(None),
        };
        let status = response.code.unwrap_or_default();
        let mut length = None;
        let mut chunked = false;
        let mut coding = Coding::Identity;
        let mut keep_alive = response.version == Some(1);
        for header in response.headers {
            let value = header.value.trim_ascii();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let bad = || {
                let value = String::from_utf8_lossy(value);
                Broken::Malformed(format!("`{}: {value:.60}`", header.name.to_ascii_lowercase()))
            };
            if is("content-length") {
                // Two that differ would let two readers see two responses.
                let found = parse_length(value).ok_or_else(bad)?;
                if length.is_some_and(|length| length != found) {
                    return Err(bad());
                }
                length = Some(found);
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") || chunked {
                    return Err(bad());
                }
                chunked = true;
            } else if is("content-encoding") {
                coding = match value.to_ascii_lowercase().as_slice() {
                    b"gzip" | b"x-gzip" => Coding::Gzip,
                    b"deflate" => Coding::Deflate,
                    b"identity" | b"" => Coding::Identity,
                    _ => return Err(bad()),
                };
            } else if is("connection") {
                for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    if token.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        keep_alive = true;
                    }
                }
            }
        }
        let framing = if status < 200 || status == 204 || status == 304 {
            Framing::Length(0)
        } else if chunked {
            // A length beside chunks does not count, but whoever sends both is not to be trusted
            // with where the next response begins (RFC 9112, 6.3).
            keep_alive &= length.is_none();
            Framing::Chunked
        } else if let Some(length) = length {
            Framing::Length(length)
        } else {
            keep_alive = false;
            Framing::UntilClose
        };
        Ok(Some(ParsedHead { bytes, status, framing, coding, keep_alive }))
    }
}

/// Digits and nothing else; `parse` alone would take a sign.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|w| w == b"\n\n") || bytes.windows(3).any(|w| w == b"\n\r\n")
}

/// Undoes a `content-encoding`, up to `limit` bytes.
fn decompress(coding: Coding, body: &[u8], limit: usize) -> Result<Bytes, Broken> {
    let decoder: Box<dyn Read + '_> = match coding {
        Coding::Identity => Box::new(body),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        // The standard means the zlib format; some servers leave its frame out.
        Coding::Deflate if is_zlib(body) => Box::new(flate2::read::ZlibDecoder::new(body)),
        Coding::Deflate => Box::new(flate2::read::DeflateDecoder::new(body)),
    };
    let mut plain = Vec::new();
    decoder
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut plain)
        .map_err(|error| Broken::Malformed(format!("compressed body: {error}")))?;
    if plain.len() > limit { Err(Broken::TooLarge) } else { Ok(plain.into()) }
}

/// Whether bytes begin with zlib's header: method 8, and a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flags, ..]
        if cmf & 15 == 8 && u16::from_be_bytes([*cmf, *flags]) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LIMIT: usize = 1000;

    fn head() -> RequestHead {
        RequestHead::new("POST", "/post", "host: h\r\n")
    }

    /// A connection to a server that has said `said` before it was asked, and more to come.
    fn connection(said: &[u8]) -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 20);
        let write = pin!(theirs.write_all(said)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(write, Poll::Ready(Ok(()))), "the pipe takes it at once");
        (Connection::new(ours), theirs)
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        connection: &mut Connection<S>,
    ) -> Result<Response, Broken> {
        let body: [&[u8]; 3] = [b"{", b"\"a\"", b": 1}"];
        connection.exchange(&head(), Some(body), LIMIT, &mut Marks::default()).await
    }

    /// What comes of a server that says `pieces` one after the other and hangs up: the status and
    /// body, or a word on the failure; and whether the connection could be used again.
    async fn outcome(pieces: &[&[u8]]) -> (Result<(u16, Bytes), String>, bool) {
        let (ours, mut theirs) = duplex(1 << 20);
        let mut connection = Connection::new(ours);
        let answer = async {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            theirs.shutdown().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(ask(&mut connection), answer);
        let outcome = outcome.map(|r| (r.status, r.body)).map_err(|broken| match broken {
            Broken::Ended(error) => format!("ended: {error}"),
            Broken::NotHttp(_) => "not HTTP".into(),
            Broken::Malformed(reason) => format!("malformed: {reason}"),
            Broken::TooLarge => "too large".into(),
        });
        (outcome, connection.reusable)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn compressed(coding: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {length}");
        [head.as_bytes(), b"\r\n\r\n", body].concat()
    }

    #[tokio::test]
    async fn a_request_goes_out_as_it_is() {
        let (mut connection, mut server) =
            connection(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        let mut marks = Marks::default();
        let long = vec![b'x'; COPY_BYTES_MAX];
        let body: [&[u8]; 3] = [b"{", b"id", &long];
        let response = connection.exchange(&head(), Some(body), LIMIT, &mut marks).await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
        assert!(marks.written <= marks.first && marks.first.is_some());
        let mut seen = vec![0; 4096 + COPY_BYTES_MAX];
        let mut length = 0;
        while length < COPY_BYTES_MAX + 3 {
            length += server.read(&mut seen[length..]).await.unwrap();
        }
        let start = b"POST /post HTTP/1.1\r\nhost: h\r\ncontent-length: 16387\r\n\r\n{idxx";
        assert_eq!(&seen[..start.len()], start);
        assert!(seen[..length].ends_with(&long));
    }

    #[tokio::test]
    async fn a_response_is_the_same_however_it_is_cut() {
        let plain = b"hello, hello, hello";
        let responses: [(&[u8], u16, &[u8], bool); 10] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", true),
            (
                b"HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 2\r\n\r\nhi",
                200,
                b"hi",
                false,
            ),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi", false),
            (
                b"HTTP/1.0 200 OK\r\nconnection: a, keep-alive\r\ncontent-length: 2\r\n\r\nhi",
                200,
                b"hi",
                true,
            ),
            (b"HTTP/1.1 500 Oops\r\n\r\nuntil the end", 500, b"until the end", false),
            (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", true),
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
                200,
                b"1",
                true,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5;a=b\r\nhello\r\n00c\r\n, hello, hel\r\n2\r\nlo\r\n0\r\nx-t: 1\r\n\r\n",
                200,
                plain,
                true,
            ),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n0\r\n\r\n",
                200,
                b"",
                false,
            ),
            (&compressed("gzip", &gzip(plain)), 200, plain, true),
        ];
        for (response, status, body, again) in responses {
            let text = String::from_utf8_lossy(response);
            let expected = (Ok((status, Bytes::copy_from_slice(body))), again);
            for cut in 0..response.len() {
                let (start, end) = response.split_at(cut);
                assert_eq!(outcome(&[start, end]).await, expected, "{text} cut at {cut}");
            }
            let bytes: Vec<&[u8]> = response.chunks(1).collect();
            assert_eq!(outcome(&bytes).await, expected, "{text}, byte by byte");
        }
    }

    #[tokio::test]
    async fn a_response_that_breaks_off_is_an_error_wherever_it_does() {
        let responses: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            &compressed("deflate", &zlib(b"hello")),
        ];
        for response in responses {
            for cut in 0..response.len() {
                let (outcome, again) = outcome(&[&response[..cut]]).await;
                assert_eq!(outcome.unwrap_err(), "ended: closed by the server", "at {cut}");
                assert!(!again);
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_a_response_is_told_apart() {
        let line = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").into_bytes();
        let long = "b".repeat(HEAD_BYTES_MAX);
        let cases: [(Vec<u8>, &str); 18] = [
            (b"".into(), "ended: closed by the server"),
            (b"\0\0\x18\x04\0\0\0\0\0".into(), "not HTTP"),
            (b"HTTP/2 200\r\n\r\n".into(), "not HTTP"),
            (b"SSH-2.0-OpenSSH_9.2\r\n".into(), "not HTTP"),
            (b"HTTP/1.1 abc\r\n\r\n".into(), "malformed: invalid response status"),
            (line("content-length: +5"), "malformed: `content-length: +5`"),
            (line("content-length: 99999999999999999999"), "malformed: `content-length: 9"),
            (line("content-length: 5\r\ncontent-length: 6"), "malformed: `content-length: 6`"),
            (line("content-length: 1001"), "too large"),
            (line("content-length: 18446744073709551615"), "too large"),
            (line("transfer-encoding: gzip, chunked"), "malformed: `transfer-encoding: gzip, ch"),
            (line("content-encoding: br"), "malformed: `content-encoding: br`"),
            (line("a b: c"), "malformed: invalid header name"),
            (line(&"a: b\r\n".repeat(101)), "malformed: too many headers"),
            (format!("HTTP/1.1 200 OK\r\na: {long}").into(), "malformed: headers of more than"),
            (b"HTTP/1.1 100 Continue\r\n\r\n".repeat(16), "malformed: one interim response"),
            (compressed("gzip", b"no gzip at all"), "malformed: compressed body: "),
            (compressed("gzip", &gzip(&[0; LIMIT + 1])), "too large"),
        ];
        for (said, expected) in cases {
            let (outcome, again) = outcome(&[&said]).await;
            let outcome = outcome.unwrap_err();
            assert!(outcome.starts_with(expected), "{outcome:?}, expected {expected:?}");
            assert!(!again);
        }
    }

    #[tokio::test]
    async fn chunks_must_be_what_they_say() {
        let cases: [(&[u8], &str); 8] = [
            (b"\r\n", "malformed: a chunk without a size"),
            (b"x\r\n", "malformed: a chunk without a size"),
            (b"11111111111111111\r\n", "malformed: a chunk without a size"),
            (b"3\r\nhello\r\n", "malformed: a chunk that is longer than it says"),
            (b"fffffffffffffff0\r\n", "too large"),
            (b"0\r\na b\r\n\r\n", "malformed: bad trailers: invalid header name"),
            (&[&b"1;"[..], &[b'x'; 5000]].concat(), "malformed: a chunk without a size"),
            (&[&b"0\r\n"[..], &b"a: b\r\n".repeat(1500)].concat(), "malformed: bad trailers: "),
        ];
        for (chunks, expected) in cases {
            let said = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunks].concat();
            let outcome = outcome(&[&said]).await.0.unwrap_err();
            assert!(outcome.starts_with(expected), "{outcome:?}, expected {expected:?}");
        }
    }

    #[tokio::test]
    async fn endless_bodies_end_at_the_limit() {
        for head in ["transfer-encoding: chunked\r\n", ""] {
            let said = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
            let (mut connection, mut server) = connection(said.as_bytes());
            let pour = async { while server.write_all(b"4\r\nabcd\r\n").await.is_ok() {} };
            tokio::select! {
                outcome = ask(&mut connection) => {
                    assert!(matches!(outcome, Err(Broken::TooLarge)));
                }
                () = pour => panic!("the reader hung up"),
            }
            assert!(connection.input.capacity() < 4 * READ_BYTES);
        }
    }

    #[tokio::test]
    async fn an_announced_length_claims_no_memory() {
        let (mut connection, _server) =
            connection(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nhello");
        let mut marks = Marks::default();
        let request = head();
        let exchange = connection.exchange(&request, None, usize::MAX, &mut marks);
        let poll = pin!(exchange).poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        assert!(marks.first.is_some());
        assert!(connection.input.capacity() <= 2 * READ_BYTES);
        assert!(!connection.is_open(), "an exchange was given up on it");
    }

    #[tokio::test]
    async fn both_forms_of_deflate_are_read() {
        let plain = vec![b'a'; LIMIT];
        let zlib = zlib(&plain);
        let raw = &zlib[2..zlib.len() - 4];
        for body in [&zlib[..], raw] {
            let (outcome, _) = outcome(&[&compressed("deflate", body)]).await;
            assert_eq!(outcome.unwrap().1, plain);
        }
    }

    #[tokio::test]
    async fn an_answer_before_the_end_of_the_request_is_read() {
        let (ours, mut server) = duplex(64);
        let mut connection = Connection::new(ours);
        let said = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
        server.write_all(said).await.unwrap();
        // The server never reads, and the pipe is full long before the body is out.
        let long = vec![b'x'; 100_000];
        let mut marks = Marks::default();
        let body: [&[u8]; 3] = [b"", b"", &long];
        let response = connection.exchange(&head(), Some(body), LIMIT, &mut marks).await.unwrap();
        assert_eq!(response.status, 413);
        assert!(!connection.is_open(), "the rest of the request is still to come");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_while_it_is_written_to_ends_the_exchange() {
        let (ours, server) = duplex(64);
        let mut connection = Connection::new(ours);
        drop(server);
        let long = vec![b'x'; 100_000];
        let mut marks = Marks::default();
        let body: [&[u8]; 3] = [b"", b"", &long];
        let outcome = connection.exchange(&head(), Some(body), LIMIT, &mut marks).await;
        assert!(matches!(outcome, Err(Broken::Ended(_))));
        assert_eq!(marks.first, None);
    }

    #[tokio::test]
    async fn an_idle_connection_is_open_as_long_as_the_server_is_silent() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let (mut kept, mut server) = connection(answer);
        ask(&mut kept).await.unwrap();
        assert!(kept.is_open());
        assert!(kept.is_open());
        server.write_all(b"HTTP/1.1 408 Timeout\r\n\r\n").await.unwrap();
        assert!(!kept.is_open());

        let (mut closed, server) = connection(answer);
        ask(&mut closed).await.unwrap();
        drop(server);
        assert!(!closed.is_open());

        let (mut more, _server) = connection(&[&answer[..], b"HTTP/1.1 200 OK\r\n"].concat());
        ask(&mut more).await.unwrap();
        assert!(!more.is_open(), "what follows a response was not asked for");
    }

    #[tokio::test]
    async fn headers_are_found_in_any_case() {
        let said = b"HTTP/1.1 301 Moved\r\nLOCATION:  /there \r\ncontent-length: 0\r\n\r\n";
        let (mut connection, _server) = connection(said);
        let response = ask(&mut connection).await.unwrap();
        assert_eq!(response.header("location"), Some("/there"));
        assert_eq!(response.header("content-type"), None);
    }

    #[test]
    fn arbitrary_bytes_end_in_an_answer_or_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let start = proptest::sample::select(vec![
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
        ]);
        proptest::proptest!(|(start in start, bytes: Vec<u8>, cut in 0..100usize)| {
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            let _ = runtime.block_on(outcome(&[start.as_bytes(), one, two]));
        });
    }

    #[test]
    fn a_head_does_not_show_its_secrets() {
        let head = RequestHead::new("GET", "/", "authorization: Basic c2VjcmV0\r\n");
        assert_eq!(format!("{head:?}"), "RequestHead(…)");
    }
}
