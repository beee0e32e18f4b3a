//! Counters and latencies. Everything merges by addition, so any stretches of time, workers or
//! machines add up to the whole.

use std::borrow::Cow;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Exchange;
use super::Histogram;
use super::breakdown::{Breakdown, EXECUTORS_MAX};
use super::cut;
use crate::engine::event::Outcome;

/// Counts and latencies of a stretch of time: part of the load or all of it.
///
/// Saved in the journal, without fields that are zero or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Arrivals that were due.
    #[serde(skip_serializing_if = "is_default")]
    pub offered: u64,
    /// Arrivals that were never sent.
    #[serde(skip_serializing_if = "is_default")]
    pub dropped: u64,
    /// Those not sent because the load generator fell behind. The others found no free slot.
    #[serde(skip_serializing_if = "is_default")]
    pub dropped_late: u64,
    /// Iterations started; without `steps`, an iteration is a request.
    #[serde(skip_serializing_if = "is_default")]
    pub sent: u64,
    /// Iterations still in flight at the end of the grace period.
    #[serde(skip_serializing_if = "is_default")]
    pub abandoned: u64,
    /// Abandoned iterations that were never sent, because the Flow held them back.
    #[serde(skip_serializing_if = "is_default")]
    pub abandoned_unsent: u64,
    /// Attempts beyond the first.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u64,
    /// Documents of the requests that were sent.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_sent: u64,
    /// Documents in requests that succeeded.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_ok: u64,
    /// Documents of ok responses.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_received: u64,
    /// Documents of ok requests whose response had some, but fewer.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_missing: u64,
    /// Ok responses whose number of Documents is unknown without decoding them.
    #[serde(skip_serializing_if = "is_default")]
    pub without_count: u64,
    /// Ok requests of the warmup that ended before it did.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_ok: u64,
    /// Their Documents.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup_documents: u64,
    /// Ok requests, including those of the warmup, that ended within the measurement: before the
    /// end of the load, if it ends by time.
    #[serde(skip_serializing_if = "is_default")]
    pub ok_in_time: u64,
    /// Their Documents.
    #[serde(skip_serializing_if = "is_default")]
    pub documents_in_time: u64,
    /// Response time by outcome, in the order of [`Outcome::ALL`]. The counts of these histograms
    /// are the counts of requests.
    #[serde(skip_serializing_if = "is_default")]
    pub response: [Histogram; 4],
    /// From due to dropped, for arrivals that were never sent.
    #[serde(skip_serializing_if = "is_default")]
    pub drops: Histogram,
    /// Service time of ok requests.
    #[serde(skip_serializing_if = "is_default")]
    pub service: Histogram,
    /// Response time of ok iterations without the pauses in them, if they have steps.
    #[serde(skip_serializing_if = "is_default")]
    pub active: Histogram,
    /// From due to the first reply, for ok requests to streaming endpoints.
    #[serde(skip_serializing_if = "is_default")]
    pub first: Histogram,
    /// Send delay, from due to written, of all requests.
    #[serde(skip_serializing_if = "is_default")]
    pub lag: Histogram,
    /// Part of the send delay caused by the load generator's pacer.
    #[serde(skip_serializing_if = "is_default")]
    pub pacer: Histogram,
    /// Part of the send delay spent waiting for Documents to be generated.
    #[serde(skip_serializing_if = "is_default")]
    pub starved: Histogram,
    /// Part of the send delay caused by the Flow: no free stream, flow control.
    #[serde(skip_serializing_if = "is_default")]
    pub held: Histogram,
    /// Requests in flight over time.
    #[serde(skip_serializing_if = "is_default")]
    pub in_flight: InFlight,
    /// Time in each Executor and in the gateway, from the routes of ok responses.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) executors: Vec<ExecutorTally>,
    /// Gateway overhead: time in the gateway without its Executors.
    #[serde(skip_serializing_if = "is_default")]
    pub gateway: Histogram,
    /// Service time minus the time in the gateway.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Histogram,
    /// Ok responses without routes, as over HTTP from v2 Flows.
    #[serde(skip_serializing_if = "is_default")]
    pub without_routes: u64,
    /// Ok responses whose routes claim more time than the request took. They are excluded.
    #[serde(skip_serializing_if = "is_default")]
    pub impossible_routes: u64,
    /// Latency breakdown, for typical and for slow requests.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) breakdown: Breakdown,
    /// Failures by kind and message.
    #[serde(skip_serializing_if = "is_default")]
    pub errors: Errors,
    /// Requests whose traces are worth inspecting.
    #[serde(skip_serializing_if = "is_default")]
    pub traced: Traced,
    /// Bytes of requests that were sent.
    #[serde(skip_serializing_if = "is_default")]
    pub bytes_sent: u64,
    /// Bytes of ok responses.
    #[serde(skip_serializing_if = "is_default")]
    pub bytes_received: u64,
    /// The slowest ok requests.
    #[serde(skip_serializing_if = "is_default")]
    pub slowest: Slowest,
    /// Requests of each step, for iterations with several steps.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) steps: Vec<StepTally>,
    /// The most precise exchange with the gateway's clock. Meaningless in a sum of several processes.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) exchange: Option<Exchange>,
}

/// Counts and latencies of the requests of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepTally {
    /// Requests handed to the client.
    pub sent: u64,
    /// Iterations that began with one of them.
    #[serde(default)]
    pub begun: u64,
    /// See [`Tally::warmup_ok`].
    #[serde(default)]
    pub warmup_ok: u64,
    /// See [`Tally::ok_in_time`].
    #[serde(default)]
    pub ok_in_time: u64,
    /// Response time by outcome. A step after the first is due when the previous one ends.
    pub response: [Histogram; 4],
    /// Service time of ok requests.
    pub service: Histogram,
}

/// The number of requests in flight, integrated over time. It is measured independently of
/// latencies, so that Little's law can check one by the other. Requests of the warmup count from
/// its end on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InFlight {
    /// Request-seconds: the number in flight, integrated as it changes.
    pub area: f64,
    /// The part before the end of the load, if it ends by time.
    pub area_in_time: f64,
    /// Seconds from release to done, summed over requests. Equals `area` by Little's law.
    pub spent: f64,
    /// The part before the end of the load, if it ends by time.
    pub spent_in_time: f64,
    /// Maximum at any one time, over all workers.
    pub max: u64,
    /// The number at the start of the measurement.
    pub at_start: u64,
    /// The number at the end of the load, if it ends by time.
    pub at_end: u64,
}

/// What assertions and `count` actions counted on the responses of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Number of failed assertions.
    pub assertion_failures: u64,
    /// Counters by name.
    pub counters: IndexMap<String, u64>,
}

/// Time in one Executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExecutorTally {
    /// Its name in the Flow; `gateway` for the gateway, which includes all Executors.
    pub name: String,
    /// From entering to leaving it.
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
    /// The message of the error.
    pub message: String,
    /// Number of occurrences.
    pub count: u64,
    /// When it first occurred, from the start of the measurement.
    pub first_at: Duration,
    /// When it last occurred; not known in data of older versions.
    #[serde(default)]
    pub last_at: Option<Duration>,
    /// Name and stack of the Executor, if it failed there.
    pub details: Option<String>,
}

/// A few requests with traces: the slowest, and the first that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traced {
    /// Number of traced requests.
    pub count: u64,
    slowest: Vec<TracedRequest>,
    failed: Vec<TracedRequest>,
}

/// A traced request. Times count from the start of the measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedRequest {
    /// The id of its trace, as tracing systems write it.
    pub id: String,
    /// When it was due.
    pub due: Duration,
    /// Done − due.
    pub response: Duration,
}

impl Traced {
    /// Counts a traced request, and keeps it if it is among the slowest or the first failures.
    pub(crate) fn record(&mut self, trace: u128, is_ok: bool, due: Duration, response: Duration) {
        self.count += 1;
        let list = if is_ok { &self.slowest } else { &self.failed };
        let wanted = list.len() < Slowest::KEPT
            || is_ok && list.last().is_some_and(|least| response > least.response);
        if wanted {
            let request = TracedRequest { id: format!("{trace:032x}"), due, response };
            self.keep(is_ok, request);
        }
    }

    fn keep(&mut self, is_ok: bool, request: TracedRequest) {
        if is_ok {
            let at = self.slowest.partition_point(|kept| kept.response >= request.response);
            self.slowest.insert(at, request);
            self.slowest.truncate(Slowest::KEPT);
        } else if self.failed.len() < Slowest::KEPT {
            self.failed.push(request);
        }
    }

    fn merge(&mut self, other: &Traced) {
        self.count += other.count;
        other.slowest.iter().for_each(|request| self.keep(true, request.clone()));
        other.failed.iter().for_each(|request| self.keep(false, request.clone()));
    }

    /// The slowest first, and then those that failed.
    pub(crate) fn lists(&self) -> (&[TracedRequest], &[TracedRequest]) {
        (&self.slowest, &self.failed)
    }
}

/// The few slowest requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slowest {
    requests: Vec<SlowRequest>,
}

/// One of the slowest requests. Times count from the start of the measurement.
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
    /// Maximum number of different messages. Some contain ids or times and differ every time.
    /// Beyond this number, the other messages of a kind are counted together.
    pub(crate) const MESSAGES_MAX: usize = 50;

    /// Stands for the messages beyond [`Errors::MESSAGES_MAX`].
    pub(crate) const OTHERS: &'static str = "(other messages)";

    /// Counts a failure.
    pub(crate) fn record(&mut self, error: ErrorCount) {
        let same =
            |known: &&mut ErrorCount| known.kind == error.kind && known.message == error.message;
        if let Some(known) = self.counts.iter_mut().find(same) {
            known.count += error.count;
            known.first_at = known.first_at.min(error.first_at);
            known.last_at = known.last_at.zip(error.last_at).map(|(a, b)| a.max(b));
        } else if self.counts.len() < Errors::MESSAGES_MAX || error.message == Errors::OTHERS {
            self.counts.push(error);
        } else {
            self.record(ErrorCount { message: Errors::OTHERS.into(), details: None, ..error });
        }
    }

    /// All failures, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ErrorCount> {
        self.counts.iter()
    }
}

impl Slowest {
    /// Maximum number kept.
    pub(crate) const KEPT: usize = 10;

    /// Whether a request with this response time would be kept.
    pub fn wants(&self, response: Duration) -> bool {
        self.requests.len() < Slowest::KEPT
            || self.requests.last().is_some_and(|least| response > least.response)
    }

    /// Keeps a request if it is slow enough.
    pub(crate) fn record(&mut self, request: SlowRequest) {
        let at = self.requests.partition_point(|kept| kept.response >= request.response);
        self.requests.insert(at, request);
        self.requests.truncate(Slowest::KEPT);
    }

    /// Adds the requests of another list, and keeps the slowest.
    pub(crate) fn merge(&mut self, other: &Slowest) {
        for request in &other.requests {
            if self.wants(request.response) {
                self.record(request.clone());
            }
        }
    }

    /// Keeps only those that `other` would keep.
    pub(crate) fn keep_beyond(&mut self, other: &Slowest) {
        self.requests.retain(|request| other.wants(request.response));
    }

    /// The slowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SlowRequest> {
        self.requests.iter()
    }
}

impl Tally {
    /// Requests with this outcome.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.response[outcome as usize].count()
    }

    /// Response time of ok requests.
    pub fn ok(&self) -> &Histogram {
        &self.response[Outcome::Ok as usize]
    }

    /// Requests that failed or timed out.
    pub(crate) fn errors(&self) -> u64 {
        Outcome::ALL[1..].iter().map(|outcome| self.count(*outcome)).sum()
    }

    /// Requests that ended, with any outcome.
    pub(crate) fn count_all(&self) -> u64 {
        Outcome::ALL.iter().map(|outcome| self.count(*outcome)).sum()
    }

    /// Everything that did not succeed. It ranks as slower than everything else.
    pub(crate) fn failed(&self) -> u64 {
        self.errors() + self.dropped + self.abandoned
    }

    /// Adds the counts of another tally.
    pub(crate) fn merge(&mut self, other: &Tally) {
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
        self.documents_missing += other.documents_missing;
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
        self.active.merge(&other.active);
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
        self.traced.merge(&other.traced);
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.slowest.merge(&other.slowest);
        self.exchange = Exchange::best(self.exchange, other.exchange);
    }

    /// The counts of a step, created if it is new.
    pub(crate) fn step(&mut self, index: usize) -> &mut StepTally {
        if self.steps.len() <= index {
            self.steps.resize_with(index + 1, StepTally::default);
        }
        &mut self.steps[index]
    }

    /// Stands for the Executors beyond `EXECUTORS_MAX`.
    pub(crate) const OTHER_EXECUTORS: &'static str = "(other Executors)";

    /// The histogram of an Executor, created if it is new. A Flow has few Executors, so searching a
    /// list is faster than a map. All names beyond [`EXECUTORS_MAX`], from a gateway that invents
    /// names, share one histogram.
    pub(crate) fn executor(&mut self, name: &str) -> &mut Histogram {
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
        self.begun += other.begun;
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
            last_at: Some(Duration::ZERO),
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

    /// Counts one request by kind and latency.
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
            8 => tally.errors.record(ErrorCount {
                first_at: took,
                last_at: Some(took),
                ..error("failed")
            }),
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
