//! The engine and the recorder against what queueing theory says must come out, in simulated time.
//!
//! tokio's paused clock moves in whole milliseconds, so where theory speaks of milliseconds these
//! tests speak of units of 50 ms: the same queue, fifty times slower.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flowbench::client::{Body, Call, CallError, Failure, Reply, Request, Timing};
use flowbench::clock::{Clock, TokioClock};
use flowbench::engine::schedule::Law;
use flowbench::random::Key;
use flowbench::record::Recording;
use flowbench::record::summary::Requests;
use flowbench::record::validity::{self, Circumstances};
use flowbench::selftest::law;
use flowbench::selftest::rig::Rig;
use flowbench::wire::Head;
use proptest::prelude::*;
use rand::RngExt;
use tokio::time::{Instant, sleep_until};

/// A server that works on one request at a time, first come, first served; or on all at once.
#[derive(Clone)]
struct Server {
    state: Arc<Mutex<State>>,
    queues: bool,
    service: Arc<dyn Fn(u64) -> Service + Send + Sync>,
}

/// What becomes of the n-th request.
struct Service {
    takes: Duration,
    then: Then,
}

enum Then {
    Answer,
    Timeout,
    Silence,
}

struct State {
    arrivals: Vec<Instant>,
    busy_until: Instant,
}

impl Server {
    fn new(service: impl Fn(u64) -> Service + Send + Sync + 'static) -> Server {
        let state = State { arrivals: Vec::new(), busy_until: Instant::now() };
        Server { state: Arc::new(Mutex::new(state)), queues: true, service: Arc::new(service) }
    }

    /// Service times of an exponential law, in units.
    fn exponential(mean: f64) -> Server {
        let key = Key::new(12);
        Server::new(move |n| {
            let uniform: f64 = key.index(n).rng().random();
            Service { takes: units(-(1.0 - uniform).ln() * mean), then: Then::Answer }
        })
    }

    fn constant(takes: Duration) -> Server {
        Server::new(move |_| Service { takes, then: Then::Answer })
    }

    fn arrivals(&self) -> Vec<Instant> {
        self.state.lock().expect("nobody panicked").arrivals.clone()
    }
}

impl Call for Server {
    async fn call(&self, _: Request) -> Result<Reply, Failure> {
        let now = Instant::now();
        let (service, done) = {
            let mut state = self.state.lock().expect("nobody panicked");
            let service = (self.service)(state.arrivals.len() as u64);
            state.arrivals.push(now);
            let begins = if self.queues { state.busy_until.max(now) } else { now };
            state.busy_until = begins + service.takes;
            (service, state.busy_until)
        };
        sleep_until(done).await;
        let timing = Timing { written: Some(now), first: None, done: Instant::now(), attempts: 1 };
        match service.then {
            Then::Answer => Ok(Reply { head: Head::default(), body: Body::Empty, timing }),
            Then::Timeout => Err(Failure { error: CallError::Timeout(service.takes), timing }),
            Then::Silence => std::future::pending().await,
        }
    }
}

/// What stands for a millisecond.
const UNIT: Duration = Duration::from_millis(50);

/// So many requests in each simulation: the longer, the nearer to theory.
const REQUESTS: u32 = 100_000;

fn units(units: f64) -> Duration {
    UNIT.mul_f64(units)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A load of one worker.
type Run = Rig;

async fn against(run: Run, server: &Server) -> Recording {
    paced(run, TokioClock, server).await
}

async fn paced(run: Run, clock: impl Clock, call: &impl Call) -> Recording {
    run.run(clock, call.clone(), Request::Mutate { body: Bytes::new() }).await
}

/// In units.
fn quantile(recording: &Recording, quantile: f64) -> f64 {
    recording.totals.ok().quantile(quantile).expect("there are values").div_duration_f64(UNIT)
}

fn mean(recording: &Recording) -> f64 {
    recording.totals.ok().mean().expect("there are values").div_duration_f64(UNIT)
}

/// Arrivals at 0.8 a unit for one server that does 1 a unit: it is busy for 0.8 of the time.
fn queue(law: Law) -> Run {
    Run::open(0.8 / UNIT.as_secs_f64(), law, UNIT * REQUESTS * 10 / 8)
}

#[track_caller]
fn near(found: f64, expected: f64, percent: f64) {
    let off = (found / expected - 1.0).abs() * 100.0;
    assert!(off <= percent, "{found} instead of {expected}: off by {off:.2} %");
}

#[track_caller]
fn counts_are_conserved(recording: &Recording) {
    let requests = Requests::new(&recording.totals);
    assert_eq!(law::unaccounted(&requests), None);
    let Requests { arrivals, sent, ok, .. } = requests;
    let timeline = recording.timeline();
    assert_eq!(timeline.iter().map(|second| second.offered).sum::<u64>(), arrivals);
    assert_eq!(timeline.iter().map(|second| second.sent).sum::<u64>(), sent);
    assert_eq!(timeline.iter().map(|second| second.outcomes[0]).sum::<u64>(), ok);
    let of_seconds: u64 = timeline.iter().map(|second| second.response.histogram().count()).sum();
    assert_eq!(of_seconds, ok);
}

#[track_caller]
fn littles_law_holds(recording: &Recording) {
    let in_flight = recording.totals.in_flight;
    let off = (in_flight.area - in_flight.spent).abs();
    assert!(off <= in_flight.spent * 1e-6, "{in_flight:?}");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_shows_in_all_the_percentiles_it_reaches() {
    // A second of freeze in every ten, at 1000/s: a tenth of the requests waits evenly between 0
    // and 1 s, so the p95 is 500 ms, the p99 900 ms, the p99.9 990 ms and the largest 1 s. A loop
    // that waits with the server would show a p99.9 of nothing.
    let start = Instant::now();
    let thaw = move |_| {
        let into = (Instant::now() - start).as_millis() as u64 % 10_000;
        Service { takes: millis(1000u64.saturating_sub(into)), then: Then::Answer }
    };
    let server = Server { queues: false, ..Server::new(thaw) };
    let run = Run::open(1000.0, Law::Uniform, Duration::from_secs(20));
    let recording = against(run, &server).await;
    let ms = |at: f64| quantile(&recording, at) * UNIT.as_millis() as f64;
    for (at, expected) in [(0.95, 500.0), (0.99, 900.0), (0.999, 990.0), (1.0, 1000.0)] {
        let (freeze, period) = (Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(law::frozen(at, freeze, period).as_millis(), expected as u128);
        near(ms(at), expected, 0.1);
    }
    assert_eq!(recording.totals.ok().quantile(0.89), Some(Duration::ZERO));
    counts_are_conserved(&recording);
    littles_law_holds(&recording);
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert_eq!(reasons, Vec::<String>::new(), "the fault is the server's alone");
}

#[tokio::test(start_paused = true)]
async fn one_server_with_random_arrivals_and_work_is_mm1() {
    // Response time is exponential with rate µ − λ = 0.2.
    let recording = against(queue(Law::Poisson), &Server::exponential(1.0)).await;
    near(mean(&recording), 5.0, 5.0);
    near(quantile(&recording, 0.5), 3.466, 5.0);
    near(quantile(&recording, 0.99), 23.03, 5.0);
    near(quantile(&recording, 0.999), 34.54, 10.0);
    counts_are_conserved(&recording);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn one_server_with_random_arrivals_and_even_work_is_md1() {
    // Mean 1/µ + ρ/(2µ(1−ρ)).
    let recording = against(queue(Law::Poisson), &Server::constant(UNIT)).await;
    near(mean(&recording), 3.0, 4.0);
    near(quantile(&recording, 0.99), 11.2, 10.0);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn one_server_with_even_arrivals_and_random_work_is_dm1() {
    // Exponential with rate µ(1−σ), σ = exp(−(1−σ)/ρ).
    let recording = against(queue(Law::Uniform), &Server::exponential(1.0)).await;
    near(mean(&recording), 2.70, 4.0);
    near(quantile(&recording, 0.99), 12.5, 6.0);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn even_arrivals_and_even_work_never_wait() {
    let run = Run::open(10.0, Law::Uniform, Duration::from_secs(100));
    let recording = against(run, &Server::constant(millis(80))).await;
    let response = recording.totals.ok();
    assert_eq!(response.min(), Some(millis(80)));
    assert_eq!(response.max(), Some(millis(80)));
    assert_eq!(response.count(), 1_000);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn a_closed_load_waits_with_the_server_and_its_throughput_is_the_servers() {
    let run = Run { clients: Some(4), ..Run::open(1.0, Law::Uniform, Duration::from_secs(1000)) };
    let recording = against(run, &Server::constant(Duration::from_secs(1))).await;
    assert_eq!(recording.totals.ok_in_time, 1000);
    // Each waits for the three before it.
    assert_eq!(recording.totals.ok().quantile(0.5), Some(Duration::from_secs(4)));
    counts_are_conserved(&recording);
    littles_law_holds(&recording);
}

/// A clock that wakes late: what a busy machine does to our own send path.
struct LateClock(Duration);

impl Clock for LateClock {
    async fn wait_until(&mut self, at: Instant) {
        sleep_until(at + self.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lateness_of_our_own_is_blamed_on_ourselves() {
    let run = Run::open(10.0, Law::Uniform, Duration::from_secs(30));
    let recording = paced(run, LateClock(millis(50)), &Server::constant(millis(20))).await;
    let totals = &recording.totals;
    assert_eq!(totals.pacer.quantile(0.5), Some(millis(50)));
    assert_eq!(totals.held.max(), Some(Duration::ZERO));
    // The user felt it, and the server was not slower for it.
    assert_eq!(totals.ok().quantile(0.5), Some(millis(70)));
    assert_eq!(totals.service.quantile(0.5), Some(millis(20)));
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].starts_with("the generator was late: p99 of its lag is 50.0 ms"));
}

#[tokio::test]
async fn a_send_path_that_sleeps_is_blamed_on_ourselves() {
    #[derive(Clone)]
    struct Sleepy;

    impl Call for Sleepy {
        async fn call(&self, _: Request) -> Result<Reply, Failure> {
            // What blocks the thread between being handed out and being written.
            std::thread::sleep(millis(50));
            let written = Some(Instant::now());
            tokio::time::sleep(millis(1)).await;
            let timing = Timing { written, first: None, done: Instant::now(), attempts: 1 };
            Ok(Reply { head: Head::default(), body: Body::Empty, timing })
        }
    }

    let run = Run::open(10.0, Law::Uniform, Duration::from_secs(1));
    let recording = paced(run, TokioClock, &Sleepy).await;
    let totals = &recording.totals;
    assert!(totals.pacer.quantile(0.5) >= Some(millis(50)));
    assert!(totals.held.quantile(0.5) < Some(millis(10)));
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert!(
        reasons.iter().any(|reason| reason.starts_with("the generator was late")),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_flow_takes_no_more_is_told_apart_and_not_blamed_on_us() {
    /// Lets one request after the other be written, each 150 ms after the one before, and answers at
    /// once.
    #[derive(Clone, Default)]
    struct Narrow(Arc<tokio::sync::Mutex<()>>);

    impl Call for Narrow {
        async fn call(&self, _: Request) -> Result<Reply, Failure> {
            let turn = self.0.lock().await;
            tokio::time::sleep(millis(150)).await;
            drop(turn);
            let now = Instant::now();
            let timing = Timing { written: Some(now), first: None, done: now, attempts: 1 };
            Ok(Reply { head: Head::default(), body: Body::Empty, timing })
        }
    }

    // One is due every 100 ms, so that each has to wait 50 ms longer than the one before.
    let run = Run::open(10.0, Law::Uniform, Duration::from_secs(2));
    let recording = paced(run, TokioClock, &Narrow::default()).await;
    let totals = &recording.totals;
    assert_eq!(totals.held.max(), Some(millis(150 + 19 * 50)));
    assert_eq!(totals.lag.max(), totals.held.max());
    assert_eq!(totals.pacer.max(), Some(Duration::ZERO));
    // It is in the response time and not in the service time.
    assert_eq!(totals.ok().max(), totals.held.max());
    assert_eq!(totals.service.max(), Some(Duration::ZERO));
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert!(reasons.is_empty(), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn more_than_the_server_can_take_is_told_to_exceed_its_capacity() {
    let run = Run::open(2.0, Law::Uniform, Duration::from_secs(300));
    let recording = against(run, &Server::constant(Duration::from_secs(1))).await;
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].starts_with("the load exceeds capacity"), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn the_server_sees_the_arrivals_that_were_asked_for() {
    let server = Server::constant(Duration::ZERO);
    let run = Run::open(1.0, Law::Poisson, Duration::from_secs(5_000));
    let schedule: Vec<Duration> = run.schedule.arrivals().take(4_500).collect();
    let start = Instant::now();
    against(run, &server).await;
    let arrivals = server.arrivals();
    assert!(arrivals.len() > 4_500);
    for (arrival, due) in arrivals.iter().zip(&schedule) {
        // Never early, and at most the clock's step late.
        let at = *arrival - start;
        assert!(at >= *due && at - *due <= millis(1), "{at:?} instead of {due:?}");
    }
    let gaps = arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(law::distance_from_exponential(gaps) < law::distance_allowed(arrivals.len()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nothing_is_lost_whatever_the_server_does(
        rate in 1.0f64..200.0,
        clients in proptest::option::of(1usize..20),
        takes in 0u64..300,
        max_in_flight in 1usize..50,
        grace in 0u64..2_000,
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let key = Key::new(seed);
            let server = Server::new(move |n| {
                let then = match key.index(n).below(10) {
                    0 => Then::Timeout,
                    1 => Then::Silence,
                    _ => Then::Answer,
                };
                Service { takes: millis(key.part("takes").index(n).below(takes + 1)), then }
            });
            let run = Run {
                clients,
                max_in_flight,
                grace: millis(grace),
                ..Run::open(rate, Law::Poisson, Duration::from_secs(3))
            };
            let recording = against(run, &server).await;
            counts_are_conserved(&recording);
            littles_law_holds(&recording);
            assert_eq!(server.arrivals().len() as u64, recording.totals.sent);
        });
    }
}
