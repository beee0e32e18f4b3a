//! The plan: what will happen, with every name resolved and every default filled in.
//!
//! Past this room nobody meets YAML, a default, or an `Option` that means "not set".

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
    /// A search for the highest load that holds, where the file asks for one.
    pub capacity: Option<Capacity>,
    /// What is shown of it nowhere.
    pub secrets: Secrets,
}

/// A Flow and how it comes to be there.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its key in the file, with the values of the matrix that it depends on: `flow [replicas=2]`.
    pub name: String,
    /// Those values. Of such Flows one runs at a time.
    pub matrix: Map,
    /// Where it comes from.
    pub origin: Origin,
    /// What is read of it while it is under load.
    pub watch: Watch,
}

impl Flow {
    /// Its Executors, and how many replicas of each there are, where that is known.
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
    /// Already running: one client configuration for each protocol it can be reached over.
    Remote(Vec<ClientConfig>),
    /// Started by a command when the first scenario that uses it is due, and reached as a remote one.
    Command {
        /// How it is started.
        launch: Launch,
        /// As in `Remote`.
        clients: Vec<ClientConfig>,
    },
}

/// How a command starts a Flow.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Program and arguments; never empty. With a `file`, `--uses` and that file come after them.
    pub command: Vec<String>,
    /// The YAML of the Flow, where it is known.
    pub file: Option<FlowFile>,
    /// The folder in which it runs; `None`: the current one.
    pub cwd: Option<PathBuf>,
    /// Variables that it has as if they were of our environment: of files of `--env-file`.
    pub inherited: Vec<(String, String)>,
    /// Variables of its environment, besides ours. Values are shown nowhere.
    pub env: Vec<(String, String)>,
    /// What tells that the Flow is ready.
    pub ready: Ready,
    /// How long that may take.
    pub ready_timeout: Duration,
    /// It stays up to the end of the run. Otherwise it is stopped after the last scenario that uses it.
    pub keep: bool,
}

/// The YAML of a Flow, with values that were set in it.
#[derive(Clone, Debug)]
pub struct FlowFile {
    /// The file as it is, absolute.
    pub path: PathBuf,
    /// The values that were set, by their paths.
    pub set: Map,
    /// The whole text with them; `None` where nothing was set.
    pub text: Option<String>,
    /// It is a Deployment.
    pub is_deployment: bool,
    /// Its Executors, and how many replicas of each there are.
    pub executors: Vec<(String, u32)>,
}

/// What tells that a Flow is ready.
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
        /// Path and query, from the slash on.
        path: String,
    },
    /// A line of the command's output contains this.
    Log(String),
    /// A line of the command's output has a match of this.
    LogMatches(regex::bytes::Regex),
}

/// One scenario: what is sent, how fast, and what must be true.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// With its matrix values, `index [protocol=grpc]`.
    pub name: String,
    /// The matrix values; empty without a matrix.
    pub matrix: Map,
    /// Index into [`Plan::flows`].
    pub flow: usize,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Overrides the Flow's client: timeout, retry, connections, compression.
    pub client: ClientOverrides,
    /// What one iteration sends, step after step; never empty. A scenario without `steps` has one
    /// step, whose name is empty.
    pub steps: Vec<Step>,
    /// Where each iteration runs one of several lists of steps: which, and how often. `steps` has those of
    /// all lists, one after the other.
    pub choices: Vec<Choice>,
    /// How fast, how much.
    pub load: Load,
    /// What is traced of it.
    pub trace: Option<Tracing>,
    /// Sent before, not measured.
    pub warmup: Duration,
    /// Indices of scenarios that must have ended.
    pub needs: Vec<usize>,
    /// It runs whatever became of its needs, and after the first signal to stop.
    pub always: bool,
    /// Indices of scenarios that must be over, whatever came of them: they use the Flow of another
    /// combination of a matrix.
    pub after: Vec<usize>,
    /// Delay after its needs are met.
    pub start: Duration,
    /// The `grace` that was written, see [`Scenario::grace`].
    pub(super) own_grace: Option<Duration>,
    /// Judged on the whole scenario, the implicit ones included.
    pub thresholds: Vec<Threshold>,
}

/// How requests are traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// The share of requests that are.
    pub share: f64,
    /// Where a trace is shown, with `{id}` in the place of its id.
    pub link: Option<String>,
    /// Requests share what has headers, so each connection has one id for all of them.
    pub by_connection: bool,
}

/// One step of an iteration: one request, and what is made of its response.
#[derive(Clone, Debug)]
pub struct Step {
    /// As in the file; empty in a scenario without `steps`.
    pub name: String,
    /// What is sent.
    pub work: Work,
    /// Headers of each request, by name; `None`: those of its Flow alone.
    pub headers: Option<Parameters>,
    /// The share of requests that get a trace id of their own; `None`: none.
    pub traced: Option<f64>,
    /// Sent again and again until its response is as it has to be.
    pub repeat: Option<Repeat>,
    /// The pause between its response and the next step; none after the last step.
    pub think_time: Pause,
    /// Kept of the response, for the steps after this one.
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

/// The polls of a step.
#[derive(Clone, Debug)]
pub struct Repeat {
    /// Ends it when it holds.
    pub(crate) until: Assertion,
    /// From a response for which it does not hold to the next request.
    pub every: Duration,
    /// The last request is due no later than this after the first.
    pub at_most: Duration,
}

impl Repeat {
    /// Unless set.
    pub(crate) const EVERY: Duration = Duration::from_millis(500);
    /// Below, it is a load of its own.
    pub(crate) const EVERY_MIN: Duration = Duration::from_millis(1);
    /// Unless set.
    pub(crate) const AT_MOST: Duration = Duration::from_secs(60);
    /// Beyond, nobody waits for an iteration.
    pub(crate) const AT_MOST_MAX: Duration = Duration::from_secs(3600);
}

impl Origin {
    /// Nothing of Jina is asked of it, so it need not be a Flow.
    fn ask_nothing(&mut self) {
        for client in self.clients_mut() {
            if client.family == FamilyChoice::Auto || client.http_version == HttpVersion::Two {
                client.family = FamilyChoice::NoFlow;
            }
        }
    }

    /// Whether its clients are to speak HTTP/2.
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

/// What a scenario sets of its Flow's client.
#[derive(Clone, Debug)]
pub struct ClientOverrides {
    /// Of one request; none: no limit.
    pub timeout: Option<Duration>,
    /// Retries.
    pub retry: crate::client::Retry,
    /// Connections of the session.
    pub connections: Connections,
    /// Threads that send, where that is given.
    pub workers: Option<usize>,
    /// Over gRPC each request is a call of its own, instead of a message of a shared stream.
    pub unary: bool,
    /// Over HTTP/2 plain requests share connections.
    pub http_2: bool,
    /// gRPC requests.
    pub compression: Compression,
    /// Requests in flight of [`Load::Once`]; 0 is no limit.
    pub prefetch: usize,
    /// Responses of [`Load::Once`] are taken in the order of their requests.
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
    /// None: a request of parameters alone.
    pub documents: Option<Arc<Documents>>,
    /// Documents a request, at least 1.
    pub request_size: usize,
    /// Evaluated for each request when they hold expressions.
    pub parameters: Parameters,
    /// A regular expression over Executor names; empty: all.
    pub target_executor: String,
    /// To a streaming endpoint, which answers each Document with many; `request_size` is 1 then.
    pub stream: bool,
}

/// The parameters of a request: values, and expressions that each request gives their values.
#[derive(Clone, Debug)]
pub struct Parameters {
    template: Template,
    key: Key,
}

/// How fast and how much.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// As `client.post` does: all Documents once, `prefetch` requests in flight.
    Once,
    /// Clients that each send the next request when the last is answered.
    Closed {
        /// How many clients, over time; whole numbers at both ends of each stage. Never empty. The
        /// last stage lasts until `until`.
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
        /// When it ends, if the schedule has not ended before.
        until: Until,
        /// An arrival past it is dropped.
        max_in_flight: usize,
    },
}

/// What ends a load; the first that is reached does. All `None`: the end of the Documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// Time since the first request after warmup.
    pub duration: Option<Duration>,
    /// Requests after warmup.
    pub requests: Option<u64>,
}

impl Load {
    /// When time ends it: its schedule, or its `duration`, whichever comes first.
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
    /// What must hold.
    pub that: Condition,
    /// End the scenario as soon as it does not.
    pub abort: bool,
    /// Not judged for `abort` before this.
    pub after: Duration,
    /// Not in the file: `error_rate == 0` and its like.
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
    /// All actions, whenever they are due.
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
    /// Has all scenarios sent by so many threads.
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
    /// The response's Documents to stdout.
    Print,
    /// A line made from a template.
    Log(Message),
    /// The terminal's bell.
    Beep,
    /// Adds one to a named counter of the report.
    Count(String),
    /// Appends the response's Documents to a file, JSON lines.
    Save(PathBuf),
    /// An expression that must hold, counted as the callback's success or failure.
    Check(Assertion),
    /// Ends the scenario.
    Abort,
}

/// A search for the highest load at which the objective holds.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Indices into [`Plan::scenarios`], at least one: of a matrix each combination, and one search for each.
    /// Their load is replaced by those that are tried.
    pub scenarios: Vec<usize>,
    /// All must hold.
    pub objective: Vec<Condition>,
    /// Where to look.
    pub levels: Levels,
    /// How far what holds and what fails may lie apart.
    pub precision: Percentage,
    /// How sure both are to be.
    pub confidence: Percentage,
    /// How long one load is tried.
    pub trial: Duration,
    /// What replicas of Executors cost.
    pub(crate) cost: Option<Cost>,
}

/// The loads of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Levels {
    /// Requests a second, by the clock.
    Rate(units::Range<Rate>),
    /// Clients that wait for their answers.
    Clients(units::Range<Count>),
}

impl Capacity {
    /// Finer ones take longer than anybody waits, coarser ones are no answers.
    pub(crate) const PRECISIONS: RangeInclusive<f64> = 0.005..=0.5;
    /// Unless said otherwise, in percent.
    pub(crate) const PRECISION: f64 = 5.0;
    /// Below, one is as well off without a test; above, none ever ends.
    pub(crate) const CONFIDENCES: RangeInclusive<f64> = 0.8..=0.9999;
    /// Unless said otherwise, in percent.
    pub(crate) const CONFIDENCE: f64 = 99.0;
    /// Trials of less have no blocks to judge by; longer ones are no searches any more.
    pub(crate) const TRIALS: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    /// Unless said otherwise.
    pub(crate) const TRIAL: Duration = Duration::from_secs(20);
    /// Searches for combinations of a matrix: each takes minutes.
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

    /// Whether a name means it, alone or as one combination of a matrix.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        self.name == name || self.base_name() == name
    }

    /// The lists of steps of which an iteration runs one, each with the share of the iterations that do.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&[Step], f64)> {
        let all: f64 = self.choices.iter().map(|choice| choice.weight).sum();
        let whole = self.choices.is_empty().then_some((&self.steps[..], 1.0));
        let chosen = self.choices.iter();
        let chosen =
            chosen.map(move |choice| (&self.steps[choice.steps.clone()], choice.weight / all));
        whole.into_iter().chain(chosen)
    }

    /// Of each list of steps that is chosen from: its name, the share of its weight, its first step.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (String, f64, usize)> {
        let choices = self.choices.iter().zip(self.runs());
        choices.map(|(choice, (_, share))| (choice.name.clone(), share, choice.steps.start))
    }

    /// Steps of an iteration, at most.
    pub(crate) fn steps_max(&self) -> usize {
        self.runs().map(|(steps, _)| steps.len()).max().unwrap_or_default()
    }

    /// The one request of a scenario without `steps`, the first one's of a scenario with them.
    pub fn first_step(&self) -> &Step {
        &self.steps[0]
    }

    /// How long requests in flight may take to finish when the load ends; `None`: as long as they take,
    /// for `client.post` gives nothing up. A search gives a load to a scenario that has none.
    pub fn grace(&self) -> Option<Duration> {
        const GRACE: Duration = Duration::from_secs(10);
        self.own_grace.or((self.load != Load::Once).then_some(GRACE))
    }
}

impl Step {
    /// Cuts its Documents into requests of another size; a stream keeps to one.
    pub(crate) fn set_request_size(&mut self, size: usize) {
        if let Work::Post(post) = &mut self.work
            && !post.stream
        {
            post.request_size = size;
        }
    }
}

impl Parameters {
    /// The same for all requests.
    pub fn constant(map: Map) -> Parameters {
        Parameters { template: Template::constant(map.into()), key: Key::new(0) }
    }

    /// With expressions, which draw their random numbers from `key`.
    fn new(template: Template, key: Key) -> Parameters {
        Parameters { template, key }
    }

    /// Whether all requests have the same, so that one encoding can serve for all.
    pub(crate) fn is_constant(&self) -> bool {
        self.template.is_constant()
    }

    /// The parameters of request `i`, counted from 0 within its scenario (warmup included).
    /// `captured` is what earlier steps of the same iteration kept.
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
