//! Parts of a secret, values derived from it, and remains of it in truncated text.

use std::process::Stdio;

use super::foreign::answering;
use super::secrets::files;
use crate::run::{Place, Ran};

const TOKEN: &str = "s3cr3t-t0k3n-ABCdef-98765";

/// Any substring of the token with this many characters is a leak.
const LEAK: usize = 7;

#[track_caller]
fn is_kept(text: &str, what: &str) {
    let forms = [TOKEN.to_owned(), TOKEN.to_uppercase(), TOKEN.replace('s', "S")];
    let mut parts =
        forms.iter().flat_map(|form| (0..=form.len() - LEAK).map(|at| &form[at..at + LEAK]));
    assert_eq!(parts.find(|part| text.contains(part)), None, "{what}: {text}");
}

/// Runs a suite and searches all its output for the secret.
#[track_caller]
fn quiet(suite: &str) -> (Place, Ran) {
    let place = Place::new(suite);
    for line in [
        &["check", "--resolved", "suite.yaml"][..],
        &["plan", "suite.yaml"],
        &["run", "suite.yaml", "--out", "out"],
    ] {
        let mut command = place.any(line);
        command.env("TOKEN", TOKEN).stdin(Stdio::null());
        let ran = Ran::new(command.output().expect("it was built"));
        is_kept(&ran.out, &format!("{line:?}, stdout"));
        is_kept(&ran.err, &format!("{line:?}, stderr"));
        if line[0] == "run" {
            for (path, text) in files(&place.path("")) {
                is_kept(&text, &path);
            }
            return (place, ran);
        }
    }
    unreachable!("the last line runs it")
}

#[test]
fn parts_of_a_secret_and_what_expressions_make_of_it_are_in_no_output() {
    let (place, ran) = quiet(
        r#"
vars: {half: "${{ env.TOKEN[:10] }}", low: "${{ env.TOKEN | lower }}"}
flows: {e: {embedded: {executors: [{name: a}]}}}
defaults: {flow: e, request_size: 1, load: {clients: 1, requests: 2}}
scenarios:
  - {name: half, on: "/${{ env.TOKEN[:12] }}", documents: {text: "${{ vars.half }}"}, on_done: [print, {save: s.jsonl}]}
  - name: made
    documents:
      text: "${{ env.TOKEN | upper }}"
      id: "${{ env.TOKEN[:14] }}"
      uri: "${{ env.TOKEN | replace('s', 'S') }}"
      tags: {list: "${{ [env.TOKEN | upper] }}", each: "${{ (env.TOKEN | upper) ~ i }}", var: "${{ vars.low | upper }}"}
    parameters: {up: "${{ env.TOKEN | upper }}", m: "${{ matrix.m | upper }}"}
    matrix: {m: ["${{ env.TOKEN }}"]}
    on_done: [print, {save: s.jsonl}, {log: "${{ request.parameters.up }} ${{ env.TOKEN[4:] }}"}]
    on_always: [{log: "m ${{ request.parameters.m }} ${{ matrix.m | upper }}"}]
    assert: ["response.docs[0].text == 1"]
"#,
    );
    ran.ends(1);
    assert!(ran.out.contains("*** ***"), "{}", ran.out);
    let saved = std::fs::read_to_string(place.path("s.jsonl")).expect("it was saved");
    assert_eq!(saved.lines().count(), 4, "{saved}");
}

#[test]
fn what_is_left_of_a_secret_where_a_text_was_cut_is_in_no_output() {
    // Truncated in the example of an assertion.
    for before in [430, 440, 450] {
        let (a, b) = ("A".repeat(before), "B".repeat(3000));
        let (place, ran) = quiet(&format!(
            "flows: {{e: {{embedded: {{}}}}}}
scenarios: [{{name: s, documents: {{id: x, text: \"{a}${{{{ env.TOKEN }}}}{b}\"}}, request_size: 1,
  load: {{clients: 1, requests: 1}}, assert: [\"response.docs[0].text == 'q'\"],
  on_done: [{{check: \"response.docs[0].text == 'q'\"}}]}}]"
        ));
        ran.ends(1);
        let example = &place.report()["scenarios"][0]["assertions"][0]["example"];
        assert!(example.as_str().expect("one").contains("AAA"), "{example}");
    }
    // Truncated in an error message, with one more byte of the token each time, from none to all.
    for kept in 0..=TOKEN.len() {
        let before = 4096 - "gateway answered HTTP 401: ".len() - kept;
        let body = format!("{{\"detail\": \"{}{TOKEN}{}\"}}", "A".repeat(before), "B".repeat(2000));
        let host = answering(401, body.leak());
        let (place, _) = quiet(&format!(
            "flows: {{f: {{host: \"{host}\", family: v1, headers: {{a: \"${{{{ env.TOKEN }}}}\"}}}}}}
scenarios: [{{name: s, flow: f, documents: {{text: hi}}, request_size: 1, load: {{clients: 1, requests: 1}},
  on_error: [{{log: \"${{{{ exception.message[{}:{}] }}}}\"}}]}}]",
            before + 10,
            before + 40
        ));
        let message = &place.report()["scenarios"][0]["errors"][0]["message"];
        assert!(message.as_str().expect("one").contains("AAA"), "{message}");
    }
    // Truncated in the last output of a command.
    for after in [2030, 2040] {
        let (_, ran) = quiet(&format!(
            "flows: {{f: {{command: [bash, -c, \"printf 'A%.0s' {{1..5000}}; printf %s $TOKEN; printf 'B%.0s' {{1..{after}}}; exit 1\"],
  host: \"grpc://127.0.0.1:1\", headers: {{a: \"${{{{ env.TOKEN }}}}\"}}}}}}
scenarios: [{{name: s, flow: f, documents: {{text: hi}}, request_size: 1, load: {{clients: 1, requests: 1}}}}]"
        ));
        assert!(ran.err.contains("BBB") || ran.out.contains("BBB"), "{}{}", ran.out, ran.err);
    }
}
