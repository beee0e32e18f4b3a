//! What an Executor does at one endpoint.

use std::sync::Arc;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use tokio::time::Duration;

use super::embed;
use super::exception::Exception;
use super::fields::Fields;
use super::memory_index::{self, MemoryIndex};
use super::read::{self, ReadError};
use super::service::Sampler;
use crate::flow::config::{
    self, Behaviour, Condition, ExecutorConfig, Fail, SchemaSpec, StreamOf, Uses,
};
use crate::flow::message::{Docs, Faults, Parameters};
use crate::wire::{Document, Family, Map, NamedScore, NdArray, Tensor};

/// An endpoint of an Executor.
#[derive(Debug)]
pub(super) struct Handler {
    does: Does,
    behaviour: Behaviour,
    /// Which fields Documents may have.
    pub(super) fields: Fields,
    pub(super) sampler: Sampler,
    pub(super) fail: Option<Fail>,
    faults: Option<config::Faults>,
}

/// What the `uses` of an Executor does, before its configured behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Nothing,
    Embed,
    Index,
    Search,
    Delete,
    Status,
    /// Whether the endpoint, rather than a parameter, asks for it.
    Append(bool),
    Clear,
    Sleep,
    Fail,
    /// Whether the endpoint, rather than a parameter, asks for it.
    Sum(bool),
    /// Appends a Document that names the Executor.
    WasHere(&'static str),
    NamedWasHere,
}

/// A request as seen by one Executor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    pub(super) family: Family,
    pub(super) fields: &'a Fields,
    pub(super) executor: &'a str,
    pub(super) parameters: &'a Parameters,
}

/// The result of a request in addition to its Documents.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// The dict that was returned.
    pub(super) results: Option<Map>,
    /// How long to sleep afterwards.
    pub(super) sleep: Duration,
    /// Whether other requests wait while it sleeps.
    pub(super) blocks: bool,
}

impl Handler {
    /// The handlers of an Executor: the default one, and those of named endpoints.
    pub(super) fn all(
        config: &ExecutorConfig,
        schema: &SchemaSpec,
    ) -> (Option<Handler>, Vec<(String, Handler)>) {
        use Does::{
            Append, Clear, Delete, Embed, Index, NamedWasHere, Nothing, Search, Status, Sum,
            WasHere,
        };
        let (default, named): (_, &[(&str, Does)]) = match config.uses {
            Uses::Echo => (config.endpoints.is_empty().then_some(Nothing), &[]),
            Uses::Encoder => (Some(Nothing), &[("/index", Embed), ("/search", Embed)]),
            Uses::MemoryIndex => (
                None,
                &[("/index", Index), ("/search", Search), ("/delete", Delete), ("/status", Status)],
            ),
            Uses::Appender => {
                (Some(Append(false)), &[("/append", Append(true)), ("/clear", Clear)])
            }
            Uses::Sleeper => (Some(Does::Sleep), &[]),
            Uses::Failer => (Some(Does::Fail), &[]),
            Uses::Summer => (Some(Sum(false)), &[("/sum", Sum(true))]),
            Uses::Foo => (Some(WasHere("foo")), &[]),
            Uses::Bar => (Some(WasHere("bar")), &[]),
            Uses::Named => (None, &[("/named", NamedWasHere)]),
        };
        let handler = |does, behaviour: Option<&Behaviour>| {
            let behaviour = behaviour.cloned().unwrap_or_default();
            let time = behaviour.service_time.as_ref().unwrap_or(&config.service_time);
            let schema = behaviour.schema.as_ref().or(config.schema.as_ref()).unwrap_or(schema);
            Handler {
                does,
                fields: Fields::of(schema),
                sampler: Sampler::new(time, config.slow_start),
                fail: behaviour.fail.clone().or_else(|| config.fail.clone()),
                faults: behaviour.faults.clone().or_else(|| config.faults.clone()),
                behaviour,
            }
        };
        let of_kind = named.iter().map(|(endpoint, does)| {
            let handler = handler(*does, config.endpoints.get(*endpoint));
            ((*endpoint).to_owned(), handler)
        });
        let further = config
            .endpoints
            .iter()
            .filter(|(endpoint, _)| !named.iter().any(|(known, _)| known == endpoint));
        // An Executor that does something at every endpoint also does it at named ones.
        let further = further.map(|(endpoint, behaviour)| {
            (endpoint.clone(), handler(default.unwrap_or(Nothing), Some(behaviour)))
        });
        let all = of_kind.chain(further).collect();
        let default = match (default, &config.default) {
            (None, None) => None,
            (does, behaviour) => Some(handler(does.unwrap_or(Nothing), behaviour.as_ref())),
        };
        (default, all)
    }

    /// Whether its behaviour is partly random.
    pub(super) fn draws(&self) -> bool {
        self.fail.is_some() || self.faults.is_some()
    }

    /// Its stream, if it is a streaming endpoint.
    pub(super) fn stream(&self) -> Option<StreamOf> {
        self.behaviour.stream
    }

    /// Draws the faults of an answer.
    pub(super) fn draw_faults(&self, rng: &mut Pcg64Mcg) -> Faults {
        let Some(faults) = &self.faults else { return Faults::default() };
        let mut hit = |share: crate::units::Percentage| rng.random::<f64>() < share.fraction();
        Faults {
            drop: hit(faults.drop),
            twice: hit(faults.twice),
            out_of_order: hit(faults.out_of_order),
            wrong_id: hit(faults.wrong_id),
            garbage: hit(faults.garbage),
            late: faults
                .late
                .filter(|late| hit(late.share))
                .map_or(Duration::ZERO, |late| late.by.get()),
        }
    }

    /// Whether a request with these Documents fails.
    fn fails(&self, docs: &mut Docs, work: &Work<'_>) -> Result<(), ReadError> {
        let Some(Fail { documents: Some(condition), exception, .. }) = &self.fail else {
            return Ok(());
        };
        let docs = read::read(docs, work.family, work.fields)?;
        match docs.iter().any(|doc| condition.holds(doc, work.family)) {
            true => Err(Exception::from(exception).into()),
            false => Ok(()),
        }
    }

    /// Processes a request. Documents change only once nothing can fail anymore.
    pub(super) async fn work(
        &self,
        docs: &mut Docs,
        index: &Arc<MemoryIndex>,
        work: &Work<'_>,
    ) -> Result<Effect, ReadError> {
        self.fails(docs, work)?;
        let mut effect = self.kind(docs, index, work).await?;
        self.add(docs, work)?;
        if let Some(results) = &self.behaviour.results {
            effect.results.get_or_insert_default().extend(results.clone());
        }
        Ok(effect)
    }

    async fn kind(
        &self,
        docs: &mut Docs,
        index: &Arc<MemoryIndex>,
        work: &Work<'_>,
    ) -> Result<Effect, ReadError> {
        let Work { family, fields, executor, parameters, .. } = *work;
        let mut effect = Effect::default();
        if self.does == Does::Nothing {
            read::pass(docs, family, fields)?;
            return Ok(effect);
        }
        let parameters = parameters.of(executor)?;
        let asked = |key: &str| parameters.get(key).is_some_and(is_true);
        match self.does {
            Does::Append(false) if !asked("append") => read::pass(docs, family, fields)?,
            Does::Sum(false) if !asked("sum") => read::pass(docs, family, fields)?,
            Does::Status => {
                read::pass(docs, family, fields)?;
                effect.results = Some(index.status());
            }
            Does::Search => {
                let limit = memory_index::limit(&parameters);
                let searched = read::read(docs, family, fields)?;
                MemoryIndex::search(index, searched, limit).await?;
            }
            does => {
                let docs = read::read(docs, family, fields)?;
                match does {
                    Does::Embed => embed::embed_missing(docs),
                    Does::Index => index.index(docs, family)?,
                    Does::Delete => index.delete(docs),
                    Does::Append(_) => {
                        let count = parameters.get("append_count").and_then(Value::as_f64);
                        // Python would run out of memory.
                        const APPEND_MAX: f64 = 1_000_000.0;
                        for _ in 0..count.unwrap_or(1.0).clamp(0.0, APPEND_MAX) as u64 {
                            docs.push(was_here("appender", docs.len()));
                        }
                    }
                    Does::Clear => docs.clear(),
                    Does::Sleep => (effect.sleep, effect.blocks) = sleep(docs, &parameters)?,
                    Does::Fail => fail(docs, &parameters)?,
                    Does::Sum(_) => effect.results = Some(sum(docs)),
                    Does::WasHere(name) => docs.push(was_here(name, docs.len())),
                    Does::NamedWasHere => docs.push(new(Document::from_text("named was here"))),
                    Does::Nothing | Does::Search | Does::Status => (),
                }
            }
        }
        Ok(effect)
    }

    /// Applies the configured behaviour.
    fn add(&self, docs: &mut Docs, work: &Work<'_>) -> Result<(), ReadError> {
        let Behaviour { filter, set, matches, append, response_size, .. } = &self.behaviour;
        if filter.is_none()
            && set.is_none()
            && matches.is_none()
            && append.is_none()
            && response_size.is_none()
        {
            return Ok(());
        }
        let docs = read::read(docs, work.family, work.fields)?;
        if let Some(condition) = filter {
            docs.retain(|doc| condition.holds(doc, work.family));
        }
        for doc in &mut *docs {
            if let Some(set) = set {
                self::set(doc, set, work.family);
            }
            if let Some(matches) = matches {
                doc.matches = made_up(doc, matches);
            }
        }
        if let Some(append) = append {
            let one = || new(Document::from_text(append.text.clone()));
            docs.extend(std::iter::repeat_with(one).take(append.count as usize));
        }
        if let Some(size) = response_size {
            pad(docs, size.bytes(), work.family)?;
        }
        Ok(())
    }
}

/// Whether a value is true in Python.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The Documents that meet a condition.
pub(super) fn keep(
    docs: &mut Docs,
    condition: &Condition,
    family: Family,
    fields: &Fields,
) -> Result<(), ReadError> {
    read::read(docs, family, fields)?.retain(|doc| condition.holds(doc, family));
    Ok(())
}

/// Gives a Document a new id.
fn new(doc: Document) -> Document {
    Document { id: crate::flow::message::new_uuid().simple().to_string(), ..doc }
}

fn was_here(name: &str, before: usize) -> Document {
    new(Document::from_text(format!("{name} was here and got {before} document")))
}

/// How long to sleep: a Document's text `sleep:MS` overrides the parameter.
fn sleep(docs: &[Document], parameters: &Map) -> Result<(Duration, bool), Exception> {
    let mut ms = match parameters.get("sleep_ms").filter(|value| is_true(value)) {
        None => 0.0,
        Some(Value::Number(number)) => number.as_f64().unwrap_or_default(),
        Some(Value::String(text)) => float(text)?,
        Some(Value::Bool(_)) => 1.0,
        Some(_) => {
            return Err(Exception::new("TypeError")
                .text("float() argument must be a string or a real number"));
        }
    };
    for doc in docs {
        if let Some(text) = doc.text.as_deref().and_then(|text| text.strip_prefix("sleep:")) {
            ms = float(text)?;
        }
    }
    let time = Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
    Ok((time, parameters.get("block").is_some_and(is_true)))
}

fn float(text: &str) -> Result<f64, Exception> {
    text.trim().parse().map_err(|_| {
        let shown = super::exception::repr(text);
        let message = format!("could not convert string to float: {shown}");
        Exception::new("ValueError").text(message)
    })
}

fn fail(docs: &[Document], parameters: &Map) -> Result<(), Exception> {
    let asked = parameters.get("fail").filter(|value| is_true(value));
    let by_text = docs.iter().any(|doc| doc.text.as_deref() == Some("fail"));
    match asked.and_then(Value::as_str) {
        Some("type") => {
            Err(Exception::new("TypeError").text("failer raised a TypeError").value("7"))
        }
        Some("custom") => {
            Err(Exception::new("CustomError").text("failer raised its own class").value("{'a': 1}"))
        }
        _ if asked.is_some() || by_text => {
            Err(Exception::new("ValueError").text("failer was asked to fail"))
        }
        _ => Ok(()),
    }
}

fn sum(docs: &[Document]) -> Map {
    let texts = || docs.iter().map(|doc| doc.text.as_deref().unwrap_or_default());
    let results = json!({
        "count": docs.len(),
        "chars": texts().map(|text| text.chars().count()).sum::<usize>(),
        "first": texts().next(),
        "nested": {"ok": true, "list": [1, 2.5, "x", null]},
    });
    match results {
        Value::Object(map) => map,
        _ => unreachable!("it is written as a map"),
    }
}

fn set(doc: &mut Document, set: &config::Set, family: Family) {
    if let Some(text) = &set.text {
        doc.text = Some(text.clone());
        if family == Family::V1 {
            doc.blob = None;
            doc.tensor = None;
        }
    }
    for (key, value) in set.tags.iter().flatten() {
        doc.tags.insert(key.clone(), value.clone());
    }
    if let Some(dimensions) = set.embedding {
        let embedding = embed::embedding(doc, dimensions as usize);
        doc.embedding = Some(NdArray::Dense(Tensor::from_f32(&embedding)));
    }
}

fn made_up(doc: &Document, matches: &config::Matches) -> Vec<Document> {
    (0..matches.k)
        .map(|n| {
            let score = NamedScore {
                value: f64::from(matches.k - n) / f64::from(matches.k),
                op_name: matches.score.clone(),
                ref_id: doc.id.clone(),
                ..NamedScore::default()
            };
            Document {
                id: format!("{}-match-{n}", doc.id),
                adjacency: doc.adjacency.saturating_add(1),
                scores: [(matches.score.clone(), score)].into(),
                ..Document::from_text(format!("match {n} of {}", doc.id))
            }
        })
        .collect()
}

/// Pads Documents to at least this many bytes.
fn pad(docs: &mut Vec<Document>, size: u64, family: Family) -> Result<(), Exception> {
    let large = |_| Exception::new("ValueError").text("the Documents cannot be written");
    let now = family.encode_docs(docs).map_err(large)?.len() as u64;
    if now >= size {
        return Ok(());
    }
    if docs.is_empty() {
        docs.push(new(Document::default()));
    }
    let padding = "x".repeat(usize::try_from(size - now).unwrap_or(usize::MAX));
    if let Some(last) = docs.last_mut() {
        last.tags.insert("padding".into(), padding.into());
    }
    Ok(())
}
