//! Reads schemas and endpoints from the text of Python files, without running them. Classes with annotated
//! fields become JSON schemas; methods bound to endpoints determine what these take and return.
//!
//! Anything that is not understood is left out, or treated as any value.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::wire::{Map, Schema};

/// Classes and routes of related Python files.
#[derive(Debug, Default)]
pub(super) struct Python {
    classes: HashMap<String, Class>,
    pub(super) routes: Vec<Route>,
}

#[derive(Debug, Default)]
struct Class {
    bases: Vec<String>,
    fields: Vec<Field>,
    /// The names in `name = value` in its body, as in an enum.
    values: Vec<String>,
    methods: Vec<Method>,
}

#[derive(Debug)]
struct Field {
    name: String,
    kind: String,
    required: bool,
}

/// A method that may be bound to endpoints.
#[derive(Clone, Debug, Default)]
pub(super) struct Method {
    pub(super) name: String,
    /// Empty means all endpoints that are not bound by name.
    pub(super) on: Vec<String>,
    /// Whether it is bound at all.
    is_bound: bool,
    takes: Option<String>,
    gives: Option<String>,
    /// Whether it answers each Document with many.
    pub(super) streams: bool,
}

/// A path of a web application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// `POST`.
    pub(super) method: String,
    pub(super) path: String,
    takes: Option<String>,
}

/// The most items kept of each kind: far more than anyone writes.
const ITEMS_MAX: usize = 2000;

/// The most levels of nested types, and of inheritance.
const DEPTH_MAX: usize = 20;

/// The Document classes of DocArray, as Python source.
const OF_DOCARRAY: &str = "
class TextDoc(BaseDoc):
    text: Optional[str] = None
    url: Optional[TextUrl] = None
    embedding: Optional[AnyEmbedding] = None
class ImageDoc(BaseDoc):
    url: Optional[ImageUrl] = None
    tensor: Optional[ImageTensor] = None
    embedding: Optional[AnyEmbedding] = None
    bytes_: Optional[ImageBytes] = None
";

impl Python {
    pub(super) fn new() -> Python {
        let mut python = Python::default();
        python.read(OF_DOCARRAY);
        python
    }

    /// Adds the contents of a file. Returns the modules that it imports names from, as in `from documents
    /// import Query`.
    pub(super) fn read(&mut self, text: &str) -> Vec<String> {
        let mut reader = Reader { python: self, scopes: Vec::new(), decorators: Vec::new() };
        let mut imports = Vec::new();
        for (indent, line) in lines(text) {
            if let Some(module) = line.strip_prefix("from ").and_then(|rest| rest.split(' ').next())
                && imports.len() < ITEMS_MAX
            {
                imports.push(module.trim_start_matches('.').to_owned());
            }
            reader.line(indent, &line);
        }
        imports
    }

    /// The methods of a class that are bound to endpoints; those of all classes if there is no class of that
    /// name.
    pub(super) fn methods(&self, class: Option<&str>) -> Vec<Method> {
        let bound = |class: &Class| -> Vec<Method> {
            class.methods.iter().filter(|method| method.is_bound).cloned().collect()
        };
        match class.and_then(|name| self.classes.get(name)) {
            Some(class) => bound(class),
            None => {
                let mut all: Vec<_> = self.classes.iter().collect();
                all.sort_by_key(|(name, _)| name.as_str());
                all.into_iter().flat_map(|(_, class)| bound(class)).collect()
            }
        }
    }

    /// A method by its name, bound or not.
    pub(super) fn method(&self, class: Option<&str>, name: &str) -> Option<&Method> {
        let mut classes: Vec<_> = match class.and_then(|name| self.classes.get(name)) {
            Some(class) => vec![class],
            None => self.classes.values().collect(),
        };
        classes.retain(|class| class.methods.iter().any(|method| method.name == name));
        let [class] = classes.as_slice() else { return None };
        class.methods.iter().find(|method| method.name == name)
    }

    /// The schema of the Documents that a method takes, if its annotation names a known class.
    pub(super) fn input(&self, method: &Method) -> Option<Schema> {
        self.schema(method.takes.as_deref()?)
    }

    /// The schema of the Documents that a method returns.
    pub(super) fn output(&self, method: &Method) -> Option<Schema> {
        self.schema(method.gives.as_deref()?)
    }

    /// The schema of the body that a route takes.
    pub(super) fn body(&self, route: &Route) -> Option<Schema> {
        self.schema(route.takes.as_deref()?)
    }

    fn schema(&self, kind: &str) -> Option<Schema> {
        let mut kind = unquoted(kind.trim());
        // Unwrap `DocList[Query]` and `AsyncIterator[Query]`.
        for _ in 0..DEPTH_MAX {
            let Some((_, inner)) = subscripted(kind) else { break };
            kind = unquoted(split(inner, ',').next()?.trim());
        }
        let name = last(kind);
        self.classes
            .get(name)
            .filter(|class| !class.fields.is_empty() || !class.bases.is_empty())?;
        let all = self.classes.iter().filter(|(_, class)| self.is_value(class, 0));
        let definitions: Map = all
            .take(ITEMS_MAX)
            .map(|(name, class)| (name.clone(), self.object(name, class)))
            .collect();
        definitions.get(name)?;
        Schema::read(&json!({"$ref": format!("#/definitions/{name}")}), Some(&definitions))
    }

    /// Whether instances of a class are data: a Document, a pydantic model, an enum.
    fn is_value(&self, class: &Class, depth: usize) -> bool {
        const ROOTS: [&str; 4] = ["BaseDoc", "BaseModel", "Enum", "IntEnum"];
        depth < DEPTH_MAX
            && class.bases.iter().any(|base| {
                ROOTS.contains(&base.as_str())
                    || self.classes.get(base).is_some_and(|base| self.is_value(base, depth + 1))
            })
    }

    fn object(&self, name: &str, class: &Class) -> Value {
        if class.bases.iter().any(|base| base.ends_with("Enum")) {
            let values = class.values.iter().filter_map(|value| literal(value));
            return json!({"title": name, "enum": values.collect::<Value>()});
        }
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in self.fields(class, 0) {
            // A redefined field counts once, with its last definition.
            required.retain(|name| *name != field.name);
            properties.insert(field.name.clone(), self.kind(&field.kind, 0));
            if field.required {
                required.push(field.name.clone());
            }
        }
        json!({"title": name, "type": "object", "properties": properties, "required": required})
    }

    fn fields<'a>(&'a self, class: &'a Class, depth: usize) -> Vec<&'a Field> {
        let bases = class.bases.iter().filter(|_| depth < DEPTH_MAX);
        let bases = bases.filter_map(|base| self.classes.get(base));
        let mut fields: Vec<&Field> =
            bases.flat_map(|base| self.fields(base, depth + 1)).take(ITEMS_MAX).collect();
        fields.extend(&class.fields);
        fields
    }

    /// The JSON schema of a type, as pydantic and docarray would write it.
    fn kind(&self, kind: &str, depth: usize) -> Value {
        let kind = unquoted(kind.trim());
        if depth > DEPTH_MAX {
            return json!({});
        }
        let of = |kind: &str| self.kind(kind, depth + 1);
        let either: Vec<&str> = split(kind, '|').collect();
        if either.len() > 1 {
            return json!({"anyOf": either.into_iter().map(of).collect::<Value>()});
        }
        let (head, inner) = match subscripted(kind) {
            Some((head, inner)) => (head, Some(inner)),
            None => (kind, None),
        };
        let head = last(head);
        let parts: Vec<&str> = inner.map(|inner| split(inner, ',').collect()).unwrap_or_default();
        if head.ends_with("Tensor")
            || head.ends_with("Embedding")
            || head.eq_ignore_ascii_case("NdArray")
        {
            let shape = inner.map_or_else(|| "not specified".into(), |inner| format!("[{inner}]"));
            return json!({"type": "array", "items": {"type": "number"}, "tensor/array shape": shape});
        }
        match (head, parts.as_slice()) {
            ("Optional", [kind, ..]) => json!({"anyOf": [of(kind), {"type": "null"}]}),
            ("Union", kinds) => {
                json!({"anyOf": kinds.iter().map(|kind| of(kind)).collect::<Value>()})
            }
            ("Annotated" | "Final", [kind, ..]) => of(kind),
            ("Literal", values) => {
                json!({"enum": values.iter().filter_map(|value| literal(value)).collect::<Value>()})
            }
            (
                "List" | "list" | "Sequence" | "Iterable" | "Set" | "set" | "Tuple" | "tuple"
                | "DocList" | "DocVec",
                parts,
            ) => {
                json!({"type": "array", "items": parts.first().map_or_else(|| json!({}), |kind| of(kind))})
            }
            ("Dict" | "dict" | "Mapping", [_, kind]) => {
                json!({"type": "object", "additionalProperties": of(kind)})
            }
            ("Dict" | "dict" | "Mapping", _) => json!({"type": "object"}),
            ("str" | "ID", _) => json!({"type": "string"}),
            (url, _) if url.ends_with("Url") => json!({"type": "string", "format": "uri"}),
            ("int", _) => json!({"type": "integer"}),
            ("float", _) => json!({"type": "number"}),
            ("bool", _) => json!({"type": "boolean"}),
            ("None", _) => json!({"type": "null"}),
            (bytes, _) if bytes == "bytes" || bytes.ends_with("Bytes") => {
                json!({"type": "string", "format": "binary"})
            }
            (name, _) if self.classes.contains_key(name) => {
                json!({"$ref": format!("#/definitions/{name}")})
            }
            _ => json!({}),
        }
    }
}

/// A part of a file to which lines belong by their indentation.
struct Scope {
    indent: usize,
    /// The indentation of its body, once there is a line in it.
    body: Option<usize>,
    kind: ScopeKind,
}

enum ScopeKind {
    Class(String),
    /// A method of a class.
    Method(String),
    Other,
}

struct Reader<'a> {
    python: &'a mut Python,
    scopes: Vec<Scope>,
    decorators: Vec<String>,
}

impl Reader<'_> {
    fn line(&mut self, indent: usize, line: &str) {
        while self.scopes.last().is_some_and(|scope| scope.indent >= indent) {
            self.scopes.pop();
        }
        let within = match self.scopes.last_mut() {
            Some(scope) => *scope.body.get_or_insert(indent) == indent,
            None => true,
        };
        if let Some(decorator) = line.strip_prefix('@') {
            if self.decorators.len() < ITEMS_MAX {
                self.decorators.push(decorator.trim().to_owned());
            }
            return;
        }
        let decorators = std::mem::take(&mut self.decorators);
        if let Some(rest) = line.strip_prefix("class ") {
            return self.class(indent, rest);
        }
        let function = line.strip_prefix("async def ").or_else(|| line.strip_prefix("def "));
        if let Some(rest) = function {
            return self.function(indent, rest, &decorators);
        }
        if line.starts_with("yield") || line.contains("= yield ") {
            return self.streams();
        }
        if let Some(Scope { kind: ScopeKind::Class(name), .. }) = self.scopes.last()
            && within
            && let Some(class) = self.python.classes.get_mut(name)
        {
            class.member(line);
        }
    }

    fn open(&mut self, indent: usize, kind: ScopeKind) {
        if self.scopes.len() < ITEMS_MAX {
            self.scopes.push(Scope { indent, body: None, kind });
        }
    }

    fn class(&mut self, indent: usize, rest: &str) {
        let name = identifier(rest);
        let bases = rest[name.len()..].trim_start().strip_prefix('(');
        let bases = bases.and_then(|rest| closed(rest, ')')).unwrap_or_default();
        let bases = split(bases, ',').filter(|base| !base.contains('='));
        // For `Generic[T]` take `Generic`, for `docarray.BaseDoc` take `BaseDoc`.
        let bases =
            bases.map(|base| last(subscripted(base).map_or(base, |(head, _)| head)).to_owned());
        let bases = bases.filter(|base| !base.is_empty()).take(ITEMS_MAX).collect();
        if self.python.classes.len() < ITEMS_MAX {
            self.python.classes.insert(name.to_owned(), Class { bases, ..Class::default() });
        }
        self.open(indent, ScopeKind::Class(name.to_owned()));
    }

    fn function(&mut self, indent: usize, rest: &str, decorators: &[String]) {
        let name = identifier(rest);
        let rest = rest[name.len()..].trim_start();
        let Some(arguments) = rest.strip_prefix('(').and_then(|rest| closed(rest, ')')) else {
            return self.open(indent, ScopeKind::Other);
        };
        let gives =
            rest.get(arguments.len() + 2..).and_then(|rest| rest.trim_start().strip_prefix("->"));
        let gives = gives.map(|kind| kind.trim_end().trim_end_matches(':').trim().to_owned());
        let arguments: Vec<(&str, &str)> = split(arguments, ',').filter_map(annotated).collect();
        for decorator in decorators {
            self.route(decorator, &arguments);
        }
        let class = self.scopes.last().and_then(|scope| match &scope.kind {
            ScopeKind::Class(name) => Some(name.clone()),
            _ => None,
        });
        let Some(class) = class else { return self.open(indent, ScopeKind::Other) };
        let takes = arguments.iter().find(|(name, _)| matches!(*name, "docs" | "doc"));
        let mut method = Method {
            name: name.to_owned(),
            takes: takes.map(|(_, kind)| (*kind).to_owned()),
            gives,
            ..Method::default()
        };
        for decorator in decorators {
            method.bind(decorator);
        }
        if let Some(class) = self.python.classes.get_mut(&class)
            && class.methods.len() < ITEMS_MAX
        {
            class.methods.push(method);
        }
        self.open(indent, ScopeKind::Method(class));
    }

    /// Adds a route: `app.post('/api/v1/search')`.
    fn route(&mut self, decorator: &str, arguments: &[(&str, &str)]) {
        const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
        let Some((target, given)) = decorator.split_once('(') else { return };
        let Some((_, method)) = target.trim().rsplit_once('.') else { return };
        let first =
            closed(given, ')').and_then(|given| split(given, ',').next()).unwrap_or_default();
        let path = first.trim().strip_prefix("path=").unwrap_or(first).trim();
        let Some(Value::String(path)) = literal(path) else { return };
        if !METHODS.contains(&method)
            || !path.starts_with('/')
            || self.python.routes.len() >= ITEMS_MAX
        {
            return;
        }
        let is_plain =
            |kind: &str| matches!(last(kind), "str" | "int" | "float" | "bool" | "Request");
        let body = arguments.iter().find(|(_, kind)| !is_plain(kind));
        self.python.routes.push(Route {
            method: method.to_ascii_uppercase(),
            path,
            takes: body.map(|(_, kind)| (*kind).to_owned()),
        });
    }

    /// Notes that the innermost function has a `yield`.
    fn streams(&mut self) {
        let Some(Scope { kind: ScopeKind::Method(class), .. }) = self.scopes.last() else { return };
        if let Some(class) = self.python.classes.get_mut(class)
            && let Some(method) = class.methods.last_mut()
        {
            method.streams = true;
        }
    }
}

impl Class {
    /// Adds a member: `name: type = default`, or `name = value`.
    fn member(&mut self, line: &str) {
        let name = identifier(line);
        let rest = line[name.len()..].trim_start();
        if name.is_empty() || self.fields.len() + self.values.len() >= ITEMS_MAX {
            return;
        }
        if let Some(kind) = rest.strip_prefix(':') {
            let mut parts = split(kind, '=');
            let kind = parts.next().unwrap_or_default().trim().to_owned();
            let default = rest.split_once('=').map(|(_, default)| default.trim());
            let required = default.is_none_or(has_none);
            let is_private = name.starts_with('_') || kind.starts_with("ClassVar");
            if !is_private && name != "id" {
                self.fields.push(Field { name: name.to_owned(), kind, required });
            }
        } else if let Some(value) = rest.strip_prefix('=') {
            self.values.push(value.trim().to_owned());
        }
    }
}

impl Method {
    /// Binds a method: `requests`, `requests(on='/index')`, or a list of endpoints.
    fn bind(&mut self, decorator: &str) {
        let (target, given) = decorator.split_once('(').unwrap_or((decorator, ""));
        if last(target) != "requests" {
            return;
        }
        self.is_bound = true;
        let given = closed(given, ')').unwrap_or_default();
        let on = split(given, ',').find_map(|given| {
            let (name, value) = given.split_once('=')?;
            (name.trim() == "on").then(|| value.trim())
        });
        let Some(on) = on else { return };
        let within = on.strip_prefix(['[', '(']).map(|rest| rest.trim_end_matches([']', ')']));
        // A variable or other expression cannot be evaluated here, so the method counts as not bound.
        self.is_bound = false;
        for text in split(within.unwrap_or(on), ',') {
            if let Some(Value::String(endpoint)) = literal(text) {
                self.is_bound = true;
                self.on.push(endpoint);
            }
        }
    }
}

/// Whether a default stands for no default: `...`, or a `Field` without one.
fn has_none(default: &str) -> bool {
    let Some(said) = default.strip_prefix("Field(").and_then(|said| closed(said, ')')) else {
        return default == "...";
    };
    let mut parts = split(said, ',');
    let first = parts.clone().next().unwrap_or_default();
    let is_named =
        |part: &str| part.split_once('=').is_some_and(|(name, _)| identifier(name) == name.trim());
    match first {
        "..." | "" => true,
        first if !is_named(first) => false,
        _ => !parts.any(|part| part.starts_with("default")),
    }
}

/// Logical lines as Python joins them, with their indentation, without comments and multi-line strings.
fn lines(text: &str) -> Vec<(usize, String)> {
    let (mut all, mut line) = (Vec::new(), String::new());
    let mut indent = 0;
    let (mut depth, mut open): (usize, Option<(char, bool)>) = (0, None);
    let mut at_start = true;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if let Some((quote, is_long)) = open {
            match c {
                '\\' => {
                    rest.next();
                }
                '\n' if !is_long => open = None,
                c if c == quote => {
                    let mut more = rest.clone();
                    if !is_long {
                        line.push(c);
                        open = None;
                    } else if more.next() == Some(quote) && more.next() == Some(quote) {
                        rest = more;
                        line.push_str("''");
                        open = None;
                    }
                }
                c if !is_long => line.push(c),
                _ => (),
            }
            continue;
        }
        match c {
            '\n' if depth == 0 => {
                let whole = std::mem::take(&mut line);
                let whole = whole.trim();
                if !whole.is_empty() {
                    all.push((indent, whole.to_owned()));
                }
                (indent, at_start) = (0, true);
            }
            '\n' | '\r' => line.push(' '),
            '\\' if rest.peek() == Some(&'\n') => {
                rest.next();
                line.push(' ');
            }
            ' ' if at_start => indent += 1,
            '\t' if at_start => indent += 8,
            '#' => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            '\'' | '"' => {
                at_start = false;
                let mut more = rest.clone();
                if more.next() == Some(c) && more.next() == Some(c) {
                    rest = more;
                    open = Some((c, true));
                } else {
                    line.push(c);
                    open = Some((c, false));
                }
            }
            c => {
                at_start = false;
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => (),
                }
                line.push(c);
            }
        }
    }
    if !line.trim().is_empty() {
        all.push((indent, line.trim().to_owned()));
    }
    all
}

/// Splits at a character outside of brackets and strings.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> + Clone {
    let (mut depth, mut open) = (0_usize, None);
    let parts = text.split(move |c: char| {
        match (open, c) {
            (Some(quote), c) => {
                if quote == c {
                    open = None;
                }
                return false;
            }
            (None, '\'' | '"') => open = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => (),
        }
        depth == 0 && c == at
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// The text before the closing bracket.
fn closed(text: &str, bracket: char) -> Option<&str> {
    let (mut depth, mut open) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (open, c) {
            (Some(quote), c) if quote == c => open = None,
            (Some(_), _) => (),
            (None, '\'' | '"') => open = Some(c),
            (None, c) if depth == 0 && c == bracket => return Some(&text[..at]),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => (),
        }
    }
    None
}

/// `List` and `str` from `List[str]`.
fn subscripted(kind: &str) -> Option<(&str, &str)> {
    let (head, rest) = kind.trim().split_once('[')?;
    Some((head.trim(), rest.trim_end().strip_suffix(']')?.trim()))
}

/// `name` and `type` from the argument `name: type = default`.
fn annotated(argument: &str) -> Option<(&str, &str)> {
    let (name, kind) = argument.split_once(':')?;
    let kind = split(kind, '=').next()?;
    Some((name.trim(), unquoted(kind)))
}

/// The identifier at the start of a line.
fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// `Query` from `documents.Query`.
fn last(name: &str) -> &str {
    name.trim().rsplit('.').next().unwrap_or_default().trim()
}

/// A type without the quotes that refer to a class defined further down.
fn unquoted(kind: &str) -> &str {
    let inner = |quote: char| kind.strip_prefix(quote).and_then(|kind| kind.strip_suffix(quote));
    inner('\'').or_else(|| inner('"')).unwrap_or(kind)
}

/// A string, number or boolean literal of Python.
fn literal(text: &str) -> Option<Value> {
    let text = text.trim();
    match text {
        "True" => return Some(true.into()),
        "False" => return Some(false.into()),
        "None" => return Some(Value::Null),
        _ => (),
    }
    let inner = unquoted(text);
    if inner.len() < text.len() {
        return Some(inner.into());
    }
    let whole = text.parse::<i64>().ok().map(Value::from);
    whole.or_else(|| text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"
from .documents import Other
import app  # class Commented(BaseDoc):

class Colour(str, Enum):
    red = 'red'  # the first
    blue = "blue"

class Base(BaseDoc):
    """A text
    class NotOne(BaseDoc):
        x: int
    """
    title: str = Field(..., description='a, b')
    size: Optional[int] = None

class Prompt(Base):
    prompt: str
    temperature: float = 0.7
    colour: Colour = Colour.red
    vec: NdArray[3, 4] = None
    many: "DocList[Base]" = DocList[Base]()
    prices: Dict[str, List[float]] = {}
    mode: Literal['a', 'b'] = 'a'
    either: int | None = None
    data: bytes = b''
    made: List[str] = Field(default_factory=list)
    _private: int = 1

    def method(self): return 1

class Runner(Executor):
    threshold: int = 3

    @requests(on='/ask')
    async def ask(
        self,
        docs: DocList[Prompt],  # what it takes
        parameters: Dict = {'a': 1},
        **kwargs,
    ) -> DocList[Base]:
        def inner():
            yield 1
        return docs

    @requests(on=["/say", '/tell'])
    async def say(self, doc: Prompt, **kwargs) -> Base:
        for _ in range(3):
            yield Base(title='x')

    @requests
    def other(self, docs: DocList, **kwargs): ...

    @requests(on=NAMES)
    def named(self, **kwargs): ...

    def bound_by_yaml(self, docs: 'DocList[Base]', **kwargs): ...

class Web(FastAPIBaseGateway):
    @property
    def app(self):
        @app.post('/api/{version}/ask', tags=['x'])
        async def ask(version: str, body: Prompt): ...
        @app.get("/health")
        def health(): ...
"#;

    #[test]
    fn classes_have_the_fields_that_they_and_their_bases_say() {
        let mut python = Python::new();
        assert_eq!(python.read(CODE), ["documents"]);
        let class = &python.classes["Prompt"];
        let object = python.object("Prompt", class);
        let properties = object["properties"].as_object().expect("fields");
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "title",
                "size",
                "prompt",
                "temperature",
                "colour",
                "vec",
                "many",
                "prices",
                "mode",
                "either",
                "data",
                "made"
            ]
        );
        assert_eq!(object["required"], json!(["title", "prompt"]));
        assert_eq!(
            properties["many"],
            json!({"type": "array", "items": {"$ref": "#/definitions/Base"}})
        );
        assert_eq!(properties["vec"]["tensor/array shape"], "[3, 4]");
        assert_eq!(
            properties["prices"],
            json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}})
        );
        assert_eq!(properties["mode"], json!({"enum": ["a", "b"]}));
        assert_eq!(properties["either"], json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}));
        let colour = python.object("Colour", &python.classes["Colour"]);
        assert_eq!(colour["enum"], json!(["red", "blue"]));
        assert!(
            !python.classes.contains_key("NotOne") && !python.classes.contains_key("Commented")
        );
    }

    #[test]
    fn methods_tell_their_endpoints_and_what_they_take_and_give() {
        let mut python = Python::new();
        python.read(CODE);
        let methods = python.methods(Some("Runner"));
        let told: Vec<_> = methods
            .iter()
            .map(|method| {
                let name = |schema: Option<Schema>| schema.map(|schema| schema.name().to_owned());
                let (takes, gives) = (name(python.input(method)), name(python.output(method)));
                (method.on.join(" "), method.streams, takes, gives)
            })
            .collect();
        let (prompt, base) = (Some("Prompt".to_owned()), Some("Base".to_owned()));
        assert_eq!(
            told,
            [
                ("/ask".into(), false, prompt.clone(), base.clone()),
                ("/say /tell".into(), true, prompt, base.clone()),
                (String::new(), false, None, None),
            ]
        );
        let by_yaml = python.method(Some("Runner"), "bound_by_yaml").expect("it is there");
        assert_eq!(python.input(by_yaml).map(|schema| schema.name().to_owned()), base);
        let routes: Vec<_> =
            python.routes.iter().map(|r| (r.method.as_str(), r.path.as_str())).collect();
        assert_eq!(routes, [("POST", "/api/{version}/ask"), ("GET", "/health")]);
        assert!(python.body(&python.routes[0]).is_some());
        assert!(python.body(&python.routes[1]).is_none());
    }

    #[test]
    fn what_is_no_python_tells_nothing() {
        for text in [
            "",
            "class",
            "class (",
            "def",
            "@requests(on=",
            "class A(B",
            "'''",
            "def f(docs: D[",
            "\\",
        ] {
            let mut python = Python::new();
            python.read(text);
            assert!(python.methods(None).is_empty(), "{text}");
        }
        let mut python = Python::new();
        python.read("class A(A):\n  a: A\nclass B(BaseDoc):\n  b: B\n  c: Optional['B'] = None\n");
        python.read("class E(Executor):\n  @requests\n  def f(self, docs: DocList[B]): ...\n");
        let method = &python.methods(Some("E"))[0];
        assert!(python.input(method).is_some());
    }
}
