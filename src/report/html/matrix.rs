//! Compares the scenarios of a matrix: in bars if there are few, otherwise in grids over the axes.

use std::borrow::Cow;

use serde::Serialize;

use super::chart::{self, Axis};
use super::parts::{Figure, Mark};
use crate::record::summary::{ScenarioSummary, Summary};
use crate::report::best::{combination, groups, rows, text};
use crate::report::words::{latency, percent, rate};

/// With more bars than this, a grid is clearer.
const BARS_MAX: usize = 12;

/// Number of cell shades of the page.
const SHADES: f64 = 6.0;

/// The scenarios of one matrix.
#[derive(Serialize)]
pub(super) struct Comparison {
    name: String,
    /// The best combinations: the criterion, the combination, and the figure.
    best: Vec<[String; 3]>,
    figures: Vec<Figure>,
    grids: Vec<Grid>,
}

/// A metric over the axes: the last axis across, the others down.
#[derive(Serialize)]
struct Grid {
    title: &'static str,
    note: &'static str,
    /// The axes in rows, and the one in columns.
    down: String,
    across: String,
    head: Vec<String>,
    rows: Vec<(String, Vec<Option<Cell>>)>,
}

#[derive(Serialize)]
struct Cell {
    text: String,
    /// From 1 (light) to 6.
    shade: u32,
    id: String,
}

/// Reads a figure of a scenario, if it has it.
type Read = fn(&ScenarioSummary) -> Option<f64>;

/// A figure of a scenario: its name, and how to read and show it.
struct Metric {
    title: &'static str,
    note: &'static str,
    series: &'static [(&'static str, Read)],
    show: fn(f64) -> String,
}

const METRICS: [Metric; 3] = [
    Metric {
        title: "Response time",
        note: "Lower is better.",
        series: &[
            ("median", |s| s.response_time_ms.p50),
            ("p99", |s| s.response_time_ms.told_p99()),
        ],
        show: |value| latency(Some(value)),
    },
    Metric {
        title: "Throughput",
        note: "Higher is better, if the load offered more than was completed.",
        series: &[("requests", |s| Some(s.throughput.requests_per_s))],
        show: rate,
    },
    Metric {
        title: "Failed",
        note: "The share of requests that failed, were dropped or abandoned.",
        series: &[("failed", |s| s.error_rate)],
        show: percent,
    },
];

/// Matrices with several scenarios that ran. Scenarios have the anchors `scenario-1`, `scenario-2`
/// …
pub(super) fn comparisons(summary: &Summary) -> Vec<Comparison> {
    groups(summary).iter().map(|(name, group)| comparison(name, group)).collect()
}

fn comparison(name: &str, group: &[(usize, &ScenarioSummary)]) -> Comparison {
    let failed = group.iter().any(|(_, s)| s.error_rate.is_some_and(|rate| rate > 0.0));
    let told = METRICS.iter().filter(|metric| metric.title != "Failed" || failed);
    let mut figures = Vec::new();
    let mut grids = Vec::new();
    for metric in told {
        if group.len() <= BARS_MAX {
            figures.push(bars(metric, group));
        }
        grids.extend(grid(metric, group));
    }
    Comparison { name: name.into(), best: rows(group), figures, grids }
}

fn bars(metric: &Metric, group: &[(usize, &ScenarioSummary)]) -> Figure {
    let shown: Vec<(String, Vec<Option<f64>>)> = group
        .iter()
        .map(|(_, scenario)| {
            (combination(scenario, ""), metric.series.iter().map(|(_, of)| of(scenario)).collect())
        })
        .collect();
    let largest = shown.iter().flat_map(|(_, values)| values.iter().flatten()).copied();
    let x = Axis::from_zero(largest.fold(0.0, f64::max), metric.show, "");
    let names = metric.series.iter().map(|(name, _)| Cow::Borrowed(*name));
    Figure {
        title: metric.title.into(),
        note: metric.note.into(),
        svg: chart::bars(metric.title, &x, &shown, metric.show),
        legend: Mark::Bar.legend(names.clone()),
        head: std::iter::once("combination".into()).chain(names).collect(),
        rows: shown
            .iter()
            .map(|(name, values)| {
                let values = values.iter().map(|value| value.map_or("–".into(), metric.show));
                std::iter::once(name.clone()).chain(values).collect()
            })
            .collect(),
        ..Figure::default()
    }
}

/// The metric over two or more axes: its last series, which covers the bad cases.
fn grid(metric: &Metric, group: &[(usize, &ScenarioSummary)]) -> Option<Grid> {
    let (_, first) = group.first()?;
    let (across, _) = first.matrix.iter().next_back()?;
    if first.matrix.len() < 2 {
        return None;
    }
    let (_, of) = metric.series.last()?;
    let mut head: Vec<String> = Vec::new();
    let mut rows: Vec<(String, Vec<(usize, &ScenarioSummary)>)> = Vec::new();
    for (index, scenario) in group {
        let column = scenario.matrix.get(across).map_or_else(String::new, text);
        if !head.contains(&column) {
            head.push(column);
        }
        let row = combination(scenario, across);
        match rows.iter_mut().find(|(name, _)| *name == row) {
            Some((_, cells)) => cells.push((*index, scenario)),
            None => rows.push((row, vec![(*index, scenario)])),
        }
    }
    let values = || group.iter().filter_map(|(_, s)| of(s)).filter(|value| *value > 0.0);
    let (least, most) =
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    // By factors: twice as slow is as different at 1 ms as at 100 ms.
    let shade = |value: f64| {
        let share = (value.max(least) / least).ln() / (most / least).ln();
        if share.is_finite() { 1 + (share * (SHADES - 1.0)).round() as u32 } else { 1 }
    };
    let cell = |(index, scenario): &(usize, &ScenarioSummary)| Cell {
        text: of(scenario).map_or("–".into(), metric.show),
        shade: of(scenario).map_or(1, shade),
        id: format!("scenario-{}", index + 1),
    };
    let rows = rows.into_iter().map(|(name, scenarios)| {
        let at = |column: &String| {
            let found = scenarios.iter().find(|(_, scenario)| {
                scenario.matrix.get(across).map(text).as_ref() == Some(column)
            });
            found.map(cell)
        };
        (name, head.iter().map(at).collect())
    });
    let down = first.matrix.keys().filter(|key| *key != across);
    Some(Grid {
        title: metric.title,
        note: match metric.series.len() {
            1 => metric.note,
            _ => "The p99 of each combination; darker is slower.",
        },
        down: down.cloned().collect::<Vec<_>>().join(", "),
        across: across.clone(),
        rows: rows.collect(),
        head,
    })
}
