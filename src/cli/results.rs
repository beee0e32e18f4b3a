//! Saved results, by the paths that a command is given.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problem::Problem;
use crate::compare::Saved;
use crate::compare::noise::{self, Noise};
use crate::record::saved::{self, ReadProblem};
use crate::run::journal;
use crate::text;

/// The noise profile that `flowbench noise` writes next to its results.
pub(super) const NOISE_FILE: &str = "noise.json";

/// The results of a baseline. If there are none, the error says how to make one.
pub(super) fn baseline(paths: &[PathBuf]) -> Result<Vec<Saved>, Problem> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        let missing = missing.display();
        return Err(Problem::usage(format_args!(
            "there is no baseline `{missing}`\n  = help: create one with the version to compare \
             with: `flowbench noise SUITE --out {missing}` makes ten runs and measures their \
             variation; `flowbench run SUITE --out FOLDER` makes one, `FOLDER/report.json`"
        )));
    }
    side(paths)
}

/// The results at these paths, each a file or a folder of them.
pub(super) fn side(paths: &[PathBuf]) -> Result<Vec<Saved>, Problem> {
    let mut results = Vec::new();
    for path in paths {
        let files = if path.is_dir() { results_in(path)? } else { vec![path.clone()] };
        for file in files {
            // A pipe can only be read once.
            if file.is_file() && journal::is_journal(&file) {
                let file = file.display();
                return Err(Problem::usage(format_args!(
                    "`{file}` is the journal of a run that was killed\n  = help: recover its \
                     result with `flowbench report {file} -o report.json`"
                )));
            }
            let summary = saved::read(&file).map_err(Problem::usage)?;
            if let Some(part) = &summary.part {
                return Err(Problem::usage(format_args!(
                    "`{}` is part {} of {} of a load\n  = help: combine all parts with `flowbench merge`",
                    file.display(),
                    part.number,
                    part.of
                )));
            }
            results.push(Saved { label: file.display().to_string(), summary });
        }
    }
    Ok(results)
}

/// The results in a folder, by name: files in the folder, or one in each subfolder.
pub(super) fn results_in(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error: io::Error| {
        Problem::usage(format_args!("cannot read the folder `{}`: {error}", folder.display()))
    };
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let inner = path.join("report.json");
        if path.is_dir() && inner.is_file() {
            found.push(inner);
        } else if path.extension().is_some_and(|ending| ending == "json") && is_result(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        let folder = folder.display();
        return Err(Problem::usage(format_args!("there is no result in the folder `{folder}`")));
    }
    found.sort();
    Ok(found)
}

/// Whether a file in a folder is a result. Other JSON may be there too, but damaged results are
/// reported.
fn is_result(path: &Path) -> bool {
    !matches!(saved::read(path), Err(error) if matches!(error.problem, ReadProblem::Foreign(_)))
}

/// Reads a noise profile.
pub(super) fn read_noise(path: &Path) -> Result<Noise, Problem> {
    let wrong = |why: &dyn std::fmt::Display| {
        Problem::usage(format_args!("the noise in `{}` cannot be read: {why}", path.display()))
    };
    let text = text::read(path, text::CONFIG_BYTES_MAX).map_err(|error| wrong(&error))?;
    let noise: Noise = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    if noise.schema != noise::SCHEMA {
        let schema = &noise.schema;
        return Err(wrong(&format_args!("its schema is `{schema}`, not `{}`", noise::SCHEMA)));
    }
    Ok(noise)
}

/// Bytes of a file that distinguish a result from a suite: its schema comes first.
const HEAD: u64 = 256;

/// Whether a file is the result of a search. If it is damaged, it is still treated as what it seems
/// to be.
pub(super) fn is_search(path: &Path) -> bool {
    // Reading from a pipe consumes it, so a pipe is expected to be a suite.
    if !path.is_file() {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    read.is_ok() && head.trim_start().starts_with('{') && head.contains("\"flowbench.capacity/")
}
