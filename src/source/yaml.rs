//! Reads YAML. Only this file uses the YAML crate.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserializer, Visitor};
use serde_json::Number;
use serde_yaml::Spanned;

use super::node::shortened;
use super::{Entry, File, Node, Place, Problem, Sources, Value};

/// Maximum size of a file: nobody writes larger ones by hand, and their tree is larger still.
pub(crate) const FILE_BYTES_MAX: usize = 16 << 20;

/// Maximum number of values per file, with aliases expanded. Keeps a tree within about a hundred MiB.
const NODES_MAX: usize = 1_000_000;

/// Maximum number of values added by aliases, which YAML bombs rely on.
const ALIASED_NODES_MAX: usize = 200_000;

/// Maximum nesting of lists and maps. A level takes up to 40 KiB of stack in a debug build, and a thread has
/// 2 MiB.
const DEPTH_MAX: usize = 32;

impl Sources {
    /// Parses a file and adds its problems to `problems`; `None` if there is no tree at all. `included` is
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
        // A text that is too large is not kept.
        let text = if too_large { String::new() } else { text };
        let mut whole = File { name: name.into(), text, lines, included, secrets: Vec::new() };
        let read = serde_yaml::from_str_with_options::<Spanned<Raw>>(&whole.text, yaml_options());
        let node = match read {
            _ if too_large => {
                let start = Place { file, start: 0, end: 0 };
                problems.push(Problem::at(start, "file is larger than 16MiB"));
                None
            }
            Ok(raw) => {
                let mut tree = Tree { file, text: &whole.text, problems, secrets: Vec::new() };
                let node = tree.node(raw, false);
                whole.secrets = tree.secrets;
                Some(node)
            }
            Err(error) => {
                problems.push(syntax_problem(&error, file, &whole.text));
                whole.secrets = secrets_of_broken(&whole.text);
                None
            }
        };
        whole.secrets.sort_unstable();
        self.files.push(Arc::new(whole));
        node
    }
}

/// The places of header values in a text that is not valid YAML, as far as its lines show them.
fn secrets_of_broken(text: &str) -> Vec<(u32, u32)> {
    let mut secrets = Vec::new();
    // The indentation of the enclosing `headers:`, if any.
    let mut inside: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if inside.is_some_and(|outer| indent <= outer && !line.trim().is_empty()) {
            inside = None;
        }
        let value_at = match (line.find("headers:"), inside) {
            (Some(at), _) => {
                inside = Some(indent);
                Some(at + "headers:".len())
            }
            (None, Some(_)) => line.find(':').map(|at| at + 1),
            (None, None) => None,
        };
        if let Some(at) = value_at {
            secrets.push(((start + at) as u32, (start + line.trim_end().len()) as u32));
        }
        start += line.len();
    }
    secrets
}

/// `user:password` of an address in a text.
fn user_info(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let authority = text[start..].split('/').next()?;
    authority.rfind('@').map(|end| start..start + end)
}

/// Writes a value as YAML.
pub fn to_yaml(value: &serde_json::Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# {error}\n"))
}

fn yaml_options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_recorded_anchor_events: ALIASED_NODES_MAX,
            max_documents: 2,
            // One anchor used by hundreds of scenarios is not a bomb.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: ALIASED_NODES_MAX,
            max_replay_stack_depth: 16,
        },
        // We report these ourselves, with both places and all at once.
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::PassThrough,
        // We merge ourselves, so that merged values keep the place where they were written.
        merge_keys: serde_yaml::options::MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// A value as the YAML crate returns it.
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

/// Converts the YAML crate's values to nodes.
struct Tree<'a> {
    file: u32,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    // Ranges that messages must not show.
    secrets: Vec<(u32, u32)>,
}

impl Tree<'_> {
    fn place(&self, location: &serde_yaml::Location) -> Place {
        place_of(location, self.file, self.text)
    }

    /// `secret` means within `headers`, whose values are secrets unless they are expressions.
    fn node(&mut self, raw: Spanned<Raw>, secret: bool) -> Node {
        let place = self.place(&raw.defined);
        let secret = secret
            && match &raw.value {
                Raw::Text(text) => !text.contains("${{"),
                _ => true,
            };
        let scalar = !matches!(raw.value, Raw::List(_) | Raw::Map(_));
        if secret && scalar {
            self.secrets.push((place.start, place.end));
        }
        let (value, broken) = match raw.value {
            Raw::Null => (Value::Null, false),
            Raw::Bool(value) => (Value::Bool(value), false),
            Raw::Number(value) => (Value::Number(value), false),
            Raw::Text(value) => {
                let given = &self.text[place.start as usize..place.end as usize];
                if let Some(range) = user_info(given) {
                    let at = place.start as usize;
                    self.secrets.push(((at + range.start) as u32, (at + range.end) as u32));
                }
                (Value::Text(value), false)
            }
            Raw::List(items) => {
                let items = items.into_iter().map(|item| self.node(item, secret)).collect();
                (Value::List(items), false)
            }
            Raw::Map(entries) => self.map(entries, secret),
        };
        Node { value, place, secret: secret && scalar, broken }
    }

    /// Rejects duplicate keys and merges `<<`: the map's own keys take precedence over merged ones, and
    /// earlier merged maps over later ones.
    fn map(&mut self, raw: Vec<(Spanned<String>, Spanned<Raw>)>, secret: bool) -> (Value, bool) {
        let mut broken = false;
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut known: HashMap<String, usize> = HashMap::with_capacity(raw.len());
        let mut merged: Vec<Node> = Vec::new();
        for (key, value) in raw {
            let key_place = self.place(&key.defined);
            let value = self.node(value, secret || key.value == "headers");
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
        // The parser's own errors have positions in characters only.
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

/// Converts the YAML crate's error to our wording, where that helps users.
fn syntax_problem(error: &serde_yaml::Error, file: u32, text: &str) -> Problem {
    use serde_yaml::Error;
    use serde_yaml::budget::BudgetBreach;
    let place = error
        .location()
        .map_or(Place { file, start: 0, end: 0 }, |location| place_of(&location, file, text));
    let mut inner = error.without_snippet();
    while let Error::AliasError { error, .. } = inner {
        inner = error;
    }
    let message = match inner {
        Error::MultipleDocuments { .. } => {
            "a suite is one YAML document, found a second one after `---`".into()
        }
        Error::UnknownAnchor { .. } => "this alias has no anchor before it".into(),
        Error::UnsupportedTag { tag, .. } => format!("unknown tag `{tag}`"),
        Error::NullIntoString { .. } | Error::Unexpected { .. } => {
            "expected a word as a key".into()
        }
        Error::NonFiniteFloat { .. } => "expected a finite number".into(),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. }
        | Error::Budget {
            breach:
                BudgetBreach::Aliases { .. }
                | BudgetBreach::Anchors { .. }
                | BudgetBreach::AliasAnchorRatio { .. }
                | BudgetBreach::RecordedAnchorEvents { .. }
                | BudgetBreach::RecordedAnchorBytes { .. },
            ..
        } => "this file is refused: its aliases expand to more values than a suite can have".into(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(),
        Error::Budget { .. } => "this file has more values than a suite can have".into(),
        _ => {
            let line_start = text[..place.start as usize].rfind('\n').map_or(0, |at| at + 1);
            let line = text[line_start..].lines().next().unwrap_or("");
            return scanner_problem(error, place, line);
        }
    };
    Problem::at(place, message)
}

fn too_deep() -> String {
    format!("this file nests deeper than {DEPTH_MAX} levels")
}

/// The scanner's message, and what to do about it. The scanner's errors are untyped sentences, so this is the
/// only place that searches them for words.
fn scanner_problem(error: &serde_yaml::Error, place: Place, line: &str) -> Problem {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or(&words);
    if ["nesting", "recursion"].iter().any(|part| words.contains(part)) {
        return Problem::at(place, too_deep());
    }
    let problem = Problem::at(place, format!("not valid YAML: {words}"));
    if line.contains("${{") {
        problem.help(
            "put quotes around a value with `${{ … }}` that is inside `{…}` or `[…]`, or that \
             contains `: ` or ` #`",
        )
    } else if words.contains("flow sequence") || words.contains("flow mapping") {
        problem.help(
            "put quotes around a value inside `{…}` or `[…]` that contains `[`, `]`, `{`, `}`, \
             `: ` or ` #`, as an expression often does, or write it on a separate line",
        )
    } else if words.contains("tab") || line.contains('\t') {
        problem.help("YAML is indented with spaces, not with tabs")
    } else if words.contains("mapping values are not allowed") {
        problem.help(
            "put the keys of a value on separate lines below it, indented further, or in `{…}`; \
             put text with `: ` in quotes",
        )
    } else if words.contains("block collection") || words.contains("block mapping") {
        problem.help("the keys of a map, and the `- ` of a list, must begin in the same column")
    } else {
        problem
    }
}
