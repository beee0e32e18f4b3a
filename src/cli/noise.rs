//! `flowbench noise`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::compare::NOISE_FILE;
use super::problem::Problem;
use super::rounds::{once, unusable};
use super::run::not_written;
use super::signals::watch_signals;
use super::suite::Changes;
use super::{Exit, print};
use crate::compare::ALPHA;
use crate::compare::noise::{Noise, RUNS_MIN};
use crate::engine::Stop;
use crate::report::{self, Format, files};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench noise load.yaml --out baseline/
  flowbench compare baseline/ -- after.json --gate 'p99 +10%'

Runs a suite several times without changing anything, and learns how much its figures differ all the \
same. The results and noise.json in the folder are a baseline: a comparison with it knows what this \
machine can tell, and refuses gates that are tighter.

Exit codes: 0 learned; 2 the file or the command line is wrong; 3 a target could not be reached or \
started; 4 too many runs were not valid; 5 a file could not be written; 130 interrupted.")]
pub(super) struct Args {
    /// The suite: a YAML file
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// Runs to make; more say better what the machine can tell
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = runs)]
    runs: usize,
    /// Write the results and noise.json into this folder [default: baseline]
    #[arg(long, value_name = "FOLDER", default_value = "baseline", hide_default_value = true)]
    out: PathBuf,
    /// Show nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

fn runs(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000;
    match text.parse() {
        Ok(runs) if (RUNS_MIN..=MOST).contains(&runs) => Ok(runs),
        _ => Err(format!("expected a number from {RUNS_MIN} to {MOST}")),
    }
}

pub(super) async fn main(args: Args) -> Exit {
    run(&args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: &Args) -> Result<Exit, Problem> {
    let plan = args.changes.plan(&args.file)?;
    // A folder that cannot be made, or holds another baseline, costs a second and not the runs.
    prepare(&args.out)?;
    let stop = Stop::default();
    watch_signals(stop.clone(), args.quiet);
    let mut results = Vec::new();
    let mut bad = 0;
    while results.len() < args.runs {
        let number = results.len() + 1;
        let path = args.out.join(format!("run-{number:03}.json"));
        let label = format!("run {number} of {}", args.runs);
        let mut saved = once(&plan, label, &stop, args.quiet).await?;
        if let Some(reason) = unusable(&saved) {
            bad += 1;
            if bad > args.runs {
                let text = format!("error: too many runs cannot be used; the last: {reason}");
                return Err(Problem::new(Exit::NotJudged, text));
            }
            if !args.quiet {
                print::tell(format_args!("{}: made again: {reason}", saved.label));
            }
            continue;
        }
        files::whole(&path, |out| report::write(&saved.summary, Format::Json, out))
            .map_err(not_written)?;
        saved.label = path.display().to_string();
        results.push(saved);
    }
    let noise = Noise::learn(&results, ALPHA).map_err(|error| Problem::from(&error))?;
    let path = args.out.join(NOISE_FILE);
    files::whole(&path, |out| {
        serde_json::to_writer_pretty(&mut *out, &noise)?;
        writeln!(out)
    })
    .map_err(not_written)?;
    print::written(|out| tell(&noise, &path, out))?;
    Ok(Exit::Held)
}

/// Makes the folder; one that holds something else's results stays as it is.
fn prepare(folder: &Path) -> Result<(), Problem> {
    let failed = |error: io::Error| {
        let folder = folder.display();
        let text = format!("error: --out: cannot make the folder `{folder}`: {error}");
        Problem::new(Exit::NotWritten, text)
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let entries = folder.read_dir().map_err(failed)?;
    let taken =
        entries.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == "json"));
    if taken {
        return Err(Problem::usage(format_args!(
            "--out: `{}` holds results already; remove them, or name another folder",
            folder.display()
        )));
    }
    Ok(())
}

fn tell(noise: &Noise, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let runs = noise.runs;
    writeln!(out, "{:44}{:>14}{:>20}", "", "runs differ by", format!("{runs} v. {runs} can tell"))?;
    for scenario in &noise.scenarios {
        writeln!(out, "{}", scenario.name)?;
        for metric in &scenario.metrics {
            let unit = if metric.unit == "share" { "points" } else { "%" };
            let show = |value: f64| format!("{:.2} {unit}", value * 100.0);
            writeln!(
                out,
                "  {:42}{:>14}{:>20}",
                metric.metric,
                show(metric.deviation),
                show(metric.floor)
            )?;
        }
    }
    writeln!(out, "\n{}", path.display())
}
