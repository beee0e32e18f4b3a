//! The JSON schema of suites accepts what the program accepts, and rejects what it rejects.

use std::path::Path;

use flowbench::scenario;
use serde_json::Value;

/// Whether a value fits a schema; supports only what our schemas use: types, properties, items, alternatives,
/// constants, required keys, patterns, definitions.
pub(crate) fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let Value::Object(schema) = schema else { return schema != &Value::Bool(false) };
    let all =
        |key: &str, check: Box<dyn FnMut(&Value) -> bool + '_>| schema.get(key).is_none_or(check);
    let list = |part: &Value| part.as_array().cloned().unwrap_or_default();
    all(
        "$ref",
        Box::new(|name| {
            let pointer =
                name.as_str().and_then(|name| name.strip_prefix('#')).expect("a local name");
            fits(value, root.pointer(pointer).expect("a definition"), root)
        }),
    ) && all(
        "type",
        Box::new(|types| {
            let is = |name: &Value| match name.as_str().expect("a type") {
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                _ => value.is_null(),
            };
            match types.as_array() {
                Some(types) => types.iter().any(is),
                None => is(types),
            }
        }),
    ) && all("anyOf", Box::new(|parts| list(parts).iter().any(|part| fits(value, part, root))))
        && all("oneOf", Box::new(|parts| list(parts).iter().any(|part| fits(value, part, root))))
        && all("enum", Box::new(|known| list(known).contains(value)))
        && all("const", Box::new(|known| known == value))
        && all(
            "pattern",
            Box::new(|pattern| {
                let pattern = regex::Regex::new(pattern.as_str().expect("a text"));
                let pattern = pattern.expect("a regular expression");
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }),
        )
        && all(
            "maximum",
            Box::new(|most| {
                value.as_f64().is_none_or(|value| value <= most.as_f64().expect("a number"))
            }),
        )
        && all(
            "minimum",
            Box::new(|least| {
                value.as_f64().is_none_or(|value| value >= least.as_f64().expect("a number"))
            }),
        )
        && all(
            "required",
            Box::new(|keys| {
                list(keys).iter().all(|key| value.get(key.as_str().expect("a key")).is_some())
            }),
        )
        && all(
            "items",
            Box::new(|part| {
                value.as_array().is_none_or(|items| items.iter().all(|item| fits(item, part, root)))
            }),
        )
        && value.as_object().is_none_or(|entries| {
            entries.iter().all(|(key, value)| {
                match schema.get("properties").and_then(|properties| properties.get(key)) {
                    Some(part) => fits(value, part, root),
                    None => schema
                        .get("additionalProperties")
                        .is_none_or(|part| fits(value, part, root)),
                }
            })
        })
}

fn value(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("readable");
    let (mut sources, mut problems) = (flowbench::source::Sources::new(), Vec::new());
    sources.parse("s.yaml", text, None, &mut problems).map_or(Value::Null, |node| node.to_json())
}

#[test]
fn every_suite_of_the_library_fits_the_schema() {
    let schema = scenario::schema();
    for entry in std::fs::read_dir("scenarios").expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            assert!(fits(&value(&path), &schema, &schema), "{}", path.display());
        }
    }
}

#[test]
fn the_schema_refuses_unknown_keys_and_wrong_types() {
    let schema = scenario::schema();
    for name in [
        "unknown_top_level_key",
        "unknown_scenario_key",
        "unknown_field",
        "name_is_a_number",
        "seed_is_negative",
        "scenarios_is_a_map",
        "scenario_is_a_text",
        "scenario_without_name",
        "shape_of_words",
        "unknown_dtype",
        "unknown_protocol",
        "unknown_action",
        "unknown_arrivals",
        "embedded_unknown_key",
        "tls_is_a_word",
        "retry",
        "callback_is_a_word",
        "rate_without_unit",
        "timeout_without_unit",
        "blob_without_unit",
    ] {
        let path = Path::new("tests/scenarios/bad").join(name).with_extension("yaml");
        assert!(!fits(&value(&path), &schema, &schema), "{name}");
    }
}

#[test]
fn every_key_of_the_schema_is_described() {
    let schema = scenario::schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let of_suite = ("Suite", &schema);
    let all = definitions.iter().map(|(name, part)| (name.as_str(), part)).chain([of_suite]);
    for (name, definition) in all {
        for (key, part) in definition["properties"].as_object().into_iter().flatten() {
            assert!(part["description"].is_string(), "{name}.{key}");
        }
    }
}
