//! The events that the engine reports. It does not know who listens.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::NextError;
use crate::client::{CallError, Reply, Timing};

/// Receives events in the order in which they happen. A listener belongs to one worker, so it needs
/// no lock.
pub trait Listener {
    /// Records an event. On the path of every request: it must not wait or be slow.
    fn on(&mut self, event: Event<'_>);
}

/// One event.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request was due. Reported exactly once for each, when the engine gets to it.
    Arrived(Arrival),
    /// A request will never be sent.
    Dropped {
        /// When it was due, and for which client.
        arrival: Arrival,
        /// When that became known.
        at: Instant,
        /// Whether we ourselves were too late for it; otherwise no slot was free.
        late: bool,
    },
    /// A request was handed to the client: the first of an arrival, or that of a later step.
    Released {
        /// The arrival that began its iteration.
        arrival: Arrival,
        /// Its step, from 0.
        step: usize,
        /// Whether it begins the iteration. A step may send several requests.
        begins: bool,
        /// When it was handed over.
        at: Instant,
        /// Number of Documents it carries.
        documents: u64,
        /// Size of its body in bytes.
        bytes: u64,
        /// Iterations in flight including this one, over all workers.
        in_flight: usize,
    },
    /// A request was answered, or failed.
    Finished(&'a Finished),
    /// An iteration could not continue after a step: its response lacks what the next step needs,
    /// or the awaited response did not come in time.
    Broken {
        /// The iteration, and how it began.
        iteration: Iteration,
        /// When that became known.
        at: Instant,
        /// Why it could not continue.
        error: &'a NextError,
    },
    /// Iterations were still in flight when the grace period was over.
    Abandoned {
        /// How many of them were measured.
        measured: u64,
        /// How many of them belonged to the warmup.
        warmup: u64,
        /// Those of either kind whose first request was never sent.
        unsent: &'a [Iteration],
        /// When the grace period was over.
        at: Instant,
    },
    /// The load ends early: nothing more is sent, and what is in flight may still end.
    Stopped(Instant),
    /// Nothing happened, but time has passed.
    Tick(Instant),
}

/// The moment at which a request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The due time. In the closed model, when its client is free.
    pub due: Instant,
    /// The number of its client at the worker; 0 in the open model.
    pub client: u32,
    /// Whether it counts; arrivals of the warmup do not.
    pub measured: bool,
}

/// What is known about a request before it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traits {
    /// Size of its body in bytes.
    pub bytes: u64,
    /// Length of its longest Document: characters of text, or else bytes of content.
    pub length: u64,
    /// The id of its trace, if it is traced.
    #[serde(skip)]
    pub trace: Option<u128>,
    /// Tags of its first Document, and parameters that are single values, with their names.
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
    /// When that request was written; `None` before it ended, or if it never was.
    pub written: Option<Instant>,
    /// How long past the due time it waited for its Documents to be made.
    pub starved: Duration,
    /// How long our own thread was busy between handing it out and writing it.
    pub blocked: Duration,
    /// How long it has paused so far, between steps and before repetitions.
    pub paused: Duration,
}

/// The outcome of a request.
#[derive(Debug)]
pub struct Finished {
    /// The iteration that it belongs to.
    pub iteration: Iteration,
    /// Its step, from 0.
    pub step: usize,
    /// Whether the iteration began with it.
    pub begins: bool,
    /// Whether the iteration ends with it: it was the last step, or failed.
    pub ends: bool,
    /// When it was due: with the iteration, or at the end of the pause after the previous request.
    pub due: Instant,
    /// Number of Documents it carried.
    pub documents: u64,
    /// What was known about it before it was sent.
    pub traits: Traits,
    /// Its timestamps on the wire.
    pub timing: Timing,
    /// How it ended.
    pub outcome: Outcome,
    /// The response, if there was one, even if it reports a failure.
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
    /// There was no usable answer: no connection, connection lost, wrong protocol, too large.
    TransportError,
    /// There was no answer within the timeout.
    Timeout,
}

impl Outcome {
    /// All outcomes, in the order of their discriminants.
    pub const ALL: [Outcome; 4] =
        [Outcome::Ok, Outcome::ResponseError, Outcome::TransportError, Outcome::Timeout];

    /// The outcome that an error counts as.
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
    /// From being due to being written, or to being handed out if it was never written.
    pub fn lag(&self) -> Duration {
        self.written.unwrap_or(self.released) - self.arrival.due
    }

    /// The part of the lag that we caused: the pacer woke late, or the thread was busy.
    pub(crate) fn pacer_lag(&self) -> Duration {
        (self.released - self.arrival.due).saturating_sub(self.starved) + self.blocked
    }

    /// The part of the lag in which the Flow held us back: no free stream, flow control. A request
    /// that was never written was held back until its end.
    pub(crate) fn held_back(&self, end: Instant) -> Duration {
        let waited = self.written.unwrap_or(end).saturating_duration_since(self.released);
        waited.saturating_sub(self.blocked)
    }
}

impl Finished {
    /// From being due to the last reply: what a user would experience.
    pub(crate) fn response_time(&self) -> Duration {
        self.timing.done - self.due
    }

    /// From being written to the last reply: the time that the Flow had. `None` if it was never
    /// written.
    pub fn service_time(&self) -> Option<Duration> {
        self.timing.written.map(|written| self.timing.done - written)
    }
}
