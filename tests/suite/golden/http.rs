//! HTTP and GraphQL bodies.

use std::collections::BTreeMap;

use bytes::Bytes;
use flowbench::wire::{
    DataRequest, Document, Family, Form, NdArray, RequestId, ScalarKind, Tensor, graphql,
};
use serde_json::{Value, json};

use super::{FAMILIES, cases, file, list};

const ID: RequestId = RequestId { sender: 0, number: 0 };

/// Checks a `POST` that was answered with 200: real gateways accepted the request, so we must. `false` for
/// other exchanges.
fn is_post_answered_with(exchange: &Value, status: u16) -> bool {
    exchange["request"]["method"] == "POST" && exchange["response"]["status"] == status
}

fn body(part: &Value) -> Bytes {
    part["body"].to_string().into()
}

/// The request as we write it, parsed, with its original request id.
fn written_request(form: Form, message: &DataRequest) -> Value {
    let ours = form.encode_request(message).expect("it was sent before").with_id(ID);
    let mut ours: Value = serde_json::from_slice(&ours).expect("JSON");
    ours["header"]["request_id"] = message.header.request_id.clone().into();
    ours
}

#[test]
fn every_body_of_an_answered_post_is_read_and_written() {
    for (family, folder) in FAMILIES {
        let form = Form::Json(family);
        let (mut by_python, mut by_others, mut responses) = (0, 0, 0);
        for (name, case) in cases(&format!("{folder}/http")) {
            let exchanges = list(&case, "exchanges").iter();
            for exchange in exchanges.filter(|exchange| is_post_answered_with(exchange, 200)) {
                let (request, response) = (&exchange["request"], &exchange["response"]);
                let sent = form.decode(body(request)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
                // Python's client writes the same, except for the order of keys.
                if name.contains("/raw_") {
                    by_others += 1;
                } else {
                    assert_eq!(written_request(form, &sent), request["body"], "{name}");
                    by_python += 1;
                }
                let answer =
                    form.decode(body(response)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
                let ours = form.encode_response(&answer).expect("it was sent before");
                let ours: Value = serde_json::from_slice(&ours).expect("JSON");
                assert_eq!(ours, response["body"], "{name}");

                let head = form.decode_head(&body(response)).expect("what decodes has a head");
                assert_eq!(head.header, answer.header, "{name}");
                let routes = (family == Family::V1).then_some(answer.routes);
                assert_eq!(head.routes, routes, "{name}");
                responses += 1;
            }
        }
        let expected = match family {
            Family::V1 => (48, 17, 65),
            Family::V2 => (46, 13, 59),
        };
        assert_eq!((by_python, by_others, responses), expected, "{folder}");
    }
}

/// A rejected request is an error for us too, or one that only a gateway with Executors can detect.
#[test]
fn requests_that_gateways_refuse_are_refused_or_known() {
    for (family, folder) in FAMILIES {
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        for (name, case) in cases(&format!("{folder}/http")) {
            for exchange in list(&case, "exchanges") {
                let status = exchange["response"]["status"].as_u64();
                if exchange["request"]["method"] != "POST" || status == Some(200) {
                    continue;
                }
                let short = name.rsplit('/').next().expect("a name").trim_end_matches(".json");
                match Form::Json(family).decode(body(&exchange["request"])) {
                    Ok(_) => accepted.push(short.to_owned()),
                    Err(_) => refused.push(short.to_owned()),
                }
            }
        }
        let (refusable, acceptable): (&[&str], &[&str]) = match family {
            Family::V1 => (
                &[
                    "raw_post_bad_parameters",
                    "raw_post_data_string",
                    "raw_post_no_body",
                    "raw_post_not_json",
                    "raw_post_single_object",
                ],
                // An Executor is down, an invalid pattern, an array without axes.
                &[
                    "down_crud_search",
                    "down_post",
                    "raw_post_bad_regex",
                    "tensor_scalar",
                    "timeout_crud_search",
                    "timeout_post",
                ],
            ),
            Family::V2 => (
                &[
                    "raw_post_bad_parameters",
                    "raw_post_data_string",
                    "raw_post_no_body",
                    "raw_post_not_json",
                ],
                // An Executor fails or is down, an unknown path, or a missing key.
                &[
                    "batched_one_fails",
                    "batched_one_fails",
                    "down_post",
                    "error_custom",
                    "error_type",
                    "error_value",
                    "raw_header_without_id",
                    "raw_post_data_null",
                    "raw_post_empty_object",
                    "raw_post_fail",
                    "raw_post_slash_post",
                    "timeout_post",
                ],
            ),
        };
        assert_eq!(refused, refusable, "{folder}");
        assert_eq!(accepted, acceptable, "{folder}");
    }
}

/// The gateway returns the request, with a status.
#[test]
fn the_body_of_a_503_holds_the_status() {
    for case in ["down_post", "timeout_post"] {
        let case: Value =
            serde_json::from_slice(&file(format!("v1/http/{case}.json"))).expect("JSON");
        let response = &case["exchanges"][0]["response"]["body"];
        let head = Form::Json(Family::V1).decode_head(&response.to_string().into()).expect("valid");
        let status = head.header.status.expect("it failed");
        assert_eq!(response["header"]["status"]["description"], status.description);
        assert!(!status.is_ok());
        assert_eq!(head.routes, None);
    }
}

/// Reduces an array to what lists preserve: its values, with 32-bit precision.
fn as_listed(array: &mut Option<NdArray>) {
    if let Some(NdArray::Dense(tensor)) = array {
        let nested = tensor.to_nested().expect("a dense array of real numbers");
        let listed = Tensor::from_nested(&nested).expect("it was just written");
        // v2 writes no more digits than 32 bits need, so only those can be compared.
        *tensor = listed.cast(&ScalarKind::F32.into()).expect("real numbers");
    }
}

/// The same `post` over both protocols returned the same Documents.
#[test]
fn http_and_grpc_hold_the_same_documents() {
    for (family, folder) in FAMILIES {
        let over_http: BTreeMap<_, _> = cases(&format!("{folder}/http")).into_iter().collect();
        let mut checked = 0;
        for (name, case) in cases(&format!("{folder}/grpc")) {
            let Some(http) = over_http.get(&name.replace("/grpc/", "/http/")) else { continue };
            let answered = |exchange: &&Value| is_post_answered_with(exchange, 200);
            let exchanges: Vec<_> = list(http, "exchanges").iter().filter(answered).collect();
            let call = &case["calls"][0];
            let ([exchange], [request], [response]) =
                (&exchanges[..], list(call, "requests"), list(call, "responses"))
            else {
                continue; // several at once have no fixed order
            };
            let docs = |form: Form, bytes: Bytes| -> Vec<Document> {
                form.decode(bytes).expect("checked elsewhere").data.unwrap_or_default()
            };
            let sidecar = |message: &Value| {
                let name = message["file"].as_str().expect("a name");
                docs(Form::Protobuf(family), file(format!("{folder}/grpc/{name}")))
            };
            let pairs = [
                (&exchange["request"], sidecar(request)),
                (&exchange["response"], sidecar(response)),
            ];
            for (over_http, mut over_grpc) in pairs {
                let mut over_http = docs(Form::Json(family), body(over_http));
                for doc in over_grpc.iter_mut().chain(&mut over_http) {
                    as_listed(&mut doc.tensor);
                    as_listed(&mut doc.embedding);
                    if doc.id.len() == 32 {
                        doc.id.clear(); // made up at random
                    }
                }
                // Over HTTP the client itself corrects depths on all levels.
                if name.ends_with("v1/grpc/chunks_matches.json") {
                    for doc in &mut over_grpc {
                        doc.settle(family, &mut || 0);
                    }
                }
                assert_eq!(over_http, over_grpc, "{name}");
                checked += 1;
            }
        }
        assert_eq!(checked, if family == Family::V1 { 76 } else { 68 }, "{folder}");
    }
}

#[test]
fn every_document_of_graphql_is_read_and_written() {
    let mut docs = 0;
    let mut without = 0;
    for (name, case) in cases("v1/graphql") {
        for exchange in list(&case, "exchanges") {
            let found = list(&exchange["response"]["body"]["data"], "docs");
            without += usize::from(found.is_empty());
            for expected in found {
                let mut read = graphql::to_document(expected).expect("a Document");
                // The gateway's `true` was a 1 in the request, where the two are equal.
                let written = graphql::from_document(&read).expect("it was sent before");
                check_selection(&name, &written, expected);
                docs += 1;

                // Tags are sent as text.
                if !read.tags.is_empty() {
                    let text = json!({"tags": Value::from(read.tags.clone()).to_string()});
                    read = graphql::to_document(&text).expect("a Document");
                    assert_eq!(Value::from(read.tags), expected["tags"], "{name}");
                }
            }
            for input in list(&exchange["request"]["body"]["variables"], "d") {
                let read = graphql::to_document(input).expect("an input");
                check_selection(&name, &graphql::from_document(&read).expect("valid"), input);
                docs += 1;
            }
        }
    }
    assert_eq!((docs, without), (19, 13));
}

/// Checks that everything selected is there.
fn check_selection(name: &str, found: &Value, selected: &Value) {
    match (found, selected) {
        (Value::Object(found), Value::Object(selected)) => {
            for (key, selected) in selected {
                let found = found.get(key).unwrap_or_else(|| panic!("{name}: no `{key}`"));
                check_selection(name, found, selected);
            }
        }
        (Value::Array(found), Value::Array(selected)) => {
            assert_eq!(found.len(), selected.len(), "{name}");
            let pairs = found.iter().zip(selected);
            pairs.for_each(|(found, selected)| check_selection(name, found, selected));
        }
        _ => assert_eq!(found, selected, "{name}"),
    }
}
