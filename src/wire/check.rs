//! Validates Documents against a schema as pydantic does in an Executor: values are converted where possible,
//! missing fields get their defaults, unknown fields are dropped, and everything else is reported.

use std::mem::take;

use serde_json::Value;

use super::limits::Broken;
use super::proto::v2::{DictOfAnyProto, DocProto, ListOfAnyProto, NodeProto, node_proto::Content};
use super::schema::{Kind, Object, Schema, count, fills, is_one};
use super::{Document, NdArray, Tensor, v2};

/// A pydantic validation error about a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Invalid {
    /// Field names and list indices.
    pub(crate) path: Vec<Value>,
    /// pydantic's name for the error, such as `int_parsing`.
    pub(crate) kind: &'static str,
    /// pydantic's message.
    pub(crate) message: String,
    /// The value; for a missing field, the whole object that lacks it.
    pub(crate) input: Value,
}

/// Maximum number of errors reported per Document.
const INVALID_MAX: usize = 100;

impl Document {
    /// A Document with a custom schema and these fields.
    pub(crate) fn of_fields(fields: super::Map) -> Document {
        let mut document = Document::default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("id", Value::String(id)) => document.id = id,
                ("id", Value::Null) => (),
                (_, value) => {
                    document.extra.insert(name, NodeProto::of_json(value));
                }
            }
        }
        document.set_own_schema();
        document
    }
}

impl Schema {
    /// Validates a Document and converts it to this schema.
    ///
    /// # Errors
    /// Everything that is wrong with the Document, which is then left unchanged.
    pub(crate) fn check(&self, document: &mut Document) -> Result<(), Vec<Invalid>> {
        let whole = document.clone();
        // A Document that cannot be encoded is not of this family.
        let Ok(given) = v2::take_fields(document) else { return Ok(()) };
        let mut found = Found { invalid: Vec::new(), path: Vec::new() };
        // The id belongs to every Document, whatever its schema.
        let given = given.filter(|(name, _)| name != "id").collect();
        let fields = self.fields_of(self.root(), given, false, &mut found);
        match found.invalid.is_empty() {
            true => {
                document.extra = fields.into_iter().collect();
                document.set_own_schema();
                Ok(())
            }
            false => {
                *document = whole;
                Err(found.invalid)
            }
        }
    }

    /// Whether a field of the Document accepts a value, after conversion if necessary.
    pub(crate) fn takes(&self, field: &str, value: NodeProto) -> bool {
        let field = self.root().fields.iter().find(|known| known.name == field);
        let mut found = Found { invalid: Vec::new(), path: Vec::new() };
        field.is_none_or(|field| {
            self.value_of(&field.kind, value, &mut found);
            found.invalid.is_empty()
        })
    }

    fn fields_of(
        &self,
        object: &Object,
        mut given: Vec<(String, NodeProto)>,
        with_id: bool,
        found: &mut Found,
    ) -> Vec<(String, NodeProto)> {
        let all: Value = given.iter().map(|(name, node)| (name.clone(), json(node))).collect();
        let mut fields = Vec::new();
        for field in object.fields.iter().filter(|field| with_id || field.name != "id") {
            let at = given.iter().position(|(name, _)| *name == field.name);
            let node = match (at, &field.default) {
                (Some(at), _) => {
                    let (_, node) = given.swap_remove(at);
                    found.within(field.name.as_str().into(), |found| {
                        self.value_of(&field.kind, node, found)
                    })
                }
                (None, Some(default)) => {
                    // A default is converted to the field's kind where possible, and otherwise used as it is.
                    let made = NodeProto::of_json(default.clone());
                    let mut quiet = Found { invalid: Vec::new(), path: Vec::new() };
                    let node = self.value_of(&field.kind, made.clone(), &mut quiet);
                    if quiet.invalid.is_empty() { node } else { made }
                }
                (None, None) if field.required => {
                    found.within(field.name.as_str().into(), |found| {
                        found.add("missing", "Field required", all.clone());
                    });
                    continue;
                }
                // Every Document has an id; one that was not given is left out.
                (None, None) if field.name == "id" => continue,
                (None, None) => NodeProto::default(),
            };
            fields.push((field.name.clone(), node));
        }
        if object.is_open {
            fields.extend(given);
        }
        fields
    }

    fn value_of(&self, kind: &Kind, node: NodeProto, found: &mut Found) -> NodeProto {
        let input = json(&node);
        match kind {
            Kind::Any => return node,
            Kind::OneOf(kinds) => return self.one_kind_of(kinds, node, found),
            Kind::Limited(of, limits) => {
                let before = found.invalid.len();
                let node = self.value_of(of, node, found);
                if let Some(Broken { kind, message }) = limits.broken(&json(&node))
                    && found.invalid.len() == before
                {
                    found.add(kind, &message, input);
                }
                return node;
            }
            Kind::Prefixed(of, first) => {
                let mut node = self.value_of(of, node, found);
                if let Some(Content::List(list)) = &mut node.content {
                    for (at, (item, kind)) in list.data.iter_mut().zip(first).enumerate() {
                        *item =
                            found.within(at.into(), |found| self.value_of(kind, take(item), found));
                    }
                }
                return node;
            }
            Kind::Null if node.content.is_none() => return node,
            _ => (),
        }
        let wrong = |found: &mut Found, kind, message: &str| {
            found.add(kind, message, input.clone());
            NodeProto::default()
        };
        let Some(content) = node.content else {
            let (kind, message) = expected(kind);
            return wrong(found, kind, &message);
        };
        let whole = |value: i64| NodeProto::of_json(value.into());
        match (kind, content) {
            (Kind::Text, content @ Content::Text(_)) => content.into(),
            (Kind::Integer, content @ Content::Integer(_)) => content.into(),
            (Kind::Integer, Content::Boolean(value)) => whole(value.into()),
            (Kind::Integer, Content::Float(value)) if value.fract() == 0.0 => whole(value as i64),
            (Kind::Integer, Content::Float(_)) => wrong(
                found,
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            ),
            (Kind::Integer, Content::Text(text)) => match text.trim().parse() {
                Ok(value) => whole(value),
                Err(_) => wrong(
                    found,
                    "int_parsing",
                    "Input should be a valid integer, unable to parse string as an integer",
                ),
            },
            (Kind::Float, content @ Content::Float(_)) => content.into(),
            (Kind::Float, Content::Integer(value)) => Content::Float(value.into()).into(),
            (Kind::Float, Content::Boolean(value)) => Content::Float(u8::from(value).into()).into(),
            (Kind::Float, Content::Text(text)) => match text.trim().parse() {
                Ok(value) => Content::Float(value).into(),
                Err(_) => wrong(
                    found,
                    "float_parsing",
                    "Input should be a valid number, unable to parse string as a number",
                ),
            },
            (Kind::Boolean, content @ Content::Boolean(_)) => content.into(),
            (Kind::Boolean, Content::Integer(value @ 0..=1)) => Content::Boolean(value == 1).into(),
            (Kind::Boolean, Content::Text(text)) => match text.to_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => Content::Boolean(true).into(),
                "false" | "f" | "no" | "n" | "off" | "0" => Content::Boolean(false).into(),
                _ => wrong(
                    found,
                    "bool_parsing",
                    "Input should be a valid boolean, unable to interpret input",
                ),
            },
            (Kind::Bytes, content @ Content::Blob(_)) => content.into(),
            (Kind::Bytes, Content::Text(text)) => NodeProto::of_bytes(text.into()),
            (Kind::Array(shape), content @ (Content::Ndarray(_) | Content::List(_))) => {
                self.array_of(shape.as_deref(), content.into(), found)
            }
            (
                Kind::Document(at),
                Content::Doc(DocProto { data }) | Content::Dict(DictOfAnyProto { data }),
            ) => NodeProto::of_doc(self.fields_of(
                self.object(*at),
                data.into_iter().collect(),
                true,
                found,
            )),
            (
                Kind::List(of),
                Content::List(ListOfAnyProto { data })
                | Content::Set(ListOfAnyProto { data })
                | Content::Tuple(ListOfAnyProto { data }),
            ) => NodeProto::of_list(self.items_of(of, data, found)),
            (Kind::List(of), Content::DocArray(list)) => {
                let docs = list.docs.into_iter().map(|doc| Content::Doc(doc).into());
                NodeProto::of_list(self.items_of(of, docs.collect(), found))
            }
            (
                Kind::Dict(of),
                Content::Dict(DictOfAnyProto { data }) | Content::Doc(DocProto { data }),
            ) => {
                let entry = |(key, node): (String, NodeProto)| {
                    let node =
                        found.within(key.as_str().into(), |found| self.value_of(of, node, found));
                    (key, node)
                };
                NodeProto::of_dict(data.into_iter().map(entry).collect::<Vec<_>>())
            }
            (Kind::Enum(values), content) if is_one(values, &input) => content.into(),
            _ => {
                let (kind, message) = expected(kind);
                wrong(found, kind, &message)
            }
        }
    }

    fn items_of(&self, of: &Kind, items: Vec<NodeProto>, found: &mut Found) -> Vec<NodeProto> {
        let item = |(index, node): (usize, NodeProto)| {
            found.within(index.into(), |found| self.value_of(of, node, found))
        };
        items.into_iter().enumerate().map(item).collect()
    }

    fn array_of(&self, shape: Option<&[u32]>, node: NodeProto, found: &mut Found) -> NodeProto {
        let input = json(&node);
        let tensor = match node.array() {
            Some(NdArray::Dense(tensor)) => Some(tensor),
            _ => Tensor::from_nested(&input).ok(),
        };
        let Some(tensor) = tensor else {
            let message = "Value error, Expected a numpy.ndarray compatible type";
            found.add("value_error", message, input);
            return NodeProto::default();
        };
        match shape {
            Some(wanted) if !fills(wanted, &tensor) => {
                let message = format!(
                    "Value error, cannot reshape array of size {} into shape {}",
                    count(&tensor.shape),
                    tuple(wanted)
                );
                found.add("value_error", &message, input);
                NodeProto::default()
            }
            // docarray reshapes the values to the required shape.
            Some(wanted) => {
                NodeProto::of_array(NdArray::Dense(Tensor { shape: wanted.to_vec(), ..tensor }))
            }
            None => NodeProto::of_array(NdArray::Dense(tensor)),
        }
    }

    /// Converts the value to the first kind that accepts it; if none does, adds the errors of the first kind.
    fn one_kind_of(&self, kinds: &[Kind], node: NodeProto, found: &mut Found) -> NodeProto {
        if node.content.is_none() && kinds.contains(&Kind::Null) {
            return node;
        }
        let mut first = None;
        // Kinds that fit without conversion come first.
        let real = || kinds.iter().filter(|kind| **kind != Kind::Null);
        let same = real().filter(|kind| kind.is_of(&node));
        for kind in same.chain(real()) {
            let mut own = Found { invalid: Vec::new(), path: found.path.clone() };
            let value = self.value_of(kind, node.clone(), &mut own);
            if own.invalid.is_empty() {
                return value;
            }
            first.get_or_insert(own.invalid);
        }
        found.invalid.extend(first.into_iter().flatten());
        NodeProto::default()
    }
}

/// The errors so far, and the current path.
struct Found {
    invalid: Vec<Invalid>,
    path: Vec<Value>,
}

impl Found {
    fn within<T>(&mut self, step: Value, look: impl FnOnce(&mut Found) -> T) -> T {
        self.path.push(step);
        let seen = look(self);
        self.path.pop();
        seen
    }

    fn add(&mut self, kind: &'static str, message: &str, input: Value) {
        if self.invalid.len() < INVALID_MAX {
            let path = self.path.clone();
            self.invalid.push(Invalid { path, kind, message: message.to_owned(), input });
        }
    }
}

/// pydantic's name and message for a value of another type.
fn expected(kind: &Kind) -> (&'static str, String) {
    let (kind, what) = match kind.bare() {
        Kind::Text => ("string_type", "a valid string"),
        Kind::Integer => ("int_type", "a valid integer"),
        Kind::Float => ("float_type", "a valid number"),
        Kind::Boolean => ("bool_type", "a valid boolean"),
        Kind::Bytes => ("bytes_type", "a valid bytes"),
        Kind::Array(_) | Kind::List(_) => ("list_type", "a valid list"),
        Kind::Document(_) => ("model_type", "a valid dictionary or instance of a Document"),
        Kind::Dict(_) => ("dict_type", "a valid dictionary"),
        Kind::Enum(values) => {
            let shown: Vec<String> = values.iter().map(python).collect();
            let what = match shown.split_last() {
                Some((last, [])) => last.clone(),
                Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
                None => String::new(),
            };
            return ("enum", format!("Input should be {what}"));
        }
        Kind::Null => ("none_required", "None"),
        Kind::Any | Kind::OneOf(_) | Kind::Limited(..) | Kind::Prefixed(..) => {
            ("value_error", "another value")
        }
    };
    (kind, format!("Input should be {what}"))
}

/// A shape as a Python tuple: `(3, 4)`, `(3,)`.
fn tuple(shape: &[u32]) -> String {
    match shape {
        [one] => format!("({one},)"),
        shape => format!("({})", shape.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A value as JSON, as far as JSON can represent it.
fn json(node: &NodeProto) -> Value {
    match &node.content {
        None => Value::Null,
        Some(Content::Text(text)) => text.as_str().into(),
        Some(Content::Integer(value)) => (*value).into(),
        Some(Content::Float(value)) => (*value).into(),
        Some(Content::Boolean(value)) => (*value).into(),
        Some(Content::Blob(blob)) => String::from_utf8_lossy(blob).into_owned().into(),
        Some(Content::Ndarray(_)) => match node.array() {
            Some(NdArray::Dense(tensor)) => tensor.to_nested().unwrap_or_default(),
            _ => Value::Null,
        },
        Some(Content::List(list) | Content::Set(list) | Content::Tuple(list)) => {
            list.data.iter().map(json).collect()
        }
        Some(Content::Dict(dict)) => dict.data.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
        Some(Content::Doc(doc)) => doc.data.iter().map(|(k, v)| (k.clone(), json(v))).collect(),
        Some(Content::DocArray(list)) => {
            let doc = |doc: &DocProto| doc.data.iter().map(|(k, v)| (k.clone(), json(v))).collect();
            list.docs.iter().map(doc).collect::<Vec<Value>>().into()
        }
    }
}

/// A value as Python's `repr` shows it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("'{key}': {}", python(value));
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Number(number) => number.to_string(),
    }
}

/// The name of the class that a JSON value has in Python.
pub(crate) fn python_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// The message of pydantic's exception about a Document.
pub(crate) fn told(schema: &Schema, invalid: &[Invalid]) -> String {
    /// Length to which pydantic shortens the values it shows.
    const SHOWN_MAX: usize = 50;
    let s = if invalid.len() == 1 { "" } else { "s" };
    let mut text = format!("{} validation error{s} for {}", invalid.len(), schema.name());
    for Invalid { path, kind, message, input } in invalid {
        let step = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
        let path: Vec<String> = path.iter().map(step).collect();
        let shown = python(input);
        let shown = match shown.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => format!("{}...", &shown[..end]),
            None => shown,
        };
        let of = python_class(input);
        text.push_str(&format!(
            "\n{}\n  {message} [type={kind}, input_value={shown}, input_type={of}]\n    For further information \
             visit https://errors.pydantic.dev/2.10/v/{kind}",
            path.join(".")
        ));
    }
    text
}
