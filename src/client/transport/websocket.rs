//! WebSocket.

use super::connect::Connector;
use crate::client::{CallError, ClientConfig, Failure, Reply, Request};
use crate::wire::Family;

/// Connections that speak WebSocket.
#[derive(Clone, Debug)]
pub(super) struct WebSocket {}

impl WebSocket {
    pub(super) async fn open(
        _config: &ClientConfig,
        _connector: Connector,
        _family: Family,
    ) -> Result<WebSocket, CallError> {
        unimplemented!()
    }

    pub(super) fn strays(&self) -> u64 {
        0
    }

    pub(super) async fn call(&self, _request: Request) -> Result<Reply, Failure> {
        unimplemented!()
    }
}
