//! Summarizes what the parts of a load reported about a scenario: the figures of the whole, a row per part, and which
//! part has which problem.

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

/// What a part reported about a scenario, besides its tallies.
pub(super) struct Account {
    /// The part's number, from 1.
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
    /// Number of whole seconds it reported.
    pub(super) complete: u64,
    pub(super) sent: u64,
    pub(super) lag: Histogram,
    /// Whether it was lost in the middle.
    pub(super) lost: bool,
    pub(super) ending: Ending,
    /// Why its own figures are not valid.
    pub(super) reasons: Vec<Reason>,
    pub(super) examined: Examined,
    pub(super) clock: Clock,
}

/// Which figures remain if a part was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Everything that was measured.
    All,
    /// The first this many seconds, which all parts reported.
    Until(u64),
}

/// Summarizes what all parts reported: `recording` has the tallies of all of them.
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
        // A part with a number beyond the number of parts was rejected.
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
        // If no time was set, all parts should have begun with the first.
        let late = Duration::try_from_secs_f64(load.started_at_s - first_at_s).ok();
        sent.push(Sent::of(load, late, row));
        if let Some(told) = clocks.remove(&number) {
            row.clock = Some(told.clock);
            // A part that was late already says so.
            let known = row.reasons.iter().any(|reason| reason.code == Code::PartLate);
            row.reasons.extend(told.reason.filter(|_| !known));
        }
    }
    for row in told.iter().filter(|row| row.state == PartState::Missing) {
        let text = format!("part {} of {of} is missing", row.number);
        reasons.push(Reason::new(Code::PartMissing, here as f64, of as f64, text));
    }
    // Parts that only did not begin without the others add no information.
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
        // Nobody knows what became of requests that were in flight.
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
    // These reasons leave more thresholds inconclusive than those of the whole did.
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

/// Problems of a part that the whole does not have.
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

/// What one part, or several together, sent in a scenario, besides tallies.
struct Sent {
    examined: Examined,
    ending: Ending,
    /// Whether the part was lost, or all of them.
    lost: bool,
    /// Whether one of them was lost.
    some_lost: bool,
}

impl Sent {
    /// What a part sent; also fills in its `row`.
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

    /// What two parts sent together.
    fn and(mut self, other: Sent) -> Sent {
        self.examined.add(other.examined);
        let (one, two) = (self.ending, other.ending);
        // A lost part does not determine the end of the whole, unless all were lost.
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

    /// What all parts sent, ready to be summarized.
    fn measured(self, recording: Recording, kept: Kept) -> Measured {
        let Sent { mut examined, mut ending, some_lost, .. } = self;
        if let Kept::Until(until) = kept {
            let length = Duration::from_secs(until);
            ending.window = Window { length, timed: true };
            ending.circumstances.length = Some(length);
            // Examination results cover the whole load.
            examined = Examined::default();
        }
        ending.cut |= some_lost;
        // Each part reports by itself that it began late.
        ending.circumstances.late = None;
        Measured { recording, examined, ending }
    }
}

/// The load generators of two parts combined.
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

/// The higher, the more important to report.
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
