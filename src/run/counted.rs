//! Which seconds of which parts of a load count. It is decided here, for part 1 of several that are connected and for
//! whoever merges their journals; part 1 writes down what it decided, so that both say the same.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Histogram;
use crate::record::tally::Tally;

/// What counts of a scenario that was sent in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counted {
    /// Parts that were lost in the middle, by their numbers.
    #[serde(default)]
    lost: BTreeMap<u64, Loss>,
    /// Of all parts, what is measured from this second on does not count: not all have told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// How a part was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loss {
    /// Whole seconds of which it had told until then.
    pub(super) after: u64,
    /// It stood still for so long, and the others ended without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stood_still: Option<Duration>,
}

/// What became of the others when a part was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// They ended.
    End,
    /// They went on.
    GoOn,
}

/// How the load of a part ended, as its journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartEnd {
    /// As it was to.
    Whole,
    /// Because another part was lost, after so many whole seconds.
    CutShort(u64),
    /// In the middle, after it had told of so many whole seconds.
    Lost(u64),
}

/// What a part sent in the seconds that count.
#[derive(Clone, Debug, Default)]
pub(super) struct Sends {
    requests: u64,
    /// Arrivals that were to be sent, and were not dropped.
    due: u64,
    pub(super) lag: Histogram,
}

impl Sends {
    pub(super) fn add(&mut self, tally: &Tally) {
        self.requests += tally.sent;
        self.due += tally.offered.saturating_sub(tally.dropped);
        self.lag.merge(&tally.lag);
    }

    pub(super) fn merge(&mut self, other: &Sends) {
        self.requests += other.requests;
        self.due += other.due;
        self.lag.merge(&other.lag);
    }

    /// Requests. Where a part was lost, what was due in the last second that counts was sent, in that or in the next.
    pub(super) fn requests(&self, is_cut: bool) -> u64 {
        if is_cut { self.requests.max(self.due) } else { self.requests }
    }
}

impl Counted {
    /// A part was lost.
    pub(super) fn lose(&mut self, part: u64, loss: Loss, others: Others) {
        self.lost.entry(part).or_insert(loss);
        if others == Others::End {
            self.end_at(loss.after);
        }
    }

    fn end_at(&mut self, second: u64) {
        self.until = Some(self.until.map_or(second, |until| until.min(second)));
    }

    /// What counts by how parts ended, and by what part 1 decided meanwhile, if it wrote that down. Who told less than
    /// that was lost as well.
    pub(super) fn of(
        decided: Option<&Counted>,
        ends: impl Iterator<Item = (u64, PartEnd)>,
    ) -> Counted {
        let mut counted = decided.cloned().unwrap_or_default();
        for (part, end) in ends {
            match end {
                PartEnd::Lost(after) if !counted.lost.contains_key(&part) => {
                    counted.lose(part, Loss { after, stood_still: None }, Others::End);
                }
                // Where nobody says which seconds all have told of, these are those of which this one has.
                PartEnd::CutShort(after) if decided.is_none() => counted.end_at(after),
                PartEnd::Whole | PartEnd::CutShort(_) | PartEnd::Lost(_) => (),
            }
        }
        counted
    }

    /// Whether all that was measured counts.
    pub(super) fn is_all(&self) -> bool {
        *self == Counted::default()
    }

    /// Of how many seconds the figures are, where not all of them count.
    pub(super) fn until(&self) -> Option<u64> {
        self.until
    }

    /// What a part measured from this second on does not count.
    pub(super) fn limit(&self, part: u64) -> Option<u64> {
        let own = self.lost.get(&part).map(|loss| loss.after);
        own.into_iter().chain(self.until).min()
    }

    /// How a part was lost, if it was.
    pub(super) fn loss(&self, part: u64) -> Option<Loss> {
        self.lost.get(&part).copied()
    }

    /// All parts that were lost.
    pub(super) fn lost(&self) -> impl Iterator<Item = (u64, Loss)> {
        self.lost.iter().map(|(part, loss)| (*part, *loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(after: u64) -> Loss {
        Loss { after, stood_still: None }
    }

    #[test]
    fn where_the_others_end_all_count_until_then_and_otherwise_only_the_lost_one() {
        let mut counted = Counted::default();
        assert!(counted.is_all());
        counted.lose(3, loss(4), Others::End);
        counted.lose(2, loss(6), Others::End);
        assert_eq!([1, 2, 3].map(|part| counted.limit(part)), [Some(4); 3]);
        let mut counted = Counted::default();
        counted.lose(3, loss(4), Others::GoOn);
        // It is lost once.
        counted.lose(3, loss(9), Others::GoOn);
        assert_eq!([1, 2, 3].map(|part| counted.limit(part)), [None, None, Some(4)]);
        assert_eq!((counted.until(), counted.loss(3)), (None, Some(loss(4))));
    }

    #[test]
    fn what_part_1_decided_counts_and_what_a_journal_lacks_besides() {
        use PartEnd::{CutShort, Lost, Whole};
        let of =
            |decided: Option<&Counted>, ends: [PartEnd; 3]| Counted::of(decided, (1..).zip(ends));
        // Nobody decided: those of which all told count.
        let counted = of(None, [Lost(4), CutShort(5), CutShort(13)]);
        assert_eq!((counted.until(), counted.loss(1)), (Some(4), Some(loss(4))));
        assert_eq!(of(None, [Whole, CutShort(5), CutShort(13)]).until(), Some(5));
        assert!(of(None, [Whole; 3]).is_all());
        // Part 2 was lost after 3 s, and came back: its journal has more.
        let mut decided = Counted::default();
        decided.lose(2, loss(3), Others::End);
        assert_eq!(of(Some(&decided), [CutShort(5), CutShort(13), CutShort(5)]), decided);
        let mut decided = Counted::default();
        decided.lose(2, loss(3), Others::GoOn);
        assert_eq!(of(Some(&decided), [Whole, Lost(3), Whole]), decided);
        // And part 3 has not written down what it told.
        let counted = of(Some(&decided), [Whole, Lost(3), Lost(7)]);
        assert_eq!((counted.until(), counted.loss(3)), (Some(7), Some(loss(7))));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut counted = Counted::default();
        let still = Loss { after: 3, stood_still: Some(Duration::from_secs(7)) };
        counted.lose(1, still, Others::End);
        let text = serde_json::to_string(&counted).expect("plain data");
        assert_eq!(serde_json::from_str::<Counted>(&text).expect("ours"), counted);
    }
}
