//! How far the clocks of parts differ, measured against the Flow's gateway: from the routes in responses, each part
//! knows when it began by the gateway's clock. So parts that cannot exchange the time still know how far apart they
//! began.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::record::reason::Reason;
use crate::record::summary::{PartClock, ms};
use crate::record::validity::apart;
use crate::record::{Delta, Exchange};

/// What is known about the clock of a part in a scenario.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// When the measurement began, by the part's own clock.
    shown: Option<Timestamp>,
    /// The same instant by the gateway's clock.
    exchange: Option<Exchange>,
}

impl Clock {
    /// For a part whose load began at this time by its own clock.
    pub(super) fn begun(at: Option<Timestamp>, warmup: Duration) -> Clock {
        Clock { shown: at.and_then(|at| at.checked_add(warmup).ok()), exchange: None }
    }

    /// Takes what a delta says about the part's clock out of it; in the sum of several parts it would mean nothing.
    pub(super) fn learn(&mut self, delta: &mut Delta) {
        let seconds = delta.seconds.iter_mut().map(|(_, tally)| tally);
        for tally in seconds.chain([&mut delta.warmup]) {
            self.exchange = Exchange::best(self.exchange, tally.exchange.take());
        }
    }
}

/// The result for one part's clock.
pub(super) struct Told {
    pub(super) clock: PartClock,
    /// Why its figures differ from those of a part that began with the others.
    pub(super) reason: Option<Reason>,
}

/// Compares the clocks of parts, by part number. Skips parts that the gateway knows nothing about.
pub(super) fn compare(parts: impl Iterator<Item = (u64, Clock)>) -> BTreeMap<u64, Told> {
    let known = known(parts);
    let (Some(first), Some(most)) = (first(&known), middle(&known)) else { return BTreeMap::new() };
    let told = |(number, (clock, exchange)): (u64, (Clock, Exchange))| {
        let shown = clock.shown.map(|shown| shown.as_nanosecond());
        let within = Duration::from_nanos(exchange.within_ns);
        let clock = PartClock {
            ahead_ms: shown.map(|shown| (shown - i128::from(exchange.start_ns)) as f64 / 1e6),
            began_ms: exchange.start_ns.saturating_sub(first) as f64 / 1e6,
            within_ms: ms(within),
        };
        let reason = apart(exchange.start_ns.saturating_sub(most), within);
        (number, Told { clock, reason })
    };
    known.into_iter().map(told).collect()
}

/// How many whole seconds each part began after the first, by part number.
pub(super) fn seconds_later(parts: impl Iterator<Item = (u64, Clock)>) -> BTreeMap<u64, u64> {
    /// A part that began later than this does not belong to the same load.
    const LATER_MAX: u64 = 24 * 3600;
    let known = known(parts);
    let Some(first) = first(&known) else { return BTreeMap::new() };
    let later = |(number, (_, exchange)): (u64, (Clock, Exchange))| {
        let later = (exchange.start_ns.saturating_sub(first) as f64 / 1e9).round() as u64;
        (1..=LATER_MAX).contains(&later).then_some((number, later))
    };
    known.into_iter().filter_map(later).collect()
}

fn known(parts: impl Iterator<Item = (u64, Clock)>) -> BTreeMap<u64, (Clock, Exchange)> {
    parts.filter_map(|(number, clock)| Some((number, (clock, clock.exchange?)))).collect()
}

/// When the first part began.
fn first(known: &BTreeMap<u64, (Clock, Exchange)>) -> Option<i64> {
    known.values().map(|(_, exchange)| exchange.start_ns).min()
}

/// When most parts began: the median, or the first of two.
fn middle(known: &BTreeMap<u64, (Clock, Exchange)>) -> Option<i64> {
    let mut starts: Vec<i64> = known.values().map(|(_, exchange)| exchange.start_ns).collect();
    starts.sort_unstable();
    starts.get(starts.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that began this many ms after another by the gateway's clock, and whose own clock is ahead by
    /// `ahead_ms`.
    fn clock(began_ms: i64, ahead_ms: i64) -> Clock {
        let start_ns = 1_700_000_000_000_000_000 + began_ms * 1_000_000;
        let shown = i128::from(start_ns + ahead_ms * 1_000_000);
        Clock {
            shown: Timestamp::from_nanosecond(shown).ok(),
            exchange: Some(Exchange { start_ns, within_ns: 250_000 }),
        }
    }

    fn compared(clocks: &[Clock]) -> BTreeMap<u64, Told> {
        compare((1..).zip(clocks.iter().copied()))
    }

    #[test]
    fn a_clock_that_is_ahead_of_the_others_is_told_and_so_is_what_came_of_it() {
        // By their own clocks, all were to begin at the same time.
        let told = compared(&[clock(300, 0), clock(0, 300), clock(300, 0), clock(301, -1)]);
        let row = |part: u64| (told[&part].clock.ahead_ms, told[&part].clock.began_ms);
        assert_eq!(row(1), (Some(0.0), 300.0));
        assert_eq!(row(2), (Some(300.0), 0.0));
        assert_eq!(row(4), (Some(-1.0), 301.0));
        let reason = told[&2].reason.as_ref().expect("it began early");
        let words = "it began 300.0 ms before the others by the gateway's clock (limit 100.0 ms; known within 0.2 ms)";
        assert_eq!(reason.text, words);
        assert!([1, 3, 4].iter().all(|part| told[part].reason.is_none()));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let told = compared(&[clock(0, 0), Clock::default()]);
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), [1]);
        assert!(told[&1].reason.is_none());
        assert!(compared(&[]).is_empty());
        // A difference within the uncertainty counts as none.
        let vague = Exchange { within_ns: 400_000_000, ..clock(300, 0).exchange.expect("one") };
        let vague = Clock { exchange: Some(vague), ..clock(300, 0) };
        assert!(compared(&[clock(0, 0), vague])[&2].reason.is_none());
    }

    #[test]
    fn whoever_began_seconds_later_is_laid_that_much_later() {
        let clocks = [clock(0, 0), clock(400, 0), clock(1_800, 0), clock(i64::from(u32::MAX), 0)];
        let later = seconds_later((1..).zip(clocks));
        assert_eq!(later, BTreeMap::from([(3, 2)]));
    }
}
