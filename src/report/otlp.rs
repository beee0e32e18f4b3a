//! OpenTelemetry metrics: totals since each scenario began, so that a lost message loses no data.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::exponential::{Exponential, ZERO_S};
use crate::record::HistogramError;
use crate::record::summary::{Latency, Requests, ScenarioSummary, Summary, TraceOf};
use crate::run::{Found, Shown};

/// The request for a receiver, with everything to be shown; `now` is its time.
///
/// # Errors
/// If histograms were modified.
pub(crate) fn request(
    shown: &Shown,
    now: Timestamp,
) -> Result<ExportMetricsServiceRequest, HistogramError> {
    let summary = &*shown.summary;
    let mut told = Told::default();
    // A scenario that has not begun has nothing to report.
    let began = summary.scenarios.iter().filter(|scenario| scenario.requests.arrivals > 0);
    for scenario in began {
        let began = nanos(summary.started_at) + (scenario.started_at_s * 1e9) as u64;
        let of = Of { attributes: attributes(scenario), began, now: nanos(now) };
        told.scenario(scenario, &of, shown.over)?;
    }
    if let Some(Found::Capacity(capacity)) = &shown.found {
        let attributes = vec![attribute("scenario", &capacity.scenario)];
        let of = Of { attributes, began: nanos(capacity.started_at), now: nanos(now) };
        if let Some(held) = capacity.answer.held() {
            let what = "Highest load that meets the objective, in requests per second or clients";
            told.gauge("flowbench.capacity.sustained", "1", what, &of, held);
        }
        let count = capacity.trials.len() as f64;
        told.gauge("flowbench.capacity.trials", "{trial}", "Trials so far", &of, count);
    }
    let scope = InstrumentationScope {
        name: "flowbench".into(),
        version: summary.environment.flowbench.clone(),
        ..InstrumentationScope::default()
    };
    let metrics =
        ScopeMetrics { scope: Some(scope), metrics: told.metrics, ..ScopeMetrics::default() };
    let resource = Resource { attributes: resource(summary), ..Resource::default() };
    let all = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![metrics],
        ..ResourceMetrics::default()
    };
    Ok(ExportMetricsServiceRequest { resource_metrics: vec![all] })
}

/// The resource: this program and the run.
fn resource(summary: &Summary) -> Vec<KeyValue> {
    let environment = &summary.environment;
    let part = summary.part.as_ref();
    let number =
        part.map(|part| attribute("flowbench.part", &format!("{}/{}", part.number, part.of)));
    let host = part.and_then(|part| part.host.as_deref());
    let mut attributes = vec![
        attribute("service.name", "flowbench"),
        attribute("service.version", &environment.flowbench),
        attribute("flowbench.suite", &summary.suite),
        attribute("os.type", &environment.os),
        attribute("host.arch", &environment.arch),
    ];
    attributes.extend(host.map(|host| attribute("host.name", host)));
    attributes.extend(number);
    attributes
}

fn attributes(scenario: &ScenarioSummary) -> Vec<KeyValue> {
    vec![
        attribute("scenario", &scenario.name),
        attribute("flow", &scenario.target.flow),
        attribute("protocol", &scenario.target.protocol),
    ]
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

/// The scenario that figures belong to, and its start. Times in ns since 1970.
#[derive(Clone)]
struct Of {
    attributes: Vec<KeyValue>,
    began: u64,
    now: u64,
}

impl Of {
    fn with(&self, key: &str, value: &str) -> Of {
        let mut of = self.clone();
        of.attributes.push(attribute(key, value));
        of
    }
}

/// Metrics, one per name, with the points of all scenarios.
#[derive(Default)]
struct Told {
    metrics: Vec<Metric>,
}

impl Told {
    fn scenario(
        &mut self,
        scenario: &ScenarioSummary,
        of: &Of,
        over: bool,
    ) -> Result<(), HistogramError> {
        let slowest = scenario.traces.as_ref().and_then(|traces| traces.slowest.first());
        let response = &scenario.response_time_ms;
        let what = "Time from when a request was due to its last reply, of ok requests";
        self.times("flowbench.response.duration", what, of, response, slowest)?;
        let what = "Time from when a request was written to its last reply, of ok requests";
        self.times("flowbench.service.duration", what, of, &scenario.service_time_ms, None)?;
        for executor in scenario.executors.iter().flatten() {
            let what = "Time in an Executor, from the routes of responses";
            let of = of.with("executor", &executor.name);
            self.times("flowbench.executor.duration", what, &of, &executor.time_ms, None)?;
        }
        let what = "Requests by outcome";
        self.outcomes("flowbench.requests", what, of, &scenario.requests);
        for step in &scenario.steps {
            let of = of.with("step", &step.name);
            let what =
                "Time from when a request of a step was due to its last reply, of ok requests";
            self.times("flowbench.step.duration", what, &of, &step.response_time_ms, None)?;
            let what = "Requests of a step by what became of them";
            self.outcomes("flowbench.step.requests", what, &of, &step.requests);
        }
        let Requests { arrivals, retries, .. } = scenario.requests;
        self.sum("flowbench.arrivals", "{request}", "Requests that were due", of, arrivals);
        self.sum("flowbench.retries", "{request}", "Attempts beyond the first", of, retries);
        for (kind, count) in scenario.errors_by_kind() {
            let of = of.with("kind", &kind);
            self.sum("flowbench.errors", "{request}", "Failures by kind", &of, count);
        }
        let what = "Documents in requests that were sent";
        self.sum("flowbench.documents", "{document}", what, of, scenario.documents.sent);
        if let Some(bytes) = &scenario.bytes {
            let what = "Bytes of requests that were sent, and of ok responses";
            for (direction, count) in [("sent", bytes.sent), ("received", bytes.received)] {
                self.sum("flowbench.bytes", "By", what, &of.with("direction", direction), count);
            }
        }
        if let Some(share) = scenario.error_rate {
            let what = "Share of arrivals that did not end well";
            self.gauge("flowbench.error_ratio", "1", what, of, share);
        }
        // While the load goes on, the last second is incomplete.
        let whole = scenario.timeline.iter().rev().nth(1).filter(|_| !over);
        if let Some(second) = whole {
            for (name, unit, what, value) in [
                (
                    "flowbench.offered",
                    "{request}/s",
                    "Arrivals in the last whole second",
                    second.offered as f64,
                ),
                (
                    "flowbench.throughput",
                    "{request}/s",
                    "Ok requests in it",
                    second.completed() as f64,
                ),
                (
                    "flowbench.in_flight",
                    "{request}",
                    "Mean number in flight over it",
                    second.in_flight,
                ),
            ] {
                self.gauge(name, unit, what, of, value);
            }
            if let Some(clients) = second.clients {
                self.gauge(
                    "flowbench.clients",
                    "{client}",
                    "Clients in the middle of it",
                    of,
                    clients,
                );
            }
        }
        Ok(())
    }

    fn outcomes(&mut self, name: &str, what: &str, of: &Of, requests: &Requests) {
        for (outcome, count) in [
            ("ok", requests.ok),
            ("response_error", requests.response_errors),
            ("transport_error", requests.transport_errors),
            ("timeout", requests.timeouts),
            ("dropped", requests.dropped),
            ("abandoned", requests.abandoned),
        ] {
            self.sum(name, "{request}", what, &of.with("outcome", outcome), count);
        }
    }

    /// Adds a monotonic counter.
    fn sum(&mut self, name: &str, unit: &str, what: &str, of: &Of, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let point = point(of, of.began, number_data_point::Value::AsInt(value));
        let empty = || {
            let aggregation_temporality = AggregationTemporality::Cumulative.into();
            Data::Sum(Sum { data_points: Vec::new(), aggregation_temporality, is_monotonic: true })
        };
        if let Data::Sum(sum) = self.metric(name, unit, what, empty) {
            sum.data_points.push(point);
        }
    }

    /// Adds a gauge.
    fn gauge(&mut self, name: &str, unit: &str, what: &str, of: &Of, value: f64) {
        let point = point(of, 0, number_data_point::Value::AsDouble(value));
        let empty = || Data::Gauge(Gauge::default());
        if let Data::Gauge(gauge) = self.metric(name, unit, what, empty) {
            gauge.data_points.push(point);
        }
    }

    fn times(
        &mut self,
        name: &str,
        what: &str,
        of: &Of,
        latency: &Latency,
        slowest: Option<&TraceOf>,
    ) -> Result<(), HistogramError> {
        let (sum, count) = latency.sum_s();
        let Exponential { scale, first, counts, zeros } =
            Exponential::new(&latency.to_histogram()?);
        let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1e3).filter(|_| count > 0);
        let point = ExponentialHistogramDataPoint {
            attributes: of.attributes.clone(),
            start_time_unix_nano: of.began,
            time_unix_nano: of.now,
            count,
            sum: Some(sum),
            scale,
            zero_count: zeros,
            positive: Some(Buckets { offset: first, bucket_counts: counts }),
            negative: None,
            flags: 0,
            exemplars: slowest.and_then(|trace| exemplar(trace, of)).into_iter().collect(),
            min: seconds(latency.min),
            max: seconds(latency.max).filter(|_| latency.beyond == 0),
            zero_threshold: ZERO_S,
        };
        let empty = || {
            let aggregation_temporality = AggregationTemporality::Cumulative.into();
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: Vec::new(),
                aggregation_temporality,
            })
        };
        if let Data::ExponentialHistogram(all) = self.metric(name, "s", what, empty) {
            all.data_points.push(point);
        }
        Ok(())
    }

    /// The metric with a name, created if it does not exist.
    fn metric(
        &mut self,
        name: &str,
        unit: &str,
        what: &str,
        empty: impl FnOnce() -> Data,
    ) -> &mut Data {
        let known = self.metrics.iter().position(|metric| metric.name == name);
        let at = known.unwrap_or_else(|| {
            self.metrics.push(Metric {
                name: name.into(),
                unit: unit.into(),
                description: what.into(),
                ..Metric::default()
            });
            self.metrics.len() - 1
        });
        self.metrics[at].data.get_or_insert_with(empty)
    }
}

fn point(of: &Of, began: u64, value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: of.attributes.clone(),
        start_time_unix_nano: began,
        time_unix_nano: of.now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

/// An exemplar: a request and its trace.
fn exemplar(trace: &TraceOf, of: &Of) -> Option<Exemplar> {
    let id = u128::from_str_radix(&trace.id, 16).ok()?;
    Some(Exemplar {
        time_unix_nano: of.began + (trace.due_s * 1e9) as u64,
        trace_id: id.to_be_bytes().into(),
        value: Some(exemplar::Value::AsDouble(trace.response_ms / 1e3)),
        ..Exemplar::default()
    })
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}
