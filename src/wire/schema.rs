//! Schemas of Documents as Flows of v2 tell them: JSON schema as pydantic 1 and 2 write it, by endpoint, from
//! gRPC's endpoint discovery and from HTTP's `openapi.json`.
//!
//! A schema is read as far as it can be. What is not understood stands for anything, so that what a Flow may
//! well take is not refused here.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::limits::Limits;
use super::proto::v2::{NodeProto, node_proto::Content};
use super::{Map, Tensor};

/// Schemas of a Flow's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schemas {
    endpoints: BTreeMap<String, EndpointSchema>,
}

/// What an endpoint takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSchema {
    /// Of the Documents of requests.
    pub input: Schema,
    /// Of the Documents of responses.
    pub output: Schema,
    /// Whether it is a streaming endpoint.
    pub streams: bool,
}

/// The schema of a Document, with those of the Documents in it. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Schema {
    objects: Arc<Vec<Object>>,
    root: usize,
}

/// One kind of Document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    /// Whether it takes other fields besides.
    pub(super) is_open: bool,
}

/// A field of a Document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether it has no default.
    pub(super) required: bool,
    /// The default, where the schema says it.
    pub(super) default: Option<Value>,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Null,
    Text,
    Integer,
    Float,
    Boolean,
    Bytes,
    /// With this shape, where it is fixed.
    Array(Option<Vec<u32>>),
    /// By its place among the objects.
    Document(usize),
    List(Box<Kind>),
    Dict(Box<Kind>),
    Enum(Vec<Value>),
    OneOf(Vec<Kind>),
    /// With limits to its values.
    Limited(Box<Kind>, Box<Limits>),
    /// A list whose first items have kinds of their own.
    Prefixed(Box<Kind>, Vec<Kind>),
}

impl Kind {
    /// The kind without limits.
    pub(super) fn bare(&self) -> &Kind {
        match self {
            Kind::Limited(of, _) => of.bare(),
            kind => kind,
        }
    }

    /// Whether a value is of this kind without being made one.
    pub(super) fn is_of(&self, node: &NodeProto) -> bool {
        match self {
            Kind::Limited(of, _) => return of.is_of(node),
            // Its first items have to be looked at.
            Kind::Prefixed(..) => return false,
            _ => (),
        }
        let Some(content) = &node.content else { return false };
        matches!(
            (self, content),
            (Kind::Any | Kind::Enum(_), _)
                | (Kind::Text, Content::Text(_))
                | (Kind::Integer, Content::Integer(_))
                | (Kind::Float, Content::Float(_))
                | (Kind::Boolean, Content::Boolean(_))
                | (Kind::Bytes, Content::Blob(_))
                | (Kind::Array(_), Content::Ndarray(_))
                | (Kind::Document(_), Content::Doc(_))
                | (Kind::List(_), Content::List(_) | Content::DocArray(_))
                | (Kind::Dict(_), Content::Dict(_))
        )
    }
}

/// Whether a value is one of an enum.
pub(super) fn is_one(values: &[Value], input: &Value) -> bool {
    values.iter().any(|value| match (value.as_f64(), input.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => value == input,
    })
}

/// Whether an array has the values that a shape asks for; docarray puts them into it.
pub(super) fn fills(shape: &[u32], tensor: &Tensor) -> bool {
    count(shape) == count(&tensor.shape)
}

/// How many values an array of this shape has.
pub(super) fn count(shape: &[u32]) -> u64 {
    shape.iter().fold(1, |n, axis| n.saturating_mul((*axis).into()))
}

/// Kinds of Documents in one schema: far more than people write, few enough for any machine.
const OBJECTS_MAX: usize = 2000;

/// Levels of lists, dicts and unions in one field.
const DEPTH_MAX: usize = 32;

/// Endpoints of a Flow that are kept.
const ENDPOINTS_MAX: usize = 2000;

/// The fields of the schema that Executors without one of their own have.
const LEGACY: [&str; 10] =
    ["id", "text", "url", "blob", "tensor", "embedding", "tags", "chunks", "matches", "scores"];

impl Schemas {
    /// Reads what endpoint discovery tells: of a gateway `{"/a": {"input": schema, …}}`, of an Executor
    /// `{"/a": {"input": {"name": …, "model": schema}, …}}`.
    pub fn of_discovery(schemas: &Map) -> Schemas {
        let model = |endpoint: &Value, key: &str| {
            let told = endpoint.get(key)?;
            Schema::read(told.get("model").unwrap_or(told), None)
        };
        let read = |(name, endpoint): (&String, &Value)| {
            let (input, output) = (model(endpoint, "input")?, model(endpoint, "output")?);
            let streams = endpoint.get("is_generator").and_then(Value::as_bool).unwrap_or(false);
            Some((name.clone(), EndpointSchema { input, output, streams }))
        };
        Schemas { endpoints: schemas.iter().filter_map(read).take(ENDPOINTS_MAX).collect() }
    }

    /// Reads `openapi.json`: the Documents under `data` of each path that takes a `POST`.
    pub fn of_openapi(api: &Value) -> Schemas {
        let shared = api.pointer("/components/schemas").and_then(Value::as_object);
        let content = "content/application~1json/schema";
        let model = |post: &Value, at: &str| {
            let body = post.pointer(&format!("/{at}/{content}"))?;
            let body = target(body, None, shared)?.1;
            Schema::read(documents_of(body.pointer("/properties/data")?)?, shared)
        };
        let read = |(path, methods): (&String, &Value)| {
            let post = methods.get("post")?;
            let input = model(post, "requestBody")?;
            let output = model(post, "responses/200").unwrap_or_else(|| input.clone());
            Some((path.clone(), EndpointSchema { input, output, streams: false }))
        };
        let paths = api.get("paths").and_then(Value::as_object);
        let endpoints = paths.into_iter().flatten().filter_map(read).take(ENDPOINTS_MAX).collect();
        Schemas { endpoints }
    }

    /// The endpoints whose schemas are known, by name, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EndpointSchema)> {
        self.endpoints.iter().map(|(name, schema)| (name.as_str(), schema))
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The schema of an endpoint; requests to one that is not bound go to the default of the Flow.
    pub fn endpoint(&self, name: &str) -> Option<&EndpointSchema> {
        let bare = |name: &str| name.trim_matches('/').to_owned();
        let by = |wanted: &str| {
            let found = self.endpoints.iter().find(|(known, _)| bare(known) == wanted);
            found.map(|(_, schema)| schema)
        };
        by(&bare(name)).or_else(|| by("default"))
    }
}

/// What `data` has one of: of `anyOf` a list of Documents and a Document alone.
fn documents_of(data: &Value) -> Option<&Value> {
    let either = data.get("anyOf").or_else(|| data.get("oneOf")).and_then(Value::as_array);
    let lists = either.into_iter().flatten().chain([data]);
    lists
        .filter_map(|list| list.get("items"))
        .next()
        .or(Some(data)
            .filter(|data| data.get("$ref").is_some() || data.get("properties").is_some()))
}

/// What a reference leads to, and by what name; a value that is none leads to itself.
fn target<'a>(
    value: &'a Value,
    own: Option<&'a Map>,
    shared: Option<&'a Map>,
) -> Option<(Option<&'a str>, &'a Value)> {
    let mut value = value;
    let mut name = None;
    // A few in a row, none in a circle.
    for _ in 0..8 {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            return Some((name, value));
        };
        let last = reference.rsplit('/').next().unwrap_or(reference);
        // Jina's gateway leaves parts of what stands in `$defs` out, and has all of it elsewhere.
        let size = |found: &&Value| {
            let fields = found.get("properties").and_then(Value::as_object).map_or(0, Map::len);
            fields + usize::from(found.get("enum").is_some() || found.get("type").is_some())
        };
        let found = [own, shared].into_iter().flatten().filter_map(|defs| defs.get(last));
        value = found.max_by_key(size)?;
        name = Some(last);
    }
    None
}

struct Reader<'a> {
    own: Option<&'a Map>,
    shared: Option<&'a Map>,
    objects: Vec<Object>,
    by_name: HashMap<String, usize>,
}

impl Schema {
    /// Reads the schema of a Document, with definitions of its own or shared with others. `None` where it
    /// is none.
    pub fn read(schema: &Value, shared: Option<&Map>) -> Option<Schema> {
        let (name, object) = target(schema, None, shared)?;
        object.get("properties")?.as_object()?;
        let own = object.get("$defs").or_else(|| object.get("definitions"));
        let own = own.or_else(|| schema.get("$defs")).and_then(Value::as_object);
        let mut reader = Reader { own, shared, objects: Vec::new(), by_name: HashMap::new() };
        let root = reader.object(name, object)?;
        Some(Schema { objects: Arc::new(reader.objects), root })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.root().name
    }

    /// The names of its fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.root().fields.iter().map(|field| field.name.as_str())
    }

    /// Whether it is the one that Executors without one of their own have, or `AnyDoc`, which is none.
    pub fn is_default(&self) -> bool {
        let Object { fields, is_open, .. } = self.root();
        let is_legacy = fields.len() == LEGACY.len()
            && fields.iter().all(|field| LEGACY.contains(&field.name.as_str()));
        is_legacy || *is_open && fields.iter().all(|field| field.name == "id")
    }

    pub(super) fn root(&self) -> &Object {
        &self.objects[self.root]
    }

    pub(super) fn object(&self, at: usize) -> &Object {
        &self.objects[at]
    }

    /// A Document that fits, as `fields:` of a suite has it: generators of texts and arrays, and the least
    /// of everything else. Fields that need not be set are left out but for the first few levels.
    pub fn example(&self) -> Value {
        self.example_of(self.root, 0)
    }

    fn example_of(&self, at: usize, depth: usize) -> Value {
        let fields = self.objects[at].fields.iter().filter(|field| field.name != "id");
        // Jina's gateways get some kinds wrong, so what need not be set is set only where that is safe.
        let is_safe = |kind: &Kind| match kind {
            Kind::Any | Kind::Null | Kind::Enum(_) => false,
            Kind::Dict(of) => !matches!(**of, Kind::Any | Kind::Enum(_)),
            Kind::OneOf(kinds) => {
                let mut kinds = kinds.iter().filter(|kind| **kind != Kind::Null);
                kinds.all(|kind| match kind {
                    Kind::Dict(of) => !matches!(**of, Kind::Any | Kind::Enum(_)),
                    kind => !matches!(kind, Kind::Any | Kind::Enum(_)),
                })
            }
            _ => true,
        };
        let fields = fields.filter(|field| field.required || depth < 2 && is_safe(&field.kind));
        let made = fields.filter_map(|field| {
            let value = self.example_value(&field.kind, depth)?;
            Some((field.name.clone(), value))
        });
        Value::Object(made.collect())
    }

    fn example_value(&self, kind: &Kind, depth: usize) -> Option<Value> {
        self.example_within(kind, &Limits::default(), depth)
    }

    fn example_within(&self, kind: &Kind, limits: &Limits, depth: usize) -> Option<Value> {
        use serde_json::json;
        Some(match kind {
            Kind::Limited(of, limits) => return self.example_within(of, limits, depth),
            Kind::Any | Kind::Text => limits.text(),
            Kind::Null => Value::Null,
            Kind::Integer => limits.whole(),
            Kind::Float => limits.number(),
            Kind::Boolean => json!(true),
            Kind::Bytes => json!({"bytes": "1KiB"}),
            Kind::Array(shape) => json!({"shape": shape.clone().unwrap_or_else(|| vec![128])}),
            Kind::Document(at) if depth < 3 => {
                json!({"fields": self.example_of(*at, depth + 1)})
            }
            Kind::Document(_) => return None,
            Kind::Prefixed(_, first) => {
                let items = first.iter().map(|kind| self.example_value(kind, depth + 1));
                Value::Array(items.collect::<Option<_>>()?)
            }
            Kind::List(of) => match &**of {
                Kind::Document(at) if depth < 3 => {
                    json!({"count": limits.count(2), "fields": self.example_of(*at, depth + 1)})
                }
                of => {
                    let items = (0..limits.count(1)).map(|_| self.example_value(of, depth + 1));
                    Value::Array(items.flatten().collect())
                }
            },
            Kind::Dict(of) if **of == Kind::Any => json!({}),
            Kind::Dict(of) => {
                let value = self.example_value(of, depth + 1)?;
                json!({"key": value})
            }
            Kind::Enum(values) => values.first()?.clone(),
            Kind::OneOf(kinds) => {
                let kind = kinds.iter().find(|kind| **kind != Kind::Null)?;
                return self.example_value(kind, depth);
            }
        })
    }
}

impl Schema {
    /// What fields demand of their values that no example can be made for: names such as `items[].code`, and
    /// `match the pattern …`.
    pub fn demands(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.demands_of(self.root, "", 0, &mut found);
        found
    }

    fn demands_of(&self, at: usize, path: &str, depth: usize, found: &mut Vec<(String, String)>) {
        for Field { name, kind, .. } in &self.objects[at].fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.demands_within(kind, path, depth, found);
        }
    }

    fn demands_within(
        &self,
        kind: &Kind,
        path: String,
        depth: usize,
        found: &mut Vec<(String, String)>,
    ) {
        /// What is made of Documents in Documents; far more than anybody reads.
        const DEPTH_MAX: usize = 3;
        const DEMANDS_MAX: usize = 20;
        if depth > DEPTH_MAX || found.len() >= DEMANDS_MAX {
            return;
        }
        match kind {
            Kind::Limited(of, limits) => match limits.demand().filter(|_| **of == Kind::Text) {
                Some(demand) => found.push((path, demand)),
                None => self.demands_within(of, path, depth, found),
            },
            Kind::Document(at) => self.demands_of(*at, &path, depth + 1, found),
            Kind::List(of) => self.demands_within(of, format!("{path}[]"), depth + 1, found),
            Kind::Prefixed(_, first) => {
                for (at, kind) in first.iter().enumerate() {
                    self.demands_within(kind, format!("{path}[{at}]"), depth + 1, found);
                }
            }
            Kind::OneOf(kinds) => {
                if let Some(kind) = kinds.iter().find(|kind| **kind != Kind::Null) {
                    self.demands_within(kind, path, depth + 1, found);
                }
            }
            _ => (),
        }
    }
}

/// Its name: the whole may be long, and goes in circles.
impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.name()).finish()
    }
}

impl Reader<'_> {
    /// The place of an object, read when it comes for the first time.
    fn object(&mut self, name: Option<&str>, object: &Value) -> Option<usize> {
        if let Some(known) = name.and_then(|name| self.by_name.get(name)) {
            return Some(*known);
        }
        if self.objects.len() >= OBJECTS_MAX {
            return None;
        }
        let at = self.objects.len();
        let title = object.get("title").and_then(Value::as_str);
        self.objects.push(Object {
            name: title.or(name).unwrap_or("Document").to_owned(),
            fields: Vec::new(),
            is_open: false,
        });
        if let Some(name) = name {
            self.by_name.insert(name.to_owned(), at);
        }
        let required = object.get("required").and_then(Value::as_array);
        let fields = object.get("properties")?.as_object()?.iter().map(|(name, value)| Field {
            name: name.clone(),
            kind: self.kind(value, 0),
            required: required
                .is_some_and(|required| required.iter().any(|required| required == name)),
            default: value.get("default").cloned(),
        });
        let fields: Vec<Field> = fields.collect();
        // pydantic does not tell of `AnyDoc` that it takes whatever comes.
        let extra = object.get("additionalProperties");
        self.objects[at].is_open = extra.is_some_and(|extra| *extra != Value::Bool(false))
            || fields.iter().all(|field| field.name == "id");
        self.objects[at].fields = fields;
        Some(at)
    }

    fn kind(&mut self, value: &Value, depth: usize) -> Kind {
        let kind = self.bare_kind(value, depth);
        let first =
            value.get("prefixItems").and_then(Value::as_array).filter(|_| depth < DEPTH_MAX);
        let first: Vec<Kind> =
            first.into_iter().flatten().map(|kind| self.kind(kind, depth + 1)).collect();
        let is_limited = matches!(kind, Kind::Text | Kind::Integer | Kind::Float | Kind::List(_));
        let kind = match (&kind, first.is_empty()) {
            (Kind::List(_), false) => Kind::Prefixed(Box::new(kind), first),
            _ => kind,
        };
        match Limits::read(value).filter(|_| is_limited) {
            Some(limits) => Kind::Limited(Box::new(kind), Box::new(limits)),
            None => kind,
        }
    }

    fn bare_kind(&mut self, value: &Value, depth: usize) -> Kind {
        if depth > DEPTH_MAX {
            return Kind::Any;
        }
        let Some((name, value)) = target(value, self.own, self.shared) else { return Kind::Any };
        let list = |key: &str| value.get(key).and_then(Value::as_array);
        if let Some(kinds) = list("anyOf").or_else(|| list("oneOf")) {
            return Kind::OneOf(kinds.iter().map(|kind| self.kind(kind, depth + 1)).collect());
        }
        if let Some([only]) = list("allOf").map(Vec::as_slice) {
            return self.kind(only, depth + 1);
        }
        if let Some(values) = list("enum") {
            return Kind::Enum(values.clone());
        }
        if let Some(value) = value.get("const") {
            return Kind::Enum(vec![value.clone()]);
        }
        if let Some(shape) = value.get("tensor/array shape") {
            return Kind::Array(shape.as_str().and_then(shape_of));
        }
        if let Some(types) = list("type") {
            let mut one = value.clone();
            let kinds = types.iter().map(|kind| {
                one["type"] = kind.clone();
                self.kind(&one, depth + 1)
            });
            return Kind::OneOf(kinds.collect());
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        match text("type") {
            Some("string") => {
                let encoded = text("contentEncoding").is_some();
                let bytes = matches!(text("format"), Some("binary" | "byte" | "base64"));
                if encoded || bytes { Kind::Bytes } else { Kind::Text }
            }
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Float,
            Some("boolean") => Kind::Boolean,
            Some("null") => Kind::Null,
            Some("array") => {
                let of = value.get("items").filter(|items| items.is_object());
                Kind::List(Box::new(of.map_or(Kind::Any, |of| self.kind(of, depth + 1))))
            }
            Some("object") | None => {
                let properties = value.get("properties").and_then(Value::as_object);
                if properties.is_some_and(|properties| !properties.is_empty()) {
                    return self.object(name, value).map_or(Kind::Any, Kind::Document);
                }
                match (value.get("additionalProperties"), text("type")) {
                    (Some(of), _) if of.is_object() => {
                        Kind::Dict(Box::new(self.kind(of, depth + 1)))
                    }
                    (_, Some(_)) => Kind::Dict(Box::new(Kind::Any)),
                    _ => Kind::Any,
                }
            }
            Some(_) => Kind::Any,
        }
    }
}

/// `[3, 4]` or `3 x 4`; `None` where an axis may have any length.
fn shape_of(text: &str) -> Option<Vec<u32>> {
    let inner = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
    let axes = inner.split([',', 'x']).map(str::trim).filter(|axis| !axis.is_empty());
    let axes: Vec<u32> = axes.map(|axis| axis.parse().ok()).collect::<Option<_>>()?;
    (!axes.is_empty()).then_some(axes)
}
