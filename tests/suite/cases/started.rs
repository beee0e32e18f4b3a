//! Flows started by a `command`: no other Flow is measured by mistake, and none is left running.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;
use rustix::process::Signal;

use super::input;
use crate::run::{Place, Ran, Running};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");

/// Long enough for any machine, short enough for a failing test.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has one").port()
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Waits until nothing listens on the port any more.
#[track_caller]
fn is_gone(port: u16) {
    let end = Instant::now() + PATIENCE;
    while answers(port) {
        assert!(Instant::now() < end, "port {port} still answers");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A flow whose command is a shell script; `$FLOWBENCH` serves on its port.
fn flow(port: u16, script: &str) -> String {
    let serve = format!("'{FLOWBENCH}' serve --port {port} --protocol grpc");
    let script = script.replace("$SERVE", &serve).replace('"', "\\\"");
    format!("{{command: [sh, -c, \"{script}\"], host: 'grpc://127.0.0.1:{port}'}}")
}

/// Starts a run and waits until a scenario is running.
fn running(place: &Place) -> Running {
    let mut running = Running::start(&mut place.command(&["--out", "out"]));
    running.runs();
    running
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
        "`sh` ended by itself (exit status: 7); the end of its output, which is in flow-f.log: \
         warming up\nout of memory"
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
    let flow =
        flow(port, "$SERVE >/dev/null & sleep 1; exit 0").replace("host:", "keep: true, host:");
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
        let running = running(&place);
        running.signal(signal);
        running.end().ends(130);
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
    let mut running = Running::start(&mut command);
    running.runs();
    running.signal(Signal::HUP);
    running.end().ends(0);
}

#[test]
fn a_flow_is_started_for_the_first_scenario_that_uses_it_and_stopped_after_the_last() {
    let port = free_port();
    let suite = input("index-then-query-flow", "suite.yaml").replace("23461", &port.to_string());
    // Each records when it was started and stopped.
    let wrapped = |name: &str| {
        format!(
            "[sh, -c, 'echo {name} starts >>flows; trap \"kill $!; wait; echo {name} stops >>flows\" TERM; \
             {FLOWBENCH} serve --port {port} --protocol grpc & wait', '', "
        )
    };
    let mut parts = suite.split("[flowbench, serve,");
    let rest = [parts.next(), parts.next(), parts.next()].map(|part| part.expect("two Flows"));
    let suite =
        format!("{}{}{}{}{}", rest[0], wrapped("index"), rest[1], wrapped("query"), rest[2]);
    let place = Place::new(&suite);
    place.run(&["--out", "out"]).ends(0);
    let flows = std::fs::read_to_string(place.path("flows")).expect("they wrote it");
    assert_eq!(flows, "index starts\nindex stops\nquery starts\nquery stops\n");
    is_gone(port);
    let served = std::fs::read_to_string(place.path("out/flow-index.log")).expect("its output");
    assert!(served.contains(&port.to_string()), "{served}");
}

#[test]
fn a_flow_that_is_kept_stays_up_to_the_end_of_the_run() {
    for (keep, expected) in [("keep: true, ", true), ("", false)] {
        let port = free_port();
        let kept = flow(port, "exec $SERVE").replace("host:", &format!("{keep}host:"));
        let asks = free_port();
        // Exits at once if the other still answers, and the run reports that.
        let script =
            format!("if (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null; then exit 9; fi; exec $SERVE");
        let looks = flow(asks, &script).replace("[sh,", "[bash,");
        let place = Place::new(&format!(
            "flows: {{kept: {kept}, looks: {looks}}}
defaults: {{documents: {{text: x, count: 1}}}}
scenarios:
  - {{name: first, flow: kept}}
  - {{name: second, flow: looks, needs: [first]}}",
        ));
        let ran = place.run(&["--out", "out"]);
        ran.ends(if expected { 3 } else { 0 });
        assert_eq!(ran.out.contains("exit status: 9"), expected, "{}", ran.out);
        is_gone(port);
    }
}

#[test]
fn a_command_has_its_folder_its_environment_and_its_own_sign_that_it_is_ready() {
    let (port, health) = (free_port(), free_port());
    let script = "echo \"$TOKEN and $PLAIN in $(basename \"$PWD\")\"; exec $SERVE >/dev/null";
    let ready = [
        "ready: {log: 'and 12'}".to_owned(),
        "ready: {log_matches: 'and \\d+ in there$'}".to_owned(),
        format!("ready: {{address: 'localhost:{port}'}}"),
        format!("ready: {{url: 'http://127.0.0.1:{health}/ready?a=b'}}"),
    ];
    // Reports not ready twice, then ready.
    let listener = TcpListener::bind(("127.0.0.1", health)).expect("it is free");
    std::thread::spawn(move || {
        for (asked, socket) in listener.incoming().enumerate() {
            let mut socket = socket.expect("a connection");
            let mut line = String::new();
            BufReader::new(&socket).read_line(&mut line).expect("a request");
            let status = if asked < 2 { "503 Service Unavailable" } else { "200 OK" };
            assert_eq!(line, "GET /ready?a=b HTTP/1.1\r\n");
            let _ = write!(socket, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        }
    });
    for ready in ready {
        let keys = format!(
            "cwd: there, env: {{TOKEN: '${{{{ env.TOKEN }}}}', PLAIN: 12}}, {ready}, host:"
        );
        let flow = flow(port, script).replace("host:", &keys);
        let place = Place::new(&format!(
            "flows: {{a/b: {flow}}}\nscenarios: [{{name: s, documents: {{text: x, count: 1}}, retry: {{max_attempts: 50}}}}]"
        ));
        std::fs::create_dir(place.path("there")).expect("there is room");
        let mut command = place.command(&["--out", "out"]);
        let ran = Ran::new(command.env("TOKEN", "sesame-open").output().expect("it was built"));
        // The Flow that only printed a line may not be listening yet.
        if ready.contains("log") {
            assert!(!ran.out.contains("was not ready"), "{}", ran.out);
        } else {
            ran.ends(0);
        }
        let printed = std::fs::read_to_string(place.path("out/flow-a-b.log")).expect("its output");
        assert_eq!(printed, "*** and 12 in there\n");
        let resolved = Ran::new(
            place
                .any(&["check", "suite.yaml", "--resolved"])
                .env("TOKEN", "t")
                .output()
                .expect("it was built"),
        );
        assert!(
            resolved.out.contains("PLAIN: '***'") || resolved.out.contains("PLAIN: \"***\""),
            "{}",
            resolved.out
        );
        is_gone(port);
    }
}

#[test]
fn a_flow_that_does_not_get_ready_is_told_with_what_was_waited_for() {
    let port = free_port();
    let nobody = free_port();
    for (ready, said) in [
        ("{log: never}".to_owned(), "no line of its output contains `never`".to_owned()),
        ("{log_matches: '^x$'}".to_owned(), "no line of its output matches `^x$`".to_owned()),
        (
            format!("{{address: '127.0.0.1:{nobody}'}}"),
            format!("nothing answers at 127.0.0.1:{nobody}"),
        ),
        (
            format!("{{url: 'http://127.0.0.1:{nobody}/health'}}"),
            format!("nothing answers at 127.0.0.1:{nobody}"),
        ),
    ] {
        let keys = format!("ready: {ready}, ready_timeout: 500ms, host:");
        let flow =
            flow(port, "echo loading weights; exec $SERVE >/dev/null").replace("host:", &keys);
        let place = Place::new(&format!(
            "flows: {{f: {flow}}}\nscenarios: [{{name: s, documents: {{text: x, count: 1}}}}]"
        ));
        place.run(&["--out", "out"]).ends(3);
        let report = place.report();
        let message = report["scenarios"][0]["end"]["message"].as_str().expect("a reason");
        let begins = format!("the Flow of `sh` was not ready within 500ms: {said}");
        assert!(message.starts_with(&begins), "{message}");
        assert!(message.ends_with("which is in flow-f.log: loading weights"), "{message}");
        is_gone(port);
    }
}

/// A stand-in for `jina` that serves according to the YAML: on its port, and as many clients at a time as it
/// has replicas.
const JINA: &str = r#"#!/bin/sh
echo "$@" >>"$CALLS"
cat "$4"
replicas=$(sed -n 's/.*replicas: *\([0-9]*\).*/\1/p' "$4")
if [ "$replicas" = 3 ]; then echo "no room for three" >&2; exit 4; fi
exec "$FLOWBENCH" serve --protocol grpc --port "$(sed -n 's/.*port: *\([0-9]*\).*/\1/p' "$4")" >/dev/null
"#;

#[test]
fn a_matrix_starts_its_flow_for_each_combination_with_the_values_set_in_its_yaml() {
    use std::os::unix::fs::PermissionsExt;
    let port = free_port();
    let place = Place::new(&format!(
        "flows:
  tuned:
    uses: flows/flow.yml
    set: {{executors.encoder.replicas: '${{{{ matrix.replicas }}}}', with.port: {port}}}
    command: [./jina, flow, --quiet]
    env: {{CALLS: calls, FLOWBENCH: '{FLOWBENCH}'}}
defaults: {{documents: {{text: x, count: 1}}, matrix: {{replicas: [1, 3, 2], request_size: [1, 2]}}}}
scenarios:
  - {{name: index}}
  - {{name: search, needs: [index]}}
",
    ));
    std::fs::create_dir(place.path("flows")).expect("there is room");
    let yaml = "jtype: Flow\n# ours\nwith:\n  port: 1\nexecutors:\n- name: encoder\n  replicas: 9 # many\n";
    std::fs::write(place.path("flows/flow.yml"), yaml).expect("there is room");
    std::fs::write(place.path("jina"), JINA).expect("there is room");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("jina"), executable).expect("it is ours");

    let checked = Ran::new(place.any(&["check", "suite.yaml"]).output().expect("it was built"));
    checked.ends(0);
    let said = "flow `tuned` is started 3 times, one after the other, for the values of `replicas`";
    assert!(checked.err.contains(said), "{}", checked.err);
    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    assert!(ran.out.contains("best of index"), "{}", ran.out);
    let report = place.report();
    for scenario in report["scenarios"].as_array().expect("a list") {
        let name = scenario["name"].as_str().expect("a name");
        let reason = match (
            name.contains("replicas=3"),
            name.contains("index") && name.contains("request_size=1"),
        ) {
            (true, true) => "unreachable",
            (true, false) => "skipped",
            (false, _) => "documents",
        };
        assert_eq!(scenario["end"]["reason"], reason, "{scenario}");
    }
    let calls = std::fs::read_to_string(place.path("calls")).expect("it was called");
    assert_eq!(calls.lines().count(), 3, "{calls}");
    let used =
        std::fs::read_to_string(place.path("out/flow-tuned-replicas=2.log")).expect("its output");
    let expected =
        yaml.replace("port: 1", &format!("port: {port}")).replace("9 # many", "2 # many");
    assert_eq!(used, expected);
    let left: Vec<_> = std::fs::read_dir(place.path("flows")).expect("it is there").collect();
    assert_eq!(left.len(), 1, "what was written is removed: {left:?}");
    assert_eq!(std::fs::read_to_string(place.path("flows/flow.yml")).expect("it is there"), yaml);
    is_gone(port);
}

/// A command that ignores signals to end, as do the processes that it starts.
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
    let mut running = running(&place);
    running.signal(Signal::INT);
    // The report is written once the Flow is stopped, which takes ten seconds here.
    while running.child.try_wait().expect("it is ours").is_none() && answers(port) {
        std::thread::sleep(Duration::from_millis(200));
        running.signal(Signal::INT);
    }
    running.end().ends(130);
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
        let running = running(&place);
        running.signal(Signal::KILL);
        running.end();
        is_gone(port);
    }
}
