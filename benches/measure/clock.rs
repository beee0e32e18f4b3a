//! The system's clocks.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time of a clock; for `ProcessCPUTime` that is the CPU time of all threads of this process.
pub(crate) fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
