//! From what was measured of a scenario to its summary, judged.

use super::machine::max_rss;
use super::scenario::Outcome;
use super::timing::describe;
use super::worker::Report;
use super::{Context, seconds};
use crate::engine::examine::{self, Examined};
use crate::plan::{Load, Scenario};
use crate::record::Histogram;
use crate::record::summary::{
    AssertionSummary, CallbackCount, CallbackCounts, ClientSummary, End, EndReason, Latency,
    Requests, ScenarioSummary, TargetSummary, Throughput, Validity, Verdict,
};
use crate::record::validity::{self, Circumstances};
use crate::threshold::{Evidence, overall};
use crate::wire::{Family, Protocol};

pub(super) fn summarize(
    context: &Context,
    scenario: &Scenario,
    outcome: Outcome,
) -> ScenarioSummary {
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

pub(super) fn step_names(scenario: &Scenario) -> Vec<&str> {
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
        let lacks = evidence.lacks_requests(&threshold.that);
        if let Some(reason) = lacks.filter(|reason| !summary.validity.reasons.contains(reason)) {
            summary.validity.reasons.push(reason);
            summary.validity.valid = false;
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

pub(super) fn target(context: &Context, scenario: &Scenario) -> TargetSummary {
    TargetSummary {
        flow: context.plan.flows[scenario.flow].name.clone(),
        protocol: name(scenario.protocol).into(),
        ..TargetSummary::default()
    }
}
/// A protocol as scenario files name it.
pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http",
        Protocol::WebSocket => "websocket",
    }
}

pub(super) fn family(family: Family) -> &'static str {
    match family {
        Family::V1 => "v1",
        Family::V2 => "v2",
    }
}
