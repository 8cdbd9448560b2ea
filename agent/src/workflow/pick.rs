//! Picking: out of a location to a customer, by the list of an open order or movement by movement.
//!
//! ```text
//!  SW:WF:PICK
//!      |                location            item: a parcel (parcel.rs), recorded at once
//!      '-> NeedLocation ----------> Ready --------------------------------------------> Ready
//!            |      ^                 |  ^
//!            | SHORT| recorded        |  | SHORT: what is missing of the line is recorded
//!            '------'                 '--'
//! ```
//!
//! - An order number holds until the session ends. With an open order the screen says what is next and where; another
//!   location or item, or too much, is asked about.
//! - SHORT says that the rest of the line on the screen is not there; the line is closed, and the gateway knows why.
//! - Another location may be scanned at any time. UNDO takes the last movement back by a new one; in a parcel it drops
//!   what is pending. DONE ends, CANCEL leaves; what is recorded stays. 15 minutes without a scan end the session.

use std::time::Duration;

use stockwire_protocol::{
    Act, BizStep, Body, Code, Content, Details, LocationId, Place, Quantity, Reference, TaskKind, TaskLine,
};

use super::amount;
use super::check::{self, Finding};
use super::fact::{self, About};
use super::parcel::{MOVING, Parcel, Taken, Taking};
use super::{Floor, IDLE_MAX, Input, Session, Step, Workflow};

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

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        match last {
            Body::Movement(movement) if movement.step == BizStep::Picking => {
                let Place::At(location) = &movement.from else { return None };
                let at =
                    At { location: Code::Known(location.clone()), order: movement.details.reference.clone() };
                Some(Box::new(State::Ready { at, taking: Taking::Ready }))
            }
            Body::Handling(handling) if handling.act == Act::Short => {
                Some(Box::new(State::NeedLocation { order: handling.details.reference.clone() }))
            }
            _ => None,
        }
    }
}

#[derive(Clone)]
enum State {
    NeedLocation { order: Option<Reference> },
    Ready { at: At, taking: Taking },
}

/// Which shelf, and for which order.
#[derive(Clone)]
struct At {
    location: Code<LocationId>,
    order: Option<Reference>,
}

impl Session for State {
    fn expected(&self, floor: &Floor<'_>) -> String {
        match self {
            State::NeedLocation { order } => match next(order.as_ref(), None, floor) {
                Some(Line::Open(line)) => line.go_and_take(),
                Some(Line::Complete(order)) => {
                    format!("order {order} is complete: scan the next one or DONE")
                }
                None => "scan the location to pick from".into(),
            },
            State::Ready { at, taking } => {
                let from = check::say(&at.location);
                let ready = || match next(at.order.as_ref(), at.location.known(), floor) {
                    Some(Line::Open(line)) if line.is_at(&at.location) => line.take(&from),
                    Some(Line::Open(line)) => line.go_and_take(),
                    Some(Line::Complete(order)) => {
                        format!("order {order} is complete: scan the next one or DONE")
                    }
                    None => format!("scan an item out of {from}"),
                };
                taking.expected(&format!("leave {from}")).unwrap_or_else(ready)
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedLocation { .. } => IDLE_MAX,
            State::Ready { taking, .. } => taking.patience().unwrap_or(IDLE_MAX),
        }
    }

    fn weighing(&self) -> Option<stockwire_protocol::Uom> {
        match self {
            State::Ready { taking, .. } => taking.weighing(),
            State::NeedLocation { .. } => None,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        let input = match self {
            State::Ready { at, taking } => {
                match taking.step(input, floor, MOVING, |parcel| at.check(parcel, floor)) {
                    Taken::Heard(taking, message) => {
                        return Step::heard(State::Ready { at: at.clone(), taking }, message);
                    }
                    Taken::Dropped(taking, message) => {
                        return Step::dropped(State::Ready { at: at.clone(), taking }, message);
                    }
                    Taken::Refused(message) => return Step::refused(message),
                    Taken::Parcel(parcel) => return at.record(&parcel, floor),
                    Taken::Other(input) => input,
                }
            }
            State::NeedLocation { .. } => input,
        };
        match (self, input) {
            (State::NeedLocation { order }, Input::Location(location)) => {
                let message = format!("picking from {}", check::say(&location));
                Step::heard(At { location, order: order.clone() }.ready(), message)
            }
            (State::Ready { at, taking: Taking::Ready }, Input::Location(location)) => {
                let message = format!("picking from {}", check::say(&location));
                Step::heard(At { location, ..at.clone() }.ready(), message)
            }
            (State::NeedLocation { .. }, Input::Reference(order)) => {
                let message = told(&order, floor);
                Step::heard(State::NeedLocation { order: Some(order) }, message)
            }
            (State::Ready { at, taking: Taking::Ready }, Input::Reference(order)) => {
                let message = told(&order, floor);
                Step::heard(At { order: Some(order), ..at.clone() }.ready(), message)
            }
            (State::NeedLocation { order }, Input::Short) => {
                short(order.as_ref(), None, State::NeedLocation { order: order.clone() }, floor)
            }
            (State::Ready { at, taking: Taking::Ready }, Input::Short) => {
                short(at.order.as_ref(), at.location.known(), at.clone().ready(), floor)
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::Undo) => {
                Step::undo()
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::Done) => {
                Step::end("picking is done")
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::Cancel) => {
                Step::end("picking was left; what is recorded stays")
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::TimedOut) => {
                Step::abandoned("picking ended: no scan for 15 minutes")
            }
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

fn told(order: &Reference, floor: &Floor<'_>) -> String {
    match floor.picture.task(TaskKind::Pick, order) {
        Some((_, open)) => {
            format!("order {order}: {} lines to pick", open.iter().filter(|open| **open > 0).count())
        }
        None => format!("order {order}"),
    }
}

/// Where an order stands.
enum Line<'a> {
    Open(Open<'a>),
    Complete(&'a Reference),
}

/// A line of which something is still to be picked.
struct Open<'a> {
    order: &'a Reference,
    line: &'a TaskLine,
    left: Quantity,
    name: &'a str,
}

/// The line to pick next: one at this location before the others. `None` without an open order.
fn next<'a>(order: Option<&'a Reference>, at: Option<&LocationId>, floor: &Floor<'a>) -> Option<Line<'a>> {
    let order = order?;
    let (task, open) = floor.picture.task(TaskKind::Pick, order)?;
    let mut lines: Vec<_> = task.lines.iter().zip(open).filter(|(_, open)| *open > 0).collect();
    lines.sort_by_key(|(line, _)| at.is_none() || line.from.as_ref() != at);
    let Some((line, steps)) = lines.first() else { return Some(Line::Complete(order)) };
    let name = floor.catalogue.item(&line.item).map_or(line.item.as_str(), |item| item.name.as_str());
    Some(Line::Open(Open { order, line, left: Quantity { steps: *steps, ..line.quantity }, name }))
}

impl Open<'_> {
    fn is_at(&self, at: &Code<LocationId>) -> bool {
        self.line.from.as_ref().is_none_or(|from| at.known() == Some(from))
    }

    fn take(&self, from: &str) -> String {
        format!("take {} {} out of {from}", amount::say(self.left), self.name)
    }

    fn go_and_take(&self) -> String {
        match &self.line.from {
            Some(from) => format!("go to {from} for {} {}", amount::say(self.left), self.name),
            None => format!("scan where you take {} {}", amount::say(self.left), self.name),
        }
    }
}

/// The rest of the line on the screen is not there.
fn short(
    order: Option<&Reference>,
    at: Option<&LocationId>,
    state: impl Session + 'static,
    floor: &Floor<'_>,
) -> Step {
    match next(order, at, floor) {
        Some(Line::Open(open)) => {
            let content = Content::Goods { item: open.line.item.clone(), quantity: open.left };
            let details = Details { reference: Some(open.order.clone()), ..Details::default() };
            let location = open.line.from.clone().or(at.cloned());
            let message = format!("{} {} are missing for {}", amount::say(open.left), open.name, open.order);
            let fact = fact::handled(Act::Short, Some(content), location, details, floor);
            Step::record(vec![fact], state, message)
        }
        Some(Line::Complete(order)) => Step::refused(format!("order {order} is complete: nothing is short")),
        None => Step::refused("no open order is being picked: scan its number first"),
    }
}

impl At {
    fn ready(self) -> State {
        State::Ready { at: self, taking: Taking::Ready }
    }

    fn check(&self, parcel: &Parcel, floor: &Floor<'_>) -> Vec<Finding> {
        let mut findings = check::goods(parcel, floor);
        if let Some(order) = &self.order {
            findings.extend(check::task(parcel, TaskKind::Pick, order, floor));
            findings.extend(check::place(
                parcel,
                TaskKind::Pick,
                order,
                &self.location,
                check::End::From,
                floor,
            ));
        }
        findings.extend(check::bin(parcel, &self.location, floor));
        findings
    }

    fn record(&self, parcel: &Parcel, floor: &Floor<'_>) -> Step {
        if parcel.quantity.steps == 0 {
            return Step::refused("a quantity of zero is nothing to pick");
        }
        let about = About { reference: self.order.as_ref(), ..About::default() };
        let places = (fact::at(&self.location), Code::Known(Place::Customer));
        let body = fact::moved(BizStep::Picking, parcel, places, &about, floor);
        let (quantity, name) = (amount::say(parcel.quantity), &parcel.goods.item.name);
        let message = format!("{quantity} {name} out of {}", check::say(&self.location));
        Step::record(vec![body], self.clone().ready(), message)
    }
}
