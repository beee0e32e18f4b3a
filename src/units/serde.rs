//! Units as written in scenario files, reports and JSON schemas.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::{
    ByteSize, Count, Percentage, Price, Quantile, Range, Rate, Real, Span, Unit, UnitError,
};

macro_rules! unit {
    ($type:ident, $expected:literal, $range:literal, $pattern:literal, [$($example:literal),+]) => {
        impl Unit for $type {
            const EXPECTED: &'static str = $expected;
            const EXPECTED_RANGE: &'static str = $range;
            const NAME: &'static str = stringify!($type);
            const EXAMPLES: &'static [&'static str] = &[$($example),+];
            const PATTERN: &'static str = $pattern;
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                deserializer.deserialize_any(WordVisitor::<$type>($type::EXPECTED, PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $type::NAME.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema($expected, $type::PATTERN, $type::EXAMPLES)
            }
        }
    };
}

unit!(
    Rate,
    "a rate such as `50/s` or `3000/min`",
    "a range of rates such as `50/s..500/s`",
    r"[0-9][0-9.]*\s*/\s*(s|sec|second|m|min|minute|h|hour)",
    ["50/s", "3000/min"]
);
unit!(
    Price,
    "a price such as `1.20/h`, by h, day or month",
    "a range of prices such as `1/h..2/h`",
    r"[0-9][0-9.]*\s*/\s*(h|hour|d|day|month)",
    ["1.20/h", "600/month"]
);
unit!(
    Percentage,
    "a percentage such as `0.1%`",
    "a range of percentages such as `1%..5%`",
    r"[0-9][0-9.]*\s*%",
    ["0.1%", "5%"]
);
unit!(
    Quantile,
    "a percentile such as `p99` or `p99.9`",
    "a range of percentiles such as `p50..p99`",
    r"p[0-9][0-9.]*",
    ["p99", "p99.9"]
);
unit!(
    ByteSize,
    "a size such as `512B` or `10KiB`",
    "a size such as `10KiB` or a range such as `10KiB..1MiB`",
    r"[0-9][0-9.]*\s*([kKMGT]?B|[KMGT]iB)?",
    ["10KiB", "1MiB"]
);
unit!(
    Span,
    "a duration such as `30s` or `500ms`",
    "a range of durations such as `5ms..1s`",
    r"0|([0-9][0-9.]*\s*(ns|us|µs|μs|ms|s|sec|m|min|h|d)\s*)+",
    ["30s", "500ms", "1m 30s"]
);
unit!(
    Count,
    "a whole number",
    "a whole number such as `5` or a range such as `5..30`",
    r"[0-9]+",
    ["5"]
);
unit!(
    Real,
    "a number",
    "a number such as `1.5` or a range such as `0.5..1.5`",
    r"-?[0-9][0-9.]*",
    ["1.5"]
);

impl<'de, T: Unit> Deserialize<'de> for Range<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Range<T>, D::Error> {
        deserializer.deserialize_any(WordVisitor::<Range<T>>(T::EXPECTED_RANGE, PhantomData))
    }
}

impl<T: Unit> Serialize for Range<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T: Unit> JsonSchema for Range<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("RangeOf{}", T::NAME).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = format!(r"({0})(\s*\.\.\s*({0}))?", T::PATTERN);
        schema(T::EXPECTED_RANGE, &pattern, &[])
    }
}

/// The schema of a word with a unit, or of an expression for one. In YAML, some such words are numbers.
fn schema(title: &str, pattern: &str, examples: &[&str]) -> Schema {
    let whole = format!(r"^\s*({pattern})\s*$|\$\{{\{{");
    let words = regex::Regex::new(&whole).expect("the patterns of units are valid");
    let mut schema = json_schema!({"type": "string", "title": title, "pattern": whole});
    if words.is_match("5") {
        schema.insert("type".into(), ["string", "number"].as_slice().into());
    } else if words.is_match("0") {
        schema.insert("type".into(), ["string", "number"].as_slice().into());
        schema.insert("maximum".into(), 0.into());
    }
    if !examples.is_empty() {
        schema.insert("examples".into(), examples.into());
    }
    schema
}

/// Reads a scalar as its text. Numbers are read here too: their type decides whether they need a unit.
struct WordVisitor<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = UnitError>> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        // Raised inside the visitor, so that line and column are exact.
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}
