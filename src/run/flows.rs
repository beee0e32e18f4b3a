//! The Flows of a plan: started before the first scenario, stopped after the last.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::command::{CommandError, Started};
use super::machine::memory;
use crate::client::{ClientConfig, ResponseMemory};
use crate::engine::Stop;
use crate::flow::{Flow, FlowError};
use crate::plan::{Origin, Plan};
use crate::wire::Protocol;

/// The Flows that scenarios go to, by their index in the plan.
pub(super) struct Flows {
    all: Vec<Result<Running, FlowsError>>,
    /// Of the responses of all that have no bound of their own.
    memory: ResponseMemory,
}

/// Why a scenario has no Flow to go to.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FlowsError {
    #[error(transparent)]
    Embedded(Arc<FlowError>),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the Flow does not offer {0}")]
    NotOffered(&'static str),
}

enum Running {
    /// No scenario goes there.
    Unused,
    /// With the certificate it shows, if it encrypts.
    Embedded(Flow, Option<PathBuf>),
    Remote(Vec<ClientConfig>),
    Command(Started),
}

impl Flows {
    /// Starts what has to be started, all at once. A Flow that does not start fails the scenarios
    /// that go to it, and no others.
    pub(super) async fn start(plan: &Plan, stop: &Stop) -> Flows {
        let used: BTreeSet<usize> = plan.scenarios.iter().map(|scenario| scenario.flow).collect();
        let starts = plan.flows.iter().enumerate().map(|(index, flow)| {
            let used = used.contains(&index);
            async move {
                if !used {
                    return Ok(Running::Unused);
                }
                match &flow.origin {
                    Origin::Embedded(config) => Flow::start(config.clone())
                        .await
                        .map(|flow| {
                            let cert = config.tls.as_ref().map(|tls| tls.cert.clone());
                            Running::Embedded(flow, cert)
                        })
                        .map_err(|error| FlowsError::Embedded(Arc::new(error))),
                    Origin::Remote(clients) => Ok(Running::Remote(clients.clone())),
                    Origin::Command { command, ready_timeout, clients } => {
                        Started::start(command, *ready_timeout, clients, stop)
                            .await
                            .map(Running::Command)
                            .map_err(FlowsError::Command)
                    }
                }
            }
        });
        Flows { all: join_all(starts).await, memory: response_memory() }
    }

    /// How a client reaches a Flow over a protocol.
    ///
    /// # Errors
    /// When the Flow did not start or does not speak it.
    pub(super) fn client(
        &self,
        flow: usize,
        protocol: Protocol,
    ) -> Result<ClientConfig, FlowsError> {
        let running = self.all[flow].as_ref().map_err(Clone::clone)?;
        let found = match running {
            Running::Unused => None,
            Running::Embedded(flow, cert) => flow.target(protocol).map(|target| {
                let mut config = ClientConfig::new(target.clone());
                // It is our own Flow: what it shows is to be trusted.
                config.tls.ca.clone_from(cert);
                config.http_target = flow.target(Protocol::Http).cloned();
                config
            }),
            Running::Remote(clients) => of(clients, protocol),
            Running::Command(started) => match started.why_ended() {
                Some(reason) => return Err(CommandError::Ended(reason).into()),
                None => of(started.clients(), protocol),
            },
        };
        let mut config = found.ok_or(FlowsError::NotOffered(protocol.name()))?;
        config.response_memory.get_or_insert_with(|| self.memory.clone());
        Ok(config)
    }

    /// Why the command that started a Flow has ended without having been asked to, if it has.
    pub(super) fn why_ended(&self, flow: usize) -> Option<String> {
        match &self.all[flow] {
            Ok(Running::Command(started)) => started.why_ended(),
            _ => None,
        }
    }

    /// Waits for that.
    pub(super) async fn end(&self, flow: usize) -> String {
        match &self.all[flow] {
            Ok(Running::Command(started)) => started.end().await,
            _ => std::future::pending().await,
        }
    }

    /// Stops what was started. Gives of each Flow why its command had ended before, if it had.
    pub(super) async fn stop(self) -> Vec<Option<String>> {
        join_all(self.all.into_iter().map(|running| async {
            match running {
                Ok(Running::Embedded(flow, _)) => flow.stop().await,
                Ok(Running::Command(started)) => return started.stop().await,
                Ok(Running::Unused | Running::Remote(_)) | Err(_) => (),
            }
            None
        }))
        .await
    }
}

fn of(clients: &[ClientConfig], protocol: Protocol) -> Option<ClientConfig> {
    clients.iter().find(|client| client.target.protocol == protocol).cloned()
}

/// What responses may take together unless somebody says otherwise: 1 GiB, or a quarter of the memory
/// where that is less, for the rest of the machine is not ours.
pub fn response_memory() -> ResponseMemory {
    const BYTES_MAX: usize = 1 << 30;
    let quarter = memory().and_then(|bytes| usize::try_from(bytes / 4).ok());
    ResponseMemory::new(quarter.unwrap_or(BYTES_MAX).min(BYTES_MAX))
}
