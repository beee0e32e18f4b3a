//! A Flow that a command starts: watched while it runs, and stopped with every process it started,
//! whatever becomes of us.

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::{CallError, Client, ClientConfig, FamilyChoice};
use crate::engine::Stop;

/// How long a command may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the processes of a group may take to be gone after they were killed: they are at once,
/// unless nobody waits for them.
const GONE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a Flow that starts is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// How long an address may take to answer that should not.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long after the end of a command the end of its output is waited for, which a process that it
/// started may hold open.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// What is kept of the end of a command's output, in bytes.
const OUTPUT_MAX: usize = 2048;

/// Waits until we are gone, whatever ended us, then stops the group: `$1`. It hears of our end by the
/// end of its stdin, which we hold open and never write to.
const WATCHER: &str = r#"
trap '' HUP INT TERM
read -r _
kill -s TERM -- "-$1" || exit
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    kill -s 0 -- "-$1" || exit
done
kill -s KILL -- "-$1"
"#;

/// Why a command brought no Flow.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("the command is empty")]
    Empty,
    #[error(
        "something already answers at {address}, before `{program}` was started: end it, or leave \
         `command` out to use it"
    )]
    AlreadyThere { address: String, program: String },
    #[error("could not start `{program}`: {source}")]
    Spawn {
        program: String,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("`{0}` ended as it began")]
    EndedAsItBegan(String),
    /// How the command ended, and the end of its output.
    #[error("{0}")]
    Ended(String),
    #[error("the run ended while the Flow was starting")]
    Interrupted,
    #[error(
        "the Flow of `{program}` was not ready within {within:?}: {}{output}",
        source.as_ref().map_or_else(|| "it was never asked".into(), |last| last.to_string())
    )]
    NotReady {
        program: String,
        within: Duration,
        /// The last answer to whether it is.
        #[source]
        source: Option<Box<CallError>>,
        output: String,
    },
}

/// A Flow whose command runs.
pub(super) struct Started {
    clients: Vec<ClientConfig>,
    group: Group,
    /// Why the command ended, when it did without having been asked to.
    ended: watch::Receiver<Option<String>>,
    /// Asks the command to end.
    asked: CancellationToken,
    watching: JoinHandle<()>,
}

impl Started {
    /// Starts a command and waits until its Flow answers over the first of its protocols.
    ///
    /// # Errors
    /// Something answers there before, the command cannot be started, or ends, or its Flow is
    /// not ready in time.
    pub(super) async fn start(
        command: &[String],
        ready_timeout: Duration,
        clients: &[ClientConfig],
        stop: &Stop,
    ) -> Result<Started, CommandError> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(CommandError::Empty);
        };
        if let Some(address) = stranger(clients).await {
            return Err(CommandError::AlreadyThere { address, program: program.clone() });
        }
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Its own processes (Jina starts several) end with it, and an interrupt is ours to pass on.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let (program, source) = (program.clone(), Arc::new(error));
                CommandError::Spawn { program, source }
            })?;
        let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else {
            return Err(CommandError::EndedAsItBegan(program.clone()));
        };
        let (tell, ended) = watch::channel(None);
        let asked = CancellationToken::new();
        let output = Output::default();
        let watching = watch(child, group, program.clone(), output.clone(), tell, asked.clone());
        let started = Started {
            clients: clients.to_vec(),
            group: Group { group, watcher: watcher(group), killed: false },
            ended,
            asked,
            watching: tokio::spawn(watching),
        };
        let deadline = Instant::now() + ready_timeout;
        let outcome = tokio::select! {
            biased;
            reason = started.end() => Err(CommandError::Ended(reason)),
            () = stop.drain.cancelled() => Err(CommandError::Interrupted),
            ready = ready(clients, deadline) => ready.map_err(|source| CommandError::NotReady {
                program: program.clone(),
                within: ready_timeout,
                source,
                output: output.told(),
            }),
        };
        match outcome {
            Ok(()) => Ok(started),
            Err(reason) => {
                started.stop().await;
                Err(reason)
            }
        }
    }

    /// How it is reached.
    pub(super) fn clients(&self) -> &[ClientConfig] {
        &self.clients
    }

    /// Why the command ended, if it has without having been asked to.
    pub(super) fn why_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for the command to end without having been asked to.
    pub(super) async fn end(&self) -> String {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match end {
            Some(reason) => reason,
            // It was asked to.
            None => std::future::pending().await,
        }
    }

    /// Stops the command and all that it started; why it had ended before, if it had.
    pub(super) async fn stop(mut self) -> Option<String> {
        self.asked.cancel();
        // Fails when the task panicked, which is no reason to leave processes behind.
        let _ = (&mut self.watching).await;
        self.group.kill().await;
        self.why_ended()
    }
}

/// An address that something answers at.
async fn stranger(clients: &[ClientConfig]) -> Option<String> {
    for client in clients {
        let target = &client.target;
        let connect = TcpStream::connect((target.host.as_str(), target.port));
        if matches!(timeout(STRANGER_TIMEOUT, connect).await, Ok(Ok(_))) {
            return Some(target.to_string());
        }
    }
    None
}

/// Waits until the Flow answers; past the deadline gives the last reason why it did not.
async fn ready(clients: &[ClientConfig], deadline: Instant) -> Result<(), Option<Box<CallError>>> {
    let mut last = None;
    let asking = async {
        let Some(config) = clients.first() else { return };
        loop {
            let answer = match Client::new(config.clone()).open().await {
                Ok(session) if config.family == FamilyChoice::NoFlow => session.greet().await,
                Ok(session) => session.dry_run().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(()) => return,
                Err(error) => last = Some(Box::new(error)),
            }
            sleep(READY_INTERVAL).await;
        }
    };
    timeout_at(deadline, asking).await.map_err(|_| last)
}

/// Waits for a command to end, and tells why; or asks it to.
async fn watch(
    mut child: Child,
    group: Pid,
    program: String,
    output: Output,
    ended: watch::Sender<Option<String>>,
    asked: CancellationToken,
) {
    let reading = [
        child.stdout.take().map(|out| tokio::spawn(output.clone().keep(out))),
        child.stderr.take().map(|err| tokio::spawn(output.clone().keep(err))),
    ];
    tokio::select! {
        // What ended before it was asked to did not end because it was.
        biased;
        status = child.wait() => {
            let how = match status {
                Ok(status) => format!("ended by itself ({status})"),
                Err(error) => format!("could not be watched: {error}"),
            };
            for reading in reading.into_iter().flatten() {
                let _ = timeout(OUTPUT_TIMEOUT, reading).await;
            }
            ended.send_replace(Some(format!("`{program}` {how}{}", output.told())));
        }
        () = asked.cancelled() => {
            // Signals fail when the group is gone, which is what they are for.
            let _ = kill_process_group(group, Signal::TERM);
            let _ = timeout(STOP_TIMEOUT, child.wait()).await;
        }
    }
}

/// Starts the process that stops a group when we are gone. Without a shell there is none: then only
/// what ends us in the middle leaves the group behind.
fn watcher(group: Pid) -> Option<Child> {
    Command::new("sh")
        .args(["-c", WATCHER, "flowbench-watcher", &group.as_raw_nonzero().to_string()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What is sent to our group is not meant for it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()
}

/// A process group that ends with us, and who sees to that where we cannot.
struct Group {
    group: Pid,
    watcher: Option<Child>,
    killed: bool,
}

impl Group {
    /// Kills what is left of the group, and waits until it is gone, so that its ports are free.
    async fn kill(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let gone = async {
            while test_kill_process_group(self.group).is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(GONE_TIMEOUT, gone).await;
        // From now on the number may be another group's.
        self.killed = true;
        if let Some(mut watcher) = self.watcher.take() {
            let _ = watcher.kill().await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Where nobody had the time to stop it in order: a second interrupt, a panic.
        if !self.killed {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

/// The end of what a command prints.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Output {
    /// Reads to the end, so that the command never waits for us.
    async fn keep(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; OUTPUT_MAX];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..read]);
            // One more, which tells that there was more.
            let more = kept.len().saturating_sub(OUTPUT_MAX + 1);
            kept.drain(..more);
        }
    }

    /// Its last lines, as the end of a sentence.
    fn told(&self) -> String {
        const LINES: usize = 5;
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: Vec<u8> = kept.iter().copied().collect();
        let is_cut = kept.len() > OUTPUT_MAX;
        if is_cut {
            // Not within a character.
            let inside = |byte: &u8| *byte & 0xc0 == 0x80;
            let begin = kept.iter().skip(1).position(|byte| !inside(byte)).unwrap_or_default() + 1;
            kept.drain(..begin);
        }
        let text = String::from_utf8_lossy(&kept);
        let text = if is_cut { format!("…{text}") } else { text.into_owned() };
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match lines.split_at(lines.len().saturating_sub(LINES)).1 {
            [] => String::new(),
            last => format!("; the end of its output: {}", last.join("\n")),
        }
    }
}
