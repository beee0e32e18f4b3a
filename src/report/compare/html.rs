//! A comparison as a page: one file that works from disk, without a network.
//!
//! All text goes through the template's escaping; only drawings, which hold no text of others, go in
//! as they are.

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use super::{
    answer, change, change_unit, class, confidence, interval, outcome, sentence, shift, sizes,
    value, verdict, warnings,
};
use crate::compare::{Change, Comparison, ScenarioComparison};

#[derive(Serialize)]
struct Page {
    suite: String,
    verdict: &'static str,
    class: &'static str,
    answer: String,
    sizes: String,
    confidence: String,
    warnings: Vec<String>,
    scenarios: Vec<Section>,
    base: Vec<String>,
    candidate: Vec<String>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    class: &'static str,
    verdict: &'static str,
    gates: Vec<GateRow>,
    changes: Vec<Row>,
    shift: Vec<Row>,
    drawing: String,
}

#[derive(Serialize)]
struct GateRow {
    gate: String,
    class: &'static str,
    outcome: &'static str,
    sentence: String,
}

#[derive(Serialize)]
struct Row {
    metric: String,
    base: String,
    candidate: String,
    change: String,
    interval: String,
    word: &'static str,
}

pub(super) fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let page = Page {
        suite: comparison.suite.clone(),
        verdict: verdict(comparison),
        class: class(comparison.verdict),
        answer: answer(comparison),
        sizes: sizes(comparison),
        confidence: confidence(comparison),
        warnings: warnings(comparison),
        scenarios: comparison.scenarios.iter().map(Section::new).collect(),
        base: comparison.base.clone(),
        candidate: comparison.candidate.clone(),
    };
    render("compare.html", include_str!("compare.html"), &page, out)
}

/// Fills a page's template, with the style that all reports share.
pub(super) fn render(
    name: &'static str,
    template: &'static str,
    page: &impl Serialize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut environment = Environment::new();
    // The name's ending switches escaping on.
    environment.add_template(name, template).map_err(io::Error::other)?;
    let template = environment.get_template(name).map_err(io::Error::other)?;
    let style = concat!(include_str!("../html/report.css"), include_str!("compare.css"));
    let context = context! { page => Serde(page), style };
    template.render_captured_to(context, out).map_err(io::Error::other)?;
    Ok(())
}

impl Section {
    fn new(scenario: &ScenarioComparison) -> Section {
        let gates = scenario.gates.iter().map(|gate| GateRow {
            gate: gate.gate.clone(),
            class: class(Some(gate.verdict)),
            outcome: outcome(gate),
            sentence: sentence(gate),
        });
        Section {
            name: scenario.name.clone(),
            class: class(scenario.verdict),
            verdict: scenario.verdict.map_or("", super::word),
            gates: gates.collect(),
            changes: scenario.changes.iter().map(Row::new).collect(),
            shift: scenario.shift.iter().map(Row::new).collect(),
            drawing: shift::shift(&scenario.shift),
        }
    }
}

impl Row {
    fn new(of: &Change) -> Row {
        Row {
            metric: of.metric.clone(),
            base: value(of.unit, of.base),
            candidate: value(of.unit, of.candidate),
            change: change(of.unit, of.change),
            interval: format!("{} {}", interval(of), change_unit(of.unit)),
            word: match (of.improved, of.worsened) {
                (true, _) => "better",
                (_, true) => "worse",
                _ => "no change shown",
            },
        }
    }
}
