//! Texts with expressions in them.

use std::fmt;

use minijinja::value::Value;

use super::expression::{Expression, shortened};
use super::{Context, TemplateError};

/// A text with expressions in it.
#[derive(Clone, Debug)]
pub(crate) struct Pieces(pub(super) Vec<Piece>);

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(String),
    Expression(Expression),
}

/// A text cut at its expressions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    Text(&'a str),
    Expression(&'a str),
}

/// Whether a text contains any expressions.
pub(crate) fn has_expressions(text: &str) -> bool {
    text.contains("${{")
}

pub(super) fn cut(text: &str) -> Result<Vec<Cut<'_>>, TemplateError> {
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

/// The position of the `}}` that closes an expression: outside strings and maps.
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

impl Pieces {
    /// Cuts a text at its expressions, which may use the names in `known`.
    ///
    /// # Errors
    /// When an expression does not compile.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Pieces, TemplateError> {
        Pieces::of(cut(text)?, known)
    }

    pub(super) fn of(cuts: Vec<Cut<'_>>, known: &[&str]) -> Result<Pieces, TemplateError> {
        let pieces = cuts.into_iter().map(|cut| {
            Ok(match cut {
                Cut::Text(text) => Piece::Text(text.to_owned()),
                Cut::Expression(text) => Piece::Expression(Expression::compile(text, known)?),
            })
        });
        pieces.collect::<Result<_, _>>().map(Pieces)
    }

    /// The expressions in it.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Expression(expression) => Some(expression),
        })
    }

    /// The text with its expressions, with `vars` and `matrix` replaced by their values.
    pub(crate) fn inlined(&self, context: &Context) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Expression(expression) => {
                format!("${{{{ {} }}}}", expression.inlined(context))
            }
        };
        self.0.iter().map(piece).collect()
    }

    /// The text with its values: strings as they are, others as JSON. All expressions share `root`, so that
    /// their random calls continue counting. `context` registers secret values.
    ///
    /// # Errors
    /// When an expression has no value.
    pub(crate) fn render(&self, context: &Context, root: Value) -> Result<String, TemplateError> {
        let mut sum = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => sum.push_str(text),
                Piece::Expression(expression) => match context.json(expression, root.clone())? {
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
