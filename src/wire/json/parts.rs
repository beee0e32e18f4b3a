//! Reads the values within Documents from JSON.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{
    self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use serde_json::Value;

use crate::wire::value::non_finite_of;
use crate::wire::values::{self, Number};
use crate::wire::{DType, Map, NamedScore, NdArray, SparseTensor, Tensor};

/// Padding is optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key, borrowed from the text where that is possible.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

/// A string, or a value that pydantic 1 converts to one.
pub(super) struct Coerced(pub(super) String);

impl<'de> Deserialize<'de> for Coerced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Coerced, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Coerced(text)),
            Value::Number(number) => Ok(Coerced(number.to_string())),
            Value::Bool(true) => Ok(Coerced("True".into())),
            Value::Bool(false) => Ok(Coerced("False".into())),
            _ => Err(de::Error::custom("expected a string")),
        }
    }
}

/// A number, or the name of one that JSON lacks.
pub(super) struct Real(pub(super) f64);

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Real, D::Error> {
        struct RealVisitor;
        impl Visitor<'_> for RealVisitor {
            type Value = Real;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Real, E> {
                Ok(Real(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Real, E> {
                Ok(Real(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Real, E> {
                Ok(Real(value as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Real, E> {
                non_finite_of(text)
                    .map(Real)
                    .ok_or_else(|| E::invalid_type(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(RealVisitor)
    }
}

/// Bytes as base64.
pub(super) struct Base64(pub(super) Bytes);

/// The same as Python reads it: characters outside its alphabet are ignored.
pub(super) struct LooseBase64(pub(super) Bytes);

struct Base64Visitor {
    loose: bool,
}

impl Visitor<'_> for Base64Visitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        let decoded = BASE64.decode(text).or_else(|error| {
            if !self.loose {
                return Err(error);
            }
            let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
            BASE64.decode(text.bytes().filter(digit).collect::<Vec<_>>())
        });
        match decoded {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(E::custom(format!("not base64: {error}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        deserializer.deserialize_str(Base64Visitor { loose: false }).map(Base64)
    }
}

impl<'de> Deserialize<'de> for LooseBase64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LooseBase64, D::Error> {
        deserializer.deserialize_str(Base64Visitor { loose: true }).map(LooseBase64)
    }
}

/// Tags in GraphQL's input: JSON text in a string. An object is accepted too.
#[derive(Default)]
pub(super) struct TagsText(pub(super) Map);

impl<'de> Deserialize<'de> for TagsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TagsText, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(tags) => Ok(TagsText(tags)),
            Value::String(text) => serde_json::from_str(&text).map(TagsText).map_err(|error| {
                de::Error::custom(format!("tags must be an object as JSON text: {error}"))
            }),
            _ => Err(de::Error::custom("tags must be an object as JSON text")),
        }
    }
}

/// Scores by name: an object, or GraphQL's list.
#[derive(Default)]
pub(super) struct Scores(pub(super) IndexMap<String, NamedScore>);

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scores, D::Error> {
        struct ScoresVisitor;
        impl<'de> Visitor<'de> for ScoresVisitor {
            type Value = Scores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("scores by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scores, A::Error> {
                let mut scores = IndexMap::new();
                while let Some((name, Score(score))) = map.next_entry()? {
                    scores.insert(name, score);
                }
                Ok(Scores(scores))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scores, A::Error> {
                #[derive(serde::Deserialize)]
                struct Item {
                    name: String,
                    score: Score,
                }
                let mut scores = IndexMap::new();
                while let Some(Item { name, score: Score(score) }) = seq.next_element()? {
                    scores.insert(name, score);
                }
                Ok(Scores(scores))
            }
        }
        deserializer.deserialize_any(ScoresVisitor)
    }
}

/// A score, or its value alone.
struct Score(NamedScore);

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Score, D::Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Fields {
            value: Option<Real>,
            #[serde(alias = "opName")]
            op_name: Option<String>,
            description: Option<String>,
            #[serde(alias = "refId")]
            ref_id: Option<String>,
        }
        struct ScoreVisitor;
        impl<'de> Visitor<'de> for ScoreVisitor {
            type Value = Score;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a score, an object with `value`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Score, A::Error> {
                let Fields { value, op_name, description, ref_id } =
                    Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Score(NamedScore {
                    value: value.map_or(0.0, |Real(value)| value),
                    op_name: op_name.unwrap_or_default(),
                    description: description.unwrap_or_default(),
                    ref_id: ref_id.unwrap_or_default(),
                }))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Score, E> {
                Ok(Score(NamedScore { value, ..NamedScore::default() }))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Score, E> {
                self.visit_f64(value as f64)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Score, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_any(ScoreVisitor)
    }
}

/// An array: nested lists, a single number, or an object as in protobuf's JSON mapping.
pub(super) struct Array(pub(super) NdArray);

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Array, D::Error> {
        deserializer.deserialize_any(ArrayVisitor { nulls: false })
    }
}

/// The same, but null means NaN.
pub(super) struct ArrayWithNulls(pub(super) NdArray);

impl<'de> Deserialize<'de> for ArrayWithNulls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ArrayWithNulls, D::Error> {
        let Array(array) = deserializer.deserialize_any(ArrayVisitor { nulls: true })?;
        Ok(ArrayWithNulls(array))
    }
}

struct ArrayVisitor {
    nulls: bool,
}

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Array;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array as nested lists of numbers")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Array, E> {
        Ok(Array(NdArray::Dense(Tensor::scalar(Number::Bool(value)))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Array, E> {
        Ok(Array(NdArray::Dense(Tensor::scalar(Number::Int(value)))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Array, E> {
        Ok(Array(NdArray::Dense(Tensor::scalar(Number::from(value)))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Array, E> {
        Ok(Array(NdArray::Dense(Tensor::scalar(Number::Float(value)))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Array, A::Error> {
        values::read_lists(seq, self.nulls).map(|tensor| Array(NdArray::Dense(tensor)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Array, A::Error> {
        let proto = ArrayProto::deserialize(MapAccessDeserializer::new(map))?;
        let class = proto.cls_name.unwrap_or_else(|| Tensor::NUMPY.to_owned());
        let parameters = proto.parameters.unwrap_or_default();
        match (proto.dense, proto.sparse) {
            (Some(dense), None) => {
                Ok(Array(NdArray::Dense(Tensor { class, parameters, ..dense.tensor() })))
            }
            (None, Some(sparse)) => Ok(Array(NdArray::Sparse(Box::new(SparseTensor {
                indices: sparse.indices.tensor(),
                values: sparse.values.tensor(),
                shape: sparse.shape,
                class,
                parameters,
            })))),
            _ => {
                Err(de::Error::custom("an array must be nested lists, or have `dense` or `sparse`"))
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct ArrayProto {
    dense: Option<DenseProto>,
    sparse: Option<SparseProto>,
    #[serde(alias = "clsName")]
    cls_name: Option<String>,
    parameters: Option<Map>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct DenseProto {
    buffer: Option<Base64>,
    shape: Vec<u32>,
    dtype: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct SparseProto {
    indices: DenseProto,
    values: DenseProto,
    shape: Vec<u32>,
}

impl DenseProto {
    fn tensor(self) -> Tensor {
        let data = self.buffer.map_or_else(Bytes::new, |Base64(bytes)| bytes);
        Tensor::new(DType::from(self.dtype), self.shape, data)
    }
}
