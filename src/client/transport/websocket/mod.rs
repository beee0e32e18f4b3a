//! Jina over WebSocket: one protobuf message a frame, replies in any order, on connections that stay
//! open.

mod frame;
mod link;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use self::link::{Link, Opening, Outgoing};
use super::SHARED_HEADERS;
use super::connect::Connector;
use super::http1::header_lines;
use super::pending::{Pending, UnmatchedCounts};
use super::reopen::Reopen;
use crate::client::memory::Bounds;
use crate::client::{
    Body, CallError, ClientConfig, Failure, Mark, Reply, Request, Timing, Unmatched,
};
use crate::wire::{Encoded, Family, Form};

/// Handshakes at a time when connections are opened ahead; see the pool of HTTP connections.
const OPENING_AT_ONCE: usize = 64;

/// Connections that one may become: as many requests in flight as a machine has room for.
const OVERFLOW_MAX: usize = 100;

/// Connections to a WebSocket gateway.
#[derive(Clone)]
pub(super) struct WebSocket(Arc<Inner>);

struct Inner {
    opening: Arc<Opening>,
    /// Requests go to the first of them in turn. The others are there for what comes beyond the
    /// thousand requests that a gateway reads of one connection at a time, where we are to have no
    /// bound ([`ClientConfig::prefetch`] 0).
    links: Box<[Reopen<Arc<Link>>]>,
    in_turn: usize,
    turn: AtomicUsize,
    timeout: Option<Duration>,
    unmatched: Arc<UnmatchedCounts>,
}

// Its headers are secrets, which must not be shown.
impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.0.opening.connector.target().to_string();
        f.debug_struct("WebSocket").field("target", &target).finish_non_exhaustive()
    }
}

impl WebSocket {
    /// Opens `config.connections` connections.
    ///
    /// # Errors
    /// `Connect`, `Tls`, a header that HTTP does not allow, and `Protocol` or `Gateway` when the
    /// handshake is refused.
    pub(super) async fn open(
        config: &ClientConfig,
        connector: Connector,
        family: Family,
    ) -> Result<WebSocket, CallError> {
        let opening = Opening {
            connector,
            headers: header_lines(config, &[])?,
            form: Form::Protobuf(family),
            bounds: Bounds::of(config),
        };
        let in_turn = config.connections.max(1);
        let places = if config.prefetch == 0 { in_turn * OVERFLOW_MAX } else { in_turn };
        let inner = Inner {
            opening: Arc::new(opening),
            links: (0..places).map(|_| Reopen::new()).collect(),
            in_turn,
            turn: AtomicUsize::new(0),
            timeout: config.timeout,
            unmatched: Arc::default(),
        };
        stream::iter(inner.links.iter().take(in_turn).map(Ok))
            .try_for_each_concurrent(OPENING_AT_ONCE, |place| async {
                inner.link(place).await.map(drop)
            })
            .await?;
        Ok(WebSocket(Arc::new(inner)))
    }

    /// Replies that matched no request, so far.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.0.unmatched.get()
    }

    /// Sends `request` and waits for its reply.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(super) async fn call(&self, request: Request, mark: &Mark) -> Result<Reply, Failure> {
        let message = match request {
            Request::Post { message, .. } => message,
            Request::WithHeaders(_) => {
                return Err(Failure::unsent(CallError::Unsupported(SHARED_HEADERS.into())));
            }
            Request::Http(_) => {
                return Err(Failure::unsent(CallError::Unsupported(
                    "a plain HTTP request goes over HTTP, not over WebSocket".into(),
                )));
            }
            Request::Mutate { .. } => {
                return Err(Failure::unsent(CallError::Unsupported(
                    "GraphQL is offered over HTTP only, not over WebSocket".into(),
                )));
            }
            Request::Stream { .. } => {
                return Err(Failure::unsent(CallError::Unsupported(
                    "streaming endpoints are offered over gRPC only, not over WebSocket".into(),
                )));
            }
        };
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) % self.0.in_turn;
        let (bytes, timing) = match self.0.attempt(turn, &message, mark).await {
            // The connection ended with our request still in its queue: nobody has seen it.
            Err(Failure { error: CallError::Lost { .. }, timing }) if timing.written.is_none() => {
                self.0.attempt(turn, &message, mark).await?
            }
            outcome => outcome?,
        };
        let form = self.0.opening.form;
        match form.decode_head(&bytes) {
            Ok(head) => Ok(Reply { head, body: Body::Message { form, bytes }, timing }),
            Err(error) => Err(Failure { error: CallError::Decode(error.into()), timing }),
        }
    }
}

impl Inner {
    /// The connection whose turn it is, or of those behind it the first that has room.
    fn place(&self, turn: usize) -> &Reopen<Arc<Link>> {
        let has_room = |link: &&Reopen<Arc<Link>>| {
            link.look(|link| link.pending.has_ended() || !link.pending.is_full()).unwrap_or(true)
        };
        let mut behind = self.links.iter().skip(turn).step_by(self.in_turn);
        behind.find(has_room).unwrap_or(&self.links[turn])
    }

    async fn attempt(
        &self,
        turn: usize,
        message: &Encoded,
        mark: &Mark,
    ) -> Result<(Bytes, Timing), Failure> {
        let mut place = self.place(turn);
        let mut link = self.link(place).await.map_err(Failure::unsent)?;
        // It may have filled while it was being opened.
        while link.pending.is_full() && !std::ptr::eq(place, self.place(turn)) {
            place = self.place(turn);
            link = self.link(place).await.map_err(Failure::unsent)?;
        }
        let waiter = link.pending.register(mark).map_err(Failure::unsent)?;
        let outgoing = Outgoing { id: waiter.id(), message: message.clone() };
        // A queue that is closed belongs to a link that has ended: the waiter knows how.
        if let Err(TrySendError::Full(outgoing)) = link.queue.try_send(outgoing) {
            let send = link.queue.send(outgoing);
            match self.timeout {
                Some(limit) => {
                    if timeout(limit, send).await.is_err() {
                        return Err(Failure::unsent(CallError::Timeout(limit)));
                    }
                }
                None => drop(send.await),
            }
        }
        waiter.reply(self.timeout).await
    }

    /// The link at a place, opened anew if it has ended.
    async fn link(&self, place: &Reopen<Arc<Link>>) -> Result<Arc<Link>, CallError> {
        let open = || {
            let (opening, pending) = (self.opening.clone(), Pending::new(self.unmatched.clone()));
            async move { opening.open(pending).await.map(Arc::new) }
        };
        place.get(|link| !link.pending.has_ended(), open).await
    }
}
