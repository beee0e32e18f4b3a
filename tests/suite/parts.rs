//! A load sent by several processes, and their results merged.

mod journals;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A Flow behind `serve`, which logs what arrives, and a suite for it.
pub(crate) struct Place {
    folder: TempDir,
    flow: Child,
}

impl Place {
    /// `scenario`: the keys of a scenario besides its name, flow and Documents.
    pub(crate) fn new(scenario: &str) -> Place {
        let flow =
            "executors: [{name: e, service_time: {exponential: {mean: 3ms}}, concurrency: 64}]\n";
        Place::with_flow(flow, scenario)
    }

    /// The same with a configured Flow.
    pub(crate) fn with_flow(config: &str, scenario: &str) -> Place {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("flow.yml"), config).expect("written");
        let mut flow = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .args(["serve", "--protocol", "grpc", "--port", "0", "--config", "flow.yml"])
            .args(["--log", "arrivals.jsonl"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let mut address = String::new();
        let mut out = BufReader::new(flow.stdout.take().expect("it is piped"));
        out.read_line(&mut address).expect("it writes text");
        let address = address.trim();
        let suite = format!(
            "name: load\nseed: 7\nflows: {{f: {{host: '{address}'}}}}\nscenarios:\n  - {{name: s, flow: f, documents: \
             {{id: '${{{{ i }}}}', text: 'query ${{{{ i }}}}'}}, request_size: 1, {scenario}}}\n"
        );
        std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
        Place { folder, flow }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary was built")
    }

    /// Starts the parts with these numbers, of `of` in total; they begin together in two seconds.
    fn parts(&self, numbers: &[u64], of: u64, more: &[&str]) -> Vec<Child> {
        let at = jiff::Timestamp::now() + Duration::from_secs(2);
        let start = |number: &u64| {
            let part = format!("{number}/{of}");
            let mut arguments = vec!["run", "suite.yaml", "--out", "out", "--quiet"];
            let at = at.to_string();
            arguments.extend(["--part", &part, "--at", &at]);
            arguments.extend(more);
            self.command(&arguments).spawn().expect("the binary was built")
        };
        numbers.iter().map(start).collect()
    }

    /// Runs all parts to their ends.
    fn all_parts(&self, of: u64) {
        let numbers: Vec<u64> = (1..=of).collect();
        for part in self.parts(&numbers, of, &[]) {
            let output = part.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        }
    }

    /// Merges the parts in `out`; returns the result and the exit code.
    pub(crate) fn merged(&self) -> (Value, Option<i32>) {
        let output = self.run(&["merge", "out", "--out", "merged", "--quiet"]);
        assert_eq!(text(&output.stderr), "");
        (report(&self.path("merged")), output.status.code())
    }

    pub(crate) fn part(&self, number: u64, of: u64) -> Value {
        report(&self.path(&format!("out/part-{number}-of-{of}")))
    }

    /// Ends the Flow; returns the instants at which requests arrived, in ns, in order.
    pub(crate) fn arrivals(mut self) -> Vec<u64> {
        kill_process(Pid::from_child(&self.flow), Signal::TERM).expect("it runs");
        self.flow.wait().expect("it ends");
        let log = std::fs::read_to_string(self.path("arrivals.jsonl")).expect("the log");
        let arrival = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["arrival_ns"].as_u64().expect("a number")
        };
        let mut arrivals: Vec<u64> = log.lines().map(arrival).collect();
        arrivals.sort_unstable();
        arrivals
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.flow.kill();
        let _ = self.flow.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it writes text")
}

pub(crate) fn report(folder: &Path) -> Value {
    let path = folder.join("report.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// Checks that two results have the same seconds, except for rounding that depends on the order of addition.
pub(crate) fn same_timeline(one: &Value, other: &Value) {
    let [one, other] = [one, other].map(|s| s["timeline"].as_array().expect("seconds"));
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        let keys = one.as_object().expect("a second").keys();
        for key in keys.filter(|key| *key != "executors" && !key.ends_with("histogram")) {
            match (&one[key], &other[key]) {
                (one, other) if one.is_f64() => {
                    let [one, other] = [one, other].map(|value| value.as_f64().expect("a number"));
                    assert!((one - other).abs() <= 1e-9 * one.abs(), "{key}: {one} {other}");
                }
                (one, other) => assert_eq!(one, other, "{key}"),
            }
        }
    }
}

/// A histogram of a report, read by the reference library of the format.
pub(crate) fn histogram(latency: &Value) -> Histogram<u64> {
    let text = latency["histogram"].as_str().expect("a histogram");
    let bytes = BASE64_STANDARD.decode(text).expect("base64");
    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram")
}

fn sum(reports: &[Value], pointer: &str) -> u64 {
    reports
        .iter()
        .map(|report| report.pointer(pointer).and_then(Value::as_u64).expect(pointer))
        .sum()
}

#[test]
fn parts_together_are_the_load_of_one_machine_and_their_figures_add_up() {
    let place = Place::new(
        "warmup: 500ms, load: {rate: 400/s, arrivals: poisson, duration: 3s}, \
         thresholds: [p99 < 1s, throughput > 300/s], \
         assert: [response.docs | length == 1], on_done: [{count: answered}]",
    );
    place.all_parts(3);
    let parts = [1, 2, 3].map(|number| place.part(number, 3));
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(part["part"]["number"], index + 1);
        assert_eq!(part["part"]["of"], 3);
        // Thresholds are about the whole load, which a part does not know.
        assert_eq!(part["scenarios"][0]["thresholds"], serde_json::json!([]));
    }
    let (merged, code) = place.merged();
    let scenario = &merged["scenarios"][0];
    assert_eq!(code, Some(0), "{:#}", scenario["validity"]);
    assert_eq!(merged["verdict"], "held");
    assert_eq!(scenario["thresholds"][0]["verdict"], "held");
    assert_eq!(scenario["thresholds"][1]["verdict"], "held");

    // One machine sends the same number, which needs no Flow: the seed determines when they are due.
    let whole = place.run(&["run", "suite.yaml", "--out", "whole", "--quiet"]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stderr));
    let whole = report(&place.path("whole"));
    for figure in ["requests/arrivals", "requests/ok", "documents/sent", "warmup/sent"] {
        let pointer = format!("/scenarios/0/{figure}");
        let all = merged.pointer(&pointer).and_then(Value::as_u64).expect(figure);
        assert_eq!(all, sum(&parts, &pointer), "{figure}");
        assert_eq!(Some(all), whole.pointer(&pointer).and_then(Value::as_u64), "{figure}");
    }
    let sent = scenario["requests"]["sent"].as_u64().expect("a number");
    assert_eq!(scenario["counters"]["answered"].as_u64(), Some(sent));
    assert_eq!(scenario["assertions"][0]["passed"].as_u64(), Some(sent));
    assert_eq!(scenario["parts"].as_array().map(Vec::len), Some(3));
    // Factors of slow requests are computed over the requests of all parts.
    assert_eq!(scenario["why"]["of"].as_u64(), Some(sent));

    // Percentiles are those of all latencies taken together.
    for latency in ["response_time_ms", "service_time_ms"] {
        let mut all = histogram(&parts[0]["scenarios"][0][latency]);
        all.auto(true);
        for part in &parts[1..] {
            all.add(histogram(&part["scenarios"][0][latency])).expect("the same form");
        }
        let found = histogram(&scenario[latency]);
        assert_eq!(found.len(), all.len());
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            let (found, all) = (found.value_at_quantile(quantile), all.value_at_quantile(quantile));
            assert_eq!(found, all, "{latency}: {quantile}");
        }
    }
    // And each second is the sum of that second over all parts.
    let seconds = scenario["timeline"].as_array().expect("a timeline");
    for (second, told) in seconds.iter().enumerate() {
        for key in ["offered", "sent", "ok"] {
            let of = |part: &Value| {
                let second = &part["scenarios"][0]["timeline"][second];
                second[key].as_u64().unwrap_or_default()
            };
            assert_eq!(told[key].as_u64(), Some(parts.iter().map(of).sum()), "{key} of {second}");
        }
    }
    let arrivals = place.arrivals().len() as u64;
    let all = 2 * (sent + merged["scenarios"][0]["warmup"]["sent"].as_u64().expect("a number"));
    assert_eq!(arrivals, all, "the Flow got them once from the parts and once from the whole");
}

#[test]
fn a_part_that_is_missing_late_or_lost_is_told_as_it_is() {
    let place =
        Place::new("load: {rate: 100/s, duration: 4s}, thresholds: [p50 < 1s, requests > 5]");
    let mut parts = place.parts(&[1, 2, 3], 4, &[]);
    // One is killed in its third second; the others go on to the end.
    std::thread::sleep(Duration::from_millis(4_700));
    parts[1].kill().expect("it runs");
    for part in parts {
        part.wait_with_output().expect("it ends");
    }
    let (merged, code) = place.merged();
    let scenario = &merged["scenarios"][0];
    assert_eq!(code, Some(4), "{scenario:#}");
    let states: Vec<&str> = scenario["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| part["state"].as_str().expect("a word"))
        .collect();
    assert_eq!(states, ["complete", "lost", "complete", "missing"]);
    let reasons = scenario["validity"]["reasons"].as_array().expect("reasons");
    let reason = |code: &str| {
        reasons
            .iter()
            .find(|reason| reason["code"] == code)
            .unwrap_or_else(|| panic!("{reasons:?}"))
    };
    let lost = reason("part_lost");
    let after = lost["found"].as_f64().expect("a number") as u64;
    assert!((1..=3).contains(&after), "{lost}");
    let words = format!("part 2 of 4 was lost after {after} s; figures are of the first {after} s");
    assert_eq!(lost["text"], words);
    assert_eq!(reason("part_missing")["text"], "part 4 of 4 is missing");
    // Three parts of four, for as long as all three reported.
    let offered = scenario["throughput"]["offered_per_s"].as_f64().expect("a number");
    assert!((70.0..80.0).contains(&offered), "{offered}");
    assert_eq!(scenario["timeline"].as_array().map(Vec::len), Some(after as usize));
    let thresholds = &scenario["thresholds"];
    assert_eq!(thresholds[0]["verdict"], "not_judged");
    assert_eq!(thresholds[1]["verdict"], "held", "more than enough are there already");

    // A part is late if it began after the given time.
    let at = jiff::Timestamp::now() - Duration::from_millis(840);
    let at = at.to_string();
    let arguments = ["run", "suite.yaml", "--out", "late", "--quiet", "--part", "1/2", "--at", &at];
    place.run(&arguments);
    let late = report(&place.path("late/part-1-of-2"));
    let reasons = late["scenarios"][0]["validity"]["reasons"].as_array().expect("reasons");
    let late = reasons.iter().find(|reason| reason["code"] == "part_late").expect("it was late");
    assert!(late["found"].as_f64().is_some_and(|ms| (840.0..3_000.0).contains(&ms)), "{late}");
}

#[test]
fn what_are_not_parts_of_one_load_is_refused() {
    let place = Place::new("load: {clients: 2, requests: 20}");
    place.all_parts(2);
    let refused = |paths: &[&str], expected: &str| {
        let mut arguments = vec!["merge"];
        arguments.extend(paths);
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{paths:?}");
        let told = text(&output.stderr);
        assert!(told.contains(expected), "{paths:?}: {told}");
        assert!(!place.path("reports").exists(), "nothing is written");
    };
    let (one, two) = ("out/part-1-of-2", "out/part-2-of-2");
    refused(&[one, one], "part 1 is there twice");
    refused(&["suite.yaml"], "suite.yaml: is not a result of flowbench: it has no complete line");
    refused(&["nothing"], "cannot read `nothing`");
    std::fs::create_dir(place.path("empty")).expect("a folder");
    refused(&["empty"], "`empty` has no journal of a part");
    let other = place.run(&[
        "run",
        "suite.yaml",
        "--out",
        "other",
        "--part",
        "1/3",
        "--quiet",
        "--set",
        "x=1",
    ]);
    assert_eq!(other.status.code(), Some(2), "there is no variable x");
    let suite = std::fs::read_to_string(place.path("suite.yaml")).expect("the suite");
    std::fs::write(place.path("suite.yaml"), suite.replace("seed: 7", "seed: 8")).expect("written");
    let other = place.run(&["run", "suite.yaml", "--out", "other", "--part", "1/2", "--quiet"]);
    assert_eq!(other.status.code(), Some(0), "{}", text(&other.stderr));
    refused(&[two, "other"], "the seed is 8, but that of out/part-2-of-2/journal.jsonl is 7");

    // A part is not a result of the whole load.
    for command in [&["compare", one, "--", two][..], &["trend", "out"]] {
        let output = place.run(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(text(&output.stderr).contains("is part 1 of 2 of a load"), "{command:?}");
    }
}

#[test]
fn what_was_printed_is_merged_whatever_else_was_printed_with_it() {
    let place = Place::new("load: {clients: 3, requests: 40}, on_done: [{save: found.jsonl}]");
    for number in [1, 2] {
        let part = format!("{number}/2");
        let output = place.run(&["run", "suite.yaml", "--json", "--part", &part, "--out", "out"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let mut log = b"+ flowbench run suite.yaml\n".to_vec();
        log.extend(&output.stdout);
        std::fs::write(place.path(&format!("{number}.log")), log).expect("written");
        // Parts in a shared folder save into separate files.
        let saved = place.path(&format!("found.part-{number}-of-2.jsonl"));
        let saved = std::fs::read_to_string(saved).expect("a file of its own");
        assert_eq!(saved.lines().count(), 20);
    }
    let output = place.run(&["merge", "1.log", "2.log", "--json", "--out", "merged"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let merged: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(merged["scenarios"][0]["requests"]["ok"], 40);
    assert_eq!(merged, report(&place.path("merged")));
}

#[test]
fn what_cannot_be_divided_is_refused_at_its_place() {
    let folder = TempDir::new().expect("a folder");
    for (scenario, flow, place, message) in [
        (
            "load: {rate: 9/s, requests: 9, max_in_flight: 2}",
            "{host: 'grpc://127.0.0.1:1'}",
            "2:69",
            "`max_in_flight: 2` cannot be divided into 4 parts",
        ),
        (
            "load: {clients: 3, requests: 9}",
            "{host: 'grpc://127.0.0.1:1'}",
            "2:39",
            "`clients: 3` cannot be divided into 4 parts",
        ),
        (
            "connections: 2, load: {rate: 9/s, requests: 9}",
            "{host: 'grpc://127.0.0.1:1'}",
            "2:36",
            "`connections: 2` cannot be divided into 4 parts",
        ),
        (
            "results_in_order: true, documents: {text: a, count: 9}",
            "{host: 'grpc://127.0.0.1:1'}",
            "2:41",
            "`results_in_order` cannot be divided into parts",
        ),
        (
            "load: {rate: 9/s, requests: 9}",
            "{embedded: {executors: [{name: e}]}}",
            "2:13",
            "an embedded Flow cannot be the target of a part",
        ),
        (
            "load: {rate: 9/s, requests: 9}",
            "{command: [sleep, 9], host: 'grpc://127.0.0.1:1'}",
            "2:13",
            "a Flow that a `command` starts cannot be the target of a part",
        ),
    ] {
        let suite = format!("flows: {{f: {flow}}}\nscenarios: [{{name: s, {scenario}}}]\n");
        std::fs::write(folder.path().join("suite.yaml"), &suite).expect("written");
        for arguments in
            [&["run", "suite.yaml", "--part", "1/4"][..], &["plan", "suite.yaml", "--parts", "4"]]
        {
            let output = flowbench(folder.path(), arguments);
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{scenario}: {told}");
            assert!(told.starts_with(&format!("error: {message}")), "{scenario}: {told}");
            assert!(told.contains(&format!("suite.yaml:{place}\n")), "{scenario}: {told}");
        }
    }
    for (part, message) in [
        ("5/4", "a part must be from 1 to the number of parts"),
        ("auto", "--part auto: no engine is recognised"),
    ] {
        let output = flowbench(folder.path(), &["run", "suite.yaml", "--part", part]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
    let output = flowbench(folder.path(), &["run", "suite.yaml", "--at", "noon"]);
    assert!(text(&output.stderr).contains("expected a time such as `2026-12-01T12:00:00Z`"));
}

fn flowbench(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    // These tests may themselves run as a task of an engine.
    for variable in ["SLURM_PROCID", "CI_NODE_INDEX", "JOB_COMPLETION_INDEX", "PMI_RANK"] {
        command.env_remove(variable);
    }
    command.output().expect("the binary was built")
}

#[test]
fn a_plan_tells_how_numbers_are_divided() {
    let folder = TempDir::new().expect("a folder");
    let suite = "\
flows: {f: {host: 'grpc://127.0.0.1:1'}}
scenarios:
  - {name: open, connections: 5, load: {rate: 400/s, duration: 3s}}
  - {name: closed, load: {clients: 10, requests: 1001}}
";
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("written");
    for (parts, expected) in [
        ("1", "parts        1, which sends every arrival; "),
        ("3", "parts        3, of which each sends every 3rd arrival; "),
    ] {
        let output = flowbench(folder.path(), &["plan", "suite.yaml", "--parts", parts]);
        assert!(text(&output.stdout).contains(expected), "{}", text(&output.stdout));
    }
    let output = flowbench(folder.path(), &["plan", "suite.yaml", "--parts", "4"]);
    let told = text(&output.stdout);
    for line in [
        "parts        4, of which each sends every 4th arrival; max_in_flight 2500; connections 2 in the \
         first 1, 1 in the others",
        "parts        4; clients 3 in the first 2, 2 in the others; requests 251 in the first 1, 250 in \
         the others",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

/// A part whose clock is 300 ms ahead begins that much too early. The gateway reveals it, by the routes of its
/// responses.
#[test]
fn a_clock_that_is_off_is_told_by_the_gateway() {
    if Command::new("faketime").arg("--version").output().is_err() {
        let required = std::env::var("FLOWBENCH_REQUIRE_FAKETIME");
        assert_ne!(required.as_deref(), Ok("1"), "there is no faketime");
        let _ = writeln!(std::io::stderr(), "skipped: no faketime to set a clock ahead with");
        return;
    }
    let place = Place::new("load: {rate: 200/s, duration: 3s}, thresholds: [p50 < 1s]");
    let at = (jiff::Timestamp::now() + Duration::from_secs(3)).to_string();
    let parts = [1, 2, 3, 4].map(|number| {
        let part = format!("{number}/4");
        let arguments =
            ["run", "suite.yaml", "--out", "out", "--quiet", "--part", &part, "--at", &at];
        let command = place.command(&arguments);
        let mut off = Command::new("faketime");
        off.args(["--exclude-monotonic", "-f", "+0.3s"]).arg(command.get_program());
        off.args(command.get_args()).current_dir(place.path("")).stdin(Stdio::null());
        off.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = if number == 2 { off } else { command };
        command.spawn().expect("it is there")
    });
    for part in parts {
        let output = part.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let (merged, _) = place.merged();
    let scenario = &merged["scenarios"][0];
    let clock = |part: usize, key: &str| {
        let clock = &scenario["parts"][part]["clock"];
        clock[key].as_f64().unwrap_or_else(|| panic!("{key} of {part}: {clock}"))
    };
    for (part, ahead) in [0.0, 300.0, 0.0, 0.0].into_iter().enumerate() {
        // Beyond the uncertainty of the exchange, a busy machine reads its two clocks at different times.
        let off = (clock(part, "ahead_ms") - ahead).abs();
        assert!(off < clock(part, "within_ms") + 20.0, "{part}: {:#}", scenario["parts"]);
    }
    assert_eq!(clock(1, "began_ms"), 0.0, "it was the first");
    let reasons = scenario["validity"]["reasons"].as_array().expect("reasons");
    let said = reasons.iter().filter_map(|reason| reason["text"].as_str()).find(|text| {
        text.starts_with("part 2 of 4: it began ")
            && text.contains(" before the others by the gateway's clock")
    });
    assert!(said.is_some(), "{reasons:?}");
    // Its own clock showed the given time.
    let own = scenario["parts"][1]["start_skew_ms"].as_f64().expect("a number");
    assert!(own < 100.0, "{own}");
    let page = std::fs::read_to_string(place.path("merged/report.html")).expect("a page");
    assert!(page.contains("ahead of the gateway"), "the table of parts says it");
}
