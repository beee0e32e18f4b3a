//! `flowbench run`: the program, a suite on an embedded Flow, the reports and the exit code.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a suite, the working directory of the program.
pub(crate) struct Place(TempDir);

/// The running program.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

/// The result of a run of the program.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new(suite: &str) -> Place {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("suite.yaml"), suite).expect("it can be written");
        Place(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.any(&[&["run", "suite.yaml"], arguments].concat())
    }

    /// Any command of the program, run in the folder.
    pub(crate) fn any(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
        command.current_dir(self.0.path()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).output().expect("the binary was built"))
    }

    /// The saved result of a run with `--out out`.
    pub(crate) fn report(&self) -> Value {
        report(&self.path("out"))
    }
}

impl Running {
    /// Both outputs of the command must be piped.
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.spawn().expect("the binary was built");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        Running { child, lines }
    }

    /// Waits for such a line on stderr.
    #[track_caller]
    pub(crate) fn says(&mut self, wanted: impl Fn(&str) -> bool) {
        let mut lines = self.lines.by_ref().map(|line| line.expect("it is text"));
        assert!(lines.any(|line| wanted(&line)), "it ended without saying so");
    }

    /// Waits until a scenario is running, if nothing is printed to stderr before that.
    #[track_caller]
    pub(crate) fn runs(&mut self) {
        self.says(|_| true);
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end; the stderr output is discarded.
    pub(crate) fn end(self) -> Ran {
        let Running { child, lines } = self;
        std::thread::spawn(move || lines.count());
        Ran::new(child.wait_with_output().expect("it ends"))
    }
}

impl Ran {
    pub(crate) fn new(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("it prints text"),
            err: String::from_utf8(output.stderr).expect("it prints text"),
        }
    }

    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> &Ran {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

fn report(folder: &Path) -> Value {
    let path = folder.join("report.json");
    let text = std::fs::read_to_string(&path).expect("there is a report");
    let summary = flowbench::record::saved::read(&path).unwrap_or_else(|error| panic!("{error}"));
    let value: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(serde_json::to_value(summary).expect("it is plain data"), value, "read as written");
    value
}

/// One scenario with these keys, on an echo Flow.
pub(crate) fn suite(keys: &str) -> Place {
    Place::new(&format!("scenarios:\n  - name: echo\n    {}\n", keys.replace('\n', "\n    ")))
}

#[track_caller]
pub(crate) fn counts_are_conserved(scenario: &Value) {
    let count = |name: &str| scenario["requests"][name].as_u64().expect(name);
    assert_eq!(count("arrivals"), count("sent") + count("dropped"), "{}", scenario["requests"]);
    let ended = ["ok", "response_errors", "transport_errors", "timeouts", "abandoned"];
    let unknown = scenario["requests"]["unknown"].as_u64().unwrap_or_default();
    let ended = ended.map(count).iter().sum::<u64>() + unknown;
    assert_eq!(count("sent"), ended, "{}", scenario["requests"]);
    let timeline = scenario["timeline"].as_array().expect("a list");
    let sum = |name: &str| timeline.iter().map(|t| t[name].as_u64().expect(name)).sum::<u64>();
    assert_eq!(sum("ok"), count("ok"));
    assert_eq!(sum("offered"), count("arrivals"));
}

#[test]
fn a_run_that_holds_ends_0_and_writes_both_reports() {
    let place = suite(
        "documents: {text: hello, count: 40}
request_size: 2
load: {clients: 2}
assert: [response.docs | length == 2]
matrix: {protocol: [grpc, http, websocket]}",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(0);
    assert!(ran.out.contains("passed: All thresholds of all 3 scenarios passed"), "{}", ran.out);
    assert!(ran.out.ends_with("out/report.json\nout/report.html\n"), "{}", ran.out);
    let report = place.report();
    assert_eq!(report["schema"], "flowbench.report/1");
    assert_eq!((&report["passed"], &report["verdict"]), (&true.into(), &"held".into()));
    assert_eq!(report["interrupted"], false);
    for scenario in report["scenarios"].as_array().expect("a list") {
        counts_are_conserved(scenario);
        assert_eq!(scenario["requests"]["ok"], 20);
        assert_eq!(scenario["documents"]["sent"], 40);
        assert_eq!(scenario["documents"]["received"], 40);
        assert_eq!(scenario["response_time_ms"]["count"], 20);
        assert_eq!(scenario["assertions"][0]["passed"], 20);
        assert_eq!(scenario["end"]["reason"], "documents");
    }
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("there is a page");
    assert!(page.contains("echo [protocol=websocket]"), "{page}");
    assert!(page.contains("<svg"));
    assert!(!page.contains("http://") && !page.contains("https://"), "it needs no network");
}

#[test]
fn without_out_reports_go_into_a_folder_of_their_own() {
    let place = suite("load: {clients: 1, requests: 1}");
    place.run(&["--quiet"]).ends(0);
    let folders: Vec<_> =
        std::fs::read_dir(place.path("reports")).expect("it was made").flatten().collect();
    let [folder] = folders.as_slice() else { panic!("one folder: {folders:?}") };
    assert!(folder.file_name().to_string_lossy().starts_with("suite-"));
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert_eq!(files.len(), 2, "nothing but the reports: {files:?}");
}

#[test]
fn a_folder_may_stand_for_the_result_in_it_and_keeps_no_comparison_of_an_earlier_run() {
    let place = suite("load: {clients: 1, requests: 20}");
    place.run(&["--out", "base"]).ends(0);
    place.run(&["--out", "out", "--baseline", "base", "--gate", "error_rate +1%"]);
    assert!(place.path("out/comparison.json").exists());
    place.run(&["--out", "out"]).ends(0);
    for ending in ["json", "html", "md", "xml"] {
        assert!(!place.path(&format!("out/comparison.{ending}")).exists());
    }
    let ran =
        Ran::new(place.any(&["report", "out", "--format", "markdown"]).output().expect("ran"));
    assert!(ran.ends(0).out.contains("echo"), "{}", ran.out);
}

#[test]
fn a_threshold_that_does_not_hold_ends_1_and_says_what_it_is() {
    let place = suite("load: {clients: 1, requests: 20}\nthresholds: [requests > 100]");
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    assert!(ran.out.contains("failed        requests > 100 – actual: 20"), "{}", ran.out);
    let threshold = &place.report()["scenarios"][0]["thresholds"][0];
    assert_eq!((&threshold["verdict"], &threshold["actual"]), (&"failed".into(), &20.0.into()));
}

#[test]
fn an_error_fails_a_scenario_that_says_nothing_about_errors() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, fail: 100%}]}}}
scenarios: [{name: s, load: {clients: 1, requests: 5}}]",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    let report = place.report();
    let scenario = &report["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["requests"]["response_errors"], 5);
    assert_eq!(scenario["errors"][0]["kind"], "executor");
    assert_eq!(scenario["errors"][0]["count"], 5);
    assert_eq!(scenario["response_time_ms"]["count"], 0);
    assert_eq!(scenario["error_rate"], 1.0);
}

#[test]
fn a_wrong_suite_ends_2_before_anything_is_sent_or_written() {
    let place = suite("load: {clientz: 1}");
    let ran = place.run(&["--out", "out"]);
    ran.ends(2);
    assert!(ran.err.contains("did you mean `clients`?"), "{}", ran.err);
    assert!(!place.path("out").exists());
}

#[test]
fn a_target_that_is_not_there_ends_3_and_what_needs_it_does_not_run() {
    let place = Place::new(
        "flows: {local: {embedded: {}}, gone: {host: 'grpc://127.0.0.1:1'}}
scenarios:
  - {name: first, flow: gone, load: {clients: 1, requests: 1}}
  - {name: second, flow: local, needs: [first], load: {clients: 1, requests: 1}}
  - {name: third, flow: local, load: {clients: 1, requests: 1}}",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    assert!(ran.out.contains("could not connect to grpc://127.0.0.1:1"), "{}", ran.out);
    let report = place.report();
    let reasons: Vec<_> = report["scenarios"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|scenario| scenario["end"]["reason"].as_str().expect("a word"))
        .collect();
    assert_eq!(reasons, ["unreachable", "skipped", "requests"]);
}

#[test]
fn a_quantile_of_too_few_requests_is_not_judged_and_ends_4() {
    let place = suite("load: {clients: 1, requests: 20}\nthresholds: [p99 < 1h]");
    let ran = place.run(&["--out", "out"]);
    ran.ends(4);
    let expected = "too few requests for p99: 20 of the 662 it needs";
    assert!(ran.out.contains(expected), "{}", ran.out);
    let scenario = &place.report()["scenarios"][0];
    assert_eq!(scenario["thresholds"][0]["verdict"], "not_judged");
    assert_eq!(scenario["validity"]["valid"], false);
}

#[test]
fn a_folder_that_can_not_be_written_ends_5_before_the_run() {
    let place = suite("load: {clients: 1, duration: 1h}");
    std::fs::write(place.path("file"), "").expect("it can be written");
    let ran = place.run(&["--out", "file/out"]);
    ran.ends(5);
    assert!(ran.err.starts_with("error: could not write file/out"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_130_with_a_report_of_what_ran() {
    let place = Place::new(
        "scenarios:
  - {name: long, load: {clients: 2, duration: 1h}}
  - {name: never, needs: [long], load: {clients: 1, requests: 1}}",
    );
    let mut running = Running::start(&mut place.command(&["--out", "out"]));
    running.runs();
    running.signal(Signal::INT);
    running.end().ends(130);
    let report = place.report();
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["scenarios"][0]["end"]["reason"], "interrupted");
    assert_eq!(report["scenarios"][1]["end"]["reason"], "skipped");
    counts_are_conserved(&report["scenarios"][0]);
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_does_not_wait_and_still_writes_the_report() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: 1h}]}}}
scenarios: [{name: long, grace: 1h, load: {rate: 100/s, duration: 1h}}]",
    );
    let mut running = Running::start(&mut place.command(&["--out", "out"]));
    running.runs();
    running.signal(Signal::INT);
    running.says(|line| line.starts_with("interrupted: waiting"));
    running.signal(Signal::INT);
    running.end().ends(130);
    let report = place.report();
    assert_eq!(report["interrupted"], true);
    let scenario = &report["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["requests"]["unknown"], scenario["requests"]["sent"]);
    assert_eq!(scenario["verdict"], "interrupted", "nothing is known of what was in flight");
}

#[test]
fn a_threshold_may_end_a_scenario_while_it_runs() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, fail: 50%}]}}}
scenarios:
  - name: s
    load: {rate: 100/s, duration: 1h}
    thresholds: [{that: error_rate < 30%, abort: true, after: 1s}, {that: p50 < 1h}]",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    assert!(ran.out.contains("`error_rate < 30%` was no longer met"), "{}", ran.out);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["end"]["reason"], "aborted");
    assert_eq!(scenario["requests"]["abandoned"], 0, "what was in flight was let in");
    assert_eq!(scenario["thresholds"][0]["verdict"], "failed");
}

#[test]
fn a_threshold_that_may_end_a_scenario_looks_at_the_last_ten_seconds() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, down: {for: 1500ms}}]}}}
scenarios:
  - name: s
    load: {rate: 50/s, duration: 13s}
    thresholds: [{that: error_rate < 1%, abort: true, after: 12s}]",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    // The failures at the beginning are long over, but still count.
    assert_eq!(scenario["end"]["reason"], "time");
    assert_eq!(scenario["thresholds"][0]["verdict"], "failed");
}

#[test]
fn latencies_beyond_capacity_are_not_judged_and_counts_are() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: 100ms, concurrency: 1}]}}}
scenarios:
  - {name: s, load: {rate: 30/s, duration: 8s}, grace: 60s,
     thresholds: [p50 < 1h, throughput > 1/s, errors == 0]}",
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(4);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    let verdicts = ["p50 < 1h", "throughput > 1/s", "errors == 0"];
    let found: Vec<_> = verdicts
        .iter()
        .map(|that| {
            let all = scenario["thresholds"].as_array().expect("a list");
            all.iter().find(|t| t["that"] == *that).expect("it was judged")["verdict"].clone()
        })
        .collect();
    // Latencies would grow in a longer run; throughput is the Flow's capacity.
    assert_eq!(found, ["not_judged", "held", "held"]);
    let reasons = scenario["validity"]["reasons"].as_array().expect("a list");
    let exceeds = |reason: &Value| reason["code"] == "overload";
    assert!(reasons.iter().any(exceeds), "{reasons:?}");
}

#[test]
fn the_warmup_is_in_no_figure_but_its_own() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, down: {for: 600ms}}]}}}
scenarios: [{name: s, documents: {text: a}, request_size: 1, warmup: 3s, load: {rate: 50/s, duration: 1s}}]",
    );
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert!(scenario["warmup"]["failed"].as_u64() > Some(0), "{}", scenario["warmup"]);
    assert_eq!(scenario["warmup"]["sent"], 150);
    assert!(scenario["warmup"]["first_request_ms"].as_f64() > Some(0.0));
    assert_eq!(scenario["requests"]["arrivals"], 50);
    assert_eq!(scenario["requests"]["ok"], 50);
    assert_eq!(scenario["documents"]["sent"], 50);
    assert_eq!(scenario["errors"], Value::Array(Vec::new()));
    assert_eq!(scenario["executors"][0]["time_ms"]["count"], 50);
}

#[test]
fn a_trace_is_replayed_at_its_speed() {
    let place = suite("load: {trace: arrivals.csv, speed: 4}");
    let arrivals: String = (0..16).map(|n| format!("{}\n", f64::from(n) * 0.5)).collect();
    std::fs::write(place.path("arrivals.csv"), arrivals).expect("it can be written");
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    // Every half second becomes every eighth.
    let offered: Vec<_> =
        scenario["timeline"].as_array().expect("a list").iter().map(|t| &t["offered"]).collect();
    assert_eq!(offered[..2], [8, 8]);
    assert_eq!(scenario["requests"]["ok"], 16);
}

#[test]
fn two_connections_are_served_by_two_threads_where_there_are_two_processors() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let place = suite(
        "connections: 2
load: {rate: 200/s, duration: 1s}
matrix: {protocol: [grpc, http, websocket]}",
    );
    place.run(&["--out", "out"]).ends(0);
    for scenario in place.report()["scenarios"].as_array().expect("a list") {
        counts_are_conserved(scenario);
        assert_eq!(scenario["client"]["workers"], cores.min(2));
        assert_eq!(scenario["requests"]["arrivals"], 200, "the schedule is that of one");
    }
    let place = suite("load: {clients: 64, requests: 640}");
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["client"]["workers"], cores.min(64), "so many clients keep all busy");
}

#[cfg(unix)]
#[test]
fn more_connections_than_files_are_refused_before_anything_is_sent() {
    let place = suite("protocol: http\nload: {clients: 500, requests: 1000}");
    let command =
        format!("ulimit -n 256; exec {} run suite.yaml --out out", env!("CARGO_BIN_EXE_flowbench"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).current_dir(place.0.path());
    let ran = Ran::new(shell.output().expect("there is a shell"));
    ran.ends(2);
    let expected =
        "error: this needs 500 connections to a Flow in this process, two files each, but the \
                    process may open only 256 files
 --> suite.yaml:4:11
  |
4 |     load: {clients: 500, requests: 1000}
  |           ^
  |
  = help: raise the limit: ulimit -n 1064
";
    assert_eq!(ran.err, expected);
    assert!(!place.path("out").exists());
}

#[test]
fn json_prints_the_result_and_nothing_else() {
    let place = suite(
        "documents: {text: hi, count: 1}
load: {clients: 1}
on_done: [print, {log: noise}]",
    );
    let ran = place.run(&["--json", "--out", "out"]);
    ran.ends(0);
    let printed: Value = serde_json::from_str(&ran.out).expect("stdout is one JSON value");
    assert_eq!(printed, place.report());
    assert!(ran.err.contains("noise"), "actions still print, elsewhere: {}", ran.err);
}

#[test]
fn only_runs_what_is_named_and_what_that_needs() {
    let place = Place::new(
        "defaults: {load: {clients: 1, requests: 1}}
scenarios: [{name: index}, {name: search, needs: [index]}, {name: c, matrix: {request_size: [1, 2]}}]",
    );
    let names = |ran: &Ran| -> Vec<String> {
        let result: Value = serde_json::from_str(&ran.out).expect("JSON");
        let scenarios = result["scenarios"].as_array().expect("a list");
        scenarios.iter().map(|s| s["name"].as_str().expect("text").to_owned()).collect()
    };
    let ran = place.run(&["--json", "--quiet", "--only", "search"]);
    assert_eq!(names(ran.ends(0)), ["index", "search"]);
    let ran = place.run(&["--json", "--quiet", "--only", "c"]);
    assert_eq!(names(ran.ends(0)), ["c [request_size=1]", "c [request_size=2]"]);
    let ran = place.run(&["--only", "serach"]);
    assert!(
        ran.ends(2).err.contains("no scenario `serach`, did you mean `search`?"),
        "{}",
        ran.err
    );
}

#[test]
fn an_open_load_counts_every_arrival_also_those_it_drops() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: 300ms, concurrency: 1}]}}}
scenarios:
  - {name: s, load: {rate: 50/s, duration: 1s, max_in_flight: 2}, warmup: 200ms,
     thresholds: [dropped > 0, error_rate > 0%]}",
    );
    place.run(&["--out", "out"]).ends(0);
    let scenario = &place.report()["scenarios"][0];
    counts_are_conserved(scenario);
    assert_eq!(scenario["requests"]["arrivals"], 50);
    assert!(scenario["requests"]["dropped"].as_u64() > Some(0));
    assert!(scenario["warmup"]["sent"].as_u64() > Some(0));
}

#[test]
fn what_a_suite_or_a_flow_says_is_data_and_never_markup_or_control() {
    let place = Place::new(
        r#"name: "<script>alert(1)</script>"
flows: {f: {embedded: {executors: [{name: "<img src=x onerror=alert(2)>", fail: 50%}]}}}
scenarios:
  - name: "</title><script>alert(3)</script>\e[2J"
    documents: {text: "<script>alert(4)</script>", count: 20}
    request_size: 1
    load: {clients: 1}
    assert: ["response.docs | length == 2"]"#,
    );
    let ran = place.run(&["--out", "out"]);
    ran.ends(1);
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'));
    let page = std::fs::read_to_string(place.path("out/report.html")).expect("there is a page");
    let scripts = page.matches("<script").count();
    assert_eq!(scripts, 1, "the page's own and no other");
    assert!(!page.contains("<img"));
    assert!(page.contains("&lt;script&gt;alert"));
}

/// A scenario that cannot be reached, one that needs it, and one that cleans up after both.
const SET_UP_FAILS: &str = "flows: {gone: {host: 'grpc://127.0.0.1:9', connect_timeout: 1s}, here: {embedded: {}}}
scenarios:
  - {name: index, flow: gone, load: {clients: 1, requests: 1}}
  - {name: search, flow: here, needs: [index], load: {clients: 1, requests: 1}}
  - {name: clean up, flow: here, needs: [index, search], always: true, load: {clients: 1, requests: 3}}
";

#[test]
fn a_tear_down_runs_whatever_happened_before_it() {
    let place = Place::new(SET_UP_FAILS);
    let ran = place.run(&["--out", "out"]);
    ran.ends(3);
    let report = place.report();
    let reason = |n: usize| &report["scenarios"][n]["end"]["reason"];
    assert_eq!([reason(0), reason(1), reason(2)], ["unreachable", "skipped", "requests"]);
    assert_eq!(report["scenarios"][2]["requests"]["ok"], 3);
    assert_eq!(report["scenarios"][2]["always"], true);
    assert_eq!(report["verdict"], "not_reached");
}

#[test]
fn a_tear_down_that_fails_counts_only_where_all_else_passed() {
    let suite = |threshold: &str| {
        format!(
            "flows: {{default: {{embedded: {{executors: [{{name: e, endpoints: {{/delete: {{fail: 100%}}}}}}]}}}}}}
scenarios:
  - {{name: search, load: {{clients: 1, requests: 100}}, thresholds: [{threshold}]}}
  - {{name: clean up, needs: [search], always: true, on: /delete, load: {{clients: 1, requests: 1}}}}
"
        )
    };
    for (threshold, measured) in [("requests == 100", "held"), ("requests < 50", "failed")] {
        let place = Place::new(&suite(threshold));
        let ran = place.run(&["--out", "out"]);
        ran.ends(1);
        assert!(ran.out.contains("tear-down"), "{}", ran.out);
        let report = place.report();
        assert_eq!(report["verdict"], "failed");
        assert_eq!(report["scenarios"][0]["verdict"], measured);
        assert_eq!(report["scenarios"][1]["verdict"], "failed");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_load_and_not_what_cleans_up_after_it() {
    let place = Place::new(
        "scenarios:
  - {name: search, load: {clients: 1, duration: 1h, think_time: 5ms}}
  - {name: clean up, needs: [search], always: true, load: {clients: 1, requests: 5, think_time: 20ms}}
",
    );
    let mut running = Running::start(&mut place.command(&["--out", "out"]));
    running.runs();
    running.signal(Signal::INT);
    running.end().ends(130);
    let report = place.report();
    assert_eq!(report["scenarios"][0]["end"]["reason"], "interrupted");
    assert_eq!(report["scenarios"][1]["end"]["reason"], "requests");
    assert_eq!(report["scenarios"][1]["requests"]["ok"], 5);
    assert_eq!(report["verdict"], "interrupted");
}

#[test]
fn unary_calls_go_over_grpc_with_headers_of_their_own_and_the_result_says_so() {
    let place = Place::new(
        "flows: {f: {embedded: {family: v2, executors: [{name: echo}]}}}
scenarios:
  - name: s
    documents: {text: a}
    request_size: 1
    load: {clients: 2, requests: 20}
    assert: [response.docs | length == 1]
    matrix: {call: [stream, unary]}
  - name: of its own
    documents: {text: a}
    request_size: 1
    call: unary
    headers: {x-request: '${{ i }}'}
    workers: 2
    load: {clients: 2, requests: 20}
",
    );
    let ran = place.run(&["--out", "out"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let report = place.report();
    let of = |index: usize| {
        let scenario = &report["scenarios"][index];
        assert_eq!(scenario["requests"]["ok"], 20);
        (scenario["target"]["call"].clone(), scenario["client"]["workers"].clone())
    };
    assert_eq!(of(0), (Value::Null, 1.into()));
    assert_eq!(of(1), ("unary".into(), 1.into()));
    assert_eq!(of(2), ("unary".into(), 2.into()));
    let ran = place.run(&["--out", "more", "--workers", "2", "--only", "of its own"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn a_bound_of_connections_holds_requests_back_over_http_and_is_told() {
    let place = Place::new(
        "flows: {f: {embedded: {executors: [{name: e, service_time: 20ms, concurrency: 100}]}}}
scenarios:
  - name: s
    protocol: http
    connections: 2
    workers: 1
    documents: {text: a}
    request_size: 1
    load: {rate: 200/s, duration: 1s, max_in_flight: 1000}
    thresholds: [p99 < 100s]
",
    );
    let planned = place.any(&["plan", "suite.yaml"]).output().expect("the binary was built");
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.contains("2, which carry 0.02/s when every request"), "{planned}");
    place.run(&["--out", "out"]);
    let report = place.report();
    let client = &report["scenarios"][0]["client"];
    let waited = client["waited_for_connections"].as_u64().expect("a number");
    assert!(waited > 50, "{client}");
    assert!(client["held_back_ms"]["p99"].as_f64().expect("a number") > 100.0, "{client}");
}
