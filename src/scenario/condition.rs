//! `p99 < 250ms`: written here, judged in `threshold.rs`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::units::{Percentage, Quantile, Rate, Span};

/// A metric, a comparison and a limit, as in `search.p99 < 50ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The step it is about; `None`: the whole scenario.
    pub step: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// How it must stand to the limit.
    pub comparison: Comparison,
    /// In the unit of the metric, see [`Metric::unit`].
    pub limit: f64,
    // As written, one space between the parts.
    text: String,
}

/// A number of a scenario's summary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// From due to done, of ok requests; failures rank as slowest. Written without a qualifier.
    ResponseTime(Statistic),
    /// From sent to done. Written `service.p99`.
    ServiceTime(Statistic),
    /// (response and transport errors + timeouts + dropped + abandoned) / arrivals.
    ErrorRate,
    /// Response and transport errors and timeouts.
    Errors,
    /// Arrivals without a free slot.
    Dropped,
    /// Assertions that did not hold.
    AssertionFailures,
    /// Requests that came back ok, a second.
    Throughput,
    /// Documents of them, a second.
    DocumentsPerSecond,
    /// Requests sent.
    Requests,
    /// Documents that were sent and did not come back, of requests whose response had some.
    DocumentsMissing,
}

/// One number of a latency distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// `p99`.
    Quantile(Quantile),
    /// The smallest.
    Min,
    /// The arithmetic mean.
    Mean,
    /// The largest.
    Max,
}

/// How a metric must stand to its limit.
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

/// The unit of a metric and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Milliseconds; written as a duration.
    Milliseconds,
    /// From 0 to 1; written `0.1%`, or as 0.
    Fraction,
    /// A second; written `900/s`.
    PerSecond,
    /// A whole number.
    Count,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// There are no three parts.
    #[error("expected a condition such as `p99 < 50ms`, found `{0}`")]
    Form(String),
    /// The first part is no metric.
    #[error("unknown metric `{found}`{}", hint(.found))]
    Metric {
        /// What there was.
        found: String,
    },
    /// The last part does not fit the metric.
    #[error("`{metric}` is compared with {expected}, found `{found}`")]
    Limit {
        /// As written.
        metric: String,
        /// For example "a duration such as `50ms`".
        expected: &'static str,
        /// What there was.
        found: String,
    },
}

/// Every metric but the quantiles, which are endless.
const METRICS: [(&str, Metric); 11] = [
    ("min", Metric::ResponseTime(Statistic::Min)),
    ("mean", Metric::ResponseTime(Statistic::Mean)),
    ("max", Metric::ResponseTime(Statistic::Max)),
    ("error_rate", Metric::ErrorRate),
    ("errors", Metric::Errors),
    ("dropped", Metric::Dropped),
    ("assertion_failures", Metric::AssertionFailures),
    ("throughput", Metric::Throughput),
    ("documents_per_second", Metric::DocumentsPerSecond),
    ("requests", Metric::Requests),
    ("documents_missing", Metric::DocumentsMissing),
];

fn hint(found: &str) -> String {
    let names = METRICS.iter().map(|(name, _)| *name).chain(["p50", "p90", "p95", "p99", "p99.9"]);
    let last = found.rsplit('.').next().unwrap_or(found);
    match crate::units::nearest(last, names) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => ", expected one of p50 … p99.99, min, mean, max, error_rate, errors, dropped, \
                 assertion_failures, throughput, documents_per_second, documents_missing, requests"
            .into(),
    }
}

/// Why a condition cannot be an objective of a search for capacity.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// It is on the load, which the search varies.
    #[error(
        "`{0}` is no objective of a search, which varies the load itself; use a latency or `error_rate`"
    )]
    Load(Condition),
    /// It is on what does not depend on the load.
    #[error(
        "`{0}` is no objective of a search, for no load makes Documents go missing; it can be a \
         threshold of the scenario"
    )]
    Missing(Condition),
    /// It limits a latency from below.
    #[error("an objective limits a latency from above, as in `p99 < 100ms`, found `{0}`")]
    Latency(Condition),
    /// It limits failures from below.
    #[error("an objective limits failures from above, as in `error_rate < 1%`, found `{0}`")]
    Failures(Condition),
    /// No measurement can fulfil it.
    #[error("nothing is ever below zero: `{0}` cannot hold")]
    BelowZero(Condition),
}

impl Condition {
    /// Whether `actual`, in the metric's unit, satisfies it. Infinity is "beyond all"; what cannot
    /// be compared (NaN) does not hold.
    pub fn holds(&self, actual: f64) -> bool {
        match self.comparison {
            Comparison::Less => actual < self.limit,
            Comparison::AtMost => actual <= self.limit,
            Comparison::Greater => actual > self.limit,
            Comparison::AtLeast => actual >= self.limit,
            Comparison::Equal => actual == self.limit,
            Comparison::NotEqual => !actual.is_nan() && actual != self.limit,
        }
    }

    /// Whether it can end a load while it runs. A count is of the whole load and only grows, so it can
    /// exceed a limit before the end, and not fall short of one.
    pub fn can_abort(&self) -> bool {
        let upper = match self.comparison {
            Comparison::Less | Comparison::AtMost => true,
            Comparison::Equal => self.limit == 0.0,
            Comparison::Greater | Comparison::AtLeast | Comparison::NotEqual => false,
        };
        upper || self.metric.unit() != MetricUnit::Count
    }

    /// Whether it can be an objective of a search for capacity: it limits, from above, what more load
    /// makes worse.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check_objective(&self) -> Result<(), ObjectiveError> {
        let upper = matches!(self.comparison, Comparison::Less | Comparison::AtMost);
        let none = self.comparison == Comparison::Equal && self.limit == 0.0;
        Err(match self.metric {
            Metric::Throughput | Metric::DocumentsPerSecond | Metric::Requests => {
                ObjectiveError::Load(self.clone())
            }
            Metric::DocumentsMissing => ObjectiveError::Missing(self.clone()),
            Metric::ResponseTime(_) | Metric::ServiceTime(_) if !upper => {
                ObjectiveError::Latency(self.clone())
            }
            Metric::ErrorRate | Metric::Errors | Metric::Dropped | Metric::AssertionFailures
                if !upper && !none =>
            {
                ObjectiveError::Failures(self.clone())
            }
            _ if self.comparison == Comparison::Less && self.limit == 0.0 => {
                ObjectiveError::BelowZero(self.clone())
            }
            _ => return Ok(()),
        })
    }
}

impl Metric {
    /// The unit of its values and limits.
    pub fn unit(self) -> MetricUnit {
        match self {
            Metric::ResponseTime(_) | Metric::ServiceTime(_) => MetricUnit::Milliseconds,
            Metric::ErrorRate => MetricUnit::Fraction,
            Metric::Throughput | Metric::DocumentsPerSecond => MetricUnit::PerSecond,
            Metric::Errors
            | Metric::Dropped
            | Metric::AssertionFailures
            | Metric::Requests
            | Metric::DocumentsMissing => MetricUnit::Count,
        }
    }

    /// Whether it is a latency: those need samples to be judged.
    pub fn is_latency(self) -> bool {
        self.unit() == MetricUnit::Milliseconds
    }

    /// `p99` may be told from a step named `p99` by its place: the metric is the last part.
    fn parse(name: &str) -> Option<Metric> {
        if let Some((_, metric)) = METRICS.iter().find(|(known, _)| *known == name) {
            return Some(*metric);
        }
        name.parse().ok().map(|quantile| Metric::ResponseTime(Statistic::Quantile(quantile)))
    }
}

impl Comparison {
    const ALL: [(&str, Comparison); 6] = [
        // Two signs before one, so that `<=` is not read as `<`.
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
}

/// Splits `search.service.p99.9` into its step, whether it is service time, and the metric.
pub fn parse_metric(text: &str) -> Option<(Option<String>, Metric)> {
    // The metric is the longest tail that is one: `p99.9` has a point of its own.
    let starts = std::iter::once(0).chain(text.match_indices('.').map(|(at, _)| at + 1));
    let (at, metric) =
        starts.filter_map(|at| Metric::parse(&text[at..]).map(|metric| (at, metric))).next()?;
    let before = text[..at].strip_suffix('.').unwrap_or("");
    let (step, service) = match before.strip_suffix("service") {
        Some("") => ("", true),
        Some(step) if step.ends_with('.') => (&step[..step.len() - 1], true),
        _ => (before, false),
    };
    let metric = match (service, metric) {
        (false, metric) => metric,
        (true, Metric::ResponseTime(statistic)) => Metric::ServiceTime(statistic),
        (true, _) => return None,
    };
    Some(((!step.is_empty()).then(|| step.to_owned()), metric))
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
        let (step, metric) =
            parse_metric(left).ok_or_else(|| ConditionError::Metric { found: left.into() })?;
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
                // Is 1 one per cent or all of them? Only of nothing there is no doubt.
                Err(_) if right.parse() == Ok(0.0) => 0.0,
                Err(_) => return Err(wrong("a percentage such as `0.1%`")),
            },
            MetricUnit::PerSecond => match right {
                "0" | "0/s" => 0.0,
                _ => {
                    right.parse::<Rate>().map_err(|_| wrong("a rate such as `900/s`"))?.per_second()
                }
            },
            MetricUnit::Count => {
                right.parse::<u32>().map_err(|_| wrong("a whole number such as `0`"))?.into()
            }
        };
        Ok(Condition { step, metric, comparison, limit, text: format!("{left} {sign} {right}") })
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
        let p = |percent| Statistic::Quantile(Quantile::from_percent(percent).expect("a quantile"));
        for (text, step, metric, comparison, limit) in [
            ("p99 < 50ms", None, Metric::ResponseTime(p(99.0)), Comparison::Less, 50.0),
            ("p99.9<1s", None, Metric::ResponseTime(p(99.9)), Comparison::Less, 1000.0),
            ("service.p50 <= 5ms", None, Metric::ServiceTime(p(50.0)), Comparison::AtMost, 5.0),
            (
                "search.p99 < 50ms",
                Some("search"),
                Metric::ResponseTime(p(99.0)),
                Comparison::Less,
                50.0,
            ),
            (
                "a.b.service.p99.9 < 2s",
                Some("a.b"),
                Metric::ServiceTime(p(99.9)),
                Comparison::Less,
                2000.0,
            ),
            ("error_rate < 0.1%", None, Metric::ErrorRate, Comparison::Less, 0.001),
            ("error_rate == 0", None, Metric::ErrorRate, Comparison::Equal, 0.0),
            ("throughput > 900/s", None, Metric::Throughput, Comparison::Greater, 900.0),
            ("requests >= 100", None, Metric::Requests, Comparison::AtLeast, 100.0),
            ("dropped != 3", None, Metric::Dropped, Comparison::NotEqual, 3.0),
        ] {
            let condition = read(text);
            assert_eq!(condition.step.as_deref(), step, "{text}");
            assert_eq!(condition.metric, metric, "{text}");
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
