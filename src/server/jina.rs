//! Jina's names for the metrics of a pod, in three families (receiving, sending and processing requests), as a
//! Summary of prometheus_client or a histogram of OpenTelemetry.

use std::collections::HashSet;

use super::readings::{Counts, Page, Place, Quantity};
use super::text::{Line, Sample, lines};

/// Base name of a metric, and the quantities of its sum and its count.
const SUMMARIES: [(&str, Quantity, Option<Quantity>); 6] = [
    ("receiving_request_seconds", Quantity::ReceivingSeconds, Some(Quantity::Receiving)),
    ("process_request_seconds", Quantity::ProcessSeconds, Some(Quantity::Process)),
    ("sending_request_seconds", Quantity::SendingSeconds, Some(Quantity::Sending)),
    ("received_request_bytes", Quantity::BytesIn, None),
    ("sent_response_bytes", Quantity::BytesOut, None),
    // The former name of `received_request_bytes`, which newer releases still export as well.
    ("request_size_bytes", Quantity::OldBytesIn, None),
];

/// The same for single values.
const SINGLE: [(&str, Quantity); 3] = [
    ("number_of_pending_requests", Quantity::Pending),
    ("failed_requests", Quantity::Failed),
    ("document_processed", Quantity::Documents),
];

/// Metrics that prometheus_client and other libraries export about their own process.
const OF_PROCESS: [(&str, Quantity); 3] = [
    ("process_cpu_seconds_total", Quantity::CpuSeconds),
    ("process_resident_memory_bytes", Quantity::Memory),
    ("process_threads", Quantity::Threads),
];

/// Units that OpenTelemetry's exporters append to a name.
const UNITS: [&str; 5] = ["_s", "_seconds", "_By", "_bytes", "_requests"];

/// Maximum number of places per address: a pod has one, a server for several pods has a few.
const PLACES_MAX: usize = 128;

/// Reads a page. `also`: names of further metrics. `host`: owner of the page, for metrics that name no pod.
pub(super) fn read(page: &str, also: &[String], host: &str) -> Page {
    let mut found = Page::default();
    let mut of_process = Counts::default();
    let mut counters: Vec<&str> = Vec::new();
    let mut unread: HashSet<Place> = HashSet::new();
    for line in lines(page) {
        let sample = match line {
            Line::Type(name, "counter") => {
                if also
                    .iter()
                    .any(|asked| asked == name || asked.strip_suffix("_total") == Some(name))
                {
                    counters.push(name);
                }
                continue;
            }
            Line::Type(..) => continue,
            Line::Sample(sample) => sample,
        };
        found.samples += 1;
        if let Some(quantity) = quantity(sample.name) {
            let place = place(&sample, host);
            let known = found.places.iter().position(|(known, _)| *known == place);
            let index = known.or_else(|| {
                (found.places.len() < PLACES_MAX).then(|| {
                    found.places.push((place, Counts::default()));
                    found.places.len() - 1
                })
            });
            let Some(index) = index else {
                unread.insert(self::place(&sample, host));
                continue;
            };
            found.places[index].1.add(quantity, quantity.usable(sample.value));
        } else if let Some((_, quantity)) = OF_PROCESS.iter().find(|(name, _)| *name == sample.name)
        {
            of_process.add(*quantity, quantity.usable(sample.value));
        }
        if also.iter().any(|asked| asked == sample.name) {
            named(&mut found.named, &sample, &counters);
        }
    }
    found.places.iter_mut().for_each(|(_, counts)| counts.settle());
    if !of_process.is_empty() {
        match found.places.as_mut_slice() {
            [(_, only)] => only.extend(&of_process),
            _ => found.places.push((Place::of_host(host), of_process)),
        }
    }
    found.unread = unread.len();
    found
}

/// All values of the same name are added up: the result is a figure, not a table.
fn named(all: &mut Vec<(String, f64, bool)>, sample: &Sample<'_>, counters: &[&str]) {
    match all.iter_mut().find(|(known, ..)| known == sample.name) {
        Some((_, value, grows)) => *value += kind(*grows).usable(sample.value),
        None => {
            let base = sample.name.strip_suffix("_total").unwrap_or(sample.name);
            let grows = ["_total", "_count", "_sum", "_bucket"]
                .iter()
                .any(|end| sample.name.ends_with(end))
                || counters.contains(&sample.name)
                || counters.contains(&base);
            all.push((sample.name.to_owned(), kind(grows).usable(sample.value), grows));
        }
    }
}

/// What another metric is.
fn kind(grows: bool) -> Quantity {
    if grows { Quantity::Growing } else { Quantity::Value }
}

/// The quantity of a value, from its name.
fn quantity(name: &str) -> Option<Quantity> {
    let name = name.strip_prefix("jina_")?;
    let is_end = |rest: &str, end: &str| {
        rest == end || UNITS.iter().any(|unit| rest.strip_prefix(unit) == Some(end))
    };
    for (base, sum, count) in SUMMARIES {
        let Some(rest) = name.strip_prefix(base) else { continue };
        if is_end(rest, "_sum") {
            return Some(sum);
        }
        if is_end(rest, "_count") {
            return count;
        }
    }
    SINGLE.into_iter().find_map(|(base, quantity)| {
        let rest = name.strip_prefix(base)?;
        (is_end(rest, "") || is_end(rest, "_total")).then_some(quantity)
    })
}

/// The pod a value belongs to: `encoder/rep-0` is a replica of `encoder`.
fn place(sample: &Sample<'_>, host: &str) -> Place {
    let Some(name) = sample.label("runtime_name").filter(|name| !name.is_empty()) else {
        return Place::of_host(host);
    };
    match name.split_once('/') {
        Some((name, replica)) => Place::pod(name, Some(replica)),
        None => Place::pod(name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_and_histograms_are_the_same_quantities() {
        for (name, expected) in [
            ("jina_receiving_request_seconds_sum", Some(Quantity::ReceivingSeconds)),
            ("jina_receiving_request_seconds_count", Some(Quantity::Receiving)),
            ("jina_receiving_request_seconds_bucket", None),
            ("jina_receiving_request_seconds_created", None),
            ("jina_sending_request_seconds_s_sum", Some(Quantity::SendingSeconds)),
            ("jina_sending_request_seconds_count", Some(Quantity::Sending)),
            ("jina_process_request_seconds_sum", Some(Quantity::ProcessSeconds)),
            ("jina_received_request_bytes_sum", Some(Quantity::BytesIn)),
            ("jina_received_request_bytes_count", None),
            ("jina_sent_response_bytes_By_sum", Some(Quantity::BytesOut)),
            ("jina_number_of_pending_requests", Some(Quantity::Pending)),
            ("jina_failed_requests_total", Some(Quantity::Failed)),
            ("jina_failed_requests_created", None),
            ("jina_document_processed_total", Some(Quantity::Documents)),
            ("process_request_seconds_sum", None),
            ("jina_sent_request_bytes_sum", None),
        ] {
            assert_eq!(quantity(name), expected, "{name}");
        }
    }

    #[test]
    fn values_of_a_pod_are_added_up_over_its_endpoints() {
        let page = "jina_process_request_seconds_sum{executor=\"E\",executor_endpoint=\"/a\",runtime_name=\"enc/rep-1\"} 2\n\
                    jina_process_request_seconds_sum{executor=\"E\",executor_endpoint=\"/b\",runtime_name=\"enc/rep-1\"} 3\n\
                    jina_request_size_bytes_sum{runtime_name=\"enc/rep-1\"} 10\n\
                    jina_received_request_bytes_sum{runtime_name=\"enc/rep-1\"} 11\n\
                    process_cpu_seconds_total 7\nqueue_length{shard=\"0\"} 4\nqueue_length{shard=\"1\"} 5\nseen_total 9\n";
        let also = ["queue_length".to_owned(), "seen_total".to_owned()];
        let page = read(page, &also, "h:1");
        let [(place, counts)] = &page.places[..] else { panic!("{page:?}") };
        assert_eq!(*place, Place::pod("enc", Some("rep-1")));
        assert_eq!(counts.get(Quantity::ProcessSeconds), Some(5.0));
        assert_eq!(counts.get(Quantity::BytesIn), Some(11.0));
        assert_eq!(counts.get(Quantity::CpuSeconds), Some(7.0));
        let named = [("queue_length".to_owned(), 9.0, false), ("seen_total".to_owned(), 9.0, true)];
        assert_eq!(page.named, named);
        let old = read("jina_request_size_bytes_sum{runtime_name=\"gateway\"} 10\n", &[], "h:1");
        assert_eq!(old.places[0].1.get(Quantity::BytesIn), Some(10.0));
        // With several pods on one page, it is unknown whose process it is.
        let two = read(
            "jina_failed_requests_total{runtime_name=\"a\"} 1\njina_failed_requests_total{runtime_name=\"b\"} 1\n\
             process_cpu_seconds_total 7\n",
            &[],
            "h:1",
        );
        assert_eq!(two.places[2].0, Place::of_host("h:1"));
    }

    #[test]
    fn what_can_be_no_value_is_none() {
        let page = "jina_number_of_pending_requests{runtime_name=\"a\"} +Inf\n\
                    jina_failed_requests_total{runtime_name=\"a\"} -1\n\
                    process_resident_memory_bytes -1\nqueue -4\nqueue{of=\"b\"} 1\nload +Inf\n";
        let page = read(page, &["queue".into(), "load".into()], "h:1");
        let counts = page.places[0].1;
        for quantity in [Quantity::Pending, Quantity::Memory, Quantity::Failed] {
            assert!(counts.get(quantity).is_some_and(f64::is_nan), "{quantity:?}");
        }
        assert_eq!(page.named[0], ("queue".to_owned(), -3.0, false));
        assert!(page.named[1].1.is_nan(), "{page:?}");
    }

    #[test]
    fn places_without_room_are_counted() {
        let line =
            |n: usize| format!("jina_failed_requests_total{{runtime_name=\"e/rep-{n}\"}} 1\n");
        let page: String = (0..1000).chain(0..1000).map(line).collect();
        let page = read(&page, &[], "h:1");
        assert_eq!((page.places.len(), page.unread), (PLACES_MAX, 1000 - PLACES_MAX));
    }
}
