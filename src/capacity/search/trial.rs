//! Trials and their results, and the answer of a search.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capacity::judge::{Decision, Evidence, Judge, Limit, Rule};
use crate::record::reason::Reason;

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What it is for.
    pub kind: Kind,
    /// Requests per second, or clients.
    pub level: f64,
    /// How long it may take, in seconds.
    pub budget_s: f64,
    /// Minimum length in seconds, so that a disturbance can pass.
    pub least_s: f64,
    /// How it is decided; `None`: it is not, and uses its whole budget.
    pub rule: Option<Rule>,
    /// The level to continue with and for how many seconds, to see how long the Flow takes to
    /// recover.
    pub then: Option<(f64, f64)>,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To find two levels of which one passes and one fails.
    Bracket,
    /// To bring them closer together.
    Bisect,
    /// To confirm that a level passes.
    Confirm,
    /// A level again, because its result was surprising.
    Retest,
    /// To confirm that a level fails.
    Above,
    /// To observe an overload.
    Overload,
    /// To wait until the Flow has worked off its backlog.
    CoolDown,
}

/// The result of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialResult {
    /// Whether the objective was met; `Open` is undecided.
    pub decision: Option<Decision>,
    /// The evidence behind the decision.
    pub evidence: Evidence,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its mean response time; `None` if there were no responses.
    pub times: Option<Times>,
    /// Why it cannot be judged, if the fault is on our side: then nothing else counts.
    pub invalid: Vec<Reason>,
    /// Whether requests were still unanswered when it was given up: the Flow has a backlog.
    pub backlog: bool,
    /// Whether it was interrupted from outside: no trial comes after it.
    pub interrupted: bool,
}

/// The mean response time of a trial and its standard error, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// The mean.
    pub mean_s: f64,
    /// Its standard error.
    pub error_s: f64,
}

impl Times {
    /// Whether these are shorter than those of an earlier trial, by more than chance and by enough
    /// to matter.
    pub(crate) fn fell_from(self, before: Times) -> bool {
        let fell = before.mean_s - self.mean_s;
        fell > 3.0 * before.error_s.hypot(self.error_s) && fell > FELL_MIN * before.mean_s
    }
}

/// Smallest relative decrease that shows a Flow warming up.
const FELL_MIN: f64 = 0.02;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It passes at `held`, with the requested confidence, and fails at `fails`.
    Edge {
        /// The highest level that was confirmed.
        held: f64,
        /// The lowest level above it that was confirmed to fail; `None` if none was found, as when trials
        /// above it could not be judged.
        fails: Option<f64>,
        /// The best estimate of the boundary.
        estimate: f64,
    },
    /// It fails even at the lowest level of the range.
    FailsAtLow {
        /// That level.
        level: f64,
    },
    /// It passes even at the highest level of the range.
    HoldsAtHigh {
        /// That level.
        level: f64,
    },
    /// Trials cannot tell where the boundary is; `held` is the highest level that seemed to pass.
    #[serde(rename = "unclear", alias = "inconclusive")]
    Inconclusive {
        /// `None`: not even the lowest level could be judged.
        held: Option<f64>,
        /// Why.
        reason: Reason,
    },
}

impl Answer {
    /// The highest level that is certain to pass, if there is one.
    pub fn held(&self) -> Option<f64> {
        match self {
            Answer::Edge { held, .. } => Some(*held),
            Answer::HoldsAtHigh { level } => Some(*level),
            Answer::FailsAtLow { .. } | Answer::Inconclusive { .. } => None,
        }
    }
}

/// A trial and its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The trial.
    pub trial: Trial,
    /// Its result.
    pub result: TrialResult,
}

impl Trial {
    /// A judge for its samples; `None` if it uses its whole budget.
    pub fn judge(&self, limits: &[Limit]) -> Option<Judge> {
        self.rule.map(|rule| Judge::new(limits, rule))
    }
}
