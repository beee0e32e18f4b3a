//! Wrong command lines and forecasts, with the exact messages; ranges without an edge; and interrupted
//! searches.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::run::Running;

const SUITE: &str = "\
flows: {f: {embedded: {executors: [{name: e, service_time: 10ms, concurrency: 1}]}}}
scenarios:
  - {name: search, documents: {text: a}, request_size: 1, load: {rate: 1/s, duration: 1s}}
";

const GOAL: [&str; 4] = ["--objective", "p90 < 60ms", "--rate", "60/s..200/s"];

/// A folder with a suite.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let place = Place(folder);
        place.write("suite.yaml", SUITE);
        let two = format!("{SUITE}  - {{name: index, load: {{rate: 1/s, duration: 1s}}}}\n");
        place.write("two.yaml", two);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("it can be written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
        command.current_dir(self.0.path()).arg("capacity").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program: its exit code, and its output on stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let ran = self.command(arguments).output().expect("the binary was built");
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        (ran.status.code(), text(ran.stdout), text(ran.stderr))
    }

    /// Checks that these arguments are rejected before anything starts, with a message that begins with these
    /// words.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &str) {
        let (code, out, err) = self.run(&[arguments, &["--out", "out"]].concat());
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
        // clap adds advice after its message.
        let first = err.split("\n\n").next().unwrap_or_default().trim_end();
        assert_eq!(first, words, "{arguments:?}");
        assert!(!self.path("out").exists(), "{arguments:?} left a folder behind");
    }
}

fn report(folder: &Path) -> Value {
    let saved = std::fs::read(folder.join("capacity.json")).expect("it was written");
    assert!(folder.join("capacity.html").exists());
    serde_json::from_slice(&saved).expect("it is JSON")
}

#[test]
fn what_is_missing_or_names_nothing_is_told() {
    let place = Place::new();
    let without_block = "error: the file has no `capacity:` block: set the objective with \
                         `--objective 'p99 < 100ms'` and the range with `--rate 50/s..5000/s`";
    place.refuses(&["suite.yaml"], without_block);
    place.refuses(&["suite.yaml", "--rate", "50/s..200/s"], without_block);
    place.refuses(
        &["suite.yaml", "--objective", "p99 < 1s"],
        "error: the range is missing: set `--rate 50/s..5000/s` or `--clients 1..256`",
    );
    place.refuses(
        &[&["two.yaml"], &GOAL[..]].concat(),
        "error: the file has several scenarios: choose one with `--scenario`; there are search, index",
    );
    place.refuses(
        &[&["two.yaml", "--scenario", "serch"], &GOAL[..]].concat(),
        "error: --scenario: no scenario `serch`; did you mean `search`?",
    );
}

#[test]
fn options_out_of_their_range_say_what_was_found_and_what_is_allowed() {
    let place = Place::new();
    for (option, value, words) in [
        ("--precision", "0.1%", "`--precision` must be from 0.5% to 50%, found `0.1%`"),
        ("--precision", "60%", "`--precision` must be from 0.5% to 50%, found `60%`"),
        ("--confidence", "50%", "`--confidence` must be from 80% to 99.99%, found `50%`"),
        ("--confidence", "100%", "`--confidence` must be from 80% to 99.99%, found `100%`"),
        ("--headroom", "100%", "`--headroom` must be at most 95%, found `100%`"),
        ("--trial", "200ms", "`--trial` must be from 1s to 24h, found `200ms`"),
        ("--trial", "1000h", "`--trial` must be from 1s to 24h, found `1000h`"),
        ("--request-size", "1,0", "`--request-size` must be from 1 to 1000000, found `0`"),
        ("--connections", "1001", "`--connections` must be from 1 to 1000, found `1001`"),
        (
            "--request-size",
            "1,x",
            "invalid value 'x' for '--request-size <SIZES>': expected whole numbers such as \
             `1,10,100`, found `x`",
        ),
        (
            "--replicas",
            "1.5",
            "invalid value '1.5' for '--replicas <NUMBER>': expected a whole number from 1 to 100000, \
             found `1.5`",
        ),
        (
            "--replicas",
            "0",
            "invalid value '0' for '--replicas <NUMBER>': expected a whole number from 1 to 100000, \
             found `0`",
        ),
        (
            "--cost",
            "1.20",
            "invalid value '1.20' for '--cost <PRICE>': expected a price such as `1.20/h`, by h, day \
             or month, found `1.20`, which has no unit",
        ),
        (
            "--peak",
            "0/s",
            "invalid value '0/s' for '--peak <RATE>': a rate must be above zero, found `0/s`",
        ),
    ] {
        place.refuses(
            &[&["suite.yaml", option, value], &GOAL[..]].concat(),
            &format!("error: {words}"),
        );
    }
    place.refuses(
        &[&["suite.yaml", "--peak", "5/s", "--growth", "2000%/month"], &GOAL[..]].concat(),
        "error: invalid value '2000%/month' for '--growth <GROWTH>': expected a growth such as \
         `8%/month`, by week, month, quarter or year, above -100% and at most 1000%, found \
         `2000%/month`",
    );
    let numbers = "1,2,3,4,5,6,7,8";
    place.refuses(
        &[&["suite.yaml", "--request-size", numbers, "--connections", numbers], &GOAL[..]].concat(),
        "error: 64 combinations are too many: each is a separate search, at most 50",
    );
}

#[test]
fn a_range_needs_two_ends_in_their_order() {
    let place = Place::new();
    for (option, value, words) in [
        (
            "--rate",
            "200/s..50/s",
            "invalid value '200/s..50/s' for '--rate <RANGE>': expected a range from the lower \
             to the higher value, found `200/s..50/s`",
        ),
        (
            "--rate",
            "50/s..50/s",
            "`--rate` needs a lower and a higher end, as in `50/s..5000/s`, found only `50/s`",
        ),
        (
            "--rate",
            "0/s..50/s",
            "invalid value '0/s..50/s' for '--rate <RANGE>': a rate must be above zero, found `0/s`",
        ),
        (
            "--clients",
            "4",
            "`--clients` needs a lower and a higher end, as in `1..256`, found only `4`",
        ),
        ("--clients", "0..5", "`--clients` must begin at 1 or more, found 0"),
        (
            "--clients",
            "1.5..8",
            "invalid value '1.5..8' for '--clients <RANGE>': expected a whole number such as `5` or a \
             range such as `5..30`, found `1.5..8`",
        ),
    ] {
        let words = format!("error: {words}");
        place.refuses(&["suite.yaml", "--objective", "p90 < 60ms", option, value], &words);
    }
}

#[test]
fn options_that_contradict_or_need_one_another_are_refused() {
    let place = Place::new();
    place.refuses(
        &[&["suite.yaml", "--clients", "1..8"], &GOAL[..]].concat(),
        "error: the argument '--clients <RANGE>' cannot be used with '--rate <RANGE>'",
    );
    place.refuses(
        &[&["suite.yaml", "--forecast", "f.csv", "--peak", "5/s"], &GOAL[..]].concat(),
        "error: the argument '--forecast <CSV>' cannot be used with '--peak <RATE>'",
    );
    place.refuses(
        &[&["suite.yaml", "--growth", "8%/month"], &GOAL[..]].concat(),
        "error: the following required arguments were not provided:\n  --peak <RATE>",
    );
    place.refuses(
        &[&["suite.yaml", "--cost", "1.20/h"], &GOAL[..]].concat(),
        "error: `--cost` requires a load to plan for, `--peak 3000/s` or `--forecast \
         forecast.csv`, or a matrix of settings to compare",
    );
}

#[test]
fn what_is_no_objective_or_cannot_be_certified_is_refused_beforehand() {
    let place = Place::new();
    for (objective, words) in [
        (
            "error_rat < 1%",
            "invalid value 'error_rat < 1%' for '--objective <CONDITION>': unknown metric \
             `error_rat`, did you mean `error_rate`?",
        ),
        (
            "throughput > 5/s",
            "`throughput > 5/s` cannot be an objective of a search, which varies the load \
             itself; use a latency or `error_rate`",
        ),
        (
            "p99 > 100ms",
            "an objective limits a latency from above, as in `p99 < 100ms`, found `p99 > 100ms`",
        ),
        ("other.p99 < 5ms", "`other.p99 < 5ms`: no step is named `other`"),
        (
            "p99.99 < 100ms",
            "`p99.99 < 100ms` cannot be certified at 50/s within a trial of 20s: without a \
             single request over the limit it takes 840s\n  help: use `trial: 840s`, start the \
             range at 2,100/s, or use a lower percentile",
        ),
    ] {
        let arguments = ["suite.yaml", "--rate", "50/s..200/s", "--objective", objective];
        place.refuses(&arguments, &format!("error: {words}"));
    }
}

#[test]
fn a_forecast_that_cannot_be_read_is_told_with_its_line() {
    let place = Place::new();
    let long = vec![b'#'; (4 << 20) + 1];
    let cases: [(&[u8], &str); 8] = [
        (b"date,rate\n2027-01-01", "expected a time and a rate, found `2027-01-01`\n --> f.csv:2"),
        (
            b"2027-02-30,5/s",
            "expected a date such as `2027-01-31`, found `2027-02-30`\n --> f.csv:1",
        ),
        (
            b"date,rate\n2027-01-01,-5/s",
            "expected a rate such as `3000/s`, at most 1000000000/s, found `-5/s`\n --> f.csv:2",
        ),
        (
            b"2027-01-01,1e300",
            "expected a rate such as `3000/s`, at most 1000000000/s, found `1e300`\n --> f.csv:1",
        ),
        (
            b"",
            "the file has no line with a time and a rate, such as `2027-01-01,3000/s`\n --> f.csv",
        ),
        (
            b"date,rate\n",
            "the file has no line with a time and a rate, such as `2027-01-01,3000/s`\n --> f.csv",
        ),
        (b"2027-01-01,5/s\n\xff\xfe", "expected text in UTF-8, found other bytes\n --> f.csv:2"),
        (&long, "`f.csv` is larger than 4 MiB: is it a forecast?"),
    ];
    let arguments = [&["suite.yaml", "--forecast", "f.csv"], &GOAL[..]].concat();
    place.refuses(
        &arguments,
        "error: --forecast: could not read `f.csv`: No such file or directory (os error 2)",
    );
    for (text, words) in cases {
        place.write("f.csv", text);
        place.refuses(&arguments, &format!("error: --forecast: {words}"));
    }
}

#[test]
fn a_folder_that_cannot_be_written_ends_it_before_the_search() {
    let place = Place::new();
    place.write("file", "x");
    let (code, out, err) = place.run(&[&["suite.yaml", "--out", "file/out"], &GOAL[..]].concat());
    assert_eq!((code, &*out), (Some(5), ""), "{err}");
    assert_eq!(err, "error: could not write file/out: Not a directory (os error 20)\n");
    assert_eq!(std::fs::read(place.path("file")).expect("it is there"), b"x");
}

#[test]
fn a_range_that_never_passes_is_an_answer_with_a_suggestion() {
    let place = Place::new();
    // Twice the Flow's capacity: it fails, however busy the machine is.
    let range = ["--objective", "p90 < 60ms", "--rate", "200/s..400/s", "--trial", "4s"];
    let (code, out, err) =
        place.run(&[&["suite.yaml", "--out", "out", "--quiet"], &range[..]].concat());
    assert_eq!((code, &*err), (Some(1), ""), "{out}");
    assert!(out.starts_with("search: fails even at 200/s: p90 "), "{out}");
    assert!(
        out.ends_with(" ms; start the range lower, for example at 20/s, or relax the objective\n"),
        "{out}"
    );
    assert_eq!(report(&place.path("out"))["answer"]["fails_at_low"]["level"], 200.0);
}

#[test]
fn wrong_answers_do_not_hold_however_quick_they_are() {
    let place = Place::new();
    place.write(
        "suite.yaml",
        SUITE.replace("load:", "assert: ['response.docs[0].text == \"b\"'], load:"),
    );
    let range = ["--objective", "p90 < 500ms", "--rate", "10/s..20/s", "--trial", "20s"];
    let (code, out, err) =
        place.run(&[&["suite.yaml", "--out", "out", "--quiet"], &range[..]].concat());
    assert_eq!((code, &*err), (Some(1), ""), "{out}");
    assert!(out.starts_with("search: fails even at 10/s: assertion_failures "), "{out}");
    let report = report(&place.path("out"));
    assert_eq!(report["objective"][1], "assertion_failures == 0");
    // One trial is enough, and a short one.
    assert!(report["trials"][0]["seconds"].as_f64().is_some_and(|s| s < 10.0), "{report}");
}

#[test]
fn a_range_that_never_fails_is_an_answer_with_a_suggestion_and_can_be_planned_with() {
    let place = Place::new();
    place.write("f.csv", "2027-02,28/s\n2027-01,14/s\n");
    // A generous limit at a fifth of the load: only a stalled machine can make it fail.
    let range = ["--objective", "p90 < 500ms", "--rate", "10/s..20/s", "--trial", "20s"];
    let plan = ["--forecast", "f.csv", "--cost", "1.20/h"];
    let (code, out, err) =
        place.run(&[&["suite.yaml", "--out", "out", "--quiet"], &range[..], &plan].concat());
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    let words = "search: still sustains 20/s, the end of the range, at p90 < 500ms, 99 % sure; \
                 end the range higher, for example at 80/s\n";
    assert_eq!(out, words);
    let report = report(&place.path("out"));
    assert_eq!(report["answer"]["holds_at_high"]["level"], 20.0);
    // With 30 % free one replica sustains 14/s, so twice that needs another.
    let plan = &report["plan"];
    assert_eq!(plan["outgrown"], "2027-02-01");
    let needed = [&plan["steps"][0]["replicas"], &plan["steps"][1]["replicas"]];
    assert_eq!(needed, [1, 2]);
    // Three replicas, including the spare, for 28 · 3600 Documents an hour.
    let cost = plan["steps"][1]["cost_per_million"].as_f64().expect("a cost");
    assert!((cost - 3.6 / (28.0 * 3600.0) * 1e6).abs() < 1e-6, "{cost}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_search_writes_what_it_has_the_second_time_at_once() {
    for interrupts in [1, 2] {
        let place = Place::new();
        // If it is interrupted twice, requests in flight take an hour.
        let time = if interrupts == 2 { "1h" } else { "10ms" };
        let suite =
            SUITE.replace("service_time: 10ms, concurrency: 1", &format!("service_time: {time}"));
        place.write("suite.yaml", suite.replace("load:", "warmup: 100ms, grace: 1h, load:"));
        let mut command = place.command(&["suite.yaml", "--objective", "error_rate < 10%"]);
        command.args(["--rate", "20/s..200/s", "--trial", "1h", "--out", "out"]);
        let mut running = Running::start(&mut command);
        // Nothing is printed before the first trial is over; the folder is made shortly before that.
        let out = place.path("out");
        while !out.exists() {
            let ended = running.child.try_wait().expect("it can be asked");
            assert_eq!(ended, None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(2));
        running.signal(Signal::INT);
        running.says(|line| line.starts_with("interrupted: waiting"));
        if interrupts == 2 {
            running.signal(Signal::INT);
        }
        running.end().ends(130);
        let report = report(&out);
        assert_eq!(report["interrupted"], true);
        assert!(!report["trials"].as_array().expect("trials").is_empty());
        assert!(report.to_string().contains("the search was interrupted"), "{report}");
        // No responses came in the second case: that does not mean that the load fails.
        assert!(report["answer"]["unclear"].is_object() || interrupts == 1, "{report}");
    }
}
