//! The engine carries a load out on time and tells what happened.
//!
//! One dispatch loop serves every model of load: a `Source` says when the next arrival is due, a
//! `Feed` has its body ready, a [`Clock`] waits. A worker does all of it on one thread (loop,
//! connections, recording), so nothing on the path of a request takes a lock; several workers share
//! a schedule by taking every so many-th arrival.
//!
//! Subtleness ahead:
//! - The loop waits for clock, replies and stop signals at once, and none of them may starve the
//!   others: when the schedule is behind, arrivals are due without pause, and it is the replies
//!   (and the connections' own tasks) that must get their turn. Hence no `biased`, and a yield
//!   every few turns.
//! - Waiting for them all costs more than sending a request, for each wait registers with timers and
//!   signals anew. So what is there without waiting (a due arrival, a reply) is taken first, by turns.
//! - The body is fetched *before* the wait for its due time, so that making it late is told apart
//!   from waking late.
//! - Answers may come in without end, and then something in flight is always ready to go on. It may
//!   use up all that tokio grants a task for one turn, after which timers are not ready either. So
//!   where only answers are waited for, signals and deadlines are looked at before them.
//! - An arrival past the bound of requests in flight is dropped and counted. Waiting for a slot
//!   would hide the slowness we came to measure.

mod backoff;
pub mod busy;
pub mod chain;
pub(crate) mod choose;
pub mod event;
pub(crate) mod examine;
mod exchange;
pub(crate) mod feed;
mod flight;
pub mod make;
mod order;
pub mod source;

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Call, Request};
use crate::clock::Clock;
use backoff::Backoff;
use busy::Busy;
use chain::{Chain, Kept};
use event::{Event, Finished, Listener};
use feed::{Batch, Feed, FeedError};
use flight::{Flight, Free, Landed, Sending, one_request};
use source::{Next, Over, Source};

/// One worker's part of a load.
#[derive(Debug)]
pub(crate) struct Job<C> {
    /// How requests are sent.
    pub call: C,
    /// When.
    pub source: Source,
    /// What, while the warmup lasts.
    pub warmup: Feed,
    /// What, from then on.
    pub feed: Feed,
    /// The steps of an iteration after its first; none for a single request.
    pub chain: Option<Chain>,
    /// Bound of requests in flight, shared with the other workers.
    pub slots: Slots,
    /// Gets every answer to measured requests, where somebody looks at answers.
    pub answers: Option<mpsc::Sender<StepAnswer>>,
    /// How long requests in flight may take when no more arrive; `None`: as long as they take.
    pub grace: Option<Duration>,
    /// Nothing more is sent once the connection is lost, or there is none.
    pub ends_when_lost: bool,
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
pub(crate) struct Slots {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// An answer for those who look at answers: assertions, callbacks.
#[derive(Debug)]
pub(crate) struct StepAnswer {
    /// Its iteration: the place in the stream of Documents, and what the steps before this one kept.
    pub kept: Kept,
    /// What was sent.
    pub request: Request,
    /// What came of it.
    pub finished: Finished,
    /// Whether assertions are judged on it: a step that is repeated has one response that ends it.
    pub settled: bool,
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
    /// The connection was lost, and it was to end then.
    Lost,
    /// A request could not be made.
    Feed(FeedError),
}

impl Slots {
    /// So many requests in flight at most.
    pub(crate) fn new(max: usize) -> Slots {
        Slots { used: Arc::default(), max }
    }

    /// Takes one and tells how many are taken with it; `None` when none is free.
    fn take(&self) -> Option<usize> {
        // Only the count is shared, so no order with other memory is needed.
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
    /// A signal of its own that also follows this one.
    pub fn child(&self) -> Stop {
        Stop { drain: self.drain.child_token(), abort: self.abort.child_token() }
    }
}

/// Turns of the loop after which the runtime's other tasks and the signals get theirs: few enough that
/// replies are read within a fraction of a millisecond, enough that many requests go with one write.
const TURNS_BEFORE_WAIT: u32 = 128;

/// How long requests in flight may take after a signal to stop where nothing else is said.
const STOPPED_GRACE: Duration = Duration::from_secs(10);

/// How often listeners hear that time goes by.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Carries out a load; returns when nothing is in flight any more.
pub(crate) async fn drive<C, K, L>(load: Job<C>, clock: &mut K, listener: &mut L) -> Ended
where
    C: Call,
    K: Clock,
    L: Listener,
{
    let busy = Busy::default();
    busy.watch(dispatch(load, clock, listener, &busy)).await
}

async fn dispatch<C, K, L>(load: Job<C>, clock: &mut K, listener: &mut L, busy: &Busy) -> Ended
where
    C: Call,
    K: Clock,
    L: Listener,
{
    let Job { call, mut source, mut warmup, mut feed, chain, slots, answers, .. } = load;
    let Job { grace, ends_when_lost, stop, .. } = load;
    let given_up = RefCell::default();
    let send = |sending: Sending, request: Request| {
        one_request(call.clone(), busy, &given_up, sending, request)
    };
    let mut flight = Flight::new(send, chain, slots, answers);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ready: Option<Ready> = None;
    let mut waiting = None;
    let mut backoff = Backoff::default();
    let mut turns = 0u32;

    let ended = loop {
        turns = turns.wrapping_add(1);
        let may_wait = turns.is_multiple_of(TURNS_BEFORE_WAIT);
        if may_wait {
            tokio::task::yield_now().await;
        }
        let arrival = match source.upcoming() {
            Next::Due(arrival) => Some(arrival),
            Next::Idle => None,
            Next::Over(over) => break Ended::Complete(over),
        };
        let measured = arrival.is_some_and(|arrival| arrival.measured);
        // A body of the warmup is of no use any more when the first measured arrival is next.
        ready = ready.filter(|ready| arrival.is_none() || ready.measured == measured);
        let wanting = arrival.is_some() && ready.is_none();
        let pause_over = flight.pause_over();
        let bodies = if measured { &mut feed } else { &mut warmup };
        let at_once = poll_fn(|cx| {
            if may_wait {
                return Poll::Ready(None);
            }
            if wanting {
                return Poll::Ready(there(poll_body(bodies, &mut waiting, cx).map(Turn::Body)));
            }
            let now = Instant::now();
            let is_due = arrival.is_some_and(|arrival| arrival.due <= now);
            let is_over = pause_over.is_some_and(|at| at <= now);
            match turns % 4 {
                0 | 2 if is_due => return Poll::Ready(Some(Turn::Due)),
                1 if is_over => return Poll::Ready(Some(Turn::Resume)),
                _ => (),
            }
            let landed = there(flight.poll_landed(cx).map(Turn::Landed));
            let over = || is_over.then_some(Turn::Resume);
            Poll::Ready(landed.or_else(over).or_else(|| is_due.then_some(Turn::Due)))
        });
        // Whatever is due next: an arrival whose body is there, or the end of a pause.
        let due = arrival.filter(|_| ready.is_some()).map(|arrival| arrival.due);
        let resumes = pause_over.is_some_and(|at| due.is_none_or(|due| at <= due));
        let next_due = if resumes { pause_over } else { due };
        let turn = match at_once.await {
            Some(turn) => turn,
            None => tokio::select! {
                () = stop.drain.cancelled() => Turn::Stop,
                () = until(source.end().zip(grace).map(|(end, grace)| end + grace)) => Turn::Late,
                () = until(source.end()), if arrival.is_none() => Turn::End,
                body = poll_fn(|cx| poll_body(bodies, &mut waiting, cx)), if wanting => Turn::Body(body),
                () = wait(clock, next_due), if next_due.is_some() => match resumes {
                    true => Turn::Resume,
                    false => Turn::Due,
                },
                landed = poll_fn(|cx| flight.poll_landed(cx)) => Turn::Landed(landed),
                _ = tick.tick() => Turn::Tick,
            },
        };
        match turn {
            Turn::Due => {
                let at = Instant::now();
                let Some(arrival) = source.take(at) else { continue };
                listener.on(Event::Arrived(arrival));
                let Some(in_flight) = flight.slots.take() else {
                    listener.on(Event::Dropped { arrival, at, late: false });
                    continue;
                };
                if let Some(Ready { batch, waited, .. }) = ready.take() {
                    let (documents, begins) = (batch.documents, true);
                    let step = flight.first_step(&batch);
                    listener.on(Event::Released {
                        arrival,
                        step,
                        begins,
                        at,
                        documents,
                        in_flight,
                    });
                    flight.begin(arrival, batch, waited, at);
                }
            }
            Turn::Landed(landed) => {
                if let Some(Free { arrival, at, reached }) = flight.land(landed, listener) {
                    if ends_when_lost && !reached {
                        // The other workers are told too.
                        stop.drain.cancel();
                        break Ended::Lost;
                    }
                    source.over(arrival, backoff.free_at(at, reached));
                }
            }
            Turn::Resume => flight.resume(listener),
            Turn::Body((Ok(Some(batch)), waited)) => {
                ready = Some(Ready { batch, measured, waited });
            }
            Turn::Body((Ok(None), _)) => break Ended::Documents,
            Turn::Body((Err(error), _)) => break Ended::Feed(error),
            Turn::Tick => listener.on(Event::Tick(Instant::now())),
            Turn::Stop => break Ended::Stopped,
            Turn::End => break Ended::Complete(Over::Time),
            Turn::Late => {
                // We are hopelessly late: what was due and not sent is dropped, and says so.
                let at = Instant::now();
                while let Some(arrival) = source.take(at) {
                    listener.on(Event::Arrived(arrival));
                    listener.on(Event::Dropped { arrival, at, late: true });
                }
                break Ended::Complete(Over::Time);
            }
        }
    };

    if let Ended::Stopped | Ended::Lost = ended {
        listener.on(Event::Stopped(Instant::now()));
    }
    // Whoever stops it does not mean to wait for ever.
    let grace = match ended {
        Ended::Stopped => Some(grace.unwrap_or(STOPPED_GRACE)),
        _ => grace,
    };
    let deadline = until(grace.map(|grace| Instant::now() + grace));
    tokio::pin!(deadline);
    while !flight.is_empty() {
        let pause_over = flight.pause_over();
        tokio::select! {
            biased;
            () = stop.abort.cancelled() => break,
            () = &mut deadline => break,
            _ = tick.tick() => listener.on(Event::Tick(Instant::now())),
            () = wait(clock, pause_over), if pause_over.is_some() => flight.resume(listener),
            landed = poll_fn(|cx| flight.poll_landed(cx)) => {
                flight.land(landed, listener);
            },
        }
    }
    flight.abandon(&given_up, listener);
    listener.on(Event::Tick(Instant::now()));
    ended
}

/// What a turn of the loop is about.
enum Turn {
    /// An arrival is due, and its body is there.
    Due,
    /// Something is not in flight any more.
    Landed(Landed),
    /// An iteration has paused for as long as it was to.
    Resume,
    /// The next body is there, or will never be.
    Body(Body),
    /// Time goes by.
    Tick,
    /// No new arrivals.
    Stop,
    /// The time is over, and nobody is waited for.
    End,
    /// The time and the grace are over.
    Late,
}

/// The next body, and from when to when it had to be waited for.
type Body = (Result<Option<Batch>, FeedError>, Option<(Instant, Instant)>);

/// A wait that goes on from one poll to the next is told from a loop that was late to ask.
fn poll_body(bodies: &mut Feed, since: &mut Option<Instant>, cx: &mut Context<'_>) -> Poll<Body> {
    let made = bodies.poll_next(cx);
    if made.is_pending() {
        since.get_or_insert_with(Instant::now);
    }
    made.map(|made| (made, since.take().map(|since| (since, Instant::now()))))
}

fn there(turn: Poll<Turn>) -> Option<Turn> {
    match turn {
        Poll::Ready(turn) => Some(turn),
        Poll::Pending => None,
    }
}

/// Waits until something is due.
async fn wait<K: Clock>(clock: &mut K, due: Option<Instant>) {
    match due {
        Some(due) => clock.wait_until(due).await,
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
    /// From when to when it had to be waited for, if it was not there at once.
    waited: Option<(Instant, Instant)>,
}

#[cfg(test)]
mod tests;
