//! The engine runs a load on time and reports what happened.
//!
//! One dispatch loop serves every load model: a `Source` says when the next arrival is due, a
//! `Feed` has its body ready, a [`Clock`] waits. A worker does all of it on one thread (loop,
//! connections, recording), so nothing on the path of a request takes a lock; several workers share
//! a schedule by taking turns at its arrivals.
//!
//! Subtleness ahead:
//! - A turn of the loop sends what is due, then writes and reads: many requests are one write, and
//!   none waits for a later one. What has arrived is processed before anything is waited for.
//! - The loop waits for clock, replies and stop signals at once, and none of them may starve the
//!   others: when the schedule is behind, arrivals are due without pause, and when answers arrive
//!   without end there is always something to process. So a turn is bounded, each turn checks ends
//!   and signals by the clock, and after some turns the runtime, which polls the sockets, gets one.
//! - The body is fetched *before* the wait for its due time, so that making it late is
//!   distinguished from waking late.
//! - An arrival beyond the limit of requests in flight is dropped and counted. Waiting for a slot
//!   would hide the slowness that we want to measure.

mod backoff;
pub mod busy;
pub mod chain;
pub(crate) mod choose;
pub mod error;
pub mod event;
pub(crate) mod examine;
mod exchange;
pub(crate) mod feed;
mod flight;
pub mod make;
mod order;
pub mod source;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Lanes, Request};
use crate::clock::Clock;
use backoff::Backoff;
use busy::Busy;
use chain::{Chain, Kept};
use error::FeedError;
use event::{Event, Finished, Listener};
use feed::{Batch, Feed};
use flight::{Flight, Free};
use source::{Next, Over, Source};

/// One worker's part of a load.
#[derive(Debug)]
pub(crate) struct Job<C> {
    /// How requests are sent.
    pub lanes: C,
    /// When requests are sent.
    pub source: Source,
    /// The requests of the warmup.
    pub warmup: Feed,
    /// The requests after the warmup.
    pub feed: Feed,
    /// The steps of an iteration after its first; none for a single request.
    pub chain: Option<Chain>,
    /// Limit of requests in flight, shared with the other workers.
    pub slots: Slots,
    /// Gets every answer to measured requests, if answers are examined.
    pub answers: Option<mpsc::Sender<StepAnswer>>,
    /// How long requests in flight may take once no more arrive; `None` means no limit.
    pub grace: Option<Duration>,
    /// Whether sending ends once the connection is lost, or cannot be opened.
    pub ends_when_lost: bool,
    /// Ends it early.
    pub stop: Stop,
}

/// The signal to stop: the first lets requests in flight finish, the second does not wait.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No new arrivals.
    pub drain: CancellationToken,
    /// Nothing more at all.
    pub abort: CancellationToken,
}

/// A limit of requests in flight, shared by workers.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// An answer to be examined by assertions and callbacks.
#[derive(Debug)]
pub(crate) struct StepAnswer {
    /// Its iteration: the index in the stream of Documents, and what the steps before this one
    /// kept.
    pub kept: Kept,
    /// What was sent.
    pub request: Request,
    /// The outcome.
    pub finished: Finished,
    /// Whether assertions apply to it: of the responses to a repeated step, only the last one
    /// counts.
    pub settled: bool,
}

/// Why a load ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// The whole load was run.
    Complete(Over),
    /// The Documents ended first.
    Documents,
    /// It was stopped.
    Stopped,
    /// The connection was lost, and the load was to end then.
    Lost,
    /// A request could not be made.
    Feed(FeedError),
}

impl Slots {
    /// At most this many requests in flight.
    pub(crate) fn new(max: usize) -> Slots {
        Slots { used: Arc::default(), max }
    }

    /// Takes a slot and returns how many are taken with it; `None` if none is free.
    fn take(&self) -> Option<usize> {
        // Only the count is shared, so no ordering with other memory is needed.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then(|| n + 1))
            .ok()
            .map(|before| before + 1)
    }

    fn taken(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Stop {
    /// A separate signal that also follows this one.
    pub fn child(&self) -> Stop {
        Stop { drain: self.drain.child_token(), abort: self.abort.child_token() }
    }
}

/// Requests sent before replies get their turn: enough that many share one write, few enough that
/// the first of them waits well under a millisecond for the last.
const AT_ONCE: usize = 64;

/// Turns after which the runtime gets one, however much there is to do: it polls the sockets.
const TURNS_BEFORE_YIELD: u32 = 8;

/// How long requests in flight may take after a signal to stop, unless set otherwise.
const STOPPED_GRACE: Duration = Duration::from_secs(10);

/// Interval of ticks to listeners.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Runs a load; returns when nothing is in flight any more.
pub(crate) async fn drive<C, K, L>(load: Job<C>, clock: &mut K, listener: &mut L) -> Ended
where
    C: Lanes,
    K: Clock,
    L: Listener,
{
    let busy = Busy::default();
    busy.watch(dispatch(load, clock, listener, &busy)).await
}

async fn dispatch<C, K, L>(load: Job<C>, clock: &mut K, listener: &mut L, busy: &Busy) -> Ended
where
    C: Lanes,
    K: Clock,
    L: Listener,
{
    let Job { lanes, source, warmup, feed, chain, slots, answers, grace, ends_when_lost, stop } =
        load;
    let flight = Flight::new(lanes, busy, chain, slots, answers);
    let late = source.end().zip(grace).map(|(end, grace)| end + grace);
    let mut ticking = Ticking::new();
    let backoff = Backoff::default();
    let (ready, body_waits) = (None, None);
    let mut load =
        Load { source, warmup, feed, flight, backoff, ready, body_waits, ends_when_lost, late };

    let ended = {
        let mut drained = pin!(stop.drain.cancelled());
        let mut turns = 0u32;
        loop {
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_BEFORE_YIELD) {
                tokio::task::yield_now().await;
            }
            if stop.drain.is_cancelled() {
                break Ended::Stopped;
            }
            // Whatever is due next: an arrival whose body is ready, or the end of a pause.
            let due = load.due();
            let mut waiting = pin!(wait(clock, due));
            let turn = poll_fn(|cx| {
                ticking.tick(listener);
                match load.turn(cx, listener, AT_ONCE) {
                    Turn::Idle if load.due() == due => (),
                    turn => return Poll::Ready(turn),
                }
                let woken = drained.as_mut().poll(cx).is_ready()
                    || ticking.poll(cx, load.next_end())
                    || due.is_some() && waiting.as_mut().poll(cx).is_ready();
                if woken { Poll::Ready(Turn::Idle) } else { Poll::Pending }
            });
            match turn.await {
                Turn::Idle => turns = 0,
                Turn::Busy => (),
                Turn::Ended(ended) => break ended,
            }
        }
    };

    if let Ended::Lost = ended {
        // The other workers are stopped too.
        stop.drain.cancel();
    }
    if let Ended::Stopped | Ended::Lost = ended {
        listener.on(Event::Stopped(Instant::now()));
    }
    // A user who stops a load does not mean to wait forever.
    let grace = match ended {
        Ended::Stopped => Some(grace.unwrap_or(STOPPED_GRACE)),
        _ => grace,
    };
    let deadline = grace.map(|grace| Instant::now() + grace);
    let mut flight = load.flight;
    let mut aborted = pin!(stop.abort.cancelled());
    while !flight.is_empty() && !stop.abort.is_cancelled() {
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            break;
        }
        let pause_over = flight.pause_over();
        let mut waiting = pin!(wait(clock, pause_over));
        let mut polls = 0u32;
        poll_fn(|cx| {
            ticking.tick(listener);
            while flight.pause_over().is_some_and(|at| at <= Instant::now()) {
                flight.resume(listener);
            }
            let progress = flight.poll(cx, listener, |_| ());
            polls += 1;
            // Having something to do at all times is no reason to miss the end.
            let woken = flight.is_empty()
                || flight.pause_over() != pause_over
                || aborted.as_mut().poll(cx).is_ready()
                || ticking.poll(cx, deadline)
                || pause_over.is_some() && waiting.as_mut().poll(cx).is_ready()
                || polls > 1;
            if progress {
                cx.waker().wake_by_ref();
            }
            if woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    flight.abandon(listener);
    listener.on(Event::Tick(Instant::now()));
    ended
}

/// A load in progress.
struct Load<'a, C> {
    source: Source,
    warmup: Feed,
    feed: Feed,
    flight: Flight<'a, C>,
    backoff: Backoff,
    ready: Option<Ready>,
    /// Since when a body has been waited for.
    body_waits: Option<Instant>,
    ends_when_lost: bool,
    /// When the time and the grace period are over.
    late: Option<Instant>,
}

/// The result of a turn of the loop.
enum Turn {
    /// There was nothing to do.
    Idle,
    /// There may be more to do.
    Busy,
    /// The load is over.
    Ended(Ended),
}

impl<C: Lanes> Load<'_, C> {
    /// Whatever is due next: an arrival whose body is ready, or the end of a pause.
    fn due(&self) -> Option<Instant> {
        let arrival = match self.source.upcoming() {
            Next::Due(arrival) if self.ready.is_some() => Some(arrival.due),
            _ => None,
        };
        arrival.into_iter().chain(self.flight.pause_over()).min()
    }

    /// When the load may end by itself.
    fn next_end(&self) -> Option<Instant> {
        let end = self.source.end().filter(|_| self.source.upcoming() == Next::Idle);
        end.into_iter().chain(self.late).min()
    }

    /// Sends what is due, up to a bound, then writes and reads.
    fn turn(&mut self, cx: &mut Context<'_>, listener: &mut impl Listener, most: usize) -> Turn {
        let mut sent = 0;
        while sent < most {
            let arrival = match self.source.upcoming() {
                Next::Due(arrival) => Some(arrival),
                Next::Idle => None,
                Next::Over(over) => return Turn::Ended(Ended::Complete(over)),
            };
            let now = Instant::now();
            if self.late.is_some_and(|late| late <= now) {
                return self.too_late(listener);
            }
            if arrival.is_none() && self.source.end().is_some_and(|end| end <= now) {
                return Turn::Ended(Ended::Complete(Over::Time));
            }
            let measured = arrival.is_some_and(|arrival| arrival.measured);
            // A body of the warmup is no longer needed once the first measured arrival is next.
            self.ready.take_if(|ready| arrival.is_some() && ready.measured != measured);
            if arrival.is_some() && self.ready.is_none() {
                let bodies = if measured { &mut self.feed } else { &mut self.warmup };
                match poll_body(bodies, &mut self.body_waits, cx) {
                    Poll::Ready((Ok(Some(batch)), waited)) => {
                        self.ready = Some(Ready { batch, measured, waited });
                        continue;
                    }
                    Poll::Ready((Ok(None), _)) => return Turn::Ended(Ended::Documents),
                    Poll::Ready((Err(error), _)) => return Turn::Ended(Ended::Feed(error)),
                    Poll::Pending => (),
                }
            }
            let due = arrival.filter(|_| self.ready.is_some()).map(|arrival| arrival.due);
            match (self.flight.pause_over(), due) {
                (Some(over), due) if over <= now && due.is_none_or(|due| over <= due) => {
                    self.flight.resume(listener);
                }
                (_, Some(due)) if due <= now => self.release(now, listener),
                _ => break,
            }
            sent += 1;
        }
        let Load { source, backoff, ends_when_lost, flight, .. } = self;
        let mut lost = false;
        let progress = flight.poll(cx, listener, |Free { arrival, at, reached }| {
            lost |= *ends_when_lost && !reached;
            source.over(arrival, backoff.free_at(at, reached));
        });
        match (lost, progress || sent == most) {
            (true, _) => Turn::Ended(Ended::Lost),
            (_, true) => Turn::Busy,
            (_, false) => Turn::Idle,
        }
    }

    /// Sends the arrival that is due, whose body is ready.
    fn release(&mut self, at: Instant, listener: &mut impl Listener) {
        let Some(arrival) = self.source.take(at) else { return };
        listener.on(Event::Arrived(arrival));
        let Some(in_flight) = self.flight.slots.take() else {
            return listener.on(Event::Dropped { arrival, at, late: false });
        };
        if let Some(Ready { batch, waited, .. }) = self.ready.take() {
            let (documents, bytes, begins) = (batch.documents, batch.traits.bytes, true);
            let step = self.flight.first_step(&batch);
            listener.on(Event::Released { arrival, step, begins, at, documents, bytes, in_flight });
            self.flight.begin(arrival, batch, waited, at);
        }
    }

    /// We are hopelessly late: what was due and not sent is dropped, and reported as dropped.
    fn too_late(&mut self, listener: &mut impl Listener) -> Turn {
        let at = Instant::now();
        while let Some(arrival) = self.source.take(at) {
            listener.on(Event::Arrived(arrival));
            listener.on(Event::Dropped { arrival, at, late: true });
        }
        Turn::Ended(Ended::Complete(Over::Time))
    }
}

/// Sends ticks to listeners and wakes for ends, for which a millisecond does not matter.
struct Ticking {
    next: Instant,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Ticking {
    fn new() -> Ticking {
        let next = Instant::now();
        Ticking { next, timer: Box::pin(tokio::time::sleep_until(next)) }
    }

    /// Ticks if it is time.
    fn tick(&mut self, listener: &mut impl Listener) {
        let now = Instant::now();
        if now >= self.next {
            listener.on(Event::Tick(now));
            self.next = now + TICK;
        }
    }

    /// True if it is time to tick, or `end` has come; otherwise `cx` is woken then.
    fn poll(&mut self, cx: &mut Context<'_>, end: Option<Instant>) -> bool {
        let at = end.map_or(self.next, |end| end.min(self.next));
        if self.timer.deadline() != at {
            self.timer.as_mut().reset(at);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

/// The next body, and from when to when it was waited for.
type Body = (Result<Option<Batch>, FeedError>, Option<(Instant, Instant)>);

/// Distinguishes a wait that lasts from one poll to the next from a loop that asked late.
fn poll_body(bodies: &mut Feed, since: &mut Option<Instant>, cx: &mut Context<'_>) -> Poll<Body> {
    let made = bodies.poll_next(cx);
    if made.is_pending() {
        since.get_or_insert_with(Instant::now);
    }
    made.map(|made| (made, since.take().map(|since| (since, Instant::now()))))
}

/// Waits until something is due.
async fn wait<K: Clock>(clock: &mut K, due: Option<Instant>) {
    match due {
        Some(due) => clock.wait_until(due).await,
        None => std::future::pending().await,
    }
}

/// A body waiting for its due time.
struct Ready {
    batch: Batch,
    measured: bool,
    /// From when to when it was waited for, if it was not ready at once.
    waited: Option<(Instant, Instant)>,
}

#[cfg(test)]
mod tests;
