//! What came of a trial: whether the objective held, what was wrong on our side, and its figures.

use super::watched::{Mark, Offered, Watched};
use crate::capacity::judge::{Block, Decision};
use crate::capacity::objective::Objective;
use crate::capacity::result::{ExecutorTime, Outcome, Point, TrialSummary};
use crate::capacity::search::{Kind, Trial, TrialResult};
use crate::record::HistogramError;
use crate::record::reason::{Code, Reason};
use crate::record::summary::{
    EndReason, Latency, Requests, ScenarioSummary, Throughput, Verdict, ms,
};

/// The lag of our own that a trial may have and still speak against a Flow: p99 of it, as a share of
/// the shortest time that the objective limits.
const LAG_SHARE: f64 = 0.05;

/// Blocks that tell whether a load is in balance.
const DRIFT_BLOCKS: usize = 8;

/// Judges a trial that is over. `clients`: they wait for their answers.
pub(super) fn judged(
    trial: &Trial,
    clients: bool,
    objective: &Objective,
    watched: &Watched,
    summary: &ScenarioSummary,
) -> Result<(TrialResult, TrialSummary), HistogramError> {
    let conditions = match watched.while_offered().filter(|_| trial.kind == Kind::Overload) {
        // What follows an overload is no part of it.
        Some(Offered { tally, wrong, elapsed }) => {
            let steps: Vec<&str> = summary.steps.iter().map(|step| &*step.name).collect();
            objective.judge_window(tally, *wrong, *elapsed, &steps)
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
        (Some(Decision::Pass), Verdict::Held) if at_end != Decision::Fail => Decision::Pass,
        (_, Verdict::Held) => at_end,
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
        invalid: (!ours.is_empty()).then(|| ours.join("; ")),
        backlog,
        interrupted: summary.end.reason == EndReason::Interrupted
            || summary.end.reason == EndReason::Skipped,
    };
    let outcome = match (judges, decision) {
        (false, _) => Outcome::Seen,
        _ if !ours.is_empty() => Outcome::Invalid,
        (_, Decision::Pass) => Outcome::Held,
        (_, Decision::Fail) => Outcome::Failed,
        (_, Decision::Open) => Outcome::Undecided,
    };
    let flow = match clients || matches!(outcome, Outcome::Held | Outcome::Undecided) {
        true => Flow::whole(watched.marks(), &summary.throughput),
        false => Flow::settled(trial.level, watched.marks())
            .unwrap_or_else(|| Flow::whole(watched.marks(), &summary.throughput)),
    };
    let summary = TrialSummary {
        kind: trial.kind,
        level: trial.level,
        outcome,
        seconds,
        budget_s: trial.budget_s,
        point: Point {
            growing: evidence.growing || overloaded,
            ..point(trial, watched, summary, flow)
        },
        objective: conditions,
        excess: if evidence.excess.is_finite() { evidence.excess } else { f64::MAX },
        independent_requests: evidence.independent,
        reasons: ours,
        excused,
        recovered_s,
    };
    Ok((result, summary))
}

/// What was wrong on our side: what cannot have changed the outcome, and what makes it invalid.
///
/// Response times count from the instant at which a request was due, so our own lag is in them: a
/// load that held in spite of it would have held without. One that failed may have failed because of
/// it, unless it was small beside the time that the objective limits.
fn faults(
    summary: &ScenarioSummary,
    decision: Decision,
    objective: &Objective,
) -> (Vec<String>, Vec<String>) {
    let small = objective.shortest_limit_s().is_some_and(|limit| {
        summary.client.pacer_ms.p99.is_some_and(|lag| lag <= LAG_SHARE * limit * 1e3)
    });
    let excused = |reason: &&Reason| match (decision, reason.code) {
        (
            Decision::Pass,
            Code::GeneratorBehind
            | Code::DocumentsBehind
            | Code::ThreadBusy
            | Code::CpuWithheld
            | Code::CpuContended,
        ) => true,
        // A thread without a free moment reads answers late, too; that is in no lag.
        (Decision::Fail | Decision::Open, Code::GeneratorBehind | Code::CpuWithheld) => small,
        _ => false,
    };
    // A trial is as long as it has to be, and whether the Flow keeps up is for its judge to say.
    let ours = summary.validity.reasons.iter();
    let ours = ours.filter(|reason| !matches!(reason.code, Code::Overload | Code::TooShort));
    let (excused, ours): (Vec<&Reason>, Vec<&Reason>) = ours.partition(excused);
    let texts = |reasons: Vec<&Reason>| reasons.into_iter().map(Reason::to_string).collect();
    (texts(excused), texts(ours))
}

/// What came in and went out, a second.
#[derive(Clone, Copy)]
struct Flow {
    offered: f64,
    ok: f64,
    /// Ok requests that met the objective by themselves.
    good: f64,
}

impl Flow {
    /// Of a whole trial.
    fn whole(marks: &[Mark], throughput: &Throughput) -> Flow {
        let seconds: f64 = marks.iter().map(|mark| mark.block.seconds).sum();
        Flow {
            offered: throughput.offered_per_s,
            ok: throughput.requests_per_s,
            good: met(marks) / f64::max(seconds, 1e-3),
        }
    }

    /// Of the second half of a trial that is out of balance, when what the warmup left has been worked
    /// off and the queue has filled; `None` where nothing was offered in it. Arrivals came by the
    /// clock, so what ended is counted in terms of them: workers do not tell at the same instant.
    fn settled(level: f64, marks: &[Mark]) -> Option<Flow> {
        let middle = marks.last()?.end_s / 2.0;
        let half = marks.partition_point(|mark| mark.end_s < middle);
        let (before, after) = (marks.get(half)?, marks.last()?);
        let arrivals =
            after.offered.checked_sub(before.offered).filter(|arrivals| *arrivals > 0)?;
        let per_s = |count: f64| count / arrivals as f64 * level;
        Some(Flow {
            offered: level,
            ok: per_s(after.ok.saturating_sub(before.ok) as f64),
            good: per_s(met(&marks[half + 1..])),
        })
    }
}

/// Requests that ended and exceeded no limit.
fn met(marks: &[Mark]) -> f64 {
    let met = |block: &Block| block.requests - block.over.iter().copied().fold(0.0, f64::max);
    // Assertions are looked at later than responses are counted.
    marks.iter().map(|mark| met(&mark.block)).sum::<f64>().max(0.0)
}

/// The figures of a trial.
///
/// Its response times are those of all requests that were due in it, but of an overload those that had
/// ended when it was over: what is sent after it, to see the Flow recover, is another load.
fn point(trial: &Trial, watched: &Watched, summary: &ScenarioSummary, flow: Flow) -> Point {
    let marks = watched.marks();
    let documents = |documents: f64, ok: f64| match ok > 0.0 {
        true => documents / ok * flow.ok,
        false => 0.0,
    };
    let of_flow = Point {
        offered_per_s: flow.offered,
        throughput_per_s: flow.ok,
        goodput_per_s: flow.good,
        drift: (marks.len() >= DRIFT_BLOCKS).then(|| drift(marks, flow.offered)),
        ..Point::default()
    };
    if let (Kind::Overload, Some(Offered { tally, elapsed, .. })) =
        (trial.kind, watched.while_offered())
    {
        let executors = tally.executors.iter().filter_map(|stop| {
            Some(ExecutorTime { name: stop.name.clone(), mean_ms: ms(stop.time.mean()?) })
        });
        return Point {
            documents_per_s: documents(tally.documents_ok as f64, tally.ok().count() as f64),
            error_rate: Requests::new(tally).error_rate().unwrap_or(0.0),
            in_flight: tally.in_flight.area / elapsed.as_secs_f64().max(1e-3),
            executors: executors.collect(),
            ..times(of_flow, &Latency::new(tally.ok()))
        };
    }
    let executors = summary.executors.iter().flatten().filter_map(|stop| {
        Some(ExecutorTime { name: stop.name.clone(), mean_ms: stop.time_ms.mean? })
    });
    let Throughput { documents_per_s, requests_per_s, .. } = summary.throughput;
    Point {
        documents_per_s: documents(documents_per_s, requests_per_s),
        error_rate: summary.error_rate.unwrap_or(0.0),
        in_flight: summary.client.in_flight.mean,
        executors: executors.collect(),
        ..times(of_flow, &summary.response_time_ms)
    }
}

/// The figures with response times.
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

/// By how many requests a second those in flight grew, in terms of arrivals.
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

    /// Marks after each quarter of a second, of arrivals, ok requests and those over a limit in each.
    fn marks(each: &[(u64, u64, u64)]) -> Vec<Mark> {
        let (mut offered, mut ok) = (0, 0);
        let each = each.iter().enumerate();
        each.map(|(index, (arrived, ended, over))| {
            (offered, ok) = (offered + arrived, ok + ended);
            let block = Block {
                seconds: 0.25,
                requests: *ended as f64,
                over: vec![*over as f64],
                ..Block::default()
            };
            Mark { end_s: 0.25 * (index + 1) as f64, block, offered, ok }
        })
        .collect()
    }

    #[test]
    fn out_of_balance_a_trial_tells_by_its_second_half_what_comes_out() {
        // 200/s are offered and 100/s come out, the first half second of them the warmup's.
        let marks = marks(&[
            (50, 0, 0),
            (50, 0, 0),
            (50, 25, 5),
            (50, 25, 25),
            // The workers have not told of all arrivals and answers yet.
            (40, 20, 20),
            (60, 30, 25),
            (50, 25, 25),
            (40, 20, 20),
        ]);
        let flow = Flow::settled(200.0, &marks).expect("something was offered");
        assert_eq!((flow.offered, flow.ok), (200.0, 100.0));
        assert!((flow.good - 5.0 / 190.0 * 200.0).abs() < 1e-9, "{}", flow.good);
        assert!(Flow::settled(200.0, &[]).is_none());
    }
}
