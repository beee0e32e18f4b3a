//! The Universal Scalability Law: throughput over concurrency,
//! `X(N) = λN / (1 + σ(N − 1) + κN(N − 1))` (N. J. Gunther, "Guerrilla Capacity Planning", 2007).
//!
//! λ is the throughput of one request at a time, σ the share that queues for a single shared resource, κ the cost of
//! coordination between concurrent requests. `N/X` is linear in `1/λ`, `σ/λ` and `κ/λ`, so the fit is a weighted
//! linear regression without a search that could fail to converge, and intervals of the ratios are Fieller's, which
//! are valid for few points too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stats::Estimate;
use crate::stats::t_within;

/// A fitted law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usl {
    /// Requests per second with a single one in flight.
    pub lambda: Estimate,
    /// Contention.
    pub sigma: Estimate,
    /// Coherency.
    pub kappa: Estimate,
    /// Confidence level of the intervals: 0.95.
    pub confidence: f64,
    /// The concurrency with the highest throughput; null if throughput never falls.
    pub peak: Option<f64>,
    /// The smallest and the largest concurrency it was fitted to.
    pub measured: [f64; 2],
    /// Number of points.
    pub points: usize,
    /// Standard deviation of a point's relative error.
    pub error: f64,
    /// 1/λ, σ/λ, κ/λ and their covariance: predictions are derived from them.
    coefficients: [f64; 3],
    spread: [[f64; 3]; 3],
}

/// Rounds of reweighting: errors are relative, so weights depend on the fit.
const ROUNDS: usize = 5;

impl Usl {
    /// Fits concurrencies and throughputs. `None` with fewer than four points, or if they differ too little to
    /// determine three parameters.
    pub fn fit(points: &[(f64, f64)], confidence: f64) -> Option<Usl> {
        let points: Vec<(f64, f64)> =
            points.iter().copied().filter(|(n, x)| *n > 0.0 && *x > 0.0).collect();
        if points.len() < 4 {
            return None;
        }
        let mut weights: Vec<f64> = points.iter().map(|(n, x)| (x / n).powi(2)).collect();
        let mut solved = solve(&points, &weights)?;
        for _ in 0..ROUNDS {
            let fitted = points.iter().map(|(n, x)| {
                let y = value(&solved.0, *n);
                // Where the line is far off, the point itself is the better scale.
                if y > 0.1 * n / x { y } else { n / x }
            });
            weights = fitted.map(|y| 1.0 / (y * y)).collect();
            solved = solve(&points, &weights)?;
        }
        let (free, inverse) = solved;
        let coefficients = bounded(&points, &weights, free)?;
        let squares = |coefficients: &[f64; 3]| -> f64 {
            let each = points.iter().zip(&weights);
            each.map(|((n, x), weight)| weight * (n / x - value(coefficients, *n)).powi(2)).sum()
        };
        let freedom = points.len() - 3;
        let (least, most) = (squares(&free), squares(&coefficients));
        let variance = most / freedom as f64;
        // A value is in an interval if the best fit with it is not much worse than the best allowed fit, which is the
        // best of all unless that has a negative coefficient. So the estimate lies in its interval.
        let t = t_within(confidence, freedom.max(1) as f64);
        let reach = (most - least).max(0.0) + t * t * variance;
        let spread = inverse.map(|row| row.map(|cell| cell * reach));

        let [a, b, c] = coefficients;
        let slope = spread[0][0].max(0.0).sqrt();
        let lambda = Estimate::new(
            1.0 / a,
            1.0 / (free[0] + slope),
            if free[0] > slope { 1.0 / (free[0] - slope) } else { f64::INFINITY },
        );
        let ratio = |index: usize, value: f64| {
            let (low, high) = fieller(&free, &spread, index);
            Estimate::new(value, low.max(0.0), high.max(0.0))
        };
        let (sigma, kappa) = (ratio(1, b / a), ratio(2, c / a));
        let peak = (kappa.value > 0.0 && sigma.value < 1.0)
            .then(|| ((1.0 - sigma.value) / kappa.value).sqrt());
        let concurrencies = points.iter().map(|point| point.0);
        let measured = [
            concurrencies.clone().fold(f64::INFINITY, f64::min),
            concurrencies.fold(0.0, f64::max),
        ];
        Some(Usl {
            lambda,
            sigma,
            kappa,
            confidence,
            peak,
            measured,
            points: points.len(),
            error: variance.sqrt(),
            coefficients,
            spread,
        })
    }

    /// The throughput at a concurrency.
    pub fn throughput(&self, n: f64) -> f64 {
        let (sigma, kappa) = (self.sigma.value, self.kappa.value);
        self.lambda.value * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
    }

    /// Predicts a measurement at a concurrency.
    pub fn predict(&self, n: f64) -> Estimate {
        let x = [1.0, n - 1.0, n * (n - 1.0)];
        let y = value(&self.coefficients, n);
        let freedom = (self.points - 3).max(1) as f64;
        let mut squares = (t_within(self.confidence, freedom) * self.error * y).powi(2);
        for (i, row) in self.spread.iter().enumerate() {
            for (j, cell) in row.iter().enumerate() {
                squares += x[i] * cell * x[j];
            }
        }
        let off = squares.max(0.0).sqrt();
        let high = if y > off { n / (y - off) } else { f64::INFINITY };
        Estimate::new(self.throughput(n), n / (y + off).max(f64::MIN_POSITIVE), high)
    }
}

fn value(coefficients: &[f64; 3], n: f64) -> f64 {
    coefficients[0] + coefficients[1] * (n - 1.0) + coefficients[2] * n * (n - 1.0)
}

type Solved = ([f64; 3], [[f64; 3]; 3]);

/// Weighted least squares: the coefficients, and the inverse of the normal matrix.
fn solve(points: &[(f64, f64)], weights: &[f64]) -> Option<Solved> {
    let mut normal = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for ((n, x), weight) in points.iter().zip(weights) {
        let row = [1.0, n - 1.0, n * (n - 1.0)];
        for i in 0..3 {
            for j in 0..3 {
                normal[i][j] += weight * row[i] * row[j];
            }
            right[i] += weight * row[i] * n / x;
        }
    }
    let inverse = inverted(normal)?;
    let coefficients = inverse.map(|row| row.iter().zip(right).map(|(a, b)| a * b).sum());
    Some((coefficients, inverse))
}

/// The inverse of a symmetric matrix, by cofactors; `None` if it is singular, because the points cannot distinguish
/// the parameters.
fn inverted(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |i: usize, j: usize| {
        let rows: Vec<usize> = (0..3).filter(|row| *row != i).collect();
        let columns: Vec<usize> = (0..3).filter(|column| *column != j).collect();
        m[rows[0]][columns[0]] * m[rows[1]][columns[1]]
            - m[rows[0]][columns[1]] * m[rows[1]][columns[0]]
    };
    let sign = |i: usize, j: usize| if (i + j).is_multiple_of(2) { 1.0 } else { -1.0 };
    let determinant: f64 = (0..3).map(|j| sign(0, j) * m[0][j] * minor(0, j)).sum();
    let scale = m[0][0] * m[1][1] * m[2][2];
    if determinant.is_nan() || determinant.abs() <= 1e-12 * scale.abs() {
        return None;
    }
    Some(std::array::from_fn(|i| std::array::from_fn(|j| sign(i, j) * minor(j, i) / determinant)))
}

/// The best non-negative coefficients: one that would be negative is set to zero, and the others are fitted without
/// it.
fn bounded(points: &[(f64, f64)], weights: &[f64], free: [f64; 3]) -> Option<[f64; 3]> {
    if free.iter().all(|coefficient| *coefficient >= 0.0) {
        return Some(free);
    }
    let mut best: Option<([f64; 3], f64)> = None;
    for kept in [&[0, 1][..], &[0, 2], &[0]] {
        let Some(found) = least_squares(points, weights, kept) else { continue };
        if found.iter().any(|coefficient| *coefficient < 0.0) || found[0] <= 0.0 {
            continue;
        }
        let squares: f64 = points
            .iter()
            .zip(weights)
            .map(|((n, x), weight)| weight * (n / x - value(&found, *n)).powi(2))
            .sum();
        if best.is_none_or(|(_, known)| squares < known) {
            best = Some((found, squares));
        }
    }
    best.map(|(found, _)| found)
}

/// Least squares with one or two of the coefficients.
fn least_squares(points: &[(f64, f64)], weights: &[f64], kept: &[usize]) -> Option<[f64; 3]> {
    let row = |n: f64| [1.0, n - 1.0, n * (n - 1.0)];
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        points.iter().zip(weights).map(|((n, x), weight)| weight * of(*n, n / x)).sum()
    };
    let mut found = [0.0; 3];
    match *kept {
        [i, j] => {
            let (ii, jj) = (sum(&|n, _| row(n)[i].powi(2)), sum(&|n, _| row(n)[j].powi(2)));
            let ij = sum(&|n, _| row(n)[i] * row(n)[j]);
            let (iy, jy) = (sum(&|n, y| row(n)[i] * y), sum(&|n, y| row(n)[j] * y));
            let determinant = ii * jj - ij * ij;
            if determinant.abs() <= 1e-12 * ii * jj {
                return None;
            }
            found[i] = (iy * jj - jy * ij) / determinant;
            found[j] = (jy * ii - iy * ij) / determinant;
        }
        [i] => found[i] = sum(&|n, y| row(n)[i] * y) / sum(&|n, _| row(n)[i].powi(2)),
        _ => return None,
    }
    Some(found)
}

/// The interval of a coefficient divided by the first (Fieller's theorem); `spread` is the covariance of the
/// coefficients, scaled to the confidence.
fn fieller(of: &[f64; 3], spread: &[[f64; 3]; 3], index: usize) -> (f64, f64) {
    let (a, b) = (of[0], of[index]);
    let square = a * a - spread[0][0];
    let half = a * b - spread[0][index];
    let rest = b * b - spread[index][index];
    let root = half * half - square * rest;
    if square <= 0.0 || root < 0.0 {
        // The denominator may be zero: nothing is known about the ratio.
        return (0.0, f64::INFINITY);
    }
    ((half - root.sqrt()) / square, (half + root.sqrt()) / square)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::Key;

    fn law(n: f64, lambda: f64, sigma: f64, kappa: f64) -> f64 {
        lambda * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
    }

    #[test]
    fn exact_points_give_exact_parameters() {
        let points: Vec<(f64, f64)> =
            [1.0, 2.0, 4.0, 8.0, 16.0, 32.0].map(|n| (n, law(n, 100.0, 0.05, 0.001))).to_vec();
        let fit = Usl::fit(&points, 0.95).expect("a fit");
        assert!((fit.lambda.value - 100.0).abs() < 1e-6, "{fit:?}");
        assert!((fit.sigma.value - 0.05).abs() < 1e-9 && (fit.kappa.value - 0.001).abs() < 1e-9);
        assert!((fit.peak.expect("a peak") - (0.95f64 / 0.001).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn true_parameters_lie_within_their_intervals_at_the_stated_rate() {
        let levels = [1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0];
        for (sigma, kappa) in [(0.05, 0.001), (0.1, 0.0), (0.02, 0.0005)] {
            let mut within = [0; 4];
            for seed in 0..200 {
                let mut rng = Key::new(7).index(seed).rng();
                // The sum of twelve uniform numbers is close enough to normal here.
                let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                let points: Vec<(f64, f64)> = levels
                    .iter()
                    .map(|n| (*n, law(*n, 100.0, sigma, kappa) * (1.0 + 0.02 * noise())))
                    .collect();
                let fit = Usl::fit(&points, 0.95).expect("a fit");
                within[0] += u32::from(fit.lambda.contains(100.0));
                within[1] += u32::from(fit.sigma.contains(sigma));
                within[2] += u32::from(fit.kappa.contains(kappa));
                let next = law(30.0, 100.0, sigma, kappa) * (1.0 + 0.02 * noise());
                within[3] += u32::from(fit.predict(30.0).contains(next));
            }
            // 190 of 200, within three standard deviations.
            for count in within {
                assert!(count >= 180, "{within:?} of 200 with {sigma} and {kappa}");
            }
        }
    }

    #[test]
    fn parameters_are_never_negative_and_too_few_points_no_fit() {
        // Superlinear, as a cache that warms up may look.
        let points = [(1.0, 100.0), (2.0, 210.0), (4.0, 430.0), (8.0, 900.0), (16.0, 1850.0)];
        let fit = Usl::fit(&points, 0.95).expect("a fit");
        assert!(fit.sigma.value >= 0.0 && fit.kappa.value >= 0.0, "{fit:?}");
        // An estimate at its bound still has an interval.
        for estimate in [fit.lambda, fit.sigma, fit.kappa] {
            assert!(estimate.contains(estimate.value), "{fit:?}");
        }
        assert!(fit.sigma.high > 0.0, "{fit:?}");
        assert!(fit.predict(8.0).contains(fit.throughput(8.0)), "{fit:?}");
        assert_eq!(fit.peak, None);
        assert_eq!(Usl::fit(&points[..3], 0.95), None);
        assert_eq!(Usl::fit(&[(4.0, 100.0); 6], 0.95), None);
    }
}
