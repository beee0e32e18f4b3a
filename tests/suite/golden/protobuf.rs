//! gRPC messages and WebSocket frames.

use std::collections::BTreeSet;
use std::io::Read;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use flowbench::wire::{DataRequest, Family, Form, RequestId, Status, proto};
use prost::Message;
use serde_json::{Value, json};

use super::{FAMILIES, cases, expect, file, files, list};

/// Checks that a `DataRequestProto` decodes to what is expected, both whole and head only, and that our
/// encoding of it decodes to the same.
fn check(name: &str, family: Family, bytes: &Bytes, expected: &Value) {
    let form = Form::Protobuf(family);
    let message = form.decode(bytes.clone()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let found = expect::message(family, &message);
    assert_eq!(found, expect::without_unset(expected.clone()), "{name}");

    let head = form.decode_head(bytes).expect("what decodes has a head");
    assert_eq!((&head.header, head.routes.as_ref()), (&message.header, Some(&message.routes)));

    let response = form.encode_response(&message).expect("what was sent can be sent");
    assert_eq!(form.decode(response).ok().as_ref(), Some(&message), "{name}");

    let request = form.encode_request(&message).expect("what was sent can be sent");
    let id = RequestId { sender: 0xfeed, number: 7 };
    let mut sent = DataRequest { routes: message.routes.clone(), ..message };
    sent.header.request_id = String::from_utf8(id.digits().to_vec()).expect("digits");
    if sent.parameters.is_empty() {
        sent.parameters.insert("__results__".into(), json!({}));
    }
    assert_eq!(form.decode(request.with_id(id)).ok(), Some(sent), "{name}");
    assert_eq!(request.head().len() + RequestId::LEN + request.tail().len(), request.len());
}

/// The output of `encode_request` and `encode_response` has exactly the length of Python's, so it has the same
/// fields. Exceptions are messages of plain clients, which write no parameters, and empty nodes of other
/// schemas, which prost writes shorter.
fn check_length(name: &str, family: Family, bytes: &Bytes, is_request: bool) {
    let form = Form::Protobuf(family);
    let message = form.decode(bytes.clone()).expect("checked before");
    let ours = match is_request {
        true => form.encode_request(&message).expect("checked before").len(),
        false => form.encode_response(&message).expect("checked before").len(),
    };
    assert_eq!(ours, bytes.len(), "{name}");
}

fn check_status(name: &str, bytes: &Bytes, expected: &Value) {
    let status = proto::jina::StatusProto::decode(bytes.clone()).expect("a StatusProto");
    assert_eq!(expect::status(&Status::from(status)), *expected, "{name}");
}

fn check_unpacked(name: &str, packed: &Bytes, encoding: &str, expected: &Bytes) {
    let mut found = Vec::new();
    match encoding {
        "gzip" => GzDecoder::new(&packed[..]).read_to_end(&mut found),
        "deflate" => ZlibDecoder::new(&packed[..]).read_to_end(&mut found),
        other => panic!("{name}: {other}"),
    }
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(found, *expected, "{name}");
}

#[test]
fn every_grpc_message_decodes_to_what_is_expected() {
    for (family, folder) in FAMILIES {
        let folder = format!("{folder}/grpc");
        let mut seen = BTreeSet::new();
        for (name, case) in cases(&folder) {
            let by_python = name.rsplit('/').next().is_some_and(|name| {
                !["raw_", "down_", "timeout_", "custom_schema"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            });
            for call in list(&case, "calls") {
                let requests = list(call, "requests").iter().map(|message| (message, true));
                let responses = list(call, "responses").iter().map(|message| (message, false));
                for (message, is_request) in requests.chain(responses) {
                    let file_name = message["file"].as_str().expect("a name");
                    let name = format!("{folder}/{file_name}");
                    let bytes = file(&name);
                    assert_eq!(message["length"], bytes.len(), "{name}");
                    match (message["message"].as_str(), message.get("expect")) {
                        (Some("jina.DataRequestProto"), Some(expected)) => {
                            check(&name, family, &bytes, expected);
                            if by_python {
                                check_length(&name, family, &bytes, is_request);
                            }
                        }
                        (Some("jina.StatusProto"), Some(expected)) => {
                            check_status(&name, &bytes, expected);
                        }
                        (Some("jina.DataRequestProto"), None) => {
                            assert!(message["undecodable"].is_string(), "{name}");
                            Form::Protobuf(family).decode(bytes.clone()).expect_err(&name);
                        }
                        // Empty messages and those of gRPC's own health service.
                        (None, None) => assert!(bytes.len() <= "jina.JinaRPC".len() + 2, "{name}"),
                        _ => panic!("{name}: no check for {message}"),
                    }
                    if let Some(packed) = message["compressed_file"].as_str() {
                        let encoding = message["encoding"].as_str().expect("a name");
                        check_unpacked(
                            &name,
                            &file(format!("{folder}/{packed}")),
                            encoding,
                            &bytes,
                        );
                        seen.insert(packed.to_owned());
                    }
                    seen.insert(file_name.to_owned());
                }
            }
        }
        let there: BTreeSet<_> = files(&folder)
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension != "json"))
            .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
            .collect();
        assert_eq!(seen, there);
    }
}

/// Frame counts by content, as recorded with the data.
#[derive(Debug, Default, PartialEq)]
struct Frames {
    messages: usize,
    json_requests: usize,
    json_responses: usize,
    json_status: usize,
    end_of_requests: usize,
    other_bytes: usize,
    other_text: usize,
    control: usize,
}

#[test]
fn every_websocket_frame_decodes_to_what_is_expected() {
    let mut frames = Frames::default();
    for (family, folder) in FAMILIES {
        for (name, case) in cases(&format!("{folder}/websocket")) {
            let connections = list(&case, "connections").iter();
            for frame in connections.flat_map(|connection| list(connection, "frames")) {
                check_frame(&name, family, frame, &mut frames);
            }
        }
    }
    let expected = Frames {
        messages: 130,
        json_requests: 36,
        json_responses: 6,
        json_status: 4,
        end_of_requests: 48,
        other_bytes: 14,
        other_text: 2,
        control: 312,
    };
    assert_eq!(frames, expected);
}

fn check_frame(name: &str, family: Family, frame: &Value, frames: &mut Frames) {
    if let Some(expected) = frame.get("expect") {
        check(name, family, &payload(frame), expected);
        frames.messages += 1;
        return;
    }
    match frame["opcode"].as_str() {
        Some("binary") => {
            let payload = payload(frame);
            match frame.get("meaning") {
                Some(meaning) => {
                    assert_eq!(
                        (meaning.as_str(), &payload[..]),
                        (Some("end of requests"), &[0][..])
                    );
                    frames.end_of_requests += 1;
                }
                // Empty frames are valid protobuf messages; the others must be rejected.
                None => {
                    let decoded = Form::Protobuf(family).decode(payload.clone());
                    assert_eq!(decoded.is_ok(), payload.is_empty(), "{name}: {payload:?}");
                    frames.other_bytes += 1;
                }
            }
        }
        Some("text") => match frame.get("json") {
            // The response of `/dry_run`: success.
            Some(json) if frame["from"] == "server" && *json == json!({}) => {
                frames.json_status += 1;
            }
            Some(json) if frame["from"] == "server" => {
                let form = Form::WebSocketJson;
                let message = form.decode(json.to_string().into()).expect("a response");
                let ours = form.encode_response(&message).expect("it was sent before");
                assert_eq!(serde_json::from_slice::<Value>(&ours).ok().as_ref(), Some(json));
                let head = form.decode_head(&json.to_string().into()).expect("a response");
                assert_eq!((head.header, head.routes), (message.header, Some(message.routes)));
                frames.json_responses += 1;
            }
            Some(json) => {
                Form::WebSocketJson.decode(json.to_string().into()).expect("a request");
                frames.json_requests += 1;
            }
            None => {
                let text = frame["text"].as_str().expect("a text").to_owned();
                Form::WebSocketJson.decode(text.into()).expect_err(name);
                frames.other_text += 1;
            }
        },
        _ => {
            assert!(frame.get("close").is_some() || frame.get("tcp").is_some(), "{name}: {frame}");
            frames.control += 1;
        }
    }
}

fn payload(frame: &Value) -> Bytes {
    STANDARD.decode(frame["payload_base64"].as_str().expect("base64")).expect("base64").into()
}
