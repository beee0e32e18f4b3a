//! The parts of a load merged into one result.
//!
//! Parts tell what they measured in their journals. Tallies and histograms add up, so the figures are those
//! of all requests taken together, and each second of a part is added to the same second of the others,
//! counted from the start of its own measurement: no time is ever the difference of two clocks.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rayon::prelude::*;

use super::journal::{Replay, Replayed, Strangers, replay};
use super::parts::{Account, Kept, LoadAccount, conclude};
use crate::plan::without_folders;
use crate::record::saved::ReadError;
use crate::record::summary::{RunPart, ScenarioSummary, Summary};
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
            let bare = |summary: &Summary| {
                let mut resolved = summary.resolved.clone();
                resolved.iter_mut().for_each(without_folders);
                resolved
            };
            let same = bare(one) == bare(other)
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

/// One scenario of all parts.
fn scenario(
    numbers: &[u64],
    of: u64,
    column: Vec<(ScenarioSummary, Replayed)>,
    until: Option<u64>,
) -> ScenarioSummary {
    // There is one part at least.
    let (empty, outline) = (column[0].0.clone(), column[0].1.outline.clone());
    let mut recordings = Vec::new();
    let mut accounts = Vec::new();
    for (&number, (summary, mut part)) in numbers.iter().zip(column) {
        let load = part.began.then(|| LoadAccount {
            target: summary.target.clone(),
            started_at_s: summary.started_at_s,
            workers: part.workers,
            complete: part.recording.complete(),
            sent: part.recording.totals.sent,
            lag: part.recording.totals.lag.clone(),
            lost: part.is_lost(),
            ending: part.ending.take().unwrap_or_else(|| part.lost()),
            reasons: std::mem::take(&mut part.reasons),
            examined: std::mem::take(&mut part.examined),
        });
        if part.began {
            part.recording.of_part(number);
            recordings.push(part.recording);
        }
        accounts.push(Account { number, load: load.ok_or(summary.end) });
    }
    let recording = recordings.into_iter().reduce(|mut all, one| {
        all.merge(one);
        all
    });
    let kept = until.map_or(Kept::All, Kept::Until);
    conclude(empty, &outline, of, accounts, recording.unwrap_or_default(), kept)
}
