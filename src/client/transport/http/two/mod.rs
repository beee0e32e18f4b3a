//! HTTP/2 connections for plain requests, owned by one worker: agreed on by ALPN with TLS, spoken
//! from the first byte without. Requests share connections, each on a separate stream.

mod conn;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::super::handle::Owned;
use super::super::http1::{Response, Whole};
use super::super::http2::socket::{Greeted, Io, Lane, Positions, Ungreeted, greet};
use super::super::http2::{Code, Connection, Message};
use super::super::rows::{Key, Rows};
use super::super::tls;
use super::super::turns::{Timers, Turns};
use super::answer::{Plain, timed};
use super::{Inner, REDIRECTS_MAX};
use crate::client::lanes::{self, Landed};
use crate::client::memory::Claim;
use crate::client::{Body, CallError, Failure, HttpResponse, Request, Timing};
use crate::wire::Head;

/// How often a request is sent again if the server says that it did not process it.
const SENT_ANEW_MAX: u32 = 5;
/// Wait before it is sent for the third time; doubles from then on.
const ANEW_WAIT: Duration = Duration::from_millis(5);

/// Connections and the requests in flight on them.
pub(in super::super) struct Lanes {
    core: Core,
    lanes: Vec<Lane<Call>>,
    conns: Vec<Option<Box<Conn>>>,
    timers: Timers<Due>,
    turns: Turns,
    turn: usize,
    /// Responses that are being decompressed.
    unpacking: Vec<(Key, Whole)>,
    landed: Vec<Landed>,
}

/// State that is shared by all connections.
struct Core {
    inner: Arc<Inner>,
    rows: Rows<Row>,
    /// Buffer for reads.
    input: BytesMut,
    /// Results of a connection's turn, processed when the turn is over.
    came: Vec<Came>,
}

struct Conn {
    io: Box<dyn Io>,
    http2: Connection<Call>,
    /// Bytes received that are not yet a complete frame.
    input: BytesMut,
    lane: usize,
    waker: Waker,
    /// Requests waiting for a stream.
    waiting: VecDeque<Key>,
    /// Streams with a body that is not completely sent.
    unsent: Vec<u32>,
    /// Positions of the first bytes of requests in what the socket has not taken yet.
    positions: Positions,
    /// The server has announced the end of the connection, or we have.
    leaves: bool,
}

/// A request in flight.
struct Row {
    request: Request,
    lane: usize,
    /// The connection that it was given to, and its stream there; 0 while it waits, and once its
    /// response is complete.
    conn: Option<usize>,
    stream: u32,
    written: Option<Instant>,
    first: Option<Instant>,
    done: Option<Instant>,
    /// When its time is up, once it runs.
    deadline: Option<Instant>,
    /// The target of a redirect and whether the body goes along, and the number of redirects.
    led: Option<(String, bool)>,
    redirects: usize,
    anew: u32,
}

/// A stream.
struct Call {
    key: Key,
    /// The head of the response as HTTP/1.1 writes it, once it has arrived.
    head: Option<Bytes>,
    body: BytesMut,
    claim: Claim,
    interim: u8,
    /// A partly sent body.
    rest: Option<(Content, usize)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request's time is up.
    Limit(Key),
    /// A request that was not taken is sent again.
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

/// A result of a connection's turn.
enum Came {
    Answer(Key, Whole),
    Failure(Key, CallError),
}

impl Lanes {
    /// Opens `connections` connections.
    ///
    /// # Errors
    /// The error of the first connection that cannot be opened or does not greet.
    pub(super) async fn open(inner: Arc<Inner>, connections: usize) -> Result<Lanes, CallError> {
        let count = connections.max(1);
        let opened = try_join_all((0..count).map(|_| connect(inner.clone()))).await?;
        let mut lanes = Lanes {
            core: Core { inner, rows: Rows::new(), input: BytesMut::new(), came: Vec::new() },
            lanes: (0..count).map(|_| Lane::default()).collect(),
            conns: Vec::new(),
            timers: Timers::new(),
            turns: Turns::default(),
            turn: 0,
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
            waker: self.turns.waker(at),
            waiting: VecDeque::new(),
            unsent: Vec::new(),
            positions: Positions::default(),
            leaves: false,
        }));
        self.lanes[lane].conn = Some(at);
        // The first read registers its waker.
        self.turns.read(at);
    }

    /// Gives a request to the connection of its lane, or makes it wait for one.
    fn place(&mut self, key: Key) {
        let Core { inner, rows, .. } = &mut self.core;
        let Some(row) = rows.get(key) else { return };
        let lane = &mut self.lanes[row.lane];
        let Some((at, conn)) = lane.conn.and_then(|at| Some((at, self.conns[at].as_mut()?))) else {
            return lane.wait(key, || connect(inner.clone()).boxed());
        };
        row.conn = Some(at);
        if row.deadline.is_none()
            && let Some(limit) = inner.timeout
        {
            let deadline = Instant::now() + limit;
            row.deadline = Some(deadline);
            self.timers.add(deadline, Due::Limit(key));
            // Most requests end long before their time is up.
            self.timers.tidy(4 * rows.len() + 1000, |due| match due {
                Due::Limit(key) | Due::Anew(key) => rows.get(*key).is_some(),
            });
        }
        conn.waiting.push_back(key);
        self.turns.stir(at);
    }

    /// Takes a request out of the table and off its stream.
    fn withdraw(&mut self, key: Key) -> Option<Row> {
        let row = self.core.rows.take(key, true)?;
        if row.stream != 0
            && let Some((at, conn)) = row.conn.and_then(|at| Some((at, self.conns[at].as_mut()?)))
        {
            conn.http2.reset(row.stream, Code::CANCEL);
            self.turns.stir(at);
        }
        Some(row)
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
                    waiting.into_iter().for_each(|key| self.fail(key, error.clone()));
                }
            }
        }
    }

    /// Writes what a connection has to send, reads what arrived, and writes what that led to.
    fn turn_of(&mut self, at: usize, reads: bool) {
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_deref_mut) else { return };
        let waker = conn.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let core = &mut self.core;
        let mut ended = conn.send(core, &mut cx);
        if reads && ended.is_ok() {
            ended = match conn.read(core, &mut cx) {
                Ok(more) => {
                    if more {
                        self.turns.read(at);
                    }
                    conn.send(core, &mut cx)
                }
                Err(error) => Err(error),
            };
        }
        let mut moved = VecDeque::new();
        if conn.leaves || ended.is_err() {
            self.lanes[conn.lane].left(at);
            // Requests that have not begun take another connection.
            moved = std::mem::take(&mut conn.waiting);
            if ended.is_err() || conn.http2.is_idle() && conn.http2.out().is_empty() {
                self.conns[at] = None;
            }
        }
        for came in std::mem::take(&mut self.core.came) {
            match came {
                Came::Answer(key, whole) => self.unpack(key, whole),
                Came::Failure(key, error) => self.fail(key, error),
            }
        }
        if let Err(error) = ended {
            let rows = self.core.rows.iter();
            let hit: Vec<(Key, bool)> = rows
                .filter(|(_, row)| row.conn == Some(at) && row.stream != 0)
                .map(|(key, row)| (key, row.written.is_some()))
                .collect();
            for (key, written) in hit {
                let error = match &error {
                    CallError::Lost { reason, .. } if !written => {
                        not_taken(&self.core.inner, reason.clone())
                    }
                    error => error.clone(),
                };
                self.fail(key, error);
            }
        }
        moved.into_iter().for_each(|key| self.place(key));
    }

    /// Fails a request, or sends it again if the server cannot have processed it.
    fn fail(&mut self, key: Key, error: CallError) {
        let Some(row) = self.core.rows.get(key) else { return };
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
        let Some(row) = self.core.rows.take(key, false) else { return };
        let done = row.done.unwrap_or_else(Instant::now);
        let Row { written, first, conn, .. } = row;
        let connection = conn.map(|at| at as u32);
        let timing = Timing { written, first, done, attempts: 1, connection };
        self.landed.push(Landed { row: key.row, outcome: timed(outcome, refused, timing) });
    }

    /// Continues to unpack a response that has arrived.
    fn unpack(&mut self, key: Key, mut whole: Whole) {
        match whole.step(&self.core.inner.bounds) {
            Ok(Some(response)) => self.answered(key, response),
            Ok(None) => self.unpacking.push((key, whole)),
            Err(broken) => {
                let limit = self.core.inner.bounds.message_bytes_max;
                let error = broken.into_error(&self.core.inner.site.target, "HTTP/2", limit, true);
                self.land(key, Err(error), None);
            }
        }
    }

    /// A response has arrived: it is the answer, or a redirect.
    fn answered(&mut self, key: Key, response: Response) {
        let Some(row) = self.core.rows.get(key) else { return };
        let Request::Http(request) = row.request.bare() else { return };
        let may_lead = row.redirects < REDIRECTS_MAX;
        let had_body = row.led.as_ref().is_none_or(|(_, with_body)| *with_body);
        match self.core.inner.site.judge_plain(request, response, may_lead, had_body) {
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

/// Connects, and waits until the peer has proved that it speaks HTTP/2.
async fn connect(inner: Arc<Inner>) -> Result<Greeted<Call>, CallError> {
    let io = inner.connector.connect().await?;
    greet(Box::new(io), inner.connector.limit()).await.map_err(|ungreeted| match ungreeted {
        Ungreeted::Silent => lost(&inner, "the server closed the connection"),
        Ungreeted::Socket(error) => of_socket(&inner, &error),
        Ungreeted::Goodbye(code) => goodbye(&inner, code),
        Ungreeted::NotHttp2(code) => not_http_2(&inner, code),
        Ungreeted::Late(limit) => unlike(&inner, format!("no handshake within {limit:?}")),
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
            Code::NO_ERROR => "it closed the connection (GOAWAY)".into(),
            code => format!("it closed the connection (GOAWAY, {code:?})"),
        },
    )
}

fn unlike(inner: &Inner, reason: impl Into<String>) -> CallError {
    let (target, reason) = (inner.site.target.clone(), reason.into());
    CallError::Protocol { target, expected: "HTTP/2", reason, named: false }
}

fn not_http_2(inner: &Inner, code: Code) -> CallError {
    unlike(
        inner,
        format!(
            "it does not send HTTP/2 ({code:?}); if it speaks HTTP/1.1, leave `http_version` out"
        ),
    )
}

fn too_large(inner: &Inner) -> CallError {
    unlike(inner, "response headers over 64 KiB")
}

fn of_socket(inner: &Inner, error: &io::Error) -> CallError {
    let target = &inner.site.target;
    tls::failure_behind(target, error).unwrap_or_else(|| lost(inner, error.to_string()))
}

/// Requests to a Flow go over HTTP/1.1.
fn plain_only() -> CallError {
    CallError::Unsupported("HTTP/2 is for plain requests only; Flows speak HTTP/1.1".into())
}

impl lanes::Lanes for Lanes {
    fn offer(&mut self, row: u32, request: Request) {
        if !matches!(request.bare(), Request::Http(_)) {
            let outcome = Err(Failure::unsent(plain_only()));
            return self.landed.push(Landed { row, outcome });
        }
        let lane = self.turn % self.lanes.len();
        self.turn = self.turn.wrapping_add(1);
        let key = self.core.rows.start(
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
                    let Some(limit) = self.core.inner.timeout else { break };
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
        self.turns.take(cx);
        for (key, whole) in std::mem::take(&mut self.unpacking) {
            self.unpack(key, whole);
        }
        // What is due is sent before what has arrived is read.
        while let Some(at) = self.turns.next_to_send() {
            self.turn_of(at, false);
        }
        while let Some(at) = self.turns.next_to_read() {
            self.turn_of(at, true);
        }
        // Connections that are needed by now, and timers that were set, must wake us as well.
        self.open_lanes(cx);
        self.timers.arm(cx);
        if self.turns.goes_on() || !self.unpacking.is_empty() {
            cx.waker().wake_by_ref();
        }
        landed.append(&mut self.landed);
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        let key = self.core.rows.key(row)?;
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
                self.turns.stir(at);
            }
        }
        for lane in &mut self.lanes {
            *lane = Lane::default();
        }
        self.conns.iter().all(Option::is_none)
    }
}
