//! Signals that ask the program to end: Ctrl-C, SIGTERM, and a closed terminal.

use super::print;
use crate::engine::Stop;

/// SIGINT, SIGTERM and SIGHUP, from now on. A signal that cannot be watched keeps its default: it ends the
/// process.
pub(super) struct Signals([Option<tokio::signal::unix::Signal>; 3]);

impl Signals {
    pub(super) fn new() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let [interrupt, terminate] =
            [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
        // Whoever started us with nohup wants us to keep running.
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()).ok()).flatten();
        Signals([interrupt, terminate, hangup])
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        async fn recv(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
            signal.as_mut()?.recv().await
        }
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            Some(()) = recv(interrupt) => (),
            Some(()) = recv(terminate) => (),
            Some(()) = recv(hangup) => (),
            else => std::future::pending().await,
        }
    }
}

/// Whether the process was started with SIGHUP ignored, as far as the system can tell.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is signal 1, which is SIGHUP.
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// The first signal drains, the second one aborts.
pub(super) fn watch_signals(stop: Stop, quiet: bool) {
    // Before anything starts that would have to be shut down in order.
    let mut signals = Signals::new();
    tokio::spawn(async move {
        signals.next().await;
        if !quiet {
            print::tell(
                "interrupted: waiting for requests in flight; interrupt again to end at once",
            );
        }
        stop.drain.cancel();
        signals.next().await;
        stop.abort.cancel();
    });
}
