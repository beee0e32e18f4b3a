//! Trials and their results, as stored in `capacity.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::Kind;
use crate::metric::Figure;
use crate::record::reason::Reason;
use crate::record::summary::ThresholdSummary;

/// Outcome of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// The objective was met.
    #[serde(rename = "held", alias = "passed")]
    Passed,
    /// The objective was not met.
    Failed,
    /// Not enough samples to tell.
    #[serde(rename = "undecided", alias = "inconclusive")]
    Inconclusive,
    /// The trial was not valid.
    Invalid,
    /// It was for observation only and is not judged.
    Seen,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialSummary {
    /// Its purpose.
    pub kind: Kind,
    /// Requests per second, or clients.
    pub level: f64,
    /// Its outcome.
    pub outcome: TrialOutcome,
    /// How long it took.
    pub seconds: f64,
    /// How long it could have taken at most.
    pub budget_s: f64,
    /// What was measured.
    pub point: Point,
    /// The objective's conditions on the whole trial.
    pub objective: Vec<ThresholdSummary>,
    /// The share of requests over the limit, divided by the allowed share; below 1 the objective is met.
    pub excess: f64,
    /// Effective number of independent requests.
    pub independent_requests: f64,
    /// Why it was not valid.
    pub reasons: Vec<Reason>,
    /// Problems of the load generator that cannot have changed the outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excused: Vec<Reason>,
    /// Seconds from the end of an overload until the objective was met again.
    pub recovered_s: Option<f64>,
    /// The Flow's own metrics; omitted if none were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server: Vec<ServerFigure>,
}

/// How fast requests in flight may grow in a balanced load, per second, relative to arrivals: a queue that is
/// overloaded by one percent grows this fast.
const DRIFT_MAX: f64 = 0.01;

/// Share of arrivals that must be answered meanwhile.
const KEPT_UP: f64 = 0.98;

impl TrialSummary {
    /// Whether it was valid and balanced: responses kept up with arrivals, so that response times depend on the load
    /// and not on the length of the trial.
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
    /// Arrivals per second.
    pub offered_per_s: f64,
    /// Ok requests per second; null, as the two that follow, for trials that were too short to tell.
    pub throughput_per_s: Option<f64>,
    /// Their Documents per second.
    pub documents_per_s: Option<f64>,
    /// Ok requests per second that individually met every limit of the objective.
    pub goodput_per_s: Option<f64>,
    /// Share of failed requests.
    pub error_rate: f64,
    /// Mean number of requests in flight.
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
    /// Mean time in each Executor, if responses report it.
    pub executors: Vec<ExecutorTime>,
    /// Growth of requests in flight from the first half of the trial to the second, per second and as a share
    /// of arrivals: a load is in balance up to 0.01. Null for trials that were too short to tell.
    pub drift: Option<f64>,
    /// Whether requests in flight still grew: latencies then depend on the length of the trial.
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

/// One of the Flow's own metrics during a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerFigure {
    /// The Executor, one of its replicas (`encoder/rep-0`), the gateway, or `processes`.
    pub place: String,
    /// What was measured there.
    pub figure: Figure,
    /// Over the whole trial, as in `report.json`.
    pub value: f64,
}

/// The last trial that passed at a level.
pub fn confirmed(trials: &[TrialSummary], level: f64) -> Option<&TrialSummary> {
    trials.iter().rfind(|trial| trial.level == level && trial.outcome == TrialOutcome::Passed)
}

/// What varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests per second.
    Rate,
    /// Clients that each wait for their response.
    Clients,
}

/// A load above the sustained one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overload {
    /// As a multiple of the sustained load: 1.2.
    pub factor: f64,
    /// Arrivals per second, or clients.
    pub level: f64,
    /// Ok requests per second that individually met the objective; null if it was too short to tell.
    pub goodput_per_s: Option<f64>,
    /// Share of failed requests.
    pub error_rate: f64,
    /// Why it reflects the load generator rather than the Flow, if it does.
    pub reasons: Vec<Reason>,
}
