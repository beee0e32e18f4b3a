//! How far this machine and flowbench can be trusted: loads with known results, run as a user would run them, against
//! a Flow inside this process.
//!
//! Each check is a suite of one scenario that goes all the way from its text to its summary, and compares the result
//! with theory or the Flow's own log. The expected results are in [`law`]; the tests use it too, in simulated time,
//! where numbers are exact.

mod arrivals;
mod check;
pub mod law;
pub mod rig;
mod sleep;
mod suite;

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub use check::{Check, Measure};

use crate::engine::Stop;
use crate::record::reason::Reason;
use crate::record::summary::{Environment, Requests};
use suite::{Bench, Ran};

/// The schema of [`Report`].
pub(crate) const SCHEMA: &str = "flowbench.selftest/1";

/// The result of a self-test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `SCHEMA`.
    pub schema: &'static str,
    /// Whether all checks passed and there is a rate that can be trusted.
    pub passed: bool,
    /// The highest tried rate that can be trusted, in requests per second; null if none can.
    pub trusted_per_s: Option<f64>,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// Where it ran.
    pub environment: Environment,
    /// The checks and their results.
    pub checks: Vec<Check>,
    /// The rates that were tried, in order.
    pub(crate) rates: Vec<TriedRate>,
}

/// A rate that was tried: requests with a Document of 1 KB over one gRPC connection, to a Flow on
/// the same machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TriedRate {
    /// Requests per second.
    pub rate_per_s: f64,
    /// Whether all of them were sent on time and answered.
    pub trusted: bool,
    /// How late requests arrived at the Flow by its own clock, relative to the earliest: p50.
    pub late_p50_ms: Option<f64>,
    /// The same: p99.
    pub late_p99_ms: Option<f64>,
    /// Response time: p99.
    pub response_p99_ms: Option<f64>,
    /// Reasons why it cannot be trusted.
    pub reasons: Vec<String>,
}

/// Progress events of a self-test.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// A check begins.
    Begins(&'a str),
    /// A check has ended.
    Checked(&'a Check),
    /// A rate was tried.
    Tried(&'a TriedRate),
}

/// Why a self-test did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// There is no folder for suites and logs, or a thread of ours failed.
    #[error("could not use a temporary folder")]
    Io(#[from] std::io::Error),
    /// A Flow or a client could not be started.
    #[error("could not run `{check}`: {reason}")]
    Run {
        /// Name of the check.
        check: &'static str,
        /// The reason.
        reason: String,
    },
}

/// Rates to try until one cannot be trusted: two or three per power of ten, so that the last trusted one is known
/// within a factor of two and a half, and within one and a half after one more trial.
const RATES: [u32; 7] = [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// Maximum p99 of the lateness at the Flow: unnoticeable to a user, and at most a tenth of a latency of 10 ms.
const LATE_MAX: Duration = Duration::from_millis(1);

/// Runs all checks, which takes less than two minutes, and reports progress.
///
/// # Errors
/// If it was interrupted, or could not be run. A failed check is not an error.
pub async fn run(
    stop: &Stop,
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Report, SelftestError> {
    let started = Instant::now();
    let mut bench = Bench::new(stop.clone())?;
    let mut checks = Vec::new();
    for planned in check::PLANNED {
        tell(Told::Begins(planned.name));
        let ran = bench.run(planned.name, planned.suite).await?;
        let check = planned.judge(&ran);
        tell(Told::Checked(&check));
        checks.push(check);
    }
    tell(Told::Begins(sleep::NAME));
    checks.push(sleep::check(stop).await?);
    tell(Told::Checked(&checks[checks.len() - 1]));

    let laws = bench.ran().len();
    let mut rates: Vec<TriedRate> = Vec::new();
    for rate in RATES {
        let tried = try_rate(&mut bench, rate).await?;
        tell(Told::Tried(&tried));
        let trusted = tried.trusted;
        rates.push(tried);
        if !trusted {
            break;
        }
    }
    // One more between the last rate that can be trusted and the first that cannot.
    if let [.., good, bad] = rates.as_slice()
        && !bad.trusted
    {
        let between = (good.rate_per_s * bad.rate_per_s).sqrt();
        // Two digits, so that nobody takes it for more precise than it is.
        let unit = 10f64.powf(between.log10().floor() - 1.0);
        let tried = try_rate(&mut bench, ((between / unit).round() * unit) as u32).await?;
        tell(Told::Tried(&tried));
        rates.push(tried);
    }

    // An excessive rate is reported as such; Little's law must hold at the other rates.
    let (laws, at_rates) = bench.ran().split_at(laws);
    let at_rates =
        at_rates.iter().zip(&rates).filter(|(_, tried)| tried.trusted).map(|(ran, _)| ran);
    let trusted = laws.iter().chain(at_rates);
    for check in [conservation(bench.ran()), little(trusted)] {
        tell(Told::Checked(&check));
        checks.push(check);
    }
    let trusted = rates.iter().filter(|tried| tried.trusted).map(|tried| tried.rate_per_s);
    let trusted_per_s = trusted
        .fold(None, |best: Option<f64>, rate| Some(best.map_or(rate, |best| best.max(rate))));
    Ok(Report {
        schema: SCHEMA,
        passed: trusted_per_s.is_some() && checks.iter().all(|check| check.passed),
        trusted_per_s,
        duration_s: (started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
        environment: crate::run::environment(),
        checks,
        rates,
    })
}

async fn try_rate(bench: &mut Bench, rate: u32) -> Result<TriedRate, SelftestError> {
    let text = "x".repeat(1000);
    // The warmup is a whole number of arrivals, so that warmup and load form one evenly spaced series.
    let suite = format!(
        "flows: {{f: {{embedded: {{protocols: [grpc], log: $LOG, executors: [{{name: echo}}]}}}}}}
scenarios: [{{name: rate, documents: {{text: {text}}}, request_size: 1, warmup: 500ms,
  load: {{rate: {rate}/s, duration: 3s}}}}]"
    );
    let ran = bench.run("rates", &suite).await?;
    let summary = &ran.summary;
    let lateness = arrivals::lateness(&ran.arrivals, f64::from(rate));
    let at = |share: f64| lateness.quantile(share);
    let mut reasons: Vec<String> = summary.validity.reasons.iter().map(Reason::to_string).collect();
    let Requests { arrivals, ok, .. } = summary.requests;
    if ok != arrivals {
        reasons.push(format!("only {ok} of {arrivals} requests succeeded"));
    }
    if ran.arrivals.len() as u64 != summary.requests.sent {
        let seen = ran.arrivals.len();
        reasons.push(format!("the Flow saw {seen} of {} requests", summary.requests.sent));
    }
    if let Some(late) = at(0.99).filter(|late| *late > LATE_MAX) {
        reasons.push(format!("p99 lateness at the Flow is {late:.1?} (limit {LATE_MAX:?})"));
    }
    let ms = crate::record::summary::ms;
    Ok(TriedRate {
        rate_per_s: rate.into(),
        trusted: reasons.is_empty(),
        late_p50_ms: at(0.5).map(ms),
        late_p99_ms: at(0.99).map(ms),
        response_p99_ms: summary.response_time_ms.p99,
        reasons,
    })
}

/// Whether every arrival of all scenarios is accounted for.
fn conservation(ran: &[Ran]) -> Check {
    let mut measures = Vec::new();
    let total = ran.iter().map(|ran| ran.summary.requests);
    let total = total.fold([0.0; 4], |[arrivals, begun, sent, ended], requests| {
        let begins = law::begun(&requests);
        [
            arrivals + requests.arrivals as f64,
            begun + begins as f64,
            sent + requests.sent as f64,
            ended + law::ended(&requests) as f64,
        ]
    });
    let [arrivals, begun, sent, ended] = total;
    measures.push(Measure::exact("sent or dropped, of all planned", "count", begun, arrivals));
    measures.push(Measure::exact("ended or abandoned, of all sent", "count", ended, sent));
    // Errors of opposite sign must not cancel out.
    let unbalanced = ran.iter().filter(|ran| law::unaccounted(&ran.summary.requests).is_some());
    measures.push(Measure::exact(
        "scenarios that do not add up",
        "count",
        unbalanced.count() as f64,
        0.0,
    ));
    Check::new("no request is lost or counted twice", measures, Vec::new())
}

/// Whether requests in flight equal throughput times time in each of these scenarios.
fn little<'a>(ran: impl Iterator<Item = &'a Ran>) -> Check {
    let measures = ran.map(|ran| {
        let in_flight = ran.summary.client.in_flight;
        let what = format!("in flight, `{}`", ran.name());
        let by_law = in_flight.by_littles_law.unwrap_or_default();
        Measure::within(what, "count", in_flight.mean, by_law, 0.05, 0.01)
    });
    Check::new("Little's law: in flight = throughput × time", measures.collect(), Vec::new())
}
