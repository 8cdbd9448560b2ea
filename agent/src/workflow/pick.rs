//! Picking: out of a location to a customer, movement by movement, with the order's number when it is scanned.
//!
//! ```text
//!  SW:WF:PICK
//!      |                location            item: recorded at once
//!      '-> NeedLocation ----------> Ready --------------------------> Ready
//!                                   |   |
//!                          SW:QTY:n |   | item booked by weight
//!                                   v   v
//!                             Counted   Weighing
//!   item, n of it: recorded      |         |   stable weight: recorded
//!   CANCEL, UNDO, 60 s: dropped  |         |   CANCEL, UNDO, 60 s: dropped
//!                                '--Ready--'
//! ```
//!
//! - Each item scan is one movement, durable before its beep. `SW:QTY:n` says how many the *next* item scan means.
//! - Another location may be scanned at any time; an order number (AI 400) holds until the session ends.
//! - UNDO takes the last movement of the session back by a new one; in Counted and Weighing it drops what is pending.
//! - DONE ends, CANCEL leaves; what is recorded stays. In Counted and Weighing CANCEL drops what is pending first.
//! - 15 minutes without a scan end the session.

use std::time::Duration;

use stockwire_protocol::gs1::Decimal;
use stockwire_protocol::{
    BizStep, Body, CatalogueItem, LocationId, Movement, Place, Quantity, Reference, Weighing,
};

use super::amount::{self, Amount, Label};
use super::{Floor, IDLE_MAX, Input, QUANTITY_MAX, Session, Step, WEIGHING_MAX, Workflow};

/// The row of the table.
pub struct Pick;

impl Workflow for Pick {
    fn name(&self) -> &'static str {
        "PICK"
    }

    fn title(&self) -> &'static str {
        "Pick for customers"
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(State::NeedLocation { order: None })
    }
}

#[derive(Clone)]
enum State {
    NeedLocation { order: Option<Reference> },
    Ready(At),
    Counted { at: At, quantity: Decimal },
    Weighing { at: At, item: CatalogueItem, label: Box<Label> },
}

/// Where goods come from, and for which order.
#[derive(Clone)]
struct At {
    location: LocationId,
    order: Option<Reference>,
}

impl Session for State {
    fn expected(&self) -> String {
        match self {
            State::NeedLocation { .. } => "scan the location to pick from".into(),
            State::Ready(at) => format!("scan an item out of {}", at.location),
            State::Counted { at, quantity } => {
                format!("scan the item of which {quantity} leave {}", at.location)
            }
            State::Weighing { item, .. } => format!("put {} on the scale", item.name),
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedLocation { .. } | State::Ready(_) => IDLE_MAX,
            State::Counted { .. } => QUANTITY_MAX,
            State::Weighing { .. } => WEIGHING_MAX,
        }
    }

    fn weighing(&self) -> Option<&CatalogueItem> {
        match self {
            State::Weighing { item, .. } => Some(item),
            _ => None,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        match (self, input) {
            (State::NeedLocation { order }, Input::Location(location)) => {
                let at = At { location: location.clone(), order: order.clone() };
                Step::heard(State::Ready(at), format!("picking from {location}"))
            }
            (State::Ready(at), Input::Location(location)) => {
                let at = At { location: location.clone(), ..at.clone() };
                Step::heard(State::Ready(at), format!("picking from {location}"))
            }
            (State::NeedLocation { .. }, Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(State::NeedLocation { order: Some(order) }, message)
            }
            (State::Ready(at), Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(State::Ready(At { order: Some(order), ..at.clone() }), message)
            }
            (State::Ready(at) | State::Counted { at, .. }, Input::Quantity(quantity)) => Step::heard(
                State::Counted { at: at.clone(), quantity },
                format!("{quantity} of the next item"),
            ),
            (State::Ready(at), Input::Item(item, label)) => pick(at, None, item, label, floor),
            (State::Counted { at, quantity }, Input::Item(item, label)) => {
                pick(at, Some(*quantity), item, label, floor)
            }
            (State::Weighing { at, item, label }, Input::Weight(weighed)) => {
                record(at, item, label, weighed.quantity, weighed.weighing, floor)
            }
            (State::Counted { at, .. }, Input::Cancel | Input::Undo) => {
                Step::heard(State::Ready(at.clone()), "the quantity was dropped")
            }
            (State::Counted { at, .. }, Input::TimedOut) => {
                Step::dropped(State::Ready(at.clone()), "the quantity was dropped: no item for a minute")
            }
            (State::Weighing { at, item, .. }, Input::Cancel | Input::Undo) => Step::heard(
                State::Ready(at.clone()),
                format!("{} was not weighed and not recorded", item.name),
            ),
            (State::Weighing { at, item, .. }, Input::TimedOut) => {
                let message = format!("no stable weight for a minute: {} was not recorded", item.name);
                Step::dropped(State::Ready(at.clone()), message)
            }
            (State::NeedLocation { .. } | State::Ready(_), Input::Undo) => Step::undo(),
            (State::NeedLocation { .. } | State::Ready(_), Input::Done) => Step::end("picking is done"),
            (State::NeedLocation { .. } | State::Ready(_), Input::Cancel) => {
                Step::end("picking was left; what is recorded stays")
            }
            (State::NeedLocation { .. } | State::Ready(_), Input::TimedOut) => {
                Step::abandoned("picking ended: no scan for 15 minutes")
            }
            (state, _) => Step::refused(format!("not now: {}", state.expected())),
        }
    }
}

fn pick(at: &At, scanned: Option<Decimal>, item: &CatalogueItem, label: Label, floor: &Floor<'_>) -> Step {
    match amount::of(item, &label, scanned, floor.scale) {
        Amount::Exactly(quantity) => record(at, item, &label, quantity, None, floor),
        Amount::Weigh => {
            let message = format!("put {} on the scale", item.name);
            Step::heard(State::Weighing { at: at.clone(), item: item.clone(), label: Box::new(label) }, message)
        }
        Amount::Refused(why) => Step::refused(why),
    }
}

fn record(
    at: &At,
    item: &CatalogueItem,
    label: &Label,
    quantity: Quantity,
    weighing: Option<Weighing>,
    floor: &Floor<'_>,
) -> Step {
    if quantity.steps == 0 {
        return Step::refused("a quantity of zero is nothing to pick");
    }
    let movement = Movement {
        step: BizStep::Picking,
        item: item.id.clone(),
        quantity,
        from: Place::At(at.location.clone()),
        to: Place::Customer,
        station: floor.station.clone(),
        details: label.details(at.order.as_ref(), floor.operator, weighing),
    };
    let message = format!("{} {} out of {}", amount::say(quantity), item.name, at.location);
    Step::record(vec![Body::Movement(movement)], State::Ready(at.clone()), message)
}
