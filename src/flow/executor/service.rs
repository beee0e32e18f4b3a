//! Service times: how long an Executor works on a request.

use rand_distr::{Distribution, Exp, LogNormal};
use rand_pcg::Pcg64Mcg;
use tokio::time::Duration;

use super::LONGEST;
use crate::flow::config::ServiceTime;

/// The standard normal's 99th percentile.
const Z99: f64 = 2.326_347_874_040_841;

/// A distribution ready to be drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sampler {
    Constant(Duration),
    Uniform { min: f64, span: f64 },
    Exponential(Exp<f64>),
    Lognormal(LogNormal<f64>),
}

impl Sampler {
    pub(super) fn new(time: ServiceTime) -> Sampler {
        match time {
            ServiceTime::Constant(time) => Sampler::Constant(time),
            ServiceTime::Uniform { min, max } => Sampler::Uniform {
                min: min.as_secs_f64(),
                span: max.saturating_sub(min).as_secs_f64(),
            },
            // A mean of zero has no rate; it is a constant.
            ServiceTime::Exponential(mean) => match Exp::new(1.0 / mean.as_secs_f64()) {
                Ok(exp) if !mean.is_zero() => Sampler::Exponential(exp),
                _ => Sampler::Constant(Duration::ZERO),
            },
            ServiceTime::Lognormal { median, p99 } => {
                let mu = median.as_secs_f64().ln();
                let sigma = (p99.as_secs_f64().ln() - mu) / Z99;
                match LogNormal::new(mu, sigma) {
                    Ok(lognormal) => Sampler::Lognormal(lognormal),
                    Err(_) => Sampler::Constant(median),
                }
            }
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Sampler::Constant(Duration::ZERO))
    }

    pub(super) fn sample(&self, rng: &mut Pcg64Mcg) -> Duration {
        use rand::RngExt;
        let seconds = match self {
            Sampler::Constant(time) => return *time,
            Sampler::Uniform { min, span } => min + span * rng.random::<f64>(),
            Sampler::Exponential(exp) => exp.sample(rng),
            Sampler::Lognormal(lognormal) => lognormal.sample(rng),
        };
        Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// The quantile of 100 000 draws, in milliseconds.
    fn quantile(time: ServiceTime, q: f64) -> f64 {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let sampler = Sampler::new(time);
        let mut drawn: Vec<Duration> = (0..100_000).map(|_| sampler.sample(&mut rng)).collect();
        drawn.sort();
        drawn[(drawn.len() as f64 * q) as usize].as_secs_f64() * 1000.0
    }

    #[test]
    fn draws_have_the_quantiles_asked_for() {
        let ms = Duration::from_millis;
        let lognormal = ServiceTime::Lognormal { median: ms(5), p99: ms(40) };
        assert!((quantile(lognormal, 0.5) - 5.0).abs() < 0.1);
        assert!((quantile(lognormal, 0.99) - 40.0).abs() < 1.5);
        let exponential = ServiceTime::Exponential(ms(10));
        assert!((quantile(exponential, 0.5) - 6.93).abs() < 0.1);
        let uniform = ServiceTime::Uniform { min: ms(10), max: ms(20) };
        assert!((quantile(uniform, 0.9) - 19.0).abs() < 0.1);
    }
}
