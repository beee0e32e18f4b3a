//! Real Flows: started with `tests/interop/serve.py`, shared between tests, and ended with this process.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use flowbench::wire::{Family, Protocol, Target};
use rustix::process::{Pid, Signal, kill_process_group};

use super::python::{Release, files};
use super::tls;

/// The configuration of a Flow. Tests with the same one share the Flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Setup {
    pub(super) release: Release,
    pub(super) protocols: Vec<Protocol>,
    pub(super) tls: bool,
    /// Additional arguments of `flow_server.py`.
    pub(super) arguments: Vec<&'static str>,
}

/// A running Flow.
pub(super) struct RealFlow {
    child: Child,
    // When this closes, which happens however this process ends, the Flow's processes end.
    commands: Option<ChildStdin>,
    lines: Mutex<Receiver<String>>,
    /// The content of `READY`: `jina`, `docarray`, `family`, `ports` …
    pub(super) info: serde_json::Value,
    tls: bool,
}

impl Setup {
    /// A Flow of this release with these protocols, without TLS, with the default Executors: echo, appender,
    /// sleeper, failer, summer.
    pub(super) fn new(release: Release, protocols: &[Protocol]) -> Setup {
        Setup { release, protocols: protocols.to_vec(), tls: false, arguments: Vec::new() }
    }

    /// The same Flow behind TLS, with the certificate of `tls::files()`.
    pub(super) fn tls(mut self, tls: bool) -> Setup {
        self.tls = tls;
        self
    }

    /// The same Flow with additional arguments.
    pub(super) fn with(mut self, arguments: &[&'static str]) -> Setup {
        self.arguments.extend(arguments);
        self
    }

    /// A Flow shared by all tests: no test may affect another. `None` if this release is not available.
    pub(super) fn shared(self) -> Option<Arc<RealFlow>> {
        type Slot = Arc<OnceLock<Option<Arc<RealFlow>>>>;
        static FLOWS: LazyLock<Mutex<HashMap<Setup, Slot>>> = LazyLock::new(Mutex::default);
        let slot =
            FLOWS.lock().expect("nobody panics with it").entry(self.clone()).or_default().clone();
        slot.get_or_init(|| self.start().map(Arc::new)).clone()
    }

    /// A Flow for a single test, stopped when it is dropped.
    pub(super) fn start(&self) -> Option<RealFlow> {
        // A port that was free when it was chosen may be taken by the time it is used.
        const ATTEMPTS: usize = 3;
        self.release.python()?;
        let mut told = Vec::new();
        for _ in 0..ATTEMPTS {
            match self.try_start() {
                Ok(flow) => return Some(flow),
                Err(lines) => told = lines,
            }
        }
        panic!("{self:?} did not start in {ATTEMPTS} attempts, it said:\n{}", told.join("\n"));
    }

    /// One attempt; on failure returns the last lines of output.
    fn try_start(&self) -> Result<RealFlow, Vec<String>> {
        const LIMIT: Duration = Duration::from_secs(120);
        let names: Vec<_> = self.protocols.iter().map(|p| name(*p)).collect();
        let (output, writer) = std::io::pipe().expect("a pipe can be made");
        let mut command = Command::new(self.release.python().expect("asked for before"));
        command
            .arg(files().join("serve.py"))
            .args(["--protocol", &names.join(","), "--port", &vec!["0"; names.len()].join(",")])
            .args(&self.arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().expect("a pipe can be shared"))
            .stderr(writer)
            .process_group(0);
        if self.tls {
            let files = tls::files();
            command.arg("--tls-cert").arg(&files.server_cert);
            command.arg("--tls-key").arg(&files.server_key);
        }
        let mut child = command.spawn().expect("the environment's interpreter starts");
        drop(command); // and our ends of the pipe with it, so that reading ends with the Flow
        let commands = child.stdin.take();
        // Bounded: if no one reads lines any more, the thread drops them.
        let (sender, lines) = sync_channel(1000);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        let mut flow = RealFlow {
            child,
            commands,
            lines: Mutex::new(lines),
            info: serde_json::Value::Null,
            tls: self.tls,
        };
        let ready = flow.wait_for("READY ", LIMIT)?;
        flow.info = serde_json::from_str(&ready).map_err(|e| vec![format!("{e}: {ready}")])?;
        Ok(flow)
    }
}

impl RealFlow {
    /// The family of the Flow.
    pub(super) fn family(&self) -> Family {
        if self.info["family"] == "v2" { Family::V2 } else { Family::V1 }
    }

    /// The Flow's address for this protocol.
    pub(super) fn target(&self, protocol: Protocol) -> Target {
        let port = self.info["ports"][name(protocol)].as_u64().expect("it serves this protocol");
        Target {
            protocol,
            host: "127.0.0.1".into(),
            port: u16::try_from(port).expect("it is a port"),
            tls: self.tls,
            user_info: None,
        }
    }

    /// Kills the processes of one Executor, as a crash would, and returns when they are gone.
    pub(super) fn kill_executor(&mut self, executor: &str) {
        let commands = self.commands.as_mut().expect("taken when it is dropped only");
        writeln!(commands, "kill {executor}").expect("the Flow is up");
        commands.flush().expect("the Flow is up");
        if let Err(lines) = self.wait_for("KILLED ", Duration::from_secs(20)) {
            panic!("could not kill {executor}: {}", lines.join("\n"));
        }
    }

    /// The rest of the first line that begins with `prefix`, or the last lines of output.
    fn wait_for(&self, prefix: &str, limit: Duration) -> Result<String, Vec<String>> {
        const LAST: usize = 60;
        let deadline = Instant::now() + limit;
        let lines = self.lines.lock().expect("nobody panics with it");
        let mut last = VecDeque::new();
        let end = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix(prefix) {
                    Some(rest) => return Ok(rest.to_owned()),
                    None => last.push_back(line),
                },
                Err(RecvTimeoutError::Timeout) => break format!("(no `{prefix}` in {limit:?})"),
                Err(RecvTimeoutError::Disconnected) => break "(it ended)".into(),
            }
            if last.len() > LAST {
                last.pop_front();
            }
        };
        last.push_back(end);
        Err(last.into())
    }
}

impl Drop for RealFlow {
    fn drop(&mut self) {
        // Kills the whole group: gateway and Executors are separate processes. The group id cannot have been
        // reused, because its leader has not been waited for.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The name in `flow_server.py`.
fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http",
        Protocol::WebSocket => "websocket",
    }
}
