//! A search for capacity, carried out: one trial after the other against Flows that keep running.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::trials::{Conduct, Trials};
use crate::capacity::judge::{Block, Decision, Evidence, Judge};
use crate::capacity::objective::{Meter, Objective};
use crate::capacity::result::{ExecutorTime, Outcome, Point, TrialSummary};
use crate::capacity::search::{Kind, Search, Trial, TrialResult};
use crate::plan::{Arrivals, Load, Scenario, Schedule, Stage, Until};
use crate::record::HistogramError;
use crate::record::summary::{EndReason, ScenarioSummary, Throughput, Verdict};
use crate::record::validity::{LATE, NO_CPU, OVERLOAD, STARVED, WITHHELD};

/// Sent before each trial, where the scenario has no warmup: connections are new, and the first
/// requests over them are slower than any later.
const WARMUP: Duration = Duration::from_millis(500);

/// Blocks in a row that must be free of slow requests for a Flow to have recovered.
const CALM_BLOCKS: usize = 3;

/// Requests in flight, where the scenario sets no bound.
const IN_FLIGHT_MAX: usize = 10_000;

/// The lag of our own that a trial may have and still speak against a Flow: p99 of it, as a share of
/// the shortest time that the objective limits.
const LAG_SHARE: f64 = 0.05;

/// Blocks that tell whether a load is in balance.
const DRIFT_BLOCKS: usize = 8;

/// Why there is no search.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The target could not be reached or started.
    #[error("{0}")]
    Unreachable(String),
    /// A request could not be made.
    #[error("{0}")]
    Broken(String),
    /// Our own histograms cannot be read.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

/// Other than the scenario says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Variant {
    /// Documents a request.
    pub request_size: Option<usize>,
    /// Connections.
    pub connections: Option<usize>,
}

/// Carries a search out from where it is to its end; `told` hears of each trial before and after.
///
/// # Errors
/// When trials cannot be carried out at all.
pub async fn search(
    trials: &mut Trials,
    scenario: usize,
    search: &mut Search,
    objective: &Objective,
    variant: Variant,
    told: &mut dyn FnMut(&Trial, Option<&TrialSummary>),
) -> Result<Vec<TrialSummary>, SearchError> {
    let mut summaries = Vec::new();
    while let Some(trial) = search.next() {
        told(&trial, None);
        let clients = search.settings().clients;
        let (result, summary) = one(trials, scenario, &trial, clients, objective, variant).await?;
        told(&trial, Some(&summary));
        search.learn(result);
        summaries.push(summary);
    }
    Ok(summaries)
}

/// What is seen of a trial while it runs.
struct Watched {
    meter: Meter,
    judge: Option<Judge>,
    /// With the time at which each ended; at most four a second, bounded by the trial's budget.
    blocks: Vec<(f64, Block)>,
    /// Whether it may be let pass before its budget is over.
    early_pass: bool,
    cool_down: bool,
    budget_s: f64,
    least_s: f64,
    decided: Option<Decision>,
}

impl Watched {
    /// Whether that is enough.
    fn look(&mut self, recording: &crate::record::Recording, elapsed: Duration) -> bool {
        let over = elapsed.as_secs_f64() >= self.budget_s;
        let Some(block) = self.meter.block(recording, elapsed, over) else { return false };
        if let Some(judge) = &mut self.judge {
            judge.add(&block);
        }
        self.blocks.push((elapsed.as_secs_f64(), block));
        if self.cool_down {
            return elapsed.as_secs_f64() >= self.least_s && self.calm_from(0.0).is_some();
        }
        let Some(judge) = &self.judge else { return false };
        match judge.decision() {
            Decision::Fail => self.decided = Some(Decision::Fail),
            Decision::Pass if self.early_pass => self.decided = Some(Decision::Pass),
            _ if judge.is_futile(self.budget_s) && self.early_pass => return true,
            _ => return false,
        }
        true
    }

    /// Since when requests are fast again, after `from`.
    fn calm_from(&self, from: f64) -> Option<f64> {
        let after: Vec<&(f64, Block)> = self.blocks.iter().filter(|(end, _)| *end > from).collect();
        let calm = |(_, block): &(f64, Block)| {
            block.requests > 0.0 && block.over.iter().all(|over| *over == 0.0)
        };
        let start = after.windows(CALM_BLOCKS).position(|blocks| blocks.iter().all(|b| calm(b)))?;
        let (end, block) = after[start];
        Some((end - block.seconds - from).max(0.0))
    }
}

async fn one(
    trials: &mut Trials,
    index: usize,
    trial: &Trial,
    clients: bool,
    objective: &Objective,
    variant: Variant,
) -> Result<(TrialResult, TrialSummary), SearchError> {
    let scenario = &trials.plan().scenarios[index];
    let warmup = if scenario.warmup.is_zero() { WARMUP } else { scenario.warmup };
    let load = load(scenario, trial, clients);
    // The warmup lets a queue settle as well.
    let rule = trial.rule.map(|rule| crate::capacity::judge::Rule {
        settle_s: (rule.settle_s - warmup.as_secs_f64()).max(0.0),
        ..rule
    });
    let watched = Arc::new(Mutex::new(Watched {
        meter: objective.meter(),
        judge: rule.map(|rule| Judge::new(objective.limits(), rule)),
        blocks: Vec::new(),
        early_pass: objective.is_sequential(),
        cool_down: trial.kind == Kind::CoolDown,
        budget_s: trial.budget_s,
        least_s: trial.least_s,
        decided: None,
    }));
    let look = {
        let watched = watched.clone();
        Box::new(move |recording: &_, elapsed| lock(&watched).look(recording, elapsed))
    };
    let Variant { request_size, connections } = variant;
    let conduct = Conduct { load, warmup, request_size, connections };
    let summary = trials.trial(index, conduct, look).await;
    let message = || summary.end.message.clone().unwrap_or_default();
    match summary.end.reason {
        EndReason::Unreachable => return Err(SearchError::Unreachable(message())),
        EndReason::Broken => return Err(SearchError::Broken(message())),
        _ => (),
    }
    let watched = lock(&watched);
    Ok(judged(trial, objective, &watched, &summary)?)
}

/// The load of a trial: that of the scenario, with another rate or number of clients.
fn load(scenario: &Scenario, trial: &Trial, clients: bool) -> Load {
    let length = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let whole = trial.budget_s + trial.then.map_or(0.0, |(_, seconds)| seconds);
    let until = Until { duration: Some(length(whole)), requests: None };
    if clients {
        let think_time = match &scenario.load {
            Load::Closed { think_time, .. } => *think_time,
            _ => Duration::ZERO,
        };
        let count = trial.level as usize;
        let stages = vec![Stage { from: count, to: count, length: None }];
        return Load::Closed { stages, think_time, until };
    }
    let (arrivals, max_in_flight) = match &scenario.load {
        Load::Open { schedule: Schedule::Stages { arrivals, .. }, max_in_flight, .. } => {
            (*arrivals, *max_in_flight)
        }
        _ => (Arrivals::default(), IN_FLIGHT_MAX),
    };
    let stage =
        |level: f64, seconds: f64| Stage { from: level, to: level, length: Some(length(seconds)) };
    let mut stages = vec![stage(trial.level, trial.budget_s)];
    stages.extend(trial.then.map(|(level, seconds)| stage(level, seconds)));
    Load::Open { schedule: Schedule::Stages { stages, arrivals }, until, max_in_flight }
}

fn judged(
    trial: &Trial,
    objective: &Objective,
    watched: &Watched,
    summary: &ScenarioSummary,
) -> Result<(TrialResult, TrialSummary), HistogramError> {
    let conditions = objective.judge(summary)?;
    let overloaded = summary.validity.reasons.iter().any(|reason| reason.starts_with(OVERLOAD));
    let evidence = watched.judge.as_ref().map_or(Evidence::default(), Judge::evidence);
    let at_end = watched.judge.as_ref().map_or(Decision::Open, Judge::last_decision);
    let decision = match (watched.decided, objective.others(&conditions)) {
        (Some(Decision::Fail), _) | (_, Verdict::Failed) => Decision::Fail,
        _ if overloaded => Decision::Fail,
        // What came in after the end may contradict.
        (Some(Decision::Pass), Verdict::Held) if at_end != Decision::Fail => Decision::Pass,
        (_, Verdict::Held) => at_end,
        _ => Decision::Open,
    };
    let (excused, ours) = faults(summary, decision, objective);
    let judges = trial.rule.is_some();
    let backlog =
        summary.requests.abandoned > 0 || watched.cool_down && watched.calm_from(0.0).is_none();
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
    let summary = TrialSummary {
        kind: trial.kind,
        level: trial.level,
        outcome,
        seconds,
        budget_s: trial.budget_s,
        point: point(trial, watched, summary, evidence.growing || overloaded),
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
    let excused = |reason: &&String| match decision {
        Decision::Pass => [LATE, STARVED, NO_CPU].iter().any(|fault| reason.starts_with(fault)),
        // A thread without a free moment reads answers late, too; that is in no lag.
        Decision::Fail | Decision::Open => {
            small && (reason.starts_with(LATE) || reason.ends_with(WITHHELD))
        }
    };
    let ours = summary.validity.reasons.iter().filter(|reason| !reason.starts_with(OVERLOAD));
    let (excused, ours): (Vec<&String>, Vec<&String>) = ours.partition(excused);
    (excused.into_iter().cloned().collect(), ours.into_iter().cloned().collect())
}

fn point(trial: &Trial, watched: &Watched, summary: &ScenarioSummary, growing: bool) -> Point {
    // What follows an overload is not part of it.
    let blocks = watched.blocks.iter().filter(|(end, _)| *end <= trial.budget_s + 1e-9);
    let blocks: Vec<&Block> = blocks.map(|(_, block)| block).collect();
    let (mut seconds, mut met) = (0.0, 0.0);
    for block in &blocks {
        seconds += block.seconds;
        met += block.requests - block.over.iter().copied().fold(0.0, f64::max);
    }
    let drift = (blocks.len() >= DRIFT_BLOCKS).then(|| drift(&blocks, &summary.throughput));
    let staged = trial.then.is_some();
    let response = &summary.response_time_ms;
    let executors = summary.executors.iter().flatten();
    Point {
        offered_per_s: if staged { trial.level } else { summary.throughput.offered_per_s },
        throughput_per_s: summary.throughput.requests_per_s,
        documents_per_s: summary.throughput.documents_per_s,
        goodput_per_s: met / f64::max(seconds, 1e-3),
        error_rate: summary.error_rate.unwrap_or(0.0),
        in_flight: summary.client.in_flight.mean,
        mean_ms: response.mean,
        stddev_ms: response.stddev,
        p50_ms: response.p50,
        p95_ms: response.p95,
        p99_ms: response.p99,
        executors: executors
            .filter_map(|executor| {
                let mean_ms = executor.time_ms.mean?;
                Some(ExecutorTime { name: executor.name.clone(), mean_ms })
            })
            .collect(),
        drift,
        growing,
    }
}

/// By how many requests a second those in flight grew, in terms of arrivals.
fn drift(blocks: &[&Block], throughput: &Throughput) -> f64 {
    let mean = |blocks: &[&Block]| {
        let seconds: f64 = blocks.iter().map(|block| block.seconds).sum();
        let area: f64 = blocks.iter().map(|block| block.in_flight * block.seconds).sum();
        (area / seconds, seconds)
    };
    let (first, second) = blocks.split_at(blocks.len() / 2);
    let ((before, first_s), (after, second_s)) = (mean(first), mean(second));
    let growth = (after - before) / ((first_s + second_s) / 2.0);
    growth / throughput.offered_per_s.max(f64::MIN_POSITIVE)
}

fn lock(watched: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
