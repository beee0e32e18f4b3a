//! `flowbench serve`: the program as users run it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use flowbench::client::Client;
use flowbench::wire::{Document, Protocol, Target};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::scenario::each_prints_its_err;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.arg("serve").args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A running Flow.
struct Served {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Served {
    fn start(arguments: &[&str]) -> Served {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().expect("it was built");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Served { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it writes text");
        line
    }

    fn target(&mut self) -> Target {
        self.line().trim_end().parse().expect("an address")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Waits for its end: the exit code, and the remaining output on stdout and stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("it writes text");
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut err).expect("it writes text");
        (self.child.wait().expect("it ends").code(), out, err)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // If it has ended, its process id is still reserved, because only we wait for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("there is room");
    path.display().to_string()
}

fn post(on: &str, text: &str) -> Vec<u8> {
    let body = format!(r#"{{"data": [{{"text": "{text}"}}], "execEndpoint": "{on}"}}"#);
    let head = "POST /post HTTP/1.1\r\nhost: flow\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn it_says_where_it_listens_and_answers_there() {
    let mut served = Served::start(&["--port", "0"]);
    let targets = [served.target(), served.target(), served.target()];
    let protocols = targets.each_ref().map(|target| target.protocol);
    assert_eq!(protocols, [Protocol::Grpc, Protocol::Http, Protocol::WebSocket]);
    for target in targets {
        let client = Client::at(&target.to_string()).expect("an address");
        let found = client.post("/").inputs(Document::from_text("a")).send().await;
        assert_eq!(found.expect("it answers").texts(), ["a"], "{target}");
    }
    served.signal(Signal::TERM);
    assert_eq!(served.end(), (Some(0), String::new(), String::new()));
}

#[test]
fn only_what_was_asked_for_is_served_in_that_order() {
    let mut served = Served::start(&["--protocol", "websocket,grpc", "--family", "v2"]);
    let protocols = [served.target(), served.target()].map(|target| target.protocol);
    assert_eq!(protocols, [Protocol::WebSocket, Protocol::Grpc]);
    served.signal(Signal::INT);
    assert_eq!(served.end(), (Some(0), String::new(), String::new()), "as for SIGTERM");
}

#[test]
fn what_is_in_flight_is_finished_and_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "executors: [{name: sleeper, uses: sleeper}]\nlog: flow.jsonl\n";
    let config = file(&folder, "flow.yml", config);
    let mut served = Served::start(&["--protocol", "http", "--config", &config]);
    let target = served.target();
    let connect = || TcpStream::connect((target.host.as_str(), target.port));
    let mut quick = connect().expect("it listens");
    quick.write_all(&post("/", "quick")).expect("it reads");
    quick.read_to_string(&mut String::new()).expect("it answers");
    let mut slow = connect().expect("it listens");
    slow.write_all(&post("/", "sleep:700")).expect("it reads");
    // It has been read once a later request is answered.
    let mut last = connect().expect("it listens");
    last.write_all(&post("/", "quick")).expect("it reads");
    last.read_to_string(&mut String::new()).expect("it answers");
    served.signal(Signal::TERM);
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""text":"sleep:700""#), "{answer}");
    assert_eq!(served.end().0, Some(0));
    assert!(connect().is_err(), "nobody listens any more");

    let log = std::fs::read_to_string(folder.path().join("flow.jsonl")).expect("beside the file");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    for line in &lines {
        assert_eq!(
            (&line["protocol"], line["id"].as_str().map(str::len)),
            (&"http".into(), Some(32))
        );
        let times = ["arrival_ns", "departure_ns"].map(|key| line[key].as_u64().expect("a time"));
        assert!(times[0] <= times[1], "{line}");
    }
    let stayed = lines[2]["departure_ns"].as_u64().zip(lines[2]["arrival_ns"].as_u64());
    assert!(stayed.is_some_and(|(left, came)| left - came >= 700_000_000), "{log}");
}

#[test]
fn a_second_signal_ends_what_the_first_lets_finish() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = file(&folder, "flow.yml", "executors: [{name: sleeper, uses: sleeper}]");
    let mut served = Served::start(&["--protocol", "http", "--config", &config]);
    let target = served.target();
    let connect = || TcpStream::connect((target.host.as_str(), target.port));
    let mut slow = connect().expect("it listens");
    slow.write_all(&post("/", "sleep:20000")).expect("it reads");
    let mut quick = connect().expect("it listens");
    quick.write_all(&post("/", "quick")).expect("it reads");
    quick.read_to_string(&mut String::new()).expect("it answers");
    served.signal(Signal::TERM);
    // It has handled the first signal once it accepts no more connections.
    while connect().is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    served.signal(Signal::TERM);
    assert_eq!(served.end().0, Some(130));
}

#[test]
fn it_says_what_theory_expects_of_its_queues() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = file(
        &folder,
        "flow.yml",
        "executors:
  - {name: even, service_time: 1ms, concurrency: 1}
  - {name: random, service_time: {exponential: {mean: 1ms}}, concurrency: 2}
  - {name: free, service_time: {lognormal: {median: 5ms, p99: 40ms}}}
  - {name: mean, service_time: {uniform: {min: 0ms, max: 2ms}}, concurrency: 1}
  - {name: short, service_time: 2ms, concurrency: 1}
  - {name: stalls, stall: {every: 10s, for: 1s}}
",
    );
    let mut served =
        Served::start(&["--protocol", "grpc", "--config", &config, "--offered", "800/s"]);
    served.target();
    let lines: Vec<String> = (0..6).map(|_| served.line()).collect();
    assert_eq!(
        lines.concat(),
        "even at 800/s: M/D/1, busy 80.0%, mean 3.000ms, p50 2.276ms, p90 6.012ms, p99 11.356ms, p99.9 16.700ms
random at 800/s: M/M/2, busy 40.0%, mean 1.190ms, p50 0.859ms, p90 2.692ms, p99 5.156ms, p99.9 7.544ms
free at 800/s: M/G/\u{221e}, mean 7.455ms, p50 5.000ms, p90 15.721ms, p99 40.000ms, p99.9 79.177ms
mean at 800/s: M/G/1, busy 80.0%, mean 3.667ms
short at 800/s: cannot keep up: it would be busy 160.0% of the time
stalls at 800/s: no closed form: it stalls
"
    );
    served.signal(Signal::TERM);
    assert_eq!(served.end().0, Some(0));
}

#[test]
fn bad_configurations_are_refused_at_their_place() {
    each_prints_its_err("tests/flows/bad", 10, |path: &Path| {
        let Output { status, stdout, stderr } =
            command(&["--config", &path.display().to_string()]).output().expect("it was built");
        assert_eq!((status.code(), stdout.as_slice()), (Some(2), &b""[..]), "{}", path.display());
        String::from_utf8(stderr).expect("it writes text")
    });
}

#[test]
fn wrong_command_lines_are_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = taken.local_addr().expect("it has one").port().to_string();
    for (arguments, code, expected) in [
        (
            &["--config", "nosuch.yml"][..],
            2,
            "error: could not read nosuch.yml: No such file or directory (os error 2)\n",
        ),
        (
            &["--port", "1,2"],
            2,
            "error: `--port` gives 2 ports for 3 protocols; give one each, or 0 for free ones\n",
        ),
        (&["--family", "v2", "--graphql"], 2, "error: graphql: the v2 family has no GraphQL\n"),
        (&["--protocol", "grpc,grpc"], 2, "error: protocols[1]: `grpc` is listed twice\n"),
        (
            &["--tls-cert", "nosuch.pem", "--tls-key", "nosuch.key"],
            3,
            "error: could not set up TLS\n  caused by: could not read nosuch.pem\n  \
             caused by: I/O error: No such file or directory (os error 2)\n",
        ),
        (
            &["--log", "/nosuch/log"],
            3,
            "error: could not create the log\n  caused by: No such file or directory (os error 2)\n",
        ),
        (
            &["--protocol", "http", "--port", &port],
            3,
            &format!(
                "error: could not listen on 127.0.0.1:{port}\n  caused by: Address already in use (os error 98)\n"
            ),
        ),
    ] {
        let output = command(arguments).output().expect("it was built");
        let said = String::from_utf8(output.stderr).expect("it writes text");
        assert_eq!((output.status.code(), &*said), (Some(code), expected), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
