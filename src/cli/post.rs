//! `flowbench post`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt};
use indicatif::{HumanCount, HumanDuration, ProgressBar};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::connection::{Connection, Sending};
use super::exit::Exit;
use super::print;
use super::print::Out;
use super::problem::{Problem, argument, in_line, json, not_json};
use super::values::{ValueError, target_executor};
use crate::client::{BoxError, CallError, Client, RequestSize, Response};
use crate::plan::no_slash;
use crate::text::{other_encoding, without_bom};
use crate::wire::{Document, Map, Protocol};

/// Maximum number of failures to print; further ones are only counted.
const TOLD_FAILURES: u64 = 10;
/// Maximum length of a line in a JSON Lines file, in bytes: one Document.
const LINE_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Documents are printed as JSON lines, one per line, as soon as their response arrives. Without \
--text, --doc or --jsonl one request without Documents is sent.

Examples:
  flowbench post grpc://localhost:1234 /search --text hello --text world --parameters '{\"k\": 3}'
  flowbench post https://my.flow /index --jsonl docs.jsonl --request-size 10 > indexed.jsonl
  zcat docs.jsonl.gz | flowbench post --port 1234 --protocol http /index --jsonl - --show texts

Exit codes: 0 all went well; 1 a response reported a failure, or there was none; 2 the command line \
or an input is wrong; 3 the Flow could not be reached.")]
pub(super) struct Args {
    /// Where the Flow is: grpc://localhost:1234, https://my.flow, my.flow:1234
    /// [default: 0.0.0.0, a Flow on this machine]
    address: Option<String>,
    /// The endpoint, for example /search [default: /]
    endpoint: Option<String>,

    /// Send a Document with this text; can be repeated
    #[arg(long = "text", value_name = "TEXT", allow_hyphen_values = true)]
    texts: Vec<String>,
    /// Id of a --text Document, in their order; can be repeated [default: 32 random hex digits]
    #[arg(long = "id", value_name = "ID", requires = "texts")]
    ids: Vec<String>,
    /// Send this Document, a JSON object such as {"text": "hello", "tags": {"lang": "en"}}; can be
    /// repeated
    #[arg(long = "doc", value_name = "JSON|@FILE")]
    docs: Vec<String>,
    /// Send the Documents of this file, one JSON object per line; - is stdin; can be repeated
    #[arg(long = "jsonl", value_name = "FILE")]
    files: Vec<String>,

    /// Parameters of the request, a JSON object
    #[arg(short, long, value_name = "JSON|@FILE")]
    parameters: Option<String>,
    /// Only Executors whose name this regular expression matches process the request
    #[arg(long, value_name = "REGEX", value_parser = target_executor)]
    target_executor: Option<String>,
    /// Documents per request; `all` puts all of them into one
    #[arg(long, value_name = "N|all", default_value = "100", value_parser = request_size)]
    request_size: RequestSize,
    /// What to print of each response: texts (the text of each Document), docs (each Document as
    /// JSON) or responses (as JSON: header, parameters, routes, data); one per line
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t = Show::Docs,
        hide_possible_values = true
    )]
    show: Show,
    /// Post a single Document to a streaming endpoint, and print the Documents it returns one by one
    #[arg(long)]
    stream_doc: bool,
    /// Continue with further Documents after a request without a response
    #[arg(long)]
    continue_on_error: bool,
    /// Show progress on the terminal
    #[arg(long)]
    progress: bool,

    #[command(flatten)]
    sending: Sending,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Show {
    Texts,
    Docs,
    Responses,
}

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: Args) -> Result<Exit, Problem> {
    // No address begins with a slash, so `--port 1234 /search` can only mean the endpoint.
    let (address, endpoint) = match (args.address, args.endpoint) {
        (Some(endpoint), None) if endpoint.starts_with('/') => (None, Some(endpoint)),
        given => given,
    };
    let endpoint = endpoint.unwrap_or_else(|| "/".into());
    let mut config = args.connection.config(address.as_deref(), Protocol::Grpc)?;
    args.sending.configure(&mut config);
    let parameters = match &args.parameters {
        Some(given) => json("--parameters", "a JSON object", given)?,
        None => Map::new(),
    };
    let mut documents = Vec::with_capacity(args.texts.len() + args.docs.len());
    documents.extend(text_documents(args.texts, args.ids)?);
    for given in &args.docs {
        let (origin, text) = argument("--doc", given)?;
        let document = Document::read_json(&text).map_err(|error| {
            in_line(&no_document("`--doc`", &text, &error), origin, 1, &text, &error)
        })?;
        documents.push(document);
    }
    let files = args.files.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;

    if let Some(note) = no_slash(&endpoint) {
        print::tell(format_args!("note: {note}"));
    }
    let client = Client::new(config);
    let mut printer = Printer::new(args.show);
    let mut progress = Progress::new(args.progress);
    let only = args.target_executor.unwrap_or_default();
    let mut responses = if args.stream_doc {
        let (1, true, Some(document)) = (documents.len(), files.is_empty(), documents.pop()) else {
            return Err(Problem::usage(
                "`--stream-doc` takes exactly one Document, by `--text` or `--doc`",
            ));
        };
        let stream = client.stream_doc(endpoint, document).fit_schema(true);
        stream.parameters(parameters).target_executor(only).stream()
    } else {
        let mut post = client
            .post(endpoint)
            .request_size(args.request_size)
            .parameters(parameters)
            .target_executor(only)
            .continue_on_error(args.continue_on_error)
            .fit_schema(true);
        if let Some(prefetch) = args.sending.prefetch {
            post = post.prefetch(prefetch);
        }
        if !documents.is_empty() || !files.is_empty() {
            let taken = progress.taken.clone();
            let documents = stream::iter(documents).map(Ok).chain(documents_of(files));
            post = post.inputs(documents.inspect(move |_| {
                taken.fetch_add(1, Ordering::Relaxed);
            }));
        }
        post.stream()
    };
    while let Some(response) = responses.next().await {
        progress.bar.suspend(|| match &response {
            Ok(response) => printer.response(response),
            Err(error) => printer.failure(error.into()),
        });
        progress.answered();
        if printer.closed {
            break;
        }
    }
    progress.bar.finish_and_clear();
    Ok(printer.finish())
}

fn request_size(text: &str) -> Result<RequestSize, ValueError> {
    match text.parse() {
        _ if text == "all" => Ok(RequestSize::All),
        Ok(documents) if documents > 0 => Ok(RequestSize::Documents(documents)),
        _ => Err(ValueError::RequestSize),
    }
}

fn text_documents(texts: Vec<String>, ids: Vec<String>) -> Result<Vec<Document>, Problem> {
    if ids.len() > texts.len() {
        return Err(Problem::usage(format_args!(
            "`--id` is given {} times and `--text` {}; expected no more ids than texts",
            ids.len(),
            texts.len()
        )));
    }
    let random = std::iter::repeat_with(|| Uuid::new_v4().simple().to_string());
    let ids = ids.into_iter().chain(random);
    let document = |(text, id)| Document { id, ..Document::from_text(text) };
    Ok(texts.into_iter().zip(ids).map(document).collect())
}

/// Describes an invalid JSON Document.
fn no_document(what: &str, text: &str, error: &serde_json::Error) -> String {
    let advice = match Document::has_keys(text) {
        // Keys of v1 require specific types.
        true => "; fields of a custom schema belong under `fields`",
        false => "",
    };
    format!("{what} is not {}{advice}", not_json(error, "a Document"))
}

/// An open file: files that cannot be read are reported before anything is sent.
struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    /// Number of the last line read, from 1.
    number: usize,
    line: Vec<u8>,
}

impl Lines {
    fn new(name: &str, reader: impl Read + Send + 'static) -> Lines {
        let reader = Box::new(BufReader::new(reader));
        Lines { name: name.into(), reader, number: 0, line: Vec::new() }
    }
}

fn open(path: &str) -> Result<Lines, Problem> {
    if path == "-" {
        return Ok(Lines::new("<stdin>", io::stdin()));
    }
    let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    match file {
        Ok(file) => Ok(Lines::new(path, file)),
        Err(error) => Err(Problem::usage(format_args!("`--jsonl`: cannot read `{path}`: {error}"))),
    }
}

/// The Documents of these files. A separate thread reads them, so that responses are printed while
/// stdin blocks.
fn documents_of(files: Vec<Lines>) -> impl Stream<Item = Result<Document, BoxError>> + Send {
    // Enough to prepare the next request while one is being sent.
    const AHEAD: usize = 256;
    let (sender, receiver) = mpsc::channel(AHEAD);
    // The thread ends with the files, or when no more Documents are requested. If it is waiting for stdin, it
    // ends with the process.
    std::thread::spawn(move || {
        for document in files.into_iter().flatten() {
            let failed = document.is_err();
            if sender.blocking_send(document.map_err(Into::into)).is_err() || failed {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A problem in a file of Documents, with its line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadFile(String);

impl Iterator for Lines {
    type Item = Result<Document, BadFile>;

    fn next(&mut self) -> Option<Result<Document, BadFile>> {
        loop {
            self.number += 1;
            self.line.clear();
            let bad = |what: String| {
                Some(Err(BadFile(format!("error: {}:{}: {what}", self.name, self.number))))
            };
            match self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line) {
                Ok(0) => return None,
                Ok(bytes) if bytes as u64 == LINE_BYTES_MAX => {
                    return bad(format!("line is longer than {LINE_BYTES_MAX} bytes"));
                }
                Ok(_) => {}
                Err(error) => return bad(format!("cannot be read: {error}")),
            }
            let first = self.number == 1;
            if let Some(what) = other_encoding(&self.line).filter(|_| first) {
                return bad(what.into());
            }
            let line = if first { without_bom(&self.line).0 } else { &self.line };
            let Ok(line) = std::str::from_utf8(line) else {
                return bad("not UTF-8 text; expected one JSON object per line".into());
            };
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            return Some(Document::read_json(line).map_err(|error| {
                let title = no_document("line", line, &error);
                BadFile(in_line(&title, &self.name, self.number, line, &error).text)
            }));
        }
    }
}

/// Writes responses to stdout and failures to stderr.
struct Printer {
    show: Show,
    out: Out,
    /// Output for one response, written at once.
    buffer: Vec<u8>,
    failures: u64,
    exit: Exit,
    /// Whether stdout is closed.
    closed: bool,
}

impl Printer {
    fn new(show: Show) -> Printer {
        Printer {
            show,
            out: Out::plain(),
            buffer: Vec::new(),
            failures: 0,
            exit: Exit::Passed,
            closed: false,
        }
    }

    /// Prints the requested parts of a response, and its failure if it reports one.
    fn response(&mut self, response: &Response) {
        if let Some(failure) = response.failure() {
            self.failure((&failure).into());
        }
        self.buffer.clear();
        if let Err(error) = self.render(response) {
            return self.failure((&error).into());
        }
        // Write it now, not when the next response arrives.
        let written = self.out.write_all(&self.buffer);
        self.closed = written.is_err() || self.out.is_closed();
        if let Err(error) = written {
            self.failure(print::not_printed(error));
        }
    }

    fn render(&mut self, response: &Response) -> Result<(), CallError> {
        let out = &mut self.buffer;
        match self.show {
            Show::Texts => {
                for text in response.texts()? {
                    out.extend_from_slice(text.as_bytes());
                    out.push(b'\n');
                }
            }
            Show::Docs => {
                for document in response.docs()? {
                    json_line(out, document);
                }
            }
            Show::Responses => json_line(out, response.data_request()?),
        }
        Ok(())
    }

    /// Prints a failure; only the first ones in full.
    fn failure(&mut self, problem: Problem) {
        self.failures += 1;
        if self.failures <= TOLD_FAILURES {
            problem.print();
        }
        // The first exit code wins: later ones are often consequences of it.
        if self.exit == Exit::Passed {
            self.exit = problem.exit;
        }
    }

    fn finish(self) -> Exit {
        if let Some(more @ 1..) = self.failures.checked_sub(TOLD_FAILURES) {
            print::tell(format_args!("error: {more} more failures like these"));
        }
        self.exit
    }
}

fn json_line(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *out, value).expect("Documents and responses have a plain form");
    out.push(b'\n');
}

/// Shows progress on stderr if that is a terminal.
struct Progress {
    bar: ProgressBar,
    /// Number of Documents taken from the inputs.
    taken: Arc<AtomicU64>,
    responses: u64,
    begun: Instant,
}

impl Progress {
    fn new(wanted: bool) -> Progress {
        let bar = if wanted && print::err_is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        Progress { bar, taken: Arc::default(), responses: 0, begun: Instant::now() }
    }

    fn answered(&mut self) {
        self.responses += 1;
        let taken = self.taken.load(Ordering::Relaxed);
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_message(format!(
            "{} Documents sent, {} responses, {}",
            HumanCount(taken),
            HumanCount(self.responses),
            HumanDuration(self.begun.elapsed())
        ));
    }
}
