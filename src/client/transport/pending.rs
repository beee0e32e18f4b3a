//! Requests that wait for their replies on a stream where replies come in any order.
//!
//! gRPC's long-lived stream and a WebSocket share it: who sends registers here and waits, who reads
//! hands every message in. The lock is held for a few instructions, never across an `await`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::client::{CallError, ClientConfig, Failure, Mark, Timing, Unmatched};
use crate::wire::RequestId;

/// The requests in flight on one stream.
///
/// It holds one entry a request that somebody waits for, so its bound is that of the callers.
#[derive(Debug)]
pub(super) struct Pending {
    /// Names the stream in every request id, so that a reply meant for another is told apart.
    sender: u64,
    unmatched: Arc<UnmatchedCounts>,
    table: Mutex<Table>,
}

/// Counts replies that matched no request, over all streams of a session.
#[derive(Debug, Default)]
pub(super) struct UnmatchedCounts([AtomicU64; 4]);

/// Why a reply matched no request, as an index of [`UnmatchedCounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    WithoutId,
    UnknownId,
    Duplicate,
    Late,
}

impl UnmatchedCounts {
    pub(super) fn add(&self, why: Why) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Unmatched {
        let count = |why: Why| self.0[why as usize].load(Ordering::Relaxed);
        Unmatched {
            without_id: count(Why::WithoutId),
            unknown_id: count(Why::UnknownId),
            duplicate: count(Why::Duplicate),
            late: count(Why::Late),
        }
    }
}

/// Whose reply a message says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An id of the kind that we make.
    Id(RequestId),
    /// Another.
    Other,
    /// It says nothing.
    Nothing,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    /// Indices of slots that nobody waits in.
    free: Vec<u32>,
    /// Why the stream is no more, once it is.
    ended: Option<CallError>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Grows with each use of the slot: a late reply to an earlier use finds another number.
    generation: u32,
    waiting: Option<Waiting>,
    /// Whether its uses ended by being given up: the last one is the lowest bit.
    given_up: u64,
}

#[derive(Debug)]
struct Waiting {
    settle: oneshot::Sender<Settled>,
    written: Option<Instant>,
}

/// What becomes of a request, told to the one who waits.
#[derive(Debug)]
struct Settled {
    written: Option<Instant>,
    result: Result<Received, (CallError, Instant)>,
}

/// A message as it came in.
#[derive(Debug)]
pub(super) struct Received {
    /// The message, not decoded.
    pub(super) message: Bytes,
    /// When its first byte was there.
    pub(super) first: Instant,
    /// When its last byte was there.
    pub(super) done: Instant,
}

/// One request that waits. Dropping it gives the request up.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    pending: Arc<Pending>,
    id: RequestId,
    mark: &'a Mark,
    settled: oneshot::Receiver<Settled>,
    /// Whether the table may still hold us.
    listed: bool,
}

impl Pending {
    /// An empty table for a new stream.
    pub(super) fn new(unmatched: Arc<UnmatchedCounts>) -> Arc<Pending> {
        Arc::new(Pending { sender: rand::random(), unmatched, table: Mutex::default() })
    }

    /// Registers a request and gives it its id.
    ///
    /// # Errors
    /// What the stream ended with, when it has ended.
    pub(super) fn register<'a>(
        self: &Arc<Pending>,
        mark: &'a Mark,
    ) -> Result<Waiter<'a>, CallError> {
        let (settle, settled) = oneshot::channel();
        let mut table = self.table();
        if let Some(error) = &table.ended {
            return Err(error.clone());
        }
        let index = table.free.pop().unwrap_or_else(|| {
            table.slots.push(Slot::default());
            // In-flight requests are bounded by memory long before 32 bits.
            (table.slots.len() - 1) as u32
        });
        let slot = &mut table.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.given_up <<= 1;
        slot.waiting = Some(Waiting { settle, written: None });
        let number = (u64::from(slot.generation) << 32) | u64::from(index);
        drop(table);
        let id = RequestId { sender: self.sender, number };
        Ok(Waiter { pending: self.clone(), id, mark, settled, listed: true })
    }

    /// Notes that the transport takes the request now; false when it was given up meanwhile and
    /// need not be sent.
    pub(super) fn written(&self, id: RequestId) -> bool {
        match self.table().waiting(self.sender, id) {
            Some(waiting) => {
                waiting.written = Some(Instant::now());
                true
            }
            None => false,
        }
    }

    /// Hands a reply to the one who waits for it. A reply nobody waits for (without an id, unknown, a
    /// second one, late) is counted and dropped.
    pub(super) fn arrived(&self, named: Named, arrival: Received) {
        self.settle(named, Ok(arrival));
    }

    /// Fails one request, leaving the others alone. Counted when nobody waits for it.
    pub(super) fn fail(&self, id: RequestId, error: CallError) {
        self.settle(Named::Id(id), Err((error, Instant::now())));
    }

    /// Ends the table: every request that waits, and every later one, gets `error`. Only the first
    /// end counts.
    pub(super) fn end(&self, error: CallError) {
        let now = Instant::now();
        let mut table = self.table();
        if table.ended.is_some() {
            return;
        }
        table.ended = Some(error.clone());
        let slots = std::mem::take(&mut table.slots);
        table.free = Vec::new();
        drop(table);
        for waiting in slots.into_iter().filter_map(|slot| slot.waiting) {
            let result = Err((error.clone(), now));
            // Who gave up in this moment does not hear of it.
            let _ = waiting.settle.send(Settled { written: waiting.written, result });
        }
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.table().ended.is_some()
    }

    /// Whether so many requests wait on it that a gateway with Jina's own bound reads no more of
    /// them until some are answered.
    pub(super) fn is_full(&self) -> bool {
        let table = self.table();
        table.slots.len() - table.free.len() >= ClientConfig::PREFETCH
    }

    fn settle(&self, named: Named, result: Result<Received, (CallError, Instant)>) {
        let id = match named {
            Named::Id(id) => id,
            Named::Other => return self.unmatched.add(Why::UnknownId),
            Named::Nothing => return self.unmatched.add(Why::WithoutId),
        };
        let mut table = self.table();
        match table.take(self.sender, id, false) {
            Some(waiting) => {
                drop(table);
                let settled = Settled { written: waiting.written, result };
                if waiting.settle.send(settled).is_err() {
                    // Given up in this very moment.
                    self.unmatched.add(Why::Late);
                }
            }
            None => self.unmatched.add(table.why(self.sender, id)),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that runs under the lock leaves the table half-changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn waiting(&mut self, sender: u64, id: RequestId) -> Option<&mut Waiting> {
        if id.sender != sender {
            return None;
        }
        let slot = self.slots.get_mut(id.number as u32 as usize)?;
        if slot.generation != (id.number >> 32) as u32 {
            return None;
        }
        slot.waiting.as_mut()
    }

    fn take(&mut self, sender: u64, id: RequestId, given_up: bool) -> Option<Waiting> {
        self.waiting(sender, id)?;
        let index = id.number as u32;
        self.free.push(index);
        let slot = &mut self.slots[index as usize];
        slot.given_up |= u64::from(given_up);
        slot.waiting.take()
    }

    /// Why nobody waits for a reply to `id`.
    fn why(&self, sender: u64, id: RequestId) -> Why {
        let slot = self.slots.get(id.number as u32 as usize).filter(|_| id.sender == sender);
        let Some(slot) = slot else { return Why::UnknownId };
        match slot.generation.checked_sub((id.number >> 32) as u32) {
            None => Why::UnknownId,
            Some(ago @ 0..64) if slot.given_up >> ago & 1 == 0 => Why::Duplicate,
            // So long ago that we do not remember, it is late whatever it is.
            Some(_) => Why::Late,
        }
    }
}

impl Waiter<'_> {
    /// The id under which the request must be sent.
    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// Waits for the reply, at most for `limit` from now.
    ///
    /// # Errors
    /// What the stream ended with, or `Timeout`; then a later reply is discarded.
    pub(super) async fn reply(
        mut self,
        limit: Option<Duration>,
    ) -> Result<(Bytes, Timing), Failure> {
        let settled = match limit {
            None => (&mut self.settled).await,
            Some(limit) => match timeout(limit, &mut self.settled).await {
                Ok(settled) => settled,
                Err(_) => match self.give_up() {
                    Some(waiting) => {
                        let error = CallError::Timeout(limit);
                        return Err(failure(error, waiting.written, Instant::now()));
                    }
                    // It was settled in this very moment.
                    None => (&mut self.settled).await,
                },
            },
        };
        self.listed = false;
        // A sender leaves the table only to send, and the table outlives us.
        let settled = settled.expect("a request leaves the table with a result");
        match settled.result {
            Ok(Received { message, first, done }) => {
                let timing =
                    Timing { written: settled.written, first: Some(first), done, attempts: 1 };
                Ok((message, timing))
            }
            Err((error, done)) => Err(failure(error, settled.written, done)),
        }
    }

    /// Leaves the table; `None` when the request is settled already.
    fn give_up(&mut self) -> Option<Waiting> {
        self.listed = false;
        self.pending.table().take(self.pending.sender, self.id, true)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.listed
            && let Some(Waiting { written: Some(written), .. }) = self.give_up()
        {
            self.mark.set(written);
        }
    }
}

fn failure(error: CallError, written: Option<Instant>, done: Instant) -> Failure {
    Failure { error, timing: Timing { written, first: None, done, attempts: 1 } }
}

/// Reads the request id of an encoded `DataRequestProto`, or of the beginning of one, without
/// decoding anything else; `None` when there is no id, or not one of ours.
pub(super) fn request_id(message: &[u8]) -> Option<RequestId> {
    match named(message) {
        Named::Id(id) => Some(id),
        Named::Other | Named::Nothing => None,
    }
}

/// The same, telling an id that is not ours from none.
pub(super) fn named(message: &[u8]) -> Named {
    let id = length_delimited(message, 1).and_then(|header| length_delimited(header, 1));
    match id {
        None | Some([]) => Named::Nothing,
        Some(id) => {
            let id = std::str::from_utf8(id).ok().and_then(RequestId::parse);
            id.map_or(Named::Other, Named::Id)
        }
    }
}

/// The first field `number` of a message, cut off where `bytes` end.
fn length_delimited(mut bytes: &[u8], number: u32) -> Option<&[u8]> {
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).ok()?;
        let skip = match wire_type {
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                continue;
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).ok()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
                if tag == number {
                    return Some(&bytes[..length]);
                }
                length
            }
            // Groups: nothing of Jina's has them.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        bytes.advance(skip.min(bytes.len()));
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::proto::jina::{DataRequestProto, HeaderProto};

    fn unmarked() -> &'static Mark {
        Box::leak(Box::default())
    }

    fn table() -> (Arc<Pending>, Arc<UnmatchedCounts>) {
        let unmatched = Arc::new(UnmatchedCounts::default());
        (Pending::new(unmatched.clone()), unmatched)
    }

    fn arrival(text: &'static str) -> Received {
        let now = Instant::now();
        Received { message: Bytes::from_static(text.as_bytes()), first: now, done: now }
    }

    fn closed() -> CallError {
        CallError::Unsupported("closed".into())
    }

    #[tokio::test]
    async fn replies_find_their_requests_in_any_order() {
        let (pending, unmatched) = table();
        let first = pending.register(unmarked()).unwrap();
        let second = pending.register(unmarked()).unwrap();
        pending.arrived(Named::Id(second.id()), arrival("two"));
        pending.arrived(Named::Id(first.id()), arrival("one"));
        assert_eq!(first.reply(None).await.unwrap().0, "one");
        assert_eq!(second.reply(None).await.unwrap().0, "two");
        assert_eq!(unmatched.get().total(), 0);
    }

    #[tokio::test]
    async fn replies_nobody_waits_for_are_counted_and_dropped() {
        let (pending, unmatched) = table();
        let waiter = pending.register(unmarked()).unwrap();
        let id = waiter.id();
        pending.arrived(Named::Nothing, arrival("no id"));
        pending.arrived(Named::Other, arrival("another client's"));
        pending.arrived(Named::Id(RequestId { sender: !id.sender, ..id }), arrival("a stream's"));
        pending.arrived(Named::Id(RequestId { number: id.number + 1, ..id }), arrival("unknown"));
        let next = RequestId { number: id.number + (1 << 32), ..id };
        pending.arrived(Named::Id(next), arrival("too early"));
        pending.arrived(Named::Id(id), arrival("right"));
        pending.arrived(Named::Id(id), arrival("second"));
        let counts = Unmatched { without_id: 1, unknown_id: 4, duplicate: 1, late: 0 };
        assert_eq!(unmatched.get(), counts);
        assert_eq!(waiter.reply(None).await.unwrap().0, "right");
    }

    #[tokio::test]
    async fn a_late_reply_does_not_reach_the_next_request_in_its_slot() {
        let (pending, unmatched) = table();
        let given_up = pending.register(unmarked()).unwrap();
        let old = given_up.id();
        drop(given_up);
        let next = pending.register(unmarked()).unwrap();
        assert_eq!(next.id().number as u32, old.number as u32, "the slot is used again");
        pending.arrived(Named::Id(old), arrival("late"));
        pending.arrived(Named::Id(next.id()), arrival("new"));
        assert_eq!(next.reply(None).await.unwrap().0, "new");
        assert_eq!(unmatched.get().total(), 1);
    }

    #[tokio::test]
    async fn late_replies_are_told_from_second_ones_however_often_a_slot_was_used_since() {
        let (pending, unmatched) = table();
        let ids: Vec<RequestId> = (0..100)
            .map(|n| {
                let waiter = pending.register(unmarked()).unwrap();
                let id = waiter.id();
                if n % 3 > 0 {
                    pending.arrived(Named::Id(id), arrival("in time"));
                }
                id
            })
            .collect();
        assert_eq!(unmatched.get().total(), 0);
        for id in &ids[50..] {
            pending.arrived(Named::Id(*id), arrival("again"));
        }
        let counts = Unmatched { duplicate: 33, late: 17, ..Unmatched::default() };
        assert_eq!(unmatched.get(), counts);
    }

    #[tokio::test]
    async fn whoever_drops_a_request_learns_whether_it_went_out() {
        let (pending, _) = table();
        let (sent, unsent) = (unmarked(), unmarked());
        let waiters = [pending.register(sent).unwrap(), pending.register(unsent).unwrap()];
        pending.written(waiters[0].id());
        drop(waiters);
        assert!(sent.written().is_some());
        assert_eq!(unsent.written(), None);
    }

    #[tokio::test]
    async fn a_request_given_up_need_not_be_sent() {
        let (pending, _) = table();
        let waiter = pending.register(unmarked()).unwrap();
        let id = waiter.id();
        assert!(pending.written(id));
        drop(waiter);
        assert!(!pending.written(id));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_tells_whether_the_request_was_sent() {
        let (pending, unmatched) = table();
        let limit = Duration::from_secs(3);
        let (start, sent, unsent) = (
            Instant::now(),
            pending.register(unmarked()).unwrap(),
            pending.register(unmarked()).unwrap(),
        );
        let id = sent.id();
        pending.written(id);
        let sent = sent.reply(Some(limit)).await.unwrap_err();
        assert!(matches!(sent.error, CallError::Timeout(d) if d == limit));
        assert_eq!(sent.timing.written, Some(start));
        assert_eq!(sent.timing.done, start + limit);
        assert_eq!(unsent.reply(Some(limit)).await.unwrap_err().timing.written, None);
        pending.arrived(Named::Id(id), arrival("late"));
        assert_eq!(unmatched.get().total(), 1);
    }

    #[tokio::test]
    async fn the_end_of_a_stream_fails_those_who_wait_and_those_who_come() {
        let (pending, _) = table();
        let waiters =
            [pending.register(unmarked()).unwrap(), pending.register(unmarked()).unwrap()];
        pending.end(closed());
        pending.end(CallError::Timeout(Duration::ZERO));
        for waiter in waiters {
            let error = waiter.reply(None).await.unwrap_err().error;
            assert!(matches!(error, CallError::Unsupported(_)));
        }
        assert!(matches!(pending.register(unmarked()).unwrap_err(), CallError::Unsupported(_)));
        assert!(pending.has_ended());
    }

    #[tokio::test]
    async fn one_request_can_fail_alone() {
        let (pending, _) = table();
        let (bad, good) =
            (pending.register(unmarked()).unwrap(), pending.register(unmarked()).unwrap());
        pending.fail(bad.id(), closed());
        pending.arrived(Named::Id(good.id()), arrival("good"));
        assert!(bad.reply(None).await.is_err());
        assert_eq!(good.reply(None).await.unwrap().0, "good");
    }

    #[test]
    fn the_request_id_is_read_wherever_it_stands() {
        let id = RequestId { sender: 0x1234, number: u64::MAX };
        let digits = String::from_utf8(id.digits().to_vec()).unwrap();
        let header = HeaderProto {
            request_id: digits,
            exec_endpoint: Some("/index".into()),
            ..HeaderProto::default()
        };
        let message = DataRequestProto { header: Some(header), ..DataRequestProto::default() };
        let bytes = message.encode_to_vec();
        assert_eq!(request_id(&bytes), Some(id));
        assert_eq!(request_id(&bytes[..36]), Some(id), "the beginning is enough");
        assert_eq!(request_id(&bytes[..35]), None);
        // A varint, a fixed64, a fixed32 and a string before the header.
        let mut moved = b"\x28\xff\x01\x31abcdefgh\x3dabcd\x42\x02hi".to_vec();
        moved.extend(&bytes);
        assert_eq!(request_id(&moved), Some(id));
    }

    #[test]
    fn garbage_has_no_request_id() {
        for bytes in [&b""[..], b"\x0a", b"\x0a\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(request_id(bytes), None, "{bytes:?}");
        }
        proptest::proptest!(|(bytes: Vec<u8>)| { request_id(&bytes); });
    }
}
