//! The books: every event becomes one ledger row, every row two entries, every balance a sum of entries.

use std::collections::{BTreeMap, HashMap};

use stockwire_protocol::{
    Body, Disposition, Event, ItemId, LocationId, Lot, MovementId, Place, Quantity, SiteId, Uom,
};

use crate::catalogue::{Index, ItemFacts, ItemNo, PlaceNo};

/// Position in the books: 1, 2, 3 ... in the order of application, over all agents. 0 = before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LedgerId(pub u64);

/// One applied event in the books. Its two entries are `-quantity` at `from` and `+quantity` at `to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerRow {
    /// Its position.
    pub id: LedgerId,
    /// The fact behind it.
    pub movement: MovementId,
    /// Where it happened.
    pub site: SiteId,
    /// What.
    pub item: ItemId,
    /// Zero or more, in the item's own unit; zero only for a count that agreed with the books.
    pub quantity: Quantity,
    /// Where it left.
    pub from: Place,
    /// Where it went.
    pub to: Place,
    /// Lot; `None` = not known by lot.
    pub lot: Option<Lot>,
    /// Condition; `None` = ordinary.
    pub disposition: Option<Disposition>,
}

/// One place's opening stock, as the ERP has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpeningLine {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// How much, in the item's own unit; may be below zero.
    pub quantity: Quantity,
}

/// One thing that has a balance.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BalanceKey {
    /// What.
    pub item: ItemNo,
    /// Where; the place belongs to one site.
    pub place: PlaceNo,
    /// Lot; `None` = not known by lot.
    pub lot: Option<Lot>,
    /// Condition; `None` = ordinary.
    pub disposition: Option<Disposition>,
}

/// What an event does to the books, in the store's numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// What.
    pub item: ItemNo,
    /// Where it leaves.
    pub from: PlaceNo,
    /// Where it goes.
    pub to: PlaceNo,
    /// Lot; `None` = not known by lot.
    pub lot: Option<Lot>,
    /// Condition; `None` = ordinary.
    pub disposition: Option<Disposition>,
    /// Zero or more steps of the item's unit; zero only for a count that agreed.
    pub steps: i64,
}

impl Transfer {
    /// The two entries; they sum to nothing, which is why the books balance. None for a count that agreed.
    pub fn entries(&self) -> impl Iterator<Item = (BalanceKey, i64)> + use<> {
        let key = |place| BalanceKey {
            item: self.item,
            place,
            lot: self.lot.clone(),
            disposition: self.disposition,
        };
        let pair = [(key(self.from), -self.steps), (key(self.to), self.steps)];
        pair.into_iter().filter(|(_, steps)| *steps != 0)
    }
}

/// More than this in one movement is a fault of the box, not stock: 10^12 pieces, or a thousand tonnes in
/// milligrams. Nine million movements of that size fit into a balance before it could overflow.
pub const QUANTITY_STEPS_MAX: i64 = 1_000_000_000_000;

/// Why an event cannot be booked with the present catalogue.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unappliable {
    /// No ERP has told of this site.
    #[error("site {0} is not in the catalogue")]
    Site(SiteId),
    /// No ERP has told of this item.
    #[error("item {0} is not in the catalogue")]
    Item(ItemId),
    /// The site has no such place.
    #[error("site {site} has no location {location}")]
    Location {
        /// Where.
        site: SiteId,
        /// The place it lacks.
        location: LocationId,
    },
    /// Recorded in a unit that does not convert exactly to the booked one.
    #[error("item {item} is booked in {booked}, the event says {got}")]
    Unit {
        /// What.
        item: ItemId,
        /// The item's unit.
        booked: Uom,
        /// The event's unit.
        got: Uom,
    },
    /// Recorded under codes that the agent did not know.
    #[error("recorded under a code that was not known: {scans}")]
    Code {
        /// As they were scanned.
        scans: String,
    },
    /// Beyond [`QUANTITY_STEPS_MAX`].
    #[error("{quantity} of item {item} is more than one movement can hold")]
    Quantity {
        /// What.
        item: ItemId,
        /// How much.
        quantity: Quantity,
    },
}

/// What the books do with an event, before the balance of a count is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Booking {
    /// This much moves.
    Transfer(Transfer),
    /// The difference between the count and the books moves between `place` and `loss`.
    Count {
        /// What.
        item: ItemNo,
        /// Where it was counted.
        place: PlaceNo,
        /// The site's loss place.
        loss: PlaceNo,
        /// Only this lot; `None` = all lots together.
        lot: Option<Lot>,
        /// Of this condition; `None` = ordinary.
        disposition: Option<Disposition>,
        /// Steps of the item's unit that are there.
        counted: i64,
    },
    /// A fact without stock: a plate was handled, or the journal had to drop something.
    Nothing,
}

/// Reads an event in terms of the catalogue.
///
/// # Errors
/// [`Unappliable`] names what the catalogue lacks; the event is kept and can be replayed.
pub fn book(index: &Index, site: &SiteId, event: &Event) -> Result<Booking, Unappliable> {
    let places = || index.sites.get(site).ok_or_else(|| Unappliable::Site(site.clone()));
    let item = |id: &ItemId| index.items.get(id).copied().ok_or_else(|| Unappliable::Item(id.clone()));
    let place = |place: &Place| {
        let places = places()?;
        places.number(place).ok_or_else(|| match place {
            Place::At(location) => Unappliable::Location { site: site.clone(), location: location.clone() },
            _ => Unappliable::Site(site.clone()),
        })
    };
    let steps = |id: &ItemId, facts: ItemFacts, quantity: Quantity| {
        let unit = |_| Unappliable::Unit { item: id.clone(), booked: facts.uom, got: quantity.uom };
        let steps = quantity.to_uom(facts.uom).map_err(unit)?.steps;
        if !(0..=QUANTITY_STEPS_MAX).contains(&steps) {
            return Err(Unappliable::Quantity { item: id.clone(), quantity });
        }
        Ok(steps)
    };
    match &event.body {
        Body::Movement(movement) => {
            let facts = item(&movement.item)?;
            Ok(Booking::Transfer(Transfer {
                item: facts.no,
                from: place(&movement.from)?,
                to: place(&movement.to)?,
                lot: movement.details.lot.clone(),
                disposition: movement.details.disposition,
                steps: steps(&movement.item, facts, movement.quantity)?,
            }))
        }
        Body::Count(count) => {
            let facts = item(&count.item)?;
            Ok(Booking::Count {
                item: facts.no,
                place: place(&Place::At(count.location.clone()))?,
                loss: place(&Place::Loss)?,
                lot: count.details.lot.clone(),
                disposition: count.details.disposition,
                counted: steps(&count.item, facts, count.counted)?,
            })
        }
        // Picking has booked the stock of what is packed, loaded and shipped; a label moves none.
        Body::Lost { .. } | Body::Handling(_) => Ok(Booking::Nothing),
        Body::Unresolved(unresolved) => {
            let scans: Vec<_> = unresolved.scans().map(ToString::to_string).collect();
            Err(Unappliable::Code { scans: scans.join(", ") })
        }
    }
}

/// Steps of one item at one place, by condition and lot.
type Shelf = BTreeMap<(Option<Disposition>, Option<Lot>), i64>;

/// The balances of counted items at counted places, by lot and condition, kept current while a group is booked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shelves {
    on: HashMap<(ItemNo, PlaceNo), Shelf>,
}

impl Shelves {
    /// Starts to follow an item at a place, from nothing.
    pub fn follow(&mut self, item: ItemNo, place: PlaceNo) {
        self.on.entry((item, place)).or_default();
    }

    /// Adds a balance or an entry; of what is not followed, nothing is kept.
    pub fn add(&mut self, key: &BalanceKey, steps: i64) {
        if let Some(shelf) = self.on.get_mut(&(key.item, key.place)) {
            *shelf.entry((key.disposition, key.lot.clone())).or_default() += steps;
        }
    }

    /// What the books say lies there: of one lot, or of all lots together when the operator did not name one.
    /// (Stock received by lot and counted by its plain barcode must end at what was counted, not above it.)
    fn books(
        &self,
        item: ItemNo,
        place: PlaceNo,
        lot: Option<&Lot>,
        disposition: Option<Disposition>,
    ) -> i64 {
        let Some(shelf) = self.on.get(&(item, place)) else { return 0 };
        let wanted =
            shelf.iter().filter(|((d, l), _)| *d == disposition && (lot.is_none() || l.as_ref() == lot));
        wanted.map(|(_, steps)| steps).sum()
    }

    /// The transfer that makes the books agree with what was counted: from loss when more is there, to loss when
    /// less is, of nothing when they agree. The shelf is the truth.
    pub fn adjustment(&self, booking: Booking) -> Option<Transfer> {
        match booking {
            Booking::Nothing => None,
            Booking::Transfer(transfer) => Some(transfer),
            Booking::Count { item, place, loss, lot, disposition, counted } => {
                let difference = counted - self.books(item, place, lot.as_ref(), disposition);
                let (from, to) = if difference < 0 { (place, loss) } else { (loss, place) };
                Some(Transfer { item, from, to, lot, disposition, steps: difference.abs() })
            }
        }
    }
}
