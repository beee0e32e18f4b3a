//! One scenario in all parts, as they report it. Measurements are added up second by second, and a second counts once
//! all parts have reported it: so viewers see what one machine would have seen, a moment later.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::record::reason::Reason;
use crate::record::summary::{End, EndReason, ScenarioSummary, TargetSummary};
use crate::record::tally::{Counts, Tally};
use crate::record::{Delta, Recording};
use crate::run::clocks::Clock;
use crate::run::counted::{Counted, Loss, Others, Sends};
use crate::run::examined::Examined;
use crate::run::journal::{Entry, EntryError, Heard, Told, WORKERS_MAX};
use crate::run::parts::{Account, LoadAccount, conclude};
use crate::run::summarize::{Ending, Outline};
use crate::run::tried::TRIAL_TELLS_EVERY;
use crate::run::until::Until;

/// One scenario in all parts.
pub(super) struct Joined {
    empty: ScenarioSummary,
    outline: Outline,
    /// From any clock: only differences matter.
    start: Instant,
    /// The seconds that all parts have reported, as if from one worker.
    recording: Recording,
    /// Those that only some have reported: by the step that all must have reported, and by second.
    waiting: BTreeMap<(u64, u64), Tally>,
    /// The unit that counts at a time: a second, and in a trial the reporting interval, so that it is decided early.
    step: Duration,
    /// In order, from part 1.
    rows: Vec<Row>,
    /// What counts of it, and how parts were lost.
    counted: Counted,
}

const SECOND: Duration = Duration::from_secs(1);

/// What a part reported.
struct Row {
    stand: Stand,
    target: TargetSummary,
    started_at_s: f64,
    until: Until,
    sends: Sends,
    /// The same of seconds of which not all have told, by the step as well.
    waiting: BTreeMap<(u64, u64), Sends>,
    examined: Examined,
    clock: Clock,
    late: Option<Duration>,
}

/// The state of a part.
enum Stand {
    /// It is not ready yet.
    Coming,
    /// It waits for the others.
    Ready,
    /// It sends.
    Running,
    /// Its load is over.
    Over(Box<Ending>, Vec<Reason>),
    /// It had no load.
    NotRun(End),
    /// It was lost, before or during its load.
    Lost(String),
    /// It ended as it should have, and for that reason, but it could not say so any more.
    Left(String),
}

/// Whether a scenario can begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Some part is not ready yet.
    Waiting,
    /// All are ready, except those that will not send.
    Ready,
    /// This part will not send.
    Without {
        number: u64,
        /// Whether any other will.
        others: bool,
    },
}

impl Joined {
    pub(super) fn new(empty: ScenarioSummary, outline: Outline, of: u64) -> Joined {
        let row = || Row {
            stand: Stand::Coming,
            target: TargetSummary::default(),
            started_at_s: 0.0,
            until: Until::default(),
            sends: Sends::default(),
            waiting: BTreeMap::new(),
            examined: Examined::default(),
            clock: Clock::default(),
            late: None,
        };
        Joined {
            empty,
            outline,
            start: Instant::now(),
            recording: Recording::of(1),
            waiting: BTreeMap::new(),
            step: SECOND,
            rows: (0..of).map(|_| row()).collect(),
            counted: Counted::default(),
        }
    }

    /// The same for a trial.
    pub(super) fn of_trial(self) -> Joined {
        Joined { step: TRIAL_TELLS_EVERY, ..self }
    }

    /// The same, with nothing reported yet.
    pub(super) fn again(&self) -> Joined {
        Joined::new(self.empty.clone(), self.outline.clone(), self.rows.len() as u64)
    }

    /// Whether it runs whatever happens.
    pub(super) fn is_always(&self) -> bool {
        self.empty.always
    }

    fn row(&mut self, number: u64) -> Option<&mut Row> {
        self.rows.get_mut((number as usize).wrapping_sub(1))
    }

    /// Marks a part as ready.
    pub(super) fn ready(&mut self, number: u64) {
        if let Some(row) = self.row(number).filter(|row| matches!(row.stand, Stand::Coming)) {
            row.stand = Stand::Ready;
        }
    }

    /// Whether all parts are ready.
    pub(super) fn readiness(&self) -> Readiness {
        let waiting = |row: &Row| matches!(row.stand, Stand::Coming);
        let without =
            |row: &Row| matches!(row.stand, Stand::NotRun(_) | Stand::Lost(_) | Stand::Left(_));
        if self.rows.iter().any(waiting) {
            return Readiness::Waiting;
        }
        match self.rows.iter().position(without) {
            None => Readiness::Ready,
            Some(index) => Readiness::Without {
                number: index as u64 + 1,
                others: !self.rows.iter().all(without),
            },
        }
    }

    /// Takes in what a part reported. Returns how it ended, if it ended early.
    ///
    /// # Errors
    /// If no run can report that.
    pub(super) fn take(&mut self, number: u64, entry: Entry) -> Result<Option<End>, EntryError> {
        let warmup = self.outline.warmup;
        let Some(row) = self.row(number) else { return Ok(None) };
        match entry {
            Entry::Began { target, started_at_s, at, workers, late, .. } => {
                if matches!(row.stand, Stand::Coming | Stand::Ready) {
                    row.stand = Stand::Running;
                    (row.target, row.started_at_s) = (target, started_at_s);
                    row.until = Until::of(workers.min(WORKERS_MAX));
                    row.clock = Clock::begun(at, warmup);
                    row.late = late;
                }
            }
            Entry::Measured(told) if matches!(row.stand, Stand::Running) => {
                self.add(number, *told)?
            }
            Entry::Finished { ending, reasons, lines, .. }
                if matches!(row.stand, Stand::Running) =>
            {
                row.until.end(lines)?;
                let end = ending.end.clone();
                row.stand = Stand::Over(ending, reasons);
                self.release();
                let early = matches!(end.reason, EndReason::Aborted | EndReason::Broken);
                return Ok(early.then_some(end));
            }
            Entry::Ended { summary, .. } if matches!(row.stand, Stand::Coming | Stand::Ready) => {
                row.stand = Stand::NotRun(summary.end);
                self.release();
            }
            _ => (),
        }
        Ok(None)
    }

    fn add(&mut self, number: u64, told: Told) -> Result<(), EntryError> {
        let (start, seconds) = (self.start, self.recording.seconds() + self.waiting.len() as u64);
        let warmup = self.outline.warmup.as_secs_f64();
        let Some(row) = self.rows.get_mut((number as usize).wrapping_sub(1)) else { return Ok(()) };
        let Heard { mut delta, examined } =
            told.heard(start, row.started_at_s + warmup, seconds, &mut row.until)?;
        let told_at = steps(delta.told, self.step);
        row.clock.learn(&mut delta);
        row.examined = examined.unwrap_or(std::mem::take(&mut row.examined));
        let limit = self.counted.limit(number);
        for (second, tally) in delta.seconds.drain(..) {
            if limit.is_none_or(|limit| second < limit) {
                // What is told in a step happened before it.
                let step = if self.step == SECOND { second + 1 } else { told_at };
                self.waiting.entry((step, second)).or_default().merge(&tally);
                row.waiting.entry((step, second)).or_default().add(&tally);
            }
        }
        // The rest is not kept by second.
        let noted = (number, delta.noted.1);
        self.recording.add(Delta { worker: 0, told: Duration::ZERO, noted, ..delta });
        self.release();
        Ok(())
    }

    /// Counts the steps that all parts have reported by now.
    fn release(&mut self) {
        let told = self.rows.iter().filter_map(Row::told).min().unwrap_or(Duration::MAX);
        let complete = steps(told, self.step);
        let seconds = until_step(&mut self.waiting, complete);
        for row in &mut self.rows {
            for sends in until_step(&mut row.waiting, complete).into_values() {
                row.sends.merge(&sends);
            }
        }
        let seconds = seconds.into_iter().map(|((_, second), tally)| (second, tally)).collect();
        let told = self.step.checked_mul(u32::try_from(complete).unwrap_or(u32::MAX));
        let told = told.filter(|_| complete < u64::from(u32::MAX)).unwrap_or(Duration::MAX);
        self.recording.add(Delta { worker: 0, told, seconds, ..Delta::default() });
    }

    /// A part was lost, and the others end or go on.
    pub(super) fn lose(&mut self, number: u64, reason: &str, others: Others) {
        let Some(row) = self.row(number).filter(|row| !row.is_over()) else { return };
        let told = matches!(row.stand, Stand::Running).then(|| row.told()).flatten();
        row.stand = Stand::Lost(reason.to_owned());
        if let Some(told) = told {
            let loss = Loss { after: told.as_secs(), stood_still: None };
            self.counted.lose(number, loss, others);
        }
        self.settle();
    }

    /// Part 1 itself stood still for so long, and the others ended without it, for that reason.
    pub(super) fn stood_still(&mut self, time: Duration, reason: &str) {
        let running = self.rows.iter().filter(|row| matches!(row.stand, Stand::Running));
        if let Some(told) = running.filter_map(Row::told).min() {
            let loss = Loss { after: told.as_secs(), stood_still: Some(time) };
            self.counted.lose(1, loss, Others::End);
        }
        for row in self.rows.iter_mut().skip(1).filter(|row| !row.is_over()) {
            row.stand = Stand::Left(reason.to_owned());
        }
        self.settle();
    }

    /// Leaves out what does not count any more, and counts what does by now.
    fn settle(&mut self) {
        if let Some(until) = self.counted.until() {
            self.waiting.retain(|(_, second), _| *second < until);
            for row in &mut self.rows {
                row.waiting.retain(|(_, second), _| *second < until);
            }
        }
        self.release();
    }

    /// The parts that are not over.
    pub(super) fn open(&self) -> Vec<u64> {
        let rows = (1..).zip(&self.rows);
        rows.filter(|(_, row)| !row.is_over()).map(|(number, _)| number).collect()
    }

    /// What all have reported so far.
    pub(super) fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What was counted on the responses of all so far.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in &self.rows {
            counts.assertion_failures += row.examined.assertion_failures();
            for (name, count) in &row.examined.counters {
                *counts.counters.entry(name.clone()).or_default() += count;
            }
        }
        counts
    }

    /// What came of it, and what of it counts.
    pub(super) fn conclude(self) -> (ScenarioSummary, Counted) {
        let Joined { empty, outline, recording, rows, counted, .. } = self;
        let of = rows.len() as u64;
        let account =
            |(number, row): (u64, Row)| row.account(number, &outline, counted.loss(number));
        let accounts = (1..).zip(rows).map(account).collect();
        (conclude(empty, &outline, of, accounts, recording, &counted), counted)
    }
}

/// Takes out what is of these steps.
fn until_step<T>(waiting: &mut BTreeMap<(u64, u64), T>, complete: u64) -> BTreeMap<(u64, u64), T> {
    let later = match complete.checked_add(1) {
        Some(next) => waiting.split_off(&(next, 0)),
        None => BTreeMap::new(),
    };
    std::mem::replace(waiting, later)
}

/// Number of whole steps in a time.
fn steps(time: Duration, step: Duration) -> u64 {
    u64::try_from(time.as_nanos() / step.as_nanos().max(1)).unwrap_or(u64::MAX)
}

impl Row {
    /// The time up to which it has reported everything; `None` if it will report nothing more.
    fn told(&self) -> Option<Duration> {
        match self.stand {
            Stand::Coming | Stand::Ready => Some(Duration::ZERO),
            Stand::Running => Some(self.until.all()),
            Stand::Over(..) | Stand::NotRun(_) | Stand::Lost(_) | Stand::Left(_) => None,
        }
    }

    fn is_over(&self) -> bool {
        use Stand::{Left, Lost, NotRun, Over};
        matches!(self.stand, Over(..) | NotRun(_) | Lost(_) | Left(_))
    }

    fn account(self, number: u64, outline: &Outline, loss: Option<Loss>) -> Account {
        let (workers, length) = (self.until.workers(), self.until.all());
        let began = workers > 0;
        let (ending, reasons) = match self.stand {
            Stand::NotRun(end) => return Account { number, load: Err(end) },
            Stand::Lost(reason) if !began => {
                let message = Some(format!("it was lost: {reason}"));
                return Account { number, load: Err(End { reason: EndReason::Skipped, message }) };
            }
            Stand::Left(reason) if !began => {
                let end = End { reason: EndReason::Skipped, message: Some(reason) };
                return Account { number, load: Err(end) };
            }
            Stand::Over(ending, reasons) if loss.is_none() => (*ending, reasons),
            Stand::Left(reason) => {
                let end = End { reason: EndReason::PartLost, message: Some(reason) };
                (Ending { end, ..Ending::lost(outline, workers, length) }, Vec::new())
            }
            // Nobody concludes before all are over.
            _ => (Ending::lost(outline, workers, length), Vec::new()),
        };
        let load = LoadAccount {
            target: self.target,
            started_at_s: self.started_at_s,
            workers,
            sends: self.sends,
            later: 0,
            late: self.late,
            ending,
            reasons,
            examined: self.examined,
            clock: self.clock,
        };
        Account { number, load: Ok(load) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::Window;
    use crate::record::summary::{ClientSummary, PartState};
    use crate::record::validity::Circumstances;
    use crate::scenario::{Options, load_text};

    /// A scenario with three parts.
    fn joined() -> Joined {
        let text = "scenarios: [{name: s, documents: {text: a}, request_size: 1, load: {rate: 9/s, duration: 9s}}]";
        let suite = load_text("s", text.into(), Path::new(""), &Options::default());
        let plan = suite.and_then(|suite| crate::plan::resolve(&suite));
        let plan = plan.unwrap_or_else(|problems| panic!("{problems}"));
        Joined::new(ScenarioSummary::default(), Outline::new(&plan.scenarios[0]), 3)
    }

    fn began(joined: &mut Joined, part: u64) {
        joined.ready(part);
        let target = TargetSummary::default();
        let entry = Entry::began(0, &target, (Duration::ZERO, None, None), 1, None);
        joined.take(part, entry).expect("it begins");
    }

    fn next_line(joined: &mut Joined, part: u64) -> u64 {
        joined.row(part).expect("there is one").until.lines() + 1
    }

    /// A part reports that this many requests, each taking this many ms, ended in a second, and nothing after it.
    fn told(joined: &mut Joined, part: u64, second: u64, ms: &[u64]) {
        let count = ms.len() as u64;
        let mut tally = Tally { offered: count, sent: count, ..Tally::default() };
        ms.iter().for_each(|ms| tally.response[0].record(Duration::from_millis(*ms)));
        let delta = Delta {
            told: Duration::from_secs(second + 1),
            seconds: vec![(second, tally)],
            ..Delta::default()
        };
        let now = Instant::now();
        let at = (0, second as f64 + 1.0, next_line(joined, part));
        let told = Told::new(at, Some(0), delta, (now, now), None, Vec::new());
        joined.take(part, Entry::Measured(Box::new(told))).expect("a second");
    }

    fn finished(joined: &mut Joined, part: u64, end: EndReason) -> Option<End> {
        let ending = Ending {
            end: End { reason: end, message: None },
            window: Window { length: Duration::from_secs(3), timed: true },
            client: ClientSummary::default(),
            circumstances: Circumstances::default(),
            cut: false,
            server: None,
            traces: Vec::new(),
        };
        let (ending, reasons) = (Box::new(ending), Vec::new());
        let entry = Entry::Finished { scenario: 0, ending, reasons, lines: None };
        joined.take(part, entry).expect("it ends")
    }

    fn seen(joined: &Joined) -> (u64, u64) {
        (joined.recording().complete(), joined.recording().totals.sent)
    }

    #[test]
    fn a_second_counts_once_all_parts_have_told_of_it() {
        let mut joined = joined();
        for part in [1, 2] {
            began(&mut joined, part);
            told(&mut joined, part, 0, &[1, 2]);
        }
        assert_eq!(joined.readiness(), Readiness::Waiting);
        assert_eq!(seen(&joined), (0, 0), "the third has not even begun");
        began(&mut joined, 3);
        told(&mut joined, 3, 0, &[3]);
        assert_eq!(seen(&joined), (1, 5));
        told(&mut joined, 1, 1, &[4]);
        told(&mut joined, 1, 2, &[4]);
        told(&mut joined, 3, 1, &[4]);
        assert_eq!(seen(&joined), (1, 5));
        told(&mut joined, 2, 1, &[4]);
        assert_eq!(seen(&joined), (2, 8));
        // A part that is done holds nobody up.
        for part in [1, 2, 3] {
            assert_eq!(finished(&mut joined, part, EndReason::Time), None);
        }
        assert!(joined.open().is_empty());
        assert_eq!(joined.recording().totals.sent, 9);
        let (whole, counted) = joined.conclude();
        assert!(counted.is_all());
        assert_eq!(whole.requests.sent, 9);
        let parts: Vec<_> = whole.parts.iter().map(|part| (part.state, part.sent)).collect();
        let complete = PartState::Complete;
        assert_eq!(parts, [(complete, 4), (complete, 3), (complete, 2)]);
    }

    #[test]
    fn a_trial_is_looked_at_in_smaller_steps() {
        let mut joined = joined().of_trial();
        (1..=3).for_each(|part| began(&mut joined, part));
        let quarter = |joined: &mut Joined, part, ms| {
            let tally = Tally { offered: 1, sent: 1, ..Tally::default() };
            let delta = Delta {
                told: Duration::from_millis(ms),
                seconds: vec![((ms - 1) / 1000, tally)],
                ..Delta::default()
            };
            let now = Instant::now();
            let at = (0, 1.0, next_line(joined, part));
            let told = Told::new(at, Some(0), delta, (now, now), None, Vec::new());
            joined.take(part, Entry::Measured(Box::new(told))).expect("a quarter");
        };
        for ms in [251, 503] {
            quarter(&mut joined, 1, ms);
            quarter(&mut joined, 2, ms);
        }
        quarter(&mut joined, 3, 250);
        let seen = |joined: &Joined| (joined.recording().told(), joined.recording().totals.sent);
        assert_eq!(seen(&joined), (Duration::from_millis(250), 3));
        quarter(&mut joined, 3, 502);
        assert_eq!(seen(&joined), (Duration::from_millis(500), 6));
        (1..=3).for_each(|part| drop(finished(&mut joined, part, EndReason::Time)));
        assert_eq!(seen(&joined).0, Duration::MAX);
    }

    #[test]
    fn of_a_part_that_was_lost_only_what_it_told_of_counts_in_all() {
        for (others, sent, words) in [
            (
                Others::End,
                [1, 2, 1],
                "part 2 of 3 was lost after 1 s; figures are of the first 1 s",
            ),
            (
                Others::GoOn,
                [3, 2, 2],
                "part 2 of 3 was lost after 1 s; figures after that are of the others",
            ),
        ] {
            let mut joined = joined();
            (1..=3).for_each(|part| began(&mut joined, part));
            told(&mut joined, 2, 0, &[1, 2]);
            for part in [1, 3] {
                told(&mut joined, part, 0, &[1]);
                told(&mut joined, part, 1, &[1]);
            }
            joined.lose(2, "its connection ended", others);
            joined.lose(2, "again", others);
            told(&mut joined, 1, 2, &[1]);
            for part in [1, 3] {
                finished(&mut joined, part, EndReason::Time);
            }
            let (whole, counted) = joined.conclude();
            assert_eq!(whole.requests.sent, sent.iter().sum::<u64>(), "{others:?}");
            assert_eq!(whole.parts[1].state, PartState::Lost);
            assert_eq!(counted.loss(2).map(|loss| loss.after), Some(1));
            // The table of parts is of what counts, too.
            let each: Vec<u64> = whole.parts.iter().map(|part| part.sent).collect();
            assert_eq!(each, sent);
            let told: Vec<&str> = whole.validity.reasons.iter().map(|r| &*r.text).collect();
            assert!(told.contains(&words), "{told:?}");
        }
    }

    #[test]
    fn part_1_that_stood_still_is_the_one_that_was_lost() {
        let mut joined = joined();
        (1..=3).for_each(|part| began(&mut joined, part));
        for part in [1, 2, 3] {
            told(&mut joined, part, 0, &[1]);
        }
        told(&mut joined, 2, 1, &[1]);
        joined.stood_still(Duration::from_secs(7), "part 1 of 3 stood still for 7.0 s");
        told(&mut joined, 1, 1, &[1]);
        finished(&mut joined, 1, EndReason::PartLost);
        assert!(joined.open().is_empty());
        let (whole, _) = joined.conclude();
        let states: Vec<_> = whole.parts.iter().map(|part| (part.state, part.sent)).collect();
        let complete = (PartState::Complete, 1);
        assert_eq!(states, [(PartState::Lost, 1), complete, complete]);
        let words = "part 1 of 3 stood still for 7.0 s, and the others ended without it; figures are of the first 1 s";
        let lost: Vec<&str> = whole.validity.reasons.iter().map(|r| &*r.text).collect();
        assert_eq!(lost, [words]);
        assert_eq!(whole.end.reason, EndReason::PartLost);
    }

    #[test]
    fn a_line_that_is_missing_is_noticed() {
        let mut joined = joined();
        began(&mut joined, 1);
        told(&mut joined, 1, 0, &[1]);
        let now = Instant::now();
        let delta = Delta { told: Duration::from_secs(3), ..Delta::default() };
        let told = Told::new((0, 3.0, 3), Some(0), delta, (now, now), None, Vec::new());
        assert!(joined.take(1, Entry::Measured(Box::new(told))).is_err());
    }

    #[test]
    fn what_ends_early_in_one_part_is_told() {
        let mut joined = joined();
        (1..=3).for_each(|part| began(&mut joined, part));
        assert!(finished(&mut joined, 1, EndReason::Time).is_none());
        assert!(finished(&mut joined, 2, EndReason::Aborted).is_some());
        assert!(finished(&mut joined, 3, EndReason::Broken).is_some());
    }

    #[test]
    fn whatever_a_part_tells_there_is_room_for_it() {
        let mut joined = joined();
        began(&mut joined, 1);
        let far = Delta { seconds: vec![(1 << 40, Tally::default())], ..Delta::default() };
        let now = Instant::now();
        let told = Told::new((0, 1.0, 1), None, far, (now, now), None, Vec::new());
        assert!(joined.take(1, Entry::Measured(Box::new(told))).is_err());
        // There is no such part, and this one has not begun.
        joined.ready(9);
        finished(&mut joined, 9, EndReason::Time);
        finished(&mut joined, 2, EndReason::Time);
        assert_eq!(joined.open(), [1, 2, 3]);
        let many = Entry::began(
            0,
            &TargetSummary::default(),
            (Duration::ZERO, None, None),
            usize::MAX,
            None,
        );
        joined.take(2, many).expect("it begins");
    }
}
