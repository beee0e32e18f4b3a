//! What a run has measured so far, for viewers while it runs.
//!
//! Summarizing costs more the longer a run is. So it is done only while somebody is watching, at most once a second,
//! and so rarely that it takes at most a twentieth of the time of the thread that does it, which is never a sending
//! thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::capacity::result::Capacity;
use crate::compare::Comparison;
use crate::engine::Stop;
use crate::record::summary::{ScenarioSummary, Summary};
use crate::threshold;
use crate::units::Secrets;

/// A viewer that has not asked for this long is considered gone. A Prometheus server scrapes at least this often.
const LOOKS_FOR: Duration = Duration::from_secs(90);

/// The state of a run, or of several consecutive ones, and a way to end it.
#[derive(Debug)]
pub struct Board {
    state: watch::Sender<Shown>,
    asked: Mutex<Option<Instant>>,
    stop: Stop,
}

/// What a viewer sees.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Which of several runs this is; empty if there is only one.
    pub summary: Arc<Summary>,
    /// The joint result of all runs so far, if there are several.
    pub which: String,
    /// The joint result of all runs so far, if there are several.
    pub found: Option<Found>,
    /// Whether everything is over.
    pub over: bool,
    secrets: Secrets,
}

/// The joint result of several runs.
#[derive(Clone, Debug)]
pub enum Found {
    /// The trials of a search.
    Capacity(Arc<Capacity>),
    /// The runs of two sides.
    Comparison(Arc<Comparison>),
}

impl Board {
    /// A board for a run that `stop` ends.
    pub fn new(stop: Stop) -> Arc<Board> {
        Arc::new(Board {
            state: watch::Sender::new(Shown::default()),
            asked: Mutex::default(),
            stop,
        })
    }

    /// The current state. Counts as a viewer, so the board is kept up to date for a while.
    pub fn look(&self) -> Shown {
        self.touch();
        let mut shown = self.state.borrow().clone();
        shown.summary = Arc::new(shown.secrets.mask_data((*shown.summary).clone()));
        shown
    }

    /// Like [`look`](Board::look), for viewers that need only figures: the timeline is cut to its last two seconds.
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

    /// Registers a viewer; listeners count as viewers.
    pub fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Receives every change.
    pub fn changes(&self) -> watch::Receiver<Shown> {
        self.state.subscribe()
    }

    /// Ends the run: sends no more requests, but lets those in flight finish.
    pub fn end_gracefully(&self) {
        self.stop.drain.cancel();
    }

    /// Whether somebody is watching.
    pub fn is_looked_at(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < LOOKS_FOR)
    }

    /// Names the run that comes next.
    pub fn next(&self, which: String) {
        self.state.send_modify(|shown| shown.which = which);
    }

    /// Shows the joint result of all runs so far.
    pub fn found(&self, found: Found) {
        self.state.send_modify(|shown| shown.found = Some(found));
    }

    /// Marks everything as over.
    pub fn end(&self) {
        self.state.send_modify(|shown| shown.over = true);
    }

    pub(super) fn begin(&self, summary: &Summary, secrets: &Secrets) {
        self.state.send_modify(|shown| {
            (shown.summary, shown.secrets) = (Arc::new(summary.clone()), secrets.clone());
        });
    }

    /// Updates one scenario.
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

    /// Shows the final result of a run.
    pub(super) fn conclude(&self, summary: &Summary) {
        self.state.send_modify(|shown| shown.summary = Arc::new(summary.clone()));
    }
}
