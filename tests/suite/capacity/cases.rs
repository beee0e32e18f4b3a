//! Flows with their theoretical capacity.

use std::time::Duration;

use flowbench::flow::{ExecutorConfig, ServiceTime, Theory};
use flowbench::units::Rate;

use super::simulator::{Arrivals, Case, Law, Model};

/// Flows of every kind with a known capacity.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, servers) in [("D/D/1", 1), ("D/D/2", 2), ("D/D/8", 8)] {
        let model = Model::Queues(vec![(servers, Law::Constant(0.002))]);
        let holds = servers as f64 / 0.002;
        cases.push(Case { trial_s: 20.0, ..slow(name, model, Arrivals::Uniform, 0.01, holds) });
    }
    for (name, servers) in [("M/D/1", 1), ("M/D/2", 2), ("M/D/8", 8)] {
        let model = Model::Queues(vec![(servers, Law::Constant(0.002))]);
        let holds =
            edge(|rate| slower_md(rate, 0.002, servers, 0.01) < 0.01, servers as f64 / 0.002);
        cases.push(slow(name, model, Arrivals::Poisson, 0.01, holds));
    }
    for (name, servers) in [("M/M/1", 1), ("M/M/2", 2), ("M/M/8", 8)] {
        let model = Model::Queues(vec![(servers, Law::Exponential(0.002))]);
        let limit = Duration::from_millis(25);
        let holds = edge(
            |rate| {
                let law = ServiceTime::Exponential(Duration::from_millis(2));
                quantile(law, servers, rate, 0.99) < limit
            },
            servers as f64 / 0.002,
        );
        cases.push(slow(name, model, Arrivals::Poisson, 0.025, holds));
    }
    // Like usual objectives: a percentile, and a limit on failures, of which there are none.
    let limit = Duration::from_millis(25);
    let holds = edge(
        |rate| quantile(ServiceTime::Exponential(Duration::from_millis(2)), 8, rate, 0.95) < limit,
        8.0 / 0.002,
    );
    cases.push(Case {
        slow: Some((0.05, 0.025)),
        failed: Some(0.01),
        ..slow(
            "M/M/8, p95 and errors",
            Model::Queues(vec![(8, Law::Exponential(0.002))]),
            Arrivals::Poisson,
            0.025,
            holds,
        )
    });
    // Time grows with the number in service, n: n = rate · time · (1 + growth · (n − at)).
    let (time, at, growth, limit) = (0.01, 4usize, 0.1, 0.04);
    let in_service = at as f64 + (limit / time - 1.0) / growth;
    cases.push(Case {
        trial_s: 20.0,
        ..slow(
            "degrades with concurrency",
            Model::Knee { time, at, growth },
            Arrivals::Uniform,
            limit,
            in_service / limit,
        )
    });
    // Faster arrivals are refused, so one in a hundred is refused if the rate is that much higher.
    cases.push(Case {
        name: "fails above 500/s",
        model: Model::Limited { time: 0.01, rate: 500.0 },
        arrivals: Arrivals::Uniform,
        slow: None,
        failed: Some(0.01),
        holds: 500.0 / 0.99,
        range: (20.0, 5000.0),
        trial_s: 20.0,
    });
    // Times in both queues are independent (Reich), each exponential with the spare rate.
    let (first, second, limit) = (2000.0, 1000.0, 0.02);
    let holds = edge(
        |rate| {
            let (a, b): (f64, f64) = (first - rate, second - rate);
            (a * (-b * limit).exp() - b * (-a * limit).exp()) / (a - b) < 0.01
        },
        second,
    );
    cases.push(slow(
        "two Executors",
        Model::Queues(vec![
            (1, Law::Exponential(1.0 / first)),
            (1, Law::Exponential(1.0 / second)),
        ]),
        Arrivals::Poisson,
        limit,
        holds,
    ));
    cases
}

/// Flows with random arrivals and service, in trials as short as users make them: some seconds cover only a few
/// busy periods.
pub(crate) fn short() -> Vec<Case> {
    let cases = [
        ("p95 < 30 ms, trials of 30 s", 0.95, 30, 30.0),
        ("p95 < 30 ms, trials of 10 s", 0.95, 30, 10.0),
        ("p99 < 50 ms, trials of 30 s", 0.99, 50, 30.0),
        ("p99 < 100 ms, trials of 20 s", 0.99, 100, 20.0),
    ];
    let case = |(name, quantile, limit_ms, trial_s): (&'static str, f64, u64, f64)| {
        let (limit, mean) = (Duration::from_millis(limit_ms), Duration::from_micros(5200));
        let holds = edge(
            |rate| self::quantile(ServiceTime::Exponential(mean), 8, rate, quantile) < limit,
            8.0 / mean.as_secs_f64(),
        );
        Case {
            name,
            model: Model::Queues(vec![(8, Law::Exponential(mean.as_secs_f64()))]),
            arrivals: Arrivals::Poisson,
            slow: Some((1.0 - quantile, limit.as_secs_f64())),
            failed: Some(0.01),
            holds,
            range: (holds / 11.0, holds * 7.0),
            trial_s,
        }
    };
    cases.map(case).to_vec()
}

fn slow(name: &'static str, model: Model, arrivals: Arrivals, limit_s: f64, holds: f64) -> Case {
    // Near the capacity of a random server an objective changes slowly with the rate, and neighbouring requests
    // carry almost the same information: with one server it takes a million of them.
    let trial_s = match name {
        "M/M/1" => 3000.0,
        "M/D/1" => 1500.0,
        "M/D/2" | "M/D/8" | "M/M/8" | "M/M/8, p95 and errors" => 600.0,
        _ => 1000.0,
    };
    let range = (holds / 11.0, holds * 7.0);
    Case { name, model, arrivals, slow: Some((0.01, limit_s)), failed: None, holds, range, trial_s }
}

/// The highest rate below `limit` that meets the objective.
fn edge(holds: impl Fn(f64) -> bool, limit: f64) -> f64 {
    let (mut low, mut high) = (limit * 1e-3, limit * 0.999_999);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

fn quantile(service_time: ServiceTime, servers: usize, rate: f64, quantile: f64) -> Duration {
    let executor = ExecutorConfig {
        service_time,
        concurrency: Some(servers as u32),
        ..ExecutorConfig::named("executor")
    };
    let rate = Rate::new(rate).expect("a rate");
    let theory = Theory::of(&executor, rate).expect("there is a closed form");
    theory.quantile(quantile).expect("there is a closed form")
}

/// The share of requests of M/D/c that take longer than `limit`.
///
/// Crommelin: requests in service have left after one service time, so the numbers in the system at that
/// distance form a chain; Franx (2001) derives the waiting times from its equilibrium.
fn slower_md(rate: f64, service: f64, servers: usize, limit: f64) -> f64 {
    const STATES: usize = 400;
    let load = rate * service;
    let mut arrive = vec![(-load).exp()];
    (1..STATES).for_each(|n| arrive.push(arrive[n - 1] * load / n as f64));
    let mut chances = vec![0.0; STATES];
    chances[0] = 1.0;
    for _ in 0..2000 {
        let mut next = vec![0.0; STATES];
        for (number, chance) in chances.iter().enumerate().filter(|(_, chance)| **chance > 1e-14) {
            let left = number.saturating_sub(servers);
            let reach = arrive.iter().take(STATES - left).enumerate();
            for (new, arrived) in reach.take_while(|(n, p)| **p > 1e-14 || (*n as f64) < load) {
                next[left + new] += chance * arrived;
            }
        }
        let change: f64 = next.iter().zip(&chances).map(|(a, b)| (a - b).abs()).sum();
        chances = next;
        if change < 1e-10 {
            break;
        }
    }
    let mut sum = 0.0;
    let below: Vec<f64> = chances
        .iter()
        .map(|chance| {
            sum += chance;
            sum
        })
        .collect();
    let waiting = |n: usize| below.get(n + servers).copied().unwrap_or(1.0);
    let wait = limit - service;
    if wait < 0.0 {
        return 1.0;
    }
    let k = (wait / service) as usize + 1;
    let rest = rate * (k as f64 * service - wait);
    let mut term = (-rest).exp();
    let mut within = 0.0;
    for j in 0..k * servers {
        within += term * waiting(k * servers - 1 - j);
        term *= rest / (j + 1) as f64;
    }
    1.0 - within
}
