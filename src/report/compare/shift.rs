//! Drawings of comparisons: the shift of response times with its intervals, and a metric over many
//! results. The page sets the colours, so one drawing works in light and dark. Next to each is a
//! table of its numbers.

use std::fmt::Write as _;

use super::{signed, value};
use crate::compare::Change;
use crate::compare::trend::Series;
use crate::report::escape::xml;
use crate::report::words::fit;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 82.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// A vertical axis between two values, with ticks at round numbers.
struct Axis {
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Axis {
    fn new(from: f64, to: f64) -> Axis {
        let room = (to - from).max(1e-9);
        let rough = room / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|step| step * power)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * power);
        let (first, last) = ((from / step).floor() as i64, (to / step).ceil() as i64);
        let marks: Vec<f64> = (first..=last).map(|mark| mark as f64 * step).collect();
        Axis { from: first as f64 * step, to: last as f64 * step, marks }
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, show: impl Fn(f64) -> String, svg: &mut String) {
        for mark in &self.marks {
            let y = self.y(*mark);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                show(*mark)
            );
        }
    }
}

/// Opens a drawing. Screen readers read `label` instead of it; it must not contain markup.
fn open(label: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">"#)
}

/// The change of each quantile with its interval, if there is anything to draw.
pub(super) fn shift(changes: &[Change]) -> Option<String> {
    let known: Vec<(&Change, [f64; 3])> =
        changes.iter().filter_map(|of| Some((of, [of.low?, of.change?, of.high?]))).collect();
    if known.is_empty() {
        return None;
    }
    let low = known.iter().map(|(_, [low, ..])| *low).fold(0.0, f64::min);
    let high = known.iter().map(|(_, [.., high])| *high).fold(0.0, f64::max);
    let axis = Axis::new(low.min(-0.01), high.max(0.01));
    let mut svg = open("change of response time by percentile, with intervals");
    axis.draw(|mark| format!("{} %", signed("ms", mark)), &mut svg);
    let step = (WIDTH - LEFT - RIGHT) / known.len() as f64;
    let x = |index: usize| LEFT + (index as f64 + 0.5) * step;
    let points = |value: fn(&(&Change, [f64; 3])) -> f64| {
        let at = known.iter().enumerate();
        at.map(|(index, known)| format!("{:.1} {:.1}", x(index), axis.y(value(known)))).collect()
    };
    let upper: Vec<String> = points(|known| known.1[2]);
    let mut lower: Vec<String> = points(|known| known.1[0]);
    lower.reverse();
    let middle: Vec<String> = points(|known| known.1[1]);
    let _ = write!(
        svg,
        r#"<path class="band c0" d="M{}L{}Z"/><path class="zero" d="M{LEFT} {zero:.1}H{:.1}"/><path class="line c0" d="M{}"/>"#,
        upper.join("L"),
        lower.join("L"),
        WIDTH - RIGHT,
        middle.join("L"),
        zero = axis.y(0.0),
    );
    for (index, (change, [low, by, high])) in known.iter().enumerate() {
        let (x, y) = (x(index), axis.y(*by));
        let _ = write!(
            svg,
            r#"<path class="whisker c0" d="M{x:.1} {:.1}V{:.1}"/><circle class="dot c0" cx="{x:.1}" cy="{y:.1}" r="4"><title>{}: {} %, {} … {} %</title></circle><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            axis.y(*low),
            axis.y(*high),
            change.metric,
            signed("ms", *by),
            signed("ms", *low),
            signed("ms", *high),
            HEIGHT - BOTTOM + 20.0,
            change.metric
        );
    }
    labels(&mut svg, "percentile of the response time", "change");
    svg.push_str("</svg>");
    Some(svg)
}

/// A metric over all results: one dot each, and a line at the median between changes.
pub(super) fn series(series: &Series) -> String {
    let known = || series.values.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?)));
    let most = known().map(|(_, value)| value).fold(0.0, f64::max);
    if known().next().is_none() {
        return String::new();
    }
    let axis = Axis::new(0.0, if most > 0.0 { most } else { 1.0 });
    let mut svg = open("values over all results, and the medians between changes");
    axis.draw(|mark| value(series.unit, Some(mark)), &mut svg);
    let step = (WIDTH - LEFT - RIGHT) / series.values.len() as f64;
    let x = |at: f64| LEFT + at * step;
    for (at, of) in known() {
        let _ = write!(
            svg,
            r#"<circle class="dot c0" cx="{:.1}" cy="{:.1}" r="3"><title>{}. {}</title></circle>"#,
            x(at as f64 + 0.5),
            axis.y(of),
            at + 1,
            value(series.unit, Some(of))
        );
    }
    let mut level = |from: usize, to: usize, median: f64| {
        let y = axis.y(median);
        let _ = write!(
            svg,
            r#"<path class="line c1" d="M{:.1} {y:.1}H{:.1}"/>"#,
            x(from as f64),
            x(to as f64)
        );
    };
    let mut from = 0;
    for change in &series.changes {
        level(from, change.index, change.before);
        from = change.index;
    }
    if let Some(last) = series.changes.last() {
        level(from, series.values.len(), last.after);
    }
    for change in &series.changes {
        let x = x(change.index as f64);
        let _ = write!(svg, r#"<path class="cut" d="M{x:.1} {TOP}V{:.1}"/>"#, HEIGHT - BOTTOM);
    }
    labels(&mut svg, "result, oldest first", &series.metric);
    svg.push_str("</svg>");
    svg
}

/// What the axes are. A metric is text of a user.
fn labels(svg: &mut String, across: &str, up: &str) {
    let _ = write!(
        svg,
        r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="axis" transform="translate(12 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 4.0,
        xml(across),
        f64::midpoint(TOP, HEIGHT - BOTTOM),
        xml(&fit(up, 40))
    );
}
