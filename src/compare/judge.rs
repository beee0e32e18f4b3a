//! Evaluates gates on intervals.

use rayon::prelude::*;
use serde::Serialize;

use super::effect::{Effect, Level, Prior, RANKED_MIN};
use super::gate::{Compared as _, Gate};
use super::noise::Noise;
use super::sample::{Run, Sample, executors};
use super::{CompareError, ScenarioComparison, Verdict, overall};
use crate::metric::{Measure, Metric, Part};
use crate::random::Key;
use crate::record::reason::{Code, Reason};
use crate::stats::{median, samples_needed};

/// Quantiles at which the shift of response times is shown.
const SHIFT: [f64; 8] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

/// Assumed standard deviation of latencies between runs, if it was not measured. It is larger than
/// on a quiet, dedicated machine, because a single run may be an outlier. `flowbench noise`
/// measures the true value.
const ASSUMED_LATENCY: f64 = 0.05;

/// The same for throughput, which follows the schedule or the mean of all latencies.
const ASSUMED_THROUGHPUT: f64 = 0.01;

/// Resolution of a latency's logarithm in histograms, for both sides together: three digits.
const RESOLUTION: f64 = 1e-3;

/// Maximum practical number of runs per side for one gate.
const RUNS_MAX: f64 = 500.0;

/// How a metric changed from base to candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Name as in gates.
    pub metric: String,
    /// `ms`, `share` (from 0 to 1) or `per_s`.
    pub unit: &'static str,
    /// Median of the base's runs in that unit. Null if it falls among the failures.
    pub base: Option<f64>,
    /// The same for the candidate.
    pub candidate: Option<f64>,
    /// Point estimate, relative to the base; for shares, absolute. Null, like the ends of the
    /// interval, if a side's value falls among the failures: then there is no ratio.
    pub change: Option<f64>,
    /// Lower end of the interval; null if there is none.
    pub low: Option<f64>,
    /// Upper end of the interval; null if there is none.
    pub high: Option<f64>,
    /// Whether the interval lies completely on the better side of no change.
    pub improved: bool,
    /// Whether it lies completely on the worse side.
    pub worsened: bool,
}

/// Result of a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateResult {
    /// The gate as written.
    pub gate: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The allowed change, in the form of [`Change::change`]: negative if less is worse.
    pub allowed: f64,
    /// The change, with the interval behind the verdict; null if there is nothing to compare.
    pub change: Option<Change>,
    /// Number of runs per side that would probably decide, if these do not. Null if that is unknown
    /// or impractical.
    pub runs_needed: Option<u64>,
    /// Why it is inconclusive; null if it is not.
    pub reason: Option<Reason>,
}

impl GateResult {
    /// Whether the point estimate lies beyond the allowance, however certain that is.
    pub fn is_beyond(&self) -> bool {
        let Some(found) = &self.change else { return false };
        match found.change {
            Some(change) if found.unit == "per_s" => change < self.allowed,
            Some(change) => change > self.allowed,
            None => found.candidate.is_none() && found.base.is_some(),
        }
    }
}

/// A gate on a scenario, while it is being decided.
struct Trial<'a> {
    gate: &'a Gate,
    compared: Result<Compared, Reason>,
    /// Runs per side that are needed for another reason.
    runs_needed: Option<u64>,
}

/// A metric on both sides.
struct Compared {
    metric: Metric,
    base: f64,
    candidate: f64,
    effect: Effect,
    runs: usize,
}

/// Compares the runs of each scenario, and evaluates the gates on all of them together.
///
/// # Errors
///
/// If a gate is about something that no scenario has.
pub fn judge(
    samples: &[Sample],
    gates: &[Gate],
    alpha: f64,
    noise: Option<&Noise>,
) -> Result<Vec<ScenarioComparison>, CompareError> {
    if let Some(gate) = gates.iter().find(|gate| !samples.iter().any(|s| s.knows(&gate.metric))) {
        return Err(unknown(&gate.metric, samples));
    }
    // A metric that only one scenario has is not a gate of the others.
    let trials = samples.iter().map(|s| gates.iter().filter(|gate| s.knows(&gate.metric)).count());
    let strictest = alpha / trials.sum::<usize>().max(1) as f64;
    let looked: Vec<(Vec<Trial>, Vec<Change>, Vec<Change>)> =
        samples.par_iter().map(|sample| sample.look(gates, alpha, strictest, noise)).collect();
    let (trials, rest): (Vec<Vec<Trial>>, Vec<_>) =
        looked.into_iter().map(|(trials, changes, shift)| (trials, (changes, shift))).unzip();
    let results = decide(&trials.iter().flatten().collect::<Vec<_>>(), alpha);
    let mut results = results.into_iter();
    Ok(samples
        .iter()
        .zip(trials)
        .zip(rest)
        .map(|((sample, trials), (changes, shift))| {
            let gates: Vec<GateResult> = results.by_ref().take(trials.len()).collect();
            ScenarioComparison {
                load: String::new(),
                target: String::new(),
                name: sample.name.clone(),
                verdict: overall(gates.iter().map(|gate| gate.verdict)),
                runs: [sample.base.len(), sample.candidate.len()],
                gates,
                changes,
                shift,
            }
        })
        .collect())
}

/// A scenario that the candidate no longer has, if there are gates on it. They are inconclusive.
pub(super) fn missing(name: &str, base: Vec<Run>, gates: &[Gate]) -> Option<ScenarioComparison> {
    let sample = Sample { name: name.to_owned(), base, candidate: Vec::new() };
    let gates = gates.iter().filter(|gate| sample.knows(&gate.metric));
    let reason = Reason::plain(Code::ScenarioMissing, "the candidate has no such scenario");
    let trials = gates.map(|gate| Trial { gate, compared: Err(reason.clone()), runs_needed: None });
    let gates: Vec<GateResult> = trials.map(|trial| trial.result(0.0)).collect();
    let verdict = overall(gates.iter().map(|gate| gate.verdict))?;
    Some(ScenarioComparison {
        load: String::new(),
        target: String::new(),
        name: sample.name,
        verdict: Some(verdict),
        runs: [sample.base.len(), 0],
        gates,
        changes: Vec::new(),
        shift: Vec::new(),
    })
}

fn unknown(metric: &Metric, samples: &[Sample]) -> CompareError {
    let executors =
        executors(samples.iter().flat_map(|sample| sample.base.iter().chain(&sample.candidate)));
    let known = match &metric.measure {
        Measure::Latency(Part::Executor(_), _) if executors.is_empty() => {
            ": its responses have no routes".into()
        }
        Measure::Latency(Part::Executor(_), _) => {
            format!(": its Executors are {}", executors.join(", "))
        }
        _ => String::new(),
    };
    CompareError::UnknownMetric { metric: metric.to_string(), known }
}

/// Holm's step-down method: the clearest of n gates is tested at alpha / n, the next at alpha / (n
/// − 1), and after the first that fails, the rest are inconclusive. The probability that any
/// verdict is wrong is at most `alpha`, whatever the dependence between them.
fn decide(trials: &[&Trial], alpha: f64) -> Vec<GateResult> {
    let chance = |trial: &Trial| match &trial.compared {
        Ok(compared) => compared.chance(trial.gate),
        Err(_) => 1.0,
    };
    let mut order: Vec<(f64, usize)> =
        trials.iter().enumerate().map(|(index, trial)| (chance(trial), index)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut levels = vec![alpha; trials.len()];
    let mut open = None;
    for (place, (chance, index)) in order.into_iter().enumerate() {
        let level = open.unwrap_or(alpha / (trials.len() - place) as f64);
        levels[index] = level;
        if chance > level {
            open = Some(level);
        }
    }
    trials.iter().zip(levels).map(|(trial, level)| trial.result(level)).collect()
}

impl Sample {
    fn look<'a>(
        &self,
        gates: &'a [Gate],
        alpha: f64,
        strictest: f64,
        noise: Option<&Noise>,
    ) -> (Vec<Trial<'a>>, Vec<Change>, Vec<Change>) {
        let gates: Vec<&Gate> = gates.iter().filter(|gate| self.knows(&gate.metric)).collect();
        let usual = self.usual();
        let shift = SHIFT.map(Metric::response);
        let metrics: Vec<Metric> =
            gates.iter().map(|gate| &gate.metric).chain(&usual).chain(&shift).cloned().collect();
        let prior = |metric: &Metric| noise.and_then(|noise| noise.prior(&self.name, metric));
        let mut compared = self.compared(&metrics, strictest, prior).into_iter();
        let trials = gates.into_iter().zip(compared.by_ref()).map(|(gate, compared)| {
            let short = self.too_few(&gate.metric);
            match (compared, short) {
                (_, Some((reason, runs))) => {
                    Trial { gate, compared: Err(reason), runs_needed: Some(runs) }
                }
                (compared, None) => Trial { gate, compared, runs_needed: None },
            }
        });
        let trials = trials.collect();
        let changes: Vec<Option<Change>> =
            compared.map(|c| c.ok().map(|compared| compared.change(alpha))).collect();
        let (usual, shift) = changes.split_at(usual.len());
        let all = |changes: &[Option<Change>]| changes.iter().flatten().cloned().collect();
        // A quantile that too few requests support is not shown.
        let shift: Vec<Option<Change>> = SHIFT
            .iter()
            .zip(shift)
            .map(|(quantile, change)| {
                change.clone().filter(|_| self.too_few(&Metric::response(*quantile)).is_none())
            })
            .collect();
        (trials, all(usual), all(&shift))
    }

    /// The metrics people look at first.
    fn usual(&self) -> Vec<Metric> {
        let named = ["p50", "p90", "p99", "throughput", "documents_per_second", "error_rate"];
        named
            .into_iter()
            .map(|name| name.parse().expect("they are metrics"))
            .chain(
                executors(&self.base)
                    .into_iter()
                    .flat_map(|name| [0.5, 0.99].map(|quantile| Metric::executor(name, quantile))),
            )
            .filter(|metric| self.too_few(metric).is_none())
            .collect()
    }

    /// Why a side has too few requests for a quantile, and how many runs would have enough.
    fn too_few(&self, metric: &Metric) -> Option<(Reason, u64)> {
        let needed = samples_needed(metric.quantile()?.get());
        let found = |side: &[Run]| side.iter().map(|run| run.count(metric)).sum::<u64>();
        let least = self.sides().into_iter().min_by_key(|side| found(side))?;
        let found = found(least);
        (0 < found && found < needed).then(|| {
            let runs = needed.div_ceil((found / least.len() as u64).max(1));
            let text = format!("too few requests: {found} per side of the {needed} it needs");
            (Reason::new(Code::TooFewRequests, found as f64, needed as f64, text), runs)
        })
    }

    fn compared(
        &self,
        metrics: &[Metric],
        strictest: f64,
        prior: impl Fn(&Metric) -> Option<Prior>,
    ) -> Vec<Result<Compared, Reason>> {
        let ranked = self.sides().iter().all(|side| side.len() >= RANKED_MIN);
        let within = self.sides().map(|side| -> Vec<Vec<f64>> {
            if ranked {
                // With enough runs, the variation within them does not matter.
                return vec![vec![0.0; metrics.len()]; side.len()];
            }
            // The same seed for the same runs: repeating a comparison gives the same result.
            let key = Key::new(0).part(&self.name);
            let runs = side.par_iter().enumerate();
            runs.map(|(index, run)| run.within(metrics, key.index(index as u64))).collect()
        });
        metrics
            .iter()
            .enumerate()
            .map(|(index, metric)| {
                // A share is about failures; everything else is about successes.
                if !metric.is_share() && self.base.iter().all(|run| run.failed >= run.arrivals) {
                    let text = "the base has no successful request";
                    return Err(Reason::plain(Code::BaseFailed, text));
                }
                let mut levels = Vec::with_capacity(2);
                for ((side, within), name) in
                    self.sides().into_iter().zip(&within).zip(["base", "candidate"])
                {
                    let values: Option<Vec<f64>> = side.iter().map(|r| r.value(metric)).collect();
                    let values = values.ok_or_else(|| {
                        let text = format!("not every run of the {name} has `{metric}`");
                        Reason::plain(Code::MetricMissing, text)
                    })?;
                    let mut ascending = values.clone();
                    ascending.sort_by(f64::total_cmp);
                    let level = Level {
                        values: values.into_iter().map(|value| metric.scale(value)).collect(),
                        within: within.iter().map(|metrics| metrics[index]).collect(),
                        started: side.iter().map(|run| run.started_s).collect(),
                    };
                    levels.push((level, median(&ascending)));
                }
                let [(base, base_median), (candidate, candidate_median)] = &levels[..] else {
                    unreachable!("there are two sides")
                };
                let assumed = match metric.measure {
                    Measure::Latency(..) => ASSUMED_LATENCY,
                    Measure::Throughput | Measure::DocumentsPerSecond => ASSUMED_THROUGHPUT,
                    // The uncertainty of counting failures is added below.
                    _ => 0.0,
                };
                let prior = prior(metric).unwrap_or(Prior::Assumed(assumed));
                let resolution = self.resolution(metric);
                let mut effect = Effect::new(base, candidate, prior, resolution, strictest);
                if metric.is_share() {
                    let [base, candidate] = self.sides().map(|side| {
                        let failed = side.iter().map(|run| run.failed).sum::<u64>();
                        let arrivals = side.iter().map(|run| run.arrivals).sum::<u64>();
                        (failed as f64, arrivals as f64)
                    });
                    effect = effect.with_counts(base, candidate);
                }
                Ok(Compared {
                    metric: metric.clone(),
                    base: *base_median,
                    candidate: *candidate_median,
                    effect,
                    runs: self.base.len().min(self.candidate.len()),
                })
            })
            .collect()
    }

    /// Resolution of a metric on its scale.
    fn resolution(&self, metric: &Metric) -> f64 {
        match metric.measure {
            Measure::Latency(..) => RESOLUTION,
            // One request more or less at the edge of a run.
            Measure::Throughput | Measure::DocumentsPerSecond => {
                let runs = self.sides().into_iter().flatten();
                1.0 / runs.map(|run| run.count(metric)).min().unwrap_or(1).max(1) as f64
            }
            _ => 0.0,
        }
    }
}

impl Trial<'_> {
    fn result(&self, level: f64) -> GateResult {
        let gate = self.gate.to_string();
        let compared = match &self.compared {
            Ok(compared) => compared,
            Err(reason) => {
                return GateResult {
                    gate,
                    verdict: Verdict::Inconclusive,
                    allowed: self.gate.metric.change(self.gate.limit(f64::INFINITY)),
                    change: None,
                    runs_needed: self.runs_needed,
                    reason: Some(reason.clone()),
                };
            }
        };
        let limit = self.gate.limit(compared.base);
        let (low, high) = compared.effect.bounds(level);
        let (beyond, inside) = if self.gate.metric.rises_to_worse() {
            (low > limit, high < limit)
        } else {
            (high < limit, low > limit)
        };
        let verdict = match (beyond, inside) {
            (true, _) => Verdict::Regressed,
            (_, true) => Verdict::Passed,
            _ => Verdict::Inconclusive,
        };
        let open = verdict == Verdict::Inconclusive;
        let runs_needed = open.then(|| compared.runs_needed(limit, level)).flatten();
        GateResult {
            gate,
            verdict,
            allowed: self.gate.metric.change(limit),
            change: Some(compared.change(level)),
            runs_needed,
            reason: open.then(|| compared.too_few_runs(runs_needed)),
        }
    }
}

impl Compared {
    /// Whether both sides have a value.
    fn is_told(&self) -> bool {
        self.base.is_finite() && self.candidate.is_finite()
    }

    /// The smallest alpha at which there is a verdict on the gate.
    fn chance(&self, gate: &Gate) -> f64 {
        let limit = gate.limit(self.base);
        self.effect.chance_above(limit).min(self.effect.chance_below(limit))
    }

    fn change(&self, level: f64) -> Change {
        let (low, high) = self.effect.bounds(level);
        let finite = |value: f64| value.is_finite().then_some(value);
        let rises = self.metric.rises_to_worse();
        let told = |change: f64| self.is_told().then_some(self.metric.change(change));
        Change {
            metric: self.metric.to_string(),
            unit: self.metric.unit().name(),
            base: finite(self.base),
            candidate: finite(self.candidate),
            change: told(self.effect.estimate),
            low: finite(low).and_then(told),
            high: finite(high).and_then(told),
            improved: if rises { high < 0.0 } else { low > 0.0 },
            worsened: if rises { low > 0.0 } else { high < 0.0 },
        }
    }

    /// The reason why this many runs do not decide.
    fn too_few_runs(&self, needed: Option<u64>) -> Reason {
        let text = match needed {
            Some(runs) => format!("about {runs} runs per side would decide it"),
            None => "the change is so close to the allowance that no practical number of runs \
                     would decide it"
                .into(),
        };
        let (found, limit) = (Some(self.runs as f64), needed.map(|runs| runs as f64));
        Reason { code: Code::TooFewRuns, found, limit, text }
    }

    /// Runs per side that would decide with a power of 80 %, if the point estimate is true. The
    /// interval shrinks with the square root of their number.
    fn runs_needed(&self, limit: f64, level: f64) -> Option<u64> {
        // The 80 % power in addition to the 99 % of the verdict, in standard errors.
        const LUCK: f64 = 1.0 + 0.84 / 2.33;
        let gap = (self.effect.estimate - limit).abs();
        let half = self.effect.half(level);
        let needed = self.runs as f64 * (half * LUCK / gap).powi(2);
        let more = needed.ceil().max(self.runs as f64 + 1.0);
        (more <= RUNS_MAX).then_some(more as u64)
    }
}
