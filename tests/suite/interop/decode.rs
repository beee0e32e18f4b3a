//! docarray reads what we write as equal values, and we read what it then writes.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flowbench::wire::proto::v2::{
    DenseNdArrayProto, DictOfAnyProto, DocListProto, DocProto, ListOfAnyProto, NdArrayProto,
    NodeProto,
    node_proto::{Content, DocarrayType},
};
use flowbench::wire::{Document, Family, NamedScore, NdArray, Tensor};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::python::{Release, files};
use super::samples;

#[test]
fn docarray_of_v1_reads_what_we_write() {
    check(Release::V1, Family::V1, &samples::documents(Family::V1, 1, 200));
}

#[test]
fn docarray_of_v2_reads_what_we_write() {
    check(Release::V2, Family::V2, &samples::documents(Family::V2, 2, 200));
}

#[test]
fn docarray_of_v1_reads_every_type_of_array() {
    check(Release::V1, Family::V1, &samples::arrays());
}

#[test]
fn docarray_of_v2_reads_every_type_of_array() {
    check(Release::V2, Family::V2, &samples::arrays());
}

#[test]
fn docarray_of_v2_reads_the_fields_of_a_schema_of_the_users_own() {
    let node = |content| NodeProto { content: Some(content), docarray_type: None };
    let typed = |content, kind: &str| NodeProto {
        content: Some(content),
        docarray_type: Some(DocarrayType::Type(kind.into())),
    };
    let text = |text: &str| Content::Text(text.into());
    let list =
        |words: &[&str]| ListOfAnyProto { data: words.iter().map(|w| node(text(w))).collect() };
    let inner = |number, id: &str| DocProto {
        data: [("id", typed(text(id), "id")), ("number", node(Content::Integer(number)))]
            .map(|(key, node)| (key.to_owned(), node))
            .into(),
    };
    let pair_of_floats = Tensor::from_f32(&[1.0, 2.0]);
    let array = NdArrayProto {
        dense: Some(DenseNdArrayProto {
            buffer: pair_of_floats.data,
            shape: pair_of_floats.shape,
            dtype: pair_of_floats.dtype.to_string(),
        }),
        parameters: None,
    };
    let free =
        [("a", Content::Integer(1)), ("b", Content::Float(1.0)), ("c", Content::Boolean(true))];
    let pair = ListOfAnyProto { data: vec![node(Content::Integer(7)), node(text("seven"))] };
    let extra = [
        ("integer", node(Content::Integer(-5))),
        ("real", node(Content::Float(0.1))),
        ("yes", node(Content::Boolean(true))),
        ("raw", node(Content::Blob(Bytes::from_static(&[0, 255])))),
        ("word", node(text("ß"))),
        ("image", typed(text("http://example.invalid/a.png"), "image_url")),
        ("array", typed(Content::Ndarray(array), "ndarray")),
        ("nothing", NodeProto::default()),
        ("words", node(Content::List(list(&["b", "a"])))),
        ("unique", node(Content::Set(list(&["y", "x"])))),
        ("pair", node(Content::Tuple(pair))),
        (
            "free",
            node(Content::Dict(DictOfAnyProto {
                data: free.map(|(key, content)| (key.to_owned(), node(content))).into(),
            })),
        ),
        ("inner", node(Content::Doc(inner(1, "one")))),
        (
            "inners",
            node(Content::DocArray(DocListProto {
                docs: vec![inner(2, "two"), inner(3, "three")],
            })),
        ),
    ];
    let doc = Document {
        id: "typed".into(),
        extra: extra.map(|(key, node)| (key.to_owned(), node)).into(),
        ..Document::default()
    };
    let docs = [doc];
    let Some((told, again)) = docarray(Release::V2, Family::V2, &docs, &["typed"]) else { return };
    let array = json!({"dtype": "<f4", "shape": [2], "base64": "AACAPwAAAEA="});
    let expected = json!([{
        "id": "typed", "integer": -5, "real": 0.1, "yes": true, "raw": {"base64": "AP8="}, "word": "ß",
        "image": "http://example.invalid/a.png", "array": array, "words": ["b", "a"],
        "unique": {"set": ["x", "y"]}, "pair": {"tuple": [7, "seven"]},
        "free": {"a": 1, "b": 1.0, "c": true}, "inner": {"id": "one", "number": 1},
        "inners": [{"id": "two", "number": 2}, {"id": "three", "number": 3}],
    }]);
    assert_eq!(told, expected);
    assert!(again[0].extra["inner"].content.is_some());
}

/// Both directions: docarray describes these Documents as we do, and we read what it writes as the same
/// Documents.
#[track_caller]
fn check(release: Release, family: Family, docs: &[Document]) {
    let Some((told, again)) = docarray(release, family, docs, &[]) else { return };
    for ((doc, told), again) in docs.iter().zip(told.as_array().expect("a list")).zip(&again) {
        assert_eq!(*told, expected(family, doc));
        assert_eq!(again, doc);
    }
    assert_eq!(again.len(), docs.len());
}

/// docarray's description of our Documents, and our reading of what it writes.
fn docarray(
    release: Release,
    family: Family,
    docs: &[Document],
    arguments: &[&str],
) -> Option<(Value, Vec<Document>)> {
    let mut child = Command::new(release.python()?)
        .arg(files().join("decode.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the environment's interpreter starts");
    let bytes = family.encode_docs(docs).expect("they can be encoded");
    // It reads everything before it writes; dropping the pipe closes it.
    child.stdin.take().expect("it is piped").write_all(&bytes).expect("it reads");
    let output = child.wait_with_output().expect("it can be waited for");
    assert!(output.status.success(), "decode.py failed");
    let told: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    let again = STANDARD.decode(told["again"].as_str().expect("it is there")).expect("is base64");
    let again = family.decode_docs(again.into()).expect("we read what docarray writes");
    Some((told["docs"].clone(), again))
}

/// The description of a Document that docarray should give.
fn expected(family: Family, doc: &Document) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Bool(_) => false,
        };
        if !empty {
            fields.insert(name.to_owned(), value);
        }
    };
    let base64 = |bytes: &Bytes| json!({"base64": STANDARD.encode(bytes)});
    let array = |array: &NdArray| match array {
        NdArray::Dense(tensor) => json!({
            "dtype": tensor.dtype.to_string(),
            "shape": tensor.shape,
            "base64": STANDARD.encode(&tensor.data),
        }),
        NdArray::Sparse(_) => unreachable!("there is none among the samples"),
    };
    let all = |docs: &[Document]| docs.iter().map(|doc| expected(family, doc)).collect::<Value>();
    let scores = |scores: &IndexMap<String, NamedScore>| {
        let score = |s: &NamedScore| {
            let texts =
                [("op_name", &s.op_name), ("description", &s.description), ("ref_id", &s.ref_id)];
            let texts = texts.iter().filter(|(_, text)| !text.is_empty());
            let texts = texts.map(|(name, text)| (name.to_string(), json!(text)));
            texts.chain([("value".into(), json!(s.value))]).collect::<Value>()
        };
        scores.iter().map(|(name, s)| (name.clone(), score(s))).collect::<Value>()
    };
    set("id", json!(doc.id));
    set("text", json!(doc.text));
    set("blob", doc.blob.as_ref().map(base64).into());
    set("tensor", doc.tensor.as_ref().map(array).into());
    set("embedding", doc.embedding.as_ref().map(array).into());
    set(if family == Family::V1 { "uri" } else { "url" }, json!(doc.uri));
    set("mime_type", json!(doc.mime_type));
    set("modality", json!(doc.modality));
    set("parent_id", json!(doc.parent_id));
    set("granularity", json!(doc.granularity));
    set("adjacency", json!(doc.adjacency));
    set("weight", json!(f64::from(doc.weight)));
    set("offset", json!(f64::from(doc.offset)));
    set("location", doc.location.iter().map(|x| f64::from(*x)).collect());
    set("tags", json!(doc.tags));
    set("scores", scores(&doc.scores));
    set("evaluations", scores(&doc.evaluations));
    set("chunks", all(&doc.chunks));
    set("matches", all(&doc.matches));
    Value::Object(fields)
}
