//! How searches end where trials cannot tell: by results that are made up.

use flowbench::capacity::judge::{Decision, Evidence};
use flowbench::capacity::search::{Answer, Search, Settings, Trial, TrialResult};

use super::constant;

/// A search of which each trial comes to what is said of its level.
fn searched(range: (f64, f64), of: impl Fn(&Trial) -> TrialResult) -> Search {
    let settings = Settings { low: range.0, high: range.1, ..constant().settings() };
    let mut search = Search::new(settings);
    while let Some(trial) = search.next() {
        search.learn(of(&trial));
    }
    search
}

fn result(decision: Decision, excess: f64) -> TrialResult {
    let (for_pass, for_fail) = match decision {
        Decision::Pass => (9.0, 0.0),
        Decision::Fail => (0.0, 9.0),
        Decision::Open => (0.5, 0.5),
    };
    let evidence = Evidence { excess, for_pass, for_fail, ..Evidence::default() };
    TrialResult { decision: Some(decision), evidence, seconds: 10.0, ..TrialResult::default() }
}

/// Holds up to a level, fails from another one on, and cannot tell between.
fn blurred(holds: f64, fails: f64) -> impl Fn(&Trial) -> TrialResult {
    move |trial| match trial.level {
        level if level <= holds => result(Decision::Pass, 0.2),
        level if level >= fails => result(Decision::Fail, 9.0),
        level => result(Decision::Open, level / (holds * fails).sqrt()),
    }
}

#[test]
fn an_interrupt_before_anything_was_decided_is_no_answer() {
    let search = searched((100.0, 1000.0), |_| TrialResult {
        interrupted: true,
        ..result(Decision::Open, 3.0)
    });
    let Answer::Unclear { held: None, reason } = search.edge() else {
        panic!("{:?}", search.edge())
    };
    assert_eq!(reason, "the search was interrupted");
}

#[test]
fn a_lowest_load_that_cannot_be_told_has_not_failed() {
    let search = searched((100.0, 1000.0), |_| result(Decision::Open, 1.3));
    let Answer::Unclear { held: None, reason } = search.edge() else {
        panic!("{:?}", search.edge())
    };
    assert_eq!(reason, "100/s is too near to the edge to tell in the time a trial has");
}

#[test]
fn ends_that_lie_further_apart_than_was_asked_for_say_so() {
    let search = searched((100.0, 1000.0), blurred(400.0, 600.0));
    let Answer::Edge { held, fails: Some(fails), .. } = search.edge() else {
        panic!("{:?}", search.edge())
    };
    let apart = fails / held - 1.0;
    assert!(apart > 0.1, "{held} to {fails}");
    let said = format!(
        "what holds and what fails lie {:.0} % apart instead of 5 %: loads between them could not be \
         told in the time a trial has; a longer `trial` brings them closer",
        apart * 100.0
    );
    assert_eq!(search.notes(), [said]);
    let near = searched((100.0, 1000.0), blurred(500.0, 500.0));
    assert_eq!(near.notes(), [""; 0]);
}
