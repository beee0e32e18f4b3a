//! Runs as seen by a recorder, in simulated time: hours take seconds, and every figure is reproducible.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use flowbench::client::{Body, CallError, Reply, Timing};
use flowbench::engine::event::{Arrival, Event, Finished, Iteration, Listener, Outcome};
use flowbench::random::Key;
use flowbench::record::summary::{
    End, EndReason, Environment, ScenarioSummary, Summary, TargetSummary, Validity, Verdict,
};
use flowbench::record::validity::{self, Circumstances};
use flowbench::record::{Delta, Recorder, Recording, Window};
use flowbench::threshold;
use flowbench::wire::{Head, Header, Route};
use rand::Rng;
use rand_distr::{Distribution, LogNormal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The outcome of a request.
pub(crate) enum Fate {
    /// Succeeded after this many ms.
    Ok(f64),
    /// Failed after this many ms.
    Failed(CallError, f64),
    /// Never sent.
    Dropped,
    /// Never answered, and abandoned after the end of the load.
    Abandoned,
}

/// An open load.
pub(crate) struct Load {
    pub(crate) name: String,
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) seconds: u64,
    /// Workers that each send at this rate, with the same outcomes.
    pub(crate) workers: usize,
    /// The outcome of a request, by the second at which it is due.
    pub(crate) fate: fn(f64, &mut dyn Rng) -> Fate,
    pub(crate) thresholds: &'static [&'static str],
    pub(crate) end: EndReason,
    pub(crate) message: Option<&'static str>,
}

/// The hops of a response, and the share of the time that each takes; the rest is the network's.
const STOPS: [(&str, f64); 2] = [("encoder", 0.3), ("indexer", 0.6)];
const GATEWAY: f64 = 0.95;

/// A random time around a median, with a tail.
pub(crate) fn around(median_ms: f64, random: &mut dyn Rng) -> f64 {
    LogNormal::new(median_ms.ln(), 0.35).expect("a finite deviation").sample(random)
}

impl Load {
    /// A load in which everything succeeds.
    pub(crate) fn new(name: impl Into<String>, rate: f64, seconds: u64) -> Load {
        Load {
            name: name.into(),
            rate,
            seconds,
            workers: 1,
            fate: |_, random| Fate::Ok(around(8.0, random)),
            thresholds: &["p99 < 100ms", "error_rate < 1%"],
            end: EndReason::Time,
            message: None,
        }
    }

    /// The scenario, measured and judged.
    pub(crate) fn run(&self) -> ScenarioSummary {
        let window = Window { length: Duration::from_secs(self.seconds), timed: true };
        let recording = self.record(window.length);
        let circumstances = Circumstances { open: true, busiest: 0.2, ..Circumstances::default() };
        let known = ScenarioSummary {
            name: self.name.clone(),
            end: End { reason: self.end, message: self.message.map(Into::into) },
            validity: Validity::new(validity::reasons(&recording, circumstances)),
            target: TargetSummary {
                flow: "local".into(),
                protocol: "grpc".into(),
                address: Some("grpc://127.0.0.1:51000".into()),
                family: Some("v1".into()),
                jina: Some("3.12.0".into()),
                docarray: Some("0.21.1".into()),
                ..TargetSummary::default()
            },
            load: format!("{}/s for {}s", self.rate * self.workers as f64, self.seconds),
            ..ScenarioSummary::default()
        };
        let mut summary = recording.summary(known, &[], Duration::ZERO, window);
        let conditions = self.thresholds.iter().map(|that| that.parse().expect("a condition"));
        let conditions: Vec<_> = conditions.collect();
        threshold::judge(&mut summary, &conditions).expect("histograms just recorded");
        summary
    }

    fn record(&self, length: Duration) -> Recording {
        let start = Instant::now();
        let (deltas, mut told) = mpsc::channel(4);
        let mut recorder = Recorder::new(0, start, Some(start + length), false, deltas);
        let mut recording = Recording::default();
        let mut random = Key::new(7).part(&self.name).rng();
        let mut flying: BTreeMap<(Instant, u64), Finished> = BTreeMap::new();
        let mut abandoned = 0;
        let mut seconds = 0;
        for number in 0..(self.rate * self.seconds as f64).round() as u64 {
            let at = number as f64 / self.rate;
            let due = start + Duration::from_secs_f64(at);
            while start + Duration::from_secs(seconds + 1) <= due {
                seconds += 1;
                let second = start + Duration::from_secs(seconds);
                land(&mut flying, second, &mut recorder);
                recorder.on(Event::Tick(second));
                while let Ok(delta) = told.try_recv() {
                    self.add(&delta, &mut recording);
                }
            }
            land(&mut flying, due, &mut recorder);
            let arrival = Arrival { due, client: 0, measured: true };
            recorder.on(Event::Arrived(arrival));
            let fate = (self.fate)(at, &mut random);
            if let Fate::Dropped = fate {
                recorder.on(Event::Dropped { arrival, at: arrival.due, late: false });
                continue;
            }
            let sent = due + Duration::from_micros(20);
            recorder.on(Event::Released {
                arrival,
                step: 0,
                begins: true,
                at: sent,
                documents: 1,
                bytes: 100,
                in_flight: 1,
            });
            match fate {
                Fate::Ok(ms) => {
                    let finished = finished(arrival, sent, ms, None);
                    flying.insert((finished.timing.done, number), finished);
                }
                Fate::Failed(error, ms) => {
                    let finished = finished(arrival, sent, ms, Some(error));
                    flying.insert((finished.timing.done, number), finished);
                }
                Fate::Abandoned => abandoned += 1,
                Fate::Dropped => (),
            }
        }
        let end = start + length + Duration::from_secs(60);
        land(&mut flying, end, &mut recorder);
        if abandoned > 0 {
            let at = start + length + Duration::from_secs(1);
            recorder.on(Event::Abandoned { measured: abandoned, warmup: 0, unsent: &[], at });
        }
        while let Ok(delta) = told.try_recv() {
            self.add(&delta, &mut recording);
        }
        self.add(&recorder.finish(), &mut recording);
        recording
    }

    /// Adds the recordings of each worker.
    fn add(&self, delta: &Delta, recording: &mut Recording) {
        (0..self.workers).for_each(|_| recording.add(delta.clone()));
    }
}

/// Reports all requests that are done by then.
fn land(flying: &mut BTreeMap<(Instant, u64), Finished>, by: Instant, recorder: &mut Recorder) {
    while let Some(entry) = flying.first_entry().filter(|entry| entry.key().0 <= by) {
        recorder.on(Event::Finished(&entry.remove()));
    }
}

fn finished(arrival: Arrival, sent: Instant, ms: f64, error: Option<CallError>) -> Finished {
    let done = sent + Duration::from_secs_f64(ms / 1e3);
    let timing =
        Timing { written: Some(sent), first: Some(done), done, attempts: 1, connection: None };
    let reply = error.is_none().then(|| {
        let route = |executor: &str, from: f64, to: f64| {
            let at = |share: f64| Some(SystemTime::UNIX_EPOCH + (done - sent).mul_f64(share));
            Route {
                executor: executor.into(),
                start_time: at(from),
                end_time: at(to),
                status: None,
            }
        };
        let mut from = 0.02;
        let mut routes = vec![route("gateway", 0.0, GATEWAY)];
        for (name, share) in STOPS {
            routes.push(route(name, from, from + share));
            from += share;
        }
        let head = Head { header: Header::default(), routes: Some(routes), documents: Some(1) };
        Reply { head, body: Body::Empty, timing }
    });
    Finished {
        iteration: Iteration {
            arrival,
            released: sent,
            written: Some(sent),
            starved: Duration::ZERO,
            blocked: Duration::ZERO,
            paused: Duration::ZERO,
        },
        step: 0,
        begins: true,
        ends: true,
        due: arrival.due,
        documents: 1,
        traits: Default::default(),
        timing,
        outcome: error.as_ref().map_or(Outcome::Ok, Outcome::of),
        reply,
        error,
    }
}

/// A run of these scenarios in sequence.
pub(crate) fn suite(name: &str, scenarios: Vec<ScenarioSummary>) -> Summary {
    let verdict = threshold::overall(scenarios.iter().map(|scenario| scenario.verdict));
    let ended = |reason| scenarios.iter().any(|scenario| scenario.end.reason == reason);
    Summary {
        suite: name.into(),
        started_at: "2026-11-24T09:30:00Z".parse().expect("a time"),
        duration_s: scenarios.iter().map(|scenario| scenario.duration_s).sum(),
        verdict,
        passed: verdict == Verdict::Passed,
        interrupted: ended(EndReason::Interrupted),
        seed: 42,
        environment: Environment {
            flowbench: env!("CARGO_PKG_VERSION").into(),
            os: "linux".into(),
            kernel: Some("6.18.44".into()),
            arch: "x86_64".into(),
            cpu: Some("Simulated CPU".into()),
            cores: 2,
            cpu_quota: None,
            memory_bytes: Some(8 << 30),
        },
        scenarios,
        ..Summary::default()
    }
}
