//! Loads that ended early: their rates are averages over the time in which they were running.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::run::{Place, Ran, Running, counts_are_conserved};

/// Responses take so long that none arrives before the end.
const SLOW: &str =
    "flows: {f: {embedded: {executors: [{name: e, service_time: 3s, concurrency: 1000}]}}}
scenarios:
  - {name: s, documents: {text: x}, request_size: 1, load: {rate: 50/s, duration: 1h}, grace: 6s}";

fn read(place: &Place, path: &str) -> Value {
    let ran = place.any(&["report", path, "-o", "read.json"]).output().expect("it was built");
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(place.path("read.json")).expect("it was written");
    serde_json::from_str::<Value>(&text).expect("it is JSON")["scenarios"][0].clone()
}

#[track_caller]
fn near(found: &Value, wanted: f64, by: f64) {
    let found = found.as_f64().unwrap_or(f64::NAN);
    assert!((found - wanted).abs() <= by, "{found} is not {wanted} ± {by}");
}

/// Runs for this long, then sends a signal.
fn signalled(place: &Place, after: Duration, signal: Signal) -> Ran {
    let running = Running::start(&mut place.command(&["--out", "out", "-q"]));
    std::thread::sleep(after);
    running.signal(signal);
    running.end()
}

#[test]
fn the_drain_of_an_interrupted_load_dilutes_no_rate() {
    let place = Place::new(SLOW);
    signalled(&place, Duration::from_secs(3), Signal::INT).ends(130);
    let scenario = read(&place, "out/report.json");
    counts_are_conserved(&scenario);
    near(&scenario["throughput"]["offered_per_s"], 50.0, 2.0);
    let duration = scenario["duration_s"].as_f64().expect("a number");
    assert!(duration < 3.5, "until it was interrupted, not until the last response: {duration}");
    // All were answered, most of them after the end.
    assert_eq!(scenario["requests"]["ok"], scenario["requests"]["sent"]);
    let (in_flight, sent) = (&scenario["client"]["in_flight"], &scenario["requests"]["sent"]);
    near(&in_flight["mean"], sent.as_f64().expect("a number") / 2.0, 8.0);
    near(&in_flight["by_littles_law"], in_flight["mean"].as_f64().expect("a number"), 1.0);
}

#[test]
fn the_rates_of_a_killed_run_are_of_the_time_its_journal_knows() {
    // No responses arrive from the third second on.
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: 5ms, stall: {every: 62s, for: 60s}}]}}}
scenarios:
  - {name: s, documents: {text: x}, request_size: 1, load: {rate: 50/s, duration: 1h}}",
    );
    signalled(&place, Duration::from_secs(6), Signal::KILL);
    let scenario = read(&place, "out/journal.jsonl");
    counts_are_conserved(&scenario);
    let duration = scenario["duration_s"].as_f64().expect("a number");
    assert!((4.0..6.5).contains(&duration), "{duration}");
    near(&scenario["throughput"]["offered_per_s"], 50.0, 2.0);
    near(&scenario["throughput"]["requests_per_s"], 100.0 / duration, 4.0);
    // The mean of zero for two seconds and 50 more per second from then on.
    let waited = duration - 2.0;
    near(&scenario["client"]["in_flight"]["mean"], 50.0 * waited * waited / 2.0 / duration, 8.0);
    let threshold = ["report", "out/journal.jsonl", "--threshold", "throughput > 45/s"];
    let ran = Ran::new(place.any(&threshold).output().expect("it was built"));
    assert!(!ran.out.contains("passed"), "{}", ran.out);
}

#[test]
fn scenarios_after_a_killed_one_are_not_reached() {
    let place = Place::new(&format!(
        "{SLOW}\n  - {{name: never, needs: [s], load: {{clients: 1, requests: 1}}}}"
    ));
    signalled(&place, Duration::from_secs(1), Signal::KILL);
    let ran = place.any(&["report", "out/journal.jsonl", "-f", "json"]).output().expect("built");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    let never = &report["scenarios"][1];
    assert_eq!(never["verdict"], "not_reached", "{never}");
    assert_eq!(never["thresholds"].as_array().map(Vec::len), Some(3));
}

#[test]
fn an_abort_on_a_count_looks_at_all_since_the_start() {
    let load = "documents: {text: x}, request_size: 1, load: {rate: 50/s, duration: 4s}";
    // 200 are sent in all, but never more than 50 in a second.
    let place = Place::new(&format!(
        "scenarios: [{{name: s, {load}, thresholds: [{{that: requests <= 120, abort: true}}]}}]"
    ));
    place.run(&["--out", "out"]).ends(1);
    let scenario = read(&place, "out/report.json");
    assert_eq!(scenario["end"]["reason"], "aborted");
    let sent = scenario["requests"]["sent"].as_u64().expect("a count");
    assert!((121..200).contains(&sent), "{sent}");
    near(&scenario["throughput"]["offered_per_s"], 50.0, 2.0);
    // A threshold that is only known at the end is rejected.
    let place = Place::new(&format!(
        "scenarios: [{{name: s, {load}, thresholds: [{{that: requests >= 200, abort: true}}]}}]"
    ));
    let ran = place.run(&[]);
    ran.ends(2);
    assert!(ran.err.contains("known only when the load is over"), "{}", ran.err);
}

#[test]
fn a_load_beyond_capacity_in_its_last_stage_is_not_valid() {
    let flow = "{embedded: {executors: [{name: e, service_time: 20ms, concurrency: 2}]}}";
    let place = Place::new(&format!(
        "flows: {{f: {flow}, g: {flow}}}
defaults: {{request_size: 1, grace: 30s}}
scenarios:
  - {{name: stages, flow: f, documents: {{text: x}}, thresholds: [p50 < 10s],
     load: {{stages: [{{rate: 40/s, for: 2s}}, {{rate: 80/s, for: 3s}}, {{rate: 200/s, for: 4s}}]}}}}
  - {{name: documents, flow: g, documents: {{text: x, count: 1000}}, thresholds: [p95 < 10s],
     load: {{rate: 200/s, duration: 60s}}}}"
    ));
    place.run(&["--out", "out"]).ends(4);
    for scenario in place.report()["scenarios"].as_array().expect("a list") {
        let reasons = scenario["validity"]["reasons"].as_array().expect("a list");
        assert!(reasons.iter().any(|reason| reason["code"] == "overload"), "{scenario}");
    }
}
