//! A capacity search on the terminal: the answer and its consequences.

use std::io;

use super::combinations;
use crate::capacity::result::Capacity;
use crate::capacity::words;
use crate::report::words::{plain, whole_numbers, wrap};

/// Maximum width of a line.
const COLUMNS: usize = 100;

pub(super) fn write(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    write_answer(capacity, out)?;
    if let Some(all) = capacity.combinations.as_ref().filter(|all| all.rows.len() > 1) {
        let head = combinations::head(all).into_iter().map(str::to_owned).collect();
        let rows = combinations::rows(capacity, all).into_iter();
        let rows = rows.map(|row| row.iter().map(|cell| plain(cell)).collect());
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let last = rows[0].len() - 1;
        for row in &rows {
            let cells = row.iter().enumerate().map(|(at, cell)| match at {
                0 => format!("{cell:0$}", width(at)),
                _ if at == last => cell.clone(),
                _ => format!("{cell:>0$}", width(at)),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(out, "  {}", line.trim_end())?;
        }
    }
    for detail in words::details(capacity) {
        for (index, line) in wrap(&whole_numbers(&detail), COLUMNS - 4).iter().enumerate() {
            let indent = if index == 0 { "  " } else { "    " };
            writeln!(out, "{indent}{}", line.replace('\u{a0}', " "))?;
        }
    }
    Ok(())
}

/// The answer in a sentence.
pub(super) fn write_answer(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "{}: {}", plain(&capacity.scenario), plain(&capacity.words))
}
