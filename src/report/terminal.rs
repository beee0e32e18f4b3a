//! The end of a run on the terminal: one line per scenario, what failed and why, the verdict.

use std::io;

use super::best::{groups, rows};
use super::words::{
    actual, answer_after, apart, choices, count, end, fit, impossible, latency, outcome, percent,
    rate, unanswered, verdict, width, without_pauses, wrap,
};
use crate::record::summary::{PartState, ScenarioSummary, Summary, Verdict};
use crate::server::ServerSummary;

/// Width of a line if there is no terminal to ask.
pub(crate) const COLUMNS: usize = 80;

/// A longer name gets its own line.
const NAME_MAX: usize = 60;

/// Maximum number of errors per scenario; the full report has them all.
const ERRORS: usize = 3;

/// The columns after the name: heading and width.
const FIGURES: [(&str, usize); 6] =
    [("requests", 10), ("rate", 9), ("p50", 8), ("p99", 8), ("failed", 8), ("", 13)];

pub(super) fn write(
    summary: &Summary,
    color: bool,
    columns: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    // As wide as the longest name, within the available room.
    let room = columns.max(COLUMNS) - FIGURES.iter().map(|(_, width)| width).sum::<usize>();
    let longest = summary.scenarios.iter().map(|scenario| width(&scenario.name)).max();
    let least = COLUMNS - FIGURES.iter().map(|(_, width)| width).sum::<usize>();
    let name_width = (longest.unwrap_or(0) + 1).clamp(least, room.min(NAME_MAX).max(least));
    write!(out, "{:name_width$}", "")?;
    for (heading, width) in FIGURES {
        write!(out, "{heading:>width$}")?;
    }
    writeln!(out)?;
    for scenario in &summary.scenarios {
        row(scenario, name_width, color, out)?;
    }
    for scenario in &summary.scenarios {
        remarks(scenario, color, out)?;
    }
    for (name, group) in groups(summary) {
        writeln!(out)?;
        for line in wrap(&format!("best of {name}"), COLUMNS) {
            writeln!(out, "{line}")?;
        }
        for [by, combination, figure] in rows(&group) {
            let text = match figure.as_str() {
                "–" => combination,
                figure => format!("{combination}: {figure}"),
            };
            for (index, line) in wrap(&text, COLUMNS - 16).into_iter().enumerate() {
                let by = if index == 0 { by.as_str() } else { "" };
                writeln!(out, "  {by:14}{line}")?;
            }
        }
    }
    writeln!(out)?;
    write_verdict(summary, color, out)
}

/// The verdict in a sentence.
pub(super) fn write_verdict(
    summary: &Summary,
    color: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let word = verdict(summary.verdict);
    let text = format!("{word}: {}", answer_after(summary));
    for (index, line) in wrap(&text, COLUMNS).iter().enumerate() {
        match line.strip_prefix(word).filter(|_| index == 0) {
            Some(rest) => writeln!(out, "{}{rest}", painted(word, summary.verdict, color))?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn row(
    scenario: &ScenarioSummary,
    name_width: usize,
    color: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    if width(&scenario.name) < name_width {
        let name = fit(&scenario.name, name_width);
        write!(out, "{name}{:1$}", "", name_width - width(&name))?;
    } else {
        // Truncated, the rows of a matrix would all look the same.
        for line in wrap(&scenario.name, COLUMNS) {
            writeln!(out, "{line}")?;
        }
        write!(out, "{:name_width$}", "")?;
    }
    let figures = [
        count(scenario.requests.sent),
        rate(scenario.throughput.requests_per_s),
        latency(scenario.response_time_ms.p50),
        latency(scenario.response_time_ms.told_p99()),
        scenario.error_rate.map_or("–".into(), percent),
    ];
    for (text, (_, width)) in figures.iter().zip(FIGURES) {
        write!(out, "{text:>width$}")?;
    }
    let word = outcome(scenario);
    let gap = FIGURES[5].1 - word.len();
    writeln!(out, "{:gap$}{}", "", painted(word, scenario.verdict, color))
}

/// Remarks on a scenario in addition to its figures; nothing if it passed.
fn remarks(scenario: &ScenarioSummary, color: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let how = end(scenario);
    let skipped = scenario.requests.arrivals == 0 && how.is_some();
    lines.extend(how.map(|how| ("", how)));
    if scenario.always && !matches!(scenario.verdict, Verdict::Passed | Verdict::Part) {
        let what = "runs regardless of failures (`always`), and counts only if all else passed";
        lines.push(("tear-down", what.into()));
    }
    // The thresholds of a scenario that never ran are not worth showing.
    for threshold in scenario.thresholds.iter().filter(|_| !skipped) {
        match threshold.verdict {
            Verdict::Passed | Verdict::Part => (),
            Verdict::Failed => {
                lines.push((
                    "failed",
                    format!("{} – actual: {}", threshold.that, actual(threshold)),
                ));
            }
            Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted => {
                let reason = threshold.reason.clone().unwrap_or_default();
                // Reasons against the whole run follow below.
                let reason = match threshold.code {
                    Some(code) if !code.is_of_one_condition() => {
                        format!("actual: {}", actual(threshold))
                    }
                    _ => reason,
                };
                lines.push(("inconclusive", format!("{} – {reason}", threshold.that)));
            }
        }
    }
    for reason in scenario.validity.reasons.iter().filter(|_| !skipped) {
        lines.push(("not valid", reason.to_string()));
    }
    for assertion in scenario.assertions.iter().filter(|assertion| assertion.failed > 0) {
        let all = assertion.passed + assertion.failed;
        let of = format!("{} of {} responses", count(assertion.failed), count(all));
        let example = assertion.example.as_deref().unwrap_or_default();
        lines.push(("assertion", format!("{} – failed on {of}: {example}", assertion.name)));
    }
    lines.extend(choices(scenario).map(|text| ("chosen", text)));
    lines.extend(parts(scenario).map(|text| ("parts", text)));
    lines.extend(without_pauses(scenario).map(|text| ("no pauses", text)));
    lines.extend(unanswered(scenario));
    lines.extend(impossible(scenario).map(|text| ("times", text)));
    lines.extend(apart(scenario));
    let metrics = scenario.server.iter().flat_map(ServerSummary::problems);
    lines.extend(metrics.map(|text| ("metrics", text)));
    for error in scenario.errors.iter().take(ERRORS) {
        lines.push(("error", format!("{}× {}", count(error.count), error.message)));
    }
    if scenario.errors.len() > ERRORS {
        lines.push(("error", format!("and {} other kinds", scenario.errors.len() - ERRORS)));
    }
    for (name, callback) in [
        ("on_done", &scenario.callbacks.on_done),
        ("on_error", &scenario.callbacks.on_error),
        ("on_always", &scenario.callbacks.on_always),
    ] {
        if callback.failed > 0 {
            let example = callback.example.as_deref().unwrap_or_default();
            let failed = count(callback.failed);
            lines.push(("callback", format!("{name} failed {failed} times: {example}")));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    for line in wrap(&scenario.name, COLUMNS) {
        writeln!(out, "{}", if color { format!("\x1b[1m{line}\x1b[0m") } else { line })?;
    }
    for (label, text) in lines {
        let indent = if label.is_empty() { 2 } else { 16 };
        for (index, line) in wrap(&text, COLUMNS - indent).into_iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            writeln!(out, "  {label:0$}{line}", indent - 2)?;
        }
    }
    Ok(())
}

/// The results of the parts, for a load that was sent in parts.
fn parts(scenario: &ScenarioSummary) -> Option<String> {
    let complete = scenario.parts.iter().filter(|part| part.state == PartState::Complete);
    let (of, sent) = (scenario.parts.len(), complete.clone().map(|part| part.sent));
    let (least, most) = (sent.clone().min()?, sent.max()?);
    let each =
        if least == most { count(most) } else { format!("{} to {}", count(least), count(most)) };
    let lag = complete.clone().filter_map(|part| part.lag_p99_ms).reduce(f64::max);
    let complete = complete.count();
    let clocks = scenario.parts.iter().filter_map(|part| part.clock?.ahead_ms);
    let (least, most) = clocks
        .fold((f64::MAX, f64::MIN), |(least, most), ahead| (least.min(ahead), most.max(ahead)));
    let apart =
        (least < most).then(|| format!(", clocks up to {} apart", latency(Some(most - least))));
    Some(format!(
        "{complete} of {of} complete, {each} requests each, p99 send delay up to {}{}",
        latency(lag),
        apart.unwrap_or_default()
    ))
}

fn painted(word: &str, verdict: Verdict, color: bool) -> String {
    let code = match verdict {
        Verdict::Passed => 32,
        Verdict::Failed => 31,
        Verdict::Inconclusive | Verdict::NotReached | Verdict::Interrupted => 33,
        Verdict::Part => 36,
    };
    if color { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.into() }
}
