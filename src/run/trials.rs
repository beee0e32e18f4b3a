//! Runs one scenario repeatedly, each time with another load, against Flows that keep running.

use std::sync::Mutex;

use tokio::sync::watch;

use super::live::Live;
use super::summarize::{self, Outline};
use super::together::{Task, Together};
use super::tried::{Look, Tried};
use super::{Context, Options, RunError, scenario};
use crate::plan::{Connections, Plan};
use crate::record::summary::{EndReason, ScenarioSummary, Verdict};

/// Running Flows, for one trial after another.
pub struct Trials {
    context: Context,
    /// The last trial, whose end a board is only told with that of all.
    last: Option<(usize, ScenarioSummary)>,
}

impl Trials {
    /// Starts the Flows of a plan, for trials of one of `scenarios` and for the other scenarios that it needs.
    ///
    /// # Errors
    /// If nothing could be started.
    pub async fn start(
        plan: Plan,
        scenarios: &[usize],
        options: Options,
    ) -> Result<Trials, RunError> {
        let (context, _) = Context::begin(plan, scenarios, options, true).await?;
        Ok(Trials { context, last: None })
    }

    /// Does what part 1 of a load does, until part 1 is done.
    ///
    /// # Errors
    /// If nothing could be started.
    pub(crate) async fn follow(plan: Plan, options: Options) -> Result<(), RunError> {
        let all: Vec<usize> = (0..plan.scenarios.len()).collect();
        let mut trials = Trials::start(plan, &all, options).await?;
        let mut done = 0;
        while let Some(together) = &trials.context.together {
            let (count, task) = together.task(done).await;
            done = count;
            match task {
                // Part 1 watches, and says when it is enough.
                Task::Trial(index, tried) if index < all.len() => {
                    drop(trials.trial(index, tried, Box::new(|_| false)).await);
                }
                Task::Alone(index) if index < all.len() => drop(trials.run(index).await),
                _ => break,
            }
        }
        trials.stop().await;
        Ok(())
    }

    /// Runs a scenario that a trial needs, once, as it is in the plan.
    pub async fn run(&self, index: usize) -> ScenarioSummary {
        let context = &self.context;
        if let Some(together) = &context.together {
            let empty = summarize::empty(&context.plan, index);
            together.again(&Task::Alone(index), empty, context.outlines[index].clone());
        }
        let summary = self.carried_out(index).await;
        self.put(index, summary.clone());
        context.release(index).await;
        summary
    }

    /// Runs a scenario with another load. `look` ends it, not its thresholds.
    pub(crate) async fn trial(
        &mut self,
        index: usize,
        tried: Tried,
        look: Look,
    ) -> ScenarioSummary {
        let own = self.context.plan.scenarios[index].clone();
        let scenario = &mut self.context.plan.scenarios[index];
        (scenario.load, scenario.warmup) = (tried.load(&own), Tried::warmup(&own));
        scenario.thresholds = Vec::new();
        if let Some(connections) = tried.connections {
            scenario.client.connections = Connections::Exactly(connections);
        }
        if let Some(size) = tried.request_size {
            scenario.steps.iter_mut().for_each(|step| step.set_request_size(size));
        }
        let outline = Outline::new(scenario);
        if let Some(together) = &self.context.together {
            let empty = summarize::empty(&self.context.plan, index);
            together.again(&Task::Trial(index, tried), empty, outline.clone());
        }
        let outline = std::mem::replace(&mut self.context.outlines[index], outline);
        self.context.look = Some(Mutex::new(look));
        let summary = self.carried_out(index).await;
        // It has no thresholds, and the search goes on.
        let so_far = ScenarioSummary { end: EndReason::Running.into(), ..summary.clone() };
        self.put(index, so_far);
        self.last = Some((index, summary.clone()));
        self.context.look = None;
        self.context.plan.scenarios[index] = own;
        self.context.outlines[index] = outline;
        summary
    }

    /// Runs a scenario; in part 1, the result covers all parts.
    async fn carried_out(&self, index: usize) -> ScenarioSummary {
        let own = scenario::run(&self.context, index).await;
        self.context.tell_of_end(index, &own);
        self.context.whole(index).await.unwrap_or(own)
    }

    /// Shows what came of a scenario.
    fn put(&self, index: usize, mut summary: ScenarioSummary) {
        if let Some(board) = &self.context.options.board {
            if summary.end.is_ahead() {
                (summary.verdict, summary.passed) = (Verdict::Inconclusive, false);
            }
            board.put(index, self.context.started.elapsed(), summary);
        }
    }

    /// Why there are no more trials, if a part was lost.
    pub(crate) fn halt(&self) -> Option<String> {
        self.context.together.as_ref().and_then(Together::halt)
    }

    /// The state of all scenarios, several times a second while one runs.
    pub fn live(&self) -> watch::Receiver<Vec<Live>> {
        self.context.options.live.subscribe()
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.context.plan
    }

    /// Stops the Flows.
    pub async fn stop(mut self) {
        if let Some((index, summary)) = self.last.take() {
            self.put(index, summary);
        }
        if let Some(together) = &self.context.together {
            together.rest();
        }
        self.context.end(&mut []).await;
    }
}
