//! Watches a running trial: when it is decided, and what each block of it showed.

use std::time::Duration;

use crate::capacity::judge::{Block, Decision, Evidence, Judge};
use crate::capacity::objective::{Meter, Objective};
use crate::capacity::search::{Kind, Trial};
use crate::record::summary::Throughput;
use crate::record::tally::{Counts, Tally};
use crate::run::tried::Seen;

/// Consecutive blocks that must meet the objective before a Flow counts as recovered.
const CALM_BLOCKS: usize = 3;

/// What is observed of a running trial.
pub(super) struct Watched {
    meter: Meter,
    /// The share of requests that may exceed each limit.
    allowed: Vec<f64>,
    judge: Option<Judge>,
    /// At most four per second, bounded by the trial's budget.
    marks: Vec<Mark>,
    /// Whether it may pass before its budget is used up.
    early_pass: bool,
    cool_down: bool,
    budget_s: f64,
    least_s: f64,
    decided: Option<Decision>,
    offered: Option<Offered>,
    rates: Rates,
}

/// Rates over whole seconds while the load of a trial was offered.
#[derive(Clone, Copy, Default)]
pub(super) struct Rates {
    /// Over all of them.
    pub(super) whole: Option<Throughput>,
    /// Over the second half, when the backlog of the warmup is gone and a queue has filled.
    pub(super) settled: Option<Throughput>,
}

/// Fewer seconds give no rate.
const SECONDS_MIN: u64 = 2;

/// The totals when the load of a trial was no longer offered.
pub(super) struct Offered {
    pub(super) tally: Tally,
    /// Counts on responses, among them failed assertions.
    pub(super) counts: Counts,
    /// When that was.
    pub(super) elapsed: Duration,
}

/// A block, and the totals at its end.
pub(super) struct Mark {
    pub(super) end_s: f64,
    pub(super) block: Block,
    /// Ok requests since the beginning.
    pub(super) ok: u64,
}

impl Watched {
    pub(super) fn new(trial: &Trial, objective: &Objective, judge: Option<Judge>) -> Watched {
        Watched {
            meter: objective.meter(),
            allowed: objective.limits().iter().map(|limit| limit.allowed).collect(),
            judge,
            marks: Vec::new(),
            early_pass: objective.is_sequential(),
            cool_down: trial.kind == Kind::CoolDown,
            budget_s: trial.budget_s,
            least_s: trial.least_s,
            decided: None,
            offered: None,
            rates: Rates::default(),
        }
    }

    /// Takes in what was measured so far; returns whether that is enough.
    pub(super) fn look(&mut self, seen: &Seen<'_>) -> bool {
        let elapsed_s = seen.elapsed.as_secs_f64();
        let over = elapsed_s >= self.budget_s;
        let Some(block) =
            self.meter.block(seen.recording, seen.counts.assertion_failures, seen.elapsed, over)
        else {
            return false;
        };
        if let Some(judge) = &mut self.judge {
            judge.add(&block);
        }
        let totals = &seen.recording.totals;
        self.marks.push(Mark { end_s: elapsed_s, block, ok: totals.ok().count() });
        let enough = self.is_enough(elapsed_s);
        if self.offered.is_none() && (enough || over) {
            let (tally, counts) = (totals.clone(), seen.counts.clone());
            self.offered = Some(Offered { tally, counts, elapsed: seen.elapsed });
            let until = seen.recording.complete().min(self.budget_s as u64);
            let rates = |from: u64| {
                let told = until - from >= SECONDS_MIN;
                told.then(|| seen.recording.throughput(from, until))
            };
            self.rates = Rates { whole: rates(0), settled: rates(until / 2) };
        }
        enough
    }

    fn is_enough(&mut self, elapsed_s: f64) -> bool {
        if self.cool_down {
            return elapsed_s >= self.least_s && self.calm_from(0.0).is_some();
        }
        let Some(judge) = &self.judge else { return false };
        match judge.decision() {
            Decision::Fail => self.decided = Some(Decision::Fail),
            Decision::Pass if self.early_pass => self.decided = Some(Decision::Pass),
            _ => return judge.is_futile(self.budget_s) && self.early_pass,
        }
        true
    }

    /// How long it has run, and the evidence so far, if there is any.
    pub(super) fn progress(&self) -> (f64, Option<Evidence>) {
        let settled = self.judge.as_ref().filter(|judge| judge.is_settled());
        (self.marks.last().map_or(0.0, |mark| mark.end_s), settled.map(Judge::evidence))
    }

    pub(super) fn evidence(&self) -> Evidence {
        self.judge.as_ref().map_or(Evidence::default(), Judge::evidence)
    }

    /// The decision while it ran, and the decision from everything that came in.
    pub(super) fn decisions(&self) -> (Option<Decision>, Decision) {
        let at_end = self.judge.as_ref().map_or(Decision::Open, Judge::last_decision);
        (self.decided, at_end)
    }

    /// Blocks that ended while the load was offered, without those of the drain and after.
    pub(super) fn marks(&self) -> &[Mark] {
        let ends = |offered: &Offered| offered.elapsed.as_secs_f64();
        let end_s = self.offered.as_ref().map_or(f64::INFINITY, ends);
        let count = self.marks.iter().take_while(|mark| mark.end_s <= end_s).count();
        &self.marks[..count]
    }

    /// The totals at that time; `None` if the trial ended before.
    pub(super) fn while_offered(&self) -> Option<&Offered> {
        self.offered.as_ref()
    }

    /// The rates while the load was offered.
    pub(super) fn rates(&self) -> Rates {
        self.rates
    }

    /// Seconds from `from` until the objective was met again, for several consecutive blocks.
    pub(super) fn calm_from(&self, from: f64) -> Option<f64> {
        let after = self.marks.partition_point(|mark| mark.end_s <= from);
        let after = &self.marks[after..];
        let calm = |marks: &[Mark]| {
            let sum = |of: &dyn Fn(&Block) -> f64| -> f64 {
                marks.iter().map(|mark| of(&mark.block)).sum()
            };
            let requests = sum(&|block| block.requests);
            let holds = |(index, allowed): (usize, &f64)| {
                let over = sum(&|block| block.over.get(index).copied().unwrap_or(0.0));
                // 0.1 is slightly less than one tenth in binary.
                over <= allowed * requests + 1e-6
            };
            marks.iter().all(|mark| mark.block.requests > 0.0)
                && self.allowed.iter().enumerate().all(holds)
        };
        let start = after.windows(CALM_BLOCKS).position(calm)?;
        let Mark { end_s, block, .. } = &after[start];
        Some((end_s - block.seconds - from).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Recording;

    /// A cool-down with this many fast and slow requests in each quarter of a second.
    fn watched(blocks: &[(u64, u64)]) -> Watched {
        let objective = Objective::new(&["p90 < 100ms".parse().expect("a condition")]);
        let objective = objective.expect("an objective");
        let trial = Trial {
            kind: Kind::CoolDown,
            level: 10.0,
            budget_s: 60.0,
            least_s: 0.0,
            rule: None,
            then: None,
        };
        let mut watched = Watched::new(&trial, &objective, None);
        let mut recording = Recording::default();
        for (index, (fast, slow)) in blocks.iter().enumerate() {
            for (count, ms) in [(fast, 10), (slow, 200)] {
                let response = &mut recording.totals.response[0];
                (0..*count).for_each(|_| response.record(Duration::from_millis(ms)));
            }
            let elapsed = Duration::from_millis(250 * (index as u64 + 1));
            watched.look(&Seen { recording: &recording, counts: Counts::default(), elapsed });
        }
        watched
    }

    #[test]
    fn a_flow_has_recovered_when_the_objective_holds_again() {
        let slow_then_fast = watched(&[(0, 9), (0, 9), (9, 0), (9, 0), (9, 0)]);
        assert_eq!(slow_then_fast.calm_from(0.0), Some(0.5));
        // One in ten may be slow, and an empty block says nothing.
        assert_eq!(watched(&[(9, 1), (9, 1), (9, 1)]).calm_from(0.0), Some(0.0));
        assert_eq!(watched(&[(9, 0), (0, 0), (9, 0), (9, 0)]).calm_from(0.0), None);
        assert_eq!(watched(&[(8, 2), (9, 1), (9, 1)]).calm_from(0.0), None);
    }

    #[test]
    fn what_comes_after_the_load_is_no_part_of_it() {
        let mut watched = watched(&[(5, 0), (5, 0), (5, 0), (5, 0)]);
        // It was calm after three blocks, so the fourth belongs to the drain.
        assert_eq!(watched.marks().len(), 3);
        assert_eq!(watched.while_offered().map(|offered| offered.tally.ok().count()), Some(15));
        watched.offered = None;
        assert_eq!(watched.marks().len(), 4);
    }
}
