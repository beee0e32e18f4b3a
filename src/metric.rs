//! The figures used in thresholds, objectives and gates, under the names that users write: `p99`,
//! `service.p50`, `executor.encoder.p99`, `search.error_rate`, `count.empty_responses`,
//! `server.encoder.pending`.

mod server;

use std::fmt;
use std::str::FromStr;

pub use server::{Figure, ServerMetric};

use crate::units::{Quantile, nearest};

/// A figure of a scenario, or of one of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The step it is about; `None` for the whole scenario.
    pub step: Option<String>,
    /// What is measured.
    pub measure: Measure,
    /// The metric as written.
    name: String,
}

/// What a metric measures.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// A latency of ok requests, in milliseconds. For response and service time, failures rank as slowest.
    Latency(Part, Statistic),
    /// (response and transport errors + timeouts + dropped + abandoned) / arrivals, from 0 to 1.
    ErrorRate,
    /// Response and transport errors and timeouts.
    Errors,
    /// Arrivals without a free slot.
    Dropped,
    /// Assertions that failed.
    AssertionFailures,
    /// Ok requests per second.
    Throughput,
    /// Documents of ok requests per second.
    DocumentsPerSecond,
    /// Requests sent.
    Requests,
    /// Documents sent but not returned, in requests whose response had some.
    DocumentsMissing,
    /// A counter of `count` actions. Written `count.NAME`.
    Counter(String),
    /// What the Flow reports about itself. Written `server.NAME.pending`.
    Server(ServerMetric),
}

/// A part of a request's time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Response time: from due to done. Written without a prefix.
    Response,
    /// Service time: from sent to done. Written `service.p99`.
    Service,
    /// Response time of an iteration without its pauses. Written `active.p99`.
    Active,
    /// Time in an Executor, from the routes of the response. Written `executor.NAME.p99`.
    Executor(String),
    /// Gateway overhead: time in the gateway without its Executors. Written `gateway.p99`.
    Gateway,
    /// Time outside the gateway: network and client. Written `network.p99`.
    Network,
}

/// One number of a latency distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The smallest value that at least this share of requests does not exceed. Written `p99`.
    Quantile(Quantile),
    /// The smallest value.
    Min,
    /// The arithmetic mean of the ok requests.
    Mean,
    /// The largest value.
    Max,
}

/// The unit of a metric and of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Milliseconds; written as a duration.
    Milliseconds,
    /// From 0 to 1; written `0.1%`, or as 0.
    Fraction,
    /// Per second; written `900/s`.
    PerSecond,
    /// A whole number.
    Count,
    /// Any number.
    Number,
    /// Bytes; written `2GiB`.
    Bytes,
}

/// The text is not a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{found}`{}", hint(.found))]
pub struct MetricError {
    /// The text that was found.
    pub found: String,
}

/// Every measure with a fixed name.
const MEASURES: [(&str, Measure); 11] = [
    ("min", Measure::Latency(Part::Response, Statistic::Min)),
    ("mean", Measure::Latency(Part::Response, Statistic::Mean)),
    ("max", Measure::Latency(Part::Response, Statistic::Max)),
    ("error_rate", Measure::ErrorRate),
    ("errors", Measure::Errors),
    ("dropped", Measure::Dropped),
    ("assertion_failures", Measure::AssertionFailures),
    ("throughput", Measure::Throughput),
    ("documents_per_second", Measure::DocumentsPerSecond),
    ("requests", Measure::Requests),
    ("documents_missing", Measure::DocumentsMissing),
];

/// Metrics of other tools, and their names here.
const FOREIGN: [(&str, &str); 13] = [
    ("avg", "mean"),
    ("average", "mean"),
    ("med", "p50"),
    ("median", "p50"),
    ("failure_rate", "error_rate"),
    ("fail_ratio", "error_rate"),
    ("http_req_failed", "error_rate"),
    ("failures", "errors"),
    ("rps", "throughput"),
    ("qps", "throughput"),
    ("http_reqs", "throughput"),
    ("requests_per_second", "throughput"),
    ("docs_per_second", "documents_per_second"),
];

/// The name here of a metric of k6, Locust or another tool: `p(95)` is `p95`.
pub(crate) fn of_other_tools(found: &str) -> Option<String> {
    let lower = found.to_ascii_lowercase();
    if let Some((_, ours)) = FOREIGN.iter().find(|(known, _)| *known == lower) {
        return Some((*ours).to_owned());
    }
    // `p(95)`, `95%`, `95th`, `percentile_95`
    let digits: String = lower.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let around: String = lower.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
    let percentile = ["p()", "%", "%ile", "th", "percentile_", "percentile", "p", "q"];
    let name = format!("p{digits}");
    let is_one = percentile.contains(&around.as_str()) && name.parse::<Quantile>().is_ok();
    is_one.then_some(name)
}

/// Other tools' names for the response time, which has several figures here.
const TIMES: [&str; 4] = ["http_req_duration", "latency", "response_time", "iteration_duration"];

fn hint(found: &str) -> String {
    if TIMES.iter().any(|name| name.eq_ignore_ascii_case(found)) {
        return ", use `mean`, `max` or a percentile such as `p95`".into();
    }
    if let Some(ours) = of_other_tools(found) {
        return format!(", use `{ours}`");
    }
    let names = MEASURES.iter().map(|(name, _)| *name).chain(["p50", "p90", "p95", "p99", "p99.9"]);
    let last = found.rsplit('.').next().unwrap_or(found);
    if found.starts_with(server::PREFIX) && found.matches('.').count() > 1 {
        let figures = Figure::NAMED.map(|(name, _)| name);
        return match nearest(last, figures) {
            Some(name) => format!(", did you mean `{name}`?"),
            None => format!(
                ", expected `server.NAME.` and one of {}; `.max` after it is its highest second",
                figures.join(", ")
            ),
        };
    }
    match nearest(last, names) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => ", expected one of p50 … p99.99, min, mean, max (also after `service.`, `active.`, `gateway.`, \
                 `network.`, `executor.NAME.` or the name of a step), error_rate, errors, dropped, \
                 assertion_failures, throughput, documents_per_second, documents_missing, requests, \
                 count.NAME, server.NAME.pending (what the Flow says of itself)"
            .into(),
    }
}

impl Metric {
    /// A quantile of response time; `quantile` is above 0 and at most 1.
    pub fn response(quantile: f64) -> Metric {
        Metric::latency(Part::Response, "", quantile)
    }

    /// A quantile of the time in an Executor; `quantile` is above 0 and at most 1.
    pub fn executor(name: &str, quantile: f64) -> Metric {
        Metric::latency(Part::Executor(name.to_owned()), &format!("executor.{name}."), quantile)
    }

    fn latency(part: Part, prefix: &str, quantile: f64) -> Metric {
        let quantile = Quantile::from_percent(quantile * 100.0).expect("above 0, at most 1");
        Metric {
            step: None,
            measure: Measure::Latency(part, Statistic::Quantile(quantile)),
            name: format!("{prefix}{quantile}"),
        }
    }

    /// The unit of its values.
    pub fn unit(&self) -> MetricUnit {
        match self.measure {
            Measure::Latency(..) => MetricUnit::Milliseconds,
            Measure::ErrorRate => MetricUnit::Fraction,
            Measure::Throughput | Measure::DocumentsPerSecond => MetricUnit::PerSecond,
            Measure::Errors
            | Measure::Dropped
            | Measure::AssertionFailures
            | Measure::Requests
            | Measure::DocumentsMissing
            | Measure::Counter(_) => MetricUnit::Count,
            Measure::Server(ServerMetric { figure, .. }) => figure.unit(),
        }
    }

    /// Whether it is a latency, which needs enough samples for a verdict.
    pub fn is_latency(&self) -> bool {
        matches!(self.measure, Measure::Latency(..))
    }

    /// The quantile, if it is one.
    pub fn quantile(&self) -> Option<Quantile> {
        self.measure.quantile().map(|(_, quantile)| quantile)
    }

    /// The same text read as a metric of a step with the name of a part of the time: `gateway.p99` in a
    /// scenario with a step `gateway`. `None` if it cannot be read that way.
    pub fn about_step(&self) -> Option<Metric> {
        if let Measure::Server(_) = self.measure {
            return Metric::of_requests(&self.name).filter(|metric| metric.step.is_some());
        }
        let Measure::Latency(part, statistic) = &self.measure else { return None };
        let step = match part {
            Part::Gateway => "gateway".to_owned(),
            Part::Network => "network".to_owned(),
            Part::Executor(name) => format!("executor.{name}"),
            Part::Active => "active".to_owned(),
            Part::Response | Part::Service => return None,
        };
        // `gateway.service.p99` is the service time of a step.
        let (step, part) = match step.strip_suffix(".service") {
            Some(step) => (step.to_owned(), Part::Service),
            None => (step, Part::Response),
        };
        let measure = Measure::Latency(part, *statistic);
        Some(Metric { step: Some(step), measure, name: self.name.clone() })
    }
}

impl MetricUnit {
    /// Its name in saved results.
    pub fn name(self) -> &'static str {
        match self {
            MetricUnit::Milliseconds => "ms",
            MetricUnit::Fraction => "share",
            MetricUnit::PerSecond => "per_s",
            MetricUnit::Count => "count",
            MetricUnit::Number => "number",
            MetricUnit::Bytes => "bytes",
        }
    }
}

impl Measure {
    /// The part of the time and the quantile, if it is one.
    pub(crate) fn quantile(&self) -> Option<(&Part, Quantile)> {
        match self {
            Measure::Latency(part, Statistic::Quantile(quantile)) => Some((part, *quantile)),
            _ => None,
        }
    }

    fn parse(name: &str) -> Option<Measure> {
        if let Some((_, measure)) = MEASURES.iter().find(|(known, _)| *known == name) {
            return Some(measure.clone());
        }
        let quantile = name.parse().ok()?;
        Some(Measure::Latency(Part::Response, Statistic::Quantile(quantile)))
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Metric, MetricError> {
        let is_measure = |word: &str| Measure::parse(word).is_some();
        if let Some(server) = server::parse(text, is_measure) {
            return Ok(Metric { step: None, measure: Measure::Server(server), name: text.into() });
        }
        // Nobody means a step of that name.
        let is_twice = server::is_highest_twice(text);
        let read = Metric::of_requests(text).filter(|_| !is_twice);
        read.ok_or_else(|| MetricError { found: text.into() })
    }
}

impl Metric {
    /// Parses the name of a figure about requests.
    fn of_requests(text: &str) -> Option<Metric> {
        // The measure is the longest suffix that is valid: `p99.9` itself contains a point.
        let starts = std::iter::once(0).chain(text.match_indices('.').map(|(at, _)| at + 1));
        let found = starts.filter_map(|at| Some((at, Measure::parse(&text[at..])?))).next();
        let Some((at, measure)) = found else {
            let counter = text.strip_prefix("count.").filter(|name| !name.is_empty());
            let measure = Measure::Counter(counter?.to_owned());
            return Some(Metric { step: None, measure, name: text.into() });
        };
        let before = text[..at].strip_suffix('.').unwrap_or("");
        let (step, measure) = match (before, measure) {
            ("gateway", Measure::Latency(_, statistic)) => {
                ("", Measure::Latency(Part::Gateway, statistic))
            }
            ("active", Measure::Latency(_, statistic)) => {
                ("", Measure::Latency(Part::Active, statistic))
            }
            ("network", Measure::Latency(_, statistic)) => {
                ("", Measure::Latency(Part::Network, statistic))
            }
            (before, Measure::Latency(_, statistic)) => match before.strip_prefix("executor.") {
                Some(name) if !name.is_empty() => {
                    ("", Measure::Latency(Part::Executor(name.into()), statistic))
                }
                _ => match before.strip_suffix("service") {
                    Some("") => ("", Measure::Latency(Part::Service, statistic)),
                    Some(step) if step.ends_with('.') => {
                        (&step[..step.len() - 1], Measure::Latency(Part::Service, statistic))
                    }
                    _ => (before, Measure::Latency(Part::Response, statistic)),
                },
            },
            (before, _) if before == "service" || before.ends_with(".service") => {
                return None;
            }
            (step, measure) => (step, measure),
        };
        let step = (!step.is_empty()).then(|| step.to_owned());
        Some(Metric { step, measure, name: text.into() })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(percent: f64) -> Statistic {
        Statistic::Quantile(Quantile::from_percent(percent).expect("a quantile"))
    }

    #[track_caller]
    fn reads(text: &str, step: Option<&str>, measure: Measure) {
        let metric: Metric = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((metric.step.as_deref(), &metric.measure), (step, &measure), "{text}");
        assert_eq!(metric.to_string(), text);
    }

    #[test]
    fn metrics_have_a_scope_a_part_and_a_statistic() {
        let p99 = |part| Measure::Latency(part, quantile(99.0));
        reads("p99", None, p99(Part::Response));
        reads("p99.9", None, Measure::Latency(Part::Response, quantile(99.9)));
        reads("service.mean", None, Measure::Latency(Part::Service, Statistic::Mean));
        reads("search.p99", Some("search"), p99(Part::Response));
        reads("a.b.service.p99", Some("a.b"), p99(Part::Service));
        reads("executor.my encoder.p99", None, p99(Part::Executor("my encoder".into())));
        reads("executor.a.b.p99", None, p99(Part::Executor("a.b".into())));
        reads("gateway.max", None, Measure::Latency(Part::Gateway, Statistic::Max));
        reads("network.min", None, Measure::Latency(Part::Network, Statistic::Min));
        reads("search.error_rate", Some("search"), Measure::ErrorRate);
        reads("count.empty", None, Measure::Counter("empty".into()));
        reads("count.of all.kinds", None, Measure::Counter("of all.kinds".into()));
        reads("count.p99", Some("count"), p99(Part::Response));
        let server = |place: &str, figure, highest| {
            Measure::Server(ServerMetric { place: place.into(), figure, highest })
        };
        reads("server.indexer.pending", None, server("indexer", Figure::Pending, false));
        reads("server.a.b/rep-0.cpu.max", None, server("a.b/rep-0", Figure::Cpu, true));
        reads("server.gpu_use", None, server("gpu_use", Figure::Value, false));
        reads("server.p99", Some("server"), p99(Part::Response));
    }

    #[test]
    fn a_step_may_be_named_like_a_part_of_the_time() {
        let step = |text: &str| {
            let metric: Metric = text.parse().unwrap_or_else(|error| panic!("{error}"));
            metric.about_step().map(|metric| (metric.step.unwrap_or_default(), metric.measure))
        };
        let p50 = |part| Measure::Latency(part, quantile(50.0));
        assert_eq!(step("gateway.p50"), Some(("gateway".into(), p50(Part::Response))));
        assert_eq!(step("executor.a.p50"), Some(("executor.a".into(), p50(Part::Response))));
        assert_eq!(step("executor.service.p50"), Some(("executor".into(), p50(Part::Service))));
        let mean = Measure::Latency(Part::Response, Statistic::Mean);
        assert_eq!(step("server.encoder.mean"), Some(("server.encoder".into(), mean)));
        assert_eq!(step("server.encoder.pending"), None);
        assert_eq!(step("search.p50"), None);
        assert_eq!(step("service.p50"), None);
    }

    #[test]
    fn what_is_no_metric_is_told_a_near_one() {
        let error = |text: &str| text.parse::<Metric>().expect_err(text).to_string();
        assert_eq!(error("erorr_rate"), "unknown metric `erorr_rate`, did you mean `error_rate`?");
        for (foreign, ours) in [
            ("avg", "mean"),
            ("p(95)", "p95"),
            ("p(99.9)", "p99.9"),
            ("med", "p50"),
            ("95%", "p95"),
        ] {
            let expected = format!("unknown metric `{foreign}`, use `{ours}`");
            assert_eq!(error(foreign), expected);
            assert!(ours.parse::<Metric>().is_ok());
        }
        assert_eq!(
            error("server.encoder.pendign"),
            "unknown metric `server.encoder.pendign`, did you mean `pending`?"
        );
        assert!(
            error("server.encoder.pending.max.max").contains("expected `server.NAME.` and one of")
        );
        assert!(error("server").contains("server.NAME.pending"));
        for text in ["p0", "service.error_rate", "a.service.requests", "count.", "", "."] {
            assert!(error(text).starts_with("unknown metric"), "{text}");
        }
    }
}
