//! The journal of a run: measurements written to disk every second, so that a killed run can still be reported.
//!
//! Each line is a JSON object. The first says what runs, the others what happened: a scenario began, something was
//! measured, it ended. Tallies add up, so a journal that breaks off in the middle of a line is the complete journal
//! of a shorter run.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::clocks::Clock;
use super::counted::{Counted, PartEnd, Sends};
use super::examined::Examined;
use super::seconds;
use super::summarize::{Ending, Measured, Outline, never_ran, summarize};
use super::until::{Gap, Until};
use crate::record::reason::Reason;
use crate::record::saved::{ReadError, ReadProblem};
use crate::record::summary::{ScenarioSummary, Summary, TargetSummary};
use crate::record::tally::Tally;
use crate::record::{Delta, Histogram, Noted, Recording};
use crate::server::Reading;
use crate::threshold;
use crate::units::Secrets;

/// How the first line begins.
const HEAD: &[u8] = br#"{"journal":"#;

/// The format this version writes.
pub(crate) const FORMAT: &str = "flowbench.journal/2";

/// The previous format, with one line per worker and other histograms.
const OLDER: &str = "flowbench.journal/1";

/// Capacity of the queue of lines to the disk: enough for minutes of a run of several scenarios. If the disk hangs
/// for longer, the journal is lost, not the run.
const LINES_WAITING: usize = 4096;

/// A journal being written, on its own thread: no request waits for a disk.
#[derive(Debug)]
pub(crate) struct Journal {
    writer: JoinHandle<io::Result<()>>,
    behind: Arc<AtomicBool>,
}

/// Where a run sends its journal entries.
#[derive(Debug)]
pub(crate) struct Notes {
    /// `None` once nothing more can be written. Locked only by the tasks of the scenarios, which never block while
    /// they hold it; sending threads never lock it.
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    behind: Arc<AtomicBool>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    journal: String,
    /// With scenarios as if they had never run.
    summary: Summary,
    outlines: Vec<Outline>,
}

/// A line after the first. Scenarios are given by index.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The load of a scenario begins.
    Began {
        scenario: usize,
        target: TargetSummary,
        started_at_s: f64,
        /// The same by the machine's clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        workers: usize,
        /// How long the load is to last, if it is limited by time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<Duration>,
        /// How long after the time that was set it began, if one was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late: Option<Duration>,
    },
    /// What was measured since the previous report.
    Measured(Box<Told>),
    /// The load of a scenario is over; everything was reported before.
    Finished {
        scenario: usize,
        ending: Box<Ending>,
        /// Why the figures of this part of a load are not valid.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasons: Vec<Reason>,
        /// In how many lines it was told; older journals do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u64>,
    },
    /// A scenario is over, and this came of it.
    Ended {
        scenario: usize,
        summary: Box<ScenarioSummary>,
        /// Whether somebody had interrupted the run by then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupted: bool,
    },
    /// Part 1 of several that are connected: this counts of all of them, and not all that was measured.
    Counted { scenario: usize, counted: Counted },
}

/// What workers measured since the previous report, and what examining responses found until then.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    scenario: usize,
    /// From the start of the run.
    at_s: f64,
    /// The how-manieth line of the scenario it is, from 1; older journals do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// Which worker measured it, unless it covers all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<usize>,
    /// The time up to which they have reported everything, from the start of measurement; `None`: until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Duration>,
    /// By second from the start of measurement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seconds: Vec<(u64, Tally)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warmup: Option<Tally>,
    /// By second, counted backwards from the end of the warmup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warmup_seconds: Vec<(u64, Histogram)>,
    /// When the very first request was answered, from the start of the load, and how long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_request: Option<(Duration, Duration)>,
    /// From the start of measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_done: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    examined: Option<Examined>,
    /// New entries in the sample of requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    samples: Vec<Noted>,
    /// Metrics the Flow reported about itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    server: Vec<Reading>,
}

impl Journal {
    /// Writes to a file or other sink until the notes are dropped.
    ///
    /// # Errors
    /// If no thread can be started for it.
    pub(crate) fn new(mut file: impl Write + Send + 'static) -> io::Result<(Journal, Notes)> {
        let (lines, waiting) = mpsc::sync_channel::<Vec<u8>>(LINES_WAITING);
        let writer = std::thread::Builder::new().name("journal".into()).spawn(move || {
            // Line by line, so that what was sent has reached the system if we are killed.
            waiting.into_iter().try_for_each(|line| file.write_all(&line))
        })?;
        let behind = Arc::default();
        let notes = Notes { lines: Mutex::new(Some(lines)), behind: Arc::clone(&behind) };
        Ok((Journal { writer, behind }, notes))
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// If something could not be written.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.writer.join() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) if self.behind.load(Ordering::Relaxed) => {
                Err(io::Error::other("the disk did not keep up"))
            }
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(io::Error::other("the thread that writes it ended in the middle")),
        }
    }
}

impl Notes {
    pub(super) fn begin(&self, summary: &Summary, outlines: &[Outline], secrets: &Secrets) {
        let (summary, outlines) = (summary.clone(), outlines.to_vec());
        self.send(line(&Head { journal: FORMAT.into(), summary, outlines }, secrets));
    }

    /// Queues a line to be written.
    pub(super) fn send(&self, line: Vec<u8>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = lines.as_ref() else { return };
        if let Err(error) = channel.try_send(line) {
            if let TrySendError::Full(_) = error {
                self.behind.store(true, Ordering::Relaxed);
            }
            // Lines after a gap would describe a run that never happened.
            *lines = None;
        }
    }
}

/// A line as it is written, with secrets masked.
fn line(line: &impl Serialize, secrets: &Secrets) -> Vec<u8> {
    let text = serde_json::to_vec(line).expect("it is plain data with text for keys");
    let mut text = secrets.mask_line(text);
    text.push(b'\n');
    text
}

/// What a line adds to a recording.
pub(super) struct Heard {
    /// `told`: up to when they have told everything.
    pub(super) delta: Delta,
    /// Results of examining responses so far, if they have changed.
    pub(super) examined: Option<Examined>,
}

impl Told {
    /// From what one worker or all workers measured in a scenario whose load began at `began` and whose measurement
    /// began at `measured_from`.
    pub(super) fn new(
        (scenario, at_s, number): (usize, f64, u64),
        worker: Option<usize>,
        delta: Delta,
        (began, measured_from): (Instant, Instant),
        examined: Option<Examined>,
        server: Vec<Reading>,
    ) -> Told {
        let first = delta.first_request;
        Told {
            scenario,
            at_s,
            number: Some(number),
            worker,
            until: Some(delta.told).filter(|told| told.as_secs() < u64::MAX),
            seconds: delta.seconds,
            warmup: Some(delta.warmup).filter(|warmup| *warmup != Tally::default()),
            warmup_seconds: delta.warmup_seconds,
            first_request: first.map(|(at, took)| (at.saturating_duration_since(began), took)),
            last_done: delta.last_done.map(|at| at.saturating_duration_since(measured_from)),
            examined,
            samples: delta.noted.1,
            server,
        }
    }

    /// What it adds to a recording that has this many seconds, and the results of examining responses so far.
    /// Instants count from `start`.
    ///
    /// # Errors
    /// If it contains a second that is too far off, since each second takes memory.
    pub(super) fn heard(
        self,
        start: Instant,
        measured_from_s: f64,
        seconds: u64,
        until: &mut Until,
    ) -> Result<Heard, EntryError> {
        /// Two years: no journal is longer.
        const SECONDS_MAX: u64 = 63_072_000;
        /// No run pauses for longer and then continues.
        const GAP_MAX: u64 = 3600;
        let end = SECONDS_MAX.min(seconds + GAP_MAX);
        if let Some((second, _)) = self.seconds.iter().find(|(second, _)| *second > end) {
            return Err(EntryError::TooFarOff(*second));
        }
        until.line(self.number)?;
        // A worker that is done reports no more, but had reported everything until now.
        let told = self.until.unwrap_or_else(|| {
            let until = self.at_s - measured_from_s;
            Duration::try_from_secs_f64(until.max(0.0)).unwrap_or_default()
        });
        until.hear(self.worker, told);
        let delta = Delta {
            worker: self.worker.unwrap_or_default(),
            told,
            seconds: self.seconds,
            warmup: self.warmup.unwrap_or_default(),
            warmup_seconds: self.warmup_seconds,
            first_request: self.first_request.map(|(at, took)| (start + at, took)),
            last_done: self.last_done.map(|at| start + at),
            stopped: None,
            sample: Default::default(),
            noted: (0, self.samples),
        };
        Ok(Heard { delta, examined: self.examined })
    }
}

/// Whether a file is a journal, judged by its first bytes.
pub(crate) fn is_journal(path: &Path) -> bool {
    let mut start = [0; HEAD.len()];
    let read = File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && start == HEAD
}

/// The result of the run in a journal, marked as interrupted where the journal ends.
///
/// # Errors
/// If it cannot be read, is not a journal, or is from a newer flowbench. A last line without a newline is ignored:
/// this is how the journal of a killed run ends.
pub fn read(path: &Path) -> Result<Summary, ReadError> {
    let mut reader = Reader::open(path, Strangers::Refused, Instant::now())?;
    let mut recordings = vec![Recording::default(); reader.replay.scenarios.len()];
    while let Some(heard) = reader.next()? {
        if let Some((scenario, delta)) = heard {
            recordings[scenario].add(delta);
        }
    }
    let cut = reader.cut();
    Ok(reader.replay.finish(recordings, cut))
}

/// How to treat lines that are not part of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strangers {
    /// They make the file invalid.
    Refused,
    /// They are skipped: the journal was printed, and others print too.
    Skipped,
}

/// A journal that is read line by line.
pub(super) struct Reader {
    path: PathBuf,
    lines: Lines,
    pub(super) replay: Replay,
}

impl Reader {
    /// Reads the first line. Instants will count from `start`.
    pub(super) fn open(
        path: &Path,
        strangers: Strangers,
        start: Instant,
    ) -> Result<Reader, ReadError> {
        let problem = |problem| ReadError { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|error| problem(error.into()))?;
        let input = BufReader::with_capacity(READ_AT_ONCE, file);
        let last = Default::default();
        let mut lines = Lines { input, number: 0, last, line: Vec::new(), cut: false, strangers };
        let head = lines.next_line().and_then(|more| match more {
            true => head(&lines.line),
            false => Err(ReadProblem::Foreign("it has no complete line".into())),
        });
        let replay = Replay::new(head.map_err(problem)?, start);
        Ok(Reader { path: path.to_owned(), lines, replay })
    }

    /// Reads the next line: returns what it adds to the recording of a scenario, if anything; or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Option<(usize, Delta)>>, ReadError> {
        let lines = &mut self.lines;
        let taken = lines.next_line().and_then(|more| {
            if !more {
                return Ok(None);
            }
            let told = match lines.line.starts_with(HEAD) {
                true => Err(EntryError::Another),
                false => serde_json::from_slice(&lines.line).map_err(EntryError::from),
            };
            told.and_then(|entry| self.replay.take(entry)).map(Some).map_err(|error| {
                let (field, why) = (format!("line {}", lines.number), error.to_string());
                ReadProblem::Field { field, why }
            })
        });
        taken.map_err(|problem| ReadError { path: self.path.clone(), problem })
    }

    /// The number of the truncated last line, if any.
    fn cut(&self) -> Option<usize> {
        self.lines.cut.then_some(self.lines.number)
    }
}

struct Lines {
    input: BufReader<File>,
    number: usize,
    line: Vec<u8>,
    /// The previous line.
    last: Vec<u8>,
    /// Whether it ends within a line.
    cut: bool,
    strangers: Strangers,
}

/// Per journal: many are read at the same time.
const READ_AT_ONCE: usize = 64 << 10;

/// A line: what all workers of a scenario measured in a second.
const LINE_BYTES_MAX: u64 = 64 << 20;

impl Lines {
    /// Reads the next complete line; returns whether there was one.
    fn next_line(&mut self) -> Result<bool, ReadProblem> {
        loop {
            let more = self.any_line()?;
            let ours = !more || self.line.first() == Some(&b'{');
            if ours || self.strangers == Strangers::Refused {
                return Ok(more);
            }
        }
    }

    fn any_line(&mut self) -> Result<bool, ReadProblem> {
        std::mem::swap(&mut self.line, &mut self.last);
        self.line.clear();
        self.input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut self.line)?;
        self.number += 1;
        let field = || format!("line {}", self.number);
        if self.line.len() as u64 > LINE_BYTES_MAX {
            let why = "is longer than any line of a journal".into();
            return Err(ReadProblem::Field { field: field(), why });
        }
        if self.line.last() != Some(&b'\n') {
            self.cut = !self.line.is_empty();
            return Ok(false);
        }
        self.line.pop();
        // No two lines are equal, since each has its time. A file assembled from pieces would count what they share
        // twice.
        if !self.line.is_empty() && self.line == self.last {
            return Err(ReadProblem::Field {
                field: field(),
                why: "repeats the line before it".into(),
            });
        }
        Ok(true)
    }
}

fn head(line: &[u8]) -> Result<Head, ReadProblem> {
    #[derive(Deserialize)]
    struct Format {
        journal: String,
    }
    let foreign = |why: String| ReadProblem::Foreign(why);
    let format: Format = serde_json::from_slice(line)
        .map_err(|_| foreign("its first line is not that of a journal".into()))?;
    if ![FORMAT, OLDER].contains(&&*format.journal) {
        return Err(foreign(format!("`journal` is `{}`, not `{FORMAT}`", format.journal)));
    }
    let head: Head = serde_json::from_slice(line)
        .map_err(|error| ReadProblem::Field { field: "line 1".into(), why: error.to_string() })?;
    if head.outlines.len() != head.summary.scenarios.len() {
        return Err(foreign("its first line does not describe every scenario".into()));
    }
    Ok(head)
}

/// Why a line is not a valid journal entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("there is no scenario {index}, only {count}")]
    NoScenario { index: usize, count: usize },
    #[error("second {0} is too far off")]
    TooFarOff(u64),
    #[error(transparent)]
    Gap(#[from] Gap),
    #[error("it tells of a load whose beginning is missing")]
    NotBegun,
    #[error("it tells what came of a load whose end is missing")]
    NotFinished,
    #[error(
        "what came of it is {said} {what}, and the lines before add up to {found}: some are missing or damaged"
    )]
    Account { what: &'static str, said: u64, found: u64 },
    #[error("another journal begins here; each part has to have a file of its own")]
    Another,
}

/// A run replayed from its journal, except for what is added up.
pub(super) struct Replay {
    pub(super) summary: Summary,
    pub(super) scenarios: Vec<Replayed>,
    /// From any clock: only differences matter.
    start: Instant,
    at_s: f64,
    /// When its first load began.
    began_s: Option<f64>,
    /// Whether somebody interrupted it.
    pub(super) interrupted: bool,
}

pub(super) struct Replayed {
    pub(super) outline: Outline,
    pub(super) began: bool,
    ended: bool,
    /// How its load ended, if it ran to its end.
    pub(super) ending: Option<Ending>,
    /// Why its own figures are not valid.
    pub(super) reasons: Vec<Reason>,
    length: Option<Duration>,
    /// From the start of the run.
    measured_from_s: f64,
    pub(super) until: Until,
    /// How many seconds it has reported.
    seconds: u64,
    /// Arrivals and requests in all of them.
    account: (u64, u64),
    /// What was sent in those that count.
    pub(super) sends: Sends,
    pub(super) examined: Examined,
    /// Metrics the Flow reported about itself.
    server: crate::server::Replay,
    pub(super) clock: Clock,
    /// How long after the time that was set it began, if one was.
    pub(super) late: Option<Duration>,
    /// What part 1 of several that are connected says that counts.
    pub(super) counted: Option<Counted>,
    /// Measurements from this second on are dropped.
    pub(super) limit: Option<u64>,
    /// How many seconds after the first part it began.
    pub(super) later: u64,
}

/// Most sending threads that a journal may name.
pub(super) const WORKERS_MAX: usize = 4096;

impl Replay {
    fn new(head: Head, start: Instant) -> Replay {
        let scenario = |outline| Replayed {
            outline,
            began: false,
            ended: false,
            ending: None,
            reasons: Vec::new(),
            length: None,
            measured_from_s: 0.0,
            until: Until::default(),
            seconds: 0,
            account: (0, 0),
            sends: Sends::default(),
            examined: Examined::default(),
            server: Default::default(),
            clock: Clock::default(),
            late: None,
            counted: None,
            limit: None,
            later: 0,
        };
        Replay {
            summary: head.summary,
            scenarios: head.outlines.into_iter().map(scenario).collect(),
            start,
            at_s: 0.0,
            began_s: None,
            interrupted: false,
        }
    }

    /// How long the run lasted, in seconds.
    pub(super) fn at_s(&self) -> f64 {
        self.at_s
    }

    /// The same, from the start of its first load.
    pub(super) fn load_s(&self) -> f64 {
        self.at_s - self.began_s.unwrap_or(self.at_s)
    }

    /// Applies an entry: returns what it adds to the recording of a scenario.
    fn take(&mut self, entry: Entry) -> Result<Option<(usize, Delta)>, EntryError> {
        let index = entry.scenario();
        let count = self.scenarios.len();
        let (Some(replayed), Some(summary)) =
            (self.scenarios.get_mut(index), self.summary.scenarios.get_mut(index))
        else {
            return Err(EntryError::NoScenario { index, count });
        };
        match entry {
            Entry::Began { target, started_at_s, at, workers, length, late, .. } => {
                replayed.late = late;
                replayed.clock = Clock::begun(at, replayed.outline.warmup);
                summary.target = target;
                summary.started_at_s = started_at_s;
                // An absurd number in a line must not exhaust memory.
                replayed.until = Until::of(workers.min(WORKERS_MAX));
                replayed.length = length;
                replayed.measured_from_s = started_at_s + seconds(replayed.outline.warmup);
                replayed.began = true;
                self.began_s.get_or_insert(started_at_s);
            }
            Entry::Measured(told) => {
                self.at_s = self.at_s.max(told.at_s);
                return replayed.take(*told, self.start).map(|delta| Some((index, delta)));
            }
            Entry::Finished { ending, reasons, lines, .. } => {
                if !replayed.began {
                    return Err(EntryError::NotBegun);
                }
                replayed.until.end(lines)?;
                (replayed.ending, replayed.reasons) = (Some(*ending), reasons);
            }
            Entry::Counted { counted, .. } => replayed.counted = Some(counted),
            Entry::Ended { summary: ended, interrupted, .. } => {
                replayed.agrees_with(&ended)?;
                self.interrupted |= interrupted;
                self.at_s = self.at_s.max(ended.started_at_s + ended.duration_s);
                *summary = *ended;
                replayed.ended = true;
            }
        }
        Ok(None)
    }

    /// `recordings`: what was measured in each scenario. `cut`: the number of the truncated last line.
    fn finish(mut self, recordings: Vec<Recording>, cut: Option<usize>) -> Summary {
        let replayed = self.scenarios.into_iter().zip(recordings);
        let scenarios = self.summary.scenarios.iter_mut().zip(replayed);
        let of_part = self.summary.part.is_some();
        for (summary, (mut replayed, recording)) in scenarios.filter(|(_, (one, _))| !one.ended) {
            self.summary.interrupted = true;
            if of_part {
                replayed.outline.of_part();
            }
            if replayed.began {
                *summary = replayed.finish(recording, summary.clone());
                if let Some(line) = cut {
                    let message = summary.end.message.get_or_insert_default();
                    let separator = if message.is_empty() { "" } else { "; " };
                    let words = "of its journal is cut off, and what it said is not known";
                    message.push_str(&format!("{separator}line {line} {words}"));
                }
            } else {
                let message = summary.end.message.clone().unwrap_or_default();
                never_ran(summary, message, &replayed.outline);
            }
        }
        self.summary.duration_s = self.at_s;
        threshold::conclude(&mut self.summary);
        self.summary
    }
}

impl Replayed {
    fn take(&mut self, mut told: Told, start: Instant) -> Result<Delta, EntryError> {
        if !self.began {
            return Err(EntryError::NotBegun);
        }
        for reading in std::mem::take(&mut told.server) {
            if self.limit.is_none_or(|limit| reading.at_s < limit as f64) {
                self.server.add(reading);
            }
        }
        let Heard { mut delta, examined } =
            told.heard(start, self.measured_from_s, self.seconds, &mut self.until)?;
        self.clock.learn(&mut delta);
        for (_, tally) in &delta.seconds {
            self.account.0 += tally.offered;
            self.account.1 += tally.sent;
        }
        delta.lay_later(self.later);
        delta.seconds.retain(|(second, _)| self.limit.is_none_or(|limit| *second < limit));
        for (second, tally) in &delta.seconds {
            self.seconds = self.seconds.max(second + 1);
            self.sends.add(tally);
        }
        if let Some(examined) = examined {
            self.examined = examined;
        }
        Ok(delta)
    }

    /// Whether what is said to have come of it is what its lines add up to.
    fn agrees_with(&self, summary: &ScenarioSummary) -> Result<(), EntryError> {
        let (arrivals, sent) = self.account;
        if self.began && self.ending.is_none() {
            return Err(EntryError::NotFinished);
        }
        let requests = &summary.requests;
        for (what, said, found) in
            [("arrivals", requests.arrivals, arrivals), ("requests", requests.sent, sent)]
        {
            if said != found {
                return Err(EntryError::Account { what, said, found });
            }
        }
        Ok(())
    }

    /// How its load ended, if it began.
    pub(super) fn end(&self) -> PartEnd {
        match &self.ending {
            None if self.began => PartEnd::Lost(self.until.all().as_secs()),
            Some(ending) if ending.is_cut_short() => {
                PartEnd::CutShort(ending.window.length.as_secs())
            }
            _ => PartEnd::Whole,
        }
    }

    fn finish(self, mut recording: Recording, empty: ScenarioSummary) -> ScenarioSummary {
        recording.give_up();
        // It was told ahead of the second that was not over.
        let until = self.until.all();
        recording.settle_sample(|_| Some(until));
        let ending = self.lost();
        let measured = Measured { examined: self.examined, recording, ending };
        summarize(empty, &self.outline, measured)
    }

    /// How a load ended whose process died in the middle.
    pub(super) fn lost(&self) -> Ending {
        let observed = self.until.observed();
        let length = self.length.map_or(observed, |length| length.min(observed));
        let server = self.server.summary();
        Ending { server, ..Ending::lost(&self.outline, self.until.workers(), length) }
    }
}

impl Entry {
    /// The scenario it belongs to.
    pub(super) fn scenario(&self) -> usize {
        match self {
            Entry::Began { scenario, .. }
            | Entry::Finished { scenario, .. }
            | Entry::Counted { scenario, .. }
            | Entry::Ended { scenario, .. } => *scenario,
            Entry::Measured(told) => told.scenario,
        }
    }

    /// Its line, including the newline.
    pub(super) fn line(&self, secrets: &Secrets) -> Vec<u8> {
        line(self, secrets)
    }

    pub(super) fn began(
        scenario: usize,
        target: &TargetSummary,
        (began, at, late): (Duration, Option<Timestamp>, Option<Duration>),
        workers: usize,
        length: Option<Duration>,
    ) -> Entry {
        let (target, started_at_s) = (target.clone(), seconds(began));
        Entry::Began { scenario, target, started_at_s, at, workers, length, late }
    }
}
