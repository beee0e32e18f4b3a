//! What to search for, and with what precision.

use crate::capacity::judge::{Judge, Limit};

/// What to search for, and with what precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The lowest level to try, above 0.
    pub low: f64,
    /// The highest level to try.
    pub high: f64,
    /// Whether levels are numbers of clients: whole numbers, and no queue builds up outside the Flow.
    pub clients: bool,
    /// Maximum distance between the level that passes and the one that fails, as a share: 0.05.
    pub precision: f64,
    /// Confidence that the two trials at the end must have: 0.99.
    pub confidence: f64,
    /// The budget of a trial, in seconds. Those at the end have `Settings::CONFIRM` times as much.
    pub trial_s: f64,
    /// The limits of the objective.
    pub limits: Vec<Limit>,
    /// Whether to finally send more than the Flow sustains, to see how it behaves.
    pub overload: bool,
}

impl Settings {
    /// How much longer than others the certain trials may take, as a factor.
    pub(crate) const CONFIRM: f64 = 3.0;

    /// The time that the lowest level needs for a trial to be able to pass, in seconds, if no request exceeds a
    /// limit.
    pub fn seconds_needed(&self) -> f64 {
        self.seconds_needed_at(self.low)
    }

    fn seconds_needed_at(&self, level: f64) -> f64 {
        let Some(Limit { allowed, .. }) = self.strictest().map(|index| self.limits[index]) else {
            return 0.0;
        };
        // The certain trials need more, and get more than proportionally.
        let seek = Judge::requests_needed(allowed, super::SEEK_ALPHA) / level;
        let settle = self.settle_s(1.0, f64::INFINITY);
        seek + settle
    }

    /// The budget of a trial at a level, in seconds: under a low load it may have to be slightly longer than
    /// requested, to get enough requests.
    pub(crate) fn trial_at(&self, level: f64) -> f64 {
        // How many requests clients make is known only once they run.
        if self.clients { self.trial_s } else { self.trial_s.max(self.seconds_needed_at(level)) }
    }

    /// How much longer a trial may be than requested, as a factor.
    pub(crate) const STRETCH_MAX: f64 = 1.5;

    /// How many trials look for the edge, and how long the search takes if none ends early, in seconds: if the edge
    /// is near the upper end and nothing has to be repeated.
    pub(crate) fn outlook(&self) -> (u32, f64) {
        let halvings = |ratio: f64| ratio.max(1.0).log2().ceil();
        let doublings = halvings(self.high / self.low) + 1.0;
        let bisections = match self.clients {
            true => halvings(self.high / 2.0),
            false => halvings(2f64.ln() / (1.0 + self.precision / 2.0).ln()),
        };
        let seek = doublings + bisections;
        let certain = 2.0 * Settings::CONFIRM;
        let overload_s = match self.overload {
            true => {
                let recovery_s =
                    if self.clients { 0.0 } else { self.trial_s * super::RECOVER_BUDGETS };
                super::OVERLOADS.len() as f64 * self.overload_s() + recovery_s
            }
            false => 0.0,
        };
        (seek as u32, (seek + certain) * self.trial_s + overload_s)
    }

    /// How long an overload lasts, in seconds.
    pub(super) fn overload_s(&self) -> f64 {
        (self.trial_s / 2.0).max(2.0)
    }

    /// The limit that allows the smallest non-zero share of requests over it.
    pub(crate) fn strictest(&self) -> Option<usize> {
        let some = (0..self.limits.len()).filter(|index| self.limits[*index].allowed > 0.0);
        some.min_by(|a, b| self.limits[*a].allowed.total_cmp(&self.limits[*b].allowed))
    }

    /// How long a queue needs until an overload by `share` has grown to the limit, so that a load
    /// above the edge does not pass before it shows.
    pub(super) fn settle_s(&self, share: f64, budget_s: f64) -> f64 {
        let longest = self.limits.iter().filter_map(|limit| limit.time()).max();
        let limit_s = longest.map_or(0.0, |time| time.as_secs_f64());
        let settle = match self.clients {
            // Clients wait for their responses: the queue is full after one response time.
            true => 3.0 * limit_s,
            false => limit_s / share,
        };
        settle.min(0.4 * budget_s)
    }

    /// How long a certain trial takes at least before it may pass if it may be near saturation, in seconds: a
    /// multiple of its queue's memory, but at most most of its budget.
    ///
    /// A queue in heavy traffic whose share of times beyond a limit `L` is `p` has a spare rate of
    /// `−ln p / L`, and forgets in four times its rate over the square of that (its relaxation time;
    /// J. W. Cohen, "The Single Server Queue", 1982).
    pub(super) fn patience_s(&self, level: f64, budget_s: f64) -> f64 {
        const MEMORIES: f64 = 20.0;
        const BUDGET: f64 = 2.0 / 3.0;
        if self.clients {
            return 0.0;
        }
        let forgets_s = |limit: &Limit| {
            let spare = -limit.allowed.ln() / limit.time()?.as_secs_f64().max(f64::MIN_POSITIVE);
            Some(4.0 * level / (spare * spare))
        };
        let longest = self.limits.iter().filter_map(forgets_s).fold(0.0, f64::max);
        (MEMORIES * longest).min(BUDGET * budget_s)
    }

    /// A level rounded to four significant digits, or to a whole number of clients.
    pub(super) fn tidy(&self, level: f64) -> f64 {
        if self.clients {
            return level.round().max(1.0);
        }
        let digits = 10f64.powf(3.0 - level.log10().floor());
        (level * digits).round() / digits
    }
}
