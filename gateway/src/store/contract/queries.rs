//! Cases about what is read.

use stockwire_protocol::cbor::{CATALOGUE_BYTES_MAX, Message};
use stockwire_protocol::{Quantity, Uom};

use super::{Bench, Make, channel, counted, erp, item, moved, movement, referring, site, snapshot};
use crate::catalogue::{Item, Snapshot};
use crate::ledger::OpeningLine;
use crate::posting::BatchResult;
use crate::reconcile::{ErpQuantity, Evidence, compare, plan};
use crate::store::{Cursor, MovementQuery, StockQuery, StoreError};
use crate::trace::{self, TraceKey};

pub(crate) fn stock_is_paged_without_hole_or_repeat(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let events: Vec<_> = (1..=9)
        .flat_map(|n| ["A-01", "A-02", "IN"].map(|at| moved(&format!("SKU-{n}"), n, "supplier", at)))
        .collect();
    bench.record(&events);
    let all = bench.store.stock(&StockQuery::default()).unwrap();
    assert_eq!((all.rows.len(), all.next), (27, None));
    let mut query = StockQuery { limit: 4, ..StockQuery::default() };
    let mut paged = Vec::new();
    loop {
        let page = bench.store.stock(&query).unwrap();
        assert!(page.rows.len() <= 4);
        paged.extend(page.rows);
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(paged, all.rows);
    let one =
        StockQuery { item: Some(item("SKU-3")), location: "A-02".parse().ok(), ..StockQuery::default() };
    let rows = bench.store.stock(&one).unwrap().rows;
    assert_eq!((rows.len(), rows[0].on_hand, rows[0].name.as_str()), (1, Quantity::pieces(3), "Part SKU-3"));
    let negative = StockQuery { negative_only: true, ..StockQuery::default() };
    assert_eq!(bench.store.stock(&negative).unwrap().rows, []);
}

pub(crate) fn movements_come_newest_first(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let events: Vec<_> =
        (1..=9).map(|n| moved(&format!("SKU-{}", n % 3 + 1), n, "supplier", "A-01")).collect();
    bench.record(&events);
    let pages = |query: MovementQuery| {
        let mut query = MovementQuery { limit: 2, ..query };
        let mut seen = Vec::new();
        loop {
            let page = bench.store.movements(&query).unwrap();
            seen.extend(page.rows.iter().map(|row| row.row.id.0));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return seen,
            }
        }
    };
    assert_eq!(pages(MovementQuery::default()), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(pages(MovementQuery { item: Some(item("SKU-1")), ..Default::default() }), [9, 6, 3]);
    assert_eq!(pages(MovementQuery { site: Some(site("MUC")), ..Default::default() }), Vec::<u64>::new());
}

pub(crate) fn changes_follow_a_cursor(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let mut cursor = bench.store.changes_head().unwrap();
    assert_eq!(bench.store.changes(cursor, 10).unwrap().cursor, cursor);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01"), moved("SKU-2", 1, "supplier", "A-01")]);
    let news = bench.store.changes(cursor, 10).unwrap();
    let rows: Vec<_> = news.movements.iter().map(|row| row.row.id.0).collect();
    assert_eq!((rows, news.devices.len(), news.offers.len()), (vec![1, 2], 1, 0));
    cursor = news.cursor;
    let now = bench.tick();
    bench.store.take_channel_updates(now, &channel(), 100).unwrap();
    // All offers changed in one stroke; a page smaller than that still comes to an end, and to all of them.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let news = bench.store.changes(cursor, 100).unwrap();
        seen.extend(news.offers.iter().map(|offer| offer.sku.to_string()));
        if news.cursor == cursor {
            break;
        }
        cursor = news.cursor;
    }
    assert_eq!(seen.len(), 9);
    assert_eq!(bench.store.changes(Cursor::default(), 1).unwrap().movements.len(), 1);
}

pub(crate) fn a_trace_tells_the_whole_way(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[
        movement("SKU-1", Quantity::pieces(5), "supplier", "A-01", referring("PO-7")),
        counted("SKU-1", 4, "A-01"),
        movement("NEW", Quantity::pieces(5), "supplier", "A-01", referring("PO-7")),
    ]);
    let now = bench.tick();
    let batch = bench.store.take_posting_batch(now, &erp(), 10).unwrap().unwrap();
    bench
        .store
        .record_batch_result(now, &batch.reference, &BatchResult::Done { document: "D1".into() })
        .unwrap();
    let updates = bench.store.take_channel_updates(now, &channel(), 100).unwrap();
    let accepted: Vec<_> = updates
        .iter()
        .map(|u| (u.sku.clone(), crate::availability::ChannelResult::Accepted { revision: u.revision }))
        .collect();
    bench.store.record_channel_results(now, &channel(), &accepted).unwrap();

    let told = |key: &TraceKey| {
        let threads = bench.store.trace(key, 10).unwrap();
        let steps = trace::timeline(&threads);
        steps.iter().map(|step| format!("{}: {}", step.stage.as_str(), step.text)).collect::<Vec<_>>()
    };
    let id = "box-1/01010101010101010101010101010101/1";
    let reference = &batch.reference;
    let expected = [
        "recorded: storing: 5 H87 of SKU-1 from supplier to A-01 at station S1".to_string(),
        format!("received: committed at the gateway as {id}"),
        "booked: row 1: 5 H87 from supplier to A-01".to_string(),
        format!("posted: erp done: {reference}, document D1"),
        "published: shop SHOP-1: 4 accepted, revision 1".to_string(),
    ];
    let keys = trace::parse(id);
    assert_eq!(told(&keys[0]), expected);
    let order = told(&trace::parse("PO-7")[0]);
    assert_eq!(order[..5], expected);
    assert!(order.last().unwrap().starts_with("set_aside: dead letter 1: item NEW is not"), "{order:?}");
    let whole = told(&TraceKey::Item(item("SKU-1")));
    assert_eq!(whole.len(), 10, "{whole:?}");
    assert_eq!(told(&TraceKey::Mention("nobody".into())), Vec::<String>::new());
}

pub(crate) fn gauges_count_what_waits(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01"), moved("NEW", 5, "supplier", "A-01")]);
    let received = bench.now_ms;
    let gauges = bench.store.gauges().unwrap();
    assert_eq!((gauges.events, gauges.ledger_head, gauges.devices), (2, 1, [1, 0, 0]));
    assert_eq!(gauges.unposted, [(erp(), 1, Some(received))]);
    assert_eq!(gauges.unpublished, [(channel(), 9, Some(received))], "nobody has computed the numbers yet");
    assert_eq!(gauges.dead_letters, [(crate::dead_letter::DeadLetterClass::Unappliable, 1)]);
    let now = bench.tick();
    let batch = bench.store.take_posting_batch(now, &erp(), 10).unwrap().unwrap();
    assert_eq!(bench.store.gauges().unwrap().unposted, [(erp(), 1, Some(received))], "sent is not done");
    bench
        .store
        .record_batch_result(now, &batch.reference, &BatchResult::Done { document: "1".into() })
        .unwrap();
    bench.store.take_channel_updates(now, &channel(), 1).unwrap();
    let gauges = bench.store.gauges().unwrap();
    assert_eq!(gauges.unposted, [(erp(), 0, None)]);
    assert_eq!(gauges.unpublished, [(channel(), 9, Some(received))], "the oldest waits since its event");
}

pub(crate) fn a_reconciliation_knows_what_is_on_its_way(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let now = bench.tick();
    let told = |bench: &Bench| {
        let rows = bench.store.reconcile_snapshot(&erp()).unwrap().rows;
        let row = |r: &crate::reconcile::SnapshotRow| {
            format!(
                "{} {} {} {} {}",
                r.location, r.item, r.balance.steps, r.unposted.steps, r.in_flight.steps
            )
        };
        rows.iter().map(row).collect::<Vec<_>>()
    };
    bench.record(&[moved("SKU-2", 9, "supplier", "A-01"), moved("SKU-1", 4, "A-01", "A-02")]);
    assert_eq!(told(&bench), ["A-01 SKU-1 46 -4 0", "A-01 SKU-2 9 9 0", "A-02 SKU-1 4 4 0"]);
    let goods_in = bench.store.take_posting_batch(now, &erp(), 10).unwrap().unwrap();
    assert_eq!(told(&bench), ["A-01 SKU-1 46 -4 0", "A-01 SKU-2 9 0 9", "A-02 SKU-1 4 4 0"]);
    bench
        .store
        .record_batch_result(now, &goods_in.reference, &BatchResult::Done { document: "1".into() })
        .unwrap();
    assert_eq!(told(&bench), ["A-01 SKU-1 46 -4 0", "A-01 SKU-2 9 0 0", "A-02 SKU-1 4 4 0"]);
    let internal = bench.store.take_posting_batch(now, &erp(), 10).unwrap().unwrap();
    bench
        .store
        .record_batch_result(now, &internal.reference, &BatchResult::Dead { reason: "no".into() })
        .unwrap();
    assert_eq!(
        told(&bench),
        ["A-01 SKU-1 46 -4 0", "A-01 SKU-2 9 0 0", "A-02 SKU-1 4 4 0"],
        "set aside is not posted"
    );

    // The ERP confirmed the goods in, and somebody cancelled the document.
    let snapshot = bench.store.reconcile_snapshot(&erp()).unwrap();
    let row = |location: &str, name: &str, steps| ErpQuantity {
        site: site("HAM"),
        location: location.parse().unwrap(),
        item: item(name),
        steps,
    };
    let erp_side = [row("A-01", "SKU-1", 50)];
    let keys = compare(&snapshot, &erp_side);
    assert_eq!(keys, [(site("HAM"), "A-01".parse().unwrap(), item("SKU-2"))]);
    let lines = bench.store.known_lines(&erp(), &keys, 10).unwrap();
    assert_eq!((lines.len(), lines[0].steps, lines[0].reference.as_ref()), (1, 9, Some(&goods_in.reference)));
    let index = bench.store.catalogue_index().unwrap();
    let plan = plan(&snapshot, &erp_side, &Evidence { lines: &lines, foreign: &[], index: &index });
    assert_eq!(
        plan.to_string(),
        "as of row 3: 3 compared, 2 explained, 1 open\n\
         HAM/A-01 SKU-2: ledger 9 H87 (unposted 0, in flight 0), ERP 0, difference -9: missing posting of row 2 -> review\n"
    );
}

pub(crate) fn a_catalogue_is_revised_only_when_it_changes(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    assert_eq!(bench.store.catalogue_revision().unwrap(), 0);
    assert_eq!(bench.store.replace_catalogue(&erp(), &snapshot()).unwrap(), 1);
    assert_eq!(bench.store.replace_catalogue(&erp(), &snapshot()).unwrap(), 1);
    let mut changed = snapshot();
    changed.items[0].name = "Renamed".into();
    changed.items.pop();
    assert_eq!(bench.store.replace_catalogue(&erp(), &changed).unwrap(), 2);
    assert_eq!(bench.store.items("renamed", None, 10).unwrap()[0].id, item("SKU-1"));
    assert_eq!(bench.store.items("WEIGHED", None, 10).unwrap(), [], "no longer offered to anybody");
    let after = bench.store.items("", Some(&item("SKU-7")), 10).unwrap();
    assert_eq!(after.len(), 2);
    // A booked item keeps its unit.
    assert!(bench.store.open_books(1, &erp(), &[]).unwrap());
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    changed.items[0].uom = Uom::Kilogram;
    assert!(matches!(bench.store.replace_catalogue(&erp(), &changed), Err(StoreError::Refused { .. })));
    assert_eq!(bench.store.catalogue_revision().unwrap(), 2);
    assert_eq!(bench.store.sites().unwrap().len(), 2);
}

pub(crate) fn a_large_catalogue_comes_in_parts(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let many = |n: usize| Item { id: item(&format!("ITEM-{n:05}")), ..snapshot().items[0].clone() };
    let large = Snapshot { items: (0..12_000).map(many).collect(), ..snapshot() };
    bench.store.replace_catalogue(&erp(), &large).unwrap();
    let parts = bench.store.catalogue_parts(&site("HAM")).unwrap();
    assert!(parts.len() > 1);
    for (at, part) in parts.iter().enumerate() {
        assert_eq!((part.part as usize, part.parts as usize, part.revision), (at, parts.len(), 3));
        let bytes = part.encode();
        assert!(bytes.len() <= CATALOGUE_BYTES_MAX, "{}", bytes.len());
        assert_eq!(stockwire_protocol::Catalogue::decode(&bytes).as_ref(), Ok(part));
    }
    let (items, locations) =
        parts.iter().fold((0, 0), |(i, l), part| (i + part.items.len(), l + part.locations.len()));
    assert_eq!((items, locations), (12_000, 3));
    assert_eq!(bench.store.catalogue_parts(&site("NONE")).unwrap(), []);
}

pub(crate) fn api_keys_are_made_used_and_revoked(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let hash = [7; 32];
    bench.store.create_api_key(1_000, "console", &hash).unwrap();
    assert!(matches!(
        bench.store.create_api_key(1_000, "console", &[8; 32]),
        Err(StoreError::Refused { .. })
    ));
    assert_eq!(bench.store.use_api_key(5_000, &[9; 32]).unwrap(), None);
    let used =
        |bench: &mut Bench, at| bench.store.use_api_key(at, &hash).unwrap().map(|key| key.last_used_at_ms);
    assert_eq!(used(&mut bench, 5_000), Some(Some(5_000)));
    assert_eq!(used(&mut bench, 6_000), Some(Some(5_000)), "to the minute");
    assert_eq!(used(&mut bench, 90_000), Some(Some(90_000)));
    assert!(bench.store.revoke_api_key(100_000, "console").unwrap());
    assert!(!bench.store.revoke_api_key(100_000, "console").unwrap());
    assert_eq!(used(&mut bench, 200_000), None);
    assert_eq!(bench.store.api_keys().unwrap()[0].revoked_at_ms, Some(100_000));
}

pub(crate) fn books_open_once(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let line = |steps| OpeningLine {
        site: site("HAM"),
        location: "A-01".parse().unwrap(),
        item: item("SKU-1"),
        quantity: Quantity::pieces(steps),
    };
    assert!(
        matches!(bench.store.open_books(1, &erp(), &[line(1)]), Err(StoreError::Refused { .. })),
        "no catalogue"
    );
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    let unknown = OpeningLine { item: item("NEW"), ..line(1) };
    assert!(matches!(
        bench.store.open_books(1, &erp(), &[line(1), unknown]),
        Err(StoreError::Refused { .. })
    ));
    assert_eq!(bench.stock(), "", "all or nothing");
    assert!(
        bench
            .store
            .open_books(1, &erp(), &[line(5), OpeningLine { item: item("SKU-2"), ..line(-2) }])
            .unwrap()
    );
    assert!(!bench.store.open_books(2, &erp(), &[line(5)]).unwrap());
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 5, HAM/A-01 SKU-2 -2");
    bench.prove();
}
