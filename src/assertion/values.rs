//! The values that expressions on a response can use: `response`, `request` and `exception`. Each is created
//! when an expression needs it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use half::f16;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};

use super::{Exchange, HttpAnswer};
use crate::template::Context;
use crate::wire::proto::v2::{NodeProto, node_proto::Content};
use crate::wire::{
    ByteOrder, DType, DataRequest, Document, Header, NamedScore, NdArray, ScalarKind, Status,
    Tensor,
};

/// The names available to an expression on an exchange.
pub(super) fn root(exchange: &Exchange, context: &Context) -> Value {
    Value::from_object(Root { exchange: Arc::new(exchange.clone()), context: context.clone() })
}

/// The names available to an expression on a response.
#[derive(Debug)]
struct Root {
    exchange: Arc<Exchange>,
    context: Context,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "response" => Some(match (&self.exchange.head, &self.exchange.graphql) {
                (None, None) => Value::from(()),
                _ => Value::from_object(Response(self.exchange.clone())),
            }),
            "request" if self.exchange.sent_json.is_some() => {
                let json = self.exchange.sent_json.as_deref();
                Some(map([("json", Value::from(Serde(&json)))]))
            }
            "request" => match (&self.exchange.request, &self.exchange.variables) {
                (Some(message), _) => {
                    Some(Value::from_object(Request { message: message.clone() }))
                }
                (None, Some(variables)) => {
                    Some(map([("variables", Value::from(Serde(variables)))]))
                }
                (None, None) => None,
            },
            "exception" => Some(match &self.exchange.exception {
                None => Value::from(()),
                Some((kind, message)) => {
                    map([("kind", Value::from(*kind)), ("message", Value::from(message.as_str()))])
                }
            }),
            "captured" => Some(Value::from(Serde(&self.exchange.captured))),
            name => self.context.get(name),
        }
    }
}

/// `response`: the head is available, the body is decoded if any expression reads it.
#[derive(Debug)]
struct Response(Arc<Exchange>);

impl Object for Response {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let exchange = &self.0;
        let key = key.as_str()?;
        if key == "latency_ms" {
            return Some(Value::from(exchange.latency.as_secs_f64() * 1000.0));
        }
        if let Some(body) = &exchange.graphql
            && matches!(key, "data" | "errors")
        {
            return body.get(key).map(|part| Value::from(Serde(part)));
        }
        if let Some(http) = &exchange.http {
            return match key {
                "status_code" => Some(http.status.into()),
                "headers" => Some(Value::from_object(Headers(http.clone()))),
                "json" => http.json.as_ref().map(|json| Value::from(Serde(json))),
                "body" => Some(http.text.as_str().into()),
                _ => None,
            };
        }
        let head = exchange.head.as_ref()?;
        match key {
            "status" => Some(status(head.header.status.as_deref())),
            "header" => Some(header(&head.header)),
            "routes" => head.routes.as_ref().map(|routes| {
                routes
                    .iter()
                    .map(|route| {
                        let seconds = |time: Option<SystemTime>| {
                            time.and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                                .map(|since| since.as_secs_f64())
                        };
                        let time_ms = match (route.start_time, route.end_time) {
                            (Some(start), Some(end)) => {
                                end.duration_since(start).ok().map(|time| time.as_secs_f64() * 1e3)
                            }
                            _ => None,
                        };
                        map([
                            ("executor", Value::from(route.executor.as_str())),
                            ("start_time", Value::from(seconds(route.start_time))),
                            ("end_time", Value::from(seconds(route.end_time))),
                            ("time_ms", Value::from(time_ms)),
                            ("status", status(route.status.as_deref())),
                        ])
                    })
                    .collect()
            }),
            _ => message_value(exchange.response.as_ref()?, key),
        }
    }
}

/// `response.headers`: names are case-insensitive.
#[derive(Debug)]
struct Headers(Arc<HttpAnswer>);

impl Object for Headers {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?.to_ascii_lowercase();
        self.0.headers.get(&name).map(|value| Value::from(Serde(value)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.headers.keys().map(|name| name.as_str().into()).collect())
    }
}

/// `request`.
#[derive(Debug)]
struct Request {
    message: Arc<DataRequest>,
}

impl Object for Request {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "header" => Some(header(&self.message.header)),
            key => message_value(&self.message, key),
        }
    }
}

fn message_value(message: &Arc<DataRequest>, key: &str) -> Option<Value> {
    let docs = || {
        let (owner, count) = (message.clone(), message.docs().len());
        Value::from_object(Docs { owner, path: Vec::new(), down: Down::Doc, count })
    };
    match key {
        "docs" => Some(docs()),
        "data" => Some(map([("docs", docs())])),
        "parameters" => Some(Value::from(Serde(&message.parameters))),
        _ => None,
    }
}

fn map<const N: usize>(pairs: [(&'static str, Value); N]) -> Value {
    Value::from(BTreeMap::from(pairs))
}

fn status(status: Option<&Status>) -> Value {
    // Jina's names; a response without a status means success.
    Value::from(if status.is_none_or(Status::is_ok) { "SUCCESS" } else { "ERROR" })
}

fn header(header: &Header) -> Value {
    let failure = header.status.as_ref().filter(|status| !status.is_ok());
    map([
        ("request_id", Value::from(header.request_id.as_str())),
        ("exec_endpoint", Value::from(header.exec_endpoint.as_deref())),
        ("target_executor", Value::from(header.target_executor.as_deref())),
        ("description", Value::from(failure.map(|status| status.description.as_str()))),
    ])
}

/// A step on the path from a message to one of its Documents.
#[derive(Clone, Copy, Debug)]
enum Down {
    Doc(usize),
    Chunk(usize),
    Match(usize),
}

fn find<'a>(owner: &'a DataRequest, path: &[Down]) -> Option<&'a Document> {
    let mut found: Option<&Document> = None;
    for step in path {
        found = match (*step, found) {
            (Down::Doc(at), _) => owner.docs().get(at),
            (Down::Chunk(at), Some(document)) => document.chunks.get(at),
            (Down::Match(at), Some(document)) => document.matches.get(at),
            (_, None) => None,
        };
    }
    found
}

/// A list of Documents: all of a message, or the chunks or matches of one.
#[derive(Debug)]
struct Docs {
    owner: Arc<DataRequest>,
    // The path to the Document they belong to; empty for all Documents of a message.
    path: Vec<Down>,
    down: fn(usize) -> Down,
    count: usize,
}

impl Object for Docs {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = key.as_usize().filter(|at| *at < self.count)?;
        let path = self.path.iter().copied().chain([(self.down)(at)]).collect();
        Some(Value::from_object(Doc { owner: self.owner.clone(), path }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.count)
    }
}

/// A Document.
#[derive(Debug)]
struct Doc {
    owner: Arc<DataRequest>,
    path: Vec<Down>,
}

/// The fields of a Document available to expressions.
pub(super) const FIELDS: [&str; 20] = [
    "id",
    "text",
    "blob",
    "tensor",
    "embedding",
    "content",
    "uri",
    "mime_type",
    "modality",
    "weight",
    "tags",
    "chunks",
    "matches",
    "scores",
    "evaluations",
    "location",
    "offset",
    "parent_id",
    "granularity",
    "adjacency",
];

impl Object for Doc {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let document = find(&self.owner, &self.path)?;
        let children = |down: fn(usize) -> Down, count| {
            let (owner, path) = (self.owner.clone(), self.path.clone());
            Value::from_object(Docs { owner, path, down, count })
        };
        let text = || Value::from(document.text.as_deref().unwrap_or(""));
        let blob = || {
            document.blob.as_ref().map_or(Value::from(()), |blob| Value::from_bytes(blob.to_vec()))
        };
        let name = key.as_str()?;
        if let Some(field) = document.own_field(name) {
            return Some(node(field));
        }
        Some(match name {
            "id" => Value::from(document.id.as_str()),
            "text" => text(),
            "blob" => blob(),
            "tensor" => array(document.tensor.as_ref()),
            "embedding" => array(document.embedding.as_ref()),
            "content" => match document {
                Document { blob: Some(_), .. } => blob(),
                Document { tensor: Some(tensor), .. } => array(Some(tensor)),
                _ => text(),
            },
            "uri" | "url" => Value::from(document.uri.as_str()),
            "mime_type" => Value::from(document.mime_type.as_str()),
            "modality" => Value::from(document.modality.as_str()),
            "weight" => Value::from(document.weight),
            "tags" => Value::from(Serde(&document.tags)),
            "chunks" => children(Down::Chunk, document.chunks.len()),
            "matches" => children(Down::Match, document.matches.len()),
            "scores" => Value::from(document.scores.iter().map(score).collect::<BTreeMap<_, _>>()),
            "evaluations" => {
                Value::from(document.evaluations.iter().map(score).collect::<BTreeMap<_, _>>())
            }
            "location" => Value::from(document.location.clone()),
            "offset" => Value::from(document.offset),
            "parent_id" => Value::from(document.parent_id.as_str()),
            "granularity" => Value::from(document.granularity),
            "adjacency" => Value::from(document.adjacency),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match find(&self.owner, &self.path) {
            Some(document) if document.has_own_schema() => {
                Enumerator::Values(document.set_fields().map(Value::from).collect())
            }
            _ => Enumerator::Str(&FIELDS),
        }
    }
}

/// A field of a custom schema.
fn node(field: &NodeProto) -> Value {
    let entries = |fields: &BTreeMap<String, NodeProto>| {
        let values = fields.iter().map(|(name, field)| (name.clone(), node(field)));
        Value::from(values.collect::<BTreeMap<_, _>>())
    };
    match &field.content {
        None => Value::from(()),
        Some(Content::Text(text)) => Value::from(text.as_str()),
        Some(Content::Integer(value)) => Value::from(*value),
        Some(Content::Float(value)) => Value::from(*value),
        Some(Content::Boolean(value)) => Value::from(*value),
        Some(Content::Blob(blob)) => Value::from_bytes(blob.to_vec()),
        Some(Content::Ndarray(_)) => array(field.array().as_ref()),
        Some(Content::Doc(doc)) => entries(&doc.data),
        Some(Content::Dict(dict)) => entries(&dict.data),
        Some(Content::DocArray(list)) => list.docs.iter().map(|doc| entries(&doc.data)).collect(),
        Some(Content::List(list) | Content::Set(list) | Content::Tuple(list)) => {
            list.data.iter().map(node).collect()
        }
    }
}

fn score((name, score): (&String, &NamedScore)) -> (String, Value) {
    let value = map([
        ("value", Value::from(score.value)),
        ("op_name", Value::from(score.op_name.as_str())),
        ("description", Value::from(score.description.as_str())),
        ("ref_id", Value::from(score.ref_id.as_str())),
    ]);
    (name.clone(), value)
}

fn array(array: Option<&NdArray>) -> Value {
    match array {
        None => Value::from(()),
        Some(NdArray::Dense(tensor)) => {
            let shape = tensor.shape.iter().map(|axis| *axis as usize).collect();
            Value::from_object(Array { tensor: tensor.clone(), shape, offset: 0 })
        }
        Some(NdArray::Sparse(sparse)) => map([("shape", Value::from(sparse.shape.clone()))]),
    }
}

/// An array, or one of the arrays in it: a list of lists of numbers, with `shape` and `dtype`.
#[derive(Debug)]
struct Array {
    tensor: Tensor,
    // The shape of this part.
    shape: Vec<usize>,
    // The position of its first value, counted in values.
    offset: usize,
}

impl Object for Array {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some("shape") => return Some(Value::from(self.shape.clone())),
            Some("dtype") => return Some(Value::from(self.tensor.dtype.to_string())),
            _ => (),
        }
        let (length, inner) = self.shape.split_first()?;
        let at = key.as_usize().filter(|at| at < length)?;
        let stride = inner.iter().try_fold(1usize, |size, axis| size.checked_mul(*axis))?;
        let offset = self.offset.checked_add(at.checked_mul(stride)?)?;
        if inner.is_empty() {
            return number(&self.tensor, offset);
        }
        let (tensor, shape) = (self.tensor.clone(), inner.to_vec());
        Some(Value::from_object(Array { tensor, shape, offset }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.shape.first().copied().unwrap_or(0))
    }
}

/// One value of an array; `None` if the bytes end before it, or their type cannot be read.
fn number(tensor: &Tensor, at: usize) -> Option<Value> {
    let DType::Scalar { kind, order } = &tensor.dtype else { return None };
    let size = kind.size();
    let start = at.checked_mul(size)?;
    let mut bytes = tensor.data.get(start..start.checked_add(size)?)?.to_vec();
    if *order == ByteOrder::Big {
        // Both parts of a complex number are separate numbers, but only the real part is shown.
        let part = if matches!(kind, ScalarKind::C64 | ScalarKind::C128) { size / 2 } else { size };
        bytes[..part].reverse();
    }
    fn take<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.get(..N)?.try_into().ok()
    }
    Some(match kind {
        ScalarKind::Bool => Value::from(bytes[0] != 0),
        ScalarKind::I8 => Value::from(i8::from_le_bytes(take(&bytes)?)),
        ScalarKind::U8 => Value::from(bytes[0]),
        ScalarKind::I16 => Value::from(i16::from_le_bytes(take(&bytes)?)),
        ScalarKind::U16 => Value::from(u16::from_le_bytes(take(&bytes)?)),
        ScalarKind::I32 => Value::from(i32::from_le_bytes(take(&bytes)?)),
        ScalarKind::U32 => Value::from(u32::from_le_bytes(take(&bytes)?)),
        ScalarKind::I64 => Value::from(i64::from_le_bytes(take(&bytes)?)),
        ScalarKind::U64 => Value::from(u64::from_le_bytes(take(&bytes)?)),
        ScalarKind::F16 => Value::from(f16::from_le_bytes(take(&bytes)?).to_f64()),
        ScalarKind::F32 | ScalarKind::C64 => Value::from(f32::from_le_bytes(take(&bytes)?)),
        ScalarKind::F64 | ScalarKind::C128 => Value::from(f64::from_le_bytes(take(&bytes)?)),
    })
}
