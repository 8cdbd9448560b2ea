//! Goods in or out at one shelf for a reason: what returning, adjusting and scrapping have in common.
//!
//! ```text
//!  SW:WF:...
//!      |               reason                 location            item: a parcel (parcel.rs), recorded at once
//!      '-> NeedReason ---------> NeedLocation ----------> Ready --------------------------------------------> Ready
//!          (returning: not needed)      ^                   |
//!                                       '-- another reason -'  (the same shelf again)
//! ```
//!
//! - Each item scan is one movement, durable before its beep. Another location or reason may be scanned at any time.
//! - UNDO takes the last movement back by a new one; in a parcel it drops what is pending. DONE ends, CANCEL leaves;
//!   what is recorded stays. 15 minutes without a scan end the session.

use std::time::Duration;

use stockwire_protocol::{BizStep, Body, Code, Disposition, LocationId, Place, Reason, Reference, Uom};

use super::amount;
use super::check;
use super::fact::{self, About};
use super::parcel::{MOVING, Parcel, Taken, Taking};
use super::{Floor, IDLE_MAX, Input, Session, Step};

/// From where, and to where.
pub(super) type Ends = (Code<Place>, Code<Place>);

/// Which way goods go, and how to speak of it.
pub(super) struct Way {
    /// Why they move.
    pub(super) step: BizStep,
    /// From where to where, given the shelf and the reason.
    pub(super) places: fn(Code<Place>, Option<&Reason>) -> Ends,
    /// In which condition they are afterwards.
    pub(super) disposition: fn(Option<&Reason>) -> Option<Disposition>,
    /// Whether nothing goes without a reason.
    pub(super) needs_reason: bool,
    /// `scrap`: what the operator does.
    pub(super) order: &'static str,
    /// `scrapping`: the same, going on.
    pub(super) doing: &'static str,
}

/// Starts a session.
pub(super) fn begin(way: &'static Way) -> Box<dyn Session> {
    match way.needs_reason {
        true => Box::new(State::NeedReason { way }),
        false => Box::new(State::NeedLocation { why: Why { way, reason: None, order: None } }),
    }
}

/// The session that recorded this.
pub(super) fn resume(way: &'static Way, last: &Body) -> Option<Box<dyn Session>> {
    let Body::Movement(movement) = last else { return None };
    let details = &movement.details;
    let location = [&movement.from, &movement.to].into_iter().find_map(|place| match place {
        Place::At(location) => Some(Code::Known(location.clone())),
        _ => None,
    })?;
    let shelf = Code::Known(Place::At(location.known()?.clone()));
    let ends = (Code::Known(movement.from.clone()), Code::Known(movement.to.clone()));
    let is_ours = movement.step == way.step
        && (way.places)(shelf, details.reason.as_ref()) == ends
        && (details.reason.is_some() || !way.needs_reason);
    let why = Why { way, reason: details.reason.clone(), order: details.reference.clone() };
    is_ours.then(|| {
        let session: Box<dyn Session> = Box::new(State::Ready { why, location, taking: Taking::Ready });
        session
    })
}

#[derive(Clone)]
enum State {
    NeedReason { way: &'static Way },
    NeedLocation { why: Why },
    Ready { why: Why, location: Code<LocationId>, taking: Taking },
}

/// Why, and for which order.
#[derive(Clone)]
struct Why {
    way: &'static Way,
    reason: Option<Reason>,
    order: Option<Reference>,
}

impl State {
    fn way(&self) -> &'static Way {
        match self {
            State::NeedReason { way } => way,
            State::NeedLocation { why } | State::Ready { why, .. } => why.way,
        }
    }

    fn is_idle(&self) -> bool {
        !matches!(self, State::Ready { taking, .. } if *taking != Taking::Ready)
    }
}

impl Session for State {
    fn expected(&self, _floor: &Floor<'_>) -> String {
        match self {
            State::NeedReason { way } => format!("scan why you {}", way.order),
            State::NeedLocation { why } => format!("scan the location where you {}", why.way.order),
            State::Ready { why, location, taking } => {
                let at = check::say(location);
                let reason = why.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                let ready = || format!("scan an item to {} at {at}{reason}", why.way.order);
                taking.expected(&format!("you {} at {at}", why.way.order)).unwrap_or_else(ready)
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::Ready { taking, .. } => taking.patience().unwrap_or(IDLE_MAX),
            _ => IDLE_MAX,
        }
    }

    fn weighing(&self) -> Option<Uom> {
        match self {
            State::Ready { taking, .. } => taking.weighing(),
            _ => None,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        let input = match self {
            State::Ready { why, location, taking } => {
                let go = |taking| State::Ready { why: why.clone(), location: location.clone(), taking };
                // Goods on their way out of sale may be expired: nothing is asked about them.
                match taking.step(input, floor, MOVING, |_| Vec::new()) {
                    Taken::Heard(taking, message) => return Step::heard(go(taking), message),
                    Taken::Dropped(taking, message) => return Step::dropped(go(taking), message),
                    Taken::Refused(message) => return Step::refused(message),
                    Taken::Parcel(parcel) => return why.record(location, &parcel, floor),
                    Taken::Other(input) => input,
                }
            }
            _ => input,
        };
        let way = self.way();
        match (self, input) {
            (State::NeedReason { way }, Input::Reason(reason)) => {
                let message = format!("{}: {reason}", way.doing);
                let why = Why { way, reason: Some(reason), order: None };
                Step::heard(State::NeedLocation { why }, message)
            }
            (State::NeedLocation { why }, Input::Reason(reason)) => {
                let message = format!("{}: {reason}", way.doing);
                Step::heard(State::NeedLocation { why: Why { reason: Some(reason), ..why.clone() } }, message)
            }
            (State::Ready { why, location, taking: Taking::Ready }, Input::Reason(reason)) => {
                let message = format!("{}: {reason}", way.doing);
                let why = Why { reason: Some(reason), ..why.clone() };
                Step::heard(State::Ready { why, location: location.clone(), taking: Taking::Ready }, message)
            }
            (
                State::NeedLocation { why } | State::Ready { why, taking: Taking::Ready, .. },
                Input::Location(location),
            ) => {
                let message = format!("{} at {}", way.doing, check::say(&location));
                Step::heard(State::Ready { why: why.clone(), location, taking: Taking::Ready }, message)
            }
            (State::NeedLocation { why }, Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(State::NeedLocation { why: Why { order: Some(order), ..why.clone() } }, message)
            }
            (State::Ready { why, location, taking: Taking::Ready }, Input::Reference(order)) => {
                let message = format!("order {order}");
                let why = Why { order: Some(order), ..why.clone() };
                Step::heard(State::Ready { why, location: location.clone(), taking: Taking::Ready }, message)
            }
            (state, Input::Undo) if state.is_idle() => Step::undo(),
            (state, Input::Done) if state.is_idle() => Step::end(format!("{} is done", way.doing)),
            (state, Input::Cancel) if state.is_idle() => {
                Step::end(format!("{} was left; what is recorded stays", way.doing))
            }
            (state, Input::TimedOut) if state.is_idle() => {
                Step::abandoned(format!("{} ended: no scan for 15 minutes", way.doing))
            }
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

impl Why {
    fn record(&self, location: &Code<LocationId>, parcel: &Parcel, floor: &Floor<'_>) -> Step {
        let way = self.way;
        if parcel.quantity.steps == 0 {
            return Step::refused(format!("a quantity of zero is nothing to {}", way.order));
        }
        let about = About {
            reference: self.order.as_ref(),
            plate: None,
            disposition: (way.disposition)(self.reason.as_ref()),
            reason: self.reason.as_ref(),
        };
        let shelf = fact::at(location);
        let (from, to) = (way.places)(shelf.clone(), self.reason.as_ref());
        let side = if from == shelf { "out of" } else { "into" };
        let body = fact::moved(way.step, parcel, (from, to), &about, floor);
        let (quantity, name) = (amount::say(parcel.quantity), &parcel.goods.item.name);
        let message = format!("{quantity} {name} {side} {}", check::say(location));
        let state = State::Ready { why: self.clone(), location: location.clone(), taking: Taking::Ready };
        Step::record(vec![body], state, message)
    }
}
