//! The behaviour and faults of an Executor, as users configure them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::schema::SchemaSpec;
use super::service_time::ServiceTime;
use crate::units::{ByteSize, Percentage, Span};
use crate::wire::Map;

/// What happens at an endpoint, in this order. Omitted keys do nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Which fields its Documents may have; default: those of the Executor.
    pub schema: Option<SchemaSpec>,
    /// Service time; default: that of the Executor.
    pub service_time: Option<ServiceTime>,
    /// Which requests end with an exception; default: as for the Executor.
    pub fail: Option<Fail>,
    /// Keeps only Documents that meet this condition.
    pub filter: Option<Condition>,
    /// Sets fields of every Document.
    pub set: Option<Set>,
    /// Gives every Document generated matches.
    pub matches: Option<Matches>,
    /// Appends Documents.
    pub append: Option<Append>,
    /// A dict to return, which clients find in `parameters["__results__"]`.
    #[schemars(with = "Option<serde_json::Value>")]
    pub results: Option<Map>,
    /// Pads the Documents of the response to at least this size with a tag `padding` on the last one.
    pub response_size: Option<ByteSize>,
    /// Faults of the response; default: as for the Executor.
    pub faults: Option<Faults>,
    /// Makes this a streaming endpoint, which answers one Document with many.
    pub stream: Option<StreamOf>,
}

/// Fields to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// The text, which replaces blob and tensor.
    pub text: Option<String>,
    /// Tags to add.
    #[schemars(with = "Option<serde_json::Value>")]
    pub tags: Option<Map>,
    /// An embedding of this length, made from the Document's content.
    pub embedding: Option<u32>,
}

/// Generated matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matches {
    /// Number of matches per Document.
    pub k: u32,
    /// The name of their score, which falls from match to match.
    #[serde(default = "cosine")]
    pub score: String,
}

/// Documents to append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// Number of Documents.
    #[serde(default = "one")]
    pub count: u32,
    /// Their text.
    #[serde(default)]
    pub text: String,
}

/// A stream of Documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOf {
    /// Number of Documents in the stream.
    pub count: u32,
    /// The time before each of them.
    #[serde(default)]
    pub every: Span,
}

/// Which requests end with an exception: a share of all, those with certain Documents, or both.
///
/// A percentage alone is a share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fail {
    /// The share of requests that fail, chosen at random.
    pub share: Percentage,
    /// A request fails if one of its Documents meets this condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<Condition>,
    /// The exception to raise.
    pub exception: ExceptionConfig,
}

/// The map form of [`Fail`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FailMap {
    /// The share of requests that fail, chosen at random.
    #[serde(default)]
    share: Percentage,
    /// A request fails if one of its Documents meets this condition.
    #[serde(default)]
    documents: Option<Condition>,
    /// The exception to raise.
    #[serde(default)]
    exception: ExceptionConfig,
}

/// A Python exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExceptionConfig {
    /// Its class.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

/// Faults of responses, each for a share of them chosen at random.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The connection is dropped without a response.
    pub drop: Percentage,
    /// The response is delayed.
    pub late: Option<Late>,
    /// The response is sent twice; not over HTTP.
    pub twice: Percentage,
    /// The response is sent after the next one of its call or connection; not over HTTP.
    pub out_of_order: Percentage,
    /// The response has an id that no request had.
    pub wrong_id: Percentage,
    /// The response is bytes that are not a message.
    pub garbage: Percentage,
}

/// Delayed responses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// The share of responses.
    pub share: Percentage,
    /// The delay. Other requests are served meanwhile.
    pub by: Span,
}

/// Periodic stalls: the Executor stalls for the last `for` of each `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// Length of a period.
    pub every: Span,
    /// Length of the stall at the end of each period.
    pub r#for: Span,
}

/// A slow start: service times are multiplied by `factor` when the Flow starts, and fall evenly to their
/// normal length within `for`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowStart {
    /// How long it takes to reach normal speed.
    pub r#for: Span,
    /// How much slower it is at first.
    pub factor: f64,
}

/// When an Executor is unreachable: `true` for always, or a period counted from the Flow's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Down {
    /// The beginning.
    pub after: Span,
    /// Its length; `None` for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#for: Option<Span>,
}

/// The map form of [`Down`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DownMap {
    /// The beginning.
    #[serde(default)]
    after: Span,
    /// Its length; default: forever.
    #[serde(default)]
    r#for: Option<Span>,
}

fn one() -> u32 {
    1
}

fn cosine() -> String {
    "cosine".into()
}

impl Default for ExceptionConfig {
    fn default() -> ExceptionConfig {
        ExceptionConfig {
            name: "RuntimeError".into(),
            args: vec!["the Executor was told to fail".into()],
        }
    }
}

impl<'de> Deserialize<'de> for Fail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fail, D::Error> {
        struct FailVisitor;
        impl<'de> Visitor<'de> for FailVisitor {
            type Value = Fail;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage such as `0.1%`, or a map with `share`, `documents` and `exception`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Fail, E> {
                let share = text.parse().map_err(E::custom)?;
                Ok(Fail { share, documents: None, exception: ExceptionConfig::default() })
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Fail, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Fail, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fail, A::Error> {
                let FailMap { share, documents, exception } =
                    FailMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Fail { share, documents, exception })
            }
        }
        deserializer.deserialize_any(FailVisitor)
    }
}

impl<'de> Deserialize<'de> for Down {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Down, D::Error> {
        struct DownVisitor;
        impl<'de> Visitor<'de> for DownVisitor {
            type Value = Down;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, or a map such as `{after: 10s, for: 5s}`")
            }

            fn visit_bool<E: de::Error>(self, down: bool) -> Result<Down, E> {
                let r#for = (!down).then(Span::default);
                Ok(Down { after: Span::default(), r#for })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Down, A::Error> {
                let DownMap { after, r#for } =
                    DownMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Down { after, r#for })
            }
        }
        deserializer.deserialize_any(DownVisitor)
    }
}

impl JsonSchema for Fail {
    fn schema_name() -> Cow<'static, str> {
        "Fail".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let share = generator.subschema_for::<Percentage>();
        let map = generator.subschema_for::<FailMap>();
        json_schema!({"anyOf": [share, map]})
    }
}

impl JsonSchema for Down {
    fn schema_name() -> Cow<'static, str> {
        "Down".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<DownMap>();
        json_schema!({"anyOf": [{"type": "boolean"}, map]})
    }
}
