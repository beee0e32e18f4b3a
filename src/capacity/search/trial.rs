//! One trial and what came of it, and the answer that they add up to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capacity::judge::{Decision, Evidence, Judge, Limit, Rule};
use crate::record::reason::Reason;

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What it is for.
    pub kind: Kind,
    /// Requests a second, or clients.
    pub level: f64,
    /// How long it may take, in seconds.
    pub budget_s: f64,
    /// How long it takes at least, in seconds: so that what disturbed us may pass.
    pub least_s: f64,
    /// How it is decided; `None`: it is not, and takes its whole budget.
    pub rule: Option<Rule>,
    /// The level to go on with, and how many seconds, to see how long the Flow takes to recover.
    pub then: Option<(f64, f64)>,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To find two levels of which one holds.
    Bracket,
    /// To bring them closer together.
    Bisect,
    /// To be certain that a level holds.
    Confirm,
    /// A level once more, because it surprised.
    Retest,
    /// To be certain that a level fails.
    Above,
    /// To see what happens beyond.
    Overload,
    /// To wait until the Flow has worked off what was too much.
    CoolDown,
}

/// What came of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialResult {
    /// Whether the objective held; `Open` is undecided.
    pub decision: Option<Decision>,
    /// How much that says.
    pub evidence: Evidence,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long its requests took; `None` without any that came back.
    pub times: Option<Times>,
    /// Why it cannot be judged, where the fault is on our side: nothing of the rest counts then.
    pub invalid: Vec<Reason>,
    /// Whether requests were still without an answer when it was given up: the Flow has a backlog.
    pub backlog: bool,
    /// Whether it was ended from outside: nothing comes after it.
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
    /// Whether these are shorter than those of a trial before, by more than chance and by enough to
    /// matter.
    pub(crate) fn fell_from(self, before: Times) -> bool {
        let fell = before.mean_s - self.mean_s;
        fell > 3.0 * before.error_s.hypot(self.error_s) && fell > FELL_MIN * before.mean_s
    }
}

/// The least part by which times fall while a Flow warms up.
const FELL_MIN: f64 = 0.02;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It holds at `held`, with the confidence asked for, and fails at `fails`.
    Edge {
        /// The highest level that was confirmed.
        held: f64,
        /// The lowest level above it that fails for certain; `None`: none was found, as where trials
        /// above it could not be judged.
        fails: Option<f64>,
        /// The best estimate of where the edge is.
        estimate: f64,
    },
    /// It fails at the lowest level of the range already.
    FailsAtLow {
        /// That level.
        level: f64,
    },
    /// It holds at the highest level of the range still.
    HoldsAtHigh {
        /// That level.
        level: f64,
    },
    /// Trials cannot tell where it is; `held` is the highest level that seemed to hold.
    #[serde(rename = "unclear", alias = "inconclusive")]
    Inconclusive {
        /// `None`: not even the lowest level could be judged.
        held: Option<f64>,
        /// Why.
        reason: Reason,
    },
}

impl Answer {
    /// The highest level that is certain to hold, if there is one.
    pub fn held(&self) -> Option<f64> {
        match self {
            Answer::Edge { held, .. } => Some(*held),
            Answer::HoldsAtHigh { level } => Some(*level),
            Answer::FailsAtLow { .. } | Answer::Inconclusive { .. } => None,
        }
    }
}

/// A trial and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The trial.
    pub trial: Trial,
    /// What came of it.
    pub result: TrialResult,
}

impl Trial {
    /// A judge of its samples; `None` where it takes its whole budget.
    pub fn judge(&self, limits: &[Limit]) -> Option<Judge> {
        self.rule.map(|rule| Judge::new(limits, rule))
    }
}
