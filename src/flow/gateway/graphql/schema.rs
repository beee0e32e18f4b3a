//! The schema, read from `schema.graphql`, and values of its types.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value as Json};

use super::tree::{
    DirectiveDef, FieldDef, InputDef, OperationKind, TypeDef, TypeKind, TypeRef, Value, ValueKind,
};
use crate::flow::gateway::codecs;
use crate::flow::gateway::pydantic::{parse_text, python_repr};

/// All types by name, in their order.
pub(super) struct Schema {
    types: Vec<TypeDef>,
    by_name: HashMap<String, usize>,
    directives: Vec<DirectiveDef>,
    /// Fields that every query has beside those of its type.
    meta: [FieldDef; 3],
}

/// The one there is.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let document =
        super::parse::parse(include_str!("schema.graphql")).expect("a test reads the schema");
    let by_name = document.types.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
    let named = |name: &str| TypeRef::Named(name.to_owned());
    let field = |name: &str, kind: TypeRef, arguments: Vec<InputDef>| FieldDef {
        name: name.to_owned(),
        description: None,
        arguments,
        kind,
    };
    let non_null = |kind: TypeRef| TypeRef::NonNull(Box::new(kind));
    let name = InputDef {
        name: "name".into(),
        description: None,
        kind: non_null(named("String")),
        default: None,
    };
    Schema {
        by_name,
        types: document.types,
        directives: document.directives,
        meta: [
            field("__schema", non_null(named("__Schema")), Vec::new()),
            field("__type", named("__Type"), vec![name]),
            field("__typename", non_null(named("String")), Vec::new()),
        ],
    }
});

impl Schema {
    pub(super) fn types(&self) -> &[TypeDef] {
        &self.types
    }

    pub(super) fn directives(&self) -> &[DirectiveDef] {
        &self.directives
    }

    pub(super) fn named(&self, name: &str) -> Option<&TypeDef> {
        self.by_name.get(name).map(|i| &self.types[*i])
    }

    /// The type behind lists and exclamation marks.
    pub(super) fn inner(&self, kind: &TypeRef) -> Option<&TypeDef> {
        self.named(inner_name(kind))
    }

    /// Where an operation begins; there are no subscriptions.
    pub(super) fn root(&self, kind: OperationKind) -> Option<&TypeDef> {
        match kind {
            OperationKind::Query => self.named("Query"),
            OperationKind::Mutation => self.named("Mutation"),
            OperationKind::Subscription => None,
        }
    }

    /// A field of a type, those of introspection included.
    pub(super) fn field<'a>(&'a self, of: &'a TypeDef, name: &str) -> Option<&'a FieldDef> {
        let meta = self.meta.iter().filter(|_| of.kind != TypeKind::InputObject);
        let mut meta = meta.filter(|field| field.name == "__typename" || of.name == "Query");
        of.fields.iter().find(|field| field.name == name).or_else(|| meta.find(|f| f.name == name))
    }
}

pub(super) fn inner_name(kind: &TypeRef) -> &str {
    match kind {
        TypeRef::Named(name) => name,
        TypeRef::List(inner) | TypeRef::NonNull(inner) => inner_name(inner),
    }
}

/// Names that may have been meant, best first.
pub(super) fn suggest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let most = (given.chars().count() as f64 * 0.4) as usize + 1;
    let mut near: Vec<(usize, &str)> = known
        .map(|name| {
            let (a, b) = (given.to_lowercase(), name.to_lowercase());
            let distance = match a == b {
                true => usize::from(given != name),
                false => strsim::osa_distance(&a, &b),
            };
            (distance, name)
        })
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort();
    near.into_iter().map(|(_, name)| name).take(5).collect()
}

/// " Did you mean 'a', 'b', or 'c'?", or nothing.
pub(super) fn did_you_mean(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => format!(" Did you mean {one}?"),
        [one, two] => format!(" Did you mean {one} or {two}?"),
        [first @ .., last] => format!(" Did you mean {}, or {last}?", first.join(", ")),
    }
}

/// A scalar from a value of the language; else what is wrong with it.
pub(super) fn scalar_from_value(name: &str, value: &Value) -> Result<Json, String> {
    use ValueKind::{Bool, Float, Int, String as Text};
    let number = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_default();
    match (name, &value.kind) {
        ("String", Text(text)) => Ok(text.clone().into()),
        ("String", _) => Err(format!("String cannot represent a non string value: {value}")),
        ("Int", Int(text)) => text
            .parse::<i32>()
            .map(Json::from)
            .map_err(|_| format!("Int cannot represent non 32-bit signed integer value: {value}")),
        ("Int", _) => Err(format!("Int cannot represent non-integer value: {value}")),
        ("Float", Int(text) | Float(text)) => {
            Ok(text.parse::<f64>().map(Json::from).unwrap_or_default())
        }
        ("Float", _) => Err(format!("Float cannot represent non numeric value: {value}")),
        ("Boolean", Bool(value)) => Ok((*value).into()),
        ("Boolean", _) => Err(format!("Boolean cannot represent a non boolean value: {value}")),
        ("JSONScalar" | "Base64", _) => {
            let plain = untyped(value, &Map::new());
            custom_scalar(name, &plain)
                .map_err(|why| format!("Expected value of type '{name}', found {value}; {why}"))
        }
        (_, Int(text) | Float(text)) => Ok(number(text)),
        _ => Ok(untyped(value, &Map::new())),
    }
}

/// A scalar from a variable's value; else what is wrong with it.
pub(super) fn scalar_from_json(name: &str, value: &Json) -> Result<Json, String> {
    let shown = || python_repr(value);
    match (name, value) {
        ("String", Json::String(_)) | ("Boolean", Json::Bool(_)) => Ok(value.clone()),
        ("String", _) => Err(format!("String cannot represent a non string value: {}", shown())),
        ("Boolean", _) => Err(format!("Boolean cannot represent a non boolean value: {}", shown())),
        ("Int", Json::Number(number)) => match number.as_i64() {
            Some(n) => i32::try_from(n).map(Json::from).map_err(|_| {
                format!("Int cannot represent non 32-bit signed integer value: {}", shown())
            }),
            None => match number.as_f64() {
                Some(n) if n.fract() == 0.0 && n.abs() <= f64::from(i32::MAX) => {
                    Ok((n as i32).into())
                }
                _ => Err(format!("Int cannot represent non-integer value: {}", shown())),
            },
        },
        ("Int", _) => Err(format!("Int cannot represent non-integer value: {}", shown())),
        ("Float", Json::Number(number)) => Ok(number.as_f64().into()),
        ("Float", _) => Err(format!("Float cannot represent non numeric value: {}", shown())),
        ("JSONScalar" | "Base64", _) => {
            custom_scalar(name, value).map_err(|why| format!("Expected type '{name}'. {why}"))
        }
        _ => Ok(value.clone()),
    }
}

/// JSON as text in a string, or base64, which is only looked at.
fn custom_scalar(name: &str, value: &Json) -> Result<Json, String> {
    let Json::String(text) = value else {
        let class = python_class(value);
        return Err(match name {
            "Base64" => format!("'{class}' object has no attribute 'encode'"),
            _ => format!("the JSON object must be str, bytes or bytearray, not {class}"),
        });
    };
    match name {
        "Base64" => codecs::base64(text).map(|_| value.clone()),
        _ => parse_text(text),
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

/// A value without a type to hold it against.
pub(super) fn untyped(value: &Value, variables: &Map<String, Json>) -> Json {
    match &value.kind {
        ValueKind::Variable(name) => variables.get(name).cloned().unwrap_or_default(),
        ValueKind::Int(text) | ValueKind::Float(text) => {
            serde_json::from_str(text).unwrap_or_default()
        }
        ValueKind::String(text) | ValueKind::Enum(text) => text.clone().into(),
        ValueKind::Bool(value) => (*value).into(),
        ValueKind::Null => Json::Null,
        ValueKind::List(items) => items.iter().map(|item| untyped(item, variables)).collect(),
        ValueKind::Object(fields) => Json::Object(
            fields.iter().map(|(name, _, v)| (name.clone(), untyped(v, variables))).collect(),
        ),
    }
}

/// A value of a type, once it is known to be one. `None` for a variable that was not given.
pub(super) fn coerce(
    value: &Value,
    kind: &TypeRef,
    variables: &Map<String, Json>,
) -> Result<Option<Json>, String> {
    if let ValueKind::Variable(name) = &value.kind {
        return Ok(variables.get(name).cloned());
    }
    Ok(Some(match kind {
        TypeRef::NonNull(inner) => return coerce(value, inner, variables),
        _ if matches!(value.kind, ValueKind::Null) => Json::Null,
        TypeRef::List(item) => match &value.kind {
            ValueKind::List(items) => items
                .iter()
                .map(|value| Ok(coerce(value, item, variables)?.unwrap_or_default()))
                .collect::<Result<_, String>>()?,
            _ => vec![coerce(value, item, variables)?.unwrap_or_default()].into(),
        },
        TypeRef::Named(name) => {
            let Some(of) = SCHEMA.named(name) else { return Ok(None) };
            match (&value.kind, of.kind) {
                (ValueKind::Object(given), TypeKind::InputObject) => {
                    let mut object = Map::new();
                    for input in &of.inputs {
                        let given = given.iter().find(|(name, _, _)| *name == input.name);
                        let value = match given {
                            Some((_, _, value)) => coerce(value, &input.kind, variables)?,
                            None => None,
                        };
                        let value = match (value, &input.default) {
                            (Some(value), _) => value,
                            (None, Some(default)) => untyped(default, variables),
                            (None, None) => continue,
                        };
                        object.insert(input.name.clone(), value);
                    }
                    object.into()
                }
                _ => scalar_from_value(name, value)?,
            }
        }
    }))
}

/// A variable's value as one of its type; else the path to what is wrong, the value and why.
pub(super) fn coerce_json(
    value: &Json,
    kind: &TypeRef,
    path: &str,
) -> Result<Json, (String, Json, String)> {
    let wrong = |why: String| Err((path.to_owned(), value.clone(), why));
    match kind {
        TypeRef::NonNull(inner) => match value.is_null() {
            true => wrong(format!("Expected non-nullable type '{kind}' not to be None.")),
            false => coerce_json(value, inner, path),
        },
        _ if value.is_null() => Ok(Json::Null),
        TypeRef::List(item) => match value {
            Json::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, value)| coerce_json(value, item, &format!("{path}[{i}]")))
                .collect(),
            value => Ok(vec![coerce_json(value, item, path)?].into()),
        },
        TypeRef::Named(name) => {
            let Some(of) = SCHEMA.named(name).filter(|of| of.kind == TypeKind::InputObject) else {
                return scalar_from_json(name, value).or_else(wrong);
            };
            let Json::Object(given) = value else {
                return wrong(format!("Expected type '{name}' to be a mapping."));
            };
            let mut object = Map::new();
            for input in &of.inputs {
                let value = match (given.get(&input.name), &input.default) {
                    (Some(value), _) => {
                        coerce_json(value, &input.kind, &format!("{path}.{}", input.name))?
                    }
                    (None, Some(default)) => untyped(default, &Map::new()),
                    (None, None) if matches!(input.kind, TypeRef::NonNull(_)) => {
                        return wrong(format!(
                            "Field '{}' of required type '{}' was not provided.",
                            input.name, input.kind
                        ));
                    }
                    (None, None) => continue,
                };
                object.insert(input.name.clone(), value);
            }
            let known = || of.inputs.iter().map(|input| input.name.as_str());
            if let Some(unknown) = given.keys().find(|key| known().all(|name| name != *key)) {
                let suggestions = did_you_mean(&suggest(unknown, known()));
                return wrong(format!(
                    "Field '{unknown}' is not defined by type '{name}'.{suggestions}"
                ));
            }
            Ok(object.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_whole() {
        for of in SCHEMA.types() {
            let inputs = of.fields.iter().flat_map(|field| &field.arguments).chain(&of.inputs);
            let used = of.fields.iter().map(|field| &field.kind).chain(inputs.map(|i| &i.kind));
            for kind in used {
                assert!(SCHEMA.inner(kind).is_some(), "{}: {kind}", of.name);
            }
        }
        assert_eq!(SCHEMA.directives().len(), 5);
    }

    #[test]
    fn names_that_may_have_been_meant_are_offered() {
        let known = ["id", "text", "uri", "tags"];
        assert_eq!(suggest("txt", known.into_iter()), ["text"]);
        assert_eq!(suggest("ids", known.into_iter()), ["id"]);
        assert_eq!(suggest("nosuch", known.into_iter()), [""; 0]);
        assert_eq!(did_you_mean(&["a", "b", "c"]), " Did you mean 'a', 'b', or 'c'?");
    }
}
