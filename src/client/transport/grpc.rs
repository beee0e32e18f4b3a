//! Grpc.

use crate::client::{Failure, Reply, Request};

/// Connections that speak Grpc.
#[derive(Clone, Debug)]
pub(super) struct Grpc {}

impl Grpc {
    pub(super) async fn call(&self, _request: Request) -> Result<Reply, Failure> {
        unimplemented!()
    }
}
