//! Real searches: the command against embedded Flows whose capacity is known, through a protocol, in
//! real time. Service takes so long that what a busy machine adds is small beside it.

use std::process::{Command, Stdio};

use serde_json::Value;

/// How often a search may say that it cannot tell, because something else took the machine, before
/// the test fails: it never passes without an answer.
const ATTEMPTS: usize = 3;

/// How far what was found may lie from what theory says.
const OFF_MAX: f64 = 0.05;

/// What `flowbench capacity` writes about a Flow of these Executors.
fn search(protocol: &str, executors: &str, levels: [&str; 2], more: &[&str]) -> Value {
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
            .args(["capacity", "suite.yaml", "--objective", "p90 < 60ms"])
            .args(levels)
            .args(["--trial", "15s", "--skip-overload", "--out", "out", "--json"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("the binary was built");
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(matches!(ran.status.code(), Some(0 | 4)), "{err}");
        let printed: Value = serde_json::from_slice(&ran.stdout).expect("it prints JSON");
        let saved = std::fs::read(folder.path().join("out/capacity.json")).expect("it is written");
        assert_eq!(serde_json::from_slice::<Value>(&saved).expect("it is JSON"), printed);
        // Trials that were not valid leave an answer without one of its ends, and it says so.
        let whole = printed["answer"]["edge"]["fails"].is_number();
        if ran.status.code() == Some(0) && whole {
            return printed;
        }
        told.push_str(printed["words"].as_str().expect("a sentence"));
        told.push('\n');
    }
    panic!("no search of {ATTEMPTS} could tell:\n{told}");
}

/// What holds is as much as theory says, what fails is more.
#[track_caller]
fn is_found(capacity: &Value, theory_per_s: f64) {
    let edge = &capacity["answer"]["edge"];
    let of = |key: &str| edge[key].as_f64().expect("a rate") / theory_per_s - 1.0;
    let (held, fails) = (of("held"), of("fails"));
    let words = &capacity["words"];
    assert!(held.abs() <= OFF_MAX, "{theory_per_s}/s: off by {held:.3}: {words}");
    assert!((-0.005..=2.0 * OFF_MAX).contains(&fails), "{theory_per_s}/s: {fails:.3}: {words}");
}

/// The Executor that a search says saturates first.
fn saturates_first(capacity: &Value) -> Vec<&str> {
    let executors = capacity["models"]["executors"].as_array().expect("Executors");
    let first = executors.iter().filter(|executor| executor["saturates_first"] == true);
    first.filter_map(|executor| executor["name"].as_str()).collect()
}

#[test]
fn one_at_a_time_holds_the_inverse_of_its_service_time() {
    let one = "{name: e, service_time: 10ms, concurrency: 1}";
    is_found(&search("grpc", one, ["--rate", "60/s..170/s"], &[]), 100.0);
}

#[test]
fn eight_at_a_time_hold_eight_times_as_much() {
    let eight = "{name: e, service_time: 40ms, concurrency: 8}";
    is_found(&search("http", eight, ["--rate", "120/s..340/s"], &[]), 200.0);
}

#[test]
fn of_two_executors_the_narrow_one_sets_the_capacity_and_is_named() {
    let two = "{name: wide, service_time: 10ms, concurrency: 4}, \
               {name: narrow, service_time: 10ms, concurrency: 1}";
    let found = search("websocket", two, ["--rate", "60/s..170/s"], &[]);
    is_found(&found, 100.0);
    assert_eq!(saturates_first(&found), ["narrow"]);
}

#[test]
fn clients_that_wait_are_as_many_as_their_time_allows_and_planned_for_by_their_rate() {
    // One at a time, 10 ms each: n clients wait 10 ms · n, and make 100 requests a second.
    let one = "{name: e, service_time: 10ms, concurrency: 1}";
    let plan = ["--peak", "140/s", "--headroom", "30%"];
    let found = search("grpc", one, ["--clients", "1..32"], &plan);
    let edge = &found["answer"]["edge"];
    assert_eq!((edge["held"].as_f64(), edge["fails"].as_f64()), (Some(5.0), Some(6.0)));
    let holds = found["plan"]["holds_per_s"].as_f64().expect("a rate");
    assert!((holds / 100.0 - 1.0).abs() <= OFF_MAX, "{holds}");
    let needed = (200.0 / holds).ceil();
    assert_eq!(found["plan"]["steps"][0]["replicas"].as_f64(), Some(needed), "{}", found["plan"]);
}
