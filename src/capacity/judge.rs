//! One trial, decided as early as its samples allow.
//!
//! An objective is a share of requests that may exceed a limit: `p99 < 100ms` allows one in a hundred
//! to take 100 ms or longer, `error_rate < 1%` one in a hundred to fail. Whether the true share lies
//! below it is tested by a mixture of likelihood ratios, which is a test martingale: the chance that
//! it ever exceeds 1/α when it should not is at most α, however often one looks (Ville's
//! inequality). So a trial may end as soon as it does, and a trial that is not decided goes on.
//!
//! Requests in a queue are not independent: one slow request makes those behind it slow. Counts are
//! therefore divided by how much more their sums vary, over blocks of time from short to long, than
//! those of independent requests would (the design effect, by batch means).

use std::collections::VecDeque;

/// What happened in a stretch of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// How long it was.
    pub seconds: f64,
    /// Requests that ended in it or were dropped.
    pub requests: f64,
    /// For each limit of the objective, those of them that exceeded it.
    pub over: Vec<f64>,
    /// Their response times added up, in seconds, and the squares of them.
    pub sum_s: f64,
    /// See `sum_s`.
    pub squares_s2: f64,
    /// Requests in flight, the mean over the block.
    pub in_flight: f64,
}

/// How a trial is decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The chance to be wrong that each of the two decisions may have.
    pub alpha: f64,
    /// What is seen before this many seconds cannot let it pass: a queue needs time to fill.
    pub settle_s: f64,
    /// Blocks that are needed to let it pass: with fewer, nobody knows how dependent requests are.
    pub blocks_min: usize,
    /// Whether an undecided trial may end before its budget when the rest would not decide it.
    pub may_give_up: bool,
}

/// What is known of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The objective holds.
    Pass,
    /// It does not.
    Fail,
    /// It cannot be told yet.
    Open,
}

/// How much a trial says, and which way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The share of requests over the limit in terms of what is allowed, for the limit that is
    /// nearest to failing: below 1 it holds.
    pub excess: f64,
    /// How many independent requests the sample is worth.
    pub independent: f64,
    /// How many times more a sum of requests varies than one of independent ones.
    pub design_effect: f64,
    /// ln of the odds against the hypothesis that the objective does not hold.
    pub for_pass: f64,
    /// ln of the odds against the hypothesis that it holds.
    pub for_fail: f64,
    /// Whether requests in flight still grew.
    pub growing: bool,
}

/// Decides one trial.
#[derive(Clone, Debug)]
pub struct Judge {
    allowed: Vec<f64>,
    rule: Rule,
    elapsed_s: f64,
    /// Blocks until the queue has filled, which can speak against a load only.
    early: Sample,
    sample: Sample,
}

/// Ratios of odds whose likelihoods are mixed, for and against. Coarse where much evidence comes
/// quickly, fine near 1.
const BELOW: [f64; 8] = [0.0, 0.15, 0.3, 0.5, 0.65, 0.77, 0.86, 0.93];
const ABOVE: [f64; 10] = [1.07, 1.15, 1.3, 1.5, 2.0, 3.0, 6.0, 15.0, 50.0, 500.0];

/// The weight of "nothing ever exceeds it": the usual case far below capacity.
const WEIGHT_OF_NONE: f64 = 0.3;

impl Judge {
    /// A judge of limits that may be exceeded by these shares, each from 0 to below 1.
    pub fn new(allowed: &[f64], rule: Rule) -> Judge {
        let sample = Sample::new(allowed.len());
        Judge { allowed: allowed.to_vec(), rule, elapsed_s: 0.0, early: sample.clone(), sample }
    }

    /// Takes in a block.
    pub fn add(&mut self, block: &Block) {
        let early = self.elapsed_s < self.rule.settle_s;
        self.elapsed_s += block.seconds;
        if early { &mut self.early } else { &mut self.sample }.add(block);
    }

    /// What is known by now.
    pub fn decision(&self) -> Decision {
        // Two samples and each limit are looked at: none may take more than its part of the error.
        let tests = 2.0 * self.allowed.len().max(1) as f64;
        let against = (tests / self.rule.alpha).ln();
        let fails = |sample: &Sample| {
            sample.may_fail(self.rule.blocks_min) && sample.against(&self.allowed) >= against
        };
        if fails(&self.early) || fails(&self.sample) {
            return Decision::Fail;
        }
        // All limits must hold, so each is tested at the full level.
        let enough = self.sample.blocks >= self.rule.blocks_min;
        let certain = enough && self.sample.in_favour(&self.allowed) >= -self.rule.alpha.ln();
        if certain && !self.sample.trend.grows() { Decision::Pass } else { Decision::Open }
    }

    /// What is known at the end of the budget: a queue that still grows is a failure.
    pub fn last_decision(&self) -> Decision {
        match self.decision() {
            Decision::Open if self.sample.trend.grows() => Decision::Fail,
            decision => decision,
        }
    }

    /// Whether what is left of the budget will hardly decide it: going on as it did, it would end
    /// with less than half the evidence that is needed.
    pub fn is_futile(&self, budget_s: f64) -> bool {
        let measured = self.elapsed_s - self.rule.settle_s;
        let left = budget_s - self.elapsed_s;
        if !self.rule.may_give_up || self.sample.blocks < self.rule.blocks_min || left <= 0.0 {
            return false;
        }
        // Early on, chance says more than the load.
        if measured < 0.2 * (budget_s - self.rule.settle_s) {
            return false;
        }
        // Far from the limit evidence comes quickly, once there are requests.
        if self.sample.excess(&self.allowed) < 0.5 {
            return false;
        }
        let best = self.sample.in_favour(&self.allowed).max(self.sample.against(&self.allowed));
        best.max(0.0) * (1.0 + left / measured) < -self.rule.alpha.ln() / 2.0
    }

    /// How much it says.
    pub fn evidence(&self) -> Evidence {
        let sample = match self.sample.requests {
            0.0 => &self.early,
            _ => &self.sample,
        };
        let independent = sample.requests / sample.design_effect(&self.allowed);
        Evidence {
            excess: sample.excess(&self.allowed),
            independent,
            design_effect: sample.design_effect(&self.allowed),
            for_pass: self.sample.in_favour(&self.allowed),
            for_fail: self.early.against(&self.allowed).max(self.sample.against(&self.allowed)),
            growing: self.sample.trend.grows(),
        }
    }

    /// Requests without any over the limit that let a trial pass, when they are independent.
    pub fn requests_needed(allowed: f64, alpha: f64) -> f64 {
        if allowed <= 0.0 {
            return 1.0;
        }
        (-(alpha * WEIGHT_OF_NONE).ln() / -(1.0 - allowed).ln()).ceil()
    }
}

/// What was seen of a stretch of a trial.
#[derive(Clone, Debug)]
struct Sample {
    blocks: usize,
    requests: f64,
    over: Vec<f64>,
    sum_s: f64,
    squares_s2: f64,
    /// Of the requests over each limit.
    counts: Vec<Dispersion>,
    /// Of the response times.
    times: Dispersion,
    trend: Trend,
}

impl Sample {
    fn new(limits: usize) -> Sample {
        Sample {
            blocks: 0,
            requests: 0.0,
            over: vec![0.0; limits],
            sum_s: 0.0,
            squares_s2: 0.0,
            counts: vec![Dispersion::default(); limits],
            times: Dispersion::default(),
            trend: Trend::default(),
        }
    }

    fn add(&mut self, block: &Block) {
        self.trend.add(block.in_flight);
        if block.requests <= 0.0 {
            return;
        }
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

    /// Whether there is enough to let a trial fail. Slow requests come in clusters, and a single one
    /// may be all there is in the first blocks; but where most requests are slow it is no cluster.
    fn may_fail(&self, blocks_min: usize) -> bool {
        let most = self.over.iter().copied().fold(0.0, f64::max);
        self.blocks >= blocks_min || self.blocks >= 3 && most >= 20.0 && most > 0.5 * self.requests
    }

    fn excess(&self, allowed: &[f64]) -> f64 {
        let shares = self.over.iter().zip(allowed).map(|(over, allowed)| match *allowed {
            // What must never happen is either held or broken beyond measure.
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

    /// How many times more a sum over these requests varies than one over independent ones. The
    /// response times tell of it even while no request exceeds a limit: they show how long the
    /// queue remembers.
    fn design_effect(&self, allowed: &[f64]) -> f64 {
        if self.requests < 2.0 {
            return 1.0;
        }
        let mean = self.sum_s / self.requests;
        let variance = self.squares_s2 / self.requests - mean * mean;
        // Response times that hardly differ say nothing of a queue.
        let spread = variance > mean * mean * 1e-6;
        let of_times = if spread { self.times.factor(mean, variance) } else { 1.0 };
        let of_counts =
            self.counts.iter().zip(&self.over).zip(allowed).map(|((counts, over), allowed)| {
                match over / self.requests {
                    share if share > 0.0 && share < 1.0 && *allowed > 0.0 => {
                        counts.factor(share, share * (1.0 - share))
                    }
                    _ => 1.0,
                }
            });
        of_counts.fold(of_times, f64::max)
    }

    /// ln of the evidence that every limit holds.
    fn in_favour(&self, allowed: &[f64]) -> f64 {
        let effect = self.design_effect(allowed);
        let each = self.over.iter().zip(allowed).map(|(over, allowed)| match *allowed {
            0.0 if *over > 0.0 => f64::NEG_INFINITY,
            0.0 => f64::INFINITY,
            allowed => {
                let (n, k) = (self.requests / effect, over / effect);
                let rest = (1.0 - WEIGHT_OF_NONE) / (BELOW.len() - 1) as f64;
                let weight = |ratio: f64| if ratio == 0.0 { WEIGHT_OF_NONE } else { rest };
                mixture(n, k, allowed, BELOW.iter().map(|ratio| (*ratio, weight(*ratio))))
            }
        });
        each.fold(f64::INFINITY, f64::min)
    }

    /// ln of the evidence that some limit does not hold.
    fn against(&self, allowed: &[f64]) -> f64 {
        let effect = self.design_effect(allowed);
        let each = self.over.iter().zip(allowed).map(|(over, allowed)| match *allowed {
            0.0 if *over > 0.0 => f64::INFINITY,
            0.0 => f64::NEG_INFINITY,
            allowed => {
                let (n, k) = (self.requests / effect, over / effect);
                let weight = 1.0 / ABOVE.len() as f64;
                mixture(n, k, allowed, ABOVE.iter().map(|ratio| (*ratio, weight)))
            }
        });
        each.fold(f64::NEG_INFINITY, f64::max)
    }
}

/// ln of the likelihood of `k` among `n` under a mixture of shares, each given by the ratio of its
/// odds to those of `allowed`, against that under `allowed`.
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

/// How much sums over blocks vary, for blocks of one, two, four … of those that were added: the
/// longer a queue remembers, the longer a block must be to tell.
#[derive(Clone, Debug, Default)]
struct Dispersion {
    /// Bounded by the logarithm of the number of blocks.
    scales: Vec<Scale>,
}

#[derive(Clone, Debug, Default)]
struct Scale {
    /// A block that waits for another to be joined with.
    half: Option<(f64, f64)>,
    last: Option<(f64, f64)>,
    blocks: f64,
    requests: f64,
    /// Sums over blocks of k², k·m, m², and of the same with the block before.
    kk: f64,
    km: f64,
    mm: f64,
    kk_lag: f64,
    km_lag: f64,
    mm_lag: f64,
}

/// Blocks of a length below which their variance says little.
const BATCHES_MIN: f64 = 8.0;

impl Dispersion {
    /// Adds a block in which a sum of `k` came of `m` requests.
    fn add(&mut self, k: f64, m: f64) {
        let (mut k, mut m) = (k, m);
        for depth in 0.. {
            if depth == self.scales.len() {
                self.scales.push(Scale::default());
            }
            let scale = &mut self.scales[depth];
            scale.add(k, m);
            match scale.half.take() {
                None => {
                    scale.half = Some((k, m));
                    return;
                }
                Some((other, requests)) => (k, m) = (k + other, m + requests),
            }
        }
    }

    /// The variance of such sums over that of as many independent requests of this mean and
    /// variance; at least 1.
    fn factor(&self, mean: f64, variance: f64) -> f64 {
        let scales = self.scales.iter().filter(|scale| scale.blocks >= BATCHES_MIN);
        scales.map(|scale| scale.factor(mean, variance)).fold(1.0, f64::max)
    }
}

impl Scale {
    fn add(&mut self, k: f64, m: f64) {
        self.blocks += 1.0;
        self.requests += m;
        self.kk += k * k;
        self.km += k * m;
        self.mm += m * m;
        if let Some((before, requests)) = self.last.replace((k, m)) {
            self.kk_lag += k * before;
            self.km_lag += k * requests + before * m;
            self.mm_lag += m * requests;
        }
    }

    fn factor(&self, mean: f64, variance: f64) -> f64 {
        let squares = self.kk - 2.0 * mean * self.km + mean * mean * self.mm;
        if squares <= 0.0 {
            return 1.0;
        }
        let lagged = self.kk_lag - mean * self.km_lag + mean * mean * self.mm_lag;
        let n = self.blocks;
        let own = squares / (self.requests * variance) * n / (n - 1.0);
        // What blocks of this length do not see of a longer memory shows in their correlation,
        // which short series underestimate. A tenth of it may be chance.
        let correlation = lagged / squares * n / (n - 1.0);
        let correlation = correlation + (1.0 + 3.0 * correlation) / n - 1.0 / n.sqrt();
        let correlation = correlation.clamp(0.0, 0.95);
        own * (1.0 + correlation) / (1.0 - correlation)
    }
}

/// Requests in flight over time, coarser the longer it takes.
#[derive(Clone, Debug, Default)]
struct Trend {
    /// Means over `width` blocks each; bounded by [`TREND_MAX`].
    means: VecDeque<f64>,
    width: usize,
    /// The mean that is not complete yet: sum and blocks.
    open: (f64, usize),
}

const TREND_MAX: usize = 96;

impl Trend {
    fn add(&mut self, in_flight: f64) {
        self.width = self.width.max(1);
        self.open = (self.open.0 + in_flight, self.open.1 + 1);
        if self.open.1 < self.width {
            return;
        }
        self.means.push_back(self.open.0 / self.open.1 as f64);
        self.open = (0.0, 0);
        if self.means.len() == TREND_MAX {
            let pairs: Vec<f64> = self.means.iter().copied().collect();
            self.means = pairs.chunks(2).map(|pair| pair.iter().sum::<f64>() / 2.0).collect();
            self.width *= 2;
        }
    }

    /// Whether it grew from third to third, by more than chance makes of it: a queue that fills
    /// grows by the same amount in both, one that is in balance does not.
    fn grows(&self) -> bool {
        let third = self.means.len() / 3;
        if third < 2 {
            return false;
        }
        let mean =
            |from: usize, to: usize| self.means.range(from..to).sum::<f64>() / (to - from) as f64;
        let all = self.means.len();
        let (first, middle) = (mean(0, all - 2 * third), mean(all - 2 * third, all - third));
        let end = mean(all - third, all);
        let grew = end - middle;
        grew > middle * 0.25 && grew > 3.0 * end.sqrt() && middle - first > grew * 0.3
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::Key;

    fn rule() -> Rule {
        Rule { alpha: 0.05, settle_s: 0.0, blocks_min: 8, may_give_up: false }
    }

    /// Blocks of 50 requests of which each exceeds the limit with this chance.
    fn independent(share: f64, key: Key) -> impl Iterator<Item = Block> {
        let mut rng = key.rng();
        std::iter::repeat_with(move || {
            let mut block =
                Block { seconds: 1.0, in_flight: 1.0, over: vec![0.0], ..Block::default() };
            for _ in 0..50 {
                let time: f64 = rng.random();
                block.requests += 1.0;
                block.sum_s += time;
                block.squares_s2 += time * time;
                block.over[0] += f64::from(u8::from(rng.random::<f64>() < share));
            }
            block
        })
    }

    fn decide(
        blocks: impl Iterator<Item = Block>,
        rule: Rule,
        at_most: usize,
    ) -> (Decision, usize) {
        let mut judge = Judge::new(&[0.01], rule);
        for (index, block) in blocks.take(at_most).enumerate() {
            judge.add(&block);
            if judge.decision() != Decision::Open {
                return (judge.decision(), index + 1);
            }
        }
        (judge.last_decision(), at_most)
    }

    #[test]
    fn what_is_clear_is_decided_early() {
        let (decision, blocks) = decide(independent(0.0, Key::new(1)), rule(), 1000);
        assert_eq!(decision, Decision::Pass);
        assert!(blocks <= 12, "{blocks}");
        let (decision, blocks) = decide(independent(0.5, Key::new(2)), rule(), 1000);
        assert_eq!(decision, Decision::Fail);
        assert!(blocks <= 8, "{blocks}");
    }

    #[test]
    fn a_wrong_decision_is_as_rare_as_it_says_however_often_one_looks() {
        // Exactly at the limit neither decision is right, so either is an error.
        let wrong = |seed| {
            let blocks = independent(0.01, Key::new(3).index(seed));
            decide(blocks, rule(), 400).0
        };
        let decisions: Vec<Decision> = (0..200).map(wrong).collect();
        let count = |decision| decisions.iter().filter(|found| **found == decision).count();
        assert!(count(Decision::Pass) <= 16, "{}", count(Decision::Pass));
        assert!(count(Decision::Fail) <= 16, "{}", count(Decision::Fail));
    }

    #[test]
    fn a_quarter_more_or_less_than_allowed_is_told_with_enough_requests() {
        for seed in 0..10 {
            let low = independent(0.0075, Key::new(4).index(seed));
            assert_eq!(decide(low, rule(), 4000).0, Decision::Pass);
            let high = independent(0.0125, Key::new(5).index(seed));
            assert_eq!(decide(high, rule(), 4000).0, Decision::Fail);
        }
    }

    #[test]
    fn requests_that_hang_together_count_for_fewer() {
        // Every tenth block is slow as a whole.
        let mut judge = Judge::new(&[0.01], rule());
        for index in 0..200 {
            let slow = index % 10 == 0;
            let (over, time) = if slow { (2.0, 0.2) } else { (0.0, 0.1) };
            judge.add(&Block {
                seconds: 1.0,
                requests: 50.0,
                over: vec![over],
                sum_s: 50.0 * time,
                squares_s2: 50.0 * time * time,
                in_flight: 1.0,
            });
        }
        assert!(judge.evidence().design_effect > 20.0, "{:?}", judge.evidence());
    }

    #[test]
    fn a_queue_that_fills_does_not_pass() {
        let mut judge = Judge::new(&[0.01], rule());
        for index in 0..60 {
            judge.add(&Block {
                seconds: 1.0,
                requests: 100.0,
                over: vec![0.0],
                sum_s: 1.0 + f64::from(index),
                squares_s2: (1.0 + f64::from(index)).powi(2) / 100.0,
                in_flight: 1.0 + 5.0 * f64::from(index),
            });
            assert_ne!(judge.decision(), Decision::Pass, "{index}");
        }
        assert_eq!(judge.last_decision(), Decision::Fail);
    }

    #[test]
    fn what_must_never_happen_fails_by_happening_once() {
        let mut judge = Judge::new(&[0.0], rule());
        let block =
            |over| Block { seconds: 1.0, requests: 5.0, over: vec![over], ..Block::default() };
        judge.add(&block(0.0));
        assert_eq!(judge.decision(), Decision::Open);
        (0..8).for_each(|_| judge.add(&block(0.0)));
        assert_eq!(judge.decision(), Decision::Pass);
        judge.add(&block(1.0));
        assert_eq!(judge.decision(), Decision::Fail);
    }

    #[test]
    fn requests_needed_are_those_that_pass() {
        let needed = Judge::requests_needed(0.01, 0.05);
        let mut sample = Sample::new(1);
        let block = Block { requests: needed, over: vec![0.0], ..Block::default() };
        sample.add(&block);
        assert!(sample.in_favour(&[0.01]) >= -(0.05f64.ln()));
        assert!((400.0..450.0).contains(&needed), "{needed}");
    }
}
