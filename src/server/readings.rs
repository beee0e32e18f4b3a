//! Readings of a Flow's counters, from which its figures are computed.
//!
//! A counter is exported as a total. What counts is its growth between two readings, so the growth during a load is
//! the value after it minus the value before. A counter that fell was reset to zero, as in Prometheus.

use serde::{Deserialize, Serialize};

/// The contents of a metrics page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Values by place.
    pub(super) places: Vec<(Place, Counts)>,
    /// Metrics requested by name: name, value, and whether it only grows.
    pub(super) named: Vec<(String, f64, bool)>,
    /// Number of values of any kind.
    pub(super) samples: usize,
}

/// A quantity that a pod counts or shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Quantity {
    Receiving,
    ReceivingSeconds,
    Process,
    ProcessSeconds,
    Sending,
    SendingSeconds,
    Failed,
    Documents,
    BytesIn,
    BytesOut,
    /// Former name of `BytesIn`; only used if that is missing.
    OldBytesIn,
    CpuSeconds,
    /// Another metric that only grows.
    Growing,
    // From here on, they are current levels.
    Pending,
    Memory,
    Threads,
    Busiest,
    /// Another metric.
    Value,
}

const QUANTITIES: usize = Quantity::Value as usize + 1;

impl Quantity {
    pub(super) const ALL: [Quantity; QUANTITIES] = [
        Quantity::Receiving,
        Quantity::ReceivingSeconds,
        Quantity::Process,
        Quantity::ProcessSeconds,
        Quantity::Sending,
        Quantity::SendingSeconds,
        Quantity::Failed,
        Quantity::Documents,
        Quantity::BytesIn,
        Quantity::BytesOut,
        Quantity::OldBytesIn,
        Quantity::CpuSeconds,
        Quantity::Growing,
        Quantity::Pending,
        Quantity::Memory,
        Quantity::Threads,
        Quantity::Busiest,
        Quantity::Value,
    ];

    fn grows(self) -> bool {
        (self as usize) < Quantity::Pending as usize
    }
}

/// The values of the quantities that are present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts([Option<f64>; QUANTITIES]);

impl Counts {
    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.0[quantity as usize]
    }

    pub(super) fn set(&mut self, quantity: Quantity, value: f64) {
        self.0[quantity as usize] = Some(value);
    }

    pub(super) fn add(&mut self, quantity: Quantity, value: f64) {
        let slot = &mut self.0[quantity as usize];
        *slot = Some(slot.unwrap_or(0.0) + value);
    }

    /// Adds the values of another one.
    pub(super) fn extend(&mut self, other: &Counts) {
        for quantity in Quantity::ALL {
            if let Some(value) = other.get(quantity) {
                self.add(quantity, value);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Keeps one of two values that newer releases export under two names.
    pub(super) fn settle(&mut self) {
        let old = self.0[Quantity::OldBytesIn as usize].take();
        let new = &mut self.0[Quantity::BytesIn as usize];
        *new = new.or(old);
    }
}

/// Something whose metrics are counted separately.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replica: Option<String>,
}

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A pod, by the name it gives itself.
    Pod,
    /// Whatever is behind an address.
    Host,
    /// The processes that a command started.
    Processes,
    /// A metric or query.
    Metric,
}

impl Place {
    pub(super) fn pod(name: &str, replica: Option<&str>) -> Place {
        let (name, replica) = (shortened(name), replica.map(shortened));
        Place { kind: Kind::Pod, name, replica }
    }

    pub(super) fn of_host(host: &str) -> Place {
        Place { kind: Kind::Host, name: shortened(host), replica: None }
    }

    pub(super) fn processes() -> Place {
        Place { kind: Kind::Processes, name: "processes".into(), replica: None }
    }

    pub(super) fn metric(name: &str) -> Place {
        Place { kind: Kind::Metric, name: name.into(), replica: None }
    }
}

/// A name from the network, limited to a plausible length.
fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 100;
    name.chars().take(CHARS_MAX).collect()
}

/// All readings of a load.
#[derive(Debug)]
pub(super) struct Readings {
    pub(super) series: Vec<Series>,
    /// The last reading of each source.
    last: Vec<Option<(u32, f64)>>,
    /// Interval between kept readings, in seconds.
    pub(super) step: u32,
}

/// The readings of one place.
#[derive(Debug)]
pub(super) struct Series {
    source: usize,
    pub(super) place: Place,
    pub(super) points: Vec<Point>,
    /// The latest raw values, and the totals counted before resets.
    raw: Counts,
    before: Counts,
    pub(super) restarts: u64,
}

/// One reading: the second it was due, its time from the start of measurement, and its totals and levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) tick: u32,
    pub(super) at_s: f64,
    pub(super) counts: Counts,
    /// Number of readings averaged in its levels.
    weight: f64,
}

/// Maximum number of points kept per series: more cannot be distinguished in a chart.
const POINTS_MAX: u32 = 600;

/// Maximum number of places over all sources.
const SERIES_MAX: usize = 256;

impl Default for Readings {
    fn default() -> Readings {
        Readings::of(0)
    }
}

impl Readings {
    pub(super) fn of(sources: usize) -> Readings {
        Readings { series: Vec::new(), last: vec![None; sources], step: 1 }
    }

    /// Adds a source.
    pub(super) fn grow(&mut self) {
        self.last.push(None);
    }

    /// Adds the reading of a source at an instant, in seconds from the start of measurement.
    pub(super) fn add(&mut self, source: usize, tick: u32, at_s: f64, page: Page) {
        let before = self.last[source].replace((tick, at_s));
        let named = page.named.into_iter().map(|(name, value, grows)| {
            let mut counts = Counts::default();
            counts.set(if grows { Quantity::Growing } else { Quantity::Value }, value);
            (Place::metric(&name), counts)
        });
        for (place, counts) in page.places.into_iter().chain(named) {
            let known = self.series.iter().position(|s| s.source == source && s.place == place);
            let index = match known {
                Some(index) => index,
                None if self.series.len() >= SERIES_MAX => continue,
                None => {
                    self.series.push(Series::new(source, place, before));
                    self.series.len() - 1
                }
            };
            self.series[index].add(tick, at_s, counts, self.step);
        }
        while tick > self.step * POINTS_MAX {
            self.step *= 2;
            let step = self.step;
            self.series.iter_mut().for_each(|series| series.thin(step));
        }
    }

    /// When a place was last seen, if its source was later read without it.
    pub(super) fn gone(&self, series: &Series) -> Option<f64> {
        let (_, last) = self.last[series.source]?;
        let own = series.points.last()?.at_s;
        (own < last).then_some(own)
    }
}

impl Series {
    /// `before`: the last reading of its source, which did not contain it. So all its values were zero then.
    fn new(source: usize, place: Place, before: Option<(u32, f64)>) -> Series {
        let points = before.map(|(tick, at_s)| Point::new(tick, at_s, Counts::default()));
        Series {
            source,
            place,
            points: points.into_iter().collect(),
            raw: Counts::default(),
            before: Counts::default(),
            restarts: 0,
        }
    }

    fn add(&mut self, tick: u32, at_s: f64, told: Counts, step: u32) {
        let mut counts = told;
        let mut fell = false;
        for quantity in Quantity::ALL.into_iter().filter(|quantity| quantity.grows()) {
            let last = self.raw.get(quantity);
            let Some(now) = told.get(quantity) else {
                // A counter that is missing now has not grown.
                if let Some(last) = last {
                    counts.set(quantity, last + self.before.get(quantity).unwrap_or(0.0));
                }
                continue;
            };
            if let Some(last) = last.filter(|last| now < *last) {
                self.before.add(quantity, last);
                fell = true;
            }
            self.raw.set(quantity, now);
            counts.set(quantity, now + self.before.get(quantity).unwrap_or(0.0));
        }
        self.restarts += u64::from(fell);
        let mut point = Point::new(tick, at_s, counts);
        if at_s <= 0.0 {
            // Of the readings before the measurement, only the last one counts.
            self.points.clear();
        } else if self.points.len() > 1
            && let Some(last) = self.points.pop_if(|last| !last.tick.is_multiple_of(step))
        {
            point.absorb(&last);
        }
        self.points.push(point);
    }

    /// Keeps one point per `step` seconds, and the first and the last.
    fn thin(&mut self, step: u32) {
        let mut kept: Vec<Point> = Vec::with_capacity(self.points.len() / 2 + 2);
        for mut point in std::mem::take(&mut self.points) {
            if kept.len() > 1
                && let Some(last) = kept.pop_if(|last| !last.tick.is_multiple_of(step))
            {
                point.absorb(&last);
            }
            kept.push(point);
        }
        self.points = kept;
    }

    /// The points from an instant on, and the one before it as the baseline.
    pub(super) fn since(&self, from_s: f64) -> &[Point] {
        let first = self.points.iter().position(|point| point.at_s >= from_s);
        &self.points[first.unwrap_or(self.points.len()).saturating_sub(1)..]
    }
}

impl Point {
    fn new(tick: u32, at_s: f64, counts: Counts) -> Point {
        Point { tick, at_s, counts, weight: 1.0 }
    }

    /// Replaces an earlier point.
    fn absorb(&mut self, earlier: &Point) {
        let weight = self.weight + earlier.weight;
        for quantity in Quantity::ALL.into_iter().filter(|quantity| !quantity.grows()) {
            if let (Some(now), Some(then)) =
                (self.counts.get(quantity), earlier.counts.get(quantity))
            {
                let mean = (now * self.weight + then * earlier.weight) / weight;
                self.counts.set(quantity, mean);
            }
        }
        self.weight = weight;
    }
}

/// The change between two points: how much totals grew, and the levels at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub(super) tick: u32,
    pub(super) seconds: f64,
    pub(super) counts: Counts,
}

impl Step {
    pub(super) fn between(from: &Point, to: &Point) -> Step {
        let mut counts = to.counts;
        for quantity in Quantity::ALL.into_iter().filter(|quantity| quantity.grows()) {
            if let Some(now) = to.counts.get(quantity) {
                counts.set(quantity, (now - from.counts.get(quantity).unwrap_or(0.0)).max(0.0));
            }
        }
        Step { tick: to.tick, seconds: to.at_s - from.at_s, counts }
    }

    /// Combines it with another place at the same time.
    pub(super) fn and(mut self, other: &Step) -> Step {
        self.counts.extend(&other.counts);
        self.seconds = self.seconds.max(other.seconds);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(value: f64) -> Page {
        let mut counts = Counts::default();
        counts.set(Quantity::Receiving, value);
        counts.set(Quantity::Pending, value / 10.0);
        Page { places: vec![(Place::pod("a", None), counts)], ..Page::default() }
    }

    fn grown(readings: &Readings) -> f64 {
        let points = &readings.series[0].points;
        let step = Step::between(&points[0], &points[points.len() - 1]);
        step.counts.get(Quantity::Receiving).unwrap_or(-1.0)
    }

    #[test]
    fn a_load_has_what_counters_grew_by_however_they_began() {
        let mut readings = Readings::of(1);
        for (tick, at_s, value) in [(0, -2.0, 5.0), (0, -0.1, 7.0), (1, 1.0, 10.0), (2, 2.0, 30.0)]
        {
            readings.add(0, tick, at_s, page(value));
        }
        assert_eq!(grown(&readings), 23.0);
        // The process restarted: its counts before and after both count.
        readings.add(0, 3, 3.0, page(4.0));
        readings.add(0, 4, 4.0, page(6.0));
        assert_eq!(grown(&readings), 29.0);
        assert_eq!(readings.series[0].restarts, 1);
        // A page without it, then one with another name.
        readings.add(0, 5, 5.0, Page::default());
        assert_eq!(readings.gone(&readings.series[0]), Some(4.0));
        readings.add(0, 6, 6.0, page(8.0));
        assert_eq!((grown(&readings), readings.gone(&readings.series[0])), (31.0, None));
    }

    #[test]
    fn what_appears_after_a_first_reading_was_at_zero_before() {
        let mut readings = Readings::of(1);
        readings.add(0, 0, -0.1, Page::default());
        readings.add(0, 1, 1.0, page(12.0));
        assert_eq!(grown(&readings), 12.0);
        // What is in the first reading existed before.
        let mut readings = Readings::of(1);
        readings.add(0, 1, 1.0, page(12.0));
        assert_eq!(readings.series[0].points.len(), 1);
    }

    #[test]
    fn long_loads_keep_a_bounded_number_of_points_and_every_count() {
        let mut readings = Readings::of(1);
        let seconds = 10_000;
        (0..=seconds).for_each(|s| readings.add(0, s, f64::from(s), page(f64::from(s) * 3.0)));
        let points = &readings.series[0].points;
        assert!(points.len() < POINTS_MAX as usize + 3, "{}", points.len());
        assert_eq!(grown(&readings), f64::from(seconds) * 3.0);
        assert_eq!(readings.step, 32);
        // A value is the mean of the seconds before it.
        let point = points.iter().find(|point| point.tick == 320).expect("it is kept");
        let mean = (289..=320).map(|s| f64::from(s) * 0.3).sum::<f64>() / 32.0;
        assert!((point.counts.get(Quantity::Pending).unwrap_or(0.0) - mean).abs() < 1e-6);
    }
}
