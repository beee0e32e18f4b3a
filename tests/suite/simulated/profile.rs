//! The noise of a series of runs in a few figures, which simulated runs must share with real ones to be
//! credible.

use flowbench::compare::{Metric, Run};
use flowbench::random::Key;
use flowbench::stats::{autocorrelation, mean, median, squares};

/// The noise of consecutive runs of the same thing. Deviations and differences are those of logarithms, so
/// shares of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NoiseProfile {
    /// The number of runs.
    pub(crate) runs: usize,
    /// p90, p99 and p99.9 relative to p50.
    pub(crate) shape: [f64; 3],
    /// The standard deviation of p50 between runs.
    pub(crate) runs_p50: f64,
    /// The same for p99.
    pub(crate) runs_p99: f64,
    /// The part of it that comes from within runs, by moving-block bootstrap of their seconds.
    pub(crate) within_p99: f64,
    /// The correlation between the p99 of consecutive runs.
    pub(crate) runs_memory: f64,
    /// The p99 of the last run over that of the first, along the median slope.
    pub(crate) drift: f64,
    /// How far the p99 of the worst run lies above the median run's.
    pub(crate) worst: f64,
    /// The standard deviation of p50 between the seconds of a run.
    pub(crate) seconds_p50: f64,
    /// The correlation between consecutive seconds, of the share of requests above the run's p50.
    pub(crate) memory_p50: f64,
    /// The same for p99.
    pub(crate) memory_p99: f64,
    /// The share of seconds in which five times as many requests as usual lie above p99.
    pub(crate) bad_seconds: f64,
}

impl NoiseProfile {
    /// From runs in the order of time; all figures are 0 for fewer than three.
    pub(crate) fn of(runs: &[Run]) -> NoiseProfile {
        if runs.len() < 3 {
            return NoiseProfile { runs: runs.len(), ..NoiseProfile::default() };
        }
        let quantile = |quantile: f64| -> Vec<f64> {
            let metric = Metric::response(quantile);
            runs.iter().filter_map(|r| r.value(&metric)).map(f64::ln).collect()
        };
        let [p50, p90, p99, p99_9] = [0.5, 0.9, 0.99, 0.999].map(quantile);
        let deviation = |values: &[f64]| (squares(values) / (values.len() as f64 - 1.0)).sqrt();
        let over = |values: &[f64]| (middle(values.to_vec()) - middle(p50.clone())).exp();
        let metric = [Metric::response(0.99)];
        let within: Vec<f64> = runs.iter().map(|run| run.within(&metric, Key::new(0))[0]).collect();
        let of_seconds = |share: f64| -> f64 {
            let memory = |run: &Run| autocorrelation(&run.exceedances(share));
            mean(&runs.iter().map(memory).collect::<Vec<_>>())
        };
        let slopes = p99.iter().enumerate().flat_map(|(i, value)| {
            let later = p99.iter().enumerate().skip(i + 1);
            later.map(move |(j, other)| (other - value) / (j - i) as f64)
        });
        NoiseProfile {
            runs: runs.len(),
            shape: [over(&p90), over(&p99), over(&p99_9)],
            runs_p50: deviation(&p50),
            runs_p99: deviation(&p99),
            within_p99: mean(&within).sqrt(),
            runs_memory: autocorrelation(&p99),
            drift: middle(slopes.collect()) * (runs.len() - 1) as f64,
            worst: p99.iter().copied().fold(f64::MIN, f64::max) - middle(p99.clone()),
            seconds_p50: mean(&runs.iter().map(second_deviation).collect::<Vec<_>>()),
            memory_p50: of_seconds(0.5),
            memory_p99: of_seconds(0.99),
            bad_seconds: mean(&runs.iter().map(bad_seconds).collect::<Vec<_>>()),
        }
    }

    /// The median of several profiles, figure by figure; all 0 if there are none.
    pub(crate) fn median(all: &[NoiseProfile]) -> NoiseProfile {
        if all.is_empty() {
            return NoiseProfile::default();
        }
        let of = |figure: fn(&NoiseProfile) -> f64| middle(all.iter().map(figure).collect());
        NoiseProfile {
            runs: all[0].runs,
            shape: [of(|p| p.shape[0]), of(|p| p.shape[1]), of(|p| p.shape[2])],
            runs_p50: of(|p| p.runs_p50),
            runs_p99: of(|p| p.runs_p99),
            within_p99: of(|p| p.within_p99),
            runs_memory: of(|p| p.runs_memory),
            drift: of(|p| p.drift),
            worst: of(|p| p.worst),
            seconds_p50: of(|p| p.seconds_p50),
            memory_p50: of(|p| p.memory_p50),
            memory_p99: of(|p| p.memory_p99),
            bad_seconds: of(|p| p.bad_seconds),
        }
    }

    /// The figures with their names, for a table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let times = |factor: f64| format!("{factor:.2}");
        vec![
            ("p90, p99 and p99.9 over p50", self.shape.map(times).join(", ")),
            ("p50 of runs: standard deviation", percent(self.runs_p50)),
            ("p99 of runs: standard deviation", percent(self.runs_p99)),
            ("… of that from within runs (block bootstrap)", percent(self.within_p99)),
            ("p99 of consecutive runs: autocorrelation", times(self.runs_memory)),
            ("p99 from the first run to the last: drift", percent(self.drift)),
            ("p99 of the worst run, above the median run", percent(self.worst)),
            ("p50 of a run's seconds: standard deviation", percent(self.seconds_p50)),
            ("share above p50 in consecutive seconds: autocorrelation", times(self.memory_p50)),
            ("share above p99 in consecutive seconds: autocorrelation", times(self.memory_p99)),
            ("seconds with five times the usual share above p99", percent(self.bad_seconds)),
        ]
    }
}

/// Standard deviation of the logarithm of p50 between seconds.
fn second_deviation(run: &Run) -> f64 {
    let medians: Vec<f64> = run.seconds(0.5).filter_map(|(p50, _)| p50.map(f64::ln)).collect();
    (squares(&medians) / (medians.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// Share of seconds with more than 5 % of their requests above the run's p99.
fn bad_seconds(run: &Run) -> f64 {
    let above = run.exceedances(0.99);
    let seconds = above.iter().zip(run.seconds(0.99));
    let bad = seconds.filter(|(above, (_, requests))| **above > 0.04 * *requests as f64);
    bad.count() as f64 / above.len().max(1) as f64
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    median(&values)
}
