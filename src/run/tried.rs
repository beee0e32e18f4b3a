//! How a trial modifies its scenario: what is the same in all parts of a load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Load, Scenario, Until};
use crate::record::Recording;
use crate::record::tally::Counts;
use crate::schedule::{ArrivalProcess, Pause, Profile, Schedule, Stage};

/// Warmup before each trial if the scenario has none: connections are new, and their first requests
/// are slower than later ones.
const WARMUP: Duration = Duration::from_millis(500);

/// Requests in flight if the scenario sets no bound.
const IN_FLIGHT_MAX: usize = 10_000;

/// A trial ends as soon as it is decided: one more second for each would be a large share of a
/// search.
pub(crate) const TRIAL_TELLS_EVERY: Duration = Duration::from_millis(250);

/// What was measured so far.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// All requests that have ended.
    pub recording: &'a Recording,
    /// What was counted on responses.
    pub counts: Counts,
    /// Since the end of the warmup.
    pub elapsed: Duration,
}

/// Checks what was measured, several times a second and once at the end. Returns whether that is
/// enough.
pub type Look = Box<dyn FnMut(&Seen<'_>) -> bool + Send>;

/// How a trial differs from its scenario.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// Requests per second, or number of clients.
    pub(crate) level: f64,
    /// How long it runs, in seconds.
    pub(crate) budget_s: f64,
    /// The level after that, and for how many seconds.
    pub(crate) then: Option<(f64, f64)>,
    /// Whether the level is a number of clients.
    pub(crate) clients: bool,
    /// Documents per request; `None`: as in the scenario.
    pub(crate) request_size: Option<usize>,
    /// Connections; `None`: as in the scenario.
    pub(crate) connections: Option<usize>,
}

impl Tried {
    /// What is sent before the trial and not measured.
    pub(crate) fn warmup(scenario: &Scenario) -> Duration {
        if scenario.warmup.is_zero() { WARMUP } else { scenario.warmup }
    }

    /// Its load: that of the scenario, with another rate or number of clients.
    pub(crate) fn load(&self, scenario: &Scenario) -> Load {
        let length = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let whole = self.budget_s + self.then.map_or(0.0, |(_, seconds)| seconds);
        let until = Until { duration: Some(length(whole)), requests: None };
        if self.clients {
            let think_time = match &scenario.load {
                Load::Closed { think_time, .. } => *think_time,
                _ => Pause::NONE,
            };
            let clients = Profile::constant(self.level.floor(), None);
            return Load::Closed { clients, think_time, until };
        }
        let (process, max_in_flight) = match &scenario.load {
            Load::Open { schedule: Schedule::Rate { process, .. }, max_in_flight, .. } => {
                (*process, *max_in_flight)
            }
            _ => (ArrivalProcess::default(), IN_FLIGHT_MAX),
        };
        let stages = [(self.level, self.budget_s)].into_iter().chain(self.then);
        let stages = stages.map(|(level, seconds)| Stage {
            length: Some(length(seconds)),
            ..Stage::constant(level)
        });
        let schedule = Schedule::Rate { profile: Profile::new(stages), process };
        Load::Open { schedule, until, max_in_flight }
    }
}
