//! A movement: an immutable quantity of an item from one place to another, with why.

use alloc::vec::Vec;

use crate::gs1::{Date, Gtin, Sscc};
use crate::{
    CorrelationId, Exception, ItemId, LocationId, Lot, MovementId, OperatorId, Quantity, Reason, Reference,
    SerialNumber, StationId,
};

/// One leg out of `from`, one leg into `to`: the unit of the books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Movement {
    /// Why.
    pub step: BizStep,
    /// What.
    pub item: ItemId,
    /// How much; greater than zero, the direction stands in `from` and `to`.
    pub quantity: Quantity,
    /// Where it left.
    pub from: Place,
    /// Where it went; differs from `from`.
    pub to: Place,
    /// Where it was recorded.
    pub station: StationId,
    /// What else is known.
    pub details: Details,
}

/// Everything about an event that may be unknown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details {
    /// The trade item that was scanned.
    pub gtin: Option<Gtin>,
    /// Lot, AI 10.
    pub lot: Option<Lot>,
    /// Single instance, AI 21.
    pub serial: Option<SerialNumber>,
    /// Last usable day, AI 17.
    pub expires_on: Option<Date>,
    /// The pallet, tote or carton, AI 00.
    pub license_plate: Option<Sscc>,
    /// What the scale said, kept apart from the booked quantity.
    pub weighing: Option<Weighing>,
    /// Who vouches that the load stood still; means nothing where nothing was weighed.
    pub stability_source: StabilitySource,
    /// Who says in which unit the scale weighs; means nothing where nothing was weighed.
    pub unit_source: UnitSource,
    /// Condition of the stock; `None` is ordinary stock.
    pub disposition: Option<Disposition>,
    /// Order, purchase order or delivery note.
    pub reference: Option<Reference>,
    /// Who worked.
    pub operator: Option<OperatorId>,
    /// The thread this belongs to; `None` means that the movement's own identity starts one.
    pub correlation: Option<CorrelationId>,
    /// The earlier movement that this one undoes.
    pub corrects: Option<Correction>,
    /// What was not as it should be and was settled by the operator; in rising order, each once.
    pub exceptions: Vec<Exception>,
    /// Why it was adjusted, scrapped or returned.
    pub reason: Option<Reason>,
}

/// Where stock can be. The virtual places make every movement a double entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A physical location at the event's site.
    At(LocationId),
    /// Came from or went back to a supplier.
    Supplier,
    /// Went to or came back from a customer.
    Customer,
    /// Found or lost at a count, broken, scrapped.
    Loss,
    /// Between two sites.
    Transit,
}

/// Why stock moved: the CBV business step, same spelling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BizStep {
    /// Goods in.
    Receiving,
    /// Put away into a location.
    Storing,
    /// Replenish a pick face.
    Stocking,
    /// Taken for an order.
    Picking,
    /// Packed into a carton or pallet.
    Packing,
    /// Taken out of a carton or pallet.
    Unpacking,
    /// At the dock, waiting to leave.
    StagingOutbound,
    /// Onto the vehicle.
    Loading,
    /// Left the site.
    Shipping,
    /// An earlier shipping did not happen.
    VoidShipping,
    /// A count for operations.
    CycleCounting,
    /// A count for accounting.
    StockTaking,
    /// Set aside for inspection.
    Inspecting,
    /// Scrapped.
    Destroying,
}

/// `(step, CBV word, wire number)`. Wire numbers are frozen with wire version 1.
const STEPS: [(BizStep, &str, u8); 14] = [
    (BizStep::Receiving, "receiving", 0),
    (BizStep::Storing, "storing", 1),
    (BizStep::Stocking, "stocking", 2),
    (BizStep::Picking, "picking", 3),
    (BizStep::Packing, "packing", 4),
    (BizStep::Unpacking, "unpacking", 5),
    (BizStep::StagingOutbound, "staging_outbound", 6),
    (BizStep::Loading, "loading", 7),
    (BizStep::Shipping, "shipping", 8),
    (BizStep::VoidShipping, "void_shipping", 9),
    (BizStep::CycleCounting, "cycle_counting", 10),
    (BizStep::StockTaking, "stock_taking", 11),
    (BizStep::Inspecting, "inspecting", 12),
    (BizStep::Destroying, "destroying", 13),
];

impl BizStep {
    /// The CBV word.
    pub fn as_str(self) -> &'static str {
        STEPS[usize::from(self.wire())].1
    }

    /// From the CBV word.
    pub fn from_cbv(word: &str) -> Option<Self> {
        STEPS.iter().find(|row| row.1 == word).map(|row| row.0)
    }

    pub(crate) fn wire(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        STEPS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

/// Condition of stock: the CBV disposition, same spelling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Disposition {
    /// Broken or soiled.
    Damaged,
    /// Past its last day.
    Expired,
    /// Called back by the maker.
    Recalled,
    /// May not be sold for another reason.
    NonSellableOther,
    /// Came back from a customer.
    Returned,
    /// On its way.
    InTransit,
}

/// `(disposition, CBV word, wire number)`. Wire numbers are frozen with wire version 1.
const DISPOSITIONS: [(Disposition, &str, u8); 6] = [
    (Disposition::Damaged, "damaged", 0),
    (Disposition::Expired, "expired", 1),
    (Disposition::Recalled, "recalled", 2),
    (Disposition::NonSellableOther, "non_sellable_other", 3),
    (Disposition::Returned, "returned", 4),
    (Disposition::InTransit, "in_transit", 5),
];

impl Disposition {
    /// The CBV word.
    pub fn as_str(self) -> &'static str {
        DISPOSITIONS[usize::from(self.wire())].1
    }

    /// From the CBV word.
    pub fn from_cbv(word: &str) -> Option<Self> {
        DISPOSITIONS.iter().find(|row| row.1 == word).map(|row| row.0)
    }

    pub(crate) fn wire(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        DISPOSITIONS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

/// What the scale said. Net = gross - tare, all in one unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weighing {
    /// With packaging.
    pub gross: Quantity,
    /// The packaging.
    pub tare: Quantity,
    /// The goods.
    pub net: Quantity,
}

/// Who vouches that a load stood still when it was weighed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StabilitySource {
    /// The scale said so; not written on the wire.
    #[default]
    Reported,
    /// The agent concluded it from readings that did not change.
    Inferred,
    /// The operator: the scale tells nothing about it.
    Confirmed,
}

impl StabilitySource {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Inferred => "inferred",
            Self::Confirmed => "confirmed",
        }
    }

    /// `None` for what is not written.
    pub(crate) fn wire(self) -> Option<u8> {
        match self {
            Self::Reported => None,
            Self::Inferred => Some(1),
            Self::Confirmed => Some(2),
        }
    }

    pub(crate) fn from_wire(number: Option<u8>) -> Option<Self> {
        [Self::Reported, Self::Inferred, Self::Confirmed].into_iter().find(|source| source.wire() == number)
    }
}

/// Who says in which unit a scale weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnitSource {
    /// The scale said so; not written on the wire.
    #[default]
    Reported,
    /// It stands in the agent's configuration.
    Configured,
}

impl UnitSource {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Configured => "configured",
        }
    }

    /// `None` for what is not written.
    pub(crate) fn wire(self) -> Option<u8> {
        (self == Self::Configured).then_some(1)
    }

    pub(crate) fn from_wire(number: Option<u8>) -> Option<Self> {
        [Self::Reported, Self::Configured].into_iter().find(|source| source.wire() == number)
    }
}

/// That this movement undoes an earlier one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Correction {
    /// The earlier one.
    pub movement: MovementId,
    /// Why.
    pub reason: CorrectionReason,
}

/// EPCIS `errorDeclaration` reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CorrectionReason {
    /// `did_not_occur`.
    DidNotOccur,
    /// `incorrect_data`.
    IncorrectData,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_are_the_rows() {
        for (at, (step, word, number)) in STEPS.iter().enumerate() {
            assert_eq!((usize::from(*number), step.wire()), (at, *number), "{word}");
            assert_eq!((BizStep::from_wire(*number), BizStep::from_cbv(word)), (Some(*step), Some(*step)));
        }
        for (at, (disposition, word, number)) in DISPOSITIONS.iter().enumerate() {
            assert_eq!((usize::from(*number), disposition.wire()), (at, *number), "{word}");
            assert_eq!(Disposition::from_cbv(word), Some(*disposition));
        }
        assert_eq!(BizStep::from_wire(14), None);
    }
}
