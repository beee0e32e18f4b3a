//! The Flows of a plan: started before the first scenario, stopped after the last.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::machine::memory;
use crate::client::{Client, ClientConfig, ResponseMemory};
use crate::engine::Stop;
use crate::flow::Flow;
use crate::plan::{Origin, Plan};
use crate::wire::Protocol;

/// The Flows that scenarios go to, by their index in the plan.
pub(super) struct Flows {
    all: Vec<Result<Running, String>>,
    /// Of the responses of all that have no bound of their own.
    memory: ResponseMemory,
}

enum Running {
    /// No scenario goes there.
    Unused,
    /// With the certificate it shows, if it encrypts.
    Embedded(Flow, Option<PathBuf>),
    Remote(Vec<ClientConfig>),
    Command(Child, Vec<ClientConfig>),
}

/// How long a command may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a Flow that starts is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);

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
                        .map_err(|error| crate::engine::make::chain(&error)),
                    Origin::Remote(clients) => Ok(Running::Remote(clients.clone())),
                    Origin::Command { command, ready_timeout, clients } => {
                        launch(command, *ready_timeout, clients, stop).await
                    }
                }
            }
        });
        Flows { all: join_all(starts).await, memory: response_memory() }
    }

    /// How a client reaches a Flow over a protocol.
    ///
    /// # Errors
    /// In words, when the Flow did not start or does not speak it.
    pub(super) fn client(&self, flow: usize, protocol: Protocol) -> Result<ClientConfig, String> {
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
            Running::Remote(clients) | Running::Command(_, clients) => {
                clients.iter().find(|client| client.target.protocol == protocol).cloned()
            }
        };
        let mut config = found.ok_or_else(|| {
            format!("the Flow does not offer {}", super::summarize::name(protocol))
        })?;
        config.response_memory.get_or_insert_with(|| self.memory.clone());
        Ok(config)
    }

    /// Stops what was started.
    pub(super) async fn stop(self) {
        join_all(self.all.into_iter().flatten().map(|running| async {
            match running {
                Running::Unused | Running::Remote(_) => (),
                Running::Embedded(flow, _) => flow.stop().await,
                Running::Command(child, _) => end(child).await,
            }
        }))
        .await;
    }
}

/// What responses may take together unless somebody says otherwise: 1 GiB, or a quarter of the memory
/// where that is less, for the rest of the machine is not ours.
pub fn response_memory() -> ResponseMemory {
    const BYTES_MAX: usize = 1 << 30;
    let quarter = memory().and_then(|bytes| usize::try_from(bytes / 4).ok());
    ResponseMemory::new(quarter.unwrap_or(BYTES_MAX).min(BYTES_MAX))
}

/// Starts a command and waits until its Flow answers over the first of its protocols.
async fn launch(
    command: &[String],
    ready_timeout: Duration,
    clients: &[ClientConfig],
    stop: &Stop,
) -> Result<Running, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("the command is empty".into());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // Our stdout may be a report for a program to read.
        .stdout(Stdio::null())
        .kill_on_drop(true)
        // Its own processes (Jina starts several) end with it, and an interrupt is ours to pass on.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("could not start `{program}`: {error}"))?;
    let deadline = Instant::now() + ready_timeout;
    let mut last = String::from("it was never asked");
    let ready = async {
        loop {
            let mut waiting = clients.iter();
            match waiting.next() {
                None => return,
                Some(config) => match Client::new(config.clone()).open().await {
                    Ok(session) => match session.dry_run().await {
                        Ok(()) => return,
                        Err(error) => last = error.to_string(),
                    },
                    Err(error) => last = error.to_string(),
                },
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    let outcome = tokio::select! {
        ready = tokio::time::timeout_at(deadline, ready) => ready.map_err(|_| None),
        status = child.wait() => Err(Some(match status {
            Ok(status) => format!("`{program}` ended before its Flow was ready: {status}"),
            Err(error) => format!("`{program}` could not be watched: {error}"),
        })),
        () = stop.drain.cancelled() => Err(Some("the run ended while the Flow was starting".into())),
    };
    match outcome {
        Ok(()) => Ok(Running::Command(child, clients.to_vec())),
        Err(reason) => {
            let timed_out = || {
                format!("the Flow of `{program}` was not ready within {ready_timeout:?}: {last}")
            };
            let reason = reason.unwrap_or_else(timed_out);
            end(child).await;
            Err(reason)
        }
    }
}

/// Asks a command and the processes it started to end, and makes them end when they do not.
async fn end(mut child: Child) {
    use rustix::process::{Pid, Signal, kill_process_group};

    // Without an id it has ended, and somebody has waited for it.
    let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    // Signals fail when the group is gone, which is what they are for.
    let _ = kill_process_group(group, Signal::TERM);
    let ended = tokio::time::timeout(STOP_TIMEOUT, child.wait()).await;
    let _ = kill_process_group(group, Signal::KILL);
    if ended.is_err() {
        let _ = child.wait().await;
    }
}
