//! Connected parts of a load: they begin together, part 1 has the result, and failures of any part are
//! reported.

mod lost;
mod searches;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::parts::{Place, histogram, report, same_timeline, text};

const TOKEN: &str = "FLOWBENCH_MEET_TOKEN";
const SECRET: &str = "0123456789abcdef0123";

/// Parts of a load with their meeting point.
struct Connected {
    place: Place,
    address: String,
}

impl Connected {
    fn new(scenario: &str) -> Connected {
        Connected { place: Place::new(scenario), address: free_address() }
    }

    /// The same with a configured Flow.
    fn with_flow(flow: &str, scenario: &str) -> Connected {
        Connected { place: Place::with_flow(flow, scenario), address: free_address() }
    }

    /// A part, with additional arguments.
    fn part(&self, part: &str, more: &[&str]) -> Command {
        let mut arguments = vec!["run", "suite.yaml", "--out", "out", "--quiet", "--part", part];
        arguments.extend(["--meet", &self.address]);
        if !more.contains(&"--meet-wait") {
            arguments.extend(["--meet-wait", "90s"]);
        }
        arguments.extend(more);
        let mut command = self.place.command(&arguments);
        command.env(TOKEN, SECRET);
        command
    }

    /// The same part again, in another folder.
    fn again(&self, part: &str) -> Command {
        let arguments = ["run", "suite.yaml", "--part", part, "--meet", &self.address, "--quiet"];
        let mut command = self.place.command(&arguments);
        command.args(["--meet-wait", "5s"]).env(TOKEN, SECRET);
        command
    }

    fn start(&self, part: &str, more: &[&str]) -> Child {
        self.part(part, more).spawn().expect("the binary was built")
    }

    /// Starts all parts.
    fn all(&self, of: u64, more: &[&str]) -> Vec<Child> {
        (1..=of).map(|number| self.start(&format!("{number}/{of}"), more)).collect()
    }

    /// Waits until the load of a part has begun, according to its journal.
    fn begun(&self, part: &str) {
        let journal = self.place.path(&format!("out/part-{part}/journal.jsonl"));
        until(
            || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("{\"measured\"")),
            "a part has measured something",
        );
    }

    /// The result of the whole load.
    fn whole(&self) -> Value {
        report(&self.place.path("out"))
    }
}

/// An address with a free port.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn until(happened: impl Fn() -> bool, what: &str) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ended(part: Child) -> Output {
    part.wait_with_output().expect("it ends")
}

fn signal(part: &Child, signal: Signal) {
    kill_process(Pid::from_child(part), signal).expect("it runs");
}

/// A part is stopped for this many seconds.
fn stands_still(part: &Child, seconds: u64) {
    signal(part, Signal::STOP);
    std::thread::sleep(Duration::from_secs(seconds));
    signal(part, Signal::CONT);
}

fn states(whole: &Value) -> Vec<&str> {
    let parts = whole["scenarios"][0]["parts"].as_array().expect("parts");
    parts.iter().map(|part| part["state"].as_str().expect("a word")).collect()
}

fn reason<'a>(whole: &'a Value, code: &str) -> &'a Value {
    let reasons = whole["scenarios"][0]["validity"]["reasons"].as_array().expect("reasons");
    let found = reasons.iter().find(|reason| reason["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {reasons:?}"))
}

#[test]
fn connected_parts_begin_together_and_part_1_has_what_merging_gives() {
    let connected = Connected::new(
        "warmup: 500ms, load: {rate: 300/s, arrivals: poisson, duration: 4s}, \
         thresholds: [p99 < 1s, throughput > 200/s, count.answered > 1000], \
         assert: [response.docs | length == 1], on_done: [{count: answered}]",
    );
    let mut parts = vec![connected.start("1/3", &[]), connected.start("3/3", &[])];
    // All wait for the last one.
    std::thread::sleep(Duration::from_secs(2));
    parts.push(connected.start("2/3", &[]));
    for part in parts {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let whole = connected.whole();
    let scenario = &whole["scenarios"][0];
    assert_eq!(whole["verdict"], "held", "{:#}", scenario["validity"]);
    assert_eq!(states(&whole), ["complete"; 3]);
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(3));
    assert_eq!(whole["part"], Value::Null);
    for part in scenario["parts"].as_array().expect("parts") {
        let late = part["start_skew_ms"].as_f64().expect("a number");
        assert!((0.0..100.0).contains(&late), "{part}");
        assert!(part["clock"]["within_ms"].as_f64().is_some(), "responses have routes: {part}");
    }
    let others = [2, 3].map(|number| connected.place.part(number, 3));
    assert!(others.iter().all(|part| part["scenarios"][0]["thresholds"] == serde_json::json!([])));

    // It equals what `merge` makes of the journals.
    let (merged, code) = connected.place.merged();
    assert_eq!(code, Some(0));
    let merged = &merged["scenarios"][0];
    let same = [
        "requests",
        "documents",
        "throughput",
        "assertions",
        "counters",
        "callbacks",
        "errors",
        "failed_time_ms",
        "slowest",
        "duration_s",
        "end",
        "error_rate",
        "why",
    ];
    for key in same {
        assert_eq!(scenario[key], merged[key], "{key}");
    }
    same_timeline(scenario, merged);
    for key in ["response_time_ms", "service_time_ms"] {
        let (one, other) = (histogram(&scenario[key]), histogram(&merged[key]));
        assert_eq!(one, other, "{key}");
        for figure in ["p50", "p99", "min", "max", "count"] {
            assert_eq!(scenario[key][figure], merged[key][figure], "{key} {figure}");
        }
    }
    for part in 0..3 {
        for key in ["number", "state", "sent", "workers", "lag_p99_ms", "start_skew_ms", "clock"] {
            assert_eq!(scenario["parts"][part][key], merged["parts"][part][key], "{key} of {part}");
        }
    }
    let sent = scenario["requests"]["sent"].as_u64().expect("a number");
    let warm = scenario["warmup"]["sent"].as_u64().expect("a number");
    assert_eq!(connected.place.arrivals().len() as u64, sent + warm, "the Flow got each once");
}

#[test]
fn an_abort_threshold_is_judged_on_the_whole_and_ends_all() {
    // No part drops one of its own requests within five; all parts together send more than that.
    let connected = Connected::new(
        "load: {rate: 60/s, duration: 60s}, thresholds: [{that: requests < 100, abort: true}]",
    );
    let began = Instant::now();
    let codes = connected.all(3, &[]).into_iter().map(|part| ended(part).status.code());
    assert_eq!(codes.collect::<Vec<_>>(), [Some(1), Some(0), Some(0)]);
    assert!(began.elapsed() < Duration::from_secs(30), "long before its time");
    let whole = connected.whole();
    let scenario = &whole["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "aborted");
    assert_eq!(scenario["end"]["message"], "`requests < 100` was no longer met");
    assert_eq!(scenario["thresholds"][0]["verdict"], "failed");
    for number in [2, 3] {
        let part = connected.place.part(number, 3);
        assert_eq!(part["scenarios"][0]["end"], scenario["end"]);
        let sent = part["scenarios"][0]["requests"]["sent"].as_u64().expect("a number");
        assert!(sent < 100, "it alone would not have ended: {sent}");
    }
}

#[test]
fn scenarios_that_need_others_begin_when_these_are_over_in_all_parts() {
    let connected = Connected::new("load: {clients: 4, requests: 40}");
    let suite = connected.place.path("suite.yaml");
    let mut text = std::fs::read_to_string(&suite).expect("the suite");
    // Most requests, and so most of the time, belong to the first part.
    text.push_str(
        "  - {name: second, flow: f, needs: [s], documents: {text: a}, request_size: 1, \
         load: {rate: 40/s, duration: 1s}}\n  \
         - {name: third, flow: f, needs: [second], matrix: {size: [1, 2]}, documents: {text: a}, \
         request_size: '${{ matrix.size }}', load: {rate: 40/s, duration: 1s}}\n",
    );
    std::fs::write(&suite, text).expect("written");
    for part in connected.all(2, &[]) {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(0), "{}", crate::parts::text(&output.stderr));
    }
    let whole = connected.whole();
    let scenarios = whole["scenarios"].as_array().expect("scenarios");
    assert_eq!(scenarios.len(), 4);
    for scenario in scenarios {
        assert_eq!(scenario["requests"]["ok"], 40, "{}", scenario["name"]);
        for part in scenario["parts"].as_array().expect("parts") {
            assert_eq!(part["state"], "complete");
            assert!(part["start_skew_ms"].as_f64().is_some_and(|late| late < 100.0), "{part}");
        }
    }
    let began = |index: usize| scenarios[index]["started_at_s"].as_f64().expect("a number");
    let took = |index: usize| scenarios[index]["duration_s"].as_f64().expect("a number");
    assert!(began(1) >= began(0) + took(0));
    assert!(began(2) >= began(1) + took(1));
}

#[test]
fn who_does_not_belong_to_the_load_is_refused_with_the_reason() {
    let connected = Connected::new("load: {rate: 20/s, duration: 3s}");
    let arguments =
        ["run", "suite.yaml", "--out", "out", "--part", "1/3", "--meet", &connected.address];
    let mut first = connected.place.command(&arguments);
    let mut first = first.env(TOKEN, SECRET).spawn().expect("the binary was built");
    let refused = |mut command: Command, code: i32, expected: &str| {
        let output = command.output().expect("the binary was built");
        let told = text(&output.stderr);
        assert!(told.contains(expected), "{expected}: {told}");
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert_eq!(text(&output.stdout), "");
    };
    let mut stranger = connected.part("2/3", &[]);
    stranger.env(TOKEN, "fedcba9876543210fedc");
    refused(stranger, 2, "part 1 refused this part: its token is not that of part 1");
    let mut without = connected.part("2/3", &[]);
    without.env_remove(TOKEN);
    refused(without, 2, "`FLOWBENCH_MEET_TOKEN` is not set");
    let mut short = connected.part("2/3", &[]);
    short.env(TOKEN, "secret");
    refused(short, 2, "`FLOWBENCH_MEET_TOKEN` is not 16 letters and digits at least");
    refused(
        connected.part("2/4", &[]),
        2,
        "part 1 refused this part: its number of parts is 4, and that of part 1 is 3",
    );
    let suite = std::fs::read_to_string(connected.place.path("suite.yaml")).expect("the suite");
    for (from, to, expected) in [
        ("seed: 7", "seed: 8", "its seed is 8, and that of part 1 is 7"),
        ("name: load", "name: other", "its suite is `other`, and that of part 1 is `load`"),
        ("rate: 20/s", "rate: 21/s", "its suite or options differ from those of part 1"),
    ] {
        std::fs::write(connected.place.path("other.yaml"), suite.replace(from, to))
            .expect("written");
        let arguments =
            ["run", "other.yaml", "--part", "2/3", "--meet", &connected.address, "--quiet"];
        let mut command = connected.place.command(&arguments);
        command.args(["--meet-wait", "5s"]).env(TOKEN, SECRET);
        refused(command, 2, expected);
    }
    // A server without TLS must not be mistaken for the one that a client with TLS expects.
    std::fs::write(connected.place.path("ca.pem"), certificate().0).expect("written");
    let with_tls = connected.part("2/3", &["--meet-ca", "ca.pem"]);
    refused(with_tls, 3, "TLS with ");
    let second = connected.start("2/3", &[]);
    // Part 1 prints whom it is waiting for.
    let mut told = BufReader::new(first.stderr.take().expect("it is piped")).lines();
    assert!(told.any(|line| line.is_ok_and(|line| line == "waiting for part 3 of 3")));
    refused(connected.again("2/3"), 2, "part 2 has already joined");
    let third = connected.start("3/3", &[]);
    connected.begun("2-of-3");
    refused(connected.again("3/3"), 2, "part 3 has already joined");
    // A lost part does not come back.
    for part in [first, second, third] {
        assert_eq!(ended(part).status.code(), Some(0));
    }
    assert_eq!(states(&connected.whole()), ["complete"; 3]);
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_sent() {
    let connected = Connected::new("load: {rate: 20/s, duration: 1s}");
    for (arguments, expected) in [
        (&["--meet", "node1:4747"][..], "--part"),
        (&["--part", "1/2", "--meet", "node1"], "expected an address such as `node1:4747`"),
        (&["--part", "1/2", "--meet", "node1:0"], "expected an address such as `node1:4747`"),
        (
            &["--part", "1/1", "--meet", "node1:1"],
            "there is one part, so there are no others to meet",
        ),
        (&["--part", "1/2", "--lost", "note"], "--meet"),
        (
            &["--part", "1/2", "--meet", "h:1", "--lost", "x"],
            "expected `abort` or `note`, found `x`",
        ),
        (&["--part", "1/2", "--meet", "auto"], "--meet auto: neither Slurm nor an Indexed Job"),
        (
            &["--part", "1/2", "--meet", "127.0.0.1:1", "--meet-ca", "none"],
            "needs a certificate and its key",
        ),
    ] {
        let mut command = connected.place.command(&["run", "suite.yaml", "--quiet"]);
        for variable in ["SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST", "JOB_COMPLETION_INDEX"] {
            command.env_remove(variable);
        }
        let output = command.args(arguments).env(TOKEN, SECRET).output().expect("it was built");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    // Another process listens there.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command =
        connected.place.command(&["run", "suite.yaml", "--part", "1/2", "--meet", &address]);
    let output = command.env(TOKEN, SECRET).output().expect("it was built");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(&format!("could not listen on {address}")));
}

#[test]
fn those_who_did_not_come_are_named_and_nobody_waits_for_ever() {
    let connected = Connected::new("load: {rate: 50/s, duration: 2s}");
    let wait = ["--meet-wait", "2s"];
    let first = connected.start("1/4", &wait);
    let third = connected.start("3/4", &wait);
    let (first, third) = (ended(first), ended(third));
    assert_eq!(first.status.code(), Some(3));
    let told = "error: --meet: parts 2 and 4 of 4 did not join within 2s";
    assert!(text(&first.stderr).contains(told), "{}", text(&first.stderr));
    assert_eq!(third.status.code(), Some(3));
    let told = "the load did not begin: parts 2 and 4 of 4 did not join within 2s";
    assert!(text(&third.stderr).contains(told), "{}", text(&third.stderr));
    for part in ["1-of-4", "3-of-4"] {
        let folder = connected.place.path(&format!("out/part-{part}"));
        assert!(!folder.exists(), "what was not begun leaves nothing");
    }
    let alone = ended(connected.start("2/4", &wait));
    assert_eq!(alone.status.code(), Some(3));
    let told = text(&alone.stderr);
    let expected = format!("part 1 did not answer at {} within 2s", connected.address);
    assert!(told.contains(&expected) && told.contains("refused"), "{told}");

    // With `note` the load begins without them.
    let note = ["--meet-wait", "2s", "--lost", "note"];
    let parts = [connected.start("1/3", &note), connected.start("3/3", &note)];
    connected.begun("3-of-3");
    let late = ended(connected.start("2/3", &note));
    assert_eq!(late.status.code(), Some(2));
    assert!(text(&late.stderr).contains("the load has already begun"), "{}", text(&late.stderr));
    let codes = parts.map(|part| ended(part).status.code());
    assert_eq!(codes, [Some(4), Some(0)]);
    let whole = connected.whole();
    assert_eq!(states(&whole), ["complete", "not_run", "complete"]);
    let told = reason(&whole, "part_missing")["text"].as_str().expect("words");
    assert!(told.starts_with("part 2 of 3 sent nothing: it was lost: it did not join"), "{told}");
}

#[test]
fn when_a_part_is_killed_the_others_end_and_the_figures_are_of_what_all_told() {
    let connected = Connected::new("load: {rate: 120/s, duration: 60s}, thresholds: [p50 < 1s]");
    let mut parts = connected.all(3, &[]);
    connected.begun("3-of-3");
    std::thread::sleep(Duration::from_millis(2_600));
    let killed = Instant::now();
    parts[2].kill().expect("it runs");
    let codes: Vec<_> = parts.into_iter().map(|part| ended(part).status.code()).collect();
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert_eq!(codes[0], Some(4), "{codes:?}");
    let whole = connected.whole();
    assert_eq!(states(&whole), ["complete", "complete", "lost"]);
    let lost = reason(&whole, "part_lost");
    let after = lost["found"].as_f64().expect("a number") as u64;
    assert!((1..=4).contains(&after), "{lost}");
    let told = format!("part 3 of 3 was lost after {after} s; figures are of the first {after} s");
    assert_eq!(lost["text"], told);
    let scenario = &whole["scenarios"][0];
    // All three parts, for as long as all three reported.
    assert_eq!(scenario["requests"]["arrivals"].as_u64(), Some(120 * after));
    assert_eq!(scenario["timeline"].as_array().map(Vec::len), Some(after as usize));
    for number in [1, 2] {
        let journal = connected.place.path(&format!("out/part-{number}-of-3/journal.jsonl"));
        assert!(journal.is_file(), "each has its own");
    }
    let message = scenario["end"]["message"].as_str().expect("words");
    assert!(message.starts_with("part 3 of 3 was lost: "), "{message}");
    assert_eq!(connected.place.part(2, 3)["scenarios"][0]["end"]["message"], message);
}

#[test]
fn with_note_the_others_go_on_without_a_part_that_was_killed() {
    let connected = Connected::new("load: {rate: 120/s, duration: 5s}");
    let mut parts = connected.all(3, &["--lost", "note"]);
    connected.begun("2-of-3");
    std::thread::sleep(Duration::from_millis(1_600));
    parts[1].kill().expect("it runs");
    let codes: Vec<_> = parts.into_iter().map(|part| ended(part).status.code()).collect();
    assert_eq!((codes[0], codes[2]), (Some(4), Some(0)));
    let whole = connected.whole();
    assert_eq!(states(&whole), ["complete", "lost", "complete"]);
    let lost = reason(&whole, "part_lost")["text"].as_str().expect("words");
    assert!(lost.ends_with("; figures after that are of the others"), "{lost}");
    let scenario = &whole["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "time");
    let arrivals = scenario["requests"]["arrivals"].as_u64().expect("a number");
    assert!((400..600).contains(&arrivals), "{arrivals}");
}

#[test]
fn when_part_1_is_killed_the_others_end_with_reports_of_their_own() {
    let connected = Connected::new("load: {rate: 120/s, duration: 60s}");
    let mut parts = connected.all(3, &[]);
    connected.begun("3-of-3");
    std::thread::sleep(Duration::from_millis(1_500));
    let killed = Instant::now();
    parts[0].kill().expect("it runs");
    for part in parts {
        ended(part);
    }
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    for number in [2, 3] {
        let part = connected.place.part(number, 3);
        let end = &part["scenarios"][0]["end"];
        assert_eq!(end["reason"], "part_lost");
        let message = end["message"].as_str().expect("words");
        assert!(message.starts_with("part 1 of 3 was lost: "), "{message}");
        assert!(part["scenarios"][0]["requests"]["ok"].as_u64() > Some(30));
    }
    // Everything that was reported makes one result.
    let (merged, code) = connected.place.merged();
    assert_eq!(code, Some(4));
    assert_eq!(states(&merged), ["lost", "complete", "complete"]);
}

#[test]
fn a_part_that_stands_still_for_three_seconds_is_not_lost() {
    let connected = Connected::new("load: {rate: 120/s, duration: 7s}, thresholds: [p50 < 1s]");
    let parts = connected.all(3, &[]);
    connected.begun("2-of-3");
    stands_still(&parts[1], 3);
    let codes: Vec<_> = parts.into_iter().map(|part| ended(part).status.code()).collect();
    // Late sending is included in response times, so thresholds that passed would have passed without it.
    assert_eq!(codes, [Some(0); 3]);
    let whole = connected.whole();
    assert_eq!(states(&whole), ["complete"; 3]);
    let scenario = &whole["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "time");
    assert_eq!(scenario["requests"]["arrivals"], 840, "nothing is lost");
    let reasons = scenario["validity"]["reasons"].to_string();
    assert!(
        reasons.contains("generator_behind") || reasons.contains("not_sent_in_time"),
        "{reasons}"
    );
}

#[test]
fn an_interrupt_of_any_part_interrupts_all() {
    let connected = Connected::new("load: {rate: 60/s, duration: 60s}");
    let parts = connected.all(3, &[]);
    connected.begun("3-of-3");
    let began = Instant::now();
    signal(&parts[1], Signal::INT);
    for part in parts {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let whole = connected.whole();
    assert_eq!((&whole["verdict"], &whole["interrupted"]), (&"interrupted".into(), &true.into()));
    assert_eq!(states(&whole), ["complete"; 3]);

    // While they are gathering, too.
    let first = connected.start("1/3", &[]);
    std::thread::sleep(Duration::from_millis(500));
    signal(&first, Signal::INT);
    assert_eq!(ended(first).status.code(), Some(130));
}

#[test]
fn what_one_part_cannot_reach_begins_in_none() {
    let connected = Connected::new("load: {rate: 60/s, duration: 60s}");
    let suite = std::fs::read_to_string(connected.place.path("suite.yaml")).expect("the suite");
    let address = suite.split('\'').nth(1).expect("an address");
    let nowhere = format!("grpc://{}", free_address());
    // The second part reaches the Flow at another address, and has its suite in another folder.
    let suite = suite.replace(address, "${{ env.FLOW_HOST }}");
    let (before, rest) = suite.split_once("documents: {").expect("Documents");
    let (_, after) = rest.split_once("'}, request").expect("their end");
    let suite = format!("{before}documents: {{jsonl: data.jsonl, repeat: true}}, request{after}");
    std::fs::create_dir(connected.place.path("second")).expect("a folder");
    for folder in ["", "second/"] {
        let path = |name: &str| connected.place.path(&format!("{folder}{name}"));
        std::fs::write(path("suite.yaml"), &suite).expect("written");
        std::fs::write(path("data.jsonl"), "{\"text\": \"one\"}\n").expect("written");
    }
    let mut first = connected.part("1/2", &[]);
    let mut second = connected.part("2/2", &[]);
    first.env("FLOW_HOST", address);
    second.env("FLOW_HOST", nowhere).current_dir(connected.place.path("second"));
    let parts = [first, second].map(|mut part| part.spawn().expect("the binary was built"));
    for part in parts {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    }
    let whole = connected.whole();
    let scenario = &whole["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "unreachable");
    let told = reason(&whole, "part_missing")["text"].as_str().expect("words");
    assert!(told.starts_with("part 2 of 2 sent nothing: could not connect"), "{told}");
    assert_eq!(scenario["requests"]["sent"], 0);
}

/// A self-signed certificate for 127.0.0.1, and its key.
fn certificate() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("one");
    (certified.cert.pem(), certified.signing_key.serialize_pem())
}

#[test]
fn parts_speak_tls_with_the_files_of_part_1() {
    let connected = Connected::new("load: {rate: 60/s, duration: 1s}");
    let (certificate, key) = certificate();
    std::fs::write(connected.place.path("cert.pem"), certificate).expect("written");
    std::fs::write(connected.place.path("key.pem"), key).expect("written");
    let tls = ["--meet-cert", "cert.pem", "--meet-key", "key.pem"];
    let first = connected.start("1/2", &tls);
    std::thread::sleep(Duration::from_millis(500));
    // A part that does not know the certificate does not send the token.
    let (other, _) = self::certificate();
    std::fs::write(connected.place.path("other.pem"), other).expect("written");
    let stranger = ended(connected.start("2/2", &["--meet-ca", "other.pem"]));
    assert_eq!(stranger.status.code(), Some(3));
    let told = text(&stranger.stderr);
    assert!(told.contains("TLS with ") && told.contains("`ca` is `--meet-ca`"), "{told}");
    let second = connected.start("2/2", &tls);
    for part in [first, second] {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    assert_eq!(connected.whole()["scenarios"][0]["requests"]["ok"], 60);
}

#[test]
fn whoever_knocks_with_something_else_changes_nothing() {
    let connected = Connected::new("load: {rate: 60/s, duration: 3s}");
    let first = connected.start("1/2", &[]);
    until(|| TcpStream::connect(&connected.address).is_ok(), "part 1 listens");
    let knocks = [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", &[0xff; 100_000]];
    let open: Vec<TcpStream> = knocks
        .into_iter()
        .map(|bytes| {
            let mut socket = TcpStream::connect(&connected.address).expect("it listens");
            let _ = socket.write_all(bytes);
            socket
        })
        .collect();
    let second = connected.start("2/2", &[]);
    for part in [first, second] {
        let output = ended(part);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    drop(open);
    assert_eq!(connected.whole()["scenarios"][0]["requests"]["ok"], 180);
    assert!(Path::new(&connected.place.path("out/report.html")).is_file());
}
