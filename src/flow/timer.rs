//! One exact clock that many requests wait on.
//!
//! The waits are in a table, and one task waits for the earliest. One system timer per request would cost
//! a system call or two each, and tokio's timers are too coarse, see [`crate::clock`].

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{Clock, PreciseClock, TokioClock};

/// The clock of a Flow.
#[derive(Debug)]
pub(super) struct Timer {
    table: Arc<Table>,
    next: AtomicU64,
    _end: DropGuard,
}

/// The waits, by their time: at most one per request in flight.
#[derive(Debug, Default)]
struct Table {
    waiting: Mutex<BTreeMap<(Instant, u64), Waker>>,
    /// Signals a wait that ends before all others.
    earlier: Notify,
}

/// A wait, see [`Timer::sleep_until`].
#[derive(Debug)]
pub(super) struct Sleep<'a> {
    table: &'a Table,
    key: (Instant, u64),
    waiting: bool,
}

impl Timer {
    /// A clock that runs on the caller's runtime until it is dropped.
    pub(super) fn start() -> Timer {
        let table = Arc::new(Table::default());
        let end = CancellationToken::new();
        let (of_task, ended) = (table.clone(), end.clone());
        tokio::spawn(async move {
            let ticking = async {
                match PreciseClock::new() {
                    // The kernel's clock keeps running while a test pauses tokio's.
                    Ok(clock) if !is_paused() => of_task.tick(clock).await,
                    _ => of_task.tick(TokioClock).await,
                }
            };
            tokio::select! {
                () = ended.cancelled() => (),
                () = ticking => (),
            }
        });
        Timer { table, next: AtomicU64::new(0), _end: end.drop_guard() }
    }

    /// Returns at `at`, or as soon as possible after it.
    pub(super) fn sleep_until(&self, at: Instant) -> Sleep<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Sleep { table: &self.table, key: (at, number), waiting: false }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tick(&self, mut clock: impl Clock) {
        loop {
            let earliest = self.lock().first_key_value().map(|((at, _), _)| *at);
            match earliest {
                None => self.earlier.notified().await,
                Some(at) => tokio::select! {
                    () = self.earlier.notified() => (),
                    () = clock.wait_until(at) => self.wake(),
                },
            }
        }
    }

    /// Wakes all waits whose time has come.
    fn wake(&self) {
        let now = Instant::now();
        let mut waiting = self.lock();
        while let Some(entry) = waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            entry.remove().wake();
        }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.key.0 <= Instant::now() {
            return Poll::Ready(());
        }
        let mut waiting = self.table.lock();
        let first = waiting.first_key_value().is_none_or(|(key, _)| self.key < *key);
        waiting.insert(self.key, cx.waker().clone());
        drop(waiting);
        self.waiting = true;
        if first {
            self.table.earlier.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.table.lock().remove(&self.key);
        }
    }
}

/// Whether a test has paused tokio's clock.
fn is_paused() -> bool {
    let (tokio, system) = (Instant::now(), std::time::Instant::now());
    while system.elapsed() < Duration::from_micros(1) {}
    Instant::now() == tokio
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_wake_after_their_moment_and_the_earlier_first() {
        let timer = Timer::start();
        let start = Instant::now();
        let order = Mutex::new(Vec::new());
        let wait = async |ms| {
            let at = start + Duration::from_millis(ms);
            timer.sleep_until(at).await;
            assert!(Instant::now() >= at);
            order.lock().unwrap().push(ms);
        };
        tokio::join!(wait(30), wait(10), wait(0), wait(20));
        assert_eq!(*order.lock().unwrap(), [0, 10, 20, 30]);
        assert!(timer.table.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn paused_time_is_followed() {
        let timer = Timer::start();
        let start = Instant::now();
        timer.sleep_until(start + Duration::from_secs(3600)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3600));
    }
}
