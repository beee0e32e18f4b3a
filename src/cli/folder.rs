//! The folder that a command writes its reports into.

use std::io;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::problem::Problem;
use crate::plan::Plan;
use crate::record::summary::Summary;
use crate::report::files::{self, FilesError};
use crate::report::{self, Format};

/// The reports of a run, by name.
pub(super) const REPORTS: [(&str, Format); 2] =
    [("report.json", Format::Json), ("report.html", Format::Html)];

/// The folder of a command's reports.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// The folders that were created for it, the outermost first.
    pub(super) made: Vec<PathBuf>,
}

impl Folder {
    /// The one that was named, which need not exist, or else a new one that no other command has.
    pub(super) fn claim(out: Option<&Path>, suite: &str) -> Result<Folder, Problem> {
        match out {
            Some(out) => Ok(Folder { path: out.to_owned(), made: Vec::new() }),
            None => default_folder(suite),
        }
    }
}

/// Creates `reports/<suite>-<UTC time>`, with a number appended if that exists.
fn default_folder(suite: &str) -> Result<Folder, Problem> {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let suite: String = suite.chars().map(safe).take(100).collect();
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let folder = Path::new("reports").join(format!("{suite}-{time}"));
    let numbered = |n: u32| Path::new("reports").join(format!("{suite}-{time}-{n}"));
    let reports = Path::new("reports");
    let mut made = Vec::new();
    if !reports.exists() {
        create(reports)?;
        made.push(reports.to_owned());
    }
    for folder in std::iter::once(folder.clone()).chain((2..1000).map(numbered)) {
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(not_created(&folder, &error)),
            Ok(()) => {
                made.push(folder.clone());
                return Ok(Folder { path: folder, made });
            }
        }
    }
    Ok(Folder { path: folder, made })
}

/// Creates the folder of `--out`.
pub(super) fn create(folder: &Path) -> Result<(), Problem> {
    std::fs::create_dir_all(folder).map_err(|error| not_created(folder, &error))
}

/// Writes all reports into a folder, and returns their paths.
pub(super) fn write(folder: &Path, summary: &Summary) -> Result<Vec<PathBuf>, FilesError> {
    let one = |(name, format): &(&str, Format)| {
        let path = folder.join(name);
        files::whole(&path, |out| report::write(summary, *format, out)).map(|()| path)
    };
    REPORTS.iter().map(one).collect()
}

/// The problem that the folder of `--out` cannot be created or listed.
pub(super) fn not_created(folder: &Path, error: &io::Error) -> Problem {
    let folder = folder.display();
    let text = format!("error: --out: cannot create the folder `{folder}`: {error}");
    Problem::new(Exit::NotWritten, text)
}

/// The problem that `save` writes over a report of the run.
pub(super) fn saved_over(path: &Path) -> Problem {
    let path = path.display();
    Problem::usage(format_args!("`save`: `{path}` is a report of this run; save into another file"))
}

/// Rejects `save` into a folder of results under the name of one of its files.
pub(super) fn refuse_saves(plan: &Plan, folder: &Path) -> Result<(), Problem> {
    let is_report = |path: &&Path| {
        path.parent().and_then(|parent| parent.canonicalize().ok()) == folder.canonicalize().ok()
            && ["json", "html", "md", "xml"]
                .iter()
                .any(|end| path.extension() == Some(end.as_ref()))
    };
    plan.saves().find(is_report).map_or(Ok(()), |path| Err(saved_over(path)))
}
