//! Whether the figures of a run may be quoted: reasons against it, each a sentence that says what
//! was found, what is allowed and what to do.

use std::time::Duration;

use super::{Histogram, Recording, Second};

/// What else there is to know for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Circumstances {
    /// Whether arrivals followed the clock.
    pub open: bool,
    /// CPU seconds of the busiest thread that sent and received, per second.
    pub busiest: f64,
    /// The share of the time in which the machine under us, or our control group's quota, kept
    /// processors from us.
    pub withheld: f64,
}

impl Circumstances {
    /// Whether our CPU was the limit.
    pub fn is_saturated(&self) -> bool {
        self.busiest > BUSY_MAX || self.withheld > WITHHELD_MAX
    }
}

/// How the one reason begins that says something of the Flow and nothing against us.
pub const OVERLOAD: &str = "the load exceeds capacity";

/// How the reason begins that our pacer was late.
pub const LATE: &str = "the generator was late";

/// How the reason begins that Documents were made too slowly.
pub const STARVED: &str = "the document generator was the bottleneck";

/// How the reasons begin that our threads had too little of the processors.
pub const NO_CPU: &str = "our CPU was saturated";

/// How the one of them ends in which others had them.
pub const WITHHELD: &str = "withheld by the host or a quota";

/// The share of a processor above which a thread has no time left to be on time.
const BUSY_MAX: f64 = 0.9;

/// The share of time withheld from us above which lags are not ours to explain.
const WITHHELD_MAX: f64 = 0.05;

/// The share of the schedule that must have been sent on time for it.
const SENT_MIN: f64 = 0.99;

/// How far Little's law may be off.
const LITTLE_MAX: f64 = 0.05;

/// The reasons against quoting a recording.
pub fn reasons(recording: &Recording, circumstances: Circumstances) -> Vec<String> {
    let totals = &recording.totals;
    let mut reasons = Vec::new();
    let typical = totals.ok().quantile(0.5).unwrap_or_default();
    let allowed = (typical / 10).max(Duration::from_millis(1));
    if let Some(lag) = beyond(&totals.pacer, allowed) {
        reasons.push(format!(
            "{LATE}: p99 of its lag is {}, allowed are {}; use a lower rate or more \
             CPU",
            show(lag),
            show(allowed)
        ));
    }
    // Only requests that had to wait are in the histogram: rank the waits among all.
    let starved = totals.starved.quantile_above_zeros(0.99, totals.lag.count());
    if let Some(lag) = starved.filter(|lag| *lag > allowed) {
        reasons.push(format!(
            "{STARVED}: p99 of the wait for Documents is {}, allowed \
             are {}; use simpler Documents or a data set",
            show(lag),
            show(allowed)
        ));
    }
    let on_time = totals.offered - totals.dropped_late;
    if (on_time as f64) < totals.offered as f64 * SENT_MIN {
        reasons.push(format!(
            "only {on_time} of {} arrivals could be sent in time: the generator did not keep up",
            totals.offered
        ));
    }
    if circumstances.busiest > BUSY_MAX {
        reasons.push(format!(
            "{NO_CPU}: a thread that sends was busy {:.0} % of the time; use more \
             connections or a lower rate",
            circumstances.busiest * 100.0
        ));
    }
    if circumstances.withheld > WITHHELD_MAX {
        reasons.push(format!(
            "{NO_CPU}: {:.0} % of the time was {WITHHELD}",
            circumstances.withheld * 100.0
        ));
    }
    if circumstances.open
        && let Some((middle, end)) = backlog_growth(&recording.timeline())
    {
        reasons.push(format!(
            "{OVERLOAD}: requests in flight still grew at the end, from {middle:.0} \
             to {end:.0}; latencies tell of the length of the run, not of the Flow"
        ));
    }
    let in_flight = totals.in_flight;
    let off = (in_flight.area - in_flight.spent).abs() / in_flight.spent.max(f64::MIN_POSITIVE);
    if totals.sent >= 100 && in_flight.spent > 0.0 && off > LITTLE_MAX {
        reasons.push(format!(
            "Little's law does not hold: requests in flight and time spent differ by {:.0} %, allowed \
             are {:.0} %",
            off * 100.0,
            LITTLE_MAX * 100.0
        ));
    }
    reasons
}

fn beyond(histogram: &Histogram, allowed: Duration) -> Option<Duration> {
    if histogram.count() == 0 {
        return None;
    }
    let p99 = histogram.quantile(0.99).unwrap_or(Histogram::MAX);
    (p99 > allowed).then_some(p99)
}

/// Requests in flight in the middle and at the end of a run, when they still grow.
///
/// Compares the last third with the one before: a queue that fills grows by the same amount in
/// both, one that is in balance does not.
fn backlog_growth(timeline: &[Second]) -> Option<(f64, f64)> {
    // The drain after the last arrival is no part of the load.
    let last = timeline.iter().rposition(|second| second.offered > 0)?;
    // The last second is mostly cut short, and its part would be too small.
    let load = &timeline[..last];
    if load.len() < 6 {
        return None;
    }
    let third = load.len() / 3;
    // The median, which a standstill of some seconds in one of the thirds does not move.
    let typical = |seconds: &[Second]| {
        let mut in_flight: Vec<f64> = seconds.iter().map(|second| second.in_flight).collect();
        in_flight.sort_by(f64::total_cmp);
        in_flight[in_flight.len() / 2]
    };
    let (first, rest) = load.split_at(load.len() - 2 * third);
    let (middle, end) = rest.split_at(third);
    let (first, middle, end) = (typical(first), typical(middle), typical(end));
    let grew = end - middle;
    // Half as much again, and more than chance makes of a few: three standard deviations of a
    // Poisson number.
    let grows = grew > middle * 0.25 && grew > 3.0 * end.sqrt() && middle >= first;
    grows.then_some((middle, end))
}

/// The number of samples below which a quantile cannot be told: so many that, were the true share
/// above it `1 − quantile`, no more than one sample would lie above with a chance below 1 %
/// (MLPerf LoadGen's early stopping).
pub fn samples_needed(quantile: f64) -> u64 {
    if quantile >= 1.0 {
        return 1;
    }
    let at_most_one = |n: u64| {
        let n = n as f64;
        quantile.powf(n) + n * (1.0 - quantile) * quantile.powf(n - 1.0)
    };
    // The chance falls with n: double, then halve.
    let mut high = 2;
    while at_most_one(high) > 0.01 {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at_most_one(middle) > 0.01 { low = middle } else { high = middle }
    }
    high
}

fn show(duration: Duration) -> String {
    let ms = super::summary::ms(duration);
    if ms >= 10_000.0 { format!("{:.1} s", ms / 1e3) } else { format!("{ms:.1} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tally::Tally;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn recording(change: impl FnOnce(&mut Tally)) -> Recording {
        let mut recording = Recording::default();
        let totals = &mut recording.totals;
        (totals.offered, totals.sent) = (1000, 1000);
        for _ in 0..1000 {
            totals.response[0].record(ms(50));
            totals.lag.record(Duration::ZERO);
            totals.pacer.record(Duration::ZERO);
        }
        (totals.in_flight.area, totals.in_flight.spent) = (50.0, 50.0);
        change(totals);
        recording
    }

    fn check(change: impl FnOnce(&mut Tally), circumstances: Circumstances, expected: &[&str]) {
        let found = reasons(&recording(change), circumstances);
        let starts: Vec<&str> =
            found.iter().map(|reason| reason.split(':').next().unwrap()).collect();
        assert_eq!(starts, expected, "{found:#?}");
    }

    #[test]
    fn a_quiet_run_is_valid() {
        check(|_| (), Circumstances::default(), &[]);
    }

    #[test]
    fn each_fault_of_our_own_has_its_reason() {
        let none = Circumstances::default();
        let late = |totals: &mut Tally| (0..20).for_each(|_| totals.pacer.record(ms(6)));
        check(late, none, &["the generator was late"]);
        let starved = |totals: &mut Tally| (0..20).for_each(|_| totals.starved.record(ms(6)));
        check(starved, none, &["the document generator was the bottleneck"]);
        let unsent = |totals: &mut Tally| totals.dropped_late = 20;
        check(unsent, none, &["only 980 of 1000 arrivals could be sent in time"]);
        let lost = |totals: &mut Tally| totals.in_flight.area = 40.0;
        check(lost, none, &["Little's law does not hold"]);
        let busy = Circumstances { busiest: 0.95, ..none };
        check(|_| (), busy, &["our CPU was saturated"]);
        let stolen = Circumstances { withheld: 0.2, ..none };
        check(|_| (), stolen, &["our CPU was saturated"]);
    }

    /// The first of a hundred and the last of the others: p99 is this.
    fn ninety_ninth(histogram: &mut Histogram, value: Duration) {
        (0..11).for_each(|_| histogram.record(value));
    }

    #[test]
    fn what_is_allowed_is_no_reason() {
        let none = Circumstances::default();
        // A tenth of the typical latency, 50 ms; exactly and by the least that can be told apart.
        let more = Duration::from_micros(5010);
        check(|totals| ninety_ninth(&mut totals.pacer, ms(5)), none, &[]);
        check(|totals| ninety_ninth(&mut totals.pacer, more), none, &["the generator was late"]);
        let starved = "the document generator was the bottleneck";
        check(|totals| ninety_ninth(&mut totals.starved, ms(5)), none, &[]);
        check(|totals| ninety_ninth(&mut totals.starved, more), none, &[starved]);
        // A millisecond, however fast the Flow is.
        let fast = |lag: u64| {
            move |totals: &mut Tally| {
                totals.response[0] = Histogram::new();
                (0..1000).for_each(|_| totals.response[0].record(ms(2)));
                ninety_ninth(&mut totals.pacer, Duration::from_micros(lag));
            }
        };
        check(fast(1000), none, &[]);
        check(fast(1001), none, &["the generator was late"]);
        // 99 % of the schedule.
        let unsent = "only 989 of 1000 arrivals could be sent in time";
        check(|totals| totals.dropped_late = 10, none, &[]);
        check(|totals| totals.dropped_late = 11, none, &[unsent]);
        // What found no slot is the Flow's doing.
        check(|totals| totals.dropped = 500, none, &[]);
        for (busiest, withheld, expected) in [
            (0.9, 0.05, &[][..]),
            (0.901, 0.0, &["our CPU was saturated"][..]),
            (0.0, 0.051, &["our CPU was saturated"]),
        ] {
            let circumstances = Circumstances { busiest, withheld, ..none };
            check(|_| (), circumstances, expected);
            assert_eq!(circumstances.is_saturated(), !expected.is_empty());
        }
        // Little's law within 5 %, in both directions, and of enough requests to tell.
        let little = "Little's law does not hold";
        for (area, expected) in [(52.5, &[][..]), (52.6, &[little]), (47.5, &[]), (47.4, &[little])]
        {
            check(|totals| totals.in_flight.area = area, none, expected);
        }
        let few = |totals: &mut Tally| (totals.sent, totals.in_flight.area) = (99, 99.0);
        check(few, none, &[]);
    }

    fn timeline(in_flight: impl IntoIterator<Item = f64>) -> Vec<Second> {
        let second = |in_flight| Second { offered: 10, in_flight, ..Second::default() };
        in_flight.into_iter().map(second).collect()
    }

    #[test]
    fn a_queue_that_fills_is_told_from_one_in_balance() {
        let growing = timeline((0..30).map(|second| f64::from(second) * 20.0));
        assert!(backlog_growth(&growing).is_some());
        let steady = timeline((0..30).map(|second| 100.0 + f64::from(second % 3)));
        assert!(backlog_growth(&steady).is_none());
        let starting = timeline((0..30).map(|second| f64::from(second.min(8)) * 20.0));
        assert!(backlog_growth(&starting).is_none());
        let frozen = timeline((0..30).map(|second| if second == 25 { 900.0 } else { 1.0 }));
        assert!(backlog_growth(&frozen).is_none());
        let short = timeline((0..5).map(|second| f64::from(second) * 20.0));
        assert!(backlog_growth(&short).is_none());
        // By a quarter from the middle third to the last, and not by more.
        let thirds = |end: f64| {
            let level = move |second: u32| if second < 20 { 1000.0 } else { end };
            timeline((0..31).map(level))
        };
        assert!(backlog_growth(&thirds(1250.0)).is_none());
        assert_eq!(backlog_growth(&thirds(1251.0)), Some((1000.0, 1251.0)));
    }

    #[test]
    fn samples_needed_are_mlperfs() {
        let needed = [0.5, 0.9, 0.95, 0.99, 0.999].map(samples_needed);
        assert_eq!(needed, [11, 64, 130, 662, 6636]);
    }
}
