//! The connections of a session as a load owns them: with retries, whatever the protocol.

use std::collections::HashMap;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::turns::Timers;
use super::{Session, grpc, http, retry, websocket};
use crate::client::lanes::{Landed, Lanes};
use crate::client::{Request, Retry, Unmatched};

/// Open connections to one Flow, owned by one worker; returned by [`Session::lanes`].
pub struct SessionLanes {
    session: Session,
    kind: Kind,
    /// Set if requests are retried.
    retries: Option<Box<Retries>>,
    /// Failures that may mean another kind of port, until that is determined.
    explaining: FuturesUnordered<BoxFuture<'static, Landed>>,
}

pub(super) enum Kind {
    Grpc(Box<grpc::lanes::Lanes>),
    Http(http::Lanes),
    WebSocket(Box<websocket::lanes::Lanes>),
}

/// Requests that may have to be retried.
struct Retries {
    retry: Retry,
    tried: HashMap<u32, Tried>,
    /// When the next attempt of a request is due.
    waiting: Timers<(u32, u64)>,
    number: u64,
}

struct Tried {
    request: Request,
    attempt: u32,
    first_written: Option<Instant>,
    /// Set while it waits for its next attempt.
    waits: Option<u64>,
}

impl SessionLanes {
    pub(super) fn new(session: Session, kind: Kind, retry: Retry) -> SessionLanes {
        let retries = (retry.max_attempts > 1).then(|| {
            let (tried, waiting) = (HashMap::new(), Timers::new());
            Box::new(Retries { retry, tried, waiting, number: 0 })
        });
        SessionLanes { session, kind, retries, explaining: FuturesUnordered::new() }
    }

    /// Replies so far that matched no request. They were discarded.
    pub fn unmatched(&self) -> Unmatched {
        self.session.unmatched()
    }
}

impl SessionLanes {
    /// Requests so far that had to wait because the connection limit was reached: over HTTP only,
    /// where each takes a connection.
    pub fn waited_for_connections(&self) -> u64 {
        match &self.kind {
            Kind::Http(lanes) => lanes.waited(),
            Kind::Grpc(_) | Kind::WebSocket(_) => 0,
        }
    }
}

impl Kind {
    fn lanes(&mut self) -> &mut dyn Lanes {
        match self {
            Kind::Grpc(lanes) => &mut **lanes,
            Kind::Http(lanes) => lanes,
            Kind::WebSocket(lanes) => &mut **lanes,
        }
    }
}

impl Lanes for SessionLanes {
    fn offer(&mut self, row: u32, request: Request) {
        if let Some(retries) = &mut self.retries {
            let request = request.clone();
            let tried = Tried { request, attempt: 1, first_written: None, waits: None };
            retries.tried.insert(row, tried);
        }
        self.kind.lanes().offer(row, request);
    }

    fn poll(&mut self, cx: &mut Context<'_>, landed: &mut Vec<Landed>) {
        let before = landed.len();
        match &mut self.retries {
            None => self.kind.lanes().poll(cx, landed),
            Some(retries) => {
                while let Some((row, number)) = retries.waiting.poll(cx) {
                    if let Some(request) = retries.due(row, number) {
                        self.kind.lanes().offer(row, request);
                    }
                }
                let mut ended = Vec::new();
                self.kind.lanes().poll(cx, &mut ended);
                landed.extend(ended.into_iter().filter_map(|ended| retries.after(ended)));
                // Requests that must wait register their timer.
                retries.waiting.arm(cx);
            }
        }
        let session = &self.session;
        let unexplained = |landed: &mut Landed| {
            landed.outcome.as_ref().is_err_and(|failure| session.is_unexplained(&failure.error))
        };
        for mut ended in landed.extract_if(before.., unexplained) {
            let session = session.clone();
            let explaining = async move {
                if let Err(failure) = &mut ended.outcome {
                    failure.error = session.explained(failure.error.clone()).await;
                }
                ended
            };
            self.explaining.push(explaining.boxed());
        }
        while let Poll::Ready(Some(explained)) = self.explaining.poll_next_unpin(cx) {
            landed.push(explained);
        }
    }

    fn give_up(&mut self, row: u32) -> Option<Instant> {
        let tried = self.retries.as_mut().and_then(|retries| retries.tried.remove(&row));
        let now = self.kind.lanes().give_up(row);
        tried.and_then(|tried| tried.first_written).or(now)
    }
}

impl Retries {
    /// The request whose next attempt is due, unless it was abandoned.
    fn due(&mut self, row: u32, number: u64) -> Option<Request> {
        let tried = self.tried.get_mut(&row).filter(|tried| tried.waits == Some(number))?;
        tried.waits = None;
        Some(tried.request.clone())
    }

    /// The outcome of a request, unless it is to be retried.
    fn after(&mut self, mut ended: Landed) -> Option<Landed> {
        let tried = self.tried.get_mut(&ended.row)?;
        let failure = match &mut ended.outcome {
            Ok(reply) => {
                reply.timing.attempts = tried.attempt;
                self.tried.remove(&ended.row);
                return Some(ended);
            }
            Err(failure) => failure,
        };
        failure.timing.attempts = tried.attempt;
        if tried.attempt >= self.retry.max_attempts || !retry::may_heal(failure) {
            self.tried.remove(&ended.row);
            return Some(ended);
        }
        tried.first_written = tried.first_written.or(failure.timing.written);
        let wait = retry::wait(&self.retry, tried.attempt, &failure.error);
        tried.attempt += 1;
        self.number += 1;
        tried.waits = Some(self.number);
        self.waiting.add(Instant::now() + wait, (ended.row, self.number));
        None
    }
}

impl std::fmt::Debug for SessionLanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLanes").field("session", &self.session).finish_non_exhaustive()
    }
}
