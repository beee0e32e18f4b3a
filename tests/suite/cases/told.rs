//! Small things that were told wrongly, or not at all.

use serde_json::Value;

use crate::run::{Place, Ran, suite};

fn any(place: &Place, line: &[&str]) -> Ran {
    Ran::new(place.any(line).output().expect("the binary was built"))
}

#[test]
fn the_path_of_a_key_is_no_secret() {
    let place = Place::new(
        "flows: {f: {embedded: {tls: {cert: c.pem, key: my-key.pem}}}, g: {host: \"grpcs://h:1\", tls: {insecure: true}}}
scenarios: [{name: s, flow: f, documents: {text: x, count: 1}}]",
    );
    let resolved = any(&place, &["check", "--resolved", "suite.yaml"]);
    assert!(resolved.ends(0).out.contains("my-key.pem"), "{}", resolved.out);
}

#[test]
fn a_window_beyond_the_end_says_when_the_end_was() {
    let place = suite("documents: {text: x}\nrequest_size: 1\nload: {rate: 50/s, duration: 2s}");
    place.run(&["--out", "out"]).ends(0);
    let report = any(&place, &["report", "out/report.json", "--from", "100s", "-f", "json"]);
    let report: Value = serde_json::from_str(&report.out).expect("it is JSON");
    let scenario = &report["scenarios"][0];
    let reason = scenario["validity"]["reasons"].to_string();
    assert!(reason.contains("nothing was measured after 100 s: it lasted "), "{reason}");
    let report = any(&place, &["report", "out/report.json", "--from", "1s", "-f", "json"]);
    let report: Value = serde_json::from_str(&report.out).expect("it is JSON");
    let part = &report["scenarios"][0]["part"];
    assert!(part["to_s"].as_u64().is_some_and(|to| (2..5).contains(&to)), "{part}");
}
