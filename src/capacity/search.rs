//! The search for the highest load at which an objective holds: which trial comes next, what its
//! result means, and what is known of the edge.
//!
//! From a load that passes the search doubles until one fails, then halves the ratio between the two
//! until it is as small as half the precision asked for. These trials are decided early and may be
//! wrong now and then. Certain are the two at the end: a long one a little below the edge, which has
//! to pass, and one a little above it, which has to fail; where one of them surprises, the search
//! moves on. Levels are requests a second, or clients.

use super::isotonic;
use super::judge::{Decision, Evidence, Judge, Rule};

/// What to search for, and how well.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The lowest level to try, above 0.
    pub low: f64,
    /// The highest level to try.
    pub high: f64,
    /// Whether levels are numbers of clients: whole, and no queue builds up outside of the Flow.
    pub clients: bool,
    /// How far the level that holds and the one that fails may lie apart, as a share: 0.05.
    pub precision: f64,
    /// How sure the two trials at the end must be: 0.99.
    pub confidence: f64,
    /// The budget of a trial, in seconds. Those at the end have [`Settings::CONFIRM`] times as much.
    pub trial_s: f64,
    /// For each limit of the objective, the share of requests that may exceed it.
    pub allowed: Vec<f64>,
    /// The longest response time the objective allows, in seconds; 0 where it allows any.
    pub limit_s: f64,
    /// Whether to offer more than the Flow holds in the end, to see what it does then.
    pub overload: bool,
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What it is for.
    pub kind: Kind,
    /// Requests a second, or clients.
    pub level: f64,
    /// How long it may take, in seconds.
    pub budget_s: f64,
    /// How it is decided; `None`: it is not, and takes its whole budget.
    pub rule: Option<Rule>,
    /// The level to go on with, and how many seconds, to see how long the Flow takes to recover.
    pub then: Option<(f64, f64)>,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
    /// Why it cannot be judged, where the fault is on our side.
    pub invalid: Option<String>,
    /// Whether requests were still without an answer when it was given up: the Flow has a backlog.
    pub backlog: bool,
    /// Whether it was ended from outside: nothing comes after it.
    pub interrupted: bool,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It holds at `held`, with the confidence asked for, and fails at `fails`.
    Edge {
        /// The highest level that was confirmed.
        held: f64,
        /// The lowest level above it that fails for certain; `None`: none was found.
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
    Unclear {
        /// `None`: not even the lowest level could be judged.
        held: Option<f64>,
        /// Why.
        reason: String,
    },
}

impl Answer {
    /// The highest level that is certain to hold, if there is one.
    pub fn held(&self) -> Option<f64> {
        match self {
            Answer::Edge { held, .. } => Some(*held),
            Answer::HoldsAtHigh { level } => Some(*level),
            Answer::FailsAtLow { .. } | Answer::Unclear { .. } => None,
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

/// The search: a state machine without a clock.
#[derive(Clone, Debug)]
pub struct Search {
    settings: Settings,
    tried: Vec<Tried>,
    stage: Stage,
    /// A trial that comes before that of the stage.
    cool_downs: u32,
    /// How often in a row a trial could not be judged.
    invalid: u32,
    /// Certain answers so far.
    held: Option<f64>,
    fails: Option<f64>,
    /// Trials between the two when they were far apart.
    middles: u32,
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Looking for the edge at this level.
    Seek { level: f64, kind: Kind },
    /// Making certain that this level holds: tries so far at any level, votes at this one.
    Confirm { level: f64, tries: u32, passed: u32, failed: u32 },
    /// Making certain that this level fails.
    Above { level: f64, tries: u32 },
    /// So many of [`OVERLOADS`] are done.
    Overload { done: usize },
    /// Over.
    Done(Answer),
}

/// Loads beyond the edge that are tried, in terms of what holds.
pub const OVERLOADS: [f64; 3] = [1.2, 1.5, 2.0];

/// After the worst overload the load goes down to this share of what holds.
const RECOVER_AT: f64 = 0.5;

/// Trials of one search: far more than any needs, so that one that cannot find an end has one.
const TRIALS_MAX: usize = 80;

/// Levels at which the two certain trials may be tried before the search takes what it has.
const TRIES_MAX: u32 = 6;

/// The chance of an error of a trial that looks for the edge.
const SEEK_ALPHA: f64 = 0.05;

/// Blocks that a trial needs to pass.
const BLOCKS_MIN: usize = 8;
const BLOCKS_CONFIRM: usize = 16;

impl Settings {
    /// How much longer than others the certain trials may take.
    pub const CONFIRM: f64 = 3.0;

    /// The time that the lowest level needs so that a trial can pass at all, in seconds, when no
    /// request exceeds a limit.
    pub fn seconds_needed(&self) -> f64 {
        let strictest = self.allowed.iter().copied().filter(|allowed| *allowed > 0.0);
        let allowed = strictest.fold(1.0, f64::min);
        if allowed >= 1.0 {
            return 0.0;
        }
        // The certain trials need more, and have more than in proportion.
        let seek = Judge::requests_needed(allowed, SEEK_ALPHA) / self.low;
        let settle = self.settle_s(1.0, f64::INFINITY);
        seek + settle
    }

    /// How long a queue needs until an overload by `share` has grown to the limit, so that a load
    /// above the edge does not pass before it shows.
    fn settle_s(&self, share: f64, budget_s: f64) -> f64 {
        let settle = match self.clients {
            // Clients wait for their answers: the queue is full after as long as it takes.
            true => 3.0 * self.limit_s,
            false => self.limit_s / share,
        };
        settle.min(0.4 * budget_s)
    }

    /// A level as one would say it.
    fn tidy(&self, level: f64) -> f64 {
        if self.clients {
            return level.round().max(1.0);
        }
        let digits = 10f64.powf(3.0 - level.log10().floor());
        (level * digits).round() / digits
    }
}

impl Search {
    /// A search that has tried nothing.
    pub fn new(settings: Settings) -> Search {
        let level = if settings.clients { settings.low.ceil() } else { settings.low };
        Search {
            settings,
            tried: Vec::new(),
            stage: Stage::Seek { level, kind: Kind::Bracket },
            cool_downs: 0,
            invalid: 0,
            held: None,
            fails: None,
            middles: 0,
            notes: Vec::new(),
        }
    }

    /// What it was asked for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The trials so far, in their order.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// What was surprising, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The next trial; `None` when the answer is there.
    pub fn next(&self) -> Option<Trial> {
        let settings = &self.settings;
        let budget_s = settings.trial_s;
        if self.cool_downs > 0 && !matches!(self.stage, Stage::Done(_)) {
            let budget_s = budget_s.min(10.0);
            let level = settings.low;
            return Some(Trial { kind: Kind::CoolDown, level, budget_s, rule: None, then: None });
        }
        let rule = |alpha, share, budget_s, blocks_min| Rule {
            alpha,
            settle_s: settings.settle_s(share, budget_s),
            blocks_min,
            may_give_up: true,
        };
        let long = budget_s * Settings::CONFIRM;
        // Several levels may be tried until one is certain: together they may be wrong as rarely as
        // one should be.
        let alpha = |tries: u32| (1.0 - settings.confidence) / f64::from((tries + 1) * (tries + 2));
        Some(match &self.stage {
            Stage::Seek { level, kind } => Trial {
                kind: *kind,
                level: *level,
                budget_s,
                rule: Some(rule(SEEK_ALPHA, self.distance(), budget_s, BLOCKS_MIN)),
                then: None,
            },
            Stage::Confirm { level, tries, passed, failed } => Trial {
                kind: if passed + failed > 0 { Kind::Retest } else { Kind::Confirm },
                level: *level,
                budget_s: long,
                rule: Some(rule(alpha(*tries), settings.precision / 2.0, long, BLOCKS_CONFIRM)),
                then: None,
            },
            Stage::Above { level, tries } => Trial {
                kind: Kind::Above,
                level: *level,
                budget_s: long,
                rule: Some(rule(alpha(*tries), settings.precision / 2.0, long, BLOCKS_CONFIRM)),
                then: None,
            },
            Stage::Overload { done } => {
                let factor = *OVERLOADS.get(*done)?;
                let held = self.held?;
                // A Flow with many clients too many has no backlog to recover from.
                let last = done + 1 == OVERLOADS.len() && !settings.clients;
                Trial {
                    kind: Kind::Overload,
                    level: settings.tidy(held * factor),
                    budget_s: (budget_s / 2.0).max(2.0),
                    rule: None,
                    then: last.then(|| (settings.tidy(held * RECOVER_AT), budget_s)),
                }
            }
            Stage::Done(_) => return None,
        })
    }

    /// Takes in what came of the trial that [`Search::next`] gave.
    pub fn learn(&mut self, result: TrialResult) {
        let Some(trial) = self.next() else { return };
        let (kind, level) = (trial.kind, trial.level);
        self.tried.push(Tried { trial, result: result.clone() });
        if result.interrupted {
            return self.end("the search was interrupted".into());
        }
        if self.tried.len() >= TRIALS_MAX {
            return self.end(format!("no clear edge after {TRIALS_MAX} trials"));
        }
        if kind == Kind::CoolDown {
            // After some of them the search goes on: what is left then is not going away.
            self.cool_downs = if result.backlog { self.cool_downs - 1 } else { 0 };
            return;
        }
        if result.backlog {
            self.cool_downs = 3;
        }
        if let (Some(reason), true) = (&result.invalid, kind != Kind::Overload) {
            return self.cannot_judge(level, kind, reason);
        }
        self.invalid = 0;
        let decision = result.decision.unwrap_or(Decision::Open);
        match self.stage.clone() {
            Stage::Seek { .. } => {
                self.seek(level, kind);
            }
            Stage::Confirm { tries, passed, failed, .. } => {
                self.confirmed(level, decision, tries, passed, failed);
            }
            Stage::Above { tries, .. } => self.above(level, decision, tries),
            Stage::Overload { done } => {
                self.stage = Stage::Overload { done: done + 1 };
                if done + 1 == OVERLOADS.len() {
                    self.stage = Stage::Done(self.edge());
                }
            }
            Stage::Done(_) => (),
        }
    }

    /// What is known of the edge by now.
    pub fn edge(&self) -> Answer {
        if let Stage::Done(answer) = &self.stage {
            return answer.clone();
        }
        let (lo, hi) = self.boundary();
        match self.held {
            Some(held) => {
                let estimate = match self.fails {
                    Some(fails) => (held * fails).sqrt(),
                    None => held,
                };
                Answer::Edge { held, fails: self.fails, estimate }
            }
            None if lo.is_none() && hi == Some(self.settings.low) => {
                Answer::FailsAtLow { level: self.settings.low }
            }
            None => Answer::Unclear { held: lo, reason: "the search is not over".into() },
        }
    }

    fn end(&mut self, reason: String) {
        let answer = match self.edge() {
            Answer::Unclear { held, .. } => Answer::Unclear { held, reason },
            answer => {
                self.notes.push(reason);
                answer
            }
        };
        self.stage = Stage::Done(answer);
    }

    /// A fault of our own may pass; if it does not, there is no going on above this level.
    fn cannot_judge(&mut self, level: f64, kind: Kind, reason: &str) {
        self.invalid += 1;
        if self.invalid < 2 {
            return;
        }
        self.invalid = 0;
        let below = self.boundary().0.filter(|lo| *lo < level);
        self.notes.push(format!("{} could not be judged: {reason}", self.say(level)));
        match below {
            // What can be judged is the end of the range now.
            Some(lo) if matches!(kind, Kind::Bracket | Kind::Bisect) => {
                self.settings.high = lo;
                self.stage = Stage::Confirm { level: lo, tries: 0, passed: 0, failed: 0 };
            }
            _ => self.end(reason.to_owned()),
        }
    }

    /// What to do after a trial that looked for the edge.
    fn seek(&mut self, level: f64, kind: Kind) {
        let settings = &self.settings;
        let (lo, hi) = self.boundary();
        let new = |level| Stage::Confirm { level, tries: 0, passed: 0, failed: 0 };
        self.stage = match (lo, hi) {
            (None, _) if kind == Kind::Bracket => {
                // A first trial may fail for reasons that have nothing to do with the load.
                Stage::Seek { level, kind: Kind::Retest }
            }
            (None, _) => Stage::Done(Answer::FailsAtLow { level }),
            (Some(lo), None) if lo >= settings.high => new(settings.high),
            (Some(lo), None) => {
                let level = settings.tidy(lo * 2.0).min(settings.high);
                Stage::Seek { level, kind: Kind::Bracket }
            }
            (Some(lo), Some(hi)) => match self.between(lo, hi) {
                Some(level) => Stage::Seek { level, kind: Kind::Bisect },
                None => new(self.below(lo, hi)),
            },
        };
    }

    /// The level to try between two, if they are not near enough.
    fn between(&self, lo: f64, hi: f64) -> Option<f64> {
        let settings = &self.settings;
        let middle = settings.tidy((lo * hi).sqrt());
        let near = hi / lo <= 1.0 + settings.precision / 2.0;
        (!near && middle > lo && middle < hi).then_some(middle)
    }

    /// The level to confirm when the edge is between two: half the precision below where it probably
    /// is, so that both certain trials are as far from it as they can be.
    fn below(&self, lo: f64, hi: f64) -> f64 {
        let settings = &self.settings;
        if settings.clients {
            return lo;
        }
        let edge = match isotonic::boundary(&self.tried) {
            (Some(lo), Some(hi)) => isotonic::crossing(lo, hi),
            _ => (lo * hi).sqrt(),
        };
        let level = edge / (1.0 + settings.precision).sqrt();
        settings.tidy(level).max(settings.low)
    }

    fn confirmed(&mut self, level: f64, decision: Decision, tries: u32, passed: u32, failed: u32) {
        let (passed, failed) = match decision {
            Decision::Pass => (passed + 1, failed),
            Decision::Fail => (passed, failed + 1),
            Decision::Open => (passed, failed),
        };
        // One failure may be noise; two are not, and after one it takes two to hold.
        match (decision, passed, failed) {
            (Decision::Pass, _, 0) | (Decision::Pass, 2, 1) => {
                if failed == 1 {
                    let say = self.say(level);
                    self.notes.push(format!("{say} failed once and passed twice"));
                }
                self.held = Some(level);
                let above = self.settings.tidy(level * (1.0 + self.settings.precision));
                let above = if self.settings.clients { above.max(level + 1.0) } else { above };
                if level >= self.settings.high {
                    self.stage = Stage::Done(Answer::HoldsAtHigh { level });
                } else {
                    let level = above.min(self.settings.high);
                    self.stage = Stage::Above { level, tries: 0 };
                }
            }
            (Decision::Fail, 0, 1) if self.passed_before(level) => {
                self.stage = Stage::Confirm { level, tries, passed, failed };
            }
            (Decision::Pass, 1, 1) => {
                self.stage = Stage::Confirm { level, tries, passed, failed };
            }
            (decision, ..) => {
                if decision == Decision::Fail {
                    self.fails = Some(level);
                }
                self.step_down(level, tries);
            }
        }
    }

    fn step_down(&mut self, level: f64, tries: u32) {
        let settings = &self.settings;
        // What is too near to the edge to tell is left in ever larger steps: a lower answer that is
        // certain is worth more than none.
        let step = (1.0 + settings.precision).powf(0.5 * f64::from(1u32 << tries.min(4)));
        let next =
            if settings.clients { (level / step).floor() } else { settings.tidy(level / step) };
        let next = next.max(settings.low);
        if level <= settings.low {
            self.stage = Stage::Done(match self.fails {
                Some(fails) if fails <= level => Answer::FailsAtLow { level },
                _ => Answer::Unclear {
                    held: None,
                    reason: format!("{} is too near to the edge to tell", self.say(level)),
                },
            });
        } else if tries + 1 >= TRIES_MAX {
            self.end(format!("{} is too near to the edge to tell", self.say(level)));
        } else {
            self.stage = Stage::Confirm { level: next, tries: tries + 1, passed: 0, failed: 0 };
        }
    }

    fn above(&mut self, level: f64, decision: Decision, tries: u32) {
        let settings = &self.settings;
        let grow = |by: f64| {
            let next = settings.tidy(level * by);
            if settings.clients { next.max(level + 1.0) } else { next }
        };
        match decision {
            Decision::Fail => {
                self.fails = Some(level);
                self.beyond();
            }
            // The Flow holds more than it seemed to.
            Decision::Pass => {
                self.held = Some(level);
                if level >= settings.high {
                    self.stage = Stage::Done(Answer::HoldsAtHigh { level });
                } else if tries + 1 >= TRIES_MAX {
                    self.beyond();
                } else {
                    // What failed above by mistake may be far away: go in ever larger steps.
                    let by = (1.0 + settings.precision).powi(1 << tries.min(3));
                    let level = grow(by).min(settings.high);
                    self.stage = Stage::Above { level, tries: tries + 1 };
                }
            }
            Decision::Open if tries + 1 < TRIES_MAX && level < settings.high => {
                let level = grow((1.0 + settings.precision).sqrt()).min(settings.high);
                self.stage = Stage::Above { level, tries: tries + 1 };
            }
            Decision::Open => self.beyond(),
        }
    }

    /// The edge is known: sees what lies beyond it, where that is asked for.
    fn beyond(&mut self) {
        // Steps upwards may have left the two far apart.
        if let (Some(held), Some(fails)) = (self.held, self.fails)
            && fails > held * (1.0 + self.settings.precision).powi(2)
            && self.middles < 2
            && let Some(middle) = self.between(held, fails)
        {
            self.middles += 1;
            // The last try: whatever comes of it, this is the place.
            self.stage = Stage::Above { level: middle, tries: TRIES_MAX - 1 };
            return;
        }
        self.stage = match self.settings.overload {
            true => Stage::Overload { done: 0 },
            false => Stage::Done(self.edge()),
        };
    }

    /// The relative distance of the levels between which the edge lies.
    fn distance(&self) -> f64 {
        match self.boundary() {
            (Some(lo), Some(hi)) => ((hi / lo - 1.0) / 2.0).max(self.settings.precision / 2.0),
            _ => 0.5,
        }
    }

    fn passed_before(&self, level: f64) -> bool {
        let passed = |tried: &&Tried| {
            tried.trial.level >= level && tried.result.decision == Some(Decision::Pass)
        };
        self.tried.iter().any(|tried| passed(&tried))
    }

    fn boundary(&self) -> (Option<f64>, Option<f64>) {
        let (lo, hi) = isotonic::boundary(&self.tried);
        (lo.map(|point| point.level), hi.map(|point| point.level))
    }

    fn say(&self, level: f64) -> String {
        if self.settings.clients { format!("{level} clients") } else { format!("{level}/s") }
    }
}

impl Trial {
    /// A judge of its samples; `None` where it takes its whole budget.
    pub fn judge(&self, allowed: &[f64]) -> Option<Judge> {
        self.rule.map(|rule| Judge::new(allowed, rule))
    }
}
