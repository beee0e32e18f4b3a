//! Statistics and queueing: means and spreads, the number of samples that a percentile needs, quantiles of
//! Student's t distribution, probabilities of the rank-sum statistic, and Erlang's C formula.

/// The minimum number of samples to certify a quantile. With this many, if the true share above it were
/// `1 − quantile`, the probability of at most one sample above it would be below 1 % (MLPerf LoadGen's early
/// stopping).
///
/// For a quantile of 1, it is one: that means the largest value seen, like `max`. That value is certain; no
/// number of samples could show that nothing larger will ever occur.
pub(crate) fn samples_needed(quantile: f64) -> u64 {
    if quantile >= 1.0 {
        return 1;
    }
    let at_most_one = |n: u64| {
        let n = n as f64;
        quantile.powf(n) + n * (1.0 - quantile) * quantile.powf(n - 1.0)
    };
    // The probability falls with n: double, then bisect.
    let mut high = 2;
    while at_most_one(high) > 0.01 {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at_most_one(middle) > 0.01 { low = middle } else { high = middle }
    }
    high
}

/// The mean; NaN without values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sum of squared deviations from the mean.
pub fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// The median of at least one value in ascending order.
pub fn median(ascending: &[f64]) -> f64 {
    let half = ascending.len() / 2;
    if ascending.len().is_multiple_of(2) {
        f64::midpoint(ascending[half - 1], ascending[half])
    } else {
        ascending[half]
    }
}

/// Lag-1 autocorrelation of a series.
pub fn autocorrelation(series: &[f64]) -> f64 {
    if series.is_empty() {
        return 0.0;
    }
    let mean = mean(series);
    let product = |pair: &[f64]| (pair[0] - mean) * (pair[1] - mean);
    let all = squares(series);
    if all > 0.0 { series.windows(2).map(product).sum::<f64>() / all } else { 0.0 }
}

/// Probability that a Poisson variable of this mean is at least `count`.
pub(crate) fn poisson_tail(count: u64, mean: f64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    if mean <= 0.0 {
        return 0.0;
    }
    let count = count as f64;
    // Past the mean, the terms decrease from the first one on, by a factor that decreases too.
    let first = (count * mean.ln() - mean - ln_gamma(count + 1.0)).exp();
    if count <= mean {
        let below: f64 = (0..count as u64)
            .fold((0.0, (-mean).exp()), |(sum, term), n| {
                (sum + term, term * mean / (n as f64 + 1.0))
            })
            .0;
        return (1.0 - below).clamp(0.0, 1.0);
    }
    let (mut sum, mut term, mut n) = (0.0, first, count);
    while term > sum * 1e-12 && n < count + 1e6 {
        sum += term;
        n += 1.0;
        term *= mean / n;
    }
    sum.min(1.0)
}

/// The 95 % confidence interval (Wilson) of a share of which `count` in `all` were observed.
pub(crate) fn wilson(count: u64, all: u64) -> (f64, f64) {
    const Z: f64 = 1.96;
    if all == 0 {
        return (0.0, 1.0);
    }
    let (share, n) = (count as f64 / all as f64, all as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    // None and all are exact, which the formula is but for rounding.
    let low = if count == 0 { 0.0 } else { ((middle - half) / whole).max(0.0) };
    let high = if count == all { 1.0 } else { ((middle + half) / whole).min(1.0) };
    (low, high)
}

/// The value that Student's t with `df` degrees of freedom exceeds with probability `tail`, which
/// is above 0 and at most ½.
pub(crate) fn t_beyond(tail: f64, df: f64) -> f64 {
    // The tail falls as t grows: double, then bisect.
    let (mut low, mut high) = (0.0, 1.0);
    while t_tail(high, df) > tail && high < 1e9 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if t_tail(middle, df) > tail { low = middle } else { high = middle }
    }
    high
}

/// The absolute value that Student's t with `df` degrees of freedom does not exceed with this probability.
pub(crate) fn t_within(probability: f64, df: f64) -> f64 {
    t_beyond((1.0 - probability) / 2.0, df)
}

/// Probability that Student's t with `df` degrees of freedom exceeds `t`, which must not be
/// negative.
fn t_tail(t: f64, df: f64) -> f64 {
    0.5 * beta_share(df / (df + t * t), df / 2.0, 0.5)
}

/// The regularised incomplete beta function (Abramowitz and Stegun, 26.5.8: its continued fraction,
/// evaluated by Lentz's method).
fn beta_share(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side; symmetry gives the other.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(1.0 - x, b, a);
    }
    let front =
        (a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() / a;
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut sum = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        sum *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        sum *= d * c;
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * sum
}

/// The logarithm of the gamma function, for arguments of ½ and above (Lanczos, g = 7).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series = TERMS
        .iter()
        .zip(1..)
        .fold(0.999_999_999_999_809_9, |sum, (term, i)| sum + term / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// The distribution of the number of pairs (one of `n` values, one of `m`) won by the first, if all orders
/// are equally likely: entry `u` is the probability of at most `u` wins. Uses Mann and Whitney's recursion.
pub(crate) fn rank_sum_chances(n: usize, m: usize) -> Vec<f64> {
    // Number of ways to choose n of the first k ranks with rank sum s, adding one rank at a time.
    let most = n * m;
    let mut ways = vec![vec![0.0; most + 1]; n + 1];
    ways[0][0] = 1.0;
    for rank in 0..n + m {
        for chosen in (1..=n.min(rank + 1)).rev() {
            // The `chosen`-th value of the first side, at this rank, beats all values of the second side
            // before it.
            let Some(wins) = (rank + 1).checked_sub(chosen).filter(|wins| *wins <= m) else {
                continue;
            };
            for u in (wins..=most).rev() {
                let before = ways[chosen - 1][u - wins];
                ways[chosen][u] += before;
            }
        }
    }
    let total: f64 = ways[n].iter().sum();
    let mut sum = 0.0;
    ways[n]
        .iter()
        .map(|ways| {
            sum += ways;
            sum / total
        })
        .collect()
}

/// The probability of waiting in a queue with `servers` servers and a load of `load` Erlang, below `servers`
/// (M/M/c): Erlang's C formula.
pub(crate) fn erlang_c(load: f64, servers: u32) -> f64 {
    // The probability that all servers are busy if nobody waits (Erlang's B), computed server by server, and
    // C from it.
    let blocked =
        (1..=servers).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked));
    blocked / (1.0 - load / f64::from(servers) * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_t_are_those_of_the_tables() {
        for (tail, df, expected) in [
            (0.01, 4.0, 3.747),
            (0.01, 18.0, 2.552),
            (0.025, 1.0, 12.706),
            (0.025, 2.0, 4.303),
            (0.025, 5.0, 2.571),
            (0.025, 30.0, 2.042),
            (0.005, 10.0, 3.169),
            (0.01, 1e6, 2.326),
            (0.5, 3.0, 0.0),
        ] {
            let found = t_beyond(tail, df);
            assert!((found - expected).abs() < 6e-4, "{tail} {df}: {found}");
        }
        assert!((t_within(0.95, 5.0) - 2.571).abs() < 6e-4);
    }

    #[test]
    fn chances_of_rank_sums_are_those_of_the_tables() {
        // Three against three: 20 orders.
        let chances = rank_sum_chances(3, 3);
        let ways: Vec<f64> = chances.iter().map(|chance| (chance * 20.0).round()).collect();
        assert_eq!(ways, [1.0, 2.0, 4.0, 7.0, 10.0, 13.0, 16.0, 18.0, 19.0, 20.0]);
        // Mann and Whitney's one-sided critical value for ten against ten at 1 % is 19.
        let chances = rank_sum_chances(10, 10);
        assert!(chances[19] <= 0.01 && chances[20] > 0.01, "{:?}", &chances[18..22]);
        assert_eq!(rank_sum_chances(2, 5).len(), 11);
    }

    #[test]
    fn samples_needed_are_mlperfs() {
        let needed = [0.5, 0.9, 0.95, 0.99, 0.999].map(samples_needed);
        assert_eq!(needed, [11, 64, 130, 662, 6636]);
    }

    #[test]
    fn erlangs_c_is_that_of_the_tables() {
        assert!((erlang_c(0.5, 1) - 0.5).abs() < 1e-12);
        // Two servers, each half busy: 1/3.
        assert!((erlang_c(1.0, 2) - 1.0 / 3.0).abs() < 1e-12);
        assert!((erlang_c(8.0, 10) - 0.409).abs() < 1e-3);
    }
}
