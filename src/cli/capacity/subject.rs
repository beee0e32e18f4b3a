//! A search in progress, and its result: the final one, and intermediate ones for live views.

use std::sync::Arc;
use std::time::Instant;

use super::Args;
use super::task::Task;
use crate::capacity::analysis;
use crate::capacity::limit;
use crate::capacity::pareto::Pareto;
use crate::capacity::planning::plan_for;
use crate::capacity::predict::Circumstances;
use crate::capacity::result::{self, Capacity};
use crate::capacity::search::{Search, Settings};
use crate::capacity::trials::{TrialSummary, Unit};
use crate::capacity::words;
use crate::cli::print;
use crate::engine::Stop;
use crate::plan::{Load, Plan, Scenario, Work};
use crate::report::trials::Trials as View;
use crate::run::search::Told;
use crate::run::{Board, Found, environment};
use crate::scenario::condition::Condition;
use crate::schedule::Schedule;

/// One search.
pub(super) struct Subject<'a> {
    args: &'a Args,
    suite: &'a str,
    scenario: &'a Scenario,
    task: &'a Task,
    stop: &'a Stop,
    started_at: jiff::Timestamp,
    started: Instant,
}

impl<'a> Subject<'a> {
    /// Begins a search now.
    pub(super) fn begin(
        args: &'a Args,
        plan: &'a Plan,
        task: &'a Task,
        index: usize,
        stop: &'a Stop,
    ) -> Subject<'a> {
        let (started_at, started) = (jiff::Timestamp::now(), Instant::now());
        let (suite, scenario) = (plan.name.as_str(), &plan.scenarios[index]);
        Subject { args, suite, scenario, task, stop, started_at, started }
    }

    /// The result after these trials.
    pub(super) fn result(
        &self,
        search: &Search,
        trials: Vec<TrialSummary>,
        pareto: Option<Pareto>,
    ) -> Capacity {
        let Subject { scenario, task, .. } = self;
        let Settings { low, high, clients, precision, confidence, .. } = task.settings;
        let unit = if clients { Unit::Clients } else { Unit::Rate };
        let objective: Vec<String> =
            task.objective.conditions().iter().map(Condition::to_string).collect();
        let answer = search.edge();
        let burstiness = match &scenario.load {
            Load::Open { schedule: Schedule::Rate { process, .. }, .. } => process.burstiness(),
            _ => 0.0,
        };
        let circumstances = Circumstances { clients, arrival_variation: burstiness.powi(2) };
        let documents = scenario.steps.iter().map(|step| match &step.work {
            Work::Post(post) if post.documents.is_some() => post.request_size as f64,
            _ => 1.0,
        });
        let mut capacity = Capacity {
            schema: result::SCHEMA.into(),
            suite: self.suite.to_owned(),
            scenario: scenario.name.clone(),
            started_at: self.started_at,
            duration_s: self.started.elapsed().as_secs_f64(),
            words: String::new(),
            paragraph: String::new(),
            objective,
            unit,
            range: [low, high],
            precision,
            confidence,
            burstiness: (!clients).then_some(burstiness),
            replicas: 1,
            documents_per_request: documents.sum(),
            notes: search.notes().to_vec(),
            interrupted: self.stop.drain.is_cancelled(),
            knee: analysis::knee(&trials),
            overload: analysis::overload(&trials),
            recovered_s: trials.iter().find_map(|trial| trial.recovered_s),
            first_limit: limit::first(&trials, &environment()),
            models: analysis::models(&trials, &answer, circumstances),
            pareto,
            combinations: None,
            plan: None,
            answer,
            trials,
            environment: environment(),
        };
        plan_for(&mut capacity, self.args.planning.replicas.unwrap_or(1), None);
        words::write(&mut capacity);
        capacity
    }
}

/// The live views of a search: the terminal, and a board.
pub(super) struct Seers<'a> {
    pub(super) view: Option<&'a mut View>,
    pub(super) board: Option<Arc<Board>>,
}

impl Seers<'_> {
    /// Prints a line.
    pub(super) fn say(&mut self, text: &str) {
        if let Some(view) = &mut self.view {
            view.say(text);
        }
    }

    /// Shows the progress of a trial and, if there is a `subject`, what has been found so far.
    pub(super) fn tell(&mut self, told: Told<'_>, subject: Option<&Subject<'_>>, unit: Unit) {
        if let Some(view) = &mut self.view {
            view.tell(told);
        }
        let Some(board) = &self.board else { return };
        match (told, subject) {
            (Told::Begins(trial), _) => {
                let (kind, level) = (words::kind(trial.kind), words::level(trial.level, unit));
                board.next(format!("{kind}, {level}"));
            }
            (Told::Learnt(search, trials), Some(subject)) => {
                let found = subject.result(search, trials.to_vec(), None);
                show(board, &found);
            }
            _ => (),
        }
    }
}

/// Shows what has been found.
pub(super) fn show(board: &Board, found: &Capacity) {
    let found = print::hide().mask_data(found.clone());
    board.found(Found::Capacity(Arc::new(found)));
}
