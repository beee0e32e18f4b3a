//! Assertions on a response, and the other expressions on responses: captures and messages.
//!
//! They read an [`Exchange`]. Its Documents are converted to values one by one when an expression needs them;
//! whether it can need any is known beforehand ([`Assertion::reads`]), so a load run does not decode bodies
//! that are never used.

mod fields;
mod values;

use std::sync::Arc;
use std::time::Duration;

use crate::template::{Context, Expression, Pieces, TemplateError};
use crate::units::{Percentage, nearest};
use crate::wire::{DataRequest, Head, Map};
use values::root;

/// A request and its outcome. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The request; may be `None` if no expression reads it ([`Reads::request`]).
    pub request: Option<Arc<DataRequest>>,
    /// The variables of a GraphQL mutation, for `request.variables`.
    pub variables: Option<Arc<serde_json::Value>>,
    /// Header and routes of the response; `None` if there was no response.
    pub head: Option<Arc<Head>>,
    /// The whole response; may be `None` if no expression reads it ([`Reads::response`]), or if it consists
    /// only of its head.
    pub response: Option<Arc<DataRequest>>,
    /// The body of a GraphQL response, for `response.data` and `response.errors`.
    pub graphql: Option<Arc<serde_json::Value>>,
    /// The response to a plain HTTP request, for `response.status_code`, `.headers`, `.json` and `.body`.
    pub http: Option<Arc<HttpAnswer>>,
    /// The JSON body of a plain HTTP request, for `request.json`.
    pub sent_json: Option<Arc<serde_json::Value>>,
    /// The failure: its kind (`timeout`, `executor` …) and its message.
    pub exception: Option<(&'static str, String)>,
    /// Response time.
    pub latency: Duration,
    /// Values captured by earlier steps of the iteration, by name.
    pub captured: Map,
}

/// The response to a plain HTTP request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpAnswer {
    /// The status code, for example 200.
    pub status: u16,
    /// Headers by lower-case name; several with the same name are joined by commas.
    pub headers: Map,
    /// The body as JSON; `None` if it is not JSON.
    pub json: Option<serde_json::Value>,
    /// The body as text.
    pub text: String,
}

/// Which parts of an exchange an expression reads, besides status, routes and latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Documents or parameters of the request.
    pub request: bool,
    /// Documents or parameters of the response, which then has to be decoded.
    pub response: bool,
}

/// An expression that must be true of a response, parsed once.
#[derive(Clone, Debug)]
pub struct Assertion {
    name: String,
    sample: Percentage,
    expression: Expression,
    context: Context,
}

/// A value that a step keeps from its response for later steps: `captured.<name>`.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    name: String,
    expression: Expression,
    context: Context,
}

/// A line rendered from a template, for `log`.
#[derive(Clone, Debug)]
pub struct Message {
    pieces: Pieces,
    context: Context,
}

/// The names available to expressions on a response.
const NAMES: [&str; 7] = ["response", "request", "exception", "captured", "vars", "env", "matrix"];

/// The members of each name, where they are the same for all Flows.
const PARTS: [(&str, &[&str]); 3] = [
    (
        "response",
        &[
            "status",
            "docs",
            "parameters",
            "routes",
            "header",
            "latency_ms",
            "data",
            "errors",
            "status_code",
            "headers",
            "json",
            "body",
        ],
    ),
    ("request", &["docs", "parameters", "header", "variables", "data", "json"]),
    ("exception", &["kind", "message"]),
];

/// The fields of a v1 Document that expressions know.
pub(crate) const DOCUMENT_FIELDS: &[&str] = &values::FIELDS;

/// Compiles an expression on an exchange.
fn compile(that: &str) -> Result<Expression, TemplateError> {
    let expression = Expression::compile(that, &NAMES)?;
    parts_are_known(&expression)?;
    Ok(expression)
}

/// Rejects members such as `response.dcs`, which no response has.
fn parts_are_known(expression: &Expression) -> Result<(), TemplateError> {
    for path in expression.paths() {
        let mut names = path.split('.');
        let root = names.next().unwrap_or_default();
        let (Some((_, parts)), Some(name)) =
            (PARTS.iter().find(|(known, _)| *known == root), names.next())
        else {
            continue;
        };
        if !parts.contains(&name) {
            let near = nearest(name, parts.iter().copied());
            let all = parts.join(", ");
            return Err(TemplateError {
                expression: path.into(),
                reason: format!("`{root}` has no `{name}`"),
                help: Some(match near {
                    Some(near) => format!("did you mean `{root}.{near}`? (it has {all})"),
                    None => format!("it has {all}"),
                }),
            });
        }
    }
    Ok(())
}

/// Members that only responses to plain HTTP requests have, and those that only a Flow's responses have.
const OF_HTTP: [&str; 4] = ["status_code", "headers", "json", "body"];
const OF_FLOWS: [&str; 6] = ["status", "docs", "parameters", "routes", "header", "data"];

/// The first member of `response` in an expression that responses of this kind never have. `http` means
/// responses to plain HTTP requests.
pub(crate) fn foreign_part(expression: &Expression, http: bool) -> Option<(&str, &str)> {
    expression.paths().find_map(|path| {
        let (root, rest) = path.split_once('.')?;
        let name = rest.split('.').next()?;
        let foreign: &[&str] = match (root, http) {
            ("response", true) => &OF_FLOWS,
            ("response", false) => &OF_HTTP,
            ("request", true) => &["docs", "parameters", "header", "variables"],
            ("request", false) => &["json"],
            _ => return None,
        };
        foreign.contains(&name).then_some((root, name))
    })
}

/// The names that an expression looks up in Documents but that are not v1's [`DOCUMENT_FIELDS`].
pub(crate) fn unknown_fields(expression: &Expression) -> Vec<String> {
    fields::unknown(expression.text())
}

impl std::ops::BitOr for Reads {
    type Output = Reads;

    fn bitor(self, other: Reads) -> Reads {
        Reads { request: self.request || other.request, response: self.response || other.response }
    }
}

impl Reads {
    fn of(expression: &Expression) -> Reads {
        // Members of `response` outside the body; the bare name may be used for anything.
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
    /// For wrong syntax or unknown names.
    pub(crate) fn compile(
        name: Option<&str>,
        that: &str,
        sample: Percentage,
        context: &Context,
    ) -> Result<Assertion, TemplateError> {
        let expression = compile(that)?;
        let name = name.unwrap_or(expression.text()).to_owned();
        Ok(Assertion { name, sample, expression, context: context.clone() })
    }

    /// The name in the file, or else the expression itself. The report counts under it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The expression, as written.
    pub(crate) fn that(&self) -> &str {
        self.expression.text()
    }

    /// The expression, with `vars` and `matrix` replaced by their values.
    pub(crate) fn resolved(&self) -> String {
        self.expression.inlined(&self.context)
    }

    /// The expressions in it.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        [&self.expression].into_iter()
    }

    /// The share of responses that it checks.
    pub(crate) fn sample(&self) -> Percentage {
        self.sample
    }

    /// What it reads.
    pub(crate) fn reads(&self) -> Reads {
        Reads::of(&self.expression)
    }

    /// Checks a response: `Ok(true)` if the assertion passes.
    ///
    /// # Errors
    /// When the expression has no value (`response.docs[3].text` if there are two). This counts as a failure,
    /// with the error's message as its example.
    pub(crate) fn holds(&self, exchange: &Exchange) -> Result<bool, TemplateError> {
        self.expression.evaluate(root(exchange, &self.context)).map(|value| value.is_true())
    }
}

impl Capture {
    /// Compiles an expression.
    ///
    /// # Errors
    /// For wrong syntax or unknown names.
    pub(crate) fn compile(
        name: &str,
        that: &str,
        context: &Context,
    ) -> Result<Capture, TemplateError> {
        let expression = compile(that)?;
        Ok(Capture { name: name.into(), expression, context: context.clone() })
    }

    /// The key under `captured`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The expression, with `vars` and `matrix` replaced by their values.
    pub(crate) fn resolved(&self) -> String {
        self.expression.inlined(&self.context)
    }

    /// The expressions in it.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        [&self.expression].into_iter()
    }

    /// What it reads.
    pub(crate) fn reads(&self) -> Reads {
        Reads::of(&self.expression)
    }

    /// The value.
    ///
    /// # Errors
    /// When the expression has no value; the iteration cannot continue.
    pub(crate) fn value(&self, exchange: &Exchange) -> Result<serde_json::Value, TemplateError> {
        self.context.json(&self.expression, root(exchange, &self.context))
    }
}

impl Message {
    /// The text with its expressions, with `vars` and `matrix` replaced by their values.
    pub fn resolved(&self) -> String {
        self.pieces.inlined(&self.context)
    }

    /// Compiles a text with `${{ … }}` in it.
    ///
    /// # Errors
    /// For wrong syntax or unknown names.
    pub fn compile(text: &str, context: &Context) -> Result<Message, TemplateError> {
        let pieces = Pieces::parse(text, &NAMES)?;
        pieces.expressions().try_for_each(parts_are_known)?;
        Ok(Message { pieces, context: context.clone() })
    }

    /// The expressions in it.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.expressions()
    }

    /// What it reads.
    pub fn reads(&self) -> Reads {
        self.pieces.expressions().map(Reads::of).fold(Reads::default(), |all, one| all | one)
    }

    /// Renders the line.
    ///
    /// # Errors
    /// When an expression has no value.
    pub fn render(&self, exchange: &Exchange) -> Result<String, TemplateError> {
        self.pieces.render(&self.context, root(exchange, &self.context))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;
    use crate::wire::{Document, NamedScore, NdArray, Route, Tensor};

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
        let that = "response.docs[3].text == ''";
        let message = "a value is not defined, in `response.docs[3].text == ''`";
        assert_eq!(judge(that, &exchange()), Err(message.into()));
        let unknown =
            Assertion::compile(None, "reponse.status", Percentage::ALL, &Context::default());
        assert_eq!(
            unknown.expect_err("unknown").help.as_deref(),
            Some(
                "did you mean `response`? (known here: response, request, exception, captured, vars, env, matrix)"
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
    fn what_an_expression_comes_to_does_not_depend_on_what_others_read() {
        let all = exchange();
        for that in [
            "response.docs[0].text[:5]",
            "response.docs[:1] | length",
            "response.docs[0]['text'][1:][:3]",
            "(response.docs)[-1:][0].id",
            "response['docs'][:1]",
            "[response][0].docs | length",
            "response.parameters['__results__']['indexer/rep-0'].count",
            "request.docs[0].id[:1]",
            "request.docs[:1] | map(attribute='id') | list",
            "'abc'[:request.docs | length]",
            "response.routes[:1] | length",
            "response.docs[0].text[:5] if response.docs else request.docs[1:]",
            "{'k': response.docs[0].tags.lang[:1]}['k']",
        ] {
            let capture = Capture::compile("c", that, &Context::default()).expect(that);
            let Reads { request, response } = capture.reads();
            let read = Exchange {
                request: all.request.clone().filter(|_| request),
                response: all.response.clone().filter(|_| response),
                ..all.clone()
            };
            let value = capture.value(&all);
            assert!(value.is_ok(), "{that}: {value:?}");
            assert_eq!(capture.value(&read), value, "{that}");
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
