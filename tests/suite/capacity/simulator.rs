//! Flows with known capacity, simulated event by event: to the search they look real, and a hundred searches
//! take seconds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use flowbench::capacity::judge::{Block, Decision, Judge, Limit, Over};
use flowbench::capacity::search::{Search, Settings, Trial, TrialResult};
use flowbench::random::Key;
use rand::RngExt;

/// Service times, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Law {
    Constant(f64),
    Exponential(f64),
}

/// The arrival process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    Uniform,
    Poisson,
}

/// A Flow.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// Executors in sequence: servers and their service times, first come, first served.
    Queues(Vec<(usize, Law)>),
    /// Service that takes `growth` of `time` longer for every request in service beyond `at`.
    Knee { time: f64, at: usize, growth: f64 },
    /// Responds after `time`, and fails requests that arrive faster than `rate`.
    Limited { time: f64, rate: f64 },
}

/// A Flow under an open load.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) model: Model,
    pub(crate) arrivals: Arrivals,
    /// The share of requests that may take longer than `limit_s`, if there is such an objective.
    pub(crate) slow: Option<(f64, f64)>,
    /// The share of requests that may fail, if there is such an objective.
    pub(crate) failed: Option<f64>,
    /// The theoretical capacity, in requests per second.
    pub(crate) holds: f64,
    /// The range of the search.
    pub(crate) range: (f64, f64),
    /// The budget of a trial.
    pub(crate) trial_s: f64,
}

/// The outcome of a search.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) search: Search,
    /// Simulated time.
    pub(crate) seconds: f64,
}

impl Case {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            low: self.range.0,
            high: self.range.1,
            clients: false,
            precision: 0.05,
            confidence: 0.99,
            trial_s: self.trial_s,
            limits: self.limits(),
            overload: false,
        }
    }

    fn limits(&self) -> Vec<Limit> {
        let slow = self.slow.map(|(allowed, limit_s)| Limit {
            allowed,
            over: Over::Slow(Duration::from_secs_f64(limit_s)),
        });
        let failed = self.failed.map(|allowed| Limit { allowed, over: Over::Failed });
        slow.into_iter().chain(failed).collect()
    }

    /// Runs a complete search; `early`: whether trials end as soon as they are decided, instead of after a
    /// fixed length.
    pub(crate) fn search(&self, seed: u64, early: bool) -> Outcome {
        let mut search = Search::new(self.settings());
        let mut seconds = 0.0;
        while let Some(trial) = search.next() {
            let key = Key::new(seed).part(self.name).index(search.tried().len() as u64);
            let result = self.trial(&trial, early, key);
            seconds += result.seconds;
            search.learn(result);
        }
        Outcome { search, seconds }
    }

    /// Runs a trial against a Flow that is empty at the start.
    pub(crate) fn trial(&self, trial: &Trial, early: bool, key: Key) -> TrialResult {
        let judge = trial.judge(&self.limits()).expect("these are decided");
        let (mut seconds, mut looked) = (0.0, 0.0);
        let judge = self.run(trial.level, judge, key, |now, _, judge| {
            seconds = now;
            // A look costs more than a block, and each block adds relatively less.
            if now < looked * 1.05 && now < trial.budget_s {
                return false;
            }
            looked = now;
            let decided = judge.decision() != Decision::Open || judge.is_futile(trial.budget_s);
            now >= trial.budget_s || early && decided
        });
        TrialResult {
            decision: Some(judge.last_decision()),
            evidence: judge.evidence(),
            seconds,
            ..TrialResult::default()
        }
    }

    /// Offers a level to a Flow that is empty at the start, until `enough` returns true; it gets the time, each
    /// block and the judge of all blocks.
    pub(crate) fn run(
        &self,
        level: f64,
        mut judge: Judge,
        key: Key,
        mut enough: impl FnMut(f64, &Block, &Judge) -> bool,
    ) -> Judge {
        let mut rng = key.rng();
        let limits = self.limits().len();
        let mut state = State::new(&self.model);
        let mut running: BinaryHeap<Done> = BinaryHeap::new();
        // With the resolution of real trials for high rates.
        let block_s = f64::max(0.25, 20.0 / level);
        let mut due = 0.0;
        for block in 1.. {
            let end = f64::from(block) * block_s;
            let mut counts = Block { seconds: block_s, over: vec![0.0; 2], ..Block::default() };
            while due < end {
                running.push(state.request(due, &mut rng));
                due += match self.arrivals {
                    Arrivals::Uniform => 1.0 / level,
                    Arrivals::Poisson => exponential(1.0 / level, &mut rng),
                };
            }
            while let Some(done) = running.peek().filter(|done| done.at <= end).copied() {
                running.pop();
                let time = done.at - done.due;
                counts.requests += 1.0;
                counts.sum_s += time;
                counts.squares_s2 += time * time;
                // Failures rank as slowest.
                let slow = self.slow.is_some_and(|(_, limit)| done.failed || time >= limit);
                counts.over[0] += f64::from(u8::from(slow));
                counts.over[1] += f64::from(u8::from(done.failed));
            }
            counts.in_flight = running.len() as f64;
            if self.slow.is_none() {
                counts.over.remove(0);
            }
            counts.over.truncate(limits);
            judge.add(&counts);
            if enough(end, &counts, &judge) {
                break;
            }
        }
        judge
    }
}

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Done {
    due: f64,
    at: f64,
    failed: bool,
}

impl Eq for Done {}

impl Ord for Done {
    /// Reversed, because a heap returns the greatest first and the earliest is needed.
    fn cmp(&self, other: &Done) -> Ordering {
        other.at.total_cmp(&self.at)
    }
}

impl PartialOrd for Done {
    fn partial_cmp(&self, other: &Done) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

enum State<'a> {
    /// When each server becomes free.
    Queues(Vec<(Vec<f64>, &'a Law)>),
    /// When each request in service completes.
    Knee { time: f64, at: usize, growth: f64, until: BinaryHeap<Done> },
    /// When the next request may arrive, according to the limit.
    Limited { time: f64, rate: f64, next: f64 },
}

impl State<'_> {
    fn new(model: &Model) -> State<'_> {
        match model {
            Model::Queues(stations) => State::Queues(
                stations.iter().map(|(servers, law)| (vec![0.0; *servers], law)).collect(),
            ),
            Model::Knee { time, at, growth } => {
                State::Knee { time: *time, at: *at, growth: *growth, until: BinaryHeap::new() }
            }
            Model::Limited { time, rate } => State::Limited { time: *time, rate: *rate, next: 0.0 },
        }
    }

    fn request(&mut self, due: f64, rng: &mut impl rand::Rng) -> Done {
        match self {
            State::Queues(stations) => {
                let mut at = due;
                for (free, law) in stations {
                    let first = (0..free.len())
                        .min_by(|a, b| free[*a].total_cmp(&free[*b]))
                        .expect("there is a server");
                    let takes = match law {
                        Law::Constant(time) => *time,
                        Law::Exponential(mean) => exponential(*mean, rng),
                    };
                    free[first] = at.max(free[first]) + takes;
                    at = free[first];
                }
                Done { due, at, failed: false }
            }
            State::Knee { time, at, growth, until } => {
                while until.peek().is_some_and(|done| done.at <= due) {
                    until.pop();
                }
                let beyond = (until.len() + 1).saturating_sub(*at) as f64;
                let done = Done { due, at: due + *time * (1.0 + *growth * beyond), failed: false };
                until.push(done);
                done
            }
            State::Limited { time, rate, next } => {
                // A token bucket with one token.
                let failed = due < *next;
                if !failed {
                    *next = f64::max(*next, due - 1.0 / *rate) + 1.0 / *rate;
                }
                Done { due, at: due + *time, failed }
            }
        }
    }
}

fn exponential(mean: f64, rng: &mut impl rand::Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln() * mean
}
