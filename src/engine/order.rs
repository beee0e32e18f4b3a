//! Puts items that arrive in any order back into the order of the requests.

use std::collections::BTreeMap;

/// Items that arrived before their turn.
#[derive(Debug)]
pub(super) struct InOrder<T> {
    /// The request whose turn it is.
    next: u64,
    /// By request, and in the order of arrival.
    waiting: BTreeMap<(u64, u64), Waiting<T>>,
    came: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
    is_last: bool,
}

/// Limit of items waiting for one before them. Beyond it that one is not waited for any longer: it
/// may never come, and memory is bounded.
const WAITING_MAX: usize = 10_000;

/// Limit of their bytes.
const WAITING_BYTES_MAX: usize = 256 << 20;

impl<T> InOrder<T> {
    /// Starts with request 0.
    pub(super) fn new() -> InOrder<T> {
        InOrder { next: 0, waiting: BTreeMap::new(), came: 0, bytes: 0 }
    }

    /// Adds an item of a request, with its size in memory in bytes, and whether it is the last one.
    pub(super) fn push(&mut self, request: u64, item: T, bytes: usize, is_last: bool) {
        self.waiting.insert((request, self.came), Waiting { item, bytes, is_last });
        self.came += 1;
        self.bytes += bytes;
    }

    /// The next item whose turn it is, if it is there.
    pub(super) fn pop(&mut self) -> Option<T> {
        let full = self.waiting.len() > WAITING_MAX || self.bytes > WAITING_BYTES_MAX;
        let first = self.waiting.first_entry()?;
        let (request, _) = *first.key();
        if request > self.next && !full {
            return None;
        }
        let Waiting { item, bytes, is_last } = first.remove();
        self.bytes -= bytes;
        self.next = self.next.max(request + u64::from(is_last));
        Some(item)
    }

    /// Everything that still waits, once nothing else will come.
    pub(super) fn rest(self) -> impl Iterator<Item = T> {
        self.waiting.into_values().map(|waiting| waiting.item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The output when these arrive, each a request with one answer.
    fn order(came: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut order = InOrder::new();
        let mut out = Vec::new();
        for request in came {
            order.push(request, request, 1, true);
            out.extend(std::iter::from_fn(|| order.pop()));
        }
        out.extend(order.rest());
        out
    }

    #[test]
    fn what_comes_after_its_turn_comes_at_once() {
        let mut order = InOrder::new();
        order.push(1, "b", 1, true);
        assert_eq!(order.pop(), None);
        order.push(0, "a, first step", 1, false);
        assert_eq!(order.pop(), Some("a, first step"));
        assert_eq!(order.pop(), None, "its second step is still to come");
        order.push(0, "a, second step", 1, true);
        assert_eq!([order.pop(), order.pop()], [Some("a, second step"), Some("b")]);
    }

    #[test]
    fn what_never_comes_holds_up_no_more_than_memory_has_room_for() {
        let most = WAITING_MAX as u64;
        assert_eq!(order(1..=most + 5), (1..=most + 5).collect::<Vec<_>>());
        let mut order = InOrder::new();
        (1..=most).for_each(|request| order.push(request, request, 1, true));
        assert_eq!(order.pop(), None);
        order.push(most + 1, most + 1, 1, true);
        assert_eq!(order.pop(), Some(1), "one is not waited for any longer");
        order.push(0, 0, 1, true);
        assert_eq!(order.pop(), Some(0), "and still comes");

        let mut large = InOrder::new();
        large.push(1, 1, WAITING_BYTES_MAX, true);
        assert_eq!(large.pop(), None);
        large.push(2, 2, 1, true);
        assert_eq!(large.pop(), Some(1));
    }

    proptest! {
        #[test]
        fn any_order_is_put_right(came in Just((0..100u64).collect::<Vec<_>>()).prop_shuffle()) {
            prop_assert!(order(came).into_iter().eq(0..100));
        }
    }
}
