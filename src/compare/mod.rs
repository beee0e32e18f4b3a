//! Compares two sides, each one run or several of the same suite: what changed beyond noise, and
//! whether that is allowed. Does not use the network.
//!
//! A [`Run`] is the measurement of one scenario in one run of a side. `effect` puts an interval
//! around the difference of two sides, `judge` evaluates [`Gate`]s on it and corrects for their
//! number, `comparable` finds reasons not to compare at all. [`noise`] measures what a machine can
//! detect, [`looks`] spreads alpha over looks while runs are still being made, and [`trend`] finds
//! changes in a long series of results.

mod comparable;
mod effect;
mod gate;
mod judge;
pub mod looks;
pub mod noise;
mod sample;
pub mod trend;

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

pub use crate::metric::{Measure, Metric, Part, Statistic};
pub use comparable::Difference;
pub use gate::{Gate, GateError};
pub use judge::{Change, GateResult, judge};
pub use sample::{Run, Sample, Second};

use crate::record::HistogramError;
use crate::record::reason::{Code, Reason};
use crate::record::summary::{Environment, Summary};
use noise::{Noise, TightGate};

/// The schema of a saved comparison.
pub const SCHEMA: &str = "flowbench.comparison/1";

/// Probability of a wrong verdict, in each direction, over all gates together.
pub const ALPHA: f64 = 0.01;

/// Verdict on one gate, or on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worse by more than is allowed.
    Regressed,
    /// Not worse by more than is allowed.
    #[serde(rename = "held")]
    Passed,
    /// Inconclusive; the reason is given beside it.
    #[serde(rename = "cant_tell")]
    Inconclusive,
}

/// How to treat inconclusive gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// They do not pass.
    #[default]
    Fail,
    /// They pass, with a warning.
    Warn,
    /// They pass.
    Pass,
}

/// One saved result, and where it came from.
#[derive(Clone, Debug)]
pub struct Saved {
    /// A name for people: the file.
    pub label: String,
    /// The result.
    pub summary: Summary,
}

/// Options of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The gates; may be empty.
    pub gates: &'a [Gate],
    /// Probability of a wrong verdict: [`ALPHA`], unless several looks share it.
    pub alpha: f64,
    /// Noise profile of the machine.
    pub noise: Option<&'a Noise>,
    /// Whether to compare despite differences.
    pub force: bool,
    /// How to treat inconclusive gates.
    pub inconclusive: OnInconclusive,
}

/// The comparison of two sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Name of the suite.
    pub suite: String,
    /// Verdict over all gates; null if there are none.
    pub verdict: Option<Verdict>,
    /// Whether the candidate passes: nothing regressed, and inconclusive gates are allowed to pass.
    pub passed: bool,
    /// How to treat inconclusive gates.
    pub inconclusive: OnInconclusive,
    /// Minimum confidence level of the intervals.
    pub confidence: f64,
    /// Where the runs were made, by the first of the base.
    pub environment: Environment,
    /// When the first and the last of all runs began.
    pub started_at: [Timestamp; 2],
    /// The results of the base.
    pub base: Vec<String>,
    /// The results of the candidate.
    pub candidate: Vec<String>,
    /// Reasons against this comparison, if it was forced.
    pub forced: Vec<Difference>,
    /// Whether an assumption about the variation between runs was needed, because there are too few
    /// runs to show it and no noise profile.
    pub noise_assumed: bool,
    /// Scenarios of the base that the candidate lacks.
    pub missing: Vec<String>,
    /// Scenarios of the candidate that the base lacks.
    pub new: Vec<String>,
    /// Scenarios that both sides have.
    pub scenarios: Vec<ScenarioComparison>,
    /// Notes, one sentence each.
    pub notes: Vec<String>,
}

/// One scenario on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioComparison {
    /// Name of the scenario.
    pub name: String,
    /// Its load, in words.
    pub load: String,
    /// Where its requests went: Flow and protocol.
    pub target: String,
    /// Verdict over its gates; null if there are none.
    pub verdict: Option<Verdict>,
    /// Number of runs of the base and of the candidate.
    pub runs: [usize; 2],
    /// Results of its gates.
    pub gates: Vec<GateResult>,
    /// Changes of the usual metrics, gated or not.
    pub changes: Vec<Change>,
    /// Response time from p10 to p99.9: body and tail may move in opposite directions.
    pub shift: Vec<Change>,
}

/// Why two sides were not compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// They cannot be compared.
    #[error("these results cannot be compared:{}", list(.0))]
    Incomparable(Vec<Difference>),
    /// They have no scenario in common.
    #[error("no scenario is on both sides: the base has {base}, the candidate has {candidate}")]
    NothingInCommon {
        /// Names of the scenarios.
        base: String,
        /// Names of the scenarios.
        candidate: String,
    },
    /// A gate has a metric that no scenario has.
    #[error("no scenario has `{metric}`{known}")]
    UnknownMetric {
        /// The metric as written.
        metric: String,
        /// The metrics there are instead.
        known: String,
    },
    /// Gates below the minimum detectable change of the machine.
    #[error("{}", .0.iter().map(TightGate::to_string).collect::<Vec<_>>().join("\n"))]
    TighterThanNoise(Vec<TightGate>),
    /// A histogram was modified.
    #[error("`{label}`: scenario `{scenario}`: {source}")]
    Histogram {
        /// Label of the result.
        label: String,
        /// Name of the scenario.
        scenario: String,
        /// The cause.
        #[source]
        source: HistogramError,
    },
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}

/// Compares two sides, each with at least one result.
///
/// # Errors
///
/// See [`CompareError`].
pub fn compare(
    base: &[Saved],
    candidate: &[Saved],
    options: Options,
) -> Result<Comparison, CompareError> {
    let mut notes = [copies(base), copies(candidate)].concat();
    let (base, candidate) = (&*distinct(base), &*distinct(candidate));
    notes.extend(comparable::notes(base, candidate));
    let (names, new) = names(base, candidate);
    let (names, missing): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| candidate.iter().any(|saved| saved.has(name)));
    if names.is_empty() {
        let list = |side: &[Saved]| {
            let names = side.iter().flat_map(|saved| &saved.summary.scenarios);
            let names: BTreeSet<String> = names.map(|s| format!("`{}`", s.name)).collect();
            if names.is_empty() {
                "none".into()
            } else {
                names.into_iter().collect::<Vec<_>>().join(", ")
            }
        };
        let (base, candidate) = (list(base), list(candidate));
        return Err(CompareError::NothingInCommon { base, candidate });
    }
    let mut differences = comparable::differences(base, candidate, &names);
    let foreign = options.noise.and_then(|n| n.foreign(&candidate[0].summary.environment));
    differences.extend(foreign.map(|text| Difference {
        scenario: None,
        what: "noise".into(),
        code: Code::Differs,
        text,
    }));
    let mut obstacle = None;
    if !options.force {
        let (unusable, other): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(Difference::is_unusable);
        // Without gates, nothing else would show unusable results.
        if !other.is_empty() || !unusable.is_empty() && options.gates.is_empty() {
            return Err(CompareError::Incomparable([unusable, other].concat()));
        }
        differences = Vec::new();
        obstacle = unusable.into_iter().next();
    }
    let samples = names
        .iter()
        .map(|name| {
            let (base, candidate) = (runs(base, name)?, runs(candidate, name)?);
            Ok(Sample { name: name.clone(), base, candidate })
        })
        .collect::<Result<Vec<Sample>, CompareError>>()?;
    if let Some(noise) = options.noise.filter(|_| !options.force) {
        let tight = noise.too_tight(&samples, options.gates, options.alpha);
        if !tight.is_empty() {
            return Err(CompareError::TighterThanNoise(tight));
        }
    }
    // A noise profile of the base's own runs adds nothing to these runs.
    let beforehand = options.noise.filter(|noise| !noise.is_of(base));
    let mut scenarios = judge(&samples, options.gates, options.alpha, beforehand)?;
    for name in &missing {
        let base = runs(base, name)?;
        scenarios.extend(judge::missing(name, base, options.gates));
    }
    if let Some(obstacle) = obstacle {
        scenarios.iter_mut().for_each(|scenario| scenario.leave_open(&obstacle));
    }
    for scenario in &mut scenarios {
        scenario.tell_of(base);
    }
    let verdict = overall(scenarios.iter().filter_map(|scenario| scenario.verdict));
    let labels = |side: &[Saved]| side.iter().map(|saved| saved.label.clone()).collect();
    Ok(Comparison {
        schema: SCHEMA,
        suite: candidate[0].summary.suite.clone(),
        passed: passed(verdict, options.inconclusive),
        verdict,
        inconclusive: options.inconclusive,
        confidence: 1.0 - 2.0 * options.alpha,
        environment: base[0].summary.environment.clone(),
        started_at: span(base, candidate),
        base: labels(base),
        candidate: labels(candidate),
        forced: differences,
        noise_assumed: options.noise.is_none()
            && !effect::say_it_alone(base.len(), candidate.len()),
        missing,
        new,
        scenarios,
        notes,
    })
}

/// Whether a candidate with this verdict passes.
pub fn passed(verdict: Option<Verdict>, inconclusive: OnInconclusive) -> bool {
    match verdict {
        None | Some(Verdict::Passed) => true,
        Some(Verdict::Regressed) => false,
        Some(Verdict::Inconclusive) => inconclusive != OnInconclusive::Fail,
    }
}

/// The verdict over several. A regression is certain, whatever is inconclusive. `None` if there are
/// none.
pub fn overall(verdicts: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.into_iter().reduce(|all, next| match (all, next) {
        (Verdict::Regressed, _) | (_, Verdict::Regressed) => Verdict::Regressed,
        (Verdict::Inconclusive, _) | (_, Verdict::Inconclusive) => Verdict::Inconclusive,
        (Verdict::Passed, Verdict::Passed) => Verdict::Passed,
    })
}

impl Comparison {
    /// Updates the overall verdict after verdicts of scenarios have changed.
    pub fn settle(&mut self) {
        self.verdict = overall(self.scenarios.iter().filter_map(|scenario| scenario.verdict));
        self.passed = passed(self.verdict, self.inconclusive);
    }
}

/// When the first and the last run of two sides began.
fn span(base: &[Saved], candidate: &[Saved]) -> [Timestamp; 2] {
    let all = base.iter().chain(candidate).map(|saved| saved.summary.started_at);
    [all.clone().min().unwrap_or_default(), all.max().unwrap_or_default()]
}

impl ScenarioComparison {
    /// Fills in what was run, from the first result that has it.
    fn tell_of(&mut self, base: &[Saved]) {
        let mut all = base.iter().flat_map(|saved| &saved.summary.scenarios);
        if let Some(scenario) = all.find(|scenario| scenario.name == self.name) {
            self.load.clone_from(&scenario.load);
            self.target = format!("{} over {}", scenario.target.flow, scenario.target.protocol);
        }
    }

    /// Makes all gates inconclusive, whatever the figures are.
    fn leave_open(&mut self, obstacle: &Difference) {
        for gate in &mut self.gates {
            gate.verdict = Verdict::Inconclusive;
            gate.runs_needed = None;
            gate.reason = Some(Reason::plain(obstacle.code, obstacle.to_string()));
        }
        self.verdict = overall(self.gates.iter().map(|gate| gate.verdict));
    }
}

impl Saved {
    fn has(&self, name: &str) -> bool {
        self.summary.scenarios.iter().any(|scenario| scenario.name == name)
    }
}

/// The results of a side without duplicates, which add no information.
fn distinct(side: &[Saved]) -> Cow<'_, [Saved]> {
    let kept: Vec<usize> = (0..side.len()).filter(|at| !is_copy(side, *at)).collect();
    match kept.len() == side.len() {
        true => Cow::Borrowed(side),
        false => kept.into_iter().map(|at| side[at].clone()).collect(),
    }
}

/// Whether a result is a copy of an earlier one.
fn is_copy(side: &[Saved], at: usize) -> bool {
    side[..at].iter().any(|before| before.summary == side[at].summary)
}

/// A note on each result that was given several times.
fn copies(side: &[Saved]) -> Vec<String> {
    let note = |at: &usize| {
        let here = &side[*at];
        let times = side.iter().filter(|other| other.summary == here.summary).count();
        (times > 1).then(|| format!("{} was given {times} times and counts once", here.label))
    };
    let first: Vec<usize> = (0..side.len()).filter(|at| !is_copy(side, *at)).collect();
    first.iter().filter_map(note).collect()
}

/// The scenarios of the base in order, and those that only the candidate has.
fn names(base: &[Saved], candidate: &[Saved]) -> (Vec<String>, Vec<String>) {
    let add = |mut names: Vec<String>, name: &String| {
        if !names.contains(name) {
            names.push(name.clone());
        }
        names
    };
    let all = |side: &[Saved]| {
        let scenarios = side.iter().flat_map(|saved| &saved.summary.scenarios);
        scenarios.map(|scenario| &scenario.name).fold(Vec::new(), add)
    };
    let (base, mut candidate) = (all(base), all(candidate));
    candidate.retain(|name| !base.contains(name));
    (base, candidate)
}

fn runs(side: &[Saved], name: &str) -> Result<Vec<Run>, CompareError> {
    let mut runs = Vec::new();
    for saved in side {
        let scenarios = saved.summary.scenarios.iter();
        for scenario in scenarios.filter(|scenario| scenario.name == name) {
            runs.push(Run::of_summary(&saved.summary, scenario).map_err(|source| {
                let (label, scenario) = (saved.label.clone(), name.to_owned());
                CompareError::Histogram { label, scenario, source }
            })?);
        }
    }
    Ok(runs)
}
