//! `flowbench capacity`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::Exit;
use super::problem::Problem;
use super::run::{chain, default_folder, output};
use super::signals::watch_signals;
use super::suite::Changes;
use crate::capacity::analysis::{self, Circumstances};
use crate::capacity::forecast::{self, ForecastError, Growth, Peak, Wanted};
use crate::capacity::objective::Objective;
use crate::capacity::pareto::{self, Pareto};
use crate::capacity::result::{self, Capacity, Outcome, TrialSummary, Unit};
use crate::capacity::search::{Answer, Kind, Search, Settings, Trial};
use crate::capacity::words;
use crate::engine::Stop;
use crate::plan::{self, Load, Plan, Schedule, Work};
use crate::record::summary::EndReason;
use crate::report;
use crate::run::search::{SearchError, Variant, search};
use crate::run::{Options, Trials, environment};
use crate::scenario::condition::Condition;
use crate::units::{Count, Percentage, Range, Rate, Span, nearest};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowbench capacity scenarios/capacity.yaml
  flowbench capacity search.yaml --objective 'p99 < 100ms' --objective 'error_rate < 1%' --rate 50/s..5000/s
  flowbench capacity search.yaml --objective 'p99 < 100ms' --clients 1..256
  flowbench capacity capacity.yaml --peak 3000/s --growth 8%/month --replicas 2 --cost 1.20/h

The search offers more than the Flow holds, twice as much at the end: mind who else uses it.
docs/capacity.md explains the answer and the plan.

Exit codes: 0 the load that holds was found; 1 not even the lowest load holds; 2 the file or the \
command line is wrong; 3 a target could not be reached or started; 4 it cannot be told; 5 a report \
could not be written; 130 interrupted.")]
pub(super) struct Args {
    /// The suite: a YAML file, with a `capacity:` block unless the options below say it all
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// The scenario whose load is varied [default: that of the block, or the only one]
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// What must hold, as in 'p99 < 100ms'; may be given several times
    #[arg(long, value_name = "CONDITION")]
    objective: Vec<Condition>,
    /// The rates to search, as in 50/s..5000/s
    #[arg(long, value_name = "RANGE", conflicts_with = "clients")]
    rate: Option<Range<Rate>>,
    /// Search for a number of clients that wait for their answers, as in 1..256
    #[arg(long, value_name = "RANGE")]
    clients: Option<Range<Count>>,
    /// How far what holds and what fails may lie apart [default: 5%]
    #[arg(long, value_name = "SHARE")]
    precision: Option<Percentage>,
    /// How sure both are to be
    #[arg(long, value_name = "SHARE", default_value = "99%")]
    confidence: Percentage,
    /// How long a trial may take; those at the end may take three times as long [default: 20s]
    #[arg(long, value_name = "TIME")]
    trial: Option<Span>,
    /// Do not offer more than the Flow holds once that is found
    #[arg(long)]
    skip_overload: bool,
    /// Also try these numbers of Documents a request, as in 1,10,100
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = whole)]
    request_size: Vec<usize>,
    /// Also try these numbers of connections, as in 1,4
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = whole)]
    connections: Vec<usize>,
    #[command(flatten)]
    planning: Planning,
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

/// What the months to come bring.
#[derive(Debug, clap::Args)]
struct Planning {
    /// Plan for the peaks in this file: lines of a date and a rate, as in 2027-01-01,3000/s
    #[arg(long, value_name = "CSV", conflicts_with_all = ["peak", "growth"])]
    forecast: Option<PathBuf>,
    /// Plan for this peak of today
    #[arg(long, value_name = "RATE")]
    peak: Option<Rate>,
    /// How the peak grows, as in 8%/month
    #[arg(long, value_name = "GROWTH", requires = "peak")]
    growth: Option<Growth>,
    /// The share of capacity that stays free at the peak
    #[arg(long, value_name = "SHARE", default_value = "30%")]
    headroom: Percentage,
    /// Replicas of the Flow that is measured
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = replicas)]
    replicas: u32,
    /// What one replica costs, as in 1.20/h
    #[arg(long, value_name = "PRICE", value_parser = cost)]
    cost: Option<f64>,
}

/// One of several numbers.
fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("expected whole numbers such as `1,10,100`, found `{text}`"))
}

fn replicas(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| format!("expected a whole number from 1 to 100000, found `{text}`"))
}

/// A price an hour.
fn cost(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a price such as `1.20/h`, by h, day or month, found `{text}`");
    let (amount, hours) = match text.split_once('/') {
        Some((amount, "h" | "hour")) => (amount, 1.0),
        Some((amount, "d" | "day")) => (amount, 24.0),
        Some((amount, "month")) => (amount, 730.0),
        _ => return Err(wrong()),
    };
    let amount: f64 = amount.trim().parse().map_err(|_| wrong())?;
    (amount.is_finite() && amount >= 0.0).then_some(amount / hours).ok_or_else(wrong)
}

/// Unless the block or an option says so.
const PRECISION: f64 = 5.0;
const TRIAL: Duration = Duration::from_secs(20);

/// Combinations of sizes and connections: each is a search of its own.
const VARIANTS_MAX: usize = 50;

/// The precision of those searches: enough to choose by.
const VARIANT_PRECISION: f64 = 0.25;

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.unwrap_or_else(|problem| problem.print())
}

/// What is to be searched.
struct Task {
    scenario: usize,
    objective: Objective,
    settings: Settings,
    peaks: Option<Vec<Peak>>,
    variants: Vec<(usize, usize)>,
}

async fn run(args: Args) -> Result<Exit, Problem> {
    let plan = args.changes.plan(&args.file)?;
    let task = task(&args, &plan)?;
    let folder = args.out.clone().unwrap_or_else(|| default_folder(&plan.name));
    report::capacity::prepare(&folder).map_err(not_written)?;

    let stop = Stop::default();
    watch_signals(stop.clone(), args.quiet);
    let (live, _) = watch::channel(Vec::new());
    let options = Options { output: output(args.json), stop: stop.clone(), live, journal: None };
    let (name, seed_of) = (plan.name.clone(), plan.scenarios[task.scenario].clone());
    let started_at = jiff::Timestamp::now();
    let started = std::time::Instant::now();
    let mut trials = Trials::start(plan, options)
        .await
        .map_err(|error| Problem { exit: Exit::Usage, text: chain(&error) })?;
    let found = carry_out(&mut trials, &task, &args).await;
    trials.stop().await;
    let (search, summaries, pareto) = found?;

    let unit = if task.settings.clients { Unit::Clients } else { Unit::Rate };
    let conditions: Vec<String> =
        task.objective.conditions().iter().map(Condition::to_string).collect();
    let answer = search.edge();
    let circumstances = Circumstances {
        clients: task.settings.clients,
        arrival_variation: match &seed_of.load {
            Load::Open { schedule: Schedule::Stages { arrivals, .. }, .. } => {
                arrivals.burstiness().powi(2)
            }
            _ => 0.0,
        },
        replicas: args.planning.replicas,
        confidence: task.settings.confidence,
    };
    let documents = match &seed_of.first_step().work {
        Work::Post(post) if post.documents.is_some() => post.request_size as f64,
        _ => 1.0,
    };
    let mut capacity = Capacity {
        schema: result::SCHEMA.into(),
        suite: name,
        scenario: seed_of.name.clone(),
        started_at,
        duration_s: started.elapsed().as_secs_f64(),
        words: words::answer(&answer, &summaries, &conditions, unit, task.settings.confidence),
        paragraph: String::new(),
        objective: conditions,
        unit,
        range: [task.settings.low, task.settings.high],
        precision: task.settings.precision,
        confidence: task.settings.confidence,
        notes: search.notes().to_vec(),
        interrupted: stop.drain.is_cancelled(),
        knee: analysis::knee(&summaries),
        overload: analysis::overload(&summaries),
        recovered_s: summaries.iter().find_map(|trial| trial.recovered_s),
        models: analysis::models(&summaries, &answer, circumstances),
        pareto,
        plan: task.peaks.and_then(|peaks| {
            let holds = held_per_s(&answer, &summaries, unit)?;
            let wanted = Wanted {
                peaks,
                headroom: args.planning.headroom.fraction(),
                replicas: args.planning.replicas,
                cost_per_hour: args.planning.cost,
                documents_per_request: documents,
            };
            Some(forecast::plan(holds, &wanted))
        }),
        answer,
        trials: summaries,
        environment: environment(),
    };
    capacity.paragraph = words::paragraph(&capacity);
    let paths = report::capacity::save(&folder, &capacity).map_err(not_written)?;
    tell(&args, &capacity, &paths).map_err(|error| Problem {
        exit: Exit::NotWritten,
        text: format!("error: could not print the result: {error}"),
    })?;
    Ok(match &capacity.answer {
        _ if capacity.interrupted => Exit::Interrupted,
        Answer::Edge { .. } | Answer::HoldsAtHigh { .. } => Exit::Held,
        Answer::FailsAtLow { .. } => Exit::Failed,
        Answer::Unclear { .. } => Exit::NotJudged,
    })
}

/// Requests a second at the load that holds; clients make as many as they get answers.
fn held_per_s(answer: &Answer, trials: &[TrialSummary], unit: Unit) -> Option<f64> {
    let level = answer.held()?;
    match unit {
        Unit::Rate => Some(level),
        Unit::Clients => confirmed(level, trials).map(|trial| trial.point.throughput_per_s),
    }
}

/// The last trial at a level that held.
fn confirmed(level: f64, trials: &[TrialSummary]) -> Option<&TrialSummary> {
    trials.iter().rfind(|trial| trial.level == level && trial.outcome == Outcome::Held)
}

type Found = (Search, Vec<TrialSummary>, Option<Pareto>);

/// What is needed first, the search, and those with other sizes and connections.
async fn carry_out(trials: &mut Trials, task: &Task, args: &Args) -> Result<Found, Problem> {
    for index in needs(trials.plan(), task.scenario) {
        let name = trials.plan().scenarios[index].name.clone();
        if !args.quiet {
            eprintln!("first `{name}`, which it needs");
        }
        let summary = trials.run(index).await;
        let unreachable = matches!(summary.end.reason, EndReason::Unreachable | EndReason::Broken);
        if unreachable {
            let reason = summary.end.message.unwrap_or_default();
            let text = format!("error: `{name}`, which the search needs, did not run: {reason}");
            return Err(Problem { exit: Exit::Unreachable, text });
        }
    }
    let mut told = |trial: &Trial, summary: Option<&TrialSummary>| {
        if !args.quiet && !args.json {
            show(trial, summary, task.settings.clients);
        }
    };
    let mut main = Search::new(task.settings.clone());
    let none = Variant::default();
    let objective = &task.objective;
    let summaries = search(trials, task.scenario, &mut main, objective, none, &mut told)
        .await
        .map_err(failed)?;
    let mut variants = Vec::new();
    for &(request_size, connections) in &task.variants {
        if main.tried().last().is_some_and(|tried| tried.result.interrupted) {
            break;
        }
        if !args.quiet && !args.json {
            let sizes = pareto::combination(request_size, connections);
            eprintln!("with {sizes}");
        }
        let settings = Settings {
            precision: VARIANT_PRECISION,
            confidence: 0.95,
            overload: false,
            ..task.settings.clone()
        };
        let mut one = Search::new(settings);
        let variant = Variant { request_size: Some(request_size), connections: Some(connections) };
        let tried = search(trials, task.scenario, &mut one, objective, variant, &mut told)
            .await
            .map_err(failed)?;
        variants.extend(chosen(&one, &tried, request_size, connections));
    }
    let goal: Vec<String> = objective.conditions().iter().map(Condition::to_string).collect();
    let pareto = (!variants.is_empty()).then(|| Pareto::new(variants, &goal.join(" and ")));
    Ok((main, summaries, pareto))
}

/// What a combination comes to: the figures of the load it holds, or of the lowest one where it
/// holds none.
fn chosen(
    search: &Search,
    tried: &[TrialSummary],
    request_size: usize,
    connections: usize,
) -> Option<pareto::Variant> {
    let level = search.edge().held();
    let holds = level.is_some();
    let trial = match level {
        Some(level) => confirmed(level, tried),
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

/// The scenarios that must run before, each after those it needs itself.
fn needs(plan: &Plan, scenario: usize) -> Vec<usize> {
    let mut order = Vec::new();
    // The plan has no circles, so a walk that goes down first comes back.
    let mut waiting = vec![(scenario, false)];
    while let Some((index, visited)) = waiting.pop() {
        if visited && index != scenario && !order.contains(&index) {
            order.push(index);
        } else if !visited {
            waiting.push((index, true));
            waiting.extend(plan.scenarios[index].needs.iter().map(|need| (*need, false)));
        }
    }
    order
}

fn failed(error: SearchError) -> Problem {
    let exit = match error {
        SearchError::Unreachable(_) => Exit::Unreachable,
        SearchError::Broken(_) | SearchError::Histogram(_) => Exit::Usage,
    };
    Problem { exit, text: format!("error: {error}") }
}

fn not_written(error: impl std::error::Error) -> Problem {
    Problem { exit: Exit::NotWritten, text: chain(&error) }
}

/// What block and options ask for, refused where it cannot work.
fn task(args: &Args, plan: &Plan) -> Result<Task, Problem> {
    let block = plan.capacity.as_ref();
    let scenario = scenario(args, plan)?;
    let conditions = match (&args.objective[..], block) {
        ([], Some(block)) => block.objective.clone(),
        ([], None) => {
            return Err(Problem::usage(
                "the file has no `capacity:` block: say what must hold with `--objective 'p99 < \
                 100ms'` and where to look with `--rate 50/s..5000/s`",
            ));
        }
        (given, _) => given.to_vec(),
    };
    let steps: Vec<&str> =
        plan.scenarios[scenario].steps.iter().map(|step| step.name.as_str()).collect();
    for condition in &conditions {
        if let Some(step) = &condition.step
            && !steps.contains(&step.as_str())
        {
            return Err(Problem::usage(format!("`{condition}`: there is no step `{step}`")));
        }
    }
    let objective = Objective::new(&conditions).map_err(|problems| {
        let reasons: Vec<String> = problems.into_iter().map(|(_, reason)| reason).collect();
        Problem::usage(reasons.join("\nerror: "))
    })?;
    let (low, high, clients) = match (&args.rate, &args.clients, block) {
        (_, Some(clients), _) => (clients.low().0 as f64, clients.high().0 as f64, true),
        (Some(rate), ..) => (rate.low().per_second(), rate.high().per_second(), false),
        (None, None, Some(block)) => {
            (block.rate_min.per_second(), block.rate_max.per_second(), false)
        }
        (None, None, None) => {
            return Err(Problem::usage(
                "where to look is missing: `--rate 50/s..5000/s` or `--clients 1..256`",
            ));
        }
    };
    if low < 1.0 && clients {
        return Err(Problem::usage(format!("`--clients` begins at 1 at least, found {low}")));
    }
    if low >= high {
        // What a block says was refused where it stands.
        let (range, unit, example) = match clients {
            true => ("`--clients`", "", "1..256"),
            false => ("`--rate`", "/s", "50/s..5000/s"),
        };
        return Err(Problem::usage(format!(
            "{range} is searched from one end to a higher one, as in `{example}`, found only `{low}{unit}`"
        )));
    }
    let precision = args.precision.or(block.map(|block| block.precision));
    let found = precision.map_or(String::new(), |precision| format!(", found `{precision}`"));
    let precision = precision.map_or(PRECISION / 100.0, Percentage::fraction);
    if !(0.005..=0.5).contains(&precision) {
        return Err(Problem::usage(format!("`--precision` is from 0.5% to 50%{found}")));
    }
    let confidence = args.confidence.fraction();
    if !(0.8..=0.9999).contains(&confidence) {
        return Err(Problem::usage(format!(
            "`--confidence` is from 80% to 99.99%, found `{}`",
            args.confidence
        )));
    }
    let trial = args.trial.map(Span::get).or(block.map(|block| block.trial)).unwrap_or(TRIAL);
    if !plan::Capacity::TRIALS.contains(&trial) {
        let found = args.trial.map_or(String::new(), |found| format!(", found `{found}`"));
        return Err(Problem::usage(format!("`--trial` is from 1s to 24h{found}")));
    }
    let settings = Settings {
        low,
        high,
        clients,
        precision,
        confidence,
        trial_s: trial.as_secs_f64(),
        limits: objective.limits().to_vec(),
        overload: !args.skip_overload,
    };
    certifiable(&settings, &objective)?;
    let variants = variants(args, plan, scenario)?;
    Ok(Task { scenario, objective, settings, peaks: peaks(&args.planning)?, variants })
}

/// Refuses what no trial could ever decide.
fn certifiable(settings: &Settings, objective: &Objective) -> Result<(), Problem> {
    let needed = settings.seconds_needed();
    // How fast clients are shows only when they run.
    if settings.clients || needed <= settings.trial_s {
        return Ok(());
    }
    let strictest = settings.strictest().and_then(|index| objective.condition_of(index));
    let condition = strictest.map(Condition::to_string).unwrap_or_default();
    Err(Problem::usage(format!(
        "`{condition}` cannot be certified at {}/s within a trial of {}: without a single request over \
         the limit it takes {}s\n  help: use `trial: {}s`, begin the range at {}/s, or state a lower \
         percentile",
        words::number(settings.low),
        Span::new(Duration::from_secs_f64(settings.trial_s)).unwrap_or_default(),
        needed.ceil(),
        needed.ceil(),
        words::number((settings.low * needed / settings.trial_s).ceil()),
    )))
}

fn scenario(args: &Args, plan: &Plan) -> Result<usize, Problem> {
    let names: Vec<&str> = plan.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    match (&args.scenario, &plan.capacity) {
        (Some(name), _) => names.iter().position(|known| known == name).ok_or_else(|| {
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names.join(", ")),
            };
            Problem::usage(format!("--scenario: no scenario `{name}`, {hint}"))
        }),
        (None, Some(block)) => Ok(block.scenario),
        (None, None) if names.len() == 1 => Ok(0),
        (None, None) => Err(Problem::usage(format!(
            "the file has several scenarios: choose one with `--scenario`; there are {}",
            names.join(", ")
        ))),
    }
}

fn variants(args: &Args, plan: &Plan, scenario: usize) -> Result<Vec<(usize, usize)>, Problem> {
    if args.request_size.is_empty() && args.connections.is_empty() {
        return Ok(Vec::new());
    }
    let scenario = &plan.scenarios[scenario];
    let own_size = match &scenario.first_step().work {
        Work::Post(post) => post.request_size,
        Work::Mutate { .. } => 1,
    };
    let or =
        |given: &[usize], own: usize| if given.is_empty() { vec![own] } else { given.to_vec() };
    let sizes = or(&args.request_size, own_size);
    let connections = or(&args.connections, scenario.crew(1).connections);
    within("--request-size", &sizes, 1_000_000)?;
    within("--connections", &connections, 1000)?;
    let all: Vec<(usize, usize)> = sizes
        .iter()
        .flat_map(|size| connections.iter().map(|connections| (*size, *connections)))
        .collect();
    if all.len() > VARIANTS_MAX {
        return Err(Problem::usage(format!(
            "{} combinations are too many: each is a search of its own, at most {VARIANTS_MAX}",
            all.len()
        )));
    }
    Ok(all)
}

fn within(option: &str, given: &[usize], most: usize) -> Result<(), Problem> {
    match given.iter().find(|number| !(1..=most).contains(number)) {
        Some(found) => {
            Err(Problem::usage(format!("`{option}` is from 1 to {most}, found `{found}`")))
        }
        None => Ok(()),
    }
}

fn peaks(planning: &Planning) -> Result<Option<Vec<Peak>>, Problem> {
    if planning.headroom.fraction() > 0.95 {
        return Err(Problem::usage(format!(
            "`--headroom` is at most 95%, found `{}`",
            planning.headroom
        )));
    }
    if let Some(path) = &planning.forecast {
        return read_forecast(path).map(Some);
    }
    if planning.cost.is_some() && planning.peak.is_none() {
        return Err(Problem::usage(
            "`--cost` needs a load to plan for: `--peak 3000/s` or `--forecast forecast.csv`",
        ));
    }
    let Some(peak) = planning.peak else { return Ok(None) };
    let today = jiff::Zoned::now().date();
    let growth = planning.growth.unwrap_or(Growth { monthly: 1.0 });
    Ok(Some(growth.peaks(peak.per_second(), today)))
}

/// More than any forecast has; a device that never ends is not read to its end.
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

/// A line for each trial, when it is over.
fn show(trial: &Trial, summary: Option<&TrialSummary>, clients: bool) {
    let unit = if clients { Unit::Clients } else { Unit::Rate };
    let Some(summary) = summary else { return };
    let kind = match trial.kind {
        Kind::Bracket => "bracket",
        Kind::Bisect => "bisect",
        Kind::Confirm => "confirm",
        Kind::Retest => "once more",
        Kind::Above => "above",
        Kind::Overload => "overload",
        Kind::CoolDown => "cool down",
    };
    let outcome = match summary.outcome {
        Outcome::Held => "held",
        Outcome::Failed => "failed",
        Outcome::Undecided => "undecided",
        Outcome::Invalid => "not valid",
        Outcome::Seen => "",
    };
    let judged: Vec<String> = summary.objective.iter().map(words::condition).collect();
    eprintln!(
        "{kind:<10} {:>12}  {outcome:<10} {:<40} {:.1} s",
        words::level(trial.level, unit),
        judged.join(", "),
        summary.seconds
    );
    for reason in summary.reasons.iter().chain(&summary.excused) {
        eprintln!("           {reason}");
    }
}

fn tell(args: &Args, capacity: &Capacity, paths: &[PathBuf]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, capacity)?;
        writeln!(out)?;
        return out.flush();
    }
    writeln!(out, "{}: {}", capacity.scenario, capacity.words)?;
    if !args.quiet {
        for line in words::details(capacity) {
            writeln!(out, "  {line}")?;
        }
        for path in paths {
            writeln!(out, "{}", path.display())?;
        }
    }
    out.flush()
}
