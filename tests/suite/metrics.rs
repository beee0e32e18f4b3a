//! Thresholds on parts of latency, on steps and on counters, over every protocol.

use crate::run::{Place, Ran};

/// A Flow whose second Executor takes a known time.
const FLOW: &str = "flows: {f: {embedded: {family: v1, executors: [{name: quick}, {name: slow.one, service_time: 30ms}]}}}\n";

#[test]
fn times_in_executors_and_gateway_may_be_thresholds_over_every_protocol() {
    for protocol in ["grpc", "http", "websocket"] {
        let place = Place::new(&format!(
            "{FLOW}scenarios:
  - name: s
    protocol: {protocol}
    documents: {{text: a}}
    load: {{clients: 2, requests: 60}}
    thresholds:
      - executor.slow.one.p90 >= 5ms
      - executor.slow.one.mean < 60s
      - executor.quick.p50 < 60s
      - gateway.p50 < 60s
      - network.p50 < 60s
      - p50 >= 5ms
      - executor.slow.one.p50 < 5ms"
        ));
        place.run(&["--out", "out"]).ends(1);
        let report = place.report();
        let judged = report["scenarios"][0]["thresholds"].as_array().expect("a list");
        let verdicts: Vec<_> = judged.iter().take(7).map(|t| t["verdict"].as_str()).collect();
        let held = [Some("held"); 6];
        assert_eq!(verdicts[..6], held, "{protocol}: {judged:?}");
        assert_eq!(verdicts[6], Some("failed"), "{protocol}: {judged:?}");
        let actual = judged[6]["actual"].as_f64().expect("a number");
        assert!((30.0..200.0).contains(&actual), "{protocol}: {actual}");
        assert_eq!(judged[6]["unit"], "ms");
    }
}

#[test]
fn a_step_named_like_a_part_of_the_time_is_what_a_threshold_is_about() {
    let place = Place::new(&format!(
        "{FLOW}scenarios:
  - name: s
    load: {{clients: 1, requests: 12}}
    thresholds: [gateway.p50 >= 30ms, network.p50 >= 30ms]
    steps: [{{name: gateway}}, {{name: network}}]"
    ));
    place.run(&["--out", "out"]).ends(0);
}

#[test]
fn counters_may_be_thresholds_and_end_a_load() {
    let suite = |threshold: &str| {
        Place::new(&format!(
            "{FLOW}scenarios:
  - name: s
    documents: {{text: a}}
    load: {{clients: 1, requests: 200}}
    on_done: [{{count: answered}}]
    on_error: [{{count: lost}}]
    thresholds: [{threshold}]"
        ))
    };
    let place = suite("count.answered == 200, count.lost == 0");
    place.run(&["--out", "out"]).ends(0);
    let judged = place.report()["scenarios"][0]["thresholds"].clone();
    assert_eq!((&judged[0]["actual"], &judged[0]["unit"]), (&200.0.into(), &"count".into()));
    assert_eq!(judged[1]["actual"], 0.0);

    let place = suite("{that: count.answered < 20, abort: true}");
    place.run(&["--out", "out"]).ends(1);
    let scenario = &place.report()["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "aborted");
    assert!(scenario["requests"]["ok"].as_u64().expect("a count") < 200, "{scenario}");
}

#[test]
fn what_no_response_tells_is_inconclusive() {
    let place = Place::new(&format!(
        "{FLOW}scenarios:
  - name: s
    documents: {{text: a}}
    load: {{clients: 1, requests: 30}}"
    ));
    place.run(&["--out", "out"]).ends(0);
    let again = |threshold: &str| {
        let arguments = ["report", "out/report.json", "--threshold", threshold];
        Ran::new(place.any(&arguments).output().expect("it was built"))
    };
    again("executor.slow.one.p50 >= 30ms").ends(0);
    again("executor.missing.p50 < 1s").ends(4);
    again("count.missing == 0").ends(4);
}

#[test]
fn a_search_may_have_an_executor_as_its_objective() {
    // One at a time, 5 ms each: the maximum is 200/s.
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: 5ms, concurrency: 1}]}}}
scenarios: [{name: s, documents: {text: a}, request_size: 1, load: {rate: 10/s, duration: 1s}}]",
    );
    let search = |objective: &str| {
        let arguments = [
            "capacity",
            "suite.yaml",
            "--rate",
            "50/s..400/s",
            "--objective",
            objective,
            "--trial",
            "2s",
            "--precision",
            "30%",
            "--skip-overload",
            "--out",
            "out",
        ];
        Ran::new(place.any(&arguments).output().expect("it was built"))
    };
    search("executor.f.p90 < 40ms").ends(2);
    search("executor.e.p90 < 40ms");
    let text = std::fs::read_to_string(place.path("out/capacity.json")).expect("it was written");
    let result: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let trials = result["trials"].as_array().expect("a list");
    let outcome = |trial: &serde_json::Value| trial["outcome"].as_str().map(str::to_owned);
    for trial in trials {
        let (level, outcome) = (trial["level"].as_f64().expect("a level"), outcome(trial));
        if level > 250.0 {
            assert_ne!(outcome.as_deref(), Some("held"), "{trial}");
        }
        if level < 150.0 {
            assert_ne!(outcome.as_deref(), Some("failed"), "{trial}");
        }
    }
}
