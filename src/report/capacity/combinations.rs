//! Compares combinations of a Flow's settings in a table, for any format.

use crate::capacity::combinations::{Combination, Combinations};
use crate::capacity::result::Capacity;
use crate::capacity::search::Answer;
use crate::capacity::words::{level, money, values};
use crate::report::words::latency;

/// The head of the table; costs are left out if none are known.
pub(in crate::report) fn head(all: &Combinations) -> Vec<&'static str> {
    let mut head = vec!["Combination", "Sustains", "p99", "Replicas"];
    if all.has_costs() {
        head.extend(["Cost per hour", "Per million requests"]);
    }
    head.push("");
    head
}

/// A row for each combination.
pub(in crate::report) fn rows(capacity: &Capacity, all: &Combinations) -> Vec<Vec<String>> {
    let row = |(index, row): (usize, &Combination)| {
        let money = |amount: Option<f64>| amount.map_or("–".to_owned(), money);
        let sustains = match &row.answer {
            Some(Answer::FailsAtLow { level: low }) => {
                format!("less than {}", level(*low, capacity.unit))
            }
            Some(Answer::HoldsAtHigh { level: high }) => {
                format!("{} or more", level(*high, capacity.unit))
            }
            Some(Answer::Inconclusive { .. }) => "inconclusive".to_owned(),
            Some(Answer::Edge { held, .. }) => level(*held, capacity.unit),
            None => "–".to_owned(),
        };
        let name = values(row);
        let name = if name.is_empty() { row.scenario.clone() } else { name };
        let replicas = row.replicas.map_or("–".to_owned(), |count| count.to_string());
        let mut cells = vec![name, sustains, latency(row.p99_ms), replicas];
        if all.has_costs() {
            cells.extend([money(row.cost_per_hour), money(row.cost_per_million)]);
        }
        let most =
            (all.most == Some(index) && all.rows.len() > 1).then(|| "sustains the most".to_owned());
        let cheapest = (all.cheapest == Some(index) && all.rows.len() > 1)
            .then(|| "costs the least".to_owned());
        let notes = most.into_iter().chain(cheapest).chain(row.error.clone());
        cells.push(notes.collect::<Vec<_>>().join(", "));
        cells
    };
    all.rows.iter().enumerate().map(row).collect()
}
