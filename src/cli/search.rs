//! The settings of a capacity search, for `capacity`, which runs it, and `plan`, which describes it.

use std::time::Duration;

use super::problem::Problem;
use crate::capacity::number::number;
use crate::capacity::objective::Objective;
use crate::capacity::search::Settings;
use crate::metric::Measure;
use crate::plan::{Levels, Plan, Scenario};
use crate::scenario::condition::Condition;
use crate::units::{Percentage, Span};

/// The settings of a plan's `capacity` block, if it has one.
pub(super) fn of_block(plan: &Plan) -> Result<Option<Settings>, Problem> {
    let Some(block) = &plan.capacity else { return Ok(None) };
    let objective = objective(&block.objective, &plan.scenarios[block.scenarios[0]])?;
    let [precision, confidence] = [block.precision, block.confidence].map(Percentage::fraction);
    settings(&objective, block.levels, precision, confidence, block.trial, true).map(Some)
}

/// The objective of a search: the given conditions, and that no assertion fails.
pub(super) fn objective(
    conditions: &[Condition],
    scenario: &Scenario,
) -> Result<Objective, Problem> {
    let mut conditions = conditions.to_vec();
    // Wrong responses must never pass as fast ones by accident.
    let asserts = scenario.steps.iter().any(|step| !step.assertions.is_empty());
    let about = |condition: &Condition| condition.metric.measure == Measure::AssertionFailures;
    if asserts && !conditions.iter().any(about) {
        conditions.extend("assertion_failures == 0".parse::<Condition>());
    }
    Objective::new(&conditions).map_err(|problems| {
        let reasons: Vec<String> = problems.iter().map(|(_, error)| error.to_string()).collect();
        Problem::usage(reasons.join("\nerror: "))
    })
}

/// The settings of a search that can be decided.
pub(super) fn settings(
    objective: &Objective,
    levels: Levels,
    precision: f64,
    confidence: f64,
    trial: Duration,
    overload: bool,
) -> Result<Settings, Problem> {
    let (low, high, clients) = ends(levels)?;
    let settings = Settings {
        low,
        high,
        clients,
        precision,
        confidence,
        trial_s: trial.as_secs_f64(),
        limits: objective.limits().to_vec(),
        overload,
    };
    certifiable(&settings, objective)?;
    Ok(settings)
}

/// The lowest and the highest level, and whether they are clients.
fn ends(levels: Levels) -> Result<(f64, f64, bool), Problem> {
    let (low, high, clients) = match levels {
        Levels::Rate(rate) => (rate.low().per_second(), rate.high().per_second(), false),
        Levels::Clients(clients) => (clients.low().0 as f64, clients.high().0 as f64, true),
    };
    if low < 1.0 && clients {
        return Err(Problem::usage(format!("`--clients` must begin at 1 or more, found {low}")));
    }
    if low >= high {
        // Mistakes in the block were already reported at their place.
        let (range, unit, example) = match clients {
            true => ("`--clients`", "", "1..256"),
            false => ("`--rate`", "/s", "50/s..5000/s"),
        };
        return Err(Problem::usage(format!(
            "{range} needs a lower and a higher end, as in `{example}`, found only `{low}{unit}`"
        )));
    }
    Ok((low, high, clients))
}

/// Rejects an objective that no trial could ever decide.
fn certifiable(settings: &Settings, objective: &Objective) -> Result<(), Problem> {
    let needed = settings.seconds_needed();
    // The rate of clients is only known once they run.
    if settings.clients || needed <= settings.trial_s * Settings::STRETCH_MAX {
        return Ok(());
    }
    let strictest = settings.strictest().and_then(|index| objective.condition_of(index));
    let condition = strictest.map(Condition::to_string).unwrap_or_default();
    Err(Problem::usage(format!(
        "`{condition}` cannot be certified at {}/s within a trial of {}: without a single \
         request over the limit it takes {}s\n  help: use `trial: {}s`, start the range at {}/s, \
         or use a lower percentile",
        number(settings.low),
        Span::new(Duration::from_secs_f64(settings.trial_s)).unwrap_or_default(),
        needed.ceil(),
        needed.ceil(),
        number((settings.low * needed / settings.trial_s).ceil()),
    )))
}
