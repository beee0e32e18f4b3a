//! Decodes arrays as numpy does.

use crate::flow::executor::exception::{Exception, repr};
use crate::wire::{DType, ScalarKind, Tensor};

/// Reads an array. `None` if it has neither values nor axes.
pub(super) fn read_tensor(tensor: Tensor) -> Result<Option<Tensor>, Exception> {
    let class = tensor.class.clone();
    if tensor.data.is_empty() {
        if tensor.shape.is_empty() {
            return Ok(None);
        }
        // Zeros in the given shape. Python too refuses a shape that is too large.
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
        let shape = &tensor.shape;
        let message = format!("cannot reshape array of size {found} into shape {shape:?}");
        return Err(Exception::new("ValueError").text(message));
    }
    // numpy encodes its own name for the type, and no parameters.
    Ok(Some(Tensor { class, ..Tensor::new(tensor.dtype, tensor.shape, tensor.data) }))
}

/// The size in bytes of a type that is not a number: fixed-length text and bytes, dates.
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
