//! The timelines of all scenarios as CSV, one row per second, then one per list of steps of `choose`. Latencies
//! are in ms; a field without a value is empty.

use std::io;

use crate::record::summary::Summary;

const COLUMNS: [&str; 17] = [
    "scenario",
    "t_s",
    "offered",
    "sent",
    "ok",
    "errors",
    "timeouts",
    "dropped",
    "documents",
    "in_flight",
    "p50_ms",
    "p99_ms",
    "max_ms",
    "lag_p99_ms",
    "kinds",
    "executors",
    "choice",
];

/// The columns in which a row about a list of steps has its iterations, and its name.
const SENT: usize = 3;
const CHOICE: usize = 16;

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(COLUMNS)?;
    for scenario in &summary.scenarios {
        for second in &scenario.timeline {
            let number =
                |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
            // Several values in one field, as `name=value`, because their names differ from run to
            // run.
            let kinds: Vec<String> =
                second.kinds.iter().map(|(kind, count)| format!("{kind}={count}")).collect();
            let executors: Vec<String> =
                second.executors.iter().map(|(name, mean)| format!("{name}={mean:.3}")).collect();
            writer.write_record([
                scenario.name.clone(),
                second.t_s.to_string(),
                second.offered.to_string(),
                second.sent.to_string(),
                second.ok.to_string(),
                second.errors.to_string(),
                second.timeouts.to_string(),
                second.dropped.to_string(),
                second.documents.to_string(),
                format!("{:.3}", second.in_flight),
                number(second.p50),
                number(second.p99),
                number(second.max),
                number(second.lag_p99),
                kinds.join(" "),
                executors.join(" "),
                String::new(),
            ])?;
        }
        // These cover a whole scenario, so they have no second.
        for choice in &scenario.choices {
            let mut row = vec![String::new(); COLUMNS.len()];
            row[0].clone_from(&scenario.name);
            row[SENT] = choice.iterations.to_string();
            row[CHOICE].clone_from(&choice.name);
            writer.write_record(row)?;
        }
    }
    writer.flush()
}
