//! `flowbench capacity`.

mod saved;
mod subject;
mod task;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::exit::Exit;
use super::folder::{Folder, refuse_saves};
use super::meet::{self, Parts};
use super::print;
use super::problem::{Problem, not_written};
use super::signals::watch_signals;
use super::suite::{Changes, divide};
use super::values::{replicas, whole};
use super::views::ViewArgs;
use crate::capacity::combinations::{Combination, Combinations};
use crate::capacity::forecast::Growth;
use crate::capacity::objective::Objective;
use crate::capacity::pareto::{self, Pareto};
use crate::capacity::planning::plan_for;
use crate::capacity::result::Capacity;
use crate::capacity::search::{Answer, Search, Settings};
use crate::capacity::trials::{TrialSummary, Unit, confirmed};
use crate::capacity::words;
use crate::engine::Stop;
use crate::meet::Meeting;
use crate::plan::Plan;
use crate::record::summary::EndReason;
use crate::report;
use crate::report::trials::Trials as View;
use crate::run::search::{SearchError, Told, Variant};
use crate::run::{self, Board, Options, RunError, Trials};
use crate::scenario::condition::Condition;
use crate::units::{Count, Percentage, Price, Range, Rate, Span};
use subject::{Seers, Subject, show};
use task::{Task, task};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench capacity scenarios/capacity.yaml
  flowbench capacity search.yaml --objective 'p99 < 100ms' --objective 'error_rate < 1%' --rate 50/s..5000/s
  flowbench capacity search.yaml --objective 'p99 < 100ms' --clients 1..256
  flowbench capacity capacity.yaml --peak 3000/s --growth 8%/month --replicas 2 --cost 1.20/h
  flowbench capacity tuning.yaml --objective 'p99 < 100ms' --rate 50/s..5000/s --cost 0.80/h
  flowbench capacity out/capacity.json --forecast forecast.csv --headroom 40%

The search overloads the Flow, at the end by a factor of two: consider who else uses it.
docs/capacity.md explains the answer and the plan.

Exit codes: 0 the highest load that meets the objective was found; 1 not even the lowest load meets it; 2 the file or the \
command line is wrong; 3 a target could not be reached or started; 4 inconclusive; 5 a report \
could not be written; 130 interrupted.")]
pub(super) struct Args {
    /// The suite: a YAML file, with a `capacity:` block unless the options below say it all. Or the
    /// capacity.json of an earlier search, to plan with it again and measure nothing
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// The scenario whose load is varied [default: that of the block, or the only one]
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// The objective, as in 'p99 < 100ms'; may be given several times
    #[arg(long, value_name = "CONDITION")]
    objective: Vec<Condition>,
    /// The rates to search, as in 50/s..5000/s
    #[arg(long, value_name = "RANGE", conflicts_with = "clients")]
    rate: Option<Range<Rate>>,
    /// Search for a number of clients that each wait for their response, as in 1..256
    #[arg(long, value_name = "RANGE")]
    clients: Option<Range<Count>>,
    /// Maximum distance between the load that passes and the one that fails [default: 5%]
    #[arg(long, value_name = "SHARE")]
    precision: Option<Percentage>,
    /// Confidence in both [default: 99%]
    #[arg(long, value_name = "SHARE")]
    confidence: Option<Percentage>,
    /// Duration of a trial; the last ones may take three times as long [default: 20s]
    #[arg(long, value_name = "TIME")]
    trial: Option<Span>,
    /// Do not test overload once the capacity is found
    #[arg(long)]
    skip_overload: bool,
    /// Also try these numbers of Documents per request, as in 1,10,100
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = whole)]
    request_size: Vec<usize>,
    /// Also try these numbers of connections, as in 1,4
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = whole)]
    connections: Vec<usize>,
    #[command(flatten)]
    planning: PlanningArgs,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    views: ViewArgs,
    /// Write the reports into this folder [default: reports/<suite>-<UTC time>]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the result to stdout as JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Show nothing while it searches, and only the answer at the end
    #[arg(long, short)]
    quiet: bool,
}

/// The future load to plan for.
#[derive(Debug, clap::Args)]
struct PlanningArgs {
    /// Plan for the peaks in this file: lines of a date and a rate, as in 2027-01-01,3000/s
    #[arg(long, value_name = "CSV", conflicts_with_all = ["peak", "growth"])]
    forecast: Option<PathBuf>,
    /// Plan for this current peak
    #[arg(long, value_name = "RATE")]
    peak: Option<Rate>,
    /// How the peak grows, as in 8%/month
    #[arg(long, value_name = "GROWTH", requires = "peak")]
    growth: Option<Growth>,
    /// The share of capacity that stays free at the peak
    #[arg(long, value_name = "SHARE", default_value = "30%")]
    headroom: Percentage,
    /// Number of replicas of the measured Flow [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = replicas)]
    replicas: Option<u32>,
    /// What one replica of the Flow costs, as in 1.20/h. For settings of a Flow as a matrix: what one replica of
    /// each Executor costs
    #[arg(long, value_name = "PRICE")]
    cost: Option<Price>,
}

/// Precision of the searches for combinations, which only have to be good enough to choose one.
const VARIANT_PRECISION: f64 = 0.25;

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: Args) -> Result<Exit, Problem> {
    let (folder, capacity) = match saved::read(&args)? {
        Some(capacity) => {
            let folder = prepared(&args, &capacity.suite)?;
            (folder, capacity)
        }
        None => match measured(&args).await? {
            Some(measured) => measured,
            None => return Ok(Exit::Passed),
        },
    };
    let capacity = print::hide().mask_data(capacity);
    let paths = report::capacity::save(&folder, &capacity).map_err(not_written)?;
    print::written(|out| tell(&args, &capacity, &paths, out))?;
    let is_partial = capacity.combinations.as_ref().is_some_and(Combinations::has_errors);
    Ok(match &capacity.answer {
        _ if capacity.interrupted => Exit::Interrupted,
        _ if is_partial => Exit::Unreachable,
        Answer::Edge { .. } | Answer::HoldsAtHigh { .. } => Exit::Passed,
        Answer::FailsAtLow { .. } => Exit::Failed,
        Answer::Inconclusive { .. } => Exit::Inconclusive,
    })
}

/// Creates the folder of the reports, and checks that they can be written.
fn prepared(args: &Args, suite: &str) -> Result<PathBuf, Problem> {
    let folder = Folder::claim(args.out.as_deref(), suite)?.path;
    report::capacity::prepare(&folder).map_err(not_written)?;
    Ok(folder)
}

/// Searches, or follows if this is not part 1, which has the result. Returns the report folder and the result.
async fn measured(args: &Args) -> Result<Option<(PathBuf, Capacity)>, Problem> {
    let part = args.parts.connected()?;
    let (suite, mut plan) = args.changes.suite(&args.file)?;
    let task = task(args, &plan)?;
    if task.settings.clients && task.settings.low < part.of() as f64 {
        return Err(Problem::usage(format_args!(
            "`--clients` must begin at {} or more, one for each part",
            part.of()
        )));
    }
    divide(&suite, &mut plan, part)?;
    let stop = Stop::default();
    watch_signals(stop.clone(), args.quiet);
    if part.number() > 1 {
        let views = args.views.open(&stop)?;
        let meeting = args.parts.meeting("capacity", &plan, &stop, args.quiet).await?;
        let followed = Parts::follow(&[plan], meeting.as_ref(), &stop, Some(&views)).await;
        views.close().await;
        return followed.map(|_| None);
    }
    let folder = prepared(args, &plan.name)?;
    refuse_saves(&plan, &folder)?;
    let views = args.views.open(&stop)?;
    let found = searched_all(args, &plan, task, &folder, &stop, views.board()).await;
    views.close().await;
    found.map(|capacity| Some((folder, capacity)))
}

/// Searches with each combination. The result is that of the best one; the others are in subfolders.
async fn searched_all(
    args: &Args,
    plan: &Plan,
    task: Task,
    folder: &Path,
    stop: &Stop,
    board: Option<Arc<Board>>,
) -> Result<Capacity, Problem> {
    let meeting = args.parts.meeting("capacity", plan, stop, args.quiet).await?;
    let found = searched_by_all(args, plan, task, folder, (stop, &meeting), board).await;
    if let Some(meeting) = &meeting {
        // Also where it failed: the others have nothing to wait for.
        meeting.close().await;
    }
    found
}

/// The same together with the others, where there are some.
async fn searched_by_all(
    args: &Args,
    plan: &Plan,
    task: Task,
    folder: &Path,
    (stop, meeting): (&Stop, &Option<Meeting>),
    board: Option<Arc<Board>>,
) -> Result<Capacity, Problem> {
    let unit = if task.settings.clients { Unit::Clients } else { Unit::Rate };
    let mut view = (!args.quiet).then(|| match print::err_is_terminal() {
        true => View::terminal(unit),
        false => View::lines(print::err(), unit),
    });
    let count = task.scenarios.len();
    let (mut found, mut rows, mut first_error) = (Vec::new(), Vec::new(), None);
    for (index, scenario) in task.scenarios.iter().enumerate() {
        let planned = &plan.scenarios[*scenario];
        if let Some(view) = view.as_mut().filter(|_| count > 1) {
            view.say(&format!("{} of {count}: {}", index + 1, planned.name));
        }
        let seers = Seers { view: view.as_mut(), board: board.clone() };
        let searched =
            searched_one(args, plan, &task, *scenario, folder, (stop, meeting), seers).await;
        let (row, capacity) = match searched {
            Ok(capacity) => {
                let flow = &plan.flows[planned.flow];
                let replicas = flow.replicas();
                let total = replicas.as_ref().map(|all| all.iter().map(|(_, count)| count).sum());
                let cost = task.cost.as_ref().zip(replicas.as_ref());
                let cost = cost.map(|(cost, replicas)| cost.per_hour(replicas));
                let (name, matrix) = (planned.name.clone(), planned.matrix.clone());
                let (answer, held_per_s) = (capacity.answer.clone(), capacity.holds_per_s());
                let held = answer.held().and_then(|level| confirmed(&capacity.trials, level));
                let p99_ms = held.and_then(|trial| trial.point.p99_ms);
                let row = Combination::found(name, matrix, answer, held_per_s, p99_ms);
                let row = row.with(total, cost);
                (row, Some(capacity))
            }
            Err(problem) if count == 1 || problem.exit != Exit::Unreachable => return Err(problem),
            Err(problem) => {
                let (name, matrix) = (planned.name.clone(), planned.matrix.clone());
                let error = problem.text.trim_start_matches("error: ").to_owned();
                let row = Combination::failed(name, matrix, error);
                first_error.get_or_insert(problem);
                (row, None)
            }
        };
        rows.push(row);
        found.push(capacity);
        if stop.drain.is_cancelled() {
            break;
        }
    }
    if let Some(view) = view {
        view.finish();
    }
    let is_told = count > 1 || task.cost.is_some();
    let all = Combinations::new(rows);
    let best = all.most.or_else(|| found.iter().position(Option::is_some));
    let Some(mut capacity) = best.and_then(|best| found[best].clone()) else {
        return Err(first_error.expect("what was not found has a reason"));
    };
    if count > 1 {
        let names = folder_names(all.rows.iter().map(words::values));
        for (capacity, name) in found.into_iter().zip(names) {
            let Some(capacity) = capacity.map(|capacity| print::hide().mask_data(capacity)) else {
                continue;
            };
            let folder = folder.join(name);
            report::capacity::prepare(&folder).map_err(not_written)?;
            report::capacity::save(&folder, &capacity).map_err(not_written)?;
        }
    }
    capacity.interrupted |= stop.drain.is_cancelled();
    capacity.combinations = is_told.then_some(all);
    plan_for(&mut capacity, args.planning.replicas.unwrap_or(1), task.planning);
    words::write(&mut capacity);
    if let Some(board) = &board {
        show(board, &capacity);
    }
    Ok(capacity)
}

/// Unique folder names for combinations, made of letters, digits and separators.
fn folder_names(values: impl Iterator<Item = String>) -> Vec<String> {
    const LENGTH_MAX: usize = 80;
    let mut names: Vec<String> = Vec::new();
    for values in values {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
        let words = values.split(|c| !plain(c)).filter(|word| !word.trim_matches('.').is_empty());
        let name: String = words.collect::<Vec<_>>().join("-").chars().take(LENGTH_MAX).collect();
        let is_taken = name.is_empty() || names.contains(&name);
        names.push(if is_taken { format!("{name}-{}", names.len() + 1) } else { name });
    }
    names
}

/// Searches with one combination; its Flow is started and stopped for this.
async fn searched_one(
    args: &Args,
    plan: &Plan,
    task: &Task,
    index: usize,
    folder: &Path,
    (stop, meeting): (&Stop, &Option<Meeting>),
    mut seers: Seers<'_>,
) -> Result<Capacity, Problem> {
    let (live, _) = watch::channel(Vec::new());
    let options = Options {
        output: print::output(args.json),
        stop: stop.clone(),
        live,
        logs: Some(folder.to_owned()),
        meeting: meeting.clone(),
        board: seers.board.clone(),
        ..Options::default()
    };
    let subject = Subject::begin(args, plan, task, index, stop);
    let mut used = needs(plan, index);
    used.push(index);
    let mut trials = match Trials::start(plan.clone(), &used, options).await {
        Ok(trials) => trials,
        Err(RunError::Meet(error)) => return Err(meet::problem(&error, stop)),
        Err(error) => return Err(Problem::caused(Exit::Usage, &error)),
    };
    let found = carry_out(&mut trials, task, index, &subject, &mut seers).await;
    trials.stop().await;
    let (search, summaries, pareto) = found?;

    Ok(subject.result(&search, summaries, pareto))
}

type Found = (Search, Vec<TrialSummary>, Option<Pareto>);

/// Runs the needed scenarios, the search, and the searches for other sizes and connections.
async fn carry_out(
    trials: &mut Trials,
    task: &Task,
    scenario: usize,
    subject: &Subject<'_>,
    seers: &mut Seers<'_>,
) -> Result<Found, Problem> {
    for index in needs(trials.plan(), scenario) {
        let name = trials.plan().scenarios[index].name.clone();
        seers.say(&format!("first `{name}`, which it needs"));
        let summary = trials.run(index).await;
        let unreachable = matches!(summary.end.reason, EndReason::Unreachable | EndReason::Broken);
        if unreachable {
            let reason = summary.end.message.unwrap_or_default();
            let text = format!("error: `{name}`, which the search needs, did not run: {reason}");
            return Err(Problem::new(Exit::Unreachable, text));
        }
    }
    let mut main = Search::new(task.settings.clone());
    seers.say(&format!("searching {}", words::outlook(&task.settings)));
    let objective = &task.objective;
    let none = Variant::default();
    let summaries = {
        let seen = &mut (&mut *seers, Some(subject));
        searched(trials, scenario, &mut main, objective, none, seen).await?
    };
    let mut variants = Vec::new();
    for &(request_size, connections) in &task.variants {
        if main.tried().last().is_some_and(|tried| tried.result.interrupted) {
            break;
        }
        seers.say(&format!("with {}", words::combination(request_size, connections)));
        let settings = Settings {
            precision: VARIANT_PRECISION,
            confidence: 0.95,
            overload: false,
            ..task.settings.clone()
        };
        let mut one = Search::new(settings);
        let variant = Variant { request_size: Some(request_size), connections: Some(connections) };
        let seen = &mut (&mut *seers, None);
        let tried = searched(trials, scenario, &mut one, objective, variant, seen).await?;
        variants.extend(chosen(&one, &tried, request_size, connections));
    }
    let pareto = (!variants.is_empty()).then(|| Pareto::new(variants));
    Ok((main, summaries, pareto))
}

/// One search, with its progress shown.
async fn searched(
    trials: &mut Trials,
    scenario: usize,
    search: &mut Search,
    objective: &Objective,
    variant: Variant,
    (seers, subject): &mut (&mut Seers<'_>, Option<&Subject<'_>>),
) -> Result<Vec<TrialSummary>, Problem> {
    let unit = if search.settings().clients { Unit::Clients } else { Unit::Rate };
    let mut told = |told: Told<'_>| seers.tell(told, *subject, unit);
    run::search::search(trials, scenario, search, objective, variant, &mut told)
        .await
        .map_err(failed)
}

/// Result of a combination: the figures at its sustained load, or at the lowest load if it sustains
/// none.
fn chosen(
    search: &Search,
    tried: &[TrialSummary],
    request_size: usize,
    connections: usize,
) -> Option<pareto::Variant> {
    let level = search.edge().held();
    let holds = level.is_some();
    let trial = match level {
        Some(level) => confirmed(tried, level),
        None => tried.first(),
    }?;
    let point = &trial.point;
    Some(pareto::Variant {
        request_size,
        connections,
        documents_per_s: point.documents_per_s,
        requests_per_s: point.throughput_per_s,
        mean_ms: point.mean_ms,
        p99_ms: point.p99_ms,
        holds,
        on_front: false,
    })
}

/// The scenarios that must run first, each after those it needs itself.
fn needs(plan: &Plan, scenario: usize) -> Vec<usize> {
    let mut order = Vec::new();
    // The plan has no cycles, so a depth-first walk terminates.
    let mut waiting = vec![(scenario, false)];
    while let Some((index, visited)) = waiting.pop() {
        if visited && index != scenario && !order.contains(&index) {
            order.push(index);
        } else if !visited {
            waiting.push((index, true));
            // Combinations of a matrix wait for one another only to run one after the other.
            let own = plan.scenarios[index].base_name();
            let needs = plan.scenarios[index].needs.iter();
            let others = needs.filter(|need| plan.scenarios[**need].base_name() != own);
            waiting.extend(others.map(|need| (*need, false)));
        }
    }
    order
}

fn failed(error: SearchError) -> Problem {
    let exit = match error {
        SearchError::Unreachable(_) | SearchError::Lost(_) => Exit::Unreachable,
        SearchError::Broken(_) | SearchError::Histogram(_) => Exit::Usage,
    };
    Problem::new(exit, format!("error: {error}"))
}

fn tell(
    args: &Args,
    capacity: &Capacity,
    paths: &[PathBuf],
    out: &mut dyn Write,
) -> io::Result<()> {
    match (args.json, args.quiet) {
        (true, _) => report::capacity::write(capacity, report::Format::Json, out)?,
        (_, true) => report::capacity::write(capacity, report::Format::Verdict, out)?,
        _ => {
            let format = report::Format::Terminal { color: false, columns: 80 };
            report::capacity::write(capacity, format, out)?;
            for path in paths {
                writeln!(out, "{}", path.display())?;
            }
        }
    }
    Ok(())
}
