//! `flowbench noise`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::comparison::Policy;
use super::exit::Exit;
use super::folder::{self, refuse_saves};
use super::meet::Parts;
use super::print;
use super::problem::{Problem, not_written};
use super::results::NOISE_FILE;
use super::rounds::{UNUSED, keep, once, unusable};
use super::signals::watch_signals;
use super::suite::Changes;
use super::values::runs;
use crate::compare::noise::{Noise, RUNS_MIN};
use crate::compare::{ALPHA, Saved};
use crate::engine::Stop;
use crate::meet::Meeting;
use crate::plan::Plan;
use crate::report::files::{self, FilesError};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench noise load.yaml --out baseline/
  flowbench compare baseline/ -- after.json --gate 'p99 +10%'

Runs a suite several times without changing anything, and measures how much its figures still differ. \
The results and noise.json in the folder are a baseline: a comparison with it knows the smallest change \
that this machine can detect, and rejects tighter gates.

Exit codes: 0 measured; 2 the file or the command line is wrong; 3 a target could not be reached or \
started; 4 too many runs could not be used; 5 a file could not be written; 130 interrupted.")]
pub(super) struct Args {
    /// The suite: a YAML file
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// Number of runs; more runs can detect smaller changes
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = runs)]
    runs: usize,
    /// Write the results and noise.json into this folder [default: baseline]
    #[arg(long, value_name = "FOLDER", default_value = "baseline", hide_default_value = true)]
    out: PathBuf,
    /// What too many unusable runs lead to: exit code 4, a warning, or nothing
    #[arg(long, value_enum, default_value = "fail", value_name = "POLICY")]
    inconclusive: Policy,
    #[command(flatten)]
    parts: Parts,
    /// Show nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

pub(super) async fn main(args: Args) -> Exit {
    run(&args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: &Args) -> Result<Exit, Problem> {
    let part = args.parts.connected()?;
    let plan = args.changes.runnable(&args.file, part)?;
    let stop = Stop::default();
    watch_signals(stop.clone(), args.quiet);
    if part.number() > 1 {
        let meeting = args.parts.meeting("noise", &plan, &stop, args.quiet).await?;
        Parts::follow(&[plan], meeting.as_ref(), &stop, None).await?;
        return Ok(Exit::Passed);
    }
    // A folder that cannot be created, or that has another baseline, costs a second and not the
    // runs.
    prepare(&args.out)?;
    refuse_saves(&plan, &args.out)?;
    let meeting = args.parts.meeting("noise", &plan, &stop, args.quiet).await?;
    let made = make(args, &plan, &stop, meeting.as_ref()).await;
    if let Some(meeting) = meeting {
        meeting.close().await;
    }
    let Made { results, given_up } = made?;
    if results.len() >= RUNS_MIN {
        learn(&results, &args.out)?;
    } else {
        set_aside(&results, &args.out).map_err(not_written)?;
    }
    let Some(reason) = given_up else { return Ok(Exit::Passed) };
    let (made, unused) = (results.len(), args.out.join(UNUSED));
    let (runs, unused) = (args.runs, unused.display());
    let kept = match made < RUNS_MIN {
        true => format!("a noise profile needs {RUNS_MIN}, so all are in `{unused}`"),
        false => format!("the others are in `{unused}`"),
    };
    print::tell(format_args!(
        "inconclusive: {made} of {runs} runs can be used, {kept}; the last that cannot: {reason}"
    ));
    Ok(args.inconclusive.exit())
}

/// Runs that can be used.
struct Made {
    results: Vec<Saved>,
    /// Why too many others cannot.
    given_up: Option<String>,
}

/// Makes the runs.
async fn make(
    args: &Args,
    plan: &Plan,
    stop: &Stop,
    meeting: Option<&Meeting>,
) -> Result<Made, Problem> {
    let mut results: Vec<Saved> = Vec::new();
    let mut bad = 0;
    let mut given_up = None;
    while results.len() < args.runs && given_up.is_none() {
        let number = results.len() + 1;
        let label = format!("run {number} of {}", args.runs);
        let mut saved = once(plan, label, stop, args.quiet, (meeting, 0), None).await?;
        let name = format!("run-{number:03}");
        if let Some(reason) = unusable(&saved) {
            bad += 1;
            keep(&args.out.join(UNUSED), &format!("{name}-{bad}"), &saved)?;
            if bad > args.runs {
                given_up = Some(reason);
            } else if !args.quiet {
                print::tell(format_args!("{}: repeated: {reason}", saved.label));
            }
            continue;
        }
        keep(&args.out, &name, &saved)?;
        saved.label = args.out.join(name).with_extension("json").display().to_string();
        results.push(saved);
    }
    Ok(Made { results, given_up })
}

/// Moves results to the unusable ones: too few make no baseline, and the folder is then free for
/// the next attempt.
fn set_aside(results: &[Saved], folder: &Path) -> Result<(), FilesError> {
    for saved in results {
        let path = Path::new(&saved.label);
        let name = path.file_name().unwrap_or_default();
        std::fs::rename(path, folder.join(UNUSED).join(name))
            .map_err(|source| FilesError { path: path.into(), source })?;
    }
    Ok(())
}

/// Makes the noise profile from results, and prints it.
fn learn(results: &[Saved], folder: &Path) -> Result<(), Problem> {
    let noise = Noise::learn(results, ALPHA).map_err(|error| Problem::from(&error))?;
    let path = folder.join(NOISE_FILE);
    files::whole(&path, |out| {
        serde_json::to_writer_pretty(&mut *out, &noise)?;
        writeln!(out)
    })
    .map_err(not_written)?;
    print::written(|out| tell(&noise, &path, out))
}

/// Creates the folder; one that holds results of something else is not touched.
fn prepare(folder: &Path) -> Result<(), Problem> {
    folder::create(folder)?;
    let entries = folder.read_dir().map_err(|error| folder::not_created(folder, &error))?;
    let taken =
        entries.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == "json"));
    if taken {
        return Err(Problem::usage(format_args!(
            "--out: `{}` already contains results; remove them, or name another folder",
            folder.display()
        )));
    }
    Ok(())
}

fn tell(noise: &Noise, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:44}{:>14}{:>20}", "", "std. deviation", "detectable change")?;
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
