//! The client core: everything Jina's own Python client does, over gRPC, HTTP and WebSocket.
//!
//! [`Client::post`] and [`Client::mutate`] are for people and programs; [`Client::open`] gives a
//! [`Session`], the leaner way that load runs take: connections stay open, bodies are encoded once,
//! replies are decoded no further than somebody looks. `post` stands on a session too, so there is
//! one implementation of each protocol.

mod call;
mod config;
mod error;
mod transport;

pub use call::{Body, Call, Failure, Reply, Request, Timing};
pub use config::{ClientConfig, Compression, FamilyChoice, Limits, Retry, TlsOptions};
pub use error::{CallError, ConfigError};
pub use transport::Session;

/// A client of one Flow. Cheap to clone; connects when first used.
#[derive(Clone, Debug)]
pub struct Client {
    config: std::sync::Arc<ClientConfig>,
}

impl Client {
    /// A client of the Flow at `config.target`; nothing is sent yet.
    pub fn new(config: ClientConfig) -> Client {
        Client { config: std::sync::Arc::new(config) }
    }

    /// Opens the connections of a session and, where the family is `auto`, asks the Flow for it.
    ///
    /// # Errors
    /// `Connect`, `Tls`, `Protocol` (with a guess at what the port speaks instead), `Timeout`.
    pub async fn open(&self) -> Result<Session, CallError> {
        Session::open(self.config.clone()).await
    }
}
