//! `${{ … }}`: the one place that knows minijinja's expressions.
//!
//! An [`Expression`] is compiled once and evaluated often. A [`Template`] is a value of a file (a
//! text, a list, a map) with expressions in it. Undefined names are errors, evaluation has fuel, so
//! neither a typo nor an endless repetition gets far.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use minijinja::value::{Object, ObjectRepr, Rest, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};
use rand::RngExt;
use rand_distr::{Distribution, Normal, Zipf};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::random::{self, Key};
use crate::source::{Problem, Spot};
use crate::units::nearest;
use crate::wire::Map;

/// What one evaluation may do: instructions, and the data it makes (64 bytes cost as much as one
/// instruction). Enough for a text of some MiB, far from a second of time.
const FUEL: u64 = 200_000;

/// No expression that a person writes is longer.
const EXPRESSION_BYTES_MAX: usize = 16 << 10;

/// Words, texts, numbers and signs of one expression. Each may nest what comes after it, and compiling
/// walks down: a thousand take less than half of a thread's 2 MiB of stack in a debug build.
const TOKENS_MAX: usize = 1000;

/// Words that one call of `words` may ask for.
const WORDS_MAX: u64 = 100_000;

/// The random functions: known where each Document or request is evaluated.
const RANDOM: [&str; 7] = ["choice", "uniform", "normal", "randint", "zipf", "words", "uuid"];

/// The names that hold once for a suite.
const LOADED: [&str; 3] = ["vars", "env", "matrix"];

/// What makes the context's random stream known to the functions. No file can name it.
const STREAM: &str = "\0stream";

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", self.part())]
pub struct TemplateError {
    /// As written; empty where a plain value is wrong.
    pub expression: String,
    /// What is wrong, in words.
    pub reason: String,
    /// What was probably meant.
    pub help: Option<String>,
}

impl TemplateError {
    /// Adds it to the problems of a file. `at` is the value it is of, or one that holds that value.
    pub fn tell(&self, at: Spot<'_>, problems: &mut Vec<Problem>) {
        at.find(&self.expression).problem(problems, self.to_string(), |problem| {
            let problem = problem.narrow(&self.expression);
            match &self.help {
                Some(help) => problem.help(help.as_str()),
                None => problem,
            }
        });
    }

    /// The part of a message that names the expression, unless the reason does.
    fn part(&self) -> String {
        if self.expression.is_empty() || self.reason.contains(&format!("`{}`", self.expression)) {
            String::new()
        } else {
            format!(", in `{}`", self.expression)
        }
    }
}

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

struct Compiled {
    text: String,
    expression: minijinja::Expression<'static, 'static>,
    // The names it begins paths with: `vars`, `i`, `choice`.
    names: BTreeSet<String>,
    // The whole paths: `vars.rate`, for errors.
    paths: BTreeSet<String>,
}

/// A value with expressions in it, parsed once, evaluated as often as wanted.
#[derive(Clone, Debug)]
pub struct Template {
    part: Part,
    context: Context,
}

/// A text with expressions in it.
#[derive(Clone, Debug)]
pub struct Pieces(Vec<Piece>);

#[derive(Clone, Debug)]
enum Part {
    Constant(serde_json::Value),
    // Exactly one expression: keeps the type of its value.
    Expression(Expression),
    Text(Pieces),
    List(Vec<Part>),
    Map(Vec<(String, Part)>),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Expression(Expression),
}

/// What holds once for a suite: `vars`, `env` and `matrix`. Cheap to clone.
#[derive(Clone, Default)]
pub struct Context {
    values: Arc<ContextValues>,
}

#[derive(Default)]
struct ContextValues {
    vars: Map,
    env: Map,
    matrix: Map,
    // The same for minijinja.
    root: Vec<(&'static str, Value)>,
}

/// Where in a run a template is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The index of the Document or request.
    pub i: u64,
    /// The stream that random functions draw from.
    pub key: Key,
    /// What earlier steps kept.
    pub captured: Option<&'a Map>,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // What it dumps is for authors of templates in programs.
    environment.remove_global("debug");
    // `text.startswith("a")`, for those who know Python better than jinja.
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("choice", choice);
    environment.add_function("uniform", uniform);
    environment.add_function("normal", normal);
    environment.add_function("randint", randint);
    environment.add_function("zipf", zipf);
    environment.add_function("words", words);
    environment.add_function("uuid", uuid);
    environment
});

impl Expression {
    /// Compiles an expression that may use the names in `known`, beside jinja's own functions.
    ///
    /// # Errors
    /// Wrong syntax, unknown names, filters or tests.
    pub fn compile(text: &str, known: &[&str]) -> Result<Expression, TemplateError> {
        let text = text.trim();
        let wrong =
            |reason: String| TemplateError { expression: shortened(text), reason, help: None };
        if text.is_empty() {
            return Err(wrong("there is no expression".into()));
        }
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(wrong(format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes")));
        }
        if tokens(text) > TOKENS_MAX {
            return Err(wrong(format!("an expression has at most {TOKENS_MAX} words and signs")));
        }
        let expression =
            ENVIRONMENT.compile_expression_owned(text.to_owned()).map_err(|error| {
                TemplateError {
                    help: equals_once(text).then(|| "values are compared with `==`".to_owned()),
                    ..wrong(reason(&error))
                }
            })?;
        if let Some((what, name, all)) = unknown_filter(text) {
            return Err(TemplateError {
                help: nearest(name, all.iter().copied())
                    .map(|near| format!("did you mean `{near}`?")),
                ..wrong(format!("unknown {what} `{name}`"))
            });
        }
        let names: BTreeSet<String> = expression.undeclared_variables(false).into_iter().collect();
        let paths = expression.undeclared_variables(true).into_iter().collect();
        let builtin = |name: &str| ENVIRONMENT.globals().any(|(known, _)| known == name);
        for name in &names {
            let random = RANDOM.contains(&name.as_str());
            if known.contains(&name.as_str()) || (builtin(name) && !random) {
                continue;
            }
            if random && known.contains(&"i") {
                continue;
            }
            if random {
                return Err(wrong(format!("`{name}` is known in documents and parameters only")));
            }
            let mut all: Vec<&str> = known.to_vec();
            if known.contains(&"i") {
                all.extend(RANDOM);
            }
            return Err(TemplateError {
                help: Some(match nearest(name, all.iter().copied()) {
                    Some(near) => {
                        format!("did you mean `{near}`? (known here: {})", all.join(", "))
                    }
                    None => format!("known here: {}", all.join(", ")),
                }),
                ..wrong(format!("unknown name `{name}`"))
            });
        }
        Ok(Expression {
            compiled: Arc::new(Compiled { text: text.into(), expression, names, paths }),
        })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.compiled.text
    }

    /// The paths it looks up, as far as they are plain: `response.docs`, `vars.rate`.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.compiled.paths.iter().map(String::as_str)
    }

    /// Whether it uses a name, such as `env`.
    pub fn mentions(&self, name: &str) -> bool {
        self.compiled.names.contains(name)
    }

    /// Its value with `root` as the names.
    ///
    /// # Errors
    /// It has none: an undefined name, a type that does not fit, no more fuel.
    pub fn evaluate(&self, root: Value) -> Result<Value, TemplateError> {
        let error =
            |reason, help| TemplateError { expression: shortened(self.text()), reason, help };
        let undefined = || match self.missing_path(&root) {
            Some((path, help)) => error(format!("`{path}` is not defined"), help),
            None => error("a value is not defined".into(), None),
        };
        match self.compiled.expression.eval(root.clone()) {
            Ok(value) if value.is_undefined() => Err(undefined()),
            Ok(value) => Ok(value),
            Err(failed) if failed.kind() == ErrorKind::UndefinedError => Err(undefined()),
            Err(failed) => Err(error(reason(&failed), None)),
        }
    }

    /// The first path that leads nowhere, and the name that was probably meant there.
    fn missing_path(&self, root: &Value) -> Option<(String, Option<String>)> {
        for path in self.paths() {
            let mut value = root.clone();
            let mut walked = String::new();
            for name in path.split('.') {
                let next = value.get_attr(name).ok().filter(|next| !next.is_undefined());
                if !walked.is_empty() {
                    walked.push('.');
                }
                walked.push_str(name);
                let Some(next) = next else {
                    if walked == name && ENVIRONMENT.globals().any(|(known, _)| known == name) {
                        break;
                    }
                    let known: Vec<String> = match value.kind() {
                        ValueKind::Map if walked != name && !walked.starts_with("env.") => {
                            value.try_iter().ok()?.take(30).map(|key| key.to_string()).collect()
                        }
                        _ => Vec::new(),
                    };
                    let help = nearest(name, known.iter().map(String::as_str))
                        .map(|near| format!("did you mean `{near}`?"));
                    return Some((walked, help));
                };
                value = next;
            }
        }
        None
    }

    /// The expression with values instead of the paths that begin with `vars`, `env` or `matrix`.
    fn inlined(&self, context: &Context) -> String {
        let text = self.text();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut inlined = String::with_capacity(text.len());
        let (mut rest, mut quote, mut after) = (text, None, ' ');
        while let Some(c) = rest.chars().next() {
            let begins = quote.is_none() && !is_word(after) && after != '.' && is_word(c);
            if begins {
                let end = rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len());
                let path = &rest[..end];
                inlined.push_str(&context.literal(path).unwrap_or_else(|| path.to_owned()));
                after = path.chars().next_back().unwrap_or(' ');
                rest = &rest[end..];
                continue;
            }
            match quote {
                Some(open) if c == open && after != '\\' => quote = None,
                None if c == '\'' || c == '"' => quote = Some(c),
                _ => (),
            }
            inlined.push(c);
            after = c;
            rest = &rest[c.len_utf8()..];
        }
        inlined
    }

    /// Its value as JSON.
    fn json(&self, root: Value) -> Result<serde_json::Value, TemplateError> {
        let value = self.evaluate(root)?;
        to_json(&value).map_err(|reason| TemplateError {
            expression: shortened(self.text()),
            reason,
            help: None,
        })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text())
    }
}

/// A value of minijinja as JSON.
///
/// # Errors
/// In words: it has a number that is not finite, or is no data at all.
pub fn to_json(value: &Value) -> Result<serde_json::Value, String> {
    if value.kind() == ValueKind::Number
        && f64::try_from(value.clone()).is_ok_and(|number| !number.is_finite())
    {
        return Err("the value is not a finite number".into());
    }
    if value.is_undefined() {
        return Err("the value is not defined".into());
    }
    serde_json::to_value(value).map_err(|_| format!("the value is a {}", value.kind()))
}

impl Context {
    /// A context of these values.
    pub fn new(vars: Map, env: Map, matrix: Map) -> Context {
        let root = vec![
            ("vars", Value::from(Serde(&vars))),
            ("env", Value::from(Serde(&env))),
            ("matrix", Value::from(Serde(&matrix))),
        ];
        Context { values: Arc::new(ContextValues { vars, env, matrix, root }) }
    }

    /// The same with other `matrix` values.
    pub fn with_matrix(&self, matrix: Map) -> Context {
        Context::new(self.values.vars.clone(), self.values.env.clone(), matrix)
    }

    /// What stands for a path such as `vars.rate` in an expression.
    fn literal(&self, path: &str) -> Option<String> {
        let (root, rest) = path.split_once('.')?;
        let values = match root {
            "vars" => &self.values.vars,
            "env" => &self.values.env,
            "matrix" => &self.values.matrix,
            _ => return None,
        };
        let mut names = rest.split('.');
        let mut value = values.get(names.next()?)?;
        for name in names {
            value = value.get(name)?;
        }
        Some(match value {
            serde_json::Value::Null => "none".into(),
            value => value.to_string(),
        })
    }

    /// The matrix values.
    pub fn matrix(&self) -> &Map {
        &self.values.matrix
    }

    /// The value of one of its names, for expressions on responses.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.values.root.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    /// The value of an expression at load time.
    ///
    /// # Errors
    /// It has none.
    pub fn evaluate(&self, expression: &Expression) -> Result<serde_json::Value, TemplateError> {
        expression.json(self.root(None))
    }

    fn root(&self, scope: Option<&Scope<'_>>) -> Value {
        Value::from_object(Root {
            context: self.clone(),
            i: scope.map(|scope| scope.i),
            captured: scope.and_then(|scope| scope.captured).map(|map| Value::from(Serde(map))),
            stream: scope
                .map(|scope| Arc::new(Stream { key: scope.key, calls: AtomicU64::new(0) })),
        })
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of `env` are secrets.
        f.debug_struct("Context")
            .field("vars", &self.values.vars)
            .field("matrix", &self.values.matrix)
            .finish_non_exhaustive()
    }
}

/// The names an expression sees.
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

/// The random numbers of one evaluation. Each call of a function has a stream of its own, so that
/// one that draws more does not shift the next.
#[derive(Debug)]
struct Stream {
    key: Key,
    calls: AtomicU64,
}

impl Object for Stream {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

fn rng(state: &State<'_, '_>, name: &str) -> Result<rand_pcg::Pcg64Mcg, Error> {
    let stream = state.lookup(STREAM);
    let stream = stream.as_ref().and_then(|value| value.downcast_object_ref::<Stream>());
    let Some(stream) = stream else {
        return Err(wrong(format!("`{name}` is known in documents and parameters only")));
    };
    Ok(stream.key.index(stream.calls.fetch_add(1, Ordering::Relaxed)).rng())
}

fn wrong(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn choice(state: &State<'_, '_>, items: Value, weights: Option<Vec<f64>>) -> Result<Value, Error> {
    let mut rng = rng(state, "choice")?;
    let count = items.len().filter(|count| *count > 0);
    let Some(count) =
        count.filter(|_| matches!(items.kind(), ValueKind::Seq | ValueKind::Iterable))
    else {
        return Err(wrong("`choice` takes a list that is not empty"));
    };
    let at = match weights {
        None => rng.random_range(0..count),
        Some(weights) => {
            let total: f64 = weights.iter().sum();
            let proper =
                weights.iter().all(|weight| *weight >= 0.0) && total.is_finite() && total > 0.0;
            if weights.len() != count || !proper {
                return Err(wrong(
                    "`choice` takes one weight for each item, none below 0, not all 0",
                ));
            }
            let mut left = rng.random::<f64>() * total;
            let at = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            // Rounding may leave a last crumb; it goes to the last item that can come at all.
            at.or_else(|| weights.iter().rposition(|weight| *weight > 0.0)).unwrap_or(0)
        }
    };
    items.get_item_by_index(at)
}

fn uniform(state: &State<'_, '_>, low: f64, high: f64) -> Result<f64, Error> {
    let mut rng = rng(state, "uniform")?;
    if !(low <= high && (high - low).is_finite()) {
        return Err(wrong("`uniform` takes a lower and a higher number"));
    }
    Ok(low + rng.random::<f64>() * (high - low))
}

fn normal(state: &State<'_, '_>, mean: Option<f64>, deviation: Option<f64>) -> Result<f64, Error> {
    let mut rng = rng(state, "normal")?;
    let (mean, deviation) = (mean.unwrap_or(0.0), deviation.unwrap_or(1.0));
    let normal = Normal::new(mean, deviation).ok().filter(|_| deviation >= 0.0 && mean.is_finite());
    let normal = normal.ok_or_else(|| wrong("`normal` takes a mean and a deviation from 0 on"))?;
    Ok(normal.sample(&mut rng))
}

fn randint(state: &State<'_, '_>, low: i64, high: i64) -> Result<i64, Error> {
    let mut rng = rng(state, "randint")?;
    if low > high {
        return Err(wrong("`randint` takes a lower and a higher whole number"));
    }
    Ok(rng.random_range(low..=high))
}

fn zipf(state: &State<'_, '_>, n: u64, exponent: Option<f64>) -> Result<u64, Error> {
    let mut rng = rng(state, "zipf")?;
    let zipf = Zipf::new(n as f64, exponent.unwrap_or(1.0)).ok().filter(|_| n >= 1);
    let zipf =
        zipf.ok_or_else(|| wrong("`zipf` takes a count from 1 on and an exponent from 0 on"))?;
    Ok((zipf.sample(&mut rng) as u64).clamp(1, n))
}

fn words(state: &State<'_, '_>, low: u64, high: Option<u64>) -> Result<String, Error> {
    let mut rng = rng(state, "words")?;
    let high = high.unwrap_or(low);
    if low > high || high > WORDS_MAX {
        return Err(wrong(format!(
            "`words` takes a count up to {WORDS_MAX}, or a lower and a higher one"
        )));
    }
    let count = rng.random_range(low..=high);
    Ok(random::words(&mut rng, count))
}

fn uuid(state: &State<'_, '_>, none: Rest<Value>) -> Result<String, Error> {
    if !none.is_empty() {
        return Err(wrong("`uuid` takes nothing"));
    }
    let bytes: u128 = rng(state, "uuid")?.random();
    Ok(uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string())
}

/// How many words, texts, numbers and signs an expression has.
fn tokens(text: &str) -> usize {
    let (mut count, mut quote, mut in_word, mut escaped) = (0, None, false, false);
    for c in text.chars() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            None => (),
        }
        let word = c.is_alphanumeric() || c == '_';
        if !c.is_whitespace() && !(word && in_word) {
            count += 1;
        }
        in_word = word;
    }
    count
}

/// The filters that are likely to be meant by a misspelt one.
const FILTERS: [&str; 38] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "default",
    "first",
    "float",
    "format",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
];

/// The tests that are likely to be meant by a misspelt one.
const TESTS: [&str; 18] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "even",
    "false",
    "in",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
];

/// The first filter or test of an expression that does not exist: what it should be, its name, and
/// what there is. minijinja itself would tell when the expression is evaluated, which is too late.
fn unknown_filter(text: &str) -> Option<(&'static str, &str, &'static [&'static str])> {
    let exists = |kind: &str, name: &str| {
        ENVIRONMENT.empty_state().perform_test(kind, &[Value::from(name)]).unwrap_or(true)
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word_at = |at: usize| {
        let rest = text[at..].trim_start();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let start = at + (text[at..].len() - rest.len());
        (&rest[..end], start + end)
    };
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let next = at + c.len_utf8();
        match c {
            '\'' | '"' => {
                let mut escaped = false;
                let close = text[next..].find(|other| {
                    let ends = other == c && !escaped;
                    escaped = other == '\\' && !escaped;
                    ends
                });
                at = close.map_or(text.len(), |close| next + close + 1);
            }
            '|' => {
                let (name, end) = word_at(next);
                if !name.is_empty() && !exists("filter", name) {
                    return Some(("filter", name, &FILTERS));
                }
                at = end.max(next);
            }
            c if is_word(c) => {
                let (word, end) = word_at(at);
                at = end.max(next);
                let is_attribute = text[..at - word.len()].trim_end().ends_with('.');
                if word == "is" && !is_attribute {
                    let (mut name, mut end) = word_at(at);
                    if name == "not" {
                        (name, end) = word_at(end);
                    }
                    if !name.is_empty() && !exists("test", name) {
                        return Some(("test", name, &TESTS));
                    }
                    at = end.max(at);
                }
            }
            _ => at = next,
        }
    }
    None
}

/// Whether a text has a `=` where it probably means `==`.
fn equals_once(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..bytes.len().saturating_sub(1)).any(|at| {
        bytes[at] == b'='
            && !matches!(bytes[at - 1], b'=' | b'<' | b'>' | b'!')
            && bytes[at + 1] != b'='
    })
}

/// minijinja's words without the place in a template that has one line.
fn reason(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "evaluation takes too long or makes too much data".into(),
        (ErrorKind::UndefinedError, None) => "a value is not defined".into(),
        (ErrorKind::SyntaxError, Some(detail)) => detail.to_owned(),
        (ErrorKind::MissingArgument, detail) => {
            format!("an argument is missing{}", detail.map_or(String::new(), |d| format!(": {d}")))
        }
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    }
}

fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// A text cut at its expressions.
#[derive(Debug, PartialEq, Eq)]
enum Cut<'a> {
    Text(&'a str),
    Expression(&'a str),
}

/// Whether a text holds expressions at all.
pub fn has_expressions(text: &str) -> bool {
    text.contains("${{")
}

fn cut(text: &str) -> Result<Vec<Cut<'_>>, TemplateError> {
    let mut cuts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${{") {
        if at > 0 {
            cuts.push(Cut::Text(&rest[..at]));
        }
        let inside = &rest[at + 3..];
        let end = expression_end(inside).ok_or_else(|| TemplateError {
            expression: shortened(&rest[at..]),
            reason: "`}}` is missing".into(),
            help: Some("a ` #` begins a comment unless the value is in quotes".into()),
        })?;
        cuts.push(Cut::Expression(&inside[..end]));
        rest = &inside[end + 2..];
    }
    if !rest.is_empty() {
        cuts.push(Cut::Text(rest));
    }
    Ok(cuts)
}

/// Where the `}}` stands that closes an expression: not within a string or a map.
fn expression_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut quote) = (0, 0usize, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => (),
            (None, b'\'' | b'"') => quote = Some(bytes[at]),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, _) => (),
        }
        at += 1;
    }
    None
}

/// Evaluates a text of a file at load time; a text that is exactly one expression gives a value of
/// its type. The second result tells whether `env` was looked at, which makes the value a secret.
///
/// # Errors
/// An expression that does not compile, or has no value.
pub fn evaluate_text(
    text: &str,
    context: &Context,
) -> Result<(serde_json::Value, bool), TemplateError> {
    let cuts = cut(text)?;
    let mut secret = false;
    let mut evaluate = |text: &str| {
        let expression = Expression::compile(text, &LOADED)?;
        secret |= expression.mentions("env");
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

/// The names that templates in documents and parameters know, beside the random functions.
const EACH: [&str; 5] = ["i", "vars", "env", "matrix", "captured"];

impl Template {
    /// A template of a text.
    ///
    /// # Errors
    /// An expression that does not compile.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        Ok(Template { part: Part::parse(text, &EACH)?, context: Context::default() })
    }

    /// A template without expressions.
    pub fn constant(value: serde_json::Value) -> Template {
        Template { part: Part::Constant(value), context: Context::default() }
    }

    /// Gives `vars`, `env` and `matrix` their values, and evaluates what depends on them alone.
    ///
    /// # Errors
    /// An expression of them that has no value.
    pub fn bind(&self, context: &Context) -> Result<Template, TemplateError> {
        Ok(Template { part: self.part.bind(context)?, context: context.clone() })
    }

    /// Whether it has the same value always: a bound template without `i` and random functions.
    pub fn is_constant(&self) -> bool {
        matches!(self.part, Part::Constant(_))
    }

    /// The value, when it is the same always.
    pub fn as_constant(&self) -> Option<&serde_json::Value> {
        match &self.part {
            Part::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The value with expressions where they are left, as a file has it.
    ///
    /// Where `vars`, `env` and `matrix` are looked up beside `i` or random functions, their values stand
    /// instead.
    pub fn to_json(&self) -> serde_json::Value {
        self.part.to_json(&self.context)
    }

    /// Whether an expression in it uses a name, such as `captured`.
    pub fn mentions(&self, name: &str) -> bool {
        self.part.mentions(name)
    }

    /// The paths that its expressions look up, as far as they are plain: `captured.id`.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        self.part.paths(&mut paths);
        paths
    }

    /// Whether the value will be a map, as far as can be told before it is evaluated.
    pub fn may_be_map(&self) -> bool {
        match &self.part {
            Part::Constant(value) => value.is_object(),
            Part::Map(_) | Part::Expression(_) => true,
            Part::Text(_) | Part::List(_) => false,
        }
    }

    /// The value for one Document or request.
    ///
    /// # Errors
    /// An expression that has none there.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<serde_json::Value, TemplateError> {
        self.part.evaluate(&self.context, scope)
    }

    /// The value as text, for fields that are text: numbers as in JSON.
    ///
    /// # Errors
    /// An expression that has no value there, or a list, a map or nothing.
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
    /// An expression that has no value there, or another type.
    pub fn evaluate_number(&self, scope: &Scope<'_>) -> Result<f64, TemplateError> {
        let value = self.evaluate(scope)?;
        value.as_f64().ok_or_else(|| self.mistyped("a number", &value))
    }

    /// An error that says what type the value should have had.
    pub fn mistyped(&self, expected: &str, value: &serde_json::Value) -> TemplateError {
        TemplateError {
            expression: match &self.part {
                Part::Expression(expression) => expression.text().to_owned(),
                _ => String::new(),
            },
            reason: match value {
                serde_json::Value::String(text) => {
                    format!("expected {expected}, found `{}`", shortened(text))
                }
                value => format!("expected {expected}, found `{}`", shortened(&value.to_string())),
            },
            help: None,
        }
    }
}

impl Pieces {
    /// Cuts a text at its expressions, which may use the names in `known`.
    ///
    /// # Errors
    /// An expression that does not compile.
    pub fn parse(text: &str, known: &[&str]) -> Result<Pieces, TemplateError> {
        Pieces::of(cut(text)?, known)
    }

    fn of(cuts: Vec<Cut<'_>>, known: &[&str]) -> Result<Pieces, TemplateError> {
        let pieces = cuts.into_iter().map(|cut| {
            Ok(match cut {
                Cut::Text(text) => Piece::Text(text.to_owned()),
                Cut::Expression(text) => Piece::Expression(Expression::compile(text, known)?),
            })
        });
        pieces.collect::<Result<_, _>>().map(Pieces)
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Expression(expression) => Some(expression),
        })
    }

    /// The text with the values in it: texts as they are, all else as in JSON. All expressions share
    /// `root`, so that their random calls go on counting.
    ///
    /// # Errors
    /// An expression without a value.
    pub fn render(&self, root: Value) -> Result<String, TemplateError> {
        let mut sum = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => sum.push_str(text),
                Piece::Expression(expression) => match expression.json(root.clone())? {
                    serde_json::Value::String(text) => sum.push_str(&text),
                    value => sum.push_str(&value.to_string()),
                },
            }
        }
        Ok(sum)
    }
}

impl fmt::Display for Pieces {
    /// The text with its expressions, as written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Expression(expression) => write!(f, "${{{{ {} }}}}", expression.text()),
        })
    }
}

impl Part {
    fn to_json(&self, context: &Context) -> serde_json::Value {
        match self {
            Part::Constant(value) => value.clone(),
            Part::Expression(expression) => {
                format!("${{{{ {} }}}}", expression.inlined(context)).into()
            }
            Part::Text(Pieces(pieces)) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Expression(expression) => {
                        format!("${{{{ {} }}}}", expression.inlined(context))
                    }
                })
                .collect::<String>()
                .into(),
            Part::List(items) => items.iter().map(|item| item.to_json(context)).collect(),
            Part::Map(entries) => {
                let json = |(key, part): &(String, Part)| (key.clone(), part.to_json(context));
                entries.iter().map(json).collect::<Map>().into()
            }
        }
    }

    fn parse(text: &str, known: &[&str]) -> Result<Part, TemplateError> {
        if !has_expressions(text) {
            return Ok(Part::Constant(text.into()));
        }
        let cuts = cut(text)?;
        if let [Cut::Expression(text)] = cuts.as_slice() {
            return Ok(Part::Expression(Expression::compile(text, known)?));
        }
        Pieces::of(cuts, known).map(Part::Text)
    }

    fn bind(&self, context: &Context) -> Result<Part, TemplateError> {
        let fixed = |expression: &Expression| {
            // A global that is no random function (`range`) gives the same always, too.
            let each = |name: &str| RANDOM.contains(&name) || name == "i" || name == "captured";
            !expression.compiled.names.iter().any(|name| each(name))
        };
        Ok(match self {
            Part::Constant(value) => Part::Constant(value.clone()),
            Part::Expression(expression) if fixed(expression) => {
                Part::Constant(context.evaluate(expression)?)
            }
            Part::Expression(expression) => Part::Expression(expression.clone()),
            Part::Text(Pieces(pieces)) => {
                let mut bound: Vec<Piece> = Vec::with_capacity(pieces.len());
                for piece in pieces {
                    let text = match piece {
                        Piece::Expression(expression) if fixed(expression) => {
                            match context.evaluate(expression)? {
                                serde_json::Value::String(text) => text,
                                value => value.to_string(),
                            }
                        }
                        Piece::Expression(expression) => {
                            bound.push(Piece::Expression(expression.clone()));
                            continue;
                        }
                        Piece::Text(text) => text.clone(),
                    };
                    match bound.last_mut() {
                        Some(Piece::Text(last)) => last.push_str(&text),
                        _ => bound.push(Piece::Text(text)),
                    }
                }
                match bound.as_mut_slice() {
                    [Piece::Text(text)] => Part::Constant(std::mem::take(text).into()),
                    _ => Part::Text(Pieces(bound)),
                }
            }
            Part::List(items) => {
                let items =
                    items.iter().map(|item| item.bind(context)).collect::<Result<Vec<_>, _>>()?;
                if items.iter().all(|item| matches!(item, Part::Constant(_))) {
                    Part::Constant(items.into_iter().filter_map(Part::into_constant).collect())
                } else {
                    Part::List(items)
                }
            }
            Part::Map(entries) => {
                let bind = |(key, part): &(String, Part)| Ok((key.clone(), part.bind(context)?));
                let entries =
                    entries.iter().map(bind).collect::<Result<Vec<_>, TemplateError>>()?;
                if entries.iter().all(|(_, part)| matches!(part, Part::Constant(_))) {
                    let constant = |(key, part): (String, Part)| Some((key, part.into_constant()?));
                    let map: Map = entries.into_iter().filter_map(constant).collect();
                    Part::Constant(map.into())
                } else {
                    Part::Map(entries)
                }
            }
        })
    }

    fn into_constant(self) -> Option<serde_json::Value> {
        match self {
            Part::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn paths<'a>(&'a self, paths: &mut Vec<&'a str>) {
        match self {
            Part::Constant(_) => (),
            Part::Expression(expression) => paths.extend(expression.paths()),
            Part::Text(pieces) => paths.extend(pieces.expressions().flat_map(Expression::paths)),
            Part::List(items) => items.iter().for_each(|item| item.paths(paths)),
            Part::Map(entries) => entries.iter().for_each(|(_, part)| part.paths(paths)),
        }
    }

    fn mentions(&self, name: &str) -> bool {
        match self {
            Part::Constant(_) => false,
            Part::Expression(expression) => expression.mentions(name),
            Part::Text(pieces) => pieces.expressions().any(|expression| expression.mentions(name)),
            Part::List(items) => items.iter().any(|item| item.mentions(name)),
            Part::Map(entries) => entries.iter().any(|(_, part)| part.mentions(name)),
        }
    }

    fn evaluate(
        &self,
        context: &Context,
        scope: &Scope<'_>,
    ) -> Result<serde_json::Value, TemplateError> {
        Ok(match self {
            Part::Constant(value) => value.clone(),
            Part::Expression(expression) => expression.json(context.root(Some(scope)))?,
            Part::Text(pieces) => pieces.render(context.root(Some(scope)))?.into(),
            Part::List(items) => {
                let item = |(n, item): (usize, &Part)| {
                    item.evaluate(context, &Scope { key: scope.key.index(n as u64), ..*scope })
                };
                items.iter().enumerate().map(item).collect::<Result<_, _>>()?
            }
            Part::Map(entries) => {
                let entry = |(key, part): &(String, Part)| {
                    let scope = Scope { key: scope.key.part(key), ..*scope };
                    Ok((key.clone(), part.evaluate(context, &scope)?))
                };
                let map = entries.iter().map(entry).collect::<Result<Map, TemplateError>>()?;
                map.into()
            }
        })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
        Ok(Template { part: Part::deserialize(deserializer)?, context: Context::default() })
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        struct PartVisitor;

        impl<'de> Visitor<'de> for PartVisitor {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Part, E> {
                Ok(Part::Constant(serde_json::Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Part, E> {
                Ok(Part::Constant(value.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part, E> {
                Part::parse(text, &EACH).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Part, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Part::List(items))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Part::Map(entries))
            }
        }

        deserializer.deserialize_any(PartVisitor)
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
                "`choice` is known in documents and parameters only, in `choice([1])`",
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
                "evaluation takes too long or makes too much data, in `'x' * 99999999`",
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
            // What it comes to does not matter, only that it comes to something soon.
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
        // Two calls in one value draw apart.
        let twice = each("${{ uuid() }} ${{ uuid() }}", 3);
        let (one, two) = twice.as_str().expect("a text").split_once(' ').expect("two");
        assert_ne!(one, two);
    }

    #[test]
    fn every_filter_and_test_that_is_suggested_exists() {
        for (kind, names) in [("filter", &FILTERS[..]), ("test", &TESTS[..])] {
            for name in names {
                let exists = ENVIRONMENT.empty_state().perform_test(kind, &[Value::from(*name)]);
                assert!(exists.unwrap_or(false), "{kind} {name}");
            }
        }
        for text in [
            "'a | shout' is string",
            "vars.is | upper",
            "1 is\nnot none",
            "'é' | upper",
            "'\\' | x'",
        ] {
            assert_eq!(unknown_filter(text), None, "{text}");
        }
    }

    #[test]
    fn random_functions_say_what_they_take() {
        for (text, message) in [
            ("${{ choice([]) }}", "`choice` takes a list that is not empty"),
            ("${{ choice('abc') }}", "`choice` takes a list that is not empty"),
            (
                "${{ choice([1], [0]) }}",
                "`choice` takes one weight for each item, none below 0, not all 0",
            ),
            ("${{ uniform(2, 1) }}", "`uniform` takes a lower and a higher number"),
            ("${{ normal(0, -1) }}", "`normal` takes a mean and a deviation from 0 on"),
            ("${{ randint(2, 1) }}", "`randint` takes a lower and a higher whole number"),
            ("${{ zipf(0) }}", "`zipf` takes a count from 1 on and an exponent from 0 on"),
            (
                "${{ words(9999999) }}",
                "`words` takes a count up to 100000, or a lower and a higher one",
            ),
            ("${{ uuid(1) }}", "`uuid` takes nothing"),
        ] {
            let template = Template::parse(text).expect(text);
            let scope = Scope { i: 0, key: Key::new(0), captured: None };
            assert_eq!(template.evaluate(&scope).expect_err(text).reason, message);
        }
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
