//! The protocols. Each file holds one; here is what they have in common.

mod connect;
mod grpc;
mod http;
mod http1;
mod pending;
mod tls;
mod websocket;

use std::sync::Arc;

use super::{Call, CallError, ClientConfig, ConfigError, Failure, Reply, Request};
use crate::wire::{Family, Form};

/// Looks at the TLS options of a configuration, files included, without connecting.
pub(super) fn check_tls(config: &ClientConfig) -> Result<(), ConfigError> {
    connect::Connector::new(config, tls::Alpn::Any).map(drop)
}

/// Open connections to one Flow, for as many requests as wanted. Cheap to clone; closing is
/// dropping the last clone.
#[derive(Clone, Debug)]
pub struct Session {
    transport: Transport,
    family: Family,
}

#[derive(Clone, Debug)]
enum Transport {
    Grpc(grpc::Grpc),
    Http(http::Http),
    WebSocket(websocket::WebSocket),
}

impl Session {
    pub(super) async fn open(_config: Arc<ClientConfig>) -> Result<Session, CallError> {
        unimplemented!()
    }

    /// The family the Flow speaks.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The form in which messages of `Request::Post` must be encoded.
    pub fn form(&self) -> Form {
        match self.transport {
            Transport::Grpc(_) | Transport::WebSocket(_) => Form::Protobuf(self.family),
            Transport::Http(_) => Form::Json(self.family),
        }
    }
}

impl Call for Session {
    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        match &self.transport {
            Transport::Grpc(grpc) => grpc.call(request).await,
            Transport::Http(http) => http.call(request).await,
            Transport::WebSocket(websocket) => websocket.call(request).await,
        }
    }
}
