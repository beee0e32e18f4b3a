//! `${{ … }}`: the one place that knows minijinja's expressions.

/// A value with expressions in it, parsed once, evaluated as often as wanted.
#[derive(Clone, Debug)]
pub struct Template {}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}`: {reason}")]
pub struct TemplateError {
    /// As written.
    pub expression: String,
    /// minijinja's words.
    pub reason: String,
}

impl Template {
    /// Whether it has the same value always.
    pub fn is_constant(&self) -> bool {
        unimplemented!()
    }
}
