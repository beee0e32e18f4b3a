//! Figures that were wrong, as users saw them: in the saved results of a run, and shown during it.

use std::collections::HashMap;
use std::process::Child;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

use super::input;
use crate::run::{Place, Ran};

/// Cases that take a while but are mostly idle: they run at the same time.
static SLOW: LazyLock<Mutex<HashMap<&str, (Place, Child)>>> = LazyLock::new(|| {
    let cases = ["abort-kills-a-healthy-run", "live-rate-halved", "mean-in-flight"];
    let started = cases.map(|case| {
        // Without a terminal, a line is printed every ten seconds.
        let place = Place::new(&input(case, "suite.yaml").replace("duration: 9s", "duration: 12s"));
        let child = place.command(&["--out", "out"]).spawn().expect("the binary was built");
        (case, (place, child))
    });
    Mutex::new(HashMap::from(started))
});

/// The outcome of one of the slow cases.
fn slow(case: &str) -> (Place, Ran) {
    let (place, child) = SLOW.lock().expect("nobody panicked").remove(case).expect("a slow case");
    (place, Ran::new(child.wait_with_output().expect("it can be waited for")))
}

/// The outcome of a case.
fn ran(case: &str) -> (Place, Ran) {
    let place = Place::new(&input(case, "suite.yaml"));
    let ran = place.run(&["--out", "out"]);
    (place, ran)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn near(found: f64, expected: f64, room: f64) {
    assert!((found - expected).abs() <= room, "{found} instead of {expected}");
}

/// A figure in each second.
fn timeline(scenario: &Value, figure: &str) -> Vec<f64> {
    let seconds = scenario["timeline"].as_array().expect("a timeline");
    seconds.iter().map(|second| number(&second[figure])).collect()
}

#[test]
fn a_ramp_at_the_end_lasts_as_long_as_it_is_written() {
    let (place, _) = ran("ramp-up-last-stage");
    let scenario = &place.report()["scenarios"][0];
    // One client all the time; at about 10.3 ms each, that is 680 requests at most.
    let in_flight = timeline(scenario, "in_flight");
    in_flight[..7].iter().for_each(|mean| near(*mean, 1.0, 0.3));
    let requests = number(&scenario["requests"]["ok"]);
    assert!((300.0..=700.0).contains(&requests), "{requests}");
    near(number(&scenario["client"]["in_flight"]["mean"]), 1.0, 0.3);
}

#[test]
fn clients_pause_and_come_back_as_they_are_written() {
    let (place, _) = ran("step-down-then-up");
    let in_flight = timeline(&place.report()["scenarios"][0], "in_flight");
    let expected = [4.0, 4.0, 0.0, 0.0, 4.0, 4.0];
    assert!(in_flight.len() >= expected.len(), "{in_flight:?}");
    for (found, expected) in in_flight.iter().zip(expected) {
        // A client that waits for a processor has nothing in flight, and its request completes during its
        // pause.
        near(*found, expected, 0.5);
    }
}

#[test]
fn requests_under_way_when_the_warmup_ends_count_when_they_are_done() {
    let (place, _) = ran("throughput-low");
    let scenario = &place.report()["scenarios"][0];
    near(number(&scenario["throughput"]["requests_per_s"]), 40.0, 0.5);
    near(number(&scenario["throughput"]["documents_per_s"]), 40.0, 0.5);
}

#[test]
fn the_mean_in_flight_does_not_depend_on_the_length_of_the_load() {
    let (place, _) = slow("mean-in-flight");
    let report = place.report();
    for scenario in report["scenarios"].as_array().expect("scenarios") {
        let in_flight = &scenario["client"]["in_flight"];
        // A client that waits for a processor has nothing in flight.
        near(number(&in_flight["mean"]), 8.0, 0.4);
        near(number(&in_flight["by_littles_law"]), 8.0, 0.4);
        assert_eq!(in_flight["max"], 8);
    }
}

#[test]
fn the_most_in_flight_is_that_of_all_workers_together() {
    let (place, _) = ran("max-in-flight");
    let report = place.report();
    assert_eq!(report["scenarios"][0]["client"]["in_flight"]["max"], 100);
    near(number(&report["scenarios"][0]["client"]["in_flight"]["mean"]), 100.0, 8.0);
    let arguments = ["report", "out/report.json", "--from", "1s", "--to", "2s", "-f", "json"];
    let cut = Ran::new(place.any(&arguments).output().expect("the binary was built"));
    let cut: Value = serde_json::from_str(&cut.ends(0).out).expect("it is JSON");
    assert_eq!(cut["scenarios"][0]["client"]["in_flight"]["max"], Value::Null);
    near(number(&cut["scenarios"][0]["client"]["in_flight"]["mean"]), 100.0, 8.0);
}

/// A figure in a progress line: `100/s offered`.
fn said(line: &str, of: &str) -> Option<f64> {
    let (before, _) = line.split_once(of)?;
    let number = before.rsplit([',', ':']).next()?.trim().trim_end_matches("/s");
    number.trim_end_matches(" %").replace('\u{202f}', "").parse().ok()
}

#[test]
fn live_lines_of_a_steady_load_tell_its_rate() {
    let (_, ran) = slow("live-rate-halved");
    the_lines_tell_of(&ran, 100.0);
}

#[track_caller]
fn the_lines_tell_of(ran: &Ran, per_s: f64) {
    let lines: Vec<&str> = ran.err.lines().filter(|line| line.contains(" offered")).collect();
    assert!(!lines.is_empty(), "{}", ran.err);
    for line in lines {
        near(said(line, " offered").expect(line), per_s, 0.1 * per_s);
        near(said(line, " done").expect(line), per_s, 0.1 * per_s);
    }
}

#[test]
fn a_load_at_its_rate_is_not_aborted_for_its_rate() {
    let (place, ran) = slow("abort-kills-a-healthy-run");
    let scenario = &place.report()["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "time");
    near(number(&scenario["duration_s"]), 20.0, 0.01);
    the_lines_tell_of(&ran, 50.0);
}

#[test]
fn a_warmup_is_shown_as_one() {
    let place = Place::new(
        "scenarios: [{name: s, documents: {text: a}, request_size: 1, warmup: 1s, \
         load: {rate: 20/s, duration: 1s}}]\n",
    );
    let ran = place.run(&[]);
    assert!(ran.err.starts_with("s: warming up\n"), "{}", ran.err);
}

#[test]
fn no_more_than_all_fail() {
    let (place, ran) = ran("failed-over-100-percent");
    ran.ends(1);
    let rate = number(&place.report()["scenarios"][0]["error_rate"]);
    assert!((0.9..1.0).contains(&rate), "{rate}");
    let shown = ran.err.lines().filter_map(|line| line.split("failed ").nth(1));
    for percent in shown {
        let percent: f64 = percent.split(' ').next().expect("a number").parse().expect(percent);
        assert!(percent <= 100.0, "{}", ran.err);
    }
}
