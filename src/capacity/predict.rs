//! Predicts what was not measured: which Executor saturates first and which next, what other
//! numbers of replicas would sustain, and response times at other rates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::queue::{Known, LoadPoint, Queue};
use super::search::Answer;
use super::stats::Estimate;
use super::trials::TrialSummary;

/// What predictions need besides the loads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circumstances {
    /// Whether levels are numbers of clients.
    pub clients: bool,
    /// The squared coefficient of variation of the gaps between arrivals.
    pub arrival_variation: f64,
}

/// Confidence level of the models' intervals.
pub(super) const CONFIDENCE: f64 = 0.95;

/// How an Executor behaves under load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Its name.
    pub name: String,
    /// Its mean time under the lowest load.
    pub unloaded_ms: f64,
    /// Its mean time under the highest stable load.
    pub loaded_ms: f64,
    /// Its share of the growth of all Executors' times, from 0 to 1.
    pub share_of_growth: f64,
    /// Whether it is the one that saturates first.
    pub saturates_first: bool,
    /// Requests per second at which it saturates, by a queue fitted to its times; the upper end is null if
    /// its times do not grow enough to tell. Null with too few loads.
    pub capacity_per_s: Option<Estimate>,
}

/// What a number of replicas would sustain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Number of replicas.
    pub replicas: u32,
    /// What they would sustain, if each takes its share and nothing else saturates: between the sustained
    /// load and the upper bound, in proportion.
    pub holds_per_s: Estimate,
    /// Confidence level of the interval: of both its ends together.
    pub confidence: f64,
    /// Whether that is beyond twice the highest load measured.
    pub beyond: bool,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
}

/// How long requests would take at another rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatePrediction {
    /// Requests per second.
    pub rate_per_s: f64,
    /// The mean response time; null if the queue would grow without bound.
    pub mean_ms: Option<Estimate>,
    /// Whether the rate is beyond twice the highest load measured.
    pub beyond: bool,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
}

/// Share of the growth of all times above which an Executor is the one that saturates.
const GROWTH_MIN: f64 = 0.5;

/// Relative growth of a time that is not chance.
const FELT: f64 = 0.1;

/// Rates for which response times are predicted, relative to the sustained one.
const RATES: [f64; 6] = [0.25, 0.5, 0.75, 0.9, 1.1, 1.25];

/// The Executors by how much their times grew, largest first. The gateway is excluded, as its time
/// includes the others.
pub(super) fn executors(loads: &[&TrialSummary], circumstances: Circumstances) -> Vec<Stop> {
    let told = loads.iter().filter(|trial| !trial.point.executors.is_empty());
    let (Some(first), Some(last)) = (told.clone().next(), told.clone().next_back()) else {
        return Vec::new();
    };
    let times = first.point.executors.iter().filter(|executor| executor.name != "gateway");
    let mut stops: Vec<Stop> = times
        .map(|executor| Stop {
            name: executor.name.clone(),
            unloaded_ms: executor.mean_ms,
            loaded_ms: time_in(last, &executor.name).unwrap_or(executor.mean_ms),
            share_of_growth: 0.0,
            saturates_first: false,
            capacity_per_s: capacity(loads, &executor.name, circumstances),
        })
        .collect();
    let growth = |stop: &Stop| (stop.loaded_ms - stop.unloaded_ms).max(0.0);
    let all: f64 = stops.iter().map(growth).sum();
    let most = told.filter_map(|trial| trial.point.throughput_per_s).fold(0.0, f64::max);
    for stop in &mut stops {
        stop.share_of_growth = if all > 0.0 { growth(stop) / all } else { 0.0 };
        let felt = growth(stop) > FELT * stop.unloaded_ms;
        if !felt && let Some(capacity) = &mut stop.capacity_per_s {
            // An Executor that never queued shows only a lower bound of its capacity.
            *capacity = Estimate::new(most, most, f64::INFINITY);
        }
        stop.saturates_first = felt && stop.share_of_growth >= GROWTH_MIN;
    }
    stops.sort_by(|a, b| b.share_of_growth.total_cmp(&a.share_of_growth));
    stops
}

fn time_in(trial: &TrialSummary, name: &str) -> Option<f64> {
    let executors = &trial.point.executors;
    executors.iter().find(|executor| executor.name == name).map(|executor| executor.mean_ms)
}

/// The rate at which an Executor saturates.
fn capacity(loads: &[&TrialSummary], name: &str, circumstances: Circumstances) -> Option<Estimate> {
    if circumstances.clients {
        return None;
    }
    let times: Vec<LoadPoint> = loads
        .iter()
        .filter_map(|trial| {
            let mean_s = time_in(trial, name)? / 1e3;
            let whole = load(trial)?;
            // The variation of a single Executor's times is not reported; it is at most that of
            // all.
            Some(LoadPoint { mean_s, error_s: whole.error_s.max(0.01 * mean_s), ..whole })
        })
        .collect();
    let first = times.first()?;
    let deviation_s = loads.first()?.point.stddev_ms? / 1e3;
    let known = Known {
        service_max_s: first.mean_s + 2.0 * first.error_s,
        variance_s2: deviation_s.powi(2),
        arrival_variation: circumstances.arrival_variation,
        saturated_per_s: None,
    };
    Some(Queue::fit(&times, known, CONFIDENCE)?.capacity_per_s)
}

/// A trial as a load to fit a queue to.
pub(super) fn load(trial: &TrialSummary) -> Option<LoadPoint> {
    let point = &trial.point;
    let mean_s = point.mean_ms? / 1e3;
    let deviation_s = point.stddev_ms.unwrap_or(0.0) / 1e3;
    let error_s = deviation_s / trial.independent_requests.max(1.0).sqrt();
    // A machine varies from minute to minute: one percent of error remains, however large the
    // sample.
    let error_s = error_s.hypot(0.01 * mean_s);
    Some(LoadPoint { rate: point.throughput_per_s?, mean_s, error_s })
}

/// The Executor that saturates next once the first one has more replicas.
pub fn next(executors: &[Stop]) -> Option<&Stop> {
    executors.first().filter(|stop| stop.saturates_first)?;
    let lowest = |stop: &&Stop| stop.capacity_per_s.map_or(f64::INFINITY, |capacity| capacity.low);
    let rest = executors.iter().skip(1);
    rest.min_by(|a, b| {
        lowest(a).total_cmp(&lowest(b)).then(b.unloaded_ms.total_cmp(&a.unloaded_ms))
    })
}

/// What one, two … times as many replicas as measured would sustain: each takes its share of the
/// requests.
pub(super) fn replicas(
    answer: &Answer,
    trials: &[TrialSummary],
    confidence: f64,
    now: u32,
) -> Vec<Prediction> {
    let Answer::Edge { held, fails, estimate } = answer else { return Vec::new() };
    let now = now.max(1);
    let highest = highest(trials);
    let holds = Estimate::new(*estimate, *held, fails.unwrap_or(f64::INFINITY));
    // Either end may be wrong.
    let sides = if fails.is_some() { 2.0 } else { 1.0 };
    let confidence = 1.0 - sides * (1.0 - confidence);
    let mut counts = vec![1, now, now + 1, now * 2, now * 3, now * 4];
    counts.sort_unstable();
    counts.dedup();
    counts
        .into_iter()
        .map(|replicas| {
            let holds_per_s = holds.times(f64::from(replicas) / f64::from(now));
            let beyond = holds_per_s.value > 2.0 * highest;
            Prediction { replicas, holds_per_s, confidence, beyond, words: String::new() }
        })
        .collect()
}

/// Response times at rates around the sustained one.
pub(super) fn rates(
    answer: &Answer,
    trials: &[TrialSummary],
    queue: Option<&Queue>,
) -> Vec<RatePrediction> {
    let (Some(held), Some(queue)) = (answer.held(), queue) else { return Vec::new() };
    let highest = highest(trials);
    let rate = |factor: f64| {
        let rate_per_s = held * factor;
        let mean_ms = queue.response_ms(rate_per_s);
        let beyond = rate_per_s > 2.0 * highest;
        RatePrediction { rate_per_s, mean_ms, beyond, words: String::new() }
    };
    RATES.map(rate).to_vec()
}

/// The highest throughput of any load, in requests per second.
pub(super) fn highest(trials: &[TrialSummary]) -> f64 {
    trials.iter().filter_map(|trial| trial.point.throughput_per_s).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::analysis::tests::{circumstances, trial};
    use super::super::words;
    use super::*;

    #[test]
    fn an_executor_that_never_queued_has_no_upper_bound() {
        let trials: Vec<TrialSummary> = [5.0, 20.0, 40.0, 70.0, 80.0].map(trial).to_vec();
        let loads: Vec<&TrialSummary> = trials.iter().collect();
        let stops = executors(&loads, circumstances());
        let encoder = stops.iter().find(|stop| stop.name == "encoder").expect("it was there");
        assert_eq!(encoder.capacity_per_s, Some(Estimate::new(80.0, 80.0, f64::INFINITY)));
        let words = words::next(&stops).expect("there is a next");
        assert!(words.ends_with("its capacity is at least 80/s"), "{words}");
    }

    #[test]
    fn replicas_add_up_with_a_warning_where_nobody_has_been() {
        let answer = Answer::Edge { held: 55.0, fails: Some(60.0), estimate: 57.0 };
        let trials = [10.0, 55.0, 60.0].map(trial);
        let found = replicas(&answer, &trials, 0.99, 2);
        let counts: Vec<u32> = found.iter().map(|prediction| prediction.replicas).collect();
        assert_eq!(counts, [1, 2, 3, 4, 6, 8]);
        let said = |prediction| words::prediction(prediction, highest(&trials));
        assert_eq!(
            said(&found[1]),
            "2 replicas of the Flow would sustain 55 to 60/s, 98 % sure if nothing else saturates"
        );
        assert!((found[3].confidence - 0.98).abs() < 1e-9);
        assert!(said(&found[4]).contains("extrapolated beyond twice the measured 60/s"));
        let answer = Answer::Edge { held: 55.0, fails: None, estimate: 55.0 };
        let found = replicas(&answer, &trials, 0.99, 2);
        assert!(
            said(&found[3])
                .starts_with("4 replicas of the Flow would sustain 110/s or more, 99 % sure")
        );
        assert!((found[3].confidence - 0.99).abs() < 1e-9);
    }

    #[test]
    fn the_executor_whose_time_grows_saturates_first_and_another_is_the_next() {
        let trials: Vec<TrialSummary> = [5.0, 10.0, 20.0, 40.0, 55.0, 70.0].map(trial).to_vec();
        let loads: Vec<&TrialSummary> = trials.iter().collect();
        let found = executors(&loads, circumstances());
        assert_eq!(found[0].name, "indexer");
        assert!(found[0].saturates_first && !found[1].saturates_first);
        let capacity = found[0].capacity_per_s.expect("enough loads");
        assert!(capacity.contains(100.0), "{capacity:?}");
        assert_eq!(next(&found).expect("there is another").name, "encoder");
        let words = words::next(&found).expect("there is another");
        assert!(
            words.starts_with("with more replicas of `indexer` alone, `encoder` saturates next"),
            "{words}"
        );
    }

    #[test]
    fn other_rates_have_intervals_and_an_end() {
        let trials: Vec<TrialSummary> = [5.0, 10.0, 20.0, 40.0, 55.0, 70.0].map(trial).to_vec();
        let loads: Vec<LoadPoint> = trials.iter().filter_map(load).collect();
        let known = Known {
            service_max_s: 0.0151,
            variance_s2: 0.000_11,
            arrival_variation: 1.0,
            saturated_per_s: Some(100.0),
        };
        let queue = Queue::fit(&loads, known, CONFIDENCE).expect("a fit");
        let found = rates(&Answer::HoldsAtHigh { level: 90.0 }, &trials, Some(&queue));
        let half = found[1].mean_ms.expect("below capacity");
        // 5 ms in one Executor, 1000 / (100 - 45) in the other.
        assert!(half.contains(5.0 + 1000.0 / 55.0), "{half:?}");
        let said = words::rate(&found[5], highest(&trials));
        assert_eq!(said, "at 112/s the queue would grow without bound");
    }
}
