//! Output of every subcommand: when the reader is gone, when the disk is full, and when it contains hostile
//! text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use flowbench::flow::{Flow, FlowConfig};
use flowbench::report::{self, Format};
use flowbench::wire::Protocol;
use serde_json::json;

/// Subcommands that run until they are stopped: these are not waited for.
const ENDLESS: [&str; 2] = ["serve", "selftest"];

/// A command line of each subcommand that prints something.
fn every_subcommand(folder: &Path, flow: &Flow) -> BTreeMap<&'static str, Vec<String>> {
    let suite = "flows: {a: {embedded: {}}, b: {embedded: {}}}\n\
                 scenarios: [{name: s, flow: a, documents: {text: x, count: 5}, on_done: [print]}]\n";
    std::fs::write(folder.join("suite.yaml"), suite).expect("there is room");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
        command.current_dir(folder).args(["run", "--quiet"]).args(arguments);
        assert!(command.output().expect("it was built").status.success());
    };
    ["results/1", "results/2"].into_iter().for_each(|out| run(&["suite.yaml", "--out", out]));
    let grpc = flow.target(Protocol::Grpc).expect("it listens").to_string();
    let divided = format!(
        "flows: {{f: {{host: '{grpc}'}}}}\nscenarios: [{{name: s, load: {{clients: 2, requests: 4}}}}]\n"
    );
    std::fs::write(folder.join("parts.yaml"), divided).expect("there is room");
    ["1/2", "2/2"].into_iter().for_each(|n| run(&["parts.yaml", "--part", n, "--out", "parts"]));
    let http = flow.target(Protocol::Http).expect("it listens").to_string();
    let saved = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/capacity/rate.json");
    let lines = [
        "run suite.yaml --out out".to_owned(),
        "merge parts --out merged".into(),
        "deploy slurm parts.yaml --parts 2".into(),
        "compare results/1 -- results/2 --force".into(),
        "gate suite.yaml --base-flow a --candidate-flow b --runs 1 --force --inconclusive pass --gate p50=+900%".into(),
        "noise suite.yaml --runs 5 --inconclusive pass --out baseline".into(),
        "trend results".into(),
        format!("capacity {saved} --peak 100/s --out searched"),
        "check suite.yaml --resolved".into(),
        "init -".into(),
        "plan suite.yaml".into(),
        "report results/1/report.json".into(),
        "schema".into(),
        format!("post {grpc} / --text a --text b"),
        format!("mutate {http} mutation{{docs(data:{{text:\"a\"}}){{id}}}}"),
        format!("ready {grpc}"),
        "serve".into(),
        "selftest".into(),
        "completions bash".into(),
    ];
    let words = |line: &String| {
        let words = line.split(' ').map(|word| word.replace("p50=", "p50 "));
        words.collect::<Vec<String>>()
    };
    lines.iter().map(words).map(|line| (name_of(&line), line)).collect()
}

fn name_of(line: &[String]) -> &'static str {
    let known = SUBCOMMANDS.into_iter().find(|name| *name == line[0]);
    known.expect("it is one of the subcommands")
}

const SUBCOMMANDS: [&str; 19] = [
    "run",
    "merge",
    "deploy",
    "completions",
    "compare",
    "gate",
    "noise",
    "trend",
    "capacity",
    "check",
    "init",
    "plan",
    "report",
    "schema",
    "post",
    "mutate",
    "ready",
    "serve",
    "selftest",
];

async fn flow(config: serde_json::Value) -> Flow {
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    Flow::start(config).await.expect("it starts on free ports")
}

fn ended(folder: &Path, line: &[String], out: Stdio, err: Stdio) -> (Option<i32>, String) {
    // Files left by an earlier run of the same line.
    for left in ["out", "baseline", "searched"] {
        let _ = std::fs::remove_dir_all(folder.join(left));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.current_dir(folder).args(line).stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().expect("it was built");
    // The command has copies of the pipes' ends, which would keep them open.
    drop(command);
    let mut told = String::new();
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut told).expect("it writes text");
    }
    (child.wait().expect("it ends").code(), told)
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

#[test]
fn every_subcommand_is_looked_at() {
    let help = Command::new(env!("CARGO_BIN_EXE_flowbench")).arg("--help").output();
    let help = String::from_utf8(help.expect("it was built").stdout).expect("text");
    let unknown: Vec<_> = help
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| !word.starts_with('-') && *word != "help" && !SUBCOMMANDS.contains(word))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_nobody_reads_and_a_full_disk_end_every_subcommand_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    for (name, line) in every_subcommand(folder.path(), &flow) {
        let (code, told) = ended(folder.path(), &line, full(), Stdio::piped());
        if told.contains("inconclusive: ") {
            // The machine is too busy for noise to be measured.
            assert_eq!(code, Some(0), "{name}: {told}");
            continue;
        }
        assert_eq!(code, Some(5), "{name}: {told}");
        let last = told.lines().last().unwrap_or_default();
        let expected = "error: cannot write to stdout: No space left on device (os error 28)";
        assert_eq!(last, expected, "{name}: {told}");
        if ENDLESS.contains(&name) {
            let (code, _) = ended(folder.path(), &line, full(), full());
            assert_eq!(code, Some(5), "{name}");
            continue;
        }
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, told) = ended(folder.path(), &line, writer.into(), Stdio::piped());
        assert_eq!(code, Some(0), "{name}: {told}");
        assert!(!told.contains("Broken pipe"), "{name}: {told}");
        let (code, _) = ended(folder.path(), &line, Stdio::null(), full());
        assert_eq!(code, Some(0), "{name}");
    }
    let wrong = [vec!["run".to_owned(), "no-such.yaml".into()], vec!["plan".into()]];
    for line in wrong {
        let (code, _) = ended(folder.path(), &line, full(), full());
        assert_eq!(code, Some(2), "{line:?}");
    }
}

/// A text that clears the screen, sets the window title, and reverses letters.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31mgpj.\u{202e}exe\u{2066}";

/// Checks that output for a terminal contains no control sequences.
#[track_caller]
fn is_tame(text: &str, what: &str) {
    let found = text.find(|c| "\u{1b}\u{9b}\u{202e}\u{2066}\r".contains(c));
    let shown = found.map(|at| text[at..].chars().take(200).collect::<String>());
    assert_eq!(shown, None, "{what}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_flow_sends_can_speak_to_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let grpc = flow.target(Protocol::Grpc).expect("it listens").to_string();
    let escaped = |c| format!("\\u{:04x}", u32::from(c));
    let hostile = format!("\"{}\"", HOSTILE.chars().map(escaped).collect::<String>());
    let suite = format!(
        "flows: {{f: {{host: '{grpc}'}}}}\n\
         documents: {{d: {{text: {hostile}, count: 3}}}}\n\
         scenarios:\n  - name: {hostile}\n    documents: d\n    \
         on_done: [print, {{log: '${{{{ response.docs[0].text }}}}'}}]\n    \
         assert: [\"response.docs[0].text == 'other'\"]\n",
    );
    std::fs::write(folder.path().join("suite.yaml"), suite).expect("there is room");
    for line in [
        vec!["post", &grpc, "/", "--text", HOSTILE, "--show", "texts"],
        vec!["post", &grpc, "/", "--text", HOSTILE],
        vec!["post", &grpc, HOSTILE, "--doc", HOSTILE],
        vec!["ready", HOSTILE],
        vec!["plan", "suite.yaml"],
        vec!["run", "suite.yaml", "--out", "out"],
        vec!["report", "out/report.json"],
    ] {
        let (out, err) = on_a_terminal(folder.path(), &line);
        is_tame(&out, &format!("{line:?}"));
        is_tame(&err, &format!("{line:?}"));
        let wrong = out.contains("suite.yaml:") || err.contains("suite.yaml:");
        assert!(!wrong, "the suite itself is right: {out}{err}");
    }
    // Not on a terminal, data is passed through.
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    let out = command.args(["post", &grpc, "/", "--text", HOSTILE, "--show", "texts"]).output();
    assert_eq!(String::from_utf8_lossy(&out.expect("it was built").stdout), format!("{HOSTILE}\n"));
    let summary = flowbench::record::saved::read(&folder.path().join("out/report.json"));
    let summary = summary.unwrap_or_else(|error| panic!("{error}"));
    for format in [Format::Html, Format::Junit, Format::Markdown] {
        let mut page = Vec::new();
        report::write(&summary, format, &mut page).expect("a vector takes all");
        is_tame(&String::from_utf8(page).expect("text"), &format!("{format:?}"));
    }
}

/// A command's output on stdout, if that is a terminal, and on stderr.
#[cfg(target_os = "linux")]
fn on_a_terminal(folder: &Path, line: &[&str]) -> (String, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
    let theirs = ptsname(&ours, Vec::new()).expect("it has a name");
    let theirs = File::options().write(true).open(theirs.to_str().expect("text"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.current_dir(folder).args(line).env("NO_COLOR", "1").stdin(Stdio::null());
    command.stdout(theirs.expect("it can be opened")).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it was built");
    drop(command);
    let out = std::thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        // The end of a terminal is reported as an error.
        while let Ok(read @ 1..) = rustix::io::read(&ours, &mut buffer) {
            text.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut err = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut err).expect("it writes text");
    child.wait().expect("it ends");
    let out = out.join().expect("it reads to the end");
    assert!(out.len() + err.len() > 0, "{line:?} says something");
    // The terminal itself adds these carriage returns.
    (out.replace("\r\n", "\n"), err)
}
