//! What a run has measured so far, for whoever looks at it while it goes on.
//!
//! Summing up costs more the longer a run is. So it is done only while somebody looks, once a second at most, and so
//! rarely that it takes no more than a twentieth of the time of the thread that does it, which is none that sends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::engine::Stop;
use crate::record::summary::{ScenarioSummary, Summary};
use crate::threshold;
use crate::units::Secrets;

/// Who has not asked for so long does not look any more. A Prometheus server asks at least that often.
const LOOKS_FOR: Duration = Duration::from_secs(90);

/// The state of a run, and the way to end it.
#[derive(Debug)]
pub struct Board {
    state: watch::Sender<Shown>,
    asked: Mutex<Option<Instant>>,
    stop: Stop,
}

/// What there is to see of a run.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What was measured so far. Verdicts are those of now, until it is over.
    pub summary: Arc<Summary>,
    /// Whether the run is over.
    pub over: bool,
    secrets: Secrets,
}

impl Board {
    /// A board for a run that this signal ends.
    pub fn new(stop: Stop) -> Arc<Board> {
        Arc::new(Board {
            state: watch::Sender::new(Shown::default()),
            asked: Mutex::default(),
            stop,
        })
    }

    /// What there is now. Somebody looks, and will be kept up to date for a while.
    pub fn look(&self) -> Summary {
        self.touch();
        let Shown { summary, secrets, .. } = self.state.borrow().clone();
        secrets.mask_data((*summary).clone())
    }

    /// Whoever listens looks.
    pub fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Hears of each change.
    pub fn changes(&self) -> watch::Receiver<Shown> {
        self.state.subscribe()
    }

    /// Ends the run: nothing more is sent, and what is in flight may still end.
    pub fn end_gracefully(&self) {
        self.stop.drain.cancel();
    }

    /// Whether somebody looks.
    pub fn is_looked_at(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < LOOKS_FOR)
    }

    pub(super) fn begin(&self, summary: &Summary, secrets: &Secrets) {
        let (summary, secrets) = (Arc::new(summary.clone()), secrets.clone());
        self.state.send_replace(Shown { summary, over: false, secrets });
    }

    /// A scenario as it is now.
    pub(super) fn put(&self, index: usize, elapsed: Duration, scenario: ScenarioSummary) {
        self.state.send_modify(|shown| {
            let summary = Arc::make_mut(&mut shown.summary);
            summary.duration_s = elapsed.as_secs_f64();
            if let Some(known) = summary.scenarios.get_mut(index) {
                *known = scenario;
            }
            threshold::conclude(summary);
        });
    }

    pub(super) fn end(&self, summary: &Summary) {
        self.state.send_modify(|shown| {
            (shown.summary, shown.over) = (Arc::new(summary.clone()), true);
        });
    }
}
