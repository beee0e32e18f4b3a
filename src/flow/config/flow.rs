//! The Flow itself and its Executors, as users configure them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::behaviour::{Behaviour, Down, Fail, Faults, SlowStart, Stall};
use super::condition::Condition;
use super::schema::SchemaSpec;
use super::service_time::ServiceTime;
use crate::units::Span;
use crate::wire::{Family, Protocol};

/// An embedded Flow.
///
/// `{}` is a Flow of the v1 family on free ports of the three protocols with two Executors:
/// `encoder` gives the Documents of `/index` and `/search` an embedding where they have none, and
/// `indexer` keeps and finds them. Every other endpoint gives its Documents back unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlowConfig {
    /// The family of DocArray. The default is v1, which has routes over HTTP, and GraphQL.
    pub family: FamilyName,
    /// The protocols, each with its own port.
    pub protocols: Vec<ProtocolName>,
    /// The address to listen on. By default only this machine can reach it.
    #[serde(deserialize_with = "ip_address")]
    pub host: IpAddr,
    /// Fixed ports; a protocol without one gets a free port.
    pub ports: BTreeMap<ProtocolName, u16>,
    /// Which fields Documents of v2 may have: `legacy`, `any`, or a custom JSON schema; v1 has no choice.
    pub schema: SchemaSpec,
    /// TLS for all protocols.
    pub tls: Option<TlsFiles>,
    /// Whether to serve `/graphql`. Default: yes in the v1 family, which alone has it.
    pub graphql: Option<bool>,
    /// Whether HTTP serves `/index`, `/search`, `/update` and `/delete`; v1 only.
    pub crud: bool,
    /// Endpoints with a separate HTTP route, as with `flow.expose_endpoint`; v1 only.
    pub expose: Vec<String>,
    /// Whether pages of any website may call the HTTP gateway.
    pub cors: bool,
    /// How many requests of one call are processed at a time; 0 for 100,000, the maximum.
    pub prefetch: usize,
    /// How long the gateway waits for an Executor before it tries again; after three more attempts the call
    /// fails. Default: forever.
    pub timeout_send: Option<Span>,
    /// The seed of all random choices.
    pub seed: u64,
    /// A file for the arrival and departure of every request, one line each.
    pub log: Option<PathBuf>,
    /// The Executors. Each gets the output of the one before it, unless it has `needs`.
    pub executors: Vec<ExecutorConfig>,
}

fn ip_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| format!("expected an IP address such as `127.0.0.1`, found `{text}`");
    text.parse().map_err(wrong).map_err(serde::de::Error::custom)
}

/// A family as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum FamilyName {
    V1,
    V2,
}

/// A protocol as written.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ProtocolName {
    Grpc,
    Http,
    Websocket,
}

/// Certificate and key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CA whose client certificates are accepted; without it, clients need none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// An Executor.
///
/// `uses` defines what it does to Documents, `default` and `endpoints` what happens after that. Service
/// times and failures can be set for the whole Executor and for each endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutorConfig {
    /// The name that `target_executor` is matched against and that routes show.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub uses: Uses,
    /// The name of its Python class in exceptions. Default: that of `uses`, or derived from the name.
    #[serde(default)]
    pub class: Option<String>,
    /// The Executors whose Documents it gets, or `gateway` for those of the request. Default: the Executor
    /// before it. The Documents of several are joined.
    #[serde(default)]
    pub needs: Option<Vec<String>>,
    /// Only Documents that meet this condition come to this Executor.
    #[serde(default)]
    pub when: Option<Condition>,
    /// Number of replicas; requests go to each in turn.
    #[serde(default = "one")]
    pub replicas: u32,
    /// A replica that is slower. With it, routes name the replica, unlike Jina's: `encoder/rep-1`.
    #[serde(default)]
    pub slow_replica: Option<SlowReplica>,
    /// How many requests a replica processes at a time; the others wait in order. Default: no limit.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// How many requests may wait for a replica; further ones are rejected with an exception.
    #[serde(default = "queue_bound")]
    pub queue: usize,
    /// Which fields its Documents may have; default: those of the Flow.
    #[serde(default)]
    pub schema: Option<SchemaSpec>,
    /// Its service time.
    #[serde(default)]
    pub service_time: ServiceTime,
    /// Periodic stalls.
    #[serde(default)]
    pub stall: Option<Stall>,
    /// A slow start.
    #[serde(default)]
    pub slow_start: Option<SlowStart>,
    /// Which requests end with an exception.
    #[serde(default)]
    pub fail: Option<Fail>,
    /// When it is unreachable.
    #[serde(default)]
    pub down: Option<Down>,
    /// Faults of its responses.
    #[serde(default)]
    pub faults: Option<Faults>,
    /// Its behaviour at endpoints that are not named under `endpoints`. If only `endpoints` are given, it
    /// does not take part in other requests.
    #[serde(default)]
    pub default: Option<Behaviour>,
    /// Its behaviour at endpoints, by their names such as `/index`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Behaviour>")]
    pub endpoints: IndexMap<String, Behaviour>,
}

/// A replica that is slower than the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowReplica {
    /// Which, from 0.
    pub replica: u32,
    /// How many times slower it is.
    pub factor: f64,
}

/// The kinds of Executors.
///
/// From `appender` on they are those of the interoperability tests with Jina: what they do depends on
/// endpoint, parameters and texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Uses {
    /// Returns Documents unchanged.
    #[default]
    Echo,
    /// On `/index` and `/search`: gives every Document without an embedding one made from its
    /// content, the same for the same content.
    Encoder,
    /// Keeps Documents by their embedding and finds the nearest: `/index`, `/search`, `/delete`
    /// and `/status`.
    MemoryIndex,
    /// On `/append`, or with the parameter `append`: appends `append_count` Documents. On
    /// `/clear`: removes all Documents.
    Appender,
    /// Sleeps as long as the parameter `sleep_ms` or a text `sleep:MS` says. With the parameter `block`,
    /// other requests wait meanwhile.
    Sleeper,
    /// Raises an exception when the parameter `fail` or a text `fail` asks for one.
    Failer,
    /// On `/sum`, or with the parameter `sum`: returns counts of Documents and characters.
    Summer,
    /// Appends a Document that says it was there.
    Foo,
    /// Appends a Document that says it was there.
    Bar,
    /// The same, on `/named` alone.
    Named,
}

fn one() -> u32 {
    1
}

/// The default length of the queue: long enough for any overload, yet bounded.
fn queue_bound() -> usize {
    100_000
}

impl Default for FlowConfig {
    fn default() -> FlowConfig {
        FlowConfig {
            family: FamilyName::V1,
            protocols: vec![ProtocolName::Grpc, ProtocolName::Http, ProtocolName::Websocket],
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: BTreeMap::new(),
            schema: SchemaSpec::Legacy,
            tls: None,
            graphql: None,
            crud: true,
            expose: Vec::new(),
            cors: false,
            prefetch: 1000,
            timeout_send: None,
            seed: 0,
            log: None,
            executors: vec![
                ExecutorConfig { uses: Uses::Encoder, ..ExecutorConfig::named("encoder") },
                ExecutorConfig { uses: Uses::MemoryIndex, ..ExecutorConfig::named("indexer") },
            ],
        }
    }
}

impl ExecutorConfig {
    /// An echo that takes no time.
    pub fn named(name: impl Into<String>) -> ExecutorConfig {
        ExecutorConfig {
            name: name.into(),
            uses: Uses::Echo,
            class: None,
            needs: None,
            when: None,
            replicas: one(),
            slow_replica: None,
            concurrency: None,
            queue: queue_bound(),
            schema: None,
            service_time: ServiceTime::default(),
            stall: None,
            slow_start: None,
            fail: None,
            down: None,
            faults: None,
            default: None,
            endpoints: IndexMap::new(),
        }
    }
}

impl ProtocolName {
    /// The name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            ProtocolName::Grpc => "grpc",
            ProtocolName::Http => "http",
            ProtocolName::Websocket => "websocket",
        }
    }
}

impl From<FamilyName> for Family {
    fn from(name: FamilyName) -> Family {
        match name {
            FamilyName::V1 => Family::V1,
            FamilyName::V2 => Family::V2,
        }
    }
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Protocol {
        match name {
            ProtocolName::Grpc => Protocol::Grpc,
            ProtocolName::Http => Protocol::Http,
            ProtocolName::Websocket => Protocol::WebSocket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::config::FlowProblem;

    fn read(yaml: &str) -> Result<FlowConfig, String> {
        serde_yaml::from_str(yaml).map_err(|error| error.to_string())
    }

    fn problems(yaml: &str) -> Vec<String> {
        let config = read(yaml).expect("its form is right");
        config.problems().iter().map(FlowProblem::to_string).collect()
    }

    #[test]
    fn the_example_of_the_scenario_format_is_read() {
        let config = read(
            "protocols: [grpc, http, websocket]
executors:
  - {name: encoder, service_time: {lognormal: {median: 5ms, p99: 40ms}}, concurrency: 8}
  - {name: indexer, service_time: 2ms, concurrency: 1, fail: 0.1%, stall: {every: 10s, for: 1s}}
",
        )
        .expect("it is valid");
        assert_eq!(config.executors.len(), 2);
        assert_eq!(config.executors[0].concurrency, Some(8));
        assert!(config.executors[1].fail.is_some());
        assert!(config.problems().is_empty());
    }

    #[test]
    fn everything_there_is_can_be_written() {
        let config = read(
            r#"
family: v2
host: 0.0.0.0
ports: {grpc: 1234}
cors: true
timeout_send: 500ms
executors:
  - name: encoder
    class: MyEncoder
    replicas: 2
    queue: 100
    service_time: {knee: {time: {per_document: 1ms}, at: 8, growth: 20%}}
    slow_start: {for: 10s, factor: 5}
    down: {after: 10s, for: 5s}
    faults: {drop: 0.1%, late: {share: 1%, by: 500ms}, twice: 1%, out_of_order: 1%, wrong_id: 1%, garbage: 1%}
    default: {}
    endpoints:
      /search:
        service_time: {exponential: {mean: 3ms}}
        fail: {share: 1%, documents: {text: {$eq: bad}}, exception: {name: KeyError, args: [k]}}
        filter: {tags__lang: {$in: [en, de]}}
        set: {text: hello, tags: {seen: true}, embedding: 128}
        matches: {k: 10, score: cosine}
        append: {count: 2, text: more}
        results: {took: 3}
        response_size: 10KiB
      /stream: {stream: {count: 10, every: 20ms}}
  - {name: a, needs: [encoder], when: {tags__lang: {$eq: en}}}
  - {name: b, needs: [gateway]}
  - {name: join, needs: [a, b], down: true}
"#,
        );
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.problems(), []);
    }

    #[test]
    fn problems_name_the_place_and_what_was_expected() {
        assert_eq!(
            problems(
                "{family: v2, graphql: true, ports: {http: 1}, protocols: [grpc, grpc], executors: [
                {name: a, needs: [b]}, {name: a, replicas: 0, endpoints: {x: {}}}, {name: gateway, needs: []}]}"
            ),
            [
                "protocols[1]: `grpc` is listed twice",
                "ports.http: a port for a protocol that is not among `protocols`",
                "graphql: the v2 family has no GraphQL",
                "executors[0].needs[0]: no Executor before this one is named `b` (known: `gateway`)",
                "executors[1].name: another Executor is already named `a`",
                "executors[1].replicas: expected 1 to 10000 replicas, found 0",
                "executors[1].endpoints.x: an endpoint starts with `/`, found `x`",
                "executors[2].name: expected a name of 1 to 200 characters other than `gateway`, \
                 found `gateway`",
                "executors[2].needs: expected at least one name; `gateway` is the request itself",
            ]
        );
    }

    #[test]
    fn a_wrong_value_is_refused_in_words() {
        let cases = [
            ("{executors: [{name: a, service_time: fast}]}", "expected a duration"),
            (
                "{executors: [{name: a, service_time: {lognormal: {median: 5ms, p99: 1ms}}}]}",
                "`median`",
            ),
            ("{executors: [{name: a, fail: 200%}]}", "from 0% to 100%"),
            ("{executors: [{name: a, when: {text: {$is: x}}}]}", "`$is`"),
            ("{executors: [{name: a, colour: red}]}", "unknown field `colour`"),
        ];
        for (yaml, expected) in cases {
            let error = read(yaml).expect_err(yaml);
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
