//! The search for the highest load that meets an objective: which trial comes next, what its result means, and what
//! is known about the edge.
//!
//! From a load that passes, the search doubles until one fails, then bisects the ratio between the two until it is
//! half the requested precision. These trials are decided early and may occasionally be wrong. The two at the end are
//! certain: a long one slightly below the edge, which has to pass, and one slightly above it, which has to fail; if
//! the result of one is unexpected, the search moves on. Levels are requests per second, or clients.
//!
//! A trial that is invalid because of the load generator is repeated after a pause. If that does not help, the search
//! continues with what can be judged: the answer then has a wider range, or no upper end.

mod certain;
mod isotonic;
mod settings;
mod trial;

use super::judge::{Decision, Rule};
use super::number::number;
use crate::record::reason::{self, Code, Reason};
use certain::Attempt;
pub use settings::Settings;
pub use trial::{Answer, Kind, Times, Trial, TrialResult, Tried};

/// The search: a state machine without a clock.
#[derive(Clone, Debug)]
pub struct Search {
    settings: Settings,
    tried: Vec<Tried>,
    phase: Phase,
    /// Number of cool-down trials to run before the next trial of the phase.
    cool_downs: u32,
    /// Minimum length of the next of them, in seconds.
    pause_s: f64,
    /// How often in a row a trial could not be judged.
    invalid: u32,
    /// How often the lowest level was tried again because the Flow was still getting faster.
    warming: u32,
    /// Levels that could not be judged despite repeated trials; bounded by the number of trials.
    unjudged: Vec<f64>,
    /// Certain answers so far.
    held: Option<f64>,
    fails: Option<f64>,
    /// Number of trials between the two when they were far apart.
    middles: u32,
    notes: Vec<Reason>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Looking for the edge at this level.
    Seek { level: f64, kind: Kind },
    /// Confirming that a level passes.
    Confirm(Attempt),
    /// Confirming that this level fails.
    Above { level: f64, tries: u32 },
    /// Narrowing the gap between the passing and the failing level with this one.
    Middle { level: f64 },
    /// This many of [`OVERLOADS`] are done.
    Overload { done: usize },
    /// The search is over.
    Done(Answer),
}

/// Overloads to try, relative to the sustained load.
pub(crate) const OVERLOADS: [f64; 3] = [1.2, 1.5, 2.0];

/// After the worst overload, the load drops to this share of the sustained load.
const RECOVER_AT: f64 = 0.5;

/// How long recovery is watched, in budgets: after half a budget of twice the load, a queue needs a whole one to
/// drain, and then it has to be observed to be calm.
const RECOVER_BUDGETS: f64 = 1.5;

/// Maximum number of trials of one search: far more than any search needs, so that every search ends.
const TRIALS_MAX: usize = 80;

/// Maximum number of levels tried for each of the two certain trials.
const TRIES_MAX: u32 = 6;

/// How often an invalid trial is repeated, after increasingly long pauses: a disturbance that lasts longer will not
/// go away.
const INVALID_MAX: u32 = 4;

/// The first of these pauses, in seconds; each is twice as long as the previous one.
const PAUSE_S: f64 = 2.0;

/// How often a Flow that is still getting faster is given more time at the lowest level.
const WARMING_MAX: u32 = 6;

/// Smallest share of its budget that a trial which looks for the edge gets.
const PATIENCE_MIN: f64 = 0.05;

/// Error probability of a trial that looks for the edge.
const SEEK_ALPHA: f64 = 0.05;

/// Fewest blocks for a trial to pass.
const BLOCKS_MIN: usize = 8;
const BLOCKS_CONFIRM: usize = 16;

impl Search {
    /// A new search without trials.
    pub fn new(settings: Settings) -> Search {
        let level = if settings.clients { settings.low.ceil() } else { settings.low };
        Search {
            settings,
            tried: Vec::new(),
            phase: Phase::Seek { level, kind: Kind::Bracket },
            cool_downs: 0,
            pause_s: 0.0,
            invalid: 0,
            warming: 0,
            unjudged: Vec::new(),
            held: None,
            fails: None,
            middles: 0,
            notes: Vec::new(),
        }
    }

    /// The settings of the search.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The trials so far, in order.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// Unexpected observations.
    pub fn notes(&self) -> &[Reason] {
        &self.notes
    }

    /// The next trial; `None` once there is an answer.
    pub fn next(&self) -> Option<Trial> {
        let settings = &self.settings;
        let budget_s = settings.trial_s;
        if self.cool_downs > 0 && !matches!(self.phase, Phase::Done(_)) {
            let least_s = self.pause_s;
            return Some(Trial {
                kind: Kind::CoolDown,
                level: settings.low,
                budget_s: budget_s.min(10.0).max(least_s),
                least_s,
                rule: None,
                then: None,
            });
        }
        let rule = |alpha, share, budget_s, blocks_min| Rule {
            alpha,
            settle_s: settings.settle_s(share, budget_s),
            patience_s: 0.0,
            blocks_min,
            may_give_up: true,
        };
        let certain = |kind: Kind, level: f64, tries: u32| {
            // Several levels may be tried until one is certain: together, they may be wrong as rarely as a single one
            // should be.
            let alpha = (1.0 - settings.confidence) / f64::from((tries + 1) * (tries + 2));
            let budget_s = settings.trial_at(level) * Settings::CONFIRM;
            let rule = rule(alpha, settings.precision / 2.0, budget_s, BLOCKS_CONFIRM);
            let rule = Rule { patience_s: settings.patience_s(level, budget_s), ..rule };
            Trial { kind, level, budget_s, least_s: 0.0, rule: Some(rule), then: None }
        };
        Some(match &self.phase {
            Phase::Seek { level, kind } => {
                let budget_s = self.patience_s(*level);
                let rule = rule(SEEK_ALPHA, self.distance(), budget_s, BLOCKS_MIN);
                Trial {
                    kind: *kind,
                    level: *level,
                    budget_s,
                    least_s: 0.0,
                    rule: Some(rule),
                    then: None,
                }
            }
            Phase::Confirm(attempt) => {
                let again = attempt.passed + attempt.failed > 0;
                let kind = if again { Kind::Retest } else { Kind::Confirm };
                certain(kind, attempt.level, attempt.tries)
            }
            Phase::Above { level, tries } => certain(Kind::Above, *level, *tries),
            Phase::Middle { level } => certain(Kind::Above, *level, self.middles),
            Phase::Overload { done } => {
                let factor = *OVERLOADS.get(*done)?;
                let held = self.held?;
                // With a closed load, a Flow has no backlog to recover from.
                let last = done + 1 == OVERLOADS.len() && !settings.clients;
                Trial {
                    kind: Kind::Overload,
                    level: settings.tidy(held * factor),
                    budget_s: settings.overload_s(),
                    least_s: 0.0,
                    rule: None,
                    then: last
                        .then(|| (settings.tidy(held * RECOVER_AT), budget_s * RECOVER_BUDGETS)),
                }
            }
            Phase::Done(_) => return None,
        })
    }

    /// Takes in the result of the trial that [`Search::next`] returned.
    pub fn learn(&mut self, result: TrialResult) {
        let Some(trial) = self.next() else { return };
        let (kind, level) = (trial.kind, trial.level);
        self.tried.push(Tried { trial, result: result.clone() });
        if result.interrupted {
            return self.end(Reason::plain(Code::Interrupted, "the search was interrupted"));
        }
        if self.tried.len() >= TRIALS_MAX {
            let text = format!("no clear boundary after {TRIALS_MAX} trials");
            return self.end(Reason::of(Code::TrialsUsedUp, TRIALS_MAX as f64, text));
        }
        if kind == Kind::CoolDown {
            // After several cool-downs the search continues: what is left then is not going away.
            self.cool_downs = if result.backlog { self.cool_downs - 1 } else { 0 };
            self.pause_s = 0.0;
            return;
        }
        if result.backlog {
            self.cool_downs = 3;
        }
        if !result.invalid.is_empty() && kind != Kind::Overload {
            return self.cannot_judge(level, &result.invalid);
        }
        self.invalid = 0;
        let decision = result.decision.unwrap_or(Decision::Open);
        match self.phase.clone() {
            Phase::Seek { .. } => {
                self.seek(level, kind);
            }
            Phase::Confirm(attempt) => self.confirmed(attempt, decision),
            Phase::Above { tries, .. } => self.above(level, decision, tries),
            Phase::Middle { level } => self.middle(level, decision),
            Phase::Overload { done } => {
                self.phase = Phase::Overload { done: done + 1 };
                if done + 1 == OVERLOADS.len() {
                    self.phase = Phase::Done(self.edge());
                }
            }
            Phase::Done(_) => (),
        }
        self.say_how_far_apart();
    }

    /// What is known about the edge so far.
    pub fn edge(&self) -> Answer {
        if let Phase::Done(answer) = &self.phase {
            return answer.clone();
        }
        match self.held {
            Some(held) => {
                let estimate = match self.fails {
                    Some(fails) => (held * fails).sqrt(),
                    None => held,
                };
                Answer::Edge { held, fails: self.fails, estimate }
            }
            None => {
                let reason = Reason::plain(Code::NotOver, "the search is not over");
                Answer::Inconclusive { held: self.boundary().0, reason }
            }
        }
    }

    fn end(&mut self, reason: Reason) {
        let answer = match self.edge() {
            Answer::Inconclusive { held, .. } => Answer::Inconclusive { held, reason },
            answer => {
                self.notes.push(reason);
                answer
            }
        };
        self.phase = Phase::Done(answer);
    }

    /// A fault on our side may be temporary. If it is not, the search continues without this level.
    fn cannot_judge(&mut self, level: f64, reasons: &[Reason]) {
        self.invalid += 1;
        if self.invalid < INVALID_MAX {
            self.cool_downs = self.cool_downs.max(1);
            self.pause_s = PAUSE_S * f64::from(1u32 << (self.invalid - 1));
            return;
        }
        self.invalid = 0;
        self.unjudged.push(level);
        let text = format!("no trial of {} was valid: {}", self.say(level), reason::join(reasons));
        let said = Reason::of(Code::LevelInvalid, level, text);
        match self.phase.clone() {
            Phase::Seek { .. } => match self.boundary().0.filter(|lo| *lo < level) {
                // The level that passes below is an answer, even if the levels above cannot be judged.
                Some(lo) => self.phase = Phase::Confirm(Attempt::first(lo)),
                None => return self.end(said),
            },
            Phase::Confirm(attempt) => self.step_down(attempt, said.clone()),
            Phase::Above { level, tries } => self.above_unjudged(level, tries),
            Phase::Middle { level } => self.middle(level, Decision::Open),
            Phase::Overload { .. } | Phase::Done(_) => (),
        }
        // An inconclusive answer already states this reason.
        if !matches!(self.phase, Phase::Done(Answer::Inconclusive { .. })) {
            self.notes.push(said);
        }
    }

    /// What to do after a trial that looked for the edge.
    fn seek(&mut self, level: f64, kind: Kind) {
        let (lo, hi) = self.boundary();
        if lo.is_none() && kind != Kind::Bracket && self.is_warming() {
            return self.warm_up(level);
        }
        if lo.is_some() && self.warming > 0 {
            self.notes.push(self.was_cold());
            self.warming = 0;
        }
        let settings = &self.settings;
        let new = |level| Phase::Confirm(Attempt::first(level));
        self.phase = match (lo, hi) {
            (None, _) if kind == Kind::Bracket => {
                // A first trial may fail for reasons unrelated to the load.
                Phase::Seek { level, kind: Kind::Retest }
            }
            (None, _) if self.failed_at(level) => Phase::Done(Answer::FailsAtLow { level }),
            (None, _) => {
                Phase::Done(Answer::Inconclusive { held: None, reason: self.too_near(level) })
            }
            (Some(lo), None) if lo >= settings.high => new(settings.high),
            (Some(lo), None) => {
                let level = settings.tidy(lo * 2.0).min(settings.high);
                Phase::Seek { level, kind: Kind::Bracket }
            }
            (Some(lo), Some(hi)) => match self.between(lo, hi) {
                Some(level) => Phase::Seek { level, kind: Kind::Bisect },
                None => new(self.below(lo, hi)),
            },
        };
    }

    /// Whether the last trial was faster than the previous one at the same load.
    fn is_warming(&self) -> bool {
        let mut tried = self.tried.iter().rev().filter(|tried| tried.trial.kind != Kind::CoolDown);
        let (Some(last), Some(before)) = (tried.next(), tried.next()) else { return false };
        let times = last.result.times.zip(before.result.times);
        last.trial.level == before.trial.level
            && times.is_some_and(|(last, before)| last.fell_from(before))
    }

    /// Keeps sending the lowest load for a while, and then tries it again.
    fn warm_up(&mut self, level: f64) {
        if self.warming == WARMING_MAX {
            let held = None;
            return self.phase =
                Phase::Done(Answer::Inconclusive { held, reason: self.was_cold() });
        }
        self.warming += 1;
        // Trials of a cold Flow say nothing about a warm one.
        for cold in &mut self.tried {
            if cold.result.invalid.is_empty() {
                cold.result.invalid.push(Reason::plain(Code::FlowCold, "the Flow was cold"));
            }
        }
        self.cool_downs = 1;
        self.pause_s = PAUSE_S * f64::from(1u32 << self.warming.min(4));
        self.phase = Phase::Seek { level, kind: Kind::Retest };
    }

    /// How response times fell while the lowest level was tried.
    fn was_cold(&self) -> Reason {
        let times = self.tried.iter().filter(|tried| tried.trial.kind != Kind::CoolDown);
        let mut means = times.filter_map(|tried| Some(tried.result.times?.mean_s * 1e3));
        let (first, last) = (means.next().unwrap_or(0.0), means.next_back().unwrap_or(0.0));
        let text = format!(
            "the Flow was cold: its mean response time at {} fell from {} to {} ms from trial to \
             trial; give the scenario a longer `warmup`",
            self.say(self.settings.low),
            number(first),
            number(last)
        );
        Reason::new(Code::FlowCold, last, first, text)
    }

    /// The level to try between two, if they are not close enough.
    fn between(&self, lo: f64, hi: f64) -> Option<f64> {
        let settings = &self.settings;
        let middle = settings.tidy((lo * hi).sqrt());
        let near = hi / lo <= 1.0 + settings.precision / 2.0;
        let new = middle > lo && middle < hi && !self.unjudged.contains(&middle);
        (!near && new).then_some(middle)
    }

    /// The level to confirm if the edge is between two: half the precision below its estimate, so that both certain
    /// trials are as far from it as possible.
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

    /// The relative distance of the levels between which the edge lies.
    fn distance(&self) -> f64 {
        match self.boundary() {
            (Some(lo), Some(hi)) => ((hi / lo - 1.0) / 2.0).max(self.settings.precision / 2.0),
            _ => 0.5,
        }
    }

    /// The budget of a trial that looks for the edge, in seconds. At half the distance a trial takes four times as
    /// long: one that is still undecided then is closer to the edge than such a trial has to decide.
    fn patience_s(&self, level: f64) -> f64 {
        let whole = self.settings.trial_at(level);
        let decided = self.tried.iter().filter(|tried| {
            let certain = tried.result.decision.is_some_and(|decision| decision != Decision::Open);
            certain && tried.result.invalid.is_empty()
        });
        match decided.map(|tried| tried.result.seconds).reduce(f64::max) {
            Some(longest) => (2.0 * longest).clamp(whole * PATIENCE_MIN, whole),
            None => whole,
        }
    }

    fn failed_at(&self, level: f64) -> bool {
        let failed = |tried: &Tried| {
            tried.trial.level == level && tried.result.decision == Some(Decision::Fail)
        };
        self.tried.iter().any(failed)
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

    fn too_near(&self, level: f64) -> Reason {
        let said = self.say(level);
        let text = format!("{said} is too close to the boundary to decide within the trial budget");
        Reason::of(Code::NearEdge, level, text)
    }

    fn say(&self, level: f64) -> String {
        if self.settings.clients { format!("{level} clients") } else { format!("{level}/s") }
    }
}
