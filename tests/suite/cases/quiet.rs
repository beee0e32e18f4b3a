//! With `--quiet`, a regression is still reported.

use serde_json::Value;

use crate::run::{Place, Ran};

const SUITE: &str = "
flows: {e: {embedded: {executors: [{name: a, service_time: TIME}]}}}
scenarios: [{name: s, documents: {text: hi}, request_size: 1, load: {clients: 2, requests: 300}}]";

#[test]
fn a_regression_is_told_with_quiet_and_with_json() {
    let place = Place::new(&SUITE.replace("TIME", "2ms"));
    for number in 0..3 {
        place.run(&["-q", "--out", &format!("base/{number}")]).ends(0);
    }
    std::fs::write(place.path("suite.yaml"), SUITE.replace("TIME", "8ms")).expect("there is room");
    let gate = ["--baseline", "base", "--gate", "p50 +10%", "--force", "--out", "out"];
    let run = |more: &str| -> Ran { place.run(&[&gate[..], &[more]].concat()) };
    let quiet = run("-q");
    quiet.ends(1);
    let last = quiet.out.find("regressed: ").expect("it is told");
    assert!(quiet.out[last..].lines().count() <= 3, "{}", quiet.out);
    let json = run("--json");
    json.ends(1);
    let value: Value = serde_json::from_str(&json.out).expect("it is JSON alone");
    assert_eq!(value["comparison"]["verdict"], "regressed");
    assert_eq!((&value["verdict"], &value["suite"]), (&"held".into(), &"suite".into()));
    assert!(json.err.contains("regressed: "), "{}", json.err);
    // The printed JSON can be read as a result.
    std::fs::write(place.path("printed.json"), &json.out).expect("there is room");
    let report = place.any(&["report", "printed.json"]).output().expect("it was built");
    Ran::new(report).ends(0);
}
