//! Trials that were made: what a search was told, as `capacity.json` holds it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::Kind;
use crate::metric::Figure;
use crate::record::reason::Reason;
use crate::record::summary::ThresholdSummary;

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// The objective was met.
    #[serde(rename = "held", alias = "passed")]
    Passed,
    /// It did not.
    Failed,
    /// Not enough samples to tell.
    #[serde(rename = "undecided", alias = "inconclusive")]
    Inconclusive,
    /// The trial was not valid.
    Invalid,
    /// It was made to see, not to judge.
    Seen,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialSummary {
    /// What it was for.
    pub kind: Kind,
    /// Requests a second, or clients.
    pub level: f64,
    /// What came of it.
    pub outcome: TrialOutcome,
    /// How long it took.
    pub seconds: f64,
    /// How long it might have taken.
    pub budget_s: f64,
    /// What was measured.
    pub point: Point,
    /// The objective's conditions on the whole trial.
    pub objective: Vec<ThresholdSummary>,
    /// The share of requests over the limit in terms of what is allowed; below 1 it holds.
    pub excess: f64,
    /// How many independent requests the trial is worth.
    pub independent_requests: f64,
    /// Why it was not valid.
    pub reasons: Vec<Reason>,
    /// What was wrong on our side and cannot have changed the outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excused: Vec<Reason>,
    /// Seconds from the end of an overload until the objective held again.
    pub recovered_s: Option<f64>,
    /// What the Flow told of itself; omitted if nothing was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server: Vec<ServerFigure>,
}

/// By how much requests in flight may grow in a load in balance, a second, in terms of arrivals: a
/// queue that is a hundredth overloaded grows by that.
const DRIFT_MAX: f64 = 0.01;

/// What must come back of it meanwhile.
const KEPT_UP: f64 = 0.98;

impl TrialSummary {
    /// Whether it was valid and in balance: what came in went out, so that its times are those of
    /// the load and not of the length of the trial.
    pub(crate) fn is_balanced(&self) -> bool {
        let point = &self.point;
        !matches!(self.outcome, TrialOutcome::Invalid | TrialOutcome::Seen)
            && !point.growing
            && point.drift.is_some_and(|drift| drift <= DRIFT_MAX)
            && point.throughput_per_s.is_some_and(|done| done >= KEPT_UP * point.offered_per_s)
            && point.mean_ms.is_some()
    }
}

/// Figures of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Arrivals a second.
    pub offered_per_s: f64,
    /// Ok requests a second; null, as the two that follow, for trials that were too short to tell.
    pub throughput_per_s: Option<f64>,
    /// Their Documents a second.
    pub documents_per_s: Option<f64>,
    /// Ok requests a second that met every limit of the objective by themselves.
    pub goodput_per_s: Option<f64>,
    /// Failed requests among all.
    pub error_rate: f64,
    /// Requests in flight, the mean.
    pub in_flight: f64,
    /// Response time.
    pub mean_ms: Option<f64>,
    /// Its standard deviation.
    pub stddev_ms: Option<f64>,
    /// Response time.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p95_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// Mean time in each Executor, where responses tell it.
    pub executors: Vec<ExecutorTime>,
    /// By how many requests a second those in flight grew, from the first half of the trial to the
    /// second, in terms of arrivals: a load is in balance up to a hundredth. Null for trials that
    /// were too short to tell.
    pub drift: Option<f64>,
    /// Whether requests in flight still grew: then latencies tell of the length of the trial.
    pub growing: bool,
}

/// Time in one Executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorTime {
    /// Its name; `gateway` for the gateway, which includes all others.
    pub name: String,
    /// The mean.
    pub mean_ms: f64,
}

/// A figure that a Flow told of itself during a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFigure {
    /// The Executor, one of its replicas (`encoder/rep-0`), the gateway, or `processes`.
    pub place: String,
    /// What was measured there.
    pub figure: Figure,
    /// Over the whole trial, as in `report.json`.
    pub value: f64,
}

/// The last trial at a level that held.
pub fn confirmed(trials: &[TrialSummary], level: f64) -> Option<&TrialSummary> {
    trials.iter().rfind(|trial| trial.level == level && trial.outcome == TrialOutcome::Passed)
}

/// What varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests a second.
    Rate,
    /// Clients that each wait for their response.
    Clients,
}

/// A load beyond what holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overload {
    /// In terms of what holds: 1.2.
    pub factor: f64,
    /// Arrivals a second, or clients.
    pub level: f64,
    /// Ok requests a second that met the objective by themselves; null where it was too short to tell.
    pub goodput_per_s: Option<f64>,
    /// Failed requests among all.
    pub error_rate: f64,
    /// Why it tells of our own side more than of the Flow, where that is so.
    pub reasons: Vec<Reason>,
}
