//! The samples of a trial, and the evidence for and against each limit.

use std::time::Duration;

use super::dispersion::Dispersion;
use super::trend::Trend;
use super::{Block, Limit};

/// Odds ratios whose likelihoods are mixed, for and against. Coarse where evidence accumulates quickly, fine near 1.
const BELOW: [f64; 8] = [0.0, 0.15, 0.3, 0.5, 0.65, 0.77, 0.86, 0.93];
const ABOVE: [f64; 10] = [1.07, 1.15, 1.3, 1.5, 2.0, 3.0, 6.0, 15.0, 50.0, 500.0];

/// Prior weight of "nothing ever exceeds it": the usual case far below capacity.
const WEIGHT_OF_NONE: f64 = 0.3;

/// The observations of an interval of a trial.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) limits: Vec<Limit>,
    seconds: f64,
    /// Blocks that contain requests.
    pub(super) blocks: usize,
    pub(super) requests: f64,
    /// Number of requests over each limit.
    over: Vec<f64>,
    sum_s: f64,
    squares_s2: f64,
    /// For the requests over each limit.
    counts: Vec<Dispersion>,
    /// For response times.
    times: Dispersion,
    /// For requests in flight.
    pub(super) trend: Trend,
    /// For the mean response time, in seconds.
    slowing: Trend,
}

impl Sample {
    pub(super) fn new(limits: &[Limit]) -> Sample {
        Sample {
            limits: limits.to_vec(),
            seconds: 0.0,
            blocks: 0,
            requests: 0.0,
            over: vec![0.0; limits.len()],
            sum_s: 0.0,
            squares_s2: 0.0,
            counts: vec![Dispersion::default(); limits.len()],
            times: Dispersion::default(),
            trend: Trend::default(),
            slowing: Trend::default(),
        }
    }

    pub(super) fn add(&mut self, block: &Block) {
        self.trend.add(block.in_flight);
        if block.requests <= 0.0 {
            return;
        }
        self.slowing.add(block.sum_s / block.requests);
        self.seconds += block.seconds;
        self.blocks += 1;
        self.requests += block.requests;
        self.sum_s += block.sum_s;
        self.squares_s2 += block.squares_s2;
        self.times.add(block.sum_s, block.requests);
        for ((sum, counts), over) in self.over.iter_mut().zip(&mut self.counts).zip(&block.over) {
            *sum += over;
            counts.add(*over, block.requests);
        }
    }

    /// Whether there is enough data for the trial to fail. Slow requests come in clusters, and the first blocks may
    /// contain just one; but if most requests are slow, it is not a cluster.
    pub(super) fn may_fail(&self, blocks_min: usize) -> bool {
        let most = self.over.iter().copied().fold(0.0, f64::max);
        self.blocks >= blocks_min || self.blocks >= 3 && most >= 20.0 && most > 0.5 * self.requests
    }

    /// The share of requests over a limit relative to the allowed share, for the limit that is closest to failing.
    pub(super) fn excess(&self) -> f64 {
        let shares = self.over.iter().zip(&self.limits).map(|(over, limit)| match limit.allowed {
            // A limit that allows none is either met or exceeded infinitely.
            0.0 => {
                if *over > 0.0 {
                    f64::INFINITY
                } else {
                    0.0
                }
            }
            allowed => over / self.requests.max(1.0) / allowed,
        });
        shares.fold(0.0, f64::max)
    }

    /// How much more a sum over these requests varies than one over independent requests, as a factor, for the limit
    /// where it is largest.
    pub(super) fn design_effect(&self) -> f64 {
        (0..self.limits.len()).map(|index| self.effect(index)).fold(1.0, f64::max)
    }

    /// The same for one limit. Response times show it even while no request exceeds the limit: they reveal how long
    /// the queue remembers.
    fn effect(&self, index: usize) -> f64 {
        if self.requests < 2.0 {
            return 1.0;
        }
        let limit = self.limits[index];
        let (mean, variance) = self.moments();
        let slowing = self.slowing.rise() > SLOWING_MAX * self.seconds / 2.0;
        let of_times = match slowing || self.times_matter(limit) {
            true => self.times.factor(mean, variance),
            false => 1.0,
        };
        match self.over[index] / self.requests {
            share if share > 0.0 && share < 1.0 && limit.allowed > 0.0 => {
                self.counts[index].factor(share, share * (1.0 - share)).max(of_times)
            }
            _ => of_times,
        }
    }

    /// Mean and variance of the response times, in seconds and s².
    fn moments(&self) -> (f64, f64) {
        let mean = self.sum_s / self.requests.max(1.0);
        (mean, (self.squares_s2 / self.requests.max(1.0) - mean * mean).max(0.0))
    }

    /// Whether more requests than a limit allows could take a fraction `part` of its time, judged by the mean and
    /// standard deviation of all: by Cantelli's inequality, at most 1 in 1 + k² of them exceeds the mean by k
    /// standard deviations.
    fn reaches(&self, limit: Limit, part: f64) -> bool {
        let (mean_s, variance_s2) = self.moments();
        let most = (1.0 / limit.allowed - 1.0).sqrt();
        let beyond =
            |time: Duration| variance_s2.sqrt() * most > part * time.as_secs_f64() - mean_s;
        limit.time().is_some_and(beyond)
    }

    /// Whether response times stay below a small fraction of every limit.
    pub(super) fn is_far_below(&self) -> bool {
        !self.limits.iter().any(|limit| self.reaches(*limit, FAR_BELOW))
    }

    /// Whether response times are relevant to a limit at all. Times in a narrow band far below it may be correlated
    /// for arbitrarily long. A Flow fails requests when its queues are full, not while times stay far below the
    /// limits.
    fn times_matter(&self, limit: Limit) -> bool {
        let (mean_s, variance_s2) = self.moments();
        // Times that hardly differ say nothing about a queue.
        if variance_s2.sqrt() <= 1e-3 * mean_s {
            return false;
        }
        if limit.time().is_some() {
            return self.reaches(limit, 1.0);
        }
        match self.limits.iter().any(|limit| limit.time().is_some()) {
            true => self.limits.iter().any(|limit| self.reaches(*limit, 1.0)),
            false => variance_s2.sqrt() > SPREAD_MIN * mean_s,
        }
    }

    /// ln of the evidence that every limit is met.
    pub(super) fn in_favour(&self) -> f64 {
        let each = (0..self.limits.len()).map(|index| {
            let (over, allowed) = (self.over[index], self.limits[index].allowed);
            match allowed {
                0.0 if over > 0.0 => f64::NEG_INFINITY,
                0.0 => f64::INFINITY,
                allowed => {
                    let effect = self.effect(index);
                    let rest = (1.0 - WEIGHT_OF_NONE) / (BELOW.len() - 1) as f64;
                    let weight = |ratio: f64| if ratio == 0.0 { WEIGHT_OF_NONE } else { rest };
                    let ratios = BELOW.iter().map(|ratio| (*ratio, weight(*ratio)));
                    mixture(self.requests / effect, over / effect, allowed, ratios)
                }
            }
        });
        each.fold(f64::INFINITY, f64::min)
    }

    /// ln of the evidence that some limit is not met.
    pub(super) fn against(&self) -> f64 {
        let each = (0..self.limits.len()).map(|index| {
            let (over, allowed) = (self.over[index], self.limits[index].allowed);
            match allowed {
                0.0 if over > 0.0 => f64::INFINITY,
                0.0 => f64::NEG_INFINITY,
                allowed => {
                    let effect = self.effect(index);
                    let weight = 1.0 / ABOVE.len() as f64;
                    let ratios = ABOVE.iter().map(|ratio| (*ratio, weight));
                    mixture(self.requests / effect, over / effect, allowed, ratios)
                }
            }
        });
        each.fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The fraction of a limit that counts as far below it.
const FAR_BELOW: f64 = 0.25;

/// How fast response times may grow in a balanced load, in seconds per second: they grow this fast if a load exceeds
/// capacity by this share.
const SLOWING_MAX: f64 = 0.002;

/// The coefficient of variation of response times below which they say nothing about failing requests, if no time is
/// limited.
const SPREAD_MIN: f64 = 0.1;

/// Number of independent requests without any over the limit that are enough evidence.
pub(super) fn requests_needed(allowed: f64, alpha: f64) -> f64 {
    (-(alpha * WEIGHT_OF_NONE).ln() / -(1.0 - allowed).ln()).ceil()
}

/// ln of the likelihood of `k` among `n` under a mixture of shares, each given by the ratio of its odds to those of
/// `allowed`, relative to that under `allowed`.
fn mixture(n: f64, k: f64, allowed: f64, ratios: impl Iterator<Item = (f64, f64)>) -> f64 {
    let odds = allowed / (1.0 - allowed);
    let logs: Vec<f64> = ratios
        .map(|(ratio, weight)| {
            let share = odds * ratio / (1.0 + odds * ratio);
            let hits = if k > 0.0 { k * (share / allowed).ln() } else { 0.0 };
            weight.ln() + hits + (n - k) * ((1.0 - share) / (1.0 - allowed)).ln()
        })
        .collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}
