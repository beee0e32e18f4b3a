//! `p99 < 250ms`: parsed here, evaluated in `threshold.rs`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::metric::{Measure, Metric, MetricError, MetricUnit};
use crate::units::{ByteSize, Percentage, Rate, Span};

/// A metric, a comparison and a limit, as in `search.p99 < 50ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What is measured.
    pub metric: Metric,
    /// How it is compared to the limit.
    pub comparison: Comparison,
    /// In the unit of the metric, see [`Metric::unit`].
    pub limit: f64,
    // As written, one space between the parts.
    text: String,
}

/// How a metric is compared to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Why a text is not a valid condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It does not have three parts.
    #[error("expected a condition such as `p99 < 50ms`, found `{0}`")]
    Form(String),
    /// The first part is not a metric.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The last part is not a valid limit of the metric.
    #[error("`{metric}` is compared with {expected}, found `{found}`")]
    Limit {
        /// As written.
        metric: String,
        /// For example "a duration such as `50ms`".
        expected: &'static str,
        /// The text found.
        found: String,
    },
}

/// Why a valid condition cannot be an objective of a capacity search.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ObjectiveError {
    /// It is a condition on the load, which the search varies.
    #[error(
        "`{0}` cannot be an objective of a search, which varies the load itself; use a latency \
         or `error_rate`"
    )]
    Load(String),
    /// Its metric does not depend on the load.
    #[error(
        "`{0}` cannot be an objective of a search, because no load makes Documents go missing; \
         use it as a threshold of the scenario"
    )]
    Missing(String),
    /// It is a lower limit on a latency.
    #[error("an objective limits a latency from above, as in `p99 < 100ms`, found `{0}`")]
    Latency(String),
    /// It is a lower limit on failures.
    #[error("an objective limits failures from above, as in `error_rate < 1%`, found `{0}`")]
    Failures(String),
    /// No measurement can meet it.
    #[error("`{0}` can never be met: no value is below zero")]
    BelowZero(String),
}

impl Condition {
    /// Whether `actual`, in the metric's unit, meets the condition. Infinity exceeds every limit; NaN meets no
    /// condition.
    pub(crate) fn holds(&self, actual: f64) -> bool {
        match self.comparison {
            Comparison::Less => actual < self.limit,
            Comparison::AtMost => actual <= self.limit,
            Comparison::Greater => actual > self.limit,
            Comparison::AtLeast => actual >= self.limit,
            Comparison::Equal => actual == self.limit,
            Comparison::NotEqual => !actual.is_nan() && actual != self.limit,
        }
    }

    /// Whether it can end a load while it runs. A count covers the whole load and only grows, so an upper limit
    /// can fail early, but a lower one cannot.
    pub(crate) fn can_abort(&self) -> bool {
        let upper = match self.comparison {
            Comparison::Less | Comparison::AtMost => true,
            Comparison::Equal => self.limit == 0.0,
            Comparison::Greater | Comparison::AtLeast | Comparison::NotEqual => false,
        };
        upper || self.metric.unit() != MetricUnit::Count
    }

    /// Checks that it can be an objective of a capacity search: an upper limit on something that more load
    /// makes worse.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn check_objective(&self) -> Result<(), ObjectiveError> {
        let upper = matches!(self.comparison, Comparison::Less | Comparison::AtMost);
        let none = self.comparison == Comparison::Equal && self.limit == 0.0;
        Err(match self.metric.measure {
            Measure::Throughput | Measure::DocumentsPerSecond | Measure::Requests => {
                ObjectiveError::Load(self.to_string())
            }
            Measure::DocumentsMissing => ObjectiveError::Missing(self.to_string()),
            Measure::Latency(..) if !upper => ObjectiveError::Latency(self.to_string()),
            Measure::ErrorRate
            | Measure::Errors
            | Measure::Dropped
            | Measure::AssertionFailures
            | Measure::Counter(_)
                if !upper && !none =>
            {
                ObjectiveError::Failures(self.to_string())
            }
            _ if self.comparison == Comparison::Less && self.limit == 0.0 => {
                ObjectiveError::BelowZero(self.to_string())
            }
            _ => return Ok(()),
        })
    }
}

impl Comparison {
    const ALL: [(&str, Comparison); 6] = [
        // Two-character signs first, so that `<=` is not read as `<`.
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Condition, ConditionError> {
        let form = || ConditionError::Form(text.into());
        let (at, sign, comparison) = Comparison::ALL
            .iter()
            .find_map(|(sign, comparison)| text.find(sign).map(|at| (at, *sign, *comparison)))
            .ok_or_else(form)?;
        let (left, right) = (text[..at].trim(), text[at + sign.len()..].trim());
        if left.is_empty() || right.is_empty() {
            return Err(form());
        }
        let metric: Metric = left.parse()?;
        let wrong =
            |expected| ConditionError::Limit { metric: left.into(), expected, found: right.into() };
        let limit = match metric.unit() {
            MetricUnit::Milliseconds => {
                let span: Span =
                    right.parse().map_err(|_| wrong("a duration such as `50ms` or `1s`"))?;
                span.get().as_secs_f64() * 1000.0
            }
            MetricUnit::Fraction => match right.parse::<Percentage>() {
                Ok(percentage) => percentage.fraction(),
                // Is 1 meant as 1 % or as 100 %? Only 0 is unambiguous.
                Err(_) if right.parse() == Ok(0.0) => 0.0,
                Err(_) => return Err(wrong("a percentage such as `0.1%`")),
            },
            MetricUnit::PerSecond => match right {
                "0" | "0/s" => 0.0,
                _ => {
                    right.parse::<Rate>().map_err(|_| wrong("a rate such as `900/s`"))?.per_second()
                }
            },
            MetricUnit::Number => {
                let number = right.parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| wrong("a number such as `50` or `0.8`"))?
            }
            MetricUnit::Bytes => {
                let size: ByteSize = right.parse().map_err(|_| wrong("a size such as `2GiB`"))?;
                size.bytes() as f64
            }
            MetricUnit::Count => {
                right.parse::<u32>().map_err(|_| wrong("a whole number such as `0`"))?.into()
            }
        };
        Ok(Condition { metric, comparison, limit, text: format!("{left} {sign} {right}") })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        struct ConditionVisitor;

        impl Visitor<'_> for ConditionVisitor {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a condition such as `p99 < 50ms`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(ConditionVisitor)
    }
}

impl JsonSchema for Condition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "title": "a metric, a comparison and a limit",
            "examples": ["p99 < 50ms", "service.p50 <= 5ms", "error_rate < 0.1%", "throughput > 900/s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Condition {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn conditions_have_metric_comparison_and_limit() {
        for (text, metric, comparison, limit) in [
            ("p99 < 50ms", "p99", Comparison::Less, 50.0),
            ("p99.9<1s", "p99.9", Comparison::Less, 1000.0),
            ("service.p50 <= 5ms", "service.p50", Comparison::AtMost, 5.0),
            ("search.p99 < 50ms", "search.p99", Comparison::Less, 50.0),
            ("executor.my encoder.p99 < 2s", "executor.my encoder.p99", Comparison::Less, 2000.0),
            ("error_rate < 0.1%", "error_rate", Comparison::Less, 0.001),
            ("error_rate == 0", "error_rate", Comparison::Equal, 0.0),
            ("throughput > 900/s", "throughput", Comparison::Greater, 900.0),
            ("requests >= 100", "requests", Comparison::AtLeast, 100.0),
            ("count.empty != 3", "count.empty", Comparison::NotEqual, 3.0),
        ] {
            let condition = read(text);
            assert_eq!(condition.metric, metric.parse().expect(metric), "{text}");
            assert_eq!(condition.comparison, comparison, "{text}");
            assert_eq!(condition.limit, limit, "{text}");
            assert_eq!(read(&condition.to_string()), condition, "{text}");
        }
    }

    #[test]
    fn wrong_conditions_say_what_is_wrong() {
        for (text, message) in [
            ("fast", "expected a condition such as `p99 < 50ms`, found `fast`"),
            ("p99 <", "expected a condition such as `p99 < 50ms`, found `p99 <`"),
            ("erorr_rate < 1%", "unknown metric `erorr_rate`, did you mean `error_rate`?"),
            ("p99 < 50", "`p99` is compared with a duration such as `50ms` or `1s`, found `50`"),
            ("throughput > 5", "`throughput` is compared with a rate such as `900/s`, found `5`"),
            ("errors < 1%", "`errors` is compared with a whole number such as `0`, found `1%`"),
            (
                "error_rate < 2",
                "`error_rate` is compared with a percentage such as `0.1%`, found `2`",
            ),
        ] {
            let error = text.parse::<Condition>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn what_cannot_be_compared_does_not_hold() {
        assert!(read("p99 < 50ms").holds(49.9));
        assert!(!read("p99 < 50ms").holds(50.0));
        assert!(!read("p99 < 50ms").holds(f64::INFINITY));
        for text in ["p99 < 50ms", "p99 != 50ms", "throughput >= 1/s"] {
            assert!(!read(text).holds(f64::NAN), "{text}");
        }
    }
}
