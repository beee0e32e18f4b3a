//! The engine and the recorder compared with queueing theory, in simulated time.
//!
//! tokio's paused clock moves in whole milliseconds, so these tests use units of 50 ms for the milliseconds of
//! the theory: the same queue, fifty times slower.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flowbench::client::{Body, Call, CallError, Calls, Failure, Reply, Request, Timing};
use flowbench::clock::{Clock, TokioClock};
use flowbench::engine::event::{Arrival, Event, Finished, Iteration, Listener, Outcome};
use flowbench::random::Key;
use flowbench::record::reason::Code;
use flowbench::record::summary::{Requests, ScenarioSummary, Summary, Throughput, Verdict};
use flowbench::record::tally::Counts;
use flowbench::record::validity::{self, Circumstances};
use flowbench::record::{Recorder, Recording, Window};
use flowbench::run::Recent;
use flowbench::schedule::ArrivalProcess;
use flowbench::selftest::law;
use flowbench::selftest::rig::Rig;
use flowbench::threshold::Evidence;
use flowbench::wire::Head;
use proptest::prelude::*;
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// A server that works on one request at a time, first come, first served; or on all at once.
#[derive(Clone)]
struct Server {
    state: Arc<Mutex<State>>,
    queues: bool,
    service: Arc<dyn Fn(u64) -> Service + Send + Sync>,
}

/// The outcome of the n-th request.
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

    /// Exponential service times, in units.
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
        let timing = Timing {
            written: Some(now),
            first: None,
            done: Instant::now(),
            attempts: 1,
            connection: None,
        };
        match service.then {
            Then::Answer => Ok(Reply { head: Head::default(), body: Body::Empty, timing }),
            Then::Timeout => Err(Failure::new(CallError::Timeout(service.takes), timing)),
            Then::Silence => std::future::pending().await,
        }
    }
}

/// The unit, which stands for a millisecond.
const UNIT: Duration = Duration::from_millis(50);

/// Requests per simulation: the more, the closer to theory.
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
    run.run(clock, Calls::new(call.clone()), Request::Mutate { body: Bytes::new() }).await
}

/// In units.
fn quantile(recording: &Recording, quantile: f64) -> f64 {
    recording.totals.ok().quantile(quantile).expect("there are values").div_duration_f64(UNIT)
}

fn mean(recording: &Recording) -> f64 {
    recording.totals.ok().mean().expect("there are values").div_duration_f64(UNIT)
}

/// Arrivals at 0.8 per unit for one server with capacity 1 per unit: it is busy 80 % of the time.
fn queue(process: ArrivalProcess) -> Run {
    Run::open(0.8 / UNIT.as_secs_f64(), process, UNIT * REQUESTS * 10 / 8)
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
    // A freeze of one second in every ten, at 1000/s: a tenth of the requests waits uniformly between 0 and 1
    // s, so the p95 is 500 ms, the p99 900 ms, the p99.9 990 ms and the maximum 1 s. A generator that waits
    // together with the server would show a p99.9 of almost zero.
    let start = Instant::now();
    let thaw = move |_| {
        let into = (Instant::now() - start).as_millis() as u64 % 10_000;
        Service { takes: millis(1000u64.saturating_sub(into)), then: Then::Answer }
    };
    let server = Server { queues: false, ..Server::new(thaw) };
    let run = Run::open(1000.0, ArrivalProcess::Uniform, Duration::from_secs(20));
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
    assert_eq!(reasons, [], "the fault is the server's alone");
}

#[tokio::test(start_paused = true)]
async fn one_server_with_random_arrivals_and_work_is_mm1() {
    // Response time is exponential with rate µ − λ = 0.2.
    let recording = against(queue(ArrivalProcess::Poisson), &Server::exponential(1.0)).await;
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
    let recording = against(queue(ArrivalProcess::Poisson), &Server::constant(UNIT)).await;
    near(mean(&recording), 3.0, 4.0);
    near(quantile(&recording, 0.99), 11.2, 10.0);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn one_server_with_even_arrivals_and_random_work_is_dm1() {
    // Exponential with rate µ(1−σ), σ = exp(−(1−σ)/ρ).
    let recording = against(queue(ArrivalProcess::Uniform), &Server::exponential(1.0)).await;
    near(mean(&recording), 2.70, 4.0);
    near(quantile(&recording, 0.99), 12.5, 6.0);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn even_arrivals_and_even_work_never_wait() {
    let run = Run::open(10.0, ArrivalProcess::Uniform, Duration::from_secs(100));
    let recording = against(run, &Server::constant(millis(80))).await;
    let response = recording.totals.ok();
    assert_eq!(response.min(), Some(millis(80)));
    assert_eq!(response.max(), Some(millis(80)));
    assert_eq!(response.count(), 1_000);
    littles_law_holds(&recording);
}

#[tokio::test(start_paused = true)]
async fn a_closed_load_waits_with_the_server_and_its_throughput_is_the_servers() {
    let run = Run {
        clients: Some(4),
        ..Run::open(1.0, ArrivalProcess::Uniform, Duration::from_secs(1000))
    };
    let recording = against(run, &Server::constant(Duration::from_secs(1))).await;
    assert_eq!(recording.totals.ok_in_time, 1000);
    // Each waits for the three before it.
    assert_eq!(recording.totals.ok().quantile(0.5), Some(Duration::from_secs(4)));
    counts_are_conserved(&recording);
    littles_law_holds(&recording);
}

/// The saved result of a run of this length.
fn saved(recording: &Recording, warmup: Duration, length: Duration) -> Summary {
    let window = Window { length, timed: true };
    let scenario = recording.summary(ScenarioSummary::default(), &[], warmup, window);
    Summary { scenarios: vec![scenario], ..Summary::default() }
}

/// A load that is offered for a minute before it counts has the same rate from its first instant to its last,
/// however long its requests take: those in flight at the beginning make up for those in flight at the end.
#[tokio::test(start_paused = true)]
async fn throughput_is_what_comes_out_however_long_it_takes() {
    let (warmup, length) = (Duration::from_secs(60), Duration::from_secs(5));
    for takes_ms in [1, 101, 499, 601, 2_499, 4_901, 7_001] {
        let takes = millis(takes_ms);
        let server = Server { queues: false, ..Server::constant(takes) };
        let run = Run { warmup, ..Run::open(40.0, ArrivalProcess::Uniform, length) };
        let recording = against(run, &server).await;
        let summary = saved(&recording, warmup, length);
        for (from, to) in [(0, 1), (0, 5), (1, 4), (4, 5), (3, 60)] {
            let part = summary.clone().part(from, to).expect("our own histograms");
            let in_flight = part.scenarios[0].client.in_flight;
            assert_eq!(in_flight.max, None, "nobody kept it by the second");
            near(in_flight.mean, 40.0 * takes.as_secs_f64(), 1.0);
            for scenario in [&summary, &part].map(|summary| &summary.scenarios[0]) {
                near(scenario.throughput.requests_per_s, 40.0, 1.0);
                near(scenario.throughput.documents_per_s, 40.0, 1.0);
            }
        }
        let in_flight = summary.scenarios[0].client.in_flight;
        near(in_flight.mean, 40.0 * takes.as_secs_f64(), 1.0);
        near(in_flight.by_littles_law.expect("a whole run"), 40.0 * takes.as_secs_f64(), 1.0);
        littles_law_holds(&recording);
        counts_are_conserved(&recording);
    }
    // Clients that begin together get their responses together: in waves, of which a whole number fits.
    for takes_ms in [1, 100, 500, 2_500] {
        let server = Server { queues: false, ..Server::constant(millis(takes_ms)) };
        let run = Run::open(1.0, ArrivalProcess::Uniform, length);
        let recording = against(Run { clients: Some(20), warmup, ..run }, &server).await;
        let summary = saved(&recording, warmup, length);
        let per_s = 20_000.0 / takes_ms as f64;
        near(summary.scenarios[0].throughput.requests_per_s, per_s, 1.0);
        near(summary.scenarios[0].client.in_flight.mean, 20.0, 1.0);
        let by_law = summary.scenarios[0].client.in_flight.by_littles_law;
        near(by_law.expect("a whole run"), 20.0, 1.0);
        assert_eq!(summary.scenarios[0].client.in_flight.max, Some(20));
        littles_law_holds(&recording);
    }
}

/// Without a warmup, requests in flight at the end have not completed: throughput counts completed ones and
/// adds nothing for the others.
#[tokio::test(start_paused = true)]
async fn throughput_of_a_cold_load_counts_what_came_out_in_its_time() {
    let server = Server { queues: false, ..Server::constant(millis(600)) };
    let run = Run::open(40.0, ArrivalProcess::Uniform, Duration::from_secs(5));
    let recording = against(run, &server).await;
    let summary = saved(&recording, Duration::ZERO, Duration::from_secs(5));
    near(summary.scenarios[0].throughput.requests_per_s, 40.0 * 4.4 / 5.0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_ends_by_count_has_its_rate_up_to_the_last_response() {
    let warmup = Duration::from_secs(2);
    let server = Server { queues: false, ..Server::constant(millis(500)) };
    let run = Run {
        clients: Some(20),
        requests: 200,
        warmup,
        ..Run::open(1.0, ArrivalProcess::Uniform, Duration::from_secs(600))
    };
    let recording = against(run, &server).await;
    let length = recording.last_done.expect("some were") - recording.first_request.expect("one").0;
    // The first request completed half a second after the warmup began.
    let length = length + millis(500) - warmup;
    let window = Window { length, timed: false };
    near(Throughput::new(&recording.totals, window).requests_per_s, 40.0, 1.0);
    let in_flight = recording.client(window).in_flight;
    near(in_flight.mean, 20.0, 1.0);
    assert_eq!(in_flight.max, Some(20));
}

/// A steady load of two workers, looked at whenever one of them reports: at any fraction of a second, each
/// figure that is shown or judged during the run is that of the whole run.
#[test]
fn what_is_seen_of_a_steady_load_while_it_runs_is_what_the_report_says() {
    const TAKES_MS: u64 = 40;
    for phase_ms in (0..250).step_by(50) {
        let start = Instant::now();
        let at = |ms: u64| start + millis(ms);
        let (deltas, mut told) = mpsc::channel(64);
        let mut recorders: Vec<Recorder> = (0..2)
            .map(|worker| Recorder::new(worker, start, Some(at(20_000)), false, deltas.clone()))
            .collect();
        let mut recording = Recording::of(2);
        let mut seen = 0;
        // Each sends every 20 ms; one of ten fails.
        for ms in 0..20_100u64 {
            for (worker, recorder) in recorders.iter_mut().enumerate() {
                let sent = |ms: u64| ms % 20 == 10 * worker as u64 && ms < 20_000;
                let arrival = |ms| Arrival { due: at(ms), client: 0, measured: true };
                if sent(ms) {
                    recorder.on(Event::Arrived(arrival(ms)));
                    let arrival = arrival(ms);
                    recorder.on(Event::Released {
                        arrival,
                        step: 0,
                        begins: true,
                        at: at(ms),
                        documents: 1,
                        bytes: 100,
                        in_flight: 4,
                    });
                }
                if let Some(due) = ms.checked_sub(TAKES_MS).filter(|due| sent(*due)) {
                    recorder.on(Event::Finished(&finished(
                        arrival(due),
                        at(ms),
                        due / 20 % 10 == 9,
                    )));
                }
                if ms % 250 == (phase_ms + 130 * worker as u64) % 250 {
                    recorder.on(Event::Tick(at(ms)));
                }
            }
            while let Ok(delta) = told.try_recv() {
                recording.add(delta);
                for seconds in [2, 10] {
                    let (tally, seconds) = recording.last(20, seconds);
                    // In the first second alone, no earlier requests make up for those in flight.
                    if seconds < 2 || recording.complete() < seconds + 1 {
                        continue;
                    }
                    seen += 1;
                    let window = Window { length: Duration::from_secs(seconds), timed: false };
                    let recent = Recent::new(&tally, window, tally.ok());
                    assert_eq!((recent.offered_per_s, recent.done_per_s), (100.0, 90.0), "{ms} ms");
                    near(recent.in_flight, 4.0, 0.1);
                    assert_eq!(recent.p50, Some(millis(TAKES_MS)));
                    // A p99 needs 662 requests: the ten seconds have 900.
                    assert_eq!(recent.p99, Some(millis(TAKES_MS)).filter(|_| seconds == 10));
                    let evidence =
                        Evidence::of_window(&tally, window.length, &Counts::default(), &[]);
                    for (condition, value) in [
                        ("throughput > 89.9/s", 90.0),
                        ("documents_per_second > 89.9/s", 90.0),
                        ("error_rate <= 10%", 0.1),
                        ("errors < 1000", 10.0 * seconds as f64),
                        ("dropped == 0", 0.0),
                        ("requests > 1", 100.0 * seconds as f64),
                        ("p50 < 41ms", 40.0),
                        ("mean < 41ms", 40.0),
                        ("max > 1s", f64::INFINITY),
                        ("service.p50 < 41ms", 40.0),
                    ] {
                        let judged = evidence.judge(&condition.parse().expect(condition));
                        assert_eq!(judged.verdict, Verdict::Passed, "{condition}: {judged:?}");
                        assert_eq!(
                            judged.actual,
                            Some(value).filter(|v| v.is_finite()),
                            "{condition}"
                        );
                    }
                }
            }
        }
        assert!(seen > 30, "{seen}");
    }
}

fn finished(arrival: Arrival, done: Instant, failed: bool) -> Finished {
    let written = Some(arrival.due);
    let error = failed.then(|| CallError::Timeout(done - arrival.due));
    let iteration = Iteration {
        arrival,
        released: arrival.due,
        written,
        starved: Duration::ZERO,
        blocked: Duration::ZERO,
        paused: Duration::ZERO,
    };
    Finished {
        iteration,
        step: 0,
        begins: true,
        ends: true,
        due: arrival.due,
        documents: 1,
        traits: Default::default(),
        timing: Timing { written, first: written, done, attempts: 1, connection: None },
        outcome: error.as_ref().map_or(Outcome::Ok, Outcome::of),
        reply: None,
        error,
    }
}

/// A clock that wakes late, as a busy machine does to our own send path.
struct LateClock(Duration);

impl Clock for LateClock {
    async fn wait_until(&mut self, at: Instant) {
        sleep_until(at + self.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lateness_of_our_own_is_blamed_on_ourselves() {
    let run = Run::open(10.0, ArrivalProcess::Uniform, Duration::from_secs(30));
    let recording = paced(run, LateClock(millis(50)), &Server::constant(millis(20))).await;
    let totals = &recording.totals;
    assert_eq!(totals.pacer.quantile(0.5), Some(millis(50)));
    assert_eq!(totals.held.max(), Some(Duration::ZERO));
    // The user noticed it, but the server was not slower.
    assert_eq!(totals.ok().quantile(0.5), Some(millis(70)));
    assert_eq!(totals.service.quantile(0.5), Some(millis(20)));
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!((reasons[0].code, reasons[0].found), (Code::GeneratorBehind, Some(50.0)));
}

#[tokio::test]
async fn a_send_path_that_sleeps_is_blamed_on_ourselves() {
    #[derive(Clone)]
    struct Sleepy;

    impl Call for Sleepy {
        async fn call(&self, _: Request) -> Result<Reply, Failure> {
            // Blocks the thread between dispatch and write.
            std::thread::sleep(millis(50));
            let written = Some(Instant::now());
            tokio::time::sleep(millis(1)).await;
            let timing = Timing {
                written,
                first: None,
                done: Instant::now(),
                attempts: 1,
                connection: None,
            };
            Ok(Reply { head: Head::default(), body: Body::Empty, timing })
        }
    }

    let run = Run::open(10.0, ArrivalProcess::Uniform, Duration::from_secs(1));
    let recording = paced(run, TokioClock, &Sleepy).await;
    let totals = &recording.totals;
    assert!(totals.pacer.quantile(0.5) >= Some(millis(50)));
    assert!(totals.held.quantile(0.5) < Some(millis(10)));
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert!(reasons.iter().any(|reason| reason.code == Code::GeneratorBehind), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_flow_takes_no_more_is_told_apart_and_not_blamed_on_us() {
    /// Lets requests be written one after the other, 150 ms apart, and responds at once.
    #[derive(Clone, Default)]
    struct Narrow(Arc<tokio::sync::Mutex<()>>);

    impl Call for Narrow {
        async fn call(&self, _: Request) -> Result<Reply, Failure> {
            let turn = self.0.lock().await;
            tokio::time::sleep(millis(150)).await;
            drop(turn);
            let now = Instant::now();
            let timing = Timing {
                written: Some(now),
                first: None,
                done: now,
                attempts: 1,
                connection: None,
            };
            Ok(Reply { head: Head::default(), body: Body::Empty, timing })
        }
    }

    // One is due every 100 ms, so each has to wait 50 ms longer than the one before.
    let run = Run::open(10.0, ArrivalProcess::Uniform, Duration::from_secs(2));
    let recording = paced(run, TokioClock, &Narrow::default()).await;
    let totals = &recording.totals;
    assert_eq!(totals.held.max(), Some(millis(150 + 19 * 50)));
    assert_eq!(totals.lag.max(), totals.held.max());
    assert_eq!(totals.pacer.max(), Some(Duration::ZERO));
    // The wait is part of the response time, not of the service time.
    assert_eq!(totals.ok().max(), totals.held.max());
    assert_eq!(totals.service.max(), Some(Duration::ZERO));
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert!(reasons.is_empty(), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn more_than_the_server_can_take_is_told_to_exceed_its_capacity() {
    let run = Run::open(2.0, ArrivalProcess::Uniform, Duration::from_secs(300));
    let recording = against(run, &Server::constant(Duration::from_secs(1))).await;
    let reasons = validity::reasons(&recording, Circumstances { open: true, ..Default::default() });
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(reasons[0].code, Code::Overload, "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn the_server_sees_the_arrivals_that_were_asked_for() {
    let server = Server::constant(Duration::ZERO);
    let run = Run::open(1.0, ArrivalProcess::Poisson, Duration::from_secs(5_000));
    let schedule: Vec<Duration> = run.due.clone().take(4_500).collect();
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
                ..Run::open(rate, ArrivalProcess::Poisson, Duration::from_secs(3))
            };
            let recording = against(run, &server).await;
            counts_are_conserved(&recording);
            littles_law_holds(&recording);
            assert_eq!(server.arrivals().len() as u64, recording.totals.sent);
        });
    }
}
