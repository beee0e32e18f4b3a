//! gRPC connections owned by one worker: requests go out on long-lived streams or as separate
//! calls, and replies are handed out as they arrive.
//!
//! Nothing here blocks. A poll sends everything that is pending on a connection in one write, and
//! reads everything that has arrived in one read; whatever takes longer is a timer, or a connection
//! that is being opened.

mod conn;
mod in_flight;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream as streams};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::conn::of_socket;
use super::super::handle::{Numbers, Owned};
use super::super::http2::socket::{Greeted, Io, Lane, Positions, Ungreeted, greet};
use super::super::http2::{self, Code};
use super::super::pending::{Named, Received};
use super::super::rows::{Key, Rows};
use super::super::turns::{Timers, Turns};
use super::frame::{Messages, Outgoing};
use super::setup::{Seen, Setup};
use crate::client::lanes::{self, Landed};
use crate::client::memory::Claim;
use crate::client::{CallError, Failure, Reply, Request, RequestHeaders};
use crate::wire::{DecodeError, Encoded, Family, Head};

/// Connections opened at the same time when a session opens: a gateway's backlog is limited.
const OPEN_AT_ONCE: usize = 32;

/// Streams per connection: a hundred thousand requests in flight, more than one connection can
/// serve.
const STREAMS_MAX: usize = 100;

/// Size of a read: the replies to as many requests as go out in one write.
const READ_BYTES: usize = 128 << 10;

/// Reads from one connection before others get their turn.
const READS_AT_ONCE: usize = 4;

/// How long a stub is held back at most.
const GRACE: Duration = Duration::from_secs(1);

/// The length of a reply that is only a header with a request id. A gateway sends one for a request
/// that failed, just before it ends the stream with the reason.
const STUB: usize = 36;

/// Limit of interim responses before the final one.
const INTERIM_MAX: u8 = 16;

/// Interval of pings. Jina's client pings every 10 s, which gateways tolerate.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A gateway without a sign of life for this long is considered dead. A Python process may well be
/// unresponsive for seconds while it computes.
const PONG_WITHIN: Duration = Duration::from_secs(60);

/// How often a request is sent again if the gateway says that it did not process it, or if it never
/// left us. Once means a gateway that is shutting down; more often, one that takes nothing. This is
/// not a retry: a request that was not taken cannot have been worked on, and the server has seen
/// one attempt.
pub(super) const SENT_ANEW_MAX: u32 = 5;

/// Wait before it is sent for the third time; doubles from then on.
const ANEW_WAIT: Duration = Duration::from_millis(5);

/// Something to send.
#[derive(Clone, Debug)]
enum Work {
    /// A DataRequest, on a shared stream or as a separate call.
    Post(Encoded),
    /// A Document to a streaming endpoint. `parts`: its replies are handed out one by one.
    Stream { message: Encoded, parts: bool },
    /// A query without arguments.
    Ask(&'static str),
}

/// A request that has additional headers.
type Headed = Option<Arc<(RequestHeaders, Request)>>;

/// A request in flight.
struct Row {
    work: Work,
    headers: Headed,
    lane: usize,
    /// The connection that it was given to, and its stream there; neither while it waits.
    conn: Option<usize>,
    stream: u32,
    /// When its first byte was sent, in this attempt and in the first.
    written: Option<Instant>,
    first_written: Option<Instant>,
    /// When its time is up, once it runs.
    deadline: Option<Instant>,
    anew: u32,
}

/// What a connection does at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request's time is up.
    Limit(Key),
    /// A request that was not taken is sent again.
    Anew(Key),
    /// A stub turns out to be a reply.
    Held(usize, u32),
    /// Time for a ping, on the connection with this number.
    Ping(usize, u64),
}

/// What can be asked of a gateway besides requests with one reply.
#[derive(Debug)]
pub(in crate::client) enum Extra {
    /// A query, and where its answer goes.
    Ask(&'static str, oneshot::Sender<Result<Bytes, CallError>>),
    /// A request whose replies are handed out one by one, under a ticket.
    Stream(u64, Request, Parts),
    /// This many bytes of those replies have been read.
    Read(u64, usize),
    /// Those replies are no longer read.
    GiveUp(u64),
    /// The family, on which the format of replies depends.
    Speak(Family),
}

/// Takes replies one by one, each with the bytes of the gateway's window that it occupies until it
/// is read; `None` is the end. So the window limits what waits.
pub(in crate::client) type Parts = mpsc::UnboundedSender<Result<Option<(Reply, usize)>, Failure>>;

/// Connections and the requests in flight on them.
pub(in crate::client) struct Lanes {
    core: Core,
    lanes: Vec<Lane<Call>>,
    conns: Vec<Option<Box<Conn>>>,
    turns: Turns,
    turn: usize,
}

/// State that is shared by all connections.
struct Core {
    setup: Arc<Setup>,
    family: Family,
    rows: Rows<Row>,
    timers: Timers<Due>,
    seen: Seen,
    /// Whether this gateway answers with stubs and continues: then they are replies. What is
    /// learned on one stream holds for the next.
    terse: bool,
    /// Buffer for reads.
    input: BytesMut,
    landed: Vec<Landed>,
    /// Receivers of answers and parts by row, and the rows of the latter by ticket.
    asks: HashMap<u32, oneshot::Sender<Result<Bytes, CallError>>>,
    streams: HashMap<u32, (u64, Parts)>,
    tickets: HashMap<u64, u32>,
    /// Free rows of either.
    ended: Vec<u32>,
    /// Requests that need another connection.
    anew: Vec<Key>,
    /// Number of connections opened so far.
    opened: u64,
}

struct Conn {
    io: Box<dyn Io>,
    http2: http2::Connection<Call>,
    /// Bytes received that are not yet a complete frame.
    input: BytesMut,
    at: usize,
    lane: usize,
    number: u64,
    waker: Waker,
    /// Streams shared by requests.
    shared: Vec<u32>,
    /// Requests waiting for room on one of those.
    posts: VecDeque<Key>,
    /// Requests waiting for a separate stream.
    calls: VecDeque<Key>,
    /// Streams with a message that is not completely sent.
    unsent: Vec<u32>,
    /// Positions of the first bytes of requests in what the socket has not taken yet.
    positions: Positions,
    pinged: Option<Instant>,
    /// The gateway has announced the end of the connection, or we have.
    leaves: bool,
}

/// A stream.
struct Call {
    kind: Kind,
    state: State,
    interim: u8,
    /// A partly sent message.
    rest: Option<(Outgoing, usize)>,
    /// The request whose first byte is not sent yet.
    unmarked: Option<Key>,
}

enum Kind {
    /// Many requests and their replies.
    Shared {
        /// Number of requests waiting for their reply.
        count: usize,
        /// A stub, until its meaning is clear.
        held: Option<(Named, Received, Instant)>,
    },
    /// One request.
    One { key: Key, only: Option<Received>, gathered: Option<Box<Gathered>> },
}

/// Replies of a streaming endpoint.
struct Gathered {
    bodies: Vec<Bytes>,
    bytes: usize,
    /// Bytes of the replies without a claim.
    small: usize,
    claim: Claim,
    first: Option<Instant>,
    done: Option<Instant>,
    /// The head of the first reply that reports a failure, else of the last one.
    head: Head,
    failed: bool,
    parts: bool,
}

enum State {
    Head,
    Body(Messages),
}

/// Why a connection ended.
enum End {
    Error(CallError),
    /// It is no longer needed.
    Idle,
}

impl Lanes {
    /// Opens all connections.
    ///
    /// # Errors
    /// The first error of any of them.
    pub(super) async fn open(setup: Arc<Setup>) -> Result<Lanes, CallError> {
        let count = setup.config.connections.max(1);
        let mut lanes = Lanes::unopened(setup.clone(), count);
        let opened: Vec<Greeted<Call>> = streams::iter(0..count)
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
            turns: Turns::default(),
            turn: 0,
        }
    }

    /// Lanes over a connection that is already open.
    #[cfg(test)]
    pub(super) async fn over(setup: Arc<Setup>, io: impl Io + 'static) -> Result<Lanes, CallError> {
        let greeted = greet_on(Box::new(io), &setup).await?;
        let mut lanes = Lanes::unopened(setup, 1);
        lanes.adopt(0, greeted);
        Ok(lanes)
    }

    pub(super) fn setup(&self) -> &Arc<Setup> {
        &self.core.setup
    }

    /// Takes a client's request.
    ///
    /// # Errors
    /// A request that gRPC cannot carry; nothing is sent.
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
            // Lengths have 32 bits in gRPC.
            Request::Post { message, .. } if u32::try_from(message.len()).is_err() => {
                return Err(CallError::Unsupported(format!(
                    "a request of {} bytes; gRPC messages have at most 4 GiB",
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

    /// Gives a request to the connection of its lane, or makes it wait for one.
    fn place(&mut self, key: Key) {
        let Some(row) = self.core.rows.get(key) else { return };
        let lane = &mut self.lanes[row.lane];
        match lane.conn {
            Some(at) => self.give(at, key),
            None => lane.wait(key, || connect(self.core.setup.clone()).boxed()),
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
            // Most requests end long before their time is up.
            timers.tidy(4 * rows.len() + 1000, |due| match due {
                Due::Limit(key) => rows.get(*key).is_some(),
                _ => true,
            });
        }
        if shares { &mut conn.posts } else { &mut conn.calls }.push_back(key);
        self.turns.stir(at);
    }

    /// Takes a request out of the table and off its stream.
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
                self.turns.stir(at);
            }
            None => (),
        }
        Some(row)
    }

    /// Gives back the bytes of a single reply that has been read.
    fn release(&mut self, row: u32, bytes: usize) {
        let Some(key) = self.core.rows.key(row) else { return };
        let Some(row) = self.core.rows.get(key) else { return };
        if let Some(at) = row.conn
            && let Some(conn) = &mut self.conns[at]
        {
            conn.http2.release(row.stream, bytes);
            self.turns.stir(at);
        }
    }

    fn adopt(&mut self, lane: usize, greeted: Greeted<Call>) {
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
            waker: self.turns.waker(at),
            shared: Vec::new(),
            posts: VecDeque::new(),
            calls: VecDeque::new(),
            unsent: Vec::new(),
            positions: Positions::default(),
            pinged: None,
            leaves: false,
        };
        self.conns[at] = Some(Box::new(conn));
        self.core.timers.add(Instant::now() + PING_EVERY, Due::Ping(at, number));
        self.lanes[lane].conn = Some(at);
        // The first read registers its waker.
        self.turns.read(at);
    }

    fn open_lanes(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.lanes.len() {
            let Some((opened, waiting)) = self.lanes[index].opened(cx) else { continue };
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
                    let reason = format!("no response to pings for {PONG_WITHIN:?}");
                    let error = self.core.setup.lost(reason);
                    return self.end(at, End::Error(error));
                }
                if conn.pinged.is_none() {
                    conn.pinged = Some(now);
                    conn.http2.ping(*b"flowbnch");
                    self.turns.stir(at);
                }
                self.core.timers.add(now + PING_EVERY, Due::Ping(at, number));
            }
        }
    }

    /// Writes what a connection has to send, reads what arrived, and writes what that led to.
    fn turn_of(&mut self, at: usize, reads: bool) {
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_deref_mut) else { return };
        let waker = conn.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let mut ended = conn.send(&mut self.core, &mut cx);
        if reads && ended.is_ok() {
            match conn.read(&mut self.core, &mut cx) {
                Ok(more) => {
                    if more {
                        self.turns.read(at);
                    }
                    ended = conn.send(&mut self.core, &mut cx);
                }
                Err(end) => ended = Err(end),
            }
        }
        if conn.leaves {
            self.lanes[conn.lane].left(at);
        }
        if let Err(end) = ended {
            self.end(at, end);
        }
        // Requests that were not taken and need another connection.
        while let Some(key) = self.core.anew.pop() {
            self.place(key);
        }
    }

    /// Handles the end of a connection.
    fn end(&mut self, at: usize, end: End) {
        let Some(conn) = self.conns[at].take() else { return };
        self.lanes[conn.lane].left(at);
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
            // A request that cannot be sent at all ends at once.
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
        self.turns.take(cx);
        // What is due is sent before what has arrived is read.
        while let Some(at) = self.turns.next_to_send() {
            self.turn_of(at, false);
        }
        while let Some(at) = self.turns.next_to_read() {
            self.turn_of(at, true);
        }
        // Connections that are needed by now, and timers that were set, must wake us as well.
        self.open_lanes(cx);
        self.core.timers.arm(cx);
        if self.turns.goes_on() {
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
                    let what = "only requests to streaming endpoints receive replies one by one";
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

    /// Closes our side of all streams.
    fn close(&mut self) -> bool {
        for (at, conn) in self.conns.iter_mut().enumerate() {
            let Some(conn) = conn else { continue };
            if !std::mem::replace(&mut conn.leaves, true) {
                self.turns.stir(at);
            }
        }
        for lane in &mut self.lanes {
            *lane = Lane::default();
        }
        self.conns.iter().all(Option::is_none)
    }
}

/// Connects, and waits until the peer has proved that it speaks HTTP/2.
async fn connect(setup: Arc<Setup>) -> Result<Greeted<Call>, CallError> {
    let io = setup.connector.connect().await?;
    greet_on(Box::new(io), &setup).await
}

async fn greet_on(io: Box<dyn Io>, setup: &Setup) -> Result<Greeted<Call>, CallError> {
    greet(io, setup.connector.limit()).await.map_err(|ungreeted| match ungreeted {
        Ungreeted::Silent => setup.silent(),
        Ungreeted::Socket(error) => of_socket(setup, &error),
        Ungreeted::Goodbye(code) => setup.goodbye(code),
        Ungreeted::NotHttp2(code) => setup.no_http2(code),
        Ungreeted::Late(limit) => setup.protocol(format!("no HTTP/2 handshake within {limit:?}")),
    })
}

pub(super) fn decode_error(error: impl Into<DecodeError>) -> CallError {
    CallError::Decode(Arc::new(error.into()))
}
