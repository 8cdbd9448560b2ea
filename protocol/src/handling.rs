//! What was done to a licence plate, a label or a task. It moves no stock: picking has booked it already.

use crate::gs1::Sscc;
use crate::{Details, ItemId, LocationId, Quantity, StationId};

/// A fact without stock. The plate stands in [`Details::license_plate`], the task in [`Details::reference`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handling {
    /// What was done.
    pub act: Act,
    /// To what; which acts need one is said there.
    pub content: Option<Content>,
    /// Where; `None` = at the station.
    pub location: Option<LocationId>,
    /// Where it was recorded.
    pub station: StationId,
    /// What else is known.
    pub details: Details,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Act {
    /// The content went onto the plate.
    Packed,
    /// The content came off the plate again.
    Unpacked,
    /// The plate is complete: nothing is added any more.
    Closed,
    /// The plate went onto a vehicle, at the dock in `location`.
    Loaded,
    /// The plate came off the vehicle again.
    Unloaded,
    /// The plate has left the site.
    Shipped,
    /// So much of the content is missing at `location` for the task: it cannot be taken.
    Short,
    /// The content got a new label; the details say what stands on it.
    Relabelled,
}

/// What is on a plate, is missing or was labelled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Goods; the quantity is greater than zero.
    Goods {
        /// What.
        item: ItemId,
        /// How much.
        quantity: Quantity,
    },
    /// A plate on a plate.
    Plate(Sscc),
}

/// `(act, word, wire number)`. Wire numbers are frozen with wire version 1.
const ACTS: [(Act, &str, u8); 8] = [
    (Act::Packed, "packed", 0),
    (Act::Unpacked, "unpacked", 1),
    (Act::Closed, "closed", 2),
    (Act::Loaded, "loaded", 3),
    (Act::Unloaded, "unloaded", 4),
    (Act::Shipped, "shipped", 5),
    (Act::Short, "short", 6),
    (Act::Relabelled, "relabelled", 7),
];

impl Act {
    /// The word.
    pub fn as_str(self) -> &'static str {
        ACTS[usize::from(self.wire())].1
    }

    /// What takes it back; `None` when nothing does.
    pub fn reverse(self) -> Option<Self> {
        match self {
            Act::Packed => Some(Act::Unpacked),
            Act::Loaded => Some(Act::Unloaded),
            _ => None,
        }
    }

    pub(crate) fn wire(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        ACTS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

impl Handling {
    /// Whether plate and content are there as the act needs them.
    pub(crate) fn is_whole(&self) -> bool {
        let plate = self.details.license_plate;
        match (self.act, &self.content) {
            (Act::Packed | Act::Unpacked, Some(Content::Plate(inner))) => plate.is_some_and(|p| p != *inner),
            (Act::Packed | Act::Unpacked, Some(Content::Goods { .. })) => plate.is_some(),
            (Act::Closed | Act::Loaded | Act::Unloaded | Act::Shipped, None) => plate.is_some(),
            (Act::Short | Act::Relabelled, Some(Content::Goods { .. })) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_are_the_rows() {
        for (at, (act, word, number)) in ACTS.iter().enumerate() {
            assert_eq!((usize::from(*number), act.wire()), (at, *number), "{word}");
            assert_eq!((Act::from_wire(*number), act.as_str()), (Some(*act), *word));
        }
        assert_eq!(Act::from_wire(8), None);
    }
}
