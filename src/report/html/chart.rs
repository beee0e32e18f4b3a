//! SVG charts for a page in light and dark, on a phone and in print.
//!
//! The page's CSS classes set the colours, so one drawing works in both themes. The page's script
//! shows values on hover, and next to each chart is a table of its numbers.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use crate::report::escape::xml;
use crate::report::words::plain;

/// Size of a drawing in CSS pixels.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Number of line colours; the sixth and later lines repeat them. The page gives each one a colour
/// and a dash pattern.
const COLOURS: usize = 5;

/// An axis: what it measures, and its range.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    ticks: Vec<(f64, String)>,
    label: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Scale {
    Linear { from: f64, to: f64 },
    Log { from: f64, to: f64 },
}

/// A line of a chart, with gaps where there is no value.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: Cow<'static, str>,
    pub(super) values: Vec<Option<f64>>,
}

/// Formats a value.
pub(super) type Show = fn(f64) -> String;

impl Axis {
    /// From zero to at least `to`, with round ticks.
    pub(super) fn from_zero(to: f64, show: Show, label: &'static str) -> Axis {
        let to = if to.is_finite() && to > 0.0 { to } else { 1.0 };
        let step = round_step(to / 4.0);
        let count = (to / step - 1e-9).ceil().max(1.0) as usize;
        let ticks = (0..=count).map(|n| n as f64 * step).map(|tick| (tick, show(tick))).collect();
        Axis { scale: Scale::Linear { from: 0.0, to: count as f64 * step }, ticks, label }
    }

    /// From zero to at least `to` bytes, with ticks that are round in KiB, MiB and so on.
    pub(super) fn of_bytes(to: f64, show: Show, label: &'static str) -> Axis {
        let to = if to.is_finite() && to > 0.0 { to } else { 1.0 };
        let step = (to / 4.0).log2().ceil().max(0.0).exp2();
        let count = (to / step - 1e-9).ceil().max(1.0) as usize;
        let ticks = (0..=count).map(|n| n as f64 * step).map(|tick| (tick, show(tick))).collect();
        Axis { scale: Scale::Linear { from: 0.0, to: count as f64 * step }, ticks, label }
    }

    /// Exactly from `from` to `to`, with ticks at round multiples of `unit`.
    pub(super) fn exact(from: f64, to: f64, unit: f64, show: Show, label: &'static str) -> Axis {
        let to = if to > from { to } else { from + unit };
        let step = round_step((to - from) / unit / 5.0);
        let first = (from / unit / step).ceil() as i64;
        let last = (to / unit / step + 1e-9).floor() as i64;
        let marks = (first..=last).map(|n| n as f64 * step);
        let ticks = marks.map(|mark| (mark * unit, show(mark))).collect();
        Axis { scale: Scale::Linear { from, to }, ticks, label }
    }

    /// From the first to the last of these ascending values, with ticks at some of them.
    pub(super) fn at(marks: Vec<(f64, String)>, label: &'static str) -> Axis {
        const TICKS_MAX: usize = 6;
        let from = marks.first().map_or(0.0, |mark| mark.0);
        let to = marks.last().map_or(0.0, |mark| mark.0);
        let to = if to > from { to } else { from + 1.0 };
        let every = marks.len().div_ceil(TICKS_MAX).max(1);
        let ticks = marks.into_iter().step_by(every).collect();
        Axis { scale: Scale::Linear { from, to }, ticks, label }
    }

    /// Powers of ten around `from` and `to`, with 2 and 5 in between if there is room.
    pub(super) fn log(from: f64, to: f64, show: Show, label: &'static str) -> Axis {
        let from = if from > 0.0 && from.is_finite() { from } else { 1e-3 };
        let to = if to > from && to.is_finite() { to } else { from * 10.0 };
        let steps = [1.0, 2.0, 5.0];
        let lowest = from.log10().floor() as i32;
        let mut marks: Vec<f64> = (lowest..lowest + 14)
            .flat_map(|power| steps.map(|step| step * 10f64.powi(power)))
            .collect();
        let first = marks.iter().rposition(|mark| *mark <= from * 1.000_001).unwrap_or(0);
        let first = first.min(marks.len() - 2);
        let last = marks.iter().position(|mark| *mark >= to * 0.999_999).unwrap_or(marks.len() - 1);
        marks = marks[first..=last.max(first + 1)].to_vec();
        let (from, to) = (marks[0], marks[marks.len() - 1]);
        let power = |mark: f64| (mark.log10() - mark.log10().round()).abs() < 1e-6;
        let many = marks.len() > 6;
        let ticks = marks.into_iter().filter(|mark| !many || power(*mark));
        Axis {
            scale: Scale::Log { from, to },
            ticks: ticks.map(|tick| (tick, show(tick))).collect(),
            label,
        }
    }

    /// Quantiles on a scale where each nine takes the same space: 0, 90 %, 99 %, 99.9 % … Positions
    /// are `1 / (1 − quantile)`. The last tick is before `last`, and the maximum is at `end`.
    pub(super) fn nines(last: f64, end: f64) -> Axis {
        let mut ticks = vec![(1.0, "0".to_owned()), (2.0, "50".to_owned())];
        for nines in 1..=6 {
            let text = match nines {
                1 => "90".to_owned(),
                2 => "99".to_owned(),
                more => format!("99.{}", "9".repeat(more - 2)),
            };
            ticks.push((10f64.powi(nines as i32), text));
        }
        // A tick close to the end would overlap it.
        ticks.retain(|(at, _)| *at <= last * 1.001);
        ticks.push((end, "max".to_owned()));
        Axis { scale: Scale::Log { from: 1.0, to: end }, ticks, label: "percentile" }
    }

    /// Position of a value, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        share.clamp(0.0, 1.0)
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// Horizontal positions of values in units of the drawing, for the page's script.
    pub(super) fn across(&self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|value| (self.x(*value) * 10.0).round() / 10.0).collect()
    }
}

/// Smallest round number not below `step`: 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// Lines over a common x axis.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, at: &[f64], lines: &[Line]) -> String {
    let mut svg = frame(title, x, y);
    for (index, line) in lines.iter().enumerate() {
        let path = path(x, y, at, &line.values);
        let points = line.values.iter().flatten().count();
        let colour = index % COLOURS;
        let _ = write!(svg, r#"<path class="line c{colour}" d="{path}"/>"#);
        // A line with a single point would be invisible.
        if points == 1
            && let Some((at, Some(value))) = at.iter().zip(&line.values).find(|(_, v)| v.is_some())
        {
            let (cx, cy) = (short(x.x(*at)), short(y.y(*value)));
            let _ = write!(svg, r#"<circle class="dot c{colour}" cx="{cx}" cy="{cy}" r="3"/>"#);
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Path of a line; it is interrupted at gaps.
fn path(x: &Axis, y: &Axis, at: &[f64], values: &[Option<f64>]) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (at, value) in at.iter().zip(values) {
        if let Some(value) = value {
            let command = if pen_down { 'L' } else { 'M' };
            let _ = write!(path, "{command}{} {}", short(x.x(*at)), short(y.y(*value)));
        }
        pen_down = value.is_some();
    }
    path
}

/// A shape given by values of both axes. Shapes need not share values.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A line through points, in a colour.
    Curve(usize, Vec<(f64, f64)>),
    /// Separate points.
    Dots(usize, Vec<(f64, f64)>),
    /// The area between two lines: x, from, to.
    Area(usize, Vec<(f64, f64, f64)>),
    /// A labelled horizontal line across the whole chart.
    Level(f64, String),
    /// A labelled range of x over the whole height.
    Stretch(f64, f64, String),
}

/// Width of a letter and height of a line of text in a chart.
const LETTER: f64 = 6.5;
const LINE: f64 = 14.0;

/// How often lines and dots touch a rectangle of the drawing, checked in steps along each line.
fn crossings(x: &Axis, y: &Axis, shapes: &[Shape], across: Range<f64>, down: Range<f64>) -> usize {
    const STEPS: usize = 32;
    let inside = |(at, height): (f64, f64)| across.contains(&at) && down.contains(&height);
    let place = |(at, value): &(f64, f64)| (x.x(*at), y.y(*value));
    let touched = |shape: &Shape| match shape {
        Shape::Curve(_, points) => {
            let pieces = points.windows(2).map(|pair| (place(&pair[0]), place(&pair[1])));
            pieces
                .flat_map(|(a, b)| {
                    (0..=STEPS).map(move |step| {
                        let part = step as f64 / STEPS as f64;
                        (a.0 + (b.0 - a.0) * part, a.1 + (b.1 - a.1) * part)
                    })
                })
                .filter(|place| inside(*place))
                .count()
        }
        Shape::Dots(_, points) => points.iter().filter(|point| inside(place(point))).count(),
        Shape::Level(value, _) => usize::from(down.contains(&y.y(*value))),
        Shape::Area(..) | Shape::Stretch(..) => 0,
    };
    shapes.iter().map(touched).sum()
}

/// Shapes on top of each other, the first at the back.
pub(super) fn plot(title: &str, x: &Axis, y: &Axis, shapes: &[Shape]) -> String {
    let mut svg = frame(title, x, y);
    // Text goes on top of everything else.
    let mut words = String::new();
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for shape in shapes {
        match shape {
            Shape::Curve(colour, points) => {
                let mut path = String::new();
                for (index, (at, value)) in points.iter().enumerate() {
                    let command = if index == 0 { 'M' } else { 'L' };
                    let _ = write!(path, "{command}{} {}", short(x.x(*at)), short(y.y(*value)));
                }
                let _ = write!(svg, r#"<path class="line c{}" d="{path}"/>"#, colour % COLOURS);
            }
            Shape::Dots(colour, points) => {
                for (at, value) in points {
                    let (cx, cy) = (short(x.x(*at)), short(y.y(*value)));
                    let colour = colour % COLOURS;
                    let _ = write!(
                        svg,
                        r#"<circle class="dot c{colour}" cx="{cx}" cy="{cy}" r="3.5"/>"#
                    );
                }
            }
            Shape::Area(colour, points) => {
                let mut path = String::new();
                let there = points.iter().map(|(at, _, to)| (at, to));
                let back = points.iter().rev().map(|(at, from, _)| (at, from));
                for (index, (at, value)) in there.chain(back).enumerate() {
                    let command = if index == 0 { 'M' } else { 'L' };
                    let _ = write!(path, "{command}{} {}", short(x.x(*at)), short(y.y(*value)));
                }
                let _ = write!(svg, r#"<path class="area c{}" d="{path}z"/>"#, colour % COLOURS);
            }
            Shape::Level(value, word) => {
                let at = y.y(*value);
                let _ = write!(svg, r#"<path class="limit" d="M{LEFT} {}H{right}"/>"#, short(at));
                let _ = write!(
                    words,
                    r#"<text class="name" x="{}" y="{}">{}</text>"#,
                    LEFT + 6.0,
                    short(if at < TOP + 18.0 { at + 15.0 } else { at - 5.0 }),
                    escaped(word)
                );
            }
            Shape::Stretch(from, to, word) => {
                let (left, width) = (x.x(*from), (x.x(*to) - x.x(*from)).max(2.0));
                // Next to it, on the side with more room, below or wherever fewer lines cross.
                let long = word.chars().count() as f64 * LETTER;
                let (at, anchor, begin) = match left > (LEFT + right) / 2.0 {
                    true => (left - 4.0, "end", left - 4.0 - long),
                    false => (left + width + 4.0, "start", left + width + 4.0),
                };
                let heights = [bottom - 6.0, TOP + 14.0, (TOP + bottom) / 2.0];
                let under = |height: &f64| {
                    let top = height - LINE;
                    crossings(x, y, shapes, begin..begin + long, top..height + 4.0)
                };
                let height = heights.into_iter().min_by_key(under).unwrap_or(heights[0]);
                let _ = write!(
                    svg,
                    r#"<rect class="stretch" x="{}" y="{TOP}" width="{}" height="{}"/>"#,
                    short(left),
                    short(width),
                    short(bottom - TOP)
                );
                let _ = write!(
                    words,
                    r#"<text class="name" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
                    short(at),
                    short(height),
                    escaped(word)
                );
            }
        }
    }
    svg.push_str(&words);
    svg.push_str("</svg>");
    svg
}

/// A heat map: darker cells have more values. `cells` has columns from left to right, and in each
/// the cells in ascending order: from, to, count.
pub(super) fn heat_map(
    title: &str,
    x: &Axis,
    y: &Axis,
    columns: &[(f64, f64)],
    cells: &[Vec<(f64, f64, u64)>],
    over: &[Line],
) -> String {
    /// Number of shades, each for about twice the count of the one before.
    const SHADES: usize = 6;
    let most = cells.iter().flatten().map(|(_, _, count)| *count).max().unwrap_or(1).max(1);
    let shade = |count: u64| {
        // Logarithmic, so that a single slow request is visible next to ten thousand fast ones.
        let share = (count as f64 + 1.0).ln() / (most as f64 + 1.0).ln();
        ((share * SHADES as f64).ceil() as usize).clamp(1, SHADES)
    };
    let mut paths = vec![String::new(); SHADES + 1];
    for ((from, to), column) in columns.iter().zip(cells) {
        let (left, width) = (x.x(*from), x.x(*to) - x.x(*from));
        for (low, high, count) in column {
            let (top, height) = (y.y(*high), y.y(*low) - y.y(*high));
            let path = &mut paths[shade(*count)];
            let (left, top) = (short(left), short(top));
            // Slightly larger than the cell, so that no gaps show.
            let (width, height) = (short(width + 0.3), short(height.max(1.0) + 0.3));
            let _ = write!(path, "M{left} {top}h{width}v{height}h-{width}z");
        }
    }
    let mut svg = frame(title, x, y);
    for (shade, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let _ = write!(svg, r#"<path class="heat h{shade}" d="{path}"/>"#);
    }
    let middles: Vec<f64> = columns.iter().map(|(from, to)| (from + to) / 2.0).collect();
    // Each line is on top of a wider one in the background colour, to be visible on dark cells.
    for (index, line) in over.iter().enumerate() {
        let path = path(x, y, &middles, &line.values);
        let colour = index % COLOURS;
        let _ = write!(
            svg,
            r#"<path class="over-heat" d="{path}"/><path class="line c{colour}" d="{path}"/>"#
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Horizontal bars in groups: a row for each name, a bar for each series.
pub(super) fn bars(
    title: &str,
    x: &Axis,
    rows: &[(String, Vec<Option<f64>>)],
    show: Show,
) -> String {
    const BAR: f64 = 15.0;
    const NAME: f64 = 16.0;
    const GAP: f64 = 10.0;
    let series = rows.iter().map(|(_, values)| values.len()).max().unwrap_or(1);
    let row = NAME + BAR * series as f64 + GAP;
    let height = TOP + row * rows.len() as f64 + 4.0;
    let mut svg = open(title, height);
    // Room for the value after the longest bar.
    let room = WIDTH - RIGHT - 70.0;
    for (index, (name, values)) in rows.iter().enumerate() {
        let top = TOP + row * index as f64;
        let _ = write!(
            svg,
            r#"<text class="name" x="4" y="{}">{}</text>"#,
            short(top + 10.0),
            escaped(name)
        );
        for (series, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (y, width) = (top + NAME + BAR * series as f64, x.place(*value) * room);
            let _ = write!(
                svg,
                r#"<rect class="bar c{}" x="4" y="{}" width="{}" height="{}"/><text class="value" x="{}" y="{}">{}</text>"#,
                series % COLOURS,
                short(y),
                short(width.max(1.0)),
                BAR - 2.0,
                short(width + 10.0),
                short(y + BAR - 4.5),
                escaped(&show(*value))
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// A bar of a waterfall: start and end as shares from 0 to 1, and the text after it.
pub(super) type Hop = (f64, f64, String);

/// Bars that start where the previous one ends, in groups: a row for each name, a bar for each
/// series.
pub(super) fn waterfall(title: &str, rows: &[(String, Vec<Hop>)]) -> String {
    const BAR: f64 = 15.0;
    const GAP: f64 = 9.0;
    const NAMES: f64 = 140.0;
    /// Room for the text after the longest bar.
    const TEXT: f64 = 112.0;
    let series = rows.iter().map(|(_, steps)| steps.len()).max().unwrap_or(1) as f64;
    let row = BAR * series + GAP;
    let bottom = TOP + row * rows.len() as f64;
    let x = |share: f64| NAMES + share.clamp(0.0, 1.0) * (WIDTH - NAMES - TEXT);
    let mut svg = open(title, bottom + 20.0);
    let mut grid = String::new();
    for percent in [0, 25, 50, 75, 100] {
        let at = short(x(f64::from(percent) / 100.0));
        let _ = write!(grid, "M{at} {TOP}V{}", short(bottom));
        let _ = write!(
            svg,
            r#"<text class="tick" x="{at}" y="{}" text-anchor="middle">{percent} %</text>"#,
            short(bottom + 15.0)
        );
    }
    let _ = write!(svg, r#"<path class="grid" d="{grid}"/>"#);
    for (index, (name, steps)) in rows.iter().enumerate() {
        let top = TOP + row * index as f64 + GAP / 2.0;
        let middle = top + BAR * series / 2.0 + 4.0;
        let _ = write!(
            svg,
            r#"<text class="name" x="{}" y="{}" text-anchor="end">{}</text>"#,
            NAMES - 8.0,
            short(middle),
            escaped(&crate::report::words::fit(name, 20))
        );
        for (series, (from, to, text)) in steps.iter().enumerate() {
            let (left, right) = (x(*from), x(*to));
            let y = top + BAR * series as f64;
            let _ = write!(
                svg,
                r#"<rect class="bar c{}" x="{}" y="{}" width="{}" height="{}"/><text class="value" x="{}" y="{}">{}</text>"#,
                series % COLOURS,
                short(left),
                short(y),
                short((right - left).max(1.0)),
                BAR - 2.0,
                short(right + 5.0),
                short(y + BAR - 4.0),
                escaped(text)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Axes, grid and labels.
fn frame(title: &str, x: &Axis, y: &Axis) -> String {
    let mut svg = open(title, HEIGHT);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut grid = String::new();
    for (value, text) in &y.ticks {
        let at = short(y.y(*value));
        let _ = write!(grid, "M{LEFT} {at}H{right}");
        let _ = write!(
            svg,
            r#"<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            short(y.y(*value) + 4.0),
            escaped(text)
        );
    }
    let mut last = f64::NEG_INFINITY;
    for (value, text) in &x.ticks {
        let at = x.x(*value);
        let _ = write!(grid, "M{} {TOP}V{bottom}", short(at));
        // About the width of the text; labels must not overlap.
        let half = text.chars().count() as f64 * 3.6;
        if at - half < last + 4.0 {
            continue;
        }
        last = at + half;
        let anchor = if at + half > WIDTH { "end" } else { "middle" };
        let at = if anchor == "end" { WIDTH } else { at };
        let _ = write!(
            svg,
            r#"<text class="tick" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            short(at),
            bottom + 15.0,
            escaped(text)
        );
    }
    let _ = write!(svg, r#"<path class="grid" d="{grid}"/>"#);
    let _ = write!(
        svg,
        r#"<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>"#,
        (LEFT + right) / 2.0,
        HEIGHT - 4.0,
        escaped(x.label)
    );
    let _ = write!(
        svg,
        r#"<text class="axis" transform="translate(11 {}) rotate(-90)" text-anchor="middle">{}</text>"#,
        (TOP + bottom) / 2.0,
        escaped(y.label)
    );
    svg
}

fn open(title: &str, height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {}" role="img" aria-label="{}">"#,
        short(height),
        escaped(title)
    )
}

/// A coordinate, rounded to a tenth.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Text in a drawing, on one line.
fn escaped(text: &str) -> String {
    xml(&plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn plain(value: f64) -> String {
        format!("{}", (value * 1000.0).round() / 1000.0)
    }

    #[test]
    fn axes_have_round_ticks() {
        assert_eq!(ticks(&Axis::from_zero(930.0, plain, "")), ["0", "500", "1000"]);
        assert_eq!(ticks(&Axis::from_zero(0.8, plain, "")), ["0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(ticks(&Axis::exact(0.0, 30.0, 1.0, plain, "")), ["0", "10", "20", "30"]);
        assert_eq!(
            ticks(&Axis::exact(0.0, 5400.0, 60.0, plain, "")),
            ["0", "20", "40", "60", "80"]
        );
        assert_eq!(ticks(&Axis::log(1.5, 40.0, plain, "")), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(ticks(&Axis::log(0.15, 900.0, plain, "")), ["0.1", "1", "10", "100", "1000"]);
        let months = (0..13).map(|month| (f64::from(month), month.to_string())).collect();
        assert_eq!(ticks(&Axis::at(months, "")), ["0", "3", "6", "9", "12"]);
        assert_eq!(ticks(&Axis::nines(1200.0, 2400.0)), ["0", "50", "90", "99", "99.9", "max"]);
        // 300 requests support percentiles up to p97.8.
        assert_eq!(ticks(&Axis::nines(45.0, 90.0)), ["0", "50", "90", "max"]);
    }

    #[test]
    fn an_axis_without_any_values_is_still_one() {
        for axis in [Axis::from_zero(f64::NAN, plain, ""), Axis::exact(0.0, 0.0, 1.0, plain, "")] {
            assert!(axis.ticks.len() > 1);
        }
        assert_eq!(ticks(&Axis::at(vec![(3.0, "once".into())], "")), ["once"]);
        assert!(Axis::log(0.0, 0.0, plain, "").ticks.len() > 1);
        assert!(Axis::log(f64::INFINITY, 0.0, plain, "").ticks.len() > 1);
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let x = Axis::exact(0.0, 3.0, 1.0, plain, "");
        let y = Axis::from_zero(1.0, plain, "");
        let values = vec![Some(1.0), None, Some(1.0), Some(0.0)];
        let svg = lines("t", &x, &y, &[0.0, 1.0, 2.0, 3.0], &[Line { name: "n".into(), values }]);
        let path = svg.split(r#"class="line c0" d=""#).nth(1).unwrap();
        assert_eq!(path.split('"').next().unwrap(), "M78 12M363.3 12L506 210");
    }

    #[test]
    fn names_are_data_and_never_markup() {
        let rows = [("<script>alert(1)</script>".to_owned(), vec![Some(1.0)])];
        let svg = bars("\"><b>", &Axis::from_zero(1.0, plain, ""), &rows, plain);
        assert!(!svg.contains("<script>") && !svg.contains("<b>"));
    }
}
