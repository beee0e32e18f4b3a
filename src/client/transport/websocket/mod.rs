//! Jina over WebSocket: one protobuf message per frame, replies in any order, on connections that
//! stay open.

mod core;
mod frame;
pub(super) mod lanes;
mod link;
mod opening;

use std::fmt;
use std::sync::Arc;

use self::lanes::Lanes;
use self::opening::Opening;
use super::connect::Connector;
use super::handle::Handle;
use super::http1::header_lines;
use super::pending::UnmatchedCounts;
use crate::client::memory::Bounds;
use crate::client::{CallError, ClientConfig, Failure, Reply, Request, Unmatched};
use crate::wire::{Family, Form, Target};

/// A handle on connections to a WebSocket gateway.
pub(super) struct WebSocket {
    target: Target,
    handle: Handle<Lanes>,
    unmatched: Arc<UnmatchedCounts>,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.to_string();
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
        let target = connector.target().clone();
        let opening = Arc::new(Opening {
            connector,
            headers: header_lines(config, &[])?,
            form: Form::Protobuf(family),
            bounds: Bounds::of(config),
        });
        let unmatched = Arc::default();
        let lanes = Lanes::open(config, opening, Arc::clone(&unmatched)).await?;
        Ok(WebSocket { target, handle: Handle::new(lanes), unmatched })
    }

    /// Replies so far that matched no request.
    pub(super) fn unmatched(&self) -> Unmatched {
        self.unmatched.get()
    }

    /// Sends `request` and waits for its reply.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(super) async fn call(&self, request: Request) -> Result<Reply, Failure> {
        self.handle.call(request, &self.target).await
    }

    /// Takes the connections themselves. This handle can send nothing from then on.
    ///
    /// # Errors
    /// When they have been taken already.
    pub(super) async fn hand_over(&self) -> Result<Lanes, CallError> {
        self.handle.hand_over(&self.target).await
    }
}
