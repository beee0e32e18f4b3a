//! Writes Documents as JSON.

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::{Context, Dialect, NESTING_MAX};
use crate::wire::proto::v2::{DocProto, NodeProto, node_proto::Content};
use crate::wire::value::non_finite;
use crate::wire::values::Style;
use crate::wire::{
    ByteOrder, DType, Document, EncodeError, Map, NamedScore, NdArray, ScalarKind, SparseTensor,
    Tensor, TensorError, v1, v2,
};

/// A value to be written as JSON, with the Document it belongs to.
pub(super) struct AsJson<'a, T: ?Sized> {
    value: &'a T,
    /// The id of the Document, for errors.
    id: &'a str,
    /// The number of Documents it is nested in.
    depth: usize,
    context: &'a Context,
}

/// Plain JSON, see [`Document`].
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AsJson::new(self, &Context::new(Dialect::Plain)).serialize(serializer)
    }
}

impl<'a, T: ?Sized> AsJson<'a, T> {
    pub(super) fn new(value: &'a T, context: &'a Context) -> AsJson<'a, T> {
        AsJson { value, id: "", depth: 0, context }
    }

    fn with<'b, U: ?Sized>(&'b self, value: &'b U) -> AsJson<'b, U> {
        AsJson { value, id: self.id, depth: self.depth, context: self.context }
    }

    fn nested<'b>(&'b self, docs: &'b [Document]) -> AsJson<'b, [Document]> {
        AsJson { depth: self.depth + 1, ..self.with(docs) }
    }

    fn plain(&self) -> bool {
        self.context.dialect == Dialect::Plain
    }

    fn fail_array<R, E: serde::ser::Error>(&self, source: TensorError) -> Result<R, E> {
        self.context.fail(EncodeError::Array { id: self.id.to_owned(), source })
    }

    fn fail_value<R, E: serde::ser::Error>(&self, what: String) -> Result<R, E> {
        self.context.fail(EncodeError::Value { id: self.id.to_owned(), what })
    }
}

impl Serialize for AsJson<'_, [Document]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.value.iter().map(|doc| self.with(doc)))
    }
}

impl Serialize for AsJson<'_, Document> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_doc = AsJson { id: &self.value.id, ..*self };
        if self.depth > NESTING_MAX {
            return self.context.fail(EncodeError::Depth { limit: NESTING_MAX });
        }
        if !self.plain() && !is_finite(self.value) {
            return of_doc.fail_value("weight, offset and location must be finite".into());
        }
        match self.context.dialect {
            Dialect::V2 | Dialect::V2Any => of_doc.v2(serializer),
            _ => of_doc.v1(serializer),
        }
    }
}

fn is_finite(doc: &Document) -> bool {
    doc.weight.is_finite()
        && doc.offset.is_finite()
        && doc.location.iter().all(|value| value.is_finite())
}

/// The keys of an object; `None` means unset: null or absent.
struct Fields<M> {
    map: M,
    nulls: bool,
}

impl<M: SerializeMap> Fields<M> {
    fn put(&mut self, key: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
        match value {
            Some(value) => self.map.serialize_entry(key, &value),
            None if self.nulls => self.map.serialize_entry(key, &()),
            None => Ok(()),
        }
    }

    fn text(&mut self, key: &str, value: &str) -> Result<(), M::Error> {
        self.put(key, Some(value).filter(|value| !value.is_empty()))
    }

    fn count(&mut self, key: &str, value: u32) -> Result<(), M::Error> {
        self.put(key, Some(value).filter(|value| *value != 0))
    }

    fn float(&mut self, key: &str, value: Single) -> Result<(), M::Error> {
        self.put(key, Some(value).filter(|value| value.value != 0.0))
    }
}

impl AsJson<'_, Document> {
    /// The 19 keys of v1's `PydanticDocument`, in its order.
    fn v1<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let doc = self.value;
        let plain = self.plain();
        if !plain && let Err(error) = v1::check(doc) {
            return self.context.fail(error);
        }
        let (parent_id, mime_type) = match self.context.dialect {
            Dialect::GraphQl => ("parentId", "mimeType"),
            _ => ("parent_id", "mime_type"),
        };
        // In v1, content of length 0 does not count.
        let content = |length: usize| plain || length > 0;
        let some = |set: bool| set.then_some(());

        let mut map = Fields { map: serializer.serialize_map(None)?, nulls: !plain };
        map.text("id", &doc.id)?;
        map.text(parent_id, &doc.parent_id)?;
        map.count("granularity", doc.granularity)?;
        map.count("adjacency", doc.adjacency)?;
        let blob = doc.blob.as_ref().filter(|blob| content(blob.len()));
        map.put("blob", blob.map(|blob| Base64(blob)))?;
        self.array(&mut map, "tensor", &doc.tensor)?;
        map.text(mime_type, &doc.mime_type)?;
        map.put("text", doc.text.as_ref().filter(|text| content(text.len())))?;
        map.float("weight", self.single(doc.weight))?;
        // v2's default schema calls it `url`, and so do custom schemas.
        map.text(if plain && v2::has_own_schema(doc) { "url" } else { "uri" }, &doc.uri)?;
        map.put("tags", some(!doc.tags.is_empty()).map(|()| self.tags()))?;
        map.float("offset", self.single(doc.offset))?;
        map.put("location", some(!doc.location.is_empty()).map(|()| self.singles(&doc.location)))?;
        self.array(&mut map, "embedding", &doc.embedding)?;
        map.text("modality", &doc.modality)?;
        for (key, scores) in [("evaluations", &doc.evaluations), ("scores", &doc.scores)] {
            map.put(key, some(!scores.is_empty()).map(|()| self.with(scores)))?;
        }
        for (key, docs) in [("chunks", &doc.chunks), ("matches", &doc.matches)] {
            map.put(key, some(!docs.is_empty()).map(|()| self.nested(docs)))?;
        }
        if plain {
            map.put("_metadata", some(!doc.metadata.is_empty()).map(|()| &doc.metadata))?;
            self.extra(&mut map)?;
        }
        map.map.end()
    }

    /// The keys of v2's default schema, in its order, then all other set fields.
    fn v2<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let doc = self.value;
        let some = |set: bool| set.then_some(());
        let mut map = Fields { map: serializer.serialize_map(None)?, nulls: false };

        map.text("id", &doc.id)?;
        // Unset fields are null where the protobuf form has an empty node.
        let own_schema = v2::has_own_schema(doc);
        let nulls = |key: &str| !own_schema && !doc.extra.contains_key(key);
        map.nulls = nulls("tensor");
        self.array(&mut map, "tensor", &doc.tensor)?;
        for (key, docs) in [("chunks", &doc.chunks), ("matches", &doc.matches)] {
            map.nulls = nulls(key);
            map.put(key, some(!docs.is_empty()).map(|()| self.nested(docs)))?;
        }
        map.nulls = nulls("blob");
        map.put("blob", doc.blob.as_ref().map(|blob| self.with(&blob[..])))?;
        map.nulls = nulls("text");
        map.put("text", doc.text.as_ref())?;
        map.nulls = nulls("url");
        map.text("url", &doc.uri)?;
        map.nulls = nulls("embedding");
        self.array(&mut map, "embedding", &doc.embedding)?;
        map.put("tags", some(!doc.tags.is_empty() || nulls("tags")).map(|()| &doc.tags))?;
        map.nulls = nulls("scores");
        map.put("scores", some(!doc.scores.is_empty()).map(|()| self.with(&doc.scores)))?;

        map.nulls = false;
        map.text("parent_id", &doc.parent_id)?;
        map.count("granularity", doc.granularity)?;
        map.count("adjacency", doc.adjacency)?;
        map.text("mime_type", &doc.mime_type)?;
        map.float("weight", self.single(doc.weight))?;
        map.float("offset", self.single(doc.offset))?;
        map.put("location", some(!doc.location.is_empty()).map(|()| self.singles(&doc.location)))?;
        map.text("modality", &doc.modality)?;
        let evaluations = some(!doc.evaluations.is_empty());
        map.put("evaluations", evaluations.map(|()| self.with(&doc.evaluations)))?;
        map.put("_metadata", some(!doc.metadata.is_empty()).map(|()| &doc.metadata))?;
        self.extra(&mut map)?;
        map.map.end()
    }

    /// Fields of a custom schema, unless the Document's field of that name has been set since.
    fn extra<M: SerializeMap>(&self, map: &mut Fields<M>) -> Result<(), M::Error> {
        for name in self.value.extra.keys() {
            if let Some(field) = self.value.own_field(name) {
                map.put(name, Some(self.with(field)))?;
            }
        }
        Ok(())
    }

    fn array<M: SerializeMap>(
        &self,
        map: &mut Fields<M>,
        key: &str,
        array: &Option<NdArray>,
    ) -> Result<(), M::Error> {
        map.put(key, array.as_ref().map(|array| self.with(array)))?;
        match array {
            Some(NdArray::Dense(tensor)) if self.plain() => {
                map.put(&format!("{key}_dtype"), dtype_hint(tensor).map(DType::name))
            }
            _ => Ok(()),
        }
    }

    fn single(&self, value: f32) -> Single {
        Single { value, short: self.plain() }
    }

    fn singles<'b>(&self, values: &'b [f32]) -> Singles<'b> {
        Singles { values, short: self.plain() }
    }

    fn tags(&self) -> Tags<'_> {
        // A v1 gateway reads the integers 1 and 0 as True and False; Jina's client writes 1.0 too.
        let floats = self.context.dialect != Dialect::Plain;
        Tags { tags: &self.value.tags, floats }
    }
}

/// Tags of v1.
struct Tags<'a> {
    tags: &'a Map,
    /// Whether all numbers are written as floats.
    floats: bool,
}

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.floats {
            true => Doubles(self.tags).serialize(serializer),
            false => self.tags.serialize(serializer),
        }
    }
}

/// A JSON value that has been through a Struct: all its numbers are floats.
pub(super) struct Doubles<'a, T>(pub(super) &'a T);

impl Serialize for Doubles<'_, Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_f64() {
                Some(number) => serializer.serialize_f64(number),
                None => number.serialize(serializer),
            },
            Value::Array(values) => serializer.collect_seq(values.iter().map(Doubles)),
            Value::Object(map) => Doubles(map).serialize(serializer),
            value => value.serialize(serializer),
        }
    }
}

impl Serialize for Doubles<'_, Map> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Doubles(value))))
    }
}

impl Serialize for AsJson<'_, IndexMap<String, NamedScore>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.context.dialect != Dialect::GraphQl {
            let entries = self.value.iter().map(|(name, score)| (name, self.with(score)));
            return serializer.collect_map(entries);
        }
        #[derive(serde::Serialize)]
        struct Item<'a> {
            name: &'a str,
            score: AsJson<'a, NamedScore>,
        }
        let scores = self.value.iter();
        serializer.collect_seq(scores.map(|(name, score)| Item { name, score: self.with(score) }))
    }
}

impl Serialize for AsJson<'_, NamedScore> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let score = self.value;
        let (op_name, ref_id) = match self.context.dialect {
            Dialect::GraphQl => ("opName", "refId"),
            _ => ("op_name", "ref_id"),
        };
        if !self.plain() && !score.value.is_finite() {
            return self
                .fail_value(format!("a score is {}, which JSON cannot represent", score.value));
        }
        let nulls = !matches!(self.context.dialect, Dialect::Plain | Dialect::V2 | Dialect::V2Any);
        let mut map = Fields { map: serializer.serialize_map(None)?, nulls };
        map.put("value", Some(Float(score.value)))?;
        map.text(op_name, &score.op_name)?;
        map.text("description", &score.description)?;
        map.text(ref_id, &score.ref_id)?;
        map.map.end()
    }
}

/// A double; non-finite ones are written as protobuf's strings.
struct Float(f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.serialize_str(non_finite(self.0))
        }
    }
}

/// A 32-bit float, written as its exact double as in Python, or with as few digits as it needs.
struct Single {
    value: f32,
    short: bool,
}

impl Serialize for Single {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.short && self.value.is_finite() {
            serializer.serialize_f32(self.value)
        } else {
            Float(f64::from(self.value)).serialize(serializer)
        }
    }
}

struct Singles<'a> {
    values: &'a [f32],
    short: bool,
}

impl Serialize for Singles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let single = |value: &f32| Single { value: *value, short: self.short };
        serializer.collect_seq(self.values.iter().map(single))
    }
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// A v2 blob, which is text in JSON.
impl Serialize for AsJson<'_, [u8]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.plain() {
            return Base64(self.value).serialize(serializer);
        }
        match std::str::from_utf8(self.value) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.fail_value(
                "v2's HTTP sends blobs as UTF-8 text, and these bytes are not valid UTF-8; use \
                 gRPC or WebSocket"
                    .into(),
            ),
        }
    }
}

/// The type of this array, if nested lists do not imply it.
fn dtype_hint(tensor: &Tensor) -> Option<&DType> {
    let DType::Scalar { kind, order } = tensor.dtype else { return None };
    let told = match kind {
        ScalarKind::F64 => order == ByteOrder::Little,
        ScalarKind::I64 => order == ByteOrder::Little && !tensor.data.is_empty(),
        ScalarKind::Bool => !tensor.data.is_empty(),
        _ => false,
    };
    (!told && tensor.nested(Style::Plain).is_ok()).then_some(&tensor.dtype)
}

impl Serialize for AsJson<'_, NdArray> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            NdArray::Dense(tensor) => self.with(tensor).serialize(serializer),
            array if self.plain() => ArrayProto::from(array).serialize(serializer),
            NdArray::Sparse(_) if matches!(self.context.dialect, Dialect::V2 | Dialect::V2Any) => {
                self.fail_array(TensorError::Sparse("v2 has no sparse arrays"))
            }
            NdArray::Sparse(sparse) => match sparse.to_dense() {
                Ok(tensor) => self.with(&tensor).serialize(serializer),
                Err(error) => self.fail_array(error),
            },
        }
    }
}

impl Serialize for AsJson<'_, Tensor> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tensor = self.value;
        if tensor.shape.is_empty() && !self.context.takes_scalars {
            let (shape, what) = (
                Vec::new(),
                "has no axes; over v2's HTTP such an array would arrive with different values",
            );
            return self.fail_array(TensorError::Shape { shape, what });
        }
        let style = match self.context.dialect {
            Dialect::V1Request | Dialect::V1Response | Dialect::GraphQl => Style::Exact,
            Dialect::V2 | Dialect::V2Any => Style::Short,
            Dialect::Plain => Style::Plain,
        };
        match tensor.nested(style) {
            Ok(nested) => nested.serialize(serializer).inspect_err(|_| {
                let source = tensor.non_finite_value();
                self.context.note(EncodeError::Array { id: self.id.to_owned(), source });
            }),
            Err(_) if self.plain() => ArrayProto::dense(tensor).serialize(serializer),
            Err(source) => self.fail_array(source),
        }
    }
}

/// An array as in protobuf's JSON mapping.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ArrayProto<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    dense: Option<DenseProto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse: Option<SparseProto<'a>>,
    cls_name: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: &'a Map,
}

#[derive(serde::Serialize)]
struct DenseProto<'a> {
    buffer: Base64<'a>,
    shape: &'a [u32],
    dtype: &'a str,
}

#[derive(serde::Serialize)]
struct SparseProto<'a> {
    indices: DenseProto<'a>,
    values: DenseProto<'a>,
    shape: &'a [u32],
}

impl<'a> From<&'a NdArray> for ArrayProto<'a> {
    fn from(array: &'a NdArray) -> ArrayProto<'a> {
        match array {
            NdArray::Dense(tensor) => ArrayProto::dense(tensor),
            NdArray::Sparse(sparse) => {
                let SparseTensor { indices, values, shape, class, parameters } = &**sparse;
                let (indices, values) = (indices.into(), values.into());
                let sparse = Some(SparseProto { indices, values, shape });
                ArrayProto { dense: None, sparse, cls_name: class, parameters }
            }
        }
    }
}

impl<'a> ArrayProto<'a> {
    fn dense(tensor: &'a Tensor) -> ArrayProto<'a> {
        ArrayProto {
            dense: Some(tensor.into()),
            sparse: None,
            cls_name: &tensor.class,
            parameters: &tensor.parameters,
        }
    }
}

impl<'a> From<&'a Tensor> for DenseProto<'a> {
    fn from(tensor: &'a Tensor) -> DenseProto<'a> {
        let Tensor { data, shape, dtype, .. } = tensor;
        DenseProto { buffer: Base64(data), shape, dtype: dtype.name() }
    }
}

/// A node of an unknown schema, by its value alone.
impl Serialize for AsJson<'_, NodeProto> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(content) = &self.value.content else { return serializer.serialize_unit() };
        match content {
            Content::Text(text) => serializer.serialize_str(text),
            Content::Integer(value) => serializer.serialize_i32(*value),
            Content::Float(value) if !self.plain() && !value.is_finite() => {
                self.fail_value(format!("a field is {value}, which JSON cannot represent"))
            }
            Content::Float(value) => Float(*value).serialize(serializer),
            Content::Boolean(value) => serializer.serialize_bool(*value),
            // Gateways accept text for bytes, so bytes that are valid text are written as text.
            Content::Blob(blob) if std::str::from_utf8(blob).is_err() => {
                Base64(blob).serialize(serializer)
            }
            Content::Blob(blob) => self.with(&blob[..]).serialize(serializer),
            Content::Ndarray(array) => {
                // Buffers are shared, so a copy is cheap.
                match v2::read_array(array.clone()) {
                    Ok(tensor) => self.with(&tensor).serialize(serializer),
                    Err(_) => serializer.serialize_unit(),
                }
            }
            Content::Doc(doc) => self.with(doc).serialize(serializer),
            Content::DocArray(list) => {
                serializer.collect_seq(list.docs.iter().map(|doc| self.with(doc)))
            }
            Content::List(list) | Content::Set(list) | Content::Tuple(list) => {
                serializer.collect_seq(list.data.iter().map(|node| self.with(node)))
            }
            Content::Dict(dict) => {
                let entries = dict.data.iter().map(|(key, node)| (key, self.with(node)));
                serializer.collect_map(entries)
            }
        }
    }
}

impl Serialize for AsJson<'_, DocProto> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.value.data.iter().map(|(key, node)| (key, self.with(node))))
    }
}
