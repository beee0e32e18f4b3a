//! The Flows of a plan: each is started when the first scenario that uses it is due, and stopped after the last one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::OnceCell;

use super::command::{CommandError, Started};
use super::machine::memory;
use crate::client::{ClientConfig, ResponseMemory};
use crate::engine::Stop;
use crate::flow::{Flow, FlowError};
use crate::plan::{self, Origin, Plan};
use crate::server::Watcher;
use crate::units::Secrets;
use crate::wire::Protocol;

/// The Flows that scenarios target, by their index in the plan.
pub(super) struct Flows {
    all: Vec<Slot>,
    /// Shared by the responses of all clients without a bound of their own.
    memory: ResponseMemory,
    /// Masked in all command output.
    secrets: Secrets,
    stop: Stop,
}

/// A Flow and its state.
struct Slot {
    flow: plan::Flow,
    /// Scenarios that use it and are not over yet.
    users: AtomicUsize,
    /// The log file for the output of its command.
    log: Option<PathBuf>,
    /// Empty until first used.
    running: OnceCell<Result<Running, FlowsError>>,
}

/// Why a scenario has no Flow to target.
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
    /// `None` once stopped; with the certificate it presents, if it uses TLS.
    Embedded(Mutex<Option<Flow>>, Option<PathBuf>),
    Remote(Vec<ClientConfig>),
    Command(Box<Started>),
}

impl Flows {
    /// Starts the embedded Flows for the scenarios that will run. A Flow that does not start fails only the scenarios
    /// that target it. Command output goes to files in `logs`.
    pub(super) async fn begin(
        plan: &Plan,
        scenarios: impl Iterator<Item = usize>,
        logs: Option<&Path>,
        stop: &Stop,
    ) -> Flows {
        let mut users = vec![0; plan.flows.len()];
        scenarios.for_each(|scenario| users[plan.scenarios[scenario].flow] += 1);
        let all = plan.flows.iter().zip(users).zip(log_names(plan)).map(|((flow, users), name)| {
            let log = logs.map(|folder| folder.join(name));
            let (flow, users) = (flow.clone(), AtomicUsize::new(users));
            Slot { flow, users, log, running: OnceCell::new() }
        });
        let flows = Flows {
            all: all.collect(),
            memory: response_memory(),
            secrets: plan.secrets.clone(),
            stop: stop.clone(),
        };
        let used = |slot: &&Slot| {
            let is_embedded = matches!(slot.flow.origin, Origin::Embedded(_));
            is_embedded && slot.flow.matrix.is_empty() && slot.users.load(Ordering::Relaxed) > 0
        };
        join_all(flows.all.iter().filter(used).map(|slot| flows.running(slot))).await;
        flows
    }

    /// The running Flow: the first caller starts it, others wait.
    async fn running<'a>(&self, slot: &'a Slot) -> Result<&'a Running, FlowsError> {
        let start = || async {
            match &slot.flow.origin {
                Origin::Embedded(config) => match Flow::start(config.clone()).await {
                    Ok(flow) => {
                        let cert = config.tls.as_ref().map(|tls| tls.cert.clone());
                        Ok(Running::Embedded(Mutex::new(Some(flow)), cert))
                    }
                    Err(error) => Err(FlowsError::Embedded(Arc::new(error))),
                },
                Origin::Remote(clients) => Ok(Running::Remote(clients.clone())),
                Origin::Command { launch, clients } => {
                    let log = slot.log.as_deref();
                    let started =
                        Started::start(launch, clients, log, &self.secrets, &self.stop).await;
                    started
                        .map(|started| Running::Command(Box::new(started)))
                        .map_err(FlowsError::Command)
                }
            }
        };
        slot.running.get_or_init(start).await.as_ref().map_err(Clone::clone)
    }

    /// How a client reaches a Flow over a protocol; starts the Flow if necessary.
    ///
    /// # Errors
    /// If the Flow did not start or does not speak the protocol.
    pub(super) async fn client(
        &self,
        flow: usize,
        protocol: Protocol,
    ) -> Result<ClientConfig, FlowsError> {
        let found = match self.running(&self.all[flow]).await? {
            Running::Embedded(flow, cert) => lock(flow).as_ref().and_then(|flow| {
                flow.target(protocol).map(|target| {
                    let mut config = ClientConfig::new(target.clone());
                    // It is our own Flow, so its certificate is trusted.
                    config.tls.ca.clone_from(cert);
                    config.http_target = flow.target(Protocol::Http).cloned();
                    config
                })
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

    /// The watcher of a Flow's metrics under load.
    pub(super) fn watch(&self, flow: usize) -> Option<Watcher> {
        Watcher::start(&self.all[flow].flow.watch, self.group(flow))
    }

    /// The process group of a Flow that was started by a command.
    fn group(&self, flow: usize) -> Option<i32> {
        match self.all[flow].running.get() {
            Some(Ok(Running::Command(started))) => started.group(),
            _ => None,
        }
    }

    /// Why the command that started a Flow ended unasked, if it did.
    pub(super) fn why_ended(&self, flow: usize) -> Option<String> {
        match self.all[flow].running.get() {
            Some(Ok(Running::Command(started))) => started.why_ended(),
            _ => None,
        }
    }

    /// Waits until that happens.
    pub(super) async fn end(&self, flow: usize) -> String {
        match self.all[flow].running.get() {
            Some(Ok(Running::Command(started))) => started.end().await,
            _ => std::future::pending().await,
        }
    }

    /// Marks a scenario as over. A Flow that a command started, or one of a matrix, is stopped after the last
    /// scenario that uses it.
    pub(super) async fn release(&self, flow: usize) {
        let slot = &self.all[flow];
        let last = slot.users.fetch_sub(1, Ordering::AcqRel) == 1;
        let stays = match &slot.flow.origin {
            Origin::Embedded(_) => slot.flow.matrix.is_empty(),
            Origin::Remote(_) => true,
            Origin::Command { launch, .. } => launch.keep,
        };
        if last && !stays {
            slot.stop().await;
        }
    }

    /// Stops everything that was started. Returns for each Flow why its command had already ended, if it had.
    pub(super) async fn stop(&self) -> Vec<Option<String>> {
        join_all(self.all.iter().map(Slot::stop)).await;
        (0..self.all.len()).map(|flow| self.why_ended(flow)).collect()
    }
}

impl Slot {
    /// Stops the Flow, if it was started.
    async fn stop(&self) {
        match self.running.get() {
            Some(Ok(Running::Embedded(flow, _))) => {
                let flow = lock(flow).take();
                if let Some(flow) = flow {
                    flow.stop().await;
                }
            }
            Some(Ok(Running::Command(started))) => started.stop().await,
            Some(Ok(Running::Remote(_)) | Err(_)) | None => (),
        }
    }
}

/// The names of the log files for the output of commands, one per Flow: `flow-search.log`.
pub(crate) fn log_names(plan: &Plan) -> Vec<String> {
    const LENGTH_MAX: usize = 80;
    let mut taken = HashSet::new();
    let names = plan.flows.iter().enumerate().map(|(index, flow)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_=".contains(c);
        let name = plan.secrets.mask(&flow.name);
        let words = name.split(|c| !plain(c)).filter(|word| !word.is_empty());
        let name: String = words.collect::<Vec<_>>().join("-").chars().take(LENGTH_MAX).collect();
        match taken.insert(name.to_ascii_lowercase()) {
            true => format!("flow-{name}.log"),
            false => format!("flow-{name}.{index}.log"),
        }
    });
    names.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of(clients: &[ClientConfig], protocol: Protocol) -> Option<ClientConfig> {
    clients.iter().find(|client| client.target.protocol == protocol).cloned()
}

/// Default memory limit for all responses together: 1 GiB, or a quarter of the memory if that is less, since other
/// programs need memory too.
pub fn response_memory() -> ResponseMemory {
    const BYTES_MAX: usize = 1 << 30;
    let quarter = memory().and_then(|bytes| usize::try_from(bytes / 4).ok());
    ResponseMemory::new(quarter.unwrap_or(BYTES_MAX).min(BYTES_MAX))
}
