//! A latency distribution: figures, and the histogram they come from.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::validity::can_tell;
use crate::record::{Histogram, HistogramError};

/// A latency distribution in ms. Without values, everything but `count` and `beyond` is null. A
/// quantile is also null if it is beyond an hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Number of values.
    pub count: u64,
    /// Minimum, exact.
    pub min: Option<f64>,
    /// Mean, exact.
    pub mean: Option<f64>,
    /// Standard deviation.
    pub stddev: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p99_9: Option<f64>,
    /// 99.99th percentile.
    #[serde(rename = "p99.99")]
    pub p99_99: Option<f64>,
    /// Maximum, exact.
    pub max: Option<f64>,
    /// Number of values above an hour, which the histogram does not contain.
    pub beyond: u64,
    /// Compressed HdrHistogram V2 in base64, with values in µs. Null if there are no values.
    pub histogram: Option<String>,
}

impl Latency {
    /// The figures of a histogram.
    pub fn new(histogram: &Histogram) -> Latency {
        let quantile = |quantile| histogram.quantile(quantile).map(ms);
        Latency {
            count: histogram.count(),
            min: histogram.min().map(ms),
            mean: histogram.mean().map(ms),
            stddev: histogram.stddev().map(ms),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            p99_99: quantile(0.9999),
            max: histogram.max().map(ms),
            beyond: histogram.beyond(),
            histogram: (histogram.count() > 0).then(|| histogram.to_base64()),
        }
    }

    /// The p99, if there are enough requests for it.
    pub fn told_p99(&self) -> Option<f64> {
        self.p99.filter(|_| can_tell(0.99, self.count))
    }

    /// The p90, if there are enough requests for it.
    pub fn told_p90(&self) -> Option<f64> {
        self.p90.filter(|_| can_tell(0.9, self.count))
    }

    /// The p95, if there are enough requests for it.
    pub fn told_p95(&self) -> Option<f64> {
        self.p95.filter(|_| can_tell(0.95, self.count))
    }

    /// The sum of the values within an hour in seconds, and their number.
    pub(crate) fn sum_s(&self) -> (f64, u64) {
        let within = self.count - self.beyond.min(self.count);
        (self.mean.unwrap_or_default() / 1e3 * within as f64, within)
    }

    /// The figures that can be computed from the histogram, by their names in the saved result.
    pub fn figures(&self) -> [(&'static str, Option<f64>); 10] {
        [
            ("min", self.min),
            ("mean", self.mean),
            ("stddev", self.stddev),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p95", self.p95),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("p99.99", self.p99_99),
            ("max", self.max),
        ]
    }

    /// The histogram the figures come from.
    ///
    /// # Errors
    ///
    /// If it was modified.
    pub fn to_histogram(&self) -> Result<Histogram, HistogramError> {
        let Some(text) = &self.histogram else { return Ok(Histogram::new()) };
        let from_ms = |ms: Option<f64>| {
            Duration::try_from_secs_f64(ms.unwrap_or_default() / 1e3).unwrap_or_default()
        };
        let histogram = Histogram::from_base64(text)?;
        Ok(histogram.with_exact(from_ms(self.min), from_ms(self.max), self.beyond))
    }
}

/// Milliseconds with nanosecond resolution.
pub fn ms(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}
