//! The graph of Executors, and how a request passes through it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Duration;

use super::config::{FlowConfig, StreamOf};
use super::executor::{Exception, Executor, Fields, Handled, World};
use super::message::{Docs, Faults, Message, Parameters, now, started};
use super::pattern::{Pattern, PatternError};
use super::reduce;
use crate::wire::{DecodeError, Family, Map, Route, Status};

/// All Executors of a Flow, in the order of its configuration.
#[derive(Debug)]
pub(super) struct Topology {
    nodes: Vec<Node>,
    /// The order of routes in an answer: depth-first from the gateway.
    order: Vec<usize>,
    /// Whether the Executors form a simple chain.
    is_chain: bool,
    /// Whether Documents are put back into their original order.
    sorts: bool,
    timeout_send: Option<Duration>,
    /// Which fields Documents may have at endpoints that no Executor serves.
    fields: Fields,
}

#[derive(Debug)]
struct Node {
    executor: Executor,
    /// How many inputs it waits for, the request itself included.
    parts: usize,
    from_gateway: bool,
    /// The Executors that wait for it.
    next: Vec<usize>,
}

/// Why no Executor answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkError {
    executor: String,
    address: String,
    /// Whether it was reached, but took too long.
    pub(super) timed_out: bool,
}

/// Why Executors did not answer a request.
#[derive(Debug)]
pub(super) enum WalkError {
    Decode(DecodeError),
    Network(NetworkError),
    /// `target_executor` could not be matched against a name.
    Pattern(PatternError),
}

/// The outcome of a request's walk through the graph.
#[derive(Debug, Default)]
struct Found {
    routes: HashMap<usize, Route>,
    results: Map,
    faults: Faults,
}

/// A request on its way from one Executor to the next.
#[derive(Clone, Debug)]
struct Part {
    docs: Docs,
    /// The exception of an earlier Executor, after which all others are skipped.
    failure: Option<Status>,
    /// The parameters as read for the Executors that were skipped since the last one that ran: a gateway
    /// reads them before it skips an Executor, and restores them only after one has run.
    parameters: Option<Map>,
}

/// What a request asks every Executor to do.
#[derive(Clone, Copy)]
struct Asked<'a> {
    endpoint: Option<&'a str>,
    target: Option<&'a Pattern>,
    parameters: &'a Parameters,
    /// Whether the gateway knows which Executor binds which endpoint.
    discovered: bool,
    world: &'a World,
}

impl Topology {
    pub(super) fn new(config: &FlowConfig) -> Topology {
        let position = |name: &str| config.executors.iter().position(|e| e.name == name);
        let mut nodes: Vec<Node> = Vec::with_capacity(config.executors.len());
        let mut is_chain = true;
        for (i, executor) in config.executors.iter().enumerate() {
            // Unknown names were reported when the configuration was checked.
            let needs: Vec<Option<usize>> = match &executor.needs {
                None => vec![i.checked_sub(1)],
                Some(needs) => needs.iter().map(|name| position(name).filter(|n| *n < i)).collect(),
            };
            is_chain &= needs == [i.checked_sub(1)];
            for need in needs.iter().flatten() {
                nodes[*need].next.push(i);
            }
            nodes.push(Node {
                executor: Executor::new(executor, config.seed, &config.schema),
                parts: needs.len(),
                from_gateway: needs.contains(&None),
                next: Vec::new(),
            });
        }
        let mut order = Vec::with_capacity(nodes.len());
        let origins = (0..nodes.len()).filter(|at| nodes[*at].from_gateway);
        let mut ahead: Vec<usize> = origins.rev().collect();
        while let Some(at) = ahead.pop() {
            if !order.contains(&at) {
                order.push(at);
                ahead.extend(nodes[at].next.iter().rev());
            }
        }
        Topology {
            is_chain,
            order,
            sorts: nodes.iter().any(|node| node.executor.is_conditional()),
            nodes,
            timeout_send: config.timeout_send.map(Duration::from),
            fields: Fields::of(&config.schema),
        }
    }

    /// The endpoints that Executors bind by name, sorted.
    pub(super) fn endpoints(&self) -> BTreeSet<&str> {
        self.executors().flat_map(Executor::endpoints).collect()
    }

    /// Whether an Executor takes requests to endpoints that no Executor binds by name.
    pub(super) fn has_default(&self) -> bool {
        self.executors().any(Executor::has_default)
    }

    /// How many Documents this endpoint streams, and how fast; `None` if it does not stream. A real gateway
    /// has only one Executor then.
    pub(super) fn stream(&self, endpoint: &str) -> Option<StreamOf> {
        self.executors().find_map(|executor| executor.stream(endpoint))
    }

    /// Which fields Documents of an endpoint may have: the first Executor that takes them says so.
    pub(super) fn fields(&self, endpoint: &str) -> &Fields {
        self.executors().find_map(|executor| executor.fields(endpoint)).unwrap_or(&self.fields)
    }

    /// The endpoints whose Documents have a custom schema, each with that schema. `/default` stands for the
    /// default endpoint.
    pub(super) fn own_schemas(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        let default = self.has_default().then_some("/default");
        let endpoints = self.endpoints().into_iter().chain(default);
        endpoints.filter_map(|endpoint| Some((endpoint, &self.fields(endpoint).own()?.json)))
    }

    /// These schemas as endpoint discovery reports them.
    pub(super) fn told_schemas(&self) -> Map {
        let schemas = self.own_schemas().map(|(endpoint, schema)| {
            let told = serde_json::json!({
                "input": schema,
                "output": schema,
                "is_generator": self.stream(endpoint).is_some(),
            });
            (endpoint.to_owned(), told)
        });
        schemas.collect()
    }

    pub(super) fn executors(&self) -> impl Iterator<Item = &Executor> {
        self.nodes.iter().map(|node| &node.executor)
    }

    /// Whether a [`NetworkError`] is possible at all.
    pub(super) fn can_be_cut_off(&self) -> bool {
        self.timeout_send.is_some() || self.executors().any(Executor::can_be_down)
    }

    /// The first Executor that cannot be reached.
    pub(super) fn unreachable(&self, now: Duration) -> Option<NetworkError> {
        let at = self.nodes.iter().position(|node| node.executor.is_down(now))?;
        Some(self.network_error(at, false))
    }

    fn network_error(&self, at: usize, timed_out: bool) -> NetworkError {
        NetworkError {
            executor: self.nodes[at].executor.name().to_owned(),
            // Executors of a real Flow have ports; these have none, so one is made up.
            address: format!("127.0.0.1:{}", 50_000 + at),
            timed_out,
        }
    }

    /// Sends a request through the Executors. An exception of an Executor is part of the answer.
    pub(super) async fn walk(
        &self,
        message: &mut Message,
        target: Option<&Pattern>,
        discovered: bool,
        world: &World,
    ) -> Result<(), WalkError> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        let order = match self.sorts {
            true => Some(reduce::ids(&message.docs, world.family)?),
            false => None,
        };
        let endpoint = message.header.exec_endpoint.clone();
        let asked = Asked {
            endpoint: endpoint.as_deref(),
            target,
            parameters: &message.parameters,
            discovered,
            world,
        };
        let docs = std::mem::take(&mut message.docs);
        let part = Part { docs, failure: None, parameters: None };
        let mut found = Found::default();
        let Part { docs, failure, parameters } = match self.is_chain {
            true => self.walk_chain(part, asked, &mut found).await?,
            false => self.walk_graph(part, asked, &mut found).await?,
        };
        message.docs = docs;
        if let Some(order) = order {
            reduce::sort(&mut message.docs, &order, world.family)?;
        }
        if failure.is_some() {
            message.header.status = failure.map(Box::new);
        }
        let Found { mut routes, results, faults } = found;
        message.routes.extend(self.order.iter().filter_map(|at| routes.remove(at)));
        if let Some(parameters) = parameters {
            message.parameters = parameters.into();
        }
        message.faults = faults;
        if !results.is_empty() {
            message.parameters.set_results(results)?;
        }
        Ok(())
    }

    async fn walk_chain(
        &self,
        mut part: Part,
        asked: Asked<'_>,
        found: &mut Found,
    ) -> Result<Part, WalkError> {
        for at in 0..self.nodes.len() {
            part = self.visit(at, vec![part], asked, found).await?;
            if part.failure.is_some() {
                break;
            }
        }
        Ok(part)
    }

    /// An Executor starts when all those it needs have finished. The answer is that of the last one; an
    /// exception goes straight to the answer.
    async fn walk_graph(
        &self,
        part: Part,
        asked: Asked<'_>,
        found: &mut Found,
    ) -> Result<Part, WalkError> {
        let last = self.nodes.len() - 1;
        let counts = self.leading_to(last);
        let mut parts: Vec<Vec<Part>> = vec![Vec::new(); self.nodes.len()];
        let mut running = FuturesUnordered::new();
        let start = |at: usize, parts: Vec<Part>| async move {
            let mut own = Found::default();
            let part = self.visit(at, parts, asked, &mut own).await;
            (at, part, own)
        };
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.from_gateway) {
            parts[at].push(part.clone());
            if parts[at].len() == node.parts {
                running.push(start(at, std::mem::take(&mut parts[at])));
            }
        }
        let mut answer: Option<Part> = None;
        // Executors that do not lead to the answer contribute what they have finished by then.
        let mut awaited = counts.iter().filter(|counts| **counts).count();
        while awaited > 0
            && let Some((at, part, own)) = running.next().await
        {
            let part = part?;
            awaited -= usize::from(counts[at]);
            found.routes.extend(own.routes);
            found.results.extend(own.results);
            found.faults = found.faults.and(own.faults);
            if part.failure.is_some() {
                if counts[at] && answer.is_none() {
                    answer = Some(part);
                }
                continue;
            }
            for next in &self.nodes[at].next {
                parts[*next].push(part.clone());
                if parts[*next].len() == self.nodes[*next].parts {
                    running.push(start(*next, std::mem::take(&mut parts[*next])));
                }
            }
            if at == last {
                answer = Some(part);
            }
        }
        Ok(answer.unwrap_or(part))
    }

    /// The Executors that contribute to the output of the Executor `last`.
    fn leading_to(&self, last: usize) -> Vec<bool> {
        let mut leads = vec![false; self.nodes.len()];
        leads[last] = true;
        for at in (0..last).rev() {
            leads[at] = self.nodes[at].next.iter().any(|next| leads[*next]);
        }
        leads
    }

    /// Runs one Executor: joins its inputs and processes them, or passes them on.
    async fn visit(
        &self,
        at: usize,
        mut parts: Vec<Part>,
        asked: Asked<'_>,
        found: &mut Found,
    ) -> Result<Part, WalkError> {
        let executor = &self.nodes[at].executor;
        let Asked { endpoint, world, .. } = asked;
        let mut route = started(executor.name());
        let bound = !asked.discovered || executor.serves(endpoint);
        let wanted = match asked.target {
            None => true,
            Some(target) => target.is_match(executor.name()).map_err(WalkError::Pattern)?,
        };
        let Some(mut part) = parts.pop() else { return Err(self.network_error(at, false).into()) };
        if !bound || !wanted {
            found.routes.insert(at, route);
            let read = match &part.parameters {
                None => match asked.parameters.of(executor.name())? {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(read) => Some(read),
                },
                Some(read) => {
                    Some(Parameters::from(read.clone()).of(executor.name())?.into_owned())
                }
            };
            part.parameters = read;
            return Ok(part);
        }
        part.parameters = None;
        if !parts.is_empty() {
            parts.push(part);
            let joined = reduce::join(parts.into_iter().map(|part| part.docs), world.family)?;
            part = Part { docs: Docs::Read(joined), failure: None, parameters: None };
        }
        executor.filter(&mut part.docs, endpoint, world.family)?;
        let outcome = self.run(at, &mut part.docs, asked).await?;
        route.end_time = Some(now());
        route.status = outcome.failure.clone().map(Box::new);
        if let Some(replica) = outcome.replica {
            route.executor = replica.into();
        }
        found.routes.insert(at, route);
        found.faults = found.faults.and(outcome.faults);
        if let Some((pod, map)) = outcome.results {
            found.results.insert(pod, map.into());
        }
        part.failure = outcome.failure;
        Ok(part)
    }

    /// Calls an Executor, and calls it again when it takes too long, as a gateway does.
    async fn run(
        &self,
        at: usize,
        docs: &mut Docs,
        Asked { endpoint, parameters, world, .. }: Asked<'_>,
    ) -> Result<Handled, WalkError> {
        /// A gateway's first attempt and its retries.
        const ATTEMPTS: u32 = 4;
        let executor = &self.nodes[at].executor;
        if executor.is_down(world.epoch.elapsed()) {
            return Err(self.network_error(at, false).into());
        }
        let Some(limit) = self.timeout_send else {
            return Ok(executor.run(docs, endpoint, parameters, world).await?);
        };
        for _ in 0..ATTEMPTS {
            let mut copy = docs.clone();
            let run = executor.run(&mut copy, endpoint, parameters, world);
            if let Ok(outcome) = tokio::time::timeout(limit, run).await {
                *docs = copy;
                return Ok(outcome?);
            }
        }
        Err(self.network_error(at, true).into())
    }
}

impl NetworkError {
    /// The details of the gRPC status: the gateway's text with gRPC's.
    pub(super) fn details(&self) -> String {
        let NetworkError { executor, address, timed_out } = self;
        match timed_out {
            false => format!(
                "failed to connect to all addresses; last error: UNKNOWN: ipv4:{address}: Failed \
                 to connect to remote host: Connection refused |Gateway: Communication error with \
                 deployment {executor} at address(es) {{'{address}'}}. Head or worker(s) may be \
                 down."
            ),
            true => format!(
                "Deadline Exceeded|Gateway: Connection with deployment {executor} at address(es) \
                 {{'{address}'}} could be established, but timed out. You can increase the allowed \
                 time by setting `timeout_send` in your Flow YAML `with` block or Flow \
                 `__init__()` method."
            ),
        }
    }

    /// The reason in a WebSocket close frame: the details, if they fit.
    pub(super) fn close_reason(&self) -> String {
        /// Maximum length of a reason in a close frame, in bytes.
        const REASON_MAX: usize = 123;
        let details = self.details();
        if details.len() <= REASON_MAX {
            return details;
        }
        let address = &self.address;
        match self.timed_out {
            false => format!(
                "Network error while connecting to deployment at {{'{address}'}}. It may be down."
            ),
            true => format!(
                "Connection to deployment at {{'{address}'}} timed out. You can adjust \
                 `timeout_send` attribute."
            ),
        }
    }

    /// The status that a dry run reports.
    pub(super) fn into_status(self, family: Family) -> Status {
        let mut status = Exception::new("InternalNetworkError").into_status("", "dry_run", family);
        status.description = self.details();
        status
    }
}

impl From<NetworkError> for WalkError {
    fn from(error: NetworkError) -> WalkError {
        WalkError::Network(error)
    }
}

impl From<DecodeError> for WalkError {
    fn from(error: DecodeError) -> WalkError {
        WalkError::Decode(error)
    }
}

impl Faults {
    /// The faults of both.
    fn and(self, other: Faults) -> Faults {
        Faults {
            drop: self.drop || other.drop,
            twice: self.twice || other.twice,
            out_of_order: self.out_of_order || other.out_of_order,
            wrong_id: self.wrong_id || other.wrong_id,
            garbage: self.garbage || other.garbage,
            late: self.late + other.late,
        }
    }
}
