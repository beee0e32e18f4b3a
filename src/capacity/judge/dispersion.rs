//! How strongly requests depend on one another: the variance of sums over blocks of time.

/// How much sums over blocks vary, for groups of one, two, four … of the added blocks: the longer a
/// queue remembers, the longer the blocks must be to show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Dispersion {
    /// Their number grows with the logarithm of the number of blocks.
    scales: Vec<Scale>,
}

#[derive(Clone, Debug, Default)]
struct Scale {
    /// A block that waits for another one to be merged with.
    half: Option<(f64, f64)>,
    last: Option<(f64, f64)>,
    blocks: f64,
    requests: f64,
    /// Sums of k², k·m and m² over blocks, and of the same products with the previous block.
    kk: f64,
    km: f64,
    mm: f64,
    kk_lag: f64,
    km_lag: f64,
    mm_lag: f64,
}

/// Fewest blocks of a length whose variance is meaningful.
const BATCHES_MIN: f64 = 8.0;

impl Dispersion {
    /// Adds a block with `m` requests that sum to `k`.
    pub(super) fn add(&mut self, k: f64, m: f64) {
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

    /// The variance of such sums divided by that of the same number of independent requests with
    /// this mean and variance; at least 1.
    pub(super) fn factor(&self, mean: f64, variance: f64) -> f64 {
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
        // A memory longer than these blocks shows in their correlation, which short series
        // underestimate. A tenth of it may be chance.
        let correlation = lagged / squares * n / (n - 1.0);
        let correlation = correlation + (1.0 + 3.0 * correlation) / n - 1.0 / n.sqrt();
        let correlation = correlation.clamp(0.0, 0.95);
        own * (1.0 + correlation) / (1.0 - correlation)
    }
}
