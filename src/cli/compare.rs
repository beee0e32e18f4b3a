//! `flowbench compare`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::comparison::{Judging, OutputArgs, exit};
use super::exit::Exit;
use super::problem::Problem;
use super::results::{baseline, side};
use crate::compare::ALPHA;

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "flowbench compare [OPTIONS] BASE... -- CANDIDATE...",
    after_help = "\
Examples:
  flowbench compare before.json -- after.json
  flowbench compare baseline/ -- after-*.json --gate 'p99 +10% +2ms' --gate 'throughput -5%'
  flowbench compare baseline/ -- after.json --gate 'p99 +10%' -o gate.md -o gate.xml -o gate.html

A side is one result or several, each a report.json or a folder of them. A gate is a metric and how \
much worse it may get: `p99 +10%`, `service.p50 +2ms`, `executor.indexer.p99 +10%`, `throughput -5%`, \
`error_rate +0.1%` (points). Verdicts are wrong in 1 of 100 cases at most, over all gates together.

Exit codes: 0 all gates passed (or there were none); 1 one regressed; 2 the command line is wrong, or a \
result cannot be read; 4 inconclusive, or not comparable; 5 a report could not be \
written."
)]
pub(super) struct Args {
    /// Results of the base, then `--` and those of the candidate
    #[arg(value_name = "BASE")]
    base: Vec<PathBuf>,
    /// Results of the candidate
    // `main` inserts it instead of `--`, so that options may follow.
    #[arg(long, hide = true, num_args = 0.., value_name = "CANDIDATE")]
    candidate: Vec<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn main(args: Args) -> Exit {
    run(&args).unwrap_or_else(|problem| problem.print())
}

fn run(args: &Args) -> Result<Exit, Problem> {
    args.sides()?;
    let files = args.output.files()?;
    let base = baseline(&args.base)?;
    let candidate = side(&args.candidate)?;
    let noise = args.judging.noise(args.base.first().map(PathBuf::as_path))?;
    let comparison = args.judging.compare(&base, &candidate, noise.as_ref(), ALPHA)?;
    args.output.write_comparison(&comparison, &files)?;
    Ok(exit(&comparison))
}

impl Args {
    /// Refuses a command line that lacks a side.
    fn sides(&self) -> Result<(), Problem> {
        let (lacks, instead) = match (&self.base[..], &self.candidate[..]) {
            ([], []) => ("two sides", "before.json -- after.json".to_owned()),
            ([], _) => ("results of the base before `--`", "before.json -- after.json".to_owned()),
            ([base @ .., last], []) if !base.is_empty() => {
                let shown: Vec<String> =
                    base.iter().map(|path| path.display().to_string()).collect();
                let instead = format!("{} -- {}", shown.join(" "), last.display());
                ("`--` before the results of the candidate", instead)
            }
            ([base, ..], []) => {
                let instead = format!("{} -- after.json", base.display());
                ("`--` and results of the candidate", instead)
            }
            _ => return Ok(()),
        };
        Err(Problem::usage(format_args!(
            "`compare` needs {lacks}\n  = help: `flowbench compare {instead}`"
        )))
    }
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
