//! A query, read and validated against the schema of Jina's gateway.

use std::cell::LazyCell;
use std::sync::LazyLock;

use apollo_compiler::ast::{Document, Type, Value as Literal};
use apollo_compiler::diagnostic::{Diagnostic, ToCliReport};
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::parser::{LineColumn, Parser};
use apollo_compiler::response::GraphQLError;
use apollo_compiler::validation::{DiagnosticData, DiagnosticList, Valid};
use apollo_compiler::{ExecutableDocument, Node, Schema};
use apollo_parser::{Lexer, TokenKind};
use serde_json::Value;

use crate::wire::python_class;

/// How deep values and selections may nest.
const DEPTH_MAX: usize = 200;

/// How many tokens a query may have.
const TOKENS_MAX: usize = 2_000_000;

/// Maximum number of values in an answer: a small query can select the same value many times over.
const VALUES_MAX: usize = 2_000_000;

/// Maximum number of errors reported per query, as in graphql-core.
const ERRORS_MAX: usize = 100;

/// The schema of Jina's gateway.
pub(super) static SCHEMA: LazyLock<Valid<Schema>> = LazyLock::new(|| {
    let text = include_str!("schema.graphql");
    Schema::parse_and_validate(text, "schema.graphql").expect("a test parses it")
});

/// What is wrong with a query.
pub(super) type Errors = Vec<GraphQLError>;

/// Reads a query and validates it.
///
/// # Errors
/// All errors in the query, in graphql-core's words where Jina's client shows them.
pub(super) fn read(query: &str) -> Result<Valid<ExecutableDocument>, Errors> {
    let mut parser = Parser::new().recursion_limit(DEPTH_MAX).token_limit(TOKENS_MAX);
    let document: Document = match parser.parse_ast(query, "query") {
        Ok(document) => document,
        Err(errors) => {
            let limited =
                parser.recursion_reached() > DEPTH_MAX || parser.tokens_reached() > TOKENS_MAX;
            return Err(syntax(query, &errors.errors, limited));
        }
    };
    let document =
        document.to_executable_validate(&SCHEMA).map_err(|found| told(query, &found.errors))?;
    let literals: Errors = document
        .operations
        .iter()
        .flat_map(|operation| operation.root_fields(&document))
        .flat_map(|field| field.arguments.iter().map(move |argument| (field, argument)))
        .filter_map(|(field, argument)| {
            let known = field.definition.argument_by_name(&argument.name)?;
            literal(&argument.value, &known.ty, &document).err().map(|error| *error)
        })
        .collect();
    match literals.is_empty() {
        true => Ok(document),
        false => Err(literals),
    }
}

/// The number of values that an operation, with fragments expanded, selects per Document or from the schema.
///
/// # Errors
/// When there are too many.
pub(super) fn selected(
    operation: &Operation,
    document: &ExecutableDocument,
) -> Result<usize, TooLarge> {
    let mut left = VALUES_MAX;
    count(&operation.selection_set, document, (1, DEPTH_MAX), &mut left)?;
    Ok(VALUES_MAX - left)
}

/// Checks that an answer with this many Documents stays within bounds.
///
/// # Errors
/// When it does not.
pub(super) fn bounded(selected: usize, docs: usize) -> Result<(), TooLarge> {
    match selected.saturating_mul(docs) <= VALUES_MAX {
        true => Ok(()),
        false => Err(TooLarge),
    }
}

/// The answer would be too large.
#[derive(Debug, thiserror::Error)]
#[error("The answer has more than {VALUES_MAX} values.")]
pub(super) struct TooLarge;

fn count(
    set: &SelectionSet,
    document: &ExecutableDocument,
    (times, depth): (usize, usize),
    left: &mut usize,
) -> Result<(), TooLarge> {
    /// Assumed length of a list of types, fields, arguments or values: more than most have.
    const LISTED: usize = 20;
    let depth = depth.checked_sub(1).ok_or(TooLarge)?;
    for selection in &set.selections {
        *left = left.checked_sub(times).ok_or(TooLarge)?;
        let (set, times) = match selection {
            Selection::Field(field) => {
                let of_schema = field.ty().inner_named_type().starts_with("__");
                let listed = if of_schema && field.ty().is_list() { LISTED } else { 1 };
                (&field.selection_set, times.saturating_mul(listed))
            }
            Selection::InlineFragment(inline) => (&inline.selection_set, times),
            Selection::FragmentSpread(spread) => {
                match document.fragments.get(&spread.fragment_name) {
                    Some(fragment) => (&fragment.selection_set, times),
                    None => continue,
                }
            }
        };
        count(set, document, (times, depth), left)?;
    }
    Ok(())
}

/// The scalar that holds JSON as text.
const JSON_SCALAR: &str = "JSONScalar";

/// Why a value is not JSON as text.
#[derive(Debug, thiserror::Error)]
#[error("Expected value of type '{JSON_SCALAR}', found {written}; {why}")]
pub(super) struct NoJson {
    written: String,
    why: Unfit,
}

#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("{0}")]
    Json(serde_json::Error),
    #[error("the JSON object must be str, bytes or bytearray, not {0}")]
    Class(&'static str),
}

/// The JSON that a value holds as text. `written` is the value as its sender wrote it.
pub(super) fn json_scalar(
    value: &Value,
    written: impl FnOnce() -> String,
) -> Result<Value, NoJson> {
    let read = match value {
        Value::Null => Ok(Value::Null),
        Value::String(text) => serde_json::from_str(text).map_err(Unfit::Json),
        other => Err(Unfit::Class(python_class(other))),
    };
    read.map_err(|why| NoJson { written: written(), why })
}

/// Finds literals in a query that are invalid for Jina's custom scalars.
fn literal(
    value: &Node<Literal>,
    of: &Type,
    document: &ExecutableDocument,
) -> Result<(), Box<GraphQLError>> {
    match (&**value, SCHEMA.get_input_object(of.inner_named_type())) {
        (Literal::List(items), _) => {
            items.iter().try_for_each(|item| literal(item, of.item_type(), document))
        }
        (Literal::Object(fields), Some(known)) => fields.iter().try_for_each(|(name, value)| {
            let known = known.fields.get(name);
            known.map_or(Ok(()), |known| literal(value, &known.ty, document))
        }),
        (Literal::Variable(_), _) => Ok(()),
        (written, _) => {
            if of.inner_named_type() != JSON_SCALAR {
                return Ok(());
            }
            let shown = || written.serialize().no_indent().to_string();
            json_scalar(&json(written), shown).map(drop).map_err(|error| {
                Box::new(GraphQLError::new(error.to_string(), value.location(), &document.sources))
            })
        }
    }
}

/// The value of a literal in a query; variables in it are `null`.
fn json(value: &Literal) -> Value {
    match value {
        Literal::Null | Literal::Variable(_) => Value::Null,
        Literal::Enum(name) => name.as_str().into(),
        Literal::String(text) => text.as_str().into(),
        Literal::Boolean(value) => (*value).into(),
        Literal::Int(number) => serde_json::from_str(number.as_str()).unwrap_or_default(),
        Literal::Float(number) => serde_json::from_str(number.as_str()).unwrap_or_default(),
        Literal::List(items) => items.iter().map(|item| json(item)).collect(),
        Literal::Object(fields) => {
            fields.iter().map(|(name, value)| (name.to_string(), json(value))).collect()
        }
    }
}

/// Converts mistakes to graphql-core's form: unlike graphql-js, it quotes names differently, locates a field
/// at its name, and reports no missing selection where merely the selected fields are unknown.
fn told(query: &str, errors: &DiagnosticList) -> Errors {
    let named = |name: &'static str| {
        move |error: &Diagnostic<'_, DiagnosticData>| {
            error.error.unstable_error_name() == Some(name)
        }
    };
    // Read once, and only when a mistake needs them.
    let tokens = LazyCell::new(|| Lexer::new(query).lex().0);
    let unknown_field = errors.iter().any(|error| named("UndefinedField")(&error));
    errors
        .iter()
        .filter(|error| !(unknown_field && named("MissingSubselection")(error)))
        .take(ERRORS_MAX)
        .map(|error| {
            let mut told = error.unstable_to_json_compat();
            told.message = told.message.replace('"', "'");
            if named("UndefinedInputValue")(&error) {
                let value = error.error.location().map_or(0, |at| at.offset());
                let names = tokens.iter().filter(|token| token.kind() == TokenKind::Name);
                let name = names.take_while(|token| token.index() < value).last();
                if let (Some(name), Some(at)) = (name, told.locations.first_mut()) {
                    *at = place(query, name.index());
                }
            }
            told
        })
        .collect()
}

/// Line and column in a query, from 1.
fn place(query: &str, index: usize) -> LineColumn {
    let before = query.get(..index).unwrap_or(query);
    let line = before.rsplit('\n').next().unwrap_or_default();
    LineColumn { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

/// The syntax error of a query, in graphql-core's words.
fn syntax(query: &str, errors: &DiagnosticList, limited: bool) -> Errors {
    let Some(first) = errors.iter().next() else { return Vec::new() };
    let mut told = first.to_json();
    if !limited {
        let index = first.error.location().map_or(query.len(), |at| at.offset());
        told.message = format!("Syntax Error: {}", unexpected(query, index));
    }
    vec![told]
}

fn unexpected(query: &str, index: usize) -> String {
    let (tokens, _) = Lexer::new(query).lex();
    let (mut before, mut found) = (TokenKind::Eof, "<EOF>".to_owned());
    for token in &tokens {
        match token.kind() {
            TokenKind::Whitespace | TokenKind::Comment | TokenKind::Comma => (),
            kind if token.index() < index => before = kind,
            TokenKind::Eof => break,
            _ => {
                found = format!("'{}'", token.data());
                break;
            }
        }
    }
    match before {
        // At the beginning, and where a value is required.
        TokenKind::Eof | TokenKind::Colon | TokenKind::Eq | TokenKind::LBracket => {
            format!("Unexpected {found}.")
        }
        _ => format!("Expected Name, found {found}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(query: &str) -> (String, (usize, usize)) {
        let errors = read(query).expect_err(query);
        let at = errors[0].locations.first().map(|at| (at.line, at.column));
        (errors[0].message.clone(), at.unwrap_or_default())
    }

    #[test]
    fn mistakes_are_told_as_by_graphql_core() {
        for (text, message, at) in [
            ("mutation { docs(data: {text: \"t\" }", "Expected Name, found <EOF>.", (1, 35)),
            ("mutation { docs(data: ", "Unexpected <EOF>.", (1, 23)),
            ("   ", "Unexpected <EOF>.", (1, 4)),
            ("{ }", "Expected Name, found '}'.", (1, 3)),
            ("{ docs(", "Expected Name, found <EOF>.", (1, 8)),
        ] {
            assert_eq!(mistake(text), (format!("Syntax Error: {message}"), at), "{text}");
        }
        for text in ["{ docs(data: {id: 'd'}) { id } }", "{ a(b: \"x\ny\") }", "{ a }\n ?"] {
            assert!(mistake(text).0.starts_with("Syntax Error: "), "{text}");
        }
        for (text, message) in [
            ("{ docs { colour } }", "Cannot query field 'colour' on type 'StrawberryDocument'."),
            ("{ docs(limit: 3) { id } }", "Unknown argument 'limit' on field 'Query.docs'."),
            (
                "{ docs(data: {colour: 3}) { id } }",
                "Field 'colour' is not defined by type 'StrawberryDocumentInput'.",
            ),
            ("{ docs(data: {text: 3}) { id } }", "String cannot represent value: 3"),
            ("{ docs(data: {id: $id}) { id } }", "Variable '$id' is not defined."),
            ("query ($id: Text) { docs { id } }", "Unknown type 'Text'."),
            ("{ docs { ...F } }", "Unknown fragment 'F'."),
            ("{ docs @often { id } }", "Unknown directive '@often'."),
            (
                "{ docs(data: {tags: 3}) { id } }",
                "Expected value of type 'JSONScalar', found 3; the JSON object must be str, bytes or bytearray, not int",
            ),
        ] {
            assert_eq!(mistake(text).0, message, "{text}");
        }
    }

    #[test]
    fn queries_that_would_grow_without_bound_are_refused() {
        assert!(mistake(&"{a".repeat(100_000)).0.contains("limit"));
        assert!(mistake(&format!("{{ docs(data: {}", "[".repeat(100_000))).0.contains("limit"));
        let mut chain = "{ docs { ...F0 } }".to_owned();
        for i in 0..10_000 {
            chain += &format!("fragment F{i} on StrawberryDocument {{ ...F{} }}", i + 1);
        }
        assert!(read(&chain).is_err());

        let fits = |query: &str| {
            let document = read(query).expect("it is valid");
            let operation = document.operations.iter().next().expect("it has one");
            selected(operation, &document).is_ok()
        };
        let mut bomb = "{ docs { ...F0 } }".to_owned();
        for i in 0..40 {
            let next = i + 1;
            bomb += &format!(
                "fragment F{i} on StrawberryDocument {{ a: chunks {{ ...F{next} }} b: chunks {{ ...F{next} }} }}"
            );
        }
        bomb += "fragment F40 on StrawberryDocument { id }";
        assert!(!fits(&bomb));
        let deep = "fields { type { ".repeat(4) + "name" + &" } }".repeat(4);
        assert!(!fits(&format!("{{ __schema {{ types {{ {deep} }} }} }}")));
        assert!(fits(
            "{ __schema { types { name fields { name args { name type { name } } } } } }"
        ));
    }
}
