//! What a process reports about a running scenario: what its workers measured, added up by second, and each second
//! once all of them are past it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::examined::Examined;
use super::journal::Told;
use super::until::Until;
use crate::record::tally::{Slowest, Tally};
use crate::record::{Delta, Recording};
use crate::server::Reading;

/// The longest silence when no second is complete; there is none in a warmup.
const SILENCE_MAX: Duration = Duration::from_millis(1_200);

/// What was measured of a scenario and not reported yet.
pub(super) struct Telling {
    scenario: usize,
    /// When its load began, and when its measurement began.
    from: (Instant, Instant),
    until: Until,
    /// Seconds before this one were reported.
    next: u64,
    /// In so many lines.
    lines: u64,
    /// Reports each delta separately, for decisions as early as possible.
    each: bool,
    spoke: Instant,
    seconds: BTreeMap<u64, Tally>,
    /// What is not kept by second; with `each`, everything.
    rest: Delta,
    /// The slowest requests that were reported.
    slowest: Slowest,
    examined: Examined,
}

impl Telling {
    pub(super) fn new(
        scenario: usize,
        from: (Instant, Instant),
        workers: usize,
        each: bool,
    ) -> Telling {
        Telling {
            scenario,
            from,
            until: Until::of(workers),
            next: 0,
            lines: 0,
            each,
            spoke: Instant::now(),
            seconds: BTreeMap::new(),
            rest: Delta::default(),
            slowest: Slowest::default(),
            examined: Examined::default(),
        }
    }

    /// Takes in what a worker measured. Returns whether there is something to report.
    pub(super) fn hear(&mut self, delta: &Delta) -> bool {
        self.until.hear(Some(delta.worker), delta.told);
        for (second, tally) in &delta.seconds {
            self.seconds.entry(*second).or_default().merge(tally);
        }
        self.rest.add_rest(delta);
        self.each || self.complete() > self.next || self.spoke.elapsed() >= SILENCE_MAX
    }

    /// Marks the end: no more will come.
    pub(super) fn end(&mut self) {
        self.until.hear(None, Duration::MAX);
    }

    /// In how many lines it was told.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Seconds before this one can be reported.
    fn complete(&self) -> u64 {
        let newest = self.seconds.last_key_value().map_or(0, |(second, _)| *second);
        // A worker that hangs does not hold up the others forever.
        self.until.all().as_secs().max(newest.saturating_sub(Recording::RECENT as u64))
    }

    /// What can be reported now, with the examination results so far and the server metrics since the last report.
    pub(super) fn tell(&mut self, at_s: f64, examined: Examined, server: Vec<Reading>) -> Told {
        let complete = if self.each { u64::MAX } else { self.complete() };
        let later = self.seconds.split_off(&complete);
        let mut seconds: Vec<_> = std::mem::replace(&mut self.seconds, later).into_iter().collect();
        for (_, tally) in &mut seconds {
            // Only those that are among the slowest of the whole need to be reported.
            tally.slowest.keep_beyond(&self.slowest);
            self.slowest.merge(&tally.slowest);
        }
        self.next = complete;
        self.lines += 1;
        self.spoke = Instant::now();
        let rest = std::mem::take(&mut self.rest);
        let (worker, told) = match self.each {
            true => (Some(rest.worker), rest.told),
            false => (None, Duration::from_secs(self.until.all().as_secs())),
        };
        let news = (examined != self.examined).then(|| examined.clone());
        self.examined = examined;
        Told::new(
            (self.scenario, at_s, self.lines),
            worker,
            Delta { told, seconds, ..rest },
            self.from,
            news,
            server,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::journal::Entry;

    /// A delta of a worker that has reported everything until `told_ms`: one request in each of these seconds, with
    /// its response time in ms.
    fn delta(worker: usize, told_ms: u64, requests: &[(u64, u64)]) -> Delta {
        let seconds = requests.iter().map(|(second, ms)| {
            let mut tally = Tally { sent: 1, ..Tally::default() };
            tally.response[0].record(Duration::from_millis(*ms));
            (*second, tally)
        });
        let told = Duration::from_millis(told_ms);
        Delta { worker, told, seconds: seconds.collect(), ..Delta::default() }
    }

    /// What a line says: each second with the number of requests sent in it, and the time up to which everything is
    /// reported.
    fn line(telling: &mut Telling) -> (Vec<(u64, u64)>, Option<Duration>) {
        let told = telling.tell(0.0, Examined::default(), Vec::new());
        let text = serde_json::to_string(&Entry::Measured(Box::new(told))).expect("plain data");
        let line: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let seconds = line["measured"]["seconds"].as_array().cloned().unwrap_or_default();
        let seconds = seconds.iter().map(|second| {
            (second[0].as_u64().expect("a second"), second[1]["sent"].as_u64().unwrap_or(0))
        });
        let until = serde_json::from_value(line["measured"]["until"].clone()).ok();
        (seconds.collect(), until)
    }

    fn telling() -> Telling {
        let now = Instant::now();
        Telling::new(0, (now, now), 2, false)
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_is_told_once_and_when_all_workers_are_through_with_it() {
        let mut telling = telling();
        assert!(!telling.hear(&delta(0, 500, &[(0, 1)])));
        assert!(!telling.hear(&delta(1, 1_000, &[(0, 1)])));
        assert!(telling.hear(&delta(0, 1_000, &[(0, 1)])));
        assert_eq!(line(&mut telling), (vec![(0, 3)], Some(Duration::from_secs(1))));
        assert!(!telling.hear(&delta(0, 1_500, &[(1, 1)])));
        assert!(!telling.hear(&delta(0, 2_000, &[(1, 1)])));
        assert!(!telling.hear(&delta(0, 2_500, &[(2, 1)])));
        assert!(telling.hear(&delta(1, 2_500, &[(1, 1), (2, 1)])));
        assert_eq!(line(&mut telling), (vec![(1, 3)], Some(Duration::from_secs(2))));
        telling.end();
        let (seconds, until) = line(&mut telling);
        assert_eq!(seconds, [(2, 2)]);
        assert_eq!(until, None, "all is told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_holds_up_nobody_for_ever() {
        let mut telling = telling();
        for second in 0..Recording::RECENT as u64 {
            assert!(!telling.hear(&delta(0, 1_000 * (second + 1), &[(second, 1)])), "{second}");
        }
        let second = Recording::RECENT as u64 + 1;
        assert!(telling.hear(&delta(0, 1_000 * second, &[(second, 1)])));
        let (seconds, until) = line(&mut telling);
        assert_eq!((seconds, until), (vec![(0, 1)], Some(Duration::ZERO)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_warmup_is_told_as_it_goes() {
        let mut telling = telling();
        let warm = |sent| Delta { warmup: Tally { sent, ..Tally::default() }, ..Delta::default() };
        assert!(!telling.hear(&warm(3)));
        tokio::time::advance(SILENCE_MAX).await;
        assert!(telling.hear(&warm(4)));
        let told = telling.tell(0.0, Examined::default(), Vec::new());
        let delta = told.heard(Instant::now(), 0.0, 0, &mut Until::of(1)).expect("a delta").delta;
        assert_eq!(delta.warmup.sent, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_decides_early_hears_of_each() {
        let now = Instant::now();
        let mut telling = Telling::new(0, (now, now), 2, true);
        assert!(telling.hear(&delta(1, 250, &[(0, 1)])));
        assert_eq!(line(&mut telling), (vec![(0, 1)], Some(Duration::from_millis(250))));
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_slowest_only_those_of_the_whole_are_told() {
        let mut telling = telling();
        let slow = |ms| crate::record::tally::SlowRequest {
            due: Duration::ZERO,
            response: Duration::from_millis(ms),
            service: Duration::ZERO,
            lag: Duration::ZERO,
            routes: Vec::new(),
        };
        let (mut counts, mut until) = (Vec::new(), Until::of(2));
        for second in 0..3 {
            let mut delta = delta(0, 1_000 * (second + 1), &[(second, 1)]);
            // As many as are kept, one of them slower than all previous ones.
            for ms in 0..10 {
                delta.seconds[0].1.slowest.record(slow(if ms == 9 { 100 * second } else { ms }));
            }
            telling.hear(&delta);
            telling.hear(&Delta { worker: 1, told: delta.told, ..Delta::default() });
            let told = telling.tell(0.0, Examined::default(), Vec::new());
            let heard = told.heard(Instant::now(), 0.0, second, &mut until);
            let delta = heard.expect("a delta").delta;
            counts.push(delta.seconds[0].1.slowest.iter().count());
        }
        assert_eq!(counts[0], 10);
        assert!(counts[1] < 10 && counts[2] < 10, "{counts:?}");
    }
}
