//! A queueing model: M/G/c, whose servers and speed are fitted to measured response times.
//!
//! Mean response = overhead + service + wait; the wait is Erlang's C formula, scaled by the
//! variability of arrivals and service (Allen and Cunneen): exact for M/M/c and M/G/1, a good
//! approximation between. Service and its variability come from the unloaded run.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::stats::Estimate;
use crate::random::Key;

/// A measured load: arrivals a second, and the mean response time in seconds.
pub type Load = (f64, f64);

/// What is known besides the loads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Mean response time without load, in seconds.
    pub unloaded_s: f64,
    /// The squared coefficient of variation of service: 0 constant, 1 exponential.
    pub service_variation: f64,
    /// The same of the gaps between arrivals: 0 uniform, 1 Poisson.
    pub arrival_variation: f64,
    /// The most requests a second that came back under overload, where there was one.
    pub saturated_per_s: Option<f64>,
}

/// A fitted queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Requests that are worked on at a time.
    pub servers: u32,
    /// Requests a second when all servers are busy.
    pub capacity_per_s: Estimate,
    /// The time of one request in a server, in ms.
    pub service_ms: f64,
    /// What is spent outside of servers, in ms: network, gateway, client.
    pub overhead_ms: f64,
    /// Half the sum of the squared variations: 0 constant, 1 as in M/M/c.
    pub variability: f64,
    /// How sure intervals are: 0.95.
    pub confidence: f64,
    /// The lowest and the highest rate it was fitted to.
    pub measured: [f64; 2],
    /// Fits to resampled loads: servers, capacity, overhead in s, relative error.
    resampled: Vec<(u32, f64, f64, f64)>,
}

/// Servers that are considered.
const SERVERS_MAX: u32 = 256;

/// Resamples for the intervals.
const RESAMPLES: u64 = 200;

impl Queue {
    /// Fits loads that were in balance. `None` with fewer than three.
    pub fn fit(loads: &[Load], known: Known, confidence: f64) -> Option<Queue> {
        if loads.len() < 3 || known.unloaded_s <= 0.0 {
            return None;
        }
        let variability = (known.service_variation + known.arrival_variation) / 2.0;
        let best = fitted(loads, known, variability)?;
        // Residuals, put in other places, give other loads that might have been measured.
        let residuals: Vec<f64> = loads
            .iter()
            .map(|(rate, time)| time / response(*rate, best, variability).unwrap_or(*time))
            .collect();
        let error = (residuals.iter().map(|r| (r - 1.0).powi(2)).sum::<f64>()
            / residuals.len() as f64)
            .sqrt();
        let mut resampled = Vec::new();
        for resample in 0..RESAMPLES {
            let mut rng = Key::new(0).part("queue").index(resample).rng();
            let other: Vec<Load> = loads
                .iter()
                .map(|(rate, time)| {
                    let fitted = response(*rate, best, variability).unwrap_or(*time);
                    (*rate, fitted * residuals[rng.random_range(0..residuals.len())])
                })
                .collect();
            // What saturation was seen is known to a few percent only, too.
            let known = Known {
                saturated_per_s: known
                    .saturated_per_s
                    .map(|rate| rate * (1.0 + 0.02 * (rng.random::<f64>() - 0.5))),
                ..known
            };
            if let Some((servers, capacity, overhead)) = fitted(&other, known, variability) {
                resampled.push((servers, capacity, overhead, error));
            }
        }
        let mut capacities: Vec<f64> = resampled.iter().map(|fit| fit.1).collect();
        let (low, high) = interval(&mut capacities, confidence)?;
        let (servers, capacity, overhead) = best;
        let rates = loads.iter().map(|load| load.0);
        Some(Queue {
            servers,
            capacity_per_s: Estimate::new(capacity, low, high),
            service_ms: f64::from(servers) / capacity * 1e3,
            overhead_ms: overhead * 1e3,
            variability,
            confidence,
            measured: [rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max)],
            resampled,
        })
    }

    /// The mean response time at a rate, in ms; `None` where the queue grows without end.
    pub fn response_ms(&self, rate: f64) -> Option<Estimate> {
        let own = (self.servers, self.capacity_per_s.value, self.overhead_ms / 1e3);
        let value = response(rate, own, self.variability)? * 1e3;
        let mut others: Vec<f64> = self
            .resampled
            .iter()
            .map(|(servers, capacity, overhead, error)| {
                let mean = response(rate, (*servers, *capacity, *overhead), self.variability);
                (mean.unwrap_or(f64::INFINITY), error)
            })
            .flat_map(|(mean, error)| [mean * 1e3 / (1.0 + error), mean * 1e3 * (1.0 + error)])
            .collect();
        let (low, high) = interval(&mut others, self.confidence)?;
        Some(Estimate::new(value, low, high))
    }
}

/// Servers, requests a second when all are busy, overhead in seconds.
type Shape = (u32, f64, f64);

fn fitted(loads: &[Load], known: Known, variability: f64) -> Option<Shape> {
    let highest = loads.iter().map(|load| load.0).fold(0.0, f64::max);
    let mut best: Option<(Shape, f64)> = None;
    let mut consider = |capacity: f64| {
        if capacity <= highest * 1.000_1 {
            return;
        }
        // A server cannot take longer than a request does that meets nobody.
        let most = (capacity * known.unloaded_s).ceil().clamp(1.0, f64::from(SERVERS_MAX)) as u32;
        for servers in 1..=most {
            let service = f64::from(servers) / capacity;
            let shape = (servers, capacity, (known.unloaded_s - service).max(0.0));
            let error: f64 = loads
                .iter()
                .map(|(rate, time)| match response(*rate, shape, variability) {
                    Some(fitted) => (fitted / time).ln().powi(2),
                    None => f64::INFINITY,
                })
                .sum();
            if best.is_none_or(|(_, known)| error < known) {
                best = Some((shape, error));
            }
        }
    };
    match known.saturated_per_s.filter(|rate| *rate > highest * 1.000_1) {
        Some(rate) => consider(rate),
        // From just above what was held to where load would not be felt at all.
        None => (0..120).for_each(|step| consider(highest * (1.001 + 0.002 * 1.06f64.powi(step)))),
    }
    best.map(|(shape, _)| shape)
}

/// The mean response time in seconds.
fn response(rate: f64, (servers, capacity, overhead): Shape, variability: f64) -> Option<f64> {
    if rate >= capacity {
        return None;
    }
    let service = f64::from(servers) / capacity;
    let load = rate * service;
    // Erlang's B, built up server by server, and C from it.
    let blocked =
        (1..=servers).fold(1.0, |blocked, n| load * blocked / (f64::from(n) + load * blocked));
    let waits = blocked / (1.0 - load / f64::from(servers) * (1.0 - blocked));
    let wait = waits * service / (f64::from(servers) - load);
    Some(overhead + service + variability * wait)
}

/// The middle part of values.
fn interval(values: &mut [f64], confidence: f64) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * (values.len().max(1) - 1) as f64).round() as usize;
        values.get(index).copied()
    };
    Some((at((1.0 - confidence) / 2.0)?, at((1.0 + confidence) / 2.0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mm1(rate: f64) -> Load {
        (rate, 1.0 / (100.0 - rate))
    }

    #[test]
    fn a_random_queue_is_recognised_by_its_response_times() {
        let loads = [10.0, 30.0, 50.0, 70.0, 80.0, 90.0].map(mm1);
        let known = Known {
            unloaded_s: 0.01,
            service_variation: 1.0,
            arrival_variation: 1.0,
            saturated_per_s: None,
        };
        let fit = Queue::fit(&loads, known, 0.95).expect("a fit");
        assert_eq!(fit.servers, 1);
        assert!((fit.capacity_per_s.value / 100.0 - 1.0).abs() < 0.03, "{fit:?}");
        let predicted = fit.response_ms(85.0).expect("below capacity");
        assert!((predicted.value / (1000.0 / 15.0) - 1.0).abs() < 0.2, "{predicted:?}");
        assert_eq!(fit.response_ms(200.0), None);
    }

    #[test]
    fn saturation_tells_the_capacity_where_response_times_do_not() {
        // Constant gaps and constant service: nobody waits until all servers are busy.
        let loads = [50.0, 100.0, 200.0, 380.0].map(|rate| (rate, 0.022));
        let known = Known {
            unloaded_s: 0.022,
            service_variation: 0.0,
            arrival_variation: 0.0,
            saturated_per_s: Some(400.0),
        };
        let fit = Queue::fit(&loads, known, 0.95).expect("a fit");
        assert_eq!(fit.capacity_per_s.value, 400.0);
        assert!((fit.response_ms(390.0).expect("below capacity").value - 22.0).abs() < 0.5);
    }
}
