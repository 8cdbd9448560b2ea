//! A batch as one document of Tryton.

use serde_json::{Value, json};
use stockwire_protocol::{Place, Quantity};

use super::super::{Posted, Shortage};
use super::carry::{Carry, Document, IN, INTERNAL, OUT};
use super::origin::{Shares, Sold};
use super::{ItemKeys, PlaceKeys, SiteKeys, keys, number};
use crate::exchange::{Class, Failure};
use crate::ledger::LedgerId;
use crate::posting::{PostingBatch, PostingKind, PostingLine};

/// Posting one batch, whose goods were sold by these lines of sales.
pub(super) fn post(batch: &PostingBatch, sold: &[Sold], shortage: Shortage) -> Carry {
    Carry::new(compose(batch, sold), &batch.reference, batch.document.as_deref(), shortage)
}

/// A line with Tryton's keys.
struct Line<'a> {
    line: &'a PostingLine,
    item: ItemKeys,
    from: Option<PlaceKeys>,
    to: Option<PlaceKeys>,
}

/// The document for a batch, or why there is none.
fn compose(batch: &PostingBatch, sold: &[Sold]) -> Result<Document, Result<Posted, Failure>> {
    let site: SiteKeys = match &batch.site_reference {
        Some(text) => keys(text).map_err(Err)?,
        None => return Err(Err(lacking(format!("the catalogue has no reference for site {}", batch.site)))),
    };
    let lines = batch.lines.iter().map(line_keys).collect::<Result<Vec<_>, _>>().map_err(Err)?;
    let parts = parts(batch.kind, &lines);
    let [_] = parts.as_slice() else { return Err(Ok(Posted::Mixed { parts })) };
    let zone = |place: fn(&Line<'_>) -> Option<i64>| {
        let missing = || Err(lacking(format!("batch {} has a line without its place", batch.reference)));
        lines.first().and_then(place).ok_or_else(missing)
    };
    let from_zone = || zone(|line| line.from.as_ref().map(|place| place.zone));
    let to_zone = || zone(|line| line.to.as_ref().map(|place| place.zone));
    let lost_found = || {
        site.lost_found
            .ok_or_else(|| Err(lacking(format!("warehouse {} has no lost and found location", batch.site))))
    };
    let party = |party: &Option<super::Party>, role: &str| {
        party.clone().ok_or_else(|| Err(lacking(format!("Tryton has no party that may stand as {role}"))))
    };
    let mut head = json!({"reference": batch.reference, "company": site.company});
    let (model, outside, more) = match batch.kind {
        PostingKind::GoodsIn => {
            let supplier = party(&site.supplier, "supplier")?;
            // With one zone as input and storage there is no second step, and lines may go to any place.
            let more = json!({"supplier": supplier.party, "warehouse": site.warehouse,
                "warehouse_input": site.storage, "warehouse_storage": site.storage});
            (IN, Some(supplier.location), more)
        }
        PostingKind::Internal => (
            INTERNAL,
            None,
            json!({"state": "waiting", "from_location": from_zone()?, "to_location": to_zone()?}),
        ),
        PostingKind::AdjustmentFound => {
            let lost = lost_found()?;
            (
                INTERNAL,
                Some(lost),
                json!({"state": "waiting", "from_location": lost, "to_location": to_zone()?}),
            )
        }
        PostingKind::AdjustmentLost => {
            let lost = lost_found()?;
            (
                INTERNAL,
                Some(lost),
                json!({"state": "waiting", "from_location": from_zone()?, "to_location": lost}),
            )
        }
        PostingKind::Outgoing => {
            let customer = party(&site.customer, "customer")?;
            let zone = from_zone()?;
            // With one zone as storage and output there is no picking step.
            let more = json!({"state": "waiting", "customer": customer.party, "delivery_address": customer.address,
                "warehouse": site.warehouse, "warehouse_storage": zone, "warehouse_output": zone});
            (OUT, Some(customer.location), more)
        }
        PostingKind::CustomerReturn
        | PostingKind::SupplierReturn
        | PostingKind::TransitIn
        | PostingKind::TransitOut => {
            let reason = format!("the Tryton connector has no document for {:?}", batch.kind);
            return Err(Ok(Posted::Impossible { reason }));
        }
    };
    let mut shares = Shares::new(sold);
    let mut moves = Vec::with_capacity(lines.len());
    for line in &lines {
        for (quantity, origin) in shares.of(line.line, line.item.product, line.item.unit) {
            let mut one = one_move(line, quantity, &site, model, outside)?;
            if let (Some(origin), Some(one)) = (origin, one.as_object_mut()) {
                one.insert("origin".into(), json!(format!("sale.line,{origin}")));
            }
            moves.push(one);
        }
    }
    if let (Some(head), Some(more)) = (head.as_object_mut(), more.as_object()) {
        head.extend(more.clone());
        head.insert("moves".into(), json!([["create", moves]]));
    }
    Ok(Document { model, body: head, company: site.company, sums: None })
}

fn lacking(message: String) -> Failure {
    Failure::new(Class::Setup, message)
}

fn line_keys(line: &PostingLine) -> Result<Line<'_>, Failure> {
    let place = |place: &Place, reference: &Option<String>| match (place, reference) {
        (Place::At(_), Some(text)) => keys(text).map(Some),
        (Place::At(at), None) => Err(lacking(format!("the catalogue has no reference for place {at}"))),
        _ => Ok(None),
    };
    Ok(Line {
        line,
        item: keys(&line.item_reference)?,
        from: place(&line.from, &line.from_reference)?,
        to: place(&line.to, &line.to_reference)?,
    })
}

/// The zones that a document's head names.
type Head = (Option<i64>, Option<i64>);

/// Which lines may share a document: all of them, except where its head names zones. Parts stand in the order of
/// their first line.
fn parts(kind: PostingKind, lines: &[Line<'_>]) -> Vec<Vec<LedgerId>> {
    let zone = |place: &Option<PlaceKeys>| place.as_ref().map(|place| place.zone);
    let head = |line: &Line<'_>| match kind {
        PostingKind::GoodsIn => (None, None),
        _ => (zone(&line.from), zone(&line.to)),
    };
    let mut heads: Vec<Head> = Vec::new();
    let mut parts: Vec<Vec<LedgerId>> = Vec::new();
    for line in lines {
        let head = head(line);
        let at = heads.iter().position(|known| *known == head).unwrap_or(heads.len());
        if at == heads.len() {
            heads.push(head);
            parts.push(Vec::new());
        }
        parts[at].push(line.line.ledger);
    }
    parts
}

fn one_move(
    line: &Line<'_>,
    quantity: Quantity,
    site: &SiteKeys,
    model: &str,
    outside: Option<i64>,
) -> Result<Value, Result<Posted, Failure>> {
    let place = |place: &Option<PlaceKeys>| place.as_ref().map(|place| place.location).or(outside);
    let quantity = number::to_json(quantity).ok_or_else(|| {
        let reason = format!("{quantity} of {} is more than Tryton's floats hold exactly", line.line.item);
        Ok(Posted::Refused { reason })
    })?;
    let mut one = json!({"product": line.item.product, "unit": line.item.unit, "quantity": quantity,
        "from_location": place(&line.from), "to_location": place(&line.to), "company": site.company});
    if model != INTERNAL
        && let Some(one) = one.as_object_mut()
    {
        // Prices are the accountants'; the fields are compulsory.
        one.insert("unit_price".into(), json!({"__class__": "Decimal", "decimal": "0"}));
        one.insert("currency".into(), json!(site.currency));
    }
    Ok(one)
}

#[cfg(test)]
mod tests;
