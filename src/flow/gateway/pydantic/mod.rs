//! Bodies of HTTP requests, checked and refused as FastAPI and pydantic do it: pydantic 1 in the v1
//! family, pydantic 2 in the v2 family.

mod json;
mod v1;
mod v2;

use serde_json::Value;

pub(super) use self::json::{parse, parse_text};
pub(super) use self::v1::PostV1;
pub(super) use self::v2::{PostV2, document_v2};
use crate::wire::Map;

/// How many problems are told: in v2 nesting doubles them with every level.
const PROBLEMS_MAX: usize = 1000;

/// Why a body is refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// 422, with what is wrong.
    Invalid(Vec<Value>),
    /// 400: nested deeper than Python follows.
    TooDeep,
    /// 500: the gateway trips over it.
    Internal,
}

/// The way to a value: names and indices.
#[derive(Clone, Copy)]
struct Loc<'a> {
    before: Option<&'a Loc<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Loc<'a> {
    const BODY: Loc<'static> = Loc { before: None, step: Step::Name("body") };

    fn name(&'a self, name: &'a str) -> Loc<'a> {
        Loc { before: Some(self), step: Step::Name(name) }
    }

    fn index(&'a self, index: usize) -> Loc<'a> {
        Loc { before: Some(self), step: Step::Index(index) }
    }

    fn to_value(self) -> Value {
        let mut steps = Vec::new();
        let mut at = Some(&self);
        while let Some(loc) = at {
            steps.push(match loc.step {
                Step::Name(name) => Value::from(name),
                Step::Index(index) => Value::from(index),
            });
            at = loc.before;
        }
        steps.reverse();
        steps.into()
    }
}

/// A field in either spelling; null is there.
fn field<'a>(body: &'a Map, alias: &str, name: &str) -> Option<&'a Value> {
    body.get(alias).or_else(|| body.get(name))
}

/// A value as Python's `str` shows it.
fn python_str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => python_repr(other),
    }
}

/// A value as Python's `repr` shows it.
pub(super) fn python_repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) if number.is_f64() => {
            python_float(number.as_f64().unwrap_or_default())
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) => crate::flow::executor::repr(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(python_repr).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                format!("{}: {}", crate::flow::executor::repr(key), python_repr(value))
            };
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A double as Python shows it: with an exponent from 1e16 on and below 1e-4.
fn python_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let shown = format!("{value:e}");
        let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_shown_as_in_python() {
        for (value, shown) in [
            (1.0, "1.0"),
            (1.5, "1.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-2.5e300, "-2.5e+300"),
        ] {
            assert_eq!(python_float(value), shown);
        }
    }
}
