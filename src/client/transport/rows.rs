//! Requests in flight as rows of a table, found by number or by request id.

use super::pending::Why;
use crate::wire::RequestId;

/// Requests in flight, by the numbers under which they were offered.
///
/// A number is reused. Each use has a different generation, which is part of the request id: a late
/// reply to an earlier use finds another generation.
#[derive(Debug)]
pub(super) struct Rows<R> {
    /// Identifies the table in every request id, so that a reply meant for another one is
    /// recognized.
    sender: u64,
    slots: Vec<Slot<R>>,
    live: usize,
}

/// One use of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) row: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot<R> {
    generation: u32,
    /// Which of its uses were abandoned: the last one is the lowest bit.
    given_up: u64,
    live: Option<R>,
}

impl<R> Rows<R> {
    /// An empty table.
    pub(super) fn new() -> Rows<R> {
        Rows { sender: rand::random(), slots: Vec::new(), live: 0 }
    }

    /// Starts using a free row.
    pub(super) fn start(&mut self, row: u32, live: R) -> Key {
        let at = row as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || Slot { generation: 0, given_up: 0, live: None });
        }
        let slot = &mut self.slots[at];
        debug_assert!(slot.live.is_none(), "a row has one request");
        slot.generation = slot.generation.wrapping_add(1);
        slot.given_up <<= 1;
        slot.live = Some(live);
        self.live += 1;
        Key { row, generation: slot.generation }
    }

    /// The current use of a row, if it is in use.
    pub(super) fn key(&self, row: u32) -> Option<Key> {
        let slot = self.slots.get(row as usize).filter(|slot| slot.live.is_some())?;
        Some(Key { row, generation: slot.generation })
    }

    /// The id with which a request must be sent.
    pub(super) fn id(&self, key: Key) -> RequestId {
        let number = u64::from(key.generation) << 32 | u64::from(key.row);
        RequestId { sender: self.sender, number }
    }

    /// A request, if it is in flight.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut R> {
        let slot = self.slots.get_mut(key.row as usize)?;
        if slot.generation == key.generation { slot.live.as_mut() } else { None }
    }

    /// Ends the use of a row. `given_up`: a reply may still arrive, too late.
    pub(super) fn take(&mut self, key: Key, given_up: bool) -> Option<R> {
        let slot = self.slots.get_mut(key.row as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let live = slot.live.take()?;
        slot.given_up |= u64::from(given_up);
        self.live -= 1;
        Some(live)
    }

    /// The request that a reply names.
    ///
    /// # Errors
    /// Why no request waits for it.
    pub(super) fn find(&self, id: RequestId) -> Result<Key, Why> {
        if id.sender != self.sender {
            return Err(Why::UnknownId);
        }
        let (row, generation) = (id.number as u32, (id.number >> 32) as u32);
        let slot = self.slots.get(row as usize).ok_or(Why::UnknownId)?;
        match slot.generation.checked_sub(generation) {
            Some(0) if slot.live.is_some() => Ok(Key { row, generation }),
            None => Err(Why::UnknownId),
            Some(ago @ 0..64) if slot.given_up >> ago & 1 == 0 => Err(Why::Duplicate),
            // Too long ago to remember, so it counts as late.
            Some(_) => Err(Why::Late),
        }
    }

    /// All requests in flight.
    pub(super) fn iter(&mut self) -> impl Iterator<Item = (Key, &mut R)> {
        self.slots.iter_mut().enumerate().filter_map(|(row, slot)| {
            let key = Key { row: row as u32, generation: slot.generation };
            slot.live.as_mut().map(|live| (key, live))
        })
    }

    /// The number of requests in flight.
    pub(super) fn len(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_nobody_waits_for_are_told_apart() {
        let mut rows = Rows::new();
        let key = rows.start(3, "first");
        let id = rows.id(key);
        assert_eq!(rows.find(id), Ok(key));
        assert_eq!(rows.find(RequestId { sender: !id.sender, ..id }), Err(Why::UnknownId));
        assert_eq!(rows.find(RequestId { number: id.number + 1, ..id }), Err(Why::UnknownId));
        let early = RequestId { number: id.number + (1 << 32), ..id };
        assert_eq!(rows.find(early), Err(Why::UnknownId));
        assert_eq!(rows.take(key, false), Some("first"));
        assert_eq!(rows.find(id), Err(Why::Duplicate));
        let next = rows.start(3, "second");
        assert_eq!((rows.find(id), rows.get(key)), (Err(Why::Duplicate), None));
        assert_eq!(rows.take(next, true), Some("second"));
        assert_eq!(rows.find(early), Err(Why::Late));
        assert_eq!(rows.len(), 0);
    }

    #[test]
    fn late_replies_are_told_from_second_ones_however_often_a_row_was_used_since() {
        let mut rows = Rows::new();
        let ids: Vec<_> = (0..100)
            .map(|n| {
                let key = rows.start(0, ());
                rows.take(key, n % 3 == 0);
                rows.id(key)
            })
            .collect();
        let late = ids[50..].iter().filter(|id| rows.find(**id) == Err(Why::Late)).count();
        let second = ids[50..].iter().filter(|id| rows.find(**id) == Err(Why::Duplicate)).count();
        assert_eq!((late, second), (17, 33));
    }
}
