//! Latency breakdown: where typical requests and the slowest ones spend their time, which may
//! differ.
//!
//! Times per hop are added up by classes of response time, narrow enough (a factor of 1.09) to
//! separate the requests around the median from those beyond the 99th percentile afterwards. So any
//! two breakdowns merge by addition, and a million requests take as much memory as a few hundred.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cut;

use super::summary::{BreakdownSummary, StopKind};

/// Times per hop, by classes of response time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Breakdown {
    /// Names of the Executors, in order of first appearance.
    executors: Vec<String>,
    classes: BTreeMap<u16, Class>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Class {
    requests: u64,
    /// In µs: send delay, network, gateway, then the Executors.
    spent: Vec<u64>,
}

/// A hop that is not an Executor, and its index among the times of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Send delay: due, but not sent yet.
    Lag,
    /// Network, and time in the client.
    Network,
    /// Gateway overhead: in the gateway, but in no Executor.
    Gateway,
}

/// Number of hops before the Executors.
const FIXED: usize = 3;

/// Maximum number of Executors. A Flow has a handful, but a gateway that invents names could go on
/// forever.
pub(crate) const EXECUTORS_MAX: usize = 64;

/// Range of ranks that counts as typical.
const TYPICAL: (f64, f64) = (0.4, 0.6);

/// Range of ranks that counts as the tail.
const TAIL: (f64, f64) = (0.99, 1.0);

impl Breakdown {
    /// Adds one request.
    pub(crate) fn record<'a>(
        &mut self,
        response: Duration,
        stops: [(Stop, Duration); FIXED],
        executors: impl Iterator<Item = (&'a str, Duration)>,
    ) {
        let names = &mut self.executors;
        let class = self.classes.entry(class_of(response)).or_default();
        class.requests += 1;
        for (stop, time) in stops {
            class.add(stop as usize, time.as_micros() as u64);
        }
        for (name, time) in executors {
            if let Some(place) = place(names, name) {
                class.add(place, time.as_micros() as u64);
            }
        }
    }

    /// Adds the requests of another breakdown.
    pub(crate) fn merge(&mut self, other: &Breakdown) {
        let places: Vec<Option<usize>> = (0..FIXED)
            .map(Some)
            .chain(other.executors.iter().map(|name| place(&mut self.executors, name)))
            .collect();
        for (index, theirs) in &other.classes {
            let class = self.classes.entry(*index).or_default();
            class.requests += theirs.requests;
            for (spent, place) in theirs.spent.iter().zip(&places) {
                if let Some(place) = place {
                    class.add(*place, *spent);
                }
            }
        }
    }

    /// Mean times of typical requests and of the slowest 1 %, hop by hop in the order of a
    /// request's path; `None` without requests.
    pub(crate) fn summary(&self) -> Option<Vec<BreakdownSummary>> {
        let (typical, tail) = (self.means(TYPICAL)?, self.means(TAIL)?);
        let sum = |times: &[f64]| times.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let (typical_sum, tail_sum) = (sum(&typical), sum(&tail));
        let fixed = [
            (StopKind::Lag, "send delay"),
            (StopKind::Network, "network and client"),
            (StopKind::Gateway, "gateway overhead"),
        ];
        let fixed = fixed.into_iter().map(|(kind, name)| (kind, name.to_owned()));
        let executors = self.executors.iter().map(|name| (StopKind::Executor, name.clone()));
        let stops = fixed.chain(executors).zip(typical.iter().zip(&tail));
        let summary = |((kind, name), (typical, tail)): ((StopKind, String), (&f64, &f64))| {
            BreakdownSummary {
                kind,
                name,
                typical_ms: typical / 1e3,
                typical_share: typical / typical_sum,
                tail_ms: tail / 1e3,
                tail_share: tail / tail_sum,
            }
        };
        Some(stops.map(summary).collect())
    }

    /// Mean times in µs of the requests between two ranks, given as shares of all requests.
    fn means(&self, (from, to): (f64, f64)) -> Option<Vec<f64>> {
        let all = self.classes.values().map(|class| class.requests).sum::<u64>() as f64;
        // With few requests, at least the slowest one.
        let (from, to) = (from * all, (to * all).max(from * all + 1.0));
        let (from, to) = (from.min(all - 1.0).max(0.0), to.min(all));
        let mut sums = vec![0.0; FIXED + self.executors.len()];
        let (mut before, mut weight) = (0.0, 0.0);
        for class in self.classes.values() {
            let requests = class.requests as f64;
            let within = (before + requests).min(to) - f64::max(before, from);
            before += requests;
            if within <= 0.0 || requests == 0.0 {
                continue;
            }
            weight += within;
            for (sum, spent) in sums.iter_mut().zip(&class.spent) {
                *sum += *spent as f64 * within / requests;
            }
        }
        (weight > 0.0).then(|| sums.into_iter().map(|sum| sum / weight).collect())
    }
}

impl Class {
    fn add(&mut self, place: usize, us: u64) {
        if self.spent.len() <= place {
            self.spent.resize(place + 1, 0);
        }
        self.spent[place] = self.spent[place].saturating_add(us);
    }
}

/// Index of an Executor's times, created if it is new; `None` if there are too many.
fn place(names: &mut Vec<String>, name: &str) -> Option<usize> {
    let name = &*cut(name);
    let known = names.iter().position(|known| known == name);
    let place = known.or_else(|| {
        (names.len() < EXECUTORS_MAX).then(|| {
            names.push(name.into());
            names.len() - 1
        })
    })?;
    Some(FIXED + place)
}

/// Eight classes for each doubling.
fn class_of(response: Duration) -> u16 {
    let us = response.as_micros().max(1) as f64;
    (us.log2() * 8.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Requests, every hundredth of which is delayed in `indexer`.
    fn breakdown(requests: u64) -> Breakdown {
        let mut breakdown = Breakdown::default();
        for n in 0..requests {
            let indexer = if n % 100 == 99 { ms(200) } else { ms(2) };
            let stops = [(Stop::Lag, ms(0)), (Stop::Network, ms(1)), (Stop::Gateway, ms(1))];
            let executors = [("encoder", ms(6)), ("indexer", indexer)];
            breakdown.record(ms(8) + indexer, stops, executors.into_iter());
        }
        breakdown
    }

    #[test]
    fn the_tail_is_told_from_the_typical() {
        let summary = breakdown(1000).summary().unwrap();
        let shown: Vec<_> = summary
            .iter()
            .map(|stop| (stop.name.as_str(), stop.typical_ms.round(), stop.tail_ms.round()))
            .collect();
        assert_eq!(
            shown,
            [
                ("send delay", 0.0, 0.0),
                ("network and client", 1.0, 1.0),
                ("gateway overhead", 1.0, 1.0),
                ("encoder", 6.0, 6.0),
                ("indexer", 2.0, 200.0),
            ]
        );
        assert!((summary.iter().map(|stop| stop.tail_share).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn merging_is_addition_whatever_order_names_come_in() {
        let mut other = Breakdown::default();
        let stops = [(Stop::Lag, ms(0)), (Stop::Network, ms(1)), (Stop::Gateway, ms(1))];
        other.record(ms(10), stops, [("indexer", ms(2)), ("encoder", ms(6))].into_iter());
        let (mut whole, mut swapped) = (breakdown(50), other.clone());
        whole.merge(&other);
        swapped.merge(&breakdown(50));
        let stop = |breakdown: &Breakdown, name: &str| {
            let summary = breakdown.summary().unwrap();
            summary.into_iter().find(|stop| stop.name == name).unwrap()
        };
        for name in ["encoder", "indexer"] {
            assert_eq!(stop(&whole, name), stop(&swapped, name));
        }
    }

    #[test]
    fn one_request_is_both_and_none_is_nothing() {
        assert_eq!(Breakdown::default().summary(), None);
        let summary = breakdown(1).summary().unwrap();
        assert!(summary.iter().all(|stop| stop.typical_ms == stop.tail_ms));
    }

    #[test]
    fn names_without_end_take_bounded_room() {
        let mut breakdown = Breakdown::default();
        let stops = [(Stop::Lag, ms(0)), (Stop::Network, ms(1)), (Stop::Gateway, ms(1))];
        for n in 0..1000 {
            let name = format!("executor-{n}");
            breakdown.record(ms(3), stops, std::iter::once((name.as_str(), ms(1))));
        }
        assert_eq!(breakdown.summary().unwrap().len(), FIXED + EXECUTORS_MAX);
    }
}
