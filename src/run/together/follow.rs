//! Every part but the first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Course, Go, Halt, Orders, Task, follow_signal, hand_on_signals};
use crate::engine::Stop;
use crate::meet::{FromHost, Guest, HostLine};
use crate::run::journal::Entry;

pub(super) struct Follow {
    host: HostLine,
}

impl Follow {
    pub(super) fn new(
        guest: &Arc<Guest>,
        course: &watch::Sender<Course>,
        stop: &Stop,
    ) -> (Follow, Vec<JoinHandle<()>>) {
        let host = guest.host();
        if let Some(start) = guest.started() {
            course.send_modify(|course| course.started = Some(start.at));
        }
        let listen = listen(guest.clone(), course.clone(), stop.clone());
        let signals = host.clone();
        let signals = hand_on_signals(stop.clone(), move |abort| signals.stop(abort));
        (Follow { host }, vec![tokio::spawn(listen), tokio::spawn(signals)])
    }

    pub(super) fn ready(&self, scenario: usize) {
        self.host.ready(scenario);
    }

    pub(super) fn tell(&self, entry: &Entry, line: Vec<u8>, course: &watch::Sender<Course>) {
        // For a scenario that ran, everything was reported before, and its timeline is long.
        let told = |summary: &crate::record::summary::ScenarioSummary| !summary.timeline.is_empty();
        if matches!(entry, Entry::Ended { summary, .. } if told(summary)) {
            return;
        }
        if !self.host.line(line) {
            // Lines after a gap would describe a load that never happened.
            let reason = "part 1 does not keep up with what this part has to tell";
            halt(course, Halt::new(reason.into(), Duration::ZERO, true));
        }
    }
}

fn give(course: &watch::Sender<Course>, task: Task) {
    course.send_modify(|course| course.task = (course.task.0 + 1, task));
}

fn halt(course: &watch::Sender<Course>, halt: Halt) {
    course.send_modify(|course| _ = course.halt.get_or_insert(halt));
}

/// Does what part 1 says.
async fn listen(guest: Arc<Guest>, course: watch::Sender<Course>, stop: Stop) {
    let order = |scenario: usize, change: &dyn Fn(&mut Orders)| {
        course.send_modify(|course| {
            // Part 1 has no scenario that this part lacks.
            if let Some(orders) = course.scenarios.get_mut(scenario) {
                change(orders);
            }
        });
    };
    let events = guest.events();
    let mut events = events.lock().await;
    while let Some(event) = events.recv().await {
        match event {
            // This run may not be quite over here when the next one begins.
            FromHost::Start(start) if course.borrow().started.is_some() => guest.keep(Some(start)),
            FromHost::Start(start) => {
                course.send_modify(|course| course.started = Some(start.at));
            }
            FromHost::Trial { scenario, conduct } => {
                order(scenario, &|orders| *orders = Orders::default());
                // Part 1 never sends anything that is not a trial.
                let tried = serde_json::from_slice(&conduct);
                give(&course, tried.map_or(Task::Over, |tried| Task::Trial(scenario, tried)));
            }
            FromHost::Alone { scenario } => {
                order(scenario, &|orders| *orders = Orders::default());
                give(&course, Task::Alone(scenario));
            }
            FromHost::Rest => give(&course, Task::Over),
            FromHost::Done => {
                guest.keep(None);
                give(&course, Task::Over);
            }
            FromHost::Begin { scenario, at } => {
                order(scenario, &|orders| orders.go = Some(Go::At(at)))
            }
            FromHost::Skip { scenario, reason } => {
                order(scenario, &|orders| orders.go = Some(Go::Skip(reason.clone())));
            }
            FromHost::End { scenario, reason } => {
                order(scenario, &|orders| orders.end = Some(reason.clone()));
            }
            FromHost::Stop { abort } => follow_signal(&stop, abort),
            FromHost::Halt { reason, grace } => halt(&course, Halt::new(reason, grace, false)),
            FromHost::Gone { reason, grace } => halt(&course, Halt::new(reason, grace, true)),
        }
    }
}
