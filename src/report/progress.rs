//! The live view: one line per running scenario.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{count, fit, latency, percent, plain, rate, verdict, width};
use crate::record::summary::{EndReason, ms};
use crate::run::{Live, Recent, State};

/// Shows the progress of a run: on a terminal as lines that change, elsewhere as a log.
pub(crate) struct Progress {
    view: View,
    shown: Vec<Option<State>>,
    /// Whole names, and how they are shown in so many columns.
    names: Vec<String>,
    cut: (usize, Vec<String>),
}

enum View {
    Terminal { all: MultiProgress, head: ProgressBar, bars: BTreeMap<usize, ProgressBar> },
    Lines { out: Box<dyn Write + Send>, told: Vec<Option<Instant>> },
}

/// Interval between log lines of a running scenario, if lines cannot change.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The columns after the name: heading and width.
const COLUMNS: [(&str, usize); 8] = [
    ("", 6),
    ("offered", 9),
    ("done", 9),
    ("p50", 8),
    ("p99", 8),
    ("failed", 8),
    ("in flight", 10),
    ("left", 7),
];

/// Minimum columns of a name: together with the columns after it 80, the width of the narrowest
/// terminal.
const NAME_MIN: usize = 15;

impl Progress {
    /// On the terminal of stderr, redrawn at most ten times a second.
    pub(crate) fn terminal() -> Progress {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let all = MultiProgress::with_draw_target(target);
        let head = all.add(bar());
        Progress::of(View::Terminal { all, head, bars: BTreeMap::new() })
    }

    /// Line by line, for logs: when a scenario starts and ends, and every ten seconds in between.
    pub(crate) fn lines(out: impl Write + Send + 'static) -> Progress {
        Progress::of(View::Lines { out: Box::new(out), told: Vec::new() })
    }

    fn of(view: View) -> Progress {
        Progress { view, shown: Vec::new(), names: Vec::new(), cut: (0, Vec::new()) }
    }

    /// Shows the state of all scenarios.
    ///
    /// # Errors
    /// Errors of the writer.
    pub(crate) fn show(&mut self, scenarios: &[Live]) -> io::Result<()> {
        let name = name_columns(scenarios, usize::from(Term::stderr().size().1));
        self.shown.resize(scenarios.len(), None);
        if self.cut.0 != name || !self.names.iter().eq(scenarios.iter().map(|live| &live.name)) {
            self.names = scenarios.iter().map(|live| live.name.clone()).collect();
            self.cut = (name, told_apart(&self.names, name));
        }
        for (index, live) in scenarios.iter().enumerate() {
            let changed = self.shown[index].as_ref() != Some(&live.state);
            self.shown[index] = Some(live.state);
            match &mut self.view {
                View::Terminal { all, head, bars } => match live.state {
                    State::Waiting => (),
                    State::Done(..) => {
                        if changed {
                            if let Some(bar) = bars.remove(&index) {
                                bar.finish_and_clear();
                                all.remove(&bar);
                            }
                            if bars.is_empty() {
                                head.set_message("");
                            }
                            all.println(line(live))?;
                        }
                    }
                    State::Connecting | State::Warmup | State::Running => {
                        head.set_message(heading(name));
                        let bar = bars.entry(index).or_insert_with(|| all.add(bar()));
                        bar.set_message(row(live, &self.cut.1[index], name));
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

    /// Removes the changing lines from the terminal; final ones stay.
    pub(crate) fn finish(self) {
        if let View::Terminal { all, .. } = self.view {
            // Fails if the terminal is gone, and then there is nothing to remove.
            let _ = all.clear();
        }
    }
}

/// A line that shows its message as it is.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").expect("it is a valid template");
    ProgressBar::new_spinner().with_style(style)
}

/// Columns of names: the longest one fits, if the terminal has room for it.
fn name_columns(scenarios: &[Live], terminal: usize) -> usize {
    let behind: usize = COLUMNS.iter().map(|(_, width)| width).sum();
    let longest = scenarios.iter().map(|live| width(&live.name)).max().unwrap_or_default();
    longest.min(terminal.saturating_sub(behind)).max(NAME_MIN)
}

fn heading(name: usize) -> String {
    let columns = COLUMNS.iter().map(|(heading, width)| format!("{heading:>width$}"));
    format!("{:name$}{}", "", columns.collect::<String>())
}

/// Names in so many columns. Those that are too long are cut where that leaves them apart: at the end, in the middle,
/// or around the words in which they differ.
fn told_apart(names: &[String], columns: usize) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| plain(name)).collect();
    let whole: HashSet<&String> = names.iter().collect();
    let cut = |how: &dyn Fn(&str) -> String| -> Vec<String> {
        let of = |name: &String| {
            if width(name) <= columns { name.clone() } else { how(name) }
        };
        names.iter().map(of).collect()
    };
    let apart = |cut: &[String]| cut.iter().collect::<HashSet<_>>().len();
    let at_end = cut(&|name| fit(name, columns));
    if apart(&at_end) == whole.len() {
        return at_end;
    }
    let around = cut(&|name| fit(&differing(name, &names), columns));
    let heads = (0..=columns / 2).rev();
    let in_middle = heads.map(|head| cut(&|name| without_middle(name, head, columns)));
    let mut best = at_end;
    for one in in_middle.take(columns / 4).chain([around]) {
        if apart(&one) > apart(&best) {
            best = one;
        }
        if apart(&best) == whole.len() {
            break;
        }
    }
    best
}

/// So many columns of the beginning of a text, and of its end what else there is room for.
fn without_middle(text: &str, head: usize, columns: usize) -> String {
    let head = fit(text, head + 1);
    let mut tail: Vec<char> = Vec::new();
    for c in text.chars().rev() {
        let with = tail.iter().rev().fold(String::from(c), |text, c| text + &c.to_string());
        if width(&head) + width(&with) > columns {
            break;
        }
        tail.push(c);
    }
    head + &tail.into_iter().rev().collect::<String>()
}

/// The words of a text that not all of these have, with an ellipsis in the place of others.
fn differing(text: &str, all: &[String]) -> String {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric());
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let all: Vec<HashSet<String>> =
        all.iter().map(|other| words(other).into_iter().collect()).collect();
    let mut shown = String::new();
    for word in words(text) {
        if !all.iter().all(|words| words.contains(&word)) {
            shown.push_str(if shown.is_empty() || shown.ends_with('…') { "" } else { " " });
            shown.push_str(&word);
        } else if !shown.ends_with('…') {
            shown.push('…');
        }
    }
    shown.trim_end_matches('…').to_owned()
}

/// A running scenario, below the heading.
fn row(live: &Live, name: &str, columns: usize) -> String {
    let name = format!("{name}{:1$}", "", columns - width(name));
    match live.state {
        State::Waiting => return format!("{name}  waiting"),
        State::Connecting => return format!("{name}  connecting"),
        State::Warmup => {
            let left = live.left.map_or(String::new(), |left| format!(", {} left", short(left)));
            return format!("{name}  warming up{left}");
        }
        State::Running | State::Done(..) => (),
    }
    let recent = |text: fn(&Recent) -> String| live.recent.as_ref().map_or("–".into(), text);
    let figures = [
        live.progress.map_or(String::new(), |progress| format!("{:.0} %", progress * 100.0)),
        recent(|recent| rate(recent.offered_per_s)),
        recent(|recent| rate(recent.done_per_s)),
        recent(|recent| latency(recent.p50.map(ms))),
        recent(|recent| latency(recent.p99.map(ms))),
        failed(live),
        recent(|recent| count(recent.in_flight.round() as u64)),
        live.left.map_or("–".into(), short),
    ];
    let columns = figures.iter().zip(COLUMNS).map(|(text, (_, width))| format!("{text:>width$}"));
    format!("{name}{}", columns.collect::<String>())
}

/// A scenario in words, for a log or as the final line.
fn line(live: &Live) -> String {
    let name = plain(&live.name);
    let latencies = |recent: Option<&Recent>| {
        let time = |of: fn(&Recent) -> Option<Duration>| latency(recent.and_then(of).map(ms));
        format!("p50 {}, p99 {}, failed {}", time(|r| r.p50), time(|r| r.p99), failed(live))
    };
    match live.state {
        State::Waiting => format!("{name}: waiting"),
        State::Connecting => format!("{name}: connecting"),
        State::Warmup => format!("{name}: warming up"),
        State::Running => {
            let mut text = format!("{name}: ");
            if let Some(progress) = live.progress {
                text.push_str(&format!("{:.0} %, ", progress * 100.0));
            }
            match &live.recent {
                Some(recent) => {
                    let (offered, done) = (rate(recent.offered_per_s), rate(recent.done_per_s));
                    let in_flight = count(recent.in_flight.round() as u64);
                    let latencies = latencies(Some(recent));
                    text.push_str(&format!(
                        "{offered} offered, {done} done, {latencies}, {in_flight} in flight"
                    ));
                }
                None => text.push_str("running"),
            }
            match live.left {
                Some(left) => format!("{text}, {} left", short(left)),
                None => text,
            }
        }
        State::Done(EndReason::Skipped, _) => format!("{name}: not run"),
        State::Done(EndReason::Unreachable, _) => format!("{name}: target not reached"),
        State::Done(EndReason::Broken, _) => format!("{name}: cut short"),
        State::Done(_, end) => {
            let latencies = latencies(live.recent.as_ref());
            let requests = if live.sent == 1 { "request" } else { "requests" };
            format!("{name}: {}, {} {requests}, {latencies}", verdict(end), count(live.sent))
        }
    }
}

fn failed(live: &Live) -> String {
    live.error_rate.map_or("–".into(), percent)
}

/// A remaining time, rounded to a useful unit.
fn short(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6000 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::summary::Verdict;

    fn live() -> Live {
        Live {
            name: "search [protocol=grpc, request_size=100]".into(),
            state: State::Running,
            progress: Some(0.456),
            left: Some(Duration::from_secs(16)),
            recent: Some(Recent {
                offered_per_s: 12_345.6,
                done_per_s: 12_344.0,
                p50: Some(Duration::from_micros(5_120)),
                p99: Some(Duration::from_micros(812_345)),
                in_flight: 9_999.6,
            }),
            error_rate: Some(3e-6),
            sent: 1_000_000,
        }
    }

    /// The row of a scenario that is alone.
    fn row_of(live: &Live, columns: usize) -> String {
        row(live, &told_apart(std::slice::from_ref(&live.name), columns)[0], columns)
    }

    #[test]
    fn a_row_has_all_figures_and_fits_a_narrow_terminal() {
        assert_eq!(width(&heading(NAME_MIN)), 80);
        assert_eq!(
            row_of(&live(), NAME_MIN),
            "search [protoc…  46 % 12,346/s 12,344/s 5.12 ms  812 ms <0.01 %    10,000   16 s"
        );
        let wide = Live { name: "搜索搜索搜索搜索搜索".into(), ..live() };
        assert_eq!(width(&row_of(&wide, NAME_MIN)), 80);
    }

    #[test]
    fn names_that_are_cut_can_be_told_apart() {
        let cut = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let cut = told_apart(&names, NAME_MIN);
            assert!(cut.iter().all(|name| width(name) <= NAME_MIN), "{cut:?}");
            cut
        };
        assert_eq!(cut(&["search", "a-name-that-is-too-long"]), ["search", "a-name-that-is…"]);
        assert_eq!(
            cut(&[
                "search-for-books-by-title-a",
                "search-for-books-by-title-b",
                "index [model=minilm]",
                "index [model=clip]"
            ]),
            ["search-…title-a", "search-…title-b", "index […minilm]", "index […l=clip]"]
        );
        assert_eq!(
            cut(&[
                "search [model=minilm, protocol=grpc]",
                "search [model=minilm, protocol=http]",
                "search [model=clip, protocol=grpc]",
                "search [model=clip, protocol=http]"
            ]),
            ["…minilm…grpc", "…minilm…http", "…clip…grpc", "…clip…http"]
        );
        assert_eq!(cut(&["搜索搜索搜索搜索搜索一", "搜索搜索搜索搜索搜索二"]).len(), 2);
        // The same name twice is nobody's fault.
        assert_eq!(
            cut(&["the-same-name-for-both", "the-same-name-for-both"])[0],
            "the-same-name-…"
        );
    }

    #[test]
    fn a_wide_terminal_shows_whole_names() {
        let all = [live(), Live { name: "index".into(), ..live() }];
        assert_eq!(name_columns(&all, 200), width(&all[0].name));
        assert_eq!(name_columns(&all, 90), 25);
        assert_eq!(name_columns(&all, 20), NAME_MIN);
        assert!(row_of(&all[0], 40).starts_with("search [protocol=grpc, request_size=100]  46 %"));
        assert_eq!(width(&heading(40)), width(&row_of(&all[1], 40)));
    }

    #[test]
    fn lines_of_a_log_say_the_same_in_words() {
        assert_eq!(
            line(&live()),
            "search [protocol=grpc, request_size=100]: 46 %, 12,346/s offered, 12,344/s done, \
             p50 5.12 ms, p99 812 ms, failed <0.01 %, 10,000 in flight, 16 s left"
        );
        let done = Live { state: State::Done(EndReason::Time, Verdict::Failed), ..live() };
        assert_eq!(
            line(&done),
            "search [protocol=grpc, request_size=100]: failed, 1,000,000 requests, p50 5.12 ms, \
             p99 812 ms, failed <0.01 %"
        );
    }

    #[test]
    fn a_name_can_not_move_the_cursor() {
        let hostile = Live { name: "a\x1b[2J\nb".into(), ..live() };
        assert!(
            !row_of(&hostile, NAME_MIN).contains('\x1b')
                && !line(&hostile).contains(['\x1b', '\n'])
        );
    }
}
