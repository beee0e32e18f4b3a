//! What one response must look like.

/// An expression on a response, parsed once.
#[derive(Clone, Debug)]
pub struct Assertion {}
