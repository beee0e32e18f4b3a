//! Other load testers: wrk, ab, h2load and oha, if they are on the PATH, told to send the same requests.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Error, IN_FLIGHT, Path};

/// A program, and the paths it supports.
pub(crate) const TOOLS: [(&str, &[Path]); 4] = [
    ("wrk", &[Path::Http]),
    ("ab", &[Path::Http]),
    ("h2load", &[Path::Http, Path::Unary]),
    ("oha", &[Path::Http, Path::Unary]),
];

/// The programs installed for a path.
pub(crate) fn present(path: Path) -> impl Iterator<Item = &'static str> {
    let is_there = |name: &str| {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
    };
    TOOLS
        .into_iter()
        .filter(move |(name, paths)| paths.contains(&path) && is_there(name))
        .map(|(name, _)| name)
}

/// CPU seconds per request of a program that sends about this many.
pub(crate) fn run(
    tool: &str,
    path: Path,
    port: u16,
    message: &[u8],
    requests: u64,
) -> Result<f64, Error> {
    let folder = tempfile::tempdir()?;
    let body = folder.path().join("body");
    let grpc = path == Path::Unary;
    let mut file = std::fs::File::create(&body)?;
    if grpc {
        file.write_all(&[0])?;
        file.write_all(&(message.len() as u32).to_be_bytes())?;
    }
    file.write_all(message)?;
    let body = body.to_string_lossy().into_owned();
    let kind = if grpc { "application/grpc" } else { "application/json" };
    let method = if grpc { "jina.JinaSingleDataRequestRPC/process_single_data" } else { "post" };
    let url = format!("http://127.0.0.1:{port}/{method}");
    let (count, many) = (requests.to_string(), IN_FLIGHT.to_string());
    let header = format!("content-type: {kind}");
    let mut command = Command::new(tool);
    match (tool, grpc) {
        ("wrk", _) => {
            let script = folder.path().join("post.lua");
            std::fs::write(
                &script,
                format!(
                    "local f = io.open('{body}', 'rb')\nwrk.method = 'POST'\nwrk.body = f:read('*a')\n\
                     wrk.headers['content-type'] = '{kind}'\n"
                ),
            )?;
            command.args(["-t1", "-c", &many, "-d2s", "-s"]).arg(script).arg(&url);
        }
        ("ab", _) => {
            command.args(["-q", "-k", "-n", &count, "-c", &many, "-p", &body, "-T", kind, &url]);
        }
        ("h2load", false) => {
            let all = ["--h1", "-t1", "-n", &count, "-c", &many, "-d", &body, "-H", &header, &url];
            command.args(all);
        }
        ("h2load", true) => {
            let all = ["-t1", "-n", &count, "-c1", "-m", &many, "-d", &body, "-H", &header];
            command.args(all).args(["-H", "te: trailers", &url]);
        }
        (_, false) => {
            let all =
                ["--no-tui", "-n", &count, "-c", &many, "-m", "POST", "-D", &body, "-T", kind];
            command.args(all).arg(&url);
        }
        (_, true) => {
            let all = ["--no-tui", "--http2", "-n", &count, "-c", "1", "-p", &many, "-m", "POST"];
            command.args(all).args(["-D", &body, "-T", kind, &url]);
        }
    }
    let before = cpu_of_children()?;
    let output = command.stdin(Stdio::null()).output()?;
    let cpu = cpu_of_children()? - before;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{tool}: {said}").into());
    }
    // wrk sends for a given time, and prints how many requests it sent.
    let sent = said.lines().find_map(|line| line.split_once(" requests in "));
    let sent = sent.and_then(|(count, _)| count.trim().parse().ok()).unwrap_or(requests);
    Ok(cpu / sent as f64)
}

/// CPU seconds of children that have ended.
fn cpu_of_children() -> Result<f64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("the system tells")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<f64>);
    let per_s = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks.sum::<Result<f64, _>>()? / per_s)
}
