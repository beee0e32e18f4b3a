//! Runs that should be invalid, and runs that should be valid, as users saw them.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::input;
use crate::run::Place;

/// The codes of the reasons against a scenario.
fn codes(scenario: &Value) -> Vec<&str> {
    let reasons = scenario["validity"]["reasons"].as_array().expect("a list");
    reasons.iter().map(|reason| reason["code"].as_str().expect("a code")).collect()
}

#[test]
fn a_short_overload_is_not_valid_and_its_latencies_are_inconclusive() {
    let place = Place::new(&input("short-overload", "suite.yaml"));
    place.run(&["--out", "out"]).ends(4);
    let scenario = &place.report()["scenarios"][0];
    assert_eq!(scenario["validity"]["valid"], false);
    assert!(codes(scenario).contains(&"overload"), "{}", scenario["validity"]);
    let threshold = &scenario["thresholds"][0];
    assert_eq!(
        (&threshold["verdict"], &threshold["code"]),
        (&"not_judged".into(), &"overload".into())
    );
}

#[expect(clippy::print_stdout, reason = "a test says what it skips")]
fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// A process that is killed when this is dropped.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Threads that wait for a processor read replies late, which send delays do not show.
#[test]
fn a_closed_load_without_a_processor_of_its_own_is_not_valid() {
    let on_one_core = |program: &str| {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", program]).stdin(Stdio::null()).stderr(Stdio::null());
        command
    };
    if !on_one_core("true").status().is_ok_and(|status| status.success()) {
        return skipped("no `taskset` to keep a load to one core");
    }
    let place = Place::new(
        "flows: {t: {embedded: {}}}
scenarios:
  - {name: closed, flow: t, documents: {text: {words: 10}}, request_size: 1,
     load: {clients: 4, duration: 3s}, thresholds: [p90 < 10s, p50 < 100us, throughput > 100000/s]}",
    );
    let busy: Vec<Ends> = (0..3)
        .map(|_| {
            let mut busy = on_one_core("sh");
            Ends(busy.args(["-c", "while :; do :; done"]).spawn().expect("there is a shell"))
        })
        .collect();
    let mut starved = on_one_core(env!("CARGO_BIN_EXE_flowbench"));
    starved.args(["run", "suite.yaml", "--out", "out"]).current_dir(place.path("."));
    let ran = starved.stdout(Stdio::null()).status().expect("it runs");
    drop(busy);
    assert_eq!(ran.code(), Some(4));
    let scenario = &place.report()["scenarios"][0];
    assert!(codes(scenario).contains(&"cpu_contended"), "{}", scenario["validity"]);
    // Without those waits it would have been faster, never slower.
    let verdict = |index: usize| scenario["thresholds"][index]["verdict"].as_str();
    let right = ["held", "not_judged", "not_judged"].map(Some);
    assert_eq!([0, 1, 2].map(verdict), right, "{}", scenario["validity"]);
}

/// Any lateness of the load generator is included in the response time.
#[test]
fn a_latency_that_holds_with_our_own_delay_holds() {
    let place = Place::new(
        "scenarios:
  - {name: s, documents: {text: x}, request_size: 1, load: {rate: 100/s, duration: 4s},
     thresholds: [p95 < 10s, throughput > 50/s]}",
    );
    let busy: Vec<Ends> = (0..6)
        .map(|_| {
            let mut busy = Command::new("sh");
            Ends(busy.args(["-c", "while :; do :; done"]).spawn().expect("there is a shell"))
        })
        .collect();
    let ran = place.run(&["--out", "out"]);
    drop(busy);
    ran.ends(0);
}
