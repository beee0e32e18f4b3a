//! Simulated runs: the findings of repeated looks as runs come in, the conditions for a regression, and how
//! noise shows in the figures. `benches/gates` shows all of it.

#[expect(dead_code, reason = "the bench has other machines and changes as well")]
pub(crate) mod pairs;
#[expect(dead_code, reason = "the bench makes a table of it")]
mod profile;

use flowbench::compare::looks::{Looks, confirm, keep_decided, leave_unconfirmed};
use flowbench::compare::{ALPHA, Sample, ScenarioComparison, Verdict, judge};
use flowbench::record::reason::Code;
use pairs::{Noise, Pair, TrueChange};
use profile::NoiseProfile;

/// No noise: runs differ only by chance.
const NONE: Noise = Noise {
    run: 0.0,
    hour: (0.0, 0.0),
    outlier: (0.0, 0.0),
    second: 0.0,
    memory: 0.0,
    bursts: 0.0,
    drift: 0.0,
    failures: (0.0, 0.0),
};

/// Compares a few simulated runs per side, with the candidate slower by this factor.
fn look(change: f64) -> Vec<ScenarioComparison> {
    let pair = Pair {
        runs: [3, 3],
        seconds: 10,
        rate: 100,
        noise: Noise { run: 0.01, ..NONE },
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
    assert_eq!(verdicts(&found), [Verdict::Regressed, Verdict::Passed]);
    assert!(confirm(&mut found, &look(1.3)));
    assert_eq!(verdicts(&found), [Verdict::Regressed, Verdict::Passed]);
    assert!(!confirm(&mut found, &look(1.0)));
    assert_eq!(verdicts(&found), [Verdict::Inconclusive, Verdict::Passed]);
    assert_eq!(found[0].verdict, Some(Verdict::Inconclusive));
    let reason = found[0].gates[0].reason.as_ref().expect("a reason");
    assert_eq!(reason.code, Code::NotRepeated);
    assert_eq!(reason.text, "3 fresh runs per side did not repeat it");
}

#[test]
fn without_time_to_confirm_nothing_regressed() {
    let mut found = look(1.4);
    leave_unconfirmed(&mut found);
    assert_eq!(found[0].verdict, Some(Verdict::Inconclusive));
    let reason = found[0].gates[0].reason.as_ref().expect("a reason");
    assert_eq!(reason.code, Code::NoTimeToRepeat);
    assert_eq!(reason.text, "the budget leaves no time to repeat it");
}

#[test]
fn what_held_once_is_not_asked_again() {
    let mut found = look(1.1);
    assert_eq!(verdicts(&found), [Verdict::Inconclusive, Verdict::Passed]);
    keep_decided(&mut found, &look(1.0));
    assert_eq!(found[0].verdict, Some(Verdict::Passed));
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

fn profile(noise: Noise) -> NoiseProfile {
    let pair = Pair { runs: [24, 0], turns: false, seconds: 30, rate: 200, noise, ..Pair::USUAL };
    NoiseProfile::of(&pair.draw(1).0)
}

#[test]
fn the_portrait_of_a_machine_without_noise_shows_nothing_but_chance() {
    let still = profile(NONE);
    assert!(still.runs_p50 < 0.01 && still.memory_p50.abs() < 0.1, "{still:?}");
    assert!((still.runs_p99 / still.within_p99 - 1.0).abs() < 0.5, "{still:?}");
}

#[test]
fn each_kind_of_noise_shows_in_its_figure() {
    let second = profile(Noise { second: 0.1, memory: 0.8, ..NONE });
    assert!(second.memory_p50 > 0.5 && second.seconds_p50 > 0.06, "{second:?}");
    let run = profile(Noise { run: 0.1, ..NONE });
    assert!(run.runs_p50 > 0.05 && run.memory_p50 < 0.1, "{run:?}");
    let drift = profile(Noise { drift: 0.3, ..NONE });
    assert!((0.2..0.4).contains(&drift.drift) && drift.runs_memory > 0.5, "{drift:?}");
    let bursts = profile(Noise { bursts: 0.02, ..NONE });
    assert!(bursts.bad_seconds > 0.005, "{bursts:?}");
}
