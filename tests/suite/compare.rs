//! `flowbench compare`, `run --baseline`, `gate`, `noise` and `trend`: the program on saved results and
//! embedded Flows, and how often verdicts on simulated results are right.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use flowbench::compare::{ALPHA, Gate, Sample, Saved, Verdict, judge, noise};
use flowbench::record::Histogram;
use flowbench::record::reason::{Code, Reason};
use flowbench::record::summary::{
    EndReason, ExecutorSummary, Latency, Requests, ScenarioSummary, Summary, Throughput,
    TimelineSecond,
};
use serde_json::json;
use tempfile::TempDir;

use crate::simulated::pairs::{Pair, TrueChange};

/// A folder of results, the working directory of the program.
struct Place(TempDir);

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder for the test"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_flowbench"))
            .current_dir(self.0.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the binary was built");
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("it prints text"),
            err: String::from_utf8(output.stderr).expect("it prints text"),
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it was written")
    }

    /// Saves this many results, whose latencies are `factor` times those of other sides.
    fn side(&self, name: &str, runs: usize, factor: f64) {
        for run in 0..runs {
            self.save(&format!("{name}-{run}.json"), result(factor, run));
        }
    }

    fn save(&self, name: &str, summary: Summary) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder"))
            .expect("there is room");
        std::fs::write(path, serde_json::to_vec(&summary).expect("it can be written"))
            .expect("there is room");
    }
}

/// A text with all white space reduced to single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Ran {
    #[track_caller]
    fn ends(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Ran {
        // Lines wrap at the width of the terminal, and Markdown escapes some characters; compare without
        // either.
        let said = words(&format!("{} {}", self.out, self.err));
        let said = said.replace("&#58;", ":").replace("\\`", "`");
        assert!(said.contains(text), "`{text}` is not in:\n{}\n{}", self.out, self.err);
        self
    }
}

/// A result of twenty seconds at 100/s; its runs and seconds vary by about a percent.
fn result(factor: f64, run: usize) -> Summary {
    let mut whole = Histogram::new();
    let mut timeline = Vec::new();
    for second in 0..20 {
        let luck = 1.0 + 0.01 * ((run * 7 + second * 3) % 5) as f64 / 4.0;
        let mut histogram = Histogram::new();
        for i in 1..=100 {
            let ms = 10.0 + 0.02 * f64::from(i) + f64::from(i).powi(8) / 1e15;
            histogram.record(Duration::from_secs_f64(ms * luck * factor / 1e3));
        }
        whole.merge(&histogram);
        timeline.push(TimelineSecond {
            t_s: second as u64 + 1,
            offered: 100,
            sent: 100,
            ok: 100,
            documents: 100,
            histogram: Some(histogram.to_base64()),
            ..TimelineSecond::default()
        });
    }
    let requests = Requests { arrivals: 2000, sent: 2000, ok: 2000, ..Requests::default() };
    let executor = ExecutorSummary { name: "indexer".into(), time_ms: Latency::new(&whole) };
    let mut summary = Summary { suite: "shop".into(), seed: 7, ..Summary::default() };
    summary.started_at =
        jiff::Timestamp::from_second(1_760_000_000 + 60 * run as i64).expect("it is in range");
    summary.duration_s = 20.0;
    summary.scenarios = vec![ScenarioSummary {
        name: "search".into(),
        load: "100/s for 20 s".into(),
        duration_s: 20.0,
        requests,
        throughput: Throughput {
            offered_per_s: 100.0,
            requests_per_s: 100.0,
            documents_per_s: 100.0,
        },
        error_rate: Some(0.0),
        response_time_ms: Latency::new(&whole),
        service_time_ms: Latency::new(&whole),
        executors: Some(vec![executor]),
        timeline,
        ..ScenarioSummary::default()
    }];
    summary
}

/// The arguments of a comparison with ten results per side.
fn ten<'a>(base: &'a [String], candidate: &'a [String], rest: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["compare"];
    arguments.extend(base.iter().map(String::as_str));
    arguments.push("--");
    arguments.extend(candidate.iter().map(String::as_str));
    arguments.extend(rest);
    arguments
}

fn names(side: &str) -> Vec<String> {
    (0..10).map(|run| format!("{side}-{run}.json")).collect()
}

#[test]
fn a_gate_holds_or_not_or_cannot_be_told() {
    let place = Place::new();
    for (name, factor) in [("base", 1.0), ("same", 1.0), ("slower", 1.2), ("faster", 0.8)] {
        place.side(name, 10, factor);
    }
    let base = names("base");
    let against = |side: &str, rest: &[&str]| place.run(&ten(&base, &names(side), rest));
    against("same", &["--gate", "p99 +5%"]).ends(0).says("passed: the gate passed");
    against("slower", &["--gate", "p99 +5%"]).ends(1).says("regressed: the gate failed");
    against("faster", &["--gate", "p99 +5%"]).ends(0).says("improved: improved by −19.9 %");
    let executor = ["--gate", "executor.indexer.p50 +5%", "--gate", "throughput -1%"];
    against("slower", &executor).ends(1).says("1 of 2 gates failed");
    // A change of 20 % is exactly the limit: no number of runs can decide.
    against("slower", &["--gate", "p50 +20%"]).ends(4).says("inconclusive");
    let policy = |policy: &str| {
        let format = ["--format", "junit", "-o", "open.xml"];
        let gate = ["--gate", "p50 +20%", "--inconclusive", policy];
        against("slower", &[&gate[..], &format].concat());
        (against("slower", &gate), place.read("open.xml"))
    };
    let open = "these runs do not decide the gate";
    let (ran, junit) = policy("fail");
    ran.ends(4).says(&format!("inconclusive: {open}. (10 runs"));
    assert!(junit.contains(r#"failures="1""#) && junit.contains("<failure"), "{junit}");
    let (ran, junit) = policy("warn");
    ran.ends(0).says(&format!("inconclusive: {open}; accepted with this warning."));
    assert!(junit.contains(r#"failures="0" skipped="1""#), "{junit}");
    let (ran, junit) = policy("pass");
    ran.ends(0).says(&format!("inconclusive: {open}; accepted."));
    assert!(junit.contains(r#"failures="0" skipped="1""#), "{junit}");
    against("slower", &["--gate", "p99 +5%", "--inconclusive", "pass"]).ends(1);
    against("slower", &["--gate", "p99 +10% +10ms"]).ends(0);
    // Without a gate nothing can fail.
    against("slower", &[]).ends(0).says("compared: there are no gates");
}

#[test]
fn few_runs_say_how_many_would_tell() {
    let place = Place::new();
    place.side("base", 1, 1.0);
    place.side("slower", 1, 1.08);
    let ran = place.run(&["compare", "base-0.json", "--", "slower-0.json", "--gate", "p50 +5%"]);
    ran.ends(4).says("runs per side would decide it").says("is partly assumed");
}

#[test]
fn what_cannot_be_compared_is_refused_or_forced_visibly() {
    let place = Place::new();
    place.save("base.json", result(1.0, 0));
    let mut other = result(1.0, 1);
    other.seed = 8;
    other.environment.cores = 64;
    other.scenarios[0].target.family = Some("v2".into());
    other.scenarios[0].validity.valid = false;
    other.scenarios[0].validity.reasons =
        vec![Reason::plain(Code::GeneratorBehind, "the generator was late")];
    place.save("other.json", other);
    let sides = ["compare", "base.json", "--", "other.json"];
    place
        .run(&sides)
        .ends(4)
        .says("the seed differs: 7 in base.json, 8 in other.json")
        .says("the machine differs")
        .says("`search`: the family differs: unknown in base.json, v2 in other.json")
        .says("`search`: in other.json it is not valid: the generator was late");
    for format in ["terminal", "markdown", "html", "json", "junit"] {
        let forced = [&sides[..], &["--force", "--format", format, "--gate", "p99 +50%"]].concat();
        let ran =
            place.run(&forced).ends(0).says("the seed differs: 7 in base.json, 8 in other.json");
        let said =
            if format == "json" { "\"forced\": [" } else { "compared with --force although" };
        ran.says(said);
    }
}

#[test]
fn too_few_requests_for_a_threshold_do_not_keep_other_figures_from_a_gate() {
    let place = Place::new();
    place.save("base.json", result(1.0, 0));
    let mut other = result(1.0, 1);
    other.scenarios[0].validity.valid = false;
    other.scenarios[0].validity.reasons =
        vec![Reason::plain(Code::TooFewRequests, "too few requests for p99")];
    place.save("other.json", other);
    place.run(&["compare", "base.json", "--", "other.json", "--gate", "p50 +50%"]).ends(0);
    // What is allowed is told as it was asked for.
    place
        .run(&["compare", "base.json", "--", "other.json", "--gate", "p50 +5s"])
        .ends(0)
        .says("+5s");
}

#[test]
fn each_difference_that_forbids_to_compare_is_named_with_both_values() {
    type Change = fn(&mut Summary);
    let changes: [(Change, &str); 11] = [
        (|s| s.seed = 8, "the seed differs: 7 in base.json, 8 in other.json"),
        (
            |s| s.environment.cpu = Some("Z80".into()),
            "the machine differs: , 0 × unknown processor in base.json, , 0 × Z80 in other.json",
        ),
        (|s| s.interrupted = true, "other.json was interrupted"),
        (
            |s| s.scenarios[0].load = "50/s for 20 s".into(),
            "`search`: the load differs: 100/s for 20 s in base.json, 50/s for 20 s in other.json",
        ),
        (
            |s| s.scenarios[0].warmup.duration_s = 5.0,
            "`search`: the warmup differs: 0 s in base.json, 5 s in other.json",
        ),
        (
            |s| s.scenarios[0].target.protocol = "http".into(),
            "`search`: the protocol differs: in base.json, http in other.json",
        ),
        (
            |s| s.scenarios[0].target.tls = true,
            "`search`: the encryption differs: without in base.json, with TLS in other.json",
        ),
        (
            |s| s.scenarios[0].target.family = Some("v1".into()),
            "`search`: the family differs: unknown in base.json, v1 in other.json",
        ),
        (
            |s| s.scenarios[0].end.reason = EndReason::Aborted,
            "`search`: in other.json it did not run to its end",
        ),
        (
            |s| {
                s.scenarios[0].validity.valid = false;
                s.scenarios[0].validity.reasons =
                    vec![Reason::plain(Code::ThreadBusy, "our CPU was saturated")];
            },
            "`search`: in other.json it is not valid: our CPU was saturated",
        ),
        (
            |s| s.resolved = Some(json!({"scenarios": [{"name": "search", "request_size": 10}]})),
            "`search`: the `request_size` differs: 1 in base.json, 10 in other.json",
        ),
    ];
    let place = Place::new();
    let resolved = json!({"scenarios": [{"name": "search", "request_size": 1}]});
    let plain = || Summary { resolved: Some(resolved.clone()), ..result(1.0, 0) };
    place.save("base.json", plain());
    for (change, said) in changes {
        let mut other = plain();
        change(&mut other);
        place.save("other.json", other);
        let ran = place.run(&["compare", "base.json", "--", "other.json"]).ends(4);
        let said = format!(
            "error: these results cannot be compared: {said} = help: measure both sides the same \
             way (as `flowbench gate` does), or compare anyway with --force"
        );
        assert_eq!(words(&ran.err), said);
    }
}

#[test]
fn bad_input_is_told_with_what_to_do() {
    let place = Place::new();
    place.save("base.json", result(1.0, 0));
    std::fs::write(place.path("suite.yaml"), SUITE).expect("there is room");
    let missing = "error: there is no baseline `none` = help: create one with the version to \
                   compare with: `flowbench noise SUITE --out none` makes ten runs and measures \
                   their variation; `flowbench run SUITE --out FOLDER` makes one, \
                   `FOLDER/report.json`";
    for arguments in [
        &["compare", "none", "--", "base.json"][..],
        &["run", "suite.yaml", "--baseline", "none", "--gate", "p50 +5%"],
    ] {
        assert_eq!(words(&place.run(arguments).ends(2).err), missing);
    }
    std::fs::write(place.path("foreign.json"), "{}").expect("there is room");
    place.run(&["compare", "base.json", "--", "foreign.json"]).ends(2).says("foreign.json");
    let gate = |gate: &str| {
        place.run(&["compare", "base.json", "--", "base.json", "--gate", gate]).ends(2)
    };
    gate("p99 -10%").says("`p99` gets worse when it rises; write `p99 +10%`");
    gate("executor.nobody.p50 +5%").says("its Executors are indexer");
    gate("speed +5%").says("`speed` cannot be compared");
    let out = ["compare", "base.json", "--", "base.json", "-o", "no/such/folder.md"];
    place.run(&out).ends(5).says("there is no folder");
}

#[test]
fn mixed_suites_are_paired_by_name_and_what_is_left_is_listed() {
    let place = Place::new();
    let renamed = |names: [&str; 2]| {
        let mut summary = result(1.0, 0);
        let mut second = summary.scenarios[0].clone();
        summary.scenarios[0].name = names[0].into();
        second.name = names[1].into();
        summary.scenarios.push(second);
        summary
    };
    place.save("base.json", renamed(["index", "search"]));
    place.save("candidate.json", renamed(["search", "suggest"]));
    place
        .run(&["compare", "base.json", "--", "candidate.json"])
        .ends(0)
        .says("missing in the candidate: index")
        .says("new in the candidate: suggest");
    for format in ["markdown", "html", "json", "junit"] {
        let sides = ["compare", "base.json", "--", "candidate.json", "--format", format];
        let ran = place.run(&sides).ends(0);
        match format {
            "json" => ran.says("\"missing\": [ \"index\" ], \"new\": [ \"suggest\" ]"),
            _ => ran.says("missing in the candidate: index").says("new in the candidate: suggest"),
        };
    }
    place.save("else.json", renamed(["a", "b"]));
    place.run(&["compare", "base.json", "--", "else.json"]).ends(2).says(
        "no scenario is on both sides: the base has `index`, `search`, the candidate has `a`, `b`",
    );
}

#[test]
fn every_format_tells_the_same() {
    let place = Place::new();
    place.side("base", 10, 1.0);
    place.side("slower", 10, 1.2);
    let files = ["-o", "c.md", "-o", "c.html", "-o", "c.json", "-o", "c.xml", "-o", "c.txt"];
    let gates = ["--gate", "p99 +5%", "--gate", "error_rate +1%"];
    let (base, slower) = (names("base"), names("slower"));
    place.run(&ten(&base, &slower, &[&files[..], &gates].concat())).ends(1);
    assert!(place.read("c.md").starts_with("## ❌ shop: regressed\n"), "{}", place.read("c.md"));
    let page = place.read("c.html");
    assert!(page.contains("<svg") && page.contains("<h1>Regressed</h1>"), "{page}");
    let json: serde_json::Value = serde_json::from_str(&place.read("c.json")).expect("it is JSON");
    assert_eq!(json["schema"], "flowbench.comparison/1");
    assert_eq!((&json["verdict"], &json["passed"]), (&"regressed".into(), &false.into()));
    let gate = &json["scenarios"][0]["gates"][0];
    let change = gate["change"]["change"].as_f64().expect("there is one");
    assert!((change - 0.2).abs() < 0.01, "{gate}");
    let xml = place.read("c.xml");
    assert!(xml.contains(r#"tests="2" failures="1""#), "{xml}");
    assert!(xml.contains(r#"<testcase classname="search" name="p99 +5%"><failure"#), "{xml}");
    let text = place.read("c.txt");
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(80) && text.contains("shift of response times"), "{text}");
}

#[test]
fn a_lasting_change_is_found_in_a_row_of_results() {
    let place = Place::new();
    for run in 0..24 {
        let factor = if run < 14 { 1.0 } else { 1.15 };
        place.save(&format!("results/{run:02}/report.json"), result(factor, run));
    }
    let mut other = result(1.0, 30);
    other.environment.cores = 64;
    other.started_at = jiff::Timestamp::from_second(1_750_000_000).expect("it is in range");
    place.save("results/old.json", other);
    let ran =
        place.run(&["trend", "results", "-o", "t.html", "-o", "t.json", "-o", "t.md"]).ends(0);
    ran.says("first in results/14/report.json").says("skipped: results/old.json: the machine");
    let json: serde_json::Value = serde_json::from_str(&place.read("t.json")).expect("it is JSON");
    let p50 = json["series"].as_array().into_iter().flatten().find(|s| s["metric"] == "p50");
    let change = &p50.expect("there is one")["changes"][0];
    assert_eq!((&change["index"], &change["worse"]), (&14.into(), &true.into()));
    assert!(place.read("t.html").contains("<svg") && place.read("t.md").contains("worse"));
}

const SUITE: &str = "
flows:
  base: {embedded: {executors: [{name: e, service_time: 2ms}]}}
  same: {embedded: {executors: [{name: e, service_time: 2ms}]}}
  slow: {embedded: {executors: [{name: e, service_time: 400ms}]}}
scenarios:
  - {name: search, flow: base, documents: {text: hello}, request_size: 1, load: {rate: 20/s, duration: 1s}}
";

#[test]
fn two_flows_are_judged_in_turns() {
    let place = Place::new();
    std::fs::write(place.path("suite.yaml"), SUITE).expect("there is room");
    let gate = |candidate: &str, gate: &str, rest: &[&str]| {
        let sides = ["gate", "suite.yaml", "--base-flow", "base", "--candidate-flow", candidate];
        // Other load on the test machine must not be judged.
        place.run(&[&sides[..], &["--gate", gate, "--force"], rest].concat())
    };
    gate("slow", "p50 +100%", &["--runs", "4", "--out", "kept"])
        .ends(1)
        .says("3 confirmation runs each")
        .says("candidate 1: search p50");
    assert!(place.path("kept/base-1.json").is_file());
    gate("same", "p50 +10s", &["--runs", "2"]).ends(0).says("passed: the gate passed");
    gate("nobody", "p50 +10%", &[]).ends(2).says("no flow is named `nobody`");
    let none = ["gate", "suite.yaml", "--base-flow", "base", "--candidate-flow", "same"];
    place.run(&none).ends(2).says("--gate is missing");
}

#[test]
fn noise_is_learned_kept_beside_the_baseline_and_respected() {
    let place = Place::new();
    // A Flow slow enough to be measured precisely even on a busy machine.
    let suite = SUITE
        .replace("service_time: 2ms", "service_time: 300ms, concurrency: 16")
        .replace("{rate: 20/s, duration: 1s}", "{clients: 8, requests: 16}");
    std::fs::write(place.path("suite.yaml"), suite).expect("there is room");
    place.run(&["noise", "suite.yaml", "--runs", "5", "--out", "baseline"]).ends(0);
    let run = |gate: &str| {
        let arguments = ["run", "suite.yaml", "--baseline", "baseline", "--gate", gate];
        place.run(&[&arguments[..], &["--out", "out"]].concat())
    };
    assert!(place.path("baseline/run-005.json").is_file());
    run("p50 +0.001%").says("is below the noise of this machine");
    let ran = run("p50 +10s");
    assert!(ran.code != Some(1) && ran.code != Some(2), "{}", ran.err);
    run("p50 -1%").ends(2);
    place
        .run(&["noise", "suite.yaml", "--out", "baseline"])
        .ends(2)
        .says("already contains results");
    place.run(&["run", "suite.yaml", "--gate", "p50 +5%"]).ends(2).says("--baseline");
}

#[test]
fn a_gate_tighter_than_the_measured_noise_is_refused_before_it_is_judged() {
    let place = Place::new();
    let results = (0..10).map(|run| {
        let summary = result(1.0 + 0.01 * ((run * 7) % 10) as f64, run);
        place.save(&format!("baseline/run-{run:03}.json"), summary.clone());
        Saved { label: format!("run {run}"), summary }
    });
    let noise = noise::Noise::learn(&results.collect::<Vec<_>>(), ALPHA).expect("they are alike");
    let text = serde_json::to_vec(&noise).expect("it can be written");
    std::fs::write(place.path("baseline/noise.json"), text).expect("there is room");
    place.side("same", 3, 1.04);
    let compare = |rest: &[&str]| {
        let sides = ["compare", "baseline", "--", "same-0.json", "same-1.json", "same-2.json"];
        place.run(&[&sides[..], rest].concat())
    };
    let ran = compare(&["--gate", "p50 +2%"]).ends(2);
    assert_eq!(
        words(&ran.err),
        "error: gate `p50 +2%` on `search` is below the noise of this machine: 10 identical runs \
         had a standard deviation of 2.9 %, so the minimum detectable change of 10 against 3 is \
         4.9 %; allow more, or make 25 runs per side = help: such a gate would be decided by \
         chance; --force evaluates it anyway"
    );
    // Variation shown by the baseline's own runs needs no assumption.
    let ran = compare(&["--gate", "p50 +10%"]);
    assert!(!ran.out.contains("assumed"), "{}", ran.out);
    ran.ends(0).says("passed: the gate passed");
    compare(&["--gate", "p50 +2%", "--force"]).ends(4).says("inconclusive");
}

#[test]
fn a_budget_ends_a_gate_and_is_told() {
    let place = Place::new();
    std::fs::write(place.path("suite.yaml"), SUITE).expect("there is room");
    let gate = |candidate: &str, gate: &str, budget: &str| {
        let sides = ["gate", "suite.yaml", "--base-flow", "base", "--candidate-flow", candidate];
        place.run(&[&sides[..], &["--gate", gate, "--force", "--budget", budget]].concat())
    };
    // A round takes two seconds: after the first there is no time for another.
    gate("same", "p50 +1%", "3s").ends(4).says("ended after 1 run per side: the budget was used");
    // Nor is there time to confirm an apparent regression, which then does not count.
    gate("slow", "p50 +100%", "3s")
        .ends(4)
        .says("beyond the +100 % allowed, but the budget leaves no time to repeat it");
    gate("same", "p50 +1%", "soon").ends(2).says("--budget");
}

/// How many of this many simulated pairs get each verdict: regressed, passed, inconclusive.
fn verdicts(pair: Pair, gate: &str, pairs: u64) -> [usize; 3] {
    let gate: Gate = gate.parse().expect("it is a gate");
    let mut found = [0; 3];
    for seed in 0..pairs {
        let (base, candidate) = pair.draw(seed);
        let sample = Sample { name: "simulated".into(), base, candidate };
        let judged = judge(&[sample], std::slice::from_ref(&gate), ALPHA, None);
        let verdict = judged.expect("the metrics are there")[0].verdict;
        found[match verdict {
            Some(Verdict::Regressed) => 0,
            Some(Verdict::Passed) => 1,
            _ => 2,
        }] += 1;
    }
    found
}

#[test]
fn simulated_pairs_are_told_apart_as_often_as_promised() {
    let same = Pair { seconds: 10, rate: 100, ..Pair::USUAL };
    let [regressed, ..] = verdicts(same, "p50 +0%", 20);
    assert_eq!(regressed, 0, "nothing changed");
    let few = Pair { runs: [3, 3], ..same };
    let [regressed, ..] = verdicts(few, "p50 +2%", 20);
    assert_eq!(regressed, 0, "nothing changed, three runs");
    let slower = Pair { change: TrueChange::All(1.2), ..same };
    let [regressed, held, _] = verdicts(slower, "p50 +5%", 20);
    assert!(regressed >= 19 && held == 0, "{regressed} {held}");
    let [regressed, held, _] = verdicts(Pair { runs: [3, 3], ..slower }, "p50 +5%", 20);
    assert!(regressed >= 18 && held == 0, "{regressed} {held}");
}

/// Paths in the documentation exist in this project.
#[test]
fn the_documentation_names_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["docs/gates.md", "docs/ci.md"] {
        let text = std::fs::read_to_string(root.join(page)).expect("it is there");
        for link in text.split("](").skip(1) {
            let path = link.split([')', '#']).next().unwrap_or_default();
            if !path.starts_with("http") && !path.is_empty() {
                assert!(root.join("docs").join(path).exists(), "{page}: {path}");
            }
        }
    }
}
