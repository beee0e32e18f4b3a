//! Mistakes in a query, and what went wrong with a field.

use apollo_parser::SyntaxNode;
use serde_json::{Value, json};

/// Line and column in a query, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pos {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Pos {
    /// The position after so many bytes of a query.
    pub(super) fn of(query: &str, index: usize) -> Pos {
        let before = query.get(..index).unwrap_or(query);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Pos { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

/// An error of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) at: Pos,
    /// The field of the answer that is missing because of it.
    pub(super) path: Option<String>,
}

impl Problem {
    /// A mistake in a query.
    pub(super) fn new(message: String, query: &str, node: &SyntaxNode) -> Problem {
        let at = Pos::of(query, node.text_range().start().into());
        Problem { message, at, path: None }
    }

    pub(super) fn to_value(&self) -> Value {
        let Pos { line, column } = self.at;
        let mut value = json!({
            "message": self.message,
            "locations": [{"line": line, "column": column}],
        });
        if let Some(path) = &self.path {
            value["path"] = json!([path]);
        }
        value
    }
}
