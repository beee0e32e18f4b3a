//! What a search found, as `capacity.json` holds it.
//!
//! Names and units are part of the contract with users; `docs/capacity.md` describes them. Latencies
//! are in milliseconds, times in seconds, shares from 0 to 1.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::Models;
use super::forecast::{Peak, Plan};
use super::pareto::Pareto;
use super::search::{Answer, Kind};
use super::stats::Estimate;
use super::{forecast, predict, words};
use crate::record::reason::Reason;
use crate::record::saved::{self, ReadError, ReadProblem};
use crate::record::summary::{Environment, ThresholdSummary};

/// The schema this version writes.
pub const SCHEMA: &str = "flowbench.capacity/1";

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The objective held.
    Held,
    /// It did not.
    Failed,
    /// Not enough samples to tell.
    Undecided,
    /// The trial was not valid.
    Invalid,
    /// It was made to see, not to judge.
    Seen,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialSummary {
    /// What it was for.
    pub kind: Kind,
    /// Requests a second, or clients.
    pub level: f64,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// How long it might have taken.
    pub budget_s: f64,
    /// What was measured.
    pub point: Point,
    /// The objective's conditions on the whole trial.
    pub objective: Vec<ThresholdSummary>,
    /// The share of requests over the limit in terms of what is allowed; below 1 it holds.
    pub excess: f64,
    /// How many independent requests the trial is worth.
    pub independent_requests: f64,
    /// Why it was not valid.
    pub reasons: Vec<Reason>,
    /// What was wrong on our side and cannot have changed the outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excused: Vec<Reason>,
    /// Seconds from the end of an overload until the objective held again.
    pub recovered_s: Option<f64>,
}

/// By how much requests in flight may grow in a load in balance, a second, in terms of arrivals: a
/// queue that is a hundredth overloaded grows by that.
const DRIFT_MAX: f64 = 0.01;

/// What must come back of it meanwhile.
const KEPT_UP: f64 = 0.98;

impl TrialSummary {
    /// Whether it was valid and in balance: what came in went out, so that its times are those of
    /// the load and not of the length of the trial.
    pub fn is_balanced(&self) -> bool {
        let point = &self.point;
        !matches!(self.outcome, Outcome::Invalid | Outcome::Seen)
            && !point.growing
            && point.drift.is_some_and(|drift| drift <= DRIFT_MAX)
            && point.throughput_per_s.is_some_and(|done| done >= KEPT_UP * point.offered_per_s)
            && point.mean_ms.is_some()
    }
}

/// Figures of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Arrivals a second.
    pub offered_per_s: f64,
    /// Ok requests a second; null, as the two that follow, for trials that were too short to tell.
    pub throughput_per_s: Option<f64>,
    /// Their Documents a second.
    pub documents_per_s: Option<f64>,
    /// Ok requests a second that met every limit of the objective by themselves.
    pub goodput_per_s: Option<f64>,
    /// Failed requests among all.
    pub error_rate: f64,
    /// Requests in flight, the mean.
    pub in_flight: f64,
    /// Response time.
    pub mean_ms: Option<f64>,
    /// Its standard deviation.
    pub stddev_ms: Option<f64>,
    /// Response time.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p95_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// Mean time in each Executor, where responses tell it.
    pub executors: Vec<ExecutorTime>,
    /// By how many requests a second those in flight grew, from the first half of the trial to the
    /// second, in terms of arrivals: a load is in balance up to a hundredth. Null for trials that
    /// were too short to tell.
    pub drift: Option<f64>,
    /// Whether requests in flight still grew: then latencies tell of the length of the trial.
    pub growing: bool,
}

/// Time in one Executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorTime {
    /// Its name; `gateway` for the gateway, which includes all others.
    pub name: String,
    /// The mean.
    pub mean_ms: f64,
}

/// A search for capacity and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// [`SCHEMA`].
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
    /// The conditions, as written.
    pub objective: Vec<String>,
    /// What was varied.
    pub unit: Unit,
    /// The levels that were searched.
    pub range: [f64; 2],
    /// How far what holds and what fails may lie apart.
    pub precision: f64,
    /// How sure what holds and what fails is.
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
    /// The same in a sentence.
    pub words: String,
    /// For those who decide: a paragraph.
    pub paragraph: String,
    /// What was surprising.
    pub notes: Vec<Reason>,
    /// Whether somebody ended it early.
    pub interrupted: bool,
    /// All trials, in their order.
    pub trials: Vec<TrialSummary>,
    /// The level with the most throughput for its response time, and those next to it: it lies between
    /// them.
    pub knee: Option<Estimate>,
    /// What the Flow does under more than it holds.
    pub overload: Vec<Overload>,
    /// Seconds from the end of the worst overload until the objective held again; null: it did not
    /// within the trial, or there was no such trial.
    pub recovered_s: Option<f64>,
    /// What was fitted and predicted.
    pub models: Models,
    /// Sizes of requests and numbers of connections that were tried, where that was asked for.
    pub pareto: Option<Pareto>,
    /// What the months to come need, where that was asked for.
    pub plan: Option<Plan>,
    /// Where it ran.
    pub environment: Environment,
}

/// What a plan is made for, besides what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Planning {
    /// The peak of each stretch of time, in their order.
    pub peaks: Vec<Peak>,
    /// The share of capacity that stays free at the peak: 0.3.
    pub headroom: f64,
    /// What one replica costs an hour.
    pub cost_per_hour: Option<f64>,
}

impl Capacity {
    /// Requests a second at the load that holds; clients make as many as they get answers.
    pub fn holds_per_s(&self) -> Option<f64> {
        let level = self.answer.held()?;
        match self.unit {
            Unit::Rate => Some(level),
            Unit::Clients => confirmed(&self.trials, level)?.point.throughput_per_s,
        }
    }

    /// Plans with it, instead of what was planned before; `replicas`: as many were measured.
    pub fn plan_for(&mut self, replicas: u32, planning: Option<Planning>) {
        self.replicas = replicas;
        self.models.replicas = predict::replicas(self);
        self.plan = planning.and_then(|planning| {
            let wanted = forecast::Wanted {
                peaks: planning.peaks,
                headroom: planning.headroom,
                replicas,
                cost_per_hour: planning.cost_per_hour,
                documents_per_request: self.documents_per_request,
            };
            Some(forecast::plan(self.holds_per_s()?, &wanted))
        });
        self.paragraph = words::paragraph(self);
    }
}

/// The last trial at a level that held.
pub fn confirmed(trials: &[TrialSummary], level: f64) -> Option<&TrialSummary> {
    trials.iter().rfind(|trial| trial.level == level && trial.outcome == Outcome::Held)
}

/// The JSON schema of `capacity.json`. Its descriptions are those of the types.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<Capacity>();
    schema.insert("title".into(), "flowbench capacity".into());
    schema.to_value()
}

/// Reads a `capacity.json`.
///
/// # Errors
/// When it cannot be read, or is not one of a schema known here.
pub fn read(path: &Path) -> Result<Capacity, ReadError> {
    saved::read_by(path, parse)
}

/// Reads the text of a `capacity.json`.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str) -> Result<Capacity, ReadProblem> {
    let capacity: Capacity = saved::parse_as(text, SCHEMA)?;
    check(&capacity).map_err(|(field, why)| ReadProblem::Field { field, why })?;
    Ok(capacity)
}

/// What no search writes, and what no page could be made of.
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
        Answer::Unclear { .. } => return Ok(()),
    };
    above_zero(field.into(), level)
}

/// Levels above it are none that anybody measured.
const LEVEL_MAX: f64 = 1e12;

/// What varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Requests a second.
    Rate,
    /// Clients.
    Clients,
}

/// A load beyond what holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overload {
    /// In terms of what holds: 1.2.
    pub factor: f64,
    /// Arrivals a second, or clients.
    pub level: f64,
    /// Ok requests a second that met the objective by themselves; null where it was too short to tell.
    pub goodput_per_s: Option<f64>,
    /// Failed requests among all.
    pub error_rate: f64,
    /// Why it tells of our own side more than of the Flow, where that is so.
    pub reasons: Vec<Reason>,
}
