//! Journals of parts that are merged: what is wrong with them, and what counts of them.

use std::path::PathBuf;

use serde_json::Value;

use super::{Place, report, text};

/// Merges what is in a folder, whatever comes of it: exit code and stderr.
fn merge(place: &Place, paths: &[&str]) -> (Option<i32>, String) {
    let mut arguments = vec!["merge", "--out", "merged", "--quiet"];
    arguments.extend(paths);
    let output = place.run(&arguments);
    (output.status.code(), text(&output.stderr).to_owned())
}

fn journal(place: &Place, part: u64) -> (PathBuf, Vec<String>) {
    let path = place.path(&format!("out/part-{part}-of-2/journal.jsonl"));
    let lines = std::fs::read_to_string(&path).expect("a journal");
    (path, lines.lines().map(str::to_owned).collect())
}

#[test]
fn a_journal_that_contradicts_itself_is_refused_and_one_that_breaks_off_is_of_a_lost_part() {
    let place = Place::new("load: {rate: 60/s, duration: 4s}");
    place.all_parts(2);
    let (path, whole) = journal(&place, 2);
    let at = |what: &str, nth: usize| {
        let begins = format!("{{\"{what}\"");
        let mut found = whole.iter().enumerate().filter(|(_, line)| line.starts_with(&begins));
        found.nth(nth).unwrap_or_else(|| panic!("no {what} in {} lines", whole.len())).0
    };
    let measured = at("measured", 1);
    let without = |line: usize| {
        let mut lines = whole.clone();
        lines.remove(line);
        lines
    };
    let with = |line: usize, text: String| {
        let mut lines = whole.clone();
        lines[line] = text;
        lines
    };
    let sent: String = {
        let (_, after) = whole[measured].split_once("\"sent\":").expect("it sent something");
        after.chars().take_while(char::is_ascii_digit).collect()
    };
    let one_less = sent.parse::<u64>().expect("a number") - 1;
    let fewer = [sent, one_less.to_string()].map(|count| format!("\"sent\":{count}"));
    let fewer = with(measured, whole[measured].replacen(&fewer[0], &fewer[1], 1));
    let twice: Vec<String> = whole.iter().chain(&whole).cloned().collect();
    let wrong = whole[0].replacen("\"part\":{\"number\":2", "\"part\":{\"number\":7", 1);
    for (lines, expected) in [
        (without(measured), "some are missing, or there twice"),
        // Whatever else was printed is left out, and so is what was a line once.
        (with(measured, "garbage".into()), "some are missing, or there twice"),
        (fewer, "and the lines before add up to 119: some are missing or damaged"),
        (without(at("began", 0)), "it tells of a load whose beginning is missing"),
        (without(at("finished", 0)), "it tells what came of a load whose end is missing"),
        (twice, "another journal begins here; each part has to have a file of its own"),
        (with(0, wrong), "it is part 7 of 2, expected one from 1 to 2"),
    ] {
        std::fs::write(&path, lines.join("\n") + "\n").expect("written");
        let (code, told) = merge(&place, &["out"]);
        assert_eq!(code, Some(2), "{expected}: {told}");
        let path = "out/part-2-of-2/journal.jsonl: ";
        assert!(told.contains(expected) && told.contains(path), "{expected}: {told}");
        assert!(!place.path("merged").exists(), "nothing is written");
    }
    // What was killed in the middle has told no more.
    std::fs::write(&path, whole[..=measured].join("\n") + "\n{\"measured\":{\"scen").expect("ok");
    let (code, told) = merge(&place, &["out"]);
    assert_eq!(code, Some(4), "{told}");
    let merged = report(&place.path("merged"));
    let scenario = &merged["scenarios"][0];
    let after = scenario["duration_s"].as_f64().expect("a number") as u64;
    assert!((1..4).contains(&after), "{after}");
    assert_eq!(scenario["requests"]["arrivals"], 60 * after);
    let sent = scenario["parts"].as_array().expect("parts").iter();
    let sent: u64 = sent.map(|part| part["sent"].as_u64().expect("a number")).sum();
    assert_eq!(scenario["requests"]["sent"], sent, "the table of parts is of the same seconds");
}

#[test]
fn what_cannot_be_merged_says_what_to_do() {
    let place = Place::new("load: {clients: 2, requests: 20}");
    let send = |part: &str, out: &str| {
        let output = place.run(&["run", "suite.yaml", "--part", part, "--out", out, "--quiet"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    send("1/2", "out");
    send("2/2", "out");
    let output = place.run(&["merge", "out", "--out", "out/part-1-of-2"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(
        told.contains("has the report of part 1 of 2, which that of all would replace"),
        "{told}"
    );
    assert_eq!(place.part(1, 2)["part"]["number"], 1, "it is still there");

    // A second run into the same folder.
    send("1/2", "out");
    send("2/2", "out");
    let (code, told) = merge(&place, &["out"]);
    assert_eq!(code, Some(2));
    let expected = "part 1 is there twice: out/part-1-of-2/journal-2.jsonl of a run at ";
    assert!(told.contains(expected) && told.contains("name the journals of one run"), "{told}");

    // A result, and a suite with another load.
    let (code, told) = merge(&place, &["out/part-1-of-2/report.json"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("report.json: it is a result, and not the journal of a part"), "{told}");
    let suite = std::fs::read_to_string(place.path("suite.yaml")).expect("the suite");
    let other = suite.replace("requests: 20", "requests: 30");
    std::fs::write(place.path("suite.yaml"), other).expect("written");
    send("2/2", "other");
    let (code, told) = merge(&place, &["out/part-1-of-2/journal.jsonl", "other"]);
    assert_eq!(code, Some(2));
    let expected = "other/part-2-of-2/journal.jsonl: `scenarios[0].load.requests` of its suite is `30`, but that of \
                    out/part-1-of-2/journal.jsonl is `20`";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn nothing_is_sent_before_the_time_that_is_set_in_any_scenario() {
    // Only the first part has something to send in the first scenario.
    let place = Place::new("load: {clients: 2, requests: 2}");
    let suite = place.path("suite.yaml");
    let mut text = std::fs::read_to_string(&suite).expect("the suite");
    text = text.replace(
        "documents: {id: '${{ i }}', text: 'query ${{ i }}'}, request_size: 1, load: {clients: 2, requests: 2}",
        "documents: {count: 1, text: x}",
    );
    text.push_str(
        "  - {name: search, flow: f, needs: [s], documents: {text: a}, request_size: 1, \
         load: {rate: 40/s, duration: 1s}}\n",
    );
    std::fs::write(&suite, text).expect("written");
    place.all_parts(2);
    for part in [1, 2] {
        let told = place.part(part, 2);
        let time = |value: &Value| {
            value.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time")
        };
        let (at, started) = (time(&told["part"]["at"]), time(&told["part"]["started_at"]));
        let began = &told["scenarios"][1];
        assert_eq!(began["requests"]["ok"], 20);
        let after = began["started_at_s"].as_f64().expect("a number");
        let early = at.duration_since(started).as_secs_f64() - after;
        // To what reading two clocks one after the other takes.
        assert!(early < 0.05, "part {part} began {early} s before its time");
    }
    let (merged, _) = place.merged();
    assert_eq!(merged["scenarios"][1]["requests"]["ok"], 40);
}

#[test]
fn a_part_judges_nothing_and_says_so() {
    let place =
        Place::new("load: {rate: 40/s, duration: 1s}, thresholds: [requests >= 1000, p50 < 1us]");
    for part in ["1/2", "2/2"] {
        let output = place.run(&["run", "suite.yaml", "--part", part, "--out", "out"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let told = text(&output.stdout);
        assert!(
            told.contains("part: Not judged, because thresholds are about the whole load"),
            "{told}"
        );
        let (number, _) = part.split_once('/').expect("two numbers");
        let next = format!("part {number} of 2: merge it with the others: flowbench merge out\n");
        assert!(told.contains(&next), "{told}");
        assert!(!told.contains("passed"), "{told}");
    }
    let part = place.part(1, 2);
    for verdict in [&part, &part["scenarios"][0]] {
        assert_eq!((&verdict["verdict"], &verdict["passed"]), (&"part".into(), &false.into()));
    }
    // Whoever reads its report or its journal sees the same.
    for path in ["report.json", "journal.jsonl"] {
        let path = format!("out/part-1-of-2/{path}");
        for window in [&[][..], &["--from", "0s", "--to", "1s"]] {
            let mut arguments = vec!["report", &path, "--format", "json"];
            arguments.extend(window);
            let output = place.run(&arguments);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(told["verdict"], "part", "{path} {window:?}");
        }
    }
    let (merged, code) = place.merged();
    assert_eq!((code, &merged["verdict"]), (Some(1), &"failed".into()));
}

#[test]
fn parts_that_reached_nothing_are_merged_as_one_machine_would_tell() {
    let place = Place::new("load: {rate: 40/s, duration: 1s}");
    let suite = std::fs::read_to_string(place.path("suite.yaml")).expect("the suite");
    let address = suite.split('\'').nth(1).expect("an address");
    let nowhere = suite.replace(address, &format!("grpc://{}", crate::meet::free_address()));
    std::fs::write(place.path("suite.yaml"), nowhere).expect("written");
    for part in ["1/2", "2/2"] {
        let output = place.run(&["run", "suite.yaml", "--part", part, "--out", "out", "--quiet"]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    }
    let (merged, code) = place.merged();
    assert_eq!(code, Some(3));
    assert_eq!(
        (&merged["verdict"], &merged["interrupted"]),
        (&"not_reached".into(), &false.into())
    );
}

#[test]
fn a_part_that_began_seconds_later_is_in_the_time_that_rates_refer_to() {
    let place = Place::new("load: {rate: 100/s, duration: 2s}");
    let first = place.run(&["run", "suite.yaml", "--part", "1/2", "--out", "out", "--quiet"]);
    let second = place.run(&["run", "suite.yaml", "--part", "2/2", "--out", "out", "--quiet"]);
    for output in [first, second] {
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let (merged, _) = place.merged();
    let scenario = &merged["scenarios"][0];
    let length = scenario["duration_s"].as_f64().expect("a number");
    let seconds = scenario["timeline"].as_array().expect("a timeline").len() as f64;
    assert!(seconds >= 4.0 && (length - seconds).abs() <= 1.0, "{length} of {seconds}");
    let rate = scenario["throughput"]["offered_per_s"].as_f64().expect("a number");
    assert!((rate - 200.0 / length).abs() < 1e-6, "{rate}");
}
