//! From `load:` as written to a [`Load`].

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::range::in_range;
use super::trace::read_trace;
use super::{Load, Step, Until, Work};
use crate::scenario::{self, Level};
use crate::schedule::{ArrivalProcess, GammaGaps, Profile, Schedule, Stage};
use crate::source::{Problem, Spot};
use crate::units::Span;

/// The most clients of one scenario. Each has a request in flight, so this bounds memory as `max_in_flight`
/// does.
const CLIENTS_MAX: u64 = 1_000_000;

/// The most requests in flight of one scenario.
const IN_FLIGHT_MAX: u64 = 1_000_000;

/// The limit of requests in flight unless set.
const IN_FLIGHT: u64 = 10_000;

/// The burstiness of gamma arrivals. Below this range gaps are practically even; above it nearly all arrivals
/// of a load would come in one burst.
const BURSTINESS: RangeInclusive<f64> = 0.01..=10.0;

/// Whether Documents were specified but had problems, which have been reported.
fn are_broken(scenario: &scenario::Scenario, steps: &[Step]) -> bool {
    let of_steps = scenario.all_steps().any(|step| step.documents.is_some());
    let are_given = scenario.documents.is_some() || of_steps;
    let has = |step: &Step| matches!(&step.work, Work::Post(post) if post.documents.is_some());
    are_given && !steps.iter().any(has)
}

/// The load of a scenario.
pub(super) fn load(
    scenario: &scenario::Scenario,
    at: Spot<'_>,
    base: &Path,
    steps: &[Step],
    problems: &mut Vec<Problem>,
) -> Load {
    let Some(written) = &scenario.load else {
        if scenario.warmup.is_some_and(|warmup| warmup != Span::default()) {
            at.name("warmup").problem(problems, "`warmup` needs a `load`", |problem| {
                problem.help("without `load` every Document is sent once, and measured")
            });
        }
        if endless(steps) {
            at.key("documents").problem(
                problems,
                "without `load` every Document is sent once, and these have no end",
                |problem| problem.help("give them a `count`, or the scenario a `load`"),
            );
        }
        return Load::Once;
    };
    let at = at.key("load");
    let models = [
        ("clients", written.clients.is_some()),
        ("rate", written.rate.is_some()),
        ("stages", written.stages.is_some()),
        ("trace", written.trace.is_some()),
    ];
    let given: Vec<&str> =
        models.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
    let until = until(written, at, problems);
    let model = match given.as_slice() {
        [] => {
            at.problem(
                problems,
                "a load needs one of `clients`, `rate`, `stages` and `trace`",
                |problem| problem,
            );
            return Load::Once;
        }
        [model] => *model,
        [first, second, ..] => {
            let other = at.name(first).place();
            at.name(second).problem(
                problems,
                format!("a load has `{first}` or `{second}`, not both"),
                |problem| problem.see(other, "the other one"),
            );
            return Load::Once;
        }
    };
    let mut stages_of_clients = false;
    let load = match model {
        "clients" => {
            let clients = written.clients.unwrap_or(1);
            let clients = in_range(clients, "clients", 1, CLIENTS_MAX, at.key("clients"), problems);
            closed(Profile::constant(clients as f64, None), written, until)
        }
        "rate" => {
            let rate = written.rate.map_or(1.0, |rate| rate.per_second());
            let process = process(written, at, problems);
            open(Schedule::constant(rate, process), written, until, at, problems)
        }
        "stages" => match stages(written, at.key("stages"), problems) {
            None => return Load::Once,
            Some((Unit::Clients, clients)) => {
                stages_of_clients = true;
                closed(clients, written, until)
            }
            Some((Unit::PerSecond, profile)) => {
                let process = process(written, at, problems);
                open(Schedule::Rate { profile, process }, written, until, at, problems)
            }
        },
        _ => {
            let Some(schedule) = trace(written, at, base, problems) else { return Load::Once };
            open(schedule, written, until, at, problems)
        }
    };
    let is_closed = model == "clients" || stages_of_clients;
    for (key, fits, given) in [
        ("think_time", is_closed, written.think_time.is_some()),
        ("arrivals", !is_closed && model != "trace", written.arrivals.is_some()),
        ("max_in_flight", !is_closed, written.max_in_flight.is_some()),
        ("speed", model == "trace", written.speed.is_some()),
    ] {
        if given && !fits {
            let load = match model {
                "trace" => "a `trace`",
                "stages" if is_closed => "`stages` of clients",
                "stages" => "`stages` of rates",
                "rate" => "a `rate`",
                _ => "`clients`",
            };
            let message = format!("`{key}` does not apply to a load with {load}");
            at.name(key).problem(problems, message, |problem| problem);
        }
    }
    let timed = load.length().is_some();
    let ends = timed || until.requests.is_some() || model == "trace";
    if written.arrivals == Some(ArrivalProcess::PoissonExact) && !is_closed && !timed {
        let message = "`poisson_exact` needs a load that ends after a known time";
        at.key("arrivals").problem(problems, message, |problem| {
            problem.help(
                "give it a `duration`; with `requests` alone, `poisson` sends exactly as many",
            )
        });
    } else if !ends && !documents_end(steps) && !are_broken(scenario, steps) {
        at.problem(problems, "this load has no end", |problem| {
            problem.help("give it a `duration` or `requests`, or its Documents a `count`")
        });
    }
    load
}

/// Whether a step can run out of Documents, which ends the load.
fn documents_end(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.work {
        Work::Post(post) => {
            post.documents.as_ref().is_some_and(|documents| documents.count().is_some())
        }
        Work::Mutate { .. } | Work::Http(_) => false,
    })
}

/// Whether there are Documents and none of the generators runs out.
fn endless(steps: &[Step]) -> bool {
    let any =
        steps.iter().any(|step| matches!(&step.work, Work::Post(post) if post.documents.is_some()));
    any && !documents_end(steps)
}

fn process(written: &scenario::Load, at: Spot<'_>, problems: &mut Vec<Problem>) -> ArrivalProcess {
    let process = written.arrivals.unwrap_or_default();
    if let ArrivalProcess::Gamma(GammaGaps { burstiness }) = process
        && !BURSTINESS.contains(&burstiness)
    {
        let (least, most) = (BURSTINESS.start(), BURSTINESS.end());
        let message = format!("`burstiness` must be from {least} to {most}, found `{burstiness}`");
        let at = at.key("arrivals").key("gamma").key("burstiness");
        at.problem(problems, message, |problem| problem);
    }
    process
}

fn closed(clients: Profile, written: &scenario::Load, until: Until) -> Load {
    let think_time = written.think_time.unwrap_or_default();
    Load::Closed { clients, think_time, until }
}

fn open(
    schedule: Schedule,
    written: &scenario::Load,
    until: Until,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Load {
    let max = written.max_in_flight.unwrap_or(IN_FLIGHT);
    let max = in_range(max, "max_in_flight", 1, IN_FLIGHT_MAX, at.key("max_in_flight"), problems);
    Load::Open { schedule, until, max_in_flight: max as usize }
}

fn until(written: &scenario::Load, at: Spot<'_>, problems: &mut Vec<Problem>) -> Until {
    if written.duration == Some(Span::default()) {
        at.key("duration").problem(problems, "`duration` must be above 0s", |problem| problem);
    }
    if written.requests == Some(0) {
        at.key("requests").problem(problems, "`requests` must be at least 1", |problem| problem);
    }
    Until { duration: written.duration.map(Span::get), requests: written.requests }
}

/// What the levels of stages count.
enum Unit {
    PerSecond,
    Clients,
}

/// One stage, before it is known whether the stages are in rates or in clients.
struct Draft {
    // `None`: the level at which the previous stage ended.
    from: Option<f64>,
    to: f64,
    length: Option<Duration>,
}

fn stages(
    written: &scenario::Load,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(Unit, Profile)> {
    let stages = written.stages.as_deref().unwrap_or_default();
    let before = problems.len();
    if stages.is_empty() {
        at.problem(problems, "`stages` needs at least one stage", |problem| problem);
    }
    let mut of_clients: Option<bool> = None;
    let mut drafts: Vec<Draft> = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let at = at.index(index);
        let given: Vec<&str> = [
            ("rate", stage.rate.is_some()),
            ("clients", stage.clients.is_some()),
            ("ramp_to", stage.ramp_to.is_some()),
            ("pause", stage.pause.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect();
        let [kind] = given.as_slice() else {
            at.problem(
                problems,
                "a stage has one of `rate`, `clients`, `ramp_to` and `pause`",
                |problem| problem,
            );
            continue;
        };
        let mut count = |clients: u64, key: &str| {
            in_range(clients, key, 0, CLIENTS_MAX, at.key(key), problems) as f64
        };
        let (from, to, clients) = match (stage.rate, stage.clients, stage.ramp_to) {
            (Some(rate), ..) => (Some(rate.per_second()), rate.per_second(), Some(false)),
            (_, Some(clients), _) => {
                let clients = count(clients, "clients");
                (Some(clients), clients, Some(true))
            }
            (.., Some(Level::Rate(rate))) => (None, rate, Some(false)),
            (.., Some(Level::Clients(clients))) => (None, count(clients, "ramp_to"), Some(true)),
            _ => (Some(0.0), 0.0, None),
        };
        if let Some(clients) = clients {
            match of_clients {
                Some(known) if known != clients => at.key(kind).problem(
                    problems,
                    "the stages of a load must be all of rates or all of clients",
                    |problem| problem,
                ),
                _ => of_clients = Some(clients),
            }
        }
        let last = index + 1 == stages.len();
        let length = match (stage.pause, stage.r#for) {
            (Some(_), Some(_)) => {
                at.name("for").problem(problems, "`pause` already sets the duration", |p| p);
                None
            }
            (Some(pause), None) => Some(pause),
            (None, Some(length)) => Some(length),
            (None, None) => {
                if !last || *kind == "ramp_to" {
                    at.problem(problems, "key `for` is missing in a stage", |problem| {
                        problem.help("only the last stage may omit it, if its level is constant")
                    });
                }
                None
            }
        };
        if length == Some(Span::default()) {
            let key = if stage.pause.is_some() { "pause" } else { "for" };
            at.key(key).problem(problems, "a stage must take longer than 0s", |problem| problem);
        }
        drafts.push(Draft { from, to, length: length.map(Span::get) });
    }
    if problems.len() > before {
        return None;
    }
    let mut level = 0.0;
    let profile = Profile::new(drafts.into_iter().map(|draft| {
        let from = draft.from.unwrap_or(level);
        level = draft.to;
        Stage { from, to: draft.to, length: draft.length }
    }));
    if profile.peak() == 0.0 {
        at.problem(problems, "these stages send nothing", |problem| problem);
        return None;
    }
    let unit = if of_clients == Some(true) { Unit::Clients } else { Unit::PerSecond };
    Some((unit, profile))
}

/// The schedule of recorded arrivals.
fn trace(
    written: &scenario::Load,
    at: Spot<'_>,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Schedule> {
    let speed = written.speed.unwrap_or(1.0);
    if speed.is_nan() || speed <= 0.0 {
        let message = format!("`speed` must be above 0, found `{speed}`");
        at.key("speed").problem(problems, message, |problem| problem);
        return None;
    }
    let path = base.join(written.trace.as_deref()?);
    match read_trace(&path, speed) {
        Ok(due) => Some(Schedule::Trace { due: due.into(), path, speed }),
        Err(error) => {
            at.key("trace").problem(problems, error.to_string(), |problem| problem);
            None
        }
    }
}
