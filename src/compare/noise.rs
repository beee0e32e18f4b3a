//! Noise profiles: how much identical runs vary on a machine, and what can be detected.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::comparable::{differences, machine};
use super::effect::Prior;
use super::gate::{Compared as _, Gate};
use super::sample::{Run, Sample, executors};
use super::{CompareError, Saved, names, runs};
use crate::metric::Metric;
use crate::record::summary::Environment;
use crate::record::validity::can_tell;
use crate::stats::{median, squares, t_beyond};

/// The schema of a saved noise profile.
pub const SCHEMA: &str = "flowbench.noise/1";

/// Fewer runs say almost nothing about how much runs vary.
pub const RUNS_MIN: usize = 5;

/// How much identical runs vary on a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Name of the suite.
    pub suite: String,
    /// Start of its first run.
    pub measured_at: Timestamp,
    /// The machine it was measured on.
    pub environment: Environment,
    /// Number of runs it was measured with.
    pub runs: usize,
    /// One entry per scenario.
    pub scenarios: Vec<ScenarioNoise>,
}

/// The noise of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioNoise {
    /// Name of the scenario.
    pub name: String,
    /// Description of its load in words.
    pub load: String,
    /// One entry per metric.
    pub metrics: Vec<MetricNoise>,
}

/// The noise of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricNoise {
    /// Name as in gates.
    pub metric: String,
    /// `ms`, `share` or `per_s`.
    pub unit: String,
    /// Median of the runs in that unit; null if the median run failed.
    pub median: Option<f64>,
    /// Standard deviation between runs, relative to the value; for shares, absolute.
    pub deviation: f64,
    /// Minimum detectable change with this many runs per side, relative or absolute likewise.
    pub floor: f64,
}

/// A gate below the minimum detectable change: its verdict would be chance.
#[derive(Clone, Debug, PartialEq)]
pub struct TightGate {
    /// The gate.
    pub gate: Gate,
    /// Name of the scenario it is on.
    pub scenario: String,
    /// Number of runs of the base and of the candidate.
    pub runs: [usize; 2],
    /// Number of runs that the noise was measured with.
    pub runs_measured: usize,
    /// Standard deviation between runs, as a change of the metric.
    pub deviation: f64,
    /// Minimum detectable change of the metric.
    pub floor: f64,
    /// Number of runs per side that could decide it; `None` if there is none below a thousand.
    pub runs_needed: Option<usize>,
}

impl fmt::Display for TightGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TightGate { gate, scenario, runs: [base, candidate], runs_measured, .. } = self;
        write!(
            f,
            "gate `{gate}` on `{scenario}` is below the noise of this machine: {runs_measured} identical \
             runs had a standard deviation of {:.1} %, so the minimum detectable change of {base} \
             against {candidate} is {:.1} %; allow more, or make ",
            self.deviation * 100.0,
            self.floor * 100.0,
        )?;
        match self.runs_needed {
            Some(runs) => write!(f, "{runs} runs per side"),
            None => f.write_str("longer runs"),
        }
    }
}

impl Noise {
    /// Measures it from results of the same suite on the same machine, at least [`RUNS_MIN`] of
    /// them.
    ///
    /// # Errors
    ///
    /// If they are not results of the same thing.
    pub fn learn(results: &[Saved], alpha: f64) -> Result<Noise, CompareError> {
        let (names, _) = names(results, &[]);
        let differences = differences(results, &[], &names);
        if !differences.is_empty() {
            return Err(CompareError::Incomparable(differences));
        }
        let scenarios = names
            .into_iter()
            .map(|name| {
                let runs = runs(results, &name)?;
                let summaries = results.iter().flat_map(|saved| &saved.summary.scenarios);
                let mut loads = summaries.filter(|s| s.name == name).map(|s| s.load.clone());
                let load = loads.next().unwrap_or_default();
                let metrics = metrics(&runs);
                let metrics = metrics.iter().filter_map(|metric| learn(metric, &runs, alpha));
                Ok(ScenarioNoise { metrics: metrics.collect(), name, load })
            })
            .collect::<Result<Vec<_>, CompareError>>()?;
        let first = &results[0].summary;
        Ok(Noise {
            schema: SCHEMA.into(),
            suite: first.suite.clone(),
            measured_at: results
                .iter()
                .map(|saved| saved.summary.started_at)
                .min()
                .unwrap_or(first.started_at),
            environment: first.environment.clone(),
            runs: results.len(),
            scenarios,
        })
    }

    /// Why it does not apply to results of another machine, if they are from another one.
    pub fn foreign(&self, environment: &Environment) -> Option<String> {
        let (ours, theirs) = (machine(&self.environment), machine(environment));
        (ours != theirs).then(|| {
            format!("the noise was measured on another machine ({ours}) than these runs ({theirs})")
        })
    }

    /// Whether it was measured with exactly these results.
    pub(super) fn is_of(&self, results: &[Saved]) -> bool {
        let first = results.iter().map(|saved| saved.summary.started_at).min();
        results.len() == self.runs && first == Some(self.measured_at)
    }

    /// Prior knowledge about the variation of a metric of a scenario between runs.
    pub(super) fn prior(&self, scenario: &str, metric: &Metric) -> Option<Prior> {
        let noise = self.metric(scenario, metric)?;
        Some(Prior::Measured(noise.deviation, self.freedom()))
    }

    /// The gates below the minimum detectable change of these runs.
    pub(super) fn too_tight(
        &self,
        samples: &[Sample],
        gates: &[Gate],
        alpha: f64,
    ) -> Vec<TightGate> {
        let mut tight = Vec::new();
        for sample in samples {
            for gate in gates {
                let base: Vec<f64> =
                    sample.base.iter().filter_map(|run| run.value(&gate.metric)).collect();
                let runs = [sample.base.len(), sample.candidate.len()];
                tight.extend(self.tighter(&sample.name, gate, &base, runs, alpha));
            }
        }
        tight
    }

    /// A gate that cannot be decided with these numbers of runs; `None` if it can. `base` are the
    /// values of the base, if there are some already.
    pub fn tighter(
        &self,
        scenario: &str,
        gate: &Gate,
        base: &[f64],
        runs: [usize; 2],
        alpha: f64,
    ) -> Option<TightGate> {
        let noise = self.metric(scenario, &gate.metric)?;
        let mut base = base.to_vec();
        base.sort_by(f64::total_cmp);
        let base = if base.is_empty() { noise.median? } else { median(&base) };
        let limit = gate.limit(base).abs();
        let floor = self.floor(noise.deviation, runs, alpha);
        if limit >= floor {
            return None;
        }
        let runs_needed = (runs[0].min(runs[1])..1_000)
            .find(|runs| self.floor(noise.deviation, [*runs; 2], alpha) <= limit);
        Some(TightGate {
            gate: gate.clone(),
            scenario: scenario.to_owned(),
            runs,
            runs_measured: self.runs,
            deviation: gate.metric.change(noise.deviation),
            floor: gate.metric.change(floor),
            runs_needed,
        })
    }

    fn metric(&self, scenario: &str, metric: &Metric) -> Option<&MetricNoise> {
        let scenario = self.scenarios.iter().find(|known| known.name == scenario)?;
        let name = metric.to_string();
        scenario.metrics.iter().find(|known| known.metric == name)
    }

    fn freedom(&self) -> f64 {
        self.runs.saturating_sub(1).max(1) as f64
    }

    /// Half of the interval of runs without any difference between the sides.
    fn floor(&self, deviation: f64, runs: [usize; 2], alpha: f64) -> f64 {
        floor(deviation, self.freedom(), runs, alpha)
    }
}

fn floor(deviation: f64, freedom: f64, [base, candidate]: [usize; 2], alpha: f64) -> f64 {
    let freedom = freedom + (base + candidate) as f64 - 2.0;
    let error = deviation * (1.0 / base as f64 + 1.0 / candidate as f64).sqrt();
    t_beyond(alpha, freedom) * error
}

/// The metrics to measure: those that gates are usually about.
fn metrics(runs: &[Run]) -> Vec<Metric> {
    let whole = ["p50", "p90", "p95", "p99", "p99.9", "mean"].into_iter();
    let service = ["service.p50", "service.p90", "service.p95", "service.p99", "service.mean"];
    let rates = ["throughput", "documents_per_second", "error_rate"];
    whole
        .chain(service)
        .chain(rates)
        .map(|name| name.parse().expect("they are metrics"))
        .chain(executors(runs).into_iter().flat_map(|name| {
            [0.5, 0.9, 0.95, 0.99].map(|quantile| Metric::executor(name, quantile))
        }))
        .collect()
}

fn learn(metric: &Metric, runs: &[Run], alpha: f64) -> Option<MetricNoise> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run.value(metric)).collect();
    if values.len() < runs.len() || runs.len() < 2 {
        return None;
    }
    // A percentile that a run does not support depends on one or two requests.
    if let Some(quantile) = metric.quantile()
        && !runs.iter().all(|run| can_tell(quantile.get(), run.count(metric)))
    {
        return None;
    }
    let scaled: Vec<f64> = values.iter().map(|value| metric.scale(*value)).collect();
    let freedom = runs.len() as f64 - 1.0;
    let deviation = (squares(&scaled) / freedom).sqrt();
    values.sort_by(f64::total_cmp);
    Some(MetricNoise {
        metric: metric.to_string(),
        unit: metric.unit().name().into(),
        median: Some(median(&values)).filter(|median| median.is_finite()),
        deviation,
        floor: metric.change(floor(deviation, freedom, [runs.len(); 2], alpha)),
    })
}
