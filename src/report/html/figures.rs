//! The charts of a scenario, each with a table of its numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::chart::{self, Axis, Line};
use super::parts::{Figure, Mark};
use super::server;
use crate::record::summary::{BreakdownSummary, Latency, ScenarioSummary, TimelineSecond, ms};
use crate::record::validity::can_tell;
use crate::record::{Histogram, HistogramError};
use crate::report::words::{latency, percent, rate, three_digits};

/// Maximum number of points over time: more could not be distinguished, and would make the page
/// large.
const POINTS_MAX: usize = 120;

/// Rows of a heat map: about a factor of 1.3 each over four decades.
const HEAT_ROWS: usize = 36;

/// Several seconds of the timeline as one point.
pub(super) struct Stretch {
    /// In seconds.
    pub(super) from: f64,
    pub(super) to: f64,
    offered: f64,
    sent: f64,
    done: f64,
    /// Errors per second, by kind.
    kinds: BTreeMap<String, f64>,
    dropped: f64,
    in_flight: f64,
    clients: Option<f64>,
    lag: Option<f64>,
    response: Histogram,
}

/// The charts of a scenario.
///
/// # Errors
///
/// If its histograms were modified.
pub(super) fn of(scenario: &ScenarioSummary) -> Result<Vec<Figure>, HistogramError> {
    let stretches = stretches(scenario)?;
    let mut figures = Vec::new();
    figures.extend(percentiles(scenario)?);
    // Less than two seconds are not worth a chart over time.
    if stretches.len() > 1 {
        figures.extend(over_time(&stretches));
        figures.push(throughput(&stretches));
        figures.extend(failures(&stretches));
        figures.extend(clients(&stretches));
        figures.push(in_flight(&stretches));
        figures.push(lag(&stretches));
        let server = scenario.server.iter();
        figures.extend(server.flat_map(|server| server::figures(server, &stretches)));
    }
    figures.extend(scenario.breakdown.as_deref().and_then(waterfall));
    figures.extend(executors(scenario));
    Ok(figures)
}

/// The timeline in at most [`POINTS_MAX`] stretches.
///
/// A single second after the end of the load, in which the last responses arrive, is omitted,
/// because it would look like a collapse. Several such seconds are shown.
fn stretches(scenario: &ScenarioSummary) -> Result<Vec<Stretch>, HistogramError> {
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

    fn middle(&self) -> f64 {
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

fn time_axis(stretches: &[Stretch]) -> Axis {
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

fn ms_tick(value: f64) -> String {
    if value == 0.0 { "0".into() } else { latency_short(value) }
}

fn latency_short(value: f64) -> String {
    let text = latency(Some(value));
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// An axis of latencies: linear from zero if everything is visible that way, otherwise in powers of
/// ten.
fn latency_axis(smallest: f64, typical: f64, largest: f64) -> Axis {
    if largest > typical.max(1e-3) * 20.0 {
        Axis::log(smallest.max(1e-3), largest, ms_tick, "latency")
    } else {
        Axis::from_zero(largest, ms_tick, "latency")
    }
}

fn percentiles(scenario: &ScenarioSummary) -> Result<Option<Figure>, HistogramError> {
    let response = scenario.response_time_ms.to_histogram()?;
    let service = scenario.service_time_ms.to_histogram()?;
    let (Some(min), Some(max)) = (response.min(), response.max()) else { return Ok(None) };
    if response.count() < 2 {
        return Ok(None); // a single request has no distribution
    }
    const NINES_MAX: u32 = 6;
    let mut quantiles: Vec<f64> = vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85];
    for nine in 1..=NINES_MAX {
        let tail = 10f64.powi(-(nine as i32));
        // The nines themselves, and steps in between that look even on the axis.
        let steps = [1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2, 0.16, 0.13];
        quantiles.extend(steps.map(|step| 1.0 - tail * step));
    }
    // The number of requests supports no more than this; the last position is the maximum.
    let count = response.count();
    quantiles.retain(|quantile| *quantile <= 0.5 || can_tell(*quantile, count));
    let at = |quantile: f64| 1.0 / (1.0 - quantile);
    let mut places: Vec<f64> = quantiles.iter().map(|quantile| at(*quantile)).collect();
    let last = places.last().copied().unwrap_or(1.0);
    let end = last * 2.0;
    places.push(end);
    let values = |histogram: &Histogram| -> Vec<Option<f64>> {
        let inner = quantiles.iter().map(|quantile| histogram.quantile(*quantile).map(ms));
        inner.chain([histogram.max().map(ms)]).collect()
    };
    let lines = [
        Line { name: "response time".into(), values: values(&response) },
        Line { name: "service time".into(), values: values(&service) },
    ];
    let typical = response.quantile(0.5).map_or(0.0, ms);
    let smallest = service.min().map_or(ms(min), ms).min(ms(min));
    let x = Axis::nines(last, end);
    let y = latency_axis(smallest, typical, ms(max));
    let title = "Latency by percentile";
    let mut names: Vec<String> = quantiles.iter().map(|quantile| percentile(*quantile)).collect();
    names.push("max".into());
    Ok(Some(Figure {
        title: title.into(),
        note: "How many requests were faster. Response time counts from when a request was due, \
               service time from when it was sent; ok requests only."
            .into(),
        svg: chart::lines(title, &x, &y, &places, &lines),
        legend: Mark::Line.legend(lines.iter().map(|line| line.name.clone())),
        across: x.across(&places),
        head: vec!["percentile".into(), "response time".into(), "service time".into()],
        rows: rows(&names, &lines, |value| latency(Some(value))),
        ..Figure::default()
    }))
}

fn percentile(quantile: f64) -> String {
    let percent = format!("{:.6}", quantile * 100.0);
    format!("p{}", percent.trim_end_matches('0').trim_end_matches('.'))
}

fn rows(names: &[String], lines: &[Line], show: fn(f64) -> String) -> Vec<Vec<String>> {
    let row = |(index, name): (usize, &String)| {
        let values = lines.iter().map(|line| line.values[index].map_or("–".into(), show));
        std::iter::once(name.clone()).chain(values).collect()
    };
    names.iter().enumerate().map(row).collect()
}

fn over_time(stretches: &[Stretch]) -> Option<Figure> {
    let smallest = stretches.iter().filter_map(|s| s.response.min()).min().map(ms)?;
    let largest = stretches.iter().filter_map(|s| s.response.max()).max().map(ms)?;
    let quantile = |quantile: f64| -> Vec<Option<f64>> {
        stretches.iter().map(|s| s.response.quantile(quantile).map(ms)).collect()
    };
    let lines = [
        Line { name: "median".into(), values: quantile(0.5) },
        match tail(stretches.iter().map(|stretch| stretch.response.count())) {
            "p99" => Line { name: "p99".into(), values: quantile(0.99) },
            max => Line { name: max.into(), values: quantile(1.0) },
        },
    ];
    let x = time_axis(stretches);
    // Rows of equal height on a logarithmic scale: latencies differ by factors.
    let smallest = smallest.max(1e-3);
    let factor = (largest / smallest).max(1.5).powf(1.0 / HEAT_ROWS as f64);
    let columns: Vec<(f64, f64)> = stretches.iter().map(|s| (s.from, s.to)).collect();
    let cells = stretches.iter().map(|s| column(&s.response, smallest, factor)).collect::<Vec<_>>();
    let y = Axis::log(smallest, largest, ms_tick, "response time");
    let title = "Response time over time";
    let at: Vec<f64> = stretches.iter().map(Stretch::middle).collect();
    let mut figure = timed(title, "", &x, &y, &at, stretches, &lines, |v| latency(Some(v)));
    figure.note = "Darker means more requests.".into();
    figure.shades = true;
    figure.svg = chart::heat_map(title, &x, &y, &columns, &cells, &lines);
    Some(figure)
}

/// The cells of a heat map's column: from, to, count.
fn column(histogram: &Histogram, smallest: f64, factor: f64) -> Vec<(f64, f64, u64)> {
    let mut counts = vec![0; HEAT_ROWS + 1];
    for (value, count) in histogram.buckets() {
        let row = (ms(value).max(smallest) / smallest).ln() / factor.ln();
        counts[(row as usize).min(HEAT_ROWS)] += count;
    }
    let low = |row: usize| smallest * factor.powi(row as i32);
    let counts = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
    counts.map(|(row, count)| (low(row), low(row + 1), count)).collect()
}

#[expect(clippy::too_many_arguments, reason = "each is one part of the figure")]
fn timed(
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

/// A chart over time, from zero on.
pub(super) fn series(
    title: &'static str,
    note: &'static str,
    stretches: &[Stretch],
    lines: &[Line],
    label: &'static str,
    tick: fn(f64) -> String,
    show: fn(f64) -> String,
) -> Figure {
    let x = time_axis(stretches);
    let largest = lines.iter().flat_map(|line| line.values.iter().flatten()).copied();
    let y = Axis::from_zero(largest.fold(0.0, f64::max), tick, label);
    let at: Vec<f64> = stretches.iter().map(Stretch::middle).collect();
    timed(title, note, &x, &y, &at, stretches, lines, show)
}

fn line(name: &'static str, stretches: &[Stretch], value: fn(&Stretch) -> f64) -> Line {
    Line {
        name: name.into(),
        values: stretches.iter().map(|stretch| Some(value(stretch))).collect(),
    }
}

/// Unit of throughput and errors.
const PER_S: &str = "per second";

fn rate_tick(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{}/s", three_digits_short(value)) }
}

fn throughput(stretches: &[Stretch]) -> Figure {
    let lines = [
        line("offered", stretches, |s| s.offered),
        line("sent", stretches, |s| s.sent),
        line("done", stretches, |s| s.done),
    ];
    let note = "Offered by when requests were due, done by when ok responses came back.";
    series("Throughput", note, stretches, &lines, PER_S, rate_tick, rate)
}

/// Number of error kinds with their own line; more could not be distinguished.
const KINDS: usize = 3;

fn failures(stretches: &[Stretch]) -> Option<Figure> {
    let mut totals: BTreeMap<&String, f64> = BTreeMap::new();
    for (kind, count) in stretches.iter().flat_map(|stretch| &stretch.kinds) {
        *totals.entry(kind).or_default() += count;
    }
    let mut kinds: Vec<(&String, f64)> = totals.into_iter().collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (shown, others) = kinds.split_at(kinds.len().min(KINDS));
    let of = |stretch: &Stretch, kind: &String| stretch.kinds.get(kind).copied().unwrap_or(0.0);
    let mut lines: Vec<Line> = shown
        .iter()
        .map(|(kind, _)| Line {
            name: (*kind).clone().into(),
            values: stretches.iter().map(|stretch| Some(of(stretch, kind))).collect(),
        })
        .collect();
    if !others.is_empty() {
        let sum = |stretch: &Stretch| others.iter().map(|(kind, _)| of(stretch, kind)).sum();
        let values = stretches.iter().map(|stretch| Some(sum(stretch))).collect();
        lines.push(Line { name: "other kinds".into(), values });
    }
    if stretches.iter().any(|stretch| stretch.dropped > 0.0) {
        lines.push(line("dropped", stretches, |s| s.dropped));
    }
    if lines.is_empty() {
        return None;
    }
    let note = "By kind, and by when they were known; dropped by when they were due.";
    let figure = series("Errors over time", note, stretches, &lines, PER_S, rate_tick, rate);
    Some(figure)
}

fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Clients over time, where their number changes.
fn clients(stretches: &[Stretch]) -> Option<Figure> {
    let values: Vec<Option<f64>> = stretches.iter().map(|stretch| stretch.clients).collect();
    let told = values.iter().flatten().count() > 0;
    let lines = [Line { name: "clients".into(), values }];
    let note = "Each sends its next request when it has its response.";
    told.then(|| {
        series("Clients", note, stretches, &lines, "clients", three_digits_short, three_digits)
    })
}

fn in_flight(stretches: &[Stretch]) -> Figure {
    let lines = [line("in flight", stretches, |s| s.in_flight)];
    let note = "The mean of each moment. A line that keeps rising is a queue that never empties.";
    let title = "Requests in flight";
    series(title, note, stretches, &lines, "requests", three_digits_short, three_digits)
}

fn lag(stretches: &[Stretch]) -> Figure {
    let lines = [Line { name: "p99".into(), values: stretches.iter().map(|s| s.lag).collect() }];
    let note = "From when requests were due to when they were written: our own lateness, and the time \
                the Flow would not take them.";
    series("Send delay", note, stretches, &lines, "send delay", ms_tick, |value| {
        latency(Some(value))
    })
}

/// Latency breakdown of typical and slowest requests.
fn waterfall(breakdown: &[BreakdownSummary]) -> Option<Figure> {
    // A hop that takes no time anywhere would be an empty row.
    let stops: Vec<&BreakdownSummary> =
        breakdown.iter().filter(|stop| stop.typical_share.max(stop.tail_share) > 5e-4).collect();
    if stops.is_empty() {
        return None;
    }
    let (mut typical, mut tail) = (0.0, 0.0);
    let mut steps = Vec::new();
    for stop in &stops {
        let step = |from: &mut f64, share: f64, ms: f64| {
            let begin = *from;
            *from += share;
            (begin, *from, format!("{}, {}", percent(share), latency(Some(ms))))
        };
        let bars = vec![
            step(&mut typical, stop.typical_share, stop.typical_ms),
            step(&mut tail, stop.tail_share, stop.tail_ms),
        ];
        steps.push((stop.name.clone(), bars));
    }
    let title = "Latency breakdown: typical and slowest 1 %";
    Some(Figure {
        title: title.into(),
        note: "Mean share of each stop, by the routes of the responses, in the order in which a \
               request meets them: of the typical requests (around the median) and of the slowest \
               hundredth."
            .into(),
        svg: chart::waterfall(title, &steps),
        legend: Mark::Bar.legend(["typical", "slowest 1 %"]),
        head: ["stop", "typical", "share", "slowest 1 %", "share"].map(Cow::Borrowed).to_vec(),
        rows: stops
            .iter()
            .map(|stop| {
                vec![
                    stop.name.clone(),
                    latency(Some(stop.typical_ms)),
                    percent(stop.typical_share),
                    latency(Some(stop.tail_ms)),
                    percent(stop.tail_share),
                ]
            })
            .collect(),
        ..Figure::default()
    })
}

/// Label for the slow end of distributions: p99, or the maximum if one of them has too few requests
/// for p99.
fn tail(counts: impl Iterator<Item = u64>) -> &'static str {
    let told = counts.filter(|count| *count > 0).all(|count| can_tell(0.99, count));
    if told { "p99" } else { "max" }
}

fn executors(scenario: &ScenarioSummary) -> Option<Figure> {
    let executors = scenario.executors.as_ref().filter(|executors| !executors.is_empty())?;
    let stops = executors.iter().filter(|stop| stop.name != "gateway");
    let mut all: Vec<(&str, &Latency)> =
        stops.map(|stop| (stop.name.as_str(), &stop.time_ms)).collect();
    all.extend(scenario.gateway_ms.as_ref().map(|own| ("gateway overhead", own)));
    all.extend(scenario.network_ms.as_ref().map(|network| ("network and client", network)));
    let tail = tail(all.iter().map(|(_, time)| time.count));
    let shown: Vec<(String, Vec<Option<f64>>)> = all
        .into_iter()
        .map(|(name, time)| {
            let slow = if tail == "p99" { time.p99 } else { time.max };
            (name.to_owned(), vec![time.p50, slow])
        })
        .collect();
    let largest = shown.iter().flat_map(|(_, values)| values.iter().flatten()).copied();
    let x = Axis::from_zero(largest.fold(0.0, f64::max), ms_tick, "");
    let title = "Time per hop";
    let row = |(name, values): &(String, Vec<Option<f64>>)| {
        std::iter::once(name.clone()).chain(values.iter().map(|value| latency(*value))).collect()
    };
    Some(Figure {
        title: title.into(),
        note:
            "Time in each Executor, by the routes of the responses; what is left is the gateway’s \
               own and that of network and client."
                .into(),
        svg: chart::bars(title, &x, &shown, |value| latency(Some(value))),
        legend: Mark::Bar.legend(["median", tail]),
        head: vec!["stop".into(), "median".into(), tail.into()],
        rows: shown.iter().map(row).collect(),
        ..Figure::default()
    })
}
