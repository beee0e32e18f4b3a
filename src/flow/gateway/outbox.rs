//! The answers of one call or connection, in the order in which they are sent.

use std::collections::VecDeque;

use bytes::Bytes;

use super::handle::Answer;

/// Answers waiting to be sent: those of one request, and one that is held back.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Bytes>,
    /// Answers to be sent after the next one.
    held: Vec<Bytes>,
}

impl Outbox {
    /// Adds an answer.
    pub(super) fn put(&mut self, answer: Answer) {
        let copies = if answer.faults.twice { 2 } else { 1 };
        let answers = std::iter::repeat_n(answer.bytes, copies);
        if answer.faults.out_of_order && self.held.is_empty() {
            self.held.extend(answers);
        } else {
            self.ready.extend(answers);
            self.ready.extend(self.held.drain(..));
        }
    }

    /// The next answer to send.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Releases what was held back, as no more answers come.
    pub(super) fn end(&mut self) {
        self.ready.extend(self.held.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::message::Faults;

    fn order(replies: &[(&'static str, Faults)]) -> Vec<Bytes> {
        let mut outbox = Outbox::default();
        for (bytes, faults) in replies {
            outbox.put(Answer { bytes: Bytes::from_static(bytes.as_bytes()), faults: *faults });
        }
        outbox.end();
        std::iter::from_fn(|| outbox.next()).collect()
    }

    #[test]
    fn an_answer_out_of_order_follows_the_next_one() {
        let none = Faults::default();
        let late = Faults { out_of_order: true, ..none };
        let twice = Faults { twice: true, ..none };
        assert_eq!(order(&[("a", late), ("b", none), ("c", none)]), ["b", "a", "c"]);
        assert_eq!(order(&[("a", twice), ("b", none)]), ["a", "a", "b"]);
        assert_eq!(order(&[("a", none), ("b", late)]), ["a", "b"], "at the end too");
        assert_eq!(order(&[("a", late), ("b", late), ("c", none)]), ["b", "a", "c"]);
    }
}
