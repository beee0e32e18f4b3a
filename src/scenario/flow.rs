//! A Flow as written: started here, already running, or started by a command.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::flow::FlowConfig;
use crate::units::{ByteSize, Span};
use crate::wire::Protocol;

/// A target: one of `embedded`, an address, or a `command` with an address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Flow {
    /// A Flow started inside this process, on free ports. `{}` has two Executors that index and
    /// search.
    pub embedded: Option<FlowConfig>,
    /// Where it is: `grpc://localhost:1234`, or a name. The scheme gives protocol and TLS. `0.0.0.0`
    /// unless set.
    pub host: Option<String>,
    /// Where it is over each of its protocols, for a `matrix` of protocols.
    pub hosts: Option<Hosts>,
    /// 80 unless set, 443 with TLS.
    pub port: Option<u16>,
    /// `grpc` unless set.
    pub protocol: Option<ProtocolWord>,
    /// `true`, or a map of options.
    pub tls: Option<Tls>,
    /// HTTP and WebSocket headers, gRPC metadata. Values are never shown.
    pub headers: Option<IndexMap<String, String>>,
    /// The family of DocArray it was built with. `auto` unless set: the Flow is queried.
    pub family: Option<FamilyWord>,
    /// The version of HTTP for plain requests, if all are. `1.1` unless set.
    pub http_version: Option<HttpVersionWord>,
    /// Time limit for connecting, TLS handshake included. `10s` unless set.
    pub connect_timeout: Option<Span>,
    /// A larger response is an error and is not read to its end. `256MiB` unless set.
    pub max_response_size: Option<ByteSize>,
    /// Memory that its responses in flight may take together. `1GiB` unless set, or a quarter of the
    /// machine's memory if that is less, shared with the other flows that do not set it.
    pub max_response_memory: Option<ByteSize>,
    /// A Flow's YAML, which Jina starts when the first scenario that uses it is due: like a `command`, with
    /// `jina flow --uses FILE`. Its address is taken from the file unless set.
    pub uses: Option<PathBuf>,
    /// With `uses`, values to set in the YAML, by their path: `executors.encoder.replicas`. Each must exist
    /// there.
    pub set: Option<IndexMap<String, serde_json::Value>>,
    /// Program and arguments that start it when the first scenario that uses it is due. It is stopped after
    /// the last, with every process that it started.
    pub command: Option<Vec<Argument>>,
    /// With `command`, the folder in which it runs. The current one unless set.
    pub cwd: Option<PathBuf>,
    /// With `command`, environment variables to add to those of flowbench. Values are never shown.
    pub env: Option<IndexMap<String, Argument>>,
    /// With `command`, how to tell that the Flow is ready. Unless set: it responds.
    pub ready: Option<Ready>,
    /// With `command`, how long it may take until it is ready. `60s` unless set.
    pub ready_timeout: Option<Span>,
    /// Where its pods expose their metrics, which are read once per second while it is under load: a list of
    /// addresses such as `http://127.0.0.1:9090/metrics`, or a map with further metrics.
    pub metrics: Option<Metrics>,
    /// A Prometheus server that already scrapes it, and queries for it.
    pub prometheus: Option<Prometheus>,
    /// With `command`, whether it stays up to the end of the run. `false` unless set: it is stopped after
    /// the last scenario that uses it.
    pub keep: Option<bool>,
}

impl Flow {
    /// Whether it is started here, by a command.
    pub(crate) fn starts(&self) -> bool {
        self.command.is_some() || self.uses.is_some()
    }
}

/// Where the metrics of a Flow are.
#[derive(Debug)]
pub(crate) enum Metrics {
    /// Their addresses.
    From(Vec<String>),
    /// The same, and more.
    Map(MetricsMap),
}

/// Metrics of a Flow.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct MetricsMap {
    /// Addresses such as `http://127.0.0.1:9090/metrics`.
    pub from: Vec<String>,
    /// Names of further metrics to keep, besides those of Jina.
    pub also: Option<Vec<String>>,
}

/// A Prometheus server, and queries for it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Prometheus {
    /// Its address: `http://prometheus:9090`.
    pub url: String,
    /// Queries in PromQL, by name; each must return one number.
    pub queries: IndexMap<String, String>,
}

/// How to tell that a Flow is ready.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ready {
    /// The port accepts connections: `127.0.0.1:9090`.
    Address(String),
    /// A GET gets a status below 400: `http://127.0.0.1:9090/ready`.
    Url(String),
    /// A line of its output contains this text.
    Log(String),
    /// A line of its output has a match of this regular expression.
    LogMatches(String),
}

/// A word of a command, or a value of its environment: text, or a number, which becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument(pub String);

/// One address for each protocol.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Hosts {
    /// Over gRPC.
    pub grpc: Option<String>,
    /// Over HTTP.
    pub http: Option<String>,
    /// Over WebSocket.
    pub websocket: Option<String>,
}

/// Whether connections are encrypted, and how certificates are verified.
#[derive(Debug)]
pub(crate) enum Tls {
    /// Encrypted or not.
    Switch(bool),
    /// How certificates are verified. Connections are encrypted, unless the scheme of `host` says that
    /// they are not.
    Options(TlsMap),
}

/// How certificates are verified. Paths are relative to the file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct TlsMap {
    /// A PEM file of certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file of the client certificate chain; requires `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file of the client's private key; requires `cert`.
    pub key: Option<PathBuf>,
    /// The name to verify instead of the host's.
    pub server_name: Option<String>,
    /// Accept any certificate. `false` unless set.
    pub insecure: Option<bool>,
}

/// A protocol as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProtocolWord {
    Grpc,
    Http,
    Websocket,
}

/// A version of HTTP as written, which YAML has as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersionWord {
    One,
    Two,
}

impl<'de> Deserialize<'de> for HttpVersionWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HttpVersionWord, D::Error> {
        let Argument(text) = Argument::deserialize(deserializer)?;
        let found = match text.as_str() {
            "1.1" => Some(HttpVersionWord::One),
            "2" | "2.0" => Some(HttpVersionWord::Two),
            _ => None,
        };
        found.ok_or_else(|| de::Error::custom(format!("expected `1.1` or `2`, found `{text}`")))
    }
}

impl JsonSchema for HttpVersionWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HttpVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": [1.1, 2, "1.1", "2"]})
    }
}

/// A family of DocArray as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FamilyWord {
    /// The one that the Flow reports.
    Auto,
    /// DocArray before 0.30.
    V1,
    /// DocArray from 0.30 on.
    V2,
}

impl From<ProtocolWord> for Protocol {
    fn from(word: ProtocolWord) -> Protocol {
        match word {
            ProtocolWord::Grpc => Protocol::Grpc,
            ProtocolWord::Http => Protocol::Http,
            ProtocolWord::Websocket => Protocol::WebSocket,
        }
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argument, D::Error> {
        struct ArgumentVisitor;

        impl Visitor<'_> for ArgumentVisitor {
            type Value = Argument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Argument, E> {
                Ok(Argument(text.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Argument, E> {
                Ok(Argument(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Argument, E> {
                Ok(Argument(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Argument, E> {
                Ok(Argument(number.to_string()))
            }
        }

        deserializer.deserialize_any(ArgumentVisitor)
    }
}

impl JsonSchema for Argument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number"]})
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metrics, D::Error> {
        struct MetricsVisitor;

        impl<'de> Visitor<'de> for MetricsVisitor {
            type Value = Metrics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses, or a map such as `{from: [http://127.0.0.1:9090/metrics]}`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Metrics, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Metrics::From)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Metrics, A::Error> {
                MetricsMap::deserialize(MapAccessDeserializer::new(map)).map(Metrics::Map)
            }
        }

        deserializer.deserialize_any(MetricsVisitor)
    }
}

impl JsonSchema for Metrics {
    fn schema_name() -> Cow<'static, str> {
        "Metrics".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<MetricsMap>();
        json_schema!({"anyOf": [{"type": "array", "items": {"type": "string"}}, map]})
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tls, D::Error> {
        struct TlsVisitor;

        impl<'de> Visitor<'de> for TlsVisitor {
            type Value = Tls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false` or a map such as `{ca: ca.pem}`")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tls, E> {
                Ok(Tls::Switch(value))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
                TlsMap::deserialize(MapAccessDeserializer::new(map)).map(Tls::Options)
            }
        }

        deserializer.deserialize_any(TlsVisitor)
    }
}

impl JsonSchema for Tls {
    fn schema_name() -> Cow<'static, str> {
        "Tls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<TlsMap>();
        json_schema!({"anyOf": [{"type": "boolean"}, map]})
    }
}
