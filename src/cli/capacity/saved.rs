//! A new plan from a saved capacity search, without measuring again.

use super::Args;
use super::task::planning;
use crate::capacity::planning::plan_for;
use crate::capacity::result::{self, Capacity};
use crate::capacity::words;
use crate::cli::problem::Problem;
use crate::cli::results::is_search;

/// The result of an earlier search, with the requested plan. `None` if the file is a suite.
pub(super) fn read(args: &Args) -> Result<Option<Capacity>, Problem> {
    if !is_search(&args.file) {
        return Ok(None);
    }
    let mut capacity = result::read(&args.file).map_err(Problem::usage)?;
    if let Some(option) = measures(args) {
        return Err(Problem::usage(format!(
            "`{option}` needs a suite to measure: `{}` is the result of a search, which only \
             takes the planning options `--peak`, `--growth`, `--forecast`, `--headroom`, \
             `--replicas` and `--cost`",
            args.file.display()
        )));
    }
    let Some(planning) = planning(&args.planning, false)? else {
        return Err(Problem::usage(format!(
            "`{0}` is the result of a search: set what to plan for with `--peak 3000/s` or \
             `--forecast forecast.csv`, or render it again with `flowbench report {0}`",
            args.file.display()
        )));
    };
    let replicas = args.planning.replicas.unwrap_or(capacity.replicas);
    plan_for(&mut capacity, replicas, Some(planning));
    words::write(&mut capacity);
    Ok(Some(capacity))
}

/// The first option given that needs a measurement.
fn measures(args: &Args) -> Option<&'static str> {
    let given = [
        ("--set", !args.changes.is_empty()),
        ("--scenario", args.scenario.is_some()),
        ("--objective", !args.objective.is_empty()),
        ("--rate", args.rate.is_some()),
        ("--clients", args.clients.is_some()),
        ("--precision", args.precision.is_some()),
        ("--confidence", args.confidence.is_some()),
        ("--trial", args.trial.is_some()),
        ("--skip-overload", args.skip_overload),
        ("--request-size", !args.request_size.is_empty()),
        ("--connections", !args.connections.is_empty()),
    ];
    given.into_iter().find_map(|(option, given)| given.then_some(option))
}
