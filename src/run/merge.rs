//! The parts of a load merged into one result.
//!
//! Parts tell what they measured in their journals. Tallies and histograms add up, so the figures are those
//! of all requests taken together, and each second of a part is added to the same second of the others,
//! counted from the start of its own measurement: no time is ever the difference of two clocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rayon::prelude::*;

use super::examined::Examined;
use super::journal::{Replay, Replayed, Strangers, replay};
use super::summarize::{Ending, Measured, never_ran, summarize};
use crate::record::reason::{Code, Reason};
use crate::record::saved::ReadError;
use crate::record::summary::{
    ClientSummary, End, EndReason, PartLoad, PartState, RunPart, ScenarioSummary, Summary, ms,
};
use crate::record::validity::{self, Circumstances};
use crate::record::{Recording, Window};
use crate::threshold;

/// Why parts cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A run of a whole load.
    #[error("{}: it is no part of a load, but a whole one", path.display())]
    Whole {
        /// Its journal.
        path: PathBuf,
    },
    /// Two parts are of different loads.
    #[error("{}: {what} is {found}, but that of {} is {expected}", path.display(), other.display())]
    Different {
        /// The journal of one.
        path: PathBuf,
        /// The journal of the other.
        other: PathBuf,
        /// What differs.
        what: &'static str,
        /// What one has.
        found: String,
        /// What the other has.
        expected: String,
    },
    /// The same part twice.
    #[error("part {part} is there twice: {} and {}", path.display(), other.display())]
    Twice {
        /// Which, from 1.
        part: u64,
        /// One of its journals.
        path: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// There are none.
    #[error("there is no part")]
    None,
}

/// A part that was read.
struct Part {
    path: PathBuf,
    run: RunPart,
    replay: Replay,
}

/// Merges the journals of the parts of one load. Parts that are missing, or were lost in the middle, make
/// the result invalid; of the others it holds what all of them measured.
///
/// # Errors
/// When a journal cannot be read, or they are not parts of one load.
pub fn merge(paths: &[PathBuf]) -> Result<Summary, MergeError> {
    let mut parts = read(paths, &[])?;
    check(&parts)?;
    let scenarios = parts.first().ok_or(MergeError::None)?.replay.scenarios.len();
    // What all lost parts have told of, in whole seconds.
    let until: Vec<Option<u64>> = (0..scenarios)
        .map(|index| {
            let of_part = parts.iter().map(|part| &part.replay.scenarios[index]);
            of_part.filter(|part| part.is_lost()).map(|part| part.recording.complete()).min()
        })
        .collect();
    if until.iter().any(Option::is_some) {
        parts = read(paths, &until)?;
    }
    parts.sort_by_key(|part| part.run.number);
    Ok(join(parts, &until))
}

fn read(paths: &[PathBuf], until: &[Option<u64>]) -> Result<Vec<Part>, MergeError> {
    paths.par_iter().map(|path| read_one(path, until)).collect()
}

fn read_one(path: &Path, until: &[Option<u64>]) -> Result<Part, MergeError> {
    let (mut replay, _) = replay(path, until, Strangers::Skipped)?;
    let run = replay.summary.part.take();
    let run = run.ok_or_else(|| MergeError::Whole { path: path.to_owned() })?;
    Ok(Part { path: path.to_owned(), run, replay })
}

/// Refuses what are not parts of one load.
fn check(parts: &[Part]) -> Result<(), MergeError> {
    let Some((first, rest)) = parts.split_first() else { return Err(MergeError::None) };
    for (index, part) in rest.iter().enumerate() {
        let (one, other) = (&part.replay.summary, &first.replay.summary);
        let at = |at: Option<Timestamp>| at.map_or("not set".into(), |at| at.to_string());
        let pairs = [
            ("the suite", one.suite.clone(), other.suite.clone()),
            ("the number of parts", part.run.of.to_string(), first.run.of.to_string()),
            ("the seed", one.seed.to_string(), other.seed.to_string()),
            ("flowbench", version(one), version(other)),
            ("the time to begin", at(part.run.at), at(first.run.at)),
        ];
        let differing = pairs.into_iter().find(|(_, one, other)| one != other);
        let differing = differing.or_else(|| {
            let words = |part: &str| format!("that of {part}");
            let same = one.resolved == other.resolved
                && part.replay.scenarios.len() == first.replay.scenarios.len();
            (!same).then(|| {
                ("what it does (`check --resolved`)", words("another file"), words("this one"))
            })
        });
        if let Some((what, found, expected)) = differing {
            let (path, other) = (part.path.clone(), first.path.clone());
            return Err(MergeError::Different { path, other, what, found, expected });
        }
        let same = parts[..=index].iter().find(|other| other.run.number == part.run.number);
        if let Some(other) = same {
            let (path, other) = (other.path.clone(), part.path.clone());
            return Err(MergeError::Twice { part: part.run.number, path, other });
        }
    }
    Ok(())
}

fn version(summary: &Summary) -> String {
    summary.environment.flowbench.clone()
}

fn join(parts: Vec<Part>, until: &[Option<u64>]) -> Summary {
    let of = parts[0].run.of;
    let runs: Vec<RunPart> = parts.iter().map(|part| part.run.clone()).collect();
    let started_at = runs.iter().map(|run| run.started_at).min().unwrap_or_default();
    let mut summary = Summary { started_at, ..parts[0].replay.summary.clone() };
    let mut numbers = Vec::new();
    let mut columns: Vec<Vec<(ScenarioSummary, Replayed)>> = Vec::new();
    for mut part in parts {
        numbers.push(part.run.number);
        // From the start of the first part, as far as their clocks agree.
        let offset = part.run.started_at.duration_since(started_at).as_secs_f64();
        summary.duration_s = summary.duration_s.max(offset + part.replay.at_s());
        part.replay.summary.scenarios.iter_mut().for_each(|s| s.started_at_s += offset);
        let scenarios = part.replay.summary.scenarios.into_iter().zip(part.replay.scenarios);
        for (index, scenario) in scenarios.enumerate() {
            if columns.len() <= index {
                columns.push(Vec::new());
            }
            columns[index].push(scenario);
        }
    }
    let scenarios = columns.into_par_iter().zip(until.par_iter());
    summary.scenarios =
        scenarios.map(|(column, until)| scenario(&numbers, of, column, *until)).collect();
    summary.interrupted = summary.scenarios.iter().any(|s| s.end.unfinished().is_some());
    summary.parts = runs;
    threshold::conclude(&mut summary);
    summary
}

/// What a part sent in a scenario, or several together.
struct Sent {
    recording: Recording,
    examined: Examined,
    ending: Ending,
    /// Whether it was lost, or all of them.
    lost: bool,
}

/// One scenario of all parts.
fn scenario(
    numbers: &[u64],
    of: u64,
    column: Vec<(ScenarioSummary, Replayed)>,
    until: Option<u64>,
) -> ScenarioSummary {
    let mut told: Vec<PartLoad> = (1..=of)
        .map(|number| PartLoad { number, state: PartState::Missing, ..PartLoad::default() })
        .collect();
    // There is one part at least.
    let (mut empty, outline) = (column[0].0.clone(), column[0].1.outline.clone());
    let mut begun = column.iter().filter(|(_, part)| part.began).map(|(summary, _)| summary);
    let first_at_s =
        begun.clone().map(|summary| summary.started_at_s).fold(f64::INFINITY, f64::min);
    if let Some(last) = begun.next_back() {
        empty.target = last.target.clone();
        empty.started_at_s = first_at_s;
    }
    let (mut reasons, mut sent, mut without_load) = (Vec::new(), Vec::new(), Vec::new());
    for (&number, (summary, part)) in numbers.iter().zip(column) {
        let load = &mut told[number as usize - 1];
        load.workers = part.workers;
        if !part.began {
            load.state = PartState::NotRun;
            without_load.push((number, summary.end));
            continue;
        }
        if part.is_lost() {
            let after = part.recording.complete();
            let text = format!(
                "part {number} of {of} was lost after {after} s; figures are of the first {} s",
                until.unwrap_or(after)
            );
            reasons.push(Reason::of(Code::PartLost, after as f64, text));
        }
        // Where no time was set, all should have begun with the first.
        let late = Duration::try_from_secs_f64(summary.started_at_s - first_at_s).ok();
        sent.push(Sent::of(part, late, until, load));
    }
    for part in told.iter().filter(|part| part.state == PartState::Missing) {
        let text = format!("part {} of {of} is missing", part.number);
        reasons.push(Reason::new(Code::PartMissing, numbers.len() as f64, of as f64, text));
    }
    for (number, end) in &without_load {
        let why = end.message.as_deref().unwrap_or("it did not run");
        let text = format!("part {number} of {of} sent nothing: {why}");
        reasons.push(Reason::plain(Code::PartMissing, text));
    }
    let mut summary = match sent.into_iter().reduce(Sent::and) {
        Some(sent) => summarize(empty, &outline, sent.measured(until)),
        None => {
            let (_, end) = without_load.into_iter().next().unwrap_or_default();
            let message = end.message.clone().unwrap_or_default();
            let mut summary = ScenarioSummary { end, ..empty };
            never_ran(&mut summary, message, &outline);
            summary
        }
    };
    let of_parts = told.iter().flat_map(|part| of_part_alone(part, of, &summary.validity.reasons));
    reasons.extend(of_parts);
    summary.validity.reasons.extend(reasons);
    summary.parts = told;
    // They leave more open than what is wrong with the whole did.
    let conditions = &outline.thresholds;
    threshold::judge(&mut summary, conditions).expect("we have just written these histograms");
    summary
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

impl Sent {
    /// What a part sent, of which `load` tells.
    fn of(
        mut part: Replayed,
        late: Option<Duration>,
        until: Option<u64>,
        load: &mut PartLoad,
    ) -> Sent {
        let lost = part.is_lost();
        let mut ending = part.ending.take().unwrap_or_else(|| part.lost());
        if until.is_some() {
            // What was in flight then, nobody knows of any more.
            part.give_up();
            part.examined = Examined::default();
        }
        ending.circumstances.late = ending.circumstances.late.or(late);
        load.state = if lost { PartState::Lost } else { PartState::Complete };
        load.sent = part.recording.totals.sent;
        load.lag_p99_ms = part.recording.totals.lag.quantile(0.99).map(ms);
        load.cpu_s = ending.client.cpu_s;
        load.start_skew_ms = ending.circumstances.late.map(ms);
        if !lost {
            load.reasons = validity::reasons(&part.recording, ending.circumstances);
        }
        Sent { recording: part.recording, examined: part.examined, ending, lost }
    }

    /// What two sent together.
    fn and(mut self, other: Sent) -> Sent {
        self.recording.merge(other.recording);
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
        };
        self.lost &= other.lost;
        self
    }

    /// What all sent, to be summed up.
    fn measured(self, until: Option<u64>) -> Measured {
        let Sent { recording, examined, mut ending, .. } = self;
        if let Some(until) = until {
            let length = Duration::from_secs(until);
            ending.window = Window { length, timed: true };
            ending.circumstances.length = Some(length);
            ending.cut = true;
        }
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
