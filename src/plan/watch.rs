//! What is collected from a Flow under load, from `metrics` and `prometheus` in the file.

use std::path::Path;

use super::tls;
use crate::client::TlsOptions;
use crate::scenario::{self, Metrics, Tls};
use crate::server::{Address, Prometheus, Watch};
use crate::source::{Problem, Spot};
use crate::wire::Map;

/// The most addresses, names and queries of one Flow, each counted separately.
const EACH_MAX: usize = 64;

/// Reads and checks the metric settings of a flow.
pub(super) fn read(
    given: &scenario::Flow,
    at: Spot<'_>,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Watch {
    let mut watch = Watch::default();
    if let Some(Tls::Options(options)) = &given.tls {
        watch.tls = tls::options(options, base);
    }
    let (spot, from, also) = match &given.metrics {
        None => (at.key("metrics"), &[][..], &[][..]),
        Some(Metrics::From(from)) => (at.key("metrics"), &from[..], &[][..]),
        Some(Metrics::Map(map)) => {
            let also = map.also.as_deref().unwrap_or_default();
            (at.key("metrics").key("from"), &map.from[..], also)
        }
    };
    for (index, text) in from.iter().enumerate() {
        let Some(address) = address(text, spot.index(index), problems) else { continue };
        if let Some(same) = watch.addresses.iter().position(|known| known.is_same(&address)) {
            let shown = watch.addresses[same].to_string();
            let message = match shown == address.to_string() {
                true => format!("`{shown}` is there twice, so it would count twice"),
                false => {
                    format!("`{address}` is the same address as `{shown}`, so it would count twice")
                }
            };
            spot.index(index).problem(problems, message, |problem| problem);
        }
        watch.addresses.push(address);
    }
    for (index, name) in also.iter().enumerate() {
        let at = at.key("metrics").key("also").index(index);
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if name.is_empty()
            || !name.chars().all(in_name)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            let message =
                format!("expected the name of a metric such as `queue_length`, found `{name}`");
            at.problem(problems, message, |problem| {
                problem.help(
                    "values of all labels are added up; for others use `prometheus` and a query",
                )
            });
        }
        watch.also.push(name.clone());
    }
    if let Some(prometheus) = &given.prometheus {
        let spot = at.key("prometheus");
        let queries = spot.key("queries");
        for (name, query) in &prometheus.queries {
            let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(in_name) {
                let message = format!(
                    "expected a query name of letters, digits, `_` and `-`, found `{name}`"
                );
                queries.name(name).problem(problems, message, |problem| problem);
            }
            if query.trim().is_empty() {
                queries.key(name).problem(problems, "a query cannot be empty", |problem| problem);
            }
        }
        if prometheus.queries.is_empty() {
            queries.problem(problems, "`queries` needs a query", |problem| {
                problem.help("for example `queries: {gpu: avg(gpu_utilization)}`")
            });
        }
        watch.prometheus =
            address(&prometheus.url, spot.key("url"), problems).map(|url| Prometheus {
                url,
                queries: prometheus.queries.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            });
    }
    for (key, count) in
        [("metrics", from.len().max(also.len())), ("prometheus", watch.named().count())]
    {
        if count > EACH_MAX {
            let message = format!("at most {EACH_MAX} are read per flow, found {count}");
            at.key(key).problem(problems, message, |problem| problem);
        }
    }
    watch
}

fn address(text: &str, at: Spot<'_>, problems: &mut Vec<Problem>) -> Option<Address> {
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            let error: crate::server::AddressError = error;
            at.problem(problems, error.to_string(), |problem| problem);
            None
        }
    }
}

/// The settings as in a suite.
pub(super) fn show(watch: &Watch) -> Map {
    let mut map = Map::new();
    let Watch { addresses, also, prometheus, tls: TlsOptions { .. } } = watch;
    if !addresses.is_empty() {
        let from: Vec<String> = addresses.iter().map(Address::to_string).collect();
        map.insert("metrics".into(), serde_json::json!({"from": from, "also": also}));
    }
    if let Some(Prometheus { url, queries }) = prometheus {
        let queries: Map = queries.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        let shown = serde_json::json!({"url": url.to_string(), "queries": queries});
        map.insert("prometheus".into(), shown);
    }
    map
}
