//! Two sides, each one run or several of the same suite: what changed beyond noise, and whether it
//! may. Knows no network.
//!
//! A [`Run`] is what one side measured of one scenario in one go. `effect` puts an interval around
//! the difference of two sides, `judge` holds it against [`Gate`]s and corrects for their number,
//! `comparable` finds what forbids to compare at all. [`noise`] learns what a machine can tell,
//! [`looks`] spreads certainty over looks at runs that still come in, [`trend`] finds when something
//! changed in a long row of results, and [`simulate`] makes runs whose true difference is known, to
//! prove the rest by; a [`portrait`] tells whether their noise is that of real ones.

mod comparable;
mod effect;
mod judge;
pub mod looks;
mod metric;
pub mod noise;
pub mod portrait;
mod sample;
pub mod simulate;
pub mod trend;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Serialize;

pub use comparable::Difference;
pub use judge::{Change, GateResult, Sample, judge};
pub use metric::{Gate, GateError, Measure, Metric, Part, Statistic};
pub use sample::{Run, Second};

use crate::record::HistogramError;
use crate::record::reason::{Code, Reason};
use crate::record::summary::Summary;
use noise::Noise;

/// The schema of a saved comparison.
pub const SCHEMA: &str = "flowbench.comparison/1";

/// The chance at which a verdict may be wrong, in each direction, over all gates together.
pub const ALPHA: f64 = 0.01;

/// What is found of one gate, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It got worse by more than is allowed.
    Regressed,
    /// It did not.
    Held,
    /// These runs cannot tell.
    CantTell,
}

/// What comes of gates that cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
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
    /// For people: the file.
    pub label: String,
    /// What was saved.
    pub summary: Summary,
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// What must hold; may be none.
    pub gates: &'a [Gate],
    /// The chance of a wrong verdict, [`ALPHA`] unless several looks share it.
    pub alpha: f64,
    /// What is known of the machine's noise.
    pub noise: Option<&'a Noise>,
    /// Whether to compare what should not be.
    pub force: bool,
    /// What comes of gates that cannot be told.
    pub inconclusive: Inconclusive,
}

/// What two sides say about each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The suite.
    pub suite: String,
    /// Of all gates; null when there are none.
    pub verdict: Option<Verdict>,
    /// Whether nothing stands against the candidate: nothing regressed, and what could not be told
    /// is let pass.
    pub passed: bool,
    /// What comes of gates that cannot be told.
    pub inconclusive: Inconclusive,
    /// Intervals hold the truth with this share of certainty, at least.
    pub confidence: f64,
    /// The results of the base.
    pub base: Vec<String>,
    /// The results of the candidate.
    pub candidate: Vec<String>,
    /// Why these should not have been compared, where that was forced.
    pub forced: Vec<Difference>,
    /// Whether runs are too few to say how much they differ, nobody measured it beforehand, and so an
    /// assumption joins in.
    pub noise_assumed: bool,
    /// Scenarios of the base that the candidate has not.
    pub missing: Vec<String>,
    /// Scenarios of the candidate that the base has not.
    pub new: Vec<String>,
    /// Scenarios that both have.
    pub scenarios: Vec<ScenarioComparison>,
    /// What else there is to know, a sentence each.
    pub notes: Vec<String>,
}

/// One scenario on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioComparison {
    /// Its name.
    pub name: String,
    /// Of its gates; null when there are none.
    pub verdict: Option<Verdict>,
    /// Runs of the base and of the candidate.
    pub runs: [usize; 2],
    /// Its gates.
    pub gates: Vec<GateResult>,
    /// What changed otherwise: the usual figures, gated or not.
    pub changes: Vec<Change>,
    /// Response time from p10 to p99.9: body and tail may move oppositely.
    pub shift: Vec<Change>,
}

/// Why two sides were not compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// They cannot be.
    #[error("these results cannot be compared:{}", list(.0))]
    Incomparable(Vec<Difference>),
    /// They have no scenario in common.
    #[error("no scenario is on both sides: the base has {base}, the candidate has {candidate}")]
    NothingInCommon {
        /// Names.
        base: String,
        /// Names.
        candidate: String,
    },
    /// A gate is about something that no scenario has.
    #[error("no scenario has `{metric}`{known}")]
    UnknownMetric {
        /// As written.
        metric: String,
        /// What there is instead.
        known: String,
    },
    /// Gates tighter than the machine's noise.
    #[error("{}", .0.join("\n"))]
    TighterThanNoise(Vec<String>),
    /// A histogram was changed by somebody.
    #[error("`{label}`: scenario `{scenario}`: {source}")]
    Histogram {
        /// The result.
        label: String,
        /// The scenario.
        scenario: String,
        /// What is wrong.
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
        // Without gates there would be nothing to say that it is not so.
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
    // Noise that was learned from the base's own runs says nothing that these do not.
    let beforehand = options.noise.filter(|noise| !noise.is_of(base));
    let mut scenarios = judge(&samples, options.gates, options.alpha, beforehand)?;
    for name in &missing {
        let base = runs(base, name)?;
        scenarios.extend(judge::missing(name, base, options.gates));
    }
    if let Some(obstacle) = obstacle {
        scenarios.iter_mut().for_each(|scenario| scenario.leave_open(&obstacle));
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

/// Whether nothing stands against a candidate of whom this was found.
pub fn passed(verdict: Option<Verdict>, inconclusive: Inconclusive) -> bool {
    match verdict {
        None | Some(Verdict::Held) => true,
        Some(Verdict::Regressed) => false,
        Some(Verdict::CantTell) => inconclusive != Inconclusive::Fail,
    }
}

/// What several verdicts add up to: one that regressed is known to have, whatever else cannot be
/// told. `None` of none.
pub fn overall(verdicts: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.into_iter().reduce(|all, next| match (all, next) {
        (Verdict::Regressed, _) | (_, Verdict::Regressed) => Verdict::Regressed,
        (Verdict::CantTell, _) | (_, Verdict::CantTell) => Verdict::CantTell,
        (Verdict::Held, Verdict::Held) => Verdict::Held,
    })
}

impl Comparison {
    /// Adds the verdicts of scenarios up again, after some of them were changed.
    pub fn settle(&mut self) {
        self.verdict = overall(self.scenarios.iter().filter_map(|scenario| scenario.verdict));
        self.passed = passed(self.verdict, self.inconclusive);
    }
}

impl ScenarioComparison {
    /// Has no gate be told, whatever the figures say.
    fn leave_open(&mut self, obstacle: &Difference) {
        for gate in &mut self.gates {
            gate.verdict = Verdict::CantTell;
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

/// The results of a side, each once: a copy tells nothing that the first does not.
fn distinct(side: &[Saved]) -> Cow<'_, [Saved]> {
    let kept: Vec<usize> = (0..side.len()).filter(|at| !is_copy(side, *at)).collect();
    match kept.len() == side.len() {
        true => Cow::Borrowed(side),
        false => kept.into_iter().map(|at| side[at].clone()).collect(),
    }
}

/// Whether a result is the same as one before it.
fn is_copy(side: &[Saved], at: usize) -> bool {
    side[..at].iter().any(|before| before.summary == side[at].summary)
}

/// A note on each result that was given several times.
fn copies(side: &[Saved]) -> Vec<String> {
    let note = |at: &usize| {
        let here = &side[*at];
        let times = side.iter().filter(|other| other.summary == here.summary).count();
        (times > 1)
            .then(|| format!("{} is the same result {times} times, counted once", here.label))
    };
    let first: Vec<usize> = (0..side.len()).filter(|at| !is_copy(side, *at)).collect();
    first.iter().filter_map(note).collect()
}

/// The scenarios of the base in their order, and those that only the candidate has.
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
