//! What to search for, and how well.

use crate::capacity::judge::Judge;

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
        let seek = Judge::requests_needed(allowed, super::SEEK_ALPHA) / self.low;
        let settle = self.settle_s(1.0, f64::INFINITY);
        seek + settle
    }

    /// How long a queue needs until an overload by `share` has grown to the limit, so that a load
    /// above the edge does not pass before it shows.
    pub(super) fn settle_s(&self, share: f64, budget_s: f64) -> f64 {
        let settle = match self.clients {
            // Clients wait for their answers: the queue is full after as long as it takes.
            true => 3.0 * self.limit_s,
            false => self.limit_s / share,
        };
        settle.min(0.4 * budget_s)
    }

    /// A level as one would say it.
    pub(super) fn tidy(&self, level: f64) -> f64 {
        if self.clients {
            return level.round().max(1.0);
        }
        let digits = 10f64.powf(3.0 - level.log10().floor());
        (level * digits).round() / digits
    }
}
