//! One row of the books while they are proven, in both stores alike: that a copy is right is shown by equal hashes.

use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{Disposition, Event, Lot, SiteId};

use crate::catalogue::Index;
use crate::ledger::{self, Shelves, Transfer};

/// One row of the books, and what it came from.
#[derive(Clone)]
pub(super) struct BookRow {
    /// Its number, counted from 1 without holes.
    pub(super) id: i64,
    /// The key of the event that it was booked for.
    pub(super) event: i64,
    pub(super) transfer: Transfer,
    /// Where the event was recorded, its bytes, and the row it claims.
    pub(super) source: Option<(SiteId, Vec<u8>, Option<i64>)>,
}

impl BookRow {
    /// For hashing: every field, and nothing that could be read two ways.
    pub(super) fn line(&self) -> Vec<u8> {
        let Transfer { item, from, to, lot, disposition, steps } = &self.transfer;
        let mut line = Vec::with_capacity(64);
        for number in [self.id, self.event, item.0, from.0, to.0, *steps] {
            line.extend(number.to_be_bytes());
        }
        for word in [lot.as_ref().map_or("", Lot::as_str), disposition.map_or("", Disposition::as_str)] {
            line.extend((word.len() as u32).to_be_bytes());
            line.extend(word.as_bytes());
        }
        line
    }

    /// What the event's bytes say, given the balances before this row.
    pub(super) fn again(&self, index: &Index, shelves: &mut Shelves) -> Result<Option<Transfer>, String> {
        let Some((site, bytes, claimed)) = &self.source else { return Ok(None) };
        if *claimed != Some(self.id) {
            return Err(format!("the event claims row {claimed:?}"));
        }
        let event = Event::decode(bytes).map_err(|fault| fault.to_string())?;
        let booking = ledger::book(index, site, &event).map_err(|fault| fault.to_string())?;
        Ok(shelves.adjustment(booking))
    }
}
