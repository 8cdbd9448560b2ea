//! Packing: goods and cartons onto a licence plate until it is closed.
//!
//! ```text
//!  SW:WF:PACK
//!      |              plate              item: a parcel (parcel.rs), recorded; another plate: recorded
//!      '-> NeedPlate --------> Open -------------------------------------------------------------------> Open
//!              ^                 |
//!              '-----------------'  DONE: closed, recorded. CANCEL: left open, what is recorded stays
//! ```
//!
//! - An order number holds until the next plate. UNDO takes the last thing off the plate again, by a new fact.
//! - In NeedPlate DONE ends and CANCEL leaves. 15 minutes without a scan end the session; the plate stays open.

use std::time::Duration;

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{Act, Body, Code, Content, Details, Reference, Uom};

use super::amount;
use super::check;
use super::fact;
use super::parcel::{MOVING, Parcel, Taken, Taking};
use super::{Floor, IDLE_MAX, Input, Session, Step, Workflow};

/// The row of the table.
pub struct Pack;

impl Workflow for Pack {
    fn name(&self) -> &'static str {
        "PACK"
    }

    fn title(&self) -> &'static str {
        "Pack a carton or pallet"
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(State::NeedPlate { order: None })
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        match last {
            Body::Handling(handling) if handling.act == Act::Packed => {
                let plate = Plate {
                    plate: handling.details.license_plate?,
                    order: handling.details.reference.clone(),
                    something: true,
                };
                Some(Box::new(plate.open()))
            }
            _ => None,
        }
    }
}

#[derive(Clone)]
enum State {
    NeedPlate { order: Option<Reference> },
    Open { plate: Plate, taking: Taking },
}

/// What is being packed.
#[derive(Clone)]
struct Plate {
    plate: Sscc,
    order: Option<Reference>,
    /// Whether anything was put onto it here.
    something: bool,
}

impl Session for State {
    fn expected(&self, _floor: &Floor<'_>) -> String {
        match self {
            State::NeedPlate { .. } => "scan the plate of the carton or pallet".into(),
            State::Open { plate, taking } => {
                let ready = || format!("scan what goes onto {}, then DONE", plate.plate);
                taking.expected(&format!("go onto {}", plate.plate)).unwrap_or_else(ready)
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedPlate { .. } => IDLE_MAX,
            State::Open { taking, .. } => taking.patience().unwrap_or(IDLE_MAX),
        }
    }

    fn weighing(&self) -> Option<Uom> {
        match self {
            State::Open { taking, .. } => taking.weighing(),
            State::NeedPlate { .. } => None,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        // The label of a pallet names its plate beside its contents: here the plate is what counts.
        let input = match input {
            Input::Item(_, label) if label.license_plate.is_some() => {
                label.license_plate.map_or(Input::Cancel, Input::Plate)
            }
            input => input,
        };
        let input = match self {
            State::Open { plate, taking } => {
                let go = |taking| State::Open { plate: plate.clone(), taking };
                match taking.step(input, floor, MOVING, |parcel| check::goods(parcel, floor)) {
                    Taken::Heard(taking, message) => return Step::heard(go(taking), message),
                    Taken::Dropped(taking, message) => return Step::dropped(go(taking), message),
                    Taken::Refused(message) => return Step::refused(message),
                    Taken::Parcel(parcel) => return plate.pack(&parcel, floor),
                    Taken::Other(input) => input,
                }
            }
            State::NeedPlate { .. } => input,
        };
        match (self, input) {
            (State::NeedPlate { order }, Input::Plate(plate)) => {
                let open = Plate { plate, order: order.clone(), something: false };
                Step::heard(open.open(), format!("packing {plate}"))
            }
            (State::NeedPlate { .. }, Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(State::NeedPlate { order: Some(order) }, message)
            }
            (State::Open { plate, taking: Taking::Ready }, Input::Reference(order)) => {
                let message = format!("order {order}");
                Step::heard(Plate { order: Some(order), ..plate.clone() }.open(), message)
            }
            (State::Open { plate, taking: Taking::Ready }, Input::Plate(inner)) if inner == plate.plate => {
                Step::refused(format!("this is the plate that is being packed: DONE closes {inner}"))
            }
            (State::Open { plate, taking: Taking::Ready }, Input::Plate(inner)) => {
                let fact = plate.fact(Act::Packed, Some(Content::Plate(inner)), Details::default(), floor);
                let message = format!("plate {inner} onto {}", plate.plate);
                Step::record(vec![fact], plate.with_something(), message)
            }
            (State::Open { plate, taking: Taking::Ready }, Input::Done) if plate.something => {
                let fact = plate.fact(Act::Closed, None, Details::default(), floor);
                Step::record(
                    vec![fact],
                    State::NeedPlate { order: None },
                    format!("{} is closed", plate.plate),
                )
            }
            (State::Open { plate, taking: Taking::Ready }, Input::Done) => Step::dropped(
                State::NeedPlate { order: None },
                format!("nothing was packed onto {}", plate.plate),
            ),
            (State::Open { plate, taking: Taking::Ready }, Input::Cancel) => {
                Step::heard(State::NeedPlate { order: None }, format!("{} was left open", plate.plate))
            }
            (State::Open { plate, taking: Taking::Ready }, Input::TimedOut) => {
                Step::abandoned(format!("packing ended: no scan for 15 minutes, {} is open", plate.plate))
            }
            (State::NeedPlate { .. } | State::Open { taking: Taking::Ready, .. }, Input::Undo) => {
                Step::undo()
            }
            (State::NeedPlate { .. }, Input::Done) => Step::end("packing is done"),
            (State::NeedPlate { .. }, Input::Cancel) => Step::end("packing was left; what is recorded stays"),
            (State::NeedPlate { .. }, Input::TimedOut) => {
                Step::abandoned("packing ended: no scan for 15 minutes")
            }
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

impl Plate {
    fn open(self) -> State {
        State::Open { plate: self, taking: Taking::Ready }
    }

    fn with_something(&self) -> State {
        Plate { something: true, ..self.clone() }.open()
    }

    fn fact(&self, act: Act, content: Option<Content>, details: Details, floor: &Floor<'_>) -> Body {
        let reference = details.reference.clone().or_else(|| self.order.clone());
        let details = Details { license_plate: Some(self.plate), reference, ..details };
        fact::handled(act, content, None, details, floor)
    }

    fn pack(&self, parcel: &Parcel, floor: &Floor<'_>) -> Step {
        if parcel.quantity.steps == 0 {
            return Step::refused("a quantity of zero is nothing to pack");
        }
        let Code::Known(item) = parcel.goods.code() else {
            return Step::refused(format!(
                "{} cannot be packed: receive or count it first",
                parcel.goods.item.name
            ));
        };
        let mut details = parcel.label.details(self.order.as_ref(), floor.operator, parcel.weighed.as_ref());
        details.exceptions.clone_from(&parcel.exceptions);
        let content = Content::Goods { item, quantity: parcel.quantity };
        let fact = self.fact(Act::Packed, Some(content), details, floor);
        let (quantity, name) = (amount::say(parcel.quantity), &parcel.goods.item.name);
        Step::record(vec![fact], self.with_something(), format!("{quantity} {name} onto {}", self.plate))
    }
}
