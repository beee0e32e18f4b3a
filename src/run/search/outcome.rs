//! The result of a trial: whether the objective was met, what went wrong on our side, and its figures.

use super::watched::{Mark, Offered, Watched};
use crate::capacity::judge::{Block, Decision};
use crate::capacity::limit;
use crate::capacity::objective::Objective;
use crate::capacity::search::{Kind, Times, Trial, TrialResult};
use crate::capacity::trials::{ExecutorTime, Point, TrialOutcome, TrialSummary};
use crate::record::HistogramError;
use crate::record::reason::{Code, Reason};
use crate::record::summary::{
    EndReason, Latency, Requests, ScenarioSummary, Throughput, Verdict, ms,
};

/// The send delay up to which a failed trial still counts against a Flow: its p99, as a share of the shortest time
/// that the objective limits.
const LAG_SHARE: f64 = 0.05;

/// Fewest blocks that show whether a load is in balance.
const DRIFT_BLOCKS: usize = 8;

/// Judges a finished trial. `clients`: a closed load, whose clients wait for their responses.
pub(super) fn judged(
    trial: &Trial,
    clients: bool,
    objective: &Objective,
    watched: &Watched,
    summary: &ScenarioSummary,
) -> Result<(TrialResult, TrialSummary), HistogramError> {
    let conditions = match watched.while_offered().filter(|_| trial.kind == Kind::Overload) {
        // What follows an overload is not part of it.
        Some(Offered { tally, counts, elapsed }) => {
            let steps: Vec<&str> = summary.steps.iter().map(|step| &*step.name).collect();
            objective.judge_window(tally, counts, *elapsed, &steps)
        }
        None => objective.judge(summary)?,
    };
    let overloaded = summary.validity.reasons.iter().any(|reason| reason.code == Code::Overload);
    let evidence = watched.evidence();
    let (decided, at_end) = watched.decisions();
    let decision = match (decided, objective.others(&conditions)) {
        (Some(Decision::Fail), _) | (_, Verdict::Failed) => Decision::Fail,
        _ if overloaded => Decision::Fail,
        // What came in after the end may contradict.
        (Some(Decision::Pass), Verdict::Passed) if at_end != Decision::Fail => Decision::Pass,
        (_, Verdict::Passed) => at_end,
        _ => Decision::Open,
    };
    let (excused, ours) = faults(summary, decision, objective);
    let judges = trial.rule.is_some();
    let backlog = summary.requests.abandoned > 0
        || trial.kind == Kind::CoolDown && watched.calm_from(0.0).is_none();
    let seconds = summary.duration_s + summary.warmup.duration_s;
    let recovered_s = trial.then.and_then(|_| watched.calm_from(trial.budget_s));
    let result = TrialResult {
        decision: judges.then_some(decision),
        evidence,
        seconds,
        times: times_of(summary, evidence.independent),
        invalid: ours.clone(),
        backlog,
        interrupted: summary.end.reason == EndReason::Interrupted
            || summary.end.reason == EndReason::Skipped,
    };
    let outcome = match (judges, decision) {
        (false, _) => TrialOutcome::Seen,
        _ if !ours.is_empty() => TrialOutcome::Invalid,
        (_, Decision::Pass) => TrialOutcome::Passed,
        (_, Decision::Fail) => TrialOutcome::Failed,
        (_, Decision::Open) => TrialOutcome::Inconclusive,
    };
    let rates = watched.rates();
    let rates =
        match clients || matches!(outcome, TrialOutcome::Passed | TrialOutcome::Inconclusive) {
            // A trial that ran to its end has its own figures, over its whole time.
            true if summary.end.reason == EndReason::Time => Some(summary.throughput),
            true => rates.whole,
            false => rates.settled,
        };
    let of_flow = summary.server.as_ref().map(limit::figures).unwrap_or_default();
    let summary = TrialSummary {
        kind: trial.kind,
        level: trial.level,
        outcome,
        seconds,
        budget_s: trial.budget_s,
        point: Point {
            growing: evidence.growing || overloaded,
            ..point(trial, clients, watched, summary, rates)
        },
        objective: conditions,
        excess: if evidence.excess.is_finite() { evidence.excess } else { f64::MAX },
        independent_requests: evidence.independent,
        reasons: ours,
        excused,
        recovered_s,
        server: of_flow,
    };
    Ok((result, summary))
}

/// The mean response time, with the precision of this many independent requests.
fn times_of(summary: &ScenarioSummary, independent: f64) -> Option<Times> {
    let response = &summary.response_time_ms;
    let (mean_s, deviation_s) = (response.mean? / 1e3, response.stddev.unwrap_or(0.0) / 1e3);
    Some(Times { mean_s, error_s: deviation_s / independent.max(1.0).sqrt() })
}

/// What went wrong on our side: first what cannot have changed the outcome, then what makes it invalid.
///
/// Response times count from the instant at which a request was due, so they include our send delay: a load that
/// passed in spite of it would have passed without. One that failed may have failed because of it, unless it was
/// small compared with the time that the objective limits.
fn faults(
    summary: &ScenarioSummary,
    decision: Decision,
    objective: &Objective,
) -> (Vec<Reason>, Vec<Reason>) {
    let small = objective.shortest_limit_s().is_some_and(|limit| {
        summary.client.pacer_ms.p99.is_some_and(|lag| lag <= LAG_SHARE * limit * 1e3)
    });
    let excused = |reason: &Reason| match (decision, reason.code) {
        (
            Decision::Pass,
            Code::GeneratorBehind
            | Code::DocumentsBehind
            | Code::ThreadBusy
            | Code::CpuWithheld
            | Code::CpuContended
            | Code::OwnLimit,
        ) => true,
        // A thread that is always busy also reads responses late, which the send delay does not include.
        (Decision::Fail | Decision::Open, Code::GeneratorBehind | Code::CpuWithheld) => small,
        _ => false,
    };
    // A trial is as long as it needs to be, and whether the Flow keeps up is for its judge to decide.
    let ours = summary.validity.reasons.iter();
    let ours = ours.filter(|reason| !matches!(reason.code, Code::Overload | Code::TooShort));
    ours.cloned().partition(excused)
}

/// The share of ok requests, in the marks from `from` on, that exceeded no limit.
fn good(marks: &[Mark], from: usize) -> f64 {
    let met = |block: &Block| block.requests - block.over.iter().copied().fold(0.0, f64::max);
    // Assertions are checked later than responses are counted.
    let met = marks[from..].iter().map(|mark| met(&mark.block)).sum::<f64>().max(0.0);
    let ok =
        |index: Option<usize>| index.and_then(|index| marks.get(index)).map_or(0, |mark| mark.ok);
    let ok = ok(marks.len().checked_sub(1)) - ok(from.checked_sub(1));
    if ok > 0 { (met / ok as f64).min(1.0) } else { 0.0 }
}

/// The figures of a trial.
///
/// Its response times cover all requests that were due in it; for an overload, only those that had ended when it was
/// over: what is sent after it, to see the Flow recover, is another load.
fn point(
    trial: &Trial,
    clients: bool,
    watched: &Watched,
    summary: &ScenarioSummary,
    rates: Option<Throughput>,
) -> Point {
    let marks = watched.marks();
    // For an unbalanced load, the second half counts, as for its rates.
    let half = if watched.rates().whole == rates { 0 } else { marks.len() / 2 };
    // How many requests clients make is not known in advance. However short the trial was, its requests were counted
    // over its time.
    let planned = if clients { summary.throughput.offered_per_s } else { trial.level };
    let offered_per_s = rates.map_or(planned, |rates| rates.offered_per_s);
    let of_flow = Point {
        offered_per_s,
        throughput_per_s: rates.map(|rates| rates.requests_per_s),
        documents_per_s: rates.map(|rates| rates.documents_per_s),
        goodput_per_s: rates.map(|rates| rates.requests_per_s * good(marks, half)),
        drift: (marks.len() >= DRIFT_BLOCKS).then(|| drift(marks, offered_per_s)),
        ..Point::default()
    };
    if let (Kind::Overload, Some(Offered { tally, elapsed, .. })) =
        (trial.kind, watched.while_offered())
    {
        let executors = tally.executors.iter().filter_map(|stop| {
            Some(ExecutorTime { name: stop.name.clone(), mean_ms: ms(stop.time.mean()?) })
        });
        return Point {
            error_rate: Requests::new(tally).error_rate().unwrap_or(0.0),
            in_flight: tally.in_flight.area / elapsed.as_secs_f64().max(1e-3),
            executors: executors.collect(),
            ..times(of_flow, &Latency::new(tally.ok()))
        };
    }
    let executors = summary.executors.iter().flatten().filter_map(|stop| {
        Some(ExecutorTime { name: stop.name.clone(), mean_ms: stop.time_ms.mean? })
    });
    Point {
        error_rate: summary.error_rate.unwrap_or(0.0),
        in_flight: summary.client.in_flight.mean,
        executors: executors.collect(),
        ..times(of_flow, &summary.response_time_ms)
    }
}

/// Adds the response times to the figures.
fn times(point: Point, response: &Latency) -> Point {
    Point {
        mean_ms: response.mean,
        stddev_ms: response.stddev,
        p50_ms: response.p50,
        p95_ms: response.p95,
        p99_ms: response.p99,
        ..point
    }
}

/// How fast the number of requests in flight grew, relative to arrivals.
fn drift(marks: &[Mark], offered_per_s: f64) -> f64 {
    let mean = |marks: &[Mark]| {
        let blocks = || marks.iter().map(|mark| &mark.block);
        let seconds: f64 = blocks().map(|block| block.seconds).sum();
        let area: f64 = blocks().map(|block| block.in_flight * block.seconds).sum();
        (area / seconds, seconds)
    };
    let (first, second) = marks.split_at(marks.len() / 2);
    let ((before, first_s), (after, second_s)) = (mean(first), mean(second));
    let growth = (after - before) / ((first_s + second_s) / 2.0);
    growth / offered_per_s.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_the_share_of_what_came_back_that_met_the_objective() {
        // Ok requests, and those over a limit, in each quarter of a second.
        let each = [(25, 5), (25, 25), (20, 20), (30, 25), (25, 25), (25, 20)];
        let mut ok = 0;
        let marks: Vec<Mark> = each
            .into_iter()
            .map(|(ended, over)| {
                ok += ended;
                let (requests, over) = (ended as f64, vec![f64::from(over)]);
                let block = Block { seconds: 0.25, requests, over, ..Block::default() };
                Mark { end_s: 0.0, block, ok }
            })
            .collect();
        assert_eq!(good(&marks, 0), 30.0 / 150.0);
        assert_eq!(good(&marks, 3), 10.0 / 80.0);
        assert_eq!(good(&[], 0), 0.0);
    }
}
