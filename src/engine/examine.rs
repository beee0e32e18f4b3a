//! Looks at answers: assertions and callbacks.
//!
//! It has a thread of its own for each scenario, so that decoding Documents and evaluating
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

/// What assertions and callbacks counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Examined {
    /// In the order of the file.
    pub assertions: Vec<AssertionCount>,
    /// After a success.
    pub on_done: CallbackCount,
    /// After a failure.
    pub on_error: CallbackCount,
    /// After both.
    pub on_always: CallbackCount,
    /// What `count` actions counted, 0 where none was due.
    pub counters: IndexMap<String, u64>,
    /// An `abort` action ended the scenario.
    pub aborted: bool,
}

/// How often an assertion held.
#[derive(Clone, Debug, Default)]
pub(crate) struct AssertionCount {
    /// Its name.
    pub name: String,
    /// Responses on which it held.
    pub passed: u64,
    /// Responses on which it did not.
    pub failed: u64,
    /// The first of them.
    pub example: Option<String>,
}

/// How often a callback fired.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallbackCount {
    /// How often.
    pub fired: u64,
    /// How often one of its actions failed.
    pub failed: u64,
    /// The first failure.
    pub example: Option<String>,
}

impl Examined {
    /// Responses on which an assertion did not hold, over all assertions.
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
    /// Parts of a load save into files of their own.
    part: Part,
    files: HashMap<PathBuf, Arc<Mutex<File>>>,
}

/// The file of a part: `found.part-2-of-4.jsonl` of `found.jsonl`.
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

/// The text of an example is cut off here: enough to see what is wrong, little enough for a report.
const EXAMPLE_CHARS_MAX: usize = 500;

/// Answers that wait for us. Past it requests keep their slots, so memory is bounded.
pub(crate) const WAITING_MAX: usize = 1024;

/// What is looked at in the answers to one step.
struct Looked {
    told: Told,
    assertions: Vec<Assertion>,
    /// Where its assertions are counted.
    counts_from: usize,
    callbacks: Callbacks,
    reads: Reads,
}

/// Why an assertion failed on an answer, or an action on it.
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

/// Looks at the answers of one scenario.
pub(crate) struct Examiner {
    steps: Vec<Looked>,
    samples: Key,
    output: Output,
    saves: Saves,
    /// Cancelled by an `abort` action.
    abort: CancellationToken,
    /// Read by others once a second, so the lock is as good as free.
    examined: Arc<Mutex<Examined>>,
}

impl Saves {
    /// Files of a part, without these.
    pub(crate) fn new(secrets: Secrets, part: Part) -> Saves {
        Saves { secrets, part, ..Saves::default() }
    }

    /// Opens the files of these callbacks to append to them, and makes them and the folders they are in
    /// where they do not exist.
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

    /// Writes lines, past any buffer: what is counted as saved is there, whatever becomes of us.
    fn write(&self, path: &Path, lines: &str) -> io::Result<()> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        lock(file).write_all(self.secrets.mask(lines).as_bytes())
    }
}

/// Opens a file at its end, where a line begins, and makes it and its folder if need be. Opening a pipe
/// would wait for who reads it.
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

/// Whether a file of this length ends with a line break. One that may not be read is left as it is.
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
    /// Looks at the answers to these steps; `None` when there is nothing to look for.
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

    /// What was counted so far; goes on counting.
    pub(crate) fn examined(&self) -> Arc<Mutex<Examined>> {
        self.examined.clone()
    }

    /// Looks at answers until all senders are gone, as they come or in the order of their requests.
    /// Blocks: for a thread of its own.
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

    /// Fires `on_error` and `on_always` of the first step for a Flow that could not be reached at all.
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

    /// Looks at one answer.
    pub(crate) fn examine(&self, answer: &StepAnswer) {
        let step = &self.steps[answer.finished.step];
        let exchange = self.exchange(step, answer);
        let mut examined = lock(&self.examined);
        // A plain request that failed by its status has a response that no assertion is about.
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

    /// What assertions and callbacks are to see, decoded as far as they look.
    fn exchange(&self, step: &Looked, answer: &StepAnswer) -> Exchange {
        let finished = &answer.finished;
        let (mut exchange, undecoded) =
            exchange(&answer.request, finished.reply.as_ref(), step.reads, &step.told);
        exchange.exception = undecoded.map(|error| ("decode", error.to_string()));
        if let Some(error) = &finished.error {
            // Expressions may take parts of it, which could not be told to be of a secret.
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

    /// Does all actions; the first failure does not keep the others from being done.
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

    /// What a failure looked like: the request, why, and the response as far as it was read.
    fn example(&self, answer: &StepAnswer, exchange: &Exchange, error: &ExamineError) -> String {
        let mut text = format!("request {}: {}", answer.kept.index, chain(error));
        if let Some((kind, words)) = &exchange.exception {
            text.push_str(&format!("; {kind}: {words}"));
        }
        if let Some(response) = &exchange.response {
            text.push_str(&format!("; response: {}", describe(response)));
        }
        // Before it is cut, for then a part of a secret may be left.
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

/// The response's Documents, a line of JSON each.
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

/// A poisoned lock is one whose holder panicked while counting: what it counted still counts.
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
