//! Connections that speak gRPC, owned by one worker: requests go out on long-lived streams or as calls
//! of their own, and replies are handed out as they come in.
//!
//! Nothing here waits. A poll writes what there is in one go for each connection, and reads what
//! came in one go; whatever takes longer is a timer, or a connection that is being opened.

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
    lanes: Vec<Lane<Call>>,
    conns: Vec<Option<Box<Conn>>>,
    turns: Turns,
    turn: usize,
}

/// What is not of one connection.
struct Core {
    setup: Arc<Setup>,
    family: Family,
    rows: Rows<Row>,
    timers: Timers<Due>,
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

struct Conn {
    io: Box<dyn Io>,
    http2: http2::Connection<Call>,
    /// What came in and is no whole frame.
    input: BytesMut,
    at: usize,
    lane: usize,
    number: u64,
    waker: Waker,
    /// Streams that requests share.
    shared: Vec<u32>,
    /// Requests that wait for room on one of those.
    posts: VecDeque<Key>,
    /// Requests that wait for a stream of their own.
    calls: VecDeque<Key>,
    /// Streams of which a message is not out yet.
    unsent: Vec<u32>,
    /// Where the first bytes of requests stand that the socket has not taken.
    positions: Positions,
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

    /// Lanes over a connection that is open already.
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
            // Most requests end long before their time is over.
            timers.tidy(4 * rows.len() + 1000, |due| match due {
                Due::Limit(key) => rows.get(*key).is_some(),
                _ => true,
            });
        }
        if shares { &mut conn.posts } else { &mut conn.calls }.push_back(key);
        self.turns.stir(at);
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
                self.turns.stir(at);
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
        // It is read for the first time, which registers its waker.
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
                    let reason = format!("no sign of life for {PONG_WITHIN:?}");
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

    /// Writes what a connection has to send, reads what came, and writes what that made it send.
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
        // Those that were not taken, and need another connection.
        while let Some(key) = self.core.anew.pop() {
            self.place(key);
        }
    }

    /// A connection is no more.
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
        self.turns.take(cx);
        // What is due goes out before what has come in is read.
        while let Some(at) = self.turns.next_to_send() {
            self.turn_of(at, false);
        }
        while let Some(at) = self.turns.next_to_read() {
            self.turn_of(at, true);
        }
        // Connections that are needed by now, and timers that were set, have to wake us as well.
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
                self.turns.stir(at);
            }
        }
        for lane in &mut self.lanes {
            *lane = Lane::default();
        }
        self.conns.iter().all(Option::is_none)
    }
}

/// Connects, and waits until the other side has proven that it speaks HTTP/2.
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
        Ungreeted::Late(limit) => setup.protocol(format!("no HTTP/2 greeting within {limit:?}")),
    })
}

pub(super) fn decode_error(error: impl Into<DecodeError>) -> CallError {
    CallError::Decode(Arc::new(error.into()))
}
