//! The Flow's own metrics in charts with the same axes as ours, and a table.

use serde::Serialize;

use super::chart::{Axis, Line};
use super::parts::Figure as Chart;
use super::stretches::{Stretch, largest, over_time, series, three_digits_short};
use crate::metric::Figure;
use crate::record::summary::ScenarioSummary;
use crate::report::words::{amount, bytes, count, latency, rate};
use crate::server::{PlaceKind, PlaceSummary, ServerSummary};

/// The most lines in a chart: more could not be distinguished.
const LINES_MAX: usize = 5;

/// Charts and table of a Flow's own metrics.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    problems: Vec<String>,
    note: Option<&'static str>,
}

/// A group of charts: its title and how to read it, its figures, axis and values.
type Kind = (&'static str, &'static str, &'static [Figure], &'static str, Show, Show);

type Show = fn(f64) -> String;

const CHARTS: [Kind; 6] = [
    (
        "Mean time, by the Flow’s own metrics",
        "From when a pod took a request to its response; waiting for others is in it.",
        &[Figure::Mean],
        "mean time",
        ms,
        ms,
    ),
    (
        "Requests pending, by the Flow’s own metrics",
        "Requests in each pod. Where its metrics do not say, from its rate and mean (Little’s law).",
        &[Figure::Pending],
        "requests",
        three_digits_short,
        amount,
    ),
    (
        "Rate, by the Flow’s own metrics",
        "Requests that each pod was done with. One that retries or splits them does more than was sent.",
        &[Figure::Rate],
        "per second",
        per_s,
        rate,
    ),
    (
        "Processors in use",
        "1 is one whole processor; the busiest is the process that uses most.",
        &[Figure::Cpu, Figure::Busiest],
        "processors",
        three_digits_short,
        amount,
    ),
    (
        "Memory",
        "Resident; what processes share is counted in each.",
        &[Figure::Memory],
        "memory",
        bytes,
        bytes,
    ),
    (
        "Other metrics",
        "By their names; those that only grow as a rate per second.",
        &[Figure::Value],
        "value",
        amount,
        amount,
    ),
];

fn ms(value: f64) -> String {
    if value == 0.0 { "0".into() } else { latency(Some(value)) }
}

fn per_s(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{}/s", three_digits_short(value)) }
}

/// The charts.
pub(super) fn figures(server: &ServerSummary, stretches: &[Stretch]) -> Vec<Chart> {
    let wholes = || server.places.iter().filter(|place| place.replica.is_none());
    let chart = |(title, note, figures, label, tick, show): &Kind| {
        let told = figures.iter().flat_map(|figure| {
            wholes().filter_map(move |place| Some((place, figure, place.figures.get(figure)?)))
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by(|(.., a), (.., b)| b.max.unwrap_or(0.0).total_cmp(&a.max.unwrap_or(0.0)));
        let lines: Vec<Line> = told
            .into_iter()
            .take(LINES_MAX)
            .map(|(place, figure, told)| Line {
                name: match figure {
                    Figure::Busiest => "the busiest process".into(),
                    _ => place.name.clone().into(),
                },
                values: stretches
                    .iter()
                    .map(|stretch| {
                        let within = |t_s: u64| {
                            let at = t_s as f64;
                            at > stretch.from && at <= stretch.to.ceil()
                        };
                        let all = server.t_s.iter().zip(&told.values);
                        let values = all.filter(|(t_s, _)| within(**t_s)).filter_map(|(_, v)| *v);
                        let values: Vec<f64> = values.collect();
                        let sum: f64 = values.iter().sum();
                        (!values.is_empty()).then(|| sum / values.len() as f64)
                    })
                    .collect(),
            })
            .collect();
        let is_drawn = lines.iter().any(|line| line.values.iter().flatten().count() > 0);
        is_drawn.then(|| match figures {
            [Figure::Memory] => {
                let y = Axis::of_bytes(largest(&lines), *tick, label);
                over_time(title, note, stretches, &lines, &y, *show)
            }
            _ => series(title, note, stretches, &lines, label, *tick, *show),
        })
    };
    CHARTS.iter().filter_map(chart).collect()
}

/// A column of the table: its name, its figure, and the format of its values.
const COLUMNS: [(&str, Figure, Show); 12] = [
    ("Rate", Figure::Rate, rate),
    ("Mean", Figure::Mean, ms),
    ("In its method", Figure::Process, ms),
    ("Waiting for others", Figure::Sending, ms),
    ("Pending", Figure::Pending, amount),
    ("Failed", Figure::Failed, amount),
    ("Documents", Figure::Documents, rate),
    ("Received", Figure::Received, bytes_per_s),
    ("Sent", Figure::Sent, bytes_per_s),
    ("Processors", Figure::Cpu, amount),
    ("Memory", Figure::Memory, bytes),
    ("Value", Figure::Value, amount),
];

fn bytes_per_s(value: f64) -> String {
    format!("{}/s", bytes(value))
}

/// The charts and the table; `None` if there are no metrics.
pub(super) fn section(scenario: &ScenarioSummary) -> Option<Section> {
    let server = scenario.server.as_ref()?;
    let there =
        |figure: Figure| server.places.iter().any(|place| place.figures.contains_key(&figure));
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(_, figure, _)| there(*figure)).collect();
    let routes = |place: &PlaceSummary| {
        let stops = scenario.executors.iter().flatten();
        let of_place = stops.filter(|stop| place.replica.is_none() && stop.name == place.name);
        of_place.map(|stop| latency(stop.time_ms.mean)).next()
    };
    let has_routes = server.places.iter().any(|place| routes(place).is_some());
    let mut head = vec!["Place"];
    head.extend(columns.iter().map(|(name, ..)| *name));
    head.extend(has_routes.then_some("Mean by routes"));
    let row = |place: &PlaceSummary| {
        let name = match (&place.replica, place.replicas.len()) {
            (None, replicas) if replicas > 1 => {
                format!("{}, {} replicas", place.name, count(replicas as u64))
            }
            _ => place.full_name(),
        };
        let figure = |(_, figure, show): &(&str, Figure, Show)| {
            let Some(told) = place.figures.get(figure) else { return "–".into() };
            let value = told.value.map_or("–".into(), show);
            let peaks =
                matches!(figure, Figure::Pending | Figure::Cpu | Figure::Memory | Figure::Value);
            match told.max.filter(|_| peaks) {
                Some(max) => format!("{value} (max {})", show(max)),
                None => value,
            }
        };
        let mut row = vec![name];
        row.extend(columns.iter().map(figure));
        row.extend(has_routes.then(|| routes(place).unwrap_or_else(|| "–".into())));
        row
    };
    let rows: Vec<Vec<String>> = server.places.iter().map(row).collect();
    let by_law = server
        .places
        .iter()
        .any(|place| place.pending_by_littles_law && place.kind == PlaceKind::Executor);
    let problems = server.problems();
    if rows.is_empty() && problems.is_empty() {
        return None;
    }
    Some(Section {
        head,
        rows,
        problems,
        note: by_law.then_some(
            "Executors do not say how many requests are pending: that is their rate times their mean (Little’s law).",
        ),
    })
}
