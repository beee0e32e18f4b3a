//! Gates that passed by accident: with missing data, with copies, with meaningless runs.

use std::path::Path;
use std::process::Command;

use flowbench::compare::noise::Noise;
use flowbench::compare::{ALPHA, Saved};
use serde_json::Value;
use tempfile::TempDir;

use super::input;
use crate::run::Ran;

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder for the test"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("room");
        std::fs::write(path, text).expect("there is room");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("it is JSON")
    }

    fn flowbench(&self, line: &[&str]) -> Ran {
        let mut command = Command::new(FLOWBENCH);
        Ran::new(command.current_dir(self.path()).args(line).output().expect("it was built"))
    }

    /// Runs a suite, whatever the outcome.
    fn run(&self, suite: &str, out: &str) {
        self.flowbench(&["run", suite, "--quiet", "--out", out]);
        assert!(self.path().join(out).join("report.json").is_file(), "{out}");
    }
}

/// The text, regardless of line breaks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_scenario_that_the_candidate_no_longer_has_is_not_green() {
    let place = Place::new();
    for name in ["one.yaml", "two.yaml"] {
        place.write(
            name,
            &input("gate-scenario-missing", name).replace("requests: 800", "requests: 50"),
        );
    }
    for (suite, side) in [("two.yaml", "base"), ("one.yaml", "cand")] {
        (1..=3).for_each(|number| place.run(suite, &format!("{side}/{number}")));
    }
    let compare = |more: &[&str]| {
        let line = ["compare", "base", "--", "cand", "--gate", "p50 +900%", "-o", "gate.xml"];
        place.flowbench(&[&line[..], &["--force"], more].concat())
    };
    let ran = compare(&["-o", "gate.json"]);
    ran.ends(4);
    assert!(ran.out.contains("missing in the candidate: index"), "{}", ran.out);
    assert!(ran.out.contains("inconclusive: the candidate has no such scenario"), "{}", ran.out);
    let junit = place.read("gate.xml");
    let suite = junit.split("<testsuite name=\"index\" tests=\"1\" failures=\"1\"").nth(1);
    let suite = suite.expect("it has a case").split("</testsuite>").next().unwrap_or_default();
    assert!(suite.contains("name=\"p50 +900%\"") && suite.contains("<failure"), "{suite}");
    let comparison = place.json("gate.json");
    assert_eq!(comparison["verdict"], "cant_tell");
    assert_eq!(comparison["scenarios"][1]["runs"], serde_json::json!([3, 0]));
    compare(&["--inconclusive", "warn"]).ends(0);
    assert!(
        place.read("gate.xml").contains("<skipped message=\"can&#x27;t tell")
            || place.read("gate.xml").contains("<skipped message=\"inconclusive")
    );
    // Without gates there is no verdict.
    place.flowbench(&["compare", "base", "--", "cand", "--force"]).ends(0);
}

#[test]
fn a_run_of_some_scenarios_does_not_miss_the_others() {
    let place = Place::new();
    let suite = input("gate-scenario-missing", "two.yaml").replace("requests: 800", "requests: 50");
    place.write("two.yaml", &suite);
    place.run("two.yaml", "base/1");
    let line = ["run", "two.yaml", "--only", "search", "--baseline", "base", "--out", "out"];
    let ran = place.flowbench(&[&line[..], &["--force", "--gate", "error_rate +100%"]].concat());
    ran.ends(0);
    assert!(!place.read("out/comparison.json").contains("\"index\""));
}

#[test]
fn copies_of_a_result_count_once() {
    let place = Place::new();
    place.write(
        "t.yaml",
        "flows: {e: {embedded: {executors: [{name: a, service_time: 2ms}]}}}
scenarios: [{name: s, documents: {text: hi}, request_size: 1, load: {clients: 2, requests: 200}}]",
    );
    place.run("t.yaml", "a");
    place.run("t.yaml", "b");
    for (from, side) in [("a", "A"), ("b", "B")] {
        let report = place.read(&format!("{from}/report.json"));
        let mut report: Value = serde_json::from_str(&report).expect("it is JSON");
        // A trend skips invalid results, and on a busy machine runs may be invalid.
        report["scenarios"][0]["validity"] = serde_json::json!({"valid": true, "reasons": []});
        let report = report.to_string();
        (1..=10).for_each(|n| place.write(&format!("{side}/{n}/report.json"), &report));
    }
    let gates = ["--force", "--gate", "p50 +0%", "-o", "gate.json"];
    let ran = place.flowbench(&[&["compare", "A", "--", "B"], &gates[..]].concat());
    ran.ends(4);
    let comparison = place.json("gate.json");
    assert_eq!(comparison["scenarios"][0]["runs"], serde_json::json!([1, 1]));
    assert_eq!(comparison["base"].as_array().map(Vec::len), Some(1));
    let notes = comparison["notes"].to_string();
    assert!(notes.contains("A/1/report.json was given 10 times and counts once"), "{notes}");
    assert!(words(&ran.out).contains("1 run of the base, 1 run of the candidate"), "{}", ran.out);
    // A folder and a file in it count as one run as well.
    let ran = place.flowbench(&["compare", "A", "A/1/report.json", "--", "B", "--force"]);
    assert!(words(&ran.out).contains("1 run of the base, 1 run of the candidate"), "{}", ran.out);
    place.flowbench(&["trend", "A", "-o", "trend.json"]).ends(0);
    let trend = place.json("trend.json");
    assert_eq!(trend["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(trend["left_out"][8]["reason"], "it repeats an earlier result");
}

#[test]
fn a_trend_is_refused_as_junit() {
    let place = Place::new();
    for line in [["trend", ".", "-f", "junit"], ["trend", ".", "-o", "trend.xml"]] {
        let ran = place.flowbench(&line);
        ran.ends(2);
        assert!(ran.err.contains("cannot be junit"), "{}", ran.err);
    }
}

/// A suite whose runs are never valid: most requests are still in flight when the load ends.
const NEVER_VALID: &str = "
flows:
  a: {embedded: {executors: [{name: e, service_time: 150ms, concurrency: 99}]}}
  b: {embedded: {executors: [{name: e, service_time: 150ms, concurrency: 99}]}}
scenarios: [{name: s, flow: a, documents: {text: x}, load: {rate: 100/s, duration: 200ms}}]";

#[test]
fn a_gate_whose_runs_are_not_valid_keeps_them_and_writes_all_reports() {
    let place = Place::new();
    place.write("suite.yaml", NEVER_VALID);
    let gate = |policy: &str| {
        let flows = ["--base-flow", "a", "--candidate-flow", "b", "--runs", "1", "--out", "runs"];
        let reports = ["-o", "gate.md", "-o", "gate.xml", "-o", "gate.html", "-o", "gate.json"];
        let gates = ["--gate", "p50 +900%", "--inconclusive", policy];
        place.flowbench(&[&["gate", "suite.yaml"], &flows[..], &gates, &reports].concat())
    };
    for (policy, code) in [("fail", 4), ("warn", 0), ("pass", 0)] {
        let ran = gate(policy);
        ran.ends(code);
        assert!(ran.err.contains("too many runs cannot be used"), "{}", ran.err);
        assert!(place.read("gate.md").contains("inconclusive"));
        assert!(
            place.read("gate.xml").contains("<testcase") && place.read("gate.html").len() > 1000
        );
        let comparison = place.json("gate.json");
        assert_eq!(comparison["verdict"], "cant_tell");
        let reason = &comparison["scenarios"][0]["gates"][0]["reason"];
        assert_eq!(reason["code"], "run_invalid");
        let text = reason["text"].as_str().expect("a sentence");
        assert!(text.contains("too short to tell"), "{text}");
        assert_eq!(comparison["notes"][0], "2 rounds could not be used");
        for name in ["base-1-1", "candidate-1-1", "base-1-2", "candidate-1-2"] {
            assert!(place.path().join(format!("runs/unused/{name}.json")).is_file(), "{name}");
        }
        for file in ["gate.md", "gate.xml", "gate.html", "gate.json"] {
            std::fs::remove_file(place.path().join(file)).expect("it is there");
        }
    }
}

#[test]
fn noise_of_runs_that_are_not_valid_keeps_them_and_is_no_baseline() {
    let place = Place::new();
    place.write("suite.yaml", NEVER_VALID);
    for (policy, code) in [("fail", 4), ("warn", 0)] {
        let line =
            ["noise", "suite.yaml", "--runs", "5", "--out", "base", "--inconclusive", policy];
        let ran = place.flowbench(&line);
        ran.ends(code);
        assert!(ran.err.contains("inconclusive: 0 of 5 runs can be used"), "{}", ran.err);
        assert!(!place.path().join("base/noise.json").exists());
        let kept = std::fs::read_dir(place.path().join("base/unused")).expect("they are kept");
        assert_eq!(kept.count(), 6);
    }
}

#[cfg(unix)]
#[test]
fn the_script_for_ci_passes_on_what_comes_of_runs_that_are_not_valid() {
    let place = Place::new();
    place.write("suite.yaml", NEVER_VALID);
    let valid = NEVER_VALID.replace("150ms", "1ms");
    place.write("valid.yaml", &valid);
    let programs = Path::new(FLOWBENCH).parent().expect("it is in a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let script = |suite: &str, baseline: &str, policy: &str| {
        let _ = std::fs::remove_dir_all(place.path().join("results"));
        let mut command = Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/gate")).current_dir(place.path());
        command.env("PATH", &path).env_remove("GITHUB_STEP_SUMMARY");
        command.env("SUITE", suite).env("BASELINE", baseline).env("INCONCLUSIVE", policy);
        command.env("RUNS", "5").env("OUT", "results").env("GATES", "p50 +900%");
        Ran::new(command.output().expect("there is a shell"))
    };
    script("suite.yaml", "never", "fail").ends(4);
    assert!(place.read("results/gate.md").contains("There is no baseline"));
    script("suite.yaml", "never", "warn").ends(0);
    // A baseline that is valid even if this machine is busy.
    place.run("valid.yaml", "one");
    let mut result = place.json("one/report.json");
    result["scenarios"][0]["validity"] = serde_json::json!({"valid": true, "reasons": []});
    let results = (1..=5).map(|number| {
        result["started_at"] = format!("2026-11-01T10:0{number}:00Z").into();
        let label = format!("baseline/run-00{number}.json");
        place.write(&label, &result.to_string());
        let summary = serde_json::from_value(result.clone()).expect("it is a result");
        Saved { label, summary }
    });
    let noise = Noise::learn(&results.collect::<Vec<_>>(), ALPHA).expect("they are alike");
    place.write("baseline/noise.json", &serde_json::to_string(&noise).expect("plain data"));
    for (policy, code) in [("fail", 4), ("warn", 0)] {
        script("suite.yaml", "baseline", policy).ends(code);
        for ending in ["md", "xml", "html", "json"] {
            let report = place.read(&format!("results/gate.{ending}"));
            let word = if ending == "json" { "cant_tell" } else { "inconclusive" };
            assert!(report.contains(word), "gate.{ending} says that it is inconclusive");
        }
    }
}

#[test]
fn a_side_without_one_success_is_told_without_nonsense() {
    let place = Place::new();
    let suite = "flows: {f: {embedded: {executors: [{name: e, fail: 0%}]}}}
scenarios: [{name: s, documents: {text: x}, load: {clients: 1, requests: 50}, thresholds: [error_rate <= 100%]}]";
    place.write("good.yaml", suite);
    place.write("dead.yaml", &suite.replace("fail: 0%", "fail: 100%"));
    for number in 1..=2 {
        place.run("good.yaml", &format!("good/{number}"));
        place.run("dead.yaml", &format!("dead/{number}"));
    }
    let compare = |base: &str, candidate: &str| {
        let gates = ["--force", "--gate", "p50 +50%", "--gate", "throughput -5%"];
        let outs = ["-o", "c.json", "-o", "c.md", "-o", "c.html"];
        place.flowbench(&[&["compare", base, "--", candidate], &gates[..], &outs].concat())
    };
    let ran = compare("dead", "good");
    ran.ends(4);
    let comparison = place.json("c.json");
    for gate in comparison["scenarios"][0]["gates"].as_array().expect("a list") {
        assert_eq!(gate["verdict"], "cant_tell");
        assert_eq!(gate["reason"]["code"], "base_failed");
        assert_eq!(gate["reason"]["text"], "the base has no successful request");
    }
    let dead = compare("good", "dead");
    dead.ends(1);
    assert!(
        dead.out.contains("the percentile falls among failed requests in the candidate"),
        "{}",
        dead.out
    );
    for text in [ran.out.clone(), dead.out.clone(), place.read("c.md"), place.read("c.html")] {
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).count();
        let mut signs = text.match_indices(['+', '−']);
        let nonsense = signs.find(|(at, sign)| digits(&text[at + sign.len()..]) > 5);
        assert_eq!(nonsense, None, "{:.300}", nonsense.map_or("", |(at, _)| &text[at..]));
    }
}

#[test]
fn markdown_is_never_longer_than_a_comment_may_be() {
    let place = Place::new();
    place.write(
        "one.yaml",
        "flows: {e: {embedded: {executors: [{name: a}]}}}
scenarios: [{name: s, documents: {text: hi}, request_size: 1, load: {clients: 2, requests: 100}}]",
    );
    place.run("one.yaml", "one");
    // The suite of the case has 80 scenarios; here they are copies of one scenario's figures.
    let mut result = place.json("one/report.json");
    let one = result["scenarios"][0].clone();
    let name = |number: usize| format!("search [clients=2, request_size={number}, protocol=grpc]");
    let mut many = |count: usize, started_at: &str| {
        let scenarios = (0..count).map(|number| {
            let mut scenario = one.clone();
            scenario["name"] = name(number).into();
            scenario
        });
        result["scenarios"] = scenarios.collect::<Vec<Value>>().into();
        result["started_at"] = started_at.into();
        result.to_string()
    };
    for (side, day) in [("b", 1), ("c", 2)] {
        for number in 1..=3 {
            let at = format!("2026-11-0{day}T10:0{number}:00Z");
            place.write(&format!("{side}/{number}.json"), &many(80, &at));
        }
    }
    let gates = ["--gate", "p50 +50%", "--gate", "error_rate +1%", "--gate", "throughput -50%"];
    let line = [&["compare", "b", "--", "c", "--force", "-o", "gate.md"], &gates[..]].concat();
    place.flowbench(&line);
    let gate = place.read("gate.md");
    assert!(gate.chars().count() <= 65_536, "{}", gate.chars().count());
    assert!(gate.contains("they exceed the size of a comment"), "it says that there is more");
    assert!(gate.matches("### ").count() > 30, "what has room is there");
    place.write("large.json", &many(3000, "2026-11-03T10:00:00Z"));
    place.flowbench(&["report", "large.json", "-o", "large.md"]).ends(0);
    let report = place.read("large.md");
    assert!(report.chars().count() <= 65_536, "{}", report.chars().count());
    assert!(report.contains("the report is larger than a comment can be"));
}
