//! One scenario again and again, each time under another load, against Flows that keep running.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::live::Live;
use super::summarize::Outline;
use super::{Context, Options, RunError, scenario};
use crate::plan::{Connections, Load, Plan};
use crate::record::Recording;
use crate::record::summary::ScenarioSummary;
use crate::record::tally::Counts;

/// What was measured so far.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// All that ended.
    pub recording: &'a Recording,
    /// What was counted on responses.
    pub counts: Counts,
    /// Since the end of the warmup.
    pub elapsed: Duration,
}

/// Looks at what was measured, some times a second and once when all is over. Says whether that is
/// enough.
pub type Look = Box<dyn FnMut(&Seen<'_>) -> bool + Send>;

/// Flows that run, for one trial after another.
pub struct Trials {
    context: Context,
}

/// How a trial is conducted, other than the scenario says.
#[derive(Clone, Debug)]
pub(crate) struct Conduct {
    /// How fast, how much.
    pub load: Load,
    /// Sent before, not measured.
    pub warmup: Duration,
    /// Documents a request; `None`: as the scenario says.
    pub request_size: Option<usize>,
    /// Connections; `None`: as the scenario says.
    pub connections: Option<usize>,
}

impl Trials {
    /// Begins with the Flows of a plan, for trials of one of `scenarios` and for the others, which it
    /// needs.
    ///
    /// # Errors
    /// When nothing could be begun.
    pub async fn start(
        plan: Plan,
        scenarios: &[usize],
        options: Options,
    ) -> Result<Trials, RunError> {
        let (context, _) = Context::begin(plan, scenarios, options).await?;
        Ok(Trials { context })
    }

    /// Runs a scenario as it is in the plan, once: one that a trial needs.
    pub async fn run(&self, index: usize) -> ScenarioSummary {
        let summary = scenario::run(&self.context, index).await;
        self.context.release(index).await;
        summary
    }

    /// Runs a scenario under another load. Its thresholds do not end it, `look` does.
    pub(crate) async fn trial(
        &mut self,
        index: usize,
        conduct: Conduct,
        look: Look,
    ) -> ScenarioSummary {
        let own = self.context.plan.scenarios[index].clone();
        let scenario = &mut self.context.plan.scenarios[index];
        scenario.load = conduct.load;
        scenario.warmup = conduct.warmup;
        scenario.thresholds = Vec::new();
        if let Some(connections) = conduct.connections {
            scenario.client.connections = Connections::Exactly(connections);
        }
        if let Some(size) = conduct.request_size {
            scenario.steps.iter_mut().for_each(|step| step.set_request_size(size));
        }
        let outline = std::mem::replace(&mut self.context.outlines[index], Outline::new(scenario));
        self.context.look = Some(Mutex::new(look));
        let summary = scenario::run(&self.context, index).await;
        self.context.look = None;
        self.context.plan.scenarios[index] = own;
        self.context.outlines[index] = outline;
        summary
    }

    /// The state of all scenarios, some times a second while one runs.
    pub fn live(&self) -> watch::Receiver<Vec<Live>> {
        self.context.options.live.subscribe()
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.context.plan
    }

    /// Stops the Flows.
    pub async fn stop(self) {
        self.context.end(&mut []).await;
    }
}
