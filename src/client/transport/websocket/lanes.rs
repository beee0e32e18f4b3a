//! Connections owned by one worker, and the requests in flight on them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt, TryStreamExt};
use tokio::time::{Instant, timeout};

use super::super::SHARED_HEADERS;
use super::super::connect::Connection;
use super::super::handle::Owned;
use super::super::pending::UnmatchedCounts;
use super::super::rows::Key;
use super::super::turns::Turns;
use super::core::{Core, Row};
use super::link::{End, Link};
use super::opening::Opening;
use crate::client::lanes::{self, Landed};
use crate::client::{CallError, ClientConfig, Failure, Request};

/// Handshakes at a time when connections are opened in advance; see the same limit for HTTP.
const OPENING_AT_ONCE: usize = 64;

/// Connections that one may become: as many requests in flight as a machine has memory for.
const OVERFLOW_MAX: usize = 100;

/// How long the closing messages to a gateway may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Connections and the requests in flight on them.
pub(in crate::client) struct Lanes {
    core: Core,
    /// Requests go to the first of them in turn. The others take requests beyond the thousand that
    /// a gateway reads of one connection at a time, if we are to have no limit
    /// ([`ClientConfig::prefetch`] 0).
    lanes: Vec<Lane>,
    in_turn: usize,
    turn: usize,
    turns: Turns,
    /// Closing messages that are being sent.
    farewells: FuturesUnordered<BoxFuture<'static, ()>>,
    closes: bool,
}

/// A place for a connection.
#[derive(Default)]
struct Lane {
    link: Option<Box<Link>>,
    opening: Option<BoxFuture<'static, Result<(Connection, BytesMut), CallError>>>,
    waiting: VecDeque<Key>,
    /// Number of requests waiting here for their replies.
    count: usize,
}

impl Lanes {
    /// Opens `config.connections` connections.
    ///
    /// # Errors
    /// `Connect`, `Tls`, and `Protocol` or `Gateway` when the handshake is refused.
    pub(super) async fn open(
        config: &ClientConfig,
        opening: Arc<Opening>,
        unmatched: Arc<UnmatchedCounts>,
    ) -> Result<Lanes, CallError> {
        let in_turn = config.connections.max(1);
        let places = if config.prefetch == 0 { in_turn * OVERFLOW_MAX } else { in_turn };
        let opened: Vec<(Connection, BytesMut)> = futures_util::stream::iter(0..in_turn)
            .map(|_| opening.open())
            .buffer_unordered(OPENING_AT_ONCE)
            .try_collect()
            .await?;
        let mut lanes = Lanes {
            core: Core::new(config, opening, unmatched),
            lanes: Vec::new(),
            in_turn,
            turn: 0,
            turns: Turns::default(),
            farewells: FuturesUnordered::new(),
            closes: false,
        };
        lanes.lanes.resize_with(places, Lane::default);
        for (at, opened) in opened.into_iter().enumerate() {
            lanes.adopt(at, opened);
        }
        Ok(lanes)
    }

    fn adopt(&mut self, at: usize, (io, input): (Connection, BytesMut)) {
        let waker = self.turns.waker(at);
        let link = Link::new(at, io, input, &self.core.opening, waker);
        self.lanes[at].link = Some(Box::new(link));
        // The first read registers its waker.
        self.turns.read(at);
    }

    /// The connection whose turn it is, or the first one after it that has room.
    fn next_lane(&mut self) -> usize {
        let turn = self.turn % self.in_turn;
        self.turn = self.turn.wrapping_add(1);
        let has_room = |at: &usize| self.lanes[*at].count < ClientConfig::PREFETCH;
        (turn..self.lanes.len()).step_by(self.in_turn).find(has_room).unwrap_or(turn)
    }

    fn place(&mut self, key: Key) {
        let Some(row) = self.core.rows.get(key) else { return };
        let at = row.lane;
        let lane = &mut self.lanes[at];
        lane.count += 1;
        match &mut lane.link {
            Some(link) => {
                link.queue.push_back(key);
                self.turns.stir(at);
                self.core.limit(key);
            }
            None => {
                lane.waiting.push_back(key);
                if lane.opening.is_none() {
                    let opening = self.core.opening.clone();
                    lane.opening = Some(async move { opening.open().await }.boxed());
                }
            }
        }
    }

    /// Takes a request out of the table and out of its connection's count.
    fn withdraw(&mut self, key: Key) -> Option<Row> {
        let row = self.core.rows.take(key, true)?;
        let lane = &mut self.lanes[row.lane];
        lane.count = lane.count.saturating_sub(1);
        Some(row)
    }

    fn open_lanes(&mut self, cx: &mut Context<'_>) {
        for at in 0..self.lanes.len() {
            let Some(opening) = &mut self.lanes[at].opening else { continue };
            let Poll::Ready(opened) = opening.as_mut().poll(cx) else { continue };
            let lane = &mut self.lanes[at];
            lane.opening = None;
            let waiting = std::mem::take(&mut lane.waiting);
            match opened {
                Ok(opened) => {
                    self.adopt(at, opened);
                    for key in waiting {
                        if let Some(link) = &mut self.lanes[at].link {
                            link.queue.push_back(key);
                            self.core.limit(key);
                        }
                    }
                    self.turns.stir(at);
                }
                Err(error) => {
                    for key in waiting {
                        lane.count = lane.count.saturating_sub(1);
                        self.core.fail(key, error.clone());
                    }
                }
            }
        }
    }

    fn turn_of(&mut self, at: usize, reads: bool) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(link) = lane.link.as_deref_mut() else { return };
        let waker = link.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let polled = link.poll(&mut self.core, &mut cx, reads, &mut lane.count);
        if let Poll::Ready(end) = polled {
            self.end(at, end);
        }
    }

    /// Handles the end of a connection.
    fn end(&mut self, at: usize, end: End) {
        let lane = &mut self.lanes[at];
        let Some(link) = lane.link.take() else { return };
        lane.count = 0;
        // Our answer to a close frame, if there was one.
        let farewell = async move {
            let mut link = link;
            let said = poll_fn(|cx| link.say(cx));
            let _ = timeout(CLOSE_WAIT, said).await;
        };
        self.farewells.push(farewell.boxed());
        let End::Error(error) = end else { return };
        let hit: Vec<Key> =
            self.core.rows.iter().filter(|(_, row)| row.lane == at).map(|(key, _)| key).collect();
        hit.into_iter().for_each(|key| self.core.fail(key, error.clone()));
        while let Some(key) = self.core.anew.pop() {
            self.place(key);
        }
    }
}

impl lanes::Lanes for Lanes {
    fn offer(&mut self, row: u32, request: Request) {
        let what = match request {
            Request::Post { message, .. } => {
                let lane = self.next_lane();
                let (written, deadline) = (None, None);
                let live = Row { message, lane, written, deadline, again: false };
                let key = self.core.rows.start(row, live);
                return self.place(key);
            }
            Request::WithHeaders(_) => SHARED_HEADERS,
            Request::Http(_) => "a plain HTTP request goes over HTTP, not over WebSocket",
            Request::Mutate { .. } => "GraphQL is offered over HTTP only, not over WebSocket",
            Request::Stream { .. } => {
                "streaming endpoints are offered over gRPC only, not over WebSocket"
            }
        };
        let outcome = Err(Failure::unsent(CallError::Unsupported(what.into())));
        self.core.landed.push(Landed { row, outcome });
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        while let Some(key) = self.core.timers.poll(cx) {
            let Some(limit) = self.core.timeout else { break };
            if let Some(row) = self.withdraw(key) {
                self.core.land_error(key, &row, CallError::Timeout(limit));
            }
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
        while let Poll::Ready(Some(())) = Pin::new(&mut self.farewells).poll_next(cx) {}
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
        row.written
    }
}

impl Owned for Lanes {
    type Extra = ();

    /// The gateway closes the connection once it has read that nothing more comes.
    fn close(&mut self) -> bool {
        if !std::mem::replace(&mut self.closes, true) {
            for (at, lane) in self.lanes.iter_mut().enumerate() {
                lane.opening = None;
                if let Some(link) = &mut lane.link {
                    link.finish();
                    self.turns.stir(at);
                }
            }
        }
        self.lanes.iter().all(|lane| lane.link.is_none()) && self.farewells.is_empty()
    }
}
