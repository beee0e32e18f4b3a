//! The reports of a search for capacity: `capacity.json` and `capacity.html`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::{FilesError, whole};
use super::html;
use crate::capacity::result::Capacity;

/// A report: its name and what writes it.
type Report = (&'static str, fn(&Capacity, &mut dyn Write) -> io::Result<()>);

const REPORTS: [Report; 2] =
    [("capacity.json", write_json), ("capacity.html", html::write_capacity)];

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
    for (name, write) in REPORTS {
        let path = folder.join(name);
        whole(&path, |out| write(capacity, out))?;
        paths.push(path);
    }
    Ok(paths)
}

/// Writes `capacity.json`.
///
/// # Errors
/// Those of the writer.
pub fn write_json(capacity: &Capacity, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, capacity)?;
    out.write_all(b"\n")
}
