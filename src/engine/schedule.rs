//! When arrivals are due. Arithmetic on numbers: nothing here waits.
//!
//! A schedule has two halves. The [`Profile`] is the rate over time as straight pieces; the area
//! under it up to an instant is the number of arrivals expected until then. The [`Law`] says where
//! on that area the arrivals lie: at 0, 1, 2 … for a uniform law, at random steps of mean 1 for the
//! others. An arrival is due where the area under the profile reaches its place. So ramps, stages
//! and pauses serve every law, and the same seed gives the same schedule whoever carries it out.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution, Gamma};
use rand_pcg::Pcg64;

/// A rate over time, piece by piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pieces: Vec<Piece>,
}

/// A stretch of a [`Profile`] along which the rate changes in a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// Seconds from the start of the profile.
    start: f64,
    /// Length in seconds; infinite for a load without an end of its own.
    length: f64,
    /// Arrivals per second at its start.
    from: f64,
    /// Arrivals per second at its end.
    to: f64,
    /// Area under the pieces before it.
    before: f64,
}

/// Where on the area under the rate the arrivals lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// One at every whole number, beginning with 0.
    Uniform,
    /// Exponential steps: arrivals that know nothing of one another.
    Poisson,
    /// Gamma-distributed steps of mean 1. A shape below 1 makes bursts, above 1 regularity; 1 is
    /// Poisson.
    Gamma {
        /// Above zero. The coefficient of variation of the steps is `1/√shape`.
        shape: f64,
    },
    /// Poisson, given that their number is the area rounded: as if that many had been thrown onto
    /// the area at random. Needs a profile that ends.
    PoissonExact,
}

/// When arrivals are due.
#[derive(Clone, Debug)]
pub struct Schedule {
    kind: Kind,
    /// No more arrivals than these.
    limit: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Rate { profile: Profile, law: Law, seed: u64 },
    Trace(Arc<[Duration]>),
}

impl Profile {
    /// The same rate (per second) all along, or without end.
    pub fn constant(rate: f64, length: Option<Duration>) -> Profile {
        Profile::new([(rate, rate, length)])
    }

    /// Pieces one after another: rate at the start, rate at the end (both per second, finite, not
    /// negative), length. A piece without length has its first rate for ever, and the pieces after
    /// it are never reached.
    pub fn new(pieces: impl IntoIterator<Item = (f64, f64, Option<Duration>)>) -> Profile {
        let mut start = 0.0;
        let mut before = 0.0;
        let pieces = pieces
            .into_iter()
            .map(|(from, to, length)| {
                let length = length.map_or(f64::INFINITY, |length| length.as_secs_f64());
                let to = if length.is_finite() { to } else { from };
                let piece = Piece { start, length, from, to, before };
                start += length;
                before = piece.before + piece.area(length);
                piece
            })
            .collect();
        Profile { pieces }
    }

    /// The same up to `end`, and nothing from there on. What has no end gets this one.
    pub fn until(self, end: Duration) -> Profile {
        let end = end.as_secs_f64();
        let pieces = self.pieces.into_iter().take_while(|piece| piece.start < end);
        let cut = |piece: Piece| {
            let length = piece.length.min(end - piece.start);
            Piece { length, to: piece.rate_at(length), ..piece }
        };
        Profile { pieces: pieces.map(cut).collect() }
    }

    /// Arrivals expected in all; infinite for a profile without end.
    pub fn area(&self) -> f64 {
        self.pieces.last().map_or(0.0, |last| last.before + last.area(last.length))
    }

    /// How long the profile lasts; `None`: without end.
    pub fn length(&self) -> Option<Duration> {
        let end = self.pieces.last().map_or(0.0, |last| last.start + last.length);
        end.is_finite().then(|| Duration::from_secs_f64(end))
    }

    /// The rate per second at `t`; 0 past the end.
    pub fn rate_at(&self, t: Duration) -> f64 {
        let t = t.as_secs_f64();
        let piece = self.pieces.iter().find(|piece| t < piece.start + piece.length);
        piece.map_or(0.0, |piece| piece.rate_at(t - piece.start))
    }

    /// The instant at which the area under the profile reaches `area`; `None` when it never does.
    ///
    /// The end itself is outside: a piece of 10/s for 1 s holds the places 0 to 9.
    pub fn reaches(&self, area: f64) -> Option<Duration> {
        // The piece with the last `before` not above `area`; pauses before it have the same
        // `before` and are passed over, so an arrival falls behind a pause and not into it.
        let first = self.pieces.partition_point(|piece| piece.before <= area).checked_sub(1)?;
        // Sums of pieces carry rounding: what lies within it of an end lies past that end.
        let holds = |piece: &&Piece| area - piece.before < piece.area(piece.length) * (1.0 - 1e-12);
        let piece = self.pieces[first..].iter().find(holds)?;
        let within = (area - piece.before).max(0.0);
        Some(Duration::from_secs_f64(piece.start + piece.reaches(within)))
    }
}

impl Piece {
    /// The rate after `t` seconds.
    fn rate_at(&self, t: f64) -> f64 {
        let slopes = self.length.is_finite() && self.length > 0.0;
        let share = if slopes { t / self.length } else { 0.0 };
        self.from + (self.to - self.from) * share
    }

    /// Area under the first `t` seconds.
    fn area(&self, t: f64) -> f64 {
        if !self.length.is_finite() {
            return if self.from == 0.0 { 0.0 } else { self.from * t };
        }
        if self.length == 0.0 {
            return 0.0;
        }
        self.from * t + (self.to - self.from) / self.length * t * t / 2.0
    }

    /// Seconds until the area is `area`. Solves `from·t + slope·t²/2 = area` for `t`, in the form
    /// that also holds for slope 0 and does not lose digits for small ones.
    fn reaches(&self, area: f64) -> f64 {
        let slope = if self.length.is_finite() { (self.to - self.from) / self.length } else { 0.0 };
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        if area == 0.0 { 0.0 } else { 2.0 * area / (self.from + root) }
    }
}

impl Schedule {
    /// Arrivals on a rate.
    pub fn rate(profile: Profile, law: Law, seed: u64) -> Schedule {
        Schedule { kind: Kind::Rate { profile, law, seed }, limit: u64::MAX }
    }

    /// Recorded arrivals, `speed` times as fast. `instants` do not go backwards.
    pub fn trace(instants: &[Duration], speed: f64) -> Schedule {
        let instants = instants.iter().map(|instant| instant.div_f64(speed)).collect();
        Schedule { kind: Kind::Trace(instants), limit: u64::MAX }
    }

    /// The same, but at most `limit` arrivals.
    pub fn limited(self, limit: u64) -> Schedule {
        Schedule { limit: self.limit.min(limit), ..self }
    }

    /// All arrivals in their order, as times from the start.
    pub fn arrivals(&self) -> Arrivals {
        let places = match &self.kind {
            Kind::Rate { profile, law, seed } => {
                let random = Pcg64::new(u128::from(*seed), SCHEDULE_STREAM);
                let steps = match *law {
                    Law::Uniform => Steps::Uniform,
                    Law::Poisson => Steps::Exponential { random, place: 0.0 },
                    Law::Gamma { shape } => Steps::Gamma {
                        random,
                        place: 0.0,
                        // Shape and scale are above zero, which is all that `new` asks for.
                        steps: Gamma::new(shape, 1.0 / shape).ok(),
                    },
                    Law::PoissonExact => {
                        let area = profile.area();
                        Steps::Exact { random, place: 0.0, area, left: area.round() as u64 }
                    }
                };
                Places::Rate { profile: profile.clone(), steps }
            }
            Kind::Trace(instants) => Places::Trace(instants.clone()),
        };
        Arrivals { places, next: 0, limit: self.limit }
    }

    /// When the `n`-th arrival is due, from the start; `None` past the last.
    ///
    /// For the random laws this walks over the arrivals before it.
    pub fn due(&self, n: u64) -> Option<Duration> {
        match &self.kind {
            Kind::Rate { profile, law: Law::Uniform, .. } if n < self.limit => {
                profile.reaches(n as f64)
            }
            Kind::Rate { .. } => self.arrivals().nth(usize::try_from(n).ok()?),
            Kind::Trace(instants) if n < self.limit => {
                instants.get(usize::try_from(n).ok()?).copied()
            }
            Kind::Trace(_) => None,
        }
    }
}

/// Any fixed number: keeps the schedule's random numbers apart from all others of the same seed.
const SCHEDULE_STREAM: u128 = 0x5c4e_d01e;

/// The arrivals of a [`Schedule`], one by one, in constant memory.
#[derive(Clone, Debug)]
pub struct Arrivals {
    places: Places,
    next: u64,
    limit: u64,
}

#[derive(Clone, Debug)]
enum Places {
    Rate { profile: Profile, steps: Steps },
    Trace(Arc<[Duration]>),
}

impl Arrivals {
    /// Whether the limit ended them, and not the schedule itself.
    pub fn is_limited(&self) -> bool {
        self.next >= self.limit
    }
}

/// Walks along the area under the rate.
#[derive(Clone, Debug)]
enum Steps {
    Uniform,
    Exponential { random: Pcg64, place: f64 },
    Gamma { random: Pcg64, place: f64, steps: Option<Gamma<f64>> },
    Exact { random: Pcg64, place: f64, area: f64, left: u64 },
}

impl Steps {
    /// The place of the next arrival, the `n`-th.
    fn next(&mut self, n: u64) -> Option<f64> {
        match self {
            Steps::Uniform => Some(n as f64),
            Steps::Exponential { random, place } => {
                *place -= (1.0 - unit(random)).ln();
                Some(*place)
            }
            Steps::Gamma { random, place, steps } => {
                *place += steps.as_ref()?.sample(random);
                Some(*place)
            }
            Steps::Exact { random, place, area, left } => {
                // Order statistics of uniform numbers, smallest first: of `left` numbers in what
                // remains of the area, the smallest lies where `(1 - x)^left` is uniform.
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

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.next >= self.limit {
            return None;
        }
        let due = match &mut self.places {
            Places::Rate { profile, steps } => profile.reaches(steps.next(self.next)?)?,
            Places::Trace(instants) => *instants.get(usize::try_from(self.next).ok()?)?,
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

    fn due_ms(schedule: &Schedule) -> Vec<u128> {
        schedule.arrivals().map(|due| due.as_millis()).collect()
    }

    fn uniform(profile: Profile) -> Schedule {
        Schedule::rate(profile, Law::Uniform, 0)
    }

    #[test]
    fn a_constant_rate_is_due_at_even_gaps_from_the_start() {
        let schedule = uniform(Profile::constant(10.0, secs(1)));
        assert_eq!(due_ms(&schedule), [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn a_limit_ends_a_rate_that_has_no_end() {
        let schedule = uniform(Profile::constant(2.0, None)).limited(3);
        assert_eq!(due_ms(&schedule), [0, 500, 1000]);
        assert_eq!(schedule.due(3), None);
    }

    #[test]
    fn rounding_does_not_add_up_over_a_day() {
        let schedule = uniform(Profile::constant(3.0, None));
        assert_eq!(schedule.due(3 * 86_400), secs(86_400));
    }

    #[test]
    fn a_ramp_from_zero_is_due_where_its_triangle_reaches_whole_numbers() {
        // 0/s to 10/s in 10 s: the area is t²/2, so the n-th is due at √(2n).
        let schedule = uniform(Profile::new([(0.0, 10.0, secs(10))]));
        assert_eq!(schedule.due(2), secs(2));
        assert_eq!(schedule.due(8), secs(4));
        assert_eq!(schedule.due(49).map(|due| due.as_millis()), Some(9899));
        assert_eq!(schedule.due(50), None);
    }

    #[test]
    fn a_falling_ramp_ends_where_the_rate_is_zero() {
        let schedule = uniform(Profile::new([(10.0, 0.0, secs(10))]));
        assert_eq!(schedule.arrivals().count(), 50);
        assert!(schedule.due(49) < secs(10));
    }

    #[test]
    fn nothing_is_due_in_a_pause() {
        let profile = Profile::new([(2.0, 2.0, secs(1)), (0.0, 0.0, secs(5)), (2.0, 2.0, secs(1))]);
        assert_eq!(due_ms(&uniform(profile)), [0, 500, 6000, 6500]);
    }

    #[test]
    fn a_profile_is_cut_where_its_load_ends() {
        let ramp = || Profile::new([(0.0, 10.0, secs(10)), (10.0, 10.0, None)]);
        assert_eq!(ramp().until(Duration::from_secs(5)), Profile::new([(0.0, 5.0, secs(5))]));
        let both = Profile::new([(0.0, 10.0, secs(10)), (10.0, 10.0, secs(10))]);
        assert_eq!(ramp().until(Duration::from_secs(20)), both);
        let schedule = Schedule::rate(ramp().until(Duration::from_secs(20)), Law::PoissonExact, 1);
        assert_eq!(schedule.arrivals().count(), 150);
    }

    #[test]
    fn a_trace_is_replayed_faster() {
        let trace = [0, 1000, 1500].map(Duration::from_millis);
        assert_eq!(due_ms(&Schedule::trace(&trace, 2.0)), [0, 500, 750]);
    }

    #[test]
    fn exact_poisson_has_the_expected_number_of_arrivals_whatever_the_seed() {
        for seed in 0..20 {
            let schedule =
                Schedule::rate(Profile::constant(100.0, secs(2)), Law::PoissonExact, seed);
            assert_eq!(schedule.arrivals().count(), 200);
        }
    }

    #[test]
    fn the_seed_alone_decides_a_random_schedule() {
        let schedule = |seed| Schedule::rate(Profile::constant(100.0, secs(1)), Law::Poisson, seed);
        assert!(schedule(7).arrivals().eq(schedule(7).arrivals()));
        assert!(schedule(7).arrivals().ne(schedule(8).arrivals()));
    }

    /// Mean and coefficient of variation of the gaps.
    fn gaps(law: Law) -> (f64, f64) {
        let schedule = Schedule::rate(Profile::constant(1000.0, None), law, 42).limited(200_000);
        let due: Vec<f64> = schedule.arrivals().map(|due| due.as_secs_f64()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) * 1000.0).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_and_spread_of_their_law() {
        let near = |(mean, spread): (f64, f64), expected: f64| {
            assert!((mean - 1.0).abs() < 0.01, "mean gap {mean}");
            assert!((spread - expected).abs() < 0.02, "spread {spread}, expected {expected}");
        };
        near(gaps(Law::Uniform), 0.0);
        near(gaps(Law::Poisson), 1.0);
        near(gaps(Law::Gamma { shape: 4.0 }), 0.5);
        near(gaps(Law::Gamma { shape: 0.25 }), 2.0);
    }

    proptest! {
        #[test]
        fn arrivals_never_go_backwards_and_fill_the_area(
            pieces in proptest::collection::vec((0u32..200, 0u32..200, 1u64..20), 1..6),
            seed in any::<u64>(),
        ) {
            let profile = Profile::new(
                pieces.iter().map(|&(from, to, length)| (from.into(), to.into(), secs(length))),
            );
            let area = profile.area();
            for law in [Law::Uniform, Law::Poisson, Law::PoissonExact, Law::Gamma { shape: 2.0 }] {
                let due: Vec<Duration> =
                    Schedule::rate(profile.clone(), law, seed).arrivals().collect();
                prop_assert!(due.is_sorted());
                prop_assert!(due.last() <= profile.length().as_ref());
                let expected = match law {
                    Law::Uniform => (area - 1.0, area + 1.0),
                    Law::PoissonExact => (area - 1.0, area + 1.0),
                    _ => (area - 6.0 * area.sqrt() - 8.0, area + 6.0 * area.sqrt() + 8.0),
                };
                let count = due.len() as f64;
                prop_assert!(expected.0 <= count && count <= expected.1, "{count} of {area}");
            }
        }

        #[test]
        fn the_nth_due_time_is_the_nth_of_the_walk(n in 0u64..500, seed in any::<u64>()) {
            for law in [Law::Uniform, Law::Poisson, Law::Gamma { shape: 0.5 }] {
                let schedule = Schedule::rate(Profile::constant(50.0, secs(10)), law, seed);
                prop_assert_eq!(schedule.due(n), schedule.arrivals().nth(n as usize));
            }
        }
    }
}
