//! The capacity search, on simulated Flows with known capacity; `benches/capacity.rs` runs a hundred searches
//! of each.

mod bad;
mod cases;
mod clients;
mod ends;
mod matrix;
mod options;
mod real;
mod saved;
mod simulator;

use flowbench::capacity::search::{Answer, Search};
use simulator::{Arrivals, Case, Law, Model, Outcome};

/// The confirmed level, and the one that fails.
#[track_caller]
fn edge(outcome: &Outcome) -> (f64, f64) {
    match outcome.search.edge() {
        Answer::Edge { held, fails: Some(fails), .. } => (held, fails),
        answer => panic!("{answer:?}: {:#?}", outcome.search.tried()),
    }
}

#[test]
fn the_load_that_holds_is_within_five_percent_of_theory_in_half_the_time() {
    for case in cases::all() {
        // Random servers need a million requests per search: a few such searches are enough here.
        let seeds = match (case.arrivals, case.name) {
            (Arrivals::Uniform, _) => 10,
            (_, "M/D/2" | "M/M/8" | "M/M/8, p95 and errors" | "M/M/2" | "two Executors") => 1,
            _ => 0,
        };
        for seed in 0..seeds {
            let outcome = case.search(seed, true);
            let (held, fails) = edge(&outcome);
            let off = held / case.holds - 1.0;
            assert!(off.abs() <= 0.05, "{} seed {seed}: {held}, off by {off:.3}", case.name);
            assert!(fails >= case.holds * 0.995, "{} seed {seed}: {fails} fails", case.name);
            let fixed: f64 = outcome.search.tried().iter().map(|t| t.trial.budget_s).sum();
            let took = outcome.seconds;
            assert!(took < fixed / 2.0, "{} seed {seed}: {took:.0} of {fixed:.0} s", case.name);
        }
    }
}

#[test]
fn with_little_time_answers_are_wider_and_not_wrong() {
    for case in cases::short() {
        for seed in 0..4 {
            let (held, fails) = edge(&case.search(seed, true));
            assert!(held <= case.holds, "{} seed {seed}: {held} of {}", case.name, case.holds);
            assert!(fails >= case.holds, "{} seed {seed}: {fails} of {}", case.name, case.holds);
            // At least the coarser steps narrow it down to this.
            assert!(fails / held < 1.6, "{} seed {seed}: {held} to {fails}", case.name);
        }
    }
}

/// A Flow with a capacity of 500/s.
fn constant() -> Case {
    cases::all().into_iter().find(|case| case.name == "D/D/1").expect("it is one of them")
}

#[test]
fn a_search_says_the_same_again() {
    let case = constant();
    let levels = |search: &Search| -> Vec<f64> {
        search.tried().iter().map(|tried| tried.trial.level).collect()
    };
    assert_eq!(levels(&case.search(1, true).search), levels(&case.search(1, true).search));
}

#[test]
fn a_range_that_never_passes_or_never_fails_is_an_answer() {
    let low = Case { range: (600.0, 5000.0), ..constant() };
    assert_eq!(low.search(0, true).search.edge(), Answer::FailsAtLow { level: 600.0 });
    let high = Case { range: (50.0, 400.0), ..constant() };
    assert_eq!(high.search(0, true).search.edge(), Answer::HoldsAtHigh { level: 400.0 });
}

#[test]
fn an_edge_between_the_ends_of_a_narrow_range_is_found() {
    let (held, fails) = edge(&Case { range: (490.0, 515.0), ..constant() }.search(0, true));
    assert!((480.0..=501.0).contains(&held) && fails <= 515.0, "{held} and {fails}");
}

#[test]
fn the_time_that_a_trial_needs_is_known_beforehand() {
    let settings = |trial_s, low| {
        let mut settings = constant().settings();
        (settings.trial_s, settings.low) = (trial_s, low);
        settings
    };
    // 418 requests without a slow one: at 50/s that is more than eight seconds.
    let needed = settings(20.0, 50.0).seconds_needed();
    assert!((8.0..9.0).contains(&needed), "{needed}");
    assert!(settings(20.0, 5.0).seconds_needed() > 80.0);
}

#[test]
fn one_bad_moment_does_not_lead_the_search_astray() {
    // The third trial meets a pause of the Flow that is unrelated to the load.
    use flowbench::capacity::judge::{Decision, Evidence};
    use flowbench::capacity::search::TrialResult;
    let case = constant();
    let mut search = Search::new(case.settings());
    while let Some(trial) = search.next() {
        let key = flowbench::random::Key::new(9).index(search.tried().len() as u64);
        let mut result = case.trial(&trial, true, key);
        if search.tried().len() == 2 {
            let evidence = Evidence { excess: 30.0, for_fail: 9.0, ..Evidence::default() };
            result = TrialResult { decision: Some(Decision::Fail), evidence, ..result };
        }
        search.learn(result);
    }
    let outcome = Outcome { search, seconds: 0.0 };
    let (held, _) = edge(&outcome);
    // The capacity is 500/s. Below the trial that failed by accident, the search continues in coarser steps.
    assert!((455.0..=505.0).contains(&held), "{held}: {:#?}", outcome.search.tried());
}

#[test]
fn levels_that_are_clients_are_whole() {
    let queue = Model::Queues(vec![(1, Law::Constant(0.002))]);
    let case = Case { model: queue, ..constant() };
    let settings = flowbench::capacity::search::Settings { clients: true, ..case.settings() };
    let search = Search::new(settings);
    let level = search.next().expect("a trial").level;
    assert_eq!(level, level.round());
}
