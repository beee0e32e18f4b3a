//! What reading does to Documents, as docarray of either family does it.

use bytes::Bytes;
use prost::Message as _;

use super::exception::{Exception, repr};
use crate::flow::message::Docs;
use crate::flow::plain::{self, Look};
use crate::wire::proto::v2::{
    DictOfAnyProto, DocListProto, DocProto, NodeProto,
    node_proto::{Content, DocarrayType},
};
use crate::wire::{
    ByteOrder, DType, DecodeError, Document, Family, NdArray, Number, ScalarKind, Tensor,
};

/// Why Documents are not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// They are no messages of this family: the whole call fails.
    Decode(DecodeError),
    /// The Executor raises an exception.
    Exception(Exception),
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> ReadError {
        ReadError::Decode(error)
    }
}

impl From<Exception> for ReadError {
    fn from(exception: Exception) -> ReadError {
        ReadError::Exception(exception)
    }
}

/// Reads Documents as an Executor does that does not look at them: when they come out as they
/// came, they stay encoded.
pub(super) fn pass(docs: &mut Docs, family: Family, any_field: bool) -> Result<(), ReadError> {
    match docs {
        Docs::Encoded(bytes) if plain::look(bytes, family) == Look::Plain => Ok(()),
        // Fields of a schema of its own are not looked at, but Documents they have to be.
        Docs::Encoded(bytes) if any_field => {
            family.decode_docs(bytes.clone())?;
            Ok(())
        }
        _ => read(docs, family, any_field).map(|_| ()),
    }
}

/// Reads Documents as an Executor does.
pub(super) fn read(
    docs: &mut Docs,
    family: Family,
    any_field: bool,
) -> Result<&mut Vec<Document>, ReadError> {
    let mut read = match std::mem::take(docs) {
        Docs::Read(docs) => docs,
        Docs::Encoded(bytes) => match decode(&bytes, family, any_field) {
            Ok(read) => read,
            Err(error) => {
                // The answer carries them as the Executor got them.
                *docs = Docs::Encoded(bytes);
                return Err(error);
            }
        },
        Docs::Packed(bytes) => match unpack(&bytes, family, any_field) {
            Ok(read) => read,
            Err(error) => {
                *docs = Docs::Packed(bytes);
                return Err(error);
            }
        },
    };
    for doc in &mut read {
        doc.settle(family, &mut || crate::flow::message::new_uuid().as_u128());
    }
    *docs = Docs::Read(read);
    match docs {
        Docs::Read(docs) => Ok(docs),
        Docs::Encoded(_) | Docs::Packed(_) => unreachable!("it was set just above"),
    }
}

fn unpack(bytes: &Bytes, family: Family, any_field: bool) -> Result<Vec<Document>, ReadError> {
    match family {
        Family::V1 => Err(Exception::new("UnpicklingError")
            .text("docs_bytes holds a Python pickle, which is not read")
            .into()),
        Family::V2 => decode(bytes, family, any_field).map_err(|error| match error {
            ReadError::Decode(_) => {
                Exception::new("DecodeError").text("Error parsing message").into()
            }
            error => error,
        }),
    }
}

fn decode(bytes: &Bytes, family: Family, any_field: bool) -> Result<Vec<Document>, ReadError> {
    match family {
        Family::V1 => {
            let mut docs = family.decode_docs(bytes.clone())?;
            docs.iter_mut().try_for_each(read_v1)?;
            docs.iter_mut().for_each(complete_v1);
            Ok(docs)
        }
        Family::V2 if any_field => Ok(family.decode_docs(bytes.clone())?),
        Family::V2 => {
            let mut list = DocListProto::decode(bytes.clone()).map_err(DecodeError::from)?;
            list.docs.iter_mut().try_for_each(read_v2)?;
            Ok(family.decode_docs(list.encode_to_vec().into())?)
        }
    }
}

/// What docarray of v1 does to a Document when it makes one, however it came: empty content is none,
/// and a uri alone makes a mime type.
pub(in crate::flow) fn complete_v1(doc: &mut Document) {
    if doc.text.as_deref() == Some("") {
        doc.text = None;
    }
    if doc.blob.as_deref() == Some(b"") {
        doc.blob = None;
    }
    if doc.mime_type.is_empty() && !doc.uri.is_empty() {
        doc.mime_type = mime_type_of(&doc.uri).unwrap_or_default().to_owned();
    }
    doc.chunks.iter_mut().chain(&mut doc.matches).for_each(complete_v1);
}

fn read_v1(doc: &mut Document) -> Result<(), Exception> {
    for array in [&mut doc.tensor, &mut doc.embedding] {
        *array = array.take().map(read_array_v1).transpose()?.flatten();
    }
    let said = |score: &crate::wire::NamedScore| *score != crate::wire::NamedScore::default();
    doc.scores.retain(|_, score| said(score));
    doc.evaluations.retain(|_, score| said(score));
    doc.chunks.iter_mut().chain(&mut doc.matches).try_for_each(read_v1)
}

/// An array of v1; its class says what Python makes of it.
fn read_array_v1(array: NdArray) -> Result<Option<NdArray>, Exception> {
    let missing = |module: &str| {
        Exception::new("ModuleNotFoundError").text(format!("No module named '{module}'"))
    };
    let tensor = match array {
        NdArray::Dense(tensor) => tensor,
        NdArray::Sparse(sparse) => {
            return match sparse.class.as_str() {
                class @ ("scipy" | "tensorflow" | "torch") => Err(missing(class)),
                _ => Ok(None),
            };
        }
    };
    match tensor.class.as_str() {
        "numpy" => Ok(read_tensor(tensor)?.map(NdArray::Dense)),
        "list" => Ok(read_tensor(tensor)?.map(as_list).map(NdArray::Dense)),
        class @ ("torch" | "paddle" | "tensorflow") => Err(missing(class)),
        _ => Ok(None),
    }
}

/// What numpy makes of an array. Without values and axes there is none.
fn read_tensor(tensor: Tensor) -> Result<Option<Tensor>, Exception> {
    let class = tensor.class.clone();
    if tensor.data.is_empty() {
        if tensor.shape.is_empty() {
            return Ok(None);
        }
        // Zeros, as many as the shape asks for; a shape beyond reason is what Python refuses too.
        let values = tensor.shape.iter().try_fold(1_u64, |n, axis| n.checked_mul((*axis).into()));
        const ZEROS_MAX: u64 = 1 << 27;
        let Some(values) = values.filter(|values| *values <= ZEROS_MAX) else {
            return Err(Exception::new("MemoryError").text("Unable to allocate the array"));
        };
        let zeros = vec![0; values as usize * 8];
        return Ok(Some(Tensor { class, ..Tensor::new(ScalarKind::F64, tensor.shape, zeros) }));
    }
    let size = match &tensor.dtype {
        DType::Scalar { kind, .. } => kind.size(),
        DType::Other(name) => size_of_other(name)?,
    };
    if size == 0 || !tensor.data.len().is_multiple_of(size) {
        let message = "buffer size must be a multiple of element size";
        return Err(Exception::new("ValueError").text(message));
    }
    let found = (tensor.data.len() / size) as u64;
    let asked = tensor.shape.iter().try_fold(1_u64, |n, axis| n.checked_mul((*axis).into()));
    if asked != Some(found) {
        let axes: Vec<_> = tensor.shape.iter().map(u32::to_string).collect();
        let shape = match axes.as_slice() {
            [one] => format!("({one},)"),
            _ => format!("({})", axes.join(",")),
        };
        let message = format!("cannot reshape array of size {found} into shape {shape}");
        return Err(Exception::new("ValueError").text(message));
    }
    // What it was called matters no more: numpy writes its own name, and no parameters.
    Ok(Some(Tensor { class, ..Tensor::new(tensor.dtype, tensor.shape, tensor.data) }))
}

/// The size of a type that is none of numbers: texts and bytes of fixed length, dates.
fn size_of_other(name: &str) -> Result<usize, Exception> {
    let letters = name.trim_start_matches(['<', '>', '|', '=']);
    let (kind, count) = letters.split_at_checked(1).unwrap_or_default();
    match (kind, count.parse::<usize>()) {
        ("U", Ok(count)) => Ok(count.saturating_mul(4)),
        ("S" | "V", Ok(count)) => Ok(count),
        ("M" | "m", Ok(8)) => Ok(8),
        ("O", _) => {
            Err(Exception::new("ValueError")
                .text("cannot create an OBJECT array from memory buffer"))
        }
        _ => {
            let message = format!("data type {} not understood", repr(name));
            Err(Exception::new("TypeError").text(message))
        }
    }
}

/// What is left of an array that Python made a list of and then an array again.
fn as_list(tensor: Tensor) -> Tensor {
    let wide = match &tensor.dtype {
        DType::Scalar { kind, .. } => match kind {
            ScalarKind::Bool => ScalarKind::Bool,
            ScalarKind::F16 | ScalarKind::F32 | ScalarKind::F64 => ScalarKind::F64,
            ScalarKind::C64 | ScalarKind::C128 => return complex_list(tensor),
            _ => ScalarKind::I64,
        },
        DType::Other(_) => return tensor,
    };
    // Integers that no signed one can hold stay unsigned.
    let large = |n| matches!(n, Number::Uint(n) if i64::try_from(n).is_err());
    let unsigned = tensor.values().is_ok_and(|mut values| values.any(large));
    let wide = if unsigned { ScalarKind::U64 } else { wide };
    let mut list = tensor.cast(&DType::from(wide)).unwrap_or(tensor);
    if let Some(at) = list.shape.iter().position(|axis| *axis == 0) {
        list.shape.truncate(at + 1); // nested lists do not tell what is behind an empty axis
    }
    list
}

fn complex_list(tensor: Tensor) -> Tensor {
    let DType::Scalar { kind: ScalarKind::C64, order } = tensor.dtype else { return tensor };
    let (parts, _) = tensor.data.as_chunks::<4>();
    let wide = parts.iter().flat_map(|part| {
        let value = match order {
            ByteOrder::Little => f32::from_le_bytes(*part),
            ByteOrder::Big => f32::from_be_bytes(*part),
        };
        f64::from(value).to_le_bytes()
    });
    let data: Vec<u8> = wide.collect();
    Tensor { dtype: ScalarKind::C128.into(), data: data.into(), ..tensor }
}

/// What Python's `mimetypes` makes of the end of a name, for media that Documents are made of.
fn mime_type_of(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" | "jpe" => "image/jpeg",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "ico" => "image/vnd.microsoft.icon",
        "mp3" | "mp2" => "audio/mpeg",
        "wav" => "audio/x-wav",
        "aif" | "aiff" => "audio/x-aiff",
        "mp4" => "video/mp4",
        "mpg" | "mpeg" => "video/mpeg",
        "webm" => "video/webm",
        "mov" | "qt" => "video/quicktime",
        "avi" => "video/x-msvideo",
        "txt" | "c" | "h" | "bat" | "ksh" | "pl" => "text/plain",
        "htm" | "html" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "xml" => "text/xml",
        "py" => "text/x-python",
        "md" => "text/markdown",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "tar" => "application/x-tar",
        "js" => "text/javascript",
        "bin" | "exe" | "so" | "dll" | "obj" => "application/octet-stream",
        _ => return None,
    })
}

/// A Document of v2 as the default schema reads it: unknown fields are dropped, and a node has to
/// be of a kind that suits its field.
fn read_v2(doc: &mut DocProto) -> Result<(), Exception> {
    // What is wrong with a node itself comes first, whatever its field.
    doc.data.iter_mut().try_for_each(|(_, node)| read_node(node))?;
    doc.data.retain(|key, _| {
        matches!(
            key.as_str(),
            "id" | "text"
                | "url"
                | "blob"
                | "tensor"
                | "embedding"
                | "tags"
                | "chunks"
                | "matches"
                | "scores"
        )
    });
    let mut problems = Vec::new();
    for (key, node) in &mut doc.data {
        if let Some(content) = node.content.take() {
            let (content, problem) = fit(key, content)?;
            problems.extend(problem);
            node.content = Some(content);
            node.docarray_type = match (key.as_str(), &node.content) {
                ("id", _) => Some(DocarrayType::Type("id".into())),
                ("tensor", Some(Content::Ndarray(_))) => Some(DocarrayType::Type("ndarray".into())),
                ("embedding", Some(Content::Ndarray(_))) => {
                    Some(DocarrayType::Type("ndarray_embedding".into()))
                }
                _ => None,
            };
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let errors = if problems.len() == 1 { "error" } else { "errors" };
    let mut message = format!("{} validation {errors} for LegacyDocumentJina", problems.len());
    for Misfit { key, expected, kind, shown } in problems {
        message.push_str(&format!(
            "\n{key}\n  Input should be {expected} [type={kind}, {shown}]\n    For further \
             information visit https://errors.pydantic.dev/2.10/v/{kind}"
        ));
    }
    Err(Exception::validation(message))
}

/// A value that does not suit its field, in pydantic's words.
struct Misfit {
    key: String,
    expected: &'static str,
    kind: &'static str,
    shown: String,
}

/// Checks type and content of a node against one another, within it too.
fn read_node(node: &mut NodeProto) -> Result<(), Exception> {
    let NodeProto { content, docarray_type } = node;
    let kind = docarray_type.as_ref().map(|DocarrayType::Type(kind)| kind.as_str());
    let unsupported = |content: &str| {
        let message = match kind {
            None => format!("key {content} is not supported for deserialization"),
            Some(kind) => {
                format!("type {kind}, with key {content} is not supported for deserialization")
            }
        };
        Exception::new("ValueError").text(message)
    };
    match content {
        None => Ok(()),
        Some(Content::Text(_)) => match kind {
            None
            | Some(
                "id" | "text" | "any_url" | "image_url" | "audio_url" | "text_url" | "mesh_url"
                | "point_cloud_url" | "video_url" | "url3d",
            ) => Ok(()),
            Some(_) => Err(unsupported("text")),
        },
        Some(Content::Ndarray(array)) => match kind {
            Some(
                "ndarray" | "ndarray_embedding" | "image_ndarray" | "audio_ndarray"
                | "video_ndarray",
            ) => {
                let dense = array.dense.clone().unwrap_or_default();
                let dtype = dense.dtype.clone();
                let tensor = Tensor::new(DType::from(dense.dtype), dense.shape, dense.buffer);
                let Some(read) = read_tensor(tensor)? else {
                    let message = format!(
                        "proto message dense {{\n  dtype: \"{dtype}\"\n}}\n cannot be cast to a NdArray"
                    );
                    return Err(Exception::new("ValueError").text(message));
                };
                let dense = array.dense.get_or_insert_default();
                dense.dtype = read.dtype.name().to_owned();
                dense.buffer = read.data;
                Ok(())
            }
            _ => Err(unsupported("ndarray")),
        },
        Some(Content::List(list) | Content::Set(list) | Content::Tuple(list)) => {
            list.data.iter_mut().try_for_each(read_node)
        }
        Some(Content::Dict(dict)) => dict.data.iter_mut().try_for_each(|(_, node)| read_node(node)),
        Some(_) => Ok(()),
    }
}

/// A content that suits the field, made from one that can be made to.
fn fit(key: &str, content: Content) -> Result<(Content, Option<Misfit>), Exception> {
    let misfit = |content: Content, expected, kind| {
        let shown = shown(&content);
        Ok((content, Some(Misfit { key: key.to_owned(), expected, kind, shown })))
    };
    let fitting = |content| Ok((content, None));
    match (key, content) {
        ("id", Content::Integer(n)) => fitting(Content::Text(n.to_string())),
        ("id", Content::Float(n)) => fitting(Content::Text(n.to_string())),
        ("id" | "text" | "url", Content::Text(text)) => fitting(Content::Text(text)),
        ("id" | "text" | "url", Content::Blob(blob)) => match String::from_utf8(blob.into()) {
            Ok(text) => fitting(Content::Text(text)),
            Err(error) => misfit(
                Content::Blob(error.into_bytes().into()),
                "a valid string, unable to parse raw data as a unicode string",
                "string_unicode",
            ),
        },
        ("id" | "text" | "url", content) => misfit(content, "a valid string", "string_type"),
        ("blob", Content::Text(text)) => fitting(Content::Blob(text.into())),
        ("blob", Content::Blob(blob)) => fitting(Content::Blob(blob)),
        ("blob", content) => misfit(content, "a valid bytes", "bytes_type"),
        ("tags" | "scores", content @ Content::Dict(_)) => fitting(content),
        ("tags" | "scores", content) => misfit(content, "a valid dictionary", "dict_type"),
        ("chunks" | "matches", Content::DocArray(mut list)) => {
            list.docs.iter_mut().try_for_each(read_v2)?;
            fitting(Content::DocArray(list))
        }
        ("chunks" | "matches", Content::List(list))
            if list.data.iter().all(|node| matches!(node.content, Some(Content::Doc(_)))) =>
        {
            let docs = list.data.into_iter().filter_map(|node| match node.content {
                Some(Content::Doc(mut doc)) => Some(read_v2(&mut doc).map(|()| doc)),
                _ => None,
            });
            let docs = docs.collect::<Result<_, _>>()?;
            fitting(Content::DocArray(DocListProto { docs }))
        }
        ("chunks" | "matches", content) => misfit(content, "a valid list", "list_type"),
        ("tensor" | "embedding", content @ Content::Ndarray(_)) => fitting(content),
        ("tensor" | "embedding", Content::List(list)) => {
            let values: Option<Vec<f64>> = list
                .data
                .iter()
                .map(|node| match node.content {
                    Some(Content::Float(value)) => Some(value),
                    Some(Content::Integer(value)) => Some(value.into()),
                    _ => None,
                })
                .collect();
            match values {
                Some(values) => {
                    let shape = vec![u32::try_from(values.len()).unwrap_or(u32::MAX)];
                    let buffer: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                    let dense = crate::wire::proto::v2::DenseNdArrayProto {
                        buffer: buffer.into(),
                        shape,
                        dtype: "<f8".into(),
                    };
                    fitting(Content::Ndarray(crate::wire::proto::v2::NdArrayProto {
                        dense: Some(dense),
                        parameters: None,
                    }))
                }
                None => Err(no_tensor("list")),
            }
        }
        ("tensor" | "embedding", content) => Err(no_tensor(type_of(&content))),
        (_, content) => fitting(content),
    }
}

fn no_tensor(class: &str) -> Exception {
    Exception::new("TypeError").text(format!(
        "Expected one of [torch.Tensor, tensorflow.Tensor, numpy.ndarray] compatible type, got \
         <class '{class}'>"
    ))
}

/// What pydantic says of a value it does not like.
fn shown(content: &Content) -> String {
    let value = match content {
        Content::Integer(n) => n.to_string(),
        Content::Float(n) => format!("{n:?}"),
        Content::Boolean(true) => "True".into(),
        Content::Boolean(false) => "False".into(),
        Content::Text(text) => repr(text),
        Content::Dict(DictOfAnyProto { data }) if data.is_empty() => "{}".into(),
        _ => "...".into(),
    };
    format!("input_value={value}, input_type={}", type_of(content))
}

fn type_of(content: &Content) -> &'static str {
    match content {
        Content::Text(_) => "str",
        Content::Integer(_) => "int",
        Content::Float(_) => "float",
        Content::Boolean(_) => "bool",
        Content::Blob(_) => "bytes",
        Content::Ndarray(_) => "NdArray",
        Content::Doc(_) => "AnyDoc",
        Content::DocArray(_) => "DocList",
        Content::List(_) => "list",
        Content::Set(_) => "set",
        Content::Tuple(_) => "tuple",
        Content::Dict(_) => "dict",
    }
}
