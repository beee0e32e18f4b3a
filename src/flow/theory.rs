//! What queueing theory predicts for an Executor: mean and quantiles of its response time when requests
//! arrive at random (a Poisson process), for queues that have an exact solution.
//!
//! Sources: Erlang's C formula for M/M/c; Pollaczek and Khinchine's for the mean of M/G/1; G. J.
//! Franx, "A simple solution for the M/D/c waiting time distribution" (2001), whose terms are all
//! positive, so that it holds at any load.

use std::fmt;
use std::time::Duration;

use super::config::{Behaviour, ExecutorConfig, ServiceTime};
use crate::stats::erlang_c;
use crate::units::Rate;
use crate::units::times::lognormal;

/// The queue of an Executor, in equilibrium.
#[derive(Clone, Debug, PartialEq)]
pub struct Theory {
    /// Kendall's notation: `M/D/1`.
    pub model: String,
    /// The share of time its servers are busy, from 0 to 1; `None` if their number is unlimited.
    pub utilisation: Option<f64>,
    /// The mean response time.
    pub mean: Duration,
    law: Distribution,
}

/// Why there is no prediction.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TheoryError {
    /// Requests arrive faster than they can be served: the queue grows without limit.
    #[error("cannot keep up: it would be busy {:.1}% of the time", .utilisation * 100.0)]
    Overload {
        /// Arrival rate times service time per server: more than 1.
        utilisation: f64,
    },
    /// The queue has no exact solution.
    #[error("no closed form: {0}")]
    None(&'static str),
}

/// The distribution of response times, in seconds.
#[derive(Clone, Debug, PartialEq)]
enum Distribution {
    Constant(f64),
    Uniform {
        min: f64,
        max: f64,
    },
    Exponential {
        mean: f64,
    },
    Lognormal {
        mu: f64,
        sigma: f64,
    },
    /// M/M/c: load in servers, service rate, number of servers, probability of waiting.
    Erlang {
        load: f64,
        rate: f64,
        servers: f64,
        waits: f64,
    },
    /// M/D/1: arrival rate, service time, and for each number the probability that at most so many wait.
    Deterministic {
        arrivals: f64,
        service: f64,
        waiting: Vec<f64>,
    },
    /// Only the mean is known.
    Unknown,
}

/// Maximum number of waiting requests considered in M/D/1: enough for any load below 99.9 %.
const WAITING_MAX: usize = 4000;

impl Theory {
    /// The queue of one Executor at this rate of arrivals.
    ///
    /// # Errors
    /// When it is overloaded, or its behaviour has no closed form.
    pub fn of(executor: &ExecutorConfig, offered: Rate) -> Result<Theory, TheoryError> {
        if executor.stall.is_some() {
            return Err(TheoryError::None("it stalls"));
        }
        if executor.slow_start.is_some() {
            return Err(TheoryError::None("it starts slowly"));
        }
        if executor.replicas > 1 {
            return Err(TheoryError::None("its replicas take turns"));
        }
        let own = |behaviour: &Behaviour| behaviour.service_time.is_some();
        if executor.default.iter().chain(executor.endpoints.values()).any(own) {
            return Err(TheoryError::None("its endpoints have separate service times"));
        }
        let service = match &executor.service_time {
            ServiceTime::PerDocument(_) => {
                return Err(TheoryError::None("its time depends on the Documents"));
            }
            ServiceTime::Knee(_) => {
                return Err(TheoryError::None("its time depends on how many are in service"));
            }
            time => Service::of(time),
        };
        let arrivals = offered.per_second();
        let Some(servers) = executor.concurrency else {
            let model = format!("M/{}/\u{221e}", service.letter());
            let mean = time(service.mean);
            return Ok(Theory { model, utilisation: None, mean, law: service.law });
        };
        let load = arrivals * service.mean;
        let utilisation = load / f64::from(servers);
        if utilisation >= 1.0 {
            return Err(TheoryError::Overload { utilisation });
        }
        let model = format!("M/{}/{servers}", service.letter());
        let (mean, law) = match (&service.law, servers) {
            _ if service.mean == 0.0 => (0.0, Distribution::Constant(0.0)),
            (Distribution::Exponential { mean }, servers) => erlang(load, *mean, servers),
            (Distribution::Constant(service), 1) => deterministic(arrivals, *service),
            (_, 1) => {
                let waits = arrivals * service.square / (2.0 * (1.0 - utilisation));
                (service.mean + waits, Distribution::Unknown)
            }
            _ => return Err(TheoryError::None("several servers whose times are not exponential")),
        };
        Ok(Theory { model, utilisation: Some(utilisation), mean: time(mean), law })
    }

    /// The response time that this share of requests (0 to 1) does not exceed; `None` if only the mean is
    /// known.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let seconds = match &self.law {
            Distribution::Unknown => return None,
            Distribution::Constant(time) => *time,
            Distribution::Uniform { min, max } => min + (max - min) * q,
            Distribution::Exponential { mean } => -mean * (1.0 - q).ln(),
            Distribution::Lognormal { mu, sigma } => (mu + sigma * normal_quantile(q)).exp(),
            Distribution::Erlang { .. } | Distribution::Deterministic { .. } => {
                let mean = self.mean.as_secs_f64();
                let mut high = mean;
                while self.law.exceeds(high) > 1.0 - q && high < mean * 1e4 {
                    high *= 2.0;
                }
                let mut low = 0.0;
                for _ in 0..100 {
                    let middle = 0.5 * (low + high);
                    match self.law.exceeds(middle) > 1.0 - q {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                high
            }
        };
        Some(time(seconds))
    }
}

impl fmt::Display for Theory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        if let Some(utilisation) = self.utilisation {
            write!(f, ", busy {:.1}%", utilisation * 100.0)?;
        }
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, ", mean {:.3}ms", ms(self.mean))?;
        for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            if let Some(time) = self.quantile(q) {
                write!(f, ", {name} {:.3}ms", ms(time))?;
            }
        }
        Ok(())
    }
}

/// A service time by its first two moments.
struct Service {
    mean: f64,
    square: f64,
    law: Distribution,
}

impl Service {
    fn of(time: &ServiceTime) -> Service {
        match *time {
            ServiceTime::Uniform { min, max } => {
                let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
                let square = (min * min + min * max + max * max) / 3.0;
                Service { mean: 0.5 * (min + max), square, law: Distribution::Uniform { min, max } }
            }
            ServiceTime::Exponential(mean) => {
                let mean = mean.as_secs_f64();
                Service { mean, square: 2.0 * mean * mean, law: Distribution::Exponential { mean } }
            }
            ServiceTime::Lognormal { median, p99 } => {
                let (mu, sigma) = lognormal(median, p99);
                Service {
                    mean: (mu + 0.5 * sigma * sigma).exp(),
                    square: (2.0 * mu + 2.0 * sigma * sigma).exp(),
                    law: Distribution::Lognormal { mu, sigma },
                }
            }
            ServiceTime::Constant(time) => {
                let time = time.as_secs_f64();
                Service { mean: time, square: time * time, law: Distribution::Constant(time) }
            }
            // The caller has already handled these cases.
            ServiceTime::PerDocument(_) | ServiceTime::Knee(_) => {
                Service { mean: 0.0, square: 0.0, law: Distribution::Unknown }
            }
        }
    }

    fn letter(&self) -> char {
        match self.law {
            Distribution::Constant(_) => 'D',
            Distribution::Exponential { .. } => 'M',
            _ => 'G',
        }
    }
}

/// M/M/c with a load in servers.
fn erlang(load: f64, mean: f64, servers: u32) -> (f64, Distribution) {
    let waits = erlang_c(load, servers);
    let servers = f64::from(servers);
    let response = mean + waits * mean / (servers - load);
    (response, Distribution::Erlang { load, rate: 1.0 / mean, servers, waits })
}

/// M/D/1.
fn deterministic(arrivals: f64, service: f64) -> (f64, Distribution) {
    let load = arrivals * service;
    // The probability that this many or more arrive during one service.
    let mut at_least = Vec::with_capacity(WAITING_MAX);
    let (mut term, mut below) = ((-load).exp(), 0.0);
    for n in 0..WAITING_MAX {
        at_least.push(f64::max(1.0 - below, 0.0));
        below += term;
        term *= load / (n + 1) as f64;
    }
    // The probability of this many in the system, from the probabilities of fewer; all terms are positive.
    let none = (-load).exp();
    let mut chances = vec![1.0 - load];
    let mut waiting = Vec::new();
    let mut sum = chances[0];
    for n in 0..WAITING_MAX - 2 {
        let earlier: f64 = (1..=n).map(|i| chances[i] * at_least[n - i + 2]).sum();
        let chance = (chances[0] * at_least[n + 1] + earlier) / none;
        chances.push(chance);
        sum += chance;
        waiting.push(f64::min(sum, 1.0)); // one of them is in service
        if 1.0 - sum < 1e-12 {
            break;
        }
    }
    let response = service + load * service / (2.0 * (1.0 - load));
    (response, Distribution::Deterministic { arrivals, service, waiting })
}

impl Distribution {
    /// The probability that a response takes longer.
    fn exceeds(&self, time: f64) -> f64 {
        match self {
            Distribution::Erlang { load, rate, servers, waits } => {
                let spare = servers - 1.0 - load;
                let served = (-rate * time).exp();
                let later = match spare.abs() < 1e-9 {
                    true => rate * time * served,
                    false => (served - (-rate * time * (servers - load)).exp()) / spare,
                };
                served + waits * later
            }
            Distribution::Deterministic { arrivals, service, waiting } => {
                let wait = time - service;
                if wait < 0.0 {
                    return 1.0;
                }
                let k = (wait / service) as usize + 1;
                let rest = arrivals * (k as f64 * service - wait);
                let mut term = (-rest).exp();
                let mut within = 0.0;
                for j in 0..k {
                    let waiting = waiting.get(k - 1 - j).copied().unwrap_or(1.0);
                    within += term * waiting;
                    term *= rest / (j + 1) as f64;
                }
                1.0 - within
            }
            _ => 0.0,
        }
    }
}

/// The standard normal's quantile (Acklam's approximation, within 1.15e-9).
fn normal_quantile(q: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.383_577_518_672_69e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] =
        [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    let polynomial = |of: &[f64], x: f64| of.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let x = (-2.0 * p.ln()).sqrt();
        polynomial(&C, x) / (polynomial(&D, x) * x + 1.0)
    };
    if q < 0.02425 {
        tail(q)
    } else if q > 1.0 - 0.02425 {
        -tail(1.0 - q)
    } else {
        let x = q - 0.5;
        let square = x * x;
        polynomial(&A, square) * x / (polynomial(&B, square) * square + 1.0)
    }
}

fn time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::times::Z99;

    fn of(service_time: ServiceTime, servers: Option<u32>, rate: f64) -> Theory {
        let executor = ExecutorConfig {
            service_time,
            concurrency: servers,
            ..ExecutorConfig::named("executor")
        };
        Theory::of(&executor, Rate::new(rate).expect("a rate")).expect("there is a closed form")
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[track_caller]
    fn near(found: Option<Duration>, expected_ms: f64) {
        let found = found.expect("it has a closed form").as_secs_f64() * 1000.0;
        assert!((found / expected_ms - 1.0).abs() < 0.002, "{found} and {expected_ms}");
    }

    #[test]
    fn known_queues_have_their_known_times() {
        let mm1 = of(ServiceTime::Exponential(ms(1)), Some(1), 800.0);
        near(Some(mm1.mean), 5.0);
        near(mm1.quantile(0.5), 3.466);
        near(mm1.quantile(0.99), 23.026);
        near(mm1.quantile(0.999), 34.539);
        let md1 = of(ServiceTime::Constant(ms(1)), Some(1), 800.0);
        near(Some(md1.mean), 3.0);
        near(md1.quantile(0.99), 11.3559);
        // The probability of not waiting is one minus the load.
        near(of(ServiceTime::Constant(ms(1)), Some(1), 400.0).quantile(0.59), 1.0);
        let mm4 = of(ServiceTime::Exponential(ms(10)), Some(4), 320.0);
        near(Some(mm4.mean), 17.455);
        let infinite = of(ServiceTime::Lognormal { median: ms(5), p99: ms(40) }, None, 1e6);
        near(infinite.quantile(0.5), 5.0);
        near(infinite.quantile(0.99), 40.0);
        assert_eq!(infinite.model, "M/G/\u{221e}");
        let uniform = of(ServiceTime::Uniform { min: ms(0), max: ms(2) }, Some(1), 500.0);
        near(Some(uniform.mean), 1.0 + 0.5 * 4.0 / 3.0);
        assert_eq!(uniform.quantile(0.5), None);
    }

    #[test]
    fn more_than_can_be_served_is_told() {
        let executor = ExecutorConfig {
            service_time: ServiceTime::Constant(ms(10)),
            concurrency: Some(1),
            ..ExecutorConfig::named("executor")
        };
        let error = Theory::of(&executor, Rate::new(120.0).expect("a rate")).expect_err("too much");
        assert_eq!(error.to_string(), "cannot keep up: it would be busy 120.0% of the time");
    }

    #[test]
    fn the_normal_quantile_is_right_on_both_sides() {
        assert!((normal_quantile(0.99) - Z99).abs() < 1e-8);
        assert!((normal_quantile(0.01) + Z99).abs() < 1e-8);
        assert!(normal_quantile(0.5).abs() < 1e-9);
    }
}
