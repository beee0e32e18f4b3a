//! `flowbench compare`, and what it shares with `run --baseline`, `gate` and `noise`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::problem::Problem;
use super::run::not_written;
use super::{Exit, print};
use crate::compare::noise::{self, Noise};
use crate::compare::{
    self, ALPHA, CompareError, Comparison, Gate, OnInconclusive, Options, Saved, Verdict,
};
use crate::record::saved::{self, ReadProblem};
use crate::record::summary::Summary;
use crate::report::compare::CompareFormat;
use crate::report::{self, files};
use crate::run::journal;
use crate::text;

/// The files that a run with a baseline writes next to its reports.
pub(super) const COMPARISONS: [&str; 4] =
    ["comparison.json", "comparison.html", "comparison.md", "comparison.xml"];

/// The noise profile that `flowbench noise` writes next to its results.
pub(super) const NOISE_FILE: &str = "noise.json";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench compare before.json -- after.json
  flowbench compare baseline/ -- after-*.json --gate 'p99 +10% +2ms' --gate 'throughput -5%'
  flowbench compare baseline/ -- after.json --gate 'p99 +10%' -o gate.md -o gate.xml -o gate.html

A side is one result or several, each a report.json or a folder of them. A gate is a metric and how \
much worse it may get: `p99 +10%`, `service.p50 +2ms`, `executor.indexer.p99 +10%`, `throughput -5%`, \
`error_rate +0.1%` (points). Verdicts are wrong in 1 of 100 cases at most, over all gates together.

Exit codes: 0 all gates held (or there were none); 1 one regressed; 2 the command line is wrong, or a \
result cannot be read; 4 inconclusive, or not comparable; 5 a report could not be \
written.")]
pub(super) struct Args {
    /// Results of the base, then `--` and those of the candidate
    #[arg(required = true, value_name = "BASE")]
    base: Vec<PathBuf>,
    /// Results of the candidate
    // `main` inserts it instead of `--`, so that options may follow.
    #[arg(long, hide = true, required = true, num_args = 1.., value_name = "CANDIDATE")]
    candidate: Vec<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    #[command(flatten)]
    telling: Telling,
}

/// How two sides are judged.
#[derive(Debug, clap::Args)]
pub(super) struct Judging {
    /// What must hold, such as `p99 +10%`; can be repeated
    #[arg(long = "gate", value_name = "GATE")]
    pub(super) gates: Vec<Gate>,
    /// What comes of inconclusive gates: exit code 4, a warning, or nothing
    #[arg(long, value_enum, default_value = "fail", value_name = "POLICY")]
    inconclusive: Policy,
    /// The noise of this machine, from `flowbench noise` [default: noise.json beside the base]
    #[arg(long, value_name = "FILE")]
    pub(super) noise: Option<PathBuf>,
    /// Compare results that should not be compared, and say so in every report
    #[arg(long)]
    pub(super) force: bool,
}

/// Where a comparison is told.
#[derive(Debug, clap::Args)]
pub(super) struct Telling {
    /// [default: by the ending of the output's name; without -o terminal]
    #[arg(long, short, value_enum)]
    format: Option<Kind>,
    /// Write into this file, and print as well; can be repeated
    #[arg(long, short, value_name = "FILE")]
    output: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    /// Exit code 4
    Fail,
    /// Exit code 0, and a warning
    Warn,
    /// Exit code 0
    Pass,
}

impl Policy {
    /// Exit code of an inconclusive comparison.
    pub(super) fn exit(self) -> Exit {
        match self {
            Policy::Fail => Exit::Inconclusive,
            Policy::Warn | Policy::Pass => Exit::Passed,
        }
    }
}

/// A format by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// For people, 80 columns wide
    Terminal,
    /// For a comment or $GITHUB_STEP_SUMMARY
    Markdown,
    /// One page for people, that needs nothing else
    Html,
    /// All figures
    Json,
    /// For CI, a test case a gate
    Junit,
}

pub(super) fn main(args: Args) -> Exit {
    run(&args).unwrap_or_else(|problem| problem.print())
}

fn run(args: &Args) -> Result<Exit, Problem> {
    let outputs = args.telling.outputs()?;
    let base = baseline(&args.base)?;
    let candidate = side(&args.candidate)?;
    let noise = args.judging.noise(args.base.first().map(PathBuf::as_path))?;
    let comparison = args.judging.compare(&base, &candidate, noise.as_ref(), ALPHA)?;
    args.telling.tell(&comparison, &outputs)?;
    Ok(exit(&comparison))
}

/// Replaces the `--` between the sides of `compare` by `--candidate`, so that options may follow
/// the candidate too.
pub(super) fn with_sides(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|command| command == "compare")
        && let Some(parting) = arguments.iter_mut().find(|argument| *argument == "--")
    {
        *parting = "--candidate".into();
    }
    arguments
}

/// What a run will be compared with.
pub(super) struct Baseline<'a> {
    results: Vec<Saved>,
    noise: Option<Noise>,
    judging: &'a Judging,
}

impl<'a> Baseline<'a> {
    /// Reads it before the run, so that a mistake costs a second.
    pub(super) fn read(
        paths: &[PathBuf],
        judging: &'a Judging,
    ) -> Result<Option<Baseline<'a>>, Problem> {
        if paths.is_empty() {
            if let Some(gate) = judging.gates.first() {
                return Err(Problem::usage(format_args!(
                    "--gate: `{gate}` compares with a baseline; name one with --baseline"
                )));
            }
            return Ok(None);
        }
        let results = baseline(paths)?;
        let noise = judging.noise(paths.first().map(PathBuf::as_path))?;
        Ok(Some(Baseline { results, noise, judging }))
    }

    /// Compares a run with it, writes the comparison in all formats into the run's folder, and returns
    /// it with their paths. If a run has `only` some of the scenarios, the others are not missed.
    pub(super) fn judge(
        mut self,
        summary: Summary,
        folder: &Path,
        only: bool,
    ) -> Result<(Comparison, Vec<PathBuf>), Problem> {
        if only {
            let ran = |name: &str| summary.scenarios.iter().any(|scenario| scenario.name == name);
            for saved in &mut self.results {
                saved.summary.scenarios.retain(|scenario| ran(&scenario.name));
            }
        }
        let label = folder.join("report.json").display().to_string();
        let candidate = [Saved { label, summary }];
        let comparison =
            self.judging.compare(&self.results, &candidate, self.noise.as_ref(), ALPHA)?;
        let endings = COMPARISONS.map(|name| folder.join(name));
        let telling = Telling { format: None, output: endings.to_vec() };
        let outputs = telling.outputs()?;
        Telling::files(&outputs, |format, out| report::compare::write(&comparison, format, out))?;
        Ok((comparison, endings.to_vec()))
    }
}

impl Judging {
    /// The noise profile of the machine: the requested one, or the one next to the base.
    pub(super) fn noise(&self, base: Option<&Path>) -> Result<Option<Noise>, Problem> {
        let beside = || {
            let base = base?;
            let folder = if base.is_dir() { base } else { base.parent()? };
            Some(folder.join(NOISE_FILE)).filter(|path| path.is_file())
        };
        self.noise.clone().or_else(beside).map(|path| read_noise(&path)).transpose()
    }

    /// Compares at the level `alpha`.
    pub(super) fn compare(
        &self,
        base: &[Saved],
        candidate: &[Saved],
        noise: Option<&Noise>,
        alpha: f64,
    ) -> Result<Comparison, Problem> {
        let inconclusive = match self.inconclusive {
            Policy::Fail => OnInconclusive::Fail,
            Policy::Warn => OnInconclusive::Warn,
            Policy::Pass => OnInconclusive::Pass,
        };
        let options = Options { gates: &self.gates, alpha, noise, force: self.force, inconclusive };
        let compared = compare::compare(base, candidate, options);
        let mut comparison = compared.map_err(|error| Problem::from(&error))?;
        let other = |saved: &Saved| candidate.iter().any(|other| other.summary == saved.summary);
        if !base.is_empty() && base.iter().all(other) {
            comparison.notes.push("Both sides are the same results: they cannot differ.".into());
        }
        Ok(comparison)
    }
}

impl From<&CompareError> for Problem {
    fn from(error: &CompareError) -> Problem {
        let help = match error {
            CompareError::Incomparable(_) => {
                "\n  = help: measure both sides alike (`flowbench gate` does), or compare all the same \
                 with --force"
            }
            CompareError::TighterThanNoise(_) => {
                "\n  = help: such a gate would be decided by luck; --force judges it all the same"
            }
            _ => "",
        };
        let exit = match error {
            CompareError::Incomparable(_) => Exit::Inconclusive,
            _ => Exit::Usage,
        };
        Problem::new(exit, format!("error: {error}{help}"))
    }
}

impl Telling {
    /// The files to write and their formats.
    pub(super) fn outputs(&self) -> Result<Vec<(PathBuf, CompareFormat)>, Problem> {
        let by_ending = |path: &Path| match path.extension().and_then(|ending| ending.to_str()) {
            Some("md" | "markdown") => Ok(Kind::Markdown),
            Some("html" | "htm") => Ok(Kind::Html),
            Some("json") => Ok(Kind::Json),
            Some("xml") => Ok(Kind::Junit),
            Some("txt") => Ok(Kind::Terminal),
            _ => Err(Problem::usage(format_args!(
                "--output: what format is `{}`? Name it .md, .html, .json, .xml or .txt, or say \
                 --format",
                path.display()
            ))),
        };
        let mut outputs = Vec::new();
        for path in &self.output {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                let text = format!("error: --output: there is no folder for `{}`", path.display());
                return Err(Problem::new(Exit::NotWritten, text));
            }
            let kind = self.format.map_or_else(|| by_ending(path), Ok)?;
            outputs.push((path.clone(), kind.format(false)));
        }
        Ok(outputs)
    }

    /// Whether a format is requested.
    pub(super) fn wants(
        &self,
        wanted: CompareFormat,
        outputs: &[(PathBuf, CompareFormat)],
    ) -> bool {
        let printed = self.format.map(|kind| kind.format(false));
        outputs.iter().map(|(_, format)| *format).chain(printed).any(|format| format == wanted)
    }

    /// Writes the files, and prints to stdout unless it is used for something else.
    pub(super) fn tell(
        &self,
        comparison: &Comparison,
        outputs: &[(PathBuf, CompareFormat)],
    ) -> Result<(), Problem> {
        self.write(outputs, |format, out| report::compare::write(comparison, format, out))
    }

    /// The same for anything that can be written in these formats.
    pub(super) fn write(
        &self,
        outputs: &[(PathBuf, CompareFormat)],
        write: impl Fn(CompareFormat, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Problem> {
        Telling::files(outputs, &write)?;
        if self.format.is_some() && !outputs.is_empty() {
            return Ok(());
        }
        let format = self.format.unwrap_or(Kind::Terminal).format(print::colored());
        print::written(|out| write(format, out))
    }

    fn files(
        outputs: &[(PathBuf, CompareFormat)],
        write: impl Fn(CompareFormat, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Problem> {
        for (path, format) in outputs {
            files::whole(path, |out| write(*format, out)).map_err(not_written)?;
        }
        Ok(())
    }
}

impl Kind {
    fn format(self, color: bool) -> CompareFormat {
        match self {
            Kind::Terminal => CompareFormat::Terminal { color },
            Kind::Markdown => CompareFormat::Markdown,
            Kind::Html => CompareFormat::Html,
            Kind::Json => CompareFormat::Json,
            Kind::Junit => CompareFormat::Junit,
        }
    }
}

/// Exit code for a comparison.
pub(super) fn exit(comparison: &Comparison) -> Exit {
    match comparison.verdict {
        _ if comparison.passed => Exit::Passed,
        Some(Verdict::Regressed) => Exit::Failed,
        _ => Exit::Inconclusive,
    }
}

/// The results of a baseline. If there are none, the error says how to make one.
pub(super) fn baseline(paths: &[PathBuf]) -> Result<Vec<Saved>, Problem> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        let missing = missing.display();
        return Err(Problem::usage(format_args!(
            "there is no baseline `{missing}`\n  = help: make one of the version to compare with: \
             `flowbench noise SUITE --out {missing}` makes ten runs and learns how much they differ; \
             `flowbench run SUITE --out FOLDER` makes one, `FOLDER/report.json`"
        )));
    }
    side(paths)
}

/// The results at these paths, each a file or a folder of them.
pub(super) fn side(paths: &[PathBuf]) -> Result<Vec<Saved>, Problem> {
    let mut results = Vec::new();
    for path in paths {
        let files = if path.is_dir() { results_in(path)? } else { vec![path.clone()] };
        for file in files {
            // A pipe can be read once.
            if file.is_file() && journal::is_journal(&file) {
                let file = file.display();
                return Err(Problem::usage(format_args!(
                    "`{file}` is the journal of a run that was killed\n  = help: what it has makes a \
                     result by `flowbench report {file} -o report.json`"
                )));
            }
            let summary = saved::read(&file).map_err(Problem::usage)?;
            results.push(Saved { label: file.display().to_string(), summary });
        }
    }
    Ok(results)
}

/// The results in a folder, by name: files in the folder, or one in each subfolder.
pub(super) fn results_in(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error: io::Error| {
        Problem::usage(format_args!("cannot read the folder `{}`: {error}", folder.display()))
    };
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let inner = path.join("report.json");
        if path.is_dir() && inner.is_file() {
            found.push(inner);
        } else if path.extension().is_some_and(|ending| ending == "json") && is_result(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        let folder = folder.display();
        return Err(Problem::usage(format_args!("there is no result in the folder `{folder}`")));
    }
    found.sort();
    Ok(found)
}

/// Whether a file in a folder is a result. Other JSON may be there too, but damaged results are
/// reported.
fn is_result(path: &Path) -> bool {
    !matches!(saved::read(path), Err(error) if matches!(error.problem, ReadProblem::Foreign(_)))
}

fn read_noise(path: &Path) -> Result<Noise, Problem> {
    let wrong = |why: &dyn std::fmt::Display| {
        Problem::usage(format_args!("the noise in `{}` cannot be read: {why}", path.display()))
    };
    let text = text::read(path, text::CONFIG_BYTES_MAX).map_err(|error| wrong(&error))?;
    let noise: Noise = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    if noise.schema != noise::SCHEMA {
        let schema = &noise.schema;
        return Err(wrong(&format_args!("its schema is `{schema}`, not `{}`", noise::SCHEMA)));
    }
    Ok(noise)
}
