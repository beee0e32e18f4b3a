//! The values of arrays: reads them one by one, and converts them from and to nested lists.

use std::fmt;

use half::f16;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeSeq, Serializer};
use serde_json::Value;

use super::value::{non_finite, non_finite_of};
use super::{ByteOrder, DType, ScalarKind, Tensor, TensorError};

/// Maximum number of axes, as in numpy.
const AXES_MAX: usize = 64;

/// Maximum number of empty lists written for an array without values: `[4000000000, 0]` takes only a few
/// bytes to send.
const EMPTY_LISTS_MAX: u64 = 1 << 16;

/// One real value of an array.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Number {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
}

/// Iterates over the values of an array in C order, see [`Tensor::values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    kind: ScalarKind,
    order: ByteOrder,
    /// The remaining bytes, a multiple of the kind's size.
    data: &'a [u8],
}

/// How values of arrays are written in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As Python's `tolist` returns them: 32-bit floats as their exact double.
    Exact,
    /// With as few digits as distinguish a value from others of its type, as v2 writes them.
    Short,
    /// With as few digits too; numbers that JSON lacks, otherwise an error, are protobuf's strings (`NaN`,
    /// `Infinity`, `-Infinity`).
    Plain,
}

/// An array to be written as nested lists.
pub(super) struct Nested<'a> {
    shape: &'a [u32],
    values: Values<'a>,
    style: Style,
}

impl Number {
    /// The value as a double, rounded where integers are too large.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Bool(value) => f64::from(u8::from(value)),
            Number::Int(value) => value as f64,
            Number::Uint(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    fn read(kind: ScalarKind, order: ByteOrder, bytes: &[u8]) -> Number {
        macro_rules! number {
            ($type:ty) => {{
                let bytes = bytes.try_into().expect("chunks have the size of their kind");
                match order {
                    ByteOrder::Little => <$type>::from_le_bytes(bytes),
                    ByteOrder::Big => <$type>::from_be_bytes(bytes),
                }
            }};
        }
        match kind {
            ScalarKind::Bool => Number::Bool(bytes[0] != 0),
            ScalarKind::I8 => Number::Int(number!(i8).into()),
            ScalarKind::I16 => Number::Int(number!(i16).into()),
            ScalarKind::I32 => Number::Int(number!(i32).into()),
            ScalarKind::I64 => Number::Int(number!(i64)),
            ScalarKind::U8 => Number::Uint(number!(u8).into()),
            ScalarKind::U16 => Number::Uint(number!(u16).into()),
            ScalarKind::U32 => Number::Uint(number!(u32).into()),
            ScalarKind::U64 => Number::Uint(number!(u64)),
            ScalarKind::F16 => Number::Float(number!(f16).into()),
            ScalarKind::F32 => Number::Float(number!(f32).into()),
            ScalarKind::F64 => Number::Float(number!(f64)),
            // `Tensor::values` returns no complex numbers; only their real part is read.
            ScalarKind::C64 => Number::read(ScalarKind::F32, order, &bytes[..4]),
            ScalarKind::C128 => Number::read(ScalarKind::F64, order, &bytes[..8]),
        }
    }

    /// Appends the value, rounded or truncated to the kind as by numpy's casts, except that integers are
    /// clamped to the kind's limits.
    fn write(self, kind: ScalarKind, order: ByteOrder, out: &mut Vec<u8>) {
        macro_rules! put {
            ($value:expr) => {
                match order {
                    ByteOrder::Little => out.extend_from_slice(&$value.to_le_bytes()),
                    ByteOrder::Big => out.extend_from_slice(&$value.to_be_bytes()),
                }
            };
        }
        macro_rules! put_integer {
            ($type:ty) => {
                put!(match self {
                    Number::Int(value) => <$type>::try_from(value).unwrap_or(if value < 0 {
                        <$type>::MIN
                    } else {
                        <$type>::MAX
                    }),
                    Number::Uint(value) => <$type>::try_from(value).unwrap_or(<$type>::MAX),
                    other => other.as_f64() as $type,
                })
            };
        }
        match kind {
            ScalarKind::Bool => out.push(u8::from(self.as_f64() != 0.0)),
            ScalarKind::I8 => put_integer!(i8),
            ScalarKind::I16 => put_integer!(i16),
            ScalarKind::I32 => put_integer!(i32),
            ScalarKind::I64 => put_integer!(i64),
            ScalarKind::U8 => put_integer!(u8),
            ScalarKind::U16 => put_integer!(u16),
            ScalarKind::U32 => put_integer!(u32),
            ScalarKind::U64 => put_integer!(u64),
            ScalarKind::F16 => put!(f16::from_f64(self.as_f64())),
            ScalarKind::F32 => put!(self.as_f64() as f32),
            ScalarKind::F64 => put!(self.as_f64()),
            ScalarKind::C64 => {
                self.write(ScalarKind::F32, order, out);
                Number::Int(0).write(ScalarKind::F32, order, out);
            }
            ScalarKind::C128 => {
                self.write(ScalarKind::F64, order, out);
                Number::Int(0).write(ScalarKind::F64, order, out);
            }
        }
    }
}

impl Tensor {
    /// The values in C order. An error if they are complex, of an unknown type, or fewer or more than the
    /// shape requires.
    pub fn values(&self) -> Result<Values<'_>, TensorError> {
        self.check()?;
        match self.dtype {
            DType::Scalar { kind: ScalarKind::C64 | ScalarKind::C128, .. } => {
                Err(TensorError::Complex(self.dtype.to_string()))
            }
            DType::Scalar { kind, order } => Ok(Values { kind, order, data: &self.data }),
            DType::Other(_) => Err(TensorError::UnknownType(self.dtype.to_string())),
        }
    }

    /// The values as doubles, see [`Tensor::values`].
    pub fn values_f64(
        &self,
    ) -> Result<impl ExactSizeIterator<Item = f64> + Clone + '_, TensorError> {
        Ok(self.values()?.map(Number::as_f64))
    }

    /// An array of this kind with these values, little-endian. Their number is not checked, see
    /// [`Tensor::check`].
    pub fn from_values(
        kind: ScalarKind,
        shape: Vec<u32>,
        values: impl IntoIterator<Item = Number>,
    ) -> Tensor {
        Tensor::new(kind, shape, bytes_of(kind, ByteOrder::Little, values.into_iter()))
    }

    /// An array without axes.
    pub(super) fn scalar(value: Number) -> Tensor {
        Tensor::from_values(kind_of(&[value]), Vec::new(), [value])
    }

    /// The same values in another type. Imaginary parts of complex ones are 0.
    pub fn cast(&self, dtype: &DType) -> Result<Tensor, TensorError> {
        let DType::Scalar { kind, order } = *dtype else {
            return Err(TensorError::UnknownType(dtype.to_string()));
        };
        let data = bytes_of(kind, order, self.values()?).into();
        Ok(Tensor { dtype: dtype.clone(), data, ..self.clone() })
    }

    /// The values as nested lists, as Python's `tolist` returns them. Numbers that JSON lacks are an error.
    pub fn to_nested(&self) -> Result<Value, TensorError> {
        let nested = self.nested(Style::Exact)?;
        // Serializing into a value fails only for numbers that JSON lacks.
        serde_json::to_value(&nested).map_err(|_| self.non_finite_value())
    }

    /// An array from nested lists of numbers or booleans, or from a single number.
    ///
    /// Integers become `<i8` (`<u8` if one needs it), floats and mixed values `<f8`, booleans alone `|b1`,
    /// and an array without values `<f8`, as in numpy. The strings `NaN`, `Infinity` and `-Infinity` are
    /// floats too. Nested lists reduce a shape such as `[0, 3]` to `[0]`.
    pub fn from_nested(value: &Value) -> Result<Tensor, TensorError> {
        let mut lists = Lists::default();
        match (Level { lists: &mut lists, depth: 0 }).deserialize(value) {
            Ok(()) => Ok(lists.finish()),
            Err(error) => Err(TensorError::NotRectangular(error.to_string())),
        }
    }

    /// The array in a form to be written as nested lists.
    pub(super) fn nested(&self, style: Style) -> Result<Nested<'_>, TensorError> {
        let values = self.values()?;
        let unwieldy = |what| Err(TensorError::Shape { shape: self.shape.clone(), what });
        if self.shape.len() > AXES_MAX {
            return unwieldy("has more than 64 axes");
        }
        if values.len() == 0 {
            let axes = self.shape.iter().take_while(|axis| **axis != 0);
            let lists = axes.fold(1_u64, |n, axis| n.saturating_mul(u64::from(*axis)));
            if lists > EMPTY_LISTS_MAX {
                return unwieldy("has no values and too many empty lists to write");
            }
        }
        Ok(Nested { shape: &self.shape, values, style })
    }

    /// Why writing values failed.
    pub(super) fn non_finite_value(&self) -> TensorError {
        let value = self.values_f64().ok().and_then(|mut all| all.find(|v| !v.is_finite()));
        TensorError::NotFinite(value.unwrap_or(f64::NAN))
    }
}

fn bytes_of(kind: ScalarKind, order: ByteOrder, values: impl Iterator<Item = Number>) -> Vec<u8> {
    let mut data = Vec::with_capacity(values.size_hint().0.saturating_mul(kind.size()));
    values.for_each(|value| value.write(kind, order, &mut data));
    data
}

impl From<u64> for Number {
    /// An `Int` if it fits.
    fn from(value: u64) -> Number {
        i64::try_from(value).map_or(Number::Uint(value), Number::Int)
    }
}

impl Iterator for Values<'_> {
    type Item = Number;

    #[inline]
    fn next(&mut self) -> Option<Number> {
        let (value, rest) = self.data.split_at_checked(self.kind.size())?;
        self.data = rest;
        Some(Number::read(self.kind, self.order, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.data.len() / self.kind.size();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Values<'_> {}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Nested { shape, ref values, style } = *self;
        let short = style != Style::Exact && values.kind.size() <= 4;
        let item = |value| Item { value, short, as_text: style == Style::Plain };
        let Some((&axis, inner)) = shape.split_first() else {
            return item(values.clone().next().unwrap_or(Number::Int(0))).serialize(serializer);
        };
        let axis = axis as usize;
        let mut list = serializer.serialize_seq(Some(axis))?;
        if inner.is_empty() {
            for value in values.clone() {
                list.serialize_element(&item(value))?;
            }
        } else {
            let part = values.data.len() / axis.max(1);
            for i in 0..axis {
                let values = Values { data: &values.data[i * part..(i + 1) * part], ..*values };
                list.serialize_element(&Nested { shape: inner, values, style })?;
            }
        }
        list.end()
    }
}

/// One value.
struct Item {
    value: Number,
    /// Whether it is a float of at most 32 bits, written with as few digits as needed.
    short: bool,
    as_text: bool,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Number::Bool(value) => serializer.serialize_bool(value),
            Number::Int(value) => serializer.serialize_i64(value),
            Number::Uint(value) => serializer.serialize_u64(value),
            Number::Float(value) if value.is_finite() && self.short => {
                serializer.serialize_f32(value as f32)
            }
            Number::Float(value) if value.is_finite() => serializer.serialize_f64(value),
            Number::Float(value) if self.as_text => serializer.serialize_str(non_finite(value)),
            Number::Float(value) => Err(S::Error::custom(TensorError::NotFinite(value))),
        }
    }
}

/// Reads an array from the outermost of its nested lists, see [`Tensor::from_nested`].
/// `nulls`: null is NaN, as gateways of v2 write it.
pub(super) fn read_lists<'de, A: SeqAccess<'de>>(seq: A, nulls: bool) -> Result<Tensor, A::Error> {
    let mut lists = Lists { nulls, ..Lists::default() };
    Level { lists: &mut lists, depth: 0 }.visit_seq(seq)?;
    Ok(lists.finish())
}

/// The type numpy gives a list of these values.
fn kind_of(values: &[Number]) -> ScalarKind {
    let any = |test: fn(&Number) -> bool| values.iter().any(test);
    let floats = values.is_empty() || any(|value| matches!(value, Number::Float(_)));
    let large = any(|value| matches!(value, Number::Uint(_)));
    let negative = any(|value| matches!(value, Number::Int(..0)));
    if floats || large && negative {
        ScalarKind::F64
    } else if large {
        ScalarKind::U64
    } else if any(|value| matches!(value, Number::Int(_))) {
        ScalarKind::I64
    } else {
        ScalarKind::Bool
    }
}

/// The contents of nested lists so far.
#[derive(Default)]
struct Lists {
    /// Length of each axis, `None` until its first list has ended.
    shape: Vec<Option<u32>>,
    /// The number of lists around each number, known from the first number.
    depth: Option<usize>,
    /// `Uint` only for values that `Int` cannot hold.
    values: Vec<Number>,
    nulls: bool,
}

/// One element within `depth` lists: a number or a list.
struct Level<'a> {
    lists: &'a mut Lists,
    depth: usize,
}

impl Lists {
    fn finish(self) -> Tensor {
        let shape = self.shape.iter().map(|axis| axis.unwrap_or(0)).collect();
        Tensor::from_values(kind_of(&self.values), shape, self.values)
    }
}

impl Level<'_> {
    fn number<E: de::Error>(self, value: Number) -> Result<(), E> {
        let depth = *self.lists.depth.get_or_insert(self.depth);
        if depth != self.depth || self.lists.shape.len() != self.depth {
            return Err(E::custom("expected a list, as elsewhere at this depth, found a number"));
        }
        self.lists.values.push(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of numbers")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.number(Number::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.number(Number::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.number(Number::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.number(Number::Float(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self.lists.nulls {
            true => self.number(Number::Float(f64::NAN)),
            false => Err(E::invalid_type(de::Unexpected::Unit, &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match non_finite_of(text) {
            Some(value) => self.number(Number::Float(value)),
            None => Err(E::invalid_type(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Level { lists, depth } = self;
        if lists.depth.is_some_and(|numbers| numbers <= depth) {
            return Err(de::Error::custom(
                "expected a number, as elsewhere at this depth, found a list",
            ));
        }
        if depth == AXES_MAX {
            return Err(de::Error::custom("lists nest deeper than 64 levels"));
        }
        if lists.shape.len() == depth {
            lists.shape.push(None);
        }
        let mut length = 0_u32;
        while seq.next_element_seed(Level { lists: &mut *lists, depth: depth + 1 })?.is_some() {
            length = length.checked_add(1).ok_or_else(|| de::Error::custom("list too long"))?;
        }
        match *lists.shape[depth].get_or_insert(length) {
            known if known == length => Ok(()),
            known => Err(de::Error::custom(format!(
                "expected a list of length {known}, as elsewhere at this depth, found one of \
                 length {length}"
            ))),
        }
    }
}
