//! A scripted Flow in paused time: exact numbers, no real sleeping.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::choose::Pick;
use super::event::{Outcome, Traits};
use super::source::{Budget, Frame, Share, ThinkTime};
use super::*;
use crate::assertion::Assertion;
use crate::client::{Body, Call, CallError, Calls, Failure, Reply, Timing};
use crate::clock::TokioClock;
use crate::plan::{Callbacks, Parameters, Repeat, Step, Work};
use crate::schedule::{ArrivalProcess, Pause, Profile, Schedule};
use crate::template::Context;
use crate::units::Percentage;
use crate::wire::{Family, Form, Head, Map};

/// Answers the n-th request as its script says.
#[derive(Clone)]
struct Script {
    started: Arc<AtomicU64>,
    reply: Arc<dyn Fn(u64) -> Scripted + Send + Sync>,
}

enum Scripted {
    After(u64),
    TimeoutAfter(u64),
    Never,
    /// Something arrives all the time, so there is always something to do.
    Endless,
    Refused,
}

impl Script {
    fn new(reply: impl Fn(u64) -> Scripted + Send + Sync + 'static) -> Script {
        Script { started: Arc::default(), reply: Arc::new(reply) }
    }
}

impl Call for Script {
    async fn call(&self, _: Request) -> Result<Reply, Failure> {
        let n = self.started.fetch_add(1, Ordering::Relaxed);
        let written = Some(Instant::now());
        let timing = |written| Timing {
            written,
            first: None,
            done: Instant::now(),
            attempts: 1,
            connection: None,
        };
        match (self.reply)(n) {
            Scripted::After(wait) => {
                tokio::time::sleep(ms(wait)).await;
                let timing = timing(written);
                Ok(Reply { head: Head::default(), body: Body::Empty, timing })
            }
            Scripted::TimeoutAfter(wait) => {
                tokio::time::sleep(ms(wait)).await;
                Err(Failure::new(CallError::Timeout(ms(wait)), timing(written)))
            }
            Scripted::Never => std::future::pending().await,
            Scripted::Endless => loop {
                tokio::time::advance(ms(1)).await;
                for _ in 0..1000 {
                    tokio::task::consume_budget().await;
                }
            },
            Scripted::Refused => {
                let target = "refused".parse().unwrap();
                let error = CallError::Connect { target, reason: "refused".into() };
                Err(Failure::new(error, timing(None)))
            }
        }
    }
}

/// What happened, in ms from the start.
#[derive(Debug, Default)]
struct Log {
    start: Option<Instant>,
    arrived: Vec<u128>,
    dropped: Vec<u128>,
    released: Vec<u128>,
    finished: Vec<(u128, Outcome)>,
    /// Step, time from being due to being done, whether the iteration ends with it.
    steps: Vec<(usize, u128, bool)>,
    response_ms: Vec<u128>,
    measured: u64,
    abandoned: u64,
    abandoned_at: u128,
    /// When iterations could not continue, and the kind of their error.
    broken: Vec<(u128, &'static str)>,
}

impl Log {
    fn at(&self, instant: Instant) -> u128 {
        (instant - self.start.unwrap()).as_millis()
    }
}

impl Listener for Log {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Arrived(arrival) => self.arrived.push(self.at(arrival.due)),
            Event::Dropped { arrival, .. } => self.dropped.push(self.at(arrival.due)),
            Event::Released { arrival, at, .. } => {
                self.measured += u64::from(arrival.measured);
                self.released.push(self.at(at));
            }
            Event::Finished(finished) => {
                self.finished.push((self.at(finished.timing.done), finished.outcome));
                let response = finished.response_time().as_millis();
                self.steps.push((finished.step, response, finished.ends));
                self.response_ms.push(finished.response_time().as_millis());
            }
            Event::Abandoned { measured, warmup, at, .. } => {
                self.abandoned = measured + warmup;
                self.abandoned_at = self.at(at);
            }
            Event::Broken { at, error, .. } => self.broken.push((self.at(at), error.kind())),
            Event::Stopped(_) | Event::Tick(_) => (),
        }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A load to simulate; omitted settings do not limit it.
struct Simulation {
    rate: f64,
    duration: u64,
    warmup: u64,
    max_in_flight: usize,
    clients: Option<usize>,
    requests: u64,
    grace: u64,
    ends_when_lost: bool,
    feed: Feed,
    chain: Option<Chain>,
    stop: Stop,
}

impl Default for Simulation {
    fn default() -> Simulation {
        Simulation {
            rate: 10.0,
            duration: 1000,
            warmup: 0,
            max_in_flight: 1000,
            clients: None,
            requests: u64::MAX,
            grace: 10_000,
            ends_when_lost: false,
            feed: Feed::empty(u64::MAX),
            chain: None,
            stop: Stop::default(),
        }
    }
}

async fn simulate(simulation: Simulation, script: Script) -> (Log, Ended) {
    let start = Instant::now();
    let frame =
        Frame { start, warmup: ms(simulation.warmup), duration: Some(ms(simulation.duration)) };
    let due = Schedule::constant(simulation.rate, ArrivalProcess::Uniform).due_times(0, None);
    let source = match simulation.clients {
        None => Source::open(frame, due.clone(), due.limited(simulation.requests), Share::WHOLE),
        Some(clients) => {
            let budget = Budget::new(simulation.requests);
            let clients = Profile::constant(clients as f64, None);
            Source::closed(frame, &clients, ThinkTime::none(), budget, Share::WHOLE)
        }
    };
    let load = Job {
        lanes: Calls::new(script),
        source,
        warmup: Feed::empty(u64::MAX),
        feed: simulation.feed,
        chain: simulation.chain,
        slots: Slots::new(simulation.max_in_flight),
        answers: None,
        grace: Some(ms(simulation.grace)),
        ends_when_lost: simulation.ends_when_lost,
        stop: simulation.stop,
    };
    let mut log = Log { start: Some(start), ..Log::default() };
    let ended = drive(load, &mut TokioClock, &mut log).await;
    (log, ended)
}

#[tokio::test(start_paused = true)]
async fn an_open_load_keeps_its_schedule_however_slow_the_replies() {
    let (log, ended) =
        simulate(Simulation::default(), Script::new(|_| Scripted::After(2500))).await;
    assert_eq!(log.released, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    assert_eq!(log.response_ms, [2500; 10]);
    assert!(matches!(ended, Ended::Complete(_)));
}

#[tokio::test(start_paused = true)]
async fn arrivals_without_a_free_slot_are_dropped_not_delayed() {
    let load = Simulation { max_in_flight: 1, ..Simulation::default() };
    let (log, _) = simulate(load, Script::new(|_| Scripted::After(250))).await;
    assert_eq!(log.released, [0, 300, 600, 900]);
    assert_eq!(log.dropped, [100, 200, 400, 500, 700, 800]);
    assert_eq!(log.arrived.len(), log.released.len() + log.dropped.len());
}

#[tokio::test(start_paused = true)]
async fn a_closed_load_sends_when_a_client_is_free() {
    let load = Simulation { clients: Some(2), ..Simulation::default() };
    let (log, _) = simulate(load, Script::new(|_| Scripted::After(300))).await;
    assert_eq!(log.released, [0, 0, 300, 300, 600, 600, 900, 900]);
    assert_eq!(log.response_ms, [300; 8]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_load_ends_when_its_requests_are_used_up() {
    let load = Simulation { clients: Some(3), requests: 4, ..Simulation::default() };
    let (log, ended) = simulate(load, Script::new(|_| Scripted::After(10))).await;
    assert_eq!(log.released, [0, 0, 0, 10]);
    assert!(matches!(ended, Ended::Complete(_)));
}

#[tokio::test(start_paused = true)]
async fn the_warmup_is_sent_before_and_told_apart() {
    let load = Simulation { warmup: 500, ..Simulation::default() };
    let (log, _) = simulate(load, Script::new(|_| Scripted::After(1))).await;
    assert_eq!(log.released.len(), 15);
    assert_eq!(log.measured, 10);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_documents_ends_the_load() {
    let load = Simulation { feed: Feed::empty(3), ..Simulation::default() };
    let (log, ended) = simulate(load, Script::new(|_| Scripted::After(1))).await;
    assert_eq!(log.released, [0, 100, 200]);
    assert!(matches!(ended, Ended::Documents));
}

/// An iteration of three requests that are always the same.
fn three_steps() -> Option<Chain> {
    steps_that_pause([Pause::NONE; 3])
}

/// The same with a pause after each step but the last.
fn steps_that_pause(pauses: [Pause; 3]) -> Option<Chain> {
    chain(&pauses.map(step))
}

/// Two steps, of which one is repeated until an answer takes more than 15 ms.
fn steps_that_poll(polls: usize, at_most: u64) -> Option<Chain> {
    let until = "response.latency_ms > 15";
    let until = Assertion::compile(None, until, Percentage::ALL, &Context::default()).unwrap();
    let mut steps = [step(Pause::NONE), step(Pause::NONE)];
    steps[polls].repeat = Some(Repeat { until, every: ms(100), at_most: ms(at_most) });
    chain(&steps)
}

fn chain(steps: &[Step]) -> Option<Chain> {
    Some(
        Chain::new(
            steps,
            (Form::Protobuf(Family::V1), &Default::default()),
            Pick::new(&[], 0, "s"),
            0,
            "s",
        )
        .unwrap(),
    )
}

fn step(think_time: Pause) -> Step {
    Step {
        traced: None,
        name: String::new(),
        work: Work::Mutate { mutation: String::new(), variables: Parameters::constant(Map::new()) },
        headers: None,
        repeat: None,
        think_time,
        captures: Vec::new(),
        assertions: Vec::new(),
        callbacks: Callbacks::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_is_repeated_until_its_response_is_as_it_has_to_be() {
    for (polls, due, steps) in [
        (1, [0, 10, 120, 230], [(0, 10), (1, 10), (1, 10), (1, 20)]),
        (0, [0, 110, 220, 240], [(0, 10), (0, 10), (0, 20), (1, 10)]),
    ] {
        let load = Simulation {
            chain: steps_that_poll(polls, 300),
            clients: Some(1),
            requests: 1,
            ..Simulation::default()
        };
        let third = steps.iter().position(|step| step.1 == 20).unwrap() as u64;
        let script = Script::new(move |n| Scripted::After(if n == third { 20 } else { 10 }));
        let (log, ended) = simulate(load, script).await;
        assert_eq!(log.released, due, "step {polls}");
        let last = steps.len() - 1;
        let steps = steps.iter().enumerate().map(|(n, &(step, took))| (step, took, n == last));
        assert_eq!(log.steps, steps.collect::<Vec<_>>());
        assert_eq!((log.broken.len(), log.abandoned), (0, 0));
        assert!(matches!(ended, Ended::Complete(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_repeated_for_too_long_fails_its_iteration_once_and_frees_its_slot() {
    for polls in [0, 1] {
        let load = Simulation {
            chain: steps_that_poll(polls, 300),
            max_in_flight: 2,
            duration: 200,
            ..Simulation::default()
        };
        let slots_are_free = Script::new(|_| Scripted::After(10));
        let (log, _) = simulate(load, slots_are_free).await;
        let first = polls as u128 * 10;
        // Due 0, 110 and 220 ms after the first; the next would be due after 330.
        let broken = [first + 230, first + 330].map(|at| (at, "repeat"));
        assert_eq!(log.broken, broken);
        assert_eq!(log.steps.iter().filter(|(step, ..)| *step == polls).count(), 6);
        assert!(log.steps.iter().all(|(_, took, ends)| (*took, *ends) == (10, false)));
        assert_eq!((log.dropped.len(), log.abandoned), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_fails_ends_its_iteration() {
    let load = Simulation {
        chain: steps_that_poll(0, 300),
        clients: Some(1),
        requests: 1,
        ..Simulation::default()
    };
    let script = Script::new(|n| match n {
        0 => Scripted::After(10),
        _ => Scripted::TimeoutAfter(40),
    });
    let (log, _) = simulate(load, script).await;
    assert_eq!(log.steps, [(0, 10, false), (0, 40, true)]);
    assert_eq!((log.broken.len(), log.abandoned), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pause_delays_the_next_step_and_is_part_of_no_latency() {
    let pauses = [50, 200, 0].map(|pause| Pause::Constant(ms(pause)));
    let load =
        Simulation { chain: steps_that_pause(pauses), duration: 200, ..Simulation::default() };
    let script = Script::new(|_| Scripted::After(10));
    let (log, ended) = simulate(load, script).await;
    assert_eq!(log.arrived, [0, 100]);
    // The second iteration begins while the first pauses, beyond the end of the load.
    assert_eq!(log.released, [0, 60, 100, 160, 270, 370]);
    let mut steps = log.steps;
    steps.sort();
    let all = [(0, 10, false), (1, 10, false), (2, 10, true)];
    assert_eq!(steps, all.map(|step| [step; 2]).concat());
    assert!(matches!(ended, Ended::Complete(_)));
}

#[tokio::test(start_paused = true)]
async fn an_iteration_that_pauses_keeps_its_slot_and_is_abandoned_after_the_grace_period() {
    let pauses = [0, 60_000, 0].map(|pause| Pause::Constant(ms(pause)));
    let load = Simulation {
        chain: steps_that_pause(pauses),
        max_in_flight: 4,
        grace: 2000,
        ..Simulation::default()
    };
    let (log, _) = simulate(load, Script::new(|_| Scripted::After(10))).await;
    assert_eq!(log.dropped.len(), 6);
    assert_eq!((log.finished.len(), log.abandoned, log.abandoned_at), (8, 4, 1000 + 2000));
}

#[tokio::test(start_paused = true)]
async fn steps_follow_one_another_and_each_is_timed_by_itself() {
    let load = Simulation { chain: three_steps(), duration: 200, ..Simulation::default() };
    let script = Script::new(|n| Scripted::After([10, 20, 30][n as usize % 3]));
    let (log, _) = simulate(load, script).await;
    assert_eq!(log.arrived, [0, 100]);
    assert_eq!(log.released, [0, 10, 30, 100, 110, 130]);
    let once = [(0, 10, false), (1, 20, false), (2, 30, true)];
    assert_eq!(log.steps, [once, once].concat());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_ends_its_iteration_and_frees_its_slot() {
    let load = Simulation {
        chain: three_steps(),
        duration: 200,
        max_in_flight: 1,
        ..Simulation::default()
    };
    let script = Script::new(|n| match n {
        1 => Scripted::TimeoutAfter(40),
        _ => Scripted::After(10),
    });
    let (log, _) = simulate(load, script).await;
    let expected = [(0, 10, false), (1, 40, true), (0, 10, false), (1, 10, false), (2, 10, true)];
    assert_eq!(log.steps, expected);
    assert_eq!(log.dropped, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_after_the_grace_period_is_abandoned() {
    let load = Simulation { grace: 2000, ..Simulation::default() };
    let (log, _) =
        simulate(load, Script::new(|n| if n < 4 { Scripted::After(1) } else { Scripted::Never }))
            .await;
    assert_eq!(log.finished.len(), 4);
    assert_eq!(log.abandoned, 6);
    assert_eq!(log.abandoned_at, 1000 + 2000);
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_under_their_outcome() {
    let script =
        Script::new(|n| if n % 2 == 0 { Scripted::After(5) } else { Scripted::TimeoutAfter(50) });
    let (log, _) = simulate(Simulation { duration: 200, ..Simulation::default() }, script).await;
    assert_eq!(log.finished, [(5, Outcome::Ok), (150, Outcome::Timeout)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_lets_replies_in_the_second_does_not_wait() {
    let stop = Stop::default();
    let (drain, abort) = (stop.drain.clone(), stop.abort.clone());
    tokio::spawn(async move {
        tokio::time::sleep(ms(250)).await;
        drain.cancel();
        tokio::time::sleep(ms(700)).await;
        abort.cancel();
    });
    let load = Simulation { stop, ..Simulation::default() };
    let script = Script::new(|n| Scripted::After(if n == 0 { 300 } else { 5000 }));
    let (log, ended) = simulate(load, script).await;
    assert_eq!(log.released, [0, 100, 200]);
    assert_eq!(log.finished, [(300, Outcome::Ok)]);
    assert_eq!((log.abandoned, log.abandoned_at), (2, 950));
    assert!(matches!(ended, Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn documents_that_are_made_too_slowly_delay_requests_and_are_blamed() {
    let (sender, queue) = mpsc::channel(1);
    tokio::spawn(async move {
        for index in 0.. {
            tokio::time::sleep(ms(250)).await;
            let request = Request::Mutate { body: Bytes::new() };
            if sender
                .send(Ok(Some(
                    Batch { request, documents: 1, index, traits: Traits::default() }.into(),
                )))
                .await
                .is_err()
            {
                break;
            }
        }
    });
    let load = Simulation { feed: Feed::Queue(queue), requests: 3, ..Simulation::default() };
    let (log, _) = simulate(load, Script::new(|_| Scripted::After(1))).await;
    assert_eq!(log.released, [250, 500, 750]);
    assert_eq!(log.response_ms, [251, 401, 551]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_can_not_be_kept_ends_and_counts_the_rest_as_dropped() {
    let (sender, queue) = mpsc::channel(1);
    let load = Simulation { feed: Feed::Queue(queue), grace: 500, ..Simulation::default() };
    let (log, ended) = simulate(load, Script::new(|_| Scripted::After(1))).await;
    drop(sender);
    assert_eq!((log.arrived.len(), log.dropped.len()), (10, 10));
    assert!(matches!(ended, Ended::Complete(_)));
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_breaks_ends_the_load_and_says_why() {
    let (sender, queue) = mpsc::channel(1);
    drop(sender);
    let load = Simulation { feed: Feed::Queue(queue), ..Simulation::default() };
    let (_, ended) = simulate(load, Script::new(|_| Scripted::After(1))).await;
    assert!(matches!(ended, Ended::Feed(FeedError::Gone)));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_flow_shows_in_every_request_that_was_due_meanwhile() {
    // 1 s of stall in every 10 s at 1000/s: a tenth of the requests waits between 0 and 1 s, so
    // the p95 is 500 ms, the p99 900 ms, the p99.9 990 ms.
    let start = Instant::now();
    let script = Script::new(move |_| {
        let into = (Instant::now() - start).as_millis() as u64 % 10_000;
        Scripted::After(1000u64.saturating_sub(into))
    });
    let load = Simulation {
        rate: 1000.0,
        duration: 20_000,
        max_in_flight: 10_000,
        ..Simulation::default()
    };
    let (mut log, _) = simulate(load, script).await;
    log.response_ms.sort();
    let quantile = |q: f64| log.response_ms[(q * 20_000.0) as usize - 1];
    assert_eq!(
        (quantile(0.9), quantile(0.95), quantile(0.99), quantile(0.999), quantile(1.0)),
        (0, 500, 900, 990, 1000)
    );
}

#[tokio::test(start_paused = true)]
async fn workers_together_keep_the_bound_of_requests_in_flight() {
    let slots = Slots::new(3);
    assert_eq!([slots.take(), slots.clone().take(), slots.take()], [Some(1), Some(2), Some(3)]);
    assert_eq!(slots.take(), None);
    slots.give_back(2);
    assert_eq!(slots.take(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn grace_ends_the_wait_for_answers_that_come_in_without_end() {
    let load = Simulation { clients: Some(3), grace: 500, ..Simulation::default() };
    let (log, ended) = simulate(load, Script::new(|_| Scripted::Endless)).await;
    assert_eq!((log.abandoned, log.finished.len()), (3, 0));
    assert!((1500..1600).contains(&log.abandoned_at), "{}", log.abandoned_at);
    assert!(matches!(ended, Ended::Complete(_)));
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_heard_while_answers_come_in_without_end() {
    for (duration, drain_at, abort_at) in [(1000, 300, 600), (100, 300, 600)] {
        let stop = Stop::default();
        let (drain, abort) = (stop.drain.clone(), stop.abort.clone());
        tokio::spawn(async move {
            tokio::time::sleep(ms(drain_at)).await;
            drain.cancel();
            tokio::time::sleep(ms(abort_at - drain_at)).await;
            abort.cancel();
        });
        let load = Simulation { clients: Some(3), duration, stop, ..Simulation::default() };
        let (log, _) = simulate(load, Script::new(|_| Scripted::Endless)).await;
        assert_eq!(log.abandoned, 3);
        assert!((600..700).contains(&log.abandoned_at), "{}", log.abandoned_at);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_load_backs_off_from_a_flow_that_is_gone_and_stops_when_it_is_back() {
    let load = Simulation { clients: Some(2), duration: 6000, ..Simulation::default() };
    let back = |n| if n < 20 { Scripted::Refused } else { Scripted::After(400) };
    let (log, _) = simulate(load, Script::new(back)).await;
    let both = |ms: u128| [ms, ms];
    let tries = [0, 10, 30, 70, 150, 310, 630, 1270, 2270, 3270].map(both).concat();
    assert_eq!(log.released[..20], tries);
    assert_eq!(log.released[20..26], [4270, 4270, 4670, 4670, 5070, 5070]);
}

#[tokio::test(start_paused = true)]
async fn an_open_load_does_not_back_off() {
    let (log, _) = simulate(Simulation::default(), Script::new(|_| Scripted::Refused)).await;
    assert_eq!(log.released, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
}

#[tokio::test(start_paused = true)]
async fn a_post_takes_no_further_input_once_the_connection_is_lost() {
    let load = Simulation { clients: Some(2), ends_when_lost: true, ..Simulation::default() };
    let reply = |n| if n == 3 { Scripted::Refused } else { Scripted::After(100) };
    let (log, ended) = simulate(load, Script::new(reply)).await;
    assert!(matches!(ended, Ended::Lost), "{ended:?}");
    assert_eq!(log.released, [0, 0, 100, 100]);
    assert_eq!(log.finished.len(), 4, "what is under way is waited for");
    // A Flow that answers with a failure was reached.
    let load = Simulation { clients: Some(2), ends_when_lost: true, ..Simulation::default() };
    let (log, ended) = simulate(load, Script::new(|_| Scripted::TimeoutAfter(500))).await;
    assert!(matches!(ended, Ended::Complete(_)), "{ended:?}");
    assert_eq!(log.released.len(), 4);
}
