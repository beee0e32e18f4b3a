//! Shared by the commands that compare results: options, comparing, and the exit code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::exit::Exit;
use super::print;
use super::problem::{Problem, not_written};
use super::results::{NOISE_FILE, baseline, read_noise};
use crate::compare::noise::Noise;
use crate::compare::{
    self, ALPHA, CompareError, Comparison, Gate, OnInconclusive, Options, Saved, Verdict,
};
use crate::record::summary::Summary;
use crate::report::compare::CompareFormat;
use crate::report::{self, files};

/// The files that a run with a baseline writes next to its reports.
pub(super) const COMPARISONS: [&str; 4] =
    ["comparison.json", "comparison.html", "comparison.md", "comparison.xml"];

/// How two sides are judged.
#[derive(Debug, clap::Args)]
pub(super) struct Judging {
    /// How much worse a metric may get, such as `p99 +10%`; can be repeated
    #[arg(long = "gate", value_name = "GATE")]
    pub(super) gates: Vec<Gate>,
    /// Effect of inconclusive gates: exit code 4, a warning, or nothing
    #[arg(long, value_enum, default_value = "fail", value_name = "POLICY")]
    inconclusive: Policy,
    /// The noise profile of this machine, from `flowbench noise` [default: noise.json beside the base]
    #[arg(long, value_name = "FILE")]
    pub(super) noise: Option<PathBuf>,
    /// Compare results that should not be compared, and note it in every report
    #[arg(long)]
    pub(super) force: bool,
}

/// Where a comparison is written, and in which formats.
#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// [default: by the output's file extension, or terminal without -o]
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
    /// A self-contained page for people
    Html,
    /// All figures
    Json,
    /// For CI, with a test case per gate
    Junit,
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

    /// Compares a run with it, writes the comparison in all formats into the run's folder, and returns it with
    /// their paths. If only some scenarios were run (`only`), the others do not count as missing.
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
        let outputs = OutputArgs { format: None, output: endings.to_vec() };
        let files = outputs.files()?;
        OutputArgs::write_files(&files, |format, out| {
            report::compare::write(&comparison, format, out)
        })?;
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
                "\n  = help: measure both sides the same way (as `flowbench gate` does), or \
                 compare anyway with --force"
            }
            CompareError::TighterThanNoise(_) => {
                "\n  = help: such a gate would be decided by chance; --force evaluates it anyway"
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

impl OutputArgs {
    /// The files to write and their formats.
    pub(super) fn files(&self) -> Result<Vec<(PathBuf, CompareFormat)>, Problem> {
        let by_ending = |path: &Path| match path.extension().and_then(|ending| ending.to_str()) {
            Some("md" | "markdown") => Ok(Kind::Markdown),
            Some("html" | "htm") => Ok(Kind::Html),
            Some("json") => Ok(Kind::Json),
            Some("xml") => Ok(Kind::Junit),
            Some("txt") => Ok(Kind::Terminal),
            _ => Err(Problem::usage(format_args!(
                "--output: unknown format of `{}`; name it .md, .html, .json, .xml or .txt, or \
                 use --format",
                path.display()
            ))),
        };
        let mut files = Vec::new();
        for path in &self.output {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                let text = format!("error: --output: there is no folder for `{}`", path.display());
                return Err(Problem::new(Exit::NotWritten, text));
            }
            let kind = self.format.map_or_else(|| by_ending(path), Ok)?;
            files.push((path.clone(), kind.format(false)));
        }
        Ok(files)
    }

    /// Whether a format is requested.
    pub(super) fn wants(&self, wanted: CompareFormat, files: &[(PathBuf, CompareFormat)]) -> bool {
        let printed = self.format.map(|kind| kind.format(false));
        files.iter().map(|(_, format)| *format).chain(printed).any(|format| format == wanted)
    }

    /// Writes the files, and prints to stdout unless it is used for something else.
    pub(super) fn write_comparison(
        &self,
        comparison: &Comparison,
        files: &[(PathBuf, CompareFormat)],
    ) -> Result<(), Problem> {
        self.write(files, |format, out| report::compare::write(comparison, format, out))
    }

    /// Like [`Self::write_comparison`], for anything that can be written in these formats.
    pub(super) fn write(
        &self,
        files: &[(PathBuf, CompareFormat)],
        write: impl Fn(CompareFormat, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Problem> {
        OutputArgs::write_files(files, &write)?;
        if self.format.is_some() && !files.is_empty() {
            return Ok(());
        }
        let format = self.format.unwrap_or(Kind::Terminal).format(print::colored());
        print::written(|out| write(format, out))
    }

    fn write_files(
        files: &[(PathBuf, CompareFormat)],
        write: impl Fn(CompareFormat, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Problem> {
        for (path, format) in files {
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
