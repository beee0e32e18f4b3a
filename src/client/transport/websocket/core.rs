//! What the connections of a worker share: the requests in flight on them, and buffers.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::super::pending::{Named, Received, UnmatchedCounts, Why};
use super::super::rows::{Key, Rows};
use super::super::turns::Timers;
use super::opening::Opening;
use crate::client::lanes::Landed;
use crate::client::{Body, CallError, ClientConfig, Failure, Reply, Timing};
use crate::wire::Encoded;

/// State that is shared by all connections.
pub(super) struct Core {
    pub(super) opening: Arc<Opening>,
    pub(super) rows: Rows<Row>,
    unmatched: Arc<UnmatchedCounts>,
    pub(super) timers: Timers<Key>,
    pub(super) timeout: Option<Duration>,
    pub(super) landed: Vec<Landed>,
    /// Requests that need another connection.
    pub(super) anew: Vec<Key>,
    /// Buffers for reading and writing: a connection has its own only while it holds part of a
    /// message.
    pub(super) input: BytesMut,
    pub(super) out: Vec<u8>,
}

/// A request in flight.
pub(super) struct Row {
    pub(super) message: Encoded,
    pub(super) lane: usize,
    pub(super) written: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    /// Whether it has already been sent again.
    pub(super) again: bool,
}

impl Core {
    /// A state with nothing in flight.
    pub(super) fn new(
        config: &ClientConfig,
        opening: Arc<Opening>,
        unmatched: Arc<UnmatchedCounts>,
    ) -> Core {
        Core {
            opening,
            rows: Rows::new(),
            unmatched,
            timers: Timers::new(),
            timeout: config.timeout,
            landed: Vec::new(),
            anew: Vec::new(),
            input: BytesMut::new(),
            out: Vec::new(),
        }
    }

    /// Starts the time limit of a request.
    pub(super) fn limit(&mut self, key: Key) {
        let Some(limit) = self.timeout else { return };
        let Some(row) = self.rows.get(key) else { return };
        if row.deadline.is_none() {
            let deadline = Instant::now() + limit;
            row.deadline = Some(deadline);
            let Core { timers, rows, .. } = self;
            timers.add(deadline, key);
            // Most requests end long before their time is up.
            timers.tidy(4 * rows.len() + 1000, |key| rows.get(*key).is_some());
        }
    }

    /// Delivers a reply to the request it belongs to. A reply that no request waits for (without an
    /// id, unknown, duplicate, late) is counted and dropped.
    pub(super) fn arrived(&mut self, at: usize, named: Named, received: Received) -> bool {
        let Some(key) = self.waiting(at, named) else { return false };
        let Some(row) = self.rows.take(key, false) else { return false };
        let Received { message, first, done } = received;
        let timing = Timing {
            written: row.written,
            first: Some(first),
            done,
            attempts: 1,
            connection: u32::try_from(row.lane).ok(),
        };
        let form = self.opening.form;
        let outcome = match form.decode_head(&message) {
            Ok(head) => Ok(Reply { head, body: Body::Message { form, bytes: message }, timing }),
            Err(error) => Err(Failure::new(CallError::Decode(error.into()), timing)),
        };
        self.landed.push(Landed { row: key.row, outcome });
        true
    }

    /// Fails one request without affecting the others. Counted if no request waits for it.
    pub(super) fn failed(&mut self, at: usize, named: Named, error: CallError) -> bool {
        let Some(key) = self.waiting(at, named) else { return false };
        let Some(row) = self.rows.take(key, false) else { return false };
        self.land_error(key, &row, error);
        true
    }

    fn waiting(&mut self, at: usize, named: Named) -> Option<Key> {
        let found = match named {
            Named::Id(id) => self.rows.find(id),
            Named::Other => Err(Why::UnknownId),
            Named::Nothing => Err(Why::WithoutId),
        };
        let found = found.and_then(|key| match self.rows.get(key) {
            Some(row) if row.lane == at => Ok(key),
            _ => Err(Why::UnknownId),
        });
        found.map_err(|why| self.unmatched.add(why)).ok()
    }

    /// Fails a request with its connection. A request that nobody has seen is sent once more.
    pub(super) fn fail(&mut self, key: Key, error: CallError) {
        let Some(mut row) = self.rows.take(key, false) else { return };
        let unseen = matches!(error, CallError::Lost { .. }) && row.written.is_none();
        if unseen && !row.again {
            row.again = true;
            let deadline = row.deadline;
            let key = self.rows.start(key.row, row);
            if let Some(deadline) = deadline {
                self.timers.add(deadline, key);
            }
            return self.anew.push(key);
        }
        self.land_error(key, &row, error);
    }

    pub(super) fn land_error(&mut self, key: Key, row: &Row, error: CallError) {
        let done = Instant::now();
        let timing = Timing {
            written: row.written,
            first: None,
            done,
            attempts: 1,
            connection: u32::try_from(row.lane).ok(),
        };
        self.landed.push(Landed { row: key.row, outcome: Err(Failure::new(error, timing)) });
    }
}
