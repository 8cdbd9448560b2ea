//! Counting: what somebody saw at a location; the gateway books the difference.
//!
//! ```text
//!  SW:WF:COUNT
//!      |                 location            item: a parcel (parcel.rs), into the tally
//!      '-> NeedLocation ----------> Tallying --------------------------------------------> Tallying
//!             ^                       |
//!             '-----------------------'  DONE: recorded. CANCEL, 15 min: the tally is dropped
//! ```
//!
//! - The tally of a location lives at the station until DONE: then all its counts are recorded together, durable before
//!   the beep. Until then a scan is *heard*, not *good*, and a power cut means counting this location again.
//! - `SW:QTY:n` says how many the *next* item scan means; `SW:QTY:0` and an item record that there is none.
//!   `SW:CMD:WEIGH` and an item let the scale count its pieces.
//! - An item that is kept by lot is counted by lot; of any other the lots are counted together.
//! - UNDO takes the last scan out of the tally. A recorded count is corrected by counting again.
//! - DONE asks for the next location, and without one it ends the session. Locations that the gateway wants counted are
//!   named on the screen; others may be counted too.

use std::time::Duration;

use stockwire_protocol::{Body, Code, Details, LocationId, Lot, Quantity, Reference, Task, TaskKind, Uom};

use super::amount;
use super::check;
use super::fact;
use super::parcel::{Ask, Goods, Parcel, Taken, Taking, Words};
use super::{Floor, IDLE_MAX, Input, Session, Step, Workflow};

/// The row of the table.
pub struct CountStock;

impl Workflow for CountStock {
    fn name(&self) -> &'static str {
        "COUNT"
    }

    fn title(&self) -> &'static str {
        "Count a location"
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(State::NeedLocation)
    }
}

/// Different items in one location before DONE is asked for: they are recorded in one commit and sent in one batch.
pub const TALLY_ITEMS_MAX: usize = 128;
/// Scans that UNDO can take out of the tally, one after the other.
pub const UNDO_MAX: usize = 64;

/// A count asks for the lot of what is kept by lot, and for nothing else.
const COUNTING: Words = Words { done: "counted", asks: &[Ask::Lot] };

#[derive(Clone)]
enum State {
    NeedLocation,
    Tallying { tally: Tally, taking: Taking },
}

/// What was seen at a location so far.
#[derive(Clone)]
struct Tally {
    location: Code<LocationId>,
    /// In the order in which they were first seen; at most `TALLY_ITEMS_MAX`.
    lines: Vec<Line>,
    /// The last scans: which line, and what its amount was before (`None`: it was not in the tally).
    undo: Vec<(Kept, Option<Quantity>)>,
}

#[derive(Clone)]
struct Line {
    kept: Kept,
    counted: Quantity,
}

/// What is counted together.
#[derive(Clone, PartialEq)]
struct Kept {
    goods: Goods,
    lot: Option<Lot>,
}

impl Session for State {
    fn expected(&self, floor: &Floor<'_>) -> String {
        match self {
            State::NeedLocation => match wanted(floor) {
                Some(location) => format!("scan the location to count: {location} is wanted"),
                None => "scan the location to count".into(),
            },
            State::Tallying { tally, taking } => {
                let at = check::say(&tally.location);
                let ready = || format!("scan what lies in {at}, then DONE");
                taking.expected(&format!("lie in {at}")).unwrap_or_else(ready)
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedLocation => IDLE_MAX,
            State::Tallying { taking, .. } => taking.patience().unwrap_or(IDLE_MAX),
        }
    }

    fn weighing(&self) -> Option<Uom> {
        match self {
            State::Tallying { taking, .. } => taking.weighing(),
            State::NeedLocation => None,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        let input = match self {
            State::Tallying { tally, taking } => {
                let go = |taking| State::Tallying { tally: tally.clone(), taking };
                // Whatever lies there is counted, in whatever condition.
                match taking.step(input, floor, COUNTING, |_| Vec::new()) {
                    Taken::Heard(taking, message) => return Step::heard(go(taking), message),
                    Taken::Dropped(taking, message) => return Step::dropped(go(taking), message),
                    Taken::Refused(message) => return Step::refused(message),
                    Taken::Parcel(parcel) => return tally.add(&parcel),
                    Taken::Other(input) => input,
                }
            }
            State::NeedLocation => input,
        };
        match (self, input) {
            (State::NeedLocation, Input::Location(location)) => {
                let message = format!("counting {}", check::say(&location));
                Step::heard(Tally { location, lines: Vec::new(), undo: Vec::new() }.ready(), message)
            }
            (State::NeedLocation, Input::Done) => Step::end("counting is done"),
            (State::NeedLocation, Input::Cancel) => Step::end("counting was left; what is recorded stays"),
            (State::NeedLocation, Input::TimedOut) => {
                Step::abandoned("counting ended: no scan for 15 minutes")
            }
            (State::NeedLocation, Input::Undo) => {
                Step::refused("a recorded count is not taken back: count the location again")
            }
            (State::Tallying { tally, taking: Taking::Ready }, input) => match input {
                Input::Location(location) if location == tally.location => {
                    Step::heard(tally.clone().ready(), format!("counting {}", check::say(&location)))
                }
                Input::Location(_) => Step::refused(format!(
                    "{} is not finished: DONE records it, CANCEL drops it",
                    check::say(&tally.location)
                )),
                Input::Undo => tally.undo(),
                Input::Done => tally.record(floor),
                Input::Cancel => {
                    let message = format!("the count of {} was dropped", check::say(&tally.location));
                    Step::heard(State::NeedLocation, message)
                }
                Input::TimedOut => Step::abandoned_with_loss(format!(
                    "no scan for 15 minutes: the count of {} was dropped",
                    check::say(&tally.location)
                )),
                input => Step::not_now(self, input, floor),
            },
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

/// The first location that the gateway wants counted and that was not counted here since.
fn wanted<'a>(floor: &Floor<'a>) -> Option<&'a LocationId> {
    let tasks = floor.picture.tasks().of(TaskKind::Count);
    tasks.filter(|task| !floor.picture.is_counted(task)).find_map(|task| task.location.as_ref())
}

/// The task that wants this location counted.
fn task<'a>(location: &Code<LocationId>, floor: &Floor<'a>) -> Option<&'a Reference> {
    let is_it = |task: &&Task| task.location.as_ref() == location.known();
    floor
        .picture
        .tasks()
        .of(TaskKind::Count)
        .filter(|_| location.known().is_some())
        .find(is_it)
        .map(|task| &task.id)
}

impl Tally {
    fn ready(self) -> State {
        State::Tallying { tally: self, taking: Taking::Ready }
    }

    fn add(&self, parcel: &Parcel) -> Step {
        let lot = parcel.label.lot.clone().filter(|_| parcel.goods.item.rules.lot);
        let kept = Kept { goods: parcel.goods.clone(), lot };
        let name = &parcel.goods.item.name;
        let mut tally = self.clone();
        let at = tally.lines.iter().position(|line| line.kept == kept);
        let before = at.map(|at| tally.lines[at].counted);
        let more = parcel.quantity;
        let counted = match before.map_or(Ok(more), |before| before.checked_add(more)) {
            Ok(counted) => counted,
            Err(error) => return Step::refused(format!("the amount cannot be counted: {error}")),
        };
        match at {
            Some(at) => tally.lines[at].counted = counted,
            None if tally.lines.len() >= TALLY_ITEMS_MAX => {
                return Step::refused(format!("{TALLY_ITEMS_MAX} different items: scan DONE, then go on"));
            }
            None => tally.lines.push(Line { kept: kept.clone(), counted }),
        }
        let lot = kept.lot.as_ref().map(|lot| format!(" of lot {lot}")).unwrap_or_default();
        tally.undo.push((kept, before));
        if tally.undo.len() > UNDO_MAX {
            tally.undo.remove(0);
        }
        Step::heard(tally.ready(), format!("{} {name}{lot} so far", amount::say(counted)))
    }

    fn undo(&self) -> Step {
        let mut tally = self.clone();
        let Some((kept, before)) = tally.undo.pop() else {
            return Step::refused("nothing to take back here");
        };
        let name = &kept.goods.item.id;
        let message = match before {
            Some(before) => {
                let line = tally.lines.iter_mut().find(|line| line.kept == kept);
                line.into_iter().for_each(|line| line.counted = before);
                format!("taken back: {} {name} so far", amount::say(before))
            }
            None => {
                tally.lines.retain(|line| line.kept != kept);
                format!("taken back: no {name} so far")
            }
        };
        Step::heard(tally.ready(), message)
    }

    fn record(&self, floor: &Floor<'_>) -> Step {
        let at = check::say(&self.location);
        if self.lines.is_empty() {
            return Step::dropped(State::NeedLocation, format!("nothing was counted in {at}"));
        }
        let reference = task(&self.location, floor);
        let fact = |line: &Line| -> Body {
            let details = Details {
                lot: line.kept.lot.clone(),
                reference: reference.cloned(),
                operator: floor.operator.cloned(),
                ..Details::default()
            };
            fact::counted(&line.kept.goods, line.counted, &self.location, details, floor)
        };
        let facts = self.lines.iter().map(fact).collect();
        let message = format!("{} counted in {at}", items(self.lines.len()));
        Step::record(facts, State::NeedLocation, message)
    }
}

fn items(count: usize) -> String {
    if count == 1 { "1 item".into() } else { format!("{count} items") }
}
