//! Goods from one location to another: what putting away, moving and replenishing have in common.
//!
//! ```text
//!  SW:WF:...
//!      |               location           item: a parcel (parcel.rs), into the hand
//!      '-> NeedSource ---------> Ready ---------------------------------------------> Ready
//!              ^                 |   |
//!              |                 |   | location, with something in the hand: all of it recorded
//!              | CANCEL: the     |   '--> (not the location that the task names?) -- YES --> NeedSource
//!              | hand is emptied |                                               '-- NO, 60 s --> Ready
//!              '-----------------'  location, with an empty hand: another source
//! ```
//!
//! - What is in the hand is not recorded yet: an item scan is *heard*, the location where it ends gives *good*.
//! - UNDO puts the last item of the hand back; with an empty hand it takes the last movement back by a new one.
//! - DONE ends, with an empty hand only. CANCEL empties the hand, or leaves; what is recorded stays.
//! - 15 minutes without a scan end the session; what was in the hand was not recorded, and the operator hears it.

use std::time::Duration;

use stockwire_protocol::{
    BizStep, Body, Code, Exception, LocationId, Place, Quantity, Reference, TaskKind, Uom,
};

use super::amount;
use super::check::{self, End, Finding};
use super::fact::{self, About};
use super::parcel::{MOVING, Parcel, Taken, Taking};
use super::{ANSWER_MAX, Floor, IDLE_MAX, Input, Session, Step};

/// How to speak of it.
pub(super) struct Way {
    /// Why they move.
    pub(super) step: BizStep,
    /// `put away`: what the operator does.
    pub(super) order: &'static str,
    /// `putting away`: the same, going on.
    pub(super) doing: &'static str,
    /// Whether open replenishments say what goes where.
    pub(super) by_task: bool,
}

/// Starts a session.
pub(super) fn begin(way: &'static Way) -> Box<dyn Session> {
    Box::new(State::NeedSource { way })
}

/// The session that recorded this.
pub(super) fn resume(way: &'static Way, last: &Body) -> Option<Box<dyn Session>> {
    match last {
        Body::Movement(movement) if movement.step == way.step => match (&movement.from, &movement.to) {
            (Place::At(from), Place::At(_)) => {
                let hand = Hand { way, from: Code::Known(from.clone()), held: Vec::new() };
                Some(Box::new(State::Ready { hand, taking: Taking::Ready }))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Items in the hand: they are recorded together, and a trolley that holds more has several trips.
const HELD_MAX: usize = 64;

#[derive(Clone)]
enum State {
    NeedSource { way: &'static Way },
    Ready { hand: Hand, taking: Taking },
    WrongTarget { hand: Hand, target: Code<LocationId>, question: String },
}

/// What was taken and is not set down.
#[derive(Clone)]
struct Hand {
    way: &'static Way,
    from: Code<LocationId>,
    /// At most `HELD_MAX`, with the replenishment that asks for it.
    held: Vec<(Parcel, Option<Reference>)>,
}

impl Session for State {
    fn expected(&self, floor: &Floor<'_>) -> String {
        match self {
            State::NeedSource { way } => match next(way, None, floor) {
                Some(next) => next,
                None => format!("scan the location from which you {}", way.order),
            },
            State::Ready { hand, taking } => {
                let from = check::say(&hand.from);
                let ready = || match (hand.held.len(), next(hand.way, hand.from.known(), floor)) {
                    (0, Some(next)) => next,
                    (0, None) => format!("scan an item out of {from}"),
                    (1, _) => hand.set_down("it"),
                    (count, _) => hand.set_down(&format!("the {count} items")),
                };
                taking.expected(&format!("leave {from}")).unwrap_or_else(ready)
            }
            State::WrongTarget { question, .. } => format!("{question}: YES or NO"),
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedSource { .. } => IDLE_MAX,
            State::Ready { taking, .. } => taking.patience().unwrap_or(IDLE_MAX),
            State::WrongTarget { .. } => ANSWER_MAX,
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
            State::Ready { hand, taking } => {
                let go = |taking| State::Ready { hand: hand.clone(), taking };
                match taking.step(input, floor, MOVING, |parcel| hand.check(parcel, floor)) {
                    Taken::Heard(taking, message) => return Step::heard(go(taking), message),
                    Taken::Dropped(taking, message) => return Step::dropped(go(taking), message),
                    Taken::Refused(message) => return Step::refused(message),
                    Taken::Parcel(parcel) => return hand.take(*parcel, floor),
                    Taken::Other(input) => input,
                }
            }
            _ => input,
        };
        match (self, input) {
            (State::NeedSource { way }, Input::Location(from)) => {
                Hand { way, from, held: Vec::new() }.begin()
            }
            (State::Ready { hand, taking: Taking::Ready }, Input::Location(location)) => {
                if hand.held.is_empty() {
                    return Hand { from: location, ..hand.clone() }.begin();
                }
                hand.reach(location, floor)
            }
            (State::WrongTarget { hand, target, .. }, Input::Yes) => hand.record(target, true, floor),
            (State::WrongTarget { hand, .. }, Input::No | Input::Cancel | Input::Undo) => {
                Step::heard(hand.clone().ready(), hand.set_down("it"))
            }
            (State::WrongTarget { hand, .. }, Input::TimedOut) => {
                Step::dropped(hand.clone().ready(), "no answer for a minute: nothing was recorded")
            }
            (State::NeedSource { .. }, Input::Undo) => Step::undo(),
            (State::Ready { hand, taking: Taking::Ready }, Input::Undo) => {
                let mut hand = hand.clone();
                match hand.held.pop() {
                    Some((parcel, _)) => {
                        let message = format!("put back: {}", say(&parcel));
                        Step::heard(hand.ready(), message)
                    }
                    None => Step::undo(),
                }
            }
            (State::Ready { hand, taking: Taking::Ready }, Input::Done) if !hand.held.is_empty() => {
                Step::refused(format!("not now: {}", hand.set_down("it")))
            }
            (State::Ready { hand, taking: Taking::Ready }, Input::Cancel) if !hand.held.is_empty() => {
                let message = format!("nothing was recorded: put it back to {}", check::say(&hand.from));
                Step::heard(State::NeedSource { way: hand.way }, message)
            }
            (State::Ready { hand, taking: Taking::Ready }, Input::TimedOut) if !hand.held.is_empty() => {
                let count = hand.held.len();
                Step::abandoned_with_loss(format!(
                    "no scan for 15 minutes: {count} taken from {} and not set down, nothing recorded",
                    check::say(&hand.from)
                ))
            }
            (
                State::NeedSource { way } | State::Ready { hand: Hand { way, .. }, taking: Taking::Ready },
                input,
            ) => match input {
                Input::Done => Step::end(format!("{} is done", way.doing)),
                Input::Cancel => Step::end(format!("{} was left; what is recorded stays", way.doing)),
                Input::TimedOut => Step::abandoned(format!("{} ended: no scan for 15 minutes", way.doing)),
                input => Step::not_now(self, input, floor),
            },
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

fn say(parcel: &Parcel) -> String {
    format!("{} {}", amount::say(parcel.quantity), parcel.goods.item.name)
}

/// The next open replenishment: one from this location before the others.
fn next(way: &Way, from: Option<&LocationId>, floor: &Floor<'_>) -> Option<String> {
    if !way.by_task {
        return None;
    }
    let picture = floor.picture;
    let tasks = picture.tasks().of(TaskKind::Replenish);
    let lines =
        tasks.flat_map(|task| task.lines.iter().zip(picture.open(task)).filter(|(_, open)| *open > 0));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by_key(|(line, _)| from.is_none() || line.from.as_ref() != from);
    let (line, steps) = lines.first()?;
    let name = floor.catalogue.item(&line.item).map_or(line.item.as_str(), |item| item.name.as_str());
    let much = amount::say(Quantity { steps: *steps, ..line.quantity });
    let place = |place: &Option<LocationId>| place.as_ref().map_or("?".into(), ToString::to_string);
    Some(format!("take {much} {name} from {} to {}", place(&line.from), place(&line.to)))
}

impl Hand {
    fn begin(self) -> Step {
        let message = format!("{} from {}", self.way.doing, check::say(&self.from));
        Step::heard(self.ready(), message)
    }

    fn ready(self) -> State {
        State::Ready { hand: self, taking: Taking::Ready }
    }

    fn set_down(&self, what: &str) -> String {
        format!("scan where you set {what} down, or more out of {}", check::say(&self.from))
    }

    fn check(&self, parcel: &Parcel, floor: &Floor<'_>) -> Vec<Finding> {
        let mut findings = check::goods(parcel, floor);
        if let Some(id) = self.task(parcel, floor) {
            findings.extend(check::task(parcel, TaskKind::Replenish, &id, floor));
            findings.extend(check::place(parcel, TaskKind::Replenish, &id, &self.from, End::From, floor));
        }
        findings.extend(check::bin(parcel, &self.from, floor));
        findings
    }

    /// The open replenishment that asks for this: from here before from elsewhere.
    fn task(&self, parcel: &Parcel, floor: &Floor<'_>) -> Option<Reference> {
        if !self.way.by_task {
            return None;
        }
        let asks = |here: bool| {
            floor.picture.tasks().of(TaskKind::Replenish).find(|task| {
                let open = floor.picture.open(task);
                task.lines.iter().zip(open).any(|(line, open)| {
                    let from_here = line.from.is_none() || line.from.as_ref() == self.from.known();
                    open > 0 && line.item == parcel.goods.item.id && (from_here || !here)
                })
            })
        };
        asks(true).or_else(|| asks(false)).map(|task| task.id.clone())
    }

    fn take(&self, parcel: Parcel, floor: &Floor<'_>) -> Step {
        if parcel.quantity.steps == 0 {
            return Step::refused(format!("a quantity of zero is nothing to {}", self.way.order));
        }
        if self.held.len() >= HELD_MAX {
            return Step::refused(format!("{HELD_MAX} items in the hand: scan where you set them down"));
        }
        let mut hand = self.clone();
        let message = format!("{} out of {}", say(&parcel), check::say(&self.from));
        let task = self.task(&parcel, floor);
        hand.held.push((parcel, task));
        Step::heard(hand.ready(), message)
    }

    fn reach(&self, target: Code<LocationId>, floor: &Floor<'_>) -> Step {
        if target == self.from {
            return Step::refused(format!("it comes from {}: scan another location", check::say(&target)));
        }
        let wrong = self.held.iter().find_map(|(parcel, task)| {
            check::place(parcel, TaskKind::Replenish, task.as_ref()?, &target, End::To, floor)
        });
        match wrong {
            Some(Finding { message: question, .. }) => {
                let message = format!("{question}: YES or NO");
                Step::dropped(State::WrongTarget { hand: self.clone(), target, question }, message)
            }
            None => self.record(&target, false, floor),
        }
    }

    fn record(&self, target: &Code<LocationId>, wrong: bool, floor: &Floor<'_>) -> Step {
        let fact = |(parcel, task): &(Parcel, Option<Reference>)| {
            let mut parcel = parcel.clone();
            if wrong && !parcel.exceptions.contains(&Exception::WrongLocation) {
                parcel.exceptions.push(Exception::WrongLocation);
                parcel.exceptions.sort_unstable();
            }
            let about = About { reference: task.as_ref(), ..About::default() };
            let places = (fact::at(&self.from), fact::at(target));
            fact::moved(self.way.step, &parcel, places, &about, floor)
        };
        let facts = self.held.iter().map(fact).collect();
        let (from, to) = (check::say(&self.from), check::say(target));
        let message = match &self.held[..] {
            [(parcel, _)] => format!("{} from {from} to {to}", say(parcel)),
            held => format!("{} items from {from} to {to}", held.len()),
        };
        Step::record(facts, Hand { held: Vec::new(), ..self.clone() }.ready(), message)
    }
}
