//! Report files: written whole or not at all.
//!
//! They are opened before a run starts, so that a folder that cannot be written costs a second and
//! not the run; until a file is complete it has another name, so that a report of an earlier run
//! stays as it is when this one cannot be written.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Format;
use crate::record::summary::Summary;

/// A folder in which reports are going to be written.
#[derive(Debug)]
pub struct Files {
    reports: Vec<(Format, PathBuf, NamedTempFile)>,
    /// Folders that were not there before, outermost first.
    made: Vec<PathBuf>,
}

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}", path.display())]
pub struct FilesError {
    /// What was to be written.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Files {
    /// Makes the folder and opens a file in it for each report.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn open(folder: &Path, reports: &[(&str, Format)]) -> Result<Files, FilesError> {
        let missing =
            folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let mut made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        made.reverse();
        std::fs::create_dir_all(folder)
            .map_err(|source| FilesError { path: folder.into(), source })?;
        let mut files = Files { reports: Vec::new(), made };
        for (name, format) in reports {
            let path = folder.join(name);
            let temporary =
                tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(folder);
            match temporary {
                Ok(file) => files.reports.push((*format, path, file)),
                Err(source) => {
                    files.discard();
                    return Err(FilesError { path, source });
                }
            }
        }
        Ok(files)
    }

    /// Writes all reports and puts them in their places; gives their paths.
    ///
    /// # Errors
    /// The first that could not be written. Those before it are in their places, a former file of
    /// its name is as it was.
    pub fn write(self, summary: &Summary) -> Result<Vec<PathBuf>, FilesError> {
        let mut paths = Vec::new();
        for (format, path, mut file) in self.reports {
            let written = fill(&mut file, summary, format)
                .and_then(|()| file.persist(&path).map_err(|error| error.error));
            match written {
                Ok(_) => paths.push(path),
                Err(source) => return Err(FilesError { path, source }),
            }
        }
        Ok(paths)
    }

    /// Leaves nothing behind.
    pub fn discard(self) {
        drop(self.reports);
        for folder in self.made.iter().rev() {
            // It is not empty when somebody else put something there, and then it has to stay.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

fn fill(file: &mut NamedTempFile, summary: &Summary, format: Format) -> io::Result<()> {
    let mut out = BufWriter::new(file.as_file_mut());
    super::write(summary, format, &mut out)?;
    out.flush()?;
    drop(out);
    // Temporary files are for their owner alone; a report is for whoever may read the folder.
    readable(file)?;
    // Only what is on the disk is written: a full disk may show no earlier.
    file.as_file().sync_all()
}

#[cfg(unix)]
fn readable(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> io::Result<()> {
    Ok(())
}
