//! The reports of a capacity search: `capacity.json`, `capacity.html`, and the other formats a
//! result can be rendered in.

pub(in crate::report) mod combinations;
mod csv;
mod markdown;
mod terminal;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::{FilesError, whole};
use super::{Format, html};
use crate::capacity::result::Capacity;

/// The files that a search writes.
const REPORTS: [(&str, Format); 2] =
    [("capacity.json", Format::Json), ("capacity.html", Format::Html)];

/// Writes the result of a search.
///
/// # Errors
///
/// Errors of the writer; [`io::ErrorKind::Unsupported`] for a format that only runs have.
pub fn write(capacity: &Capacity, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, capacity)?;
            out.write_all(b"\n")
        }
        Format::Html => html::write_capacity(capacity, out),
        Format::Markdown => markdown::write(capacity, out),
        Format::Csv => csv::write(capacity, out),
        Format::Terminal { .. } => terminal::write(capacity, out),
        Format::Verdict => terminal::write_answer(capacity, out),
        Format::Junit | Format::Hlog | Format::Prometheus => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "a search has no such report"))
        }
    }
}

/// Whether the result of a search can be written in this format.
pub fn can_be(format: Format) -> bool {
    !matches!(format, Format::Junit | Format::Hlog | Format::Prometheus)
}

/// Makes sure, before a search starts, that reports can be written into a folder.
///
/// # Errors
///
/// If they cannot.
pub fn prepare(folder: &Path) -> Result<(), FilesError> {
    let wrong = |source| FilesError { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    tempfile::tempfile_in(folder).map(|_| ()).map_err(wrong)
}

/// Writes the reports atomically, and returns their paths.
///
/// # Errors
///
/// The first report that could not be written.
pub fn save(folder: &Path, capacity: &Capacity) -> Result<Vec<PathBuf>, FilesError> {
    let mut paths = Vec::new();
    for (name, format) in REPORTS {
        let path = folder.join(name);
        whole(&path, |out| write(capacity, format, out))?;
        paths.push(path);
    }
    Ok(paths)
}
