//! What a run has measured so far, for viewers while it runs.
//!
//! Summarizing costs more the longer a run is. So it is done only while somebody is watching, at most once a second,
//! and so rarely that it takes at most a twentieth of the time of the thread that does it, which is never a sending
//! thread.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::capacity::result::Capacity;
use crate::compare::Comparison;
use crate::engine::Stop;
use crate::record::summary::{EndReason, ScenarioSummary, Summary};
use crate::threshold;
use crate::units::Secrets;

/// A viewer that has not asked for this long is considered gone. A Prometheus server scrapes at least this often.
const LOOKS_FOR: Duration = Duration::from_secs(90);

/// Who begins to look waits for so long at most until what goes on is summed up: workers tell of it twice a second, and
/// a Prometheus server that asks each second gives up after another.
const CATCHES_UP: Duration = Duration::from_millis(800);

/// Seconds of a timeline that figures have.
const SECONDS: usize = 2;

/// The state of a run, or of several consecutive ones, and a way to end it.
#[derive(Debug)]
pub struct Board {
    state: watch::Sender<Shown>,
    asked: Mutex<Asked>,
    stop: Stop,
}

/// What is known of who looks.
#[derive(Debug, Default)]
struct Asked {
    last: Option<Instant>,
    /// Scenarios that went on without being summed up while nobody looked.
    behind: BTreeSet<usize>,
}

/// What there is to see.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What the run that goes on, or the last one, measured so far. What is not over has no verdict.
    pub summary: Arc<Summary>,
    /// The same, of whose timelines only the last seconds are there.
    figures: Arc<Summary>,
    /// Which of several runs that is; empty where there is only one.
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
        self.touch();
        let mut shown = self.state.borrow().clone();
        shown.summary = Arc::new(shown.secrets.mask_data((*shown.figures).clone()));
        shown
    }

    /// Waits until what goes on is summed up, where nobody has looked for a while; not for long.
    pub async fn catch_up(&self) {
        let mut changes = self.changes();
        self.touch();
        let all_told =
            async { while !self.asked().behind.is_empty() && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(CATCHES_UP, all_told).await;
    }

    /// Whether somebody waits for a scenario to be summed up.
    pub(super) fn awaits(&self, index: usize) -> bool {
        self.asked().behind.contains(&index)
    }

    /// Registers a viewer; listeners count as viewers.
    pub fn touch(&self) {
        let going_on = || {
            let shown = self.state.borrow();
            let all = shown.summary.scenarios.iter().enumerate();
            let all = all.filter(|(_, one)| one.end.reason == EndReason::Running);
            all.map(|(index, _)| index).collect()
        };
        let is_new = !self.is_looked_at();
        let behind: Option<BTreeSet<usize>> = is_new.then(going_on);
        let mut asked = self.asked();
        asked.last = Some(Instant::now());
        asked.behind.extend(behind.into_iter().flatten());
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.asked().last.is_some_and(|last| last.elapsed() < LOOKS_FOR)
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
        self.state.send_modify(|shown| {
            shown.over = true;
            shown.change(|summary| summary.running = false);
        });
    }

    pub(super) fn begin(&self, summary: &Summary, secrets: &Secrets) {
        self.asked().behind.clear();
        self.state.send_modify(|shown| {
            shown.set(summary.clone());
            shown.change(|summary| summary.running = true);
            shown.secrets = secrets.clone();
        });
    }

    /// Updates one scenario.
    pub(super) fn put(&self, index: usize, elapsed: Duration, scenario: ScenarioSummary) {
        self.asked().behind.remove(&index);
        let (scenario, figures) = with_figures(scenario);
        self.state.send_modify(|shown| {
            let both = [(&mut shown.summary, scenario), (&mut shown.figures, figures)];
            for (summary, scenario) in both {
                let summary = Arc::make_mut(summary);
                summary.duration_s = elapsed.as_secs_f64();
                if let Some(known) = summary.scenarios.get_mut(index) {
                    *known = scenario;
                }
                threshold::conclude(summary);
            }
        });
    }

    /// Shows the final result of a run.
    pub(super) fn conclude(&self, summary: &Summary) {
        self.asked().behind.clear();
        self.state.send_modify(|shown| shown.set(summary.clone()));
    }
}

impl Shown {
    fn set(&mut self, summary: Summary) {
        let Summary { scenarios, .. } = summary;
        let (scenarios, figures) = scenarios.into_iter().map(with_figures).unzip();
        let rest = Summary { scenarios: Vec::new(), ..summary };
        self.figures = Arc::new(Summary { scenarios: figures, ..rest.clone() });
        self.summary = Arc::new(Summary { scenarios, ..rest });
    }

    fn change(&mut self, change: impl Fn(&mut Summary)) {
        for summary in [&mut self.summary, &mut self.figures] {
            change(Arc::make_mut(summary));
        }
    }
}

/// A scenario, and the same with no more than the last seconds of its timeline, which is never copied as a whole.
fn with_figures(mut scenario: ScenarioSummary) -> (ScenarioSummary, ScenarioSummary) {
    let timeline = std::mem::take(&mut scenario.timeline);
    let mut figures = scenario.clone();
    figures.timeline = timeline[timeline.len().saturating_sub(SECONDS)..].to_vec();
    scenario.timeline = timeline;
    (scenario, figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::summary::{TimelineSecond, Verdict};

    fn running(seconds: u64) -> ScenarioSummary {
        let timeline = (1..=seconds).map(|t_s| TimelineSecond { t_s, ..TimelineSecond::default() });
        ScenarioSummary {
            end: EndReason::Running.into(),
            timeline: timeline.collect(),
            ..ScenarioSummary::default()
        }
    }

    fn board() -> Arc<Board> {
        let board = Board::new(Stop::default());
        let waiting = || ScenarioSummary { end: EndReason::Waiting.into(), ..running(0) };
        let scenarios = vec![waiting(), waiting()];
        board.begin(&Summary { scenarios, ..Summary::default() }, &Secrets::default());
        board
    }

    #[test]
    fn figures_have_the_last_seconds_of_a_timeline() {
        let board = board();
        board.put(1, Duration::from_secs(100), running(100));
        let of = |shown: Shown| {
            let timeline = &shown.summary.scenarios[1].timeline;
            timeline.iter().map(|second| second.t_s).collect::<Vec<_>>()
        };
        assert_eq!(of(board.figures()), [99, 100]);
        assert_eq!(of(board.look()).len(), 100);
        let summary = Summary { scenarios: vec![running(100), running(100)], ..Summary::default() };
        board.conclude(&summary);
        assert_eq!((of(board.figures()), of(board.look()).len()), (vec![99, 100], 100));
    }

    #[test]
    fn a_run_goes_on_until_it_is_over() {
        let board = board();
        board.put(0, Duration::ZERO, running(0));
        let reasons = |shown: &Shown| {
            let all = shown.summary.scenarios.iter();
            all.map(|scenario| scenario.end.reason).collect::<Vec<_>>()
        };
        let shown = board.figures();
        assert_eq!(reasons(&shown), [EndReason::Running, EndReason::Waiting]);
        assert!(shown.summary.running && board.look().summary.running);
        let over = ScenarioSummary { verdict: Verdict::Passed, passed: true, ..Default::default() };
        board.put(0, Duration::from_secs(1), over);
        let shown = board.look();
        assert_eq!((shown.summary.verdict, shown.summary.passed), (Verdict::Inconclusive, false));
        board.end();
        assert!(!board.figures().summary.running);
    }

    #[tokio::test(start_paused = true)]
    async fn who_begins_to_look_sees_what_is_known() {
        let board = board();
        (0..2).for_each(|index| board.put(index, Duration::ZERO, running(0)));
        assert!(!board.awaits(0));
        let teller = board.clone();
        let telling = async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(teller.awaits(0) && teller.awaits(1));
            teller.put(0, Duration::from_secs(7), running(7));
            teller.put(1, Duration::from_secs(7), running(7));
        };
        let began = tokio::time::Instant::now();
        let ((), ()) = tokio::join!(board.catch_up(), telling);
        assert_eq!(began.elapsed(), Duration::from_millis(300));
        assert_eq!(board.figures().summary.duration_s, 7.0);
        // Who goes on looking waits for nothing.
        board.catch_up().await;
        assert_eq!(began.elapsed(), Duration::from_millis(300));
    }
}
