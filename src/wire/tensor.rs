//! Arrays: little more than a type, a shape and bytes.

use bytes::Bytes;

use super::Map;

/// An array field of a Document.
#[derive(Clone, Debug, PartialEq)]
pub enum NdArray {
    /// Every value is there.
    Dense(Tensor),
    /// v1 only: indices and values, in one of scipy's formats.
    Sparse(SparseTensor),
}

/// A dense array in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Type and byte order of one value.
    pub dtype: DType,
    /// Length of each axis; empty for a scalar.
    pub shape: Vec<u32>,
    /// The values, `shape` product times `dtype` size bytes when it is well formed.
    pub data: Bytes,
    /// v1's `cls_name`: what Python makes of it (`numpy`, `list`, `torch` …). v1 drops an array
    /// without one, so `numpy` is the default.
    pub class: String,
    /// Further settings of the array's class; empty as a rule.
    pub parameters: Map,
}

/// A sparse array as v1 sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseTensor {
    /// Positions of the values.
    pub indices: Tensor,
    /// The values that are there.
    pub values: Tensor,
    /// Length of each axis.
    pub shape: Vec<u32>,
    /// v1's `cls_name`, for example `scipy`.
    pub class: String,
    /// `sparse_format` names scipy's format.
    pub parameters: Map,
}

/// The type of one value of an array, parsed from and shown as numpy's string (`<f4`, `|u1`).
///
/// numpy's long names (`float32`) are read too. What we do not know is kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// A number type we know.
    Scalar {
        /// What kind of number.
        kind: ScalarKind,
        /// Order of its bytes; of no meaning for one byte.
        order: ByteOrder,
    },
    /// Any other string.
    Other(String),
}

/// The number types of numpy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ScalarKind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
    C64,
    C128,
}

/// The order of bytes in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ByteOrder {
    Little,
    Big,
}

/// Why values cannot become an array, or an array values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The buffer is not as long as shape and type ask for.
    #[error("shape {shape:?} of {dtype} takes {expected} bytes, found {found}")]
    Length {
        /// The shape.
        shape: Vec<u32>,
        /// The type, as numpy writes it.
        dtype: String,
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A type that we cannot read values of.
    #[error("unknown dtype `{0}`")]
    UnknownType(String),
    /// Nested lists of different lengths, or values that are no numbers.
    #[error("a tensor is a list of numbers or of lists of the same length: {0}")]
    NotRectangular(String),
}

impl Tensor {
    /// A vector of 32-bit floats.
    pub fn from_f32(values: &[f32]) -> Tensor {
        let mut data = Vec::with_capacity(values.len() * 4);
        for value in values {
            data.extend_from_slice(&value.to_le_bytes());
        }
        Tensor {
            dtype: DType::Scalar { kind: ScalarKind::F32, order: ByteOrder::Little },
            shape: vec![u32::try_from(values.len()).unwrap_or(u32::MAX)],
            data: data.into(),
            class: "numpy".into(),
            parameters: Map::new(),
        }
    }
}
