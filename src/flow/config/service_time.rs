//! Service times as written.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::units::{Percentage, Span};

/// How long an Executor works on a request.
///
/// A duration alone is a constant one; otherwise a map of one key, for example
/// `{lognormal: {median: 5ms, p99: 40ms}}`.
#[derive(Clone, Debug, PartialEq)]
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
    /// So long for every Document of a request; each is drawn anew.
    PerDocument(Box<ServiceTime>),
    /// Longer when many are in service.
    Knee(Box<Knee>),
}

/// Service that slows down when there is much of it, as where processors or memory are shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Knee {
    /// The time when few are in service.
    pub time: ServiceTime,
    /// So many can be in service before it grows.
    pub at: u32,
    /// How much of `time` every further one adds.
    pub growth: Percentage,
}

/// The map form; one key says the kind. A duration alone is a constant one.
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
    /// So long for every Document of a request.
    PerDocument(Box<ServiceTime>),
    /// Longer when many are in service.
    Knee(Box<Knee>),
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

impl Default for ServiceTime {
    fn default() -> ServiceTime {
        ServiceTime::Constant(Duration::ZERO)
    }
}

/// Why a map is no service time.
#[derive(Debug, thiserror::Error)]
enum ServiceTimeError {
    #[error("`min` must not be above `max`, found {min} and {max}")]
    Bounds { min: Span, max: Span },
    #[error("`median` must be above zero and not above `p99`, found {median} and {p99}")]
    Quantiles { median: Span, p99: Span },
    #[error("`per_document` takes a plain time; put `knee` around it")]
    PerDocument,
    #[error("a `knee` within a `knee`")]
    Knee,
}

impl TryFrom<ServiceTimeMap> for ServiceTime {
    type Error = ServiceTimeError;

    fn try_from(given: ServiceTimeMap) -> Result<ServiceTime, ServiceTimeError> {
        Ok(match given {
            ServiceTimeMap::Constant(span) => ServiceTime::Constant(span.get()),
            ServiceTimeMap::Uniform(Bounds { min, max }) if min <= max => {
                ServiceTime::Uniform { min: min.get(), max: max.get() }
            }
            ServiceTimeMap::Uniform(Bounds { min, max }) => {
                return Err(ServiceTimeError::Bounds { min, max });
            }
            ServiceTimeMap::Exponential(Mean { mean }) => ServiceTime::Exponential(mean.get()),
            ServiceTimeMap::Lognormal(Quantiles { median, p99 })
                if !median.get().is_zero() && median <= p99 =>
            {
                ServiceTime::Lognormal { median: median.get(), p99: p99.get() }
            }
            ServiceTimeMap::Lognormal(Quantiles { median, p99 }) => {
                return Err(ServiceTimeError::Quantiles { median, p99 });
            }
            ServiceTimeMap::PerDocument(time) => {
                if matches!(*time, ServiceTime::Knee(_) | ServiceTime::PerDocument(_)) {
                    return Err(ServiceTimeError::PerDocument);
                }
                ServiceTime::PerDocument(time)
            }
            ServiceTimeMap::Knee(knee) => {
                if matches!(knee.time, ServiceTime::Knee(_)) {
                    return Err(ServiceTimeError::Knee);
                }
                ServiceTime::Knee(knee)
            }
        })
    }
}

impl Serialize for ServiceTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What was read from a file is short enough; a program may set anything.
        let span = |duration: Duration| Span::new(duration).unwrap_or_default();
        let map = match self {
            ServiceTime::Constant(time) => return span(*time).serialize(serializer),
            ServiceTime::Uniform { min, max } => {
                ServiceTimeMap::Uniform(Bounds { min: span(*min), max: span(*max) })
            }
            ServiceTime::Exponential(mean) => {
                ServiceTimeMap::Exponential(Mean { mean: span(*mean) })
            }
            ServiceTime::Lognormal { median, p99 } => {
                ServiceTimeMap::Lognormal(Quantiles { median: span(*median), p99: span(*p99) })
            }
            ServiceTime::PerDocument(time) => ServiceTimeMap::PerDocument(time.clone()),
            ServiceTime::Knee(knee) => ServiceTimeMap::Knee(knee.clone()),
        };
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ServiceTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServiceTime, D::Error> {
        struct ServiceTimeVisitor;
        impl<'de> Visitor<'de> for ServiceTimeVisitor {
            type Value = ServiceTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration such as `5ms`, or a map such as `{lognormal: {median: 5ms, p99: 40ms}}`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ServiceTime, E> {
                let span: Span = text.parse().map_err(E::custom)?;
                Ok(ServiceTime::Constant(span.get()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ServiceTime, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServiceTime, A::Error> {
                let given = ServiceTimeMap::deserialize(MapAccessDeserializer::new(map))?;
                given.try_into().map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(ServiceTimeVisitor)
    }
}

impl JsonSchema for ServiceTime {
    fn schema_name() -> Cow<'static, str> {
        "ServiceTime".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        let map = generator.subschema_for::<ServiceTimeMap>();
        json_schema!({"anyOf": [span, map]})
    }
}
