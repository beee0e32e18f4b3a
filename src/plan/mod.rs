//! The plan: what will happen, with every name resolved and every default filled in.
//!
//! Past this room nobody meets YAML, a default, or an `Option` that means "not set".

use std::sync::Arc;
use std::time::Duration;

use crate::assertion::Assertion;
use crate::client::{ClientConfig, Compression};
use crate::documents::Documents;
use crate::flow::FlowConfig;
use crate::scenario::condition::Condition;
use crate::template::Template;
use crate::units::Rate;
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
}

/// A Flow and how it comes to be there.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its key in the file.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a Flow comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Started inside this process.
    Embedded(FlowConfig),
    /// Already running: one client configuration for each protocol it can be reached over.
    Remote(Vec<ClientConfig>),
    /// Started by a command, reached as a remote one, stopped at the end.
    Command {
        /// Program and arguments.
        command: Vec<String>,
        /// How long it may take until it answers.
        ready_timeout: Duration,
        /// As in `Remote`.
        clients: Vec<ClientConfig>,
    },
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
    /// What is sent.
    pub work: Work,
    /// How fast, how much.
    pub load: Load,
    /// Sent before, not measured.
    pub warmup: Duration,
    /// Indices of scenarios that must have ended.
    pub needs: Vec<usize>,
    /// Delay after its needs are met.
    pub start: Duration,
    /// How long requests in flight may take to finish when the load ends.
    pub grace: Duration,
    /// Judged on each response.
    pub assertions: Vec<Assertion>,
    /// Judged on the whole scenario, the implicit ones included.
    pub thresholds: Vec<Threshold>,
    /// Fired on each response.
    pub callbacks: Callbacks,
}

/// What a scenario sets of its Flow's client.
#[derive(Clone, Debug)]
pub struct ClientOverrides {
    /// Of one request; none: no limit.
    pub timeout: Option<Duration>,
    /// Retries.
    pub retry: crate::client::Retry,
    /// Connections of the session.
    pub connections: usize,
    /// gRPC requests.
    pub compression: Compression,
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
        /// Its variables.
        variables: Map,
    },
}

/// DataRequests cut from a stream of Documents.
#[derive(Clone, Debug)]
pub struct Post {
    /// The endpoint.
    pub on: String,
    /// None: a request of parameters alone.
    pub documents: Option<Arc<Documents>>,
    /// Start again when the Documents end.
    pub repeat: bool,
    /// Documents a request, at least 1.
    pub request_size: usize,
    /// Evaluated for each request when it holds expressions.
    pub parameters: Template,
    /// A regular expression over Executor names; empty: all.
    pub target_executor: String,
}

/// How fast and how much.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// As `client.post` does: all Documents once, `prefetch` requests in flight.
    Once,
    /// `clients` that each send the next request when the last is answered.
    Closed {
        /// How many, at least 1.
        clients: usize,
        /// Pause of a client after each response.
        think_time: Duration,
        /// When it ends.
        until: Until,
    },
    /// Arrivals on a schedule.
    Open {
        /// Arrivals per second.
        rate: Rate,
        /// Their law.
        arrivals: Arrivals,
        /// When it ends.
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

/// The law of the gaps between arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// All the same.
    Uniform,
    /// Exponential gaps.
    Poisson,
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

/// A built-in action.
#[derive(Clone, Debug)]
pub enum Action {
    /// The response's Documents to stdout.
    Print,
    /// A line made from a template.
    Log(Template),
    /// The terminal's bell.
    Beep,
    /// Adds one to a named counter of the report.
    Count(String),
    /// Appends the response's Documents to a file, JSON lines.
    Save(std::path::PathBuf),
    /// An expression that must hold, counted as the callback's success or failure.
    Check(Assertion),
    /// Ends the scenario.
    Abort,
}
