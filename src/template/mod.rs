//! `${{ … }}`: the only place that uses minijinja's expressions.
//!
//! An `Expression` is compiled once and evaluated often. A [`Template`] is a value of a file (a text, a list,
//! a map) that contains expressions. Undefined names are errors and evaluation has limited fuel, so neither
//! typos nor endless loops get far.

mod context;
mod expression;
mod functions;
mod part;
mod pieces;

use std::sync::Arc;

use minijinja::value::{Object, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};

pub use context::Context;
pub(crate) use expression::Expression;
pub(crate) use pieces::{Pieces, has_expressions};

use crate::random::Key;
use crate::source::{Problem, Spot};
use crate::wire::Map;
use expression::shortened;
use functions::{STREAM, Stream};
use part::Part;
use pieces::{Cut, cut};

/// The names whose values are fixed for a suite.
const LOADED: [&str; 3] = ["vars", "env", "matrix"];

/// The expression to show for a variable computed from `env`: the variable's own if it is a single
/// expression, otherwise a mask.
pub fn shown(text: &str, context: &Context) -> String {
    match cut(text).as_deref() {
        Ok([Cut::Expression(text)]) => {
            Expression::compile(text, &LOADED).map(|expression| expression.inlined(context))
        }
        _ => Ok("'***'".into()),
    }
    .unwrap_or_else(|_| "'***'".into())
}

/// The names available to templates in documents and parameters, besides the random functions.
const EACH: [&str; 5] = ["i", "vars", "env", "matrix", "captured"];

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", self.part())]
pub struct TemplateError {
    /// The expression as written; empty if a plain value is wrong.
    pub expression: String,
    /// What is wrong.
    pub reason: String,
    /// What was probably meant.
    pub help: Option<String>,
}

impl TemplateError {
    /// Adds it to the problems of a file. `at` is the value with the expression, or one that contains it.
    pub(crate) fn tell(&self, at: Spot<'_>, problems: &mut Vec<Problem>) {
        at.find(&self.expression).problem(problems, self.to_string(), |problem| {
            let problem = problem.narrow(&self.expression);
            match &self.help {
                Some(help) => problem.help(help.as_str()),
                None => problem,
            }
        });
    }

    /// The part of a message that names the expression, unless the reason already does.
    fn part(&self) -> String {
        if self.expression.is_empty() || self.reason.contains(&format!("`{}`", self.expression)) {
            String::new()
        } else {
            format!(", in `{}`", self.expression)
        }
    }
}

/// A value with expressions in it, parsed once and evaluated any number of times.
#[derive(Clone, Debug)]
pub struct Template {
    part: Part,
    context: Context,
}

/// Where in a run a template is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The index of the Document or request.
    pub i: u64,
    /// The stream that random functions draw from.
    pub key: Key,
    /// Values captured by earlier steps.
    pub captured: Option<&'a Map>,
}

/// The names available to an expression.
#[derive(Debug)]
struct Root {
    context: Context,
    i: Option<u64>,
    captured: Option<Value>,
    stream: Option<Arc<Stream>>,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "i" => self.i.map(Value::from),
            "captured" => self.captured.clone(),
            STREAM => self.stream.clone().map(Value::from_dyn_object),
            name => self.context.get(name),
        }
    }
}

/// Evaluates a text of a file at load time; a text that is exactly one expression keeps the type of its
/// value. The second result tells whether `env`, or a variable computed from it, was used, which makes the
/// value a secret.
///
/// # Errors
/// When an expression does not compile or has no value.
pub fn evaluate_text(
    text: &str,
    context: &Context,
) -> Result<(serde_json::Value, bool), TemplateError> {
    let cuts = cut(text)?;
    let mut secret = false;
    let mut evaluate = |text: &str| {
        let expression = Expression::compile(text, &LOADED)?;
        secret |= context.is_secret(&expression);
        Ok(expression)
    };
    if let [Cut::Expression(text)] = cuts.as_slice() {
        let value = context.evaluate(&evaluate(text)?)?;
        return Ok((value, secret));
    }
    let mut sum = String::new();
    for cut in cuts {
        match cut {
            Cut::Text(text) => sum.push_str(text),
            Cut::Expression(text) => match context.evaluate(&evaluate(text)?)? {
                serde_json::Value::String(text) => sum.push_str(&text),
                value => sum.push_str(&value.to_string()),
            },
        }
    }
    Ok((sum.into(), secret))
}

impl Template {
    /// Parses a template from a text.
    ///
    /// # Errors
    /// When an expression does not compile.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        Ok(Template { part: Part::parse(text, &EACH)?, context: Context::default() })
    }

    /// Reads a template from a text of a file. Compile errors are reported when it is bound.
    pub(crate) fn read(text: &str) -> Template {
        Template { part: Part::read(text), context: Context::default() }
    }

    /// A template without expressions.
    pub fn constant(value: serde_json::Value) -> Template {
        Template { part: Part::Constant(value), context: Context::default() }
    }

    /// A map of templates that are not bound yet.
    pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, &'a Template)>) -> Template {
        let part = entries.into_iter().map(|(key, template)| (key.into(), template.part.clone()));
        Template { part: Part::Map(part.collect()), context: Context::default() }
    }

    /// Sets the values of `vars`, `env` and `matrix`, and evaluates expressions that depend only on them.
    ///
    /// # Errors
    /// Every expression that does not compile, or that depends only on them and has no value.
    pub fn bind(&self, context: &Context) -> Result<Template, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let part = self.part.bind(context, &mut errors);
        if errors.is_empty() {
            Ok(Template { part, context: context.clone() })
        } else {
            Err(errors)
        }
    }

    /// Whether its value is always the same: a bound template without `i` and random functions.
    pub(crate) fn is_constant(&self) -> bool {
        self.part.is_constant()
    }

    /// The value, if it is always the same and known completely.
    pub fn as_constant(&self) -> Option<&serde_json::Value> {
        match &self.part {
            Part::Constant(value) | Part::Hidden { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The value with its remaining expressions, as written in a file.
    ///
    /// In expressions that also use `i` or random functions, `vars` and `matrix` are replaced by their
    /// values; `env` stays, since its values are secrets.
    pub fn to_json(&self) -> serde_json::Value {
        self.part.to_json(&self.context)
    }

    /// Whether an expression in it uses a name, such as `captured`.
    pub fn mentions(&self, name: &str) -> bool {
        self.part.mentions(name)
    }

    /// The static paths that its expressions look up: `captured.id`.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        self.part.paths(&mut paths);
        paths
    }

    /// Whether the value may be a map, as far as is known before it is evaluated.
    pub(crate) fn may_be_map(&self) -> bool {
        match &self.part {
            Part::Constant(value) | Part::Hidden { value, .. } => value.is_object(),
            Part::Map(_) | Part::Expression(_) | Part::Broken { .. } => true,
            Part::Text(_) | Part::List(_) => false,
        }
    }

    /// The value for one Document or request.
    ///
    /// # Errors
    /// When an expression has no value there.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<serde_json::Value, TemplateError> {
        self.part.evaluate(&self.context, scope)
    }

    /// The value as text, for fields that are text: numbers as in JSON.
    ///
    /// # Errors
    /// When an expression has no value there, or the value is a list, a map or null.
    pub fn evaluate_text(&self, scope: &Scope<'_>) -> Result<String, TemplateError> {
        match self.evaluate(scope)? {
            serde_json::Value::String(text) => Ok(text),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Ok(value.to_string())
            }
            value => Err(self.mistyped("text", &value)),
        }
    }

    /// The value as a finite number.
    ///
    /// # Errors
    /// When an expression has no value there, or the value has another type.
    pub(crate) fn evaluate_number(&self, scope: &Scope<'_>) -> Result<f64, TemplateError> {
        let value = self.evaluate(scope)?;
        value.as_f64().ok_or_else(|| self.mistyped("a number", &value))
    }

    /// An error that says what type the value should have had.
    pub(crate) fn mistyped(&self, expected: &str, value: &serde_json::Value) -> TemplateError {
        TemplateError {
            expression: match &self.part {
                Part::Expression(expression) => expression.text().to_owned(),
                _ => String::new(),
            },
            reason: match value {
                serde_json::Value::String(text) => {
                    format!("expected {expected}, found `{}`", shortened(&self.context.mask(text)))
                }
                value => {
                    let text = self.context.mask(&value.to_string());
                    format!("expected {expected}, found `{}`", shortened(&text))
                }
            },
            help: None,
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
        Ok(Template { part: Part::deserialize(deserializer)?, context: Context::default() })
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"title": "a value, or an expression `${{ … }}` for each Document or request"})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: serde_json::Value) -> Map {
        value.as_object().expect("a map").clone()
    }

    fn context() -> Context {
        Context::new(
            map(json!({"rate": "50/s", "k": 3, "deep": {"list": [1, 2]}})),
            map(json!({"TOKEN": "secret"})),
            map(json!({"protocol": "grpc"})),
        )
    }

    fn load(text: &str) -> Result<serde_json::Value, String> {
        evaluate_text(text, &context()).map(|(value, _)| value).map_err(|error| error.to_string())
    }

    fn each(text: &str, i: u64) -> serde_json::Value {
        let template = Template::parse(text).expect(text).bind(&context()).expect(text);
        template.evaluate(&Scope { i, key: Key::new(0).index(i), captured: None }).expect(text)
    }

    #[test]
    fn a_scalar_that_is_one_expression_keeps_its_type() {
        assert_eq!(load("${{ vars.k }}"), Ok(json!(3)));
        assert_eq!(load("${{ vars.deep }}"), Ok(json!({"list": [1, 2]})));
        assert_eq!(load("${{ vars.k > 2 }}"), Ok(json!(true)));
        assert_eq!(load("k=${{ vars.k }}"), Ok(json!("k=3")));
        assert_eq!(load("${{ vars.k }}${{ true }}"), Ok(json!("3true")));
        assert_eq!(load("${{ {'a': {'b': '}}'}}.a.b }}"), Ok(json!("}}")));
        assert_eq!(load("no expression, $ {{ x }}"), Ok(json!("no expression, $ {{ x }}")));
        assert_eq!(load("${{ 7 / 2 }} ${{ 7 // 2 }}"), Ok(json!("3.5 3")));
    }

    #[test]
    fn undefined_names_are_errors() {
        for (text, message) in [
            ("${{ vars.rte }}", "`vars.rte` is not defined"),
            ("x ${{ vars.rte }}", "`vars.rte` is not defined"),
            (
                "${{ vars.deep.lst | length }}",
                "`vars.deep.lst` is not defined, in `vars.deep.lst | length`",
            ),
            ("${{ env.TOKN }}", "`env.TOKN` is not defined"),
            ("${{ vras.x }}", "unknown name `vras`, in `vras.x`"),
            ("${{ i }}", "unknown name `i`"),
            (
                "${{ choice([1]) }}",
                "`choice` is available in documents and parameters only, in `choice([1])`",
            ),
            ("${{ vars.k | shout }}", "unknown filter `shout`, in `vars.k | shout`"),
            ("${{ vars.k is evn }}", "unknown test `evn`, in `vars.k is evn`"),
            ("${{ vars.k is not evn }}", "unknown test `evn`, in `vars.k is not evn`"),
            ("${{ 1 + }}", "unexpected end of input, expected expression, in `1 +`"),
            ("${{ }}", "there is no expression"),
            ("${{ vars.k ", "`}}` is missing, in `${{ vars.k `"),
            (
                "${{ 'a' + 1 }}",
                "tried to use + operator on unsupported types string and number, in `'a' + 1`",
            ),
            (
                "${{ 'x' * 99999999 }}",
                "evaluation takes too long or produces too much data, in `'x' * 99999999`",
            ),
            ("${{ 2.0 ** 5000 }}", "the value is not a finite number, in `2.0 ** 5000`"),
        ] {
            assert_eq!(load(text), Err(message.into()), "{text}");
        }
        let error = evaluate_text("${{ vars.rte }}", &context()).expect_err("undefined");
        assert_eq!(error.help.as_deref(), Some("did you mean `rate`?"));
        assert_eq!(load("${{ vars.rte is defined }}"), Ok(json!(false)));
        assert_eq!(load("${{ vars.rte | default(5) }}"), Ok(json!(5)));
    }

    #[test]
    fn deep_nesting_and_endless_work_are_refused() {
        for text in [
            format!("${{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
            format!("${{{{ {}1{} }}}}", "[".repeat(5000), "]".repeat(5000)),
            format!("${{{{ {}1 }}}}", "not ".repeat(3000)),
            format!("${{{{ {}1 }}}}", "-".repeat(5000)),
            format!("${{{{ 1{} }}}}", " + 1".repeat(3000)),
            format!("${{{{ 'a'{} }}}}", " | upper".repeat(1500)),
            format!("${{{{ 1{} }}}}", ".a".repeat(5000)),
            "${{ range(99999) | map('string') | join | length * 999 }}".into(),
            "${{ (('x' * 100000) | list | batch(1) | list | tojson) * 1000 }}".into(),
            "${{ 9 ** 9 ** 9 }}".into(),
            "${{ '%0999999999d' | format(1) }}".into(),
            "${{ 'a' | center(999999999) | indent(999999999) }}".into(),
        ] {
            // The result does not matter, only that there is one soon.
            let _ = load(&text);
        }
    }

    #[test]
    fn each_document_has_its_own_values_always_the_same() {
        assert_eq!(each("article-${{ i }}", 7), json!("article-7"));
        assert_eq!(each("${{ i % 2 == 0 }}", 7), json!(false));
        assert_eq!(each("${{ words(3) }}", 1), each("${{ words(3) }}", 1));
        assert_ne!(each("${{ words(3) }}", 1), each("${{ words(3) }}", 2));
        for i in 0..200 {
            let value = each("${{ uniform(1, 100) }}", i).as_f64().expect("a number");
            assert!((1.0..100.0).contains(&value));
            assert!(
                ["en", "de"]
                    .map(|lang| json!(lang))
                    .contains(&each("${{ choice(['en', 'de']) }}", i))
            );
            assert_eq!(each("${{ choice(['en', 'de'], [0, 1]) }}", i), json!("de"));
            let rank = each("${{ zipf(10) }}", i).as_u64().expect("a rank");
            assert!((1..=10).contains(&rank));
            let number = each("${{ randint(-2, 2) }}", i).as_i64().expect("a number");
            assert!((-2..=2).contains(&number));
            assert!(each("${{ normal(0, 1) }}", i).as_f64().expect("a number").is_finite());
            assert_eq!(each("${{ uuid() }}", i).as_str().expect("a text").len(), 36);
        }
        // Two calls in one value draw independently.
        let twice = each("${{ uuid() }} ${{ uuid() }}", 3);
        let (one, two) = twice.as_str().expect("a text").split_once(' ').expect("two");
        assert_ne!(one, two);
    }

    #[test]
    fn what_depends_on_nothing_is_constant_once_bound() {
        let bound = |text: &str| Template::parse(text).expect(text).bind(&context()).expect(text);
        assert_eq!(bound("${{ vars.k }} ${{ env.TOKEN }}").as_constant(), Some(&json!("3 secret")));
        assert_eq!(bound("${{ matrix.protocol }}").as_constant(), Some(&json!("grpc")));
        assert!(!bound("${{ i }}").is_constant());
        assert!(!bound("${{ uuid() }}").is_constant());
        let template: Template =
            serde_json::from_value(json!({"k": "${{ vars.k }}", "l": [1, "${{ i }}"]}))
                .expect("a map");
        let template = template.bind(&context()).expect("bound");
        let scope = Scope { i: 4, key: Key::new(0), captured: None };
        assert_eq!(template.evaluate(&scope), Ok(json!({"k": 3, "l": [1, 4]})));
        assert!(template.mentions("i") && !template.mentions("captured"));
    }

    #[test]
    fn captured_values_are_known_to_later_steps() {
        let template = Template::parse("${{ captured.id }}").expect("a template");
        let captured = map(json!({"id": "a1"}));
        let scope = Scope { i: 0, key: Key::new(0), captured: Some(&captured) };
        assert_eq!(template.evaluate(&scope), Ok(json!("a1")));
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", context()).contains("secret"));
        assert_eq!(
            evaluate_text("Bearer ${{ env.TOKEN }}", &context()),
            Ok((json!("Bearer secret"), true))
        );
        assert_eq!(evaluate_text("${{ vars.k }}", &context()), Ok((json!(3), false)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_template_panic_or_hang(
            text in "(\\$\\{\\{|\\}\\}|[a-z0-9(){}\\[\\]'\"|*+., ~é-]|range|choice|vars|i){0,60}",
        ) {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.evaluate(&Scope { i: 1, key: Key::new(0), captured: None });
            }
            let _ = evaluate_text(&text, &context());
        }
    }
}
