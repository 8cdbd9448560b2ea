use stockwire_protocol::{
    AgentId, CorrelationId, Epoch, ItemId, LocationId, MovementId, Place, Reference, Sequence, Uom, When,
};

use super::*;
use crate::ledger::LedgerId;

fn line(order: Option<&str>, quantity: Quantity) -> PostingLine {
    let movement = MovementId {
        agent: AgentId::new("ham-01").unwrap(),
        epoch: Epoch::from_bytes([7; 16]),
        sequence: Sequence::new(1),
    };
    PostingLine {
        ledger: LedgerId(1),
        correlation: CorrelationId::new(movement.to_string()).unwrap(),
        movement,
        item: ItemId::new("SKU-0001").unwrap(),
        item_reference: r#"{"product":1,"unit":1}"#.into(),
        quantity,
        from: Place::At(LocationId::new("A-01").unwrap()),
        from_reference: None,
        to: Place::Customer,
        to_reference: None,
        lot: None,
        document_reference: order.map(|order| Reference::new(order).unwrap()),
        occurred_at: When::Synced { unix_ms: 0 },
    }
}

const LINES: &str = r#"[
    {"id":8,"product":1,"unit":1,"quantity":2.0,"sale":{"id":2,"description":"A"},"moves":[]},
    {"id":5,"product":1,"unit":1,"quantity":3.0,"sale":{"id":1,"description":"A"},
        "moves":[{"id":1,"quantity":2.0,"state":"done"},{"id":2,"quantity":3.0,"state":"cancelled"}]},
    {"id":6,"product":{"id":2},"unit":2,"quantity":1.25,"sale":{"id":1,"description":"A"},"moves":[]},
    {"id":9,"product":1,"unit":1,"quantity":9.0,"sale":{"id":3,"description":"B"},"moves":[]}]"#;

fn sold() -> Vec<Sold> {
    read(&Answer { status: 200, headers: vec![], body: LINES.into() }).unwrap()
}

#[test]
fn what_moved_counts_for_the_oldest_line_that_is_open() {
    let sold = sold();
    let mut shares = Shares::new(&sold);
    let mut check = |order, pieces, expected: &[(i64, Option<i64>)]| {
        let got = shares.of(&line(order, Quantity::pieces(pieces)), 1, 1);
        let got: Vec<(i64, Option<i64>)> = got.into_iter().map(|(share, line)| (share.steps, line)).collect();
        assert_eq!(got, expected);
    };
    // Line 5 has one open, line 8 two; then there is no more of order A.
    check(Some("A"), 2, &[(1, Some(5)), (1, Some(8))]);
    check(Some("A"), 3, &[(1, Some(8)), (2, None)]);
    check(Some("B"), 1, &[(1, Some(9))]);
    check(Some("C"), 1, &[(1, None)]);
    check(None, 1, &[(1, None)]);
    let weighed = line(Some("A"), Quantity { steps: 1_250_000, uom: Uom::Kilogram });
    assert_eq!(shares.of(&weighed, 2, 2), [(weighed.quantity, Some(6))]);
    // Sold by another unit than the item's own: not ours to convert.
    assert_eq!(shares.of(&weighed, 2, 7), [(weighed.quantity, None)]);
}

#[test]
fn an_answer_that_is_none_is_told() {
    let answer = |body: &str| Answer { status: 200, headers: vec![], body: body.into() };
    assert_eq!(read(&answer("[]")).unwrap(), []);
    assert_eq!(read(&answer("{}")).unwrap_err().class, Class::Setup);
    assert_eq!(read(&answer(r#"[{"id":1}]"#)).unwrap_err().class, Class::Setup);
}
