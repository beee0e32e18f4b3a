//! HdrHistogram interval log, for its own tools (`HistogramLogProcessor`, HistogramLogAnalyzer),
//! with one line per second and scenario.
//!
//! The tag of response times is the name of the scenario; for service times, `.service` is
//! appended. Values are in µs; the maximum of an interval is in ms.

use std::io;

use crate::record::Histogram;
use crate::record::summary::{ScenarioSummary, Summary, TimelineSecond};

/// A line: tag, start of its second, length, and histogram.
type Interval<'a> = (&'a str, f64, f64, &'a str);

pub(super) fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let start = summary.started_at.as_millisecond() as f64 / 1e3;
    let when = summary.started_at.strftime("%a %b %d %H:%M:%S UTC %Y");
    writeln!(out, "#[Logged with flowbench {}]", summary.environment.flowbench)?;
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(out, "#[StartTime: {start:.3} (seconds since epoch), {when}]")?;
    writeln!(out, "#[BaseTime: {start:.3} (seconds since epoch)]")?;
    writeln!(out, "#[MaxValueDivisor: 1000.0]")?;
    let head =
        r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;
    writeln!(out, "{head}")?;
    let tags = tags(summary);
    let mut intervals: Vec<Interval> = Vec::new();
    for (scenario, (response, service)) in summary.scenarios.iter().zip(&tags) {
        for second in &scenario.timeline {
            let (from, length) = place(scenario, second);
            let histograms = [(response, &second.histogram), (service, &second.service_histogram)];
            for (tag, histogram) in histograms {
                let histogram = histogram.as_deref();
                intervals.extend(histogram.map(|text| (tag.as_str(), from, length, text)));
            }
        }
    }
    // Readers expect ascending times.
    intervals.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (tag, from, length, text) in intervals {
        let max = Histogram::from_base64(text).map_err(io::Error::other)?.max().unwrap_or_default();
        let max = max.as_secs_f64() * 1e3;
        writeln!(out, "Tag={tag},{from:.3},{length:.3},{max:.3},{text}")?;
    }
    Ok(())
}

/// Start of a second, from the start of the run, and its length.
fn place(scenario: &ScenarioSummary, second: &TimelineSecond) -> (f64, f64) {
    (scenario.started_at_s + scenario.warmup.duration_s + second.t_s as f64 - 1.0, 1.0)
}

/// Tags for response time and service time of each scenario: the name without characters that end a
/// tag. Names that become equal get numbers.
fn tags(summary: &Summary) -> Vec<(String, String)> {
    let mut tags: Vec<String> = Vec::new();
    for scenario in &summary.scenarios {
        let plain: String = scenario
            .name
            .chars()
            .map(|c| if c == ',' || c.is_whitespace() || c.is_control() { '_' } else { c })
            .collect();
        let numbered = (2..).map(|n| format!("{plain}_{n}"));
        let tag = std::iter::once(plain.clone()).chain(numbered).find(|tag| !tags.contains(tag));
        tags.extend(tag);
    }
    tags.into_iter().map(|tag| (tag.clone(), format!("{tag}.service"))).collect()
}
