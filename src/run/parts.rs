//! What the parts of a load told of a scenario, summed up: the figures of the whole, a row for each part, and
//! what is wrong with which.

use std::time::Duration;

use super::clocks::{self, Clock};
use super::examined::Examined;
use super::summarize::{Ending, Measured, Outline, never_ran, summarize};
use crate::record::reason::{Code, Reason};
use crate::record::summary::{
    ClientSummary, End, EndReason, PartLoad, PartState, ScenarioSummary, TargetSummary, ms,
};
use crate::record::validity::{self, Circumstances};
use crate::record::{Histogram, Recording, Window};
use crate::threshold;

/// What a part told of a scenario, besides its tallies.
pub(super) struct Account {
    /// Which part, from 1.
    pub(super) number: u64,
    /// Its load, or why there was none.
    pub(super) load: Result<LoadAccount, End>,
}

/// The load of a part.
pub(super) struct LoadAccount {
    pub(super) target: TargetSummary,
    /// From the start of the run.
    pub(super) started_at_s: f64,
    pub(super) workers: usize,
    /// Whole seconds it told of.
    pub(super) complete: u64,
    pub(super) sent: u64,
    pub(super) lag: Histogram,
    /// Whether it was lost in the middle.
    pub(super) lost: bool,
    pub(super) ending: Ending,
    /// Why its figures alone are not valid.
    pub(super) reasons: Vec<Reason>,
    pub(super) examined: Examined,
    pub(super) clock: Clock,
}

/// Which figures there are where a part was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// All that was measured.
    All,
    /// Of the first so many seconds, of which all parts told.
    Until(u64),
}

/// Sums up what all parts told: `recording` has the tallies of all of them.
pub(super) fn conclude(
    empty: ScenarioSummary,
    outline: &Outline,
    of: u64,
    accounts: Vec<Account>,
    mut recording: Recording,
    kept: Kept,
) -> ScenarioSummary {
    let mut told: Vec<PartLoad> = (1..=of)
        .map(|number| PartLoad { number, state: PartState::Missing, ..PartLoad::default() })
        .collect();
    let here = accounts.len();
    let begun = |account: &Account| account.load.as_ref().ok().map(|load| load.started_at_s);
    let first_at_s = accounts.iter().filter_map(begun).fold(f64::INFINITY, f64::min);
    let mut empty = empty;
    let (mut reasons, mut sent, mut without_load) = (Vec::new(), Vec::new(), Vec::new());
    let mut clocks = clocks::compare(
        accounts
            .iter()
            .filter_map(|account| Some((account.number, account.load.as_ref().ok()?.clock))),
    );
    for Account { number, load } in accounts {
        // Whoever told of more parts than there are was not taken.
        let Some(row) = told.get_mut((number as usize).wrapping_sub(1)) else { continue };
        let load = match load {
            Ok(load) => load,
            Err(end) => {
                row.state = PartState::NotRun;
                without_load.push((number, end));
                continue;
            }
        };
        empty.target = load.target.clone();
        empty.started_at_s = first_at_s;
        if load.lost {
            reasons.push(lost(number, of, load.complete, kept));
        }
        // Where no time was set, all should have begun with the first.
        let late = Duration::try_from_secs_f64(load.started_at_s - first_at_s).ok();
        sent.push(Sent::of(load, late, row));
        if let Some(told) = clocks.remove(&number) {
            row.clock = Some(told.clock);
            // Whoever was late knows it already.
            let known = row.reasons.iter().any(|reason| reason.code == Code::PartLate);
            row.reasons.extend(told.reason.filter(|_| !known));
        }
    }
    for row in told.iter().filter(|row| row.state == PartState::Missing) {
        let text = format!("part {} of {of} is missing", row.number);
        reasons.push(Reason::new(Code::PartMissing, here as f64, of as f64, text));
    }
    // Those that only did not begin without the others say nothing of their own.
    let skipped = |(_, end): &(u64, End)| end.reason == EndReason::Skipped;
    if !without_load.iter().all(skipped) {
        without_load.retain(|one| !skipped(one));
    }
    for (number, end) in &without_load {
        let why = end.message.as_deref().unwrap_or("it did not run");
        let text = format!("part {number} of {of} sent nothing: {why}");
        reasons.push(Reason::plain(Code::PartMissing, text));
    }
    if sent.iter().any(|sent| sent.lost) {
        // What was in flight then, nobody knows of any more.
        recording.give_up();
    }
    recording.settle_sample(match kept {
        Kept::All => Duration::MAX,
        Kept::Until(until) => Duration::from_secs(until),
    });
    let mut summary = match sent.into_iter().reduce(Sent::and) {
        Some(sent) => summarize(empty, outline, sent.measured(recording, kept)),
        None => {
            let worst = without_load.into_iter().max_by_key(|(_, end)| severity(end));
            let (_, end) = worst.unwrap_or_default();
            let message = end.message.clone().unwrap_or_default();
            let mut summary = ScenarioSummary { end, ..empty };
            never_ran(&mut summary, message, outline);
            summary
        }
    };
    let of_parts = told.iter().flat_map(|row| of_part_alone(row, of, &summary.validity.reasons));
    reasons.extend(of_parts);
    summary.validity.reasons.extend(reasons);
    summary.parts = told;
    // They leave more open than what is wrong with the whole did.
    let conditions = &outline.thresholds;
    threshold::judge(&mut summary, conditions).expect("we have just written these histograms");
    summary
}

fn lost(number: u64, of: u64, after: u64, kept: Kept) -> Reason {
    let figures = match kept {
        Kept::All => "figures after that are of the others".to_owned(),
        Kept::Until(until) => format!("figures are of the first {until} s"),
    };
    let text = format!("part {number} of {of} was lost after {after} s; {figures}");
    Reason::of(Code::PartLost, after as f64, text)
}

/// What is wrong with a part and not with the whole.
fn of_part_alone(part: &PartLoad, of: u64, whole: &[Reason]) -> Vec<Reason> {
    let own = part.reasons.iter().filter(|own| {
        own.code != Code::NothingMeasured && whole.iter().all(|known| known.code != own.code)
    });
    let of_part = |own: &Reason| {
        let text = format!("part {} of {of}: {}", part.number, own.text);
        Reason { text, ..own.clone() }
    };
    own.map(of_part).collect()
}

/// What a part sent in a scenario besides its tallies, or several together.
struct Sent {
    examined: Examined,
    ending: Ending,
    /// Whether it was lost, or all of them.
    lost: bool,
    /// Whether one of them was.
    some_lost: bool,
}

impl Sent {
    /// What a part sent, of which `row` tells.
    fn of(load: LoadAccount, late: Option<Duration>, row: &mut PartLoad) -> Sent {
        let LoadAccount { mut ending, lost, reasons, .. } = load;
        let set = ending.circumstances.late;
        ending.circumstances.late = set.or(late);
        row.workers = load.workers;
        row.state = if lost { PartState::Lost } else { PartState::Complete };
        row.sent = load.sent;
        row.lag_p99_ms = load.lag.quantile(0.99).map(ms);
        row.cpu_s = ending.client.cpu_s;
        row.start_skew_ms = ending.circumstances.late.map(ms);
        row.reasons = reasons;
        if set.is_none() {
            row.reasons.extend(late.and_then(validity::too_late));
        }
        Sent { examined: load.examined, ending, lost, some_lost: lost }
    }

    /// What two sent together.
    fn and(mut self, other: Sent) -> Sent {
        self.examined.add(other.examined);
        let (one, two) = (self.ending, other.ending);
        // A part that was lost is no end of the whole, unless all were.
        let end = match (self.lost, other.lost) {
            (true, false) => two.end,
            (false, true) => one.end,
            _ => std::cmp::max_by_key(one.end, two.end, severity),
        };
        self.ending = Ending {
            end,
            window: Window {
                length: one.window.length.max(two.window.length),
                timed: one.window.timed && two.window.timed,
            },
            client: together(one.client, two.client),
            circumstances: Circumstances::and(one.circumstances, two.circumstances),
            cut: one.cut || two.cut,
            // All read the same Flow.
            server: one.server.or(two.server),
            traces: [one.traces, two.traces].concat(),
        };
        self.lost &= other.lost;
        self.some_lost |= other.some_lost;
        self
    }

    /// What all sent, to be summed up.
    fn measured(self, recording: Recording, kept: Kept) -> Measured {
        let Sent { mut examined, mut ending, some_lost, .. } = self;
        if let Kept::Until(until) = kept {
            let length = Duration::from_secs(until);
            ending.window = Window { length, timed: true };
            ending.circumstances.length = Some(length);
            // They are counted over the whole of it.
            examined = Examined::default();
        }
        ending.cut |= some_lost;
        // Each part says by itself when it began late.
        ending.circumstances.late = None;
        Measured { recording, examined, ending }
    }
}

/// The load generators of two parts.
fn together(one: ClientSummary, other: ClientSummary) -> ClientSummary {
    let mut unmatched_replies = one.unmatched_replies;
    unmatched_replies += other.unmatched_replies;
    ClientSummary {
        cpu_s: one.cpu_s.and_then(|cpu| Some(cpu + other.cpu_s?)),
        max_rss_bytes: one.max_rss_bytes.max(other.max_rss_bytes),
        workers: one.workers + other.workers,
        waited_for_connections: one.waited_for_connections + other.waited_for_connections,
        unmatched_replies,
        ..one
    }
}

/// The higher, the more has to be told of it.
fn severity(end: &End) -> u8 {
    match end.reason {
        EndReason::Time => 0,
        EndReason::Requests => 1,
        EndReason::Documents => 2,
        EndReason::Skipped => 3,
        EndReason::Aborted => 4,
        EndReason::Broken => 5,
        EndReason::Unreachable => 6,
        EndReason::Interrupted => 7,
    }
}
