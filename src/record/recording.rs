//! Merges the tallies of the workers: totals, a timeline, and the last seconds for live views.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rayon::prelude::*;
use tokio::time::Instant;

use super::Histogram;
use super::packed::Packed;
use super::recorder::Delta;
use super::sample::{Sampled, Samples};
use super::summary::Throughput;
use super::tally::{InFlight, Tally};
use crate::engine::event::Outcome;

/// Everything measured of one scenario, so far or in total.
///
/// Memory grows with the number of seconds, not of requests: a past second is kept as counts and
/// compressed histograms of a few hundred bytes.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Everything that was measured.
    pub totals: Tally,
    /// The requests of the warmup.
    pub(crate) warmup: Tally,
    /// Response time of its ok requests by second, counted backwards from the end of the warmup.
    pub(super) warmup_seconds: BTreeMap<u64, Compact>,
    /// The very first answered request, in warmup or load: when it ended, and its response time.
    pub first_request: Option<(Instant, Duration)>,
    /// When the last measured request ended.
    pub last_done: Option<Instant>,
    /// When the load was ended early.
    pub stopped: Option<Instant>,
    /// A sample of the measured requests, and how many it was taken from.
    pub(super) sample: (Vec<Sampled>, u64),
    /// A smaller sample, built from what was reported as it came.
    noted: Samples,
    timeline: Vec<Second>,
    /// The last seconds in full, the newest last.
    recent: VecDeque<(u64, Tally)>,
    /// Up to which time each worker has reported everything, from the start of the measurement.
    told: Vec<Duration>,
}

/// One second of the timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// Arrivals due in this second.
    pub offered: u64,
    /// Requests sent in this second.
    pub sent: u64,
    /// Arrivals due in this second that found no free slot.
    pub dropped: u64,
    /// Requests that ended in this second, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 4],
    /// Requests abandoned in this second.
    pub abandoned: u64,
    /// Documents in requests that succeeded in this second.
    pub documents_ok: u64,
    /// Ok requests, including those of the warmup, that ended in this second and before the end of
    /// the load.
    pub ok_in_time: u64,
    /// Their Documents.
    pub documents_in_time: u64,
    /// Request-seconds in flight, which for one second is the mean number in flight.
    pub in_flight: f64,
    /// Send delay of requests that ended in this second.
    pub(crate) lag: Compact,
    /// Response time of ok requests that ended in this second.
    pub response: Compact,
    /// Their service time.
    pub(crate) service: Compact,
    /// Their time in each Executor: its name, the mean, and the number of requests.
    pub(crate) executors: Vec<(String, Duration, u64)>,
    /// Failures detected in this second, by kind.
    pub kinds: BTreeMap<String, u64>,
}

/// A packed histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compact {
    counts: Counts,
    min: Duration,
    max: Duration,
    beyond: u64,
}

/// Most histograms of a second have few buckets, and are added to others more often than they are saved.
#[derive(Clone, Debug, Default, PartialEq)]
enum Counts {
    #[default]
    None,
    Packed(Packed),
    /// Compressed HdrHistogram.
    Compressed(Box<[u8]>),
}

impl Compact {
    /// Packs a histogram.
    pub(crate) fn new(histogram: &Histogram) -> Compact {
        let (Some(min), Some(max)) = (histogram.min(), histogram.max()) else {
            return Compact::default();
        };
        let packed = histogram.packed();
        let counts = match packed.bytes() <= Compact::PACKED_MAX {
            true => Counts::Packed(packed),
            false => Counts::Compressed(histogram.to_bytes().into()),
        };
        Compact { counts, min, max, beyond: histogram.beyond() }
    }

    /// Above this many bytes, compressing is worth the time.
    const PACKED_MAX: usize = 4 << 10;

    /// Unpacks the histogram.
    pub fn histogram(&self) -> Histogram {
        let counts = match &self.counts {
            Counts::None => return Histogram::new(),
            Counts::Packed(packed) => Histogram::from_packed(packed.clone()),
            Counts::Compressed(bytes) => {
                Histogram::from_bytes(bytes).expect("these are our own bytes")
            }
        };
        counts.with_exact(self.min, self.max, self.beyond)
    }

    /// See [`Histogram::to_base64`]; `None` if there are no values within an hour.
    pub(super) fn to_base64(&self) -> Option<String> {
        match &self.counts {
            Counts::None => None,
            Counts::Packed(_) => Some(self.histogram().to_base64()),
            Counts::Compressed(bytes) => Some(BASE64_STANDARD.encode(bytes)),
        }
    }

    fn add(&mut self, other: &Compact) {
        if self.counts == Counts::None {
            *self = other.clone();
        } else if other.counts != Counts::None {
            let mut sum = self.histogram();
            sum.merge(&other.histogram());
            *self = Compact::new(&sum);
        }
    }
}

impl Recording {
    /// Counts requests that had not ended when a process was killed as sent and abandoned. Their time is known only
    /// in total: the time in flight that the other requests do not account for.
    pub(crate) fn give_up(&mut self) {
        let totals = &self.totals;
        let unsent = totals.offered.saturating_sub(totals.sent + totals.dropped);
        let ended = totals.count_all() + totals.abandoned;
        let mut lost = Tally {
            sent: unsent,
            abandoned: (totals.sent + unsent).saturating_sub(ended),
            ..Tally::default()
        };
        let InFlight { area, area_in_time, spent, spent_in_time, at_end, .. } = totals.in_flight;
        lost.in_flight.spent = (area - spent).max(0.0);
        lost.in_flight.spent_in_time = (area_in_time - spent_in_time).max(0.0);
        if at_end == 0 {
            lost.in_flight.at_end = lost.abandoned;
        }
        let last = self.seconds().saturating_sub(1);
        self.add(Delta { seconds: vec![(last, lost)], ..Delta::default() });
    }

    /// Takes the sample that was told as it came, where there is no other: of a run that was killed, and of several
    /// parts. `limit`: up to which time after the start what a part sent counts, where not all of it does.
    pub(crate) fn settle_sample(&mut self, limit: impl Fn(u64) -> Option<Duration>) {
        let noted = std::mem::take(&mut self.noted);
        if self.sample.1 == 0 {
            let (sample, of, is_cut) = noted.whole(limit);
            // How many ended until then is counted. From the sample it is only known roughly.
            let counted = is_cut && self.totals.steps.is_empty();
            self.sample = (sample, if counted { self.totals.count_all() } else { of });
        }
    }

    /// Turns abandoned requests into unknown ones, and returns their number.
    pub(crate) fn forget_abandoned(&mut self) -> u64 {
        self.timeline.iter_mut().for_each(|second| second.abandoned = 0);
        std::mem::take(&mut self.totals.abandoned)
    }
}

impl Second {
    fn new(tally: &Tally) -> Second {
        let mut kinds = BTreeMap::new();
        for error in tally.errors.iter() {
            *kinds.entry(error.kind.to_string()).or_default() += error.count;
        }
        Second {
            offered: tally.offered,
            sent: tally.sent,
            dropped: tally.dropped,
            outcomes: Outcome::ALL.map(|outcome| tally.count(outcome)),
            abandoned: tally.abandoned,
            documents_ok: tally.documents_ok,
            ok_in_time: tally.ok_in_time,
            documents_in_time: tally.documents_in_time,
            in_flight: tally.in_flight.area,
            lag: Compact::new(&tally.lag),
            response: Compact::new(tally.ok()),
            service: Compact::new(&tally.service),
            executors: tally
                .executors
                .iter()
                .filter_map(|stop| Some((stop.name.clone(), stop.time.mean()?, stop.time.count())))
                .collect(),
            kinds,
        }
    }

    /// Adds the same second of another part of the load, or counts that arrive after the second was
    /// packed, from a worker that fell behind.
    fn add(&mut self, late: Second) {
        for (name, mean, count) in late.executors {
            match self.executors.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, known, of)) => {
                    let weight = count as f64 / (*of + count).max(1) as f64;
                    *known = known.mul_f64(1.0 - weight) + mean.mul_f64(weight);
                    *of += count;
                }
                None => self.executors.push((name, mean, count)),
            }
        }
        for (kind, count) in late.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.offered += late.offered;
        self.sent += late.sent;
        self.dropped += late.dropped;
        for (mine, late) in self.outcomes.iter_mut().zip(late.outcomes) {
            *mine += late;
        }
        self.abandoned += late.abandoned;
        self.documents_ok += late.documents_ok;
        self.ok_in_time += late.ok_in_time;
        self.documents_in_time += late.documents_in_time;
        self.in_flight += late.in_flight;
        self.lag.add(&late.lag);
        self.response.add(&late.response);
        self.service.add(&late.service);
    }

    /// Requests that failed or timed out in this second.
    pub fn errors(&self) -> u64 {
        self.outcomes[1..].iter().sum()
    }
}

impl Recording {
    /// Number of seconds kept in full, which limits how far [`Recording::last`] can look back.
    pub(crate) const RECENT: usize = 12;

    /// A recording of this many workers.
    pub fn of(workers: usize) -> Recording {
        Recording { told: vec![Duration::ZERO; workers], ..Recording::default() }
    }

    /// Merges the delta of a worker.
    pub fn add(&mut self, delta: Delta) {
        if let Some(told) = self.told.get_mut(delta.worker) {
            *told = delta.told.max(*told);
        }
        self.sample.0.extend(delta.sample.0);
        self.sample.1 += delta.sample.1;
        let (part, noted) = delta.noted;
        noted.into_iter().for_each(|noted| self.noted.add(part, noted));
        self.warmup.merge(&delta.warmup);
        for (second, histogram) in delta.warmup_seconds {
            let known = self.warmup_seconds.entry(second).or_default();
            let mut all = known.histogram();
            all.merge(&histogram);
            *known = Compact::new(&all);
        }
        self.first_request = [self.first_request, delta.first_request].into_iter().flatten().min();
        self.last_done = self.last_done.max(delta.last_done);
        self.stopped = self.stopped.max(delta.stopped);
        for (second, tally) in delta.seconds {
            self.totals.merge(&tally);
            self.add_second(second, tally);
        }
    }

    fn add_second(&mut self, second: u64, tally: Tally) {
        if let Some((_, known)) = self.recent.iter_mut().find(|(known, _)| *known == second) {
            return known.merge(&tally);
        }
        if let Some(packed) = self.timeline.get_mut(second as usize) {
            return packed.add(Second::new(&tally));
        }
        // Seconds without events are part of the timeline too.
        let next = self.timeline.len() as u64 + self.recent.len() as u64;
        for quiet in next..second {
            self.push_recent(quiet, Tally::default());
        }
        self.push_recent(second, tally);
    }

    /// Merges the recording of another part of the load, second by second.
    pub(crate) fn merge(&mut self, other: Recording) {
        self.timeline = self.timeline();
        self.recent.clear();
        let theirs = other.timeline();
        self.noted.merge(other.noted);
        self.told.extend(other.told);
        self.totals.merge(&other.totals);
        self.warmup.merge(&other.warmup);
        for (second, histogram) in other.warmup_seconds {
            self.warmup_seconds.entry(second).or_default().add(&histogram);
        }
        self.first_request = [self.first_request, other.first_request].into_iter().flatten().min();
        self.last_done = self.last_done.max(other.last_done);
        self.stopped = self.stopped.max(other.stopped);
        if self.timeline.len() < theirs.len() {
            self.timeline.resize_with(theirs.len(), Second::default);
        }
        self.timeline.par_iter_mut().zip(theirs).for_each(|(mine, theirs)| mine.add(theirs));
    }

    fn push_recent(&mut self, second: u64, tally: Tally) {
        self.recent.push_back((second, tally));
        while self.recent.len() > Recording::RECENT
            && let Some((_, oldest)) = self.recent.pop_front()
        {
            self.timeline.push(Second::new(&oldest));
        }
    }

    /// Number of seconds from the first on that are over and complete: every worker has reported
    /// them.
    pub fn complete(&self) -> u64 {
        self.told().as_secs()
    }

    /// The time up to which every worker has reported everything, from the start of the measurement.
    pub(crate) fn told(&self) -> Duration {
        self.told.iter().min().copied().unwrap_or_default()
    }

    /// The last `seconds` of the first `until` seconds merged, or as many as are still kept, and
    /// how many that are. Used by the sliding window of `abort` thresholds and by the live view. A
    /// second that is not over, or not reported by all workers, would look half empty.
    pub fn last(&self, until: u64, seconds: u64) -> (Tally, u64) {
        let until = until.min(self.complete());
        let from = until.saturating_sub(seconds).max(self.timeline.len() as u64);
        let mut window = Tally::default();
        for (_, tally) in self.recent.iter().filter(|(second, _)| (from..until).contains(second)) {
            window.merge(tally);
        }
        (window, until.saturating_sub(from))
    }

    /// Rates over whole seconds, between two of them.
    pub fn throughput(&self, from: u64, until: u64) -> Throughput {
        let packed = self.timeline.iter();
        let packed = packed.map(|s| [s.offered, s.ok_in_time, s.documents_in_time]);
        let recent = self.recent.iter();
        let recent = recent.map(|(_, t)| [t.offered, t.ok_in_time, t.documents_in_time]);
        let within = packed.chain(recent).take(until as usize).skip(from as usize);
        let sums = within.fold([0; 3], |sums, counts| [0, 1, 2].map(|n| sums[n] + counts[n]));
        let length = until.saturating_sub(from).max(1) as f64;
        let [offered_per_s, requests_per_s, documents_per_s] =
            sums.map(|sum: u64| sum as f64 / length);
        Throughput { offered_per_s, requests_per_s, documents_per_s }
    }

    /// Number of seconds so far.
    pub fn seconds(&self) -> u64 {
        (self.timeline.len() + self.recent.len()) as u64
    }

    /// All seconds from the first one, packed.
    pub fn timeline(&self) -> Vec<Second> {
        let recent = self.recent.iter().map(|(_, tally)| Second::new(tally));
        self.timeline.iter().cloned().chain(recent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tally::ErrorCount;

    fn delta(second: u64, ms: &[u64]) -> Delta {
        let mut tally = Tally { offered: ms.len() as u64, ..Tally::default() };
        ms.iter().for_each(|ms| tally.response[0].record(Duration::from_millis(*ms)));
        Delta { seconds: vec![(second, tally)], ..Delta::default() }
    }

    #[test]
    fn every_second_has_its_place_also_when_nothing_happened() {
        let mut recording = Recording::default();
        recording.add(delta(0, &[1]));
        recording.add(delta(40, &[2, 3]));
        let offered: Vec<u64> = recording.timeline().iter().map(|second| second.offered).collect();
        assert_eq!(offered.len(), 41);
        assert_eq!((offered[0], offered[39], offered[40]), (1, 0, 2));
    }

    #[test]
    fn what_comes_late_is_added_to_its_second() {
        let mut recording = Recording::default();
        (0..30).for_each(|second| recording.add(delta(second, &[10])));
        recording.add(delta(3, &[20]));
        recording.add(delta(29, &[20]));
        let timeline = recording.timeline();
        for second in [3, 29] {
            assert_eq!(timeline[second].outcomes[0], 2);
            let response = timeline[second].response.histogram();
            assert_eq!(response.min(), Some(Duration::from_millis(10)));
            assert_eq!(response.max(), Some(Duration::from_millis(20)));
            assert_eq!(response.count(), 2);
        }
        assert_eq!(recording.totals.ok().count(), 32);
    }

    #[test]
    fn an_hour_at_fifty_thousand_a_second_fits_in_200_mb() {
        // Latencies from 100 µs to 10 s, log-uniform: more different values than any Flow has. Five
        // Executors, and some failures of each kind.
        let mut rng = crate::random::Key::new(1).index(0).rng();
        let mut wide = |_| {
            let mut tally = Tally { offered: 50_000, sent: 50_000, ..Tally::default() };
            for n in 0..50_000 {
                let exponent: f64 = rand::RngExt::random_range(&mut rng, -4.0..1.0);
                let response = Duration::from_secs_f64(10f64.powf(exponent));
                tally.response[0].record(response);
                tally.service.record(response.mul_f64(0.9));
                tally.lag.record(response / 10);
                tally.executor(["a", "b", "c", "d", "e"][n % 5]).record(response / 2);
            }
            for kind in ["connect", "timeout", "lost", "protocol", "gateway", "executor"] {
                tally.errors.record(ErrorCount {
                    kind: kind.into(),
                    message: kind.into(),
                    count: 1,
                    first_at: Duration::ZERO,
                    last_at: Some(Duration::ZERO),
                    details: None,
                });
            }
            tally
        };
        let variants: Vec<Tally> = (0..2).map(&mut wide).collect();
        let mut recording = Recording::default();
        for second in 0..20 {
            let tally = variants[second as usize % 2].clone();
            recording.add(Delta { seconds: vec![(second, tally)], ..Delta::default() });
        }
        let names = 5 * (size_of::<(String, Duration)>() + 1) + 6 * 64;
        let bytes = |compact: &Compact| match &compact.counts {
            Counts::None => 0,
            Counts::Packed(packed) => packed.bytes(),
            Counts::Compressed(bytes) => bytes.len(),
        };
        let packed = |second: &Second| bytes(&second.response) + bytes(&second.service);
        let most = recording.timeline.iter().map(packed).max().expect("some are packed");
        // At the end, it exists a second time, in its saved form.
        let saved = serde_json::to_vec(&recording.timeline_summary()).expect("plain data").len();
        let second = size_of::<Second>() + most + names + saved / 20;
        // Nothing else grows: totals, warmup and the last seconds in full are a fixed number of
        // tallies, plus some in transit from the workers. Each has twelve histograms and one per
        // Executor; up to 10 s they have 15 · 1024 counters.
        let tallies = Recording::RECENT + 2 + 2 * 8;
        let fixed = tallies * (12 + 5) * 15 * 1024 * size_of::<u64>();
        let hour = 3600 * second + fixed;
        assert!(hour < 200_000_000, "{second} bytes a second, {fixed} besides");
    }

    #[test]
    fn the_window_holds_the_last_whole_seconds_alone() {
        let mut recording = Recording::of(2);
        let told = |worker, seconds, ms: u64| Delta {
            worker,
            told: Duration::from_millis(ms),
            ..delta(seconds, &[seconds])
        };
        (0..30).for_each(|second| recording.add(told(0, second, second * 1000 + 700)));
        assert_eq!(recording.last(100, 10).1, 0, "the other worker has told of none");
        recording.add(told(1, 28, 28_900));
        // Seconds 0 to 27 are complete for both workers.
        let (window, seconds) = recording.last(100, 10);
        assert_eq!((seconds, window.ok().count()), (10, 10));
        assert_eq!(window.ok().min(), Some(Duration::from_millis(18)));
        assert_eq!(window.ok().max(), Some(Duration::from_millis(27)));
        // If the load ends after 25 s, later events are not part of it.
        let (window, seconds) = recording.last(25, 3);
        assert_eq!((seconds, window.ok().max()), (3, Some(Duration::from_millis(24))));
        // A second without events counts too.
        recording.add(Delta { worker: 0, told: Duration::MAX, ..Delta::default() });
        recording.add(Delta { worker: 1, told: Duration::from_secs(33), ..Delta::default() });
        let (window, seconds) = recording.last(33, 5);
        assert_eq!((seconds, window.ok().count()), (5, 3));
    }
}
