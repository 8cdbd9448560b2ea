//! Ledger against ERP as of one cut-off, considering what is on its way. Pure: [`plan`] decides, others act.

use stockwire_protocol::{AgentId, Epoch, ItemId, LocationId, MovementId, Quantity, Sequence, SiteId};

use crate::ledger::LedgerId;

/// The ledger side at one moment; from one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Ledger rows up to here are considered.
    pub cutoff: LedgerId,
    /// The same as each agent's prefix. An agent with a backlog makes the comparison partial, not wrong.
    pub watermarks: Vec<(AgentId, Epoch, Sequence)>,
    /// Every physical place and item with a balance or an open posting; ordered by the key.
    pub rows: Vec<SnapshotRow>,
}

/// One place and item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotRow {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// The ledger's balance, over all lots and dispositions.
    pub balance: Quantity,
    /// The part that the ERP certainly has not booked: rows without a batch, in planned batches, or dead letters.
    pub unposted: Quantity,
    /// The part that it may have booked: rows in batches that were sent and are not done.
    pub in_flight: Quantity,
}

/// What the ERP says about one place and item.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ErpQuantity {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// In steps of the item's own unit.
    pub steps: i64,
}

/// One of our lines at a place: evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownLine {
    /// Its row in the books.
    pub ledger: LedgerId,
    /// The fact behind it.
    pub movement: MovementId,
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// What it added there; below zero when it left.
    pub steps: i64,
    /// Our reference of the document that the ERP confirmed; `None` = not confirmed.
    pub reference: Option<String>,
}
