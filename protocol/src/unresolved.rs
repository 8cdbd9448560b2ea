//! What was recorded although a code was not known: the scan itself, to be resolved at the gateway.

use alloc::string::String;
use core::fmt;

use crate::{BizStep, Body, Count, Details, ItemId, LocationId, Movement, Place, Quantity, StationId};

/// A movement or a count of which at least one code was not in the agent's catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unresolved {
    /// What.
    pub item: Code<ItemId>,
    /// How much: above zero for a movement; in pieces when the item is not known and the label has no weight.
    pub quantity: Quantity,
    /// What was done with it.
    pub what: Purpose,
    /// Where it was recorded.
    pub station: StationId,
    /// What else is known.
    pub details: Details,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It moved.
    Move {
        /// Why.
        step: BizStep,
        /// Where it left.
        from: Code<Place>,
        /// Where it went; differs from `from`.
        to: Code<Place>,
    },
    /// It was counted.
    Count {
        /// Where.
        location: Code<LocationId>,
    },
}

/// A code that is known, or the scan that nobody knew.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Code<T> {
    /// In the catalogue.
    Known(T),
    /// Byte for byte as scanned.
    Scanned(RawScan),
}

/// One read of a scanner as text, its AIM identifier and separators included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawScan(String);

impl RawScan {
    /// Longest one: a full Code 128 label is a third of it, and with three of them an event keeps below its limit.
    pub const BYTES_MAX: usize = 160;

    /// `None` when it is empty or too long to be kept.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (1..=Self::BYTES_MAX).contains(&text.len()).then_some(Self(text))
    }

    /// The text, as [`crate::gs1::Scan::raw_text`] gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RawScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

impl fmt::Debug for RawScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawScan({:?})", self.0)
    }
}

impl<T> Code<T> {
    /// What is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Code::Known(known) => Some(known),
            Code::Scanned(_) => None,
        }
    }

    /// The scan, when it is not.
    pub fn scanned(&self) -> Option<&RawScan> {
        match self {
            Code::Known(_) => None,
            Code::Scanned(raw) => Some(raw),
        }
    }

    fn resolve(&self, find: impl Fn(&RawScan) -> Option<T>) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Code::Known(known) => Some(known.clone()),
            Code::Scanned(raw) => find(raw),
        }
    }
}

impl Unresolved {
    /// The scans that nobody knew; at least one.
    pub fn scans(&self) -> impl Iterator<Item = &RawScan> {
        let places = match &self.what {
            Purpose::Move { from, to, .. } => [from.scanned(), to.scanned()],
            Purpose::Count { location } => [location.scanned(), None],
        };
        self.item.scanned().into_iter().chain(places.into_iter().flatten())
    }

    /// The fact that would have been recorded, once every code is known. `None` while one is not, or when both ends
    /// turn out to be one place.
    pub fn resolve(
        &self,
        item: impl Fn(&RawScan) -> Option<ItemId>,
        location: impl Fn(&RawScan) -> Option<LocationId>,
    ) -> Option<Body> {
        let item = self.item.resolve(item)?;
        let (station, details) = (self.station.clone(), self.details.clone());
        match &self.what {
            Purpose::Move { step, from, to } => {
                let place = |raw: &RawScan| location(raw).map(Place::At);
                let (from, to) = (from.resolve(place)?, to.resolve(place)?);
                let (step, quantity) = (*step, self.quantity);
                let movement = Movement { step, item, quantity, from, to, station, details };
                (movement.from != movement.to).then_some(Body::Movement(movement))
            }
            Purpose::Count { location: at } => {
                let location = at.resolve(location)?;
                Some(Body::Count(Count { item, counted: self.quantity, location, station, details }))
            }
        }
    }
}
