//! Ledger rows on their way into an ERP: which document each belongs to, in which order, and how far it got.
//!
//! Nothing is written per posting at ingest: the ledger itself is the queue and each ERP has a cursor in it. When
//! the sender asks for work, the next window of rows is [planned](plan) into batches, and that plan is durable
//! before anything is sent: a batch always has the same lines and the same reference, so a document of unknown
//! outcome can be searched for and continued.

use std::collections::BTreeMap;

use stockwire_protocol::{CorrelationId, ItemId, Lot, MovementId, Place, Quantity, Reference, SiteId, When};

use crate::catalogue::ErpId;
use crate::ledger::LedgerId;

/// Which kind of document an ERP needs for a movement between two places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PostingKind {
    /// Supplier to location.
    GoodsIn,
    /// Customer to location.
    CustomerReturn,
    /// Transit to location: the arriving half of a site-to-site transfer.
    TransitIn,
    /// Loss to location: found at a count.
    AdjustmentFound,
    /// Location to location of the same site.
    Internal,
    /// Location to customer.
    Outgoing,
    /// Location to supplier.
    SupplierReturn,
    /// Location to transit: the leaving half of a site-to-site transfer.
    TransitOut,
    /// Location to loss: missing at a count, or scrapped.
    AdjustmentLost,
}

/// One document at the ERP: lines of one site and one kind, posted together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostingBatch {
    /// Its number in the store; grows in the order of posting.
    pub id: u64,
    /// The idempotency key, `SW-{instance}-{id}`: search for it before creating. It is unique across databases
    /// because `instance` is random and made with the database.
    pub reference: String,
    /// For whom.
    pub erp: ErpId,
    /// All lines belong to it.
    pub site: SiteId,
    /// The site's key at the ERP, when the catalogue has one.
    pub site_reference: Option<String>,
    /// All lines are of it.
    pub kind: PostingKind,
    /// At least one; in ledger order.
    pub lines: Vec<PostingLine>,
    /// How often it was handed out before; 0 = never sent.
    pub attempts: u32,
    /// The ERP's own id of the document, once known.
    pub document: Option<String>,
    /// How it stands.
    pub state: BatchState,
    /// When it was composed, unix milliseconds.
    pub created_at_ms: i64,
}

/// One ledger row as a line of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostingLine {
    /// Its row in the books.
    pub ledger: LedgerId,
    /// The recorded fact behind it.
    pub movement: MovementId,
    /// What.
    pub item: ItemId,
    /// The ERP's key of the item, as its connector gave it.
    pub item_reference: String,
    /// Greater than zero, in the item's own unit.
    pub quantity: Quantity,
    /// Where it left.
    pub from: Place,
    /// The ERP's key of `from`; `None` for the virtual places.
    pub from_reference: Option<String>,
    /// Where it went.
    pub to: Place,
    /// The ERP's key of `to`; `None` for the virtual places.
    pub to_reference: Option<String>,
    /// Lot, when known.
    pub lot: Option<Lot>,
    /// Order or delivery note that the operator scanned.
    pub document_reference: Option<Reference>,
    /// When it happened.
    pub occurred_at: When,
    /// Its thread.
    pub correlation: CorrelationId,
}

/// How far a batch has got. Only `Done`, `Dead` and `Split` are final.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchState {
    /// Composed, nothing sent.
    Planned,
    /// Handed out to the sender, and no result recorded yet. After a restart this is an unknown outcome.
    Sent,
    /// The ERP may or may not have done it: search by reference before anything else.
    Unknown,
    /// To be tried again from the state found by reference.
    Retry,
    /// The ERP has booked it.
    Done,
    /// Given up: each line is a dead letter.
    Dead,
    /// Refused as a whole and cut into smaller batches to find the line at fault.
    Split,
}

/// What the sender reports about a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchResult {
    /// The document exists now under this id, and is not finished.
    Created {
        /// The ERP's id.
        document: String,
    },
    /// Booked.
    Done {
        /// The ERP's id.
        document: String,
    },
    /// Nothing of it was booked, and a later attempt may go through.
    Retry {
        /// Not before, unix milliseconds.
        at_ms: i64,
        /// Fault class as the exchange names it.
        class: String,
        /// For people.
        message: String,
    },
    /// Nobody knows (time-out after sending, connection reset): to be resolved by a search.
    Unknown {
        /// Not before, unix milliseconds.
        at_ms: i64,
        /// For people.
        message: String,
    },
    /// The ERP refused the document for what is in it, and certainly booked nothing (an unfinished document was
    /// cancelled first). More than one line: cut in halves with new references, so that only the line at fault
    /// ends as a dead letter. One line: dead letter.
    Rejected {
        /// For people.
        reason: String,
    },
    /// Given up for all lines (the connector cannot do this kind): each becomes a dead letter.
    Dead {
        /// For people.
        reason: String,
    },
}

/// Rows looked at in one planning: enough for some full documents of each kind, and few enough that the sender is
/// not kept waiting.
pub const WINDOW_ROWS_MAX: usize = 1_000;

impl PostingKind {
    /// `None` between two virtual places: stock of ours did not change, so there is nothing to post.
    pub fn of(from: &Place, to: &Place) -> Option<Self> {
        match (from, to) {
            (Place::At(_), Place::At(_)) => Some(Self::Internal),
            (Place::Supplier, Place::At(_)) => Some(Self::GoodsIn),
            (Place::Customer, Place::At(_)) => Some(Self::CustomerReturn),
            (Place::Transit, Place::At(_)) => Some(Self::TransitIn),
            (Place::Loss, Place::At(_)) => Some(Self::AdjustmentFound),
            (Place::At(_), Place::Customer) => Some(Self::Outgoing),
            (Place::At(_), Place::Supplier) => Some(Self::SupplierReturn),
            (Place::At(_), Place::Transit) => Some(Self::TransitOut),
            (Place::At(_), Place::Loss) => Some(Self::AdjustmentLost),
            _ => None,
        }
    }
}

/// `(kind, name, number in the store)`. Numbers are frozen.
const KINDS: [(PostingKind, &str, i64); 9] = [
    (PostingKind::GoodsIn, "goods_in", 0),
    (PostingKind::CustomerReturn, "customer_return", 1),
    (PostingKind::TransitIn, "transit_in", 2),
    (PostingKind::AdjustmentFound, "adjustment_found", 3),
    (PostingKind::Internal, "internal", 4),
    (PostingKind::Outgoing, "outgoing", 5),
    (PostingKind::SupplierReturn, "supplier_return", 6),
    (PostingKind::TransitOut, "transit_out", 7),
    (PostingKind::AdjustmentLost, "adjustment_lost", 8),
];

impl PostingKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    pub(crate) fn number(self) -> i64 {
        KINDS.iter().find(|row| row.0 == self).map_or(-1, |row| row.2)
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        KINDS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

impl BatchState {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Planned, "planned"),
        (Self::Sent, "sent"),
        (Self::Unknown, "unknown"),
        (Self::Retry, "retry"),
        (Self::Done, "done"),
        (Self::Dead, "dead"),
        (Self::Split, "split"),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Split)
    }
}

/// A ledger row that an ERP is to hear of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its position in the books.
    pub ledger: LedgerId,
    /// Number of its site in the store.
    pub site: i64,
    /// What kind of document it needs.
    pub kind: PostingKind,
    /// Why it can not be posted: an item or a location that the ERP no longer has a key for.
    pub fault: Option<String>,
}

/// A window of the ledger, cut into documents.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WindowPlan {
    /// In the order of posting.
    pub batches: Vec<PlannedBatch>,
    /// Rows that become dead letters at once.
    pub refused: Vec<(LedgerId, String)>,
}

/// One document to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedBatch {
    /// Number of its site in the store.
    pub site: i64,
    /// Its kind.
    pub kind: PostingKind,
    /// At least one, in ledger order.
    pub lines: Vec<LedgerId>,
}

/// Cuts a window of consecutive ledger rows into documents of one site and one kind.
///
/// Mixed work would otherwise make documents of one line each, at five requests a line. Within the window all rows
/// into the stock go first, then those within it, then those out of it. That is safe: at each step a place holds at
/// least what it held in the order of the ledger, so an ERP which refuses to go below zero never does so on account
/// of our order.
pub fn plan(candidates: &[Candidate], lines_max: usize) -> WindowPlan {
    let mut plan = WindowPlan::default();
    let mut sites: Vec<i64> = Vec::new();
    let mut kinds: BTreeMap<(usize, PostingKind), Vec<LedgerId>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(reason) = &candidate.fault {
            plan.refused.push((candidate.ledger, reason.clone()));
            continue;
        }
        let site = sites.iter().position(|site| *site == candidate.site).unwrap_or_else(|| {
            sites.push(candidate.site);
            sites.len() - 1
        });
        // The kinds are declared in the order of posting.
        kinds.entry((site, candidate.kind)).or_default().push(candidate.ledger);
    }
    for ((site, kind), lines) in kinds {
        for lines in lines.chunks(lines_max.max(1)) {
            plan.batches.push(PlannedBatch { site: sites[site], kind, lines: lines.to_vec() });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use PostingKind::{AdjustmentFound, GoodsIn, Internal, Outgoing};

    /// Rows as `(site, kind)`, numbered from 1; documents as `(site, kind, rows)`.
    fn check(rows: &[(i64, PostingKind)], lines_max: usize, expected: &[(i64, PostingKind, &[u64])]) {
        let row = |(at, (site, kind)): (usize, &(i64, PostingKind))| Candidate {
            ledger: LedgerId(at as u64 + 1),
            site: *site,
            kind: *kind,
            fault: None,
        };
        let candidates: Vec<Candidate> = rows.iter().enumerate().map(row).collect();
        let got = plan(&candidates, lines_max).batches;
        let got: Vec<(i64, PostingKind, Vec<u64>)> =
            got.into_iter().map(|b| (b.site, b.kind, b.lines.iter().map(|l| l.0).collect())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(site, kind, lines)| (*site, *kind, lines.to_vec())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn mixed_work_becomes_few_documents_in_a_safe_order() {
        check(
            &[(1, Outgoing), (1, GoodsIn), (1, Internal), (1, Outgoing), (1, GoodsIn), (1, AdjustmentFound)],
            100,
            &[(1, GoodsIn, &[2, 5]), (1, AdjustmentFound, &[6]), (1, Internal, &[3]), (1, Outgoing, &[1, 4])],
        );
        check(&[(2, GoodsIn), (1, GoodsIn), (2, GoodsIn)], 100, &[(2, GoodsIn, &[1, 3]), (1, GoodsIn, &[2])]);
        check(&[(1, GoodsIn); 5], 2, &[(1, GoodsIn, &[1, 2]), (1, GoodsIn, &[3, 4]), (1, GoodsIn, &[5])]);
        check(&[], 100, &[]);
    }

    #[test]
    fn kinds_have_names_and_numbers() {
        for (at, (kind, name, number)) in KINDS.iter().enumerate() {
            assert_eq!(
                (kind.as_str(), kind.number(), PostingKind::from_number(*number)),
                (*name, at as i64, Some(*kind))
            );
        }
    }
}
