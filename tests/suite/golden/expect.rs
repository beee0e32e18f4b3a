//! Our values in the format of the sidecars' `expect` (see `tests/golden/README.md`).
//!
//! Written only from that description; it shares no code with the crate's own encoders.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use flowbench::wire::proto::v2::{
    DenseNdArrayProto, DocProto, NodeProto,
    node_proto::{Content, DocarrayType},
};
use flowbench::wire::{
    DType, DataRequest, Document, Family, Header, NamedScore, NdArray, Number, Route, Status,
    Tensor,
};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

/// The fields of v2's default schema, which are written even if they are unset.
const LEGACY: [&str; 10] =
    ["id", "text", "url", "blob", "tensor", "embedding", "tags", "chunks", "matches", "scores"];

pub(super) fn message(family: Family, message: &DataRequest) -> Value {
    let mut out = json!({
        "header": header(&message.header),
        "routes": message.routes.iter().map(route).collect::<Vec<_>>(),
    });
    if !message.parameters.is_empty() {
        out["parameters"] = message.parameters.clone().into();
    }
    if let Some(docs) = &message.data {
        let docs: Vec<_> = docs.iter().map(|doc| document(family, doc)).collect();
        out["data"] = json!({"$oneof": "docs", "docs": docs});
    }
    out
}

pub(super) fn document(family: Family, doc: &Document) -> Value {
    match family {
        Family::V1 => v1(doc).into(),
        Family::V2 => v2(doc).into(),
    }
}

/// A sidecar's message without parts that we do not distinguish from unset: parameters, header and routes
/// without content, and in v2 the empty nodes of the default schema.
pub(super) fn without_unset(mut expected: Value) -> Value {
    without_empty_nodes(&mut expected);
    let message = expected.as_object_mut().expect("a message is an object");
    message.entry("header").or_insert(json!({}));
    message.entry("routes").or_insert(json!([]));
    if message.get("parameters") == Some(&json!({})) {
        message.remove("parameters");
    }
    expected
}

pub(super) fn without_empty_nodes(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                let unset = value.get("$kind") == Some(&Value::Null)
                    || key == "tags" && *value == json!({"$kind": "dict", "value": {}});
                !(unset && LEGACY.contains(&key.as_str()))
            });
            map.values_mut().for_each(without_empty_nodes);
        }
        Value::Array(values) => values.iter_mut().for_each(without_empty_nodes),
        _ => {}
    }
}

fn header(header: &Header) -> Value {
    let mut out = Map::new();
    put_text(&mut out, "request_id", &header.request_id);
    if let Some(found) = &header.status {
        out.insert("status".into(), status(found));
    }
    for (key, text) in
        [("exec_endpoint", &header.exec_endpoint), ("target_executor", &header.target_executor)]
    {
        if let Some(text) = text {
            out.insert(key.into(), text.clone().into());
        }
    }
    out.into()
}

pub(super) fn status(status: &Status) -> Value {
    let name = if status.code == 0 { "SUCCESS" } else { "ERROR" };
    let mut out =
        json!({"code": status.code, "code_name": name, "description": status.description});
    if let Some(exception) = &status.exception {
        let mut told = json!({
            "name": exception.name,
            "args": exception.args,
            "executor": exception.executor,
            "n_stacks": exception.stacks.len(),
        });
        if let Some(last) = exception.stacks.last() {
            told["last_stack"] = last.clone().into();
        }
        out["exception"] = told;
    }
    out
}

fn route(route: &Route) -> Value {
    let time = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
        json!({"seconds": since.as_secs(), "nanos": since.subsec_nanos()})
    };
    let mut out = Map::new();
    put_text(&mut out, "executor", &route.executor);
    for (key, at) in [("start_time", route.start_time), ("end_time", route.end_time)] {
        if let Some(at) = at {
            out.insert(key.into(), time(at));
        }
    }
    if let Some(found) = &route.status {
        out.insert("status".into(), status(found));
    }
    out.into()
}

fn put_text(out: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        out.insert(key.into(), text.into());
    }
}

fn v1(doc: &Document) -> Map<String, Value> {
    let mut out = Map::new();
    let mut content = Value::Null;
    put_text(&mut out, "id", &doc.id);
    if let Some(text) = &doc.text {
        out.insert("text".into(), text.clone().into());
        content = "text".into();
    }
    if let Some(blob) = &doc.blob {
        out.insert("blob".into(), bytes(blob));
        content = "blob".into();
    }
    if let Some(tensor) = &doc.tensor {
        out.insert("tensor".into(), array(tensor));
        content = "tensor".into();
    }
    out.insert("$content".into(), content);
    if let Some(embedding) = &doc.embedding {
        out.insert("embedding".into(), array(embedding));
    }
    for (key, count) in [("granularity", doc.granularity), ("adjacency", doc.adjacency)] {
        if count != 0 {
            out.insert(key.into(), count.into());
        }
    }
    for (key, text) in [
        ("parent_id", &doc.parent_id),
        ("uri", &doc.uri),
        ("modality", &doc.modality),
        ("mime_type", &doc.mime_type),
    ] {
        put_text(&mut out, key, text);
    }
    for (key, number) in [("weight", doc.weight), ("offset", doc.offset)] {
        if number != 0.0 {
            out.insert(key.into(), f64::from(number).into());
        }
    }
    if !doc.location.is_empty() {
        out.insert("location".into(), doc.location.iter().map(|x| f64::from(*x)).collect());
    }
    for (key, map) in [("tags", &doc.tags), ("_metadata", &doc.metadata)] {
        if !map.is_empty() {
            out.insert(key.into(), map.clone().into());
        }
    }
    for (key, docs) in [("chunks", &doc.chunks), ("matches", &doc.matches)] {
        if !docs.is_empty() {
            out.insert(key.into(), docs.iter().map(|doc| Value::from(v1(doc))).collect());
        }
    }
    for (key, found) in [("scores", &doc.scores), ("evaluations", &doc.evaluations)] {
        if !found.is_empty() {
            let found = found.iter().map(|(name, score)| (name.clone(), score_fields(score)));
            out.insert(key.into(), Value::Object(found.collect()));
        }
    }
    out
}

fn score_fields(score: &NamedScore) -> Value {
    let mut out = Map::new();
    out.insert("value".into(), score.value.into());
    put_text(&mut out, "op_name", &score.op_name);
    put_text(&mut out, "description", &score.description);
    put_text(&mut out, "ref_id", &score.ref_id);
    out.into()
}

fn bytes(bytes: &[u8]) -> Value {
    json!({"base64": STANDARD.encode(bytes), "len": bytes.len()})
}

fn array(array: &NdArray) -> Value {
    let NdArray::Dense(tensor) = array else { panic!("no sidecar has a sparse array") };
    json!({"content": "dense", "dense": dense(tensor), "cls_name": tensor.class})
}

fn dense(tensor: &Tensor) -> Value {
    let value = |number: Number| match number {
        Number::Bool(value) => Value::from(value),
        Number::Int(value) => Value::from(value),
        Number::Uint(value) => Value::from(value),
        Number::Float(value) => Value::from(value),
    };
    json!({
        "dtype": tensor.dtype.name(),
        "shape": tensor.shape,
        "buffer_len": tensor.data.len(),
        "values_flat": tensor.values().expect("well formed").map(value).collect::<Vec<_>>(),
    })
}

fn v2(doc: &Document) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, kind: &str, value: Value| {
        out.insert(key.into(), json!({"$kind": kind, "value": value}));
    };
    if let Some(text) = &doc.text {
        put("text", "text", text.clone().into());
    }
    if !doc.uri.is_empty() {
        put("url", "text", doc.uri.clone().into());
    }
    if let Some(blob) = &doc.blob {
        put("blob", "blob", bytes(blob));
    }
    for (key, docs) in [("chunks", &doc.chunks), ("matches", &doc.matches)] {
        if !docs.is_empty() {
            put(key, "doc_array", docs.iter().map(|doc| Value::from(v2(doc))).collect());
        }
    }
    if !doc.tags.is_empty() {
        put("tags", "dict", dict(&doc.tags));
    }
    if !doc.scores.is_empty() {
        put("scores", "dict", dict(&scores(&doc.scores)));
    }
    if !doc.id.is_empty() {
        out.insert("id".into(), json!({"$kind": "text", "$type": "id", "value": doc.id}));
    }
    for (key, array, kind) in
        [("tensor", &doc.tensor, "ndarray"), ("embedding", &doc.embedding, "ndarray_embedding")]
    {
        if let Some(NdArray::Dense(tensor)) = array {
            let value = json!({"dense": dense(tensor)});
            out.insert(key.into(), json!({"$kind": "ndarray", "$type": kind, "value": value}));
        }
    }
    out.extend(doc.extra.iter().map(|(name, found)| (name.clone(), node(found))));
    out
}

fn scores(scores: &IndexMap<String, NamedScore>) -> Map<String, Value> {
    scores.iter().map(|(name, score)| (name.clone(), score_fields(score))).collect()
}

fn dict(map: &Map<String, Value>) -> Value {
    map.iter().map(|(key, value)| (key.clone(), json_node(value))).collect::<Map<_, _>>().into()
}

fn json_node(value: &Value) -> Value {
    let (kind, value) = match value {
        Value::Null => return json!({"$kind": null}),
        Value::Bool(_) => ("boolean", value.clone()),
        Value::Number(number) if number.is_f64() => ("float", value.clone()),
        Value::Number(_) => ("integer", value.clone()),
        Value::String(_) => ("text", value.clone()),
        Value::Array(values) => ("list", values.iter().map(json_node).collect()),
        Value::Object(map) => ("dict", dict(map)),
    };
    json!({"$kind": kind, "value": value})
}

fn node(found: &NodeProto) -> Value {
    let fields = |doc: &DocProto| -> Value {
        doc.data.iter().map(|(key, found)| (key.clone(), node(found))).collect::<Map<_, _>>().into()
    };
    let (kind, value) = match &found.content {
        None => return json!({"$kind": null}),
        Some(Content::Text(text)) => ("text", text.clone().into()),
        Some(Content::Integer(value)) => ("integer", (*value).into()),
        Some(Content::Float(value)) => ("float", (*value).into()),
        Some(Content::Boolean(value)) => ("boolean", (*value).into()),
        Some(Content::Blob(blob)) => ("blob", bytes(blob)),
        Some(Content::Ndarray(array)) => {
            let DenseNdArrayProto { buffer, shape, dtype } =
                array.dense.clone().expect("arrays are dense");
            let tensor = Tensor::new(DType::from(dtype), shape, buffer);
            ("ndarray", json!({"dense": dense(&tensor)}))
        }
        Some(Content::Doc(doc)) => ("doc", fields(doc)),
        Some(Content::DocArray(docs)) => ("doc_array", docs.docs.iter().map(fields).collect()),
        Some(Content::List(list)) => ("list", list.data.iter().map(node).collect()),
        Some(Content::Set(list)) => ("set", list.data.iter().map(node).collect()),
        Some(Content::Tuple(list)) => ("tuple", list.data.iter().map(node).collect()),
        Some(Content::Dict(dict)) => ("dict", fields(&DocProto { data: dict.data.clone() })),
    };
    let mut out = json!({"$kind": kind, "value": value});
    if let Some(DocarrayType::Type(name)) = &found.docarray_type {
        out["$type"] = name.clone().into();
    }
    out
}
