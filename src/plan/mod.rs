//! The plan: what will happen, with every name resolved and every default filled in.
//!
//! No later module sees YAML, a default, or an `Option` that means "not set".

mod addresses;
mod flow_file;
mod flows;
pub mod forecast;
mod http;
mod loads;
mod names;
mod notes;
mod parts;
mod ports;
mod range;
mod resolve;
mod saves;
mod show;
mod tls;
mod trace;
mod watch;
mod workers;

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use addresses::download;
pub(crate) use http::headers;
pub use http::{Http, HttpError};
pub use names::{NamedKind, UnknownName};
pub(crate) use notes::no_slash;
pub use parts::Division;
pub use resolve::resolve;
pub(crate) use resolve::resolve_onto;
pub(crate) use saves::is_same_file;
pub(crate) use show::without_folders;
pub use workers::Connections;
pub(crate) use workers::Workers;

use crate::assertion::{Assertion, Capture, Message};
use crate::client::{ClientConfig, Compression, FamilyChoice, HttpVersion};
use crate::documents::Documents;
use crate::flow::FlowConfig;
use crate::random::Key;
pub(crate) use crate::scenario::Cost;
use crate::scenario::condition::Condition;
use crate::schedule::{Pause, Profile, Schedule};
use crate::server::Watch;
use crate::template::{Scope, Template, TemplateError};
use crate::units::{self, Count, Part, Percentage, Rate, Secrets};
use crate::wire::{Map, Protocol};

/// One suite, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shown on every report.
    pub name: String,
    /// Every random choice derives from it.
    pub seed: u64,
    /// The Flows that scenarios name, by index.
    pub flows: Vec<Flow>,
    /// In the order of the file, matrices expanded.
    pub scenarios: Vec<Scenario>,
    /// Which part of every load is carried out.
    pub part: Part,
    /// The capacity search, if the file asks for one.
    pub capacity: Option<Capacity>,
    /// Texts that must not be shown anywhere.
    pub secrets: Secrets,
}

/// A Flow and where it comes from.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its key in the file, with the matrix values that it depends on: `flow [replicas=2]`.
    pub name: String,
    /// Those values. Only one of the Flows that differ in them runs at a time.
    pub matrix: Map,
    /// Where it comes from.
    pub origin: Origin,
    /// What is collected from it while it is under load.
    pub watch: Watch,
}

impl Flow {
    /// Its Executors and their number of replicas, if known.
    pub(crate) fn replicas(&self) -> Option<Vec<(String, u32)>> {
        match &self.origin {
            Origin::Embedded(config) => {
                let each = config.executors.iter();
                Some(each.map(|executor| (executor.name.clone(), executor.replicas)).collect())
            }
            Origin::Command { launch, .. } => {
                launch.file.as_ref().map(|file| file.executors.clone())
            }
            Origin::Remote(_) => None,
        }
    }
}

/// Where a Flow comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Started inside this process.
    Embedded(FlowConfig),
    /// Already running: one client configuration per protocol.
    Remote(Vec<ClientConfig>),
    /// Started by a command when the first scenario that uses it is due, then reached like a remote one.
    Command {
        /// How to start it.
        launch: Launch,
        /// As in `Remote`.
        clients: Vec<ClientConfig>,
    },
}

/// How a command starts a Flow.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Program and arguments; never empty. With a `file`, `--uses` and that file are appended.
    pub command: Vec<String>,
    /// The YAML of the Flow, if known.
    pub file: Option<FlowFile>,
    /// The working directory; `None` means the current one.
    pub cwd: Option<PathBuf>,
    /// Variables from `--env-file`, which the command gets as if they were in our environment.
    pub inherited: Vec<(String, String)>,
    /// Environment variables, in addition to ours. Values are never shown.
    pub env: Vec<(String, String)>,
    /// How to find out that the Flow is ready.
    pub ready: Ready,
    /// How long it may take to become ready.
    pub ready_timeout: Duration,
    /// Whether it runs until the end of the run. Otherwise it is stopped after the last scenario that uses it.
    pub keep: bool,
}

/// The YAML of a Flow, with the values that were set in it.
#[derive(Clone, Debug)]
pub struct FlowFile {
    /// The absolute path of the original file.
    pub path: PathBuf,
    /// The values that were set, by their paths.
    pub set: Map,
    /// The whole text with those values; `None` if nothing was set.
    pub text: Option<String>,
    /// Whether it is a Deployment.
    pub is_deployment: bool,
    /// Its Executors and their number of replicas.
    pub executors: Vec<(String, u32)>,
}

/// How to find out that a Flow is ready.
#[derive(Clone, Debug)]
pub enum Ready {
    /// It answers over the first of its protocols.
    Answers,
    /// Something listens at this host and port.
    Address(String, u16),
    /// A GET of `path` over HTTP gets a status below 400.
    Url {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Path and query, starting with the slash.
        path: String,
    },
    /// A line of the command's output contains this.
    Log(String),
    /// A line of the command's output matches this.
    LogMatches(regex::bytes::Regex),
}

/// One scenario: what is sent, how fast, and the thresholds.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// With its matrix values, `index [protocol=grpc]`.
    pub name: String,
    /// The matrix values; empty without a matrix.
    pub matrix: Map,
    /// Index into [`Plan::flows`].
    pub flow: usize,
    /// The protocol it uses.
    pub protocol: Protocol,
    /// Settings that override the Flow's client: timeout, retry, connections, compression.
    pub client: ClientOverrides,
    /// What one iteration sends, in order; never empty. A scenario without `steps` has one step, whose name is
    /// empty.
    pub steps: Vec<Step>,
    /// If each iteration runs one of several lists of steps: which lists, and how often. `steps` has the steps
    /// of all lists, one list after the other.
    pub choices: Vec<Choice>,
    /// How fast, how much.
    pub load: Load,
    /// Which requests are traced.
    pub trace: Option<Tracing>,
    /// How long load is sent before measuring begins.
    pub warmup: Duration,
    /// Indices of scenarios that must have ended first.
    pub needs: Vec<usize>,
    /// Whether it runs even if its needs failed, and after the first signal to stop.
    pub always: bool,
    /// Indices of scenarios that must be over first, whether they passed or not: they use the Flow of another
    /// combination of a matrix.
    pub after: Vec<usize>,
    /// Delay after its needs are met.
    pub start: Duration,
    /// The `grace` in the file, see [`Scenario::grace`].
    pub(super) own_grace: Option<Duration>,
    /// Judged on the whole scenario; includes the implicit thresholds.
    pub thresholds: Vec<Threshold>,
}

/// How requests are traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// The share of requests that are traced.
    pub share: f64,
    /// The link to a trace, with `{id}` in place of its id.
    pub link: Option<String>,
    /// Whether requests share headers, so that each connection has one trace id for all of them.
    pub by_connection: bool,
}

/// One step of an iteration: one request, and what is done with its response.
#[derive(Clone, Debug)]
pub struct Step {
    /// As in the file; empty in a scenario without `steps`.
    pub name: String,
    /// What is sent.
    pub work: Work,
    /// Headers of each request, by name; `None` means only those of its Flow.
    pub headers: Option<Parameters>,
    /// The share of requests that get their own trace id; `None` if none do.
    pub traced: Option<f64>,
    /// Repeats the request until the response meets a condition.
    pub repeat: Option<Repeat>,
    /// The pause between its response and the next step; none after the last step.
    pub think_time: Pause,
    /// Values of the response that are captured for later steps.
    pub(crate) captures: Vec<Capture>,
    /// Judged on each response.
    pub assertions: Vec<Assertion>,
    /// Fired on each response.
    pub callbacks: Callbacks,
}

/// One of several lists of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// As in the file.
    pub name: String,
    /// How often it is chosen, in proportion to the other weights; above 0.
    pub weight: f64,
    /// Its part of [`Scenario::steps`]; never empty.
    pub steps: Range<usize>,
}

/// How a step polls.
#[derive(Clone, Debug)]
pub struct Repeat {
    /// Polling ends when this holds.
    pub(crate) until: Assertion,
    /// The pause between a response for which it does not hold and the next request.
    pub every: Duration,
    /// The last request is due no later than this after the first.
    pub at_most: Duration,
}

impl Repeat {
    /// The default.
    pub(crate) const EVERY: Duration = Duration::from_millis(500);
    /// Anything more frequent would be a load in itself.
    pub(crate) const EVERY_MIN: Duration = Duration::from_millis(1);
    /// The default.
    pub(crate) const AT_MOST: Duration = Duration::from_secs(60);
    /// Nobody waits longer for an iteration.
    pub(crate) const AT_MOST_MAX: Duration = Duration::from_secs(3600);
}

impl Origin {
    /// Notes that no Jina requests are sent to it, so it need not be a Flow.
    fn ask_nothing(&mut self) {
        for client in self.clients_mut() {
            if client.family == FamilyChoice::Auto || client.http_version == HttpVersion::Two {
                client.family = FamilyChoice::NoFlow;
            }
        }
    }

    /// Whether its clients are to use HTTP/2.
    fn wants_http_2(&mut self) -> bool {
        self.clients_mut().iter().any(|client| client.http_version == HttpVersion::Two)
    }

    fn clients_mut(&mut self) -> &mut [ClientConfig] {
        match self {
            Origin::Embedded(_) => &mut [],
            Origin::Remote(clients) | Origin::Command { clients, .. } => clients,
        }
    }
}

/// Settings of the Flow's client that a scenario overrides.
#[derive(Clone, Debug)]
pub struct ClientOverrides {
    /// The timeout of one request; `None` means no limit.
    pub timeout: Option<Duration>,
    /// How requests are retried.
    pub retry: crate::client::Retry,
    /// The number of connections of the session.
    pub connections: Connections,
    /// The number of sending threads, if given.
    pub workers: Option<usize>,
    /// Whether each gRPC request is its own call instead of a message on a shared stream.
    pub unary: bool,
    /// Whether plain requests use HTTP/2 and share connections.
    pub http_2: bool,
    /// Compression of gRPC requests.
    pub compression: Compression,
    /// Requests in flight of [`Load::Once`]; 0 means no limit.
    pub prefetch: usize,
    /// Whether responses of [`Load::Once`] are taken in the order of their requests.
    pub results_in_order: bool,
}

/// What one request is.
#[derive(Clone, Debug)]
pub enum Work {
    /// DataRequests.
    Post(Post),
    /// A GraphQL mutation.
    Mutate {
        /// The mutation.
        mutation: String,
        /// Its variables, for each request.
        variables: Parameters,
    },
    /// Plain HTTP requests.
    Http(Http),
}

/// DataRequests cut from a stream of Documents.
#[derive(Clone, Debug)]
pub struct Post {
    /// The endpoint.
    pub on: String,
    /// `None`: a request with parameters only.
    pub documents: Option<Arc<Documents>>,
    /// Documents per request, at least 1.
    pub request_size: usize,
    /// Evaluated for each request if they contain expressions.
    pub parameters: Parameters,
    /// A regular expression for Executor names; empty means all.
    pub target_executor: String,
    /// Whether the endpoint is a streaming one, which answers each Document with many; `request_size` is then
    /// 1.
    pub stream: bool,
}

/// The parameters of a request: values, and expressions that are evaluated for each request.
#[derive(Clone, Debug)]
pub struct Parameters {
    template: Template,
    key: Key,
}

/// How fast and how much.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Like `client.post`: all Documents once, `prefetch` requests in flight.
    Once,
    /// Clients that each send their next request when the last one is answered.
    Closed {
        /// The number of clients over time; whole numbers at both ends of each stage. Never empty. The last
        /// stage lasts until `until`.
        clients: Profile,
        /// Pause of a client after each response, or after the last step of an iteration.
        think_time: Pause,
        /// When it ends.
        until: Until,
    },
    /// Arrivals on a schedule.
    Open {
        /// When they are due.
        schedule: Schedule,
        /// When it ends, unless the schedule ends first.
        until: Until,
        /// An arrival beyond this many requests in flight is dropped.
        max_in_flight: usize,
    },
}

/// What ends a load: whichever limit is reached first. If all are `None`, the end of the Documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// Time since the first request after warmup.
    pub duration: Option<Duration>,
    /// Requests after warmup.
    pub requests: Option<u64>,
}

impl Load {
    /// The length of a load that is limited by time: its schedule or its `duration`, whichever ends first.
    pub fn length(&self) -> Option<Duration> {
        let (schedule, until) = match self {
            Load::Once => return None,
            Load::Closed { clients, until, .. } => (clients.length(), until),
            Load::Open { schedule, until, .. } => (schedule.length(), until),
        };
        [until.duration, schedule].into_iter().flatten().min()
    }
}

/// A condition on the whole scenario.
#[derive(Clone, Debug)]
pub struct Threshold {
    /// The condition.
    pub that: Condition,
    /// Whether the scenario ends as soon as the condition fails.
    pub abort: bool,
    /// `abort` does not apply before this.
    pub after: Duration,
    /// Whether it was added by default (`error_rate == 0` and the like), not taken from the file.
    pub implicit: bool,
}

/// Actions on each response, in their order.
#[derive(Clone, Debug, Default)]
pub struct Callbacks {
    /// After a success.
    pub on_done: Vec<Action>,
    /// After a failure.
    pub on_error: Vec<Action>,
    /// After both.
    pub on_always: Vec<Action>,
}

impl Callbacks {
    /// All actions of the three callbacks.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.on_done.iter().chain(&self.on_error).chain(&self.on_always)
    }

    /// The files that `save` actions write.
    pub fn saves(&self) -> impl Iterator<Item = &Path> {
        self.actions().filter_map(|action| match action {
            Action::Save(path) => Some(path.as_path()),
            _ => None,
        })
    }
}

impl Plan {
    /// Sets the number of sending threads of all scenarios.
    pub fn send_with(&mut self, workers: usize) {
        for scenario in &mut self.scenarios {
            scenario.client.workers = Some(workers);
        }
    }

    /// The files that `save` actions write.
    pub fn saves(&self) -> impl Iterator<Item = &Path> {
        let steps = self.scenarios.iter().flat_map(|scenario| &scenario.steps);
        steps.flat_map(|step| step.callbacks.saves())
    }
}

/// A built-in action.
#[derive(Clone, Debug)]
pub enum Action {
    /// Prints the response's Documents to stdout.
    Print,
    /// Prints a line made from a template.
    Log(Message),
    /// Rings the terminal's bell.
    Beep,
    /// Adds one to a named counter of the report.
    Count(String),
    /// Appends the response's Documents to a file as JSON lines.
    Save(PathBuf),
    /// An expression that must hold; counted as success or failure of the callback.
    Check(Assertion),
    /// Ends the scenario.
    Abort,
}

/// A search for the highest load that meets the objective.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Indices into [`Plan::scenarios`], at least one: every combination of a matrix, with one search each. The
    /// search replaces their loads with the ones it tries.
    pub scenarios: Vec<usize>,
    /// All must be met.
    pub objective: Vec<Condition>,
    /// The range to search.
    pub levels: Levels,
    /// The largest distance between the highest load that passes and the lowest that fails.
    pub precision: Percentage,
    /// The confidence level of both.
    pub confidence: Percentage,
    /// The length of one trial.
    pub trial: Duration,
    /// What replicas of Executors cost.
    pub(crate) cost: Option<Cost>,
}

/// The loads of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Levels {
    /// Requests per second, sent on schedule.
    Rate(units::Range<Rate>),
    /// Clients that wait for their responses.
    Clients(units::Range<Count>),
}

impl Capacity {
    /// A finer precision takes longer than anybody waits; a coarser one answers nothing.
    pub(crate) const PRECISIONS: RangeInclusive<f64> = 0.005..=0.5;
    /// The default, in percent.
    pub(crate) const PRECISION: f64 = 5.0;
    /// With less confidence no test is needed; with more the search never ends.
    pub(crate) const CONFIDENCES: RangeInclusive<f64> = 0.8..=0.9999;
    /// The default, in percent.
    pub(crate) const CONFIDENCE: f64 = 99.0;
    /// A shorter trial has no blocks to judge by; longer ones make the search impractical.
    pub(crate) const TRIALS: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    /// The default.
    pub(crate) const TRIAL: Duration = Duration::from_secs(20);
    /// The most searches for combinations of a matrix: each takes minutes.
    pub(crate) const COMBINATIONS_MAX: usize = 50;
}

impl Scenario {
    /// Its name without the values of the matrix.
    pub(crate) fn base_name(&self) -> &str {
        match self.name.split_once(" [") {
            Some((base, _)) if self.name.ends_with(']') => base,
            _ => &self.name,
        }
    }

    /// Whether `name` refers to it, alone or as one combination of a matrix.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        self.name == name || self.base_name() == name
    }

    /// The lists of steps, of which an iteration runs one, each with its share of the iterations.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&[Step], f64)> {
        let all: f64 = self.choices.iter().map(|choice| choice.weight).sum();
        let whole = self.choices.is_empty().then_some((&self.steps[..], 1.0));
        let chosen = self.choices.iter();
        let chosen =
            chosen.map(move |choice| (&self.steps[choice.steps.clone()], choice.weight / all));
        whole.into_iter().chain(chosen)
    }

    /// For each list of steps to choose from: its name, its share of the weight, and its first step.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (String, f64, usize)> {
        let choices = self.choices.iter().zip(self.runs());
        choices.map(|(choice, (_, share))| (choice.name.clone(), share, choice.steps.start))
    }

    /// The most steps that one iteration can have.
    pub(crate) fn steps_max(&self) -> usize {
        self.runs().map(|(steps, _)| steps.len()).max().unwrap_or_default()
    }

    /// The one request of a scenario without `steps`, or the first step of a scenario with them.
    pub fn first_step(&self) -> &Step {
        &self.steps[0]
    }

    /// How long requests in flight may take to finish when the load ends; `None` means as long as they take,
    /// because `client.post` never gives up. A search gives a load to a scenario that has none.
    pub fn grace(&self) -> Option<Duration> {
        const GRACE: Duration = Duration::from_secs(10);
        self.own_grace.or((self.load != Load::Once).then_some(GRACE))
    }
}

impl Step {
    /// Changes the number of Documents per request; a stream keeps to one.
    pub(crate) fn set_request_size(&mut self, size: usize) {
        if let Work::Post(post) = &mut self.work
            && !post.stream
        {
            post.request_size = size;
        }
    }
}

impl Parameters {
    /// Parameters that are the same for all requests.
    pub fn constant(map: Map) -> Parameters {
        Parameters { template: Template::constant(map.into()), key: Key::new(0) }
    }

    /// Parameters with expressions, which draw their random numbers from `key`.
    fn new(template: Template, key: Key) -> Parameters {
        Parameters { template, key }
    }

    /// Whether all requests have the same parameters, so that one encoding can serve for all.
    pub(crate) fn is_constant(&self) -> bool {
        self.template.is_constant()
    }

    /// The parameters of request `i`, counted from 0 within its scenario (warmup included). `captured` has what
    /// earlier steps of the same iteration captured.
    ///
    /// # Errors
    /// An expression that fails for this request.
    pub fn evaluate(&self, i: u64, captured: &Map) -> Result<Map, TemplateError> {
        let key = self.key.index(i);
        let scope = Scope { i, key, captured: Some(captured) };
        match self.template.evaluate(&scope)? {
            serde_json::Value::Object(map) => Ok(map),
            value => Err(TemplateError {
                expression: "parameters".into(),
                reason: format!("expected a map, found `{value}`"),
                help: None,
            }),
        }
    }
}
