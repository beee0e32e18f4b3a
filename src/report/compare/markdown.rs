//! A comparison for a pull request's comment or a job's summary.

use std::io;

use super::{
    answer, around, confidence, guess, outcome, sentence, sizes, value, verdict, warnings,
};
use crate::compare::{Change, Comparison, ScenarioComparison, Verdict};
use crate::report::escape::{MARKDOWN_MAX, markdown as text, markdown_code as code, markdown_cut};
use crate::report::words::capital;

pub(super) fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let mut whole = Vec::new();
    let all: Vec<&ScenarioComparison> = comparison.scenarios.iter().collect();
    write_part(comparison, &all, true, &mut whole)?;
    let mut text = String::from_utf8_lossy(&whole).into_owned();
    if text.chars().nth(MARKDOWN_MAX).is_some() {
        // What needs attention comes first, and only the results of gates.
        let mut order = all;
        order.sort_by_key(|scenario| match scenario.verdict {
            Some(Verdict::Regressed) => 0,
            Some(Verdict::Inconclusive) => 1,
            Some(Verdict::Passed) | None => 2,
        });
        whole.clear();
        write_part(comparison, &order, false, &mut whole)?;
        text = markdown_cut(String::from_utf8_lossy(&whole).into_owned());
    }
    out.write_all(text.as_bytes())
}

fn write_part(
    comparison: &Comparison,
    scenarios: &[&ScenarioComparison],
    details: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let sign = match comparison.verdict {
        Some(Verdict::Passed) => "✅",
        Some(Verdict::Regressed) => "❌",
        Some(Verdict::Inconclusive) => "❔",
        None => "ℹ️",
    };
    writeln!(out, "## {sign} {}: {}", text(&comparison.suite), verdict(comparison))?;
    writeln!(out, "\n{}.\n", capital(&answer(comparison)))?;
    for warning in warnings(comparison) {
        writeln!(out, "> **Note:** {}\n", text(&warning))?;
    }
    if !details {
        let note = "other changes are omitted here, because they exceed the size of a comment";
        writeln!(out, "> **Note:** {note}. The page and the JSON have them.\n")?;
    }
    for scenario in scenarios {
        writeln!(out, "### {}\n", text(&scenario.name))?;
        if !scenario.gates.is_empty() {
            writeln!(out, "| gate | base | candidate | change | interval | |")?;
            writeln!(out, "| --- | ---: | ---: | ---: | ---: | --- |")?;
        }
        for gate in &scenario.gates {
            let cells = gate.change.as_ref().map_or_else(|| vec!["–".into(); 4], cells);
            let word = match gate.verdict {
                Verdict::Passed => outcome(gate).to_owned(),
                _ => format!("**{}**", outcome(gate)),
            };
            writeln!(out, "| {} | {} | {word} |", code(&gate.gate), cells.join(" | "))?;
        }
        if !scenario.gates.is_empty() {
            writeln!(out)?;
        }
        for gate in scenario.gates.iter().filter(|gate| gate.verdict != Verdict::Passed) {
            writeln!(out, "- {} {}.", code(&gate.gate), text(&sentence(gate)))?;
        }
        // A scenario that one side lacks has no details either.
        if !details || scenario.changes.is_empty() {
            continue;
        }
        let table = |out: &mut dyn io::Write, changes: &[Change]| -> io::Result<()> {
            writeln!(out, "| | base | candidate | change | interval |")?;
            writeln!(out, "| --- | ---: | ---: | ---: | ---: |")?;
            for change in changes {
                let note = match (change.improved, change.worsened) {
                    (true, _) => " (better)",
                    (_, true) => " (worse)",
                    _ => "",
                };
                let cells = cells(change).join(" | ");
                writeln!(out, "| {}{note} | {cells} |", code(&change.metric))?;
            }
            Ok(())
        };
        writeln!(
            out,
            "\n<details><summary>Other changes, and the shift of response times</summary>\n"
        )?;
        table(out, &scenario.changes)?;
        if !scenario.shift.is_empty() {
            writeln!(out)?;
            table(out, &scenario.shift)?;
        }
        writeln!(out, "\n</details>\n")?;
    }
    writeln!(
        out,
        "<sub>{}; {} confidence intervals, over all gates together.</sub>",
        sizes(comparison),
        confidence(comparison)
    )
}

fn cells(of: &Change) -> Vec<String> {
    vec![value(of.unit, of.base), value(of.unit, of.candidate), guess(of), around(of)]
}
