//! Checks, from the requests that reached the Flow, that parts together sent what one machine would have sent.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::parts::{Place, report, text};

/// Each of the four parts sends 500 requests per second, and prints every response time.
pub(super) const LOAD: &str = "load: {rate: 2000/s, arrivals: poisson, duration: 10s}, \
    on_done: [{log: 'took ${{ response.latency_ms }} ms'}], thresholds: [requests > 19000]";

const RATE: f64 = 2000.0;

/// Each client sends once, at the start of the load.
pub(super) const AT_ONCE: &str = "load: {clients: 4, requests: 4}";

/// Enough arrivals for the time from first to last to dwarf the delays of a busy machine.
const SPAN: usize = 20;

/// The largest distance between a distribution and that of a sample (Kolmogorov–Smirnov).
pub(super) fn distance(mut sample: Vec<f64>, expected: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let count = sample.len() as f64;
    let at = |(rank, value): (usize, &f64)| {
        let expected = expected(*value);
        (expected - rank as f64 / count).abs().max((expected - (rank + 1) as f64 / count).abs())
    };
    sample.iter().enumerate().map(at).fold(0.0, f64::max)
}

/// The distance that one in a hundred samples of this size exceeds by chance.
pub(super) fn limit(count: usize) -> f64 {
    1.63 / (count as f64).sqrt()
}

/// The times in s from each arrival to the one `length` later, without overlaps.
pub(super) fn spans(arrivals: &[u64], length: usize) -> Vec<f64> {
    let first: Vec<u64> = arrivals.iter().step_by(length).copied().collect();
    first.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect()
}

/// The probability that a span of `length` arrivals, at this rate, is shorter than `time`.
pub(super) fn erlang(length: usize, rate: f64, time: f64) -> f64 {
    let mean = rate * time;
    let mut term = (-mean).exp();
    let mut sum = 0.0;
    for n in 0..length {
        sum += term;
        term *= mean / (n + 1) as f64;
    }
    1.0 - sum
}

/// How far gaps and spans deviate from those of Poisson arrivals at this rate; and the number of spans.
fn distances(arrivals: &[u64], rate: f64) -> (f64, f64, usize) {
    let (gaps, spans) = (spans(arrivals, 1), spans(arrivals, SPAN));
    let count = spans.len();
    let of_gaps = distance(gaps, |gap| erlang(1, rate, gap));
    (of_gaps, distance(spans, |span| erlang(SPAN, rate, span)), count)
}

#[test]
fn distances_tell_one_rate_from_another() {
    // The middle of each hundredth of the distribution: the closest sample of a hundred.
    let gaps: Vec<f64> = (0..100).map(|n| -(1.0 - (n as f64 + 0.5) / 100.0).ln() / 50.0).collect();
    assert!((distance(gaps.clone(), |gap| erlang(1, 50.0, gap)) - 0.005).abs() < 1e-9);
    assert!(distance(gaps, |gap| erlang(1, 60.0, gap)) > 0.06);
    // Half of all spans are shorter than their median, which is about n − 1/3.
    assert!((erlang(20, 1.0, 20.0 - 1.0 / 3.0) - 0.5).abs() < 1e-3);
}

/// `printed`: the output of all parts while they sent [`LOAD`] into `out` of `place`.
pub(super) fn is_the_load_of_one_machine(place: Place, printed: &str) {
    let whole = report(&place.path("out"));
    let scenario = &whole["scenarios"][0];
    let sent = scenario["requests"]["sent"].as_u64().expect("a number");
    let valid = scenario["validity"]["valid"] == true;
    if scenario["requests"]["ok"].as_u64() != Some(sent) {
        return busy(&format!("not all were answered: {}", scenario["requests"]));
    }
    percentiles(&scenario["response_time_ms"], printed, sent);

    // The seed determines how many requests one machine sends.
    let one = place.run(&["run", "suite.yaml", "--out", "one", "--quiet"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    let one = report(&place.path("one"));
    assert_eq!(one["scenarios"][0]["requests"]["sent"].as_u64(), Some(sent));
    let arrivals = place.arrivals();
    assert_eq!(arrivals.len() as u64, 2 * sent, "each came once");
    let (parts, one) = arrivals.split_at(sent as usize);
    let ((gaps, spans, count), of_one) = (distances(parts, RATE), distances(one, RATE));
    let told = format!(
        "{sent} arrivals of four parts, and of one process: gaps are {gaps:.4} and {:.4} from Poisson's (limit {:.4}), \
         spans of {SPAN} are {spans:.4} and {:.4} (limit {:.4})",
        of_one.0,
        limit(sent as usize),
        of_one.1,
        limit(count),
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    if !valid {
        // The run itself reports that requests were not sent when due.
        return busy("requests were not sent when they were due");
    }
    if of_one.1 >= limit(count) {
        return busy("what one process sends is not seen as what it is, either");
    }
    assert!(spans < limit(count), "{told}");
}

fn busy(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: the machine is too busy to look at gaps: {why}");
}

/// The percentiles of the whole load are those of all response times taken together.
fn percentiles(latency: &Value, printed: &str, sent: u64) {
    let took = |line: &str| line.split_once("took ")?.1.strip_suffix(" ms")?.parse::<f64>().ok();
    let mut all: Vec<f64> = printed.lines().filter_map(took).collect();
    assert_eq!(all.len() as u64, sent, "each part printed all of its own");
    all.sort_by(f64::total_cmp);
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
        let rank = (quantile * all.len() as f64).ceil() as usize;
        let (exact, told) = (all[rank - 1], latency[name].as_f64().expect("a number"));
        // Three digits, and above 2 ms whole µs.
        assert!((told - exact).abs() <= exact * 0.001 + 0.001, "{name}: {told}, and not {exact}");
    }
}

/// How far apart parts sent their first request, in ms, in each of several runs of [`AT_ONCE`].
pub(super) fn begin_together(place: Place, runs: usize) {
    for run in 0..runs {
        let whole = report(&place.path(&format!("out-{run}")));
        assert_eq!(whole["scenarios"][0]["requests"]["ok"], 4, "{}", whole["scenarios"][0]["end"]);
    }
    let arrivals = place.arrivals();
    assert_eq!(arrivals.len(), 4 * runs, "one of each part");
    let spread = |run: &[u64]| (run[3] - run[0]) as f64 / 1e6;
    let mut spreads: Vec<f64> = arrivals.chunks(4).map(spread).collect();
    spreads.sort_by(f64::total_cmp);
    let told =
        format!("the first requests of four parts came within {spreads:.1?} ms of each other");
    let _ = writeln!(std::io::stderr(), "{told}");
    // Occasionally another process has the processor.
    assert!(spreads[0] < 5.0, "{told}");
}

/// A `flowbench` that resolves names of nodes to this machine, in a folder that must come first on the PATH.
pub(super) fn with_names(folder: &Path, binary: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let hosts = folder.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost n1 n2 n3 n4\n")?;
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind \"$0\" /etc/hosts && exec {binary} \"$@\"' {} \"$@\"\n",
        hosts.display()
    );
    let path = folder.join("flowbench");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))
}
