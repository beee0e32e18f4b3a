//! The JSON schema of a suite, for editors, generated from the types that read it.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Suite;

/// The JSON schema of a suite file. Descriptions are those of the types; wherever text is not accepted anyway,
/// an expression `${{ … }}` is.
pub fn schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Suite>().to_value();
    if let Value::Object(root) = &mut schema {
        root.insert("title".into(), "flowbench suite".into());
        let properties = root.get_mut("properties").and_then(Value::as_object_mut);
        // These are read before expressions are evaluated.
        for (key, part) in properties.into_iter().flatten() {
            match key.as_str() {
                "flows" | "documents" | "scenarios" | "defaults" | "vars" => inside(part),
                _ => may_be_expression(part),
            }
        }
        // `defaults` has no name, but every scenario must have one.
        if let Some(Value::Object(scenario)) = root["properties"].pointer_mut("/scenarios/items") {
            scenario.insert("required".into(), json!(["name"]));
        }
        root.insert("examples".into(), json!([example()]));
        for part in root.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flatten() {
            inside(part.1);
        }
    }
    schema
}

/// A small, complete suite.
fn example() -> Value {
    json!({
        "flows": {"local": {"embedded": {}}},
        "documents": {"queries": {"text": {"words": "2..6"}}},
        "scenarios": [{
            "name": "search",
            "on": "/search",
            "documents": "queries",
            "request_size": 1,
            "load": {"rate": "50/s", "duration": "30s"},
            "thresholds": ["p99 < 100ms"],
        }],
    })
}

/// Allows expressions within a schema.
fn inside(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for part in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        may_be_expression(part.1);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(part) = map.get_mut(key) {
            may_be_expression(part);
        }
    }
    for key in ["anyOf", "oneOf"] {
        for part in map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            inside(part);
        }
    }
}

/// Allows an expression in place of a value, unless text is accepted anyway.
fn may_be_expression(schema: &mut Value) {
    inside(schema);
    let Value::Object(map) = schema else { return };
    // The width of a number in memory is of no use to an editor.
    map.remove("format");
    if takes_text(map) || map.is_empty() {
        return;
    }
    let mut rest = std::mem::take(map);
    // Titles and descriptions apply to the schema as a whole.
    for key in ["title", "description", "default", "examples"] {
        map.extend(rest.remove(key).map(|value| (key.to_owned(), value)));
    }
    let expression = json!({"type": "string", "pattern": r"\$\{\{.*\}\}"});
    let mut alternatives = match rest.remove("anyOf") {
        Some(Value::Array(alternatives)) if rest.is_empty() => alternatives,
        Some(other) => {
            rest.insert("anyOf".into(), other);
            vec![rest.into()]
        }
        None => vec![rest.into()],
    };
    alternatives.push(expression);
    map.insert("anyOf".into(), alternatives.into());
}

/// Whether the schema accepts any text.
fn takes_text(map: &Map<String, Value>) -> bool {
    let text = |value: &Value| value == "string";
    let by_type = match map.get("type") {
        Some(Value::Array(types)) => types.iter().any(text),
        Some(one) => text(one),
        // Without a type, and without any other restriction, anything fits.
        None => {
            !["$ref", "anyOf", "oneOf", "enum", "const"].iter().any(|key| map.contains_key(*key))
        }
    };
    let alternatives = map.get("anyOf").and_then(Value::as_array);
    let any = alternatives.into_iter().flatten().any(|part| {
        part.as_object().is_some_and(|part| part.get("type").is_some() && takes_text(part))
    });
    (by_type && !map.contains_key("enum") && !map.contains_key("const")) || any
}
