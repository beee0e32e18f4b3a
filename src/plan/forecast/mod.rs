//! Predicts what a plan will do: how many requests, how large, how many at a time, and which percentiles the
//! samples can certify. Also finds what cannot work.

mod refuse;

use std::time::Duration;

pub use refuse::{check, check_connections};

use crate::client::FamilyChoice;
use crate::metric::{Measure, Part, Statistic};
use crate::plan::{Connections, Flow, Load, Origin, Plan, Post, Scenario, Step, Work};
use crate::scenario::condition::{Comparison, Condition};
use crate::schedule::Schedule;
use crate::stats::samples_needed;
use crate::units::Quantile;
use crate::wire::{DataRequest, Family, Form, Header, Map, Protocol};

/// Requests that are built to estimate their size.
const SAMPLED: u64 = 4;

/// Bytes of encoded requests that are queued in advance, for each step.
const QUEUED_BYTES: u64 = 64 << 20;

/// What a scenario is expected to do.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The scenario's name.
    pub name: String,
    /// Clients or arrivals per second over time, in equal parts of [`Forecast::duration`]; empty where
    /// there is no schedule.
    pub levels: Vec<f64>,
    /// The highest level.
    pub peak: f64,
    /// What the levels count.
    pub(crate) unit: LevelUnit,
    /// How long the load takes, if known.
    pub duration: Option<Duration>,
    /// Requests of all steps.
    pub requests: Amount,
    /// Documents in all requests.
    pub documents: Amount,
    /// The mean size of one request, in bytes; `None` if it cannot be encoded before an earlier step has
    /// returned.
    pub request_bytes: Option<f64>,
    /// The latency limit that the thresholds set: the condition, and its limit.
    pub objective: Option<(Condition, Duration)>,
    /// Requests in flight at the highest level when every request takes as long as the objective
    /// allows, by Little's law.
    pub in_flight: Option<f64>,
    /// No more than these are ever in flight.
    pub in_flight_max: u64,
    /// Connections to the Flow, estimated from the requests in flight if every request takes as long as the
    /// objective allows, or else one second.
    pub connections: u64,
    /// The rate that a limited number of connections can carry if every request takes as long as the objective
    /// allows: over HTTP, where each request occupies a connection.
    pub carried_per_s: Option<f64>,
    /// Memory for requests that are queued or in flight, in bytes, estimated in the same way.
    pub memory_bytes: u64,
    /// The percentiles that this many samples can certify at 99 % confidence, and the first that they cannot,
    /// with the number of samples it needs.
    pub certified: Vec<Quantile>,
    /// See `certified`.
    pub uncertified: Option<(Quantile, u64)>,
}

/// What a level counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LevelUnit {
    /// Concurrent requests of a load without a schedule.
    InFlight,
    /// Clients that each wait for their response.
    Clients,
    /// Arrivals per second.
    PerSecond,
}

/// A number that may not be known yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Exactly this many.
    Exactly(u64),
    /// About this many if every request takes as long as the objective allows; more if it is faster.
    About(u64),
    /// It depends on the Flow.
    Unknown,
}

/// The limits of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files and connections that the process may have open.
    pub files: u64,
    /// Free memory, in bytes.
    pub memory_bytes: u64,
    /// Processors: the number of threads that can run at once.
    pub cores: usize,
}

/// The percentiles that reports have.
const PERCENTILES: [f64; 6] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// The number of equal parts into which the levels of a schedule are divided.
const LEVELS: usize = 40;

impl Plan {
    /// What each scenario is expected to do on a machine with this many processors.
    pub fn forecast(&self, cores: usize) -> Vec<Forecast> {
        self.scenarios.iter().map(|scenario| self.foresee(scenario, cores)).collect()
    }

    fn foresee(&self, scenario: &Scenario, cores: usize) -> Forecast {
        let objective = objective(scenario);
        let latency = objective.as_ref().map(|(_, limit)| *limit);
        let steps = scenario.steps.len() as u64;
        let by_documents = scenario.steps.iter().filter_map(iterations).min();
        let (duration, iterations) = extent(&scenario.load, by_documents, latency);
        let levels = levels(&scenario.load, duration);
        let peak = peak(&scenario.load);
        let in_flight = latency.and_then(|latency| match &scenario.load {
            Load::Open { .. } => Some(peak * latency.as_secs_f64()),
            _ => None,
        });
        let in_flight_max = match &scenario.load {
            Load::Once if scenario.client.prefetch == 0 => u64::MAX,
            Load::Once => scenario.client.prefetch as u64,
            Load::Closed { .. } => peak as u64,
            Load::Open { max_in_flight, .. } => *max_in_flight as u64,
        };
        // Without an objective, assume that a response takes a second.
        let foreseen = match &scenario.load {
            Load::Open { .. } => in_flight_max.min(in_flight.unwrap_or(peak).ceil() as u64),
            _ => in_flight_max,
        };
        // No more can be in flight than there are in total.
        let foreseen = match iterations {
            Amount::Exactly(count) => foreseen.min(count),
            Amount::About(_) | Amount::Unknown => foreseen,
        };
        let opened = scenario.workers(cores, self.part).connections as u64;
        let (each, bound) = (scenario.has_a_connection_each(), scenario.client.connections);
        let connections = match bound {
            Connections::AsNeeded if each => foreseen.max(opened),
            Connections::AsNeeded | Connections::Exactly(_) => opened,
        };
        let carried_per_s = match (bound, latency) {
            (Connections::Exactly(_), Some(latency)) if each => {
                Some(opened as f64 / latency.as_secs_f64())
            }
            _ => None,
        };
        let request_bytes = self.request_bytes(scenario);
        let bytes = request_bytes.unwrap_or(0.0);
        let memory_bytes = (steps * QUEUED_BYTES)
            .saturating_add((foreseen.min(1 << 40) as f64 * bytes * 2.0) as u64);
        let samples = match (iterations, &scenario.load) {
            (Amount::Exactly(count), _) => Some(count),
            // Whatever the random gaps, at least this many arrive almost always.
            (Amount::About(count), Load::Open { schedule, .. }) => {
                Some(count.saturating_sub(spread(count, schedule)))
            }
            (Amount::About(_) | Amount::Unknown, _) => None,
        };
        let needed = |quantile: Quantile| samples_needed(quantile.get());
        let quantiles: Vec<Quantile> =
            PERCENTILES.iter().filter_map(|percent| Quantile::from_percent(*percent)).collect();
        let certified = quantiles
            .iter()
            .copied()
            .filter(|quantile| samples.is_some_and(|n| n >= needed(*quantile)))
            .collect();
        let uncertified = quantiles
            .iter()
            .copied()
            .find(|quantile| samples.is_some_and(|n| n < needed(*quantile)))
            .map(|quantile| (quantile, needed(quantile)));
        Forecast {
            name: scenario.name.clone(),
            levels,
            peak,
            unit: match &scenario.load {
                Load::Once => LevelUnit::InFlight,
                Load::Closed { .. } => LevelUnit::Clients,
                Load::Open { .. } => LevelUnit::PerSecond,
            },
            duration,
            requests: iterations.times(steps),
            documents: documents(scenario, iterations),
            request_bytes,
            objective,
            in_flight,
            in_flight_max,
            connections,
            carried_per_s,
            memory_bytes,
            certified,
            uncertified,
        }
    }

    /// The mean size of the first requests of every step.
    fn request_bytes(&self, scenario: &Scenario) -> Option<f64> {
        let family = family(&self.flows[scenario.flow]);
        let form = match scenario.protocol {
            Protocol::Http => Form::Json(family),
            Protocol::Grpc | Protocol::WebSocket => Form::Protobuf(family),
        };
        let sizes: Vec<f64> = scenario
            .steps
            .iter()
            .map(|step| match &step.work {
                Work::Post(post) => post_bytes(post, form),
                Work::Mutate { mutation, variables } => {
                    let variables = variables.evaluate(0, &Map::new()).ok()?;
                    let body = serde_json::json!({"query": mutation, "variables": variables});
                    Some(body.to_string().len() as f64)
                }
                Work::Http(http) => {
                    let request = http.request(0, &Map::new()).ok()?;
                    Some(request.content().map_or(0, |body| body.len()) as f64)
                }
            })
            .collect::<Option<_>>()?;
        Some(sizes.iter().sum::<f64>() / sizes.len().max(1) as f64)
    }
}

impl Amount {
    fn times(self, factor: u64) -> Amount {
        match self {
            Amount::Exactly(count) => Amount::Exactly(count.saturating_mul(factor)),
            Amount::About(count) => Amount::About(count.saturating_mul(factor)),
            Amount::Unknown => Amount::Unknown,
        }
    }

    /// The smaller of the two, if `end` is set.
    fn up_to(self, end: Option<u64>) -> Amount {
        match (self, end) {
            (Amount::Exactly(count), Some(end)) => Amount::Exactly(count.min(end)),
            (Amount::About(count), Some(end)) if end < count => Amount::Exactly(end),
            (Amount::Unknown, Some(end)) => Amount::Exactly(end),
            (amount, _) => amount,
        }
    }
}

/// The largest deviation of a count of random arrivals from its mean, in all but 3 of 1 000 loads: three
/// standard deviations of a process with such gaps.
fn spread(count: u64, schedule: &Schedule) -> u64 {
    let burstiness = match schedule {
        Schedule::Rate { process, .. } => process.burstiness(),
        Schedule::Trace { .. } => 0.0,
    };
    (3.0 * burstiness * (count as f64).sqrt()).ceil() as u64
}

/// The latency limit of the thresholds: on the mean, or else on the lowest quantile.
fn objective(scenario: &Scenario) -> Option<(Condition, Duration)> {
    let rank = |condition: &Condition| match &condition.metric.measure {
        Measure::Latency(Part::Response | Part::Service, statistic) => match statistic {
            Statistic::Mean => Some(0.0),
            Statistic::Quantile(quantile) => Some(quantile.get()),
            Statistic::Max => Some(1.0),
            Statistic::Min => None,
        },
        _ => None,
    };
    let upper = |condition: &Condition| {
        condition.metric.step.is_none()
            && matches!(condition.comparison, Comparison::Less | Comparison::AtMost)
    };
    scenario
        .thresholds
        .iter()
        .map(|threshold| &threshold.that)
        .filter(|condition| upper(condition))
        .filter_map(|condition| rank(condition).map(|rank| (rank, condition)))
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, condition)| {
            (condition.clone(), Duration::from_secs_f64(condition.limit / 1000.0))
        })
}

/// How many iterations the Documents of a step last for; `None` means no end.
fn iterations(step: &Step) -> Option<u64> {
    match &step.work {
        Work::Post(post) => {
            Some(post.documents.as_ref()?.count()?.div_ceil(post.request_size as u64))
        }
        Work::Mutate { .. } | Work::Http(_) => None,
    }
}

/// How long a load takes and how many iterations it has.
fn extent(
    load: &Load,
    by_documents: Option<u64>,
    latency: Option<Duration>,
) -> (Option<Duration>, Amount) {
    match load {
        Load::Once => (None, Amount::Exactly(by_documents.unwrap_or(1))),
        Load::Closed { clients, think_time, until } => {
            let duration = load.length();
            // The pauses between steps are part of the iteration's latency.
            let pause = think_time.mean();
            let rate = latency.map(|latency| 1.0 / (latency + pause).as_secs_f64().max(1e-6));
            let about = match (duration, rate) {
                (Some(duration), Some(rate)) => {
                    Amount::About((clients.area_until(duration) * rate) as u64)
                }
                _ => Amount::Unknown,
            };
            (duration, about.up_to(until.requests).up_to(by_documents))
        }
        Load::Open { schedule: Schedule::Rate { profile, process }, until, .. } => {
            let duration = load.length();
            let area = duration.map(|duration| profile.area_until(duration).round() as u64);
            let amount = match area {
                Some(count) if process.is_exact() => Amount::Exactly(count),
                Some(count) => Amount::About(count),
                None => Amount::Unknown,
            };
            let amount = amount.up_to(until.requests).up_to(by_documents);
            // A constant rate also determines when this many requests have been sent.
            let duration = duration.or(match (profile.as_constant(), amount) {
                (Some(rate), Amount::Exactly(count)) if rate > 0.0 => {
                    Duration::try_from_secs_f64(count as f64 / rate).ok()
                }
                _ => None,
            });
            (duration, amount)
        }
        Load::Open { schedule: Schedule::Trace { due, .. }, until, .. } => {
            let within = |at: &&Duration| until.duration.is_none_or(|duration| **at < duration);
            let count = due.iter().take_while(within).count() as u64;
            let amount = Amount::Exactly(count).up_to(until.requests).up_to(by_documents);
            ([until.duration, due.last().copied()].into_iter().flatten().min(), amount)
        }
    }
}

fn levels(load: &Load, duration: Option<Duration>) -> Vec<f64> {
    let Some(duration) = duration.filter(|duration| !duration.is_zero()) else { return Vec::new() };
    let part = duration.as_secs_f64() / LEVELS as f64;
    let middles = (0..LEVELS).map(|n| (n as f64 + 0.5) * part);
    match load {
        Load::Once => Vec::new(),
        Load::Closed { clients: profile, .. }
        | Load::Open { schedule: Schedule::Rate { profile, .. }, .. } => {
            middles.map(|at| profile.level_at(at)).collect()
        }
        Load::Open { schedule: Schedule::Trace { due, .. }, .. } => {
            let mut counts = vec![0.0; LEVELS];
            for at in due.iter() {
                let index = (at.as_secs_f64() / part) as usize;
                counts[index.min(LEVELS - 1)] += 1.0 / part;
            }
            counts
        }
    }
}

/// The highest level of a load.
pub(super) fn peak(load: &Load) -> f64 {
    match load {
        Load::Once => 1.0,
        Load::Closed { clients: profile, .. }
        | Load::Open { schedule: Schedule::Rate { profile, .. }, .. } => profile.peak(),
        Load::Open { schedule: Schedule::Trace { due, .. }, .. } => {
            // The most arrivals within any second.
            let mut first = 0;
            let mut most = 0;
            for (last, at) in due.iter().enumerate() {
                while *at - due[first] >= Duration::from_secs(1) {
                    first += 1;
                }
                most = most.max(last - first + 1);
            }
            most as f64
        }
    }
}

/// The Documents of this many iterations.
fn documents(scenario: &Scenario, iterations: Amount) -> Amount {
    let per_step = |step: &Step, count: u64| match &step.work {
        Work::Post(Post { documents: Some(documents), request_size, .. }) => {
            let asked = count.saturating_mul(*request_size as u64);
            documents.count().map_or(asked, |there| asked.min(there))
        }
        _ => 0,
    };
    let all = |count: u64| {
        let runs = scenario.runs();
        let of_run = |(steps, share): (&[Step], f64)| -> u64 {
            let count = (count as f64 * share).round() as u64;
            steps.iter().map(|step| per_step(step, count)).sum()
        };
        runs.map(of_run).sum()
    };
    match iterations {
        Amount::Exactly(count) if !scenario.choices.is_empty() => Amount::About(all(count)),
        Amount::Exactly(count) => Amount::Exactly(all(count)),
        Amount::About(count) => Amount::About(all(count)),
        Amount::Unknown => Amount::Unknown,
    }
}

fn family(flow: &Flow) -> Family {
    match &flow.origin {
        Origin::Embedded(config) => config.family.into(),
        Origin::Remote(clients) | Origin::Command { clients, .. } => {
            match clients.first().map(|client| client.family) {
                Some(FamilyChoice::Is(family)) => family,
                // Only the Flow knows; sizes in the two families are nearly the same.
                _ => Family::V1,
            }
        }
    }
}

fn post_bytes(post: &Post, form: Form) -> Option<f64> {
    let all = post.documents.as_ref().and_then(|documents| documents.count());
    let requests = all.map_or(SAMPLED, |all| all.div_ceil(post.request_size as u64).min(SAMPLED));
    let mut sum = 0;
    for request in 0..requests.max(1) {
        let data = match &post.documents {
            None => None,
            Some(documents) => {
                let first = request * post.request_size as u64;
                let end = first + post.request_size as u64;
                let end = all.map_or(end, |all| end.min(all));
                Some(
                    (first..end)
                        .map(|i| documents.get(i, None).ok())
                        .collect::<Option<Vec<_>>>()?,
                )
            }
        };
        let header = Header {
            exec_endpoint: Some(post.on.clone()),
            target_executor: Some(post.target_executor.clone()).filter(|name| !name.is_empty()),
            ..Header::default()
        };
        let parameters = post.parameters.evaluate(request, &Map::new()).ok()?;
        let message = DataRequest { header, parameters, routes: Vec::new(), data };
        sum += form.encode_request(&message).ok()?.len();
    }
    Some(sum as f64 / requests.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_a_trace_is_its_busiest_second() {
        let due = [0.0, 0.1, 0.2, 1.15, 5.0].map(Duration::from_secs_f64);
        let schedule = Schedule::Trace { due: due.into(), path: "t".into(), speed: 1.0 };
        let load = Load::Open { schedule, until: super::super::Until::default(), max_in_flight: 1 };
        assert_eq!(peak(&load), 3.0);
    }
}
