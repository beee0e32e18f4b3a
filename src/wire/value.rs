//! JSON values in `google.protobuf.Struct`: tags of v1, parameters of both families.
//!
//! A Struct has no integers: all numbers are doubles, so `3` is written as 3.0 and read as the JSON number
//! `3.0`. Numbers that JSON lacks are read as in protobuf's JSON mapping: the strings `NaN`, `Infinity` and
//! `-Infinity`.

use prost_types::{Struct, Value as ProtoValue, value::Kind};
use serde_json::{Number, Value};

use super::writer::Writer;
use super::{EncodeError, Map};

/// Writes the fields of a Struct.
pub(super) fn write_struct(w: &mut Writer, map: &Map) -> Result<(), EncodeError> {
    for (key, value) in map.iter().rev() {
        w.entry(1, key, |w| write_value(w, value))?;
    }
    Ok(())
}

fn write_value(w: &mut Writer, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::Null => w.uint(1, 0),
        // Without `arbitrary_precision`, every number of serde_json fits a double, if rounded.
        Value::Number(number) => w.double(2, number.as_f64().unwrap_or_default()),
        Value::String(text) => w.string(3, text),
        Value::Bool(value) => w.bool(4, *value),
        Value::Object(map) => w.message(5, |w| write_struct(w, map))?,
        Value::Array(values) => w.message(6, |w| {
            for value in values.iter().rev() {
                w.message(1, |w| write_value(w, value))?;
            }
            Ok(())
        })?,
    }
    Ok(())
}

/// Converts a Struct, whose depth was bounded when it was decoded.
pub(super) fn read_struct(value: Struct) -> Map {
    value.fields.into_iter().map(|(key, value)| (key, read_value(value))).collect()
}

fn read_value(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => read_number(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StructValue(value)) => Value::Object(read_struct(value)),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(read_value).collect())
        }
    }
}

/// A double as JSON, see the top of this file.
pub(super) fn read_number(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None => Value::String(non_finite(number).to_owned()),
    }
}

/// The name that protobuf's JSON mapping gives to a number that JSON lacks.
pub(super) fn non_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// The number with one of those names.
pub(super) fn non_finite_of(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
