//! `flowbench report`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use tempfile::NamedTempFile;

use super::exit::Exit;
use super::print;
use super::problem::{Problem, not_written};
use super::results::is_search;
use crate::record::saved::{self, ReadError};
use crate::record::summary::{Summary, Verdict};
use crate::report::{self, Format, files};
use crate::run::journal;
use crate::scenario::condition::Condition;
use crate::threshold;
use crate::units::Span;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench report reports/search-20261123T101500Z/report.json -o report.html
  flowbench report out/journal.jsonl -o report.html
  flowbench report out/report.json --threshold 'p99 < 80ms' --from 30s --to 90s
  flowbench report out/report.json --format markdown >> \"$GITHUB_STEP_SUMMARY\"
  flowbench report out/capacity.json -o capacity.html

Exit codes: 0 written, and with --threshold all passed; 1 one failed; 2 the command line is wrong, or \
a result cannot be read; 4 a threshold is inconclusive; 5 the report could not be written.")]
pub(super) struct Args {
    /// Results: each a report.json, or the journal.jsonl of a run that was killed. Several make one
    /// report of all their scenarios. Or the capacity.json of a search
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// [default: by the output's file extension, or terminal without -o]
    #[arg(long, short, value_enum)]
    format: Option<Kind>,
    /// Write into this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Judge by this condition, such as `p99 < 80ms`, in the place of those of the run; can be repeated
    #[arg(long = "threshold", value_name = "CONDITION")]
    thresholds: Vec<Condition>,
    /// Leave out what was before, counted from the start of what each scenario measures
    #[arg(long, value_name = "TIME")]
    from: Option<Span>,
    /// Leave out what was after
    #[arg(long, value_name = "TIME")]
    to: Option<Span>,
}

/// A format by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A self-contained page for people
    Html,
    /// The whole result, to be read again
    Json,
    /// For CI
    Junit,
    /// For a comment or $GITHUB_STEP_SUMMARY
    Markdown,
    /// The timelines, one row per second; for a search, the trials
    Csv,
    /// HdrHistogram's interval log
    Hlog,
    /// Prometheus' text format
    Prometheus,
    /// As `run` prints it
    Terminal,
}

pub(super) fn main(args: Args) -> Exit {
    run(&args).unwrap_or_else(|problem| problem.print())
}

fn run(args: &Args) -> Result<Exit, Problem> {
    let window = window(args)?;
    let kind = kind(args)?;
    let results =
        args.results.iter().map(|path| AtHand::of(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(result) = results.iter().find(|result| is_search(result.file())) {
        return render_search(args, result, kind);
    }
    let results = results.iter().map(read).collect::<Result<Vec<_>, _>>();
    let mut summary = Summary::join(results.map_err(Problem::usage)?);
    if let Some((from, to)) = window {
        summary = summary.part(from, to).map_err(Problem::usage)?;
    }
    if window.is_some() || !args.thresholds.is_empty() {
        judge(&mut summary, &args.thresholds)?;
    }
    put(args, |out| report::write(&summary, kind, out))?;
    if args.thresholds.is_empty() {
        return Ok(Exit::Passed);
    }
    let thresholds = summary.scenarios.iter().flat_map(|scenario| &scenario.thresholds);
    Ok(match threshold::overall(thresholds.map(|threshold| threshold.verdict)) {
        Verdict::Passed | Verdict::Part => Exit::Passed,
        Verdict::Failed => Exit::Failed,
        Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted => Exit::Inconclusive,
    })
}

/// Renders the result of a capacity search.
fn render_search(args: &Args, result: &AtHand, kind: Format) -> Result<Exit, Problem> {
    let shown = result.path.display();
    if args.results.len() > 1 {
        let why = format!(
            "`{shown}` is the result of a search for capacity, which cannot be combined with \
             others"
        );
        return Err(Problem::usage(why));
    }
    if args.from.is_some() || args.to.is_some() || !args.thresholds.is_empty() {
        return Err(Problem::usage(format!(
            "`{shown}` is the result of a search for capacity: it has its own objective and \
             trials, so there is no `--threshold`, `--from` or `--to`"
        )));
    }
    if !report::capacity::can_be(kind) {
        return Err(Problem::usage(format!(
            "`{shown}` is the result of a search for capacity, which can be html, json, markdown, csv \
             and terminal"
        )));
    }
    let capacity = crate::capacity::result::read(result.file());
    let capacity = capacity.map_err(|error| Problem::usage(result.named(error)))?;
    put(args, |out| report::capacity::write(&capacity, kind, out))?;
    Ok(Exit::Passed)
}

/// Writes to the destination given by the arguments.
fn put(args: &Args, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Problem> {
    if let Some(path) = &args.output {
        return files::whole(path, write).map_err(not_written);
    }
    print::written(write)
}

fn read(result: &AtHand) -> Result<Summary, ReadError> {
    let file = result.file();
    let summary = if journal::is_journal(file) { journal::read(file) } else { saved::read(file) };
    summary.map_err(|error| result.named(error))
}

/// A result that can be read more than once, even if it came through a pipe.
struct AtHand {
    /// Path as given.
    path: PathBuf,
    /// A copy of the data from a pipe, which can only be read once.
    kept: Option<NamedTempFile>,
}

impl AtHand {
    fn of(path: &Path) -> Result<AtHand, Problem> {
        // Of a folder, the result in it.
        let names = ["report.json", "capacity.json", "journal.jsonl"];
        let within = names.map(|name| path.join(name)).into_iter().find(|file| file.is_file());
        let path = within.as_deref().unwrap_or(path);
        let streams = std::fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir());
        let kept = streams.then(|| keep(path)).transpose().map_err(|error| {
            let path = path.display();
            Problem::usage(format_args!("{path}: could not be read: {error}"))
        })?;
        Ok(AtHand { path: path.to_owned(), kept })
    }

    fn file(&self) -> &Path {
        self.kept.as_ref().map_or(&self.path, |kept| kept.path())
    }

    /// An error with the path as given.
    fn named(&self, error: ReadError) -> ReadError {
        ReadError { path: self.path.clone(), ..error }
    }
}

/// Copies data from a pipe, up to a size that no result exceeds.
fn keep(path: &Path) -> io::Result<NamedTempFile> {
    const BYTES_MAX: u64 = 4 << 30;
    let mut file = NamedTempFile::new()?;
    let copied = io::copy(&mut File::open(path)?.take(BYTES_MAX), &mut file)?;
    match copied {
        BYTES_MAX => Err(io::Error::other("larger than 4 GiB")),
        _ => Ok(file),
    }
}

/// Evaluates the given conditions on each scenario, or its own again if none are given.
fn judge(summary: &mut Summary, given: &[Condition]) -> Result<(), Problem> {
    let of_part = summary.part.is_some();
    for (index, scenario) in summary.scenarios.iter_mut().enumerate() {
        let own = || {
            let texts = scenario.thresholds.iter().enumerate();
            texts
                .map(|(at, threshold)| {
                    threshold.that.parse().map_err(|error| {
                        let field = format!("scenarios[{index}].thresholds[{at}].that");
                        Problem::usage(format!("`{field}`: {error}"))
                    })
                })
                .collect::<Result<Vec<Condition>, Problem>>()
        };
        let judged = match given {
            [] => threshold::judge(scenario, &own()?),
            given => threshold::judge_what_ended(scenario, given),
        };
        judged.map_err(Problem::usage)?;
        if of_part && given.is_empty() {
            threshold::leave_to_the_whole(scenario);
        }
    }
    threshold::conclude(summary);
    Ok(())
}

/// The time window in seconds, if one was requested.
fn window(args: &Args) -> Result<Option<(u64, u64)>, Problem> {
    if args.from.is_none() && args.to.is_none() {
        return Ok(None);
    }
    let whole = |name: &str, span: Option<Span>, otherwise: u64| {
        let Some(span) = span else { return Ok(otherwise) };
        let time: Duration = span.get();
        if time.subsec_nanos() > 0 {
            let why = format!(
                "--{name}: results are kept per second; expected whole seconds, found `{span}`"
            );
            return Err(Problem::usage(why));
        }
        Ok(time.as_secs())
    };
    let (from, to) = (whole("from", args.from, 0)?, whole("to", args.to, u64::from(u32::MAX))?);
    if from >= to {
        return Err(Problem::usage(format!("--from {from}s is not before --to {to}s")));
    }
    Ok(Some((from, to)))
}

fn kind(args: &Args) -> Result<Format, Problem> {
    let by_name = || {
        let Some(path) = &args.output else { return Ok(Kind::Terminal) };
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending {
            "html" | "htm" => Ok(Kind::Html),
            "json" => Ok(Kind::Json),
            "xml" => Ok(Kind::Junit),
            "md" => Ok(Kind::Markdown),
            "csv" => Ok(Kind::Csv),
            "hlog" => Ok(Kind::Hlog),
            "prom" => Ok(Kind::Prometheus),
            "txt" => Ok(Kind::Terminal),
            _ => {
                let path = path.display();
                Err(Problem::usage(format!("`{path}` does not determine the format: add --format")))
            }
        }
    };
    Ok(match args.format.map_or_else(by_name, Ok)? {
        Kind::Html => Format::Html,
        Kind::Json => Format::Json,
        Kind::Junit => Format::Junit,
        Kind::Markdown => Format::Markdown,
        Kind::Csv => Format::Csv,
        Kind::Hlog => Format::Hlog,
        Kind::Prometheus => Format::Prometheus,
        Kind::Terminal => Format::Terminal {
            color: args.output.is_none() && print::colored(),
            columns: if args.output.is_none() { print::columns() } else { 80 },
        },
    })
}
