//! A queueing model: M/G/c, fitted to measured response times.
//!
//! Mean response = overhead + service + wait; the wait is Erlang's C formula, scaled by the variability of arrivals
//! and service (Allen and Cunneen): exact for M/M/c and M/G/1, a good approximation in between. The time of a request
//! that does not queue, and its variance, are known from the lowest load and bound service and variability.
//!
//! A few loads can rarely distinguish one server from two that are half as fast. So the fit evaluates a grid of
//! queues and keeps all that explain the loads about as well as the best one (a profile likelihood region): intervals
//! and predictions cover all of these.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stats::Estimate;
use crate::stats::{erlang_c, t_within};

/// A measured balanced load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadPoint {
    /// Requests per second.
    pub rate: f64,
    /// Mean response time in seconds.
    pub mean_s: f64,
    /// Standard error of that mean in seconds.
    pub error_s: f64,
}

/// What is known besides the loads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Upper bound of the time that one request spends in a server, in seconds: its mean time without load.
    pub service_max_s: f64,
    /// The variance of response times without load, in s².
    pub variance_s2: f64,
    /// The squared coefficient of variation of the gaps between arrivals: 0 uniform, 1 Poisson.
    pub arrival_variation: f64,
    /// Maximum throughput under overload in requests per second, if there was an overload.
    pub saturated_per_s: Option<f64>,
}

/// A fitted queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Requests that are served at a time.
    pub servers: Estimate,
    /// Requests per second when all servers are busy.
    pub capacity_per_s: Estimate,
    /// The time of one request in a server, in ms.
    pub service_ms: Estimate,
    /// Time spent outside of servers, in ms: network, gateway, client, Executors that do not queue.
    pub overhead_ms: f64,
    /// Half the sum of the squared coefficients of variation of gaps and service times: 0 constant, 1 as in
    /// M/M/c.
    pub variability: f64,
    /// Confidence level of intervals: 0.95.
    pub confidence: f64,
    /// The lowest and the highest rate it was fitted to.
    pub measured: [f64; 2],
    /// The best queue, and those that fit the loads about as well and predict the least and the most:
    /// predictions are derived from them. At most two for each of [`ENVELOPE`] rates.
    plausible: Vec<Shape>,
    /// Uncertainty of a predicted mean due to the overhead alone, in ms.
    error_ms: f64,
}

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Shape {
    servers: u32,
    capacity: f64,
    variability: f64,
    overhead_s: f64,
}

/// A shape and its fit to the loads: the sum of squared deviations in standard errors.
type Fitted = (Shape, f64);

/// Numbers of servers in the grid: all small ones, and about every sixth larger one.
const SERVERS: [u32; 28] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128,
    160, 200, 256,
];

/// Number of values of the variability between its bounds in the grid.
const VARIABILITIES: usize = 7;

/// Upper bound of the squared variation of service: heavier tails are not considered.
const VARIATION_MAX: f64 = 16.0;

/// Number of fitted parameters: servers, capacity, variability, overhead.
const PARAMETERS: usize = 4;

/// How precisely the throughput under overload gives the capacity: its relative standard error.
const SATURATED_ERROR: f64 = 0.02;

/// How much worse than the best fit, in squares, a queue with fewer servers may be and still be preferred.
const SIMPLER: f64 = 0.5;

/// Number of rates at which the lowest and the highest prediction are determined.
const ENVELOPE: usize = 24;

impl Queue {
    /// Fits balanced loads. `None` with too few of them: it needs four, or five if no overload was measured.
    pub fn fit(loads: &[LoadPoint], known: Known, confidence: f64) -> Option<Queue> {
        let data = loads.len() + usize::from(known.saturated_per_s.is_some());
        let right = |load: &LoadPoint| load.rate > 0.0 && load.mean_s > 0.0 && load.error_s > 0.0;
        if data <= PARAMETERS || known.service_max_s <= 0.0 || !loads.iter().all(right) {
            return None;
        }
        let all = shapes(loads, known);
        let least = all.iter().map(|(_, squares)| *squares).fold(f64::INFINITY, f64::min);
        if !least.is_finite() {
            return None;
        }
        let freedom = data - PARAMETERS;
        // If no queue explains the loads within their errors, the errors are larger than they seem.
        let scale = f64::max(1.0, least / freedom as f64);
        let t = t_within(confidence, freedom.max(1) as f64);
        let plausible = with_neighbours(&all, least + scale * t * t);
        let near = plausible.iter().filter(|(_, squares)| *squares <= least + scale * SIMPLER);
        let (best, _) = near.min_by(|(a, with_a), (b, with_b)| {
            a.servers.cmp(&b.servers).then(with_a.total_cmp(with_b))
        })?;
        let over = |value: &dyn Fn(&Shape) -> f64| {
            let values = plausible.iter().map(|(shape, _)| value(shape));
            let low = values.clone().fold(f64::INFINITY, f64::min);
            Estimate::new(value(best), low, values.fold(0.0, f64::max))
        };
        let mut capacity_per_s = over(&|shape| shape.capacity);
        let highest = loads.iter().map(|load| load.rate).fold(0.0, f64::max);
        // The grid ends, but capacities far above the loads have no upper bound.
        if capacity_per_s.high >= highest * capacity_steps().last().unwrap_or(1.0) {
            capacity_per_s.high = f64::INFINITY;
        }
        let servers = over(&|shape| f64::from(shape.servers));
        let service_ms = over(&|shape| shape.service_s() * 1e3);
        let weights: f64 = loads.iter().map(|load| load.error_s.powi(-2)).sum();
        let rates = loads.iter().map(|load| load.rate);
        Some(Queue {
            servers,
            service_ms,
            overhead_ms: best.overhead_s * 1e3,
            variability: best.variability,
            confidence,
            measured: [rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max)],
            plausible: envelope(*best, &plausible, highest, capacity_per_s.value),
            error_ms: t * (scale / weights).sqrt() * 1e3,
            capacity_per_s,
        })
    }

    /// The mean response time at a rate, in ms; `None` if the queue grows without bound.
    pub fn response_ms(&self, rate: f64) -> Option<Estimate> {
        let value = self.plausible.first()?.response(rate)? * 1e3;
        let all = self.plausible.iter();
        let times = all.map(|shape| shape.response(rate).map_or(f64::INFINITY, |s| s * 1e3));
        let low = times.clone().fold(f64::INFINITY, f64::min) - self.error_ms;
        let high = times.fold(0.0, f64::max) + self.error_ms;
        Some(Estimate::new(value, low.max(0.0), high))
    }
}

impl Shape {
    fn service_s(&self) -> f64 {
        f64::from(self.servers) / self.capacity
    }

    /// The mean response time in seconds; `None` if the queue grows without bound.
    fn response(&self, rate: f64) -> Option<f64> {
        let wait = wait(rate, self.servers, self.capacity)?;
        Some(self.overhead_s + self.service_s() + self.variability * wait)
    }
}

/// The mean wait in M/M/c, in seconds.
fn wait(rate: f64, servers: u32, capacity: f64) -> Option<f64> {
    if rate >= capacity {
        return None;
    }
    let service = f64::from(servers) / capacity;
    let load = rate * service;
    Some(erlang_c(load, servers) * service / (f64::from(servers) - load))
}

/// Capacities relative to the highest load: from just above it to where load would have no effect.
fn capacity_steps() -> impl Iterator<Item = f64> {
    (0..110).map(|step| 1.001 + 0.002 * 1.08f64.powi(step))
}

/// All queues of the grid, each with its best-fitting overhead.
fn shapes(loads: &[LoadPoint], known: Known) -> Vec<Fitted> {
    let highest = loads.iter().map(|load| load.rate).fold(0.0, f64::max);
    let mut capacities: Vec<f64> = capacity_steps().map(|step| highest * step).collect();
    if let Some(saturated) = known.saturated_per_s {
        // Known precisely, so the grid is finer around it.
        capacities.extend((-20..=20).map(|step| saturated * (1.0 + 0.004 * f64::from(step))));
        capacities.retain(|capacity| *capacity > highest * 1.000_1);
    }
    let mut all = Vec::new();
    for servers in SERVERS {
        for &capacity in &capacities {
            let service = f64::from(servers) / capacity;
            if service > known.service_max_s {
                continue;
            }
            let off = known
                .saturated_per_s
                .map_or(0.0, |saturated| ((capacity / saturated - 1.0) / SATURATED_ERROR).powi(2));
            let waits: Option<Vec<f64>> =
                loads.iter().map(|load| wait(load.rate, servers, capacity)).collect();
            let Some(waits) = waits else { continue };
            let (from, to) = variabilities(known, service);
            for step in 0..VARIABILITIES {
                let share = step as f64 / (VARIABILITIES - 1) as f64;
                let variability = from + (to - from) * share;
                let (overhead_s, squares) = overhead(loads, &waits, service, variability);
                let shape = Shape { servers, capacity, variability, overhead_s };
                all.push((shape, squares + off));
                if to <= from {
                    break;
                }
            }
        }
    }
    all
}

/// The queues whose squares are at most `squares_max`, and their neighbours on the grid of capacities: the boundary
/// of the plausible region lies between the two.
fn with_neighbours(all: &[Fitted], squares_max: f64) -> Vec<&Fitted> {
    let is_plausible = |(_, squares): &Fitted| *squares <= squares_max;
    let same = |a: &Fitted, b: &Fitted| (a.0.servers, a.0.capacity) == (b.0.servers, b.0.capacity);
    let has_plausible = |group: &[Fitted]| group.iter().any(is_plausible);
    let mut groups: Vec<&[Fitted]> = all.chunk_by(same).collect();
    groups.sort_by(|a, b| {
        let place = |group: &[Fitted]| (group[0].0.servers, group[0].0.capacity);
        let ((servers, capacity), (others, other)) = (place(a), place(b));
        servers.cmp(&others).then(capacity.total_cmp(&other))
    });
    let mut kept = Vec::new();
    for (n, group) in groups.iter().enumerate() {
        let next_to = |other: Option<&&[Fitted]>| {
            other.is_some_and(|other| {
                other[0].0.servers == group[0].0.servers && has_plausible(other)
            })
        };
        if has_plausible(group) {
            kept.extend(group.iter().filter(|fitted| is_plausible(fitted)));
        } else if next_to(n.checked_sub(1).and_then(|n| groups.get(n)))
            || next_to(groups.get(n + 1))
        {
            kept.extend(group.iter().min_by(|(_, a), (_, b)| a.total_cmp(b)));
        }
    }
    kept
}

/// Lower and upper bound of the variability: the variance without load may come from the service, or from outside it.
fn variabilities(known: Known, service: f64) -> (f64, f64) {
    let most = (known.variance_s2 / (service * service)).min(VARIATION_MAX);
    (known.arrival_variation / 2.0, (known.arrival_variation + most) / 2.0)
}

/// The best-fitting overhead, and the squares that remain.
fn overhead(loads: &[LoadPoint], waits: &[f64], service: f64, variability: f64) -> (f64, f64) {
    let rests = || {
        let each = loads.iter().zip(waits);
        each.map(|(load, wait)| (load.mean_s - service - variability * wait, load.error_s.powi(-2)))
    };
    let weights: f64 = rests().map(|(_, weight)| weight).sum();
    let sum: f64 = rests().map(|(rest, weight)| rest * weight).sum();
    let overhead = (sum / weights).max(0.0);
    let squares = rests().map(|(rest, weight)| weight * (rest - overhead).powi(2)).sum();
    (overhead, squares)
}

/// The best queue, and those with the lowest and the highest prediction at some rate.
fn envelope(best: Shape, plausible: &[&Fitted], highest: f64, capacity: f64) -> Vec<Shape> {
    let mut kept = vec![best];
    let end = f64::max(highest, capacity) * 2.0;
    for step in 0..ENVELOPE {
        let rate = end * step as f64 / ENVELOPE as f64;
        let time = |shape: &Shape| shape.response(rate).unwrap_or(f64::INFINITY);
        let shapes = || plausible.iter().map(|(shape, _)| *shape);
        let order = |a: &Shape, b: &Shape| time(a).total_cmp(&time(b));
        let ends = [shapes().min_by(order), shapes().max_by(order)];
        for shape in ends.into_iter().flatten() {
            if !kept.contains(&shape) {
                kept.push(shape);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads of a queue, with errors of one percent.
    fn loads(rates: &[f64], of: impl Fn(f64) -> f64) -> Vec<LoadPoint> {
        let load = |rate: &f64| {
            let mean_s = of(*rate);
            LoadPoint { rate: *rate, mean_s, error_s: mean_s * 0.01 }
        };
        rates.iter().map(load).collect()
    }

    #[test]
    fn a_random_queue_is_recognised_by_its_response_times() {
        // M/M/1 with 100/s, behind 3 ms that do not queue.
        let loads =
            loads(&[10.0, 30.0, 50.0, 70.0, 80.0, 90.0], |rate| 0.003 + 1.0 / (100.0 - rate));
        let known = Known {
            service_max_s: 0.0141,
            variance_s2: 0.000_12,
            arrival_variation: 1.0,
            saturated_per_s: None,
        };
        let fit = Queue::fit(&loads, known, 0.95).expect("a fit");
        assert_eq!(fit.servers.value, 1.0);
        assert!((fit.capacity_per_s.value / 100.0 - 1.0).abs() < 0.03, "{fit:?}");
        assert!(fit.capacity_per_s.contains(100.0) && fit.service_ms.contains(10.0), "{fit:?}");
        let predicted = fit.response_ms(85.0).expect("below capacity");
        assert!(predicted.contains(3.0 + 1000.0 / 15.0), "{predicted:?}");
        assert!((predicted.value / 69.7 - 1.0).abs() < 0.1, "{predicted:?}");
        assert_eq!(fit.response_ms(200.0), None);
    }

    #[test]
    fn how_many_servers_there_are_is_left_open_where_loads_do_not_tell() {
        // Far below capacity, two servers look like one that is twice as fast.
        let loads = loads(&[22.0, 24.0, 26.0, 28.0, 30.0], |rate| 1.0 / (100.0 - rate));
        let known = Known {
            service_max_s: 0.0105,
            variance_s2: 0.000_11,
            arrival_variation: 1.0,
            saturated_per_s: None,
        };
        let fit = Queue::fit(&loads, known, 0.95).expect("a fit");
        assert!(fit.servers.low == 1.0 && fit.servers.high > 1.0, "{fit:?}");
        assert!(fit.capacity_per_s.contains(100.0), "{fit:?}");
    }

    #[test]
    fn saturation_tells_the_capacity_where_response_times_do_not() {
        // Constant gaps and constant service: no request waits until all servers are busy.
        let loads = loads(&[50.0, 100.0, 200.0, 380.0], |_| 0.022);
        let known = Known {
            service_max_s: 0.022,
            variance_s2: 0.0,
            arrival_variation: 0.0,
            saturated_per_s: Some(400.0),
        };
        let fit = Queue::fit(&loads, known, 0.95).expect("a fit");
        assert!((fit.capacity_per_s.value / 400.0 - 1.0).abs() < 0.01, "{fit:?}");
        assert!((fit.response_ms(390.0).expect("below capacity").value - 22.0).abs() < 0.5);
    }

    #[test]
    fn loads_that_feel_nothing_give_a_capacity_without_an_upper_end() {
        let loads = loads(&[10.0, 20.0, 40.0, 80.0, 100.0], |_| 0.005);
        let known = Known {
            service_max_s: 0.005,
            variance_s2: 0.0,
            arrival_variation: 1.0,
            saturated_per_s: None,
        };
        let fit = Queue::fit(&loads, known, 0.95).expect("a fit");
        assert_eq!(fit.capacity_per_s.high, f64::INFINITY);
        assert_eq!(Queue::fit(&loads[..4], known, 0.95), None);
    }
}
