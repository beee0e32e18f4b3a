//! Values held against types of the schema.

use serde_json::{Map, Value as Json};

use super::schema::{SCHEMA, shown};
use crate::flow::gateway::codecs;

/// A variable's value as one of its type; else what is wrong with it.
pub(super) fn given(value: &Json, kind: &Json, name: &str) -> Result<Json, String> {
    within(value, kind, name).map_err(|Mistake { path, value, why }| {
        let at = if path == name { String::new() } else { format!(" at '{path}'") };
        format!("Variable '${name}' got invalid value {value}{at}; {why}")
    })
}

struct Mistake {
    path: String,
    value: Json,
    why: String,
}

fn within(value: &Json, kind: &Json, path: &str) -> Result<Json, Mistake> {
    let wrong = |why: String| Mistake { path: path.to_owned(), value: value.clone(), why };
    let of = kind.get("ofType").unwrap_or(&Json::Null);
    match (kind["kind"].as_str(), value) {
        (Some("NON_NULL"), Json::Null) => {
            Err(wrong(format!("Expected non-nullable type '{}' not to be None.", shown(kind))))
        }
        (Some("NON_NULL"), _) => within(value, of, path),
        (_, Json::Null) => Ok(Json::Null),
        (Some(_), Json::Array(values)) => {
            let values = values.iter().enumerate();
            values.map(|(i, value)| within(value, of, &format!("{path}[{i}]"))).collect()
        }
        // One value stands for a list of one.
        (Some(_), _) => Ok(vec![within(value, of, path)?].into()),
        (None, _) => {
            let name = kind.as_str().unwrap_or_default();
            let known = match SCHEMA.named(name).and_then(|of| of["inputFields"].as_array()) {
                Some(known) => known,
                None => return scalar(name, value, &value.to_string()).map_err(wrong),
            };
            let Json::Object(fields) = value else {
                return Err(wrong(format!("Expected type '{name}' to be a mapping.")));
            };
            let mut object = Map::new();
            for (key, value) in fields {
                let Some(input) = known.iter().find(|input| input["name"] == *key) else {
                    return Err(wrong(format!("Field '{key}' is not defined by type '{name}'.")));
                };
                let value = within(value, &input["type"], &format!("{path}.{key}"))?;
                object.insert(key.clone(), value);
            }
            match complete(&mut object, known) {
                None => Ok(object.into()),
                Some(missing) => Err(wrong(format!(
                    "Field '{}' of required type '{}' was not provided.",
                    missing["name"].as_str().unwrap_or_default(),
                    shown(&missing["type"])
                ))),
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

/// A value of a scalar type; else why it is none. `shown` is the value as it was written.
pub(super) fn scalar(name: &str, value: &Json, shown: &str) -> Result<Json, String> {
    let is_int = |number: f64| number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX);
    let read = match name {
        "String" => value.as_str().map(Json::from),
        "Boolean" => value.as_bool().map(Json::from),
        "Float" => value.as_f64().map(Json::from),
        "Int" => value.as_f64().filter(|number| is_int(*number)).map(|n| (n as i32).into()),
        "JSONScalar" | "Base64" => {
            return custom(name, value)
                .map_err(|why| format!("Expected value of type '{name}', found {shown}; {why}"));
        }
        _ => Some(value.clone()),
    };
    read.ok_or_else(|| format!("{name} cannot represent {shown}."))
}

/// JSON as text in a string, or base64, which is only looked at.
fn custom(name: &str, value: &Json) -> Result<Json, String> {
    let Json::String(text) = value else {
        let class = python_class(value);
        return Err(match name {
            "Base64" => format!("'{class}' object has no attribute 'encode'"),
            _ => format!("the JSON object must be str, bytes or bytearray, not {class}"),
        });
    };
    match name {
        "Base64" => codecs::base64(text).map(|_| value.clone()),
        _ => serde_json::from_str(text).map_err(|error| error.to_string()),
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

/// Whether a variable of one type may stand where another is expected. One that may be null stands
/// for what may not be: its value tells.
pub(super) fn fits(kind: &Json, expected: &Json) -> bool {
    match (kind["kind"].as_str(), expected["kind"].as_str()) {
        (Some("NON_NULL"), _) => fits(&kind["ofType"], expected),
        (_, Some("NON_NULL")) => fits(kind, &expected["ofType"]),
        (Some(_), Some(_)) => fits(&kind["ofType"], &expected["ofType"]),
        (None, None) => kind == expected,
        _ => false,
    }
}
