//! Finds changes in a long series of results: drifts and steps that no single comparison shows.
//!
//! E-divisive (Matteson and James 2014): a series is cut where the results before and after differ
//! most in their energy distance, if that is more than for almost all permutations of the series.
//! Then each part is examined in turn. The method assumes no distribution, so outliers are not
//! change points. A cut is only kept if the medians around it differ by a minimum effect.

use jiff::Timestamp;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::gate::Compared as _;
use super::sample::{Run, executors};
use super::{CompareError, Saved, comparable, names};
use crate::metric::Metric;
use crate::random::Key;
use crate::record::summary::Environment;
use crate::record::validity::can_tell;
use crate::stats::median;

/// The schema of a saved trend.
pub const SCHEMA: &str = "flowbench.trend/1";

/// Maximum number of results, the newest; the work grows with its square.
pub const RESULTS_MAX: usize = 400;

/// Minimum number of results between changes: two may be chance.
const STRETCH_MIN: usize = 3;

/// Number of permutations that a cut must beat.
const SHUFFLES: u64 = 499;

/// Probability that a series without any change shows one.
const CHANCE_MAX: f64 = 0.01;

/// Changes in a series of results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the suite in the newest result.
    pub suite: String,
    /// Smallest change that is reported, relative to the value; for shares, absolute.
    pub effect_min: f64,
    /// The results, oldest first.
    pub results: Vec<TrendResult>,
    /// Where the newest was made.
    pub environment: Environment,
    /// Results that cannot be compared with the newest one, and why.
    pub left_out: Vec<LeftOut>,
    /// One series for each metric of each scenario.
    pub series: Vec<Series>,
}

/// A result of the series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrendResult {
    /// Where it came from, such as a path.
    pub label: String,
    /// Start of its run.
    pub started_at: Timestamp,
}

/// A result that is not part of the series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// Where it came from, such as a path.
    pub label: String,
    /// Why it cannot be compared.
    pub reason: String,
}

/// A metric over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Name of the scenario.
    pub scenario: String,
    /// Its load in the newest result, in words.
    pub load: String,
    /// Name of the metric, as in gates.
    pub metric: String,
    /// `ms`, `share` or `per_s`.
    pub unit: &'static str,
    /// Whether a larger value is worse.
    pub rises_to_worse: bool,
    /// One value per result; null if it has none.
    pub values: Vec<Option<f64>>,
    /// Its changes, in order.
    pub changes: Vec<ChangePoint>,
}

/// A lasting change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangePoint {
    /// Index of the first result after it.
    pub index: usize,
    /// Where that result came from.
    pub label: String,
    /// Start of that result's run.
    pub started_at: Timestamp,
    /// Median of the results before, back to the previous change.
    pub before: f64,
    /// Median of the results after, up to the next change.
    pub after: f64,
    /// Size of the change, relative to the value; for shares, absolute.
    pub change: f64,
    /// Whether it is a change for the worse.
    pub worse: bool,
    /// Probability of a change this clear by chance.
    pub chance: f64,
}

/// Finds the changes in results, given in any order.
///
/// # Errors
///
/// If a result was modified.
pub fn trend(mut results: Vec<Saved>, effect_min: f64) -> Result<Trend, CompareError> {
    results.sort_by_key(|saved| saved.summary.started_at);
    let mut left_out = Vec::new();
    let copies: Vec<bool> = (0..results.len()).map(|at| super::is_copy(&results, at)).collect();
    let mut copies = copies.into_iter();
    left_out.extend(results.extract_if(.., |_| copies.next() == Some(true)).map(|saved| LeftOut {
        label: saved.label,
        reason: "it repeats an earlier result".into(),
    }));
    let surplus = results.len().saturating_sub(RESULTS_MAX);
    left_out.extend(results.drain(..surplus).map(|saved| LeftOut {
        label: saved.label,
        reason: format!("only the newest {RESULTS_MAX} results are evaluated"),
    }));
    // The reference for all others: the newest result that can itself be compared.
    let fit = |saved: &&Saved| {
        let one = std::slice::from_ref(*saved);
        comparable::differences(one, &[], &names(one, &[]).0).is_empty()
    };
    let newest = results.iter().rev().find(fit).or(results.last());
    let newest: Vec<Saved> = newest.cloned().into_iter().collect();
    let (scenarios, _) = names(&newest, &[]);
    let mut kept = Vec::new();
    for saved in results {
        let here = std::slice::from_ref(&saved);
        match comparable::differences(&newest, here, &scenarios).into_iter().next() {
            Some(difference) => {
                left_out.push(LeftOut { label: saved.label, reason: difference.to_string() });
            }
            None => kept.push(saved),
        }
    }
    let series = scenarios.iter().map(|name| rows(name, &kept, effect_min));
    let series = series.collect::<Result<Vec<_>, _>>()?;
    Ok(Trend {
        schema: SCHEMA,
        suite: newest.first().map(|saved| saved.summary.suite.clone()).unwrap_or_default(),
        effect_min,
        environment: newest
            .first()
            .map(|saved| saved.summary.environment.clone())
            .unwrap_or_default(),
        results: kept
            .into_iter()
            .map(|saved| TrendResult { label: saved.label, started_at: saved.summary.started_at })
            .collect(),
        left_out,
        series: series.into_iter().flatten().collect(),
    })
}

/// The series of a scenario.
fn rows(name: &str, results: &[Saved], effect_min: f64) -> Result<Vec<Series>, CompareError> {
    let mut runs: Vec<Option<Run>> = Vec::new();
    for saved in results {
        let of_one = super::runs(std::slice::from_ref(saved), name)?;
        runs.push(of_one.into_iter().next());
    }
    let executors = executors(runs.iter().flatten());
    let usual = ["p50", "p90", "p99", "throughput", "documents_per_second", "error_rate"];
    let metrics = usual
        .into_iter()
        .map(|name| name.parse().expect("they are metrics"))
        .chain(executors.into_iter().map(|name| Metric::executor(name, 0.5)));
    let key = Key::new(0).part(name);
    let of_name = |saved: &Saved| {
        let mut all = saved.summary.scenarios.iter();
        all.find(|scenario| scenario.name == name).map(|scenario| scenario.load.clone())
    };
    let load = results.iter().rev().find_map(of_name).unwrap_or_default();
    let rows = metrics.map(|metric: Metric| {
        // A percentile of too few requests is that of one or two of them.
        let told =
            |run: &Run| metric.quantile().is_none_or(|of| can_tell(of.get(), run.count(&metric)));
        let finite = |run: &Run| run.value(&metric).filter(|value| value.is_finite() && told(run));
        let values: Vec<Option<f64>> =
            runs.iter().map(|run| run.as_ref().and_then(finite)).collect();
        let places: Vec<usize> = (0..values.len()).filter(|at| values[*at].is_some()).collect();
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let changes = changes(&metric, &known, effect_min, key.part(&metric.to_string()));
        let changes = changes.into_iter().map(|mut change| {
            change.index = places[change.index];
            let saved = &results[change.index];
            change.label = saved.label.clone();
            change.started_at = saved.summary.started_at;
            change
        });
        Series {
            scenario: name.to_owned(),
            load: load.clone(),
            metric: metric.to_string(),
            unit: metric.unit().name(),
            rises_to_worse: metric.rises_to_worse(),
            changes: changes.collect(),
            values,
        }
    });
    Ok(rows.filter(|row| row.values.iter().any(Option::is_some)).collect())
}

/// The changes in a series, without their labels.
fn changes(metric: &Metric, values: &[f64], effect_min: f64, key: Key) -> Vec<ChangePoint> {
    let scaled: Vec<f64> = values.iter().map(|value| metric.scale(*value)).collect();
    let mut cuts: Vec<(usize, f64)> = Vec::new();
    let mut open: Vec<_> = std::iter::once(0..scaled.len()).collect();
    while let Some(stretch) = open.pop() {
        let here = &scaled[stretch.clone()];
        let Some((at, chance)) = cut(here, key.index(stretch.start as u64)) else { continue };
        if chance <= CHANCE_MAX {
            let at = stretch.start + at;
            cuts.push((at, chance));
            open.extend([stretch.start..at, at..stretch.end]);
        }
    }
    cuts.sort_by_key(|(at, _)| *at);
    // The smallest effect is removed first; its neighbours are then evaluated on longer stretches.
    loop {
        let points = points(metric, values, &cuts);
        let small = |change: &ChangePoint| change.change.abs() < effect_min;
        let least = points
            .iter()
            .enumerate()
            .filter(|(_, point)| small(point))
            .min_by(|a, b| a.1.change.abs().total_cmp(&b.1.change.abs()));
        match least {
            None => return points,
            Some((index, _)) => {
                cuts.remove(index);
            }
        }
    }
}

fn points(metric: &Metric, values: &[f64], cuts: &[(usize, f64)]) -> Vec<ChangePoint> {
    let middle = |from: usize, to: usize| {
        let mut stretch = values[from..to].to_vec();
        stretch.sort_by(f64::total_cmp);
        median(&stretch)
    };
    (0..cuts.len())
        .map(|index| {
            let (at, chance) = cuts[index];
            let start = index.checked_sub(1).map_or(0, |before| cuts[before].0);
            let end = cuts.get(index + 1).map_or(values.len(), |(next, _)| *next);
            let (before, after) = (middle(start, at), middle(at, end));
            let change = metric.change(metric.scale(after) - metric.scale(before));
            ChangePoint {
                index: at,
                label: String::new(),
                started_at: Timestamp::UNIX_EPOCH,
                before,
                after,
                change,
                worse: (change > 0.0) == metric.rises_to_worse(),
                chance,
            }
        })
        .collect()
}

/// The best cut of a series, and how often a permuted series can be cut as well.
fn cut(row: &[f64], key: Key) -> Option<(usize, f64)> {
    let (at, energy) = best(row)?;
    if energy <= 0.0 {
        return None;
    }
    let mut rng = key.rng();
    let mut shuffled = row.to_vec();
    let as_good = (0..SHUFFLES)
        .filter(|_| {
            shuffled.shuffle(&mut rng);
            best(&shuffled).is_some_and(|(_, other)| other >= energy)
        })
        .count();
    Some((at, (as_good + 1) as f64 / (SHUFFLES + 1) as f64))
}

/// The cut with the largest energy distance between its sides, weighted by their sizes. The sums of
/// distances are updated from one position to the next, so all cuts together cost n².
fn best(row: &[f64]) -> Option<(usize, f64)> {
    let n = row.len();
    if n < 2 * STRETCH_MIN {
        return None;
    }
    let to = |at: usize, range: std::ops::Range<usize>| -> f64 {
        row[range].iter().map(|other| (row[at] - other).abs()).sum()
    };
    let mut within = [0.0, (0..n).map(|at| to(at, at + 1..n)).sum::<f64>()];
    let mut between = 0.0;
    let mut found: Option<(usize, f64)> = None;
    for at in 0..n - STRETCH_MIN {
        // Value `at` moves to the other side.
        let (left, right) = (to(at, 0..at), to(at, at + 1..n));
        within[0] += left;
        within[1] -= right;
        between += right - left;
        let cut = at + 1;
        if cut < STRETCH_MIN {
            continue;
        }
        let (a, b) = (cut as f64, (n - cut) as f64);
        let inner = |sum: f64, n: f64| 2.0 * sum / (n * (n - 1.0));
        let distance = 2.0 * between / (a * b) - inner(within[0], a) - inner(within[1], b);
        let energy = distance * a * b / (a + b);
        if found.is_none_or(|(_, best)| energy > best) {
            found = Some((cut, energy));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    /// Values around levels, each for a number of results, with a few percent of noise.
    fn row(levels: &[(f64, usize)], seed: u64) -> Vec<f64> {
        let mut rng = Key::new(seed).rng();
        let level = levels.iter().flat_map(|(level, count)| std::iter::repeat_n(*level, *count));
        level.map(|level| level * rng.random_range(0.97..1.03)).collect()
    }

    fn found(values: &[f64]) -> Vec<(usize, i64)> {
        let changes = changes(&Metric::response(0.99), values, 0.05, Key::new(7));
        changes.iter().map(|c| (c.index, (c.change * 100.0).round() as i64)).collect()
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let found = found(&row(&[(10.0, 20), (12.0, 15)], 1));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, 20);
        assert!((18..=22).contains(&found[0].1), "{found:?}");
    }

    #[test]
    fn steps_up_and_down_are_both_found() {
        let found = found(&row(&[(10.0, 15), (13.0, 15), (10.5, 15)], 2));
        let places: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [15, 30], "{found:?}");
    }

    #[test]
    fn noise_and_single_outliers_are_no_change() {
        for seed in 0..20 {
            let mut values = row(&[(10.0, 40)], 100 + seed);
            values[17] *= 3.0;
            assert_eq!(found(&values), [], "seed {seed}");
        }
    }

    #[test]
    fn what_is_too_small_to_matter_is_not_told() {
        assert_eq!(found(&row(&[(10.0, 30), (10.35, 30)], 3)), []);
    }

    #[test]
    fn a_row_too_short_to_tell_has_no_change() {
        assert_eq!(found(&[10.0, 10.0, 20.0, 20.0, 20.0]), []);
    }
}
