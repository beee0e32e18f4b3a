//! Sequential runs: when to evaluate gates, how much alpha each look may spend, and how a
//! regression is confirmed.

use super::{ALPHA, GateResult, ScenarioComparison, Verdict, overall};
use crate::record::reason::{Code, Reason};

/// Fresh runs per side that must confirm a regression.
pub const CONFIRMATION: usize = 3;

/// The looks at a growing number of runs.
///
/// Repeated looks inflate false positives, so alpha is spent over the looks: after a fraction s of
/// the runs, s² of it is spent (Lan and DeMets). Little is spent at first, when few runs can
/// mislead. All looks together spend [`ALPHA`], whatever their dependence.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    most: usize,
    spent: f64,
}

impl Looks {
    /// Looks at up to `most` runs per side.
    pub fn new(most: usize) -> Looks {
        Looks { most: most.max(1), spent: 0.0 }
    }

    /// Whether to look at this number of runs per side: after each round of A B B A, so that a
    /// drift affects both sides equally, and at the end.
    pub fn is_due(&self, runs: usize) -> bool {
        runs >= self.most || runs >= 2 && runs.is_multiple_of(2)
    }

    /// The alpha this look may spend; the last one gets all that is left.
    pub fn spend(&mut self, runs: usize, last: bool) -> f64 {
        let share = if last { 1.0 } else { (runs as f64 / self.most as f64).min(1.0) };
        let level = (ALPHA * share * share - self.spent).max(ALPHA * 1e-3);
        self.spent += level;
        level
    }
}

/// Whether a round starts with the candidate: A B, then B A.
pub fn candidate_first(round: usize) -> bool {
    round % 2 == 1
}

/// Keeps the gates that passed in an earlier look: it has already spent its share of alpha on
/// them.
pub fn keep_decided(found: &mut [ScenarioComparison], known: &[ScenarioComparison]) {
    each_gate(found, known, |gate, known| {
        if gate.verdict == Verdict::Inconclusive && known.verdict == Verdict::Passed {
            *gate = known.clone();
        }
    });
}

/// Confirms regressions: the point estimate of the fresh runs alone must lie beyond the allowance
/// again, or the regression may be chance and the gate is inconclusive. Returns whether any
/// regression is left.
pub fn confirm(found: &mut [ScenarioComparison], fresh: &[ScenarioComparison]) -> bool {
    each_gate(found, fresh, |gate, fresh| {
        if gate.verdict == Verdict::Regressed && !fresh.is_beyond() {
            let text = format!("{CONFIRMATION} fresh runs per side did not repeat it");
            withdraw(gate, Reason::of(Code::NotRepeated, CONFIRMATION as f64, text));
        }
    });
    regressed(found)
}

/// Turns regressions into inconclusive gates, if there is no time to confirm them.
pub fn leave_unconfirmed(found: &mut [ScenarioComparison]) {
    let gates = found.iter_mut().flat_map(|scenario| &mut scenario.gates);
    for gate in gates.filter(|gate| gate.verdict == Verdict::Regressed) {
        let text = "the budget leaves no time to repeat it";
        withdraw(gate, Reason::plain(Code::NoTimeToRepeat, text));
    }
    regressed(found);
}

fn withdraw(gate: &mut GateResult, reason: Reason) {
    gate.verdict = Verdict::Inconclusive;
    gate.runs_needed = None;
    gate.reason = Some(reason);
}

/// Updates the verdicts of scenarios; returns whether any regressed.
fn regressed(found: &mut [ScenarioComparison]) -> bool {
    for scenario in found.iter_mut() {
        scenario.verdict = overall(scenario.gates.iter().map(|gate| gate.verdict));
    }
    found.iter().any(|scenario| scenario.verdict == Some(Verdict::Regressed))
}

/// The gates that two looks have in common. A later one may have scenarios or Executors that an
/// earlier one lacked.
fn each_gate(
    found: &mut [ScenarioComparison],
    others: &[ScenarioComparison],
    mut act: impl FnMut(&mut GateResult, &GateResult),
) {
    for scenario in found.iter_mut() {
        let Some(other) = others.iter().find(|other| other.name == scenario.name) else { continue };
        for gate in &mut scenario.gates {
            if let Some(other) = other.gates.iter().find(|other| other.gate == gate.gate) {
                act(gate, other);
            }
        }
    }
    regressed(found);
}
