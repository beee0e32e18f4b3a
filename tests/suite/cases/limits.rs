//! Our own limits are not the Flow's fault.

use std::process::{Command, Stdio};

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;

use crate::run::{Place, Ran};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

/// Runs a flowbench command line with a limit on open files.
fn with_files(place: &Place, files: u32, line: &str) -> Ran {
    let script = format!("ulimit -n {files}; exec '{FLOWBENCH}' {line}");
    let mut command = Command::new("sh");
    command.current_dir(place.path("")).args(["-c", &script]).stdin(Stdio::null());
    Ran::new(command.output().expect("there is a shell"))
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn too_many_open_files_are_named_as_ours_and_fail_no_threshold() {
    let config =
        serde_json::json!({"executors": [{"name": "e", "service_time": "1s", "replicas": 500}]});
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    let flow = Flow::start(config).await.expect("it starts");
    let address = flow.target(Protocol::Http).expect("it listens").to_string();
    let place = Place::new(&format!(
        "flows: {{f: {{host: '{address}', family: v1}}}}
scenarios: [{{name: s, documents: {{text: x}}, request_size: 1, load: {{rate: 100/s, duration: 2s}}}}]"
    ));
    let run = move || {
        let ran = with_files(&place, 80, "run suite.yaml --out out");
        (ran, place.report())
    };
    let (ran, report) = tokio::task::spawn_blocking(run).await.expect("it runs");
    ran.ends(4);
    let scenario = &report["scenarios"][0];
    let kinds: Vec<&str> = scenario["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|error| error["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["own_limit"], "{}", scenario["errors"]);
    assert!(scenario["requests"]["ok"].as_u64() > Some(0));
    let reasons = scenario["validity"]["reasons"].as_array().expect("a list");
    let reason = reasons.iter().find(|reason| reason["code"] == "own_limit").expect("it is told");
    assert_eq!(reason["found"], scenario["requests"]["transport_errors"].as_f64().expect("one"));
    assert!(reason["text"].as_str().is_some_and(|text| text.contains("Too many open files")));
    let threshold = &scenario["thresholds"][0];
    assert_eq!(
        (&threshold["that"], &threshold["verdict"]),
        (&"error_rate == 0".into(), &"not_judged".into())
    );
    assert_eq!(threshold["code"], "own_limit");
}

#[cfg(unix)]
#[test]
fn connections_that_can_not_be_opened_are_refused_before_any_run() {
    let place = Place::new(
        "flows: {a: {embedded: {}}, b: {embedded: {}}}
scenarios: [{name: s, flow: a, protocol: http, documents: {text: x}, load: {clients: 200, duration: 1s}}]",
    );
    for line in [
        "run suite.yaml --out out",
        "noise suite.yaml",
        "gate suite.yaml --base-flow a --candidate-flow b --gate 'p50 +10%'",
        "plan suite.yaml",
    ] {
        let ran = with_files(&place, 256, line);
        ran.ends(2);
        assert!(ran.err.contains("the process may open only 256 files"), "{line}: {}", ran.err);
    }
}
