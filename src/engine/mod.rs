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
pub mod make;
mod order;
pub mod source;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Call, CallError, Mark, Request};
use crate::clock::Clock;
use crate::template::TemplateError;
use backoff::Backoff;
use busy::Busy;
use chain::{Chain, Kept, NextError};
use event::{Arrival, Event, Finished, Iteration, Listener, Outcome};
use feed::{Batch, Feed, FeedError};
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

/// A request on its way.
struct Sending {
    iteration: Iteration,
    step: usize,
    begins: bool,
    due: Instant,
    documents: u64,
    /// Kept for those who look at answers, and for the next step.
    kept: Option<(Request, Kept)>,
}

/// Something that was in flight and is not any more.
enum Landed {
    /// A request was answered, or failed.
    Request(Box<Finished>, Option<(Request, Kept)>),
    /// It is known whether the response is the one that a step was repeated for.
    Polled(Box<Finished>, Request, Kept, Result<bool, Option<TemplateError>>),
    /// The request of an iteration's next step was made, or could not be.
    Next { iteration: Iteration, step: usize, due: Instant, made: Result<(Batch, Kept), NextError> },
    /// Somebody took an answer that had to wait until they had time.
    Taken(Free),
}

/// An iteration between two steps. Its next request is made, and due when the pause is over.
struct Paused {
    due: Instant,
    /// The order in which they came, where several are due at once.
    number: u64,
    iteration: Iteration,
    step: usize,
    batch: Batch,
    kept: Kept,
}

impl PartialEq for Paused {
    fn eq(&self, other: &Paused) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Paused {}

impl PartialOrd for Paused {
    fn partial_cmp(&self, other: &Paused) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Paused {
    fn cmp(&self, other: &Paused) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// A client whose iteration is over.
struct Free {
    arrival: Arrival,
    at: Instant,
    /// Whether there was a connection to the Flow.
    reached: bool,
}

/// One request, from release to its last reply.
async fn one_request<C: Call>(
    call: C,
    busy: &Busy,
    given_up: &RefCell<Vec<Iteration>>,
    sending: Sending,
    request: Request,
) -> Landed {
    let Sending { mut iteration, step, begins, due, documents, kept } = sending;
    let abandoned =
        Abandoned { given_up, iteration: begins.then_some(iteration), mark: Mark::default() };
    let outcome = call.call_marked(request, &abandoned.mark).await;
    abandoned.ended();
    let (reply, error, timing) = match outcome {
        Ok(reply) => {
            let (error, timing) = (reply.failure(), reply.timing);
            (Some(reply), error, timing)
        }
        Err(failure) => (None, Some(failure.error), failure.timing),
    };
    let outcome = error.as_ref().map_or(Outcome::Ok, Outcome::of);
    if begins {
        iteration.written = timing.written;
        let until = timing.written.unwrap_or(timing.done);
        iteration.blocked = busy.within(iteration.released, until);
    }
    let ends = true;
    let finished =
        Finished { iteration, step, begins, ends, due, documents, timing, outcome, reply, error };
    Landed::Request(Box::new(finished), kept)
}

/// Notes an iteration that is given up before its first request went out.
struct Abandoned<'a> {
    given_up: &'a RefCell<Vec<Iteration>>,
    iteration: Option<Iteration>,
    mark: Mark,
}

impl Abandoned<'_> {
    /// It was not given up.
    fn ended(mut self) {
        self.iteration = None;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let (Some(iteration), None) = (self.iteration, self.mark.written()) {
            self.given_up.borrow_mut().push(iteration);
        }
    }
}

/// The rare waits: for those who look at answers, for the making of a later step's request.
type Waiting = Pin<Box<dyn Future<Output = Landed>>>;

/// What is in flight.
struct Flight<S, F> {
    send: S,
    requests: FuturesUnordered<Either<F, Waiting>>,
    /// The next to be due first.
    paused: BinaryHeap<Reverse<Paused>>,
    /// How many have paused.
    pauses: u64,
    /// Iterations, those that count and those of the warmup.
    measured: u64,
    warmup: u64,
    chain: Option<Chain>,
    slots: Slots,
    answers: Option<mpsc::Sender<StepAnswer>>,
}

impl<S, F> Flight<S, F>
where
    S: Fn(Sending, Request) -> F,
    F: Future<Output = Landed>,
{
    fn new(
        send: S,
        chain: Option<Chain>,
        slots: Slots,
        answers: Option<mpsc::Sender<StepAnswer>>,
    ) -> Flight<S, F> {
        Flight {
            send,
            requests: FuturesUnordered::new(),
            paused: BinaryHeap::new(),
            pauses: 0,
            measured: 0,
            warmup: 0,
            chain,
            slots,
            answers,
        }
    }

    /// Sends the first request of an iteration, which has its slot. `waited`: from when to when its
    /// body had to be waited for.
    fn begin(
        &mut self,
        arrival: Arrival,
        batch: Batch,
        waited: Option<(Instant, Instant)>,
        at: Instant,
    ) {
        // Only what it waited past its due time delayed the request.
        let starved = waited.map_or(Duration::ZERO, |(from, to)| {
            to.saturating_duration_since(from.max(arrival.due))
        });
        let blocked = Duration::ZERO;
        let iteration = Iteration { arrival, released: at, written: None, starved, blocked };
        *self.count(arrival) += 1;
        let kept = Kept { index: batch.index, ..Kept::default() };
        let step = self.first_step(&batch);
        self.release(iteration, (step, true), arrival.due, batch, kept);
    }

    fn release(
        &mut self,
        iteration: Iteration,
        (step, begins): (usize, bool),
        due: Instant,
        batch: Batch,
        kept: Kept,
    ) {
        let Batch { request, documents, .. } = batch;
        let looked_at = iteration.arrival.measured && self.answers.is_some();
        let kept = (looked_at || self.chain.is_some()).then(|| (request.clone(), kept));
        let sending = Sending { iteration, step, begins, due, documents, kept };
        self.requests.push(Either::Left((self.send)(sending, request)));
    }

    /// The step that an iteration begins with.
    fn first_step(&self, batch: &Batch) -> usize {
        self.chain.as_ref().map_or(0, |chain| chain.first_step(batch.index))
    }

    fn count(&mut self, arrival: Arrival) -> &mut u64 {
        if arrival.measured { &mut self.measured } else { &mut self.warmup }
    }

    /// Something that is not in flight any more. Never ready while nothing is.
    fn poll_landed(&mut self, cx: &mut Context<'_>) -> Poll<Landed> {
        match self.requests.poll_next_unpin(cx) {
            Poll::Ready(Some(landed)) => Poll::Ready(landed),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Tells of what landed; gives its client, once that is free.
    fn land(&mut self, landed: Landed, listener: &mut impl Listener) -> Option<Free> {
        match landed {
            Landed::Request(finished, kept) => {
                let repeats = |chain: &&Chain| chain.repeat(finished.step).is_some();
                match (self.chain.as_ref().filter(repeats), kept, &finished.reply) {
                    (Some(chain), Some((request, kept)), Some(reply))
                        if finished.error.is_none() =>
                    {
                        let (chain, reply) = (chain.clone(), reply.clone());
                        self.requests.push(Either::Right(Box::pin(async move {
                            let (sent, captured) = (request.clone(), kept.captured.clone());
                            let (step, took) = (finished.step, finished.response_time());
                            let holds = chain.holds(step, sent, reply, captured, took).await;
                            Landed::Polled(finished, request, kept, holds)
                        })));
                        None
                    }
                    (_, kept, _) => self.answered(*finished, kept, listener),
                }
            }
            Landed::Polled(finished, request, kept, Ok(true)) => {
                let kept = Kept { polling: None, ..kept };
                self.answered(*finished, Some((request, kept)), listener)
            }
            Landed::Polled(finished, request, kept, holds) => {
                self.again(*finished, request, kept, holds.err().flatten(), listener)
            }
            Landed::Next { iteration, step, due, made: Ok((batch, kept)) } => {
                self.pauses += 1;
                let paused = Paused { due, number: self.pauses, iteration, step, batch, kept };
                match due > Instant::now() {
                    true => self.paused.push(Reverse(paused)),
                    false => self.go_on(paused, listener),
                }
                None
            }
            Landed::Next { iteration, made: Err(error), .. } => {
                let at = Instant::now();
                *self.count(iteration.arrival) -= 1;
                listener.on(Event::Broken { iteration, at, error: &error });
                self.slots.give_back(1);
                Some(Free { arrival: iteration.arrival, at, reached: true })
            }
            Landed::Taken(free) => {
                self.slots.give_back(1);
                Some(free)
            }
        }
    }

    /// When the next pause is over.
    fn pause_over(&self) -> Option<Instant> {
        self.paused.peek().map(|Reverse(paused)| paused.due)
    }

    /// Sends what is due after a pause.
    fn resume(&mut self, listener: &mut impl Listener) {
        if let Some(Reverse(paused)) = self.paused.pop() {
            self.go_on(paused, listener);
        }
    }

    fn go_on(&mut self, paused: Paused, listener: &mut impl Listener) {
        let Paused { due, iteration, step, batch, kept, .. } = paused;
        let Iteration { arrival, .. } = iteration;
        let (at, documents) = (Instant::now(), batch.documents);
        let in_flight = self.slots.taken();
        let begins = false;
        listener.on(Event::Released { arrival, step, begins, at, documents, in_flight });
        self.release(iteration, (step, begins), due, batch, kept);
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.paused.is_empty()
    }

    fn answered(
        &mut self,
        mut finished: Finished,
        kept: Option<(Request, Kept)>,
        listener: &mut impl Listener,
    ) -> Option<Free> {
        let (iteration, step) = (finished.iteration, finished.step);
        let done = finished.timing.done;
        let reached = !finished.error.as_ref().is_some_and(CallError::is_of_connection);
        let chain = self.chain.clone().filter(|chain| chain.goes_on_after(step));
        // Where there is another step, the response is what it is made of.
        let next = match (chain, &kept, &finished.reply) {
            (Some(chain), Some((request, kept)), Some(reply)) if finished.error.is_none() => {
                Some((chain, request.clone(), reply.clone(), kept.clone()))
            }
            _ => None,
        };
        finished.ends = next.is_none();
        if finished.ends {
            *self.count(iteration.arrival) -= 1;
        }
        listener.on(Event::Finished(&finished));
        let behind = self.show(finished, kept, true);
        if next.is_none() && behind.is_none() {
            self.slots.give_back(1);
            return Some(Free { arrival: iteration.arrival, at: done, reached });
        }
        self.requests.push(Either::Right(Box::pin(async move {
            if let Some((answer, answers)) = behind {
                let _ = answers.send(answer).await;
            }
            match next {
                Some((chain, request, reply, kept)) => {
                    let due = done + chain.pause(step, kept.index);
                    let made = chain.next(step, request, reply, kept).await;
                    Landed::Next { iteration, step: step + 1, due, made }
                }
                None => {
                    let arrival = iteration.arrival;
                    Landed::Taken(Free { arrival, at: Instant::now(), reached })
                }
            }
        })));
        None
    }

    /// Repeats a step, or fails its iteration where it was repeated for long enough.
    fn again(
        &mut self,
        mut finished: Finished,
        request: Request,
        mut kept: Kept,
        error: Option<TemplateError>,
        listener: &mut impl Listener,
    ) -> Option<Free> {
        let (iteration, step, documents) = (finished.iteration, finished.step, finished.documents);
        finished.ends = false;
        listener.on(Event::Finished(&finished));
        let since = *kept.polling.get_or_insert(finished.due);
        let done = finished.timing.done;
        let behind = self.show(finished, Some((request.clone(), kept.clone())), false);
        let repeat = self.chain.as_ref().and_then(|chain| chain.repeat(step))?;
        let due = done + repeat.every;
        let made = if due <= since + repeat.at_most {
            Ok((Batch { request, documents, index: kept.index }, kept))
        } else {
            let (until, at_most) = (repeat.until.that().to_owned(), repeat.at_most);
            Err(NextError::Repeat { until, at_most, source: error })
        };
        let next = Landed::Next { iteration, step, due, made };
        let Some((answer, answers)) = behind else { return self.land(next, listener) };
        self.requests.push(Either::Right(Box::pin(async move {
            let _ = answers.send(answer).await;
            next
        })));
        None
    }

    /// Hands an answer to those who look at answers. They may be behind, and then it is given back: the
    /// iteration keeps its slot until they take it, so that answers do not pile up without bound.
    fn show(
        &self,
        finished: Finished,
        kept: Option<(Request, Kept)>,
        settled: bool,
    ) -> Option<(StepAnswer, mpsc::Sender<StepAnswer>)> {
        let answers = self.answers.clone().filter(|_| finished.iteration.arrival.measured)?;
        let (request, kept) = kept?;
        match answers.try_send(StepAnswer { kept, request, finished, settled }) {
            Err(mpsc::error::TrySendError::Full(answer)) => Some((answer, answers)),
            // Nobody looks any more: they said so, or told why they could not.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }

    /// Gives up what is still in flight.
    fn abandon(&mut self, given_up: &RefCell<Vec<Iteration>>, listener: &mut impl Listener) {
        self.slots.give_back(self.requests.len() + self.paused.len());
        self.requests.clear();
        self.paused.clear();
        if self.measured + self.warmup > 0 {
            let (measured, warmup, at) = (self.measured, self.warmup, Instant::now());
            let unsent = given_up.take();
            listener.on(Event::Abandoned { measured, warmup, unsent: &unsent, at });
        }
    }
}

#[cfg(test)]
mod tests;
