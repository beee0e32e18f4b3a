//! A run in connected parts: part 1 leads, the others follow. Each part carries out its plan as any run does; what
//! they share is the course, which part 1 decides: when a scenario begins, and when one ends early.

mod follow;
mod joined;
mod lead;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::RunError;
use super::counted::Counted;
use super::journal::Entry;
use super::summarize::{self, Outline};
use super::tried::Tried;
use crate::engine::Stop;
use crate::meet::{MeetError, Meeting, Start};
use crate::plan::Plan;
use crate::record::Recording;
use crate::record::summary::{End, EndReason, RunPart, ScenarioSummary};
use crate::record::tally::Counts;
use follow::Follow;
use lead::Lead;

/// The connection to the other parts, and the shared course.
pub(super) struct Together {
    side: Side,
    course: watch::Sender<Course>,
    /// Aborted on drop.
    _tasks: Vec<AbortOnDropHandle<()>>,
}

enum Side {
    Leads(Lead),
    Follows(Follow),
}

/// What all parts do.
#[derive(Clone, Debug, Default)]
struct Course {
    /// Set once all parts are there; the inner time is when the load begins, if one is set.
    started: Option<Option<Instant>>,
    /// By scenario index.
    scenarios: Vec<Orders>,
    /// The task part 1 has set, and its sequence number.
    task: (u64, Task),
    halt: Option<Halt>,
}

/// What all parts do with a scenario.
#[derive(Clone, Debug, Default)]
struct Orders {
    go: Option<Go>,
    /// Why it ends early.
    end: Option<String>,
}

/// What part 1 wants from the others during a search.
#[derive(Clone, Debug, Default)]
pub(super) enum Task {
    /// Nothing yet.
    #[default]
    None,
    /// A trial of a scenario.
    Trial(usize, Tried),
    /// A scenario as it is in the plan.
    Alone(usize),
    /// There are no more trials.
    Over,
}

/// How a scenario begins.
#[derive(Clone, Debug)]
pub(super) enum Go {
    /// At this instant.
    At(Instant),
    /// Not at all, for this reason.
    Skip(String),
}

/// A part was lost, so all end.
#[derive(Clone, Debug)]
struct Halt {
    reason: String,
    /// When requests in flight are given up.
    until: Instant,
    /// Whether no part is left that could lead.
    alone: bool,
}

impl Course {
    /// The halt that ends a scenario, or one that always runs.
    fn halts(&self, always: bool) -> Option<&Halt> {
        self.halt.as_ref().filter(|halt| halt.alone || !always)
    }
}

impl Halt {
    fn new(reason: String, grace: Duration, alone: bool) -> Halt {
        Halt { reason, until: Instant::now() + grace, alone }
    }
}

impl Together {
    /// Begins a run together with the others: `start.at` is when part 1 was told to begin; returns when the run
    /// actually begins.
    pub(super) async fn begin(
        meeting: Meeting,
        plan: &Plan,
        outlines: &[Outline],
        start: Start,
        stop: &Stop,
    ) -> Result<(Together, Option<Instant>), RunError> {
        let scenarios = vec![Orders::default(); plan.scenarios.len()];
        let course = watch::Sender::new(Course { scenarios, ..Course::default() });
        let mut started = course.subscribe();
        let (side, tasks) = match meeting {
            Meeting::Host(host) => {
                let empty = (0..plan.scenarios.len()).map(|index| summarize::empty(plan, index));
                let (lead, tasks) = Lead::new(&host, (empty, outlines), start, &course, stop);
                (Side::Leads(lead), tasks)
            }
            Meeting::Guest(guest) => {
                let (follow, tasks) = Follow::new(&guest, &course, stop);
                (Side::Follows(follow), tasks)
            }
        };
        let tasks = tasks.into_iter().map(AbortOnDropHandle::new).collect();
        let together = Together { side, course, _tasks: tasks };
        let started = started.wait_for(|course| course.started.is_some() || course.halt.is_some());
        let course = tokio::select! {
            course = started => course.expect("we hold the sender").clone(),
            () = stop.drain.cancelled() => {
                return Err(MeetError::Ended("it was interrupted".into()).into());
            }
        };
        match (course.started, course.halt) {
            (Some(at), _) => Ok((together, at)),
            (None, halt) => {
                let reason = halt.map(|halt| halt.reason).unwrap_or_default();
                Err(MeetError::Ended(reason).into())
            }
        }
    }

    /// This part could begin with a scenario; gives when all do, which is not before the time that was set.
    pub(super) async fn ready(&self, scenario: usize, not_before: Option<Instant>) -> Go {
        match &self.side {
            Side::Leads(lead) => lead.ready(scenario, not_before),
            Side::Follows(follow) => follow.ready(scenario),
        }
        let mut course = self.course.subscribe();
        let decided = course.wait_for(|course| {
            course.scenarios[scenario].go.is_some() || course.halts(true).is_some()
        });
        let course = decided.await.expect("we hold the sender");
        match (&course.scenarios[scenario].go, course.halts(true)) {
            (Some(go), _) => go.clone(),
            (None, halt) => Go::Skip(halt.map(|halt| halt.reason.clone()).unwrap_or_default()),
        }
    }

    /// Reports what happened in this part. `line` is its journal line.
    pub(super) fn tell(&self, entry: Entry, line: Vec<u8>) {
        match &self.side {
            Side::Leads(lead) => lead.tell(entry),
            Side::Follows(follow) => follow.tell(&entry, line, &self.course),
        }
    }

    /// Why a scenario ends early, as soon as that is known; and when requests in flight are given up, if their time
    /// is limited. One that `always` runs continues as long as some part leads. `ends`: it is already ending, and
    /// only the time matters.
    pub(super) async fn ended(
        &self,
        scenario: usize,
        always: bool,
        ends: bool,
    ) -> (End, Option<Instant>) {
        let mut course = self.course.subscribe();
        let ended = course.wait_for(|course| {
            let told = !ends && course.scenarios[scenario].end.is_some();
            course.halts(always).is_some() || told
        });
        let course = ended.await.expect("we hold the sender");
        match (course.halts(always), &course.scenarios[scenario].end) {
            (Some(halt), _) => {
                let (reason, message) = (EndReason::PartLost, Some(halt.reason.clone()));
                (End { reason, message }, Some(halt.until))
            }
            (None, message) => (End { reason: EndReason::Aborted, message: message.clone() }, None),
        }
    }

    /// Why a waiting scenario will not begin, as soon as that is known.
    pub(super) async fn halted(&self, always: bool) -> String {
        let mut course = self.course.subscribe();
        let halted = course.wait_for(|course| course.halts(always).is_some()).await;
        let course = halted.expect("we hold the sender");
        course.halts(always).map(|halt| halt.reason.clone()).unwrap_or_default()
    }

    /// Ends a scenario in all parts, if this is part 1.
    pub(super) fn end(&self, scenario: usize, reason: &str) {
        if let Side::Leads(lead) = &self.side {
            lead.end(scenario, reason);
        }
    }

    /// Restarts a scenario in all parts, if this is part 1: `task` says how.
    pub(super) fn again(&self, task: &Task, empty: ScenarioSummary, outline: Outline) {
        if let Side::Leads(lead) = &self.side {
            lead.again(task, empty, outline);
        }
    }

    /// There are no more trials.
    pub(super) fn rest(&self) {
        if let Side::Leads(lead) = &self.side {
            lead.rest();
        }
    }

    /// The next task of part 1 after this many tasks; over if part 1 or another part is lost.
    pub(super) async fn task(&self, after: u64) -> (u64, Task) {
        let mut course = self.course.subscribe();
        let next = course.wait_for(|course| course.task.0 > after || course.halt.is_some()).await;
        let course = next.expect("we hold the sender");
        match course.halt {
            Some(_) => (after, Task::Over),
            None => course.task.clone(),
        }
    }

    /// Why all parts end, if they do.
    pub(super) fn halt(&self) -> Option<String> {
        self.course.borrow().halt.as_ref().map(|halt| halt.reason.clone())
    }

    /// Waits until the others are done with a scenario, if this is part 1.
    pub(super) async fn others(&self, scenario: usize) {
        if let Side::Leads(lead) = &self.side {
            lead.over(scenario, |open| open.iter().all(|part| *part == 1)).await;
        }
    }

    /// Looks at what all parts have reported, if this is part 1.
    pub(super) fn look<T>(
        &self,
        scenario: usize,
        look: impl FnOnce(&Recording, Counts) -> T,
    ) -> Option<T> {
        match &self.side {
            Side::Leads(lead) => Some(lead.look(scenario, look)),
            Side::Follows(_) => None,
        }
    }

    /// Whether this is part 1.
    pub(super) fn leads(&self) -> bool {
        matches!(self.side, Side::Leads(_))
    }

    /// What came of a scenario in all parts, if this is part 1: waits until all are done with it.
    /// And what of it counts.
    pub(super) async fn whole(&self, scenario: usize) -> Option<(ScenarioSummary, Counted)> {
        match &self.side {
            Side::Leads(lead) => Some(lead.whole(scenario).await),
            Side::Follows(_) => None,
        }
    }

    /// The machines of all parts, if this is part 1.
    pub(super) fn machines(&self) -> Vec<RunPart> {
        match &self.side {
            Side::Leads(lead) => lead.machines(),
            Side::Follows(_) => Vec::new(),
        }
    }
}

/// Passes stop signals on to the others.
async fn hand_on_signals(stop: Stop, tell: impl Fn(bool)) {
    stop.drain.cancelled().await;
    tell(stop.abort.is_cancelled());
    stop.abort.cancelled().await;
    tell(true);
}

/// Obeys a stop signal from another part.
fn follow_signal(stop: &Stop, abort: bool) {
    stop.drain.cancel();
    if abort {
        stop.abort.cancel();
    }
}
