//! Values held against types of the schema.

use serde_json::{Map, Value as Json};

use super::schema::{SCHEMA, shown};
use crate::flow::gateway::codecs::{self, CodecError};

/// Why a value is none of its type.
#[derive(Debug)]
pub(super) enum ValueError {
    /// It is of another kind altogether.
    Kind(String),
    /// A scalar that the language has.
    Scalar(String),
    /// A scalar that only this schema has.
    Custom {
        kind: String,
        why: CustomError,
    },
    Unknown {
        field: String,
        of: String,
    },
    Missing {
        field: String,
        of: String,
        kind: String,
    },
}

/// Why a value is none of a type that only this schema has.
#[derive(Debug, thiserror::Error)]
pub(super) enum CustomError {
    /// The Python class it is of.
    #[error("the JSON object must be str, bytes or bytearray, not {0}")]
    NoJsonText(&'static str),
    /// The Python class it is of.
    #[error("'{0}' object has no attribute 'encode'")]
    NoText(&'static str),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Base64(#[from] CodecError),
}

impl ValueError {
    /// What graphql-core says of a value that is written so.
    pub(super) fn told(&self, written: &str) -> String {
        match self {
            ValueError::Kind(kind) => {
                format!("Expected value of type '{kind}', found {written}.")
            }
            ValueError::Scalar(kind) => format!("{kind} cannot represent {written}."),
            ValueError::Custom { kind, why } => {
                format!("Expected value of type '{kind}', found {written}; {why}")
            }
            ValueError::Unknown { field, of } => {
                format!("Field '{field}' is not defined by type '{of}'.")
            }
            ValueError::Missing { field, of, kind } => {
                format!("Field '{of}.{field}' of required type '{kind}' was not provided.")
            }
        }
    }
}

/// What is wrong with a part of a value.
#[derive(Debug)]
pub(super) struct Mistake {
    /// From the part outwards.
    way: Vec<PathPart>,
    pub(super) part: Json,
    pub(super) why: ValueError,
}

/// A step into a value.
#[derive(Debug)]
pub(super) enum PathPart {
    Field(String),
    Item(usize),
}

impl Mistake {
    fn new(part: &Json, why: ValueError) -> Box<Mistake> {
        Box::new(Mistake { way: Vec::new(), part: part.clone(), why })
    }

    fn within(mut self: Box<Self>, step: PathPart) -> Box<Mistake> {
        self.way.push(step);
        self
    }

    /// From the whole value to the part.
    pub(super) fn way(&self) -> impl Iterator<Item = &PathPart> {
        self.way.iter().rev()
    }
}

/// A value as one of a type, with defaults for what is not given.
///
/// # Errors
/// What is wrong with it, or with a part of it.
pub(super) fn coerce(value: &Json, kind: &Json) -> Result<Json, Box<Mistake>> {
    let of = kind.get("ofType").unwrap_or(&Json::Null);
    match (kind["kind"].as_str(), value) {
        (Some("NON_NULL"), Json::Null) => Err(Mistake::new(value, ValueError::Kind(shown(kind)))),
        (Some("NON_NULL"), _) => coerce(value, of),
        (_, Json::Null) => Ok(Json::Null),
        (Some(_), Json::Array(values)) => {
            let values = values.iter().enumerate();
            values
                .map(|(i, value)| coerce(value, of).map_err(|it| it.within(PathPart::Item(i))))
                .collect()
        }
        // One value stands for a list of one.
        (Some(_), _) => Ok(vec![coerce(value, of)?].into()),
        (None, _) => {
            let name = kind.as_str().unwrap_or_default();
            let wrong = |why| Mistake::new(value, why);
            let known = match SCHEMA.named(name).and_then(|of| of["inputFields"].as_array()) {
                Some(known) => known,
                None => return scalar(name, value).map_err(wrong),
            };
            let Json::Object(given) = value else {
                return Err(wrong(ValueError::Kind(name.to_owned())));
            };
            let mut object = Map::new();
            for (key, value) in given {
                let step = || PathPart::Field(key.clone());
                let Some(input) = known.iter().find(|input| input["name"] == *key) else {
                    let (field, of) = (key.clone(), name.to_owned());
                    return Err(wrong(ValueError::Unknown { field, of }).within(step()));
                };
                let value = coerce(value, &input["type"]).map_err(|it| it.within(step()))?;
                object.insert(key.clone(), value);
            }
            match complete(&mut object, known) {
                None => Ok(object.into()),
                Some(missing) => Err(wrong(ValueError::Missing {
                    field: missing["name"].as_str().unwrap_or_default().to_owned(),
                    of: name.to_owned(),
                    kind: shown(&missing["type"]),
                })),
            }
        }
    }
}

/// Puts defaults where nothing is given, all in the order of the schema; tells the first that has to
/// be given and is not.
pub(super) fn complete<'a>(given: &mut Map<String, Json>, known: &'a [Json]) -> Option<&'a Json> {
    let mut missing = None;
    let mut all = Map::new();
    for input in known {
        let name = input["name"].as_str().unwrap_or_default();
        let default = || serde_json::from_str(input["defaultValue"].as_str()?).ok();
        match given.remove(name).or_else(default) {
            Some(value) => drop(all.insert(name.to_owned(), value)),
            None if input["type"]["kind"] == "NON_NULL" => missing = missing.or(Some(input)),
            None => (),
        }
    }
    *given = all;
    missing
}

/// A value of a scalar type.
fn scalar(name: &str, value: &Json) -> Result<Json, ValueError> {
    let is_int = |number: f64| number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX);
    let read = match name {
        "String" => value.as_str().map(Json::from),
        "Boolean" => value.as_bool().map(Json::from),
        "Float" => value.as_f64().map(Json::from),
        "Int" => value.as_f64().filter(|number| is_int(*number)).map(|n| (n as i32).into()),
        "JSONScalar" | "Base64" => {
            let kind = name.to_owned();
            return custom(name, value).map_err(|why| ValueError::Custom { kind, why });
        }
        _ => Some(value.clone()),
    };
    read.ok_or_else(|| ValueError::Scalar(name.to_owned()))
}

/// JSON as text in a string, or base64, which is only looked at.
fn custom(name: &str, value: &Json) -> Result<Json, CustomError> {
    let Json::String(text) = value else {
        let class = python_class(value);
        return Err(match name {
            "Base64" => CustomError::NoText(class),
            _ => CustomError::NoJsonText(class),
        });
    };
    match name {
        "Base64" => Ok(codecs::base64(text).map(|_| value.clone())?),
        _ => Ok(serde_json::from_str(text)?),
    }
}

/// The name of the class a value has in Python.
pub(super) fn python_class(value: &Json) -> &'static str {
    match value {
        Json::Null => "NoneType",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "int",
        Json::String(_) => "str",
        Json::Array(_) => "list",
        Json::Object(_) => "dict",
    }
}
