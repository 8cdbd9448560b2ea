//! Cases about ledger rows on their way into an ERP.

use super::{Bench, Make, counted, erp, moved, movement, referring, snapshot};
use crate::catalogue::{ErpId, Item, Location, Site, Snapshot};
use crate::dead_letter::DeadLetterId;
use crate::ingest::Replay;
use crate::posting::{BatchResult, BatchState, PostingBatch};
use crate::store::StoreError;
use stockwire_protocol::Quantity;

const LINES: usize = 100;

impl Bench {
    fn take(&mut self) -> Option<PostingBatch> {
        let now = self.tick();
        self.store.take_posting_batch(now, &erp(), LINES).unwrap()
    }

    fn result(&mut self, reference: &str, result: BatchResult) {
        let now = self.tick();
        self.store.record_batch_result(now, reference, &result).unwrap();
    }

    fn done(&mut self, batch: &PostingBatch) {
        self.result(&batch.reference, BatchResult::Done { document: format!("D{}", batch.id) });
    }
}

/// `kind: quantity item from>to, ...`
fn told(batch: &PostingBatch) -> String {
    let line = |line: &crate::posting::PostingLine| {
        let (from, to) = (crate::trace::place(&line.from), crate::trace::place(&line.to));
        format!("{} {} {from}>{to}", line.quantity.decimal(), line.item)
    };
    let lines: Vec<_> = batch.lines.iter().map(line).collect();
    format!("{}: {}", batch.kind.as_str(), lines.join(", "))
}

pub(crate) fn documents_are_made_of_mixed_work(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    bench.record(&[
        movement("SKU-1", Quantity::pieces(5), "A-01", "customer", referring("SO-1")),
        moved("SKU-2", 9, "supplier", "IN"),
        moved("SKU-2", 9, "IN", "A-02"),
        counted("SKU-1", 45, "A-01"),
        counted("SKU-1", 44, "A-01"),
        counted("SKU-3", 2, "A-01"),
        moved("SKU-1", 1, "A-01", "customer"),
    ]);
    let mut documents = Vec::new();
    while let Some(batch) = bench.take() {
        assert_eq!((batch.state, batch.attempts), (BatchState::Planned, 0));
        documents.push(told(&batch));
        bench.done(&batch);
        if documents.len() == 4 {
            let line = &batch.lines[0];
            assert_eq!(line.document_reference.as_ref().map(|r| r.as_str()), Some("SO-1"));
            assert_eq!(
                (line.item_reference.as_str(), line.from_reference.as_deref()),
                ("item SKU-1", Some("HAM/A-01"))
            );
            assert_eq!(
                (line.to_reference.as_deref(), batch.site_reference.as_deref()),
                (None, Some("site HAM"))
            );
        }
    }
    // The opening stock came from the ERP and does not go back; a count that agreed moved nothing.
    assert_eq!(
        documents,
        [
            "goods_in: 9 SKU-2 supplier>IN",
            "adjustment_found: 2 SKU-3 loss>A-01",
            "internal: 9 SKU-2 IN>A-02",
            "outgoing: 5 SKU-1 A-01>customer, 1 SKU-1 A-01>customer",
            "adjustment_lost: 1 SKU-1 A-01>loss",
        ]
    );
}

pub(crate) fn a_batch_keeps_its_lines_and_its_reference(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    let first = bench.take().unwrap();
    assert!(first.reference.starts_with("SW-") && first.reference.ends_with("-1"), "{}", first.reference);
    // What comes later is not added to it, whatever becomes of it.
    bench.record(&[moved("SKU-1", 2, "supplier", "A-01")]);
    let again = bench.take().unwrap();
    assert_eq!(
        (again.state, again.attempts),
        (BatchState::Sent, 1),
        "no result: unknown, to be searched for"
    );
    assert_eq!(
        (again.lines.clone(), again.reference.clone()),
        (first.lines.clone(), first.reference.clone())
    );
    bench.result(&first.reference, BatchResult::Created { document: "7".into() });
    bench.result(&first.reference, BatchResult::Unknown { at_ms: 0, message: "timed out".into() });
    let again = bench.take().unwrap();
    assert_eq!((again.state, again.document.as_deref()), (BatchState::Unknown, Some("7")));
    assert_eq!(bench.store.recover_postings(1, &erp()).unwrap(), 1);
    assert_eq!(bench.take().unwrap().state, BatchState::Unknown);
    bench.done(&first);
    assert_eq!(told(&bench.take().unwrap()), "goods_in: 2 SKU-1 supplier>A-01");
}

pub(crate) fn nothing_overtakes_an_open_batch(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01"), moved("SKU-1", 1, "A-01", "customer")]);
    let first = bench.take().unwrap();
    let later = bench.now_ms + 60_000;
    let retry = BatchResult::Retry { at_ms: later, class: "rate".into(), message: "slow down".into() };
    bench.result(&first.reference, retry);
    assert_eq!(bench.take(), None, "its time has not come, and the outgoing one needs its stock");
    bench.now_ms = later;
    let again = bench.take().unwrap();
    assert_eq!((again.id, again.state), (first.id, BatchState::Retry));
    bench.done(&again);
    assert_eq!(told(&bench.take().unwrap()), "outgoing: 1 SKU-1 A-01>customer");
}

pub(crate) fn a_refused_document_is_cut_until_one_line_is_left(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let events: Vec<_> = (1..=9).map(|n| moved(&format!("SKU-{n}"), 1, "supplier", "A-01")).collect();
    bench.record(&events);
    bench.record(&[moved("SKU-1", 1, "A-01", "customer")]);
    let (mut booked, mut requests) = (Vec::new(), 0);
    while let Some(batch) = bench.take() {
        requests += 1;
        assert!(requests < 50, "it must come to an end");
        if batch.lines.iter().any(|line| line.item.as_str() == "SKU-5") {
            bench.result(&batch.reference, BatchResult::Rejected { reason: "no such product".into() });
        } else {
            booked.extend(batch.lines.iter().map(|line| line.ledger.0));
            bench.done(&batch);
        }
    }
    // Its halves take its turn: the outgoing line still comes last.
    assert_eq!(booked.last(), Some(&10));
    booked.sort();
    assert_eq!(booked, [1, 2, 3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(bench.letters(), ["posting open x1: no such product"]);
}

pub(crate) fn a_dead_line_is_replayed_as_a_new_document(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01"), moved("SKU-2", 1, "supplier", "A-01")]);
    let first = bench.take().unwrap();
    bench.result(&first.reference, BatchResult::Dead { reason: "the period is closed".into() });
    assert_eq!(bench.take(), None);
    assert_eq!(bench.letters(), ["posting open x1: the period is closed"; 2]);
    let replay = |bench: &mut Bench, id| {
        bench.ingest.replay(bench.store.as_mut(), 9, DeadLetterId(id), "anna").unwrap()
    };
    assert_eq!(replay(&mut bench, 1), Replay::Requeued);
    assert_eq!(replay(&mut bench, 1), Replay::AlreadyClosed);
    let again = bench.take().unwrap();
    assert_eq!(told(&again), "goods_in: 1 SKU-1 supplier>A-01");
    assert_ne!(again.reference, first.reference, "the dead document must not be found under it");
    // Refused once more: a new matter, not a silent one.
    bench.result(&again.reference, BatchResult::Dead { reason: "still closed".into() });
    assert_eq!(bench.letters().last().unwrap(), "posting open x1: still closed");
    assert_eq!(replay(&mut bench, 3), Replay::Requeued);
    let again = bench.take().unwrap();
    bench.done(&again);
    assert_eq!(bench.take(), None);
}

pub(crate) fn a_line_without_reference_is_set_aside(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01"), moved("SKU-2", 1, "supplier", "A-01")]);
    let mut lacking = snapshot();
    lacking.items[0].reference = None;
    bench.store.replace_catalogue(&erp(), &lacking).unwrap();
    let batch = bench.take().unwrap();
    assert_eq!(told(&batch), "goods_in: 1 SKU-2 supplier>A-01");
    bench.done(&batch);
    assert_eq!(bench.letters(), ["posting open x1: item SKU-1 has no reference at erp"]);
    // Replayed too early it is set aside again, and later goes through.
    let replay = |bench: &mut Bench, id| {
        bench.ingest.replay(bench.store.as_mut(), 9, DeadLetterId(id), "anna").unwrap()
    };
    replay(&mut bench, 1);
    assert_eq!(bench.take(), None);
    assert_eq!(bench.letters().len(), 2);
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    replay(&mut bench, 2);
    assert_eq!(told(&bench.take().unwrap()), "goods_in: 1 SKU-1 supplier>A-01");
}

pub(crate) fn nothing_is_posted_before_the_books_are_open(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    assert_eq!(bench.take(), None);
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    assert_eq!(bench.take(), None);
}

pub(crate) fn a_final_state_stays(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    let batch = bench.take().unwrap();
    bench.done(&batch);
    bench.done(&batch);
    for (reference, result) in [
        (batch.reference.as_str(), BatchResult::Dead { reason: "no".into() }),
        (batch.reference.as_str(), BatchResult::Retry { at_ms: 0, class: "x".into(), message: "x".into() }),
        ("SW-00000000-1", BatchResult::Done { document: "1".into() }),
        ("nonsense", BatchResult::Done { document: "1".into() }),
    ] {
        let refused = bench.store.record_batch_result(9, reference, &result);
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{reference}");
    }
    assert_eq!(bench.store.posting_batches(&erp(), 10).unwrap()[0].state, BatchState::Done);
    assert_eq!(bench.take(), None);
}

pub(crate) fn sites_post_to_their_own_erp(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let other = ErpId::new("other").unwrap();
    let second = Snapshot {
        sites: vec![Site { site: "BER".parse().unwrap(), reference: Some("b".into()) }],
        items: vec![Item { id: "ONLY-BER".parse().unwrap(), ..snapshot().items[0].clone() }],
        locations: vec![Location {
            site: "BER".parse().unwrap(),
            location: "A-01".parse().unwrap(),
            reference: Some("ba".into()),
        }],
    };
    bench.store.replace_catalogue(&other, &second).unwrap();
    assert!(bench.store.open_books(1, &other, &[]).unwrap());
    let berlin = super::batch("box-9", 9, 1, &[moved("ONLY-BER", 1, "supplier", "A-01")]);
    bench.publish(&[(super::topic_of("BER", &berlin), stockwire_protocol::cbor::Message::encode(&berlin))]);
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    let now = bench.tick();
    let theirs = bench.store.take_posting_batch(now, &other, LINES).unwrap().unwrap();
    assert_eq!(told(&theirs), "goods_in: 1 ONLY-BER supplier>A-01");
    assert_eq!(told(&bench.take().unwrap()), "goods_in: 1 SKU-1 supplier>A-01");
    // Neither may take what is the other's.
    let refused = bench.store.replace_catalogue(&other, &snapshot());
    assert!(matches!(refused, Err(StoreError::Refused { .. })));
}
