//! Which numbers of a load are divided among its parts, and how.

use super::forecast::peak;
use super::{Connections, Load, Origin, Plan, Scenario};
use crate::scenario::LoadedSuite;
use crate::source::{Problem, Problems, Spot};

/// How a number of a scenario is divided among the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// The setting: `clients`, `connections`, `max_in_flight`, `prefetch`, `requests`.
    pub of: &'static str,
    /// The whole.
    pub total: u64,
    /// The share of each part, rounded down.
    pub share: u64,
    /// How many parts, counted from the first, get one more.
    pub more: u64,
}

impl Plan {
    /// Checks that the load of each scenario that `runs` selects can be sent in this many parts.
    ///
    /// # Errors
    /// What cannot be divided, at its place in the file.
    pub(crate) fn check_parts(
        &self,
        suite: &LoadedSuite,
        parts: u64,
        runs: impl Fn(&str) -> bool,
    ) -> Result<(), Problems> {
        if parts == 1 {
            return Ok(());
        }
        let mut problems = Vec::new();
        // Scenarios of a plan are those of the suite, in the same order.
        let all = suite.scenarios.iter().zip(&self.scenarios);
        for (unit, scenario) in all.filter(|(_, scenario)| runs(&scenario.name)) {
            let at = Spot::of(&unit.node);
            refuse_flow(at, &self.flows[scenario.flow].origin, &mut problems);
            refuse_order(at, scenario, &mut problems);
            for division in scenario.divided(parts) {
                // A part that gets none of the requests has nothing to do, which is fine.
                if division.total < parts && division.of != "requests" {
                    let message = format!(
                        "`{}: {}` cannot be divided into {parts} parts",
                        division.of, division.total,
                    );
                    let places =
                        [at.key(division.of), at.key("load").key(division.of), at.key("load")];
                    let place = places.into_iter().find(|place| place.node().is_some());
                    place.unwrap_or(at).problem(&mut problems, message, |problem| {
                        problem.help(format!("each part needs at least one: {parts}"))
                    });
                }
            }
        }
        Problems::new(&suite.sources, problems).map_or(Ok(()), Err)
    }
}

/// Each part is a separate process, and would start its own Flow.
fn refuse_flow(at: Spot<'_>, origin: &Origin, problems: &mut Vec<Problem>) {
    let (what, instead) = match origin {
        Origin::Remote(_) => return,
        Origin::Embedded(_) => {
            ("an embedded Flow", "start it once by `flowbench serve`, and give its address instead")
        }
        Origin::Command { .. } => {
            ("a Flow that a `command` starts", "start it once before, and leave `command` out")
        }
    };
    let message = format!("{what} cannot be the target of a part: each part would start its own");
    at.key("flow").problem(problems, message, |problem| problem.help(instead));
}

fn refuse_order(at: Spot<'_>, scenario: &Scenario, problems: &mut Vec<Problem>) {
    if scenario.load == Load::Once && scenario.client.results_in_order {
        let message = "`results_in_order` cannot be divided into parts: a part does not know the \
                       responses of the others";
        at.key("results_in_order")
            .problem(problems, message, |problem| problem.help("leave it out"));
    }
}

impl Scenario {
    /// The numbers that are divided among the parts. Rates need not be divided: parts take arrivals in turns.
    pub fn divided(&self, parts: u64) -> Vec<Division> {
        let (mut numbers, prefetch) = (Vec::new(), self.client.prefetch as u64);
        match &self.load {
            // 0 means no limit.
            Load::Once if prefetch == 0 => (),
            Load::Once => numbers.push(("prefetch", prefetch)),
            Load::Closed { until, .. } => {
                numbers.push(("clients", peak(&self.load) as u64));
                numbers.extend(until.requests.map(|requests| ("requests", requests)));
            }
            Load::Open { until, max_in_flight, .. } => {
                numbers.extend(until.requests.map(|requests| ("requests", requests)));
                numbers.push(("max_in_flight", *max_in_flight as u64));
            }
        }
        if let Connections::Exactly(connections) = self.client.connections {
            numbers.push(("connections", connections as u64));
        }
        let divide = |(of, total): (&'static str, u64)| Division {
            of,
            total,
            share: total / parts.max(1),
            more: total % parts.max(1),
        };
        numbers.into_iter().map(divide).collect()
    }
}
