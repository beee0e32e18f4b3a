//! A bounded sample of requests with everything known about each, to find what slow ones have in common.
//!
//! It is a uniform sample of all measured requests of a worker (Vitter's algorithm L), so that after the first few
//! thousand, a request costs little more than a comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64Mcg as Pcg64;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::engine::event::{Finished, Outcome, Traits};
use crate::random::Key;
use crate::wire::Route;

/// Requests kept, over all workers.
pub(crate) const SAMPLE_MAX: usize = 20_000;

/// Requests reported as they come, over all workers of all parts of a load, so that a killed run and merged parts
/// have a sample too.
const NOTED_MAX: usize = 4_000;

/// A gap between two responses on a connection counts as a stall from this length on, if requests were in flight
/// meanwhile.
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
    /// Its outcome.
    pub outcome: Outcome,
    /// Its step, from 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub step: usize,
    /// What was known about it before it was sent.
    pub traits: Traits,
    /// Number of its Documents.
    pub documents: u64,
    /// The part of the load that sent it; 0 if there are no parts.
    #[serde(skip)]
    pub part: u64,
    /// The worker that sent it, and the index of its connection there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connection: Option<(usize, u32)>,
    /// How long its connection had been idle when it was written, if no request was in flight there.
    #[serde(default, skip_serializing_if = "is_default", with = "maybe_micros")]
    pub idle: Option<Duration>,
    /// Whether it was in flight during a stall of its connection.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stalled: bool,
    /// The Executor that took the longest, according to the routes of the response.
    #[serde(default, skip_serializing_if = "is_default")]
    pub longest: Option<String>,
    /// Replicas that it passed, if routes name them: `encoder/rep-1`.
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

/// The same for an optional time.
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

/// Changes to the sample that a worker reports as they come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Noted {
    /// The worker that reports it.
    pub(crate) worker: usize,
    /// How many requests it samples by now.
    pub(crate) of: u64,
    /// Slots that changed, and the request now in each.
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
    /// Placed since the last report.
    placed: Vec<(u32, Sampled)>,
    connections: Vec<Connection>,
}

/// Decides which requests are kept, and in which slot.
#[derive(Debug)]
struct Reservoir {
    room: usize,
    seen: u64,
    /// The next request to keep, in the order in which they end, and algorithm L's weight.
    next: u64,
    weight: f64,
    rng: Pcg64,
}

/// The latest activity on a connection.
#[derive(Clone, Copy, Debug)]
struct Connection {
    last_done: Instant,
    /// Requests written before the end of the last stall were in it.
    stalled_until: Option<Instant>,
}

/// Maximum number of connections whose state is kept; others are ignored.
const CONNECTIONS_MAX: usize = 4096;

impl Reservoir {
    fn new(room: usize, key: Key) -> Reservoir {
        Reservoir { room, seen: 0, next: 0, weight: 1.0, rng: key.rng() }
    }

    /// The slot for a request that ended, if it is to be kept.
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

    /// Draws how many requests pass until one replaces another.
    fn skip(&mut self, number: u64) {
        let room = self.room as f64;
        let draw = |rng: &mut Pcg64| rng.random::<f64>().max(f64::MIN_POSITIVE);
        self.weight *= (draw(&mut self.rng).ln() / room).exp();
        let gap = (draw(&mut self.rng).ln() / (-self.weight).ln_1p()).floor();
        self.next = number.saturating_add(1).saturating_add(gap.min(1e18) as u64);
    }
}

impl Sampler {
    /// For one of this many workers, in a load of this many parts.
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

    /// Offers a request that ended to the sample.
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

    /// What has changed since the last call.
    pub(crate) fn news(&mut self) -> Noted {
        let placed = std::mem::take(&mut self.placed);
        Noted { worker: self.worker, of: self.noted.seen, placed }
    }

    /// How long its connection had been idle, and whether the request was in one of its stalls.
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
        // The request was in flight when the previous response arrived, and nothing arrived since.
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

    /// The sample, and how many requests it was taken from.
    pub(crate) fn finish(self) -> (Vec<Sampled>, u64) {
        (self.kept, self.all.seen)
    }
}

/// The samples that workers reported, for each part of a load.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<(u64, usize), (Vec<Sampled>, u64)>);

impl Samples {
    /// Adds what a worker of a part reported. Reports from impossibly many workers are ignored.
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

    /// Adds the samples of another part.
    pub(super) fn merge(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    /// One sample of what ended in time, how many requests it is of, and whether some did not: each request is in it
    /// with the same chance, whoever sent it. `limit`: up to when what a part sent is in time, if not all of it is.
    pub(super) fn whole(
        self,
        limit: impl Fn(u64) -> Option<Duration>,
    ) -> (Vec<Sampled>, u64, bool) {
        let share = |(kept, of): &(Vec<Sampled>, u64)| kept.len() as f64 / (*of).max(1) as f64;
        let least = self.0.values().map(share).fold(1.0, f64::min);
        let (mut all, mut total, mut is_cut) = (Vec::new(), 0.0, false);
        for ((part, worker), (mut kept, of)) in self.0 {
            let keep = (least * of as f64).round() as usize;
            let mut rng = Key::new(part).part("thin").index(worker as u64).rng();
            while kept.len() > keep {
                kept.swap_remove(rng.random_range(0..kept.len()));
            }
            let count = kept.len().max(1);
            if let Some(limit) = limit(part) {
                kept.retain(|sampled| sampled.done < limit);
                is_cut = true;
            }
            total += of as f64 * kept.len() as f64 / count as f64;
            kept.iter_mut().for_each(|sampled| sampled.part = part);
            all.extend(kept);
        }
        (all, total.round() as u64, is_cut)
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

    /// Reports a worker's sample of `of` requests, one per ms, in `goes` deltas.
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
        let (all, of, is_cut) = samples.clone().whole(|_| None);
        assert!(!is_cut);
        assert_eq!((all.len(), of), (1000, 50_000));
        let mean = all.iter().map(|one| one.done.as_secs_f64()).sum::<f64>() / 1000.0;
        // For uniform draws, five standard errors of the mean.
        assert!((mean - 25.0).abs() < 5.0 * 50.0 / 12f64.sqrt() / 1000f64.sqrt(), "{mean}");
        let (early, of, is_cut) = samples.whole(|_| Some(Duration::from_secs(25)));
        assert!(is_cut);
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
        let (all, of, _) = samples.clone().whole(|_| None);
        let of_part = |part| all.iter().filter(|one| one.part == part).count();
        assert_eq!((of_part(1), of_part(2), of), (1000, 333, 40_000));
        // One that was lost counts until then, and the other one to its end.
        let (all, of, is_cut) =
            samples.whole(|part| (part == 1).then_some(Duration::from_secs(15)));
        let of_part = |part| all.iter().filter(|one| one.part == part).count();
        assert!((400..600).contains(&of_part(1)) && of_part(2) == 333 && is_cut, "{}", of_part(1));
        assert!((22_000..28_000).contains(&of), "{of}");
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
