//! `report.json`.

use std::io;

use crate::record::summary::Summary;

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, summary)?;
    writeln!(out)
}
