//! The opening stock.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use stockwire_protocol::cbor::Message;
use stockwire_protocol::{
    AgentId, Batch, BizStep, Body, Details, Epoch, Event, IdError, Movement, Place, Quantity, Reference,
    Sequence, SiteId, StationId, When,
};

use super::desk::{Arrived, Desk, Stream};
use super::{Alarm, Known, KnownStream, StreamKey, StreamSpan, Writes};
use crate::catalogue::{ErpId, Index};
use crate::ledger::{LedgerId, OpeningLine};

/// The opening stock as events like any other, so that the books are rebuilt from events alone: one stream for
/// each site, under an agent name that no box has.
///
/// # Errors
/// The first line that the catalogue cannot hold, in words.
pub(crate) fn opening(
    index: &Index,
    head: LedgerId,
    at_ms: i64,
    (instance, erp): (&str, &ErpId),
    lines: &[OpeningLine],
) -> Result<Writes, String> {
    let text = |fault: IdError| fault.to_string();
    let agent = AgentId::new(format!("opening-{erp}")).map_err(text)?;
    let station = StationId::new("gateway").map_err(text)?;
    let reference = Reference::new("opening").map_err(text)?;
    let mut sites: BTreeMap<&SiteId, Vec<Event>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.quantity.steps != 0) {
        let (loss, at) = (Place::Loss, Place::At(line.location.clone()));
        let (from, to) = if line.quantity.steps > 0 { (loss, at) } else { (at, loss) };
        let steps = line.quantity.steps.checked_abs().ok_or("an opening quantity is too large")?;
        let movement = Movement {
            step: BizStep::StockTaking,
            item: line.item.clone(),
            quantity: Quantity { steps, uom: line.quantity.uom },
            from,
            to,
            station: station.clone(),
            details: Details { reference: Some(reference.clone()), ..Details::default() },
        };
        let event = Event { when: When::Synced { unix_ms: at_ms }, body: Body::Movement(movement) };
        sites.entry(&line.site).or_default().push(event);
    }
    let known = Known { ledger_head: head, ..Known::default() };
    let mut desk = Desk::new(index, &known, &[], at_ms);
    let fresh = KnownStream::default();
    for (stream, (site, events)) in sites.into_iter().enumerate() {
        // Another database gives its opening another identity.
        let hash = Sha256::digest(format!("{instance}/{erp}/{site}"));
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&hash[..16]);
        let key = StreamKey { agent: agent.clone(), epoch: Epoch::from_bytes(epoch) };
        let rows = events.iter().map(Message::encode).collect();
        let batch = Batch { agent: agent.clone(), epoch: key.epoch, first: Sequence::new(1), events };
        let span = StreamSpan { key: key.clone(), first: batch.first, last: batch.last() };
        let arrived = Arrived { site: site.clone(), stream, batch, rows };
        let mut state = Stream::new((&span, &fresh));
        for at in 0..arrived.batch.events.len() {
            desk.take_event(&arrived, at, &key, &mut state);
        }
    }
    let (writes, outcome) = desk.finish();
    match outcome.alarms.first() {
        Some(Alarm::Unappliable { reason, .. }) => Err(reason.clone()),
        _ => Ok(writes),
    }
}
