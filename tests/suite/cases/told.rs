//! Small things that were reported wrongly, or not at all.

use crate::run::{Place, Ran, suite};

fn any(place: &Place, line: &[&str]) -> Ran {
    Ran::new(place.any(line).output().expect("the binary was built"))
}

#[test]
fn the_path_of_a_key_is_no_secret() {
    let place = Place::new(
        "flows: {f: {embedded: {tls: {cert: c.pem, key: my-key.pem}}}, g: {host: \"grpcs://h:1\", tls: {insecure: true}}}
scenarios: [{name: s, flow: f, documents: {text: x, count: 1}}]",
    );
    let certified = rcgen::generate_simple_self_signed(["flow.internal".to_owned()]);
    let certified = certified.expect("it can be made");
    std::fs::write(place.path("c.pem"), certified.cert.pem()).expect("there is room");
    let key = certified.signing_key.serialize_pem();
    std::fs::write(place.path("my-key.pem"), key).expect("there is room");
    let resolved = any(&place, &["check", "--resolved", "suite.yaml"]);
    assert!(resolved.ends(0).out.contains("my-key.pem"), "{}", resolved.out);
}

#[test]
fn what_no_document_can_be_is_told_by_check_with_its_line() {
    for (line, says) in [
        (r#"{"id":"1","text":"a","text":"b"}"#, "line 2: column "),
        (r#"{"id":"1","chunks":[{"id":"a","id":"b"}]}"#, "`id` is given twice"),
        (r#"{"id":"1","text":"a","blob":"YQ=="}"#, "a Document of the v1 family has one of"),
    ] {
        for (flow, refused) in [("embedded: {}", true), ("embedded: {family: v2}", false)] {
            let place = Place::new(&format!(
                "flows: {{f: {{{flow}}}}}
scenarios: [{{name: s, flow: f, documents: {{jsonl: d.jsonl}}, request_size: 1}}]"
            ));
            let lines = format!("{{\"text\":\"first\"}}\n{line}\n");
            std::fs::write(place.path("d.jsonl"), lines).expect("there is room");
            let ran = any(&place, &["check", "suite.yaml"]);
            if refused || !line.contains("blob") {
                ran.ends(2);
                assert!(ran.err.contains(says) && ran.err.contains("line 2"), "{}", ran.err);
            } else {
                ran.ends(0);
            }
        }
    }
}

#[test]
fn why_a_run_broke_off_is_told_with_quiet() {
    let place = Place::new(
        "flows: {f: {host: \"grpc://127.0.0.1:1\"}}
scenarios: [{name: s, flow: f, documents: {text: x, count: 1}}]",
    );
    let ran = place.run(&["-q", "--out", "out"]);
    ran.ends(3);
    assert!(
        ran.err.contains("error: scenario `s`: ") && ran.err.contains("127.0.0.1:1"),
        "{}",
        ran.err
    );
}

#[test]
fn entries_and_results_beyond_max_size_are_refused_with_their_place() {
    let long = "x".repeat(3000);
    for (documents, says) in [
        ("jsonl: d.jsonl", "`d.jsonl` line 2: larger than the limit of 1KiB"),
        ("csv: d.csv", "`d.csv` line 3: larger than the limit of 1KiB"),
        ("docarray: d.json", "Document 2: larger than the limit of 1KiB"),
        ("blob: {files: \"d.*\"}", "d.csv`: larger than the limit of 1KiB"),
        ("text: \"${{ 'x' * 3000 }}\"", "Document 0 is larger than the limit of 1KiB"),
        ("tags: {a: {b: [\"${{ 'x' * 3000 }}\"]}}", "Document 0 is larger than the limit of 1KiB"),
    ] {
        for (max, code) in [(", max_size: 1KiB", 2), ("", 0)] {
            let place = suite(&format!(
                "documents: {{{documents}{max}}}\nrequest_size: 1\nload: {{clients: 1, requests: 1}}"
            ));
            for (name, text) in [
                ("d.jsonl", format!("{{\"text\":\"a\"}}\n{{\"text\":\"{long}\"}}\n")),
                ("d.csv", format!("text\na\n{long}\n")),
                ("d.json", format!("\u{feff}[{{\"text\":\"a\"}},{{\"text\":\"{long}\"}}]")),
            ] {
                std::fs::write(place.path(name), text).expect("there is room");
            }
            let ran = any(&place, &["check", "suite.yaml"]);
            ran.ends(code);
            assert!(code == 0 || ran.err.contains(says), "{documents}: {}", ran.err);
        }
    }
    let place = suite(
        "documents: {text: \"${{ 'x' * i * 100 }}\", max_size: 1KiB, count: 20}
request_size: 1
load: {clients: 1}",
    );
    let ran = place.run(&["--out", "out"]);
    let report = place.report();
    let told = report["scenarios"][0].to_string();
    assert!(told.contains("is larger than the limit of 1KiB"), "{}{}", ran.out, told);
}

#[test]
fn a_mark_before_the_documents_of_post_is_no_part_of_them() {
    let place = Place::new("scenarios: []");
    std::fs::write(place.path("d.jsonl"), "\u{feff}{\"text\":\"a\"}\n").expect("there is room");
    let ran = any(&place, &["post", "grpc://127.0.0.1:1", "/", "--jsonl", "d.jsonl"]);
    ran.ends(3);
    assert!(!ran.err.contains("not a Document"), "{}", ran.err);
    std::fs::write(place.path("d.jsonl"), b"\xff\xfe{\0}\0").expect("there is room");
    let host = super::foreign::answering(200, "{\"data\":[]}");
    let ran = any(&place, &["post", &host, "/", "--jsonl", "d.jsonl"]);
    assert!(ran.ends(2).err.contains("d.jsonl:1: it is UTF-16 text"), "{}", ran.err);
    std::fs::write(place.path("d.jsonl"), "\u{feff}{\"text\":\"a\"}\n").expect("there is room");
    any(&place, &["post", &host, "/", "--family", "v1", "--jsonl", "d.jsonl"]).ends(0);
}

#[test]
fn ready_gives_an_attempt_up_after_its_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = silent.local_addr().expect("it listens").port();
    let place = Place::new("scenarios: []");
    for protocol in ["http", "grpc"] {
        let host = format!("{protocol}://127.0.0.1:{port}");
        for (option, says) in [(["--timeout", "1s"], "1s"), (["--wait", "1s"], "1s")] {
            let begun = std::time::Instant::now();
            let ran = any(&place, &[&["ready", &host], &option[..]].concat());
            ran.ends(3);
            assert!(begun.elapsed().as_secs() < 4, "{protocol} {option:?}: {:?}", begun.elapsed());
            assert!(ran.err.contains(says) && !ran.err.contains("1.0"), "{}", ran.err);
        }
    }
}

#[test]
fn a_journal_among_results_is_told_as_one() {
    let place = Place::new("scenarios: []");
    let journal = "{\"journal\":1}\n";
    std::fs::write(place.path("journal.jsonl"), journal).expect("there is room");
    let ran = any(&place, &["compare", "journal.jsonl", "--", "journal.jsonl"]);
    assert!(ran.ends(2).err.contains("is the journal of a run that was killed"), "{}", ran.err);
}

#[test]
fn a_comparison_of_a_thing_with_itself_says_so() {
    let place = Place::new(
        "flows: {a: {embedded: {}}}
scenarios: [{name: s, flow: a, documents: {text: x}, request_size: 1, load: {clients: 1, requests: 50}}]",
    );
    place.run(&["--out", "base"]).ends(0);
    place.run(&["--out", "other"]).ends(0);
    let note = "Both sides are the same results";
    let same = any(&place, &["compare", "base", "--", "base", "--force"]);
    assert!(same.ends(0).out.contains(note), "{}", same.out);
    let other = any(&place, &["compare", "base", "--", "other", "--force"]);
    assert!(!other.out.contains(note), "{}", other.out);
    let line = ["gate", "suite.yaml", "--base-flow", "a", "--candidate-flow", "a", "--runs", "1"];
    let more = ["--gate", "p50 +900%", "--force", "--inconclusive", "pass"];
    let gate = any(&place, &[&line[..], &more].concat());
    assert!(gate.out.contains("Both sides are the same Flow"), "{}{}", gate.out, gate.err);
}
