//! Checks that the steps, Executors and counters named by metrics exist.

use super::{Action, Origin, Plan, Step, Work};
use crate::flow::FlowConfig;
use crate::metric::{Figure, Measure, Metric, Part};

/// A metric names something that its scenario does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct UnknownName {
    /// The kind of name.
    pub kind: NamedKind,
    /// The name.
    pub name: String,
    /// The names that exist.
    pub known: Vec<String>,
}

/// What a metric can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// A step of the scenario.
    Step,
    /// An Executor of the Flow.
    Executor,
    /// A counter of `count` actions.
    Counter,
    /// A metric that does not apply to plain HTTP requests.
    Metric,
    /// Server metrics of a Flow for which none are collected.
    Server,
    /// A server metric or query, by its name.
    ServerMetric,
}

impl UnknownName {
    fn text(&self) -> String {
        let name = &self.name;
        match self.kind {
            NamedKind::Step => format!("no step is named `{name}`"),
            NamedKind::Executor => format!("the Flow has no Executor `{name}`"),
            NamedKind::Counter => format!("no callback counts `{name}`"),
            NamedKind::Metric => format!("plain HTTP requests have no `{name}`"),
            NamedKind::Server => {
                format!(
                    "there is no `{name}`, because the flow has no `metrics`, `prometheus` or `command`"
                )
            }
            NamedKind::ServerMetric => {
                format!("neither `also` of `metrics` nor `queries` of `prometheus` has `{name}`")
            }
        }
    }
}

/// The names of the Executors if the Flow is embedded; for other Flows we cannot know them.
fn executors(origin: &Origin) -> Option<Vec<String>> {
    match origin {
        Origin::Embedded(config) => Some(of_embedded(config)),
        Origin::Remote(_) | Origin::Command { .. } => None,
    }
}

/// The names of the Executors of an embedded Flow.
pub(super) fn of_embedded(config: &FlowConfig) -> Vec<String> {
    config.executors.iter().map(|executor| executor.name.clone()).collect()
}

impl Plan {
    /// Checks that a scenario has what a metric names.
    ///
    /// # Errors
    /// The name that does not exist.
    pub fn check_names(&self, scenario: usize, metric: &Metric) -> Result<(), UnknownName> {
        let scenario = &self.scenarios[scenario];
        let flow = &self.flows[scenario.flow];
        let is_started = matches!(flow.origin, Origin::Command { .. });
        let watched = (is_started || !flow.watch.is_empty())
            .then(|| flow.watch.named().map(str::to_owned).collect::<Vec<_>>());
        let executors = executors(&flow.origin);
        check(metric, &scenario.steps, executors.as_deref(), watched.as_deref())
    }
}

/// Checks that a scenario with these steps has what a metric names. `executors`: the names of its Flow's
/// Executors, if known. `watched`: the names of the server metrics that are collected, if any are.
///
/// # Errors
/// The name that does not exist.
pub(super) fn check(
    metric: &Metric,
    steps: &[Step],
    executors: Option<&[String]>,
    watched: Option<&[String]>,
) -> Result<(), UnknownName> {
    let unknown = |kind, name: &str, known: Vec<String>| {
        Err(UnknownName { kind, name: name.to_owned(), known })
    };
    let is_step = |name: &str| steps.iter().any(|step| step.name == name);
    if metric.about_step().and_then(|metric| metric.step).is_some_and(|step| is_step(&step)) {
        return Ok(());
    }
    if let Some(step) = metric.step.as_deref().filter(|step| !is_step(step)) {
        let named = steps.iter().map(|step| step.name.clone()).filter(|name| !name.is_empty());
        return unknown(NamedKind::Step, step, named.collect());
    }
    let plain = |step: &Step| matches!(step.work, Work::Http(_));
    let of_flows = match &metric.measure {
        Measure::Latency(part, _) => !matches!(part, Part::Response | Part::Service | Part::Active),
        Measure::DocumentsPerSecond | Measure::DocumentsMissing => true,
        _ => false,
    };
    if of_flows && !steps.is_empty() && steps.iter().all(plain) {
        return unknown(NamedKind::Metric, &metric.to_string(), Vec::new());
    }
    match &metric.measure {
        Measure::Latency(Part::Executor(name), _) => match executors {
            Some(known) if !known.contains(name) => {
                unknown(NamedKind::Executor, name, known.to_vec())
            }
            _ => Ok(()),
        },
        Measure::Server(server) => match watched {
            None => unknown(NamedKind::Server, &metric.to_string(), Vec::new()),
            Some(named) if server.figure == Figure::Value && !named.contains(&server.place) => {
                unknown(NamedKind::ServerMetric, &server.place, named.to_vec())
            }
            Some(_) => Ok(()),
        },
        Measure::Counter(name) => {
            let actions = steps.iter().flat_map(|step| step.callbacks.actions());
            let counters: Vec<String> = actions
                .filter_map(|action| match action {
                    Action::Count(name) => Some(name.clone()),
                    _ => None,
                })
                .collect();
            match counters.contains(name) {
                true => Ok(()),
                false => unknown(NamedKind::Counter, name, counters),
            }
        }
        _ => Ok(()),
    }
}
