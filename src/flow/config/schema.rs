//! Which fields Documents may have, as users configure it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which fields Documents of v2 may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SchemaSpec {
    /// The schema of Executors that declare none: the fields of a v1 Document. Other fields are dropped.
    #[default]
    Legacy,
    /// Any fields of any type, kept as they are.
    Any,
    /// The fields of this JSON schema, in pydantic's format: Documents are validated as in a real Executor.
    Own(serde_json::Value),
}

impl<'de> Deserialize<'de> for SchemaSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SchemaSpec, D::Error> {
        struct SpecVisitor;

        impl<'de> Visitor<'de> for SpecVisitor {
            type Value = SchemaSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`legacy`, `any` or a JSON schema")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<SchemaSpec, E> {
                match word {
                    "legacy" => Ok(SchemaSpec::Legacy),
                    "any" => Ok(SchemaSpec::Any),
                    word => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SchemaSpec, A::Error> {
                serde_json::Value::deserialize(MapAccessDeserializer::new(map)).map(SchemaSpec::Own)
            }
        }

        deserializer.deserialize_any(SpecVisitor)
    }
}

impl Serialize for SchemaSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            SchemaSpec::Legacy => serializer.serialize_str("legacy"),
            SchemaSpec::Any => serializer.serialize_str("any"),
            SchemaSpec::Own(schema) => schema.serialize(serializer),
        }
    }
}

impl JsonSchema for SchemaSpec {
    fn schema_name() -> Cow<'static, str> {
        "SchemaSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"enum": ["legacy", "any"]}, {"type": "object"}]})
    }
}
