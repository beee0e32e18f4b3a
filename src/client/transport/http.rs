//! Http.

use crate::client::{Failure, Reply, Request};

/// Connections that speak Http.
#[derive(Clone, Debug)]
pub(super) struct Http {}

impl Http {
    pub(super) async fn call(&self, _request: Request) -> Result<Reply, Failure> {
        unimplemented!()
    }
}
