//! A Flow that a command starts: watched while it runs, and stopped together with every process it started, however
//! flowbench ends.

mod output;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::NamedTempFile;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::client::{
    Call, CallError, Client, ClientConfig, FamilyChoice, GatewayCode, HttpRequest, Request,
};
use crate::engine::Stop;
use crate::plan::{FlowFile, Launch, Ready};
use crate::units::Secrets;
use crate::wire::{Protocol, Target};
use output::Output;

/// How long a command may take to end after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the processes of a group may take to disappear after they were killed: immediate, unless nobody reaps
/// them.
const GONE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a starting Flow is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// How long to wait for an answer at an address where nothing should answer yet.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait for the end of a command's output after it exits; a process it started may hold the output open.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// Timeout of one readiness check.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until flowbench is gone, for whatever reason, then removes the file `$2` and stops the group `$1`. It
/// notices by the end of its stdin, which we hold open and never write to.
const WATCHER: &str = r#"
trap '' HUP INT TERM
read -r _
[ -z "$2" ] || rm -f -- "$2"
kill -s TERM -- "-$1" || exit
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    kill -s 0 -- "-$1" || exit
done
kill -s KILL -- "-$1"
"#;

/// Why a command did not yield a Flow.
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
    #[error("could not write the file of the Flow, with the values set, into {folder}: {source}")]
    File {
        folder: String,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("`{0}` exited immediately")]
    EndedAsItBegan(String),
    /// How the command ended, and the end of its output.
    #[error("{0}")]
    Ended(String),
    #[error("the run ended before the Flow was ready")]
    Interrupted,
    /// With the last observation and the end of the output.
    #[error("the Flow of `{program}` was not ready within {within:?}: {why}{output}")]
    NotReady { program: String, within: Duration, why: Box<NotReady>, output: String },
}

/// Why a starting Flow was not ready when last checked.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NotReady {
    #[error("it was never checked")]
    NeverAsked,
    #[error("no line of its output contains `{0}`")]
    NoLine(String),
    #[error("no line of its output matches `{0}`")]
    NoMatch(String),
    #[error("nothing answers at {address} ({reason})")]
    Silent { address: String, reason: String },
    #[error("{address} does not answer within {LOOK_TIMEOUT:?}")]
    Slow { address: String },
    #[error("{url} answers with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} does not answer over HTTP")]
    NotHttp { url: String },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A Flow whose command is running.
pub(super) struct Started {
    clients: Vec<ClientConfig>,
    /// Why the command ended, if it ended unasked.
    ended: watch::Receiver<Option<String>>,
    /// Asks the command to end.
    asked: CancellationToken,
    /// `None` once it is stopped.
    running: Mutex<Option<Running>>,
}

/// The processes of a command, and the tasks that watch them.
struct Running {
    group: Group,
    /// Deleted on drop, if we made it.
    file: Option<Uses>,
    watching: JoinHandle<Vec<JoinHandle<()>>>,
    writing: Option<JoinHandle<()>>,
}

impl Started {
    /// Starts a command and waits until its Flow is ready. `log` receives its output.
    ///
    /// # Errors
    /// Something already answers there, the command cannot be started or ends, or its Flow is not ready in time.
    pub(super) async fn start(
        launch: &Launch,
        clients: &[ClientConfig],
        log: Option<&Path>,
        secrets: &Secrets,
        stop: &Stop,
    ) -> Result<Started, CommandError> {
        let Some((program, arguments)) = launch.command.split_first() else {
            return Err(CommandError::Empty);
        };
        if let Some(address) = stranger(clients).await {
            return Err(CommandError::AlreadyThere { address, program: program.clone() });
        }
        let file = launch.file.as_ref().map(flow_file).transpose()?;
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(file) = &file {
            command.arg("--uses").arg(file.path());
        }
        command.envs(launch.inherited.iter().map(|(name, value)| (name, value)));
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &launch.cwd {
            command.current_dir(folder);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Its child processes (Jina starts several) end with it, and passing on an interrupt is up to us.
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
        let (output, writing) = Output::new(&launch.ready, log, secrets);
        let watching = watch(child, group, program.clone(), output.clone(), tell, asked.clone());
        let made = match &file {
            Some(Uses::Made(made)) => Some(made.path()),
            Some(Uses::Own(_)) | None => None,
        };
        let running = Running {
            group: Group { group, watcher: watcher(group, made), killed: false },
            file,
            watching: tokio::spawn(watching),
            writing,
        };
        let running = Mutex::new(Some(running));
        let started = Started { clients: clients.to_vec(), ended, asked, running };
        let outcome = tokio::select! {
            biased;
            reason = started.end() => Err(CommandError::Ended(reason)),
            () = stop.drain.cancelled() => Err(CommandError::Interrupted),
            ready = ready(launch, clients, &output) => ready.map_err(|why| CommandError::NotReady {
                program: program.clone(),
                within: launch.ready_timeout,
                why: Box::new(why),
                output: output.told(),
            }),
        };
        // The log file is complete once nobody can write to it any more.
        drop(output);
        match outcome {
            Ok(()) => Ok(started),
            Err(reason) => {
                started.stop().await;
                Err(reason)
            }
        }
    }

    /// How to reach the Flow.
    pub(super) fn clients(&self) -> &[ClientConfig] {
        &self.clients
    }

    /// Its process group, until it is stopped.
    pub(super) fn group(&self) -> Option<i32> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.group.group.as_raw_nonzero().get())
    }

    /// Why the command ended, if it ended unasked.
    pub(super) fn why_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits until the command ends unasked.
    pub(super) async fn end(&self) -> String {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match end {
            Some(reason) => reason,
            // We asked it to end.
            None => std::future::pending().await,
        }
    }

    /// Stops the command and everything it started; does nothing if that was done before.
    pub(super) async fn stop(&self) {
        self.asked.cancel();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { mut group, file: _file, watching, writing }) = running else { return };
        // Fails if the task panicked, which is no reason to leave processes behind.
        let reading = watching.await.unwrap_or_default();
        group.kill().await;
        // A process that left the group may hold the output open.
        for mut reading in reading {
            if timeout(OUTPUT_TIMEOUT, &mut reading).await.is_err() {
                reading.abort();
            }
        }
        if let Some(writing) = writing {
            let _ = timeout(OUTPUT_TIMEOUT, writing).await;
        }
    }
}

/// An address where something already answers.
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

/// The file a Flow is started from.
enum Uses {
    Own(PathBuf),
    /// With `set` values applied.
    Made(NamedTempFile),
}

impl Uses {
    fn path(&self) -> &Path {
        match self {
            Uses::Own(path) => path,
            Uses::Made(file) => file.path(),
        }
    }
}

/// The file to start a Flow from. If values are set, a new file is made next to the original, because paths in it are
/// relative to that.
fn flow_file(file: &FlowFile) -> Result<Uses, CommandError> {
    let Some(text) = &file.text else { return Ok(Uses::Own(file.path.clone())) };
    let folder = file.path.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".flowbench-").suffix(".yml").tempfile_in(folder);
    let written = made.and_then(|mut made| {
        io::Write::write_all(&mut made, text.as_bytes())?;
        Ok(Uses::Made(made))
    });
    written.map_err(|error| CommandError::File {
        folder: folder.display().to_string(),
        source: Arc::new(error),
    })
}

/// Waits until the Flow is ready; after the deadline, says why it is not.
async fn ready(launch: &Launch, clients: &[ClientConfig], output: &Output) -> Result<(), NotReady> {
    let mut last = NotReady::NeverAsked;
    let asking = async {
        match &launch.ready {
            Ready::Log(text) => {
                last = NotReady::NoLine(text.clone());
                output.is_ready().await;
            }
            Ready::LogMatches(pattern) => {
                last = NotReady::NoMatch(pattern.to_string());
                output.is_ready().await;
            }
            asked => {
                while let Err(why) = look(asked, clients).await {
                    last = why;
                    sleep(READY_INTERVAL).await;
                }
            }
        }
    };
    let deadline = Instant::now() + launch.ready_timeout;
    let answered = timeout_at(deadline, asking).await;
    answered.map_err(|_| last)
}

/// Checks once whether a Flow is ready; says why it is not.
async fn look(ready: &Ready, clients: &[ClientConfig]) -> Result<(), NotReady> {
    match ready {
        Ready::Address(host, port) => {
            let address = format!("{host}:{port}");
            let connect = TcpStream::connect((host.as_str(), *port));
            match timeout(LOOK_TIMEOUT, connect).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(NotReady::Silent { address, reason: error.to_string() }),
                Err(_) => Err(NotReady::Slow { address }),
            }
        }
        Ready::Url { host, port, path } => {
            let address = format!("{host}:{port}");
            match timeout(LOOK_TIMEOUT, get(host, *port, path)).await {
                Ok(answer) => answer,
                Err(_) => Err(NotReady::Slow { address }),
            }
        }
        Ready::Answers | Ready::Log(_) | Ready::LogMatches(_) => {
            let Some(config) = clients.first() else { return Ok(()) };
            let session = Client::new(config.clone()).open().await?;
            match config.family {
                FamilyChoice::NoFlow => session.greet().await?,
                _ => session.dry_run().await?,
            }
            Ok(())
        }
    }
}

/// Whether a GET returns a status below 400.
async fn get(host: &str, port: u16, path: &str) -> Result<(), NotReady> {
    let (address, url) = (format!("{host}:{port}"), format!("http://{host}:{port}{path}"));
    let target =
        Target { protocol: Protocol::Http, host: host.into(), port, tls: false, user_info: None };
    let config = ClientConfig { family: FamilyChoice::NoFlow, ..ClientConfig::new(target) };
    let asking = async {
        // A redirect is an answer too, whatever it points to.
        let below_400: Vec<u16> = (200..400).collect();
        let request = HttpRequest::new("GET", path).map(|request| request.success(&below_400));
        let request = request.map_err(|error| CallError::Unsupported(error.to_string()))?;
        let session = Client::new(config).open().await?;
        session.call(Request::Http(Arc::new(request))).await.map_err(|failure| failure.error)
    };
    match asking.await {
        Ok(_) => Ok(()),
        Err(CallError::Gateway { code: GatewayCode::Http(status), .. }) => {
            Err(NotReady::Status { url, status })
        }
        Err(CallError::Connect { reason, .. } | CallError::Lost { reason, .. }) => {
            Err(NotReady::Silent { address, reason })
        }
        Err(CallError::Protocol { .. }) => Err(NotReady::NotHttp { url }),
        Err(error) => Err(error.into()),
    }
}

/// Waits for a command to end and says why, or asks it to end. Returns the tasks that still read its output.
async fn watch(
    mut child: Child,
    group: Pid,
    program: String,
    output: Output,
    ended: watch::Sender<Option<String>>,
    asked: CancellationToken,
) -> Vec<JoinHandle<()>> {
    let reading = [
        child.stdout.take().map(|out| tokio::spawn(output.clone().keep(out))),
        child.stderr.take().map(|err| tokio::spawn(output.clone().keep(err))),
    ];
    let mut reading: Vec<JoinHandle<()>> = reading.into_iter().flatten().collect();
    let how = tokio::select! {
        // If it ended before it was asked to, the request was not the cause.
        biased;
        status = child.wait() => Some(match status {
            Ok(status) => format!("ended by itself ({status})"),
            Err(error) => format!("could not be watched: {error}"),
        }),
        () = asked.cancelled() => {
            // Signals fail if the group is already gone, which is the goal.
            let _ = kill_process_group(group, Signal::TERM);
            let _ = timeout(STOP_TIMEOUT, child.wait()).await;
            None
        }
    };
    if let Some(how) = how {
        for reading in &mut reading {
            let _ = timeout(OUTPUT_TIMEOUT, reading).await;
        }
        reading.retain(|reading| !reading.is_finished());
        ended.send_replace(Some(format!("`{program}` {how}{}", output.told())));
    }
    reading
}

/// Starts the process that stops a group after we are gone. Without a shell there is none; then the group is left
/// behind if flowbench is killed.
fn watcher(group: Pid, made: Option<&Path>) -> Option<Child> {
    Command::new("sh")
        .args(["-c", WATCHER, "flowbench-watcher", &group.as_raw_nonzero().to_string()])
        .arg(made.unwrap_or(Path::new("")))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Signals to our group are not meant for it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()
}

/// A process group that ends with us, and the watcher that ends it if we cannot.
struct Group {
    group: Pid,
    watcher: Option<Child>,
    killed: bool,
}

impl Group {
    /// Kills the rest of the group and waits until it is gone, so that its ports are free.
    async fn kill(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let gone = async {
            while test_kill_process_group(self.group).is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(GONE_TIMEOUT, gone).await;
        // From now on, the number may belong to another group.
        self.killed = true;
        if let Some(mut watcher) = self.watcher.take() {
            let _ = watcher.kill().await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // There was no time for an orderly stop: a second interrupt or a panic.
        if !self.killed {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}
