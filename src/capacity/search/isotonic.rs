//! Estimates the edge from trials that may contradict one another.
//!
//! The excess over the allowed share can only rise with the load, so the rising line closest to all trials decides
//! (isotonic regression, by pooling adjacent violators).

use super::Tried;
use crate::capacity::judge::Decision;

/// A level and the value of the rising line there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) level: f64,
    /// ln of the excess over the allowed share.
    log: f64,
}

/// Neighbouring levels that are pooled so that the line rises.
struct Pool {
    lowest: f64,
    highest: f64,
    sum: f64,
    weight: f64,
}

impl Pool {
    fn log(&self) -> f64 {
        self.sum / self.weight
    }
}

/// The highest level that seems to pass, and the lowest above it that does not.
pub(super) fn boundary(tried: &[Tried]) -> (Option<Point>, Option<Point>) {
    let mut levels: Vec<Pool> = Vec::new();
    for Tried { trial, result } in tried {
        if trial.rule.is_none() || !result.invalid.is_empty() {
            continue;
        }
        let evidence = result.evidence;
        // Beyond this range, the distance adds no information.
        let mut log = evidence.excess.clamp(0.1, 10.0).ln();
        match result.decision {
            Some(Decision::Pass) => log = log.min(-0.01),
            Some(Decision::Fail) => log = log.max(0.01),
            _ => (),
        }
        let weight = evidence.for_pass.max(evidence.for_fail).clamp(0.1, 20.0);
        levels.push(Pool { lowest: trial.level, highest: trial.level, sum: log * weight, weight });
    }
    levels.sort_by(|a, b| a.lowest.total_cmp(&b.lowest));
    let mut pools: Vec<Pool> = Vec::new();
    for mut pool in levels {
        // Trials at the same level are pooled, whatever their results.
        let joins = |before: &Pool, pool: &Pool| {
            before.highest == pool.lowest || before.log() >= pool.log()
        };
        while let Some(before) = pools.pop_if(|before| joins(before, &pool)) {
            pool = Pool {
                lowest: before.lowest,
                highest: pool.highest,
                sum: before.sum + pool.sum,
                weight: before.weight + pool.weight,
            };
        }
        pools.push(pool);
    }
    let holds = pools.iter().rfind(|pool| pool.sum <= 0.0);
    let fails = pools.iter().find(|pool| pool.sum > 0.0);
    (
        holds.map(|pool| Point { level: pool.highest, log: pool.log() }),
        fails.map(|pool| Point { level: pool.lowest, log: pool.log() }),
    )
}

/// Where the excess equals the allowed share, between a level that passes and one that does not.
pub(super) fn crossing(holds: Point, fails: Point) -> f64 {
    let share = match fails.log - holds.log {
        rise if rise > 0.0 => (-holds.log / rise).clamp(0.0, 1.0),
        _ => 0.5,
    };
    holds.level * (fails.level / holds.level).powf(share)
}
