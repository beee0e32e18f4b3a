//! Documents as v2 writes them: `DocProto`, a map from field names to typed nodes.
//!
//! The Executor's schema determines the fields of a Document. Executors that declare none use a copy of v1's
//! Document with the ten fields of [`LEGACY`]; further fields of [`Document`] are sent under their own names.
//! Any other field, or one whose node has a kind that the Document's field cannot hold without loss, is kept
//! as received in [`Document::extra`] and written back.

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message;
use serde_json::Value;

use super::proto::v2::{
    DenseNdArrayProto, DictOfAnyProto, DocListProto, DocProto, ListOfAnyProto, NdArrayProto,
    NodeProto,
    node_proto::{Content, DocarrayType},
};
use super::v1::write_dense;
use super::value::{read_number, read_struct, write_struct};
use super::writer::Writer;
use super::{
    DType, DecodeError, Document, EncodeError, Map, NamedScore, NdArray, Tensor, TensorError,
};

/// The names of all fields of a [`Document`]: first those of [`LEGACY`], then the others.
pub(super) const NAMES: [&str; 20] = [
    "id",
    "text",
    "url",
    "blob",
    "tensor",
    "embedding",
    "tags",
    "chunks",
    "matches",
    "scores",
    "parent_id",
    "granularity",
    "adjacency",
    "weight",
    "offset",
    "location",
    "mime_type",
    "modality",
    "evaluations",
    "_metadata",
];

/// The fields of the default schema, which an Executor that declares none has. Python's client and gateway
/// write all of them, unset ones as a node without content.
const LEGACY: &[&str] = NAMES.split_at(10).0;

/// Writes the fields of a `DocListProto`.
pub(super) fn write_docs(w: &mut Writer, docs: &[Document]) -> Result<(), EncodeError> {
    for doc in docs.iter().rev() {
        w.message(1, |w| write_doc(w, doc))?;
    }
    Ok(())
}

/// Writes the fields of a `DocProto`.
///
/// All fields of [`LEGACY`] are written, as in Python. A Document with a custom schema has only its set
/// fields: that schema might not allow `None`.
pub(super) fn write_doc(w: &mut Writer, doc: &Document) -> Result<(), EncodeError> {
    let own_schema = has_own_schema(doc);
    write_extra(w, doc)?;
    write_further(w, doc)?;

    let unset = |w: &mut Writer, name: &str| {
        let kept = own_schema || doc.extra.contains_key(name);
        if kept { Ok(()) } else { field(w, name, |_| Ok(())) }
    };
    match doc.scores.is_empty() {
        true => unset(w, "scores")?,
        false => field(w, "scores", |w| write_scores(w, &doc.scores))?,
    }
    for (name, docs) in [("matches", &doc.matches), ("chunks", &doc.chunks)] {
        match docs.is_empty() {
            true => unset(w, name)?,
            false => field(w, name, |w| w.message(8, |w| write_docs(w, docs)))?,
        }
    }
    // Python's default is an empty dict, not `None`.
    if !doc.tags.is_empty() || !(own_schema || doc.extra.contains_key("tags")) {
        field(w, "tags", |w| write_dict(w, &doc.tags, &doc.id))?;
    }
    let arrays =
        [("embedding", &doc.embedding, "ndarray_embedding"), ("tensor", &doc.tensor, "ndarray")];
    for (name, array, kind) in arrays {
        match array {
            None => unset(w, name)?,
            Some(NdArray::Dense(tensor)) => field(w, name, |w| write_array(w, tensor, kind))?,
            Some(NdArray::Sparse(_)) => {
                return Err(EncodeError::Array {
                    id: doc.id.clone(),
                    source: TensorError::Sparse("v2 has no sparse arrays"),
                });
            }
        }
    }
    match &doc.blob {
        None => unset(w, "blob")?,
        Some(blob) => field(w, "blob", |w| {
            w.bytes(5, blob);
            Ok(())
        })?,
    }
    match doc.uri.as_str() {
        "" => unset(w, "url")?,
        uri => text_field(w, "url", uri)?,
    }
    match &doc.text {
        None => unset(w, "text")?,
        Some(text) => text_field(w, "text", text)?,
    }
    // An Executor generates a missing id, but does not replace an empty one.
    if !doc.id.is_empty() {
        field(w, "id", |w| {
            w.string(13, "id");
            w.string(1, &doc.id);
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether any field belongs to a schema other than the default one.
pub(super) fn has_own_schema(doc: &Document) -> bool {
    doc.extra.keys().any(|name| name == "id" || !LEGACY.contains(&name.as_str()))
}

/// Whether a field merely marks a custom schema.
pub(super) fn is_mark(name: &str, field: &NodeProto) -> bool {
    name == "id" && field.content.is_none()
}

/// Writes fields of unknown schemas, unless the Document's own field has been set since.
fn write_extra(w: &mut Writer, doc: &Document) -> Result<(), EncodeError> {
    for (name, node) in doc.extra.iter().rev() {
        if !is_set(doc, name) && !is_mark(name, node) {
            field(w, name, |w| {
                w.raw(&node.encode_to_vec());
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Whether the Document's own field of this name is set; `false` for unknown names.
pub(super) fn is_set(doc: &Document, name: &str) -> bool {
    match name {
        "id" => !doc.id.is_empty(),
        "text" => doc.text.is_some(),
        "url" => !doc.uri.is_empty(),
        "blob" => doc.blob.is_some(),
        "tensor" => doc.tensor.is_some(),
        "embedding" => doc.embedding.is_some(),
        "tags" => !doc.tags.is_empty(),
        "chunks" => !doc.chunks.is_empty(),
        "matches" => !doc.matches.is_empty(),
        "scores" => !doc.scores.is_empty(),
        "parent_id" => !doc.parent_id.is_empty(),
        "granularity" => doc.granularity != 0,
        "adjacency" => doc.adjacency != 0,
        "weight" => doc.weight != 0.0,
        "offset" => doc.offset != 0.0,
        "location" => !doc.location.is_empty(),
        "mime_type" => !doc.mime_type.is_empty(),
        "modality" => !doc.modality.is_empty(),
        "evaluations" => !doc.evaluations.is_empty(),
        "_metadata" => !doc.metadata.is_empty(),
        _ => false,
    }
}

/// Writes the set fields that a Document can have beyond the legacy schema.
fn write_further(w: &mut Writer, doc: &Document) -> Result<(), EncodeError> {
    if !doc.metadata.is_empty() {
        field(w, "_metadata", |w| write_dict(w, &doc.metadata, &doc.id))?;
    }
    if !doc.evaluations.is_empty() {
        field(w, "evaluations", |w| write_scores(w, &doc.evaluations))?;
    }
    let texts =
        [("parent_id", &doc.parent_id), ("modality", &doc.modality), ("mime_type", &doc.mime_type)];
    for (name, text) in texts {
        if !text.is_empty() {
            text_field(w, name, text)?;
        }
    }
    if !doc.location.is_empty() {
        field(w, "location", |w| {
            w.message(9, |w| {
                for value in doc.location.iter().rev() {
                    w.message(1, |w| {
                        w.double(3, f64::from(*value));
                        Ok(())
                    })?;
                }
                Ok(())
            })
        })?;
    }
    for (name, value) in [("offset", doc.offset), ("weight", doc.weight)] {
        if value != 0.0 {
            field(w, name, |w| {
                w.double(3, f64::from(value));
                Ok(())
            })?;
        }
    }
    for (name, value) in [("adjacency", doc.adjacency), ("granularity", doc.granularity)] {
        if value != 0 {
            let value = integer(i64::from(value), name, &doc.id)?;
            field(w, name, |w| {
                w.int32(2, value);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Writes an entry of a `DocProto` or a `DictOfAnyProto`: both are a map in field 1.
fn field(
    w: &mut Writer,
    name: &str,
    node: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    w.entry(1, name, node)
}

fn text_field(w: &mut Writer, name: &str, text: &str) -> Result<(), EncodeError> {
    field(w, name, |w| {
        w.string(1, text);
        Ok(())
    })
}

fn write_array(w: &mut Writer, tensor: &Tensor, kind: &str) -> Result<(), EncodeError> {
    // Executors reject an array without the type.
    w.string(13, kind);
    w.message(6, |w| {
        if !tensor.parameters.is_empty() {
            w.message(2, |w| write_struct(w, &tensor.parameters))?;
        }
        w.message(1, |w| write_dense(w, tensor))
    })
}

fn write_scores(w: &mut Writer, scores: &IndexMap<String, NamedScore>) -> Result<(), EncodeError> {
    w.message(12, |w| {
        for (name, score) in scores.iter().rev() {
            field(w, name, |w| {
                w.message(12, |w| {
                    let texts = [
                        ("ref_id", &score.ref_id),
                        ("description", &score.description),
                        ("op_name", &score.op_name),
                    ];
                    for (name, text) in texts {
                        if !text.is_empty() {
                            text_field(w, name, text)?;
                        }
                    }
                    field(w, "value", |w| {
                        w.double(3, score.value);
                        Ok(())
                    })
                })
            })?;
        }
        Ok(())
    })
}

fn write_dict(w: &mut Writer, map: &Map, id: &str) -> Result<(), EncodeError> {
    w.message(12, |w| {
        for (key, value) in map.iter().rev() {
            field(w, key, |w| write_value(w, key, value, id))?;
        }
        Ok(())
    })
}

/// Writes the fields of the node of a JSON value.
fn write_value(w: &mut Writer, key: &str, value: &Value, id: &str) -> Result<(), EncodeError> {
    match value {
        Value::Null => {}
        Value::String(text) => w.string(1, text),
        Value::Bool(value) => w.bool(4, *value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => w.int32(2, integer(value, key, id)?),
            (None, Some(value)) => return Err(beyond_int32(value, key, id)),
            (None, None) => w.double(3, number.as_f64().unwrap_or_default()),
        },
        Value::Array(values) => w.message(9, |w| {
            for value in values.iter().rev() {
                w.message(1, |w| write_value(w, key, value, id))?;
            }
            Ok(())
        })?,
        Value::Object(map) => write_dict(w, map, id)?,
    }
    Ok(())
}

fn integer(value: i64, key: &str, id: &str) -> Result<i32, EncodeError> {
    i32::try_from(value).map_err(|_| beyond_int32(value, key, id))
}

fn beyond_int32(value: impl std::fmt::Display, key: &str, id: &str) -> EncodeError {
    EncodeError::Value {
        id: id.to_owned(),
        what: format!(
            "`{key}` is {value}, but integers of v2 are limited to {}; use a float such as {value}.0",
            i32::MAX
        ),
    }
}

/// Takes all set fields except the id out of a Document, each with its name and node on the wire.
pub(super) fn take_fields(
    doc: &mut Document,
) -> Result<impl Iterator<Item = (String, NodeProto)> + use<>, EncodeError> {
    fn own_schemas(docs: &mut [Document]) {
        for doc in docs {
            doc.set_own_schema();
            own_schemas(&mut doc.chunks);
            own_schemas(&mut doc.matches);
        }
    }
    let set = NAMES[1..].iter().any(|name| is_set(doc, name));
    let mut given = Vec::new();
    if set {
        let id = std::mem::take(&mut doc.id);
        let mut whole = std::mem::take(doc);
        *doc = Document { id, extra: std::mem::take(&mut whole.extra), ..Document::default() };
        own_schemas(std::slice::from_mut(&mut whole));
        let mut w = Writer::with_capacity(0);
        write_doc(&mut w, &whole)?;
        // Bytes that were just written can be read.
        given.extend(DocProto::decode(w.finish()).unwrap_or_default().data);
    }
    given.extend(
        std::mem::take(&mut doc.extra).into_iter().filter(|(name, node)| !is_mark(name, node)),
    );
    Ok(given.into_iter())
}

/// Reads a `DocListProto`.
pub(super) fn read_docs(bytes: Bytes) -> Result<Vec<Document>, DecodeError> {
    let list = DocListProto::decode(bytes)?;
    Ok(list.docs.into_iter().map(read_doc).collect())
}

/// Reads a `DocProto`; every valid one is a Document.
pub(super) fn read_doc(proto: DocProto) -> Document {
    let mut doc = Document::default();
    let own_schema = proto.data.keys().any(|name| !is_known(name));
    for (name, node) in proto.data {
        // In a custom schema, an empty node and an empty list are values like any other.
        if own_schema && name != "id" && is_empty(&node) {
            doc.extra.insert(name, node);
            continue;
        }
        if let Some(node) = read_field(&mut doc, &name, node) {
            doc.extra.insert(name, node);
        }
    }
    doc
}

/// Whether this is the name of a field of the default schema, or of one that a Document can have beyond it.
fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether a node is empty: no content, an empty list or an empty dict.
pub(super) fn is_empty(node: &NodeProto) -> bool {
    match &node.content {
        None => true,
        Some(Content::DocArray(list)) => list.docs.is_empty(),
        Some(Content::List(list) | Content::Set(list) | Content::Tuple(list)) => {
            list.data.is_empty()
        }
        Some(Content::Dict(dict)) => dict.data.is_empty(),
        Some(_) => false,
    }
}

/// Adds the fields that came empty to a Document with a custom schema.
pub(super) fn keep_empty(doc: &mut Document, empty: Vec<(&'static str, Option<Content>)>) {
    if doc.extra.keys().any(|name| !is_known(name)) {
        let nodes = empty
            .into_iter()
            .map(|(name, content)| (name.to_owned(), NodeProto { content, docarray_type: None }));
        doc.extra.extend(nodes);
    }
}

/// Puts a node into the Document's field of its name, or returns it if it does not fit.
///
/// It fits if writing the field gives the same node again. The exceptions are harmless: an untyped `id` or
/// array gets its type, `tensor` may be typed as an embedding and vice versa, and chunks in a plain list
/// become a `doc_array`.
pub(super) fn read_field(doc: &mut Document, name: &str, node: NodeProto) -> Option<NodeProto> {
    let NodeProto { content, docarray_type } = node;
    let kind = docarray_type.as_ref().map(|DocarrayType::Type(kind)| kind.as_str());
    let content = match content {
        None if kind.is_none() && LEGACY.contains(&name) => return None,
        None => return Some(NodeProto { content: None, docarray_type }),
        Some(content) => content,
    };
    let rest = match (name, kind, content) {
        ("id", None | Some("id"), Content::Text(id)) => {
            doc.id = id;
            return None;
        }
        ("text", None, Content::Text(text)) => {
            doc.text = Some(text);
            return None;
        }
        ("blob", None, Content::Blob(blob)) => {
            doc.blob = Some(blob);
            return None;
        }
        (
            "tensor" | "embedding",
            None | Some("ndarray" | "ndarray_embedding"),
            Content::Ndarray(array),
        ) => match read_array(array) {
            Ok(tensor) => {
                let field = if name == "tensor" { &mut doc.tensor } else { &mut doc.embedding };
                *field = Some(NdArray::Dense(tensor));
                return None;
            }
            Err(array) => Content::Ndarray(array),
        },
        ("chunks" | "matches", None, content) => match read_doc_array(content) {
            Ok(docs) => {
                let field = if name == "chunks" { &mut doc.chunks } else { &mut doc.matches };
                *field = docs;
                return None;
            }
            Err(content) => content,
        },
        ("tags" | "_metadata", None, Content::Dict(dict)) if is_json(&dict, name == "tags") => {
            let field = if name == "tags" { &mut doc.tags } else { &mut doc.metadata };
            *field = read_dict(dict);
            return None;
        }
        ("scores" | "evaluations", None, Content::Dict(dict)) => match read_scores(&dict) {
            Some(scores) => {
                let field = if name == "scores" { &mut doc.scores } else { &mut doc.evaluations };
                *field = scores;
                return None;
            }
            None => Content::Dict(dict),
        },
        ("url" | "parent_id" | "mime_type" | "modality", None, Content::Text(text))
            if !text.is_empty() =>
        {
            let field = match name {
                "url" => &mut doc.uri,
                "parent_id" => &mut doc.parent_id,
                "mime_type" => &mut doc.mime_type,
                _ => &mut doc.modality,
            };
            *field = text;
            return None;
        }
        ("granularity" | "adjacency", None, Content::Integer(value @ 1..)) => {
            let field =
                if name == "granularity" { &mut doc.granularity } else { &mut doc.adjacency };
            *field = value.unsigned_abs();
            return None;
        }
        ("weight" | "offset", None, Content::Float(value))
            if value != 0.0 && f64::from(value as f32) == value =>
        {
            let field = if name == "weight" { &mut doc.weight } else { &mut doc.offset };
            *field = value as f32;
            return None;
        }
        ("location", None, Content::List(list)) => match read_floats(&list) {
            Some(values) => {
                doc.location = values;
                return None;
            }
            None => Content::List(list),
        },
        (_, _, content) => content,
    };
    Some(NodeProto { content: Some(rest), docarray_type })
}

pub(super) fn read_array(array: NdArrayProto) -> Result<Tensor, NdArrayProto> {
    let NdArrayProto { dense: Some(dense), parameters } = array else { return Err(array) };
    let DenseNdArrayProto { buffer, shape, dtype } = dense;
    Ok(Tensor {
        dtype: DType::from(dtype),
        shape,
        data: buffer,
        class: Tensor::NUMPY.into(),
        parameters: parameters.map(read_struct).unwrap_or_default(),
    })
}

fn read_doc_array(content: Content) -> Result<Vec<Document>, Content> {
    let is_doc = |node: &NodeProto| matches!(node.content, Some(Content::Doc(_)));
    match content {
        Content::DocArray(list) => Ok(list.docs.into_iter().map(read_doc).collect()),
        Content::List(list) if list.data.iter().all(is_doc) => {
            let docs = list.data.into_iter().filter_map(|node| match node.content {
                Some(Content::Doc(doc)) => Some(read_doc(doc)),
                _ => None,
            });
            Ok(docs.collect())
        }
        content => Err(content),
    }
}

/// Whether JSON can represent all of a dict. `or_empty` tells whether an empty one counts as unset.
fn is_json(dict: &DictOfAnyProto, or_empty: bool) -> bool {
    (or_empty || !dict.data.is_empty()) && dict.data.values().all(is_json_node)
}

fn is_json_node(node: &NodeProto) -> bool {
    let content = match &node.content {
        Some(Content::List(list)) => list.data.iter().all(is_json_node),
        Some(Content::Dict(dict)) => dict.data.values().all(is_json_node),
        Some(Content::Text(_) | Content::Integer(_) | Content::Float(_) | Content::Boolean(_))
        | None => true,
        Some(_) => false,
    };
    content && node.docarray_type.is_none()
}

fn read_dict(dict: DictOfAnyProto) -> Map {
    dict.data.into_iter().map(|(key, node)| (key, read_value(node))).collect()
}

/// The JSON value of a node that passes `is_json`.
fn read_value(node: NodeProto) -> Value {
    match node.content {
        Some(Content::Text(text)) => Value::String(text),
        Some(Content::Integer(value)) => Value::from(value),
        Some(Content::Float(value)) => read_number(value),
        Some(Content::Boolean(value)) => Value::Bool(value),
        Some(Content::List(ListOfAnyProto { data })) => {
            Value::Array(data.into_iter().map(read_value).collect())
        }
        Some(Content::Dict(dict)) => Value::Object(read_dict(dict)),
        _ => Value::Null,
    }
}

/// The node of a JSON value. Integers beyond 32 bits are floats, lists are lists.
pub(super) fn node_of(value: Value) -> NodeProto {
    let content = match value {
        Value::Null => None,
        Value::String(text) => Some(Content::Text(text)),
        Value::Bool(value) => Some(Content::Boolean(value)),
        Value::Number(number) => {
            let integer = number.as_i64().and_then(|value| i32::try_from(value).ok());
            Some(match integer {
                Some(value) => Content::Integer(value),
                None => Content::Float(number.as_f64().unwrap_or_default()),
            })
        }
        Value::Array(values) => {
            let data = values.into_iter().map(node_of).collect();
            Some(Content::List(ListOfAnyProto { data }))
        }
        Value::Object(map) => {
            let data = map.into_iter().map(|(key, value)| (key, node_of(value))).collect();
            Some(Content::Dict(DictOfAnyProto { data }))
        }
    };
    NodeProto { content, docarray_type: None }
}

impl NodeProto {
    /// The node of a JSON value: lists and dicts of nodes, integers beyond 32 bits as floats.
    pub fn of_json(value: Value) -> NodeProto {
        node_of(value)
    }

    /// A node of bytes.
    pub fn of_bytes(bytes: Bytes) -> NodeProto {
        Content::Blob(bytes).into()
    }

    /// A node of an array. v2 has no sparse arrays: they are written in full, or as an empty node if they are
    /// too large for that.
    pub fn of_array(array: NdArray) -> NodeProto {
        let tensor = match array {
            NdArray::Dense(tensor) => tensor,
            NdArray::Sparse(sparse) => match sparse.to_dense() {
                Ok(tensor) => tensor,
                Err(_) => return NodeProto::default(),
            },
        };
        let Tensor { dtype, shape, data, .. } = tensor;
        let dense = DenseNdArrayProto { buffer: data, shape, dtype: dtype.to_string() };
        let array = NdArrayProto { dense: Some(dense), parameters: None };
        NodeProto {
            content: Some(Content::Ndarray(array)),
            docarray_type: Some(DocarrayType::Type("ndarray".into())),
        }
    }

    /// A node of a list. Python accepts a list of Documents both for lists and for `DocList`s.
    pub fn of_list(data: Vec<NodeProto>) -> NodeProto {
        Content::List(ListOfAnyProto { data }).into()
    }

    /// A node of a dict.
    pub fn of_dict(entries: impl IntoIterator<Item = (String, NodeProto)>) -> NodeProto {
        Content::Dict(DictOfAnyProto { data: entries.into_iter().collect() }).into()
    }

    /// A node of a Document with these fields.
    pub fn of_doc(fields: impl IntoIterator<Item = (String, NodeProto)>) -> NodeProto {
        Content::Doc(DocProto { data: fields.into_iter().collect() }).into()
    }

    /// The array in it, if it is one.
    pub fn array(&self) -> Option<NdArray> {
        match &self.content {
            // Buffers are shared, so a copy is cheap.
            Some(Content::Ndarray(array)) => read_array(array.clone()).ok().map(NdArray::Dense),
            _ => None,
        }
    }

    /// Sets an id on the Documents in it that have none.
    pub fn give_ids(&mut self, random: &mut impl FnMut() -> u128) {
        match &mut self.content {
            Some(Content::Doc(doc)) => doc.give_ids(random),
            Some(Content::DocArray(list)) => {
                list.docs.iter_mut().for_each(|doc| doc.give_ids(random))
            }
            Some(Content::List(list) | Content::Set(list) | Content::Tuple(list)) => {
                list.data.iter_mut().for_each(|node| node.give_ids(random));
            }
            Some(Content::Dict(dict)) => {
                dict.data.values_mut().for_each(|node| node.give_ids(random));
            }
            _ => (),
        }
    }

    /// The size of the node on the wire, in bytes.
    pub fn bytes(&self) -> usize {
        self.encoded_len()
    }
}

impl DocProto {
    fn give_ids(&mut self, random: &mut impl FnMut() -> u128) {
        self.data.values_mut().for_each(|node| node.give_ids(random));
        self.data.entry("id".into()).or_insert_with(|| NodeProto {
            content: Some(Content::Text(format!("{:032x}", random()))),
            docarray_type: Some(DocarrayType::Type("id".into())),
        });
    }
}

impl From<Content> for NodeProto {
    fn from(content: Content) -> NodeProto {
        NodeProto { content: Some(content), docarray_type: None }
    }
}

/// Scores in the form of `write_scores`; `None` for anything else.
fn read_scores(dict: &DictOfAnyProto) -> Option<IndexMap<String, NamedScore>> {
    if dict.data.is_empty() {
        return None;
    }
    let read = |(name, node): (&String, &NodeProto)| {
        let (None, Some(Content::Dict(dict))) = (&node.docarray_type, &node.content) else {
            return None;
        };
        let mut score = NamedScore::default();
        dict.data.get("value")?;
        for (key, node) in &dict.data {
            match (key.as_str(), &node.docarray_type, &node.content) {
                ("value", None, Some(Content::Float(value))) => score.value = *value,
                (key, None, Some(Content::Text(text))) if !text.is_empty() => {
                    let field = match key {
                        "op_name" => &mut score.op_name,
                        "description" => &mut score.description,
                        "ref_id" => &mut score.ref_id,
                        _ => return None,
                    };
                    *field = text.clone();
                }
                _ => return None,
            }
        }
        Some((name.clone(), score))
    };
    dict.data.iter().map(read).collect()
}

/// Numbers that fit into 32 bits; `None` for anything else.
fn read_floats(list: &ListOfAnyProto) -> Option<Vec<f32>> {
    if list.data.is_empty() {
        return None;
    }
    let read = |node: &NodeProto| match (&node.docarray_type, &node.content) {
        (None, Some(Content::Float(value))) if f64::from(*value as f32) == *value => {
            Some(*value as f32)
        }
        _ => None,
    };
    list.data.iter().map(read).collect()
}
