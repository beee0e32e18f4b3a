//! The machine we run on, and the resources we get.

use std::time::{Duration, Instant};

use crate::meet::SystemClock;
use crate::record::summary::Environment;

/// Program and machine.
pub fn environment() -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let cpu = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    Environment {
        flowbench: env!("CARGO_PKG_VERSION").into(),
        os: std::env::consts::OS.into(),
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        arch: std::env::consts::ARCH.into(),
        cpu,
        cores: cores(),
        cpu_quota: read("/sys/fs/cgroup/cpu.max").as_deref().and_then(quota),
        memory_bytes: memory(),
    }
}

/// Name of the machine; `None` if it has none or it is not valid text.
pub(super) fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The kernel's view of the machine's clock, `adjtimex(2)`; `None` if unavailable.
#[cfg(target_os = "linux")]
pub(super) fn system_clock() -> Option<SystemClock> {
    /// `STA_UNSYNC`: the clock is not synchronised.
    const UNSYNCHRONISED: i32 = 0x40;
    // With no mode set, the call only reads.
    let mut told = rtime_clock::adjtime::Timex::new();
    rtime_clock::adjtime::adjtimex(&mut told).ok()?;
    Some(SystemClock {
        synchronised: told.0.status & UNSYNCHRONISED == 0,
        error: Duration::from_micros(u64::try_from(told.0.maxerror).ok()?),
    })
}

/// Not available on other systems.
#[cfg(not(target_os = "linux"))]
pub(super) fn system_clock() -> Option<SystemClock> {
    None
}

/// Memory we may use, in bytes: what is installed, or what our control group grants.
pub(super) fn memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let installed = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let granted = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    [installed, granted].into_iter().flatten().min()
}

/// Number of processors we may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processors granted by `cpu.max`; `None`: no limit.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

/// CPU time of the calling thread.
pub(super) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// How long the calling thread has waited for a processor while runnable since it began, and how
/// often it got one; `None` if the kernel does not count it.
pub(super) fn thread_waited() -> Option<(Duration, u64)> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut figures = text.split_whitespace().skip(1).map(str::parse::<u64>);
    Some((Duration::from_nanos(figures.next()?.ok()?), figures.next()?.ok()?))
}

/// Peak resident memory of the process, in bytes.
pub(super) fn max_rss() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Measures how much CPU time is taken away from us: by the host of a virtual machine (steal), or
/// by our control group's quota (throttling).
#[derive(Debug)]
pub(super) struct Withheld {
    since: Instant,
    stolen: Option<(u64, u64)>,
    throttled: Option<u64>,
}

impl Withheld {
    /// Starts measuring now.
    pub(super) fn start() -> Withheld {
        Withheld { since: Instant::now(), stolen: stolen(), throttled: throttled() }
    }

    /// The greater of steal and throttling, as a share of the time since the start, from 0 to 1.
    pub(super) fn share(&self) -> f64 {
        let stolen =
            self.stolen.zip(stolen()).map_or(0.0, |((steal, all), (steal_now, all_now))| {
                steal_now.saturating_sub(steal) as f64 / all_now.saturating_sub(all).max(1) as f64
            });
        let elapsed = self.since.elapsed().as_micros().max(1) as f64;
        let throttled = self
            .throttled
            .zip(throttled())
            .map_or(0.0, |(before, now)| now.saturating_sub(before) as f64 / elapsed);
        stolen.max(throttled).min(1.0)
    }
}

/// Stolen ticks and all ticks, summed over all processors.
fn stolen() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; the rest is contained in the first two.
    Some((*ticks.get(7)?, ticks.iter().take(8).sum()))
}

/// Microseconds for which our control group was throttled.
fn throttled() -> Option<u64> {
    let text = std::fs::read_to_string("/sys/fs/cgroup/cpu.stat").ok()?;
    let line = text.lines().find(|line| line.starts_with("throttled_usec"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_read_as_processors() {
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!(quota("max 100000\n"), None);
    }

    #[test]
    fn shares_of_time_are_shares() {
        assert!((0.0..=1.0).contains(&Withheld::start().share()));
    }
}
