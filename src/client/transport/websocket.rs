//! WebSocket.

use crate::client::{Failure, Reply, Request};

/// Connections that speak WebSocket.
#[derive(Clone, Debug)]
pub(super) struct WebSocket {}

impl WebSocket {
    pub(super) async fn call(&self, _request: Request) -> Result<Reply, Failure> {
        unimplemented!()
    }
}
