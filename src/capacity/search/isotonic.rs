//! Where the edge is, by trials that may contradict one another.
//!
//! The excess over what is allowed can only rise with the load, so the rising line that is nearest to
//! all trials decides (isotonic regression, by pooling adjacent violators).

use super::Tried;
use crate::capacity::judge::Decision;

/// A level and what the rising line says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) level: f64,
    /// ln of the excess over what is allowed.
    log: f64,
}

/// Trials at neighbouring levels that only together rise.
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

/// The highest level that seems to hold and the lowest above it that does not.
pub(super) fn boundary(tried: &[Tried]) -> (Option<Point>, Option<Point>) {
    let mut levels: Vec<Pool> = Vec::new();
    for Tried { trial, result } in tried {
        if trial.rule.is_none() || !result.invalid.is_empty() {
            continue;
        }
        let evidence = result.evidence;
        // Beyond this there is nothing more to learn from how far it is.
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
        // Trials at the same level are one, whatever they say.
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

/// Where the excess is exactly what is allowed, between a level that holds and one that does not.
pub(super) fn crossing(holds: Point, fails: Point) -> f64 {
    let share = match fails.log - holds.log {
        rise if rise > 0.0 => (-holds.log / rise).clamp(0.0, 1.0),
        _ => 0.5,
    };
    holds.level * (fails.level / holds.level).powf(share)
}
