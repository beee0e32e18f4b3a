//! The embedded Flow: a gateway over three protocols and Executors with a behaviour, in this process.

use std::time::Duration;

use crate::wire::{Protocol, Target};

mod config;
mod executor;
mod gateway;
mod message;
mod queue;

pub use config::{
    ExecutorConfig, FamilyName, FlowConfig, ProtocolName, ServiceTime, Stall, TlsFiles, Uses,
};
pub use gateway::TlsError;

use self::gateway::{Gateway, Server};

/// How long requests in flight may take once a Flow stops.
const GRACE: Duration = Duration::from_secs(30);

/// A Flow that is up. Dropping it ends it at once; [`Flow::stop`] lets requests in flight finish.
#[derive(Debug)]
pub struct Flow {
    targets: Vec<Target>,
    server: Server,
}

/// Why a Flow did not start.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The port is taken, or not ours to take.
    #[error("could not listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// The operating system's words.
        #[source]
        source: std::io::Error,
    },
    /// The certificates are not what they should be.
    #[error("could not set up TLS")]
    Tls(#[from] TlsError),
}

impl Flow {
    /// Starts a Flow and returns when all its ports answer.
    ///
    /// # Errors
    /// When a port cannot be listened on, or a certificate cannot be used.
    pub async fn start(config: FlowConfig) -> Result<Flow, FlowError> {
        let server = Server::new(Gateway::new(&config));
        let mut targets = Vec::with_capacity(config.protocols.len());
        for name in &config.protocols {
            let wanted = config.ports.get(name).copied().unwrap_or(0);
            let protocol = Protocol::from(*name);
            let port = server.listen(protocol, wanted, config.tls.as_ref()).await?;
            targets.push(Target {
                protocol,
                host: "127.0.0.1".into(),
                port,
                tls: config.tls.is_some(),
                user_info: None,
            });
        }
        Ok(Flow { targets, server })
    }

    /// Where it listens for this protocol, with the port it got.
    pub fn target(&self, protocol: Protocol) -> Option<&Target> {
        self.targets.iter().find(|target| target.protocol == protocol)
    }

    /// Takes no new requests, finishes those in flight, closes.
    pub async fn stop(self) {
        self.server.stop(GRACE).await;
    }
}
