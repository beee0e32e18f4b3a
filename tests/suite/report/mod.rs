//! `flowbench report`: saved results and journals rendered again, in every format.

mod foreign;
mod gallery;
mod page;
mod simulated;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flowbench::record::{saved, summary};
use flowbench::report::{self, Format};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use tempfile::TempDir;

use crate::schema::fits;

/// Two scenarios with everything that reports can show: errors, failed assertions, callbacks, a matrix.
const SUITE: &str = r#"
name: shop
flows:
  local:
    embedded:
      executors:
        - {name: encoder, service_time: 1ms}
        - {name: indexer, service_time: 1ms, fail: 10%}
documents: {q: {text: hello}}
scenarios:
  - name: search, "quoted" <b>
    documents: q
    request_size: 1
    load: {rate: 100/s, duration: 3s}
    matrix: {protocol: [grpc, http]}
    assert: [response.docs | length == 1, {name: never, that: response.docs | length == 2}]
    on_done: [{count: done}]
    thresholds: [p50 < 1s, error_rate < 50%, assertion_failures < 1000, throughput > 1/s]
"#;

/// A folder with a result in `out`.
struct Place(TempDir);

fn flowbench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.current_dir(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("suite.yaml"), SUITE).expect("it can be written");
        Place(folder)
    }

    fn with_result() -> Place {
        let place = Place::new();
        let ran = place.run(&["run", "suite.yaml", "--out", "out", "--quiet"]);
        assert!(matches!(ran.status.code(), Some(0 | 1 | 4)), "{}", err(&ran));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        flowbench(self.0.path(), arguments).output().expect("the binary was built")
    }

    /// Renders `out/report.json`, which must succeed.
    #[track_caller]
    fn render(&self, arguments: &[&str]) -> String {
        let arguments = [&["report", "out/report.json"], arguments].concat();
        let ran = self.run(&arguments);
        assert_eq!(ran.status.code(), Some(0), "{}", err(&ran));
        String::from_utf8(ran.stdout).expect("text")
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_saved_result_is_rendered_in_every_format_to_the_same_bytes() {
    let place = Place::with_result();
    for (format, ending) in [
        ("html", "html"),
        ("json", "json"),
        ("junit", "xml"),
        ("markdown", "md"),
        ("csv", "csv"),
        ("hlog", "hlog"),
        ("prometheus", "prom"),
        ("terminal", "txt"),
    ] {
        let name = format!("again.{ending}");
        place.render(&["-o", &name]);
        let file = std::fs::read_to_string(place.path(&name)).expect("it was written");
        assert_eq!(file, place.render(&["--format", format]), "{format}");
        assert!(!file.is_empty());
    }
    for name in ["report.html", "report.json"] {
        let first = std::fs::read(place.path("out").join(name)).expect("it is there");
        let ending = name.rsplit('.').next().expect("an ending");
        let again = std::fs::read(place.path(&format!("again.{ending}"))).expect("it is there");
        assert!(first == again, "{name} differs when it is rendered again");
    }
    hlog_is_read_by_hdrhistogram(&place);
    csv_has_a_row_a_second(&place);
    junit_is_balanced_and_escaped(&place);
    prometheus_keeps_to_its_grammar(&place);
    markdown_holds_no_markup_of_a_suite(&place);
    the_schema_describes_it(&place);
}

fn hlog_is_read_by_hdrhistogram(place: &Place) {
    let log = place.render(&["--format", "hlog"]);
    let result = saved::read(&place.path("out/report.json")).expect("it was just written");
    let mut merged: Histogram<u64> = Histogram::new(3).expect("three digits");
    let tag = "search_\"quoted\"_<b>_[protocol=grpc]";
    let tag = tag.replacen("search_", "search__", 1);
    let mut starts = Vec::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(interval) = entry.expect("a line of the format") else { continue };
        starts.push(interval.start_timestamp());
        if interval.tag().map(|tag| tag.as_str()) == Some(&tag) {
            let text = interval.encoded_histogram();
            let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text);
            let bytes = bytes.expect("base64");
            let second: Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .expect("a histogram");
            merged.add(second).expect("it grows");
        }
    }
    assert!(starts.is_sorted());
    let response = &result.scenarios[0].response_time_ms;
    assert_eq!(merged.len(), response.count);
    let p99 = merged.value_at_quantile(0.99) as f64 / 1e3;
    assert!((p99 - response.p99.expect("a p99")).abs() < p99 * 0.002, "{p99}");
}

fn csv_has_a_row_a_second(place: &Place) {
    let text = place.render(&["--format", "csv"]);
    let result = saved::read(&place.path("out/report.json")).expect("it was just written");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().expect("a head").clone();
    let ok = head.iter().position(|name| name == "ok").expect("a column");
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    let seconds: usize = result.scenarios.iter().map(|scenario| scenario.timeline.len()).sum();
    assert_eq!(rows.len(), seconds);
    let all: u64 = rows.iter().map(|row| row[ok].parse::<u64>().expect("a count")).sum();
    assert_eq!(all, result.scenarios.iter().map(|scenario| scenario.requests.ok).sum::<u64>());
    assert_eq!(&rows[0][0], r#"search, "quoted" <b> [protocol=grpc]"#);
}

fn junit_is_balanced_and_escaped(place: &Place) {
    let text = place.render(&["--format", "junit"]);
    let open = |tag: &str| text.matches(&format!("<{tag} ")).count();
    assert_eq!(open("testsuite"), 2);
    assert_eq!(text.matches("</testsuite>").count(), 2);
    // The run itself, four thresholds and `dropped == 0`, two assertions.
    assert_eq!(open("testcase"), 16);
    assert!(text.contains(r#"classname="search, &quot;quoted&quot; &lt;b&gt; [protocol=grpc]""#));
    assert!(!text.contains("<b>"));
    assert!(text.contains(r#"name="assert: never""#) && text.contains("<failure "), "{text}");
}

fn prometheus_keeps_to_its_grammar(place: &Place) {
    let text = place.render(&["--format", "prometheus"]);
    let sample = r#"^[a-z_]+\{([a-z]+="([^"\\\n]|\\["\\n])*",?)+\} (NaN|[0-9.e+-]+)$"#;
    let sample = regex::Regex::new(sample).expect("a pattern");
    let mut seen = std::collections::BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(kind) => {
                family = kind.split(' ').next().expect("a name");
                assert!(seen.insert(family), "{family} comes twice");
            }
            None if line.starts_with("# HELP ") => (),
            None => {
                assert!(sample.is_match(line), "{line}");
                assert!(line.starts_with(family), "{line} stands below {family}");
            }
        }
    }
}

fn markdown_holds_no_markup_of_a_suite(place: &Place) {
    let text = place.render(&["--format", "markdown"]);
    assert!(!text.contains("<b>"), "{text}");
    assert!(text.contains("| search, \"quoted\" &lt;b&gt; "), "{text}");
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(text.lines().filter(|line| line.starts_with('|')).all(|line| columns(line) == 10));
}

fn the_schema_describes_it(place: &Place) {
    let ran = place.run(&["schema", "report"]);
    let schema: Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    assert_eq!(schema, summary::schema());
    let text = std::fs::read_to_string(place.path("out/report.json")).expect("it is there");
    let mut value: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(fits(&value, &schema, &schema));
    value["scenarios"][0]["requests"]["ok"] = "many".into();
    assert!(!fits(&value, &schema, &schema));
    for (name, definition) in schema["$defs"].as_object().expect("definitions") {
        for (key, part) in definition["properties"].as_object().into_iter().flatten() {
            assert!(part["description"].is_string(), "{name}.{key} has no description");
        }
    }
}

#[test]
fn the_example_page_is_what_its_result_renders_to() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/example");
    let result = saved::read(&folder.join("report.json")).expect("it is a result");
    let mut page = Vec::new();
    report::write(&result, Format::Html, &mut page).expect("a vector takes all");
    let kept = std::fs::read(folder.join("report.html")).expect("it is there");
    let again = "flowbench report reports/example/report.json -o reports/example/report.html";
    assert!(page == kept, "make it anew: {again}");
}

#[test]
fn an_old_result_is_judged_by_new_thresholds_and_in_a_window() {
    let place = Place::with_result();
    let report = |arguments: &[&str]| {
        let arguments = [&["report", "out/report.json", "--format", "json"], arguments].concat();
        let ran = place.run(&arguments);
        let value: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
        (ran.status.code(), value, err(&ran))
    };
    let (code, held, _) = report(&["--threshold", "error_rate < 60%"]);
    assert_eq!((code, &held["verdict"]), (Some(0), &"held".into()));
    assert_eq!(held["scenarios"][0]["thresholds"].as_array().expect("a list").len(), 1);
    let (code, failed, _) = report(&["--threshold", "requests < 2"]);
    assert_eq!((code, &failed["verdict"]), (Some(1), &"failed".into()));
    let (code, unknown, _) = report(&["--threshold", "nowhere.p50 < 2ms"]);
    assert_eq!((code, &unknown["verdict"]), (Some(4), &"not_judged".into()));

    let (code, part, _) = report(&["--from", "1s", "--to", "2s"]);
    assert_eq!(code, Some(0));
    let whole = saved::read(&place.path("out/report.json")).expect("it was just written");
    for (cut, whole) in part["scenarios"].as_array().expect("a list").iter().zip(&whole.scenarios) {
        let second = &whole.timeline[1];
        assert_eq!(cut["requests"]["ok"], second.ok);
        assert_eq!(cut["response_time_ms"]["p50"].as_f64(), second.p50);
        assert_eq!(cut["duration_s"], 1.0);
        assert_eq!(cut["throughput"]["offered_per_s"], second.offered as f64);
    }
    std::fs::write(place.path("part.json"), part.to_string()).expect("it can be written");
    saved::read(&place.path("part.json")).expect("a part is a result");

    let (code, empty, _) = report(&["--from", "30s", "--threshold", "p50 < 1s"]);
    assert_eq!((code, &empty["scenarios"][0]["requests"]["sent"]), (Some(4), &0.into()));
    let (code, _, error) = report(&["--from", "2s", "--to", "2s"]);
    assert_eq!((code, error.as_str()), (Some(2), "error: --from 2s is not before --to 2s\n"));
}

#[test]
fn several_results_make_one_report() {
    let place = Place::with_result();
    let ran = place.run(&["report", "out/report.json", "out/report.json", "--format", "json"]);
    let joined: Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    let names = joined["scenarios"].as_array().expect("a list").iter().map(|s| s["name"].as_str());
    let names: Vec<_> = names.flatten().collect();
    assert_eq!(names.len(), 4);
    assert_eq!(names[3], format!("{} #2", names[1]));
}

#[test]
fn a_run_that_was_killed_is_told_from_its_journal() {
    let place = Place::new();
    let suite = SUITE.replace("duration: 3s", "duration: 60s");
    std::fs::write(place.path("suite.yaml"), suite).expect("it can be written");
    let mut child = flowbench(place.0.path(), &["run", "suite.yaml", "--out", "out", "--quiet"])
        .spawn()
        .expect("the binary was built");
    // Until three seconds of load are in the journal.
    let journal = place.path("out/journal.jsonl");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let told = || -> Option<u64> {
        let text = std::fs::read_to_string(&journal).ok()?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let seconds = lines.filter_map(|line| line["measured"]["seconds"][0][0].as_u64());
        seconds.max()
    };
    while told().is_none_or(|second| second < 3) {
        assert!(std::time::Instant::now() < until, "nothing is written down");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("it is still running");
    child.wait().expect("it was started");
    assert!(!place.path("out/report.json").exists());

    // An incomplete line is ignored.
    let mut text = std::fs::read_to_string(&journal).expect("it is there");
    text.push_str(r#"{"measured":{"scena"#);
    std::fs::write(&journal, text).expect("it can be written");
    let ran = place.run(&["report", "out/journal.jsonl", "-o", "out/report.json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", err(&ran));
    let result = saved::read(&place.path("out/report.json")).expect("a result like any other");
    assert!(result.interrupted);
    let scenario = &result.scenarios[0];
    assert_eq!(scenario.end.reason, summary::EndReason::Interrupted);
    assert!(scenario.timeline.len() >= 3, "{} seconds", scenario.timeline.len());
    assert!(scenario.requests.ok > 150, "{:?}", scenario.requests);
    assert_eq!(scenario.target.family.as_deref(), Some("v1"));
    assert!(scenario.assertions[0].passed > 0);
    assert_eq!(result.scenarios[1].end.reason, summary::EndReason::Skipped);
    let page = place.run(&["report", "out/journal.jsonl", "--format", "html"]);
    assert_eq!(page.status.code(), Some(0));
    // The next run in the same folder leaves the journal of the killed one alone.
    assert!(journal.exists());
}

#[test]
fn time_without_pauses_is_not_told_of_a_window_that_does_not_know_it() {
    let place = crate::run::Place::new(
        "scenarios:
  - name: steps
    load: {rate: 20/s, duration: 2s}
    steps: [{name: a, think_time: 200ms}, {name: b}]
  - name: single
    load: {rate: 20/s, duration: 2s}
",
    );
    place.run(&["--out", "out"]).ends(0);
    let judged = |window: &[&str]| {
        let arguments = [
            &["report", "out/report.json", "--threshold", "active.p50 < 150ms", "-f", "json"],
            window,
        ];
        let ran = place.any(&arguments.concat()).output().expect("it was built");
        let ran = crate::run::Ran::new(ran);
        let report: serde_json::Value = serde_json::from_str(&ran.out).expect("it is JSON");
        [0, 1].map(|n| {
            let thresholds = report["scenarios"][n]["thresholds"].as_array().expect("a list");
            thresholds.last().expect("one")["verdict"].clone()
        })
    };
    assert_eq!(judged(&[]), ["held", "held"]);
    assert_eq!(judged(&["--from", "0s", "--to", "2s"]), ["not_judged", "held"]);
}
