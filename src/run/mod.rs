//! Carries out a plan: starts Flows, runs scenarios in order, and summarizes what was measured.

mod board;
mod clocks;
mod command;
mod counted;
mod examined;
mod flows;
pub mod journal;
mod live;
mod machine;
pub mod merge;
mod parts;
mod scenario;
pub mod search;
mod summarize;
mod telling;
mod timing;
mod together;
mod trials;
mod tried;
mod until;
mod worker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

pub use board::{Board, Found, Shown};
pub(crate) use flows::log_names;
pub use flows::response_memory;
pub use live::{Live, Recent, State};
pub use machine::environment;
use machine::{cores, host_name, system_clock};
pub use trials::Trials;
pub use tried::{Look, Seen};

use crate::engine::Stop;
use crate::engine::examine::{Output, Saves};
use crate::meet::{FromHost, Guest, MeetError, Meeting, Member, Start};
use crate::plan::{Plan, Scenario};
use crate::record::summary::{End, EndReason, RunPart, ScenarioSummary, Summary, ms};
use crate::threshold;
use flows::Flows;
use journal::{Entry, Notes};
use summarize::Outline;
use together::Together;

/// What a run needs besides its plan.
pub struct Options {
    /// Where `print`, `log` and `beep` write.
    pub output: Output,
    /// The first signal lets requests in flight finish, the second does not wait.
    pub stop: Stop,
    /// Receives the state of all scenarios several times a second; slow receivers miss some.
    pub live: watch::Sender<Vec<Live>>,
    /// Where to write measurements as they are made, so that a killed run is not lost.
    pub(crate) journal: Option<Notes>,
    /// When the load begins; `None`: immediately. Connections are opened and requests are made before.
    pub at: Option<jiff::Timestamp>,
    /// The other parts of the load, if this is one of several connected parts. The result of part 1 is then that of
    /// the whole.
    pub meeting: Option<Meeting>,
    /// Which of a command's plans this is, for the parts that follow part 1.
    pub(crate) plan: usize,
    /// The folder for the output of the commands that start Flows; `None`: only its end is kept, for
    /// messages.
    pub logs: Option<PathBuf>,
    /// Receives what was measured so far, while somebody is watching.
    pub board: Option<Arc<Board>>,
}

impl Default for Options {
    /// Runs to the end without live output.
    fn default() -> Options {
        Options {
            output: Arc::new(Mutex::new(std::io::sink())),
            stop: Stop::default(),
            live: watch::Sender::new(Vec::new()),
            journal: None,
            at: None,
            meeting: None,
            plan: 0,
            logs: None,
            board: None,
        }
    }
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file that `save` should write could not be opened.
    #[error("could not write {path}")]
    Save {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The other parts did not begin with us.
    #[error(transparent)]
    Meet(#[from] MeetError),
}

/// What a scenario may ask of its run.
struct Context {
    plan: Plan,
    outlines: Vec<Outline>,
    flows: Flows,
    saves: Saves,
    options: Options,
    started: Instant,
    /// When the load begins, if that was set.
    at: Option<Instant>,
    /// The other parts, if they are connected.
    together: Option<Together>,
    /// Checks measurements as they are made, if scenarios may be ended by them.
    look: Option<Mutex<Look>>,
}

/// The state of a scenario, as seen by those that need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Pending,
    /// It ran, whatever the result.
    Ran,
    /// It never ran, so scenarios that need it cannot run either.
    NotRun,
}

/// Carries out a plan. Problems with a target or a scenario are part of the summary.
///
/// # Errors
/// If nothing could be started.
pub async fn run(plan: Plan, options: Options) -> Result<Summary, RunError> {
    let secrets = plan.secrets.clone();
    let all: Vec<usize> = (0..plan.scenarios.len()).collect();
    let (context, mut summary) = Context::begin(plan, &all, options, false).await?;
    let board = context.options.board.clone();
    let (progress, watches): (Vec<_>, Vec<_>) =
        context.plan.scenarios.iter().map(|_| watch::channel(Progress::Pending)).unzip();
    let scenarios = progress.into_iter().enumerate().map(|(index, progress)| {
        let (context, watches) = (&context, &watches);
        async move {
            let own = in_turn(context, index, watches).await;
            let ran = !matches!(own.end.reason, EndReason::Skipped | EndReason::Unreachable);
            context.tell_of_end(index, &own);
            let summary = context.whole(index).await.unwrap_or(own);
            context.options.live.send_modify(|live| live[index].finish(&summary));
            if let Some(board) = &context.options.board {
                board.put(index, context.started.elapsed(), summary.clone());
            }
            // Its Flow is stopped before any waiting scenario begins: that one may use the same port.
            context.release(index).await;
            progress.send_replace(if ran { Progress::Ran } else { Progress::NotRun });
            summary
        }
    });
    let scenarios = join_all(scenarios).await;

    summary.duration_s = seconds(context.started.elapsed());
    // A scenario that reached its end before it noticed the interrupt was not interrupted.
    let cut_short = |scenario: &ScenarioSummary| scenario.end.unfinished().is_some();
    summary.interrupted =
        context.options.stop.drain.is_cancelled() && scenarios.iter().any(cut_short);
    summary.scenarios = scenarios;
    summary.parts = context.together.as_ref().map(Together::machines).unwrap_or_default();
    context.end(&mut summary.scenarios).await;
    if !summary.parts.is_empty() {
        // The result covers all parts.
        summary.part = None;
    }
    threshold::conclude(&mut summary);
    let summary = secrets.mask_data(summary);
    if let Some(board) = board {
        board.conclude(&summary);
    }
    Ok(summary)
}

impl Context {
    /// Opens the files that callbacks write, and starts the journal and the Flows. `scenarios` are those that will
    /// run. Returns what is known about the run at its start.
    async fn begin(
        plan: Plan,
        scenarios: &[usize],
        mut options: Options,
        trials: bool,
    ) -> Result<(Context, Summary), RunError> {
        let mut saves = Saves::new(plan.secrets.clone(), plan.part);
        for step in plan.scenarios.iter().flat_map(|scenario| &scenario.steps) {
            saves
                .open(&step.callbacks)
                .map_err(|(path, source)| RunError::Save { path, source })?;
        }
        let now = jiff::Timestamp::now();
        let mut at = options.at.map(|at| instant(Instant::now(), at.duration_since(now)));
        let waiting = |scenario| Live::waiting(scenario, &plan.secrets);
        options.live.send_replace(plan.scenarios.iter().map(waiting).collect());
        let mut outlines: Vec<Outline> = plan.scenarios.iter().map(Outline::new).collect();
        let mut together = None;
        if let Some(meeting) = options.meeting.take() {
            let all;
            let start = Start { at, plan: options.plan, trials };
            (all, at) = Together::begin(meeting, &plan, &outlines, start, &options.stop).await?;
            together = Some(all);
        }
        let started = Instant::now();
        // Others may have been waited for until now.
        let summary = begin(&plan, jiff::Timestamp::now(), (options.at, together.is_some()));
        if let Some(journal) = &options.journal {
            journal.begin(&summary, &outlines, &plan.secrets);
        }
        if !plan.part.is_whole() {
            outlines.iter_mut().for_each(Outline::of_part);
        }
        let scenarios = scenarios.iter().copied();
        if let Some(board) = &options.board {
            let mut shown = summary.clone();
            // Of a search, only some of them run.
            scenarios.clone().for_each(|index| {
                shown.scenarios[index] = summarize::waiting(&plan, index);
            });
            // Part 1 of several connected parts shows the whole.
            shown.part = shown.part.filter(|_| !together.as_ref().is_some_and(Together::leads));
            board.begin(&shown, &plan.secrets);
        }
        let flows = Flows::begin(&plan, scenarios, options.logs.as_deref(), &options.stop).await;
        let look = None;
        let context =
            Context { plan, outlines, flows, saves, options, started, at, together, look };
        Ok((context, summary))
    }

    /// Stops the Flows. If a Flow's command ended at any time, what was sent to it counts as invalid.
    async fn end(self, scenarios: &mut [ScenarioSummary]) {
        let Context { plan, outlines, flows, options, .. } = self;
        let ended = tokio::select! {
            ended = flows.stop() => ended,
            // Whatever is left in a Flow ends with it.
            () = options.stop.abort.cancelled() => return,
        };
        for (index, summary) in scenarios.iter_mut().enumerate() {
            if let Some(reason) = &ended[plan.scenarios[index].flow] {
                summarize::lost(summary, &outlines[index], reason);
            }
        }
    }

    /// Marks a scenario as over, so that it no longer uses its Flow.
    async fn release(&self, scenario: usize) {
        tokio::select! {
            () = self.flows.release(self.plan.scenarios[scenario].flow) => (),
            () = self.options.stop.abort.cancelled() => (),
        }
    }

    /// The signals that a scenario obeys. One that always runs ignores the first.
    fn stop_of(&self, scenario: usize) -> Stop {
        let Stop { drain, abort } = self.options.stop.clone();
        let drain = if self.plan.scenarios[scenario].always { abort.clone() } else { drain };
        Stop { drain, abort }
    }

    /// When a scenario is due, if that was set; scenarios that wait for others are due once those are over.
    fn due(&self, scenario: usize) -> Option<Instant> {
        let Scenario { needs, after, .. } = &self.plan.scenarios[scenario];
        self.not_before(scenario).filter(|_| needs.is_empty() && after.is_empty())
    }

    /// Before this, a scenario sends nothing, if a time was set: also not when what it waits for is over already,
    /// because this part has nothing to send there.
    fn not_before(&self, scenario: usize) -> Option<Instant> {
        self.at.map(|at| at + self.plan.scenarios[scenario].start)
    }

    /// Whether anybody receives what happens.
    fn is_told(&self) -> bool {
        self.options.journal.is_some() || self.together.is_some()
    }

    /// Writes an event to the journal, if there is one, and tells the other parts.
    fn tell(&self, entry: impl FnOnce() -> Entry) {
        let (journal, together) = (&self.options.journal, &self.together);
        if !self.is_told() {
            return;
        }
        let entry = entry();
        let line = entry.line(&self.plan.secrets);
        match (journal, together) {
            (Some(journal), None) => journal.send(line),
            (Some(journal), Some(together)) => {
                journal.send(line.clone());
                together.tell(entry, line);
            }
            (None, Some(together)) => together.tell(entry, line),
            (None, None) => (),
        }
    }

    /// The same of what came of a scenario in this part.
    fn tell_of_end(&self, scenario: usize, summary: &ScenarioSummary) {
        self.tell(|| Entry::Ended {
            scenario,
            summary: Box::new(summary.clone()),
            interrupted: self.options.stop.drain.is_cancelled(),
        });
    }

    /// What came of a scenario in all parts, if this is part 1 of several that are connected. Its journal says what
    /// counts of it, where that is not all: whoever merges it with the others would not know.
    async fn whole(&self, scenario: usize) -> Option<ScenarioSummary> {
        let (summary, counted) = self.together.as_ref()?.whole(scenario).await?;
        if let Some(journal) = self.options.journal.as_ref().filter(|_| !counted.is_all()) {
            journal.send(Entry::Counted { scenario, counted }.line(&self.plan.secrets));
        }
        Some(summary)
    }

    /// How a scenario is to end, as soon as something outside of it says so; and when what is in flight is
    /// given up, if it does not have all the time it wants. `ends`: it does already, and that time is all
    /// there is to say.
    async fn ended(&self, scenario: usize, ends: bool) -> (End, Option<Instant>) {
        let of_all = async {
            match &self.together {
                Some(together) => {
                    let always = self.plan.scenarios[scenario].always;
                    together.ended(scenario, always, ends).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = of_all => ended,
            reason = self.flows.end(self.plan.scenarios[scenario].flow), if !ends => {
                (End { reason: EndReason::Aborted, message: Some(reason) }, None)
            }
        }
    }
}

/// This machine, as announced to the other parts.
pub fn member() -> Member {
    Member {
        host: host_name(),
        cores: cores(),
        started_at: jiff::Timestamp::now(),
        clock: system_clock(),
    }
}

/// Does what part 1 does with one of these plans after another, until part 1 is done. Part 1 has the results.
///
/// # Errors
/// If a run cannot be started, or part 1 is lost.
pub(crate) async fn follow(
    plans: &[Plan],
    meeting: &Meeting,
    stop: &Stop,
    output: &Output,
    board: Option<Arc<Board>>,
) -> Result<(), RunError> {
    let Meeting::Guest(guest) = meeting else { return Ok(()) };
    let mut has_begun = false;
    while let Some(start) = next(guest, stop).await.map_err(|error| after(has_begun, error))? {
        let other = || MeetError::Ended("part 1 carries out another command".into());
        let plan = plans.get(start.plan).cloned().ok_or_else(other)?;
        let options = Options {
            output: output.clone(),
            stop: stop.clone(),
            meeting: Some(meeting.clone()),
            board: board.clone(),
            ..Options::default()
        };
        let followed = match start.trials {
            true => Trials::follow(plan, options).await,
            false => run(plan, options).await.map(drop),
        };
        followed.map_err(|error| match error {
            RunError::Meet(error) => RunError::Meet(after(has_begun, error)),
            error => error,
        })?;
        has_begun = true;
    }
    Ok(())
}

/// What a part was lost to is no beginning that failed where there were runs before.
fn after(has_begun: bool, error: MeetError) -> MeetError {
    match error {
        MeetError::Ended(reason) if has_begun => MeetError::Lost(reason),
        error => error,
    }
}

/// The next run of part 1; `None` if there are no more.
async fn next(guest: &Guest, stop: &Stop) -> Result<Option<Start>, MeetError> {
    let events = guest.events();
    let mut events = events.lock().await;
    loop {
        // A run in which a part is lost comes to an end here too, and then there are no more.
        if let Some(reason) = guest.halted() {
            return Err(MeetError::Ended(reason));
        }
        // It was announced while the previous run was still going on here.
        if let Some(kept) = guest.kept() {
            return Ok(kept);
        }
        let event = tokio::select! {
            event = events.recv() => event,
            () = stop.drain.cancelled() => return Ok(None),
        };
        match event {
            Some(FromHost::Start(start)) => {
                guest.keep(Some(start));
                return Ok(Some(start));
            }
            Some(FromHost::Stop { .. }) => stop.drain.cancel(),
            Some(FromHost::Done) | None => return Ok(None),
            Some(FromHost::Halt { reason, .. } | FromHost::Gone { reason, .. }) => {
                return Err(MeetError::Ended(reason));
            }
            // A message about the previous run.
            Some(_) => (),
        }
    }
}

/// What is known of a run when it begins.
fn begin(
    plan: &Plan,
    started_at: jiff::Timestamp,
    (at, connected): (Option<jiff::Timestamp>, bool),
) -> Summary {
    let environment = environment();
    let clock = system_clock();
    let part = (!plan.part.is_whole()).then(|| RunPart {
        number: plan.part.number(),
        of: plan.part.of(),
        host: host_name(),
        cores: environment.cores,
        started_at,
        at,
        synchronised: clock.map(|clock| clock.synchronised),
        clock_error_ms: clock.map(|clock| ms(clock.error)),
        connected,
    });
    Summary {
        suite: plan.name.clone(),
        started_at,
        seed: plan.seed,
        part,
        environment,
        resolved: Some(plan.resolved()),
        scenarios: (0..plan.scenarios.len()).map(|index| summarize::empty(plan, index)).collect(),
        ..Summary::default()
    }
}

/// Waits for the scenarios that a scenario needs and for its start, then runs it.
async fn in_turn(
    context: &Context,
    index: usize,
    watches: &[watch::Receiver<Progress>],
) -> ScenarioSummary {
    let scenario = &context.plan.scenarios[index];
    let stop = context.stop_of(index);
    let waited = async {
        for &need in &scenario.needs {
            // The sender is dropped only after it has sent.
            let mut progress = watches[need].clone();
            let progress = progress.wait_for(|progress| *progress != Progress::Pending).await;
            let not_run = progress.is_ok_and(|progress| *progress == Progress::NotRun);
            if not_run && !scenario.always {
                let name = &context.plan.scenarios[need].name;
                return Some(format!("it needs `{name}`, which did not run"));
            }
        }
        for &other in &scenario.after {
            let mut progress = watches[other].clone();
            let _ = progress.wait_for(|progress| *progress != Progress::Pending).await;
        }
        match context.due(index) {
            // It connects and makes its first requests shortly before.
            Some(due) => tokio::time::sleep_until(early(due)).await,
            None => {
                tokio::time::sleep(scenario.start).await;
                if let Some(at) = context.not_before(index) {
                    tokio::time::sleep_until(early(at)).await;
                }
            }
        }
        None
    };
    let halted = async {
        match &context.together {
            Some(together) => together.halted(scenario.always).await,
            None => std::future::pending().await,
        }
    };
    let obstacle = tokio::select! {
        obstacle = waited => obstacle,
        () = stop.drain.cancelled() => Some("the run ended before".into()),
        reason = halted => Some(reason),
    };
    match obstacle {
        Some(reason) => summarize::not_run(context, index, EndReason::Skipped, reason),
        None => scenario::run(context, index).await,
    }
}

/// The instant at this distance from another; or that other one if the result cannot be represented.
fn instant(from: Instant, distance: jiff::SignedDuration) -> Instant {
    let length = distance.unsigned_abs();
    let there =
        if distance.is_negative() { from.checked_sub(length) } else { from.checked_add(length) };
    there.unwrap_or(from)
}

/// When to connect for a load that is due: Flows close connections that stay idle for long.
fn early(due: Instant) -> Instant {
    const BEFORE: Duration = Duration::from_secs(20);
    due.checked_sub(BEFORE).unwrap_or(due)
}

/// Seconds, rounded to the microsecond: more digits would be false precision.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}
