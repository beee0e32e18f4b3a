//! Runs whose true difference is known, with realistic noise: the proof that verdicts are right as often as
//! claimed.
//!
//! A latency is drawn from a body with a heavy tail, and multiplied by factors for its second, its run and its
//! hour, which are correlated with their neighbours. Occasionally a burst slows a share of some seconds, or a
//! whole run is slow. A `NoiseProfile` of runs on a real machine shows how much of each there is.

use flowbench::compare::looks::candidate_first;
use flowbench::compare::{Run, Second};
use flowbench::random::Key;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Exp1, StandardNormal};

/// How noisy runs are. Deviations are those of logarithms, so shares of the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Noise {
    /// Between runs: random and independent.
    pub(crate) run: f64,
    /// Between runs: the deviation of the hour, and how much of it carries over to the next run.
    pub(crate) hour: (f64, f64),
    /// The probability that a run is an outlier, and how much slower it is then.
    pub(crate) outlier: (f64, f64),
    /// Between seconds of a run.
    pub(crate) second: f64,
    /// How much of a second's deviation carries over to the next, from 0 to 1.
    pub(crate) memory: f64,
    /// Bursts per second; each slows a fifth of the requests in one to three seconds two- to threefold.
    pub(crate) bursts: f64,
    /// The slowdown from the first run of both sides to the last.
    pub(crate) drift: f64,
    /// The share of requests that fail, and how much it varies between seconds.
    pub(crate) failures: (f64, f64),
}

/// The parameters of a pair of sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    /// The numbers of runs of base and candidate.
    pub(crate) runs: [usize; 2],
    /// Length of a run in seconds.
    pub(crate) seconds: usize,
    /// Requests per second.
    pub(crate) rate: usize,
    /// Whether the load is closed, with as many clients as make about [`Pair::rate`] on a quiet machine;
    /// otherwise it is open.
    pub(crate) closed: bool,
    /// The noise of both sides.
    pub(crate) noise: Noise,
    /// The true change of the candidate.
    pub(crate) change: TrueChange,
    /// The second run of this side (0 is the base) is this many times slower, in addition to the noise.
    pub(crate) spoiled: Option<(usize, f64)>,
    /// Whether the sides alternate (A B B A); otherwise the base is measured first.
    pub(crate) turns: bool,
}

/// The true change of the candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TrueChange {
    /// All latencies are this many times larger.
    All(f64),
    /// Only latencies above p90 are: the body stays.
    Tail(f64),
    /// This additional share of requests fails.
    Failures(f64),
}

impl Noise {
    /// A dedicated machine in a shared rack: the noise in the published table.
    pub(crate) const USUAL: Noise = Noise {
        run: 0.008,
        hour: (0.004, 0.5),
        outlier: (0.01, 0.15),
        second: 0.04,
        memory: 0.5,
        bursts: 0.000_1,
        drift: 0.02,
        failures: (0.000_2, 0.5),
    };

    /// A machine that others use as well.
    pub(crate) const ROUGH: Noise = Noise {
        run: 0.05,
        hour: (0.04, 0.7),
        outlier: (0.05, 0.5),
        second: 0.08,
        memory: 0.8,
        bursts: 0.005,
        drift: 0.10,
        failures: (0.000_2, 1.0),
    };
}

impl Pair {
    /// Ten runs per side of a minute each at 500/s, alternating, on a dedicated machine, without a change.
    pub(crate) const USUAL: Pair = Pair {
        runs: [10, 10],
        seconds: 60,
        rate: 500,
        closed: false,
        noise: Noise::USUAL,
        change: TrueChange::All(1.0),
        spoiled: None,
        turns: true,
    };

    /// Both sides.
    pub(crate) fn draw(&self, seed: u64) -> (Vec<Run>, Vec<Run>) {
        let side = |side: usize| (0..self.runs[side]).map(|n| self.run(seed, side, n)).collect();
        (side(0), side(1))
    }

    /// The `n`-th run of a side (0 is the base); beyond [`Pair::runs`] there are any number of further runs
    /// with the same noise.
    pub(crate) fn run(&self, seed: u64, side: usize, n: usize) -> Run {
        let candidate = side == 1;
        let place = match self.turns {
            // A B B A A B B A …
            true => 2 * n + usize::from(candidate_first(n) != candidate),
            false => side * self.runs[0] + n,
        };
        let noise = self.noise;
        let all = Key::new(seed);
        let hour = (0..=place).fold(0.0, |hour, place| {
            let fresh = normal(&mut all.part("hour").index(place as u64).rng());
            let (deviation, memory) = noise.hour;
            if place == 0 {
                return deviation * fresh;
            }
            memory * hour + (1.0 - memory * memory).sqrt() * deviation * fresh
        });
        let mut rng = all.index(place as u64).rng();
        let share = place as f64 / (self.runs[0] + self.runs[1]).saturating_sub(1).max(1) as f64;
        let mut level = hour + noise.run * normal(&mut rng) + noise.drift * share;
        if rng.random_bool(noise.outlier.0) {
            level += noise.outlier.1.ln_1p();
        }
        // The second run, because the first is never in the middle of its side.
        if let Some((_, factor)) = self.spoiled.filter(|(of, _)| (*of, 1) == (side, n)) {
            level += factor.ln();
        }
        let mut luck = noise.second * normal(&mut rng);
        let mut burst = 0u32;
        let seconds: Vec<Second> = (0..self.seconds)
            .map(|_| {
                let fresh = normal(&mut rng);
                let own = (1.0 - noise.memory * noise.memory).sqrt() * noise.second * fresh;
                luck = noise.memory * luck + own;
                burst = burst.saturating_sub(1);
                if rng.random_bool(noise.bursts) {
                    burst = rng.random_range(1..=3);
                }
                self.second((level + luck).exp(), burst > 0, candidate, &mut rng)
            })
            .collect();
        Run::of_seconds(place as f64 * (self.seconds + 5) as f64, &seconds)
    }

    fn second(&self, factor: f64, burst: bool, candidate: bool, rng: &mut impl Rng) -> Second {
        let (all, tail, more) = match self.change {
            _ if !candidate => (1.0, 1.0, 0.0),
            TrueChange::All(change) => (change, 1.0, 0.0),
            TrueChange::Tail(change) => (1.0, change, 0.0),
            TrueChange::Failures(more) => (1.0, 1.0, more),
        };
        let (failing, spread) = self.noise.failures;
        let failing = (failing * (spread * normal(rng)).exp() + more).min(1.0);
        let mut latencies: Vec<u64> = Vec::with_capacity(self.rate);
        let mut failed = 0;
        // The time that all clients share, in ms.
        let mut left = self.rate as f64 * TYPICAL_MS;
        let mut requests = 0;
        while if self.closed { left > 0.0 } else { requests < self.rate } {
            requests += 1;
            let (ms, above) = latency(rng);
            let hit = burst && rng.random_bool(0.2);
            let slowed = if hit { rng.random_range(2.0..3.0) } else { 1.0 };
            let ms = ms * factor * all * slowed * if above { tail } else { 1.0 };
            left -= ms;
            if failing > 0.0 && rng.random_bool(failing) {
                failed += 1;
            } else {
                latencies.push(three_digits((ms * 1e3) as u64));
            }
        }
        latencies.sort_unstable();
        let response: Vec<(u64, u32)> = latencies
            .chunk_by(|a, b| a == b)
            .map(|equal| (equal[0] * 1_000, equal.len() as u32))
            .collect();
        let completed = latencies.len() as u64;
        Second { response, failed, completed, documents: completed }
    }
}

/// The precision of histograms: values within a thousandth are equal.
fn three_digits(us: u64) -> u64 {
    let shift = (u64::BITS - us.leading_zeros()).saturating_sub(11);
    us >> shift << shift
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// The mean of [`latency`].
const TYPICAL_MS: f64 = 10.48;

/// A latency in ms, and whether it lies above p90: lognormal around 10 ms, with a tail above p90 that falls
/// with the fifth power.
fn latency(rng: &mut impl Rng) -> (f64, bool) {
    const SIGMA: f64 = 0.25;
    /// The p90 of the standard normal distribution.
    const Z90: f64 = 1.281_551_565_545;
    if rng.random_bool(0.1) {
        let above: f64 = Exp1.sample(rng);
        (10.0 * (SIGMA * Z90 + above / 5.0).exp(), true)
    } else {
        // Otherwise from the lognormal below its p90.
        let below = loop {
            let drawn = normal(rng);
            if drawn < Z90 {
                break drawn;
            }
        };
        (10.0 * (SIGMA * below).exp(), false)
    }
}
