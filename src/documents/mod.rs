//! Generators and data sets: what requests carry.

/// A stream of Documents of which the `i`-th depends on the seed and `i` alone.
#[derive(Clone, Debug)]
pub struct Documents {}
