//! Where arrivals come from: the clock (open model) or clients that are free (closed model).
//!
//! Both are data for the one dispatch loop, which asks when the next arrival is due, takes it, and
//! tells when a request is over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::event::Arrival;
use super::schedule::{Arrivals, Schedule};
use crate::plan::Stage;

/// Arrivals of one worker.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    /// From here on arrivals are measured.
    measured_from: Instant,
    /// No arrival is due from here on.
    end: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Open(Box<Open>),
    Closed {
        free: BinaryHeap<Reverse<Client>>,
        /// At each of these instants the number of clients falls by one: the first client that is
        /// due from then on goes.
        leave: VecDeque<Instant>,
        think_time: Duration,
        budget: Budget,
    },
}

#[derive(Debug)]
struct Open {
    warmup: Walk,
    steady: Walk,
}

/// A client that waits for its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    due: Instant,
    /// It has not sent anything yet. Many may begin at once, one after another as we get to them,
    /// so the first request of each is due when it is its turn.
    new: bool,
}

/// One worker's part of a schedule: every so many-th arrival.
#[derive(Debug)]
struct Walk {
    start: Instant,
    arrivals: Arrivals,
    /// The other workers' arrivals between two of ours.
    others: usize,
    next: Option<Instant>,
}

/// What the dispatch loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An arrival.
    Due(Arrival),
    /// A client to become free.
    Client,
    /// Nothing: no arrival will come any more.
    Over(Over),
}

/// What ended a load that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its time.
    Time,
    /// The number of its requests.
    Requests,
}

/// A number of requests that workers share. Counts those taken, so it also tells how many were.
#[derive(Clone, Debug)]
pub struct Budget {
    taken: Arc<AtomicU64>,
    total: u64,
}

/// The part of a load that one of several workers carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub worker: usize,
    /// Of how many, at least 1.
    pub workers: usize,
}

/// When the load begins, when it begins to count, when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Begin of the warmup, or of the load where there is none.
    pub start: Instant,
    /// Length of the warmup.
    pub warmup: Duration,
    /// Length of what is measured, where time ends it.
    pub duration: Option<Duration>,
}

impl Frame {
    /// The first instant that counts.
    pub fn measured_from(&self) -> Instant {
        self.start + self.warmup
    }

    /// The first instant at which nothing is due any more.
    pub fn end(&self) -> Option<Instant> {
        self.duration.map(|duration| self.measured_from() + duration)
    }
}

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share { worker: 0, workers: 1 };

    /// How many of `total` things are this worker's.
    pub fn of(self, total: usize) -> usize {
        total / self.workers + usize::from(self.worker < total % self.workers)
    }
}

impl Budget {
    /// So many requests.
    pub fn new(total: u64) -> Budget {
        Budget { taken: Arc::default(), total }
    }

    /// Takes one and tells how many were taken before; `None` when there is none left.
    pub fn take(&self) -> Option<u64> {
        // Only the count is shared, so no order with other memory is needed.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.total).then(|| n + 1))
            .ok()
    }

    /// How many there were to take.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.total
    }
}

impl Source {
    /// The open model: `warmup` and then `steady`, each from its own start, whatever the Flow does.
    pub fn open(frame: Frame, warmup: &Schedule, steady: &Schedule, share: Share) -> Source {
        let walk = |schedule: &Schedule, start, end: Option<Instant>| {
            let others = share.workers - 1;
            let mut walk = Walk { start, arrivals: schedule.arrivals(), others, next: None };
            walk.step(share.worker, end);
            walk
        };
        let measured_from = frame.measured_from();
        Source {
            kind: Kind::Open(Box::new(Open {
                warmup: walk(warmup, frame.start, Some(measured_from)),
                steady: walk(steady, measured_from, frame.end()),
            })),
            measured_from,
            end: frame.end(),
        }
    }

    /// The closed model: clients of which each is due again `think_time` after its last request was
    /// over, until the budget of measured requests is used up. Those of the first stage's begin are
    /// there from the begin of the warmup; where there are none, one is there for the warmup.
    pub fn closed(
        frame: Frame,
        clients: &[Stage<usize>],
        think_time: Duration,
        budget: Budget,
        share: Share,
    ) -> Source {
        let mut free = BinaryHeap::new();
        let mut leave = VecDeque::new();
        let mut level = 0;
        let mut set = |level: &mut usize, to: usize, at: Instant| {
            // Client `k` is the worker's whose turn it is, whenever it comes and goes.
            let ours = |k: usize| k % share.workers == share.worker;
            while *level < to {
                if ours(*level) {
                    free.push(Reverse(Client { due: at, new: true }));
                }
                *level += 1;
            }
            while *level > to {
                *level -= 1;
                if ours(*level) {
                    leave.push_back(at);
                }
            }
        };
        let mut start = frame.measured_from();
        if clients.first().is_some_and(|stage| stage.from == 0) && !frame.warmup.is_zero() {
            set(&mut level, 1, frame.start);
            set(&mut level, 0, start);
        }
        for (index, stage) in clients.iter().enumerate() {
            let begin = if index == 0 && stage.from > 0 { frame.start } else { start };
            set(&mut level, stage.from, begin);
            let Some(length) = stage.length else { break };
            let steps = stage.to.abs_diff(stage.from);
            for step in 1..=steps {
                // In a straight line from one level to the other, reached at the end.
                let at = start + length.mul_f64(step as f64 / steps as f64);
                let up = stage.to > stage.from;
                set(&mut level, if up { stage.from + step } else { stage.from - step }, at);
            }
            start += length;
        }
        Source {
            kind: Kind::Closed { free, leave, think_time, budget },
            measured_from: frame.measured_from(),
            end: frame.end(),
        }
    }

    /// What comes next, without taking it.
    pub fn upcoming(&mut self) -> Next {
        let due = match &mut self.kind {
            Kind::Open(open) => match open.warmup.next.or(open.steady.next) {
                Some(due) => due,
                None if open.steady.arrivals.is_limited() => return Next::Over(Over::Requests),
                None => return Next::Over(Over::Time),
            },
            Kind::Closed { free, leave, budget, .. } => {
                if budget.is_empty() {
                    return Next::Over(Over::Requests);
                }
                loop {
                    let Some(Reverse(client)) = free.peek() else { return Next::Client };
                    let due = client.due;
                    if leave.front().is_none_or(|leaves| *leaves > due) {
                        break due;
                    }
                    leave.pop_front();
                    free.pop();
                }
            }
        };
        if self.end.is_some_and(|end| due >= end) {
            return Next::Over(Over::Time);
        }
        Next::Due(Arrival { due, measured: due >= self.measured_from })
    }

    /// Takes the arrival that [`Source::upcoming`] told of; none when there is none, or another worker
    /// took the last of the budget meanwhile.
    pub fn take(&mut self, now: Instant) -> Option<Arrival> {
        let Next::Due(mut arrival) = self.upcoming() else { return None };
        match &mut self.kind {
            Kind::Open(open) => {
                let Open { warmup, steady } = &mut **open;
                if warmup.next.is_some() {
                    warmup.step(warmup.others, Some(self.measured_from));
                } else {
                    steady.step(steady.others, self.end);
                }
            }
            Kind::Closed { free, budget, .. } => {
                if arrival.measured && budget.take().is_none() {
                    return None;
                }
                if free.pop().is_some_and(|Reverse(client)| client.new) {
                    arrival.due = arrival.due.max(now);
                }
            }
        }
        Some(arrival)
    }

    /// A request was over at `at`: in the closed model its client thinks, and is free.
    pub fn over(&mut self, at: Instant) {
        if let Kind::Closed { free, think_time, .. } = &mut self.kind {
            free.push(Reverse(Client { due: at + *think_time, new: false }));
        }
    }

    /// No arrival is due from here on.
    pub fn end(&self) -> Option<Instant> {
        self.end
    }
}

impl Walk {
    fn step(&mut self, skip: usize, end: Option<Instant>) {
        let due = self.arrivals.nth(skip).map(|due| self.start + due);
        self.next = due.filter(|due| end.is_none_or(|end| *due < end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::schedule::{Law, Profile};

    fn frame(warmup_ms: u64, duration_ms: Option<u64>) -> Frame {
        Frame {
            start: Instant::now(),
            warmup: Duration::from_millis(warmup_ms),
            duration: duration_ms.map(Duration::from_millis),
        }
    }

    fn constant(rate: f64) -> Schedule {
        Schedule::rate(Profile::constant(rate, None), Law::Uniform, 0)
    }

    /// Due times in ms from the start, of an open source carried out to its end.
    fn due_ms(mut source: Source, start: Instant) -> Vec<(u128, bool)> {
        let mut all = Vec::new();
        while let Next::Due(arrival) = source.upcoming() {
            all.push(((arrival.due - start).as_millis(), arrival.measured));
            source.take(arrival.due);
        }
        all
    }

    #[test]
    fn warmup_precedes_what_is_measured() {
        let frame = frame(200, Some(200));
        let source = Source::open(frame, &constant(10.0), &constant(20.0), Share::WHOLE);
        let expected =
            [(0, false), (100, false), (200, true), (250, true), (300, true), (350, true)];
        assert_eq!(due_ms(source, frame.start), expected);
    }

    #[test]
    fn workers_share_a_schedule_without_gap_or_overlap() {
        let frame = frame(0, Some(1000));
        let schedule = Schedule::rate(Profile::constant(100.0, None), Law::Poisson, 3);
        let whole = due_ms(Source::open(frame, &schedule, &schedule, Share::WHOLE), frame.start);
        let mut parts: Vec<_> = (0..3)
            .flat_map(|worker| {
                let share = Share { worker, workers: 3 };
                due_ms(Source::open(frame, &schedule, &schedule, share), frame.start)
            })
            .collect();
        parts.sort();
        assert_eq!(parts, whole);
    }

    fn stage(from: usize, to: usize, ms: Option<u64>) -> Stage<usize> {
        Stage { from, to, length: ms.map(Duration::from_millis) }
    }

    /// Due times in ms of a closed source whose requests take no time and clients think for 100 ms.
    fn closed_due_ms(clients: &[Stage<usize>], duration: u64, share: Share) -> Vec<u128> {
        let frame = frame(0, Some(duration));
        let think = Duration::from_millis(100);
        let mut source = Source::closed(frame, clients, think, Budget::new(u64::MAX), share);
        let mut all = Vec::new();
        while let Next::Due(arrival) = source.upcoming() {
            all.push((arrival.due - frame.start).as_millis());
            source.take(arrival.due);
            source.over(arrival.due);
        }
        all
    }

    #[test]
    fn clients_come_one_after_another_and_go_again() {
        let stages = [stage(0, 2, Some(300)), stage(2, 2, Some(100)), stage(2, 0, Some(200))];
        // One from 150 on, another from 300 on; one leaves at 500, the other at 600.
        let due = closed_due_ms(&stages, 1000, Share::WHOLE);
        assert_eq!(due, [150, 250, 300, 350, 400, 450, 550]);
    }

    #[test]
    fn workers_share_clients_to_the_last() {
        let count = |worker| {
            let share = Share { worker, workers: 3 };
            closed_due_ms(&[stage(8, 8, None)], 100, share).len()
        };
        assert_eq!([count(0), count(1), count(2)], [3, 3, 2]);
    }

    #[test]
    fn a_client_is_due_again_after_it_thought() {
        let frame = frame(0, None);
        let think = Duration::from_millis(100);
        let mut source =
            Source::closed(frame, &[stage(1, 1, None)], think, Budget::new(2), Share::WHOLE);
        assert!(source.take(frame.start).is_some());
        assert_eq!(source.upcoming(), Next::Client);
        source.over(frame.start + Duration::from_millis(30));
        let due = frame.start + Duration::from_millis(130);
        assert_eq!(source.upcoming(), Next::Due(Arrival { due, measured: true }));
        assert!(source.take(frame.start).is_some());
        assert_eq!(source.upcoming(), Next::Over(Over::Requests));
    }

    #[test]
    fn the_warmup_does_not_use_up_the_budget() {
        let frame = frame(100, None);
        let mut source = Source::closed(
            frame,
            &[stage(1, 1, None)],
            Duration::ZERO,
            Budget::new(1),
            Share::WHOLE,
        );
        assert!(source.take(frame.start).is_some());
        source.over(frame.start + Duration::from_millis(50));
        assert!(source.take(frame.start).is_some());
        source.over(frame.start + Duration::from_millis(150));
        assert!(source.take(frame.start).is_some());
        assert_eq!(source.upcoming(), Next::Over(Over::Requests));
    }
}
