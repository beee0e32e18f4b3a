//! Decides one trial as early as its samples allow.
//!
//! An objective is a share of requests that may exceed a limit: `p99 < 100ms` allows one in a hundred to take 100 ms
//! or longer, `error_rate < 1%` one in a hundred to fail. Whether the true share lies below it is tested by a mixture
//! of likelihood ratios, which is a test martingale: under the null hypothesis, the probability that it ever exceeds
//! 1/α is at most α, no matter how often one looks (Ville's inequality). So a trial may end as soon as it does, and
//! an undecided trial goes on.
//!
//! Requests in a queue are not independent: one slow request makes those behind it slow. Counts are
//! therefore divided by how much more their sums vary, over blocks of time from short to long, than
//! those of independent requests would (the design effect, by batch means).

mod dispersion;
mod sample;
mod trend;

use std::time::Duration;

use sample::Sample;

/// A limit of an objective: the share of requests that may exceed it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// At least 0, below 1.
    pub allowed: f64,
    /// Which requests exceed it.
    pub over: Over,
}

/// What makes a request exceed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It takes longer than this, or fails.
    Slow(Duration),
    /// It fails.
    Failed,
    /// Its response fails an assertion.
    Wrong,
}

impl Limit {
    /// The response time that it limits, if any.
    pub fn time(&self) -> Option<Duration> {
        match self.over {
            Over::Slow(time) => Some(time),
            Over::Failed | Over::Wrong => None,
        }
    }
}

/// What happened in a short interval of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Its length.
    pub seconds: f64,
    /// Requests that ended in it or were dropped.
    pub requests: f64,
    /// For each limit of the objective, the number of those requests that exceeded it.
    pub over: Vec<f64>,
    /// Sum of their response times in seconds.
    pub sum_s: f64,
    /// Sum of the squares of their response times, in s².
    pub squares_s2: f64,
    /// Mean number of requests in flight over the block.
    pub in_flight: f64,
}

/// How a trial is decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Probability of error allowed for each of the two decisions.
    pub alpha: f64,
    /// Samples before this many seconds cannot make it pass: a queue needs time to fill.
    pub settle_s: f64,
    /// It cannot pass before this many seconds either, unless response times are far below every limit: near
    /// saturation, a queue may stay short for surprisingly long.
    pub patience_s: f64,
    /// Fewest blocks to pass: with fewer, it is not known how strongly requests depend on one another.
    pub blocks_min: usize,
    /// Whether an undecided trial may end before its budget if the rest would not decide it.
    pub may_give_up: bool,
}

/// The state of the decision on a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The objective is met.
    Pass,
    /// The objective is not met.
    Fail,
    /// Undecided so far.
    Open,
}

/// How strong the evidence of a trial is, and in which direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The share of requests over the limit relative to the allowed share, for the limit that is closest to failing:
    /// below 1 the limit is met.
    pub excess: f64,
    /// How many independent requests the sample is worth.
    pub independent: f64,
    /// How much more a sum of requests varies than one of independent requests, as a factor.
    pub design_effect: f64,
    /// ln of the odds against the hypothesis that the objective is not met.
    pub for_pass: f64,
    /// ln of the odds against the hypothesis that it is met.
    pub for_fail: f64,
    /// Whether requests in flight were still growing.
    pub growing: bool,
}

/// Decides one trial.
#[derive(Clone, Debug)]
pub struct Judge {
    rule: Rule,
    elapsed_s: f64,
    /// Blocks before the queue has filled, which can only count against a load.
    early: Sample,
    sample: Sample,
}

impl Judge {
    /// A judge for these limits.
    pub fn new(limits: &[Limit], rule: Rule) -> Judge {
        let sample = Sample::new(limits);
        Judge { rule, elapsed_s: 0.0, early: sample.clone(), sample }
    }

    /// Adds a block.
    pub fn add(&mut self, block: &Block) {
        let early = self.elapsed_s < self.rule.settle_s;
        self.elapsed_s += block.seconds;
        if early { &mut self.early } else { &mut self.sample }.add(block);
    }

    /// The decision so far.
    pub fn decision(&self) -> Decision {
        // Two samples and every limit are tested: each may use only its part of the error probability.
        let tests = 2.0 * self.sample.limits.len().max(1) as f64;
        let against = (tests / self.rule.alpha).ln();
        let fails =
            |sample: &Sample| sample.may_fail(self.rule.blocks_min) && sample.against() >= against;
        if fails(&self.early) || fails(&self.sample) {
            return Decision::Fail;
        }
        // All limits must be met, so each is tested at the full level.
        let patient = self.elapsed_s >= self.rule.patience_s || self.sample.is_far_below();
        let certain =
            self.is_settled() && patient && self.sample.in_favour() >= -self.rule.alpha.ln();
        if certain && !self.sample.trend.grows() { Decision::Pass } else { Decision::Open }
    }

    /// The decision at the end of the budget: a queue that is still growing is a failure.
    pub fn last_decision(&self) -> Decision {
        match self.decision() {
            Decision::Open if self.sample.trend.grows() => Decision::Fail,
            decision => decision,
        }
    }

    /// Whether the rest of the budget is unlikely to decide it: at the current rate, it would end with less than half
    /// the evidence needed.
    pub fn is_futile(&self, budget_s: f64) -> bool {
        let measured = self.elapsed_s - self.rule.settle_s;
        let left = budget_s - self.elapsed_s;
        if !self.rule.may_give_up || !self.is_settled() || left <= 0.0 {
            return false;
        }
        // Early on, chance outweighs the load.
        if measured < 0.2 * (budget_s - self.rule.settle_s) {
            return false;
        }
        // Far from the limit, evidence accumulates quickly once there are requests.
        if self.sample.excess() < 0.5 {
            return false;
        }
        let best = self.sample.in_favour().max(self.sample.against());
        best.max(0.0) * (1.0 + left / measured) < -self.rule.alpha.ln() / 2.0
    }

    /// Whether there are enough blocks to pass, so that the dependence between requests is known.
    pub(crate) fn is_settled(&self) -> bool {
        self.sample.blocks >= self.rule.blocks_min
    }

    /// The evidence so far.
    pub fn evidence(&self) -> Evidence {
        let sample = match self.sample.requests {
            0.0 => &self.early,
            _ => &self.sample,
        };
        let independent = sample.requests / sample.design_effect();
        Evidence {
            excess: sample.excess(),
            independent,
            design_effect: sample.design_effect(),
            for_pass: self.sample.in_favour(),
            for_fail: self.early.against().max(self.sample.against()),
            growing: self.sample.trend.grows(),
        }
    }

    /// Number of independent requests without any over the limit that make a trial pass.
    pub(crate) fn requests_needed(allowed: f64, alpha: f64) -> f64 {
        if allowed <= 0.0 { 1.0 } else { sample::requests_needed(allowed, alpha) }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::Key;

    /// This share of requests may take longer.
    fn limit(allowed: f64) -> Limit {
        Limit { allowed, over: Over::Slow(Duration::from_millis(250)) }
    }

    fn rule() -> Rule {
        Rule { alpha: 0.05, settle_s: 0.0, patience_s: 0.0, blocks_min: 8, may_give_up: false }
    }

    /// Blocks of 50 requests, each of which exceeds the limit with this probability.
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
        let mut judge = Judge::new(&[limit(0.01)], rule);
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
        // Exactly at the limit, neither decision is right, so either is an error.
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
        let mut judge = Judge::new(&[limit(0.01)], rule());
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
    fn times_in_a_narrow_band_far_below_the_limit_may_hang_together() {
        // As above, but slow blocks take 12 ms instead of 10, far below the limit of 250.
        let mut judge = Judge::new(&[limit(0.01)], rule());
        for index in 0..20 {
            let time = if index / 5 % 2 == 0 { 0.012 } else { 0.010 };
            judge.add(&Block {
                seconds: 1.0,
                requests: 50.0,
                over: vec![0.0],
                sum_s: 50.0 * time,
                squares_s2: 50.0 * time * time,
                in_flight: 1.0,
            });
        }
        assert_eq!(judge.evidence().design_effect, 1.0);
        assert_eq!(judge.decision(), Decision::Pass);
    }

    #[test]
    fn no_failures_at_all_are_certain_while_times_stay_far_below_what_is_limited() {
        // Slow blocks take 12 ms instead of 10, a hundred of them in a row.
        let judged = |limits: &[Limit]| {
            let mut judge = Judge::new(limits, rule());
            for index in 0..400 {
                let time = if index / 100 % 2 == 0 { 0.014 } else { 0.010 };
                judge.add(&Block {
                    seconds: 1.0,
                    requests: 50.0,
                    over: vec![0.0; limits.len()],
                    sum_s: 50.0 * time,
                    squares_s2: 50.0 * time * time,
                    in_flight: 1.0,
                });
            }
            judge.decision()
        };
        let failed = Limit { allowed: 0.01, over: Over::Failed };
        assert_eq!(judged(&[limit(0.05), failed]), Decision::Pass);
        // If no time is limited, it is not known what full queues would look like.
        assert_eq!(judged(&[failed]), Decision::Open);
        let near = Limit { allowed: 0.05, over: Over::Slow(Duration::from_millis(15)) };
        assert_eq!(judged(&[near, failed]), Decision::Open);
    }

    #[test]
    fn a_queue_that_fills_does_not_pass() {
        let mut judge = Judge::new(&[limit(0.01)], rule());
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
    fn times_that_are_not_far_below_a_limit_take_patience() {
        let decided = |deviation_s: f64, blocks: u32| {
            let patience = Rule { patience_s: 600.0, ..rule() };
            let mut judge = Judge::new(&[limit(0.01)], patience);
            for _ in 0..blocks {
                let (time, requests) = (0.05, 100.0);
                let squares_s2 = requests * (time * time + deviation_s * deviation_s);
                judge.add(&Block {
                    seconds: 1.0,
                    requests,
                    over: vec![0.0],
                    sum_s: requests * time,
                    squares_s2,
                    in_flight: 5.0,
                });
            }
            judge.decision()
        };
        // A quarter of 250 ms is less than ten deviations above the mean.
        assert_eq!(decided(0.002, 599), Decision::Open);
        assert_eq!(decided(0.002, 600), Decision::Pass);
        assert_eq!(decided(0.001, 20), Decision::Pass);
    }

    #[test]
    fn what_must_never_happen_fails_by_happening_once() {
        let mut judge = Judge::new(&[limit(0.0)], rule());
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
        let mut sample = Sample::new(&[limit(0.01)]);
        let block = Block { requests: needed, over: vec![0.0], ..Block::default() };
        sample.add(&block);
        assert!(sample.in_favour() >= -(0.05f64.ln()));
        assert!((400.0..450.0).contains(&needed), "{needed}");
    }
}
