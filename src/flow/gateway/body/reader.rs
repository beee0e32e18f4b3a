//! Reads values as pydantic does, and reports problems in FastAPI's format.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::flow::executor::Fields;
use crate::wire::{Family, Invalid, Map};

/// Maximum number of problems an answer lists.
const PROBLEMS_MAX: usize = 1000;

/// Why a body is rejected.
#[derive(Debug, PartialEq)]
pub(in crate::flow::gateway) enum Refusal {
    /// 422, with the problems.
    Invalid(Vec<Value>),
    /// 500: a real gateway fails on it.
    Internal,
}

/// The path to a value: names and indices.
#[derive(Clone, Copy)]
pub(super) struct Loc<'a> {
    before: Option<&'a Loc<'a>>,
    step: LocPart<'a>,
}

#[derive(Clone, Copy)]
enum LocPart<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Loc<'a> {
    pub(super) const BODY: Loc<'static> = Loc { before: None, step: LocPart::Name("body") };

    pub(super) fn name(&'a self, name: &'a str) -> Loc<'a> {
        Loc { before: Some(self), step: LocPart::Name(name) }
    }

    pub(super) fn index(&'a self, index: usize) -> Loc<'a> {
        Loc { before: Some(self), step: LocPart::Index(index) }
    }

    pub(super) fn to_value(self) -> Value {
        let path = std::iter::successors(Some(&self), |loc| loc.before);
        let mut steps: Vec<Value> = path
            .map(|loc| match loc.step {
                LocPart::Name(name) => name.into(),
                LocPart::Index(index) => index.into(),
            })
            .collect();
        steps.reverse();
        steps.into()
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy)]
pub(super) enum Wrong {
    Missing,
    Null,
    NoObject,
    NoList,
    NoText,
    NoInteger,
    NoFloat,
    NoArray,
}

impl Wrong {
    /// pydantic's `type` and `msg`, for v1 and for v2.
    fn told(self) -> [(&'static str, &'static str); 2] {
        let text = ("string_type", "Input should be a valid string");
        let number = ("float_type", "Input should be a valid number");
        match self {
            Wrong::Missing => {
                [("value_error.missing", "field required"), ("missing", "Field required")]
            }
            Wrong::Null => [("type_error.none.not_allowed", "none is not an allowed value"), text],
            Wrong::NoObject => [
                ("type_error.dict", "value is not a valid dict"),
                ("dict_type", "Input should be a valid dictionary"),
            ],
            Wrong::NoList => [
                ("type_error.list", "value is not a valid list"),
                ("list_type", "Input should be a valid list"),
            ],
            Wrong::NoText => [("type_error.str", "str type expected"), text],
            Wrong::NoInteger => [
                ("type_error.integer", "value is not a valid integer"),
                ("int_type", "Input should be a valid integer"),
            ],
            Wrong::NoFloat => [("type_error.float", "value is not a valid float"), number],
            Wrong::NoArray => [("type_error", "can not determine the array type"), number],
        }
    }
}

/// Reads values and collects problems.
pub(super) struct Reader {
    pub(super) family: Family,
    /// Which fields Documents of v2 may have.
    pub(super) fields: Fields,
    pub(super) found: Vec<Value>,
    /// Whether the request ends with a 500.
    pub(super) internal: bool,
}

impl Reader {
    pub(super) fn new(family: Family, fields: Fields) -> Reader {
        Reader { family, fields, found: Vec::new(), internal: false }
    }

    /// Adds a problem with a value, or with one that lacks something.
    pub(super) fn add(&mut self, at: Loc<'_>, wrong: Wrong, input: &Value) {
        if self.found.len() < PROBLEMS_MAX {
            let [(v1_type, v1_msg), (v2_type, v2_msg)] = wrong.told();
            let loc = at.to_value();
            self.found.push(match self.family {
                Family::V1 => json!({"loc": loc, "msg": v1_msg, "type": v1_type}),
                Family::V2 => json!({"type": v2_type, "loc": loc, "msg": v2_msg, "input": input}),
            });
        }
    }

    /// Adds pydantic's objections to a Document with a custom schema.
    pub(super) fn add_invalid(&mut self, at: Loc<'_>, invalid: Vec<Invalid>) {
        for Invalid { path, kind, message, input } in invalid {
            if self.found.len() < PROBLEMS_MAX {
                let mut loc = at.to_value();
                if let Value::Array(steps) = &mut loc {
                    steps.extend(path);
                }
                self.found.push(json!({"type": kind, "loc": loc, "msg": message, "input": input}));
            }
        }
    }

    /// Returns what was read, unless there are problems.
    pub(super) fn end<T>(self, read: T) -> Result<T, Refusal> {
        match (self.found.is_empty(), self.internal) {
            (false, _) => Err(Refusal::Invalid(self.found)),
            (true, true) => Err(Refusal::Internal),
            (true, false) => Ok(read),
        }
    }

    /// An object. In v1, an empty list and an empty text count as one.
    pub(super) fn object<'a>(&mut self, value: &'a Value, at: Loc<'_>) -> Option<Cow<'a, Map>> {
        let is_empty = match value {
            Value::Object(map) => return Some(Cow::Borrowed(map)),
            Value::Array(items) => items.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if is_empty && self.family == Family::V1 {
            return Some(Cow::Owned(Map::new()));
        }
        self.add(at, Wrong::NoObject, value);
        None
    }

    pub(super) fn list<'a>(&mut self, value: &'a Value, at: Loc<'_>) -> Option<&'a [Value]> {
        if !value.is_array() {
            self.add(at, Wrong::NoList, value);
        }
        value.as_array().map(Vec::as_slice)
    }

    /// A text. v1 also takes numbers and booleans.
    pub(super) fn text(&mut self, value: &Value, at: Loc<'_>) -> Option<String> {
        match (value, self.family) {
            (Value::String(_), _) | (Value::Number(_) | Value::Bool(_), Family::V1) => {
                return Some(shown(value));
            }
            (Value::Null, _) => self.add(at, Wrong::Null, value),
            _ => self.add(at, Wrong::NoText, value),
        }
        None
    }

    pub(super) fn integer(&mut self, value: &Value, at: Loc<'_>) -> Option<Value> {
        let found = match value {
            Value::Bool(value) => Some(i64::from(*value).into()),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => Some((float as i64).into()),
                _ => Some(value.clone()),
            },
            Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
            _ => None,
        };
        if found.is_none() {
            self.add(at, Wrong::NoInteger, value);
        }
        found
    }

    pub(super) fn float(&mut self, value: &Value, at: Loc<'_>) -> Option<Value> {
        let found = match value {
            Value::Bool(value) => Some(f64::from(u8::from(*value))),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if found.is_none() {
            self.add(at, Wrong::NoFloat, value);
        }
        found.map(Value::from)
    }
}

/// A value as Python's `str` prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
