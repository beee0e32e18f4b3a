//! Metrics that a Flow reported during a load, as stored in `report.json` under `server`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metric::Figure;

/// What the Flow told of itself while it was under load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerSummary {
    /// Where it was read.
    pub sources: Vec<SourceSummary>,
    /// Ends of the stretches of time that `values` are of, in seconds from the start of the measurement: every
    /// second, of longer loads at most 600 stretches.
    pub t_s: Vec<u64>,
    /// Executors and the gateway, each followed by its replicas if it has several; then processes, metrics and
    /// queries.
    pub places: Vec<PlaceSummary>,
    /// Metrics and queries by name that never gave a value; omitted if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Places that were not read, because there were too many: they are in no figure. Omitted if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// Places, most of them replicas, that `places` leaves out because there were too many. Omitted if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unshown: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceSummary {
    /// Its address, `query NAME`, or `processes`.
    pub address: String,
    /// Times it was read.
    pub scrapes: u64,
    /// Times that failed.
    pub failed: u64,
    /// The first failure; null if there was none.
    pub problem: Option<String>,
    /// When that was, from the start of the measurement; below 0 if before it.
    pub problem_at_s: Option<f64>,
    /// Another address that told of the same pods of the same machine; they are counted once. Omitted if there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
}

/// What a place is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// The gateway.
    Gateway,
    /// An Executor, or one of its replicas.
    #[default]
    Executor,
    /// Whatever is behind an address whose metrics name no pod.
    Host,
    /// The processes that a `command` started.
    Processes,
    /// A metric or query by its name.
    Metric,
}

/// A place in the Flow and its figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceSummary {
    /// Its name.
    pub name: String,
    /// The replica, `rep-0` or `shard-1/rep-0`; null for the whole place.
    pub replica: Option<String>,
    /// What it is.
    pub kind: PlaceKind,
    /// Names of the replicas that are counted in it, where pods tell them.
    pub replicas: Vec<String>,
    /// How often its counters began again at zero.
    pub restarts: u64,
    /// When its metrics were there for the last time, if they were missing at the end; null otherwise.
    pub gone_after_s: Option<f64>,
    /// Whether `pending` was not told, but follows from rate and mean by Little's law.
    pub pending_by_littles_law: bool,
    /// By name.
    pub figures: BTreeMap<Figure, FigureSummary>,
}

/// One figure of a place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FigureSummary {
    /// Over the whole load: a rate, a mean, or of `failed` a number.
    pub value: Option<f64>,
    /// The highest of its values over time.
    pub max: Option<f64>,
    /// Over time, for each of `t_s`; omitted for single replicas of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Option<f64>>,
}

/// A figure as thresholds see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) place: String,
    pub(crate) figure: Figure,
    pub(crate) value: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl SourceSummary {
    /// Counts a reading at an instant, and its problem if it has one.
    pub(super) fn note(&mut self, at_s: f64, problem: Option<&str>) {
        self.scrapes += 1;
        let Some(problem) = problem else { return };
        self.failed += 1;
        if self.problem.is_none() {
            self.problem = Some(problem.to_owned());
            self.problem_at_s = Some((at_s * 1e3).round() / 1e3);
        }
    }
}

impl ServerSummary {
    /// All figures of all places.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let of_place = |place: &PlaceSummary| {
            // The only replica of a place has no separate figures.
            let only = match (place.replica.is_none(), place.replicas.as_slice()) {
                (true, [only]) => Some(format!("{}/{only}", place.name)),
                _ => None,
            };
            let names = [place.full_name()].into_iter().chain(only);
            let of_name = |name: String| {
                place.figures.iter().map(move |(figure, told)| Seen {
                    place: name.clone(),
                    figure: *figure,
                    value: told.value,
                    max: told.max,
                })
            };
            names.flat_map(of_name).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(of_place).collect()
    }

    /// Problems with reading the metrics, one sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let of_sources = self.sources.iter().filter_map(|source| {
            let problem = source.problem.as_ref()?;
            let times = match (source.failed, source.scrapes) {
                (failed, all) if failed == all => String::new(),
                (failed, all) => format!(" ({failed} of {all} times)"),
            };
            Some(format!("{} {problem}{times}", source.address))
        });
        let twice = self.sources.iter().filter_map(|source| {
            let other = source.same_as.as_ref()?;
            Some(format!(
                "{} tells of pods that {other} tells of too, on the same machine; they are counted once",
                source.address
            ))
        });
        let of_places = self.places.iter().flat_map(|place| {
            let name = place.full_name();
            let gone = place.gone_after_s;
            let gone = gone.map(|at| format!("{name} has no metrics any more after {at:.0} s"));
            // That of its replicas is told of each.
            let of_each = place.replica.is_none()
                && self.places.iter().any(|one| one.replica.is_some() && one.name == place.name);
            let again = (place.restarts > 0 && !of_each).then(|| {
                let times = match place.restarts {
                    1 => "once".into(),
                    times => format!("{times} times"),
                };
                format!("the counters of {name} began again at zero {times}")
            });
            gone.into_iter().chain(again)
        });
        let missing = self.missing.iter().filter_map(|name| self.why_missing(name));
        let unread = (self.unread > 0).then(|| {
            format!("{} more places are in no figure: there were too many to read", self.unread)
        });
        let unshown = (self.unshown > 0)
            .then(|| format!("{} more places are not shown: there were too many", self.unshown));
        let of_all = missing.chain(unread).chain(unshown);
        of_sources.chain(twice).chain(of_places).chain(of_all).collect()
    }

    /// That a metric or query gave nothing; `None` where it is told already why it could not be read.
    fn why_missing(&self, name: &str) -> Option<String> {
        let query = query_name(name);
        match self.sources.iter().find(|source| source.address == query) {
            Some(source) => source.problem.is_none().then(|| format!("{query} never gave a value")),
            None => {
                let was_read = self.sources.iter().any(|source| source.failed < source.scrapes);
                was_read.then(|| format!("no address has a metric `{name}` with a value"))
            }
        }
    }
}

/// How the source of a query is named.
pub(super) fn query_name(name: &str) -> String {
    format!("query `{name}`")
}

impl PlaceSummary {
    /// Its name in thresholds: `encoder`, `encoder/rep-0`.
    pub(crate) fn full_name(&self) -> String {
        match &self.replica {
            Some(replica) => format!("{}/{replica}", self.name),
            None => self.name.clone(),
        }
    }

    /// A figure over the whole load.
    pub(crate) fn value(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure)?.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_replicas_is_not_told_of_their_executor_again() {
        let place = |replica: Option<&str>, restarts| PlaceSummary {
            name: "enc".into(),
            replica: replica.map(str::to_owned),
            restarts,
            ..PlaceSummary::default()
        };
        let told = |places| ServerSummary { places, ..ServerSummary::default() }.problems();
        let each = vec![place(None, 2), place(Some("rep-0"), 1), place(Some("rep-1"), 1)];
        let expected = ["enc/rep-0", "enc/rep-1"]
            .map(|name| format!("the counters of {name} began again at zero once"));
        assert_eq!(told(each), expected);
        assert_eq!(told(vec![place(None, 2)]), ["the counters of enc began again at zero 2 times"]);
    }

    #[test]
    fn what_never_gave_a_value_is_told_once() {
        let source = |address: &str, problem: Option<&str>| SourceSummary {
            address: address.into(),
            scrapes: 2,
            failed: if problem.is_some() { 2 } else { 0 },
            problem: problem.map(str::to_owned),
            ..SourceSummary::default()
        };
        let summary = ServerSummary {
            sources: vec![
                source("http://a/metrics", None),
                source("query `none`", None),
                source("query `wrong`", Some("is refused: parse error")),
            ],
            missing: vec!["queue".into(), "none".into(), "wrong".into()],
            unread: 5,
            unshown: 9,
            ..ServerSummary::default()
        };
        let expected = [
            "query `wrong` is refused: parse error",
            "no address has a metric `queue` with a value",
            "query `none` never gave a value",
            "5 more places are in no figure: there were too many to read",
            "9 more places are not shown: there were too many",
        ];
        assert_eq!(summary.problems(), expected);
    }
}
