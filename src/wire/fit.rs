//! Converts Documents to fit a schema: fields by name, values to the required types.

use std::fmt::Write as _;
use std::mem::take;

use base64::Engine as _;
use serde_json::Value;

use super::proto::v2::{DictOfAnyProto, DocProto, ListOfAnyProto, NodeProto, node_proto::Content};
use super::schema::{Kind, Object, Schema, fills, is_one};
use super::{Document, EncodeError, NdArray, Tensor, v2};

/// Why a Document does not fit a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A field that the schema does not have.
    #[error("`{schema}` has no field `{field}`: it has {}", listed(known))]
    Unknown {
        /// The field, such as `items[0].x`.
        field: String,
        /// The Document's name in the schema.
        schema: String,
        /// The names of the schema's fields.
        known: Vec<String>,
    },
    /// A required field that is not set.
    #[error("field `{field}` of `{schema}` requires {wants}, but is missing")]
    Missing {
        /// The field.
        field: String,
        /// The Document's name in the schema.
        schema: String,
        /// The type it requires.
        wants: String,
    },
    /// A value of another type.
    #[error("field `{field}` requires {wants}, found {given}")]
    Type {
        /// The field.
        field: String,
        /// The type it requires.
        wants: String,
        /// The value it has.
        given: String,
    },
    /// The Document has something that no v2 Document may have.
    #[error("{0}")]
    Encode(String),
}

/// Maximum number of names listed.
const NAMES_MAX: usize = 30;

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(" …");
    }
    text
}

impl Misfit {
    /// The field in question, such as `items[0].x`.
    pub fn field(&self) -> Option<&str> {
        match self {
            Misfit::Unknown { field, .. }
            | Misfit::Missing { field, .. }
            | Misfit::Type { field, .. } => Some(field),
            Misfit::Encode(_) => None,
        }
    }

    /// The unknown name, and the names that the schema has instead.
    pub fn known(&self) -> Option<(&str, &[String])> {
        match self {
            Misfit::Unknown { field, known, .. } => {
                Some((field.rsplit('.').next().unwrap_or(field), known))
            }
            _ => None,
        }
    }
}

impl From<EncodeError> for Misfit {
    fn from(error: EncodeError) -> Misfit {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        Misfit::Encode(text)
    }
}

/// From here on, not all whole numbers are doubles, the type in which messages hold those beyond 32 bits.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl Schema {
    /// Makes a Document fit: each field is converted to the required type, and fields with v1 names get the
    /// schema's names. The default schema needs nothing: v1's fields fit it, and its Executors drop all
    /// others.
    ///
    /// # Errors
    /// The first field that does not fit.
    pub fn fit(&self, document: &mut Document) -> Result<(), Misfit> {
        if self.is_default() {
            return Ok(());
        }
        let object = self.root();
        let has = |name: &str| object.fields.iter().any(|field| field.name == name);
        let by_uri = !document.uri.is_empty() && has("uri") && !document.extra.contains_key("uri");
        let given = v2::take_fields(document)?;
        let rename = |name: String| match name.as_str() {
            "url" if by_uri => "uri".to_owned(),
            _ => name,
        };
        let given = given.into_iter().map(|(name, node)| (rename(name), node));
        document.extra = self.fit_fields(object, given, "")?.into_iter().collect();
        document.set_own_schema();
        Ok(())
    }

    /// Converts texts that represent bytes in JSON to bytes: bytes that are not valid text are in base64.
    pub(crate) fn give_bytes(&self, document: &mut Document) {
        for field in &self.root().fields {
            if let Some(node) = document.extra.get_mut(&field.name) {
                self.bytes_within(&field.kind, node);
            }
        }
        // `blob` is also a field of v1, and has been read as its text.
        let is_blob =
            |field: &super::schema::Field| field.name == "blob" && field.kind == Kind::Bytes;
        if !self.is_default()
            && self.root().fields.iter().any(is_blob)
            && let Some(blob) = document.blob.as_mut()
            && let Some(decoded) = str::from_utf8(blob).ok().and_then(bytes_of_text)
        {
            *blob = decoded.into();
        }
    }

    fn bytes_within(&self, kind: &Kind, node: &mut NodeProto) {
        let kind = kind.bare();
        let Some(content) = &mut node.content else { return };
        match (kind, content) {
            (Kind::Bytes, Content::Text(text)) => {
                let bytes =
                    bytes_of_text(text).unwrap_or_else(|| std::mem::take(text).into_bytes());
                *node = NodeProto::of_bytes(bytes.into());
            }
            // If text is one of the kinds, it stays text.
            (Kind::OneOf(kinds), _) if !kinds.iter().any(|kind| *kind.bare() == Kind::Text) => {
                for kind in kinds {
                    self.bytes_within(kind, node);
                }
            }
            (Kind::List(of), Content::List(list) | Content::Set(list) | Content::Tuple(list)) => {
                list.data.iter_mut().for_each(|node| self.bytes_within(of, node));
            }
            (Kind::Prefixed(_, first), Content::List(list)) => {
                for (kind, node) in first.iter().zip(&mut list.data) {
                    self.bytes_within(kind, node);
                }
            }
            (Kind::Dict(of), Content::Dict(dict)) => {
                dict.data.iter_mut().for_each(|(_, node)| self.bytes_within(of, node));
            }
            (
                Kind::Document(at),
                Content::Dict(DictOfAnyProto { data }) | Content::Doc(DocProto { data }),
            ) => {
                for field in &self.object(*at).fields {
                    if let Some(node) = data.get_mut(&field.name) {
                        self.bytes_within(&field.kind, node);
                    }
                }
            }
            _ => (),
        }
    }

    fn fit_fields(
        &self,
        object: &Object,
        given: impl Iterator<Item = (String, NodeProto)>,
        path: &str,
    ) -> Result<Vec<(String, NodeProto)>, Misfit> {
        let at =
            |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut fitting = Vec::new();
        for (name, node) in given {
            let Some(field) = object.fields.iter().find(|field| field.name == name) else {
                // These fields are set automatically on chunks and matches, so the schema need not have them.
                let unasked = ["id", "parent_id", "granularity", "adjacency"];
                if unasked.contains(&name.as_str()) && (name == "id" || !path.is_empty()) {
                    continue;
                }
                if object.is_open {
                    fitting.push((name, node));
                    continue;
                }
                let known = object.fields.iter().map(|field| field.name.clone());
                return Err(Misfit::Unknown {
                    field: at(&name),
                    schema: object.name.clone(),
                    known: known.filter(|name| name != "id").collect(),
                });
            };
            let node = if name == "id" { node } else { self.value(&field.kind, node, &at(&name))? };
            fitting.push((name, node));
        }
        for field in object.fields.iter().filter(|field| field.required && field.name != "id") {
            if !fitting.iter().any(|(name, _)| *name == field.name) {
                return Err(Misfit::Missing {
                    field: at(&field.name),
                    schema: object.name.clone(),
                    wants: self.words(&field.kind),
                });
            }
        }
        Ok(fitting)
    }

    fn value(&self, kind: &Kind, node: NodeProto, path: &str) -> Result<NodeProto, Misfit> {
        let wrong = |node: &NodeProto| {
            Err(Misfit::Type {
                field: path.to_owned(),
                wants: self.words(kind),
                given: given(node),
            })
        };
        let is_null = node.content.is_none();
        match kind {
            Kind::Any => return Ok(node),
            Kind::OneOf(kinds) => return self.one_of(kinds, node, path),
            Kind::Limited(of, limits) => {
                let fitting = self.value(of, node, path)?;
                return match limits.broken(&json(&fitting)) {
                    None => Ok(fitting),
                    Some(_) => wrong(&fitting),
                };
            }
            Kind::Prefixed(of, first) => {
                let mut fitting = self.value(of, node, path)?;
                if let Some(Content::List(list)) = &mut fitting.content {
                    for (at, (item, kind)) in list.data.iter_mut().zip(first).enumerate() {
                        *item = self.value(kind, take(item), &format!("{path}[{at}]"))?;
                    }
                }
                return Ok(fitting);
            }
            Kind::Null if is_null => return Ok(node),
            _ => (),
        }
        let NodeProto { content: Some(content), docarray_type } = node else { return wrong(&node) };
        let back =
            |content| NodeProto { content: Some(content), docarray_type: docarray_type.clone() };
        Ok(match (kind, content) {
            (Kind::Text, content @ Content::Text(_)) => back(content),
            (Kind::Text, Content::Integer(value)) => Content::Text(value.to_string()).into(),
            (Kind::Text, Content::Float(value)) => Content::Text(value.to_string()).into(),
            (Kind::Text, Content::Boolean(value)) => Content::Text(value.to_string()).into(),
            (Kind::Integer, content @ Content::Integer(_)) => back(content),
            (Kind::Integer, Content::Float(value)) if value.abs() >= EXACT_MAX => {
                return Err(Misfit::Type {
                    field: path.to_owned(),
                    wants: "a whole number below 2^53, as messages cannot hold larger ones exactly"
                        .into(),
                    given: given(&back(Content::Float(value))),
                });
            }
            (Kind::Integer, Content::Float(value)) if value.fract() == 0.0 => whole(value),
            (Kind::Integer, Content::Text(text)) => match text.trim().parse::<i64>() {
                Ok(value) => return self.value(kind, NodeProto::of_json(value.into()), path),
                Err(_) => return wrong(&back(Content::Text(text))),
            },
            (Kind::Float, content @ Content::Float(_)) => back(content),
            (Kind::Float, Content::Integer(value)) => Content::Float(f64::from(value)).into(),
            (Kind::Float, Content::Text(text)) => match text.trim().parse::<f64>() {
                Ok(value) if value.is_finite() => Content::Float(value).into(),
                _ => return wrong(&back(Content::Text(text))),
            },
            (Kind::Boolean, content @ Content::Boolean(_)) => back(content),
            (Kind::Boolean, Content::Integer(value @ 0..=1)) => Content::Boolean(value == 1).into(),
            (Kind::Boolean, Content::Text(text)) => match text.trim().to_lowercase().as_str() {
                "true" => Content::Boolean(true).into(),
                "false" => Content::Boolean(false).into(),
                _ => return wrong(&back(Content::Text(text))),
            },
            (Kind::Bytes, content @ Content::Blob(_)) => back(content),
            (Kind::Bytes, Content::Text(text)) => NodeProto::of_bytes(text.into()),
            (Kind::Array(shape), content @ Content::Ndarray(_)) => {
                let node = back(content);
                match (shape, node.array()) {
                    (Some(wanted), Some(NdArray::Dense(tensor))) if !fills(wanted, &tensor) => {
                        return wrong(&node);
                    }
                    _ => node,
                }
            }
            (Kind::Array(_), content @ Content::List(_)) => {
                let node = back(content);
                let Ok(tensor) = Tensor::from_nested(&json(&node)) else { return wrong(&node) };
                let array = NodeProto::of_array(NdArray::Dense(tensor));
                return self.value(kind, array, path);
            }
            (Kind::Document(at), Content::Doc(DocProto { data })) => {
                NodeProto::of_doc(self.fit_fields(self.object(*at), data.into_iter(), path)?)
            }
            (Kind::Document(at), Content::Dict(DictOfAnyProto { data })) => {
                NodeProto::of_doc(self.fit_fields(self.object(*at), data.into_iter(), path)?)
            }
            (Kind::Document(at), content @ Content::Ndarray(_))
                if self.object(*at).fields.iter().any(|field| field.name == "tensor") =>
            {
                // `{tensor: …}` generates an array elsewhere; here it is a Document with that field.
                let fields = [("tensor".to_owned(), back(content))];
                NodeProto::of_doc(self.fit_fields(self.object(*at), fields.into_iter(), path)?)
            }
            (
                Kind::List(of),
                Content::List(ListOfAnyProto { data })
                | Content::Set(ListOfAnyProto { data })
                | Content::Tuple(ListOfAnyProto { data }),
            ) => NodeProto::of_list(self.items(of, data, path)?),
            (Kind::List(of), Content::DocArray(list)) => {
                let docs = list.docs.into_iter().map(|doc| Content::Doc(doc).into());
                NodeProto::of_list(self.items(of, docs.collect(), path)?)
            }
            (Kind::List(_), content @ Content::Ndarray(_)) => {
                let node = back(content);
                let nested = match node.array() {
                    Some(NdArray::Dense(tensor)) => tensor.to_nested().ok(),
                    _ => None,
                };
                match nested.filter(Value::is_array) {
                    Some(nested) => {
                        return self.value(kind, NodeProto::of_json(nested), path);
                    }
                    None => return wrong(&node),
                }
            }
            (
                Kind::Dict(of),
                Content::Dict(DictOfAnyProto { data }) | Content::Doc(DocProto { data }),
            ) => {
                let entry = |(key, node): (String, NodeProto)| {
                    let node = self.value(of, node, &format!("{path}.{key}"))?;
                    Ok((key, node))
                };
                NodeProto::of_dict(data.into_iter().map(entry).collect::<Result<Vec<_>, Misfit>>()?)
            }
            (Kind::Enum(values), content) => {
                let node = back(content);
                if !is_one(values, &json(&node)) {
                    return wrong(&node);
                }
                node
            }
            (_, content) => return wrong(&back(content)),
        })
    }

    fn items(
        &self,
        of: &Kind,
        items: Vec<NodeProto>,
        path: &str,
    ) -> Result<Vec<NodeProto>, Misfit> {
        let item = |(index, node)| self.value(of, node, &format!("{path}[{index}]"));
        items.into_iter().enumerate().map(item).collect()
    }

    /// Converts the value to the first kind that it already has, or else to the first that it can be
    /// converted to.
    fn one_of(&self, kinds: &[Kind], node: NodeProto, path: &str) -> Result<NodeProto, Misfit> {
        if node.content.is_none() && kinds.contains(&Kind::Null) {
            return Ok(node);
        }
        let (same, others): (Vec<&Kind>, Vec<&Kind>) =
            kinds.iter().filter(|kind| **kind != Kind::Null).partition(|kind| kind.is_of(&node));
        let mut first = None;
        for kind in same.into_iter().chain(others) {
            match self.value(kind, node.clone(), path) {
                Ok(fitting) => return Ok(fitting),
                Err(error) => first = first.or(Some(error)),
            }
        }
        // With a single kind, its own error is more specific.
        let only = kinds.iter().filter(|kind| **kind != Kind::Null).count() == 1;
        let (wants, given) = (self.words(&Kind::OneOf(kinds.to_vec())), given(&node));
        let whole = Misfit::Type { field: path.to_owned(), wants, given };
        Err(match first {
            Some(error) if only && error.field() != Some(path) => error,
            _ => whole,
        })
    }

    fn words(&self, kind: &Kind) -> String {
        self.words_within(kind, 0)
    }

    fn words_within(&self, kind: &Kind, depth: usize) -> String {
        let of = |kind: &Kind| match depth {
            0..4 => self.words_within(kind, depth + 1),
            _ => "…".into(),
        };
        match kind {
            Kind::Any => "anything".into(),
            Kind::Null => "null".into(),
            Kind::Text => "text".into(),
            Kind::Integer => "a whole number".into(),
            Kind::Float => "a number".into(),
            Kind::Boolean => "true or false".into(),
            Kind::Bytes => "bytes".into(),
            Kind::Array(Some(shape)) => format!("an array of shape {shape:?}"),
            Kind::Array(None) => "an array".into(),
            Kind::Document(at) => format!("a Document `{}`", self.object(*at).name),
            Kind::Limited(kind, limits) => format!("{}{}", of(kind), limits.words()),
            Kind::Prefixed(kind, _) => of(kind),
            Kind::List(kind) => format!("a list ({})", of(kind)),
            Kind::Dict(kind) => format!("a map ({})", of(kind)),
            Kind::Enum(values) => {
                let words = values.iter().map(|value| match value {
                    Value::String(text) => format!("`{text}`"),
                    value => format!("`{value}`"),
                });
                words.collect::<Vec<_>>().join(" or ")
            }
            Kind::OneOf(kinds) => kinds.iter().map(of).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// The bytes that a base64 text encodes, if they are not valid text themselves.
fn bytes_of_text(text: &str) -> Option<Vec<u8>> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    std::str::from_utf8(&decoded).is_err().then_some(decoded)
}

fn whole(value: f64) -> NodeProto {
    match i32::try_from(value as i64) {
        Ok(small) if f64::from(small) == value => Content::Integer(small).into(),
        // Not an integer on the wire, but still a valid one for Python.
        _ => Content::Float(value).into(),
    }
}

/// A value as JSON, as far as JSON can represent it.
fn json(node: &NodeProto) -> Value {
    match &node.content {
        Some(Content::Text(text)) => text.as_str().into(),
        Some(Content::Integer(value)) => (*value).into(),
        Some(Content::Float(value)) => (*value).into(),
        Some(Content::Boolean(value)) => (*value).into(),
        Some(Content::List(list)) => list.data.iter().map(json).collect(),
        _ => Value::Null,
    }
}

/// Describes a value in words.
fn given(node: &NodeProto) -> String {
    const TEXT_MAX: usize = 40;
    let shortened = |text: String| match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    match &node.content {
        None => "null".into(),
        Some(Content::Text(text)) => format!("the text `{}`", shortened(text.clone())),
        Some(Content::Integer(value)) => format!("the number {value}"),
        Some(Content::Float(value)) => format!("the number {value}"),
        Some(Content::Boolean(value)) => format!("`{value}`"),
        Some(Content::Blob(blob)) => format!("{} bytes", blob.len()),
        Some(Content::Ndarray(array)) => {
            let shape = array.dense.as_ref().map(|dense| dense.shape.as_slice());
            format!("an array of shape {:?}", shape.unwrap_or_default())
        }
        Some(Content::Doc(_)) => "a Document".into(),
        Some(Content::DocArray(_)) => "a list of Documents".into(),
        Some(Content::List(_) | Content::Set(_) | Content::Tuple(_)) => "a list".into(),
        Some(Content::Dict(_)) => "a map".into(),
    }
}
