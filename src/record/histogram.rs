//! Latency histograms.

use std::borrow::Cow;
use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::serialization::{
    Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::packed::Packed;

/// Latencies with three significant digits from 1 µs to 1 h.
///
/// Values above an hour are counted separately, never clamped. Minimum, maximum and mean are exact,
/// and quantiles stay between minimum and maximum. Merging is addition, so the histogram of a whole
/// is the sum of the histograms of its parts, however it was split.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Counts,
    beyond: u64,
    min: Duration,
    max: Duration,
    /// In ns, over the values within an hour.
    sum_ns: u128,
}

/// Values in µs.
#[derive(Clone, Debug)]
enum Counts {
    None,
    /// As read from a journal: most are only added to others.
    Packed(Packed),
    /// Grows with the largest value, up to 190 KB.
    Dense(hdrhistogram::Histogram<u64>),
}

/// Why a saved histogram cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// Not base64.
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not a compressed HdrHistogram V2.
    #[error("not a compressed HdrHistogram V2: {0}")]
    Hdr(hdrhistogram::serialization::DeserializeError),
    /// Larger than any histogram can be.
    #[error("larger than any HdrHistogram")]
    TooLarge,
}

/// Bound on the size of an uncompressed histogram. An hour in µs with three digits takes 15 · 1024
/// counters of up to nine bytes; other precisions (one to five digits) take up to some hundred
/// times as many.
const BYTES_MAX: u64 = 16 << 20;

/// Cookies of a compressed and of an uncompressed HdrHistogram V2.
const COMPRESSED: [u8; 4] = 0x1c84_9304u32.to_be_bytes();

/// Position of the payload length in an uncompressed histogram.
const LENGTH_AT: std::ops::Range<usize> = 4..8;

/// Decompresses a histogram. The library would allocate whatever size its header claims.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, HistogramError> {
    let mut whole = Vec::new();
    let compressed = bytes.get(8..).unwrap_or_default();
    let read =
        flate2::read::ZlibDecoder::new(compressed).take(BYTES_MAX + 1).read_to_end(&mut whole);
    read.map_err(|error| HistogramError::Hdr(error.into()))?;
    let length = whole.get(LENGTH_AT).and_then(|length| length.try_into().ok());
    let length = length.map_or(0, u32::from_be_bytes);
    if whole.len() as u64 > BYTES_MAX || length as usize > whole.len() {
        return Err(HistogramError::TooLarge);
    }
    Ok(whole)
}

impl Histogram {
    /// Largest value that is recorded; larger ones count as [`Histogram::beyond`].
    pub const MAX: Duration = Duration::from_secs(3600);

    /// An empty histogram.
    pub fn new() -> Histogram {
        Histogram {
            counts: Counts::None,
            beyond: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
            sum_ns: 0,
        }
    }

    fn empty() -> hdrhistogram::Histogram<u64> {
        hdrhistogram::Histogram::new(3).expect("three digits are allowed")
    }

    /// The counts in growable form.
    fn dense_mut(&mut self) -> &mut hdrhistogram::Histogram<u64> {
        if !matches!(self.counts, Counts::Dense(_)) {
            self.counts = Counts::Dense(self.dense().into_owned());
        }
        match &mut self.counts {
            Counts::Dense(counts) => counts,
            Counts::None | Counts::Packed(_) => unreachable!("it was made dense"),
        }
    }

    /// The counts in the library's form.
    fn dense(&self) -> Cow<'_, hdrhistogram::Histogram<u64>> {
        match &self.counts {
            Counts::Dense(counts) => Cow::Borrowed(counts),
            Counts::None => Cow::Owned(Histogram::empty()),
            Counts::Packed(packed) => {
                let mut counts = Histogram::empty();
                packed.buckets().for_each(|(us, count)| add(&mut counts, us, count));
                Cow::Owned(counts)
            }
        }
    }

    /// The lowest value of each bucket in µs, and its count, in ascending order.
    fn recorded(&self) -> impl Iterator<Item = (u64, u64)> {
        let (packed, dense) = match &self.counts {
            Counts::None => (None, None),
            Counts::Packed(packed) => (Some(packed), None),
            Counts::Dense(dense) => (None, Some(dense)),
        };
        let dense = dense.into_iter().flat_map(|counts| counts.iter_recorded()).map(|bucket| {
            (Bucket::of(bucket.value_iterated_to()).lowest, bucket.count_since_last_iteration())
        });
        packed.into_iter().flat_map(Packed::buckets).chain(dense)
    }

    /// Number of values within an hour.
    fn within(&self) -> u64 {
        match &self.counts {
            Counts::None => 0,
            Counts::Packed(packed) => packed.values(),
            Counts::Dense(counts) => counts.len(),
        }
    }

    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value > Histogram::MAX {
            self.beyond += 1;
            return;
        }
        self.sum_ns += value.as_nanos();
        // Round to the nearest µs, so the error is at most half a µs.
        let us = (value.as_nanos() as u64 + 500) / 1000;
        self.dense_mut().record(us).expect("the histogram grows to an hour");
    }

    /// Adds the values of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        if other.count() == 0 {
            return;
        }
        match (&mut self.counts, &other.counts) {
            (_, Counts::None) => (),
            (counts @ Counts::None, other) => *counts = other.clone(),
            (_, Counts::Dense(counts)) => {
                self.dense_mut().add(counts).expect("the histogram grows to an hour");
            }
            (_, Counts::Packed(packed)) => {
                let counts = self.dense_mut();
                packed.buckets().for_each(|(us, count)| add(counts, us, count));
            }
        }
        self.beyond += other.beyond;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum_ns += other.sum_ns;
    }

    /// Number of all values, including those beyond.
    pub fn count(&self) -> u64 {
        self.within() + self.beyond
    }

    /// Number of values above [`Histogram::MAX`].
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Minimum, exact; `None` if empty.
    pub fn min(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.min)
    }

    /// Maximum, exact; `None` if empty.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.max)
    }

    /// Exact mean of the values within an hour; `None` if there are none.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum_ns.checked_div(u128::from(self.within()))?;
        Some(Duration::from_nanos(mean as u64))
    }

    /// Standard deviation of the values within an hour; `None` if there are none.
    pub fn stddev(&self) -> Option<Duration> {
        let counts = self.dense();
        (!counts.is_empty()).then(|| Duration::from_nanos((counts.stdev() * 1000.0).round() as u64))
    }

    /// The smallest value that at least the share `quantile` of all values does not exceed.
    ///
    /// `None` if it is beyond an hour, or if there are no values.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        self.quantile_among(quantile, self.count())
    }

    /// The same among `total` values, where values not recorded here are larger than all recorded
    /// ones. `None` if the rank falls among those.
    pub(crate) fn quantile_among(&self, quantile: f64, total: u64) -> Option<Duration> {
        // Rounding alone may push the product above a whole number.
        let rank = (quantile * total as f64 * (1.0 - 1e-12)).ceil().max(1.0) as u64;
        let mut seen = 0;
        let (us, _) = self.recorded().find(|(_, count)| {
            seen += count;
            seen >= rank
        })?;
        let us = Bucket::of(us).highest();
        Some(Duration::from_micros(us).clamp(self.min, self.max.max(self.min)))
    }

    /// The same among `total` values, where values not recorded here are zero. `None` if the result
    /// is zero or there are no values.
    pub(crate) fn quantile_above_zeros(&self, quantile: f64, total: u64) -> Option<Duration> {
        let count = self.count();
        let zeros = total.saturating_sub(count);
        let share = (quantile * total as f64 - zeros as f64) / count as f64;
        (count > 0 && share > 0.0).then(|| self.quantile(share)).flatten()
    }

    /// Number of values not above `limit`, to the resolution of the histogram.
    pub(crate) fn count_up_to(&self, limit: Duration) -> u64 {
        let us = limit.min(Histogram::MAX).as_micros() as u64;
        self.recorded()
            .take_while(|(lowest, _)| Bucket::of(*lowest).highest() <= us)
            .map(|(_, count)| count)
            .sum()
    }

    /// Values and their counts, in ascending order. A value stands for all values in the same
    /// bucket.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.recorded().map(|(us, count)| (Duration::from_micros(Bucket::of(us).median()), count))
    }

    /// Compressed HdrHistogram V2 in µs, without values beyond an hour.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.dense(), &mut bytes)
            .expect("a vector takes all that is written, and counts fit the format");
        bytes
    }

    /// [`Histogram::to_bytes`] in base64, as HdrHistogram's own tools write it.
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(self.to_bytes())
    }

    /// Reads what [`Histogram::to_bytes`] or another tool wrote. Minimum, maximum and mean have the
    /// resolution of the buckets.
    ///
    /// # Errors
    ///
    /// If the bytes are not such a histogram.
    pub fn from_bytes(bytes: &[u8]) -> Result<Histogram, HistogramError> {
        let whole = if bytes.starts_with(&COMPRESSED) { inflate(bytes)? } else { bytes.to_vec() };
        let mut counts: hdrhistogram::Histogram<u64> =
            HdrDeserializer::new().deserialize(&mut &whole[..]).map_err(HistogramError::Hdr)?;
        // A histogram with our layout is used as it is: reports read tens of thousands of them.
        let ours = (counts.low(), counts.sigfig()) == (1, 3)
            && counts.max() <= Histogram::MAX.as_micros() as u64;
        let mut histogram = Histogram::new();
        for bucket in counts.iter_recorded() {
            let us = counts.median_equivalent(bucket.value_iterated_to());
            let count = bucket.count_since_last_iteration();
            let value = Duration::from_micros(us);
            histogram.min = histogram.min.min(value);
            histogram.max = histogram.max.max(value);
            if !ours && value > Histogram::MAX {
                histogram.beyond += count;
                continue;
            }
            histogram.sum_ns += value.as_nanos() * u128::from(count);
            if !ours {
                add(histogram.dense_mut(), us, count);
            }
        }
        if ours && !counts.is_empty() {
            counts.auto(true);
            histogram.counts = Counts::Dense(counts);
        }
        Ok(histogram)
    }

    /// Reads what [`Histogram::to_base64`] wrote.
    ///
    /// # Errors
    ///
    /// If the text is not base64, or not a histogram.
    pub(crate) fn from_base64(text: &str) -> Result<Histogram, HistogramError> {
        Histogram::from_bytes(&BASE64_STANDARD.decode(text)?)
    }

    /// The buckets that have values.
    pub(super) fn packed(&self) -> Packed {
        match &self.counts {
            Counts::Packed(packed) => packed.clone(),
            _ => Packed::new(self.recorded()),
        }
    }

    /// Reads the output of [`Histogram::packed`]. Minimum, maximum and mean have the resolution of the buckets.
    pub(super) fn from_packed(packed: Packed) -> Histogram {
        let mut histogram = Histogram { counts: Counts::Packed(packed), ..Histogram::new() };
        let (mut ends, mut sum_ns) = (None, 0);
        for (value, count) in histogram.buckets() {
            sum_ns += value.as_nanos() * u128::from(count);
            ends = Some((ends.map_or(value, |(min, _)| min), value));
        }
        if let Some((min, max)) = ends {
            (histogram.min, histogram.max, histogram.sum_ns) = (min, max, sum_ns);
        }
        histogram
    }

    /// Replaces the figures read from buckets by exact ones.
    pub(crate) fn with_exact(mut self, min: Duration, max: Duration, beyond: u64) -> Histogram {
        if self.count() + beyond > 0 {
            (self.min, self.max, self.beyond) = (min, max, beyond);
        }
        self
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

/// Counts values of one bucket.
fn add(counts: &mut hdrhistogram::Histogram<u64>, us: u64, count: u64) {
    counts.record_n(us, count).expect("the histogram grows to an hour");
}

/// The values in µs that share a bucket in a histogram of three digits. The library computes this too, but only for
/// an existing histogram.
struct Bucket {
    lowest: u64,
    width: u64,
}

impl Bucket {
    fn of(us: u64) -> Bucket {
        // Up to 2047, each µs has its own bucket; from there, the width doubles each time the value doubles.
        const DIGITS: u32 = 11;
        let doublings = (u64::BITS - us.leading_zeros()).saturating_sub(DIGITS);
        Bucket { lowest: us >> doublings << doublings, width: 1 << doublings }
    }

    fn median(&self) -> u64 {
        self.lowest + self.width / 2
    }

    fn highest(&self) -> u64 {
        self.lowest + (self.width - 1)
    }
}

/// A complete histogram for the journal: unlike [`Histogram::to_base64`], it loses nothing.
#[derive(Serialize, Deserialize)]
struct Exact {
    /// Omitted if there are no values within the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buckets: Option<Packed>,
    /// The same in older journals: [`Histogram::to_base64`].
    #[serde(default, skip_serializing)]
    counts: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    beyond: u64,
    min_ns: u64,
    max_ns: u64,
    sum_ns: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ns = |duration: Option<Duration>| duration.unwrap_or_default().as_nanos() as u64;
        let exact = Exact {
            buckets: (self.within() > 0).then(|| self.packed()),
            counts: None,
            beyond: self.beyond,
            min_ns: ns(self.min()),
            max_ns: ns(self.max()),
            // 584 years of latency: more than one second of a journal can contain.
            sum_ns: self.sum_ns.try_into().unwrap_or(u64::MAX),
        };
        exact.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Histogram, D::Error> {
        let exact = Exact::deserialize(deserializer)?;
        let histogram = match (exact.buckets, exact.counts) {
            (Some(packed), _) => {
                Histogram { counts: Counts::Packed(packed), ..Histogram::default() }
            }
            (None, Some(counts)) => Histogram::from_base64(&counts).map_err(de::Error::custom)?,
            (None, None) => Histogram::default(),
        };
        let (min, max) = (Duration::from_nanos(exact.min_ns), Duration::from_nanos(exact.max_ns));
        let mut histogram = histogram.with_exact(min, max, exact.beyond);
        histogram.sum_ns = exact.sum_ns.into();
        Ok(histogram)
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Histogram) -> bool {
        (self.beyond, self.sum_ns) == (other.beyond, other.sum_ns)
            && (self.min(), self.max()) == (other.min(), other.max())
            && self.buckets().eq(other.buckets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn of(values: impl IntoIterator<Item = Duration>) -> Histogram {
        let mut histogram = Histogram::new();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram
    }

    #[test]
    fn equal_values_are_reported_as_they_were() {
        let histogram = of([ms(250); 10]);
        assert_eq!(histogram.quantile(0.5), Some(ms(250)));
        assert_eq!(histogram.quantile(1.0), Some(ms(250)));
        assert_eq!((histogram.min(), histogram.max()), (Some(ms(250)), Some(ms(250))));
        assert_eq!(histogram.mean(), Some(ms(250)));
    }

    #[test]
    fn a_quantile_is_the_value_at_its_rank() {
        // Below 2 ms, each µs has its own bucket.
        let histogram = of((1..=100).map(Duration::from_micros));
        assert_eq!(histogram.quantile(0.07), Some(Duration::from_micros(7)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_micros(99)));
        assert_eq!(histogram.quantile(0.991), Some(Duration::from_micros(100)));
    }

    #[test]
    fn beyond_an_hour_is_counted_apart_and_never_clamped() {
        let histogram = of([ms(1), Duration::from_secs(3601)]);
        assert_eq!((histogram.count(), histogram.beyond()), (2, 1));
        assert_eq!(histogram.quantile(0.5), Some(ms(1)));
        assert_eq!(histogram.quantile(0.51), None);
        assert_eq!(histogram.max(), Some(Duration::from_secs(3601)));
    }

    #[test]
    fn failures_rank_behind_every_recorded_value() {
        let histogram = of([ms(5); 99]);
        assert_eq!(histogram.quantile_among(0.99, 100), Some(ms(5)));
        assert_eq!(histogram.quantile_among(0.999, 100), None);
        assert_eq!(Histogram::new().quantile_among(0.5, 3), None);
    }

    #[test]
    fn buckets_are_those_of_the_library() {
        let counts = Histogram::empty();
        let around = (0..32).flat_map(|bit| [0, 1, 2].map(|more| (1u64 << bit) - 1 + more));
        for us in around.chain([2_047, 2_048, 999_999, 3_600_000_000]) {
            let bucket = Bucket::of(us);
            assert_eq!(bucket.lowest, counts.lowest_equivalent(us), "{us}");
            assert_eq!(bucket.median(), counts.median_equivalent(us), "{us}");
            assert_eq!(bucket.highest(), counts.highest_equivalent(us), "{us}");
        }
    }

    #[test]
    fn a_histogram_of_an_older_journal_is_read() {
        let histogram = of([ms(3), ms(4), Duration::from_nanos(2_500_300)]);
        let older = format!(
            r#"{{"counts":"{}","min_ns":2500300,"max_ns":4000000,"sum_ns":9500300}}"#,
            histogram.to_base64()
        );
        assert_eq!(serde_json::from_str::<Histogram>(&older).unwrap(), histogram);
    }

    #[test]
    fn an_empty_histogram_has_no_figures() {
        let histogram = Histogram::new();
        assert_eq!(histogram.count(), 0);
        assert_eq!(histogram.quantile(0.5), None);
        assert_eq!((histogram.min(), histogram.max(), histogram.mean()), (None, None, None));
    }

    #[test]
    fn bytes_of_another_kind_are_an_error() {
        assert!(Histogram::from_base64("not base64!").is_err());
        assert!(Histogram::from_base64("AAAA").is_err());
        assert!(Histogram::from_bytes(&[0x1c, 0x84, 0x93, 0x14, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn merging_any_split_gives_the_histogram_of_the_whole(
            values in proptest::collection::vec((0u64..5_000_000_000_000, 0usize..4), 0..200),
        ) {
            let mut parts = vec![Histogram::new(); 4];
            let mut whole = Histogram::new();
            for &(ns, part) in &values {
                parts[part].record(Duration::from_nanos(ns));
                whole.record(Duration::from_nanos(ns));
            }
            let mut merged = Histogram::new();
            parts.iter().for_each(|part| merged.merge(part));
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(merged.count(), values.len() as u64);
        }

        #[test]
        fn what_a_journal_has_of_it_is_the_same_and_adds_up(
            values in proptest::collection::vec((0u64..5_000_000_000_000, 0usize..3), 0..100),
        ) {
            let (mut parts, mut whole) = (vec![Histogram::new(); 3], Histogram::new());
            for &(ns, part) in &values {
                parts[part].record(Duration::from_nanos(ns));
                whole.record(Duration::from_nanos(ns));
            }
            let mut merged = Histogram::new();
            for part in &parts {
                let text = serde_json::to_string(part).unwrap();
                let again: Histogram = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&again, part);
                prop_assert_eq!(again.stddev(), part.stddev());
                prop_assert_eq!(again.to_bytes(), part.to_bytes());
                prop_assert_eq!(&serde_json::to_string(&again).unwrap(), &text);
                for quantile in [0.1, 0.5, 0.99] {
                    prop_assert_eq!(again.quantile(quantile), part.quantile(quantile));
                }
                merged.merge(&again);
            }
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn saved_and_read_again_the_quantiles_are_the_same(
            values in proptest::collection::vec(0u64..3_600_000_000_000, 1..100),
        ) {
            let histogram = of(values.iter().map(|&ns| Duration::from_nanos(ns)));
            let (min, max) = (histogram.min().unwrap(), histogram.max().unwrap());
            let read = Histogram::from_base64(&histogram.to_base64()).unwrap();
            let read = read.with_exact(min, max, 0);
            for quantile in [0.01, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(read.quantile(quantile), histogram.quantile(quantile));
            }
        }

        #[test]
        fn a_quantile_is_off_by_a_thousandth_at_most(
            mut values in proptest::collection::vec(1_000u64..3_600_000_000_000, 1..300),
            quantile in 0.001f64..1.0,
        ) {
            let histogram = of(values.iter().map(|&ns| Duration::from_nanos(ns)));
            values.sort_unstable();
            let rank = (quantile * values.len() as f64).ceil() as usize;
            let exact = values[rank - 1] as f64 / 1e3;
            let found = histogram.quantile(quantile).unwrap().as_nanos() as f64 / 1e3;
            prop_assert!((found - exact).abs() <= exact * 0.001 + 1.0, "{} for {}", found, exact);
        }
    }
}
