//! An expression: compiled once, evaluated often.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

use super::functions::{self, RANDOM};
use super::{Context, TemplateError};
use crate::units::nearest;

/// The budget of one evaluation: instructions, and the data it produces (64 bytes cost as much as one
/// instruction). Enough for a text of several MiB, and far less than a second.
const FUEL: u64 = 200_000;

/// Maximum length of an expression: people do not write longer ones.
const EXPRESSION_BYTES_MAX: usize = 16 << 10;

/// Maximum number of words, strings, numbers and signs in an expression. Each may nest the following ones,
/// and compiling is recursive: a thousand take less than half of a thread's 2 MiB of stack in a debug build.
const TOKENS_MAX: usize = 1000;

/// A compiled expression.
#[derive(Clone)]
pub(crate) struct Expression {
    compiled: Arc<Compiled>,
}

struct Compiled {
    text: String,
    expression: minijinja::Expression<'static, 'static>,
    // The names it begins paths with: `vars`, `i`, `choice`.
    names: BTreeSet<String>,
    // The full paths, for errors: `vars.rate`.
    paths: BTreeSet<String>,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // Its dump is meant for authors of templates in programs.
    environment.remove_global("debug");
    // `text.startswith("a")`, for users who know Python better than jinja.
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    functions::add_to(&mut environment);
    environment
});

impl Expression {
    /// Compiles an expression that may use the names in `known` besides jinja's own functions.
    ///
    /// # Errors
    /// For wrong syntax, unknown names, filters or tests.
    pub(crate) fn compile(text: &str, known: &[&str]) -> Result<Expression, TemplateError> {
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
            return Err(wrong(format!("an expression has at most {TOKENS_MAX} tokens")));
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
        // minijinja finds no names in the operand of a slice, so a copy without slices is analysed.
        let unsliced = match without_slices(text) {
            Some(text) => ENVIRONMENT.compile_expression_owned(text).map(Some),
            None => Ok(None),
        };
        let unsliced = unsliced.map_err(|error| wrong(reason(&error)))?;
        let asked = unsliced.as_ref().unwrap_or(&expression);
        let names: BTreeSet<String> = asked.undeclared_variables(false).into_iter().collect();
        let paths = asked.undeclared_variables(true).into_iter().collect();
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
                return Err(wrong(format!(
                    "`{name}` is available in documents and parameters only"
                )));
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

    /// The expression as written.
    pub(crate) fn text(&self) -> &str {
        &self.compiled.text
    }

    /// The static paths it looks up: `response.docs`, `vars.rate`.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.compiled.paths.iter().map(String::as_str)
    }

    /// The names it begins paths with: `vars`, `i`, `choice`.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.compiled.names.iter().map(String::as_str)
    }

    /// Whether it uses a name, such as `env`.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.compiled.names.contains(name)
    }

    /// Its value, with names looked up in `root`.
    ///
    /// # Errors
    /// When it has none: an undefined name, a wrong type, no fuel left.
    pub(crate) fn evaluate(&self, root: Value) -> Result<Value, TemplateError> {
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

    /// The first path that is undefined, and the name that was probably meant.
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
                    let help = help.or_else(|| {
                        (walked == format!("vars.{name}")).then(|| {
                            format!(
                                "give it a value under `vars` (above the variables that use it), or with \
                                 `--set {name}=…`"
                            )
                        })
                    });
                    return Some((walked, help));
                };
                value = next;
            }
        }
        None
    }

    /// The expression with paths that begin with `vars`, `env` or `matrix` replaced by their values.
    pub(crate) fn inlined(&self, context: &Context) -> String {
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
            // An escaped backslash does not escape anything.
            after = if c == '\\' && after == '\\' { ' ' } else { c };
            rest = &rest[c.len_utf8()..];
        }
        inlined
    }

    /// Its value as JSON.
    pub(super) fn json(&self, root: Value) -> Result<serde_json::Value, TemplateError> {
        let value = self.evaluate(root)?;
        to_json(&value).map_err(|error| TemplateError {
            expression: shortened(self.text()),
            reason: error.to_string(),
            help: None,
        })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text())
    }
}

/// Why a value cannot be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotJson {
    /// Infinite or not a number.
    #[error("the value is not a finite number")]
    NotFinite,
    /// A name without a value.
    #[error("the value is not defined")]
    Undefined,
    /// A function, an object, bytes.
    #[error("the value is a {0}")]
    Kind(ValueKind),
}

/// Converts a minijinja value to JSON.
///
/// # Errors
/// When it contains a number that is not finite, or is not data at all.
fn to_json(value: &Value) -> Result<serde_json::Value, NotJson> {
    if value.kind() == ValueKind::Number
        && f64::try_from(value.clone()).is_ok_and(|number| !number.is_finite())
    {
        return Err(NotJson::NotFinite);
    }
    if value.is_undefined() {
        return Err(NotJson::Undefined);
    }
    serde_json::to_value(value).map_err(|_| NotJson::Kind(value.kind()))
}

/// The number of words, strings, numbers and signs in an expression.
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
        let goes_on = word && in_word;
        if !goes_on && !c.is_whitespace() {
            count += 1;
        }
        in_word = word;
    }
    count
}

/// The expression with the parts of each slice joined, `x[(0)~(5)]` for `x[:5]`: it looks up the same names.
/// `None` if there is no slice.
fn without_slices(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 16);
    // For each open bracket: its character, and the parts of its slice so far.
    let mut open: Vec<(char, Vec<usize>)> = Vec::new();
    let (mut found, mut quote, mut escaped) = (false, None, false);
    for c in text.chars() {
        if let Some(end) = quote {
            quote = (c != end || escaped).then_some(end);
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '[' | '(' | '{' => open.push((c, vec![out.len() + 1])),
            ':' => {
                if let Some(('[', parts)) = open.last_mut() {
                    found = true;
                    parts.push(out.len() + 1);
                }
            }
            ']' | ')' | '}' => {
                if let Some(('[', parts)) = open.pop()
                    && parts.len() > 1
                {
                    let inside = out.split_off(parts[0]);
                    let ends =
                        parts[1..].iter().map(|start| start - 1).chain([parts[0] + inside.len()]);
                    let parts = parts.iter().zip(ends).map(|(start, end)| {
                        match inside[start - parts[0]..end - parts[0]].trim() {
                            "" => "(0)".to_owned(),
                            part => format!("({part})"),
                        }
                    });
                    out.push_str(&parts.collect::<Vec<_>>().join("~"));
                }
            }
            _ => (),
        }
        out.push(c);
    }
    found.then_some(out)
}

/// Filters that a misspelt name is likely to mean.
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

/// Tests that a misspelt name is likely to mean.
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

/// The first unknown filter or test of an expression: which of the two it is, its name, and the known ones.
/// minijinja itself reports it only when the expression is evaluated, which is too late.
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

/// Whether a text has a single `=` that probably means `==`.
fn equals_once(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..bytes.len().saturating_sub(1)).any(|at| {
        bytes[at] == b'='
            && !matches!(bytes[at - 1], b'=' | b'<' | b'>' | b'!')
            && bytes[at + 1] != b'='
    })
}

/// minijinja's message without the position, as our templates have only one line.
fn reason(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "evaluation takes too long or produces too much data".into(),
        (ErrorKind::UndefinedError, None) => "a value is not defined".into(),
        (ErrorKind::SyntaxError, Some(detail)) => detail.to_owned(),
        (ErrorKind::MissingArgument, detail) => {
            format!("an argument is missing{}", detail.map_or(String::new(), |d| format!(": {d}")))
        }
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    }
}

pub(super) fn shortened(text: &str) -> String {
    let mut short: String =
        text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_a_slice_and_before_it_are_looked_up() {
        for (text, names, paths) in [
            ("a.b[:5]", &["a"][..], &["a.b"][..]),
            ("a.b[c:]", &["a", "c"], &["a.b", "c"]),
            ("a[:]", &["a"], &["a"]),
            ("a[b.c:d[1:2]:-1].e | upper", &["a", "b", "d"], &["a", "b.c", "d"]),
            ("a[0].b[{'x': c}.x : 'it\\'s[:]' | length]", &["a", "c"], &["a", "c"]),
            ("[1, a[:1 if b else 2]]", &["a", "b"], &["a", "b"]),
            ("f(a[:2], {'k': b[1:]})", &["a", "b", "f"], &["a", "b", "f"]),
            ("(a)[: (b)]", &["a", "b"], &["a", "b"]),
            ("'a[:b]'", &[], &[]),
            ("{'k': a}", &["a"], &["a"]),
            ("'ä[' ~ a.o['ö:':b]", &["a", "b"], &["a.o", "b"]),
        ] {
            let expression = Expression::compile(text, &["a", "b", "c", "d", "f"]).expect(text);
            assert_eq!(expression.names().collect::<Vec<_>>(), names, "{text}");
            assert_eq!(expression.paths().collect::<Vec<_>>(), paths, "{text}");
        }
        let error = Expression::compile("nothing[:5]", &["vars"]).expect_err("it is not known");
        assert_eq!(error.reason, "unknown name `nothing`");
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
}
