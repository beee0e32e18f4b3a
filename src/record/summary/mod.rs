//! The saved result: what `report.json` holds, and what thresholds, reports and comparisons read.
//!
//! Names and units are part of the contract with users; `docs/report.md` describes them. Latencies
//! are in milliseconds, times within a run in seconds. A number that does not exist is null.

mod client;
mod latency;
mod routes;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::client::{ClientSummary, InFlightSummary, Lag, UnmatchedReplies};
pub use self::latency::{Latency, ms};
pub use self::routes::{BreakdownSummary, ExecutorSummary, RouteSummary, SlowSummary, StopKind};
use crate::record::reason::{Code, Reason};
use crate::wire::Map;

/// The schema this version writes.
pub const SCHEMA: &str = "flowbench.report/1";

/// The JSON schema of `report.json`. Its descriptions are those of the types.
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
    /// [`SCHEMA`].
    pub schema: String,
    /// The suite's name.
    pub suite: String,
    /// RFC 3339, UTC.
    #[schemars(with = "String")]
    pub started_at: jiff::Timestamp,
    /// From the first Flow's start to the last scenario's end.
    pub duration_s: f64,
    /// What all scenarios add up to.
    pub verdict: Verdict,
    /// Whether the verdict is `held`.
    pub passed: bool,
    /// Whether somebody ended it early.
    pub interrupted: bool,
    /// Every random choice derived from it.
    pub seed: u64,
    /// Where it ran.
    pub environment: Environment,
    /// The suite with every default filled in and secrets masked, as `flowbench check --resolved`
    /// prints it; null where several results were joined.
    #[serde(default)]
    pub resolved: Option<serde_json::Value>,
    /// In the order of the file, matrices expanded.
    pub scenarios: Vec<ScenarioSummary>,
}

/// Whether what was asked is true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Held,
    /// It is not.
    Failed,
    /// It cannot be told from this run.
    #[default]
    NotJudged,
    /// Nothing was asked of the target: it could not be reached or started, or the run did not get so
    /// far.
    NotReached,
    /// Somebody ended the run before it could be told.
    Interrupted,
}

/// Program and machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Our version.
    pub flowbench: String,
    /// `linux`.
    pub os: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// `x86_64`.
    pub arch: String,
    /// The processor's name.
    pub cpu: Option<String>,
    /// Processors we may use.
    pub cores: usize,
    /// Processors that our control group grants, where it limits them.
    pub cpu_quota: Option<f64>,
    /// Memory of the machine, or of the control group where that is less.
    pub memory_bytes: Option<u64>,
}

/// One scenario of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioSummary {
    /// With its matrix values.
    pub name: String,
    /// Its matrix values.
    pub matrix: Map,
    /// The seconds that all figures are of, where others were cut off; left out for a whole scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartSummary>,
    /// What its thresholds add up to.
    pub verdict: Verdict,
    /// Whether the verdict is `held`.
    pub passed: bool,
    /// How it ended.
    pub end: End,
    /// Whether its figures may be quoted.
    pub validity: Validity,
    /// Where it went.
    pub target: TargetSummary,
    /// Its load, in words.
    pub load: String,
    /// When its load began, from the start of the run.
    pub started_at_s: f64,
    /// The time that rates refer to: from the start of what is measured to the end of the load's
    /// time, or to the last response where a number of requests ended it.
    pub duration_s: f64,
    /// Requests by what became of them.
    pub requests: Requests,
    /// Documents.
    pub documents: DocumentCounts,
    /// Rates.
    pub throughput: Throughput,
    /// (Response and transport errors + timeouts + dropped + abandoned) / (arrivals - unknown), from 0
    /// to 1.
    pub error_rate: Option<f64>,
    /// Due to done, of ok requests.
    pub response_time_ms: Latency,
    /// Written to done, of ok requests.
    pub service_time_ms: Latency,
    /// Due to the first reply, of ok requests to streaming endpoints.
    pub first_response_ms: Latency,
    /// Due to done of failed requests, and due to dropped of those never sent, by what became of
    /// them.
    pub failed_time_ms: BTreeMap<String, Latency>,
    /// Second by second.
    pub timeline: Vec<TimelineSecond>,
    /// Firings of the callbacks.
    pub callbacks: CallbackCounts,
    /// What `count` actions counted.
    pub counters: IndexMap<String, u64>,
    /// Assertions.
    pub assertions: Vec<AssertionSummary>,
    /// Thresholds.
    pub thresholds: Vec<ThresholdSummary>,
    /// Failures by kind and message, the most frequent first.
    pub errors: Vec<ErrorSummary>,
    /// Time in each Executor, from the routes of responses; null where responses have none.
    pub executors: Option<Vec<ExecutorSummary>>,
    /// Ok responses that told of times in Executors longer than the request took; they are left out.
    #[serde(default)]
    pub impossible_routes: u64,
    /// Time in the gateway itself, without that in Executors; null where responses have no routes.
    pub gateway_ms: Option<Latency>,
    /// Service time without that in the gateway: network and client; null as above.
    pub network_ms: Option<Latency>,
    /// Where requests spent their time, the typical ones and the slowest, in the order in which they
    /// meet the stops; null where responses have no routes.
    #[serde(default)]
    pub breakdown: Option<Vec<BreakdownSummary>>,
    /// The slowest ok requests.
    pub slowest: Vec<SlowSummary>,
    /// The requests of each step, where iterations have several. All other figures are of whole
    /// iterations then: from the first step's due time to the last step's response.
    pub steps: Vec<StepSummary>,
    /// What was sent before it counted.
    pub warmup: WarmupSummary,
    /// How we ourselves did.
    pub client: ClientSummary,
}

/// A part of a scenario, from the start of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartSummary {
    /// Its begin.
    pub from_s: u64,
    /// Its end.
    pub to_s: u64,
}

/// How a scenario ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// The reason in words, where there is more to say.
    pub message: Option<String>,
}

/// Why a scenario ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its time was over.
    #[default]
    Time,
    /// Its requests were sent.
    Requests,
    /// Its Documents were sent.
    Documents,
    /// An `abort` threshold or action ended it.
    Aborted,
    /// Somebody ended the run.
    Interrupted,
    /// Its target could not be reached or started.
    Unreachable,
    /// A request could not be made.
    Broken,
    /// It never began: the run ended before, or what it needs did not run.
    Skipped,
}

/// Whether the figures may be quoted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// Whether there is no reason against it.
    pub valid: bool,
    /// The reasons against it.
    pub reasons: Vec<Reason>,
}

/// Where requests went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetSummary {
    /// The Flow's name in the file.
    pub flow: String,
    /// `grpc`, `http` or `websocket`.
    pub protocol: String,
    /// `grpc://127.0.0.1:40001`; null when there never was one.
    pub address: Option<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// `v1` or `v2`; null when it never was known.
    pub family: Option<String>,
    /// Jina's version, where the Flow told.
    #[serde(default)]
    pub jina: Option<String>,
    /// DocArray's version, where the Flow told.
    #[serde(default)]
    pub docarray: Option<String>,
}

/// Requests by what became of them: `arrivals = sent + dropped`, and
/// `sent = ok + response_errors + transport_errors + timeouts + abandoned + unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// Due.
    pub arrivals: u64,
    /// Handed to the client.
    pub sent: u64,
    /// Answered with success.
    pub ok: u64,
    /// Answered with a failure.
    pub response_errors: u64,
    /// Without a usable answer.
    pub transport_errors: u64,
    /// Without an answer in time.
    pub timeouts: u64,
    /// Never sent: too many were in flight.
    pub dropped: u64,
    /// In flight when the grace period was over.
    pub abandoned: u64,
    /// In flight when the run was ended at once: nobody knows what would have become of them, so they
    /// are in no rate and no threshold. Left out where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u64,
    /// Tries beyond the first.
    pub retries: u64,
}

/// Documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentCounts {
    /// In requests that were sent.
    pub sent: u64,
    /// In ok responses; null where a response does not tell without being decoded.
    pub received: Option<u64>,
}

/// Rates over `duration_s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Arrivals.
    pub offered_per_s: f64,
    /// Requests that came back ok in that time, whenever they were due.
    pub requests_per_s: f64,
    /// Documents of those requests.
    pub documents_per_s: f64,
}

impl TimelineSecond {
    /// Ok requests that throughput counts.
    pub fn completed(&self) -> u64 {
        self.completed.unwrap_or(self.ok)
    }

    /// Documents that throughput counts.
    pub fn completed_documents(&self) -> u64 {
        self.completed_documents.unwrap_or(self.documents)
    }
}

/// One second of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineSecond {
    /// The second's end, from the start of what is measured.
    pub t_s: u64,
    /// Arrivals due.
    pub offered: u64,
    /// Requests sent.
    pub sent: u64,
    /// Ok requests, by when they were done.
    pub ok: u64,
    /// Failed requests, by when that was known.
    pub errors: u64,
    /// Of them, those without an answer in time.
    pub timeouts: u64,
    /// Of them, how many of which kind; left out without errors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, u64>,
    /// Arrivals dropped.
    pub dropped: u64,
    /// Documents of ok requests.
    pub documents: u64,
    /// What throughput counts: ok requests that were done in the second and within the load's time,
    /// those of the warmup among them. Left out in results of before 0.2, where it is `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    /// Their Documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_documents: Option<u64>,
    /// Requests in flight, the mean over the second.
    pub in_flight: f64,
    /// Response time of the ok requests, ms.
    pub p50: Option<f64>,
    /// The same.
    pub p99: Option<f64>,
    /// The same.
    pub max: Option<f64>,
    /// Lag of all requests, ms.
    pub lag_p99: Option<f64>,
    /// Mean time in each Executor, ms, of the ok requests; left out where responses have no routes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub executors: BTreeMap<String, f64>,
    /// Response time of the ok requests, as in [`Latency::histogram`].
    pub histogram: Option<String>,
    /// Their service time.
    #[serde(default)]
    pub service_histogram: Option<String>,
}

/// Firings of the three callbacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackCounts {
    /// After a success.
    pub on_done: CallbackCount,
    /// After a failure.
    pub on_error: CallbackCount,
    /// After both.
    pub on_always: CallbackCount,
}

/// Firings of one callback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackCount {
    /// How often.
    pub fired: u64,
    /// How often an action in it failed.
    pub failed: u64,
    /// The first failure.
    pub example: Option<String>,
}

/// One assertion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssertionSummary {
    /// Its name, or the expression.
    pub name: String,
    /// Responses on which it held.
    pub passed: u64,
    /// Responses on which it did not.
    pub failed: u64,
    /// A response on which it did not.
    pub example: Option<String>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdSummary {
    /// As written.
    pub that: String,
    /// The metric. Null is beyond all that was recorded, or that there is nothing to judge.
    pub actual: Option<f64>,
    /// What the metric is measured in: `ms`, `share` (from 0 to 1), `per_s` or `count`.
    pub unit: String,
    /// Whether it held.
    pub verdict: Verdict,
    /// Whether the verdict is `held`.
    pub passed: bool,
    /// Why it was not judged.
    pub reason: Option<String>,
    /// The kind of that reason; left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// One kind of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorSummary {
    /// `connect`, `timeout`, `executor` …
    pub kind: String,
    /// In words.
    pub message: String,
    /// How often.
    pub count: u64,
    /// When first, from the start of what is measured.
    pub first_at_s: f64,
    /// The Executor and its stack, of the first.
    pub details: Option<String>,
}

/// The requests of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepSummary {
    /// As in the file.
    pub name: String,
    /// By what became of them; none is dropped or abandoned by itself, that befalls iterations.
    pub requests: Requests,
    /// Ok requests a second.
    pub requests_per_s: f64,
    /// Due to done, of ok requests. A step after the first is due when the one before it ended.
    pub response_time_ms: Latency,
    /// Written to done, of ok requests.
    pub service_time_ms: Latency,
}

/// What was sent before it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WarmupSummary {
    /// How long.
    pub duration_s: f64,
    /// Requests.
    pub sent: u64,
    /// Those that did not end well.
    pub failed: u64,
    /// Response time of the very first request that was answered, warmup or not.
    pub first_request_ms: Option<f64>,
    /// From the begin of the load, warmup included, to the first of three seconds whose median
    /// response times are that of the second half of what is measured, within a tenth. Null when
    /// it never settles, or the run is too short to tell (6 s).
    pub time_to_steady_s: Option<f64>,
}

fn is_zero(count: &u64) -> bool {
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
            seed: 0,
            environment: Environment::default(),
            resolved: None,
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
    /// Valid exactly when there are no reasons.
    pub fn new(reasons: Vec<Reason>) -> Validity {
        Validity { valid: reasons.is_empty(), reasons }
    }
}

impl End {
    /// Why nothing that was measured until then can be judged, where that is so.
    /// With the verdict on the scenario.
    pub fn unfinished(&self) -> Option<(Verdict, String)> {
        let (verdict, words) = match self.reason {
            EndReason::Time | EndReason::Requests | EndReason::Documents => return None,
            // What ended it judged what there was.
            EndReason::Aborted => return None,
            EndReason::Interrupted => (Verdict::Interrupted, "the run was interrupted"),
            EndReason::Unreachable => (Verdict::NotReached, "the target was not reached"),
            EndReason::Skipped => (Verdict::NotReached, "it did not run"),
            EndReason::Broken => (Verdict::NotJudged, "it broke off"),
        };
        let message = self.message.as_ref();
        let words = message.map_or_else(|| words.into(), |message| format!("{words}: {message}"));
        Some((verdict, words))
    }
}

impl Verdict {
    /// The worse of two, in the order of the exit codes: a failure is known to be one, whatever could
    /// not be judged, and what was not run to its end is not known at all.
    pub fn and(self, other: Verdict) -> Verdict {
        const ORDER: [Verdict; 5] = [
            Verdict::Interrupted,
            Verdict::NotReached,
            Verdict::Failed,
            Verdict::NotJudged,
            Verdict::Held,
        ];
        let known = ORDER.into_iter().find(|verdict| [self, other].contains(verdict));
        known.unwrap_or(Verdict::Held)
    }
}
