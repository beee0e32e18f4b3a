//! What is in flight: which request a message belongs to, and how each request ends.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::super::pending::{Named, Received, Why, named, request_id};
use super::super::super::rows::Key;
use super::super::frame::{Incoming, PREFIX};
use super::{
    ANEW_WAIT, Core, Due, GRACE, Gathered, Kind, Row, SENT_ANEW_MAX, STUB, Work, decode_error,
};
use crate::client::lanes::Landed;
use crate::client::memory::Claim;
use crate::client::{Body, CallError, Failure, Reply, Timing};
use crate::wire::{Family, Form};

impl Core {
    /// Processes a message of a response.
    ///
    /// # Errors
    /// When the stream can no longer be used.
    pub(super) fn incoming(
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
                // Without an id, it may belong to any request.
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
                Some(_) => Err(self.setup.protocol("two messages, expected one")),
                None => {
                    *only = Some(received);
                    Ok(())
                }
            },
            (Kind::One { .. }, Incoming::Skipped(_, error)) => Err(error),
        }
    }

    /// Delivers the held stub: it was the reply of a gateway that reports no routes.
    pub(super) fn release_held(&mut self, kind: &mut Kind, at: (usize, u32)) {
        if let Kind::Shared { held, .. } = kind
            && let Some((named, received, _)) = held.take()
        {
            self.deliver(kind, named, received, at);
        }
    }

    /// Delivers a reply to the request it belongs to. A reply that no request waits for (without an
    /// id, unknown, duplicate, late) is counted and dropped.
    fn deliver(&mut self, kind: &mut Kind, named: Named, received: Received, at: (usize, u32)) {
        if let Some(key) = self.waiting(kind, named, at) {
            self.land(key, received);
        }
    }

    /// The request on a shared stream that a reply belongs to; it stops waiting.
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

    /// Adds a reply of a streaming endpoint.
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
            let timing =
                Timing { written, first: Some(first), done, attempts: 1, connection: None };
            let bytes = message.len() + PREFIX;
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
        // The first failure reported is the outcome of the whole request.
        if !all.failed {
            all.failed = head.header.status.as_ref().is_some_and(|status| !status.is_ok());
            all.head = head;
        }
        Ok(())
    }

    pub(super) fn land_gathered(&mut self, key: Key, kind: Kind, now: Instant) {
        let Kind::One { gathered: Some(mut all), .. } = kind else { return };
        let Some(row) = self.rows.take(key, false) else { return };
        if let Some(last) = all.bodies.last_mut() {
            *last = all.claim.hold(std::mem::take(last));
        }
        let done = all.done.unwrap_or(now);
        let connection = connection_of(&row);
        let timing =
            Timing { written: row.written, first: all.first, done, attempts: 1, connection };
        let reply = Reply { head: all.head, body: Body::Stream(all.bodies), timing };
        self.landed(key.row, Ok(reply));
    }

    /// Completes a request with its reply.
    pub(super) fn land(&mut self, key: Key, received: Received) {
        let Some(row) = self.rows.take(key, false) else { return };
        let Received { message, first, done } = received;
        if let Work::Ask(_) = row.work {
            return self.answer(key.row, Ok(message));
        }
        let connection = connection_of(&row);
        let timing =
            Timing { written: row.written, first: Some(first), done, attempts: 1, connection };
        let form = Form::Protobuf(self.family);
        let outcome = match form.decode_head(&message) {
            Ok(head) => Ok(Reply { head, body: Body::Message { form, bytes: message }, timing }),
            Err(error) => Err(Failure::new(decode_error(error), timing)),
        };
        self.landed.push(Landed { row: key.row, outcome });
    }

    pub(super) fn fail(&mut self, key: Key, error: CallError) {
        self.fail_with(key, error, None);
    }

    /// Fails a request, or sends it again if the gateway cannot have processed it.
    pub(super) fn fail_with(&mut self, key: Key, error: CallError, first: Option<Instant>) {
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

    pub(super) fn land_error(
        &mut self,
        number: u32,
        row: Row,
        error: CallError,
        first: Option<Instant>,
    ) {
        if let Work::Ask(_) = row.work {
            return self.answer(number, Err(error));
        }
        let (done, connection) = (Instant::now(), connection_of(&row));
        let timing = Timing { written: row.written, first, done, attempts: 1, connection };
        self.landed(number, Err(Failure::new(error, timing)));
    }

    fn landed(&mut self, row: u32, outcome: Result<Reply, Failure>) {
        match self.streams.remove(&row) {
            None => self.landed.push(Landed { row, outcome }),
            Some((ticket, parts)) => {
                self.tickets.remove(&ticket);
                self.ended.push(row);
                // A caller that gave up at this moment misses nothing.
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

/// The connection on which a request was sent.
fn connection_of(row: &Row) -> Option<u32> {
    row.conn.and_then(|at| u32::try_from(at).ok())
}
