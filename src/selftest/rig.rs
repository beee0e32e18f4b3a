//! One worker's load on any way to call a Flow, without files and threads: for cases that cannot be expressed in a
//! suite, such as a send path that sleeps, and for simulated time.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Lanes, Request};
use crate::clock::Clock;
use crate::engine::event::Traits;
use crate::engine::feed::{Batch, Feed, Same};
use crate::engine::source::{Budget, Frame, Share, Source, ThinkTime};
use crate::engine::{Job, Slots, Stop, drive};
use crate::record::{Recorder, Recording};
use crate::schedule::{ArrivalProcess, DueTimes, Profile, Schedule};
use crate::units::Part;

/// A load of one worker.
#[derive(Clone, Debug)]
pub struct Rig {
    /// When requests are due.
    pub due: DueTimes,
    /// A number of clients, instead of the schedule.
    pub clients: Option<usize>,
    /// Maximum number of requests of clients.
    pub requests: u64,
    /// The warmup before the load, which is not measured.
    pub warmup: Duration,
    /// Length of the load.
    pub duration: Duration,
    /// Arrivals beyond it are dropped.
    pub max_in_flight: usize,
    /// How long requests in flight may take to finish.
    pub grace: Duration,
    /// Ends it early.
    pub stop: Stop,
}

/// Random arrivals are the same each time.
const SEED: u64 = 1;

/// Deltas handed over but not merged yet: a second's worth each.
const DELTAS_WAITING: usize = 16;

impl Rig {
    /// An open load at a constant rate per second, with the same random arrivals each time.
    pub fn open(rate: f64, process: ArrivalProcess, duration: Duration) -> Rig {
        Rig {
            due: Schedule::constant(rate, process).due_times(SEED, None),
            clients: None,
            requests: u64::MAX,
            warmup: Duration::ZERO,
            duration,
            max_in_flight: usize::MAX,
            grace: Duration::from_secs(3600),
            stop: Stop::default(),
        }
    }

    /// Runs the load and returns what was measured.
    pub async fn run(
        self,
        mut clock: impl Clock,
        lanes: impl Lanes,
        request: Request,
    ) -> Recording {
        let frame =
            Frame { start: Instant::now(), warmup: self.warmup, duration: Some(self.duration) };
        let source = match self.clients {
            None => Source::open(frame, self.due.clone(), self.due, Share::WHOLE),
            Some(clients) => {
                let clients = Profile::constant(clients as f64, None);
                let budget = Budget::new(self.requests);
                Source::closed(frame, &clients, ThinkTime::none(), budget, Share::WHOLE)
            }
        };
        let feed = || {
            let batch = Batch {
                request: request.clone(),
                documents: 1,
                index: 0,
                traits: Traits::default(),
            };
            Feed::Same(Box::new(Same {
                batch,
                last: None,
                budget: Budget::new(u64::MAX),
                part: Part::WHOLE,
            }))
        };
        let load = Job {
            lanes,
            source,
            warmup: feed(),
            feed: feed(),
            chain: None,
            slots: Slots::new(self.max_in_flight),
            answers: None,
            grace: Some(self.grace),
            ends_when_lost: false,
            stop: self.stop,
        };
        let (deltas, mut received) = mpsc::channel(DELTAS_WAITING);
        let mut recorder = Recorder::new(0, frame.measured_from(), frame.end(), false, deltas);
        let mut recording = Recording::of(1);
        {
            let driven = drive(load, &mut clock, &mut recorder);
            tokio::pin!(driven);
            loop {
                tokio::select! {
                    _ = &mut driven => break,
                    Some(delta) = received.recv() => recording.add(delta),
                }
            }
        }
        while let Ok(delta) = received.try_recv() {
            recording.add(delta);
        }
        recording.add(recorder.finish());
        recording
    }
}
