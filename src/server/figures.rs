//! Computes the figures of each place from readings.

use std::collections::{BTreeMap, BTreeSet};

use super::readings::{Counts, Kind, Place, Point, Quantity, Readings, Series, Step};
use super::summary::{FigureSummary, PlaceKind, PlaceSummary, ServerSummary, SourceSummary};
use crate::metric::Figure;

/// Maximum number of places reported: if a Flow has more, its replicas are omitted first.
const PLACES_MAX: usize = 64;

/// A last stretch shorter than this share of the others is noise.
const STRETCH_MIN: f64 = 0.5;

/// What places tell.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    /// Ends of the stretches that their values are of.
    pub(super) t_s: Vec<u64>,
    pub(super) places: Vec<PlaceSummary>,
    /// Places that are left out of these.
    pub(super) unshown: u64,
}

impl ServerSummary {
    /// What readings add up to. `named`: metrics and queries that have a name of their own.
    pub(super) fn new(
        sources: Vec<SourceSummary>,
        readings: &Readings,
        named: &[String],
    ) -> ServerSummary {
        let Told { t_s, places, unshown } = places(readings, f64::NEG_INFINITY);
        let missing = named.iter().filter(|name| !readings.has_value(name)).cloned().collect();
        ServerSummary { sources, t_s, places, missing, unread: readings.unread() as u64, unshown }
    }
}

/// The figures of all places from an instant on.
pub(super) fn places(readings: &Readings, from_s: f64) -> Told {
    let cut: Vec<Cut<'_>> = readings
        .series
        .iter()
        .map(|series| Cut { series, points: series.since(from_s), gone: readings.gone(series) })
        .filter(|cut| cut.points.len() > 1)
        .collect();
    let least = f64::from(readings.step) * STRETCH_MIN;
    let ticks: BTreeSet<u32> = cut
        .iter()
        .flat_map(|cut| cut.steps())
        .filter(|step| step.seconds >= least)
        .map(|step| step.tick)
        .collect();
    let ticks: Vec<u32> = ticks.into_iter().collect();
    let mut by_name: BTreeMap<(Kind, &str), Vec<&Cut<'_>>> = BTreeMap::new();
    for cut in &cut {
        let Place { kind, name, .. } = &cut.series.place;
        by_name.entry((*kind, name)).or_default().push(cut);
    }
    let is_named = |kind: Kind| matches!(kind, Kind::Processes | Kind::Metric);
    let wholes = by_name.keys().filter(|(kind, _)| !is_named(*kind)).count();
    let room = PLACES_MAX.saturating_sub(wholes);
    let replicas = |all: &[&Cut<'_>]| if all.len() > 1 { all.len() } else { 0 };
    let with_replicas = by_name.values().map(|all| replicas(all)).sum::<usize>() <= room;
    let mut unshown = wholes.saturating_sub(PLACES_MAX);
    let mut places = Vec::new();
    // Those with names come last.
    let shown = by_name.into_iter().enumerate();
    let shown = shown.filter(|(index, ((kind, _), _))| *index < PLACES_MAX || is_named(*kind));
    for (_, ((kind, name), all)) in shown {
        let whole = Place { kind, name: name.to_owned(), replica: None };
        places.push(place(&whole, &all, &ticks, true));
        if !with_replicas {
            unshown += replicas(&all);
        } else if all.len() > 1 {
            let mut all = all;
            all.sort_by(|a, b| a.series.place.cmp(&b.series.place));
            places.extend(all.iter().map(|cut| place(&cut.series.place, &[cut], &ticks, false)));
        }
    }
    let t_s = ticks.into_iter().map(u64::from).collect();
    Told { t_s, places, unshown: unshown as u64 }
}

/// The selected part of a series.
struct Cut<'a> {
    series: &'a Series,
    points: &'a [Point],
    gone: Option<f64>,
}

impl Cut<'_> {
    fn steps(&self) -> impl Iterator<Item = Step> {
        self.points.windows(2).map(|pair| Step::between(&pair[0], &pair[1]))
    }

    /// From the first point to the last.
    fn whole(&self) -> Step {
        Step::between(&self.points[0], &self.points[self.points.len() - 1])
    }
}

/// A place of one or more series.
fn place(place: &Place, all: &[&Cut<'_>], ticks: &[u32], over_time: bool) -> PlaceSummary {
    let mut by_tick: BTreeMap<u32, Step> = BTreeMap::new();
    for step in all.iter().flat_map(|cut| cut.steps()) {
        let so_far = by_tick.remove(&step.tick);
        by_tick.insert(step.tick, so_far.map_or(step, |so_far| so_far.and(&step)));
    }
    // For several series, the time in which any of them was present.
    let starts = all.iter().map(|cut| cut.points[0].at_s);
    let ends = all.iter().map(|cut| cut.points[cut.points.len() - 1].at_s);
    let seconds = ends.fold(f64::NEG_INFINITY, f64::max) - starts.fold(f64::INFINITY, f64::min);
    let whole = all.iter().map(|cut| cut.whole()).reduce(|one, other| one.and(&other));
    let whole = Step { seconds, ..whole.unwrap_or_default() };
    let figures = [Figure::Value].into_iter().chain(Figure::NAMED.map(|(_, figure)| figure));
    let figures = figures.filter_map(|figure| {
        let at = |tick: &u32| {
            let value = by_tick.get(tick).and_then(|step| value(figure, step));
            value.filter(|value| value.is_finite()).map(rounded)
        };
        let values: Vec<Option<f64>> = ticks.iter().map(at).collect();
        let told: Vec<f64> = values.iter().flatten().copied().collect();
        let value = match is_level(figure, &whole.counts) {
            true => (!told.is_empty()).then(|| told.iter().sum::<f64>() / told.len() as f64),
            false => value(figure, &whole).filter(|value| value.is_finite()),
        };
        let max = told.iter().copied().reduce(f64::max);
        let is_there = value.is_some() || max.is_some() || is_level(figure, &whole.counts);
        let values = if over_time { values } else { Vec::new() };
        is_there.then(|| (figure, FigureSummary { value: value.map(rounded), max, values }))
    });
    PlaceSummary {
        name: place.name.clone(),
        replica: place.replica.clone().filter(|_| !over_time),
        kind: match place.kind {
            Kind::Pod if place.name == "gateway" => PlaceKind::Gateway,
            Kind::Pod => PlaceKind::Executor,
            Kind::Host => PlaceKind::Host,
            Kind::Processes => PlaceKind::Processes,
            Kind::Metric => PlaceKind::Metric,
        },
        replicas: all.iter().filter_map(|cut| cut.series.place.replica.clone()).collect(),
        restarts: all.iter().map(|cut| cut.series.restarts).sum(),
        // Of several, the last one counts.
        gone_after_s: all
            .iter()
            .map(|cut| cut.gone)
            .collect::<Option<Vec<f64>>>()
            .and_then(|gone| gone.into_iter().reduce(f64::max).map(rounded)),
        pending_by_littles_law: whole.counts.get(Quantity::Pending).is_none()
            && whole.counts.get(Quantity::Receiving).is_some(),
        figures: figures.collect(),
    }
}

/// Whether a figure is a level at an instant, not a change since the last one.
fn is_level(figure: Figure, counts: &Counts) -> bool {
    let quantity = match figure {
        Figure::Pending => Quantity::Pending,
        Figure::Memory => Quantity::Memory,
        Figure::Threads => Quantity::Threads,
        Figure::Value => Quantity::Value,
        _ => return false,
    };
    counts.get(quantity).is_some()
}

fn value(figure: Figure, step: &Step) -> Option<f64> {
    let get = |quantity| step.counts.get(quantity);
    let per_s =
        |count: Option<f64>| count.filter(|_| step.seconds > 0.0).map(|count| count / step.seconds);
    let mean = |sum, count| {
        let (sum, count) = (get(sum)?, get(count)?);
        (count > 0.0).then(|| sum / count * 1e3)
    };
    match figure {
        Figure::Rate => per_s(get(Quantity::Receiving).or_else(|| get(Quantity::Process))),
        Figure::Mean => mean(Quantity::ReceivingSeconds, Quantity::Receiving),
        Figure::Process => mean(Quantity::ProcessSeconds, Quantity::Process),
        Figure::Sending => mean(Quantity::SendingSeconds, Quantity::Sending),
        Figure::Pending => {
            get(Quantity::Pending).or_else(|| per_s(get(Quantity::ReceivingSeconds)))
        }
        Figure::Documents => per_s(get(Quantity::Documents)),
        Figure::Failed => get(Quantity::Failed),
        Figure::Received => per_s(get(Quantity::BytesIn)),
        Figure::Sent => per_s(get(Quantity::BytesOut)),
        Figure::Cpu => per_s(get(Quantity::CpuSeconds)),
        // One of several uses no more than all.
        Figure::Busiest => {
            let (one, all) = (get(Quantity::BusiestSeconds), get(Quantity::CpuSeconds));
            per_s(one.zip(all).map(|(one, all)| one.min(all)))
        }
        Figure::Memory => get(Quantity::Memory),
        Figure::Threads => get(Quantity::Threads),
        Figure::Value => get(Quantity::Value).or_else(|| per_s(get(Quantity::Growing))),
    }
}

/// Six significant digits: more were not measured.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::readings::Page;

    /// A replica that has finished `count` requests, which took it `seconds` in total.
    fn pod(name: &str, count: f64, seconds: f64) -> (Place, Counts) {
        let mut counts = Counts::default();
        counts.set(Quantity::Receiving, count);
        counts.set(Quantity::ReceivingSeconds, seconds);
        counts.set(Quantity::Memory, 100.0);
        let (name, replica) = name.split_once('/').expect("a replica");
        (Place::pod(name, Some(replica)), counts)
    }

    #[test]
    fn an_executor_is_the_sum_of_its_replicas() {
        let mut readings = Readings::of(2);
        for second in 0..=4 {
            let n = f64::from(second);
            let fast =
                Page { places: vec![pod("enc/rep-0", 30.0 * n, 0.3 * n)], ..Page::default() };
            let slow =
                Page { places: vec![pod("enc/rep-1", 10.0 * n, 2.0 * n)], ..Page::default() };
            readings.add(0, second, n, fast);
            readings.add(1, second, n, slow);
        }
        let Told { t_s, places: all, unshown } = places(&readings, 0.0);
        assert_eq!((t_s, unshown), (vec![1, 2, 3, 4], 0));
        let names: Vec<String> = all.iter().map(PlaceSummary::full_name).collect();
        assert_eq!(names, ["enc", "enc/rep-0", "enc/rep-1"]);
        let value = |place: usize, figure| all[place].value(figure);
        assert_eq!(value(0, Figure::Rate), Some(40.0));
        assert_eq!(value(0, Figure::Mean), Some(57.5));
        assert_eq!(value(0, Figure::Pending), Some(2.3));
        assert_eq!(value(0, Figure::Memory), Some(200.0));
        assert_eq!(value(1, Figure::Mean), Some(10.0));
        assert_eq!(value(2, Figure::Mean), Some(200.0));
        assert!(all[0].pending_by_littles_law);
        assert_eq!(all[0].figures[&Figure::Rate].values, [Some(40.0); 4]);
        assert!(all[1].figures[&Figure::Rate].values.is_empty());
        // The last two seconds alone.
        let told = places(&readings, 3.0);
        assert_eq!((told.t_s, told.places[0].value(Figure::Rate)), (vec![3, 4], Some(40.0)));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut readings = Readings::of(1);
        for second in 0..=2 {
            let n = f64::from(second);
            let all = (0..100).map(|k| pod(&format!("enc/rep-{k}"), n, n));
            readings.add(
                0,
                second,
                n,
                Page { places: all.collect(), unread: 7, ..Page::default() },
            );
        }
        let told = places(&readings, 0.0);
        assert_eq!((told.places.len(), told.unshown, readings.unread()), (1, 100, 7));
        assert_eq!(told.places[0].value(Figure::Rate), Some(100.0));
    }

    #[test]
    fn what_is_no_number_is_no_figure() {
        let mut readings = Readings::of(1);
        for second in 0..=3 {
            let n = f64::from(second);
            let (place, mut counts) = pod("enc/rep-0", 10.0 * n, n);
            counts.set(Quantity::Pending, f64::NAN);
            counts.set(Quantity::Memory, if second == 2 { f64::NAN } else { 100.0 });
            readings.add(0, second, n, Page { places: vec![(place, counts)], ..Page::default() });
        }
        let all = places(&readings, 0.0).places;
        let figure = |figure| &all[0].figures[&figure];
        assert_eq!((figure(Figure::Pending).value, figure(Figure::Pending).max), (None, None));
        assert!(!all[0].pending_by_littles_law);
        assert_eq!(figure(Figure::Memory).value, Some(100.0));
        assert_eq!(figure(Figure::Memory).values, [Some(100.0), None, Some(100.0)]);
    }

    #[test]
    fn one_process_is_never_busier_than_all() {
        let mut readings = Readings::of(1);
        for (second, at_s, busy_s) in [(0, -0.004, 0.0), (1, 1.02, 0.43), (2, 1.98, 0.83)] {
            let mut counts = Counts::default();
            counts.set(Quantity::CpuSeconds, busy_s);
            counts.set(Quantity::BusiestSeconds, busy_s);
            let places = vec![(Place::processes(), counts)];
            readings.add(0, second, at_s, Page { places, ..Page::default() });
        }
        let all = places(&readings, 0.0).places;
        assert_eq!(all[0].figures[&Figure::Busiest], all[0].figures[&Figure::Cpu]);
    }
}
