//! The way of one movement, one item or one order through everything: scan, journal, received, entries, ERP
//! document, channel publication. Derived from what is stored; nothing is written for it.

use stockwire_protocol::{Body, ChannelId, CorrelationId, Event, ItemId, MovementId, Sku};

use crate::catalogue::ErpId;
use crate::posting::BatchState;
use crate::store::{MovementRow, Published};

/// What to look for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceKey {
    /// One recorded fact.
    Movement(MovementId),
    /// Everything of an item.
    Item(ItemId),
    /// A word that events mention: correlation id, reference, license plate, lot, serial number.
    Mention(String),
}

/// Everything known about one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Its identity.
    pub movement: MovementId,
    /// What was recorded.
    pub event: Event,
    /// When it came here, unix milliseconds.
    pub received_at_ms: i64,
    /// Its row in the books; `None` = not applied.
    pub applied: Option<MovementRow>,
    /// Why it is not applied, when it is a dead letter, and that letter's number.
    pub dead_letter: Option<(i64, String)>,
    /// Its documents, one for each ERP that it is for (a second one only after a split or a replay).
    pub postings: Vec<TracePosting>,
    /// Numbers of its item that include it.
    pub publications: Vec<TracePublication>,
}

/// A document that carries the row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TracePosting {
    /// At which ERP.
    pub erp: ErpId,
    /// Our reference on it.
    pub reference: String,
    /// The ERP's own id, once known.
    pub document: Option<String>,
    /// How it stands.
    pub state: BatchState,
    /// When that became so, unix milliseconds.
    pub at_ms: i64,
}

/// A channel's number that includes the row (or will).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TracePublication {
    /// Where.
    pub channel: ChannelId,
    /// Its code.
    pub sku: Sku,
    /// The accepted number that includes the row; `None` = the newest accepted one is older.
    pub published: Option<Published>,
}

/// The thread an event belongs to: the one that was recorded, else its own identity starts one.
pub fn correlation(movement: &MovementId, event: &Event) -> CorrelationId {
    let details = match &event.body {
        Body::Movement(movement) => Some(&movement.details),
        Body::Count(count) => Some(&count.details),
        Body::Lost { .. } => None,
    };
    let recorded = details.and_then(|details| details.correlation.clone());
    // A movement's identity is at most 64 + 32 + 20 characters and two strokes, so it always fits.
    recorded
        .or_else(|| CorrelationId::new(movement.to_string()).ok())
        .unwrap_or_else(|| unreachable!("an identity is a correlation id: {movement}"))
}
