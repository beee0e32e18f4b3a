//! Conditions judged on a summary, giving a verdict.
//!
//! A latency threshold ranks every failed request (errors, timeouts, dropped, abandoned) as slower
//! than all that came back: a Flow does not get faster by failing. Neither latencies nor throughput
//! are judged on a run that is not valid, nor a quantile on too few requests.

use std::time::Duration;

use crate::record::summary::{
    Requests, ScenarioSummary, Summary, ThresholdSummary, Throughput, Verdict, ms,
};
use crate::record::tally::Tally;
use crate::record::validity::samples_needed;
use crate::record::{Histogram, HistogramError, Window};
use crate::scenario::condition::{Condition, Metric, MetricUnit, Statistic};

/// What conditions are judged on: the figures of a saved scenario, or of the last seconds of one
/// that runs.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Response time of ok requests.
    pub response: Histogram,
    /// Service time of ok requests.
    pub service: Histogram,
    /// What became of the requests.
    pub requests: Requests,
    /// Rates.
    pub throughput: Throughput,
    /// Responses on which an assertion did not hold; `None` where that was not kept.
    pub assertion_failures: Option<u64>,
    /// Why latencies and throughput cannot be judged, if they cannot.
    pub invalid: Option<String>,
    /// The evidence of each step alone, by its name, where iterations have several.
    pub steps: Vec<(String, Evidence)>,
}

/// The value of a metric, or why there is none.
enum Actual {
    /// In the metric's unit; infinite is beyond all that was recorded.
    Value(f64),
    Unknown(String),
}

impl Evidence {
    /// The evidence in a saved scenario.
    ///
    /// # Errors
    /// When somebody changed its histograms.
    pub fn of(scenario: &ScenarioSummary) -> Result<Evidence, HistogramError> {
        let invalid = scenario.validity.reasons.join("; ");
        let invalid = (!scenario.validity.valid).then_some(invalid);
        let mut steps = Vec::new();
        for step in &scenario.steps {
            let evidence = Evidence {
                response: step.response_time_ms.to_histogram()?,
                service: step.service_time_ms.to_histogram()?,
                requests: step.requests,
                throughput: Throughput {
                    requests_per_s: step.requests_per_s,
                    ..Throughput::default()
                },
                assertion_failures: None,
                invalid: invalid.clone(),
                steps: Vec::new(),
            };
            steps.push((step.name.clone(), evidence));
        }
        Ok(Evidence {
            response: scenario.response_time_ms.to_histogram()?,
            service: scenario.service_time_ms.to_histogram()?,
            requests: scenario.requests,
            throughput: scenario.throughput,
            assertion_failures: scenario
                .part
                .is_none()
                .then(|| scenario.assertions.iter().map(|a| a.failed).sum()),
            invalid,
            steps,
        })
    }

    /// The evidence in a window of a scenario that runs, with the names of its steps.
    pub fn of_window(
        tally: &Tally,
        window: Duration,
        assertion_failures: u64,
        names: &[&str],
    ) -> Evidence {
        let window = Window { length: window, timed: false };
        let names = if names.len() > 1 { names } else { &[] };
        let steps = names.iter().enumerate().map(|(index, name)| {
            // A step that was never reached has counted nothing.
            let step = tally.steps.get(index).cloned().unwrap_or_default();
            let requests_per_s = step.requests_per_s(window);
            // What is in flight now was not given up.
            let Requests { sent, abandoned, .. } = step.requests();
            let ended = sent - abandoned;
            let evidence = Evidence {
                response: step.response[0].clone(),
                service: step.service.clone(),
                requests: Requests {
                    abandoned: 0,
                    arrivals: ended,
                    sent: ended,
                    ..step.requests()
                },
                throughput: Throughput { requests_per_s, ..Throughput::default() },
                assertion_failures: None,
                invalid: None,
                steps: Vec::new(),
            };
            ((*name).to_owned(), evidence)
        });
        Evidence {
            response: tally.ok().clone(),
            service: tally.service.clone(),
            requests: Requests::ended(tally),
            throughput: Throughput::new(tally, window),
            assertion_failures: Some(assertion_failures),
            invalid: None,
            steps: steps.collect(),
        }
    }

    /// Judges a condition.
    pub fn judge(&self, condition: &Condition) -> ThresholdSummary {
        let about = self.about(condition);
        let no_step = || Actual::Unknown("there are no figures of that step".into());
        let actual = about.map_or_else(no_step, |about| about.actual(condition.metric));
        let (actual, verdict, reason) = match actual {
            Actual::Unknown(reason) => (None, Verdict::NotJudged, Some(reason)),
            Actual::Value(value) => {
                let shown = value.is_finite().then_some(value);
                match about.and_then(|about| about.obstacle(condition.metric)) {
                    Some(reason) => (shown, Verdict::NotJudged, Some(reason)),
                    None if condition.holds(value) => (shown, Verdict::Held, None),
                    None => (shown, Verdict::Failed, None),
                }
            }
        };
        let passed = verdict == Verdict::Held;
        let unit = match condition.metric.unit() {
            MetricUnit::Milliseconds => "ms",
            MetricUnit::Fraction => "share",
            MetricUnit::PerSecond => "per_s",
            MetricUnit::Count => "count",
        };
        let that = condition.to_string();
        ThresholdSummary { that, actual, unit: unit.into(), verdict, passed, reason }
    }

    /// What stands against judging a metric whose value is known.
    fn obstacle(&self, metric: Metric) -> Option<String> {
        let timing = metric.is_latency()
            || matches!(metric, Metric::Throughput | Metric::DocumentsPerSecond);
        if let Some(reason) = self.invalid.as_ref().filter(|_| timing) {
            return Some(format!("the run is not valid: {reason}"));
        }
        self.too_few(metric)
    }

    /// The evidence that a condition is about: the whole's, or a step's, if there is any.
    fn about(&self, condition: &Condition) -> Option<&Evidence> {
        let Some(step) = &condition.step else { return Some(self) };
        let found = self.steps.iter().find(|(name, _)| name == step);
        found.map(|(_, evidence)| evidence)
    }

    /// Why there are too few requests to judge a condition, if there are.
    pub fn lacks_requests(&self, condition: &Condition) -> Option<String> {
        self.about(condition)?.too_few(condition.metric)
    }

    fn too_few(&self, metric: Metric) -> Option<String> {
        let (Metric::ResponseTime(statistic) | Metric::ServiceTime(statistic)) = metric else {
            return None;
        };
        let Statistic::Quantile(quantile) = statistic else { return None };
        let (needed, found) = (samples_needed(quantile.get()), self.ranked());
        (found < needed).then(|| format!("{TOO_FEW}{quantile}: {found} of the {needed} it needs"))
    }

    /// All that latencies rank: what came back and what failed.
    fn ranked(&self) -> u64 {
        self.response.count() + self.requests.failed()
    }

    fn actual(&self, metric: Metric) -> Actual {
        let some = |value: Option<f64>| {
            value.map_or_else(|| Actual::Unknown("nothing was sent".into()), Actual::Value)
        };
        match metric {
            Metric::ResponseTime(statistic) => self.latency(&self.response, statistic),
            Metric::ServiceTime(statistic) => self.latency(&self.service, statistic),
            Metric::ErrorRate => some(self.requests.error_rate()),
            Metric::Errors => Actual::Value(self.requests.errors() as f64),
            Metric::Dropped => Actual::Value(self.requests.dropped as f64),
            Metric::AssertionFailures => match self.assertion_failures {
                Some(failures) => Actual::Value(failures as f64),
                None => Actual::Unknown("assertions are counted for whole scenarios only".into()),
            },
            Metric::Throughput => Actual::Value(self.throughput.requests_per_s),
            Metric::DocumentsPerSecond => Actual::Value(self.throughput.documents_per_s),
            Metric::Requests => Actual::Value(self.requests.sent as f64),
        }
    }

    fn latency(&self, histogram: &Histogram, statistic: Statistic) -> Actual {
        if self.ranked() == 0 {
            return Actual::Unknown("nothing was sent".into());
        }
        let value = match statistic {
            Statistic::Quantile(quantile) => {
                histogram.quantile_among(quantile.get(), self.ranked())
            }
            Statistic::Min => histogram.min(),
            // A mean has no place for what never came back: it is that of the others.
            Statistic::Mean => histogram.mean(),
            Statistic::Max if self.requests.failed() > 0 => None,
            Statistic::Max => histogram.max(),
        };
        Actual::Value(value.map_or(f64::INFINITY, ms))
    }
}

/// How a reason against judging begins that is a threshold's own, not the run's.
const TOO_FEW: &str = "too few requests for ";

/// Judges conditions on a saved scenario, in the place of those it was judged by before: gives it
/// their verdicts and its own. Anybody who has the result can do so.
///
/// # Errors
/// When somebody changed its histograms.
pub fn judge(
    scenario: &mut ScenarioSummary,
    conditions: &[Condition],
) -> Result<(), HistogramError> {
    let unfinished = scenario.end.unfinished();
    judge_unless(scenario, conditions, unfinished)
}

/// The same for who knows that it was interrupted and asks for what had ended until then. The scenario's
/// own verdict stays that it was interrupted.
///
/// # Errors
/// As for [`judge`].
pub fn judge_what_ended(
    scenario: &mut ScenarioSummary,
    conditions: &[Condition],
) -> Result<(), HistogramError> {
    let unfinished = scenario.end.unfinished();
    let unfinished = unfinished.filter(|(verdict, _)| *verdict != Verdict::Interrupted);
    judge_unless(scenario, conditions, unfinished)
}

/// Judges conditions, unless there is something against judging any.
fn judge_unless(
    scenario: &mut ScenarioSummary,
    conditions: &[Condition],
    unfinished: Option<(Verdict, String)>,
) -> Result<(), HistogramError> {
    // These reasons come from the conditions of before, and stood against them alone.
    scenario.validity.reasons.retain(|reason| !reason.starts_with(TOO_FEW));
    scenario.validity.valid = scenario.validity.reasons.is_empty();
    let evidence = Evidence::of(scenario)?;
    scenario.thresholds.clear();
    for condition in conditions {
        let lacks = evidence.lacks_requests(condition);
        if let Some(reason) = lacks.filter(|reason| !scenario.validity.reasons.contains(reason)) {
            scenario.validity.reasons.push(reason);
            scenario.validity.valid = false;
        }
        let mut judged = evidence.judge(condition);
        if let Some((_, reason)) = &unfinished {
            judged.verdict = Verdict::NotJudged;
            judged.passed = false;
            judged.reason = Some(reason.clone());
        }
        scenario.thresholds.push(judged);
    }
    let judged = overall(scenario.thresholds.iter().map(|threshold| threshold.verdict));
    // Whatever held of what ended: the rest was never asked.
    scenario.verdict = scenario.end.unfinished().map_or(judged, |(verdict, _)| verdict);
    scenario.passed = scenario.verdict == Verdict::Held;
    Ok(())
}

/// Gives a run the verdict that its scenarios add up to.
pub fn conclude(summary: &mut Summary) {
    let all = overall(summary.scenarios.iter().map(|scenario| scenario.verdict));
    summary.verdict = if summary.interrupted { Verdict::Interrupted } else { all };
    summary.passed = summary.verdict == Verdict::Held;
}

/// What thresholds add up to.
pub fn overall(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().fold(Verdict::Held, Verdict::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(ok_ms: impl IntoIterator<Item = u64>, failed: u64) -> Evidence {
        let mut response = Histogram::new();
        ok_ms.into_iter().for_each(|ms| response.record(Duration::from_millis(ms)));
        let ok = response.count();
        Evidence {
            service: response.clone(),
            response,
            requests: Requests {
                arrivals: ok + failed,
                sent: ok + failed,
                ok,
                timeouts: failed,
                ..Requests::default()
            },
            throughput: Throughput { requests_per_s: 100.0, ..Throughput::default() },
            assertion_failures: Some(0),
            invalid: None,
            steps: Vec::new(),
        }
    }

    #[track_caller]
    fn check(evidence: &Evidence, that: &str, actual: Option<f64>, verdict: Verdict) {
        let judged = evidence.judge(&that.parse().unwrap());
        assert_eq!((judged.actual, judged.verdict), (actual, verdict), "{that}: {judged:?}");
        assert_eq!(judged.passed, verdict == Verdict::Held);
        assert_eq!(judged.reason.is_some(), verdict == Verdict::NotJudged);
    }

    #[test]
    fn every_metric_has_its_value() {
        let run = evidence([10; 1000], 0);
        check(&run, "p99 < 50ms", Some(10.0), Verdict::Held);
        check(&run, "service.p50 <= 5ms", Some(10.0), Verdict::Failed);
        check(&run, "mean < 11ms", Some(10.0), Verdict::Held);
        check(&run, "max < 11ms", Some(10.0), Verdict::Held);
        check(&run, "min >= 11ms", Some(10.0), Verdict::Failed);
        check(&run, "error_rate < 0.1%", Some(0.0), Verdict::Held);
        check(&run, "errors == 0", Some(0.0), Verdict::Held);
        check(&run, "dropped == 0", Some(0.0), Verdict::Held);
        check(&run, "assertion_failures == 0", Some(0.0), Verdict::Held);
        check(&run, "throughput > 900/s", Some(100.0), Verdict::Failed);
        check(&run, "requests == 1000", Some(1000.0), Verdict::Held);
    }

    #[test]
    fn failures_rank_as_slower_than_everything() {
        let run = evidence([10; 980], 20);
        check(&run, "p95 < 50ms", Some(10.0), Verdict::Held);
        check(&run, "p99 < 50ms", None, Verdict::Failed);
        check(&run, "max < 1h", None, Verdict::Failed);
        check(&run, "p99 > 50ms", None, Verdict::Held);
        check(&run, "error_rate < 1%", Some(0.02), Verdict::Failed);
    }

    #[test]
    fn a_quantile_is_not_judged_on_too_few_requests() {
        let run = evidence([10; 100], 0);
        check(&run, "p90 < 50ms", Some(10.0), Verdict::Held);
        check(&run, "p99 < 50ms", Some(10.0), Verdict::NotJudged);
        // Failures are ranked, so they count.
        check(&evidence([10; 661], 0), "p99 < 50ms", Some(10.0), Verdict::NotJudged);
        check(&evidence([10; 662], 0), "p99 < 50ms", Some(10.0), Verdict::Held);
        check(&evidence([10; 659], 3), "p99 < 50ms", Some(10.0), Verdict::Held);
    }

    #[test]
    fn timing_is_not_judged_on_a_run_that_is_not_valid_and_counts_are() {
        let run = Evidence { invalid: Some("we were late".into()), ..evidence([10; 1000], 1) };
        check(&run, "p50 < 50ms", Some(10.0), Verdict::NotJudged);
        check(&run, "throughput > 1/s", Some(100.0), Verdict::NotJudged);
        check(&run, "errors == 0", Some(1.0), Verdict::Failed);
    }

    #[test]
    fn nothing_sent_is_nothing_to_judge() {
        let run = evidence([], 0);
        check(&run, "p99 < 50ms", None, Verdict::NotJudged);
        check(&run, "error_rate == 0", None, Verdict::NotJudged);
        check(&run, "errors == 0", Some(0.0), Verdict::Held);
    }

    #[test]
    fn a_step_is_judged_by_its_own_requests() {
        let mut run = evidence([100; 1000], 0);
        run.steps = vec![("search".into(), evidence([10; 1000], 0))];
        check(&run, "p99 < 50ms", Some(100.0), Verdict::Failed);
        check(&run, "search.p99 < 50ms", Some(10.0), Verdict::Held);
    }

    #[test]
    fn a_failure_outweighs_what_was_not_judged() {
        use Verdict::{Failed, Held, NotJudged};
        assert_eq!(overall([]), Held);
        assert_eq!(overall([Held, NotJudged]), NotJudged);
        assert_eq!(overall([NotJudged, Failed, Held]), Failed);
    }
}
