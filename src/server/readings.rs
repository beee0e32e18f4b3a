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
    /// Places that there was no room for.
    pub(super) unread: usize,
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
    /// Of the process that used most between one look and the next.
    BusiestSeconds,
    /// Another metric that only grows.
    Growing,
    // From here on, they are current levels.
    Pending,
    Memory,
    Threads,
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
        Quantity::BusiestSeconds,
        Quantity::Growing,
        Quantity::Pending,
        Quantity::Memory,
        Quantity::Threads,
        Quantity::Value,
    ];

    fn grows(self) -> bool {
        (self as usize) < Quantity::Pending as usize
    }

    fn growing() -> impl Iterator<Item = Quantity> {
        Quantity::ALL.into_iter().filter(|quantity| quantity.grows())
    }

    /// A value as it was told, or what is not a number where it can be none of this quantity: nothing is infinite, and
    /// less than nothing may only be the value of a metric that we know nothing of.
    pub(super) fn usable(self, value: f64) -> f64 {
        let is_possible = value.is_finite() && (value >= 0.0 || self == Quantity::Value);
        if is_possible { value } else { f64::NAN }
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

    fn clear(&mut self, quantity: Quantity) {
        self.0[quantity as usize] = None;
    }

    /// A total that is a number.
    fn total(&self, quantity: Quantity) -> Option<f64> {
        self.get(quantity).filter(|total| total.is_finite())
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

    /// Whether it is whatever is behind an address.
    pub(super) fn is_host(&self) -> bool {
        self.kind == Kind::Host
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
    /// Of each source, how many places there was no room for.
    unread: Vec<usize>,
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
    /// When it was told last.
    told_s: f64,
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
        Readings {
            series: Vec::new(),
            last: vec![None; sources],
            unread: vec![0; sources],
            step: 1,
        }
    }

    /// Adds a source.
    pub(super) fn grow(&mut self) {
        self.last.push(None);
        self.unread.push(0);
    }

    /// Places that there was no room for.
    pub(super) fn unread(&self) -> usize {
        self.unread.iter().sum()
    }

    /// Whether a metric or query ever had a value.
    pub(super) fn has_value(&self, name: &str) -> bool {
        let place = Place::metric(name);
        let of_it = self.series.iter().filter(|series| series.place == place);
        of_it.flat_map(|series| &series.points).any(|point| {
            let (value, growing) = (Quantity::Value, Quantity::Growing);
            point.counts.total(value).or(point.counts.total(growing)).is_some()
        })
    }

    /// When a source was read first, and at the latest when what is measured began.
    pub(super) fn start(&self, source: usize) -> Option<f64> {
        let own = self.series.iter().filter(|series| series.source == source);
        own.filter_map(|series| Some(series.points.first()?.at_s)).reduce(f64::min)
    }

    /// Whether another of these sources tells of a pod.
    pub(super) fn is_told_by(&self, place: &Place, sources: impl Fn(usize) -> bool) -> bool {
        place.kind == Kind::Pod
            && self.series.iter().any(|series| series.place == *place && sources(series.source))
    }

    /// Adds the reading of a source at an instant, in seconds from the start of measurement.
    pub(super) fn add(&mut self, source: usize, tick: u32, at_s: f64, page: Page) {
        let before = self.last[source].replace((tick, at_s));
        let named = page.named.into_iter().map(|(name, value, grows)| {
            let mut counts = Counts::default();
            counts.set(if grows { Quantity::Growing } else { Quantity::Value }, value);
            (Place::metric(&name), counts)
        });
        let all: Vec<(Place, Counts)> = page.places.into_iter().chain(named).collect();
        self.recognise(source, &all);
        let fresh = self.fresh(source, &all);
        let mut unread = page.unread;
        for (place, counts) in all {
            let known = self.series.iter().position(|s| s.source == source && s.place == place);
            let index = match known {
                Some(index) => index,
                None if self.series.len() >= SERIES_MAX => {
                    unread += 1;
                    continue;
                }
                None => {
                    let before = before.filter(|_| fresh.contains(&place.kind));
                    self.series.push(Series::new(source, place, before));
                    self.series.len() - 1
                }
            };
            self.series[index].add(tick, at_s, counts, self.step);
        }
        self.unread[source] = self.unread[source].max(unread);
        while tick > self.step * POINTS_MAX {
            self.step *= 2;
            let step = self.step;
            self.series.iter_mut().for_each(|series| series.thin(step));
        }
    }

    /// When a place was last seen, if its source was later read without it.
    pub(super) fn gone(&self, series: &Series) -> Option<f64> {
        let (_, last) = self.last[series.source]?;
        (series.told_s < last).then_some(series.told_s)
    }

    /// A pod that has not worked yet names itself nowhere: there is only its process. It is the same when it does.
    fn recognise(&mut self, source: usize, all: &[(Place, Counts)]) {
        let mut pods = all.iter().map(|(place, _)| place).filter(|place| place.kind == Kind::Pod);
        let (Some(pod), None) = (pods.next(), pods.next()) else { return };
        let mut own = self.series.iter_mut().filter(|series| series.source == source);
        let is_host = |series: &Series| series.place.kind == Kind::Host;
        if let (Some(process), None) =
            (own.next(), own.find(|series| series.place.kind != Kind::Metric))
            && is_host(process)
            && !all.iter().any(|(place, _)| place.kind == Kind::Host)
        {
            process.place = pod.clone();
        }
    }

    /// Of which kinds what is new on a page was at zero before. What appears while another is missing may be that
    /// under a new name, with all that it ever counted; unless the process has just begun.
    fn fresh(&self, source: usize, all: &[(Place, Counts)]) -> Vec<Kind> {
        let own = || self.series.iter().filter(|series| series.source == source);
        let now = |series: &Series| all.iter().find(|(place, _)| *place == series.place);
        let began = own().any(|series| now(series).is_some_and(|(_, counts)| series.fell(counts)));
        let is_fresh = |kind: &Kind| {
            began || own().all(|series| series.place.kind != *kind || now(series).is_some())
        };
        [Kind::Pod, Kind::Host, Kind::Processes, Kind::Metric]
            .into_iter()
            .filter(is_fresh)
            .collect()
    }

    /// Has all end where the load did, though reading it may have taken longer: a source that was read twice after
    /// that has told how much it grew by itself meanwhile. The same counts for a first reading before the start.
    pub(super) fn settle(&mut self, over_s: f64) {
        self.series.iter_mut().for_each(|series| series.settle(over_s));
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
            told_s: f64::NEG_INFINITY,
            restarts: 0,
        }
    }

    /// Whether the process began again before it told this.
    fn fell(&self, told: &Counts) -> bool {
        let pair = |quantity| told.total(quantity).zip(self.raw.get(quantity));
        Quantity::growing().filter_map(pair).any(|(now, last)| now < last)
    }

    fn add(&mut self, tick: u32, at_s: f64, told: Counts, step: u32) {
        let mut counts = told;
        let fell = self.fell(&told);
        // What is told in the place of something else is that under a new name.
        let renamed = !fell
            && Quantity::growing()
                .any(|quantity| self.raw.get(quantity).is_some() && told.get(quantity).is_none());
        for quantity in Quantity::growing() {
            let last = self.raw.get(quantity);
            let Some(now) = told.total(quantity) else {
                // What was told before and is not now has not grown.
                match last {
                    Some(last) => {
                        counts.set(quantity, last + self.before.get(quantity).unwrap_or(0.0));
                    }
                    None => counts.clear(quantity),
                }
                continue;
            };
            match last {
                Some(last) if now < last => self.before.add(quantity, last),
                None if renamed => self.before.add(quantity, -now),
                _ => (),
            }
            self.raw.set(quantity, now);
            counts.set(quantity, now + self.before.get(quantity).unwrap_or(0.0));
        }
        self.restarts += u64::from(fell);
        self.told_s = at_s;
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

    fn settle(&mut self, over_s: f64) {
        let Some(end) = self.points.iter().position(|point| point.at_s >= over_s) else { return };
        let (Some(last), Some(beyond)) = (self.points.get(end), self.points.get(end + 1)) else {
            return;
        };
        if end == 0 || beyond.at_s <= last.at_s {
            return;
        }
        let step = Step::between(last, beyond);
        let grew = |quantity| step.counts.get(quantity).map(|by| by / step.seconds);
        self.points.truncate(end + 1);
        let late_s = self.points[end].at_s - over_s;
        self.points[end].at_s = over_s;
        let before = self.points[end - 1].counts;
        for (quantity, per_s) in Quantity::growing().filter_map(|q| Some((q, grew(q)?))) {
            if let Some(now) = self.points[end].counts.get(quantity) {
                let least = before.get(quantity).unwrap_or(0.0);
                self.points[end].counts.set(quantity, (now - per_s * late_s).max(least));
            }
        }
        let early_s = -self.points[0].at_s;
        if early_s > 0.0 {
            self.points[0].at_s = 0.0;
            let after = self.points[1].counts;
            for (quantity, per_s) in Quantity::growing().filter_map(|q| Some((q, grew(q)?))) {
                if let (Some(then), Some(most)) =
                    (self.points[0].counts.get(quantity), after.get(quantity))
                {
                    let by = (per_s * early_s).min(most - then).max(0.0);
                    self.points[0].counts.set(quantity, then + by);
                }
            }
        }
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
        for quantity in Quantity::growing() {
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
    fn figures_end_with_the_load_however_long_reading_takes() {
        // A load of 4 s: 100/s by the Flow itself, read half-way of 0.3 s; and 50/s of our own besides.
        let value = |at_s: f64| 100.0 * at_s + 50.0 * at_s.clamp(0.0, 4.0);
        let mut readings = Readings::of(1);
        for (tick, at_s) in [(0, -0.1), (1, 1.15), (2, 2.15), (3, 3.15), (4, 4.15), (5, 4.45)] {
            readings.add(0, tick, at_s, page(1000.0 + value(at_s)));
        }
        readings.settle(4.0);
        let points = &readings.series[0].points;
        assert_eq!((points[0].at_s, points[4].at_s, points.len()), (0.0, 4.0, 5));
        assert!((grown(&readings) - 600.0).abs() < 1e-6, "{}", grown(&readings));
        assert_eq!(readings.gone(&readings.series[0]), None);
        // Read once after it, it ends when that was.
        let mut readings = Readings::of(1);
        for (tick, at_s) in [(0, 0.0), (1, 1.0), (2, 2.5)] {
            readings.add(0, tick, at_s, page(100.0 * at_s));
        }
        readings.settle(2.0);
        assert_eq!((grown(&readings), readings.series[0].points[2].at_s), (250.0, 2.5));
    }

    /// A pod that has worked so much.
    fn pod(name: &str, done: f64) -> (Place, Counts) {
        let mut counts = Counts::default();
        counts.set(Quantity::Receiving, done);
        (Place::pod(name, Some("rep-0")), counts)
    }

    fn all(places: Vec<(Place, Counts)>) -> Page {
        Page { places, ..Page::default() }
    }

    fn grown_of(readings: &Readings, name: &str) -> f64 {
        let series = readings.series.iter().find(|series| series.place.name == name);
        let points = &series.expect(name).points;
        let step = Step::between(&points[0], &points[points.len() - 1]);
        step.counts.get(Quantity::Receiving).unwrap_or(-1.0)
    }

    #[test]
    fn a_new_name_has_not_just_counted_all_that_it_ever_did() {
        let mut readings = Readings::of(1);
        readings.add(0, 0, 0.0, all(vec![pod("gateway", 5000.0), pod("old", 5000.0)]));
        readings.add(0, 1, 1.0, all(vec![pod("gateway", 5100.0), pod("new", 5100.0)]));
        readings.add(0, 2, 2.0, all(vec![pod("gateway", 5200.0), pod("new", 5200.0)]));
        assert_eq!((grown_of(&readings, "new"), grown_of(&readings, "gateway")), (100.0, 200.0));
        // Who appears beside all others had done nothing before.
        readings.add(0, 3, 3.0, all(vec![pod("gateway", 5300.0), pod("new", 5300.0)]));
        let mut readings = Readings::of(1);
        readings.add(0, 0, 0.0, all(vec![pod("gateway", 5000.0)]));
        readings.add(0, 1, 1.0, all(vec![pod("gateway", 5100.0), pod("late", 80.0)]));
        assert_eq!(grown_of(&readings, "late"), 80.0);
        // So had one of a process that has just begun.
        let mut readings = Readings::of(1);
        readings.add(0, 0, 0.0, all(vec![pod("gateway", 5000.0), pod("old", 5000.0)]));
        readings.add(0, 1, 1.0, all(vec![pod("gateway", 40.0), pod("new", 40.0)]));
        assert_eq!(grown_of(&readings, "new"), 40.0);
    }

    #[test]
    fn a_total_under_a_new_name_has_not_grown_by_all_of_it() {
        let told = |quantity: Quantity, value: f64| {
            let mut counts = Counts::default();
            counts.set(quantity, value);
            all(vec![(Place::pod("a", None), counts)])
        };
        let mut readings = Readings::of(1);
        readings.add(0, 0, 0.0, told(Quantity::Process, 5000.0));
        readings.add(0, 1, 1.0, told(Quantity::Receiving, 5100.0));
        readings.add(0, 2, 2.0, told(Quantity::Receiving, 5200.0));
        assert_eq!(grown(&readings), 100.0);
    }

    #[test]
    fn a_process_keeps_its_totals_when_its_pod_gives_its_name() {
        let told = |place: Place, cpu_s: f64, done: Option<f64>| {
            let mut counts = Counts::default();
            counts.set(Quantity::CpuSeconds, cpu_s);
            done.into_iter().for_each(|done| counts.set(Quantity::Receiving, done));
            all(vec![(place, counts)])
        };
        let mut readings = Readings::of(1);
        readings.add(0, 0, 0.0, told(Place::of_host("h:1"), 500.0, None));
        readings.add(0, 1, 1.0, told(Place::pod("enc", None), 501.0, Some(30.0)));
        let [series] = &readings.series[..] else { panic!("{readings:?}") };
        let step = Step::between(&series.points[0], &series.points[1]);
        assert_eq!(step.counts.get(Quantity::CpuSeconds), Some(1.0));
        assert_eq!((grown(&readings), readings.gone(series)), (30.0, None));
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
