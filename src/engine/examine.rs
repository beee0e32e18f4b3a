//! Examines answers: assertions and callbacks.
//!
//! Each scenario has a separate thread for this, so that decoding Documents and evaluating
//! expressions delay no request, and callbacks run one after another in the order of the responses.
//! Bodies are decoded once, and only when something reads them.

use std::collections::HashMap;
use std::fs::{File, FileType};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::StepAnswer;
use super::exchange::{Told, exchange};
use super::make::Spoken;
use super::order::InOrder;
use crate::assertion::{Assertion, Exchange, Reads};
use crate::client::Body;
use crate::error::chain;
use crate::plan::{Action, Callbacks, Step};
use crate::random::Key;
use crate::template::TemplateError;
use crate::units::{Part, Secrets};
use crate::wire::{DataRequest, Document};

/// The counts of assertions and callbacks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Examined {
    /// In the order of the file.
    pub assertions: Vec<AssertionCount>,
    /// Callbacks after a success.
    pub on_done: CallbackCount,
    /// Callbacks after a failure.
    pub on_error: CallbackCount,
    /// Callbacks after either.
    pub on_always: CallbackCount,
    /// Totals of `count` actions; 0 if none was due.
    pub counters: IndexMap<String, u64>,
    /// An `abort` action ended the scenario.
    pub aborted: bool,
}

/// How often an assertion passed and failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct AssertionCount {
    /// Its name.
    pub name: String,
    /// Responses on which it passed.
    pub passed: u64,
    /// Responses on which it failed.
    pub failed: u64,
    /// The first failure.
    pub example: Option<String>,
}

/// How often a callback was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallbackCount {
    /// Number of calls.
    pub fired: u64,
    /// How often one of its actions failed.
    pub failed: u64,
    /// The first failure.
    pub example: Option<String>,
}

impl Examined {
    /// Failures of all assertions, summed over all responses.
    pub(crate) fn assertion_failures(&self) -> u64 {
        self.assertions.iter().map(|assertion| assertion.failed).sum()
    }
}

/// Where `print`, `log` and `beep` write.
pub(crate) type Output = Arc<Mutex<dyn Write + Send>>;

/// Files that `save` actions write. Scenarios that name the same file share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saves {
    secrets: Secrets,
    /// Each part of a load saves into separate files.
    part: Part,
    files: HashMap<PathBuf, Arc<Mutex<File>>>,
}

/// The file of a part: `found.part-2-of-4.jsonl` for `found.jsonl`.
fn of_part(path: &Path, part: Part) -> PathBuf {
    if part.is_whole() {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{}", part.name()));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The text of an example is truncated to this: enough to see what is wrong, short enough for a
/// report.
const EXAMPLE_CHARS_MAX: usize = 500;

/// Limit of answers waiting to be examined. Beyond it requests keep their slots, so memory is
/// bounded.
pub(crate) const WAITING_MAX: usize = 1024;

/// What is examined in the answers to one step.
struct Looked {
    told: Told,
    assertions: Vec<Assertion>,
    /// The index from which its assertions are counted.
    counts_from: usize,
    callbacks: Callbacks,
    reads: Reads,
}

/// Why an assertion or an action failed on an answer.
#[derive(Debug, thiserror::Error)]
enum ExamineError {
    #[error("does not hold")]
    DoesNotHold,
    #[error(transparent)]
    Expression(#[from] TemplateError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("could not write {}", path.display())]
    Save { path: PathBuf, source: io::Error },
    #[error("could not print")]
    Print(#[source] io::Error),
}

/// Examines the answers of one scenario.
pub(crate) struct Examiner {
    steps: Vec<Looked>,
    samples: Key,
    output: Output,
    saves: Saves,
    /// Cancelled by an `abort` action.
    abort: CancellationToken,
    /// Others read it once a second, so the lock is almost always free.
    examined: Arc<Mutex<Examined>>,
}

impl Saves {
    /// The files of a part, in which these secrets are masked.
    pub(crate) fn new(secrets: Secrets, part: Part) -> Saves {
        Saves { secrets, part, ..Saves::default() }
    }

    /// Opens the files of these callbacks for appending, and creates missing files and folders.
    ///
    /// # Errors
    /// The first file that cannot be written, and why.
    pub(crate) fn open(&mut self, callbacks: &Callbacks) -> Result<(), (PathBuf, io::Error)> {
        for path in callbacks.saves() {
            if !self.files.contains_key(path) {
                let own = of_part(path, self.part);
                let file = open(&own).map_err(|error| (own, error))?;
                self.files.insert(path.to_owned(), Arc::new(Mutex::new(file)));
            }
        }
        Ok(())
    }

    /// Writes lines without buffering: whatever is counted as saved is in the file, even if we
    /// crash.
    fn write(&self, path: &Path, lines: &str) -> io::Result<()> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        lock(file).write_all(self.secrets.mask(lines).as_bytes())
    }
}

/// Opens a file at its end, at the beginning of a line, and creates it and its folder if needed.
/// Opening a pipe would wait for its reader.
fn open(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
    if kind.is_ok_and(|kind| !kind.is_file() && !is_device(kind)) {
        return Err(io::Error::other("it is not a file"));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = File::options().append(true).create(true).open(path)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length > 0 && !ends_a_line(path, length)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether a file of this length ends with a line break. One that may not be read is left
/// unchanged.
fn ends_a_line(path: &Path, length: u64) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(true),
        opened => opened?,
    };
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn is_device(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_char_device()
}

impl Examiner {
    /// Examines the answers to these steps; `None` if there is nothing to examine.
    pub(crate) fn new(
        steps: &[Step],
        spoken: Spoken<'_>,
        seed: u64,
        output: Output,
        saves: Saves,
        abort: CancellationToken,
    ) -> Option<Examiner> {
        let mut counts: Vec<AssertionCount> = Vec::new();
        let mut looked = Vec::new();
        for step in steps {
            let none = Reads::default();
            let reads = step.assertions.iter().map(Assertion::reads);
            let reads = reads.chain(step.callbacks.actions().map(|action| match action {
                Action::Print | Action::Save(_) => Reads { response: true, ..none },
                Action::Log(message) => message.reads(),
                Action::Check(assertion) => assertion.reads(),
                Action::Beep | Action::Count(_) | Action::Abort => none,
            }));
            looked.push(Looked {
                told: Told::new(step, spoken),
                assertions: step.assertions.clone(),
                counts_from: counts.len(),
                callbacks: step.callbacks.clone(),
                reads: reads.fold(none, std::ops::BitOr::bitor),
            });
            counts.extend(step.assertions.iter().map(|assertion| AssertionCount {
                name: match step.name.as_str() {
                    "" => assertion.name().to_owned(),
                    step => format!("{step}: {}", assertion.name()),
                },
                ..AssertionCount::default()
            }));
        }
        let acts = steps.iter().any(|step| step.callbacks.actions().next().is_some());
        if counts.is_empty() && !acts {
            return None;
        }
        let actions = steps.iter().flat_map(|step| step.callbacks.actions());
        let counters = actions.filter_map(|action| match action {
            Action::Count(name) => Some((name.clone(), 0)),
            _ => None,
        });
        let counters = counters.collect();
        let examined = Examined { assertions: counts, counters, ..Examined::default() };
        Some(Examiner {
            steps: looked,
            samples: Key::new(seed).part("assert"),
            output,
            saves,
            abort,
            examined: Arc::new(Mutex::new(examined)),
        })
    }

    /// The counts so far; they continue to grow.
    pub(crate) fn examined(&self) -> Arc<Mutex<Examined>> {
        self.examined.clone()
    }

    /// Examines answers until all senders are gone, as they arrive or in the order of their
    /// requests. Blocks, so it needs a separate thread.
    pub(crate) fn run(self, mut answers: mpsc::Receiver<StepAnswer>, in_order: bool) {
        let mut order = InOrder::new();
        while let Some(answer) = answers.blocking_recv() {
            if !in_order {
                self.examine(&answer);
                continue;
            }
            let (index, is_last) = (answer.kept.index, answer.finished.ends);
            let bytes = answer.finished.reply.as_ref().map_or(0, |reply| reply.body.len());
            order.push(index, answer, bytes, is_last);
            while let Some(answer) = order.pop() {
                self.examine(&answer);
            }
        }
        order.rest().for_each(|answer| self.examine(&answer));
    }

    /// Calls `on_error` and `on_always` of the first step for a Flow that could not be reached at
    /// all.
    pub(crate) fn not_reached(&self, kind: &'static str, reason: &str) {
        let Some(step) = self.steps.first() else { return };
        let exception = Some((kind, self.saves.secrets.mask(reason).into_owned()));
        let exchange = Exchange { exception, ..Exchange::default() };
        let mut examined = lock(&self.examined);
        for (actions, always) in
            [(&step.callbacks.on_error, false), (&step.callbacks.on_always, true)]
        {
            if actions.is_empty() {
                continue;
            }
            let failure = self.fire(actions, &exchange, &mut examined);
            let count = if always { &mut examined.on_always } else { &mut examined.on_error };
            count.fired += 1;
            if let Err(error) = failure {
                count.failed += 1;
                count.example.get_or_insert_with(|| chain(&error));
            }
        }
    }

    /// Examines one answer.
    pub(crate) fn examine(&self, answer: &StepAnswer) {
        let step = &self.steps[answer.finished.step];
        let exchange = self.exchange(step, answer);
        let mut examined = lock(&self.examined);
        // A plain request that failed because of its status has a response, but no assertion
        // applies to it.
        let is_refused = answer.finished.error.is_some()
            && answer.finished.reply.as_ref().is_some_and(|r| matches!(r.body, Body::Http(_)));
        if answer.finished.reply.is_some() && answer.settled && !is_refused {
            for (index, assertion) in step.assertions.iter().enumerate() {
                let place = step.counts_from + index;
                if !self.in_sample(assertion, place, answer.kept.index) {
                    continue;
                }
                let count = &mut examined.assertions[place];
                match holds(assertion, &exchange) {
                    Ok(()) => count.passed += 1,
                    Err(error) => {
                        count.failed += 1;
                        count
                            .example
                            .get_or_insert_with(|| self.example(answer, &exchange, &error));
                    }
                }
            }
        }
        let ok = answer.finished.error.is_none();
        let callbacks = &step.callbacks;
        let first = if ok { &callbacks.on_done } else { &callbacks.on_error };
        for (actions, always) in [(first, false), (&callbacks.on_always, true)] {
            if actions.is_empty() {
                continue;
            }
            let failure = self.fire(actions, &exchange, &mut examined);
            let count = match (always, ok) {
                (true, _) => &mut examined.on_always,
                (false, true) => &mut examined.on_done,
                (false, false) => &mut examined.on_error,
            };
            count.fired += 1;
            if let Err(error) = failure {
                count.failed += 1;
                count.example.get_or_insert_with(|| self.example(answer, &exchange, &error));
            }
        }
    }

    /// What assertions and callbacks see, decoded as far as they read it.
    fn exchange(&self, step: &Looked, answer: &StepAnswer) -> Exchange {
        let finished = &answer.finished;
        let (mut exchange, undecoded) =
            exchange(&answer.request, finished.reply.as_ref(), step.reads, &step.told);
        exchange.exception = undecoded.map(|error| ("decode", error.to_string()));
        if let Some(error) = &finished.error {
            // Expressions may take parts of it, which could not be recognized as parts of a secret.
            let words = self.saves.secrets.mask(&error.to_string()).into_owned();
            exchange.exception = Some((error.kind(), words));
        }
        exchange.latency = finished.response_time();
        exchange.captured = answer.kept.captured.clone();
        exchange
    }

    fn in_sample(&self, assertion: &Assertion, place: usize, index: u64) -> bool {
        const PARTS: u64 = 1 << 53;
        let share = assertion.sample().fraction();
        share >= 1.0 || {
            let draw = self.samples.index(place as u64).index(index).below(PARTS);
            (draw as f64) < share * PARTS as f64
        }
    }

    /// Runs all actions; a failure does not keep the others from running.
    fn fire(
        &self,
        actions: &[Action],
        exchange: &Exchange,
        examined: &mut Examined,
    ) -> Result<(), ExamineError> {
        let mut first_failure = Ok(());
        for action in actions {
            let done = self.act(action, exchange, examined);
            first_failure = first_failure.and(done);
        }
        first_failure
    }

    fn act(
        &self,
        action: &Action,
        exchange: &Exchange,
        examined: &mut Examined,
    ) -> Result<(), ExamineError> {
        match action {
            Action::Print => self.print(&document_lines(exchange)?),
            Action::Log(message) => {
                let line = message.render(exchange)?;
                self.print(&format!("{line}\n"))
            }
            Action::Beep => self.print("\x07"),
            Action::Count(name) => {
                *examined.counters.entry(name.clone()).or_default() += 1;
                Ok(())
            }
            Action::Save(path) => self
                .saves
                .write(path, &document_lines(exchange)?)
                .map_err(|source| ExamineError::Save { path: path.clone(), source }),
            Action::Check(assertion) => holds(assertion, exchange),
            Action::Abort => {
                examined.aborted = true;
                self.abort.cancel();
                Ok(())
            }
        }
    }

    /// Describes a failure: the request, the reason, and the response as far as it was read.
    fn example(&self, answer: &StepAnswer, exchange: &Exchange, error: &ExamineError) -> String {
        let mut text = format!("request {}: {}", answer.kept.index, chain(error));
        if let Some((kind, words)) = &exchange.exception {
            text.push_str(&format!("; {kind}: {words}"));
        }
        if let Some(response) = &exchange.response {
            text.push_str(&format!("; response: {}", describe(response)));
        }
        // Before it is truncated, because then part of a secret could remain.
        text = self.saves.secrets.mask(&text).into_owned();
        if text.chars().count() > EXAMPLE_CHARS_MAX {
            text = text.chars().take(EXAMPLE_CHARS_MAX - 1).chain(['…']).collect();
        }
        text
    }

    fn print(&self, text: &str) -> Result<(), ExamineError> {
        let mut output = lock(&self.output);
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        written.map_err(ExamineError::Print)
    }
}

fn holds(assertion: &Assertion, exchange: &Exchange) -> Result<(), ExamineError> {
    if assertion.holds(exchange)? { Ok(()) } else { Err(ExamineError::DoesNotHold) }
}

/// The response's Documents as JSON, one per line.
fn document_lines(exchange: &Exchange) -> Result<String, serde_json::Error> {
    let docs = exchange.response.as_ref().map(|response| response.docs()).unwrap_or_default();
    let line = |doc: &Document| serde_json::to_string(doc).map(|json| format!("{json}\n"));
    docs.iter().map(line).collect()
}

fn describe(response: &DataRequest) -> String {
    let docs = response.docs();
    let count =
        if docs.len() == 1 { "1 Document".into() } else { format!("{} Documents", docs.len()) };
    match docs.first().map(serde_json::to_value) {
        None => "no Documents".into(),
        Some(Ok(first)) => format!("{count}, the first {}", without_numbers(first)),
        Some(Err(_)) => count,
    }
}

/// A value with the length of long lists of numbers instead of the numbers: an embedding would leave no room for the rest.
fn without_numbers(value: Value) -> Value {
    const NUMBERS_MAX: usize = 8;
    match value {
        Value::Array(items) if items.len() > NUMBERS_MAX && items.iter().all(Value::is_number) => {
            format!("{} numbers", items.len()).into()
        }
        Value::Array(items) => items.into_iter().map(without_numbers).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, without_numbers(value))).collect()
        }
        value => value,
    }
}

/// A lock is poisoned if its holder panicked while counting: what it counted still counts.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_example_has_room_for_more_than_an_embedding() {
        let doc =
            json!({"embedding": vec![0.5; 512], "matches": [{"id": "m", "location": [1, 2]}]});
        assert_eq!(
            without_numbers(doc),
            json!({"embedding": "512 numbers", "matches": [{"id": "m", "location": [1, 2]}]})
        );
    }
}
