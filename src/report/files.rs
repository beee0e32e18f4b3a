//! Report files, which are written atomically.
//!
//! Their folder is created before a run starts, and the journal of the run is started in it, so a
//! folder that cannot be written costs a second and not the run. A file has a temporary name until
//! it is complete, so the report of an earlier run stays as it is if the new one cannot be written.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Format;
use crate::record::summary::Summary;

/// A folder for the reports of a run, with the journal of that run.
#[derive(Debug)]
pub(crate) struct Files {
    reports: Vec<(Format, PathBuf)>,
    journal: PathBuf,
    /// Whether the journal stays after all reports are written.
    keeps_journal: bool,
    /// Folders that did not exist before, outermost first.
    made: Vec<PathBuf>,
}

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}", path.display())]
pub struct FilesError {
    /// The file that could not be written.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

impl Files {
    /// Creates the folder and starts a journal in it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or something other than a file has the name of a report.
    pub(crate) fn open(
        folder: &Path,
        reports: &[(&str, Format)],
        mut made: Vec<PathBuf>,
    ) -> Result<(Files, File), FilesError> {
        let missing =
            folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let before = made.len();
        made.extend(missing.map(Path::to_owned));
        made[before..].reverse();
        std::fs::create_dir_all(folder)
            .map_err(|source| FilesError { path: folder.into(), source })?;
        let reports = reports.iter().map(|(name, format)| (*format, folder.join(name)));
        let mut files = Files {
            reports: reports.collect(),
            journal: folder.into(),
            keeps_journal: false,
            made,
        };
        let taken = files.reports.iter().find(|(_, path)| path.is_dir());
        if let Some((_, path)) = taken {
            let error = FilesError { path: path.clone(), source: ErrorKind::IsADirectory.into() };
            files.discard();
            return Err(error);
        }
        match new_journal(folder) {
            Ok((path, file)) => {
                files.journal = path;
                Ok((files, file))
            }
            Err(source) => {
                let path = folder.join("journal.jsonl");
                files.discard();
                Err(FilesError { path, source })
            }
        }
    }

    /// Writes all reports atomically, removes the journal, and returns the paths of the reports.
    ///
    /// # Errors
    ///
    /// The first report that could not be written. Reports before it have been written, an existing
    /// file of its name is unchanged, and the journal stays.
    pub(crate) fn write(self, summary: &Summary) -> Result<Vec<PathBuf>, FilesError> {
        let mut paths = Vec::new();
        for (format, path) in self.reports {
            whole(&path, |out| super::write(summary, format, out))?;
            paths.push(path);
        }
        if !self.keeps_journal {
            // Everything in it is in the reports, so it does no harm if removing it fails.
            let _ = std::fs::remove_file(&self.journal);
        }
        Ok(paths)
    }

    /// Keeps the journal, because others read it.
    pub(crate) fn keep_journal(&mut self) {
        self.keeps_journal = true;
    }

    /// The files to be written here.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let reports = self.reports.iter().map(|(_, path)| path.as_path());
        reports.chain([self.journal.as_path()])
    }

    /// Path of the journal.
    pub(crate) fn journal(&self) -> &Path {
        &self.journal
    }

    /// Removes everything it has created.
    pub(crate) fn discard(self) {
        if self.journal.is_file() {
            let _ = std::fs::remove_file(&self.journal);
        }
        for folder in self.made.iter().rev() {
            // If somebody else has put something into it, it is not empty and has to stay.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

/// A journal with an unused name: an existing one is all that is left of a run that was killed.
fn new_journal(folder: &Path) -> io::Result<(PathBuf, File)> {
    let names = (2..1000).map(|n| format!("journal-{n}.jsonl"));
    for name in std::iter::once("journal.jsonl".to_owned()).chain(names) {
        let path = folder.join(name);
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("a thousand journals already exist there"))
}

/// Writes a file atomically: an existing file of that name stays as it is until the new one is
/// complete. Anything other than a regular file (a pipe, a terminal) is written directly.
///
/// # Errors
///
/// If it could not be written.
pub(crate) fn whole(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), FilesError> {
    let error = |source| FilesError { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let there = std::fs::metadata(path).ok();
    if there.is_some_and(|there| !there.is_file() && !there.is_dir()) {
        let file = File::options().write(true).open(path).map_err(error)?;
        let mut out = BufWriter::new(file);
        return write(&mut out).and_then(|()| out.flush()).map_err(error);
    }
    let folder = folder.unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".").suffix(".part").tempfile_in(folder);
    // Without the name of the temporary file, which means nothing to anybody.
    let mut file = temporary.map_err(|failed| error(failed.kind().into()))?;
    fill(&mut file, write).map_err(error)?;
    file.persist(path).map_err(|failed| error(failed.error))?;
    Ok(())
}

fn fill(
    file: &mut NamedTempFile,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    // Temporary files are only readable by their owner; a report is for everybody who may read the
    // folder.
    readable(file)?;
    // A full disk may only show up when the data is on it.
    file.as_file().sync_all()
}

fn readable(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_report_stays_as_it_was_when_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        std::fs::write(&path, "of yesterday").unwrap();
        let failed = whole(&path, |out| {
            out.write_all(b"the first half of today's")?;
            Err(ErrorKind::StorageFull.into())
        });
        let error = failed.unwrap_err();
        assert_eq!(error.to_string(), format!("could not write {}", path.display()));
        assert_eq!(error.source.kind(), ErrorKind::StorageFull);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of yesterday");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part of it stays");
    }

    #[test]
    fn a_journal_of_a_run_that_was_killed_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("journal.jsonl"), "all that is left").unwrap();
        let (files, _) = Files::open(folder.path(), &[], Vec::new()).unwrap();
        assert!(files.journal().ends_with("journal-2.jsonl"));
        files.write(&Summary::default()).unwrap();
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_file_is_written_and_not_replaced() {
        let error = whole(Path::new("/dev/full"), |out| out.write_all(b"text")).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::StorageFull);
        whole(Path::new("/dev/null"), |out| out.write_all(b"text")).unwrap();
    }
}
