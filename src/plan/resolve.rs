//! From a suite as read to a plan: every name resolved, every default filled in, or all that is wrong
//! at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::flows::Flows;
use super::loads::load;
use super::{
    Action, Callbacks, Capacity, ClientOverrides, Parameters, Plan, Post, Scenario, Step,
    Threshold, Work,
};
use crate::assertion::{Assertion, Capture, Message};
use crate::client::{Compression, Retry};
use crate::documents::{Documents, DocumentsSpec};
use crate::random::Key;
use crate::scenario::condition::{Condition, Metric};
use crate::scenario::{
    self, CompressionWord, DocumentsRef, LoadedSuite, Named, ProtocolWord, Unit,
};
use crate::source::{Node, Problem, Problems, Sources, Spot};
use crate::template::{Context, Template, TemplateError};
use crate::units::{Percentage, Span};
use crate::wire::Map;

/// Documents of one request: more than any message can hold.
const REQUEST_SIZE_MAX: u64 = 1_000_000;

/// Connections of one scenario; each takes a file descriptor.
const CONNECTIONS_MAX: u64 = 10_000;

/// Requests in flight that `prefetch` may ask for; each takes memory.
const PREFETCH_MAX: u64 = 1_000_000;

/// Attempts of one request.
const ATTEMPTS_MAX: u64 = 1_000;

/// How long requests in flight may take to finish, unless set.
const GRACE: Duration = Duration::from_secs(10);

/// Resolves every name and fills every default.
///
/// # Errors
/// All that is wrong with the suite.
pub fn resolve(suite: &LoadedSuite) -> Result<Plan, Problems> {
    let mut problems = suite.problems.clone();
    let plan = Resolver::new(suite, &mut problems).plan();
    match Problems::new(&suite.sources, problems) {
        None => Ok(plan),
        Some(problems) => Err(problems),
    }
}

struct Resolver<'a> {
    suite: &'a LoadedSuite,
    problems: &'a mut Vec<Problem>,
    flows: Flows<'a>,
    // By name and, where the generator depends on it, matrix. `None`: it has problems.
    documents: HashMap<(String, String), Option<Arc<Documents>>>,
}

impl<'a> Resolver<'a> {
    fn new(suite: &'a LoadedSuite, problems: &'a mut Vec<Problem>) -> Resolver<'a> {
        let flows = Flows::read(&suite.flows, problems);
        Resolver { suite, problems, flows, documents: HashMap::new() }
    }

    fn plan(mut self) -> Plan {
        let units = &self.suite.scenarios;
        if units.is_empty() && self.problems.is_empty() {
            let problem = Problem::at(self.suite.place, "a suite needs at least one scenario");
            self.problems.push(problem.help("add one under `scenarios:`"));
        }
        self.names();
        let mut scenarios = Vec::with_capacity(units.len());
        for unit in units {
            // What is wrong is taken out of the tree, so each reads a copy of its own.
            let mut node = unit.node.clone();
            let written = Sources::read(&mut node, "a scenario", self.problems);
            let written: scenario::Scenario = written.unwrap_or_default();
            scenarios.push(self.scenario(unit, &written, &node));
        }
        // Generators that no scenario uses are checked too.
        for named in &self.suite.documents {
            if !self.documents.keys().any(|(name, _)| *name == named.name) {
                self.generator(named, &Map::new());
            }
        }
        let capacity = self.capacity(&scenarios);
        Plan {
            name: self.suite.name.clone(),
            seed: self.suite.seed,
            flows: self.flows.into_plan(self.problems),
            scenarios,
            capacity,
        }
    }

    /// Tells of scenarios without a name, or with one that is taken.
    fn names(&mut self) {
        let mut first: HashMap<&str, &Unit> = HashMap::new();
        for unit in &self.suite.scenarios {
            let at = Spot::of(&unit.node).key("name");
            let Some(name) = unit.base_name.as_deref().filter(|name| !name.is_empty()) else {
                if unit.node.get("name").is_none_or(|name| name.text() == Some("")) {
                    at.problem(self.problems, "key `name` is missing in a scenario", |p| p);
                }
                continue;
            };
            match first.get(name) {
                Some(known) if known.group != unit.group => {
                    let other = Spot::of(&known.node).key("name").place();
                    at.problem(
                        self.problems,
                        format!("scenario `{name}` is defined twice"),
                        |problem| problem.see(other, "first defined here"),
                    );
                }
                Some(_) => (),
                None => {
                    first.insert(name, unit);
                }
            }
        }
    }

    fn scenario(&mut self, unit: &'a Unit, written: &scenario::Scenario, node: &Node) -> Scenario {
        let at = Spot::of(node);
        let protocol = self.protocol(written, at);
        let (flow, protocol) =
            self.flows.choose(written.flow.as_deref(), protocol, at, self.problems);
        let steps = self.steps(unit, written, at);
        let load = load(written, at, &unit.base, &steps, self.problems);
        let mut thresholds = Vec::new();
        for (index, threshold) in written.thresholds.iter().flatten().enumerate() {
            self.step_is_known(&threshold.that, &steps, at.key("thresholds").index(index));
            thresholds.push(Threshold {
                that: threshold.that.clone(),
                abort: threshold.abort,
                after: threshold.after.map_or(Duration::ZERO, Span::get),
                implicit: false,
            });
        }
        thresholds.extend(implicit_thresholds(&thresholds));
        Scenario {
            name: unit.name.clone(),
            matrix: unit.matrix.clone(),
            flow,
            protocol,
            client: self.client(written, at),
            steps,
            load,
            warmup: written.warmup.map_or(Duration::ZERO, Span::get),
            needs: self.needs(unit, written, at),
            start: written.start.map_or(Duration::ZERO, Span::get),
            grace: written.grace.map_or(GRACE, Span::get),
            thresholds,
        }
    }

    /// The protocol that a scenario asks for. GraphQL goes over HTTP, whatever the Flow offers besides.
    fn protocol(&mut self, written: &scenario::Scenario, at: Spot<'_>) -> Option<ProtocolWord> {
        let steps = written.steps.as_deref().unwrap_or_default();
        let mutations = steps.iter().filter(|step| step.mutate.is_some()).count();
        if written.mutate.is_none() && mutations == 0 {
            return written.protocol;
        }
        let mixed = mutations < steps.len();
        if mixed && written.protocol.is_some_and(|protocol| protocol != ProtocolWord::Http) {
            at.key("protocol").problem(
                self.problems,
                "a scenario with mutations among its steps goes over http",
                |problem| problem,
            );
        }
        Some(ProtocolWord::Http)
    }

    fn client(&mut self, written: &scenario::Scenario, at: Spot<'_>) -> ClientOverrides {
        let mut count = |value: Option<u64>, key: &str, default: u64, min: u64, max: u64| {
            in_range(value.unwrap_or(default), key, min, max, at.key(key), self.problems)
        };
        let connections = count(written.connections, "connections", 1, 1, CONNECTIONS_MAX);
        let prefetch = count(written.prefetch, "prefetch", 1000, 0, PREFETCH_MAX);
        let timeout = written.timeout.map(Span::get);
        if timeout == Some(Duration::ZERO) {
            at.key("timeout").problem(self.problems, "`timeout` must be above 0s", |problem| {
                problem.help("leave it out for no limit")
            });
        }
        let mut retry = Retry::default();
        if let Some(written) = &written.retry {
            let at = at.key("retry");
            let attempts = written.max_attempts.unwrap_or(1);
            let attempts = in_range(
                attempts,
                "max_attempts",
                1,
                ATTEMPTS_MAX,
                at.key("max_attempts"),
                self.problems,
            );
            retry.max_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
            if let Some(span) = written.initial_backoff {
                retry.initial_backoff = span.get();
            }
            if let Some(span) = written.max_backoff {
                retry.max_backoff = span.get();
            }
            if let Some(multiplier) = written.backoff_multiplier {
                if multiplier < 1.0 {
                    at.key("backoff_multiplier").problem(
                        self.problems,
                        format!("`backoff_multiplier` must be at least 1, found `{multiplier}`"),
                        |problem| problem,
                    );
                }
                retry.backoff_multiplier = multiplier;
            }
            if retry.initial_backoff > retry.max_backoff {
                let found = |duration| Span::new(duration).unwrap_or_default();
                at.key("initial_backoff").problem(
                    self.problems,
                    format!(
                        "`initial_backoff` must not be above `max_backoff`, found {} and {}",
                        found(retry.initial_backoff),
                        found(retry.max_backoff)
                    ),
                    |problem| problem,
                );
            }
        }
        ClientOverrides {
            timeout,
            retry,
            connections: connections as usize,
            compression: match written.compression {
                None | Some(CompressionWord::None) => Compression::None,
                Some(CompressionWord::Gzip) => Compression::Gzip,
                Some(CompressionWord::Deflate) => Compression::Deflate,
            },
            prefetch: prefetch as usize,
            results_in_order: written.results_in_order.unwrap_or(false),
        }
    }

    /// The steps of a scenario, or the one it is itself.
    fn steps(&mut self, unit: &'a Unit, written: &scenario::Scenario, at: Spot<'_>) -> Vec<Step> {
        let own = StepParts {
            on: written.on.as_deref(),
            documents: written.documents.as_ref(),
            request_size: written.request_size,
            parameters: written.parameters.as_ref(),
            target_executor: written.target_executor.as_deref(),
            stream: written.stream,
            mutate: written.mutate.as_deref(),
            variables: written.variables.as_ref(),
            at,
            outer: None,
        };
        let shared = self.judges(
            [
                (written.assert.as_deref(), &written.on_done),
                (None, &written.on_error),
                (None, &written.on_always),
            ],
            unit,
            at,
        );
        let Some(steps) = &written.steps else {
            let work = self.work(unit, &own, &[]);
            let (assertions, callbacks) = shared;
            return vec![Step {
                name: String::new(),
                work,
                captures: vec![],
                assertions,
                callbacks,
            }];
        };
        let steps_at = at.key("steps");
        if steps.is_empty() {
            steps_at.problem(self.problems, "`steps` needs at least one step", |problem| problem);
        }
        for key in ["mutate", "variables"] {
            if at.key(key).node().is_some() {
                at.name(key).problem(
                    self.problems,
                    format!("`{key}` belongs into one of the `steps`"),
                    |problem| problem,
                );
            }
        }
        let mut captured: Vec<String> = Vec::new();
        let mut resolved: Vec<Step> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let at = steps_at.index(index);
            let name = step.name.clone().unwrap_or_default();
            if step.name.as_deref().is_none_or(str::is_empty) {
                at.problem(self.problems, "key `name` is missing in a step", |problem| problem);
            } else if name == "service" {
                let message = "a step cannot be named `service`: `service.p99` is service time";
                at.key("name").problem(self.problems, message, |problem| problem);
            } else if resolved.iter().any(|known| known.name == name) {
                let message = format!("step `{name}` is defined twice");
                at.key("name").problem(self.problems, message, |problem| problem);
            }
            let parts = StepParts {
                on: step.on.as_deref(),
                documents: step.documents.as_ref(),
                request_size: step.request_size,
                parameters: step.parameters.as_ref(),
                target_executor: step.target_executor.as_deref(),
                stream: step.stream,
                mutate: step.mutate.as_deref(),
                variables: step.variables.as_ref(),
                at,
                outer: Some(&own),
            };
            let work = self.work(unit, &parts, &captured);
            let (mut assertions, mut callbacks) = self.judges(
                [
                    (step.assert.as_deref(), &step.on_done),
                    (None, &step.on_error),
                    (None, &step.on_always),
                ],
                unit,
                at,
            );
            assertions.splice(0..0, shared.0.iter().cloned());
            callbacks.on_done.splice(0..0, shared.1.on_done.iter().cloned());
            callbacks.on_error.splice(0..0, shared.1.on_error.iter().cloned());
            callbacks.on_always.splice(0..0, shared.1.on_always.iter().cloned());
            let mut captures = Vec::new();
            for (name, that) in step.capture.iter().flatten() {
                match Capture::compile(name, that, &unit.context) {
                    Ok(capture) => captures.push(capture),
                    Err(error) => {
                        error.tell(at.key("capture").key(name), self.problems);
                    }
                }
                captured.push(name.clone());
            }
            resolved.push(Step { name, work, captures, assertions, callbacks });
        }
        resolved
    }

    /// What one step sends. `captured` has the names that steps before it keep.
    fn work(&mut self, unit: &'a Unit, step: &StepParts<'_>, captured: &[String]) -> Work {
        let at = step.at;
        if let Some(mutation) = step.mutate {
            let posts =
                ["on", "documents", "request_size", "parameters", "target_executor", "stream"];
            for key in posts {
                if at.key(key).node().is_some() {
                    at.name(key).problem(
                        self.problems,
                        format!("`{key}` has no meaning for a mutation"),
                        |problem| problem.help("a mutation names its own arguments"),
                    );
                }
            }
            if mutation.trim().is_empty() {
                at.key("mutate").problem(self.problems, "`mutate` is empty", |problem| problem);
            }
            let variables = self.parameters(unit, step.variables, at.key("variables"), captured);
            return Work::Mutate { mutation: mutation.to_owned(), variables };
        }
        if step.variables.is_some() {
            at.name("variables").problem(
                self.problems,
                "`variables` are of a mutation, and there is no `mutate`",
                |problem| problem,
            );
        }
        let outer = step.outer;
        let stream = step.stream.or(outer.and_then(|outer| outer.stream)).unwrap_or(false);
        let (size, size_at) = match (step.request_size, outer.and_then(|outer| outer.request_size))
        {
            (Some(size), _) => (Some(size), at.key("request_size")),
            (None, Some(size)) => {
                (Some(size), outer.map_or(at, |outer| outer.at).key("request_size"))
            }
            (None, None) => (None, at),
        };
        let request_size = in_range(
            size.unwrap_or(100),
            "request_size",
            1,
            REQUEST_SIZE_MAX,
            size_at,
            self.problems,
        );
        if stream && size.is_some_and(|size| size != 1) {
            size_at.problem(
                self.problems,
                "a request to a streaming endpoint carries one Document",
                |problem| problem.help("leave `request_size` out"),
            );
        }
        let (parameters, parameters_at) = match (step.parameters, outer) {
            (None, Some(outer)) => (outer.parameters, outer.at.key("parameters")),
            (parameters, _) => (parameters, at.key("parameters")),
        };
        let (documents, documents_at) = match (step.documents, outer) {
            (None, Some(outer)) => (outer.documents, outer.at.key("documents")),
            (documents, _) => (documents, at.key("documents")),
        };
        let documents =
            documents.and_then(|documents| self.documents(unit, documents, documents_at));
        if stream && step.documents.is_none() && outer.is_none_or(|outer| outer.documents.is_none())
        {
            at.name("stream").problem(
                self.problems,
                "a request to a streaming endpoint needs `documents`",
                |problem| problem,
            );
        }
        let on = step.on.or(outer.and_then(|outer| outer.on)).unwrap_or("/");
        let target = step.target_executor.or(outer.and_then(|outer| outer.target_executor));
        Work::Post(Post {
            on: on.to_owned(),
            documents,
            request_size: if stream { 1 } else { request_size as usize },
            parameters: self.parameters(unit, parameters, parameters_at, captured),
            target_executor: target.unwrap_or_default().to_owned(),
            stream,
        })
    }

    fn parameters(
        &mut self,
        unit: &Unit,
        template: Option<&Template>,
        at: Spot<'_>,
        captured: &[String],
    ) -> Parameters {
        let seed = Key::new(self.suite.seed).part("parameters").part(&unit.name);
        let Some(template) = template else { return Parameters::constant(Map::new()) };
        if !template.may_be_map() {
            let found = at.node().map_or("a value".into(), Node::found);
            at.problem(self.problems, format!("expected a map, found {found}"), |problem| problem);
            return Parameters::constant(Map::new());
        }
        for path in template.paths() {
            let Some(name) = path.strip_prefix("captured.") else { continue };
            let name = name.split('.').next().unwrap_or(name);
            if !captured.iter().any(|known| known == name) {
                at.find(path).problem(
                    self.problems,
                    format!("no step before this one captures `{name}`"),
                    |problem| {
                        problem.narrow(path).suggest(name, captured.iter().map(String::as_str))
                    },
                );
                return Parameters::constant(Map::new());
            }
        }
        match template.bind(&unit.context) {
            Ok(template) => {
                let depends = template.mentions("captured");
                let parameters = Parameters::new(template, seed);
                // What is wrong with the first request would stop the run at once.
                if !depends && let Err(error) = parameters.evaluate(0, &Map::new()) {
                    error.tell(at, self.problems);
                }
                parameters
            }
            Err(error) => {
                error.tell(at, self.problems);
                Parameters::constant(Map::new())
            }
        }
    }

    fn documents(
        &mut self,
        unit: &'a Unit,
        written: &DocumentsRef,
        at: Spot<'_>,
    ) -> Option<Arc<Documents>> {
        match written {
            DocumentsRef::Name(name) => {
                let suite = self.suite;
                let Some(named) = suite.documents.iter().find(|named| named.name == *name) else {
                    let known = suite.documents.iter().map(|named| named.name.as_str());
                    at.problem(
                        self.problems,
                        format!("no documents are named `{name}`"),
                        |problem| problem.suggest(name, known),
                    );
                    return None;
                };
                self.generator(named, &unit.matrix)
            }
            DocumentsRef::Inline(spec) => {
                let key = Key::new(self.suite.seed).part("inline").part(&unit.name);
                let base = &unit.base;
                Documents::compile(None, spec, at, &unit.context, key, base, self.problems)
                    .map(Arc::new)
            }
        }
    }

    /// A named generator. Scenarios share it, and each reads it from its beginning.
    fn generator(&mut self, named: &Named, matrix: &Map) -> Option<Arc<Documents>> {
        let matrix = if named.mentions_matrix() { matrix.clone() } else { Map::new() };
        let id = (named.name.clone(), serde_json::Value::Object(matrix.clone()).to_string());
        if let Some(known) = self.documents.get(&id) {
            return known.clone();
        }
        let (mut node, context) = named.generator(&matrix, self.problems);
        let spec: Option<DocumentsSpec> =
            Sources::read(&mut node, "a generator of documents", self.problems);
        let key = Key::new(self.suite.seed).part("documents").part(&named.name);
        let documents = spec.and_then(|spec| {
            // One that depends on the matrix has as many forms as the matrix has values.
            let name = matrix.is_empty().then_some(named.name.as_str());
            let (at, base) = (Spot::of(&node), &named.base);
            Documents::compile(name, &spec, at, &context, key, base, self.problems)
        });
        let documents = documents.map(Arc::new);
        self.documents.insert(id, documents.clone());
        documents
    }

    /// Assertions and callbacks of a scenario or a step. The three pairs are `assert` with `on_done`,
    /// then `on_error`, then `on_always`.
    fn judges(
        &mut self,
        written: [Judges<'_>; 3],
        unit: &Unit,
        at: Spot<'_>,
    ) -> (Vec<Assertion>, Callbacks) {
        let [(assert, on_done), (_, on_error), (_, on_always)] = written;
        let mut assertions = Vec::new();
        for (index, written) in assert.into_iter().flatten().enumerate() {
            let at = at.key("assert").index(index);
            let name = written.name.as_deref();
            match Assertion::compile(name, &written.that, written.sample, &unit.context) {
                Ok(assertion) => assertions.push(assertion),
                Err(error) => error.tell(at.key("that"), self.problems),
            }
            if written.sample == Percentage::ZERO {
                at.key("sample")
                    .problem(self.problems, "`sample` must be above 0%", |problem| problem);
            }
        }
        let mut actions = |written: &Option<Vec<scenario::Action>>, key: &str| {
            let actions = written.iter().flatten().enumerate();
            actions
                .filter_map(|(index, action)| {
                    let at = at.key(key).index(index);
                    match resolve_action(action, &unit.context) {
                        Ok(action) => Some(action),
                        Err((part, error)) => {
                            error.tell(at.key(part), self.problems);
                            None
                        }
                    }
                })
                .collect()
        };
        let callbacks = Callbacks {
            on_done: actions(on_done, "on_done"),
            on_error: actions(on_error, "on_error"),
            on_always: actions(on_always, "on_always"),
        };
        (assertions, callbacks)
    }

    fn step_is_known(&mut self, condition: &Condition, steps: &[Step], at: Spot<'_>) {
        let Some(step) = &condition.step else { return };
        let named = || steps.iter().map(|step| step.name.as_str()).filter(|name| !name.is_empty());
        if !named().any(|name| name == step) {
            at.problem(self.problems, format!("no step is named `{step}`"), |problem| {
                problem.suggest(step, named())
            });
        }
    }

    /// The scenarios that must have ended before this one: those it names, and the one before it in
    /// its matrix.
    fn needs(&mut self, unit: &Unit, written: &scenario::Scenario, at: Spot<'_>) -> Vec<usize> {
        let units = &self.suite.scenarios;
        let mut needs: Vec<usize> = Vec::new();
        for (index, name) in written.needs.iter().flatten().enumerate() {
            let at = at.key("needs").index(index);
            let is_meant =
                |other: &Unit| other.base_name.as_ref() == Some(name) || other.name == *name;
            let found: Vec<usize> =
                (0..units.len()).filter(|other| is_meant(&units[*other])).collect();
            if found.is_empty() {
                let known = units.iter().filter_map(|unit| unit.base_name.as_deref());
                at.problem(self.problems, format!("no scenario is named `{name}`"), |problem| {
                    problem.suggest(name, unique(known))
                });
            } else if let Some((chain, first)) = self.cycle(unit.group, &found) {
                // Each scenario of the circle finds it; one of them tells.
                if !first {
                    continue;
                }
                let message = if chain.len() == 1 {
                    "a scenario cannot need itself".to_owned()
                } else {
                    let names: Vec<String> = chain.iter().map(|name| format!("`{name}`")).collect();
                    format!("scenarios need one another: {}", names.join(" needs "))
                };
                at.problem(self.problems, message, |problem| problem);
            } else {
                needs.extend(found);
            }
        }
        let me = units.iter().position(|other| std::ptr::eq(other, unit)).unwrap_or(0);
        if me > 0 && units[me - 1].group == unit.group {
            needs.push(me - 1);
        }
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// The names on the way from a scenario of `group`, over one of `found`, back to it, and whether it
    /// is the first of them in the file; `None` when there is no such way.
    fn cycle(&self, group: usize, found: &[usize]) -> Option<(Vec<String>, bool)> {
        let units = &self.suite.scenarios;
        let name = |group: usize| {
            let unit = units.iter().find(|unit| unit.group == group);
            unit.and_then(|unit| unit.base_name.clone()).unwrap_or_default()
        };
        // Breadth first over groups: a matrix counts as one scenario.
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut open: Vec<usize> = Vec::new();
        for other in found {
            if units[*other].group == group {
                return Some((vec![name(group)], true));
            }
            if from.insert(units[*other].group, group).is_none() {
                open.push(units[*other].group);
            }
        }
        while let Some(at) = open.pop() {
            if at == group {
                let mut chain = vec![name(group)];
                let mut first = true;
                let mut step = from[&group];
                while step != group {
                    first &= group < step;
                    chain.push(name(step));
                    step = from[&step];
                }
                chain.push(name(group));
                chain.reverse();
                return Some((chain, first));
            }
            for unit in units.iter().filter(|unit| unit.group == at) {
                for needed in unit.node.get("needs").map(Node::items).unwrap_or_default() {
                    let Some(needed) = needed.text() else { continue };
                    let others = units.iter().filter(|other| {
                        other.base_name.as_deref() == Some(needed) || other.name == needed
                    });
                    for other in others {
                        if other.group != at && !from.contains_key(&other.group) {
                            from.insert(other.group, at);
                            open.push(other.group);
                        }
                    }
                }
            }
        }
        None
    }

    fn capacity(&mut self, scenarios: &[Scenario]) -> Option<Capacity> {
        let mut node = self.suite.capacity.clone()?;
        let written: scenario::Capacity = Sources::read(&mut node, "`capacity`", self.problems)?;
        let at = Spot::of(&node);
        let scenario = scenarios.iter().position(|scenario| scenario.name == written.scenario);
        let Some(scenario) = scenario else {
            let known = scenarios.iter().map(|scenario| scenario.name.as_str());
            let message = format!("no scenario is named `{}`", written.scenario);
            at.key("scenario").problem(self.problems, message, |problem| {
                problem.suggest(&written.scenario, known)
            });
            return None;
        };
        if written.objective.is_empty() {
            at.key("objective").problem(self.problems, "`objective` needs a condition", |p| p);
        }
        for (index, condition) in written.objective.iter().enumerate() {
            let at = at.key("objective").index(index);
            self.step_is_known(condition, &scenarios[scenario].steps, at);
        }
        let precision =
            written.precision.or(Percentage::new(5.0)).filter(|part| *part > Percentage::ZERO);
        let Some(precision) = precision else {
            let message = "`precision` must be above 0%";
            at.key("precision").problem(self.problems, message, |problem| problem);
            return None;
        };
        let trial = written.trial.map_or(Duration::from_secs(20), Span::get);
        if trial.is_zero() {
            at.key("trial").problem(self.problems, "`trial` must be above 0s", |problem| problem);
        }
        Some(Capacity {
            scenario,
            objective: written.objective,
            rate_min: written.rate.low(),
            rate_max: written.rate.high(),
            precision,
            trial,
        })
    }
}

/// The assertions of one kind of end, with the callback of that end.
type Judges<'a> = (Option<&'a [scenario::Assertion]>, &'a Option<Vec<scenario::Action>>);

/// The keys of a step, or of a scenario that is its only step.
struct StepParts<'a> {
    on: Option<&'a str>,
    documents: Option<&'a DocumentsRef>,
    request_size: Option<u64>,
    parameters: Option<&'a Template>,
    target_executor: Option<&'a str>,
    stream: Option<bool>,
    mutate: Option<&'a str>,
    variables: Option<&'a Template>,
    at: Spot<'a>,
    // The scenario of a step, for what the step does not set.
    outer: Option<&'a StepParts<'a>>,
}

fn resolve_action(
    action: &scenario::Action,
    context: &Context,
) -> Result<Action, (&'static str, TemplateError)> {
    Ok(match action {
        scenario::Action::Print => Action::Print,
        scenario::Action::Log(text) => {
            Action::Log(Message::compile(text, context).map_err(|error| ("log", error))?)
        }
        scenario::Action::Beep => Action::Beep,
        scenario::Action::Count(name) => Action::Count(name.clone()),
        scenario::Action::Save(path) => Action::Save(path.clone()),
        scenario::Action::Check(that) => Action::Check(
            Assertion::compile(None, that, Percentage::ALL, context)
                .map_err(|error| ("check", error))?,
        ),
        scenario::Action::Abort => Action::Abort,
    })
}

/// A run that saw errors never looks green by accident: each of these holds unless the file says
/// something else about the same.
fn implicit_thresholds(stated: &[Threshold]) -> Vec<Threshold> {
    let states = |metrics: &[Metric]| {
        let about_all = stated.iter().filter(|threshold| threshold.that.step.is_none());
        about_all.into_iter().any(|threshold| metrics.contains(&threshold.that.metric))
    };
    [
        ("error_rate == 0", &[Metric::ErrorRate, Metric::Errors][..]),
        ("assertion_failures == 0", &[Metric::AssertionFailures]),
        ("dropped == 0", &[Metric::Dropped]),
    ]
    .into_iter()
    .filter(|(_, metrics)| !states(metrics))
    .map(|(text, _)| Threshold {
        that: text.parse().expect("the condition is one"),
        abort: false,
        after: Duration::ZERO,
        implicit: true,
    })
    .collect()
}

/// Tells when a count is out of its range.
pub(super) fn in_range(
    value: u64,
    key: &str,
    min: u64,
    max: u64,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> u64 {
    if value < min || value > max {
        at.problem(
            problems,
            format!("`{key}` must be from {min} to {max}, found `{value}`"),
            |problem| problem,
        );
    }
    value.clamp(min, max)
}

/// Names without repetitions, in their order.
fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut unique: Vec<&str> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}
