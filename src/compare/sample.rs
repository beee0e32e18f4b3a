//! One run of one scenario, prepared for comparison: whole distributions, and the response times
//! second by second, from which the noise within the run is estimated.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rand::RngExt;

use super::gate::{Compared, log};
use crate::metric::{Measure, Metric, Part, Statistic};
use crate::random::Key;
use crate::record::summary::{Latency, ScenarioSummary, Summary, TimelineSecond};
use crate::record::{Histogram, HistogramError};
use crate::stats::{autocorrelation, squares};

/// Maximum number of stretches for resampling; in longer runs, stretches are longer. This limits the cost of a
/// resample, and is more than enough to see how stretches vary.
const STRETCHES_MAX: usize = 120;

/// Fewer stretches say nothing about their correlation.
const STRETCHES_MIN: usize = 8;

/// Resamples per run. The noise is then known to a relative error of 5 %, which is good enough.
const RESAMPLES: u64 = 200;

/// How much more a quantile varies than with independent requests, as a factor, if there are no seconds to estimate
/// it from.
const DESIGN_EFFECT: f64 = 2.0;

/// One run of one scenario.
#[derive(Clone, Debug)]
pub struct Run {
    /// Start in seconds since the epoch.
    pub started_s: f64,
    /// Number of arrivals.
    pub arrivals: u64,
    /// Number of arrivals that did not succeed.
    pub failed: u64,
    /// Ok requests per second.
    pub requests_per_s: f64,
    /// Documents of ok requests per second.
    pub documents_per_s: f64,
    /// Latencies by step (`None`: the whole scenario) and part of the time.
    parts: BTreeMap<(Option<String>, Part), Distribution>,
    stretches: Vec<Stretch>,
    /// The latencies counted by stretches, in ms, in ascending order.
    latencies: Vec<f64>,
}

/// Latencies and their counts. Failures rank as slowest.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    /// In ms, in ascending order.
    values: Vec<(f64, u64)>,
    failed: u64,
}

/// One or several seconds of a run.
#[derive(Clone, Debug, Default)]
struct Stretch {
    /// Index into [`Run::latencies`] and count.
    counts: Vec<(u32, u32)>,
    ok: u64,
    failed: u64,
    completed: u64,
    documents: u64,
}

/// The events of one second.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Response times of ok requests in ns, in ascending order, and the number of requests with
    /// each.
    pub response: Vec<(u64, u32)>,
    /// Requests that failed or were dropped.
    pub failed: u64,
    /// Ok requests that throughput counts, including those due before the first second.
    pub completed: u64,
    /// Their Documents.
    pub documents: u64,
}

/// The runs of one scenario on both sides; neither side is empty.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name of the scenario.
    pub name: String,
    /// Runs of the base.
    pub base: Vec<Run>,
    /// Runs of the candidate.
    pub candidate: Vec<Run>,
}

impl Run {
    /// A run from its seconds only.
    pub fn of_seconds(started_s: f64, seconds: &[Second]) -> Run {
        let values = together(seconds);
        let values = values.into_iter().map(|(ns, count)| (ns as f64 / 1e6, count));
        let failed = seconds.iter().map(|second| second.failed).sum();
        let whole = Distribution { values: values.collect(), failed };
        let documents: u64 = seconds.iter().map(|second| second.documents).sum();
        let completed: u64 = seconds.iter().map(|second| second.completed).sum();
        let length = seconds.len().max(1) as f64;
        let mut run = Run {
            started_s,
            arrivals: whole.count(),
            failed,
            requests_per_s: completed as f64 / length,
            documents_per_s: documents as f64 / length,
            parts: [((None, Part::Response), whole)].into(),
            stretches: Vec::new(),
            latencies: Vec::new(),
        };
        run.set_stretches(seconds);
        run
    }

    /// A run from its saved result.
    ///
    /// # Errors
    ///
    /// If its histograms were modified.
    pub fn of_summary(
        summary: &Summary,
        scenario: &ScenarioSummary,
    ) -> Result<Run, HistogramError> {
        let failed = scenario.requests.failed();
        let mut parts = BTreeMap::new();
        let mut add = |step: Option<&str>, part: Part, latency: &Latency, failed: u64| {
            let histogram = latency.to_histogram()?;
            if histogram.count() + failed > 0 {
                let key = (step.map(str::to_owned), part);
                parts.insert(key, Distribution::new(&histogram, failed));
            }
            Ok::<_, HistogramError>(())
        };
        add(None, Part::Response, &scenario.response_time_ms, failed)?;
        add(None, Part::Service, &scenario.service_time_ms, failed)?;
        if let Some(latency) = &scenario.active_time_ms {
            add(None, Part::Active, latency, failed)?;
        }
        // Only ok responses have routes.
        for executor in scenario.executors.iter().flatten() {
            add(None, Part::Executor(executor.name.clone()), &executor.time_ms, 0)?;
        }
        if let Some(latency) = &scenario.gateway_ms {
            add(None, Part::Gateway, latency, 0)?;
        }
        if let Some(latency) = &scenario.network_ms {
            add(None, Part::Network, latency, 0)?;
        }
        for step in &scenario.steps {
            let failed = step.requests.failed();
            let name = Some(&*step.name);
            add(name, Part::Response, &step.response_time_ms, failed)?;
            add(name, Part::Service, &step.service_time_ms, failed)?;
        }
        let seconds = scenario.timeline.iter().map(Second::of_timeline);
        let mut seconds = seconds.collect::<Result<Vec<Second>, _>>()?;
        // What arrives after the end of the load is not a second of load.
        seconds.truncate((scenario.duration_s.floor() as usize).max(1));
        let started = summary.started_at.as_microsecond() as f64 / 1e6;
        let mut run = Run {
            started_s: started + scenario.started_at_s,
            arrivals: scenario.requests.arrivals,
            failed,
            requests_per_s: scenario.throughput.requests_per_s,
            documents_per_s: scenario.throughput.documents_per_s,
            parts,
            stretches: Vec::new(),
            latencies: Vec::new(),
        };
        run.set_stretches(&seconds);
        Ok(run)
    }

    fn set_stretches(&mut self, seconds: &[Second]) {
        let length = seconds.len().div_ceil(STRETCHES_MAX).max(1);
        let places: Vec<u64> = together(seconds).into_iter().map(|(ns, _)| ns).collect();
        let counts = |second: &Second| -> Vec<(u32, u32)> {
            // Both are sorted, so one pass finds all positions.
            let mut walk = places.iter().zip(0u32..);
            let response = second.response.iter();
            let found = response.filter_map(|(ns, count)| {
                walk.by_ref().find(|(place, _)| *place == ns).map(|(_, place)| (place, *count))
            });
            found.collect()
        };
        // An incomplete last stretch would count as much as the others.
        self.stretches = seconds
            .chunks_exact(length)
            .map(|seconds| Stretch {
                counts: seconds.iter().flat_map(counts).collect(),
                ok: seconds.iter().map(Second::ok).sum(),
                failed: seconds.iter().map(|second| second.failed).sum(),
                completed: seconds.iter().map(|second| second.completed).sum(),
                documents: seconds.iter().map(|second| second.documents).sum(),
            })
            .collect();
        self.latencies = places.into_iter().map(|ns| ns as f64 / 1e6).collect();
    }

    /// Names of its Executors.
    pub fn executors(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().filter_map(|(_, part)| match part {
            Part::Executor(name) => Some(&**name),
            _ => None,
        })
    }

    /// The latencies that a metric is about. A step with the same name as a part of the time takes precedence.
    fn distribution(&self, metric: &Metric) -> Option<&Distribution> {
        let of = |metric: &Metric| match &metric.measure {
            Measure::Latency(part, _) => self.parts.get(&(metric.step.clone(), part.clone())),
            _ => None,
        };
        metric.about_step().and_then(|metric| of(&metric)).or_else(|| of(metric))
    }

    /// Value of a metric in this run: ms, a share, or a rate. Infinite if it falls among the
    /// failures, `None` if there is nothing to measure.
    pub fn value(&self, metric: &Metric) -> Option<f64> {
        match &metric.measure {
            Measure::Latency(_, statistic) => self.distribution(metric)?.value(*statistic),
            Measure::Throughput => Some(self.requests_per_s),
            Measure::DocumentsPerSecond => Some(self.documents_per_s),
            Measure::ErrorRate => {
                (self.arrivals > 0).then(|| self.failed as f64 / self.arrivals as f64)
            }
            // Counts are not compared.
            _ => None,
        }
    }

    /// Number of values behind a metric, failures included.
    pub(super) fn count(&self, metric: &Metric) -> u64 {
        match &metric.measure {
            Measure::Latency(..) => self.distribution(metric).map_or(0, Distribution::count),
            Measure::Throughput | Measure::DocumentsPerSecond => self.arrivals - self.failed,
            _ => self.arrivals,
        }
    }

    /// Variance of each metric, on its scale, that comes from within the run: how much the same run
    /// would vary if it were repeated under the same conditions.
    ///
    /// Seconds are resampled in blocks as long as neighbouring seconds are correlated (Künsch's
    /// moving-block bootstrap). Requests are not resampled, because those of one second are not
    /// independent.
    pub fn within(&self, metrics: &[Metric], key: Key) -> Vec<f64> {
        let resampled = |metric: &Metric| match &metric.measure {
            Measure::Latency(part, _) => metric.step.is_none() && *part == Part::Response,
            _ => true,
        };
        let wanted: Vec<&Metric> = metrics.iter().filter(|metric| resampled(metric)).collect();
        let enough = self.stretches.len() >= STRETCHES_MIN;
        let mut varied = if enough { self.resample(&wanted, key) } else { Vec::new() }.into_iter();
        let effect = if enough { self.design_effect() } else { DESIGN_EFFECT };
        metrics
            .iter()
            .map(|metric| match &metric.measure {
                _ if enough && resampled(metric) => varied.next().unwrap_or_default(),
                Measure::Latency(_, statistic) => {
                    let alone = self.distribution(metric).map_or(0.0, |d| d.variance(*statistic));
                    alone * effect
                }
                Measure::ErrorRate => {
                    let share = self.value(metric).unwrap_or_default();
                    effect * share * (1.0 - share) / self.arrivals.max(1) as f64
                }
                _ => 0.0,
            })
            .collect()
    }

    fn resample(&self, metrics: &[&Metric], key: Key) -> Vec<f64> {
        let n = self.stretches.len();
        let block = self.block_length();
        let mut rng = key.rng();
        let mut drawn: Vec<Vec<f64>> = vec![Vec::new(); metrics.len()];
        let mut counts = vec![0u64; self.latencies.len()];
        for _ in 0..RESAMPLES {
            counts.fill(0);
            let (mut ok, mut failed, mut completed, mut documents) = (0, 0, 0u64, 0);
            let mut left = n;
            while left > 0 {
                let start = rng.random_range(0..=n - block);
                for stretch in &self.stretches[start..start + block.min(left)] {
                    for (place, count) in &stretch.counts {
                        counts[*place as usize] += u64::from(*count);
                    }
                    ok += stretch.ok;
                    failed += stretch.failed;
                    completed += stretch.completed;
                    documents += stretch.documents;
                }
                left = left.saturating_sub(block);
            }
            let all = (ok + failed).max(1) as f64;
            for (metric, drawn) in metrics.iter().zip(&mut drawn) {
                let value = match &metric.measure {
                    Measure::Latency(_, statistic) => {
                        let values = self.latencies.iter().copied().zip(counts.iter().copied());
                        metric.scale(value_of(*statistic, values, ok, failed).unwrap_or_default())
                    }
                    Measure::Throughput => metric.scale(completed as f64),
                    Measure::DocumentsPerSecond => metric.scale(documents as f64),
                    _ => failed as f64 / all,
                };
                drawn.push(value);
            }
        }
        // This many blocks vary slightly less than independent ones around the true value.
        let blocks = n as f64 / block as f64;
        let correction = blocks / (blocks - 1.0).max(0.5);
        let variance = |drawn: Vec<f64>| squares(&drawn) / (RESAMPLES - 1) as f64;
        drawn.into_iter().map(|drawn| variance(drawn) * correction).collect()
    }

    /// Number of correlated neighbouring stretches: Andrews' rule for an AR(1) series, of the share
    /// above the median and above p99, whichever has the longer memory. At most a quarter of the
    /// run.
    fn block_length(&self) -> usize {
        let n = self.stretches.len();
        let length = |quantile: f64| {
            let rho = autocorrelation(&self.exceedances(quantile)).clamp(0.0, 0.97);
            let alpha = 4.0 * rho * rho / (1.0 - rho * rho).powi(2);
            (1.1447 * (alpha * n as f64).cbrt()).ceil() as usize
        };
        length(0.5).max(length(0.99)).clamp(1, n / 4)
    }

    /// For each stretch, how many more requests than expected were slower than a quantile of the
    /// run: this is what moves that quantile.
    pub fn exceedances(&self, quantile: f64) -> Vec<f64> {
        let Some(limit) = self.value(&Metric::response(quantile)) else { return Vec::new() };
        let slower = |stretch: &Stretch| {
            let counts = stretch.counts.iter();
            let slow = counts.filter(|(place, _)| self.latencies[*place as usize] > limit);
            let slow: u32 = slow.map(|(_, count)| count).sum();
            let all = (stretch.ok + stretch.failed) as f64;
            f64::from(slow) + stretch.failed as f64 - (1.0 - quantile) * all
        };
        self.stretches.iter().map(slower).collect()
    }

    /// A quantile of the ok requests of each second, in ms, and its number of requests. In runs longer than two
    /// minutes, several seconds are merged into one.
    pub fn seconds(&self, quantile: f64) -> impl Iterator<Item = (Option<f64>, u64)> {
        self.stretches.iter().map(move |stretch| {
            let counts = stretch.counts.iter();
            let values =
                counts.map(|(place, count)| (self.latencies[*place as usize], u64::from(*count)));
            let value = rank(quantile, values, stretch.ok, 0);
            (value, stretch.ok + stretch.failed)
        })
    }

    /// How much more the share above the median varies than with independent requests, as a factor.
    fn design_effect(&self) -> f64 {
        let series = self.exceedances(0.5);
        let block = self.block_length();
        let sums: Vec<f64> = series.chunks_exact(block).map(|chunk| chunk.iter().sum()).collect();
        let spread = squares(&sums) / (sums.len() as f64 - 1.0).max(1.0);
        let requests = self.arrivals as f64 / series.len() as f64 * block as f64;
        (spread / (0.25 * requests)).max(1.0)
    }
}

impl Sample {
    /// Base and candidate.
    pub(super) fn sides(&self) -> [&[Run]; 2] {
        [&self.base, &self.candidate]
    }

    /// Whether any run has the metric.
    pub(super) fn knows(&self, metric: &Metric) -> bool {
        self.sides().into_iter().flatten().any(|run| run.value(metric).is_some())
    }
}

/// The Executors of all runs, each once, in alphabetical order.
pub(super) fn executors<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<&'a str> {
    let mut executors: Vec<&str> = runs.into_iter().flat_map(Run::executors).collect();
    executors.sort_unstable();
    executors.dedup();
    executors
}

impl Second {
    fn ok(&self) -> u64 {
        self.response.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    fn of_timeline(second: &TimelineSecond) -> Result<Second, HistogramError> {
        let histogram = match &second.histogram {
            Some(text) => Histogram::from_base64(text)?,
            None => Histogram::new(),
        };
        let response = histogram.buckets();
        let response = response.map(|(value, count)| (value.as_nanos() as u64, count as u32));
        let response = response.collect();
        let failed = second.errors + second.dropped;
        let (completed, documents) = (second.completed(), second.completed_documents());
        Ok(Second { response, failed, completed, documents })
    }
}

impl Distribution {
    fn new(histogram: &Histogram, failed: u64) -> Distribution {
        let values =
            histogram.buckets().map(|(value, count)| (value.as_nanos() as f64 / 1e6, count));
        // Values above an hour rank with the failures.
        Distribution { values: values.collect(), failed: failed + histogram.beyond() }
    }

    fn ok(&self) -> u64 {
        self.values.iter().map(|(_, count)| count).sum()
    }

    fn count(&self) -> u64 {
        self.ok() + self.failed
    }

    fn value(&self, statistic: Statistic) -> Option<f64> {
        value_of(statistic, self.values.iter().copied(), self.ok(), self.failed)
    }

    /// Variance of the logarithm of the statistic for independent values. For a quantile, it comes from the values at
    /// the two ranks between which its own rank is uncertain.
    fn variance(&self, statistic: Statistic) -> f64 {
        let n = self.count().max(1) as f64;
        match statistic {
            Statistic::Quantile(quantile) => {
                let quantile = quantile.get();
                let error = (quantile * (1.0 - quantile) / n).sqrt();
                let at = |quantile: f64| {
                    let values = self.values.iter().copied();
                    rank(quantile.clamp(0.0, 1.0), values, self.ok(), self.failed).map(log)
                };
                let (low, high) = (at(quantile - error), at(quantile + error));
                low.zip(high).map_or(0.0, |(low, high)| ((high - low) / 2.0).powi(2))
            }
            Statistic::Mean => {
                let Some(mean) = self.value(statistic).filter(|mean| *mean > 0.0) else {
                    return 0.0;
                };
                let squares = self.values.iter().map(|(v, c)| (v - mean).powi(2) * *c as f64);
                squares.sum::<f64>() / n / n / (mean * mean)
            }
            // They are not compared.
            Statistic::Min | Statistic::Max => 0.0,
        }
    }
}

/// The value of a statistic for latencies and their counts in ascending order, followed by a number of
/// failures: infinite if it falls among the failures, `None` if there are no requests at all.
fn value_of(
    statistic: Statistic,
    mut values: impl Iterator<Item = (f64, u64)>,
    ok: u64,
    failed: u64,
) -> Option<f64> {
    match statistic {
        Statistic::Quantile(quantile) => rank(quantile.get(), values, ok, failed),
        Statistic::Mean => {
            let sum: f64 = values.map(|(value, count)| value * count as f64).sum();
            (ok > 0).then(|| sum / ok as f64)
        }
        Statistic::Min => values.next().map(|(value, _)| value),
        Statistic::Max if failed > 0 => Some(f64::INFINITY),
        Statistic::Max => values.last().map(|(value, _)| value),
    }
}

/// The smallest value that at least a share of the requests does not exceed.
fn rank(
    share: f64,
    mut values: impl Iterator<Item = (f64, u64)>,
    ok: u64,
    failed: u64,
) -> Option<f64> {
    if ok + failed == 0 {
        return None;
    }
    let rank = (share * (ok + failed) as f64 * (1.0 - 1e-12)).ceil().max(1.0) as u64;
    let mut seen = 0;
    let found = values.find(|(_, count)| {
        seen += count;
        seen >= rank
    });
    Some(found.map_or(f64::INFINITY, |(value, _)| value))
}

/// The latencies of all seconds in ascending order, with their counts.
fn together(seconds: &[Second]) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    let mut merged = Vec::new();
    for second in seconds {
        let mut known = all.iter().copied().peekable();
        let mut fresh = second.response.iter().map(|(ns, n)| (*ns, u64::from(*n))).peekable();
        merged.clear();
        while let (Some(ours), Some(theirs)) = (known.peek().copied(), fresh.peek().copied()) {
            merged.push(match ours.0.cmp(&theirs.0) {
                Ordering::Less => ours,
                Ordering::Equal => (ours.0, ours.1 + theirs.1),
                Ordering::Greater => theirs,
            });
            known.next_if(|_| ours.0 <= theirs.0);
            fresh.next_if(|_| theirs.0 <= ours.0);
        }
        merged.extend(known.chain(fresh));
        std::mem::swap(&mut all, &mut merged);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose seconds all have the same hundred latencies, each second scaled by a factor.
    fn run(factors: &[f64]) -> Run {
        let second = |factor: &f64| {
            let ns = |i: u32| ((factor * 1e6 * f64::from(i)) as u64, 1);
            let response = (1..=100).map(ns).collect();
            Second { response, failed: 0, completed: 100, documents: 100 }
        };
        Run::of_seconds(0.0, &factors.iter().map(second).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_those_of_all_seconds_together() {
        let run = run(&[1.0; 20]);
        assert_eq!(run.value(&Metric::response(0.5)), Some(50.0));
        assert_eq!(run.value(&"throughput".parse().unwrap()), Some(100.0));
        assert_eq!(run.value(&"error_rate".parse().unwrap()), Some(0.0));
        assert_eq!(run.value(&"service.p50".parse().unwrap()), None);
    }

    #[test]
    fn what_failed_ranks_as_slowest() {
        let response = vec![(1_000_000, 1)];
        let seconds = [Second { response, failed: 2, completed: 1, documents: 1 }];
        let run = Run::of_seconds(0.0, &seconds);
        assert_eq!(run.value(&Metric::response(0.3)), Some(1.0));
        assert_eq!(run.value(&Metric::response(0.5)), Some(f64::INFINITY));
    }

    #[test]
    fn a_run_of_equal_seconds_has_no_noise_of_its_own() {
        let within = run(&[1.0; 30]).within(&[Metric::response(0.5)], Key::new(1));
        assert!(within[0] < 1e-12, "{within:?}");
    }

    #[test]
    fn seconds_that_hang_together_are_noisier_than_those_that_do_not() {
        let metrics = [Metric::response(0.5)];
        let alternating: Vec<f64> = (0..60).map(|s| 1.0 + 0.1 * f64::from(s % 2)).collect();
        let waves: Vec<f64> = (0..60).map(|s| 1.0 + 0.1 * f64::from(s / 10 % 2)).collect();
        let alternating = run(&alternating).within(&metrics, Key::new(1))[0];
        let waves = run(&waves).within(&metrics, Key::new(1))[0];
        assert!(waves > 2.0 * alternating, "{waves} {alternating}");
    }
}
