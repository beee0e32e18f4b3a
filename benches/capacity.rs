//! How often capacity searches are right, how long they take, and how often the models' intervals contain the
//! truth: simulated Flows with a theoretically known capacity, searched as `flowbench capacity` would.
//!
//! `cargo bench --bench capacity` prints the tables of `docs/benchmarks.md`. The first argument is the number
//! of searches per row (100 by default); the second is part of the name of the Flows to search, `hurried` for
//! only the searches with little time, or `models` for the models. The same seeds make the same tables on every
//! machine.
#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]

#[path = "../tests/suite/capacity/cases.rs"]
mod cases;
#[path = "../tests/suite/capacity/simulator.rs"]
mod simulator;

use std::time::Instant;

use flowbench::capacity::judge::{Decision, Evidence, Judge, Rule};
use flowbench::capacity::queue::{Known, LoadPoint, Queue};
use flowbench::capacity::search::{Answer, Search, Settings, TrialResult};
use flowbench::capacity::usl::Usl;
use flowbench::random::Key;
use rand::RngExt;
use rayon::prelude::*;
use simulator::{Case, Law, Model};

fn main() {
    let mut given = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let searches: u64 = given.next().and_then(|number| number.parse().ok()).unwrap_or(100);
    let name = given.next().unwrap_or_default();
    let started = Instant::now();
    println!(
        "| Flow | capacity | trial budget | within 5 % | with an upper end | pass is right | fail is right | trials | time | fixed trial length | time with fixed trials | share |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for case in cases::all().iter().filter(|case| case.name.contains(&name)) {
        searched(case, searches);
    }
    println!("\n{searches} searches a row, {:.0} s.", started.elapsed().as_secs_f64());
    if name.is_empty() || name == "hurried" {
        hurried(searches);
    }
    if name.is_empty() || name == "models" {
        laws();
        queues();
    }
}

/// The result and cost of a search.
struct Found {
    /// How far the sustained load is from the true capacity, as a share of it.
    off: f64,
    /// The distance between the passing and the failing load, as a share of the former, if known.
    apart: Option<f64>,
    /// Whether both claims are true: that the one load passes and that the other fails.
    holds: bool,
    fails: bool,
    trials: f64,
    seconds: f64,
}

/// The results of a hundred searches of a Flow.
fn found(case: &Case, searches: u64) -> Vec<Found> {
    let found = |seed| {
        let outcome = case.search(seed, true);
        let (held, failing) = match outcome.search.edge() {
            Answer::Edge { held, fails, .. } => (held, fails),
            _ => (0.0, None),
        };
        Found {
            off: held / case.holds - 1.0,
            apart: failing.map(|failing| failing / held - 1.0),
            holds: held <= case.holds,
            fails: failing.is_none_or(|failing| failing >= case.holds),
            trials: outcome.search.tried().len() as f64,
            seconds: outcome.seconds,
        }
    };
    (0..searches).into_par_iter().map(found).collect()
}

fn count(found: &[Found], of: fn(&Found) -> bool) -> usize {
    found.iter().filter(|found| of(found)).count()
}

fn mean(found: &[Found], of: fn(&Found) -> f64) -> f64 {
    found.iter().map(of).sum::<f64>() / found.len() as f64
}

/// A row: this many searches of a Flow, compared with trials of a fixed length.
fn searched(case: &Case, searches: u64) {
    let found = found(case, searches);
    let near = count(&found, |found| found.off.abs() <= 0.05);
    let (holds, fails) = (count(&found, |found| found.holds), count(&found, |found| found.fails));
    let bounded = count(&found, |found| found.apart.is_some());
    let (trials, seconds) =
        (mean(&found, |found| found.trials), mean(&found, |found| found.seconds));
    let (length, fixed) = fixed(case);
    println!(
        "| {} | {:.0}/s | {:.0} s | {near} | {bounded} | {holds} | {fails} | {trials:.1} | {seconds:.0} s | {length:.0} s | {fixed:.0} s | {:.0} % |",
        case.name,
        case.holds,
        case.trial_s,
        seconds / fixed * 100.0
    );
}

/// A table: searches with little time.
fn hurried(searches: u64) {
    println!(
        "\n| M/M/8, 5.2 ms | capacity | pass is right | fail is right | gap | time |\n| --- | --- | --- | --- | --- | --- |"
    );
    for case in cases::short() {
        let found = found(&case, searches);
        println!(
            "| {} | {:.0}/s | {} | {} | {:.0} % | {:.0} s |",
            case.name,
            case.holds,
            count(&found, |found| found.holds),
            count(&found, |found| found.fails),
            mean(&found, |found| found.apart.unwrap_or(f64::INFINITY)) * 100.0,
            mean(&found, |found| found.seconds),
        );
    }
    println!("\n{searches} searches a row.");
}

/// Searches with trials of a fixed length, run to find that length.
const FIXED_SEARCHES: u64 = 100;

/// The shortest fixed trial length at which searches are as accurate: 95 of 100 within 5 %, and each end wrong
/// no more often than claimed. They take the same steps, and each trial has the same error probability as the
/// one it replaces, but looks at its samples once, at its end, with the exact binomial test. The length is
/// enough to certify the lowest level of the range and to get the blocks that a certain trial must have. Also
/// returns the mean duration of such searches.
fn fixed(case: &Case) -> (f64, f64) {
    let settings = case.settings();
    let limit = settings.limits[0];
    let requests = (1.0 - settings.confidence).ln() / (1.0 - limit.allowed).ln();
    let limit_s = limit.time().map_or(0.0, |time| time.as_secs_f64());
    let settle_s = limit_s / (settings.precision / 2.0);
    // Sixteen blocks of a quarter of a second each.
    let mut length = f64::max(4.0, requests / settings.low) + settle_s;
    loop {
        let found: Vec<([bool; 3], f64)> = (0..FIXED_SEARCHES)
            .into_par_iter()
            .map(|seed| {
                let (edge, seconds) = fixed_search(case, length, seed);
                let right = match edge {
                    Answer::Edge { held, fails: Some(fails), .. } => {
                        let near = (held / case.holds - 1.0).abs() <= 0.05;
                        [near, held <= case.holds, fails >= case.holds]
                    }
                    _ => [false; 3],
                };
                (right, seconds)
            })
            .collect();
        let count = |of: usize| found.iter().filter(|(right, _)| right[of]).count() as f64;
        let share = |of: usize| count(of) / FIXED_SEARCHES as f64;
        let certain = settings.confidence;
        if share(0) >= 0.95 && share(1) >= certain && share(2) >= certain {
            let seconds: f64 = found.iter().map(|(_, seconds)| seconds).sum();
            return (length, seconds / FIXED_SEARCHES as f64);
        }
        length *= 1.25;
    }
}

fn fixed_search(case: &Case, length: f64, seed: u64) -> (Answer, f64) {
    let mut search = Search::new(Settings { trial_s: length, ..case.settings() });
    let limits = case.settings().limits;
    let mut seconds = 0.0;
    while let Some(trial) = search.next() {
        let key = Key::new(seed).part(case.name).part("fixed").index(search.tried().len() as u64);
        let (alpha, settle_s) = trial.rule.map_or((0.0, 0.0), |rule| (rule.alpha, rule.settle_s));
        let settle_s = settle_s.min(0.4 * length);
        let rule = Rule { alpha, settle_s, patience_s: 0.0, blocks_min: 8, may_give_up: false };
        let judge = Judge::new(&limits, rule);
        let judge = case.run(trial.level, judge, key, |now, _, _| now >= length);
        seconds += length;
        let evidence = judge.evidence();
        search.learn(TrialResult {
            decision: Some(binomial(&evidence, limits[0].allowed, alpha)),
            evidence,
            seconds: length,
            ..TrialResult::default()
        });
    }
    (search.edge(), seconds)
}

/// The decision of the exact binomial test, wrong with probability `alpha` at most. A queue that is still
/// growing fails here as well.
fn binomial(evidence: &Evidence, allowed: f64, alpha: f64) -> Decision {
    let requests = evidence.independent.floor();
    let over = evidence.excess * allowed * requests;
    if evidence.growing || 1.0 - at_most(over.floor() - 1.0, requests, allowed) <= alpha {
        Decision::Fail
    } else if at_most(over.ceil(), requests, allowed) <= alpha {
        Decision::Pass
    } else {
        Decision::Open
    }
}

/// The probability of `k` or fewer successes in `n` attempts with probability `p` each.
fn at_most(k: f64, n: f64, p: f64) -> f64 {
    if k < 0.0 {
        return 0.0;
    }
    let mut log = n * (1.0 - p).ln();
    let mut sum = log.exp();
    let mut i = 0.0;
    while i < k.min(n) {
        log += ((n - i) / (i + 1.0) * p / (1.0 - p)).ln();
        sum += log.exp();
        i += 1.0;
    }
    sum.min(1.0)
}

/// How often intervals of the scalability law contain the truth.
fn laws() {
    const FITS: u64 = 1_000;
    println!("\n| λ, σ, κ | λ within | σ within | κ within | a new point within |");
    println!("| --- | --- | --- | --- | --- |");
    let levels = [1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0];
    for (sigma, kappa) in [(0.05, 0.001), (0.1, 0.0), (0.02, 0.0005), (0.0, 0.002)] {
        let law = |n: f64| 100.0 * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0));
        let mut within = [0; 4];
        for seed in 0..FITS {
            let mut rng = Key::new(8).index(seed).rng();
            // The sum of twelve uniform numbers is normal enough here.
            let mut noise =
                || 1.0 + 0.02 * ((0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0);
            let points: Vec<(f64, f64)> = levels.iter().map(|n| (*n, law(*n) * noise())).collect();
            let Some(fit) = Usl::fit(&points, 0.95) else { continue };
            within[0] += u32::from(fit.lambda.contains(100.0));
            within[1] += u32::from(fit.sigma.contains(sigma));
            within[2] += u32::from(fit.kappa.contains(kappa));
            within[3] += u32::from(fit.predict(30.0).contains(law(30.0) * noise()));
        }
        let [a, b, c, d] = within.map(|count| f64::from(count) / FITS as f64 * 100.0);
        println!("| 100/s, {sigma}, {kappa} | {a:.1} % | {b:.1} % | {c:.1} % | {d:.1} % |");
    }
    println!("\n{FITS} fits a row to nine points with 2 % of noise; 95 % is stated.");
}

/// How often intervals of the queueing model contain the truth.
fn queues() {
    const FITS: u64 = 100;
    println!(
        "\n| queue | servers within | capacity within | a new load within | capacity, lowest to highest |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for case in cases::all() {
        let Model::Queues(stations) = &case.model else { continue };
        let [(servers, law)] = stations[..] else { continue };
        let mean = match law {
            Law::Constant(mean) | Law::Exponential(mean) => mean,
        };
        let capacity = servers as f64 / mean;
        let poisson = f64::from(u8::from(case.arrivals == simulator::Arrivals::Poisson));
        let fits: Vec<Option<(Queue, LoadPoint)>> = (0..FITS)
            .into_par_iter()
            .map(|seed| {
                let measure = |share: f64| measured(&case, capacity * share, seed);
                let loads: Vec<(LoadPoint, f64)> =
                    [0.08, 0.16, 0.32, 0.5, 0.64, 0.72, 0.8].map(measure).to_vec();
                let (lowest, variance_s2) = loads[0];
                let known = Known {
                    service_max_s: lowest.mean_s + 2.0 * lowest.error_s,
                    variance_s2,
                    arrival_variation: poisson,
                    saturated_per_s: None,
                };
                let loads: Vec<LoadPoint> = loads.into_iter().map(|(load, _)| load).collect();
                Some((Queue::fit(&loads, known, 0.95)?, measure(0.6).0))
            })
            .collect();
        let fits: Vec<(Queue, LoadPoint)> = fits.into_iter().flatten().collect();
        let share = |right: &dyn Fn(&(Queue, LoadPoint)) -> bool| {
            fits.iter().filter(|fit| right(fit)).count() as f64 / FITS as f64 * 100.0
        };
        let held = share(&|(queue, _)| queue.servers.contains(servers as f64));
        let rate = share(&|(queue, _)| queue.capacity_per_s.contains(capacity));
        let new = share(&|(queue, load)| {
            queue.response_ms(load.rate).is_some_and(|ms| {
                let off = 2.0 * load.error_s * 1e3;
                (ms.low - off..=ms.high + off).contains(&(load.mean_s * 1e3))
            })
        });
        let mut lows: Vec<f64> = fits.iter().map(|(queue, _)| queue.capacity_per_s.low).collect();
        let mut highs: Vec<f64> = fits.iter().map(|(queue, _)| queue.capacity_per_s.high).collect();
        lows.sort_by(f64::total_cmp);
        highs.sort_by(f64::total_cmp);
        println!(
            "| {} | {held:.0} % | {rate:.0} % | {new:.0} % | {:.2} to {:.2} of {capacity:.0}/s |",
            case.name,
            lows[lows.len() / 2] / capacity,
            highs[highs.len() / 2] / capacity,
        );
    }
    println!(
        "\n{FITS} fits a row to seven loads of 30 s from 8 to 80 % of capacity; 95 % is stated."
    );
}

/// A load of a Flow as measured by a trial of 30 seconds, and the variance of its response times.
fn measured(case: &Case, rate: f64, seed: u64) -> (LoadPoint, f64) {
    let rule =
        Rule { alpha: 0.01, settle_s: 0.0, patience_s: 0.0, blocks_min: 8, may_give_up: false };
    let judge = Judge::new(&case.settings().limits, rule);
    let key = Key::new(2).part(case.name).index(seed).index(rate as u64);
    let (mut requests, mut sum_s, mut squares_s2) = (0.0, 0.0, 0.0);
    let judge = case.run(rate, judge, key, |now, block, _| {
        requests += block.requests;
        sum_s += block.sum_s;
        squares_s2 += block.squares_s2;
        now >= 30.0
    });
    let mean_s: f64 = sum_s / requests;
    let variance_s2 = (squares_s2 / requests - mean_s * mean_s).max(0.0);
    let independent = judge.evidence().independent.max(1.0);
    let error_s = (variance_s2 / independent).sqrt().hypot(0.01 * mean_s);
    (LoadPoint { rate, mean_s, error_s }, variance_s2)
}
