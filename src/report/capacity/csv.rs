//! The trials of a capacity search as CSV, one row each; of several searches, one row per search. Latencies are
//! in ms; a field without a value is empty.

use std::io;

use crate::capacity::combinations::Combinations;
use crate::capacity::result::Capacity;
use crate::capacity::search::Answer;
use crate::capacity::words::{kind, outcome};

const COLUMNS: [&str; 15] = [
    "level",
    "kind",
    "outcome",
    "seconds",
    "offered_per_s",
    "throughput_per_s",
    "goodput_per_s",
    "documents_per_s",
    "error_rate",
    "in_flight",
    "mean_ms",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "executors",
];

pub(super) fn write(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    if let Some(all) = capacity.combinations.as_ref().filter(|all| all.rows.len() > 1) {
        write_combinations(all, &mut writer)?;
        return writer.flush();
    }
    writer.write_record(COLUMNS)?;
    for trial in &capacity.trials {
        let point = &trial.point;
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let thousandths =
            |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
        let executors: Vec<String> = point
            .executors
            .iter()
            .map(|executor| format!("{}={:.3}", executor.name, executor.mean_ms))
            .collect();
        writer.write_record([
            trial.level.to_string(),
            kind(trial.kind).into(),
            outcome(trial.outcome).into(),
            format!("{:.3}", trial.seconds),
            format!("{:.3}", point.offered_per_s),
            thousandths(point.throughput_per_s),
            thousandths(point.goodput_per_s),
            thousandths(point.documents_per_s),
            point.error_rate.to_string(),
            format!("{:.3}", point.in_flight),
            number(point.mean_ms),
            number(point.p50_ms),
            number(point.p95_ms),
            number(point.p99_ms),
            executors.join(" "),
        ])?;
    }
    writer.flush()
}

/// One row per combination of a matrix; its trials are in its own `capacity.json`.
fn write_combinations(
    all: &Combinations,
    writer: &mut csv::Writer<&mut dyn io::Write>,
) -> io::Result<()> {
    let axes: Vec<&String> =
        all.rows.iter().map(|row| row.matrix.keys()).next().into_iter().flatten().collect();
    let columns = ["scenario"].into_iter().chain(axes.iter().map(|axis| axis.as_str()));
    writer.write_record(columns.chain([
        "answer",
        "held_per_s",
        "p99_ms",
        "replicas_in_all",
        "cost_per_hour",
        "cost_per_million",
        "most",
        "cheapest",
        "error",
    ]))?;
    for (index, row) in all.rows.iter().enumerate() {
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let answer = match row.answer {
            Some(Answer::Edge { .. }) => "edge",
            Some(Answer::FailsAtLow { .. }) => "fails_at_low",
            Some(Answer::HoldsAtHigh { .. }) => "holds_at_high",
            Some(Answer::Inconclusive { .. }) => "inconclusive",
            None => "",
        };
        let value = |axis: &&String| match row.matrix.get(*axis) {
            Some(serde_json::Value::String(text)) => text.clone(),
            value => value.map_or_else(String::new, ToString::to_string),
        };
        let cells = [row.scenario.clone()].into_iter().chain(axes.iter().map(value));
        writer.write_record(cells.chain([
            answer.to_owned(),
            number(row.held_per_s),
            number(row.p99_ms),
            row.replicas.map_or_else(String::new, |count| count.to_string()),
            number(row.cost_per_hour),
            number(row.cost_per_million),
            (all.most == Some(index)).to_string(),
            (all.cheapest == Some(index)).to_string(),
            row.error.clone().unwrap_or_default(),
        ]))?;
    }
    Ok(())
}
