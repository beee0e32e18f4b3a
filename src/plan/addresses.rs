//! Data sets at addresses: downloaded before the plan is made, which then reads them like any other file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::download::{self, DownloadError};
use crate::scenario::LoadedSuite;
use crate::source::{Node, Place, Problem, Value};
use crate::units::Secrets;

/// Keys of a generator that name a data set.
const DATA_SETS: [&str; 3] = ["jsonl", "csv", "docarray"];

/// What was downloaded, and where it is kept.
struct Downloads<'a> {
    folder: &'a Path,
    /// The files by their addresses; `None` if the download failed, which has been reported.
    had: HashMap<String, Option<PathBuf>>,
    problems: Vec<Problem>,
    /// Names and passwords in addresses, which are not shown.
    secrets: Secrets,
}

/// Downloads the data sets of a suite that are given as addresses (`http://` or `https://`) into `folder`,
/// where they are kept, and makes the suite read those files. Each is requested once, and downloaded again only
/// if its server says that it has changed. Waits for the network.
///
/// A failed download is a problem that [`super::resolve`] returns.
pub fn download(suite: &mut LoadedSuite, folder: &Path) {
    let secrets = suite.secrets.clone();
    let mut downloads = Downloads { folder, had: HashMap::new(), problems: Vec::new(), secrets };
    for generator in &mut suite.documents {
        downloads.of_generator(&mut generator.node);
    }
    for scenario in &mut suite.scenarios {
        downloads.of_step(&mut scenario.node);
    }
    suite.problems.append(&mut downloads.problems);
}

impl Downloads<'_> {
    /// For a scenario, a step, or a choice of steps.
    fn of_step(&mut self, node: &mut Node) {
        let Value::Map(entries) = &mut node.value else { return };
        for entry in entries {
            match (entry.key.as_str(), &mut entry.value.value) {
                ("documents", _) => self.of_generator(&mut entry.value),
                ("steps" | "choose", Value::List(steps)) => {
                    steps.iter_mut().for_each(|step| self.of_step(step));
                }
                _ => (),
            }
        }
    }

    fn of_generator(&mut self, node: &mut Node) {
        let Value::Map(entries) = &mut node.value else { return };
        let is_data_set = |key: &str| DATA_SETS.contains(&key);
        for entry in entries.iter_mut().filter(|entry| is_data_set(&entry.key)) {
            let (place, is_secret) = (entry.value.place(), entry.value.is_secret());
            let Value::Text(text) = &mut entry.value.value else { continue };
            if !download::is_address(text) {
                continue;
            }
            let shown = if is_secret { "a secret address" } else { text.as_str() };
            let had = self.had.get(text.as_str()).cloned();
            let had = had.unwrap_or_else(|| {
                download::credentials(text).iter().for_each(|text| self.secrets.add(text));
                let had = download::fetch(text, self.folder);
                let had = had.map_err(|error| self.problems.push(problem(place, shown, &error)));
                self.had.insert(text.clone(), had.as_ref().ok().cloned());
                had.ok()
            });
            match had {
                Some(path) => *text = path.to_string_lossy().into_owned(),
                None => entry.value.mark_broken(),
            }
        }
    }
}

fn problem(place: Place, address: &str, error: &DownloadError) -> Problem {
    let problem = Problem::at(place, format!("could not download `{address}`: {error}"));
    match error {
        DownloadError::Write { .. } => {
            problem.help("set the folder for downloads with `FLOWBENCH_CACHE`")
        }
        _ => problem.help("or download it yourself, and give the path of the file"),
    }
}
