//! When an Executor is done with what arrives: a queue as arithmetic, without a clock.
//!
//! Requests are served in the order they arrive by a fixed number of servers. With the service
//! time known at arrival, so is the departure: the server that is free first takes the request,
//! at once or when it gets free (Kiefer and Wolfowitz, 1955). Nothing is ever woken to start a
//! service, so timers that fire late delay an answer and never the queue behind it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// A queue of one replica. Times count from the start of the Flow.
#[derive(Debug)]
pub(super) struct Queue {
    /// `None` for as many as there are requests.
    servers: Option<usize>,
    /// How many may wait, beside those in service.
    bound: usize,
    stall: Option<Standstill>,
    /// When the servers get free, in working time; at most `servers` entries.
    free: BinaryHeap<Reverse<Duration>>,
    /// When those that wait start, in working time, in order; at most `bound` entries.
    waiting: VecDeque<Duration>,
}

/// Of each `every`, the last `length` is standstill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standstill {
    every: Duration,
    length: Duration,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(servers: Option<usize>, bound: usize, stall: Option<Standstill>) -> Queue {
        let room = servers.unwrap_or(0).min(1024);
        Queue {
            servers,
            bound,
            stall,
            free: BinaryHeap::with_capacity(room),
            waiting: VecDeque::new(),
        }
    }

    /// When a request that arrives `now` and takes `service` is done. Arrivals come in order.
    pub(super) fn admit(&mut self, now: Duration, service: Duration) -> Result<Duration, Full> {
        // Everything below is in working time, which stands still when the Executor does.
        let arrival = self.stall.map_or(now, |stall| stall.working(now));
        let start = match self.servers {
            None => arrival,
            Some(servers) if self.free.len() < servers => arrival,
            Some(_) => match self.free.peek() {
                Some(Reverse(free)) => arrival.max(*free),
                None => arrival,
            },
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
        let done = start + service;
        if let Some(servers) = self.servers {
            if self.free.len() == servers {
                self.free.pop();
            }
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

    /// How much of the time until `clock` was working time.
    fn working(self, clock: Duration) -> Duration {
        let (periods, rest) = self.divide(clock, self.every);
        (self.every - self.length) * periods + rest.min(self.every - self.length)
    }

    /// When so much working time is over, for somebody who asks `now`.
    fn clock(self, working: Duration, now: Duration) -> Duration {
        let work = self.every - self.length;
        let (periods, rest) = self.divide(working, work);
        if rest.is_zero() && periods > 0 {
            // Work that ends as the standstill begins is done before it, unless it came during it.
            let before = self.every * (periods - 1) + work;
            if before >= now {
                return before;
            }
        }
        self.every * periods + rest
    }

    /// How often `by` fits into `time`, and the rest. A Flow that counts beyond 2^32 periods is
    /// taken to be in its last one.
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
        let mut queue = Queue::new(Some(1), 10, None);
        assert_eq!(queue.admit(ms(0), ms(10)), Ok(ms(10)));
        assert_eq!(queue.admit(ms(1), ms(10)), Ok(ms(20)));
        assert_eq!(queue.admit(ms(50), ms(10)), Ok(ms(60)));
    }

    #[test]
    fn two_servers_take_the_next_as_they_get_free() {
        let mut queue = Queue::new(Some(2), 10, None);
        assert_eq!(queue.admit(ms(0), ms(30)), Ok(ms(30)));
        assert_eq!(queue.admit(ms(0), ms(10)), Ok(ms(10)));
        assert_eq!(queue.admit(ms(0), ms(10)), Ok(ms(20)));
        assert_eq!(queue.admit(ms(0), ms(10)), Ok(ms(30)));
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_when_one_started() {
        let mut queue = Queue::new(Some(1), 1, None);
        assert_eq!(queue.admit(ms(0), ms(10)), Ok(ms(10)));
        assert_eq!(queue.admit(ms(0), ms(10)), Ok(ms(20)));
        assert_eq!(queue.admit(ms(0), ms(10)), Err(Full));
        assert_eq!(queue.admit(ms(10), ms(10)), Ok(ms(30)));
    }

    #[test]
    fn work_rests_while_the_executor_stands_still() {
        let stall = Standstill::new(ms(10_000), ms(1_000));
        let mut queue = Queue::new(None, 0, stall);
        assert_eq!(queue.admit(ms(100), ms(50)), Ok(ms(150)), "long before it");
        assert_eq!(queue.admit(ms(8_980), ms(50)), Ok(ms(10_030)), "across it");
        assert_eq!(queue.admit(ms(9_500), ms(50)), Ok(ms(10_050)), "within it");
        assert_eq!(queue.admit(ms(9_500), ms(0)), Ok(ms(10_000)), "even without work");
        assert_eq!(queue.admit(ms(10_000), ms(0)), Ok(ms(10_000)), "as it ends");
        assert_eq!(queue.admit(ms(8_990), ms(10)), Ok(ms(9_000)), "just before it");
    }
}
