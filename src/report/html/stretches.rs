//! The timeline of a scenario as the points of charts over time.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::chart::{self, Axis, Line};
use super::parts::{Figure, Mark};
use crate::record::summary::{ScenarioSummary, TimelineSecond};
use crate::record::{Histogram, HistogramError};
use crate::report::words::three_digits;

/// Maximum number of points over time: more could not be distinguished, and would make the page
/// large.
const POINTS_MAX: usize = 120;

/// Several seconds of the timeline as one point.
pub(super) struct Stretch {
    /// In seconds.
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) offered: f64,
    pub(super) sent: f64,
    pub(super) done: f64,
    /// Errors per second, by kind.
    pub(super) kinds: BTreeMap<String, f64>,
    pub(super) dropped: f64,
    pub(super) in_flight: f64,
    pub(super) clients: Option<f64>,
    pub(super) lag: Option<f64>,
    pub(super) response: Histogram,
}

/// The timeline in at most [`POINTS_MAX`] stretches.
///
/// A single second after the end of the load, in which the last responses arrive, is omitted,
/// because it would look like a collapse. Several such seconds are shown.
pub(super) fn stretches(scenario: &ScenarioSummary) -> Result<Vec<Stretch>, HistogramError> {
    let timeline = scenario.timeline.as_slice();
    let load = (scenario.duration_s.ceil() as usize).max(1);
    let shown = if timeline.len() == load + 1 { &timeline[..load] } else { timeline };
    let seconds = shown.len().div_ceil(POINTS_MAX).max(1);
    // A window of a run starts later than the load.
    let begin = timeline.first().map_or(0.0, |second| second.t_s as f64 - 1.0);
    let end = begin + scenario.duration_s;
    shown.par_chunks(seconds).map(|part| Stretch::new(part, end)).collect()
}

impl Stretch {
    fn new(seconds: &[TimelineSecond], load: f64) -> Result<Stretch, HistogramError> {
        let from = seconds.first().map_or(0.0, |second| second.t_s as f64 - 1.0);
        let to = seconds.last().map_or(from, |second| second.t_s as f64);
        // The second in which the load ends counts only up to that end, or the rate would seem to
        // drop. The seconds after it, in which the last replies arrive, count in full.
        let to = if from < load && load < to { load } else { to };
        let length = (to - from).max(1e-3);
        let per_s = |number: fn(&TimelineSecond) -> u64| {
            seconds.iter().map(number).sum::<u64>() as f64 / length
        };
        let mut kinds = BTreeMap::new();
        for (kind, count) in seconds.iter().flat_map(|second| &second.kinds) {
            *kinds.entry(kind.clone()).or_insert(0.0) += *count as f64 / length;
        }
        let mut response = Histogram::new();
        for second in seconds.iter().filter_map(|second| second.histogram.as_deref()) {
            response.merge(&Histogram::from_base64(second)?);
        }
        Ok(Stretch {
            from,
            to,
            offered: per_s(|second| second.offered),
            sent: per_s(|second| second.sent),
            done: per_s(|second| second.completed().max(second.ok)),
            kinds,
            dropped: per_s(|second| second.dropped),
            in_flight: seconds.iter().map(|second| second.in_flight).sum::<f64>() / length,
            clients: mean_of(seconds.iter().filter_map(|second| second.clients)),
            lag: seconds.iter().filter_map(|second| second.lag_p99).reduce(f64::max),
            response,
        })
    }

    pub(super) fn middle(&self) -> f64 {
        (self.from + self.to) / 2.0
    }
}

/// Unit for times of a run: its length in seconds, its short name, and the label of the axis.
fn unit_of_time(stretches: &[Stretch]) -> (f64, &'static str, &'static str) {
    match stretches.last().map_or(1.0, |stretch| stretch.to) {
        to if to < 600.0 => (1.0, "s", "time, s"),
        to if to < 3.0 * 3600.0 => (60.0, "min", "time, min"),
        _ => (3600.0, "h", "time, h"),
    }
}

pub(super) fn time_axis(stretches: &[Stretch]) -> Axis {
    let from = stretches.first().map_or(0.0, |stretch| stretch.from);
    let to = stretches.last().map_or(1.0, |stretch| stretch.to);
    let (unit, _, label) = unit_of_time(stretches);
    Axis::exact(from, to, unit, three_digits_short, label)
}

/// Axis ticks without superfluous digits.
pub(super) fn three_digits_short(value: f64) -> String {
    let text = three_digits(value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[expect(clippy::too_many_arguments, reason = "each is one part of the figure")]
pub(super) fn timed(
    title: &'static str,
    note: &'static str,
    x: &Axis,
    y: &Axis,
    at: &[f64],
    stretches: &[Stretch],
    lines: &[Line],
    show: fn(f64) -> String,
) -> Figure {
    let (unit, name, _) = unit_of_time(stretches);
    let names: Vec<String> = stretches
        .iter()
        .map(|s| {
            let [from, to] = [s.from, s.to].map(|at| three_digits_short(at / unit));
            format!("{from}–{to} {name}")
        })
        .collect();
    Figure {
        title: title.into(),
        note: note.into(),
        svg: chart::lines(title, x, y, at, lines),
        legend: Mark::Line.legend(lines.iter().map(|line| line.name.clone())),
        across: x.across(at),
        head: std::iter::once("time".into())
            .chain(lines.iter().map(|line| line.name.clone()))
            .collect(),
        rows: rows(&names, lines, show),
        ..Figure::default()
    }
}

/// The largest value of lines.
pub(super) fn largest(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| line.values.iter().flatten()).copied().fold(0.0, f64::max)
}

/// A chart over time, with an axis from zero.
pub(super) fn series(
    title: &'static str,
    note: &'static str,
    stretches: &[Stretch],
    lines: &[Line],
    label: &'static str,
    tick: fn(f64) -> String,
    show: fn(f64) -> String,
) -> Figure {
    let y = Axis::from_zero(largest(lines), tick, label);
    over_time(title, note, stretches, lines, &y, show)
}

/// A chart over time, on this axis.
pub(super) fn over_time(
    title: &'static str,
    note: &'static str,
    stretches: &[Stretch],
    lines: &[Line],
    y: &Axis,
    show: fn(f64) -> String,
) -> Figure {
    let x = time_axis(stretches);
    let at: Vec<f64> = stretches.iter().map(Stretch::middle).collect();
    timed(title, note, &x, y, &at, stretches, lines, show)
}

pub(super) fn line(name: &'static str, stretches: &[Stretch], value: fn(&Stretch) -> f64) -> Line {
    Line {
        name: name.into(),
        values: stretches.iter().map(|stretch| Some(value(stretch))).collect(),
    }
}

pub(super) fn rows(names: &[String], lines: &[Line], show: fn(f64) -> String) -> Vec<Vec<String>> {
    let row = |(index, name): (usize, &String)| {
        let values = lines.iter().map(|line| line.values[index].map_or("–".into(), show));
        std::iter::once(name.clone()).chain(values).collect()
    };
    names.iter().enumerate().map(row).collect()
}

fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
