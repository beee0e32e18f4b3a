//! Options and suite combined into a search, rejected if it cannot work.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use super::{Args, PlanningArgs};
use crate::capacity::forecast::{self, ForecastError, Peak};
use crate::capacity::objective::Objective;
use crate::capacity::planning::Planning;
use crate::capacity::search::Settings;
use crate::cli::problem::Problem;
use crate::cli::search::{objective, settings};
use crate::plan::{Capacity, Cost, Levels, Plan, Scenario, Work};
use crate::units::{Part, Percentage, Price, Span, nearest};

/// Maximum number of combinations of sizes and connections; each is a separate search.
const VARIANTS_MAX: usize = 50;

/// What to search.
pub(super) struct Task {
    /// The scenario, or each combination of a matrix.
    pub(super) scenarios: Vec<usize>,
    /// The cost of Executors' replicas.
    pub(super) cost: Option<Cost>,
    pub(super) objective: Objective,
    pub(super) settings: Settings,
    pub(super) planning: Option<Planning>,
    pub(super) variants: Vec<(usize, usize)>,
}

/// Reads block and options, and rejects searches that cannot work.
pub(super) fn task(args: &Args, plan: &Plan) -> Result<Task, Problem> {
    let block = plan.capacity.as_ref();
    let scenarios = scenarios(args, plan)?;
    let scenario = scenarios[0];
    let conditions = match (&args.objective[..], block) {
        ([], Some(block)) => &block.objective,
        ([], None) => {
            return Err(Problem::usage(
                "the file has no `capacity:` block: set the objective with `--objective 'p99 < \
                 100ms'` and the range with `--rate 50/s..5000/s`",
            ));
        }
        (given, _) => given,
    };
    for condition in conditions {
        plan.check_names(scenario, &condition.metric)
            .map_err(|unknown| Problem::usage(format!("`{condition}`: {unknown}")))?;
    }
    let objective = objective(conditions, &plan.scenarios[scenario])?;
    let levels = match (args.rate, args.clients, block) {
        (_, Some(clients), _) => Levels::Clients(clients),
        (Some(rate), ..) => Levels::Rate(rate),
        (None, None, Some(block)) => block.levels,
        (None, None, None) => {
            return Err(Problem::usage(
                "the range is missing: set `--rate 50/s..5000/s` or `--clients 1..256`",
            ));
        }
    };
    let precision = args.precision.or(block.map(|block| block.precision));
    let precision = share("--precision", precision, Capacity::PRECISION, &Capacity::PRECISIONS)?;
    let confidence = args.confidence.or(block.map(|block| block.confidence));
    let confidence =
        share("--confidence", confidence, Capacity::CONFIDENCE, &Capacity::CONFIDENCES)?;
    let trial = args.trial.map(Span::get).or(block.map(|block| block.trial));
    let trial = trial.unwrap_or(Capacity::TRIAL);
    if !Capacity::TRIALS.contains(&trial) {
        let found = args.trial.map_or(String::new(), |found| format!(", found `{found}`"));
        return Err(Problem::usage(format!("`--trial` must be from 1s to 24h{found}")));
    }
    let overload = !args.skip_overload;
    let settings = settings(&objective, levels, precision, confidence, trial, overload)?;
    let variants = variants(args, plan, scenario)?;
    let is_many = scenarios.len() > 1;
    if is_many && !variants.is_empty() {
        return Err(Problem::usage(
            "`--request-size` and `--connections` are for a single search, and a matrix has one \
             for each combination: vary `request_size` and `connections` in the matrix instead",
        ));
    }
    let planning = planning(&args.planning, is_many)?;
    let cost = args.planning.cost.filter(|_| is_many).map(Cost::Each);
    let cost = cost.or_else(|| block.and_then(|block| block.cost.clone()));
    if cost.is_some()
        && let Some(unknown) = scenarios.iter().find(|index| {
            let flow = &plan.flows[plan.scenarios[**index].flow];
            flow.replicas().is_none()
        })
    {
        return Err(Problem::usage(format!(
            "the cost of the Flow of `{}` is unknown, because its replicas are unknown: it is \
             neither embedded nor started from a file that it `uses`",
            plan.scenarios[*unknown].name
        )));
    }
    Ok(Task { scenarios, cost, objective, settings, planning, variants })
}

/// A share within the allowed range.
fn share(
    option: &str,
    given: Option<Percentage>,
    otherwise: f64,
    allowed: &RangeInclusive<f64>,
) -> Result<f64, Problem> {
    let share = given.map_or(otherwise / 100.0, Percentage::fraction);
    if allowed.contains(&share) {
        return Ok(share);
    }
    let found = given.map_or(String::new(), |given| format!(", found `{given}`"));
    let (low, high) = (allowed.start() * 100.0, allowed.end() * 100.0);
    Err(Problem::usage(format!("`{option}` must be from {low}% to {high}%{found}")))
}

fn scenarios(args: &Args, plan: &Plan) -> Result<Vec<usize>, Problem> {
    let named = |name: &str| -> Vec<usize> {
        let is_meant = |scenario: &Scenario| scenario.is_of(name);
        let all = plan.scenarios.iter().enumerate();
        all.filter(|(_, scenario)| is_meant(scenario)).map(|(index, _)| index).collect()
    };
    let names: Vec<&str> = plan.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let found = match (&args.scenario, &plan.capacity) {
        (Some(name), _) => match named(name) {
            none if none.is_empty() => {
                let hint = match nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", names.join(", ")),
                };
                return Err(Problem::usage(format!("--scenario: no scenario `{name}`; {hint}")));
            }
            found => found,
        },
        (None, Some(block)) => block.scenarios.clone(),
        (None, None) => {
            let mut bases: Vec<&str> = plan.scenarios.iter().map(Scenario::base_name).collect();
            bases.dedup();
            match bases.as_slice() {
                [one] => named(one),
                _ => {
                    return Err(Problem::usage(format!(
                        "the file has several scenarios: choose one with `--scenario`; there are {}",
                        bases.join(", ")
                    )));
                }
            }
        }
    };
    if found.len() > Capacity::COMBINATIONS_MAX {
        return Err(Problem::usage(format!(
            "the matrix has {} combinations, and each is a separate search: at most {}; choose \
             one with `--scenario`, or leave values out",
            found.len(),
            Capacity::COMBINATIONS_MAX
        )));
    }
    Ok(found)
}

fn variants(args: &Args, plan: &Plan, scenario: usize) -> Result<Vec<(usize, usize)>, Problem> {
    if args.request_size.is_empty() && args.connections.is_empty() {
        return Ok(Vec::new());
    }
    let scenario = &plan.scenarios[scenario];
    let own_size = match &scenario.first_step().work {
        Work::Post(post) => post.request_size,
        Work::Mutate { .. } | Work::Http(_) => 1,
    };
    let or =
        |given: &[usize], own: usize| if given.is_empty() { vec![own] } else { given.to_vec() };
    let sizes = or(&args.request_size, own_size);
    let connections = or(&args.connections, scenario.workers(1, Part::WHOLE).connections);
    within("--request-size", &sizes, 1_000_000)?;
    within("--connections", &connections, 1000)?;
    let all: Vec<(usize, usize)> = sizes
        .iter()
        .flat_map(|size| connections.iter().map(|connections| (*size, *connections)))
        .collect();
    if all.len() > VARIANTS_MAX {
        return Err(Problem::usage(format!(
            "{} combinations are too many: each is a separate search, at most {VARIANTS_MAX}",
            all.len()
        )));
    }
    Ok(all)
}

fn within(option: &str, given: &[usize], most: usize) -> Result<(), Problem> {
    match given.iter().find(|number| !(1..=most).contains(number)) {
        Some(found) => {
            Err(Problem::usage(format!("`{option}` must be from 1 to {most}, found `{found}`")))
        }
        None => Ok(()),
    }
}

/// What to plan for, if a plan is requested. `compares`: whether a cost is also used to compare settings.
pub(super) fn planning(given: &PlanningArgs, compares: bool) -> Result<Option<Planning>, Problem> {
    if given.headroom.fraction() > 0.95 {
        return Err(Problem::usage(format!(
            "`--headroom` must be at most 95%, found `{}`",
            given.headroom
        )));
    }
    if given.cost.is_some() && given.peak.is_none() && given.forecast.is_none() && !compares {
        return Err(Problem::usage(
            "`--cost` requires a load to plan for, `--peak 3000/s` or `--forecast forecast.csv`, \
             or a matrix of settings to compare",
        ));
    }
    let today = jiff::Zoned::now().date();
    let peaks = match (&given.forecast, given.peak, given.growth) {
        (Some(path), ..) => read_forecast(path)?,
        (None, None, _) => return Ok(None),
        (None, Some(peak), Some(growth)) => growth.peaks(peak.per_second(), today),
        (None, Some(peak), None) => vec![Peak { from: today, per_s: peak.per_second() }],
    };
    let headroom = given.headroom.fraction();
    let cost_per_hour = given.cost.map(Price::per_hour);
    Ok(Some(Planning { peaks, headroom, cost_per_hour }))
}

/// Maximum size of a forecast in bytes: reading a device may never end.
const FORECAST_BYTES_MAX: u64 = 4 << 20;

fn read_forecast(path: &Path) -> Result<Vec<Peak>, Problem> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let opened =
        File::open(path).and_then(|file| file.take(FORECAST_BYTES_MAX + 1).read_to_end(&mut bytes));
    opened.map_err(|error| {
        Problem::usage(format!("--forecast: could not read `{shown}`: {error}"))
    })?;
    if bytes.len() as u64 > FORECAST_BYTES_MAX {
        let message = format!("--forecast: `{shown}` is larger than 4 MiB: is it a forecast?");
        return Err(Problem::usage(message));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem::usage(format!(
            "--forecast: expected text in UTF-8, found other bytes\n --> {shown}:{line}"
        ))
    })?;
    forecast::read(&text).map_err(|error| {
        Problem::usage(match error {
            ForecastError::Line { line, reason } => {
                format!("--forecast: {reason}\n --> {shown}:{line}")
            }
            other => format!("--forecast: {other}\n --> {shown}"),
        })
    })
}
