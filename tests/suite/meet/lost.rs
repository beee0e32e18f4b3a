//! A part that is lost, whichever it is: what the others say, what counts, and that merging their journals says the same.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{Connected, SECRET, TOKEN, certificate, ended, reason, signal, stands_still, states};
use crate::parts::{Place, text};

const LOAD: &str = "load: {rate: 120/s, duration: 60s}, thresholds: [p50 < 1s]";

/// What part 1 has and what its folder gives are of the same seconds of the same parts.
#[track_caller]
fn is_what_merging_gives(whole: &Value, place: &Place) -> Value {
    let (merged, code) = place.merged();
    assert_eq!(code, Some(4));
    let (one, other) = (&whole["scenarios"][0], &merged["scenarios"][0]);
    for key in ["requests", "duration_s", "throughput", "thresholds"] {
        assert_eq!(one[key], other[key], "{key}");
    }
    for key in ["of", "sampled"] {
        assert_eq!(one["why"][key], other["why"][key], "{key}");
    }
    assert_eq!(states(whole), states(&merged));
    for one in [one, other] {
        adds_up(one);
    }
    merged
}

/// The table of parts is of what the figures are of.
#[track_caller]
fn adds_up(scenario: &Value) {
    let parts = scenario["parts"].as_array().expect("parts");
    let sent: u64 = parts.iter().map(|part| part["sent"].as_u64().expect("a number")).sum();
    assert_eq!(scenario["requests"]["sent"], sent, "{parts:?}");
    let of = scenario["why"]["of"].as_u64().expect("a number");
    assert!(of <= sent, "{of} of {sent}");
}

/// The last lines of a part whose own report says that it ended early, and how to merge.
#[track_caller]
fn is_not_judged(connected: &Connected, number: u64, output: &std::process::Output, words: &str) {
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    let next = format!("part {number} of 3: merge it with the others: flowbench merge out\n");
    assert!(told.contains(&next) && !told.contains("passed"), "{told}");
    let part = connected.place.part(number, 3);
    assert_eq!((&part["verdict"], &part["passed"]), (&"not_judged".into(), &false.into()));
    let end = &part["scenarios"][0]["end"];
    assert_eq!(end["reason"], "part_lost");
    let message = end["message"].as_str().expect("words");
    assert!(message.contains(words), "{message}");
}

#[test]
fn who_lost_part_1_is_not_judged_and_says_how_to_merge() {
    let connected = Connected::new(LOAD);
    let mut parts = connected.all(3, &[]);
    connected.begun("3-of-3");
    std::thread::sleep(Duration::from_millis(1_500));
    parts[0].kill().expect("it runs");
    for (number, part) in (1..).zip(parts) {
        let output = ended(part);
        if number > 1 {
            is_not_judged(&connected, number, &output, "part 1 of 3 was lost: ");
        }
    }
    let (merged, code) = connected.place.merged();
    assert_eq!((code, states(&merged)), (Some(4), vec!["lost", "complete", "complete"]));
    adds_up(&merged["scenarios"][0]);
    // All began together, and no clock is taken for another.
    let reasons = merged["scenarios"][0]["validity"]["reasons"].as_array().expect("reasons");
    assert!(reasons.iter().all(|reason| reason["code"] != "part_late"), "{reasons:?}");
}

#[test]
fn what_part_1_decided_of_a_part_that_was_killed_counts_for_merging_too() {
    for (lost, state) in [("abort", "part_lost"), ("note", "time")] {
        let load = LOAD.replace("60s", if lost == "note" { "5s" } else { "60s" });
        let connected = Connected::new(&load);
        let mut parts = connected.all(3, &["--lost", lost]);
        connected.begun("3-of-3");
        std::thread::sleep(Duration::from_millis(1_700));
        parts[2].kill().expect("it runs");
        let codes: Vec<_> = parts.into_iter().map(|part| ended(part).status.code()).collect();
        assert_eq!(codes[..2], [Some(4), Some(if lost == "note" { 0 } else { 4 })]);
        let whole = connected.whole();
        assert_eq!(states(&whole), ["complete", "complete", "lost"]);
        assert_eq!(whole["scenarios"][0]["end"]["reason"], state);
        is_what_merging_gives(&whole, &connected.place);
    }
}

#[test]
fn a_part_that_stood_still_and_came_back_counts_until_it_was_lost() {
    let connected = Connected::new(LOAD);
    let parts = connected.all(3, &[]);
    connected.begun("2-of-3");
    std::thread::sleep(Duration::from_millis(1_500));
    stands_still(&parts[1], 8);
    let outputs: Vec<_> = parts.into_iter().map(ended).collect();
    assert_eq!(outputs[0].status.code(), Some(4));
    is_not_judged(&connected, 2, &outputs[1], "part 2 of 3 stood still for ");
    let whole = connected.whole();
    assert_eq!(states(&whole), ["complete", "lost", "complete"]);
    is_what_merging_gives(&whole, &connected.place);
}

#[test]
fn part_1_that_stood_still_says_so_and_does_not_blame_the_others() {
    let connected = Connected::new(LOAD);
    let parts = connected.all(3, &[]);
    connected.begun("2-of-3");
    std::thread::sleep(Duration::from_millis(1_500));
    stands_still(&parts[0], 7);
    let outputs: Vec<_> = parts.into_iter().map(ended).collect();
    assert_eq!(outputs[0].status.code(), Some(4));
    is_not_judged(&connected, 2, &outputs[1], "part 1 of 3 was lost: it sent nothing for 4s");
    let whole = connected.whole();
    assert_eq!(states(&whole), ["lost", "complete", "complete"]);
    let told = reason(&whole, "part_lost")["text"].as_str().expect("words");
    assert!(told.starts_with("part 1 of 3 stood still for "), "{told}");
    assert!(
        told.contains(" s, and the others ended without it; figures are of the first "),
        "{told}"
    );
    is_what_merging_gives(&whole, &connected.place);
}

#[test]
fn which_part_fell_behind_is_said_also_where_the_whole_did() {
    let connected = Connected::new("load: {rate: 120/s, duration: 6s}");
    let parts = connected.all(3, &[]);
    connected.begun("2-of-3");
    stands_still(&parts[1], 2);
    for part in parts {
        ended(part);
    }
    let whole = connected.whole();
    let reasons = whole["scenarios"][0]["validity"]["reasons"].as_array().expect("reasons");
    let texts: Vec<&str> = reasons.iter().filter_map(|reason| reason["text"].as_str()).collect();
    let behind = ["load generator fell behind", "load generator could not keep up"];
    let of_part = |words: &str| {
        texts.iter().any(|text| {
            text.strip_prefix("part 2 of 3: ").is_some_and(|text| text.starts_with(words))
        })
    };
    assert!(behind.into_iter().any(of_part), "{texts:?}");
}

#[test]
fn a_clock_that_is_far_off_changes_nothing_for_connected_parts() {
    if Command::new("faketime").arg("--version").output().is_err() {
        let required = std::env::var("FLOWBENCH_REQUIRE_FAKETIME");
        assert_ne!(required.as_deref(), Ok("1"), "there is no faketime");
        let _ = writeln!(std::io::stderr(), "skipped: no faketime to set a clock ahead with");
        return;
    }
    let connected = Connected::new("load: {rate: 60/s, duration: 2s}");
    let first = connected.start("1/2", &[]);
    let second = connected.part("2/2", &[]);
    let mut off = Command::new("faketime");
    off.args(["--exclude-monotonic", "-f", "+300s"]).arg(second.get_program());
    off.args(second.get_args()).current_dir(connected.place.path("")).env(TOKEN, SECRET);
    off.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let second = off.spawn().expect("it is there");
    for part in [first, second] {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let (merged, _) = connected.place.merged();
    for result in [&connected.whole(), &merged] {
        let took = result["duration_s"].as_f64().expect("a number");
        assert!(took < 250.0, "{took}");
        let scenario = &result["scenarios"][0];
        let began = scenario["started_at_s"].as_f64().expect("a number");
        assert!(began < 250.0, "{began}");
        for part in scenario["parts"].as_array().expect("parts") {
            let late = part["start_skew_ms"].as_f64().expect("a number");
            assert!(late < 250_000.0, "{part}");
        }
    }
}

#[test]
fn who_speaks_no_tls_to_a_part_1_that_does_hears_of_it_at_once() {
    let connected = Connected::new("load: {rate: 20/s, duration: 1s}");
    let (certificate, key) = certificate();
    std::fs::write(connected.place.path("cert.pem"), certificate).expect("written");
    std::fs::write(connected.place.path("key.pem"), key).expect("written");
    let tls = ["--meet-cert", "cert.pem", "--meet-key", "key.pem"];
    let first = connected.start("1/2", &tls);
    let second = ended(connected.start("2/2", &[]));
    assert_eq!(second.status.code(), Some(3));
    let told = text(&second.stderr);
    assert!(told.contains(" speaks TLS, and this part does not"), "{told}");
    signal(&first, Signal::INT);
    ended(first);
}
