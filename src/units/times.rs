//! How files describe random times: what service times and pauses have in common.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// The standard normal's 99th percentile.
pub(crate) const Z99: f64 = 2.326_347_874_040_841;

/// `{min: 1ms, max: 5ms}`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bounds {
    /// The shortest.
    pub min: Span,
    /// The longest.
    pub max: Span,
}

/// `{median: 5ms, p99: 40ms}`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quantiles {
    /// Half of all times are no longer.
    pub median: Span,
    /// 99 of 100 times are no longer.
    pub p99: Span,
}

/// Why these times are invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum TimesError {
    #[error("`min` must not be above `max`, found {min} and {max}")]
    Bounds { min: Span, max: Span },
    #[error("`median` must be above zero and not above `p99`, found {median} and {p99}")]
    Quantiles { median: Span, p99: Span },
}

impl Bounds {
    /// From durations set by a program.
    pub(crate) fn of(min: Duration, max: Duration) -> Bounds {
        Bounds { min: span(min), max: span(max) }
    }

    /// The shortest and the longest time.
    ///
    /// # Errors
    /// When the shortest is longer than the longest.
    pub(crate) fn get(self) -> Result<(Duration, Duration), TimesError> {
        let Bounds { min, max } = self;
        if min > max {
            return Err(TimesError::Bounds { min, max });
        }
        Ok((min.get(), max.get()))
    }
}

impl Quantiles {
    /// From durations set by a program.
    pub(crate) fn of(median: Duration, p99: Duration) -> Quantiles {
        Quantiles { median: span(median), p99: span(p99) }
    }

    /// Median and 99th percentile.
    ///
    /// # Errors
    /// When the median is zero or above the 99th percentile.
    pub(crate) fn get(self) -> Result<(Duration, Duration), TimesError> {
        let Quantiles { median, p99 } = self;
        if median.get().is_zero() || median > p99 {
            return Err(TimesError::Quantiles { median, p99 });
        }
        Ok((median.get(), p99.get()))
    }
}

/// A time to be shown. Times from files have been checked; a program may set any.
pub(crate) fn span(time: Duration) -> Span {
    Span::new(time).unwrap_or_default()
}

/// Mean and standard deviation of the logarithm of a lognormal time in seconds.
pub(crate) fn lognormal(median: Duration, p99: Duration) -> (f64, f64) {
    let mu = median.as_secs_f64().ln();
    (mu, (p99.as_secs_f64().ln() - mu) / Z99)
}
