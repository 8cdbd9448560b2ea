//! What goes out: store rows as JSON. Only here; the rows themselves are nobody's contract.

use jiff::Timestamp;
use serde::Serialize;
use stockwire_protocol::{Body, Place, Quantity};

use crate::catalogue::Item;
use crate::dead_letter::DeadLetter;
use crate::posting::PostingBatch;
use crate::reconcile::Plan;
use crate::store::{DeviceRow, DeviceStatus, MovementRow, OfferRow, Page, Published, StockRow};
use crate::trace::{Step, Thread};

/// A page of anything.
#[derive(Serialize)]
pub(super) struct Rows<T> {
    rows: Vec<T>,
    next: Option<String>,
}

impl<T> Rows<T> {
    pub(super) fn of<R>(page: Page<R>, row: impl Fn(R) -> T) -> Self {
        Self { rows: page.rows.into_iter().map(row).collect(), next: page.next }
    }

    pub(super) fn all(rows: Vec<T>) -> Self {
        Self { rows, next: None }
    }
}

/// RFC 3339 with milliseconds; a time that no calendar has is shown as its number.
pub(super) fn time(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms).map_or_else(|_| format!("{unix_ms} ms"), |time| format!("{time:.3}"))
}

/// Virtual places in angle brackets, which no location code can be mistaken for by a person.
pub(super) fn place(place: &Place) -> String {
    match place {
        Place::At(location) => location.to_string(),
        Place::Supplier => "<supplier>".into(),
        Place::Customer => "<customer>".into(),
        Place::Loss => "<loss>".into(),
        Place::Transit => "<transit>".into(),
    }
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

#[derive(Serialize)]
pub(super) struct Stock {
    site: String,
    location: String,
    item: String,
    name: String,
    lot: Option<String>,
    disposition: Option<&'static str>,
    on_hand: String,
    uom: &'static str,
}

impl From<StockRow> for Stock {
    fn from(row: StockRow) -> Self {
        Self {
            site: row.site.to_string(),
            location: row.location.to_string(),
            item: row.item.to_string(),
            name: row.name,
            lot: text(row.lot),
            disposition: row.disposition.map(|d| d.as_str()),
            on_hand: row.on_hand.decimal(),
            uom: row.on_hand.uom.code(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Movement {
    ledger: u64,
    movement: String,
    kind: &'static str,
    step: &'static str,
    site: String,
    item: String,
    quantity: String,
    uom: &'static str,
    from: String,
    to: String,
    lot: Option<String>,
    disposition: Option<&'static str>,
    station: Option<String>,
    operator: Option<String>,
    reference: Option<String>,
    correlation: String,
    occurred_at: String,
    clock_synced: bool,
    received_at: String,
}

impl From<MovementRow> for Movement {
    fn from(row: MovementRow) -> Self {
        let correlation = row.correlation().to_string();
        let (kind, step) = match &row.event.body {
            Body::Movement(m) => ("movement", m.step.as_str()),
            Body::Count(_) => ("count", "cycle_counting"),
            Body::Lost { .. } => ("lost", ""),
            Body::Handling(handling) => ("handling", handling.act.as_str()),
            Body::Unresolved(_) => ("unresolved", ""),
        };
        let (station, details) = (row.event.body.station(), row.event.body.details());
        Self {
            ledger: row.row.id.0,
            movement: row.row.movement.to_string(),
            kind,
            step,
            site: row.row.site.to_string(),
            item: row.row.item.to_string(),
            quantity: row.row.quantity.decimal(),
            uom: row.row.quantity.uom.code(),
            from: place(&row.row.from),
            to: place(&row.row.to),
            lot: text(row.row.lot),
            disposition: row.row.disposition.map(|d| d.as_str()),
            station: text(station),
            operator: text(details.and_then(|d| d.operator.as_ref())),
            reference: text(details.and_then(|d| d.reference.as_ref())),
            correlation,
            occurred_at: time(row.event.when.unix_ms()),
            clock_synced: row.event.when.is_synced(),
            received_at: time(row.received_at_ms),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ItemRow {
    item: String,
    name: String,
    uom: &'static str,
    gtins: Vec<String>,
    codes: Vec<String>,
}

impl From<Item> for ItemRow {
    fn from(item: Item) -> Self {
        Self {
            item: item.id.to_string(),
            name: item.name,
            uom: item.uom.code(),
            gtins: item.gtins.iter().map(ToString::to_string).collect(),
            codes: item.codes,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Offer {
    channel: String,
    sku: String,
    item: String,
    number: i64,
    terms: Vec<Term>,
    published: Option<PublishedNumber>,
    unresolved: bool,
    fault: Option<String>,
    attempts: u32,
}

#[derive(Serialize)]
struct Term {
    name: &'static str,
    site: Option<String>,
    quantity: String,
}

#[derive(Serialize)]
pub(super) struct PublishedNumber {
    number: i64,
    revision: u64,
    at: String,
    through: u64,
}

impl From<Published> for PublishedNumber {
    fn from(published: Published) -> Self {
        let Published { number, revision, at_ms, through } = published;
        Self { number, revision, at: time(at_ms), through: through.0 }
    }
}

impl From<OfferRow> for Offer {
    fn from(row: OfferRow) -> Self {
        let decimal = |quantity: Quantity| quantity.decimal();
        let terms = row.availability.terms.into_iter();
        Self {
            channel: row.channel.to_string(),
            sku: row.sku.to_string(),
            item: row.item.to_string(),
            number: row.availability.number,
            terms: terms
                .map(|term| Term { name: term.name, site: text(term.site), quantity: decimal(term.quantity) })
                .collect(),
            published: row.published.map(Into::into),
            unresolved: row.unresolved,
            fault: row.fault,
            attempts: row.attempts,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Device {
    site: String,
    agent: String,
    status: &'static str,
    last_seen_at: String,
    epoch: Option<String>,
    watermark: u64,
    head: u64,
    backlog: u64,
    frozen: bool,
    lost: u64,
    clock_synced: Option<bool>,
    software: Option<String>,
}

impl From<DeviceRow> for Device {
    fn from(row: DeviceRow) -> Self {
        Self {
            backlog: row.backlog(),
            site: row.site.to_string(),
            agent: row.agent.to_string(),
            status: match row.status {
                DeviceStatus::Online => "online",
                DeviceStatus::Stopped => "stopped",
                DeviceStatus::Lost => "lost",
            },
            last_seen_at: time(row.last_seen_ms),
            epoch: text(row.epoch),
            watermark: row.watermark.get(),
            head: row.head.get(),
            frozen: row.frozen,
            lost: row.lost,
            clock_synced: row.clock.map(|clock| clock.synced),
            software: row.software,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Letter {
    id: i64,
    class: &'static str,
    reason: String,
    source: String,
    state: &'static str,
    times: u64,
    first_at: String,
    last_at: String,
    agent: Option<String>,
    movement: Option<String>,
    closed_by: Option<String>,
    closed_why: Option<String>,
    /// Hexadecimal, so that nothing in it can be mistaken for markup or a formula.
    bytes_hex: String,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id.0,
            class: letter.class.as_str(),
            reason: letter.reason,
            source: letter.source,
            state: letter.state.as_str(),
            times: letter.times,
            first_at: time(letter.first_at_ms),
            last_at: time(letter.last_at_ms),
            agent: letter.agent.map(|(site, agent)| format!("{site}/{agent}")),
            movement: text(letter.movement),
            closed_by: letter.closed.as_ref().map(|closed| closed.by.clone()),
            closed_why: letter.closed.map(|closed| closed.why),
            bytes_hex: letter.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Posting {
    erp: String,
    reference: String,
    kind: &'static str,
    site: String,
    state: &'static str,
    document: Option<String>,
    lines: usize,
    attempts: u32,
}

impl From<PostingBatch> for Posting {
    fn from(batch: PostingBatch) -> Self {
        Self {
            erp: batch.erp.to_string(),
            reference: batch.reference,
            kind: batch.kind.as_str(),
            site: batch.site.to_string(),
            state: batch.state.as_str(),
            document: batch.document,
            lines: batch.lines.len(),
            attempts: batch.attempts,
        }
    }
}

/// The answer of `/v1/traces`.
#[derive(Serialize)]
pub(super) struct TraceAnswer {
    key: String,
    movements: usize,
    timeline: Vec<TraceStep>,
}

#[derive(Serialize)]
struct TraceStep {
    at: Option<String>,
    movement: String,
    stage: &'static str,
    text: String,
}

impl TraceAnswer {
    pub(super) fn new(key: String, threads: &[Thread], steps: Vec<Step>) -> Self {
        let timeline = steps
            .into_iter()
            .map(|step| TraceStep {
                at: step.at_ms.map(time),
                movement: step.movement.to_string(),
                stage: step.stage.as_str(),
                text: step.text,
            })
            .collect();
        Self { key, movements: threads.len(), timeline }
    }
}

/// The answer of `/v1/reconcile`.
#[derive(Serialize)]
pub(super) struct PlanAnswer {
    agreed: bool,
    text: String,
}

impl From<Plan> for PlanAnswer {
    fn from(plan: Plan) -> Self {
        Self { agreed: plan.is_agreed(), text: plan.to_string() }
    }
}
