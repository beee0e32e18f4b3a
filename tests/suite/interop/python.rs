//! Virtual environments with real Jina, and with third-party parsers, created on first use and kept below
//! `target/jina/`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A release of Jina, each with its own pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Release {
    /// 3.12 with docarray 0.21.
    V1,
    /// 3.6.5 with docarray 0.21: one protocol per Flow.
    V1Old,
    /// 3.34 with docarray 0.41.
    V2,
}

impl Release {
    /// As in the file names of the pins, `v1-3.6.5`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Release::V1 => "v1",
            Release::V1Old => "v1-3.6.5",
            Release::V2 => "v2",
        }
    }

    /// The interpreter of this release's environment; `None` if it is not available and not required, which is
    /// then printed.
    pub(crate) fn python(self) -> Option<&'static Path> {
        static PYTHONS: [OnceLock<Result<PathBuf, String>>; 3] = [const { OnceLock::new() }; 3];
        asked_for(&PYTHONS[self as usize], self.name(), "jina")
    }
}

/// The interpreter of the environment with parsers for our report formats; `None` as above.
pub(crate) fn parsers() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    asked_for(&PYTHON, "reports", "hdrh.log, junitparser, prometheus_client")
}

/// The interpreter of the environment with OpenTelemetry's messages; `None` as above.
pub(crate) fn otlp() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    asked_for(&PYTHON, "otlp", "grpc, opentelemetry.proto.metrics.v1.metrics_pb2")
}

/// The interpreter of the environment that tests our own package; `None` as above.
pub(crate) fn package() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    asked_for(&PYTHON, "python", "pytest, pandas, matplotlib, nbclient, ipykernel, mypy")
}

/// The interpreter of the environment with the schemas of Kubernetes and of GitHub's workflows; `None` as above.
pub(crate) fn manifests() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    asked_for(&PYTHON, "manifests", "kubernetes_validate, check_jsonschema")
}

/// The interpreter of the environment with Ray; `None` as above.
pub(crate) fn ray() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    asked_for(&PYTHON, "ray", "ray")
}

/// The interpreter of the environment `name`, which is created first if it does not exist.
fn asked_for(
    made: &'static OnceLock<Result<PathBuf, String>>,
    name: &str,
    modules: &str,
) -> Option<&'static Path> {
    match made.get_or_init(|| environment(name, modules)) {
        Ok(python) => Some(python),
        Err(reason) => {
            if std::env::var("FLOWBENCH_REQUIRE_JINA").is_ok_and(|value| value == "1") {
                panic!("no Python with {modules} ({name}) to test against: {reason}");
            }
            say(&format!("skipped: no Python with {modules} ({name}) to test against: {reason}"));
            None
        }
    }
}

/// The folder for files that these tests create and keep.
pub(super) fn kept() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is target/tmp");
    target.join("jina")
}

/// The folder of the Python files.
pub(crate) fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Runs `act` exclusively across processes, under a lock named `name`.
pub(super) fn alone<T>(name: &str, act: impl FnOnce() -> T) -> T {
    fs::create_dir_all(kept()).expect("target/ can be written");
    let lock = File::create(kept().join(format!("{name}.lock"))).expect("target/ can be written");
    lock.lock().expect("a file can be locked"); // unlocked when it is closed
    act()
}

/// Prints a line that the test harness does not capture, unlike `eprintln!`.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The environment's interpreter; the environment is created first if it does not exist with these pins.
fn environment(name: &str, modules: &str) -> Result<PathBuf, String> {
    let requirements = files().join(format!("requirements-{name}.txt"));
    let pins = fs::read_to_string(&requirements).map_err(|e| format!("{requirements:?}: {e}"))?;
    let folder = kept().join(name);
    let python = folder.join("bin/python");
    // Written last, so an unfinished environment does not have it.
    let stamp = folder.join("pins.txt");
    alone(name, || {
        if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == pins) && python.exists() {
            return Ok(python.clone());
        }
        let system = python_3_11()?;
        say(&format!("making {} with {modules} ({name}), once", folder.display()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let log = kept().join(format!("{name}.log"));
        run(Command::new(system).args(["-m", "venv"]).arg(&folder), &log)?;
        run(
            Command::new(&python)
                .args(["-m", "pip", "install", "--no-deps", "--no-input", "-r"])
                .arg(&requirements),
            &log,
        )?;
        run(Command::new(&python).args(["-c", &format!("import {modules}")]), &log)?;
        fs::write(&stamp, &pins).map_err(|e| format!("{}: {e}", stamp.display()))?;
        Ok(python.clone())
    })
}

/// A Python 3.11 on this machine; the pinned packages have no builds for later versions.
fn python_3_11() -> Result<&'static str, String> {
    ["python3.11", "python3"]
        .into_iter()
        .find(|name| {
            let version = "import sys; print('%d.%d' % sys.version_info[:2])";
            let output = Command::new(name).args(["-c", version]).output();
            output.is_ok_and(|output| output.stdout.trim_ascii() == b"3.11")
        })
        .ok_or_else(|| "neither `python3.11` nor `python3` is Python 3.11".into())
}

/// Runs a command to its end, with a time limit; its output goes to `log`.
fn run(command: &mut Command, log: &Path) -> Result<(), String> {
    const LIMIT: Duration = Duration::from_secs(15 * 60);
    let described = format!("{command:?}");
    let open = || File::options().create(true).append(true).open(log);
    let (out, err) = (open(), open());
    let (Ok(out), Ok(err)) = (out, err) else {
        return Err(format!("{} cannot be written", log.display()));
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|e| format!("{described}: {e}"))?;
    let started = Instant::now();
    loop {
        match child.try_wait().map_err(|e| format!("{described}: {e}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                return Err(format!("{described}: {status}, see {}", log.display()));
            }
            None if started.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{described}: not done after {LIMIT:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
