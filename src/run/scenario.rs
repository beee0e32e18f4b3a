//! One scenario: its workers, what they measured, what it adds up to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::live::{Live, State};
use super::machine::{Withheld, cores, max_rss};
use super::worker::{self, Order, Ready, Report, WorkerError};
use super::{Context, seconds};
use crate::client::ClientConfig;
use crate::engine::chain::Chain;
use crate::engine::examine::{self, Examined, Examiner};
use crate::engine::feed::{Feed, FeedError};
use crate::engine::make::Maker;
use crate::engine::schedule::{Law, Profile, Schedule};
use crate::engine::source::{Budget, Frame, Over, Share, Source};
use crate::engine::{Ended, Slots};
use crate::plan::{self, Arrivals, Load, Scenario, Stage, Step, Until};
use crate::record::summary::{
    AssertionSummary, CallbackCount, CallbackCounts, ClientSummary, End, EndReason, Latency,
    Requests, ScenarioSummary, TargetSummary, Throughput, Validity, Verdict,
};
use crate::record::validity::{self, Circumstances};
use crate::record::{Histogram, Recording, Window};
use crate::threshold::{Evidence, overall};
use crate::wire::{Family, Form, Protocol};

/// Requests in flight where `prefetch: 0` sets no bound: what memory is there for on any machine.
const IN_FLIGHT_MAX: usize = 100_000;

/// Deltas on their way to be merged: some for each worker. A worker that finds no room keeps its
/// counts and hands them over later, added up.
const DELTAS_WAITING: usize = 64;

/// What the window of an `abort` threshold and the live view look back on.
const WINDOW_SECONDS: usize = 10;

/// What came of a scenario's load.
struct Outcome {
    end: End,
    recording: Recording,
    examined: Examined,
    window: Window,
    began: Instant,
    workers: Vec<Report>,
    withheld: f64,
}

/// Why a scenario did not get as far as a load.
enum Obstacle {
    Unreachable(String),
    Broken(FeedError),
    Interrupted,
}

/// Runs a scenario; what goes wrong is part of its summary.
pub(super) async fn run(context: &Context, index: usize) -> ScenarioSummary {
    let scenario = &context.plan.scenarios[index];
    show(context, index, |live| live.state = State::Connecting);
    let config = match context.flows.client(scenario.flow, scenario.protocol) {
        Ok(config) => with_overrides(config, scenario),
        Err(reason) => return not_run(context, index, EndReason::Unreachable, reason),
    };
    let mut target = target(context, scenario);
    target.address = Some(config.target.to_string());
    target.tls = config.target.tls;
    let outcome = carry_out(context, index, config, &mut target).await;
    let mut summary = match outcome {
        Ok(outcome) => summarize(context, scenario, outcome),
        Err(Obstacle::Unreachable(reason)) => {
            not_run(context, index, EndReason::Unreachable, reason)
        }
        Err(Obstacle::Broken(error)) => {
            not_run(context, index, EndReason::Broken, error.to_string())
        }
        Err(Obstacle::Interrupted) => {
            not_run(context, index, EndReason::Skipped, "the run ended before".into())
        }
    };
    summary.target = target;
    summary
}

async fn carry_out(
    context: &Context,
    index: usize,
    config: ClientConfig,
    target: &mut TargetSummary,
) -> Result<Outcome, Obstacle> {
    let scenario = &context.plan.scenarios[index];
    let stop = context.options.stop.child();
    let interrupted = context.options.stop.drain.cancelled();
    let workers = tokio::select! {
        workers = connect(config, scenario) => workers.map_err(unreachable)?,
        () = interrupted => return Err(Obstacle::Interrupted),
    };
    let (Some(first), count) = (workers.first(), workers.len()) else {
        return Err(Obstacle::Unreachable("no worker was started".into()));
    };
    target.family = Some(family(first.info.family).into());
    let form = first.form;
    // Making the first requests may take a while, and must not hold up the runtime.
    let (steps, warm) = (scenario.steps.clone(), !scenario.warmup.is_zero());
    let made = tokio::task::spawn_blocking(move || make(&steps, form, warm, count));
    let (warmup, feeds, chain) =
        made.await.unwrap_or(Err(FeedError::Gone)).map_err(Obstacle::Broken)?;

    let examiner = Examiner::new(
        &scenario.steps,
        form,
        context.plan.seed,
        context.options.output.clone(),
        context.saves.clone(),
        stop.drain.clone(),
    );
    let (answers, examined, examining) = look_at_answers(examiner);

    let began = Instant::now();
    let plan = Timing::new(scenario, began, context.plan.seed);
    let frame = plan.frame;
    let slots = Slots::new(plan.max_in_flight);
    let (deltas, mut received) = mpsc::channel(DELTAS_WAITING);
    let withheld = Withheld::start();
    let shares = workers.into_iter().zip(warmup).zip(feeds).enumerate();
    let running = shares.map(|(worker, ((ready, warmup), feed))| {
        let share = Share { worker, workers: count };
        ready.run(Order {
            frame,
            source: plan.source(share),
            warmup,
            feed,
            chain: chain.clone(),
            slots: slots.clone(),
            answers: answers.clone(),
            deltas: deltas.clone(),
            grace: scenario.grace,
            stop: stop.clone(),
        })
    });
    let running = join_all(running.collect::<Vec<_>>());
    drop((answers, deltas));

    let mut recording = Recording::default();
    let mut aborted = None;
    let mut watch = Watch { context, index, scenario, plan: &plan, examined: &examined, second: 0 };
    tokio::pin!(running);
    let reports = loop {
        tokio::select! {
            reports = &mut running => break reports,
            Some(delta) = received.recv() => {
                recording.add(delta);
                if let Some(reason) = watch.look(&recording).filter(|_| aborted.is_none()) {
                    aborted = Some(reason);
                    stop.drain.cancel();
                }
            }
        }
    };
    while let Ok(delta) = received.try_recv() {
        recording.add(delta);
    }
    // The answers' senders are gone with the workers, so this ends as soon as all are looked at.
    if let Some(examining) = examining {
        let _ = examining.await;
    }
    let examined = lock(&examined).clone();
    let mut workers = Vec::new();
    let mut lost = None;
    for report in reports {
        match report {
            Ok(mut report) => {
                let rest = std::mem::take(&mut report.rest);
                recording.add(rest);
                workers.push(report);
            }
            Err(error) => lost = Some(error.to_string()),
        }
    }
    if examined.aborted {
        aborted.get_or_insert_with(|| "an `abort` action ended it".into());
    }
    let interrupted = context.options.stop.drain.is_cancelled();
    let end = end(&workers, lost, aborted, interrupted);
    let window = plan.window(&recording, end.reason);
    let withheld = withheld.share();
    Ok(Outcome { end, recording, examined, window, began, workers, withheld })
}

/// The feeds of all workers, for warmup and load, and the way to the later steps.
type Made = (Vec<Feed>, Vec<Feed>, Option<Chain>);

fn make(steps: &[Step], form: Form, warm: bool, workers: usize) -> Result<Made, FeedError> {
    let maker = |step: &Step| Maker::new(step.work.clone(), form);
    let first = maker(&steps[0]);
    // The Documents that end first end the load; those of the warmup start again.
    let limit = steps.iter().filter_map(|step| maker(step).count()).min();
    let warmup = if warm { first.feeds(workers, None)? } else { first.nothing(workers) };
    let chain = (steps.len() > 1).then(|| Chain::new(steps, form)).transpose()?;
    Ok((warmup, first.feeds(workers, limit)?, chain))
}

/// Opens the connections of all workers.
async fn connect(config: ClientConfig, scenario: &Scenario) -> Result<Vec<Ready>, WorkerError> {
    let count = config.connections.clamp(1, cores().min(parallel(&scenario.load)));
    let shares = (0..count).map(|worker| {
        let share = Share { worker, workers: count };
        let connections = share.of(config.connections).max(1);
        worker::start(ClientConfig { connections, ..config.clone() })
    });
    try_join_all(shares).await
}

/// How many workers a load can keep busy.
fn parallel(load: &Load) -> usize {
    match load {
        Load::Once => usize::MAX,
        Load::Closed { stages, .. } => {
            stages.iter().map(|stage| stage.from.max(stage.to)).max().unwrap_or(1).max(1)
        }
        Load::Open { .. } => usize::MAX,
    }
}

type Examining = oneshot::Receiver<()>;

/// Puts the examiner on a thread of its own.
fn look_at_answers(
    examiner: Option<Examiner>,
) -> (Option<mpsc::Sender<crate::engine::Answer>>, Arc<Mutex<Examined>>, Option<Examining>) {
    let Some(examiner) = examiner else { return (None, Arc::default(), None) };
    let examined = examiner.examined();
    let (answers, queue) = mpsc::channel(examine::WAITING_MAX);
    let (done, is_done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("examiner".into()).spawn(move || {
        examiner.run(queue);
        let _ = done.send(());
    });
    // Without a thread the queue is gone, and workers see that nobody looks.
    (Some(answers), examined, thread.is_ok().then_some(is_done))
}

/// When a load's requests are due.
struct Timing {
    frame: Frame,
    kind: Kind,
    max_in_flight: usize,
}

enum Kind {
    Open { warmup: Schedule, steady: Schedule },
    Closed { clients: Vec<Stage<usize>>, think_time: Duration, budget: Budget },
}

impl Timing {
    fn new(scenario: &Scenario, start: Instant, seed: u64) -> Timing {
        let frame = |duration| Frame { start, warmup: scenario.warmup, duration };
        match &scenario.load {
            Load::Once => {
                // No limit of its own is the most that one load may have in flight.
                let clients = match scenario.client.prefetch {
                    0 => IN_FLIGHT_MAX,
                    prefetch => prefetch,
                };
                // Without Documents there is one request, and not none.
                let work = &scenario.first_step().work;
                let one = matches!(work, plan::Work::Post(post) if post.documents.is_none())
                    || matches!(work, plan::Work::Mutate { .. });
                let budget = Budget::new(if one { 1 } else { u64::MAX });
                let clients = vec![Stage { from: clients, to: clients, length: None }];
                Timing {
                    frame: frame(None),
                    kind: Kind::Closed { clients, think_time: Duration::ZERO, budget },
                    max_in_flight: usize::MAX,
                }
            }
            Load::Closed { stages, think_time, until } => Timing {
                frame: frame(ends(until, stages.iter().map(|stage| stage.length).sum())),
                kind: Kind::Closed {
                    clients: stages.clone(),
                    think_time: *think_time,
                    budget: Budget::new(until.requests.unwrap_or(u64::MAX)),
                },
                max_in_flight: usize::MAX,
            },
            Load::Open { schedule, until, max_in_flight } => {
                let limit = until.requests.unwrap_or(u64::MAX);
                let (warm, steady, length) = match schedule {
                    plan::Schedule::Stages { stages, arrivals } => {
                        let law = law(*arrivals);
                        let profile = Profile::new(
                            stages.iter().map(|stage| (stage.from, stage.to, stage.length)),
                        );
                        let length = profile.length();
                        // The warmup runs at the rate at which the load begins.
                        let begin = Profile::constant(profile.rate_at(Duration::ZERO), None);
                        let warmup = Schedule::rate(begin, law, !seed);
                        (warmup, Schedule::rate(profile, law, seed), length)
                    }
                    plan::Schedule::Trace { due, .. } => {
                        let trace = Schedule::trace(due, 1.0);
                        (Schedule::trace(&[], 1.0), trace, None)
                    }
                };
                Timing {
                    frame: frame(ends(until, length)),
                    kind: Kind::Open { warmup: warm, steady: steady.limited(limit) },
                    max_in_flight: *max_in_flight,
                }
            }
        }
    }

    fn source(&self, share: Share) -> Source {
        match &self.kind {
            Kind::Open { warmup, steady } => Source::open(self.frame, warmup, steady, share),
            Kind::Closed { clients, think_time, budget } => {
                Source::closed(self.frame, clients, *think_time, budget.clone(), share)
            }
        }
    }

    /// The time that rates refer to.
    fn window(&self, recording: &Recording, reason: EndReason) -> Window {
        let measured_from = self.frame.measured_from();
        match (reason, self.frame.duration) {
            (EndReason::Time, Some(length)) => Window { length, timed: true },
            _ => {
                let last = recording.last_done.unwrap_or(measured_from);
                let length = last.saturating_duration_since(measured_from);
                Window { length, timed: false }
            }
        }
    }
}

/// When time ends a load: its own length or what it is to end at, whichever comes first.
fn ends(until: &Until, length: Option<Duration>) -> Option<Duration> {
    [until.duration, length].into_iter().flatten().min()
}

fn law(arrivals: Arrivals) -> Law {
    match arrivals {
        Arrivals::Uniform => Law::Uniform,
        Arrivals::Poisson => Law::Poisson,
    }
}

/// Looks at a scenario while it runs.
struct Watch<'a> {
    context: &'a Context,
    index: usize,
    scenario: &'a Scenario,
    plan: &'a Timing,
    examined: &'a Mutex<Examined>,
    /// The last second whose thresholds were judged.
    second: u64,
}

impl Watch<'_> {
    /// Shows how it goes; gives the `abort` threshold that does not hold, if there is one.
    fn look(&mut self, recording: &Recording) -> Option<String> {
        let frame = self.plan.frame;
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(frame.measured_from());
        let recent = recording.last(2);
        let failed = recording.totals.failed();
        let length = elapsed.min(Duration::from_secs(recording.seconds().min(2)));
        let rates = Throughput::new(
            &recent,
            Window { length: length.max(Duration::from_millis(250)), timed: false },
        );
        show(self.context, self.index, |live| {
            let warm = now < frame.measured_from();
            live.state = if warm { State::Warmup } else { State::Running };
            live.left = frame.end().map(|end| end.saturating_duration_since(now));
            live.progress = frame.duration.map(|duration| {
                (elapsed.as_secs_f64() / duration.as_secs_f64().max(1e-9)).min(1.0)
            });
            live.offered_per_s = rates.offered_per_s;
            live.done_per_s = rates.requests_per_s;
            live.p50 = recent.ok().quantile(0.5);
            live.p99 = recent.ok().quantile(0.99);
            live.failed = failed;
            live.sent = recording.totals.sent;
            live.in_flight = recent.in_flight.area / length.as_secs_f64().max(0.25);
        });
        if elapsed.as_secs() <= self.second {
            return None;
        }
        self.second = elapsed.as_secs();
        self.broken(recording, elapsed)
    }

    fn broken(&self, recording: &Recording, elapsed: Duration) -> Option<String> {
        let thresholds = self.scenario.thresholds.iter();
        let mut due = thresholds.filter(|t| t.abort && elapsed >= t.after).peekable();
        due.peek()?;
        let window = recording.last(WINDOW_SECONDS);
        let length = elapsed.min(Duration::from_secs(WINDOW_SECONDS as u64));
        let failures = lock(self.examined).assertion_failures();
        let evidence = Evidence::of_window(&window, length, failures, &step_names(self.scenario));
        due.find(|threshold| evidence.judge(&threshold.that).verdict == Verdict::Failed)
            .map(|threshold| format!("`{}` did not hold any more", threshold.that))
    }
}

/// Why a scenario ended, from why its workers did.
fn end(
    workers: &[Report],
    lost: Option<String>,
    aborted: Option<String>,
    interrupted: bool,
) -> End {
    let mut reason = EndReason::Time;
    let mut message = None;
    for worker in workers {
        match &worker.ended {
            Ended::Feed(error) => {
                return End { reason: EndReason::Broken, message: Some(error.to_string()) };
            }
            Ended::Documents => reason = EndReason::Documents,
            Ended::Complete(Over::Requests) if reason == EndReason::Time => {
                reason = EndReason::Requests;
            }
            Ended::Complete(_) => (),
            Ended::Stopped => {
                let aborted = aborted.clone().filter(|_| !interrupted);
                let why = if interrupted { EndReason::Interrupted } else { EndReason::Aborted };
                return End { reason: why, message: aborted };
            }
        }
    }
    if lost.is_some() {
        (reason, message) = (EndReason::Broken, lost);
    }
    End { reason, message }
}

fn summarize(context: &Context, scenario: &Scenario, outcome: Outcome) -> ScenarioSummary {
    let Outcome { end, recording, examined, window, began, workers, withheld } = outcome;
    let busy = |worker: &Report| worker.cpu.as_secs_f64() / worker.wall.as_secs_f64().max(1e-3);
    let circumstances = Circumstances {
        open: matches!(scenario.load, Load::Open { .. }),
        busiest: workers.iter().map(busy).fold(0.0, f64::max),
        withheld,
    };
    let requests = Requests::new(&recording.totals);
    let mut summary = ScenarioSummary {
        validity: Validity::new(validity::reasons(&recording, circumstances)),
        started_at_s: seconds(began - context.started),
        duration_s: seconds(window.length),
        requests,
        documents: recording.documents(),
        throughput: Throughput::new(&recording.totals, window),
        error_rate: requests.error_rate(),
        response_time_ms: Latency::new(recording.totals.ok()),
        service_time_ms: Latency::new(&recording.totals.service),
        first_response_ms: Latency::new(&recording.totals.first),
        failed_time_ms: recording.failed_times(),
        timeline: recording.timeline_summary(),
        errors: recording.errors(),
        executors: recording.executors(),
        gateway_ms: some(&recording.totals.gateway),
        network_ms: some(&recording.totals.network),
        slowest: recording.slowest(),
        steps: recording.steps(&step_names(scenario), window),
        warmup: recording.warmup_summary(scenario.warmup),
        client: ClientSummary {
            cpu_s: seconds(workers.iter().map(|worker| worker.cpu).sum()),
            max_rss_bytes: max_rss(),
            workers: workers.len(),
            saturated: circumstances.is_saturated(),
            ..recording.client()
        },
        ..empty(context, scenario, end)
    };
    add_examined(&mut summary, examined);
    judge(&mut summary, scenario);
    summary
}

fn step_names(scenario: &Scenario) -> Vec<&str> {
    scenario.steps.iter().map(|step| step.name.as_str()).collect()
}

fn some(histogram: &Histogram) -> Option<Latency> {
    (histogram.count() > 0).then(|| Latency::new(histogram))
}

fn add_examined(summary: &mut ScenarioSummary, examined: Examined) {
    let count = |count: examine::CallbackCount| CallbackCount {
        fired: count.fired,
        failed: count.failed,
        example: count.example,
    };
    summary.callbacks = CallbackCounts {
        on_done: count(examined.on_done),
        on_error: count(examined.on_error),
        on_always: count(examined.on_always),
    };
    summary.counters = examined.counters;
    let assertions = examined.assertions.into_iter().map(|assertion| AssertionSummary {
        name: assertion.name,
        passed: assertion.passed,
        failed: assertion.failed,
        example: assertion.example,
    });
    summary.assertions = assertions.collect();
}

/// Judges the thresholds on what is in the summary, as anybody could who has it.
fn judge(summary: &mut ScenarioSummary, scenario: &Scenario) {
    let evidence = Evidence::of(summary).expect("we have just written these histograms");
    for threshold in &scenario.thresholds {
        let judged = evidence.judge(&threshold.that);
        if let Some(reason) = evidence.lacks_requests(&threshold.that) {
            if !summary.validity.reasons.contains(&reason) {
                summary.validity.reasons.push(reason);
                summary.validity.valid = false;
            }
        }
        summary.thresholds.push(judged);
    }
    summary.verdict = overall(summary.thresholds.iter().map(|threshold| threshold.verdict));
    summary.passed = summary.verdict == Verdict::Held;
}

/// The summary of a scenario that sent nothing.
pub(super) fn not_run(
    context: &Context,
    index: usize,
    reason: EndReason,
    message: String,
) -> ScenarioSummary {
    let scenario = &context.plan.scenarios[index];
    let end = End { reason, message: Some(message.clone()) };
    let mut summary = empty(context, scenario, end);
    summary.validity = Validity::new(vec![message]);
    judge(&mut summary, scenario);
    summary
}

/// What is known of a scenario before anything was sent.
fn empty(context: &Context, scenario: &Scenario, end: End) -> ScenarioSummary {
    ScenarioSummary {
        name: scenario.name.clone(),
        matrix: scenario.matrix.clone(),
        verdict: Verdict::NotJudged,
        passed: false,
        end,
        validity: Validity::new(Vec::new()),
        target: target(context, scenario),
        load: describe(&scenario.load),
        started_at_s: seconds(context.started.elapsed()),
        duration_s: 0.0,
        requests: Requests::default(),
        documents: Default::default(),
        throughput: Throughput::default(),
        error_rate: None,
        response_time_ms: Latency::default(),
        service_time_ms: Latency::default(),
        first_response_ms: Latency::default(),
        failed_time_ms: Default::default(),
        timeline: Vec::new(),
        callbacks: CallbackCounts::default(),
        counters: Default::default(),
        assertions: Vec::new(),
        thresholds: Vec::new(),
        errors: Vec::new(),
        executors: None,
        gateway_ms: None,
        network_ms: None,
        slowest: Vec::new(),
        steps: Vec::new(),
        warmup: Default::default(),
        client: ClientSummary::default(),
    }
}

fn target(context: &Context, scenario: &Scenario) -> TargetSummary {
    TargetSummary {
        flow: context.plan.flows[scenario.flow].name.clone(),
        protocol: name(scenario.protocol).into(),
        ..TargetSummary::default()
    }
}

fn with_overrides(mut config: ClientConfig, scenario: &Scenario) -> ClientConfig {
    let overrides = &scenario.client;
    config.timeout = overrides.timeout;
    config.retry = overrides.retry;
    config.connections = overrides.connections;
    config.compression = overrides.compression;
    // The engine bounds requests in flight itself; a second bound would turn an open load into a
    // closed one without a word.
    config.prefetch = 0;
    config
}

fn unreachable(error: WorkerError) -> Obstacle {
    Obstacle::Unreachable(error.to_string())
}

fn show(context: &Context, index: usize, change: impl FnOnce(&mut Live)) {
    context.options.live.send_modify(|live| change(&mut live[index]));
}

/// A protocol as scenario files name it.
pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http",
        Protocol::WebSocket => "websocket",
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::V1 => "v1",
        Family::V2 => "v2",
    }
}

/// A load in words.
fn describe(load: &Load) -> String {
    let until = |until: &Until| {
        let mut text = String::new();
        if let Some(duration) = until.duration {
            text.push_str(&format!(" for {duration:?}"));
        }
        if let Some(requests) = until.requests {
            text.push_str(&format!(" up to {requests} requests"));
        }
        text
    };
    match load {
        Load::Once => "all Documents once".into(),
        Load::Closed { stages, until: bound, .. } => {
            let clients = stages.iter().map(|stage| stage.from.max(stage.to)).max().unwrap_or(0);
            let (up_to, plural) =
                (if stages.len() > 1 { "up to " } else { "" }, if clients == 1 { "" } else { "s" });
            format!("{up_to}{clients} client{plural}{}", until(bound))
        }
        Load::Open { schedule, until: bound, .. } => match schedule {
            plan::Schedule::Stages { stages, arrivals } => {
                let law = match arrivals {
                    Arrivals::Uniform => "",
                    Arrivals::Poisson => ", Poisson",
                };
                let highest =
                    stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
                let up_to = if stages.len() > 1 { "up to " } else { "" };
                format!("{up_to}{highest}/s{law}{}", until(bound))
            }
            plan::Schedule::Trace { due, .. } => format!("a trace of {} arrivals", due.len()),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
