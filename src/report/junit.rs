//! JUnit XML for CI: a test suite per scenario, a test case per threshold and assertion. An
//! inconclusive case is an error, not a failure, and never looks green.

use std::io;

use super::escape::xml;
use super::words::{actual, choices, end, without_pauses};
use crate::record::summary::{ScenarioSummary, Summary, Verdict};

/// The outcome of a test case.
enum CaseOutcome {
    Passed,
    Failed {
        message: String,
        text: String,
    },
    /// An error and its kind.
    Error {
        kind: &'static str,
        message: String,
    },
}

struct Case {
    name: String,
    outcome: CaseOutcome,
}

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let suites: Vec<(&ScenarioSummary, Vec<Case>)> =
        summary.scenarios.iter().map(|scenario| (scenario, cases(scenario))).collect();
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="{}" {} time="{:.3}">"#,
        xml(&summary.suite),
        counts(all()),
        summary.duration_s
    )?;
    for (scenario, cases) in &suites {
        let name = xml(&scenario.name);
        let started = summary
            .started_at
            .saturating_add(
                jiff::SignedDuration::try_from_secs_f64(scenario.started_at_s).unwrap_or_default(),
            )
            .unwrap_or(summary.started_at);
        writeln!(
            out,
            r#"  <testsuite name="{name}" {} time="{:.3}" timestamp="{}">"#,
            counts(cases.iter()),
            scenario.duration_s,
            started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )?;
        for case in cases {
            let open = format!(
                r#"    <testcase classname="{name}" name="{}" time="{:.3}""#,
                xml(&case.name),
                scenario.duration_s
            );
            match &case.outcome {
                CaseOutcome::Passed => writeln!(out, "{open}/>")?,
                CaseOutcome::Failed { message, text } => writeln!(
                    out,
                    "{open}>\n      <failure type=\"failed\" message=\"{}\">{}</failure>\n    </testcase>",
                    xml(message),
                    xml(text)
                )?,
                CaseOutcome::Error { kind, message } => writeln!(
                    out,
                    "{open}>\n      <error type=\"{kind}\" message=\"{}\"/>\n    </testcase>",
                    xml(message)
                )?,
            }
        }
        let notes = notes(scenario);
        if !notes.is_empty() {
            writeln!(out, "    <system-out>{}</system-out>", xml(&notes.join("\n")))?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn cases(scenario: &ScenarioSummary) -> Vec<Case> {
    let mut cases = vec![Case { name: "completed".into(), outcome: ran(scenario) }];
    for threshold in &scenario.thresholds {
        let it_is = format!("{} – actual: {}", threshold.that, actual(threshold));
        let outcome = match threshold.verdict {
            // A part has no thresholds of its own.
            Verdict::Passed | Verdict::Part => CaseOutcome::Passed,
            Verdict::Failed => CaseOutcome::Failed { message: it_is, text: errors(scenario) },
            Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted => {
                let reason = threshold.reason.clone().unwrap_or_default();
                let message = format!("{} – inconclusive: {reason}", threshold.that);
                CaseOutcome::Error { kind: kind(scenario), message }
            }
        };
        cases.push(Case { name: threshold.that.clone(), outcome });
    }
    for assertion in &scenario.assertions {
        let outcome = match (assertion.failed, scenario.end.unfinished()) {
            (0, None) => CaseOutcome::Passed,
            (0, Some((_, reason))) => CaseOutcome::Error {
                kind: kind(scenario),
                message: format!("passed on {} responses, then: {reason}", assertion.passed),
            },
            (failed, _) => CaseOutcome::Failed {
                message: format!("{failed} of {} responses", failed + assertion.passed),
                text: assertion.example.clone().unwrap_or_default(),
            },
        };
        cases.push(Case { name: format!("assert: {}", assertion.name), outcome });
    }
    cases
}

/// Whether the scenario ran to its end.
fn ran(scenario: &ScenarioSummary) -> CaseOutcome {
    match end(scenario) {
        None => CaseOutcome::Passed,
        Some(how) => CaseOutcome::Error { kind: kind(scenario), message: how },
    }
}

/// Why cases of this scenario are neither passed nor failed.
fn kind(scenario: &ScenarioSummary) -> &'static str {
    match scenario.end.unfinished() {
        Some((Verdict::Interrupted, _)) => "interrupted",
        Some((Verdict::NotReached, _)) => "not_reached",
        _ => "not_judged",
    }
}

fn errors(scenario: &ScenarioSummary) -> String {
    let lines = scenario.errors.iter();
    let lines = lines.map(|error| format!("{} × {}: {}", error.count, error.kind, error.message));
    lines.collect::<Vec<_>>().join("\n")
}

fn notes(scenario: &ScenarioSummary) -> Vec<String> {
    let reasons = scenario.validity.reasons.iter().map(|reason| format!("not valid: {reason}"));
    let chosen = choices(scenario).map(|choices| format!("chosen: {choices}"));
    let without =
        without_pauses(scenario).map(|without| format!("without their pauses, {without}"));
    reasons.chain(chosen).chain(without).collect()
}

fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> String {
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    for case in cases {
        tests += 1;
        failures += u32::from(matches!(case.outcome, CaseOutcome::Failed { .. }));
        errors += u32::from(matches!(case.outcome, CaseOutcome::Error { .. }));
    }
    format!(r#"tests="{tests}" failures="{failures}" errors="{errors}" skipped="0""#)
}
