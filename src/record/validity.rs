//! Whether the figures of a run may be quoted. Each reason against it says what was found, what is
//! allowed and what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reason::{Code, Reason};
use super::summary::ms;
use super::tally::Tally;
use super::{Histogram, Recording, Second};
use crate::client::CallError;
use crate::stats::samples_needed;

/// What else is needed to decide that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Circumstances {
    /// Whether arrivals follow the clock.
    pub open: bool,
    /// Length of the load, if it ended at a known time: by time, or because it was stopped.
    pub length: Option<Duration>,
    /// CPU seconds per second of the busiest sending thread.
    pub busiest: f64,
    /// Share of the time in which the host or the quota of our control group withheld processors
    /// (steal time, throttling).
    pub withheld: f64,
    /// How long sending threads were ready to run without getting a processor.
    pub waited: Waited,
    /// How long after the set time it began, if one was set.
    pub late: Option<Duration>,
}

/// How long threads waited for a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    /// Share of the time, for the thread that waited most.
    pub share: f64,
    /// Total over all threads.
    pub total: Duration,
    /// Number of waits.
    pub times: u64,
}

impl Circumstances {
    /// Whether the load generator's CPU was the limit.
    pub(crate) fn is_saturated(&self) -> bool {
        self.busiest > BUSY_MAX || self.withheld > WITHHELD_MAX
    }
}

/// Maximum delay of a part's start: beyond it, its seconds do not match those of the others.
const LATE_MAX: Duration = Duration::from_millis(100);

/// Share of a processor above which a thread has no time left to be on time.
const BUSY_MAX: f64 = 0.9;

/// Share of steal time and throttling above which delays cannot be attributed.
const WITHHELD_MAX: f64 = 0.05;

/// Share of the schedule that must have been sent in time.
const SENT_MIN: f64 = 0.99;

/// Maximum relative error of Little's law.
const LITTLE_MAX: f64 = 0.05;

/// Maximum share of a latency that our own delays may have.
const OWN_MAX: f64 = 0.1;

/// Own delays below this never matter, however fast the Flow is.
const DELAY_MIN: Duration = Duration::from_millis(1);

/// Share of the offered load that may be in flight at the end of a short run.
const LEFT_MAX: f64 = 0.05;

impl Circumstances {
    /// Combines those of two parts of a load.
    pub(crate) fn and(self, other: Circumstances) -> Circumstances {
        Circumstances {
            open: self.open || other.open,
            length: self.length.and_then(|length| Some(length.min(other.length?))),
            busiest: self.busiest.max(other.busiest),
            withheld: self.withheld.max(other.withheld),
            waited: Waited {
                share: self.waited.share.max(other.waited.share),
                total: self.waited.total + other.waited.total,
                times: self.waited.times + other.waited.times,
            },
            late: self.late.max(other.late),
        }
    }
}

/// The reasons not to quote a recording.
pub fn reasons(recording: &Recording, circumstances: Circumstances) -> Vec<Reason> {
    let totals = &recording.totals;
    let mut reasons = Vec::new();
    if totals.offered == 0 {
        reasons.push(Reason::plain(Code::NothingMeasured, "nothing was sent"));
    }
    let (late, starved) =
        (quantiles(&totals.pacer, 0), quantiles(&totals.starved, totals.lag.count()));
    if let Some((delay, limit)) = beyond(late, totals.ok()) {
        let text = format!(
            "load generator fell behind schedule: p99 send delay {} (limit {}), included in response \
             times; use a lower rate or more CPU",
            show(delay),
            show(limit)
        );
        reasons.push(Reason::new(Code::GeneratorBehind, ms(delay), ms(limit), text));
    }
    if let Some((delay, limit)) = beyond(starved, totals.ok()) {
        let text = format!(
            "Documents were generated too slowly: p99 wait for them {} (limit {}), included in \
             response times; use simpler Documents or a data set",
            show(delay),
            show(limit)
        );
        reasons.push(Reason::new(Code::DocumentsBehind, ms(delay), ms(limit), text));
    }
    let on_time = totals.offered - totals.dropped_late;
    if (on_time as f64) < totals.offered as f64 * SENT_MIN {
        let text = format!(
            "load generator could not keep up: {on_time} of {} arrivals were sent in time",
            totals.offered
        );
        let (on_time, all) = (on_time as f64, totals.offered as f64);
        reasons.push(Reason::new(Code::NotSentInTime, on_time, all, text));
    }
    let Circumstances { open, length, busiest, withheld, waited, late } = circumstances;
    reasons.extend(late.and_then(too_late));
    if busiest > BUSY_MAX {
        let text = format!(
            "a sending thread was busy {:.0} % of the time (limit {:.0} %); use more connections \
             or a lower rate",
            busiest * 100.0,
            BUSY_MAX * 100.0
        );
        reasons.push(Reason::new(Code::ThreadBusy, busiest, BUSY_MAX, text));
    }
    if withheld > WITHHELD_MAX {
        let text = format!(
            "steal time or CPU throttling took {:.0} % of the time (limit {:.0} %); use a dedicated \
             machine or a larger quota",
            withheld * 100.0,
            WITHHELD_MAX * 100.0
        );
        reasons.push(Reason::new(Code::CpuWithheld, withheld, WITHHELD_MAX, text));
    }
    reasons.extend(contended(totals, waited));
    reasons.extend(own_limit(totals));
    if open {
        reasons.extend(backlog(recording, length));
    }
    let in_flight = totals.in_flight;
    let off = (in_flight.area - in_flight.spent).abs() / in_flight.spent.max(f64::MIN_POSITIVE);
    if totals.sent >= 100 && in_flight.spent > 0.0 && off > LITTLE_MAX {
        let text = format!(
            "Little's law does not hold: requests in flight and time spent differ by {:.0} % (limit \
             {:.0} %)",
            off * 100.0,
            LITTLE_MAX * 100.0
        );
        reasons.push(Reason::new(Code::LittlesLaw, off, LITTLE_MAX, text));
    }
    reasons
}

/// The reason if a part began so late that its seconds do not match those of the others.
pub(crate) fn too_late(late: Duration) -> Option<Reason> {
    (late > LATE_MAX).then(|| {
        let text = format!("it began {} late (limit {})", show(late), show(LATE_MAX));
        Reason::new(Code::PartLate, ms(late), ms(LATE_MAX), text)
    })
}

/// The reason if a part began at another time than most: `later_ns` after them by the gateway's clock, known to
/// `within`.
pub(crate) fn apart(later_ns: i64, within: Duration) -> Option<Reason> {
    let by = Duration::from_nanos(later_ns.unsigned_abs());
    (by.saturating_sub(within) > LATE_MAX).then(|| {
        let side = if later_ns < 0 { "before" } else { "after" };
        let (shown, within, limit) = (show(by), show(within), show(LATE_MAX));
        let text = format!(
            "it began {shown} {side} the others by the gateway's clock (limit {limit}; known within {within})"
        );
        Reason::new(Code::PartLate, ms(by), ms(LATE_MAX), text)
    })
}

/// p50 and p99 of delays; among `all` requests if only the delayed ones are recorded.
fn quantiles(delays: &Histogram, all: u64) -> [Duration; 2] {
    [0.5, 0.99].map(|quantile| match delays.count() {
        0 => Duration::ZERO,
        _ if all > 0 => delays.quantile_above_zeros(quantile, all).unwrap_or_default(),
        _ => delays.quantile(quantile).unwrap_or(Histogram::MAX),
    })
}

/// The p99 of our own delays and its limit, if it or the p50 is more than a tenth of the same
/// percentile of the response time. A delay at the 99th percentile adds to that percentile, not to
/// the median.
fn beyond([p50, p99]: [Duration; 2], response: &Histogram) -> Option<(Duration, Duration)> {
    let limit = |quantile| {
        let response = response.quantile(quantile).unwrap_or_default();
        response.mul_f64(OWN_MAX).max(DELAY_MIN)
    };
    (p99 > limit(0.99) || p50 > limit(0.5)).then(|| (p99, limit(0.99)))
}

/// Threads that wait for a processor read replies late, which is not part of any send delay. The
/// effect on a response is the waiting time of all threads divided by the number of requests. If
/// many requests are in flight at a time, it is half a wait for the share that arrives during one.
/// The larger of the two counts.
fn contended(totals: &Tally, waited: Waited) -> Option<Reason> {
    let mean = totals.ok().mean()?.as_secs_f64();
    let total = waited.total.as_secs_f64();
    let each = total / totals.count_all().max(1) as f64;
    let of_many = waited.share * total / waited.times.max(1) as f64 / 2.0;
    let added = each.max(of_many);
    let contended = totals.count_all() >= 100
        && waited.share > WITHHELD_MAX
        && added > mean * OWN_MAX
        && added > DELAY_MIN.as_secs_f64() * OWN_MAX;
    contended.then(|| {
        let text = format!(
            "sending threads waited for a processor {:.0} % of the time (limit {:.0} %), which \
             adds {} to each response; leave cores to the load generator",
            waited.share * 100.0,
            WITHHELD_MAX * 100.0,
            show(Duration::from_secs_f64(added))
        );
        Reason::new(Code::CpuContended, waited.share, WITHHELD_MAX, text)
    })
}

/// Requests that never reached the Flow, because we could not open a connection.
fn own_limit(totals: &Tally) -> Option<Reason> {
    let ours = || totals.errors.iter().filter(|error| error.kind == CallError::OWN_LIMIT);
    let first = ours().next()?;
    let count: u64 = ours().map(|error| error.count).sum();
    let requests = if count == 1 { "1 request".to_owned() } else { format!("{count} requests") };
    let text = format!(
        "a limit of this machine prevented {requests}: {}; raise it (`ulimit -n`), or use fewer \
         connections",
        first.message
    );
    Some(Reason::new(Code::OwnLimit, count as f64, 0.0, text))
}

/// Whether requests pile up under a load that follows the clock.
fn backlog(recording: &Recording, length: Option<Duration>) -> Option<Reason> {
    let timeline = recording.timeline();
    // The drain after the last arrival is not part of the load.
    let last = timeline.iter().rposition(|second| second.offered > 0)?;
    // The last second is usually incomplete, so its share would be too small.
    let load = &timeline[..last];
    let overload = |(middle, end)| (Code::Overload, middle, end);
    let grown = match load.len() < SECONDS_MIN {
        true => left_over(recording, &timeline[..=last], length),
        false => growth(load).map(overload),
    };
    let grown = grown.or_else(|| grew_at_the_end(recording, load).map(overload));
    grown.map(|(code, middle, end)| match code {
        Code::Overload => {
            let text = format!(
                "the load exceeds capacity: requests in flight still grew at the end, from {middle:.0} \
                 to {end:.0}, so latencies depend on the length of the run"
            );
            Reason::new(code, end, middle, text)
        }
        _ => {
            let left = end / recording.totals.offered.max(1) as f64;
            let text = format!(
                "too short to tell whether the Flow keeps up: {:.0} % of the load was still in \
                 flight at its end (limit {:.0} %); use a longer duration, or a warmup",
                left * 100.0,
                LEFT_MAX * 100.0
            );
            Reason::new(Code::TooShort, left, LEFT_MAX, text)
        }
    })
}

/// Number of full seconds from which on thirds of a load can be compared.
const SECONDS_MIN: usize = 6;

/// Requests in flight in the middle and at the end of a run, if they keep growing.
///
/// Compares the last third with the one before: a queue that fills grows by the same amount in
/// both, a stable one does not. If the rate changes, requests in flight change with it, so they are
/// compared for the same rate.
fn growth(load: &[Second]) -> Option<(f64, f64)> {
    let third = load.len() / 3;
    // The median is robust against a freeze of some seconds in one of the thirds.
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let offering = |seconds: &[Second]| -> Vec<Second> {
        seconds.iter().filter(|second| second.offered > 0).cloned().collect()
    };
    let rate = |seconds: &[Second]| {
        median(offering(seconds).iter().map(|second| second.offered as f64).collect())
    };
    let typical = |seconds: &[Second]| {
        let each = |second: &Second| second.in_flight / second.offered as f64;
        median(offering(seconds).iter().map(each).collect())
    };
    let (first, rest) = load.split_at(load.len() - 2 * third);
    let (middle, end) = rest.split_at(third);
    let rate = rate(end)?;
    let first = typical(first).unwrap_or(0.0) * rate;
    let (middle, end) = (typical(middle)? * rate, typical(end)? * rate);
    let grew = end - middle;
    // Half as much again, and more than chance explains for small numbers: three standard
    // deviations of a Poisson count.
    let grows = grew > middle * 0.25 && grew > 3.0 * end.sqrt() && middle >= first;
    grows.then_some((middle, end))
}

/// Number of seconds over which a queue must grow at the end of a load.
const TAIL: usize = 2;

/// Share of what was offered in these seconds by which it must grow.
const TAIL_MIN: f64 = 0.2;

/// Requests in flight some seconds before the end and at the end, if they grew from second to
/// second, by far more than chance explains, while responses kept coming. A load that exceeds
/// capacity only in its last stage shows nothing in thirds.
///
/// Requests in flight beyond the offered rate times the time of requests without a queue are
/// compared, so that a Flow that takes long for each request may fill.
fn grew_at_the_end(recording: &Recording, load: &[Second]) -> Option<(f64, f64)> {
    let tail = &load[load.len().checked_sub(TAIL + 1)?..];
    let unloaded = recording.totals.ok().quantile(0.1)?.as_secs_f64();
    let queued: Vec<f64> = tail
        .iter()
        .map(|second| (second.in_flight - second.offered as f64 * unloaded).max(0.0))
        .collect();
    let grows = queued.windows(2).all(|pair| pair[1] > pair[0]);
    let answers = tail[1..].iter().all(|second| second.outcomes.iter().sum::<u64>() > 0);
    let offered: u64 = tail[1..].iter().map(|second| second.offered).sum();
    let (first, last) = (&tail[0], &tail[TAIL]);
    let grew = queued[TAIL] - queued[0];
    // Three standard deviations of the difference of two Poisson counts, arrivals and responses.
    let much = grew > offered as f64 * TAIL_MIN && grew > 3.0 * (2.0 * offered as f64).sqrt();
    (grows && answers && much).then_some((first.in_flight, last.in_flight))
}

/// What remains in flight at the end of a run that is too short for thirds. If it is more than an empty Flow takes
/// in, and more than chance explains, it is either a queue that fills or a freeze at the end. If requests in flight
/// grew from second to second, it is the former; otherwise it cannot be decided.
fn left_over(
    recording: &Recording,
    load: &[Second],
    length: Option<Duration>,
) -> Option<(Code, f64, f64)> {
    let totals = &recording.totals;
    let in_flight = totals.in_flight;
    // A load that ends by a number of requests has no end known in advance.
    let at_end = match length {
        Some(_) => in_flight.at_end as f64,
        None => load.iter().rev().take(2).map(|second| second.in_flight).fold(0.0, f64::max),
    };
    let left = at_end - in_flight.at_start as f64;
    let allowed = (totals.offered as f64 * LEFT_MAX).max(3.0 * at_end.sqrt());
    if left <= allowed {
        return None;
    }
    // An idle Flow first has to fill to its normal number in flight: rate times the time of
    // requests without a queue.
    let seconds = length.map_or(load.len() as f64, |length| length.as_secs_f64());
    let last = load.iter().rev().take(2).map(|second| second.offered).max().unwrap_or(0) as f64;
    let rate = last.max(totals.offered as f64 / seconds);
    let unloaded = totals.ok().quantile(0.1).unwrap_or(Histogram::MAX).as_secs_f64();
    let filled = rate * unloaded;
    if left - filled <= allowed {
        // Requests take so long that there is no time after them to observe.
        return (unloaded > seconds / 3.0).then_some((Code::TooShort, 0.0, at_end));
    }
    let whole = &load[..load.len().saturating_sub(1)];
    let grows = whole.len() >= 3
        && whole.windows(2).all(|pair| pair[1].in_flight > pair[0].in_flight * 1.05);
    match grows {
        true => Some((Code::Overload, whole[whole.len() / 2].in_flight, at_end)),
        false => Some((Code::TooShort, 0.0, at_end)),
    }
}

/// Whether this many requests support a percentile. Reports show percentiles up to the last
/// supported one, and then the maximum.
pub(crate) fn can_tell(quantile: f64, requests: u64) -> bool {
    requests >= samples_needed(quantile)
}

fn show(duration: Duration) -> String {
    let ms = ms(duration);
    if ms >= 10_000.0 { format!("{:.1} s", ms / 1e3) } else { format!("{ms:.1} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Delta;

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

    fn check(change: impl FnOnce(&mut Tally), circumstances: Circumstances, expected: &[Code]) {
        let found = reasons(&recording(change), circumstances);
        let codes: Vec<Code> = found.iter().map(|reason| reason.code).collect();
        assert_eq!(codes, expected, "{found:#?}");
    }

    #[test]
    fn a_quiet_run_is_valid() {
        check(|_| (), Circumstances::default(), &[]);
    }

    #[test]
    fn each_fault_of_our_own_has_its_reason() {
        let none = Circumstances::default();
        let late = |totals: &mut Tally| (0..20).for_each(|_| totals.pacer.record(ms(6)));
        check(late, none, &[Code::GeneratorBehind]);
        let starved = |totals: &mut Tally| (0..20).for_each(|_| totals.starved.record(ms(6)));
        check(starved, none, &[Code::DocumentsBehind]);
        let unsent = |totals: &mut Tally| totals.dropped_late = 20;
        check(unsent, none, &[Code::NotSentInTime]);
        let lost = |totals: &mut Tally| totals.in_flight.area = 40.0;
        check(lost, none, &[Code::LittlesLaw]);
        let busy = Circumstances { busiest: 0.95, ..none };
        check(|_| (), busy, &[Code::ThreadBusy]);
        let stolen = Circumstances { withheld: 0.2, ..none };
        check(|_| (), stolen, &[Code::CpuWithheld]);
        // Half of the time, in waits of 20 ms, while responses take 50 ms.
        let waited = Waited { share: 0.5, total: ms(20_000), times: 1000 };
        check(|_| (), Circumstances { waited, ..none }, &[Code::CpuContended]);
    }

    /// Adds the top 1 % of the values and the next one, so that `value` is the p99.
    fn ninety_ninth(histogram: &mut Histogram, value: Duration) {
        (0..11).for_each(|_| histogram.record(value));
    }

    #[test]
    fn what_is_allowed_is_no_reason() {
        let none = Circumstances::default();
        // A tenth of the typical latency, 50 ms: exactly, and by the smallest distinguishable
        // amount.
        let more = Duration::from_micros(5010);
        check(|totals| ninety_ninth(&mut totals.pacer, ms(5)), none, &[]);
        check(|totals| ninety_ninth(&mut totals.pacer, more), none, &[Code::GeneratorBehind]);
        let starved = Code::DocumentsBehind;
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
        check(fast(1001), none, &[Code::GeneratorBehind]);
        // 99 % of the schedule.
        let unsent = Code::NotSentInTime;
        check(|totals| totals.dropped_late = 10, none, &[]);
        check(|totals| totals.dropped_late = 11, none, &[unsent]);
        // Arrivals without a free slot are caused by the Flow.
        check(|totals| totals.dropped = 500, none, &[]);
        for (busiest, withheld, expected) in [
            (0.9, 0.05, &[][..]),
            (0.901, 0.0, &[Code::ThreadBusy][..]),
            (0.0, 0.051, &[Code::CpuWithheld]),
        ] {
            let circumstances = Circumstances { busiest, withheld, ..none };
            check(|_| (), circumstances, expected);
            assert_eq!(circumstances.is_saturated(), !expected.is_empty());
        }
        // Little's law within 5 %, in both directions, and with enough requests to decide.
        let little = Code::LittlesLaw;
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
        assert!(growth(&growing).is_some());
        let steady = timeline((0..30).map(|second| 100.0 + f64::from(second % 3)));
        assert!(growth(&steady).is_none());
        let starting = timeline((0..30).map(|second| f64::from(second.min(8)) * 20.0));
        assert!(growth(&starting).is_none());
        let frozen = timeline((0..30).map(|second| if second == 25 { 900.0 } else { 1.0 }));
        assert!(growth(&frozen).is_none());
        // By a quarter from the middle third to the last, and not by more.
        let thirds = |end: f64| {
            let level = move |second: u32| if second < 20 { 1000.0 } else { end };
            timeline((0..30).map(level))
        };
        assert!(growth(&thirds(1250.0)).is_none());
        assert_eq!(growth(&thirds(1251.0)), Some((1000.0, 1251.0)));
    }

    #[test]
    fn requests_in_flight_may_grow_with_the_rate() {
        // Each request takes a second, and the rate rises from nothing to 100/s.
        let ramp = (1..31u64).map(|second| Second {
            offered: second * 100 / 30,
            in_flight: second as f64 * 100.0 / 30.0,
            ..Second::default()
        });
        assert!(growth(&ramp.collect::<Vec<_>>()).is_none());
    }

    /// An open load: arrivals, requests in flight and responses of each second; p10 in ms.
    fn tail(load: &[(u64, f64, u64)], p10_ms: u64) -> Option<(f64, f64)> {
        let mut recording = Recording::default();
        (0..100).for_each(|_| recording.totals.response[0].record(ms(p10_ms)));
        let second = |&(offered, in_flight, ended)| Second {
            offered,
            in_flight,
            outcomes: [ended, 0, 0, 0],
            ..Second::default()
        };
        grew_at_the_end(&recording, &load.iter().map(second).collect::<Vec<_>>())
    }

    #[test]
    fn a_last_stage_beyond_capacity_is_an_overload() {
        let calm = [(50, 0.5, 50); 5];
        let steps = [(200, 52.0, 100), (200, 152.0, 100), (200, 252.0, 100), (200, 352.0, 100)];
        assert_eq!(tail(&[&calm[..], &steps].concat(), 10), Some((152.0, 352.0)));
        // A pause lets the queue run down, and it fills again.
        let again = [(320, 65.0, 191), (320, 390.0, 191), (0, 300.0, 191)];
        let again =
            [&again[..], &[(320, 220.0, 191), (320, 350.0, 191), (320, 480.0, 191)]].concat();
        assert!(tail(&again, 5).is_some());
        // A ramp beyond capacity.
        let ramp: Vec<_> = (1..=6).map(|n| (60 * n, (30 * n * n) as f64 * 0.3, 190)).collect();
        assert!(tail(&ramp, 5).is_some());
    }

    #[test]
    fn what_is_no_overload_at_the_end_is_not_called_one() {
        // A Flow that takes 3 s per request fills, and answers nothing until then.
        assert_eq!(
            tail(&[(50, 25.0, 0), (50, 75.0, 0), (50, 125.0, 0), (50, 150.0, 50)], 3000),
            None
        );
        // The Flow stops answering at the end, which says nothing about a trend.
        assert_eq!(
            tail(&[(100, 1.0, 100), (100, 51.0, 0), (100, 151.0, 0), (100, 251.0, 0)], 10),
            None
        );
        // A queue that varies, as queues near capacity do.
        assert_eq!(
            tail(&[(95, 8.0, 95), (99, 14.0, 93), (97, 21.0, 90), (96, 30.0, 87)], 10),
            None
        );
        // It recovers.
        assert_eq!(
            tail(&[(50, 200.0, 90), (50, 300.0, 90), (50, 250.0, 90), (50, 260.0, 90)], 10),
            None
        );
        // A ramp that the Flow keeps up with, with requests that take a second each.
        let ramp: Vec<_> = (1..=9).map(|n| (10 * n, 10.0 * n as f64, 10 * n - 10)).collect();
        assert_eq!(tail(&ramp, 1000), None);
    }

    /// An open load of some seconds at 100/s: requests in flight in each second and at the end; p10
    /// in ms.
    fn short(in_flight: &[f64], at_end: u64, p10_ms: u64) -> Option<Code> {
        let mut recording = Recording::default();
        for (second, in_flight) in in_flight.iter().enumerate() {
            let mut tally = Tally { offered: 100, sent: 100, ..Tally::default() };
            (tally.in_flight.area, tally.in_flight.spent) = (*in_flight, *in_flight);
            (0..100).for_each(|_| tally.response[0].record(ms(p10_ms)));
            recording.add(Delta { seconds: vec![(second as u64, tally)], ..Default::default() });
        }
        recording.totals.in_flight.at_end = at_end;
        let length = Some(Duration::from_secs(in_flight.len() as u64));
        let found = backlog(&recording, length);
        found.map(|reason| reason.code)
    }

    #[test]
    fn a_short_load_tells_whether_the_flow_kept_up_or_that_it_cannot_tell() {
        // 100/s into a Flow that takes 60/s.
        let grows: Vec<f64> = (0..5).map(|second| 20.0 + 40.0 * f64::from(second)).collect();
        assert_eq!(short(&grows, 200, 20), Some(Code::Overload));
        assert_eq!(short(&grows[..2], 80, 20), Some(Code::TooShort));
        // A freeze at the end may be a pause.
        assert_eq!(short(&[2.0, 2.0, 2.0, 2.0, 50.0], 100, 20), Some(Code::TooShort));
        // Requests of 0.6 s mean 60 in flight, from the first second on.
        assert_eq!(short(&[42.0, 60.0, 60.0, 60.0], 60, 600), None);
        // Requests of 2.5 s have not ended when the load does.
        assert_eq!(short(&[50.0, 150.0, 225.0], 250, 2500), Some(Code::TooShort));
        assert_eq!(short(&[3.0, 3.0], 3, 30), None);
    }
}
