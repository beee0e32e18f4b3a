//! A comparison on the terminal: the gates, other changes, the shift of response times.

use std::io;

use super::{answer, around, change, confidence, guess, outcome, sentence, sizes, value};
use crate::compare::{Change, Comparison, ScenarioComparison, Verdict};
use crate::report::words::{fit, width, wrap};

/// Maximum width of a line.
const COLUMNS: usize = 80;

/// The columns after the name: heading and width.
const FIGURES: [(&str, usize); 4] =
    [("base", 10), ("candidate", 11), ("change", 11), ("interval", 24)];

/// Columns of the chart of the shift.
const CHART: usize = 52;

pub(super) fn write(
    comparison: &Comparison,
    color: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for scenario in &comparison.scenarios {
        self::scenario(scenario, color, out)?;
    }
    for warning in super::warnings(comparison) {
        for (index, line) in wrap(&warning, COLUMNS - 6).into_iter().enumerate() {
            writeln!(out, "{}{line}", if index == 0 { "note: " } else { "      " })?;
        }
    }
    write_verdict(comparison, color, out)
}

/// The last line: the verdict, and what it is based on.
pub(super) fn write_verdict(
    comparison: &Comparison,
    color: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let word = super::verdict(comparison);
    let text = format!(
        "{word}: {}. ({}; {} confidence intervals.)",
        answer(comparison),
        sizes(comparison),
        confidence(comparison)
    );
    for (index, line) in wrap(&text, COLUMNS).into_iter().enumerate() {
        match line.strip_prefix(word).filter(|_| index == 0) {
            Some(rest) => writeln!(out, "{}{rest}", painted(word, comparison.verdict, color))?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn scenario(scenario: &ScenarioComparison, color: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let name_width = COLUMNS - FIGURES.iter().map(|(_, width)| width).sum::<usize>();
    let name = fit(&scenario.name, name_width);
    write!(out, "{name}{:1$}", "", name_width - width(&name))?;
    for (heading, width) in FIGURES {
        write!(out, "{heading:>width$}")?;
    }
    writeln!(out)?;
    let gated = |change: &Change| {
        let gates = scenario.gates.iter().filter_map(|gate| gate.change.as_ref());
        gates.map(|gate| &gate.metric).any(|metric| *metric == change.metric)
    };
    for gate in &scenario.gates {
        if let Some(change) = &gate.change {
            row(&gate.gate, change, name_width, out)?;
        } else {
            writeln!(out, "{}", fit(&gate.gate, COLUMNS))?;
        }
        let word = outcome(gate);
        let text = format!("{word}: {}", sentence(gate));
        for (index, line) in wrap(&text, COLUMNS - 2).into_iter().enumerate() {
            match line.strip_prefix(word).filter(|_| index == 0) {
                Some(rest) => {
                    writeln!(out, "  {}{rest}", painted(word, Some(gate.verdict), color))?;
                }
                None => writeln!(out, "  {line}")?,
            }
        }
    }
    for change in scenario.changes.iter().filter(|change| !gated(change)) {
        row(&change.metric, change, name_width, out)?;
    }
    writeln!(out)?;
    shift(&scenario.shift, out)
}

fn row(name: &str, of: &Change, name_width: usize, out: &mut dyn io::Write) -> io::Result<()> {
    // A name that does not fit gets its own line.
    let mut name = fit(name, COLUMNS);
    if width(&name) > name_width {
        writeln!(out, "{name}")?;
        name.clear();
    }
    write!(out, "{name}{:1$}", "", name_width - width(&name))?;
    let figures = [value(of.unit, of.base), value(of.unit, of.candidate), guess(of), around(of)];
    for (text, (_, columns)) in figures.iter().zip(FIGURES) {
        write!(out, "{:1$}{text}", "", columns.saturating_sub(width(text)))?;
    }
    writeln!(out)
}

/// For each quantile, the position of the interval, relative to the line of no change.
fn shift(changes: &[Change], out: &mut dyn io::Write) -> io::Result<()> {
    let ends = |change: &Change| Some((change.low?, change.change?, change.high?));
    let (mut low, mut high) = (-0.01f64, 0.01f64);
    for (from, _, to) in changes.iter().filter_map(ends) {
        (low, high) = (low.min(from), high.max(to));
    }
    if changes.iter().filter_map(ends).next().is_none() {
        return Ok(());
    }
    let place = |change: f64| {
        ((change - low) / (high - low) * (CHART - 1) as f64).round().clamp(0.0, (CHART - 1) as f64)
            as usize
    };
    writeln!(out, "shift of response times, │ is no change")?;
    for of in changes {
        let Some((from, by, to)) = ends(of) else { continue };
        let mut line = vec![' '; CHART];
        line[place(0.0)] = '│';
        line[place(from)..=place(to)].fill('─');
        line[place(0.0)] = if from <= 0.0 && 0.0 <= to { '┼' } else { '│' };
        line[place(by)] = '●';
        let line: String = line.into_iter().collect();
        writeln!(out, "{:8}{:>10}  {}", of.metric, change(of.unit, by), line.trim_end())?;
    }
    writeln!(out)
}

fn painted(word: &str, verdict: Option<Verdict>, color: bool) -> String {
    let code = match verdict {
        Some(Verdict::Passed) => 32,
        Some(Verdict::Regressed) => 31,
        Some(Verdict::Inconclusive) => 33,
        None => 0,
    };
    if color { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.to_owned() }
}
