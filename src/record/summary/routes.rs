//! Where requests spent their time, as far as the routes of responses tell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Latency;

/// Time in one Executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorSummary {
    /// Its name; `gateway` for the gateway, which includes all Executors.
    pub name: String,
    /// From coming in to going out, on the gateway's clock.
    pub time_ms: Latency,
}

/// Mean time in one stop of typical requests (those around the median: the 40th to the 60th of a
/// hundred) and of the tail (the slowest hundredth).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakdownSummary {
    /// What it is.
    pub kind: StopKind,
    /// The Executor's name, or what it is in words.
    pub name: String,
    /// Mean time of typical requests.
    pub typical_ms: f64,
    /// Its share of all stops' times, from 0 to 1.
    pub typical_share: f64,
    /// Mean time of the tail.
    pub tail_ms: f64,
    /// Its share of all stops' times, from 0 to 1.
    pub tail_share: f64,
}

/// What a stop of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// Due, but not sent yet.
    Lag,
    /// Between us and the gateway, and in our own hands.
    Network,
    /// In the gateway, and in no Executor.
    Gateway,
    /// An Executor. Those that work at the same time count in full each.
    Executor,
}

/// One of the slowest requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowSummary {
    /// When it was due.
    pub due_s: f64,
    /// Due to done.
    pub response_ms: f64,
    /// Written to done.
    pub service_ms: f64,
    /// Due to written.
    pub lag_ms: f64,
    /// The stops it passed, and the time in each.
    pub routes: Vec<RouteSummary>,
}

/// One stop of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteSummary {
    /// Executor or gateway.
    pub name: String,
    /// Null for an Executor that was skipped.
    pub time_ms: Option<f64>,
}
