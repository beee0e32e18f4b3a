//! The embedded Flow with custom schemas: it echoes Documents, checks them and describes them like a real one.

use std::io::{Read as _, Write as _};
use std::process::Command;

use flowbench::wire::Protocol;
use serde_json::json;

use crate::run::{Place, Ran};

/// The Flow, in JSON. `Prompt` is a schema as pydantic writes it.
fn flow() -> String {
    let prompt = json!({
        "title": "Prompt",
        "type": "object",
        "$defs": {
            "Point": {
                "title": "Point",
                "type": "object",
                "properties": {"x": {"type": "number"}, "label": {"type": "string", "default": "p"}},
                "required": ["x"],
            },
            "Colour": {"title": "Colour", "enum": ["red", "blue"], "type": "string"},
        },
        "properties": {
            "id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "text": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}, "default": ["a"]},
            "uri": {"type": "string", "default": "somewhere"},
            "temperature": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": null},
            "data": {"anyOf": [{"type": "string", "format": "binary"}, {"type": "null"}], "default": null},
            "mat": {
                "anyOf": [
                    {"type": "array", "items": {"type": "number"}, "tensor/array shape": "[2, 3]"},
                    {"type": "null"},
                ],
                "default": null,
            },
            "point": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}], "default": null},
            "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}, "default": []},
            "prices": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
            "table": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "default": []},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 5},
            "colour": {"$ref": "#/$defs/Colour", "default": "red"},
        },
        "required": ["text"],
    });
    let token = json!({
        "title": "Token",
        "type": "object",
        "properties": {"token": {"type": "string"}},
        "required": ["token"],
    });
    let endpoints = json!({"/prompt": {"schema": prompt}, "/stream": {"stream": {"count": 2}, "schema": token}});
    json!({"family": "v2", "executors": [{"name": "echo", "endpoints": endpoints}]}).to_string()
}

const PROTOCOLS: [&str; 3] = ["grpc", "http", "websocket"];

fn suite(scenarios: &str) -> Place {
    Place::new(&format!("flows: {{f: {{embedded: {}}}}}\nscenarios:\n{scenarios}", flow()))
}

#[test]
fn it_echoes_documents_with_the_defaults_of_what_is_not_set() {
    for protocol in PROTOCOLS {
        let place = suite(&format!(
            "  - name: s
    protocol: {protocol}
    on: /prompt
    request_size: 1
    documents:
      count: 1
      fields: {{text: 5, tags: [b, c], data: {{base64: aGVsbG8=}}, mat: {{values: [[1, 2, 3], [4, 5, 6]]}}, point: {{x: 1.5}}, points: {{count: 2, fields: {{x: '${{{{ i }}}}'}}}}, prices: {{a: 1}}, table: [[1], [2, 3]], either: seven, colour: blue}}
    assert:
      - response.docs[0].text == 5
      - response.docs[0].tags == ['b', 'c']
      - response.docs[0].uri == 'somewhere'
      - response.docs[0].temperature is none
      - response.docs[0].mat == [[1, 2, 3], [4, 5, 6]]
      - response.docs[0].point.x == 1.5
      - response.docs[0].point.label == 'p'
      - response.docs[0].points[1].x == 1
      - response.docs[0].prices.a == 1
      - response.docs[0].table == [[1], [2, 3]]
      - response.docs[0].either == 'seven'
      - response.docs[0].colour == 'blue'
      - response.docs[0].data == request.docs[0].data
      - response.docs[0].data | length == 5
  - name: no text
    protocol: {protocol}
    on: /prompt
    documents: {{count: 1, fields: {{text: 5, data: {{base64: /+8=}}}}}}
    assert: ['response.docs[0].data == request.docs[0].data', 'response.docs[0].data | length == 2']
"
        ));
        place.run(&[]).ends(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_as_by_a_real_one() {
    let flow = super::start(&flow()).await;
    // If the family is given, the Flow is not asked for its schemas.
    let post = async |protocol, doc: &'static str| {
        let address = flow.target(protocol).expect("it speaks it").to_string();
        let posted = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
            command.args(["post", &address, "/prompt", "--family", "v2", "--doc", doc]);
            Ran::new(command.output().expect("it was built"))
        });
        posted.await.expect("it ends").err
    };
    let told = post(Protocol::Grpc, "{\"fields\": {\"text\": \"x\", \"tags\": 3}}").await;
    for part in [
        "2 validation errors for Prompt\ntext\n  Input should be a valid integer, unable to parse string as an integer \
         [type=int_parsing, input_value='x', input_type=str]",
        "tags\n  Input should be a valid list [type=list_type, input_value=3, input_type=int]",
        "exception `ValidationError` in Executor class `Echo`",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let told = post(Protocol::Grpc, "{\"fields\": {\"tags\": [\"a\"]}}").await;
    assert!(
        told.contains("text\n  Field required [type=missing, input_value={'tags': ['a']}"),
        "{told}"
    );
    flow.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_that_is_a_422_with_the_place_of_each() {
    let flow = super::start(&flow()).await;
    let address = super::address(&flow, Protocol::Http);
    let asked = tokio::task::spawn_blocking(move || {
        let body =
            r#"{"data": [{"text": 1}, {"text": 2.5, "point": {"x": "far"}, "colour": "green"}]}"#;
        let head = format!(
            "POST /prompt HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    });
    let answer = asked.await.expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    let told: Vec<_> = body["detail"].as_array().expect("a list").iter().collect();
    assert_eq!(told[0]["loc"], json!(["body", "data", "list[Prompt]", 1, "text"]), "{body}");
    assert_eq!(told[0]["type"], "int_from_float");
    assert_eq!(told[1]["loc"], json!(["body", "data", "list[Prompt]", 1, "point", "x"]), "{body}");
    assert_eq!(told[1]["type"], "float_parsing");
    assert_eq!(told[2]["msg"], "Input should be 'red' or 'blue'", "{body}");
    assert_eq!(told.len(), 3);
    flow.stop().await;
}

#[test]
fn it_tells_its_schemas_and_documents_are_made_fit() {
    for protocol in ["grpc", "http"] {
        let place = suite(&format!(
            "  - {{name: s, protocol: {protocol}, on: /prompt, request_size: 1, documents: {{count: 3, fields: {{text: '${{{{ i }}}}', point: {{x: '2'}}}}}}, assert: ['response.docs[0].text < 3', 'response.docs[0].point.x == 2']}}
"
        ));
        place.run(&[]).ends(0);
        let place = suite(&format!(
            "  - {{name: s, protocol: {protocol}, on: /prompt, request_size: 1, documents: {{count: 3, fields: {{txt: 1}}}}}}
"
        ));
        let ran = place.run(&[]);
        assert!(ran.out.contains("`Prompt` has no field `txt`"), "{protocol}: {}", ran.out);
    }
    let place = suite(
        "  - {name: s, on: /stream, stream: true, documents: {count: 3, fields: {token: a}}, assert: [\"response.docs[0].token == 'a'\"]}\n",
    );
    place.run(&[]).ends(0);
}

#[test]
fn a_flow_of_any_schema_takes_v1s_names_with_any_types_over_every_protocol() {
    for protocol in PROTOCOLS {
        let place = Place::new(&format!(
            "flows: {{f: {{embedded: {{family: v2, schema: any}}}}}}
scenarios:
  - name: s
    protocol: {protocol}
    documents: {{count: 2, fields: {{text: 5, tags: [a, b], scores: [0.5], uri: u, chunks: 3, embedding: [[1], [2, 3]]}}}}
    assert:
      - response.docs[0].text == 5
      - response.docs[0].tags == ['a', 'b']
      - response.docs[0].scores == [0.5]
      - response.docs[0].chunks == 3
      - response.docs[1].embedding == [[1], [2, 3]]
"
        ));
        place.run(&[]).ends(0);
    }
}

#[test]
fn a_schema_that_cannot_be_read_is_told_at_its_place() {
    let check = |schema: &str, words: &str| {
        let place = Place::new(&format!(
            "flows:\n  f:\n    embedded:\n      family: v2\n      executors:\n        - {{name: e, endpoints: {{/a: {{schema: {schema}}}}}}}\nscenarios: [{{name: s, on: /a}}]\n"
        ));
        let ran = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
        assert!(ran.ends(2).err.contains(words), "{}", ran.err);
        assert!(ran.err.contains(" --> suite.yaml:6:"), "{}", ran.err);
    };
    check("{type: string}", "not a JSON schema of a Document: it has no `properties`");
    check("{$ref: '#/$defs/None'}", "not a JSON schema of a Document");
    check("other", "expected `legacy`, `any` or a JSON schema");
    let place =
        Place::new("flows: {f: {embedded: {schema: {properties: {}}}}}\nscenarios: [{name: s}]\n");
    let ran = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
    assert!(ran.ends(2).err.contains("Documents of the v1 family have one schema"), "{}", ran.err);
}

#[test]
fn what_fields_hold_arrives_whole_over_every_protocol() {
    for (protocol, schema) in
        PROTOCOLS.iter().flat_map(|protocol| [(protocol, OWN), (protocol, "any")])
    {
        let place = Place::new(&format!(
            "flows: {{f: {{embedded: {{family: v2, schema: {schema}}}}}}}
scenarios:
  - name: s
    protocol: {protocol}
    documents: {{count: 2, fields: {{id: mine, blob: {{base64: AP/+}}, data: {{base64: AP/+}}, n: 9007199254740991}}}}
    assert:
      - response.docs[0].id == 'mine'
      - request.docs[0].id == 'mine'
      - response.docs[0].n == 9007199254740991
"
        ));
        place.run(&[]).ends(0);
        // Without a schema, bytes in JSON are just text.
        if schema == OWN {
            let text = std::fs::read_to_string(place.path("suite.yaml")).expect("it is there");
            let more = "      - response.docs[0].blob | length == 3
      - response.docs[0].data | length == 3
      - request.docs[0].blob | length == 3
";
            std::fs::write(place.path("suite.yaml"), text + more).expect("it can be written");
            place.run(&[]).ends(0);
        }
    }
}

#[test]
fn a_whole_number_that_would_be_rounded_is_refused() {
    let place = Place::new(&format!(
        "flows: {{f: {{embedded: {{family: v2, schema: {OWN}}}}}}}
scenarios:
  - {{name: s, documents: {{count: 2, fields: {{n: 9007199254740993}}}}}}
"
    ));
    let ran = place.run(&[]);
    assert!(ran.out.contains("requires a whole number below 2^53"), "{} {}", ran.out, ran.err);
}

/// A schema that shares field names with v1.
const OWN: &str = "{title: D, type: object, properties: {id: {type: string}, n: {type: integer}, \
                   blob: {type: string, format: binary}, data: {type: string, format: binary}}}";
