//! Invalid results, full disks, folders that cannot be written.

use std::process::{Command, Output, Stdio};

use super::{Place, err, flowbench};

#[test]
fn what_is_no_result_is_one_error_that_says_where_and_why() {
    let place = Place::with_result();
    let text = std::fs::read_to_string(place.path("out/report.json")).expect("it is there");
    std::fs::write(place.path("yesterday.html"), "of yesterday").expect("it can be written");
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in the result");
        text.replacen(from, to, 1)
    };
    let ok = format!("\"ok\": {}", {
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["scenarios"][0]["requests"]["ok"].as_u64().expect("a count")
    });
    for (what, content, expected) in [
        ("nothing", String::new(), "is not a result of flowbench: it is empty"),
        (
            "another file",
            "<html></html>".into(),
            "is not a result of flowbench: it is not a JSON object",
        ),
        (
            "other JSON",
            r#"{"version": 2}"#.into(),
            "is not a result of flowbench: it has no `schema`",
        ),
        (
            "another program's",
            r#"{"schema": "k6.summary/1"}"#.into(),
            "is not a result of flowbench: `schema` is `k6.summary/1`, not `flowbench.report/1`",
        ),
        (
            "a newer version's",
            replaced("flowbench.report/1", "flowbench.report/2"),
            "`schema` is `flowbench.report/2`, of a newer flowbench; this one reads `flowbench.report/1`",
        ),
        ("cut off", text[..text.len() / 2].into(), "is truncated (line "),
        (
            "a field of another type",
            replaced("\"suite\": \"shop\"", "\"suite\": 7"),
            "`suite`: invalid type: integer `7`, expected a string",
        ),
        ("a field left out", replaced("\"seed\":", "\"sead\":"), "missing field `seed`"),
        (
            "a count that was changed",
            replaced(&ok, "\"ok\": 1000000"),
            "`scenarios[0].requests.sent`: is ",
        ),
        (
            "words for a yes or no",
            replaced("\"interrupted\": false", "\"interrupted\": \"no\""),
            "`interrupted`: invalid type: string \"no\", expected a boolean",
        ),
    ] {
        std::fs::write(place.path("edited.json"), content).expect("it can be written");
        let ran = place.run(&["report", "edited.json", "-o", "yesterday.html"]);
        assert_eq!(ran.status.code(), Some(2), "{what}");
        let told = err(&ran);
        assert_eq!(told.lines().count(), 1, "{what}: {told}");
        assert!(
            told.starts_with("error: edited.json: ") && told.contains(expected),
            "{what}: {told}"
        );
        assert!(ran.stdout.is_empty(), "{what}");
    }
    let kept = std::fs::read_to_string(place.path("yesterday.html")).expect("it is there");
    assert_eq!(kept, "of yesterday");
}

/// Runs flowbench with a limit of 4 KiB per file, which simulates a full disk without root.
#[cfg(unix)]
fn on_a_small_disk(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    // If the signal is ignored, `write` returns an error instead. Blocks are 512 bytes.
    command.args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$@""#, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_flowbench")).args(arguments);
    command.current_dir(place.0.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).output().expect("there is a shell")
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_former_reports_and_is_told() {
    let place = Place::with_result();
    let files = |folder: &str| {
        let entries = std::fs::read_dir(place.path(folder)).expect("a folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    for ending in ["html", "json"] {
        let name = format!("yesterday.{ending}");
        std::fs::write(place.path(&name), "of yesterday").expect("it can be written");
        let ran = on_a_small_disk(&place, &["report", "out/report.json", "-o", &name]);
        assert_eq!(ran.status.code(), Some(5), "{}", err(&ran));
        assert!(
            err(&ran).starts_with(&format!("error: could not write {name}: ")),
            "{}",
            err(&ran)
        );
        assert_eq!(err(&ran).lines().count(), 1, "{}", err(&ran));
        let kept = std::fs::read_to_string(place.path(&name)).expect("it is there");
        assert_eq!(kept, "of yesterday");
    }
    assert!(files(".").iter().all(|name| !name.to_string_lossy().ends_with(".part")));

    // The same at the end of a run, with earlier reports in the same folder.
    let before = files("out");
    let former = std::fs::read(place.path("out/report.json")).expect("it is there");
    let ran = on_a_small_disk(&place, &["run", "suite.yaml", "--out", "out"]);
    assert_eq!(ran.status.code(), Some(5), "{}", err(&ran));
    assert!(err(&ran).contains("could not write out/report."), "{}", err(&ran));
    assert!(std::fs::read(place.path("out/report.json")).expect("it is there") == former);
    let left: Vec<_> = files("out").into_iter().filter(|name| !before.contains(name)).collect();
    // The part of the journal that fit on the disk.
    assert!(left.iter().all(|name| name == "journal.jsonl"), "{left:?}");

    if cfg!(target_os = "linux") {
        let ran = place.run(&["report", "out/report.json", "--format", "csv", "-o", "/dev/full"]);
        assert_eq!(ran.status.code(), Some(5));
        assert!(
            err(&ran).starts_with("error: could not write /dev/full: No space"),
            "{}",
            err(&ran)
        );
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_no_run() {
    let place = Place::new();
    // The run must not end within the test's time.
    let suite = super::SUITE.replace("duration: 3s", "duration: 10h");
    std::fs::write(place.path("suite.yaml"), suite).expect("it can be written");
    std::fs::write(place.path("taken"), "a file").expect("it can be written");
    std::fs::create_dir_all(place.path("odd/report.html")).expect("it can be made");
    for (folder, why) in
        [("taken", "taken"), ("taken/below", "taken/below"), ("odd", "odd/report.html")]
    {
        let ran = flowbench(place.0.path(), &["run", "suite.yaml", "--out", folder]).output();
        let ran = ran.expect("the binary was built");
        assert_eq!(ran.status.code(), Some(5), "{}", err(&ran));
        assert!(err(&ran).starts_with(&format!("error: could not write {why}: ")), "{}", err(&ran));
        assert_eq!(err(&ran).lines().count(), 1, "{}", err(&ran));
    }
}
