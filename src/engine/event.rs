//! What the engine tells. It does not know who listens.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::NextError;
use crate::client::{CallError, Reply, Timing};

/// Hears what happens, in the order in which it happens. One listener belongs to one worker, so it
/// needs no lock.
pub trait Listener {
    /// Takes note. On the path of every request: no waiting, nothing slow.
    fn on(&mut self, event: Event<'_>);
}

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request was due. Told for each exactly once, when the engine gets to it.
    Arrived(Arrival),
    /// It will never be sent.
    Dropped {
        /// Which.
        arrival: Arrival,
        /// When that was known.
        at: Instant,
        /// Whether we ourselves were too late for it; else it found no free slot.
        late: bool,
    },
    /// A request was handed to the client: that of an arrival, or of a later step.
    Released {
        /// Which.
        arrival: Arrival,
        /// Its step, from 0.
        step: usize,
        /// Whether the iteration begins with it. A step may send several requests.
        begins: bool,
        /// When.
        at: Instant,
        /// How many Documents it carries.
        documents: u64,
        /// Bytes of its body.
        bytes: u64,
        /// Iterations in flight with it, those of all workers.
        in_flight: usize,
    },
    /// It was answered, or failed.
    Finished(&'a Finished),
    /// An iteration could not go on after a step: its response has not what the next needs, or was to be
    /// another one in time.
    Broken {
        /// Which, and how it began.
        iteration: Iteration,
        /// When.
        at: Instant,
        /// Why.
        error: &'a NextError,
    },
    /// Iterations were still in flight when the grace period was over.
    Abandoned {
        /// How many of the measured.
        measured: u64,
        /// How many of the warmup.
        warmup: u64,
        /// Those of either whose first request never went out.
        unsent: &'a [Iteration],
        /// When.
        at: Instant,
    },
    /// The load ends here, before its time: nothing more is sent, and what is in flight may still end.
    Stopped(Instant),
    /// Nothing happened, but time went by.
    Tick(Instant),
}

/// The moment at which a request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When. In the closed model that is when its client is free.
    pub due: Instant,
    /// The client that sends it, by its number at the worker; 0 in the open model.
    pub client: u32,
    /// Whether it counts; those of the warmup do not.
    pub measured: bool,
}

/// What is known of a request before it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traits {
    /// Bytes of its body.
    pub bytes: u64,
    /// Length of its longest Document: characters of text, or else bytes of its content.
    pub length: u64,
    /// The id of its trace, if it is traced.
    #[serde(skip)]
    pub trace: Option<u128>,
    /// Tags of its first Document and parameters that are single values, with their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Arc<[(String, String)]>>,
}

/// How an iteration began. One without `steps` is a single request.
#[derive(Clone, Copy, Debug)]
pub struct Iteration {
    /// When it was due.
    pub arrival: Arrival,
    /// When its first request was handed to the client.
    pub released: Instant,
    /// When that was written; none before it ended, and when it never was.
    pub written: Option<Instant>,
    /// How long past the due time it had to wait for its Documents to be made.
    pub starved: Duration,
    /// How much of the time from being handed out to being written our own thread was busy.
    pub blocked: Duration,
    /// How long it has paused so far, between steps and before repetitions.
    pub paused: Duration,
}

/// What became of a request.
#[derive(Debug)]
pub struct Finished {
    /// What it is a part of.
    pub iteration: Iteration,
    /// Its step, from 0.
    pub step: usize,
    /// Whether the iteration began with it.
    pub begins: bool,
    /// Whether the iteration ends with it: it was the last step, or failed.
    pub ends: bool,
    /// When it was due: with the iteration, or when the pause after the request before it
    /// was over.
    pub due: Instant,
    /// How many Documents it carried.
    pub documents: u64,
    /// What was known of it before it was sent.
    pub traits: Traits,
    /// What happened when on the wire.
    pub timing: Timing,
    /// How it ended.
    pub outcome: Outcome,
    /// The response, if there was one, also when it tells of a failure.
    pub reply: Option<Reply>,
    /// The failure; `None` exactly when `outcome` is `Ok`.
    pub error: Option<CallError>,
}

/// How a request that was sent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The Flow answered with success.
    Ok,
    /// The Flow, or its gateway, answered with a failure.
    ResponseError,
    /// There was no usable answer: not connected, connection lost, not the protocol, too large.
    TransportError,
    /// There was no answer in time.
    Timeout,
}

impl Outcome {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Outcome; 4] =
        [Outcome::Ok, Outcome::ResponseError, Outcome::TransportError, Outcome::Timeout];

    /// Where an error belongs.
    pub fn of(error: &CallError) -> Outcome {
        match error {
            CallError::Executor { .. } | CallError::Gateway { .. } | CallError::GraphQl(_) => {
                Outcome::ResponseError
            }
            CallError::Timeout(_) => Outcome::Timeout,
            CallError::Connect { .. }
            | CallError::OwnLimit { .. }
            | CallError::Tls { .. }
            | CallError::Lost { .. }
            | CallError::NotTaken { .. }
            | CallError::Protocol { .. }
            | CallError::TooLarge { .. }
            | CallError::NoRoom { .. }
            | CallError::Decode(_)
            | CallError::Encode(_)
            | CallError::Config(_)
            | CallError::Unsupported(_) => Outcome::TransportError,
        }
    }
}

impl Iteration {
    /// From being due to being written, or handed out where it was never written.
    pub fn lag(&self) -> Duration {
        self.written.unwrap_or(self.released) - self.arrival.due
    }

    /// The part of the lag that is our own: the pacer woke late, or the thread was busy.
    pub(crate) fn pacer_lag(&self) -> Duration {
        (self.released - self.arrival.due).saturating_sub(self.starved) + self.blocked
    }

    /// The part of the lag in which the Flow held us back: no free stream, flow control. What was never
    /// written was held back until its end.
    pub(crate) fn held_back(&self, end: Instant) -> Duration {
        let waited = self.written.unwrap_or(end).saturating_duration_since(self.released);
        waited.saturating_sub(self.blocked)
    }
}

impl Finished {
    /// From being due to the last reply: what a user would feel.
    pub(crate) fn response_time(&self) -> Duration {
        self.timing.done - self.due
    }

    /// From being written to the last reply: what the Flow was given. `None`: never written.
    pub fn service_time(&self) -> Option<Duration> {
        self.timing.written.map(|written| self.timing.done - written)
    }
}
