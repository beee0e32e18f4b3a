//! Ten very different runs: each report says what matters, in every format, and can be read again.
//!
//! The pages stay in `target/tmp/reports/` for inspection.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use flowbench::client::{CallError, GatewayCode};
use flowbench::record::saved;
use flowbench::record::summary::{
    AssertionSummary, CallbackCount, EndReason, ScenarioSummary, Summary,
};
use flowbench::report::{self, Format};
use flowbench::wire::ExceptionInfo;

use super::simulated::{Fate, Load, around, suite};

/// Something that a Flow may send, but that must never run.
pub(crate) const SCRIPT: &str = "<script>console.error('run')</script><img src=http://x.invalid/>";

/// All of them, by name.
pub(crate) fn runs() -> &'static [(&'static str, Summary)] {
    static RUNS: OnceLock<Vec<(&str, Summary)>> = OnceLock::new();
    RUNS.get_or_init(|| {
        vec![
            ("all-passed", all_passed()),
            ("all-failed", all_failed()),
            ("one-request", one_request()),
            ("none", none()),
            ("a-million", a_million()),
            ("timeouts", timeouts()),
            ("aborted", aborted()),
            ("interrupted", interrupted()),
            ("matrix", matrix()),
            ("names", names()),
        ]
    })
}

fn all_passed() -> Summary {
    // Twice a minute the indexer merges, and requests wait for it.
    let merging = |at: f64, random: &mut dyn rand::Rng| {
        let slow = if at % 30.0 > 27.0 { 4.0 } else { 1.0 };
        Fate::Ok(around(8.0 * slow, random))
    };
    let mut search = Load { fate: merging, ..Load::new("search", 100.0, 60) }.run();
    search.assertions = vec![AssertionSummary {
        name: "ten matches".into(),
        passed: search.requests.ok,
        ..AssertionSummary::default()
    }];
    search.callbacks.on_done =
        CallbackCount { fired: search.requests.ok, ..CallbackCount::default() };
    search.counters.insert("matches".into(), 10 * search.requests.ok);
    suite("shop", vec![search, Load::new("index", 50.0, 60).run()])
}

fn failure(description: &str) -> CallError {
    CallError::Executor {
        description: description.into(),
        executor: Some("indexer".into()),
        exception: Some(Arc::new(ExceptionInfo {
            name: "ValueError".into(),
            args: vec![description.into()],
            stacks: vec![
                "Traceback (most recent call last):\n".into(),
                "  File \"/app/executor.py\", line 31, in search\n".into(),
                format!("ValueError: {description}\n"),
            ],
            executor: "Indexer".into(),
        })),
    }
}

fn all_failed() -> Summary {
    let failing = |at: f64, random: &mut dyn rand::Rng| match at {
        at if at < 10.0 => Fate::Failed(failure(SCRIPT), around(3.0, random)),
        at if at < 20.0 => Fate::Failed(
            CallError::Gateway {
                code: GatewayCode::Grpc("UNAVAILABLE"),
                message: "no replica left".into(),
                retry_after: None,
            },
            around(1.0, random),
        ),
        _ => Fate::Dropped,
    };
    let mut search = Load { fate: failing, ..Load::new("search", 50.0, 30) }.run();
    search.assertions = vec![AssertionSummary {
        name: "text is kept".into(),
        passed: 0,
        failed: 500,
        example: Some(format!(r#"{{"docs": [{{"text": "{SCRIPT}"}}]}}"#)),
    }];
    suite("shop", vec![search])
}

fn one_request() -> Summary {
    let load = Load { thresholds: &["max < 1s", "error_rate == 0"], ..Load::new("ping", 1.0, 1) };
    suite("smoke", vec![load.run()])
}

fn none() -> Summary {
    let unreachable = Load {
        end: EndReason::Unreachable,
        message: Some("could not connect to grpc://staging.example.com:51000: refused"),
        ..Load::new("search", 0.0, 0)
    };
    let skipped = Load {
        end: EndReason::Skipped,
        message: Some("it needs `search`, which did not run"),
        ..Load::new("report", 0.0, 0)
    };
    suite("shop", vec![unreachable.run(), skipped.run()])
}

fn a_million() -> Summary {
    let load = Load { workers: 10, ..Load::new("search", 100.0, 1000) };
    suite("soak", vec![load.run()])
}

fn timeouts() -> Summary {
    let late = |_: f64, _: &mut dyn rand::Rng| {
        Fate::Failed(CallError::Timeout(Duration::from_secs(2)), 2000.0)
    };
    suite("shop", vec![Load { fate: late, ..Load::new("search", 20.0, 30) }.run()])
}

fn aborted() -> Summary {
    let breaking = |at: f64, random: &mut dyn rand::Rng| match at {
        at if at > 8.0 => Fate::Failed(failure("index is locked"), around(30.0, random)),
        _ => Fate::Ok(around(8.0, random)),
    };
    let load = Load {
        fate: breaking,
        end: EndReason::Aborted,
        message: Some("`error_rate < 20%` did not hold over the last 10s: it was 30 %"),
        ..Load::new("search", 100.0, 12)
    };
    suite("shop", vec![load.run()])
}

fn interrupted() -> Summary {
    let hanging = |at: f64, random: &mut dyn rand::Rng| match at {
        at if at > 39.5 => Fate::Abandoned,
        _ => Fate::Ok(around(8.0, random)),
    };
    let search =
        Load { fate: hanging, end: EndReason::Interrupted, ..Load::new("search", 50.0, 40) };
    let index = Load {
        end: EndReason::Skipped,
        message: Some("the run ended"),
        ..Load::new("index", 0.0, 0)
    };
    suite("shop", vec![search.run(), index.run()])
}

fn matrix() -> Summary {
    let mut scenarios = Vec::new();
    for protocol in ["grpc", "http", "websocket"] {
        for (request_size, slower) in [(1, 1.0), (10, 3.0), (100, 12.0)] {
            for replicas in [1, 2, 4] {
                let name = format!(
                    "search [protocol={protocol}, replicas={replicas}, request_size={request_size}]"
                );
                let fate: fn(f64, &mut dyn rand::Rng) -> Fate = match slower {
                    1.0 => |_, random| Fate::Ok(around(4.0, random)),
                    3.0 => |_, random| Fate::Ok(around(12.0, random)),
                    _ => |_, random| Fate::Ok(around(48.0, random)),
                };
                let thresholds: &[&str] = &["p50 < 40ms", "error_rate == 0"];
                let load = Load { fate, thresholds, ..Load::new(name, 30.0, 5) };
                let mut scenario = load.run();
                scenario.target.protocol = protocol.into();
                scenario.matrix = [
                    ("protocol".to_owned(), protocol.into()),
                    ("replicas".into(), replicas.into()),
                    ("request_size".into(), request_size.into()),
                ]
                .into_iter()
                .collect();
                scenarios.push(scenario);
            }
        }
    }
    suite("sizes", scenarios)
}

fn names() -> Summary {
    let names = [
        "搜索服务：商品检索与推荐".to_owned(),
        r#"search, "quoted" & <b>bold</b> | `code` 'it''s'"#.to_owned(),
        SCRIPT.to_owned(),
        "בדיקה من اليمين".to_owned(),
        "a_very_long_name_without_any_space_".repeat(5),
    ];
    let scenarios = names.into_iter().map(|name| {
        let failing = |at: f64, random: &mut dyn rand::Rng| match at {
            at if at % 1.0 < 0.1 => Fate::Failed(failure("文档缺少字段 `标题` <b>&amp;"), 5.0),
            _ => Fate::Ok(around(8.0, random)),
        };
        let load =
            Load { fate: failing, thresholds: &["error_rate < 50%"], ..Load::new(name, 40.0, 5) };
        load.run()
    });
    let scenarios: Vec<ScenarioSummary> = scenarios.collect();
    suite("压力测试 \"Q4\" <i>", scenarios)
}

fn written(summary: &Summary, format: Format) -> String {
    let mut out = Vec::new();
    report::write(summary, format, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

/// The folder for the pages.
pub(crate) fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reports");
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    folder
}

/// Texts that a page must have, and texts that it must not have.
fn expected(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match name {
        "all-passed" => (
            &[
                "<h1>Passed</h1>",
                "All thresholds of all 2 scenarios passed.",
                ">6,000<",
                "Throughput",
                "ten matches",
                "count: matches",
            ],
            &["not valid", ">failed</span>"],
        ),
        "all-failed" => (
            &[
                "<h1>Failed</h1>",
                "1 of 1 scenario failed.",
                "does not hold: p99 &lt; 100ms (it is above every response time)",
                "Errors over time",
                "gateway answered UNAVAILABLE: no replica left",
                "&lt;script&gt;console.error(&#x27;run&#x27;)&lt;&#x2f;script&gt;",
                "<summary>Stack</summary>",
                "Dropped",
            ],
            &["<img", "Latency by percentile"],
        ),
        "one-request" => (
            &["<h1>Passed</h1>", ">1<", "8."],
            // Nothing to show over time, and no distribution.
            &["Latency by percentile", "Throughput</b>", "NaN"],
        ),
        "none" => (
            &[
                "<h1>Not reached</h1>",
                "not reached",
                "target not reached: could not connect to grpc:&#x2f;&#x2f;staging.example.com:51000",
                "not run: it needs `search`, which did not run",
            ],
            &["<figure", "NaN"],
        ),
        "a-million" => (
            &["<h1>Passed</h1>", ">1,000,000<", ">99.999</text>", ">time, min</text>"],
            // That percentile needs 6.6 million requests.
            &["not valid", ">99.9999</text>"],
        ),
        "timeouts" => (
            &["<h1>Failed</h1>", "no reply within 2s", "Timeouts", "Errors over time"],
            &["Latency by percentile", "NaN"],
        ),
        "aborted" => (
            &[
                "<h1>Failed</h1>",
                "Ended early: `error_rate &lt; 20%` did not hold over the last 10s",
            ],
            &[],
        ),
        "interrupted" => (
            &[
                "<h1>Interrupted</h1>",
                "did not run to the end",
                "Abandoned",
                "Not run: the run ended",
            ],
            &["<h1>Passed</h1>"],
        ),
        "matrix" => (
            &[
                "search, side by side",
                "Response time by protocol, replicas and request_size",
                "9 of 27 scenarios failed",
                "protocol websocket, replicas 4",
            ],
            &[],
        ),
        _ => (
            &[
                "<h1>Passed</h1>",
                "搜索服务：商品检索与推荐",
                "search, &quot;quoted&quot; &amp; &lt;b&gt;bold&lt;&#x2f;b&gt; | `code`",
                "בדיקה من اليمين",
                "文档缺少字段 `标题` &lt;b&gt;&amp;amp;",
            ],
            &["<b>bold", "<img"],
        ),
    }
}

#[test]
fn reports_of_very_different_runs_say_what_matters() {
    for (name, summary) in runs() {
        let page = written(summary, Format::Html);
        std::fs::write(folder().join(format!("{name}.html")), &page).expect("it can be written");
        let (says, says_not) = expected(name);
        for text in says {
            assert!(page.contains(text), "{name} does not say {text}");
        }
        for text in says_not {
            assert!(!page.contains(text), "{name} says {text}");
        }
        // One script, the page's own, and one title.
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        assert_eq!(page.matches("<h1>").count(), 1, "{name}");

        let saved = written(summary, Format::Json);
        let again = saved::parse(&saved).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert!(written(&again, Format::Html) == page, "{name} differs when it is rendered again");

        let lines = written(summary, Format::Terminal { color: false, columns: 80 });
        for line in lines.lines() {
            let columns = unicode_width::UnicodeWidthStr::width(line);
            assert!(columns <= 80, "{name}: {columns} columns: {line}");
        }
        let table = written(summary, Format::Markdown);
        let rows = table.lines().filter(|line| line.starts_with('|'));
        for row in rows {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 10, "{name}: {row}");
        }
        let rows = written(summary, Format::Csv);
        let mut rows = csv::Reader::from_reader(rows.as_bytes());
        let seconds: usize = summary.scenarios.iter().map(|s| s.timeline.len()).sum();
        assert_eq!(rows.records().filter(Result::is_ok).count(), seconds, "{name}");
    }
}

/// Ten scenarios of an hour each: checks the size of the page.
#[test]
fn a_page_of_ten_scenarios_of_an_hour_is_smaller_than_2_mb() {
    let scenario = Load { workers: 10, ..Load::new("search", 10.0, 3600) }.run();
    let scenarios = (1..=10)
        .map(|number| ScenarioSummary { name: format!("search {number}"), ..scenario.clone() });
    let summary = suite("soak", scenarios.collect());
    let page = written(&summary, Format::Html);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains(">360,000<") && page.contains(">60</text>"));
}
