//! The charts of a scenario, each with a table of its numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::chart::{self, Axis, Line};
use super::parts::{Figure, Mark};
use super::server;
use super::stretches::{
    Stretch, line, rows, series, stretches, three_digits_short, time_axis, timed,
};
use crate::record::summary::{BreakdownSummary, Latency, ScenarioSummary, ms};
use crate::record::validity::can_tell;
use crate::record::{Histogram, HistogramError};
use crate::report::words::{latency, percent, rate, three_digits};

/// Rows of a heat map: about a factor of 1.3 each over four decades.
const HEAT_ROWS: usize = 36;

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
        note: "Share of requests that were faster. Response time is measured from when a request \
               was due, service time from when it was sent; ok requests only."
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
    figure.note = "The stronger the colour, the more requests.".into();
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
    let note = "Offered by when requests were due, done by when ok responses arrived.";
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
    let note = "By kind and by when they became known; dropped ones by when they were due.";
    let figure = series("Errors over time", note, stretches, &lines, PER_S, rate_tick, rate);
    Some(figure)
}

/// Clients over time, where their number changes.
fn clients(stretches: &[Stretch]) -> Option<Figure> {
    let values: Vec<Option<f64>> = stretches.iter().map(|stretch| stretch.clients).collect();
    let told = values.iter().flatten().count() > 0;
    let lines = [Line { name: "clients".into(), values }];
    let note = "Each client sends its next request when it has its response.";
    told.then(|| {
        series("Clients", note, stretches, &lines, "clients", three_digits_short, three_digits)
    })
}

fn in_flight(stretches: &[Stretch]) -> Figure {
    let lines = [line("in flight", stretches, |s| s.in_flight)];
    let note = "Mean of each interval. A line that keeps rising means that a queue never empties.";
    let title = "Requests in flight";
    series(title, note, stretches, &lines, "requests", three_digits_short, three_digits)
}

fn lag(stretches: &[Stretch]) -> Figure {
    let lines = [Line { name: "p99".into(), values: stretches.iter().map(|s| s.lag).collect() }];
    let note = "From when requests were due to when they were written: delays of the load \
                generator, and the time during which the Flow did not accept them.";
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
        note: "Mean share of each hop, by the routes of the responses, in the order of a \
               request's path: for typical requests (around the median) and for the slowest 1 \
               %."
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
        note: "Time in each Executor, by the routes of the responses; the rest is gateway \
               overhead, network and client."
            .into(),
        svg: chart::bars(title, &x, &shown, |value| latency(Some(value))),
        legend: Mark::Bar.legend(["median", tail]),
        head: vec!["stop".into(), "median".into(), tail.into()],
        rows: shown.iter().map(row).collect(),
        ..Figure::default()
    })
}
