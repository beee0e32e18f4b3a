//! Parsers for option values that have no type in `units`, with messages about what is expected.

use crate::client::{Compression, FamilyChoice};
use crate::compare::noise::RUNS_MIN;
use crate::flow::{PatternError, check_target_executor};
use crate::wire::Family;

/// An error that says what an option expects.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    #[error("expected KEY=VALUE, found `{0}`")]
    Pair(String),
    #[error("expected a number of Documents that is at least 1, or `all`")]
    RequestSize,
    #[error("not a regular expression: {0}")]
    TargetExecutor(#[from] PatternError),
    #[error("expected v1, v2 or auto")]
    Family,
    #[error("expected none, gzip or deflate")]
    Compression,
    #[error("expected a number that is at least 1")]
    Multiplier,
    #[error("expected whole numbers such as `1,10,100`, found `{0}`")]
    Whole(String),
    #[error("expected a whole number from 1 to 100000, found `{0}`")]
    Replicas(String),
    #[error("expected a number from {RUNS_MIN} to {RUNS_MAX}")]
    Runs,
    #[error("expected a time such as `2026-12-01T12:00:00Z`, found `{0}`")]
    Time(String),
}

/// Maximum number of runs.
const RUNS_MAX: usize = 1_000;

pub(super) fn pair(text: &str) -> Result<(String, String), ValueError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(ValueError::Pair(text.into())),
    }
}

/// A time in RFC 3339 format.
pub(super) fn timestamp(text: &str) -> Result<jiff::Timestamp, ValueError> {
    text.parse().map_err(|_| ValueError::Time(text.to_owned()))
}

/// Checks a pattern like `check` does in a suite.
pub(super) fn target_executor(text: &str) -> Result<String, ValueError> {
    check_target_executor(text)?;
    Ok(text.to_owned())
}

pub(super) fn family(text: &str) -> Result<FamilyChoice, ValueError> {
    let known = || Family::ALL.into_iter().find(|family| family.name() == text);
    match text {
        "auto" => Ok(FamilyChoice::Auto),
        _ => known().map(FamilyChoice::Is).ok_or(ValueError::Family),
    }
}

/// Also accepts Jina's spellings.
pub(super) fn compression(text: &str) -> Result<Compression, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "none" | "nocompression" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "deflate" => Ok(Compression::Deflate),
        _ => Err(ValueError::Compression),
    }
}

pub(super) fn multiplier(text: &str) -> Result<f64, ValueError> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor >= 1.0 => Ok(factor),
        _ => Err(ValueError::Multiplier),
    }
}

pub(super) fn runs(text: &str) -> Result<usize, ValueError> {
    match text.parse() {
        Ok(runs) if (RUNS_MIN..=RUNS_MAX).contains(&runs) => Ok(runs),
        _ => Err(ValueError::Runs),
    }
}

/// Parses a whole number from a list.
pub(super) fn whole(text: &str) -> Result<usize, ValueError> {
    text.parse().map_err(|_| ValueError::Whole(text.into()))
}

pub(super) fn replicas(text: &str) -> Result<u32, ValueError> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| ValueError::Replicas(text.into()))
}
