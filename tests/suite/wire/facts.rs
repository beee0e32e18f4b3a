//! Facts that a user or another program can rely on, one per row.

use bytes::Bytes;
use flowbench::wire::{
    DType, DataRequest, DecodeError, Document, EncodeError, Family, Form, Header, NdArray,
    ScalarKind, SparseTensor, Tensor, graphql, proto,
};
use prost::Message;
use serde_json::{Map, Value, json};

/// An error with its causes, as displayed.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", told(source)),
    }
}

fn doc(change: impl FnOnce(&mut Document)) -> Document {
    let mut doc = Document { id: "d".into(), ..Document::default() };
    change(&mut doc);
    doc
}

fn with_tensor(tensor: Tensor) -> Document {
    doc(|doc| doc.tensor = Some(NdArray::Dense(tensor)))
}

fn request(doc: Document) -> DataRequest {
    DataRequest { data: Some(vec![doc]), ..DataRequest::default() }
}

#[test]
fn what_cannot_be_sent_says_why() {
    const V1: Form = Form::Protobuf(Family::V1);
    const V2: Form = Form::Protobuf(Family::V2);
    const V1_JSON: Form = Form::Json(Family::V1);
    const V2_JSON: Form = Form::Json(Family::V2);
    let tensor = || Tensor::from_f32(&[1.0]);
    let check = |form: Form, doc: Document, expected: &str| {
        // Wherever it is in a request.
        let outer = Document { chunks: vec![doc.clone()], ..Document::default() };
        for doc in [doc, outer] {
            let error = form.encode_request(&request(doc.clone())).expect_err(expected);
            assert_eq!(told(&error), expected);
            let error = form.encode_response(&request(doc)).expect_err(expected);
            assert_eq!(told(&error), expected);
        }
    };

    let two = doc(|doc| {
        doc.text = Some("text".into());
        doc.tensor = Some(NdArray::Dense(tensor()));
    });
    for form in [V1, V1_JSON, Form::WebSocketJson] {
        check(
            form,
            two.clone(),
            "Document `d` has text and tensor, a Document of the v1 family has one of text, blob \
             and tensor",
        );
        check(
            form,
            doc(|doc| drop(doc.extra.insert("price".into(), proto::v2::NodeProto::default()))),
            "Document `d`: Documents of the v1 family have no field `price`; a Flow with custom \
             Documents belongs to v2 (`family: v2`)",
        );
    }
    check(
        V2,
        doc(|doc| drop(doc.tags.insert("count".into(), json!([1, 2_147_483_648_u32])))),
        "Document `d`: `count` is 2147483648, but integers of v2 are limited to 2147483647; use \
         a float such as 2147483648.0",
    );
    check(
        V2,
        doc(|doc| doc.granularity = u32::MAX),
        "Document `d`: `granularity` is 4294967295, but integers of v2 are limited to \
         2147483647; use a float such as 4294967295.0",
    );
    let sparse = SparseTensor {
        indices: tensor(),
        values: tensor(),
        shape: vec![1],
        class: "scipy".into(),
        parameters: Map::new(),
    };
    let sparse = doc(|doc| doc.embedding = Some(NdArray::Sparse(sparse.into())));
    for form in [V2, V2_JSON] {
        check(
            form,
            sparse.clone(),
            "array of Document `d` cannot be sent: the array is sparse: v2 has no sparse arrays",
        );
    }
    for form in [V1_JSON, Form::WebSocketJson] {
        check(
            form,
            sparse.clone(),
            "array of Document `d` cannot be sent: the array is sparse: its indices do not match \
             its shape and values",
        );
        check(
            form,
            with_tensor(Tensor::from_f32(&[1.0, f32::NAN])),
            "array of Document `d` cannot be sent: NaN cannot be represented in JSON",
        );
        check(
            form,
            with_tensor(Tensor::new("<f4", vec![2, 3], Bytes::from_static(b"\0\0\0\0"))),
            "array of Document `d` cannot be sent: shape [2, 3] of <f4 takes 24 bytes, found 4",
        );
        check(
            form,
            with_tensor(Tensor::new("<c8", vec![1], Bytes::from_static(b"\0\0\0\0\0\0\0\0"))),
            "array of Document `d` cannot be sent: values of `<c8` are complex; only real ones \
             are supported here",
        );
        check(
            form,
            with_tensor(Tensor::new("<U3", vec![1], Bytes::new())),
            "array of Document `d` cannot be sent: unknown dtype `<U3`",
        );
        check(
            form,
            doc(|doc| doc.weight = f32::INFINITY),
            "Document `d`: weight, offset and location must be finite",
        );
    }
    check(
        V2_JSON,
        doc(|doc| doc.blob = Some(Bytes::from_static(b"\xff\0"))),
        "Document `d`: v2's HTTP sends blobs as UTF-8 text, and these bytes are not valid UTF-8; \
         use gRPC or WebSocket",
    );
}

#[test]
fn a_pickle_is_refused_and_a_list_in_its_place_is_read() {
    use proto::jina::{
        DataRequestProto,
        data_request_proto::{DataContentProto, data_content_proto::Documents},
    };
    let wrapped = |docs: Bytes| -> Bytes {
        let data = DataContentProto { documents: Some(Documents::DocsBytes(docs)) };
        DataRequestProto { data: Some(data), ..DataRequestProto::default() }.encode_to_vec().into()
    };
    let error = Form::Protobuf(Family::V1)
        .decode(wrapped(Bytes::from_static(b"\x80\x04.")))
        .expect_err("a pickle");
    assert!(matches!(error, DecodeError::Content(_)));
    assert!(told(&error).contains("Python pickle (`docs_bytes`)"), "{error}");

    let docs = vec![Document::from_text("hello")];
    let bytes = wrapped(Family::V2.encode_docs(&docs).expect("valid"));
    assert_eq!(Form::Protobuf(Family::V2).decode(bytes).expect("valid").data, Some(docs));
}

#[test]
fn a_head_is_read_without_its_documents() {
    let message = request(Document::from_text("hello"));
    for family in [Family::V1, Family::V2] {
        let mut message = message.clone();
        message.header.request_id = "an id".into();
        let bytes = Form::Protobuf(family).encode_response(&message).expect("valid");
        // The text comes last, and is now invalid UTF-8.
        let mut damaged = bytes.to_vec();
        let text = damaged.windows(5).position(|part| part == b"hello").expect("it is there");
        damaged[text] = 0xff;
        let damaged: Bytes = damaged.into();
        Form::Protobuf(family).decode(damaged.clone()).expect_err("no UTF-8");
        let head = Form::Protobuf(family).decode_head(&damaged).expect("the head is whole");
        assert_eq!(head.header, message.header);
    }
}

#[test]
fn parameters_of_requests_are_never_nothing() {
    let check = |parameters: Value, expected: Value| {
        for form in [Form::Protobuf(Family::V1), Form::Json(Family::V2)] {
            let Value::Object(parameters) = parameters.clone() else { panic!("an object") };
            let request = DataRequest { parameters, ..DataRequest::default() };
            let id = flowbench::wire::RequestId { sender: 1, number: 1 };
            let bytes = form.encode_request(&request).expect("valid").with_id(id);
            let read = form.decode(bytes).expect("it was just written");
            assert_eq!(Value::from(read.parameters), expected, "{form:?}");
        }
    };
    check(json!({}), json!({"__results__": {}}));
    check(json!({"k": "v"}), json!({"k": "v"}));
    check(json!({"k": "v", "__results__": 5}), json!({"k": "v", "__results__": {}}));
    check(json!({"__results__": {"a": "b"}}), json!({"__results__": {"a": "b"}}));
}

/// Over gRPC, all numbers in tags become doubles in v1, and only floats do in v2.
#[test]
fn numbers_of_tags_keep_what_the_family_keeps() {
    let check = |family: Family, expected: Value| {
        let Value::Object(tags) = json!({"i": 3, "f": 2.0, "large": 12_345_678_901.5}) else {
            panic!("an object")
        };
        let docs = [Document { tags, ..Document::default() }];
        let read = family.decode_docs(family.encode_docs(&docs).expect("valid")).expect("valid");
        assert_eq!(Value::from(read[0].tags.clone()), expected);
    };
    check(Family::V1, json!({"i": 3.0, "f": 2.0, "large": 12_345_678_901.5}));
    check(Family::V2, json!({"i": 3, "f": 2.0, "large": 12_345_678_901.5}));
}

#[test]
fn numbers_that_json_has_not_become_text() {
    use prost_types::{Struct, value::Kind};
    let number = |value: f64| prost_types::Value { kind: Some(Kind::NumberValue(value)) };
    let fields = [("a", f64::NAN), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY)];
    let tags = Struct {
        fields: fields.into_iter().map(|(key, value)| (key.into(), number(value))).collect(),
    };
    let doc = proto::v1::DocumentProto { tags: Some(tags), ..Default::default() };
    let array = proto::v1::DocumentArrayProto { docs: vec![doc] }.encode_to_vec();
    let read = Family::V1.decode_docs(array.into()).expect("valid");
    let expected = json!({"a": "NaN", "b": "Infinity", "c": "-Infinity"});
    assert_eq!(Value::from(read[0].tags.clone()), expected);
}

/// The names of the nodes in an encoded v2 Document.
fn nodes(doc: Document) -> Vec<String> {
    let bytes = Family::V2.encode_docs(&[doc]).expect("valid");
    let list = proto::v2::DocListProto::decode(bytes).expect("it was just written");
    list.docs[0].data.keys().cloned().collect()
}

#[test]
fn a_schema_of_its_own_is_sent_without_the_default_ones_fields() {
    let legacy =
        ["blob", "chunks", "embedding", "matches", "scores", "tags", "tensor", "text", "url"];
    assert_eq!(nodes(Document::default()), legacy);
    let own = doc(|doc| {
        doc.text = Some("hello".into());
        doc.extra.insert("price".into(), proto::v2::NodeProto::default());
    });
    assert_eq!(nodes(own), ["id", "price", "text"]);
    let weighty = doc(|doc| doc.weight = 0.5);
    assert!(nodes(weighty).contains(&"weight".to_owned()));
}

#[test]
fn a_field_set_by_hand_takes_the_place_of_one_that_came() {
    let text = proto::v2::node_proto::Content::Text("from afar".into());
    let node = proto::v2::NodeProto { content: Some(text), docarray_type: None };
    let doc = doc(|doc| {
        doc.uri = "by hand".into();
        doc.extra.insert("url".into(), node);
    });
    let read = Family::V2.decode_docs(Family::V2.encode_docs(&[doc]).expect("valid"));
    let read = read.expect("it was just written").remove(0);
    assert_eq!((read.uri.as_str(), read.extra.len()), ("by hand", 0));
}

#[test]
fn plain_json_reads_as_people_write_it() {
    let check = |text: &str, expected: Document| {
        let found: Document = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(found, expected, "{text}");
    };
    let embedding = |kind: ScalarKind, data: &'static [u8], shape: &[u32]| {
        let tensor = Tensor::new(kind, shape.to_vec(), Bytes::from_static(data));
        Document { embedding: Some(NdArray::Dense(tensor)), ..Document::default() }
    };
    check("{}", Document::default());
    check(r#"{"text": "a", "tags": null}"#, Document::from_text("a"));
    check(
        r#"{"blob": "AP8"}"#,
        Document { blob: Some(vec![0, 255].into()), ..Document::default() },
    );
    check(r#"{"url": "u"}"#, Document { uri: "u".into(), ..Document::default() });
    check(r#"{"mimeType": "m"}"#, Document { mime_type: "m".into(), ..Document::default() });
    check(
        r#"{"embedding": [1, 2], "embedding_dtype": "uint8"}"#,
        embedding(ScalarKind::U8, &[1, 2], &[2]),
    );
    check(
        r#"{"embedding_dtype": "|i1", "embedding": [[1.0], [-2]]}"#,
        embedding(ScalarKind::I8, &[1, 254], &[2, 1]),
    );
    check(r#"{"embedding": [[true], [false]]}"#, embedding(ScalarKind::Bool, &[1, 0], &[2, 1]));
    check(
        r#"{"embedding": {"dense": {"buffer": "AQ==", "shape": [1], "dtype": "|u1"}}}"#,
        embedding(ScalarKind::U8, &[1], &[1]),
    );
    let score = flowbench::wire::NamedScore { value: 0.5, ..Default::default() };
    check(
        r#"{"scores": {"cosine": 0.5}}"#,
        Document {
            scores: [("cosine".to_owned(), score)].into_iter().collect(),
            ..Document::default()
        },
    );
}

#[test]
fn plain_json_says_what_is_wrong() {
    let check = |text: &str, expected: &str| {
        let error = serde_json::from_str::<Document>(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check("5", "expected a Document, an object with keys such as `id` and `text`");
    check(r#"{"text": 5}"#, "expected a string");
    check(r#"{"granularity": -1}"#, "expected a whole number from 0 to 4294967295");
    check(r#"{"granularity": 1.5}"#, "expected a whole number");
    check(r#"{"blob": "*"}"#, "not base64");
    check(r#"{"chunks": {"id": "a"}}"#, "expected a list of Documents");
    check(r#"{"tensor": [1, [2]]}"#, "expected a number, as elsewhere at this depth, found a list");
    check(r#"{"tensor": [[1], 2]}"#, "expected a list, as elsewhere at this depth, found a number");
    check(
        r#"{"tensor": [[1, 2], [3]]}"#,
        "expected a list of length 2, as elsewhere at this depth, found one of length 1",
    );
    check(r#"{"tensor": "abc"}"#, "expected an array as nested lists of numbers");
    check(r#"{"tensor": [1], "tensor_dtype": "<U3"}"#, "unknown dtype `<U3`");
    let deep = format!("{}{}", r#"{"chunks":["#.repeat(34), "]}".repeat(34));
    check(&deep, "deeper than 32 Documents");
}

#[test]
fn plain_json_is_short() {
    let check = |doc: Document, expected: Value| {
        assert_eq!(serde_json::to_value(&doc).expect("plain JSON carries all"), expected);
    };
    check(Document::default(), json!({}));
    let small = with_tensor(Tensor::from_f32(&[0.1, f32::NAN]));
    assert_eq!(
        serde_json::to_string(&small).expect("plain JSON carries all"),
        r#"{"id":"d","tensor":[0.1,"NaN"],"tensor_dtype":"<f4"}"#
    );
    check(
        with_tensor(Tensor::new("<f8", vec![1], 0.5_f64.to_le_bytes().to_vec())),
        json!({"id": "d", "tensor": [0.5]}),
    );
    check(
        with_tensor(Tensor::new("<U1", vec![1], Bytes::from_static(b"a\0\0\0"))),
        json!({"id": "d", "tensor": {
            "dense": {"buffer": "YQAAAA==", "shape": [1], "dtype": "<U1"}, "clsName": "numpy",
        }}),
    );
}

/// Accepts what pydantic would accept from a v1 client.
#[test]
fn a_gateway_of_v1_takes_what_pydantic_takes() {
    let body = br#"{"data": {"docs": [{"text": 1, "id": true, "unknown": {}, "blob": "Y W I="}]},
                    "execEndpoint": 5, "target_executor": "foo.*"}"#;
    let form = Form::Json(Family::V1);
    let error = form.decode(Bytes::from_static(br#"{"data": [{"id": []}]}"#)).expect_err("a list");
    assert!(told(&error).contains("expected a string"));
    let read = form.decode(Bytes::from_static(body)).expect("valid");
    assert_eq!(
        read.header,
        Header {
            exec_endpoint: Some("5".into()),
            target_executor: Some("foo.*".into()),
            ..Header::default()
        }
    );
    let expected = Document {
        id: "True".into(),
        text: Some("1".into()),
        blob: Some(Bytes::from_static(b"ab")),
        ..Document::default()
    };
    assert_eq!(read.docs(), [expected]);
}

#[test]
fn status_codes_have_numbers_and_names() {
    let check = |code: Value, ok: bool| {
        let body = json!({"header": {"status": {"code": code}}}).to_string();
        let head = Form::Json(Family::V1).decode_head(&body.into()).expect("valid");
        assert_eq!(head.header.status.expect("it is there").is_ok(), ok, "{code}");
    };
    check(json!(0), true);
    check(json!("SUCCESS"), true);
    check(json!(null), true);
    check(json!(1), false);
    check(json!("ERROR"), false);
    check(json!("ERROR_CHAINED"), false);
}

#[test]
fn graphql_has_every_field_in_its_own_spelling() {
    let score =
        flowbench::wire::NamedScore { value: 0.5, op_name: "op".into(), ..Default::default() };
    let doc = doc(|doc| {
        doc.parent_id = "p".into();
        doc.tags =
            [("one".to_owned(), json!(1)), ("two".to_owned(), json!(2))].into_iter().collect();
        doc.scores = [("cos".to_owned(), score)].into_iter().collect();
    });
    let found = graphql::from_document(&doc).expect("valid");
    let expected = json!({
        "id": "d", "parentId": "p", "granularity": null, "adjacency": null, "blob": null,
        "tensor": null, "mimeType": null, "text": null, "weight": null, "uri": null,
        "tags": {"one": 1.0, "two": 2.0}, "offset": null, "location": null, "embedding": null,
        "modality": null, "evaluations": null,
        "scores": [{"name": "cos", "score":
            {"value": 0.5, "opName": "op", "description": null, "refId": null}}],
        "chunks": null, "matches": null,
    });
    assert_eq!(found, expected);
}

#[test]
fn settling_gives_ids_and_depths() {
    let mut next = 0_u128;
    let mut random = || {
        next += 0xa;
        next
    };
    let innermost = Document::default();
    let chunk = Document { granularity: 1, chunks: vec![innermost], ..Document::default() };
    let found = Document { id: "m".into(), ..Document::default() };
    let mut doc = Document { chunks: vec![chunk], matches: vec![found], ..Document::default() };
    let mut v2 = doc.clone();

    doc.settle(Family::V1, &mut random);
    let chunk = &doc.chunks[0];
    assert_eq!(doc.id, "0000000000000000000000000000000a");
    assert_eq!((chunk.granularity, &chunk.parent_id), (1, &doc.id));
    assert_eq!((chunk.chunks[0].granularity, &chunk.chunks[0].parent_id), (2, &chunk.id));
    assert_eq!((doc.matches[0].adjacency, doc.matches[0].id.as_str()), (1, "m"));

    v2.settle(Family::V2, &mut random);
    assert_eq!((v2.chunks[0].granularity, v2.chunks[0].parent_id.as_str()), (1, ""));
    assert_eq!(v2.chunks[0].chunks[0].id.len(), 32);
    assert_eq!(v2.matches[0].adjacency, 0);
}

#[test]
fn settling_drops_what_python_does_not_see() {
    let of_class = |class: &str| {
        let tensor = Tensor { class: class.into(), ..Tensor::from_f32(&[1.0]) };
        Some(NdArray::Dense(tensor))
    };
    let mut doc = doc(|doc| {
        doc.text = Some(String::new());
        doc.tensor = of_class("");
        doc.embedding = of_class("numpy");
    });
    let before = doc.clone();
    doc.settle(Family::V2, &mut || 0);
    assert_eq!(doc, before);
    doc.settle(Family::V1, &mut || 0);
    assert_eq!(doc, Document { text: None, tensor: None, ..before });
}

#[test]
fn types_of_arrays_have_many_names_and_one() {
    let check = |name: &str, expected: &str, known: bool| {
        let dtype = DType::from(name);
        assert_eq!(dtype.to_string(), expected, "{name}");
        assert_eq!(matches!(dtype, DType::Scalar { .. }), known, "{name}");
        assert_eq!(DType::from(expected), dtype, "{name}");
    };
    for (name, expected) in [
        ("<f4", "<f4"),
        ("float32", "<f4"),
        ("f4", "<f4"),
        ("=f4", "<f4"),
        (">f4", ">f4"),
        ("float16", "<f2"),
        ("float64", "<f8"),
        ("|u1", "|u1"),
        (">u1", "|u1"),
        ("uint8", "|u1"),
        ("int8", "|i1"),
        ("|b1", "|b1"),
        ("bool", "|b1"),
        ("int64", "<i8"),
        (">u8", ">u8"),
        ("complex64", "<c8"),
        (">c16", ">c16"),
    ] {
        check(name, expected, true);
    }
    for name in ["", "<", "<U3", "object", "f3", "<float32", "é"] {
        check(name, name, false);
    }
}

#[test]
fn lists_become_arrays_of_the_type_that_numpy_gives_them() {
    let check = |list: Value, dtype: &str, shape: &[u32]| {
        let tensor = Tensor::from_nested(&list).unwrap_or_else(|e| panic!("{list}: {e}"));
        assert_eq!((tensor.dtype.name(), &tensor.shape[..]), (dtype, shape), "{list}");
        tensor.check().unwrap_or_else(|e| panic!("{list}: {e}"));
    };
    check(json!([1, 2]), "<i8", &[2]);
    check(json!([1, 2.5]), "<f8", &[2]);
    check(json!([[1], [2], [3]]), "<i8", &[3, 1]);
    check(json!([true]), "|b1", &[1]);
    check(json!([true, 2]), "<i8", &[2]);
    check(json!([u64::MAX]), "<u8", &[1]);
    check(json!([u64::MAX, -1]), "<f8", &[2]);
    check(json!([]), "<f8", &[0]);
    check(json!([[], []]), "<f8", &[2, 0]);
    check(json!(7.5), "<f8", &[]);
    check(json!(["NaN"]), "<f8", &[1]);
}

#[test]
fn values_are_read_in_every_type_and_order() {
    let check = |dtype: &str, data: &[u8], expected: f64| {
        let tensor = Tensor::new(dtype, vec![1], data.to_vec());
        let values: Vec<_> =
            tensor.values_f64().unwrap_or_else(|e| panic!("{dtype}: {e}")).collect();
        assert_eq!(values, [expected], "{dtype}");
        // And back, because each of them is exact.
        let wide = tensor.cast(&"<f8".into()).expect("real numbers");
        assert_eq!(wide.cast(&dtype.into()).expect("real numbers"), tensor, "{dtype}");
    };
    check("|b1", &[1], 1.0);
    check("|i1", &[0xff], -1.0);
    check("|u1", &[0xff], 255.0);
    check("<i2", &[0, 1], 256.0);
    check(">i2", &[0, 1], 1.0);
    check("<u2", &[0xff, 0xff], 65535.0);
    check(">i4", &[0, 0, 1, 0], 256.0);
    check("<u4", &[1, 0, 0, 0], 1.0);
    check("<i8", &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -2.0);
    check(">u8", &[0, 0, 0, 0, 0, 0, 0, 9], 9.0);
    check("<f2", &[0, 0x3c], 1.0);
    check(">f2", &[0xc0, 0], -2.0);
    check("<f4", &0.5_f32.to_le_bytes(), 0.5);
    check(">f4", &0.5_f32.to_be_bytes(), 0.5);
    check(">f8", &(-0.25_f64).to_be_bytes(), -0.25);
}

#[test]
fn too_deep_a_value_is_an_error() {
    let deep = (0..200).fold(json!(1), |value, _| json!([value]));
    let request = request(doc(|doc| drop(doc.tags.insert("deep".into(), deep))));
    for family in [Family::V1, Family::V2] {
        let error = Form::Protobuf(family).encode_request(&request).expect_err("too deep");
        assert!(matches!(error, EncodeError::Depth { limit: 100 }), "{error:?}");
    }
}
