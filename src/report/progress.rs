//! The live view: a line a scenario while it runs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{count, fit, latency, percent, rate, verdict, width};
use crate::record::summary::{EndReason, ms};
use crate::run::{Live, State};

/// Shows how a run goes, on a terminal as lines that change, elsewhere as lines one after another.
pub struct Progress {
    view: View,
    shown: Vec<Option<State>>,
}

enum View {
    Terminal { all: MultiProgress, bars: BTreeMap<usize, ProgressBar> },
    Lines { out: Box<dyn Write + Send>, told: Vec<Option<Instant>> },
}

/// How often a scenario that runs is told of where lines cannot change.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Columns of the name; the figures need the rest of 80.
const NAME: usize = 24;

impl Progress {
    /// On the terminal of stderr, drawn ten times a second at most.
    pub fn terminal() -> Progress {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let all = MultiProgress::with_draw_target(target);
        Progress { view: View::Terminal { all, bars: BTreeMap::new() }, shown: Vec::new() }
    }

    /// Line by line, for logs: when a scenario begins and ends, and every ten seconds between.
    pub fn lines(out: impl Write + Send + 'static) -> Progress {
        Progress { view: View::Lines { out: Box::new(out), told: Vec::new() }, shown: Vec::new() }
    }

    /// Shows the state of all scenarios.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn show(&mut self, scenarios: &[Live]) -> io::Result<()> {
        self.shown.resize(scenarios.len(), None);
        for (index, live) in scenarios.iter().enumerate() {
            let changed = self.shown[index].as_ref() != Some(&live.state);
            self.shown[index] = Some(live.state);
            match &mut self.view {
                View::Terminal { all, bars } => match live.state {
                    State::Waiting => (),
                    State::Done(..) => {
                        if changed {
                            if let Some(bar) = bars.remove(&index) {
                                bar.finish_and_clear();
                                all.remove(&bar);
                            }
                            all.println(line(live))?;
                        }
                    }
                    State::Connecting | State::Warmup | State::Running => {
                        let bar = bars.entry(index).or_insert_with(|| {
                            let style = ProgressStyle::with_template("{wide_msg}")
                                .expect("it is a valid template");
                            all.add(ProgressBar::new_spinner().with_style(style))
                        });
                        bar.set_message(line(live));
                    }
                },
                View::Lines { out, told } => {
                    told.resize(scenarios.len(), None);
                    let due = told[index].is_none_or(|told| told.elapsed() >= LINE_INTERVAL);
                    let tell = match live.state {
                        State::Waiting | State::Connecting => false,
                        State::Warmup | State::Running => due,
                        State::Done(..) => changed,
                    };
                    if tell {
                        told[index] = Some(Instant::now());
                        writeln!(out, "{}", line(live))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what changes from the terminal; what is final stays.
    pub fn finish(self) {
        if let View::Terminal { all, .. } = self.view {
            // Fails when the terminal is gone, and then there is nothing to take away.
            let _ = all.clear();
        }
    }
}

/// One scenario in at most 80 columns.
fn line(live: &Live) -> String {
    let name = fit(&live.name, NAME);
    let name = format!("{name}{:1$}", "", NAME - width(&name));
    let figures = || {
        let failed = match live.sent {
            0 => "0 %".to_owned(),
            sent => percent(live.failed as f64 / sent as f64),
        };
        format!(
            "{:>9} p50 {:>7} p99 {:>7} failed {}",
            rate(live.done_per_s),
            latency(live.p50.map(ms)),
            latency(live.p99.map(ms)),
            failed
        )
    };
    match live.state {
        State::Waiting => format!("{name} waiting"),
        State::Connecting => format!("{name} connecting"),
        State::Warmup => format!("{name} warming up"),
        State::Running => {
            let left = match (live.left, live.progress) {
                (Some(left), _) => format!("{}s left", left.as_secs()),
                (None, Some(progress)) => format!("{:.0} %", progress * 100.0),
                (None, None) => format!("{} sent", count(live.sent)),
            };
            match live.sent {
                0 => format!("{name} running, {left}"),
                _ => format!("{name} {}, {left}", figures()),
            }
        }
        State::Done(EndReason::Skipped, _) => format!("{name} not run"),
        State::Done(EndReason::Unreachable, _) => format!("{name} target not reached"),
        State::Done(EndReason::Broken, _) => format!("{name} broken off"),
        State::Done(_, end) => format!("{name} {}, {}", figures(), verdict(end)),
    }
}
