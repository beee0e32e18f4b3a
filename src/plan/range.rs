//! Checks counts against their limits.

use crate::source::{Problem, Spot};

/// Reports a count that is out of range.
pub(super) fn in_range(
    value: u64,
    key: &str,
    min: u64,
    max: u64,
    at: Spot<'_>,
    problems: &mut Vec<Problem>,
) -> u64 {
    if value < min || value > max {
        at.problem(
            problems,
            format!("`{key}` must be from {min} to {max}, found `{value}`"),
            |problem| problem,
        );
    }
    value.clamp(min, max)
}
