//! The system's clocks.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What a clock shows: with `ProcessCPUTime` what all threads of this process have taken.
pub(crate) fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
