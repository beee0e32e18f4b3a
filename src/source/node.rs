//! The tree of a file's values, and walks through it.

use serde_json::Number;

use super::{Place, Problem};

/// A value of a file with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    pub(super) place: Place,
    // Comes from the environment: errors do not repeat it.
    pub(super) secret: bool,
    // Part of it was already rejected, so anything missing from it now is not another problem.
    pub(super) broken: bool,
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
    /// The place of the key.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

/// A walk down a tree to the place of a problem. If the tree ends before the walk does, the last place is
/// used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    node: Option<&'a Node>,
    place: Place,
    muted: bool,
}

impl<'a> Spot<'a> {
    /// Starts at a node.
    pub(crate) fn of(node: &'a Node) -> Spot<'a> {
        Spot { node: Some(node), place: node.face(), muted: node.broken }
    }

    /// Moves to the value of a key.
    pub(crate) fn key(self, key: &str) -> Spot<'a> {
        match self.node.and_then(|node| node.get(key)) {
            Some(node) => Spot::of(node),
            None => Spot { node: None, ..self },
        }
    }

    /// Moves to the key itself.
    pub(crate) fn name(self, key: &str) -> Spot<'a> {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => Spot { node: None, place: entry.key_place, muted: entry.value.broken },
            None => Spot { node: None, ..self },
        }
    }

    /// Moves to an item of a list.
    pub(crate) fn index(self, index: usize) -> Spot<'a> {
        match self.node.map(|node| &node.value) {
            Some(Value::List(items)) if index < items.len() => Spot::of(&items[index]),
            _ => Spot { node: None, ..self },
        }
    }

    /// Moves to the first text below that contains `part`; stays if there is none.
    pub(crate) fn find(self, part: &str) -> Spot<'a> {
        fn search<'a>(node: &'a Node, part: &str) -> Option<&'a Node> {
            match &node.value {
                Value::Text(text) => text.contains(part).then_some(node),
                Value::List(items) => items.iter().find_map(|item| search(item, part)),
                Value::Map(entries) => entries.iter().find_map(|entry| search(&entry.value, part)),
                _ => None,
            }
        }
        match self.node.filter(|_| !part.is_empty()).and_then(|node| search(node, part)) {
            Some(node) => Spot::of(node),
            None => self,
        }
    }

    /// Its place.
    pub(crate) fn place(self) -> Place {
        self.place
    }

    /// The current node, unless the tree ended before.
    pub(crate) fn node(self) -> Option<&'a Node> {
        self.node
    }

    /// Adds a problem here to `problems`, unless part of this node was already rejected, which is then the
    /// cause.
    pub(crate) fn problem(
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
    /// A computed value; `place` is that of its source.
    pub(crate) fn made(value: serde_json::Value, place: Place) -> Node {
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

    /// Whether messages must not repeat it.
    pub(crate) fn is_secret(&self) -> bool {
        self.secret
    }

    /// Whether it is or contains a secret.
    pub(crate) fn has_secret(&self) -> bool {
        self.secret
            || self.items().iter().any(Node::has_secret)
            || self.entries().iter().any(|entry| entry.value.has_secret())
    }

    /// Marks it as something that messages must not repeat.
    pub(crate) fn secret(mut self) -> Node {
        self.secret = true;
        self
    }

    /// Marks it as partly rejected, which explains anything missing from it.
    pub(crate) fn mark_broken(&mut self) {
        self.broken = true;
    }

    /// Its place.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Where to point for the whole value: for a map without braces, its first key.
    pub(super) fn face(&self) -> Place {
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

    /// The value of a key, if it is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key, if it is a map that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a map; empty for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Sets a key of a map, replacing it or adding it at the end.
    pub(crate) fn set(&mut self, entry: Entry) {
        if let Value::Map(entries) = &mut self.value {
            match entries.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = entry,
                None => entries.push(entry),
            }
        }
    }

    /// Removes a key from a map.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        match &mut self.value {
            Value::Map(entries) => {
                let at = entries.iter().position(|entry| entry.key == key)?;
                Some(entries.remove(at))
            }
            _ => None,
        }
    }

    /// The value without places.
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

    pub(super) fn child(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(items) => items.get(index),
            Value::Map(entries) => entries.get(index).map(|entry| &entry.value),
            _ => None,
        }
    }

    pub(super) fn is_broken_at(&self, path: &[usize]) -> bool {
        match path.split_last() {
            None => self.broken,
            Some((index, rest)) => self.child(*index).is_none_or(|child| child.is_broken_at(rest)),
        }
    }

    /// Removes the node at a path, given in reverse; false for the root.
    pub(super) fn take_out(&mut self, path: &[usize]) -> bool {
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

    /// How messages describe it: "`fast`", "a list".
    pub(crate) fn found(&self) -> String {
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

pub(super) fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
