//! Response times, throughput and Executors over load.

use std::borrow::Cow;

use crate::capacity::number::number;
use crate::capacity::result::Capacity;
use crate::capacity::search::Answer;
use crate::capacity::trials::{TrialSummary, Unit};
use crate::capacity::words::level;
use crate::metric::{Measure, Part, Statistic};
use crate::report::html::chart::{Axis, Shape, plot};
use crate::report::html::parts::{Figure, Mark};
use crate::report::words::{known, latency, percent, rate};
use crate::scenario::condition::Condition;

fn axis_of_levels(capacity: &Capacity, loads: &[&TrialSummary]) -> Axis {
    let levels = loads.iter().map(|trial| trial.level);
    let low = levels.clone().fold(f64::INFINITY, f64::min);
    let high = levels.fold(0.0, f64::max);
    let label = match capacity.unit {
        Unit::Rate => "offered load, requests/s",
        Unit::Clients => "clients",
    };
    Axis::log(low, high, number, label)
}

/// The edge: between the load that passes and the one that fails.
fn edge(capacity: &Capacity) -> Option<Shape> {
    let word = |held: f64| format!("sustains {}", level(held, capacity.unit));
    match capacity.answer {
        Answer::Edge { held, fails, .. } => {
            Some(Shape::Stretch(held, fails.unwrap_or(held), word(held)))
        }
        Answer::HoldsAtHigh { level } => Some(Shape::Stretch(level, level, word(level))),
        _ => None,
    }
}

pub(super) fn figures(capacity: &Capacity, loads: &[&TrialSummary]) -> Vec<Figure> {
    let mut figures = Vec::new();
    if loads.is_empty() {
        return figures;
    }
    let unit = capacity.unit;
    let x = axis_of_levels(capacity, loads);
    let timed: Vec<&TrialSummary> =
        loads.iter().copied().filter(|trial| trial.point.p50_ms.is_some()).collect();
    let times = |of: fn(&TrialSummary) -> Option<f64>| -> Vec<(f64, f64)> {
        timed.iter().filter_map(|trial| Some((trial.level, of(trial)?))).collect()
    };
    let (name, slow) = tail(capacity);
    let (p50, slowest) = (times(|trial| trial.point.p50_ms), times(slow));
    let limits: Vec<(f64, String)> = capacity
        .trials
        .first()
        .iter()
        .flat_map(|trial| &trial.objective)
        .filter(|judged| judged.unit == "ms")
        .filter_map(|judged| Some((limit_ms(&judged.that)?, judged.that.clone())))
        .collect();
    let all = p50.iter().chain(&slowest).map(|point| point.1).chain(limits.iter().map(|l| l.0));
    let (low, high) = (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max));
    if low.is_finite() {
        let y = Axis::log(low, high, |ms| latency(Some(ms)), "response time");
        let mut shapes: Vec<Shape> = edge(capacity).into_iter().collect();
        shapes.extend(limits.into_iter().map(|(limit, word)| Shape::Level(limit, word)));
        for (colour, points) in [(0, &p50), (1, &slowest)] {
            shapes.push(Shape::Curve(colour, points.clone()));
            shapes.push(Shape::Dots(colour, points.clone()));
        }
        figures.push(Figure {
            title: "Response time over load".into(),
            legend: Mark::Line.legend(["median", name]),
            svg: plot("Response time over load", &x, &y, &shapes),
            note: "The shaded range contains the capacity: loads to the left of it pass and \
                   loads to the right fail, with the stated confidence. Beyond it a queue grows, \
                   so times there depend on the length of the trial."
                .into(),
            head: ["Load", "Median", name].map(Cow::Borrowed).to_vec(),
            rows: timed
                .iter()
                .map(|trial| {
                    let point = &trial.point;
                    vec![level(trial.level, unit), latency(point.p50_ms), latency(slow(trial))]
                })
                .collect(),
            across: x.across(&timed.iter().map(|trial| trial.level).collect::<Vec<_>>()),
            ..Figure::default()
        });
    }
    let through = |of: fn(&TrialSummary) -> Option<f64>| -> Vec<(f64, f64)> {
        loads.iter().filter_map(|trial| Some((trial.level, of(trial)?))).collect()
    };
    let done = through(|trial| trial.point.throughput_per_s);
    let good = through(|trial| trial.point.goodput_per_s);
    let most = done.iter().chain(&good).map(|point| point.1).fold(0.0, f64::max);
    let y = Axis::from_zero(most, number, "requests/s");
    let mut shapes: Vec<Shape> = edge(capacity).into_iter().collect();
    for (colour, points) in [(0, &done), (1, &good)] {
        shapes.push(Shape::Curve(colour, points.clone()));
        shapes.push(Shape::Dots(colour, points.clone()));
    }
    figures.push(Figure {
        title: "Throughput over load".into(),
        legend: Mark::Line.legend(["throughput", "goodput"]),
        svg: plot("Throughput over load", &x, &y, &shapes),
        note:
            "Throughput counts all ok requests, goodput those that individually met the objective."
                .into(),
        head: ["Load", "Throughput", "Goodput"].map(Cow::Borrowed).to_vec(),
        rows: loads
            .iter()
            .map(|trial| {
                let point = &trial.point;
                vec![
                    level(trial.level, unit),
                    known(point.throughput_per_s, rate),
                    known(point.goodput_per_s, rate),
                ]
            })
            .collect(),
        across: x.across(&loads.iter().map(|trial| trial.level).collect::<Vec<_>>()),
        ..Figure::default()
    });
    figures.extend(executors_over_load(capacity, loads));
    figures
}

/// The percentile to draw next to the median: the one that the objective limits, or p99 if it
/// limits none of those that are kept.
fn tail(capacity: &Capacity) -> (&'static str, fn(&TrialSummary) -> Option<f64>) {
    let conditions = || capacity.objective.iter().filter_map(|that| that.parse::<Condition>().ok());
    let limits = |quantile: f64| {
        conditions().any(|condition| match condition.metric.measure {
            Measure::Latency(Part::Response, Statistic::Quantile(of)) => of.get() == quantile,
            _ => false,
        })
    };
    match limits(0.95) && !limits(0.99) {
        true => ("p95", |trial| trial.point.p95_ms),
        false => ("p99", |trial| trial.point.p99_ms),
    }
}

/// The limit of a condition such as `p99 < 100ms`, in ms.
fn limit_ms(that: &str) -> Option<f64> {
    let condition: Condition = that.parse().ok()?;
    Some(condition.limit).filter(|limit| *limit > 0.0)
}

fn executors_over_load(capacity: &Capacity, loads: &[&TrialSummary]) -> Option<Figure> {
    let told: Vec<&TrialSummary> =
        loads.iter().copied().filter(|trial| !trial.point.executors.is_empty()).collect();
    if told.len() < 2 {
        return None;
    }
    let names: Vec<String> =
        capacity.models.executors.iter().map(|stop| stop.name.clone()).collect();
    // A single Executor always has all of it.
    if names.len() < 2 {
        return None;
    }
    let time = |trial: &TrialSummary, name: &str| {
        let found = trial.point.executors.iter().find(|executor| executor.name == name);
        found.map(|executor| executor.mean_ms)
    };
    let share = |trial: &TrialSummary, name: &str| {
        let all: f64 = names.iter().filter_map(|name| time(trial, name)).sum();
        time(trial, name).filter(|_| all > 0.0).map(|ms| ms / all)
    };
    let x = axis_of_levels(capacity, &told);
    let y = Axis::from_zero(1.0, percent, "share of the time in Executors");
    let mut shapes: Vec<Shape> = edge(capacity).into_iter().collect();
    for (colour, name) in names.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            told.iter().filter_map(|trial| Some((trial.level, share(trial, name)?))).collect();
        shapes.push(Shape::Curve(colour, points.clone()));
        shapes.push(Shape::Dots(colour, points));
    }
    let mut head: Vec<Cow<'static, str>> = vec!["Load".into()];
    head.extend(names.iter().cloned().map(Cow::Owned));
    Some(Figure {
        title: "Executors over load".into(),
        legend: Mark::Line.legend(names.clone()),
        svg: plot("Executors over load", &x, &y, &shapes),
        note: "An Executor whose share grows with the load is the one that saturates.".into(),
        head,
        rows: told
            .iter()
            .map(|trial| {
                let mut row = vec![level(trial.level, capacity.unit)];
                row.extend(names.iter().map(|name| {
                    let share = share(trial, name).map_or("–".into(), percent);
                    format!("{share} ({})", latency(time(trial, name)))
                }));
                row
            })
            .collect(),
        across: x.across(&told.iter().map(|trial| trial.level).collect::<Vec<_>>()),
        ..Figure::default()
    })
}
