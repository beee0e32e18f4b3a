//! Report formats, read by third-party parsers: they find the same figures.

use std::collections::BTreeMap;
use std::process::Command;

use flowbench::record::summary::{Summary, Verdict};
use flowbench::report::{self, Format};
use serde::Deserialize;

use super::gallery::runs;
use crate::interop::python::{files, parsers};

#[derive(Deserialize)]
struct Found {
    junit: JUnit,
    prometheus: BTreeMap<String, Family>,
    hlog: BTreeMap<String, Times>,
}

#[derive(Deserialize)]
struct JUnit {
    tests: usize,
    failures: usize,
    suites: Vec<TestSuite>,
}

#[derive(Deserialize)]
struct TestSuite {
    name: String,
    tests: usize,
    failures: usize,
    errors: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    classname: String,
    /// Kind, message, text.
    results: Vec<(String, Option<String>, Option<String>)>,
}

#[derive(Deserialize)]
struct Family {
    #[serde(rename = "type")]
    kind: String,
    help: String,
    /// Name, labels, value; `None` for NaN.
    samples: Vec<(String, BTreeMap<String, String>, Option<f64>)>,
}

/// In µs.
#[derive(Deserialize)]
struct Times {
    count: u64,
    p50: f64,
    p99: f64,
    max: f64,
}

/// Writes a run in the three formats and has them parsed.
fn read_by_others(summary: &Summary, python: &std::path::Path) -> Found {
    let folder = tempfile::tempdir().expect("a folder");
    let formats = [Format::Junit, Format::Prometheus, Format::Hlog];
    let mut command = Command::new(python);
    command.arg(files().join("reports.py"));
    for (index, format) in formats.into_iter().enumerate() {
        let path = folder.path().join(index.to_string());
        let mut out = Vec::new();
        report::write(summary, format, &mut out).expect("a vector takes all");
        std::fs::write(&path, out).expect("it can be written");
        command.arg(path);
    }
    let output = command.output().expect("Python runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", summary.suite);
    serde_json::from_slice(&output.stdout).expect("what the script prints")
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= expected * 0.002 + 1e-9
}

#[test]
fn parsers_of_others_find_the_same_figures() {
    let Some(python) = parsers() else { return };
    for (name, summary) in runs() {
        let found = read_by_others(summary, python);
        junit(name, summary, &found.junit);
        prometheus(name, summary, &found.prometheus);
        hlog(name, summary, &found.hlog);
    }
}

fn junit(name: &str, summary: &Summary, found: &JUnit) {
    assert_eq!(found.suites.len(), summary.scenarios.len(), "{name}");
    let sum = |of: fn(&TestSuite) -> usize| found.suites.iter().map(of).sum::<usize>();
    assert_eq!((found.tests, found.failures), (sum(|s| s.tests), sum(|s| s.failures)), "{name}");
    for (suite, scenario) in found.suites.iter().zip(&summary.scenarios) {
        assert_eq!(suite.name, scenario.name);
        // One for the run itself, plus each threshold and each assertion.
        let cases = 1 + scenario.thresholds.len() + scenario.assertions.len();
        assert_eq!((suite.tests, suite.cases.len()), (cases, cases), "{name}");
        let having = |verdict| scenario.thresholds.iter().filter(|t| t.verdict == verdict).count();
        let broken = scenario.assertions.iter().filter(|a| a.failed > 0).count();
        assert_eq!(suite.failures, having(Verdict::Failed) + broken, "{name}");
        let of_kind = |kind: &str| {
            let results = suite.cases.iter().flat_map(|case| &case.results);
            results.filter(|(found, message, _)| found == kind && message.is_some()).count()
        };
        assert_eq!(
            (of_kind("Failure"), of_kind("Error")),
            (suite.failures, suite.errors),
            "{name}"
        );
        assert!(suite.cases.iter().all(|case| case.classname == scenario.name), "{name}");
        // Text from a Flow is unchanged.
        if let Some(example) = scenario.assertions.iter().find_map(|a| a.example.as_ref()) {
            let mut texts = suite.cases.iter().flat_map(|case| &case.results);
            assert!(texts.any(|(_, _, text)| text.as_ref() == Some(example)), "{name}");
        }
    }
}

fn prometheus(name: &str, summary: &Summary, found: &BTreeMap<String, Family>) {
    assert!(found.values().all(|family| !family.help.is_empty()), "{name}");
    for scenario in &summary.scenarios {
        let sample = |family: &str, of: &str, label: &str, value: &str| -> Option<f64> {
            let family = &found[family];
            assert!(["gauge", "summary"].contains(&&*family.kind), "{name}: {}", family.kind);
            let mut samples = family.samples.iter().filter(|(found, labels, _)| {
                let labelled = label.is_empty() || labels.get(label).is_some_and(|v| v == value);
                found == of && labels["scenario"] == scenario.name && labelled
            });
            samples.next().and_then(|(_, _, value)| *value)
        };
        let requests =
            |outcome: &str| sample("flowbench_requests", "flowbench_requests", "outcome", outcome);
        for (outcome, count) in scenario.requests.named() {
            assert_eq!(requests(outcome), Some(count as f64), "{name}: {outcome}");
        }
        let times = "flowbench_response_time_seconds";
        let count = sample(times, &format!("{times}_count"), "", "");
        assert_eq!(count.unwrap_or_default(), scenario.response_time_ms.count as f64, "{name}");
        if let Some(p99) = scenario.response_time_ms.p99 {
            let found = sample(times, times, "quantile", "0.99").expect("there is a p99");
            assert!(near(found, p99 / 1e3), "{name}: {found}");
        }
    }
}

fn hlog(name: &str, summary: &Summary, found: &BTreeMap<String, Times>) {
    let having = summary.scenarios.iter().filter(|scenario| scenario.requests.ok > 0);
    // A tag for the response times of each scenario, and one for the service times.
    assert_eq!(found.len(), 2 * having.clone().count(), "{name}: {:?}", found.keys());
    for scenario in having {
        let response = &scenario.response_time_ms;
        let same = found.values().find(|times| {
            let agrees = |found: f64, expected: Option<f64>| {
                near(found / 1e3, expected.expect("there were requests"))
            };
            // With few requests the p99 depends on rounding, and other programs round differently.
            let many = times.count >= 1000;
            times.count == response.count
                && (!many || agrees(times.p50, response.p50) && agrees(times.p99, response.p99))
                && agrees(times.max, response.max)
        });
        assert!(same.is_some(), "{name}: {}", scenario.name);
    }
}
