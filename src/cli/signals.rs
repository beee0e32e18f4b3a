//! What asks the program to end: Ctrl-C and SIGTERM.

use super::print;
use crate::engine::Stop;

/// SIGINT and SIGTERM, from now on. One that cannot be watched ends the process, which is what it
/// is for.
#[cfg(unix)]
pub(super) struct Signals([Option<tokio::signal::unix::Signal>; 2]);

#[cfg(unix)]
impl Signals {
    pub(super) fn new() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        Signals([SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok()))
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        async fn recv(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
            signal.as_mut()?.recv().await
        }
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            Some(()) = recv(interrupt) => (),
            Some(()) = recv(terminate) => (),
            else => std::future::pending().await,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new() -> Signals {
        Signals
    }

    /// Waits for it.
    pub(super) async fn next(&mut self) {
        // Without a console there is nobody to ask.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The first signal drains, the second aborts.
pub(super) fn watch_signals(stop: Stop, quiet: bool) {
    // Before anything is begun that would have to be ended in order.
    let mut signals = Signals::new();
    tokio::spawn(async move {
        signals.next().await;
        if !quiet {
            print::tell("interrupted: waiting for what is in flight; once more to end at once");
        }
        stop.drain.cancel();
        signals.next().await;
        stop.abort.cancel();
    });
}
