//! Checks: what is run, and the expected results.

use std::time::Duration;

use serde::Serialize;

use super::suite::Ran;
use super::{arrivals, law};
use crate::record::reason::Reason;
use crate::record::summary::ms;

/// A property that must hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Description of the property.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// The figures it was judged by.
    pub measures: Vec<Measure>,
    /// Other reasons why it fails.
    pub problems: Vec<String>,
}

/// A figure and its expected value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// What the figure is.
    pub what: String,
    /// `ms`, `share` or `count`.
    pub unit: &'static str,
    /// The measured value.
    pub found: f64,
    /// The theoretical value.
    pub expected: f64,
    /// Allowed deviation.
    pub tolerance: f64,
    /// Whether the deviation is allowed.
    pub passed: bool,
}

impl Check {
    pub(super) fn new(
        name: impl Into<String>,
        measures: Vec<Measure>,
        problems: Vec<String>,
    ) -> Check {
        let passed = problems.is_empty() && measures.iter().all(|measure| measure.passed);
        Check { name: name.into(), passed, measures, problems }
    }
}

impl Measure {
    /// Allows a deviation of a share of the expected value plus a fixed part.
    pub(super) fn within(
        what: impl Into<String>,
        unit: &'static str,
        found: f64,
        expected: f64,
        share: f64,
        fixed: f64,
    ) -> Measure {
        let tolerance = expected.abs() * share + fixed;
        let passed = (found - expected).abs() <= tolerance;
        Measure { what: what.into(), unit, found, expected, tolerance, passed }
    }

    pub(super) fn exact(
        what: impl Into<String>,
        unit: &'static str,
        found: f64,
        expected: f64,
    ) -> Measure {
        Measure::within(what, unit, found, expected, 0.0, 0.0)
    }
}

/// A check that runs a suite of one scenario.
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) suite: &'static str,
    measures: fn(&Ran) -> Vec<Measure>,
}

impl Planned {
    pub(super) fn judge(&self, ran: &Ran) -> Check {
        // Any deviation must come from the Flow alone: the run itself has to be valid.
        let mut problems: Vec<String> =
            ran.summary.validity.reasons.iter().map(Reason::to_string).collect();
        problems.extend(law::unaccounted(&ran.summary.requests));
        if ran.summary.requests.failed() > 0 {
            problems.push(format!("{} requests failed", ran.summary.requests.failed()));
        }
        Check::new(self.name, (self.measures)(ran), problems)
    }
}

/// Seeds are fixed, so that a machine in order passes every time: queues of this length naturally
/// deviate from theory by a few percent. The fixed part covers the round trip to the Flow.
pub(super) const PLANNED: [Planned; 5] = [
    Planned {
        name: "a freeze of 1 s in every 10 s shows in all percentiles it reaches",
        suite: "
flows: {f: {embedded: {protocols: [grpc], executors: [{name: freezer, stall: {every: 10s, for: 1s}}]}}}
scenarios: [{name: freeze, load: {rate: 1000/s, duration: 20s}}]
",
        measures: |ran| {
            let times = &ran.summary.response_time_ms;
            let (freeze, period) = (Duration::from_secs(1), Duration::from_secs(10));
            [("p95", 0.95, times.p95), ("p99", 0.99, times.p99), ("p99.9", 0.999, times.p99_9)]
                .into_iter()
                .chain([("largest", 1.0, times.max)])
                .map(|(what, quantile, found)| {
                    let expected = ms(law::frozen(quantile, freeze, period));
                    // The backlog is answered all at once, which takes a moment.
                    Measure::within(what, "ms", found.unwrap_or(0.0), expected, 0.02, 20.0)
                })
                .collect()
        },
    },
    Planned {
        name: "even arrivals, even service (D/D/1): nobody waits",
        suite: "
flows: {f: {embedded: {protocols: [grpc], executors: [{name: server, service_time: 5ms, concurrency: 1}]}}}
scenarios: [{name: dd1, load: {rate: 100/s, duration: 8s}, warmup: 500ms}]
",
        measures: |ran| {
            let times = &ran.summary.response_time_ms;
            vec![
                Measure::within("p50", "ms", times.p50.unwrap_or(0.0), 5.0, 0.1, 0.5),
                Measure::within("p99", "ms", times.p99.unwrap_or(0.0), 5.0, 0.2, 1.0),
            ]
        },
    },
    Planned {
        name: "random arrivals, random service (M/M/1)",
        suite: "
flows: {f: {embedded: {protocols: [grpc], seed: 3, executors: [{name: server, service_time: {exponential: {mean: 1ms}}, concurrency: 1}]}}}
scenarios: [{name: mm1, load: {rate: 800/s, arrivals: poisson, duration: 20s}, warmup: 500ms}]
",
        measures: |ran| {
            // Exponential with rate µ − λ = 200/s.
            let times = &ran.summary.response_time_ms;
            vec![
                Measure::within("mean", "ms", times.mean.unwrap_or(0.0), 5.0, 0.2, 0.5),
                Measure::within("p50", "ms", times.p50.unwrap_or(0.0), 3.47, 0.15, 0.5),
                Measure::within("p99", "ms", times.p99.unwrap_or(0.0), 23.03, 0.25, 0.5),
            ]
        },
    },
    Planned {
        name: "random arrivals, even service (M/D/1)",
        suite: "
flows: {f: {embedded: {protocols: [grpc], executors: [{name: server, service_time: 1ms, concurrency: 1}]}}}
scenarios: [{name: md1, load: {rate: 800/s, arrivals: poisson, duration: 15s}, warmup: 500ms}]
",
        measures: |ran| {
            // Mean 1/µ + ρ/(2µ(1−ρ)).
            let times = &ran.summary.response_time_ms;
            vec![
                Measure::within("mean", "ms", times.mean.unwrap_or(0.0), 3.0, 0.15, 0.5),
                Measure::within("p99", "ms", times.p99.unwrap_or(0.0), 11.356, 0.2, 0.5),
            ]
        },
    },
    Planned {
        name: "the Flow sees the requested arrivals (Poisson)",
        suite: "
flows: {f: {embedded: {protocols: [grpc], log: $LOG, executors: [{name: echo}]}}}
scenarios: [{name: arrivals, load: {rate: 500/s, arrivals: poisson, duration: 8s}, warmup: 500ms}]
",
        measures: |ran| {
            let gaps = arrivals::gaps(&ran.arrivals, 500.0);
            let allowed = law::distance_allowed(gaps.len());
            let distance = law::distance_from_exponential(gaps);
            let (seen, sent) = (ran.arrivals.len() as f64, ran.summary.requests.sent as f64);
            vec![
                Measure::exact("requests that came", "count", seen, sent),
                Measure::within("distance (Kolmogorov–Smirnov)", "share", distance, 0.0, 0.0, allowed),
            ]
        },
    },
];
