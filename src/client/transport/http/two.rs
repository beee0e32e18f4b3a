//! Connections of HTTP/2 for plain requests, owned by one worker: agreed on by ALPN inside TLS, spoken from
//! the first byte without. Requests share connections, each as a stream of its own.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::super::handle::Owned;
use super::super::http1::{Response, Whole};
use super::super::http2::greet::{Greeted, Io, Ungreeted, greet};
use super::super::http2::hpack::{self, Block};
use super::super::http2::{Code, Connection, Event, Message};
use super::super::rows::{Key, Rows};
use super::super::tls;
use super::super::turns::{Ready, Timers};
use super::answer::{Plain, timed};
use super::{Inner, REDIRECTS_MAX, content};
use crate::client::lanes::{self, Landed};
use crate::client::memory::Claim;
use crate::client::{Body, CallError, Failure, HttpResponse, Request, Timing};
use crate::wire::{Head, Protocol};

/// What a read has room for.
const READ_BYTES: usize = 64 << 10;
/// Reads from one connection before others get their turn.
const READS_AT_ONCE: usize = 4;
/// Response headers, in bytes as HTTP/1.1 writes them.
const HEADERS_MAX: usize = 64 << 10;
/// Interim responses before the response proper.
const INTERIM_MAX: u8 = 16;
/// A request that the server says it did not look at is sent this often again.
const SENT_ANEW_MAX: u32 = 5;
/// Before it is sent for the third time; the wait doubles from then on.
const ANEW_WAIT: Duration = Duration::from_millis(5);

/// Connections and what is in flight on them.
pub(in super::super) struct Lanes {
    inner: Arc<Inner>,
    rows: Rows<Row>,
    lanes: Vec<Lane>,
    conns: Vec<Option<Box<Conn>>>,
    timers: Timers<Due>,
    ready: Arc<Ready>,
    places: Vec<usize>,
    /// Connections that have something to send.
    stirred: Vec<usize>,
    turn: usize,
    /// Room for what is read.
    input: BytesMut,
    /// Responses that are being decompressed.
    unpacking: Vec<(Key, Whole)>,
    landed: Vec<Landed>,
}

/// A place for a connection: requests are spread over them in turn.
#[derive(Default)]
struct Lane {
    conn: Option<usize>,
    opening: Option<BoxFuture<'static, Result<Greeted<Call>, CallError>>>,
    waiting: VecDeque<Key>,
}

struct Conn {
    io: Box<dyn Io>,
    http2: Connection<Call>,
    /// What came in and is no whole frame.
    input: BytesMut,
    lane: usize,
    waker: Waker,
    /// Requests that wait for a stream.
    waiting: VecDeque<Key>,
    /// Streams of which a body is not out yet.
    unsent: Vec<u32>,
    /// Where the first bytes of requests stand that the socket has not taken.
    marks: VecDeque<(u64, Key)>,
    /// The server has said goodbye, or we have.
    leaves: bool,
}

/// A request in flight.
struct Row {
    request: Request,
    lane: usize,
    /// The connection that it was given to, and its stream there; 0 where it waits.
    conn: Option<usize>,
    stream: u32,
    written: Option<Instant>,
    first: Option<Instant>,
    done: Option<Instant>,
    /// When its time is over, once it runs.
    deadline: Option<Instant>,
    /// Where a redirect leads, whether the body goes along, and how often that was.
    led: Option<(String, bool)>,
    redirects: usize,
    anew: u32,
}

/// A stream.
struct Call {
    key: Key,
    /// The head of the response as HTTP/1.1 writes it, once it is there.
    head: Option<Bytes>,
    body: BytesMut,
    claim: Claim,
    interim: u8,
    /// A body that is partly out.
    rest: Option<(Content, usize)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request's time is over.
    Limit(Key),
    /// A request that was not taken goes out again.
    Anew(Key),
}

/// The body of a request.
struct Content(Bytes);

impl Message for Content {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn copy(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0[from..to]);
    }
}

/// What a turn of a connection has come to, to be dealt with when it is no longer borrowed.
enum Came {
    Answer(Key, Whole),
    Failure(Key, CallError),
}

impl Lanes {
    /// Opens `connections` connections.
    ///
    /// # Errors
    /// The first connection that cannot be made, or does not greet.
    pub(super) async fn open(inner: Arc<Inner>, connections: usize) -> Result<Lanes, CallError> {
        let count = connections.max(1);
        let opened = try_join_all((0..count).map(|_| connect(inner.clone()))).await?;
        let mut lanes = Lanes {
            inner,
            rows: Rows::new(),
            lanes: (0..count).map(|_| Lane::default()).collect(),
            conns: Vec::new(),
            timers: Timers::new(),
            ready: Arc::default(),
            places: Vec::new(),
            stirred: Vec::new(),
            turn: 0,
            input: BytesMut::new(),
            unpacking: Vec::new(),
            landed: Vec::new(),
        };
        for (lane, greeted) in opened.into_iter().enumerate() {
            lanes.adopt(lane, greeted);
        }
        Ok(lanes)
    }

    fn adopt(&mut self, lane: usize, greeted: Greeted<Call>) {
        let at = self.conns.iter().position(Option::is_none).unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let Greeted { io, http2, input } = greeted;
        self.conns[at] = Some(Box::new(Conn {
            io,
            http2,
            input,
            lane,
            waker: self.ready.waker(at),
            waiting: VecDeque::new(),
            unsent: Vec::new(),
            marks: VecDeque::new(),
            leaves: false,
        }));
        self.lanes[lane].conn = Some(at);
        // It is read for the first time, which registers its waker.
        self.places.push(at);
    }

    /// Gives a request to the connection of its lane, or has it wait for one.
    fn place(&mut self, key: Key) {
        let Some(row) = self.rows.get(key) else { return };
        let lane = &mut self.lanes[row.lane];
        let Some((at, conn)) = lane.conn.and_then(|at| Some((at, self.conns[at].as_mut()?))) else {
            lane.waiting.push_back(key);
            if lane.opening.is_none() {
                lane.opening = Some(connect(self.inner.clone()).boxed());
            }
            return;
        };
        row.conn = Some(at);
        if row.deadline.is_none()
            && let Some(limit) = self.inner.timeout
        {
            let deadline = Instant::now() + limit;
            row.deadline = Some(deadline);
            let Lanes { timers, rows, .. } = self;
            timers.add(deadline, Due::Limit(key));
            // Most requests end long before their time is over.
            timers.tidy(4 * rows.len() + 1000, |due| match due {
                Due::Limit(key) | Due::Anew(key) => rows.get(*key).is_some(),
            });
        }
        conn.waiting.push_back(key);
        self.stirred.push(at);
    }

    /// Takes a request out of the table, and off its stream.
    fn withdraw(&mut self, key: Key) -> Option<Row> {
        let row = self.rows.take(key, true)?;
        if row.stream != 0
            && let Some((at, conn)) = row.conn.and_then(|at| Some((at, self.conns[at].as_mut()?)))
        {
            conn.http2.reset(row.stream, Code::CANCEL);
            self.stirred.push(at);
        }
        Some(row)
    }

    fn open_lanes(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            let Some(opening) = &mut lane.opening else { continue };
            let Poll::Ready(opened) = opening.as_mut().poll(cx) else { continue };
            lane.opening = None;
            let waiting = std::mem::take(&mut lane.waiting);
            match opened {
                Ok(greeted) => {
                    self.adopt(index, greeted);
                    waiting.into_iter().for_each(|key| self.place(key));
                }
                Err(error) => {
                    waiting.into_iter().for_each(|key| self.fail(key, error.clone()));
                }
            }
        }
    }

    /// Writes what a connection has to send, reads what came, and writes what that made it send.
    fn turn_of(&mut self, at: usize, reads: bool) {
        let Some(mut conn) = self.conns.get_mut(at).and_then(Option::take) else { return };
        let waker = conn.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let mut came = Vec::new();
        let mut ended = conn.send(&self.inner, &mut self.rows, &mut cx, &mut came);
        if reads && ended.is_ok() {
            ended =
                match conn.read(&self.inner, &mut self.rows, &mut self.input, &mut cx, &mut came) {
                    Ok(more) => {
                        if more {
                            self.places.push(at);
                        }
                        conn.send(&self.inner, &mut self.rows, &mut cx, &mut came)
                    }
                    Err(error) => Err(error),
                };
        }
        let lane = conn.lane;
        if (conn.leaves || ended.is_err()) && self.lanes[lane].conn == Some(at) {
            self.lanes[lane].conn = None;
        }
        // What has not begun takes another connection.
        let gone = conn.leaves || ended.is_err();
        let moved: Vec<Key> = if gone { conn.waiting.drain(..).collect() } else { Vec::new() };
        let idle = conn.leaves && conn.http2.is_idle() && conn.http2.out().is_empty();
        if ended.is_ok() && !idle {
            self.conns[at] = Some(conn);
        }
        for came in came {
            match came {
                Came::Answer(key, whole) => self.unpack(key, whole),
                Came::Failure(key, error) => self.fail(key, error),
            }
        }
        if let Err(error) = ended {
            let on_it = self.rows.iter().filter(|(_, row)| row.conn == Some(at) && row.stream != 0);
            let hit: Vec<Key> = on_it.map(|(key, _)| key).collect();
            for key in hit {
                let written = self.rows.get(key).is_some_and(|row| row.written.is_some());
                let error = match &error {
                    CallError::Lost { reason, .. } if !written => self.not_taken(reason.clone()),
                    error => error.clone(),
                };
                self.fail(key, error);
            }
        }
        moved.into_iter().for_each(|key| self.place(key));
    }

    fn not_taken(&self, reason: String) -> CallError {
        CallError::NotTaken { target: self.inner.site.target.clone(), reason }
    }

    /// Fails a request, or has it go out again where the server cannot have looked at it.
    fn fail(&mut self, key: Key, error: CallError) {
        let Some(row) = self.rows.get(key) else { return };
        if !matches!(error, CallError::NotTaken { .. }) || row.anew == SENT_ANEW_MAX {
            return self.land(key, Err(error), None);
        }
        let wait = (row.anew > 0).then(|| ANEW_WAIT * (1 << row.anew));
        row.anew += 1;
        (row.conn, row.stream) = (None, 0);
        match wait {
            Some(wait) => self.timers.add(Instant::now() + wait, Due::Anew(key)),
            None => self.place(key),
        }
    }

    fn land(
        &mut self,
        key: Key,
        outcome: Result<(Head, Body), CallError>,
        refused: Option<Arc<HttpResponse>>,
    ) {
        let Some(row) = self.rows.take(key, false) else { return };
        let done = row.done.unwrap_or_else(Instant::now);
        let Row { written, first, conn, .. } = row;
        let connection = conn.map(|at| at as u32);
        let timing = Timing { written, first, done, attempts: 1, connection };
        self.landed.push(Landed { row: key.row, outcome: timed(outcome, refused, timing) });
    }

    /// Goes on with a response that is there.
    fn unpack(&mut self, key: Key, mut whole: Whole) {
        match whole.step(&self.inner.bounds) {
            Ok(Some(response)) => self.answered(key, response),
            Ok(None) => self.unpacking.push((key, whole)),
            Err(broken) => {
                let limit = self.inner.bounds.message_bytes_max;
                let error = broken.into_error(&self.inner.site.target, "HTTP/2", limit, true);
                self.land(key, Err(error), None);
            }
        }
    }

    /// A response has come: it is the answer, or leads elsewhere.
    fn answered(&mut self, key: Key, response: Response) {
        let Some(row) = self.rows.get(key) else { return };
        let Request::Http(request) = row.request.bare() else { return };
        let may_lead = row.redirects < REDIRECTS_MAX;
        let had_body = row.led.as_ref().is_none_or(|(_, with_body)| *with_body);
        match self.inner.site.judge_plain(request, response, may_lead, had_body) {
            Plain::Outcome(outcome, refused) => self.land(key, outcome, refused),
            Plain::Led { path, with_body } => {
                row.redirects += 1;
                row.led = Some((path, with_body));
                (row.conn, row.stream) = (None, 0);
                (row.first, row.done) = (None, None);
                self.place(key);
            }
        }
    }
}

impl Conn {
    /// Puts what there is room for into one buffer and writes it, until nothing is left or the socket
    /// takes no more.
    fn send(
        &mut self,
        inner: &Inner,
        rows: &mut Rows<Row>,
        cx: &mut Context<'_>,
        came: &mut Vec<Came>,
    ) -> Result<(), CallError> {
        self.leaves |= self.http2.is_used_up();
        loop {
            self.fill(inner, rows, came);
            if self.http2.out().is_empty() {
                return Ok(());
            }
            match self.flush(rows, cx) {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(error)) => return Err(of_socket(inner, &error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Hands what goes out to the socket.
    fn flush(&mut self, rows: &mut Rows<Row>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.http2.out().is_empty() {
            // Before the kernel takes it: what it sends at once is not sent before.
            let now = Instant::now();
            let count = match Pin::new(&mut self.io).poll_write(cx, self.http2.out()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            let until = self.http2.taken(count);
            while let Some((_, key)) = self.marks.front().filter(|(at, _)| *at < until) {
                if let Some(row) = rows.get(*key) {
                    row.written.get_or_insert(now);
                }
                self.marks.pop_front();
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Cuts frames, as many as there is room for.
    fn fill(&mut self, inner: &Inner, rows: &mut Rows<Row>, came: &mut Vec<Came>) {
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
            self.marks.push_back((self.http2.position(), key));
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

    /// Reads what there is. Tells whether there may be more; else the waker is registered.
    fn read(
        &mut self,
        inner: &Inner,
        rows: &mut Rows<Row>,
        room: &mut BytesMut,
        cx: &mut Context<'_>,
        came: &mut Vec<Came>,
    ) -> Result<bool, CallError> {
        for _ in 0..READS_AT_ONCE {
            room.reserve(READ_BYTES);
            room.extend_from_slice(&self.input);
            self.input.clear();
            let read = pin!(self.io.read_buf(room)).poll(cx);
            let taken = match read {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(0)) => Err(lost(inner, "the server closed the connection")),
                Poll::Ready(Ok(_)) => self.take(inner, rows, room, came).map(|()| true),
                Poll::Ready(Err(error)) => Err(of_socket(inner, &error)),
            };
            self.input.extend_from_slice(room);
            room.clear();
            if !taken? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deals with all frames that are whole.
    fn take(
        &mut self,
        inner: &Inner,
        rows: &mut Rows<Row>,
        input: &mut BytesMut,
        came: &mut Vec<Came>,
    ) -> Result<(), CallError> {
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

    /// Tells whose response is whole by that.
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

    /// The same of headers.
    fn on_headers(
        &mut self,
        inner: &Inner,
        rows: &mut Rows<Row>,
        (stream, block, ends): (u32, &[u8], bool),
        now: Instant,
    ) -> Result<Result<Option<u32>, (u32, CallError)>, CallError> {
        let told = read_block(block).map_err(|code| self.violated(inner, code))?;
        let Some(entry) = self.http2.stream(stream) else { return Ok(Ok(None)) };
        let call = &mut entry.user;
        if call.head.is_some() {
            // Trailers say nothing that anybody asks for.
            let within = (stream, unlike(inner, "it sends headers in the middle of a response"));
            return Ok(if ends { Ok(Some(stream)) } else { Err(within) });
        }
        let Some((status, lines)) = told else { return Ok(Err((stream, too_large(inner)))) };
        let Some(status) = status else {
            return Ok(Err((stream, unlike(inner, "it sends a response without a status"))));
        };
        if (100..200).contains(&status) && !ends {
            call.interim += 1;
            let endless = (stream, unlike(inner, "one interim response after the other"));
            return Ok(if call.interim == INTERIM_MAX { Err(endless) } else { Ok(None) });
        }
        let head = [format!("HTTP/1.1 {status} \r\n").as_bytes(), &lines, b"\r\n"].concat();
        call.head = Some(head.into());
        if let Some(row) = rows.get(call.key) {
            row.first.get_or_insert(now);
        }
        Ok(Ok(ends.then_some(stream)))
    }

    /// Tells the server what it did wrong, as far as the socket takes it.
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
    // What concerns a connection has no place here (RFC 9113, 8.2.2).
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

/// Header lines of HTTP/1.1 one by one, with names as HTTP/2 has them.
fn lines(text: &str) -> Vec<(String, &str)> {
    let lines = text.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect()
}

/// The status of a header block, which trailers lack, and its lines as HTTP/1.1 writes them; `None`: it is
/// longer than we take.
#[expect(clippy::type_complexity, reason = "a head may be too long, or none at all")]
fn read_block(block: &[u8]) -> Result<Option<(Option<u16>, Vec<u8>)>, Code> {
    let (mut status, mut malformed, mut lines) = (None, false, Vec::new());
    let mut too_long = false;
    hpack::read(block, |name, value| {
        if let Some(pseudo) = name.strip_prefix(b":") {
            // The only one that a response has, and it comes first.
            malformed |= pseudo != b"status" || status.is_some() || !lines.is_empty();
            let digits = str::from_utf8(value).ok().filter(|digits| digits.len() == 3);
            status = digits.and_then(|digits| digits.parse::<u16>().ok());
            malformed |= status.is_none_or(|status| status < 100);
            return;
        }
        malformed |= name.iter().any(u8::is_ascii_uppercase);
        malformed |= name.is_empty() || name.contains(&b':');
        malformed |= value.iter().chain(name).any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        too_long |= lines.len() + name.len() + value.len() > HEADERS_MAX;
        if !too_long {
            for piece in [name, b": ", value, b"\r\n"] {
                lines.extend_from_slice(piece);
            }
        }
    })
    .map_err(|_| Code::COMPRESSION_ERROR)?;
    if malformed {
        return Err(Code::PROTOCOL_ERROR);
    }
    Ok((!too_long).then_some((status, lines)))
}

/// Connects, and waits until the other side has proven that it speaks HTTP/2.
async fn connect(inner: Arc<Inner>) -> Result<Greeted<Call>, CallError> {
    let io = inner.connector.connect().await?;
    greet(Box::new(io), inner.connector.limit()).await.map_err(|ungreeted| match ungreeted {
        Ungreeted::Silent => lost(&inner, "the server closed the connection"),
        Ungreeted::Socket(error) => of_socket(&inner, &error),
        Ungreeted::Goodbye(code) => goodbye(&inner, code),
        Ungreeted::NotHttp2(code) => not_http_2(&inner, code),
        Ungreeted::Late(limit) => unlike(&inner, format!("no greeting within {limit:?}")),
    })
}

fn lost(inner: &Inner, reason: impl Into<String>) -> CallError {
    CallError::Lost { target: inner.site.target.clone(), reason: reason.into() }
}

fn not_taken(inner: &Inner, reason: String) -> CallError {
    CallError::NotTaken { target: inner.site.target.clone(), reason }
}

fn goodbye(inner: &Inner, code: Code) -> CallError {
    not_taken(
        inner,
        match code {
            Code::NO_ERROR => "it said goodbye".into(),
            code => format!("it said goodbye ({code:?})"),
        },
    )
}

fn unlike(inner: &Inner, reason: impl Into<String>) -> CallError {
    let (target, reason) = (inner.site.target.clone(), reason.into());
    CallError::Protocol { target, expected: "HTTP/2", reason, named: false }
}

fn not_http_2(inner: &Inner, code: Code) -> CallError {
    unlike(inner, format!("what it sends is something else ({code:?})"))
}

fn too_large(inner: &Inner) -> CallError {
    unlike(inner, "response headers over 64 KiB")
}

fn of_socket(inner: &Inner, error: &io::Error) -> CallError {
    let target = &inner.site.target;
    tls::failure_behind(target, error).unwrap_or_else(|| lost(inner, error.to_string()))
}

/// What goes to a Flow goes over HTTP/1.1.
fn plain_only() -> CallError {
    CallError::Unsupported("over HTTP/2 only plain requests are sent; Flows speak HTTP/1.1".into())
}

impl lanes::Lanes for Lanes {
    fn offer(&mut self, row: u32, request: Request) {
        if !matches!(request.bare(), Request::Http(_)) {
            let outcome = Err(Failure::unsent(plain_only()));
            return self.landed.push(Landed { row, outcome });
        }
        let lane = self.turn % self.lanes.len();
        self.turn = self.turn.wrapping_add(1);
        let key = self.rows.start(
            row,
            Row {
                request,
                lane,
                conn: None,
                stream: 0,
                written: None,
                first: None,
                done: None,
                deadline: None,
                led: None,
                redirects: 0,
                anew: 0,
            },
        );
        self.place(key);
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        while let Some(due) = self.timers.poll(cx) {
            match due {
                Due::Anew(key) => self.place(key),
                Due::Limit(key) => {
                    let Some(limit) = self.inner.timeout else { break };
                    let Some(Row { written, first, conn, .. }) = self.withdraw(key) else {
                        continue;
                    };
                    let (done, connection) = (Instant::now(), conn.map(|at| at as u32));
                    let timing = Timing { written, first, done, attempts: 1, connection };
                    let outcome = Err(Failure::new(CallError::Timeout(limit), timing));
                    self.landed.push(Landed { row: key.row, outcome });
                }
            }
        }
        self.open_lanes(cx);
        self.ready.take(cx, &mut self.places);
        for (key, whole) in std::mem::take(&mut self.unpacking) {
            self.unpack(key, whole);
        }
        // What is due goes out before what has come in is read.
        while let Some(at) = self.stirred.pop() {
            self.turn_of(at, false);
        }
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable();
        places.dedup();
        for at in places.drain(..) {
            self.turn_of(at, true);
        }
        self.places.append(&mut places);
        // Connections that are needed by now, and timers that were set, have to wake us as well.
        self.open_lanes(cx);
        self.timers.arm(cx);
        let goes_on = [self.places.is_empty(), self.stirred.is_empty(), self.unpacking.is_empty()];
        if goes_on.contains(&false) {
            cx.waker().wake_by_ref();
        }
        landed.append(&mut self.landed);
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        let key = self.rows.key(row)?;
        self.withdraw(key)?.written
    }
}

impl Owned for Lanes {
    type Extra = ();

    /// Connections end when nothing is in flight on them.
    fn close(&mut self) -> bool {
        for (at, conn) in self.conns.iter_mut().enumerate() {
            let Some(conn) = conn else { continue };
            if !std::mem::replace(&mut conn.leaves, true) {
                self.stirred.push(at);
            }
        }
        for lane in &mut self.lanes {
            *lane = Lane::default();
        }
        self.conns.iter().all(Option::is_none)
    }
}
