//! The saved result: the content of `report.json`, which thresholds, reports and comparisons read.
//!
//! Names and units are part of the contract with users; `docs/report.md` describes them. Latencies
//! are in milliseconds, times within a run in seconds. A number that does not exist is null.

mod client;
mod latency;
mod routes;
mod traces;
mod work;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::client::{ClientSummary, InFlightSummary, Lag, UnmatchedReplies};
pub use self::latency::{Latency, ms};
pub use self::routes::{BreakdownSummary, ExecutorSummary, RouteSummary, SlowSummary, StopKind};
pub use self::traces::{TraceOf, TraceSummary};
pub use self::work::{ByteCounts, WorkSummary};
use crate::record::reason::{Code, Reason};
use crate::record::why::WhySummary;
use crate::server::ServerSummary;
use crate::wire::Map;

/// The schema that this version writes.
pub const SCHEMA: &str = "flowbench.report/1";

/// The JSON schema of `report.json`. Its descriptions are the doc comments of the types.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let generator = settings.into_generator();
    let mut schema = generator.into_root_schema_for::<Summary>();
    schema.insert("title".into(), "flowbench report".into());
    schema.to_value()
}

/// One run of a suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Name and version of this schema: `flowbench.report/1`.
    pub schema: String,
    /// Name of the suite.
    pub suite: String,
    /// Start of the run, RFC 3339, UTC.
    #[schemars(with = "String")]
    pub started_at: jiff::Timestamp,
    /// From the start of the first Flow to the end of the last scenario.
    pub duration_s: f64,
    /// Verdict over all scenarios.
    pub verdict: Verdict,
    /// Whether the verdict is `held`.
    pub passed: bool,
    /// Whether the run was ended early.
    pub interrupted: bool,
    /// Whether the run goes on: only in what `--listen` serves, and omitted otherwise. Verdicts of scenarios that are not
    /// over are `not_judged` then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
    /// Seed of all random choices.
    pub seed: u64,
    /// Where it ran.
    pub environment: Environment,
    /// The resolved configuration, with secrets masked, as printed by `flowbench check --resolved`; null if
    /// several results were merged.
    #[serde(default)]
    pub resolved: Option<serde_json::Value>,
    /// Which part of the load this is, if it is one of several parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<RunPart>,
    /// The parts that were merged; omitted if the load was not sent in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<RunPart>,
    /// In the order of the file, matrices expanded.
    pub scenarios: Vec<ScenarioSummary>,
}

/// One part of a load that several processes send.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunPart {
    /// Its number, from 1.
    pub number: u64,
    /// Number of parts.
    pub of: u64,
    /// Name of its machine; null if it has none.
    pub host: Option<String>,
    /// Number of processors available to it.
    pub cores: usize,
    /// Start of its run by its own clock.
    #[schemars(with = "String")]
    pub started_at: jiff::Timestamp,
    /// When all parts were to begin; null if not set.
    #[schemars(with = "Option<String>")]
    pub at: Option<jiff::Timestamp>,
    /// Whether its clock is synchronised, as its system reports; null if not known.
    #[serde(default)]
    pub synchronised: Option<bool>,
    /// Maximum error of its clock, as its system reports, ms; null if not known.
    #[serde(default)]
    pub clock_error_ms: Option<f64>,
    /// Whether it was connected with the others, and began with them whatever its clock showed. Omitted otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub connected: bool,
}

/// Results of one part of a load in a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartLoad {
    /// Number of the part, from 1.
    pub number: u64,
    /// Its outcome.
    pub state: PartState,
    /// Requests it sent, in the seconds that the figures are of.
    pub sent: u64,
    /// p99 of its send delay, ms; null if it sent nothing.
    pub lag_p99_ms: Option<f64>,
    /// CPU time of its sending threads; null if unknown.
    pub cpu_s: Option<f64>,
    /// Its sending threads.
    pub workers: usize,
    /// How long after the set time it began, or if none was set, after the first part, by their own clocks,
    /// ms; null if it never began.
    pub start_skew_ms: Option<f64>,
    /// Its clock by the routes of responses; null if there are none.
    pub clock: Option<PartClock>,
    /// Why its own figures are not valid.
    pub reasons: Vec<Reason>,
}

/// The clock of a part's machine, compared with that of the Flow's gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PartClock {
    /// How far it is ahead of the gateway's, ms; null if the part did not report its time.
    pub ahead_ms: Option<f64>,
    /// How long after the first part this one began, by the gateway's clock, ms.
    pub began_ms: f64,
    /// Maximum error of both, ms.
    pub within_ms: f64,
}

/// Outcome of a part of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It completed.
    #[default]
    Complete,
    /// It ended early: it or its machine was killed.
    Lost,
    /// It has no result.
    Missing,
    /// It could not reach its target, or did not reach its load.
    NotRun,
}

/// Whether the conditions were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All were met.
    #[serde(rename = "held", alias = "passed")]
    Passed,
    /// At least one was not met.
    Failed,
    /// Inconclusive; the reason is given beside it.
    #[default]
    #[serde(rename = "not_judged", alias = "inconclusive")]
    Inconclusive,
    /// Not run: the target could not be reached or started, or the run ended before.
    NotReached,
    /// The run was ended early.
    Interrupted,
    /// One part of a load that was sent in parts: thresholds are about the whole, so nothing is judged here.
    Part,
}

/// Program and machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Version of flowbench.
    pub flowbench: String,
    /// `linux`.
    pub os: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// `x86_64`.
    pub arch: String,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Number of processors available to us.
    pub cores: usize,
    /// Number of processors granted by our control group, if it sets a limit.
    pub cpu_quota: Option<f64>,
    /// Memory of the machine in bytes, or of the control group if that is less.
    pub memory_bytes: Option<u64>,
}

/// One scenario of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioSummary {
    /// Name with its matrix values.
    pub name: String,
    /// Its matrix values.
    pub matrix: Map,
    /// The seconds that all figures refer to, if a window was selected; omitted for a whole
    /// scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartSummary>,
    /// Verdict over its thresholds.
    pub verdict: Verdict,
    /// Whether the verdict is `held`.
    pub passed: bool,
    /// Whether it ran regardless of what happened before, as a tear-down. Omitted otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// How it ended.
    pub end: End,
    /// Whether its figures may be quoted.
    pub validity: Validity,
    /// The target.
    pub target: TargetSummary,
    /// Description of the load in words.
    pub load: String,
    /// Its requests, for each step; omitted in results of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<WorkSummary>,
    /// Start of its load, from the start of the run.
    pub started_at_s: f64,
    /// The time that rates refer to: from the start of the measurement to the end of the load, or
    /// to the last response if the load ends by a number of requests.
    pub duration_s: f64,
    /// Requests by outcome.
    pub requests: Requests,
    /// Documents sent and received.
    pub documents: DocumentCounts,
    /// Bytes sent and received; omitted in a part of a run, and in results of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteCounts>,
    /// Rates over `duration_s`.
    pub throughput: Throughput,
    /// (Response and transport errors + timeouts + dropped + abandoned) / (arrivals - unknown), from 0
    /// to 1.
    pub error_rate: Option<f64>,
    /// From due to done, for ok requests.
    pub response_time_ms: Latency,
    /// From written to done, for ok requests.
    pub service_time_ms: Latency,
    /// Response time of iterations without their pauses: think time, and waits before repetitions of a step.
    /// Only if iterations have steps, and not in a part of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_time_ms: Option<Latency>,
    /// From due to the first reply, for ok requests to streaming endpoints.
    pub first_response_ms: Latency,
    /// From due to done for failed requests, and from due to dropped for those never sent, by
    /// outcome.
    pub failed_time_ms: BTreeMap<String, Latency>,
    /// Second by second.
    pub timeline: Vec<TimelineSecond>,
    /// How often the callbacks fired.
    pub callbacks: CallbackCounts,
    /// Counters of `count` actions.
    pub counters: IndexMap<String, u64>,
    /// Results of the assertions.
    pub assertions: Vec<AssertionSummary>,
    /// Results of the thresholds.
    pub thresholds: Vec<ThresholdSummary>,
    /// Failures by kind and message, the most frequent first.
    pub errors: Vec<ErrorSummary>,
    /// Time in each Executor, from the routes of responses; null if responses have no routes.
    pub executors: Option<Vec<ExecutorSummary>>,
    /// Ok responses whose routes report more time in Executors than the request took. They are excluded.
    #[serde(default)]
    pub impossible_routes: u64,
    /// Gateway overhead: time in the gateway without its Executors; null if responses have no
    /// routes.
    pub gateway_ms: Option<Latency>,
    /// Service time minus the time in the gateway: network and client; null if responses have no
    /// routes.
    pub network_ms: Option<Latency>,
    /// Latency breakdown of typical requests and of the slowest, hop by hop in the order of a
    /// request's path; null if responses have no routes.
    #[serde(default)]
    pub breakdown: Option<Vec<BreakdownSummary>>,
    /// The slowest ok requests.
    pub slowest: Vec<SlowSummary>,
    /// Traces of requests; omitted if none were requested, and in a part of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<TraceSummary>,
    /// What distinguishes the slowest requests, and those that failed, from the others; omitted if not
    /// requested, in a part of a run, and if nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<WhySummary>,
    /// The requests of each step, for iterations with several steps. All other figures are then for
    /// whole iterations: from when the first step was due to the response of the last one.
    pub steps: Vec<StepSummary>,
    /// How often each list of steps was chosen; omitted without `choose`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<ChoiceSummary>,
    /// Figures of the warmup.
    pub warmup: WarmupSummary,
    /// The Flow's own metrics during the load; omitted if none were read, and in a part of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSummary>,
    /// The load generator's own figures.
    pub client: ClientSummary,
    /// Results of each part of the load; omitted if it was not sent in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartLoad>,
}

/// A window of a scenario, in seconds from the start of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartSummary {
    /// Start of the window.
    pub from_s: u64,
    /// End of the window.
    pub to_s: u64,
}

/// How a scenario ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// Why it ended.
    pub reason: EndReason,
    /// Details, if there are any.
    pub message: Option<String>,
}

/// Why a scenario ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its time was over.
    #[default]
    Time,
    /// All its requests were sent.
    Requests,
    /// All its Documents were sent.
    Documents,
    /// An `abort` threshold or action ended it.
    Aborted,
    /// The run was interrupted.
    Interrupted,
    /// Its target could not be reached or started.
    Unreachable,
    /// A request could not be built.
    Broken,
    /// It never started: the run ended first, or a scenario it needs did not run.
    Skipped,
    /// A part of the load was lost, and all others ended.
    PartLost,
    /// It has not started: only in a run that goes on.
    Waiting,
    /// It has not ended: only in a run that goes on.
    Running,
}

/// Whether the figures may be quoted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// Whether there are no reasons against it.
    pub valid: bool,
    /// The reasons against it.
    pub reasons: Vec<Reason>,
}

impl Validity {
    /// The reasons that concern all figures, not only those of one threshold.
    pub(crate) fn against_all(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().filter(|reason| !reason.code.is_of_one_condition())
    }
}

/// The target of the requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetSummary {
    /// Name of the Flow in the file.
    pub flow: String,
    /// `grpc`, `http` or `websocket`.
    pub protocol: String,
    /// `unary` if each request was a separate gRPC call. Omitted otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Whether it was the Flow that is built into flowbench. Omitted otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built_in: bool,
    /// Such as `grpc://127.0.0.1:40001`; null if there never was one.
    pub address: Option<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// `v1` or `v2`; null if it was never known.
    pub family: Option<String>,
    /// Version of Jina, if the Flow reports it.
    #[serde(default)]
    pub jina: Option<String>,
    /// Version of DocArray, if the Flow reports it.
    #[serde(default)]
    pub docarray: Option<String>,
}

/// Requests by outcome: `arrivals = sent + dropped`, and `sent = ok + response_errors +
/// transport_errors + timeouts + abandoned + unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// Requests that were due.
    pub arrivals: u64,
    /// Handed to the client.
    pub sent: u64,
    /// Answered with success.
    pub ok: u64,
    /// Answered with an error.
    pub response_errors: u64,
    /// Without a usable response.
    pub transport_errors: u64,
    /// Without a response in time.
    pub timeouts: u64,
    /// Never sent: too many were in flight.
    pub dropped: u64,
    /// Still in flight at the end of the grace period.
    pub abandoned: u64,
    /// In flight when the run was ended at once. Their outcome is unknown, so they are not part of
    /// any rate or threshold. Omitted if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
    /// Attempts beyond the first.
    pub retries: u64,
}

/// Counts of Documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentCounts {
    /// In requests that were sent.
    pub sent: u64,
    /// In ok responses; null if that is unknown without decoding them.
    pub received: Option<u64>,
    /// Documents missing from ok responses that had some, but fewer than requested; null as `received`, and
    /// in results of older versions.
    #[serde(default)]
    pub missing: Option<u64>,
}

/// Rates over `duration_s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Arrivals per second.
    pub offered_per_s: f64,
    /// Requests that ended ok in that time, whenever they were due.
    pub requests_per_s: f64,
    /// Documents of those requests.
    pub documents_per_s: f64,
}

impl TimelineSecond {
    /// Number of ok requests that throughput counts.
    pub fn completed(&self) -> u64 {
        self.completed.unwrap_or(self.ok)
    }

    /// Number of Documents that throughput counts.
    pub fn completed_documents(&self) -> u64 {
        self.completed_documents.unwrap_or(self.documents)
    }
}

/// One second of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineSecond {
    /// End of the second, from the start of the measurement.
    pub t_s: u64,
    /// Arrivals due in this second.
    pub offered: u64,
    /// Requests sent in this second.
    pub sent: u64,
    /// Ok requests, by when they ended.
    pub ok: u64,
    /// Failed requests, by when the failure was known.
    pub errors: u64,
    /// Those of them that timed out.
    pub timeouts: u64,
    /// Errors by kind; omitted if there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, u64>,
    /// Arrivals dropped in this second.
    pub dropped: u64,
    /// Documents of ok requests.
    pub documents: u64,
    /// What throughput counts: ok requests, including those of the warmup, that ended in this
    /// second and before the end of the load. Missing in older results, where it equals
    /// `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    /// Their Documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_documents: Option<u64>,
    /// Mean number of requests in flight over the second.
    pub in_flight: f64,
    /// Clients in the middle of the second, if their number changes; omitted otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<f64>,
    /// p50 of the response time of ok requests, in ms.
    pub p50: Option<f64>,
    /// p99 of the response time of ok requests, in ms.
    pub p99: Option<f64>,
    /// Maximum response time of ok requests, in ms.
    pub max: Option<f64>,
    /// p99 of the send delay of all requests, in ms.
    pub lag_p99: Option<f64>,
    /// Mean time of ok requests in each Executor, in ms; omitted if responses have no routes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub executors: BTreeMap<String, f64>,
    /// Response time of ok requests, in the format of [`Latency::histogram`].
    pub histogram: Option<String>,
    /// Service time of ok requests, in the same format.
    #[serde(default)]
    pub service_histogram: Option<String>,
}

/// How often the three callbacks fired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackCounts {
    /// After a success.
    pub on_done: CallbackCount,
    /// After a failure.
    pub on_error: CallbackCount,
    /// After every response.
    pub on_always: CallbackCount,
}

/// Counts of one callback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackCount {
    /// How often it fired.
    pub fired: u64,
    /// How often an action in it failed.
    pub failed: u64,
    /// The first failure.
    pub example: Option<String>,
}

/// One assertion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssertionSummary {
    /// Name, or else the expression.
    pub name: String,
    /// Number of responses that passed.
    pub passed: u64,
    /// Number of responses that failed.
    pub failed: u64,
    /// A response that failed.
    pub example: Option<String>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdSummary {
    /// The condition as written.
    pub that: String,
    /// Value of the metric. Null if it is above every recorded value, or if there is nothing to evaluate.
    pub actual: Option<f64>,
    /// Unit of the metric: `ms`, `share` (from 0 to 1), `per_s`, `count`, `number` or `bytes`.
    pub unit: String,
    /// Whether the condition was met.
    pub verdict: Verdict,
    /// Whether the verdict is `held`.
    pub passed: bool,
    /// Why it is inconclusive.
    pub reason: Option<String>,
    /// Code of that reason; omitted if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// One kind of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorSummary {
    /// `connect`, `timeout`, `executor` …
    pub kind: String,
    /// The message.
    pub message: String,
    /// Number of occurrences.
    pub count: u64,
    /// When it first occurred, from the start of the measurement.
    pub first_at_s: f64,
    /// When it last occurred; not known in results of older versions, nor in a part of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at_s: Option<f64>,
    /// The Executor and its stack, for the first occurrence.
    pub details: Option<String>,
}

/// The requests of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepSummary {
    /// Name as in the file.
    pub name: String,
    /// By outcome. A single step is never dropped or abandoned; only whole iterations are.
    pub requests: Requests,
    /// Ok requests per second.
    pub requests_per_s: f64,
    /// From due to done, for ok requests. A step after the first is due when the previous one ends.
    pub response_time_ms: Latency,
    /// From written to done, for ok requests.
    pub service_time_ms: Latency,
}

/// One of several lists of steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChoiceSummary {
    /// Name as in the file.
    pub name: String,
    /// The share of iterations that its weight asks for, from 0 to 1.
    pub share: f64,
    /// Iterations that began with its first step.
    pub iterations: u64,
}

/// Figures of the warmup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WarmupSummary {
    /// Length of the warmup.
    pub duration_s: f64,
    /// Number of requests sent.
    pub sent: u64,
    /// Number of requests that did not succeed.
    pub failed: u64,
    /// Cold start: response time of the very first request that was answered, in warmup or load.
    pub first_request_ms: Option<f64>,
    /// From the start of the load, warmup included, to the first of three seconds whose median
    /// response times are within a tenth of those of the second half of the measurement. Null if it
    /// never settles, or if the run is shorter than 6 s.
    pub time_to_steady_s: Option<f64>,
}

pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Default for Summary {
    fn default() -> Summary {
        Summary {
            schema: SCHEMA.into(),
            suite: String::new(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            duration_s: 0.0,
            verdict: Verdict::default(),
            passed: false,
            interrupted: false,
            running: false,
            seed: 0,
            environment: Environment::default(),
            resolved: None,
            part: None,
            parts: Vec::new(),
            scenarios: Vec::new(),
        }
    }
}

impl Default for Validity {
    fn default() -> Validity {
        Validity::new(Vec::new())
    }
}

impl Validity {
    /// Valid if and only if there are no reasons.
    pub fn new(reasons: Vec<Reason>) -> Validity {
        Validity { valid: reasons.is_empty(), reasons }
    }
}

impl End {
    /// Why nothing that was measured until then can be evaluated, if that is so, and the verdict of
    /// the scenario in that case.
    pub fn unfinished(&self) -> Option<(Verdict, String)> {
        let (verdict, words) = match self.reason {
            EndReason::Time | EndReason::Requests | EndReason::Documents => return None,
            // An aborted scenario is judged by what was measured until then, and so is one that lost a part.
            EndReason::Aborted | EndReason::PartLost => return None,
            EndReason::Interrupted => (Verdict::Interrupted, "the run was interrupted"),
            EndReason::Unreachable => (Verdict::NotReached, "the target was not reached"),
            EndReason::Skipped => (Verdict::NotReached, "it did not run"),
            EndReason::Broken => (Verdict::Inconclusive, "it was cut short"),
            EndReason::Waiting => (Verdict::Inconclusive, "it has not begun"),
            EndReason::Running => (Verdict::Inconclusive, "it goes on"),
        };
        let message = self.message.as_ref();
        let words = message.map_or_else(|| words.into(), |message| format!("{words}: {message}"));
        Some((verdict, words))
    }

    /// Whether it has not come yet.
    pub fn is_ahead(&self) -> bool {
        matches!(self.reason, EndReason::Waiting | EndReason::Running)
    }
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> End {
        End { reason, message: None }
    }
}

/// The name of a scenario without its matrix values: `search` of `search [protocol=grpc]`.
pub fn base_name(name: &str) -> &str {
    name.split_once(" [").map_or(name, |(base, _)| base)
}

impl Verdict {
    /// The worse of two, in the order of the exit codes. A failure is certain even if something
    /// else is inconclusive, but nothing is certain about a run that did not reach its end.
    pub fn and(self, other: Verdict) -> Verdict {
        const ORDER: [Verdict; 6] = [
            Verdict::Interrupted,
            Verdict::NotReached,
            Verdict::Failed,
            Verdict::Inconclusive,
            Verdict::Part,
            Verdict::Passed,
        ];
        let known = ORDER.into_iter().find(|verdict| [self, other].contains(verdict));
        known.unwrap_or(Verdict::Passed)
    }
}
