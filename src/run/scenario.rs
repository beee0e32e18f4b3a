//! Runs one scenario: starts its workers, collects what they measure, and adds it up.

use std::cell::LazyCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::examined::found;
use super::journal::Entry;
use super::live::{Live, Recent, State};
use super::machine::{Withheld, cores, max_rss};
use super::summarize::{Ending, Measured, empty, lost, not_run, summarize, target};
use super::telling::Telling;
use super::timing::Timing;
use super::together::{Go, Together};
use super::tried::{Seen, TRIAL_TELLS_EVERY};
use super::worker::{self, Order, Ready, Report, WorkerError};
use super::{Context, seconds};
use crate::client::{ClientConfig, TraceParent, Unmatched};
use crate::engine::chain::Chain;
use crate::engine::choose::Pick;
use crate::engine::error::FeedError;
use crate::engine::examine::{self, Examiner};
use crate::engine::feed::Feed;
use crate::engine::make::{Maker, Spoken};
use crate::engine::source::{Over, Share};
use crate::engine::{Ended, Slots, Stop};
use crate::error::chain;
use crate::metric::MetricUnit;
use crate::plan::{Choice, Connections, Load, Scenario, Step, Work, Workers};
use crate::record::summary::{
    ClientSummary, End, EndReason, Requests, ScenarioSummary, TargetSummary, Verdict,
};
use crate::record::tally::{Counts, Tally};
use crate::record::validity::{self, Circumstances, Waited};
use crate::record::{Delta, Recorder, Recording, Window, cut};
use crate::scenario::condition::Condition;
use crate::server::Watcher;
use crate::threshold::Evidence;
use crate::units::Part;
use crate::wire::{Family, Form, Schemas};

/// Capacity of the queue of deltas to be merged: some per worker. A worker that finds it full keeps its counts and
/// hands them over later, added up.
const DELTAS_WAITING: usize = 64;

/// How far back the window of an `abort` threshold reaches.
const WINDOW_SECONDS: u64 = 10;

/// How far back the rates of the live view reach; percentiles need more requests and reach as far back as thresholds.
const LIVE_SECONDS: u64 = 2;

/// The result of a scenario's load, and when it began.
type Loaded = (Measured, Instant);

/// Why a scenario did not get as far as a load.
enum Obstacle {
    Unreachable(&'static str, String),
    Broken(FeedError),
    Interrupted,
    /// Another part could not begin.
    Skipped(String),
}

/// Runs a scenario; problems become part of its summary.
pub(super) async fn run(context: &Context, index: usize) -> ScenarioSummary {
    let scenario = &context.plan.scenarios[index];
    show(context, index, |live| {
        // In a search, the figures of the previous trial may still be there.
        *live = Live { state: State::Connecting, ..Live::waiting(scenario, &context.plan.secrets) };
    });
    let config = match context.flows.client(scenario.flow, scenario.protocol).await {
        Ok(config) => with_overrides(config, scenario),
        Err(error) => return not_reached(context, index, "connect", chain(&error)),
    };
    let mut target = target(&context.plan, scenario);
    target.address = Some(config.target.to_string());
    target.tls = config.target.tls;
    let outcome = carry_out(context, index, config, &mut target).await;
    let mut summary = match outcome {
        Ok((measured, began)) => {
            let started_at_s = seconds(began - context.started);
            let empty = ScenarioSummary { started_at_s, ..empty(&context.plan, index) };
            let outline = &context.outlines[index];
            let mut summary = summarize(empty, outline, measured);
            if let Some(reason) = context.flows.why_ended(scenario.flow) {
                lost(&mut summary, outline, &reason);
            }
            summary
        }
        Err(Obstacle::Unreachable(kind, reason)) => not_reached(context, index, kind, reason),
        Err(Obstacle::Broken(error)) => not_run(context, index, EndReason::Broken, chain(&error)),
        Err(Obstacle::Interrupted) => {
            not_run(context, index, EndReason::Skipped, "the run ended before".into())
        }
        Err(Obstacle::Skipped(reason)) => not_run(context, index, EndReason::Skipped, reason),
    };
    summary.target = target;
    summary
}

/// As with `client.post`, callbacks fire once for a Flow that could not be reached.
fn not_reached(
    context: &Context,
    index: usize,
    kind: &'static str,
    reason: String,
) -> ScenarioSummary {
    let scenario = &context.plan.scenarios[index];
    let examiner = examiner(
        context,
        scenario,
        (Form::Protobuf(Family::V1), &Schemas::default()),
        &context.options.stop,
    );
    let examined = examiner.map(|examiner| {
        examiner.not_reached(kind, &reason);
        found(&lock(&examiner.examined()))
    });
    let mut summary = not_run(context, index, EndReason::Unreachable, reason);
    if let Some(examined) = examined {
        summary.callbacks = examined.callbacks;
        summary.counters = examined.counters;
    }
    summary
}

/// The examiner of a scenario's responses, if it needs one.
fn examiner(
    context: &Context,
    scenario: &Scenario,
    spoken: (Form, &Schemas),
    stop: &Stop,
) -> Option<Examiner> {
    Examiner::new(
        &scenario.steps,
        spoken,
        context.plan.seed,
        context.options.output.clone(),
        context.saves.clone(),
        stop.drain.clone(),
    )
}

async fn carry_out(
    context: &Context,
    index: usize,
    config: ClientConfig,
    target: &mut TargetSummary,
) -> Result<Loaded, Obstacle> {
    let (scenario, part) = (&context.plan.scenarios[index], context.plan.part);
    let signals = context.stop_of(index);
    let (stop, interrupted) = (signals.child(), signals.drain.cancelled());
    // It has taken its first reading by the time the load begins.
    let watcher = context.flows.watch(scenario.flow);
    // Plain HTTP requests are the same whatever their target.
    let speaks_jina = scenario.steps.iter().any(|step| !matches!(step.work, Work::Http(_)));
    let mut traces = Vec::new();
    let workers = tokio::select! {
        workers = connect(config, scenario, part, &mut traces) => workers.map_err(unreachable)?,
        () = interrupted => return Err(Obstacle::Interrupted),
    };
    let (Some(first), count) = (workers.first(), workers.len()) else {
        return Err(Obstacle::Unreachable("connect", "no worker was started".into()));
    };
    target.family = speaks_jina.then(|| first.info.family.name().into());
    target.jina = first.info.jina.as_deref().map(|told| cut(told).into_owned());
    target.docarray = first.info.docarray.as_deref().map(|told| cut(told).into_owned());
    let (form, schemas) = (first.form, first.schemas.clone());
    let told = schemas.clone();
    // Making the first requests may take a while, and must not block the runtime.
    let (steps, warm) = (scenario.steps.clone(), !scenario.warmup.is_zero());
    // Several trials would soon run out of Documents.
    let again = context.look.is_some();
    let (seed, name) = (context.plan.seed, scenario.name.clone());
    let choices = scenario.choices.clone();
    let made = tokio::task::spawn_blocking(move || {
        make((seed, &name), (&steps, &choices), (form, &schemas), warm, again, (part, count))
    });
    let (warmup, feeds, chain) =
        made.await.unwrap_or(Err(FeedError::Gone)).map_err(Obstacle::Broken)?;

    let examiner = examiner(context, scenario, (form, &told), &stop);
    // As with `client.post`; under a load there is no meaningful order.
    let in_order = matches!(scenario.load, Load::Once) && scenario.client.results_in_order;
    let (answers, examined, examining) = look_at_answers(examiner, in_order);

    // Workers wait for the set time with their connections open, so that they start on time.
    let due = tokio::select! {
        due = due(context, index) => due?,
        () = signals.drain.cancelled() => return Err(Obstacle::Interrupted),
    };
    let now = Instant::now();
    let began = due.or_else(|| context.not_before(index)).map_or(now, |at| at.max(now));
    let late = due.map(|due| began - due);
    let plan = Timing::new(scenario, began, context.plan.seed, part);
    let frame = plan.frame;
    if let Some(watcher) = &watcher {
        watcher.begin(frame.measured_from().into_std());
    }
    if let Some(board) = &context.options.board {
        let begun = ScenarioSummary {
            target: target.clone(),
            started_at_s: seconds(began - context.started),
            end: EndReason::Running.into(),
            ..empty(&context.plan, index)
        };
        board.put(index, context.started.elapsed(), begun);
    }
    let begun = (began - context.started, wall(began), late);
    context.tell(|| Entry::began(index, target, begun, count, frame.duration));
    let slots = Slots::new(plan.max_in_flight);
    let (deltas, mut received) = mpsc::channel(DELTAS_WAITING);
    let withheld = Withheld::start();
    let shares = workers.into_iter().zip(warmup).zip(feeds).enumerate();
    let running = shares.map(|(worker, ((ready, warmup), feed))| {
        let share = Share::of_part(part, worker, count);
        ready.run(Order {
            worker,
            frame,
            source: plan.source(share),
            warmup,
            feed,
            chain: chain.clone(),
            slots: slots.clone(),
            answers: answers.clone(),
            deltas: deltas.clone(),
            tells_every: if again { TRIAL_TELLS_EVERY } else { Recorder::TELLS_EVERY },
            // A trial asks how much, not why.
            samples: (!again).then_some(count),
            parts: part.of(),
            grace: scenario.grace(),
            ends_when_lost: matches!(scenario.load, Load::Once),
            stop: stop.clone(),
        })
    });
    let running = join_all(running.collect::<Vec<_>>());
    drop((answers, deltas));

    let mut recording = Recording::of(count);
    let mut aborted = None;
    let mut watch = Watch {
        context,
        index,
        scenario,
        plan: &plan,
        examined: &examined,
        second: 0,
        watcher: watcher.as_ref(),
        target: target.clone(),
        began,
        next_post: None,
    };
    let mut telling = Telling::new(index, (began, frame.measured_from()), count, again);
    let tell = |telling: &mut Telling| {
        context.tell(|| {
            let at_s = seconds(context.started.elapsed());
            let read = watcher.as_ref().map(Watcher::news).unwrap_or_default();
            let found = found(&lock(&examined));
            Entry::Measured(Box::new(telling.tell(at_s, found, read)))
        });
    };
    let mut note = |delta: &Delta| {
        if context.is_told() && telling.hear(delta) {
            tell(&mut telling);
        }
    };
    tokio::pin!(running);
    let mut give_up_at = None;
    let reports = loop {
        tokio::select! {
            reports = &mut running => break reports,
            (end, until) = context.ended(index, aborted.is_some()), if give_up_at.is_none() => {
                aborted.get_or_insert(end);
                stop.drain.cancel();
                give_up_at = until;
            }
            () = at(give_up_at), if !stop.abort.is_cancelled() => {
                stop.abort.cancel();
            }
            Some(delta) = received.recv() => {
                note(&delta);
                recording.add(delta);
                let reason = watch.look_at(&recording).filter(|_| aborted.is_none());
                if let Some(reason) = reason {
                    if let Some(together) = &context.together {
                        together.end(index, &reason);
                    }
                    aborted = Some(early(reason));
                    stop.drain.cancel();
                }
            }
        }
    };
    while let Ok(delta) = received.try_recv() {
        note(&delta);
        recording.add(delta);
    }
    // The senders of responses are dropped with the workers, so this ends once all are examined.
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
                note(&rest);
                recording.add(rest);
                workers.push(report);
            }
            Err(error) => lost = Some(error.to_string()),
        }
    }
    telling.end();
    tell(&mut telling);
    if let (Some(together), true) = (&context.together, again) {
        together.others(index).await;
    }
    watch.look_closer_at(&recording);
    let server = match watcher {
        Some(watcher) => Some(watcher.finish().await),
        None => None,
    };
    if examined.aborted {
        aborted.get_or_insert_with(|| early("an `abort` action ended it".into()));
    }
    let interrupted = signals.drain.is_cancelled();
    let end = end(&workers, lost, aborted, interrupted);
    let window = plan.window(&recording, end.reason);
    let mut unmatched = Unmatched::default();
    workers.iter().for_each(|worker| unmatched += worker.unmatched);
    let of_wall =
        |time: Duration, worker: &Report| time.as_secs_f64() / worker.wall.as_secs_f64().max(1e-3);
    let busy = |worker: &Report| of_wall(worker.cpu, worker);
    let waiting = |worker: &Report| of_wall(worker.waited.0, worker);
    let measured = Measured {
        recording,
        examined: found(&examined),
        ending: Ending {
            end,
            window,
            client: ClientSummary {
                cpu_s: Some(seconds(workers.iter().map(|worker| worker.cpu).sum())),
                max_rss_bytes: max_rss(),
                workers: workers.len(),
                unmatched_replies: unmatched.into(),
                waited_for_connections: workers.iter().map(|w| w.waited_for_connections).sum(),
                ..ClientSummary::default()
            },
            circumstances: Circumstances {
                open: matches!(scenario.load, Load::Open { .. }),
                busiest: workers.iter().map(busy).fold(0.0, f64::max),
                withheld: withheld.share(),
                length: window.timed.then_some(window.length),
                waited: Waited {
                    share: workers.iter().map(waiting).fold(0.0, f64::max),
                    total: workers.iter().map(|worker| worker.waited.0).sum(),
                    times: workers.iter().map(|worker| worker.waited.1).sum(),
                },
                late,
            },
            cut: stop.abort.is_cancelled(),
            server,
            traces,
        },
    };
    context.tell(|| Entry::Finished {
        scenario: index,
        ending: Box::new(measured.ending.clone()),
        reasons: match part.is_whole() {
            true => Vec::new(),
            false => validity::reasons(&measured.recording, measured.ending.circumstances),
        },
        lines: Some(telling.lines()),
    });
    Ok((measured, began))
}

/// The end of a scenario before its time.
fn early(message: String) -> End {
    End { reason: EndReason::Aborted, message: Some(message) }
}

/// When the load of a scenario is due, if that was set or if all parts begin it together: then it waits until all are
/// ready.
async fn due(context: &Context, index: usize) -> Result<Option<Instant>, Obstacle> {
    let Some(together) = &context.together else { return Ok(context.due(index)) };
    match together.ready(index, context.not_before(index)).await {
        Go::At(instant) => Ok(Some(instant)),
        Go::Skip(reason) => Err(Obstacle::Skipped(reason)),
    }
}

/// What the machine's clock shows at an instant.
fn wall(at: Instant) -> Option<jiff::Timestamp> {
    let (now, shown) = (Instant::now(), jiff::Timestamp::now());
    match at.checked_duration_since(now) {
        Some(left) => shown.checked_add(left).ok(),
        None => shown.checked_sub(now - at).ok(),
    }
}

/// Waits until that instant, if there is one.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// The feeds of all workers, for warmup and load, and the queue to the later steps.
type Made = (Vec<Feed>, Vec<Feed>, Option<Chain>);

fn make(
    (seed, scenario): (u64, &str),
    (steps, choices): (&[Step], &[Choice]),
    spoken: Spoken<'_>,
    warm: bool,
    again: bool,
    (part, workers): (Part, usize),
) -> Result<Made, FeedError> {
    let maker = |step: &Step| Maker::new(step, spoken);
    let pick = Pick::new(choices, seed, scenario);
    let first = Maker::of_first(steps, pick.clone(), spoken);
    // The step that runs out of Documents first ends the load; the warmup starts over.
    let limit = steps.iter().filter_map(|step| maker(step).count()).min();
    let limit = limit.filter(|_| !again);
    steps.iter().try_for_each(|step| maker(step).fits(limit))?;
    let warmup = if warm { first.feeds(workers, None, part)? } else { first.nothing(workers) };
    let chain = Chain::is_needed(steps)
        .then(|| Chain::new(steps, spoken, pick, seed, scenario))
        .transpose()?;
    Ok((warmup, first.feeds(workers, limit, part)?, chain))
}

/// Opens the connections of all workers.
async fn connect(
    config: ClientConfig,
    scenario: &Scenario,
    part: Part,
    traces: &mut Vec<String>,
) -> Result<Vec<Ready>, WorkerError> {
    let by_connection = scenario.trace.as_ref().is_some_and(|trace| trace.by_connection);
    let Workers { threads: workers, connections } = scenario.workers(cores(), part);
    let shares = (0..workers).map(|worker| {
        let connections = Share { worker, workers }.of(connections).max(1);
        let connections_max = match scenario.client.connections {
            Connections::Exactly(_) => connections,
            Connections::AsNeeded => 0,
        };
        let mut config = ClientConfig { connections, connections_max, ..config.clone() };
        if by_connection {
            // What requests share has one position in one trace.
            let parent = TraceParent::random();
            config.headers.push((TraceParent::HEADER.into(), parent.to_string()));
            traces.push(parent.id());
        }
        worker::start(config)
    });
    try_join_all(shares).await
}

type Examining = oneshot::Receiver<()>;

/// Runs the examiner on its own thread.
fn look_at_answers(
    examiner: Option<Examiner>,
    in_order: bool,
) -> (
    Option<mpsc::Sender<crate::engine::StepAnswer>>,
    Arc<Mutex<examine::Examined>>,
    Option<Examining>,
) {
    let Some(examiner) = examiner else { return (None, Arc::default(), None) };
    let examined = examiner.examined();
    let (answers, queue) = mpsc::channel(examine::WAITING_MAX);
    let (done, is_done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("examiner".into()).spawn(move || {
        examiner.run(queue, in_order);
        let _ = done.send(());
    });
    // If the thread did not start, the queue is closed, and workers see that nobody examines.
    (Some(answers), examined, thread.is_ok().then_some(is_done))
}

/// Watches a scenario while it runs.
struct Watch<'a> {
    context: &'a Context,
    index: usize,
    scenario: &'a Scenario,
    plan: &'a Timing,
    examined: &'a Mutex<examine::Examined>,
    /// How many seconds were complete at the last check.
    second: u64,
    watcher: Option<&'a Watcher>,
    target: TargetSummary,
    began: Instant,
    /// When the board is next due for an update.
    next_post: Option<Instant>,
}

/// A board is updated so rarely that summarizing takes at most this share of the time.
const POSTS_SHARE: u32 = 20;

impl Watch<'_> {
    /// Publishes the current state; returns the failed `abort` threshold, if there is one. In part 1 of several
    /// connected parts, it looks at all of them, otherwise at `own`.
    fn look_at(&mut self, own: &Recording) -> Option<String> {
        let (index, together) = (self.index, self.context.together.as_ref());
        let of_all = together.and_then(|together| {
            together.look(index, |recording, counts| self.look(recording, &|| counts.clone()))
        });
        let examined = self.examined;
        of_all.unwrap_or_else(|| self.look(own, &|| counted(&lock(examined))))
    }

    /// The same for the trial's own check; returns whether to end it.
    fn look_closer_at(&self, own: &Recording) -> bool {
        let together = self.context.together.as_ref();
        let of_all = together.and_then(|together| {
            together.look(self.index, |all, counts| self.look_closer(all, &|| counts.clone()))
        });
        of_all.unwrap_or_else(|| self.look_closer(own, &|| counted(&lock(self.examined))))
    }

    fn look(&mut self, recording: &Recording, counts: &dyn Fn() -> Counts) -> Option<String> {
        let frame = self.plan.frame;
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(frame.measured_from());
        // Both windows change only when another second is complete.
        let complete = recording.complete();
        let another = complete > self.second;
        self.second = self.second.max(complete);
        let longer = another.then(|| self.window(recording, WINDOW_SECONDS)).flatten();
        let recent = longer.as_ref().and_then(|(longer, _)| {
            let (tally, window) = self.window(recording, LIVE_SECONDS)?;
            Some(Recent::new(&tally, window, longer.ok()))
        });
        let requests = Requests::ended(&recording.totals);
        show(self.context, self.index, |live| {
            let warm = now < frame.measured_from();
            live.state = if warm { State::Warmup } else { State::Running };
            live.left = frame.end().map(|end| end.saturating_duration_since(now));
            live.progress = frame.duration.map(|duration| {
                (elapsed.as_secs_f64() / duration.as_secs_f64().max(1e-9)).min(1.0)
            });
            live.recent = recent.or(live.recent);
            live.error_rate = requests.error_rate();
            live.sent = recording.totals.sent;
        });
        let board = self.context.options.board.as_ref();
        if another || board.is_some_and(|board| board.awaits(self.index)) {
            self.post(recording, elapsed);
        }
        if self.look_closer(recording, counts) {
            return Some("it is decided".into());
        }
        self.broken(&longer?, &recording.totals, elapsed, counts)
    }

    /// Updates a board, if somebody is watching it.
    fn post(&mut self, recording: &Recording, elapsed: Duration) {
        let board = self.context.options.board.as_ref().filter(|board| board.is_looked_at());
        let Some(board) = board else { return };
        let now = Instant::now();
        if self.next_post.is_some_and(|at| now < at) {
            return;
        }
        let outline = &self.context.outlines[self.index];
        let known = ScenarioSummary {
            target: self.target.clone(),
            started_at_s: seconds(self.began - self.context.started),
            end: EndReason::Running.into(),
            server: self.watcher.map(Watcher::so_far),
            ..empty(&self.context.plan, self.index)
        };
        let window = Window { length: elapsed, timed: false };
        let mut summary = recording.summary(known, &outline.step_names(), outline.warmup, window);
        // Requests in flight may still end in any way.
        (summary.requests.unknown, summary.requests.abandoned) = (summary.requests.abandoned, 0);
        summary.traces = outline.traces.clone().map(|known| recording.traces(known));
        outline.judge(&mut summary);
        board.put(self.index, self.context.started.elapsed(), summary);
        self.next_post = Some(now + now.elapsed() * POSTS_SHARE);
    }

    /// What happened in the last whole seconds of the load; `None` before the first is over.
    fn window(&self, recording: &Recording, seconds: u64) -> Option<(Tally, Window)> {
        let load = self.plan.frame.duration.map_or(u64::MAX, |duration| duration.as_secs());
        let (tally, seconds) = recording.last(load, seconds);
        let window = Window { length: Duration::from_secs(seconds), timed: false };
        (seconds > 0).then_some((tally, window))
    }

    /// Passes the recording to the trial's check; returns whether to end the trial.
    fn look_closer(&self, recording: &Recording, counts: &dyn Fn() -> Counts) -> bool {
        let Some(look) = &self.context.look else { return false };
        let mut elapsed = Instant::now().saturating_duration_since(self.plan.frame.measured_from());
        if self.context.together.is_some() {
            // Not all parts have reported what is later.
            elapsed = elapsed.min(recording.told());
        }
        lock(look)(&Seen { recording, counts: counts(), elapsed })
    }

    /// The failed `abort` threshold, if there is one: counts cover everything so far, all else a window.
    fn broken(
        &self,
        (tally, window): &(Tally, Window),
        totals: &Tally,
        elapsed: Duration,
        counts: &dyn Fn() -> Counts,
    ) -> Option<String> {
        // The thresholds of a part are about the whole load, which it does not know unless it leads.
        let leads = self.context.together.as_ref().is_some_and(Together::leads);
        let whole = self.context.plan.part.is_whole() || leads;
        let thresholds = self.scenario.thresholds.iter().filter(|_| whole);
        let mut due = thresholds.filter(|t| t.abort && elapsed >= t.after).peekable();
        due.peek()?;
        let counts = counts();
        let names = self.context.outlines[self.index].step_names();
        let mut recent = Evidence::of_window(tally, window.length, &counts, &names);
        recent.server = self.watcher.map(|watcher| watcher.recent(elapsed, WINDOW_SECONDS));
        let so_far = LazyCell::new(|| Evidence::of_window(totals, elapsed, &counts, &names));
        let evidence = |that: &Condition| match that.metric.unit() {
            MetricUnit::Count => &*so_far,
            _ => &recent,
        };
        due.find(|threshold| {
            evidence(&threshold.that).judge(&threshold.that).verdict == Verdict::Failed
        })
        .map(|threshold| format!("`{}` was no longer met", threshold.that))
    }
}

/// What has been counted on responses so far.
fn counted(examined: &examine::Examined) -> Counts {
    Counts {
        assertion_failures: examined.assertion_failures(),
        counters: examined.counters.clone(),
    }
}

/// Why a scenario ended, from why its workers did.
fn end(workers: &[Report], lost: Option<String>, aborted: Option<End>, interrupted: bool) -> End {
    if workers.iter().any(|worker| matches!(worker.ended, Ended::Lost)) && !interrupted {
        let message = "the connection was lost; without `load`, no further input is taken then";
        return End { reason: EndReason::Aborted, message: Some(message.into()) };
    }
    let mut reason = EndReason::Time;
    let mut message = None;
    for worker in workers {
        match &worker.ended {
            Ended::Feed(error) => {
                return End { reason: EndReason::Broken, message: Some(chain(error)) };
            }
            Ended::Documents => reason = EndReason::Documents,
            Ended::Complete(Over::Requests) if reason == EndReason::Time => {
                reason = EndReason::Requests;
            }
            Ended::Complete(_) | Ended::Lost => (),
            Ended::Stopped => {
                let why = if interrupted { EndReason::Interrupted } else { EndReason::Aborted };
                let aborted = aborted.filter(|_| !interrupted);
                return aborted.unwrap_or(End { reason: why, message: None });
            }
        }
    }
    if lost.is_some() {
        (reason, message) = (EndReason::Broken, lost);
    }
    End { reason, message }
}

fn with_overrides(mut config: ClientConfig, scenario: &Scenario) -> ClientConfig {
    let overrides = &scenario.client;
    config.timeout = overrides.timeout;
    config.retry = overrides.retry;
    config.compression = overrides.compression;
    config.stream = !overrides.unary;
    // The engine itself bounds the requests in flight; a second bound would silently turn an open load into a closed
    // one.
    config.prefetch = 0;
    config
}

fn unreachable(error: WorkerError) -> Obstacle {
    let kind = match &error {
        WorkerError::Call(error) => error.kind(),
        WorkerError::System(_) | WorkerError::Gone(_) => "connect",
    };
    Obstacle::Unreachable(kind, error.to_string())
}

fn show(context: &Context, index: usize, change: impl FnOnce(&mut Live)) {
    context.options.live.send_modify(|live| change(&mut live[index]));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
