//! Part 1: it adds up what all parts report, and decides what all of them do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::joined::{Joined, Readiness};
use super::{Course, Go, Halt, Orders, Task, follow_signal, hand_on_signals};
use crate::engine::Stop;
use crate::meet::{FromGuest, Guests, Host, Lost, Start};
use crate::record::Recording;
use crate::record::summary::{End, RunPart, ScenarioSummary, ms};
use crate::record::tally::Counts;
use crate::run::counted::{Counted, Others};
use crate::run::journal::Entry;
use crate::run::summarize::Outline;

/// From the decision to begin until all parts begin, in addition to the round trip to the slowest
/// part.
const LEAD: Duration = Duration::from_millis(100);

/// Upper bound on a round trip.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

/// How much longer than the requests in flight the other parts may take once all end.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Lead(Arc<State>);

struct State {
    of: u64,
    lost: Lost,
    at: Option<Instant>,
    guests: Guests,
    scenarios: Mutex<Vec<Scenario>>,
    /// Counts changes, so that waiting tasks check again.
    changes: watch::Sender<u64>,
    course: watch::Sender<Course>,
    stop: Stop,
}

struct Scenario {
    joined: Joined,
    /// When it may begin, if a time was set.
    not_before: Option<Instant>,
    decided: bool,
    /// The slowest part's best round trip.
    round_trip: Duration,
}

impl Scenario {
    /// All parts begin when it is due, but not before they have been told.
    fn soon(&self) -> Go {
        let soon = Instant::now() + LEAD + self.round_trip;
        Go::At(self.not_before.map_or(soon, |at| at.max(soon)))
    }
}

impl Lead {
    pub(super) fn new(
        host: &Host,
        (empty, outlines): (impl Iterator<Item = ScenarioSummary>, &[Outline]),
        start: Start,
        course: &watch::Sender<Course>,
        stop: &Stop,
    ) -> (Lead, Vec<JoinHandle<()>>) {
        let guests = host.guests();
        let of = guests.of();
        let scenario = |(empty, outline): (ScenarioSummary, &Outline)| Scenario {
            joined: Joined::new(empty, outline.clone(), of),
            not_before: None,
            decided: false,
            round_trip: Duration::ZERO,
        };
        let state = Arc::new(State {
            of,
            lost: host.lost(),
            at: start.at,
            guests: guests.clone(),
            scenarios: Mutex::new(empty.zip(outlines).map(scenario).collect()),
            changes: watch::Sender::new(0),
            course: course.clone(),
            stop: stop.clone(),
        });
        let listen = state.clone().listen(host.events());
        guests.start(start);
        course.send_modify(|course| course.started = Some(start.at));
        state.lose_those_gone();
        let signals = hand_on_signals(stop.clone(), move |abort| guests.stop(abort));
        (Lead(state), vec![tokio::spawn(listen), tokio::spawn(signals)])
    }

    /// Part 1 itself could begin.
    pub(super) fn ready(&self, scenario: usize, not_before: Option<Instant>) {
        self.0.change(scenario, |scenario| {
            scenario.not_before = not_before;
            scenario.joined.ready(1);
        });
    }

    /// Reports what happened in part 1 itself.
    pub(super) fn tell(&self, entry: Entry) {
        self.0.take(1, entry);
    }

    pub(super) fn end(&self, scenario: usize, reason: &str) {
        self.0.end(scenario, reason);
    }

    pub(super) fn look<T>(&self, scenario: usize, look: impl FnOnce(&Recording, Counts) -> T) -> T {
        let scenarios = self.0.scenarios();
        let joined = &scenarios[scenario].joined;
        look(joined.recording(), joined.counts())
    }

    pub(super) async fn whole(&self, scenario: usize) -> (ScenarioSummary, Counted) {
        self.over(scenario, <[u64]>::is_empty).await;
        let mut scenarios = self.0.scenarios();
        let joined = &mut scenarios[scenario].joined;
        let joined = std::mem::replace(joined, joined.again());
        drop(scenarios);
        joined.conclude()
    }

    /// Tells all parts what to do next.
    pub(super) fn again(&self, task: &Task, empty: ScenarioSummary, outline: Outline) {
        let state = &self.0;
        let index = match task {
            Task::Trial(scenario, _) | Task::Alone(scenario) => *scenario,
            Task::None | Task::Over => return,
        };
        {
            let scenario = &mut state.scenarios()[index];
            let joined = Joined::new(empty, outline, state.of);
            scenario.joined = match task {
                Task::Trial(..) => joined.of_trial(),
                _ => joined,
            };
            (scenario.not_before, scenario.decided) = (None, false);
        }
        state.course.send_modify(|course| course.scenarios[index] = Orders::default());
        match task {
            Task::Trial(_, tried) => {
                let tried = serde_json::to_vec(tried).expect("it is plain data");
                state.guests.trial(index, tried);
            }
            _ => state.guests.alone(index),
        }
        // Those who are gone take no part in it.
        state.lose_those_gone();
    }

    pub(super) fn rest(&self) {
        self.0.guests.rest();
    }

    /// Waits until `only` accepts the parts that are not done with a scenario.
    pub(super) async fn over(&self, scenario: usize, only: impl Fn(&[u64]) -> bool) {
        let state = &self.0;
        let always = state.scenarios()[scenario].joined.is_always();
        let mut changes = state.changes.subscribe();
        let all = async {
            // We hold the sender, so it does not fail.
            let _ = changes.wait_for(|_| only(&state.scenarios()[scenario].joined.open())).await;
        };
        tokio::select! {
            () = all => (),
            () = state.patience(always) => {
                let open = state.scenarios()[scenario].joined.open();
                for part in open.into_iter().filter(|part| *part != 1) {
                    state.lose(part, "it did not finish in time with the others", Duration::ZERO);
                }
            }
        }
    }

    /// The machines of all parts.
    pub(super) fn machines(&self) -> Vec<RunPart> {
        let members = self.0.guests.members();
        let (of, at) = (self.0.of, self.0.at);
        // By the clock of part 1, as it was specified.
        let at = at.map(|at| {
            let (now, clock) = (Instant::now(), jiff::Timestamp::now());
            let after = at.checked_duration_since(now);
            let there = match after {
                Some(after) => clock.checked_add(after),
                None => clock.checked_sub(now - at),
            };
            there.unwrap_or(clock)
        });
        let machine = |(number, member): (u64, crate::meet::Member)| RunPart {
            number,
            of,
            host: member.host,
            cores: member.cores,
            started_at: member.started_at,
            at,
            synchronised: member.clock.map(|clock| clock.synchronised),
            clock_error_ms: member.clock.map(|clock| ms(clock.error)),
            connected: true,
        };
        members.into_iter().map(machine).collect()
    }
}

impl State {
    fn scenarios(&self) -> MutexGuard<'_, Vec<Scenario>> {
        self.scenarios.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives what the other parts say.
    async fn listen(self: Arc<State>, events: Arc<AsyncMutex<mpsc::Receiver<(u64, FromGuest)>>>) {
        let mut events = events.lock().await;
        while let Some((part, event)) = events.recv().await {
            match event {
                FromGuest::Ready { scenario, round_trip } => self.change(scenario, |scenario| {
                    scenario.round_trip = scenario.round_trip.max(round_trip.min(ROUND_TRIP_MAX));
                    scenario.joined.ready(part);
                }),
                FromGuest::Line(line) => match serde_json::from_slice(&line) {
                    Ok(entry) => self.take(part, entry),
                    Err(error) => {
                        self.lose(part, &format!("it sent an invalid message: {error}"), PATIENCE)
                    }
                },
                FromGuest::Stop { abort } => follow_signal(&self.stop, abort),
                FromGuest::Done => {
                    self.lose(part, "it did not report everything it measured", PATIENCE)
                }
                FromGuest::Gone { reason, stood_still: None, grace } => {
                    self.lose(part, &reason, grace)
                }
                FromGuest::Gone { stood_still: Some(time), grace, .. } => {
                    self.stood_still(time, grace)
                }
            }
        }
    }

    /// Takes in what a part reported.
    fn take(&self, part: u64, entry: Entry) {
        let (index, mut early) = (entry.scenario(), Ok(None));
        self.change(index, |scenario| early = scenario.joined.take(part, entry));
        match early {
            Ok(None) => (),
            // Whatever ends it in one part ends it in all, unless they were told to end it.
            Ok(Some(End { message, .. })) => {
                let why = message.unwrap_or_else(|| "it ended before its time".into());
                self.end(index, &format!("part {part} of {}: {why}", self.of));
            }
            Err(error) => {
                self.lose(part, &format!("it sent an invalid message: {error}"), PATIENCE)
            }
        }
    }

    /// Marks a part as lost. If it is already done with everything, that does not matter.
    fn lose(&self, part: u64, reason: &str, grace: Duration) {
        let aborts = self.lost == Lost::Abort;
        let mut scenarios = self.scenarios();
        let open = |scenario: &Scenario| scenario.joined.open().contains(&part);
        if !scenarios.iter().any(open) {
            return;
        }
        let others = if aborts { Others::End } else { Others::GoOn };
        scenarios.iter_mut().for_each(|scenario| scenario.joined.lose(part, reason, others));
        drop(scenarios);
        if aborts {
            let reason = format!("part {part} of {} was lost: {reason}", self.of);
            self.guests.halt(&reason, grace);
            self.halt(Halt::new(reason, grace, false));
        }
        self.look_again();
    }

    /// This part itself stood still for so long, and the others ended without it.
    fn stood_still(&self, time: Duration, grace: Duration) {
        let reason = format!("part 1 of {} stood still for {:.1} s", self.of, time.as_secs_f64());
        for scenario in self.scenarios().iter_mut() {
            scenario.joined.stood_still(time, &reason);
        }
        self.guests.halt(&reason, grace);
        // Whoever is left has nobody to be connected with.
        self.halt(Halt::new(reason, grace, true));
        self.look_again();
    }

    fn halt(&self, halt: Halt) {
        self.course.send_modify(|course| _ = course.halt.get_or_insert(halt));
    }

    fn lose_those_gone(&self) {
        for (part, why) in self.guests.gone() {
            self.lose(part, why, Duration::ZERO);
        }
    }

    /// Something was told of several scenarios.
    fn look_again(&self) {
        self.changes.send_modify(|changes| *changes += 1);
        let count = self.scenarios().len();
        (0..count).for_each(|index| self.decide(index));
    }

    /// Updates a scenario, and decides whether it begins.
    fn change(&self, index: usize, change: impl FnOnce(&mut Scenario)) {
        match self.scenarios().get_mut(index) {
            Some(scenario) => change(scenario),
            // A part has no scenario that we lack.
            None => return,
        }
        self.changes.send_modify(|changes| *changes += 1);
        self.decide(index);
    }

    /// Lets a scenario begin once all parts are ready.
    fn decide(&self, index: usize) {
        let mut scenarios = self.scenarios();
        let scenario = &mut scenarios[index];
        if scenario.decided {
            return;
        }
        let go = match scenario.joined.readiness() {
            Readiness::Waiting => return,
            Readiness::Ready => scenario.soon(),
            // A cleanup scenario does what it can.
            Readiness::Without { others: true, .. }
                if self.lost == Lost::Note || scenario.joined.is_always() =>
            {
                scenario.soon()
            }
            Readiness::Without { number, .. } => {
                Go::Skip(format!("part {number} of {} could not begin", self.of))
            }
        };
        scenario.decided = true;
        drop(scenarios);
        match &go {
            Go::At(at) => self.guests.begin(index, *at),
            Go::Skip(reason) => self.guests.skip(index, reason),
        }
        self.course.send_modify(|course| course.scenarios[index].go = Some(go));
    }

    /// Ends a scenario in all parts.
    fn end(&self, index: usize, reason: &str) {
        let ends = self.course.send_if_modified(|course| {
            let orders = &mut course.scenarios[index];
            let news = orders.end.is_none();
            orders.end.get_or_insert_with(|| reason.to_owned());
            news
        });
        if ends {
            self.guests.end(index, reason);
        }
    }

    /// Waits until the others should be done with a scenario, once all end.
    async fn patience(&self, always: bool) {
        let mut course = self.course.subscribe();
        let halted = async {
            let halted = course.wait_for(|course| course.halts(always).is_some()).await;
            let until = halted.ok().and_then(|course| Some(course.halts(always)?.until));
            until.unwrap_or_else(Instant::now)
        };
        let until = tokio::select! {
            until = halted => until,
            () = self.stop.abort.cancelled() => Instant::now(),
        };
        sleep_until(until + PATIENCE).await;
    }
}
