//! What is counted: everything merges by addition, so any stretch of time, worker or machine adds up
//! to the whole.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;
use super::breakdown::{Breakdown, EXECUTORS_MAX};
use super::cut;
use crate::engine::event::Outcome;

/// Counts and latencies of a stretch of time, part of the load or all of it.
///
/// Saved in a journal, where what is zero or empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Arrivals that were due.
    #[serde(skip_serializing_if = "is_default")]
    pub offered: u64,
    /// Arrivals that were never sent.
    #[serde(skip_serializing_if = "is_default")]
    pub dropped: u64,
    /// Those of them for which we ourselves were too late; the others found no free slot.
    #[serde(skip_serializing_if = "is_default")]
    pub dropped_late: u64,
    /// Iterations begun; one without `steps` is a request.
    #[serde(skip_serializing_if = "is_default")]
    pub sent: u64,
    /// Iterations still in flight when the grace period was over.
    #[serde(skip_serializing_if = "is_default")]
    pub abandoned: u64,
    /// Those of them that never went out: the Flow held them back.
    #[serde(skip_serializing_if = "is_default")]
    pub abandoned_unsent: u64,
    /// Tries beyond the first.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u64,
    /// Documents of the requests that were sent.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_sent: u64,
    /// Documents of the requests that were answered with success.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_ok: u64,
    /// Documents of ok responses.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_received: u64,
    /// Ok responses that do not tell how many they hold without being decoded.
    #[serde(skip_serializing_if = "is_default")]
    pub without_count: u64,
    /// Ok requests of the warmup that were done when it was over.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_ok: u64,
    /// Their Documents.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_documents: u64,
    /// Ok requests, those of the warmup among them, that were done within what is measured: before
    /// the end of the load's time, where time ends it.
    #[serde(skip_serializing_if = "is_default")]
    pub ok_in_time: u64,
    /// Their Documents.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_in_time: u64,
    /// Response time by outcome, in the order of [`Outcome::ALL`]; its counts are the counts of
    /// requests.
    #[serde(skip_serializing_if = "is_default")]
    pub response: [Histogram; 4],
    /// From being due to being dropped, of arrivals that were never sent.
    #[serde(skip_serializing_if = "is_default")]
    pub drops: Histogram,
    /// Service time of ok requests.
    #[serde(skip_serializing_if = "is_default")]
    pub service: Histogram,
    /// From being due to the first reply, of ok requests to streaming endpoints.
    #[serde(skip_serializing_if = "is_default")]
    pub first: Histogram,
    /// From being due to being written, of all requests.
    #[serde(skip_serializing_if = "is_default")]
    pub lag: Histogram,
    /// The part of it in which our own pacer was late.
    #[serde(skip_serializing_if = "is_default")]
    pub pacer: Histogram,
    /// The part of it in which requests had to wait for their Documents to be made.
    #[serde(skip_serializing_if = "is_default")]
    pub starved: Histogram,
    /// The part of it in which the Flow held us back: no free stream, flow control.
    #[serde(skip_serializing_if = "is_default")]
    pub held: Histogram,
    /// Requests in flight over time.
    #[serde(skip_serializing_if = "is_default")]
    pub in_flight: InFlight,
    /// Time in each Executor and in the gateway, from the routes of ok responses.
    #[serde(skip_serializing_if = "is_default")]
    pub executors: Vec<ExecutorTally>,
    /// Time in the gateway itself, without that in Executors.
    #[serde(skip_serializing_if = "is_default")]
    pub gateway: Histogram,
    /// Service time without that in the gateway.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Histogram,
    /// What responses without routes there were: HTTP of v2 has none.
    #[serde(skip_serializing_if = "is_default")]
    pub without_routes: u64,
    /// Ok responses whose routes tell of times longer than the request took: they are left out.
    #[serde(skip_serializing_if = "is_default")]
    pub impossible_routes: u64,
    /// Where requests spent their time, the fast ones and the slow.
    #[serde(skip_serializing_if = "is_default")]
    pub breakdown: Breakdown,
    /// Failures by kind and message.
    #[serde(skip_serializing_if = "is_default")]
    pub errors: Errors,
    /// The slowest ok requests.
    #[serde(skip_serializing_if = "is_default")]
    pub slowest: Slowest,
    /// The requests of each step, where iterations have several.
    #[serde(skip_serializing_if = "is_default")]
    pub steps: Vec<StepTally>,
}

/// Counts and latencies of one step's requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTally {
    /// Requests handed to the client.
    pub sent: u64,
    /// As [`Tally::warmup_ok`].
    #[serde(default)]
    pub warmup_ok: u64,
    /// As [`Tally::ok_in_time`].
    #[serde(default)]
    pub ok_in_time: u64,
    /// Response time by outcome; a step after the first is due when the one before it ended.
    pub response: [Histogram; 4],
    /// Service time of ok requests.
    pub service: Histogram,
}

/// The number of requests in flight, integrated over time. Measured on its own, not derived from
/// latencies, so that Little's law can check one by the other. Requests of the warmup count from its
/// end on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InFlight {
    /// Requests · seconds: the number in flight, integrated as it changes.
    pub area: f64,
    /// The part of it before the end of the load's time, where time ends it.
    pub area_in_time: f64,
    /// Seconds from release to done, added up request by request. The same by Little's law.
    pub spent: f64,
    /// The part of it before the end of the load's time, where time ends it.
    pub spent_in_time: f64,
    /// The most at any one time, of all workers together.
    pub max: u64,
    /// The number at the start of what is measured.
    pub at_start: u64,
    /// The number at the end of the load's time, where time ends it.
    pub at_end: u64,
}

/// Time in one Executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorTally {
    /// Its name in the Flow; `gateway` for the gateway, which includes all Executors.
    pub name: String,
    /// From coming in to going out.
    pub time: Histogram,
}

/// Failures by kind and message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errors {
    counts: Vec<ErrorCount>,
}

/// How often one failure happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// [`crate::client::CallError::kind`].
    pub kind: Cow<'static, str>,
    /// Its words.
    pub message: String,
    /// How often.
    pub count: u64,
    /// When first, from the start of what is measured.
    pub first_at: Duration,
    /// The Executor's name and its stack, where it failed there.
    pub details: Option<String>,
}

/// The slowest requests, a few of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slowest {
    requests: Vec<SlowRequest>,
}

/// A request among the slowest: times from the start of what is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowRequest {
    /// When it was due.
    pub due: Duration,
    /// Done − due.
    pub response: Duration,
    /// Done − written.
    pub service: Duration,
    /// Written − due.
    pub lag: Duration,
    /// Executors it passed and the time in each.
    pub routes: Vec<(String, Option<Duration>)>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Errors {
    /// Different messages that are told apart. Some hold ids or times and differ each time; past
    /// this many, the others of a kind are counted together.
    pub const MESSAGES_MAX: usize = 50;

    /// What stands for the messages that are not told apart any more.
    pub const OTHERS: &'static str = "(other messages)";

    /// Counts a failure.
    pub fn record(&mut self, error: ErrorCount) {
        let same =
            |known: &&mut ErrorCount| known.kind == error.kind && known.message == error.message;
        if let Some(known) = self.counts.iter_mut().find(same) {
            known.count += error.count;
            known.first_at = known.first_at.min(error.first_at);
        } else if self.counts.len() < Errors::MESSAGES_MAX || error.message == Errors::OTHERS {
            self.counts.push(error);
        } else {
            self.record(ErrorCount { message: Errors::OTHERS.into(), details: None, ..error });
        }
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &ErrorCount> {
        self.counts.iter()
    }
}

impl Slowest {
    /// How many are kept.
    pub const KEPT: usize = 10;

    /// Whether a request of this response time would be kept.
    pub fn wants(&self, response: Duration) -> bool {
        self.requests.len() < Slowest::KEPT
            || self.requests.last().is_some_and(|least| response > least.response)
    }

    /// Keeps it if it is slow enough.
    pub fn record(&mut self, request: SlowRequest) {
        let at = self.requests.partition_point(|kept| kept.response >= request.response);
        self.requests.insert(at, request);
        self.requests.truncate(Slowest::KEPT);
    }

    /// Leaves only those that `other` would keep.
    pub fn keep_beyond(&mut self, other: &Slowest) {
        self.requests.retain(|request| other.wants(request.response));
    }

    /// The slowest first.
    pub fn iter(&self) -> impl Iterator<Item = &SlowRequest> {
        self.requests.iter()
    }
}

impl Tally {
    /// Requests that ended this way.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.response[outcome as usize].count()
    }

    /// Response time of ok requests.
    pub fn ok(&self) -> &Histogram {
        &self.response[Outcome::Ok as usize]
    }

    /// Requests that came back with a failure, or not in time.
    pub fn errors(&self) -> u64 {
        Outcome::ALL[1..].iter().map(|outcome| self.count(*outcome)).sum()
    }

    /// Requests that ended, with whatever outcome.
    pub fn count_all(&self) -> u64 {
        Outcome::ALL.iter().map(|outcome| self.count(*outcome)).sum()
    }

    /// All that did not end well: they rank as slower than everything.
    pub fn failed(&self) -> u64 {
        self.errors() + self.dropped + self.abandoned
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.dropped += other.dropped;
        self.dropped_late += other.dropped_late;
        self.sent += other.sent;
        self.abandoned += other.abandoned;
        self.abandoned_unsent += other.abandoned_unsent;
        self.retries += other.retries;
        self.documents_sent += other.documents_sent;
        self.documents_ok += other.documents_ok;
        self.documents_received += other.documents_received;
        self.without_count += other.without_count;
        self.warmup_ok += other.warmup_ok;
        self.warmup_documents += other.warmup_documents;
        self.ok_in_time += other.ok_in_time;
        self.documents_in_time += other.documents_in_time;
        self.without_routes += other.without_routes;
        self.impossible_routes += other.impossible_routes;
        for (mine, other) in self.response.iter_mut().zip(&other.response) {
            mine.merge(other);
        }
        self.drops.merge(&other.drops);
        self.service.merge(&other.service);
        self.first.merge(&other.first);
        self.lag.merge(&other.lag);
        self.pacer.merge(&other.pacer);
        self.starved.merge(&other.starved);
        self.held.merge(&other.held);
        self.gateway.merge(&other.gateway);
        self.network.merge(&other.network);
        self.in_flight.area += other.in_flight.area;
        self.in_flight.area_in_time += other.in_flight.area_in_time;
        self.in_flight.spent += other.in_flight.spent;
        self.in_flight.spent_in_time += other.in_flight.spent_in_time;
        self.in_flight.max = self.in_flight.max.max(other.in_flight.max);
        self.in_flight.at_start += other.in_flight.at_start;
        self.in_flight.at_end += other.in_flight.at_end;
        for (index, step) in other.steps.iter().enumerate() {
            self.step(index).merge(step);
        }
        self.breakdown.merge(&other.breakdown);
        for executor in &other.executors {
            self.executor(&executor.name).merge(&executor.time);
        }
        for error in &other.errors.counts {
            self.errors.record(error.clone());
        }
        for request in &other.slowest.requests {
            if self.slowest.wants(request.response) {
                self.slowest.record(request.clone());
            }
        }
    }

    /// A step's counts, made when it is new.
    pub fn step(&mut self, index: usize) -> &mut StepTally {
        if self.steps.len() <= index {
            self.steps.resize_with(index + 1, StepTally::default);
        }
        &mut self.steps[index]
    }

    /// What stands for the Executors that are not told apart any more.
    pub const OTHER_EXECUTORS: &'static str = "(other Executors)";

    /// The histogram of an Executor, made when it is new. A Flow has few, so a list is searched
    /// faster than a map; a gateway that makes names up gets one for all beyond [`EXECUTORS_MAX`].
    pub fn executor(&mut self, name: &str) -> &mut Histogram {
        let name = &*cut(name);
        let at = match self.executors.iter().position(|executor| executor.name == name) {
            Some(at) => at,
            None if self.executors.len() >= EXECUTORS_MAX && name != Tally::OTHER_EXECUTORS => {
                return self.executor(Tally::OTHER_EXECUTORS);
            }
            None => {
                let executor = ExecutorTally { name: name.into(), time: Histogram::new() };
                self.executors.push(executor);
                self.executors.len() - 1
            }
        };
        &mut self.executors[at].time
    }
}

impl StepTally {
    fn merge(&mut self, other: &StepTally) {
        self.sent += other.sent;
        self.warmup_ok += other.warmup_ok;
        self.ok_in_time += other.ok_in_time;
        for (mine, other) in self.response.iter_mut().zip(&other.response) {
            mine.merge(other);
        }
        self.service.merge(&other.service);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::breakdown::Stop;

    fn error(message: &str) -> ErrorCount {
        ErrorCount {
            kind: "executor".into(),
            message: message.into(),
            count: 1,
            first_at: Duration::ZERO,
            details: None,
        }
    }

    #[test]
    fn messages_that_always_differ_take_bounded_room_and_are_all_counted() {
        let mut errors = Errors::default();
        (0..1000).for_each(|n| errors.record(error(&format!("request {n} failed"))));
        assert_eq!(errors.iter().count(), Errors::MESSAGES_MAX + 1);
        assert_eq!(errors.iter().map(|error| error.count).sum::<u64>(), 1000);
    }

    #[test]
    fn the_slowest_are_kept_in_their_order() {
        let mut slowest = Slowest::default();
        for ms in [5, 300, 20, 7, 1, 2, 3, 4, 6, 8, 9, 10] {
            let response = Duration::from_millis(ms);
            if slowest.wants(response) {
                slowest.record(SlowRequest {
                    due: Duration::ZERO,
                    response,
                    service: response,
                    lag: Duration::ZERO,
                    routes: Vec::new(),
                });
            }
        }
        let kept: Vec<u128> = slowest.iter().map(|kept| kept.response.as_millis()).collect();
        assert_eq!(kept, [300, 20, 10, 9, 8, 7, 6, 5, 4, 3]);
    }

    #[test]
    fn executors_that_are_made_up_take_bounded_room_and_are_all_counted() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.executor(&format!("executor-{n}")).record(Duration::from_millis(n));
        }
        assert_eq!(tally.executors.len(), EXECUTORS_MAX + 1);
        assert_eq!(tally.executors.iter().map(|e| e.time.count()).sum::<u64>(), 1000);
        assert_eq!(tally.executors.last().map(|e| e.name.as_str()), Some(Tally::OTHER_EXECUTORS));
    }

    /// Something that is counted: what it is, and how long it took.
    fn count(tally: &mut Tally, kind: usize, took: Duration) {
        match kind {
            0..4 => tally.response[kind].record(took),
            4 => {
                tally.dropped += 1;
                tally.drops.record(took);
            }
            5 => tally.service.record(took),
            6 => tally.step(1).response[0].record(took),
            7 => tally.executor("e").record(took),
            8 => tally.errors.record(ErrorCount { first_at: took, ..error("failed") }),
            9 => {
                let stops = [Stop::Lag, Stop::Network, Stop::Gateway].map(|stop| (stop, took / 4));
                tally.breakdown.record(took, stops, [("e", took / 4)].into_iter());
            }
            _ => tally.held.record(took),
        }
    }

    proptest! {
        #[test]
        fn merging_any_split_gives_the_tally_of_the_whole(
            counted in proptest::collection::vec((0usize..11, 0u64..5_000_000_000_000, 0usize..4), 0..100),
        ) {
            let (mut whole, mut parts) = (Tally::default(), vec![Tally::default(); 4]);
            for (kind, ns, part) in counted {
                let took = Duration::from_nanos(ns);
                count(&mut whole, kind, took);
                count(&mut parts[part], kind, took);
            }
            let mut merged = Tally::default();
            parts.iter().for_each(|part| merged.merge(part));
            prop_assert_eq!(merged, whole);
        }
    }
}
