//! Cuts a time window out of results, and joins the scenarios of several results.

use super::reason::{Code, Reason};
use super::summary::{
    CallbackCounts, ClientSummary, DocumentCounts, Environment, ErrorSummary, InFlightSummary, Lag,
    Latency, PartSummary, Requests, ScenarioSummary, Summary, Throughput, TimelineSecond, Verdict,
    WarmupSummary,
};
use super::{Histogram, HistogramError};

/// Kinds of errors that are responses of a Flow; all others are errors of the transport.
const RESPONSE_ERRORS: [&str; 5] = ["executor", "gateway", "graphql", "capture", "repeat"];

impl Summary {
    /// The figures of each scenario between two moments, in whole seconds from the start of the
    /// measurement. Thresholds keep their old verdicts and have to be evaluated again.
    ///
    /// # Errors
    ///
    /// If a histogram was modified.
    pub fn part(mut self, from: u64, to: u64) -> Result<Summary, HistogramError> {
        for scenario in &mut self.scenarios {
            *scenario = std::mem::take(scenario).part(from, to)?;
        }
        Ok(self)
    }

    /// The scenarios of several results as one result; a single result is returned unchanged.
    ///
    /// Scenarios of the same name are distinguished by the name of the suite, and if that is the
    /// same too, by a number. The environment contains what all results have in common.
    pub fn join(mut results: Vec<Summary>) -> Summary {
        if results.len() == 1 {
            return results.remove(0);
        }
        let mut joined = Summary::default();
        let Some(started_at) = results.iter().map(|result| result.started_at).min() else {
            return joined;
        };
        let mut suites: Vec<&str> = results.iter().map(|result| result.suite.as_str()).collect();
        suites.dedup();
        joined.suite = suites.join(", ");
        let several = suites.len() > 1;
        joined.started_at = started_at;
        joined.environment = common(results.iter().map(|result| &result.environment));
        joined.seed = results[0].seed;
        for result in results {
            let offset = result.started_at.duration_since(started_at).as_secs_f64();
            joined.duration_s = joined.duration_s.max(offset + result.duration_s);
            joined.interrupted |= result.interrupted;
            for mut scenario in result.scenarios {
                scenario.started_at_s += offset;
                if several {
                    scenario.name = format!("{}: {}", result.suite, scenario.name);
                }
                let taken = |name: &String| joined.scenarios.iter().any(|s| s.name == *name);
                if taken(&scenario.name) {
                    let numbered = (2..).map(|n| format!("{} #{n}", scenario.name));
                    scenario.name =
                        numbered.into_iter().find(|name| !taken(name)).unwrap_or_default();
                }
                joined.scenarios.push(scenario);
            }
        }
        let verdicts = joined.scenarios.iter().map(|scenario| scenario.verdict);
        joined.verdict = match joined.interrupted {
            true => Verdict::Interrupted,
            false => verdicts.reduce(|all, one| all.and(one)).unwrap_or_default(),
        };
        joined.passed = joined.verdict == Verdict::Passed;
        joined
    }
}

/// What all environments have in common; differing fields say that they differ.
fn common<'a>(mut all: impl Iterator<Item = &'a Environment>) -> Environment {
    let Some(first) = all.next() else { return Environment::default() };
    let mut common = first.clone();
    let various = || "various".to_owned();
    for other in all {
        for (mine, other) in [
            (&mut common.flowbench, &other.flowbench),
            (&mut common.os, &other.os),
            (&mut common.arch, &other.arch),
        ] {
            if mine != other {
                *mine = various();
            }
        }
        for (mine, other) in [(&mut common.kernel, &other.kernel), (&mut common.cpu, &other.cpu)] {
            if mine != other {
                *mine = Some(various());
            }
        }
        common.cores = common.cores.min(other.cores);
        common.cpu_quota = common.cpu_quota.filter(|mine| Some(*mine) == other.cpu_quota);
        common.memory_bytes = common.memory_bytes.min(other.memory_bytes);
    }
    common
}

impl ScenarioSummary {
    /// The figures between two moments. Requests belong to the second in which they ended. What is
    /// not kept per second is omitted: callbacks, assertions, the distributions of Executors.
    fn part(self, from: u64, to: u64) -> Result<ScenarioSummary, HistogramError> {
        let seconds: Vec<TimelineSecond> = self
            .timeline
            .into_iter()
            .filter(|second| second.t_s > from && second.t_s <= to)
            .collect();
        let merged = |of: fn(&TimelineSecond) -> Option<&String>| {
            seconds.iter().filter_map(of).try_fold(Histogram::new(), |mut merged, text| {
                merged.merge(&Histogram::from_base64(text)?);
                Ok::<_, HistogramError>(merged)
            })
        };
        let response = merged(|second| second.histogram.as_ref())?;
        let service = merged(|second| second.service_histogram.as_ref())?;
        let requests = requests(&seconds);
        // Seconds after the end of the load, in which the last responses arrive, do not count as
        // time.
        let end = (to as f64).min(self.duration_s);
        let length = (end - from as f64).max(0.0);
        let in_load = || seconds.iter().filter(|second| second.t_s as f64 <= end.ceil());
        let per_s = |count: u64| if length > 0.0 { count as f64 / length } else { 0.0 };
        let throughput = Throughput {
            offered_per_s: per_s(seconds.iter().map(|second| second.offered).sum()),
            requests_per_s: per_s(in_load().map(TimelineSecond::completed).sum()),
            documents_per_s: per_s(in_load().map(TimelineSecond::completed_documents).sum()),
        };
        // The second in which the load ends also contains the drain.
        let whole = || seconds.iter().filter(|second| second.t_s as f64 <= end);
        let in_flight = match whole().count() {
            0 => seconds.iter().map(|second| second.in_flight).sum::<f64>() / length.max(1e-9),
            count => whole().map(|second| second.in_flight).sum::<f64>() / count as f64,
        };
        let mut validity = self.validity;
        if seconds.is_empty() {
            validity.valid = false;
            let text = match to < u64::from(u32::MAX) {
                true => format!("nothing was measured between {from} s and {to} s"),
                false => format!("nothing was measured from {from} s on"),
            };
            validity.reasons.push(Reason::plain(Code::NothingMeasured, text));
        }
        let within = |due_s: f64| due_s >= from as f64 && due_s < to as f64;
        let errors = errors(&seconds, &self.errors);
        Ok(ScenarioSummary {
            part: Some(PartSummary { from_s: from, to_s: to }),
            duration_s: length,
            requests,
            documents: DocumentCounts {
                missing: None,
                sent: seconds.iter().map(|second| second.documents).sum(),
                received: None,
            },
            throughput,
            error_rate: requests.error_rate(),
            response_time_ms: Latency::new(&response),
            service_time_ms: Latency::new(&service),
            first_response_ms: Latency::default(),
            failed_time_ms: Default::default(),
            callbacks: CallbackCounts::default(),
            counters: Default::default(),
            assertions: Vec::new(),
            errors,
            executors: None,
            gateway_ms: None,
            network_ms: None,
            breakdown: None,
            slowest: self.slowest.into_iter().filter(|slow| within(slow.due_s)).collect(),
            steps: Vec::new(),
            warmup: WarmupSummary::default(),
            client: ClientSummary {
                workers: self.client.workers,
                saturated: self.client.saturated,
                lag_ms: Lag {
                    p99: seconds.iter().filter_map(|second| second.lag_p99).reduce(f64::max),
                    ..Lag::default()
                },
                in_flight: InFlightSummary {
                    mean: in_flight,
                    // When its requests began is not kept.
                    by_littles_law: None,
                    max: None,
                },
                ..ClientSummary::default()
            },
            validity,
            timeline: seconds,
            ..self
        })
    }
}

fn requests(seconds: &[TimelineSecond]) -> Requests {
    let sum = |of: fn(&TimelineSecond) -> u64| seconds.iter().map(of).sum::<u64>();
    let (ok, errors, dropped) = (sum(|s| s.ok), sum(|s| s.errors), sum(|s| s.dropped));
    let timeouts = sum(|s| s.timeouts).min(errors);
    let kinds = seconds.iter().flat_map(|second| &second.kinds);
    let response_errors: u64 = kinds
        .filter(|(kind, _)| RESPONSE_ERRORS.contains(&kind.as_str()))
        .map(|(_, count)| *count)
        .sum();
    let response_errors = response_errors.min(errors - timeouts);
    Requests {
        arrivals: ok + errors + dropped,
        sent: ok + errors,
        ok,
        response_errors,
        transport_errors: errors - timeouts - response_errors,
        timeouts,
        dropped,
        ..Requests::default()
    }
}

/// Errors by kind, with the most frequent message of that kind in the whole run.
fn errors(seconds: &[TimelineSecond], known: &[ErrorSummary]) -> Vec<ErrorSummary> {
    let mut errors: Vec<ErrorSummary> = Vec::new();
    for second in seconds {
        for (kind, count) in &second.kinds {
            match errors.iter_mut().find(|error| error.kind == *kind) {
                Some(error) => error.count += count,
                None => {
                    let example = known.iter().find(|error| error.kind == *kind);
                    errors.push(ErrorSummary {
                        kind: kind.clone(),
                        message: example.map(|error| error.message.clone()).unwrap_or_default(),
                        count: *count,
                        first_at_s: second.t_s as f64 - 1.0,
                        details: example.and_then(|error| error.details.clone()),
                    });
                }
            }
        }
    }
    errors.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
    errors
}
