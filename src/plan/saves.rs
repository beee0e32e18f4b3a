//! Where `save` must not write: files that the run itself reads or writes.

use std::path::{Path, PathBuf};

use super::{Action, Load, Origin, Plan, Step, Work};
use crate::client::ClientConfig;
use crate::documents::Documents;
use crate::scenario::LoadedSuite;
use crate::schedule::Schedule;
use crate::source::{Problem, Spot};

/// Whether two paths lead to the same file, through whatever links; for a file that does not exist yet, whether
/// they would.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let one = Identity::of(one);
    one.is_some() && one == Identity::of(other)
}

/// What identifies a file, whatever path leads to it.
#[derive(PartialEq, Eq)]
enum Identity {
    /// An existing file: device and inode number.
    Inode(u64, u64),
    /// A file that does not exist, in a folder that does.
    Path(PathBuf),
}

impl Identity {
    /// `None` for something that can safely be both written and read, such as a terminal, and for a file in a
    /// folder that does not exist.
    fn of(path: &Path) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        if let Ok(file) = std::fs::metadata(path) {
            return file.is_file().then(|| Identity::Inode(file.dev(), file.ino()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(Identity::Path(folder.join(path.file_name()?)))
    }
}

/// A file that the run reads or writes, and what it uses it for.
type Used = (Identity, String);

/// Reports every `save` into a file that the run itself uses. `generators` are the named ones of the suite. The
/// suite must have no problems: only then do all callbacks have a place.
pub(super) fn check<'a>(
    suite: &LoadedSuite,
    plan: &'a Plan,
    generators: impl Iterator<Item = &'a Documents>,
    problems: &mut Vec<Problem>,
) {
    if plan.saves().next().is_none() {
        return;
    }
    let used = used(suite, plan, generators);
    // Scenarios of a plan are those of the suite, in the same order.
    for (unit, scenario) in suite.scenarios.iter().zip(&plan.scenarios) {
        let at = Spot::of(&unit.node);
        for (index, step) in scenario.steps.iter().enumerate() {
            let at = scenario.step_at(at, index);
            check_step(step, at, &used, problems);
        }
    }
}

fn check_step(step: &Step, at: Spot<'_>, used: &[Used], problems: &mut Vec<Problem>) {
    let callbacks = &step.callbacks;
    let all = [
        ("on_done", &callbacks.on_done),
        ("on_error", &callbacks.on_error),
        ("on_always", &callbacks.on_always),
    ];
    for (key, actions) in all {
        for (index, action) in actions.iter().enumerate() {
            let Action::Save(path) = action else { continue };
            let Some(identity) = Identity::of(path) else { continue };
            let Some((_, what)) = used.iter().find(|(known, _)| *known == identity) else {
                continue;
            };
            let message = format!("`save` would write into {what}");
            at.key(key)
                .index(index)
                .key("save")
                .problem(problems, message, |problem| problem.help("save into another file"));
        }
    }
}

fn used<'a>(
    suite: &LoadedSuite,
    plan: &'a Plan,
    generators: impl Iterator<Item = &'a Documents>,
) -> Vec<Used> {
    let mut used = Vec::new();
    let mut add = |path: &Path, what: String| {
        used.extend(Identity::of(path).map(|identity| (identity, what)));
    };
    for name in suite.sources.file_names() {
        add(Path::new(name), "the suite".into());
    }
    for flow in &plan.flows {
        let name = &flow.name;
        let mut clients = |clients: &[ClientConfig]| {
            for tls in clients.iter().map(|client| &client.tls) {
                for path in [&tls.ca, &tls.cert, &tls.key].into_iter().flatten() {
                    add(path, format!("a file that flow `{name}` is reached with"));
                }
            }
        };
        match &flow.origin {
            Origin::Remote(reached) => clients(reached),
            Origin::Command { launch, clients: reached } => {
                clients(reached);
                // `jina flow --uses flow.yml` or `--uses=flow.yml`.
                let parts =
                    launch.command.iter().flat_map(|part| [Some(&**part), after_equals(part)]);
                if let Some(file) = &launch.file {
                    add(&file.path, format!("the file of flow `{name}`"));
                }
                let cwd = launch.cwd.as_deref().unwrap_or(Path::new(""));
                for path in parts.flatten().map(|path| cwd.join(path)).filter(|path| path.is_file())
                {
                    add(&path, format!("a file in the command of flow `{name}`"));
                }
            }
            Origin::Embedded(config) => {
                if let Some(log) = &config.log {
                    add(log, format!("the log of flow `{name}`"));
                }
                if let Some(tls) = &config.tls {
                    for path in [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()] {
                        path.into_iter()
                            .for_each(|path| add(path, format!("a file of flow `{name}`")));
                    }
                }
            }
        }
    }
    let mut own = Vec::new();
    for scenario in &plan.scenarios {
        if let Load::Open { schedule: Schedule::Trace { path, .. }, .. } = &scenario.load {
            add(path, format!("the trace of `{}`", scenario.name));
        }
        own.extend(scenario.steps.iter().filter_map(|step| match &step.work {
            Work::Post(post) => post.documents.as_deref(),
            Work::Mutate { .. } | Work::Http(_) => None,
        }));
    }
    for path in generators.chain(own).flat_map(Documents::files) {
        add(path, "a data set of this suite".into());
    }
    used
}

impl Plan {
    /// The files that a run of the plan reads, each once: the suite with its includes, data sets, traces, and
    /// the certificates for its Flows.
    pub(crate) fn files_read(&self, suite: &LoadedSuite) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = suite.sources.file_names().map(PathBuf::from).collect();
        for flow in &self.flows {
            let (Origin::Remote(clients) | Origin::Command { clients, .. }) = &flow.origin else {
                continue;
            };
            let of_tls = clients.iter().flat_map(|client| {
                [&client.tls.ca, &client.tls.cert, &client.tls.key].into_iter().flatten()
            });
            files.extend(of_tls.cloned());
        }
        for scenario in &self.scenarios {
            if let Load::Open { schedule: Schedule::Trace { path, .. }, .. } = &scenario.load {
                files.push(path.clone());
            }
            let documents = scenario.steps.iter().filter_map(|step| match &step.work {
                Work::Post(post) => post.documents.as_deref(),
                Work::Mutate { .. } | Work::Http(_) => None,
            });
            files.extend(documents.flat_map(Documents::files).map(Path::to_owned));
        }
        let mut once = std::collections::HashSet::new();
        files.retain(|file| once.insert(file.clone()));
        files
    }
}

fn after_equals(argument: &str) -> Option<&str> {
    argument.split_once('=').map(|(_, value)| value)
}
