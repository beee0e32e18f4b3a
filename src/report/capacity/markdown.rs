//! A capacity search as Markdown for a comment or `$GITHUB_STEP_SUMMARY`: the answer, its
//! consequences, and the trials.

use std::io;

use super::combinations;
use crate::capacity::result::Capacity;
use crate::capacity::search::Answer;
use crate::capacity::words::{condition, details, kind, level, outcome};
use crate::report::escape::{markdown as text, markdown_cut};
use crate::report::words::{capital, known, latency, percent, rate, time};

pub(super) fn write(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    let mut whole = Vec::new();
    write_whole(capacity, &mut whole)?;
    out.write_all(markdown_cut(String::from_utf8_lossy(&whole).into_owned()).as_bytes())
}

fn write_whole(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    let sign = match capacity.answer {
        Answer::Edge { .. } | Answer::HoldsAtHigh { .. } => "✅",
        Answer::FailsAtLow { .. } => "❌",
        Answer::Inconclusive { .. } => "⚠️",
    };
    let (suite, scenario) = (text(&capacity.suite), text(&capacity.scenario));
    writeln!(out, "## {sign} {suite}: {scenario}: capacity\n")?;
    writeln!(out, "{}.\n", text(&capital(&capacity.words)))?;
    for detail in details(capacity) {
        writeln!(out, "- {}", text(&capital(&detail)))?;
    }
    if let Some(all) = capacity.combinations.as_ref().filter(|all| all.rows.len() > 1) {
        let head = combinations::head(all);
        writeln!(out, "\n| {} |", head.join(" | "))?;
        let align = |at: usize| if at == 0 || at + 1 == head.len() { "---" } else { "---:" };
        let line: Vec<&str> = (0..head.len()).map(align).collect();
        writeln!(out, "| {} |", line.join(" | "))?;
        for row in combinations::rows(capacity, all) {
            let cells: Vec<String> = row.iter().map(|cell| text(cell)).collect();
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
    }
    writeln!(out, "\n<details><summary>Trials</summary>\n")?;
    writeln!(out, "| load | for | verdict | took | throughput | p50 | p99 | failed | objective |")?;
    writeln!(out, "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")?;
    for trial in &capacity.trials {
        let judged: Vec<String> = trial.objective.iter().map(condition).collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            level(trial.level, capacity.unit),
            kind(trial.kind),
            outcome(trial.outcome),
            time(trial.seconds),
            known(trial.point.throughput_per_s, rate),
            latency(trial.point.p50_ms),
            latency(trial.point.p99_ms),
            percent(trial.point.error_rate),
            text(&judged.join(", ")),
        )?;
    }
    let environment = &capacity.environment;
    writeln!(
        out,
        "\n</details>\n\n<sub>flowbench {}, {} {}, {} cores; {}</sub>",
        text(&environment.flowbench),
        text(&environment.os),
        text(&environment.arch),
        environment.cores,
        capacity.started_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
}
