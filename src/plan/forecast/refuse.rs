//! What cannot work, told before any load.

use super::{Amount, Forecast, Limits, peak, spread};
use crate::plan::{Load, Plan, Post, Scenario, Schedule, Work};
use crate::scenario::LoadedSuite;
use crate::scenario::condition::{Comparison, Condition, Metric};
use crate::source::{Problem, Problems, Spot};
use crate::units::ByteSize;
use crate::wire::Protocol;

/// Tells of what cannot work: thresholds that no Flow can hold, and more than the machine has.
///
/// # Errors
/// Each such thing, at its place in the file.
pub fn check(
    suite: &LoadedSuite,
    plan: &Plan,
    forecasts: &[Forecast],
    limits: &Limits,
) -> Result<(), Problems> {
    let mut problems = Vec::new();
    // Scenarios of a plan are those of the suite, in their order.
    let all = suite.scenarios.iter().zip(&plan.scenarios).zip(forecasts);
    for ((unit, scenario), forecast) in all {
        let at = Spot::of(&unit.node);
        resources(at, scenario, forecast, limits, &mut problems);
        for (index, threshold) in scenario.thresholds.iter().enumerate() {
            if !threshold.implicit
                && let Some(reason) = impossible(&threshold.that, scenario, forecast)
            {
                let message = format!("`{}` cannot hold: {reason}", threshold.that);
                at.key("thresholds").index(index).problem(&mut problems, message, |p| p);
            }
        }
    }
    match Problems::new(&suite.sources, problems) {
        None => Ok(()),
        Some(problems) => Err(problems),
    }
}

/// Tells of scenarios, of those that `runs` names, that need more connections than the process may
/// open, whatever the Flow does.
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
    let all = suite.scenarios.iter().zip(&plan.scenarios);
    for (unit, scenario) in all.filter(|(_, scenario)| runs(&scenario.name)) {
        let opened = scenario.crew(1).connections as u64;
        let needed = match (&scenario.load, scenario.protocol) {
            // Each client has a connection of its own, however few are opened before.
            (Load::Closed { .. }, Protocol::Http) => opened.max(peak(&scenario.load) as u64),
            _ => opened,
        };
        connections(Spot::of(&unit.node), needed, limits, &mut problems);
    }
    Problems::new(&suite.sources, problems).map_or(Ok(()), Err)
}

fn connections(at: Spot<'_>, needed: u64, limits: &Limits, problems: &mut Vec<Problem>) {
    // Some are taken by the program itself, its reports and data sets.
    if needed <= limits.files.saturating_sub(64) {
        return;
    }
    let at = match at.key("connections").node() {
        Some(_) => at.key("connections"),
        None => at.key("load"),
    };
    let message = format!(
        "this takes {needed} connections, and the process may have {} files open",
        limits.files
    );
    at.problem(problems, message, |problem| {
        problem.help(format!("raise the limit: ulimit -n {}", needed + 64))
    });
}

fn resources(
    at: Spot<'_>,
    scenario: &Scenario,
    forecast: &Forecast,
    limits: &Limits,
    problems: &mut Vec<Problem>,
) {
    connections(at, forecast.connections, limits, problems);
    if forecast.memory_bytes > limits.memory_bytes {
        let round = |bytes: u64| ByteSize::new(bytes >> 20 << 20);
        let message = format!(
            "this takes {} of memory, and {} are free",
            round(forecast.memory_bytes),
            round(limits.memory_bytes)
        );
        at.key("load").problem(problems, message, |problem| {
            problem.help("fewer requests in flight, or a smaller `request_size`, take less")
        });
    }
    if let Load::Open { max_in_flight, schedule: Schedule::Stages { .. }, .. } = &scenario.load
        && let Some(in_flight) = forecast.in_flight
        && let Some((condition, _)) =
            forecast.objective.as_ref().filter(|(text, _)| text.contains("mean"))
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

/// Why a condition cannot hold whatever the Flow does.
fn impossible(condition: &Condition, scenario: &Scenario, forecast: &Forecast) -> Option<String> {
    let least = match condition.comparison {
        Comparison::Greater | Comparison::AtLeast | Comparison::Equal => condition.limit,
        _ => return None,
    };
    let beyond =
        |most: f64| most < least || (most == least && condition.comparison == Comparison::Greater);
    let size = scenario.steps.iter().map(|step| match &step.work {
        Work::Post(Post { documents: Some(_), request_size, .. }) => *request_size as f64,
        _ => 0.0,
    });
    // Requests per second that the load can offer at all.
    let offered = match &scenario.load {
        Load::Open { schedule, .. } => {
            let peak = peak(&scenario.load) * scenario.steps.len() as f64;
            // Over the whole time it is no more than there are arrivals.
            let count = match forecast.requests {
                Amount::Exactly(count) => Some(count),
                Amount::About(count) => Some(count + spread(count, schedule)),
                Amount::Unknown => None,
            };
            let whole = count.zip(forecast.duration);
            let mean = whole.map(|(count, time)| count as f64 / time.as_secs_f64());
            Some(mean.unwrap_or(peak).min(peak))
        }
        Load::Closed { think_time, .. } if !think_time.is_zero() => {
            Some(peak(&scenario.load) * scenario.steps.len() as f64 / think_time.as_secs_f64())
        }
        _ => None,
    };
    match condition.metric {
        Metric::Throughput => offered.filter(|offered| beyond(*offered)).map(|offered| {
            format!("the load offers no more than {} requests a second", rounded(offered))
        }),
        Metric::DocumentsPerSecond => {
            let documents = offered? / scenario.steps.len() as f64 * size.sum::<f64>();
            beyond(documents).then(|| {
                format!("the load offers no more than {} Documents a second", rounded(documents))
            })
        }
        Metric::Requests => match forecast.requests {
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
