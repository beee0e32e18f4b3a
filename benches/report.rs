//! How large the results and pages of long runs are, and what it costs to make the pages.
//!
//! `cargo bench --bench report` prints the table of `docs/benchmarks.md`. The runs are simulated; the pages are
//! made by the command in a separate process, as users make them.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "measure/process.rs"]
mod process;
#[path = "../tests/suite/report/simulated.rs"]
mod simulated;

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use flowbench::record::summary::{EndReason, Summary};
use flowbench::report::{self, Format};

use process::{Used, flowbench, watch};
use simulated::{Fate, Load, around, suite};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    println!("| run | requests | report.json | report.html | time | memory |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let hour = |number| day(format!("search {number}"), 50.0, 3600);
    for (name, run) in [
        ("10 scenarios, 1 h", suite("soak", (1..=10).map(hour).collect())),
        ("1 scenario, 24 h", suite("soak", vec![day("search".into(), 100.0, 24 * 3600)])),
    ] {
        row(name, &run, folder.path())?;
    }
    Ok(())
}

/// A load with some trouble: one error and one drop in a thousand, a slow minute every hour, a few abandoned
/// requests.
fn day(name: String, rate: f64, seconds: u64) -> flowbench::record::summary::ScenarioSummary {
    let fate = |at: f64, random: &mut dyn rand::Rng| {
        let ms = around(if at % 3600.0 > 3540.0 { 20.0 } else { 8.0 }, random);
        match (at * 1e3) as u64 % 1009 {
            0 => Fate::Failed(flowbench::client::CallError::Timeout(Duration::from_secs(2)), 2e3),
            1 => Fate::Dropped,
            2 if at % 3600.0 > 3599.0 => Fate::Abandoned,
            _ => Fate::Ok(ms),
        }
    };
    Load { fate, end: EndReason::Time, ..Load::new(name, rate, seconds) }.run()
}

fn row(name: &str, run: &Summary, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (json, html) = (folder.join("report.json"), folder.join("report.html"));
    let mut out = BufWriter::new(File::create(&json)?);
    report::write(run, Format::Json, &mut out)?;
    out.into_inner()?;
    let mut best: Option<(Duration, u64)> = None;
    for _ in 0..3 {
        let mut making = flowbench(folder).arg("report").arg(&json).arg("-o").arg(&html).spawn()?;
        let Used { status, time, memory, .. } = watch(&mut making)?;
        assert!(status.success(), "{status}");
        let made = (time, memory);
        best = Some(best.map_or(made, |best| best.min(made)));
    }
    let (time, memory) = best.ok_or("it was made three times")?;
    let requests: u64 = run.scenarios.iter().map(|scenario| scenario.requests.sent).sum();
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    println!(
        "| {name} | {requests} | {} | {} | {:.1} s | {} |",
        megabytes(json.metadata()?.len()),
        megabytes(html.metadata()?.len()),
        time.as_secs_f64(),
        megabytes(memory),
    );
    Ok(())
}
