//! Prometheus text format, for a textfile collector or a push gateway. Times are in seconds,
//! following its conventions.

use std::io;

use crate::record::summary::{Latency, ScenarioSummary, Summary, Verdict};

/// Reads a figure of a scenario, if it has it.
type Figure = fn(&ScenarioSummary) -> Option<f64>;

/// Reads latencies of a scenario.
type Times = fn(&ScenarioSummary) -> &Latency;

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let scenarios: Vec<(String, &ScenarioSummary)> =
        summary.scenarios.iter().map(|scenario| (labels(summary, scenario), scenario)).collect();

    head(out, "flowbench_run_info", "gauge", "The run, whose labels say what ran where.")?;
    let environment = &summary.environment;
    writeln!(
        out,
        "flowbench_run_info{{suite=\"{}\",version=\"{}\",os=\"{}\",arch=\"{}\",cpu=\"{}\"}} 1",
        escaped(&summary.suite),
        escaped(&environment.flowbench),
        escaped(&environment.os),
        escaped(&environment.arch),
        escaped(environment.cpu.as_deref().unwrap_or_default()),
    )?;
    let suite = escaped(&summary.suite);
    let whole = |out: &mut dyn io::Write, name: &str, help: &str, value: f64| {
        head(out, name, "gauge", help)?;
        writeln!(out, "{name}{{suite=\"{suite}\"}} {value}")
    };
    let started = summary.started_at.as_millisecond() as f64 / 1e3;
    whole(out, "flowbench_run_started_timestamp_seconds", "When the run began.", started)?;
    whole(out, "flowbench_run_duration_seconds", "How long it took.", summary.duration_s)?;
    let passed = f64::from(u8::from(summary.passed));
    whole(out, "flowbench_run_passed", "1 when all thresholds held.", passed)?;

    head(out, "flowbench_verdict", "gauge", "1 for the verdict on a scenario, 0 for the others.")?;
    for (labels, scenario) in &scenarios {
        for (verdict, name) in [
            (Verdict::Passed, "held"),
            (Verdict::Failed, "failed"),
            (Verdict::Inconclusive, "not_judged"),
            (Verdict::NotReached, "not_reached"),
            (Verdict::Interrupted, "interrupted"),
        ] {
            let is = u8::from(scenario.verdict == verdict);
            writeln!(out, "flowbench_verdict{{{labels},verdict=\"{name}\"}} {is}")?;
        }
    }
    head(out, "flowbench_valid", "gauge", "1 when the figures of a scenario may be quoted.")?;
    for (labels, scenario) in &scenarios {
        writeln!(out, "flowbench_valid{{{labels}}} {}", u8::from(scenario.validity.valid))?;
    }
    head(out, "flowbench_threshold_passed", "gauge", "1 when a threshold held.")?;
    for (labels, scenario) in &scenarios {
        for threshold in &scenario.thresholds {
            let (that, passed) = (escaped(&threshold.that), u8::from(threshold.passed));
            writeln!(out, "flowbench_threshold_passed{{{labels},threshold=\"{that}\"}} {passed}")?;
        }
    }
    head(out, "flowbench_requests", "gauge", "Requests by what became of them.")?;
    for (labels, scenario) in &scenarios {
        for (outcome, count) in scenario.requests.named() {
            writeln!(out, "flowbench_requests{{{labels},outcome=\"{outcome}\"}} {count}")?;
        }
    }
    head(out, "flowbench_errors", "gauge", "Failures by kind.")?;
    for (labels, scenario) in &scenarios {
        let mut kinds = std::collections::BTreeMap::new();
        for error in &scenario.errors {
            *kinds.entry(&error.kind).or_insert(0) += error.count;
        }
        for (kind, count) in kinds {
            let kind = escaped(kind);
            writeln!(out, "flowbench_errors{{{labels},kind=\"{kind}\"}} {count}")?;
        }
    }
    let figures: [(&str, &str, Figure); 4] = [
        ("flowbench_offered_per_second", "Arrivals per second.", |s| {
            Some(s.throughput.offered_per_s)
        }),
        ("flowbench_throughput_per_second", "Ok requests per second.", |s| {
            Some(s.throughput.requests_per_s)
        }),
        ("flowbench_documents_per_second", "Documents of ok requests per second.", |s| {
            Some(s.throughput.documents_per_s)
        }),
        ("flowbench_error_ratio", "The share of arrivals that did not end well.", |s| s.error_rate),
    ];
    for (name, help, figure) in figures {
        head(out, name, "gauge", help)?;
        for (labels, scenario) in &scenarios {
            if let Some(value) = figure(scenario) {
                writeln!(out, "{name}{{{labels}}} {value}")?;
            }
        }
    }
    let latencies: [(&str, &str, Times); 2] = [
        ("flowbench_response_time_seconds", "Due to done, of ok requests.", |s| {
            &s.response_time_ms
        }),
        ("flowbench_service_time_seconds", "Written to done, of ok requests.", |s| {
            &s.service_time_ms
        }),
    ];
    for (name, help, latency) in latencies {
        head(out, name, "summary", help)?;
        for (labels, scenario) in &scenarios {
            distribution(out, name, labels, latency(scenario))?;
        }
    }
    let name = "flowbench_executor_time_seconds";
    head(out, name, "summary", "Time in an Executor, from the routes of responses.")?;
    for (labels, scenario) in &scenarios {
        for executor in scenario.executors.iter().flatten() {
            let labels = format!("{labels},executor=\"{}\"", escaped(&executor.name));
            distribution(out, name, &labels, &executor.time_ms)?;
        }
    }
    Ok(())
}

/// Bounds of the buckets of response times, in seconds.
const BOUNDS_S: [f64; 18] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
    100.0, 500.0,
];

/// Response times as histograms; `exemplars`: with the trace of the slowest request that has one.
pub(super) fn histograms(
    summary: &Summary,
    exemplars: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let name = "flowbench_response_seconds";
    head(out, name, "histogram", "Due to done, of ok requests.")?;
    for scenario in &summary.scenarios {
        let labels = labels(summary, scenario);
        let latency = &scenario.response_time_ms;
        let times = latency.to_histogram().map_err(io::Error::other)?;
        let slowest = scenario.traces.as_ref().and_then(|traces| traces.slowest.first());
        let mut exemplar = slowest.filter(|_| exemplars);
        let mut count = 0;
        let mut values = times.buckets().peekable();
        for bound in BOUNDS_S {
            while let Some((_, more)) = values.next_if(|(value, _)| value.as_secs_f64() <= bound) {
                count += more;
            }
            let here = exemplar.take_if(|trace| trace.response_ms / 1e3 <= bound);
            let told = here.map_or(String::new(), |trace| {
                format!(" # {{trace_id=\"{}\"}} {}", escaped(&trace.id), trace.response_ms / 1e3)
            });
            writeln!(out, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {count}{told}")?;
        }
        let within = latency.count - latency.beyond.min(latency.count);
        let sum = latency.mean.unwrap_or_default() / 1e3 * within as f64;
        writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {within}")?;
        writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {within}")?;
    }
    Ok(())
}

fn head(out: &mut dyn io::Write, name: &str, kind: &str, help: &str) -> io::Result<()> {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn labels(summary: &Summary, scenario: &ScenarioSummary) -> String {
    format!(
        "suite=\"{}\",scenario=\"{}\",protocol=\"{}\"",
        escaped(&summary.suite),
        escaped(&scenario.name),
        escaped(&scenario.target.protocol)
    )
}

fn distribution(
    out: &mut dyn io::Write,
    name: &str,
    labels: &str,
    latency: &Latency,
) -> io::Result<()> {
    let quantiles = [
        ("0.5", latency.p50),
        ("0.9", latency.p90),
        ("0.95", latency.p95),
        ("0.99", latency.p99),
        ("0.999", latency.p99_9),
        ("0.9999", latency.p99_99),
        ("1", latency.max),
    ];
    for (quantile, ms) in quantiles {
        // In this format, a missing value is not a number.
        let value = ms.map_or("NaN".into(), |ms| (ms / 1e3).to_string());
        writeln!(out, "{name}{{{labels},quantile=\"{quantile}\"}} {value}")?;
    }
    let within = latency.count - latency.beyond.min(latency.count);
    let sum = latency.mean.unwrap_or_default() / 1e3 * within as f64;
    writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {within}")
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}
