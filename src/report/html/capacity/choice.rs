//! Choices: request sizes and connections, and replicas over time.

use std::borrow::Cow;

use super::Part;
use crate::capacity::number::number;
use crate::capacity::result::Capacity;
use crate::capacity::words::{money, values};
use crate::report::capacity::combinations;
use crate::report::html::chart::{Axis, Shape, bars, plot};
use crate::report::html::parts::{Figure, Mark};
use crate::report::words::{known, latency, rate};

pub(super) fn pareto(capacity: &Capacity) -> Option<Part> {
    let pareto = capacity.pareto.as_ref()?;
    let at = |variant: &crate::capacity::pareto::Variant| {
        (variant.p99_ms.unwrap_or(0.0), variant.documents_per_s.unwrap_or(0.0))
    };
    let drawn = |variant: &&crate::capacity::pareto::Variant| {
        variant.p99_ms.is_some() && variant.documents_per_s.is_some()
    };
    let timed: Vec<_> = pareto.variants.iter().filter(drawn).collect();
    let times = timed.iter().map(|variant| at(variant).0);
    let (low, high) = (times.clone().fold(f64::INFINITY, f64::min), times.fold(0.0, f64::max));
    let most = timed.iter().map(|variant| at(variant).1).fold(0.0, f64::max);
    let x = Axis::log(low, high, |ms| latency(Some(ms)), "p99 of the response time");
    let y = Axis::from_zero(most, number, "Documents/s");
    let mut front: Vec<(f64, f64)> =
        timed.iter().filter(|variant| variant.on_front).map(|variant| at(variant)).collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    let others = |holds: bool| -> Vec<(f64, f64)> {
        let others = timed.iter().filter(|variant| !variant.on_front && variant.holds == holds);
        others.map(|variant| at(variant)).collect()
    };
    let (beaten, failing) = (others(true), others(false));
    let mut legend = Mark::Line.legend(["Pareto front"]);
    legend.extend(Mark::Dots.legend(["dominated", "fails the objective"]));
    let shapes = [
        Shape::Curve(0, front.clone()),
        Shape::Dots(0, front),
        Shape::Dots(1, beaten),
        Shape::Dots(2, failing),
    ];
    let head =
        ["Documents per request", "Connections", "Documents/s", "Requests/s", "Mean", "p99", ""];
    let rows: Vec<Vec<String>> = pareto
        .variants
        .iter()
        .enumerate()
        .map(|(index, variant)| {
            vec![
                variant.request_size.to_string(),
                variant.connections.to_string(),
                known(variant.documents_per_s, rate),
                known(variant.requests_per_s, rate),
                latency(variant.mean_ms),
                latency(variant.p99_ms),
                match (pareto.recommended == Some(index), variant.holds, variant.on_front) {
                    (true, ..) => "recommended".into(),
                    (_, false, _) => "fails the objective".into(),
                    (_, _, true) => "on the Pareto front".into(),
                    _ => String::new(),
                },
            ]
        })
        .collect();
    let head = head.map(Cow::Borrowed).to_vec();
    let figure = Figure {
        title: "Documents against latency".into(),
        legend,
        svg: plot("Documents against latency", &x, &y, &shapes),
        note: "Each point is the highest load that a combination sustains, or the lowest at \
               which it fails. No combination on the Pareto front is better than another in \
               every respect."
            .into(),
        head: head.clone(),
        rows: rows.clone(),
        ..Figure::default()
    };
    Some(Part { words: pareto.words.clone(), figure: Some(figure), head, rows })
}

pub(super) fn combinations(capacity: &Capacity) -> Option<Part> {
    let all = capacity.combinations.as_ref()?;
    let drawn: Vec<(String, Vec<Option<f64>>)> = all
        .rows
        .iter()
        .map(|row| {
            let name = values(row);
            (if name.is_empty() { row.scenario.clone() } else { name }, vec![row.held_per_s])
        })
        .collect();
    let most = drawn.iter().filter_map(|(_, held)| held[0]).fold(0.0, f64::max);
    let head: Vec<Cow<'static, str>> =
        combinations::head(all).into_iter().map(Cow::Borrowed).collect();
    let rows = combinations::rows(capacity, all);
    // With more bars than this, the table is clearer.
    let figure = (2..=12).contains(&drawn.len()).then(|| {
        let x = Axis::from_zero(most, rate, "requests/s");
        Figure {
            title: "What each combination sustains".into(),
            note: "Higher is better. The table has the costs.".into(),
            svg: bars("What each combination sustains", &x, &drawn, rate),
            legend: Mark::Bar.legend(["sustains"]),
            head: head.clone(),
            rows: rows.clone(),
            ..Figure::default()
        }
    });
    Some(Part { words: all.words.clone(), figure, head, rows })
}

pub(super) fn plan(capacity: &Capacity) -> Option<Part> {
    let plan = capacity.plan.as_ref()?;
    let day = |date: jiff::civil::Date| {
        let since = jiff::civil::date(1970, 1, 1).until(date).ok();
        since.map_or(0.0, |span| f64::from(span.get_days()))
    };
    let at: Vec<f64> = plan.steps.iter().map(|step| day(step.from)).collect();
    let marks = at.iter().zip(&plan.steps).map(|(at, step)| (*at, step.from.to_string()));
    let x = Axis::at(marks.collect(), "from");
    let most = plan.steps.iter().map(|step| f64::from(step.with_spare)).fold(0.0, f64::max);
    let y = Axis::from_zero(most, number, "replicas");
    let stairs = |of: fn(&crate::capacity::forecast::PlannedStep) -> u32| -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (at, step) in at.iter().zip(&plan.steps) {
            if let Some((_, before)) = points.last().copied() {
                points.push((*at, before));
            }
            points.push((*at, f64::from(of(step))));
        }
        points
    };
    let shapes = [
        Shape::Level(f64::from(plan.replicas), "today".into()),
        Shape::Curve(0, stairs(|step| step.replicas)),
        Shape::Curve(1, stairs(|step| step.with_spare)),
    ];
    let head =
        ["From", "Peak", "Replicas", "With one spare", "Cost per hour", "Per million Documents"];
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
    let drawn = || Figure {
        title: "Replicas over time".into(),
        legend: Mark::Line.legend(["needed", "with one spare"]),
        svg: plot("Replicas over time", &x, &y, &shapes),
        note: format!(
            "For the peak of each step with {} % of capacity to spare. An asterisk marks values \
             beyond twice the measured load.",
            number(plan.headroom * 100.0)
        )
        .into(),
        head: head.clone(),
        rows: rows.clone(),
        across: x.across(&at),
        ..Figure::default()
    };
    // A single day is not worth a chart.
    let figure = (plan.steps.len() > 1).then(drawn);
    Some(Part { words: plan.words.clone(), figure, head, rows })
}
