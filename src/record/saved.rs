//! Reads saved results back, from whatever source. Errors name the field.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::Histogram;
use super::summary::{
    EndReason, Latency, Requests, SCHEMA, ScenarioSummary, Summary, TimelineSecond, Verdict,
};
use crate::error::json_words;
use crate::text;

/// Why a saved result cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: ReadProblem,
}

/// What is wrong with a saved result.
#[derive(Debug, thiserror::Error)]
pub enum ReadProblem {
    /// The file does not exist, or is not readable.
    #[error("could not be read: {0}")]
    Io(#[from] io::Error),
    /// The file ends in the middle.
    #[error("is truncated (line {line}): it was cut off or not written completely")]
    Truncated {
        /// The last line, counted from 1.
        line: usize,
    },
    /// The file is something else.
    #[error("is not a result of flowbench: {0}")]
    Foreign(String),
    /// A newer version wrote it.
    #[error("`schema` is `{found}`, of a newer flowbench; this one reads `{known}`")]
    Newer {
        /// Schema of the file.
        found: String,
        /// Schema known to this version.
        known: &'static str,
    },
    /// A field is not what flowbench writes.
    #[error("`{field}`: {why}")]
    Field {
        /// Path to the field, such as `scenarios[0].requests.ok`.
        field: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Maximum size of a result file: a day of a hundred scenarios is smaller.
const RESULT_BYTES_MAX: u64 = 1 << 30;

/// Counts above this were not measured: it is the largest integer that is exact in JSON.
const COUNT_MAX: u64 = 1 << 53;

/// Times above this were not measured: thirty years.
const SECONDS_MAX: f64 = 1e9;

/// Reads a saved result.
///
/// # Errors
///
/// If it cannot be read, is not a result of a known schema, or contradicts itself.
pub fn read(path: &Path) -> Result<Summary, ReadError> {
    read_by(path, parse)
}

/// Reads a saved result from text.
///
/// # Errors
///
/// See [`read`].
pub fn parse(text: &str) -> Result<Summary, ReadProblem> {
    let summary = parse_as::<Summary>(text, SCHEMA)?;
    check(&summary)?;
    Ok(summary)
}

/// Reads a file and parses its text with `parse`.
///
/// # Errors
///
/// If the file cannot be read, and every error of `parse`.
pub(crate) fn read_by<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, ReadProblem>,
) -> Result<T, ReadError> {
    let problem = |problem| ReadError { path: path.to_owned(), problem };
    let text = text::read(path, RESULT_BYTES_MAX).map_err(|error| {
        problem(match error.kind() {
            io::ErrorKind::InvalidData => ReadProblem::Foreign("it is not text".into()),
            _ => error.into(),
        })
    })?;
    parse(&text).map_err(problem)
}

/// Parses a result of any kind whose `schema` is the given one.
///
/// # Errors
///
/// If the text is not JSON, or is of another schema or does not match it.
pub(crate) fn parse_as<T: DeserializeOwned>(
    text: &str,
    schema: &'static str,
) -> Result<T, ReadProblem> {
    #[derive(Deserialize)]
    struct Head {
        schema: Option<serde_json::Value>,
    }
    if !text.trim_start().starts_with('{') {
        let what = if text.trim().is_empty() { "it is empty" } else { "it is not a JSON object" };
        return Err(ReadProblem::Foreign(what.into()));
    }
    // The schema first: with another one, any error about a field would mislead.
    let head: Head = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    match head.schema.as_ref().map(|found| found.as_str()) {
        Some(Some(found)) if found == schema => (),
        Some(Some(found)) if is_newer(found, schema) => {
            return Err(ReadProblem::Newer { found: found.into(), known: schema });
        }
        Some(Some(found)) => {
            return Err(ReadProblem::Foreign(format!("`schema` is `{found}`, not `{schema}`")));
        }
        Some(None) => return Err(ReadProblem::Foreign("`schema` is not text".into())),
        None => return Err(ReadProblem::Foreign("it has no `schema`".into())),
    }
    // Tracking the path costs as much again, so it is only done after an error.
    let read = serde_json::from_str(text).or_else(|_| {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
    });
    read.map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
        // The position in the text adds nothing to the path.
        ReadProblem::Field { field: error.path().to_string(), why: json_words(error.inner()) }
    })
}

fn not_json(text: &str, error: &serde_json::Error) -> ReadProblem {
    // A truncated number is reported as an invalid one, at its end.
    let lines = text.split('\n').count();
    let last = text.rsplit('\n').next().unwrap_or_default().len();
    let at_end = error.line() == lines && error.column() >= last;
    match error.classify() {
        Category::Eof => ReadProblem::Truncated { line: error.line() },
        Category::Syntax if at_end => ReadProblem::Truncated { line: error.line() },
        _ => ReadProblem::Foreign(format!("it is not JSON ({error})")),
    }
}

/// Whether a schema is a later version of the known one.
fn is_newer(found: &str, known: &str) -> bool {
    let parts = |schema: &str| {
        let (name, number) = schema.rsplit_once('/')?;
        Some((name.to_owned(), number.parse::<u32>().ok()?))
    };
    match (parts(found), parts(known)) {
        (Some((name, number)), Some((own, version))) => name == own && number > version,
        _ => false,
    }
}

/// A field and what is wrong with it, while its path is being built.
type Wrong = (String, String);

fn check(summary: &Summary) -> Result<(), ReadProblem> {
    let checked = seconds("duration_s", summary.duration_s)
        .and_then(|()| passed(summary.passed, summary.verdict))
        .and_then(|()| {
            summary.scenarios.iter().enumerate().try_for_each(|(index, scenario)| {
                within(&format!("scenarios[{index}]"), check_scenario(scenario))
            })
        });
    checked.map_err(|(field, why)| ReadProblem::Field { field, why })
}

fn within(parent: &str, checked: Result<(), Wrong>) -> Result<(), Wrong> {
    checked.map_err(|(field, why)| (format!("{parent}.{field}"), why))
}

fn wrong(field: &str, why: impl Into<String>) -> Result<(), Wrong> {
    Err((field.into(), why.into()))
}

fn seconds(field: &str, value: f64) -> Result<(), Wrong> {
    if (0.0..=SECONDS_MAX).contains(&value) {
        return Ok(());
    }
    wrong(field, format!("{value} is not a duration"))
}

fn count(field: &str, value: u64) -> Result<(), Wrong> {
    if value <= COUNT_MAX { Ok(()) } else { wrong(field, format!("{value} is too many")) }
}

fn passed(passed: bool, verdict: Verdict) -> Result<(), Wrong> {
    if passed == (verdict == Verdict::Passed) {
        return Ok(());
    }
    wrong("passed", format!("is {passed}, which contradicts its `verdict`"))
}

fn check_scenario(scenario: &ScenarioSummary) -> Result<(), Wrong> {
    seconds("started_at_s", scenario.started_at_s)?;
    seconds("duration_s", scenario.duration_s)?;
    passed(scenario.passed, scenario.verdict)?;
    if scenario.validity.valid != scenario.validity.reasons.is_empty() {
        let valid = scenario.validity.valid;
        return wrong("validity.valid", format!("is {valid}, which contradicts its `reasons`"));
    }
    within("requests", check_requests(&scenario.requests))?;
    check_totals(scenario)?;
    let received = scenario.documents.received.unwrap_or_default();
    count("documents.sent", scenario.documents.sent)?;
    count("documents.received", received)?;
    count("documents.missing", scenario.documents.missing.unwrap_or_default())?;
    let ok = scenario.requests.ok;
    for (name, latency) in [
        ("response_time_ms", Some(&scenario.response_time_ms)),
        ("service_time_ms", Some(&scenario.service_time_ms)),
        ("active_time_ms", scenario.active_time_ms.as_ref()),
        ("first_response_ms", Some(&scenario.first_response_ms)),
        ("gateway_ms", scenario.gateway_ms.as_ref()),
        ("network_ms", scenario.network_ms.as_ref()),
    ] {
        within(name, latency.map_or(Ok(()), check_latency))?;
    }
    if scenario.response_time_ms.count != ok {
        let found = scenario.response_time_ms.count;
        return wrong("response_time_ms.count", format!("is {found}, but `requests.ok` is {ok}"));
    }
    for (name, latency) in &scenario.failed_time_ms {
        within(&format!("failed_time_ms.{name}"), check_latency(latency))?;
    }
    for (index, executor) in scenario.executors.iter().flatten().enumerate() {
        within(&format!("executors[{index}].time_ms"), check_latency(&executor.time_ms))?;
    }
    for (index, step) in scenario.steps.iter().enumerate() {
        let checked = within("requests", check_requests(&step.requests))
            .and_then(|()| within("response_time_ms", check_latency(&step.response_time_ms)))
            .and_then(|()| within("service_time_ms", check_latency(&step.service_time_ms)));
        within(&format!("steps[{index}]"), checked)?;
    }
    for (index, threshold) in scenario.thresholds.iter().enumerate() {
        let checked = passed(threshold.passed, threshold.verdict);
        within(&format!("thresholds[{index}]"), checked)?;
    }
    for (index, assertion) in scenario.assertions.iter().enumerate() {
        let checked = count("passed", assertion.passed);
        let checked = checked.and_then(|()| count("failed", assertion.failed));
        within(&format!("assertions[{index}]"), checked)?;
    }
    for (index, error) in scenario.errors.iter().enumerate() {
        within(&format!("errors[{index}]"), count("count", error.count))?;
    }
    check_timeline(scenario)
}

/// Rates and verdicts match the figures they are computed from.
fn check_totals(scenario: &ScenarioSummary) -> Result<(), Wrong> {
    let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-6 * expected.abs() + 1e-9;
    let expected = scenario.requests.error_rate();
    if !scenario.error_rate.zip(expected).is_none_or(|(found, expected)| near(found, expected)) {
        let found = scenario.error_rate.unwrap_or_default();
        return wrong("error_rate", format!("is {found}, which contradicts `requests`"));
    }
    let seconds = scenario.duration_s;
    let offered = scenario.throughput.offered_per_s;
    let arrivals = scenario.requests.arrivals as f64;
    if scenario.part.is_none() && seconds > 0.0 && !near(offered * seconds, arrivals) {
        let why = format!("is {offered}, but {arrivals} arrivals in {seconds} s give another rate");
        return wrong("throughput.offered_per_s", why);
    }
    let completed: Option<u64> = scenario.timeline.iter().map(|second| second.completed).sum();
    let done = scenario.throughput.requests_per_s;
    // A scenario that ends early has responses that arrive after its time would have been over.
    let timed = scenario.end.reason == EndReason::Time && scenario.part.is_none();
    if let Some(completed) = completed.filter(|_| timed && seconds > 0.0)
        && !scenario.timeline.is_empty()
        && !near(done * seconds, completed as f64)
    {
        let why = format!("is {done}, but the seconds of the timeline completed {completed}");
        return wrong("throughput.requests_per_s", why);
    }
    let judged = scenario.thresholds.iter().map(|threshold| threshold.verdict);
    if scenario.verdict == Verdict::Passed
        && judged.clone().any(|verdict| verdict != Verdict::Passed)
    {
        return wrong("verdict", "is `held`, which contradicts a threshold");
    }
    if scenario.verdict == Verdict::Failed
        && judged.clone().all(|verdict| verdict != Verdict::Failed)
    {
        return wrong("verdict", "is `failed`, but no threshold is");
    }
    Ok(())
}

fn check_requests(requests: &Requests) -> Result<(), Wrong> {
    for (name, value) in requests.named() {
        count(name, value)?;
    }
    let Requests { arrivals, sent, ok, dropped, abandoned, unknown, .. } = *requests;
    if arrivals != sent + dropped {
        return wrong(
            "arrivals",
            format!("is {arrivals}, but sent and dropped are {}", sent + dropped),
        );
    }
    let ended = ok + requests.errors() + abandoned + unknown;
    if sent != ended {
        return wrong("sent", format!("is {sent}, but the outcomes add up to {ended}"));
    }
    Ok(())
}

/// The figures match the histogram.
fn check_latency(latency: &Latency) -> Result<(), Wrong> {
    count("count", latency.count)?;
    count("beyond", latency.beyond)?;
    for (name, value) in [("min", latency.min), ("max", latency.max)] {
        seconds(name, value.unwrap_or_default() / 1e3)?;
    }
    let histogram = latency.to_histogram().map_err(|e| ("histogram".into(), e.to_string()))?;
    if histogram.count() != latency.count {
        let held = histogram.count();
        return wrong(
            "count",
            format!("is {}, but the `histogram` contains {held}", latency.count),
        );
    }
    let expected = Latency::new(&histogram);
    for ((name, found), (_, expected)) in latency.figures().into_iter().zip(expected.figures()) {
        // Mean and standard deviation are saved exactly, but computed here from buckets that are
        // accurate to 0.1 %.
        let room = match name {
            "mean" | "stddev" => expected.unwrap_or_default() * 2e-3 + 2e-3,
            _ => expected.unwrap_or_default() * 1e-9 + 1e-9,
        };
        let agrees = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() <= room,
            (found, expected) => found == expected,
        };
        if !agrees {
            let show = |value: Option<f64>| value.map_or("null".into(), |value| value.to_string());
            let (found, expected) = (show(found), show(expected));
            return wrong(name, format!("is {found}, but the `histogram` says {expected}"));
        }
    }
    Ok(())
}

/// The histograms of a second are readable, and have no more values than requests ended in it.
fn check_histograms(second: &TimelineSecond) -> Result<(), Wrong> {
    let both = [("histogram", &second.histogram), ("service_histogram", &second.service_histogram)];
    for (name, saved) in both {
        let Some(text) = saved else { continue };
        let histogram = Histogram::from_base64(text).map_err(|e| (name.into(), e.to_string()))?;
        if histogram.count() > second.ok {
            let (held, ok) = (histogram.count(), second.ok);
            return wrong(name, format!("contains {held} requests, but `ok` is {ok}"));
        }
    }
    Ok(())
}

/// The seconds follow one another and add up to the totals.
fn check_timeline(scenario: &ScenarioSummary) -> Result<(), Wrong> {
    let timeline = &scenario.timeline;
    let mut sums = [0u64; 5];
    // A cut window does not start at the first second.
    let first = timeline.first().map_or(1, |second| second.t_s);
    if first == 0 || first as f64 > SECONDS_MAX {
        return wrong("timeline[0].t_s", format!("{first} is not the end of a second"));
    }
    for (index, second) in timeline.iter().enumerate() {
        let field = |name: &str| format!("timeline[{index}].{name}");
        let expected = first + index as u64;
        if second.t_s != expected {
            let why = format!("is {}, but seconds follow one another: {expected}", second.t_s);
            return wrong(&field("t_s"), why);
        }
        let counts = [
            ("offered", second.offered),
            ("sent", second.sent),
            ("ok", second.ok),
            ("errors", second.errors),
            ("dropped", second.dropped),
        ];
        for (sum, (name, value)) in sums.iter_mut().zip(counts) {
            count(&field(name), value)?;
            *sum = sum.saturating_add(value);
        }
        for (name, value) in [("documents", second.documents), ("timeouts", second.timeouts)] {
            count(&field(name), value)?;
        }
        if !(0.0..=COUNT_MAX as f64).contains(&second.in_flight) {
            return wrong(
                &field("in_flight"),
                format!("{} is not a number of requests in flight", second.in_flight),
            );
        }
    }
    // A day has 170 thousand of them.
    let first_wrong = timeline.par_iter().enumerate().find_map_first(|(index, second)| {
        within(&format!("timeline[{index}]"), check_histograms(second)).err()
    });
    if let Some(wrong) = first_wrong {
        return Err(wrong);
    }
    let requests = &scenario.requests;
    if scenario.part.is_some() {
        // The requests of a window are those that ended in it, whenever they were due.
        (sums[0], sums[1]) = (requests.arrivals, requests.sent);
    }
    let wholes = [
        ("requests.arrivals", requests.arrivals),
        ("requests.sent", requests.sent),
        ("requests.ok", requests.ok),
        ("requests", requests.errors()),
        ("requests.dropped", requests.dropped),
    ];
    let contradicted = sums.into_iter().zip(wholes).find(|(sum, (_, whole))| sum != whole);
    match contradicted.filter(|_| !timeline.is_empty()) {
        Some((sum, (name, whole))) => {
            wrong(name, format!("says {whole}, but the seconds of the timeline add up to {sum}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::record::summary::{Throughput, TimelineSecond, ms};

    fn saved() -> Value {
        let mut histogram = Histogram::new();
        (1..=500).for_each(|ms| histogram.record(Duration::from_micros(ms * 731)));
        let second = |t_s| TimelineSecond {
            t_s,
            offered: 250,
            sent: 250,
            ok: 250,
            completed: Some(250),
            p50: histogram.quantile(0.5).map(ms),
            ..TimelineSecond::default()
        };
        let scenario = ScenarioSummary {
            name: "search".into(),
            verdict: Verdict::Passed,
            passed: true,
            duration_s: 2.0,
            requests: Requests { arrivals: 500, sent: 500, ok: 500, ..Requests::default() },
            throughput: Throughput {
                offered_per_s: 250.0,
                requests_per_s: 250.0,
                documents_per_s: 0.0,
            },
            error_rate: Some(0.0),
            response_time_ms: Latency::new(&histogram),
            service_time_ms: Latency::new(&histogram),
            timeline: vec![second(1), second(2)],
            ..ScenarioSummary::default()
        };
        let summary = Summary {
            suite: "saved".into(),
            verdict: Verdict::Passed,
            passed: true,
            scenarios: vec![scenario],
            ..Summary::default()
        };
        serde_json::to_value(summary).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }

    #[track_caller]
    fn check_edited(pointer: &str, value: Value, expected: &str) {
        let mut edited = saved();
        *edited.pointer_mut(pointer).expect(pointer) = value;
        check(&edited.to_string(), expected);
    }

    #[test]
    fn what_was_written_is_read() {
        let text = saved().to_string();
        let summary = parse(&text).unwrap();
        assert_eq!(serde_json::to_value(&summary).unwrap().to_string(), text);
    }

    #[test]
    fn a_field_of_a_later_version_is_no_error() {
        let mut later = saved();
        later["scenarios"][0]["wisdom"] = json!(42);
        assert!(parse(&later.to_string()).is_ok());
    }

    #[test]
    fn wherever_a_result_is_cut_off_it_ends_in_the_middle() {
        for text in [format!("{:#}", saved()), saved().to_string()] {
            for cut in (1..text.len() - 1).filter(|cut| text.is_char_boundary(*cut)) {
                let problem = parse(&text[..cut]).expect_err("it is a part");
                assert!(
                    matches!(problem, ReadProblem::Truncated { .. }),
                    "{problem} after {}",
                    &text[cut.saturating_sub(40)..cut]
                );
            }
        }
    }

    #[test]
    fn what_is_no_result_is_told_from_a_part_of_one() {
        let text = format!("{:#}", saved());
        let cut = text.char_indices().nth(300).unwrap().0;
        check(&text[..cut], "is truncated (line 16): it was cut off or not written completely");
        check("", "is not a result of flowbench: it is empty");
        check("[1, 2]", "is not a result of flowbench: it is not a JSON object");
        check("{}", "is not a result of flowbench: it has no `schema`");
        check(
            "{name: search}",
            "is not a result of flowbench: it is not JSON (key must be a string at line 1 column 2)",
        );
        check(
            r#"{"schema": "k6/1"}"#,
            "is not a result of flowbench: `schema` is `k6/1`, not `flowbench.report/1`",
        );
        check(
            r#"{"schema": "flowbench.report/2", "scenarios": "sung"}"#,
            "`schema` is `flowbench.report/2`, of a newer flowbench; this one reads \
             `flowbench.report/1`",
        );
    }

    #[test]
    fn what_was_edited_by_hand_is_told_with_its_field() {
        for (pointer, value, expected) in [
            (
                "/scenarios/0/response_time_ms/p99",
                json!(5.0),
                "`scenarios[0].response_time_ms.p99`: is 5, but the `histogram` says 361.983",
            ),
            (
                "/scenarios/0/response_time_ms/histogram",
                json!("HISTFAAA"),
                "`scenarios[0].response_time_ms.histogram`: not a compressed HdrHistogram V2: An i/o operation failed: failed to fill whole buffer",
            ),
            (
                "/scenarios/0/throughput/requests_per_s",
                json!(2500.0),
                "`scenarios[0].throughput.requests_per_s`: is 2500, but the seconds of the timeline completed 500",
            ),
            (
                "/scenarios/0/throughput/offered_per_s",
                json!(2500.0),
                "`scenarios[0].throughput.offered_per_s`: is 2500, but 500 arrivals in 2 s give \
                 another rate",
            ),
            (
                "/scenarios/0/error_rate",
                json!(0.5),
                "`scenarios[0].error_rate`: is 0.5, which contradicts `requests`",
            ),
            (
                "/scenarios/0/requests/ok",
                json!(501),
                "`scenarios[0].requests.sent`: is 500, but the outcomes add up to 501",
            ),
            (
                "/scenarios/0/requests/ok",
                json!("many"),
                "`scenarios[0].requests.ok`: invalid type: string \"many\", expected u64",
            ),
            (
                "/scenarios/0/requests/ok",
                json!(-1),
                "`scenarios[0].requests.ok`: invalid value: integer `-1`, expected u64",
            ),
            (
                "/scenarios/0/verdict",
                json!("sung"),
                "`scenarios[0].verdict`: unknown variant `sung`, expected one of `held`, `passed`, `failed`, `inconclusive`, `not_judged`, `not_reached`, `interrupted`, `part`",
            ),
            (
                "/scenarios/0/verdict",
                json!("failed"),
                "`scenarios[0].passed`: is true, which contradicts its `verdict`",
            ),
            (
                "/scenarios/0/timeline/1/ok",
                json!(3),
                "`scenarios[0].requests.ok`: says 500, but the seconds of the timeline add up to 253",
            ),
            (
                "/scenarios/0/timeline/1/t_s",
                json!(7),
                "`scenarios[0].timeline[1].t_s`: is 7, but seconds follow one another: 2",
            ),
            (
                "/scenarios/0/duration_s",
                json!(-2.5),
                "`scenarios[0].duration_s`: -2.5 is not a duration",
            ),
            (
                "/scenarios/0/requests/retries",
                json!(u64::MAX),
                "`scenarios[0].requests.retries`: 18446744073709551615 is too many",
            ),
        ] {
            check_edited(pointer, value, expected);
        }
    }

    #[test]
    fn a_field_that_is_missing_is_told() {
        let mut edited = saved();
        edited["scenarios"][0].as_object_mut().unwrap().remove("requests");
        check(&edited.to_string(), "`scenarios[0]`: missing field `requests`");
    }
}
