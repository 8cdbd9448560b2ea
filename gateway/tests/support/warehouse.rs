//! A warehouse in a few words: records movements as an agent would, and tells what the books hold.

use std::collections::BTreeMap;

use stockwire_gateway::ingest::{Ingest, Outcome, Publish};
use stockwire_gateway::store::{PAGE_ROWS_MAX, Reader, StockQuery, Store};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{Subject, topic};
use stockwire_protocol::{
    AgentId, Batch, BizStep, Body, Details, Epoch, Event, ItemId, LocationId, Movement, Place, Quantity,
    Sequence, SiteId, StationId, Uom, When,
};

/// One agent with its journal's counter.
pub(crate) struct Warehouse {
    pub(crate) site: SiteId,
    agent: AgentId,
    next: Sequence,
    ingest: Ingest,
}

/// `A-01` is a place of the site; `supplier`, `customer` and `loss` are outside.
pub(crate) fn place(name: &str) -> Place {
    match name {
        "supplier" => Place::Supplier,
        "customer" => Place::Customer,
        "loss" => Place::Loss,
        location => Place::At(LocationId::new(location).unwrap()),
    }
}

impl Warehouse {
    pub(crate) fn new(site: &str) -> Self {
        Self {
            site: SiteId::new(site).unwrap(),
            agent: AgentId::new(format!("{}-01", site.to_lowercase())).unwrap(),
            next: Sequence::new(1),
            ingest: Ingest::new(),
        }
    }

    /// `("SKU-0001", "5", "A-01", "customer")` for each movement, in one publish.
    pub(crate) fn record(
        &mut self,
        store: &mut dyn Store,
        now_ms: i64,
        moves: &[(&str, &str, &str, &str)],
    ) -> Outcome {
        let index = store.catalogue_index().unwrap();
        let event = |(item, quantity, from, to): &(&str, &str, &str, &str)| {
            let item = ItemId::new(*item).unwrap();
            let uom = index.items.get(&item).map_or(Uom::Piece, |facts| facts.uom);
            let movement = Movement {
                step: BizStep::Storing,
                quantity: Quantity::parse(quantity, uom).unwrap(),
                item,
                from: place(from),
                to: place(to),
                station: StationId::new("s1").unwrap(),
                details: Details::default(),
            };
            Event { when: When::Synced { unix_ms: now_ms }, body: Body::Movement(movement) }
        };
        let events: Vec<Event> = moves.iter().map(event).collect();
        let batch =
            Batch { agent: self.agent.clone(), epoch: Epoch::from_bytes([7; 16]), first: self.next, events };
        let payload = batch.encode();
        let topic = topic(&self.site, &self.agent, Subject::Events);
        let publish = Publish { topic: &topic, payload: &payload, retained: false };
        let outcome = self.ingest.handle_publishes(store, now_ms, &[publish]).unwrap();
        assert_eq!(outcome.counts.events_new, moves.len() as u64, "{outcome:?}");
        self.next = self.next.checked_add(moves.len() as u64).unwrap();
        outcome
    }
}

/// What the books hold: `(HAM/A-01, SKU-0001)` to steps; zeros are left out.
pub(crate) fn books(store: &dyn Reader) -> BTreeMap<(String, String), i64> {
    let mut held = BTreeMap::new();
    let mut query = StockQuery { limit: PAGE_ROWS_MAX, ..StockQuery::default() };
    loop {
        let page = store.stock(&query).unwrap();
        for row in page.rows {
            let key = (format!("{}/{}", row.site, row.location), row.item.to_string());
            *held.entry(key).or_default() += row.on_hand.steps;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    held.retain(|_, steps| *steps != 0);
    held
}
