//! A bounded sample of requests, each with what is known of it: from it follows what sets slow ones apart.
//!
//! It is a uniform sample of all measured requests of a worker (Vitter's algorithm L), so that a request beyond
//! the first few thousand costs a comparison, and hardly any more than that.

use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64Mcg as Pcg64;
use tokio::time::Instant;

use crate::engine::event::{Finished, Outcome, Traits};
use crate::random::Key;
use crate::wire::Route;

/// Requests kept of all workers together.
pub(crate) const SAMPLE_MAX: usize = 20_000;

/// A gap between two responses of a connection that is a stall, if requests were under way meanwhile.
const STALL: Duration = Duration::from_millis(100);

/// One request of the sample.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// When it ended, from the start of the measurement.
    pub done: Duration,
    /// Its response time.
    pub response: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Its step, from 0.
    pub step: usize,
    /// What was known of it before it was sent.
    pub traits: Traits,
    /// Documents in it.
    pub documents: u64,
    /// The worker that sent it, and its connection there.
    pub connection: Option<(usize, u32)>,
    /// How long nothing had come back over its connection when it was written, if nothing was under way there.
    pub idle: Option<Duration>,
    /// It was under way while nothing came back over its connection for long.
    pub stalled: bool,
    /// The Executor that took the longest, by the routes of the response.
    pub longest: Option<String>,
    /// Replicas that it passed, where routes tell them: `encoder/rep-1`.
    pub replicas: Vec<String>,
}

/// Takes the sample of one worker.
#[derive(Debug)]
pub(crate) struct Sampler {
    worker: usize,
    start: Instant,
    kept: Vec<Sampled>,
    room: usize,
    seen: u64,
    /// The next request to keep, in the order in which they end, and algorithm L's weight.
    next: u64,
    weight: f64,
    rng: Pcg64,
    connections: Vec<Connection>,
}

/// What came over a connection last.
#[derive(Clone, Copy, Debug)]
struct Connection {
    last_done: Instant,
    /// Requests written before the end of the last stall were in it.
    stalled_until: Option<Instant>,
}

/// Connections whose state is kept; beyond them nobody asks.
const CONNECTIONS_MAX: usize = 4096;

impl Sampler {
    pub(crate) fn new(worker: usize, workers: usize, start: Instant) -> Sampler {
        Sampler {
            worker,
            start,
            kept: Vec::new(),
            room: (SAMPLE_MAX / workers.max(1)).max(100),
            seen: 0,
            next: 0,
            weight: 1.0,
            rng: Key::new(0).part("sample").index(worker as u64).rng(),
            connections: Vec::new(),
        }
    }

    /// Takes note of a request that ended.
    pub(crate) fn on(&mut self, finished: &Finished) {
        let (idle, stalled) = self.of_connection(finished);
        if !finished.iteration.arrival.measured {
            return;
        }
        let number = self.seen;
        self.seen += 1;
        if number < self.room as u64 {
            let sampled = self.sampled(finished, idle, stalled);
            self.kept.push(sampled);
            if self.kept.len() == self.room {
                self.skip(number);
            }
        } else if number == self.next {
            let place = self.rng.random_range(0..self.room);
            self.kept[place] = self.sampled(finished, idle, stalled);
            self.skip(number);
        }
    }

    /// How many pass until one takes the place of another.
    fn skip(&mut self, number: u64) {
        let room = self.room as f64;
        let draw = |rng: &mut Pcg64| rng.random::<f64>().max(f64::MIN_POSITIVE);
        self.weight *= (draw(&mut self.rng).ln() / room).exp();
        let gap = (draw(&mut self.rng).ln() / (-self.weight).ln_1p()).floor();
        self.next = number.saturating_add(1).saturating_add(gap.min(1e18) as u64);
    }

    /// For how long its connection had been idle, and whether it was in a stall of it.
    fn of_connection(&mut self, finished: &Finished) -> (Option<Duration>, bool) {
        let timing = &finished.timing;
        let Some(index) = timing.connection.map(|index| index as usize) else {
            return (None, false);
        };
        if index >= CONNECTIONS_MAX {
            return (None, false);
        }
        let fresh = Connection { last_done: timing.done, stalled_until: None };
        if index >= self.connections.len() {
            self.connections.resize(index + 1, fresh);
            return (None, false);
        }
        let connection = &mut self.connections[index];
        let written = timing.written.unwrap_or(timing.done);
        let idle = written.checked_duration_since(connection.last_done);
        let gap = timing.done.saturating_duration_since(connection.last_done);
        // It was under way when something came back last, and since then nothing did.
        if idle.is_none() && gap >= STALL {
            connection.stalled_until = Some(timing.done);
        }
        connection.last_done = connection.last_done.max(timing.done);
        let stalled = connection.stalled_until.is_some_and(|until| written < until);
        (idle, stalled)
    }

    fn sampled(&self, finished: &Finished, idle: Option<Duration>, stalled: bool) -> Sampled {
        let routes = finished.reply.iter().flat_map(|reply| reply.head.routes.iter().flatten());
        let stops = routes.filter(|route| route.executor != "gateway");
        let time = |route: &Route| route.end_time?.duration_since(route.start_time?).ok();
        let longest = stops
            .clone()
            .filter_map(|route| Some((time(route)?, route)))
            .max_by_key(|(time, _)| *time);
        let of_replica = stops.filter(|route| route.executor.contains("/rep-"));
        Sampled {
            done: finished.timing.done.saturating_duration_since(self.start),
            response: finished.response_time(),
            outcome: finished.outcome,
            step: finished.step,
            traits: finished.traits.clone(),
            documents: finished.documents,
            connection: finished.timing.connection.map(|index| (self.worker, index)),
            idle,
            stalled,
            longest: longest.map(|(_, route)| super::cut(route.executor_name()).into_owned()),
            replicas: of_replica.map(|route| super::cut(&route.executor).into_owned()).collect(),
        }
    }

    /// The sample, and how many requests it is of.
    pub(crate) fn finish(self) -> (Vec<Sampled>, u64) {
        (self.kept, self.seen)
    }
}
