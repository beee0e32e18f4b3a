//! Generators and data sets: the Documents that requests carry.

mod array;
mod data;
mod files;
mod fitting;
mod generator;
mod own;
mod pieces;
pub(crate) mod spec;

use std::path::Path;
use std::sync::Arc;

pub(crate) use data::{DataError, TwoContents};
pub(crate) use fitting::Unfit;
pub(crate) use spec::DocumentsSpec;

use serde_json::Value;

use rand::RngExt;

use crate::random::Key;
use crate::source::{Node, Problem, Spot};
use crate::template::{Context, Scope, Template, TemplateError};
use crate::units::ByteSize;
use crate::wire::proto::v2::NodeProto;
use crate::wire::{Document, Map};
use data::DataSet;
use generator::Fields;

/// The maximum size of a Document unless `max_size` is set.
const DOCUMENT_SIZE_MAX: ByteSize = ByteSize::new(64 << 20);

/// A stream of Documents. The `i`-th depends only on the seed and `i`, so any thread or machine can generate
/// any part of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Documents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: Option<String>,
    resolved: Value,
    key: Key,
    fields: Fields,
    data: Option<DataSet>,
    max: ByteSize,
    // The number of Documents in one round.
    count: Option<u64>,
    repeat: bool,
}

/// Why a Document could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// An expression has no value for this Document.
    #[error("Document {i}")]
    Template {
        /// Which Document.
        i: u64,
        /// The expression, and why it has no value.
        source: TemplateError,
    },
    /// An entry of a data set has changed since the data set was opened.
    #[error("Document {i}")]
    Data {
        /// Which Document.
        i: u64,
        /// The entry, and what is wrong with it.
        source: DataError,
    },
    /// Its expressions made it exceed `max_size`.
    #[error("Document {i} is larger than the limit of {max} (`max_size`)")]
    TooLarge {
        /// Which Document.
        i: u64,
        /// `max_size`.
        max: ByteSize,
    },
}

impl Documents {
    /// Compiles a generator. `name` is its key under `documents`, if it has one, `at` its place in the file,
    /// and `base` the folder that paths are relative to. Problems are added to `problems`; the result is `None`
    /// if there were any.
    pub(crate) fn compile(
        name: Option<&str>,
        spec: &DocumentsSpec,
        at: Spot<'_>,
        context: &Context,
        key: Key,
        base: &Path,
        problems: &mut Vec<Problem>,
    ) -> Option<Documents> {
        let before = problems.len();
        let fields = Fields::compile(spec, at, context, problems, false);
        let max = spec.max_size.unwrap_or(DOCUMENT_SIZE_MAX);
        let (largest, path) = fields.largest();
        if largest > max.bytes() as f64 {
            let place = path.iter().fold(at, |at, key| at.key(key));
            let message = format!(
                "a Document may take up to {}, more than the limit of {max}",
                ByteSize::new(largest as u64).approximate()
            );
            place.problem(problems, message, |problem| {
                problem.help("make it smaller, or raise `max_size` beside it")
            });
            return None;
        }
        let count = spec.count.map(|count| {
            if count.low() != count.high() {
                at.key("count").problem(
                    problems,
                    format!("expected one number, found the range `{count}`"),
                    |problem| problem.help("a range is for `chunks` and `matches`"),
                );
            }
            count.high().0
        });
        if count == Some(0) {
            at.key("count").problem(problems, "expected a count of at least 1, found `0`", |p| p);
        }
        let data = DataSet::open(spec, at, base, key, max, problems);
        if data.is_none() && spec.names_data() {
            return None;
        }
        if let (Some(data), Some(asked)) = (&data, count)
            && asked > data.len()
            && !data.draws()
        {
            let message = format!(
                "expected at most the {} Documents of the data set, found `{asked}`",
                data.len()
            );
            at.key("count").problem(problems, message, |problem| {
                problem.help("`order: random` supplies any number")
            });
        }
        let count = count.or(data.as_ref().map(DataSet::len));
        let repeat = spec.repeat.unwrap_or(false);
        let documents = Documents {
            inner: Arc::new(Inner {
                name: name.map(str::to_owned),
                resolved: resolved(at, context, base, data.as_ref().map(DataSet::len)),
                key,
                fields,
                data,
                max,
                count,
                repeat,
            }),
        };
        if problems.len() > before {
            return None;
        }
        // An invalid first Document would end the run at once. One that uses `captured` cannot be made in
        // advance.
        if documents.paths().into_iter().any(is_captured) {
            return Some(documents);
        }
        match documents.get(0, None) {
            Ok(_) => Some(documents),
            Err(DocumentError::Template { source, .. }) => {
                source.tell(at, problems);
                None
            }
            Err(DocumentError::Data { source, .. }) => {
                at.problem(problems, source.to_string(), |problem| problem);
                None
            }
            Err(error @ DocumentError::TooLarge { .. }) => {
                at.problem(problems, error.to_string(), |problem| {
                    problem.help("make it smaller, or raise `max_size` beside it")
                });
                None
            }
        }
    }

    /// Its key under `documents`; `None` for an inline generator.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// The generator as written, with load-time expressions evaluated.
    pub fn resolved(&self) -> &Value {
        &self.inner.resolved
    }

    /// The number of Documents; `None` if they never end.
    pub fn count(&self) -> Option<u64> {
        self.inner.count.filter(|_| !self.inner.repeat)
    }

    /// The first entry of its data set with several kinds of content, of which a v1 Document can hold only one.
    pub(crate) fn two_contents(&self) -> Option<&TwoContents> {
        self.inner.data.as_ref()?.two_contents()
    }

    /// A custom schema field of the first Document, if it has one.
    pub(crate) fn own_field(&self) -> Option<String> {
        let first = self.get(0, None).ok()?;
        first.extra.keys().find(|name| first.own_field(name).is_some()).cloned()
    }

    /// The files of its data set.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.inner.data.iter().flat_map(DataSet::files)
    }

    /// Whether all Documents are equal, so that one encoding can serve for all.
    pub(crate) fn is_constant(&self) -> bool {
        let data = self.inner.data.as_ref();
        self.inner.fields.is_constant() && data.is_none_or(DataSet::is_constant)
    }

    /// The paths that its expressions look up: `captured.id`, `vars.lang`.
    pub fn paths(&self) -> Vec<&str> {
        self.inner.fields.paths()
    }

    /// A source of ids: one for the `i`-th Document if it has none, followed by those of the Documents in it.
    pub fn ids(&self, i: u64) -> impl FnMut() -> u128 {
        let mut random = self.inner.key.part("id").index(i).rng();
        move || random.random()
    }

    /// The `i`-th Document, counted from 0. Callers should not go past [`Documents::count`]; if they do, they
    /// get what the generator would make for that `i`. `captured` has what earlier steps of the iteration
    /// captured, `None` if there are none.
    ///
    /// # Errors
    /// An expression that fails, or a data set that has changed since it was opened.
    pub fn get(&self, i: u64, captured: Option<&Map>) -> Result<Document, DocumentError> {
        let inner = &*self.inner;
        let mut document = match &inner.data {
            None => Document::default(),
            Some(data) => {
                let round = inner.count.unwrap_or(data.len());
                data.get(i, round).map_err(|source| DocumentError::Data { i, source })?
            }
        };
        // `repeat` sends the same Documents again, though a data set may come in a different order.
        let i = match inner.count {
            Some(count) if inner.repeat => i % count.max(1),
            _ => i,
        };
        match inner.fields.fill(&mut document, Scope { i, key: inner.key.index(i), captured }) {
            Ok(()) if text_bytes(&document) > inner.max.bytes() => {
                Err(DocumentError::TooLarge { i, max: inner.max })
            }
            Ok(()) => Ok(document),
            Err(source) => Err(DocumentError::Template { i, source }),
        }
    }
}

/// The size of everything that expressions can make long, in bytes. The size of arrays is known in advance.
fn text_bytes(document: &Document) -> u64 {
    fn of_value(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(of_value).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| key.len() + of_value(value)).sum(),
            _ => 1,
        }
    }
    let text = document.text.as_ref().map_or(0, String::len);
    let blob = document.blob.as_ref().map_or(0, |blob| blob.len());
    let others = [&document.id, &document.uri, &document.mime_type, &document.modality];
    let others = others.into_iter().map(String::len).sum::<usize>();
    let tags = document.tags.values().map(of_value).sum::<usize>();
    let children = document.chunks.iter().chain(&document.matches).map(text_bytes).sum::<u64>();
    let own = document.extra.values().map(NodeProto::bytes).sum::<usize>();
    (text + blob + others + tags + own) as u64 + children
}

/// Whether a path refers to a value captured by an earlier step.
fn is_captured(path: &str) -> bool {
    path.split('.').next() == Some("captured")
}

/// A generator as written, with the values of `vars`, `env` and `matrix`, the defaults of its data set, and
/// absolute paths.
fn resolved(at: Spot<'_>, context: &Context, base: &Path, entries: Option<u64>) -> Value {
    fn bound(value: &mut Value, context: &Context) {
        match value {
            Value::String(text) => {
                // A text that cannot be bound has been reported as a problem.
                if let Ok(template) = Template::read(text).bind(context) {
                    *value = template.to_json();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| bound(item, context)),
            Value::Object(map) => map.values_mut().for_each(|value| bound(value, context)),
            _ => (),
        }
    }
    let mut resolved = at.node().map(Node::to_json).unwrap_or_default();
    bound(&mut resolved, context);
    let Value::Object(map) = &mut resolved else { return resolved };
    let join = |value: &mut Value| {
        if let Value::String(path) = value {
            let joined = base.join(&*path);
            *path = std::path::absolute(&joined).unwrap_or(joined).display().to_string();
        }
    };
    for key in ["jsonl", "csv", "docarray"] {
        map.get_mut(key).into_iter().for_each(join);
    }
    if let Some(files) = map.get_mut("blob").and_then(|blob| blob.get_mut("files")) {
        join(files);
    }
    if let Some(entries) = entries {
        map.entry("count").or_insert_with(|| entries.into());
        map.entry("order").or_insert_with(|| "sequential".into());
        map.entry("repeat").or_insert_with(|| false.into());
    }
    resolved
}

#[cfg(test)]
mod tests;
