//! Reads models from nodes with serde.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::foreign;
use super::node::shortened;
use super::problem::{PROBLEMS_MAX, suggestion};
use super::{Entry, Node, Place, Problem, Sources, Value};
use crate::units::{alternatives, nearest};

impl Sources {
    /// The keys of a model, in the order of its fields.
    pub(crate) fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
        match T::deserialize(Keys) {
            Err(KeysFound(keys)) => keys,
            Ok(_) => &[],
        }
    }

    /// Reads a typed model and reports all problems of the tree.
    ///
    /// Invalid parts are removed from the tree, so that reading continues to the next problem; `Some` is thus
    /// the model of the valid parts. `label` names the whole: "the suite".
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

/// Why a node does not fit a model, and where: `path` has the child indices from the node up to the root.
#[derive(Debug)]
struct Fault {
    message: String,
    help: Option<String>,
    place: Option<Place>,
    path: Vec<usize>,
    // Concerns a whole map, whose name has to be added.
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

/// The fault of a map that should have exactly one of these keys: it has another key, none, or several.
fn not_one(entries: &[Entry], variants: &'static [&'static str]) -> Fault {
    let is_foreign = |entry: &Entry| !variants.contains(&entry.key.as_str());
    if let Some(index) = entries.iter().position(is_foreign) {
        let entry = &entries[index];
        let mut fault = <Fault as de::Error>::unknown_field(&entry.key, variants);
        fault.message =
            format!("{} in a map with one key, {}", fault.message, alternatives(variants));
        fault.place = Some(entry.key_place);
        fault.path = vec![index];
        return fault;
    }
    let keys: Vec<String> = entries.iter().map(|entry| format!("`{}`", entry.key)).collect();
    let found = match keys.is_empty() {
        true => "none".to_owned(),
        false => keys.join(" and "),
    };
    Fault::new(format!("expected a map with one key, {}, found {found}", alternatives(variants)))
}

/// What to write for a key of a generator that is meant to be a field of a custom schema.
fn own_field(key: &str, known: &[&'static str]) -> Option<String> {
    let takes_fields = known.contains(&"fields") && nearest(key, known.iter().copied()).is_none();
    takes_fields.then(|| {
        let key = shortened(key);
        format!("for a field of a custom schema, write `fields: {{{key}: …}}`")
    })
}

/// The help for a single value where a list is expected.
pub(crate) const LIST_HELP: &str =
    "a list is written `[a, b]`, or with `- ` before each of its items";

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
            help: foreign::instead(field, expected)
                .or_else(|| own_field(field, expected))
                .or_else(|| suggestion(field, expected.iter().copied())),
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
    /// Sets the place of a fault that has none yet to this node's place.
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
                    // `1e3` and `5.0` are whole numbers too.
                    .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i128)),
                _ => None,
            };
            let Some(number) = whole else { return self.mismatch("a whole number") };
            match $type::try_from(number) {
                Ok(number) => visitor.$visit(number).map_err(|fault| self.locate(fault)),
                Err(_) if number < 0 => self.mismatch("a whole number of at least 0"),
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
            // Types that accept more than text ask for any value; plain strings do not.
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
            _ => self.mismatch("a list").map_err(|fault| match self.node.value {
                Value::Map(_) => fault,
                _ => Fault { help: Some(LIST_HELP.into()), ..fault },
            }),
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
            Value::Text(text) => visitor.visit_enum(Word(text)).map_err(|fault| self.locate(fault)),
            Value::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(OneKey { entry }).map_err(|fault| self.locate(fault)),
                entries => Err(self.locate(not_one(entries, variants))),
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

/// Finds the keys of a model: derived models name them when they start reading.
struct Keys;

/// The keys, returned as an error.
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
    // Items share the name of their list; the place shows which one is meant.
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

/// An enum written as a single word.
struct Word<'a>(&'a str);

impl<'a> de::EnumAccess<'a> for Word<'a> {
    type Error = Fault;
    type Variant = Word<'a>;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Word<'a>), Fault> {
        seed.deserialize(de::value::StrDeserializer::<Fault>::new(self.0)).map(|word| (word, self))
    }
}

impl Word<'_> {
    fn lacks_value<T>(&self) -> Result<T, Fault> {
        Err(Fault::new(format!("`{0}` needs a value, as in `{{{0}: …}}`", self.0)))
    }
}

impl<'a> de::VariantAccess<'a> for Word<'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, _: T) -> Result<T::Value, Fault> {
        self.lacks_value()
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        self.lacks_value()
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fault> {
        self.lacks_value()
    }
}

/// An enum written as a map with one key.
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

/// Adds the step to the only entry of a one-key map.
fn below(mut fault: Fault) -> Fault {
    fault.path.push(0);
    fault
}

impl<'a> de::VariantAccess<'a> for OneKey<'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let mut fault = Fault::new(format!("`{}` takes no value", self.entry.key));
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
