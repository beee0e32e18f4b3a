//! Connections that speak gRPC, owned by one worker: requests go out on long-lived streams or as calls
//! of their own, and replies are handed out as they come in.
//!
//! Nothing here waits. A poll writes what there is in one go for each connection, and reads what
//! came in one go; whatever takes longer is a timer, or a connection that is being opened.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream as streams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::super::handle::{Numbers, Owned};
use super::super::http2::{self, Code, Event, Message};
use super::super::pending::{Named, Received, Why, named, request_id};
use super::super::rows::{Key, Rows};
use super::super::tls;
use super::super::turns::{Ready, Timers};
use super::frame::{Broken, Incoming, Messages, Outgoing, packed};
use super::setup::{Seen, Setup};
use super::{CALL, SINGLE, STREAM_DOC};
use crate::client::lanes::{self, Landed};
use crate::client::memory::Claim;
use crate::client::{
    Body, CallError, ClientConfig, Failure, Reply, Request, RequestHeaders, Timing,
};
use crate::wire::{DecodeError, Encoded, Family, Form, Head};

/// Connections opened at the same time when a session opens: a gateway's backlog is not endless.
const OPEN_AT_ONCE: usize = 32;

/// Streams of one connection: a hundred thousand requests in flight, which is more than one takes.
const STREAMS_MAX: usize = 100;

/// What a read has room for: the replies to as many requests as go out in one write.
const READ_BYTES: usize = 128 << 10;

/// Reads from one connection before others get their turn.
const READS_AT_ONCE: usize = 4;

/// How long a stub is held back, at most.
const GRACE: Duration = Duration::from_secs(1);

/// A reply as short as a header with a request id. A gateway sends it for a request that failed, just
/// before it ends the stream with the reason.
const STUB: usize = 36;

/// Interim responses before the response proper.
const INTERIM_MAX: u8 = 16;

/// How often the gateway is pinged. Jina's client does it every 10 s, and gateways put up with that.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A gateway without a sign of life for this long is taken for dead. A Python process may well be
/// deaf for seconds while it computes.
const PONG_WITHIN: Duration = Duration::from_secs(60);

/// A request that the gateway says it did not look at, or that never left us, is sent this often again.
/// That it happens once is a gateway that goes; more often, one that takes nothing. That is no retry:
/// what was not taken cannot have been worked on, and the server has seen one attempt.
pub(super) const SENT_ANEW_MAX: u32 = 5;

/// Before it is sent for the third time; the wait doubles from then on.
const ANEW_WAIT: Duration = Duration::from_millis(5);

/// What a connection stands on.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What is sent.
#[derive(Clone, Debug)]
enum Work {
    /// A DataRequest, on a stream or as a call of its own.
    Post(Encoded),
    /// A Document to a streaming endpoint. `parts`: its replies are handed out one by one.
    Stream { message: Encoded, parts: bool },
    /// A question without arguments.
    Ask(&'static str),
}

/// A request that has headers of its own.
type Headed = Option<Arc<(RequestHeaders, Request)>>;

/// A request in flight.
struct Row {
    work: Work,
    headers: Headed,
    lane: usize,
    /// The connection that it was given to, and its stream there; neither where it waits.
    conn: Option<usize>,
    stream: u32,
    /// When its first byte went out, of this attempt and of the first.
    written: Option<Instant>,
    first_written: Option<Instant>,
    /// When its time is over, once it runs.
    deadline: Option<Instant>,
    anew: u32,
}

/// What a connection does at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request's time is over.
    Limit(Key),
    /// A request that was not taken goes out again.
    Anew(Key),
    /// A stub is a reply after all.
    Held(usize, u32),
    /// Time for a ping, on the so-many-th connection.
    Ping(usize, u64),
}

/// What can be asked of a gateway beside requests that have one reply.
#[derive(Debug)]
pub(in crate::client) enum Extra {
    /// Its answer to a question.
    Ask(&'static str, oneshot::Sender<Result<Bytes, CallError>>),
    /// Replies to a request one by one, under a ticket.
    Stream(u64, Request, Parts),
    /// So many bytes of them have been read.
    Read(u64, usize),
    /// They are not read any more.
    GiveUp(u64),
    /// What the form of replies depends on.
    Speak(Family),
}

/// Takes replies one by one, with the bytes of the gateway's window that each takes until it is read;
/// none stands for the end. So what waits is bounded by the window.
pub(in crate::client) type Parts = mpsc::UnboundedSender<Result<Option<(Reply, usize)>, Failure>>;

/// Connections and what is in flight on them.
pub(in crate::client) struct Lanes {
    core: Core,
    lanes: Vec<Lane>,
    conns: Vec<Option<Box<Conn>>>,
    /// Connections that have something to send.
    stirred: Vec<usize>,
    places: Vec<usize>,
    turn: usize,
}

/// What is not of one connection.
struct Core {
    setup: Arc<Setup>,
    family: Family,
    rows: Rows<Row>,
    timers: Timers<Due>,
    ready: Arc<Ready>,
    seen: Seen,
    /// Whether this gateway answers with stubs and goes on: then they are replies. What one stream
    /// learns holds for the next.
    terse: bool,
    /// Room for what is read.
    input: BytesMut,
    landed: Vec<Landed>,
    /// Who waits for answers and parts, by row, and the rows of the latter by ticket.
    asks: HashMap<u32, oneshot::Sender<Result<Bytes, CallError>>>,
    streams: HashMap<u32, (u64, Parts)>,
    tickets: HashMap<u64, u32>,
    /// Rows of either that are free.
    ended: Vec<u32>,
    /// Requests that need another connection.
    anew: Vec<Key>,
    /// How many connections there have been.
    opened: u64,
}

/// A place for a connection: requests are spread over them in turn.
#[derive(Default)]
struct Lane {
    conn: Option<usize>,
    opening: Option<BoxFuture<'static, Result<Greeted, CallError>>>,
    waiting: VecDeque<Key>,
}

/// A connection that has greeted.
struct Greeted {
    io: Box<dyn Io>,
    http2: http2::Connection<Call>,
    input: BytesMut,
}

struct Conn {
    io: Box<dyn Io>,
    http2: http2::Connection<Call>,
    /// What came in and is no whole frame.
    input: BytesMut,
    at: usize,
    lane: usize,
    number: u64,
    waker: Waker,
    stirred: bool,
    /// Streams that requests share.
    shared: Vec<u32>,
    /// Requests that wait for room on one of those.
    posts: VecDeque<Key>,
    /// Requests that wait for a stream of their own.
    calls: VecDeque<Key>,
    /// Streams of which a message is not out yet.
    unsent: Vec<u32>,
    /// Where the first bytes of requests stand that the socket has not taken.
    marks: VecDeque<(u64, Key)>,
    pinged: Option<Instant>,
    /// The gateway has said goodbye, or we have.
    leaves: bool,
}

/// A stream.
struct Call {
    kind: Kind,
    state: State,
    interim: u8,
    /// A message that is partly out.
    rest: Option<(Outgoing, usize)>,
    /// Its first byte has not gone, and belongs to this request.
    unmarked: Option<Key>,
}

enum Kind {
    /// Many requests and their replies.
    Shared {
        /// How many wait for theirs.
        count: usize,
        /// A stub, until it is clear what it was.
        held: Option<(Named, Received, Instant)>,
    },
    /// One request.
    One { key: Key, only: Option<Received>, gathered: Option<Box<Gathered>> },
}

/// Replies of a streaming endpoint.
struct Gathered {
    bodies: Vec<Bytes>,
    bytes: usize,
    /// Those that have no claims of their own.
    small: usize,
    claim: Claim,
    first: Option<Instant>,
    done: Option<Instant>,
    /// That of the first reply that tells of a failure, else of the last.
    head: Head,
    failed: bool,
    parts: bool,
}

enum State {
    Head,
    Body(Messages),
}

/// Why a connection is no more.
enum End {
    Error(CallError),
    /// Nobody needs it.
    Idle,
}

impl Lanes {
    /// Connects all connections.
    ///
    /// # Errors
    /// The first error of any of them.
    pub(super) async fn open(setup: Arc<Setup>) -> Result<Lanes, CallError> {
        let count = setup.config.connections.max(1);
        let mut lanes = Lanes::unopened(setup.clone(), count);
        let opened: Vec<Greeted> = streams::iter(0..count)
            .map(|_| connect(setup.clone()))
            .buffer_unordered(OPEN_AT_ONCE)
            .try_collect()
            .await?;
        for (lane, greeted) in opened.into_iter().enumerate() {
            lanes.adopt(lane, greeted);
        }
        Ok(lanes)
    }

    fn unopened(setup: Arc<Setup>, count: usize) -> Lanes {
        let core = Core {
            setup,
            family: Family::V1,
            rows: Rows::new(),
            timers: Timers::new(),
            ready: Arc::default(),
            seen: Seen::default(),
            terse: false,
            input: BytesMut::new(),
            landed: Vec::new(),
            asks: HashMap::new(),
            streams: HashMap::new(),
            tickets: HashMap::new(),
            ended: Vec::new(),
            anew: Vec::new(),
            opened: 0,
        };
        Lanes {
            core,
            lanes: (0..count).map(|_| Lane::default()).collect(),
            conns: Vec::new(),
            stirred: Vec::new(),
            places: Vec::new(),
            turn: 0,
        }
    }

    /// Lanes over a connection that is open already.
    #[cfg(test)]
    pub(super) async fn over(setup: Arc<Setup>, io: impl Io + 'static) -> Result<Lanes, CallError> {
        let greeted = greet(Box::new(io), &setup).await?;
        let mut lanes = Lanes::unopened(setup, 1);
        lanes.adopt(0, greeted);
        Ok(lanes)
    }

    pub(super) fn setup(&self) -> &Arc<Setup> {
        &self.core.setup
    }

    /// Takes what a client is to send.
    ///
    /// # Errors
    /// What gRPC has no way for; nothing is sent.
    fn work(&self, request: Request) -> Result<(Work, Headed), CallError> {
        let unsupported = |what: &str| Err(CallError::Unsupported(what.into()));
        let headers = match &request {
            Request::WithHeaders(both) => Some(both.clone()),
            _ => None,
        };
        let work = match request.bare() {
            Request::Post { .. } if headers.is_some() && self.core.setup.config.stream => {
                return unsupported(super::super::SHARED_HEADERS);
            }
            // Sizes have 32 bits in gRPC.
            Request::Post { message, .. } if u32::try_from(message.len()).is_err() => {
                return Err(CallError::Unsupported(format!(
                    "a request of {} bytes; gRPC has messages of up to 4 GiB",
                    message.len()
                )));
            }
            Request::Post { message, .. } => Work::Post(message.clone()),
            Request::Stream { message } => Work::Stream { message: message.clone(), parts: false },
            Request::Http(_) => {
                return unsupported("a plain HTTP request goes over HTTP, not over gRPC");
            }
            Request::Mutate { .. } => {
                return unsupported(
                    "a GraphQL mutation cannot be sent over gRPC; it needs an HTTP session",
                );
            }
            Request::WithHeaders(_) => return unsupported("headers of headers"),
        };
        Ok((work, headers))
    }

    /// Sends something under a number that is not in flight.
    fn begin(&mut self, row: u32, work: Work, headers: Headed) {
        let lane = self.turn % self.lanes.len();
        self.turn = self.turn.wrapping_add(1);
        let key = self.core.rows.start(
            row,
            Row {
                work,
                headers,
                lane,
                conn: None,
                stream: 0,
                written: None,
                first_written: None,
                deadline: None,
                anew: 0,
            },
        );
        self.place(key);
    }

    /// Gives a request to the connection of its lane, or has it wait for one.
    fn place(&mut self, key: Key) {
        let Some(row) = self.core.rows.get(key) else { return };
        let lane = &mut self.lanes[row.lane];
        match lane.conn {
            Some(at) => self.give(at, key),
            None => {
                lane.waiting.push_back(key);
                if lane.opening.is_none() {
                    lane.opening = Some(connect(self.core.setup.clone()).boxed());
                }
            }
        }
    }

    fn give(&mut self, at: usize, key: Key) {
        let (Some(conn), Some(row)) = (&mut self.conns[at], self.core.rows.get(key)) else {
            return;
        };
        row.conn = Some(at);
        let shares = matches!(row.work, Work::Post(_)) && self.core.setup.config.stream;
        if row.deadline.is_none()
            && let Some(limit) = self.core.setup.config.timeout
            && !matches!(row.work, Work::Ask(_))
        {
            let deadline = Instant::now() + limit;
            row.deadline = Some(deadline);
            let Core { timers, rows, .. } = &mut self.core;
            timers.add(deadline, Due::Limit(key));
            // Most requests end long before their time is over.
            timers.tidy(4 * rows.len() + 1000, |due| match due {
                Due::Limit(key) => rows.get(*key).is_some(),
                _ => true,
            });
        }
        if shares { &mut conn.posts } else { &mut conn.calls }.push_back(key);
        stir(&mut self.stirred, conn, at);
    }

    /// Takes a request out of the table, and off its stream.
    fn withdraw(&mut self, key: Key) -> Option<Row> {
        let row = self.core.rows.take(key, true)?;
        let Some((at, conn)) = row.conn.and_then(|at| Some((at, self.conns[at].as_mut()?))) else {
            return Some(row);
        };
        if row.stream == 0 {
            return Some(row);
        }
        match conn.http2.stream(row.stream).map(|stream| &mut stream.user.kind) {
            Some(Kind::Shared { count, .. }) => *count -= 1,
            Some(Kind::One { .. }) => {
                conn.http2.reset(row.stream, Code::CANCEL);
                stir(&mut self.stirred, conn, at);
            }
            None => (),
        }
        Some(row)
    }

    /// Bytes of a reply that came by itself have been read.
    fn release(&mut self, row: u32, bytes: usize) {
        let Some(key) = self.core.rows.key(row) else { return };
        let Some(row) = self.core.rows.get(key) else { return };
        if let Some(at) = row.conn
            && let Some(conn) = &mut self.conns[at]
        {
            conn.http2.release(row.stream, bytes);
            stir(&mut self.stirred, conn, at);
        }
    }

    fn adopt(&mut self, lane: usize, greeted: Greeted) {
        let at = self.conns.iter().position(Option::is_none).unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.core.opened += 1;
        let Greeted { io, http2, input } = greeted;
        let number = self.core.opened;
        let conn = Conn {
            io,
            http2,
            input,
            at,
            lane,
            number,
            waker: self.core.ready.waker(at),
            stirred: false,
            shared: Vec::new(),
            posts: VecDeque::new(),
            calls: VecDeque::new(),
            unsent: Vec::new(),
            marks: VecDeque::new(),
            pinged: None,
            leaves: false,
        };
        self.conns[at] = Some(Box::new(conn));
        self.core.timers.add(Instant::now() + PING_EVERY, Due::Ping(at, number));
        self.lanes[lane].conn = Some(at);
        // It is read for the first time, which registers its waker.
        self.places.push(at);
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
                    waiting.into_iter().for_each(|key| self.core.fail(key, error.clone()));
                }
            }
        }
    }

    fn on_time(&mut self, due: Due) {
        match due {
            Due::Limit(key) => {
                let Some(limit) = self.core.setup.config.timeout else { return };
                let Some(row) = self.withdraw(key) else { return };
                self.core.land_error(key.row, row, CallError::Timeout(limit), None);
            }
            Due::Anew(key) => self.place(key),
            Due::Held(at, stream) => {
                let Some(conn) = &mut self.conns[at] else { return };
                let now = Instant::now();
                if let Some(entry) = conn.http2.stream(stream)
                    && let Kind::Shared { held, .. } = &mut entry.user.kind
                    && held.as_ref().is_some_and(|(.., until)| *until <= now)
                {
                    self.core.terse = true;
                    self.core.release_held(&mut entry.user.kind, (at, stream));
                }
            }
            Due::Ping(at, number) => {
                let Some(conn) = self.conns[at].as_mut().filter(|conn| conn.number == number)
                else {
                    return;
                };
                let now = Instant::now();
                if conn.pinged.is_some_and(|pinged| now - pinged >= PONG_WITHIN) {
                    let reason = format!("no sign of life for {PONG_WITHIN:?}");
                    let error = self.core.setup.lost(reason);
                    return self.end(at, End::Error(error));
                }
                if conn.pinged.is_none() {
                    conn.pinged = Some(now);
                    conn.http2.ping(*b"flowbnch");
                    stir(&mut self.stirred, conn, at);
                }
                self.core.timers.add(now + PING_EVERY, Due::Ping(at, number));
            }
        }
    }

    /// Writes what a connection has to send, reads what came, and writes what that made it send.
    fn turn_of(&mut self, at: usize, reads: bool) {
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_deref_mut) else { return };
        conn.stirred = false;
        let waker = conn.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let mut ended = conn.send(&mut self.core, &mut cx);
        if reads && ended.is_ok() {
            match conn.read(&mut self.core, &mut cx) {
                Ok(more) => {
                    if more {
                        self.places.push(at);
                    }
                    ended = conn.send(&mut self.core, &mut cx);
                }
                Err(end) => ended = Err(end),
            }
        }
        let leaves = conn.leaves;
        if leaves && self.lanes[conn.lane].conn == Some(at) {
            self.lanes[conn.lane].conn = None;
        }
        if let Err(end) = ended {
            self.end(at, end);
        }
        // Those that were not taken, and need another connection.
        while let Some(key) = self.core.anew.pop() {
            self.place(key);
        }
    }

    /// A connection is no more.
    fn end(&mut self, at: usize, end: End) {
        let Some(conn) = self.conns[at].take() else { return };
        if self.lanes[conn.lane].conn == Some(at) {
            self.lanes[conn.lane].conn = None;
        }
        let End::Error(error) = end else { return };
        let hit: Vec<Key> = self
            .core
            .rows
            .iter()
            .filter(|(_, row)| row.conn == Some(at))
            .map(|(key, _)| key)
            .collect();
        for key in hit {
            self.core.fail(key, error.clone());
        }
        while let Some(key) = self.core.anew.pop() {
            self.place(key);
        }
    }
}

impl lanes::Lanes for Lanes {
    fn offer(&mut self, row: u32, request: Request) {
        match self.work(request) {
            Ok((work, headers)) => self.begin(row, work, headers),
            // What cannot be sent at all has ended at once.
            Err(error) => {
                self.core.landed.push(Landed { row, outcome: Err(Failure::unsent(error)) });
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        while let Some(due) = self.core.timers.poll(cx) {
            self.on_time(due);
        }
        self.open_lanes(cx);
        self.core.ready.take(cx, &mut self.places);
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
        self.core.timers.arm(cx);
        if !self.places.is_empty() || !self.stirred.is_empty() {
            cx.waker().wake_by_ref();
        }
        landed.append(&mut self.core.landed);
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        let key = self.core.rows.key(row)?;
        let row = self.withdraw(key)?;
        row.first_written.or(row.written)
    }
}

impl Owned for Lanes {
    type Extra = Extra;

    fn extra(&mut self, extra: Extra, rows: &mut Numbers) {
        match extra {
            Extra::Ask(path, settle) => {
                let row = rows.take();
                self.core.asks.insert(row, settle);
                self.begin(row, Work::Ask(path), None);
            }
            Extra::Stream(ticket, request, parts) => match self.work(request) {
                Ok((Work::Stream { message, .. }, headers)) => {
                    let row = rows.take();
                    self.core.streams.insert(row, (ticket, parts));
                    self.core.tickets.insert(ticket, row);
                    self.begin(row, Work::Stream { message, parts: true }, headers);
                }
                Ok(_) => {
                    let what = "only requests to streaming endpoints have replies one by one";
                    let error = CallError::Unsupported(what.into());
                    let _ = parts.send(Err(Failure::unsent(error)));
                }
                Err(error) => drop(parts.send(Err(Failure::unsent(error)))),
            },
            Extra::Read(ticket, bytes) => {
                if let Some(row) = self.core.tickets.get(&ticket) {
                    self.release(*row, bytes);
                }
            }
            Extra::GiveUp(ticket) => {
                if let Some(row) = self.core.tickets.remove(&ticket) {
                    self.core.streams.remove(&row);
                    self.core.ended.push(row);
                    lanes::Lanes::give_up(self, row);
                }
            }
            Extra::Speak(family) => self.core.family = family,
        }
    }

    fn ended(&mut self) -> Option<u32> {
        self.core.ended.pop()
    }

    /// Ends our half of all streams.
    fn close(&mut self) -> bool {
        for (at, conn) in self.conns.iter_mut().enumerate() {
            let Some(conn) = conn else { continue };
            if !std::mem::replace(&mut conn.leaves, true) {
                stir(&mut self.stirred, conn, at);
            }
        }
        for lane in &mut self.lanes {
            *lane = Lane::default();
        }
        self.conns.iter().all(Option::is_none)
    }
}

/// Has a connection looked at in this turn.
fn stir(stirred: &mut Vec<usize>, conn: &mut Conn, at: usize) {
    if !std::mem::replace(&mut conn.stirred, true) {
        stirred.push(at);
    }
}

impl Conn {
    /// Puts what there is room for into one buffer and writes it, until nothing is left or the socket
    /// takes no more.
    fn send(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), End> {
        self.leaves |= self.http2.is_used_up();
        if self.leaves {
            self.leave(core);
        }
        loop {
            self.fill(core);
            if self.http2.out().is_empty() {
                let idle = self.leaves && self.http2.is_idle();
                return if idle { Err(End::Idle) } else { Ok(()) };
            }
            match self.flush(core, cx) {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(error)) => return Err(self.hang_up(core, cx, &error)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Hands what goes out to the socket.
    fn flush(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
                if let Some(row) = core.rows.get(*key) {
                    row.written = Some(now);
                }
                self.marks.pop_front();
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// What a failed write means: if the gateway said why it hung up, then that.
    fn hang_up(&mut self, core: &mut Core, cx: &mut Context<'_>, error: &io::Error) -> End {
        for _ in 0..64 {
            match self.read(core, cx) {
                Ok(true) => (),
                Ok(false) => break,
                Err(end) => return end,
            }
        }
        End::Error(of_socket(&core.setup, error))
    }

    /// Cuts frames, as many as there is room for.
    fn fill(&mut self, core: &mut Core) {
        if !self.unsent.is_empty() {
            self.fill_rest();
        }
        while !self.posts.is_empty() && self.http2.has_room() {
            let Some(stream) = self.stream_for_posts(core) else { break };
            let Some(key) = self.posts.pop_front() else { break };
            let id = core.rows.id(key);
            let compression = core.setup.config.compression;
            let Some(row) = core.rows.get(key) else { continue };
            let Work::Post(message) = &row.work else { continue };
            let outgoing = match packed(message, id, compression) {
                Some(bytes) => Outgoing::Packed(bytes),
                None => Outgoing::Request { message, id: id.digits() },
            };
            let (sent, first) = self.http2.send(stream, &outgoing, 0, false);
            let Some(first) = first else {
                self.posts.push_front(key);
                break;
            };
            row.stream = stream;
            self.marks.push_back((first, key));
            let whole = outgoing.len();
            let Some(entry) = self.http2.stream(stream) else { break };
            if let Kind::Shared { count, .. } = &mut entry.user.kind {
                *count += 1;
            }
            if sent < whole {
                let rest = match outgoing {
                    Outgoing::Packed(bytes) => Outgoing::Packed(bytes),
                    _ => Outgoing::Request { message: message.clone(), id: id.digits() },
                };
                entry.user.rest = Some((rest, sent));
                self.unsent.push(stream);
            }
        }
        while !self.calls.is_empty()
            && self.http2.has_room()
            && !self.leaves
            && self.http2.streams_free() > 0
        {
            let Some(key) = self.calls.pop_front() else { break };
            self.call(core, key);
        }
    }

    /// Goes on with messages that are partly out.
    fn fill_rest(&mut self) {
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.retain(|stream| {
            let Some(entry) = self.http2.stream(*stream) else { return false };
            let ends = matches!(entry.user.kind, Kind::One { .. });
            let Some((message, from)) = entry.user.rest.take() else { return false };
            let (at, first) = self.http2.send(*stream, &message, from, ends);
            let Some(entry) = self.http2.stream(*stream) else { return false };
            if let Some(first) = first
                && let Some(key) = entry.user.unmarked.take()
            {
                self.marks.push_back((first, key));
            }
            let left = at < message.len();
            if left {
                entry.user.rest = Some((message, at));
            }
            left
        });
        self.unsent = unsent;
    }

    /// The stream for the next request that shares one: the first that has room. A gateway of v1 reads
    /// no more than a thousand requests of one stream at a time. Where we are to have no bound
    /// ([`ClientConfig::prefetch`] 0) another stream takes what comes beyond, so that the first one's does
    /// not become ours.
    fn stream_for_posts(&mut self, core: &mut Core) -> Option<u32> {
        if self.leaves {
            return None;
        }
        let boundless = core.setup.config.prefetch == 0;
        let mut first = None;
        for stream in &self.shared {
            let Some(entry) = self.http2.stream(*stream) else { continue };
            let Kind::Shared { count, .. } = &entry.user.kind else { continue };
            // A message that is partly out goes first.
            let free = entry.user.rest.is_none().then_some(*stream);
            if !boundless || *count < ClientConfig::PREFETCH {
                return free;
            }
            first = first.or(free);
        }
        // One is left for questions; a stream beyond what is allowed would wait for ever.
        let most = STREAMS_MAX.min(self.http2.streams_max().saturating_sub(1)).max(1);
        if self.shared.len() >= most || self.http2.streams_free() == 0 {
            return first;
        }
        let call = Call {
            kind: Kind::Shared { count: 0, held: None },
            state: State::Head,
            interim: 0,
            rest: None,
            unmarked: None,
        };
        let http2 = &mut self.http2;
        let stream =
            core.setup.headers(CALL, None, |block, shared| http2.open(block, shared, call));
        self.shared.push(stream);
        Some(stream)
    }

    /// Begins a call of its own.
    fn call(&mut self, core: &mut Core, key: Key) {
        let id = core.rows.id(key);
        let setup = core.setup.clone();
        let Some(row) = core.rows.get(key) else { return };
        let (path, message, parts) = match &row.work {
            Work::Post(message) => (SINGLE, Some(message.clone()), None),
            Work::Stream { message, parts } => (STREAM_DOC, Some(message.clone()), Some(*parts)),
            Work::Ask(path) => (*path, None, None),
        };
        let gathered = parts.map(|parts| {
            Box::new(Gathered {
                bodies: Vec::new(),
                bytes: 0,
                small: 0,
                claim: setup.bounds.memory.claim(),
                first: None,
                done: None,
                head: Head::default(),
                failed: false,
                parts,
            })
        });
        let call = Call {
            kind: Kind::One { key, only: None, gathered },
            state: State::Head,
            interim: 0,
            rest: None,
            unmarked: None,
        };
        let own = row.headers.as_deref().map(|both| &both.0);
        let http2 = &mut self.http2;
        let stream = setup.headers(path, own, |block, shared| http2.open(block, shared, call));
        row.stream = stream;
        let outgoing = match message {
            None => Outgoing::Empty,
            Some(message) => match packed(&message, id, setup.config.compression) {
                Some(bytes) => Outgoing::Packed(bytes),
                None => Outgoing::Request { message, id: id.digits() },
            },
        };
        let (sent, first) = self.http2.send(stream, &outgoing, 0, true);
        if let Some(first) = first {
            self.marks.push_back((first, key));
        }
        if sent < outgoing.len()
            && let Some(entry) = self.http2.stream(stream)
        {
            entry.user.unmarked = first.is_none().then_some(key);
            entry.user.rest = Some((outgoing, sent));
            self.unsent.push(stream);
        }
    }

    /// Nothing new goes out here. What shares a stream ends our half of it, and what has not begun to go
    /// out takes another connection.
    fn leave(&mut self, core: &mut Core) {
        core.anew.extend(self.posts.drain(..).chain(self.calls.drain(..)));
        for stream in &self.shared {
            if self.http2.stream(*stream).is_some_and(|entry| entry.user.rest.is_none()) {
                self.http2.end(*stream);
            }
        }
    }

    /// Reads what there is. Tells whether there may be more; else the waker is registered.
    fn read(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..READS_AT_ONCE {
            let mut input = std::mem::take(&mut core.input);
            input.reserve(READ_BYTES);
            input.extend_from_slice(&self.input);
            self.input.clear();
            let read = pin!(self.io.read_buf(&mut input)).poll(cx);
            let taken = match read {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(0)) => Err(End::Error(core.setup.silent())),
                Poll::Ready(Ok(_)) => self.take(core, &mut input).map(|()| true),
                Poll::Ready(Err(error)) => Err(End::Error(of_socket(&core.setup, &error))),
            };
            if !input.is_empty() {
                self.input = BytesMut::from(&input[..]);
                input.clear();
            }
            core.input = input;
            if !taken? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deals with all frames that are whole.
    fn take(&mut self, core: &mut Core, input: &mut BytesMut) -> Result<(), End> {
        let now = Instant::now();
        loop {
            match self.http2.next(input) {
                Ok(Some(event)) => self.on(core, event, now)?,
                Ok(None) => return Ok(()),
                Err(code) => return Err(self.violated(core, code)),
            }
        }
    }

    /// Tells the gateway what it did wrong, as far as the socket takes it.
    fn violated(&mut self, core: &Core, code: Code) -> End {
        self.http2.go_away(code);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.io).poll_write(&mut cx, self.http2.out());
        End::Error(core.setup.no_http2(code))
    }
}

impl Conn {
    fn on(&mut self, core: &mut Core, event: Event, now: Instant) -> Result<(), End> {
        match event {
            Event::Data { stream, data, ends } => {
                self.on_data(core, stream, data, now);
                if ends {
                    let error = core.setup.lost("the stream ended without a status");
                    self.over(core, stream, Err(error), now);
                }
            }
            Event::Headers { stream, block, ends } => {
                let told = core.seen.read(&block).map_err(|code| self.violated(core, code))?;
                self.on_headers(core, stream, &told, ends, now);
            }
            Event::HeadersTooLong { stream } => {
                let error = core.setup.headers_too_large();
                self.broke(core, stream, error, now);
            }
            Event::Reset { stream, code } => {
                let begun = self
                    .http2
                    .stream(stream)
                    .is_some_and(|entry| matches!(entry.user.state, State::Body(_)));
                // A call that has its reply needs no more of the gateway.
                let error = core.setup.reset(code, begun);
                if let Some(call) = self.http2.forget(stream) {
                    self.failed(core, stream, call, error, now);
                }
            }
            Event::GoAway { last, code } => {
                self.leaves = true;
                let beyond: Vec<u32> = self
                    .http2
                    .streams()
                    .map(|(stream, _)| stream)
                    .filter(|stream| *stream > last)
                    .collect();
                for stream in beyond {
                    if let Some(call) = self.http2.forget(stream) {
                        let error = core.setup.goodbye(code);
                        self.failed(core, stream, call, error, now);
                    }
                }
            }
            Event::Room => (),
            Event::Pong(_) => self.pinged = None,
        }
        Ok(())
    }

    fn on_headers(
        &mut self,
        core: &mut Core,
        stream: u32,
        told: &super::setup::Told,
        ends: bool,
        now: Instant,
    ) {
        let Some(entry) = self.http2.stream(stream) else { return };
        let call = &mut entry.user;
        let in_head = matches!(call.state, State::Head);
        let half = match &call.state {
            State::Head => Ok(()),
            State::Body(messages) => messages.end(),
        };
        if in_head && (100..200).contains(&told.status) && !ends {
            call.interim += 1;
            if call.interim == INTERIM_MAX {
                let error = core.setup.protocol("one interim response after the other");
                self.broke(core, stream, error, now);
            }
            return;
        }
        if told.too_large {
            let error = core.setup.headers_too_large();
            return self.broke(core, stream, error, now);
        }
        if let Some(ended) = &told.ended
            && (ends || in_head)
        {
            let ended = match (ended, half) {
                (Err(error), _) => Err(error.clone()),
                (Ok(()), Err(broken)) => Err(malformed(&core.setup, &broken)),
                (Ok(()), Ok(())) => Ok(()),
            };
            return self.over(core, stream, ended, now);
        }
        if in_head {
            if let Err(error) = core.setup.judge(told) {
                return self.broke(core, stream, error, now);
            }
            call.state = State::Body(Messages::new(told.encoding, &core.setup.bounds, now));
        }
        if ends {
            let error = match half {
                Ok(()) => core.setup.lost("the stream ended without a status"),
                Err(broken) => malformed(&core.setup, &broken),
            };
            self.over(core, stream, Err(error), now);
        } else if !in_head {
            let error = core.setup.protocol("it sends headers in the middle of a response");
            self.broke(core, stream, error, now);
        }
    }

    fn on_data(&mut self, core: &mut Core, stream: u32, data: Bytes, now: Instant) {
        let bytes = data.len();
        let Some(entry) = self.http2.stream(stream) else { return };
        let State::Body(messages) = &mut entry.user.state else {
            let error = core.setup.protocol("it sends data before headers");
            return self.broke(core, stream, error, now);
        };
        messages.push(data, now);
        loop {
            let Some(entry) = self.http2.stream(stream) else { return };
            let call = &mut entry.user;
            let State::Body(messages) = &mut call.state else { return };
            let incoming = match messages.next() {
                Ok(Some(incoming)) => incoming,
                Ok(None) => break,
                Err(broken) => {
                    let error = malformed(&core.setup, &broken);
                    return self.broke(core, stream, error, now);
                }
            };
            if let Err(error) = core.incoming(&mut call.kind, incoming, (self.at, stream)) {
                return self.broke(core, stream, error, now);
            }
        }
        let Some(entry) = self.http2.stream(stream) else { return };
        // What is read one by one gives room when it is read.
        let by_reader =
            matches!(&entry.user.kind, Kind::One { gathered: Some(all), .. } if all.parts);
        if !by_reader {
            // We hold at most one message beyond the window, so what came in may be followed by more at
            // once.
            self.http2.release(stream, bytes);
        }
    }
}

impl Conn {
    /// The gateway is done with a stream.
    fn over(&mut self, core: &mut Core, stream: u32, ended: Result<(), CallError>, now: Instant) {
        let Some(mut call) = self.http2.close(stream) else { return };
        let error = match (ended, &mut call.kind) {
            (Err(error), _) => error,
            (Ok(()), Kind::Shared { .. }) => {
                core.release_held(&mut call.kind, (self.at, stream));
                core.setup.lost("the gateway ended the stream")
            }
            (Ok(()), Kind::One { key, gathered: Some(_), .. }) => {
                let key = *key;
                return core.land_gathered(key, call.kind, now);
            }
            (Ok(()), Kind::One { key, only, .. }) => match only.take() {
                Some(received) => return core.land(*key, received),
                None => core.setup.protocol("an OK without a message"),
            },
        };
        self.failed(core, stream, call, error, now);
    }

    /// Gives a stream up.
    fn broke(&mut self, core: &mut Core, stream: u32, error: CallError, now: Instant) {
        if let Some(call) = self.http2.reset(stream, Code::CANCEL) {
            self.failed(core, stream, call, error, now);
        }
    }

    /// All that wait on a stream get its error.
    fn failed(&mut self, core: &mut Core, stream: u32, call: Call, error: CallError, _: Instant) {
        match call.kind {
            Kind::One { key, gathered, .. } => {
                core.fail_with(key, error, gathered.and_then(|all| all.first));
            }
            Kind::Shared { .. } => {
                self.shared.retain(|shared| *shared != stream);
                let at = self.at;
                let hit: Vec<Key> = core
                    .rows
                    .iter()
                    .filter(|(_, row)| row.conn == Some(at) && row.stream == stream)
                    .map(|(key, _)| key)
                    .collect();
                hit.into_iter().for_each(|key| core.fail(key, error.clone()));
            }
        }
    }
}

impl Core {
    /// Deals with a message of a response.
    ///
    /// # Errors
    /// When its stream is of no more use.
    fn incoming(
        &mut self,
        kind: &mut Kind,
        incoming: Incoming,
        at: (usize, u32),
    ) -> Result<(), CallError> {
        match (&mut *kind, incoming) {
            (Kind::Shared { held, .. }, Incoming::Message(received)) => {
                // Another message follows the stub, so it did not announce the end.
                if held.is_some() {
                    self.terse = true;
                    self.release_held(kind, at);
                }
                let named = named(&received.message);
                if received.message.len() > STUB || self.terse {
                    self.deliver(kind, named, received, at);
                } else if let Kind::Shared { held, .. } = kind {
                    let until = Instant::now() + GRACE;
                    *held = Some((named, received, until));
                    self.timers.add(until, Due::Held(at.0, at.1));
                }
                Ok(())
            }
            (Kind::Shared { held, .. }, Incoming::Skipped(beginning, error)) => {
                if held.is_some() {
                    self.terse = true;
                    self.release_held(kind, at);
                }
                // One that does not say whose it is may be anyone's.
                let Some(id) = request_id(&beginning) else { return Err(error) };
                if let Some(key) = self.waiting(kind, Named::Id(id), at) {
                    self.fail(key, error);
                }
                Ok(())
            }
            (Kind::One { key, gathered: Some(all), .. }, Incoming::Message(received)) => {
                let key = *key;
                self.gather(key, all, received)
            }
            (Kind::One { only, .. }, Incoming::Message(received)) => match only {
                Some(_) => Err(self.setup.protocol("two messages where one belongs")),
                None => {
                    *only = Some(received);
                    Ok(())
                }
            },
            (Kind::One { .. }, Incoming::Skipped(_, error)) => Err(error),
        }
    }

    /// The stub was the reply of a gateway that tells no routes.
    fn release_held(&mut self, kind: &mut Kind, at: (usize, u32)) {
        if let Kind::Shared { held, .. } = kind
            && let Some((named, received, _)) = held.take()
        {
            self.deliver(kind, named, received, at);
        }
    }

    /// Hands a reply to the request it belongs to. A reply nobody waits for (without an id, unknown, a
    /// second one, late) is counted and dropped.
    fn deliver(&mut self, kind: &mut Kind, named: Named, received: Received, at: (usize, u32)) {
        if let Some(key) = self.waiting(kind, named, at) {
            self.land(key, received);
        }
    }

    /// The request on a shared stream that a reply belongs to; it waits no more.
    fn waiting(&mut self, kind: &mut Kind, named: Named, at: (usize, u32)) -> Option<Key> {
        let found = match named {
            Named::Id(id) => self.rows.find(id),
            Named::Other => Err(Why::UnknownId),
            Named::Nothing => Err(Why::WithoutId),
        };
        let found = found.and_then(|key| match self.rows.get(key) {
            Some(row) if (row.conn, row.stream) == (Some(at.0), at.1) => Ok(key),
            _ => Err(Why::UnknownId),
        });
        match found {
            Ok(key) => {
                if let Kind::Shared { count, .. } = kind {
                    *count -= 1;
                }
                Some(key)
            }
            Err(why) => {
                self.setup.unmatched.add(why);
                None
            }
        }
    }

    /// A reply of a streaming endpoint.
    fn gather(
        &mut self,
        key: Key,
        all: &mut Gathered,
        received: Received,
    ) -> Result<(), CallError> {
        let Received { message, first, done } = received;
        let first = *all.first.get_or_insert(first);
        all.done = Some(done);
        let head = Form::Protobuf(Family::V2).decode_head(&message).map_err(decode_error)?;
        if all.parts {
            let written = self.rows.get(key).and_then(|row| row.written);
            let timing = Timing { written, first: Some(first), done, attempts: 1 };
            let bytes = message.len() + super::frame::PREFIX;
            let body = Body::Stream(vec![message]);
            if let Some((_, parts)) = self.streams.get(&key.row) {
                let _ = parts.send(Ok(Some((Reply { head, body, timing }, bytes))));
            }
            return Ok(());
        }
        all.bytes += message.len();
        if Claim::is_free(&message.len()) {
            all.small += message.len();
        }
        all.bodies.push(message);
        let limit = self.setup.bounds.message_bytes_max;
        if all.bytes > limit {
            return Err(CallError::TooLarge { limit });
        }
        all.claim.cover(all.small)?;
        // A failure, once told, is what the whole came to.
        if !all.failed {
            all.failed = head.header.status.as_ref().is_some_and(|status| !status.is_ok());
            all.head = head;
        }
        Ok(())
    }

    fn land_gathered(&mut self, key: Key, kind: Kind, now: Instant) {
        let Kind::One { gathered: Some(mut all), .. } = kind else { return };
        let Some(row) = self.rows.take(key, false) else { return };
        if let Some(last) = all.bodies.last_mut() {
            *last = all.claim.hold(std::mem::take(last));
        }
        let done = all.done.unwrap_or(now);
        let timing = Timing { written: row.written, first: all.first, done, attempts: 1 };
        let reply = Reply { head: all.head, body: Body::Stream(all.bodies), timing };
        self.landed(key.row, Ok(reply));
    }

    /// A request has its reply.
    fn land(&mut self, key: Key, received: Received) {
        let Some(row) = self.rows.take(key, false) else { return };
        let Received { message, first, done } = received;
        if let Work::Ask(_) = row.work {
            return self.answer(key.row, Ok(message));
        }
        let timing = Timing { written: row.written, first: Some(first), done, attempts: 1 };
        let form = Form::Protobuf(self.family);
        let outcome = match form.decode_head(&message) {
            Ok(head) => Ok(Reply { head, body: Body::Message { form, bytes: message }, timing }),
            Err(error) => Err(Failure::new(decode_error(error), timing)),
        };
        self.landed.push(Landed { row: key.row, outcome });
    }

    fn fail(&mut self, key: Key, error: CallError) {
        self.fail_with(key, error, None);
    }

    /// Fails a request, or has it go out again where the gateway cannot have looked at it.
    fn fail_with(&mut self, key: Key, error: CallError, first: Option<Instant>) {
        let Some(mut row) = self.rows.take(key, false) else { return };
        let error = match error {
            CallError::Lost { reason, .. } if row.written.is_none() => self.setup.not_taken(reason),
            error => error,
        };
        let again = matches!(error, CallError::NotTaken { .. }) && row.anew < SENT_ANEW_MAX;
        if !again || matches!(row.work, Work::Ask(_)) {
            return self.land_error(key.row, row, error, first);
        }
        let wait = (row.anew > 0).then(|| ANEW_WAIT * (1 << row.anew));
        row.anew += 1;
        (row.conn, row.stream) = (None, 0);
        row.first_written = row.first_written.or(row.written.take());
        let deadline = row.deadline;
        let key = self.rows.start(key.row, row);
        if let Some(deadline) = deadline {
            self.timers.add(deadline, Due::Limit(key));
        }
        match wait {
            Some(wait) => self.timers.add(Instant::now() + wait, Due::Anew(key)),
            None => self.anew.push(key),
        }
    }

    fn land_error(&mut self, number: u32, row: Row, error: CallError, first: Option<Instant>) {
        if let Work::Ask(_) = row.work {
            return self.answer(number, Err(error));
        }
        let timing = Timing { written: row.written, first, done: Instant::now(), attempts: 1 };
        self.landed(number, Err(Failure::new(error, timing)));
    }

    fn landed(&mut self, row: u32, outcome: Result<Reply, Failure>) {
        match self.streams.remove(&row) {
            None => self.landed.push(Landed { row, outcome }),
            Some((ticket, parts)) => {
                self.tickets.remove(&ticket);
                self.ended.push(row);
                // Whoever gave up in this moment does not hear of it.
                let _ = parts.send(outcome.map(|_| None));
            }
        }
    }

    fn answer(&mut self, row: u32, answer: Result<Bytes, CallError>) {
        if let Some(settle) = self.asks.remove(&row) {
            self.ended.push(row);
            let _ = settle.send(answer);
        }
    }
}

/// Connects, and waits until the other side has proven that it speaks HTTP/2.
async fn connect(setup: Arc<Setup>) -> Result<Greeted, CallError> {
    let io = setup.connector.connect().await?;
    greet(Box::new(io), &setup).await
}

/// Greets on an open connection, and waits for settings and the answer to a ping.
async fn greet(io: Box<dyn Io>, setup: &Setup) -> Result<Greeted, CallError> {
    let limit = setup.connector.limit();
    let mut greeted = Greeted { io, http2: http2::Connection::new(), input: BytesMut::new() };
    greeted.http2.ping(*b"flowbnch");
    match timeout(limit, std::future::poll_fn(|cx| greeted.poll(setup, cx))).await {
        Ok(outcome) => outcome.map(|()| greeted),
        Err(_) => Err(setup.protocol(format!("no HTTP/2 greeting within {limit:?}"))),
    }
}

impl Greeted {
    fn poll(&mut self, setup: &Setup, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        loop {
            while !self.http2.out().is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, self.http2.out()) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(setup.silent())),
                    Poll::Ready(Ok(count)) => drop(self.http2.taken(count)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(of_socket(setup, &error))),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.io).poll_flush(cx) {
                return Poll::Ready(Err(of_socket(setup, &error)));
            }
            self.input.reserve(1024);
            match pin!(self.io.read_buf(&mut self.input)).poll(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(setup.silent())),
                Poll::Ready(Ok(_)) => (),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(of_socket(setup, &error))),
                Poll::Pending => return Poll::Pending,
            }
            loop {
                match self.http2.next(&mut self.input) {
                    Ok(Some(Event::Pong(_))) => return Poll::Ready(Ok(())),
                    Ok(Some(Event::GoAway { code, .. })) => {
                        return Poll::Ready(Err(setup.goodbye(code)));
                    }
                    Ok(Some(_)) => (),
                    Ok(None) => break,
                    Err(code) => return Poll::Ready(Err(setup.no_http2(code))),
                }
            }
        }
    }
}

fn of_socket(setup: &Setup, error: &io::Error) -> CallError {
    tls::failure_behind(setup.target(), error).unwrap_or_else(|| setup.lost(error.to_string()))
}

fn malformed(setup: &Setup, broken: &Broken) -> CallError {
    match broken {
        Broken::TooLong(_) => setup.lost(broken.to_string()),
        broken => setup.protocol(format!("it sends {broken}")),
    }
}

pub(super) fn decode_error(error: impl Into<DecodeError>) -> CallError {
    CallError::Decode(Arc::new(error.into()))
}
