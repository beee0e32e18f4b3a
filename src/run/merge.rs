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
    let duration_s = parts.iter().map(|part| part.replay.at_s()).fold(0.0, f64::max);
    let mut summary = Summary { started_at, duration_s, ..parts[0].replay.summary.clone() };
    let mut numbers = Vec::new();
    let mut columns: Vec<Vec<(ScenarioSummary, Replayed)>> = Vec::new();
    for mut part in parts {
        numbers.push(part.run.number);
        // From the start of the first part, as far as their clocks agree.
        let offset = part.run.started_at.duration_since(started_at).as_secs_f64();
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
    let (mut reasons, mut outline, mut empty) = (Vec::new(), None, None);
    let (mut recording, mut ending, mut examined) = (None, None, Examined::default());
    let (mut ended, mut without_load) = (Vec::new(), Vec::new());
    let begun =
        column.iter().filter(|(_, part)| part.began).map(|(summary, _)| summary.started_at_s);
    let first_at_s = begun.fold(f64::INFINITY, f64::min);
    for (&number, (summary, mut part)) in numbers.iter().zip(column) {
        let load = &mut told[number as usize - 1];
        load.workers = part.workers;
        outline.get_or_insert_with(|| part.outline.clone());
        let known = empty.get_or_insert_with(|| summary.clone());
        if !part.began {
            load.state = PartState::NotRun;
            without_load.push((number, summary.end.clone()));
            continue;
        }
        known.target = summary.target;
        known.started_at_s = first_at_s;
        load.state = if part.is_lost() { PartState::Lost } else { PartState::Complete };
        // Where no time was set, all should have begun with the first.
        let late = Duration::try_from_secs_f64(summary.started_at_s - first_at_s).ok();
        let mut ends = match part.ending.take() {
            Some(ends) => ends,
            None => {
                let after = part.recording.complete();
                let text = format!(
                    "part {number} of {of} was lost after {after} s; figures are of the first {} s",
                    until.unwrap_or(after)
                );
                reasons.push(Reason::of(Code::PartLost, after as f64, text));
                part.lost()
            }
        };
        if until.is_some() {
            // What was in flight then, nobody knows of any more.
            part.give_up();
        }
        ends.circumstances.late = ends.circumstances.late.or(late);
        load.sent = part.recording.totals.sent;
        load.lag_p99_ms = part.recording.totals.lag.quantile(0.99).map(ms);
        load.cpu_s = ends.client.cpu_s;
        load.start_skew_ms = ends.circumstances.late.map(ms);
        // A lost part judges nothing: what it lacks is told already.
        if load.state == PartState::Complete {
            load.reasons = validity::reasons(&part.recording, ends.circumstances);
        }
        if until.is_none() {
            examined.add(std::mem::take(&mut part.examined));
        }
        if load.state == PartState::Complete {
            ended.push(ends.end.clone());
        }
        match &mut recording {
            None => recording = Some(part.recording),
            Some(recording) => Recording::merge(recording, part.recording),
        }
        ending = Some(match ending {
            None => ends,
            Some(ending) => both(ending, ends),
        });
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
    let (Some(empty), Some(outline)) = (empty, outline) else {
        // There is no part at all.
        return ScenarioSummary::default();
    };
    let mut summary = match (recording, ending) {
        (Some(recording), Some(mut ending)) => {
            if let Some(until) = until {
                let length = Duration::from_secs(until);
                ending.window = Window { length, timed: true };
                ending.circumstances.length = Some(length);
                ending.cut = true;
            }
            // A part that was lost is no end of the whole, unless all were.
            let severest = ended.into_iter().max_by_key(severity);
            ending.end = severest.unwrap_or(ending.end);
            // Each part says by itself when it began late.
            ending.circumstances.late = None;
            let measured = Measured { recording, examined, ending };
            summarize(empty, &outline, measured)
        }
        _ => {
            let mut summary = empty;
            let message = without_load.first().and_then(|(_, end)| end.message.clone());
            summary.end = without_load.first().map(|(_, end)| end.clone()).unwrap_or_default();
            never_ran(&mut summary, message.unwrap_or_default(), &outline);
            summary
        }
    };
    // What is wrong with the whole is told of the whole, and what is wrong with a part alone, of it.
    for part in &told {
        let own = part.reasons.iter().filter(|own| {
            own.code != Code::NothingMeasured
                && summary.validity.reasons.iter().all(|known| known.code != own.code)
        });
        let of_part = |own: &Reason| {
            let text = format!("part {} of {of}: {}", part.number, own.text);
            Reason { text, ..own.clone() }
        };
        reasons.extend(own.map(of_part));
    }
    summary.validity.reasons.extend(reasons);
    summary.validity.valid = summary.validity.reasons.is_empty();
    summary.parts = told;
    let conditions = &outline.thresholds;
    threshold::judge(&mut summary, conditions).expect("we have just written these histograms");
    summary
}

/// How a load ended of which two parts ended so.
fn both(one: Ending, other: Ending) -> Ending {
    Ending {
        end: one.end,
        window: Window {
            length: one.window.length.max(other.window.length),
            timed: one.window.timed && other.window.timed,
        },
        client: {
            let (one, other) = (one.client, other.client);
            let mut unmatched = one.unmatched_replies;
            unmatched += other.unmatched_replies;
            ClientSummary {
                cpu_s: one.cpu_s.and_then(|cpu| Some(cpu + other.cpu_s?)),
                max_rss_bytes: one.max_rss_bytes.max(other.max_rss_bytes),
                workers: one.workers + other.workers,
                unmatched_replies: unmatched,
                waited_for_connections: one.waited_for_connections + other.waited_for_connections,
                ..one
            }
        },
        circumstances: Circumstances::and(one.circumstances, other.circumstances),
        cut: one.cut || other.cut,
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
