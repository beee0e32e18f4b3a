//! Pauses of a closed load whose Flow is gone.
//!
//! A client that is due again as soon as its request is over would fail some hundred thousand times a
//! second against a port where nobody listens, which measures our own machine, fills reports and
//! keeps a Flow that is starting anew from doing so.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first failure, and the longest: it doubles from one to the other.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// How long the clients of one worker wait before they try a Flow again that they do not reach. They
/// share it, so that many that fail at the same time make one step of it.
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
            // Sent before it was known, as the one that began the pause.
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
