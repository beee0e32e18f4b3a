//! Waits for an instant as exactly as the machine can.
//!
//! tokio's timers have a resolution of a millisecond and fire one to five milliseconds late, which would be
//! the largest part of a fast Flow's latency. So waiting is abstracted by [`Clock`], with one implementation
//! that the kernel wakes with microsecond accuracy, and one that follows tokio's time, which a test can
//! pause.

use tokio::time::Instant;

/// Waits for instants. On every clock, `Instant::now` is the current time.
pub trait Clock {
    /// Returns at `at` or as soon as possible after it; immediately if `at` has passed. May be dropped and
    /// called again.
    fn wait_until(&mut self, at: Instant) -> impl Future<Output = ()>;
}

/// tokio's own timer: for tests, where time is paused and exact.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    async fn wait_until(&mut self, at: Instant) {
        if at > Instant::now() {
            tokio::time::sleep_until(at).await;
        }
    }
}

#[cfg(target_os = "linux")]
pub use linux::PreciseClock;

#[cfg(not(target_os = "linux"))]
pub use portable::PreciseClock;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    /// Maximum time of busy waiting before a deadline. Waking takes the kernel some tens of microseconds, and
    /// more on a virtual machine.
    const AWAKE_MAX: Duration = Duration::from_micros(60);

    /// Busy waiting takes at most a tenth of a core.
    const AWAKE_SHARE: u32 = 10;

    /// A timerfd with absolute deadlines: the kernel's high-resolution timer wakes the runtime's poller,
    /// without the slack of sleeping threads and poll timeouts. It wakes us slightly early; we poll for the
    /// remaining time, and replies are handled in between.
    #[derive(Debug)]
    pub struct PreciseClock {
        timer: AsyncFd<OwnedFd>,
        /// The same instant on tokio's clock and on the kernel's.
        origin: (Instant, Timespec),
        /// The instant the timer is set to; arming costs a system call.
        armed: Option<Instant>,
        /// The deadline, and how long before it the timer fires.
        deadline: (Instant, Duration),
    }

    impl PreciseClock {
        /// A clock for the caller's runtime.
        ///
        /// # Errors
        /// When no more file descriptors are available.
        #[expect(deprecated, reason = "its replacement is unsafe, for types other than OwnedFd")]
        pub fn new() -> io::Result<PreciseClock> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(PreciseClock {
                timer: AsyncFd::with_interest(timer, Interest::READABLE)?,
                origin: (Instant::now(), clock_gettime(ClockId::Monotonic)),
                armed: None,
                deadline: (Instant::now(), Duration::ZERO),
            })
        }

        /// When to wake for a deadline: earlier if it comes longer after the previous one.
        fn coarse(&mut self, at: Instant) -> Instant {
            let (before, mut early) = self.deadline;
            if at != before {
                let since = at.saturating_duration_since(before);
                early = (since / AWAKE_SHARE).min(AWAKE_MAX);
                self.deadline = (at, early);
            }
            at - early
        }

        fn arm(&mut self, at: Instant) -> io::Result<()> {
            let (origin, kernel) = self.origin;
            let nanos = i128::from(kernel.tv_sec) * 1_000_000_000
                + i128::from(kernel.tv_nsec)
                + at.saturating_duration_since(origin).as_nanos() as i128;
            let value = Timespec {
                tv_sec: (nanos / 1_000_000_000) as i64,
                tv_nsec: (nanos % 1_000_000_000) as i64,
            };
            let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
            self.armed = Some(at);
            Ok(())
        }
    }

    impl crate::clock::Clock for PreciseClock {
        async fn wait_until(&mut self, at: Instant) {
            if at <= Instant::now() {
                return;
            }
            let coarse = self.coarse(at);
            while coarse > Instant::now() {
                if self.armed != Some(coarse) && self.arm(coarse).is_err() {
                    return tokio::time::sleep_until(at).await;
                }
                let Ok(mut ready) = self.timer.readable().await else {
                    return tokio::time::sleep_until(at).await;
                };
                // Reading clears the expiry of the timer. Nothing to read means that readiness is left over
                // from an earlier deadline: wait again for this one.
                let mut expirations = [0; 8];
                if rustix::io::read(self.timer.get_ref(), &mut expirations[..]).is_ok() {
                    self.armed = None;
                }
                ready.clear_ready();
            }
            while at > Instant::now() {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::io;
    use std::time::Duration;

    use tokio::time::Instant;

    /// tokio's timer for most of the wait, yielding for the last two milliseconds.
    #[derive(Debug)]
    pub struct PreciseClock;

    impl PreciseClock {
        /// A clock for the caller's runtime.
        ///
        /// # Errors
        /// Never here; on Linux, creating a timer may fail.
        pub fn new() -> io::Result<PreciseClock> {
            Ok(PreciseClock)
        }
    }

    impl crate::clock::Clock for PreciseClock {
        async fn wait_until(&mut self, at: Instant) {
            let coarse = at - Duration::from_millis(2);
            if coarse > Instant::now() {
                tokio::time::sleep_until(coarse).await;
            }
            while at > Instant::now() {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_precise_clock_never_returns_early() {
        let mut clock = PreciseClock::new().unwrap();
        for micros in [0, 50, 300, 2_000, 700] {
            let at = Instant::now() + Duration::from_micros(micros);
            clock.wait_until(at).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_does_not_disturb_the_next() {
        let mut clock = PreciseClock::new().unwrap();
        let far = Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            () = clock.wait_until(far) => unreachable!("an hour has not passed"),
            () = tokio::time::sleep(Duration::from_millis(2)) => (),
        }
        let at = Instant::now() + Duration::from_millis(3);
        clock.wait_until(at).await;
        assert!(Instant::now() >= at);
    }
}
