//! Saved results of searches: rendered, planned with, and with any value changed.

use std::path::Path;
use std::process::{Command, Stdio};

use flowbench::capacity::result::{self, Capacity};
use flowbench::capacity::search::Answer;
use flowbench::record::reason::{Code, Reason};
use flowbench::report::{self, Format};
use serde_json::Value;

/// Results of real searches.
const RESULTS: [(&str, &str); 5] = [
    ("rate", include_str!("../../capacity/rate.json")),
    ("clients", include_str!("../../capacity/clients.json")),
    ("sizes", include_str!("../../capacity/sizes.json")),
    ("fails-at-low", include_str!("../../capacity/fails-at-low.json")),
    ("interrupted", include_str!("../../capacity/interrupted.json")),
];

fn write(capacity: &Capacity, format: Format) -> String {
    let mut out = Vec::new();
    report::capacity::write(capacity, format, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("it is text")
}

/// Runs a command in a folder: its exit code, and its output on stdout and stderr.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_flowbench"))
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

/// A folder with the result of `docs/capacity.md`.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    std::fs::write(folder.path().join("capacity.json"), RESULTS[0].1).expect("it can be written");
    std::fs::write(folder.path().join("f.csv"), "2027-01,700/s\n2027-02,1900/s\n")
        .expect("it can be written");
    folder
}

#[test]
fn results_come_back_as_they_were_and_fit_their_schema() {
    let schema = result::schema();
    for (name, text) in RESULTS {
        let capacity = result::parse(text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(write(&capacity, Format::Json), text, "{name}");
        let value = serde_json::from_str(text).expect("it is JSON");
        assert!(crate::schema::fits(&value, &schema, &schema), "{name}");
    }
}

#[test]
fn results_whose_reasons_are_sentences_are_still_read() {
    let mut value: Value = serde_json::from_str(RESULTS[4].1).expect("it is JSON");
    value["answer"]["unclear"]["reason"] = "the search was interrupted".into();
    value["notes"] = serde_json::json!(["40/s failed once and passed twice"]);
    value["trials"][0]["reasons"] = serde_json::json!(["the generator was late"]);
    let capacity = result::parse(&value.to_string()).expect("it is read");
    let Answer::Inconclusive { reason, .. } = capacity.answer else {
        panic!("{:?}", capacity.answer)
    };
    assert_eq!(reason, Reason::plain(Code::Other, "the search was interrupted"));
    assert_eq!(capacity.notes[0].text, "40/s failed once and passed twice");
    assert_eq!(capacity.trials[0].reasons[0].text, "the generator was late");
}

#[test]
fn a_result_is_rendered_again_in_every_format_that_a_search_has() {
    let place = place();
    let rendered = |format: &str| {
        let (code, out, err) = run(place.path(), &["report", "capacity.json", "--format", format]);
        assert_eq!((code, &*err), (Some(0), ""), "{format}");
        out
    };
    let capacity = result::parse(RESULTS[0].1).expect("a result");
    assert_eq!(rendered("json"), RESULTS[0].1);
    assert_eq!(rendered("html"), write(&capacity, Format::Html));
    let terminal = rendered("terminal");
    assert!(terminal.starts_with(&format!("search: {}\n", capacity.words)), "{terminal}");
    let too_wide = terminal.lines().skip(1).find(|line| line.chars().count() > 100);
    assert_eq!(too_wide, None);
    let markdown = rendered("markdown");
    assert!(
        markdown.starts_with("## ✅ capacity: search: capacity\n\nHolds at least"),
        "{markdown}"
    );
    let rows = |text: &str, begin: &str| text.lines().filter(|l| l.starts_with(begin)).count();
    assert_eq!(rows(&markdown, "| ") - 2, capacity.trials.len(), "{markdown}");
    let mut csv = csv::Reader::from_reader(rendered("csv").into_bytes().leak() as &[u8]);
    assert_eq!(csv.headers().expect("a head").iter().next(), Some("level"));
    assert_eq!(csv.records().filter(Result::is_ok).count(), capacity.trials.len());
}

#[test]
fn what_a_search_has_not_is_refused() {
    let place = place();
    let refuses = |arguments: &[&str], words: &str| {
        let (code, out, err) =
            run(place.path(), &[&["report", "capacity.json"], arguments].concat());
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}");
        assert_eq!(
            err,
            format!("error: `capacity.json` is the result of a search for capacity{words}\n")
        );
    };
    refuses(&["--format", "junit"], ", which can be html, json, markdown, csv and terminal");
    refuses(
        &["--threshold", "p99 < 5ms"],
        ": it has its own objective and trials, so there is no `--threshold`, `--from` or `--to`",
    );
    refuses(&["capacity.json"], ", which cannot be combined with others");
}

#[test]
fn a_result_is_planned_with_again_and_nothing_is_measured() {
    let place = place();
    let plan = ["capacity", "capacity.json", "--forecast", "f.csv", "--cost", "1.20/h"];
    let (code, out, err) =
        run(place.path(), &[&plan[..], &["--replicas", "2", "--out", "out"]].concat());
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    let saved = std::fs::read_to_string(place.path().join("out/capacity.json")).expect("written");
    let (before, after) = (result::parse(RESULTS[0].1), result::parse(&saved));
    let (before, after) = (before.expect("a result"), after.expect("a result"));
    assert_eq!((&after.trials, &after.answer), (&before.trials, &before.answer));
    assert_eq!(after.started_at, before.started_at);
    let plan = after.plan.expect("a plan");
    let holds = before.holds_per_s().expect("it holds something");
    assert_eq!((plan.holds_per_s, plan.replicas), (holds, 2));
    // Each of the two replicas sustains half of it.
    let needed = |peak: f64| (peak / 0.7 / (holds / 2.0)).ceil() as u32;
    let replicas: Vec<u32> = plan.steps.iter().map(|step| step.replicas).collect();
    assert_eq!(replicas, [needed(700.0), needed(1900.0)]);
    let predicted =
        |count: u32| after.models.replicas.iter().find(|prediction| prediction.replicas == count);
    assert_eq!(predicted(2).expect("as measured").holds_per_s.low, holds);
    assert!(out.contains(&plan.words[..40]), "{out}");
    assert!(after.paragraph.contains("Looking ahead"), "{}", after.paragraph);
}

#[test]
fn a_result_cannot_be_measured_again() {
    let place = place();
    let refuses = |arguments: &[&str], words: &str| {
        let arguments = [&["capacity", "capacity.json", "--out", "out"], arguments].concat();
        let (code, out, err) = run(place.path(), &arguments);
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}");
        assert_eq!(err, format!("error: {words}\n"));
        assert!(!place.path().join("out").exists(), "{arguments:?} left a folder behind");
    };
    refuses(
        &["--rate", "50/s..90/s"],
        "`--rate` needs a suite to measure: `capacity.json` is the result of a search, which \
         only takes the planning options `--peak`, `--growth`, `--forecast`, `--headroom`, \
         `--replicas` and `--cost`",
    );
    refuses(
        &[],
        "`capacity.json` is the result of a search: set what to plan for with `--peak 3000/s` or \
         `--forecast forecast.csv`, or render it again with `flowbench report capacity.json`",
    );
    let changed = |from: &str, to: &str| {
        let text = RESULTS[0].1.replacen(from, to, 1);
        assert_ne!(text, RESULTS[0].1);
        std::fs::write(place.path().join("capacity.json"), text).expect("it can be written");
    };
    let plan = ["--peak", "5/s"];
    changed("flowbench.capacity/1", "flowbench.capacity/2");
    refuses(
        &plan,
        "capacity.json: `schema` is `flowbench.capacity/2`, of a newer flowbench; this one reads \
         `flowbench.capacity/1`",
    );
    changed("\"precision\": 0.1", "\"precision\": true");
    refuses(&plan, "capacity.json: `precision`: invalid type: boolean `true`, expected f64");
    changed("\"level\": 100.0", "\"level\": -100.0");
    refuses(&plan, "capacity.json: `trials[0].level`: is -100, expected a number above 0");
}

/// The paths to all values that are not maps or lists.
fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            leaves(value, format!("{path}/{key}"), found);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| {
            leaves(value, format!("{path}/{index}"), found);
        }),
        _ => found.push(path),
    }
}

#[test]
fn whatever_somebody_changed_in_a_result_it_is_refused_or_rendered() {
    const CHANGES: usize = 25;
    for (name, text) in RESULTS {
        let whole: Value = serde_json::from_str(text).expect("it is JSON");
        let mut paths = Vec::new();
        leaves(&whole, String::new(), &mut paths);
        let values = [Value::Null, 0.into(), (-1).into(), 1e308.into(), "<b>x</b>\u{1b}[2J".into()];
        let mut rendered = 0;
        for (index, path) in paths.iter().step_by(paths.len().div_ceil(CHANGES)).enumerate() {
            let mut changed = whole.clone();
            let leaf = changed.pointer_mut(path).expect("it was found");
            // By a value of the same type; otherwise it is rejected at once.
            *leaf = match leaf {
                Value::String(_) => values[4].clone(),
                _ => values[index % 4].clone(),
            };
            let Ok(capacity) = result::parse(&changed.to_string()) else { continue };
            let [html, markdown] = [Format::Html, Format::Markdown].map(|f| write(&capacity, f));
            let terminal = write(&capacity, Format::Terminal { color: false, columns: 80 });
            assert!(!html.contains("<b>x") && !markdown.contains("<b>x"), "{name}: {path}");
            assert!(!terminal.contains('\u{1b}') && !markdown.contains('\u{1b}'), "{name}: {path}");
            write(&capacity, Format::Csv);
            rendered += 1;
        }
        assert!(rendered >= 10, "{name}: {rendered} of {}", paths.len());
    }
}
