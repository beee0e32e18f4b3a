//! How often gates are right: simulated pairs of sides whose true difference is known, judged as
//! `flowbench compare` and `flowbench gate` would.
//!
//! `cargo bench --bench gates` prints the tables of `docs/gates.md`. Arguments: the number of pairs per
//! row (1,000 by default), the title of a table to make only that one, and folders of results, whose
//! noise is shown beside the simulated noise. The same seeds make the same tables on every machine.
#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]

#[path = "../../tests/suite/simulated/pairs.rs"]
mod pairs;
#[path = "../../tests/suite/simulated/profile.rs"]
mod profile;

use std::path::Path;
use std::time::Instant;

use flowbench::compare::looks::{self, CONFIRMATION, Looks};
use flowbench::compare::{ALPHA, Gate, Run, Sample, ScenarioComparison, Verdict, judge, overall};
use flowbench::record::saved;
use pairs::{Noise, Pair, TrueChange};
use profile::NoiseProfile;
use rayon::prelude::*;

/// A row of a table.
struct Row {
    what: &'static str,
    pair: Pair,
    gates: &'static [&'static str],
    /// Whether runs are made until the verdict is known, as many as [`Pair::runs`] at most.
    looking: bool,
}

/// The outcome for a pair.
struct Judged {
    verdict: Verdict,
    /// The first gate's point estimate and its limit.
    guess: f64,
    allowed: f64,
    runs: usize,
}

fn row(what: &'static str, pair: Pair, gates: &'static [&'static str]) -> Row {
    Row { what, pair, gates, looking: false }
}

fn looking(what: &'static str, pair: Pair, gates: &'static [&'static str]) -> Row {
    Row { looking: true, ..row(what, pair, gates) }
}

/// This many runs per side on a dedicated machine.
fn runs(runs: usize) -> Pair {
    Pair { runs: [runs, runs], ..Pair::USUAL }
}

fn rough(pair: Pair) -> Pair {
    Pair { noise: Noise::ROUGH, ..pair }
}

fn slower(factor: f64, pair: Pair) -> Pair {
    Pair { change: TrueChange::All(factor), ..pair }
}

fn drifting(by: f64, pair: Pair) -> Pair {
    Pair { noise: Noise { drift: by, ..pair.noise }, ..pair }
}

fn tables() -> Vec<(&'static str, Vec<Row>)> {
    const P99: &[&str] = &["p99 +5%"];
    const NONE: &[&str] = &["p99 +0%"];
    const FOUR: &[&str] = &["p50 +5%", "p99 +5%", "throughput -5%", "error_rate +0.5%"];
    let closed = Pair { closed: true, ..runs(10) };
    let stored = Pair { runs: [10, 1], turns: false, ..Pair::USUAL };
    let apart = Pair { turns: false, ..runs(10) };
    let failing = |more: f64, pair: Pair| Pair { change: TrueChange::Failures(more), ..pair };
    let tail = Pair { change: TrueChange::Tail(1.2), ..runs(10) };
    vec![
        (
            "Dedicated machine",
            vec![
                row("no change", runs(10), P99),
                row("+10 %", slower(1.1, runs(10)), P99),
                row("no change", runs(5), P99),
                row("+10 %", slower(1.1, runs(5)), P99),
                row("no change", runs(3), P99),
                row("+20 %", slower(1.2, runs(3)), P99),
                row("no change", runs(2), P99),
                row("+20 %", slower(1.2, runs(2)), P99),
                row("no change", runs(1), P99),
                row("twice as slow", slower(2.0, runs(1)), P99),
                row("10 % faster", slower(0.9, runs(10)), P99),
            ],
        ),
        (
            "Noisy machine",
            vec![
                row("no change", rough(runs(10)), P99),
                row("+10 %", rough(slower(1.1, runs(10))), P99),
                row("+30 %", rough(slower(1.3, runs(10))), P99),
                row("no change", rough(runs(5)), P99),
                row("+30 %", rough(slower(1.3, runs(5))), P99),
                row("no change", rough(runs(3)), P99),
                row("+50 %", rough(slower(1.5, runs(3))), P99),
                row("no change", rough(runs(2)), P99),
                row("no change", rough(runs(1)), P99),
                row("twice as slow", rough(slower(2.0, runs(1))), P99),
            ],
        ),
        (
            "No allowance: every alarm is a false positive",
            vec![
                row("no change", runs(2), NONE),
                row("no change", runs(3), NONE),
                row("no change", runs(5), NONE),
                row("no change", runs(10), NONE),
                row("no change, noisy machine", rough(runs(2)), NONE),
                row("no change, noisy machine", rough(runs(3)), NONE),
                row("no change, noisy machine", rough(runs(5)), NONE),
                row("no change, noisy machine", rough(runs(10)), NONE),
            ],
        ),
        (
            "Drift and disturbed runs",
            vec![
                row("no change, 20 % drift", drifting(0.2, runs(10)), P99),
                row("+10 %, 20 % drift", drifting(0.2, slower(1.1, runs(10))), P99),
                row("no change, 20 % drift", drifting(0.2, runs(3)), P99),
                row(
                    "no change, one candidate run 50 % slower",
                    Pair { spoiled: Some((1, 1.5)), ..runs(10) },
                    P99,
                ),
                row(
                    "+10 %, one base run 50 % slower",
                    Pair { spoiled: Some((0, 1.5)), ..slower(1.1, runs(10)) },
                    P99,
                ),
                row(
                    "no change, one candidate run 50 % slower",
                    Pair { spoiled: Some((1, 1.5)), ..runs(3) },
                    P99,
                ),
                row("no change, not interleaved", apart, P99),
                row("no change, not interleaved, 20 % drift", drifting(0.2, apart), P99),
            ],
        ),
        (
            "Other metrics, several gates, one run against a baseline",
            vec![
                row("closed load, no change", closed, &["throughput -5%"]),
                row("closed load, 10 % slower", slower(1.1, closed), &["throughput -5%"]),
                row("no change", runs(10), &["error_rate +0.1%"]),
                row(
                    "0.3 percentage points more failures",
                    failing(0.003, runs(10)),
                    &["error_rate +0.1%"],
                ),
                row("no change", runs(3), &["error_rate +0.1%"]),
                row(
                    "0.3 percentage points more failures",
                    failing(0.003, runs(3)),
                    &["error_rate +0.1%"],
                ),
                row("slowest 10 % of requests 20 % slower", tail, &["p50 +5%"]),
                row("slowest 10 % of requests 20 % slower", tail, P99),
                row("no change", runs(10), FOUR),
                row("slowest 10 % of requests 20 % slower", tail, FOUR),
                row("no change", runs(3), FOUR),
                row("no change", stored, P99),
                row("+20 %", slower(1.2, stored), P99),
            ],
        ),
        (
            "`flowbench gate`: early looks and confirmation",
            vec![
                looking("no change", runs(10), P99),
                looking("+10 %", slower(1.1, runs(10)), P99),
                looking("+20 %", slower(1.2, runs(10)), P99),
                looking("twice as slow", slower(2.0, runs(10)), P99),
                looking("no change", runs(10), NONE),
                looking("no change, noisy machine", rough(runs(10)), P99),
                looking("no change, noisy machine", rough(runs(10)), NONE),
            ],
        ),
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let pairs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000);
    let folders: Vec<&str> =
        arguments.iter().map(|a| &**a).filter(|argument| Path::new(argument).is_dir()).collect();
    let started = Instant::now();
    if !folders.is_empty() {
        portraits(&folders);
        return;
    }
    for (number, (title, rows)) in tables().into_iter().enumerate() {
        let named = |argument: &&String| argument.parse::<u64>().is_err();
        let mut names = arguments.iter().filter(named).peekable();
        if names.peek().is_some() && !names.any(|name| title.contains(&**name)) {
            continue;
        }
        table(title, &rows, number as u64 * 1_000_000_007, pairs);
    }
    println!("{pairs} pairs per row, {:.0} s.", started.elapsed().as_secs_f64());
}

fn table(title: &str, rows: &[Row], seed: u64, pairs: u64) {
    println!("**{title}**\n");
    println!(
        "| true change | runs per side | gates | regressed | passed | inconclusive | known noise |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (index, row) in rows.iter().enumerate() {
        let gates: Vec<Gate> =
            row.gates.iter().map(|gate| gate.parse().expect("it is a gate")).collect();
        let judged: Vec<Judged> = (0..pairs)
            .into_par_iter()
            .map(|number| row.judge(&gates, seed + index as u64 * 1_000_003 + number))
            .collect();
        let share = |verdict: Verdict| {
            let found = judged.iter().filter(|found| found.verdict == verdict).count();
            format!("{:.1} %", found as f64 * 100.0 / pairs as f64)
        };
        let [base, candidate] = row.pair.runs;
        let made = match (row.looking, base == candidate) {
            (true, _) => {
                let all: usize = judged.iter().map(|judged| judged.runs).sum();
                format!("{:.1} of {base}", all as f64 / pairs as f64)
            }
            (_, true) => format!("{base}"),
            (_, false) => format!("{base} and {candidate}"),
        };
        println!(
            "| {} | {made} | `{}` | {} | {} | {} | {} |",
            row.what,
            row.gates.join("`, `"),
            share(Verdict::Regressed),
            share(Verdict::Passed),
            share(Verdict::Inconclusive),
            known_noise(row, &judged)
        );
    }
    println!();
}

/// How often a test that knows the noise in advance (the standard deviation of the estimate, from all pairs of
/// the row) gives the right verdict on the first gate at the same level. The difference to the verdicts next to
/// it is the cost of not knowing the noise.
fn known_noise(row: &Row, judged: &[Judged]) -> String {
    if row.looking || row.gates.len() > 1 || judged[0].allowed == 0.0 {
        return "–".into();
    }
    let mut guesses: Vec<f64> = judged.iter().map(|judged| judged.guess).collect();
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let centre = middle(&mut guesses);
    let mut away: Vec<f64> = guesses.iter().map(|guess| (guess - centre).abs()).collect();
    // The standard deviation from the median absolute deviation, as for a normal distribution: an outlying pair
    // does not widen it.
    let needed = 2.326 * 1.4826 * middle(&mut away);
    let allowed = judged[0].allowed;
    let falls = allowed < 0.0;
    let worse = if falls { centre < allowed } else { centre > allowed };
    let above = worse != falls;
    let right = guesses.iter().filter(|guess| {
        if above { **guess > allowed + needed } else { **guess < allowed - needed }
    });
    let share = right.count() as f64 * 100.0 / guesses.len() as f64;
    format!("{share:.1} % {}", if worse { "regressed" } else { "passed" })
}

impl Row {
    fn judge(&self, gates: &[Gate], seed: u64) -> Judged {
        if self.looking { self.course(gates, seed) } else { self.comparison(gates, seed) }
    }

    fn comparison(&self, gates: &[Gate], seed: u64) -> Judged {
        let (base, candidate) = self.pair.draw(seed);
        let runs = base.len();
        let found = judged(base, candidate, gates, ALPHA);
        let verdict = overall(found.iter().filter_map(|scenario| scenario.verdict));
        let first = &found[0].gates[0];
        Judged {
            verdict: verdict.expect("there are gates"),
            guess: first.change.as_ref().and_then(|change| change.change).unwrap_or(f64::NAN),
            allowed: first.allowed,
            runs,
        }
    }

    /// Does what `flowbench gate` does.
    fn course(&self, gates: &[Gate], seed: u64) -> Judged {
        let most = self.pair.runs[0];
        let mut sides: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
        let round = |sides: &mut [Vec<Run>; 2]| {
            for (number, side) in sides.iter_mut().enumerate() {
                side.push(self.pair.run(seed, number, side.len()));
            }
        };
        let mut looks = Looks::new(most);
        let mut known: Vec<ScenarioComparison> = Vec::new();
        loop {
            round(&mut sides);
            let runs = sides[0].len();
            let last = runs >= most;
            if !last && !looks.is_due(runs) {
                continue;
            }
            let [base, candidate] = sides.clone();
            let mut found = judged(base, candidate, gates, looks.spend(runs, last));
            looks::keep_decided(&mut found, &known);
            if found[0].verdict == Some(Verdict::Regressed) {
                (0..CONFIRMATION).for_each(|_| round(&mut sides));
                let [base, candidate] = [0, 1].map(|side: usize| sides[side][runs..].to_vec());
                looks::confirm(&mut found, &judged(base, candidate, gates, ALPHA));
            }
            let verdict = found[0].verdict.expect("there are gates");
            if verdict != Verdict::Inconclusive || last {
                return Judged { verdict, guess: 0.0, allowed: 0.0, runs: sides[0].len() };
            }
            known = found;
        }
    }
}

fn judged(
    base: Vec<Run>,
    candidate: Vec<Run>,
    gates: &[Gate],
    alpha: f64,
) -> Vec<ScenarioComparison> {
    let sample = Sample { name: "simulated".into(), base, candidate };
    judge(&[sample], gates, alpha, None).expect("the metrics are there")
}

/// The noise of real runs, one column per folder of results, next to that of simulated runs.
fn portraits(folders: &[&str]) {
    let mut columns: Vec<(String, NoiseProfile)> = folders
        .iter()
        .map(|folder| ((*folder).to_owned(), NoiseProfile::of(&real(folder))))
        .collect();
    let many = columns.iter().map(|(_, profile)| profile.runs).max().unwrap_or_default();
    for (name, noise) in [("dedicated machine", Noise::USUAL), ("noisy machine", Noise::ROUGH)] {
        // So many that the figures show the model, not chance. No request fails, or p99.9 would be a failure.
        let noise = Noise { failures: (0.0, 0.0), ..noise };
        let all: Vec<NoiseProfile> = (0..40)
            .into_par_iter()
            .map(|seed| {
                let pair = Pair { runs: [many, 0], turns: false, noise, ..Pair::USUAL };
                NoiseProfile::of(&pair.draw(seed).0)
            })
            .collect();
        columns.push((format!("simulated: {name}"), NoiseProfile::median(&all)));
    }
    let heads: Vec<&str> = columns.iter().map(|(name, _)| &**name).collect();
    println!("| | {} |\n|{}", heads.join(" | "), " --- |".repeat(heads.len() + 1));
    for index in 0..columns[0].1.rows().len() {
        let cells: Vec<String> =
            columns.iter().map(|(_, profile)| profile.rows()[index].1.clone()).collect();
        println!("| {} | {} |", columns[0].1.rows()[index].0, cells.join(" | "));
    }
}

/// The first scenario of each result in a folder: `*.json`, or one in each subfolder.
fn real(folder: &str) -> Vec<Run> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    let results = paths.into_iter().filter_map(|path| {
        let path = if path.is_dir() { path.join("report.json") } else { path };
        saved::read(&path).ok()
    });
    let mut results: Vec<_> = results.collect();
    results.sort_by_key(|summary| summary.started_at);
    let run =
        |summary| Run::of_summary(summary, &summary.scenarios[0]).expect("it was not changed");
    results.iter().map(run).collect()
}
