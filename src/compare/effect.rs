//! The difference between two sides, with an interval for any level of certainty.
//!
//! The unit is the run. From six runs a side on, the interval is Mann's and Whitney's: it uses ranks
//! alone, so it is exact whatever the distribution of a run's figures is, outliers included, and its
//! centre is Hodges' and Lehmann's estimate. Fewer runs say little about how much runs differ, and
//! Student's t pays for that; two runs a side say next to nothing of it, and an assumption joins
//! in. Which of these is right how often is in the table that `benches/gates/main.rs` prints.

use super::student::{rank_sum_chances, t_beyond};

/// From so many runs a side on, ranks alone decide.
pub(super) const RANKED_MIN: usize = 6;

/// With fewer degrees of freedom than those of three runs a side, an assumption joins what runs show
/// of how much they differ. With more they say it themselves: an assumption that is too wide would
/// hide what they can tell, one that is too narrow would cry wolf on a rough machine.
const ALONE_MIN: f64 = 4.0;

/// The share of the chance of error that ranks keep where a line was taken out first: straightened
/// values are a little more alike than the truth, as every fitted line makes them.
const STRAIGHTENED: f64 = 0.75;

/// Above so many pairs of runs the distribution of ranks is as good as normal, and long to count.
const RANKED_EXACT: usize = 900;

/// What the runs of one side have of one metric.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    /// A value for each run: a logarithm, or a share for error rates.
    pub(super) values: Vec<f64>,
    /// The variance of each that comes from within the run.
    pub(super) within: Vec<f64>,
    /// When each began, in seconds.
    pub(super) started: Vec<f64>,
}

/// Whether so many runs on each side say by themselves how much runs differ.
pub(super) fn say_it_alone(base: usize, candidate: usize) -> bool {
    (base + candidate) as f64 - 2.0 >= ALONE_MIN
}

/// What is known beforehand of how much a metric differs between runs of the same thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Prior {
    /// The standard deviation between runs beside that within them, assumed; not asked where runs are
    /// enough to show it.
    Assumed(f64),
    /// The standard deviation of whole runs, measured, with its degrees of freedom.
    Measured(f64, f64),
}

/// Degrees of freedom that an assumption counts for. So few that it is soon outweighed, so many that
/// the few runs it is made for do not need a t of forty.
const ASSUMED_FREEDOM: f64 = 3.0;

/// A difference, candidate − base.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    /// The best guess.
    pub(super) estimate: f64,
    /// The standard error.
    error: f64,
    method: Method,
    /// The part of a chance of error that [`Method`] may use.
    share: f64,
    /// What cannot be resolved: added on both sides.
    resolution: f64,
    /// Failures and totals of both sides, where the metric is a share of failures.
    counts: Option<[(f64, f64); 2]>,
}

#[derive(Clone, Debug)]
enum Method {
    /// All differences between a run of one side and one of the other, ascending, and the chance of
    /// at most so many wins.
    Ranks { differences: Vec<f64>, chances: Vec<f64> },
    /// The same, where the number of wins is as good as normal: its mean and standard deviation.
    ManyRanks { differences: Vec<f64>, mean: f64, deviation: f64 },
    /// Student's t with so many degrees of freedom.
    Student { freedom: f64 },
}

impl Effect {
    /// Compares two sides, each with at least one run. `strictest` is the smallest chance of error
    /// that will be asked for: of few runs, ranks alone can never be that sure.
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

    /// The same for shares of failures: no interval is tighter than counting allows, so that no
    /// failure in a hundred requests does not pass for none at all. Gives failures and totals.
    pub(super) fn with_counts(self, base: (f64, f64), candidate: (f64, f64)) -> Effect {
        Effect { counts: Some([base, candidate]), ..self }
    }

    /// The interval that misses the truth on each side with the chance `alpha` at most.
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

    /// Half of the interval as it would be if it were known how much runs differ: what more runs
    /// make of it is that, over the root of their number.
    pub(super) fn half(&self, alpha: f64) -> f64 {
        if let (Method::Student { .. }, None) = (&self.method, self.counts) {
            return t_beyond(alpha, 1e6) * self.error + self.resolution;
        }
        let (low, high) = self.bounds(alpha);
        (high - low) / 2.0
    }

    /// The smallest chance of error at which the interval lies wholly above `limit`; 1 when it does
    /// at none.
    pub(super) fn chance_above(&self, limit: f64) -> f64 {
        smallest(|alpha| self.bounds(alpha).0 > limit)
    }

    /// The same for below.
    pub(super) fn chance_below(&self, limit: f64) -> f64 {
        smallest(|alpha| self.bounds(alpha).1 < limit)
    }
}

/// The differences that so many wins leave inside; endless when no wins are left out.
fn ends(differences: &[f64], wins: usize) -> (f64, f64) {
    let wins = wins.min(differences.len().div_ceil(2));
    match wins.checked_sub(1) {
        None => (f64::NEG_INFINITY, f64::INFINITY),
        Some(index) => (differences[index], differences[differences.len() - 1 - index]),
    }
}

/// The smallest chance at which `decided` holds, which then holds for larger ones too.
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

/// The standard error of the difference of means and its degrees of freedom, of which `lines` that
/// were fitted have taken one each.
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
    // Runs cannot be more alike than their own noise lets them, whatever a few of them pretend.
    let error = sides
        .iter()
        .zip(within)
        .map(|(side, within)| pooled.max(within) / side.values.len() as f64)
        .sum::<f64>()
        .sqrt();
    (error, freedom)
}

/// When the runs of both sides take turns, takes out the straight line in time that both follow: a
/// machine that gets warm or a neighbour that goes away is no difference between them. The slope is
/// the median of the slopes between any two runs of the same side (Theil and Sen), so that single
/// runs do not bend it.
/// `None` when there is nothing to take out.
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

/// Whether the runs of both sides come in pairs, one of each side, and are enough to see a drift.
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

/// Newcombe's interval for the difference of two shares (1998, his method 10): Wilson's intervals of
/// each, which hold for no failures too.
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

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sum of squared deviations from the mean.
pub(super) fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Of values that ascend.
pub(super) fn median(ascending: &[f64]) -> f64 {
    let half = ascending.len() / 2;
    if ascending.len().is_multiple_of(2) {
        f64::midpoint(ascending[half - 1], ascending[half])
    } else {
        ascending[half]
    }
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
        // One run that is quite beside the others does not move it.
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
