//! Cases about promises to orders.

use stockwire_protocol::{AccountId, ChannelId, Quantity, Reference, Uom};

use super::{Bench, Make, channel, counted, item, moved, policy, site, sku};
use crate::availability::{Basis, ChannelPolicy};
use crate::catalogue::Listing;
use crate::reservation::{
    End, Firmness, Line, LinePart, OrderKey, Part, Priority, Query, Refused, Request, Reservation,
    Resolution, Step,
};
use crate::store::StoreError;

type Answer = Result<Vec<Reservation>, Refused>;

fn order(number: &str) -> OrderKey {
    OrderKey { channel: channel(), order: Reference::new(number).unwrap() }
}

/// Pieces at HAM.
fn line(number: u32, name: &str, pieces: i64) -> Line {
    Line { line: number, item: item(name), site: site("HAM"), quantity: Quantity::pieces(pieces) }
}

fn request(number: &str, lines: &[Line]) -> Request {
    let (order, lines) = (order(number), lines.to_vec());
    Request { order, account: None, priority: Priority::ORDINARY, firmness: Firmness::Hard, lines }
}

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

/// One line each: `S-1/1 pending 3 posted 2`, without what is 0.
fn told(held: &[Reservation]) -> Vec<String> {
    let line = |held: &Reservation| {
        let ended = held.ended;
        let parts = [
            ("pending", held.pending()),
            ("posted", ended.posted),
            ("voided", ended.voided),
            ("expired", ended.expired),
        ];
        let parts =
            parts.iter().filter(|(_, steps)| *steps != 0).map(|(name, steps)| format!(" {name} {steps}"));
        format!("{}/{}{}", held.order.order, held.line.line, parts.collect::<String>())
    };
    held.iter().map(line).collect()
}

impl Bench {
    fn reserve(&mut self, request: &Request) -> Answer {
        let now = self.tick();
        self.store.reserve(now, request).unwrap()
    }

    fn resolve(&mut self, number: &str, key: &str, step: Step, part: Part) -> Answer {
        let now = self.tick();
        self.store.resolve(now, &Resolution { order: order(number), key: key.into(), step, part }).unwrap()
    }

    fn number(&self, name: &str) -> i64 {
        self.store.availability(&channel(), &sku(name)).unwrap().unwrap().availability.number
    }

    fn sold_by(&mut self, name: &str, basis: Basis) {
        let other = ChannelPolicy { channel: ChannelId::new(name).unwrap(), basis, ..policy(0) };
        self.store.replace_channels(&[policy(0), other.clone()]).unwrap();
        let listing = Listing { sku: sku("OTHER-1"), item: item("SKU-1"), reference: None };
        self.store.replace_listings(&other.channel, &[listing]).unwrap();
    }
}

pub(crate) fn the_last_piece_is_promised_once(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 1)]);
    assert_eq!(told(&bench.reserve(&request("S-1", &[line(1, "SKU-1", 1)])).unwrap()), ["S-1/1 pending 1"]);
    let refused = bench.reserve(&request("S-2", &[line(1, "SKU-1", 1)])).unwrap_err();
    assert_eq!(refused.to_string(), "not enough to promise: SKU-1 at HAM: 1 wanted, 0 available");
    // Nor twice within one order.
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 1)]);
    let twice = request("S-1", &[line(1, "SKU-1", 1), line(2, "SKU-1", 1)]);
    assert!(matches!(bench.reserve(&twice), Err(Refused::Short(_))));
    assert_eq!(bench.store.reservations(&Query::default()).unwrap().rows, []);
    bench.prove();
}

pub(crate) fn a_request_again_changes_nothing(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    let first = request("S-1", &[line(1, "SKU-1", 3)]);
    let held = bench.reserve(&first).unwrap();
    assert_eq!(bench.reserve(&first).unwrap(), held);
    let differs = bench.reserve(&request("S-1", &[line(1, "SKU-1", 2)])).unwrap_err();
    assert_eq!(differs.to_string(), "line 1 at HAM is held already, as 3 H87 of SKU-1");
    let more = bench.reserve(&request("S-1", &[line(1, "SKU-1", 3), line(2, "SKU-1", 2)])).unwrap();
    assert_eq!(told(&more), ["S-1/1 pending 3", "S-1/2 pending 2"]);
    // The same number in another channel is another order.
    let mut other = request("S-1", &[line(1, "SKU-1", 1)]);
    other.order.channel = ChannelId::new("market").unwrap();
    assert!(matches!(bench.reserve(&other), Err(Refused::Short(_))));
    // What was cancelled does not come back with a request that comes late.
    bench.resolve("S-1", "cancel", Step::End(End::Voided), Part::All).unwrap();
    assert_eq!(told(&bench.reserve(&first).unwrap()), ["S-1/1 voided 3", "S-1/2 voided 2"]);
}

pub(crate) fn what_is_short_is_told_whole(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5), ("SKU-2", "A-01", 1)]);
    let lines = [line(1, "SKU-1", 3), line(2, "SKU-2", 2), line(3, "SKU-3", 1)];
    let refused = bench.reserve(&request("S-1", &lines)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "not enough to promise: SKU-2 at HAM: 2 wanted, 1 available, SKU-3 at HAM: 1 wanted, 0 available"
    );
    assert_eq!(bench.number("SHOP-1"), 5, "nothing of it is held");
    assert!(bench.reserve(&request("S-2", &[line(1, "SKU-1", 5)])).is_ok());
}

pub(crate) fn holds_end_once_and_free_what_they_held(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5), ("SKU-2", "A-01", 5)]);
    bench.reserve(&request("S-1", &[line(1, "SKU-1", 5), line(2, "SKU-2", 4)])).unwrap();
    let part = |pieces| {
        Part::Lines(vec![LinePart { line: 1, site: site("HAM"), quantity: Quantity::pieces(pieces) }])
    };
    let post = Step::End(End::Posted);
    let held = bench.resolve("S-1", "parcel 1", post, part(3)).unwrap();
    assert_eq!(told(&held), ["S-1/1 pending 2 posted 3", "S-1/2 pending 4"]);
    assert_eq!(bench.resolve("S-1", "parcel 1", post, part(3)).unwrap(), held, "the same key again");
    let refused = bench.resolve("S-1", "parcel 1", post, part(2)).unwrap_err();
    assert_eq!(refused, Refused::KeyReused("parcel 1".into()));
    let refused = bench.resolve("S-1", "parcel 2", post, part(3)).unwrap_err();
    assert_eq!(refused.to_string(), "line 1 at HAM has 2 H87 pending, not 3 H87");
    let held = bench.resolve("S-1", "cancel", Step::End(End::Voided), Part::All).unwrap();
    assert_eq!(told(&held), ["S-1/1 posted 3 voided 2", "S-1/2 voided 4"]);
    assert_eq!(bench.resolve("S-1", "cancel", Step::End(End::Voided), Part::All).unwrap(), held);
    assert_eq!(bench.resolve("S-1", "cancel 2", Step::End(End::Voided), Part::All).unwrap(), held);
    // The three pieces have left, the two are free.
    bench.record(&[moved("SKU-1", 3, "A-01", "customer")]);
    assert!(matches!(bench.reserve(&request("S-2", &[line(1, "SKU-1", 3)])), Err(Refused::Short(_))));
    assert!(bench.reserve(&request("S-2", &[line(1, "SKU-1", 2)])).is_ok());
    assert_eq!(bench.resolve("S-9", "cancel", Step::End(End::Voided), Part::All).unwrap(), []);
}

pub(crate) fn soft_holds_end_by_themselves(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 2)]);
    let soft = |bench: &Bench, number: &str, seconds: i64| Request {
        firmness: Firmness::Soft { until_ms: bench.now_ms + seconds * 1_000 },
        ..request(number, &[line(1, "SKU-1", 2)])
    };
    bench.reserve(&soft(&bench, "S-1", 60)).unwrap();
    assert_eq!(bench.store.expire_reservations(bench.now_ms).unwrap(), 0, "not before its time");
    assert!(matches!(bench.reserve(&request("S-2", &[line(1, "SKU-1", 1)])), Err(Refused::Short(_))));
    bench.now_ms += 60_000;
    // Nobody has looked yet: whoever wants the stock ends what is over.
    assert_eq!(told(&bench.reserve(&soft(&bench, "S-2", 60)).unwrap()), ["S-2/1 pending 2"]);
    let late = bench.resolve("S-1", "paid", Step::Confirm, Part::All).unwrap_err();
    assert_eq!(late.to_string(), "line 1 at HAM has 0 H87 pending, not 2 H87");
    bench.now_ms += 60_000;
    assert_eq!(bench.store.expire_reservations(bench.now_ms).unwrap(), 1);
    assert_eq!(bench.store.expire_reservations(bench.now_ms).unwrap(), 0);
    // The buyer comes back.
    assert_eq!(
        told(&bench.reserve(&soft(&bench, "S-1", 60)).unwrap()),
        ["S-1/1 expired 2", "S-1/1 pending 2"]
    );
}

pub(crate) fn a_confirmed_hold_stays(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 2)]);
    let firmness = Firmness::Soft { until_ms: bench.now_ms + 60_000 };
    bench.reserve(&Request { firmness, ..request("S-1", &[line(1, "SKU-1", 2)]) }).unwrap();
    let held = bench.resolve("S-1", "paid", Step::Confirm, Part::All).unwrap();
    assert_eq!((held[0].firmness, held[0].pending()), (Firmness::Hard, 2));
    assert_eq!(bench.resolve("S-1", "paid", Step::Confirm, Part::All).unwrap(), held);
    bench.now_ms += 600_000;
    assert_eq!(bench.store.expire_reservations(bench.now_ms).unwrap(), 0);
    assert!(matches!(bench.reserve(&request("S-2", &[line(1, "SKU-1", 1)])), Err(Refused::Short(_))));
}

pub(crate) fn kept_stock_is_for_its_account(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 10)]);
    let (mug, ham) = (item("SKU-1"), site("HAM"));
    let keep = |bench: &mut Bench, pieces: Option<i64>| {
        let now = bench.tick();
        bench.store.put_quota(now, &account("K-1"), (&mug, &ham), pieces.map(Quantity::pieces)).unwrap()
    };
    assert!(keep(&mut bench, Some(6)));
    assert!(!keep(&mut bench, Some(6)), "it was so");
    assert_eq!(bench.number("SHOP-1"), 4);
    let short = bench.reserve(&request("S-1", &[line(1, "SKU-1", 5)])).unwrap_err();
    assert_eq!(short.to_string(), "not enough to promise: SKU-1 at HAM: 5 wanted, 4 available");
    let of = |number: &str, pieces| Request {
        account: Some(account("K-1")),
        ..request(number, &[line(1, "SKU-1", pieces)])
    };
    assert!(bench.reserve(&of("S-2", 4)).is_ok());
    let quota = &bench.store.quotas().unwrap()[0];
    assert_eq!((quota.used, quota.kept()), (4, 2));
    assert_eq!(
        bench.number("SHOP-1"),
        8,
        "the shop counts its own order itself: ten without the two still kept"
    );
    assert!(bench.reserve(&request("S-3", &[line(1, "SKU-1", 4)])).is_ok());
    // It may take more than was kept, from what is there for everybody.
    assert!(matches!(bench.reserve(&of("S-4", 3)), Err(Refused::Short(_))));
    assert!(bench.reserve(&of("S-4", 2)).is_ok());
    // What it gives back is kept for it again.
    bench.resolve("S-2", "cancel", Step::End(End::Voided), Part::All).unwrap();
    assert_eq!(bench.store.quotas().unwrap()[0].kept(), 4);
    assert!(matches!(bench.reserve(&request("S-5", &[line(1, "SKU-1", 1)])), Err(Refused::Short(_))));
    assert!(keep(&mut bench, None));
    assert!(!keep(&mut bench, None));
    assert!(bench.reserve(&request("S-5", &[line(1, "SKU-1", 4)])).is_ok());
}

pub(crate) fn promises_lower_what_channels_are_told(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 10)]);
    bench.sold_by("market", Basis::Net);
    let market = ChannelId::new("market").unwrap();
    let told_market = |bench: &mut Bench| {
        let now = bench.tick();
        let updates = bench.store.take_channel_updates(now, &market, 10).unwrap();
        let accepted: Vec<_> = updates
            .iter()
            .map(|update| {
                let revision = update.revision;
                (update.sku.clone(), crate::availability::ChannelResult::Accepted { revision })
            })
            .collect();
        bench.store.record_channel_results(now, &market, &accepted).unwrap();
        updates.iter().map(|update| update.number).collect::<Vec<_>>()
    };
    assert_eq!(told_market(&mut bench), [10]);
    bench.reserve(&request("S-1", &[line(1, "SKU-1", 4)])).unwrap();
    assert_eq!(told_market(&mut bench), [6], "what a shop sold is gone for the market");
    assert_eq!(bench.number("SHOP-1"), 10, "and the shop counts it itself");
    bench.resolve("S-1", "cancel", Step::End(End::Voided), Part::All).unwrap();
    assert_eq!(told_market(&mut bench), [10]);
    let firmness = Firmness::Soft { until_ms: bench.now_ms + 30_000 };
    bench.reserve(&Request { firmness, ..request("S-2", &[line(1, "SKU-1", 1)]) }).unwrap();
    assert_eq!(told_market(&mut bench), [9]);
    bench.now_ms += 30_000;
    bench.store.expire_reservations(bench.now_ms).unwrap();
    assert_eq!(told_market(&mut bench), [10]);
    assert_eq!(told_market(&mut bench), [0_i64; 0]);
}

pub(crate) fn less_than_promised_is_a_shortage(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5), ("SKU-2", "A-01", 5)]);
    let priority = Priority::new(9).unwrap();
    bench.reserve(&Request { priority, ..request("S-1", &[line(1, "SKU-1", 2)]) }).unwrap();
    bench.reserve(&request("S-2", &[line(1, "SKU-1", 2)])).unwrap();
    bench.reserve(&request("S-3", &[line(1, "SKU-1", 1), line(2, "SKU-2", 5)])).unwrap();
    assert_eq!(bench.store.shortages().unwrap(), []);
    // Somebody looked: there are only three.
    bench.record(&[counted("SKU-1", 3, "A-01")]);
    let shortages = bench.store.shortages().unwrap();
    assert_eq!(shortages.len(), 1);
    let shortage = &shortages[0];
    assert_eq!((shortage.item.as_str(), shortage.site.as_str()), ("SKU-1", "HAM"));
    assert_eq!((shortage.on_hand, shortage.reserved), (Quantity::pieces(3), Quantity::pieces(5)));
    let losers: Vec<_> =
        shortage.gives_way.iter().map(|(held, steps)| (held.order.order.as_str(), *steps)).collect();
    assert_eq!(losers, [("S-3", 1), ("S-2", 1)]);
    assert_eq!(bench.number("SHOP-1"), 3);
}

pub(crate) fn reservations_are_listed_without_hole_or_repeat(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 9), ("SKU-2", "A-01", 9)]);
    for number in 1..=5 {
        let name = if number % 2 == 0 { "SKU-2" } else { "SKU-1" };
        bench.reserve(&request(&format!("S-{number}"), &[line(1, name, 1)])).unwrap();
    }
    bench.resolve("S-5", "cancel", Step::End(End::Voided), Part::All).unwrap();
    let pages = |query: Query| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = bench.store.reservations(&Query { after, limit: 2, ..query.clone() }).unwrap();
            assert!(page.rows.len() <= 2);
            all.extend(page.rows.iter().map(|held| held.order.order.to_string()));
            match page.next {
                Some(next) => after = Some(next),
                None => return all.join(" "),
            }
        }
    };
    assert_eq!(pages(Query::default()), "S-5 S-4 S-3 S-2 S-1");
    assert_eq!(pages(Query { item: Some(item("SKU-1")), ..Query::default() }), "S-5 S-3 S-1");
    assert_eq!(pages(Query { pending_only: true, ..Query::default() }), "S-4 S-3 S-2 S-1");
    assert_eq!(pages(Query { order: Some(Reference::new("S-2").unwrap()), ..Query::default() }), "S-2");
    let elsewhere = Query { channel: Some(ChannelId::new("market").unwrap()), ..Query::default() };
    assert_eq!(pages(elsewhere), "");
}

pub(crate) fn nonsense_is_refused_and_nothing_held(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 9)]);
    assert!(matches!(bench.reserve(&request("S-1", &[])), Err(Refused::Field { .. })));
    let mut weighed = line(1, "SKU-1", 1);
    weighed.quantity = Quantity { steps: 1, uom: Uom::Kilogram };
    let refused = bench.reserve(&request("S-1", &[weighed])).unwrap_err();
    assert!(refused.to_string().starts_with("lines[0].quantity: "), "{refused}");
    let unknown = bench.store.reserve(1, &request("S-1", &[line(1, "NO-SUCH", 1)])).unwrap_err();
    assert!(matches!(unknown, StoreError::Refused { .. }), "{unknown}");
    let quota =
        bench.store.put_quota(1, &account("K"), (&item("SKU-1"), &site("HAM")), Some(Quantity::pieces(0)));
    assert!(matches!(quota, Err(StoreError::Refused { .. })));
    assert!(matches!(bench.resolve("S-1", "", Step::Confirm, Part::All), Err(Refused::Field { .. })));
    assert_eq!(bench.store.reservations(&Query::default()).unwrap().rows, []);
    // Grams of what is booked in kilograms.
    let mut grams = line(1, "WEIGHED", 1);
    grams.quantity = Quantity::parse("500", Uom::Gram).unwrap();
    let refused = bench.reserve(&request("S-2", &[grams])).unwrap_err();
    assert_eq!(refused.to_string(), "not enough to promise: WEIGHED at HAM: 0.5 wanted, 0 available");
}
