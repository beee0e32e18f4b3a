//! How often gates are right: simulated pairs of sides whose true difference is known, judged as
//! `flowbench compare` would.
//!
//! `cargo bench --bench gates` prints the table of `docs/gates.md`; an argument is the number of
//! pairs a row (1 000 without one). The same seeds make the same table on every machine.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::time::Instant;

use flowbench::compare::simulate::{Noise, Pair, TrueChange};
use flowbench::compare::{ALPHA, Gate, Sample, Verdict, judge};
use rayon::prelude::*;

/// A row of the table.
struct Row {
    what: &'static str,
    pair: Pair,
    gates: &'static [&'static str],
}

const TEN: Pair = Pair {
    runs: 10,
    seconds: 60,
    rate: 500,
    noise: Noise::USUAL,
    change: TrueChange::All(1.0),
    turns: true,
};
const THREE: Pair = Pair { runs: 3, ..TEN };
const ONE: Pair = Pair { runs: 1, ..TEN };

fn rows() -> Vec<Row> {
    let changed = |pair: Pair, change: f64| Pair { change: TrueChange::All(change), ..pair };
    let row = |what, pair, gates| Row { what, pair, gates };
    vec![
        row("nothing changed", TEN, &["p99 +5%"]),
        row("+10 %", changed(TEN, 1.10), &["p99 +5%"]),
        row("nothing changed", THREE, &["p99 +5%"]),
        row("+20 %", changed(THREE, 1.20), &["p99 +5%"]),
        row("nothing changed", THREE, &["p99 +0%"]),
        row("nothing changed", ONE, &["p99 +5%"]),
        row("twice as slow", changed(ONE, 2.00), &["p99 +5%"]),
    ]
}

fn main() {
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let pairs: u64 = given.unwrap_or(1_000);
    let started = Instant::now();
    println!("| true change | runs a side | gates | regressed | held | can't tell |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (index, Row { what, pair, gates }) in rows().into_iter().enumerate() {
        let parsed: Vec<Gate> =
            gates.iter().map(|gate| gate.parse().expect("it is a gate")).collect();
        let verdicts: Vec<Verdict> = (0..pairs)
            .into_par_iter()
            .map(|number| {
                let (base, candidate) = pair.draw(index as u64 * 1_000_003 + number);
                let sample = Sample { name: "simulated".into(), base, candidate };
                let judged = judge(&[sample], &parsed, ALPHA, None).expect("the metrics are there");
                judged[0].verdict.expect("there are gates")
            })
            .collect();
        let share = |verdict: Verdict| {
            let found = verdicts.iter().filter(|found| **found == verdict).count();
            format!("{:.1} %", found as f64 * 100.0 / pairs as f64)
        };
        println!(
            "| {what} | {} × {} s × {}/s | `{}` | {} | {} | {} |",
            pair.runs,
            pair.seconds,
            pair.rate,
            gates.join("`, `"),
            share(Verdict::Regressed),
            share(Verdict::Held),
            share(Verdict::CantTell)
        );
    }
    println!("\n{pairs} pairs a row, {:.0} s.", started.elapsed().as_secs_f64());
}
