//! Decodes Documents as docarray of v1 does.

use super::tensor::read_tensor;
use crate::flow::executor::exception::Exception;
use crate::wire::{ByteOrder, DType, Document, NdArray, Number, ScalarKind, Tensor};

/// Completes a new Document: empty content is removed, and a uri without a mime type gets one.
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

/// Reads the arrays and scores of a Document.
pub(super) fn read_v1(doc: &mut Document) -> Result<(), Exception> {
    for array in [&mut doc.tensor, &mut doc.embedding] {
        *array = array.take().map(read_array_v1).transpose()?.flatten();
    }
    let said = |score: &crate::wire::NamedScore| *score != crate::wire::NamedScore::default();
    doc.scores.retain(|_, score| said(score));
    doc.evaluations.retain(|_, score| said(score));
    doc.chunks.iter_mut().chain(&mut doc.matches).try_for_each(read_v1)
}

/// Reads an array as its class requires.
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

/// An array after Python has turned it into a list and back.
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
    // Integers too large for i64 stay unsigned.
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

/// The MIME type that Python's `mimetypes` guesses from a file name, for common media.
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
