//! Cases about orders: captured once, moved by one transaction at a time, and woken by what the warehouse does.

use stockwire_protocol::{BizStep, Body, Movement, Place, Quantity, Reference, StationId, TaskKind};

use super::{Bench, Make, channel, event, item, moved, place, referring, site, sku};
use crate::availability::{ChannelPolicy, Selling};
use crate::order::{
    self, Amount, Captured, Content, Door, Duty, Fact, Head, Leaves, Line, LineId, Need, Order, OrderKey,
    Party, Payment, Policy, Report, Source, Stage, Standing, WhenShort,
};
use crate::reservation::Query;
use crate::store::OrderQuery;
use crate::task::{TaskName, TaskState};

fn key(number: &str) -> OrderKey {
    OrderKey { channel: channel(), order: Reference::new(number).unwrap() }
}

/// Pieces of what `shop` sells as `SHOP-1`, which is SKU-1.
fn order_of(number: &str, pieces: i64) -> Order {
    let amount = Amount { net: 1_000 * pieces, tax: 0 };
    Order::new(Content {
        channel: channel(),
        order: Reference::new(number).unwrap(),
        code: Reference::new(format!("T-{number}")).unwrap(),
        placed_at_ms: 1_700_000_000_000,
        currency: "EUR".parse().unwrap(),
        payment: Payment::Paid,
        cancelled: false,
        account: None,
        buyer: Party::default(),
        delivery: Party::default(),
        lines: vec![Line {
            id: LineId::new("a").unwrap(),
            sku: sku("SHOP-1"),
            name: None,
            quantity: Quantity::pieces(pieces),
            unit_price: 1_000,
            discount: 0,
            amount,
            tax_rate: None,
        }],
        charges: Vec::new(),
        total: amount,
    })
    .unwrap()
}

fn policy() -> Policy {
    let source = |name, priority| Source { site: site(name), priority, distance_km: Default::default() };
    Policy {
        sources: vec![source("HAM", 0), source("MUC", 1)],
        checks: Vec::new(),
        when_short: WhenShort::Backorder,
        leaves: Leaves::WhenPicked,
        posts_sales: false,
        tells_channel: true,
    }
}

/// So many pieces of SKU-1 picked at HAM for an order.
fn picked(reference: &str, pieces: i64) -> stockwire_protocol::Event {
    let (step, quantity, station) =
        (BizStep::Picking, Quantity::pieces(pieces), StationId::new("S1").unwrap());
    let (from, to, details) = (place("A-01"), Place::Customer, referring(reference));
    event(1_000, Body::Movement(Movement { step, item: item("SKU-1"), quantity, from, to, station, details }))
}

impl Bench {
    fn need(&self, number: &str, incoming: Option<Order>) -> Need {
        Need { order: key(number), incoming, sites: vec![site("HAM"), site("MUC")] }
    }

    fn capture(&mut self, order: &Order) -> Captured {
        let (now, mut outcome) = (self.tick(), None);
        let need = self.need(order.order.as_str(), Some(order.clone()));
        let mut decide = |known: &order::Known| {
            let (writes, captured) = order::capture(&policy(), known, now, "channel", order);
            outcome = Some(captured);
            writes
        };
        self.store.work_order(now, &need, &mut decide).unwrap();
        outcome.unwrap()
    }

    /// Works on everything that is due here.
    fn work_orders(&mut self) -> usize {
        let now = self.tick();
        let due = self.store.due_orders(now, Door::Desk, None, 100).unwrap();
        for key in &due {
            let need = self.need(key.order.as_str(), None);
            self.store.work_order(now, &need, &mut |known| order::advance(&policy(), known, now)).unwrap();
        }
        due.len()
    }

    fn head(&self, number: &str) -> Head {
        let page = self.store.orders(&OrderQuery::default()).unwrap();
        let head = page.rows.into_iter().find(|head| head.order == key(number)).unwrap();
        let standing = Standing::of(&self.store.order(&key(number)).unwrap()).unwrap();
        assert_eq!((head.stage, &head.attention), (standing.stage(), &standing.attention()));
        assert_eq!((&head.reference, head.changed_at_ms), (&standing.reference, standing.changed_at_ms));
        head
    }

    /// `HAM pending 2 posted 1` for each hold of an order.
    fn holds(&self, number: &str) -> String {
        let query = Query { order: Some(Reference::new(number).unwrap()), ..Query::default() };
        let mut held = self.store.reservations(&query).unwrap().rows;
        held.sort_by_key(|held| held.id);
        let told = |held: &crate::reservation::Reservation| {
            let parts =
                [("pending", held.pending()), ("posted", held.ended.posted), ("voided", held.ended.voided)];
            let parts =
                parts.iter().filter(|(_, steps)| *steps != 0).map(|(name, steps)| format!(" {name} {steps}"));
            format!("{}{}", held.line.site, parts.collect::<String>())
        };
        held.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

pub(crate) fn an_order_is_captured_once(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    assert_eq!(bench.capture(&order_of("1", 2)), Captured::New);
    let rows = bench.store.order(&key("1")).unwrap();
    assert_eq!(bench.capture(&order_of("1", 2)), Captured::Same);
    assert_eq!(bench.store.order(&key("1")).unwrap(), rows);
    assert!(matches!(&rows[0].fact, Fact::Captured { order, .. } if *order == order_of("1", 2)));
    assert_eq!(bench.holds("1"), "HAM pending 2");
    assert_eq!(bench.capture(&order_of("1", 3)), Captured::Revised);
    assert_eq!(bench.store.orders(&OrderQuery::default()).unwrap().rows.len(), 1);
    assert!(bench.store.order(&key("2")).unwrap().is_empty());
    // Another channel numbers alike: the warehouse tells them apart.
    let mut content = order_of("9", 1).into_content();
    content.code = Reference::new("T-1").unwrap();
    let other = Order::new(content).unwrap();
    assert_eq!(bench.capture(&other), Captured::New);
    assert_eq!(bench.head("9").reference.as_str(), "shop/T-1");
}

pub(crate) fn two_orders_for_the_last_piece_end_in_one_shipment_and_one_backorder(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 1)]);
    bench.capture(&order_of("1", 1));
    bench.capture(&order_of("2", 1));
    assert_eq!((bench.head("1").stage, bench.head("2").stage), (Stage::Picking, Stage::Backordered));
    bench.record(&[picked("T-1", 1)]);
    bench.work_orders();
    assert_eq!((bench.head("1").stage, bench.head("2").stage), (Stage::Shipped, Stage::Backordered));
    assert_eq!((bench.holds("1"), bench.holds("2")), ("HAM posted 1".into(), String::new()));
    assert_eq!(bench.store.shortages().unwrap(), []);
    // Goods come in, and it is looked for them.
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    bench.now_ms += 30_000;
    bench.work_orders();
    assert_eq!(bench.head("2").stage, Stage::Picking);
    bench.prove();
}

pub(crate) fn what_the_warehouse_does_wakes_its_order(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.capture(&order_of("1", 2));
    let name = TaskName { site: site("HAM"), id: Reference::new("T-1").unwrap(), kind: TaskKind::Pick };
    let task = bench.store.task(&name).unwrap().unwrap();
    let line = &task.asked.lines[0];
    assert_eq!((line.quantity, line.from.as_ref().unwrap().as_str()), (Quantity::pieces(2), "A-01"));
    assert_eq!(bench.work_orders(), 0, "nothing is due while nothing happens");
    bench.record(&[moved("SKU-2", 1, "supplier", "A-01")]);
    assert_eq!(bench.work_orders(), 0);
    bench.record(&[picked("T-1", 1)]);
    assert_eq!(bench.work_orders(), 1);
    assert_eq!(bench.holds("1"), "HAM pending 1 posted 1");
    assert_eq!(bench.work_orders(), 0);
    bench.record(&[picked("T-1", 1)]);
    bench.work_orders();
    assert_eq!((bench.head("1").stage, bench.holds("1").as_str()), (Stage::Shipped, "HAM posted 2"));
    assert_eq!(bench.store.task(&name).unwrap().unwrap().state, TaskState::Done);
    // What was posted is not held twice: what may be promised is what lies there.
    assert_eq!(bench.store.reservations(&Query { pending_only: true, ..Query::default() }).unwrap().rows, []);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 3, HAM/A-01 SKU-2 1");
}

pub(crate) fn steps_outside_are_due_at_their_door(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.capture(&order_of("1", 1));
    bench.record(&[picked("T-1", 1)]);
    bench.work_orders();
    let now = bench.tick();
    let due = |bench: &Bench, now| bench.store.due_orders(now, Door::Channel, Some(&channel()), 10).unwrap();
    assert_eq!(due(&bench, now), [key("1")]);
    assert_eq!(bench.store.due_orders(now, Door::Erp, None, 10).unwrap(), []);
    let elsewhere = stockwire_protocol::ChannelId::new("other").unwrap();
    assert_eq!(bench.store.due_orders(now, Door::Channel, Some(&elsewhere), 10).unwrap(), []);
    let mut errand = None;
    let need = bench.need("1", None);
    let mut take = |known: &order::Known| {
        let (writes, taken) = order::take(&policy(), known, now, Door::Channel);
        errand = taken;
        writes
    };
    bench.store.work_order(now, &need, &mut take).unwrap();
    let duty = errand.unwrap().duty;
    assert_eq!(duty, Duty::Confirm { shipment: 1 });
    let report = Report::Unknown("no answer".into());
    let mut record = |known: &order::Known| order::record(&policy(), known, now, duty, &report);
    bench.store.work_order(now, &need, &mut record).unwrap();
    assert_eq!(due(&bench, now), []);
    assert_eq!(due(&bench, now + 60_000), [key("1")]);
    let report = Report::Done(None);
    let mut record = |known: &order::Known| order::record(&policy(), known, now, duty, &report);
    bench.store.work_order(now, &need, &mut record).unwrap();
    assert_eq!((bench.head("1").stage, due(&bench, i64::MAX)), (Stage::Done, vec![]));
}

pub(crate) fn what_has_left_is_in_the_number_until_the_channel_knows(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 1)]);
    bench.settle();
    let number = |bench: &Bench| bench.offer("SHOP-1").availability.number;
    bench.capture(&order_of("1", 1));
    assert_eq!(number(&bench), 1, "it takes its own order from the number");
    bench.record(&[picked("T-1", 1)]);
    bench.work_orders();
    assert_eq!(
        (bench.stock().as_str(), number(&bench)),
        ("", 1),
        "the last piece has left, and it does not know"
    );
    bench.settle();
    let tell = |bench: &mut Bench, report: Report| {
        let (now, need) = (bench.tick(), bench.need("1", None));
        let mut take = |known: &order::Known| order::take(&policy(), known, now, Door::Channel).0;
        bench.store.work_order(now, &need, &mut take).unwrap();
        let duty = Duty::Confirm { shipment: 1 };
        let mut record = |known: &order::Known| order::record(&policy(), known, now, duty, &report);
        bench.store.work_order(now, &need, &mut record).unwrap();
        bench.now_ms += 60_000;
    };
    tell(&mut bench, Report::Retry("not enough there".into()));
    assert_eq!(number(&bench), 1);
    tell(&mut bench, Report::Unknown("no answer".into()));
    assert_eq!(number(&bench), 0, "it may have counted down");
    tell(&mut bench, Report::Done(None));
    assert_eq!(number(&bench), 0);
    let told: Vec<_> =
        bench.updates(100).iter().map(|update| (update.sku.to_string(), update.number)).collect();
    assert_eq!(told, [("SHOP-1".to_owned(), 0)]);
    bench.prove();
}

pub(crate) fn what_a_channel_was_told_of_is_looked_at_again(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.capture(&order_of("1", 2));
    bench.settle();
    let (now, need) = (bench.tick(), bench.need("1", None));
    let cancel = order::Command::Cancel { reason: "why".into() };
    let mut ask = |known: &order::Known| order::command(&policy(), known, now, "test", &cancel).unwrap();
    bench.store.work_order(now, &need, &mut ask).unwrap();
    bench.settle();
    let mut take = |known: &order::Known| order::take(&policy(), known, now, Door::Channel).0;
    bench.store.work_order(now, &need, &mut take).unwrap();
    let report = Report::Done(None);
    let duty = Duty::CancelAtChannel;
    let mut record = |known: &order::Known| order::record(&policy(), known, now, duty, &report);
    bench.store.work_order(now, &need, &mut record).unwrap();
    let told: Vec<_> =
        bench.updates(100).iter().map(|update| (update.sku.to_string(), update.number)).collect();
    assert_eq!(
        told,
        [("SHOP-1".to_owned(), 5)],
        "the same number, because the channel may have counted otherwise"
    );
}

pub(crate) fn an_order_from_elsewhere_leaves_alone_what_channels_may_sell(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    let selling = Selling { strict: true, ..Selling::default() };
    bench.store.replace_channels(&[ChannelPolicy { selling, ..super::policy(0) }]).unwrap();
    bench.settle();
    assert_eq!(bench.offer("SHOP-1").published.unwrap().number, 5, "all of it may be sold by the shop");
    let mut content = order_of("9", 1).into_content();
    content.channel = stockwire_protocol::ChannelId::new("counter").unwrap();
    content.lines[0].sku = sku("SKU-1");
    let order = Order::new(content).unwrap();
    let (now, need) = (bench.tick(), Need { order: order.key(), ..bench.need("9", Some(order.clone())) });
    let mut capture = |known: &order::Known| order::capture(&policy(), known, now, "api", &order).0;
    bench.store.work_order(now, &need, &mut capture).unwrap();
    let heads = bench.store.orders(&OrderQuery::default()).unwrap().rows;
    assert_eq!(heads.iter().map(|head| head.stage).collect::<Vec<_>>(), [Stage::Backordered]);
    // The shop itself has sold what it was told.
    bench.capture(&order_of("1", 5));
    assert_eq!((bench.head("1").stage, bench.holds("1").as_str()), (Stage::Picking, "HAM pending 5"));
}

pub(crate) fn a_refused_write_keeps_nothing(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    let now = bench.tick();
    let need = bench.need("1", Some(order_of("1", 2)));
    let mut decide = |known: &order::Known| {
        let (mut writes, _) = order::capture(&policy(), known, now, "channel", &order_of("1", 2));
        writes.tasks[0].0 = site("NOWHERE");
        writes
    };
    assert!(bench.store.work_order(now, &need, &mut decide).is_err());
    assert!(bench.store.order(&key("1")).unwrap().is_empty());
    assert_eq!(bench.holds("1"), "");
    // A hold that is ended twice is no write of ours.
    bench.capture(&order_of("1", 2));
    let need = bench.need("1", None);
    let mut twice = |known: &order::Known| {
        let mut writes =
            order::command(&policy(), known, now, "test", &order::Command::Cancel { reason: "why".into() })
                .unwrap();
        writes.ends.extend(writes.ends.clone());
        writes
    };
    assert!(bench.store.work_order(now, &need, &mut twice).is_err());
    assert_eq!(bench.holds("1"), "HAM pending 2");
}

pub(crate) fn orders_are_listed_without_hole_or_repeat(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 3)]);
    for number in 1..=5 {
        bench.capture(&order_of(&number.to_string(), 1));
    }
    let pages = |query: OrderQuery| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = bench.store.orders(&OrderQuery { after, limit: 2, ..query.clone() }).unwrap();
            assert!(page.rows.len() <= 2);
            all.extend(page.rows.iter().map(|head| head.order.order.to_string()));
            match page.next {
                Some(next) => after = Some(next),
                None => return all.join(" "),
            }
        }
    };
    assert_eq!(pages(OrderQuery::default()), "5 4 3 2 1");
    assert_eq!(pages(OrderQuery { stage: Some(Stage::Backordered), ..OrderQuery::default() }), "5 4");
    assert_eq!(
        pages(OrderQuery { code: Some(Reference::new("T-3").unwrap()), ..OrderQuery::default() }),
        "3"
    );
    assert_eq!(pages(OrderQuery { attention_only: true, ..OrderQuery::default() }), "");
    let elsewhere = stockwire_protocol::ChannelId::new("other").unwrap();
    assert_eq!(pages(OrderQuery { channel: Some(elsewhere), ..OrderQuery::default() }), "");
}

pub(crate) fn a_channel_is_read_on_from_where_it_was_read_to(make: Make<'_>) {
    let mut bench = Bench::new(make);
    assert_eq!(bench.store.orders_through(&channel()).unwrap(), None);
    bench.store.put_orders_through(&channel(), 5_000).unwrap();
    bench.store.put_orders_through(&channel(), 4_000).unwrap();
    assert_eq!(bench.store.orders_through(&channel()).unwrap(), Some(5_000));
    assert!(bench.store.note_delivery(1, &channel(), "d-1").unwrap());
    assert!(!bench.store.note_delivery(2, &channel(), "d-1").unwrap());
    assert!(bench.store.note_delivery(3, &channel(), "d-2").unwrap());
}
