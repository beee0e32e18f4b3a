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

/// Keeps the gates that an earlier look found to hold: it has already spent its share of alpha on
/// them.
pub fn keep_decided(found: &mut [ScenarioComparison], known: &[ScenarioComparison]) {
    each_gate(found, known, |gate, known| {
        if gate.verdict == Verdict::CantTell && known.verdict == Verdict::Held {
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
            let text = format!("{CONFIRMATION} fresh runs a side did not repeat it");
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
    gate.verdict = Verdict::CantTell;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::simulate::{Noise, Pair, TrueChange};
    use crate::compare::{Sample, judge};

    /// What a few simulated runs a side come to, the candidate so many times slower.
    fn look(change: f64) -> Vec<ScenarioComparison> {
        let pair = Pair {
            runs: [3, 3],
            seconds: 10,
            rate: 100,
            noise: Noise { run: 0.01, ..Noise::NONE },
            change: TrueChange::All(change),
            ..Pair::USUAL
        };
        let (base, candidate) = pair.draw(1);
        let sample = Sample { name: "search".into(), base, candidate };
        let gates = ["p50 +10%", "error_rate +50%"].map(|gate| gate.parse().expect("it is a gate"));
        judge(&[sample], &gates, ALPHA, None).expect("the metrics are there")
    }

    fn verdicts(found: &[ScenarioComparison]) -> Vec<Verdict> {
        found[0].gates.iter().map(|gate| gate.verdict).collect()
    }

    #[test]
    fn a_regression_counts_when_fresh_runs_repeat_it() {
        let mut found = look(1.4);
        assert_eq!(verdicts(&found), [Verdict::Regressed, Verdict::Held]);
        assert!(confirm(&mut found, &look(1.3)));
        assert_eq!(verdicts(&found), [Verdict::Regressed, Verdict::Held]);
        assert!(!confirm(&mut found, &look(1.0)));
        assert_eq!(verdicts(&found), [Verdict::CantTell, Verdict::Held]);
        assert_eq!(found[0].verdict, Some(Verdict::CantTell));
        let reason = found[0].gates[0].reason.as_ref().expect("a reason");
        assert_eq!(reason.code, Code::NotRepeated);
        assert_eq!(reason.text, "3 fresh runs a side did not repeat it");
    }

    #[test]
    fn without_time_to_confirm_nothing_regressed() {
        let mut found = look(1.4);
        leave_unconfirmed(&mut found);
        assert_eq!(found[0].verdict, Some(Verdict::CantTell));
        let reason = found[0].gates[0].reason.as_ref().expect("a reason");
        assert_eq!(reason.code, Code::NoTimeToRepeat);
        assert_eq!(reason.text, "the budget leaves no time to repeat it");
    }

    #[test]
    fn what_held_once_is_not_asked_again() {
        let mut found = look(1.1);
        assert_eq!(verdicts(&found), [Verdict::CantTell, Verdict::Held]);
        keep_decided(&mut found, &look(1.0));
        assert_eq!(found[0].verdict, Some(Verdict::Held));
        let mut found = look(1.4);
        keep_decided(&mut found, &look(1.0));
        assert_eq!(found[0].verdict, Some(Verdict::Regressed), "what is worse now is told");
    }

    #[test]
    fn all_looks_together_spend_what_there_is_to_spend() {
        for most in [1, 2, 3, 10, 25] {
            let mut looks = Looks::new(most);
            let due: Vec<usize> = (1..=most).filter(|runs| looks.is_due(*runs)).collect();
            let spent: f64 = due.iter().map(|runs| looks.spend(*runs, *runs == most)).sum();
            assert!((spent - ALPHA).abs() < 1e-12, "{most}: {spent}");
        }
    }

    #[test]
    fn the_first_looks_must_be_surest() {
        let mut looks = Looks::new(10);
        let levels: Vec<f64> = [2, 4, 6, 8, 10].map(|runs| looks.spend(runs, runs == 10)).into();
        assert!(levels.is_sorted(), "{levels:?}");
    }
}
