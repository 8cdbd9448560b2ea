//! The frozen bytes of wire version 1. If this fails, change the code, not the files under `wire/v1`: boxes in the
//! field hold journals in these bytes. A new message gets a new file; a new form gets a new wire version.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use std::path::Path;

use stockwire_protocol::cbor::{self, DecodeError, Message};
use stockwire_protocol::gs1::{Date, Gtin, Sscc};
use stockwire_protocol::*;

fn check<M: Message + PartialEq + std::fmt::Debug>(name: &str, message: M) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/v1/{name}.cbor"));
    let frozen = std::fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    assert_eq!(hex(&message.encode()), hex(&frozen), "{name}");
    assert_eq!(M::decode(&frozen).as_ref(), Ok(&message), "{name}");
    // Anything cut short or trailing is refused, wherever the cut is.
    for cut in 0..frozen.len() {
        assert!(M::decode(&frozen[..cut]).is_err(), "{name} cut to {cut} bytes was read");
    }
    let longer = [&frozen[..], &[0]].concat();
    assert!(M::decode(&longer).is_err(), "{name} with a trailing byte was read");
    let mut newer = frozen.clone();
    newer[1] = 2;
    assert_eq!(M::decode(&newer), Err(DecodeError::Version { name: M::NAME, got: 2 }), "{name}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn epoch() -> Epoch {
    Epoch::parse("00112233445566778899aabbccddeeff").unwrap()
}

fn agent() -> AgentId {
    AgentId::new("box-ham-01").unwrap()
}

fn at(code: &str) -> Place {
    Place::At(LocationId::new(code).unwrap())
}

/// 2026-11-23 10:00:00 UTC.
const T0: i64 = 1_795_428_000_000;

fn moved(seconds: i64, step: BizStep, quantity: Quantity, from: Place, to: Place) -> Event {
    Event {
        when: When::Synced { unix_ms: T0 + seconds * 1000 },
        body: Body::Movement(Movement {
            step,
            item: ItemId::new("SKU-0001").unwrap(),
            quantity,
            from,
            to,
            station: StationId::new("pack-1").unwrap(),
            details: Details::default(),
        }),
    }
}

fn received() -> Event {
    moved(0, BizStep::Receiving, Quantity::pieces(24), Place::Supplier, at("A-01"))
}

/// A movement with every detail.
fn detailed() -> Event {
    let kg = |text| Quantity::parse(text, Uom::Kilogram).unwrap();
    let mut event = moved(0, BizStep::Picking, kg("1.25"), at("A-01"), Place::Customer);
    event.when = When::Unsynced { unix_ms: 86_400_123, boot: 7, uptime_ms: 123_456 };
    if let Body::Movement(movement) = &mut event.body {
        movement.details = Details {
            gtin: Some(Gtin::parse("09506000134352").unwrap()),
            lot: Some(Lot::new("ABC123").unwrap()),
            serial: Some(SerialNumber::new("S-1").unwrap()),
            expires_on: Some(Date::new(2026, 7, 31).unwrap()),
            license_plate: Some(Sscc::parse("106141411234567897").unwrap()),
            weighing: Some(Weighing { gross: kg("1.5"), tare: kg("0.25"), net: kg("1.25") }),
            disposition: Some(Disposition::Damaged),
            reference: Some(Reference::new("SO-1001").unwrap()),
            operator: Some(OperatorId::new("anna").unwrap()),
            correlation: Some(CorrelationId::new("order-1001").unwrap()),
            corrects: Some(Correction {
                movement: MovementId { agent: agent(), epoch: epoch(), sequence: Sequence::new(41) },
                reason: CorrectionReason::IncorrectData,
            }),
            ..Details::default()
        };
    }
    event
}

fn counted() -> Event {
    Event {
        when: When::Synced { unix_ms: T0 + 60_000 },
        body: Body::Count(Count {
            item: ItemId::new("SKU-0001").unwrap(),
            counted: Quantity::pieces(0),
            location: LocationId::new("A-01").unwrap(),
            station: StationId::new("pack-1").unwrap(),
            details: Details::default(),
        }),
    }
}

#[test]
fn events_keep_their_bytes() {
    check("row-movement", received());
    check("row-detailed", detailed());
    check("row-count", counted());
    check("row-lost", Event { when: When::Synced { unix_ms: T0 }, body: Body::Lost { count: 3 } });
    let batch = |first, events| Batch { agent: agent(), epoch: epoch(), first: Sequence::new(first), events };
    check("batch-live", batch(1, vec![received()]));
    let places = [
        (BizStep::Storing, at("A-01"), at("A-02")),
        (BizStep::Destroying, at("A-02"), Place::Loss),
        (BizStep::Shipping, at("A-02"), Place::Transit),
    ];
    let mut events = vec![received(), detailed(), counted()];
    events.extend(places.map(|(step, from, to)| moved(90, step, Quantity::pieces(1), from, to)));
    check("batch-mixed", batch(1_000_000, events));
}

#[test]
fn control_messages_keep_their_bytes() {
    let ack = |refusal| Ack {
        epoch: epoch(),
        watermark: Sequence::new(42),
        digest: Digest::from_bits(0x995D_C9BB_DF19_39FA),
        refusal,
    };
    check("ack-plain", ack(None));
    check("ack-gap", ack(Some(Refusal::Gap)));
    check("ack-unknown", ack(Some(Refusal::Unknown)));
    let online = StateKind::Online {
        epoch: epoch(),
        head: Sequence::new(50),
        watermark: Sequence::new(42),
        boot: 7,
        uptime_ms: 123_456,
        unix_ms: T0,
        clock_synced: true,
        software: "0.1.0".into(),
    };
    check("state-online", State { agent: agent(), kind: online });
    check("state-stopped", State { agent: agent(), kind: StateKind::Stopped });
    check("state-lost", State { agent: agent(), kind: StateKind::Lost });
    check("command-ping", Command { id: 1, body: CommandBody::Ping });
    let resend = CommandBody::Resend { epoch: epoch(), after: Sequence::NONE };
    check("command-resend", Command { id: 2, body: resend });
    check("reply-done", Reply { id: 1, result: ReplyResult::Done });
    check("reply-refused", Reply { id: 2, result: ReplyResult::Refused("another epoch".into()) });
    let item = |id: &str, uom, gtins: &[&str], codes: &[&str]| CatalogueItem {
        id: ItemId::new(id).unwrap(),
        name: format!("Part {id}"),
        uom,
        gtins: gtins.iter().map(|text| Gtin::parse(text).unwrap()).collect(),
        codes: codes.iter().map(ToString::to_string).collect(),
        rules: ItemRules::default(),
    };
    let catalogue = Catalogue {
        revision: 12,
        part: 0,
        parts: 1,
        site: SiteId::new("HAM").unwrap(),
        items: vec![
            item("SKU-0001", Uom::Piece, &["4006381333931", "96385074"], &["OLD-17"]),
            item("SKU-0020", Uom::Kilogram, &[], &[]),
        ],
        locations: vec![LocationId::new("A-01").unwrap(), LocationId::new("A-02").unwrap()],
        since: None,
    };
    check("catalogue-site", catalogue.clone());
    let rules = ItemRules {
        lot: true,
        serial: false,
        expiry: true,
        piece_weight: Some(PieceWeight {
            expected: Quantity::parse("12.5", Uom::Gram).unwrap(),
            tolerance_steps: 250,
        }),
        recalled: vec![Lot::new("L-666").unwrap()],
        packs: vec![(Gtin::parse("14006381333938").unwrap(), 12)],
    };
    let changes = Catalogue {
        revision: 14,
        items: vec![CatalogueItem { rules, ..catalogue.items[0].clone() }],
        locations: vec![LocationId::new("B-01").unwrap()],
        since: Some(CatalogueSince {
            revision: 12,
            items: vec![ItemId::new("SKU-0020").unwrap()],
            locations: vec![LocationId::new("A-02").unwrap()],
        }),
        ..catalogue
    };
    check("changes-catalogue", changes);
}

#[test]
fn tasks_keep_their_bytes() {
    let place = |code| Some(LocationId::new(code).unwrap());
    let reference = |text| Reference::new(text).unwrap();
    let line = |item, count| TaskLine {
        item: ItemId::new(item).unwrap(),
        quantity: Quantity::pieces(count),
        from: None,
        to: None,
        lot: None,
        expires_on: None,
    };
    let task = |kind, id, lines| Task { kind, id: reference(id), order: None, location: None, lines };
    let announced = TaskLine {
        lot: Some(Lot::new("L-7").unwrap()),
        expires_on: Some(Date::new(2027, 1, 31).unwrap()),
        ..line("SKU-0001", 480)
    };
    let tasks = Tasks {
        revision: 90,
        part: 0,
        parts: 1,
        site: SiteId::new("HAM").unwrap(),
        as_of: Some(AsOf { epoch: epoch(), watermark: Sequence::new(42) }),
        tasks: vec![
            task(TaskKind::Pick, "SO-1001", vec![TaskLine { from: place("A-01"), ..line("SKU-0001", 3) }]),
            task(TaskKind::Receive, "PO-7", vec![line("SKU-0001", 24), line("SKU-0020", 1)]),
            Task {
                order: Some(reference("PO-8")),
                ..task(TaskKind::Announced, "106141411234567897", vec![announced])
            },
            Task { location: place("A-02"), ..task(TaskKind::Count, "COUNT-3", vec![]) },
            task(
                TaskKind::Replenish,
                "RP-5",
                vec![TaskLine { from: place("B-01"), to: place("A-01"), ..line("SKU-0001", 50) }],
            ),
        ],
        bins: Some(vec![Bin {
            location: LocationId::new("A-01").unwrap(),
            items: vec![(ItemId::new("SKU-0001").unwrap(), Quantity::pieces(-2))],
        }]),
        since: None,
    };
    check("tasks-site", tasks.clone());
    let since = TasksSince { revision: 90, gone: vec![(TaskKind::Pick, reference("SO-1001"))] };
    check(
        "tasks-changes",
        Tasks { revision: 91, as_of: None, tasks: vec![], bins: None, since: Some(since), ..tasks },
    );
}

fn handled(act: Act, content: Option<Content>, plate: Option<&str>) -> Event {
    let body = Body::Handling(Handling {
        act,
        content,
        location: (act == Act::Loaded).then(|| LocationId::new("DOCK-1").unwrap()),
        station: StationId::new("pack-1").unwrap(),
        details: Details {
            license_plate: plate.map(|plate| Sscc::parse(plate).unwrap()),
            reference: Some(Reference::new("SO-1001").unwrap()),
            ..Details::default()
        },
    });
    Event { when: When::Synced { unix_ms: T0 }, body }
}

fn unresolved(what: Purpose) -> Event {
    let body = Body::Unresolved(Unresolved {
        item: Code::Scanned(RawScan::new("]C1\u{1d}WHAT").unwrap()),
        quantity: Quantity::pieces(3),
        what,
        station: StationId::new("pack-1").unwrap(),
        details: Details::default(),
    });
    Event { when: When::Synced { unix_ms: T0 }, body }
}

#[test]
fn weights_say_who_vouches_for_them() {
    let mut weighed = moved(
        0,
        BizStep::Receiving,
        Quantity { steps: 1_250_000, uom: Uom::Kilogram },
        Place::Supplier,
        at("A-01"),
    );
    let bytes = weighed.encode().len();
    let sources = [StabilitySource::Reported, StabilitySource::Inferred, StabilitySource::Confirmed];
    for (more, stability_source) in [0, 2, 2].into_iter().zip(sources) {
        if let Body::Movement(movement) = &mut weighed.body {
            movement.details = Details { stability_source, ..Details::default() };
        }
        let encoded = weighed.encode();
        assert_eq!((encoded.len(), Event::decode(&encoded).as_ref()), (bytes + more, Ok(&weighed)));
    }
    if let Body::Movement(movement) = &mut weighed.body {
        movement.details.unit_source = UnitSource::Configured;
    }
    check("row-weighed", weighed.clone());
    // What is not written has no number, and there are no others.
    let good = weighed.encode();
    let at = good.windows(4).position(|bytes| bytes == [0x0e, 2, 0x0f, 1]).unwrap();
    for (place, number) in [(at + 1, 0), (at + 1, 3), (at + 3, 0), (at + 3, 2)] {
        let mut bad = good.clone();
        bad[place] = number;
        assert!(Event::decode(&bad).is_err(), "{number} at {place}");
    }
}

#[test]
fn facts_about_plates_exceptions_and_unknown_codes_keep_their_bytes() {
    let mut settled = received();
    if let Body::Movement(movement) = &mut settled.body {
        movement.details.exceptions = vec![Exception::Expired, Exception::WrongLocation];
        movement.details.reason = Some(Reason::new("DAMAGED").unwrap());
    }
    check("row-exceptions", settled);
    let goods = Content::Goods { item: ItemId::new("SKU-0001").unwrap(), quantity: Quantity::pieces(2) };
    let plate = Some("106141411234567897");
    check("row-packed", handled(Act::Packed, Some(goods.clone()), plate));
    let inner = Content::Plate(Sscc::parse("340123450000000000").unwrap());
    check("row-stacked", handled(Act::Packed, Some(inner), plate));
    check("row-loaded", handled(Act::Loaded, None, plate));
    check("row-short", handled(Act::Short, Some(goods), None));
    let raw = RawScan::new("SW:LOC:Z-99").unwrap();
    let moved = Purpose::Move {
        step: BizStep::Receiving,
        from: Code::Known(Place::Supplier),
        to: Code::Scanned(raw),
    };
    check("row-unresolved", unresolved(moved));
    let location = Code::Known(LocationId::new("A-01").unwrap());
    check("row-unresolved-count", unresolved(Purpose::Count { location }));
}

#[test]
fn facts_that_lack_something_are_refused() {
    #[track_caller]
    fn refused(event: &Event, reason: &str) {
        let fault = Event::decode(&event.encode()).unwrap_err().to_string();
        assert!(fault.contains(reason), "{fault:?} does not say {reason:?}");
    }
    refused(&handled(Act::Packed, None, Some("106141411234567897")), "lacks its plate or its content");
    refused(&handled(Act::Closed, None, None), "lacks its plate or its content");
    let own = Content::Plate(Sscc::parse("106141411234567897").unwrap());
    refused(&handled(Act::Packed, Some(own), Some("106141411234567897")), "or has one too many");
    let mut known = unresolved(Purpose::Count { location: Code::Known(LocationId::new("A-01").unwrap()) });
    if let Body::Unresolved(unresolved) = &mut known.body {
        unresolved.item = Code::Known(ItemId::new("SKU-0001").unwrap());
    }
    refused(&known, "every code is known");
    let mut twice = received();
    if let Body::Movement(movement) = &mut twice.body {
        movement.details.exceptions = vec![Exception::Recalled, Exception::Expired];
    }
    refused(&twice, "rising order");
}

#[test]
fn an_unknown_code_that_is_known_later_becomes_what_would_have_been_recorded() {
    let event = unresolved(Purpose::Move {
        step: BizStep::Receiving,
        from: Code::Known(Place::Supplier),
        to: Code::Scanned(RawScan::new("SW:LOC:A-01").unwrap()),
    });
    let Body::Unresolved(unresolved) = event.body else { panic!() };
    let item = |raw: &RawScan| (raw.as_str() == "]C1\u{1d}WHAT").then(|| ItemId::new("SKU-0001").unwrap());
    let location = |_: &RawScan| LocationId::new("A-01").ok();
    assert_eq!(unresolved.resolve(item, |_| None), None);
    assert_eq!(unresolved.resolve(|_| None, location), None);
    let Some(Body::Movement(movement)) = unresolved.resolve(item, location) else { panic!() };
    assert_eq!((movement.item.as_str(), movement.to), ("SKU-0001", at("A-01")));
}

#[test]
fn the_greatest_event_fits_its_limit() {
    let wide = |count: usize| "😀".repeat(count);
    let mut event = detailed();
    if let Body::Movement(movement) = &mut event.body {
        movement.item = ItemId::new("i".repeat(ItemId::LENGTH_MAX)).unwrap();
        movement.quantity.steps = i64::MAX;
        movement.from = at(&"f".repeat(LocationId::LENGTH_MAX));
        movement.to = at(&"t".repeat(LocationId::LENGTH_MAX));
        movement.station = StationId::new("s".repeat(StationId::LENGTH_MAX)).unwrap();
        let details = &mut movement.details;
        details.lot = Some(Lot::new(wide(Lot::LENGTH_MAX)).unwrap());
        details.serial =
            Some(SerialNumber::new("x".to_string() + &wide(SerialNumber::LENGTH_MAX - 1)).unwrap());
        details.reference = Some(Reference::new(wide(Reference::LENGTH_MAX)).unwrap());
        details.operator = Some(OperatorId::new(wide(OperatorId::LENGTH_MAX)).unwrap());
        details.correlation = Some(CorrelationId::new(wide(CorrelationId::LENGTH_MAX)).unwrap());
        details.reason = Some(Reason::new(wide(Reason::LENGTH_MAX)).unwrap());
        details.stability_source = StabilitySource::Confirmed;
        details.unit_source = UnitSource::Configured;
        details.exceptions = vec![
            Exception::Expired,
            Exception::Recalled,
            Exception::OverReceived,
            Exception::WrongLocation,
            Exception::WeightOutOfTolerance,
            Exception::EmptyBin,
            Exception::NotOnTask,
            Exception::WeightConfirmed,
        ];
    }
    let bytes = event.encode();
    assert!(bytes.len() <= cbor::EVENT_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(Event::decode(&bytes).as_ref(), Ok(&event));

    let Body::Movement(movement) = event.body else { panic!() };
    let raw = |first: &str| RawScan::new(first.repeat(RawScan::BYTES_MAX)).unwrap();
    let unresolved = Unresolved {
        item: Code::Scanned(raw("i")),
        quantity: movement.quantity,
        what: Purpose::Move {
            step: movement.step,
            from: Code::Scanned(raw("f")),
            to: Code::Scanned(raw("t")),
        },
        station: movement.station,
        details: movement.details,
    };
    let event = Event { when: event.when, body: Body::Unresolved(unresolved) };
    let bytes = event.encode();
    assert!(bytes.len() <= cbor::EVENT_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(Event::decode(&bytes), Ok(event));
}

#[test]
fn hostile_bytes_are_refused_with_the_reason() {
    #[track_caller]
    fn refused(bytes: &[u8], reason: &str) {
        let fault = Batch::decode(bytes).unwrap_err().to_string();
        assert!(fault.contains(reason), "{fault:?} does not say {reason:?}");
    }
    refused(&[], "batch: ");
    refused(&vec![0; cbor::BATCH_BYTES_MAX + 1], "at most 65536 are allowed");
    // Nesting far beyond the reader's depth, and lengths that announce more than memory holds.
    refused(&[0x81; 60_000], "batch: ");
    refused(&[0x87, 0x01, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "batch: ");
    refused(&[0x87, 0x01, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "batch: ");

    let batch = Batch { agent: agent(), epoch: epoch(), first: Sequence::new(1), events: vec![received()] };
    let good = batch.encode();
    // A longer form of the same integer: sequence 1 as two bytes.
    let first = 1 + 1 + 11 + 17;
    assert_eq!(good[first], 1);
    let longer = [&good[..first], &[0x18, 0x01], &good[first + 1..]].concat();
    refused(&longer, "not the deterministic encoding");
    let mut none = good.clone();
    none[first] = 0;
    refused(&none, "from sequence 0");
    refused(&Batch { events: vec![], ..batch.clone() }.encode(), "0 events");
    refused(
        &Batch { first: Sequence::new(u64::MAX), events: vec![received(); 2], ..batch.clone() }.encode(),
        "past its end",
    );
    let mut from_is_to = batch;
    from_is_to.events[0] = moved(0, BizStep::Storing, Quantity::pieces(1), at("A-01"), at("A-01"));
    refused(&from_is_to.encode(), "two different places");
}

#[test]
fn a_drained_batch_costs_few_bytes_per_movement() {
    // 64 movements of 20 items between 4 bins, a few seconds apart: what a backlog looks like.
    let event = |n: i64| {
        let mut event =
            moved(n * 3, BizStep::Receiving, Quantity::pieces(1 + n % 9), Place::Supplier, at("A-01"));
        if let Body::Movement(movement) = &mut event.body {
            movement.item = ItemId::new(format!("SKU-{:04}", n % 20)).unwrap();
            movement.to = at(&format!("A-0{}", n % 4));
        }
        event
    };
    let batch = Batch {
        agent: agent(),
        epoch: epoch(),
        first: Sequence::new(1_000),
        events: (0..64).map(event).collect(),
    };
    let bytes = batch.encode().len();
    assert!(bytes / 64 <= 32, "{bytes} bytes for 64 movements");
    let live = Batch { events: vec![received()], ..batch }.encode().len();
    assert!(live <= 80, "{live} bytes for one movement by itself");
}
