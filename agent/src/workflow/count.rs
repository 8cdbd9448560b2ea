//! Counting: what somebody saw at a location; the gateway books the difference.
//!
//! ```text
//!  SW:WF:COUNT
//!      |                 location            item: one more in the tally
//!      '-> NeedLocation ----------> Tallying --------------------------> Tallying
//!             ^                      |  |  |
//!             |   DONE: recorded     |  |  | item booked by weight
//!             |---------------------'   |  '--------------> Weighing
//!             |   CANCEL, 15 min:       |                     |  weight: into the tally
//!             |   tally dropped         | SW:QTY:n            |  CANCEL, UNDO, 60 s: dropped
//!             |                         v                     '--> Tallying
//!             '----- CANCEL           Counted -- item, n of it; CANCEL, UNDO, 60 s: dropped --> Tallying
//! ```
//!
//! - The tally of a location lives at the station until DONE: then all its counts are recorded together, durable before
//!   the beep. Until then a scan is *heard*, not *good*, and a power cut means counting this location again.
//! - `SW:QTY:n` says how many the *next* item scan means; `SW:QTY:0` and an item record that there is none.
//! - UNDO takes the last scan out of the tally. A recorded count is corrected by counting again.
//! - DONE asks for the next location, and without one it ends the session.

use std::time::Duration;

use stockwire_protocol::gs1::Decimal;
use stockwire_protocol::{Body, CatalogueItem, Count, Details, ItemId, LocationId, Quantity};

use super::amount::{self, Amount, Label};
use super::{Floor, IDLE_MAX, Input, Next, Outcome, QUANTITY_MAX, Session, Step, WEIGHING_MAX, Workflow};

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

#[derive(Clone)]
enum State {
    NeedLocation,
    Tallying(Tally),
    Counted { tally: Tally, quantity: Decimal },
    Weighing { tally: Tally, item: CatalogueItem },
}

/// What was seen at a location so far.
#[derive(Clone)]
struct Tally {
    location: LocationId,
    /// In the order in which they were first seen; at most `TALLY_ITEMS_MAX`.
    lines: Vec<Line>,
    /// The last scans: which item, and what its amount was before (`None`: it was not in the tally).
    undo: Vec<(ItemId, Option<Quantity>)>,
}

#[derive(Clone)]
struct Line {
    item: CatalogueItem,
    counted: Quantity,
}

impl Session for State {
    fn expected(&self) -> String {
        match self {
            State::NeedLocation => "scan the location to count".into(),
            State::Tallying(tally) => format!("scan what lies in {}, then DONE", tally.location),
            State::Counted { quantity, tally } => {
                format!("scan the item of which {quantity} lie in {}", tally.location)
            }
            State::Weighing { item, .. } => format!("put {} on the scale", item.name),
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedLocation | State::Tallying(_) => IDLE_MAX,
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
            (State::NeedLocation, Input::Location(location)) => {
                let tally = Tally { location: location.clone(), lines: Vec::new(), undo: Vec::new() };
                Step::heard(State::Tallying(tally), format!("counting {location}"))
            }
            (State::NeedLocation, Input::Done) => Step::end("counting is done"),
            (State::NeedLocation, Input::Cancel) => Step::end("counting was left; what is recorded stays"),
            (State::NeedLocation, Input::TimedOut) => {
                Step::abandoned("counting ended: no scan for 15 minutes")
            }
            (State::NeedLocation, Input::Undo) => {
                Step::refused("a recorded count is not taken back: count the location again")
            }
            (State::Tallying(tally), Input::Item(item, label)) => tally.see(None, item, &label, floor),
            (State::Counted { tally, quantity }, Input::Item(item, label)) => {
                tally.see(Some(*quantity), item, &label, floor)
            }
            (State::Weighing { tally, item }, Input::Weight(weighed)) => tally.add(item, weighed.quantity),
            (State::Tallying(tally) | State::Counted { tally, .. }, Input::Quantity(quantity)) => {
                let message = format!("{quantity} of the next item");
                Step::heard(State::Counted { tally: tally.clone(), quantity }, message)
            }
            (State::Tallying(tally), Input::Location(location)) if *location == tally.location => {
                Step::heard(self.clone(), format!("counting {location}"))
            }
            (State::Tallying(tally), Input::Location(_)) => {
                Step::refused(format!("{} is not finished: DONE records it, CANCEL drops it", tally.location))
            }
            (State::Tallying(tally), Input::Undo) => tally.undo(),
            (State::Tallying(tally), Input::Done) => tally.record(floor),
            (State::Tallying(tally), Input::Cancel) => {
                Step::heard(State::NeedLocation, format!("the count of {} was dropped", tally.location))
            }
            (State::Tallying(tally), Input::TimedOut) => {
                let message = format!("no scan for 15 minutes: the count of {} was dropped", tally.location);
                Step { next: Next::End, outcome: Outcome::Refused(message) }
            }
            (State::Counted { tally, .. }, Input::Cancel | Input::Undo) => {
                Step::heard(State::Tallying(tally.clone()), "the quantity was dropped")
            }
            (State::Counted { tally, .. }, Input::TimedOut) => Step::dropped(
                State::Tallying(tally.clone()),
                "the quantity was dropped: no item for a minute",
            ),
            (State::Weighing { tally, item }, Input::Cancel | Input::Undo) => Step::heard(
                State::Tallying(tally.clone()),
                format!("{} was not weighed and not counted", item.name),
            ),
            (State::Weighing { tally, item }, Input::TimedOut) => {
                let message = format!("no stable weight for a minute: {} was not counted", item.name);
                Step::dropped(State::Tallying(tally.clone()), message)
            }
            (state, _) => Step::refused(format!("not now: {}", state.expected())),
        }
    }
}

impl Tally {
    fn see(&self, scanned: Option<Decimal>, item: &CatalogueItem, label: &Label, floor: &Floor<'_>) -> Step {
        match amount::of(item, label, scanned, floor.scale) {
            Amount::Exactly(quantity) => self.add(item, quantity),
            Amount::Weigh => {
                let message = format!("put {} on the scale", item.name);
                Step::heard(State::Weighing { tally: self.clone(), item: item.clone() }, message)
            }
            Amount::Refused(why) => Step::refused(why),
        }
    }

    fn add(&self, item: &CatalogueItem, more: Quantity) -> Step {
        let mut tally = self.clone();
        let at = tally.lines.iter().position(|line| line.item.id == item.id);
        let before = at.map(|at| tally.lines[at].counted);
        let counted = match before.map_or(Ok(more), |before| before.checked_add(more)) {
            Ok(counted) => counted,
            Err(error) => return Step::refused(format!("the amount cannot be counted: {error}")),
        };
        match at {
            Some(at) => tally.lines[at].counted = counted,
            None if tally.lines.len() >= TALLY_ITEMS_MAX => {
                return Step::refused(format!("{TALLY_ITEMS_MAX} different items: scan DONE, then go on"));
            }
            None => tally.lines.push(Line { item: item.clone(), counted }),
        }
        tally.undo.push((item.id.clone(), before));
        if tally.undo.len() > UNDO_MAX {
            tally.undo.remove(0);
        }
        Step::heard(State::Tallying(tally), format!("{} {} so far", amount::say(counted), item.name))
    }

    fn undo(&self) -> Step {
        let mut tally = self.clone();
        let Some((item, before)) = tally.undo.pop() else {
            return Step::refused("nothing to take back here");
        };
        let message = match before {
            Some(before) => {
                let line = tally.lines.iter_mut().find(|line| line.item.id == item);
                line.into_iter().for_each(|line| line.counted = before);
                format!("taken back: {} {item} so far", amount::say(before))
            }
            None => {
                tally.lines.retain(|line| line.item.id != item);
                format!("taken back: no {item} so far")
            }
        };
        Step::heard(State::Tallying(tally), message)
    }

    fn record(&self, floor: &Floor<'_>) -> Step {
        if self.lines.is_empty() {
            let message = format!("nothing was counted in {}", self.location);
            return Step::dropped(State::NeedLocation, message);
        }
        let fact = |line: &Line| {
            Body::Count(Count {
                item: line.item.id.clone(),
                counted: line.counted,
                location: self.location.clone(),
                station: floor.station.clone(),
                details: Details { operator: floor.operator.cloned(), ..Details::default() },
            })
        };
        let facts = self.lines.iter().map(fact).collect();
        let message = format!("{} counted in {}", items(self.lines.len()), self.location);
        Step::record(facts, State::NeedLocation, message)
    }
}

fn items(count: usize) -> String {
    if count == 1 { "1 item".into() } else { format!("{count} items") }
}
