//! What one response must look like, and the other expressions on a response: captures, messages.
//!
//! They read an [`Exchange`]. Its Documents are turned into values one by one as an expression asks
//! for them; whether it can ask at all is known beforehand ([`Assertion::reads`]), so that a load run
//! decodes no body that nobody looks at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use half::f16;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};

use crate::template::{Context, Expression, Pieces, TemplateError, to_json};
use crate::units::Percentage;
use crate::wire::{
    ByteOrder, DType, DataRequest, Document, Head, Header, NamedScore, NdArray, ScalarKind, Status,
    Tensor,
};

/// A request and what came of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The request; `None` is allowed when nothing [`Reads::request`].
    pub request: Option<Arc<DataRequest>>,
    /// Header and routes of the response; `None`: there was no response.
    pub head: Option<Arc<Head>>,
    /// The whole response; `None` is allowed when nothing [`Reads::response`], or when it carries
    /// no more than its head.
    pub response: Option<Arc<DataRequest>>,
    /// The body of a GraphQL response, for `response.data` and `response.errors`.
    pub graphql: Option<Arc<serde_json::Value>>,
    /// The failure: its kind (`timeout`, `executor` …) and its words.
    pub exception: Option<(&'static str, String)>,
    /// Response time.
    pub latency: Duration,
}

/// What of an exchange an expression looks at, beside status, routes and latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Documents or parameters of the request.
    pub request: bool,
    /// Documents or parameters of the response: it has to be decoded.
    pub response: bool,
}

/// An expression on a response that must hold, parsed once.
#[derive(Clone, Debug)]
pub struct Assertion {
    name: String,
    sample: Percentage,
    expression: Expression,
    context: Context,
}

/// A value that a step keeps of its response for later steps: `captured.<name>`.
#[derive(Clone, Debug)]
pub struct Capture {
    name: String,
    expression: Expression,
    context: Context,
}

/// A line made from a template, for `log`.
#[derive(Clone, Debug)]
pub struct Message {
    pieces: Pieces,
    context: Context,
}

/// The names that expressions on a response know.
const NAMES: [&str; 6] = ["response", "request", "exception", "vars", "env", "matrix"];

impl std::ops::BitOr for Reads {
    type Output = Reads;

    fn bitor(self, other: Reads) -> Reads {
        Reads { request: self.request || other.request, response: self.response || other.response }
    }
}

impl Reads {
    fn of(expression: &Expression) -> Reads {
        // What lies under `response` beside the body; the bare name may lead anywhere.
        const HEAD: [&str; 4] = ["status", "routes", "header", "latency_ms"];
        expression.paths().fold(Reads::default(), |reads, path| {
            let mut names = path.split('.');
            let (root, next) = (names.next(), names.next());
            match root {
                Some("request") => Reads { request: true, ..reads },
                Some("response") if !next.is_some_and(|next| HEAD.contains(&next)) => {
                    Reads { response: true, ..reads }
                }
                _ => reads,
            }
        })
    }
}

impl Assertion {
    /// Compiles an expression; `name` is the expression itself unless given.
    ///
    /// # Errors
    /// Wrong syntax, unknown names.
    pub fn compile(
        name: Option<&str>,
        that: &str,
        sample: Percentage,
        context: &Context,
    ) -> Result<Assertion, TemplateError> {
        let expression = Expression::compile(that, &NAMES)?;
        let name = name.unwrap_or(expression.text()).to_owned();
        Ok(Assertion { name, sample, expression, context: context.clone() })
    }

    /// As in the file, or else the expression itself. Counted under it in the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The expression, as written.
    pub fn that(&self) -> &str {
        self.expression.text()
    }

    /// The share of responses it is judged on.
    pub fn sample(&self) -> Percentage {
        self.sample
    }

    /// What it looks at.
    pub fn reads(&self) -> Reads {
        Reads::of(&self.expression)
    }

    /// Judges a response: `Ok(true)` when the assertion holds.
    ///
    /// # Errors
    /// An expression without a value (`response.docs[3].text` when there are two); to be counted as
    /// not holding, with the error's words as its example.
    pub fn holds(&self, exchange: &Exchange) -> Result<bool, TemplateError> {
        self.expression.evaluate(root(exchange, &self.context)).map(|value| value.is_true())
    }
}

impl Capture {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Wrong syntax, unknown names.
    pub fn compile(name: &str, that: &str, context: &Context) -> Result<Capture, TemplateError> {
        let expression = Expression::compile(that, &NAMES)?;
        Ok(Capture { name: name.into(), expression, context: context.clone() })
    }

    /// The key under `captured`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The expression, as written.
    pub fn that(&self) -> &str {
        self.expression.text()
    }

    /// What it looks at.
    pub fn reads(&self) -> Reads {
        Reads::of(&self.expression)
    }

    /// The value.
    ///
    /// # Errors
    /// An expression without a value; the iteration cannot go on.
    pub fn value(&self, exchange: &Exchange) -> Result<serde_json::Value, TemplateError> {
        let value = self.expression.evaluate(root(exchange, &self.context))?;
        to_json(&value).map_err(|reason| TemplateError {
            expression: self.expression.text().into(),
            reason,
            help: None,
        })
    }
}

impl Message {
    /// The text, as written.
    pub fn text(&self) -> String {
        self.pieces.to_string()
    }

    /// Compiles a text with `${{ … }}` in it.
    ///
    /// # Errors
    /// Wrong syntax, unknown names.
    pub fn compile(text: &str, context: &Context) -> Result<Message, TemplateError> {
        Ok(Message { pieces: Pieces::parse(text, &NAMES)?, context: context.clone() })
    }

    /// What it looks at.
    pub fn reads(&self) -> Reads {
        self.pieces.expressions().map(Reads::of).fold(Reads::default(), |all, one| all | one)
    }

    /// The line.
    ///
    /// # Errors
    /// An expression without a value.
    pub fn render(&self, exchange: &Exchange) -> Result<String, TemplateError> {
        self.pieces.render(root(exchange, &self.context))
    }
}

fn root(exchange: &Exchange, context: &Context) -> Value {
    Value::from_object(Root { exchange: Arc::new(exchange.clone()), context: context.clone() })
}

/// The names of an expression on a response.
#[derive(Debug)]
struct Root {
    exchange: Arc<Exchange>,
    context: Context,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "response" => Some(match (&self.exchange.head, &self.exchange.graphql) {
                (None, None) => Value::from(()),
                _ => Value::from_object(Response(self.exchange.clone())),
            }),
            "request" => self
                .exchange
                .request
                .clone()
                .map(|request| Value::from_object(Request { message: request })),
            "exception" => Some(match &self.exchange.exception {
                None => Value::from(()),
                Some((kind, message)) => {
                    map([("kind", Value::from(*kind)), ("message", Value::from(message.as_str()))])
                }
            }),
            name => self.context.get(name),
        }
    }
}

/// `response`: the head is at hand, the body is decoded if anything reads it.
#[derive(Debug)]
struct Response(Arc<Exchange>);

impl Object for Response {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let exchange = &self.0;
        let key = key.as_str()?;
        if key == "latency_ms" {
            return Some(Value::from(exchange.latency.as_secs_f64() * 1000.0));
        }
        if let Some(body) = &exchange.graphql
            && matches!(key, "data" | "errors")
        {
            return body.get(key).map(|part| Value::from(Serde(part)));
        }
        let head = exchange.head.as_ref()?;
        match key {
            "status" => Some(status(head.header.status.as_ref())),
            "header" => Some(header(&head.header)),
            "routes" => head.routes.as_ref().map(|routes| {
                routes
                    .iter()
                    .map(|route| {
                        let seconds = |time: Option<SystemTime>| {
                            time.and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                                .map(|since| since.as_secs_f64())
                        };
                        let time_ms = match (route.start_time, route.end_time) {
                            (Some(start), Some(end)) => {
                                end.duration_since(start).ok().map(|time| time.as_secs_f64() * 1e3)
                            }
                            _ => None,
                        };
                        map([
                            ("executor", Value::from(route.executor.as_str())),
                            ("start_time", Value::from(seconds(route.start_time))),
                            ("end_time", Value::from(seconds(route.end_time))),
                            ("time_ms", Value::from(time_ms)),
                            ("status", status(route.status.as_ref())),
                        ])
                    })
                    .collect()
            }),
            _ => message_value(exchange.response.as_ref()?, key),
        }
    }
}

/// `request`.
#[derive(Debug)]
struct Request {
    message: Arc<DataRequest>,
}

impl Object for Request {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "header" => Some(header(&self.message.header)),
            key => message_value(&self.message, key),
        }
    }
}

fn message_value(message: &Arc<DataRequest>, key: &str) -> Option<Value> {
    let docs = || {
        let (owner, count) = (message.clone(), message.docs().len());
        Value::from_object(Docs { owner, path: Vec::new(), down: Down::Doc, count })
    };
    match key {
        "docs" => Some(docs()),
        "data" => Some(map([("docs", docs())])),
        "parameters" => Some(Value::from(Serde(&message.parameters))),
        _ => None,
    }
}

fn map<const N: usize>(pairs: [(&'static str, Value); N]) -> Value {
    Value::from(BTreeMap::from(pairs))
}

fn status(status: Option<&Status>) -> Value {
    // Jina's names; a response without a status is a success.
    Value::from(if status.is_none_or(Status::is_ok) { "SUCCESS" } else { "ERROR" })
}

fn header(header: &Header) -> Value {
    let failure = header.status.as_ref().filter(|status| !status.is_ok());
    map([
        ("request_id", Value::from(header.request_id.as_str())),
        ("exec_endpoint", Value::from(header.exec_endpoint.as_deref())),
        ("target_executor", Value::from(header.target_executor.as_deref())),
        ("description", Value::from(failure.map(|status| status.description.as_str()))),
    ])
}

/// A way down from a message to one of its Documents.
#[derive(Clone, Copy, Debug)]
enum Down {
    Doc(usize),
    Chunk(usize),
    Match(usize),
}

fn find<'a>(owner: &'a DataRequest, path: &[Down]) -> Option<&'a Document> {
    let mut found: Option<&Document> = None;
    for step in path {
        found = match (*step, found) {
            (Down::Doc(at), _) => owner.docs().get(at),
            (Down::Chunk(at), Some(document)) => document.chunks.get(at),
            (Down::Match(at), Some(document)) => document.matches.get(at),
            (_, None) => None,
        };
    }
    found
}

/// A list of Documents: all of a message, or the chunks or matches of one.
#[derive(Debug)]
struct Docs {
    owner: Arc<DataRequest>,
    // To the Document they belong to; empty for all of a message.
    path: Vec<Down>,
    down: fn(usize) -> Down,
    count: usize,
}

impl Object for Docs {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = key.as_usize().filter(|at| *at < self.count)?;
        let path = self.path.iter().copied().chain([(self.down)(at)]).collect();
        Some(Value::from_object(Doc { owner: self.owner.clone(), path }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.count)
    }
}

/// A Document.
#[derive(Debug)]
struct Doc {
    owner: Arc<DataRequest>,
    path: Vec<Down>,
}

/// The fields of a Document that expressions know.
const FIELDS: [&str; 20] = [
    "id",
    "text",
    "blob",
    "tensor",
    "embedding",
    "content",
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

impl Object for Doc {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let document = find(&self.owner, &self.path)?;
        let children = |down: fn(usize) -> Down, count| {
            let (owner, path) = (self.owner.clone(), self.path.clone());
            Value::from_object(Docs { owner, path, down, count })
        };
        let text = || Value::from(document.text.as_deref().unwrap_or(""));
        let blob = || {
            document.blob.as_ref().map_or(Value::from(()), |blob| Value::from_bytes(blob.to_vec()))
        };
        Some(match key.as_str()? {
            "id" => Value::from(document.id.as_str()),
            "text" => text(),
            "blob" => blob(),
            "tensor" => array(document.tensor.as_ref()),
            "embedding" => array(document.embedding.as_ref()),
            "content" => match document {
                Document { blob: Some(_), .. } => blob(),
                Document { tensor: Some(tensor), .. } => array(Some(tensor)),
                _ => text(),
            },
            "uri" => Value::from(document.uri.as_str()),
            "mime_type" => Value::from(document.mime_type.as_str()),
            "modality" => Value::from(document.modality.as_str()),
            "weight" => Value::from(document.weight),
            "tags" => Value::from(Serde(&document.tags)),
            "chunks" => children(Down::Chunk, document.chunks.len()),
            "matches" => children(Down::Match, document.matches.len()),
            "scores" => Value::from(document.scores.iter().map(score).collect::<BTreeMap<_, _>>()),
            "evaluations" => {
                Value::from(document.evaluations.iter().map(score).collect::<BTreeMap<_, _>>())
            }
            "location" => Value::from(document.location.clone()),
            "offset" => Value::from(document.offset),
            "parent_id" => Value::from(document.parent_id.as_str()),
            "granularity" => Value::from(document.granularity),
            "adjacency" => Value::from(document.adjacency),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&FIELDS)
    }
}

fn score((name, score): (&String, &NamedScore)) -> (String, Value) {
    let value = map([
        ("value", Value::from(score.value)),
        ("op_name", Value::from(score.op_name.as_str())),
        ("description", Value::from(score.description.as_str())),
        ("ref_id", Value::from(score.ref_id.as_str())),
    ]);
    (name.clone(), value)
}

fn array(array: Option<&NdArray>) -> Value {
    match array {
        None => Value::from(()),
        Some(NdArray::Dense(tensor)) => {
            let shape = tensor.shape.iter().map(|axis| *axis as usize).collect();
            Value::from_object(Array { tensor: tensor.clone(), shape, offset: 0 })
        }
        Some(NdArray::Sparse(sparse)) => map([("shape", Value::from(sparse.shape.clone()))]),
    }
}

/// An array, or one of the arrays in it: a list of lists of numbers, with `shape` and `dtype`.
#[derive(Debug)]
struct Array {
    tensor: Tensor,
    // Of this part.
    shape: Vec<usize>,
    // Of its first value, in values.
    offset: usize,
}

impl Object for Array {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some("shape") => return Some(Value::from(self.shape.clone())),
            Some("dtype") => return Some(Value::from(self.tensor.dtype.to_string())),
            _ => (),
        }
        let (length, inner) = self.shape.split_first()?;
        let at = key.as_usize().filter(|at| at < length)?;
        let stride = inner.iter().try_fold(1usize, |size, axis| size.checked_mul(*axis))?;
        let offset = self.offset.checked_add(at.checked_mul(stride)?)?;
        if inner.is_empty() {
            return number(&self.tensor, offset);
        }
        let (tensor, shape) = (self.tensor.clone(), inner.to_vec());
        Some(Value::from_object(Array { tensor, shape, offset }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.shape.first().copied().unwrap_or(0))
    }
}

/// One value of an array; `None` where the bytes end before, or are of a type we cannot read.
fn number(tensor: &Tensor, at: usize) -> Option<Value> {
    let DType::Scalar { kind, order } = &tensor.dtype else { return None };
    let size = kind.size();
    let start = at.checked_mul(size)?;
    let mut bytes = tensor.data.get(start..start.checked_add(size)?)?.to_vec();
    if *order == ByteOrder::Big {
        // Each part of a complex number is a number of its own, but only the real one is shown.
        let part = if matches!(kind, ScalarKind::C64 | ScalarKind::C128) { size / 2 } else { size };
        bytes[..part].reverse();
    }
    fn take<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.get(..N)?.try_into().ok()
    }
    Some(match kind {
        ScalarKind::Bool => Value::from(bytes[0] != 0),
        ScalarKind::I8 => Value::from(i8::from_le_bytes(take(&bytes)?)),
        ScalarKind::U8 => Value::from(bytes[0]),
        ScalarKind::I16 => Value::from(i16::from_le_bytes(take(&bytes)?)),
        ScalarKind::U16 => Value::from(u16::from_le_bytes(take(&bytes)?)),
        ScalarKind::I32 => Value::from(i32::from_le_bytes(take(&bytes)?)),
        ScalarKind::U32 => Value::from(u32::from_le_bytes(take(&bytes)?)),
        ScalarKind::I64 => Value::from(i64::from_le_bytes(take(&bytes)?)),
        ScalarKind::U64 => Value::from(u64::from_le_bytes(take(&bytes)?)),
        ScalarKind::F16 => Value::from(f16::from_le_bytes(take(&bytes)?).to_f64()),
        ScalarKind::F32 | ScalarKind::C64 => Value::from(f32::from_le_bytes(take(&bytes)?)),
        ScalarKind::F64 | ScalarKind::C128 => Value::from(f64::from_le_bytes(take(&bytes)?)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::Route;

    fn doc(id: &str, text: &str) -> Document {
        Document { id: id.into(), ..Document::from_text(text) }
    }

    fn exchange() -> Exchange {
        let mut first = doc("a", "hello world");
        first.tags = json!({"lang": "en"}).as_object().cloned().unwrap_or_default();
        first.embedding = Some(NdArray::Dense(Tensor::from_f32(&[0.5, 2.0])));
        first.matches = vec![doc("m1", ""), doc("m2", "")];
        first.matches[0]
            .scores
            .insert("cosine".into(), NamedScore { value: 0.25, ..Default::default() });
        first.chunks = vec![doc("c1", "part")];
        let response = DataRequest {
            parameters: json!({"__results__": {"indexer/rep-0": {"count": 2}}})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            data: Some(vec![first, doc("b", "hello")]),
            ..DataRequest::default()
        };
        let request = DataRequest {
            parameters: json!({"k": 2}).as_object().cloned().unwrap_or_default(),
            data: Some(vec![doc("a", "x"), doc("b", "y")]),
            ..DataRequest::default()
        };
        let start = UNIX_EPOCH + Duration::from_secs(100);
        let route = Route {
            executor: "indexer".into(),
            start_time: Some(start),
            end_time: Some(start + Duration::from_millis(20)),
            status: None,
        };
        Exchange {
            request: Some(Arc::new(request)),
            head: Some(Arc::new(Head { routes: Some(vec![route]), ..Head::default() })),
            response: Some(Arc::new(response)),
            latency: Duration::from_micros(12_500),
            ..Exchange::default()
        }
    }

    fn judge(that: &str, exchange: &Exchange) -> Result<bool, String> {
        Assertion::compile(None, that, Percentage::ALL, &Context::default())
            .unwrap_or_else(|error| panic!("{that}: {error}"))
            .holds(exchange)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn assertions_see_the_whole_exchange() {
        for that in [
            r#"response.status == "SUCCESS""#,
            "response.docs | length == request.docs | length",
            r#"response.docs[0].text is startingwith "hello""#,
            r#"response.docs[0].text.startswith("hello")"#,
            r#"response.docs | map(attribute="matches") | map("length") | max >= 2"#,
            r#"response.docs | map(attribute="id") | list == ["a", "b"]"#,
            "response.docs[0].matches[0].scores.cosine.value == 0.25",
            "response.docs[0].matches[1].id == 'm2'",
            "response.docs[0].chunks[0].text == 'part'",
            "response.docs[-1].id == 'b'",
            "response.docs[0].tags.lang == 'en'",
            "response.docs[0].embedding.shape == [2] and response.docs[0].embedding[1] == 2",
            "response.docs[0].embedding | sum == 2.5",
            "response.docs[1].embedding is none",
            "response.docs[1].text and not response.docs[1].uri",
            "response.data.docs | length == 2",
            r#"response.parameters["__results__"]["indexer/rep-0"].count == 2"#,
            "response.routes[0].executor == 'indexer' and response.routes[0].time_ms == 20",
            "response.latency_ms == 12.5",
            "request.parameters.k == 2",
            "response.docs | selectattr('text', 'eq', 'hello') | list | length == 1",
        ] {
            assert_eq!(judge(that, &exchange()), Ok(true), "{that}");
        }
        assert_eq!(judge("response.docs | length == 3", &exchange()), Ok(false));
    }

    #[test]
    fn an_expression_without_a_value_says_so() {
        for (that, message) in [
            (
                "response.docs[3].text == ''",
                "a value is not defined, in `response.docs[3].text == ''`",
            ),
            ("response.dcs | length", "`response.dcs` is not defined, in `response.dcs | length`"),
        ] {
            assert_eq!(judge(that, &exchange()), Err(message.into()));
        }
        let unknown =
            Assertion::compile(None, "reponse.status", Percentage::ALL, &Context::default());
        assert_eq!(
            unknown.expect_err("unknown").help.as_deref(),
            Some(
                "did you mean `response`? (known here: response, request, exception, vars, env, matrix)"
            )
        );
    }

    #[test]
    fn only_what_reads_documents_asks_for_them() {
        for (that, request, response) in [
            ("response.status == 'SUCCESS'", false, false),
            ("response.latency_ms < 5 and response.routes | length > 1", false, false),
            ("response.docs | length == 1", false, true),
            ("response.parameters", false, true),
            ("response['docs']", false, true),
            ("request.docs | length == 1", true, false),
            ("response.docs | length == request.docs | length", true, true),
            ("vars.k == 1", false, false),
        ] {
            let assertion = Assertion::compile(None, that, Percentage::ALL, &Context::default());
            assert_eq!(assertion.expect(that).reads(), Reads { request, response }, "{that}");
        }
    }

    #[test]
    fn captures_and_messages_take_values_out() {
        let context = Context::default();
        let capture = Capture::compile("id", "response.docs[0].id", &context).expect("a capture");
        assert_eq!(capture.value(&exchange()), Ok(json!("a")));
        let capture = Capture::compile("docs", "response.docs[0].matches", &context).expect("one");
        let matches = capture.value(&exchange()).expect("a value");
        assert_eq!(matches[1]["id"], json!("m2"));
        let message =
            Message::compile("${{ response.status }} in ${{ response.latency_ms }} ms", &context);
        assert_eq!(
            message.expect("a message").render(&exchange()),
            Ok("SUCCESS in 12.5 ms".into())
        );
        let failed = Exchange {
            exception: Some(("timeout", "no reply within 1s".into())),
            ..Exchange::default()
        };
        let message = Message::compile("${{ exception.kind }}: ${{ exception.message }}", &context);
        assert_eq!(
            message.expect("a message").render(&failed),
            Ok("timeout: no reply within 1s".into())
        );
        assert_eq!(judge("response is none", &failed), Ok(true));
    }

    #[test]
    fn graphql_responses_have_data_and_errors() {
        let exchange = Exchange {
            graphql: Some(Arc::new(json!({"data": {"docs": [{"id": "a"}]}, "errors": null}))),
            head: Some(Arc::default()),
            ..Exchange::default()
        };
        assert_eq!(
            judge("response.data.docs[0].id == 'a' and not response.errors", &exchange),
            Ok(true)
        );
    }
}
