//! Compares request sizes and numbers of connections: which combinations are worth choosing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All combinations that were tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pareto {
    /// In the order they were tried.
    pub(crate) variants: Vec<Variant>,
    /// The index of the one to choose; null if none meets the objective.
    pub recommended: Option<usize>,
    /// The recommendation in a sentence, see [`super::words::write`].
    pub words: String,
}

/// One combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Variant {
    /// Documents per request.
    pub request_size: usize,
    /// Connections.
    pub connections: usize,
    /// Documents of ok requests per second; null if its trials were too short to tell.
    pub documents_per_s: Option<f64>,
    /// Ok requests per second, likewise.
    pub requests_per_s: Option<f64>,
    /// Mean response time.
    pub mean_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// Whether the objective was met.
    pub holds: bool,
    /// Whether it meets the objective, and no other that does has both more Documents per second and a lower
    /// p99.
    pub on_front: bool,
}

impl Pareto {
    /// Compares combinations; sets `on_front`.
    pub(crate) fn new(mut variants: Vec<Variant>) -> Pareto {
        let better = |a: &Variant, b: &Variant| {
            let time = |variant: &Variant| variant.p99_ms.unwrap_or(f64::INFINITY);
            let (more, less) = (a.documents_per_s.unwrap_or(0.0), b.documents_per_s.unwrap_or(0.0));
            more >= less && time(a) <= time(b) && (more > less || time(a) < time(b))
        };
        let beats = |other: &Variant, one: &Variant| other.holds && better(other, one);
        let on_front: Vec<bool> = variants
            .iter()
            .map(|one| one.holds && !variants.iter().any(|other| beats(other, one)))
            .collect();
        for (variant, on_front) in variants.iter_mut().zip(on_front) {
            variant.on_front = on_front;
        }
        let holds = variants.iter().enumerate().filter(|(_, variant)| variant.holds);
        let told = holds.filter_map(|(index, variant)| Some((index, variant.documents_per_s?)));
        let recommended = told.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let recommended = recommended.map(|(index, _)| index);
        Pareto { variants, recommended, words: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    fn variant(request_size: usize, documents_per_s: f64, p99_ms: f64) -> Variant {
        Variant {
            request_size,
            connections: 1,
            documents_per_s: Some(documents_per_s),
            requests_per_s: Some(documents_per_s / request_size as f64),
            mean_ms: Some(p99_ms / 2.0),
            p99_ms: Some(p99_ms),
            holds: p99_ms < 50.0,
            on_front: false,
        }
    }

    #[test]
    fn the_front_holds_what_nothing_beats_and_the_best_of_what_holds_is_recommended() {
        let all = [(1, 100.0, 5.0), (10, 800.0, 12.0), (20, 700.0, 30.0), (100, 2000.0, 90.0)];
        let all = all.map(|(size, rate, p99)| variant(size, rate, p99));
        let found = Pareto::new(all.to_vec());
        let front: Vec<bool> = found.variants.iter().map(|variant| variant.on_front).collect();
        assert_eq!(front, [true, true, false, false]);
        assert_eq!(found.recommended, Some(1));
        assert_eq!(
            words::pareto(&found, "p99 < 50ms"),
            "the most Documents per second within p99 < 50ms: 800, with 10 Documents per request \
             over 1 connection"
        );
    }
}
