//! Kept-alive connections of HTTP/1.1, each for one exchange at a time, owned by one worker.
//!
//! A new one is opened when a request finds none idle, up to the limit that was set; beyond it
//! requests wait for their turn. The connection that became idle last is taken first. The others
//! grow old, and when one turns out to be closed by the server (Jina's gateways do so after five
//! seconds), all closed ones are dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::super::connect;
use super::super::handle::Owned;
use super::super::http1::{self, Broken, Buffers, Marks, RequestHead, Response};
use super::super::pending::Why;
use super::super::rows::{Key, Rows};
use super::super::turns::{Timers, Turns};
use super::answer::{Plain, timed};
use super::{Inner, REDIRECTS_MAX, content, is_targeted, no_streams};
use crate::client::lanes::{self, Landed};
use crate::client::{Body, CallError, Failure, HttpResponse, Request, Timing};
use crate::wire::Head;

type Connection = http1::Connection<connect::Connection>;

/// An address has no more ports than this to connect from.
const CONNECTIONS_MAX: usize = 1 << 16;
/// Handshakes at a time when connections are opened in advance: fewer than a server's backlog holds
/// (128 on old systems), so that no SYN has to be sent again.
const OPENING_AT_ONCE: usize = 64;

/// No server closes a connection for being idle for less than this.
const IDLE_LONG: Duration = Duration::from_secs(1);

/// Connections and the requests in flight on them.
pub(in crate::client) struct Lanes {
    inner: Arc<Inner>,
    rows: Rows<Row>,
    conns: Vec<Option<Box<Conn>>>,
    buffers: Buffers,
    /// Slots of connections that are gone.
    vacant: Vec<usize>,
    /// Idle connections, each with the instant since which it has been idle.
    idle: Vec<(usize, Instant)>,
    openings: FuturesUnordered<BoxFuture<'static, (Key, Result<connect::Connection, CallError>)>>,
    /// Requests waiting for a connection because the limit is reached.
    queue: VecDeque<Key>,
    /// The connection limit.
    most: usize,
    /// Number of requests that had to wait in the queue.
    waited: u64,
    timers: Timers<Key>,
    /// Whose turn it is. A connection that was given a request has something to send.
    turns: Turns,
    landed: Vec<Landed>,
}

struct Conn {
    io: Connection,
    waker: Waker,
    /// The request whose exchange it carries.
    key: Option<Key>,
    /// Whether that exchange has yet to begin.
    begins: bool,
    /// Whether it had been idle for long: if so, the server may have closed it at the very moment
    /// it was taken.
    was_idle_long: bool,
}

/// A request in flight.
struct Row {
    request: Request,
    marks: Marks,
    /// When the first byte of a request that was then redirected was sent.
    written: Option<Instant>,
    conn: Option<usize>,
    /// Whether the connection limit held it back.
    waited: bool,
    /// The target of a redirect and whether the body goes along, and the number of redirects.
    led: Option<Box<Led>>,
    redirects: usize,
    /// Why it needs a new connection, if the server may have closed the old one as idle.
    renews: Option<CallError>,
}

struct Led {
    head: RequestHead,
    with_body: bool,
}

impl Lanes {
    /// Opens `connections` connections before the first request.
    ///
    /// # Errors
    /// The error of the first connection that cannot be opened.
    pub(super) async fn open(
        inner: Arc<Inner>,
        connections: usize,
        most: usize,
    ) -> Result<Lanes, CallError> {
        let opened: Vec<connect::Connection> = stream::iter(0..connections)
            .map(|_| inner.connector.connect())
            .buffer_unordered(OPENING_AT_ONCE)
            .try_collect()
            .await?;
        let mut lanes = Lanes {
            inner,
            rows: Rows::new(),
            conns: Vec::new(),
            buffers: Buffers::default(),
            vacant: Vec::new(),
            idle: Vec::new(),
            openings: FuturesUnordered::new(),
            queue: VecDeque::new(),
            most: if most == 0 { CONNECTIONS_MAX } else { most.min(CONNECTIONS_MAX) },
            waited: 0,
            timers: Timers::new(),
            turns: Turns::default(),
            landed: Vec::new(),
        };
        for io in opened {
            let at = lanes.adopt(io);
            lanes.idle.push((at, Instant::now()));
        }
        Ok(lanes)
    }

    /// Requests that the connection limit has held back so far.
    pub(in crate::client) fn waited(&self) -> u64 {
        self.waited
    }

    fn adopt(&mut self, io: connect::Connection) -> usize {
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let (io, waker) = (Connection::new(io), self.turns.waker(at));
        self.conns[at] =
            Some(Box::new(Conn { io, waker, key: None, begins: false, was_idle_long: false }));
        at
    }

    fn drop_conn(&mut self, at: usize) {
        if self.conns[at].take().is_some() {
            self.vacant.push(at);
        }
    }

    /// An idle connection that can take a request.
    fn take_idle(&mut self) -> Option<(usize, Duration)> {
        let (last, since) = self.idle.pop()?;
        if self.is_open(last) {
            return Some((last, since.elapsed()));
        }
        // The other closed ones are dropped with it.
        let idle = std::mem::take(&mut self.idle);
        self.idle = idle.into_iter().filter(|(at, _)| self.is_open(*at)).collect();
        self.idle.pop().map(|(at, since)| (at, since.elapsed()))
    }

    /// Whether an idle connection can take a request; if not, it is dropped.
    fn is_open(&mut self, at: usize) -> bool {
        let Some(conn) = &mut self.conns[at] else { return false };
        if conn.io.is_open() {
            return true;
        }
        // Data after an answer is a second answer: nothing else was requested.
        if conn.io.has_more() {
            self.inner.unmatched.add(Why::Duplicate);
        }
        self.drop_conn(at);
        false
    }

    /// Puts a request on a connection, or makes it wait for one.
    fn place(&mut self, key: Key) {
        let renews = self.rows.get(key).is_some_and(|row| row.renews.is_some());
        if !renews && let Some((at, idle)) = self.take_idle() {
            return self.start(at, key, idle >= IDLE_LONG);
        }
        let there = self.conns.len() - self.vacant.len() + self.openings.len();
        if there >= self.most {
            let Some(row) = self.rows.get(key) else { return };
            self.waited += u64::from(!std::mem::replace(&mut row.waited, true));
            return self.queue.push_back(key);
        }
        let connector = self.inner.connector.clone();
        let opening = async move { (key, connector.connect().await) };
        self.openings.push(opening.boxed());
    }

    /// A connection is free or gone: the next request in the queue gets its turn.
    fn next_in_line(&mut self) {
        while let Some(key) = self.queue.pop_front() {
            if self.rows.get(key).is_some() {
                return self.place(key);
            }
        }
    }

    /// Gives a connection to a request, whose bytes are made only when they can be sent: one
    /// request after the other if thousands are due at once.
    fn start(&mut self, at: usize, key: Key, was_idle_long: bool) {
        let (Some(conn), Some(row)) = (&mut self.conns[at], self.rows.get(key)) else { return };
        conn.key = Some(key);
        conn.begins = true;
        conn.was_idle_long = was_idle_long;
        row.conn = Some(at);
        row.marks = Marks::default();
        self.turns.stir(at);
    }

    /// Begins the exchange on a connection.
    fn begin(&mut self, at: usize, key: Key) {
        let id = self.rows.id(key).digits();
        let (Some(conn), Some(row)) = (&mut self.conns[at], self.rows.get(key)) else { return };
        let Inner { bounds, .. } = &*self.inner;
        let buffers = &mut self.buffers;
        let (headers, bare) = match &row.request {
            Request::WithHeaders(both) => (Some(&both.0), both.1.bare()),
            bare => (None, bare),
        };
        match bare {
            Request::Post { message, endpoint } => {
                let (head, tail) = (message.pieces().0, message.tail());
                let body = Some(([head, &id[..]], tail));
                let path = self.inner.path(endpoint);
                match (&row.led, headers) {
                    (Some(led), _) => conn.io.begin(&led.head, body, bounds, buffers),
                    (None, None) => conn.io.begin(&path.head, body, bounds, buffers),
                    (None, Some(headers)) => {
                        let lines = headers.lines(&self.inner.json);
                        conn.io.begin(
                            &RequestHead::new("POST", &path.path, &lines),
                            body,
                            bounds,
                            buffers,
                        );
                    }
                }
            }
            Request::Mutate { body } => {
                let body = Some(([&[][..], &[]], body.clone()));
                match headers {
                    None => conn.io.begin(&self.inner.graphql.head, body, bounds, buffers),
                    Some(headers) => {
                        let lines = headers.lines(&self.inner.of_graphql);
                        let path = &self.inner.graphql.path;
                        conn.io.begin(
                            &RequestHead::new("POST", path, &lines),
                            body,
                            bounds,
                            buffers,
                        );
                    }
                }
            }
            Request::Http(request) => {
                let body = content(request).map(|body| ([&[][..], &[]], body));
                match &row.led {
                    Some(led) => {
                        conn.io.begin(&led.head, body.filter(|_| led.with_body), bounds, buffers);
                    }
                    None => {
                        let lines = self.inner.lines_of_plain(request, headers);
                        let head = RequestHead::new(request.method(), request.path(), &lines);
                        conn.io.begin(&head, body, bounds, buffers);
                    }
                }
            }
            // Rejected before.
            Request::Stream { .. } | Request::WithHeaders(_) => (),
        }
    }

    /// Continues the exchange on a connection.
    fn turn_of(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_deref_mut) else { return };
        let Some(key) = conn.key else { return };
        if self.rows.get(key).is_none() {
            // Abandoned: whatever arrives belongs to no request, so the connection cannot be used
            // again.
            self.drop_conn(at);
            return self.next_in_line();
        }
        if std::mem::take(&mut conn.begins) {
            self.begin(at, key);
        }
        let (Some(conn), Some(row)) = (&mut self.conns[at], self.rows.get(key)) else { return };
        let waker = conn.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let (bounds, buffers) = (&self.inner.bounds, &mut self.buffers);
        match conn.io.poll_exchange(&mut cx, bounds, &mut row.marks, buffers) {
            Poll::Pending => (),
            Poll::Ready(Ok(response)) => {
                conn.key = None;
                row.conn = None;
                self.inner.answered.store(true, Ordering::Relaxed);
                if conn.io.has_more() {
                    self.inner.unmatched.add(Why::Duplicate);
                }
                if conn.io.is_reusable() {
                    self.idle.push((at, row.marks.done.unwrap_or_else(Instant::now)));
                } else {
                    self.drop_conn(at);
                }
                self.answered(key, response);
                self.next_in_line();
            }
            Poll::Ready(Err(broken)) => {
                row.conn = None;
                let was_idle_long = conn.was_idle_long;
                self.drop_conn(at);
                self.broke(key, broken, was_idle_long);
                self.next_in_line();
            }
        }
    }

    /// A server closes connections that have been idle for long, and may do so at the moment a
    /// request is sent on one. In that case not a byte of an answer arrives, and the request is
    /// sent once more on a new connection; this does not count as an attempt for retries. If the
    /// new connection cannot be opened, the server was not just closing an idle one, and the first
    /// failure stands. A connection that was just in use is not closed as idle: its end is a
    /// failure of the Flow, which we must not hide.
    fn broke(&mut self, key: Key, broken: Broken, was_idle_long: bool) {
        let Some(row) = self.rows.get(key) else { return };
        let tidied = matches!(broken, Broken::Ended(_))
            && was_idle_long
            && row.marks.first.is_none()
            && row.renews.is_none();
        let seen = row.marks.first.is_some() || self.inner.answered.load(Ordering::Relaxed);
        let limit = self.inner.bounds.message_bytes_max;
        let error = broken.into_error(&self.inner.site.target, "HTTP", limit, seen);
        if tidied {
            row.renews = Some(error);
            return self.place(key);
        }
        self.land(key, Err(error));
    }

    /// A response has arrived: it is the answer, or a redirect.
    fn answered(&mut self, key: Key, response: Response) {
        let Some(row) = self.rows.get(key) else { return };
        let site = &self.inner.site;
        let may_lead = row.redirects < REDIRECTS_MAX;
        let (headers, bare) = match &row.request {
            Request::WithHeaders(both) => (Some(&both.0), both.1.bare()),
            bare => (None, bare),
        };
        let outcome = match bare {
            Request::Post { message, endpoint } => {
                if let Some(path) = site.redirect(&response).filter(|_| may_lead) {
                    let head = match headers {
                        None => RequestHead::new("POST", &path, &self.inner.json),
                        Some(headers) => {
                            RequestHead::new("POST", &path, &headers.lines(&self.inner.json))
                        }
                    };
                    return self.lead(key, head, true);
                }
                let path = &self.inner.path(endpoint).path;
                let message = message.clone();
                let endpoint = endpoint.clone();
                let id = self.rows.id(key);
                site.reply(path, id, &endpoint, || is_targeted(&message), response)
            }
            Request::Mutate { .. } => site.mutation_reply(response),
            Request::Http(request) => {
                let had_body = row.led.as_ref().is_none_or(|led| led.with_body);
                match site.judge_plain(request, response, may_lead, had_body) {
                    Plain::Outcome(outcome, refused) => {
                        return self.land_with(key, outcome, refused);
                    }
                    Plain::Led { path, with_body } => {
                        let method = if with_body { request.method() } else { "GET" };
                        let lines = self.inner.lines_of_plain(request, headers);
                        let head = RequestHead::new(method, &path, &lines);
                        return self.lead(key, head, with_body);
                    }
                }
            }
            Request::Stream { .. } | Request::WithHeaders(_) => Err(no_streams()),
        };
        self.land(key, outcome);
    }

    /// Follows a redirect. The time this takes counts as the request's.
    fn lead(&mut self, key: Key, head: RequestHead, with_body: bool) {
        let Some(row) = self.rows.get(key) else { return };
        row.written = row.written.or(row.marks.written);
        row.redirects += 1;
        row.led = Some(Box::new(Led { head, with_body }));
        self.place(key);
    }

    fn land(&mut self, key: Key, outcome: Result<(Head, Body), CallError>) {
        self.land_with(key, outcome, None);
    }

    /// The same, with the response to a plain request that failed because of its status.
    fn land_with(
        &mut self,
        key: Key,
        outcome: Result<(Head, Body), CallError>,
        refused: Option<Arc<HttpResponse>>,
    ) {
        let Some(row) = self.rows.take(key, false) else { return };
        let timing = Timing {
            written: row.written.or(row.marks.written),
            first: row.marks.first,
            done: row.marks.done.unwrap_or_else(Instant::now),
            attempts: 1,
            connection: row.conn.and_then(|at| u32::try_from(at).ok()),
        };
        self.landed.push(Landed { row: key.row, outcome: timed(outcome, refused, timing) });
    }

    /// Takes a request out of the table. Its connection cannot be used again: what arrives there is
    /// late.
    fn withdraw(&mut self, key: Key) -> Option<Row> {
        let row = self.rows.take(key, true)?;
        if let Some(at) = row.conn {
            self.drop_conn(at);
            self.next_in_line();
        }
        Some(row)
    }

    fn opened(&mut self, key: Key, opened: Result<connect::Connection, CallError>) {
        let waits = self.rows.get(key).is_some_and(|row| row.conn.is_none());
        match opened {
            Ok(io) => {
                let at = self.adopt(io);
                if waits {
                    return self.start(at, key, false);
                }
                // The request that asked for it was abandoned.
                self.idle.push((at, Instant::now()));
                self.next_in_line();
            }
            Err(error) => {
                if waits {
                    let first = self.rows.get(key).and_then(|row| row.renews.take());
                    self.land(key, Err(first.unwrap_or(error)));
                }
                self.next_in_line();
            }
        }
    }
}

impl lanes::Lanes for Lanes {
    fn offer(&mut self, row: u32, request: Request) {
        if matches!(request.bare(), Request::Stream { .. }) {
            let outcome = Err(Failure::unsent(no_streams()));
            return self.landed.push(Landed { row, outcome });
        }
        let key = self.rows.start(
            row,
            Row {
                request,
                marks: Marks::default(),
                written: None,
                conn: None,
                waited: false,
                led: None,
                redirects: 0,
                renews: None,
            },
        );
        if let Some(limit) = self.inner.timeout {
            let Lanes { timers, rows, .. } = self;
            timers.add(Instant::now() + limit, key);
            // Most requests end long before their time is up.
            timers.tidy(4 * rows.len() + 1000, |key| rows.get(*key).is_some());
        }
        self.place(key);
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        while let Some(key) = self.timers.poll(cx) {
            let Some(limit) = self.inner.timeout else { break };
            let Some(row) = self.withdraw(key) else { continue };
            let timing = Timing {
                written: row.written.or(row.marks.written),
                first: row.marks.first,
                done: Instant::now(),
                attempts: 1,
                connection: row.conn.and_then(|at| u32::try_from(at).ok()),
            };
            let error = CallError::Timeout(limit);
            self.landed.push(Landed { row: key.row, outcome: Err(Failure::new(error, timing)) });
        }
        while let Poll::Ready(Some((key, opened))) = Pin::new(&mut self.openings).poll_next(cx) {
            self.opened(key, opened);
        }
        self.turns.take(cx);
        // What is due is sent before what has arrived is read.
        while let Some(at) = self.turns.next_to_send() {
            self.turn_of(at);
        }
        while let Some(at) = self.turns.next_to_read() {
            self.turn_of(at);
        }
        if self.turns.goes_on() {
            cx.waker().wake_by_ref();
        }
        // Connections whose opening began while we read must wake us as well.
        if let Poll::Ready(Some((key, opened))) = Pin::new(&mut self.openings).poll_next(cx) {
            self.opened(key, opened);
            cx.waker().wake_by_ref();
        }
        landed.append(&mut self.landed);
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        let key = self.rows.key(row)?;
        let row = self.withdraw(key)?;
        row.written.or(row.marks.written)
    }
}

impl Owned for Lanes {
    type Extra = ();

    fn close(&mut self) -> bool {
        while let Some((at, _)) = self.idle.pop() {
            self.drop_conn(at);
        }
        self.rows.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::super::connect::Connector;
    use super::super::super::tls::Alpn;
    use super::super::Http;
    use super::*;
    use crate::client::{ClientConfig, FamilyChoice};
    use crate::wire::{DataRequest, Family, Form, Protocol, Target};

    async fn lanes(listener: &TcpListener, connections: usize, most: usize) -> Lanes {
        let target = Target {
            protocol: Protocol::Http,
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            tls: false,
            user_info: None,
        };
        let config = ClientConfig {
            connections,
            connections_max: most,
            family: FamilyChoice::Is(Family::V1),
            ..ClientConfig::new(target)
        };
        let connector = Connector::new(&config, Alpn::Http1).unwrap();
        let (http, _) = Http::open(&config, connector, Family::V1).await.unwrap();
        match http.hand_over().await.unwrap() {
            super::super::Lanes::One(lanes) => *lanes,
            super::super::Lanes::Two(_) => panic!("it is HTTP/1.1"),
        }
    }

    /// Lanes with this many idle connections, the listener that accepts more, and the peers' ends
    /// in order.
    async fn idle(connections: usize) -> (Lanes, TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lanes = lanes(&listener, connections, 0).await;
        let mut ends = Vec::new();
        for _ in 0..connections {
            ends.push(listener.accept().await.unwrap().0);
        }
        (lanes, listener, ends)
    }

    /// Closes our peer's end, and waits until our side has noticed.
    async fn close(lanes: &mut Lanes, at: usize, end: TcpStream) {
        drop(end);
        while lanes.conns[at].as_mut().unwrap().io.is_open() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_last_idle_connection_is_taken_first_and_closed_ones_are_swept_out() {
        let (mut lanes, _listener, ends) = idle(4).await;
        assert_eq!(lanes.take_idle().map(|(at, _)| at), Some(3));
        lanes.idle.push((3, Instant::now()));
        // We do not know which of our ends belongs to which of theirs, so all but one are closed.
        let mut ends = ends.into_iter();
        let kept = ends.next().unwrap();
        ends.for_each(drop);
        let mut open = 4;
        while open > 1 {
            tokio::task::yield_now().await;
            let is_open = |conn: &mut Option<Box<Conn>>| conn.as_mut().unwrap().io.is_open();
            open = lanes.conns.iter_mut().map(is_open).filter(|open| *open).count();
        }
        assert!(lanes.take_idle().is_some());
        assert_eq!((lanes.idle.len(), lanes.conns.iter().flatten().count()), (0, 1));
        drop(kept);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_makes_room_for_another() {
        let (mut lanes, _listener, mut ends) = idle(1).await;
        close(&mut lanes, 0, ends.remove(0)).await;
        assert!(lanes.take_idle().is_none());
        assert_eq!(lanes.vacant, [0]);
    }

    /// Answers each request after a while, and counts the connections.
    async fn serve(listener: TcpListener, accepted: Arc<AtomicUsize>) {
        while let Ok((mut tcp, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut input = vec![0; 4096];
                while tcp.read(&mut input).await.is_ok_and(|count| count > 0) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let body = r#"{"header":{"request_id":"1"},"parameters":{}}"#;
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn requests_beyond_the_bound_of_connections_wait_for_their_turn() {
        for (most, connections) in [(2, 2), (0, 6)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut lanes = lanes(&listener, 1, most).await;
            let accepted = Arc::new(AtomicUsize::new(0));
            let serving = tokio::spawn(serve(listener, accepted.clone()));
            let form = Form::Json(Family::V1);
            let message = form.encode_request(&DataRequest::default()).unwrap();
            for row in 0..6 {
                let request = Request::Post { message: message.clone(), endpoint: "/".into() };
                lanes::Lanes::offer(&mut lanes, row, request);
            }
            let mut landed = Vec::new();
            poll_fn(|cx| {
                lanes::Lanes::poll(&mut lanes, cx, &mut landed);
                if landed.len() == 6 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            assert!(landed.iter().all(|landed| landed.outcome.is_ok()), "{landed:?}");
            assert_eq!(accepted.load(Ordering::Relaxed), connections);
            assert_eq!(lanes.waited(), if most == 0 { 0 } else { 4 });
            serving.abort();
        }
    }
}
