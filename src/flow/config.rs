//! An embedded Flow as its user writes it: `embedded:` in a scenario file, `--config` of `serve`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::units::{Percentage, Span};
use crate::wire::{Family, Protocol};

/// An embedded Flow.
///
/// `{}` is a Flow of the v1 family on free ports of the three protocols with two Executors:
/// `encoder` gives the Documents of `/index` and `/search` an embedding where they have none, and
/// `indexer` keeps and finds them. Every other endpoint gives its Documents back unchanged.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "snake_case")]
pub struct FlowConfig {
    /// The family of DocArray it speaks. v1 unless told otherwise, because HTTP carries routes
    /// there and GraphQL exists.
    pub family: FamilyName,
    /// What it listens for; each protocol has a port of its own.
    pub protocols: Vec<ProtocolName>,
    /// Fixed ports; a protocol without one gets a free port.
    pub ports: BTreeMap<ProtocolName, u16>,
    /// Encrypts all protocols.
    pub tls: Option<TlsFiles>,
    /// How many requests of one call are worked on at a time; 0 for as many as there are, up to
    /// a bound that keeps memory bounded.
    pub prefetch: usize,
    /// All randomness comes from it.
    pub seed: u64,
    /// The Executors, in the order of the Flow.
    pub executors: Vec<ExecutorConfig>,
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

/// Where certificate and key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, with those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// When given, only clients with a certificate of this authority are let in.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// An Executor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutorConfig {
    /// Its name, which `target_executor` is matched with and routes carry.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub uses: Uses,
    /// How long it works on a request.
    #[serde(default)]
    pub service_time: ServiceTime,
    /// How many requests it works on at a time, per replica; the others wait in the order they
    /// came. Left out: all at once.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// The share of requests that fail with an exception.
    #[serde(default)]
    pub fail: Percentage,
    /// Times at which it stands still.
    #[serde(default)]
    pub stall: Option<Stall>,
}

/// The Executors there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Uses {
    /// Gives Documents back as they came.
    #[default]
    Echo,
    /// On `/index` and `/search`: gives every Document without an embedding one made from its
    /// content, the same for the same content.
    Encoder,
    /// Keeps Documents by their embedding and finds the nearest: `/index`, `/search`, `/delete`
    /// and `/status`.
    MemoryIndex,
}

/// How long an Executor works on a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceTime {
    /// Always the same.
    Constant(Duration),
    /// Any time between the two is as likely.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Exponential, by its mean.
    Exponential(Duration),
    /// Lognormal, by two quantiles.
    Lognormal {
        /// Half of all requests take no longer.
        median: Duration,
        /// 99 of 100 requests take no longer.
        p99: Duration,
    },
}

/// Periods of work and standstill: of each `every`, the last `for` is standstill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// Length of a period.
    pub every: Span,
    /// How much of it nothing moves.
    pub r#for: Span,
}

impl Default for FlowConfig {
    fn default() -> FlowConfig {
        FlowConfig {
            family: FamilyName::V1,
            protocols: vec![ProtocolName::Grpc, ProtocolName::Http, ProtocolName::Websocket],
            ports: BTreeMap::new(),
            tls: None,
            prefetch: 1000,
            seed: 0,
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
            service_time: ServiceTime::default(),
            concurrency: None,
            fail: Percentage::ZERO,
            stall: None,
        }
    }
}

impl Default for ServiceTime {
    fn default() -> ServiceTime {
        ServiceTime::Constant(Duration::ZERO)
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

/// The map form of a service time; a duration alone is a constant one.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ServiceTimeMap {
    /// Always the same.
    Constant(Span),
    /// Any time between the two is as likely.
    Uniform(Bounds),
    /// Exponential, by its mean.
    Exponential(Mean),
    /// Lognormal, by two quantiles.
    Lognormal(Quantiles),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Bounds {
    /// The shortest.
    min: Span,
    /// The longest.
    max: Span,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mean {
    /// The mean.
    mean: Span,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Quantiles {
    /// Half of all requests take no longer.
    median: Span,
    /// 99 of 100 requests take no longer.
    p99: Span,
}

impl Serialize for ServiceTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What was read from a file is short enough; a program may set anything.
        let span = |duration: Duration| Span::new(duration).unwrap_or_default();
        let map = match *self {
            ServiceTime::Constant(time) => return span(time).serialize(serializer),
            ServiceTime::Uniform { min, max } => {
                ServiceTimeMap::Uniform(Bounds { min: span(min), max: span(max) })
            }
            ServiceTime::Exponential(mean) => {
                ServiceTimeMap::Exponential(Mean { mean: span(mean) })
            }
            ServiceTime::Lognormal { median, p99 } => {
                ServiceTimeMap::Lognormal(Quantiles { median: span(median), p99: span(p99) })
            }
        };
        map.serialize(serializer)
    }
}

impl JsonSchema for ServiceTime {
    fn schema_name() -> Cow<'static, str> {
        "ServiceTime".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (constant, map) =
            (generator.subschema_for::<Span>(), generator.subschema_for::<ServiceTimeMap>());
        json_schema!({"anyOf": [constant, map]})
    }
}

impl<'de> Deserialize<'de> for ServiceTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServiceTime, D::Error> {
        struct ServiceTimeVisitor;
        impl<'de> Visitor<'de> for ServiceTimeVisitor {
            type Value = ServiceTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `5ms`, or a map such as `{lognormal: {median: 5ms, p99: 40ms}}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServiceTime, E> {
                let span: Span = text.parse().map_err(E::custom)?;
                Ok(ServiceTime::Constant(span.get()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServiceTime, A::Error> {
                use de::Error;
                let written = ServiceTimeMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(match written {
                    ServiceTimeMap::Constant(span) => ServiceTime::Constant(span.get()),
                    ServiceTimeMap::Uniform(Bounds { min, max }) if min <= max => {
                        ServiceTime::Uniform { min: min.get(), max: max.get() }
                    }
                    ServiceTimeMap::Uniform(Bounds { min, max }) => {
                        return Err(A::Error::custom(format!(
                            "`min` must not be above `max`, found {min} and {max}"
                        )));
                    }
                    ServiceTimeMap::Exponential(Mean { mean }) => {
                        ServiceTime::Exponential(mean.get())
                    }
                    ServiceTimeMap::Lognormal(Quantiles { median, p99 })
                        if median.get() > Duration::ZERO && median <= p99 =>
                    {
                        ServiceTime::Lognormal { median: median.get(), p99: p99.get() }
                    }
                    ServiceTimeMap::Lognormal(Quantiles { median, p99 }) => {
                        return Err(A::Error::custom(format!(
                            "`median` must be above zero and not above `p99`, found {median} and {p99}"
                        )));
                    }
                })
            }
        }
        deserializer.deserialize_any(ServiceTimeVisitor)
    }
}
