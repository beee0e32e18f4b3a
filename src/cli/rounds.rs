//! Runs a plan several times, for `gate` and `noise`.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::exit::Exit;
use super::folder;
use super::live::show;
use super::print::{self, output};
use super::problem::{Problem, not_written};
use crate::compare::Saved;
use crate::engine::Stop;
use crate::meet::Meeting;
use crate::plan::Plan;
use crate::record::reason::{self, Code};
use crate::record::summary::{EndReason, Summary};
use crate::report::words::latency;
use crate::report::{self, Format, files};
use crate::run::{self, Board};

/// Runs a plan once, and prints the outcome to stderr. Part 1 of a connected load runs it in all parts; `which`
/// is its number there.
///
/// # Errors
///
/// If it was interrupted, a part was lost, could not start, or did not reach its target.
pub(super) async fn once(
    plan: &Plan,
    label: String,
    stop: &Stop,
    quiet: bool,
    (meeting, which): (Option<&Meeting>, usize),
    board: Option<Arc<Board>>,
) -> Result<Saved, Problem> {
    if let Some(board) = &board {
        board.next(label.clone());
    }
    let (live, states) = watch::channel(Vec::new());
    // One line per run is enough for a log; a terminal shows the progress.
    let shown = (!quiet && print::err_is_terminal()).then(|| tokio::spawn(show(states)));
    let options = run::Options {
        output: output(true),
        stop: stop.clone(),
        live,
        meeting: meeting.cloned(),
        plan: which,
        board,
        ..run::Options::default()
    };
    let outcome = run::run(plan.clone(), options).await;
    if let Some(shown) = shown {
        // It ends with the run, which drops its end of the channel.
        let _ = shown.await;
    }
    let summary = outcome.map_err(|error| Problem::caused(Exit::Usage, &error))?;
    if !quiet {
        print::tell(format_args!("{label}: {}", told(&summary)));
    }
    if summary.interrupted {
        let text = "interrupted: there is no verdict".into();
        return Err(Problem::new(Exit::Interrupted, text));
    }
    let mut reasons = summary.scenarios.iter().flat_map(|scenario| &scenario.validity.reasons);
    let lost = reasons.clone().find(|reason| reason.code == Code::PartLost);
    if let Some(lost) = lost {
        // Without it there is nothing to compare.
        return Err(Problem::new(Exit::Unreachable, format!("error: {label}: {}", lost.text)));
    }
    for scenario in &summary.scenarios {
        let exit = match scenario.end.reason {
            EndReason::Unreachable => Exit::Unreachable,
            EndReason::Broken => Exit::Usage,
            _ => continue,
        };
        let why = scenario.end.message.clone().unwrap_or_default();
        let text = format!("error: {label}: scenario `{}` did not run: {why}", scenario.name);
        return Err(Problem::new(exit, text));
    }
    // One that was lost before it could send anything.
    if let Some(missing) = reasons.find(|reason| reason.code == Code::PartMissing) {
        return Err(Problem::new(Exit::Unreachable, format!("error: {label}: {}", missing.text)));
    }
    Ok(Saved { label, summary })
}

/// Why a run is unusable, if it is: it was not valid, or did not run to its end.
pub(super) fn unusable(saved: &Saved) -> Option<String> {
    saved.summary.scenarios.iter().find_map(|scenario| {
        let name = &scenario.name;
        match scenario.end.reason {
            EndReason::Aborted | EndReason::Skipped | EndReason::PartLost => {
                Some(format!("`{name}` did not run to its end"))
            }
            _ if scenario.validity.against_all().next().is_some() => {
                Some(format!("`{name}`: {}", reason::join(scenario.validity.against_all())))
            }
            _ => None,
        }
    })
}

/// Subfolder for unusable results.
pub(super) const UNUSED: &str = "unused";

/// Writes a result into a folder under this name.
pub(super) fn keep(folder: &Path, name: &str, saved: &Saved) -> Result<(), Problem> {
    folder::create(folder)?;
    let path = folder.join(format!("{name}.json"));
    files::whole(&path, |out| report::write(&saved.summary, Format::Json, out)).map_err(not_written)
}

fn told(summary: &Summary) -> String {
    let scenario = |scenario: &crate::record::summary::ScenarioSummary| {
        let time = &scenario.response_time_ms;
        let (p50, p99) = (latency(time.p50), latency(time.told_p99()));
        format!("{} p50 {p50}, p99 {p99}", scenario.name)
    };
    summary.scenarios.iter().map(scenario).collect::<Vec<_>>().join("; ")
}
