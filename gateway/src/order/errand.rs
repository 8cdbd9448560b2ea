//! Steps outside: taken one at a time, written down before they are sent, and again when they are answered.
//!
//! What was sent and never answered is taken again, and its conversation looks first for what it had made; nothing is
//! ever sent again blindly.

use super::desk::Desk;
use super::fact::{Door, Duty, Fact, Outcome};
use super::policy::Policy;
use super::standing::{DutyState, Standing};
use super::work::{Known, Writes};
use super::{Cancellation, Order, Sale, SaleLine, Shipment, ShippedLine};

/// Rests between attempts: a hiccup costs seconds; what lasts costs two rows of history every quarter of an hour.
const RETRY_FIRST_MS: i64 = 2_000;
const RETRY_CAP_MS: i64 = 15 * 60 * 1_000;
/// Between two looks for an invoice, doubled each time up to a day: accounts departments work by the day.
const INVOICE_LOOK_MS: i64 = 60_000;
const INVOICE_CAP_MS: i64 = 24 * 60 * 60 * 1_000;
/// Looks for an invoice, about three weeks of them. Then there is none.
const INVOICE_LOOKS_MAX: u32 = 30;
/// How long a sale is looked for whose creation was never answered, before it is taken for not made: longer than any
/// request stays under way.
const LATE_SALE_MS: i64 = 10 * 60 * 1_000;
const LATE_LOOKS_MAX: u32 = 3;

/// One step outside, and all that it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Errand {
    /// Which.
    pub duty: Duty,
    /// How often it was sent before.
    pub attempts: u32,
    /// The order.
    pub order: Order,
    /// With what.
    pub load: Load,
}

/// What is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Load {
    /// To an ERP.
    Sale(Box<Sale>),
    /// To a channel.
    Shipment(Shipment),
    /// To a channel.
    Cancellation(Cancellation),
}

/// What came of an errand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The other side has made something, and is not done with it.
    Noted(String),
    /// It is done; the other side's id of it.
    Done(Option<String>),
    /// There was nothing to do it to.
    Absent,
    /// A sale without an invoice.
    NoInvoice,
    /// The other side refuses, and will again.
    Refused(String),
    /// It was not done, and may be later.
    Retry(String),
    /// Nobody knows.
    Unknown(String),
}

/// The next step at a door, marked as sent. `None`: there is none now.
pub fn take(policy: &Policy, known: &Known, now_ms: i64, door: Door) -> (Writes, Option<Errand>) {
    let Some(mut desk) = Desk::open(policy, known, now_ms, None) else { return (Writes::default(), None) };
    let Some((duty, _)) = desk.standing.due(door).filter(|(_, at_ms)| *at_ms <= now_ms) else {
        // Something else was taken in between: what is due is said anew.
        return (desk.finish(), None);
    };
    match load(known, &desk.standing, duty) {
        Ok(load) => {
            let attempts = desk.standing.duties.get(&duty).map_or(0, |state| state.attempts);
            let order = desk.standing.order.clone();
            desk.note(by(door), Fact::Sent { duty });
            (desk.finish(), Some(Errand { duty, attempts, order, load }))
        }
        Err(reason) => {
            desk.note(by(door), Fact::Answered { duty, outcome: Outcome::Refused { reason } });
            (desk.finish(), None)
        }
    }
}

fn by(door: Door) -> &'static str {
    match door {
        Door::Desk => "gateway",
        Door::Erp => "erp",
        Door::Channel => "channel",
    }
}

/// Keeps what came of an errand, and goes on from there.
pub fn record(policy: &Policy, known: &Known, now_ms: i64, duty: Duty, report: &Report) -> Writes {
    keep(policy, known, now_ms, (duty, report), None)
}

/// Keeps it and keeps the order back, because the store refused what follows.
pub(super) fn record_held(
    policy: &Policy,
    known: &Known,
    now_ms: i64,
    came: (Duty, &Report),
    reason: &str,
) -> Writes {
    keep(policy, known, now_ms, came, Some(reason))
}

fn keep(
    policy: &Policy,
    known: &Known,
    now_ms: i64,
    (duty, report): (Duty, &Report),
    held: Option<&str>,
) -> Writes {
    let Some(mut desk) = Desk::open(policy, known, now_ms, None) else { return Writes::default() };
    let state = desk.standing.duties.get(&duty).cloned().unwrap_or_default();
    let fact = match report {
        Report::Noted(document) => Fact::Noted { duty, document: document.clone() },
        other => Fact::Answered { duty, outcome: outcome(&desk.standing, now_ms, duty, &state, other) },
    };
    desk.note(by(duty.door()), fact);
    if let Some(reason) = held {
        desk.note("gateway", Fact::Held { reason: reason.to_owned() });
    }
    desk.finish()
}

fn outcome(standing: &Standing, now_ms: i64, duty: Duty, state: &DutyState, report: &Report) -> Outcome {
    let rest = |first: i64, cap: i64| {
        let doubled = first
            .saturating_mul(1_i64.checked_shl(state.attempts.saturating_sub(1).min(40)).unwrap_or(i64::MAX));
        now_ms.saturating_add(doubled.min(cap))
    };
    match report {
        Report::Noted(document) => Outcome::Done { document: Some(document.clone()) },
        Report::Done(document) => Outcome::Done { document: document.clone() },
        Report::Absent => {
            let late = standing.duties.get(&Duty::PostSale).is_some_and(|post| post.unresolved);
            match duty == Duty::CancelSale && late && state.attempts < LATE_LOOKS_MAX {
                true => Outcome::Later { at_ms: now_ms.saturating_add(LATE_SALE_MS) },
                false => Outcome::Nothing,
            }
        }
        Report::NoInvoice => match state.attempts < INVOICE_LOOKS_MAX {
            true => Outcome::Later { at_ms: rest(INVOICE_LOOK_MS, INVOICE_CAP_MS) },
            false => Outcome::Nothing,
        },
        Report::Refused(reason) => Outcome::Refused { reason: reason.clone() },
        Report::Retry(reason) => {
            Outcome::Retry { at_ms: rest(RETRY_FIRST_MS, RETRY_CAP_MS), reason: reason.clone() }
        }
        Report::Unknown(reason) => {
            Outcome::Unknown { at_ms: rest(RETRY_FIRST_MS, RETRY_CAP_MS), reason: reason.clone() }
        }
    }
}

fn load(known: &Known, standing: &Standing, duty: Duty) -> Result<Load, String> {
    match duty {
        Duty::PostSale | Duty::CancelSale | Duty::ReadSale => {
            sale(known, standing, duty).map(Box::new).map(Load::Sale)
        }
        Duty::Confirm { shipment } => {
            let record = standing.shipments.iter().find(|record| record.number == shipment);
            let record = record.ok_or_else(|| format!("there is no parcel {shipment}"))?;
            let uom = |item: &stockwire_protocol::ItemId| known.items.get(item).map(|item| item.uom);
            let mapped = standing.mapped.as_deref().unwrap_or_default();
            Ok(Load::Shipment(record.shipment(&standing.reference, &standing.order, mapped, &uom)))
        }
        Duty::CancelAtChannel => Ok(Load::Cancellation(cancellation(known, standing))),
    }
}

/// What has not left of an order that is given up.
fn cancellation(known: &Known, standing: &Standing) -> Cancellation {
    let rest = |line: &super::Line| {
        let mut quantity = line.quantity;
        let shipped = standing.shipped(&line.id);
        let uom = standing.item(&line.id).and_then(|item| known.items.get(item)).map(|item| item.uom);
        if let (true, Some(uom)) = (shipped > 0, uom) {
            let out = stockwire_protocol::Quantity { steps: shipped, uom }.to_uom(line.quantity.uom).ok()?;
            quantity.steps -= out.steps;
        }
        (quantity.steps > 0).then(|| ShippedLine { line: line.id.clone(), quantity })
    };
    Cancellation {
        reason: standing.cancelled.clone().unwrap_or_default(),
        lines: standing.order.lines.iter().filter_map(rest).collect(),
    }
}

fn sale(known: &Known, standing: &Standing, duty: Duty) -> Result<Sale, String> {
    let mapped = standing.mapped.as_deref().unwrap_or_default();
    let mut lines = Vec::with_capacity(mapped.len());
    for line in mapped {
        let item = known.items.get(&line.item);
        let reference = item.and_then(|item| item.reference.clone());
        let (Some(item), Some(item_reference)) = (item, reference) else {
            // Of a sale that is there already its own reference is enough.
            match duty {
                Duty::PostSale => return Err(format!("item {} has no reference at the ERP", line.item)),
                _ => continue,
            }
        };
        let quantity = stockwire_protocol::Quantity { steps: line.steps, uom: item.uom };
        let (line, item) = (line.line.clone(), line.item.clone());
        lines.push(SaleLine { line, item, item_reference, quantity });
    }
    // Most lines, and the first of equals: the name decides.
    let mut sites = std::collections::BTreeMap::<_, usize>::new();
    for allocation in &standing.allocations {
        *sites.entry(&allocation.site).or_default() += 1;
    }
    let site = sites.iter().rev().max_by_key(|(_, lines)| **lines).map(|(site, _)| (*site).clone());
    let key = standing.order.key();
    Ok(Sale {
        reference: format!("{}/{}", key.channel, key.order),
        order_reference: standing.reference.to_string(),
        order: standing.order.clone(),
        site: site.map(|site| (site.clone(), known.sites.get(&site).cloned().flatten())),
        lines,
        document: standing.sale().map(str::to_owned),
    })
}
