//! Values from `env` only leave the process in requests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::run::{Place, Ran};

const FLOWBENCH: &str = env!("CARGO_BIN_EXE_flowbench");
const TOKEN: &str = "abc123secret";

fn command(folder: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(FLOWBENCH);
    command.current_dir(folder).args(line).env("TOKEN", TOKEN).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command line and checks that its output contains no secret.
#[track_caller]
fn quiet(folder: &Path, line: &[&str]) -> Ran {
    let ran = Ran::new(command(folder, line).output().expect("it was built"));
    is_kept(&ran.out, &format!("{line:?}, stdout"));
    is_kept(&ran.err, &format!("{line:?}, stderr"));
    ran
}

#[track_caller]
fn is_kept(text: &str, what: &str) {
    let at = text.find(TOKEN).map(|at| text[..at + TOKEN.len()].lines().last());
    assert_eq!(at, None, "{what}");
}

/// A suite with a secret wherever an expression is allowed.
fn everywhere(load: &str) -> String {
    format!(
        r#"name: "n-${{{{ env.TOKEN }}}}"
vars: {{v: "${{{{ env.TOKEN }}}}-var", upper: "${{{{ env.TOKEN | upper }}}}"}}
flows:
  f: {{embedded: {{log: "${{{{ env.TOKEN }}}}.log", executors: [{{name: "ex-${{{{ env.TOKEN }}}}"}}, {{name: e, fail: 20%}}]}}}}
  g: {{command: [sh, -c, "echo ${{{{ env.TOKEN }}}} >&2; exit 3"], host: "grpc://127.0.0.1:1"}}
  h: {{host: "grpc://${{{{ env.TOKEN }}}}.invalid:1234", headers: {{a: "${{{{ env.TOKEN }}}}"}}}}
scenarios:
  - name: "sc-${{{{ env.TOKEN }}}}-${{{{ matrix.m }}}}"
    flow: f
    on: "/x-${{{{ env.TOKEN }}}}"
    target_executor: "ex-${{{{ env.TOKEN }}}}|e"
    documents: {{text: "doc ${{{{ env.TOKEN }}}}", tags: {{t: "${{{{ vars.v }}}}"}}, count: 100}}
    request_size: 1
    parameters: {{p: "${{{{ env.TOKEN }}}}", m: "${{{{ matrix.m }}}}"}}
    assert: ["response.docs[0].text == '${{{{ env.TOKEN }}}}'", "response.docs[0].text == env.TOKEN"]
    matrix: {{m: ["${{{{ env.TOKEN }}}}"]}}
    on_done: [print, {{log: "l ${{{{ env.TOKEN }}}}"}}, {{count: "c-${{{{ env.TOKEN }}}}"}}, {{save: "s.jsonl"}}]
    on_error: [{{log: "${{{{ exception }}}} ${{{{ env.TOKEN }}}}"}}]
    {load}
  - {{name: cmd, flow: g, documents: {{text: x, count: 1}}}}
  - {{name: hst, flow: h, documents: {{text: x, count: 1}}}}
"#
    )
}

/// All files below a folder except the suite, with their texts.
pub(super) fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "suite.yaml") {
            let text = String::from_utf8_lossy(&std::fs::read(&path).expect("it is there")).into();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

#[test]
fn a_secret_in_any_place_of_a_suite_is_in_no_output() {
    let place = Place::new(&everywhere("load: {clients: 2, requests: 100}"));
    let folder = place.path("");
    quiet(&folder, &["check", "suite.yaml"]).ends(0);
    let resolved = quiet(&folder, &["check", "--resolved", "suite.yaml"]);
    assert!(resolved.ends(0).out.contains("***"), "{}", resolved.out);
    quiet(&folder, &["plan", "suite.yaml"]).ends(0);
    let ran = quiet(&folder, &["run", "suite.yaml", "--out", "out"]);
    assert!(ran.out.contains("sc-***") && ran.err.contains("sc-***"), "{}{}", ran.out, ran.err);
    let formats = ["html", "json", "junit", "markdown", "csv", "hlog", "prometheus", "terminal"];
    for format in formats {
        let ran = quiet(&folder, &["report", "out/report.json", "-f", format]);
        ran.ends(0);
    }
    assert!(ran.out.contains("l ***"), "the lines of `log` are there: {}", ran.out);
    for (path, text) in files(&folder).iter().filter(|(path, _)| !path.ends_with(".log")) {
        is_kept(text, path);
    }
    let saved = std::fs::read_to_string(place.path("s.jsonl")).expect("it was saved");
    assert!(saved.contains("doc ***"), "{saved}");
    // Transformed by an expression, it is still secret.
    let upper = TOKEN.to_uppercase();
    assert!(!resolved.out.contains(&upper), "{}", resolved.out);
}

#[test]
fn a_secret_is_in_no_journal() {
    let suite = everywhere("load: {rate: 50/s, duration: 1h}");
    let place = Place::new(&suite.replace(", count: 100", ""));
    let folder = place.path("");
    let mut child =
        command(&folder, &["run", "suite.yaml", "--out", "out"]).spawn().expect("built");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut lines = lines.map(|line| line.expect("it is text"));
    lines.find(|line| line.contains(" done, p50 ")).expect("it runs");
    kill_process(Pid::from_child(&child), Signal::KILL).expect("it runs");
    std::thread::spawn(move || lines.count());
    child.wait_with_output().expect("it ends");
    let journal = std::fs::read_to_string(place.path("out/journal.jsonl")).expect("it stays");
    is_kept(&journal, "the journal");
    quiet(&folder, &["report", "out/journal.jsonl", "-f", "json"]).ends(0);
}

#[test]
fn a_secret_of_the_wrong_type_in_any_key_is_in_no_message() {
    let schema = flowbench::scenario::schema();
    let keys = |of: &Value| -> Vec<String> {
        of["properties"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
    };
    let definitions = schema["$defs"].as_object().expect("it has parts");
    let mut names: Vec<String> = definitions.values().flat_map(keys).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 60, "{names:?}");
    let secret = "\"${{ env.TOKEN }}\"";
    let suites = names.iter().flat_map(|key| {
        [
            format!("scenarios: [{{name: s, {key}: {secret}}}]"),
            format!("scenarios: [{{name: s, load: {{{key}: {secret}}}}}]"),
            format!("scenarios: [{{name: s, documents: {{{key}: {secret}}}}}]"),
            format!("flows: {{f: {{{key}: {secret}}}}}\nscenarios: [{{name: s}}]"),
            format!("flows: {{f: {{embedded: {{{key}: {secret}}}}}}}\nscenarios: [{{name: s}}]"),
            format!("{key}: {secret}\nscenarios: [{{name: s}}]"),
        ]
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut line = vec!["check".to_owned(), "--resolved".into()];
    for (number, suite) in suites.enumerate() {
        let name = format!("{number}.yaml");
        std::fs::write(folder.path().join(&name), suite).expect("there is room");
        line.push(name);
    }
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let ran = quiet(folder.path(), &line);
    assert!(ran.err.matches("error: ").count() > 200, "{}", ran.err);
}

#[test]
fn the_environment_as_a_whole_is_no_value() {
    let place = Place::new("scenarios: [{name: s, documents: {text: \"${{ env }}\", count: 1}}]");
    let ran = quiet(&place.path(""), &["check", "--resolved", "suite.yaml"]);
    assert!(!ran.out.contains("PATH") && !ran.err.contains("PATH="), "{}{}", ran.out, ran.err);
}

#[test]
fn credentials_that_stand_in_a_suite_are_masked_like_those_of_the_environment() {
    let place = Place::new(
        r#"
flows:
  f: {embedded: {}}
  plain: {host: "http://127.0.0.1:1", headers: {authorization: Bearer of-the-flow-1}}
scenarios:
  - name: own
    flow: f
    protocol: http
    headers: {authorization: "Bearer of-the-scenario-2", x-number: "${{ i }}", x-mixed: "long-constant-3-${{ i }}", x-short: "a-${{ i }}"}
    documents: {text: "of-the-scenario-2 said", count: 1}
    on_done: [{log: "${{ request.docs[0].text }}"}]
  - name: request
    flow: plain
    request: {path: /, headers: {x-api-key: of-the-request-4, accept: application/json}}
    load: {requests: 1, clients: 1}
"#,
    );
    let resolved =
        Ran::new(place.any(&["check", "--resolved", "suite.yaml"]).output().expect("it was built"));
    resolved.ends(0);
    let ran = place.run(&["--out", "out"]);
    let read = |name: &str| std::fs::read_to_string(place.path(name)).expect(name);
    let all = [ran.out, ran.err, read("out/report.json"), read("out/report.html"), resolved.out];
    for text in &all {
        for secret in ["of-the-flow-1", "of-the-scenario-2", "of-the-request-4"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let resolved = &all[4];
    assert!(!resolved.contains("long-constant-3"), "{resolved}");
    for kept in ["${{ i }}", "a-${{ i }}", "***${{ i }}"] {
        assert!(resolved.contains(kept), "{kept}: {resolved}");
    }
    assert!(all[0].contains("*** said") || all[1].contains("*** said"), "{} {}", all[0], all[1]);
    std::fs::write(place.path("again.yaml"), resolved).expect("it can be written");
    Ran::new(place.any(&["check", "again.yaml"]).output().expect("it was built")).ends(0);
}
