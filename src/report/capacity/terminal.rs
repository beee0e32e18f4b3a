//! A capacity search on the terminal: the answer and its consequences.

use std::io;

use crate::capacity::result::Capacity;
use crate::capacity::words;
use crate::report::words::{plain, whole_numbers, wrap};

/// Maximum width of a line.
const COLUMNS: usize = 100;

pub(super) fn write(capacity: &Capacity, out: &mut dyn io::Write) -> io::Result<()> {
    write_answer(capacity, out)?;
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
