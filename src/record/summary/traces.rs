//! Traces of requests, to be looked up in a tracing system.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests that have ids in a tracing system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSummary {
    /// Where a trace is shown, with `{id}` in place of its id; null if not set.
    pub link: Option<String>,
    /// Requests with a separate trace.
    pub requests: u64,
    /// The slowest ok ones of them.
    pub slowest: Vec<TraceOf>,
    /// The first that failed.
    pub failed: Vec<TraceOf>,
    /// Ids that all requests of a sending thread share, for protocols in which only a connection has headers.
    pub connections: Vec<String>,
}

/// A request and its trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceOf {
    /// The id of its trace: 32 hexadecimal digits.
    pub id: String,
    /// When it was due.
    pub due_s: f64,
    /// From due to done, or until the failure was known.
    pub response_ms: f64,
}
