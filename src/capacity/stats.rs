//! What the models share: estimates with an interval, and Student's quantiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value and the interval it lies in with a stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The best guess.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end; null where there is none.
    #[serde(with = "unbounded")]
    #[schemars(with = "Option<f64>")]
    pub high: f64,
}

/// JSON knows no infinity.
mod unbounded {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
    }
}

impl Estimate {
    /// The interval is widened to hold the value.
    pub fn new(value: f64, low: f64, high: f64) -> Estimate {
        Estimate { value, low: low.min(value), high: high.max(value) }
    }

    /// Whether a value lies in the interval.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// All of it times a factor above 0.
    pub fn times(&self, factor: f64) -> Estimate {
        Estimate { value: self.value * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// The t that Student's distribution with so many degrees of freedom does not exceed in size with
/// this probability.
///
/// With t = √ν·tan θ its density is cos^(ν−1) θ, which is smooth and on a bounded range, so Simpson's
/// rule is exact to more digits than anybody needs.
pub(super) fn student(probability: f64, freedom: usize) -> f64 {
    let nu = freedom.max(1) as f64;
    let area = |to: f64| {
        const STEPS: usize = 400;
        let step = to / STEPS as f64;
        let height = |i: usize| (i as f64 * step).cos().max(0.0).powf(nu - 1.0);
        let inner: f64 = (1..STEPS).map(|i| height(i) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
        (height(0) + inner + height(STEPS)) * step / 3.0
    };
    let whole = area(std::f64::consts::FRAC_PI_2);
    let (mut low, mut high) = (0.0, std::f64::consts::FRAC_PI_2);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if area(middle) < probability * whole { low = middle } else { high = middle }
    }
    nu.sqrt() * low.tan()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, expected) in [(1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042)] {
            let found = student(0.95, freedom);
            assert!((found / expected - 1.0).abs() < 1e-3, "{freedom}: {found}");
        }
    }
}
