//! Gates, `p99 +10% +2ms`, and how their metrics are compared.

use std::fmt;
use std::str::FromStr;

use crate::metric::{Measure, Metric, MetricUnit, Statistic, of_other_tools};
use crate::units::{Rate, Span};

/// How much worse the candidate may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The metric it is about.
    pub metric: Metric,
    /// Relative allowance, as a share of the base's value; 0 for error rates.
    pub relative: f64,
    /// Additional absolute allowance in the unit of the metric: ms, a share, or per second.
    pub absolute: f64,
    text: String,
}

/// Why a text is not a gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Not a metric and an allowance.
    #[error("expected a gate such as `p99 +10%`, `p99 +10% +2ms` or `throughput -5%`, found `{0}`")]
    Form(String),
    /// The first part is not a metric that can be compared.
    #[error("`{found}` cannot be compared{}", hint(.found))]
    Metric {
        /// The text that was found.
        found: String,
    },
    /// The allowance has the wrong sign.
    #[error("`{metric}` gets worse when it {}; write `{metric} {}{allowance}`", if *.rises { "rises" } else { "falls" }, if *.rises { "+" } else { "-" })]
    Sign {
        /// The metric as written.
        metric: String,
        /// The allowance without its sign.
        allowance: String,
        /// Whether more is worse.
        rises: bool,
    },
    /// The allowance does not fit the metric.
    #[error("`{metric}` is allowed {expected}, found `{found}`")]
    Allowance {
        /// The metric as written.
        metric: String,
        /// For example "a percentage such as `10%`".
        expected: &'static str,
        /// The text that was found.
        found: String,
    },
}

/// Slowest value that logarithms distinguish from infinity, in ms: two hours.
const SLOWEST_MS: f64 = 7.2e6;

/// Smallest value, a hundredth of the resolution of histograms.
const FASTEST: f64 = 1e-5;

/// Logarithm of latencies and rates, also defined for zero and infinity.
pub(super) fn log(value: f64) -> f64 {
    value.clamp(FASTEST, SLOWEST_MS).ln()
}

/// How a metric is compared.
pub(super) trait Compared {
    /// Whether a larger value is worse.
    fn rises_to_worse(&self) -> bool;

    /// Whether it is compared by difference instead of ratio: a share of failures may be zero on
    /// one side.
    fn is_share(&self) -> bool;

    /// Transforms a value to the scale of comparisons.
    fn scale(&self, value: f64) -> f64;

    /// A difference on that scale as shown to people: a share of the base, or for shares the
    /// difference itself.
    fn change(&self, difference: f64) -> f64;
}

impl Compared for Metric {
    fn rises_to_worse(&self) -> bool {
        self.unit() != MetricUnit::PerSecond
    }

    fn is_share(&self) -> bool {
        self.unit() == MetricUnit::Fraction
    }

    fn scale(&self, value: f64) -> f64 {
        if self.is_share() { value } else { log(value) }
    }

    fn change(&self, difference: f64) -> f64 {
        if self.is_share() { difference } else { difference.exp_m1() }
    }
}

/// Reads a metric that can be compared.
fn comparable(text: &str) -> Result<Metric, GateError> {
    let unknown = || GateError::Metric { found: text.into() };
    let metric: Metric = text.parse().map_err(|_| unknown())?;
    match &metric.measure {
        // The 100th percentile is the maximum.
        Measure::Latency(_, Statistic::Quantile(quantile)) if quantile.get() < 1.0 => Ok(metric),
        Measure::Latency(_, Statistic::Mean) => Ok(metric),
        Measure::Throughput | Measure::DocumentsPerSecond | Measure::ErrorRate
            if metric.step.is_none() =>
        {
            Ok(metric)
        }
        _ => Err(unknown()),
    }
}

fn hint(found: &str) -> String {
    const COUNTS: &str = ": counts depend on how long the run is; gate `error_rate`";
    if found.starts_with("count.") {
        return COUNTS.into();
    }
    if let Ok(Metric { measure: Measure::Server(_), .. }) = found.parse() {
        return ": a Flow's own metrics can be thresholds, but are not compared".into();
    }
    match found.rsplit('.').next().unwrap_or(found) {
        "max" | "min" | "p100" => {
            ": the largest and the smallest value depend on how long the run is; gate a \
             quantile"
                .into()
        }
        "errors" | "dropped" | "assertion_failures" | "requests" | "documents_missing" => {
            COUNTS.into()
        }
        _ => match of_other_tools(found) {
            Some(ours) => format!(": use `{ours}`"),
            None => ": known are p50 … p99.99 and mean (also after `service.`, `active.`, \
                     `gateway.`, `network.`, `executor.NAME.` or a step's name), throughput, \
                     documents_per_second, error_rate"
                .into(),
        },
    }
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Gate, GateError> {
        let form = || GateError::Form(text.into());
        // The metric may contain spaces, if an Executor's name does; allowances do not.
        let words: Vec<&str> = text.split_whitespace().collect();
        let signed = |word: &&&str| word.starts_with(['+', '-']) && word.len() > 1;
        let allowed = words.iter().rev().take_while(signed).count();
        if allowed == 0 || allowed > 2 || allowed == words.len() {
            return Err(form());
        }
        let (name, allowances) = words.split_at(words.len() - allowed);
        let metric = comparable(&name.join(" "))?;
        let rises = metric.rises_to_worse();
        let (mut relative, mut absolute) = (None, None);
        for allowance in allowances {
            let (sign, size) = allowance.split_at(1);
            if (sign == "+") != rises {
                return Err(GateError::Sign {
                    metric: metric.to_string(),
                    allowance: size.into(),
                    rises,
                });
            }
            let wrong = |expected| GateError::Allowance {
                metric: metric.to_string(),
                expected,
                found: (*allowance).into(),
            };
            let percentage = percent(size);
            let (place, value) = match (&metric.measure, percentage) {
                // A share is compared by its difference, in percentage points.
                (Measure::ErrorRate, Some(points)) => (&mut absolute, points),
                (Measure::ErrorRate, None) => return Err(wrong("points such as `+0.1%`")),
                (_, Some(share)) => (&mut relative, share),
                (Measure::Latency(..), None) => {
                    let span = size.parse::<Span>();
                    let span = span.map_err(|_| wrong("`+10%`, `+2ms`, or both"))?;
                    (&mut absolute, span.get().as_secs_f64() * 1e3)
                }
                (_, None) => {
                    let rate = size.parse::<Rate>();
                    (
                        &mut absolute,
                        rate.map_err(|_| wrong("`-5%`, `-10/s`, or both"))?.per_second(),
                    )
                }
            };
            if place.replace(value).is_some() {
                return Err(form());
            }
        }
        let text = words.join(" ");
        let (relative, absolute) = (relative.unwrap_or(0.0), absolute.unwrap_or(0.0));
        Ok(Gate { metric, relative, absolute, text })
    }
}

/// A percentage as a share. Unlike shares of a whole, it may be above 100 %.
fn percent(text: &str) -> Option<f64> {
    const MOST: f64 = 1e5;
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=MOST).contains(&number).then_some(number / 100.0)
}

impl Gate {
    /// The change it allows for this base value, on the scale of comparisons.
    pub(super) fn limit(&self, base: f64) -> f64 {
        if self.metric.is_share() {
            return self.absolute;
        }
        let absolute = if base > 0.0 { self.absolute / base } else { 0.0 };
        let change = self.relative + absolute;
        if self.metric.rises_to_worse() {
            change.ln_1p()
        } else {
            (-change.min(1.0 - 1e-9)).ln_1p()
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn gate(text: &str) -> Gate {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn gates_have_a_relative_and_an_absolute_part() {
        let both = gate("p99  +10% +2ms");
        assert_eq!((both.relative, both.absolute), (0.1, 2.0));
        assert_eq!(both.to_string(), "p99 +10% +2ms");
        assert!((both.limit(20.0) - 1.2f64.ln()).abs() < 1e-12);
        let floor = gate("throughput -5%");
        assert!((floor.limit(100.0) - 0.95f64.ln()).abs() < 1e-12);
        assert_eq!(gate("error_rate +0.1%").limit(0.0), 0.001);
        assert_eq!(gate("p50 +500us").absolute, 0.5);
        let executor = gate("executor.my encoder.p99.9 +10%").metric;
        assert_eq!(executor.to_string(), "executor.my encoder.p99.9");
    }

    #[test]
    fn what_is_no_gate_is_told_how_to_be_one() {
        for (text, error) in [
            (
                "p99",
                "expected a gate such as `p99 +10%`, `p99 +10% +2ms` or `throughput -5%`, found `p99`",
            ),
            ("p99 -10%", "`p99` gets worse when it rises; write `p99 +10%`"),
            ("throughput +5%", "`throughput` gets worse when it falls; write `throughput -5%`"),
            ("p(95) +10%", "`p(95)` cannot be compared: use `p95`"),
            ("p99 +fast", "`p99` is allowed `+10%`, `+2ms`, or both, found `+fast`"),
            ("error_rate +2ms", "`error_rate` is allowed points such as `+0.1%`, found `+2ms`"),
            (
                "max +10%",
                "`max` cannot be compared: the largest and the smallest value depend on how long \
                 the run is; gate a quantile",
            ),
            (
                "p99 +10% +20%",
                "expected a gate such as `p99 +10%`, `p99 +10% +2ms` or `throughput -5%`, found `p99 \
                 +10% +20%`",
            ),
        ] {
            assert_eq!(text.parse::<Gate>().unwrap_err().to_string(), error);
        }
    }
}
