//! Reads the suite given to a command, applies options, and plans it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::env_file;
use super::exit::Exit;
use super::machine::limits;
use super::print;
use super::problem::Problem;
use super::values::pair;
use crate::plan::{self, Origin, Plan, forecast};
use crate::scenario::{self, LoadedSuite, Options};
use crate::source::Problems;
use crate::text;
use crate::units::Part;

/// What changes a suite from the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Changes {
    /// Set a variable of the suite, as in `--set rate=50/s`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Read variables of the environment from a file with lines of NAME=VALUE; may be given several times,
    /// and the last one wins. The environment itself takes precedence over all of them.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

impl Changes {
    /// The variables set by `--set`.
    pub(super) fn sets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.set.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The files of `--env-file`.
    pub(super) fn env_files(&self) -> impl Iterator<Item = &Path> {
        self.env_file.iter().map(PathBuf::as_path)
    }

    /// Whether the options change nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.env_file.is_empty()
    }

    /// Reads the suite at `path` and plans it.
    pub(super) fn suite(&self, path: &Path) -> Result<(LoadedSuite, Plan), Problem> {
        let suite = self.load(path)?;
        let mut plan = planned(&suite, None)?;
        hand_on(&suite, &mut plan);
        Ok((suite, plan))
    }

    /// Reads the suite at `path` and plans it for a part of its load, if the process may open enough
    /// connections.
    pub(super) fn runnable(&self, path: &Path, part: Part) -> Result<Plan, Problem> {
        let (suite, mut plan) = self.suite(path)?;
        divide(&suite, &mut plan, part)?;
        has_room(&suite, &plan)?;
        Ok(plan)
    }

    /// Reads the suite at `path` once, and makes two plans: one with all scenarios on the first Flow, and one
    /// with all on the second.
    pub(super) fn plans_onto(
        &self,
        path: &Path,
        flows: [&str; 2],
        part: Part,
    ) -> Result<[Plan; 2], Problem> {
        let suite = self.load(path)?;
        let onto = |flow| -> Result<Plan, Problem> {
            let mut plan = planned(&suite, Some(flow))?;
            divide(&suite, &mut plan, part)?;
            has_room(&suite, &plan)?;
            hand_on(&suite, &mut plan);
            Ok(plan)
        };
        let [base, candidate] = flows.map(onto);
        Ok([base?, candidate?])
    }

    fn load(&self, path: &Path) -> Result<LoadedSuite, Problem> {
        // Variables that are not Unicode cannot be used by an expression.
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        let own: Vec<(String, String)> = std::env::vars_os().filter_map(text).collect();
        let (mut env, mut env_files) = (Vec::new(), BTreeMap::new());
        for file in &self.env_file {
            for (name, value) in env_file::read(file)? {
                if !own.iter().any(|(known, _)| *known == name) {
                    env_files.insert(name.clone(), file.display().to_string());
                    env.push((name, value));
                }
            }
        }
        env.extend(own);
        let options = Options { set: self.set.clone(), env, env_files, secrets: print::hide() };
        let loaded = match path == Path::new("-") {
            true => scenario::load_text("stdin", from_stdin()?, Path::new(""), &options),
            false => scenario::load(path, &options),
        };
        let mut suite = loaded.map_err(|problems| Problem::from(&problems))?;
        plan::download(&mut suite, &cache());
        Ok(suite)
    }
}

/// The folder for downloaded files.
pub(super) fn cache() -> PathBuf {
    let folder =
        |name| std::env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    folder("FLOWBENCH_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("flowbench")))
        .or_else(|| Some(folder("HOME")?.join(".cache/flowbench")))
        .unwrap_or_else(|| std::env::temp_dir().join("flowbench"))
}

/// The text of a suite on stdin.
fn from_stdin() -> Result<String, Problem> {
    let bytes = text::read_bytes(std::io::stdin(), text::CONFIG_BYTES_MAX);
    bytes.and_then(text::decode).map_err(|error| {
        Problem::usage(format_args!("could not read the suite from stdin: {error}"))
    })
}

/// Passes variables from `--env-file` to the commands of Flows, which otherwise only have our environment.
fn hand_on(suite: &LoadedSuite, plan: &mut Plan) {
    for flow in &mut plan.flows {
        if let Origin::Command { launch, .. } = &mut flow.origin {
            launch.inherited =
                suite.of_env_files().map(|(name, value)| (name.into(), value.into())).collect();
        }
    }
}

/// Restricts a plan to one part of the load, if the load can be divided.
pub(super) fn divide(suite: &LoadedSuite, plan: &mut Plan, part: Part) -> Result<(), Problem> {
    plan.part = part;
    plan.check_parts(suite, part.of(), |_| true).map_err(|problems| Problem::from(&problems))
}

fn has_room(suite: &LoadedSuite, plan: &Plan) -> Result<(), Problem> {
    forecast::check_connections(suite, plan, &limits(), |_| true)
        .map_err(|problems| Problem::from(&problems))
}

fn planned(suite: &LoadedSuite, flow: Option<&str>) -> Result<Plan, Problem> {
    plan::resolve_onto(suite, flow).map_err(|problems| Problem::from(&problems))
}

impl From<&Problems> for Problem {
    fn from(problems: &Problems) -> Problem {
        Problem::colored(Exit::Usage, problems.render(print::err_is_terminal()))
    }
}

/// The files to look at.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// Suite files.
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
}
