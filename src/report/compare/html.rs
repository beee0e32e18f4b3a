//! A comparison as an HTML page.

use std::io;

use serde::Serialize;

use super::{
    answer, around, class, confidence, guess, outcome, sentence, shift, sizes, value, verdict,
    warnings,
};
use crate::compare::{Change, Comparison, ScenarioComparison};
use crate::report::html::parts::{Fact, Figure};
use crate::report::html::render;
use crate::report::words::machine;

#[derive(Serialize)]
struct Page {
    suite: String,
    verdict: &'static str,
    class: &'static str,
    answer: String,
    sizes: String,
    confidence: String,
    head: [&'static str; 6],
    warnings: Vec<String>,
    scenarios: Vec<Section>,
    base: Vec<String>,
    candidate: Vec<String>,
    facts: Vec<Fact>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    load: String,
    class: &'static str,
    verdict: &'static str,
    gates: Vec<GateRow>,
    changes: Vec<Vec<String>>,
    figure: Option<Figure>,
}

#[derive(Serialize)]
struct GateRow {
    gate: String,
    class: &'static str,
    outcome: &'static str,
    sentence: String,
}

/// Head of a table of changes; the last column explains them in words.
const HEAD: [&str; 6] = ["metric", "base", "candidate", "change", "interval", ""];

pub(super) fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let confidence = confidence(comparison);
    let sections = comparison.scenarios.iter().map(|of| Section::new(of, &confidence));
    let page = Page {
        suite: comparison.suite.clone(),
        verdict: verdict(comparison),
        class: class(comparison.verdict),
        answer: answer(comparison),
        sizes: sizes(comparison),
        head: HEAD,
        confidence: confidence.clone(),
        warnings: warnings(comparison),
        scenarios: sections.collect(),
        base: comparison.base.clone(),
        candidate: comparison.candidate.clone(),
        facts: facts(comparison),
    };
    render("compare.html", &page, out)
}

fn facts(comparison: &Comparison) -> Vec<Fact> {
    let [first, last] =
        comparison.started_at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let measured = if first == last { first } else { format!("{first} to {last}") };
    vec![
        Fact { name: "Measured", value: measured },
        Fact { name: "Machine", value: machine(&comparison.environment) },
        Fact {
            name: "Written by",
            value: format!("flowbench {}", comparison.environment.flowbench),
        },
    ]
}

impl Section {
    fn new(scenario: &ScenarioComparison, confidence: &str) -> Section {
        let gates = scenario.gates.iter().map(|gate| GateRow {
            gate: gate.gate.clone(),
            class: class(Some(gate.verdict)),
            outcome: outcome(gate),
            sentence: sentence(gate),
        });
        Section {
            name: scenario.name.clone(),
            load: format!("{}, to {}", scenario.load, scenario.target),
            class: class(scenario.verdict),
            verdict: scenario.verdict.map_or("", super::word),
            gates: gates.collect(),
            changes: scenario.changes.iter().map(row).collect(),
            figure: figure(&scenario.shift, confidence),
        }
    }
}

fn row(of: &Change) -> Vec<String> {
    let word = match (of.improved, of.worsened) {
        (true, _) => "better",
        (_, true) => "worse",
        _ => "no change shown",
    };
    vec![
        of.metric.clone(),
        value(of.unit, of.base),
        value(of.unit, of.candidate),
        guess(of),
        around(of),
        word.into(),
    ]
}

/// The shift of response times with its intervals, if there is anything to draw.
fn figure(changes: &[Change], confidence: &str) -> Option<Figure> {
    Some(Figure {
        title: "Shift of response times, base to candidate".into(),
        note: format!(
            "Above the line is slower. Dots are point estimates, the band is the {confidence} \
             confidence interval of each percentile."
        )
        .into(),
        svg: shift::shift(changes)?,
        wide: true,
        head: HEAD.map(Into::into).to_vec(),
        rows: changes.iter().map(row).collect(),
        ..Figure::default()
    })
}
