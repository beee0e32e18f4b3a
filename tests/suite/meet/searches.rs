//! Commands that run a load repeatedly, in connected parts: part 1 decides, the others follow.

use std::process::{Child, Output};

use serde_json::Value;

use super::{Connected, SECRET, TOKEN, ended};
use crate::parts::text;

/// Starts one part of a command.
fn start(connected: &Connected, part: &str, arguments: &[&str]) -> Child {
    let mut command = connected.place.command(arguments);
    command.args(["--part", part, "--meet", &connected.address, "--meet-wait", "60s", "--quiet"]);
    command.env(TOKEN, SECRET).spawn().expect("the binary was built")
}

/// Runs all parts of a command to their ends.
fn all(connected: &Connected, of: u64, arguments: &[&str]) -> Vec<Output> {
    let parts: Vec<Child> =
        (1..=of).map(|part| start(connected, &format!("{part}/{of}"), arguments)).collect();
    parts.into_iter().map(ended).collect()
}

#[test]
fn a_search_of_all_parts_finds_the_capacity_of_the_flow() {
    // Ten requests at a time, 50 ms each: 200/s.
    let connected = Connected::with_flow(
        "executors: [{name: e, service_time: 50ms, concurrency: 10}]",
        "load: {rate: 10/s, duration: 1s}",
    );
    let arguments = [
        "capacity",
        "suite.yaml",
        "--objective",
        "p90 < 500ms",
        "--rate",
        "40/s..800/s",
        "--trial",
        "3s",
        "--precision",
        "25%",
        "--confidence",
        "90%",
        "--skip-overload",
        "--out",
        "out",
        "--json",
    ];
    let outputs = all(&connected, 3, &arguments);
    // On a busy machine it may not find the edge.
    let code = outputs[0].status.code();
    assert!([Some(0), Some(4)].contains(&code), "{code:?} {}", text(&outputs[0].stderr));
    for other in &outputs[1..] {
        assert_eq!(other.status.code(), Some(0), "{}", text(&other.stderr));
        assert_eq!(text(&other.stdout), "", "part 1 has the result");
    }
    let found: Value = serde_json::from_slice(&outputs[0].stdout).expect("JSON");
    let trials = found["trials"].as_array().expect("trials");
    assert!(trials.len() >= 3, "{found:#}");
    for trial in trials {
        let (level, offered) = (&trial["level"], &trial["point"]["offered_per_s"]);
        let [level, offered] = [level, offered].map(|value| value.as_f64().expect("a number"));
        assert!((offered - level).abs() < level * 0.2, "{level}: {offered} of all parts");
    }
    assert_eq!(found["interrupted"], false);
    let of = |outcome: &str| {
        let trials = trials.iter().filter(|trial| trial["outcome"] == outcome);
        trials.map(|trial| trial["level"].as_f64().expect("a number")).collect::<Vec<_>>()
    };
    let (passed, failed) = (of("passed"), of("failed"));
    assert!(passed.iter().all(|level| *level < 230.0), "{passed:?}");
    assert!(failed.iter().all(|level| *level > 150.0), "{failed:?}");
    assert!(!failed.is_empty(), "{trials:#?}");
}

#[test]
fn a_search_ends_when_a_part_is_lost() {
    let connected = Connected::new("load: {rate: 10/s, duration: 1s}");
    let arguments = [
        "capacity",
        "suite.yaml",
        "--objective",
        "p90 < 500ms",
        "--rate",
        "20/s..8000/s",
        "--out",
        "out",
    ];
    let parts = ["1/3", "2/3", "3/3"].map(|part| start(&connected, part, &arguments));
    std::thread::sleep(std::time::Duration::from_secs(4));
    let [first, second, mut third] = parts;
    third.kill().expect("it runs");
    ended(third);
    let (first, second) = (ended(first), ended(second));
    assert_eq!(first.status.code(), Some(3));
    let told = text(&first.stderr);
    assert!(told.starts_with("error: part 3 of 3 was lost: "), "{told}");
    // The other one says the same, and not that it was part 1 or that nothing had begun.
    assert_eq!(second.status.code(), Some(3), "{}", text(&second.stderr));
    let told = text(&second.stderr);
    assert!(told.contains("error: --meet: part 3 of 3 was lost: "), "{told}");
}

/// A gate that goes on for longer than a test waits.
const LONG_GATE: &[&str] = &[
    "gate",
    "suite.yaml",
    "--base-flow",
    "f",
    "--candidate-flow",
    "f",
    "--gate",
    "p50 +400% +1s",
    "--runs",
    "90",
    "--force",
];

/// The same of a baseline.
const LONG_BASELINE: &[&str] = &["noise", "suite.yaml", "--runs", "90", "--out", "baseline"];

#[test]
fn who_loses_part_1_of_a_search_a_gate_or_a_baseline_says_so() {
    for arguments in [
        &["capacity", "suite.yaml", "--objective", "p90 < 500ms", "--rate", "20/s..8000/s"][..],
        LONG_GATE,
        LONG_BASELINE,
    ] {
        let connected = Connected::new("load: {rate: 10/s, duration: 1s}");
        let [mut first, second, third] =
            ["1/3", "2/3", "3/3"].map(|part| start(&connected, part, arguments));
        std::thread::sleep(std::time::Duration::from_secs(4));
        first.kill().expect("it runs");
        ended(first);
        for other in [second, third].map(ended) {
            let told = text(&other.stderr);
            assert_eq!(other.status.code(), Some(3), "{}: {told}", arguments[0]);
            assert!(told.contains("error: --meet: part 1 of 3 was lost: "), "{told}");
        }
    }
}

#[test]
fn a_gate_or_a_baseline_ends_in_all_parts_when_one_is_lost() {
    for arguments in [LONG_GATE, LONG_BASELINE] {
        let connected = Connected::new("load: {rate: 10/s, duration: 1s}");
        let [first, mut second, third] =
            ["1/3", "2/3", "3/3"].map(|part| start(&connected, part, arguments));
        std::thread::sleep(std::time::Duration::from_secs(4));
        second.kill().expect("it runs");
        ended(second);
        for other in [first, third].map(ended) {
            let told = text(&other.stderr);
            assert_eq!(other.status.code(), Some(3), "{}: {told}", arguments[0]);
            assert!(told.contains("part 2 of 3 "), "{told}");
        }
    }
}

#[test]
fn who_compares_runs_does_not_go_on_without_a_part() {
    let connected = Connected::new("load: {rate: 10/s, duration: 1s}");
    for arguments in [
        &["capacity", "suite.yaml", "--objective", "p90 < 500ms", "--rate", "20/s..80/s"][..],
        &["noise", "suite.yaml", "--out", "baseline"],
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--lost", "note"]);
        let output = ended(start(&connected, "1/2", &all));
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains("--lost note: this command compares runs of all parts"), "{told}");
    }
}

#[test]
fn noise_and_gates_are_of_runs_of_all_parts() {
    let connected = Connected::new("load: {rate: 60/s, duration: 1s}");
    let noise = ["noise", "suite.yaml", "--runs", "5", "--out", "baseline"];
    for output in all(&connected, 2, &noise) {
        let code = output.status.code();
        // A busy machine makes unusable runs.
        assert!([Some(0), Some(4)].contains(&code), "{code:?} {}", text(&output.stderr));
    }
    // Noise sets aside unusable runs, and outliers.
    let names = ["run-001.json", "unused/run-001-1.json", "unused/run-001.json"];
    let run = names
        .iter()
        .map(|name| format!("baseline/{name}"))
        .find_map(|name| std::fs::read_to_string(connected.place.path(&name)).ok());
    let run: Value = serde_json::from_str(&run.expect("a run")).expect("JSON");
    assert_eq!(run["scenarios"][0]["requests"]["sent"], 60, "of both parts");
    assert_eq!(run["parts"].as_array().map(Vec::len), Some(2));

    let gate = [
        "gate",
        "suite.yaml",
        "--base-flow",
        "f",
        "--candidate-flow",
        "f",
        "--gate",
        "p50 +400% +1s",
        "--runs",
        "3",
        "--force",
        "--out",
        "runs",
    ];
    let codes: Vec<_> =
        all(&connected, 2, &gate).into_iter().map(|output| output.status.code()).collect();
    assert_eq!(codes[1], Some(0));
    assert!([Some(0), Some(4)].contains(&codes[0]), "{codes:?}");
    let run = std::fs::read_to_string(connected.place.path("runs/base-1.json")).expect("a run");
    let run: Value = serde_json::from_str(&run).expect("JSON");
    assert_eq!(run["scenarios"][0]["requests"]["sent"], 60, "of both parts");

    // Their results cannot be merged afterwards.
    for command in ["capacity", "gate", "noise"] {
        let mut arguments = vec![command, "suite.yaml", "--part", "1/2"];
        if command == "gate" {
            arguments.extend(["--base-flow", "f", "--candidate-flow", "f", "--gate", "p50 +10%"]);
        }
        let output = connected.place.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(text(&output.stderr).contains("the parts of this command have to be connected"));
    }
}
