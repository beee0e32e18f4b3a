//! The models: scalability law, queueing model, Executors and replicas.

use std::borrow::Cow;

use crate::capacity::Estimate;
use crate::capacity::number::number;
use crate::capacity::result::Capacity;
use crate::capacity::trials::{TrialSummary, Unit};
use crate::report::html::chart::{Axis, Shape, plot};
use crate::report::html::parts::{Figure, Key, Mark};
use crate::report::words::{latency, percent, rate};

/// Number of points of a curve.
const CURVE_POINTS: usize = 80;

pub(super) fn figures(capacity: &Capacity, loads: &[&TrialSummary]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let balanced: Vec<&TrialSummary> =
        loads.iter().copied().filter(|trial| trial.is_balanced()).collect();
    let concurrency = |trial: &TrialSummary| match capacity.unit {
        Unit::Clients => Some(trial.level),
        Unit::Rate => Some(trial.point.throughput_per_s? * trial.point.mean_ms? / 1e3),
    };
    if let Some(usl) = &capacity.models.usl {
        let end = usl.measured[1] * 1.5;
        let x = Axis::from_zero(end, number, "requests in flight");
        let ns: Vec<f64> =
            (1..=CURVE_POINTS).map(|n| end * n as f64 / CURVE_POINTS as f64).collect();
        let predicted: Vec<Estimate> = ns.iter().map(|n| usl.predict(*n)).collect();
        let points: Vec<(f64, f64)> = balanced
            .iter()
            .filter_map(|trial| Some((concurrency(trial)?, trial.point.throughput_per_s?)))
            .collect();
        let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let most = predicted.iter().map(|estimate| estimate.value).fold(highest, f64::max) * 1.1;
        let y = Axis::from_zero(most, number, "requests/s");
        let area = ns.iter().zip(&predicted).map(|(n, e)| (*n, e.low.max(0.0), e.high.min(most)));
        let curve = ns.iter().zip(&predicted).map(|(n, estimate)| (*n, estimate.value));
        let shapes = [
            Shape::Area(0, area.collect()),
            Shape::Curve(0, curve.collect()),
            Shape::Dots(1, points.clone()),
        ];
        figures.push(Figure {
            title: "Scalability law".into(),
            legend: fitted_and_measured(),
            svg: plot("Throughput over concurrency", &x, &y, &shapes),
            note: format!(
                "Throughput over requests in flight by the Universal Scalability Law, with its {} % \
                 interval for a measurement.",
                number(usl.confidence * 100.0)
            )
            .into(),
            head: ["In flight", "Measured", "Fitted", "Interval"].map(Cow::Borrowed).to_vec(),
            rows: points
                .iter()
                .map(|(n, measured)| {
                    let estimate = usl.predict(*n);
                    vec![number(*n), rate(*measured), rate(estimate.value), interval(&estimate, rate)]
                })
                .collect(),
            across: x.across(&points.iter().map(|point| point.0).collect::<Vec<_>>()),
            ..Figure::default()
        });
    }
    if let Some(queue) = &capacity.models.queue {
        let end = queue.capacity_per_s.value;
        let x = Axis::from_zero(end, number, "requests/s");
        let rates: Vec<f64> =
            (0..CURVE_POINTS).map(|n| end * 0.995 * n as f64 / CURVE_POINTS as f64).collect();
        let points: Vec<(f64, f64)> = balanced
            .iter()
            .filter_map(|trial| Some((trial.point.throughput_per_s?, trial.point.mean_ms?)))
            .collect();
        let most = points.iter().map(|point| point.1).fold(0.0, f64::max) * 1.5;
        let y = Axis::from_zero(most, |ms| latency(Some(ms)), "mean response time");
        let fitted = |rate: f64| queue.response_ms(rate);
        let curve = rates.iter().filter_map(|rate| Some((*rate, fitted(*rate)?.value)));
        let area = rates.iter().filter_map(|rate| {
            let estimate = fitted(*rate)?;
            Some((*rate, estimate.low, estimate.high.min(most)))
        });
        let shapes = [
            Shape::Area(0, area.collect()),
            Shape::Curve(0, curve.filter(|(_, ms)| *ms <= most).collect()),
            Shape::Dots(1, points.clone()),
        ];
        figures.push(Figure {
            title: "Queue".into(),
            legend: fitted_and_measured(),
            svg: plot("Mean response time over load", &x, &y, &shapes),
            note: format!(
                "Mean response time of an M/G/{} queue with the service time of the unloaded run.",
                queue.servers.value
            )
            .into(),
            head: ["Rate", "Measured", "Fitted", "Interval"].map(Cow::Borrowed).to_vec(),
            rows: points
                .iter()
                .map(|(at, measured)| {
                    let estimate = fitted(*at);
                    let show = |ms: f64| latency(Some(ms));
                    vec![
                        rate(*at),
                        latency(Some(*measured)),
                        latency(estimate.map(|estimate| estimate.value)),
                        estimate.map_or("–".into(), |estimate| interval(&estimate, show)),
                    ]
                })
                .collect(),
            across: x.across(&points.iter().map(|point| point.0).collect::<Vec<_>>()),
            ..Figure::default()
        });
    }
    figures
}

/// Legend of a fitted curve and measured points.
fn fitted_and_measured() -> Vec<Key> {
    vec![
        Key { name: "fitted".into(), mark: Mark::Line },
        Key { name: "measured".into(), mark: Mark::Dots },
    ]
}

fn interval(estimate: &Estimate, show: fn(f64) -> String) -> String {
    match estimate.high.is_finite() {
        true => format!("{} to {}", show(estimate.low), show(estimate.high)),
        false => format!("at least {}", show(estimate.low)),
    }
}

pub(super) fn parameters(capacity: &Capacity) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    let mut row = |name: &str, estimate: &Estimate, show: fn(f64) -> String, meaning: &str| {
        rows.push([name.into(), show(estimate.value), interval(estimate, show), meaning.into()]);
    };
    if let Some(usl) = &capacity.models.usl {
        row("λ", &usl.lambda, rate, "throughput of one request at a time");
        row("σ", &usl.sigma, number, "contention: the share of work that cannot run in parallel");
        row(
            "κ",
            &usl.kappa,
            small,
            "coherency: the cost of coordination between concurrent requests",
        );
    }
    if let Some(queue) = &capacity.models.queue {
        row(
            "capacity",
            &queue.capacity_per_s,
            rate,
            "requests per second when all servers are busy",
        );
        row("servers", &queue.servers, number, "requests that are served at a time");
        row(
            "service",
            &queue.service_ms,
            |ms| latency(Some(ms)),
            "time of one request in a server",
        );
    }
    rows
}

/// A number that may be very small.
fn small(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.2e}") } else { number(value) }
}

pub(super) fn executors(capacity: &Capacity) -> Vec<[String; 6]> {
    let row = |stop: &crate::capacity::predict::Stop| {
        [
            stop.name.clone(),
            latency(Some(stop.unloaded_ms)),
            latency(Some(stop.loaded_ms)),
            percent(stop.share_of_growth),
            stop.capacity_per_s.as_ref().map_or("–".into(), |capacity| interval(capacity, rate)),
            if stop.saturates_first { "saturates first".into() } else { String::new() },
        ]
    };
    capacity.models.executors.iter().map(row).collect()
}

pub(super) fn predictions(capacity: &Capacity) -> Vec<[String; 4]> {
    let row = |prediction: &crate::capacity::predict::Prediction| {
        [
            prediction.replicas.to_string(),
            rate(prediction.holds_per_s.value),
            interval(&prediction.holds_per_s, rate),
            match prediction.beyond {
                true => "extrapolated beyond twice the measured range".into(),
                false => String::new(),
            },
        ]
    };
    capacity.models.replicas.iter().map(row).collect()
}

/// Predicted response times at rates that were not measured.
pub(super) fn rates(capacity: &Capacity) -> Vec<[String; 4]> {
    let row = |prediction: &crate::capacity::predict::RatePrediction| {
        let show = |ms: f64| latency(Some(ms));
        let mean = prediction.mean_ms.as_ref();
        [
            rate(prediction.rate_per_s),
            mean.map_or("unbounded".into(), |mean| show(mean.value)),
            mean.map_or("–".into(), |mean| interval(mean, show)),
            match (mean, prediction.beyond) {
                (_, true) => "extrapolated beyond twice the measured range".into(),
                (None, _) => "the queue would grow without bound".into(),
                _ => String::new(),
            },
        ]
    };
    capacity.models.rates.iter().map(row).collect()
}
