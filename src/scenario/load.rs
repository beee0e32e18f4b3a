//! Reads a suite with everything it includes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::Suite;
use super::expand::{self, Combination, Kind, expect, twice};
use super::vars::{self, Declared, Environment, Origin, Variable};
use crate::source::{FILE_BYTES_MAX, Node, Place, Problem, Problems, Sources, Value};
use crate::template::{self, Context};
use crate::text;
use crate::units::Secrets;
use crate::wire::Map;

/// How deeply files may include one another.
const INCLUDE_DEPTH_MAX: usize = 16;

/// The most scenarios of one suite, matrices expanded.
const SCENARIOS_MAX: usize = 10_000;

/// What the command line adds to a suite.
#[derive(Clone, Default)]
pub struct Options {
    /// `--set key=value`: overrides `vars.key`. The value is parsed as YAML.
    pub set: Vec<(String, String)>,
    /// The variables of `env` in expressions. Their values are secrets and never shown.
    pub env: Vec<(String, String)>,
    /// For variables from a file of `--env-file`: the file's name, by the variable's name.
    pub env_files: BTreeMap<String, String>,
    /// Collects every value of `env` that the suite uses.
    pub secrets: Secrets,
}

/// A suite as read: its parts are trees in which load-time expressions have been evaluated. Its problems so far
/// are returned by [`crate::plan::resolve`], along with those found there.
#[derive(Debug)]
pub struct LoadedSuite {
    /// The texts of all files.
    pub(crate) sources: Sources,
    /// The problems found so far.
    pub(crate) problems: Vec<Problem>,
    /// The place of problems that concern the whole suite.
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) flows: Vec<Named>,
    pub(crate) documents: Vec<Named>,
    pub(crate) scenarios: Vec<Unit>,
    pub(crate) capacity: Option<Node>,
    /// The variables, in the order of their first definition.
    vars: Vec<Variable>,
    /// The variables in files of `--env-file`.
    env_files: Vec<(String, String)>,
    pub(crate) secrets: Secrets,
}

/// A Flow or a generator.
#[derive(Debug)]
pub(crate) struct Named {
    pub name: String,
    pub node: Node,
    pub context: Context,
    /// The folder that its paths are relative to.
    pub base: PathBuf,
}

/// A scenario, or one combination of its matrix.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The name without the matrix values; `None` if the file gives no name.
    pub base_name: Option<String>,
    /// The name with the matrix values.
    pub name: String,
    /// The index of the scenario in the files; all combinations of its matrix share it.
    pub group: usize,
    pub node: Node,
    pub matrix: Map,
    pub context: Context,
    /// The folder that its paths are relative to.
    pub base: PathBuf,
}

/// Reads the suite at `path`.
///
/// # Errors
/// If the file cannot be read or is not YAML at all; all other problems are returned by
/// [`crate::plan::resolve`].
pub fn load(path: &Path, options: &Options) -> Result<LoadedSuite, Problems> {
    let mut loader = Loader::new(options);
    let file = loader.file(path, None, &mut Vec::new(), &Context::default());
    let stem = match is_stream(path) {
        // The number of a file descriptor is not a useful name.
        true => Some("suite".into()),
        false => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
    };
    loader.finish(file, stem, path)
}

/// Reads a suite from its text. `name` stands for it in messages; paths in it are relative to `base`.
///
/// # Errors
/// The same as those of [`load`].
pub fn load_text(
    name: &str,
    text: String,
    base: &Path,
    options: &Options,
) -> Result<LoadedSuite, Problems> {
    let mut loader = Loader::new(options);
    let file = loader.text(name, text, None, base, &mut Vec::new(), &Context::default());
    loader.finish(file, Some(name.to_owned()), Path::new(name))
}

impl LoadedSuite {
    /// The variables, in the order of their first definition.
    pub(crate) fn variables(&self) -> &[Variable] {
        &self.vars
    }

    /// Variables in files of `--env-file`; if a name occurs several times, the last one counts.
    pub(crate) fn of_env_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env_files.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

struct Loader<'a> {
    options: &'a Options,
    env: Map,
    sources: Sources,
    problems: Vec<Problem>,
    flows: Vec<Named>,
    documents: Vec<Named>,
    scenarios: Vec<Unit>,
    groups: usize,
    // Where flows and documents are first defined, by kind and name.
    names: HashMap<(&'static str, String), Place>,
    // Files that have been read, by their real path.
    read: HashMap<PathBuf, ()>,
    // Variables that some file defines.
    vars: BTreeSet<String>,
    variables: Vec<Variable>,
}

/// Settings of the whole suite, given by its first file.
struct FileSettings {
    name: Option<String>,
    seed: u64,
    capacity: Option<Node>,
    place: Place,
}

impl<'a> Loader<'a> {
    fn new(options: &'a Options) -> Loader<'a> {
        let env = options.env.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        Loader {
            options,
            env: env.collect(),
            sources: Sources::new(),
            problems: Vec::new(),
            flows: Vec::new(),
            documents: Vec::new(),
            scenarios: Vec::new(),
            groups: 0,
            names: HashMap::new(),
            read: HashMap::new(),
            vars: BTreeSet::new(),
            variables: Vec::new(),
        }
    }

    /// The suite built from all files.
    fn finish(
        self,
        file: Option<FileSettings>,
        stem: Option<String>,
        path: &Path,
    ) -> Result<LoadedSuite, Problems> {
        let Loader {
            options,
            sources,
            mut problems,
            flows,
            documents,
            scenarios,
            vars,
            variables,
            ..
        } = self;
        let of_file = |(name, _): &&(String, String)| options.env_files.contains_key(name);
        let env_files = options.env.iter().filter(of_file).cloned().collect();
        let Some(file) = file else {
            if problems.is_empty() {
                problems.push(Problem::new(format!("`{}` could not be read", path.display())));
            }
            return Err(Problems::new(&sources, problems).expect("there is at least one"));
        };
        for (key, _) in &options.set {
            let name = key.split('.').next().unwrap_or(key);
            let mentioned = sources.contain(&format!("vars.{name}"));
            if !vars.contains(name) && !mentioned {
                let message = format!("--set {key}: the suite has no variable `{name}`");
                let known = vars.iter().map(String::as_str);
                problems.push(Problem::new(message).suggest(name, known));
            }
        }
        Ok(LoadedSuite {
            sources,
            problems,
            place: file.place,
            name: file.name.or(stem).unwrap_or_else(|| "suite".into()),
            seed: file.seed,
            flows,
            documents,
            scenarios,
            capacity: file.capacity,
            vars: variables,
            env_files,
            secrets: options.secrets.clone(),
        })
    }

    /// Reads a file and everything it includes. `chain` has the files that led here, `outer` the variables of
    /// the including file, which override its own.
    fn file(
        &mut self,
        path: &Path,
        included: Option<Place>,
        chain: &mut Vec<(PathBuf, PathBuf)>,
        outer: &Context,
    ) -> Option<FileSettings> {
        let problem = |message: String| match included {
            Some(place) => Problem::at(place, message),
            None => Problem::new(message),
        };
        let unreadable = |error: &dyn std::fmt::Display| {
            problem(format!("could not read `{}`: {error}", path.display()))
        };
        // A pipe has no folder that paths could be relative to, and can only be read once.
        if included.is_none() && is_stream(path) {
            return match read_text(path, false) {
                Ok(text) => {
                    let name = path.display().to_string();
                    self.text(&name, text, None, Path::new(""), chain, outer)
                }
                Err(error) => {
                    self.problems.push(unreadable(&error));
                    None
                }
            };
        }
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => {
                self.problems.push(unreadable(&error));
                return None;
            }
        };
        if let Some(at) = chain.iter().position(|(known, _)| *known == real) {
            let names: Vec<String> = chain[at..]
                .iter()
                .map(|(_, name)| name.as_path())
                .chain([path])
                .map(|name| format!("`{}`", name.display()))
                .collect();
            let message = format!("files include each other: {}", names.join(" includes "));
            self.problems.push(problem(message));
            return None;
        }
        if self.read.insert(real.clone(), ()).is_some() {
            return None;
        }
        if chain.len() > INCLUDE_DEPTH_MAX {
            let message =
                format!("files include each other more than {INCLUDE_DEPTH_MAX} levels deep");
            self.problems.push(problem(message));
            return None;
        }
        // Included suites must be regular files; only the suite itself may be a pipe.
        let text = match read_text(path, included.is_some()) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(unreadable(&error));
                return None;
            }
        };
        let name = path.display().to_string();
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        chain.push((real, path.to_owned()));
        let settings = self.text(&name, text, included, &base, chain, outer);
        chain.pop();
        settings
    }

    /// Parses a text and reads its includes.
    fn text(
        &mut self,
        name: &str,
        text: String,
        included: Option<Place>,
        base: &Path,
        chain: &mut Vec<(PathBuf, PathBuf)>,
        outer: &Context,
    ) -> Option<FileSettings> {
        let mut node = self.sources.parse(name, text, included, &mut self.problems)?;
        let place = node.place();
        if matches!(node.value, Value::Null) {
            self.problems.push(Problem::at(
                place.start_of_file(),
                "the file is empty; a suite needs `scenarios`",
            ));
            return None;
        }
        if let Value::List(_) = &node.value {
            let message = format!("expected a map, found {}", node.found());
            let help = "a suite has its steps under `scenarios`, as in `scenarios: [{name: search, on: /search}]`; \
                        docs/coming-from.md shows how the steps of a stress test become scenarios";
            self.problems.push(Problem::at(node.place(), message).help(help));
            return None;
        }
        if !expect(&node, Kind::Map, &mut self.problems) {
            return None;
        }
        let context = self.vars(node.get("vars"), outer);
        let parts = ["defaults", "flows", "documents", "scenarios"].map(|key| node.remove(key));
        let [defaults, flows, documents, scenarios] = parts;
        node.remove("vars");
        expand::evaluate(&mut node, &context, &mut self.problems);
        let suite: Suite = Sources::read(&mut node, "the suite", &mut self.problems)?;

        let includes = node.get("include").map(Node::items).unwrap_or_default();
        for (file, at) in suite.include.iter().flatten().zip(includes) {
            self.file(&without_detours(&base.join(file)), Some(at.place()), chain, &context);
        }

        for (entry, what) in [(flows, "flow"), (documents, "documents")] {
            let Some(entry) = entry else { continue };
            if !expect(&entry.value, Kind::Map, &mut self.problems) {
                continue;
            }
            let known = if what == "flow" { &mut self.flows } else { &mut self.documents };
            for part in entry.value.entries() {
                match self.names.entry((what, part.key.clone())) {
                    Entry::Vacant(free) => {
                        free.insert(part.key_place);
                    }
                    Entry::Occupied(first) => {
                        self.problems.push(twice(what, &part.key, part.key_place, *first.get()));
                        continue;
                    }
                }
                let mut named = Named {
                    name: part.key.clone(),
                    node: part.value.clone(),
                    context: context.clone(),
                    base: base.to_owned(),
                };
                // A flow that depends on a matrix is evaluated when a scenario uses it.
                let known_now = what == "flow" && !named.mentions_matrix();
                if known_now && !expand::evaluate(&mut named.node, &context, &mut self.problems) {
                    continue;
                }
                known.push(named);
            }
        }
        let defaults = defaults
            .map(|entry| entry.value)
            .filter(|defaults| expect(defaults, Kind::Map, &mut self.problems));
        if let Some(list) = scenarios
            && expect(&list.value, Kind::List, &mut self.problems)
        {
            for scenario in list.value.items() {
                self.scenario(scenario, defaults.as_ref(), &context, base);
            }
        }
        Some(FileSettings {
            name: suite.name,
            seed: suite.seed.unwrap_or(0),
            capacity: node.remove("capacity").map(|entry| entry.value),
            place,
        })
    }

    /// The variables of a file, in order, each able to use those before it; values from an including file or
    /// the command line take precedence.
    fn vars(&mut self, node: Option<&Node>, outer: &Context) -> Context {
        let mut context = Context::new(Map::new(), self.env.clone(), Map::new())
            .hiding(self.options.secrets.clone());
        for (name, value) in outer.vars() {
            let secret = outer.shown_instead(name).map(str::to_owned);
            context.set_var(name, value.clone(), secret);
        }
        context.lack_vars_of(outer);
        if let Some(node) = node
            && expect(node, Kind::Map, &mut self.problems)
        {
            for entry in node.entries() {
                let name = entry.key.as_str();
                self.vars.insert(name.to_owned());
                if outer.vars().contains_key(name) {
                    continue;
                }
                let mut node = entry.value.clone();
                let before = self.problems.len();
                let known = expand::evaluate(&mut node, &context, &mut self.problems);
                let declared = Declared::of(&node, &mut self.problems).filter(|_| known);
                let (variable, shown) = match &declared {
                    Some(declared) => {
                        let set = self
                            .is_set(name)
                            .then(|| self.overridden(name, serde_json::Value::Null));
                        let environment =
                            Environment { all: &self.options.env, files: &self.options.env_files };
                        let found = declared.value(name, set, &environment, &mut self.problems);
                        let (value, origin) =
                            found.unwrap_or((serde_json::Value::Null, Origin::File));
                        let shown = declared.is_secret.then(|| declared.shown(&value, &origin));
                        (Variable::new(name, Some(declared.kind()), value, origin), shown)
                    }
                    None => {
                        let secret = node.has_secret().then(|| match entry.value.text() {
                            Some(text) => template::shown(text, &context),
                            None => "'***'".to_owned(),
                        });
                        let value = if known { node.to_json() } else { serde_json::Value::Null };
                        let value = self.overridden(name, value);
                        let origin = if self.is_set(name) { Origin::Set } else { Origin::File };
                        (Variable::new(name, None, value, origin), secret)
                    }
                };
                let value = variable.value.clone().unwrap_or_default();
                if declared.is_some() && shown.is_some() {
                    vars::hide(&value, &self.options.secrets);
                }
                let is_secret = shown.is_some();
                context.set_var(name, value, shown);
                if !known || self.problems.len() > before {
                    context.lack_var(name);
                }
                if !self.variables.iter().any(|variable| variable.name == name) {
                    let value = variable.value.filter(|_| !is_secret);
                    self.variables.push(Variable { value, ..variable });
                }
            }
        }
        for (key, _) in &self.options.set {
            let name = key.split('.').next().unwrap_or(key);
            if !context.vars().contains_key(name) {
                let value = self.overridden(name, serde_json::Value::Null);
                context.set_var(name, value, None);
            }
        }
        context
    }

    /// Whether the command line sets a variable.
    fn is_set(&self, name: &str) -> bool {
        self.options.set.iter().any(|(key, _)| key.split('.').next() == Some(name))
    }

    /// The value of a variable with the settings of the command line applied.
    fn overridden(&self, name: &str, mut value: serde_json::Value) -> serde_json::Value {
        for (key, text) in &self.options.set {
            let mut path = key.split('.');
            if path.next() != Some(name) {
                continue;
            }
            let mut nothing = Vec::new();
            let node = Sources::new().parse("--set", text.clone(), None, &mut nothing);
            let mut at = &mut value;
            for part in path {
                if !at.is_object() {
                    *at = Map::new().into();
                }
                at = &mut at[part];
            }
            *at = match node {
                Some(node) if nothing.is_empty() => node.to_json(),
                _ => text.clone().into(),
            };
        }
        value
    }

    fn scenario(
        &mut self,
        scenario: &Node,
        defaults: Option<&Node>,
        context: &Context,
        base: &Path,
    ) {
        if !expect(scenario, Kind::Map, &mut self.problems) {
            return;
        }
        let mut merged = expand::merge_defaults(scenario, defaults);
        let mut combinations = Some(vec![Combination::default()]);
        if let Some(mut matrix) = merged.remove("matrix") {
            expand::evaluate(&mut matrix.value, context, &mut self.problems);
            combinations = expand::combinations(&matrix, &self.sources, &mut self.problems);
        }
        let group = self.groups;
        self.groups += 1;
        // If the matrix is invalid, the scenario is still checked, except where it uses matrix values.
        let known = combinations.is_some();
        for combination in combinations.unwrap_or_else(|| vec![Combination::default()]) {
            if self.scenarios.len() >= SCENARIOS_MAX {
                if self.scenarios.len() == SCENARIOS_MAX {
                    let message = format!("a suite has at most {SCENARIOS_MAX} scenarios");
                    self.problems.push(Problem::at(scenario.place(), message));
                }
                return;
            }
            let mut node = merged.clone();
            combination.apply(&mut node);
            let context = match known {
                true => context.with_matrix(combination.values.clone()),
                false => context.without_matrix(),
            };
            expand::evaluate_scenario(&mut node, &context, &mut self.problems);
            let base_name = node.get("name").and_then(Node::text).map(str::to_owned);
            self.scenarios.push(Unit {
                name: format!("{}{}", base_name.as_deref().unwrap_or(""), combination.suffix()),
                base_name,
                group,
                node,
                matrix: combination.values,
                context,
                base: base.to_owned(),
            });
        }
    }
}

/// `a/b/../c` as `a/c`, for messages.
fn without_detours(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut short = PathBuf::new();
    for part in path.components() {
        match (part, short.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => {
                short.pop();
            }
            _ => short.push(part),
        }
    }
    short
}

/// Whether a path leads to a pipe or a device: `<(…)`, `/dev/stdin`.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| !file.is_file() && !file.is_dir())
}

/// Reads a file; of one that is too large, only enough to find that out.
fn read_text(path: &Path, must_be_file: bool) -> std::io::Result<String> {
    // Opening a pipe would block until it has a writer.
    if must_be_file && !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    text::read(path, FILE_BYTES_MAX as u64)
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values of the environment are secrets.
        f.debug_struct("Options").field("set", &self.set).finish_non_exhaustive()
    }
}

impl Named {
    /// The generator for the scenarios of one matrix combination, ready to be read.
    pub(crate) fn generator(&self, matrix: &Map, problems: &mut Vec<Problem>) -> (Node, Context) {
        let context = self.context.with_matrix(matrix.clone());
        let mut node = self.node.clone();
        expand::evaluate_generator(&mut node, &context, problems);
        (node, context)
    }

    /// Whether the generator has this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    /// The Flow for the scenarios of one matrix combination, ready to be read, with the matrix values that it
    /// uses.
    pub(crate) fn flow(&self, matrix: &Map, problems: &mut Vec<Problem>) -> (Node, Map) {
        let context = self.context.with_matrix(matrix.clone());
        let mut node = self.node.clone();
        expand::evaluate(&mut node, &context, problems);
        let mentioned = |key: &str| {
            let ways =
                [format!("matrix.{key}"), format!("matrix['{key}']"), format!("matrix[\"{key}\"]")];
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            mentions(&self.node, &|text| {
                ways.iter().any(|way| {
                    text.match_indices(way.as_str()).any(|(at, _)| ends(&text[at + way.len()..]))
                })
            })
        };
        let values = matrix.iter().filter(|(key, _)| mentioned(key));
        (node, values.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Whether it depends on the matrix of the scenario that uses it.
    pub(crate) fn mentions_matrix(&self) -> bool {
        mentions(&self.node, &|text| text.contains("${{") && text.contains("matrix"))
    }
}

/// Whether any text below a node satisfies `looked_for`.
fn mentions(node: &Node, looked_for: &dyn Fn(&str) -> bool) -> bool {
    match &node.value {
        Value::Text(text) => looked_for(text),
        Value::List(items) => items.iter().any(|item| mentions(item, looked_for)),
        Value::Map(entries) => entries.iter().any(|entry| mentions(&entry.value, looked_for)),
        _ => false,
    }
}
