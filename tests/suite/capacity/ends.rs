//! How searches end when trials are inconclusive, with made-up results.

use flowbench::capacity::judge::{Decision, Evidence};
use flowbench::capacity::search::{Answer, Kind, Search, Settings, Times, Trial, TrialResult};
use flowbench::record::reason::{Code, Reason};

use super::constant;

/// A search in which the result of each trial comes from `of`.
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

/// Passes up to one level, fails from another one on, and is inconclusive in between.
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
    let Answer::Inconclusive { held: None, reason } = search.edge() else {
        panic!("{:?}", search.edge())
    };
    assert_eq!((reason.code, &*reason.text), (Code::Interrupted, "the search was interrupted"));
}

/// A Flow whose requests take 50 ms at first and `step_ms` less with each trial, down to 5 ms. The limit is 20
/// ms.
fn cold(step_ms: f64) -> impl Fn(&Trial) -> TrialResult {
    let tried = std::cell::Cell::new(0.0);
    move |trial| {
        let mean_s = f64::max(5.0, 50.0 - step_ms * tried.replace(tried.get() + 1.0)) / 1e3;
        let decision = match mean_s < 0.02 && trial.level <= 400.0 {
            true => Decision::Pass,
            false => Decision::Fail,
        };
        let times = Some(Times { mean_s, error_s: 1e-4 });
        TrialResult { times, ..result(decision, mean_s / 0.02) }
    }
}

#[test]
fn a_flow_that_gets_faster_is_warmed_up_and_not_sent_lower_loads() {
    let search = searched((100.0, 1000.0), cold(6.0));
    let held = search.edge().held().expect("it holds when it is warm");
    assert!((350.0..=400.0).contains(&held), "{held}");
    let [note, ..] = search.notes() else { panic!("{:?}", search.notes()) };
    assert!(
        note.text.starts_with("the Flow was cold: its mean response time at 100/s fell from 50"),
        "{note}"
    );
    assert!(note.text.ends_with("give the scenario a longer `warmup`"), "{note}");
    assert!(note.code == Code::FlowCold && note.limit == Some(50.0), "{note:?}");
    assert!(search.tried().iter().any(|tried| tried.trial.kind == Kind::CoolDown));
}

#[test]
fn a_flow_that_goes_on_getting_faster_is_said_to_be_cold() {
    let search = searched((100.0, 1000.0), cold(1.5));
    let Answer::Inconclusive { held: None, reason } = search.edge() else {
        panic!("{:?}", search.edge())
    };
    assert!(reason.text.starts_with("the Flow was cold"), "{reason}");
    assert_eq!(reason.code, Code::FlowCold);
}

#[test]
fn a_flow_that_is_slow_whenever_it_is_asked_is_not_cold() {
    let search = searched((100.0, 1000.0), cold(0.0));
    assert_eq!(search.edge(), Answer::FailsAtLow { level: 100.0 });
}

#[test]
fn a_lowest_load_that_cannot_be_told_has_not_failed() {
    let search = searched((100.0, 1000.0), |_| result(Decision::Open, 1.3));
    let Answer::Inconclusive { held: None, reason } = search.edge() else {
        panic!("{:?}", search.edge())
    };
    let text = "100/s is too close to the boundary to decide within the trial budget";
    assert_eq!(reason, Reason::of(Code::NearEdge, 100.0, text));
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
        "the sustained and the failing load are {:.0} % apart instead of 5 %: loads between them \
         were inconclusive within the trial budget; use a longer `trial` to bring them closer",
        apart * 100.0
    );
    assert_eq!(search.notes(), [Reason::new(Code::EndsFarApart, apart, 0.05, said)]);
    let near = searched((100.0, 1000.0), blurred(500.0, 500.0));
    assert_eq!(near.notes(), []);
}
