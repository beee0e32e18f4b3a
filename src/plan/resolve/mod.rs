//! Turns a suite as read into a plan: every name resolved and every default filled in, or all problems reported
//! together.

mod combinations;
mod needs;
mod steps;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::flows::Flows;
use super::loads::load;
use super::range::in_range;
use super::{
    Capacity, Choice, ClientOverrides, Connections, Levels, Plan, Post, Scenario, Step, Threshold,
    Tracing, Work,
};
use super::{names, ports, saves};
use crate::client::{Compression, Retry};
use crate::documents::Documents;
use crate::metric::{Measure, Metric};
use crate::scenario::{self, CallWord, CompressionWord, LoadedSuite, ProtocolWord, Unit};
use crate::source::{Node, Problem, Problems, Sources, Spot};
use crate::units::{Count, Part, Percentage, Range, Rate, Span};
use crate::wire::{Family, Map, Protocol};
use needs::Needs;

/// The most Documents per request: more than any message can hold.
const REQUEST_SIZE_MAX: u64 = 1_000_000;

/// The most connections of one scenario; each takes a file descriptor.
const CONNECTIONS_MAX: u64 = 10_000;

/// The most threads that a scenario may ask for: more than any machine has processors.
const WORKERS_MAX: u64 = 1024;

/// The most requests in flight that `prefetch` may ask for; each takes memory.
const PREFETCH_MAX: u64 = 1_000_000;

/// The most attempts of one request.
const ATTEMPTS_MAX: u64 = 1_000;

/// Resolves every name and fills every default.
///
/// # Errors
/// All problems of the suite.
pub fn resolve(suite: &LoadedSuite) -> Result<Plan, Problems> {
    resolve_onto(suite, None)
}

/// Like [`resolve`], with all scenarios on one Flow, by its name in the file, whichever they name.
///
/// # Errors
/// All problems of the suite, including that there is no such Flow.
pub(crate) fn resolve_onto(suite: &LoadedSuite, flow: Option<&str>) -> Result<Plan, Problems> {
    let mut problems = suite.problems.clone();
    let plan = Resolver::new(suite, flow, &mut problems).plan();
    match Problems::new(&suite.sources, problems) {
        None => Ok(plan),
        Some(problems) => Err(problems),
    }
}

struct Resolver<'a> {
    suite: &'a LoadedSuite,
    problems: &'a mut Vec<Problem>,
    flows: Flows<'a>,
    // The Flow that all scenarios are sent to, whatever they say.
    onto: Option<&'a str>,
    // By name and, if the generator depends on it, matrix. `None` if it has problems.
    documents: HashMap<(String, String), Option<Arc<Documents>>>,
}

impl<'a> Resolver<'a> {
    fn new(
        suite: &'a LoadedSuite,
        onto: Option<&'a str>,
        problems: &'a mut Vec<Problem>,
    ) -> Resolver<'a> {
        let flows = Flows::read(&suite.flows, problems);
        Resolver { suite, problems, flows, onto, documents: HashMap::new() }
    }

    fn plan(mut self) -> Plan {
        let units = &self.suite.scenarios;
        if units.is_empty() && self.problems.is_empty() {
            let problem = Problem::at(self.suite.place, "a suite needs at least one scenario");
            self.problems.push(problem.help("add one under `scenarios:`"));
        }
        self.names();
        let needs = Needs::new(units);
        let mut scenarios = Vec::with_capacity(units.len());
        for (index, unit) in units.iter().enumerate() {
            // Reading removes invalid parts from the tree, so each scenario reads its own copy.
            let mut node = unit.node.clone();
            let given = Sources::read(&mut node, "a scenario", self.problems);
            let given: scenario::Scenario = given.unwrap_or_default();
            let (names, at) = (given.needs.as_deref(), Spot::of(&node).key("needs"));
            let needs = needs.of(index, names.unwrap_or_default(), at, self.problems);
            scenarios.push(self.scenario(unit, &given, &node, needs));
        }
        // Generators that no scenario uses are checked too.
        let used: HashSet<String> = self.documents.keys().map(|(name, _)| name.clone()).collect();
        for named in self.suite.documents.iter().filter(|named| !used.contains(&named.name)) {
            self.generator(named, &Map::new());
        }
        let groups: Vec<usize> = units.iter().map(|unit| unit.group).collect();
        for flows in self.flows.of_matrices() {
            combinations::one_after_the_other(&flows, &groups, &mut scenarios);
        }
        if let Some(index) = combinations::in_a_circle(&scenarios) {
            let at = Spot::of(&units[index].node).key("needs");
            let message = format!(
                "scenario `{}` can never start: it waits for all scenarios on the Flow of \
                 another combination of the matrix, and one of those waits for all combinations",
                scenarios[index].name
            );
            at.problem(self.problems, message, |problem| problem);
        }
        let capacity = self.capacity(&scenarios);
        let mut flows = self.flows.into_plan(self.problems);
        for (index, flow) in flows.iter_mut().enumerate() {
            let of_flow = || scenarios.iter().filter(|scenario| scenario.flow == index);
            let steps = || of_flow().flat_map(|scenario| &scenario.steps);
            let plain = |step: &Step| matches!(step.work, Work::Http(_));
            let is_plain = steps().all(plain);
            if steps().next().is_none() {
                continue;
            }
            if is_plain {
                flow.origin.ask_nothing();
            } else if flow.origin.wants_http_2() {
                let base = flow.name.strip_suffix(&scenario::suffix(&flow.matrix));
                let base = base.unwrap_or(&flow.name);
                let Some(named) = self.suite.flows.iter().find(|named| named.name == base) else {
                    continue;
                };
                let message = "HTTP/2 is only for flows whose scenarios all send plain requests: \
                               Flows speak HTTP/1.1";
                let at = Spot::of(&named.node).key("http_version");
                at.problem(self.problems, message, |problem| {
                    problem.help(
                        "leave `http_version` out, or use `request` in all scenarios of this flow",
                    )
                });
            }
        }
        for scenario in &mut scenarios {
            scenario.client.http_2 = flows[scenario.flow].origin.wants_http_2();
        }
        let plan = Plan {
            name: self.suite.name.clone(),
            seed: self.suite.seed,
            flows,
            scenarios,
            part: Part::WHOLE,
            capacity,
            secrets: self.suite.secrets.clone(),
        };
        plan.hide_credentials();
        if self.problems.is_empty() {
            let generators = self.documents.values().flatten().map(|documents| &**documents);
            saves::check(self.suite, &plan, generators, self.problems);
            ports::check(self.suite, &plan, self.problems);
        }
        plan
    }

    /// Reports scenarios without a name, or with a duplicate one.
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

    fn scenario(
        &mut self,
        unit: &'a Unit,
        given: &scenario::Scenario,
        node: &Node,
        needs: Vec<usize>,
    ) -> Scenario {
        let at = Spot::of(node);
        let protocol = self.protocol(given, at);
        let (flow, protocol) = self.flows.choose(
            self.onto.or(given.flow.as_deref()),
            &unit.matrix,
            protocol,
            at,
            self.problems,
        );
        let (mut steps, choices) = self.steps(unit, given, flow, at);
        let streams = |step: &Step| matches!(&step.work, Work::Post(post) if post.stream);
        if let Some(index) = steps.iter().position(streams)
            && protocol != Protocol::Grpc
        {
            let of_step = step_at(&steps, &choices, at, index);
            let at = if at.key("stream").node().is_some() { at } else { of_step };
            let message =
                format!("streaming endpoints require grpc, and this scenario uses {protocol}");
            at.key("stream").problem(self.problems, message, |problem| problem);
        }
        self.call(given, protocol, flow, at);
        let unary = given.call == Some(CallWord::Unary);
        let shares = |step: &Step| {
            let alone = unary || matches!(&step.work, Work::Post(post) if post.stream);
            step.headers.is_some() && protocol != Protocol::Http && !alone
        };
        if let Some(index) = steps.iter().position(shares) {
            let of_step = step_at(&steps, &choices, at, index);
            let at = if of_step.key("headers").node().is_some() { of_step } else { at };
            let what = match protocol {
                Protocol::WebSocket => "one connection",
                _ => "one stream",
            };
            let message = format!("over {protocol} all requests share {what} and its headers");
            at.name("headers").problem(self.problems, message, |problem| {
                problem.help(match protocol {
                    Protocol::Grpc => "give the flow `headers`, use http, or set `call: unary`",
                    _ => "give the flow `headers`, or use http",
                })
            });
        }
        let trace = self.trace(given, at, protocol, unary, &mut steps);
        let load = load(given, at, &unit.base, &steps, self.problems);
        let mut thresholds = Vec::new();
        for (index, threshold) in given.thresholds.iter().flatten().enumerate() {
            let at = at.key("thresholds").index(index);
            self.names_are_known(&threshold.that.metric, &steps, flow, at);
            if threshold.abort && !threshold.that.can_abort() {
                let message = format!(
                    "`{}` is known only when the load is over, so it cannot `abort` the load",
                    threshold.that
                );
                at.key("abort").problem(self.problems, message, |problem| {
                    problem.help("leave `abort` out: it is judged at the end")
                });
            }
            thresholds.push(Threshold {
                that: threshold.that.clone(),
                abort: threshold.abort,
                after: threshold.after.map_or(Duration::ZERO, Span::get),
                implicit: false,
            });
        }
        let family = self.flows.family(flow);
        if family == Some(Family::V1) {
            self.two_contents(&steps, &choices, at);
        }
        let many =
            |step: &Step| matches!(&step.work, Work::Post(post) if post.may_lose(protocol, family));
        thresholds.extend(implicit_thresholds(&thresholds, steps.iter().any(many)));
        Scenario {
            name: unit.name.clone(),
            matrix: unit.matrix.clone(),
            flow,
            protocol,
            client: self.client(given, at),
            steps,
            choices,
            load,
            trace,
            warmup: given.warmup.map_or(Duration::ZERO, Span::get),
            needs,
            always: given.always.unwrap_or(false),
            after: Vec::new(),
            start: given.start.map_or(Duration::ZERO, Span::get),
            own_grace: given.grace.map(Span::get),
            thresholds,
        }
    }

    /// Which requests are traced, and how.
    fn trace(
        &mut self,
        given: &scenario::Scenario,
        at: Spot<'_>,
        protocol: Protocol,
        unary: bool,
        steps: &mut [Step],
    ) -> Option<Tracing> {
        let trace = given.trace.as_ref()?;
        let share = trace.sample.map_or(0.01, Percentage::fraction);
        if let Some(link) = trace.link.as_ref().filter(|link| !link.contains("{id}")) {
            let message = format!("expected an address with `{{id}}` in it, found `{link}`");
            at.key("trace").key("link").problem(self.problems, message, |problem| {
                problem.help("for example `http://jaeger:16686/trace/{id}`")
            });
        }
        let alone = |step: &Step| {
            let own_call = unary || matches!(&step.work, Work::Post(post) if post.stream);
            protocol == Protocol::Http || own_call && protocol == Protocol::Grpc
        };
        let mut by_connection = false;
        for step in steps {
            let alone = alone(step);
            step.traced = Some(share).filter(|share| alone && *share > 0.0);
            by_connection |= !alone && share > 0.0;
        }
        Some(Tracing { share, link: trace.link.clone(), by_connection })
    }

    /// Reports a kind of call that the protocol or the Flow does not support.
    fn call(&mut self, given: &scenario::Scenario, protocol: Protocol, flow: usize, at: Spot<'_>) {
        let Some(call) = given.call else { return };
        let at = at.key("call");
        if protocol != Protocol::Grpc {
            let message = format!("`call` applies to gRPC only, and this scenario uses {protocol}");
            at.problem(self.problems, message, |problem| problem.help("leave it out"));
        } else if call == CallWord::Unary && self.flows.embeds(flow, Family::V1) {
            let message = "an embedded Flow of family v1 has no unary calls, like Jina before 3.13";
            at.problem(self.problems, message, |problem| {
                problem.help("give the Flow `family: v2`, or leave `call` out")
            });
        }
    }

    /// Reports fields that no Document of v1 has, and data sets with an entry that no Document can hold.
    fn two_contents(&mut self, steps: &[Step], choices: &[Choice], at: Spot<'_>) {
        for (index, step) in steps.iter().enumerate() {
            let Work::Post(Post { documents: Some(documents), .. }) = &step.work else { continue };
            if let Some(field) = documents.own_field() {
                let of_step = step_at(steps, choices, at, index).key("documents");
                let at = if of_step.node().is_some() { of_step } else { at.key("documents") };
                let message = format!(
                    "Documents of the v1 family have no field `{field}`, and this Flow is of v1"
                );
                at.problem(self.problems, message, |problem| {
                    problem.help("set `family: v2` on the Flow, or put it into `tags`")
                });
            }
            if let Some(two) = documents.two_contents() {
                let of_step = step_at(steps, choices, at, index).key("documents");
                let at = if of_step.node().is_some() { of_step } else { at.key("documents") };
                at.problem(self.problems, two.to_string(), |problem| problem);
            }
        }
    }

    /// The protocol of a scenario. GraphQL and plain requests go over HTTP, whatever else the Flow offers.
    fn protocol(&mut self, given: &scenario::Scenario, at: Spot<'_>) -> Option<ProtocolWord> {
        let steps: Vec<&scenario::Step> = given.all_steps().collect();
        let over_http =
            steps.iter().filter(|step| step.mutate.is_some() || step.request.is_some()).count();
        if given.mutate.is_none() && given.request.is_none() && over_http == 0 {
            return given.protocol;
        }
        let mixed = over_http < steps.len() || given.request.is_some();
        if mixed && given.protocol.is_some_and(|protocol| protocol != ProtocolWord::Http) {
            at.key("protocol").problem(
                self.problems,
                "a scenario with mutations or plain requests must use http",
                |problem| problem,
            );
        }
        Some(ProtocolWord::Http)
    }

    fn client(&mut self, given: &scenario::Scenario, at: Spot<'_>) -> ClientOverrides {
        let mut count = |value: Option<u64>, key: &str, default: u64, min: u64, max: u64| {
            in_range(value.unwrap_or(default), key, min, max, at.key(key), self.problems)
        };
        let connections = match given.connections {
            None => Connections::AsNeeded,
            some => {
                let connections = count(some, "connections", 1, 1, CONNECTIONS_MAX);
                Connections::Exactly(connections as usize)
            }
        };
        let workers = given.workers.map(|_| count(given.workers, "workers", 1, 1, WORKERS_MAX));
        let prefetch = count(given.prefetch, "prefetch", 1000, 0, PREFETCH_MAX);
        let timeout = given.timeout.map(Span::get);
        if timeout == Some(Duration::ZERO) {
            at.key("timeout").problem(self.problems, "`timeout` must be above 0s", |problem| {
                problem.help("leave it out for no limit")
            });
        }
        let mut retry = Retry::default();
        if let Some(given) = &given.retry {
            let at = at.key("retry");
            let attempts = given.max_attempts.unwrap_or(1);
            let attempts = in_range(
                attempts,
                "max_attempts",
                1,
                ATTEMPTS_MAX,
                at.key("max_attempts"),
                self.problems,
            );
            retry.max_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
            if let Some(span) = given.initial_backoff {
                retry.initial_backoff = span.get();
            }
            if let Some(span) = given.max_backoff {
                retry.max_backoff = span.get();
            }
            if let Some(multiplier) = given.backoff_multiplier {
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
            connections,
            workers: workers.map(|workers| workers as usize),
            unary: given.call == Some(CallWord::Unary),
            // Set by the flow, once it is known what all its scenarios send.
            http_2: false,
            compression: match given.compression {
                None | Some(CompressionWord::None) => Compression::None,
                Some(CompressionWord::Gzip) => Compression::Gzip,
                Some(CompressionWord::Deflate) => Compression::Deflate,
            },
            prefetch: prefetch as usize,
            results_in_order: given.results_in_order.unwrap_or(false),
        }
    }

    fn names_are_known(&mut self, metric: &Metric, steps: &[Step], flow: usize, at: Spot<'_>) {
        let executors = self.flows.executors(flow);
        let watched = self.flows.watched(flow);
        if let Err(unknown) = names::check(metric, steps, executors.as_deref(), watched.as_deref())
        {
            at.problem(self.problems, unknown.to_string(), |problem| {
                problem.suggest(&unknown.name, unknown.known.iter().map(String::as_str))
            });
        }
    }

    fn capacity(&mut self, scenarios: &[Scenario]) -> Option<Capacity> {
        let mut node = self.suite.capacity.clone()?;
        let given: scenario::Capacity = Sources::read(&mut node, "`capacity`", self.problems)?;
        let at = Spot::of(&node);
        let meant =
            scenarios.iter().enumerate().filter(|(_, scenario)| scenario.is_of(&given.scenario));
        let meant: Vec<usize> = meant.map(|(index, _)| index).collect();
        let Some(&scenario) = meant.first() else {
            let known = scenarios.iter().map(|scenario| scenario.name.as_str());
            let message = format!("no scenario is named `{}`", given.scenario);
            at.key("scenario")
                .problem(self.problems, message, |problem| problem.suggest(&given.scenario, known));
            return None;
        };
        if meant.len() > Capacity::COMBINATIONS_MAX {
            let message = format!(
                "the matrix of `{}` has {} combinations, and each is a separate search: at most {}",
                given.scenario,
                meant.len(),
                Capacity::COMBINATIONS_MAX
            );
            at.key("scenario").problem(self.problems, message, |problem| {
                problem.help("name one of them, such as `search [replicas=2]`, or leave values out")
            });
        }
        if given.objective.is_empty() {
            at.key("objective").problem(self.problems, "`objective` needs a condition", |p| p);
        }
        for (index, condition) in given.objective.iter().enumerate() {
            let at = at.key("objective").index(index);
            let Scenario { steps, flow, .. } = &scenarios[scenario];
            self.names_are_known(&condition.metric, steps, *flow, at);
            if let Err(error) = condition.check_objective() {
                at.problem(self.problems, error.to_string(), |problem| problem);
            }
        }
        let mut share =
            |key: &str, given: Option<Percentage>, otherwise, allowed: &RangeInclusive<f64>| {
                let share = given.or(Percentage::new(otherwise));
                let share = share.filter(|share| allowed.contains(&share.fraction()));
                if share.is_none() {
                    let (low, high) = (allowed.start() * 100.0, allowed.end() * 100.0);
                    let message = format!("`{key}` must be from {low}% to {high}%");
                    at.key(key).problem(self.problems, message, |problem| problem);
                }
                share
            };
        let precision =
            share("precision", given.precision, Capacity::PRECISION, &Capacity::PRECISIONS);
        let confidence =
            share("confidence", given.confidence, Capacity::CONFIDENCE, &Capacity::CONFIDENCES);
        let trial = given.trial.map_or(Capacity::TRIAL, Span::get);
        if !Capacity::TRIALS.contains(&trial) {
            let message = "`trial` must be from 1s to 24h";
            at.key("trial").problem(self.problems, message, |problem| problem);
        }
        let levels = self.levels(given.rate, given.clients, at)?;
        if let Some(cost) = &given.cost {
            self.cost(cost, scenarios[scenario].flow, at);
        }
        Some(Capacity {
            scenarios: meant,
            objective: given.objective,
            levels,
            precision: precision?,
            confidence: confidence?,
            trial,
            cost: given.cost,
        })
    }

    /// Prices must name Executors that are known to exist.
    fn cost(&mut self, cost: &scenario::Cost, flow: usize, at: Spot<'_>) {
        let Some(known) = self.flows.executors_or_those_of_its_file(flow) else {
            let message = "the cost of this Flow is unknown, because its replicas are unknown: \
                           it is neither embedded nor started from a file that it `uses`";
            return at.name("cost").problem(self.problems, message, |problem| problem);
        };
        let scenario::Cost::By(prices) = cost else { return };
        for name in prices.keys().filter(|name| !known.contains(name)) {
            let message = format!("no Executor of this Flow is named `{name}`");
            at.key("cost").name(name).problem(self.problems, message, |problem| {
                problem.suggest(name, known.iter().map(String::as_str))
            });
        }
    }

    /// The range of a search.
    fn levels(
        &mut self,
        rate: Option<Range<Rate>>,
        clients: Option<Range<Count>>,
        at: Spot<'_>,
    ) -> Option<Levels> {
        let (key, message) = match (rate, clients) {
            (Some(rate), None) if rate.low() < rate.high() => return Some(Levels::Rate(rate)),
            (None, Some(clients)) if clients.low() < clients.high() && clients.low().0 > 0 => {
                return Some(Levels::Clients(clients));
            }
            (Some(_), None) => (
                "rate",
                "`rate` must be a range with a lower and a higher end, as in `50/s..5000/s`",
            ),
            (None, Some(_)) => (
                "clients",
                "`clients` must be a range from 1 or more to a higher end, as in `1..256`",
            ),
            (Some(_), Some(_)) => {
                let other = at.name("rate").place();
                let message = "a search has `rate` or `clients`, not both";
                at.name("clients")
                    .problem(self.problems, message, |problem| problem.see(other, "the other one"));
                return None;
            }
            (None, None) => {
                let message = "a search needs `rate: 50/s..5000/s` or `clients: 1..256`";
                at.problem(self.problems, message, |problem| problem);
                return None;
            }
        };
        at.key(key).problem(self.problems, message, |problem| problem);
        None
    }
}

/// Where a step is in the file.
pub(super) fn step_at<'a>(
    steps: &[Step],
    choices: &[Choice],
    at: Spot<'a>,
    index: usize,
) -> Spot<'a> {
    if steps.get(index).is_some_and(|step| step.name.is_empty()) && choices.is_empty() {
        return at;
    }
    match choices.iter().position(|choice| choice.steps.contains(&index)) {
        Some(place) => {
            let first = choices[place].steps.start;
            at.key("choose").index(place).key("steps").index(index - first)
        }
        None => at.key("steps").index(index),
    }
}

impl Scenario {
    /// Where one of its steps is in the file; `at` is its own position.
    pub(crate) fn step_at<'a>(&self, at: Spot<'a>, index: usize) -> Spot<'a> {
        step_at(&self.steps, &self.choices, at, index)
    }
}

/// Ensures that a run with errors never passes by accident: each of these applies unless the file has a
/// threshold on the same metric. `may_lose`: whether the gateway may silently lose Documents.
fn implicit_thresholds(stated: &[Threshold], may_lose: bool) -> Vec<Threshold> {
    let states = |measures: &[Measure]| {
        let about_all = stated.iter().filter(|threshold| threshold.that.metric.step.is_none());
        about_all.into_iter().any(|threshold| measures.contains(&threshold.that.metric.measure))
    };
    [
        ("error_rate == 0", &[Measure::ErrorRate, Measure::Errors][..]),
        ("assertion_failures == 0", &[Measure::AssertionFailures]),
        ("dropped == 0", &[Measure::Dropped]),
    ]
    .into_iter()
    .chain(may_lose.then_some(("documents_missing == 0", &[Measure::DocumentsMissing][..])))
    .filter(|(_, measures)| !states(measures))
    .map(|(text, _)| Threshold {
        that: text.parse().expect("the condition is one"),
        abort: false,
        after: Duration::ZERO,
        implicit: true,
    })
    .collect()
}
