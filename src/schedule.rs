//! The schedule of a load: rates or clients over time, and when arrivals are due. Pure arithmetic: nothing
//! here waits.
//!
//! The [`Profile`] is a level over time in linear stages; the area under a profile of rates up to an instant
//! is the number of arrivals expected until then. The [`ArrivalProcess`] places the arrivals on that area: at
//! 0, 1, 2 … if it is uniform, at random steps with mean 1 otherwise. An arrival is due when the area under
//! the profile reaches its place. So ramps, stages and pauses work with every process, and a seed always
//! gives the same arrivals.

mod pause;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution, Gamma};
use rand_pcg::Pcg64;
use schemars::JsonSchema;
use serde::Deserialize;

pub use pause::Pause;

/// A level over time, stage by stage: arrivals per second, or clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pieces: Vec<Piece>,
}

/// A section of a [`Profile`] in which the level is constant or changes linearly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The level at its start; finite, not negative.
    pub from: f64,
    /// The level at its end.
    pub to: f64,
    /// Its length; `None`, in the last stage only, means until the load ends.
    pub length: Option<Duration>,
}

/// A stage with its position in the profile.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    stage: Stage,
    /// Seconds from the start of the profile.
    start: f64,
    /// Length in seconds; infinite for a stage without one.
    length: f64,
    /// The area under the stages before it.
    before: f64,
}

/// The distribution of the gaps between arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalProcess {
    /// All gaps are equal.
    #[default]
    Uniform,
    /// Arrivals of many independent users.
    Poisson,
    /// The same, but with exactly as many arrivals as the rate gives over the load's duration, whatever the
    /// seed.
    PoissonExact,
    /// More or less bursty than `poisson`.
    Gamma(GammaGaps),
}

/// Gaps with a gamma distribution.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct GammaGaps {
    /// The standard deviation of the gaps, divided by their mean: 1 is `poisson`, below 1 they are more
    /// even, above 1 requests come in bursts. From 0.01 to 10.
    pub burstiness: f64,
}

/// When arrivals are due.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At a rate.
    Rate {
        /// Arrivals per second, 0 during a pause. Never empty. The last stage lasts until the load ends.
        profile: Profile,
        /// The gaps between them.
        process: ArrivalProcess,
    },
    /// As recorded.
    Trace {
        /// Due times from the start of the load, ascending, with `speed` applied.
        due: Arc<[Duration]>,
        /// The file of the recording.
        path: PathBuf,
        /// How many times faster it is replayed.
        speed: f64,
    },
}

impl Stage {
    /// A constant level until the load ends.
    pub fn constant(level: f64) -> Stage {
        Stage { from: level, to: level, length: None }
    }

    /// The higher level of its two ends.
    pub fn peak(&self) -> f64 {
        self.from.max(self.to)
    }
}

impl ArrivalProcess {
    /// The standard deviation of the gaps, divided by their mean.
    pub fn burstiness(self) -> f64 {
        match self {
            ArrivalProcess::Uniform => 0.0,
            ArrivalProcess::Poisson | ArrivalProcess::PoissonExact => 1.0,
            ArrivalProcess::Gamma(gaps) => gaps.burstiness,
        }
    }

    /// Whether the number of arrivals of a profile does not depend on the seed.
    pub(crate) fn is_exact(self) -> bool {
        matches!(self, ArrivalProcess::Uniform | ArrivalProcess::PoissonExact)
    }
}

impl Profile {
    /// The same level throughout.
    pub fn constant(level: f64, length: Option<Duration>) -> Profile {
        Profile::new([Stage { length, ..Stage::constant(level) }])
    }

    /// A sequence of stages. A stage without length keeps its first level forever, and later stages are never
    /// reached.
    pub fn new(stages: impl IntoIterator<Item = Stage>) -> Profile {
        let mut start = 0.0;
        let mut before = 0.0;
        let pieces = stages
            .into_iter()
            .map(|stage| {
                let length = stage.length.map_or(f64::INFINITY, |length| length.as_secs_f64());
                let to = if length.is_finite() { stage.to } else { stage.from };
                let piece = Piece { stage: Stage { to, ..stage }, start, length, before };
                start += length;
                before = piece.before + piece.area(length);
                piece
            })
            .collect();
        Profile { pieces }
    }

    /// The stages, in order.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = &Stage> {
        self.pieces.iter().map(|piece| &piece.stage)
    }

    /// The level, if there is a single stage that never ends.
    pub fn as_constant(&self) -> Option<f64> {
        match self.pieces.as_slice() {
            [Piece { stage: Stage { from, length: None, .. }, .. }] => Some(*from),
            _ => None,
        }
    }

    /// The same profile cut off at `end`. A profile without an end gets this one.
    pub fn until(&self, end: Duration) -> Profile {
        let seconds = end.as_secs_f64();
        let pieces = self.pieces.iter().take_while(|piece| piece.start < seconds);
        Profile::new(pieces.map(|piece| match seconds - piece.start {
            left if left >= piece.length => piece.stage,
            left => Stage {
                from: piece.stage.from,
                to: piece.level_at(left),
                length: Some(Duration::from_secs_f64(left)),
            },
        }))
    }

    /// The area under the whole profile; infinite without an end.
    pub fn area(&self) -> f64 {
        self.pieces.last().map_or(0.0, |last| last.before + last.area(last.length))
    }

    /// The area under the profile up to `t`.
    pub(crate) fn area_until(&self, t: Duration) -> f64 {
        let t = t.as_secs_f64();
        let piece = self.pieces.iter().rfind(|piece| piece.start <= t);
        piece.map_or(0.0, |piece| piece.before + piece.area((t - piece.start).min(piece.length)))
    }

    /// The length of the profile; `None` if it has no end.
    pub fn length(&self) -> Option<Duration> {
        self.stages().map(|stage| stage.length).sum()
    }

    /// The level at `t` seconds; 0 past the end.
    pub(crate) fn level_at(&self, t: f64) -> f64 {
        let piece = self.pieces.iter().find(|piece| t < piece.start + piece.length);
        piece.map_or(0.0, |piece| piece.level_at(t - piece.start))
    }

    /// The highest level.
    pub fn peak(&self) -> f64 {
        self.stages().map(Stage::peak).fold(0.0, f64::max)
    }

    /// The level at which the load begins. If that is 0, in a pause or at the start of a ramp, there would be
    /// no load to warm up with: then the mean of the first stage that is not constantly 0.
    pub(crate) fn warmup_level(&self) -> f64 {
        match self.stages().find(|stage| stage.peak() > 0.0) {
            Some(stage) if stage.from > 0.0 => stage.from,
            Some(stage) => stage.to / 2.0,
            None => 0.0,
        }
    }

    /// The instant at which the area under the profile reaches `area`; `None` if it never does.
    ///
    /// The end itself is excluded: a stage of 10/s for 1 s has the places 0 to 9.
    pub fn reaches(&self, area: f64) -> Option<Duration> {
        // The last piece whose `before` is not above `area`; pauses before it have the same `before` and are
        // skipped, so an arrival falls after a pause and not into it.
        let first = self.pieces.partition_point(|piece| piece.before <= area).checked_sub(1)?;
        // Sums of pieces have rounding errors: a place that close to an end counts as past it.
        let holds = |piece: &&Piece| area - piece.before < piece.area(piece.length) * (1.0 - 1e-12);
        let piece = self.pieces[first..].iter().find(holds)?;
        let within = (area - piece.before).max(0.0);
        Some(Duration::from_secs_f64(piece.start + piece.reaches(within)))
    }
}

impl Piece {
    /// Change of the level per second.
    fn slope(&self) -> f64 {
        let changes = self.length.is_finite() && self.length > 0.0;
        if changes { (self.stage.to - self.stage.from) / self.length } else { 0.0 }
    }

    /// The level after `t` seconds.
    fn level_at(&self, t: f64) -> f64 {
        self.stage.from + self.slope() * t
    }

    /// Area under the first `t` seconds; `t` may be infinite.
    fn area(&self, t: f64) -> f64 {
        match t.is_finite() {
            true => self.stage.from * t + self.slope() * t * t / 2.0,
            // A level of 0 has no area, even forever.
            false if self.stage.from == 0.0 => 0.0,
            false => f64::INFINITY,
        }
    }

    /// Seconds until the area reaches `area`. Solves `from·t + slope·t²/2 = area` for `t`, in a form that
    /// also works for slope 0 and does not lose digits for small slopes.
    fn reaches(&self, area: f64) -> f64 {
        let from = self.stage.from;
        let root = (from * from + 2.0 * self.slope() * area).max(0.0).sqrt();
        if area == 0.0 { 0.0 } else { 2.0 * area / (from + root) }
    }
}

impl Schedule {
    /// A constant rate per second without end.
    pub fn constant(rate: f64, process: ArrivalProcess) -> Schedule {
        Schedule::Rate { profile: Profile::constant(rate, None), process }
    }

    /// Its own length; `None` if it has no end or is a trace.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Schedule::Rate { profile, .. } => profile.length(),
            Schedule::Trace { .. } => None,
        }
    }

    /// All arrivals in order. An exact process has its exact number within `end`, if that is before the end
    /// of the profile.
    pub(crate) fn due_times(&self, seed: u64, end: Option<Duration>) -> DueTimes {
        match self {
            Schedule::Rate { profile, process } => {
                let profile = end.map_or_else(|| profile.clone(), |end| profile.until(end));
                DueTimes::at_rate(profile, *process, seed)
            }
            Schedule::Trace { due, .. } => DueTimes::recorded(due.clone()),
        }
    }

    /// The arrivals of a warmup of this length: at the rate at which the load begins, with separate random
    /// numbers. For a trace, the beginning of the trace.
    pub fn warmup(&self, seed: u64, length: Duration) -> DueTimes {
        match self {
            Schedule::Rate { profile, process } => {
                let profile = Profile::constant(profile.warmup_level(), Some(length));
                DueTimes::at_rate(profile, *process, !seed)
            }
            Schedule::Trace { due, .. } => DueTimes::recorded(due.clone()),
        }
    }
}

/// An arbitrary constant that separates the schedule's random numbers from all others with the same seed.
const SCHEDULE_STREAM: u128 = 0x5c4e_d01e;

/// Iterates over the due times of a [`Schedule`], counted from the start, in constant memory.
#[derive(Clone, Debug)]
pub struct DueTimes {
    places: Places,
    next: u64,
    limit: u64,
}

#[derive(Clone, Debug)]
enum Places {
    Rate { profile: Profile, gaps: Box<Gaps> },
    Trace(Arc<[Duration]>),
}

impl DueTimes {
    fn at_rate(profile: Profile, process: ArrivalProcess, seed: u64) -> DueTimes {
        let random = Pcg64::new(u128::from(seed), SCHEDULE_STREAM);
        let gaps = match process {
            ArrivalProcess::Uniform => Gaps::Uniform,
            ArrivalProcess::Poisson => Gaps::Exponential { random, place: 0.0 },
            ArrivalProcess::Gamma(GammaGaps { burstiness }) => {
                // The coefficient of variation of a gamma distribution is `1/√shape`.
                let shape = burstiness.powi(-2);
                // Shape and scale are above zero, which is all that `new` requires.
                Gaps::Gamma { random, place: 0.0, gap: Gamma::new(shape, 1.0 / shape).ok() }
            }
            ArrivalProcess::PoissonExact => {
                let area = profile.area();
                Gaps::Exact { random, place: 0.0, area, left: area.round() as u64 }
            }
        };
        DueTimes {
            places: Places::Rate { profile, gaps: Box::new(gaps) },
            next: 0,
            limit: u64::MAX,
        }
    }

    fn recorded(due: Arc<[Duration]>) -> DueTimes {
        DueTimes { places: Places::Trace(due), next: 0, limit: u64::MAX }
    }

    /// The same, with at most `limit` arrivals.
    pub(crate) fn limited(self, limit: u64) -> DueTimes {
        DueTimes { limit: self.limit.min(limit), ..self }
    }

    /// Whether the limit ended them rather than the schedule itself.
    pub(crate) fn is_limited(&self) -> bool {
        self.next >= self.limit
    }
}

/// Generates the places of arrivals on the area under the rate.
#[derive(Clone, Debug)]
enum Gaps {
    Uniform,
    Exponential {
        random: Pcg64,
        place: f64,
    },
    Gamma {
        random: Pcg64,
        place: f64,
        gap: Option<Gamma<f64>>,
    },
    /// Poisson, given that their number is the rounded area: as if that many were scattered over the area at
    /// random.
    Exact {
        random: Pcg64,
        place: f64,
        area: f64,
        left: u64,
    },
}

impl Gaps {
    /// The place of the next arrival, which is the `n`-th.
    fn next(&mut self, n: u64) -> Option<f64> {
        match self {
            Gaps::Uniform => Some(n as f64),
            Gaps::Exponential { random, place } => {
                *place -= (1.0 - unit(random)).ln();
                Some(*place)
            }
            Gaps::Gamma { random, place, gap } => {
                *place += gap.as_ref()?.sample(random);
                Some(*place)
            }
            Gaps::Exact { random, place, area, left } => {
                // Order statistics of uniform numbers, smallest first: of `left` numbers in the remaining
                // area, the smallest is at the `x` for which `(1 - x)^left` is uniform.
                let exponent = 1.0 / *left as f64;
                *left = left.checked_sub(1)?;
                let share = 1.0 - (1.0 - unit(random)).powf(exponent);
                *place += (*area - *place) * share;
                Some(*place)
            }
        }
    }
}

/// A number in [0, 1) from the upper 53 bits, the same on every machine and in every release.
fn unit(random: &mut Pcg64) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

impl Iterator for DueTimes {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.next >= self.limit {
            return None;
        }
        let due = match &mut self.places {
            Places::Rate { profile, gaps } => profile.reaches(gaps.next(self.next)?)?,
            Places::Trace(due) => *due.get(usize::try_from(self.next).ok()?)?,
        };
        self.next += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn stage((from, to, length): (f64, f64, Option<Duration>)) -> Stage {
        Stage { from, to, length }
    }

    fn profile(stages: impl IntoIterator<Item = (f64, f64, Option<Duration>)>) -> Profile {
        Profile::new(stages.into_iter().map(stage))
    }

    fn due(profile: Profile, process: ArrivalProcess, seed: u64) -> DueTimes {
        Schedule::Rate { profile, process }.due_times(seed, None)
    }

    fn uniform(profile: Profile) -> DueTimes {
        due(profile, ArrivalProcess::Uniform, 0)
    }

    fn due_ms(due: DueTimes) -> Vec<u128> {
        due.map(|due| due.as_millis()).collect()
    }

    const fn gamma(burstiness: f64) -> ArrivalProcess {
        ArrivalProcess::Gamma(GammaGaps { burstiness })
    }

    #[test]
    fn a_constant_rate_is_due_at_even_gaps_from_the_start() {
        let due = uniform(Profile::constant(10.0, secs(1)));
        assert_eq!(due_ms(due), [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn a_limit_ends_a_rate_that_has_no_end() {
        let mut due = uniform(Profile::constant(2.0, None)).limited(3);
        assert_eq!(due_ms(due.clone()), [0, 500, 1000]);
        assert!(due.nth(2).is_some() && due.is_limited());
    }

    #[test]
    fn rounding_does_not_add_up_over_a_day() {
        let profile = Profile::constant(3.0, None);
        assert_eq!(profile.reaches(3.0 * 86_400.0), secs(86_400));
    }

    #[test]
    fn a_ramp_from_zero_is_due_where_its_triangle_reaches_whole_numbers() {
        // 0/s to 10/s in 10 s: the area is t²/2, so the n-th is due at √(2n).
        let ramp = profile([(0.0, 10.0, secs(10))]);
        assert_eq!(ramp.reaches(2.0), secs(2));
        assert_eq!(ramp.reaches(8.0), secs(4));
        assert_eq!(ramp.reaches(49.0).map(|due| due.as_millis()), Some(9899));
        assert_eq!(ramp.reaches(50.0), None);
    }

    #[test]
    fn a_falling_ramp_ends_where_the_rate_is_zero() {
        let due = uniform(profile([(10.0, 0.0, secs(10))]));
        assert_eq!(due.clone().count(), 50);
        assert!(due.last() < secs(10));
    }

    #[test]
    fn nothing_is_due_in_a_pause() {
        let profile = profile([(2.0, 2.0, secs(1)), (0.0, 0.0, secs(5)), (2.0, 2.0, secs(1))]);
        assert_eq!(due_ms(uniform(profile)), [0, 500, 6000, 6500]);
    }

    #[test]
    fn areas_and_levels_are_those_of_trapezoids() {
        let profile =
            profile([(100.0, 100.0, secs(30)), (100.0, 1000.0, secs(60)), (0.0, 0.0, secs(10))]);
        assert_eq!(profile.area_until(Duration::from_secs(100)), 3000.0 + 33_000.0);
        assert_eq!(profile.area_until(Duration::from_secs(500)), profile.area());
        assert_eq!(profile.area_until(Duration::from_secs(60)), 3000.0 + 9750.0);
        assert_eq!((profile.level_at(60.0), profile.level_at(95.0)), (550.0, 0.0));
        assert_eq!((profile.peak(), profile.length()), (1000.0, secs(100)));
    }

    #[test]
    fn a_profile_is_cut_where_its_load_ends() {
        let ramp = profile([(0.0, 10.0, secs(10)), (10.0, 10.0, None)]);
        assert_eq!(ramp.until(Duration::from_secs(5)), profile([(0.0, 5.0, secs(5))]));
        let both = profile([(0.0, 10.0, secs(10)), (10.0, 10.0, secs(10))]);
        assert_eq!(ramp.until(Duration::from_secs(20)), both);
        let schedule = Schedule::Rate { profile: ramp, process: ArrivalProcess::PoissonExact };
        assert_eq!(schedule.due_times(1, secs(20)).count(), 150);
    }

    #[test]
    fn a_warmup_is_at_the_rate_at_which_the_load_begins() {
        let of = |stages: &[(f64, f64, Option<Duration>)]| {
            profile(stages.iter().copied()).warmup_level()
        };
        assert_eq!(of(&[(5.0, 9.0, secs(1))]), 5.0);
        assert_eq!(of(&[(0.0, 20.0, secs(1))]), 10.0);
        assert_eq!(of(&[(0.0, 0.0, secs(1)), (7.0, 7.0, None)]), 7.0);
    }

    #[test]
    fn exact_poisson_has_the_expected_number_of_arrivals_whatever_the_seed() {
        for seed in 0..20 {
            let profile = Profile::constant(100.0, secs(2));
            assert_eq!(due(profile, ArrivalProcess::PoissonExact, seed).count(), 200);
        }
    }

    #[test]
    fn the_seed_alone_decides_random_arrivals() {
        let of = |seed| due(Profile::constant(100.0, secs(1)), ArrivalProcess::Poisson, seed);
        assert!(of(7).eq(of(7)));
        assert!(of(7).ne(of(8)));
    }

    /// Mean and coefficient of variation of the gaps.
    fn gaps(process: ArrivalProcess) -> (f64, f64) {
        let due = due(Profile::constant(1000.0, None), process, 42).limited(200_000);
        let due: Vec<f64> = due.map(|due| due.as_secs_f64()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) * 1000.0).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_and_spread_of_their_process() {
        for process in [ArrivalProcess::Uniform, ArrivalProcess::Poisson, gamma(0.5), gamma(2.0)] {
            let (mean, spread) = gaps(process);
            assert!((mean - 1.0).abs() < 0.01, "mean gap {mean} of {process:?}");
            assert!((spread - process.burstiness()).abs() < 0.02, "{spread} of {process:?}");
        }
    }

    proptest! {
        #[test]
        fn arrivals_never_go_backwards_and_fill_the_area(
            pieces in proptest::collection::vec((0u32..200, 0u32..200, 1u64..20), 1..6),
            seed in any::<u64>(),
        ) {
            let profile = profile(
                pieces.iter().map(|&(from, to, length)| (from.into(), to.into(), secs(length))),
            );
            let area = profile.area();
            for process in [
                ArrivalProcess::Uniform,
                ArrivalProcess::Poisson,
                ArrivalProcess::PoissonExact,
                gamma(0.7),
            ] {
                let due: Vec<Duration> = due(profile.clone(), process, seed).collect();
                prop_assert!(due.is_sorted());
                prop_assert!(due.last() <= profile.length().as_ref());
                let expected = match process.is_exact() {
                    true => (area - 1.0, area + 1.0),
                    false => (area - 6.0 * area.sqrt() - 8.0, area + 6.0 * area.sqrt() + 8.0),
                };
                let count = due.len() as f64;
                prop_assert!(expected.0 <= count && count <= expected.1, "{count} of {area}");
            }
        }

        /// Area and instant are inverse functions, and the area is that under the levels.
        #[test]
        fn an_area_is_reached_when_so_much_of_it_is_past(
            pieces in proptest::collection::vec((0u32..200, 0u32..200, 1u64..20), 1..6),
            share in 0.0..1.0f64,
        ) {
            let profile = profile(
                pieces.iter().map(|&(from, to, length)| (from.into(), to.into(), secs(length))),
            );
            let at = profile.length().expect("it ends").mul_f64(share);
            let area = profile.area_until(at);
            let steps = 20_000;
            let dt = at.as_secs_f64() / f64::from(steps);
            let sum: f64 =
                (0..steps).map(|n| profile.level_at((f64::from(n) + 0.5) * dt) * dt).sum();
            prop_assert!((sum - area).abs() <= 1.0 + area * 1e-3, "{sum} for {area}");
            if let Some(reached) = profile.reaches(area) {
                prop_assert!((profile.area_until(reached) - area).abs() <= 1e-6 * area.max(1.0));
            }
        }
    }
}
