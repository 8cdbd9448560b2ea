//! Cases about what agents publish.

use stockwire_protocol::cbor::Message;
use stockwire_protocol::topic::{Subject, topic};
use stockwire_protocol::{
    Body, Details, Digest, Event, Lot, MovementId, Quantity, Sequence, State, StateKind, Uom,
};

use super::{
    Bench, Make, acks, agent, batch, counted, counted_lot, epoch, erp, event, item, moved, movement, site,
    snapshot, topic_of,
};
use crate::catalogue::Location;
use crate::dead_letter::{DeadLetterId, REFUSED_LETTERS_MAX};
use crate::ingest::{Alarm, Known, Need, Replay, StreamKey, StreamSpan};
use crate::ledger::LedgerId;
use crate::store::{DeadLetterQuery, DeviceStatus, StoreError};

pub(crate) fn new_events_are_booked_and_acknowledged(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let outcome =
        bench.send(1, &[moved("SKU-1", 10, "supplier", "A-01"), moved("SKU-1", 3, "A-01", "customer")]);
    assert_eq!(acks(&outcome), ["box-1 2"]);
    assert_eq!(outcome.counts.events_new, 2);
    assert!(outcome.affected.postings && outcome.affected.offers);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 7");
    assert_eq!(acks(&bench.send(3, &[moved("SKU-1", 2, "A-01", "A-02")])), ["box-1 3"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 5, HAM/A-02 SKU-1 2");
    bench.prove();
}

pub(crate) fn a_duplicate_changes_nothing(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let events = [moved("SKU-1", 10, "supplier", "A-01"), counted("SKU-1", 12, "A-01")];
    bench.send(1, &events);
    let before = bench.store.verify_books().unwrap();
    let outcome = bench.send(1, &events);
    assert_eq!((outcome.counts.events_new, outcome.counts.events_duplicate), (0, 2));
    assert_eq!(acks(&outcome), ["box-1 2"]);
    assert!(!outcome.affected.postings && !outcome.affected.offers);
    // Twice in one group, and a part of it alone.
    let outcome = bench.send_all(&[batch("box-1", 1, 1, &events), batch("box-1", 1, 2, &events[1..])]);
    assert_eq!((outcome.counts.events_new, outcome.counts.events_duplicate), (0, 3));
    assert_eq!(bench.store.verify_books().unwrap(), before);
    assert_eq!(bench.letters(), Vec::<String>::new());
}

pub(crate) fn an_overlap_adds_its_tail(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let events: Vec<Event> = (1..=6).map(|n| moved("SKU-1", n, "supplier", "A-01")).collect();
    bench.send(1, &events[..3]);
    let outcome = bench.send(2, &events[1..]);
    assert_eq!((outcome.counts.events_new, outcome.counts.events_duplicate), (3, 2));
    assert_eq!(acks(&outcome), ["box-1 6"]);
    // Both within one group, where the first part is not written yet.
    let more: Vec<Event> = (1..=4).map(|n| moved("SKU-2", n, "supplier", "A-01")).collect();
    let outcome = bench.send_all(&[batch("box-1", 1, 7, &more[..2]), batch("box-1", 1, 7, &more)]);
    assert_eq!((outcome.counts.events_new, outcome.counts.events_duplicate), (4, 2));
    assert_eq!(acks(&outcome), ["box-1 10"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 21, HAM/A-01 SKU-2 10");
    bench.prove();
}

pub(crate) fn a_gap_is_refused_and_nothing_of_it_applied(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let outcome = bench.send(3, &[moved("SKU-1", 4, "supplier", "A-01")]);
    assert_eq!(acks(&outcome), ["box-1 1 Gap"]);
    assert_eq!((outcome.counts.gaps, outcome.counts.events_new), (1, 0));
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 1");
    // A journal whose beginning never came.
    let outcome = bench.send_all(&[batch("box-2", 7, 2, &[moved("SKU-1", 4, "supplier", "A-01")])]);
    assert_eq!(acks(&outcome), ["box-2 0 Gap"]);
    let outcome = bench.send_all(&[batch("box-2", 7, u64::MAX, &[moved("SKU-1", 4, "supplier", "A-01")])]);
    assert_eq!(acks(&outcome), ["box-2 0 Gap"]);
    bench.prove();
}

pub(crate) fn overtaking_within_a_group_is_no_gap(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let event = |n| moved("SKU-1", n, "supplier", "A-01");
    let outcome = bench.send_all(&[
        batch("box-1", 1, 2, &[event(2)]),
        batch("box-2", 1, 1, &[event(30)]),
        batch("box-1", 1, 3, &[event(3)]),
        batch("box-1", 1, 1, &[event(1)]),
    ]);
    assert_eq!(acks(&outcome), ["box-1 3", "box-2 1"]);
    assert_eq!(outcome.counts.gaps, 0);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 36");
    bench.prove();
}

pub(crate) fn other_bytes_are_quarantined_and_freeze_the_stream(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01"), moved("SKU-1", 2, "supplier", "A-01")]);
    // A restored journal: its second event is another one, and it goes on behind it.
    let other = [moved("SKU-1", 2, "supplier", "A-02"), moved("SKU-1", 3, "supplier", "A-01")];
    let outcome = bench.send(2, &other);
    assert_eq!(acks(&outcome), ["box-1 2 Conflict"]);
    let id = MovementId { agent: agent("box-1"), epoch: epoch(1), sequence: Sequence::new(2) };
    assert_eq!(outcome.alarms, [Alarm::Conflict { movement: id.clone() }]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 3");
    let letter = &bench.store.dead_letters(&DeadLetterQuery::default()).unwrap().rows[0];
    assert_eq!((letter.bytes.clone(), letter.movement.clone()), (other[0].encode(), Some(id)));
    // What follows the watermark exactly is of unknown life too, and is not merged either.
    assert_eq!(acks(&bench.send(3, &other[1..])), ["box-1 2 Conflict"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 3");
    assert!(bench.store.devices().unwrap()[0].frozen);
    // A new journal of the same box is another stream.
    assert_eq!(acks(&bench.send_all(&[batch("box-1", 2, 1, &other[1..])])), ["box-1 1"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 6");
    assert_eq!(
        bench.ingest.replay(bench.store.as_mut(), 9, letter.id, "anna").unwrap(),
        Replay::StillRefused {
            reason: "an identity is never given to a second fact: look at the box, then discard".into()
        }
    );
    bench.prove();
}

pub(crate) fn discarding_the_conflict_lets_the_stream_go_on(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    bench.send(1, &[moved("SKU-1", 9, "supplier", "A-01")]);
    let next = [moved("SKU-1", 2, "supplier", "A-01")];
    assert_eq!(acks(&bench.send(2, &next)), ["box-1 1 Conflict"]);
    let id = bench.store.dead_letters(&DeadLetterQuery::default()).unwrap().rows[0].id;
    assert!(bench.store.discard_dead_letter(5, id, "anna", "the box was cloned; the clone is off").unwrap());
    assert_eq!(acks(&bench.send(2, &next)), ["box-1 2"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 3");
}

pub(crate) fn a_conflict_within_one_group_is_seen(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let outcome = bench.send_all(&[
        batch("box-1", 1, 1, &[moved("SKU-1", 1, "supplier", "A-01")]),
        batch("box-1", 1, 1, &[moved("SKU-1", 2, "supplier", "A-01")]),
    ]);
    assert_eq!(acks(&outcome), ["box-1 1 Conflict"]);
    assert_eq!(outcome.counts.conflicts, 1);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 1");
    assert!(bench.store.devices().unwrap()[0].frozen);
}

pub(crate) fn a_foreign_payload_is_refused(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let foreign = batch("box-2", 1, 1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let topic = topic(&site("HAM"), &agent("box-1"), Subject::Events);
    let outcome = bench.publish(&[(topic, foreign.encode())]);
    assert_eq!(acks(&outcome), Vec::<String>::new(), "nothing is known of box-1 that could be acknowledged");
    assert_eq!(bench.letters(), ["identity open x1: the payload is box-2's, the topic is another's"]);
    assert_eq!(bench.stock(), "");
}

pub(crate) fn garbage_is_kept_once_and_answered(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let first = batch("box-1", 1, 1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    bench.send_all(std::slice::from_ref(&first));
    let garbage = (topic_of("HAM", &first), vec![0xff; 40]);
    let outcome = bench.publish(&[garbage.clone(), garbage.clone()]);
    assert_eq!(acks(&outcome), ["box-1 1 Malformed"]);
    assert_eq!(outcome.counts.malformed, 2);
    let letters = bench.letters();
    assert!(letters.len() == 1 && letters[0].starts_with("malformed open x2: batch: "), "{letters:?}");
    // In one group with good news, the ack tells both.
    let next = batch("box-1", 1, 2, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let outcome = bench.publish(&[garbage, (topic_of("HAM", &next), next.encode())]);
    assert_eq!(acks(&outcome), ["box-1 2 Malformed"]);
}

pub(crate) fn an_unknown_version_waits_for_its_build(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let batch = batch("box-1", 1, 1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let mut bytes = batch.encode();
    bytes[1] = 9;
    let state = State { agent: agent("box-1"), kind: online(1, 1) };
    let topics =
        [Subject::State, Subject::Events].map(|subject| topic(&site("HAM"), &agent("box-1"), subject));
    bench.publish(&[(topics[0].clone(), state.encode())]);
    let outcome = bench.publish(&[(topics[1].clone(), bytes)]);
    assert_eq!(acks(&outcome), ["box-1 0 Version"]);
    assert_eq!(bench.letters(), ["version open x1: batch: wire version 9, this build reads 1 to 1"]);
    let replayed = bench.ingest.replay(bench.store.as_mut(), 9, DeadLetterId(1), "anna").unwrap();
    assert!(matches!(replayed, Replay::StillRefused { .. }), "{replayed:?}");
}

pub(crate) fn garbage_never_fills_the_store(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let topic = topic(&site("HAM"), &agent("box-1"), Subject::Events);
    let garbage: Vec<_> = (0..REFUSED_LETTERS_MAX as u32 + 500).map(|n| n.to_be_bytes().to_vec()).collect();
    for chunk in garbage.chunks(1_000) {
        let publishes: Vec<_> = chunk.iter().map(|bytes| (topic.clone(), bytes.clone())).collect();
        bench.publish(&publishes);
    }
    let gauges = bench.store.gauges().unwrap();
    let kept: u64 = gauges.dead_letters.iter().map(|(_, count)| count).sum();
    assert_eq!(kept, REFUSED_LETTERS_MAX as u64);
}

pub(crate) fn what_the_catalogue_lacks_is_held_and_replayed_once(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let events = [
        moved("NEW", 5, "supplier", "A-01"),
        moved("SKU-1", 5, "supplier", "B-99"),
        movement("SKU-1", Quantity { steps: 5, uom: Uom::Litre }, "supplier", "A-01", Details::default()),
        moved("SKU-1", 1, "supplier", "A-01"),
    ];
    let outcome = bench.send(1, &events);
    assert_eq!(acks(&outcome), ["box-1 4"], "it is durable here, so the journal may forget it");
    assert_eq!((outcome.counts.unappliable, outcome.counts.events_new), (3, 4));
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 1");
    assert_eq!(
        bench.letters(),
        [
            "unappliable open x1: item NEW is not in the catalogue",
            "unappliable open x1: site HAM has no location B-99",
            "unappliable open x1: item SKU-1 is booked in H87, the event says LTR",
        ]
    );
    assert_eq!(bench.send(1, &events).counts.events_duplicate, 4);
    let refused = bench.ingest.replay(bench.store.as_mut(), 9, DeadLetterId(1), "anna").unwrap();
    assert_eq!(refused, Replay::StillRefused { reason: "item NEW is not in the catalogue".into() });

    let mut repaired = snapshot();
    let mut new = repaired.items[0].clone();
    new.id = item("NEW");
    repaired.items.push(new);
    repaired.locations.push(Location { location: "B-99".parse().unwrap(), ..repaired.locations[0].clone() });
    bench.store.replace_catalogue(&erp(), &repaired).unwrap();
    for (letter, expected) in [(1, Replay::Applied), (2, Replay::Applied), (1, Replay::AlreadyClosed)] {
        let replayed = bench.ingest.replay(bench.store.as_mut(), 10, DeadLetterId(letter), "anna").unwrap();
        assert_eq!(replayed, expected, "letter {letter}");
    }
    assert_eq!(bench.stock(), "HAM/A-01 NEW 5, HAM/A-01 SKU-1 1, HAM/B-99 SKU-1 5");
    assert_eq!(bench.send(1, &events).counts.events_duplicate, 4, "replaying does not make it new");
    assert!(bench.letters()[0].starts_with("unappliable replayed"));
    bench.prove();
}

pub(crate) fn nothing_is_taken_before_the_books_are_open(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let events = [moved("SKU-1", 1, "supplier", "A-01")];
    let outcome = bench.send(1, &events);
    assert_eq!((acks(&outcome).len(), outcome.counts.deferred), (0, 1));
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    let outcome = bench.send(1, &events);
    assert_eq!((acks(&outcome).len(), outcome.counts.deferred), (0, 1));
    assert!(bench.store.open_books(1, &erp(), &[]).unwrap());
    assert_eq!(acks(&bench.send(1, &events)), ["box-1 1"]);
    assert_eq!(bench.letters(), Vec::<String>::new());
}

pub(crate) fn a_journal_does_not_change_its_site(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let next = batch("box-1", 1, 2, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let outcome = bench.publish(&[(topic_of("MUC", &next), next.encode())]);
    assert_eq!(acks(&outcome), ["box-1 1 Malformed"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 1");
    assert!(bench.letters()[0].starts_with("identity open x1: journal "));
}

pub(crate) fn an_unknown_site_is_refused_and_its_journal_keeps_everything(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let first = batch("box-1", 1, 1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    // A slip in the box's configuration. Taken, the journal would belong to a site that never was.
    for _ in 0..2 {
        let outcome = bench.publish(&[(topic_of("HMA", &first), first.encode())]);
        assert_eq!(acks(&outcome), ["box-1 0 Unknown"]);
        assert_eq!((outcome.counts.events_new, outcome.counts.unappliable), (0, 0));
    }
    let letters = bench.letters();
    assert!(
        letters.len() == 1 && letters[0].starts_with("identity open x2: site HMA is not in"),
        "{letters:?}"
    );
    // Put right, everything comes.
    assert_eq!(acks(&bench.send_all(&[first])), ["box-1 1"]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 1");
    // A site that is closed later keeps what its journals say, as before.
    let mut closed = snapshot();
    closed.sites.retain(|known| known.site != site("HAM"));
    closed.locations.retain(|known| known.site != site("HAM"));
    bench.store.replace_catalogue(&erp(), &closed).unwrap();
    let outcome = bench.send(2, &[moved("SKU-1", 1, "supplier", "A-01")]);
    assert_eq!((acks(&outcome), outcome.counts.unappliable), (vec!["box-1 2".to_string()], 1));
}

pub(crate) fn a_count_books_the_difference(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send(
        1,
        &[moved("SKU-1", 10, "supplier", "A-01"), counted("SKU-1", 7, "A-01"), counted("SKU-2", 4, "A-01")],
    );
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 7, HAM/A-01 SKU-2 4");
    let outcome = bench.send(4, &[counted("SKU-1", 7, "A-01")]);
    assert!(!outcome.affected.postings && !outcome.affected.offers, "books and shelf agree: nothing moved");
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 7, HAM/A-01 SKU-2 4");
    bench.send(5, &[counted("SKU-1", 0, "A-01")]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-2 4");
    let rows = bench.store.movements(&Default::default()).unwrap().rows;
    let told: Vec<_> = rows
        .iter()
        .map(|m| {
            format!(
                "{} {} {}",
                m.row.quantity.decimal(),
                crate::trace::place(&m.row.from),
                crate::trace::place(&m.row.to)
            )
        })
        .collect();
    assert_eq!(told, ["7 A-01 loss", "0 loss A-01", "4 loss A-01", "3 A-01 loss", "10 supplier A-01"]);
    bench.prove();
}

pub(crate) fn a_count_without_lot_counts_all_lots(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let lot = |name: &str| Details { lot: Some(Lot::new(name).unwrap()), ..Details::default() };
    bench.send(
        1,
        &[
            movement("SKU-1", Quantity::pieces(10), "supplier", "A-01", lot("L1")),
            movement("SKU-1", Quantity::pieces(5), "supplier", "A-01", lot("L2")),
            // Picked by the plain barcode: nobody knows of which lot.
            moved("SKU-1", 3, "A-01", "customer"),
            counted("SKU-1", 11, "A-01"),
        ],
    );
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 -4, HAM/A-01 SKU-1/L1 10, HAM/A-01 SKU-1/L2 5");
    bench.send(5, &[counted_lot("SKU-1", 6, "A-01", Some("L1"))]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 -4, HAM/A-01 SKU-1/L1 6, HAM/A-01 SKU-1/L2 5");
    bench.prove();
}

pub(crate) fn counts_of_one_group_see_each_other(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send_all(&[
        batch(
            "box-1",
            1,
            1,
            &[counted("SKU-1", 10, "A-01"), moved("SKU-1", 4, "A-01", "A-02"), counted("SKU-1", 6, "A-01")],
        ),
        batch("box-2", 1, 1, &[counted("SKU-1", 5, "A-01"), counted("SKU-1", 4, "A-02")]),
    ]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 5, HAM/A-02 SKU-1 4");
    bench.prove();
}

pub(crate) fn grams_are_booked_as_kilograms(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let grams = Quantity::parse("1250.5", Uom::Gram).unwrap();
    let kilograms = Quantity::parse("0.25", Uom::Kilogram).unwrap();
    bench.send(
        1,
        &[
            movement("WEIGHED", grams, "supplier", "A-01", Details::default()),
            movement("WEIGHED", kilograms, "A-01", "customer", Details::default()),
        ],
    );
    assert_eq!(bench.stock(), "HAM/A-01 WEIGHED 1.0005");
    bench.prove();
}

pub(crate) fn absurd_quantities_are_set_aside(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let absurd = moved("SKU-1", i64::MAX, "supplier", "A-01");
    let outcome = bench.send(1, &[absurd.clone(), absurd, counted("SKU-1", i64::MAX, "A-01")]);
    assert_eq!((acks(&outcome), outcome.counts.unappliable), (vec!["box-1 3".to_string()], 3));
    assert_eq!(bench.stock(), "");
    bench.prove();
}

pub(crate) fn lost_facts_are_told(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let lost = |count| event(1_000, Body::Lost { count });
    let outcome = bench.send(1, &[lost(3), moved("SKU-1", 1, "supplier", "A-01"), lost(u64::MAX)]);
    assert_eq!(acks(&outcome), ["box-1 3"]);
    assert_eq!(outcome.alarms.len(), 2);
    assert_eq!(acks(&bench.send(4, &[lost(u64::MAX)])), ["box-1 4"]);
    assert!(bench.store.devices().unwrap()[0].lost >= 3);
    bench.prove();
}

pub(crate) fn below_zero_is_flagged_once(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let negative = |outcome: &crate::ingest::Outcome| outcome.alarms.len();
    let outcome = bench.send(1, &[moved("SKU-1", 2, "A-01", "customer")]);
    let Some(Alarm::Negative(found)) = outcome.alarms.first() else { panic!("{outcome:?}") };
    assert_eq!((found.location.as_str(), found.quantity.decimal().as_str()), ("A-01", "-2"));
    assert_eq!(negative(&bench.send(2, &[moved("SKU-1", 1, "A-01", "customer")])), 0, "it was below before");
    assert_eq!(negative(&bench.send(3, &[moved("SKU-1", 9, "supplier", "A-01")])), 0);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 6");
    assert_eq!(negative(&bench.send(4, &[moved("SKU-1", 7, "A-01", "customer")])), 1);
    assert_eq!(bench.store.gauges().unwrap().negative_balances, 1);
}

fn online(epoch_byte: u8, head: u64) -> StateKind {
    StateKind::Online {
        epoch: epoch(epoch_byte),
        head: Sequence::new(head),
        watermark: Sequence::NONE,
        boot: 3,
        uptime_ms: 5_000,
        unix_ms: 60_000,
        clock_synced: false,
        software: "0.1.0".into(),
    }
}

pub(crate) fn states_make_devices(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let topic = topic(&site("HAM"), &agent("box-1"), Subject::State);
    let state = |kind| (topic.clone(), State { agent: agent("box-1"), kind }.encode());
    let outcome = bench.publish(&[state(online(1, 40))]);
    assert_eq!(outcome.births, [(site("HAM"), agent("box-1"))]);
    bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let device = bench.store.devices().unwrap().remove(0);
    assert_eq!(
        (device.status, device.backlog(), device.last_seen_ms),
        (DeviceStatus::Online, 39, bench.now_ms)
    );
    assert_eq!(device.clock.map(|clock| (clock.unix_ms, clock.synced, clock.boot)), Some((60_000, false, 3)));
    bench.publish(&[state(StateKind::Lost)]);
    let device = bench.store.devices().unwrap().remove(0);
    assert_eq!(
        (device.status, device.epoch, device.software.as_deref()),
        (DeviceStatus::Lost, Some(epoch(1)), Some("0.1.0"))
    );
    // A new journal starts from its own head.
    bench.publish(&[state(online(2, 0))]);
    let device = bench.store.devices().unwrap().remove(0);
    assert_eq!((device.backlog(), device.watermark), (0, Sequence::NONE));
    // Clocks at the end of time are data, too.
    let StateKind::Online { software, .. } = online(2, 0) else { unreachable!() };
    let end = StateKind::Online {
        epoch: epoch(2),
        head: Sequence::new(u64::MAX),
        watermark: Sequence::new(u64::MAX),
        boot: u32::MAX,
        uptime_ms: u64::MAX,
        unix_ms: i64::MIN,
        clock_synced: true,
        software,
    };
    bench.publish(&[state(end)]);
    assert_eq!(bench.store.devices().unwrap().len(), 1);
}

pub(crate) fn the_last_transaction_is_all_or_nothing(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let before = (bench.store.verify_books().unwrap(), bench.store.changes_head().unwrap());
    // A decision that does what must never be: the same identity once more. The unique key refuses it, and with it
    // everything else of the transaction.
    let span = StreamSpan {
        key: StreamKey { agent: agent("box-1"), epoch: epoch(1) },
        first: Sequence::new(1),
        last: Sequence::new(1),
    };
    let need = Need { streams: vec![span.clone()], ..Need::default() };
    let refused = bench.store.ingest(&need, &mut |known: &Known| {
        assert_eq!((known.ledger_head, known.streams[0].watermark), (LedgerId(1), Sequence::new(1)));
        let stream = crate::ingest::StreamWrite {
            key: span.key.clone(),
            site: site("HAM"),
            watermark: Sequence::new(1),
            digest: Digest::START,
        };
        let event = crate::ingest::EventWrite {
            stream: 0,
            sequence: Sequence::new(1),
            bytes: vec![1],
            ledger: None,
            resolved: None,
        };
        let letter = crate::dead_letter::NewDeadLetter {
            class: crate::dead_letter::DeadLetterClass::Malformed,
            reason: "must not stay".into(),
            source: "test".into(),
            bytes: vec![1],
            agent: None,
            movement: None,
        };
        Some(crate::ingest::Writes {
            streams: vec![stream],
            events: vec![event],
            dead_letters: vec![letter],
            ..crate::ingest::Writes::default()
        })
    });
    assert!(matches!(refused, Err(StoreError::Database { .. })), "{refused:?}");
    assert_eq!((bench.store.verify_books().unwrap(), bench.store.changes_head().unwrap()), before);
    assert_eq!(bench.letters(), Vec::<String>::new());
    // And the store works on.
    assert_eq!(acks(&bench.send(2, &[moved("SKU-1", 1, "supplier", "A-01")])), ["box-1 2"]);
}
