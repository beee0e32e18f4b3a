//! What `save` does to existing files.

use std::path::Path;

use crate::run::{Place, Ran, suite};

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it is there")
}

fn any(place: &Place, line: &[&str]) -> Ran {
    Ran::new(place.any(line).output().expect("the binary was built"))
}

#[test]
fn save_appends_to_a_file_that_is_there_already() {
    let place =
        suite("documents: {text: new, count: 2}\nrequest_size: 1\non_done: [{save: keep.jsonl}]");
    for before in ["{\"text\":\"old\"}\n", "{\"text\":\"old\"}"] {
        let file = place.path("keep.jsonl");
        std::fs::write(&file, before).expect("there is room");
        place.run(&["--out", "out"]).ends(0);
        place.run(&["--out", "out"]).ends(0);
        let lines: Vec<String> = text(&file).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[0], "{\"text\":\"old\"}");
        assert!(lines[1..].iter().all(|line| line.contains("\"new\"")), "{lines:?}");
    }
}

#[test]
fn save_into_what_the_run_uses_is_refused_where_it_stands() {
    for (flow, documents, target, what) in [
        ("embedded: {}", "text: x", "suite.yaml", "the suite"),
        ("embedded: {}", "text: x", "part.yaml", "the suite"),
        ("embedded: {}", "jsonl: data.jsonl", "data.jsonl", "a data set"),
        ("embedded: {}", "jsonl: data.jsonl", "./sub/../link", "a data set"),
        ("embedded: {}", "jsonl: data.jsonl", "hard", "a data set"),
        ("embedded: {}", "blob: {files: \"*.jsonl\"}", "data.jsonl", "a data set"),
        ("embedded: {log: flow.log}", "text: x", "flow.log", "the log of flow `f`"),
        (
            "command: [python3, PLACE/flow.py], host: \"grpc://127.0.0.1:1\"",
            "text: x",
            "flow.py",
            "in the command of flow `f`",
        ),
        (
            "command: [jina, --uses=PLACE/flow.py], host: \"grpc://127.0.0.1:1\"",
            "text: x",
            "flow.py",
            "in the command of flow `f`",
        ),
    ] {
        for steps in [false, true] {
            let place = Place::new("");
            let folder = place.path("").display().to_string();
            let callbacks = format!("on_always: [beep, {{save: {target}}}]");
            let scenario = match steps {
                false => callbacks,
                true => format!("steps: [{{name: a}}, {{name: b, {callbacks}}}]"),
            };
            let flow = flow.replace("PLACE", folder.trim_end_matches('/'));
            let suite = format!(
                "include: [part.yaml]\nflows:\n  f: {{{flow}}}\nscenarios:\n  - name: s\n    flow: f\n    documents: {{{documents}}}\n    request_size: 1\n    load: {{clients: 1, requests: 2}}\n    {scenario}\n"
            );
            for (name, text) in [
                ("suite.yaml", suite.as_str()),
                ("part.yaml", "vars: {a: 1}\n"),
                ("data.jsonl", "{\"text\":\"a\"}\n"),
                ("flow.py", "pass\n"),
            ] {
                std::fs::write(place.path(name), text).expect("there is room");
            }
            std::fs::create_dir(place.path("sub")).expect("there is room");
            std::os::unix::fs::symlink("data.jsonl", place.path("link")).expect("there is room");
            std::fs::hard_link(place.path("data.jsonl"), place.path("hard")).expect("room");
            let refused = any(&place, &["check", "suite.yaml"]);
            refused.ends(2);
            let says = "`save` would write into ";
            assert!(refused.err.contains(says) && refused.err.contains(what), "{}", refused.err);
            assert!(refused.err.contains("suite.yaml:10:"), "its place: {}", refused.err);
            place.run(&["--out", "out"]).ends(2);
            assert_eq!(text(&place.path("suite.yaml")), suite);
            assert_eq!(text(&place.path("data.jsonl")), "{\"text\":\"a\"}\n");
        }
    }
}

#[test]
fn save_into_a_result_is_refused_by_whatever_writes_results() {
    let place = Place::new(
        "flows: {a: {embedded: {}}, b: {embedded: {}}}
scenarios: [{name: s, flow: a, documents: {text: x, count: 5}, on_done: [{save: out/x.json}]}]",
    );
    let line =
        ["gate", "suite.yaml", "--base-flow", "a", "--candidate-flow", "b", "--gate", "p50 +900%"];
    let ran = any(&place, &[&line[..], &["--out", "out"]].concat());
    ran.ends(2);
    assert!(ran.err.contains("is a report of this run"), "{}", ran.err);
    let ran = any(&place, &["noise", "suite.yaml", "--out", "out"]);
    ran.ends(2);
    assert!(ran.err.contains("is a report of this run"), "{}", ran.err);
}
