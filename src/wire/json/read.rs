//! Reads Documents from JSON. Null means unset everywhere.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use super::parts::{
    Array, ArrayWithNulls, Base64, Coerced, Key, LooseBase64, Real, Scores, TagsText,
};
use super::{Dialect, NESTING_MAX};
use crate::wire::proto::v2::{DictOfAnyProto, node_proto::Content};
use crate::wire::{DType, Document, Map, NamedScore, NdArray, v2};

/// Reads one Document.
#[derive(Clone, Copy)]
pub(super) struct DocumentSeed {
    dialect: Dialect,
    /// The number of Documents it is nested in.
    depth: usize,
}

/// Reads a list of Documents, which may be null.
#[derive(Clone, Copy)]
pub(in crate::wire) struct DocumentsSeed {
    dialect: Dialect,
    depth: usize,
}

impl DocumentSeed {
    pub(super) fn new(dialect: Dialect) -> DocumentSeed {
        DocumentSeed { dialect, depth: 0 }
    }
}

impl DocumentsSeed {
    pub(in crate::wire) fn new(dialect: Dialect) -> DocumentsSeed {
        DocumentsSeed { dialect, depth: 0 }
    }
}

/// Plain JSON, see [`Document`].
impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        DocumentSeed::new(Dialect::Plain).deserialize(deserializer)
    }
}

/// Whether an array of Documents comes from v2's `to_json`, judged by the keys of the first: all are present,
/// and the content's location is called `url`.
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
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DocumentsSeed {
    type Value = Vec<Document>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Documents")
    }

    fn visit_unit<E>(self) -> Result<Vec<Document>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Document>, A::Error> {
        let mut docs = Vec::new();
        let DocumentsSeed { dialect, depth } = self;
        while let Some(doc) = seq.next_element_seed(DocumentSeed { dialect, depth })? {
            docs.push(doc);
        }
        Ok(docs)
    }
}

/// The same, and whether there is a list at all.
struct MaybeDocuments(DocumentsSeed);

impl<'de> DeserializeSeed<'de> for MaybeDocuments {
    type Value = Option<Vec<Document>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MaybeDocuments {
    type Value = Option<Vec<Document>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_unit<E>(self) -> Result<Option<Vec<Document>>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<Vec<Document>>, A::Error> {
        self.0.visit_seq(seq).map(Some)
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
        let DocumentSeed { dialect, depth } = self;
        if depth > NESTING_MAX {
            let limit = format!("chunks and matches nest deeper than {NESTING_MAX} Documents");
            return Err(de::Error::custom(limit));
        }
        let within = DocumentsSeed { dialect, depth: depth + 1 };
        let mut doc = Document::default();
        let mut dtypes = Dtypes::default();
        let mut seen: Vec<Cow<'de, str>> = Vec::new();
        let mut empty = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            // Users write this form, and a duplicate key would silently win.
            if dialect == Dialect::Plain {
                if seen.contains(&key) {
                    return Err(de::Error::custom(format!("`{key}` is given twice")));
                }
                seen.push(key.clone());
            }
            // Handled here rather than with the other keys, whose functions take much of the stack.
            match &*key {
                "chunks" | "matches" if dialect == Dialect::V2Any => {
                    read_any_docs(&mut doc, &key, map.next_value()?, within)?;
                }
                "chunks" | "matches" => {
                    let (name, docs) = match &*key {
                        "chunks" => ("chunks", &mut doc.chunks),
                        _ => ("matches", &mut doc.matches),
                    };
                    match map.next_value_seed(MaybeDocuments(within))? {
                        None if dialect == Dialect::V2 => empty.push((name, None)),
                        Some(found) if dialect == Dialect::V2 && found.is_empty() => {
                            empty.push((name, Some(Content::List(Default::default()))));
                        }
                        found => *docs = found.unwrap_or_default(),
                    }
                }
                "fields" if dialect == Dialect::Plain => {
                    let fields: Map = map.next_value()?;
                    let nodes = fields.into_iter().map(|(name, value)| (name, v2::node_of(value)));
                    doc.extra.extend(nodes);
                    doc.set_own_schema();
                }
                _ => read_field(&mut doc, &mut dtypes, &mut empty, key, &mut map, dialect)?,
            }
        }
        v2::keep_empty(&mut doc, empty);
        cast(&mut doc.tensor, dtypes.tensor)?;
        cast(&mut doc.embedding, dtypes.embedding)?;
        Ok(doc)
    }
}

/// Restores the original type of an array.
fn cast<E: de::Error>(array: &mut Option<NdArray>, dtype: Option<String>) -> Result<(), E> {
    if let (Some(NdArray::Dense(tensor)), Some(dtype)) = (array, dtype) {
        *tensor = tensor.cast(&DType::from(dtype)).map_err(E::custom)?;
    }
    Ok(())
}

/// Reads what a custom schema may have under the names of chunks and matches.
fn read_any_docs<E: de::Error>(
    doc: &mut Document,
    key: &str,
    value: Value,
    within: DocumentsSeed,
) -> Result<(), E> {
    let is_docs = value
        .as_array()
        .is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_object));
    if !is_docs {
        doc.extra.insert(key.to_owned(), v2::node_of(value));
        return Ok(());
    }
    let docs = within.deserialize(value).map_err(E::custom)?;
    *(if key == "chunks" { &mut doc.chunks } else { &mut doc.matches }) = docs;
    Ok(())
}

fn read_field<'de, A: MapAccess<'de>>(
    doc: &mut Document,
    dtypes: &mut Dtypes,
    empty: &mut Empty,
    key: Cow<'de, str>,
    map: &mut A,
    dialect: Dialect,
) -> Result<(), A::Error> {
    let rest = match dialect {
        Dialect::V2 | Dialect::V2Any => read_v2(doc, empty, &key, map, dialect)?,
        dialect => read_v1(doc, dtypes, &key, map, dialect)?,
    };
    match (rest, dialect) {
        (Rest::Read, _) => {}
        // A v1 gateway ignores unknown keys.
        (Rest::Unknown, Dialect::V1Request | Dialect::V1Response | Dialect::GraphQl) => {
            map.next_value::<IgnoredAny>()?;
        }
        (Rest::Unknown, Dialect::V2 | Dialect::V2Any | Dialect::Plain) => {
            let node = v2::node_of(map.next_value()?);
            let rest = match dialect {
                Dialect::Plain => Some(node),
                _ if key == "scores" && v2::is_empty(&node) => {
                    empty.push(("scores", node.content));
                    None
                }
                _ => v2::read_field(doc, &key, node),
            };
            if let Some(node) = rest {
                doc.extra.insert(key.into_owned(), node);
            }
        }
    }
    Ok(())
}

/// Whether a key was known.
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
        "_metadata" | "Metadata" => {
            doc.metadata = map.next_value::<Option<Map>>()?.unwrap_or_default();
        }
        "tensor_dtype" if plain => dtypes.tensor = map.next_value()?,
        "embedding_dtype" if plain => dtypes.embedding = map.next_value()?,
        _ => return Ok(Rest::Unknown),
    }
    Ok(Rest::Read)
}

/// Fields of v2's default schema that came empty, with their empty content, if any.
type Empty = Vec<(&'static str, Option<Content>)>;

/// Reads the fields of v2's default schema; others become nodes, as in the protobuf form. So do those that
/// have another type in a custom schema.
fn read_v2<'de, A: MapAccess<'de>>(
    doc: &mut Document,
    empty: &mut Empty,
    key: &str,
    map: &mut A,
    dialect: Dialect,
) -> Result<Rest, A::Error> {
    let any = dialect == Dialect::V2Any;
    match key {
        "id" => doc.id = text(map, Dialect::V2)?.unwrap_or_default(),
        "text" => match map.next_value()? {
            Value::String(text) => doc.text = Some(text),
            Value::Null => empty.push(("text", None)),
            other => drop(doc.extra.insert(key.to_owned(), v2::node_of(other))),
        },
        "url" => match map.next_value()? {
            Value::String(text) => doc.uri = text,
            Value::Null => empty.push(("url", None)),
            other => drop(doc.extra.insert(key.to_owned(), v2::node_of(other))),
        },
        "blob" => match map.next_value()? {
            Value::String(text) => doc.blob = Some(text.into()),
            Value::Null => empty.push(("blob", None)),
            other => drop(doc.extra.insert(key.to_owned(), v2::node_of(other))),
        },
        "tags" => match map.next_value()? {
            Value::Object(tags) if tags.is_empty() => {
                empty.push(("tags", Some(Content::Dict(DictOfAnyProto::default()))));
            }
            Value::Object(tags) => doc.tags = tags,
            Value::Null => empty.push(("tags", None)),
            other => drop(doc.extra.insert(key.to_owned(), v2::node_of(other))),
        },
        "tensor" | "embedding" => {
            let name = if key == "tensor" { "tensor" } else { "embedding" };
            let array = match any {
                false => array_with_nulls(map)?,
                true => {
                    let value: Value = map.next_value()?;
                    match Option::<ArrayWithNulls>::deserialize(&value) {
                        Ok(array) => array.map(|ArrayWithNulls(array)| array),
                        Err(_) => {
                            doc.extra.insert(key.to_owned(), v2::node_of(value));
                            return Ok(Rest::Read);
                        }
                    }
                }
            };
            if array.is_none() {
                empty.push((name, None));
            }
            *(if name == "tensor" { &mut doc.tensor } else { &mut doc.embedding }) = array;
        }
        _ => return Ok(Rest::Unknown),
    }
    Ok(Rest::Read)
}

fn array_with_nulls<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<NdArray>, A::Error> {
    let array = map.next_value::<Option<ArrayWithNulls>>()?;
    Ok(array.map(|ArrayWithNulls(array)| array))
}

/// Reads a string. v1 converts numbers and booleans to one, as pydantic 1 does.
fn text<'de, A: MapAccess<'de>>(map: &mut A, dialect: Dialect) -> Result<Option<String>, A::Error> {
    match dialect {
        Dialect::V1Request | Dialect::V1Response => {
            Ok(map.next_value::<Option<Coerced>>()?.map(|Coerced(text)| text))
        }
        _ => map.next_value(),
    }
}

/// Reads a whole number; 2.0 counts as one.
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

fn scores<'de, A: MapAccess<'de>>(map: &mut A) -> Result<IndexMap<String, NamedScore>, A::Error> {
    Ok(map.next_value::<Option<Scores>>()?.unwrap_or_default().0)
}
