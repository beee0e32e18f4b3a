//! `${{ … }}`: the one place that knows minijinja's expressions.

/// A value with expressions in it, parsed once, evaluated as often as wanted.
#[derive(Clone, Debug)]
pub struct Template {}
