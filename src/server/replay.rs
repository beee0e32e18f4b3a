//! Single readings, as stored in a journal, and the summary of replayed readings.

use serde::{Deserialize, Serialize};

use super::readings::Page;
use super::readings::{Counts, Place, Quantity, Readings};
use super::summary::{ServerSummary, SourceSummary};

/// A total or a value; null where it is there and is no number.
type Counted = (Quantity, Option<f64>);

/// One reading of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Index of the source.
    source: usize,
    /// Display name of the source.
    name: String,
    /// The second it was due, from the start of the measurement.
    tick: u32,
    /// When it was made, from the same start; below 0 if before it.
    pub(crate) at_s: f64,
    /// Why it returned nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Counts by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    places: Vec<(Place, Vec<Counted>)>,
    /// Metrics by name, and whether each only grows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named: Vec<(String, Option<f64>, bool)>,
}

impl Reading {
    pub(super) fn new(
        (source, name): (usize, &str),
        (tick, at_s): (u32, f64),
        (page, problem): (Option<&Page>, Option<String>),
    ) -> Reading {
        let told = |counts: &Counts| {
            let each = Quantity::ALL.into_iter();
            let each = each.filter_map(|quantity| Some((quantity, counts.get(quantity)?)));
            each.map(|(quantity, value)| (quantity, number(value))).collect()
        };
        let places = page.iter().flat_map(|page| &page.places);
        let named = page.iter().flat_map(|page| &page.named);
        Reading {
            source,
            name: name.to_owned(),
            tick,
            at_s,
            problem,
            places: places.map(|(place, counts)| (place.clone(), told(counts))).collect(),
            named: named
                .map(|(name, value, grows)| (name.clone(), number(*value), *grows))
                .collect(),
        }
    }
}

/// A number that is none has no place in JSON.
fn number(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite())
}

/// Rebuilds the metrics of a Flow from its readings.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    readings: Readings,
    sources: Vec<SourceSummary>,
}

/// Maximum number of sources of a Flow.
const SOURCES_MAX: usize = 1024;

/// Two years: no load is longer.
const TICKS_MAX: u32 = 63_072_000;

impl Replay {
    /// Adds a reading. Implausible ones are ignored.
    pub(crate) fn add(&mut self, reading: Reading) {
        let Reading { source, name, tick, at_s, problem, places, named } = reading;
        if source >= SOURCES_MAX || tick > TICKS_MAX || !at_s.is_finite() {
            return;
        }
        while self.sources.len() <= source {
            self.sources.push(SourceSummary::default());
            self.readings.grow();
        }
        let known = &mut self.sources[source];
        known.address = name;
        known.note(at_s, problem.as_deref());
        if problem.is_none() {
            let counts = |told: Vec<Counted>| {
                let mut counts = Counts::default();
                let all = told.into_iter();
                all.for_each(|(quantity, value)| counts.set(quantity, value.unwrap_or(f64::NAN)));
                counts
            };
            let named = named.into_iter();
            let named = named
                .map(|(name, value, grows)| (name, value.unwrap_or(f64::NAN), grows))
                .collect();
            let places = places.into_iter().map(|(place, told)| (place, counts(told))).collect();
            self.readings.add(source, tick, at_s, Page { places, named, ..Page::default() });
        }
    }

    /// The summary of all readings; `None` if there are none.
    pub(crate) fn summary(&self) -> Option<ServerSummary> {
        let sources = self.sources.clone();
        (!sources.is_empty()).then(|| ServerSummary::new(sources, &self.readings, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;

    #[test]
    fn readings_add_up_to_the_same_when_they_are_read_again() {
        let mut readings = Readings::of(1);
        let mut replay = Replay::default();
        for tick in 0..2000u32 {
            let n = f64::from(tick);
            let mut counts = Counts::default();
            counts.set(Quantity::Receiving, 10.0 * n);
            counts.set(Quantity::ReceivingSeconds, 0.1 * n);
            counts.set(Quantity::Pending, n % 7.0);
            let page = Page {
                places: vec![(Place::pod("enc/rep-0", None), counts)],
                named: vec![("queue".into(), n, false)],
                samples: 4,
                ..Page::default()
            };
            let reading = Reading::new((0, "http://a/metrics"), (tick, n), (Some(&page), None));
            let text = serde_json::to_string(&reading).expect("plain data");
            assert!(text.len() < 300, "{text}");
            replay.add(serde_json::from_str(&text).expect("ours"));
            readings.add(0, tick, n, page);
        }
        replay.add(Reading::new(
            (0, "http://a/metrics"),
            (2000, 2000.0),
            (None, Some("is gone".into())),
        ));
        let found = replay.summary().expect("it was read");
        let expected = ServerSummary::new(found.sources.clone(), &readings, &[]);
        assert_eq!(found, expected);
        assert_eq!(found.places[0].value(Figure::Rate), Some(10.0));
        let source = &found.sources[0];
        assert_eq!((source.scrapes, source.failed), (2001, 1));
        assert_eq!(source.problem.as_deref(), Some("is gone"));
    }

    #[test]
    fn what_no_reading_can_be_takes_no_room() {
        let mut replay = Replay::default();
        for (source, tick, at_s) in [(usize::MAX, 0, 0.0), (0, u32::MAX, 0.0), (0, 0, f64::NAN)] {
            replay.add(Reading::new((source, "a"), (tick, at_s), (None, Some("is gone".into()))));
        }
        assert_eq!(replay.summary(), None);
    }
}
