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
        let errors = errors(&seconds, &self.errors, from as f64, to as f64);
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
            // A single request contains no pauses; the active time of steps is not kept per second.
            active_time_ms: self.steps.is_empty().then(|| Latency::new(&response)),
            // How often each list was chosen is known only for the whole run.
            choices: Vec::new(),
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
            server: None,
            why: None,
            traces: None,
            bytes: None,
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

/// Stands for messages that cannot be told apart in a part of a run.
const SEVERAL: &str = "(one of several messages, which a part of a run does not distinguish)";

/// Errors by kind and, where it is certain that they occurred in this part, by message.
fn errors(
    seconds: &[TimelineSecond],
    known: &[ErrorSummary],
    from: f64,
    to: f64,
) -> Vec<ErrorSummary> {
    let mut kinds: Vec<(&str, u64, f64)> = Vec::new();
    for second in seconds {
        for (kind, count) in &second.kinds {
            match kinds.iter_mut().find(|(known, ..)| known == kind) {
                Some((_, total, _)) => *total += count,
                None => kinds.push((kind, *count, second.t_s as f64 - 1.0)),
            }
        }
    }
    let mut errors: Vec<ErrorSummary> = Vec::new();
    for (kind, count, first_at_s) in kinds {
        let may = |error: &&ErrorSummary| {
            let last = error.last_at_s.unwrap_or(f64::INFINITY);
            error.kind == kind && error.first_at_s < to && last >= from
        };
        // If the first and last occurrence are in the window, all of them are.
        let is_within = |error: &&ErrorSummary| {
            error.first_at_s >= from && error.last_at_s.is_some_and(|last| last < to)
        };
        let (whole, partial): (Vec<&ErrorSummary>, Vec<&ErrorSummary>) =
            known.iter().filter(may).partition(is_within);
        let certain: u64 = whole.iter().map(|error| error.count).sum();
        let mut rest = count;
        if certain <= count && !partial.is_empty() || certain == count {
            errors.extend(whole.into_iter().cloned());
            rest -= certain;
        }
        if rest > 0 {
            let only = match partial.as_slice() {
                [only] => Some(*only),
                _ => None,
            };
            errors.push(ErrorSummary {
                kind: kind.to_owned(),
                message: only.map_or_else(|| SEVERAL.to_owned(), |only| only.message.clone()),
                count: rest,
                first_at_s,
                last_at_s: None,
                details: only.and_then(|only| only.details.clone()),
            });
        }
    }
    errors.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(t_s: u64, count: u64) -> TimelineSecond {
        let kinds = [("gateway".to_owned(), count)].into_iter().collect();
        TimelineSecond { t_s, kinds, ..TimelineSecond::default() }
    }

    fn known(message: &str, count: u64, first_at_s: f64, last_at_s: Option<f64>) -> ErrorSummary {
        let (kind, message) = ("gateway".into(), message.into());
        ErrorSummary { kind, message, count, first_at_s, last_at_s, details: None }
    }

    fn told(counts: [u64; 4], known: &[ErrorSummary], from: u64, to: u64) -> Vec<(String, u64)> {
        let seconds: Vec<TimelineSecond> = (1..)
            .zip(counts)
            .filter(|(t_s, count)| *t_s > from && *t_s <= to && *count > 0)
            .map(|(t_s, count)| second(t_s, count))
            .collect();
        let errors = errors(&seconds, known, from as f64, to as f64);
        errors.into_iter().map(|error| (error.message, error.count)).collect()
    }

    #[test]
    fn messages_of_a_part_are_those_that_are_certain_to_be_in_it() {
        let of = |message: &str, count| (message.to_owned(), count);
        let early = known("early", 5, 0.1, Some(1.5));
        let late = known("late", 7, 2.1, Some(3.9));
        let both = [early.clone(), late.clone()];
        let counts = [3, 2, 4, 3];
        assert_eq!(told(counts, &both, 0, 2), [of("early", 5)]);
        assert_eq!(told(counts, &both, 2, 4), [of("late", 7)]);
        assert_eq!(told(counts, &both, 3, 4), [of("late", 3)]);
        assert_eq!(told(counts, &both, 0, 4), [of("late", 7), of("early", 5)]);
        // One message is certain, and therefore so is the remainder.
        assert_eq!(told(counts, &both, 0, 3), [of("early", 5), of("late", 4)]);
        assert_eq!(told(counts, &both, 1, 3), [of(SEVERAL, 6)]);
        // Older versions kept only when each message first occurred.
        let old = [known("early", 5, 0.1, None), known("late", 7, 2.1, None)];
        assert_eq!(told(counts, &old, 0, 2), [of("early", 5)]);
        assert_eq!(told(counts, &old, 2, 4), [of(SEVERAL, 7)]);
    }
}
