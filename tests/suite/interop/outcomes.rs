//! Jina's own client makes the same calls to a real Flow and to `flowbench serve`, and must not be able to
//! distinguish them: return values, callbacks and exceptions are compared one by one.
//!
//! The calls are in `tests/interop/outcomes.py`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flowbench::wire::{Protocol, Target};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::flow::{RealFlow, Setup};
use super::python::{Release, files};
use super::{PROTOCOLS, tls};

/// The Executors of a real Flow of these tests.
const CHAIN: &str = "
executors:
  - {name: echo}
  - {name: appender, uses: appender}
  - {name: sleeper, uses: sleeper}
  - {name: failer, uses: failer}
  - {name: summer, uses: summer}
";

/// `flowbench serve` as a separate process.
struct Served {
    child: Child,
    targets: Vec<Target>,
    _folder: tempfile::TempDir,
}

impl Served {
    /// Starts a Flow of the family, with these protocols and this configuration.
    fn start(release: Release, protocols: &[Protocol], config: &str, arguments: &[&str]) -> Served {
        let folder = tempfile::tempdir().expect("there is room");
        let file = folder.path().join("flow.yml");
        std::fs::write(&file, config).expect("there is room");
        let family = if release == Release::V2 { "v2" } else { "v1" };
        let names: Vec<_> = protocols.iter().map(ToString::to_string).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .args(["serve", "--family", family, "--port", "0"])
            .args(["--protocol", &names.join(",")])
            .arg("--config")
            .arg(&file)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let addresses = lines.take(protocols.len()).map(|line| line.expect("it writes text"));
        let targets = addresses.map(|line| line.parse().expect("an address")).collect();
        Served { child, targets, _folder: folder }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = self.child.wait().expect("it ends");
        if !std::thread::panicking() {
            assert_eq!(status.code(), Some(0), "it ends cleanly");
        }
    }
}

/// The information that the client needs about a Flow.
fn told(targets: &[Target]) -> Value {
    let ports: BTreeMap<_, _> =
        targets.iter().map(|target| (target.protocol.to_string(), target.port)).collect();
    json!({"host": "127.0.0.1", "ports": ports, "tls": targets[0].tls})
}

fn targets(flow: &RealFlow, protocols: &[Protocol]) -> Vec<Target> {
    protocols.iter().map(|protocol| flow.target(*protocol)).collect()
}

/// Starts the calls of a group, trusting a CA.
fn begin(release: Release, group: &str, targets: &[Target], trusted: &Path) -> Child {
    let mut child = Command::new(release.python().expect("asked for before"))
        .arg(files().join("outcomes.py"))
        .arg(group)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", trusted)
        .env("SSL_CERT_FILE", trusted)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped()) // the client logs there what it also raises
        .spawn()
        .expect("the environment's interpreter starts");
    // Dropping the pipe closes it.
    let mut input = child.stdin.take().expect("it is piped");
    write!(input, "{}", told(targets)).expect("it reads");
    child
}

/// The lines of a group.
fn end(child: Child) -> Vec<Value> {
    let output = child.wait_with_output().expect("it can be waited for");
    let lines = String::from_utf8(output.stdout).expect("it writes text");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "outcomes.py failed after:\n{lines}\nand said:\n{said}");
    // The wording of errors in regular expressions depends on the library.
    let words = Regex::new(r#"('re\.error'>: )[^"\\]+"#).expect("it is valid");
    let lines = words.replace_all(&lines, "${1}why");
    lines.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

/// Makes the calls of a group to both Flows, at the same time, and checks that the outcomes are equal and that
/// there are at least `calls` of them.
#[track_caller]
fn compare(release: Release, group: &str, real: &[Target], ours: &[Target], calls: usize) {
    compare_trusting(&tls::files().ca, release, group, real, ours, calls);
}

#[track_caller]
fn compare_trusting(
    trusted: &Path,
    release: Release,
    group: &str,
    real: &[Target],
    ours: &[Target],
    calls: usize,
) {
    let (real, ours) = (begin(release, group, real, trusted), begin(release, group, ours, trusted));
    // At the same time, so that neither blocks until the other's lines are read.
    let ours = std::thread::spawn(move || end(ours));
    let (real, ours) = (end(real), ours.join().expect("it told why"));
    let names = |outcomes: &[Value]| -> Vec<_> {
        outcomes.iter().map(|outcome| outcome["call"].to_string()).collect()
    };
    assert_eq!(names(&real), names(&ours));
    assert!(real.len() >= calls, "{} calls alone were made", real.len());
    let differing = real.iter().zip(&ours).filter(|(real, ours)| real != ours);
    let told: Vec<_> = differing
        .map(|(real, ours)| {
            format!("{}\n  real: {}\n  ours: {}", real["call"], real["outcome"], ours["outcome"])
        })
        .collect();
    assert!(told.is_empty(), "{} outcomes differ\n{}", told.len(), told.join("\n"));
}

fn posts(setup: Setup, calls: usize) {
    let release = setup.release;
    let Some(flow) = setup.shared() else { return };
    let served = Served::start(release, &PROTOCOLS, CHAIN, &[]);
    let real = targets(&flow, &PROTOCOLS);
    compare(release, "posts", &real, &served.targets, calls);
    compare(release, "to_plain", &real, &served.targets, 6);
    compare(release, "outsiders", &real, &served.targets, 4);
}

#[test]
fn posts_to_v1_come_to_the_same() {
    posts(Setup::new(Release::V1, &PROTOCOLS).with(&["--graphql"]), 260);
}

#[test]
fn posts_to_v2_come_to_the_same() {
    posts(Setup::new(Release::V2, &PROTOCOLS), 270);
}

#[test]
fn tls_comes_to_the_same() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).tls(true).shared() else { return };
        let files = tls::files();
        let [cert, key] =
            [&files.server_cert, &files.server_key].map(|path| path.display().to_string());
        let served =
            Served::start(release, &PROTOCOLS, CHAIN, &["--tls-cert", &cert, "--tls-key", &key]);
        let real = targets(&flow, &PROTOCOLS);
        for trusted in [&files.ca, &files.other_ca] {
            compare_trusting(trusted, release, "tls", &real, &served.targets, 18);
        }
    }
}

#[test]
fn mutations_come_to_the_same() {
    let setup = Setup::new(Release::V1, &PROTOCOLS).with(&["--graphql"]);
    let Some(flow) = setup.shared() else { return };
    let served = Served::start(Release::V1, &PROTOCOLS, CHAIN, &["--graphql"]);
    let real = targets(&flow, &PROTOCOLS);
    compare(Release::V1, "mutations", &real, &served.targets, 15);
}

#[test]
fn streams_come_to_the_same() {
    let protocols = [Protocol::Grpc, Protocol::Http];
    let setup = Setup::new(Release::V2, &protocols).with(&["--executors", "streamer"]);
    let Some(flow) = setup.shared() else { return };
    let config = "executors: [{name: streamer, endpoints: {/stream: {stream: {count: 3}}}}]";
    let served = Served::start(Release::V2, &protocols, config, &[]);
    compare(Release::V2, "streams", &targets(&flow, &protocols), &served.targets, 5);
}

#[test]
fn an_executor_that_is_down_comes_to_the_same() {
    for release in [Release::V1, Release::V2] {
        let setup = Setup::new(release, &PROTOCOLS).with(&["--executors", "echo,sleeper"]);
        let Some(mut flow) = setup.start() else { return };
        flow.kill_executor("sleeper");
        let config = "executors: [{name: echo}, {name: sleeper, down: true}]";
        let served = Served::start(release, &PROTOCOLS, config, &[]);
        compare(release, "down", &targets(&flow, &PROTOCOLS), &served.targets, 15);
    }
}

/// The fixture on the page works as pytest would use it.
#[test]
fn the_fixture_of_the_docs_gives_a_flow_to_talk_to() {
    let Some(python) = Release::V1.python() else { return };
    let page = include_str!("../../../docs/embedded-flow.md");
    let (_, example) = page.split_once("```python\n").expect("it has an example");
    let (example, _) = example.split_once("```").expect("which ends");
    // pytest itself is not installed; only one of its decorators is used.
    let program = format!(
        "import sys, types\n\
         pytest = sys.modules['pytest'] = types.ModuleType('pytest')\n\
         pytest.fixture = lambda **_: lambda function: function\n\
         {example}\n\
         generator = flow()\n\
         test_documents_come_back(next(generator))\n\
         assert next(generator, None) is None\n"
    );
    let binary = Path::new(env!("CARGO_BIN_EXE_flowbench"));
    let folder = binary.parent().expect("it is in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new(python).args(["-c", &program]).env("PATH", path).output();
    let output = output.expect("the environment's interpreter starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
