//! Factors that distinguish slow and failed requests from the others.

use serde::Serialize;

use crate::record::summary::ScenarioSummary;
use crate::report::words::{count, factor_words, latency, percent};

/// A table of the factors found.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    about: String,
    rows: Vec<[String; 6]>,
}

/// The tables; none if the analysis was not requested.
pub(super) fn sections(scenario: &ScenarioSummary) -> Vec<Section> {
    let Some(why) = &scenario.why else { return Vec::new() };
    let slow = why
        .slow
        .as_ref()
        .map(|slow| (format!("The slowest 1 %, from {} on", latency(slow.from_ms)), slow));
    let failed = why.failed.as_ref().map(|failed| ("Failed requests".to_owned(), failed));
    let section = |(name, apart): (String, &crate::record::why::Apart)| {
        let questions = count(apart.looks);
        let about = match apart.factors.len() {
            0 => format!(
                "{name}: nothing that is known of them sets them apart ({questions} things were looked at)"
            ),
            _ => format!("{name}: what sets them apart, of {questions} things that were looked at"),
        };
        let row = |factor: &crate::record::why::Factor| {
            [
                factor_words(factor),
                percent(factor.share),
                format!("{} to {}", percent(factor.low), percent(factor.high)),
                percent(factor.share_of_all),
                latency(Some(factor.with_ms)),
                latency(Some(factor.without_ms)),
            ]
        };
        Section { about, rows: apart.factors.iter().map(row).collect() }
    };
    slow.into_iter().chain(failed).map(section).collect()
}
