//! Whether a quantity grows with time.

use std::collections::VecDeque;

/// The mean of a quantity over time, at a resolution that gets coarser with the length.
#[derive(Clone, Debug, Default)]
pub(super) struct Trend {
    /// Means over `width` blocks each; bounded by [`TREND_MAX`].
    means: VecDeque<f64>,
    width: usize,
    /// The incomplete last mean: sum and number of blocks.
    open: (f64, usize),
}

const TREND_MAX: usize = 96;

impl Trend {
    pub(super) fn add(&mut self, value: f64) {
        self.width = self.width.max(1);
        self.open = (self.open.0 + value, self.open.1 + 1);
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

    /// How far the second half is above the first.
    pub(super) fn rise(&self) -> f64 {
        let half = self.means.len() / 2;
        if half == 0 {
            return 0.0;
        }
        let sum = |from: usize, to: usize| self.means.range(from..to).sum::<f64>();
        (sum(self.means.len() - half, self.means.len()) - sum(0, half)) / half as f64
    }

    /// Whether it grew from third to third, by more than chance explains: a queue that fills grows
    /// by the same amount in both, a stable one does not.
    pub(super) fn grows(&self) -> bool {
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
