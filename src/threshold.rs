//! Judges conditions on a summary, giving a verdict.
//!
//! A latency threshold ranks every failed request (errors, timeouts, dropped, abandoned) as slower than all
//! responses: a Flow does not get faster by failing. Neither latencies nor throughput are judged on an invalid run,
//! nor a quantile on too few requests.

use std::time::Duration;

use indexmap::IndexMap;

use crate::metric::{Measure, Metric, Part, ServerMetric, Statistic};
use crate::record::reason::{Code, Reason};
use crate::record::summary::{
    ClientSummary, DocumentCounts, EndReason, Requests, ScenarioSummary, Summary, ThresholdSummary,
    Throughput, Verdict, ms,
};
use crate::record::tally::{Counts, Tally};
use crate::record::{Histogram, HistogramError, Window};
use crate::scenario::condition::{Comparison, Condition};
use crate::server::{Seen, ServerSummary};
use crate::stats::samples_needed;

/// What conditions are judged on: the figures of a saved scenario, or of the last seconds of a running one.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Response time of ok requests.
    pub response: Histogram,
    /// Service time of ok requests.
    pub service: Histogram,
    /// Other parts of the time: in Executors and gateway, and outside the gateway, from the routes in responses; and
    /// iterations without their pauses.
    pub routes: Vec<(Part, Histogram)>,
    /// Requests by outcome.
    pub requests: Requests,
    /// Rates.
    pub throughput: Throughput,
    /// Responses that failed an assertion; `None` if that was not kept.
    pub assertion_failures: Option<u64>,
    /// The counters of `count` actions; `None` if they were not kept.
    pub counters: Option<IndexMap<String, u64>>,
    /// Documents that did not come back; `None` if that is not known.
    pub documents_missing: Option<u64>,
    /// The Flow's own metrics; `None` if they were not read.
    pub(crate) server: Option<Vec<Seen>>,
    /// The reasons against quoting it, which may make a condition inconclusive.
    pub doubts: Vec<Reason>,
    /// Longest delay of a request caused by the load generator, in ms.
    pub own_delay_ms: f64,
    /// The time that rates refer to.
    pub length_s: f64,
    /// The evidence of each step by name, if iterations have several.
    pub steps: Vec<(String, Evidence)>,
}

/// The value of a metric, or why there is none.
enum Actual {
    /// In the metric's unit; infinite if it is beyond everything recorded.
    Value(f64),
    Unknown(Code, String),
}

/// The range of values that a metric could have had without the reason against the run.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    low: f64,
    high: f64,
}

impl Span {
    /// Whether the result of a condition would be different somewhere in the range.
    fn turns(self, condition: &Condition, holds: bool) -> bool {
        let ends = [self.low, self.high].into_iter();
        let within = self.low < condition.limit && condition.limit < self.high;
        let one_value = matches!(condition.comparison, Comparison::Equal | Comparison::NotEqual);
        (one_value && within) || ends.into_iter().any(|end| condition.holds(end) != holds)
    }
}

impl Evidence {
    /// The evidence in a saved scenario.
    ///
    /// # Errors
    /// If a histogram was modified.
    pub fn of(scenario: &ScenarioSummary) -> Result<Evidence, HistogramError> {
        let mut doubts = scenario.validity.reasons.clone();
        doubts.retain(|reason| !reason.code.is_of_one_condition());
        let ClientSummary { pacer_ms, generator_ms, .. } = &scenario.client;
        let own_delay_ms = pacer_ms.max.unwrap_or(0.0) + generator_ms.max.unwrap_or(0.0);
        let length_s = scenario.duration_s;
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
                routes: Vec::new(),
                assertion_failures: None,
                counters: None,
                documents_missing: None,
                server: None,
                doubts: doubts.clone(),
                own_delay_ms,
                length_s,
                steps: Vec::new(),
            };
            steps.push((step.name.clone(), evidence));
        }
        let mut routes = Vec::new();
        for executor in scenario.executors.iter().flatten() {
            let part = Part::Executor(executor.name.clone());
            routes.push((part, executor.time_ms.to_histogram()?));
        }
        for (part, time) in
            [(Part::Gateway, &scenario.gateway_ms), (Part::Network, &scenario.network_ms)]
        {
            let time = time.as_ref().map(|time| time.to_histogram()).transpose()?;
            routes.extend(time.map(|time| (part, time)));
        }
        let whole = scenario.part.is_none();
        let active = match &scenario.active_time_ms {
            Some(active) => Some(active.to_histogram()?),
            // A single request contains no pauses. The remaining data of steps in a window is not sufficient.
            None => (whole && scenario.steps.is_empty())
                .then(|| scenario.response_time_ms.to_histogram())
                .transpose()?,
        };
        routes.extend(active.map(|active| (Part::Active, active)));
        Ok(Evidence {
            response: scenario.response_time_ms.to_histogram()?,
            service: scenario.service_time_ms.to_histogram()?,
            routes,
            requests: scenario.requests,
            throughput: scenario.throughput,
            assertion_failures: whole
                .then(|| scenario.assertions.iter().map(|assertion| assertion.failed).sum()),
            counters: whole.then(|| scenario.counters.clone()),
            documents_missing: scenario.documents.missing,
            server: scenario.server.as_ref().map(ServerSummary::seen),
            doubts,
            own_delay_ms,
            length_s,
            steps,
        })
    }

    /// The evidence in a window of a running scenario, with the names of its steps.
    pub fn of_window(tally: &Tally, window: Duration, counts: &Counts, names: &[&str]) -> Evidence {
        let window = Window { length: window, timed: false };
        let executors = tally
            .executors
            .iter()
            .map(|executor| (Part::Executor(executor.name.clone()), executor.time.clone()));
        let active = if tally.active.count() > 0 { &tally.active } else { tally.ok() };
        let routes = [
            (Part::Gateway, &tally.gateway),
            (Part::Network, &tally.network),
            (Part::Active, active),
        ];
        let routes = routes.map(|(part, time)| (part, time.clone())).into_iter().chain(executors);
        let routes =
            routes.filter(|(part, time)| *part == Part::Active || time.count() > 0).collect();
        let names = if names.len() > 1 { names } else { &[] };
        let steps = names.iter().enumerate().map(|(index, name)| {
            // A step that was never reached has no counts.
            let step = tally.steps.get(index).cloned().unwrap_or_default();
            let requests_per_s = step.requests_per_s(window);
            // Requests in flight now have not been abandoned.
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
                routes: Vec::new(),
                assertion_failures: None,
                counters: None,
                documents_missing: None,
                server: None,
                doubts: Vec::new(),
                own_delay_ms: 0.0,
                length_s: window.length.as_secs_f64(),
                steps: Vec::new(),
            };
            ((*name).to_owned(), evidence)
        });
        Evidence {
            response: tally.ok().clone(),
            service: tally.service.clone(),
            routes,
            requests: Requests::ended(tally),
            throughput: Throughput::new(tally, window),
            assertion_failures: Some(counts.assertion_failures),
            counters: Some(counts.counters.clone()),
            documents_missing: DocumentCounts::new(tally).missing,
            server: None,
            doubts: Vec::new(),
            own_delay_ms: 0.0,
            length_s: window.length.as_secs_f64(),
            steps: steps.collect(),
        }
    }

    /// Judges a condition.
    pub fn judge(&self, condition: &Condition) -> ThresholdSummary {
        let unknown = |code, text| (None, Verdict::Inconclusive, Some(Reason::plain(code, text)));
        let (actual, verdict, reason) = match self.about(condition) {
            None => unknown(Code::NotKept, "there are no figures for that step".into()),
            Some((about, metric)) => match about.actual(&metric.measure) {
                Actual::Unknown(code, text) => unknown(code, text),
                Actual::Value(value) => {
                    let (verdict, reason) = about.weigh(condition, &metric.measure, value);
                    (value.is_finite().then_some(value), verdict, reason)
                }
            },
        };
        let passed = verdict == Verdict::Passed;
        let unit = condition.metric.unit().name();
        let that = condition.to_string();
        let code = reason.as_ref().map(|reason| reason.code);
        let reason = reason.map(|reason| reason.text);
        ThresholdSummary { that, actual, unit: unit.into(), verdict, passed, reason, code }
    }

    /// Judges a metric whose value is known. The result is inconclusive only if one of the doubts, or the requests
    /// missing for a percentile, could reverse it.
    fn weigh(
        &self,
        condition: &Condition,
        metric: &Measure,
        value: f64,
    ) -> (Verdict, Option<Reason>) {
        let spans =
            self.doubts.iter().map(|doubt| (self.span(metric, value, doubt), doubt.clone()));
        let few = self.too_few(metric).map(|reason| (self.span_of_missing(metric), reason));
        let holds = condition.holds(value);
        let turned = few.into_iter().chain(spans).find(|(span, _)| span.turns(condition, holds));
        match turned {
            Some((_, reason)) if reason.code == Code::TooFewRequests => {
                (Verdict::Inconclusive, Some(reason))
            }
            Some((_, reason)) => {
                let text = format!("the run is not valid: {reason}");
                (Verdict::Inconclusive, Some(Reason { text, ..reason }))
            }
            None if holds => (Verdict::Passed, None),
            None => (Verdict::Failed, None),
        }
    }

    /// The possible range of a metric, given a reason against the run. See the table in `docs/report.md`.
    fn span(&self, metric: &Measure, value: f64, doubt: &Reason) -> Span {
        let exactly = Span { low: value, high: value };
        let anything = Span { low: f64::NEG_INFINITY, high: f64::INFINITY };
        let up = Span { low: value, high: f64::INFINITY };
        let delay = self.own_delay_ms;
        let requests = &self.requests;
        let share = |failed: u64| failed as f64 / requests.arrivals.max(1) as f64;
        match (doubt.code, metric) {
            // The requests of other parts could only be added to these.
            (
                Code::PartMissing | Code::PartLost,
                Measure::AssertionFailures
                | Measure::Requests
                | Measure::DocumentsMissing
                | Measure::Counter(_)
                | Measure::Errors
                | Measure::Dropped
                | Measure::Throughput
                | Measure::DocumentsPerSecond,
            ) => up,
            // The Flow's own metrics are right, whoever sent it the load.
            (_, Measure::Server(_)) => exactly,
            (Code::PartMissing | Code::PartLost, _) => anything,
            (
                _,
                Measure::AssertionFailures
                | Measure::Requests
                | Measure::DocumentsMissing
                | Measure::Counter(_),
            ) => exactly,
            // It is unknown how arrivals that we never sent would have ended.
            (Code::NotSentInTime, Measure::ErrorRate | Measure::Errors | Measure::Dropped) => {
                let missing = doubt.limit.unwrap_or(0.0) - doubt.found.unwrap_or(0.0);
                let low = requests.failed().saturating_sub(missing as u64);
                match metric {
                    Measure::ErrorRate => Span { low: share(low), high: value },
                    Measure::Errors => Span { low: value, high: value + missing },
                    _ => Span { low: value - missing, high: value },
                }
            }
            // It is unknown how requests that we could not send would have ended.
            (Code::OwnLimit, Measure::ErrorRate | Measure::Errors) => {
                let ours = doubt.found.unwrap_or(0.0).min(requests.errors() as f64);
                match metric {
                    Measure::ErrorRate => {
                        Span { low: share(requests.failed() - ours as u64), high: value }
                    }
                    _ => Span { low: value - ours, high: value },
                }
            }
            (Code::OwnLimit, Measure::Throughput | Measure::DocumentsPerSecond) => up,
            // A thread that does not run reads responses too late, and mistakes some for timeouts.
            (
                Code::ThreadBusy | Code::CpuWithheld | Code::CpuContended,
                Measure::ErrorRate | Measure::Errors,
            ) => match metric {
                Measure::ErrorRate => {
                    Span { low: share(requests.failed() - requests.timeouts), high: value }
                }
                _ => Span { low: value - requests.timeouts as f64, high: value },
            },
            (_, Measure::ErrorRate | Measure::Errors | Measure::Dropped) => exactly,
            // Requests sent up to `delay` late come back up to `delay` late, and never earlier. So the response time,
            // which counts from when they were due, would have been shorter by at most that much, and never longer.
            (
                Code::GeneratorBehind | Code::DocumentsBehind,
                Measure::Latency(Part::Response, _),
            ) => Span { low: value - delay, high: value },
            // Both ends of these shift by at most that much, and the others are differences of two of them.
            (Code::GeneratorBehind | Code::DocumentsBehind, Measure::Latency(part, _)) => {
                let both = match part {
                    Part::Response | Part::Active | Part::Service | Part::Executor(_) => delay,
                    Part::Gateway | Part::Network => 2.0 * delay,
                };
                Span { low: value - both, high: value + both }
            }
            (
                Code::GeneratorBehind | Code::DocumentsBehind,
                Measure::Throughput | Measure::DocumentsPerSecond,
            ) => Span { low: value * (1.0 - delay / 1e3 / self.length_s.max(1e-9)), ..up },
            // The same by an unknown amount.
            (
                Code::ThreadBusy | Code::CpuWithheld | Code::CpuContended,
                Measure::Latency(Part::Response, _),
            ) => Span { low: 0.0, high: value },
            (
                Code::ThreadBusy | Code::CpuWithheld | Code::CpuContended,
                Measure::Latency(Part::Service, statistic),
            ) => {
                // A request that is sent late is served in at most its response time.
                match self.latency(&self.response, *statistic, self.ranked()) {
                    Actual::Value(response) => Span { low: 0.0, high: response.max(value) },
                    Actual::Unknown(..) => anything,
                }
            }
            (
                Code::ThreadBusy | Code::CpuWithheld | Code::CpuContended | Code::NotSentInTime,
                Measure::Throughput | Measure::DocumentsPerSecond,
            ) => up,
            // A longer run would have seen higher latencies.
            (Code::Overload | Code::TooShort, Measure::Latency(..)) => up,
            // The throughput of an overloaded Flow is its capacity.
            (Code::Overload, Measure::Throughput | Measure::DocumentsPerSecond) => exactly,
            (Code::TooShort, Measure::Throughput | Measure::DocumentsPerSecond) => up,
            _ => anything,
        }
    }

    /// The possible range of a percentile if the missing requests are all fast, or all slow.
    fn span_of_missing(&self, metric: &Measure) -> Span {
        let high = f64::INFINITY;
        let Some((part, quantile)) = metric.quantile() else { return Span { low: 0.0, high } };
        let (needed, found) = (samples_needed(quantile.get()), self.ranked_of(part));
        let missing = needed.saturating_sub(found) as f64;
        let share = (quantile.get() * needed as f64 - missing) / found.max(1) as f64;
        let low = self
            .histogram(part)
            .filter(|_| share > 0.0)
            .map(|histogram| histogram.quantile_among(share, found).map_or(f64::INFINITY, ms));
        Span { low: low.unwrap_or(0.0), high }
    }

    /// The evidence that a condition is about, of the whole or of a step, and the metric to look up there. A step
    /// with the same name as a part of the time takes precedence.
    fn about(&self, condition: &Condition) -> Option<(&Evidence, Metric)> {
        let of_step = |step: &str| {
            self.steps.iter().find(|(name, _)| name == step).map(|(_, evidence)| evidence)
        };
        if let Some(metric) = condition.metric.about_step()
            && let Some(evidence) = metric.step.as_deref().and_then(of_step)
        {
            return Some((evidence, metric));
        }
        let metric = condition.metric.clone();
        match &metric.step {
            None => Some((self, metric)),
            Some(step) => Some((of_step(step)?, metric)),
        }
    }

    fn too_few(&self, metric: &Measure) -> Option<Reason> {
        let (part, quantile) = metric.quantile()?;
        let (needed, found) = (samples_needed(quantile.get()), self.ranked_of(part));
        (found < needed).then(|| {
            let text = format!("too few requests for {quantile}: {found} of the {needed} it needs");
            Reason::new(Code::TooFewRequests, found as f64, needed as f64, text)
        })
    }

    /// The number of requests ranked by response and service times: responses and failures.
    fn ranked(&self) -> u64 {
        self.response.count() + self.requests.failed()
    }

    /// The number ranked by the times of a part. It is unknown where failed requests were.
    fn ranked_of(&self, part: &Part) -> u64 {
        match part {
            Part::Response | Part::Service | Part::Active => self.ranked(),
            _ => self.histogram(part).map_or(0, Histogram::count),
        }
    }

    fn histogram(&self, part: &Part) -> Option<&Histogram> {
        match part {
            Part::Response => Some(&self.response),
            Part::Service => Some(&self.service),
            _ => self.routes.iter().find(|(known, _)| known == part).map(|(_, time)| time),
        }
    }

    fn actual(&self, metric: &Measure) -> Actual {
        let not_kept = |text: &str| Actual::Unknown(Code::NotKept, text.into());
        match metric {
            Measure::Latency(part, statistic) => match self.histogram(part) {
                Some(histogram) => self.latency(histogram, *statistic, self.ranked_of(part)),
                None if self.ranked() == 0 => nothing_sent(),
                None => match part {
                    Part::Executor(name)
                        if self.routes.iter().any(|(part, _)| *part != Part::Active) =>
                    {
                        not_kept(&format!("no response passed through an Executor `{name}`"))
                    }
                    Part::Active => not_kept("the pauses of iterations were not recorded"),
                    _ => not_kept("the responses have no routes"),
                },
            },
            Measure::ErrorRate => {
                self.requests.error_rate().map_or_else(nothing_sent, Actual::Value)
            }
            Measure::Errors => Actual::Value(self.requests.errors() as f64),
            Measure::Dropped => Actual::Value(self.requests.dropped as f64),
            Measure::AssertionFailures => match self.assertion_failures {
                Some(failures) => Actual::Value(failures as f64),
                None => not_kept("assertions are counted for whole scenarios only"),
            },
            Measure::Counter(name) => match &self.counters {
                Some(counters) => match counters.get(name) {
                    Some(count) => Actual::Value(*count as f64),
                    None => not_kept("there is no such counter"),
                },
                None => not_kept("counters are counted for whole scenarios only"),
            },
            Measure::Throughput => Actual::Value(self.throughput.requests_per_s),
            Measure::DocumentsPerSecond => Actual::Value(self.throughput.documents_per_s),
            Measure::Requests => Actual::Value(self.requests.sent as f64),
            Measure::DocumentsMissing => match self.documents_missing {
                Some(missing) => Actual::Value(missing as f64),
                None => not_kept("responses did not report how many Documents they contain"),
            },
            Measure::Server(server) => self.of_server(server),
        }
    }

    /// One of the Flow's own metrics.
    fn of_server(&self, wanted: &ServerMetric) -> Actual {
        let not_kept = |text: String| Actual::Unknown(Code::NotKept, text);
        let Some(seen) = &self.server else {
            return not_kept("the Flow's own metrics were not read".into());
        };
        let of_place = || seen.iter().filter(|seen| seen.place == wanted.place);
        let Some(found) = of_place().find(|seen| seen.figure == wanted.figure) else {
            let mut known: Vec<&str> = match of_place().count() {
                0 => seen.iter().map(|seen| seen.place.as_str()).collect(),
                _ => Vec::new(),
            };
            known.dedup();
            return not_kept(match (known.as_slice(), of_place().count()) {
                ([], 0) => "the Flow reported no metrics".into(),
                ([], _) => format!("`{}` did not report this metric", wanted.place),
                (known, _) => {
                    format!(
                        "no metrics were reported for `{}`, only for {}",
                        wanted.place,
                        known.join(", ")
                    )
                }
            });
        };
        let value = if wanted.highest { found.max } else { found.value };
        value.map_or_else(|| not_kept("the metric had no value".into()), Actual::Value)
    }

    /// A statistic of latencies among `ranked` requests, including failures.
    fn latency(&self, histogram: &Histogram, statistic: Statistic, ranked: u64) -> Actual {
        if ranked == 0 {
            return nothing_sent();
        }
        let value = match statistic {
            Statistic::Quantile(quantile) => histogram.quantile_among(quantile.get(), ranked),
            Statistic::Min => histogram.min(),
            // A mean cannot include requests that never came back: it is that of the others.
            Statistic::Mean => histogram.mean(),
            Statistic::Max if ranked > histogram.count() => None,
            Statistic::Max => histogram.max(),
        };
        Actual::Value(value.map_or(f64::INFINITY, ms))
    }
}

fn nothing_sent() -> Actual {
    Actual::Unknown(Code::NothingMeasured, "nothing was sent".into())
}

/// Judges conditions on a saved scenario, replacing the previous ones: sets their verdicts and the scenario's own.
/// Anybody who has the result can do so.
///
/// # Errors
/// If a histogram was modified.
pub fn judge(
    scenario: &mut ScenarioSummary,
    conditions: &[Condition],
) -> Result<(), HistogramError> {
    let unfinished = scenario.end.unfinished();
    judge_unless(scenario, conditions, unfinished)
}

/// The same for callers that know it was interrupted and ask about what had ended until then. The scenario's own
/// verdict remains "interrupted".
///
/// # Errors
/// See [`judge`].
pub(crate) fn judge_what_ended(
    scenario: &mut ScenarioSummary,
    conditions: &[Condition],
) -> Result<(), HistogramError> {
    let unfinished = scenario.end.unfinished();
    let unfinished = unfinished.filter(|(verdict, _)| *verdict != Verdict::Interrupted);
    judge_unless(scenario, conditions, unfinished)
}

/// Judges conditions, unless `unfinished` prevents it.
fn judge_unless(
    scenario: &mut ScenarioSummary,
    conditions: &[Condition],
    unfinished: Option<(Verdict, String)>,
) -> Result<(), HistogramError> {
    // These reasons come from the previous conditions, and only affected those.
    scenario.validity.reasons.retain(|reason| !reason.code.is_of_one_condition());
    let evidence = Evidence::of(scenario)?;
    scenario.thresholds.clear();
    for condition in conditions {
        let mut judged = evidence.judge(condition);
        if let Some((_, reason)) = &unfinished {
            (judged.verdict, judged.passed) = (Verdict::Inconclusive, false);
            let code = if scenario.end.is_ahead() { Code::NotOver } else { Code::NotRun };
            (judged.reason, judged.code) = (Some(reason.clone()), Some(code));
        } else if judged.code == Some(Code::TooFewRequests) {
            let about = evidence.about(condition);
            let lacks = about.and_then(|(about, metric)| about.too_few(&metric.measure));
            let reasons = &mut scenario.validity.reasons;
            let new = lacks.filter(|reason| !reasons.contains(reason));
            reasons.extend(new);
        }
        scenario.thresholds.push(judged);
    }
    scenario.validity.valid = scenario.validity.reasons.is_empty();
    let judged = overall(scenario.thresholds.iter().map(|threshold| threshold.verdict));
    // Whatever the verdict on the part that ended: the rest was never tested.
    scenario.verdict = scenario.end.unfinished().map_or(judged, |(verdict, _)| verdict);
    scenario.passed = scenario.verdict == Verdict::Passed;
    Ok(())
}

/// Has a scenario of one part of a load say that nothing is judged in it: thresholds are about the whole. What did
/// not run to its end stays that.
pub(crate) fn leave_to_the_whole(scenario: &mut ScenarioSummary) {
    if scenario.end.unfinished().is_none() {
        scenario.verdict = match scenario.end.reason {
            EndReason::PartLost => Verdict::Inconclusive,
            _ => Verdict::Part,
        };
        scenario.passed = false;
    }
}

/// Sets the verdict of a run from those of its scenarios.
pub(crate) fn conclude(summary: &mut Summary) {
    let of = |always: bool| {
        let scenarios = summary.scenarios.iter().filter(move |scenario| scenario.always == always);
        overall(scenarios.map(|scenario| scenario.verdict))
    };
    // The result of a cleanup scenario must neither hide what was measured, nor go unnoticed.
    let all = match of(false) {
        fine @ (Verdict::Passed | Verdict::Part) => fine.and(of(true)),
        measured => measured,
    };
    summary.verdict = if summary.interrupted { Verdict::Interrupted } else { all };
    summary.passed = summary.verdict == Verdict::Passed;
}

/// The combined verdict of thresholds.
pub fn overall(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    verdicts.into_iter().fold(Verdict::Passed, Verdict::and)
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
            routes: Vec::new(),
            assertion_failures: Some(0),
            counters: Some(IndexMap::new()),
            documents_missing: Some(0),
            server: None,
            doubts: Vec::new(),
            own_delay_ms: 0.0,
            length_s: 10.0,
            steps: Vec::new(),
        }
    }

    #[track_caller]
    fn check(evidence: &Evidence, that: &str, actual: Option<f64>, verdict: Verdict) {
        let judged = evidence.judge(&that.parse().unwrap());
        assert_eq!((judged.actual, judged.verdict), (actual, verdict), "{that}: {judged:?}");
        assert_eq!(judged.passed, verdict == Verdict::Passed);
        assert_eq!(judged.reason.is_some(), verdict == Verdict::Inconclusive);
    }

    #[test]
    fn every_metric_has_its_value() {
        let run = evidence([10; 1000], 0);
        check(&run, "p99 < 50ms", Some(10.0), Verdict::Passed);
        check(&run, "service.p50 <= 5ms", Some(10.0), Verdict::Failed);
        check(&run, "mean < 11ms", Some(10.0), Verdict::Passed);
        check(&run, "max < 11ms", Some(10.0), Verdict::Passed);
        check(&run, "min >= 11ms", Some(10.0), Verdict::Failed);
        check(&run, "error_rate < 0.1%", Some(0.0), Verdict::Passed);
        check(&run, "errors == 0", Some(0.0), Verdict::Passed);
        check(&run, "dropped == 0", Some(0.0), Verdict::Passed);
        check(&run, "assertion_failures == 0", Some(0.0), Verdict::Passed);
        check(&run, "throughput > 900/s", Some(100.0), Verdict::Failed);
        check(&run, "requests == 1000", Some(1000.0), Verdict::Passed);
    }

    #[test]
    fn failures_rank_as_slower_than_everything() {
        let run = evidence([10; 980], 20);
        check(&run, "p95 < 50ms", Some(10.0), Verdict::Passed);
        check(&run, "p99 < 50ms", None, Verdict::Failed);
        check(&run, "max < 1h", None, Verdict::Failed);
        check(&run, "p99 > 50ms", None, Verdict::Passed);
        check(&run, "error_rate < 1%", Some(0.02), Verdict::Failed);
    }

    #[test]
    fn a_quantile_is_not_judged_on_too_few_requests() {
        let run = evidence([10; 100], 0);
        check(&run, "p90 < 50ms", Some(10.0), Verdict::Passed);
        check(&run, "p99 < 50ms", Some(10.0), Verdict::Inconclusive);
        // Failures are ranked, so they count.
        check(&evidence([10; 661], 0), "p99 < 50ms", Some(10.0), Verdict::Inconclusive);
        check(&evidence([10; 662], 0), "p99 < 50ms", Some(10.0), Verdict::Passed);
        check(&evidence([10; 659], 3), "p99 < 50ms", Some(10.0), Verdict::Passed);
    }

    #[test]
    fn too_few_that_are_all_too_slow_are_enough_to_fail() {
        // Of the 662 needed, 100 are there: the others could all be fast, but there are no more than that.
        check(&evidence([10; 100], 0), "p99 < 5ms", Some(10.0), Verdict::Failed);
        check(&evidence([10; 6], 0), "p99 < 5ms", Some(10.0), Verdict::Inconclusive);
        check(&evidence([10; 7], 0), "p99 < 5ms", Some(10.0), Verdict::Failed);
    }

    /// The table of `docs/report.md`: what each reason against a run leaves of each condition.
    #[test]
    fn inconclusive_is_only_what_the_reason_could_turn_round() {
        use Code::*;
        use Verdict::{Failed, Inconclusive, Passed};
        // 1000 requests of 10 ms at 100/s, with a send delay of at most 3 ms.
        let rows: [(Code, &str, Verdict); 40] = [
            // The delay is included in the response time.
            (GeneratorBehind, "p99 < 11ms", Passed),
            (GeneratorBehind, "p99 < 9ms", Inconclusive),
            (GeneratorBehind, "p99 < 6ms", Failed),
            (GeneratorBehind, "p99 > 6ms", Passed),
            (GeneratorBehind, "p99 > 8ms", Inconclusive),
            (GeneratorBehind, "p99 > 11ms", Failed),
            (DocumentsBehind, "mean < 11ms", Passed),
            // The service time could be shorter or longer.
            (GeneratorBehind, "service.p50 < 12ms", Inconclusive),
            (GeneratorBehind, "service.p50 < 14ms", Passed),
            (GeneratorBehind, "throughput > 95/s", Passed),
            (GeneratorBehind, "throughput > 101/s", Inconclusive),
            (GeneratorBehind, "error_rate < 1%", Passed),
            // By an unknown amount.
            (CpuContended, "p99 < 11ms", Passed),
            (CpuWithheld, "p99 < 6ms", Inconclusive),
            (ThreadBusy, "service.p99 < 11ms", Passed),
            (CpuContended, "throughput > 95/s", Passed),
            (CpuContended, "throughput > 101/s", Inconclusive),
            (NotSentInTime, "p99 < 11ms", Inconclusive),
            (NotSentInTime, "p99 < 9ms", Inconclusive),
            (NotSentInTime, "throughput > 101/s", Inconclusive),
            (NotSentInTime, "throughput > 95/s", Passed),
            (NotSentInTime, "requests == 1000", Passed),
            // A longer run would be slower still.
            (Overload, "p99 < 11ms", Inconclusive),
            (Overload, "p99 < 9ms", Failed),
            (Overload, "throughput > 95/s", Passed),
            (Overload, "throughput > 101/s", Failed),
            (TooShort, "p99 < 11ms", Inconclusive),
            (TooShort, "p99 < 9ms", Failed),
            (LittlesLaw, "p99 < 11ms", Inconclusive),
            (LittlesLaw, "throughput > 1/s", Inconclusive),
            (LittlesLaw, "errors == 0", Passed),
            (NotRun, "p99 < 11ms", Inconclusive),
            (NotRun, "errors == 0", Passed),
            // Other parts sent more, with unknown results.
            (PartMissing, "p99 < 11ms", Inconclusive),
            (PartLost, "errors == 0", Inconclusive),
            (PartLost, "errors > 0", Inconclusive),
            (PartMissing, "requests >= 1000", Passed),
            (PartMissing, "throughput > 95/s", Passed),
            (PartLate, "p99 < 11ms", Inconclusive),
            (PartLate, "errors == 0", Passed),
        ];
        for (code, that, expected) in rows {
            let doubts = vec![Reason::new(code, 950.0, 1000.0, "for a test")];
            let run = Evidence { doubts, own_delay_ms: 3.0, ..evidence([10; 1000], 0) };
            let judged = run.judge(&that.parse().expect(that));
            assert_eq!(judged.verdict, expected, "{code:?}: {that}: {judged:?}");
            assert_eq!(judged.code, (expected == Inconclusive).then_some(code), "{that}");
        }
        // Of 1020 arrivals that were due, 20 were never sent, by our own fault.
        let doubts = vec![Reason::new(NotSentInTime, 1000.0, 1020.0, "for a test")];
        let mut run = Evidence { doubts, ..evidence([10; 1000], 0) };
        (run.requests.arrivals, run.requests.dropped) = (1020, 20);
        check(&run, "error_rate < 1%", Some(20.0 / 1020.0), Inconclusive);
        check(&run, "dropped == 0", Some(20.0), Inconclusive);
        check(&run, "error_rate < 5%", Some(20.0 / 1020.0), Passed);
        // Responses that a thread without a processor mistook for timeouts.
        let doubts = vec![Reason::new(CpuContended, 0.7, 0.05, "for a test")];
        let run = Evidence { doubts, ..evidence([10; 1000], 20) };
        check(&run, "error_rate < 1%", Some(20.0 / 1020.0), Inconclusive);
        check(&run, "errors == 0", Some(20.0), Inconclusive);
    }

    #[test]
    fn nothing_sent_is_nothing_to_judge() {
        let run = evidence([], 0);
        check(&run, "p99 < 50ms", None, Verdict::Inconclusive);
        check(&run, "error_rate == 0", None, Verdict::Inconclusive);
        check(&run, "errors == 0", Some(0.0), Verdict::Passed);
    }

    #[test]
    fn a_step_is_judged_by_its_own_requests() {
        let mut run = evidence([100; 1000], 0);
        run.steps = vec![("search".into(), evidence([10; 1000], 0))];
        check(&run, "p99 < 50ms", Some(100.0), Verdict::Failed);
        check(&run, "search.p99 < 50ms", Some(10.0), Verdict::Passed);
    }

    #[test]
    fn a_failure_outweighs_what_was_not_judged() {
        use Verdict::{Failed, Inconclusive, Passed};
        assert_eq!(overall([]), Passed);
        assert_eq!(overall([Passed, Inconclusive]), Inconclusive);
        assert_eq!(overall([Inconclusive, Failed, Passed]), Failed);
    }
}
