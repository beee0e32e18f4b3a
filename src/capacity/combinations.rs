//! Compares settings of a Flow: which sustains the most, and at what cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::search::Answer;

/// All combinations of a matrix that were searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Combinations {
    /// In the order they were searched.
    pub(crate) rows: Vec<Combination>,
    /// The index of the one that sustains most; the cheapest of several that do not differ measurably. Null
    /// if none meets the objective.
    pub most: Option<usize>,
    /// The index of the one that costs least per request; null if costs are not known.
    pub cheapest: Option<usize>,
    /// Both in a sentence, see [`super::words::write`].
    pub words: String,
}

/// One combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Combination {
    /// The scenario's name, with the values.
    pub scenario: String,
    /// The values of the matrix.
    pub matrix: Map<String, Value>,
    /// Replicas of all Executors together; null if not known.
    pub replicas: Option<u32>,
    /// What was found; null if it could not be searched.
    pub answer: Option<Answer>,
    /// Requests per second at the load that it sustains; null if there is none.
    pub held_per_s: Option<f64>,
    /// The p99 at that load.
    pub p99_ms: Option<f64>,
    /// What its replicas cost per hour.
    pub cost_per_hour: Option<f64>,
    /// What a million requests cost at the load that it sustains.
    pub cost_per_million: Option<f64>,
    /// Why it could not be searched.
    pub error: Option<String>,
}

impl Combination {
    /// A combination that was searched, with the answer, and the requests per second and p99 at the load it sustains.
    pub(crate) fn found(
        scenario: String,
        matrix: Map<String, Value>,
        answer: Answer,
        held_per_s: Option<f64>,
        p99_ms: Option<f64>,
    ) -> Combination {
        let (answer, error) = (Some(answer), None);
        Combination {
            scenario,
            matrix,
            replicas: None,
            answer,
            held_per_s,
            p99_ms,
            cost_per_hour: None,
            cost_per_million: None,
            error,
        }
    }

    /// The same with this many replicas, and their cost if it is known.
    pub(crate) fn with(self, replicas: Option<u32>, cost_per_hour: Option<f64>) -> Combination {
        let million = |(cost, per_s): (f64, f64)| cost / (per_s * 3600.0) * 1e6;
        let held = self.held_per_s.filter(|held| *held > 0.0);
        let cost_per_million = cost_per_hour.zip(held).map(million);
        Combination { replicas, cost_per_hour, cost_per_million, ..self }
    }

    /// A combination that could not be searched.
    pub(crate) fn failed(
        scenario: String,
        matrix: Map<String, Value>,
        error: String,
    ) -> Combination {
        Combination {
            scenario,
            matrix,
            replicas: None,
            answer: None,
            held_per_s: None,
            p99_ms: None,
            cost_per_hour: None,
            cost_per_million: None,
            error: Some(error),
        }
    }

    /// The load that it sustains.
    pub(super) fn held(&self) -> Option<f64> {
        self.answer.as_ref()?.held()
    }

    /// A load that it does not sustain; infinite if it sustains the end of the range.
    fn fails(&self) -> f64 {
        match self.answer {
            Some(Answer::Edge { fails: Some(fails), .. }) => fails,
            _ => f64::INFINITY,
        }
    }
}

impl Combinations {
    /// Compares the combinations.
    pub(crate) fn new(rows: Vec<Combination>) -> Combinations {
        let held = || rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.held()?)));
        let top = held().max_by(|(_, a), (_, b)| a.total_cmp(b));
        // Among combinations that may sustain equally much, the cost decides.
        let same = |(_, top): (usize, f64)| {
            let not_less = |index: &usize| rows[*index].fails() > top;
            let same: Vec<usize> = held().map(|(index, _)| index).filter(not_less).collect();
            let cost = |index: &usize| rows[*index].cost_per_hour.unwrap_or(f64::INFINITY);
            same.into_iter().min_by(|a, b| {
                let level = |index: &usize| -rows[*index].held().unwrap_or(0.0);
                cost(a).total_cmp(&cost(b)).then(level(a).total_cmp(&level(b)))
            })
        };
        let most = top.and_then(same);
        let costs = rows.iter().enumerate();
        let costs = costs.filter_map(|(index, row)| Some((index, row.cost_per_million?)));
        let cheapest = costs.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index);
        Combinations { rows, most, cheapest, words: String::new() }
    }

    /// Other combinations that may sustain as much as the best one: their bounds overlap.
    pub(crate) fn not_told_apart(&self) -> Vec<&Combination> {
        let Some(most) = self.most else { return Vec::new() };
        let highest = self.rows.iter().filter_map(Combination::held).fold(0.0, f64::max);
        let others = self.rows.iter().enumerate().filter(|(index, _)| *index != most);
        let others = others.filter(|(_, row)| row.held().is_some() && row.fails() > highest);
        others.map(|(_, row)| row).collect()
    }

    /// Whether any of them could not be searched.
    pub(crate) fn has_errors(&self) -> bool {
        self.rows.iter().any(|row| row.error.is_some())
    }

    /// Whether the cost of any is known.
    pub(crate) fn has_costs(&self) -> bool {
        self.rows.iter().any(|row| row.cost_per_hour.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(replicas: u32, held: f64, fails: f64, cost: Option<f64>) -> Combination {
        Combination {
            matrix: Map::from_iter([("replicas".to_owned(), replicas.into())]),
            answer: Some(Answer::Edge { held, fails: Some(fails), estimate: held }),
            held_per_s: Some(held),
            cost_per_hour: cost,
            cost_per_million: cost.map(|cost| cost / held),
            error: None,
            ..Combination::failed(String::new(), Map::new(), String::new())
        }
    }

    #[test]
    fn the_most_is_the_one_that_sustains_more_than_others_may() {
        let found = Combinations::new(vec![
            row(1, 100.0, 105.0, None),
            row(2, 190.0, 200.0, None),
            row(4, 400.0, 420.0, None),
        ]);
        assert_eq!((found.most, found.cheapest), (Some(2), None));
        assert!(found.not_told_apart().is_empty());
    }

    #[test]
    fn of_those_that_are_not_told_apart_it_is_the_cheapest() {
        let found = Combinations::new(vec![
            row(1, 100.0, 105.0, Some(1.0)),
            row(2, 195.0, 204.0, Some(2.0)),
            row(4, 200.0, 210.0, Some(4.0)),
        ]);
        assert_eq!((found.most, found.cheapest), (Some(1), Some(0)));
        let same: Vec<&Map<String, Value>> =
            found.not_told_apart().iter().map(|row| &row.matrix).collect();
        assert_eq!(same, [&Map::from_iter([("replicas".to_owned(), 4.into())])]);
    }

    #[test]
    fn there_is_none_where_none_meets_the_objective() {
        let failed = Combination::failed("s".into(), Map::new(), "it did not start".into());
        let low = Combination {
            answer: Some(Answer::FailsAtLow { level: 10.0 }),
            held_per_s: None,
            ..row(1, 1.0, 2.0, Some(1.0))
        };
        let low = Combination { cost_per_million: None, ..low };
        let found = Combinations::new(vec![failed, low]);
        assert_eq!((found.most, found.cheapest, found.has_errors()), (None, None, true));
    }
}
