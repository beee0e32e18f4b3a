//! Real searches: the command against embedded Flows with known capacity, over a protocol, in real time.
//! Service is slow enough to dwarf the delays of a busy machine.

use std::process::{Command, Stdio};

use serde_json::Value;

/// How often a search may be inconclusive, because of other load on the machine, before the test fails: it
/// never passes without an answer.
const ATTEMPTS: usize = 3;

/// The largest allowed deviation from theory, as a share.
const OFF_MAX: f64 = 0.05;

/// The objective, and the maximum length of a trial.
const SLOW: [&str; 4] = ["--objective", "p90 < 60ms", "--trial", "15s"];

/// The result of `flowbench capacity` for a Flow with these Executors.
fn search(protocol: &str, executors: &str, options: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let suite = format!(
        "flows: {{f: {{embedded: {{executors: [{executors}]}}}}}}\nscenarios: [{{name: s, protocol: \
         {protocol}, documents: {{text: a}}, request_size: 1, load: {{rate: 1/s, arrivals: uniform, \
         duration: 1s}}}}]\n"
    );
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("it can be written");
    let mut told = String::new();
    for _ in 0..ATTEMPTS {
        let ran = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .current_dir(folder.path())
            .args(["capacity", "suite.yaml", "--skip-overload", "--out", "out", "--json"])
            .args(options)
            .stdin(Stdio::null())
            .output()
            .expect("the binary was built");
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(matches!(ran.status.code(), Some(0 | 4)), "{err}");
        let printed: Value = serde_json::from_slice(&ran.stdout).expect("it prints JSON");
        let saved = std::fs::read(folder.path().join("out/capacity.json")).expect("it is written");
        assert_eq!(serde_json::from_slice::<Value>(&saved).expect("it is JSON"), printed);
        // Invalid trials leave an answer without one of its ends, and it says so.
        let whole = printed["answer"]["edge"]["fails"].is_number();
        if ran.status.code() == Some(0) && whole {
            return printed;
        }
        told.push_str(printed["words"].as_str().expect("a sentence"));
        told.push('\n');
    }
    panic!("no search of {ATTEMPTS} could tell:\n{told}");
}

/// Checks that the passing load is what theory predicts, and the failing load is higher.
#[track_caller]
fn is_found(capacity: &Value, theory_per_s: f64) {
    let edge = &capacity["answer"]["edge"];
    let of = |key: &str| edge[key].as_f64().expect("a rate") / theory_per_s - 1.0;
    let (held, fails) = (of("held"), of("fails"));
    let words = &capacity["words"];
    assert!(held.abs() <= OFF_MAX, "{theory_per_s}/s: off by {held:.3}: {words}");
    assert!((-0.005..=2.0 * OFF_MAX).contains(&fails), "{theory_per_s}/s: {fails:.3}: {words}");
}

/// The Executor that saturates first according to a search.
fn saturates_first(capacity: &Value) -> Vec<&str> {
    let executors = capacity["models"]["executors"].as_array().expect("Executors");
    let first = executors.iter().filter(|executor| executor["saturates_first"] == true);
    first.filter_map(|executor| executor["name"].as_str()).collect()
}

#[test]
fn one_at_a_time_holds_the_inverse_of_its_service_time() {
    let one = "{name: e, service_time: 10ms, concurrency: 1}";
    is_found(&search("grpc", one, &[&SLOW[..], &["--rate", "60/s..170/s"]].concat()), 100.0);
}

#[test]
fn eight_at_a_time_hold_eight_times_as_much() {
    let eight = "{name: e, service_time: 40ms, concurrency: 8}";
    is_found(&search("http", eight, &[&SLOW[..], &["--rate", "120/s..340/s"]].concat()), 200.0);
}

#[test]
fn of_two_executors_the_narrow_one_sets_the_capacity_and_is_named() {
    let two = "{name: wide, service_time: 10ms, concurrency: 4}, \
               {name: narrow, service_time: 10ms, concurrency: 1}";
    let found = search("websocket", two, &[&SLOW[..], &["--rate", "60/s..170/s"]].concat());
    is_found(&found, 100.0);
    assert_eq!(saturates_first(&found), ["narrow"]);
}

#[test]
fn service_that_degrades_with_concurrency_holds_what_it_can_at_the_limit() {
    // n in service take 10 ms · (1 + 20 % · (n − 4)); at the limit of 60 ms there are 29.
    let knee = "{name: e, service_time: {knee: {time: 10ms, at: 4, growth: 20%}}}";
    let found = search("grpc", knee, &[&SLOW[..], &["--rate", "300/s..800/s"]].concat());
    is_found(&found, 29.0 / 0.06);
}

#[test]
fn what_fails_above_a_rate_is_found_and_the_best_size_of_requests_recommended() {
    // 400/s are served, the rest is refused: a twentieth at 400/0.95. A request with 40 Documents takes 50 ms
    // and at most 20 in the queue; one with 100 is always too slow.
    let refuses = "{name: narrow, service_time: 10ms, concurrency: 4, queue: 8}, \
                   {name: each, service_time: {per_document: 1ms}}";
    let objective = ["--objective", "error_rate < 5%", "--objective", "p90 < 100ms"];
    let range = ["--rate", "200/s..800/s", "--trial", "4s", "--request-size", "40,100"];
    let found = search("grpc", refuses, &[&objective[..], &range].concat());
    is_found(&found, 400.0 / 0.95);
    let pareto = &found["pareto"];
    let of = |key: &str| [&pareto["variants"][0][key], &pareto["variants"][1][key]];
    assert_eq!(of("request_size"), [40, 100]);
    assert_eq!(of("holds"), [true, false], "{pareto}");
    assert_eq!(pareto["recommended"], 0, "{pareto}");
    // A coarse search: accurate to a fifth.
    let documents = of("documents_per_s")[0].as_f64().expect("a rate") / (40.0 * 400.0 / 0.95);
    assert!((0.8..=1.05).contains(&documents), "{pareto}");
}

#[test]
fn clients_that_wait_are_as_many_as_their_time_allows_and_planned_for_by_their_rate() {
    // One at a time, 10 ms each: n clients wait 10 ms · n, for a total of 100 requests per second.
    let one = "{name: e, service_time: 10ms, concurrency: 1}";
    let plan = ["--clients", "1..32", "--peak", "140/s", "--headroom", "30%"];
    let found = search("grpc", one, &[&SLOW[..], &plan].concat());
    let edge = &found["answer"]["edge"];
    assert_eq!((edge["held"].as_f64(), edge["fails"].as_f64()), (Some(5.0), Some(6.0)));
    let holds = found["plan"]["holds_per_s"].as_f64().expect("a rate");
    assert!((holds / 100.0 - 1.0).abs() <= OFF_MAX, "{holds}");
    let needed = (200.0 / holds).ceil();
    assert_eq!(found["plan"]["steps"][0]["replicas"].as_f64(), Some(needed), "{}", found["plan"]);
}
