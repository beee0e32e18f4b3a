//! The two trials that must be certain: one that passes, and one above it that fails.

use super::{Answer, Kind, Phase, Search, TRIES_MAX};
use crate::capacity::judge::Decision;
use crate::capacity::number::number;
use crate::record::reason::{Code, Reason};

/// The two certain levels are far apart if their ratio exceeds this power of the requested ratio.
const MIDDLE_BEYOND: f64 = 1.2;

/// How many levels between them are tried in that case.
const MIDDLES_MAX: u32 = 2;

/// A level that the search tries to confirm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Attempt {
    pub(super) level: f64,
    /// Number of levels tried before this one.
    pub(super) tries: u32,
    /// Number of trials at this level that passed and failed.
    pub(super) passed: u32,
    pub(super) failed: u32,
}

impl Attempt {
    pub(super) fn first(level: f64) -> Attempt {
        Attempt { level, tries: 0, passed: 0, failed: 0 }
    }
}

impl Search {
    pub(super) fn confirmed(&mut self, attempt: Attempt, decision: Decision) {
        let Attempt { level, mut passed, mut failed, .. } = attempt;
        match decision {
            Decision::Pass => passed += 1,
            Decision::Fail => failed += 1,
            Decision::Open => (),
        }
        let again = Phase::Confirm(Attempt { passed, failed, ..attempt });
        // One failure may be noise, two are not; after one failure, a level must pass twice.
        match (decision, passed, failed) {
            (Decision::Pass, _, 0) | (Decision::Pass, 2, 1) => {
                if failed == 1 {
                    let text = format!("{} failed once and passed twice", self.say(level));
                    self.notes.push(Reason::of(Code::FailedOnce, level, text));
                }
                self.holds(level);
            }
            (Decision::Fail, 0, 1) if self.passed_before(level) => self.phase = again,
            (Decision::Pass, 1, 1) => self.phase = again,
            (decision, ..) => {
                if decision == Decision::Fail {
                    self.fails = Some(level);
                }
                let why = self.too_near(level);
                self.step_down(attempt, why);
            }
        }
    }

    /// A level is confirmed: now a higher one must fail.
    fn holds(&mut self, level: f64) {
        let settings = &self.settings;
        self.held = Some(level);
        self.phase = if level >= settings.high {
            Phase::Done(Answer::HoldsAtHigh { level })
        } else {
            let level = self.above_by(level, 1.0 + settings.precision);
            Phase::Above { level, tries: 0 }
        };
    }

    /// Tries a lower level, because this one could not be confirmed, for the reason `why`.
    pub(super) fn step_down(&mut self, Attempt { level, tries, .. }: Attempt, why: Reason) {
        let settings = &self.settings;
        let step = self.away(tries);
        let next =
            if settings.clients { (level / step).floor() } else { settings.tidy(level / step) };
        let next = next.max(settings.low);
        if level <= settings.low {
            self.phase = Phase::Done(match self.fails {
                Some(fails) if fails <= level => Answer::FailsAtLow { level },
                _ => Answer::Inconclusive { held: None, reason: why },
            });
        } else if tries + 1 >= TRIES_MAX {
            self.end(why);
        } else {
            self.phase = Phase::Confirm(Attempt { tries: tries + 1, ..Attempt::first(next) });
        }
    }

    pub(super) fn above(&mut self, level: f64, decision: Decision, tries: u32) {
        match decision {
            Decision::Fail => {
                self.fails = Some(level);
                self.beyond();
            }
            // The Flow sustains more than it seemed to.
            Decision::Pass => {
                self.held = Some(level);
                if level >= self.settings.high {
                    self.phase = Phase::Done(Answer::HoldsAtHigh { level });
                } else if tries + 1 >= TRIES_MAX {
                    self.beyond();
                } else {
                    // The mistaken failure above may be far away, so the steps get larger.
                    let by = (1.0 + self.settings.precision).powi(1 << tries.min(3));
                    let level = self.above_by(level, by);
                    self.phase = Phase::Above { level, tries: tries + 1 };
                }
            }
            Decision::Open if tries + 1 < TRIES_MAX && level < self.settings.high => {
                let level = self.above_by(level, self.away(tries));
                self.phase = Phase::Above { level, tries: tries + 1 };
            }
            Decision::Open => self.beyond(),
        }
    }

    /// A higher level could not be judged: tries the one that failed while looking for the edge, which is farther
    /// away and fails more clearly.
    pub(super) fn above_unjudged(&mut self, level: f64, tries: u32) {
        match self.boundary().1 {
            Some(hi) if hi > level && tries + 1 < TRIES_MAX => {
                self.phase = Phase::Above { level: hi, tries: tries + 1 };
            }
            _ => self.beyond(),
        }
    }

    /// The factor by which to move away from a level that is too close to the edge to decide; the steps get larger:
    /// an answer that is less precise but certain is better than none.
    fn away(&self, tries: u32) -> f64 {
        (1.0 + self.settings.precision).powf(0.5 * f64::from(1u32 << tries.min(4)))
    }

    /// A level that is higher by a factor, within the range.
    fn above_by(&self, level: f64, factor: f64) -> f64 {
        let next = self.settings.tidy(level * factor);
        let next = if self.settings.clients { next.max(level + 1.0) } else { next };
        next.min(self.settings.high)
    }

    /// The edge is known: narrows the gap between its two sides if they are far apart, and then tries overloads, if
    /// requested.
    pub(super) fn beyond(&mut self) {
        // An undecidable level between them has left them that far apart.
        if let Some((held, fails)) = self.far_apart()
            && self.middles < MIDDLES_MAX
            && let Some(level) = self.between(held, self.untold_above(held).unwrap_or(fails))
        {
            self.middles += 1;
            self.phase = Phase::Middle { level };
            return;
        }
        self.phase = match self.settings.overload {
            true => Phase::Overload { done: 0 },
            false => Phase::Done(self.edge()),
        };
    }

    /// The sustained level and the failing one, if they are further apart than requested.
    fn far_apart(&self) -> Option<(f64, f64)> {
        let (held, fails) = (self.held?, self.fails?);
        let adjacent = self.settings.clients && fails <= held + 1.0;
        let asked = held * (1.0 + self.settings.precision).powf(MIDDLE_BEYOND);
        (!adjacent && fails > asked).then_some((held, fails))
    }

    /// At the end, adds a note if the answer is less precise than requested.
    pub(super) fn say_how_far_apart(&mut self) {
        if let (Phase::Done(Answer::Edge { .. }), Some((held, fails))) =
            (&self.phase, self.far_apart())
        {
            let (apart, asked) = (fails / held - 1.0, self.settings.precision);
            let text = format!(
                "the sustained and the failing load are {} % apart instead of {} %: loads \
                 between them were inconclusive within the trial budget; use a longer `trial` to \
                 bring them closer",
                number(apart * 100.0),
                number(asked * 100.0)
            );
            self.notes.push(Reason::new(Code::EndsFarApart, apart, asked, text));
        }
    }

    /// The lowest level above this one that a certain trial could not decide.
    fn untold_above(&self, held: f64) -> Option<f64> {
        let open = self.tried.iter().filter(|tried| {
            matches!(tried.trial.kind, Kind::Confirm | Kind::Retest | Kind::Above)
                && tried.result.decision == Some(Decision::Open)
        });
        open.map(|tried| tried.trial.level).filter(|level| *level > held).reduce(f64::min)
    }

    pub(super) fn middle(&mut self, level: f64, decision: Decision) {
        match decision {
            Decision::Pass => self.held = Some(level),
            Decision::Fail => self.fails = Some(level),
            // It is as close to the edge as such trials can decide.
            Decision::Open => self.middles = MIDDLES_MAX,
        }
        self.beyond();
    }
}
