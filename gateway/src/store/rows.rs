//! What the store is asked for and answers with: queries, pages and rows.

use stockwire_protocol::{
    AgentId, ChannelId, CorrelationId, Epoch, Event, ItemId, LocationId, MovementId, Quantity, Reference,
    Sequence, SiteId, Sku, TaskKind,
};

#[cfg(doc)]
use super::PAGE_ROWS_MAX;
use crate::availability::{Availability, SiteNumber};
use crate::catalogue::ErpId;
use crate::dead_letter::{DeadLetterClass, DeadLetterState};
use crate::ledger::{LedgerId, LedgerRow};
use crate::order::Stage;
use crate::task::TaskState;

/// A page of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// At most the limit asked for, and never more than [`PAGE_ROWS_MAX`].
    pub rows: Vec<T>,
    /// Hand this back as `after` for the next page; `None` = that was all.
    pub next: Option<String>,
}

/// Which stock to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StockQuery {
    /// Only this site.
    pub site: Option<SiteId>,
    /// Only this location.
    pub location: Option<LocationId>,
    /// Only this item.
    pub item: Option<ItemId>,
    /// Only balances below zero: the shelf holds less than the books think was there.
    pub negative_only: bool,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// One balance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockRow {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// Its name.
    pub name: String,
    /// Lot; `None` = not known by lot.
    pub lot: Option<stockwire_protocol::Lot>,
    /// Condition; `None` = ordinary.
    pub disposition: Option<stockwire_protocol::Disposition>,
    /// Not zero; below zero is flagged by [`Gauges::negative_balances`].
    pub on_hand: Quantity,
}

/// Which movements to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MovementQuery {
    /// Only this item.
    pub item: Option<ItemId>,
    /// Only this site.
    pub site: Option<SiteId>,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// One ledger row with the event behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MovementRow {
    /// The row in the books. A count that agreed has quantity 0.
    pub row: LedgerRow,
    /// The fact as it was recorded.
    pub event: Event,
    /// When it came here, unix milliseconds.
    pub received_at_ms: i64,
}

impl MovementRow {
    /// The thread it belongs to: the recorded one, else its own identity.
    pub fn correlation(&self) -> CorrelationId {
        crate::trace::correlation(&self.row.movement, &self.event)
    }
}

/// Which offers to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OfferQuery {
    /// Only this channel.
    pub channel: Option<ChannelId>,
    /// Only this item.
    pub item: Option<ItemId>,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// What a channel is, and was, told about one SKU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfferRow {
    /// To whom.
    pub channel: ChannelId,
    /// Its code.
    pub sku: Sku,
    /// What it is.
    pub item: ItemId,
    /// Computed now, with its terms.
    pub availability: Availability,
    /// Last accepted by the channel, if any.
    pub published: Option<Published>,
    /// A number was sent and its outcome is not known yet.
    pub unresolved: bool,
    /// Why the last attempt failed, while it is being tried again.
    pub fault: Option<String>,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Numbers that were sent and never answered, oldest first: they may still arrive, behind newer ones. At most
    /// [`ADRIFT_MAX`].
    pub adrift: Vec<Adrift>,
}

/// Of a channel that answers nothing every number would be adrift; the last few are those that can still come.
pub const ADRIFT_MAX: usize = 4;

/// A number that was sent and never answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adrift {
    /// When that was noted, unix milliseconds.
    pub at_ms: i64,
    /// What it says, per site.
    pub sites: Vec<SiteNumber>,
}

/// A number that a channel accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The sum over its sites.
    pub number: i64,
    /// Grows with each number of this SKU.
    pub revision: u64,
    /// When it was accepted, unix milliseconds.
    pub at_ms: i64,
    /// Every ledger row up to here is in the number.
    pub through: LedgerId,
}

/// Where a live view stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// Last ledger row seen.
    pub ledger: u64,
    /// Last change of offers and devices seen.
    pub change: u64,
}

/// News for a live view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// Ask from here next.
    pub cursor: Cursor,
    /// New ledger rows, oldest first.
    pub movements: Vec<MovementRow>,
    /// Offers whose publication changed.
    pub offers: Vec<OfferRow>,
    /// Devices that spoke.
    pub devices: Vec<DeviceRow>,
}

/// What is known about an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceRow {
    /// Where.
    pub site: SiteId,
    /// Who.
    pub agent: AgentId,
    /// Alive or gone, by its own or the broker's word.
    pub status: DeviceStatus,
    /// Last message of any kind, unix milliseconds.
    pub last_seen_ms: i64,
    /// Life of its journal, when it has told one.
    pub epoch: Option<Epoch>,
    /// What we hold of that epoch.
    pub watermark: Sequence,
    /// Last sequence that it says it has recorded; at least the watermark.
    pub head: Sequence,
    /// A conflict froze the stream: see the dead letters.
    pub frozen: bool,
    /// Facts that its journal had to drop, over all epochs.
    pub lost: u64,
    /// What it said about its clock at its last birth: (its wall clock, synchronised, when we received that).
    pub clock: Option<DeviceClock>,
    /// Software version, when told.
    pub software: Option<String>,
}

impl DeviceRow {
    /// Recorded there and not yet here.
    pub fn backlog(&self) -> u64 {
        self.head.get().saturating_sub(self.watermark.get())
    }
}

/// An agent's clock against ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceClock {
    /// What it said.
    pub unix_ms: i64,
    /// Whether it was synchronised.
    pub synced: bool,
    /// Which start of the box.
    pub boot: u32,
    /// Monotonic milliseconds since that start.
    pub uptime_ms: u64,
    /// When we received it.
    pub received_at_ms: i64,
}

/// Whether an agent is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceStatus {
    /// Said so, or has just sent events.
    Online,
    /// Stopped cleanly.
    Stopped,
    /// The connection broke.
    Lost,
}

impl DeviceStatus {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Online, Self::Stopped, Self::Lost].into_iter().find(|status| status.as_str() == name)
    }
}

/// Which dead letters to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeadLetterQuery {
    /// Only this state; `None` = all.
    pub state: Option<DeadLetterState>,
    /// Only this class; `None` = all.
    pub class: Option<DeadLetterClass>,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// Which tasks to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskQuery {
    /// Only this site.
    pub site: Option<SiteId>,
    /// Only this kind.
    pub kind: Option<TaskKind>,
    /// Only this state; `None` = all.
    pub state: Option<TaskState>,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// Which orders to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrderQuery {
    /// Only of this channel.
    pub channel: Option<ChannelId>,
    /// Only those that are so far.
    pub stage: Option<Stage>,
    /// Only those that are called so: by people, in the warehouse, or by their channel.
    pub code: Option<Reference>,
    /// Only those that a person must look at.
    pub attention_only: bool,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// An event that mentions something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mentioned {
    /// Where it was recorded.
    pub site: SiteId,
    /// Its identity.
    pub movement: MovementId,
    /// What was recorded; what it was taken for, when codes in it had to be resolved.
    pub event: Event,
    /// When it came here, unix milliseconds.
    pub received_at_ms: i64,
    /// It took effect in the books, or moves nothing; what is set aside did not.
    pub applied: bool,
}

/// Whether the books agree with themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BooksReport {
    /// Events read.
    pub events: u64,
    /// Ledger rows read.
    pub rows: u64,
    /// Balances that are not zero.
    pub balances: u64,
    /// SHA-256 over the ledger rows as stored, and as recomputed from the event bytes.
    pub rows_hash: [[u8; 32]; 2],
    /// SHA-256 over the balances as stored, and as recomputed from the ledger rows.
    pub balances_hash: [[u8; 32]; 2],
    /// What differs, in words; at most [`BooksReport::FINDINGS_MAX`]. Empty = the books are right.
    pub findings: Vec<String>,
}

impl BooksReport {
    /// Enough to see the pattern of a fault.
    pub const FINDINGS_MAX: usize = 50;

    /// Whether everything agrees.
    pub fn is_right(&self) -> bool {
        self.findings.is_empty()
            && self.rows_hash[0] == self.rows_hash[1]
            && self.balances_hash[0] == self.balances_hash[1]
    }
}

/// Numbers for metrics and alarms.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// Events held.
    pub events: u64,
    /// Last ledger row.
    pub ledger_head: u64,
    /// Physical balances below zero.
    pub negative_balances: u64,
    /// Streams frozen by a conflict.
    pub frozen_streams: u64,
    /// Facts that agents had to drop.
    pub lost: u64,
    /// Open dead letters, by class.
    pub dead_letters: Vec<(DeadLetterClass, u64)>,
    /// Per ERP: ledger rows not booked there yet, and when the oldest of them came here.
    pub unposted: Vec<(ErpId, u64, Option<i64>)>,
    /// Per channel: SKUs whose number is not accepted yet, and since when the oldest waits.
    pub unpublished: Vec<(ChannelId, u64, Option<i64>)>,
    /// Agents by status: online, stopped, lost.
    pub devices: [u64; 3],
    /// Events that agents have recorded and we do not hold.
    pub backlog: u64,
}

/// An API key, without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKeyRow {
    /// Unique.
    pub name: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// `None` = live.
    pub revoked_at_ms: Option<i64>,
    /// To the minute; `None` = never.
    pub last_used_at_ms: Option<i64>,
}
