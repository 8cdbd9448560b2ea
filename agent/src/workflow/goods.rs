//! Goods through one location, movement by movement: what receiving and picking have in common.
//!
//! ```text
//!  SW:WF:...
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
use super::{Floor, IDLE_MAX, Input, QUANTITY_MAX, Session, Step, WEIGHING_MAX};

/// Which way goods go, and how to speak of it.
pub(super) struct Way {
    /// Why they move.
    pub(super) step: BizStep,
    /// From where to where, given the shelf.
    pub(super) places: fn(Place) -> (Place, Place),
    /// `receive`: what the operator does.
    pub(super) order: &'static str,
    /// `receiving`: the same, going on.
    pub(super) doing: &'static str,
    /// `receiving into`: before a location.
    pub(super) at: &'static str,
    /// `into`: between an item and a location.
    pub(super) side: &'static str,
    /// `go into`: what so many of an item do.
    pub(super) counted: &'static str,
    /// `that receives`: after "scan the location".
    pub(super) ask: &'static str,
}

/// Starts a session.
pub(super) fn begin(way: &'static Way) -> Box<dyn Session> {
    Box::new(State::NeedLocation { way, order: None })
}

#[derive(Clone)]
enum State {
    NeedLocation { way: &'static Way, order: Option<Reference> },
    Ready(At),
    Counted { at: At, quantity: Decimal },
    Weighing { at: At, item: CatalogueItem, label: Box<Label> },
}

/// Which shelf, and for which order.
#[derive(Clone)]
struct At {
    way: &'static Way,
    location: LocationId,
    order: Option<Reference>,
}

impl Session for State {
    fn expected(&self) -> String {
        match self {
            State::NeedLocation { way, .. } => format!("scan the location {}", way.ask),
            State::Ready(at) => format!("scan an item {} {}", at.way.side, at.location),
            State::Counted { at, quantity } => {
                format!("scan the item of which {quantity} {} {}", at.way.counted, at.location)
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
            (State::NeedLocation { way, order }, Input::Location(location)) => {
                let at = At { way, location: location.clone(), order: order.clone() };
                Step::heard(State::Ready(at), format!("{} {location}", way.at))
            }
            (State::Ready(at), Input::Location(location)) => {
                let message = format!("{} {location}", at.way.at);
                Step::heard(State::Ready(At { location: location.clone(), ..at.clone() }), message)
            }
            (State::NeedLocation { way, .. }, Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(State::NeedLocation { way, order: Some(order) }, message)
            }
            (State::Ready(at), Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(State::Ready(At { order: Some(order), ..at.clone() }), message)
            }
            (State::Ready(at) | State::Counted { at, .. }, Input::Quantity(quantity)) => Step::heard(
                State::Counted { at: at.clone(), quantity },
                format!("{quantity} of the next item"),
            ),
            (State::Ready(at), Input::Item(item, label)) => take(at, None, item, label, floor),
            (State::Counted { at, quantity }, Input::Item(item, label)) => {
                take(at, Some(*quantity), item, label, floor)
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
            (State::NeedLocation { way, .. } | State::Ready(At { way, .. }), Input::Done) => {
                Step::end(format!("{} is done", way.doing))
            }
            (State::NeedLocation { way, .. } | State::Ready(At { way, .. }), Input::Cancel) => {
                Step::end(format!("{} was left; what is recorded stays", way.doing))
            }
            (State::NeedLocation { way, .. } | State::Ready(At { way, .. }), Input::TimedOut) => {
                Step::abandoned(format!("{} ended: no scan for 15 minutes", way.doing))
            }
            (state, _) => Step::refused(format!("not now: {}", state.expected())),
        }
    }
}

fn take(at: &At, scanned: Option<Decimal>, item: &CatalogueItem, label: Label, floor: &Floor<'_>) -> Step {
    match amount::of(item, &label, scanned, floor.scale) {
        Amount::Exactly(quantity) => record(at, item, &label, quantity, None, floor),
        Amount::Weigh => {
            let message = format!("put {} on the scale", item.name);
            Step::heard(
                State::Weighing { at: at.clone(), item: item.clone(), label: Box::new(label) },
                message,
            )
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
        return Step::refused(format!("a quantity of zero is nothing to {}", at.way.order));
    }
    let (from, to) = (at.way.places)(Place::At(at.location.clone()));
    let movement = Movement {
        step: at.way.step,
        item: item.id.clone(),
        quantity,
        from,
        to,
        station: floor.station.clone(),
        details: label.details(at.order.as_ref(), floor.operator, weighing),
    };
    let message = format!("{} {} {} {}", amount::say(quantity), item.name, at.way.side, at.location);
    Step::record(vec![Body::Movement(movement)], State::Ready(at.clone()), message)
}
