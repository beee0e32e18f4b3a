//! When a load began by the clock of the Flow's gateway. A response with routes says when the gateway received its
//! request and answered it, so each is an exchange as in NTP.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Assumed maximum drift between two clocks, more than that of any quartz: one second in three hours.
const DRIFT: f64 = 1e-4;

/// The start of measurement, as estimated from one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// By the gateway's clock, in ns since 1970.
    pub(crate) start_ns: i64,
    /// Maximum error: half the round trip, plus the clock drift in between.
    pub(crate) within_ns: u64,
}

/// When a request was written and answered, by our own clock, in ns from the start of measurement.
pub(crate) struct Sent {
    pub(crate) written_ns: i64,
    pub(crate) done_ns: i64,
}

impl Exchange {
    /// From a request that was in the gateway from `entered` to `left`, by the gateway's clock; `None` if that is
    /// impossible.
    pub(crate) fn new(sent: &Sent, entered: SystemTime, left: SystemTime) -> Option<Exchange> {
        let there = left.duration_since(entered).ok().and_then(ns)?;
        let way = sent.done_ns.checked_sub(sent.written_ns)?.checked_sub(there)?;
        // Twice the midpoint on both sides, so that nothing is rounded.
        let ours = i128::from(sent.written_ns) + i128::from(sent.done_ns);
        let entered = entered.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(ns)?;
        let theirs = 2 * i128::from(entered) + i128::from(there);
        let drift = Duration::from_nanos(ours.unsigned_abs() as u64 / 2).mul_f64(DRIFT);
        Some(Exchange {
            start_ns: i64::try_from((theirs - ours) / 2).ok()?,
            within_ns: u64::try_from(way).ok()? / 2 + drift.as_nanos() as u64,
        })
    }

    /// The more certain of the two.
    pub(crate) fn best(one: Option<Exchange>, other: Option<Exchange>) -> Option<Exchange> {
        [one, other].into_iter().flatten().min_by_key(|exchange| exchange.within_ns)
    }
}

fn ns(duration: Duration) -> Option<i64> {
    i64::try_from(duration.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Far enough in the past, and representable as `SystemTime`.
    const START_NS: i64 = 1_700_000_000_000_000_000;

    fn at(ns: i64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(ns as u64)
    }

    proptest! {
        #[test]
        fn the_start_is_known_to_half_of_the_fastest_exchange(
            ways in proptest::collection::vec((0i64..5_000_000, 0i64..5_000_000, 0i64..1_000_000_000), 1..20),
        ) {
            let mut best = None;
            for (there, back, written_ns) in &ways {
                let entered = written_ns + there;
                let left = entered + 700_000;
                let sent = Sent { written_ns: *written_ns, done_ns: left + back };
                let exchange = Exchange::new(&sent, at(START_NS + entered), at(START_NS + left));
                best = Exchange::best(best, exchange);
            }
            let best = best.expect("there is one");
            let wrong = best.start_ns.abs_diff(START_NS);
            prop_assert!(wrong <= best.within_ns + 1, "{wrong} of {}", best.within_ns);
            let fastest = ways.iter().map(|(there, back, _)| there + back).min().expect("there is one");
            // At most a second has passed, in which clocks drift 100 µs.
            prop_assert!(best.within_ns <= fastest as u64 / 2 + 101_000);
        }
    }

    #[test]
    fn what_cannot_be_is_no_exchange() {
        let sent = Sent { written_ns: 0, done_ns: 1_000_000 };
        let exchange = |from: i64, to: i64| Exchange::new(&sent, at(from), at(to));
        assert!(exchange(START_NS, START_NS + 900_000).is_some());
        assert!(exchange(START_NS, START_NS + 1_100_000).is_none(), "longer than all of it");
        assert!(exchange(START_NS + 1, START_NS).is_none(), "it left before it came");
    }
}
