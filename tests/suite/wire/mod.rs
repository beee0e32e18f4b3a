//! Properties that hold for every message, not only for recorded ones.

mod arbitrary;
mod facts;
mod schema;

use arbitrary::Carrier;
use bytes::Bytes;
use flowbench::wire::{
    DataRequest, Document, EncodeError, Family, Form, NdArray, RawRequest, RequestId, Tensor,
    decode_single, encode_single, files, graphql,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const FAMILIES: [Family; 2] = [Family::V1, Family::V2];
const FORMS: [Form; 5] = [
    Form::Protobuf(Family::V1),
    Form::Protobuf(Family::V2),
    Form::Json(Family::V1),
    Form::Json(Family::V2),
    Form::WebSocketJson,
];

fn families() -> impl Strategy<Value = Family> {
    prop::sample::select(FAMILIES.to_vec())
}

fn docs_of(carrier: fn(Family) -> Carrier) -> impl Strategy<Value = (Family, Vec<Document>)> {
    families().prop_flat_map(move |family| (Just(family), arbitrary::documents(carrier(family))))
}

fn messages_of(carrier: fn(Family) -> Carrier) -> impl Strategy<Value = (Family, DataRequest)> {
    families().prop_flat_map(move |family| (Just(family), arbitrary::message(carrier(family))))
}

/// The message after a round trip as a request: the sender sets the id, and parameters are never empty.
fn as_sent(message: &DataRequest, id: RequestId) -> DataRequest {
    let mut sent = message.clone();
    sent.header.request_id = String::from_utf8(id.digits().to_vec()).expect("digits");
    let results = sent.parameters.get("__results__");
    if sent.parameters.is_empty() || results.is_some_and(|results| !results.is_object()) {
        sent.parameters.insert("__results__".into(), json!({}));
    }
    sent
}

/// Fewer cases than usual, because each does a lot of work; `PROPTEST_CASES` sets more.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 4, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn documents_come_back_from_protobuf((family, docs) in docs_of(Carrier::Protobuf)) {
        let bytes = family.encode_docs(&docs).expect("it can carry them");
        prop_assert_eq!(family.decode_docs(bytes).expect("it was just written"), docs);
    }

    #[test]
    fn messages_come_back_from_protobuf((family, message) in messages_of(Carrier::Protobuf)) {
        let form = Form::Protobuf(family);
        let bytes = form.encode_response(&message).expect("it can carry it");
        prop_assert_eq!(form.decode(bytes.clone()).expect("it was just written"), message.clone());

        let head = form.decode_head(&bytes).expect("it was just written");
        prop_assert_eq!(head.header, message.header.clone());
        prop_assert_eq!(head.routes, Some(message.routes.clone()));

        let id = RequestId { sender: u64::MAX, number: 1 };
        let request = form.encode_request(&message).expect("it can carry it");
        let whole = request.with_id(id);
        prop_assert_eq!(&whole[..request.head().len()], &request.head()[..]);
        prop_assert_eq!(form.decode(whole).expect("it was just written"), as_sent(&message, id));
    }

    #[test]
    fn requests_come_back_from_json((family, message) in messages_of(Carrier::Json)) {
        let form = Form::Json(family);
        let id = RequestId { sender: 3, number: u64::MAX };
        let request = form.encode_request(&message).expect("it can carry it");
        // A request has no status and no routes, and an empty target means none.
        let mut sent = as_sent(&message, id);
        sent.header.status = None;
        sent.header.target_executor = sent.header.target_executor.filter(|text| !text.is_empty());
        sent.routes = Vec::new();
        sent.data = Some(sent.data.unwrap_or_default());
        if family == Family::V1 {
            sent.data.iter_mut().flatten().for_each(with_float_tags);
        }
        prop_assert_eq!(form.decode(request.with_id(id)).expect("it was just written"), sent);
    }

    #[test]
    fn responses_come_back_from_json((family, message) in messages_of(Carrier::Json)) {
        let form = Form::Json(family);
        let mut answer = message;
        answer.header.exec_endpoint.get_or_insert_default();
        answer.header.target_executor.get_or_insert_default();
        match family {
            // A v1 gateway turns numbers in tags into floats, and some into booleans.
            Family::V1 => answer.data.iter_mut().flatten().for_each(without_tags),
            Family::V2 => {
                answer.header.exec_endpoint = None;
                answer.header.status = None;
                answer.routes = Vec::new();
                answer.data.get_or_insert_default();
            }
        }
        let bytes = form.encode_response(&answer).expect("it can carry it");
        prop_assert_eq!(form.decode(bytes.clone()).expect("it was just written"), answer.clone());
        prop_assert_eq!(form.decode_head(&bytes).expect("it was just written").header, answer.header);
    }

    #[test]
    fn responses_come_back_from_websocket_json(message in arbitrary::message(Carrier::Json(Family::V1))) {
        let mut answer = message;
        answer.data.iter_mut().flatten().for_each(without_tags);
        let bytes = Form::WebSocketJson.encode_response(&answer).expect("it can carry it");
        let read = Form::WebSocketJson.decode(bytes).expect("it was just written");
        prop_assert_eq!(read, answer);
    }

    #[test]
    fn documents_come_back_from_plain_json(doc in arbitrary::document(Carrier::Plain)) {
        let text = serde_json::to_string(&doc).expect("plain JSON carries all");
        let read: Document = serde_json::from_str(&text).expect("it was just written");
        prop_assert_eq!(read, doc, "{}", text);
    }

    /// The plain form is for people, who may have created any Document.
    #[test]
    fn every_document_has_a_plain_form((_, docs) in docs_of(Carrier::Protobuf)) {
        for doc in docs {
            let text = serde_json::to_string(&doc).expect("plain JSON carries all");
            serde_json::from_str::<Document>(&text).expect("it was just written");
        }
    }

    #[test]
    fn documents_come_back_from_files(
        (family, docs) in docs_of(Carrier::Protobuf),
        stream in any::<bool>(),
        gzip in any::<bool>(),
    ) {
        // The family is detected from the first Document, if it has any content.
        prop_assume!(docs.first().is_none_or(|doc| doc.id.chars().all(|c| c > ' ')));
        let format = match stream {
            true => files::FileFormat::ProtobufStream,
            false => files::FileFormat::ProtobufArray,
        };
        let mut file = Vec::new();
        files::write(&docs, family, format, gzip, &mut file).expect("memory takes all");
        prop_assert_eq!(files::read(file.into()).expect("it was just written"), docs);
    }

    #[test]
    fn documents_come_back_from_graphql(doc in arbitrary::document(Carrier::Json(Family::V1))) {
        let mut doc = doc;
        without_tags(&mut doc);
        let value = graphql::from_document(&doc).expect("it can carry it");
        prop_assert_eq!(graphql::to_document(&value).expect("it was just written"), doc);
    }

    #[test]
    fn single_documents_come_back(message in arbitrary::message(Carrier::Protobuf(Family::V2))) {
        let id = RequestId { sender: 1, number: 2 };
        for doc in message.docs() {
            let bytes = encode_single(&message, doc).expect("it can carry it").with_id(id);
            let read = decode_single(bytes).expect("it was just written");
            prop_assert_eq!(read.data, Some(vec![doc.clone()]));
        }
    }

    #[test]
    fn request_ids_come_back(sender in any::<u64>(), number in any::<u64>()) {
        let id = RequestId { sender, number };
        let digits = id.digits();
        prop_assert_eq!(RequestId::parse(std::str::from_utf8(&digits).expect("digits")), Some(id));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_at_worst(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use_all_of(bytes.into());
    }

    /// Decoders get furthest with almost correct input.
    #[test]
    fn damaged_messages_are_an_error_at_worst(
        (family, message) in messages_of(Carrier::Protobuf),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let message = Form::Protobuf(family).encode_response(&message).expect("it can carry it");
        use_all_of(damaged(&message, &damage));
    }

    #[test]
    fn damaged_json_is_an_error_at_worst(
        (family, message) in messages_of(Carrier::Json),
        damage in prop::collection::vec((any::<prop::sample::Index>(), b' '..b'~'), 1..6),
    ) {
        let message = Form::Json(family).encode_response(&message).expect("it can carry it");
        use_all_of(damaged(&message, &damage));
    }
}

/// Numbers in tags are sent with a decimal point.
fn with_float_tags(doc: &mut Document) {
    fn float(value: &mut Value) {
        match value {
            Value::Number(number) => *value = number.as_f64().into(),
            Value::Array(values) => values.iter_mut().for_each(float),
            Value::Object(map) => map.values_mut().for_each(float),
            _ => (),
        }
    }
    doc.tags.values_mut().for_each(float);
    doc.chunks.iter_mut().chain(&mut doc.matches).for_each(with_float_tags);
}

fn without_tags(doc: &mut Document) {
    doc.tags.clear();
    doc.chunks.iter_mut().chain(&mut doc.matches).for_each(without_tags);
}

fn damaged(bytes: &[u8], damage: &[(prop::sample::Index, u8)]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for (at, byte) in damage.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes.into()
}

/// Reads bytes in every possible way, and uses the result in every possible way.
fn use_all_of(bytes: Bytes) {
    for form in FORMS {
        let _ = form.decode_head(&bytes);
        if let Ok(message) = form.decode(bytes.clone()) {
            for form in FORMS {
                let _ = form.encode_request(&message);
                let _ = form.encode_response(&message);
            }
            message.docs().iter().for_each(use_document);
        }
    }
    for family in FAMILIES {
        let _ = family.decode_docs(bytes.clone());
    }
    let _ = RawRequest::decode(bytes.clone()).map(|raw| raw.encode());
    let _ = decode_single(bytes.clone());
    let _ = serde_json::from_slice::<Document>(&bytes);
    let _ = serde_json::from_slice::<Value>(&bytes).map(|value| {
        let _ = graphql::to_document(&value);
        Tensor::from_nested(&value)
    });
    let _ = files::read(bytes);
}

fn use_document(doc: &Document) {
    serde_json::to_string(doc).expect("plain JSON carries all");
    let _ = graphql::from_document(doc);
    for array in doc.tensor.iter().chain(&doc.embedding) {
        if let NdArray::Dense(tensor) = array {
            let _ = tensor.values().map(Iterator::count);
            let _ = tensor.to_nested();
        }
    }
    doc.chunks.iter().chain(&doc.matches).for_each(use_document);
}

/// Documents nested to this depth.
fn nested(depth: usize) -> Document {
    (0..depth).fold(Document::from_text("innermost"), |doc, _| Document {
        chunks: vec![doc],
        ..Document::default()
    })
}

#[test]
fn what_can_be_written_can_be_read_at_any_depth() {
    for form in FORMS {
        let mut deepest = 0;
        for depth in 0..150 {
            let message = DataRequest { data: Some(vec![nested(depth)]), ..DataRequest::default() };
            match form.encode_response(&message) {
                Ok(bytes) => {
                    form.decode(bytes).unwrap_or_else(|e| panic!("{form:?} {depth}: {e:?}"));
                    deepest = depth;
                }
                Err(error) => assert!(matches!(error, EncodeError::Depth { .. }), "{error:?}"),
            }
        }
        assert!((20..130).contains(&deepest), "{form:?}: {deepest}");
    }
}

/// A decoder that trusts lengths before checking them would fail here.
#[test]
fn claims_of_size_take_no_memory() {
    // A message of 2 GiB, an array with as many Documents, a tensor with 2^96 values.
    let claims: [&[u8]; 3] = [
        b"\x0a\xff\xff\xff\xff\x07",
        b"\x22\xff\xff\xff\xff\x07\x0a\xff\xff\xff\xff\x07",
        b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for claim in claims {
        for family in FAMILIES {
            family.decode_docs(Bytes::from_static(claim)).expect_err("cut off");
        }
        files::read(Bytes::from_static(claim)).expect_err("cut off");
    }
    let tensor = Tensor::new("<f4", vec![u32::MAX; 3], Bytes::new());
    tensor.check().expect_err("no values are there");
    tensor.to_nested().expect_err("no values are there");
    let tensor = Tensor::new("<f4", vec![u32::MAX, u32::MAX, 0], Bytes::new());
    assert_eq!(tensor.check(), Ok(0));
    tensor.to_nested().expect_err("too many lists of nothing");
}
