//! `p99 < 250ms`: written here, judged in `threshold.rs`.

/// A metric, a comparison and a limit.
#[derive(Clone, Debug)]
pub struct Condition {}
