//! Flows that a `command` starts: nobody else's Flow is measured, and none is left behind.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;
use rustix::process::{Pid, Signal, kill_process};

use super::input;
use crate::run::{Place, Ran};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

/// Long enough for any machine, short enough for a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has one").port()
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Waits until nothing listens there any more.
#[track_caller]
fn is_gone(port: u16) {
    let end = Instant::now() + PATIENCE;
    while answers(port) {
        assert!(Instant::now() < end, "port {port} still answers");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A flow whose command is a line of shell; `$FLOWBENCH` serves on its port.
fn flow(port: u16, script: &str) -> String {
    let serve = format!("'{FLOWBENCH}' serve --port {port} --protocol grpc");
    let script = script.replace("$SERVE", &serve).replace('"', "\\\"");
    format!("{{command: [sh, -c, \"{script}\"], host: 'grpc://127.0.0.1:{port}'}}")
}

/// Starts a run and waits until a scenario runs.
fn running(place: &Place) -> Child {
    let mut child = place.command(&["--out", "out"]).spawn().expect("the binary was built");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    lines.next().expect("a line").expect("it is text");
    std::thread::spawn(move || lines.count());
    child
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_answers_before_the_command_is_started_is_refused() {
    let stranger = Flow::start(FlowConfig::default()).await.expect("it starts");
    let port = stranger.target(Protocol::Grpc).expect("it listens").port.to_string();
    let name = "stranger-on-the-port";
    let suite = |file: &str| input(name, file).replace("23491", &port);
    let place = Place::new(&suite("suite.yaml"));
    std::fs::write(place.path("gate.yaml"), suite("gate.yaml")).expect("there is room");
    std::fs::write(place.path("slow.sh"), input(name, "slow.sh")).expect("there is room");
    let executable = Command::new("chmod").arg("+x").arg(place.path("slow.sh")).status();
    assert!(executable.expect("it runs").success());

    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    let said = format!("something already answers at grpc://127.0.0.1:{port}");
    let scenario = &place.report()["scenarios"][0];
    let message = scenario["end"]["message"].as_str().expect("a reason");
    assert!(message.starts_with(&said), "{message}");
    assert_eq!(scenario["requests"]["arrivals"], 0, "nothing is sent to it");
    let mut gate = Command::new(FLOWBENCH);
    gate.current_dir(place.path("")).args(["gate", "gate.yaml", "--gate", "p50 +50%"]);
    gate.args(["--base-flow", "base", "--candidate-flow", "candidate", "--runs", "2"]);
    let ran = Ran::new(gate.output().expect("it was built"));
    ran.ends(3);
    assert!(ran.err.contains(&said), "{}", ran.err);
}

#[test]
fn a_command_that_ends_while_its_flow_is_measured_ends_the_scenario_and_is_told() {
    let port = free_port();
    let flow = flow(
        port,
        "$SERVE >/dev/null & sleep 1; echo warming up >&2; echo out of memory >&2; exit 7",
    );
    let place = Place::new(&format!(
        "flows: {{f: {flow}}}
scenarios:
  - {{name: s, load: {{rate: 50/s, duration: 1h}}, thresholds: [error_rate <= 100%, p50 < 1h]}}
  - {{name: later, needs: [s], documents: {{text: x, count: 1}}}}",
    ));
    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    is_gone(port);
    let report = place.report();
    assert_eq!(report["passed"], false);
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "unreachable");
    let message = scenario["end"]["message"].as_str().expect("a reason");
    assert_eq!(
        message,
        "`sh` ended by itself (exit status: 7); the end of its output: warming up\nout of memory"
    );
    assert_eq!(scenario["validity"]["valid"], false);
    assert_eq!(scenario["validity"]["reasons"][0]["text"], message);
    assert!(scenario["requests"]["ok"].as_u64() > Some(0), "{}", scenario["requests"]);
    for threshold in scenario["thresholds"].as_array().expect("a list") {
        assert_eq!(threshold["verdict"], "not_judged", "{threshold}");
    }
    assert_ne!(report["scenarios"][1]["end"]["reason"], "documents", "it needs what did not run");
    assert!(ran.out.contains("out of memory"), "{}", ran.out);
}

#[test]
fn a_command_that_ended_after_its_scenario_makes_it_not_valid_all_the_same() {
    let port = free_port();
    let flow = flow(port, "$SERVE >/dev/null & sleep 1; exit 0");
    let place = Place::new(&format!(
        "flows: {{f: {flow}, other: {{embedded: {{}}}}}}
scenarios:
  - {{name: quick, flow: f, documents: {{text: x, count: 1}}}}
  - {{name: slow, flow: other, needs: [quick], load: {{rate: 20/s, duration: 3s}}}}",
    ));
    place.run(&["--out", "out"]).ends(3);
    is_gone(port);
    let report = place.report();
    let [quick, slow] = [0, 1].map(|index| &report["scenarios"][index]);
    assert_eq!((&quick["requests"]["ok"], &quick["passed"]), (&1.into(), &false.into()));
    assert_eq!(quick["end"]["message"], "`sh` ended by itself (exit status: 0)");
    assert_eq!(slow["passed"], true, "the other Flow has nothing to do with it");
}

#[test]
fn a_hangup_ends_a_run_as_sigterm_does_and_stops_its_flow() {
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let port = free_port();
        let suite = input("sighup-leaves-the-flow", "suite.yaml");
        let suite = suite.replace("15701", &port.to_string());
        let place = Place::new(&suite.replace("[flowbench,", &format!("['{FLOWBENCH}',")));
        let child = running(&place);
        send(&child, signal);
        Ran::new(child.wait_with_output().expect("it ends")).ends(130);
        assert!(!answers(port), "{signal:?} leaves the Flow behind");
        let report = place.report();
        assert_eq!(report["interrupted"], true);
        assert!(
            place.path("out/report.html").is_file() && !place.path("out/journal.jsonl").exists()
        );
    }
}

#[test]
fn a_run_that_was_started_with_nohup_goes_on_without_its_terminal() {
    let place = Place::new("scenarios: [{name: s, load: {rate: 20/s, duration: 2s}}]");
    let mut command = Command::new("sh");
    let line = format!("trap '' HUP; exec '{FLOWBENCH}' run suite.yaml --out out");
    command.current_dir(place.path("")).args(["-c", &line]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("there is a shell");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    lines.next().expect("a line").expect("it is text");
    std::thread::spawn(move || lines.count());
    send(&child, Signal::HUP);
    Ran::new(child.wait_with_output().expect("it ends")).ends(0);
}

/// A command that ignores requests to end, as do the processes it starts.
const STUBBORN: &str = "trap '' TERM; $SERVE & while :; do sleep 1; done";

fn stubborn(port: u16) -> Place {
    let flow = flow(port, STUBBORN);
    Place::new(&format!(
        "flows: {{f: {flow}}}\nscenarios: [{{name: s, load: {{rate: 20/s, duration: 1h}}}}]"
    ))
}

#[test]
fn a_second_interrupt_does_not_leave_the_flow_behind() {
    let port = free_port();
    let place = stubborn(port);
    let mut child = running(&place);
    send(&child, Signal::INT);
    // The report is written when the Flow is stopped, which takes ten seconds here.
    while child.try_wait().expect("it is ours").is_none() && answers(port) {
        std::thread::sleep(Duration::from_millis(200));
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
    }
    Ran::new(child.wait_with_output().expect("it ends")).ends(130);
    is_gone(port);
}

#[test]
fn a_kill_does_not_leave_the_flow_behind() {
    for script in ["exec $SERVE", "$SERVE & wait"] {
        let port = free_port();
        let flow = flow(port, script);
        let place = Place::new(&format!(
            "flows: {{f: {flow}}}\nscenarios: [{{name: s, load: {{rate: 20/s, duration: 1h}}}}]"
        ));
        let child = running(&place);
        send(&child, Signal::KILL);
        let _ = child.wait_with_output();
        is_gone(port);
    }
}
