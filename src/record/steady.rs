//! Time to steady state: the second from which on latencies match those of the second half.

use std::time::Duration;

use super::{Histogram, Recording};

/// Consecutive seconds that must match: a single one may match by chance.
const ALIKE: usize = 3;

/// A run with fewer measured seconds is too short to be split in halves.
const SECONDS_MIN: usize = 6;

/// Allowed deviation of a second's median: a share of the second half's median, plus a fixed part
/// for very short times, which the machine itself makes vary.
const OFF_SHARE: f64 = 0.1;
const OFF: Duration = Duration::from_micros(100);

impl Recording {
    /// From the start of the load, warmup included, to the first of three seconds whose median
    /// response times match those of the second half of the measurement. `None` if there are none,
    /// or the run is too short.
    pub(crate) fn time_to_steady(&self, warmup: Duration) -> Option<Duration> {
        let measured: Vec<Histogram> =
            self.timeline().iter().map(|second| second.response.histogram()).collect();
        if measured.len() < SECONDS_MIN {
            return None;
        }
        let mut half = Histogram::new();
        measured[measured.len() / 2..].iter().for_each(|second| half.merge(second));
        let typical = half.quantile(0.5)?;
        let allowed = typical.mul_f64(OFF_SHARE) + OFF;

        let median = |histogram: &Histogram| histogram.quantile(0.5);
        // Seconds of the warmup are counted backwards from its end; its first may be incomplete.
        let before = self.warmup_seconds.iter().rev();
        let before = before.map(|(back, second)| {
            let begin = warmup.saturating_sub(Duration::from_secs(*back));
            (begin, median(&second.histogram()))
        });
        let after = measured.iter().zip(0..);
        let after =
            after.map(|(second, index)| (warmup + Duration::from_secs(index), median(second)));
        let seconds: Vec<(Duration, Option<Duration>)> = before.chain(after).collect();
        let is_typical = |(_, median): &(Duration, Option<Duration>)| {
            median.is_some_and(|median| median.abs_diff(typical) <= allowed)
        };
        let settled = seconds.windows(ALIKE).find(|window| window.iter().all(is_typical))?;
        settled.first().map(|(begin, _)| *begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::recorder::Delta;
    use crate::record::tally::Tally;

    /// Medians in ms of the seconds of the warmup and of the measurement.
    fn steady_s(warmup: &[u64], measured: &[u64]) -> Option<f64> {
        let mut recording = Recording::default();
        for (index, ms) in warmup.iter().enumerate() {
            let mut second = Histogram::new();
            second.record(Duration::from_millis(*ms));
            let back = (warmup.len() - index) as u64;
            recording.add(Delta { warmup_seconds: vec![(back, second)], ..Delta::default() });
        }
        for (second, ms) in measured.iter().enumerate() {
            let mut tally = Tally::default();
            tally.response[0].record(Duration::from_millis(*ms));
            recording.add(Delta { seconds: vec![(second as u64, tally)], ..Delta::default() });
        }
        let warmup = Duration::from_secs(warmup.len() as u64);
        recording.time_to_steady(warmup).map(|time| time.as_secs_f64())
    }

    #[test]
    fn a_run_is_steady_when_it_is_as_in_its_second_half() {
        assert_eq!(steady_s(&[], &[10; 10]), Some(0.0));
        assert_eq!(steady_s(&[], &[90, 40, 20, 10, 10, 10, 10, 10, 10, 10]), Some(3.0));
        // A single second that happens to match is not enough.
        assert_eq!(steady_s(&[], &[90, 10, 20, 10, 10, 10, 10, 10, 10, 10]), Some(3.0));
    }

    #[test]
    fn the_warmup_counts_and_may_be_enough() {
        assert_eq!(steady_s(&[50, 30, 10, 10], &[10; 8]), Some(2.0));
        assert_eq!(steady_s(&[50, 30], &[20, 10, 10, 10, 10, 10, 10]), Some(3.0));
    }

    #[test]
    fn what_never_settles_or_is_too_short_has_no_time() {
        assert_eq!(steady_s(&[], &[10, 20, 40, 80, 160, 320, 640, 1280]), None);
        assert_eq!(steady_s(&[], &[10; 5]), None);
    }
}
