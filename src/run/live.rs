//! What can be seen of a run while it runs.

use std::time::Duration;

use crate::plan::Scenario;
use crate::record::summary::{EndReason, ScenarioSummary, Verdict};

/// One scenario while it runs. Rates and latencies are those of the last seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// From 0 to 1; `None` where nothing tells how far it is.
    pub progress: Option<f64>,
    /// Until it ends, where time ends it.
    pub left: Option<Duration>,
    /// Arrivals a second.
    pub offered_per_s: f64,
    /// Ok requests a second.
    pub done_per_s: f64,
    /// Response time of ok requests.
    pub p50: Option<Duration>,
    /// The same.
    pub p99: Option<Duration>,
    /// Requests that did not end well, since the start.
    pub failed: u64,
    /// Requests sent, since the start.
    pub sent: u64,
    /// Requests in flight.
    pub in_flight: f64,
}

/// How far a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// For what it needs, or its start.
    Waiting,
    /// Connections are opened.
    Connecting,
    /// What is sent does not count yet.
    Warmup,
    /// What is sent counts.
    Running,
    /// It ended.
    Done(EndReason, Verdict),
}

impl Live {
    pub(super) fn waiting(scenario: &Scenario) -> Live {
        Live {
            name: scenario.name.clone(),
            state: State::Waiting,
            progress: None,
            left: None,
            offered_per_s: 0.0,
            done_per_s: 0.0,
            p50: None,
            p99: None,
            failed: 0,
            sent: 0,
            in_flight: 0.0,
        }
    }

    /// Shows the final figures in the place of the last seconds'.
    pub(super) fn finish(&mut self, summary: &ScenarioSummary) {
        let time = |ms: Option<f64>| ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        self.state = State::Done(summary.end.reason, summary.verdict);
        self.progress = Some(1.0);
        self.left = None;
        self.offered_per_s = summary.throughput.offered_per_s;
        self.done_per_s = summary.throughput.requests_per_s;
        self.p50 = time(summary.response_time_ms.p50);
        self.p99 = time(summary.response_time_ms.p99);
        self.failed = summary.requests.failed();
        self.sent = summary.requests.sent;
        self.in_flight = 0.0;
    }
}
