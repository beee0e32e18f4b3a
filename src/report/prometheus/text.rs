//! The text formats.

use std::io;

use super::{Family, Kind, Labels, Times, Value};

/// Writes a family; `exemplars`: whether the format supports them.
pub(super) fn write(family: &Family, exemplars: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let Family { name, help, kind, metrics } = family;
    let kind = match kind {
        Kind::Gauge => "gauge",
        Kind::Summary => "summary",
        Kind::Histogram => "histogram",
    };
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    for metric in metrics {
        let labels = shown(&metric.labels);
        match &metric.value {
            Value::Number(value) => writeln!(out, "{name}{{{labels}}} {value}")?,
            Value::Summary { quantiles, sum, count } => {
                for (quantile, value) in quantiles {
                    // In this format, a missing value is not a number.
                    let value = value.map_or("NaN".into(), |value| value.to_string());
                    writeln!(out, "{name}{{{labels},quantile=\"{quantile}\"}} {value}")?;
                }
                writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}")?;
            }
            Value::Histogram(times) => histogram(name, &labels, times, exemplars, out)?,
        }
    }
    Ok(())
}

fn histogram(
    name: &str,
    labels: &str,
    times: &Times,
    exemplars: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut exemplar = times.exemplar.as_ref().filter(|_| exemplars);
    for (bound, count) in &times.buckets {
        let here = exemplar.take_if(|(_, seconds)| seconds <= bound);
        let told = here.map_or(String::new(), |(id, seconds)| {
            format!(" # {{trace_id=\"{}\"}} {seconds}", escaped(id))
        });
        writeln!(out, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {count}{told}")?;
    }
    let Times { sum, count, .. } = times;
    writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
    writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}")
}

fn shown(labels: &Labels) -> String {
    let each = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    each.collect::<Vec<_>>().join(",")
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}
