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
use serde_json::Value;
use tokio::time::Instant;

use super::clocks;
use super::counted::Counted;
use super::journal::{Reader, Replayed, Strangers};
use super::parts::{Account, LoadAccount, conclude};
use crate::plan::without_folders;
use crate::record::saved::{self, ReadError};
use crate::record::summary::{EndReason, RunPart, ScenarioSummary, Summary};
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
    #[error("{}: not a part of a load, but a whole load", path.display())]
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
    /// Two parts carried out different suites.
    #[error(
        "{}: `{place}` of its suite is {found}, but that of {} is {expected}\n  = help: compare the files by `flowbench check \
         --resolved`", path.display(), other.display()
    )]
    OtherSuite {
        /// The journal of one.
        path: PathBuf,
        /// The journal of the other.
        other: PathBuf,
        /// Where they differ first.
        place: String,
        /// What one has.
        found: String,
        /// What the other has.
        expected: String,
    },
    /// The same part twice.
    #[error(
        "part {part} is there twice: {} of a run at {}, and {} of one at {}\n  = help: name the journals of one run, or give \
         each run a folder of its own", path.display(), at.strftime("%H:%M:%S"), other.display(),
        other_at.strftime("%H:%M:%S")
    )]
    Twice {
        /// The part's number, from 1.
        part: u64,
        /// One of its journals.
        path: PathBuf,
        /// When its run began.
        at: Timestamp,
        /// Its other journal.
        other: PathBuf,
        /// When that one's run began.
        other_at: Timestamp,
    },
    /// A part that cannot be.
    #[error("{}: it is part {part} of {of}, expected one from 1 to {of}", path.display())]
    NoSuchPart {
        /// Its journal.
        path: PathBuf,
        /// Which it says it is.
        part: u64,
        /// How many there are.
        of: u64,
    },
    /// A result, and no journal.
    #[error(
        "{}: it is {what}, and not the journal of a part\n  = help: `flowbench report` renders results; part 1 of connected \
         parts has its own journal in its folder", path.display()
    )]
    Result {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        what: &'static str,
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
    let counted: Vec<Counted> = (0..scenarios)
        .map(|index| {
            let of_part =
                |part: &Part| (part.run.number, part.journal.replay.scenarios[index].end());
            let mut decided =
                parts.iter().map(|part| &part.journal.replay.scenarios[index].counted);
            let decided = decided.find_map(Option::as_ref);
            Counted::of(decided, parts.iter().map(of_part))
        })
        .collect();
    let later: Vec<BTreeMap<u64, u64>> = (0..scenarios)
        .map(|index| {
            let clock = |part: &Part| (part.run.number, part.journal.replay.scenarios[index].clock);
            clocks::seconds_later(parts.iter().map(clock))
        })
        .collect();
    if counted.iter().any(|counted| !counted.is_all())
        || later.iter().any(|later| !later.is_empty())
    {
        let mut again = open(paths, start)?;
        for part in &mut again {
            for (index, scenario) in part.journal.replay.scenarios.iter_mut().enumerate() {
                scenario.limit = counted[index].limit(part.run.number);
                scenario.later = later[index].get(&part.run.number).copied().unwrap_or(0);
            }
        }
        (parts, recordings) = read(again)?;
    }
    parts.sort_by_key(|part| part.run.number);
    Ok(join(parts, recordings, &counted))
}

/// Reads the first lines.
fn open(paths: &[PathBuf], start: Instant) -> Result<Vec<Part>, MergeError> {
    paths.par_iter().map(|path| open_one(path, start)).collect()
}

fn open_one(path: &Path, start: Instant) -> Result<Part, MergeError> {
    let opened = Reader::open(path, Strangers::Skipped, start);
    let mut journal = opened.map_err(|error| match saved::read(path) {
        Ok(result) => {
            let what = match result.parts.is_empty() {
                true => "a result",
                false => "the result of all parts",
            };
            MergeError::Result { path: path.to_owned(), what }
        }
        Err(_) => error.into(),
    })?;
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
    for part in rest {
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
        let (path, other_path) = (part.path.clone(), first.path.clone());
        if let Some((what, found, expected)) = differing {
            return Err(MergeError::Different { path, other: other_path, what, found, expected });
        }
        let bare = |summary: &Summary| {
            let mut resolved = summary.resolved.clone().unwrap_or_default();
            without_folders(&mut resolved);
            resolved
        };
        let (one, other) = (bare(one), bare(other));
        if let Some((place, found, expected)) = difference(&one, &other) {
            let (place, other) = (place.trim_start_matches('.').to_owned(), other_path);
            return Err(MergeError::OtherSuite { path, other, place, found, expected });
        }
        let counts = [part, first].map(|part| part.journal.replay.scenarios.len().to_string());
        if let [found, expected] = counts
            && found != expected
        {
            let what = "the number of scenarios";
            return Err(MergeError::Different { path, other: other_path, what, found, expected });
        }
    }
    for (index, part) in parts.iter().enumerate() {
        let RunPart { number, of, .. } = part.run;
        if !(1..=of).contains(&number) {
            return Err(MergeError::NoSuchPart { path: part.path.clone(), part: number, of });
        }
        if let Some(same) = parts[..index].iter().find(|other| other.run.number == number) {
            return Err(MergeError::Twice {
                part: number,
                path: same.path.clone(),
                at: same.run.started_at,
                other: part.path.clone(),
                other_at: part.run.started_at,
            });
        }
    }
    Ok(())
}

/// Where two values differ first, and what each has there.
fn difference(one: &Value, other: &Value) -> Option<(String, String, String)> {
    const SHOWN_MAX: usize = 200;
    let below = |place: String, found: Option<&Value>, expected: Option<&Value>| {
        let shown = |value: Option<&Value>| match value {
            None => "missing".to_owned(),
            Some(value) => {
                let text: String = value.to_string().chars().take(SHOWN_MAX).collect();
                format!("`{text}`")
            }
        };
        match (found, expected) {
            (Some(found), Some(expected)) => {
                let (deeper, found, expected) = difference(found, expected)?;
                Some((format!("{place}{deeper}"), found, expected))
            }
            (found, expected) => Some((place, shown(found), shown(expected))),
        }
    };
    match (one, other) {
        _ if one == other => None,
        (Value::Object(one), Value::Object(other)) => {
            let mut keys = one.keys().chain(other.keys());
            keys.find_map(|key| below(format!(".{key}"), one.get(key), other.get(key)))
        }
        (Value::Array(one), Value::Array(other)) => {
            let most = one.len().max(other.len());
            (0..most).find_map(|at| below(format!("[{at}]"), one.get(at), other.get(at)))
        }
        (one, other) => Some((String::new(), format!("`{one}`"), format!("`{other}`"))),
    }
}

fn version(summary: &Summary) -> String {
    summary.environment.flowbench.clone()
}

fn join(parts: Vec<Part>, recordings: Vec<Recording>, counted: &[Counted]) -> Summary {
    let of = parts[0].run.of;
    let runs: Vec<RunPart> = parts.iter().map(|part| part.run.clone()).collect();
    let started_at = runs.iter().map(|run| run.started_at).min().unwrap_or_default();
    let mut summary = Summary { started_at, ..parts[0].journal.replay.summary.clone() };
    let (mut numbers, mut interrupted, mut of_lost_s) = (Vec::new(), false, 0.0_f64);
    let mut columns: Vec<Column> = recordings.into_iter().map(Column::new).collect();
    for part in parts {
        let mut replay = part.journal.replay;
        numbers.push(part.run.number);
        interrupted |= replay.interrupted;
        // From the start of the first part, as far as their clocks agree. Those that were connected began together,
        // and nothing is the difference of two clocks.
        let offset = match part.run.connected {
            true => 0.0,
            false => part.run.started_at.duration_since(started_at).as_secs_f64(),
        };
        // One that was lost may have gone on, and nobody counts what it did then.
        let lost = counted.iter().any(|counted| counted.loss(part.run.number).is_some());
        let took = if lost { &mut of_lost_s } else { &mut summary.duration_s };
        *took = took.max(offset + replay.at_s());
        replay.summary.scenarios.iter_mut().for_each(|s| s.started_at_s += offset);
        let scenarios = replay.summary.scenarios.into_iter().zip(replay.scenarios);
        columns.iter_mut().zip(scenarios).for_each(|(column, one)| column.parts.push(one));
    }
    let scenarios = columns.into_par_iter().zip(counted.par_iter());
    summary.scenarios =
        scenarios.map(|(column, counted)| scenario(&numbers, of, column, counted)).collect();
    summary.interrupted = summary.scenarios.iter().any(|scenario| {
        // What somebody interrupted before it began says so nowhere else.
        scenario.end.reason == EndReason::Interrupted
            || interrupted && scenario.end.unfinished().is_some()
    });
    if numbers.iter().all(|number| counted.iter().any(|counted| counted.loss(*number).is_some())) {
        summary.duration_s = of_lost_s;
    }
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

fn scenario(numbers: &[u64], of: u64, column: Column, counted: &Counted) -> ScenarioSummary {
    let (empty, outline) = (column.parts[0].0.clone(), column.parts[0].1.outline.clone());
    let account = |(&number, (summary, part)): (&u64, (ScenarioSummary, Replayed))| {
        let load = match part.began {
            true => Ok(load(summary, part, counted.loss(number).is_some())),
            false => Err(summary.end),
        };
        Account { number, load }
    };
    let accounts = numbers.iter().zip(column.parts).map(account).collect();
    conclude(empty, &outline, of, accounts, column.recording, counted)
}

/// The load of a part. Of one that was lost, nothing else counts than what it told before.
fn load(summary: ScenarioSummary, part: Replayed, lost: bool) -> LoadAccount {
    let ending = part.ending.clone().filter(|_| !lost);
    LoadAccount {
        target: summary.target,
        started_at_s: summary.started_at_s,
        workers: part.until.workers(),
        ending: ending.unwrap_or_else(|| part.lost()),
        sends: part.sends,
        later: part.later,
        late: part.late,
        reasons: if lost { Vec::new() } else { part.reasons },
        examined: part.examined,
        clock: part.clock,
    }
}
