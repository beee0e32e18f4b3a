//! The Document: one type for both families.

use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Family, Map, NdArray, proto};

/// The rule that a Document with more contents than v1 allows breaks, for messages.
pub const ONE_CONTENT: &str = "a Document of the v1 family has one of text, blob and tensor";

/// The data that a Flow processes, with all fields that a Jina Document can have.
///
/// Empty strings, zeros and empty collections mean "not set", as on the wire of the v1 family.
/// `text`, `blob` and `tensor` are the *content*: v1 allows one of them at a time, v2 all three.
///
/// # Plain JSON
///
/// `serde` writes and reads the form for people and files: v1's keys (`id`, `text`, `blob` as base64,
/// `tensor` as nested lists …), without unset ones. Nested lists imply `<i8`, `<f8` or `|b1`; for any other
/// type there is also a key `tensor_dtype` or `embedding_dtype`. An array that lists cannot represent
/// (sparse, complex, of unknown type, with a buffer of the wrong length) is written as in protobuf's JSON
/// mapping, as an object with base64. NaN and infinity are protobuf's strings `NaN`, `Infinity` and
/// `-Infinity`.
///
/// Reading also accepts camelCase, and `url` for `uri`. Unknown keys become fields of [`Document::extra`],
/// with integers beyond 32 bits as floats. An object under `fields` holds the fields of a custom schema by
/// name. The class of an array written as lists, axes after one of length 0, and the types of nodes in
/// `extra` are lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Any string; an Executor gives a Document without one an id of 32 hex digits.
    pub id: String,
    /// Text content.
    pub text: Option<String>,
    /// Binary content.
    pub blob: Option<Bytes>,
    /// Array content.
    pub tensor: Option<NdArray>,
    /// The vector that represents the content in a search.
    pub embedding: Option<NdArray>,
    /// Where the content came from (v2's legacy schema calls it `url`).
    pub uri: String,
    /// For example `image/jpeg`.
    pub mime_type: String,
    /// For example `text` or `image`.
    pub modality: String,
    /// The Document this one is a chunk of.
    pub parent_id: String,
    /// Depth below the root through chunks.
    pub granularity: u32,
    /// Depth below the root through matches.
    pub adjacency: u32,
    /// A relative importance.
    pub weight: f32,
    /// A position within the parent.
    pub offset: f32,
    /// A position as a list of numbers.
    pub location: Vec<f32>,
    /// Arbitrary values. Numbers are doubles on v1's wire; v2 distinguishes integers and floats.
    pub tags: Map,
    /// Parts of this Document.
    pub chunks: Vec<Document>,
    /// Documents that a search found for this one.
    pub matches: Vec<Document>,
    /// Scores by name, on matches.
    pub scores: IndexMap<String, NamedScore>,
    /// Evaluations by name.
    pub evaluations: IndexMap<String, NamedScore>,
    /// v1's `_metadata`.
    pub metadata: Map,
    /// v2 fields not listed above (those of a custom schema), kept as received.
    ///
    /// An empty `id` among them only marks that the schema is not the default one: see
    /// [`Document::set_own_schema`].
    pub extra: IndexMap<String, proto::v2::NodeProto>,
}

/// A score or an evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedScore {
    /// The value; 32 bits on v1's wire.
    pub value: f64,
    /// The operator that computed it, for example `cosine`.
    pub op_name: String,
    /// A description in words.
    pub description: String,
    /// The id of the Document it refers to.
    pub ref_id: String,
}

impl Document {
    /// Changes a Document as an Executor does when it reads one.
    ///
    /// A Document without an id gets one: the 32 hex digits of a number from `random`. In v1, also:
    /// - Empty text or blob is not content, and an array of an unknown or missing class is silently dropped.
    /// - Chunks get this Document as parent and a granularity one above its own, and matches an adjacency one
    ///   above. As in Python, a chunk's own chunks follow the granularity that the chunk *arrived* with, so
    ///   wrong depths move down one level with every Executor.
    pub fn settle(&mut self, family: Family, random: &mut impl FnMut() -> u128) {
        self.give_id(&mut *random);
        for part in self.chunks.iter_mut().chain(&mut self.matches) {
            part.settle(family, random);
        }
        if family == Family::V2 {
            return;
        }
        self.text.take_if(|text| text.is_empty());
        self.blob.take_if(|blob| blob.is_empty());
        self.tensor.take_if(|array| !array.has_known_class());
        self.embedding.take_if(|array| !array.has_known_class());
        for chunk in &mut self.chunks {
            chunk.parent_id.clone_from(&self.id);
            chunk.granularity = self.granularity.saturating_add(1);
        }
        for found in &mut self.matches {
            found.adjacency = self.adjacency.saturating_add(1);
        }
    }

    /// The contents of a Document that has more than [the one that v1 allows](ONE_CONTENT), such as
    /// `text and blob`. An empty text or blob does not count.
    pub fn two_contents(&self) -> Option<String> {
        let set = [
            ("text", self.text.as_ref().is_some_and(|text| !text.is_empty())),
            ("blob", self.blob.as_ref().is_some_and(|blob| !blob.is_empty())),
            ("tensor", self.tensor.is_some()),
        ];
        let found: Vec<&str> = set.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        (found.len() > 1).then(|| found.join(" and "))
    }

    /// Sets an id if there is none: the 32 hex digits of a random number.
    pub fn give_id(&mut self, random: impl FnOnce() -> u128) {
        if self.id.is_empty() {
            self.id = format!("{:032x}", random());
        }
    }

    /// Sets an id if there is none, also in Documents within fields of a custom schema.
    pub fn give_ids(&mut self, mut random: impl FnMut() -> u128) {
        self.give_id(&mut random);
        self.extra.values_mut().for_each(|node| node.give_ids(&mut random));
    }

    /// Whether it has a custom schema: unset fields are then not sent, and get the schema's defaults.
    pub fn has_own_schema(&self) -> bool {
        super::v2::has_own_schema(self)
    }

    /// Marks it as having a custom schema, even if none of its fields implies that.
    pub fn set_own_schema(&mut self) {
        if !self.has_own_schema() {
            self.extra.insert("id".into(), proto::v2::NodeProto::default());
        }
    }

    /// Sets fields of a custom schema. The id is the one that every Document has.
    pub fn set_own_fields(&mut self, fields: Vec<(String, proto::v2::NodeProto)>) {
        for (name, field) in fields {
            match field.content {
                Some(proto::v2::node_proto::Content::Text(id)) if name == "id" => self.id = id,
                content => {
                    self.extra.insert(name, proto::v2::NodeProto { content, ..field });
                }
            }
        }
        self.set_own_schema();
    }

    /// The names of the fields that are set, as sent to a v2 Flow.
    pub fn set_fields(&self) -> impl Iterator<Item = &str> {
        let named = super::v2::NAMES.iter().copied().filter(|name| super::v2::is_set(self, name));
        let others = self.extra.keys().map(String::as_str);
        named.chain(others.filter(|name| self.own_field(name).is_some()))
    }

    /// A field of a custom schema, unless v1's field of that name is set.
    pub fn own_field(&self, name: &str) -> Option<&proto::v2::NodeProto> {
        let field = self.extra.get(name).filter(|_| !super::v2::is_set(self, name));
        field.filter(|field| !super::v2::is_mark(name, field))
    }

    /// Sets the parent and depth of chunks and matches, as Python does when a Document is built from the
    /// inside out: a chunk of a chunk gets the depth that it has within the latter.
    pub fn adopt_parts(&mut self) {
        for chunk in &mut self.chunks {
            chunk.adopt_parts();
            chunk.parent_id.clone_from(&self.id);
            chunk.granularity = self.granularity.saturating_add(1);
        }
        for found in &mut self.matches {
            found.adopt_parts();
            found.adjacency = self.adjacency.saturating_add(1);
        }
    }

    /// Reads a Document as people write it in JSON: with v1's keys, and with fields of a custom schema beside
    /// them or under `fields`.
    ///
    /// # Errors
    /// When the text is not JSON, or not a Document.
    pub fn read_json(text: &str) -> Result<Document, serde_json::Error> {
        match serde_json::from_str::<Document>(text) {
            Ok(mut document) => {
                document.adopt_parts();
                // `uri` is v1's name for what v2's default schema calls `url`; in a custom schema it is a
                // field like any other.
                if !document.extra.is_empty() && !document.uri.is_empty() {
                    let UniqueKeys(keys) = serde_json::from_str(text)?;
                    if keys.contains_key("uri") {
                        let uri = std::mem::take(&mut document.uri);
                        document
                            .extra
                            .insert("uri".into(), proto::v2::NodeProto::of_json(uri.into()));
                    }
                }
                Ok(document)
            }
            Err(error) if error.is_data() => {
                // A duplicate key has no definite value that could be sent.
                let keys = serde_json::from_str::<UniqueKeys>(text).ok();
                keys.and_then(|UniqueKeys(keys)| Document::of_own_schema(keys)).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a text is a JSON object without duplicate keys, so that only a key's value can keep it from
    /// being a Document.
    pub fn has_keys(text: &str) -> bool {
        serde_json::from_str::<UniqueKeys>(text).is_ok()
    }

    /// A Document of a custom schema: every key is a field, whatever its name means in v1. `None` if all keys
    /// are v1's: then it is merely an invalid v1 Document.
    pub fn of_own_schema(mut keys: Map) -> Option<Document> {
        const KNOWN: [&str; 24] = [
            "id",
            "text",
            "blob",
            "tensor",
            "embedding",
            "uri",
            "url",
            "mime_type",
            "mimeType",
            "modality",
            "parent_id",
            "parentId",
            "granularity",
            "adjacency",
            "weight",
            "offset",
            "location",
            "tags",
            "chunks",
            "matches",
            "scores",
            "evaluations",
            "_metadata",
            "fields",
        ];
        if keys.keys().all(|key| KNOWN.contains(&key.as_str())) {
            return None;
        }
        let id = match keys.remove("id") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(id)) => id,
            Some(_) => return None,
        };
        let nodes =
            keys.into_iter().map(|(name, value)| (name, proto::v2::NodeProto::of_json(value)));
        let mut document = Document { id, extra: nodes.collect(), ..Document::default() };
        document.set_own_schema();
        Some(document)
    }

    /// A Document with text content and no id.
    pub fn from_text(text: impl Into<String>) -> Document {
        Document { text: Some(text.into()), ..Document::default() }
    }
}

/// A JSON object without duplicate keys. serde_json silently keeps the last of two values.
struct UniqueKeys(Map);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UniqueKeys, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Document, an object with keys such as `id` and `text`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
                let mut keys = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if keys.contains_key(&key) {
                        return Err(de::Error::custom(format!("`{key}` is given twice")));
                    }
                    keys.insert(key, value);
                }
                Ok(UniqueKeys(keys))
            }
        }

        deserializer.deserialize_map(KeysVisitor)
    }
}
