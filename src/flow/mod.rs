//! The embedded Flow: a gateway over three protocols and Executors with a behaviour, in this process.

use crate::wire::{Protocol, Target};

mod config;

pub use config::FlowConfig;

/// A Flow that is up. Dropping it ends it at once; [`Flow::stop`] lets requests in flight finish.
#[derive(Debug)]
pub struct Flow {
    targets: Vec<Target>,
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
}

impl Flow {
    /// Starts a Flow and returns when all its ports answer.
    pub async fn start(_config: FlowConfig) -> Result<Flow, FlowError> {
        unimplemented!()
    }

    /// Where it listens for this protocol, with the port it got.
    pub fn target(&self, protocol: Protocol) -> Option<&Target> {
        self.targets.iter().find(|target| target.protocol == protocol)
    }

    /// Takes no new requests, finishes those in flight, closes.
    pub async fn stop(self) {
        unimplemented!()
    }
}
