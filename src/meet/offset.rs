//! How far the clock of part 1 is ahead of our own, from the four times of an exchange as in NTP.
//! Both clocks count from the start of their process and are never set, so they differ by a number
//! that hardly changes.

use std::time::Duration;

/// How fast two clocks may drift apart: a second in three hours, more than any quartz clock.
const DRIFT: f64 = 1e-4;

/// The estimate from the best exchange so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offset {
    best: Option<Exchange>,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    /// How far the other clock is ahead, in ns.
    ahead_ns: i128,
    round_trip: Duration,
    /// When the answer arrived, on our own clock.
    at_ns: u64,
}

impl Exchange {
    /// How wrong it may be by now: half of the round trip, and the drift of both clocks since.
    fn uncertainty(&self, now_ns: u64) -> Duration {
        let age = Duration::from_nanos(now_ns.saturating_sub(self.at_ns));
        self.round_trip / 2 + age.mul_f64(DRIFT)
    }
}

impl Offset {
    /// Adds an exchange: `sent` and `now` are on our own clock, `received` and `answered` on the
    /// other one.
    pub(super) fn learn(&mut self, sent: u64, received: u64, answered: u64, now: u64) {
        let there = i128::from(received) - i128::from(sent);
        let back = i128::from(answered) - i128::from(now);
        let round_trip = now.saturating_sub(sent).saturating_sub(answered.saturating_sub(received));
        let new = Exchange {
            ahead_ns: (there + back) / 2,
            round_trip: Duration::from_nanos(round_trip),
            at_ns: now,
        };
        let better = |known: &Exchange| new.uncertainty(now) <= known.uncertainty(now);
        if self.best.as_ref().is_none_or(better) {
            self.best = Some(new);
        }
    }

    /// The round trip of the exchange that is used.
    pub(super) fn round_trip(&self) -> Duration {
        self.best.map_or(Duration::ZERO, |best| best.round_trip)
    }

    /// What our own clock shows when the other one shows `theirs`.
    pub(super) fn own_ns(&self, theirs: u64) -> u64 {
        let ahead = self.best.map_or(0, |best| best.ahead_ns);
        u64::try_from(i128::from(theirs) - ahead).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the delays, the fastest exchange is wrong by no more than half of its round
        /// trip.
        #[test]
        fn the_other_clock_is_known_to_half_of_the_fastest_exchange(
            ahead in -1_000_000_000i64..1_000_000_000,
            ways in proptest::collection::vec((1u64..5_000_000, 1u64..5_000_000), 1..20),
        ) {
            let mut offset = Offset::default();
            let mut now = 2_000_000_000u64;
            let theirs = |own: u64| own.checked_add_signed(ahead).expect("it is far from zero");
            for (there, back) in &ways {
                let (received, answered) = (now + there, now + there + 10_000);
                offset.learn(now, theirs(received), theirs(answered), answered + back);
                now = answered + back + 1_000_000;
            }
            let fastest = ways.iter().map(|(there, back)| there + back).min().expect("there is one");
            let wrong = offset.own_ns(theirs(now)).abs_diff(now);
            // Exchanges a few ms later are as good as the fastest, except for the drift in between.
            prop_assert!(wrong <= fastest / 2 + 50_000, "{wrong} of {fastest}");
            prop_assert!(offset.round_trip() >= Duration::from_nanos(fastest));
        }
    }

    #[test]
    fn an_exchange_of_long_ago_gives_way_to_a_slower_one_of_now() {
        let mut offset = Offset::default();
        offset.learn(0, 1_000, 1_000, 2_000);
        // A minute later, when clocks may be 6 ms apart: with a round trip of 8 ms.
        let minute = 60_000_000_000;
        offset.learn(minute, minute + 4_000_000, minute + 4_000_000, minute + 8_000_000);
        assert_eq!(offset.round_trip(), Duration::from_millis(8));
        // With 20 ms, it would not have been better.
        offset.learn(minute, minute + 10_000_000, minute + 10_000_000, minute + 20_000_000);
        assert_eq!(offset.round_trip(), Duration::from_millis(8));
    }
}
