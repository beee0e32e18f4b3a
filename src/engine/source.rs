//! Where arrivals come from: the clock (open model) or free clients (closed model).
//!
//! Both are data for the one dispatch loop, which asks when the next arrival is due, takes it, and
//! reports when a request has ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::event::Arrival;
use crate::random::Key;
use crate::schedule::{DueTimes, Pause, Profile};
use crate::units::Part;

/// Arrivals of one worker.
#[derive(Debug)]
pub(crate) struct Source {
    kind: Kind,
    /// Arrivals from here on are measured.
    measured_from: Instant,
    /// No arrival is due from here on.
    end: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Open(Box<Open>),
    Closed {
        /// Clients that are not in flight and will send again.
        free: BinaryHeap<Reverse<Client>>,
        /// When each client takes part, by its number: periods in order that do not overlap.
        stays: Vec<Vec<Stay>>,
        think_time: ThinkTime,
        /// How often each client has thought.
        thought: Vec<u64>,
        share: Share,
        budget: Budget,
    },
}

/// How long clients think. A random think time depends only on the client and on how often it has
/// thought: not on the number of workers, nor on what the Flow does.
#[derive(Clone, Copy, Debug)]
pub struct ThinkTime {
    pause: Pause,
    key: Key,
}

impl ThinkTime {
    /// The pauses of a scenario's clients.
    pub(crate) fn new(pause: Pause, seed: u64, scenario: &str) -> ThinkTime {
        ThinkTime { pause, key: Key::new(seed).part("think_time").part(scenario) }
    }

    /// No pause.
    pub(crate) fn none() -> ThinkTime {
        ThinkTime::new(Pause::NONE, 0, "")
    }

    /// The `n`-th pause of a client.
    fn of(&self, client: u64, n: u64) -> Duration {
        self.pause.draw(|| self.key.index(client).index(n).rng())
    }
}

/// A period in which a client sends. A request that it began may end later.
#[derive(Clone, Copy, Debug)]
struct Stay {
    from: Instant,
    /// The first instant outside; `None` if there is no end.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    warmup: Walk,
    steady: Walk,
}

/// A client waiting for its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    due: Instant,
    number: u32,
    /// It has not sent anything in this stay yet. Many may begin at once, and we get to them one
    /// after another, so the first request of each is due when its turn comes.
    new: bool,
}

impl Client {
    /// A waiting client that is ready to send at `ready`; `None` if it sends no more.
    fn waiting(number: u32, stays: &[Stay], ready: Instant) -> Option<Client> {
        let stay = stays.iter().find(|stay| stay.until.is_none_or(|until| ready < until))?;
        Some(Client { due: ready.max(stay.from), number, new: ready <= stay.from })
    }
}

/// One worker's part of a schedule: its turn of the arrivals.
#[derive(Debug)]
struct Walk {
    start: Instant,
    arrivals: DueTimes,
    /// Number of the other workers' arrivals between two of ours.
    others: usize,
    next: Option<Instant>,
}

/// What the dispatch loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// An arrival.
    Due(Arrival),
    /// Nothing, until a request in flight ends or the load's time does.
    Idle,
    /// There are no more arrivals.
    Over(Over),
}

/// What ended a load that was run completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its time was up.
    Time,
    /// The number of its requests was reached.
    Requests,
}

/// A number of requests that workers share. It counts those taken, so it also says how many were.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    taken: Arc<AtomicU64>,
    total: u64,
}

/// The part of a load that one of several workers runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The worker's number, from 0.
    pub worker: usize,
    /// The number of workers, at least 1.
    pub workers: usize,
}

/// When the load begins, when measuring begins, and when the load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Start of the warmup, or of the load if there is none.
    pub start: Instant,
    /// Length of the warmup.
    pub warmup: Duration,
    /// Length of the measured time, if time ends the load.
    pub duration: Option<Duration>,
}

impl Frame {
    /// The first instant that counts.
    pub(crate) fn measured_from(&self) -> Instant {
        self.start + self.warmup
    }

    /// The first instant at which nothing is due any more.
    pub fn end(&self) -> Option<Instant> {
        self.duration.map(|duration| self.measured_from() + duration)
    }
}

impl Share {
    /// The whole load.
    pub(crate) const WHOLE: Share = Share { worker: 0, workers: 1 };

    /// The share of one worker of a part. The workers of all parts form one row, in which the parts
    /// take turns, however many workers each has.
    pub(crate) fn of_part(part: Part, worker: usize, workers: usize) -> Share {
        let (index, of) = (part.index() as usize, part.of() as usize);
        Share { worker: index + of * worker, workers: of * workers }
    }

    /// How many of `total` things are this worker's.
    pub fn of(self, total: usize) -> usize {
        total / self.workers + usize::from(self.worker < total % self.workers)
    }
}

impl Budget {
    /// This many requests.
    pub(crate) fn new(total: u64) -> Budget {
        Budget { taken: Arc::default(), total }
    }

    /// Takes one and returns how many were taken before; `None` if none is left.
    pub(crate) fn take(&self) -> Option<u64> {
        // Only the count is shared, so no ordering with other memory is needed.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.total).then(|| n + 1))
            .ok()
    }

    fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.total
    }
}

impl Source {
    /// The open model: `warmup` and then `steady`, each from its own start, whatever the Flow does.
    pub(crate) fn open(frame: Frame, warmup: DueTimes, steady: DueTimes, share: Share) -> Source {
        let walk = |arrivals: DueTimes, start, end: Option<Instant>| {
            let others = share.workers - 1;
            let mut walk = Walk { start, arrivals, others, next: None };
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

    /// The closed model: each client is due again when it has thought after the end of its last
    /// request, until the budget of measured requests is used up. The clients with which the first
    /// stage begins are there from the start of the warmup; if there are none, one is there for the
    /// warmup.
    pub(crate) fn closed(
        frame: Frame,
        clients: &Profile,
        think_time: ThinkTime,
        budget: Budget,
        share: Share,
    ) -> Source {
        // Client `k` belongs to the worker whose turn it is, no matter when it comes and goes.
        let ours = |k: usize| (k % share.workers == share.worker).then_some(k / share.workers);
        let mut stays: Vec<Vec<Stay>> = Vec::new();
        let mut level = 0;
        let mut set = |to: usize, at: Instant| {
            for number in (level..to).filter_map(ours) {
                if stays.len() <= number {
                    stays.resize_with(number + 1, Vec::new);
                }
                stays[number].push(Stay { from: at, until: None });
            }
            for number in (to..level).filter_map(ours) {
                if let Some(stay) = stays[number].last_mut() {
                    stay.until = Some(at);
                }
            }
            level = to;
        };
        let mut start = frame.measured_from();
        let begins_with_none = clients.stages().next().is_some_and(|stage| stage.from == 0.0);
        if begins_with_none && !frame.warmup.is_zero() {
            set(1, frame.start);
            set(0, start);
        }
        for (index, stage) in clients.stages().enumerate() {
            let (from, to) = (stage.from as usize, stage.to as usize);
            let begin = if index == 0 && from > 0 { frame.start } else { start };
            set(from, begin);
            let Some(length) = stage.length else { break };
            let steps = to.abs_diff(from);
            for step in 1..=steps {
                // In a straight line from one level to the other, reached at the end.
                let at = start + length.mul_f64(step as f64 / steps as f64);
                set(if to > from { from + step } else { from - step }, at);
            }
            start += length;
        }
        for stays in &mut stays {
            stays.retain(|stay| stay.until != Some(stay.from));
        }
        let waiting = |(number, stays): (usize, &Vec<Stay>)| {
            Client::waiting(u32::try_from(number).ok()?, stays, frame.start)
        };
        let thought = vec![0; stays.len()];
        let free = stays.iter().enumerate().filter_map(waiting).map(Reverse).collect();
        Source {
            kind: Kind::Closed { free, stays, think_time, thought, share, budget },
            measured_from: frame.measured_from(),
            end: frame.end(),
        }
    }

    /// What comes next, without taking it.
    pub(crate) fn upcoming(&self) -> Next {
        let (due, client) = match &self.kind {
            Kind::Open(open) => match open.warmup.next.or(open.steady.next) {
                Some(due) => (due, 0),
                None if open.steady.arrivals.is_limited() => return Next::Over(Over::Requests),
                None if self.end.is_some() => return Next::Idle,
                None => return Next::Over(Over::Time),
            },
            Kind::Closed { budget, .. } if budget.is_empty() => return Next::Over(Over::Requests),
            Kind::Closed { free, .. } => match free.peek() {
                Some(Reverse(client)) => (client.due, client.number),
                None => return Next::Idle,
            },
        };
        if self.end.is_some_and(|end| due >= end) {
            // A client in flight may still be free before the end.
            return Next::Idle;
        }
        Next::Due(Arrival { due, client, measured: due >= self.measured_from })
    }

    /// Takes the arrival that [`Source::upcoming`] returned; `None` if there is none, or another
    /// worker has taken the last of the budget.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Arrival> {
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

    /// A request ended at `at`: in the closed model its client thinks, and is then free.
    pub(crate) fn over(&mut self, arrival: Arrival, at: Instant) {
        if let Kind::Closed { free, stays, think_time, thought, share, .. } = &mut self.kind {
            let number = arrival.client as usize;
            let stays = stays.get(number).map_or(&[][..], Vec::as_slice);
            let pause = thought.get_mut(number).map_or(Duration::ZERO, |thought| {
                *thought += 1;
                // Its number among the clients of all workers.
                let client = number * share.workers + share.worker;
                think_time.of(client as u64, *thought)
            });
            free.extend(Client::waiting(arrival.client, stays, at + pause).map(Reverse));
        }
    }

    /// No arrival is due from here on.
    pub(crate) fn end(&self) -> Option<Instant> {
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
    use crate::schedule::{ArrivalProcess, Schedule, Stage};

    fn frame(warmup_ms: u64, duration_ms: Option<u64>) -> Frame {
        Frame {
            start: Instant::now(),
            warmup: Duration::from_millis(warmup_ms),
            duration: duration_ms.map(Duration::from_millis),
        }
    }

    fn constant(rate: f64) -> DueTimes {
        Schedule::constant(rate, ArrivalProcess::Uniform).due_times(0, None)
    }

    /// Due times in ms from the start, of an open source that runs to its end.
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
        let source = Source::open(frame, constant(10.0), constant(20.0), Share::WHOLE);
        let expected =
            [(0, false), (100, false), (200, true), (250, true), (300, true), (350, true)];
        assert_eq!(due_ms(source, frame.start), expected);
    }

    #[test]
    fn workers_share_a_schedule_without_gap_or_overlap() {
        let frame = frame(0, Some(1000));
        let due = Schedule::constant(100.0, ArrivalProcess::Poisson).due_times(3, None);
        let source = |share| Source::open(frame, due.clone(), due.clone(), share);
        let whole = due_ms(source(Share::WHOLE), frame.start);
        let mut parts: Vec<_> = (0..3)
            .flat_map(|worker| due_ms(source(Share { worker, workers: 3 }), frame.start))
            .collect();
        parts.sort();
        assert_eq!(parts, whole);
    }

    fn stage(from: f64, to: f64, ms: u64) -> Stage {
        Stage { from, to, length: Some(Duration::from_millis(ms)) }
    }

    fn thinks(ms: u64) -> ThinkTime {
        ThinkTime::new(Pause::Constant(Duration::from_millis(ms)), 0, "s")
    }

    fn clients(count: f64) -> Profile {
        Profile::constant(count, None)
    }

    /// Due times in ms of a closed source whose requests take no time and whose clients think for
    /// 100 ms.
    fn closed_due_ms(clients: &Profile, duration: u64, share: Share) -> Vec<u128> {
        let frame = frame(0, Some(duration));
        let think = thinks(100);
        let mut source = Source::closed(frame, clients, think, Budget::new(u64::MAX), share);
        let mut all = Vec::new();
        while let Next::Due(arrival) = source.upcoming() {
            all.push((arrival.due - frame.start).as_millis());
            source.take(arrival.due);
            source.over(arrival, arrival.due);
        }
        all
    }

    #[test]
    fn clients_come_one_after_another_and_go_again() {
        let stages =
            Profile::new([stage(0.0, 2.0, 300), stage(2.0, 2.0, 100), stage(2.0, 0.0, 200)]);
        // One from 150 on, another from 300 on; one leaves at 500, the other at 600.
        let due = closed_due_ms(&stages, 1000, Share::WHOLE);
        assert_eq!(due, [150, 250, 300, 350, 400, 450, 550]);
    }

    #[test]
    fn workers_share_clients_to_the_last() {
        let count = |worker| {
            let share = Share { worker, workers: 3 };
            closed_due_ms(&clients(8.0), 100, share).len()
        };
        assert_eq!([count(0), count(1), count(2)], [3, 3, 2]);
    }

    #[test]
    fn a_client_is_due_again_after_it_thought() {
        let frame = frame(0, None);
        let think = thinks(100);
        let mut source = Source::closed(frame, &clients(1.0), think, Budget::new(2), Share::WHOLE);
        let first = source.take(frame.start).expect("one is due");
        assert_eq!(source.upcoming(), Next::Idle);
        source.over(first, frame.start + Duration::from_millis(30));
        let due = frame.start + Duration::from_millis(130);
        assert_eq!(source.upcoming(), Next::Due(Arrival { due, client: 0, measured: true }));
        assert!(source.take(frame.start).is_some());
        assert_eq!(source.upcoming(), Next::Over(Over::Requests));
    }

    #[test]
    fn the_warmup_does_not_use_up_the_budget() {
        let frame = frame(100, None);
        let mut source =
            Source::closed(frame, &clients(1.0), ThinkTime::none(), Budget::new(1), Share::WHOLE);
        for over_ms in [50, 150] {
            let arrival = source.take(frame.start).expect("one is due");
            source.over(arrival, frame.start + Duration::from_millis(over_ms));
        }
        assert!(source.take(frame.start).is_some());
        assert_eq!(source.upcoming(), Next::Over(Over::Requests));
    }
}
