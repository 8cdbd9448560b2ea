//! What is moved in the measurements: a receiving line of a warehouse with a thousand items, every movement alike in
//! size and none the same.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::json;
use stockwire_agent::catalogue::{Assembler, PartOutcome};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{
    AgentId, Batch, BizStep, Body, Catalogue as Part, CatalogueItem, Details, Epoch, Event, ItemId,
    LocationId, Movement, Place, Quantity, Reference, Sequence, SiteId, StationId, Uom, When,
};

use crate::real::world::gtin;
use crate::site::{AGENT, SITE};

/// Items of the catalogue. Scanned one after the other, the same one comes again long after its bounce window.
pub(super) const ITEMS: u32 = 1_000;
/// Bins of the site.
pub(super) const BINS: u32 = 100;
/// Lines of one delivery note.
const LINES: u64 = 20;
/// 2026-11-23, so that rows have the size they have in use.
const BEGUN_UNIX_MS: i64 = 1_795_400_000_000;

/// Makes movements; what is the same in all of them is checked once.
#[derive(Clone, Debug)]
pub(super) struct Goods {
    pub(super) agent: AgentId,
    pub(super) site: SiteId,
    station: StationId,
    items: Vec<(ItemId, Gtin)>,
    bins: Vec<LocationId>,
}

impl Goods {
    pub(super) fn new() -> Result<Self> {
        let item =
            |n: u32| -> Result<_> { Ok((ItemId::new(sku(n))?, Gtin::parse(&gtin(n)).context("a GTIN")?)) };
        let bin = |n: u32| Ok(LocationId::new(format!("A-{n:02}"))?);
        Ok(Self {
            agent: AgentId::new(AGENT)?,
            site: SiteId::new(SITE)?,
            station: StationId::new("pack-1")?,
            items: (1..=ITEMS).map(item).collect::<Result<_>>()?,
            bins: (1..=BINS).map(bin).collect::<Result<_>>()?,
        })
    }

    /// The n-th movement: one scanned piece comes in by a delivery note.
    pub(super) fn event(&self, n: u64) -> Result<Event> {
        let (item, gtin) = &self.items[(n % u64::from(ITEMS)) as usize];
        let line = n / LINES;
        let details = Details {
            gtin: Some(*gtin),
            reference: Some(Reference::new(format!("PO-{:06}", line % 1_000_000))?),
            ..Details::default()
        };
        let body = Body::Movement(Movement {
            step: BizStep::Receiving,
            item: item.clone(),
            quantity: Quantity::pieces(1),
            from: Place::Supplier,
            to: Place::At(self.bins[(line % u64::from(BINS)) as usize].clone()),
            station: self.station.clone(),
            details,
        });
        // A scan every 1.7 seconds.
        Ok(Event { when: When::Synced { unix_ms: BEGUN_UNIX_MS + n as i64 * 1_700 }, body })
    }

    pub(super) fn events(&self, range: std::ops::Range<u64>) -> Result<Vec<Event>> {
        range.map(|n| self.event(n)).collect()
    }

    /// One publish with the events that follow `after`.
    pub(super) fn batch(&self, epoch: Epoch, after: u64, count: u64) -> Result<Batch> {
        let events = self.events(after..after + count)?;
        Ok(Batch { agent: self.agent.clone(), epoch, first: Sequence::new(after + 1), events })
    }

    /// What the scanner sends for the n-th scan, without the final CR.
    pub(super) fn code(&self, n: u64) -> String {
        format!("]E0{}", gtin(1 + (n % u64::from(ITEMS)) as u32))
    }

    /// The catalogue that the gateway would send.
    pub(super) fn catalogue(&self) -> Part {
        let item = |(at, (id, gtin)): (usize, &(ItemId, Gtin))| CatalogueItem {
            id: id.clone(),
            name: format!("Part {:04}", at + 1),
            uom: Uom::Piece,
            gtins: vec![*gtin],
            codes: vec![id.to_string()],
            rules: stockwire_protocol::ItemRules::default(),
        };
        Part {
            revision: 1,
            part: 0,
            parts: 1,
            site: self.site.clone(),
            items: self.items.iter().enumerate().map(item).collect(),
            locations: self.bins.clone(),
            since: None,
        }
    }

    /// The same as an agent keeps it: for its stations, and as the bytes of its file.
    pub(super) fn known(&self) -> Result<(Arc<stockwire_agent::catalogue::Catalogue>, Vec<u8>)> {
        match Assembler::new(self.site.clone()).handle_part(self.catalogue()) {
            PartOutcome::Complete { current, durable } => Ok((current, durable)),
            other => bail!("the catalogue is not complete: {other:?}"),
        }
    }

    /// Items with their GTINs.
    pub(super) fn items(&self) -> impl Iterator<Item = (&ItemId, Gtin)> {
        self.items.iter().map(|(item, gtin)| (item, *gtin))
    }

    /// Bins.
    pub(super) fn bins(&self) -> &[LocationId] {
        &self.bins
    }

    /// Bytes of the same movement alone in a publish, as JSON with a name for each field: what others send.
    pub(super) fn json_bytes(&self, epoch: Epoch, n: u64) -> usize {
        let (item, gtin) = &self.items[(n % u64::from(ITEMS)) as usize];
        let line = n / LINES;
        let message = json!({
            "version": 1, "agent": self.agent.as_str(), "epoch": epoch.to_string(), "sequence": n + 1,
            "occurred_at": BEGUN_UNIX_MS + n as i64 * 1_700, "biz_step": "receiving", "item": item.as_str(),
            "quantity": 1, "uom": "H87", "from": "supplier",
            "to": self.bins[(line % u64::from(BINS)) as usize].as_str(), "station": self.station.as_str(),
            "gtin": gtin.to_string(), "reference": format!("PO-{:06}", line % 1_000_000),
        });
        message.to_string().len()
    }
}

/// Bytes of a movement by itself, as the journal holds it, on average over the first thousand.
pub(super) fn mean_bytes(goods: &Goods) -> Result<f64> {
    let events = goods.events(0..1_000)?;
    Ok(events.iter().map(|event| event.encode().len()).sum::<usize>() as f64 / events.len() as f64)
}

fn sku(n: u32) -> String {
    format!("SKU-{n:04}")
}
