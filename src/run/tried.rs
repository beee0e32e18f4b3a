//! A trial in terms of its scenario: what is the same in all parts of a load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Load, Scenario, Until};
use crate::record::Recording;
use crate::record::tally::Counts;
use crate::schedule::{ArrivalProcess, Pause, Profile, Schedule, Stage};

/// Sent before each trial, where the scenario has no warmup: connections are new, and the first
/// requests over them are slower than any later.
const WARMUP: Duration = Duration::from_millis(500);

/// Requests in flight, where the scenario sets no bound.
const IN_FLIGHT_MAX: usize = 10_000;

/// A trial is over as soon as it is decided: a second more of each would be much of a search.
pub(crate) const TRIAL_TELLS_EVERY: Duration = Duration::from_millis(250);

/// What was measured so far.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// All that ended.
    pub recording: &'a Recording,
    /// What was counted on responses.
    pub counts: Counts,
    /// Since the end of the warmup.
    pub elapsed: Duration,
}

/// Looks at what was measured, some times a second and once when all is over. Says whether that is
/// enough.
pub type Look = Box<dyn FnMut(&Seen<'_>) -> bool + Send>;

/// How a trial differs from its scenario.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// Requests a second, or clients.
    pub(crate) level: f64,
    /// How long it goes, in seconds.
    pub(crate) budget_s: f64,
    /// Another level after that, and for how many seconds.
    pub(crate) then: Option<(f64, f64)>,
    /// Whether the level is a number of clients.
    pub(crate) clients: bool,
    /// Documents a request; `None`: as the scenario says.
    pub(crate) request_size: Option<usize>,
    /// Connections; `None`: as the scenario says.
    pub(crate) connections: Option<usize>,
}

impl Tried {
    /// What is sent before, and not measured.
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
