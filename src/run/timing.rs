//! When the requests of a load are due, and the load in words.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::schedule::{Law, Profile, Schedule};
use crate::engine::source::{Budget, Frame, Share, Source};
use crate::plan::{self, Arrivals, Load, Scenario, Stage, Until};
use crate::record::summary::EndReason;
use crate::record::{Recording, Window};

/// Requests in flight where `prefetch: 0` sets no bound: what memory is there for on any machine.
const IN_FLIGHT_MAX: usize = 100_000;

/// When a load's requests are due.
pub(super) struct Timing {
    pub(super) frame: Frame,
    kind: Kind,
    pub(super) max_in_flight: usize,
}

enum Kind {
    Open { warmup: Schedule, steady: Schedule },
    Closed { clients: Vec<Stage<usize>>, think_time: Duration, budget: Budget },
}

impl Timing {
    pub(super) fn new(scenario: &Scenario, start: Instant, seed: u64) -> Timing {
        let frame = |duration| Frame { start, warmup: scenario.warmup, duration };
        match &scenario.load {
            Load::Once => {
                // No limit of its own is the most that one load may have in flight.
                let clients = match scenario.client.prefetch {
                    0 => IN_FLIGHT_MAX,
                    prefetch => prefetch,
                };
                // Without Documents there is one request, and not none.
                let work = &scenario.first_step().work;
                let one = matches!(work, plan::Work::Post(post) if post.documents.is_none())
                    || matches!(work, plan::Work::Mutate { .. });
                let budget = Budget::new(if one { 1 } else { u64::MAX });
                let clients = vec![Stage { from: clients, to: clients, length: None }];
                Timing {
                    frame: frame(None),
                    kind: Kind::Closed { clients, think_time: Duration::ZERO, budget },
                    max_in_flight: usize::MAX,
                }
            }
            Load::Closed { stages, think_time, until } => Timing {
                frame: frame(ends(until, stages.iter().map(|stage| stage.length).sum())),
                kind: Kind::Closed {
                    clients: stages.clone(),
                    think_time: *think_time,
                    budget: Budget::new(until.requests.unwrap_or(u64::MAX)),
                },
                max_in_flight: usize::MAX,
            },
            Load::Open { schedule, until, max_in_flight } => {
                let limit = until.requests.unwrap_or(u64::MAX);
                let (warm, steady, length) = match schedule {
                    plan::Schedule::Stages { stages, arrivals } => {
                        let law = law(*arrivals);
                        let profile = Profile::new(
                            stages.iter().map(|stage| (stage.from, stage.to, stage.length)),
                        );
                        let length = profile.length();
                        // The warmup runs at the rate at which the load begins.
                        let begin = Profile::constant(profile.rate_at(Duration::ZERO), None);
                        let warmup = Schedule::rate(begin, law, !seed);
                        (warmup, Schedule::rate(profile, law, seed), length)
                    }
                    plan::Schedule::Trace { due, .. } => {
                        let trace = Schedule::trace(due, 1.0);
                        (Schedule::trace(&[], 1.0), trace, None)
                    }
                };
                Timing {
                    frame: frame(ends(until, length)),
                    kind: Kind::Open { warmup: warm, steady: steady.limited(limit) },
                    max_in_flight: *max_in_flight,
                }
            }
        }
    }

    pub(super) fn source(&self, share: Share) -> Source {
        match &self.kind {
            Kind::Open { warmup, steady } => Source::open(self.frame, warmup, steady, share),
            Kind::Closed { clients, think_time, budget } => {
                Source::closed(self.frame, clients, *think_time, budget.clone(), share)
            }
        }
    }

    /// The time that rates refer to.
    pub(super) fn window(&self, recording: &Recording, reason: EndReason) -> Window {
        let measured_from = self.frame.measured_from();
        match (reason, self.frame.duration) {
            (EndReason::Time, Some(length)) => Window { length, timed: true },
            _ => {
                let last = recording.last_done.unwrap_or(measured_from);
                let length = last.saturating_duration_since(measured_from);
                Window { length, timed: false }
            }
        }
    }
}

/// When time ends a load: its own length or what it is to end at, whichever comes first.
fn ends(until: &Until, length: Option<Duration>) -> Option<Duration> {
    [until.duration, length].into_iter().flatten().min()
}

fn law(arrivals: Arrivals) -> Law {
    match arrivals {
        Arrivals::Uniform => Law::Uniform,
        Arrivals::Poisson => Law::Poisson,
    }
}
/// A load in words.
pub(super) fn describe(load: &Load) -> String {
    let until = |until: &Until| {
        let mut text = String::new();
        if let Some(duration) = until.duration {
            text.push_str(&format!(" for {duration:?}"));
        }
        if let Some(requests) = until.requests {
            text.push_str(&format!(" up to {requests} requests"));
        }
        text
    };
    match load {
        Load::Once => "all Documents once".into(),
        Load::Closed { stages, until: bound, .. } => {
            let clients = stages.iter().map(|stage| stage.from.max(stage.to)).max().unwrap_or(0);
            let (up_to, plural) =
                (if stages.len() > 1 { "up to " } else { "" }, if clients == 1 { "" } else { "s" });
            format!("{up_to}{clients} client{plural}{}", until(bound))
        }
        Load::Open { schedule, until: bound, .. } => match schedule {
            plan::Schedule::Stages { stages, arrivals } => {
                let law = match arrivals {
                    Arrivals::Uniform => "",
                    Arrivals::Poisson => ", Poisson",
                };
                let highest =
                    stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
                let up_to = if stages.len() > 1 { "up to " } else { "" };
                format!("{up_to}{highest}/s{law}{}", until(bound))
            }
            plan::Schedule::Trace { due, .. } => format!("a trace of {} arrivals", due.len()),
        },
    }
}
