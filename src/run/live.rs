//! The live state of a run.

use std::time::Duration;

use crate::plan::Scenario;
use crate::record::summary::{EndReason, ScenarioSummary, Throughput, Verdict};
use crate::record::tally::Tally;
use crate::record::validity::can_tell;
use crate::record::{Histogram, Window};
use crate::units::Secrets;

/// The live state of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// The scenario's name.
    pub name: String,
    /// Which phase it is in.
    pub state: State,
    /// From 0 to 1; `None` if it is unknown.
    pub progress: Option<f64>,
    /// Remaining time, if the scenario is limited by time.
    pub left: Option<Duration>,
    /// Figures of the last seconds, and finally of the whole run; `None` until the first second is
    /// over.
    pub recent: Option<Recent>,
    /// Share of requests that failed since the start, among those with a known outcome.
    pub error_rate: Option<f64>,
    /// Requests sent since the start.
    pub sent: u64,
}

/// Rates and latencies over the last whole seconds: the report's figures, restricted to that
/// window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recent {
    /// Arrivals per second.
    pub offered_per_s: f64,
    /// Ok requests per second.
    pub done_per_s: f64,
    /// Median response time of ok requests.
    pub p50: Option<Duration>,
    /// 99th percentile of the response time of ok requests.
    pub p99: Option<Duration>,
    /// Requests in flight.
    pub in_flight: f64,
}

/// The phase a scenario is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting for the scenarios it needs, or for its start.
    Waiting,
    /// Opening connections.
    Connecting,
    /// Sending, but not counted yet.
    Warmup,
    /// Sending and counted.
    Running,
    /// Ended.
    Done(EndReason, Verdict),
}

impl Recent {
    /// The figures of a window of whole seconds, with the percentiles of a longer one. A p99 is
    /// omitted if there are too few requests for it.
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

    /// Replaces the figures of the last seconds with the final ones.
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
