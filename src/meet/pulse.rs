//! Notices when this process itself stood still: it was stopped, or its machine was. Whoever does not hear of it for
//! so long takes it for lost, and it must not take them for that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{PROBE_EVERY, SILENCE_MAX};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// What others may take for the silence of a part that is lost: the last they heard may be older than that.
const STILL_MIN: Duration = SILENCE_MAX.saturating_sub(PROBE_EVERY);

/// How long after it others are heard to have left for it.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Pulse(Mutex<Beats>);

#[derive(Clone, Copy, Debug)]
struct Beats {
    last: Instant,
    /// When it went on after it had stood still, and for how long it had.
    still: Option<(Instant, Duration)>,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse(Mutex::new(Beats { last: Instant::now(), still: None }))
    }

    /// Beats for ever.
    pub(super) async fn beat(&self) -> std::convert::Infallible {
        loop {
            sleep(EVERY).await;
            self.look();
        }
    }

    fn look(&self) -> Beats {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gap = now.saturating_duration_since(beats.last);
        if gap >= STILL_MIN {
            beats.still = Some((now, gap));
        }
        beats.last = now;
        *beats
    }

    /// For how long this process stood still, if others that leave now do so for that.
    pub(super) fn stood_still(&self) -> Option<Duration> {
        let (until, time) = self.look().still?;
        (until.elapsed() <= HEARD_WITHIN).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_knows_for_how_long() {
        let pulse = Pulse::new();
        for _ in 0..40 {
            advance(EVERY).await;
            pulse.look();
        }
        assert_eq!(pulse.stood_still(), None);
        // Whoever hears of it before the next beat knows as well.
        advance(Duration::from_secs(7)).await;
        assert_eq!(pulse.stood_still(), Some(Duration::from_secs(7)));
        advance(Duration::from_secs(1)).await;
        assert_eq!(pulse.stood_still(), Some(Duration::from_secs(7)));
        // Who leaves later does so for another reason.
        advance(Duration::from_secs(2)).await;
        assert_eq!(pulse.stood_still(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_nobody_else_notices_is_none() {
        let pulse = Pulse::new();
        advance(Duration::from_secs(3)).await;
        assert_eq!(pulse.stood_still(), None);
    }
}
