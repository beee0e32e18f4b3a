//! Runs a capacity search: one trial after another against Flows that keep running.

mod outcome;
mod watched;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::live::Live;
use super::trials::Trials;
use super::tried::Seen;
use super::tried::Tried;
use crate::capacity::judge::{Evidence, Rule};
use crate::capacity::objective::Objective;
use crate::capacity::search::{Search, Trial, TrialResult};
use crate::capacity::trials::TrialSummary;
use crate::record::HistogramError;
use crate::record::summary::EndReason;
use watched::Watched;

/// How often a running trial reports its progress.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    /// The target could not be reached or started.
    #[error("{0}")]
    Unreachable(String),
    /// A part of the load was lost.
    #[error("{0}")]
    Lost(String),
    /// A request could not be made.
    #[error("{0}")]
    Broken(String),
    /// Our own histograms cannot be read.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

/// Settings that replace those of the scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Variant {
    /// Documents per request.
    pub request_size: Option<usize>,
    /// Number of connections.
    pub connections: Option<usize>,
}

/// Progress events of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told<'a> {
    /// A trial begins.
    Begins(&'a Trial),
    /// It is running; sent several times a second.
    Goes(&'a Trial, &'a Progress),
    /// It is over.
    Over(&'a Trial, &'a TrialSummary),
    /// The search has learnt from it, and from the previous ones.
    Learnt(&'a Search, &'a [TrialSummary]),
}

/// A running trial.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The scenario's live state.
    pub live: Live,
    /// Seconds since the end of the warmup.
    pub elapsed_s: f64,
    /// The evidence so far; `None` while there is none.
    pub evidence: Option<Evidence>,
}

/// Runs a search from its current state to its end; `told` receives each event.
///
/// # Errors
/// If trials cannot be run at all.
pub(crate) async fn search(
    trials: &mut Trials,
    scenario: usize,
    search: &mut Search,
    objective: &Objective,
    variant: Variant,
    told: &mut dyn FnMut(Told<'_>),
) -> Result<Vec<TrialSummary>, SearchError> {
    let mut summaries = Vec::new();
    while let Some(trial) = search.next() {
        let of = Of { scenario, clients: search.settings().clients, objective, variant };
        told(Told::Begins(&trial));
        let (result, summary) = one(trials, &trial, of, told).await?;
        told(Told::Over(&trial, &summary));
        search.learn(result);
        summaries.push(summary);
        told(Told::Learnt(search, &summaries));
    }
    Ok(summaries)
}

/// What all trials of a search share.
#[derive(Clone, Copy)]
struct Of<'a> {
    scenario: usize,
    clients: bool,
    objective: &'a Objective,
    variant: Variant,
}

async fn one(
    trials: &mut Trials,
    trial: &Trial,
    Of { scenario: index, clients, objective, variant }: Of<'_>,
    told: &mut dyn FnMut(Told<'_>),
) -> Result<(TrialResult, TrialSummary), SearchError> {
    let warmup = Tried::warmup(&trials.plan().scenarios[index]);
    // A queue settles during the warmup as well.
    let settle_s = |rule: &Rule| (rule.settle_s - warmup.as_secs_f64()).max(0.0);
    let settled =
        Trial { rule: trial.rule.map(|rule| Rule { settle_s: settle_s(&rule), ..rule }), ..*trial };
    let judge = settled.judge(objective.limits());
    let watched = Arc::new(Mutex::new(Watched::new(trial, objective, judge)));
    let look = {
        let watched = watched.clone();
        Box::new(move |seen: &Seen<'_>| lock(&watched).look(seen))
    };
    let Variant { request_size, connections } = variant;
    let tried = Tried {
        level: trial.level,
        budget_s: trial.budget_s,
        then: trial.then,
        clients,
        request_size,
        connections,
    };
    let live = trials.live();
    let summary = {
        let run = trials.trial(index, tried, look);
        tokio::pin!(run);
        let mut tick = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                summary = &mut run => break summary,
                _ = tick.tick() => {
                    let (elapsed_s, evidence) = lock(&watched).progress();
                    let live = live.borrow().get(index).cloned();
                    if let Some(live) = live {
                        told(Told::Goes(trial, &Progress { live, elapsed_s, evidence }));
                    }
                }
            }
        }
    };
    if let Some(reason) = trials.halt() {
        return Err(SearchError::Lost(reason));
    }
    let message = || summary.end.message.clone().unwrap_or_default();
    match summary.end.reason {
        EndReason::Unreachable => return Err(SearchError::Unreachable(message())),
        EndReason::Broken => return Err(SearchError::Broken(message())),
        _ => (),
    }
    let watched = lock(&watched);
    Ok(outcome::judged(trial, clients, objective, &watched, &summary)?)
}

fn lock(watched: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
