//! Schemas of Documents as v2 Flows report them: JSON schema as pydantic 1 and 2 write it, by endpoint, from
//! gRPC's endpoint discovery and HTTP's `openapi.json`.
//!
//! A schema is read as far as possible. Parts that are not understood accept anything, so that nothing is
//! refused here that the Flow might accept.

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

/// What an endpoint accepts and returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSchema {
    /// The schema of Documents in requests.
    pub input: Schema,
    /// The schema of Documents in responses.
    pub output: Schema,
    /// Whether it is a streaming endpoint.
    pub streams: bool,
}

/// The schema of a Document, with those of Documents within it. Cheap to clone.
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
    /// Whether it accepts other fields too.
    pub(super) is_open: bool,
}

/// A field of a Document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether it has no default.
    pub(super) required: bool,
    /// The default, if the schema has one.
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
    /// An array with this shape, if it is fixed.
    Array(Option<Vec<u32>>),
    /// A Document, by its index among the objects.
    Document(usize),
    List(Box<Kind>),
    Dict(Box<Kind>),
    Enum(Vec<Value>),
    OneOf(Vec<Kind>),
    /// A kind with limits on its values.
    Limited(Box<Kind>, Box<Limits>),
    /// A list whose first items have individual kinds.
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

    /// Whether a value has this kind without conversion.
    pub(super) fn is_of(&self, node: &NodeProto) -> bool {
        match self {
            Kind::Limited(of, _) => return of.is_of(node),
            // Its first items have to be checked individually.
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

/// Whether an array has as many values as a shape requires; docarray then reshapes it.
pub(super) fn fills(shape: &[u32], tensor: &Tensor) -> bool {
    count(shape) == count(&tensor.shape)
}

/// The number of values in an array of this shape.
pub(super) fn count(shape: &[u32]) -> u64 {
    shape.iter().fold(1, |n, axis| n.saturating_mul((*axis).into()))
}

/// Maximum number of Document kinds in one schema: far more than people write, few enough for any machine.
const OBJECTS_MAX: usize = 2000;

/// Maximum number of levels of lists, dicts and unions in one field.
const DEPTH_MAX: usize = 32;

/// Maximum number of endpoints kept per Flow.
const ENDPOINTS_MAX: usize = 2000;

/// The fields of the default schema, which Executors that declare none have.
const LEGACY: [&str; 10] =
    ["id", "text", "url", "blob", "tensor", "embedding", "tags", "chunks", "matches", "scores"];

impl Schemas {
    /// Reads the result of endpoint discovery: `{"/a": {"input": schema, …}}` from a gateway,
    /// `{"/a": {"input": {"name": …, "model": schema}, …}}` from an Executor.
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

    /// Reads `openapi.json`: the Documents under `data` of each path that accepts a `POST`.
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

    /// The endpoints with known schemas, by name, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EndpointSchema)> {
        self.endpoints.iter().map(|(name, schema)| (name.as_str(), schema))
    }

    /// Whether no schema is known.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The schema of an endpoint; requests to an unbound one go to the Flow's default endpoint.
    pub fn endpoint(&self, name: &str) -> Option<&EndpointSchema> {
        let bare = |name: &str| name.trim_matches('/').to_owned();
        let by = |wanted: &str| {
            let found = self.endpoints.iter().find(|(known, _)| bare(known) == wanted);
            found.map(|(_, schema)| schema)
        };
        by(&bare(name)).or_else(|| by("default"))
    }
}

/// The schema of a Document under `data`, which may be `anyOf` a list of Documents and a single Document.
fn documents_of(data: &Value) -> Option<&Value> {
    let either = data.get("anyOf").or_else(|| data.get("oneOf")).and_then(Value::as_array);
    let lists = either.into_iter().flatten().chain([data]);
    lists
        .filter_map(|list| list.get("items"))
        .next()
        .or(Some(data)
            .filter(|data| data.get("$ref").is_some() || data.get("properties").is_some()))
}

/// The target of a reference, and its name; a value that is not a reference is its own target.
fn target<'a>(
    value: &'a Value,
    own: Option<&'a Map>,
    shared: Option<&'a Map>,
) -> Option<(Option<&'a str>, &'a Value)> {
    let mut value = value;
    let mut name = None;
    // References may be chained, but must not form a cycle.
    for _ in 0..8 {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            return Some((name, value));
        };
        let last = reference.rsplit('/').next().unwrap_or(reference);
        // Jina's gateway omits parts of the definitions in `$defs` and has the complete ones elsewhere.
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
    /// Reads the schema of a Document, with its own or shared definitions. `None` if it is not one.
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

    /// Whether it is the default schema of Executors that declare none, or `AnyDoc`, which is no schema at
    /// all.
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

    /// A Document that fits, as written under `fields:` in a suite: generators for texts and arrays, and
    /// minimal values for everything else. Optional fields are left out below the first few levels.
    pub fn example(&self) -> Value {
        self.example_of(self.root, 0)
    }

    fn example_of(&self, at: usize, depth: usize) -> Value {
        let fields = self.objects[at].fields.iter().filter(|field| field.name != "id");
        // Jina's gateways report some kinds wrongly, so optional fields are set only where that is safe.
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
    /// Demands on field values for which no example can be generated: names such as `items[].code`, and
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
        /// Maximum nesting of Documents in Documents that is searched, as nobody reads more.
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

/// Prints only the name: the whole may be long and cyclic.
impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.name()).finish()
    }
}

impl Reader<'_> {
    /// The index of an object, which is read at its first occurrence.
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
        // pydantic does not report that `AnyDoc` accepts any field.
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

/// Parses a shape, `[3, 4]` or `3 x 4`; `None` if an axis may have any length.
fn shape_of(text: &str) -> Option<Vec<u32>> {
    let inner = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']);
    let axes = inner.split([',', 'x']).map(str::trim).filter(|axis| !axis.is_empty());
    let axes: Vec<u32> = axes.map(|axis| axis.parse().ok()).collect::<Option<_>>()?;
    (!axes.is_empty()).then_some(axes)
}
