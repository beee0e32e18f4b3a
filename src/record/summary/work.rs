//! What requests were, and what they weighed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requests of a scenario or of one of its steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkSummary {
    /// Name of the step; empty without `steps`.
    pub step: String,
    /// `post`, `stream`, `mutate` or `http`.
    pub kind: String,
    /// The endpoint; of a plain HTTP request, method and path as written. Null for a mutation.
    pub on: Option<String>,
    /// Documents per request; null if it carries none.
    pub request_size: Option<u64>,
    /// Name of the Documents, or how they were generated, as JSON; null if there are none.
    pub documents: Option<String>,
}

/// Bytes of messages, without the transport's overhead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByteCounts {
    /// Bytes of requests that were sent.
    pub sent: u64,
    /// Bytes of ok responses.
    pub received: u64,
}
