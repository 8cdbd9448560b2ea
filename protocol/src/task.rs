//! What is to be done at a site and what lies there: a versioned snapshot with changes, as the catalogue is.

use alloc::vec::Vec;

use crate::gs1::Date;
use crate::{Epoch, ItemId, LocationId, Lot, Quantity, Reference, Sequence, SiteId};

/// One part of a snapshot, or one set of changes since a snapshot.
///
/// A snapshot is complete when all parts of one revision have come; an older revision never overwrites a newer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tasks {
    /// Grows with every change.
    pub revision: u64,
    /// This part, counted from 0.
    pub part: u32,
    /// How many parts the revision has; at least 1.
    pub parts: u32,
    /// For which site.
    pub site: SiteId,
    /// Which of the receiving agent's own events are in the quantities here; the agent takes later ones off itself.
    /// `None`: none of them are.
    pub as_of: Option<AsOf>,
    /// Open tasks with what is still to be done.
    pub tasks: Vec<Task>,
    /// What lies where; `None`: the gateway does not tell. A bin that is not named is empty in a snapshot, and as it
    /// was in changes.
    pub bins: Option<Vec<Bin>>,
    /// `None`: this is (part of) a snapshot.
    pub since: Option<TasksSince>,
}

/// How far the gateway had come in one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AsOf {
    /// Life of the journal.
    pub epoch: Epoch,
    /// Last event that is in the quantities.
    pub watermark: Sequence,
}

/// What makes [`Tasks`] changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TasksSince {
    /// The snapshot's revision. The changes name every task and bin touched since then, so they may be put onto that
    /// snapshot or onto any earlier changes of it.
    pub revision: u64,
    /// Tasks that are no longer open.
    pub gone: Vec<(TaskKind, Reference)>,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// Of which kind.
    pub kind: TaskKind,
    /// Its number, as printed: order, purchase order, 18 digits of the SSCC, count or replenishment. Movements for it
    /// carry this as their reference, those of an announced plate the plate.
    pub id: Reference,
    /// The purchase order of an announced plate.
    pub order: Option<Reference>,
    /// The location to count.
    pub location: Option<LocationId>,
    /// What is still to be done.
    pub lines: Vec<TaskLine>,
}

/// Kinds of tasks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TaskKind {
    /// A customer's order to pick.
    Pick,
    /// A purchase order to receive.
    Receive,
    /// A plate whose contents are announced.
    Announced,
    /// A location to count; its lines are empty, since a count is blind.
    Count,
    /// A pick face to fill.
    Replenish,
}

/// `(kind, word, wire number)`. Wire numbers are frozen with wire version 1.
const KINDS: [(TaskKind, &str, u8); 5] = [
    (TaskKind::Pick, "pick", 0),
    (TaskKind::Receive, "receive", 1),
    (TaskKind::Announced, "announced", 2),
    (TaskKind::Count, "count", 3),
    (TaskKind::Replenish, "replenish", 4),
];

impl TaskKind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        KINDS[usize::from(self.wire())].1
    }

    pub(crate) fn wire(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        KINDS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

/// So much of one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskLine {
    /// What.
    pub item: ItemId,
    /// Still to be done; greater than zero.
    pub quantity: Quantity,
    /// Where to take it.
    pub from: Option<LocationId>,
    /// Where to bring it.
    pub to: Option<LocationId>,
    /// Only this lot.
    pub lot: Option<Lot>,
    /// Its last usable day, as announced.
    pub expires_on: Option<Date>,
}

/// What lies at one location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bin {
    /// Where.
    pub location: LocationId,
    /// Items with their quantity; an item that is not named is not there.
    pub items: Vec<(ItemId, Quantity)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_are_the_rows() {
        for (at, (kind, word, number)) in KINDS.iter().enumerate() {
            assert_eq!((usize::from(*number), kind.wire()), (at, *number), "{word}");
            assert_eq!((TaskKind::from_wire(*number), kind.as_str()), (Some(*kind), *word));
        }
        assert_eq!(TaskKind::from_wire(5), None);
    }
}
