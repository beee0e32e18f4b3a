//! When our own thread was busy, so that the delay is not blamed on the Flow.
//!
//! Between being handed out and being written, a request may wait for the Flow (no free stream,
//! flow control) or for us: a thread that encodes, evaluates or gets no CPU time does not write.
//! The two are told apart by measuring how long the dispatch loop keeps the thread at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// The last long stretches in which the thread did nothing but run the loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Rc<RefCell<VecDeque<(Instant, Instant)>>>);

/// Shorter stretches are the ordinary work of sending.
const LONG: Duration = Duration::from_micros(200);

/// Number of stretches remembered: at least those of the last tenth of a second.
const REMEMBERED: usize = 512;

impl Busy {
    /// The same future, with its polls timed.
    pub(crate) async fn watch<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let began = Instant::now();
            let polled = future.as_mut().poll(cx);
            self.note(began, Instant::now());
            polled
        })
        .await
    }

    fn note(&self, began: Instant, ended: Instant) {
        if ended - began < LONG {
            return;
        }
        let mut stretches = self.0.borrow_mut();
        if stretches.len() == REMEMBERED {
            stretches.pop_front();
        }
        stretches.push_back((began, ended));
    }

    /// How much of the time from `from` to `to` the thread spent in long busy stretches.
    pub(crate) fn within(&self, from: Instant, to: Instant) -> Duration {
        let stretches = self.0.borrow();
        let recent = stretches.iter().rev().take_while(|(_, ended)| *ended > from);
        recent.map(|(began, ended)| (*ended).min(to) - (*began).max(from).min(to)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_overlaps_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let busy = Busy::default();
        busy.note(at(10), at(20));
        busy.note(at(30), at(30) + Duration::from_micros(100));
        busy.note(at(40), at(60));
        assert_eq!(busy.within(at(0), at(5)), Duration::ZERO);
        assert_eq!(busy.within(at(15), at(50)), Duration::from_millis(15));
        assert_eq!(busy.within(at(60), at(70)), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_poll_that_blocks_is_noted_and_a_wait_is_not() {
        let busy = Busy::default();
        let start = Instant::now();
        busy.watch(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::thread::sleep(Duration::from_millis(5));
        })
        .await;
        let noted = busy.within(start, Instant::now());
        assert!(noted >= Duration::from_millis(5));
        assert!(noted < start.elapsed() - Duration::from_millis(15));
    }
}
