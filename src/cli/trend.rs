//! `flowbench trend`.

use std::path::PathBuf;

use super::comparison::OutputArgs;
use super::exit::Exit;
use super::problem::Problem;
use super::results::{results_in, side};
use crate::compare::trend::trend;
use crate::report;
use crate::report::compare::CompareFormat;
use crate::units::Percentage;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench trend results/
  flowbench trend reports/ --effect 3% -o trend.html

Finds lasting changes in a series of results of one suite on one machine: the first result after each, \
and by how much the median changed. Results that cannot be compared with the newest are skipped and \
listed.

Exit codes: 0 reported, whatever was found; 2 the command line is wrong, or a result cannot be read; 5 a \
report could not be written.")]
pub(super) struct Args {
    /// A folder of results, or of folders with a report.json each
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Smaller changes of the median are not reported
    #[arg(long, default_value = "5%", value_name = "PERCENT")]
    effect: Percentage,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn main(args: Args) -> Exit {
    run(&args).unwrap_or_else(|problem| problem.print())
}

fn run(args: &Args) -> Result<Exit, Problem> {
    let files = args.output.files()?;
    if args.output.wants(CompareFormat::Junit, &files) {
        return Err(Problem::usage(
            "--format: a trend has no verdicts, so it cannot be junit; expected terminal, \
             markdown, html or json",
        ));
    }
    if !args.folder.is_dir() {
        let folder = args.folder.display();
        return Err(Problem::usage(format_args!("there is no folder `{folder}`")));
    }
    let results = side(&results_in(&args.folder)?)?;
    let trend = trend(results, args.effect.fraction()).map_err(|error| Problem::from(&error))?;
    args.output.write(&files, |format, out| report::compare::write_trend(&trend, format, out))?;
    Ok(Exit::Passed)
}
