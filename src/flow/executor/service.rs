//! Service times: how long an Executor works on a request.

use rand::RngExt;
use rand_distr::{Distribution, Exp, LogNormal};
use rand_pcg::Pcg64Mcg;
use tokio::time::Duration;

use crate::flow::config::{ServiceTime, SlowStart};
use crate::units::times::lognormal;

/// Maximum service time: longer than any run, and short enough that no instant overflows.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Draws service times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    law: Shape,
    per_document: bool,
    /// The number in service above which times grow, and how much each further request adds.
    knee: Option<(usize, f64)>,
    slow_start: Option<SlowStart>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Constant(Duration),
    Uniform { min: f64, span: f64 },
    Exponential(Exp<f64>),
    Lognormal(LogNormal<f64>),
}

impl Sampler {
    pub(super) fn new(time: &ServiceTime, slow_start: Option<SlowStart>) -> Sampler {
        match time {
            ServiceTime::Knee(knee) => Sampler {
                knee: Some((knee.at as usize, knee.growth.fraction())),
                ..Sampler::new(&knee.time, slow_start)
            },
            ServiceTime::PerDocument(time) => {
                Sampler { per_document: true, ..Sampler::new(time, slow_start) }
            }
            plain => {
                Sampler { law: Shape::new(plain), per_document: false, knee: None, slow_start }
            }
        }
    }

    /// Whether all times are zero.
    pub(super) fn is_zero(&self) -> bool {
        matches!(self.law, Shape::Constant(Duration::ZERO))
    }

    /// Whether times depend on the number in service.
    pub(super) fn counts(&self) -> bool {
        self.knee.is_some()
    }

    /// Draws the time of a request with this many Documents that is served alone. `now` is the time since
    /// the Flow's start.
    pub(super) fn draw(&self, rng: &mut Pcg64Mcg, documents: usize, now: Duration) -> Duration {
        let mut time = match (self.per_document, self.law) {
            (false, law) => law.draw(rng),
            (true, Shape::Constant(each)) => {
                u32::try_from(documents).map_or(LONGEST, |n| each.saturating_mul(n))
            }
            (true, law) => (0..documents).fold(Duration::ZERO, |sum, _| sum + law.draw(rng)),
        };
        if let Some(SlowStart { r#for, factor }) = self.slow_start {
            let left = 1.0 - now.as_secs_f64() / r#for.get().as_secs_f64();
            if left > 0.0 {
                time = stretch(time, 1.0 + (factor - 1.0) * left);
            }
        }
        time.min(LONGEST)
    }

    /// The time with this many requests in service, this one included.
    pub(super) fn among(&self, time: Duration, in_service: usize) -> Duration {
        match self.knee {
            Some((at, growth)) if in_service > at => {
                stretch(time, 1.0 + growth * (in_service - at) as f64)
            }
            _ => time,
        }
    }
}

impl Shape {
    fn new(time: &ServiceTime) -> Shape {
        match *time {
            ServiceTime::Uniform { min, max } => Shape::Uniform {
                min: min.as_secs_f64(),
                span: max.saturating_sub(min).as_secs_f64(),
            },
            // A mean of zero means a constant zero.
            ServiceTime::Exponential(mean) if !mean.is_zero() => {
                Exp::new(1.0 / mean.as_secs_f64()).map_or(Shape::Constant(mean), Shape::Exponential)
            }
            ServiceTime::Lognormal { median, p99 } => {
                let (mu, sigma) = lognormal(median, p99);
                LogNormal::new(mu, sigma).map_or(Shape::Constant(median), Shape::Lognormal)
            }
            ServiceTime::Constant(time) => Shape::Constant(time),
            // The configuration does not nest further.
            ServiceTime::Exponential(_) | ServiceTime::PerDocument(_) | ServiceTime::Knee(_) => {
                Shape::Constant(Duration::ZERO)
            }
        }
    }

    fn draw(self, rng: &mut Pcg64Mcg) -> Duration {
        let seconds = match self {
            Shape::Constant(time) => return time,
            Shape::Uniform { min, span } => min + span * rng.random::<f64>(),
            Shape::Exponential(exp) => exp.sample(rng),
            Shape::Lognormal(lognormal) => lognormal.sample(rng),
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST)
    }
}

fn stretch(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::config::Knee;
    use crate::random::Key;
    use crate::units::{Percentage, Span};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The quantile of 100 000 draws, in milliseconds.
    fn quantile(time: ServiceTime, q: f64) -> f64 {
        let mut rng = Key::new(1).rng();
        let sampler = Sampler::new(&time, None);
        let draw = |_| sampler.draw(&mut rng, 1, Duration::ZERO);
        let mut drawn: Vec<Duration> = (0..100_000).map(draw).collect();
        drawn.sort();
        drawn[(drawn.len() as f64 * q) as usize].as_secs_f64() * 1000.0
    }

    #[test]
    fn draws_have_the_quantiles_asked_for() {
        let lognormal = ServiceTime::Lognormal { median: ms(5), p99: ms(40) };
        assert!((quantile(lognormal.clone(), 0.5) - 5.0).abs() < 0.1);
        assert!((quantile(lognormal, 0.99) - 40.0).abs() < 1.5);
        let exponential = ServiceTime::Exponential(ms(10));
        assert!((quantile(exponential, 0.5) - 6.93).abs() < 0.1);
        let uniform = ServiceTime::Uniform { min: ms(10), max: ms(20) };
        assert!((quantile(uniform, 0.9) - 19.0).abs() < 0.1);
    }

    #[test]
    fn documents_company_and_a_slow_start_lengthen_it() {
        let mut rng = Key::new(1).rng();
        let each = ServiceTime::PerDocument(Box::new(ServiceTime::Constant(ms(2))));
        let knee = ServiceTime::Knee(Box::new(Knee {
            time: each,
            at: 4,
            growth: Percentage::new(50.0).expect("a percentage"),
        }));
        let slow = SlowStart { r#for: Span::new(ms(1000)).expect("a span"), factor: 3.0 };
        let sampler = Sampler::new(&knee, Some(slow));
        let mut draw = |documents, now| sampler.draw(&mut rng, documents, ms(now));
        assert_eq!(draw(10, 2000), ms(20));
        assert_eq!(draw(10, 0), ms(60));
        assert_eq!(draw(10, 500), ms(40));
        assert_eq!(sampler.among(ms(20), 4), ms(20));
        assert_eq!(sampler.among(ms(20), 6), ms(40));
    }
}
