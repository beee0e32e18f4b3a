//! The resources of this machine that a plan needs.

use crate::plan::forecast::Limits;

/// The resources of this machine.
pub(super) fn limits() -> Limits {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Limits {
        // No limit counts as one too large to matter.
        files: files.unwrap_or(u64::MAX),
        memory_bytes: available.map_or(u64::MAX, |kib| kib.saturating_mul(1024)),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}
