//! Documents from JSON. Null is unset everywhere.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
    value::MapAccessDeserializer,
};
use serde_json::Value;

use super::Dialect;
use crate::wire::value::non_finite_of;
use crate::wire::values::{self, Number};
use crate::wire::{DType, Document, Map, NamedScore, NdArray, SparseTensor, Tensor, v2};

/// Padding is read where it is and not missed where it is not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads one Document.
#[derive(Clone, Copy)]
pub(super) struct DocumentSeed(pub(super) Dialect);

/// Reads a list of Documents.
#[derive(Clone, Copy)]
pub(in crate::wire) struct DocumentsSeed(pub(in crate::wire) Dialect);

/// Plain JSON, the inverse of writing it. Keys are those of v1 in snake_case or camelCase, `url`
/// counts as `uri`, and every other key becomes a field of a schema of its own
/// ([`Document::extra`]), where integers beyond 32 bits are floats.
impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        DocumentSeed(Dialect::Plain).deserialize(deserializer)
    }
}

/// Whether an array of Documents is one of v2's `to_json`, judged by the keys of the first: all
/// are there, and the place of the content is called `url`.
pub(in crate::wire) fn is_array_of_v2(text: &[u8]) -> bool {
    struct First(Vec<String>);
    struct FirstVisitor;

    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First, D::Error> {
            deserializer.deserialize_seq(FirstVisitor)
        }
    }

    impl<'de> Visitor<'de> for FirstVisitor {
        type Value = First;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of Documents")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
            let first: Option<IndexMap<String, IgnoredAny>> = seq.next_element()?;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(First(first.unwrap_or_default().into_keys().collect()))
        }
    }

    let Ok(First(keys)) = serde_json::from_slice(text) else { return false };
    let has = |key: &str| keys.iter().any(|known| known == key);
    ["url", "blob", "tensor", "embedding"].into_iter().all(has) && !has("uri")
}

impl<'de> DeserializeSeed<'de> for DocumentsSeed {
    type Value = Vec<Document>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for DocumentsSeed {
    type Value = Vec<Document>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Document>, A::Error> {
        let mut docs = Vec::new();
        while let Some(doc) = seq.next_element_seed(DocumentSeed(self.0))? {
            docs.push(doc);
        }
        Ok(docs)
    }
}

impl<'de> DeserializeSeed<'de> for DocumentSeed {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Document, an object with keys such as `id` and `text`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut doc = Document::default();
        let mut dtypes = Dtypes::default();
        while let Some(Key(key)) = map.next_key()? {
            let rest = match self.0 {
                Dialect::V2 => read_v2(&mut doc, &key, &mut map)?,
                dialect => read_v1(&mut doc, &mut dtypes, &key, &mut map, dialect)?,
            };
            match (rest, self.0) {
                (Rest::Read, _) => {}
                // What a gateway of v1 does not know it does not mind.
                (Rest::Unknown, Dialect::V1Request | Dialect::V1Response | Dialect::GraphQl) => {
                    map.next_value::<IgnoredAny>()?;
                }
                (Rest::Unknown, Dialect::V2 | Dialect::Plain) => {
                    let node = v2::node_of(map.next_value()?);
                    let rest = match self.0 {
                        Dialect::V2 => v2::read_field(&mut doc, &key, node),
                        _ => Err(node),
                    };
                    if let Err(node) = rest {
                        doc.extra.insert(key.into_owned(), node);
                    }
                }
            }
        }
        for (array, dtype) in
            [(&mut doc.tensor, dtypes.tensor), (&mut doc.embedding, dtypes.embedding)]
        {
            if let (Some(NdArray::Dense(tensor)), Some(dtype)) = (array, dtype) {
                *tensor = tensor.cast(&DType::from(dtype)).map_err(de::Error::custom)?;
            }
        }
        Ok(doc)
    }
}

/// Whether a key was one of ours.
enum Rest {
    Read,
    Unknown,
}

/// The types that plain JSON keeps beside arrays. They may come before or after them.
#[derive(Default)]
struct Dtypes {
    tensor: Option<String>,
    embedding: Option<String>,
}

fn read_v1<'de, A: MapAccess<'de>>(
    doc: &mut Document,
    dtypes: &mut Dtypes,
    key: &str,
    map: &mut A,
    dialect: Dialect,
) -> Result<Rest, A::Error> {
    let plain = dialect == Dialect::Plain;
    match key {
        "id" => doc.id = text(map, dialect)?.unwrap_or_default(),
        "parent_id" | "parentId" => doc.parent_id = text(map, dialect)?.unwrap_or_default(),
        "granularity" => doc.granularity = count(map)?,
        "adjacency" => doc.adjacency = count(map)?,
        "blob" if matches!(dialect, Dialect::V1Request | Dialect::V1Response) => {
            doc.blob = map.next_value::<Option<LooseBase64>>()?.map(|LooseBase64(blob)| blob);
        }
        "blob" => doc.blob = map.next_value::<Option<Base64>>()?.map(|Base64(blob)| blob),
        "tensor" => doc.tensor = map.next_value::<Option<Array>>()?.map(|Array(array)| array),
        "mime_type" | "mimeType" => doc.mime_type = text(map, dialect)?.unwrap_or_default(),
        "text" => doc.text = text(map, dialect)?,
        "weight" => doc.weight = real(map)?,
        "uri" => doc.uri = text(map, dialect)?.unwrap_or_default(),
        "url" if plain => doc.uri = text(map, dialect)?.unwrap_or_default(),
        "tags" if dialect == Dialect::GraphQl => {
            doc.tags = map.next_value::<Option<TagsText>>()?.unwrap_or_default().0;
        }
        "tags" => doc.tags = map.next_value::<Option<Map>>()?.unwrap_or_default(),
        "offset" => doc.offset = real(map)?,
        "location" => {
            let values = map.next_value::<Option<Vec<Real>>>()?.unwrap_or_default();
            doc.location = values.into_iter().map(|Real(value)| value as f32).collect();
        }
        "embedding" => doc.embedding = map.next_value::<Option<Array>>()?.map(|Array(array)| array),
        "modality" => doc.modality = text(map, dialect)?.unwrap_or_default(),
        "evaluations" => doc.evaluations = scores(map)?,
        "scores" => doc.scores = scores(map)?,
        "chunks" => doc.chunks = documents(map, dialect)?,
        "matches" => doc.matches = documents(map, dialect)?,
        "_metadata" | "Metadata" => {
            doc.metadata = map.next_value::<Option<Map>>()?.unwrap_or_default();
        }
        "tensor_dtype" if plain => dtypes.tensor = map.next_value()?,
        "embedding_dtype" if plain => dtypes.embedding = map.next_value()?,
        _ => return Ok(Rest::Unknown),
    }
    Ok(Rest::Read)
}

/// The fields of v2's default schema; others are read as nodes, as in the protobuf form.
fn read_v2<'de, A: MapAccess<'de>>(
    doc: &mut Document,
    key: &str,
    map: &mut A,
) -> Result<Rest, A::Error> {
    match key {
        "id" => doc.id = text(map, Dialect::V2)?.unwrap_or_default(),
        "text" => doc.text = text(map, Dialect::V2)?,
        "url" => doc.uri = text(map, Dialect::V2)?.unwrap_or_default(),
        "blob" => doc.blob = text(map, Dialect::V2)?.map(Bytes::from),
        "tensor" => doc.tensor = map.next_value::<Option<Array>>()?.map(|Array(array)| array),
        "embedding" => doc.embedding = map.next_value::<Option<Array>>()?.map(|Array(array)| array),
        "tags" => doc.tags = map.next_value::<Option<Map>>()?.unwrap_or_default(),
        "chunks" => doc.chunks = documents(map, Dialect::V2)?,
        "matches" => doc.matches = documents(map, Dialect::V2)?,
        _ => return Ok(Rest::Unknown),
    }
    Ok(Rest::Read)
}

/// A string. v1 makes one of a number or a boolean, as pydantic 1 does.
fn text<'de, A: MapAccess<'de>>(map: &mut A, dialect: Dialect) -> Result<Option<String>, A::Error> {
    match dialect {
        Dialect::V1Request | Dialect::V1Response => {
            Ok(map.next_value::<Option<Coerced>>()?.map(|Coerced(text)| text))
        }
        _ => map.next_value(),
    }
}

/// A whole number; 2.0 is one.
fn count<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u32, A::Error> {
    let Some(Real(value)) = map.next_value()? else { return Ok(0) };
    if value.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&value) {
        return Err(de::Error::invalid_value(
            de::Unexpected::Float(value),
            &"a whole number from 0 to 4294967295",
        ));
    }
    Ok(value as u32)
}

fn real<'de, A: MapAccess<'de>>(map: &mut A) -> Result<f32, A::Error> {
    Ok(map.next_value::<Option<Real>>()?.map_or(0.0, |Real(value)| value as f32))
}

fn documents<'de, A: MapAccess<'de>>(
    map: &mut A,
    dialect: Dialect,
) -> Result<Vec<Document>, A::Error> {
    Ok(map.next_value_seed(OrNull(DocumentsSeed(dialect)))?.unwrap_or_default())
}

fn scores<'de, A: MapAccess<'de>>(map: &mut A) -> Result<IndexMap<String, NamedScore>, A::Error> {
    Ok(map.next_value::<Option<Scores>>()?.unwrap_or_default().0)
}

/// `None` for null.
struct OrNull<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OrNull<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for OrNull<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null or a list of Documents")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// A key, borrowed from the text where that is possible.
struct Key<'de>(Cow<'de, str>);

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

/// A string, or what pydantic 1 makes one of.
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

/// A number, or the name of one that JSON has not.
struct Real(f64);

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
struct Base64(Bytes);

/// The same as Python reads it: what is not of its alphabet does not count.
struct LooseBase64(Bytes);

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

/// Tags of GraphQL's input: JSON text in a string. An object will do as well.
#[derive(Default)]
struct TagsText(Map);

impl<'de> Deserialize<'de> for TagsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TagsText, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(tags) => Ok(TagsText(tags)),
            Value::String(text) => serde_json::from_str(&text).map(TagsText).map_err(|error| {
                de::Error::custom(format!("tags are an object as JSON text: {error}"))
            }),
            _ => Err(de::Error::custom("tags are an object as JSON text")),
        }
    }
}

/// Scores by name: an object, or GraphQL's list.
#[derive(Default)]
struct Scores(IndexMap<String, NamedScore>);

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

/// An array: nested lists, a single number, or an object as protobuf's JSON mapping has it.
struct Array(NdArray);

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Array, D::Error> {
        deserializer.deserialize_any(ArrayVisitor)
    }
}

struct ArrayVisitor;

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
        values::read_lists(seq).map(|tensor| Array(NdArray::Dense(tensor)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Array, A::Error> {
        let proto = ArrayProto::deserialize(MapAccessDeserializer::new(map))?;
        let class = proto.cls_name.unwrap_or_else(|| Tensor::NUMPY.to_owned());
        let parameters = proto.parameters.unwrap_or_default();
        match (proto.dense, proto.sparse) {
            (Some(dense), None) => {
                Ok(Array(NdArray::Dense(Tensor { class, parameters, ..dense.tensor() })))
            }
            (None, Some(sparse)) => Ok(Array(NdArray::Sparse(SparseTensor {
                indices: sparse.indices.tensor(),
                values: sparse.values.tensor(),
                shape: sparse.shape,
                class,
                parameters,
            }))),
            _ => Err(de::Error::custom("an array is nested lists, or has `dense` or `sparse`")),
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
