//! Numbers and verdicts in words, the same in all reports.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::record::summary::{
    EndReason, Environment, Latency, ScenarioSummary, Summary, ThresholdSummary, UnmatchedReplies,
    Verdict,
};
use crate::record::why::{About, Factor};
use crate::units::ByteSize;

/// A latency in ms with three significant digits in a suitable unit; a dash if there is none.
pub(crate) fn latency(ms: Option<f64>) -> String {
    let Some(ms) = ms else { return "–".into() };
    let (value, unit) = match ms {
        _ if ms < 1.0 => (ms * 1e3, "µs"),
        _ if ms < 1e3 => (ms, "ms"),
        _ if ms < 600e3 => (ms / 1e3, "s"),
        _ => (ms / 60e3, "min"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A number with three significant digits, or all digits before the decimal point.
pub(super) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size == 0.0 || size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// A count with separated thousands.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of any size, with three significant digits and separated thousands.
pub(super) fn amount(value: f64) -> String {
    match value {
        _ if value.abs() >= 1e15 => format!("{value:.2e}"),
        _ if value >= 999.5 => count(value.round() as u64),
        _ if value != 0.0 && value.abs() < 0.01 => format!("{value:.1e}"),
        _ => three_digits(value),
    }
}

/// A size.
pub(super) fn bytes(value: f64) -> String {
    ByteSize::new(value.max(0.0) as u64).approximate()
}

/// A figure that may be missing.
pub(super) fn known(value: Option<f64>, show: fn(f64) -> String) -> String {
    value.map_or("–".into(), show)
}

/// A rate per second.
pub(super) fn rate(per_s: f64) -> String {
    if per_s >= 1000.0 {
        format!("{}/s", count(per_s.round() as u64))
    } else {
        format!("{}/s", three_digits(per_s))
    }
}

/// How often each list of steps was chosen.
pub(super) fn choices(scenario: &ScenarioSummary) -> Option<String> {
    let each = scenario.choices.iter();
    let each = each.map(|choice| format!("{} {} times", choice.name, count(choice.iterations)));
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The times of iterations without the pauses in them, if there are pauses.
pub(super) fn active(scenario: &ScenarioSummary) -> Option<&Latency> {
    let active = scenario.active_time_ms.as_ref()?;
    // Pauses lengthen every iteration that has them.
    (active.mean < scenario.response_time_ms.mean).then_some(active)
}

/// The times without pauses, in words.
pub(super) fn without_pauses(scenario: &ScenarioSummary) -> Option<String> {
    let active = active(scenario)?;
    let p99 = active.told_p99().map(|p99| format!(" and {} at p99", latency(Some(p99))));
    Some(format!("iterations take {} at p50{}", latency(active.p50), p99.unwrap_or_default()))
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if percent == 0.0 => "0 %".into(),
        _ if percent < 0.01 => "<0.01 %".into(),
        _ if percent > 99.99 && percent < 100.0 => ">99.99 %".into(),
        _ => format!("{} %", three_digits(percent)),
    }
}

/// A duration.
pub(crate) fn time(seconds: f64) -> String {
    let Ok(duration) = Duration::try_from_secs_f64(seconds) else { return "–".into() };
    let whole = duration.as_secs();
    match whole {
        0..60 => format!("{} s", three_digits(seconds)),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Verdict on a run, a scenario or a threshold.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NotReached => "not reached",
        Verdict::Interrupted => "interrupted",
        Verdict::Part => "part",
    }
}

/// Verdict on a scenario, or why there is none.
pub(super) fn outcome(scenario: &ScenarioSummary) -> &'static str {
    match scenario.end.reason {
        EndReason::Unreachable => "not reached",
        EndReason::Skipped => "not run",
        EndReason::Broken => "cut short",
        EndReason::Waiting => "waiting",
        EndReason::Running => "running",
        _ => verdict(scenario.verdict),
    }
}

/// Value of a threshold's metric.
pub(super) fn actual(threshold: &ThresholdSummary) -> String {
    match (threshold.actual, threshold.unit.as_str()) {
        (None, _) if threshold.verdict == Verdict::Inconclusive => "unknown".into(),
        (None, _) => "above every response time".into(),
        (Some(value), "ms") => latency(Some(value)),
        (Some(value), "share") => percent(value),
        (Some(value), "per_s") => rate(value),
        (Some(value), "number") => amount(value),
        (Some(value), "bytes") => bytes(value),
        (Some(value), _) => count(value as u64),
    }
}

/// How a scenario ended, if that is worth mentioning.
pub(super) fn end(scenario: &ScenarioSummary) -> Option<String> {
    let words = match scenario.end.reason {
        EndReason::Time | EndReason::Requests | EndReason::Documents => return None,
        EndReason::Waiting | EndReason::Running => return None,
        EndReason::Aborted | EndReason::PartLost => "ended early",
        EndReason::Interrupted => "interrupted",
        EndReason::Unreachable => "target not reached",
        EndReason::Broken => "cut short",
        EndReason::Skipped => "not run",
    };
    Some(match &scenario.end.message {
        Some(message) => format!("{words}: {message}"),
        None => words.into(),
    })
}

/// The machine: system, processor, cores and memory.
pub(super) fn machine(environment: &Environment) -> String {
    let Environment { os, kernel, arch, cpu, cores, cpu_quota, memory_bytes, .. } = environment;
    let mut machine = format!("{os} {} {arch}", kernel.as_deref().unwrap_or_default());
    if let Some(cpu) = cpu {
        machine.push_str(&format!(", {cpu}"));
    }
    machine.push_str(&format!(", {cores} cores"));
    if let Some(quota) = cpu_quota {
        machine.push_str(&format!(" (limited to {})", three_digits(*quota)));
    }
    if let Some(bytes) = memory_bytes {
        machine.push_str(&format!(", {}", ByteSize::new(*bytes).approximate()));
    }
    machine
}

/// The verdict of the run in one sentence.
pub(super) fn answer(summary: &Summary) -> String {
    let scenarios = &summary.scenarios;
    let having = |verdict: Verdict| scenarios.iter().filter(move |s| s.verdict == verdict).count();
    let all = scenarios.len();
    let mut text = match summary.verdict {
        Verdict::Passed if all == 1 => "All thresholds of the scenario passed".to_owned(),
        Verdict::Passed => format!("All thresholds of all {all} scenarios passed"),
        Verdict::Failed => {
            format!("{} of {} failed", having(Verdict::Failed), scenarios_(all))
        }
        Verdict::Inconclusive => {
            format!("{} of {} inconclusive", having(Verdict::Inconclusive), scenarios_(all))
        }
        Verdict::NotReached => {
            format!("{} of {} could not be run", having(Verdict::NotReached), scenarios_(all))
        }
        Verdict::Interrupted => {
            let cut = scenarios.iter().filter(|s| s.end.unfinished().is_some()).count();
            format!("{cut} of {} did not run to the end", scenarios_(all))
        }
        Verdict::Part => "Not judged, because thresholds are about the whole load".to_owned(),
    };
    for (verdict, words) in [(Verdict::Failed, "failed"), (Verdict::Inconclusive, "inconclusive")] {
        let more = having(verdict);
        if more > 0 && summary.verdict.and(verdict) != verdict {
            text.push_str(&format!(", {more} {words}"));
        }
    }
    text
}

/// What is wrong with a run that passed: scenarios whose figures are not valid.
pub(super) fn caveat(summary: &Summary) -> String {
    match summary.scenarios.iter().filter(|scenario| !scenario.validity.valid).count() {
        invalid if invalid > 0 && summary.verdict == Verdict::Passed => {
            format!(" The figures of {} are not valid.", scenarios_(invalid))
        }
        _ => String::new(),
    }
}

/// The answer with how long it took, and what is wrong with a run that passed.
pub(super) fn answer_after(summary: &Summary) -> String {
    let (answer, time) = (answer(summary), time(summary.duration_s));
    match summary.verdict {
        Verdict::Part => format!("{answer}; it ended after {time}."),
        _ => format!("{answer} after {time}.{}", caveat(summary)),
    }
}

fn scenarios_(count: usize) -> String {
    if count == 1 { "1 scenario".into() } else { format!("{count} scenarios") }
}

/// A factor, in words.
pub(super) fn factor_words(factor: &Factor) -> String {
    let value = &factor.value;
    match factor.about {
        About::Value => value.clone(),
        About::Bytes => format!("request of {value} bytes"),
        About::Documents => format!("{value} Documents in the request"),
        About::Length => format!("Document of {value} characters or bytes"),
        About::Step => format!("step {value}"),
        About::Executor => format!("longest in {value}"),
        About::Replica => format!("replica {value}"),
        About::Connection => value.clone(),
        About::Idle => format!("connection idle for {value}"),
        About::Stall => value.clone(),
    }
}

/// What distinguishes slow and failed requests, one line per finding.
pub(super) fn apart(scenario: &ScenarioSummary) -> Vec<(&'static str, String)> {
    let Some(why) = &scenario.why else { return Vec::new() };
    let both =
        [("slow", "the slowest 1 %", &why.slow), ("failed", "those that failed", &why.failed)];
    let found = both.into_iter().filter_map(|(label, who, apart)| {
        let first = apart.as_ref()?.factors.first()?;
        let text = format!(
            "{}: {} of {who}, {} of all",
            factor_words(first),
            percent(first.share),
            percent(first.share_of_all)
        );
        Some((label, text))
    });
    found.collect()
}

/// Requests without a response, and replies without a request.
pub(super) fn unanswered(scenario: &ScenarioSummary) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let (abandoned, client) = (scenario.requests.abandoned, &scenario.client);
    if abandoned > 0 {
        let unsent = match client.abandoned_unsent {
            0 => String::new(),
            unsent => format!(
                "; {} of them were never sent, held back by the Flow (no free stream, flow control)",
                count(unsent)
            ),
        };
        // An iteration may end in a pause, when all its requests have been answered.
        let what = match (scenario.steps.is_empty(), abandoned) {
            (true, 1) => "request without a response",
            (true, _) => "requests without a response",
            (false, 1) => "unfinished iteration",
            (false, _) => "unfinished iterations",
        };
        let text = format!("{} {what} at the end{unsent}", count(abandoned));
        lines.push(("abandoned", text));
    }
    if client.waited_for_connections > 0 {
        let waited = count(client.waited_for_connections);
        let text = format!("{waited} requests had to wait for one of the `connections`");
        lines.push(("held back", text));
    }
    if let Some(kinds) = unmatched(&client.unmatched_replies) {
        lines.push(("unmatched", format!("replies that matched no request: {kinds}")));
    }
    lines
}

/// A note that times in Executors were excluded.
pub(super) fn impossible(scenario: &ScenarioSummary) -> Option<String> {
    let number = scenario.impossible_routes;
    (number > 0).then(|| {
        format!(
            "{} of the responses reported times in Executors longer than the request took; they \
             are excluded",
            count(number)
        )
    })
}

/// Number of replies that matched no request, by cause; `None` if there were none.
pub(super) fn unmatched(replies: &UnmatchedReplies) -> Option<String> {
    let kinds = [
        (replies.without_id, "without a request id"),
        (replies.unknown_id, "with an id that was never sent"),
        (replies.duplicate, "to a request that already had a reply"),
        (replies.late, "to an abandoned request"),
    ];
    let kinds = kinds.into_iter().filter(|(number, _)| *number > 0);
    let kinds: Vec<String> =
        kinds.map(|(number, kind)| format!("{} {kind}", count(number))).collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

/// Number of columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Cuts a text to a number of columns; an ellipsis shows the cut. Characters that could move the
/// cursor are made visible.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let text = plain(text);
    if width(&text) <= columns {
        return text;
    }
    let mut taken = 0;
    let mut cut: String = text
        .chars()
        .take_while(|c| {
            taken += c.width().unwrap_or(0);
            taken < columns
        })
        .collect();
    cut.push('…');
    cut
}

/// Text from a Flow is data: it must not control the terminal or reverse the direction of a line.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if is_command(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Whether a character controls how text is shown: a terminal control, or a change of direction,
/// which can make one text look like another.
pub(crate) fn is_command(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text with a capital first letter.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A text whose numbers are never separated from their units at the end of a line: `1 372/s`, `99
/// %`.
pub(super) fn whole_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let after = out.ends_with(|before: char| before.is_ascii_digit());
        let before = chars.peek().is_some_and(|next| next.is_ascii_digit() || *next == '%');
        out.push(if char == ' ' && after && before { '\u{a0}' } else { char });
    }
    out
}

/// Wraps a text at spaces into lines of at most this many columns.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let text = plain(text);
    for mut rest in text.split(' ').filter(|word| !word.is_empty()) {
        while !rest.is_empty() {
            let line = lines.last_mut().expect("there is always one");
            let used = width(line);
            let gap = usize::from(used > 0);
            let fits = beginning(rest, columns.saturating_sub(used + gap));
            if fits.len() == rest.len() {
                if gap > 0 {
                    line.push(' ');
                }
            } else if used > 0 {
                lines.push(String::new());
                continue;
            }
            // A word longer than a line is split; at least one character is taken, however wide it
            // is.
            let taken = fits.len().max(rest.chars().next().map_or(0, char::len_utf8));
            line.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
    }
    lines
}

/// The beginning of a text that fits into a number of columns. Looks at no more than that.
fn beginning(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > columns
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("a bc  def", 4), ["a bc", "def"]);
        assert_eq!(wrap("ab 123456789 c", 4), ["ab", "1234", "5678", "9 c"]);
        assert_eq!(wrap("漢字漢字", 3), ["漢", "字", "漢", "字"]);
        assert_eq!(wrap("漢", 1), ["漢"]);
        assert_eq!(wrap("", 4), [""]);
        // Several megabytes in one word must take a moment, not minutes.
        let long = "x".repeat(5 << 20);
        assert_eq!(wrap(&long, 100).len(), (5 << 20) / 100 + 1);
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let shown =
            [0.0005, 0.12345, 1.2345, 12.345, 123.45, 1234.5, 61_000.0].map(Some).map(latency);
        assert_eq!(
            shown,
            ["0.50 µs", "123 µs", "1.23 ms", "12.3 ms", "123 ms", "1.23 s", "61.0 s"]
        );
        assert_eq!(latency(None), "–");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.5, 123.4, 12_345.6].map(rate), ["0.50/s", "123/s", "12,346/s"]);
        assert_eq!(
            [0.0, 0.00001, 0.005, 0.999_99, 1.0].map(percent),
            ["0 %", "<0.01 %", "0.50 %", ">99.99 %", "100 %"]
        );
        assert_eq!([3.0, 75.2, 7260.0].map(time), ["3.00 s", "1 min 15 s", "2 h 1 min"]);
    }

    #[test]
    fn texts_are_cut_and_broken_by_columns_not_characters() {
        assert_eq!(fit("搜索 search", 20), "搜索 search");
        assert_eq!(fit("搜索搜索搜索", 6), "搜索…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("搜索搜索", 3), ["搜", "索", "搜", "索"]);
    }

    #[test]
    fn numbers_stay_whole() {
        let whole = whole_numbers("holds 1 372/s, 99 % sure; 2 of 3");
        assert_eq!(whole, "holds 1\u{a0}372/s, 99\u{a0}% sure; 2 of 3");
    }

    #[test]
    fn what_a_flow_sent_can_not_move_the_cursor() {
        assert_eq!(fit("a\x1b[2Jb\n", 20), "a\u{fffd}[2Jb ");
        assert_eq!(fit("gpj.\u{202e}exe \u{2067}x", 20), "gpj.\u{fffd}exe \u{fffd}x");
    }
}
