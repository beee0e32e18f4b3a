//! The live view of a capacity search: one line per finished trial, and on a terminal one that
//! changes for the running trial.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{latency, plain, time};
use crate::capacity::judge::Evidence;
use crate::capacity::number::number;
use crate::capacity::search::{Kind, Trial};
use crate::capacity::trials::{TrialOutcome, TrialSummary, Unit};
use crate::capacity::words::{condition, kind, level, outcome};
use crate::record::summary::ms;
use crate::run::State;
use crate::run::search::{Progress, Told};

/// Shows the progress of a search.
pub(crate) struct Trials {
    view: View,
    unit: Unit,
}

enum View {
    Terminal(ProgressBar),
    Lines { out: Box<dyn Write + Send>, told: Instant },
}

/// Interval between log lines of a running trial, if lines cannot change.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Evidence below which a trial favours neither outcome: no better than a coin toss.
const LEANS: f64 = 0.5;

impl Trials {
    /// On the terminal of stderr, redrawn at most ten times a second.
    pub(crate) fn terminal(unit: Unit) -> Trials {
        let style = ProgressStyle::with_template("{wide_msg}").expect("it is a valid template");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        Trials { view: View::Terminal(bar.with_style(style)), unit }
    }

    /// Line by line, for logs: when a trial ends, and every half minute of a long one.
    pub(crate) fn lines(out: impl Write + Send + 'static, unit: Unit) -> Trials {
        Trials { view: View::Lines { out: Box::new(out), told: Instant::now() }, unit }
    }

    /// Shows a trial. A closed writer is no reason to end a search, so its errors are ignored.
    pub(crate) fn tell(&mut self, told: Told<'_>) {
        match told {
            Told::Goes(trial, progress) => self.goes(trial, progress),
            Told::Begins(_) | Told::Learnt(..) => (),
            Told::Over(trial, summary) => self.say(&line(trial.kind, summary, self.unit)),
        }
    }

    /// Prints permanent lines.
    pub(crate) fn say(&mut self, text: &str) {
        let lines: Vec<String> = text.lines().map(plain).collect();
        let text = lines.join("\n");
        match &mut self.view {
            View::Terminal(bar) => bar.println(text),
            View::Lines { out, told } => {
                *told = Instant::now();
                let _ = writeln!(out, "{text}");
            }
        }
    }

    fn goes(&mut self, trial: &Trial, progress: &Progress) {
        match &mut self.view {
            View::Terminal(bar) => bar.set_message(going(trial, progress, self.unit)),
            View::Lines { told, .. } if told.elapsed() >= LINE_INTERVAL => {
                self.say(&going(trial, progress, self.unit));
            }
            View::Lines { .. } => (),
        }
    }

    /// Removes the changing line from the terminal.
    pub(crate) fn finish(self) {
        if let View::Terminal(bar) = self.view {
            bar.finish_and_clear();
        }
    }
}

/// The start of every line: purpose of the trial, load, outcome and duration.
fn columns(of: Kind, at: f64, unit: Unit, outcome: &str, seconds: f64) -> String {
    format!("{:<11} {:>12}  {outcome:<12} {:>9}", kind(of), level(at, unit), time(seconds))
}

/// A finished trial, with any problems on our side below it.
fn line(of: Kind, summary: &TrialSummary, unit: Unit) -> String {
    let outcome = match summary.outcome {
        TrialOutcome::Seen => "",
        judged => outcome(judged),
    };
    let judged: Vec<String> = summary.objective.iter().map(condition).collect();
    let columns = columns(of, summary.level, unit, outcome, summary.seconds);
    let mut text = format!("{columns}  {}", judged.join(", "));
    for reason in summary.reasons.iter().chain(&summary.excused) {
        text.push_str(&format!("\n{:10}{reason}", ""));
    }
    text
}

/// A running trial.
fn going(trial: &Trial, progress: &Progress, unit: Unit) -> String {
    let live = &progress.live;
    let state = match live.state {
        State::Waiting | State::Connecting => "connecting",
        State::Warmup => "warming up",
        State::Running | State::Done(..) => "running",
    };
    // The time after an overload is shown too.
    let most = trial.budget_s + trial.then.map_or(0.0, |(_, seconds)| seconds);
    let columns = columns(trial.kind, trial.level, unit, state, progress.elapsed_s);
    let mut text = format!("{columns}  of {}", time(most));
    if let Some(Evidence { for_pass, for_fail, .. }) = progress.evidence {
        // Evidence that an error with probability p would rarely produce is 1/p or more.
        let sure = 1.0 - (-f64::max(for_pass, for_fail)).exp();
        if trial.rule.is_some() && sure >= LEANS {
            let sure = number((sure * 100.0).floor());
            let way = if for_pass > for_fail { "passes" } else { "fails" };
            text.push_str(&format!(", {sure} % sure it {way}"));
        }
    }
    if let Some(recent) = live.recent.filter(|recent| recent.p50.is_some()) {
        let (p50, p99) = (latency(recent.p50.map(ms)), latency(recent.p99.map(ms)));
        text.push_str(&format!(", p50 {p50}, p99 {p99}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::capacity::judge::Rule;
    use crate::capacity::trials::Point;
    use crate::record::reason::{Code, Reason};
    use crate::record::summary::{ThresholdSummary, Verdict};
    use crate::run::{Live, Recent};

    fn trial() -> Trial {
        Trial {
            kind: Kind::Confirm,
            level: 1369.0,
            budget_s: 90.0,
            least_s: 0.0,
            rule: Some(Rule {
                alpha: 0.005,
                settle_s: 1.0,
                patience_s: 0.0,
                blocks_min: 16,
                may_give_up: true,
            }),
            then: None,
        }
    }

    fn summary() -> TrialSummary {
        let judged = |that: &str, actual, unit: &str| ThresholdSummary {
            that: that.into(),
            actual: Some(actual),
            unit: unit.into(),
            verdict: Verdict::Passed,
            passed: true,
            reason: None,
            code: None,
        };
        TrialSummary {
            kind: Kind::Confirm,
            level: 1369.0,
            outcome: TrialOutcome::Passed,
            seconds: 57.81,
            budget_s: 90.0,
            point: Point::default(),
            objective: vec![
                judged("p95 < 30ms", 15.7, "ms"),
                judged("error_rate < 1%", 0.0, "share"),
            ],
            excess: 0.2,
            independent_requests: 900.0,
            reasons: Vec::new(),
            excused: vec![Reason::new(Code::GeneratorBehind, 2.0, 1.5, "p99 send delay 2 ms")],
            recovered_s: None,
            server: Vec::new(),
        }
    }

    fn progress(state: State, for_pass: f64, for_fail: f64) -> Progress {
        Progress {
            live: Live {
                name: "search".into(),
                state,
                progress: Some(0.2),
                left: None,
                recent: (state == State::Running).then_some(Recent {
                    offered_per_s: 1369.0,
                    done_per_s: 1368.0,
                    p50: Some(Duration::from_micros(5920)),
                    p99: Some(Duration::from_micros(18_200)),
                    in_flight: 9.0,
                }),
                error_rate: Some(0.0),
                sent: 24_000,
            },
            elapsed_s: 12.3,
            evidence: Some(Evidence { for_pass, for_fail, ..Evidence::default() }),
        }
    }

    #[test]
    fn a_trial_is_a_line_with_its_load_verdict_time_and_what_was_measured() {
        assert_eq!(
            line(Kind::Confirm, &summary(), Unit::Rate),
            "confirm          1,369/s  passed          57.8 s  p95 15.7 ms, error_rate 0 %\n          \
             p99 send delay 2 ms"
        );
    }

    #[test]
    fn a_trial_that_runs_says_how_long_it_may_take_and_which_way_it_leans() {
        let goes =
            |state, holds, fails| going(&trial(), &progress(state, holds, fails), Unit::Rate);
        let begins = "confirm          1,369/s  running         12.3 s  of 1 min 30 s";
        assert_eq!(
            goes(State::Running, 2.7, -3.0),
            format!("{begins}, 93 % sure it passes, p50 5.92 ms, p99 18.2 ms")
        );
        assert!(goes(State::Running, -3.0, 20.0).contains(", 99 % sure it fails, "));
        assert!(!goes(State::Running, 0.1, -3.0).contains("sure"));
        assert_eq!(goes(State::Warmup, 0.0, 0.0), begins.replace("running   ", "warming up"));
    }

    #[test]
    fn a_log_has_no_lines_that_change() {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);
        impl Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("nobody panicked").write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Log::default();
        let mut trials = Trials::lines(log.clone(), Unit::Rate);
        trials.tell(Told::Goes(&trial(), &progress(State::Running, 1.0, 0.0)));
        trials.tell(Told::Over(&trial(), &summary()));
        trials.finish();
        let written = String::from_utf8(log.0.lock().expect("nobody panicked").clone());
        assert_eq!(written.expect("text"), line(Kind::Confirm, &summary(), Unit::Rate) + "\n");
    }
}
