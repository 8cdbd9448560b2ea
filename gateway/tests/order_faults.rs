//! Every order is sold once at the ERP and shipped once, and the channel is told once of each parcel, whatever is lost or
//! killed on the way: both senders of orders on a real store against a model of the other side, from seeds.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

#[path = "support/dice.rs"]
mod dice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dice::Dice;
use serde_json::{Value, json};
use stockwire_gateway::availability::ChannelUpdate;
use stockwire_gateway::catalogue::{ErpId, Item, Location, Site, Snapshot};
use stockwire_gateway::channel::{ChannelConnector, ChannelMap, Pushed, Shown, SiteMap};
use stockwire_gateway::dead_letter::DeadLetterClass;
use stockwire_gateway::erp::{CatalogueRead, ErpConnector, Posted};
use stockwire_gateway::exchange::{
    Answer, Class, Connector, Conversation, Effect, Failure, Limits, Loss, Method, Outbound, Request, Secret,
    Step,
};
use stockwire_gateway::ingest::{Ingest, Publish};
use stockwire_gateway::io::sqlite_store::SqliteStore;
use stockwire_gateway::ledger::OpeningLine;
use stockwire_gateway::order::round::{self, Book};
use stockwire_gateway::order::{
    Cancellation, Leaves, Order, OrdersRead, Policy, Sale, SaleCancelled, SaleFound, SalePosted, Shipment,
    Source, Stage, Told, Unreadable, WhenShort,
};
use stockwire_gateway::posting::PostingBatch;
use stockwire_gateway::reconcile::ErpQuantity;
use stockwire_gateway::sender::{Moment, OrderDoor, OrderSender, Sender, Want};
use stockwire_gateway::store::{DeadLetterQuery, OrderQuery, Reader as _, Store as _};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{Subject, topic};
use stockwire_protocol::{
    AgentId, Batch, BizStep, Body, ChannelId, Details, Epoch, Event, ItemId, LocationId, Movement, Place,
    Quantity, Reference, Sequence, SiteId, Sku, StationId, Uom, When,
};

const SEEDS: u64 = 40;
const ORDERS: u64 = 6;
/// What there is of the item; two of the orders want what is not there.
const PIECES: i64 = 4;
/// Turns of one seed: far beyond what any needs.
const TURNS_MAX: u32 = 50_000;

/// Both other sides in one: things are made by name, and orders are read.
#[derive(Default)]
struct Model {
    /// How often each was made.
    made: BTreeMap<String, u32>,
    orders: Vec<(i64, Value)>,
}

impl Model {
    fn perform(&mut self, request: &Request) -> Answer {
        let value = match request.name {
            "orders" => {
                let since: i64 = request.query[0].1.parse().unwrap();
                let new = self.orders.iter().filter(|(at_ms, _)| *at_ms >= since);
                let through = new.clone().map(|(at_ms, _)| *at_ms).max().unwrap_or(since);
                json!({"orders": new.map(|(_, order)| order).collect::<Vec<_>>(), "through": through})
            }
            "look" => json!(self.made.contains_key(&request.query[0].1)),
            _ => {
                *self.made.entry(request.query[0].1.clone()).or_default() += 1;
                json!(true)
            }
        };
        Answer { status: 200, headers: vec![], body: value.to_string().into_bytes() }
    }

    fn send(&mut self, outbound: &Outbound, dice: &mut Dice, trouble: u64) -> Result<Answer, Loss> {
        if !dice.chance(trouble) {
            return Ok(self.perform(&outbound.request));
        }
        let lost = || Loss::NoAnswer { message: "timed out".into() };
        match dice.below(4) {
            0 => Err(Loss::NotSent { message: "connection refused".into() }),
            1 => Err(lost()),
            2 => {
                self.perform(&outbound.request);
                Err(lost())
            }
            _ => Ok(Answer { status: 503, headers: vec![], body: b"busy".to_vec() }),
        }
    }
}

fn request(name: &'static str, what: String, effect: Effect) -> Request {
    let method = if effect == Effect::Read { Method::Get } else { Method::Post };
    Request {
        name,
        method,
        path: format!("/{name}"),
        query: vec![("what", what)],
        headers: vec![],
        body: None,
        effect,
    }
}

/// Looks, makes, and looks again after whatever came.
struct Make<T> {
    name: String,
    asked: Option<&'static str>,
    done: fn(String) -> T,
}

impl<T> Conversation for Make<T> {
    type Output = T;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<T> {
        let there = match (self.asked, last) {
            (None, _) => None,
            (Some("look"), Some(Ok(answer))) => answer.json().ok().and_then(|value| value.as_bool()),
            (Some("look"), Some(Err(failure))) => return Step::Done(Err(failure)),
            (_, Some(Err(failure))) if failure.class != Class::Unknown => return Step::Done(Err(failure)),
            // Made, or nobody knows: look.
            _ => None,
        };
        let (asked, effect) = match there {
            Some(true) => return Step::Done(Ok((self.done)(self.name.clone()))),
            Some(false) => ("make", Effect::Once),
            None => ("look", Effect::Read),
        };
        self.asked = Some(asked);
        Step::Send(request(asked, self.name.clone(), effect))
    }
}

fn make<T: 'static>(name: String, done: fn(String) -> T) -> Box<dyn Conversation<Output = T>> {
    Box::new(Make { name, asked: None, done })
}

struct Read(i64, bool);

impl Conversation for Read {
    type Output = OrdersRead;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<OrdersRead> {
        if !std::mem::replace(&mut self.1, true) {
            return Step::Send(request("orders", self.0.to_string(), Effect::Read));
        }
        let read = last.unwrap().and_then(|answer| answer.json()).map(|value| OrdersRead {
            orders: serde_json::from_value(value["orders"].clone()).unwrap(),
            through_ms: value["through"].as_i64().unwrap(),
            // One that nobody mends, in every reading.
            unreadable: vec![Unreadable { order: "bad".into(), reason: "currencyCode: none".into() }],
            ..OrdersRead::default()
        });
        Step::Done(read)
    }
}

struct Door;

impl Connector for Door {
    fn base_url(&self) -> &str {
        "http://model.invalid"
    }

    fn authorize(&self, _session: Option<&Secret>) -> Vec<(&'static str, Secret)> {
        Vec::new()
    }

    fn judge(&self, _request: &Request, answer: &Answer) -> Option<Failure> {
        Failure::of_status(answer)
    }

    fn limits(&self) -> Limits {
        let wait = Duration::from_secs(1);
        let bytes = 1 << 20;
        Limits {
            requests_per_s: 1_000,
            burst: 1_000,
            connect_wait: wait,
            answer_wait: wait,
            request_bytes_max: bytes,
            answer_bytes_max: bytes,
        }
    }
}

fn held(document: String) -> Told {
    Told::Held { document: Some(document) }
}

impl ChannelConnector for Door {
    fn push_max(&self) -> usize {
        1
    }

    fn map_skus(&self) -> Box<dyn Conversation<Output = ChannelMap>> {
        panic!("the sender of orders maps nothing")
    }

    fn push(&self, _: &SiteMap, _: &[ChannelUpdate]) -> Box<dyn Conversation<Output = Vec<Pushed>>> {
        panic!("the sender of orders pushes nothing")
    }

    fn read_back(&self, _: &SiteMap, _: &[Sku]) -> Box<dyn Conversation<Output = Vec<(Sku, Shown)>>> {
        panic!("the sender of orders reads nothing back")
    }

    fn offers_orders(&self) -> bool {
        true
    }

    fn read_orders(&self, since_ms: i64) -> Box<dyn Conversation<Output = OrdersRead>> {
        Box::new(Read(since_ms, false))
    }

    fn confirm_shipment(&self, _: &Order, shipment: &Shipment) -> Box<dyn Conversation<Output = Told>> {
        make(format!("parcel {}", shipment.reference), held)
    }

    fn cancel_order(&self, order: &Order, _: &Cancellation) -> Box<dyn Conversation<Output = Told>> {
        make(format!("cancelled {}", order.order), held)
    }
}

impl ErpConnector for Door {
    fn read_catalogue(&self) -> Box<dyn Conversation<Output = CatalogueRead>> {
        panic!("the sender of orders reads no catalogue")
    }

    fn post(&self, _: &PostingBatch) -> Box<dyn Conversation<Output = Posted>> {
        panic!("the sender of orders posts no movement")
    }

    fn read_quantities(&self) -> Box<dyn Conversation<Output = Vec<ErpQuantity>>> {
        panic!("the sender of orders compares nothing")
    }

    fn offers_sales(&self) -> bool {
        true
    }

    fn post_sale(&self, sale: &Sale) -> Box<dyn Conversation<Output = SalePosted>> {
        make(format!("sale {}", sale.reference), |document| SalePosted::Booked { document })
    }

    fn read_sale(&self, sale: &Sale) -> Box<dyn Conversation<Output = Option<SaleFound>>> {
        make(format!("invoice {}", sale.reference), |invoice| {
            let (document, state) = (invoice.clone(), "done".to_owned());
            Some(SaleFound { document, state, cancelled: false, invoice: Some(invoice) })
        })
    }

    fn cancel_sale(&self, sale: &Sale) -> Box<dyn Conversation<Output = SaleCancelled>> {
        make(format!("no sale {}", sale.reference), |document| SaleCancelled::Cancelled { document })
    }
}

fn site() -> SiteId {
    SiteId::new("HAM").unwrap()
}

fn place() -> LocationId {
    LocationId::new("A-01").unwrap()
}

fn item() -> ItemId {
    ItemId::new("SKU-1").unwrap()
}

fn store() -> SqliteStore {
    let mut store = SqliteStore::memory().unwrap();
    let reference = Some("1".to_owned());
    let (name, uom) = ("Part".to_owned(), Uom::Piece);
    let snapshot = Snapshot {
        sites: vec![Site { site: site(), reference: reference.clone() }],
        items: vec![Item {
            id: item(),
            name,
            uom,
            gtins: vec![],
            codes: vec![],
            reference: reference.clone(),
        }],
        locations: vec![Location { site: site(), location: place(), reference }],
    };
    let erp = ErpId::new("erp").unwrap();
    store.replace_catalogue(&erp, &snapshot).unwrap();
    let line =
        OpeningLine { site: site(), location: place(), item: item(), quantity: Quantity::pieces(PIECES) };
    store.open_books(0, &erp, &[line]).unwrap();
    store
}

fn book() -> Arc<Book> {
    let policy = |tells_channel| Policy {
        sources: vec![Source { site: site(), priority: 0, distance_km: BTreeMap::new() }],
        checks: vec![],
        when_short: WhenShort::Cancel,
        leaves: Leaves::WhenPicked,
        posts_sales: true,
        tells_channel,
    };
    let channels = BTreeMap::from([(ChannelId::new("shop").unwrap(), policy(true))]);
    Arc::new(Book { channels, others: policy(false) })
}

struct World {
    store: SqliteStore,
    book: Arc<Book>,
    senders: [OrderSender; 2],
    waits: [Duration; 2],
    model: Model,
    ingest: Ingest,
    next: Sequence,
    picked: BTreeSet<String>,
    dice: Dice,
    now: Duration,
}

impl World {
    fn new(seed: u64) -> Self {
        let book = book();
        let senders = [sender(0, &book), sender(1, &book)];
        Self {
            store: store(),
            book,
            senders,
            waits: [Duration::ZERO; 2],
            model: Model::default(),
            ingest: Ingest::new(),
            next: Sequence::new(1),
            picked: BTreeSet::new(),
            dice: Dice::new(seed),
            now: Duration::ZERO,
        }
    }

    fn unix_ms(&self) -> i64 {
        1_700_000_000_000 + self.now.as_millis() as i64
    }

    fn place_order(&mut self, number: u64) {
        let order = json!({
            "channel": "shop", "order": number.to_string(), "code": format!("T-{number}"),
            "placed_at": "2026-11-23T10:00:00Z", "currency": "EUR", "payment": "paid",
            "lines": [{"id": "1", "sku": "SKU-1", "quantity": 1, "unit_price": 100, "amount": {"net": 100, "tax": 0}}],
            "total": {"net": 100, "tax": 0},
        });
        self.model.orders.push((self.unix_ms(), order));
    }

    /// One step of a sender, which may die in the middle of it.
    fn step(&mut self, which: usize, trouble: u64) {
        let (at, random) = (Moment { now: self.now, unix_ms: self.unix_ms() }, self.dice.next());
        match self.senders[which].poll(at, &mut self.store, random).unwrap() {
            Want::Send(outbound) => {
                let outcome = self.model.send(&outbound, &mut self.dice, trouble);
                self.now += Duration::from_millis(20);
                if self.dice.chance(trouble / 2) {
                    self.senders[which] = sender(which, &self.book);
                    return;
                }
                let (at, random) = (Moment { now: self.now, unix_ms: self.unix_ms() }, self.dice.next());
                self.senders[which].handle_outcome(at, outcome, random);
            }
            Want::Wait(until) => self.waits[which] = until,
        }
    }

    /// Whoever is asked to picks; one piece, once.
    fn pick(&mut self) {
        let query = OrderQuery { stage: Some(Stage::Picking), ..OrderQuery::default() };
        let asked = self.store.orders(&query).unwrap().rows;
        let Some(head) = asked.iter().find(|head| self.picked.insert(head.reference.to_string())) else {
            return;
        };
        let details = Details {
            reference: Some(Reference::new(head.reference.as_str()).unwrap()),
            ..Details::default()
        };
        let movement = Movement {
            step: BizStep::Picking,
            item: item(),
            quantity: Quantity::pieces(1),
            from: Place::At(place()),
            to: Place::Customer,
            station: StationId::new("s1").unwrap(),
            details,
        };
        let now = self.unix_ms();
        let event = Event { when: When::Synced { unix_ms: now }, body: Body::Movement(movement) };
        let agent = AgentId::new("ham-01").unwrap();
        let batch = Batch {
            agent: agent.clone(),
            epoch: Epoch::from_bytes([7; 16]),
            first: self.next,
            events: vec![event],
        };
        let (topic, payload) = (topic(&site(), &agent, Subject::Events), batch.encode());
        let publish = Publish { topic: &topic, payload: &payload, retained: false };
        self.ingest.handle_publishes(&mut self.store, now, &[publish]).unwrap();
        self.next = self.next.checked_add(1).unwrap();
    }

    fn stages(&self) -> BTreeMap<&'static str, usize> {
        let mut stages = BTreeMap::new();
        for head in self.store.orders(&OrderQuery::default()).unwrap().rows {
            *stages.entry(head.stage.as_str()).or_default() += 1;
        }
        stages
    }

    fn run(&mut self, trouble: u64) {
        let expected =
            BTreeMap::from([("done", PIECES as usize), ("cancelled", ORDERS as usize - PIECES as usize)]);
        let mut placed = 0;
        // The first reading says from when on orders are taken.
        while self.store.orders_through(&ChannelId::new("shop").unwrap()).unwrap().is_none() {
            self.step(1, 0);
        }
        for _ in 0..TURNS_MAX {
            if placed == ORDERS && self.stages() == expected {
                return;
            }
            match self.dice.below(8) {
                0 if placed < ORDERS => {
                    placed += 1;
                    self.place_order(placed);
                }
                1 => {
                    let now = self.unix_ms();
                    round::work_due(&mut self.store, &self.book, now, 10).unwrap();
                }
                2 => self.pick(),
                3 => self.now += Duration::from_millis(self.dice.below(2_000)),
                turn => self.step(turn as usize % 2, trouble),
            }
        }
        for head in self.store.orders(&OrderQuery::default()).unwrap().rows {
            for row in self.store.order(&head.order).unwrap() {
                eprintln!("{} {} {}: {}", head.code, row.at_ms, row.by, row.fact.words());
            }
        }
        panic!("no end: {:?} {:?}", self.stages(), self.model.made);
    }
}

fn sender(which: usize, book: &Arc<Book>) -> OrderSender {
    let door = match which {
        0 => OrderDoor::Erp { erp: ErpId::new("erp").unwrap(), connector: Box::new(Door) },
        _ => OrderDoor::Channel { channel: ChannelId::new("shop").unwrap(), connector: Box::new(Door) },
    };
    OrderSender::new(door, Arc::clone(book))
}

#[test]
fn whatever_is_lost_or_killed_each_order_is_sold_and_shipped_once() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.run(if seed == 0 { 0 } else { 30 });
        // Made once each, and nothing that nobody asked for.
        let of = |what: &str| world.model.made.keys().filter(|name| name.starts_with(what)).count();
        assert!(world.model.made.values().all(|times| *times == 1), "seed {seed}: {:?}", world.model.made);
        let pieces = PIECES as usize;
        assert_eq!(
            (of("sale "), of("parcel "), of("cancelled ")),
            (pieces, pieces, ORDERS as usize - pieces),
            "seed {seed}"
        );
        // Every promise has ended as the goods did.
        let held = world.store.reservations(&Default::default()).unwrap().rows;
        let posted: i64 = held.iter().map(|held| held.ended.posted).sum();
        assert_eq!((posted, held.iter().all(|held| held.pending() == 0)), (PIECES, true), "seed {seed}");
        assert_eq!(
            world.store.orders(&OrderQuery::default()).unwrap().rows.len(),
            ORDERS as usize,
            "seed {seed}"
        );
        let letters = world.store.dead_letters(&DeadLetterQuery::default()).unwrap().rows;
        let letters: Vec<_> = letters.iter().map(|letter| (letter.class, letter.bytes.as_slice())).collect();
        assert_eq!(
            letters,
            [(DeadLetterClass::Order, b"bad".as_slice())],
            "seed {seed}: told once, not dropped"
        );
    }
}
