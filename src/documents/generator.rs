//! Generates Documents field by field.

use indexmap::IndexMap;
use serde_json::Value;

use super::array::Array;
use super::own::OwnFields;
use super::pieces::{
    Blob, CHILDREN_MAX, DOCUMENT_BYTES, WORD_BYTES, WORDS_MAX, bind, compile_blob, make_words, pick,
};
use super::spec::{BlobSpec, DocumentsSpec, ScoreSpec, ShortOr, TextSpec};
use crate::random::Key;
use crate::source::{Problem, Spot};
use crate::template::{Context, Scope, Template, TemplateError};
use crate::units::{Count, Range};
use crate::wire::{Document, NamedScore};

/// Keys of a generator that are fields of a Document.
const OF_V1: [&str; 19] = [
    "id",
    "text",
    "blob",
    "tensor",
    "embedding",
    "uri",
    "mime_type",
    "modality",
    "weight",
    "tags",
    "chunks",
    "matches",
    "scores",
    "evaluations",
    "location",
    "offset",
    "parent_id",
    "granularity",
    "adjacency",
];

/// The compiled fields of a generator.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    id: Option<Template>,
    text: Option<Text>,
    blob: Option<Blob>,
    tensor: Option<Array>,
    embedding: Option<Array>,
    uri: Option<Template>,
    mime_type: Option<Template>,
    modality: Option<Template>,
    weight: Option<Template>,
    tags: Option<Template>,
    chunks: Option<Children>,
    matches: Option<Children>,
    scores: Vec<(String, Score)>,
    evaluations: Vec<(String, Score)>,
    location: Option<Template>,
    offset: Option<Template>,
    parent_id: Option<Template>,
    granularity: Option<Template>,
    adjacency: Option<Template>,
    own: Option<OwnFields>,
}

#[derive(Clone, Debug)]
enum Text {
    Template(Template),
    Words(Range<Count>),
}

#[derive(Clone, Debug)]
struct Children {
    count: Range<Count>,
    fields: Box<Fields>,
}

#[derive(Clone, Debug)]
struct Score {
    value: Template,
    op_name: Option<Template>,
    description: Option<Template>,
    ref_id: Option<Template>,
}

impl Fields {
    /// Binds the expressions of a generator and checks what can be checked once. `within`: whether the fields
    /// are those of chunks or matches.
    pub(super) fn compile(
        spec: &DocumentsSpec,
        at: Spot<'_>,
        context: &Context,
        problems: &mut Vec<Problem>,
        within: bool,
    ) -> Fields {
        let mut bind = |template: &Option<Template>, key: &str, kind: Kind| {
            let template = template.as_ref()?;
            bind_as(template, kind, at.key(key), context, problems)
        };
        let mut fields = Fields {
            id: bind(&spec.id, "id", Kind::Text),
            uri: bind(&spec.uri, "uri", Kind::Text),
            mime_type: bind(&spec.mime_type, "mime_type", Kind::Text),
            modality: bind(&spec.modality, "modality", Kind::Text),
            weight: bind(&spec.weight, "weight", Kind::Number),
            tags: bind(&spec.tags, "tags", Kind::Map),
            location: bind(&spec.location, "location", Kind::Numbers),
            offset: bind(&spec.offset, "offset", Kind::Number),
            parent_id: bind(&spec.parent_id, "parent_id", Kind::Text),
            granularity: bind(&spec.granularity, "granularity", Kind::Depth),
            adjacency: bind(&spec.adjacency, "adjacency", Kind::Depth),
            ..Fields::default()
        };
        if let (Some(_), Some(_)) = (&spec.text, &spec.content) {
            at.name("content").problem(
                problems,
                "`content` is short for `text`; leave one out",
                |p| p,
            );
        }
        let (text, text_key) = match &spec.text {
            Some(text) => (Some(text), "text"),
            None => (spec.content.as_ref(), "content"),
        };
        if let Some(text) = text {
            fields.text = match text {
                ShortOr::Short(template) => {
                    bind_as(template, Kind::Text, at.key(text_key), context, problems)
                        .map(Text::Template)
                }
                ShortOr::Full(TextSpec { words }) if words.high().0 > WORDS_MAX => {
                    let message = format!("a text has at most {WORDS_MAX} words");
                    at.key(text_key).key("words").problem(problems, message, |p| p);
                    None
                }
                ShortOr::Full(TextSpec { words }) => Some(Text::Words(*words)),
            };
        }
        if let Some(blob) = &spec.blob {
            fields.blob = compile_blob(blob, at.key("blob"), context, problems);
        }
        for (array, key, field) in [
            (&spec.tensor, "tensor", &mut fields.tensor),
            (&spec.embedding, "embedding", &mut fields.embedding),
        ] {
            *field = array
                .as_ref()
                .and_then(|array| Array::compile(array, at.key(key), context, problems));
        }
        for (children, key, field) in [
            (&spec.chunks, "chunks", &mut fields.chunks),
            (&spec.matches, "matches", &mut fields.matches),
        ] {
            *field = children
                .as_ref()
                .map(|children| Children::compile(children, at.key(key), context, problems));
        }
        for (scores, key, field) in [
            (&spec.scores, "scores", &mut fields.scores),
            (&spec.evaluations, "evaluations", &mut fields.evaluations),
        ] {
            for (name, score) in scores.iter().flatten() {
                let at = at.key(key).key(name);
                field.extend(
                    Score::compile(score, at, context, problems).map(|score| (name.clone(), score)),
                );
            }
        }
        fields.own = spec
            .fields
            .as_ref()
            .map(|own| OwnFields::compile(own, at.key("fields"), context, problems, !within));
        // With both, one would silently replace the other.
        for name in spec.fields.iter().flatten().map(|(name, _)| name) {
            if OF_V1.contains(&name.as_str()) && at.key(name).node().is_some() {
                let other = at.name(name).place();
                at.key("fields").name(name).problem(
                    problems,
                    format!("`{name}` is given twice: as a field, and as a key of the generator"),
                    |problem| problem.see(other, "the other one").help("leave one of them out"),
                );
            }
        }
        let contents: Vec<&str> = [
            ("text", spec.text.is_some()),
            ("content", spec.content.is_some() && spec.text.is_none()),
        ]
        .into_iter()
        .chain([("blob", spec.blob.is_some()), ("tensor", spec.tensor.is_some())])
        .filter_map(|(name, given)| given.then_some(name))
        .collect();
        if let [first, second, ..] = contents.as_slice() {
            at.name(second).problem(
                problems,
                "a Document has at most one of `text`, `blob` and `tensor`",
                |problem| problem.see(at.name(first).place(), "the other content"),
            );
        }
        fields
    }

    /// Estimates how large a Document can become, in bytes of memory, and the path of keys to its largest part.
    /// The results of expressions are not counted.
    pub(super) fn largest(&self) -> (f64, Vec<&str>) {
        let text = match &self.text {
            Some(Text::Words(range)) => range.high().0 as f64 * WORD_BYTES,
            _ => 0.0,
        };
        let blob = self.blob.as_ref().map_or(0.0, Blob::largest);
        let array = |array: &Option<Array>| array.as_ref().map_or(0.0, Array::bytes);
        fn children(children: &Option<Children>) -> (f64, Vec<&str>) {
            children.as_ref().map_or((0.0, Vec::new()), |children| {
                let (each, path) = children.fields.largest();
                (children.count.high().0 as f64 * each, path)
            })
        }
        let own = |bytes: f64| (bytes, Vec::new());
        let parts = [
            ("text", own(text)),
            ("blob", own(blob)),
            ("tensor", own(array(&self.tensor))),
            ("embedding", own(array(&self.embedding))),
            ("chunks", children(&self.chunks)),
            ("matches", children(&self.matches)),
            ("fields", self.own.as_ref().map(OwnFields::largest).unwrap_or_default()),
        ];
        let sum = parts.iter().map(|(_, (bytes, _))| bytes).sum::<f64>() + DOCUMENT_BYTES;
        let most = parts.into_iter().max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0));
        let path = most.filter(|(_, (bytes, _))| *bytes > 0.0).map(|(key, (_, mut path))| {
            path.insert(0, key);
            path
        });
        (sum, path.unwrap_or_default())
    }

    /// Whether all Documents are equal.
    pub(super) fn is_constant(&self) -> bool {
        let random = matches!(self.text, Some(Text::Words(_)))
            || matches!(self.blob, Some(Blob::Random(_)))
            || self.arrays().any(Array::is_random)
            || self.children().any(|children| children.count.low() != children.count.high());
        !random
            && self.own.as_ref().is_none_or(OwnFields::is_constant)
            && self.templates().all(Template::is_constant)
            && self.children().all(|children| children.fields.is_constant())
    }

    /// The paths that its expressions look up: `captured.id`.
    pub(super) fn paths(&self) -> Vec<&str> {
        let own = self.templates().flat_map(Template::paths);
        let mut paths: Vec<&str> =
            own.chain(self.children().flat_map(|children| children.fields.paths())).collect();
        if let Some(own) = &self.own {
            own.paths(&mut paths);
        }
        paths
    }

    fn arrays(&self) -> impl Iterator<Item = &Array> {
        [&self.tensor, &self.embedding].into_iter().flatten()
    }

    fn children(&self) -> impl Iterator<Item = &Children> {
        [&self.chunks, &self.matches].into_iter().flatten()
    }

    /// All templates except those of chunks and matches.
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let text = match &self.text {
            Some(Text::Template(template)) => Some(template),
            _ => None,
        };
        let blob = match &self.blob {
            Some(Blob::Template(template)) => Some(template),
            _ => None,
        };
        let fields = [
            &self.id,
            &self.uri,
            &self.mime_type,
            &self.modality,
            &self.weight,
            &self.tags,
            &self.location,
            &self.offset,
            &self.parent_id,
            &self.granularity,
            &self.adjacency,
        ];
        let scores = self.scores.iter().chain(&self.evaluations);
        fields
            .into_iter()
            .flatten()
            .chain(text)
            .chain(blob)
            .chain(self.arrays().filter_map(Array::template))
            .chain(scores.flat_map(|(_, score)| score.templates()))
    }

    /// Sets the fields of a Document that the generator defines, and leaves the others unchanged.
    pub(super) fn fill(&self, document: &mut Document, of: Scope<'_>) -> Result<(), TemplateError> {
        let key = of.key;
        let scope = |field: &str| Scope { key: key.part(field), ..of };
        let text = |template: &Option<Template>, field: &str, to: &mut String| {
            if let Some(template) = template {
                *to = template.evaluate_text(&scope(field))?;
            }
            Ok::<_, TemplateError>(())
        };
        let number = |template: &Option<Template>, field: &str, to: &mut f32| {
            if let Some(template) = template {
                *to = template.evaluate_number(&scope(field))? as f32;
            }
            Ok::<_, TemplateError>(())
        };
        let depth = |template: &Option<Template>, field: &str, to: &mut u32| {
            if let Some(template) = template {
                let number = Kind::Depth.evaluate(template, &scope(field))?;
                *to = number.as_f64().unwrap_or_default() as u32;
            }
            Ok::<_, TemplateError>(())
        };
        text(&self.id, "id", &mut document.id)?;
        text(&self.uri, "uri", &mut document.uri)?;
        text(&self.mime_type, "mime_type", &mut document.mime_type)?;
        text(&self.modality, "modality", &mut document.modality)?;
        text(&self.parent_id, "parent_id", &mut document.parent_id)?;
        number(&self.weight, "weight", &mut document.weight)?;
        number(&self.offset, "offset", &mut document.offset)?;
        depth(&self.granularity, "granularity", &mut document.granularity)?;
        depth(&self.adjacency, "adjacency", &mut document.adjacency)?;
        match &self.text {
            None => (),
            Some(Text::Template(template)) => {
                document.text = Some(template.evaluate_text(&scope("text"))?);
            }
            Some(Text::Words(range)) => {
                document.text = Some(make_words(*range, key.part("text")));
            }
        }
        if let Some(blob) = &self.blob {
            document.blob = Some(blob.make(&scope("blob"))?);
        }
        if let Some(array) = &self.tensor {
            document.tensor = Some(array.make(&scope("tensor"))?);
        }
        if let Some(array) = &self.embedding {
            document.embedding = Some(array.make(&scope("embedding"))?);
        }
        if let Some(template) = &self.tags
            && let Value::Object(tags) = Kind::Map.evaluate(template, &scope("tags"))?
        {
            document.tags.extend(tags);
        }
        if let Some(template) = &self.location {
            let value = Kind::Numbers.evaluate(template, &scope("location"))?;
            document.location = numbers(&value).unwrap_or_default();
        }
        for (scores, field, to) in [
            (&self.scores, "scores", &mut document.scores),
            (&self.evaluations, "evaluations", &mut document.evaluations),
        ] {
            make_scores(scores, scope(field), to)?;
        }
        if let Some(own) = &self.own {
            // The contents of a data set's files go into the field that names the files.
            let files = own.takes_files().then(|| {
                document.uri.clear();
                document.blob.take()
            });
            document.set_own_fields(own.make(scope("fields"), files.flatten())?);
        }
        if let Some(children) = &self.chunks {
            let (parent, granularity, adjacency) =
                (document.id.clone(), document.granularity + 1, document.adjacency);
            document.chunks = children.make(scope("chunks"), |child| {
                child.parent_id.clone_from(&parent);
                child.granularity = granularity;
                child.adjacency = adjacency;
            })?;
        }
        if let Some(children) = &self.matches {
            let (parent, granularity, adjacency) =
                (document.id.clone(), document.granularity, document.adjacency + 1);
            document.matches = children.make(scope("matches"), |child| {
                child.parent_id.clone_from(&parent);
                child.granularity = granularity;
                child.adjacency = adjacency;
            })?;
        }
        Ok(())
    }
}

/// The kind of value that a field takes.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    // An integer of at least 0.
    Depth,
    Map,
    Numbers,
}

impl Kind {
    /// Evaluates a template. A value of the wrong kind is an error.
    fn evaluate(self, template: &Template, scope: &Scope<'_>) -> Result<Value, TemplateError> {
        let value = match self {
            Kind::Text => return template.evaluate_text(scope).map(Value::from),
            Kind::Number | Kind::Depth => template.evaluate_number(scope).map(Value::from)?,
            Kind::Map | Kind::Numbers => template.evaluate(scope)?,
        };
        let expected = match (self, &value) {
            (Kind::Depth, value)
                if value.as_f64().is_some_and(|number| {
                    number < 0.0 || number.fract() != 0.0 || number > f64::from(u32::MAX)
                }) =>
            {
                "a whole number of at least 0"
            }
            (Kind::Map, value) if !value.is_object() => "a map",
            (Kind::Numbers, value) if numbers(value).is_none() => "a list of numbers",
            _ => return Ok(value),
        };
        Err(template.mistyped(expected, &value))
    }
}

/// A list of numbers.
fn numbers(value: &Value) -> Option<Vec<f32>> {
    value.as_array()?.iter().map(|item| item.as_f64().map(|number| number as f32)).collect()
}

/// Binds a template; a constant one is checked here, at its place.
fn bind_as(
    template: &Template,
    kind: Kind,
    at: Spot<'_>,
    context: &Context,
    problems: &mut Vec<Problem>,
) -> Option<Template> {
    let bound = bind(template, at, context, problems)?;
    if bound.is_constant() {
        let scope = Scope { i: 0, key: Key::new(0), captured: None };
        if let Err(error) = kind.evaluate(&bound, &scope) {
            error.tell(at, problems);
            return None;
        }
    }
    Some(bound)
}
impl Children {
    fn compile(
        spec: &DocumentsSpec,
        at: Spot<'_>,
        context: &Context,
        problems: &mut Vec<Problem>,
    ) -> Children {
        let count = spec.count.unwrap_or(Range::one(Count(1)));
        if count.high().0 > CHILDREN_MAX {
            let message = format!("a Document has at most {CHILDREN_MAX} chunks or matches");
            at.key("count").problem(problems, message, |problem| problem);
        }
        let foreign = [
            ("jsonl", spec.jsonl.is_some()),
            ("csv", spec.csv.is_some()),
            ("columns", spec.columns.is_some()),
            ("docarray", spec.docarray.is_some()),
            ("order", spec.order.is_some()),
            ("exponent", spec.exponent.is_some()),
            ("repeat", spec.repeat.is_some()),
            ("max_size", spec.max_size.is_some()),
        ];
        for (key, given) in foreign {
            if given {
                let message = format!("`{key}` is for Documents, not for their chunks or matches");
                at.name(key).problem(problems, message, |problem| problem);
            }
        }
        if let Some(BlobSpec::Files(_)) = &spec.blob {
            let message = "`files` is for Documents, not for their chunks or matches";
            at.key("blob").problem(problems, message, |problem| problem);
        }
        Children { count, fields: Box::new(Fields::compile(spec, at, context, problems, true)) }
    }

    fn make(
        &self,
        of: Scope<'_>,
        adopt: impl Fn(&mut Document),
    ) -> Result<Vec<Document>, TemplateError> {
        let count = pick(&mut of.key.rng(), self.count.low().0, self.count.high().0);
        let child = |n| {
            let mut child = Document::default();
            adopt(&mut child);
            self.fields.fill(&mut child, Scope { i: n, key: of.key.index(n), ..of })?;
            Ok(child)
        };
        (0..count).map(child).collect()
    }
}

impl Score {
    fn compile(
        spec: &ShortOr<ScoreSpec>,
        at: Spot<'_>,
        context: &Context,
        problems: &mut Vec<Problem>,
    ) -> Option<Score> {
        match spec {
            ShortOr::Short(value) => Some(Score {
                value: bind_as(value, Kind::Number, at, context, problems)?,
                op_name: None,
                description: None,
                ref_id: None,
            }),
            ShortOr::Full(spec) => {
                let value = bind_as(&spec.value, Kind::Number, at.key("value"), context, problems);
                let mut bind = |template: &Option<Template>, key: &str| {
                    template
                        .as_ref()
                        .and_then(|template| bind(template, at.key(key), context, problems))
                };
                let op_name = bind(&spec.op_name, "op_name");
                let description = bind(&spec.description, "description");
                let ref_id = bind(&spec.ref_id, "ref_id");
                Some(Score { value: value?, op_name, description, ref_id })
            }
        }
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let texts = [&self.op_name, &self.description, &self.ref_id];
        [&self.value].into_iter().chain(texts.into_iter().flatten())
    }
}

fn make_scores(
    scores: &[(String, Score)],
    of: Scope<'_>,
    to: &mut IndexMap<String, NamedScore>,
) -> Result<(), TemplateError> {
    for (name, score) in scores {
        let key = of.key.part(name);
        let scope = |field: &str| Scope { key: key.part(field), ..of };
        let text = |template: &Option<Template>, field: &str| match template {
            Some(template) => template.evaluate_text(&scope(field)),
            None => Ok(String::new()),
        };
        let score = NamedScore {
            value: score.value.evaluate_number(&scope("value"))?,
            op_name: text(&score.op_name, "op_name")?,
            description: text(&score.description, "description")?,
            ref_id: text(&score.ref_id, "ref_id")?,
        };
        to.insert(name.clone(), score);
    }
    Ok(())
}
