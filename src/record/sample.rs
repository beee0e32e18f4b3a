//! A bounded sample of requests, each with what is known of it: from it follows what sets slow ones apart.
//!
//! It is a uniform sample of all measured requests of a worker (Vitter's algorithm L), so that a request beyond
//! the first few thousand costs a comparison, and hardly any more than that.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64Mcg as Pcg64;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::engine::event::{Finished, Outcome, Traits};
use crate::random::Key;
use crate::wire::Route;

/// Requests kept of all workers together.
pub(crate) const SAMPLE_MAX: usize = 20_000;

/// Requests of all workers of all parts of a load that are told of as they come, so that a run that is killed, and
/// parts that are merged, have a sample too.
const NOTED_MAX: usize = 4_000;

/// A gap between two responses of a connection that is a stall, if requests were under way meanwhile.
const STALL: Duration = Duration::from_millis(100);

/// One request of the sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// When it ended, from the start of the measurement.
    #[serde(with = "micros")]
    pub done: Duration,
    /// Its response time.
    #[serde(with = "micros")]
    pub response: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Its step, from 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub step: usize,
    /// What was known of it before it was sent.
    pub traits: Traits,
    /// Documents in it.
    pub documents: u64,
    /// The part of the load that sent it; 0 where there are none.
    #[serde(skip)]
    pub part: u64,
    /// The worker that sent it, and its connection there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connection: Option<(usize, u32)>,
    /// How long nothing had come back over its connection when it was written, if nothing was under way there.
    #[serde(default, skip_serializing_if = "is_default", with = "maybe_micros")]
    pub idle: Option<Duration>,
    /// It was under way while nothing came back over its connection for long.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stalled: bool,
    /// The Executor that took the longest, by the routes of the response.
    #[serde(default, skip_serializing_if = "is_default")]
    pub longest: Option<String>,
    /// Replicas that it passed, where routes tell them: `encoder/rep-1`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replicas: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Times as whole µs.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

/// The same for one that may be missing.
mod maybe_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(from).map(|time| time.map(Duration::from_micros))
    }
}

/// What became of the sample that a worker tells of as it comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// The worker.
    pub(crate) worker: usize,
    /// Requests that it is a sample of by now.
    pub(crate) of: u64,
    /// Places in it and which request is there from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) placed: Vec<(u32, Sampled)>,
}

/// Takes the sample of one worker.
#[derive(Debug)]
pub(crate) struct Sampler {
    worker: usize,
    start: Instant,
    kept: Vec<Sampled>,
    all: Reservoir,
    noted: Reservoir,
    /// What was placed since it was told last.
    placed: Vec<(u32, Sampled)>,
    connections: Vec<Connection>,
}

/// Which requests are kept, and in which place each.
#[derive(Debug)]
struct Reservoir {
    room: usize,
    seen: u64,
    /// The next request to keep, in the order in which they end, and algorithm L's weight.
    next: u64,
    weight: f64,
    rng: Pcg64,
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

impl Reservoir {
    fn new(room: usize, key: Key) -> Reservoir {
        Reservoir { room, seen: 0, next: 0, weight: 1.0, rng: key.rng() }
    }

    /// The place of a request that ended, if it is to be kept.
    fn place(&mut self) -> Option<usize> {
        let number = self.seen;
        self.seen += 1;
        if number < self.room as u64 {
            if self.seen == self.room as u64 {
                self.skip(number);
            }
            Some(number as usize)
        } else if number == self.next {
            let place = self.rng.random_range(0..self.room);
            self.skip(number);
            Some(place)
        } else {
            None
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
}

impl Sampler {
    /// Of one of so many workers, in a load of so many parts.
    pub(crate) fn new(worker: usize, workers: usize, parts: u64, start: Instant) -> Sampler {
        let workers = workers.max(1);
        let parts = usize::try_from(parts).unwrap_or(usize::MAX).max(1);
        let key = |name| Key::new(0).part(name).index(worker as u64);
        Sampler {
            worker,
            start,
            kept: Vec::new(),
            all: Reservoir::new((SAMPLE_MAX / workers).max(100), key("sample")),
            noted: Reservoir::new((NOTED_MAX / workers / parts).max(20), key("noted")),
            placed: Vec::new(),
            connections: Vec::new(),
        }
    }

    /// Takes note of a request that ended.
    pub(crate) fn on(&mut self, finished: &Finished) {
        let (idle, stalled) = self.of_connection(finished);
        if !finished.iteration.arrival.measured {
            return;
        }
        let (place, noted) = (self.all.place(), self.noted.place());
        if place.is_none() && noted.is_none() {
            return;
        }
        let sampled = self.sampled(finished, idle, stalled);
        if let Some(noted) = noted {
            self.placed.push((noted as u32, sampled.clone()));
        }
        match place.map(|place| (place, self.kept.get_mut(place))) {
            Some((_, Some(kept))) => *kept = sampled,
            Some((_, None)) => self.kept.push(sampled),
            None => (),
        }
    }

    /// What is new since it was asked last.
    pub(crate) fn news(&mut self) -> Noted {
        let placed = std::mem::take(&mut self.placed);
        Noted { worker: self.worker, of: self.noted.seen, placed }
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
            part: 0,
            connection: finished.timing.connection.map(|index| (self.worker, index)),
            idle,
            stalled,
            longest: longest.map(|(_, route)| super::cut(route.executor_name()).into_owned()),
            replicas: of_replica.map(|route| super::cut(&route.executor).into_owned()).collect(),
        }
    }

    /// The sample, and how many requests it is of.
    pub(crate) fn finish(self) -> (Vec<Sampled>, u64) {
        (self.kept, self.all.seen)
    }
}

/// What workers told of their samples, of each part of a load.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<(u64, usize), (Vec<Sampled>, u64)>);

impl Samples {
    /// Takes in what a worker of a part told. Whoever tells of more than there can be is not believed.
    pub(super) fn add(&mut self, part: u64, noted: Noted) {
        const WORKERS_MAX: usize = 10_000;
        let known = self.0.len();
        let key = (part, noted.worker);
        if known >= WORKERS_MAX && !self.0.contains_key(&key) || noted.of == 0 {
            return;
        }
        let (kept, of) = self.0.entry(key).or_default();
        *of = noted.of.max(*of);
        for (place, sampled) in noted.placed {
            let has_room = kept.len() < NOTED_MAX;
            match kept.get_mut(place as usize) {
                Some(kept) => *kept = sampled,
                None if has_room => kept.push(sampled),
                None => (),
            }
        }
    }

    /// Adds what those of another part told.
    pub(super) fn merge(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    /// One sample of what ended before an instant, and how many requests it is of: each request is in it with the same
    /// chance, whoever sent it.
    pub(super) fn whole(self, until: Duration) -> (Vec<Sampled>, u64) {
        let share = |(kept, of): &(Vec<Sampled>, u64)| kept.len() as f64 / (*of).max(1) as f64;
        let least = self.0.values().map(share).fold(1.0, f64::min);
        let (mut all, mut total) = (Vec::new(), 0.0);
        for ((part, worker), (mut kept, of)) in self.0 {
            let keep = (least * of as f64).round() as usize;
            let mut rng = Key::new(part).part("thin").index(worker as u64).rng();
            while kept.len() > keep {
                kept.swap_remove(rng.random_range(0..kept.len()));
            }
            let count = kept.len().max(1);
            kept.retain(|sampled| sampled.done < until);
            total += of as f64 * kept.len() as f64 / count as f64;
            kept.iter_mut().for_each(|sampled| sampled.part = part);
            all.extend(kept);
        }
        (all, total.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Traits;

    fn sampled(ms: u64) -> Sampled {
        Sampled {
            done: Duration::from_millis(ms),
            response: Duration::from_millis(5),
            outcome: Outcome::Ok,
            step: 0,
            traits: Traits::default(),
            documents: 1,
            part: 0,
            connection: Some((0, 3)),
            idle: None,
            stalled: false,
            longest: None,
            replicas: Vec::new(),
        }
    }

    /// What a worker tells of `of` requests, one each ms, in so many goes.
    fn told(room: usize, of: u64, goes: u64, samples: &mut Samples, part: u64) {
        let mut reservoir = Reservoir::new(room, Key::new(part));
        for go in 0..goes {
            let from = of * go / goes;
            let mut placed = Vec::new();
            for ms in from..of * (go + 1) / goes {
                placed.extend(reservoir.place().map(|place| (place as u32, sampled(ms))));
            }
            samples.add(part, Noted { worker: 0, of: reservoir.seen, placed });
        }
    }

    #[test]
    fn what_is_told_as_it_comes_is_a_sample_of_all_at_any_time() {
        let mut samples = Samples::default();
        told(1000, 50_000, 7, &mut samples, 0);
        let (all, of) = samples.clone().whole(Duration::MAX);
        assert_eq!((all.len(), of), (1000, 50_000));
        let mean = all.iter().map(|one| one.done.as_secs_f64()).sum::<f64>() / 1000.0;
        // Of uniform draws, five standard errors of the mean.
        assert!((mean - 25.0).abs() < 5.0 * 50.0 / 12f64.sqrt() / 1000f64.sqrt(), "{mean}");
        let (early, of) = samples.whole(Duration::from_secs(25));
        assert!(early.iter().all(|one| one.done < Duration::from_secs(25)));
        assert!((20_000..30_000).contains(&of), "{of}");
    }

    #[test]
    fn parts_count_by_what_they_sent() {
        let mut samples = Samples::default();
        told(1000, 30_000, 3, &mut samples, 1);
        let mut other = Samples::default();
        told(1000, 10_000, 3, &mut other, 2);
        samples.merge(other);
        let (all, of) = samples.whole(Duration::MAX);
        let of_part = |part| all.iter().filter(|one| one.part == part).count();
        assert_eq!((of_part(1), of_part(2), of), (1000, 333, 40_000));
    }

    #[test]
    fn a_request_of_the_sample_is_read_as_it_was_written() {
        let mut one = sampled(7);
        one.traits.values = Some([("lang".to_owned(), "de".to_owned())].into());
        one.idle = Some(Duration::from_micros(12));
        let text = serde_json::to_string(&one).expect("plain data");
        assert_eq!(serde_json::from_str::<Sampled>(&text).expect("ours"), one);
        assert!(text.len() < 200, "{text}");
    }
}
