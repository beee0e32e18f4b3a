//! Evaluates trials together: the knee, goodput under overload, and models, tested on a load that
//! was kept from the fits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predict::{self, CONFIDENCE, Circumstances, Prediction, RatePrediction, Stop};
use super::queue::{Known, LoadPoint, Queue};
use super::search::{Answer, Kind, OVERLOADS};
use super::stats::Estimate;
use super::trials::{Overload, TrialOutcome, TrialSummary};
use super::usl::Usl;

/// Models of a Flow and their predictions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    /// Throughput over concurrency; null with too few loads.
    pub usl: Option<Usl>,
    /// Response time over load; null with too few loads, and for clients.
    pub queue: Option<Queue>,
    /// A measured load that was excluded from the fits, and their predictions for it.
    pub held_out: Option<HeldOut>,
    /// The Executors, the first to saturate first.
    pub executors: Vec<Stop>,
    /// What other numbers of replicas would sustain.
    pub replicas: Vec<Prediction>,
    /// How long requests would take at other rates; empty without a queue.
    pub rates: Vec<RatePrediction>,
}

/// A load that was excluded from the fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldOut {
    /// Requests per second, or clients.
    pub level: f64,
    /// Requests in flight.
    pub in_flight: f64,
    /// Measured throughput.
    pub throughput_per_s: f64,
    /// Throughput predicted by the scalability law.
    pub by_usl_per_s: Option<Estimate>,
    /// Measured mean response time.
    pub mean_ms: f64,
    /// Mean response time predicted by the queue.
    pub by_queue_ms: Option<Estimate>,
    /// Whether the measurement is inside the interval of every model.
    pub right: bool,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
}

/// Fewest different loads for one of them to be a knee: it needs others on both sides.
const KNEE_LEVELS_MIN: usize = 3;

/// The level with the most throughput for its response time (Kleinrock's power), among balanced
/// loads, and the neighbouring levels between which it lies; `None` with fewer than three balanced
/// loads.
pub(crate) fn knee(trials: &[TrialSummary]) -> Option<Estimate> {
    let mut loads: Vec<&TrialSummary> = balanced(trials).collect();
    loads.sort_by(|a, b| a.level.total_cmp(&b.level));
    loads.dedup_by_key(|trial| trial.level);
    if loads.len() < KNEE_LEVELS_MIN {
        return None;
    }
    let power = |trial: &TrialSummary| Some(trial.point.throughput_per_s? / trial.point.mean_ms?);
    let powers = loads.iter().enumerate().filter_map(|(at, trial)| Some((at, power(trial)?)));
    let (at, _) = powers.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let level = loads[at].level;
    let below = at.checked_sub(1).map_or(level, |below| loads[below].level);
    // An unbalanced load is also beyond the knee.
    let above = trials.iter().map(|trial| trial.level).filter(|other| *other > level);
    Some(Estimate::new(level, below, above.fold(f64::INFINITY, f64::min)))
}

/// The results of the loads beyond the sustained one.
pub(crate) fn overload(trials: &[TrialSummary]) -> Vec<Overload> {
    let beyond = trials.iter().filter(|trial| trial.kind == Kind::Overload);
    beyond
        .zip(OVERLOADS)
        .map(|(trial, factor)| Overload {
            factor,
            level: trial.level,
            goodput_per_s: trial.point.goodput_per_s,
            error_rate: trial.point.error_rate,
            reasons: trial.reasons.clone(),
        })
        .collect()
}

/// Fits the models that have enough data. Predictions for other numbers of replicas are left to
/// [`super::planning::plan_for`].
pub(crate) fn models(
    trials: &[TrialSummary],
    answer: &Answer,
    circumstances: Circumstances,
) -> Models {
    let mut loads: Vec<&TrialSummary> = balanced(trials).collect();
    loads.sort_by(|a, b| a.level.total_cmp(&b.level));
    // The same load again only adds weight to a fit over loads: the longest trial counts.
    loads.dedup_by(|b, a| {
        let same = a.level == b.level;
        if same && b.seconds > a.seconds {
            *a = b;
        }
        same
    });
    let executors = predict::executors(&loads, circumstances);
    let known = known(trials, &loads, &executors, circumstances);
    let fit = |loads: &[&TrialSummary]| {
        let usl: Vec<(f64, f64)> = loads
            .iter()
            .filter_map(|t| Some((concurrency(t, circumstances), t.point.throughput_per_s?)))
            .collect();
        let times: Vec<LoadPoint> = loads.iter().filter_map(|trial| predict::load(trial)).collect();
        let queue = known.filter(|_| !circumstances.clients);
        (Usl::fit(&usl, CONFIDENCE), queue.and_then(|known| Queue::fit(&times, known, CONFIDENCE)))
    };
    // The second highest: a load that matters, but not the end of the range, where every model is
    // worst.
    let held_out = (loads.len() >= 6).then(|| {
        let mut rest = loads.clone();
        let kept = rest.remove(loads.len() - 2);
        let (usl, queue) = fit(&rest);
        judge(kept, usl.as_ref(), queue.as_ref(), circumstances)
    });
    let (usl, queue) = fit(&loads);
    let rates = predict::rates(answer, trials, queue.as_ref());
    Models { usl, queue, held_out, executors, replicas: Vec::new(), rates }
}

/// Valid loads under which requests in flight did not grow.
fn balanced(trials: &[TrialSummary]) -> impl Iterator<Item = &TrialSummary> {
    trials.iter().filter(|trial| trial.is_balanced())
}

fn concurrency(trial: &TrialSummary, circumstances: Circumstances) -> f64 {
    if circumstances.clients {
        return trial.level;
    }
    // By Little's law: the number measured by integration includes the drain of trials that ended
    // early.
    trial.point.throughput_per_s.unwrap_or(0.0) * trial.point.mean_ms.unwrap_or(0.0) / 1e3
}

fn known(
    trials: &[TrialSummary],
    loads: &[&TrialSummary],
    executors: &[Stop],
    circumstances: Circumstances,
) -> Option<Known> {
    let lowest = loads.first()?;
    let unloaded = predict::load(lowest)?;
    let deviation_s = lowest.point.stddev_ms.unwrap_or(0.0) / 1e3;
    let highest = loads.last()?.point.throughput_per_s?;
    let full = trials.iter().filter(|trial| {
        // A load that failed without errors and could not keep up shows the maximum throughput.
        trial.outcome != TrialOutcome::Invalid && trial.point.error_rate < 0.01
    });
    let saturated = full.filter_map(|trial| {
        let (done, offered) = (trial.point.throughput_per_s?, trial.point.offered_per_s);
        (done < 0.97 * offered).then_some(done)
    });
    let saturated = saturated.fold(0.0, f64::max);
    // If an Executor saturates, the queue is in it.
    let first = executors.iter().find(|stop| stop.saturates_first);
    let service_s = first.map_or(unloaded.mean_s, |stop| stop.unloaded_ms / 1e3);
    Some(Known {
        service_max_s: service_s.min(unloaded.mean_s) + 2.0 * unloaded.error_s,
        variance_s2: deviation_s.powi(2),
        arrival_variation: circumstances.arrival_variation,
        saturated_per_s: (saturated > highest).then_some(saturated),
    })
}

fn judge(
    kept: &TrialSummary,
    usl: Option<&Usl>,
    queue: Option<&Queue>,
    circumstances: Circumstances,
) -> HeldOut {
    let in_flight = concurrency(kept, circumstances);
    let point = &kept.point;
    // It is balanced, so it has a throughput.
    let throughput_per_s = point.throughput_per_s.unwrap_or(0.0);
    let by_usl = usl.map(|usl| usl.predict(in_flight));
    // The measurement itself has an error too.
    let own_ms = predict::load(kept).map_or(0.0, |load| 2.0 * load.error_s * 1e3);
    let by_queue = queue
        .and_then(|queue| queue.response_ms(throughput_per_s))
        .map(|ms| Estimate::new(ms.value, (ms.low - own_ms).max(0.0), ms.high + own_ms));
    let mean_ms = point.mean_ms.unwrap_or(0.0);
    let usl_right = by_usl.is_none_or(|estimate| estimate.contains(throughput_per_s));
    let queue_right = by_queue.is_none_or(|estimate| estimate.contains(mean_ms));
    HeldOut {
        level: kept.level,
        in_flight,
        throughput_per_s,
        by_usl_per_s: by_usl,
        mean_ms,
        by_queue_ms: by_queue,
        right: usl_right && queue_right,
        words: String::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::capacity::trials::{ExecutorTime, Point};

    /// A trial of an M/M/1 queue that serves 100/s behind an Executor that always takes 5 ms.
    pub(in crate::capacity) fn trial(level: f64) -> TrialSummary {
        let fits = level < 100.0;
        let queued = if fits { 1000.0 / (100.0 - level) } else { 5000.0 };
        let time = |name: &str, mean_ms| ExecutorTime { name: name.into(), mean_ms };
        TrialSummary {
            kind: Kind::Bisect,
            level,
            outcome: if level < 60.0 { TrialOutcome::Passed } else { TrialOutcome::Failed },
            seconds: 20.0,
            budget_s: 20.0,
            point: Point {
                offered_per_s: level,
                throughput_per_s: Some(level.min(100.0)),
                mean_ms: Some(5.0 + queued),
                stddev_ms: Some(queued),
                executors: vec![
                    time("encoder", 5.0),
                    time("indexer", queued),
                    time("gateway", 5.0 + queued),
                ],
                drift: Some(if fits { 0.0 } else { (level - 100.0) / level }),
                growing: !fits,
                ..Point::default()
            },
            objective: Vec::new(),
            excess: 0.5,
            independent_requests: 1000.0,
            reasons: Vec::new(),
            excused: Vec::new(),
            recovered_s: None,
            server: Vec::new(),
        }
    }

    pub(in crate::capacity) fn circumstances() -> Circumstances {
        Circumstances { clients: false, arrival_variation: 1.0 }
    }

    #[test]
    fn models_are_fitted_to_loads_in_balance_and_tested_on_one_they_did_not_see() {
        let trials: Vec<TrialSummary> =
            [5.0, 10.0, 20.0, 40.0, 55.0, 70.0, 80.0, 160.0].map(trial).to_vec();
        let answer = Answer::Edge { held: 55.0, fails: Some(60.0), estimate: 57.0 };
        let models = models(&trials, &answer, circumstances());
        let queue = models.queue.expect("a queue");
        assert!((queue.capacity_per_s.value / 100.0 - 1.0).abs() < 0.1, "{queue:?}");
        assert!(queue.capacity_per_s.contains(100.0), "{queue:?}");
        assert_eq!(queue.servers.value, 1.0);
        let held_out = models.held_out.expect("one was kept");
        assert_eq!(held_out.level, 70.0);
        let predicted = held_out.by_usl_per_s.expect("a law");
        assert!((predicted.value / 70.0 - 1.0).abs() < 0.1, "{predicted:?}");
    }

    #[test]
    fn the_knee_is_where_throughput_costs_least_time() {
        let trials: Vec<TrialSummary> = [10.0, 20.0, 40.0, 60.0, 80.0].map(trial).to_vec();
        // For a pure M/M/1 queue it is half the capacity; a fixed time before the queue moves it
        // up.
        assert_eq!(knee(&trials), Some(Estimate::new(60.0, 40.0, 80.0)));
        // Unbalanced loads lie beyond it.
        let few: Vec<TrialSummary> = [10.0, 20.0, 40.0, 160.0].map(trial).to_vec();
        assert_eq!(knee(&few), Some(Estimate::new(40.0, 20.0, 160.0)));
        assert_eq!(knee(&[trial(10.0), trial(20.0), trial(20.0)]), None);
    }
}
