//! The trials of a capacity search as CSV, one row each. Latencies are in ms; a field without a
//! value is empty.

use std::io;

use crate::capacity::result::Capacity;
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
