//! Merges the parts of a load into one result.
//!
//! Parts report what they measured in their journals. Tallies and histograms add up, so the figures are those of all
//! requests taken together. Each second of a part is added to the same second of the others, counted from the start
//! of its own measurement: no time is ever the difference of two clocks.
//!
//! All journals are read side by side, about a second of each at a time. So memory holds the sum and, in full, its
//! last seconds, no matter how many parts there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rayon::prelude::*;
use tokio::time::Instant;

use super::clocks;
use super::journal::{Reader, Replayed, Strangers};
use super::parts::{Account, Kept, LoadAccount, conclude};
use crate::plan::without_folders;
use crate::record::saved::ReadError;
use crate::record::summary::{RunPart, ScenarioSummary, Summary};
use crate::record::tally::Tally;
use crate::record::{Delta, Recording};
use crate::threshold;

/// Why parts cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A run of a whole load, not a part.
    #[error("{}: it is no part of a load, but a whole one", path.display())]
    Whole {
        /// Path of its journal.
        path: PathBuf,
    },
    /// Two parts belong to different loads.
    #[error("{}: {what} is {found}, but that of {} is {expected}", path.display(), other.display())]
    Different {
        /// The journal of one.
        path: PathBuf,
        /// The journal of the other.
        other: PathBuf,
        /// The property that differs.
        what: &'static str,
        /// Its value in `path`.
        found: String,
        /// Its value in `other`.
        expected: String,
    },
    /// The same part is given twice.
    #[error("part {part} is there twice: {} and {}", path.display(), other.display())]
    Twice {
        /// The part's number, from 1.
        part: u64,
        /// One of its journals.
        path: PathBuf,
        /// Its other journal.
        other: PathBuf,
    },
    /// No part was given.
    #[error("there is no part")]
    None,
}

/// A part being read.
struct Part {
    path: PathBuf,
    run: RunPart,
    journal: Reader,
}

/// Threads that read parts: each has its own sum, of some ten megabytes per hour.
const THREADS_MAX: usize = 8;

/// Merges the journals of the parts of one load. Missing parts, and parts lost in the middle, make the result
/// invalid; it then covers only the seconds that all given parts measured.
///
/// # Errors
/// If a journal cannot be read, or they are not parts of one load.
pub fn merge(paths: &[PathBuf]) -> Result<Summary, MergeError> {
    let start = Instant::now();
    let parts = open(paths, start)?;
    check(&parts)?;
    let (mut parts, mut recordings) = read(parts)?;
    let scenarios = parts.first().ok_or(MergeError::None)?.journal.replay.scenarios.len();
    // The whole seconds that all lost parts have reported.
    let until: Vec<Option<u64>> = (0..scenarios)
        .map(|index| {
            let of_part = parts.iter().map(|part| &part.journal.replay.scenarios[index]);
            of_part.filter(|part| part.is_lost()).map(|part| part.until.all().as_secs()).min()
        })
        .collect();
    let later: Vec<BTreeMap<u64, u64>> = (0..scenarios)
        .map(|index| {
            let clock = |part: &Part| (part.run.number, part.journal.replay.scenarios[index].clock);
            clocks::seconds_later(parts.iter().map(clock))
        })
        .collect();
    if until.iter().any(Option::is_some) || later.iter().any(|later| !later.is_empty()) {
        let mut again = open(paths, start)?;
        for part in &mut again {
            for (index, scenario) in part.journal.replay.scenarios.iter_mut().enumerate() {
                scenario.limit = until[index];
                scenario.later = later[index].get(&part.run.number).copied().unwrap_or(0);
            }
        }
        (parts, recordings) = read(again)?;
    }
    parts.sort_by_key(|part| part.run.number);
    Ok(join(parts, recordings, &until))
}

/// Reads the first lines.
fn open(paths: &[PathBuf], start: Instant) -> Result<Vec<Part>, MergeError> {
    paths.par_iter().map(|path| open_one(path, start)).collect()
}

fn open_one(path: &Path, start: Instant) -> Result<Part, MergeError> {
    let mut journal = Reader::open(path, Strangers::Skipped, start)?;
    let run = journal.replay.summary.part.take();
    let run = run.ok_or_else(|| MergeError::Whole { path: path.to_owned() })?;
    Ok(Part { path: path.to_owned(), run, journal })
}

/// Reads the rest, and adds it up by scenario.
fn read(parts: Vec<Part>) -> Result<(Vec<Part>, Vec<Recording>), MergeError> {
    let threads = rayon::current_num_threads().min(THREADS_MAX).min(parts.len()).max(1);
    let mut groups: Vec<Vec<Part>> = (0..threads).map(|_| Vec::new()).collect();
    parts.into_iter().enumerate().for_each(|(index, part)| groups[index % threads].push(part));
    let groups: Result<Vec<_>, _> = groups.into_par_iter().map(read_side_by_side).collect();
    let sum = groups?.into_iter().reduce(|(mut all, mut sums), (parts, recordings)| {
        all.extend(parts);
        sums.iter_mut().zip(recordings).for_each(|(sum, recording)| sum.merge(recording));
        (all, sums)
    });
    sum.ok_or(MergeError::None)
}

/// Reads about a second of each part, then the next: so additions to the same second of the sum come at about the
/// same time. If they do not, merging takes longer, but the sum is the same.
fn read_side_by_side(mut parts: Vec<Part>) -> Result<(Vec<Part>, Vec<Recording>), MergeError> {
    let scenarios = parts.iter().map(|part| part.journal.replay.scenarios.len()).max().unwrap_or(0);
    let mut sums = vec![Recording::default(); scenarios];
    let mut open: Vec<usize> = (0..parts.len()).collect();
    let mut second = 0.0;
    while !open.is_empty() {
        second += 1.0;
        let mut seconds: Vec<BTreeMap<u64, Tally>> = vec![BTreeMap::new(); scenarios];
        let mut is_open = |number: u64, part: &mut Reader| loop {
            let Some(heard) = part.next()? else { return Ok(false) };
            if let Some((scenario, mut delta)) = heard {
                for (second, tally) in delta.seconds.drain(..) {
                    seconds[scenario].entry(second).or_default().merge(&tally);
                }
                delta.noted.0 = number;
                sums[scenario].add(delta);
            }
            if part.replay.load_s() >= second {
                return Ok::<bool, MergeError>(true);
            }
        };
        let mut still = Vec::new();
        for index in open {
            if is_open(parts[index].run.number, &mut parts[index].journal)? {
                still.push(index);
            }
        }
        open = still;
        for (sum, seconds) in sums.iter_mut().zip(seconds) {
            sum.add(Delta { seconds: seconds.into_iter().collect(), ..Delta::default() });
        }
    }
    Ok((parts, sums))
}

/// Rejects journals that are not parts of one load.
fn check(parts: &[Part]) -> Result<(), MergeError> {
    let Some((first, rest)) = parts.split_first() else { return Err(MergeError::None) };
    for (index, part) in rest.iter().enumerate() {
        let (one, other) = (&part.journal.replay.summary, &first.journal.replay.summary);
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
                && part.journal.replay.scenarios.len() == first.journal.replay.scenarios.len();
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

fn join(parts: Vec<Part>, recordings: Vec<Recording>, until: &[Option<u64>]) -> Summary {
    let of = parts[0].run.of;
    let runs: Vec<RunPart> = parts.iter().map(|part| part.run.clone()).collect();
    let started_at = runs.iter().map(|run| run.started_at).min().unwrap_or_default();
    let mut summary = Summary { started_at, ..parts[0].journal.replay.summary.clone() };
    let mut numbers = Vec::new();
    let mut columns: Vec<Column> = recordings.into_iter().map(Column::new).collect();
    for part in parts {
        let mut replay = part.journal.replay;
        numbers.push(part.run.number);
        // From the start of the first part, as far as their clocks agree.
        let offset = part.run.started_at.duration_since(started_at).as_secs_f64();
        summary.duration_s = summary.duration_s.max(offset + replay.at_s());
        replay.summary.scenarios.iter_mut().for_each(|s| s.started_at_s += offset);
        let scenarios = replay.summary.scenarios.into_iter().zip(replay.scenarios);
        columns.iter_mut().zip(scenarios).for_each(|(column, one)| column.parts.push(one));
    }
    let scenarios = columns.into_par_iter().zip(until.par_iter());
    summary.scenarios =
        scenarios.map(|(column, until)| scenario(&numbers, of, column, *until)).collect();
    summary.interrupted = summary.scenarios.iter().any(|s| s.end.unfinished().is_some());
    summary.parts = runs;
    threshold::conclude(&mut summary);
    summary
}

/// One scenario in all parts.
struct Column {
    /// Never empty.
    parts: Vec<(ScenarioSummary, Replayed)>,
    recording: Recording,
}

impl Column {
    fn new(recording: Recording) -> Column {
        Column { parts: Vec::new(), recording }
    }
}

fn scenario(numbers: &[u64], of: u64, column: Column, until: Option<u64>) -> ScenarioSummary {
    let (empty, outline) = (column.parts[0].0.clone(), column.parts[0].1.outline.clone());
    let account = |(&number, (summary, part)): (&u64, (ScenarioSummary, Replayed))| {
        let load = match part.began {
            true => Ok(load(summary, part)),
            false => Err(summary.end),
        };
        Account { number, load }
    };
    let accounts = numbers.iter().zip(column.parts).map(account).collect();
    let kept = until.map_or(Kept::All, Kept::Until);
    conclude(empty, &outline, of, accounts, column.recording, kept)
}

/// The load of a part.
fn load(summary: ScenarioSummary, part: Replayed) -> LoadAccount {
    LoadAccount {
        target: summary.target,
        started_at_s: summary.started_at_s,
        workers: part.until.workers(),
        complete: part.until.all().as_secs(),
        lost: part.is_lost(),
        ending: part.ending.clone().unwrap_or_else(|| part.lost()),
        sent: part.sent,
        lag: part.lag,
        reasons: part.reasons,
        examined: part.examined,
        clock: part.clock,
    }
}
