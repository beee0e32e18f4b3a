//! Times in exponential buckets, as in OpenTelemetry's histograms and Prometheus' native ones.
//!
//! The buckets of our own histograms are at most a thousandth wide, and each goes as a whole into the bucket
//! that contains its middle. So counts and sums stay exact, and a percentile is as exact as an exponential
//! bucket is wide.

use crate::record::Histogram;

/// Times counted in buckets whose bounds are integer powers of `2^(2^-scale)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exponential {
    /// The number of buckets per factor of two is `2^scale`.
    pub(super) scale: i32,
    /// The index of the first bucket. Bucket `i` has times above `2^(i / 2^scale)` seconds and up to `2^((i +
    /// 1) / 2^scale)`.
    pub(super) first: i32,
    /// The count of each bucket, from the first.
    pub(super) counts: Vec<u64>,
    /// The count of times shorter than [`ZERO_S`].
    pub(super) zeros: u64,
}

/// The finest scale: bounds are 2.2 % apart.
const SCALE: i32 = 5;

/// The most buckets. The scale is coarser if times differ by more than a factor of 1,000: at scale three, they
/// cover a microsecond to an hour.
const BUCKETS_MAX: usize = 320;

/// Shorter times count as zero, in seconds: half the resolution of our own histograms.
pub(super) const ZERO_S: f64 = 0.5e-6;

impl Exponential {
    pub(super) fn new(times: &Histogram) -> Exponential {
        let mut found = Exponential { scale: SCALE, ..Exponential::default() };
        let mut buckets: Vec<(i32, u64)> = Vec::new();
        for (time, count) in times.buckets() {
            if time.is_zero() {
                found.zeros += count;
                continue;
            }
            let index = index(time.as_secs_f64(), SCALE);
            match buckets.last_mut() {
                Some((last, so_far)) if *last == index => *so_far += count,
                _ => buckets.push((index, count)),
            }
        }
        let (Some(&(first, _)), Some(&(last, _))) = (buckets.first(), buckets.last()) else {
            return found;
        };
        let coarser = (0..).find(|by| ((last >> by) - (first >> by)) < BUCKETS_MAX as i32);
        let coarser = coarser.unwrap_or_default();
        found.scale -= coarser;
        found.first = first >> coarser;
        found.counts = vec![0; ((last >> coarser) - found.first + 1) as usize];
        for (index, count) in buckets {
            found.counts[((index >> coarser) - found.first) as usize] += count;
        }
        found
    }
}

/// The bucket that contains a time, which must be above zero.
fn index(seconds: f64, scale: i32) -> i32 {
    (seconds.log2() * f64::from(scale).exp2()).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn of(us: &[u64]) -> (Histogram, Exponential) {
        let mut times = Histogram::new();
        us.iter().for_each(|us| times.record(Duration::from_micros(*us)));
        let exponential = Exponential::new(&times);
        (times, exponential)
    }

    /// The bounds of the bucket that contains the value of this rank, from 1.
    fn bounds(of: &Exponential, rank: u64) -> (f64, f64) {
        if rank <= of.zeros {
            return (0.0, ZERO_S);
        }
        let mut seen = of.zeros;
        let at = of.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let index = f64::from(of.first) + at.expect("all are counted") as f64;
        let bound = |index: f64| (index / f64::from(of.scale).exp2()).exp2();
        (bound(index), bound(index + 1.0))
    }

    #[test]
    fn a_bucket_ends_with_its_upper_bound() {
        // 1 s is 2^0, the upper bound of the bucket below index 0.
        assert_eq!([0.5, 0.999, 1.0, 1.001].map(|seconds| index(seconds, SCALE)), [-33, -1, -1, 0]);
        let (_, spread) = of(&[0, 1, 3_600_000_000]);
        assert_eq!((spread.scale, spread.zeros), (3, 1));
        assert!(spread.counts.len() <= BUCKETS_MAX);
        assert_eq!(of(&[]).1, Exponential { scale: SCALE, ..Exponential::default() });
    }

    proptest! {
        #[test]
        fn none_is_lost_and_each_is_where_it_belongs(
            us in proptest::collection::vec(prop_oneof![0u64..5000, 0u64..3_600_000_000], 1..200),
        ) {
            let (times, exponential) = of(&us);
            let counted = exponential.zeros + exponential.counts.iter().sum::<u64>();
            prop_assert_eq!(counted, times.count());
            prop_assert!(exponential.counts.len() <= BUCKETS_MAX && exponential.scale >= 3);
            let mut sorted = us.clone();
            sorted.sort_unstable();
            for (rank, us) in (1..).zip(sorted) {
                let (low, high) = bounds(&exponential, rank);
                let seconds = us as f64 / 1e6;
                prop_assert!(seconds >= low * 0.999 && seconds <= high * 1.001, "{low} {seconds} {high}");
            }
        }
    }
}
