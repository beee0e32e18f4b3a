//! Summarizes what the parts of a load reported about a scenario: the figures of the whole, a row per part, and which
//! part has which problem.

use std::time::Duration;

use super::clocks::{self, Clock};
use super::counted::{Counted, Loss, Sends};
use super::examined::Examined;
use super::summarize::{Ending, Measured, Outline, never_ran, summarize};
use crate::record::reason::{Code, Reason};
use crate::record::summary::{
    ClientSummary, End, EndReason, PartLoad, PartState, ScenarioSummary, TargetSummary, ms,
};
use crate::record::validity::{self, Circumstances};
use crate::record::{Recording, Window};

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
    pub(super) sends: Sends,
    /// How many seconds later than the first part it began, and its seconds count.
    pub(super) later: u64,
    /// How long after the time that was set it began, if one was.
    pub(super) late: Option<Duration>,
    pub(super) ending: Ending,
    /// Why its own figures are not valid.
    pub(super) reasons: Vec<Reason>,
    pub(super) examined: Examined,
    pub(super) clock: Clock,
}

/// Sums up what all parts told: `recording` has the tallies of all of them, as far as they count.
pub(super) fn conclude(
    empty: ScenarioSummary,
    outline: &Outline,
    of: u64,
    accounts: Vec<Account>,
    mut recording: Recording,
    counted: &Counted,
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
        // Where no time was set, all should have begun with the first.
        let late = Duration::try_from_secs_f64(load.started_at_s - first_at_s).ok();
        let lost = counted.loss(number).is_some();
        sent.push(Sent::of(load, late, (lost, !counted.is_all()), row));
        if let Some(told) = clocks.remove(&number) {
            row.clock = Some(told.clock);
            // A part that was late already says so.
            let known = row.reasons.iter().any(|reason| reason.code == Code::PartLate);
            row.reasons.extend(told.reason.filter(|_| !known));
        }
    }
    reasons.extend(counted.lost().map(|(number, loss)| lost((number, of), loss, counted)));
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
    if !counted.is_all() {
        // What was in flight then, nobody knows of any more.
        recording.give_up();
    }
    recording.settle_sample(|part| counted.limit(part).map(Duration::from_secs));
    let mut summary = match sent.into_iter().reduce(Sent::and) {
        Some(sent) => summarize(empty, outline, sent.measured(recording, counted)),
        None => {
            let worst = without_load.into_iter().max_by_key(|(_, end)| severity(end));
            let (number, mut end) = worst.unwrap_or_default();
            let message = end.message.unwrap_or_default();
            let message = format!("part {number} of {of}: {message}");
            end.message = Some(message.clone());
            let mut summary = ScenarioSummary { end, ..empty };
            never_ran(&mut summary, message, outline);
            summary
        }
    };
    reasons.extend(of_parts_alone(&told, &summary.validity.reasons));
    summary.validity.reasons.extend(reasons);
    summary.parts = told;
    // They leave more open than what is wrong with the whole did.
    outline.judge(&mut summary);
    summary
}

fn lost((number, of): (u64, u64), loss: Loss, counted: &Counted) -> Reason {
    let figures = match counted.until() {
        None => "figures after that are of the others".to_owned(),
        Some(until) => format!("figures are of the first {until} s"),
    };
    let what = match loss.stood_still {
        None => format!("was lost after {} s", loss.after),
        Some(time) => {
            format!("stood still for {:.1} s, and the others ended without it", time.as_secs_f64())
        }
    };
    let text = format!("part {number} of {of} {what}; {figures}");
    Reason::of(Code::PartLost, loss.after as f64, text)
}

/// What is wrong with some parts: with the whole it may be as well, and then they are why. Where it is with all parts
/// alike, the whole says it.
fn of_parts_alone(parts: &[PartLoad], whole: &[Reason]) -> Vec<Reason> {
    let complete = || parts.iter().filter(|part| part.state == PartState::Complete);
    let of_code = |reasons: &[Reason], code| reasons.iter().find(|own| own.code == code).cloned();
    let is_alike = |own: &Reason| {
        let all: Vec<Reason> =
            complete().filter_map(|part| of_code(&part.reasons, own.code)).collect();
        let is_of_all = of_code(whole, own.code).is_some() && all.len() == complete().count();
        is_of_all && !stands_out(own, all.iter().filter_map(|reason| reason.found).collect())
    };
    let told = parts.iter().flat_map(|part| {
        let own = part.reasons.iter();
        let own = own.filter(|own| own.code != Code::NothingMeasured && !is_alike(own));
        own.map(|own| {
            let text = format!("part {} of {}: {}", part.number, parts.len(), own.text);
            Reason { text, ..own.clone() }
        })
    });
    told.collect()
}

/// Whether a figure is twice as bad as in the middle of all of them.
fn stands_out(own: &Reason, mut all: Vec<f64>) -> bool {
    all.sort_by(f64::total_cmp);
    let (Some(found), Some(middle)) = (own.found, all.get(all.len().saturating_sub(1) / 2)) else {
        return false;
    };
    match own.code {
        // Of these, fewer are worse.
        Code::NotSentInTime => found * 2.0 < *middle,
        _ => found > *middle * 2.0,
    }
}

/// What one part, or several together, sent in a scenario, besides tallies.
struct Sent {
    examined: Examined,
    ending: Ending,
    /// Whether the part was lost, or all of them.
    lost: bool,
}

impl Sent {
    /// What a part sent, of which `row` tells.
    fn of(
        load: LoadAccount,
        late: Option<Duration>,
        (lost, is_cut): (bool, bool),
        row: &mut PartLoad,
    ) -> Sent {
        let LoadAccount { mut ending, reasons, .. } = load;
        let set = load.late.or(ending.circumstances.late);
        ending.circumstances.late = set.or(late);
        let later = Duration::from_secs(load.later);
        ending.window.length += later;
        ending.circumstances.length = ending.circumstances.length.map(|length| length + later);
        row.workers = load.workers;
        row.state = if lost { PartState::Lost } else { PartState::Complete };
        row.sent = load.sends.requests(is_cut);
        row.lag_p99_ms = load.sends.lag.quantile(0.99).map(ms);
        row.cpu_s = ending.client.cpu_s;
        row.start_skew_ms = ending.circumstances.late.map(ms);
        row.reasons = reasons;
        let known = row.reasons.iter().any(|reason| reason.code == Code::PartLate);
        if !known {
            row.reasons.extend(set.or(late).and_then(validity::too_late));
        }
        Sent { examined: load.examined, ending, lost }
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
        self
    }

    /// What all sent, to be summed up.
    fn measured(self, recording: Recording, counted: &Counted) -> Measured {
        let Sent { mut examined, mut ending, .. } = self;
        if let Some(until) = counted.until() {
            let length = Duration::from_secs(until);
            ending.window = Window { length, timed: true };
            ending.circumstances.length = Some(length);
            // Examination results cover the whole load.
            examined = Examined::default();
        }
        ending.cut |= !counted.is_all();
        // Each part says by itself when it began late.
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
        EndReason::Skipped | EndReason::Waiting | EndReason::Running => 3,
        EndReason::PartLost => 4,
        EndReason::Aborted => 5,
        EndReason::Broken => 6,
        EndReason::Unreachable => 7,
        EndReason::Interrupted => 8,
    }
}
