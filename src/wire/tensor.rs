//! Arrays: a type, a shape and bytes. `values.rs` handles their values.

use std::fmt;

use bytes::Bytes;

use super::Map;

/// An array field of a Document.
#[derive(Clone, Debug, PartialEq)]
pub enum NdArray {
    /// An array with every value.
    Dense(Tensor),
    /// v1 only: indices and values, in one of scipy's formats.
    Sparse(Box<SparseTensor>),
}

/// A dense array in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Type and byte order of one value.
    pub dtype: DType,
    /// Length of each axis; empty for a scalar.
    pub shape: Vec<u32>,
    /// The values; if well formed, their length in bytes is the product of `shape` times the size of `dtype`.
    pub data: Bytes,
    /// v1's `cls_name`: the class that Python turns it into (`numpy`, `list`, `torch` …). v1 drops an array
    /// without one, so `numpy` is the default.
    pub class: String,
    /// Further settings of the array's class; usually empty.
    pub parameters: Map,
}

/// A sparse array as v1 sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseTensor {
    /// Positions of the values.
    pub indices: Tensor,
    /// The values at these positions.
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
/// numpy's long names (`float32`) are read too. Unknown types are kept as received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// A known number type.
    Scalar {
        /// What kind of number.
        kind: ScalarKind,
        /// Its byte order; meaningless for a single byte.
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

/// Why values cannot be converted to an array, or an array to values.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// The buffer does not have the length that shape and type require.
    #[error("shape {shape:?} of {dtype} takes {expected} bytes, found {found}")]
    Length {
        /// The shape.
        shape: Vec<u32>,
        /// The type, as numpy writes it.
        dtype: String,
        /// The required length.
        expected: u64,
        /// The actual length.
        found: u64,
    },
    /// A sparse array that cannot be written as it is.
    #[error("the array is sparse: {0}")]
    Sparse(&'static str),
    /// A type whose values cannot be read.
    #[error("unknown dtype `{0}`")]
    UnknownType(String),
    /// Real numbers are required, but the values are complex.
    #[error("values of `{0}` are complex; only real ones are supported here")]
    Complex(String),
    /// A value that the form cannot represent.
    #[error("{0} cannot be represented in JSON")]
    NotFinite(f64),
    /// A shape that fits its buffer but is unreasonable.
    #[error("shape {shape:?} {what}")]
    Shape {
        /// The shape.
        shape: Vec<u32>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Nested lists of different lengths, or values that are not numbers.
    #[error("a tensor must be a list of numbers or of lists of the same length: {0}")]
    NotRectangular(String),
}

impl NdArray {
    /// Whether v1 has a class of this name, into which it can turn the array.
    pub(super) fn has_known_class(&self) -> bool {
        match self {
            NdArray::Dense(tensor) => {
                ["numpy", "list", "torch", "tensorflow", "paddle"].contains(&tensor.class.as_str())
            }
            NdArray::Sparse(sparse) => {
                ["scipy", "torch", "tensorflow"].contains(&sparse.class.as_str())
            }
        }
    }
}

impl SparseTensor {
    /// Maximum size in bytes of a sparse array written in full, as written zeros take space.
    const DENSE_BYTES_MAX: u64 = 64 << 20;

    /// The same array with all its values, as Jina writes it in formats that only have lists. Of two values
    /// at one position, the last counts.
    ///
    /// # Errors
    /// When indices do not match shape and values, or the full array is too large.
    pub(super) fn to_dense(&self) -> Result<Tensor, TensorError> {
        let wrong = |what| Err(TensorError::Sparse(what));
        let count = self.values.check()?;
        let DType::Scalar { kind, .. } = self.values.dtype else {
            return Err(TensorError::UnknownType(self.values.dtype.to_string()));
        };
        let (size, axes) = (kind.size(), self.shape.len());
        // torch has one column per value, the others one row.
        let (by_row, by_column) = ([count, axes], [axes, count]);
        let found: Vec<usize> = self.indices.shape.iter().map(|axis| *axis as usize).collect();
        let columns = match (found == by_row, found == by_column) {
            (true, true) => self.class == "torch",
            (true, false) => false,
            (false, true) => true,
            (false, false) => return wrong("its indices do not match its shape and values"),
        };
        let places = self.shape.iter().fold(1_u64, |n, axis| n.saturating_mul(u64::from(*axis)));
        let bytes = places.saturating_mul(size as u64);
        if bytes > SparseTensor::DENSE_BYTES_MAX {
            return wrong(
                "JSON has only dense lists, and it would take over 64 MiB with all its zeros",
            );
        }
        let indices: Vec<f64> = self.indices.values_f64()?.collect();
        let mut data = vec![0; bytes as usize];
        for (value, from) in self.values.data.chunks_exact(size).enumerate() {
            let mut place = 0;
            for (axis, length) in self.shape.iter().enumerate() {
                let at = if columns { axis * count + value } else { value * axes + axis };
                let index = indices[at];
                if !(0.0..f64::from(*length)).contains(&index) {
                    return wrong("an index is outside its shape");
                }
                place = place * *length as usize + index as usize;
            }
            data[place * size..(place + 1) * size].copy_from_slice(from);
        }
        Ok(Tensor::new(self.values.dtype.clone(), self.shape.clone(), data))
    }
}

impl Tensor {
    /// The class of arrays that every Executor understands.
    pub const NUMPY: &str = "numpy";

    /// An array of numpy's class. `data` is not checked, see [`Tensor::check`].
    pub fn new(dtype: impl Into<DType>, shape: Vec<u32>, data: impl Into<Bytes>) -> Tensor {
        Tensor {
            dtype: dtype.into(),
            shape,
            data: data.into(),
            class: Tensor::NUMPY.into(),
            parameters: Map::new(),
        }
    }

    /// A vector of 32-bit floats.
    pub fn from_f32(values: &[f32]) -> Tensor {
        let mut data = Vec::with_capacity(values.len() * 4);
        for value in values {
            data.extend_from_slice(&value.to_le_bytes());
        }
        let length = u32::try_from(values.len()).unwrap_or(u32::MAX);
        Tensor::new(ScalarKind::F32, vec![length], data)
    }

    /// The number of values, if the buffer has the length that type and shape require.
    pub fn check(&self) -> Result<usize, TensorError> {
        let DType::Scalar { kind, .. } = &self.dtype else {
            return Err(TensorError::UnknownType(self.dtype.to_string()));
        };
        let values = self.shape.iter().fold(1_u64, |n, axis| n.saturating_mul(u64::from(*axis)));
        let expected = values.saturating_mul(kind.size() as u64);
        if expected != self.data.len() as u64 {
            return Err(TensorError::Length {
                shape: self.shape.clone(),
                dtype: self.dtype.to_string(),
                expected,
                found: self.data.len() as u64,
            });
        }
        Ok(self.data.len() / kind.size())
    }
}

/// All number types: numpy's letters with the size, and its long name.
const KINDS: [(ScalarKind, &str, &str); 14] = [
    (ScalarKind::Bool, "b1", "bool"),
    (ScalarKind::I8, "i1", "int8"),
    (ScalarKind::I16, "i2", "int16"),
    (ScalarKind::I32, "i4", "int32"),
    (ScalarKind::I64, "i8", "int64"),
    (ScalarKind::U8, "u1", "uint8"),
    (ScalarKind::U16, "u2", "uint16"),
    (ScalarKind::U32, "u4", "uint32"),
    (ScalarKind::U64, "u8", "uint64"),
    (ScalarKind::F16, "f2", "float16"),
    (ScalarKind::F32, "f4", "float32"),
    (ScalarKind::F64, "f8", "float64"),
    (ScalarKind::C64, "c8", "complex64"),
    (ScalarKind::C128, "c16", "complex128"),
];

impl ScalarKind {
    /// All number types.
    pub const ALL: [ScalarKind; KINDS.len()] = {
        let mut all = [ScalarKind::Bool; KINDS.len()];
        let mut n = 0;
        while n < all.len() {
            all[n] = KINDS[n].0;
            n += 1;
        }
        all
    };
}

impl DType {
    /// numpy's string: `<f4`, `>i8`, `|u1`.
    pub fn name(&self) -> &str {
        use ByteOrder::{Big, Little};
        use ScalarKind::*;
        let (kind, order) = match self {
            DType::Scalar { kind, order } => (kind, order),
            DType::Other(name) => return name,
        };
        match (kind, order) {
            (Bool, _) => "|b1",
            (I8, _) => "|i1",
            (U8, _) => "|u1",
            (I16, Little) => "<i2",
            (I16, Big) => ">i2",
            (I32, Little) => "<i4",
            (I32, Big) => ">i4",
            (I64, Little) => "<i8",
            (I64, Big) => ">i8",
            (U16, Little) => "<u2",
            (U16, Big) => ">u2",
            (U32, Little) => "<u4",
            (U32, Big) => ">u4",
            (U64, Little) => "<u8",
            (U64, Big) => ">u8",
            (F16, Little) => "<f2",
            (F16, Big) => ">f2",
            (F32, Little) => "<f4",
            (F32, Big) => ">f4",
            (F64, Little) => "<f8",
            (F64, Big) => ">f8",
            (C64, Little) => "<c8",
            (C64, Big) => ">c8",
            (C128, Little) => "<c16",
            (C128, Big) => ">c16",
        }
    }

    /// The number type a name stands for, or `None`.
    fn scalar(name: &str) -> Option<DType> {
        let (order, letters) = match name.as_bytes().first()? {
            b'<' | b'|' | b'=' => (ByteOrder::Little, &name[1..]),
            b'>' | b'!' => (ByteOrder::Big, &name[1..]),
            _ => (ByteOrder::Little, name),
        };
        let kind = KINDS.iter().find(|(_, short, long)| *short == letters || *long == name)?.0;
        // A single byte has no order; a fixed one makes equal types equal.
        let order = if kind.size() == 1 { ByteOrder::Little } else { order };
        Some(DType::Scalar { kind, order })
    }
}

impl From<String> for DType {
    fn from(name: String) -> DType {
        DType::scalar(&name).unwrap_or(DType::Other(name))
    }
}

impl From<&str> for DType {
    fn from(name: &str) -> DType {
        DType::scalar(name).unwrap_or_else(|| DType::Other(name.to_owned()))
    }
}

impl From<ScalarKind> for DType {
    /// Little-endian, as on all current machines and in Jina.
    fn from(kind: ScalarKind) -> DType {
        DType::Scalar { kind, order: ByteOrder::Little }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ScalarKind {
    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            ScalarKind::Bool | ScalarKind::I8 | ScalarKind::U8 => 1,
            ScalarKind::I16 | ScalarKind::U16 | ScalarKind::F16 => 2,
            ScalarKind::I32 | ScalarKind::U32 | ScalarKind::F32 => 4,
            ScalarKind::I64 | ScalarKind::U64 | ScalarKind::F64 | ScalarKind::C64 => 8,
            ScalarKind::C128 => 16,
        }
    }
}
