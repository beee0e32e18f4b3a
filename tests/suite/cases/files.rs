//! Files that are written and read during a run: those of `save`, and input through pipes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::run::{Place, Ran, suite};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

fn shell(folder: &Path, script: &str) -> Ran {
    let mut command = Command::new("bash");
    let script = script.replace("flowbench", &format!("'{FLOWBENCH}'"));
    command.current_dir(folder).args(["-c", &script]).stdin(Stdio::null());
    Ran::new(command.output().expect("there is a shell"))
}

#[test]
fn what_save_counts_is_in_its_file_beside_the_suite_even_after_a_kill() {
    let place = suite(
        "documents: {text: hello}
request_size: 1
load: {rate: 100/s, duration: 1h}
on_done: [{save: saved/deep/docs.jsonl}]",
    );
    std::fs::create_dir(place.path("elsewhere")).expect("there is room");
    let mut command = Command::new(FLOWBENCH);
    command.current_dir(place.path("elsewhere")).args(["run", "../suite.yaml", "--out", "../out"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it was built");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut lines = lines.map(|line| line.expect("it is text"));
    lines.find(|line| line.contains(" done, p50 ")).expect("it runs");
    kill_process(Pid::from_child(&child), Signal::KILL).expect("it runs");
    std::thread::spawn(move || lines.count());
    child.wait().expect("it ends");
    let report = shell(&place.path(""), "flowbench report out/journal.jsonl -f json");
    let report: Value = serde_json::from_str(&report.out).expect("it is JSON");
    let counted = report["scenarios"][0]["callbacks"]["on_done"]["fired"].as_u64().expect("one");
    let saved = std::fs::read_to_string(place.path("saved/deep/docs.jsonl")).expect("it is there");
    let whole = saved.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert!(counted > 0 && whole as u64 >= counted, "{whole} of {counted}");
}

#[test]
fn a_pipe_and_a_report_of_the_run_are_no_targets_of_save() {
    let place = suite("documents: {text: x, count: 3}\non_done: [{save: pipe}]");
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().expect("it runs").success());
    let ran = place.run(&["--out", "out"]);
    ran.ends(2);
    assert!(ran.err.contains("it is not a file"), "{}", ran.err);
    for target in ["out/report.json", "out/../out/report.html", "out/comparison.md"] {
        let place =
            suite(&format!("documents: {{text: x, count: 3}}\non_error: [{{save: {target}}}]"));
        let ran = place.run(&["--out", "out"]);
        ran.ends(2);
        assert!(ran.err.contains("is a report of this run"), "{}", ran.err);
        assert!(!place.path("out").exists(), "nothing is left of it");
    }
}

#[test]
fn suites_and_results_may_come_through_a_pipe() {
    let place = Place::new(
        "flows: {a: {embedded: {}}, b: {embedded: {}}}
scenarios: [{name: s, flow: a, documents: {text: x, count: 5}}]",
    );
    let folder = place.path("");
    for (script, says) in [
        ("flowbench check <(cat suite.yaml)", "1 scenario on 2 flows"),
        ("cat suite.yaml | flowbench plan /dev/stdin", "flow a over grpc"),
        ("cat suite.yaml | flowbench run /dev/stdin --out out", "passed"),
        ("flowbench report <(cat out/report.json)", "passed"),
        ("flowbench report -f markdown /dev/stdin <out/report.json", "suite: passed"),
        (
            "flowbench compare <(cat out/report.json) -- <(cat out/report.json) --force",
            "throughput",
        ),
        (
            "flowbench gate <(cat suite.yaml) --base-flow a --candidate-flow b --runs 1 \
          --gate 'p50 +900%' --force --inconclusive pass",
            "p50 +900%",
        ),
    ] {
        let ran = shell(&folder, script);
        ran.ends(0);
        assert!(ran.out.contains(says), "{script}: {}", ran.out);
    }
    let ran = shell(&folder, "flowbench report <(echo '{\"schema\": 5}')");
    ran.ends(2);
    assert!(ran.err.contains("/dev/fd/"), "it goes by the name that was given: {}", ran.err);
}
