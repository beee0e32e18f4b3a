//! Metrics for Prometheus: as text for a textfile collector or a push gateway, and as text or protobuf for a
//! server that scrapes us during a run. Times are in seconds, following its conventions.

mod protobuf;
mod text;

use std::io;

use super::exponential::Exponential;
use crate::capacity::result::Capacity;
use crate::record::summary::{EndReason, Latency, ScenarioSummary, Summary, Verdict};
use crate::record::{Histogram, HistogramError};

/// Metrics with the same name.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    metrics: Vec<Metric>,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gauge,
    Summary,
    Histogram,
}

/// Values of one set of labels.
struct Metric {
    labels: Labels,
    value: Value,
}

/// Names and values; values may be any text.
type Labels = Vec<(&'static str, String)>;

enum Value {
    Number(f64),
    /// Quantiles as text, with their values in seconds; `None` becomes NaN.
    Summary {
        quantiles: Vec<(&'static str, Option<f64>)>,
        sum: f64,
        count: u64,
    },
    Histogram(Box<Times>),
}

/// Times as a histogram, in seconds.
struct Times {
    /// For each bound, the number of times that do not exceed it.
    buckets: Vec<(f64, u64)>,
    /// The same in native buckets.
    native: Exponential,
    sum: f64,
    count: u64,
    /// A request with a trace: its id, and its time.
    exemplar: Option<(String, f64)>,
}

/// Formats for a server that scrapes metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// Prometheus' text format.
    Text,
    /// OpenMetrics, which supports exemplars.
    OpenMetrics,
    /// Prometheus' protobuf format, which supports native histograms.
    Protobuf,
}

/// A number of a scenario, and the label that distinguishes it from others of the same name.
type Labelled = (Option<(&'static str, String)>, f64);

/// Reads a figure of a scenario, if it has it.
type Figure = fn(&ScenarioSummary) -> Option<f64>;

/// Reads latencies of a scenario.
type Latencies = fn(&ScenarioSummary) -> &Latency;

/// Writes the format for a textfile collector.
pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    families(summary).iter().try_for_each(|family| text::write(family, false, out))
}

/// Writes the metrics for a scrape: those of [`write`], plus response times as a histogram and the findings of
/// a search.
pub(super) fn expose(
    summary: &Summary,
    capacity: Option<&Capacity>,
    exposition: Exposition,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut families = families(summary);
    families.push(histograms(summary).map_err(io::Error::other)?);
    families.extend(capacity.into_iter().flat_map(of_search));
    let mut families = families.iter();
    match exposition {
        Exposition::Text => families.try_for_each(|family| text::write(family, false, out)),
        Exposition::OpenMetrics => {
            families.try_for_each(|family| text::write(family, true, out))?;
            writeln!(out, "# EOF")
        }
        Exposition::Protobuf => families.try_for_each(|family| protobuf::write(family, out)),
    }
}

fn families(summary: &Summary) -> Vec<Family> {
    let scenarios: Vec<(Labels, &ScenarioSummary)> =
        summary.scenarios.iter().map(|scenario| (labels(summary, scenario), scenario)).collect();
    let environment = &summary.environment;
    let info = vec![
        ("suite", summary.suite.clone()),
        ("version", environment.flowbench.clone()),
        ("os", environment.os.clone()),
        ("arch", environment.arch.clone()),
        ("cpu", environment.cpu.clone().unwrap_or_default()),
    ];
    let whole = |name, help, value: Option<f64>| {
        let metric = value.map(|value| {
            let labels = vec![("suite", summary.suite.clone())];
            Metric { labels, value: Value::Number(value) }
        });
        gauge(name, help, metric)
    };
    let flag = |is: bool| f64::from(u8::from(is));
    let each = |of: &dyn Fn(&ScenarioSummary) -> Vec<Labelled>| {
        let metrics = scenarios.iter().flat_map(|(labels, scenario)| {
            of(scenario).into_iter().map(|(label, value)| Metric {
                labels: labels.iter().cloned().chain(label).collect(),
                value: Value::Number(value),
            })
        });
        metrics.collect::<Vec<_>>()
    };
    let verdicts = [
        (Verdict::Passed, "held"),
        (Verdict::Failed, "failed"),
        (Verdict::Inconclusive, "not_judged"),
        (Verdict::NotReached, "not_reached"),
        (Verdict::Interrupted, "interrupted"),
        (Verdict::Part, "part"),
    ];
    // What is not over is not decided.
    let is_over = |scenario: &ScenarioSummary| !scenario.end.is_ahead();
    let verdict = |scenario: &ScenarioSummary| {
        let of = |(verdict, name): (Verdict, &str)| {
            (Some(("verdict", name.to_owned())), flag(scenario.verdict == verdict))
        };
        verdicts.into_iter().filter(|_| is_over(scenario)).map(of).collect()
    };
    let threshold = |scenario: &ScenarioSummary| {
        let all = scenario.thresholds.iter().filter(|_| is_over(scenario));
        all.map(|one| (Some(("threshold", one.that.clone())), flag(one.passed))).collect()
    };
    let actual = |scenario: &ScenarioSummary| {
        let all = scenario.thresholds.iter();
        all.filter_map(|one| Some((Some(("threshold", one.that.clone())), one.actual?))).collect()
    };
    let valid = |scenario: &ScenarioSummary| {
        let valid = Some(scenario.validity.valid).filter(|_| is_over(scenario));
        valid.map(|valid| (None, flag(valid))).into_iter().collect()
    };
    let state = |scenario: &ScenarioSummary| {
        let now = match scenario.end.reason {
            EndReason::Waiting => "waiting",
            EndReason::Running => "running",
            _ => "over",
        };
        let states = ["waiting", "running", "over"].into_iter();
        states.map(|state| (Some(("state", state.to_owned())), flag(state == now))).collect()
    };
    let requests = |scenario: &ScenarioSummary| {
        let all = scenario.requests.named().into_iter();
        all.map(|(name, count)| (Some(("outcome", name.to_owned())), count as f64)).collect()
    };
    let errors = |scenario: &ScenarioSummary| {
        let kinds = scenario.errors_by_kind();
        kinds.into_iter().map(|(kind, count)| (Some(("kind", kind)), count as f64)).collect()
    };
    let started = summary.started_at.as_millisecond() as f64 / 1e3;
    let mut families = vec![
        gauge(
            "flowbench_run_info",
            "Metadata of the run, in its labels.",
            [Metric { labels: info, value: Value::Number(1.0) }],
        ),
        whole("flowbench_run_started_timestamp_seconds", "When the run began.", Some(started)),
        whole("flowbench_run_duration_seconds", "How long it took.", Some(summary.duration_s)),
        whole(
            "flowbench_run_passed",
            "1 if all thresholds passed.",
            Some(flag(summary.passed)).filter(|_| !summary.running),
        ),
        gauge(
            "flowbench_state",
            "1 for the state that a scenario is in, 0 for the others.",
            each(&state),
        ),
        gauge(
            "flowbench_verdict",
            "1 for the verdict on a scenario, 0 for the others.",
            each(&verdict),
        ),
        gauge("flowbench_valid", "1 if the figures of a scenario are valid.", each(&valid)),
        gauge("flowbench_threshold_passed", "1 if a threshold passed.", each(&threshold)),
        gauge(
            "flowbench_threshold_actual",
            "The value that a threshold is about, so far while its scenario runs: ms, shares, rates, numbers or bytes.",
            each(&actual),
        ),
        gauge("flowbench_requests", "Requests by outcome.", each(&requests)),
        gauge("flowbench_errors", "Failures by kind.", each(&errors)),
    ];
    let figures: [(_, _, Figure); 4] = [
        ("flowbench_offered_per_second", "Arrivals per second.", |s| {
            Some(s.throughput.offered_per_s)
        }),
        ("flowbench_throughput_per_second", "Ok requests per second.", |s| {
            Some(s.throughput.requests_per_s)
        }),
        ("flowbench_documents_per_second", "Documents of ok requests per second.", |s| {
            Some(s.throughput.documents_per_s)
        }),
        (
            "flowbench_error_ratio",
            "The share of arrivals that failed, were dropped or abandoned.",
            |s| s.error_rate,
        ),
    ];
    families.extend(figures.map(|(name, help, figure)| {
        gauge(
            name,
            help,
            each(&|scenario| figure(scenario).map(|value| (None, value)).into_iter().collect()),
        )
    }));
    let latencies: [(_, _, Latencies); 2] = [
        (
            "flowbench_response_time_seconds",
            "Response time of ok requests, from due to done.",
            |s| &s.response_time_ms,
        ),
        (
            "flowbench_service_time_seconds",
            "Service time of ok requests, from written to done.",
            |s| &s.service_time_ms,
        ),
    ];
    families.extend(latencies.map(|(name, help, latency)| {
        let metrics = scenarios.iter().map(|(labels, scenario)| Metric {
            labels: labels.clone(),
            value: distribution(latency(scenario)),
        });
        Family { name, help, kind: Kind::Summary, metrics: metrics.collect() }
    }));
    let executors = scenarios.iter().flat_map(|(labels, scenario)| {
        scenario.executors.iter().flatten().map(|executor| Metric {
            labels: labels.iter().cloned().chain([("executor", executor.name.clone())]).collect(),
            value: distribution(&executor.time_ms),
        })
    });
    families.push(Family {
        name: "flowbench_executor_time_seconds",
        help: "Time in an Executor, from the routes of responses.",
        kind: Kind::Summary,
        metrics: executors.collect(),
    });
    families
}

/// The findings of a search so far.
fn of_search(capacity: &Capacity) -> Vec<Family> {
    let labels =
        || vec![("suite", capacity.suite.clone()), ("scenario", capacity.scenario.clone())];
    let one = |name, help, value: Option<f64>| {
        let metric = value.map(|value| Metric { labels: labels(), value: Value::Number(value) });
        gauge(name, help, metric)
    };
    vec![
        one(
            "flowbench_capacity_sustained",
            "The highest load that meets the objective, in requests per second or clients.",
            capacity.answer.held(),
        ),
        one("flowbench_capacity_trials", "Trials so far.", Some(capacity.trials.len() as f64)),
    ]
}

/// Bucket bounds of response times, in seconds.
const BOUNDS_S: [f64; 18] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
    100.0, 500.0,
];

/// Response times as histograms, with the trace of the slowest traced request.
fn histograms(summary: &Summary) -> Result<Family, HistogramError> {
    let metrics = summary.scenarios.iter().map(|scenario| {
        let latency = &scenario.response_time_ms;
        let (sum, count) = latency.sum_s();
        let times = latency.to_histogram()?;
        let slowest = scenario.traces.as_ref().and_then(|traces| traces.slowest.first());
        let value = Value::Histogram(Box::new(Times {
            buckets: buckets(&times),
            native: Exponential::new(&times),
            sum,
            count,
            exemplar: slowest.map(|trace| (trace.id.clone(), trace.response_ms / 1e3)),
        }));
        Ok(Metric { labels: labels(summary, scenario), value })
    });
    Ok(Family {
        name: "flowbench_response_seconds",
        help: "Response time of ok requests, from due to done.",
        kind: Kind::Histogram,
        metrics: metrics.collect::<Result<_, HistogramError>>()?,
    })
}

fn buckets(times: &Histogram) -> Vec<(f64, u64)> {
    let mut count = 0;
    let mut values = times.buckets().peekable();
    let up_to = |bound: f64| {
        while let Some((_, more)) = values.next_if(|(value, _)| value.as_secs_f64() <= bound) {
            count += more;
        }
        (bound, count)
    };
    BOUNDS_S.map(up_to).to_vec()
}

fn gauge(
    name: &'static str,
    help: &'static str,
    metrics: impl IntoIterator<Item = Metric>,
) -> Family {
    Family { name, help, kind: Kind::Gauge, metrics: metrics.into_iter().collect() }
}

fn labels(summary: &Summary, scenario: &ScenarioSummary) -> Labels {
    vec![
        ("suite", summary.suite.clone()),
        ("scenario", scenario.name.clone()),
        ("flow", scenario.target.flow.clone()),
        ("protocol", scenario.target.protocol.clone()),
    ]
}

fn distribution(latency: &Latency) -> Value {
    let quantiles = [
        ("0.5", latency.p50),
        ("0.9", latency.p90),
        ("0.95", latency.p95),
        ("0.99", latency.p99),
        ("0.999", latency.p99_9),
        ("0.9999", latency.p99_99),
        ("1", latency.max),
    ];
    let (sum, count) = latency.sum_s();
    let quantiles = quantiles.map(|(name, ms)| (name, ms.map(|ms| ms / 1e3))).to_vec();
    Value::Summary { quantiles, sum, count }
}
