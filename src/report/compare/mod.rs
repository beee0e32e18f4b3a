//! Reports of comparisons for people and programs. One file per format.

mod html;
mod junit;
mod markdown;
mod shift;
mod terminal;
mod trend;

use std::io;

use crate::compare::trend::Trend;
use crate::compare::{Change, Comparison, GateResult, OnInconclusive, Verdict};
use crate::record::reason::Code;
use crate::record::summary::Summary;
use crate::report::words::{latency, percent, rate, three_digits};

/// Format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareFormat {
    /// A few lines, at most 80 columns wide.
    Terminal {
        /// Whether to use colours.
        color: bool,
    },
    /// The verdict alone, in a sentence.
    Verdict,
    /// Markdown for a comment on a pull request or a job summary.
    Markdown,
    /// A page: a single file without dependencies.
    Html,
    /// All figures, for programs.
    Json,
    /// JUnit XML for CI, with one test case per gate.
    Junit,
}

/// Writes a comparison.
///
/// # Errors
/// Errors of the writer.
pub fn write(
    comparison: &Comparison,
    format: CompareFormat,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match format {
        CompareFormat::Terminal { color } => terminal::write(comparison, color, out),
        CompareFormat::Verdict => terminal::write_verdict(comparison, false, out),
        CompareFormat::Markdown => markdown::write(comparison, out),
        CompareFormat::Html => html::write(comparison, out),
        CompareFormat::Json => json(comparison, out),
        CompareFormat::Junit => junit::write(comparison, out),
    }
}

/// Writes the result of a run as JSON, with the comparison with its baseline as `comparison`.
///
/// # Errors
/// Errors of the writer.
pub fn write_judged(
    summary: &Summary,
    comparison: &Comparison,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    #[derive(serde::Serialize)]
    struct Judged<'a> {
        #[serde(flatten)]
        summary: &'a Summary,
        comparison: &'a Comparison,
    }
    json(&Judged { summary, comparison }, out)
}

/// Writes a trend.
///
/// # Errors
///
/// Errors of the writer, and for JUnit, which cannot represent it.
pub fn write_trend(
    trend: &Trend,
    format: CompareFormat,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match format {
        CompareFormat::Terminal { color } => trend::terminal(trend, color, out),
        CompareFormat::Markdown => trend::markdown(trend, out),
        CompareFormat::Html => trend::html(trend, out),
        CompareFormat::Json => json(trend, out),
        CompareFormat::Junit | CompareFormat::Verdict => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn json(value: &impl serde::Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// A verdict in a word or two.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "regressed",
        Verdict::Passed => "passed",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// Result of a gate, including improvements.
fn outcome(gate: &GateResult) -> &'static str {
    let improved = gate.change.as_ref().is_some_and(|change| change.improved);
    match gate.verdict {
        Verdict::Passed if improved => "improved",
        verdict => word(verdict),
    }
}

/// CSS class of a verdict.
fn class(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        None | Some(Verdict::Passed) => "passed",
        Some(Verdict::Regressed) => "failed",
        Some(Verdict::Inconclusive) => "unjudged",
    }
}

/// A value in its unit.
fn value(unit: &str, value: Option<f64>) -> String {
    match (unit, value) {
        (_, None) => "failed".into(),
        ("ms", value) => latency(value),
        ("per_s", Some(value)) => rate(value),
        (_, Some(value)) => percent(value),
    }
}

/// A change with its sign, without its unit.
fn signed(unit: &str, change: f64) -> String {
    let percent = change * 100.0;
    let digits = match unit {
        "share" => three_digits(percent.abs()),
        _ if percent.abs() >= 99.95 => format!("{:.0}", percent.abs()),
        _ => format!("{:.1}", percent.abs()),
    };
    let zero = digits.chars().all(|c| "0.".contains(c));
    let sign = match percent {
        // Too small for this number of digits.
        _ if unit == "share" && zero => return "±0".into(),
        _ if zero => "±",
        _ if percent < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{digits}")
}

/// Unit of changes.
fn change_unit(unit: &str) -> &'static str {
    if unit == "share" { "points" } else { "%" }
}

/// A change with its sign and unit.
fn change(unit: &str, by: f64) -> String {
    format!("{} {}", signed(unit, by), change_unit(unit))
}

/// Point estimate of a change with its sign and unit; a dash if it is not a number.
fn guess(of: &Change) -> String {
    of.change.map_or_else(|| "–".into(), |by| change(of.unit, by))
}

/// Interval of a change with its unit; a dash if it is not a number.
fn around(of: &Change) -> String {
    match of.change {
        Some(_) => format!("{} {}", interval(of), change_unit(of.unit)),
        None => "–".into(),
    }
}

/// Interval of a change, without its unit.
fn interval(of: &Change) -> String {
    let end = |end: Option<f64>, endless: &str| {
        end.map_or_else(|| endless.to_owned(), |end| signed(of.unit, end))
    };
    format!("{} … {}", end(of.low, "−∞"), end(of.high, "+∞"))
}

/// Explains the result of a gate in a sentence, without the full stop.
fn sentence(gate: &GateResult) -> String {
    let Some(of) = &gate.change else {
        let reason = gate.reason.as_ref().map_or("", |reason| &reason.text);
        return match gate.runs_needed {
            Some(runs) => format!("{reason}; use {runs} runs per side"),
            None => reason.to_owned(),
        };
    };
    let (by, around) = (guess(of), around(of));
    let allowed = allowance(gate, of.unit);
    if of.change.is_none() {
        return match (of.base, of.candidate) {
            (Some(_), None) => "the percentile falls among failed requests in the candidate".into(),
            (None, Some(_)) => "the percentile falls among failed requests in the base".into(),
            _ => "the percentile falls among failed requests on both sides".into(),
        };
    }
    match gate.verdict {
        Verdict::Regressed => {
            format!("changed by {by} ({around}), entirely beyond the {allowed} allowed")
        }
        Verdict::Passed if of.improved => format!("improved by {by} ({around})"),
        Verdict::Passed => {
            format!("changed by {by} ({around}), entirely within the {allowed} allowed")
        }
        Verdict::Inconclusive => {
            let Some(reason) = &gate.reason else { return format!("changed by {by} ({around})") };
            if reason.code == Code::TooFewRuns {
                return format!(
                    "changed by {by} ({around}), whose interval extends beyond the {allowed} \
                     allowed: {reason}"
                );
            }
            match gate.is_beyond() {
                true => format!(
                    "changed by {by} ({around}), beyond the {allowed} allowed, but {reason}"
                ),
                false => format!("changed by {by} ({around}), but {reason}"),
            }
        }
    }
}

/// What a gate allows: as a share of the base, or as it is written where it is more than that, such as
/// `+10% +2ms`.
fn allowance(gate: &GateResult, unit: &str) -> String {
    let written: Vec<&str> = gate.gate.split_whitespace().skip(1).collect();
    match written.iter().all(|part| part.ends_with('%')) {
        true => change(unit, gate.allowed),
        false => written.join(" "),
    }
}

/// The verdict in a sentence.
fn answer(comparison: &Comparison) -> String {
    let gates: Vec<&GateResult> = comparison.scenarios.iter().flat_map(|s| &s.gates).collect();
    let having = |verdict| gates.iter().filter(|gate| gate.verdict == verdict).count();
    let all = match gates.len() {
        1 => "the gate".to_owned(),
        more => format!("all {more} gates"),
    };
    let of = match gates.len() {
        1 => "the gate".to_owned(),
        more => format!("of {more} gates"),
    };
    match comparison.verdict {
        None => "there are no gates; these are the changes".into(),
        Some(Verdict::Passed) => format!("{all} passed"),
        Some(Verdict::Regressed) if gates.len() == 1 => "the gate failed".into(),
        Some(Verdict::Regressed) => {
            let open = match having(Verdict::Inconclusive) {
                0 => String::new(),
                open => format!(", {open} inconclusive"),
            };
            format!("{} {of} failed{open}", having(Verdict::Regressed))
        }
        Some(Verdict::Inconclusive) => {
            let what = match gates.len() {
                1 => "these runs do not decide the gate".to_owned(),
                _ => {
                    format!("{} {of} are not decided by these runs", having(Verdict::Inconclusive))
                }
            };
            match comparison.inconclusive {
                OnInconclusive::Fail => what,
                OnInconclusive::Warn => format!("{what}; accepted with this warning"),
                OnInconclusive::Pass => format!("{what}; accepted"),
            }
        }
    }
}

/// The verdict in a word or two.
fn verdict(comparison: &Comparison) -> &'static str {
    comparison.verdict.map_or("compared", word)
}

/// Confidence level of the intervals: an early look needs more than 99 %.
fn confidence(comparison: &Comparison) -> String {
    let percent = comparison.confidence * 100.0;
    let text = if percent > 99.0 { format!("{percent:.2}") } else { format!("{percent:.0}") };
    format!("{text} %")
}

/// Number of results on each side.
fn sizes(comparison: &Comparison) -> String {
    let runs = |count: usize| if count == 1 { "1 run".into() } else { format!("{count} runs") };
    format!(
        "{} of the base, {} of the candidate",
        runs(comparison.base.len()),
        runs(comparison.candidate.len())
    )
}

/// Warnings for every format: forced differences, missing and new scenarios, notes.
fn warnings(comparison: &Comparison) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for difference in &comparison.forced {
        warnings.push(format!("compared with --force although {difference}"));
    }
    if !comparison.missing.is_empty() {
        warnings.push(format!("missing in the candidate: {}", comparison.missing.join(", ")));
    }
    if !comparison.new.is_empty() {
        warnings.push(format!("new in the candidate: {}", comparison.new.join(", ")));
    }
    warnings.extend(comparison.notes.iter().cloned());
    if comparison.noise_assumed {
        warnings.push(
            "the run-to-run variation on this machine is partly assumed: use at least three runs \
             per side, or measure it with `flowbench noise`"
                .into(),
        );
    }
    warnings
}
