//! What a run has measured so far, for whoever looks at it while it goes on.
//!
//! Summing up costs more the longer a run is. So it is done only while somebody looks, once a second at most, and so
//! rarely that it takes no more than a twentieth of the time of the thread that does it, which is none that sends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::capacity::result::Capacity;
use crate::compare::Comparison;
use crate::engine::Stop;
use crate::record::summary::{ScenarioSummary, Summary};
use crate::threshold;
use crate::units::Secrets;

/// Who has not asked for so long does not look any more. A Prometheus server asks at least that often.
const LOOKS_FOR: Duration = Duration::from_secs(90);

/// The state of a run, or of several one after the other, and the way to end it.
#[derive(Debug)]
pub struct Board {
    state: watch::Sender<Shown>,
    asked: Mutex<Option<Instant>>,
    stop: Stop,
}

/// What there is to see.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What the run that goes on, or the last one, measured so far. Verdicts are those of now, until it is over.
    pub summary: Arc<Summary>,
    /// Which of several runs that is; empty where there is only one.
    pub which: String,
    /// What all runs so far say together, where there are several.
    pub found: Option<Found>,
    /// Whether all is over.
    pub over: bool,
    secrets: Secrets,
}

/// What several runs say together.
#[derive(Clone, Debug)]
pub enum Found {
    /// The trials of a search.
    Capacity(Arc<Capacity>),
    /// The runs of two sides.
    Comparison(Arc<Comparison>),
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
    pub fn look(&self) -> Shown {
        self.touch();
        let mut shown = self.state.borrow().clone();
        shown.summary = Arc::new(shown.secrets.mask_data((*shown.summary).clone()));
        shown
    }

    /// The same for who needs figures and no timeline: of that, only the last two seconds are there.
    pub fn figures(&self) -> Shown {
        const SECONDS: usize = 2;
        self.touch();
        let mut shown = self.state.borrow().clone();
        let mut summary = (*shown.summary).clone();
        for scenario in &mut summary.scenarios {
            scenario.timeline.drain(..scenario.timeline.len().saturating_sub(SECONDS));
        }
        shown.summary = Arc::new(shown.secrets.mask_data(summary));
        shown
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

    /// Says which of several runs comes next.
    pub fn next(&self, which: String) {
        self.state.send_modify(|shown| shown.which = which);
    }

    /// Shows what all runs so far say together.
    pub fn found(&self, found: Found) {
        self.state.send_modify(|shown| shown.found = Some(found));
    }

    /// Says that all is over.
    pub fn end(&self) {
        self.state.send_modify(|shown| shown.over = true);
    }

    pub(super) fn begin(&self, summary: &Summary, secrets: &Secrets) {
        self.state.send_modify(|shown| {
            (shown.summary, shown.secrets) = (Arc::new(summary.clone()), secrets.clone());
        });
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

    /// The result of a run.
    pub(super) fn conclude(&self, summary: &Summary) {
        self.state.send_modify(|shown| shown.summary = Arc::new(summary.clone()));
    }
}
