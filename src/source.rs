//! YAML with a place for every value, and problems shown in their line.
//!
//! A file becomes one tree of [`Node`]s, each of which knows where it stands, through anchors and
//! merges. Typed models are read from the tree ([`Sources::read`] finds *all* their problems), so
//! they carry no positions; who finds a problem in a model later walks the tree along the same keys
//! with a [`Spot`]. This is the one file that knows the YAML crate.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Number;
use serde_yaml::Spanned;

use crate::units::nearest;

/// Files larger than this are refused: nobody writes them by hand, and a tree is larger still.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Values of one file, aliases expanded. Keeps a tree within about a hundred MiB.
const NODES_MAX: usize = 1_000_000;

/// Values that aliases may add: bombs grow by them.
const ALIASED_NODES_MAX: usize = 200_000;

/// Nesting of lists and maps. A level takes up to 40 KiB of stack in a debug build, and a thread has
/// 2 MiB of it.
const DEPTH_MAX: usize = 32;

/// Problems shown at once; a file with more is wrong in some basic way.
const PROBLEMS_MAX: usize = 100;

/// The texts that were read, in the order of reading. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<File>>,
}

#[derive(Debug)]
struct File {
    name: String,
    text: String,
    // Where each line starts, for line numbers.
    lines: Vec<u32>,
    // Where this file was included; none for the first.
    included: Option<Place>,
}

/// A stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    file: u32,
    // Bytes; 16 MiB fit.
    start: u32,
    end: u32,
}

/// A value of a file, with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    place: Place,
    // From the environment: errors do not repeat it.
    secret: bool,
    // Something in it was refused already: what is missing from it now is no further problem.
    broken: bool,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`; `yes` and `on` are text.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// Anything else on one line, or quoted, or a block.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

/// Something wrong with what the user wrote: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    message: String,
    place: Option<Place>,
    label: Option<String>,
    related: Vec<(Place, String)>,
    help: Option<String>,
}

/// All that is wrong with a suite. `Display` gives what the user sees.
#[derive(Clone, Debug)]
pub struct Problems {
    sources: Sources,
    problems: Vec<Problem>,
}

/// A walk down a tree, to the place a problem is about. Where the tree ends before the walk does,
/// the last place stands for the rest.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    node: Option<&'a Node>,
    place: Place,
    muted: bool,
}

impl Sources {
    /// No files yet.
    pub fn new() -> Sources {
        Sources::default()
    }

    /// Parses a file. Problems go to `problems`; `None` when there is no tree at all. `included` is
    /// the place that named the file.
    pub fn parse(
        &mut self,
        name: &str,
        text: String,
        included: Option<Place>,
        problems: &mut Vec<Problem>,
    ) -> Option<Node> {
        let file = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let too_large = text.len() > FILE_BYTES_MAX;
        let starts = text.match_indices('\n').map(|(at, _)| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        let text = if too_large { String::new() } else { text };
        let whole = Arc::new(File { name: name.into(), text, lines, included });
        self.files.push(whole.clone());
        let start = Place { file, start: 0, end: 0 };
        if too_large {
            problems.push(Problem::at(start, "file is larger than 16MiB"));
            return None;
        }
        match serde_yaml::from_str_with_options::<Spanned<Raw>>(&whole.text, yaml_options()) {
            Ok(raw) => Some(Tree { file, text: &whole.text, problems }.node(raw)),
            Err(error) => {
                problems.push(syntax_problem(&error, file, &whole.text));
                None
            }
        }
    }

    /// Whether any of the texts has this in it.
    pub fn contain(&self, text: &str) -> bool {
        self.files.iter().any(|file| file.text.contains(text))
    }

    /// The keys that a model has, in the order of its fields.
    pub fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
        match T::deserialize(Keys) {
            Err(KeysFound(keys)) => keys,
            Ok(_) => &[],
        }
    }

    /// `suite.yaml:14:5`; lines and columns count from 1, columns in characters.
    pub fn position(&self, place: Place) -> String {
        let Some(file) = self.files.get(place.file as usize) else { return String::new() };
        let line = file.line_of(place.start);
        let start = file.lines[line] as usize;
        let column = file.text.get(start..place.start as usize).map_or(0, |s| s.chars().count());
        format!("{}:{}:{}", file.name, line + 1, column + 1)
    }

    /// The file a place is in, as it was named.
    pub fn file_name(&self, place: Place) -> &str {
        self.files.get(place.file as usize).map_or("", |file| &file.name)
    }

    fn render(&self, problem: &Problem, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let mut group = match problem.place {
            None => annotate_snippets::Group::with_title(title),
            Some(place) => {
                let snippet =
                    self.snippet(place, AnnotationKind::Primary, problem.label.as_deref());
                let mut group = title.elements(snippet);
                for (place, label) in &problem.related {
                    let snippet = self.snippet(*place, AnnotationKind::Context, Some(label));
                    group = group.elements(snippet);
                }
                group
            }
        };
        let mut included = problem.place.and_then(|place| self.included(place));
        while let Some(place) = included {
            let note = format!("included at {}", self.position(place));
            group = group.element(Level::NOTE.message(note));
            included = self.included(place);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    fn included(&self, place: Place) -> Option<Place> {
        self.files.get(place.file as usize)?.included
    }

    /// One line of a file with a mark in it.
    fn snippet<'a>(
        &'a self,
        place: Place,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let file = self.files.get(place.file as usize)?;
        let line = file.line_of(place.start);
        let start = file.lines[line] as usize;
        let text = file.text.get(start..)?;
        let text = text.split('\n').next().unwrap_or(text);
        let from = (place.start as usize - start).min(text.len());
        // A block goes over lines; its first one is enough to find it.
        let to =
            (place.end as usize).saturating_sub(start).clamp(from, text.trim_end().len().max(from));
        Some(
            Snippet::source(text)
                .line_start(line + 1)
                .path(file.name.as_str())
                .annotation(kind.span(from..to).label(label)),
        )
    }

    /// Reads a typed model, and tells all that is wrong with the tree.
    ///
    /// What is wrong is taken out of the tree, which makes reading go on to the next problem; so a
    /// `Some` is the model of what was right. `label` names the whole: "the suite".
    pub fn read<T: DeserializeOwned>(
        node: &mut Node,
        label: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        loop {
            match T::deserialize(At { node, name: Name::Label(label), key_place: None }) {
                Ok(model) => return Some(model),
                Err(fault) => {
                    let path = fault.path.clone();
                    if !node.is_broken_at(&path) && problems.len() <= PROBLEMS_MAX {
                        problems.push(fault.into_problem(node.place));
                    }
                    if !node.take_out(&path) {
                        return None;
                    }
                }
            }
        }
    }
}

impl File {
    fn line_of(&self, at: u32) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }
}

impl Place {
    /// The stretch from `from` to `to`, in bytes from the start of this place.
    pub fn part(self, from: usize, to: usize) -> Place {
        let clamp = |at: usize| (self.start.saturating_add(at as u32)).min(self.end);
        Place { file: self.file, start: clamp(from), end: clamp(to) }
    }
}

impl Problem {
    /// A problem without a place: of the command line.
    pub fn new(message: impl Into<String>) -> Problem {
        Problem { message: message.into(), place: None, label: None, related: vec![], help: None }
    }

    /// A problem at a place.
    pub fn at(place: Place, message: impl Into<String>) -> Problem {
        Problem { place: Some(place), ..Problem::new(message) }
    }

    /// Words under the mark.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = Some(label.into());
        self
    }

    /// Another place that has to do with it.
    pub fn see(mut self, place: Place, label: impl Into<String>) -> Problem {
        self.related.push((place, label.into()));
        self
    }

    /// What to do.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// "did you mean `x`? (known here: x, y)" for a name that is none of `known`.
    pub fn suggest<'a>(self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
        match suggestion(found, known) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// What to say about an unknown name; `None` when nothing is known here.
fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if known.is_empty() {
        return None;
    }
    let list = match known.len() {
        0..=30 => known.join(", "),
        more => format!("{} and {} more", known[..30].join(", "), more - 30),
    };
    Some(match nearest(found, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? (known here: {list})"),
        None => format!("known here: {list}"),
    })
}

impl Problems {
    /// Problems of these sources, sorted by place. `None` when there are none.
    pub fn new(sources: &Sources, mut problems: Vec<Problem>) -> Option<Problems> {
        if problems.is_empty() {
            return None;
        }
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        // An anchor that is wrong is wrong wherever it is used, and once is enough.
        problems.dedup();
        Some(Problems { sources: sources.clone(), problems })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// There is at least one.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Each of them, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// What the user sees, with colours for a terminal.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let shown = self.problems.iter().take(PROBLEMS_MAX);
        let mut text = shown
            .map(|problem| self.sources.render(problem, &renderer))
            .collect::<Vec<_>>()
            .join("\n\n");
        if let Some(more) = self.problems.len().checked_sub(PROBLEMS_MAX).filter(|more| *more > 0) {
            text.push_str(&format!("\n\nerror: {more} more problems are not shown"));
        }
        text
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl<'a> Spot<'a> {
    /// At a node.
    pub fn of(node: &'a Node) -> Spot<'a> {
        Spot { node: Some(node), place: node.face(), muted: node.broken }
    }

    /// To the value of a key.
    pub fn key(self, key: &str) -> Spot<'a> {
        match self.node.and_then(|node| node.get(key)) {
            Some(node) => Spot::of(node),
            None => Spot { node: None, ..self },
        }
    }

    /// To the key itself.
    pub fn name(self, key: &str) -> Spot<'a> {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => Spot { node: None, place: entry.key_place, muted: entry.value.broken },
            None => Spot { node: None, ..self },
        }
    }

    /// To an item of a list.
    pub fn index(self, index: usize) -> Spot<'a> {
        match self.node.map(|node| &node.value) {
            Some(Value::List(items)) if index < items.len() => Spot::of(&items[index]),
            _ => Spot { node: None, ..self },
        }
    }

    /// Where it stands.
    pub fn place(self) -> Place {
        self.place
    }

    /// The node it stands at, unless the tree ended before.
    pub fn node(self) -> Option<&'a Node> {
        self.node
    }

    /// A problem here, added to `problems`; nothing when a part of this very node was refused
    /// already, as that is the cause.
    pub fn problem(
        self,
        problems: &mut Vec<Problem>,
        message: impl Into<String>,
        more: impl FnOnce(Problem) -> Problem,
    ) {
        if !self.muted {
            problems.push(more(Problem::at(self.place, message)));
        }
    }
}

impl Node {
    /// A value that was made, not read; `place` is what made it.
    pub fn made(value: serde_json::Value, place: Place) -> Node {
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(value) => Value::Number(value),
            serde_json::Value::String(value) => Value::Text(value),
            serde_json::Value::Array(items) => {
                Value::List(items.into_iter().map(|item| Node::made(item, place)).collect())
            }
            serde_json::Value::Object(map) => Value::Map(
                map.into_iter()
                    .map(|(key, value)| Entry {
                        key,
                        key_place: place,
                        value: Node::made(value, place),
                    })
                    .collect(),
            ),
        };
        Node { value, place, secret: false, broken: false }
    }

    /// An empty map.
    pub fn empty_map(place: Place) -> Node {
        Node { value: Value::Map(Vec::new()), place, secret: false, broken: false }
    }

    /// Marks it as something no message may repeat.
    pub fn secret(mut self) -> Node {
        self.secret = true;
        self
    }

    /// Marks it as refused in part: nothing is missing from it for another reason.
    pub fn mark_broken(&mut self) {
        self.broken = true;
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where to point to for the whole of it: a map without braces is shown by its first key.
    fn face(&self) -> Place {
        match &self.value {
            Value::Map(entries) if self.place.start == self.place.end => {
                entries.first().map_or(self.place, |entry| entry.key_place)
            }
            Value::List(items) if self.place.start == self.place.end => {
                items.first().map_or(self.place, Node::face)
            }
            _ => self.place,
        }
    }

    /// The value of a key, in a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
            }
            _ => None,
        }
    }

    /// The entry of a key, in a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a map, none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list, none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Sets a key of a map, in its place or at the end.
    pub fn set(&mut self, entry: Entry) {
        if let Value::Map(entries) = &mut self.value {
            match entries.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = entry,
                None => entries.push(entry),
            }
        }
    }

    /// Takes a key out of a map.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        match &mut self.value {
            Value::Map(entries) => {
                let at = entries.iter().position(|entry| entry.key == key)?;
                Some(entries.remove(at))
            }
            _ => None,
        }
    }

    /// The value without its places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.clone().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn child(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(items) => items.get(index),
            Value::Map(entries) => entries.get(index).map(|entry| &entry.value),
            _ => None,
        }
    }

    fn is_broken_at(&self, path: &[usize]) -> bool {
        match path.split_last() {
            None => self.broken,
            Some((index, rest)) => self.child(*index).is_none_or(|child| child.is_broken_at(rest)),
        }
    }

    /// Removes the node at a path, which is given from its end; false for the root.
    fn take_out(&mut self, path: &[usize]) -> bool {
        self.broken = true;
        let Some((index, rest)) = path.split_last() else { return false };
        match &mut self.value {
            Value::List(items) if rest.is_empty() => drop(items.remove(*index)),
            Value::Map(entries) if rest.is_empty() => drop(entries.remove(*index)),
            Value::List(items) => return items[*index].take_out(rest),
            Value::Map(entries) => return entries[*index].value.take_out(rest),
            _ => return false,
        }
        true
    }

    /// In a message: "`fast`", "a list".
    pub fn found(&self) -> String {
        match &self.value {
            _ if self.secret => "a value that is not shown".into(),
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(value) => format!("`{value}`"),
            Value::Text(text) => format!("`{}`", shortened(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

// Reading YAML.

fn yaml_options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_recorded_anchor_events: ALIASED_NODES_MAX,
            max_documents: 2,
            // One anchor used by hundreds of scenarios is no bomb.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: ALIASED_NODES_MAX,
            max_replay_stack_depth: 16,
        },
        // Ours to tell, with both places and all at once.
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::PassThrough,
        // Ours to do, so that what is merged keeps the place it was written at.
        merge_keys: serde_yaml::options::MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// A value as the YAML crate hands it out.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> de::Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Number(value.into()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
                Number::from_f64(value)
                    .map(Raw::Number)
                    .ok_or_else(|| E::custom("expected a finite number"))
            }

            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Raw, E> {
                Ok(Raw::Text(value))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }

        deserializer.deserialize_any(RawVisitor)
    }
}

/// Turns what the YAML crate hands out into nodes.
struct Tree<'a> {
    file: u32,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Tree<'_> {
    fn place(&self, location: &serde_yaml::Location) -> Place {
        place_of(location, self.file, self.text)
    }

    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let place = self.place(&raw.defined);
        let (value, broken) = match raw.value {
            Raw::Null => (Value::Null, false),
            Raw::Bool(value) => (Value::Bool(value), false),
            Raw::Number(value) => (Value::Number(value), false),
            Raw::Text(value) => (Value::Text(value), false),
            Raw::List(items) => {
                (Value::List(items.into_iter().map(|item| self.node(item)).collect()), false)
            }
            Raw::Map(entries) => self.map(entries),
        };
        Node { value, place, secret: false, broken }
    }

    /// Refuses a key that comes twice and does what `<<` asks for: a key of the map itself wins over
    /// merged ones, an earlier merged map over a later one.
    fn map(&mut self, raw: Vec<(Spanned<String>, Spanned<Raw>)>) -> (Value, bool) {
        let mut broken = false;
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut known: HashMap<String, usize> = HashMap::with_capacity(raw.len());
        let mut merged: Vec<Node> = Vec::new();
        for (key, value) in raw {
            let key_place = self.place(&key.defined);
            let value = self.node(value);
            if key.value == "<<" {
                match value.value {
                    Value::Map(_) => merged.push(value),
                    Value::List(items)
                        if items.iter().all(|item| matches!(item.value, Value::Map(_))) =>
                    {
                        merged.extend(items);
                    }
                    _ => {
                        broken = true;
                        let message = format!(
                            "expected a map, or a list of maps, to merge with `<<`, found {}",
                            value.found()
                        );
                        self.problems.push(Problem::at(value.place, message));
                    }
                }
                continue;
            }
            if let Some(first) = known.get(&key.value) {
                broken = true;
                self.problems.push(
                    Problem::at(
                        key_place,
                        format!("key `{}` is given twice", shortened(&key.value)),
                    )
                    .see(entries[*first].key_place, "first given here"),
                );
                continue;
            }
            known.insert(key.value.clone(), entries.len());
            entries.push(Entry { key: key.value, key_place, value });
        }
        for node in merged {
            let Value::Map(more) = node.value else { continue };
            for entry in more {
                if !known.contains_key(&entry.key) {
                    known.insert(entry.key.clone(), entries.len());
                    entries.push(entry);
                }
            }
        }
        (Value::Map(entries), broken)
    }
}

fn place_of(location: &serde_yaml::Location, file: u32, text: &str) -> Place {
    let span = location.span();
    let (start, length) = match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(length)) => (start as usize, length as usize),
        // The parser's own errors know characters only.
        _ if location.line() > 0 => {
            let at =
                text.char_indices().nth(span.offset() as usize).map_or(text.len(), |(at, _)| at);
            (at, text[at..].chars().next().map_or(0, char::len_utf8))
        }
        _ => (0, 0),
    };
    let start = start.min(text.len());
    let end = (start + length).min(text.len());
    Place { file, start: start as u32, end: end as u32 }
}

/// Says in our words what the YAML crate says in its own, where a user needs it.
fn syntax_problem(error: &serde_yaml::Error, file: u32, text: &str) -> Problem {
    use serde_yaml::Error;
    let inner = error.without_snippet();
    let place = error
        .location()
        .map_or(Place { file, start: 0, end: 0 }, |location| place_of(&location, file, text));
    let line_start = text[..place.start as usize].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    match inner {
        Error::MultipleDocuments { .. } => {
            Problem::at(place, "a suite is one YAML document, found a second one after `---`")
        }
        Error::UnknownAnchor { .. } => Problem::at(place, "this alias has no anchor before it"),
        Error::UnsupportedTag { tag, .. } => Problem::at(place, format!("unknown tag `{tag}`")),
        Error::NullIntoString { .. } | Error::Unexpected { .. } => {
            Problem::at(place, "expected a word as a key")
        }
        Error::NonFiniteFloat { .. } => Problem::at(place, "expected a finite number"),
        _ => {
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or(&words);
            let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
            let message = if has(&["alias", "Alias", "Anchor", "recursive"]) {
                "this file is refused: its aliases expand to more values than a suite can have"
                    .into()
            } else if has(&["Depth", "depth", "nesting", "nested", "recursion"]) {
                format!("this file nests deeper than {DEPTH_MAX} levels")
            } else if has(&["budget"]) {
                "this file has more values than a suite can have".into()
            } else {
                format!("not valid YAML: {words}")
            };
            let problem = Problem::at(place, message);
            if line.contains("${{") {
                problem.help(
                    "put quotes around a value with `${{ … }}` that stands inside `{…}` or `[…]`, or \
                     that holds `: ` or ` #`",
                )
            } else if line.contains('\t') {
                problem.help("YAML is indented with spaces, not with tabs")
            } else {
                problem
            }
        }
    }
}

// Reading models from nodes.

/// A node as serde sees it, with the name that messages call it by.
struct At<'a> {
    node: &'a Node,
    name: Name<'a>,
    key_place: Option<Place>,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Label(&'a str),
    Key(&'a str),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Label(label) => f.write_str(label),
            Name::Key(key) => write!(f, "`{key}`"),
        }
    }
}

/// Why a node does not fit a model, and where: `path` has the indices of the children from the node
/// up to the root.
#[derive(Debug)]
struct Fault {
    message: String,
    help: Option<String>,
    place: Option<Place>,
    path: Vec<usize>,
    // Of a whole map, and so in want of its name.
    missing: bool,
    unknown_key: bool,
}

impl Fault {
    fn new(message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            help: None,
            place: None,
            path: Vec::new(),
            missing: false,
            unknown_key: false,
        }
    }

    fn into_problem(self, root: Place) -> Problem {
        let problem = Problem::at(self.place.unwrap_or(root), self.message);
        match self.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// `a`, `b` or `c`
fn alternatives(words: &[&'static str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Fault {
        let found = match found {
            Unexpected::Bool(value) => format!("`{value}`"),
            Unexpected::Unsigned(value) => format!("`{value}`"),
            Unexpected::Signed(value) => format!("`{value}`"),
            Unexpected::Float(value) => format!("`{value}`"),
            Unexpected::Str(value) => format!("`{}`", shortened(value)),
            Unexpected::Unit | Unexpected::Option => "nothing".into(),
            Unexpected::Seq => "a list".into(),
            Unexpected::Map => "a map".into(),
            other => other.to_string(),
        };
        Fault::new(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Fault {
        Fault::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Fault {
        Fault {
            help: suggestion(field, expected.iter().copied()),
            unknown_key: true,
            ..Fault::new(format!("unknown key `{}`", shortened(field)))
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Fault {
        Fault {
            help: nearest(variant, expected.iter().copied())
                .map(|name| format!("did you mean `{name}`?")),
            ..Fault::new(format!(
                "expected {}, found `{}`",
                alternatives(expected),
                shortened(variant)
            ))
        }
    }

    fn missing_field(field: &'static str) -> Fault {
        Fault { missing: true, ..Fault::new(format!("key `{field}` is missing")) }
    }

    fn duplicate_field(field: &'static str) -> Fault {
        Fault::new(format!("key `{field}` is given twice"))
    }
}

impl<'a> At<'a> {
    /// Gives a fault that has no place yet the place of this node.
    fn locate(&self, mut fault: Fault) -> Fault {
        if fault.place.is_none() {
            if fault.missing {
                fault.message = format!("{} in {}", fault.message, self.name);
                fault.place = self.key_place.or(Some(self.node.face()));
            } else {
                fault.place = Some(self.node.face());
                if self.node.secret
                    && let Some(text) = self.node.text().filter(|text| !text.is_empty())
                {
                    fault.message = fault.message.replace(&shortened(text), "***");
                }
            }
        }
        fault
    }

    fn mismatch<T>(&self, expected: impl fmt::Display) -> Result<T, Fault> {
        Err(self.locate(Fault::new(format!("expected {expected}, found {}", self.node.found()))))
    }

    fn entries(&self, entries: &'a [Entry]) -> Entries<'a> {
        Entries { entries, next: 0, name: self.name }
    }

    fn items(&self, items: &'a [Node]) -> Items<'a> {
        Items { items, next: 0, name: self.name }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $type:ident $visit:ident),+) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            let whole = match &self.node.value {
                Value::Number(number) => number
                    .as_i128()
                    // `1e3` and `5.0` are whole too.
                    .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i128)),
                _ => None,
            };
            let Some(number) = whole else { return self.mismatch("a whole number") };
            match $type::try_from(number) {
                Ok(number) => visitor.$visit(number).map_err(|fault| self.locate(fault)),
                Err(_) if number < 0 => self.mismatch("a whole number from 0 on"),
                Err(_) => self.mismatch(format_args!("a whole number up to {}", $type::MAX)),
            }
        })+
    };
}

impl<'a> Deserializer<'a> for At<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(self.items(items)),
            Value::Map(entries) => visitor.visit_map(self.entries(entries)),
        };
        result.map_err(|fault| self.locate(fault))
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Bool(value) => visitor.visit_bool(*value).map_err(|fault| self.locate(fault)),
            _ => self.mismatch("`true` or `false`"),
        }
    }

    whole_numbers!(
        deserialize_u8 u8 visit_u8,
        deserialize_u16 u16 visit_u16,
        deserialize_u32 u32 visit_u32,
        deserialize_u64 u64 visit_u64,
        deserialize_i64 i64 visit_i64
    );

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Number(number) => visitor
                .visit_f64(number.as_f64().unwrap_or(f64::NAN))
                .map_err(|fault| self.locate(fault)),
            _ => self.mismatch("a number"),
        }
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_str(text).map_err(|fault| self.locate(fault)),
            // A visitor that asks for more than text says so; plain strings do not.
            Value::Bool(_) | Value::Number(_) => {
                let found = self.node.found();
                let mut fault = Fault::new(format!("expected text, found {found}"));
                if !self.node.secret {
                    fault.help = Some(format!("put it in quotes: \"{}\"", found.trim_matches('`')));
                }
                Err(self.locate(fault))
            }
            _ => self.mismatch("text"),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(items) => {
                visitor.visit_seq(self.items(items)).map_err(|fault| self.locate(fault))
            }
            _ => self.mismatch("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(self.entries(entries)).map_err(|fault| self.locate(fault))
            }
            _ => self.mismatch("a map"),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(self.entries(entries)).map_err(|fault| self.locate(fault))
            }
            _ => {
                let mut words = "a map".to_owned();
                if !fields.is_empty() {
                    let some = &fields[..fields.len().min(3)];
                    words = format!("a map with keys such as {}", alternatives(some));
                }
                self.mismatch(words)
            }
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) => visitor
                .visit_enum(de::value::StrDeserializer::<Fault>::new(text))
                .map_err(|fault| self.locate(fault)),
            Value::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(OneKey { entry }).map_err(|fault| self.locate(fault)),
                _ => self.mismatch(format_args!(
                    "a map with one key, {}, found {}",
                    alternatives(variants),
                    entries.len()
                )),
            },
            _ => self.mismatch(alternatives(variants)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'a>>
        i8 i16 i32 i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
        ignored_any
    }
}

/// Asks a model which keys it has: derived models name them when they begin to read.
struct Keys;

/// The answer, in the clothes of an error.
#[derive(Debug)]
struct KeysFound(&'static [&'static str]);

impl fmt::Display for KeysFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for KeysFound {}

impl de::Error for KeysFound {
    fn custom<T: fmt::Display>(_: T) -> KeysFound {
        KeysFound(&[])
    }
}

impl<'de> Deserializer<'de> for Keys {
    type Error = KeysFound;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, KeysFound> {
        Err(KeysFound(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, KeysFound> {
        Err(KeysFound(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
    // An item is called by its list's name; which one it is, its place shows.
    name: Name<'a>,
}

impl<'a> de::SeqAccess<'a> for Items<'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        let at = At { node, name: self.name, key_place: None };
        seed.deserialize(at).map(Some).map_err(|mut fault| {
            fault.place.get_or_insert(node.face());
            fault.path.push(index);
            fault
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Entries<'a> {
    entries: &'a [Entry],
    next: usize,
    name: Name<'a>,
}

impl<'a> de::MapAccess<'a> for Entries<'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        seed.deserialize(de::value::StrDeserializer::<Fault>::new(&entry.key)).map(Some).map_err(
            |mut fault| {
                if fault.unknown_key {
                    fault.message = format!("{} in {}", fault.message, self.name);
                }
                fault.place = Some(entry.key_place);
                fault.path.push(self.next);
                fault
            },
        )
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let index = self.next;
        let entry = &self.entries[index];
        self.next += 1;
        let at = At {
            node: &entry.value,
            name: Name::Key(&entry.key),
            key_place: Some(entry.key_place),
        };
        seed.deserialize(at).map_err(|mut fault| {
            fault.place.get_or_insert(entry.value.face());
            fault.path.push(index);
            fault
        })
    }
}

/// An enum written as a map of one key.
struct OneKey<'a> {
    entry: &'a Entry,
}

impl<'a> de::EnumAccess<'a> for OneKey<'a> {
    type Error = Fault;
    type Variant = OneKey<'a>;

    fn variant_seed<V: DeserializeSeed<'a>>(
        self,
        seed: V,
    ) -> Result<(V::Value, OneKey<'a>), Fault> {
        match seed.deserialize(de::value::StrDeserializer::<Fault>::new(&self.entry.key)) {
            Ok(variant) => Ok((variant, self)),
            Err(mut fault) => {
                fault.place = Some(self.entry.key_place);
                Err(fault)
            }
        }
    }
}

impl<'a> OneKey<'a> {
    fn at(&self) -> At<'a> {
        At {
            node: &self.entry.value,
            name: Name::Key(&self.entry.key),
            key_place: Some(self.entry.key_place),
        }
    }
}

/// Children of a one-key map are its only entry's.
fn below(mut fault: Fault) -> Fault {
    fault.path.push(0);
    fault
}

impl<'a> de::VariantAccess<'a> for OneKey<'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let mut fault =
            Fault::new(format!("`{}` is a word on its own, without a value", self.entry.key));
        fault.place = Some(self.entry.key_place);
        Err(fault)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Fault> {
        let at = self.at();
        seed.deserialize(self.at()).map_err(|fault| below(at.locate(fault)))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.at().deserialize_seq(visitor).map_err(below)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.at().deserialize_struct("", fields, visitor).map_err(below)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::units::{Rate, Span};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters here")]
    struct Model {
        name: String,
        load: Load,
        #[serde(default)]
        list: Vec<Kind>,
        flag: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters here")]
    struct Load {
        rate: Rate,
        duration: Option<Span>,
        clients: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Uniform,
        #[expect(dead_code, reason = "only whether it can be read matters here")]
        Ramp(Load),
    }

    fn messages(text: &str) -> String {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        if let Some(mut node) = sources.parse("s.yaml", text.into(), None, &mut problems) {
            Sources::read::<Model>(&mut node, "the suite", &mut problems);
        }
        let problems = Problems::new(&sources, problems);
        let shown = problems.iter().flat_map(Problems::iter).map(|problem| {
            let position = problem.place.map_or("".into(), |place| sources.position(place));
            let help = problem.help.as_ref().map_or("".into(), |help| format!(" [{help}]"));
            format!("{position} {}{help}\n", problem.message)
        });
        shown.collect()
    }

    #[test]
    fn all_problems_are_told_at_once_each_at_its_place() {
        let text = "
name: 5
load:
  rate: fast
  concurency: 8
  clients: -1
list: [uniform, unifrom, {ramp: {rate: 1/s, x: 1}}, {ramp: {}}]
flag: yes
";
        assert_eq!(
            messages(text),
            "s.yaml:2:7 expected text, found `5` [put it in quotes: \"5\"]\n\
             s.yaml:4:9 expected a rate such as `50/s` or `3000/min`, found `fast`\n\
             s.yaml:5:3 unknown key `concurency` in `load` [known here: rate, duration, clients]\n\
             s.yaml:6:12 expected a whole number from 0 on, found `-1`\n\
             s.yaml:7:17 expected `uniform` or `ramp`, found `unifrom` [did you mean `uniform`?]\n\
             s.yaml:7:45 unknown key `x` in `ramp` [known here: rate, duration, clients]\n\
             s.yaml:7:54 key `rate` is missing in `ramp`\n\
             s.yaml:8:7 expected `true` or `false`, found `yes`\n"
        );
    }

    #[test]
    fn a_problem_is_shown_in_its_line() {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        let text = "name: ä\nload: {rate: schnell, ü: 1}\n";
        let mut node = sources.parse("a/s.yaml", text.into(), None, &mut problems).expect("YAML");
        Sources::read::<Model>(&mut node, "the suite", &mut problems);
        let problems = Problems::new(&sources, problems).expect("problems");
        let shown = "\
error: expected a rate such as `50/s` or `3000/min`, found `schnell`
 --> a/s.yaml:2:14
  |
2 | load: {rate: schnell, ü: 1}
  |              ^^^^^^^

error: unknown key `ü` in `load`
 --> a/s.yaml:2:23
  |
2 | load: {rate: schnell, ü: 1}
  |                       ^
  |
  = help: known here: rate, duration, clients";
        assert_eq!(problems.to_string(), shown);
    }

    #[test]
    fn keys_given_twice_are_refused_and_shown_with_the_first() {
        let (mut sources, mut problems) = (Sources::new(), Vec::new());
        sources.parse("s.yaml", "a: 1\nb: 2\na: 3\n".into(), None, &mut problems);
        let problems = Problems::new(&sources, problems).expect("problems");
        let shown = "\
error: key `a` is given twice
 --> s.yaml:3:1
  |
3 | a: 3
  | ^
  |
 ::: s.yaml:1:1
  |
1 | a: 1
  | - first given here";
        assert_eq!(problems.to_string(), shown);
    }

    #[test]
    fn merged_and_aliased_values_keep_the_place_they_were_written_at() {
        let text = "
name: n
load: &base {rate: nope, clients: 1}
list:
  - ramp: *base
  - ramp: {<<: *base, rate: 5/s}
";
        // The anchor is wrong once, however often it is used; the merge overrides what was wrong.
        assert_eq!(
            messages(text),
            "s.yaml:3:20 expected a rate such as `50/s` or `3000/min`, found `nope`\n"
        );
    }

    #[test]
    fn a_missing_key_is_told_unless_it_was_refused() {
        assert_eq!(
            messages("name: n\nload:\n  clients: 1\n"),
            "s.yaml:2:1 key `rate` is missing in `load`\n"
        );
        assert_eq!(messages("name: n\n"), "s.yaml:1:1 key `load` is missing in the suite\n");
        assert_eq!(
            messages("[1, 2]"),
            "s.yaml:1:1 expected a map with keys such as `name`, `load` or `list`, found a list\n"
        );
    }

    #[test]
    fn broken_yaml_is_one_clear_problem() {
        for (text, message) in [
            (
                "a: {x: ${{ vars.y }}}\n",
                "s.yaml:1:9 not valid YAML: while parsing a flow mapping, did not find expected ',' or '}' \
                 [put quotes around a value with `${{ … }}` that stands inside `{…}` or `[…]`, or that \
                 holds `: ` or ` #`]\n",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "s.yaml:3:1 a suite is one YAML document, found a second one after `---`\n",
            ),
            ("a: *nowhere\n", "s.yaml:1:4 this alias has no anchor before it\n"),
            ("a: !secret x\n", "s.yaml:1:12 unknown tag `!secret`\n"),
            ("[x]: 1\n", "s.yaml:1:1 expected a word as a key\n"),
        ] {
            assert_eq!(messages(text), message, "{text}");
        }
    }

    #[test]
    fn bombs_are_refused_in_little_time_and_memory() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(messages(&bomb).contains("expand to more values"), "{}", messages(&bomb));
        for deep in
            ["[".repeat(100_000), "a: ".repeat(1) + &"{a: ".repeat(10_000), "- ".repeat(10_000)]
        {
            assert!(messages(&deep).contains("32 levels"), "{}", messages(&deep));
        }
        let mut block = String::new();
        for level in 0..500 {
            block.push_str(&format!("{:level$}a:\n", ""));
        }
        assert!(messages(&block).contains("32 levels"), "{}", messages(&block));
        assert_eq!(
            messages(&" ".repeat(FILE_BYTES_MAX + 1)),
            "s.yaml:1:1 file is larger than 16MiB\n"
        );
        let huge = "9".repeat(400) + "e999";
        assert!(
            messages(&format!("name: {huge}")).contains("number"),
            "{}",
            messages(&format!("name: {huge}"))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "[ -~\n\té]{0,120}", yaml in "([a-c:\\-\\[\\]{},&*!?|>'\"#% \n<0-9.]|\\$\\{\\{|\\}\\}){0,80}") {
            messages(&text);
            messages(&yaml);
        }
    }
}
