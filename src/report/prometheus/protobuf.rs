//! Prometheus' protobuf format with native histograms: a sequence of families, each preceded by its length.

#![expect(unreachable_pub, reason = "generated code")]

use std::io;

use prost::Message;

use super::{Family, Kind, Labels, Times, Value};
use crate::report::exponential::ZERO_S;

include!(concat!(env!("OUT_DIR"), "/prometheus/io.prometheus.client.rs"));

pub(super) fn write(family: &Family, out: &mut dyn io::Write) -> io::Result<()> {
    let kind = match family.kind {
        Kind::Gauge => MetricType::Gauge,
        Kind::Summary => MetricType::Summary,
        Kind::Histogram => MetricType::Histogram,
    };
    let message = MetricFamily {
        name: family.name.into(),
        help: family.help.into(),
        r#type: kind.into(),
        metric: family.metrics.iter().map(metric).collect(),
    };
    out.write_all(&message.encode_length_delimited_to_vec())
}

fn metric(of: &super::Metric) -> Metric {
    let mut metric = Metric { label: labels(&of.labels), ..Metric::default() };
    match &of.value {
        Value::Number(value) => metric.gauge = Some(Gauge { value: *value }),
        Value::Summary { quantiles, sum, count } => {
            let quantile = quantiles.iter().map(|(quantile, value)| Quantile {
                quantile: quantile.parse().expect("it is written as a number"),
                value: value.unwrap_or(f64::NAN),
            });
            metric.summary = Some(Summary {
                sample_count: *count,
                sample_sum: *sum,
                quantile: quantile.collect(),
            });
        }
        Value::Histogram(times) => metric.histogram = Some(histogram(times)),
    }
    metric
}

fn histogram(times: &Times) -> Histogram {
    let mut exemplar = times.exemplar.as_ref();
    let bucket = times.buckets.iter().map(|(bound, count)| {
        let here = exemplar.take_if(|(_, seconds)| seconds <= bound);
        let exemplar = here.map(|(id, seconds)| Exemplar {
            label: labels(&vec![("trace_id", id.clone())]),
            value: *seconds,
        });
        Bucket { cumulative_count: *count, upper_bound: *bound, exemplar }
    });
    let native = &times.native;
    // This format uses the index of the upper bound, and each count as the difference to the previous one.
    let span = BucketSpan { offset: native.first + 1, length: native.counts.len() as u32 };
    let before = std::iter::once(0).chain(native.counts.iter().copied());
    let delta = native.counts.iter().zip(before).map(|(now, before)| *now as i64 - before as i64);
    Histogram {
        sample_count: times.count,
        sample_sum: times.sum,
        bucket: bucket.collect(),
        schema: native.scale,
        zero_threshold: ZERO_S,
        zero_count: native.zeros,
        positive_span: (span.length > 0).then_some(span).into_iter().collect(),
        positive_delta: delta.collect(),
    }
}

fn labels(labels: &Labels) -> Vec<LabelPair> {
    let pair =
        |(name, value): &(&str, String)| LabelPair { name: (*name).into(), value: value.clone() };
    labels.iter().map(pair).collect()
}
