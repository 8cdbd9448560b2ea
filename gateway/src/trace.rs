//! The way of one movement, one item or one order through everything: scan, journal, received, entries, ERP
//! document, channel publication. Derived from what is stored; nothing is written for it.

use stockwire_protocol::{
    Body, ChannelId, Content, CorrelationId, Count, Event, Handling, ItemId, Movement, MovementId, Place, Sku,
};

use crate::catalogue::ErpId;
use crate::ledger::LedgerRow;
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
    let recorded = event.body.details().and_then(|details| details.correlation.clone());
    // A movement's identity is at most 64 + 32 + 20 characters and two strokes, so it always fits.
    recorded
        .or_else(|| CorrelationId::new(movement.to_string()).ok())
        .unwrap_or_else(|| unreachable!("an identity is a correlation id: {movement}"))
}

/// What a text in a search box may mean, the most specific first.
pub fn parse(text: &str) -> Vec<TraceKey> {
    let text = text.trim();
    let mut keys = Vec::new();
    if let Some(movement) = MovementId::parse(text) {
        keys.push(TraceKey::Movement(movement));
    }
    if !text.is_empty() {
        keys.push(TraceKey::Mention(text.to_string()));
    }
    if let Ok(item) = ItemId::new(text) {
        keys.push(TraceKey::Item(item));
    }
    keys
}

/// Where on its way something was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// At the station; the journal had it before the beep.
    Recorded,
    /// Committed at the gateway.
    Received,
    /// In the books.
    Booked,
    /// Set aside.
    SetAside,
    /// On a document at an ERP.
    Posted,
    /// Told to a channel.
    Published,
}

impl Stage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Recorded => "recorded",
            Stage::Received => "received",
            Stage::Booked => "booked",
            Stage::SetAside => "set_aside",
            Stage::Posted => "posted",
            Stage::Published => "published",
        }
    }
}

/// One line of a timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Unix milliseconds; `None` = it has not happened yet, or the box did not know its time.
    pub at_ms: Option<i64>,
    /// Of which fact.
    pub movement: MovementId,
    /// Where on its way.
    pub stage: Stage,
    /// For people.
    pub text: String,
}

/// The lines of what was found: threads from the oldest on, each in the order of its way.
pub fn timeline(threads: &[Thread]) -> Vec<Step> {
    let mut threads: Vec<&Thread> = threads.iter().collect();
    // By arrival, then by identity: a box's clock says nothing about order.
    threads.sort_by(|a, b| (a.received_at_ms, &a.movement).cmp(&(b.received_at_ms, &b.movement)));
    threads.into_iter().flat_map(steps).collect()
}

fn steps(thread: &Thread) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step =
        |at_ms, stage, text| steps.push(Step { at_ms, movement: thread.movement.clone(), stage, text });
    let when = thread.event.when;
    step(when.is_synced().then_some(when.unix_ms()), Stage::Recorded, recorded(&thread.event));
    step(
        Some(thread.received_at_ms),
        Stage::Received,
        format!("committed at the gateway as {}", thread.movement),
    );
    if let Some(applied) = &thread.applied {
        let LedgerRow { id, quantity, from, to, .. } = &applied.row;
        let text = match quantity.steps {
            0 => format!("row {}: the books agree", id.0),
            _ => format!("row {}: {quantity} from {} to {}", id.0, place(from), place(to)),
        };
        step(Some(thread.received_at_ms), Stage::Booked, text);
    }
    if let Some((letter, reason)) = &thread.dead_letter {
        step(Some(thread.received_at_ms), Stage::SetAside, format!("dead letter {letter}: {reason}"));
    }
    for posting in &thread.postings {
        let TracePosting { erp, reference, document, state, at_ms } = posting;
        let document = document.as_ref().map(|document| format!(", document {document}")).unwrap_or_default();
        let text = format!("{erp} {}: {reference}{document}", state.as_str());
        step((*state == BatchState::Done).then_some(*at_ms), Stage::Posted, text);
    }
    for TracePublication { channel, sku, published } in &thread.publications {
        match published {
            Some(published) => {
                let text = format!(
                    "{channel} {sku}: {} accepted, revision {}",
                    published.number, published.revision
                );
                step(Some(published.at_ms), Stage::Published, text);
            }
            None => step(None, Stage::Published, format!("{channel} {sku}: not accepted yet")),
        }
    }
    steps
}

fn recorded(event: &Event) -> String {
    match &event.body {
        Body::Movement(Movement { step, item, quantity, from, to, station, .. }) => {
            let (from, to) = (place(from), place(to));
            format!("{}: {quantity} of {item} from {from} to {to} at station {station}", step.as_str())
        }
        Body::Count(Count { item, counted, location, station, .. }) => {
            format!("counted {counted} of {item} in {location} at station {station}")
        }
        Body::Lost { count } => format!("the journal had to drop {count} facts here"),
        Body::Handling(Handling { act, content, station, details, .. }) => {
            let content = match content {
                None => String::new(),
                Some(Content::Goods { item, quantity }) => format!(" {quantity} of {item}"),
                Some(Content::Plate(plate)) => format!(" plate {plate}"),
            };
            let plate = details.license_plate.map(|plate| format!(", plate {plate}")).unwrap_or_default();
            format!("{}{content}{plate} at station {station}", act.as_str())
        }
        Body::Unresolved(unresolved) => {
            let scans: Vec<_> = unresolved.scans().map(ToString::to_string).collect();
            format!(
                "{} of a code that was not known at station {}: {}",
                unresolved.quantity,
                unresolved.station,
                scans.join(", ")
            )
        }
    }
}

/// A place in words.
pub fn place(place: &Place) -> &str {
    match place {
        Place::At(location) => location.as_str(),
        Place::Supplier => "supplier",
        Place::Customer => "customer",
        Place::Loss => "loss",
        Place::Transit => "transit",
    }
}
