//! Computes the figures to save from a recording.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;
use super::recording::{Recording, Second};
use super::summary::{
    ByteCounts, ClientSummary, DocumentCounts, ErrorSummary, ExecutorSummary, InFlightSummary, Lag,
    Latency, Requests, RouteSummary, ScenarioSummary, SlowSummary, StepSummary, Throughput,
    TimelineSecond, WarmupSummary, ms,
};
use super::summary::{TraceOf, TraceSummary};
use super::tally::TracedRequest;
use super::tally::{InFlight, StepTally, Tally};
use super::why::{WhySummary, why};
use crate::engine::event::Outcome;

/// The time that rates refer to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Length of that time.
    pub length: Duration,
    /// Whether it ended with the time of the load. Otherwise it ends with the last response, and so
    /// contains all responses.
    pub timed: bool,
}

impl StepTally {
    /// Outcomes of the step's requests. Those without an outcome are in flight or were abandoned.
    pub(crate) fn requests(&self) -> Requests {
        let count = |outcome: Outcome| self.response[outcome as usize].count();
        let ended: u64 = Outcome::ALL.into_iter().map(count).sum();
        Requests {
            arrivals: self.sent,
            sent: self.sent,
            ok: count(Outcome::Ok),
            response_errors: count(Outcome::ResponseError),
            transport_errors: count(Outcome::TransportError),
            timeouts: count(Outcome::Timeout),
            abandoned: self.sent.saturating_sub(ended),
            ..Requests::default()
        }
    }

    /// Ok requests of the step per second; zero for a window of zero length.
    pub(crate) fn requests_per_s(&self, window: Window) -> f64 {
        let ok = match window.timed {
            true => self.ok_in_time,
            false => self.response[Outcome::Ok as usize].count() + self.warmup_ok,
        };
        window.per_s(ok as f64)
    }
}

impl Window {
    /// A count per second; zero for a window of zero length.
    fn per_s(self, count: f64) -> f64 {
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 { count / seconds } else { 0.0 }
    }
}

impl Requests {
    /// Requests that ended, for a part of a load that is still running: arrivals only include
    /// requests with a known outcome.
    pub(crate) fn ended(tally: &Tally) -> Requests {
        let all = Requests::new(tally);
        let sent = all.ok + all.errors() + all.abandoned;
        Requests { sent, arrivals: sent + all.dropped, ..all }
    }

    /// Outcomes of the requests of a tally.
    pub fn new(tally: &Tally) -> Requests {
        Requests {
            arrivals: tally.offered,
            sent: tally.sent,
            ok: tally.count(Outcome::Ok),
            response_errors: tally.count(Outcome::ResponseError),
            transport_errors: tally.count(Outcome::TransportError),
            timeouts: tally.count(Outcome::Timeout),
            dropped: tally.dropped,
            abandoned: tally.abandoned,
            unknown: 0,
            retries: tally.retries,
        }
    }

    /// All counts, by their names in the saved result.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("arrivals", self.arrivals),
            ("sent", self.sent),
            ("ok", self.ok),
            ("response_errors", self.response_errors),
            ("transport_errors", self.transport_errors),
            ("timeouts", self.timeouts),
            ("dropped", self.dropped),
            ("abandoned", self.abandoned),
            ("unknown", self.unknown),
            ("retries", self.retries),
        ]
    }

    /// Requests that did not succeed.
    pub fn failed(&self) -> u64 {
        self.errors() + self.dropped + self.abandoned
    }

    /// Requests that failed or timed out.
    pub fn errors(&self) -> u64 {
        self.response_errors + self.transport_errors + self.timeouts
    }

    /// Share of arrivals that did not succeed, among those with a known outcome; `None` without
    /// any.
    pub fn error_rate(&self) -> Option<f64> {
        let known = self.arrivals.saturating_sub(self.unknown);
        (known > 0).then(|| self.failed() as f64 / known as f64)
    }

    /// Turns abandoned requests into unknown ones.
    pub(crate) fn forget_abandoned(&mut self) {
        self.unknown += std::mem::take(&mut self.abandoned);
    }
}

impl ScenarioSummary {
    /// Number of failures by kind.
    pub(crate) fn errors_by_kind(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for error in &self.errors {
            *kinds.entry(error.kind.clone()).or_default() += error.count;
        }
        kinds
    }
}

impl DocumentCounts {
    /// The Documents of a tally. The number received is only known if every ok response states it.
    pub(crate) fn new(tally: &Tally) -> DocumentCounts {
        let told = tally.without_count == 0;
        DocumentCounts {
            sent: tally.documents_sent,
            received: told.then_some(tally.documents_received),
            missing: told.then_some(tally.documents_missing),
        }
    }
}

impl Throughput {
    /// The rates of a tally over a window; zero for a window of zero length.
    pub fn new(tally: &Tally, window: Window) -> Throughput {
        let (ok, documents) = if window.timed {
            (tally.ok_in_time, tally.documents_in_time)
        } else {
            let documents = tally.documents_ok + tally.warmup_documents;
            (tally.count(Outcome::Ok) + tally.warmup_ok, documents)
        };
        Throughput {
            offered_per_s: window.per_s(tally.offered as f64),
            requests_per_s: window.per_s(ok as f64),
            documents_per_s: window.per_s(documents as f64),
        }
    }
}

impl TimelineSecond {
    fn new(index: usize, second: &Second) -> TimelineSecond {
        let response = second.response.histogram();
        TimelineSecond {
            t_s: index as u64 + 1,
            offered: second.offered,
            sent: second.sent,
            ok: second.outcomes[Outcome::Ok as usize],
            errors: second.errors(),
            timeouts: second.outcomes[Outcome::Timeout as usize],
            kinds: second.kinds.clone(),
            dropped: second.dropped,
            documents: second.documents_ok,
            completed: Some(second.ok_in_time),
            completed_documents: Some(second.documents_in_time),
            in_flight: second.in_flight,
            clients: None,
            p50: response.quantile(0.5).map(ms),
            p99: response.quantile(0.99).map(ms),
            max: response.max().map(ms),
            lag_p99: second.lag.histogram().quantile(0.99).map(ms),
            executors: second
                .executors
                .iter()
                .map(|(name, mean, _)| (name.clone(), ms(*mean)))
                .collect(),
            histogram: second.response.to_base64(),
            service_histogram: second.service.to_base64(),
        }
    }
}

impl Recording {
    /// Adds everything that was recorded to what is otherwise known about the scenario. `steps` are the names of an
    /// iteration's steps, `warmup` is the length of the warmup. Thresholds are not evaluated.
    pub fn summary(
        &self,
        known: ScenarioSummary,
        steps: &[&str],
        warmup: Duration,
        window: Window,
    ) -> ScenarioSummary {
        let totals = &self.totals;
        let some = |histogram: &Histogram| (histogram.count() > 0).then(|| Latency::new(histogram));
        let requests = Requests::new(totals);
        ScenarioSummary {
            duration_s: window.length.as_secs_f64(),
            requests,
            documents: self.documents(),
            bytes: Some(ByteCounts { sent: totals.bytes_sent, received: totals.bytes_received }),
            throughput: Throughput::new(totals, window),
            error_rate: requests.error_rate(),
            response_time_ms: Latency::new(totals.ok()),
            service_time_ms: Latency::new(&totals.service),
            active_time_ms: some(&totals.active),
            first_response_ms: Latency::new(&totals.first),
            failed_time_ms: self.failed_times(),
            timeline: self.timeline_summary(),
            errors: self.errors(),
            executors: self.executors(),
            impossible_routes: self.totals.impossible_routes,
            gateway_ms: some(&totals.gateway),
            network_ms: some(&totals.network),
            breakdown: totals.breakdown.summary(),
            slowest: self.slowest(),
            why: self.why(steps),
            steps: self.steps(steps, window),
            warmup: self.warmup_summary(warmup),
            client: self.client(window),
            ..known
        }
    }

    /// The timeline in its saved form.
    pub(crate) fn timeline_summary(&self) -> Vec<TimelineSecond> {
        let seconds = self.timeline();
        seconds.iter().enumerate().map(|(i, second)| TimelineSecond::new(i, second)).collect()
    }

    /// Response times of failed requests, and the time until arrivals were dropped, by outcome.
    pub(crate) fn failed_times(&self) -> BTreeMap<String, Latency> {
        let names = ["response_errors", "transport_errors", "timeouts", "dropped"];
        let failed = self.totals.response[1..].iter().chain([&self.totals.drops]);
        let some = names.iter().zip(failed).filter(|(_, histogram)| histogram.count() > 0);
        some.map(|(name, histogram)| ((*name).to_owned(), Latency::new(histogram))).collect()
    }

    /// Traces of requests, added to what is known without sending any.
    pub(crate) fn traces(&self, known: TraceSummary) -> TraceSummary {
        let of = |request: &TracedRequest| TraceOf {
            id: request.id.clone(),
            due_s: request.due.as_secs_f64(),
            response_ms: ms(request.response),
        };
        let (slowest, failed) = self.totals.traced.lists();
        TraceSummary {
            requests: self.totals.traced.count,
            slowest: slowest.iter().map(of).collect(),
            failed: failed.iter().map(of).collect(),
            ..known
        }
    }

    /// What sets slow and failed requests apart; `None` without a sample.
    fn why(&self, steps: &[&str]) -> Option<WhySummary> {
        let (sample, of) = &self.sample;
        (!sample.is_empty()).then(|| why(sample, *of, steps))
    }

    /// Failures, the most frequent first.
    pub fn errors(&self) -> Vec<ErrorSummary> {
        let mut errors: Vec<ErrorSummary> = self
            .totals
            .errors
            .iter()
            .map(|error| ErrorSummary {
                kind: error.kind.to_string(),
                message: error.message.clone(),
                count: error.count,
                first_at_s: error.first_at.as_secs_f64(),
                last_at_s: error.last_at.map(|at| at.as_secs_f64()),
                details: error.details.clone(),
            })
            .collect();
        errors.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.message.cmp(&b.message)));
        errors
    }

    /// Time in each Executor; `None` if responses had no routes.
    pub fn executors(&self) -> Option<Vec<ExecutorSummary>> {
        let totals = &self.totals;
        if totals.executors.is_empty() && totals.without_routes + totals.impossible_routes > 0 {
            return None;
        }
        let summary = |executor: &super::tally::ExecutorTally| ExecutorSummary {
            name: executor.name.clone(),
            time_ms: Latency::new(&executor.time),
        };
        Some(totals.executors.iter().map(summary).collect())
    }

    /// Requests of each step, by name; empty without `steps`.
    pub fn steps(&self, names: &[&str], window: Window) -> Vec<StepSummary> {
        // The only request of a scenario without `steps` has no name.
        let names = if names == [""] { &[] } else { names };
        let summary = |(index, name): (usize, &&str)| {
            // A step that was never reached has no counts.
            let step = self.totals.steps.get(index).cloned().unwrap_or_default();
            StepSummary {
                name: (*name).to_owned(),
                requests: step.requests(),
                requests_per_s: step.requests_per_s(window),
                response_time_ms: Latency::new(&step.response[Outcome::Ok as usize]),
                service_time_ms: Latency::new(&step.service),
            }
        };
        names.iter().enumerate().map(summary).collect()
    }

    /// The slowest requests.
    pub fn slowest(&self) -> Vec<SlowSummary> {
        let route = |(name, time): &(String, Option<Duration>)| RouteSummary {
            name: name.clone(),
            time_ms: time.map(ms),
        };
        let slow = self.totals.slowest.iter();
        slow.map(|request| SlowSummary {
            due_s: request.due.as_secs_f64(),
            response_ms: ms(request.response),
            service_ms: ms(request.service),
            lag_ms: ms(request.lag),
            routes: request.routes.iter().map(route).collect(),
        })
        .collect()
    }

    /// Documents; `received` only if every ok response states its number.
    pub fn documents(&self) -> DocumentCounts {
        DocumentCounts::new(&self.totals)
    }

    /// Figures of the warmup.
    pub(crate) fn warmup_summary(&self, length: Duration) -> WarmupSummary {
        WarmupSummary {
            duration_s: length.as_secs_f64(),
            sent: self.warmup.sent,
            failed: self.warmup.failed(),
            first_request_ms: self.first_request.map(|(_, response)| ms(response)),
            time_to_steady_s: self.time_to_steady(length).map(|time| time.as_secs_f64()),
        }
    }

    /// Delays of the load generator itself.
    pub fn client(&self, window: Window) -> ClientSummary {
        let totals = &self.totals;
        let InFlight { area, area_in_time, spent, spent_in_time, max, .. } = totals.in_flight;
        let (area, spent) =
            if window.timed { (area_in_time, spent_in_time) } else { (area, spent) };
        ClientSummary {
            lag_ms: Lag::new(&totals.lag),
            pacer_ms: Lag::new(&totals.pacer),
            generator_ms: Lag::new(&totals.starved),
            held_back_ms: Lag::new(&totals.held),
            abandoned_unsent: totals.abandoned_unsent,
            in_flight: InFlightSummary {
                mean: window.per_s(area),
                by_littles_law: Some(window.per_s(spent)),
                max: Some(max),
            },
            ..ClientSummary::default()
        }
    }
}
