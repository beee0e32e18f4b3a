//! Markdown for a comment on a pull request or `$GITHUB_STEP_SUMMARY`: the verdict, a table, and
//! what failed.

use std::io;

use super::best::{groups, rows};
use super::escape::{markdown as text, markdown_code as code, markdown_cut};
use super::words::{
    actual, answer_after, apart, choices, count, end, latency, outcome, percent, rate, verdict,
    without_pauses,
};
use crate::record::summary::{ScenarioSummary, Summary, Verdict};
use crate::server::ServerSummary;

/// Maximum number of errors per scenario, to keep a comment short.
const ERRORS: usize = 5;

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let mut whole = Vec::new();
    write_whole(summary, &mut whole)?;
    out.write_all(markdown_cut(String::from_utf8_lossy(&whole).into_owned()).as_bytes())
}

fn write_whole(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let sign = sign(summary.verdict);
    writeln!(out, "## {sign} {}: {}\n", text(&summary.suite), verdict(summary.verdict))?;
    writeln!(out, "{}\n", answer_after(summary))?;
    writeln!(
        out,
        "| scenario | verdict | requests | throughput | p50 | p95 | p99 | max | failed |"
    )?;
    writeln!(out, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for scenario in &summary.scenarios {
        let response = &scenario.response_time_ms;
        let not_valid = scenario.validity.valid || scenario.requests.arrivals == 0;
        writeln!(
            out,
            "| {} | {} {}{} | {} | {} | {} | {} | {} | {} | {} |",
            text(&scenario.name),
            self::sign(scenario.verdict),
            outcome(scenario),
            if not_valid { "" } else { ", not valid" },
            count(scenario.requests.sent),
            rate(scenario.throughput.requests_per_s),
            latency(response.p50),
            latency(response.told_p95()),
            latency(response.told_p99()),
            latency(response.max),
            scenario.error_rate.map_or("–".into(), percent),
        )?;
    }
    for (name, group) in groups(summary) {
        writeln!(out, "\nBest of {}:\n", text(name))?;
        for [by, combination, figure] in rows(&group) {
            let figure = if figure == "–" { String::new() } else { format!(": {figure}") };
            writeln!(out, "- by {by}: {}{figure}", text(&combination))?;
        }
    }
    for scenario in &summary.scenarios {
        remarks(scenario, out)?;
    }
    let environment = &summary.environment;
    writeln!(
        out,
        "\n<sub>flowbench {}, {} {}, {} cores; {}, seed {}</sub>",
        text(&environment.flowbench),
        text(&environment.os),
        text(&environment.arch),
        environment.cores,
        summary.started_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        summary.seed
    )
}

fn remarks(scenario: &ScenarioSummary, out: &mut dyn io::Write) -> io::Result<()> {
    let mut lines = Vec::new();
    lines.extend(end(scenario).map(|how| text(&how)));
    lines.extend(choices(scenario).map(|choices| format!("chosen: {}", text(&choices))));
    let without = without_pauses(scenario);
    lines.extend(without.map(|without| format!("without their pauses, {}", text(&without))));
    for threshold in &scenario.thresholds {
        let that = code(&threshold.that);
        match threshold.verdict {
            Verdict::Passed | Verdict::Part => (),
            Verdict::Failed => {
                lines.push(format!("{that} failed: actual {}", text(&actual(threshold))));
            }
            Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted => {
                let reason = threshold.reason.as_deref().unwrap_or("no reason given");
                lines.push(format!("{that} is inconclusive: {}", text(reason)));
            }
        }
    }
    let reasons = scenario.validity.reasons.iter();
    lines.extend(reasons.map(|reason| format!("not valid: {}", text(&reason.text))));
    lines.extend(
        apart(scenario).into_iter().map(|(what, found)| format!("{what}: {}", text(&found))),
    );
    let metrics = scenario.server.iter().flat_map(ServerSummary::problems);
    lines.extend(metrics.map(|problem| format!("metrics: {}", text(&problem))));
    for assertion in scenario.assertions.iter().filter(|assertion| assertion.failed > 0) {
        let example = assertion.example.as_deref().map_or(String::new(), code);
        lines.push(format!(
            "assertion {} failed on {} responses {example}",
            code(&assertion.name),
            count(assertion.failed)
        ));
    }
    for error in scenario.errors.iter().take(ERRORS) {
        let (kind, message) = (text(&error.kind), code(&error.message));
        lines.push(format!("{} × {kind}: {message}", count(error.count)));
    }
    if scenario.errors.len() > ERRORS {
        lines.push(format!("{} more kinds of errors", scenario.errors.len() - ERRORS));
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n**{}**\n", text(&scenario.name))?;
    lines.iter().try_for_each(|line| writeln!(out, "- {}", line.trim_end()))
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✅",
        Verdict::Failed => "❌",
        Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted => "⚠️",
        Verdict::Part => "➗",
    }
}
