//! Runs whose true difference is known, with the noise that real ones have: the proof that verdicts
//! are right as often as they say.
//!
//! A latency is a draw from a body with a heavy tail, times what its second, its run and the hour
//! have in common with their neighbours; now and then a burst slows a share of some seconds, and now
//! and then a whole run is slow.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Exp1, StandardNormal};

use super::sample::{Run, Second};
use crate::random::Key;
use crate::record::Histogram;

/// How noisy runs are. Deviations are those of logarithms, so parts of the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Between runs: the luck of each.
    pub run: f64,
    /// The chance that a run is an outlier, and how much slower it is then.
    pub outlier: (f64, f64),
    /// Between seconds of a run.
    pub second: f64,
    /// How much of a second's luck the next one has, from 0 to 1.
    pub memory: f64,
    /// Bursts a second; each slows a fifth of the requests of one to three seconds two- to
    /// threefold.
    pub bursts: f64,
    /// From the first run of both sides to the last, all get slower by this.
    pub drift: f64,
}

/// What a pair of sides is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Runs of each side.
    pub runs: usize,
    /// Length of a run.
    pub seconds: usize,
    /// Requests a second.
    pub rate: usize,
    /// The noise of both sides.
    pub noise: Noise,
    /// What is true of the candidate.
    pub change: TrueChange,
    /// Whether the sides take turns (A B B A); else the base is all measured before.
    pub turns: bool,
}

/// What is true of the candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrueChange {
    /// All latencies are this many times larger.
    All(f64),
    /// Those above p90 are: the body stays.
    Tail(f64),
}

impl Noise {
    /// A machine of one's own in a shared rack: what the published table is made with.
    pub const USUAL: Noise = Noise {
        run: 0.01,
        outlier: (0.01, 0.15),
        second: 0.03,
        memory: 0.7,
        bursts: 0.000_1,
        drift: 0.03,
    };
}

impl Pair {
    /// Both sides.
    pub fn draw(&self, seed: u64) -> (Vec<Run>, Vec<Run>) {
        let key = Key::new(seed);
        let mut sides = (Vec::new(), Vec::new());
        for place in 0..2 * self.runs {
            // A B B A A B B A …
            let candidate =
                if self.turns { matches!(place % 4, 1 | 2) } else { place >= self.runs };
            let run = self.run(place, candidate, key.index(place as u64));
            if candidate { sides.1.push(run) } else { sides.0.push(run) }
        }
        sides
    }

    fn run(&self, place: usize, candidate: bool, key: Key) -> Run {
        let mut rng = key.rng();
        let noise = self.noise;
        let mut normal = |deviation: f64| -> f64 {
            let drawn: f64 = StandardNormal.sample(&mut rng);
            deviation * drawn
        };
        let share = place as f64 / (2 * self.runs - 1) as f64;
        let own = normal(noise.run) + noise.drift * share;
        let mut rng = key.part("run").rng();
        let slow = rng.random_bool(noise.outlier.0);
        let level = own + if slow { noise.outlier.1.ln_1p() } else { 0.0 };
        let mut luck = {
            let drawn: f64 = StandardNormal.sample(&mut rng);
            noise.second * drawn
        };
        let mut burst = 0u32;
        let seconds: Vec<Second> = (0..self.seconds)
            .map(|_| {
                let fresh: f64 = StandardNormal.sample(&mut rng);
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
        let mut response = Histogram::new();
        for _ in 0..self.rate {
            let (ms, above) = latency(rng);
            let change = match self.change {
                _ if !candidate => 1.0,
                TrueChange::All(change) => change,
                TrueChange::Tail(change) => {
                    if above {
                        change
                    } else {
                        1.0
                    }
                }
            };
            let hit = burst && rng.random_bool(0.2);
            let slowed = if hit { rng.random_range(2.0..3.0) } else { 1.0 };
            response.record(Duration::from_secs_f64(ms * factor * change * slowed / 1e3));
        }
        Second { response, failed: 0, documents: self.rate as u64 }
    }
}

/// A latency in ms, and whether it lies above p90: lognormal around 10 ms, and above p90 with a tail
/// that falls like the fourth power.
fn latency(rng: &mut impl Rng) -> (f64, bool) {
    const SIGMA: f64 = 0.25;
    /// Of the standard normal distribution.
    const Z90: f64 = 1.281_551_565_545;
    if rng.random_bool(0.1) {
        let above: f64 = Exp1.sample(rng);
        (10.0 * (SIGMA * Z90 + above / 4.0).exp(), true)
    } else {
        // The rest is the lognormal below its p90.
        let below = loop {
            let drawn: f64 = StandardNormal.sample(rng);
            if drawn < Z90 {
                break drawn;
            }
        };
        (10.0 * (SIGMA * below).exp(), false)
    }
}
