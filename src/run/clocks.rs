//! How the clocks of parts differ, as the Flow's gateway sees it: by routes of responses, each part knows when it began
//! by the gateway's clock. So parts that cannot ask each other for the time know how far apart they began.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::record::reason::Reason;
use crate::record::summary::{PartClock, ms};
use crate::record::validity::apart;
use crate::record::{Delta, Exchange};

/// What is known of the clock of a part in a scenario.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// When what is measured began, as its own clock showed it.
    shown: Option<Timestamp>,
    /// The same by the gateway's.
    exchange: Option<Exchange>,
}

impl Clock {
    /// Of a part whose load began at this time by its own clock.
    pub(super) fn begun(at: Option<Timestamp>, warmup: Duration) -> Clock {
        Clock { shown: at.and_then(|at| at.checked_add(warmup).ok()), exchange: None }
    }

    /// Takes what a delta of the part says of it, which would say nothing in a sum of several.
    pub(super) fn learn(&mut self, delta: &mut Delta) {
        let seconds = delta.seconds.iter_mut().map(|(_, tally)| tally);
        for tally in seconds.chain([&mut delta.warmup]) {
            self.exchange = Exchange::best(self.exchange, tally.exchange.take());
        }
    }
}

/// What is told of a part's clock.
pub(super) struct Told {
    pub(super) clock: PartClock,
    /// Why its figures are not those of a part that began with the others.
    pub(super) reason: Option<Reason>,
}

/// Compares the clocks of parts, by their numbers. Those of whom the gateway knows nothing are left out.
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

/// How many whole seconds after the first part others began, by their numbers.
pub(super) fn seconds_later(parts: impl Iterator<Item = (u64, Clock)>) -> BTreeMap<u64, u64> {
    /// Whoever began so much later was not of the same load.
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

/// When most parts began: of two, it is the first that counts.
fn middle(known: &BTreeMap<u64, (Clock, Exchange)>) -> Option<i64> {
    let mut starts: Vec<i64> = known.values().map(|(_, exchange)| exchange.start_ns).collect();
    starts.sort_unstable();
    starts.get(starts.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that began so many ms after another by the gateway's clock, and shows as much more or less.
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
        // All were to begin at the same time by their own clocks.
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
        // A difference that may be none is none.
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
