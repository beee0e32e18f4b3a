//! Mistakes in a configuration that parsing its values does not find.

use std::collections::BTreeSet;
use std::fmt;

use super::behaviour::{Behaviour, SlowStart, Stall};
use super::flow::{FamilyName, FlowConfig};
use super::schema::SchemaSpec;
use crate::units::ByteSize;
use crate::wire::{Schema, SchemaMistake, Step};

/// A mistake in a configuration that parsing its values does not find.
///
/// `Display` gives `executors[1].needs[0]: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowProblem {
    /// The path to the value.
    pub path: Vec<PathStep>,
    /// What was found and what was expected.
    pub message: String,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl From<&str> for PathStep {
    fn from(key: &str) -> PathStep {
        PathStep::Key(key.to_owned())
    }
}

impl From<usize> for PathStep {
    fn from(index: usize) -> PathStep {
        PathStep::Index(index)
    }
}

impl fmt::Display for FlowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.path.iter().enumerate() {
            match step {
                PathStep::Key(key) if i == 0 => f.write_str(key)?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        write!(f, ": {}", self.message)
    }
}

impl FlowConfig {
    /// All mistakes at once; empty if there are none.
    pub fn problems(&self) -> Vec<FlowProblem> {
        let mut found = Problems(Vec::new());
        if self.protocols.is_empty() {
            found.add(["protocols".into()], "a Flow needs at least one protocol");
        }
        for (i, protocol) in self.protocols.iter().enumerate() {
            if self.protocols[..i].contains(protocol) {
                let name = protocol.as_str();
                found.add(["protocols".into(), i.into()], format!("`{name}` is listed twice"));
            }
        }
        for protocol in self.ports.keys() {
            if !self.protocols.contains(protocol) {
                let message = "a port for a protocol that is not among `protocols`";
                found.add(["ports".into(), protocol.as_str().into()], message);
            }
        }
        if self.family == FamilyName::V2 {
            if self.graphql == Some(true) {
                found.add(["graphql".into()], "the v2 family has no GraphQL");
            }
            if !self.expose.is_empty() {
                let message = "the v2 family already has a route for every endpoint";
                found.add(["expose".into()], message);
            }
        }
        self.schema_problems(&mut found);
        for (i, endpoint) in self.expose.iter().enumerate() {
            if !endpoint.starts_with('/') {
                found.add(["expose".into(), i.into()], starts_with_slash(endpoint));
            }
        }
        for i in 0..self.executors.len() {
            self.executor_problems(i, &mut found);
        }
        found.0
    }

    /// Reports schemas that v1 does not support or that are invalid.
    fn schema_problems(&self, found: &mut Problems) {
        let mut check = |spec: &SchemaSpec, path: Vec<PathStep>| match spec {
            SchemaSpec::Legacy => (),
            _ if self.family == FamilyName::V1 => {
                let message =
                    "Documents of the v1 family have one schema; set `family: v2` on the Flow";
                found.add(path, message);
            }
            SchemaSpec::Own(json) => {
                for SchemaMistake { path: within, message } in Schema::mistakes(json) {
                    let within = within.into_iter().map(|step| match step {
                        Step::Key(key) => PathStep::Key(key),
                        Step::Index(index) => PathStep::Index(index),
                    });
                    found.add(path.iter().cloned().chain(within), message);
                }
            }
            SchemaSpec::Any => (),
        };
        check(&self.schema, vec!["schema".into()]);
        for (i, executor) in self.executors.iter().enumerate() {
            let at = |keys: &[&str]| -> Vec<PathStep> {
                let keys = keys.iter().map(|key| PathStep::from(*key));
                ["executors".into(), i.into()]
                    .into_iter()
                    .chain(keys)
                    .chain(["schema".into()])
                    .collect()
            };
            if let Some(spec) = &executor.schema {
                check(spec, at(&[]));
            }
            if let Some(spec) =
                executor.default.as_ref().and_then(|default| default.schema.as_ref())
            {
                check(spec, at(&["default"]));
            }
            for (endpoint, behaviour) in &executor.endpoints {
                if let Some(spec) = &behaviour.schema {
                    check(spec, at(&["endpoints", endpoint]));
                }
            }
        }
    }

    fn executor_problems(&self, i: usize, found: &mut Problems) {
        let executor = &self.executors[i];
        let before = &self.executors[..i];
        let name = &executor.name;
        let at = |key: &str| ["executors".into(), i.into(), key.into()];
        let deeper =
            |key: &str, step: PathStep| at(key).into_iter().chain([step]).collect::<Vec<_>>();
        if name.is_empty() || name == "gateway" || name.chars().count() > NAME_MAX {
            let message = format!(
                "expected a name of 1 to {NAME_MAX} characters other than `gateway`, found `{name}`"
            );
            found.add(at("name"), message);
        }
        if before.iter().any(|other| other.name == *name) {
            found.add(at("name"), format!("another Executor is already named `{name}`"));
        }
        if executor.replicas == 0 || executor.replicas > REPLICAS_MAX {
            let message =
                format!("expected 1 to {REPLICAS_MAX} replicas, found {}", executor.replicas);
            found.add(at("replicas"), message);
        }
        if let Some(slow) = executor.slow_replica {
            if slow.replica >= executor.replicas {
                let (slow, replicas) = (slow.replica, executor.replicas);
                let message = format!(
                    "there is no replica {slow}: `replicas` is {replicas}, and the first is 0"
                );
                found.add(at("slow_replica"), message);
            }
            if !(slow.factor.is_finite() && slow.factor >= 1.0) {
                let message = format!("expected a factor of at least 1, found {}", slow.factor);
                found.add(at("slow_replica"), message);
            }
        }
        if executor.concurrency == Some(0) {
            found.add(at("concurrency"), "expected at least 1, found 0");
        }
        if let Some(Stall { every, r#for }) = executor.stall
            && r#for >= every
        {
            let message =
                format!("`for` must be shorter than `every`, found {for} and {every}", for = r#for);
            found.add(at("stall"), message);
        }
        if let Some(SlowStart { factor, .. }) = executor.slow_start
            && !(factor >= 1.0 && factor.is_finite())
        {
            found.add(
                deeper("slow_start", "factor".into()),
                format!("expected at least 1, found {factor}"),
            );
        }
        let mut seen = BTreeSet::new();
        for (n, need) in executor.needs.iter().flatten().enumerate() {
            if !seen.insert(need) {
                found.add(deeper("needs", n.into()), format!("`{need}` is listed twice"));
            } else if need != "gateway" && !before.iter().any(|other| other.name == *need) {
                let known = before.iter().map(|other| format!(", `{}`", other.name));
                let known: String = known.collect();
                let message = format!(
                    "no Executor before this one is named `{need}` (known: `gateway`{known})"
                );
                found.add(deeper("needs", n.into()), message);
            }
        }
        if executor.needs.as_ref().is_some_and(Vec::is_empty) {
            let message = "expected at least one name; `gateway` is the request itself";
            found.add(at("needs"), message);
        }
        if let Some(behaviour) = &executor.default {
            behaviour.problems(at("default").to_vec(), found);
        }
        for (endpoint, behaviour) in &executor.endpoints {
            let path = || deeper("endpoints", endpoint.as_str().into());
            if !endpoint.starts_with('/') {
                found.add(path(), starts_with_slash(endpoint));
            }
            behaviour.problems(path(), found);
            if behaviour.stream.is_some() && self.family == FamilyName::V1 {
                let path = path().into_iter().chain(["stream".into()]);
                found.add(path, "the v1 family has no streaming endpoints");
            }
        }
    }
}

impl Behaviour {
    /// Checks sizes that would take too much memory.
    fn problems(&self, path: Vec<PathStep>, found: &mut Problems) {
        let mut check = |steps: &[&str], value: u64, most: u64| {
            if value > most {
                let path = path.iter().cloned().chain(steps.iter().map(|step| (*step).into()));
                found.add(path, format!("expected at most {most}, found {value}"));
            }
        };
        let Behaviour { set, matches, append, stream, .. } = self;
        let embedding = set.as_ref().and_then(|set| set.embedding).unwrap_or(0);
        check(&["set", "embedding"], embedding.into(), EMBEDDING_MAX);
        check(&["matches", "k"], matches.as_ref().map_or(0, |m| m.k).into(), COUNT_MAX);
        check(&["append", "count"], append.as_ref().map_or(0, |a| a.count).into(), COUNT_MAX);
        check(&["stream", "count"], stream.map_or(0, |stream| stream.count).into(), COUNT_MAX);
        let size = self.response_size.unwrap_or_default();
        if size > RESPONSE_MAX {
            let path = path.into_iter().chain(["response_size".into()]);
            found.add(path, format!("expected at most {RESPONSE_MAX}, found {size}"));
        }
    }
}

/// Maximum number of Documents that a behaviour makes from one.
const COUNT_MAX: u64 = 1_000_000;

/// Maximum length of an embedding.
const EMBEDDING_MAX: u64 = 65_536;

/// Maximum padding in bytes: the largest message of a gateway.
const RESPONSE_MAX: ByteSize = ByteSize::new(1 << 30);

/// Maximum length of a name: names are matched against patterns from clients and appear in every route.
const NAME_MAX: usize = 200;

/// Maximum number of replicas of an Executor: more than any real Flow has.
const REPLICAS_MAX: u32 = 10_000;

/// The mistakes found so far.
struct Problems(Vec<FlowProblem>);

impl Problems {
    fn add(&mut self, path: impl IntoIterator<Item = PathStep>, message: impl Into<String>) {
        let path = path.into_iter().collect();
        self.0.push(FlowProblem { path, message: message.into() });
    }
}

fn starts_with_slash(endpoint: &str) -> String {
    format!("an endpoint starts with `/`, found `{endpoint}`")
}
