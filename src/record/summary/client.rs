//! The load generator's own figures: CPU, memory, and its delays.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_zero, ms};
use crate::client::Unmatched;
use crate::record::Histogram;

/// The load generator's own figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSummary {
    /// CPU seconds of the sending threads; null if only a journal is left.
    pub cpu_s: Option<f64>,
    /// Peak RSS of the process, in bytes; null if the system does not report it.
    pub max_rss_bytes: Option<u64>,
    /// Number of sending threads.
    pub workers: usize,
    /// Send delay, from due to written, of all requests.
    pub lag_ms: Lag,
    /// Part of the send delay caused by the load generator's pacer.
    pub pacer_ms: Lag,
    /// Part of the send delay spent waiting for Documents to be generated.
    pub generator_ms: Lag,
    /// Part of the send delay caused by the Flow: no free stream, flow control.
    pub held_back_ms: Lag,
    /// Abandoned requests that were never sent: the Flow held them back to the end.
    #[serde(default)]
    pub abandoned_unsent: u64,
    /// Requests, in warmup and load, that waited because all `connections` were in use.
    /// Their wait is part of `held_back_ms`. Omitted if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waited_for_connections: u64,
    /// Replies that matched no request, in warmup and load.
    #[serde(default)]
    pub unmatched_replies: UnmatchedReplies,
    /// Whether the load generator's CPU was the limit.
    pub saturated: bool,
    /// Requests in flight: the measured mean, and the mean that Little's law derives from
    /// throughput and response time.
    pub in_flight: InFlightSummary,
}

/// Replies that matched no request and were discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnmatchedReplies {
    /// Without a request id.
    pub without_id: u64,
    /// With a request id that was never sent.
    pub unknown_id: u64,
    /// For a request that already had its reply.
    pub duplicate: u64,
    /// For a request that had been abandoned.
    pub late: u64,
}

impl UnmatchedReplies {
    /// Total number.
    pub fn total(&self) -> u64 {
        self.without_id + self.unknown_id + self.duplicate + self.late
    }
}

impl std::ops::AddAssign for UnmatchedReplies {
    fn add_assign(&mut self, other: UnmatchedReplies) {
        self.without_id += other.without_id;
        self.unknown_id += other.unknown_id;
        self.duplicate += other.duplicate;
        self.late += other.late;
    }
}

impl From<Unmatched> for UnmatchedReplies {
    fn from(unmatched: Unmatched) -> UnmatchedReplies {
        let Unmatched { without_id, unknown_id, duplicate, late } = unmatched;
        UnmatchedReplies { without_id, unknown_id, duplicate, late }
    }
}

/// A delay of the load generator in ms; null without requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lag {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

/// Requests in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InFlightSummary {
    /// Mean, measured by integrating the number in flight.
    pub mean: f64,
    /// Mean by Little's law: requests · mean time from release to done, over the same time.
    pub by_littles_law: Option<f64>,
    /// Maximum at once, over all workers; null in a selected window.
    pub max: Option<u64>,
}

impl Lag {
    /// The figures of a histogram.
    pub fn new(histogram: &Histogram) -> Lag {
        Lag {
            p50: histogram.quantile(0.5).map(ms),
            p99: histogram.quantile(0.99).map(ms),
            max: histogram.max().map(ms),
        }
    }
}
