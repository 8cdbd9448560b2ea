//! Goods in: from the supplier into a location, blind, against a purchase order, or by the announced contents of a
//! plate.
//!
//! ```text
//!  SW:WF:RECEIVE
//!      |                location             item: a parcel (parcel.rs), recorded at once
//!      '-> NeedLocation ----------> Ready ---------------------------------------------> Ready
//!                 |                 |  ^
//!        a plate  |  announced plate|  | YES: all of it recorded
//!        is held  '---- location ---v  | NO, CANCEL, 60 s: item by item
//!                                Announced
//! ```
//!
//! - Each item scan is one movement, durable before its beep. `SW:QTY:n` says how many the *next* item scan means.
//! - Another location may be scanned at any time. An order number or a plate holds until the session ends; with an open
//!   purchase order or an announced plate, what is not on it or too much is asked about.
//! - UNDO takes the last movement of the session back by a new one; in a parcel it drops what is pending.
//! - DONE ends, CANCEL leaves; what is recorded stays. 15 minutes without a scan end the session.

use std::time::Duration;

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{
    BizStep, Body, Code, Disposition, Exception, LocationId, Place, Quantity, Reference, TaskKind,
};

use super::amount::{self, Label};
use super::check::{self, Finding};
use super::fact::{self, About};
use super::parcel::{Goods, MOVING, Parcel, Taken, Taking};
use super::{ANSWER_MAX, Floor, IDLE_MAX, Input, Session, Step, Workflow};

/// The row of the table.
pub struct Receive;

impl Workflow for Receive {
    fn name(&self) -> &'static str {
        "RECEIVE"
    }

    fn title(&self) -> &'static str {
        "Receive goods"
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(State::NeedLocation { papers: Papers::default() })
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        let Body::Movement(movement) = last else { return None };
        let (BizStep::Receiving, Place::Supplier, Place::At(location)) =
            (movement.step, &movement.from, &movement.to)
        else {
            return None;
        };
        let details = &movement.details;
        let papers = Papers { order: details.reference.clone(), plate: details.license_plate };
        let at = At { location: Code::Known(location.clone()), papers };
        Some(Box::new(State::Ready { at, taking: Taking::Ready }))
    }
}

/// Lines of an announced plate that are recorded with one YES: they are one commit and one batch.
const ANNOUNCED_LINES_MAX: usize = 128;

#[derive(Clone)]
enum State {
    NeedLocation { papers: Papers },
    Ready { at: At, taking: Taking },
    Announced { at: At, plate: Sscc },
}

/// For which order, and on which plate.
#[derive(Clone, Default)]
struct Papers {
    order: Option<Reference>,
    plate: Option<Sscc>,
}

#[derive(Clone)]
struct At {
    location: Code<LocationId>,
    papers: Papers,
}

impl Session for State {
    fn expected(&self, floor: &Floor<'_>) -> String {
        match self {
            State::NeedLocation { .. } => "scan the location that receives".into(),
            State::Ready { at, taking } => {
                let to = check::say(&at.location);
                let ready = || match at.papers.still_open(floor) {
                    Some(open) => format!("scan an item into {to}: {open}"),
                    None => format!("scan an item into {to}"),
                };
                taking.expected(&format!("go into {to}")).unwrap_or_else(ready)
            }
            State::Announced { plate, .. } => {
                format!("plate {plate}: YES receives all of it, NO item by item")
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedLocation { .. } => IDLE_MAX,
            State::Ready { taking, .. } => taking.patience().unwrap_or(IDLE_MAX),
            State::Announced { .. } => ANSWER_MAX,
        }
    }

    fn weighing(&self) -> Option<stockwire_protocol::Uom> {
        match self {
            State::Ready { taking, .. } => taking.weighing(),
            _ => None,
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
            _ => input,
        };
        match (self, input) {
            (State::NeedLocation { papers }, Input::Location(location)) => {
                At { location, papers: papers.clone() }.arrive(floor)
            }
            (State::Ready { at, taking: Taking::Ready }, Input::Location(location)) => {
                let message = format!("receiving into {}", check::say(&location));
                Step::heard(At { location, ..at.clone() }.ready(), message)
            }
            (State::NeedLocation { papers }, Input::Reference(order)) => {
                let message = told(&order, floor);
                let papers = Papers { order: Some(order), ..papers.clone() };
                Step::heard(State::NeedLocation { papers }, message)
            }
            (State::Ready { at, taking: Taking::Ready }, Input::Reference(order)) => {
                let message = told(&order, floor);
                let papers = Papers { order: Some(order), ..at.papers.clone() };
                Step::heard(At { papers, ..at.clone() }.ready(), message)
            }
            (State::NeedLocation { papers }, Input::Plate(plate)) => {
                let papers = Papers { plate: Some(plate), ..papers.clone() };
                Step::heard(State::NeedLocation { papers }, format!("plate {plate}"))
            }
            (State::Ready { at, taking: Taking::Ready }, Input::Plate(plate)) => {
                let papers = Papers { plate: Some(plate), ..at.papers.clone() };
                At { papers, ..at.clone() }.arrive(floor)
            }
            (State::Announced { at, plate }, Input::Yes) => at.record_announced(*plate, floor),
            (State::Announced { at, .. }, Input::No | Input::Cancel | Input::Undo) => {
                Step::heard(at.clone().ready(), "item by item")
            }
            (State::Announced { at, .. }, Input::TimedOut) => {
                Step::dropped(at.clone().ready(), "no answer for a minute: nothing was recorded")
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::Undo) => {
                Step::undo()
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::Done) => {
                Step::end("receiving is done")
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::Cancel) => {
                Step::end("receiving was left; what is recorded stays")
            }
            (State::NeedLocation { .. } | State::Ready { taking: Taking::Ready, .. }, Input::TimedOut) => {
                Step::abandoned("receiving ended: no scan for 15 minutes")
            }
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

fn told(order: &Reference, floor: &Floor<'_>) -> String {
    match floor.picture.task(TaskKind::Receive, order) {
        Some((_, open)) => {
            format!("order {order}: {} lines open", open.iter().filter(|open| **open > 0).count())
        }
        None => format!("order {order}"),
    }
}

impl Papers {
    /// The task that says what should come: the plate's contents before the order.
    fn task(&self, floor: &Floor<'_>) -> Option<(TaskKind, Reference)> {
        let announced = self.plate.and_then(|plate| Reference::new(plate.to_string()).ok());
        let announced = announced.map(|plate| (TaskKind::Announced, plate));
        let order = self.order.clone().map(|order| (TaskKind::Receive, order));
        [announced, order]
            .into_iter()
            .flatten()
            .find(|(kind, id)| floor.picture.tasks().find(*kind, id).is_some())
    }

    fn still_open(&self, floor: &Floor<'_>) -> Option<String> {
        let (kind, id) = self.task(floor)?;
        let (task, open) = floor.picture.task(kind, &id)?;
        let mut open = task.lines.iter().zip(open).filter(|(_, open)| *open > 0);
        let Some((line, steps)) = open.next() else { return Some(format!("{id} is complete")) };
        let first = amount::say(Quantity { steps, ..line.quantity });
        let name = floor.catalogue.item(&line.item).map_or(line.item.as_str(), |item| item.name.as_str());
        Some(match open.count() {
            0 => format!("{first} {name} to come"),
            more => format!("{first} {name} and {more} more to come"),
        })
    }
}

impl At {
    fn ready(self) -> State {
        State::Ready { at: self, taking: Taking::Ready }
    }

    /// With an announced plate in hand its contents are offered.
    fn arrive(self, floor: &Floor<'_>) -> Step {
        let message = format!("receiving into {}", check::say(&self.location));
        let Some(plate) = self.papers.plate else { return Step::heard(self.ready(), message) };
        let id = plate.to_string();
        let task = Reference::new(id).ok().and_then(|id| floor.picture.task(TaskKind::Announced, &id));
        match task {
            None => Step::heard(self.ready(), format!("plate {plate}: not announced, scan what is on it")),
            Some((_, open)) if open.iter().all(|open| *open == 0) => {
                Step::dropped(self.ready(), format!("plate {plate} was received already"))
            }
            Some((_, open)) if open.len() > ANNOUNCED_LINES_MAX => {
                Step::heard(self.ready(), format!("plate {plate} has too many lines: scan its items"))
            }
            Some((_, open)) => {
                let count = open.iter().filter(|open| **open > 0).count();
                Step::heard(
                    State::Announced { at: self, plate },
                    format!("plate {plate}: {count} lines announced"),
                )
            }
        }
    }

    fn check(&self, parcel: &Parcel, floor: &Floor<'_>) -> Vec<Finding> {
        let mut findings = check::goods(parcel, floor);
        if let Some((kind, id)) = self.papers.task(floor) {
            findings.extend(check::task(parcel, kind, &id, floor));
        }
        findings
    }

    fn record(&self, parcel: &Parcel, floor: &Floor<'_>) -> Step {
        if parcel.quantity.steps == 0 {
            return Step::refused("a quantity of zero is nothing to receive");
        }
        let body = self.body(parcel, self.papers.order.as_ref(), floor);
        let (quantity, name) = (amount::say(parcel.quantity), &parcel.goods.item.name);
        let message = format!("{quantity} {name} into {}", check::say(&self.location));
        Step::record(vec![body], self.clone().ready(), message)
    }

    fn record_announced(&self, plate: Sscc, floor: &Floor<'_>) -> Step {
        let id = Reference::new(plate.to_string()).ok();
        let Some((task, open)) = id.and_then(|id| floor.picture.task(TaskKind::Announced, &id)) else {
            return Step::dropped(self.clone().ready(), format!("plate {plate} is not announced any more"));
        };
        let mut facts = Vec::new();
        let mut noted = Vec::new();
        for (line, steps) in task.lines.iter().zip(open).filter(|(_, open)| *open > 0) {
            let Some(item) = floor.catalogue.item(&line.item) else {
                return Step::refused(format!(
                    "{} is not in the catalogue: scan the items one by one",
                    line.item
                ));
            };
            let goods = Goods::known(item);
            let findings = check::condition(&goods, line.lot.as_ref(), line.expires_on, floor);
            noted.extend(findings.iter().map(|finding| finding.message.clone()));
            let label = Label {
                lot: line.lot.clone(),
                expires_on: line.expires_on,
                license_plate: Some(plate),
                ..Label::default()
            };
            let parcel = Parcel {
                goods,
                label,
                quantity: Quantity { steps, ..line.quantity },
                weighed: None,
                one_label: false,
                exceptions: findings.iter().map(|finding| finding.exception).collect(),
            };
            facts.push(self.body(&parcel, task.order.as_ref().or(self.papers.order.as_ref()), floor));
        }
        if facts.is_empty() {
            return Step::dropped(self.clone().ready(), format!("plate {plate} was received already"));
        }
        let noted = if noted.is_empty() { String::new() } else { format!(" ({})", noted.join("; ")) };
        let message =
            format!("plate {plate}: {} lines into {}{noted}", facts.len(), check::say(&self.location));
        let papers = Papers { plate: None, ..self.papers.clone() };
        Step::record(facts, At { papers, ..self.clone() }.ready(), message)
    }

    fn body(&self, parcel: &Parcel, order: Option<&Reference>, floor: &Floor<'_>) -> Body {
        let about = About {
            reference: order,
            plate: self.papers.plate,
            disposition: condition(&parcel.exceptions),
            reason: None,
        };
        let places = (Code::Known(Place::Supplier), fact::at(&self.location));
        fact::moved(BizStep::Receiving, parcel, places, &about, floor)
    }
}

/// What is received although it is expired or called back must not be sold.
fn condition(exceptions: &[Exception]) -> Option<Disposition> {
    exceptions.iter().rev().find_map(|exception| match exception {
        Exception::Recalled => Some(Disposition::Recalled),
        Exception::Expired => Some(Disposition::Expired),
        _ => None,
    })
}
