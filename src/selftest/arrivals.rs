//! When requests arrived, according to the Flow's own log.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::record::Histogram;

/// The part of a log line that is used.
#[derive(Deserialize)]
struct Line {
    arrival_ns: u64,
}

/// Arrival times in ns, ascending.
pub(super) fn read(log: &Path) -> std::io::Result<Vec<u64>> {
    let lines = BufReader::new(std::fs::File::open(log)?).lines();
    let mut arrivals = Vec::new();
    for line in lines {
        arrivals.push(serde_json::from_str::<Line>(&line?)?.arrival_ns);
    }
    arrivals.sort_unstable();
    Ok(arrivals)
}

/// How late each of a series of evenly spaced arrivals came, relative to the earliest: the transit
/// time to the Flow is not the schedule's fault.
pub(super) fn lateness(arrivals: &[u64], per_s: f64) -> Histogram {
    let mut lateness = Histogram::new();
    let Some(first) = arrivals.first() else { return lateness };
    // Relative to the first, to keep precision.
    let off = |(index, at): (usize, &u64)| (at - first) as f64 - index as f64 * 1e9 / per_s;
    let offs: Vec<f64> = arrivals.iter().enumerate().map(off).collect();
    let quickest = offs.iter().copied().fold(f64::INFINITY, f64::min);
    for off in offs {
        lateness.record(Duration::from_nanos((off - quickest) as u64));
    }
    lateness
}

/// The gaps between arrivals, in units of the mean gap at this rate.
pub(super) fn gaps(arrivals: &[u64], per_s: f64) -> Vec<f64> {
    arrivals.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9 * per_s).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_reckoned_from_the_quickest() {
        // The third is the earliest; the first came 20 µs later than it should, the last 300 µs.
        let us = [20, 1_050, 2_000, 3_300].map(|us| us * 1_000);
        let late = lateness(&us, 1000.0);
        assert_eq!(late.min(), Some(Duration::ZERO));
        assert_eq!(late.max(), Some(Duration::from_micros(300)));
        assert_eq!(late.quantile(0.5), Some(Duration::from_micros(20)));
    }
}
