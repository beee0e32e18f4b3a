//! Runs that did not finish: reports of them never look like success, and never claim unknown facts.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::input;
use crate::run::{Place, Ran, Running, counts_are_conserved};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

/// Renders the result of a run.
fn report(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = Command::new(FLOWBENCH);
    command.current_dir(place.path("")).arg("report").args(arguments);
    Ran::new(command.output().expect("it was built"))
}

/// Runs until a line on stderr satisfies `wanted`, then sends a signal.
fn signalled(place: &Place, signal: Signal, wanted: impl Fn(&str) -> bool) -> Ran {
    let mut running = Running::start(&mut place.command(&["--out", "out"]));
    running.says(wanted);
    running.signal(signal);
    running.end()
}

#[test]
fn an_interrupted_run_is_green_nowhere() {
    let place = Place::new(
        "scenarios:
  - {name: whole, documents: {text: x, count: 3}}
  - {name: cut, needs: [whole], load: {rate: 50/s, duration: 1h}, thresholds: [p50 < 1h], assert: ['true']}
  - {name: never, needs: [cut], load: {clients: 1, requests: 1}}",
    );
    let ran = signalled(&place, Signal::INT, |line| line.starts_with("cut:"));
    ran.ends(130);
    assert!(
        ran.out.contains("interrupted: 2 of 3 scenarios did not run to the end"),
        "{}",
        ran.out
    );
    let result = place.report();
    let verdict = |value: &Value| value["verdict"].as_str().expect("a word").to_owned();
    assert_eq!(verdict(&result), "interrupted");
    assert_eq!(result["passed"], false);
    let [whole, cut, never] = [0, 1, 2].map(|index| &result["scenarios"][index]);
    assert_eq!([whole, cut, never].map(verdict), ["held", "interrupted", "not_reached"]);
    for scenario in [cut, never] {
        assert!(!scenario.to_string().contains("\"passed\":true"), "{scenario}");
        assert_eq!(scenario["thresholds"][0]["verdict"], "not_judged");
    }
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(page.contains("<h1>Interrupted</h1>") && page.contains("class=\"answer unjudged\""));
    let markdown = report(&place, &["out/report.json", "-f", "markdown"]).out;
    assert!(markdown.starts_with("## ⚠️ suite: interrupted"), "{markdown}");
    let junit = report(&place, &["out/report.json", "-f", "junit"]).out;
    for (name, kind) in [("cut", "interrupted"), ("never", "not_reached")] {
        let start = junit.find(&format!("<testsuite name=\"{name}\"")).expect("it is there");
        let suite = junit[start..].split("</testsuite>").next().unwrap_or_default();
        let cases = suite.matches("<testcase").count();
        let errors = suite.matches(&format!("<error type=\"{kind}\"")).count();
        assert!(cases > 1 && cases == errors, "{suite}");
    }
    let prometheus = report(&place, &["out/report.json", "-f", "prometheus"]).out;
    assert!(prometheus.contains("flowbench_run_passed{suite=\"suite\"} 0"), "{prometheus}");
    // A threshold given explicitly is evaluated for the time until then.
    report(&place, &["out/report.json", "--threshold", "error_rate == 0"]).ends(4);
}

#[test]
fn a_target_that_is_not_reached_is_called_that() {
    let place = Place::new(
        "flows: {f: {host: 'grpc://127.0.0.1:1'}}
scenarios: [{name: s, flow: f, load: {clients: 1, requests: 1}, thresholds: [dropped == 0]}]",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    assert!(ran.out.contains("not reached: 1 of 1 scenario could not be run"), "{}", ran.out);
    assert_eq!(place.report()["verdict"], "not_reached");
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("it was written");
    assert!(page.contains("<h1>Not reached</h1>") && !page.contains("badge passed"));
    let junit = report(&place, &["out/report.json", "-f", "junit"]).out;
    let cases = junit.matches("<testcase").count();
    assert!(cases > 1 && cases == junit.matches("<error type=\"not_reached\"").count(), "{junit}");
}

#[test]
fn what_was_in_flight_when_a_run_was_killed_is_unknown() {
    let place = Place::new(&input("journal-after-kill", "suite.yaml"));
    let answered = |line: &str| line.contains(" done, p50 ") && !line.contains(" 0/s done");
    signalled(&place, Signal::KILL, answered);
    let journal = "out/journal.jsonl";
    report(&place, &[journal, "-o", "killed.json"]).ends(0);
    let text = std::fs::read_to_string(place.path("killed.json")).expect("it was written");
    let result: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(result["verdict"], "interrupted");
    let scenario = &result["scenarios"][0];
    let requests = &scenario["requests"];
    counts_are_conserved(scenario);
    assert!(requests["unknown"].as_u64() > Some(0) && requests["abandoned"] == 0, "{requests}");
    assert_eq!((&scenario["error_rate"], &requests["dropped"]), (&0.0.into(), &0.into()));
    let reasons = scenario["validity"]["reasons"].to_string();
    assert!(!reasons.contains("Little"), "what is known of them adds up: {reasons}");
    assert_eq!(scenario["thresholds"][0]["verdict"], "not_judged");
    report(&place, &[journal, "--threshold", "error_rate == 0"]).ends(0);
    report(&place, &[journal, "--threshold", "p50 < 1s"]).ends(1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_journal_that_could_not_be_written_is_not_recommended() {
    let place = Place::new("scenarios: [{name: s, documents: {text: x, count: 3}}]");
    let mut command = Command::new("sh");
    // A limit on file size simulates a full disk.
    let script = format!("trap '' XFSZ; ulimit -f 1; exec '{FLOWBENCH}' run suite.yaml --out out");
    command.current_dir(place.path("")).args(["-c", &script]).stdin(Stdio::null());
    let ran = Ran::new(command.output().expect("there is a shell"));
    ran.ends(5);
    assert!(ran.err.contains("warning: could not write out/journal.jsonl"), "{}", ran.err);
    assert!(ran.err.contains("error: could not write out/report.json"), "{}", ran.err);
    assert!(!ran.err.contains("what was measured is in"), "{}", ran.err);
}
