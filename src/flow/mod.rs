//! The embedded Flow: a gateway for three protocols, and Executors with configurable behaviour, in this
//! process.

use std::time::Duration;

use crate::wire::{Family, Protocol, Schemas, Target};

mod config;
mod error;
mod executor;
mod gateway;
mod log;
mod message;
mod pattern;
mod plain;
mod queue;
mod reduce;
mod theory;
mod timer;
mod topology;

pub use config::{
    Append, Behaviour, Condition, ConditionError, Down, ExceptionConfig, ExecutorConfig, Fail,
    FamilyName, Faults, FlowConfig, FlowProblem, Knee, Late, Matches, PathStep, ProtocolName,
    SchemaSpec, ServiceTime, Set, SlowStart, Stall, StreamOf, TlsFiles, Uses,
};
pub use error::{FlowError, TlsError};
pub use pattern::{PatternError, check_target_executor};
pub use theory::{Theory, TheoryError};

use self::gateway::Server;
pub(crate) use self::gateway::acceptor;

/// The schemas of its endpoints' Documents that a Flow with this configuration reports over this protocol.
/// Nothing is started.
pub(crate) fn schemas(config: &FlowConfig, protocol: Protocol) -> Schemas {
    match (Family::from(config.family), protocol) {
        (Family::V2, Protocol::Grpc | Protocol::Http) => {
            Schemas::of_discovery(&topology::Topology::new(config).told_schemas())
        }
        (Family::V1, _) | (_, Protocol::WebSocket) => Schemas::default(),
    }
}

/// How long requests in flight may still take when a Flow stops.
const GRACE: Duration = Duration::from_secs(30);

/// A running Flow. Dropping it ends it at once; [`Flow::stop`] lets requests in flight finish.
#[derive(Debug)]
pub struct Flow {
    targets: Vec<Target>,
    server: Server,
}

impl Flow {
    /// Starts a Flow and returns when all its ports answer.
    ///
    /// # Errors
    /// When the configuration has a problem, a port cannot be listened on, or a certificate cannot
    /// be used.
    pub async fn start(config: FlowConfig) -> Result<Flow, FlowError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(FlowError::Config(problems));
        }
        let server = Server::new(&config).map_err(FlowError::Log)?;
        let mut targets = Vec::with_capacity(config.protocols.len());
        for name in &config.protocols {
            let wanted = config.ports.get(name).copied().unwrap_or(0);
            let protocol = Protocol::from(*name);
            let address = (config.host, wanted).into();
            let port = server.listen(protocol, address, config.tls.as_ref()).await?;
            targets.push(Target {
                protocol,
                host: config.host.to_string(),
                port,
                tls: config.tls.is_some(),
                user_info: None,
            });
        }
        Ok(Flow { targets, server })
    }

    /// The address for this protocol, with the actual port; `None` if the Flow does not speak it.
    pub fn target(&self, protocol: Protocol) -> Option<&Target> {
        self.targets.iter().find(|target| target.protocol == protocol)
    }

    /// Takes no new requests, finishes those in flight, closes.
    pub async fn stop(self) {
        self.server.stop(GRACE).await;
    }
}
