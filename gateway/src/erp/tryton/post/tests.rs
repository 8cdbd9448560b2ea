//! Conversations with recorded answers: each line is one request and what came of it.

use serde_json::from_str;
use stockwire_protocol::{
    AgentId, CorrelationId, Epoch, ItemId, LocationId, MovementId, Quantity, Sequence, SiteId, Uom, When,
};

use super::*;
use crate::catalogue::ErpId;
use crate::exchange::{Answer, Conversation as _, Request, Step};
use crate::posting::BatchState;

fn site_keys() -> String {
    r#"{"company":1,"currency":1,"warehouse":12,"storage":9,"lost_found":4,
        "supplier":{"party":2,"location":6,"address":2},"customer":{"party":3,"location":7,"address":3}}"#
        .into()
}

fn at(name: &str) -> Place {
    Place::At(LocationId::new(name).unwrap())
}

fn place_keys(place: &Place) -> Option<String> {
    let Place::At(location) = place else { return None };
    let (location, zone) = match location.as_str() {
        "A-01" => (13, 9),
        "A-02" => (14, 9),
        "IN" => (10, 10),
        "OUT" => (11, 11),
        other => panic!("no place {other}"),
    };
    Some(format!(r#"{{"location":{location},"zone":{zone}}}"#))
}

fn batch(kind: PostingKind, moves: &[(Place, Place, i64)]) -> PostingBatch {
    let line = |(at, (from, to, pieces)): (usize, &(Place, Place, i64))| {
        let movement = MovementId {
            agent: AgentId::new("ham-01").unwrap(),
            epoch: Epoch::from_bytes([7; 16]),
            sequence: Sequence::new(at as u64 + 1),
        };
        PostingLine {
            ledger: LedgerId(at as u64 + 1),
            correlation: CorrelationId::new(movement.to_string()).unwrap(),
            movement,
            item: ItemId::new("SKU-0001").unwrap(),
            item_reference: r#"{"product":1,"unit":1}"#.into(),
            quantity: Quantity::pieces(*pieces),
            from: from.clone(),
            from_reference: place_keys(from),
            to: to.clone(),
            to_reference: place_keys(to),
            lot: None,
            document_reference: None,
            occurred_at: When::Synced { unix_ms: 0 },
        }
    };
    PostingBatch {
        id: 7,
        reference: "SW-a-7".into(),
        erp: ErpId::new("erp").unwrap(),
        site: SiteId::new("HAM").unwrap(),
        site_reference: Some(site_keys()),
        kind,
        lines: moves.iter().enumerate().map(line).collect(),
        attempts: 0,
        document: None,
        state: BatchState::Planned,
        created_at_ms: 0,
    }
}

fn received() -> PostingBatch {
    batch(PostingKind::GoodsIn, &[(Place::Supplier, at("A-02"), 10)])
}

fn moved() -> PostingBatch {
    batch(PostingKind::Internal, &[(at("A-01"), at("A-02"), 5)])
}

fn shipped() -> PostingBatch {
    batch(PostingKind::Outgoing, &[(at("A-01"), Place::Customer, 3)])
}

/// What comes of a request.
enum Comes {
    Body(&'static str),
    Fails(Class),
}
use Comes::{Body, Fails};

const UNKNOWN: Comes = Fails(Class::Unknown);
const REFUSED: Comes = Fails(Class::Data);

/// Drives a conversation through a script of `(request, what comes)` and returns how it ended. A note is a line
/// `note ID` that nothing comes of.
fn talk(post: &mut Carry, script: Vec<(&str, Comes)>) -> Result<Posted, Class> {
    let mut script = script.into_iter();
    let mut last = None;
    loop {
        match post.next(last.take()) {
            Step::Done(result) => {
                assert_eq!(script.map(|line| line.0).collect::<Vec<_>>(), Vec::<&str>::new(), "left over");
                return result.map_err(|failure| failure.class);
            }
            Step::Note(note) => {
                let (expected, _) = script.next().unwrap_or_else(|| panic!("unexpected note {note}"));
                assert_eq!(format!("note {note}"), expected);
            }
            Step::Send(request) => {
                let told = told(&request);
                let (expected, comes) = script.next().unwrap_or_else(|| panic!("unexpected {told}"));
                assert_eq!(told, expected);
                last = Some(match comes {
                    Body(body) => Ok(Answer { status: 200, headers: vec![], body: body.into() }),
                    Fails(class) => Err(Failure::new(class, "so it is")),
                });
            }
        }
    }
}

fn told(request: &Request) -> String {
    request.path.trim_start_matches("/stock.shipment.").to_owned()
        + if request.body.is_none() { " ?" } else { "" }
}

fn check(batch: PostingBatch, script: Vec<(&str, Comes)>, expected: Result<Posted, Class>) {
    assert_eq!(talk(&mut post(&batch, &[], Shortage::Force), script), expected);
}

fn booked(document: &str) -> Result<Posted, Class> {
    Ok(Posted::Booked { document: document.into() })
}

fn refused() -> Result<Posted, Class> {
    Ok(Posted::Refused { reason: "so it is".into() })
}

const NONE: Comes = Body("[]");

fn is(state: &str) -> Comes {
    Body(match state {
        "draft" => r#"{"id":3,"state":"draft"}"#,
        "waiting" => r#"{"id":3,"state":"waiting"}"#,
        "assigned" => r#"{"id":3,"state":"assigned"}"#,
        "packed" => r#"{"id":3,"state":"packed"}"#,
        "done" => r#"{"id":3,"state":"done"}"#,
        "cancelled" => r#"{"id":3,"state":"cancelled"}"#,
        other => panic!("{other}"),
    })
}

#[test]
fn a_fresh_batch_takes_the_straight_way() {
    check(
        received(),
        vec![
            ("in ?", NONE),
            ("in", is("draft")),
            ("note stock.shipment.in,3", NONE),
            ("in/3/receive", is("done")),
        ],
        booked("stock.shipment.in,3"),
    );
    check(
        moved(),
        vec![
            ("internal ?", NONE),
            ("internal", is("waiting")),
            ("note stock.shipment.internal,3", NONE),
            ("internal/3/wait", is("waiting")),
            ("internal/3/assign_try", is("assigned")),
            ("internal/3/do", is("done")),
        ],
        booked("stock.shipment.internal,3"),
    );
    check(
        shipped(),
        vec![
            ("out ?", NONE),
            ("out", is("waiting")),
            ("note stock.shipment.out,3", NONE),
            ("out/3/wait", is("waiting")),
            ("out/3/assign_try", is("assigned")),
            ("out/3/pack", is("packed")),
            ("out/3/do", is("done")),
        ],
        booked("stock.shipment.out,3"),
    );
}

#[test]
fn a_lost_answer_is_looked_up_at_every_step_and_never_called_again_blindly() {
    // The create arrived.
    check(
        received(),
        vec![
            ("in ?", NONE),
            ("in", UNKNOWN),
            ("in ?", Body(r#"[{"id":3,"state":"draft"}]"#)),
            ("note stock.shipment.in,3", NONE),
            ("in/3/receive", is("done")),
        ],
        booked("stock.shipment.in,3"),
    );
    // It did not.
    check(
        received(),
        vec![
            ("in ?", NONE),
            ("in", UNKNOWN),
            ("in ?", NONE),
            ("in", is("draft")),
            ("note stock.shipment.in,3", NONE),
            ("in/3/receive", is("done")),
        ],
        booked("stock.shipment.in,3"),
    );
    // The last call arrived.
    check(
        received(),
        vec![
            ("in ?", NONE),
            ("in", is("draft")),
            ("note stock.shipment.in,3", NONE),
            ("in/3/receive", UNKNOWN),
            ("in ?", Body(r#"[{"id":3,"state":"done"}]"#)),
        ],
        booked("stock.shipment.in,3"),
    );
    // Each call of an outgoing document is lost on its way there.
    check(
        shipped(),
        vec![
            ("out ?", Body(r#"[{"id":3,"state":"waiting"}]"#)),
            ("note stock.shipment.out,3", NONE),
            ("out/3/wait", UNKNOWN),
            ("out ?", Body(r#"[{"id":3,"state":"waiting"}]"#)),
            ("out/3/wait", is("waiting")),
            ("out/3/assign_try", UNKNOWN),
            ("out ?", Body(r#"[{"id":3,"state":"assigned"}]"#)),
            ("out/3/pack", UNKNOWN),
            ("out ?", Body(r#"[{"id":3,"state":"packed"}]"#)),
            ("out/3/do", is("done")),
        ],
        booked("stock.shipment.out,3"),
    );
}

#[test]
fn half_an_answer_is_an_unknown_outcome() {
    check(
        received(),
        vec![
            ("in ?", NONE),
            ("in", Body(r#"{"id":3,"sta"#)),
            ("in ?", Body(r#"[{"id":3,"state":"draft"}]"#)),
            ("note stock.shipment.in,3", NONE),
            ("in/3/receive", Body("")),
            ("in ?", Body(r#"[{"id":3,"state":"done"}]"#)),
        ],
        booked("stock.shipment.in,3"),
    );
}

#[test]
fn what_stays_unknown_is_said_to_be_unknown() {
    check(
        received(),
        vec![
            ("in ?", NONE),
            ("in", UNKNOWN),
            ("in ?", NONE),
            ("in", UNKNOWN),
            ("in ?", NONE),
            ("in", UNKNOWN),
            ("in ?", NONE),
            ("in", UNKNOWN),
        ],
        Err(Class::Unknown),
    );
    // The look itself fails: whether the create arrived is still open.
    check(
        received(),
        vec![("in ?", NONE), ("in", UNKNOWN), ("in ?", Fails(Class::Transient))],
        Err(Class::Unknown),
    );
    check(
        received(),
        vec![("in ?", NONE), ("in", UNKNOWN), ("in ?", Fails(Class::Auth))],
        Err(Class::Unknown),
    );
    // Nothing was called: nothing is open.
    for class in [Class::Transient, Class::Auth, Class::Setup, Class::Rate { after: None }] {
        check(received(), vec![("in ?", Fails(class))], Err(class));
        check(received(), vec![("in ?", NONE), ("in", Fails(class))], Err(class));
    }
}

#[test]
fn of_several_documents_one_alone_goes_on_and_only_when_the_others_are_out_of_the_way() {
    check(
        moved(),
        vec![
            ("internal ?", Body(r#"[{"id":5,"state":"assigned"},{"id":3,"state":"waiting"}]"#)),
            ("internal/5/cancel", Body(r#"{"id":5,"state":"cancelled"}"#)),
            ("note stock.shipment.internal,3", NONE),
            ("internal/3/wait", is("waiting")),
            ("internal/3/assign_try", is("assigned")),
            ("internal/3/do", is("done")),
        ],
        booked("stock.shipment.internal,3"),
    );
    // The second was carried to its end by a late call while we wanted to cancel it.
    check(
        moved(),
        vec![
            ("internal ?", Body(r#"[{"id":3,"state":"waiting"},{"id":5,"state":"assigned"}]"#)),
            ("internal/5/cancel", REFUSED),
            ("internal ?", Body(r#"[{"id":3,"state":"waiting"},{"id":5,"state":"done"}]"#)),
            ("internal/3/cancel", is("cancelled")),
        ],
        booked("stock.shipment.internal,5"),
    );
    // What is done is done, even when the other can not be cancelled.
    check(
        moved(),
        vec![
            ("internal ?", Body(r#"[{"id":3,"state":"done"},{"id":5,"state":"waiting"}]"#)),
            ("internal/5/cancel", UNKNOWN),
        ],
        booked("stock.shipment.internal,3"),
    );
}

#[test]
fn a_refusal_is_believed_only_when_the_document_still_stands_there() {
    // It was our own earlier call, arriving late.
    check(
        moved(),
        vec![
            ("internal ?", Body(r#"[{"id":3,"state":"assigned"}]"#)),
            ("note stock.shipment.internal,3", NONE),
            ("internal/3/do", REFUSED),
            ("internal ?", Body(r#"[{"id":3,"state":"done"}]"#)),
        ],
        booked("stock.shipment.internal,3"),
    );
    // A late `wait` has taken the assignment back.
    check(
        moved(),
        vec![
            ("internal ?", Body(r#"[{"id":3,"state":"assigned"}]"#)),
            ("note stock.shipment.internal,3", NONE),
            ("internal/3/do", REFUSED),
            ("internal ?", Body(r#"[{"id":3,"state":"waiting"}]"#)),
            ("internal/3/wait", is("waiting")),
            ("internal/3/assign_try", is("assigned")),
            ("internal/3/do", is("done")),
        ],
        booked("stock.shipment.internal,3"),
    );
    // It is meant, and the document must not stay behind; not even when the cancelling is lost.
    check(
        moved(),
        vec![
            ("internal ?", Body(r#"[{"id":3,"state":"assigned"}]"#)),
            ("note stock.shipment.internal,3", NONE),
            ("internal/3/do", REFUSED),
            ("internal ?", Body(r#"[{"id":3,"state":"assigned"}]"#)),
            ("internal/3/cancel", UNKNOWN),
            ("internal ?", NONE),
        ],
        refused(),
    );
    check(received(), vec![("in ?", NONE), ("in", REFUSED)], refused());
}

#[test]
fn a_document_that_is_gone_is_made_again() {
    check(
        received(),
        vec![
            ("in ?", Body(r#"[{"id":3,"state":"draft"}]"#)),
            ("note stock.shipment.in,3", NONE),
            ("in/3/receive", Fails(Class::Conflict)),
            ("in ?", NONE),
            ("in", Body(r#"{"id":4,"state":"draft"}"#)),
            ("note stock.shipment.in,4", NONE),
            ("in/4/receive", Body(r#"{"id":4,"state":"done"}"#)),
        ],
        booked("stock.shipment.in,4"),
    );
}

#[test]
fn too_little_stock_is_forced_or_refused_as_configured() {
    let start = || {
        vec![
            ("out ?", NONE),
            ("out", is("waiting")),
            ("note stock.shipment.out,3", NONE),
            ("out/3/wait", is("waiting")),
            ("out/3/assign_try", is("waiting")),
        ]
    };
    let mut forced = start();
    forced.extend([
        ("out/3/assign_force", is("assigned")),
        ("out/3/pack", is("packed")),
        ("out/3/do", is("done")),
    ]);
    check(shipped(), forced, booked("stock.shipment.out,3"));
    let mut given_up = start();
    given_up.extend([("out/3/cancel", UNKNOWN), ("out ?", NONE)]);
    let result = talk(&mut post(&shipped(), &[], Shortage::Refuse), given_up);
    assert!(matches!(result, Ok(Posted::Refused { .. })), "{result:?}");
}

#[test]
fn a_document_that_goes_in_circles_comes_to_an_end() {
    let mut post = post(&moved(), &[], Shortage::Force);
    let mut last = None;
    for turn in 0.. {
        assert!(turn < 100, "no end");
        match post.next(last.take()) {
            Step::Send(request) if request.body.is_none() => {
                last = Some(Ok(Answer {
                    status: 200,
                    headers: vec![],
                    body: r#"[{"id":3,"state":"assigned"}]"#.into(),
                }));
            }
            Step::Send(_) => last = Some(Err(Failure::new(Class::Conflict, "not now"))),
            Step::Note(_) => {}
            Step::Done(result) => {
                assert_eq!(result.map_err(|failure| failure.class), Err(Class::Conflict));
                break;
            }
        }
    }
}

fn composed(batch: &PostingBatch) -> Value {
    compose(batch, &[]).map(|document| document.body).unwrap_or_else(|why| panic!("{why:?}"))
}

#[test]
fn documents_are_as_tryton_takes_them() {
    let weighed = {
        let mut batch = received();
        batch.lines[0].quantity = Quantity { steps: 1_250_000, uom: Uom::Kilogram };
        batch
    };
    let expected: Value = from_str(
        r#"{"reference":"SW-a-7","company":1,"supplier":2,"warehouse":12,"warehouse_input":9,"warehouse_storage":9,
        "moves":[["create",[{"product":1,"unit":1,"quantity":1.25,"from_location":6,"to_location":14,"company":1,
        "unit_price":{"__class__":"Decimal","decimal":"0"},"currency":1}]]]}"#,
    )
    .unwrap();
    assert_eq!(composed(&weighed), expected);
    let expected: Value = from_str(
        r#"{"reference":"SW-a-7","company":1,"state":"waiting","from_location":9,"to_location":9,
        "moves":[["create",[{"product":1,"unit":1,"quantity":5.0,"from_location":13,"to_location":14,"company":1}]]]}"#,
    )
    .unwrap();
    assert_eq!(composed(&moved()), expected);
    let expected: Value = from_str(
        r#"{"reference":"SW-a-7","company":1,"state":"waiting","customer":3,"delivery_address":3,"warehouse":12,
        "warehouse_storage":9,"warehouse_output":9,
        "moves":[["create",[{"product":1,"unit":1,"quantity":3.0,"from_location":13,"to_location":7,"company":1,
        "unit_price":{"__class__":"Decimal","decimal":"0"},"currency":1}]]]}"#,
    )
    .unwrap();
    assert_eq!(composed(&shipped()), expected);
    let head = |batch: &PostingBatch| {
        let body = composed(batch);
        let line = &body["moves"][0][1][0];
        [&body["from_location"], &body["to_location"], &line["from_location"], &line["to_location"]]
            .map(|id| id.as_i64().unwrap())
    };
    let found = batch(PostingKind::AdjustmentFound, &[(Place::Loss, at("A-02"), 1)]);
    assert_eq!(head(&found), [4, 9, 4, 14]);
    let lost = batch(PostingKind::AdjustmentLost, &[(at("A-02"), Place::Loss, 1)]);
    assert_eq!(head(&lost), [9, 4, 14, 4]);
    let staged = batch(PostingKind::Internal, &[(at("A-02"), at("OUT"), 1)]);
    assert_eq!(head(&staged), [9, 11, 14, 11]);
}

#[test]
fn what_does_not_fit_into_one_document_is_said_before_anything_is_sent() {
    let mixed = batch(
        PostingKind::Internal,
        &[(at("A-01"), at("A-02"), 1), (at("IN"), at("A-01"), 2), (at("A-02"), at("A-01"), 3)],
    );
    let parts = vec![vec![LedgerId(1), LedgerId(3)], vec![LedgerId(2)]];
    check(mixed, vec![], Ok(Posted::Mixed { parts }));
    // Goods in may go to any place.
    let spread =
        batch(PostingKind::GoodsIn, &[(Place::Supplier, at("A-01"), 1), (Place::Supplier, at("IN"), 2)]);
    assert_eq!(composed(&spread)["moves"][0][1].as_array().map(Vec::len), Some(2));
    let returned = batch(PostingKind::CustomerReturn, &[(Place::Customer, at("IN"), 1)]);
    assert!(matches!(compose(&returned, &[]), Err(Ok(Posted::Impossible { .. }))));
    let mut vast = received();
    vast.lines[0].quantity = Quantity::pieces(i64::MAX);
    assert!(matches!(compose(&vast, &[]), Err(Ok(Posted::Refused { .. }))));
    let mut strange = received();
    strange.site_reference = Some("12".into());
    check(strange, vec![], Err(Class::Setup));
    let mut unknown = received();
    unknown.lines[0].to_reference = None;
    check(unknown, vec![], Err(Class::Setup));
}
