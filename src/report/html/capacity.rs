//! `capacity.html`: what a Flow holds, for those who decide at the top and for those who measure
//! below.

use std::borrow::Cow;
use std::io;

use serde::Serialize;

use super::chart::{Axis, Shape, plot};
use super::parts::{Fact, Figure, Key, Mark};
use crate::capacity::Estimate;
use crate::capacity::forecast::money;
use crate::capacity::result::{Capacity, Outcome, TrialSummary, Unit};
use crate::capacity::search::{Answer, Kind};
use crate::capacity::words::{condition, level, number};
use crate::report::words::{latency, percent, rate, time};

pub(in crate::report) fn write(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    super::render("capacity.html", &Page::new(capacity), out)
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
    executors: Vec<[String; 5]>,
    predictions: Vec<[String; 4]>,
    pareto: Option<Part>,
    plan: Option<Part>,
    trials: Vec<TrialRow>,
    facts: Vec<Fact>,
}

/// A section of one chart.
#[derive(Serialize)]
struct Part {
    words: String,
    figure: Figure,
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

/// Points at which a curve is drawn.
const CURVE_POINTS: usize = 80;

impl Page {
    fn new(capacity: &Capacity) -> Page {
        let unit = capacity.unit;
        let (class, headline) = match &capacity.answer {
            Answer::Edge { held, .. } => ("passed", format!("Holds {}", level(*held, unit))),
            Answer::HoldsAtHigh { level: high } => {
                ("passed", format!("Holds {} and more", level(*high, unit)))
            }
            Answer::FailsAtLow { level: low } => {
                ("failed", format!("Fails already at {}", level(*low, unit)))
            }
            Answer::Unclear { .. } => ("unjudged", "Cannot tell".into()),
        };
        let mut loads: Vec<&TrialSummary> = capacity
            .trials
            .iter()
            .filter(|trial| trial.kind != Kind::CoolDown && trial.outcome != Outcome::Invalid)
            .collect();
        loads.sort_by(|a, b| a.level.total_cmp(&b.level));
        // Of several trials at one load the longest says most.
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
            notes: capacity.notes.clone(),
            load: under_load(capacity, &loads),
            models: models(capacity, &loads),
            parameters: parameters(capacity),
            held_out: capacity.models.held_out.as_ref().map(|held_out| held_out.words.clone()),
            executors: executors(capacity),
            predictions: predictions(capacity),
            pareto: pareto(capacity),
            plan: plan(capacity),
            trials: capacity.trials.iter().map(|trial| row(trial, unit)).collect(),
            facts: facts(capacity),
        }
    }
}

fn key(capacity: &Capacity) -> Vec<Fact> {
    let unit = capacity.unit;
    let fact = |name, value| Fact { name, value };
    let mut facts = Vec::new();
    if let Some(held) = capacity.answer.held() {
        facts.push(fact("holds", level(held, unit)));
    }
    if let Answer::Edge { fails: Some(fails), .. } = capacity.answer {
        facts.push(fact("fails at", level(fails, unit)));
    }
    if let Some(knee) = capacity.knee {
        facts.push(fact("knee", level(knee, unit)));
    }
    for overload in &capacity.overload {
        let name = match overload.factor {
            f if f < 1.3 => "goodput at 120 %",
            f if f < 1.7 => "goodput at 150 %",
            _ => "goodput at 200 %",
        };
        facts.push(fact(name, rate(overload.goodput_per_s)));
    }
    if let Some(seconds) = capacity.recovered_s {
        facts.push(fact("recovers within", time(seconds)));
    }
    facts
}

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

/// Where the edge lies: between what holds and what fails.
fn edge(capacity: &Capacity) -> Option<Shape> {
    let word = |held: f64| format!("holds {}", level(held, capacity.unit));
    match capacity.answer {
        Answer::Edge { held, fails, .. } => {
            Some(Shape::Stretch(held, fails.unwrap_or(held), word(held)))
        }
        Answer::HoldsAtHigh { level } => Some(Shape::Stretch(level, level, word(level))),
        _ => None,
    }
}

fn under_load(capacity: &Capacity, loads: &[&TrialSummary]) -> Vec<Figure> {
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
    let (p50, p99) = (times(|trial| trial.point.p50_ms), times(|trial| trial.point.p99_ms));
    let limits: Vec<(f64, String)> = capacity
        .trials
        .first()
        .iter()
        .flat_map(|trial| &trial.objective)
        .filter(|judged| judged.unit == "ms")
        .filter_map(|judged| Some((limit_ms(&judged.that)?, judged.that.clone())))
        .collect();
    let all = p50.iter().chain(&p99).map(|point| point.1).chain(limits.iter().map(|l| l.0));
    let (low, high) = (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max));
    if low.is_finite() {
        let y = Axis::log(low, high, |ms| latency(Some(ms)), "response time");
        let mut shapes: Vec<Shape> = edge(capacity).into_iter().collect();
        shapes.extend(limits.into_iter().map(|(limit, word)| Shape::Level(limit, word)));
        for (colour, points) in [(0, &p50), (1, &p99)] {
            shapes.push(Shape::Curve(colour, points.clone()));
            shapes.push(Shape::Dots(colour, points.clone()));
        }
        figures.push(Figure {
            title: "Response time over load".into(),
            legend: Mark::Line.legend(["median", "p99"]),
            svg: plot("Response time over load", &x, &y, &shapes),
            note: "The shaded stretch is where the edge lies: what is left of it holds, what is right \
                   of it fails, each with the stated confidence. Beyond it a queue grows, and times \
                   tell of the length of the trial."
                .into(),
            head: ["Load", "Median", "p99"].map(Cow::Borrowed).to_vec(),
            rows: timed
                .iter()
                .map(|trial| {
                    let point = &trial.point;
                    vec![level(trial.level, unit), latency(point.p50_ms), latency(point.p99_ms)]
                })
                .collect(),
            across: x.across(&timed.iter().map(|trial| trial.level).collect::<Vec<_>>()),
            ..Figure::default()
        });
    }
    let through = |of: fn(&TrialSummary) -> f64| -> Vec<(f64, f64)> {
        loads.iter().map(|trial| (trial.level, of(trial))).collect()
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
            "Throughput is what came back, goodput what came back and met the objective by itself."
                .into(),
        head: ["Load", "Throughput", "Goodput"].map(Cow::Borrowed).to_vec(),
        rows: loads
            .iter()
            .map(|trial| {
                let point = &trial.point;
                vec![
                    level(trial.level, unit),
                    rate(point.throughput_per_s),
                    rate(point.goodput_per_s),
                ]
            })
            .collect(),
        across: x.across(&loads.iter().map(|trial| trial.level).collect::<Vec<_>>()),
        ..Figure::default()
    });
    figures.extend(executors_over_load(capacity, loads));
    figures
}

/// The limit of `p99 < 100ms` in ms.
fn limit_ms(that: &str) -> Option<f64> {
    let condition: crate::scenario::condition::Condition = that.parse().ok()?;
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

fn models(capacity: &Capacity, loads: &[&TrialSummary]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let balanced: Vec<&TrialSummary> =
        loads.iter().copied().filter(|trial| trial.is_balanced()).collect();
    let concurrency = |trial: &TrialSummary| match capacity.unit {
        Unit::Clients => trial.level,
        Unit::Rate => trial.point.throughput_per_s * trial.point.mean_ms.unwrap_or(0.0) / 1e3,
    };
    if let Some(usl) = &capacity.models.usl {
        let end = usl.measured[1] * 1.5;
        let x = Axis::from_zero(end, number, "requests in flight");
        let ns: Vec<f64> =
            (1..=CURVE_POINTS).map(|n| end * n as f64 / CURVE_POINTS as f64).collect();
        let predicted: Vec<Estimate> = ns.iter().map(|n| usl.predict(*n)).collect();
        let points: Vec<(f64, f64)> = balanced
            .iter()
            .map(|trial| (concurrency(trial), trial.point.throughput_per_s))
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
            .filter_map(|trial| Some((trial.point.throughput_per_s, trial.point.mean_ms?)))
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
                "Mean response time of an M/G/{} queue with the service of the unloaded run.",
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

/// A curve, and what was measured.
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

fn parameters(capacity: &Capacity) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    let mut row = |name: &str, estimate: &Estimate, show: fn(f64) -> String, meaning: &str| {
        rows.push([name.into(), show(estimate.value), interval(estimate, show), meaning.into()]);
    };
    if let Some(usl) = &capacity.models.usl {
        row("λ", &usl.lambda, rate, "what one request at a time would make");
        row(
            "σ",
            &usl.sigma,
            number,
            "contention: the share that waits for something there is one of",
        );
        row("κ", &usl.kappa, small, "coherency: what it costs that those at work have to agree");
    }
    if let Some(queue) = &capacity.models.queue {
        row("capacity", &queue.capacity_per_s, rate, "requests a second when all servers are busy");
        row("servers", &queue.servers, number, "requests that are worked on at a time");
        row("service", &queue.service_ms, |ms| latency(Some(ms)), "of one request in a server");
    }
    rows
}

/// A number that may be very small.
fn small(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.2e}") } else { number(value) }
}

fn executors(capacity: &Capacity) -> Vec<[String; 5]> {
    let row = |stop: &crate::capacity::predict::Stop| {
        [
            stop.name.clone(),
            latency(Some(stop.unloaded_ms)),
            latency(Some(stop.loaded_ms)),
            percent(stop.share_of_growth),
            if stop.saturates_first { "saturates first".into() } else { String::new() },
        ]
    };
    capacity.models.executors.iter().map(row).collect()
}

fn predictions(capacity: &Capacity) -> Vec<[String; 4]> {
    let row = |prediction: &crate::capacity::predict::Prediction| {
        [
            prediction.replicas.to_string(),
            rate(prediction.holds_per_s.value),
            interval(&prediction.holds_per_s, rate),
            match prediction.beyond {
                true => "beyond twice what was measured: a guess".into(),
                false => String::new(),
            },
        ]
    };
    capacity.models.replicas.iter().map(row).collect()
}

fn pareto(capacity: &Capacity) -> Option<Part> {
    let pareto = capacity.pareto.as_ref()?;
    let timed: Vec<_> = pareto.variants.iter().filter(|variant| variant.p99_ms.is_some()).collect();
    let at = |variant: &crate::capacity::pareto::Variant| {
        (variant.p99_ms.unwrap_or(0.0), variant.documents_per_s)
    };
    let times = timed.iter().map(|variant| at(variant).0);
    let (low, high) = (times.clone().fold(f64::INFINITY, f64::min), times.fold(0.0, f64::max));
    let most = timed.iter().map(|variant| variant.documents_per_s).fold(0.0, f64::max);
    let x = Axis::log(low, high, |ms| latency(Some(ms)), "p99 of the response time");
    let y = Axis::from_zero(most, number, "Documents/s");
    let mut front: Vec<(f64, f64)> =
        timed.iter().filter(|variant| variant.on_front).map(|variant| at(variant)).collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rest: Vec<(f64, f64)> =
        timed.iter().filter(|variant| !variant.on_front).map(|variant| at(variant)).collect();
    let shapes = [Shape::Curve(0, front.clone()), Shape::Dots(0, front), Shape::Dots(1, rest)];
    let head =
        ["Documents a request", "Connections", "Documents/s", "Requests/s", "Mean", "p99", ""];
    let rows: Vec<Vec<String>> = pareto
        .variants
        .iter()
        .enumerate()
        .map(|(index, variant)| {
            vec![
                variant.request_size.to_string(),
                variant.connections.to_string(),
                rate(variant.documents_per_s),
                rate(variant.requests_per_s),
                latency(variant.mean_ms),
                latency(variant.p99_ms),
                match (pareto.recommended == Some(index), variant.holds, variant.on_front) {
                    (true, ..) => "recommended".into(),
                    (_, false, _) => "does not hold".into(),
                    (_, _, true) => "on the front".into(),
                    _ => String::new(),
                },
            ]
        })
        .collect();
    let head = head.map(Cow::Borrowed).to_vec();
    let figure = Figure {
        title: "Documents against latency".into(),
        legend: vec![
            Key { name: "the front".into(), mark: Mark::Line },
            Key { name: "beaten by another".into(), mark: Mark::Dots },
        ],
        svg: plot("Documents against latency", &x, &y, &shapes),
        note: "Each point is the most that one combination holds. Of those on the front none is \
               better than another in every way."
            .into(),
        head: head.clone(),
        rows: rows.clone(),
        ..Figure::default()
    };
    Some(Part { words: pareto.words.clone(), figure, head, rows })
}

fn plan(capacity: &Capacity) -> Option<Part> {
    let plan = capacity.plan.as_ref()?;
    let at: Vec<f64> = (0..plan.steps.len()).map(|index| index as f64).collect();
    // A chart's ticks show numbers: months are counted from the first.
    let x =
        Axis::exact(0.0, at.last().copied().unwrap_or(1.0), 1.0, number, "steps of the forecast");
    let most = plan.steps.iter().map(|step| f64::from(step.with_spare)).fold(0.0, f64::max);
    let y = Axis::from_zero(most, number, "replicas");
    let stairs = |of: fn(&crate::capacity::forecast::Step) -> u32| -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let value = f64::from(of(step));
            if index > 0 {
                points
                    .push((index as f64, points.last().map_or(value, |last: &(f64, f64)| last.1)));
            }
            points.push((index as f64, value));
        }
        points
    };
    let shapes = [
        Shape::Level(f64::from(plan.replicas), "today".into()),
        Shape::Curve(0, stairs(|step| step.replicas)),
        Shape::Curve(1, stairs(|step| step.with_spare)),
    ];
    let head =
        ["From", "Peak", "Replicas", "With one to spare", "Cost an hour", "Per million Documents"];
    let rows: Vec<Vec<String>> = plan
        .steps
        .iter()
        .map(|step| {
            let price = |amount: Option<f64>| amount.map_or("–".into(), money);
            let guess = if step.beyond { " *" } else { "" };
            vec![
                step.from.to_string(),
                rate(step.per_s),
                format!("{}{guess}", step.replicas),
                step.with_spare.to_string(),
                price(step.cost_per_hour),
                price(step.cost_per_million),
            ]
        })
        .collect();
    let head = head.map(Cow::Borrowed).to_vec();
    let figure = Figure {
        title: "Replicas over time".into(),
        legend: Mark::Line.legend(["needed", "with one to spare"]),
        svg: plot("Replicas over time", &x, &y, &shapes),
        note: format!(
            "For the peak of each step with {} % of capacity to spare. An asterisk marks what lies \
             beyond twice the measured load.",
            number(plan.headroom * 100.0)
        )
        .into(),
        head: head.clone(),
        rows: rows.clone(),
        across: x.across(&at),
        ..Figure::default()
    };
    Some(Part { words: plan.words.clone(), figure, head, rows })
}

fn row(trial: &TrialSummary, unit: Unit) -> TrialRow {
    let kind = match trial.kind {
        Kind::Bracket => "bracket",
        Kind::Bisect => "bisect",
        Kind::Confirm => "confirm",
        Kind::Retest => "once more",
        Kind::Above => "must fail",
        Kind::Overload => "overload",
        Kind::CoolDown => "cool down",
    };
    let (verdict, class) = match trial.outcome {
        Outcome::Held => ("held", "passed"),
        Outcome::Failed => ("failed", "failed"),
        Outcome::Undecided => ("undecided", "unjudged"),
        Outcome::Invalid => ("not valid", "unjudged"),
        Outcome::Seen => ("seen", ""),
    };
    let judged = trial.outcome != Outcome::Seen;
    let conditions: Vec<String> = trial.objective.iter().map(condition).collect();
    TrialRow {
        level: level(trial.level, unit),
        kind,
        verdict,
        class,
        took: time(trial.seconds),
        throughput: rate(trial.point.throughput_per_s),
        p50: latency(trial.point.p50_ms),
        p99: latency(trial.point.p99_ms),
        failed: percent(trial.point.error_rate),
        excess: match trial.excess {
            excess if judged && excess < 1e6 => format!("{} %", number(excess * 100.0)),
            _ => "–".into(),
        },
        objective: conditions.join(", "),
        reasons: trial.reasons.clone(),
    }
}

fn facts(capacity: &Capacity) -> Vec<Fact> {
    let fact = |name, value| Fact { name, value };
    let environment = &capacity.environment;
    let cpu = environment.cpu.clone().unwrap_or_else(|| environment.arch.clone());
    vec![
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
    ]
}
