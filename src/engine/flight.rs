//! What is in flight: requests that were sent, iterations that pause between steps, answers that
//! wait to be examined. The dispatch loop adds iterations and learns their outcomes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::busy::Busy;
use super::chain::{Chain, Kept};
use super::error::NextError;
use super::event::{Arrival, Event, Finished, Iteration, Listener, Outcome, Traits};
use super::feed::Batch;
use super::{Slots, StepAnswer};
use crate::client::{self, CallError, Lanes, Request};
use crate::template::TemplateError;

/// A request that was sent.
struct Sending {
    iteration: Iteration,
    step: usize,
    begins: bool,
    due: Instant,
    documents: u64,
    traits: Traits,
    /// Kept for the examiner of answers, and for the next step.
    kept: Option<(Request, Kept)>,
}

/// Something that is no longer in flight.
enum Landed {
    /// The response to a repeated step was checked: it is the awaited one, or not.
    Polled(Box<Finished>, Request, Kept, Result<bool, Option<TemplateError>>),
    /// The request of an iteration's next step was made, or could not be.
    Next { iteration: Iteration, step: usize, due: Instant, made: Result<(Batch, Kept), NextError> },
    /// An answer that had to wait for the examiner was taken.
    Taken(Free),
}

/// An iteration between two steps. Its next request is made, and due when the pause is over.
struct Paused {
    due: Instant,
    /// The order in which they began, if several are due at once.
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
pub(super) struct Free {
    pub(super) arrival: Arrival,
    pub(super) at: Instant,
    /// Whether there was a connection to the Flow.
    pub(super) reached: bool,
}

/// The rare waits: for the examiner of answers, and for the request of a later step.
type Waiting = Pin<Box<dyn Future<Output = Landed>>>;

/// What is in flight.
pub(super) struct Flight<'a, L> {
    lanes: L,
    busy: &'a Busy,
    /// Requests that were sent, by the numbers under which the lanes have them.
    rows: Vec<Option<Sending>>,
    free: Vec<u32>,
    /// Requests that have ended and are not processed yet.
    landed: Vec<client::Landed>,
    waiting: FuturesUnordered<Waiting>,
    /// The one that is due next comes first.
    paused: BinaryHeap<Reverse<Paused>>,
    /// Number of pauses so far.
    pauses: u64,
    /// Iterations in flight, those that count and those of the warmup.
    measured: u64,
    warmup: u64,
    chain: Option<Chain>,
    pub(super) slots: Slots,
    answers: Option<mpsc::Sender<StepAnswer>>,
}

impl<'a, L: Lanes> Flight<'a, L> {
    pub(super) fn new(
        lanes: L,
        busy: &'a Busy,
        chain: Option<Chain>,
        slots: Slots,
        answers: Option<mpsc::Sender<StepAnswer>>,
    ) -> Flight<'a, L> {
        Flight {
            lanes,
            busy,
            rows: Vec::new(),
            free: Vec::new(),
            landed: Vec::new(),
            waiting: FuturesUnordered::new(),
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
    /// body was not ready.
    pub(super) fn begin(
        &mut self,
        arrival: Arrival,
        batch: Batch,
        waited: Option<(Instant, Instant)>,
        at: Instant,
    ) {
        // Only the wait past its due time delayed the request.
        let starved = waited.map_or(Duration::ZERO, |(from, to)| {
            to.saturating_duration_since(from.max(arrival.due))
        });
        let blocked = Duration::ZERO;
        let paused = Duration::ZERO;
        let iteration =
            Iteration { arrival, released: at, written: None, starved, blocked, paused };
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
        let Batch { request, documents, traits, .. } = batch;
        let looked_at = iteration.arrival.measured && self.answers.is_some();
        let kept = (looked_at || self.chain.is_some()).then(|| (request.clone(), kept));
        let sending = Sending { iteration, step, begins, due, documents, traits, kept };
        let row = match self.free.pop() {
            Some(row) => {
                self.rows[row as usize] = Some(sending);
                row
            }
            None => {
                self.rows.push(Some(sending));
                // Memory limits requests in flight long before 32 bits do.
                (self.rows.len() - 1) as u32
            }
        };
        self.lanes.offer(row, request);
    }

    /// The step with which an iteration begins.
    pub(super) fn first_step(&self, batch: &Batch) -> usize {
        self.chain.as_ref().map_or(0, |chain| chain.first_step(batch.index))
    }

    fn count(&mut self, arrival: Arrival) -> &mut u64 {
        if arrival.measured { &mut self.measured } else { &mut self.warmup }
    }

    /// Writes and reads as much as is possible now, and reports everything that is no longer in
    /// flight; `free` is called for each client that is free. False if nothing has ended.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        listener: &mut T,
        mut free: impl FnMut(Free),
    ) -> bool
    where
        T: Listener,
    {
        let mut landed = std::mem::take(&mut self.landed);
        self.lanes.poll(cx, &mut landed);
        let mut progress = !landed.is_empty();
        for landed in landed.drain(..) {
            if let Some(client) = self.request_landed(landed, listener) {
                free(client);
            }
        }
        self.landed = landed;
        while let Poll::Ready(Some(landed)) = self.waiting.poll_next_unpin(cx) {
            progress = true;
            if let Some(client) = self.land(landed, listener) {
                free(client);
            }
        }
        progress
    }

    /// A request was answered, or failed.
    fn request_landed(
        &mut self,
        landed: client::Landed,
        listener: &mut impl Listener,
    ) -> Option<Free> {
        let client::Landed { row, outcome } = landed;
        let sending = self.rows.get_mut(row as usize)?.take()?;
        self.free.push(row);
        let Sending { mut iteration, step, begins, due, documents, traits, kept } = sending;
        let (reply, error, timing) = match outcome {
            Ok(reply) => {
                let (error, timing) = (reply.failure(), reply.timing);
                (Some(reply), error, timing)
            }
            Err(failure) => {
                (failure.response.map(|response| *response), Some(failure.error), failure.timing)
            }
        };
        let outcome = error.as_ref().map_or(Outcome::Ok, Outcome::of);
        if begins {
            iteration.written = timing.written;
            let until = timing.written.unwrap_or(timing.done);
            iteration.blocked = self.busy.within(iteration.released, until);
        }
        let ends = true;
        let finished = Finished {
            iteration,
            step,
            begins,
            ends,
            due,
            documents,
            traits,
            timing,
            outcome,
            reply,
            error,
        };
        let repeats = |chain: &&Chain| chain.repeat(finished.step).is_some();
        match (self.chain.as_ref().filter(repeats), kept, &finished.reply) {
            (Some(chain), Some((request, kept)), Some(reply)) if finished.error.is_none() => {
                let (chain, reply) = (chain.clone(), reply.clone());
                self.waiting.push(Box::pin(async move {
                    let (sent, captured) = (request.clone(), kept.captured.clone());
                    let (step, took) = (finished.step, finished.response_time());
                    let holds = chain.holds(step, sent, reply, captured, took).await;
                    Landed::Polled(Box::new(finished), request, kept, holds)
                }));
                None
            }
            (_, kept, _) => self.answered(finished, kept, listener),
        }
    }

    /// Reports what has landed; returns its client, once that is free.
    fn land(&mut self, landed: Landed, listener: &mut impl Listener) -> Option<Free> {
        match landed {
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
    pub(super) fn pause_over(&self) -> Option<Instant> {
        self.paused.peek().map(|Reverse(paused)| paused.due)
    }

    /// Sends what is due after a pause.
    pub(super) fn resume(&mut self, listener: &mut impl Listener) {
        if let Some(Reverse(paused)) = self.paused.pop() {
            self.go_on(paused, listener);
        }
    }

    fn go_on(&mut self, paused: Paused, listener: &mut impl Listener) {
        let Paused { due, iteration, step, batch, kept, .. } = paused;
        let Iteration { arrival, .. } = iteration;
        let (at, documents, bytes) = (Instant::now(), batch.documents, batch.traits.bytes);
        let in_flight = self.slots.taken();
        let begins = false;
        listener.on(Event::Released { arrival, step, begins, at, documents, bytes, in_flight });
        self.release(iteration, (step, begins), due, batch, kept);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.rows.len() && self.waiting.is_empty() && self.paused.is_empty()
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
        // If there is another step, it is made from the response.
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
        self.waiting.push(Box::pin(async move {
            if let Some((answer, answers)) = behind {
                let _ = answers.send(answer).await;
            }
            match next {
                Some((chain, request, reply, kept)) => {
                    let pause = chain.pause(step, kept.index);
                    let (due, paused) = (done + pause, iteration.paused + pause);
                    let iteration = Iteration { paused, ..iteration };
                    let made = chain.next(step, request, reply, kept).await;
                    Landed::Next { iteration, step: step + 1, due, made }
                }
                None => {
                    let arrival = iteration.arrival;
                    Landed::Taken(Free { arrival, at: Instant::now(), reached })
                }
            }
        }));
        None
    }

    /// Repeats a step, or fails its iteration if it was repeated for long enough.
    fn again(
        &mut self,
        mut finished: Finished,
        request: Request,
        mut kept: Kept,
        error: Option<TemplateError>,
        listener: &mut impl Listener,
    ) -> Option<Free> {
        let (iteration, step, documents) = (finished.iteration, finished.step, finished.documents);
        let traits = finished.traits.clone();
        finished.ends = false;
        listener.on(Event::Finished(&finished));
        let since = *kept.polling.get_or_insert(finished.due);
        let done = finished.timing.done;
        let behind = self.show(finished, Some((request.clone(), kept.clone())), false);
        let repeat = self.chain.as_ref().and_then(|chain| chain.repeat(step))?;
        let due = done + repeat.every;
        let iteration = Iteration { paused: iteration.paused + repeat.every, ..iteration };
        let made = if due <= since + repeat.at_most {
            Ok((Batch { request, documents, index: kept.index, traits }, kept))
        } else {
            let (until, at_most) = (repeat.until.that().to_owned(), repeat.at_most);
            Err(NextError::Repeat { until, at_most, source: error })
        };
        let next = Landed::Next { iteration, step, due, made };
        let Some((answer, answers)) = behind else { return self.land(next, listener) };
        self.waiting.push(Box::pin(async move {
            let _ = answers.send(answer).await;
            next
        }));
        None
    }

    /// Hands an answer to the examiner. If the examiner is behind, the answer is returned: the
    /// iteration keeps its slot until it is taken, so that answers do not pile up without bound.
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
            // The examiner has ended, as requested or with an error that it reported.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }

    /// Abandons what is still in flight.
    pub(super) fn abandon(&mut self, listener: &mut impl Listener) {
        let (mut unsent, mut on_their_way) = (Vec::new(), 0);
        for (row, sending) in self.rows.iter_mut().enumerate() {
            let Some(sending) = sending.take() else { continue };
            on_their_way += 1;
            let written = self.lanes.give_up(row as u32);
            if sending.begins && written.is_none() {
                unsent.push(sending.iteration);
            }
        }
        self.slots.give_back(on_their_way + self.waiting.len() + self.paused.len());
        self.rows.clear();
        self.free.clear();
        self.waiting.clear();
        self.paused.clear();
        if self.measured + self.warmup > 0 {
            let (measured, warmup, at) = (self.measured, self.warmup, Instant::now());
            listener.on(Event::Abandoned { measured, warmup, unsent: &unsent, at });
        }
    }
}
