//! Service times as users configure them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::units::times::{Bounds, Quantiles, TimesError, span};
use crate::units::{Percentage, Span, one_key};

/// How long an Executor takes for a request.
///
/// A duration alone is a constant time. Otherwise it is a map of one key, for example
/// `{lognormal: {median: 5ms, p99: 40ms}}`.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceTime {
    /// A constant time.
    Constant(Duration),
    /// Uniformly distributed between the two.
    Uniform {
        /// The shortest time.
        min: Duration,
        /// The longest time.
        max: Duration,
    },
    /// Exponentially distributed, by its mean.
    Exponential(Duration),
    /// Lognormally distributed, by two quantiles.
    Lognormal {
        /// The time that half of all requests do not exceed.
        median: Duration,
        /// The time that 99 of 100 requests do not exceed.
        p99: Duration,
    },
    /// A time per Document of a request, drawn anew for each.
    PerDocument(Box<ServiceTime>),
    /// Increases when many requests are in service.
    Knee(Box<Knee>),
}

/// Service that slows down under load, as when processors or memory are shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Knee {
    /// The time when few requests are in service.
    pub time: ServiceTime,
    /// The number in service up to which it stays the same.
    pub at: u32,
    /// The share of `time` that every further request adds.
    pub growth: Percentage,
}

/// The map form, with one key. A duration alone is a constant time.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ServiceTimeMap {
    /// A constant time.
    Constant(Span),
    /// Uniformly distributed between the two.
    Uniform(Bounds),
    /// Exponentially distributed, by its mean.
    Exponential(Mean),
    /// Lognormally distributed, by two quantiles.
    Lognormal(Quantiles),
    /// A time per Document of a request.
    PerDocument(Box<ServiceTime>),
    /// Increases when many requests are in service.
    Knee(Box<Knee>),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mean {
    /// The mean time.
    mean: Span,
}

impl Default for ServiceTime {
    fn default() -> ServiceTime {
        ServiceTime::Constant(Duration::ZERO)
    }
}

/// Why a map is not a service time.
#[derive(Debug, thiserror::Error)]
enum ServiceTimeError {
    #[error(transparent)]
    Times(#[from] TimesError),
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
            ServiceTimeMap::Uniform(bounds) => {
                let (min, max) = bounds.get()?;
                ServiceTime::Uniform { min, max }
            }
            ServiceTimeMap::Exponential(Mean { mean }) => ServiceTime::Exponential(mean.get()),
            ServiceTimeMap::Lognormal(quantiles) => {
                let (median, p99) = quantiles.get()?;
                ServiceTime::Lognormal { median, p99 }
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
        let map = match self {
            ServiceTime::Constant(time) => return span(*time).serialize(serializer),
            ServiceTime::Uniform { min, max } => ServiceTimeMap::Uniform(Bounds::of(*min, *max)),
            ServiceTime::Exponential(mean) => {
                ServiceTimeMap::Exponential(Mean { mean: span(*mean) })
            }
            ServiceTime::Lognormal { median, p99 } => {
                ServiceTimeMap::Lognormal(Quantiles::of(*median, *p99))
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
                let given = one_key::<ServiceTimeMap, A>(map)?;
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
