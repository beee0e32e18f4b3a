//! When an Executor finishes its requests: a queue as pure arithmetic, without a clock.
//!
//! Requests are served in the order they arrive by a fixed number of servers. The service
//! time is known at arrival, and so is the departure: the server that is free first takes the request,
//! at once or when it becomes free (Kiefer and Wolfowitz, 1955). No timer starts a service, so a timer
//! that fires late delays one answer, but never the queue behind it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// The queue of one replica. Times count from the start of the Flow.
#[derive(Debug)]
pub(super) struct Queue {
    /// Number of servers; `None` for no limit.
    servers: Option<usize>,
    /// How many requests may wait, not counting those in service.
    bound: usize,
    stall: Option<Standstill>,
    /// Whether service times depend on how many are in service.
    counts: bool,
    /// When the servers become free, in working time: at most `servers` entries, or one per request in
    /// flight.
    free: BinaryHeap<Reverse<Duration>>,
    /// When waiting requests will start, in working time, in order; at most `bound` entries.
    waiting: VecDeque<Duration>,
}

/// The Executor stands still for the last `length` of each `every`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standstill {
    every: Duration,
    length: Duration,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(
        servers: Option<usize>,
        bound: usize,
        stall: Option<Standstill>,
        counts: bool,
    ) -> Queue {
        let room = servers.unwrap_or(0).min(1024);
        Queue {
            servers,
            bound,
            stall,
            counts,
            free: BinaryHeap::with_capacity(room),
            waiting: VecDeque::new(),
        }
    }

    /// When a request that arrives `now` is done. `service` gets the number of requests in service, this
    /// one included, and returns the service time. Arrivals must come in order.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        service: impl FnOnce(usize) -> Duration,
    ) -> Result<Duration, Full> {
        // Everything below is in working time, which stands still when the Executor does.
        let arrival = self.stall.map_or(now, |stall| stall.working(now));
        if self.servers.is_none() {
            // Without a queue, only the number in service matters.
            while self.free.peek().is_some_and(|Reverse(free)| *free <= arrival) {
                self.free.pop();
            }
        }
        let full = self.servers.is_some_and(|servers| self.free.len() == servers);
        let start = match self.free.peek() {
            Some(Reverse(free)) if full => arrival.max(*free),
            _ => arrival,
        };
        while self.waiting.front().is_some_and(|start| *start <= arrival) {
            self.waiting.pop_front();
        }
        if start > arrival {
            if self.waiting.len() >= self.bound {
                return Err(Full);
            }
            self.waiting.push_back(start);
        }
        let busy = match self.counts {
            true => self.free.iter().filter(|Reverse(free)| *free > start).count(),
            false => 0,
        };
        let done = start + service(busy + 1);
        if full {
            self.free.pop();
        }
        if self.servers.is_some() || self.counts {
            self.free.push(Reverse(done));
        }
        Ok(self.stall.map_or(done, |stall| stall.clock(done, now)))
    }
}

impl Standstill {
    /// `None` when nothing ever stands still. A standstill as long as its period would stop the
    /// Executor for good, so it is cut to leave a microsecond of work.
    pub(super) fn new(every: Duration, length: Duration) -> Option<Standstill> {
        let most = every.saturating_sub(Duration::from_micros(1));
        (length > Duration::ZERO && most > Duration::ZERO)
            .then(|| Standstill { every, length: length.min(most) })
    }

    /// The working time until `clock`.
    fn working(self, clock: Duration) -> Duration {
        let (periods, rest) = self.divide(clock, self.every);
        (self.every - self.length) * periods + rest.min(self.every - self.length)
    }

    /// The clock time at which this much working time has passed, seen from `now`.
    fn clock(self, working: Duration, now: Duration) -> Duration {
        let work = self.every - self.length;
        let (periods, rest) = self.divide(working, work);
        if rest.is_zero() && periods > 0 {
            // Work that ends just as the standstill begins is done before it, unless it arrived during it.
            let before = self.every * (periods - 1) + work;
            if before >= now {
                return before;
            }
        }
        self.every * periods + rest
    }

    /// How often `by` fits into `time`, and the remainder. After 2^32 periods a Flow stays in the last one.
    fn divide(self, time: Duration, by: Duration) -> (u32, Duration) {
        let periods = u32::try_from(time.as_nanos() / by.as_nanos()).unwrap_or(u32::MAX);
        (periods, time - by * periods)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn one_server_works_in_the_order_of_arrival() {
        let mut queue = Queue::new(Some(1), 10, None, false);
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Ok(ms(10)));
        assert_eq!(queue.admit(ms(1), |_| ms(10)), Ok(ms(20)));
        assert_eq!(queue.admit(ms(50), |_| ms(10)), Ok(ms(60)));
    }

    #[test]
    fn two_servers_take_the_next_as_they_get_free() {
        let mut queue = Queue::new(Some(2), 10, None, false);
        assert_eq!(queue.admit(ms(0), |_| ms(30)), Ok(ms(30)));
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Ok(ms(10)));
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Ok(ms(20)));
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Ok(ms(30)));
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_when_one_started() {
        let mut queue = Queue::new(Some(1), 1, None, false);
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Ok(ms(10)));
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Ok(ms(20)));
        assert_eq!(queue.admit(ms(0), |_| ms(10)), Err(Full));
        assert_eq!(queue.admit(ms(10), |_| ms(10)), Ok(ms(30)));
    }

    #[test]
    fn service_is_told_how_many_are_in_service() {
        let mut queue = Queue::new(Some(2), 10, None, true);
        let mut seen = Vec::new();
        for arrival in [0, 0, 0, 5, 100] {
            let _ = queue.admit(ms(arrival), |busy| {
                seen.push(busy);
                ms(10)
            });
        }
        assert_eq!(seen, [1, 2, 1, 2, 1], "the third starts when both before it are done");
        let mut queue = Queue::new(None, 0, None, true);
        let busy: Vec<_> = [0, 0, 0, 10, 25]
            .map(|arrival| queue.admit(ms(arrival), |busy| ms(10 * busy as u64)))
            .into();
        assert_eq!(busy, [Ok(ms(10)), Ok(ms(20)), Ok(ms(30)), Ok(ms(40)), Ok(ms(55))]);
    }

    #[test]
    fn work_rests_while_the_executor_stands_still() {
        let stall = Standstill::new(ms(10_000), ms(1_000));
        let mut queue = Queue::new(None, 0, stall, false);
        assert_eq!(queue.admit(ms(100), |_| ms(50)), Ok(ms(150)), "long before it");
        assert_eq!(queue.admit(ms(8_980), |_| ms(50)), Ok(ms(10_030)), "across it");
        assert_eq!(queue.admit(ms(9_500), |_| ms(50)), Ok(ms(10_050)), "within it");
        assert_eq!(queue.admit(ms(9_500), |_| ms(0)), Ok(ms(10_000)), "even without work");
        assert_eq!(queue.admit(ms(10_000), |_| ms(0)), Ok(ms(10_000)), "as it ends");
        assert_eq!(queue.admit(ms(8_990), |_| ms(10)), Ok(ms(9_000)), "just before it");
    }
}
