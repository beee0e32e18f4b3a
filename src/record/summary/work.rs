//! What requests were, and what they weighed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the requests of a scenario, or of one of its steps, were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkSummary {
    /// Name of the step; empty without `steps`.
    pub step: String,
    /// `post`, `stream`, `mutate` or `http`.
    pub kind: String,
    /// The endpoint; of a plain HTTP request, method and path as written. Null for a mutation.
    pub on: Option<String>,
    /// Documents per request; null where it carries none.
    pub request_size: Option<u64>,
    /// Name of the Documents, or else how they were made, as JSON; null where there are none.
    pub documents: Option<String>,
}

/// Bytes of messages, without what the transport adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByteCounts {
    /// Of requests that were sent.
    pub sent: u64,
    /// Of ok responses.
    pub received: u64,
}
