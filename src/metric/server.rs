//! What a Flow reports about itself under load, as named in thresholds: `server.indexer.pending`.

use super::MetricUnit;

/// A figure about a place in the Flow, from the Flow's own metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerMetric {
    /// `indexer`, `indexer/rep-0` for one replica, `processes`, or the name of a metric or query.
    pub place: String,
    /// What is measured there.
    pub figure: Figure,
    /// The highest second instead of the whole load. Written `server.indexer.pending.max`.
    pub highest: bool,
}

/// What is measured at a place.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Requests it was done with, per second.
    Rate,
    /// Mean time of a request in it, ms.
    Mean,
    /// Mean time of a request in the method of an Executor, ms.
    Process,
    /// Mean time from sending a request on to its response, ms.
    Sending,
    /// Requests in it.
    Pending,
    /// Documents, per second.
    Documents,
    /// Requests that failed in it.
    Failed,
    /// Bytes of requests, per second.
    Received,
    /// Bytes of responses, per second.
    Sent,
    /// Processors in use.
    Cpu,
    /// Processors in use by the busiest of its processes.
    Busiest,
    /// Resident memory, bytes.
    Memory,
    /// Threads.
    Threads,
    /// A metric or query by its name.
    Value,
}

impl Figure {
    /// All figures that are written with a name after their place.
    pub const NAMED: [(&'static str, Figure); 13] = [
        ("rate", Figure::Rate),
        ("mean", Figure::Mean),
        ("process", Figure::Process),
        ("sending", Figure::Sending),
        ("pending", Figure::Pending),
        ("documents", Figure::Documents),
        ("failed", Figure::Failed),
        ("received", Figure::Received),
        ("sent", Figure::Sent),
        ("cpu", Figure::Cpu),
        ("busiest", Figure::Busiest),
        ("memory", Figure::Memory),
        ("threads", Figure::Threads),
    ];

    /// The unit of its values.
    pub fn unit(self) -> MetricUnit {
        match self {
            Figure::Rate | Figure::Documents => MetricUnit::PerSecond,
            Figure::Mean | Figure::Process | Figure::Sending => MetricUnit::Milliseconds,
            Figure::Received | Figure::Sent | Figure::Memory => MetricUnit::Bytes,
            Figure::Pending
            | Figure::Failed
            | Figure::Cpu
            | Figure::Busiest
            | Figure::Threads
            | Figure::Value => MetricUnit::Number,
        }
    }
}

/// The prefix of every such metric.
pub(super) const PREFIX: &str = "server.";

/// The suffix for the highest second.
const HIGHEST: &str = ".max";

/// Whether a text says twice that the highest second is meant.
pub(super) fn is_highest_twice(text: &str) -> bool {
    let once = text.strip_suffix(HIGHEST).filter(|once| once.ends_with(HIGHEST));
    once.is_some_and(|once| once.starts_with(PREFIX))
}

/// Parses the text of a metric; `None` if it is not a server metric. `is_measure` tells whether a word is a
/// measure of requests, such as `p99`, which may belong to a step named `server`.
pub(super) fn parse(text: &str, is_measure: impl Fn(&str) -> bool) -> Option<ServerMetric> {
    let rest = text.strip_prefix(PREFIX)?;
    let (rest, highest) = match rest.strip_suffix(HIGHEST) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let figure = |name: &str| Figure::NAMED.iter().find(|(known, _)| *known == name);
    if let Some((place, name)) = rest.rsplit_once('.')
        && let Some((_, figure)) = figure(name)
        && !place.is_empty()
    {
        return Some(ServerMetric { place: place.to_owned(), figure: *figure, highest });
    }
    let is_name = !rest.is_empty() && !rest.contains('.') && !is_measure(rest);
    is_name.then(|| ServerMetric { place: rest.to_owned(), figure: Figure::Value, highest })
}
