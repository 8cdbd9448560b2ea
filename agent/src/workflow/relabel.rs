//! A new label for goods whose old one is wrong, torn or missing.
//!
//! ```text
//!  SW:WF:RELABEL
//!      |             the old label, or the shelf's           the new label, from the goods: recorded
//!      '-> NeedOld ---------------------------------> NeedNew --------------------------------------> NeedOld
//!             ^                                          |
//!             '------------------------------------------'  CANCEL, UNDO, 60 s: nothing was recorded
//! ```
//!
//! - The new label is scanned where it sticks: only so is it known to be readable and right. It must name the same item
//!   and, when the old one names a lot or serial number, the same.
//! - In NeedOld DONE ends and CANCEL leaves. 15 minutes without a scan end the session.

use std::time::Duration;

use stockwire_protocol::{Act, Body, CatalogueItem, Content};

use super::amount::{self, Amount, How, Label};
use super::fact;
use super::{ANSWER_MAX, Floor, IDLE_MAX, Input, Session, Step, Workflow};

/// The row of the table.
pub struct Relabel;

impl Workflow for Relabel {
    fn name(&self) -> &'static str {
        "RELABEL"
    }

    fn title(&self) -> &'static str {
        "Check a new label"
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(State::NeedOld)
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        match last {
            Body::Handling(handling) if handling.act == Act::Relabelled => Some(Box::new(State::NeedOld)),
            _ => None,
        }
    }
}

#[derive(Clone)]
enum State {
    NeedOld,
    NeedNew { item: Box<CatalogueItem>, old: Box<Label> },
}

impl Session for State {
    fn expected(&self, _floor: &Floor<'_>) -> String {
        match self {
            State::NeedOld => "scan the old label, or the item's code at its shelf".into(),
            State::NeedNew { item, .. } => format!("scan the new label on {}", item.name),
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedOld => IDLE_MAX,
            State::NeedNew { .. } => ANSWER_MAX,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        match (self, input) {
            (State::NeedOld, Input::Item(item, old)) => {
                let state = State::NeedNew { item: Box::new(item.clone()), old: Box::new(old) };
                let message = state.expected(floor);
                Step::heard(state, message)
            }
            (State::NeedNew { item, old }, Input::Item(said, new)) => compare(item, old, said, &new, floor),
            (State::NeedNew { item, .. }, Input::Cancel | Input::Undo | Input::No) => {
                Step::heard(State::NeedOld, format!("the label of {} was not recorded", item.name))
            }
            (State::NeedNew { item, .. }, Input::TimedOut) => Step::dropped(
                State::NeedOld,
                format!("no new label for a minute: that of {} was not recorded", item.name),
            ),
            (State::NeedOld, Input::Undo) => Step::refused("a label is not taken back: print another one"),
            (State::NeedOld, Input::Done) => Step::end("relabelling is done"),
            (State::NeedOld, Input::Cancel) => Step::end("relabelling was left; what is recorded stays"),
            (State::NeedOld, Input::TimedOut) => Step::abandoned("relabelling ended: no scan for 15 minutes"),
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

fn compare(item: &CatalogueItem, old: &Label, said: &CatalogueItem, new: &Label, floor: &Floor<'_>) -> Step {
    if said.id != item.id {
        return Step::refused(format!("the new label is of {}, not of {}", said.name, item.name));
    }
    if let (Some(was), is) = (&old.lot, &new.lot)
        && is.as_ref() != Some(was)
    {
        return Step::refused(format!("the old label names lot {was}, the new one does not"));
    }
    if let (Some(was), is) = (&old.serial, &new.serial)
        && is.as_ref() != Some(was)
    {
        return Step::refused(format!("the old label names serial number {was}, the new one does not"));
    }
    match amount::of(item, new, How::Label, false) {
        Amount::Exactly(quantity) if quantity.steps > 0 => {
            let content = Content::Goods { item: item.id.clone(), quantity };
            let details = new.details(None, floor.operator, None);
            let fact = fact::handled(Act::Relabelled, Some(content), None, details, floor);
            Step::record(vec![fact], State::NeedOld, format!("{} has a new label", item.name))
        }
        Amount::Refused(why) => Step::refused(why),
        Amount::Exactly(_) | Amount::Weigh => Step::refused("the new label must say how much it is of"),
    }
}
