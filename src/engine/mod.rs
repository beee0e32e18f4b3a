//! The engine carries a load out on time and tells what happened.
//!
//! One dispatch loop serves every model of load: a [`Source`] says when the next arrival is due, a
//! [`Feed`] has its body ready, a [`Clock`] waits. A worker does all of it on one thread (loop,
//! connections, recording), so nothing on the path of a request takes a lock; several workers share
//! a schedule by taking every so many-th arrival.
//!
//! Subtleness ahead:
//! - The loop waits for clock, replies and stop signals at once, and none of them may starve the
//!   others: when the schedule is behind, arrivals are due without pause, and it is the replies
//!   (and the connections' own tasks) that must get their turn. Hence no `biased`, and a yield
//!   every few turns.
//! - The body is fetched *before* the wait for its due time, so that making it late is told apart
//!   from waking late.
//! - An arrival past the bound of requests in flight is dropped and counted. Waiting for a slot
//!   would hide the slowness we came to measure.

pub mod event;
pub mod examine;
pub mod feed;
pub mod make;
pub mod schedule;
pub mod source;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Call, Request};
use crate::clock::Clock;
use event::{Arrival, Event, Finished, Listener, Outcome};
use feed::{Batch, Feed, FeedError};
use source::{Next, Over, Source};

/// One worker's part of a load.
#[derive(Debug)]
pub struct Load<C> {
    /// How requests are sent.
    pub call: C,
    /// When.
    pub source: Source,
    /// What, while the warmup lasts.
    pub warmup: Feed,
    /// What, from then on.
    pub feed: Feed,
    /// Bound of requests in flight, shared with the other workers.
    pub slots: Slots,
    /// Gets every answer to measured requests, where somebody looks at answers.
    pub answers: Option<mpsc::Sender<Answer>>,
    /// How long requests in flight may take when no more arrive.
    pub grace: Duration,
    /// Ends it early.
    pub stop: Stop,
}

/// The signal to stop: the first asks to let requests in flight finish, the second not to wait.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No new arrivals.
    pub drain: CancellationToken,
    /// Nothing more at all.
    pub abort: CancellationToken,
}

/// A bound on requests in flight, shared by workers.
#[derive(Clone, Debug)]
pub struct Slots {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// An answer for those who look at answers: assertions, callbacks.
#[derive(Debug)]
pub struct Answer {
    /// The request's place in the stream of Documents.
    pub index: u64,
    /// What was sent.
    pub request: Request,
    /// What came of it.
    pub finished: Finished,
}

/// Why a load ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It was carried out.
    Complete(Over),
    /// The Documents ended before it.
    Documents,
    /// It was told to.
    Stopped,
    /// A request could not be made.
    Feed(FeedError),
}

impl Slots {
    /// So many requests in flight at most.
    pub fn new(max: usize) -> Slots {
        Slots { used: Arc::default(), max }
    }

    fn take(&self) -> bool {
        // Only the count is shared, so no order with other memory is needed.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then(|| n + 1))
            .is_ok()
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Stop {
    /// A signal of its own that also follows this one.
    pub fn child(&self) -> Stop {
        Stop { drain: self.drain.child_token(), abort: self.abort.child_token() }
    }
}

/// Turns of the loop after which the runtime's other tasks get theirs: few enough that replies are
/// read within some tens of microseconds, enough that yielding costs nothing.
const TURNS_BEFORE_YIELD: u32 = 16;

/// How often listeners hear that time goes by.
const TICK: Duration = Duration::from_millis(250);

/// Carries out a load; returns when nothing is in flight any more.
pub async fn drive<C, K, L>(load: Load<C>, clock: &mut K, listener: &mut L) -> Ended
where
    C: Call,
    K: Clock,
    L: Listener,
{
    let Load { call, mut source, mut warmup, mut feed, slots, answers, grace, stop } = load;
    let mut flight =
        Flight { requests: FuturesUnordered::new(), measured: 0, warmup: 0, slots, answers };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ready: Option<Ready> = None;
    let mut turns = 0u32;

    let ended = loop {
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(TURNS_BEFORE_YIELD) {
            tokio::task::yield_now().await;
        }
        let arrival = match source.next() {
            Next::Due(arrival) => Some(arrival),
            Next::Client => None,
            Next::Over(over) => break Ended::Complete(over),
        };
        let measured = arrival.is_some_and(|arrival| arrival.measured);
        // A body of the warmup is of no use any more when the first measured arrival is next.
        ready = ready.filter(|ready| arrival.is_none() || ready.measured == measured);
        let bodies = if measured { &mut feed } else { &mut warmup };
        tokio::select! {
            () = stop.drain.cancelled() => break Ended::Stopped,
            () = until(source.end().map(|end| end + grace)) => {
                // We are hopelessly late: what was due and not sent is dropped, and says so.
                while let Some(arrival) = source.take(Instant::now()) {
                    listener.on(Event::Arrived(arrival));
                    listener.on(Event::Dropped { arrival, late: true });
                }
                break Ended::Complete(Over::Time);
            }
            () = until(source.end()), if arrival.is_none() => break Ended::Complete(Over::Time),
            made = bodies.next(), if arrival.is_some() && ready.is_none() => match made {
                Ok(Some(batch)) => ready = Some(Ready { batch, measured, at: Instant::now() }),
                Ok(None) => break Ended::Documents,
                Err(error) => break Ended::Feed(error),
            },
            () = wait(clock, arrival), if ready.is_some() => {
                let at = Instant::now();
                let Some(arrival) = source.take(at) else { continue };
                listener.on(Event::Arrived(arrival));
                if !flight.slots.take() {
                    listener.on(Event::Dropped { arrival, late: false });
                } else if let Some(ready) = ready.take() {
                    let documents = ready.batch.documents;
                    listener.on(Event::Released { arrival, at, documents });
                    let keep = arrival.measured && flight.answers.is_some();
                    let request = one_request(call.clone(), arrival, ready, at, keep);
                    flight.release(arrival, Either::Left(request));
                }
            }
            Some(landed) = flight.requests.next() => {
                if let Some(at) = flight.land(landed, listener) {
                    source.over(at);
                }
            },
            _ = tick.tick() => listener.on(Event::Tick(Instant::now())),
        }
    };

    let deadline = tokio::time::sleep(grace);
    tokio::pin!(deadline);
    while !flight.requests.is_empty() {
        tokio::select! {
            biased;
            () = stop.abort.cancelled() => break,
            Some(landed) = flight.requests.next() => {
                flight.land(landed, listener);
            },
            () = &mut deadline => break,
            _ = tick.tick() => listener.on(Event::Tick(Instant::now())),
        }
    }
    flight.abandon(listener);
    listener.on(Event::Tick(Instant::now()));
    ended
}

/// Waits until an arrival is due.
async fn wait<K: Clock>(clock: &mut K, arrival: Option<Arrival>) {
    match arrival {
        Some(arrival) => clock.wait_until(arrival.due).await,
        None => std::future::pending().await,
    }
}

/// Waits until `at`, for ever when there is no such instant. For ends, where a millisecond is no
/// matter.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A body that waits for its due time.
struct Ready {
    batch: Batch,
    measured: bool,
    at: Instant,
}

/// Something that was in flight and is not any more.
enum Landed {
    /// A request was answered, or failed. The answer, where somebody looks at answers.
    Request(Box<Finished>, Option<(u64, Request)>),
    /// Somebody took an answer that had to wait until they had time.
    Taken(Instant),
}

/// One request, from release to its last reply.
async fn one_request<C: Call>(
    call: C,
    arrival: Arrival,
    ready: Ready,
    released: Instant,
    keep: bool,
) -> Landed {
    let Batch { request, documents, index } = ready.batch;
    let starved = ready.at.saturating_duration_since(arrival.due);
    let kept = keep.then(|| (index, request.clone()));
    let (reply, error, timing) = match call.call(request).await {
        Ok(reply) => {
            let (error, timing) = (reply.failure(), reply.timing);
            (Some(reply), error, timing)
        }
        Err(failure) => (None, Some(failure.error), failure.timing),
    };
    let outcome = error.as_ref().map_or(Outcome::Ok, Outcome::of);
    let finished =
        Finished { arrival, released, starved, documents, timing, outcome, reply, error };
    Landed::Request(Box::new(finished), kept)
}

/// The rare wait of an answer for those who look at answers.
type Waiting = Pin<Box<dyn Future<Output = Landed>>>;

/// What is in flight.
struct Flight<F> {
    requests: FuturesUnordered<Either<F, Waiting>>,
    measured: u64,
    warmup: u64,
    slots: Slots,
    answers: Option<mpsc::Sender<Answer>>,
}

impl<F: Future<Output = Landed>> Flight<F> {
    fn release(&mut self, arrival: Arrival, request: Either<F, Waiting>) {
        *self.count(arrival) += 1;
        self.requests.push(request);
    }

    fn count(&mut self, arrival: Arrival) -> &mut u64 {
        if arrival.measured { &mut self.measured } else { &mut self.warmup }
    }

    /// Tells of what landed; gives the instant at which its client is free, once it is.
    fn land(&mut self, landed: Landed, listener: &mut impl Listener) -> Option<Instant> {
        let free = match landed {
            Landed::Request(finished, kept) => {
                *self.count(finished.arrival) -= 1;
                listener.on(Event::Finished(&finished));
                let done = finished.timing.done;
                match (kept, &self.answers) {
                    (Some((index, request)), Some(answers)) => {
                        let answer = Answer { index, request, finished: *finished };
                        match answers.try_send(answer) {
                            // Those who look are behind. The request keeps its slot until they
                            // take it, so that answers do not pile up without bound.
                            Err(mpsc::error::TrySendError::Full(answer)) => {
                                let answers = answers.clone();
                                self.requests.push(Either::Right(Box::pin(async move {
                                    let _ = answers.send(answer).await;
                                    Landed::Taken(Instant::now())
                                })));
                                return None;
                            }
                            // Nobody looks any more: they said so, or told why they could not.
                            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => done,
                        }
                    }
                    _ => done,
                }
            }
            Landed::Taken(at) => at,
        };
        self.slots.give_back(1);
        Some(free)
    }

    /// Gives up what is still in flight.
    fn abandon(&mut self, listener: &mut impl Listener) {
        self.slots.give_back(self.requests.len());
        self.requests.clear();
        if self.measured + self.warmup > 0 {
            let (measured, warmup) = (self.measured, self.warmup);
            listener.on(Event::Abandoned { measured, warmup, at: Instant::now() });
        }
    }
}

#[cfg(test)]
mod tests;
