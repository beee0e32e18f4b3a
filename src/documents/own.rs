//! Fields of a custom schema: each has its own name, and is generated like the fields of v1.

use serde_json::Value;

use super::array::Array;
use super::pieces::{
    BLOB_BYTES_MAX, Blob, CHILDREN_MAX, DOCUMENT_BYTES, WORD_BYTES, WORDS_MAX, bind, compile_blob,
    make_words, pick,
};
use super::spec::{ArraySpec, BlobSpec};
use crate::source::{Node, Problem, Sources, Spot};
use crate::template::{Context, Scope, Template, TemplateError};
use crate::units::{Count, Range};
use crate::wire::proto::v2::NodeProto;

/// Compiled fields, by name.
#[derive(Clone, Debug)]
pub(super) struct OwnFields(Vec<(String, OwnField)>);

/// A compiled field.
#[derive(Clone, Debug)]
enum OwnField {
    Value(Template),
    Words(Range<Count>),
    Blob(Blob),
    // The bytes of a data set's entry.
    Files,
    Array(Array),
    List(Vec<OwnField>),
    Map(OwnFields),
    Document(OwnFields),
    Documents(Range<Count>, OwnFields),
}

/// Keys that identify a map as an array.
const ARRAY_KEYS: [&str; 5] = ["shape", "dtype", "distribution", "normalize", "values"];

/// The deepest nesting of fields.
const NESTING_MAX: usize = 32;

/// The fields that take the bytes of files, with the patterns of these files.
pub(super) fn files_of(
    fields: &indexmap::IndexMap<String, Template>,
) -> impl Iterator<Item = (&str, String)> {
    fields.iter().filter_map(|(name, field)| {
        let value = field.to_json();
        let map = value.as_object()?;
        let map = match map.get("blob").filter(|_| map.len() == 1) {
            Some(within) => within.as_object()?,
            None => map,
        };
        let pattern = map.get("files").filter(|_| map.len() == 1)?.as_str()?;
        Some((name.as_str(), pattern.to_owned()))
    })
}

/// Compiles fields.
struct Compiler<'a> {
    context: &'a Context,
    problems: &'a mut Vec<Problem>,
    /// Whether the fields belong to the Document itself, which may have a data set.
    outermost: bool,
    depth: usize,
}

impl OwnFields {
    /// Binds the expressions of fields and checks what can be checked once.
    pub(super) fn compile(
        fields: &indexmap::IndexMap<String, Template>,
        at: Spot<'_>,
        context: &Context,
        problems: &mut Vec<Problem>,
        outermost: bool,
    ) -> OwnFields {
        let mut compiler = Compiler { context, problems, outermost, depth: 0 };
        let fields = fields.iter().filter_map(|(name, field)| {
            let field = compiler.field(&field.to_json(), Some(field), at.key(name))?;
            Some((name.clone(), field))
        });
        OwnFields(fields.collect())
    }

    /// Sets the fields; existing fields that are not generated stay.
    pub(super) fn make(
        &self,
        of: Scope<'_>,
        files: Option<bytes::Bytes>,
    ) -> Result<Vec<(String, NodeProto)>, TemplateError> {
        let field = |(name, field): &(String, OwnField)| {
            let scope = Scope { key: of.key.part(name), ..of };
            Ok((name.clone(), field.make(scope, &files)?))
        };
        self.0.iter().map(field).collect()
    }

    /// Whether one of them takes the bytes of the data set's files.
    pub(super) fn takes_files(&self) -> bool {
        self.0.iter().any(|(_, field)| matches!(field, OwnField::Files))
    }

    /// Estimates how large they can become, in bytes, and the keys to the largest part.
    pub(super) fn largest(&self) -> (f64, Vec<&str>) {
        let each = self.0.iter().map(|(name, field)| {
            let (bytes, mut path) = field.largest();
            path.insert(0, name.as_str());
            (bytes, path)
        });
        let each: Vec<_> = each.collect();
        let sum = each.iter().map(|(bytes, _)| bytes).sum();
        let most = each.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b));
        (sum, most.filter(|(bytes, _)| *bytes > 0.0).map(|(_, path)| path).unwrap_or_default())
    }

    pub(super) fn is_constant(&self) -> bool {
        self.0.iter().all(|(_, field)| field.is_constant())
    }

    pub(super) fn paths<'a>(&'a self, paths: &mut Vec<&'a str>) {
        self.0.iter().for_each(|(_, field)| field.paths(paths));
    }
}

impl Compiler<'_> {
    fn tell<T>(&mut self, at: Spot<'_>, message: impl Into<String>) -> Option<T> {
        at.problem(self.problems, message, |problem| problem);
        None
    }

    /// Reads part of a field like a v1 field.
    fn read<T: serde::de::DeserializeOwned>(&mut self, value: &Value, at: Spot<'_>) -> Option<T> {
        let before = self.problems.len();
        let mut node = match at.node() {
            Some(node) => node.clone(),
            None => Node::made(value.clone(), at.place()),
        };
        let read = Sources::read(&mut node, "a field", self.problems);
        read.filter(|_| self.problems.len() == before)
    }

    /// `whole`: the template that the value belongs to, if there is one.
    fn field(&mut self, value: &Value, whole: Option<&Template>, at: Spot<'_>) -> Option<OwnField> {
        if self.depth > NESTING_MAX {
            return self.tell(at, format!("fields nest deeper than {NESTING_MAX} levels"));
        }
        match value {
            Value::Object(map) => {
                let has = |key: &str| map.contains_key(key);
                let alone = |key: &str| map.len() == 1 && has(key);
                if alone("words") {
                    let words: Range<Count> = self.read(&map["words"], at.key("words"))?;
                    if words.high().0 > WORDS_MAX {
                        let message = format!("a text has at most {WORDS_MAX} words");
                        return self.tell(at.key("words"), message);
                    }
                    return Some(OwnField::Words(words));
                }
                for name in ["text", "blob", "tensor", "embedding"] {
                    let within = map.get(name).filter(|_| map.len() == 1);
                    if let Some(within) = within.filter(|within| is_generator(name, within)) {
                        return match name {
                            "tensor" | "embedding" => self.array(within, at.key(name)),
                            _ => self.field(within, None, at.key(name)),
                        };
                    }
                }
                if alone("files") {
                    if !self.outermost || self.depth > 0 {
                        return self.tell(
                            at.key("files"),
                            "`files` is for a field of the Document itself",
                        );
                    }
                    return Some(OwnField::Files);
                }
                if alone("bytes") || alone("base64") {
                    let spec: BlobSpec = self.read(value, at)?;
                    if let BlobSpec::Bytes(range) = &spec
                        && range.high().bytes() > BLOB_BYTES_MAX
                    {
                        return self.tell(at.key("bytes"), "a blob has at most 2GiB");
                    }
                    return compile_blob(&spec, at, self.context, self.problems)
                        .map(OwnField::Blob);
                }
                let is_array = |key: &String| ARRAY_KEYS.contains(&key.as_str());
                if (has("shape") || has("values")) && map.keys().all(is_array) {
                    return self.array(value, at);
                }
                let of_documents = |key: &String| key == "count" || key == "fields";
                if has("fields") && map["fields"].is_object() && map.keys().all(of_documents) {
                    return self.documents(map, at);
                }
                self.map(map, at).map(OwnField::Map)
            }
            Value::Array(items) if items.iter().any(has_generator) => {
                self.depth += 1;
                let items: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.field(item, None, at.index(index)))
                    .collect();
                self.depth -= 1;
                items.into_iter().collect::<Option<_>>().map(OwnField::List)
            }
            value => {
                let read;
                let template = match whole {
                    Some(whole) => whole,
                    None => {
                        read = self.template(value);
                        &read
                    }
                };
                bind(template, at, self.context, self.problems).map(OwnField::Value)
            }
        }
    }

    fn template(&self, value: &Value) -> Template {
        // The value came from a template, so reading it again cannot fail.
        serde_json::from_value(value.clone()).unwrap_or_else(|_| Template::constant(value.clone()))
    }

    fn array(&mut self, value: &Value, at: Spot<'_>) -> Option<OwnField> {
        let spec: ArraySpec = self.read(value, at)?;
        Array::compile(&spec, at, self.context, self.problems).map(OwnField::Array)
    }

    fn map(&mut self, map: &crate::wire::Map, at: Spot<'_>) -> Option<OwnFields> {
        self.depth += 1;
        let fields: Vec<_> = map
            .iter()
            .map(|(name, value)| Some((name.clone(), self.field(value, None, at.key(name))?)))
            .collect();
        self.depth -= 1;
        fields.into_iter().collect::<Option<_>>().map(OwnFields)
    }

    fn documents(&mut self, map: &crate::wire::Map, at: Spot<'_>) -> Option<OwnField> {
        let fields = match &map["fields"] {
            Value::Object(fields) => self.map(fields, at.key("fields")),
            _ => None,
        };
        let Some(count) = map.get("count") else { return fields.map(OwnField::Document) };
        let count: Range<Count> = self.read(count, at.key("count"))?;
        if count.high().0 > CHILDREN_MAX {
            let message = format!("a field has at most {CHILDREN_MAX} Documents");
            return self.tell(at.key("count"), message);
        }
        Some(OwnField::Documents(count, fields?))
    }
}

/// Whether `value` is the setting of a generator called `name`, not the value of a field with this name.
fn is_generator(name: &str, value: &Value) -> bool {
    let has = |key: &str| value.get(key).is_some();
    match name {
        "text" => has("words"),
        "blob" => ["bytes", "base64", "files"].into_iter().any(has),
        _ => has("shape") || has("values") || value.is_array(),
    }
}

/// Whether a value contains something that a single template cannot generate.
fn has_generator(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(has_generator),
        _ => false,
    }
}

impl OwnField {
    fn make(
        &self,
        of: Scope<'_>,
        files: &Option<bytes::Bytes>,
    ) -> Result<NodeProto, TemplateError> {
        Ok(match self {
            OwnField::Value(template) => NodeProto::of_json(template.evaluate(&of)?),
            OwnField::Words(range) => NodeProto::of_json(make_words(*range, of.key).into()),
            OwnField::Blob(blob) => NodeProto::of_bytes(blob.make(&of)?),
            OwnField::Files => NodeProto::of_bytes(files.clone().unwrap_or_default()),
            OwnField::Array(array) => NodeProto::of_array(array.make(&of)?),
            OwnField::List(items) => {
                let item = |(index, item): (usize, &OwnField)| {
                    item.make(Scope { key: of.key.index(index as u64), ..of }, files)
                };
                NodeProto::of_list(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            OwnField::Map(fields) => NodeProto::of_dict(fields.make(of, files.clone())?),
            OwnField::Document(fields) => NodeProto::of_doc(fields.make(of, files.clone())?),
            OwnField::Documents(range, fields) => {
                let count = pick(&mut of.key.rng(), range.low().0, range.high().0);
                let each = |n| {
                    let scope = Scope { i: n, key: of.key.index(n), ..of };
                    Ok(NodeProto::of_doc(fields.make(scope, files.clone())?))
                };
                NodeProto::of_list((0..count).map(each).collect::<Result<_, TemplateError>>()?)
            }
        })
    }

    fn largest(&self) -> (f64, Vec<&str>) {
        match self {
            OwnField::Words(range) => (range.high().0 as f64 * WORD_BYTES, Vec::new()),
            OwnField::Blob(blob) => (blob.largest(), Vec::new()),
            OwnField::Array(array) => (array.bytes(), Vec::new()),
            OwnField::List(items) => (items.iter().map(|item| item.largest().0).sum(), Vec::new()),
            OwnField::Map(fields) | OwnField::Document(fields) => fields.largest(),
            OwnField::Documents(count, fields) => {
                let (each, _) = fields.largest();
                (count.high().0 as f64 * (each + DOCUMENT_BYTES), Vec::new())
            }
            OwnField::Value(_) | OwnField::Files => (0.0, Vec::new()),
        }
    }

    fn is_constant(&self) -> bool {
        match self {
            OwnField::Value(template) => template.is_constant(),
            OwnField::Words(_) => false,
            OwnField::Blob(blob) => blob.is_constant(),
            // As constant as the data set itself.
            OwnField::Files => true,
            OwnField::Array(array) => {
                !array.is_random() && array.template().is_none_or(Template::is_constant)
            }
            OwnField::List(items) => items.iter().all(OwnField::is_constant),
            OwnField::Map(fields) | OwnField::Document(fields) => fields.is_constant(),
            OwnField::Documents(count, fields) => {
                count.low() == count.high() && fields.is_constant()
            }
        }
    }

    fn paths<'a>(&'a self, paths: &mut Vec<&'a str>) {
        match self {
            OwnField::Value(template) => paths.extend(template.paths()),
            OwnField::Blob(blob) => {
                paths.extend(blob.template().map(Template::paths).unwrap_or_default())
            }
            OwnField::Array(array) => {
                paths.extend(array.template().map(Template::paths).unwrap_or_default());
            }
            OwnField::List(items) => items.iter().for_each(|item| item.paths(paths)),
            OwnField::Map(fields) | OwnField::Document(fields) | OwnField::Documents(_, fields) => {
                fields.paths(paths)
            }
            OwnField::Words(_) | OwnField::Files => (),
        }
    }
}
