//! The content of the page as values for its template: texts, tables and charts.

use serde::Serialize;

use super::figures;
use super::matrix::{Comparison, comparisons};
use super::parts::{Fact, Figure};
use super::{server, tested, traces, why};
use crate::record::HistogramError;
use crate::record::summary::{
    CallbackCount, Lag, Latency, PartClock, PartLoad, PartState, Requests, RunPart,
    ScenarioSummary, Summary, Verdict,
};
use crate::report::words::{
    active, actual, answer, bytes, caveat, count, end, impossible, latency, machine, outcome,
    percent, rate, three_digits, time, unmatched, verdict,
};
use crate::units::ByteSize;

/// The whole page.
#[derive(Serialize)]
pub(super) struct Page {
    title: String,
    verdict: &'static str,
    class: &'static str,
    answer: String,
    reasons: Vec<Reason>,
    facts: Vec<Fact>,
    /// The suite with every default filled in, as JSON.
    resolved: Option<String>,
    comparisons: Vec<Comparison>,
    scenarios: Vec<Section>,
}

/// Explains the verdict: one sentence about a scenario.
#[derive(Serialize)]
struct Reason {
    scenario: String,
    id: String,
    class: &'static str,
    text: String,
}

/// One scenario.
#[derive(Serialize)]
struct Section {
    id: String,
    name: String,
    verdict: &'static str,
    class: &'static str,
    tested: Vec<Fact>,
    /// The time window that is shown, if one was selected.
    part: Option<String>,
    end: Option<String>,
    ran: bool,
    valid: bool,
    invalid: Vec<String>,
    // The columns of the table of scenarios.
    requests: String,
    throughput: String,
    p50: String,
    p95: String,
    p99: String,
    max: String,
    failed: String,
    /// The most important figures, in large type.
    key: Vec<Fact>,
    thresholds: Vec<Threshold>,
    figures: Vec<Figure>,
    executors_missing: bool,
    server: Option<server::Section>,
    why: Vec<why::Section>,
    traces: Option<traces::Section>,
    steps: Vec<StepRow>,
    choices: Vec<ChoiceRow>,
    /// A row for each part of a load that was sent in parts.
    parts: Vec<[String; 7]>,
    assertions: Vec<Assertion>,
    callbacks: Vec<Callback>,
    counters: Vec<(String, String)>,
    errors: Vec<Error>,
    slowest: Vec<Slow>,
    details: Vec<Fact>,
}

#[derive(Serialize)]
struct Threshold {
    that: String,
    actual: String,
    verdict: &'static str,
    class: &'static str,
    reason: Option<String>,
}

#[derive(Serialize)]
struct ChoiceRow {
    name: String,
    iterations: String,
    share: String,
}

#[derive(Serialize)]
struct StepRow {
    name: String,
    requests: String,
    ok: String,
    p50: String,
    p95: String,
    p99: String,
    max: String,
}

#[derive(Serialize)]
struct Assertion {
    name: String,
    class: &'static str,
    passed: String,
    failed: String,
    example: Option<String>,
}

#[derive(Serialize)]
struct Callback {
    name: &'static str,
    fired: String,
    failed: String,
    example: Option<String>,
}

#[derive(Serialize)]
struct Error {
    kind: String,
    message: String,
    count: String,
    first: String,
    details: Option<String>,
}

#[derive(Serialize)]
struct Slow {
    due: String,
    response: String,
    service: String,
    lag: String,
    routes: String,
}

impl Page {
    /// The page of a summary.
    ///
    /// # Errors
    ///
    /// If its histograms were modified.
    pub(super) fn new(summary: &Summary) -> Result<Page, HistogramError> {
        let scenarios: Vec<Section> = summary
            .scenarios
            .iter()
            .enumerate()
            .map(|(index, scenario)| Section::new(index, scenario, &summary.parts))
            .collect::<Result<_, _>>()?;
        let reasons = summary.scenarios.iter().zip(&scenarios).filter_map(|(scenario, section)| {
            reason(scenario).map(|text| Reason {
                scenario: section.name.clone(),
                id: section.id.clone(),
                class: section.class,
                text,
            })
        });
        Ok(Page {
            title: summary.suite.clone(),
            verdict: verdict(summary.verdict),
            class: class(summary.verdict),
            // The template ends the sentence.
            answer: format!("{}.{}", answer(summary), caveat(summary)).trim_end_matches('.').into(),
            reasons: reasons.collect(),
            facts: facts(summary),
            resolved: resolved(summary),
            comparisons: comparisons(summary),
            scenarios,
        })
    }

    /// Adapts the page to a run that is still going on: an inconclusive result may still be decided, so it is
    /// not a finding; scenarios that are over have their verdicts.
    pub(super) fn so_far(mut self) -> Page {
        let having = |class: &str| self.scenarios.iter().filter(|one| one.class == class).count();
        let all = self.scenarios.len();
        self.answer = match (self.class, having("passed")) {
            ("failed", _) => format!("So far: {}", self.answer),
            (_, 0) => "Nothing is decided yet".into(),
            (_, passed) => format!("So far, {passed} of {all} passed"),
        };
        (self.verdict, self.class) =
            ("Running", if self.class == "failed" { "failed" } else { "running" });
        self
    }
}

/// Why a scenario did not pass or must not be quoted, in one sentence.
fn reason(scenario: &ScenarioSummary) -> Option<String> {
    if let (0, Some(how)) = (scenario.requests.arrivals, end(scenario)) {
        return Some(how);
    }
    if scenario.end.is_ahead() {
        return None;
    }
    let judged = |verdict: Verdict| {
        let thresholds = scenario.thresholds.iter().filter(move |t| t.verdict == verdict);
        thresholds.map(|t| format!("{} (it is {})", t.that, actual(t))).collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    match scenario.verdict {
        Verdict::Passed | Verdict::Part => (),
        Verdict::Failed => {
            parts.push(format!("does not hold: {}", judged(Verdict::Failed).join(", ")))
        }
        Verdict::Inconclusive => {
            parts.push(format!("inconclusive: {}", judged(Verdict::Inconclusive).join(", ")));
        }
        // The way it ended already explains it.
        Verdict::NotReached | Verdict::Interrupted => (),
    }
    // Of a load in parts, the next ones say which part it is.
    let told = if scenario.parts.is_empty() { 1 } else { 3 };
    let reasons: Vec<&str> =
        scenario.validity.reasons.iter().take(told).map(|reason| reason.text.as_str()).collect();
    if !reasons.is_empty() {
        parts.push(format!("not valid, because {}", reasons.join("; ")));
    }
    parts.extend(end(scenario));
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn facts(summary: &Summary) -> Vec<Fact> {
    let started = summary.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let machine = machine(&summary.environment);
    let machine = match summary.parts.len() {
        0 => Fact { name: "Machine", value: machine },
        // The table of parts has their names.
        count => Fact { name: "Machines", value: format!("{count} parts, the first: {machine}") },
    };
    let mut facts = vec![
        Fact { name: "Started", value: started },
        Fact { name: "Took", value: time(summary.duration_s) },
        Fact { name: "Seed", value: summary.seed.to_string() },
        machine,
        Fact { name: "Written by", value: format!("flowbench {}", summary.environment.flowbench) },
    ];
    if let Some(part) = &summary.part {
        let value = format!("{} of {}; merge it with the others", part.number, part.of);
        facts.insert(0, Fact { name: "Part", value });
    }
    facts
}

/// A part of a load: its number and machine, its state, requests, send delay, CPU time, lateness, clock.
/// Problems of a single part are among the reasons of the scenario.
fn part_row(part: &PartLoad, machines: &[RunPart]) -> [String; 7] {
    let machine = machines.iter().find(|machine| machine.number == part.number);
    let place = machine.map_or(String::new(), |machine| {
        let host = machine.host.as_deref().unwrap_or("a machine");
        format!(" ({host}, {} cores)", machine.cores)
    });
    let state = match part.state {
        PartState::Complete => "complete",
        PartState::Lost => "lost",
        PartState::Missing => "missing",
        PartState::NotRun => "sent nothing",
    };
    [
        format!("{}{place}", part.number),
        state.into(),
        count(part.sent),
        latency(part.lag_p99_ms),
        part.cpu_s.map_or("–".into(), time),
        latency(part.start_skew_ms),
        clock(part.clock, machine),
    ]
}

/// The clock of a part's machine, according to its gateway and to its own system.
fn clock(clock: Option<PartClock>, machine: Option<&RunPart>) -> String {
    let ahead = clock.and_then(|clock| Some((clock.ahead_ms?, clock.within_ms)));
    let ahead = ahead.map(|(ahead, within)| {
        let side = if ahead < 0.0 { "behind" } else { "ahead of" };
        format!("{} {side} the gateway's, ± {}", latency(Some(ahead.abs())), latency(Some(within)))
    });
    let state = machine.and_then(|machine| machine.synchronised).map(|synchronised| {
        if synchronised { "synchronised" } else { "not synchronised" }.to_owned()
    });
    let told: Vec<String> = ahead.into_iter().chain(state).collect();
    if told.is_empty() { "–".into() } else { told.join("; ") }
}

/// The resolved suite, unless it is too large for a page.
fn resolved(summary: &Summary) -> Option<String> {
    const BYTES_MAX: usize = 200 << 10;
    let suite = summary.resolved.as_ref()?;
    Some(format!("{suite:#}")).filter(|text| text.len() <= BYTES_MAX)
}

impl Section {
    fn new(
        index: usize,
        scenario: &ScenarioSummary,
        machines: &[RunPart],
    ) -> Result<Section, HistogramError> {
        let requests = &scenario.requests;
        let response = &scenario.response_time_ms;
        let ran = requests.arrivals > 0;
        let mut figures = Vec::new();
        if ran {
            figures = figures::of(scenario)?;
        }
        Ok(Section {
            id: format!("scenario-{}", index + 1),
            name: scenario.name.clone(),
            verdict: outcome(scenario),
            class: if scenario.end.is_ahead() { "running" } else { class(scenario.verdict) },
            tested: tested::facts(scenario),
            part: scenario.part.map(|part| {
                let to = scenario.timeline.last().map_or(part.to_s, |last| last.t_s);
                format!("{} s to {} s", part.from_s, to)
            }),
            end: end(scenario),
            ran,
            valid: scenario.validity.valid,
            invalid: scenario.validity.reasons.iter().map(ToString::to_string).collect(),
            requests: count(requests.sent),
            throughput: rate(scenario.throughput.requests_per_s),
            p50: latency(response.p50),
            p95: latency(response.told_p95()),
            p99: latency(response.told_p99()),
            max: latency(response.max),
            failed: scenario.error_rate.map_or("–".into(), percent),
            key: key(scenario),
            thresholds: scenario
                .thresholds
                .iter()
                .map(threshold)
                .map(|judged| match scenario.end.is_ahead() {
                    // That it goes on is no finding.
                    true => {
                        Threshold { verdict: "running", class: "running", reason: None, ..judged }
                    }
                    false => judged,
                })
                .collect(),
            figures,
            executors_missing: ran && scenario.executors.is_none() && requests.ok > 0,
            server: server::section(scenario).filter(|_| ran),
            why: why::sections(scenario),
            traces: traces::section(scenario).filter(|_| ran),
            steps: steps(scenario),
            choices: scenario.choices.iter().map(choice).collect(),
            parts: scenario.parts.iter().map(|part| part_row(part, machines)).collect(),
            assertions: scenario
                .assertions
                .iter()
                .map(|assertion| Assertion {
                    name: assertion.name.clone(),
                    class: if assertion.failed > 0 { "failed" } else { "passed" },
                    passed: count(assertion.passed),
                    failed: count(assertion.failed),
                    example: assertion.example.clone(),
                })
                .collect(),
            callbacks: callbacks(scenario),
            counters: scenario.counters.iter().map(|(n, c)| (n.clone(), count(*c))).collect(),
            errors: scenario
                .errors
                .iter()
                .map(|error| Error {
                    kind: error.kind.clone(),
                    message: error.message.clone(),
                    count: count(error.count),
                    first: time(error.first_at_s),
                    details: error.details.clone(),
                })
                .collect(),
            slowest: scenario.slowest.iter().map(slow).collect(),
            details: details(scenario),
        })
    }
}

fn key(scenario: &ScenarioSummary) -> Vec<Fact> {
    let response = &scenario.response_time_ms;
    let mut facts = vec![
        Fact { name: "Requests", value: count(scenario.requests.sent) },
        Fact { name: "Throughput", value: rate(scenario.throughput.requests_per_s) },
    ];
    if scenario.documents.sent > 0 {
        let documents = rate(scenario.throughput.documents_per_s);
        facts.push(Fact { name: "Documents", value: documents });
    }
    facts.extend([
        Fact { name: "Mean", value: latency(response.mean) },
        Fact { name: "Median", value: latency(response.p50) },
        Fact { name: "p90", value: latency(response.told_p90()) },
        match response.told_p99() {
            Some(p99) => Fact { name: "p99", value: latency(Some(p99)) },
            None => Fact { name: "Max", value: latency(response.max) },
        },
        Fact { name: "Failed", value: scenario.error_rate.map_or("–".into(), percent) },
    ]);
    facts
}

/// The steps, and all of them together.
fn steps(scenario: &ScenarioSummary) -> Vec<StepRow> {
    let mut rows: Vec<StepRow> = scenario.steps.iter().map(step).collect();
    if !rows.is_empty() {
        let name = "whole iteration, with its pauses".into();
        rows.push(row(name, &scenario.requests, &scenario.response_time_ms));
        if let Some(active) = active(scenario) {
            rows.push(row(
                "whole iteration, without its pauses".into(),
                &scenario.requests,
                active,
            ));
        }
    }
    rows
}

fn choice(choice: &crate::record::summary::ChoiceSummary) -> ChoiceRow {
    ChoiceRow {
        name: choice.name.clone(),
        iterations: count(choice.iterations),
        share: percent(choice.share),
    }
}

fn step(step: &crate::record::summary::StepSummary) -> StepRow {
    row(step.name.clone(), &step.requests, &step.response_time_ms)
}

fn row(name: String, requests: &Requests, response: &Latency) -> StepRow {
    StepRow {
        name,
        requests: count(requests.sent),
        ok: count(requests.ok),
        p50: latency(response.p50),
        p95: latency(response.told_p95()),
        p99: latency(response.told_p99()),
        max: latency(response.max),
    }
}

fn threshold(threshold: &crate::record::summary::ThresholdSummary) -> Threshold {
    Threshold {
        that: threshold.that.clone(),
        actual: actual(threshold),
        verdict: verdict(threshold.verdict),
        class: class(threshold.verdict),
        reason: threshold.reason.clone(),
    }
}

fn callbacks(scenario: &ScenarioSummary) -> Vec<Callback> {
    let callback = |name: &'static str, counted: &CallbackCount| Callback {
        name,
        fired: count(counted.fired),
        failed: count(counted.failed),
        example: counted.example.clone(),
    };
    let all = &scenario.callbacks;
    let named =
        [("on_done", &all.on_done), ("on_error", &all.on_error), ("on_always", &all.on_always)];
    named
        .into_iter()
        .filter(|(_, counted)| counted.fired > 0)
        .map(|(name, counted)| callback(name, counted))
        .collect()
}

fn slow(slow: &crate::record::summary::SlowSummary) -> Slow {
    let routes = slow.routes.iter().map(|route| match route.time_ms {
        Some(ms) => format!("{} {}", route.name, latency(Some(ms))),
        None => format!("{} skipped", route.name),
    });
    Slow {
        due: time(slow.due_s),
        response: latency(Some(slow.response_ms)),
        service: latency(Some(slow.service_ms)),
        lag: latency(Some(slow.lag_ms)),
        routes: routes.collect::<Vec<_>>().join(", "),
    }
}

/// Details for close inspection.
fn details(scenario: &ScenarioSummary) -> Vec<Fact> {
    let requests = &scenario.requests;
    let client = &scenario.client;
    let mut facts = Vec::new();
    let mut add = |name, value| facts.push(Fact { name, value });
    if let Some(bytes) = scenario.bytes {
        let per_s = |bytes: u64| bytes as f64 / scenario.duration_s.max(1e-3);
        let shown =
            |sum: u64| format!("{} ({}/s)", self::bytes(sum as f64), self::bytes(per_s(sum)));
        add("Requests weigh", shown(bytes.sent));
        add("Ok responses weigh", shown(bytes.received));
    }
    add("Arrivals", count(requests.arrivals));
    add("Ok", count(requests.ok));
    for (name, number) in [
        ("Response errors", requests.response_errors),
        ("Transport errors", requests.transport_errors),
        ("Timeouts", requests.timeouts),
        ("Dropped", requests.dropped),
        ("Abandoned", requests.abandoned),
        ("Unknown, in flight at the end", requests.unknown),
        ("Retries", requests.retries),
    ] {
        if number > 0 {
            add(name, count(number));
        }
    }
    if client.abandoned_unsent > 0 {
        add("… never sent, held back by the Flow", count(client.abandoned_unsent));
    }
    if let Some(text) = impossible(scenario) {
        add("Times left out", text);
    }
    if client.waited_for_connections > 0 {
        add("Held back by the bound of connections", count(client.waited_for_connections));
    }
    if let Some(kinds) = unmatched(&client.unmatched_replies) {
        add("Replies that matched no request", kinds);
    }
    add("Documents sent", count(scenario.documents.sent));
    if let Some(received) = scenario.documents.received {
        add("Documents received", count(received));
    }
    add("Measured for", time(scenario.duration_s));
    let warmup = &scenario.warmup;
    if warmup.sent > 0 {
        let failed = match warmup.failed {
            0 => String::new(),
            failed => format!(", {} failed", count(failed)),
        };
        add(
            "Warmup",
            format!("{}, {} requests{failed}", time(warmup.duration_s), count(warmup.sent)),
        );
    }
    add("Cold start", latency(warmup.first_request_ms));
    if let Some(seconds) = warmup.time_to_steady_s {
        add("Time to steady state", time(seconds));
    }
    let lag = |lag: &Lag| {
        format!("{} median, {} p99, {} max", latency(lag.p50), latency(lag.p99), latency(lag.max))
    };
    add("Send delay", lag(&client.lag_ms));
    add("… of our own pacing", lag(&client.pacer_ms));
    if client.generator_ms.max.is_some() {
        add("… of making Documents, where it waited", lag(&client.generator_ms));
    }
    add("… held back by the Flow", lag(&client.held_back_ms));
    let in_flight = client.in_flight;
    let by_law = in_flight.by_littles_law;
    let by_law = by_law.map(|law| format!(" ({} by Little’s law)", three_digits(law)));
    let at_most = in_flight.max.map(|max| format!(", {} at most", count(max)));
    add(
        "In flight",
        format!(
            "{} mean{}{}",
            three_digits(in_flight.mean),
            by_law.unwrap_or_default(),
            at_most.unwrap_or_default()
        ),
    );
    if let Some(seconds) = client.cpu_s {
        add("Client CPU", format!("{} s on {} threads", three_digits(seconds), client.workers));
    }
    if let Some(bytes) = client.max_rss_bytes {
        add("Peak RSS", ByteSize::new(bytes).approximate());
    }
    facts
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted | Verdict::Part => {
            "unjudged"
        }
    }
}
