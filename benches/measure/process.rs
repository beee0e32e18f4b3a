//! The program as a separate process, and the resources it uses.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when this is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, in a working directory.
pub(crate) fn flowbench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Starts an embedded Flow with `serve` over gRPC; returns it with its address.
pub(crate) fn serve(folder: &Path) -> io::Result<(Running, String)> {
    let mut flow = flowbench(folder)
        .args(["serve", "--protocol", "grpc", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = flow.stdout.take().expect("it is piped");
    let flow = Running(flow);
    let mut address = String::new();
    BufReader::new(out).read_line(&mut address)?;
    Ok((flow, address.trim().to_owned()))
}

/// The row given as three numbers on the command line, or else all of these.
///
/// # Errors
/// An argument that is not a number.
pub(crate) fn rows(all: &[[u64; 3]]) -> Result<Vec<[u64; 3]>, std::num::ParseIntError> {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let given: Result<Vec<u64>, _> = words.map(|word| word.parse()).collect();
    Ok(given?.try_into().map_or_else(|_| all.to_vec(), |row| vec![row]))
}

/// The resources that a process used until its end.
pub(crate) struct Used {
    pub(crate) status: ExitStatus,
    /// Since [`watch`] was called.
    pub(crate) time: Duration,
    /// User and system time, in steps of 10 ms.
    pub(crate) cpu: Duration,
    /// Peak memory in bytes.
    pub(crate) memory: u64,
}

/// Waits for the end of a process and measures it.
pub(crate) fn watch(process: &mut Child) -> io::Result<Used> {
    let (begun, id) = (Instant::now(), process.id());
    let read = |name| std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let (mut cpu, mut memory) = (Duration::ZERO, 0);
    loop {
        let ended = process.try_wait()?;
        // After the name, which may contain anything: user and system time are the 12th and 13th fields, in
        // ticks of 10 ms.
        let (stat, status) = (read("stat"), read("status"));
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
        let ticks = fields.and_then(|fields| {
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        });
        cpu = cpu.max(Duration::from_millis(10 * ticks.unwrap_or(0)));
        // The kernel keeps the peak; the last moments may be missed.
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        memory = memory.max(kilobytes.unwrap_or_default() * 1024);
        if let Some(status) = ended {
            return Ok(Used { status, time: begun.elapsed(), cpu, memory });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
