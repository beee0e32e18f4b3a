//! The file as written, without interpretation.
//!
//! The types here are what a user may write, key for key; `flowbench schema` is generated from them. [`load()`]
//! reads a suite with everything it includes: expressions evaluated, defaults merged, matrices expanded. What
//! it means is decided in [`crate::plan`].

pub mod condition;
mod endpoints;
mod expand;
mod flow;
mod load;
mod python;
mod running;
mod schema;
mod starter;
mod vars;

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

pub use endpoints::{Asked, Files, Path};
pub(crate) use expand::suffix;
pub(crate) use flow::{
    FamilyWord, Flow, Hosts, HttpVersionWord, Metrics, ProtocolWord, Ready, Tls, TlsMap,
};
pub use load::{LoadedSuite, Options, load, load_text};
pub(crate) use load::{Named, Unit};
pub use running::starter_of;
pub use schema::schema;
pub(crate) use starter::untagged;
pub use starter::{Environment, FlowFacts, starter};

use crate::documents::DocumentsSpec;
use crate::schedule::{ArrivalProcess, Pause};
use crate::template::Template;
use crate::units::{Count, Percentage, Price, Range, Rate, Span};
use condition::{Condition, ConditionError};

/// One file: Flows, Documents and the scenarios that run.
///
/// `${{ … }}` contains an expression. In `documents`, and in the `parameters` and `variables` of a
/// scenario, it is evaluated for each Document or request; everywhere else once, when the file is
/// read, with `vars`, `env` and `matrix`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`load` reads these keys one by one; the type is their schema")]
pub(crate) struct Suite {
    /// Shown on every report. The file's name without its ending unless set.
    pub name: Option<String>,
    /// Every random choice derives from it; the same seed sends the same bytes. 0 unless set.
    pub seed: Option<u64>,
    /// Variables, overridable with `--set key=value`.
    pub vars: Option<Later<serde_json::Map<String, serde_json::Value>>>,
    /// Other suite files, relative to this one; their flows, documents and scenarios join.
    pub include: Option<Vec<String>>,
    /// Any scenario key; a scenario of this file that does not have it itself takes it from here.
    pub defaults: Option<Later<Scenario>>,
    /// Named targets. `default: {embedded: {}}` when a suite has none.
    pub flows: Option<Later<IndexMap<String, Flow>>>,
    /// Named generators of Documents.
    pub documents: Option<Later<IndexMap<String, DocumentsSpec>>>,
    /// The scenarios that run.
    pub scenarios: Option<Later<Vec<Scenario>>>,
    /// A search for the highest load that meets an objective.
    pub capacity: Option<Later<Capacity>>,
}

/// Trace ids of requests: W3C's `traceparent`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Trace {
    /// The share of requests that get one. `1%` unless set.
    pub sample: Option<Percentage>,
    /// Where the trace of an id is shown: `http://jaeger:16686/trace/{id}`.
    pub link: Option<String>,
}

/// A part of a file that is read on its own, once its expressions have values.
#[derive(Debug)]
pub(crate) struct Later<T>(PhantomData<T>);

/// One load on one Flow, and its conditions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[expect(dead_code, reason = "`name` and `matrix` are read before the rest, see `load`")]
pub(crate) struct Scenario {
    /// Shown on every report; other scenarios name it in `needs`. Required.
    pub name: Option<String>,
    /// The Flow, by its name. Unless set: the one named `default`, or the only one.
    pub flow: Option<String>,
    /// The protocol, instead of the Flow's.
    pub protocol: Option<ProtocolWord>,
    /// The endpoint. `/` unless set.
    pub on: Option<String>,
    /// The Documents to send: the name of a generator, or a generator. If omitted: requests with parameters
    /// only, or empty ones.
    pub documents: Option<DocumentsRef>,
    /// Documents per request. 100 unless set.
    pub request_size: Option<u64>,
    /// Any values by name. Expressions in them are evaluated for each request, with its index `i` and the
    /// random functions.
    pub parameters: Option<Template>,
    /// A regular expression for Executor names; only these Executors process the request.
    pub target_executor: Option<String>,
    /// Each request carries one Document to a streaming endpoint, which answers with many. gRPC
    /// only. `false` unless set.
    pub stream: Option<bool>,
    /// A GraphQL mutation, instead of Documents to an endpoint.
    pub mutate: Option<String>,
    /// The variables of `mutate`. Expressions in it are evaluated for each request.
    pub variables: Option<Template>,
    /// A plain HTTP request, instead of Documents to an endpoint: to a server in front of a Flow, or in place
    /// of one.
    pub request: Option<HttpSpec>,
    /// Headers of each request, in addition to those of its Flow; expressions are evaluated for each. Not
    /// over WebSocket, nor over gRPC unless `stream` is set or `call` is `unary`: there requests share the
    /// headers of their connection.
    pub headers: Option<Template>,
    /// Gives requests trace ids for a tracing system such as Jaeger.
    pub trace: Option<Trace>,
    /// Requests that each iteration sends one after the other, instead of one.
    pub steps: Option<Vec<Step>>,
    /// Several lists of steps instead of one. Each iteration runs one of them, by weight.
    pub choose: Option<Vec<Choice>>,
    /// How requests go over gRPC: all on one `stream` for each connection, or each as a separate `unary`
    /// call. `stream` unless set.
    pub call: Option<CallWord>,
    /// Compression of gRPC requests. `none` unless set.
    pub compression: Option<CompressionWord>,
    /// Timeout of one attempt of a request, to the end of its response. No limit unless set.
    pub timeout: Option<Span>,
    /// Which failures are retried, and how often. None unless set.
    pub retry: Option<Retry>,
    /// Connections; requests are spread over them. Unless set, as many as the load needs: one for
    /// each thread that sends, over HTTP one for each client.
    pub connections: Option<u64>,
    /// Sending threads. Unless set, one, or one per processor for loads that are demanding for one thread.
    pub workers: Option<u64>,
    /// Without `load`: requests in flight, 0 for no limit. 1000 unless set.
    pub prefetch: Option<u64>,
    /// Without `load`: responses are processed in the order of their requests. `false` unless set.
    pub results_in_order: Option<bool>,
    /// How fast and how much. Unless set, one client posts all Documents once.
    pub load: Option<Load>,
    /// Sent before the load, not measured. `0s` unless set.
    pub warmup: Option<Span>,
    /// Scenarios that must have ended; without it scenarios run concurrently.
    pub needs: Option<Vec<String>>,
    /// Runs regardless of what happened before: failed set-up, an interrupt. For tear-down. `false` unless
    /// set.
    pub always: Option<bool>,
    /// Delay after the scenarios in `needs` have ended. `0s` unless set.
    pub start: Option<Span>,
    /// How long requests in flight may take to finish when the load ends; later ones count as abandoned.
    /// `10s` unless set.
    pub grace: Option<Span>,
    /// Conditions on each response.
    pub assert: Option<Vec<Assertion>>,
    /// Conditions on the whole scenario. `error_rate == 0`, `assertion_failures == 0` and
    /// `dropped == 0` are added unless a threshold is about the same metric.
    pub thresholds: Option<Vec<Threshold>>,
    /// Actions after each success.
    pub on_done: Option<Vec<Action>>,
    /// Actions after each failure.
    pub on_error: Option<Vec<Action>>,
    /// Actions after each response, successful or not.
    pub on_always: Option<Vec<Action>>,
    /// One scenario for each combination of values, run one after the other. A key of a scenario sets
    /// it; expressions see every key as `matrix.key`.
    pub matrix: Option<IndexMap<String, Vec<serde_json::Value>>>,
}

impl Scenario {
    /// The steps, including those of all lists in `choose`.
    pub(crate) fn all_steps(&self) -> impl Iterator<Item = &Step> {
        let chosen = self.choose.iter().flatten().flat_map(|choice| choice.steps.iter().flatten());
        self.steps.iter().flatten().chain(chosen)
    }
}

/// One request of an iteration. Keys that are not set are those of the scenario.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Step {
    /// Thresholds may name it, as in `search.p99 < 50ms`. Required.
    pub name: Option<String>,
    /// The endpoint. The scenario's unless set.
    pub on: Option<String>,
    /// The Documents to send: the name of a generator, or a generator. The scenario's unless set.
    pub documents: Option<DocumentsRef>,
    /// Documents per request. The scenario's unless set.
    pub request_size: Option<u64>,
    /// Any values; `captured` has the values that earlier steps captured.
    pub parameters: Option<Template>,
    /// A regular expression for Executor names; only these Executors process the request.
    pub target_executor: Option<String>,
    /// One Document to a streaming endpoint.
    pub stream: Option<bool>,
    /// A GraphQL mutation, instead of Documents to an endpoint.
    pub mutate: Option<String>,
    /// The variables of `mutate`; `captured` has the values that earlier steps captured.
    pub variables: Option<Template>,
    /// A plain HTTP request, instead of Documents to an endpoint.
    pub request: Option<HttpSpec>,
    /// Headers of its requests, instead of the scenario's; `captured` has the values that earlier steps
    /// captured.
    pub headers: Option<Template>,
    /// Repeats its request until a condition on the response is true: to poll for the result of asynchronous
    /// work.
    pub repeat: Option<Repeat>,
    /// The pause after its response, before the next step: `1s`, `1s..5s`, or a distribution. `0s`
    /// unless set.
    pub think_time: Option<Pause>,
    /// Values of the response for later steps: names, and expressions such as `response.docs[0].id`.
    pub capture: Option<IndexMap<String, String>>,
    /// Conditions on its response, in addition to those of the scenario.
    pub assert: Option<Vec<Assertion>>,
    /// Actions after its success, in addition to those of the scenario.
    pub on_done: Option<Vec<Action>>,
    /// Actions after its failure, in addition to those of the scenario.
    pub on_error: Option<Vec<Action>>,
    /// Actions after its response, in addition to those of the scenario.
    pub on_always: Option<Vec<Action>>,
}

/// One of several lists of steps.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Choice {
    /// Shown in the report. Required.
    pub name: Option<String>,
    /// How often it is chosen, in proportion to the other weights. 1 unless set.
    pub weight: Option<f64>,
    /// Its steps. Required.
    pub steps: Option<Vec<Step>>,
}

/// How often a step is repeated, and until when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Repeat {
    /// An expression on the response; the repetition ends when it is true. Without a value it counts as
    /// false.
    pub until: String,
    /// The pause after a response for which `until` is false. `500ms` unless set.
    pub every: Option<Span>,
    /// The iteration fails if `until` is still false after this time, counted from the first request. `60s`
    /// unless set, at most `1h`.
    pub at_most: Option<Span>,
}

/// A plain HTTP request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct HttpSpec {
    /// `POST` if there is a body, otherwise `GET`, unless set.
    pub method: Option<String>,
    /// The path, with a query if there is one. It may contain expressions.
    pub path: Template,
    /// Headers by name; they replace those of the Flow.
    pub headers: Option<Template>,
    /// The body as JSON.
    pub json: Option<Template>,
    /// The body as text.
    pub body: Option<Template>,
    /// The statuses that count as success. Any below 400 unless set.
    pub status: Option<Vec<u16>>,
}

/// The name of a generator, or a generator.
#[derive(Debug)]
pub(crate) enum DocumentsRef {
    /// The name of a generator in `documents`.
    Name(String),
    /// A generator only for this scenario or step.
    Inline(Box<DocumentsSpec>),
}

/// How fast and how much.
///
/// With `clients`, each sends the next request when the last is answered (closed model). With
/// `rate`, `stages` of rates or a `trace`, requests are due by the clock (open model).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Load {
    /// Clients that each send one request at a time.
    pub clients: Option<u64>,
    /// The pause of a client after each response, or after the last step: `1s`, `1s..5s`, or a
    /// distribution. `0s` unless set.
    pub think_time: Option<Pause>,
    /// Arrivals per second, as in `500/s`.
    pub rate: Option<Rate>,
    /// The distribution of the gaps between arrivals. `uniform` unless set.
    pub arrivals: Option<ArrivalProcess>,
    /// An arrival that finds this many requests in flight is dropped and counted. 10000 unless set.
    pub max_in_flight: Option<u64>,
    /// Consecutive stages, each with a rate or a number of clients.
    pub stages: Option<Vec<Stage>>,
    /// A file of recorded arrivals: CSV whose first column has the seconds since the start.
    pub trace: Option<PathBuf>,
    /// The factor by which a trace is played faster. 1 unless set.
    pub speed: Option<f64>,
    /// The load ends after this time.
    pub duration: Option<Span>,
    /// The load ends after this many requests.
    pub requests: Option<u64>,
}

/// A stage of a load: `{rate: 100/s, for: 30s}`, `{ramp_to: 1000/s, for: 60s}`, `{pause: 10s}`, or
/// the same with `clients`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Stage {
    /// Stays at this rate.
    pub rate: Option<Rate>,
    /// Stays at this number of clients.
    pub clients: Option<u64>,
    /// Goes to this rate, or number of clients, in a straight line.
    pub ramp_to: Option<Level>,
    /// Sends nothing for this time.
    pub pause: Option<Span>,
    /// The length of the stage.
    pub r#for: Option<Span>,
}

/// A rate, or a number of clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Level {
    /// `1000/s`, in requests per second; `0/s` is allowed, in any unit.
    Rate(f64),
    /// `16`
    Clients(u64),
}

/// How requests go over gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallWord {
    /// On one long-lived stream for each connection, as in `jina.Client`.
    Stream,
    /// Each as a separate call, as with `stream=False`.
    Unary,
}

/// Compression of gRPC requests.
///
/// `NoCompression`, `Gzip` and `Deflate`, as `jina.Client` has them, are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompressionWord {
    /// No compression.
    None,
    /// gzip.
    Gzip,
    /// The zlib format, which gRPC calls deflate.
    Deflate,
}

/// Retries, as in `jina.Client`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Retry {
    /// Maximum number of attempts, including the first. 1 unless set.
    pub max_attempts: Option<u64>,
    /// The wait before the second attempt. `500ms` unless set.
    pub initial_backoff: Option<Span>,
    /// The longest wait. `2s` unless set.
    pub max_backoff: Option<Span>,
    /// The factor from one wait to the next. 1.5 unless set.
    pub backoff_multiplier: Option<f64>,
}

/// An expression on each response: alone, or with a name and a share of the responses.
#[derive(Debug)]
pub(crate) struct Assertion {
    /// Shown in the report; the expression unless set.
    pub name: Option<String>,
    /// The expression.
    pub that: String,
    /// The share of the responses on which it is evaluated.
    pub sample: Percentage,
}

/// A condition on the whole scenario, such as `p99 < 50ms`: alone, or with what to do about it.
#[derive(Debug)]
pub(crate) struct Threshold {
    /// The condition.
    pub that: Condition,
    /// End the scenario as soon as it is not met.
    pub abort: bool,
    /// The earliest time at which it can end the scenario.
    pub after: Option<Span>,
}

/// Something to do with a response.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Prints the Documents of the response.
    Print,
    /// Prints a line, with expressions on the response in it.
    Log(String),
    /// Rings the terminal's bell.
    Beep,
    /// Adds one to a counter of the report.
    Count(String),
    /// Appends the Documents of the response to a file, as one line of JSON each.
    Save(PathBuf),
    /// Evaluates an expression on the response; the callback fails if it is false.
    Check(String),
    /// Ends the scenario.
    Abort,
}

/// A search for the highest load at which the objective is met.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Capacity {
    /// The scenario whose load is varied.
    pub scenario: String,
    /// Conditions that must all be met: upper limits of latencies and failures. If the scenario has
    /// assertions and no condition is about them, `assertion_failures == 0` is added.
    pub objective: Vec<Condition>,
    /// The rates to search, as in `50/s..5000/s`; this or `clients`.
    pub rate: Option<Range<Rate>>,
    /// The numbers of clients to search, which wait for their responses, as in `1..256`; this or `rate`.
    pub clients: Option<Range<Count>>,
    /// The largest distance between the sustained and the failing load. `5%` unless set.
    pub precision: Option<Percentage>,
    /// The confidence level of both. `99%` unless set.
    pub confidence: Option<Percentage>,
    /// The time for which one load is tried. `20s` unless set.
    pub trial: Option<Span>,
    /// What a replica of an Executor costs while it runs, as in `1.20/h`: one price for all, or by the
    /// Executor's name.
    pub cost: Option<Cost>,
}

/// What replicas of Executors cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cost {
    /// A replica of any.
    Each(Price),
    /// By the Executor's name; others cost nothing.
    By(IndexMap<String, Price>),
}

impl Cost {
    /// The cost per hour of this many replicas of these Executors.
    pub(crate) fn per_hour(&self, replicas: &[(String, u32)]) -> f64 {
        let price = |name: &str| match self {
            Cost::Each(price) => price.per_hour(),
            Cost::By(prices) => prices.get(name).map_or(0.0, |price| price.per_hour()),
        };
        replicas.iter().map(|(name, count)| price(name) * f64::from(*count)).sum()
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cost, D::Error> {
        struct CostVisitor;

        impl<'de> Visitor<'de> for CostVisitor {
            type Value = Cost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price such as `1.20/h`, or a map such as `{encoder: 0.80/h}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cost, E> {
                text.parse().map(Cost::Each).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cost, A::Error> {
                IndexMap::deserialize(MapAccessDeserializer::new(map)).map(Cost::By)
            }
        }

        deserializer.deserialize_any(CostVisitor)
    }
}

impl JsonSchema for Cost {
    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let price = generator.subschema_for::<Price>();
        json_schema!({"anyOf": [price, {"type": "object", "additionalProperties": price}]})
    }
}

impl<'de, T> Deserialize<'de> for Later<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Later<T>, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(Later(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Later<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Reads a value that is either a text or a map.
struct TextOr<T, F, E> {
    expected: &'static str,
    text: F,
    map: PhantomData<(T, E)>,
}

impl<'de, T, F, Wrong> Visitor<'de> for TextOr<T, F, Wrong>
where
    T: Deserialize<'de>,
    F: FnOnce(&str) -> Result<T, Wrong>,
    Wrong: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

fn text_or_map<'de, T, D, Wrong: fmt::Display>(
    deserializer: D,
    expected: &'static str,
    text: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(TextOr { expected, text, map: PhantomData })
}

/// The map form of an assertion.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssertionMap {
    /// Shown in the report. The expression unless set.
    name: Option<String>,
    /// The expression.
    that: String,
    /// The share of the responses on which it is evaluated. `100%` unless set.
    sample: Option<Percentage>,
}

impl From<AssertionMap> for Assertion {
    fn from(map: AssertionMap) -> Assertion {
        let sample = map.sample.unwrap_or(Percentage::ALL);
        Assertion { name: map.name, that: map.that, sample }
    }
}

/// The map form of a threshold.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ThresholdMap {
    /// The condition.
    that: Condition,
    /// End the scenario as soon as it is not met. `false` unless set.
    abort: Option<bool>,
    /// The earliest time at which it can end the scenario. `0s` unless set.
    after: Option<Span>,
}

impl From<ThresholdMap> for Threshold {
    fn from(map: ThresholdMap) -> Threshold {
        Threshold { that: map.that, abort: map.abort.unwrap_or(false), after: map.after }
    }
}

/// A type that is deserialized from its map form.
struct Mapped<M, T>(T, PhantomData<M>);

impl<'de, M: Deserialize<'de> + Into<T>, T> Deserialize<'de> for Mapped<M, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mapped<M, T>, D::Error> {
        M::deserialize(deserializer).map(|map| Mapped(map.into(), PhantomData))
    }
}

impl<'de> Deserialize<'de> for Assertion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Assertion, D::Error> {
        let expected =
            "an expression such as `response.status == \"SUCCESS\"`, or a map with `that`";
        text_or_map::<Mapped<AssertionMap, Assertion>, D, Infallible>(
            deserializer,
            expected,
            |text| {
                let assertion =
                    Assertion { name: None, that: text.into(), sample: Percentage::ALL };
                Ok(Mapped(assertion, PhantomData))
            },
        )
        .map(|mapped| mapped.0)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Threshold, D::Error> {
        let expected = "a condition such as `p99 < 50ms`, or a map with `that`";
        text_or_map::<Mapped<ThresholdMap, Threshold>, D, ConditionError>(
            deserializer,
            expected,
            |text| {
                let that = text.parse()?;
                Ok(Mapped(Threshold { that, abort: false, after: None }, PhantomData))
            },
        )
        .map(|mapped| mapped.0)
    }
}

impl<'de> Deserialize<'de> for CompressionWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CompressionWord, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "none" | "NoCompression" => Ok(CompressionWord::None),
            "gzip" | "Gzip" => Ok(CompressionWord::Gzip),
            "deflate" | "Deflate" => Ok(CompressionWord::Deflate),
            other => Err(de::Error::unknown_variant(other, &["none", "gzip", "deflate"])),
        }
    }
}

impl<'de> Deserialize<'de> for DocumentsRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DocumentsRef, D::Error> {
        struct Inline(DocumentsRef);

        impl<'de> Deserialize<'de> for Inline {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Inline, D::Error> {
                let spec = DocumentsSpec::deserialize(deserializer)?;
                Ok(Inline(DocumentsRef::Inline(Box::new(spec))))
            }
        }

        let expected = "the name of a generator, or a map such as `{text: hello}`";
        text_or_map::<Inline, D, Infallible>(deserializer, expected, |text| {
            Ok(Inline(DocumentsRef::Name(text.into())))
        })
        .map(|inline| inline.0)
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        struct LevelVisitor;

        impl Visitor<'_> for LevelVisitor {
            type Value = Level;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as `1000/s`, or a number of clients")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Level, E> {
                // A ramp may end at zero, which is not a valid steady rate.
                if let Some((number, unit)) = text.split_once('/')
                    && number.trim().parse() == Ok(0.0)
                    && format!("1/{unit}").parse::<Rate>().is_ok()
                {
                    return Ok(Level::Rate(0.0));
                }
                if text.starts_with('-') {
                    return Err(E::custom(format!(
                        "a rate must not be below zero, found `{text}`"
                    )));
                }
                let rate = text.parse().map(|rate: Rate| Level::Rate(rate.per_second()));
                rate.map_err(E::custom)
            }

            fn visit_u64<E>(self, clients: u64) -> Result<Level, E> {
                Ok(Level::Clients(clients))
            }
        }

        deserializer.deserialize_any(LevelVisitor)
    }
}

macro_rules! schema_of_alternatives {
    ($type:ident, $name:literal, |$generator:ident| $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

schema_of_alternatives!(Assertion, "Assertion", |generator| {
    let map = generator.subschema_for::<AssertionMap>();
    json_schema!({
        "anyOf": [{"type": "string"}, map],
        "examples": ["response.status == \"SUCCESS\"", "response.docs | length == request.docs | length"],
    })
});
schema_of_alternatives!(Threshold, "Threshold", |generator| {
    let (text, map) =
        (generator.subschema_for::<Condition>(), generator.subschema_for::<ThresholdMap>());
    json_schema!({"anyOf": [text, map]})
});
schema_of_alternatives!(DocumentsRef, "DocumentsRef", |generator| {
    let inline = generator.subschema_for::<DocumentsSpec>();
    json_schema!({"anyOf": [{"type": "string", "title": "a name of `documents`"}, inline]})
});
schema_of_alternatives!(CompressionWord, "Compression", |_generator| {
    json_schema!({"enum": ["none", "gzip", "deflate", "NoCompression", "Gzip", "Deflate"]})
});
schema_of_alternatives!(Level, "Level", |_generator| {
    json_schema!({"anyOf": [
        {"type": "string", "title": "a rate", "examples": ["1000/s"]},
        {"type": "integer", "minimum": 0, "title": "a number of clients"},
    ]})
});
