//! Expected results, by arithmetic.

use std::time::Duration;

use crate::record::summary::Requests;

/// Arrivals that were sent or dropped: all of them.
pub fn begun(requests: &Requests) -> u64 {
    requests.sent + requests.dropped
}

/// Requests that ended, successfully or not, or were abandoned: all that were sent.
pub fn ended(requests: &Requests) -> u64 {
    let Requests { ok, response_errors, transport_errors, timeouts, abandoned, unknown, .. } =
        *requests;
    ok + response_errors + transport_errors + timeouts + abandoned + unknown
}

/// What does not add up among counts; `None` if everything does.
pub fn unaccounted(requests: &Requests) -> Option<String> {
    let Requests { arrivals, sent, .. } = *requests;
    let (begun, ended) = (begun(requests), ended(requests));
    if begun != arrivals {
        return Some(format!("{arrivals} arrivals, but {begun} sent or dropped"));
    }
    (ended != sent).then(|| format!("{sent} sent, but {ended} ended or abandoned"))
}

/// The response time that this share of evenly spaced requests does not exceed if the Flow freezes
/// for `freeze` in every `period`, and otherwise takes no time.
///
/// A share `freeze / period` of them waits, uniformly distributed between 0 and `freeze`.
pub fn frozen(quantile: f64, freeze: Duration, period: Duration) -> Duration {
    let share = freeze.div_duration_f64(period);
    freeze.mul_f64((1.0 - (1.0 - quantile) / share).max(0.0))
}

/// The Kolmogorov–Smirnov distance of gaps from an exponential distribution with mean 1, that is,
/// of arrivals from a Poisson process.
pub fn distance_from_exponential(mut gaps: Vec<f64>) -> f64 {
    gaps.sort_by(f64::total_cmp);
    let count = gaps.len() as f64;
    let distance = |(index, gap): (usize, &f64)| {
        let law = 1.0 - (-gap).exp();
        (law - index as f64 / count).abs().max(((index + 1) as f64 / count - law).abs())
    };
    gaps.iter().enumerate().map(distance).fold(0.0, f64::max)
}

/// The distance that one in a hundred samples of `count` gaps exceeds even if the distribution is
/// right.
pub fn distance_allowed(count: usize) -> f64 {
    1.63 / (count as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_standstill_reaches_the_upper_tenth() {
        let ms = |quantile| {
            frozen(quantile, Duration::from_secs(1), Duration::from_secs(10)).as_secs_f64() * 1e3
        };
        let found = [0.5, 0.9, 0.95, 0.99, 0.999, 1.0].map(|quantile| ms(quantile).round());
        assert_eq!(found, [0.0, 0.0, 500.0, 900.0, 990.0, 1000.0]);
    }

    #[test]
    fn even_gaps_are_far_from_a_poisson_process() {
        let quantiles = (0..1000).map(|n| -(1.0 - (f64::from(n) + 0.5) / 1000.0).ln());
        assert!(distance_from_exponential(quantiles.collect()) < distance_allowed(1000));
        assert!(distance_from_exponential(vec![1.0; 1000]) > 0.6);
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = Requests {
            arrivals: 10,
            sent: 8,
            dropped: 2,
            ok: 7,
            abandoned: 1,
            ..Requests::default()
        };
        assert_eq!(unaccounted(&whole), None);
        let lost = Requests { dropped: 1, ..whole };
        assert_eq!(unaccounted(&lost).as_deref(), Some("10 arrivals, but 9 sent or dropped"));
        let twice = Requests { timeouts: 1, ..whole };
        assert_eq!(unaccounted(&twice).as_deref(), Some("8 sent, but 9 ended or abandoned"));
    }
}
