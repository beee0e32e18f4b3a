//! Schemas reported by Flows, and Documents made to fit them.

use flowbench::wire::{Document, Schema, Schemas};
use serde_json::{Value, json};

/// A schema as pydantic 2 writes it.
fn rich() -> Value {
    json!({
        "$defs": {
            "Point": {"properties": {"x": {"type": "number"}, "label": {"type": "string", "default": "p"}},
                      "type": "object", "required": ["x"], "title": "Point"},
            "Colour": {"enum": ["red", "blue"], "type": "string"},
        },
        "properties": {
            "id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "prompt": {"type": "string"},
            "n": {"type": "integer", "default": 1.0},
            "temperature": {"type": "number", "default": 0.7},
            "stream": {"type": "boolean", "default": false},
            "data": {"anyOf": [{"type": "string", "format": "binary"}, {"type": "null"}]},
            "uri": {"type": "string", "default": "u"},
            "tags": {"items": {"type": "string"}, "type": "array", "default": []},
            "mat": {"items": {"type": "number"}, "type": "array", "tensor/array shape": "[2, 2]"},
            "vec": {"items": {"type": "number"}, "type": "array", "tensor/array shape": "not specified"},
            "floats": {"items": {"items": {"type": "number"}, "type": "array"}, "type": "array"},
            "colour": {"anyOf": [{"$ref": "#/$defs/Colour"}, {"type": "null"}]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "prices": {"type": "object", "additionalProperties": {"type": "number"}},
            "point": {"allOf": [{"$ref": "#/$defs/Point"}]},
            "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "anything": {"title": "Anything"},
        },
        "type": "object", "required": ["prompt"], "title": "Rich",
    })
}

/// A Document with these fields, made to fit, in plain JSON.
fn fit(schema: &Schema, fields: Value) -> Result<Value, String> {
    let mut document: Document =
        serde_json::from_value(json!({"fields": fields})).expect("a Document");
    schema.fit(&mut document).map_err(|misfit| misfit.to_string())?;
    Ok(serde_json::to_value(&document).expect("JSON"))
}

#[test]
fn fields_get_the_types_that_are_wanted() {
    let schema = Schema::read(&rich(), None).expect("a schema");
    let made = fit(
        &schema,
        json!({
            "prompt": 5, "n": 3.0, "temperature": 2, "stream": "true", "data": "hi", "tags": ["a", 1],
            "mat": [[1, 2], [3, 4]], "vec": [1, 2.5], "floats": [[1], [2, 3]], "colour": "red",
            "either": "b", "prices": {"a": 1}, "point": {"x": 1}, "points": [{"x": 2, "label": "l"}],
            "anything": {"a": [1]}, "uri": "mine",
        }),
    );
    assert_eq!(
        made,
        Ok(json!({
            "prompt": "5", "n": 3, "temperature": 2.0, "stream": true, "data": "aGk=", "tags": ["a", "1"],
            "mat": [[1, 2], [3, 4]], "vec": [1.0, 2.5], "floats": [[1.0], [2.0, 3.0]], "colour": "red",
            "either": "b", "prices": {"a": 1.0}, "point": {"x": 1.0}, "points": [{"x": 2.0, "label": "l"}],
            "anything": {"a": [1]}, "uri": "mine",
        }))
    );
}

#[test]
fn v1s_fields_go_by_the_names_of_the_schema() {
    let schema = Schema::read(&rich(), None).expect("a schema");
    let mut document = Document { uri: "mine".into(), id: "d".into(), ..Document::default() };
    document
        .extra
        .insert("prompt".into(), flowbench::wire::proto::v2::NodeProto::of_json("hi".into()));
    schema.fit(&mut document).expect("it fits");
    let plain = serde_json::to_value(&document).expect("JSON");
    assert_eq!(plain, json!({"id": "d", "prompt": "hi", "uri": "mine"}));
}

#[test]
fn what_does_not_fit_is_told_with_what_is_wanted_and_given() {
    let schema = Schema::read(&rich(), None).expect("a schema");
    let known = "prompt, n, temperature, stream, data, uri, tags, mat, vec, floats, colour, either, \
                 prices, point, points, anything";
    for (fields, message) in [
        (json!({}), "field `prompt` of `Rich` requires text, but is missing".to_owned()),
        (
            json!({"prompt": "a", "promt": 1}),
            format!("`Rich` has no field `promt`: it has {known}"),
        ),
        (json!({"prompt": ["a"]}), "field `prompt` requires text, found a list".into()),
        (
            json!({"prompt": "a", "n": "three"}),
            "field `n` requires a whole number, found the text `three`".into(),
        ),
        (
            json!({"prompt": "a", "n": 1.5}),
            "field `n` requires a whole number, found the number 1.5".into(),
        ),
        (json!({"prompt": "a", "n": null}), "field `n` requires a whole number, found null".into()),
        (
            json!({"prompt": "a", "mat": [1, 2, 3]}),
            "field `mat` requires an array of shape [2, 2], found an array of shape [3]".into(),
        ),
        (
            json!({"prompt": "a", "colour": "green"}),
            "field `colour` requires `red` or `blue` or null, found the text `green`".into(),
        ),
        (
            json!({"prompt": "a", "either": [1]}),
            "field `either` requires a whole number or text, found a list".into(),
        ),
        (
            json!({"prompt": "a", "points": [{"x": 1}, {"x": "hot"}]}),
            "field `points[1].x` requires a number, found the text `hot`".into(),
        ),
        (
            json!({"prompt": "a", "point": {"y": 1}}),
            "`Point` has no field `point.y`: it has x, label".into(),
        ),
        (
            json!({"prompt": "a", "tags": "a"}),
            "field `tags` requires a list (text), found the text `a`".into(),
        ),
    ] {
        assert_eq!(fit(&schema, fields.clone()), Err(message), "{fields}");
    }
}

#[test]
fn an_example_fits() {
    let schema = Schema::read(&rich(), None).expect("a schema");
    let example = schema.example();
    assert_eq!(example["prompt"], json!({"words": 5}));
    assert_eq!(example["points"]["fields"]["x"], "${{ uniform(0, 1) }}");
    assert_eq!(example["mat"], json!({"shape": [2, 2]}));
    assert_eq!(example.get("anything"), None, "it need not be set, and nobody knows what it takes");
}

#[test]
fn discovery_tells_schemas_in_two_forms() {
    let gateway = json!({"/a": {"input": rich(), "output": rich(), "is_generator": true}});
    let executor = json!({"/a": {"input": {"name": "Rich", "model": rich()},
                                 "output": {"name": "Rich", "model": rich()}}});
    for told in [gateway, executor] {
        let schemas = Schemas::of_discovery(told.as_object().expect("an object"));
        let endpoint = schemas.endpoint("a").expect("it is told of");
        assert_eq!(endpoint.input.name(), "Rich");
        assert_eq!(endpoint.streams, told["/a"].get("is_generator").is_some());
        assert!(schemas.endpoint("/b").is_none());
    }
}

#[test]
fn an_openapi_has_them_under_data() {
    let mut shared = rich();
    let defs = shared["$defs"].take();
    let api = json!({
        "paths": {
            "/a": {"post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/in"}}}},
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/in"}}}}},
            }},
            "/status": {"get": {}},
        },
        "components": {"schemas": {
            "in": {"properties": {"data": {"anyOf": [
                {"type": "array", "items": {"$ref": "#/components/schemas/Rich"}},
                {"$ref": "#/components/schemas/Rich"},
            ]}}},
            "Rich": shared, "Point": defs["Point"], "Colour": defs["Colour"],
        }},
    });
    let schemas = Schemas::of_openapi(&api);
    assert_eq!(schemas.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["/a"]);
    let schema = &schemas.endpoint("/a").expect("it is told of").input;
    let error = fit(schema, json!({"prompt": "a", "point": {"x": "hot"}}));
    assert_eq!(error, Err("field `point.x` requires a number, found the text `hot`".into()));
}

#[test]
fn what_cannot_be_read_refuses_nothing() {
    for schema in [
        json!(null),
        json!({}),
        json!({"$ref": "#/nowhere"}),
        json!({"properties": 5}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
    ] {
        assert!(Schema::read(&schema, None).is_none(), "{schema}");
    }
    // Cycles end, and unusual schemas accept anything.
    let odd = json!({
        "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}, "type": "object"}},
        "properties": {"node": {"$ref": "#/$defs/Node"}, "odd": {"type": "quantity"}, "gone": {"$ref": "#/$defs/Gone"}},
    });
    let schema = Schema::read(&odd, None).expect("a schema");
    let given = json!({"node": {"next": {"next": {}}}, "odd": [1], "gone": "x"});
    assert_eq!(fit(&schema, given.clone()), Ok(given));
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(Schema::read(&json!({"properties": {"deep": deep}}), None).is_some());
}

fn limited() -> Value {
    json!({
        "title": "Limited", "type": "object",
        "properties": {
            "stars": {"type": "integer", "minimum": 10, "maximum": 12},
            "share": {"type": "number", "exclusiveMinimum": 2, "maximum": 3},
            "code": {"type": "string", "minLength": 12, "maxLength": 14},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 4},
            "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
            "at": {"type": "string", "format": "date-time"},
            "key": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "mat": {"type": "array", "items": {"type": "number"}, "tensor/array shape": "3 x 2"},
            "maybe": {"anyOf": [{"type": "integer", "maximum": 5}, {"type": "null"}]},
        },
    })
}

#[test]
fn limits_of_values_are_kept() {
    let schema = Schema::read(&limited(), None).expect("a schema");
    assert!(fit(&schema, json!({"stars": 11, "share": 2.5, "code": "abcdefghijkl", "tags": ["a", "b", "c"], "maybe": 5})).is_ok());
    for (fields, told) in [
        (
            json!({"stars": 9}),
            "field `stars` requires a whole number from 10 to 12, found the number 9",
        ),
        (json!({"stars": 13}), "found the number 13"),
        (
            json!({"share": 2}),
            "field `share` requires a number above 2 up to 3, found the number 2",
        ),
        (
            json!({"code": "short"}),
            "field `code` requires text of 12 to 14 characters, found the text `short`",
        ),
        (
            json!({"tags": ["a"]}),
            "field `tags` requires a list (text) of 3 to 4 items, found a list",
        ),
        (json!({"maybe": 6}), "a whole number up to 5 or null, found the number 6"),
        (
            json!({"pair": ["one", "two"]}),
            "field `pair[0]` requires a whole number, found the text `one`",
        ),
    ] {
        let error = fit(&schema, fields.clone()).expect_err("it does not fit");
        assert!(error.contains(told), "{fields}: {error}");
    }
}

#[test]
fn an_example_keeps_the_limits_or_says_which_it_cannot() {
    let schema = Schema::read(&limited(), None).expect("a schema");
    let example = schema.example();
    assert_eq!(example["stars"], "${{ randint(10, 12) }}");
    assert_eq!(example["share"], "${{ uniform(2.001, 3) }}");
    assert_eq!(example["code"], "${{ words(6)[:14] }}");
    assert_eq!(example["tags"].as_array().map(Vec::len), Some(3));
    assert_eq!(example["pair"], json!(["${{ randint(1, 9) }}", {"words": 5}]));
    assert_eq!(example["at"], "2026-01-01T12:00:00Z");
    assert_eq!(example["mat"], json!({"shape": [3, 2]}));
    assert_eq!(schema.demands(), [("key".to_owned(), "match the pattern `^[A-Z]{3}$`".to_owned())]);
}
