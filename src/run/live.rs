//! What can be seen of a run while it runs.

use std::time::Duration;

use crate::plan::Scenario;
use crate::record::summary::{EndReason, ScenarioSummary, Throughput, Verdict};
use crate::record::tally::Tally;
use crate::record::validity::can_tell;
use crate::record::{Histogram, Window};
use crate::units::Secrets;

/// One scenario while it runs.
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
    /// What happened lately, and in the end on the whole; `None` before the first second is over.
    pub recent: Option<Recent>,
    /// The share of requests that did not end well, since the start, of those whose fate is known.
    pub error_rate: Option<f64>,
    /// Requests sent, since the start.
    pub sent: u64,
}

/// Rates and latencies of the last whole seconds: the report's figures, cut to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recent {
    /// Arrivals a second.
    pub offered_per_s: f64,
    /// Ok requests a second.
    pub done_per_s: f64,
    /// Response time of ok requests.
    pub p50: Option<Duration>,
    /// The same.
    pub p99: Option<Duration>,
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

impl Recent {
    /// The figures of a window of whole seconds, with the percentiles of a longer one. A p99 that so
    /// many requests cannot tell is none.
    pub fn new(tally: &Tally, window: Window, longer: &Histogram) -> Recent {
        let rates = Throughput::new(tally, window);
        Recent {
            offered_per_s: rates.offered_per_s,
            done_per_s: rates.requests_per_s,
            p50: longer.quantile(0.5),
            p99: longer.quantile(0.99).filter(|_| can_tell(0.99, longer.count())),
            in_flight: tally.in_flight.area / window.length.as_secs_f64(),
        }
    }
}

impl Live {
    pub(super) fn waiting(scenario: &Scenario, secrets: &Secrets) -> Live {
        Live {
            name: secrets.mask(&scenario.name).into_owned(),
            state: State::Waiting,
            progress: None,
            left: None,
            recent: None,
            error_rate: None,
            sent: 0,
        }
    }

    /// Shows the final figures in the place of the last seconds'.
    pub(super) fn finish(&mut self, summary: &ScenarioSummary) {
        let time = |ms: Option<f64>| ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        self.state = State::Done(summary.end.reason, summary.verdict);
        self.progress = Some(1.0);
        self.left = None;
        self.recent = Some(Recent {
            offered_per_s: summary.throughput.offered_per_s,
            done_per_s: summary.throughput.requests_per_s,
            p50: time(summary.response_time_ms.p50),
            p99: time(summary.response_time_ms.told_p99()),
            in_flight: 0.0,
        });
        self.error_rate = summary.error_rate;
        self.sent = summary.requests.sent;
    }
}
