//! Cases about dead letters in themselves.

use super::{Bench, Make, agent, site};
use crate::dead_letter::{DeadLetterClass, DeadLetterId, DeadLetterState, NewDeadLetter};
use crate::store::DeadLetterQuery;

fn letter(class: DeadLetterClass, bytes: &[u8]) -> NewDeadLetter {
    NewDeadLetter {
        class,
        reason: "because".into(),
        source: "stockwire/v1/HAM/box-1/up/events".into(),
        bytes: bytes.to_vec(),
        agent: Some((site("HAM"), agent("box-1"))),
        movement: None,
    }
}

pub(crate) fn the_same_content_is_one_letter(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let first = bench.store.add_dead_letter(10, &letter(DeadLetterClass::Malformed, b"x")).unwrap();
    let again = bench.store.add_dead_letter(20, &letter(DeadLetterClass::Malformed, b"x")).unwrap();
    assert_eq!(first, again);
    let other = bench.store.add_dead_letter(20, &letter(DeadLetterClass::Version, b"x")).unwrap();
    assert_ne!(first, other);
    let shown = bench.store.dead_letter(first.unwrap()).unwrap().unwrap();
    assert_eq!((shown.times, shown.first_at_ms, shown.last_at_ms), (2, 10, 20));
    assert_eq!((shown.bytes.as_slice(), shown.agent), (b"x".as_slice(), Some((site("HAM"), agent("box-1")))));
    assert_eq!(bench.store.dead_letter(DeadLetterId(99)).unwrap(), None);
}

pub(crate) fn a_letter_is_closed_once(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let id = bench.store.add_dead_letter(10, &letter(DeadLetterClass::Malformed, b"x")).unwrap().unwrap();
    assert!(bench.store.discard_dead_letter(30, id, "anna", "a test").unwrap());
    assert!(!bench.store.discard_dead_letter(40, id, "bert", "again").unwrap());
    let closed = bench.store.dead_letter(id).unwrap().unwrap().closed.unwrap();
    assert_eq!((closed.at_ms, closed.by.as_str(), closed.why.as_str()), (30, "anna", "a test"));
    // It comes again: it is open again, because it is not applied.
    bench.store.add_dead_letter(50, &letter(DeadLetterClass::Malformed, b"x")).unwrap();
    assert_eq!(bench.store.dead_letter(id).unwrap().unwrap().state, DeadLetterState::Open);
}

pub(crate) fn letters_are_listed_newest_first(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    for n in 0..7_u8 {
        let class = if n % 2 == 0 { DeadLetterClass::Malformed } else { DeadLetterClass::Version };
        bench.store.add_dead_letter(i64::from(n), &letter(class, &[n])).unwrap();
    }
    let mut query =
        DeadLetterQuery { limit: 2, class: Some(DeadLetterClass::Malformed), ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = bench.store.dead_letters(&query).unwrap();
        seen.extend(page.rows.iter().map(|letter| letter.first_at_ms));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [6, 4, 2, 0]);
    let query = DeadLetterQuery { state: Some(DeadLetterState::Discarded), ..Default::default() };
    assert_eq!(bench.store.dead_letters(&query).unwrap().rows, []);
}
