//! From the measurements of a scenario to its judged summary.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::examined::Examined;
use super::timing::describe;
use super::{Context, seconds};
use crate::documents::Documents;
use crate::plan::{Load, Origin, Plan, Scenario, Step, Work};
use crate::record::reason::{Code, Reason};
use crate::record::summary::{
    ChoiceSummary, ClientSummary, End, EndReason, ScenarioSummary, TargetSummary, TraceSummary,
    Validity, WorkSummary,
};
use crate::record::validity::{self, Circumstances};
use crate::record::{Recording, Window, cut};
use crate::scenario::condition::Condition;
use crate::server::ServerSummary;
use crate::threshold;

/// What the summary of a scenario needs besides the measurements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) steps: Vec<String>,
    /// For each list of steps to choose from: its name, its share and its first step.
    #[serde(default)]
    pub(super) choices: Vec<(String, f64, usize)>,
    pub(super) thresholds: Vec<Condition>,
    /// What is known about the traces of its requests before any is sent, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) traces: Option<TraceSummary>,
    /// Whether the load is open: requests are due by the clock.
    pub(super) open: bool,
    /// The number of clients over time, if it changes: the ends of straight lines, in seconds from the start of
    /// measurement.
    #[serde(default)]
    pub(super) clients: Vec<(f64, f64)>,
    pub(super) warmup: Duration,
    /// It is of one part of a load, in which nothing is judged.
    #[serde(skip)]
    pub(super) of_part: bool,
}

/// The result of a scenario's load.
pub(super) struct Measured {
    pub(super) recording: Recording,
    pub(super) examined: Examined,
    pub(super) ending: Ending,
}

/// How a scenario's load ended, and what is known about it besides what workers measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) end: End,
    pub(super) window: Window,
    /// The part of it that is not in the recording.
    pub(super) client: ClientSummary,
    pub(super) circumstances: Circumstances,
    /// Whether the run was ended immediately: requests in flight might have ended in any way.
    pub(super) cut: bool,
    /// Metrics the Flow reported about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerSummary>,
    /// Trace ids of connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) traces: Vec<String>,
}

impl Outline {
    pub(super) fn new(scenario: &Scenario) -> Outline {
        Outline {
            steps: scenario.steps.iter().map(|step| step.name.clone()).collect(),
            choices: scenario.shares().collect(),
            thresholds: scenario.thresholds.iter().map(|t| t.that.clone()).collect(),
            traces: scenario
                .trace
                .as_ref()
                .map(|trace| TraceSummary { link: trace.link.clone(), ..TraceSummary::default() }),
            open: matches!(scenario.load, Load::Open { .. }),
            clients: clients(&scenario.load),
            warmup: scenario.warmup,
            of_part: false,
        }
    }

    /// The same for one part of a load.
    pub(super) fn of_part(&mut self) {
        // They are about the whole load, and judged when its parts are merged.
        self.thresholds.clear();
        self.of_part = true;
    }

    /// Judges a scenario whose histograms we have just written.
    pub(super) fn judge(&self, summary: &mut ScenarioSummary) {
        threshold::judge(summary, &self.thresholds).expect("we have just written these histograms");
        if self.of_part {
            threshold::leave_to_the_whole(summary);
        }
    }

    pub(super) fn step_names(&self) -> Vec<&str> {
        self.steps.iter().map(String::as_str).collect()
    }
}

impl Ending {
    /// The ending of a load whose process died in the middle, after it had reported this long.
    pub(super) fn lost(outline: &Outline, workers: usize, length: Duration) -> Ending {
        let message = "the process ended in the middle; this is what its journal holds";
        Ending {
            end: End { reason: EndReason::Interrupted, message: Some(message.into()) },
            window: Window { length, timed: true },
            client: ClientSummary { workers, ..ClientSummary::default() },
            circumstances: Circumstances {
                open: outline.open,
                length: Some(length),
                ..Circumstances::default()
            },
            cut: true,
            server: None,
            traces: Vec::new(),
        }
    }

    /// Whether it ended because a part was lost, this one or another: others may have told of more, or of less.
    pub(super) fn is_cut_short(&self) -> bool {
        self.end.reason == EndReason::PartLost
    }
}

/// How many clients a load has over time, if that changes.
fn clients(load: &Load) -> Vec<(f64, f64)> {
    let Load::Closed { clients, .. } = load else { return Vec::new() };
    if clients.as_constant().is_some() {
        return Vec::new();
    }
    let mut ends = Vec::new();
    let mut at = 0.0;
    for stage in clients.stages() {
        ends.push((at, stage.from));
        // A stage without an end lasts longer than any load.
        at += stage.length.map_or(1e9, |length| length.as_secs_f64());
        ends.push((at, stage.to));
    }
    ends
}

/// The value of piecewise straight lines at an instant; `None` if there are none.
fn level_at(ends: &[(f64, f64)], at: f64) -> Option<f64> {
    let pair = ends.windows(2).find(|pair| at >= pair[0].0 && at < pair[1].0);
    let Some([(from, low), (to, high)]) = pair else { return ends.last().map(|_| 0.0) };
    Some(low + (high - low) * (at - from) / (to - from).max(1e-9))
}

/// Summarizes a scenario; `empty` is what was known before.
pub(super) fn summarize(
    empty: ScenarioSummary,
    outline: &Outline,
    measured: Measured,
) -> ScenarioSummary {
    let Measured { mut recording, examined, ending } = measured;
    let Ending { end, window, client, circumstances, cut, server, traces } = ending;
    let unknown = if cut { recording.forget_abandoned() } else { 0 };
    let mut summary = recording.summary(empty, &outline.step_names(), outline.warmup, window);
    if cut {
        summary.requests.unknown = unknown;
        summary.error_rate = summary.requests.error_rate();
        summary.steps.iter_mut().for_each(|step| step.requests.forget_abandoned());
    }
    let begun = |first: usize| recording.totals.steps.get(first).map_or(0, |step| step.begun);
    let choice = |(name, share, first): &(String, f64, usize)| ChoiceSummary {
        name: name.clone(),
        share: *share,
        iterations: begun(*first),
    };
    summary.choices = outline.choices.iter().map(choice).collect();
    for second in &mut summary.timeline {
        second.clients = level_at(&outline.clients, second.t_s as f64 - 0.5);
    }
    summary.traces = outline.traces.clone().map(|known| {
        let known = TraceSummary { connections: traces, ..known };
        recording.traces(known)
    });
    summary.end = end;
    summary.server = server;
    summary.validity = Validity::new(validity::reasons(&recording, circumstances));
    summary.callbacks = examined.callbacks;
    summary.counters = examined.counters;
    summary.assertions = examined.assertions;
    summary.client.cpu_s = client.cpu_s;
    summary.client.max_rss_bytes = client.max_rss_bytes;
    summary.client.workers = client.workers;
    summary.client.unmatched_replies = client.unmatched_replies;
    summary.client.waited_for_connections = client.waited_for_connections;
    summary.client.saturated = circumstances.is_saturated();
    outline.judge(&mut summary);
    summary
}

/// Adds to a summary that the command of its Flow ended: the measurements are not of a working Flow.
pub(super) fn lost(summary: &mut ScenarioSummary, outline: &Outline, reason: &str) {
    // A scenario that never began has its own reason.
    if matches!(summary.end.reason, EndReason::Skipped | EndReason::Unreachable) {
        return;
    }
    summary.end = End { reason: EndReason::Unreachable, message: Some(reason.to_owned()) };
    summary.validity.valid = false;
    summary.validity.reasons.insert(0, Reason::plain(Code::NotRun, reason));
    outline.judge(summary);
}

/// What is known of a scenario before it begins, while others run.
pub(super) fn waiting(plan: &Plan, index: usize) -> ScenarioSummary {
    ScenarioSummary { end: EndReason::Waiting.into(), ..empty(plan, index) }
}

/// The summary of a scenario that sent nothing.
pub(super) fn not_run(
    context: &Context,
    index: usize,
    reason: EndReason,
    message: String,
) -> ScenarioSummary {
    let mut summary = empty(&context.plan, index);
    summary.started_at_s = seconds(context.started.elapsed());
    let message = cut(&message).into_owned();
    summary.end = End { reason, message: Some(message.clone()) };
    never_ran(&mut summary, message, &context.outlines[index]);
    summary
}

/// Judges a scenario that sent nothing, and says why.
pub(super) fn never_ran(summary: &mut ScenarioSummary, message: String, outline: &Outline) {
    summary.validity = Validity::new(vec![Reason::plain(Code::NotRun, message)]);
    outline.judge(summary);
}

/// What is known about a scenario before anything was sent.
pub(super) fn empty(plan: &Plan, index: usize) -> ScenarioSummary {
    let scenario = &plan.scenarios[index];
    ScenarioSummary {
        name: scenario.name.clone(),
        matrix: scenario.matrix.clone(),
        always: scenario.always,
        end: End { reason: EndReason::Skipped, message: Some("the run ended before".into()) },
        target: target(plan, scenario),
        load: describe(&scenario.load),
        work: scenario.steps.iter().map(work).collect(),
        ..ScenarioSummary::default()
    }
}

/// What the requests of a step are.
fn work(step: &Step) -> WorkSummary {
    let (kind, on, post) = match &step.work {
        Work::Post(post) if post.stream => ("stream", Some(post.on.clone()), Some(post)),
        Work::Post(post) => ("post", Some(post.on.clone()), Some(post)),
        Work::Mutate { .. } => ("mutate", None, None),
        Work::Http(http) => ("http", Some(http.shown()), None),
    };
    let documents = post.and_then(|post| post.documents.as_ref());
    let shown = |documents: &Documents| match documents.name() {
        Some(name) => name.to_owned(),
        None => documents.resolved().to_string(),
    };
    WorkSummary {
        step: step.name.clone(),
        kind: kind.into(),
        on,
        request_size: post.filter(|_| documents.is_some()).map(|post| post.request_size as u64),
        documents: documents.map(|documents| cut(&shown(documents)).into_owned()),
    }
}

pub(super) fn target(plan: &Plan, scenario: &Scenario) -> TargetSummary {
    TargetSummary {
        flow: plan.flows[scenario.flow].name.clone(),
        protocol: scenario.protocol.name().into(),
        call: scenario.client.unary.then(|| "unary".into()),
        built_in: matches!(plan.flows[scenario.flow].origin, Origin::Embedded(_)),
        ..TargetSummary::default()
    }
}
