//! The difference between two sides, with an interval at any confidence level.
//!
//! The unit is the run. From six runs per side on, the interval is that of the Mann–Whitney test.
//! It only uses ranks, so it is exact for any distribution of a run's figures, outliers included,
//! and its centre is the Hodges–Lehmann estimate. Fewer runs say little about how much runs vary,
//! and Student's t gets wider for it. Two runs per side say almost nothing, so a prior is added.
//! `benches/gates/main.rs` prints how often each of these is right.

use crate::stats::{mean, median, rank_sum_chances, squares, t_beyond};

/// From this many runs per side on, only ranks are used.
pub(super) const RANKED_MIN: usize = 6;

/// With fewer degrees of freedom than three runs per side have, a prior supplements the observed
/// variation between runs. With more, the runs decide alone: a prior that is too wide would hide
/// what they can detect, and one that is too narrow would give false alarms on a noisy machine.
const ALONE_MIN: f64 = 4.0;

/// Share of alpha left to the rank test after a trend line was removed: detrended values are
/// slightly more alike than the true ones, as with every fitted line.
const STRAIGHTENED: f64 = 0.75;

/// Above this many pairs of runs, the rank distribution is close enough to normal, and slow to
/// count.
const RANKED_EXACT: usize = 900;

/// The values of one metric over the runs of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    /// One value per run: a logarithm, or a share for error rates.
    pub(super) values: Vec<f64>,
    /// Variance of each value that comes from within the run.
    pub(super) within: Vec<f64>,
    /// Start of each run, in seconds.
    pub(super) started: Vec<f64>,
}

/// Whether this many runs per side show the variation between runs without a prior.
pub(super) fn say_it_alone(base: usize, candidate: usize) -> bool {
    (base + candidate) as f64 - 2.0 >= ALONE_MIN
}

/// Prior knowledge about the variation of a metric between identical runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Prior {
    /// Assumed standard deviation between runs, in addition to that within runs. Not used if there
    /// are enough runs to show it.
    Assumed(f64),
    /// Measured standard deviation of whole runs, with its degrees of freedom.
    Measured(f64, f64),
}

/// Degrees of freedom of an assumed prior: few enough to be outweighed soon, and enough that the
/// few runs it is meant for do not need a t of forty.
const ASSUMED_FREEDOM: f64 = 3.0;

/// The difference candidate − base.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    /// Point estimate.
    pub(super) estimate: f64,
    /// Standard error.
    error: f64,
    method: Method,
    /// Share of alpha that [`Method`] may use.
    share: f64,
    /// Resolution: added to the interval on both sides.
    resolution: f64,
    /// Failures and totals of both sides, if the metric is a share of failures.
    counts: Option<[(f64, f64); 2]>,
}

#[derive(Clone, Debug)]
enum Method {
    /// All differences between a run of one side and a run of the other, in ascending order, and
    /// the probability of at most that many wins.
    Ranks { differences: Vec<f64>, chances: Vec<f64> },
    /// The same with a normal approximation of the number of wins: its mean and standard deviation.
    ManyRanks { differences: Vec<f64>, mean: f64, deviation: f64 },
    /// Student's t with this many degrees of freedom.
    Student { freedom: f64 },
}

impl Effect {
    /// Compares two sides, each with at least one run. `strictest` is the smallest alpha that will
    /// be requested: with few runs, a rank test can never reach it.
    pub(super) fn new(
        base: &Level,
        candidate: &Level,
        prior: Prior,
        resolution: f64,
        strictest: f64,
    ) -> Effect {
        let straightened = without_common_drift(base, candidate);
        let lines = if straightened.is_some() { 1.0 } else { 0.0 };
        let (base, candidate) = match &straightened {
            Some((base, candidate)) => (base, candidate),
            None => (base, candidate),
        };
        let (n, m) = (base.values.len(), candidate.values.len());
        let (error, freedom) = spread(base, candidate, prior, lines);
        let share = if straightened.is_some() { STRAIGHTENED } else { 1.0 };
        let exact = n * m <= RANKED_EXACT;
        let chances = if exact { rank_sum_chances(n, m) } else { Vec::new() };
        let too_few =
            n.min(m) < RANKED_MIN || chances.first().is_some_and(|best| *best > strictest * share);
        if too_few {
            let estimate = mean(&candidate.values) - mean(&base.values);
            let method = Method::Student { freedom };
            return Effect { estimate, error, method, share: 1.0, resolution, counts: None };
        }
        let mut differences: Vec<f64> =
            candidate.values.iter().flat_map(|c| base.values.iter().map(move |b| c - b)).collect();
        differences.sort_by(f64::total_cmp);
        let estimate = median(&differences);
        let method = if exact {
            Method::Ranks { differences, chances }
        } else {
            let pairs = (n * m) as f64;
            let deviation = (pairs * (n + m + 1) as f64 / 12.0).sqrt();
            Method::ManyRanks { differences, mean: pairs / 2.0, deviation }
        };
        Effect { estimate, error, method, share, resolution, counts: None }
    }

    /// The same for shares of failures. No interval is narrower than counting statistics allow, so
    /// zero failures in a hundred requests do not count as a rate of zero. Takes failures and
    /// totals.
    pub(super) fn with_counts(self, base: (f64, f64), candidate: (f64, f64)) -> Effect {
        Effect { counts: Some([base, candidate]), ..self }
    }

    /// The interval that misses the true value with probability `alpha` at most on each side.
    pub(super) fn bounds(&self, alpha: f64) -> (f64, f64) {
        let share = alpha * self.share;
        let (low, high) = match &self.method {
            Method::Student { freedom } => {
                let half = t_beyond(share, *freedom) * self.error;
                (self.estimate - half, self.estimate + half)
            }
            Method::Ranks { differences, chances } => {
                ends(differences, chances.iter().take_while(|chance| **chance <= share).count())
            }
            Method::ManyRanks { differences, mean, deviation } => {
                let rank = mean - 0.5 - t_beyond(share, 1e6) * deviation;
                ends(differences, rank.max(0.0) as usize)
            }
        };
        let (low, high) = (low - self.resolution, high + self.resolution);
        let Some([base, candidate]) = self.counts else { return (low, high) };
        let counted = newcombe(base, candidate, t_beyond(alpha, 1e6));
        (low.min(counted.0), high.max(counted.1))
    }

    /// Half of the interval if the variation between runs were known. More runs shrink it with the
    /// square root of their number.
    pub(super) fn half(&self, alpha: f64) -> f64 {
        if let (Method::Student { .. }, None) = (&self.method, self.counts) {
            return t_beyond(alpha, 1e6) * self.error + self.resolution;
        }
        let (low, high) = self.bounds(alpha);
        (high - low) / 2.0
    }

    /// The smallest alpha at which the interval lies completely above `limit`; 1 if there is none.
    pub(super) fn chance_above(&self, limit: f64) -> f64 {
        smallest(|alpha| self.bounds(alpha).0 > limit)
    }

    /// The same for below.
    pub(super) fn chance_below(&self, limit: f64) -> f64 {
        smallest(|alpha| self.bounds(alpha).1 < limit)
    }
}

/// The differences that remain after excluding this many wins at each end; infinite if no wins are
/// excluded.
fn ends(differences: &[f64], wins: usize) -> (f64, f64) {
    let wins = wins.min(differences.len().div_ceil(2));
    match wins.checked_sub(1) {
        None => (f64::NEG_INFINITY, f64::INFINITY),
        Some(index) => (differences[index], differences[differences.len() - 1 - index]),
    }
}

/// The smallest alpha for which `decided` is true; it is then true for larger ones too.
fn smallest(decided: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high): (f64, f64) = (1e-9, 0.5);
    if !decided(high) {
        return 1.0;
    }
    while high / low > 1.001 {
        let middle = (low * high).sqrt();
        if decided(middle) { high = middle } else { low = middle }
    }
    high
}

/// Standard error of the difference of means, and its degrees of freedom. Each of the `lines` that
/// were fitted costs one.
fn spread(base: &Level, candidate: &Level, prior: Prior, lines: f64) -> (f64, f64) {
    let sides = [base, candidate];
    let observed_freedom = (base.values.len() + candidate.values.len()) as f64 - 2.0 - lines;
    let squares: f64 = sides.iter().map(|side| squares(&side.values)).sum();
    let within = sides.map(|side| mean(&side.within));
    let (variance, weight) = match prior {
        Prior::Assumed(_) if observed_freedom >= ALONE_MIN => (0.0, 0.0),
        Prior::Assumed(between) => {
            (between * between + f64::midpoint(within[0], within[1]), ASSUMED_FREEDOM)
        }
        Prior::Measured(deviation, freedom) => (deviation * deviation, freedom),
    };
    let freedom = weight + observed_freedom;
    let pooled = (weight * variance + squares) / freedom;
    // Runs cannot be more alike than their own noise allows, even if a few of them happen to be.
    let error = sides
        .iter()
        .zip(within)
        .map(|(side, within)| pooled.max(within) / side.values.len() as f64)
        .sum::<f64>()
        .sqrt();
    (error, freedom)
}

/// If the runs of both sides are interleaved, removes the linear trend in time that is common to
/// both: a machine that warms up or a neighbour that goes away is not a difference between them.
/// The slope is the median of the slopes between any two runs of the same side (Theil–Sen), so
/// single runs do not affect it. `None` if there is nothing to remove.
fn without_common_drift(base: &Level, candidate: &Level) -> Option<(Level, Level)> {
    if !take_turns(&base.started, &candidate.started) {
        return None;
    }
    let mut slopes: Vec<f64> = [base, candidate]
        .into_iter()
        .flat_map(|side| {
            let runs = side.started.iter().zip(&side.values);
            runs.clone().enumerate().flat_map(move |(i, (at, value))| {
                let later = runs.clone().skip(i + 1);
                later.map(move |(later, other)| (other - value) / (later - at))
            })
        })
        .filter(|slope| slope.is_finite())
        .collect();
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let slope = median(&slopes);
    let first = base.started.iter().chain(&candidate.started).copied().fold(f64::MAX, f64::min);
    let straighten = |side: &Level| {
        let values = side.values.iter().zip(&side.started);
        let values = values.map(|(value, at)| value - slope * (at - first)).collect();
        Level { values, ..side.clone() }
    };
    Some((straighten(base), straighten(candidate)))
}

/// Whether runs come in pairs, one per side, and are numerous enough to detect a drift.
fn take_turns(base: &[f64], candidate: &[f64]) -> bool {
    const RUNS_MIN: usize = 5;
    if base.len() != candidate.len() || base.len() < RUNS_MIN {
        return false;
    }
    let side = |side: bool| move |at: &f64| (*at, side);
    let mut runs: Vec<(f64, bool)> =
        base.iter().map(side(false)).chain(candidate.iter().map(side(true))).collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    runs.chunks(2).all(|pair| pair[0].1 != pair[1].1)
}

/// Newcombe's interval for the difference of two shares (1998, his method 10), from Wilson's
/// interval of each, which also works without failures.
fn newcombe(base: (f64, f64), candidate: (f64, f64), z: f64) -> (f64, f64) {
    let wilson = |(failures, total): (f64, f64)| {
        let share = failures / total;
        let centre = (share + z * z / (2.0 * total)) / (1.0 + z * z / total);
        let half = z / (1.0 + z * z / total)
            * (share * (1.0 - share) / total + z * z / (4.0 * total * total)).sqrt();
        (share, (centre - half).max(0.0), (centre + half).min(1.0))
    };
    let (b, b_low, b_high) = wilson(base);
    let (c, c_low, c_high) = wilson(candidate);
    (c - b - (c - c_low).hypot(b_high - b), c - b + (c_high - c).hypot(b - b_low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(values: &[f64]) -> Level {
        Level {
            values: values.to_vec(),
            within: vec![0.0; values.len()],
            started: (0..values.len()).map(|run| run as f64).collect(),
        }
    }

    #[test]
    fn many_runs_are_judged_by_their_ranks_alone() {
        let base = level(&[0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.02, 0.01, 0.03, 9.0]);
        let candidate = level(&[1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.02, 1.01, 1.03, 1.06]);
        let effect = Effect::new(&base, &candidate, Prior::Assumed(0.02), 0.0, 0.01);
        // A single outlier does not move it.
        assert!((effect.estimate - 1.0).abs() < 0.02, "{}", effect.estimate);
        let (low, high) = effect.bounds(0.01);
        assert!(0.9 < low && low < 1.0 && 1.0 < high && high < 1.1, "{low} {high}");
        assert!(effect.chance_above(0.5) < 0.01);
    }

    #[test]
    fn two_single_runs_are_as_uncertain_as_runs_are_assumed_to_be() {
        let effect = Effect::new(&level(&[0.0]), &level(&[0.1]), Prior::Assumed(0.02), 0.0, 0.01);
        let (low, high) = effect.bounds(0.01);
        let half = 4.5407 * 0.02 * 2f64.sqrt();
        assert!((low - (0.1 - half)).abs() < 1e-4 && (high - (0.1 + half)).abs() < 1e-4);
    }

    #[test]
    fn a_drift_that_both_sides_follow_is_taken_out_where_they_take_turns() {
        let at = |run: usize| run as f64;
        let value = |run: usize| 0.1 * at(run) + 1e-3 * at(run * 7 % 5);
        let side = |runs: &[usize], change: f64| Level {
            values: runs.iter().map(|run| value(*run) + change).collect(),
            within: vec![0.0; runs.len()],
            started: runs.iter().map(|run| at(*run)).collect(),
        };
        let (base, candidate) = (side(&[0, 3, 4, 7, 8, 11], 0.0), side(&[1, 2, 5, 6, 9, 10], 0.05));
        let effect = Effect::new(&base, &candidate, Prior::Assumed(0.02), 0.0, 0.01);
        let (low, high) = effect.bounds(0.01);
        assert!(0.04 < low && low < 0.05 && high < 0.06, "{low} {high}");
    }

    #[test]
    fn no_failure_in_few_requests_is_no_proof_that_there_are_none() {
        let none =
            Effect::new(&level(&[0.0; 6]), &level(&[0.0; 6]), Prior::Assumed(0.0), 0.0, 0.01);
        let few = none.clone().with_counts((0.0, 1_000.0), (0.0, 1_000.0));
        assert!(few.bounds(0.01).1 > 0.001);
        let many = none.with_counts((0.0, 100_000.0), (0.0, 100_000.0));
        assert!(many.bounds(0.01).1 < 0.001);
    }

    #[test]
    fn an_interval_grows_with_certainty() {
        let base = level(&[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]);
        let candidate = level(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
        let effect = Effect::new(&base, &candidate, Prior::Assumed(0.02), 0.0, 0.01);
        let mut last = (0.1, 0.1);
        for alpha in [0.2, 0.05, 0.01, 0.001, 1e-6] {
            let (low, high) = effect.bounds(alpha);
            assert!(low <= last.0 && high >= last.1);
            last = (low, high);
        }
        assert_eq!(last, (f64::NEG_INFINITY, f64::INFINITY));
    }
}
