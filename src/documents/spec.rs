//! A generator of Documents as its user writes it: `documents:` in a scenario file.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::template::Template;
use crate::units::{ByteSize, Count, Range, Real, one_key};
use crate::wire::ScalarKind;

/// A stream of Documents: made from these fields, or read from a data set, or both (the fields are
/// then set on top of what is read).
///
/// Every field may contain `${{ … }}`, evaluated for each Document with its index `i` and the random
/// functions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct DocumentsSpec {
    /// Number of Documents. If omitted: as many as the load needs, or the data set contains. In `chunks` and
    /// `matches`, how many each Document has: `3` or `1..5`.
    pub count: Option<Range<Count>>,
    /// Any string. If omitted, none is sent, and the Flow assigns one.
    pub id: Option<Template>,
    /// Text content: a template, or random words as in `{words: 5..30}`.
    pub text: Option<ShortOr<TextSpec>>,
    /// Short for `text`.
    pub content: Option<ShortOr<TextSpec>>,
    /// Binary content: `{bytes: 10KiB..1MiB}` of random bytes, `{files: "photos/*.jpg"}` or
    /// `{base64: …}`.
    pub blob: Option<BlobSpec>,
    /// Array content, in the form of `embedding`.
    pub tensor: Option<ArraySpec>,
    /// The vector of the Document: `{shape: [512]}`, or a list of numbers.
    pub embedding: Option<ArraySpec>,
    /// The source of the content.
    pub uri: Option<Template>,
    /// For example `image/jpeg`.
    pub mime_type: Option<Template>,
    /// For example `text` or `image`.
    pub modality: Option<Template>,
    /// The relative importance of the Document.
    pub weight: Option<Template>,
    /// Any values by name.
    pub tags: Option<Template>,
    /// Parts of the Document, with the fields of a Document. Their `i` is their index within it.
    pub chunks: Option<Box<DocumentsSpec>>,
    /// Matches of the Document, with the fields of a Document. Their `i` is their index within it.
    pub matches: Option<Box<DocumentsSpec>>,
    /// Scores by name: a number, or `{value: …, op_name: …, description: …, ref_id: …}`.
    pub scores: Option<IndexMap<String, ShortOr<ScoreSpec>>>,
    /// Evaluations by name, in the form of `scores`.
    pub evaluations: Option<IndexMap<String, ShortOr<ScoreSpec>>>,
    /// A position as a list of numbers.
    pub location: Option<Template>,
    /// A position within the parent.
    pub offset: Option<Template>,
    /// The id of the Document of which this one is a chunk or match. In `chunks` and `matches` it is the
    /// parent's id unless set.
    pub parent_id: Option<Template>,
    /// Depth through chunks. In `chunks` one more than the parent's unless set.
    pub granularity: Option<Template>,
    /// Depth through matches. In `matches` one more than the parent's unless set.
    pub adjacency: Option<Template>,
    /// Fields of a custom schema, by name: values, or generators as in the fields above,
    /// `{words: 5}`, `{shape: [512]}`, `{bytes: 1KiB}`; `{count: 3, fields: …}` is a list of Documents.
    pub fields: Option<IndexMap<String, Template>>,
    /// A data set: a file with a Document in JSON on each line.
    pub jsonl: Option<PathBuf>,
    /// A data set: a file of comma-separated values with a header line.
    pub csv: Option<PathBuf>,
    /// Of a CSV data set, the column of each field: `{text: title, tags.price: price}`. If omitted, the
    /// header has the names of fields.
    pub columns: Option<IndexMap<String, String>>,
    /// A data set: a DocumentArray as Jina saves it, in protobuf or JSON.
    pub docarray: Option<PathBuf>,
    /// In which order a data set is read. `sequential` unless set.
    pub order: Option<Order>,
    /// Of the order `zipf`, how much the first entries are preferred. 1 unless set.
    pub exponent: Option<f64>,
    /// Maximum size of one Document, with its chunks and matches. `64MiB` unless set: larger ones are
    /// rejected before anything is generated.
    pub max_size: Option<ByteSize>,
    /// Start again at the end. `false` unless set: the end of the Documents ends the load.
    pub repeat: Option<bool>,
}

impl DocumentsSpec {
    /// Whether its Documents are read from a file.
    pub(super) fn names_data(&self) -> bool {
        self.jsonl.is_some() || self.csv.is_some() || self.docarray.is_some()
    }
}

/// In which order a data set is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// In the order of the file.
    #[default]
    Sequential,
    /// Every entry once, in random order; another one in each round of `repeat`.
    Shuffle,
    /// Any entry at any time.
    Random,
    /// Any entry at any time, the first ones most often: entry `k` with a weight of `1/k^exponent`.
    Zipf,
}

/// Text that is not a template.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextSpec {
    /// The number of random words: `10`, or `5..30`.
    pub words: Range<Count>,
}

/// Binary content.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BlobSpec {
    /// The number of random bytes: `1KiB`, or `10KiB..1MiB`.
    Bytes(Range<ByteSize>),
    /// The bytes of files: a path, whose last parts may have `*` and `?`. One file for each Document,
    /// in the `order` of the Documents.
    Files(String),
    /// These bytes, in base64.
    Base64(Template),
}

/// An array: by its shape and how its values are distributed, or value by value.
#[derive(Clone, Debug)]
pub(crate) enum ArraySpec {
    /// A list of numbers, or of lists of them; or an expression that gives one.
    Values(Template),
    /// By its shape, with random values.
    Shaped(Box<ShapeSpec>),
}

/// A random array of a given shape.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShapeSpec {
    /// The length of each axis.
    pub shape: Option<Vec<u32>>,
    /// The type of the values, by its name in numpy. `float32` unless set.
    pub dtype: Option<DTypeName>,
    /// How values are distributed. Unless set, `normal` for floating-point types and `uniform` over
    /// the whole type for integers.
    pub distribution: Option<Distribution>,
    /// Scales the array to length 1.
    pub normalize: Option<Norm>,
    /// The values themselves, instead of a distribution.
    pub values: Option<Template>,
}

/// A type of numbers, as numpy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DTypeName {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float16,
    Float32,
    Float64,
    Complex64,
    Complex128,
}

/// How the values of an array are distributed: a word, or a map with settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Gaussian, `normal` or `{normal: {mean: 0, deviation: 1}}`.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation, 0 or above.
        deviation: f64,
    },
    /// Any value of a range is as likely: `uniform` for the whole type (0 to 1 for floating-point
    /// types), or `{uniform: 0..10}`.
    Uniform(Option<Range<Real>>),
    /// `exponential`, or `{exponential: 2}` for a mean of 2.
    Exponential {
        /// The mean, above 0.
        mean: f64,
    },
    /// All the same: `zeros`, `ones` or `{constant: 5}`.
    Constant(f64),
}

/// The norm that becomes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Norm {
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares.
    L2,
}

/// A score with all its fields.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreSpec {
    /// The value.
    pub value: Template,
    /// The operator that made it, for example `cosine`.
    pub op_name: Option<Template>,
    /// A description for people.
    pub description: Option<Template>,
    /// The id of the Document it refers to.
    pub ref_id: Option<Template>,
}

/// A scalar (a template), or a map with more settings.
#[derive(Clone, Debug)]
pub(crate) enum ShortOr<T> {
    /// The scalar.
    Short(Template),
    /// The map.
    Full(T),
}

impl From<DTypeName> for ScalarKind {
    fn from(name: DTypeName) -> ScalarKind {
        match name {
            DTypeName::Bool => ScalarKind::Bool,
            DTypeName::Int8 => ScalarKind::I8,
            DTypeName::Int16 => ScalarKind::I16,
            DTypeName::Int32 => ScalarKind::I32,
            DTypeName::Int64 => ScalarKind::I64,
            DTypeName::Uint8 => ScalarKind::U8,
            DTypeName::Uint16 => ScalarKind::U16,
            DTypeName::Uint32 => ScalarKind::U32,
            DTypeName::Uint64 => ScalarKind::U64,
            DTypeName::Float16 => ScalarKind::F16,
            DTypeName::Float32 => ScalarKind::F32,
            DTypeName::Float64 => ScalarKind::F64,
            DTypeName::Complex64 => ScalarKind::C64,
            DTypeName::Complex128 => ScalarKind::C128,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ShortOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShortOr<T>, D::Error> {
        struct ShortOrVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ShortOrVisitor<T> {
            type Value = ShortOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or a map")
            }

            fn visit_str<E>(self, text: &str) -> Result<ShortOr<T>, E> {
                Ok(ShortOr::Short(Template::read(text)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<ShortOr<T>, E> {
                Ok(ShortOr::Short(Template::constant(value.into())))
            }

            fn visit_i64<E>(self, value: i64) -> Result<ShortOr<T>, E> {
                Ok(ShortOr::Short(Template::constant(value.into())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<ShortOr<T>, E> {
                Ok(ShortOr::Short(Template::constant(value.into())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ShortOr<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(ShortOr::Full)
            }
        }

        deserializer.deserialize_any(ShortOrVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for ShortOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("ValueOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = generator.subschema_for::<T>();
        schemars::json_schema!({"anyOf": [{"type": ["string", "number"]}, full]})
    }
}

impl<'de> Deserialize<'de> for ArraySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ArraySpec, D::Error> {
        struct ArrayVisitor;

        impl<'de> Visitor<'de> for ArrayVisitor {
            type Value = ArraySpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map such as `{shape: [512]}`, or a list of numbers")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ArraySpec, E> {
                if !crate::template::has_expressions(text) {
                    return Err(E::invalid_type(de::Unexpected::Str(text), &self));
                }
                Ok(ArraySpec::Values(Template::read(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ArraySpec, A::Error> {
                Template::deserialize(SeqAccessDeserializer::new(seq)).map(ArraySpec::Values)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ArraySpec, A::Error> {
                let shaped = ShapeSpec::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ArraySpec::Shaped(Box::new(shaped)))
            }
        }

        deserializer.deserialize_any(ArrayVisitor)
    }
}

impl JsonSchema for ArraySpec {
    fn schema_name() -> Cow<'static, str> {
        "Array".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let shaped = generator.subschema_for::<ShapeSpec>();
        schemars::json_schema!({"anyOf": [{"type": "array"}, shaped]})
    }
}

/// A distribution by name.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DistributionWord {
    Normal,
    Uniform,
    Exponential,
    Zeros,
    Ones,
}

/// A distribution with parameters.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum DistributionMap {
    Normal(NormalSpec),
    Uniform(Range<Real>),
    Exponential(f64),
    Constant(f64),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NormalSpec {
    /// The mean. 0 unless set.
    #[serde(default)]
    mean: f64,
    /// The standard deviation, 0 or above. 1 unless set.
    #[serde(default = "one")]
    deviation: f64,
}

fn one() -> f64 {
    1.0
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Distribution, D::Error> {
        struct DistributionVisitor;

        impl<'de> Visitor<'de> for DistributionVisitor {
            type Value = Distribution;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a distribution such as `normal` or `{uniform: 0..1}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Distribution, E> {
                let word =
                    DistributionWord::deserialize(de::value::StrDeserializer::<E>::new(text))?;
                Ok(match word {
                    DistributionWord::Normal => Distribution::Normal { mean: 0.0, deviation: 1.0 },
                    DistributionWord::Uniform => Distribution::Uniform(None),
                    DistributionWord::Exponential => Distribution::Exponential { mean: 1.0 },
                    DistributionWord::Zeros => Distribution::Constant(0.0),
                    DistributionWord::Ones => Distribution::Constant(1.0),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Distribution, A::Error> {
                use de::Error;
                let map = one_key::<DistributionMap, A>(map)?;
                Ok(match map {
                    DistributionMap::Normal(NormalSpec { mean, deviation }) if deviation >= 0.0 => {
                        Distribution::Normal { mean, deviation }
                    }
                    DistributionMap::Normal(NormalSpec { deviation, .. }) => {
                        return Err(A::Error::custom(format!(
                            "`deviation` must be 0 or above, found `{deviation}`"
                        )));
                    }
                    DistributionMap::Uniform(range) => Distribution::Uniform(Some(range)),
                    DistributionMap::Exponential(mean) if mean > 0.0 => {
                        Distribution::Exponential { mean }
                    }
                    DistributionMap::Exponential(mean) => {
                        return Err(A::Error::custom(format!(
                            "the mean of `exponential` must be above 0, found `{mean}`"
                        )));
                    }
                    DistributionMap::Constant(value) => Distribution::Constant(value),
                })
            }
        }

        deserializer.deserialize_any(DistributionVisitor)
    }
}

impl JsonSchema for Distribution {
    fn schema_name() -> Cow<'static, str> {
        "Distribution".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<DistributionWord>();
        let map = generator.subschema_for::<DistributionMap>();
        schemars::json_schema!({"anyOf": [word, map]})
    }
}
