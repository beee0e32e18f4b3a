//! How we ourselves did: CPU, memory, and the delays that were ours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ms;
use crate::client::Unmatched;
use crate::record::Histogram;

/// How we ourselves did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSummary {
    /// CPU seconds of the threads that sent and received; null where only a journal is left.
    pub cpu_s: Option<f64>,
    /// The most memory the process ever had resident; null where the system does not tell.
    pub max_rss_bytes: Option<u64>,
    /// Threads that sent and received.
    pub workers: usize,
    /// Due to written, of all requests.
    pub lag_ms: Lag,
    /// The part of it in which our own pacer was late.
    pub pacer_ms: Lag,
    /// The part of it in which Documents were still being made.
    pub generator_ms: Lag,
    /// The part of it in which the Flow held us back: no free stream, flow control.
    pub held_back_ms: Lag,
    /// Abandoned requests that never went out: the Flow held them back to the end.
    #[serde(default)]
    pub abandoned_unsent: u64,
    /// Replies that matched no request, of warmup and load.
    #[serde(default)]
    pub unmatched_replies: UnmatchedReplies,
    /// Whether our CPU was the limit.
    pub saturated: bool,
    /// Requests in flight: the mean, measured, and what Little's law makes of throughput and
    /// response time.
    pub in_flight: InFlightSummary,
}

/// Replies that matched no request, and were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnmatchedReplies {
    /// They had no request id.
    pub without_id: u64,
    /// Their request id was never sent.
    pub unknown_id: u64,
    /// Their request had its reply already.
    pub duplicate: u64,
    /// Their request had been given up.
    pub late: u64,
}

impl UnmatchedReplies {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.without_id + self.unknown_id + self.duplicate + self.late
    }
}

impl From<Unmatched> for UnmatchedReplies {
    fn from(unmatched: Unmatched) -> UnmatchedReplies {
        let Unmatched { without_id, unknown_id, duplicate, late } = unmatched;
        UnmatchedReplies { without_id, unknown_id, duplicate, late }
    }
}

/// A delay of our own; null without requests.
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
    /// The mean, measured by integrating their number.
    pub mean: f64,
    /// What it should be: requests · mean time from release to done, over the same time.
    pub by_littles_law: f64,
    /// The most at once, of all workers together; null in a window that was cut out.
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
