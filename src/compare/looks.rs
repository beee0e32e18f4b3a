//! Runs made one after the other until they can tell: when to look, how sure each look must be, and
//! what a regression needs to count.

use super::{ALPHA, GateResult, ScenarioComparison, Verdict, overall};
use crate::record::reason::{Code, Reason};

/// Fresh runs a side that must repeat a regression before it counts.
pub const CONFIRMATION: usize = 3;

/// The looks at runs that are still coming in.
///
/// Who looks often is wrong more often. So the chance of error is spent over the looks: when a share
/// s of the runs is there, s² of it is spent (Lan and DeMets), little at first, when few runs can
/// mislead. What all looks spend together is [`ALPHA`], however they depend on each other.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    most: usize,
    spent: f64,
}

impl Looks {
    /// Looks at up to so many runs a side.
    pub fn new(most: usize) -> Looks {
        Looks { most: most.max(1), spent: 0.0 }
    }

    /// Whether to look when so many runs a side are there: after each round of A B B A, so that
    /// neither side has the better half of a drift, and at the end.
    pub fn is_due(&self, runs: usize) -> bool {
        runs >= self.most || runs >= 2 && runs.is_multiple_of(2)
    }

    /// The chance of error that this look may have; the last one gets all that is left.
    pub fn spend(&mut self, runs: usize, last: bool) -> f64 {
        let share = if last { 1.0 } else { (runs as f64 / self.most as f64).min(1.0) };
        let level = (ALPHA * share * share - self.spent).max(ALPHA * 1e-3);
        self.spent += level;
        level
    }
}

/// Which side the runs of a round begin with: A B, then B A.
pub fn candidate_first(round: usize) -> bool {
    round % 2 == 1
}

/// What an earlier look has found to hold stays so: it has paid for it with its own share of
/// certainty.
pub fn keep_decided(found: &mut [ScenarioComparison], known: &[ScenarioComparison]) {
    each_gate(found, known, |gate, known| {
        if gate.verdict == Verdict::CantTell && known.verdict == Verdict::Held {
            *gate = known.clone();
        }
    });
}

/// Repeats what regressed: the best guess of fresh runs alone, which have had no say yet, must lie
/// beyond the allowance again, or it was luck and cannot be told. Gives whether anything is left
/// that regressed.
pub fn confirm(found: &mut [ScenarioComparison], fresh: &[ScenarioComparison]) -> bool {
    each_gate(found, fresh, |gate, fresh| {
        if gate.verdict == Verdict::Regressed && !fresh.is_beyond() {
            let text = format!("{CONFIRMATION} fresh runs a side did not repeat it");
            withdraw(gate, Reason::of(Code::NotRepeated, CONFIRMATION as f64, text));
        }
    });
    regressed(found)
}

/// Takes back what regressed, for want of time to confirm it.
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

/// Adds up what scenarios come to; whether any regressed.
fn regressed(found: &mut [ScenarioComparison]) -> bool {
    for scenario in found.iter_mut() {
        scenario.verdict = overall(scenario.gates.iter().map(|gate| gate.verdict));
    }
    found.iter().any(|scenario| scenario.verdict == Some(Verdict::Regressed))
}

/// The gates that two looks share. A later one may have scenarios or Executors that an earlier one
/// had not.
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
