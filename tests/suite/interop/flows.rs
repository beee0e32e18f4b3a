//! Typical Flow files of different kinds: `flowbench init` writes a suite for each, a few lines of it are
//! changed, and it starts and measures the real Flow.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::python::{Release, files};
use crate::run::Ran;

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

/// The most lines of a suite that may be changed before it runs.
const LINES_MAX: usize = 5;

/// The variables that the Flow files use for ports.
const PORTS: [&str; 7] = [
    "PORT",
    "GRPC_PORT",
    "HTTP_PORT",
    "WEBSOCKET_PORT",
    "GATEWAY_METRICS",
    "ENCODER_METRICS",
    "LOGGER_METRICS",
];

/// Creates a suite for the Flow files in a folder, changes lines in it, runs it, and returns the scenarios of
/// the report by name. `None` if Jina is not available.
#[track_caller]
fn measured(
    folder: &str,
    flows: &[&str],
    changes: &[(&str, &str)],
) -> Option<Vec<(String, Value)>> {
    let python = Release::V2.python()?;
    let place = tempfile::tempdir().expect("a folder");
    copy(&files().join("flows").join(folder), place.path());
    // Bound at the same time, so that they differ.
    let held = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").expect("there is a free port"));
    let ports = held.each_ref().map(|port| port.local_addr().expect("it has one").port());
    drop(held);
    let flowbench = |arguments: &[&str]| {
        let bin = python.parent().expect("it is in bin/").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(FLOWBENCH);
        command.args(arguments).current_dir(place.path()).env("PATH", format!("{bin}:{path}"));
        command.env("PYTHONPATH", files().join("flows/loopback")).env("JINA_LOG_LEVEL", "INFO");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("JINA_DEFAULT_HOST", "127.0.0.1");
        command
            .env("JINA_OPTOUT_TELEMETRY", "1")
            .env("INDEX_FILE", place.path().join("index.jsonl"));
        for (name, port) in PORTS.iter().zip(ports) {
            command.env(name, port.to_string());
        }
        Ran::new(command.output().expect("it was built"))
    };
    let mut arguments = vec!["init"];
    flows.iter().for_each(|flow| arguments.extend(["--flow", flow]));
    arguments.push("suite.yaml");
    flowbench(&arguments).ends(0);
    let suite = place.path().join("suite.yaml");
    let written = std::fs::read_to_string(&suite).expect("it was written");
    let mut text = written.clone();
    for (line, instead) in changes {
        assert_eq!(text.matches(line).count(), 1, "`{line}` in\n{text}");
        text = text.replacen(line, instead, 1);
    }
    let changed =
        written.lines().zip(text.lines()).filter(|(before, after)| before != after).count();
    assert_eq!(written.lines().count(), text.lines().count(), "lines are changed, not added");
    assert!(changed <= LINES_MAX, "{changed} lines are changed");
    std::fs::write(&suite, &text).expect("there is room");
    flowbench(&["check", "suite.yaml"]).ends(0);
    let ran = flowbench(&["run", "suite.yaml", "--out", "out"]);
    let logs = || {
        let out = std::fs::read_dir(place.path().join("out")).into_iter().flatten().flatten();
        let logs = out.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
        let text = |file: std::fs::DirEntry| std::fs::read(file.path()).unwrap_or_default();
        logs.map(|file| String::from_utf8_lossy(&text(file)).into_owned()).collect::<String>()
    };
    assert_eq!(ran.code, Some(0), "{}\n{}\n{text}\n{}", ran.out, ran.err, logs());
    let report = std::fs::read_to_string(place.path().join("out/report.json")).expect("a report");
    let mut report: Value = serde_json::from_str(&report).expect("it is JSON");
    let scenarios = report["scenarios"].take();
    let scenarios = scenarios.as_array().expect("a list").clone();
    for scenario in &scenarios {
        assert_eq!(scenario["passed"], true, "{scenario}");
    }
    let name = |scenario: &Value| scenario["name"].as_str().expect("a name").to_owned();
    Some(scenarios.into_iter().map(|scenario| (name(&scenario), scenario)).collect())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("there is room");
    for file in std::fs::read_dir(from).expect("it is there") {
        let file = file.expect("it can be read");
        let to = to.join(file.file_name());
        match file.file_type().expect("it is there").is_dir() {
            true => copy(&file.path(), &to),
            false => drop(std::fs::copy(file.path(), to).expect("there is room")),
        }
    }
}

/// Starts the Flow for the run: one line.
const STARTS: (&str, &str) = ("    # uses: flow.yml", "    uses: flow.yml");

fn names(scenarios: &[(String, Value)]) -> Vec<&str> {
    scenarios.iter().map(|(name, _)| name.as_str()).collect()
}

fn ok(scenario: &Value) -> u64 {
    scenario["requests"]["ok"].as_u64().expect("a count")
}

#[test]
fn a_flow_whose_executors_need_one_another() {
    let load = ("    # load: {rate: 20/s, duration: 10s}", "    load: {rate: 50/s, duration: 1s}");
    let Some(scenarios) = measured("needs", &["flow.yml"], &[STARTS, load]) else { return };
    assert_eq!(names(&scenarios), ["encode"]);
    assert_eq!(ok(&scenarios[0].1), 50);
    // Four Executors, and the gateway.
    let executors = scenarios[0].1["executors"].as_array().expect("a list");
    assert_eq!(executors.len(), 5);
}

#[test]
fn a_pair_of_flows_of_which_one_indexes_and_one_is_asked() {
    let flows = ["index.yml", "query.yml"];
    let Some(scenarios) = measured("pair", &flows, &[]) else { return };
    assert_eq!(names(&scenarios), ["index", "search"]);
    assert_eq!(scenarios.iter().map(|(_, scenario)| ok(scenario)).sum::<u64>(), 200);
}

#[test]
fn a_flow_over_http_with_a_schema_of_its_own() {
    let Some(scenarios) = measured("http", &["flow.yml"], &[STARTS]) else { return };
    assert_eq!(names(&scenarios), ["generate", "chat"]);
    assert_eq!(scenarios.iter().map(|(_, scenario)| ok(scenario)).sum::<u64>(), 200);
}

#[test]
fn a_deployment() {
    let starts = ("    # uses: deployment.yml", "    uses: deployment.yml");
    let asserts = (
        "      - response.status == \"SUCCESS\"",
        "      - response.docs[0].embedding | length == 8",
    );
    let Some(scenarios) = measured("deployment", &["deployment.yml"], &[starts, asserts]) else {
        return;
    };
    assert_eq!(names(&scenarios), ["default"]);
    assert_eq!(ok(&scenarios[0].1), 100);
}

#[test]
fn a_flow_of_several_protocols() {
    let changes = [
        STARTS,
        ("  duration: 10s", "  duration: 1s"),
        ("    # matrix: {protocol:", "    matrix: {protocol:"),
    ];
    let Some(scenarios) = measured("protocols", &["flow.yml"], &changes) else { return };
    let all = [
        "index",
        "search [protocol=grpc]",
        "search [protocol=http]",
        "search [protocol=websocket]",
    ];
    assert_eq!(names(&scenarios), all);
    for (name, scenario) in &scenarios {
        assert!(ok(scenario) >= 5, "{name}: {scenario}");
    }
}

#[test]
fn a_gateway_of_ones_own() {
    let asserts = (
        "      - response.status_code == 200",
        "      - 'response.json.found[0] == (request.json.query | upper)'",
    );
    let Some(scenarios) = measured("gateway", &["flow.yml"], &[STARTS, asserts]) else { return };
    assert_eq!(names(&scenarios), ["search"]);
    assert_eq!(ok(&scenarios[0].1), 100);
}

#[test]
fn an_executor_that_nobody_waits_for_in_a_flow_that_is_monitored() {
    let load = ("    # load: {rate: 20/s, duration: 10s}", "    load: {clients: 2, duration: 1s}");
    let Some(scenarios) = measured("floating", &["flow.yml"], &[STARTS, load]) else { return };
    assert_eq!(names(&scenarios), ["note"]);
    assert!(ok(&scenarios[0].1) >= 10);
}

#[test]
fn a_streaming_endpoint() {
    let Some(scenarios) = measured("stream", &["flow.yml"], &[STARTS]) else { return };
    assert_eq!(names(&scenarios), ["stream"]);
    assert_eq!(ok(&scenarios[0].1), 100);
}
