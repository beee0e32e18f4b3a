//! Which resource of a Flow ran out first, according to the Flow's own metrics during the trials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::Kind;
use super::trials::{ServerFigure, TrialOutcome, TrialSummary};
use crate::metric::Figure;
use crate::record::summary::Environment;
use crate::server::{PlaceKind, ServerSummary};

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// One processor, used up by a single process or thread.
    Processor,
    /// All processors of the machine.
    Processors,
    /// The memory of the machine.
    Memory,
    /// A queue in which requests waited.
    Queue,
}

/// The limiting resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// Where.
    pub place: String,
    /// What.
    pub resource: Resource,
    /// The lowest load at which it was exhausted.
    pub level: f64,
    /// How much of it was in use: processors, bytes, or requests that were pending.
    pub value: f64,
    /// How much there was: processors, bytes; of a queue, what was pending at the highest load that passed.
    pub of: f64,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
}

/// Used share above which a resource counts as exhausted.
const USED_UP: f64 = 0.9;

/// Above this many processors in use, a place is not limited to one.
const ONE: f64 = 1.15;

/// By which factor more requests must wait somewhere to be reported.
const LONGER: f64 = 2.0;

/// The relevant figures of a Flow's metrics.
pub(crate) fn figures(server: &ServerSummary) -> Vec<ServerFigure> {
    const TOLD: [Figure; 6] =
        [Figure::Rate, Figure::Mean, Figure::Pending, Figure::Cpu, Figure::Busiest, Figure::Memory];
    let places = server.places.iter().filter(|place| place.kind != PlaceKind::Metric);
    let of_place = |place: &crate::server::PlaceSummary| {
        let name = place.full_name();
        let figure = |figure: &Figure| {
            let value = place.value(*figure)?;
            Some(ServerFigure { place: name.clone(), figure: *figure, value })
        };
        TOLD.iter().filter_map(figure).collect::<Vec<_>>()
    };
    places.flat_map(of_place).collect()
}

/// The resource that ran out at the lowest load; `None` if none did, or there are no metrics.
pub(crate) fn first(trials: &[TrialSummary], environment: &Environment) -> Option<Limit> {
    let told = |trial: &&TrialSummary| {
        trial.kind != Kind::CoolDown
            && trial.outcome != TrialOutcome::Invalid
            && !trial.server.is_empty()
    };
    let mut loads: Vec<&TrialSummary> = trials.iter().filter(told).collect();
    loads.sort_by(|a, b| a.level.total_cmp(&b.level));
    let used_up = loads.iter().find_map(|trial| used_up(trial, environment));
    used_up.or_else(|| waited(&loads))
}

/// The resource that a trial used up.
fn used_up(trial: &TrialSummary, environment: &Environment) -> Option<Limit> {
    let cores = environment.cpu_quota.unwrap_or(environment.cores as f64);
    let memory = environment.memory_bytes.unwrap_or(u64::MAX) as f64;
    let whole = |name: &str| {
        let replica = |other: &ServerFigure| {
            other.place.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
        };
        trial.server.iter().any(replica)
    };
    let limits = trial.server.iter().filter_map(|told| {
        let is_ours = told.place == "processes";
        let (resource, of, rank) = match told.figure {
            // Each of several replicas has its own processor.
            Figure::Cpu if !is_ours && told.value <= ONE && !whole(&told.place) => {
                (Resource::Processor, 1.0, 0)
            }
            Figure::Busiest => (Resource::Processor, 1.0, 1),
            Figure::Cpu if is_ours => (Resource::Processors, cores, 2),
            Figure::Memory if is_ours => (Resource::Memory, memory, 3),
            _ => return None,
        };
        (told.value >= USED_UP * of).then_some((rank, told, resource, of))
    });
    let (_, told, resource, of) = limits.min_by_key(|(rank, ..)| *rank)?;
    let (place, value) = (told.place.clone(), told.value);
    Some(Limit { place, resource, level: trial.level, value, of, words: String::new() })
}

/// Where requests began to wait: between the highest load that passed and the lowest above it that failed.
fn waited(loads: &[&TrialSummary]) -> Option<Limit> {
    let passed = loads.iter().rfind(|trial| trial.outcome == TrialOutcome::Passed)?;
    let failed = loads
        .iter()
        .find(|trial| trial.level > passed.level && trial.outcome == TrialOutcome::Failed)?;
    // Requests that wait in an Executor also wait in the gateway.
    let pending = |trial: &&TrialSummary, place: &str| {
        let of = |told: &&ServerFigure| told.figure == Figure::Pending && told.place == place;
        trial.server.iter().find(of).map(|told| told.value)
    };
    let places = failed.server.iter().filter(|told| {
        told.figure == Figure::Pending
            && !told.place.starts_with("gateway")
            && !told.place.contains('/')
    });
    let grown = places.filter_map(|told| {
        let before = pending(passed, &told.place)?;
        let longer = told.value >= LONGER * before && told.value >= before + 1.0;
        longer.then_some((told, before))
    });
    let (told, before) = grown.max_by(|(a, x), (b, y)| (a.value - x).total_cmp(&(b.value - y)))?;
    Some(Limit {
        place: told.place.clone(),
        resource: Resource::Queue,
        level: failed.level,
        value: told.value,
        of: before,
        words: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::analysis::tests::trial;
    use crate::capacity::trials::Unit;
    use crate::capacity::words::limit as limit_words;

    fn at(level: f64, outcome: TrialOutcome, told: &[(&str, Figure, f64)]) -> TrialSummary {
        let figure = |(place, figure, value): &(&str, Figure, f64)| ServerFigure {
            place: (*place).into(),
            figure: *figure,
            value: *value,
        };
        let server = told.iter().map(figure).collect();
        TrialSummary { outcome, server, ..trial(level) }
    }

    #[test]
    fn what_is_used_up_at_the_lowest_load_ran_out_first() {
        use Figure::{Busiest, Cpu, Pending};
        use TrialOutcome::{Failed, Passed};
        let environment = Environment { cores: 4, ..Environment::default() };
        let say = |trials: &[TrialSummary]| {
            first(trials, &environment).map(|limit| limit_words(&limit, Unit::Rate))
        };
        let low =
            at(50.0, Passed, &[("a", Cpu, 0.5), ("b", Pending, 0.3), ("gateway", Pending, 1.0)]);
        assert_eq!(say(std::slice::from_ref(&low)), None);
        let high =
            at(100.0, Failed, &[("a", Cpu, 0.6), ("b", Pending, 30.0), ("gateway", Pending, 90.0)]);
        let queue = "limiting resource: the queue of `b`; 30 requests waited there at 100/s, and \
                     0.3 at the load that passed";
        assert_eq!(say(&[high.clone(), low.clone()]).as_deref(), Some(queue));
        let higher =
            at(200.0, Failed, &[("a/rep-0", Cpu, 0.97), ("a", Cpu, 1.9), ("processes", Cpu, 3.9)]);
        let processor =
            "limiting resource: the processor of `a/rep-0`; it used 0.97 of one at 200/s";
        assert_eq!(say(&[low.clone(), higher]).as_deref(), Some(processor));
        let machine = at(80.0, Passed, &[("processes", Cpu, 3.8), ("processes", Busiest, 0.5)]);
        let all = "limiting resource: the processors; the Flow used 3.8 of 4 at 80/s";
        assert_eq!(say(&[low, high, machine]).as_deref(), Some(all));
        assert_eq!(say(&[trial(50.0)]), None);
    }
}
