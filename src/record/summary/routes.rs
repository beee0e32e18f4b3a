//! Where requests spend their time, as far as the routes of responses show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Latency;

/// Time in one Executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorSummary {
    /// Its name; `gateway` for the gateway, which includes all Executors.
    pub name: String,
    /// From entering to leaving, on the gateway's clock.
    pub time_ms: Latency,
}

/// Mean time in one hop for typical requests (from the 40th to the 60th percentile) and for the
/// tail (the slowest 1 %).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakdownSummary {
    /// Kind of the hop.
    pub kind: StopKind,
    /// Name of the Executor, or a description of the hop.
    pub name: String,
    /// Mean time of typical requests.
    pub typical_ms: f64,
    /// Share of the total over all hops, from 0 to 1.
    pub typical_share: f64,
    /// Mean time of the tail.
    pub tail_ms: f64,
    /// Share of the total over all hops, from 0 to 1.
    pub tail_share: f64,
}

/// Kind of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// Send delay: due, but not sent yet.
    Lag,
    /// Network, and time in the client.
    Network,
    /// Gateway overhead: in the gateway, but in no Executor.
    Gateway,
    /// An Executor. Executors that work in parallel each count in full.
    Executor,
}

/// One of the slowest requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowSummary {
    /// When it was due.
    pub due_s: f64,
    /// From due to done.
    pub response_ms: f64,
    /// From written to done.
    pub service_ms: f64,
    /// Send delay, from due to written.
    pub lag_ms: f64,
    /// The hops it passed, and the time in each.
    pub routes: Vec<RouteSummary>,
}

/// One hop of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteSummary {
    /// Executor or gateway.
    pub name: String,
    /// Null for an Executor that was skipped.
    pub time_ms: Option<f64>,
}
