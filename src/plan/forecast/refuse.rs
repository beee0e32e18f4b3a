//! What cannot work, reported before any load.

use std::time::Duration;

use super::{Amount, Forecast, Limits, peak, spread};
use crate::metric::{Measure, Part, Statistic};
use crate::plan::{Load, Origin, Plan, Post, Scenario, Step, Work};
use crate::scenario::LoadedSuite;
use crate::scenario::condition::{Comparison, Condition};
use crate::schedule::Schedule;
use crate::source::{Problem, Problems, Spot};
use crate::units::ByteSize;

/// Reports what cannot work: thresholds that no Flow can meet, and needs that exceed the machine's limits.
///
/// # Errors
/// Each such problem, at its place in the file.
pub fn check(
    suite: &LoadedSuite,
    plan: &Plan,
    forecasts: &[Forecast],
    limits: &Limits,
) -> Result<(), Problems> {
    let mut problems = Vec::new();
    // Scenarios of a plan are those of the suite, in the same order.
    let all = suite.scenarios.iter().zip(&plan.scenarios).zip(forecasts);
    for ((unit, scenario), forecast) in all {
        let at = Spot::of(&unit.node);
        let here = is_here(plan, scenario);
        resources(at, scenario, here, forecast, limits, &mut problems);
        for (index, threshold) in scenario.thresholds.iter().enumerate() {
            if !threshold.implicit
                && let Some(reason) = impossible(&threshold.that, scenario, forecast)
            {
                let message = format!("`{}` cannot be met: {reason}", threshold.that);
                at.key("thresholds").index(index).problem(&mut problems, message, |p| p);
            }
        }
    }
    match Problems::new(&suite.sources, problems) {
        None => Ok(()),
        Some(problems) => Err(problems),
    }
}

/// Reports scenarios, of those that `runs` selects, that need more connections than the process may open,
/// whatever the Flow does: one scenario alone, or those that begin at the same time together.
///
/// # Errors
/// Each of them, at its place in the file.
pub fn check_connections(
    suite: &LoadedSuite,
    plan: &Plan,
    limits: &Limits,
    runs: impl Fn(&str) -> bool,
) -> Result<(), Problems> {
    let mut problems = Vec::new();
    let mut together = OTHER_FILES;
    let all = suite.scenarios.iter().zip(&plan.scenarios);
    for (unit, scenario) in all.filter(|(_, scenario)| runs(&scenario.name)) {
        let opened = scenario.workers(limits.cores, plan.part).connections as u64;
        let needed = match &scenario.load {
            // Even if fewer are opened in advance.
            Load::Closed { .. } if scenario.has_a_connection_each() => {
                opened.max(plan.part.share(peak(&scenario.load) as u64))
            }
            _ => opened,
        };
        let (at, here) = (Spot::of(&unit.node), is_here(plan, scenario));
        if connections(at, needed, here, limits, &mut problems)
            || !scenario.needs.is_empty()
            || !scenario.start.is_zero()
        {
            continue;
        }
        let before = together;
        together = together.saturating_add(files(needed, here));
        // Reported once, for the first scenario over the limit.
        if before <= limits.files && together > limits.files {
            let message = format!(
                "this needs {needed} connections in addition to scenarios that begin at the same \
                 time, but the process may open only {} files for all of them",
                limits.files
            );
            place_of_connections(at).problem(&mut problems, message, |problem| {
                problem
                    .help("raise the limit (`ulimit -n`), or make it wait for another with `needs`")
            });
        }
    }
    Problems::new(&suite.sources, problems).map_or(Ok(()), Err)
}

/// Whether the Flow runs in this process, so that both ends of a connection count as our open files.
fn is_here(plan: &Plan, scenario: &Scenario) -> bool {
    matches!(plan.flows[scenario.flow].origin, Origin::Embedded(_))
}

/// Files that the program itself opens: its reports, data sets, the runtime's.
const OTHER_FILES: u64 = 64;

/// Files that this many connections take.
fn files(connections: u64, here: bool) -> u64 {
    connections.saturating_mul(if here { 2 } else { 1 })
}

/// Where a scenario says how many connections it takes.
fn place_of_connections(at: Spot<'_>) -> Spot<'_> {
    match at.key("connections").node() {
        Some(_) => at.key("connections"),
        None => at.key("load"),
    }
}

/// Reports more connections than are possible; returns whether it did.
fn connections(
    at: Spot<'_>,
    needed: u64,
    here: bool,
    limits: &Limits,
    problems: &mut Vec<Problem>,
) -> bool {
    let files = files(needed, here).saturating_add(OTHER_FILES);
    if files <= limits.files {
        return false;
    }
    let ends = if here { " to a Flow in this process, two files each" } else { "" };
    let message = format!(
        "this needs {needed} connections{ends}, but the process may open only {} files",
        limits.files
    );
    place_of_connections(at).problem(problems, message, |problem| {
        problem.help(format!("raise the limit: ulimit -n {files}"))
    });
    true
}

fn resources(
    at: Spot<'_>,
    scenario: &Scenario,
    here: bool,
    forecast: &Forecast,
    limits: &Limits,
    problems: &mut Vec<Problem>,
) {
    connections(at, forecast.connections, here, limits, problems);
    if forecast.memory_bytes > limits.memory_bytes {
        let round = |bytes: u64| ByteSize::new(bytes >> 20 << 20);
        let message = format!(
            "this needs {} of memory, but only {} is free",
            round(forecast.memory_bytes),
            round(limits.memory_bytes)
        );
        at.key("load").problem(problems, message, |problem| {
            problem.help("reduce the requests in flight or `request_size`")
        });
    }
    if let Load::Open { max_in_flight, schedule: Schedule::Rate { .. }, .. } = &scenario.load
        && let Some(in_flight) = forecast.in_flight
        && let Some((condition, _)) =
            forecast.objective.as_ref().filter(|(condition, _)| is_mean(condition))
        && in_flight > *max_in_flight as f64
    {
        let message = format!(
            "at `{condition}` there are {} requests in flight, and arrivals beyond {max_in_flight} are \
             dropped",
            in_flight.ceil()
        );
        at.key("load").key("max_in_flight").problem(problems, message, |problem| problem);
    }
}

/// Whether it limits a mean, which determines how many requests are in flight.
fn is_mean(condition: &Condition) -> bool {
    matches!(
        condition.metric.measure,
        Measure::Latency(Part::Response | Part::Service, Statistic::Mean)
    )
}

/// Why a condition cannot be met whatever the Flow does.
fn impossible(condition: &Condition, scenario: &Scenario, forecast: &Forecast) -> Option<String> {
    let least = match condition.comparison {
        Comparison::Greater | Comparison::AtLeast | Comparison::Equal => condition.limit,
        _ => return None,
    };
    let beyond =
        |most: f64| most < least || (most == least && condition.comparison == Comparison::Greater);
    let size = |step: &Step| match &step.work {
        Work::Post(Post { documents: Some(_), request_size, .. }) => *request_size as f64,
        _ => 0.0,
    };
    let most = |of: &dyn Fn(&Step) -> f64| {
        let runs = scenario.runs().map(|(steps, _)| steps.iter().map(of).sum::<f64>());
        runs.fold(0.0, f64::max)
    };
    let steps = scenario.steps_max() as f64;
    // The most requests per second that the load can offer.
    let offered = match &scenario.load {
        Load::Open { schedule, .. } => {
            let peak = peak(&scenario.load) * steps;
            // Averaged over the whole time, it cannot exceed the number of arrivals.
            let count = match forecast.requests {
                Amount::Exactly(count) => Some(count),
                Amount::About(count) => Some(count + spread(count, schedule)),
                Amount::Unknown => None,
            };
            let whole = count.zip(forecast.duration);
            let mean = whole.map(|(count, time)| count as f64 / time.as_secs_f64());
            Some(mean.unwrap_or(peak).min(peak))
        }
        Load::Closed { think_time, .. } => {
            let within = scenario.runs().map(|(steps, _)| {
                steps.iter().map(|step| step.think_time.least()).sum::<Duration>()
            });
            let pauses = think_time.least() + within.min().unwrap_or_default();
            let requests = peak(&scenario.load) * steps;
            (!pauses.is_zero()).then(|| requests / pauses.as_secs_f64())
        }
        _ => None,
    };
    match condition.metric.measure {
        Measure::Throughput => offered.filter(|offered| beyond(*offered)).map(|offered| {
            format!("the load offers no more than {} requests per second", rounded(offered))
        }),
        Measure::DocumentsPerSecond => {
            let documents = offered? / steps * most(&size);
            beyond(documents).then(|| {
                format!("the load offers no more than {} Documents per second", rounded(documents))
            })
        }
        Measure::Requests => match forecast.requests {
            Amount::Exactly(count) if beyond(count as f64) => {
                Some(format!("the load has {count} requests"))
            }
            _ => None,
        },
        _ => None,
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
