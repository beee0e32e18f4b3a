//! `flowbench selftest`.

use std::io::{self, Write};

use super::exit::Exit;
use super::print;
use super::problem::Problem;
use crate::engine::Stop;
use crate::selftest::{self, Check, Measure, Report, SelftestError, Told, TriedRate};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs loads whose figures are known beforehand against a Flow inside this process, for less than two
minutes, and reports up to which rate this machine can be trusted. Leave the machine alone meanwhile:
other activity would disturb a load test as well.

Exit codes: 0 all checks passed; 1 one failed; 3 it could not be run; 5 stdout could not be \
written; 130 interrupted.")]
pub(super) struct Args {
    /// Print the result to stdout as JSON, and nothing else
    #[arg(long)]
    json: bool,
}

pub(super) async fn main(args: Args) -> Exit {
    run(args).await.unwrap_or_else(|problem| problem.print())
}

async fn run(args: Args) -> Result<Exit, Problem> {
    let stop = Stop::default();
    super::signals::watch_signals(stop.clone(), true);
    let mut written = Ok(());
    let mut tell = |told: Told<'_>| {
        if !args.json && written.is_ok() {
            written = print::written(|out| show(told, out));
        }
    };
    if !args.json {
        let text =
            "flowbench selftest: less than two minutes; leave the machine alone meanwhile.\n";
        print::line(text)?;
    }
    let report = selftest::run(&stop, &mut tell).await.map_err(|error| {
        let exit = match error {
            SelftestError::Interrupted => Exit::Interrupted,
            SelftestError::Io(_) | SelftestError::Run { .. } => Exit::Unreachable,
        };
        Problem::caused(exit, &error)
    })?;
    written.and_then(|()| print::written(|out| conclude(&report, args.json, out)))?;
    Ok(if report.passed { Exit::Passed } else { Exit::Failed })
}

fn show(told: Told<'_>, out: &mut dyn Write) -> io::Result<()> {
    match told {
        Told::Begins(name) if print::out_is_terminal() => write!(out, "…       {name}\r"),
        Told::Begins(_) => Ok(()),
        Told::Checked(check) => checked(check, out),
        Told::Tried(rate) => tried(rate, out),
    }
}

fn checked(check: &Check, out: &mut dyn Write) -> io::Result<()> {
    let word = if check.passed { "passed" } else { "FAILED" };
    writeln!(out, "{word}  {}", check.name)?;
    // With many runs, those are only shown if something is wrong.
    let many = check.measures.len() > 5;
    for measure in check.measures.iter().filter(|measure| !many || !measure.passed) {
        let off = if measure.passed { "" } else { "  <- off" };
        writeln!(out, "          {}{off}", words(measure))?;
    }
    for problem in &check.problems {
        writeln!(out, "          {problem}")?;
    }
    Ok(())
}

fn words(measure: &Measure) -> String {
    let Measure { what, unit, found, expected, tolerance, .. } = measure;
    match *unit {
        "ms" => format!("{what}: {found:.2} ms, expected {expected:.2} ± {tolerance:.2}"),
        "share" => format!("{what}: {found:.4}, at most {:.4}", expected + tolerance),
        _ if *tolerance == 0.0 => format!("{what}: {found}, expected {expected}"),
        _ => format!("{what}: {found:.2}, expected {expected:.2} ± {tolerance:.2}"),
    }
}

fn tried(tried: &TriedRate, out: &mut dyn Write) -> io::Result<()> {
    let ms = |ms: Option<f64>| ms.map_or("–".into(), |ms| format!("{ms:.3} ms"));
    let word = if tried.trusted { "trust" } else { "TOO MUCH" };
    writeln!(
        out,
        "{word:<8}  {}/s: lateness at the Flow {} (p50) and {} (p99)",
        tried.rate_per_s,
        ms(tried.late_p50_ms),
        ms(tried.late_p99_ms)
    )?;
    for reason in &tried.reasons {
        writeln!(out, "          {reason}")?;
    }
    Ok(())
}

fn conclude(report: &Report, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report)?;
        return writeln!(out);
    }
    let failed = report.checks.iter().filter(|check| !check.passed).count();
    writeln!(out)?;
    match failed {
        0 => writeln!(out, "All {} checks passed.", report.checks.len())?,
        _ => writeln!(
            out,
            "{failed} of {} checks failed: figures from this machine in its current state are \
             not reliable.\nUsually other processes keep its processors busy.",
            report.checks.len()
        )?,
    }
    match report.trusted_per_s {
        Some(rate) => writeln!(
            out,
            "This machine can be trusted up to {rate} requests per second: one Document of 1 KB \
             each over one\ngRPC connection, with the Flow that answers on the same {} \
             processors. With the Flow on another\nmachine it may be more.",
            report.environment.cores
        ),
        None => writeln!(out, "This machine cannot be trusted even at the lowest rate tried."),
    }
}
