//! Decodes Documents as docarray of v2 does.

use super::tensor::read_tensor;
use crate::flow::executor::exception::Exception;
use crate::wire::proto::v2::node_proto::{Content, DocarrayType};
use crate::wire::proto::v2::{DenseNdArrayProto, DocListProto, DocProto, NdArrayProto, NodeProto};
use crate::wire::{DType, Tensor};

/// Reads a Document with the default schema: unknown fields are dropped, and a node must have a type that
/// fits its field.
pub(super) fn read_v2(doc: &mut DocProto) -> Result<(), Exception> {
    // Mistakes in the nodes themselves come first, whatever their field.
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
    for (key, node) in &mut doc.data {
        let Some(content) = node.content.take() else { continue };
        let content = fit(key, content)?;
        let kind = match (key.as_str(), &content) {
            ("id", _) => Some("id"),
            ("tensor", Content::Ndarray(_)) => Some("ndarray"),
            ("embedding", Content::Ndarray(_)) => Some("ndarray_embedding"),
            _ => None,
        };
        node.content = Some(content);
        node.docarray_type = kind.map(|kind| DocarrayType::Type(kind.into()));
    }
    Ok(())
}

/// Checks that the type and content of a node agree, as well as those of all nodes within it.
fn read_node(node: &mut NodeProto) -> Result<(), Exception> {
    let NodeProto { content, docarray_type } = node;
    let kind = docarray_type.as_ref().map(|DocarrayType::Type(kind)| kind.as_str());
    let unsupported = |content: &str| {
        let kind = kind.unwrap_or("None");
        let message =
            format!("type {kind}, with key {content} is not supported for deserialization");
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
                let tensor = Tensor::new(DType::from(dense.dtype), dense.shape, dense.buffer);
                let Some(read) = read_tensor(tensor)? else {
                    let message = "an array without shape and values cannot be cast to a NdArray";
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

/// The content, converted to fit the field if necessary.
fn fit(key: &str, content: Content) -> Result<Content, Exception> {
    // Only the first problem is reported, in pydantic's format.
    let misfit = |expected, kind| {
        Exception::validation(format!(
            "1 validation error for LegacyDocumentJina\n{key}\n  Input should be {expected} [type={kind}]"
        ))
    };
    Ok(match (key, content) {
        ("id", Content::Integer(n)) => Content::Text(n.to_string()),
        ("id", Content::Float(n)) => Content::Text(n.to_string()),
        ("id" | "text" | "url", content @ Content::Text(_)) => content,
        ("id" | "text" | "url", Content::Blob(blob)) => {
            let text = String::from_utf8(blob.into());
            Content::Text(text.map_err(|_| misfit("a valid string", "string_unicode"))?)
        }
        ("id" | "text" | "url", _) => return Err(misfit("a valid string", "string_type")),
        ("blob", Content::Text(text)) => Content::Blob(text.into()),
        ("blob", content @ Content::Blob(_)) => content,
        ("blob", _) => return Err(misfit("a valid bytes", "bytes_type")),
        ("tags" | "scores", content @ Content::Dict(_)) => content,
        ("tags" | "scores", _) => return Err(misfit("a valid dictionary", "dict_type")),
        ("chunks" | "matches", Content::DocArray(mut list)) => {
            list.docs.iter_mut().try_for_each(read_v2)?;
            Content::DocArray(list)
        }
        ("chunks" | "matches", Content::List(list))
            if list.data.iter().all(|node| matches!(node.content, Some(Content::Doc(_)))) =>
        {
            let docs = list.data.into_iter().filter_map(|node| match node.content {
                Some(Content::Doc(mut doc)) => Some(read_v2(&mut doc).map(|()| doc)),
                _ => None,
            });
            Content::DocArray(DocListProto { docs: docs.collect::<Result<_, _>>()? })
        }
        ("chunks" | "matches", _) => return Err(misfit("a valid list", "list_type")),
        ("tensor" | "embedding", content @ Content::Ndarray(_)) => content,
        ("tensor" | "embedding", Content::List(list)) => {
            let number = |node: &NodeProto| match node.content {
                Some(Content::Float(value)) => Some(value),
                Some(Content::Integer(value)) => Some(value.into()),
                _ => None,
            };
            let values: Option<Vec<f64>> = list.data.iter().map(number).collect();
            let values = values.ok_or_else(no_tensor)?;
            let shape = vec![u32::try_from(values.len()).unwrap_or(u32::MAX)];
            let buffer: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let dense = DenseNdArrayProto { buffer: buffer.into(), shape, dtype: "<f8".into() };
            Content::Ndarray(NdArrayProto { dense: Some(dense), parameters: None })
        }
        ("tensor" | "embedding", _) => return Err(no_tensor()),
        (_, content) => content,
    })
}

fn no_tensor() -> Exception {
    Exception::new("TypeError")
        .text("Expected one of [torch.Tensor, tensorflow.Tensor, numpy.ndarray] compatible type")
}
