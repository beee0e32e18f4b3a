//! `capacity.html`: how much load a Flow sustains. The decision is at the top, the measurements
//! below.

mod choice;
mod load;
mod model;

use std::borrow::Cow;
use std::io;

use serde::Serialize;

use super::parts::{Fact, Figure};
use crate::capacity::number::number;
use crate::capacity::result::Capacity;
use crate::capacity::search::{Answer, Kind};
use crate::capacity::trials::{TrialOutcome, TrialSummary, Unit};
use crate::capacity::words::{condition, kind, level, notes, outcome};
use crate::report::words::{known, latency, percent, rate, time};

pub(in crate::report) fn write(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    super::render("capacity.html", &Page::new(capacity), out)
}

/// The page of a search that is still running.
pub(in crate::report) fn write_so_far(
    capacity: &Capacity,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let page = Page::new(capacity);
    let (class, headline) = match page.class {
        "unjudged" => ("running", "Searching".into()),
        class => (class, format!("{} so far", page.headline)),
    };
    super::render("capacity.html", &Page { class, headline, ..page }, out)
}

#[derive(Serialize)]
struct Page {
    title: String,
    class: &'static str,
    headline: String,
    paragraph: String,
    words: String,
    key: Vec<Fact>,
    notes: Vec<String>,
    load: Vec<Figure>,
    models: Vec<Figure>,
    parameters: Vec<[String; 4]>,
    held_out: Option<String>,
    executors: Vec<[String; 6]>,
    predictions: Vec<[String; 4]>,
    rates: Vec<[String; 4]>,
    combinations: Option<Part>,
    pareto: Option<Part>,
    plan: Option<Part>,
    trials: Vec<TrialRow>,
    facts: Vec<Fact>,
}

/// A section with a table and at most one chart.
#[derive(Serialize)]
struct Part {
    words: String,
    figure: Option<Figure>,
    head: Vec<Cow<'static, str>>,
    rows: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct TrialRow {
    level: String,
    kind: &'static str,
    verdict: &'static str,
    class: &'static str,
    took: String,
    throughput: String,
    p50: String,
    p99: String,
    failed: String,
    excess: String,
    objective: String,
    reasons: Vec<String>,
}

impl Page {
    fn new(capacity: &Capacity) -> Page {
        let unit = capacity.unit;
        let (class, headline) = match &capacity.answer {
            Answer::Edge { held, .. } => ("passed", format!("Sustains {}", level(*held, unit))),
            Answer::HoldsAtHigh { level: high } => {
                ("passed", format!("Sustains at least {}", level(*high, unit)))
            }
            Answer::FailsAtLow { level: low } => {
                ("failed", format!("Fails even at {}", level(*low, unit)))
            }
            Answer::Inconclusive { .. } => ("unjudged", "Inconclusive".into()),
        };
        let mut loads: Vec<&TrialSummary> = capacity
            .trials
            .iter()
            .filter(|trial| trial.kind != Kind::CoolDown && trial.outcome != TrialOutcome::Invalid)
            .collect();
        loads.sort_by(|a, b| a.level.total_cmp(&b.level));
        // Of several trials at the same load, the longest is the most informative.
        loads.dedup_by(|b, a| {
            let same = a.level == b.level;
            if same && b.seconds > a.seconds {
                *a = b;
            }
            same
        });
        Page {
            title: format!("{}: {}", capacity.suite, capacity.scenario),
            class,
            headline,
            paragraph: capacity.paragraph.clone(),
            words: capacity.words.clone(),
            key: key(capacity),
            notes: notes(capacity).map(|note| quoted(&note)).collect(),
            load: load::figures(capacity, &loads),
            models: model::figures(capacity, &loads),
            parameters: model::parameters(capacity),
            held_out: capacity.models.held_out.as_ref().map(|held_out| held_out.words.clone()),
            executors: model::executors(capacity),
            predictions: model::predictions(capacity),
            rates: model::rates(capacity),
            combinations: choice::combinations(capacity),
            pareto: choice::pareto(capacity),
            plan: choice::plan(capacity),
            trials: capacity.trials.iter().map(|trial| row(trial, unit)).collect(),
            facts: facts(capacity),
        }
    }
}

/// A note with quotation marks instead of backticks.
fn quoted(note: &str) -> String {
    let mut quoted = String::new();
    for (index, part) in note.split('`').enumerate() {
        quoted.push_str(match index {
            0 => "",
            _ if index % 2 == 1 => "“",
            _ => "”",
        });
        quoted.push_str(part);
    }
    quoted
}

fn key(capacity: &Capacity) -> Vec<Fact> {
    let unit = capacity.unit;
    let fact = |name, value| Fact { name, value };
    let mut facts = Vec::new();
    if let Some(held) = capacity.answer.held() {
        facts.push(fact("sustains", level(held, unit)));
    }
    if let Answer::Edge { fails: Some(fails), .. } = capacity.answer {
        facts.push(fact("fails at", level(fails, unit)));
    }
    if let Some(knee) = capacity.knee {
        facts.push(fact("knee", level(knee.value, unit)));
    }
    for overload in &capacity.overload {
        let name = match overload.factor {
            f if f < 1.3 => "goodput at 120 %",
            f if f < 1.7 => "goodput at 150 %",
            _ => "goodput at 200 %",
        };
        let doubt = if overload.reasons.is_empty() { "" } else { ", not valid" };
        facts.push(fact(name, format!("{}{doubt}", known(overload.goodput_per_s, rate))));
    }
    if let Some(seconds) = capacity.recovered_s {
        facts.push(fact("recovers within", time(seconds)));
    }
    facts
}

fn row(trial: &TrialSummary, unit: Unit) -> TrialRow {
    let class = match trial.outcome {
        TrialOutcome::Passed => "passed",
        TrialOutcome::Failed => "failed",
        TrialOutcome::Inconclusive | TrialOutcome::Invalid => "unjudged",
        TrialOutcome::Seen => "",
    };
    let judged = trial.outcome != TrialOutcome::Seen;
    let conditions: Vec<String> = trial.objective.iter().map(condition).collect();
    TrialRow {
        level: level(trial.level, unit),
        kind: kind(trial.kind),
        verdict: outcome(trial.outcome),
        class,
        took: time(trial.seconds),
        throughput: known(trial.point.throughput_per_s, rate),
        p50: latency(trial.point.p50_ms),
        p99: latency(trial.point.p99_ms),
        failed: percent(trial.point.error_rate),
        excess: match trial.excess {
            excess if judged && excess < 1e6 => format!("{} %", number(excess * 100.0)),
            _ => "–".into(),
        },
        objective: conditions.join(", "),
        reasons: trial.reasons.iter().map(ToString::to_string).collect(),
    }
}

fn facts(capacity: &Capacity) -> Vec<Fact> {
    let fact = |name, value| Fact { name, value };
    let environment = &capacity.environment;
    let cpu = environment.cpu.clone().unwrap_or_else(|| environment.arch.clone());
    let arrivals = capacity.burstiness.map(|burstiness| match burstiness {
        0.0 => "at equal gaps".to_owned(),
        1.0 => "at random (Poisson)".to_owned(),
        _ => format!("in bursts, burstiness {}", number(burstiness)),
    });
    let mut facts = vec![
        fact("objective", capacity.objective.join(" and ")),
        fact(
            "searched",
            format!(
                "{} to {}",
                level(capacity.range[0], capacity.unit),
                level(capacity.range[1], capacity.unit)
            ),
        ),
        fact("precision", percent(capacity.precision)),
        fact("confidence", percent(capacity.confidence)),
        fact("started", capacity.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
        fact("took", time(capacity.duration_s)),
        fact("machine", format!("{cpu}, {} cores, {}", environment.cores, environment.os)),
        fact("flowbench", environment.flowbench.clone()),
    ];
    facts.extend(arrivals.map(|arrivals| fact("arrivals", arrivals)));
    facts
}
