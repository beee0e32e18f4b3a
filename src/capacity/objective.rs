//! An objective: conditions that a sustained load must meet, and how a growing recording is measured against them.

use std::time::Duration;

use super::judge::{Block, Limit, Over};
use crate::metric::{Measure, Part, Statistic};
use crate::record::Recording;
use crate::record::summary::{ScenarioSummary, ThresholdSummary, Verdict};
use crate::record::tally::{Counts, Tally};
use crate::record::{Histogram, HistogramError};
use crate::scenario::condition::{Condition, ObjectiveError};
use crate::threshold::Evidence;

/// Conditions that must all be met.
#[derive(Clone, Debug)]
pub(crate) struct Objective {
    conditions: Vec<Condition>,
    /// Those conditions that limit a share of requests.
    limits: Vec<Limit>,
}

impl Objective {
    /// An objective with these conditions.
    ///
    /// # Errors
    /// The indices of the conditions that cannot be part of an objective, and why.
    pub(crate) fn new(conditions: &[Condition]) -> Result<Objective, Vec<(usize, ObjectiveError)>> {
        let each = conditions.iter().enumerate();
        let problems: Vec<(usize, ObjectiveError)> = each
            .filter_map(|(index, condition)| Some((index, condition.check_objective().err()?)))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let limits = conditions.iter().filter_map(limit).collect();
        Ok(Objective { conditions: conditions.to_vec(), limits })
    }

    /// The conditions, as written.
    pub(crate) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Those conditions that limit a share of requests.
    pub(crate) fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// The condition behind one of the limits.
    pub(crate) fn condition_of(&self, index: usize) -> Option<&Condition> {
        self.conditions.iter().filter(|condition| limit(condition).is_some()).nth(index)
    }

    /// The shortest response time that it limits, in seconds; `None` if it limits none.
    pub(crate) fn shortest_limit_s(&self) -> Option<f64> {
        self.limits.iter().filter_map(|limit| limit.time()).min().map(|time| time.as_secs_f64())
    }

    /// Whether a trial can pass before its budget is used up: every condition is a share of requests, whose certainty
    /// is known.
    pub(crate) fn is_sequential(&self) -> bool {
        self.limits.len() == self.conditions.len()
    }

    /// The results of its conditions on a finished trial. They are judged even if the run is not valid, which is left
    /// to the search to consider.
    ///
    /// # Errors
    /// If a histogram was modified.
    pub(crate) fn judge(
        &self,
        summary: &ScenarioSummary,
    ) -> Result<Vec<ThresholdSummary>, HistogramError> {
        let mut evidence = Evidence::of(summary)?;
        evidence.doubts.clear();
        evidence.steps.iter_mut().for_each(|(_, step)| step.doubts.clear());
        Ok(self.judged(&evidence))
    }

    /// The results of its conditions up to a moment, `elapsed` after the beginning. `steps` are the names of the
    /// scenario's steps.
    pub(crate) fn judge_window(
        &self,
        tally: &Tally,
        counts: &Counts,
        elapsed: Duration,
        steps: &[&str],
    ) -> Vec<ThresholdSummary> {
        self.judged(&Evidence::of_window(tally, elapsed, counts, steps))
    }

    fn judged(&self, evidence: &Evidence) -> Vec<ThresholdSummary> {
        self.conditions.iter().map(|condition| evidence.judge(condition)).collect()
    }

    /// The combined verdict of the conditions that do not limit a share of requests; `Passed` if there are none.
    pub(crate) fn others(&self, judged: &[ThresholdSummary]) -> Verdict {
        let others = self.conditions.iter().zip(judged);
        others
            .filter(|(condition, _)| limit(condition).is_none())
            .fold(Verdict::Passed, |verdict, (_, judged)| verdict.and(judged.verdict))
    }

    /// A meter for a recording, block by block.
    pub(crate) fn meter(&self) -> Meter {
        Meter { limits: self.limits.clone(), last: Snapshot::default() }
    }
}

/// The share of requests that a condition limits; `None` if it is judged at the end.
fn limit(condition: &Condition) -> Option<Limit> {
    if condition.metric.step.is_some() {
        return None;
    }
    let (allowed, over) = match condition.metric.measure {
        Measure::Latency(Part::Response, Statistic::Quantile(quantile)) => {
            let time = Duration::try_from_secs_f64(condition.limit / 1e3).unwrap_or(Duration::MAX);
            (1.0 - quantile.get(), Over::Slow(time))
        }
        Measure::ErrorRate if condition.limit < 1.0 => (condition.limit, Over::Failed),
        Measure::AssertionFailures if condition.limit == 0.0 => (0.0, Over::Wrong),
        _ => return None,
    };
    Some(Limit { allowed, over })
}

/// Cuts a growing recording into blocks.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    limits: Vec<Limit>,
    last: Snapshot,
}

/// Everything up to an instant.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    at_s: f64,
    requests: f64,
    over: Vec<f64>,
    sum_s: f64,
    squares_s2: f64,
    area: f64,
}

/// Shorter blocks wait for more data: workers do not report at the same instant.
const BLOCK_MIN_S: f64 = 0.2;

impl Meter {
    /// What happened since the last block, if that is long enough for one; `wrong` is the number of failed assertions
    /// so far. `last`: the trial is over, and the rest is a block however short.
    pub(crate) fn block(
        &mut self,
        recording: &Recording,
        wrong: u64,
        elapsed: Duration,
        last: bool,
    ) -> Option<Block> {
        let now = self.snapshot(recording, wrong, elapsed);
        let seconds = now.at_s - self.last.at_s;
        if seconds < BLOCK_MIN_S && !(last && seconds > 0.0) {
            return None;
        }
        let before = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        let over = now.over.iter().enumerate();
        Some(Block {
            seconds,
            requests: now.requests - before.requests,
            over: over.map(|(i, over)| over - before.over.get(i).unwrap_or(&0.0)).collect(),
            sum_s: now.sum_s - before.sum_s,
            squares_s2: (now.squares_s2 - before.squares_s2).max(0.0),
            in_flight: (now.area - before.area) / seconds,
        })
    }

    fn snapshot(&self, recording: &Recording, wrong: u64, elapsed: Duration) -> Snapshot {
        let totals = &recording.totals;
        let ok = totals.ok();
        let failed = totals.failed() as f64;
        let requests = ok.count() as f64 + failed;
        let over = self.limits.iter().map(|limit| match limit.over {
            Over::Slow(time) => requests - ok.count_up_to(time) as f64,
            Over::Failed => failed,
            Over::Wrong => wrong as f64,
        });
        let (sum_s, squares_s2) = moments(ok);
        Snapshot {
            at_s: elapsed.as_secs_f64(),
            requests,
            over: over.collect(),
            sum_s,
            squares_s2,
            area: totals.in_flight.area,
        }
    }
}

/// Sum in seconds, and sum of squares in s².
fn moments(times: &Histogram) -> (f64, f64) {
    let (Some(mean), Some(stddev)) = (times.mean(), times.stddev()) else { return (0.0, 0.0) };
    let (mean, stddev) = (mean.as_secs_f64(), stddev.as_secs_f64());
    let count = (times.count() - times.beyond()) as f64;
    (count * mean, count * (stddev * stddev + mean * mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(conditions: &[&str]) -> Result<Objective, Vec<(usize, ObjectiveError)>> {
        let conditions: Vec<Condition> =
            conditions.iter().map(|text| text.parse().expect("a condition")).collect();
        Objective::new(&conditions)
    }

    #[test]
    fn quantiles_and_error_rates_are_shares_of_requests() {
        let found = objective(&["p99 < 100ms", "error_rate < 1%"]).expect("an objective");
        assert!(found.is_sequential());
        assert_eq!(found.shortest_limit_s(), Some(0.1));
        let [slow, failed] = found.limits() else { panic!("{:?}", found.limits()) };
        assert!((slow.allowed - 0.01).abs() < 1e-12, "{slow:?}");
        assert_eq!(*failed, Limit { allowed: 0.01, over: Over::Failed });
        let none = objective(&["error_rate == 0"]).expect("an objective");
        assert_eq!(none.limits(), [Limit { allowed: 0.0, over: Over::Failed }]);
        let right = objective(&["assertion_failures == 0"]).expect("an objective");
        assert!(right.is_sequential());
        assert_eq!(right.limits(), [Limit { allowed: 0.0, over: Over::Wrong }]);
        let mean = objective(&["mean < 10ms", "search.p99 < 5ms"]).expect("an objective");
        assert!(!mean.is_sequential());
    }

    #[test]
    fn what_is_no_objective_says_why() {
        for (text, reason) in [
            (
                "throughput > 100/s",
                "cannot be an objective of a search, which varies the load itself",
            ),
            ("p99 > 100ms", "an objective limits a latency from above"),
            ("error_rate >= 1%", "an objective limits failures from above"),
            ("p99 < 0s", "can never be met"),
        ] {
            let problems = objective(&[text]).expect_err(text);
            assert!(problems[0].1.to_string().contains(reason), "{problems:?}");
        }
    }

    #[test]
    fn blocks_add_up_to_the_recording() {
        let mut meter = objective(&["p99 < 100ms"]).expect("an objective").meter();
        let mut recording = Recording::default();
        let mut add = |times: &[u64], at: u64| {
            for ms in times {
                recording.totals.response[0].record(Duration::from_millis(*ms));
            }
            meter.block(&recording, 0, Duration::from_millis(at), false)
        };
        let first = add(&[10, 20, 200], 250).expect("long enough");
        assert_eq!((first.requests, first.over[0]), (3.0, 1.0));
        assert!((first.sum_s - 0.23).abs() < 1e-3);
        assert_eq!(add(&[10], 300), None);
        let second = add(&[300], 500).expect("long enough");
        assert_eq!((second.requests, second.over[0]), (2.0, 1.0));
        assert!((second.sum_s - 0.31).abs() < 1e-3, "{second:?}");
    }
}
