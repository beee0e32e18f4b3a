//! Runs made one after the other until they can tell: when to look, and how sure each look must be.

use super::ALPHA;

/// Fresh runs a side that must repeat a regression before it counts.
pub const CONFIRMATION: usize = 3;

/// The looks at runs that are still coming in.
///
/// Who looks often is wrong more often. So the chance of error is spent over the looks: when a share
/// s of the runs is there, s² of it is spent (Lan and DeMets), little at first, when few runs can
/// mislead. What all looks spend together is [`ALPHA`], however they depend on each other.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    most: usize,
    spent: f64,
}

impl Looks {
    /// Looks at up to so many runs a side.
    pub fn new(most: usize) -> Looks {
        Looks { most: most.max(1), spent: 0.0 }
    }

    /// Whether to look when so many runs a side are there: after each round of A B B A, so that
    /// neither side has the better half of a drift, and at the end.
    pub fn is_due(&self, runs: usize) -> bool {
        runs >= self.most || runs >= 2 && runs.is_multiple_of(2)
    }

    /// The chance of error that this look may have; the last one gets all that is left.
    pub fn spend(&mut self, runs: usize, last: bool) -> f64 {
        let share = if last { 1.0 } else { (runs as f64 / self.most as f64).min(1.0) };
        let level = (ALPHA * share * share - self.spent).max(ALPHA * 1e-3);
        self.spent += level;
        level
    }
}

/// Which side the runs of a round begin with: A B, then B A.
pub fn candidate_first(round: usize) -> bool {
    round % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_looks_together_spend_what_there_is_to_spend() {
        for most in [1, 2, 3, 10, 25] {
            let mut looks = Looks::new(most);
            let due: Vec<usize> = (1..=most).filter(|runs| looks.is_due(*runs)).collect();
            let spent: f64 = due.iter().map(|runs| looks.spend(*runs, *runs == most)).sum();
            assert!((spent - ALPHA).abs() < 1e-12, "{most}: {spent}");
        }
    }

    #[test]
    fn the_first_looks_must_be_surest() {
        let mut looks = Looks::new(10);
        let levels: Vec<f64> = [2, 4, 6, 8, 10].map(|runs| looks.spend(runs, runs == 10)).into();
        assert!(levels.is_sorted(), "{levels:?}");
    }
}
