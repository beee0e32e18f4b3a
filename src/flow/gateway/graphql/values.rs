//! Values held against types of the schema.

use serde_json::{Map, Value as Json};

use super::schema::{SCHEMA, shown};

/// Why a value does not have its type.
#[derive(Debug)]
pub(super) enum Mistake {
    /// It is of another type. `why` says more than that, where there is more to say.
    Value { value: Json, kind: String, why: Option<String> },
    /// An argument or a field that the schema does not have.
    Unknown { name: String, of: String },
    /// An argument or a field that must be given, and is not.
    Missing { name: String, kind: String },
}

/// A value as one of a type, with defaults for fields that are not given.
///
/// # Errors
/// What is wrong with it, or with a part of it.
pub(super) fn coerce(value: &Json, kind: &Json) -> Result<Json, Mistake> {
    let unfit = |why| Mistake::Value { value: value.clone(), kind: shown(kind), why };
    let of = &kind["ofType"];
    match (kind["kind"].as_str(), value) {
        (Some("NON_NULL"), Json::Null) => Err(unfit(None)),
        (Some("NON_NULL"), _) => coerce(value, of),
        (_, Json::Null) => Ok(Json::Null),
        (Some(_), Json::Array(values)) => values.iter().map(|value| coerce(value, of)).collect(),
        // One value stands for a list of one.
        (Some(_), _) => Ok(vec![coerce(value, of)?].into()),
        (None, _) => {
            let name = kind.as_str().unwrap_or_default();
            let known = SCHEMA.named(name).and_then(|of| of["inputFields"].as_array());
            match (known, value) {
                (None, _) => scalar(name, value).map_err(unfit),
                (Some(known), Json::Object(given)) => {
                    Ok(fields(given, known, &format!("type '{name}'"))?.into())
                }
                (Some(_), _) => Err(unfit(None)),
            }
        }
    }
}

/// The arguments or fields `of` something, in the order of the schema, with defaults for those that are not
/// given.
///
/// # Errors
/// As [`coerce`].
pub(super) fn fields(
    given: &Map<String, Json>,
    known: &[Json],
    of: &str,
) -> Result<Map<String, Json>, Mistake> {
    let is_known = |name: &str| known.iter().any(|input| input["name"] == name);
    if let Some(name) = given.keys().find(|name| !is_known(name)) {
        return Err(Mistake::Unknown { name: name.clone(), of: of.to_owned() });
    }
    let mut all = Map::new();
    for input in known {
        let (name, kind) = (input["name"].as_str().unwrap_or_default(), &input["type"]);
        let default = || serde_json::from_str(input["defaultValue"].as_str()?).ok();
        let value = match given.get(name) {
            Some(value) => Some(coerce(value, kind)?),
            None => default(),
        };
        if value.is_none() && kind["kind"] == "NON_NULL" {
            return Err(Mistake::Missing { name: name.to_owned(), kind: shown(kind) });
        }
        all.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(all)
}

/// A value of a scalar type; else why it is none, where there is more to say.
fn scalar(name: &str, value: &Json) -> Result<Json, Option<String>> {
    let is_int = |number: f64| number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX);
    let read = match (name, value) {
        ("String" | "Base64", Json::String(_)) | ("Boolean", Json::Bool(_)) => Some(value.clone()),
        ("String" | "Base64" | "Boolean", _) => None,
        ("Float", _) => value.as_f64().map(Json::from),
        ("Int", _) => value.as_f64().filter(|number| is_int(*number)).map(|n| (n as i32).into()),
        // JSON as text in a string.
        ("JSONScalar", Json::String(text)) => {
            return serde_json::from_str(text).map_err(|error| Some(error.to_string()));
        }
        ("JSONScalar", _) => {
            let class = python_class(value);
            let why = format!("the JSON object must be str, bytes or bytearray, not {class}");
            return Err(Some(why));
        }
        _ => Some(value.clone()),
    };
    read.ok_or(None)
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
