//! What every [`Journal`] must do, as one suite: the one in memory and the one on disk run the same lines.
//!
//! It is a public module rather than a test of this crate because journals live in other places too (the edges, the
//! system tests). Nothing in the agent itself calls it, so the linker leaves it out of the program.

// A suite of assertions: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{
    BizStep, Body, Details, Digest, Event, ItemId, LocationId, Movement, Place, Quantity, Reference,
    Sequence, StationId, When,
};

use super::{Journal, JournalError, ReadLimit, digest_at, digest_of};

const ALL: ReadLimit = ReadLimit { events: usize::MAX, bytes: usize::MAX };

/// A movement that differs for every `number`.
pub fn event(number: u64) -> Event {
    let movement = Movement {
        step: BizStep::Receiving,
        item: ItemId::new(format!("ITEM-{}", number % 7)).unwrap(),
        quantity: Quantity::pieces(number as i64 + 1),
        from: Place::Supplier,
        to: Place::At(LocationId::new("A-01").unwrap()),
        station: StationId::new("bench-1").unwrap(),
        details: Details {
            reference: Some(Reference::new(format!("PO-{number}")).unwrap()),
            ..Details::default()
        },
    };
    Event {
        when: When::Synced { unix_ms: 1_790_000_000_000 + number as i64 },
        body: Body::Movement(movement),
    }
}

/// Events number `from` up to before `to`.
pub fn events(from: u64, to: u64) -> Vec<Event> {
    (from..to).map(event).collect()
}

/// The gateway's word as a test says it: up to here it holds what is here.
///
/// # Errors
/// As [`Journal::handle_ack`].
pub fn acknowledge(journal: &mut dyn Journal, watermark: Sequence) -> Result<(), JournalError> {
    let known = journal.watermark()..=journal.head();
    let digest = if known.contains(&watermark) { digest_at(journal, watermark)? } else { Digest::START };
    journal.handle_ack(watermark, digest)
}

/// The suite. Each call of `make` gives a fresh and empty journal with room for at least 1 MiB.
pub fn check(mut make: impl FnMut() -> Box<dyn Journal>) {
    starts_empty(&mut *make(), &mut *make());
    gives_sequences_without_holes(&mut *make());
    reads_back_what_was_written(&mut *make());
    reads_within_both_limits(&mut *make());
    watermark_never_moves_back_nor_above_the_head(&mut *make());
    forgets_nothing_above_the_watermark(&mut *make());
}

/// What must survive a restart. Each call of `open` opens the same store again; at the first it is empty, and the box
/// given before has been dropped.
pub fn check_reopen(mut open: impl FnMut() -> Box<dyn Journal>) {
    let mut journal = open();
    let (epoch, boot) = (journal.epoch(), journal.boot());
    journal.append(&events(0, 5)).unwrap();
    journal.append(&events(5, 8)).unwrap();
    acknowledge(journal.as_mut(), Sequence::new(4)).unwrap();
    drop(journal);

    let mut journal = open();
    assert_eq!(journal.epoch(), epoch, "reopening does not begin a new life");
    assert_eq!(journal.boot(), boot + 1, "each opening is a boot");
    assert_eq!(journal.head(), Sequence::new(8), "what was durable is there");
    assert!(journal.watermark() <= Sequence::new(4), "the watermark may be forgotten, never invented");
    assert_eq!(journal.digest(), digest_of(Digest::START, &events(0, journal.watermark().get())));
    assert!(journal.kept_after() <= journal.watermark());
    let after = journal.watermark();
    assert_eq!(journal.read(after, ALL).unwrap(), events(after.get(), 8));
    assert_eq!(journal.append(&events(8, 9)).unwrap(), Sequence::new(9), "a sequence is never given twice");
    drop(journal);

    let mut journal = open();
    assert_eq!((journal.boot(), journal.head()), (boot + 2, Sequence::new(9)));
    acknowledge(journal.as_mut(), Sequence::new(9)).unwrap();
    drop(journal);

    let mut journal = open();
    assert_eq!(journal.head(), Sequence::new(9), "the head stays when all rows are acknowledged");
    assert_eq!(
        journal.append(&events(9, 10)).unwrap(),
        Sequence::new(10),
        "also then no sequence is given twice"
    );
    assert_eq!(journal.read(Sequence::new(9), ALL).unwrap(), events(9, 10));
}

/// A journal with a quota of at most 1 MiB refuses loudly when it is full, and empties by acknowledgements alone.
pub fn check_full(mut journal: Box<dyn Journal>) {
    // All or nothing: the first of these would fit by itself.
    let refused = journal.append(&events(0, 20_000)).unwrap_err();
    assert!(matches!(refused, JournalError::Full { .. }), "expected Full, got {refused:?}");
    assert_eq!(journal.head(), Sequence::NONE, "a refused request takes no sequence");
    assert_eq!(journal.read(Sequence::NONE, ALL).unwrap(), [], "and leaves no event");

    let mut number = 0;
    let refused = loop {
        match journal.append(&[event(number)]) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 100_000, "a quota of 1 MiB holds no 100,000 events");
    };
    assert!(matches!(refused, JournalError::Full { .. }), "expected Full, got {refused:?}");
    assert!(!refused.is_poisoned());
    assert!(number > 10, "the quota is too small for this suite: {number} events");
    assert_eq!(journal.head(), Sequence::new(number), "a refused event takes no sequence");
    let mut read = Vec::new();
    while read.len() < number as usize {
        let more = journal
            .read(Sequence::new(read.len() as u64), ReadLimit { events: 100, bytes: usize::MAX })
            .unwrap();
        assert!(!more.is_empty());
        read.extend(more);
    }
    assert_eq!(read, events(0, number), "nothing stored was overwritten");

    acknowledge(journal.as_mut(), Sequence::new(number)).unwrap();
    // How much becomes free at once is the store's affair, but acknowledged space must come back.
    for further in number..number + 5 {
        assert_eq!(journal.append(&[event(further)]).unwrap(), Sequence::new(further + 1));
    }
    assert_eq!(journal.read(Sequence::new(number), ALL).unwrap(), events(number, number + 5));
}

fn starts_empty(journal: &mut dyn Journal, other: &mut dyn Journal) {
    assert_ne!(journal.epoch(), other.epoch(), "each journal has its own epoch");
    assert_eq!(journal.boot(), 1);
    assert_eq!((journal.head(), journal.watermark(), journal.kept_after()), Default::default());
    assert_eq!(journal.read(Sequence::NONE, ALL).unwrap(), []);
    assert_eq!(journal.append(&[]).unwrap(), Sequence::NONE);
    acknowledge(journal, Sequence::NONE).unwrap();
}

fn gives_sequences_without_holes(journal: &mut dyn Journal) {
    let mut head = 0;
    for size in [1, 3, 1, 300, 2] {
        assert_eq!(journal.append(&events(head, head + size)).unwrap(), Sequence::new(head + size));
        head += size;
        assert_eq!(journal.head(), Sequence::new(head));
    }
    assert_eq!(journal.append(&[]).unwrap(), Sequence::new(head), "no events, no sequence");
    assert_eq!(journal.watermark(), Sequence::NONE, "recording acknowledges nothing");
    assert_eq!(journal.read(Sequence::NONE, ALL).unwrap(), events(0, head));
}

fn reads_back_what_was_written(journal: &mut dyn Journal) {
    let mut written = events(0, 3);
    written.push(Event {
        when: When::Unsynced { unix_ms: -5, boot: 1, uptime_ms: 77 },
        body: Body::Lost { count: 3 },
    });
    journal.append(&written).unwrap();
    assert_eq!(journal.read(Sequence::NONE, ALL).unwrap(), written);
    assert_eq!(journal.read(Sequence::new(2), ALL).unwrap(), written[2..]);
    assert_eq!(journal.read(Sequence::new(4), ALL).unwrap(), []);
    assert_eq!(journal.read(Sequence::new(400), ALL).unwrap(), []);
}

fn reads_within_both_limits(journal: &mut dyn Journal) {
    let written = events(0, 10);
    journal.append(&written).unwrap();
    let size = |count: usize| written[..count].iter().map(|event| event.encode().len()).sum::<usize>();
    for (limit, expected) in [
        (ReadLimit { events: 4, bytes: usize::MAX }, 4),
        (ReadLimit { events: 10, bytes: size(3) }, 3),
        (ReadLimit { events: 10, bytes: size(3) - 1 }, 2),
        (ReadLimit { events: 10, bytes: size(10) }, 10),
        // A reader that got nothing would ask for ever.
        (ReadLimit { events: 10, bytes: 1 }, 1),
        (ReadLimit { events: 0, bytes: 0 }, 1),
    ] {
        assert_eq!(journal.read(Sequence::NONE, limit).unwrap(), written[..expected], "{limit:?}");
    }
}

fn watermark_never_moves_back_nor_above_the_head(journal: &mut dyn Journal) {
    journal.append(&events(0, 6)).unwrap();
    acknowledge(journal, Sequence::new(4)).unwrap();
    assert_eq!(journal.watermark(), Sequence::new(4));
    assert_eq!(journal.digest(), digest_of(Digest::START, &events(0, 4)));
    acknowledge(journal, Sequence::new(2)).unwrap();
    assert_eq!(journal.watermark(), Sequence::new(4), "an older acknowledgement is no step back");
    let refused = acknowledge(journal, Sequence::new(7)).unwrap_err();
    assert!(
        matches!(refused, JournalError::AckAboveHead { watermark, head }
            if (watermark, head) == (Sequence::new(7), Sequence::new(6))),
        "{refused:?}"
    );
    assert_eq!(journal.watermark(), Sequence::new(4));
    acknowledge(journal, Sequence::new(6)).unwrap();
    assert_eq!((journal.watermark(), journal.head()), (Sequence::new(6), Sequence::new(6)));
}

fn forgets_nothing_above_the_watermark(journal: &mut dyn Journal) {
    let mut head = 0;
    for round in 0..20 {
        journal.append(&events(head, head + 10)).unwrap();
        head += 10;
        acknowledge(journal, Sequence::new(round * 7)).unwrap();
        let (kept_after, watermark) = (journal.kept_after(), journal.watermark());
        assert!(kept_after <= watermark, "{kept_after} forgotten, {watermark} acknowledged");
        assert_eq!(journal.read(watermark, ALL).unwrap(), events(watermark.get(), head));
        assert_eq!(journal.read(kept_after, ALL).unwrap(), events(kept_after.get(), head));
        if kept_after > Sequence::NONE {
            let below = journal.read(Sequence::NONE, ALL);
            assert!(matches!(below, Err(JournalError::Forgotten { .. })), "{below:?}");
        }
    }
}
