//! Orders between a real shop and a real ERP, call by call: each is repeated and loses its answers, and happens once.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stockwire_gateway::catalogue::ErpId;
use stockwire_gateway::channel::{self, ChannelAccess, ChannelConnector};
use stockwire_gateway::erp::{self, ErpAccess, ErpConnector, Posted, Shortage};
use stockwire_gateway::exchange::{Class, Connector, Conversation, Failure, Secret};
use stockwire_gateway::io::http_client::HttpClient;
use stockwire_gateway::io::outward::converse;
use stockwire_gateway::ledger::LedgerId;
use stockwire_gateway::order::{
    Cancellation, Order, Sale, SaleCancelled, SaleLine, SalePosted, Shipment, ShippedLine, Told,
};
use stockwire_gateway::posting::{BatchState, PostingBatch, PostingKind, PostingLine};
use stockwire_protocol::{
    AgentId, ChannelId, CorrelationId, Epoch, LocationId, MovementId, Place, Quantity, Reference, Sequence,
    SiteId, When,
};
use stockwire_tests::real::proxy::{Fault, FaultProxy, Rule};
use stockwire_tests::real::tryton::{Query, Tryton};
use stockwire_tests::real::vendure::{Level, USER, Vendure};
use stockwire_tests::real::world::World;

/// Talks until there is an end: what is unknown is looked up by the next one, as a sender does it.
const TALKS_MAX: usize = 20;

async fn settled<T>(door: &dyn Connector, talk: impl Fn() -> Box<dyn Conversation<Output = T>>) -> T {
    let http = HttpClient::new(door).unwrap();
    for _ in 0..TALKS_MAX {
        match converse(door, &http, talk()).await {
            Ok(end) => return end,
            Err(Failure { class: Class::Unknown | Class::Transient, .. }) => {}
            Err(failure) => panic!("{failure}"),
        }
    }
    panic!("no end after {TALKS_MAX} talks");
}

fn site() -> SiteId {
    SiteId::new("HAM").unwrap()
}

fn tryton_at(url: String, key: &str) -> Box<dyn ErpConnector> {
    erp::find("tryton").unwrap().connect(ErpAccess {
        url,
        key: Secret::new(key),
        company: None,
        supplier: Some("Test Supplier".into()),
        customer: Some("Test Customer".into()),
        shortage: Shortage::Force,
        sales: true,
    })
}

fn shop_at(url: String, shop: &Vendure) -> Box<dyn ChannelConnector> {
    let password = std::fs::read_to_string(shop.password_file()).unwrap();
    channel::find("vendure").unwrap().connect(ChannelAccess {
        channel: ChannelId::new("shop").unwrap(),
        url,
        user: USER.into(),
        password: Secret::new(password.trim()),
        sites: vec![site()],
    })
}

/// Every second answer to a change is lost after the server has done its work.
fn lossy() -> Vec<Rule> {
    vec![Rule::every_request(Fault::LoseAnswer).method("POST").every(2)]
}

fn order(code: &str, pieces: i64) -> Order {
    let (net, tax) = (pieces * 1000, pieces * 190);
    serde_json::from_value(json!({
        "channel": "shop", "order": code, "code": code, "placed_at": "2026-11-23T15:00:00Z", "currency": "EUR",
        "payment": "paid", "total": {"net": net + 490, "tax": tax + 93},
        "lines": [{"id": "1", "sku": "SKU-0001", "quantity": pieces, "unit_price": 1000, "tax_rate": 1900,
            "amount": {"net": net, "tax": tax}}],
        "charges": [{"name": "Parcel", "amount": {"net": 490, "tax": 93}}],
    }))
    .unwrap()
}

/// The sale of an order for SKU-0001, and the references of what lies in HAM/A-01, as the catalogue has them.
async fn sale(connector: &dyn ErpConnector, order: Order) -> (Sale, String) {
    let http = HttpClient::new(connector).unwrap();
    let read = converse(connector, &http, connector.read_catalogue()).await.unwrap();
    let known = read.snapshot;
    let ham = known.sites.iter().find(|one| one.site == site()).unwrap();
    let item = known.items.iter().find(|one| one.id.as_str() == "SKU-0001").unwrap();
    let place =
        known.locations.iter().find(|one| one.site == site() && one.location.as_str() == "A-01").unwrap();
    let sale = Sale {
        reference: format!("shop/{}", order.code),
        order_reference: order.code.to_string(),
        site: Some((site(), ham.reference.clone())),
        lines: vec![SaleLine {
            line: order.lines[0].id.clone(),
            item: item.id.clone(),
            item_reference: item.reference.clone().unwrap(),
            quantity: order.lines[0].quantity,
        }],
        order,
        document: None,
    };
    (sale, place.reference.clone().unwrap())
}

/// What the ERP has under a reference.
async fn sales(tryton: &Tryton, reference: &str) -> Vec<Value> {
    let fields =
        ["state", "shipment_state", "untaxed_amount", "tax_amount", "invoices.state", "shipments.state"];
    let query = Query { fields: &fields, domain: json!([["reference", "=", reference]]), ..Query::default() };
    tryton.rest(Method::GET, "sale.sale", query, None).await.unwrap().rows().unwrap()
}

fn picked(sale: &Sale, place: &str, pieces: i64) -> PostingBatch {
    let movement = MovementId {
        agent: AgentId::new("ham-01").unwrap(),
        epoch: Epoch::from_bytes([7; 16]),
        sequence: Sequence::new(1),
    };
    let line = PostingLine {
        ledger: LedgerId(1),
        correlation: CorrelationId::new(movement.to_string()).unwrap(),
        movement,
        item: sale.lines[0].item.clone(),
        item_reference: sale.lines[0].item_reference.clone(),
        quantity: Quantity::pieces(pieces),
        from: Place::At(LocationId::new("A-01").unwrap()),
        from_reference: Some(place.to_owned()),
        to: Place::Customer,
        to_reference: None,
        lot: None,
        document_reference: Some(Reference::new(&sale.order_reference).unwrap()),
        occurred_at: When::Synced { unix_ms: 0 },
    };
    PostingBatch {
        id: 1,
        reference: format!("SW-test-{}-{pieces}", sale.order_reference),
        erp: ErpId::new("erp").unwrap(),
        site: site(),
        site_reference: sale.site.as_ref().and_then(|(_, reference)| reference.clone()),
        kind: PostingKind::Outgoing,
        lines: vec![line],
        attempts: 0,
        document: None,
        state: BatchState::Planned,
        created_at_ms: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn an_order_is_one_sale_in_tryton_and_leaves_by_its_lines() {
    let tryton = Tryton::start(&World::standard()).unwrap();
    let proxy = FaultProxy::start(tryton.port()).await.unwrap();
    proxy.set_rules(lossy());
    let url = tryton.url().replace(&tryton.port().to_string(), &proxy.port().to_string());
    let erp = tryton_at(url, &tryton.seed().rest_key);
    let straight = tryton_at(tryton.url(), &tryton.seed().rest_key);

    let (order_a, place) = sale(&*straight, order("A", 3)).await;
    for _ in 0..2 {
        let posted = settled(&*erp, || erp.post_sale(&order_a)).await;
        assert!(matches!(posted, SalePosted::Booked { .. }), "{posted:?}");
    }
    let found = sales(&tryton, "shop/A").await;
    let standing: Vec<&Value> = found.iter().filter(|sale| sale["state"] != "cancelled").collect();
    let [one] = standing.as_slice() else { panic!("{found:?}") };
    assert_eq!((&one["state"], &one["shipment_state"]), (&json!("processing"), &json!("none")));
    assert_eq!(one["untaxed_amount"]["decimal"], "34.90");
    assert_eq!(one["tax_amount"]["decimal"], "6.63");

    // Two parcels, each posted by the books; the ERP moves stock by them alone, and the sale knows.
    let before = tryton.quantity("SKU-0001", "HAM/A-01").await.unwrap();
    for (pieces, state) in [(2, "partially shipped"), (1, "sent")] {
        let batch = picked(&order_a, &place, pieces);
        let posted = settled(&*erp, || erp.post(&batch)).await;
        assert!(matches!(posted, Posted::Booked { .. }), "{posted:?}");
        assert_eq!(sales(&tryton, "shop/A").await[0]["shipment_state"], state);
    }
    assert_eq!(tryton.quantity("SKU-0001", "HAM/A-01").await.unwrap(), before - 3000);
    let refused = settled(&*erp, || erp.cancel_sale(&order_a)).await;
    assert!(matches!(refused, SaleCancelled::Refused { .. }), "what has left is a return: {refused:?}");

    // Given up before anything has left: a second sale takes it back, once.
    let (order_b, _) = sale(&*straight, order("B", 2)).await;
    settled(&*erp, || erp.post_sale(&order_b)).await;
    for _ in 0..2 {
        let cancelled = settled(&*erp, || erp.cancel_sale(&order_b)).await;
        assert!(matches!(cancelled, SaleCancelled::Cancelled { .. }), "{cancelled:?}");
    }
    let back = sales(&tryton, "shop/B/cancelled").await;
    let back: Vec<&Value> = back.iter().filter(|sale| sale["state"] == "processing").collect();
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!(back[0]["untaxed_amount"]["decimal"], "-24.90");
    let (order_c, _) = sale(&*straight, order("C", 1)).await;
    assert_eq!(settled(&*erp, || erp.cancel_sale(&order_c)).await, SaleCancelled::Absent);
    let found = settled(&*erp, || erp.read_sale(&order_a)).await.unwrap();
    assert_eq!(
        (found.cancelled, found.invoice),
        (false, None),
        "an invoice has no number until it is posted"
    );
    assert!(proxy.counts().faults > 3, "{:?}", proxy.counts());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn an_order_of_the_shop_is_read_shipped_and_given_up_once() {
    let shop = Vendure::start(&World::standard()).unwrap();
    let proxy = FaultProxy::start(shop.port()).await.unwrap();
    let door = shop_at(format!("http://127.0.0.1:{}", proxy.port()), &shop);
    shop.set_stock("SKU-0001", "HAM", 5).await.unwrap();
    let started = jiff_ms();
    let code = shop.buy("SKU-0001", 3).await.unwrap();

    let read = settled(&*door, || door.read_orders(started)).await;
    assert_eq!((read.unreadable.as_slice(), read.more), (&[][..], false));
    let [order] = read.orders.as_slice() else { panic!("{read:?}") };
    assert_eq!((order.code.as_str(), order.currency.as_str()), (code.as_str(), "EUR"));
    assert_eq!(order.lines[0].quantity, Quantity::pieces(3));
    let again = settled(&*door, || door.read_orders(read.through_ms)).await;
    assert_eq!(again.orders, read.orders, "the second of the last change is read once more");
    let alone = settled(&*door, || door.read_order(&order.order)).await;
    assert_eq!(alone.as_ref(), Some(order));
    let nobody = Reference::new("4711").unwrap();
    assert_eq!(settled(&*door, || door.read_order(&nobody)).await, None);

    proxy.set_rules(vec![Rule::every_request(Fault::LoseAnswer).every(3)]);
    let lines =
        |pieces| vec![ShippedLine { line: order.lines[0].id.clone(), quantity: Quantity::pieces(pieces) }];
    let shipment = |number: u32, pieces| Shipment {
        number,
        reference: format!("{code}-{number}"),
        carrier: Some("Parcel".into()),
        tracking: None,
        lines: lines(pieces),
    };
    let cancellation = Cancellation { reason: "none left".into(), lines: lines(1) };
    for _ in 0..2 {
        let told = settled(&*door, || door.cancel_order(order, &cancellation)).await;
        assert_eq!(told, Told::Held { document: None });
    }
    assert_eq!(shop.stock("SKU-0001").await.unwrap()["HAM"], Level { on_hand: 5, allocated: 2 });
    for _ in 0..2 {
        let told = settled(&*door, || door.confirm_shipment(order, &shipment(1, 1))).await;
        assert!(matches!(told, Told::Held { document: Some(_) }), "{told:?}");
    }
    assert_eq!(shop.stock("SKU-0001").await.unwrap()["HAM"], Level { on_hand: 4, allocated: 1 });
    let told = settled(&*door, || door.confirm_shipment(order, &shipment(2, 1))).await;
    assert!(matches!(told, Told::Held { document: Some(_) }), "{told:?}");
    assert_eq!(shop.stock("SKU-0001").await.unwrap()["HAM"], Level { on_hand: 3, allocated: 0 });
    assert!(proxy.counts().faults > 3, "{:?}", proxy.counts());
}

/// A moment before now, in the shop's whole seconds.
fn jiff_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from((now - Duration::from_secs(2)).as_millis()).unwrap()
}
