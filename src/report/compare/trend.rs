//! The report of a trend: its changes as a table, each metric as a chart.

use std::io;

use serde::Serialize;

use super::{change, shift, value};
use crate::compare::trend::{ChangePoint, LeftOut, Series, Trend, TrendResult};
use crate::report::escape::{markdown as text, markdown_code as code, markdown_cut};
use crate::report::html::parts::{Fact, Figure};
use crate::report::html::render;
use crate::report::words::{fit, machine, width, wrap};

/// Maximum width of a line.
const COLUMNS: usize = 80;

/// Bars of a one-line chart.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn terminal(trend: &Trend, color: bool, out: &mut dyn io::Write) -> io::Result<()> {
    for series in &trend.series {
        let name = fit(&format!("{}  {}", series.scenario, series.metric), COLUMNS);
        writeln!(out, "{name}")?;
        let newest = series.values.iter().flatten().last().copied();
        writeln!(out, "  {}  {}", line(series), value(series.unit, newest))?;
        for point in &series.changes {
            let code = if point.worse { 31 } else { 32 };
            let (on, off) =
                if color { (format!("\x1b[{code}m"), "\x1b[0m") } else { Default::default() };
            let text = format!(
                "{} {}: {} to {}, first in {} ({})",
                change(series.unit, point.change),
                direction(point),
                value(series.unit, Some(point.before)),
                value(series.unit, Some(point.after)),
                point.label,
                point.started_at.strftime("%F %H:%MZ")
            );
            for line in wrap(&text, COLUMNS - 2) {
                writeln!(out, "  {on}{line}{off}")?;
            }
        }
    }
    for left in &trend.left_out {
        for line in wrap(&format!("skipped: {}: {}", left.label, left.reason), COLUMNS) {
            writeln!(out, "{line}")?;
        }
    }
    for line in wrap(&sentence(trend), COLUMNS) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

pub(super) fn markdown(trend: &Trend, out: &mut dyn io::Write) -> io::Result<()> {
    let mut whole = Vec::new();
    markdown_whole(trend, &mut whole)?;
    out.write_all(markdown_cut(String::from_utf8_lossy(&whole).into_owned()).as_bytes())
}

fn markdown_whole(trend: &Trend, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "## {}: trend\n\n{}\n", text(&trend.suite), sentence(trend))?;
    let changes = changes(trend);
    if !changes.is_empty() {
        writeln!(out, "| scenario | metric | before | after | change | first result after it |")?;
        writeln!(out, "| --- | --- | ---: | ---: | ---: | --- |")?;
    }
    for row in changes {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} {} | {}, {} |",
            text(&row.scenario),
            code(&row.metric),
            row.before,
            row.after,
            row.change,
            if row.worse { "worse" } else { "better" },
            text(&row.label),
            row.at
        )?;
    }
    Ok(())
}

pub(super) fn html(trend: &Trend, out: &mut dyn io::Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Page<'a> {
        suite: &'a str,
        class: &'static str,
        title: String,
        sentence: String,
        effect_min: String,
        changes: Vec<Row>,
        figures: Vec<Figure>,
        left_out: &'a [LeftOut],
        facts: Vec<Fact>,
    }
    let changes = changes(trend);
    let figure = |series: &Series| {
        let rows = trend.results.iter().zip(&series.values).map(|(result, of)| {
            let shown = of.map_or("–".into(), |of| value(series.unit, Some(of)));
            vec![format!("{}, {}", result.label, result.started_at.strftime("%F %H:%MZ")), shown]
        });
        Figure {
            title: format!("{}: {}", series.scenario, series.metric).into(),
            svg: shift::series(series),
            wide: true,
            note: series.load.clone().into(),
            head: vec!["result".into(), series.metric.clone().into()],
            rows: rows.collect(),
            ..Figure::default()
        }
    };
    let page = Page {
        suite: &trend.suite,
        class: if changes.iter().any(|row| row.worse) { "unjudged" } else { "passed" },
        title: match changes.len() {
            0 => "No change".into(),
            1 => "1 change".into(),
            more => format!("{more} changes"),
        },
        sentence: sentence(trend),
        effect_min: format!("{:.0} %", trend.effect_min * 100.0),
        figures: trend.series.iter().map(figure).collect(),
        changes,
        left_out: &trend.left_out,
        facts: facts(trend),
    };
    render("trend.html", &page, out)
}

/// When and where the results were recorded.
fn facts(trend: &Trend) -> Vec<Fact> {
    let day = |result: &TrendResult| result.started_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let mut facts = Vec::new();
    if let (Some(first), Some(last)) = (trend.results.first(), trend.results.last()) {
        facts.push(Fact { name: "Measured", value: format!("{} to {}", day(first), day(last)) });
    }
    facts.push(Fact { name: "Machine", value: machine(&trend.environment) });
    facts
}

/// A change as a row of a table.
#[derive(Serialize)]
struct Row {
    scenario: String,
    metric: String,
    before: String,
    after: String,
    change: String,
    worse: bool,
    label: String,
    at: String,
}

fn changes(trend: &Trend) -> Vec<Row> {
    let row = |series: &Series, point: &ChangePoint| Row {
        scenario: series.scenario.clone(),
        metric: series.metric.clone(),
        before: value(series.unit, Some(point.before)),
        after: value(series.unit, Some(point.after)),
        change: change(series.unit, point.change),
        worse: point.worse,
        label: point.label.clone(),
        at: point.started_at.strftime("%F %H:%MZ").to_string(),
    };
    let rows = trend.series.iter();
    rows.flat_map(|series| series.changes.iter().map(|point| row(series, point))).collect()
}

fn direction(point: &ChangePoint) -> &'static str {
    if point.worse { "worse" } else { "better" }
}

fn sentence(trend: &Trend) -> String {
    let count: usize = trend.series.iter().map(|series| series.changes.len()).sum();
    let changes = match count {
        0 => "no lasting change".to_owned(),
        1 => "1 lasting change".to_owned(),
        more => format!("{more} lasting changes"),
    };
    let results = trend.results.len();
    let few = if results < 12 { " Fewer than twelve results show large changes only." } else { "" };
    let plural = if results == 1 { "" } else { "s" };
    format!(
        "{changes} of {:.0} % or more in {results} result{plural}.{few}",
        trend.effect_min * 100.0
    )
}

/// The newest results that fit in one line, on a scale from zero to the largest.
fn line(series: &Series) -> String {
    const ROOM: usize = COLUMNS - 16;
    let newest = &series.values[series.values.len().saturating_sub(ROOM)..];
    let most = newest.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: &Option<f64>| match value {
        None => ' ',
        Some(_) if most <= 0.0 => BARS[0],
        Some(value) => BARS[((value / most) * 7.0).round().clamp(0.0, 7.0) as usize],
    };
    let line: String = newest.iter().map(bar).collect();
    format!("{line}{:1$}", "", ROOM.min(newest.len()).saturating_sub(width(&line)))
}
