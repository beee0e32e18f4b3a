//! Documents as v1 writes them: `DocumentProto`, a message with fixed fields.
//!
//! Fields of a Document that our `.proto` file lacks are skipped and lost: no v1 release has any, and keeping
//! them would cost every Document a list.

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message;

use super::proto::v1::{
    DenseNdArrayProto, DocumentArrayProto, DocumentProto, NamedScoreProto, NdArrayProto,
    SparseNdArrayProto, document_proto::Content, nd_array_proto::Content as Array,
};
use super::value::{read_struct, write_struct};
use super::writer::Writer;
use super::{
    DType, DecodeError, Document, EncodeError, Map, NamedScore, NdArray, SparseTensor, Tensor,
};

/// Writes the fields of a `DocumentArrayProto`.
pub(super) fn write_docs(w: &mut Writer, docs: &[Document]) -> Result<(), EncodeError> {
    for doc in docs.iter().rev() {
        w.message(1, |w| write_doc(w, doc))?;
    }
    Ok(())
}

/// Writes the fields of a `DocumentProto`.
pub(super) fn write_doc(w: &mut Writer, doc: &Document) -> Result<(), EncodeError> {
    check(doc)?;
    if !doc.metadata.is_empty() {
        w.message(20, |w| write_struct(w, &doc.metadata))?;
    }
    write_scores(w, 19, &doc.evaluations)?;
    write_scores(w, 18, &doc.scores)?;
    if !doc.tags.is_empty() {
        w.message(17, |w| write_struct(w, &doc.tags))?;
    }
    if let Some(array) = &doc.embedding {
        w.message(16, |w| write_array(w, array))?;
    }
    for doc in doc.matches.iter().rev() {
        w.message(15, |w| write_doc(w, doc))?;
    }
    for doc in doc.chunks.iter().rev() {
        w.message(14, |w| write_doc(w, doc))?;
    }
    w.packed_floats(13, &doc.location);
    w.set_float(12, doc.offset);
    w.set_string(11, &doc.mime_type);
    w.set_string(10, &doc.modality);
    w.set_string(9, &doc.uri);
    w.set_float(8, doc.weight);
    w.set_string(7, &doc.parent_id);
    w.set_uint(6, doc.adjacency);
    w.set_uint(5, doc.granularity);
    w.set_string(4, doc.text.as_deref().unwrap_or_default());
    if let Some(array) = &doc.tensor {
        w.message(3, |w| write_array(w, array))?;
    }
    if let Some(blob) = doc.blob.as_ref().filter(|blob| !blob.is_empty()) {
        w.bytes(2, blob);
    }
    w.set_string(1, &doc.id);
    Ok(())
}

/// Rejects anything that a v1 Document cannot represent.
///
/// An empty text or blob is not content: Python's client does not send it.
pub(super) fn check(doc: &Document) -> Result<(), EncodeError> {
    if let Some(found) = doc.two_contents() {
        return Err(EncodeError::TwoContents { id: doc.id.clone(), found });
    }
    if let Some(name) = doc.extra.keys().next() {
        return Err(EncodeError::Value {
            id: doc.id.clone(),
            what: format!(
                "Documents of the v1 family have no field `{name}`; a Flow with custom Documents \
                 belongs to v2 (`family: v2`)"
            ),
        });
    }
    Ok(())
}

fn write_scores(
    w: &mut Writer,
    field: u32,
    scores: &IndexMap<String, NamedScore>,
) -> Result<(), EncodeError> {
    for (name, score) in scores.iter().rev() {
        w.entry(field, name, |w| {
            w.set_string(4, &score.ref_id);
            w.set_string(3, &score.description);
            w.set_string(2, &score.op_name);
            w.set_float(1, score.value as f32);
            Ok(())
        })?;
    }
    Ok(())
}

fn write_array(w: &mut Writer, array: &NdArray) -> Result<(), EncodeError> {
    let (class, parameters) = match array {
        NdArray::Dense(tensor) => (&tensor.class, &tensor.parameters),
        NdArray::Sparse(sparse) => (&sparse.class, &sparse.parameters),
    };
    if !parameters.is_empty() {
        w.message(4, |w| write_struct(w, parameters))?;
    }
    w.set_string(3, class);
    match array {
        NdArray::Dense(tensor) => w.message(1, |w| write_dense(w, tensor)),
        NdArray::Sparse(sparse) => w.message(2, |w| {
            w.packed_uints(3, &sparse.shape);
            w.message(2, |w| write_dense(w, &sparse.values))?;
            w.message(1, |w| write_dense(w, &sparse.indices))
        }),
    }
}

/// Writes the fields of a `DenseNdArrayProto`, which is the same in both families.
pub(super) fn write_dense(w: &mut Writer, tensor: &Tensor) -> Result<(), EncodeError> {
    w.set_string(3, tensor.dtype.name());
    w.packed_uints(2, &tensor.shape);
    if !tensor.data.is_empty() {
        w.bytes(1, &tensor.data);
    }
    Ok(())
}

/// Reads a `DocumentArrayProto`.
pub(super) fn read_docs(bytes: Bytes) -> Result<Vec<Document>, DecodeError> {
    let array = DocumentArrayProto::decode(bytes)?;
    Ok(array.docs.into_iter().map(read_doc).collect())
}

/// Reads a `DocumentProto`; every valid one is a Document.
pub(super) fn read_doc(doc: DocumentProto) -> Document {
    let (text, blob, tensor) = match doc.content {
        None => (None, None, None),
        Some(Content::Text(text)) => (Some(text), None, None),
        Some(Content::Blob(blob)) => (None, Some(blob), None),
        Some(Content::Tensor(array)) => (None, None, read_array(array)),
    };
    Document {
        id: doc.id,
        text,
        blob,
        tensor,
        embedding: doc.embedding.and_then(read_array),
        uri: doc.uri,
        mime_type: doc.mime_type,
        modality: doc.modality,
        parent_id: doc.parent_id,
        granularity: doc.granularity,
        adjacency: doc.adjacency,
        weight: doc.weight,
        offset: doc.offset,
        location: doc.location,
        tags: doc.tags.map(read_struct).unwrap_or_default(),
        chunks: doc.chunks.into_iter().map(read_doc).collect(),
        matches: doc.matches.into_iter().map(read_doc).collect(),
        scores: doc.scores.into_iter().map(read_score).collect(),
        evaluations: doc.evaluations.into_iter().map(read_score).collect(),
        metadata: doc.metadata.map(read_struct).unwrap_or_default(),
        extra: IndexMap::new(),
    }
}

fn read_score((name, score): (String, NamedScoreProto)) -> (String, NamedScore) {
    let score = NamedScore {
        value: score.value.into(),
        op_name: score.op_name,
        description: score.description,
        ref_id: score.ref_id,
    };
    (name, score)
}

/// Reads an array. Without content it counts as unset, as in Python.
fn read_array(array: NdArrayProto) -> Option<NdArray> {
    let class = array.cls_name;
    let parameters = array.parameters.map(read_struct).unwrap_or_default();
    Some(match array.content? {
        Array::Dense(dense) => NdArray::Dense(read_dense(dense, class, parameters)),
        Array::Sparse(SparseNdArrayProto { indices, values, shape }) => {
            let part = |dense: Option<DenseNdArrayProto>| {
                read_dense(dense.unwrap_or_default(), Tensor::NUMPY.into(), Map::new())
            };
            let (indices, values) = (part(indices), part(values));
            NdArray::Sparse(Box::new(SparseTensor { indices, values, shape, class, parameters }))
        }
    })
}

fn read_dense(dense: DenseNdArrayProto, class: String, parameters: Map) -> Tensor {
    let DenseNdArrayProto { buffer, shape, dtype } = dense;
    Tensor { dtype: DType::from(dtype), shape, data: buffer, class, parameters }
}
