//! The result of a search, as stored in `capacity.json`.
//!
//! Names and units are part of the contract with users; `docs/capacity.md` describes them. Latencies
//! are in milliseconds, times in seconds, shares from 0 to 1.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::Models;
use super::combinations::Combinations;
use super::forecast::Plan;
use super::limit::Limit;
use super::pareto::Pareto;
use super::search::Answer;
use super::stats::Estimate;
use super::trials::{Overload, TrialSummary, Unit, confirmed};
use crate::record::reason::Reason;
use crate::record::saved::{self, ReadError, ReadProblem};
use crate::record::summary::Environment;

/// The schema this version writes.
pub const SCHEMA: &str = "flowbench.capacity/1";

/// A search for capacity and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Name and version of this schema: `flowbench.capacity/1`.
    pub schema: String,
    /// The suite's name.
    pub suite: String,
    /// The scenario's name.
    pub scenario: String,
    /// RFC 3339, UTC.
    #[schemars(with = "String")]
    pub started_at: jiff::Timestamp,
    /// From the first trial's start to the last one's end.
    pub duration_s: f64,
    /// The conditions of the objective, as written.
    pub objective: Vec<String>,
    /// What was varied.
    pub unit: Unit,
    /// The range of levels that was searched.
    pub range: [f64; 2],
    /// How far apart the sustained and the failing load may be.
    pub precision: f64,
    /// Confidence level of the sustained and the failing load.
    pub confidence: f64,
    /// The standard deviation of the gaps between arrivals in mean gaps: 0 uniform, 1 Poisson. Null
    /// for clients.
    pub burstiness: Option<f64>,
    /// Replicas of the Flow that was measured.
    pub replicas: u32,
    /// Documents of one request, as sent.
    pub documents_per_request: f64,
    /// What was found.
    pub answer: Answer,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
    /// The same as a paragraph for decision makers, see [`super::words::paragraph`].
    pub paragraph: String,
    /// Caveats.
    pub notes: Vec<Reason>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// All trials, in order.
    pub trials: Vec<TrialSummary>,
    /// The level with the most throughput for its response time, and its neighbours: it lies between them.
    pub knee: Option<Estimate>,
    /// How the Flow behaves under more load than it sustains.
    pub overload: Vec<Overload>,
    /// Seconds from the end of the worst overload until the objective was met again; null if it was not
    /// within the trial, or if there was no such trial.
    pub recovered_s: Option<f64>,
    /// The limiting resource, by the Flow's own metrics; omitted if they do not show one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_limit: Option<Limit>,
    /// What was fitted and predicted.
    pub models: Models,
    /// Sizes of requests and numbers of connections that were tried, if requested.
    pub pareto: Option<Pareto>,
    /// Settings of the Flow, if the scenario has a matrix or costs are given. All other figures are those of
    /// the one that sustains most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combinations: Option<Combinations>,
    /// What the coming months need, if requested.
    pub plan: Option<Plan>,
    /// Where it ran.
    pub environment: Environment,
}

impl Capacity {
    /// Requests per second at the sustained load; clients send as many as they get responses.
    pub fn holds_per_s(&self) -> Option<f64> {
        let level = self.answer.held()?;
        match self.unit {
            Unit::Rate => Some(level),
            Unit::Clients => confirmed(&self.trials, level)?.point.throughput_per_s,
        }
    }
}

/// The JSON schema of `capacity.json`. Its descriptions are the doc comments of the types.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<Capacity>();
    schema.insert("title".into(), "flowbench capacity".into());
    schema.to_value()
}

/// Reads a `capacity.json`.
///
/// # Errors
/// If it cannot be read, or does not have a known schema.
pub fn read(path: &Path) -> Result<Capacity, ReadError> {
    saved::read_by(path, parse)
}

/// Reads the text of a `capacity.json`.
///
/// # Errors
/// See [`read`].
pub fn parse(text: &str) -> Result<Capacity, ReadProblem> {
    let capacity: Capacity = saved::parse_as(text, SCHEMA)?;
    check(&capacity).map_err(|(field, why)| ReadProblem::Field { field, why })?;
    Ok(capacity)
}

/// Rejects values that no search writes and that no report can show.
fn check(capacity: &Capacity) -> Result<(), (String, String)> {
    let above_zero = |field: String, value: f64| match value > 0.0 && value <= LEVEL_MAX {
        true => Ok(()),
        false => Err((field, format!("is {value}, expected a number above 0"))),
    };
    for (index, end) in capacity.range.into_iter().enumerate() {
        above_zero(format!("range[{index}]"), end)?;
    }
    for (index, trial) in capacity.trials.iter().enumerate() {
        above_zero(format!("trials[{index}].level"), trial.level)?;
    }
    let (field, level) = match &capacity.answer {
        Answer::Edge { held, .. } => ("answer.edge.held", *held),
        Answer::FailsAtLow { level } => ("answer.fails_at_low.level", *level),
        Answer::HoldsAtHigh { level } => ("answer.holds_at_high.level", *level),
        Answer::Inconclusive { .. } => return Ok(()),
    };
    above_zero(field.into(), level)
}

/// Levels above this were not measured.
const LEVEL_MAX: f64 = 1e12;
