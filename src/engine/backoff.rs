//! Pauses of a closed load whose Flow cannot be reached.
//!
//! A client that is due again as soon as its request ends would fail several hundred thousand times
//! a second against a port where nothing listens. That would measure our own machine, fill reports,
//! and keep a restarting Flow from coming up.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause and the longest; each pause is twice the one before.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// How long the clients of one worker wait before they try an unreachable Flow again. They share
/// it, so that many failures at the same time count as one step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// When the client of a request that ended at `at` is free. `reached`: whether there was a
    /// connection to the Flow; any such request ends the pauses.
    pub(super) fn free_at(&mut self, at: Instant, reached: bool) -> Instant {
        if reached {
            *self = Backoff::default();
            return at;
        }
        match self.until {
            // Sent before the failure was known, like the request that began the pause.
            Some(until) if at < until => until,
            _ => {
                self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
                let until = at + self.pause;
                self.until = Some(until);
                until
            }
        }
    }
}
