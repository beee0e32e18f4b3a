//! The reports of a search for capacity: `capacity.json` and `capacity.html`, and what else a result
//! can be rendered as.

mod csv;
mod markdown;
mod terminal;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::{FilesError, whole};
use super::{Format, html};
use crate::capacity::result::Capacity;

/// What a search leaves behind.
const REPORTS: [(&str, Format); 2] =
    [("capacity.json", Format::Json), ("capacity.html", Format::Html)];

/// Writes a result of a search.
///
/// # Errors
/// Those of the writer; [`io::ErrorKind::Unsupported`] for a format of runs only.
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

/// Whether a result of a search can be written so.
pub fn can_be(format: Format) -> bool {
    !matches!(format, Format::Junit | Format::Hlog | Format::Prometheus)
}

/// Makes sure that reports can be written into a folder, before a search begins.
///
/// # Errors
/// When they cannot.
pub fn prepare(folder: &Path) -> Result<(), FilesError> {
    let wrong = |source| FilesError { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(wrong)?;
    tempfile::tempfile_in(folder).map(|_| ()).map_err(wrong)
}

/// Writes the reports, each whole or not at all; gives their paths.
///
/// # Errors
/// The first that could not be written.
pub fn save(folder: &Path, capacity: &Capacity) -> Result<Vec<PathBuf>, FilesError> {
    let mut paths = Vec::new();
    for (name, format) in REPORTS {
        let path = folder.join(name);
        whole(&path, |out| write(capacity, format, out))?;
        paths.push(path);
    }
    Ok(paths)
}
