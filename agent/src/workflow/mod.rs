//! Workflows: one table, one file each. A session is one run of a workflow, from its barcode to DONE.
//!
//! A session is a value that does not change: [`Session::step`] answers an input with what follows, and the station
//! takes the next session only when what had to be recorded is durable. So a scan that could not be stored leaves the
//! operator exactly where they were, and scanning again is right.
//!
//! Each state has a way out by scanning (CANCEL everywhere) and a time-out ([`Session::patience`]).
//!
//! What a scan of goods needs until it can be booked (quantity, lot, weight, a question) is the same everywhere: a
//! `Taking` (`parcel.rs`) inside the states of the workflow.

pub mod amount;
pub mod command;
pub mod reason;

mod check;
mod fact;
mod parcel;

pub mod receive;

mod carry;
pub mod move_goods;
pub mod put_away;
pub mod replenish;

pub mod pick;

pub mod load;
pub mod pack;

pub mod adjust;
pub mod returns;
pub mod scrap;
mod shelf;

pub mod count;
pub mod relabel;

use std::time::Duration;

use stockwire_protocol::gs1::{Date, Decimal, Sscc};
use stockwire_protocol::{
    Body, CatalogueItem, Code, LocationId, OperatorId, RawScan, Reason, Reference, StationId, Uom,
};

use amount::{Label, Weighed};

use crate::catalogue::Catalogue;
use crate::picture::Picture;

pub(crate) use fact::{reverse, subject};

/// The workflows, in the order in which they are listed to people.
pub static WORKFLOWS: &[&dyn Workflow] = &[
    &receive::Receive,
    &put_away::PutAway,
    &move_goods::MoveGoods,
    &replenish::Replenish,
    &pick::Pick,
    &pack::Pack,
    &load::Load,
    &returns::Return,
    &count::CountStock,
    &adjust::Adjust,
    &scrap::Scrap,
    &relabel::Relabel,
];

/// The workflow of the barcode `SW:WF:{name}`.
pub fn find(name: &str) -> Option<&'static dyn Workflow> {
    WORKFLOWS.iter().copied().find(|row| row.name() == name)
}

/// One row of [`WORKFLOWS`].
pub trait Workflow: Sync {
    /// As it stands on the barcode.
    fn name(&self) -> &'static str;

    /// For people.
    fn title(&self) -> &'static str;

    /// Starts a session.
    fn begin(&self) -> Box<dyn Session>;

    /// The session that recorded this as its last fact, when it was one of this workflow: after a power cut the
    /// operator is asked whether to go on with it.
    fn resume(&self, _last: &Body) -> Option<Box<dyn Session>> {
        None
    }
}

/// One run of a workflow, in one of its states.
pub trait Session: Send {
    /// What the operator should scan next.
    fn expected(&self, floor: &Floor<'_>) -> String;

    /// How long to wait for it; then [`Input::TimedOut`] is given.
    fn patience(&self) -> Duration;

    /// In which unit the goods are wanted that lie on the scale, or should; the station then asks the scale until it
    /// gives [`Input::Weight`].
    fn weighing(&self) -> Option<Uom> {
        None
    }

    /// What follows from an input.
    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step;
}

/// What is true at the station whatever the workflow.
#[derive(Clone, Copy, Debug)]
pub struct Floor<'a> {
    /// Where it is recorded.
    pub station: &'a StationId,
    /// Who works, when a badge was scanned.
    pub operator: Option<&'a OperatorId>,
    /// Whether there is a scale.
    pub scale: bool,
    /// The calendar day; `None` while the clock is not synchronised.
    pub today: Option<Date>,
    /// Goods and places.
    pub catalogue: &'a Catalogue,
    /// What is to be done, and what lies where.
    pub picture: &'a Picture,
    /// What becomes of codes that the catalogue does not know.
    pub unknown: Unknown,
}

/// What becomes of codes that the catalogue does not know, as the site decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unknown {
    /// They are refused at once.
    #[default]
    Refuse,
    /// They are recorded as scanned, and resolved at the gateway.
    Record,
}

/// One thing the operator did, or failed to do in time.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Scanned a location of this site, or one that will be resolved at the gateway.
    Location(Code<LocationId>),
    /// Scanned an item of the catalogue.
    Item(&'a CatalogueItem, Label),
    /// Scanned the licence plate of a pallet or carton by itself.
    Plate(Sscc),
    /// Scanned a code that the catalogue does not know.
    Stranger(Stranger, Label),
    /// Scanned the number of an order or another task by itself.
    Reference(Reference),
    /// Scanned a quantity.
    Quantity(Decimal),
    /// Scanned why.
    Reason(Reason),
    /// The scale gave a weight that can be booked; only while [`Session::weighing`].
    Weight(Weighed),
    /// Scanned DONE.
    Done,
    /// Scanned CANCEL.
    Cancel,
    /// Scanned UNDO.
    Undo,
    /// Scanned YES.
    Yes,
    /// Scanned NO.
    No,
    /// Scanned SHORT.
    Short,
    /// Scanned WEIGH.
    Weigh,
    /// The session's patience is over.
    TimedOut,
}

/// A code that the catalogue does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// As it came; `None` when it is too long to be recorded.
    pub raw: Option<RawScan>,
    /// Its text, without the AIM identifier.
    pub text: String,
    /// What is wrong with it, for people.
    pub why: String,
}

/// What follows from an input.
pub struct Step {
    /// Where the session goes; with [`Outcome::Record`] only once that is durable.
    pub next: Next,
    /// What the operator is told.
    pub outcome: Outcome,
}

/// Where a session goes.
pub enum Next {
    /// It stays as it is.
    Stay,
    /// It goes on as this one.
    Go(Box<dyn Session>),
    /// It is over.
    End,
}

/// What the operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Understood; nothing to record.
    Heard(String),
    /// Not accepted, and why.
    Refused(String),
    /// A code that nobody knows.
    Unknown(String),
    /// For the screen alone.
    Told(String),
    /// Record these, and say so once they are durable.
    Record {
        /// At least one.
        facts: Vec<Body>,
        /// What to say then.
        message: String,
    },
    /// Take the last fact of this session back, by a new one.
    UndoLast,
}

impl Step {
    /// Understood; goes on as `next`.
    pub fn heard(next: impl Session + 'static, message: impl Into<String>) -> Self {
        Self { next: Next::Go(Box::new(next)), outcome: Outcome::Heard(message.into()) }
    }

    /// Not accepted; stays.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { next: Next::Stay, outcome: Outcome::Refused(message.into()) }
    }

    /// Something was dropped, or a question came up, which the operator must hear; goes on as `next`.
    pub fn dropped(next: impl Session + 'static, message: impl Into<String>) -> Self {
        Self { next: Next::Go(Box::new(next)), outcome: Outcome::Refused(message.into()) }
    }

    /// To be recorded; goes on as `next` when that is durable.
    pub fn record(facts: Vec<Body>, next: impl Session + 'static, message: impl Into<String>) -> Self {
        Self { next: Next::Go(Box::new(next)), outcome: Outcome::Record { facts, message: message.into() } }
    }

    /// The session is over.
    pub fn end(message: impl Into<String>) -> Self {
        Self { next: Next::End, outcome: Outcome::Heard(message.into()) }
    }

    /// The session ends because nobody went on with it.
    pub fn abandoned(message: impl Into<String>) -> Self {
        Self { next: Next::End, outcome: Outcome::Told(message.into()) }
    }

    /// The session ends because nobody went on with it, and what was not recorded is dropped.
    pub fn abandoned_with_loss(message: impl Into<String>) -> Self {
        Self { next: Next::End, outcome: Outcome::Refused(message.into()) }
    }

    /// The last fact is to be taken back; stays.
    pub fn undo() -> Self {
        Self { next: Next::Stay, outcome: Outcome::UndoLast }
    }

    /// The last fact is to be taken back; goes on as `next` when that is durable.
    pub fn undo_to(next: impl Session + 'static) -> Self {
        Self { next: Next::Go(Box::new(next)), outcome: Outcome::UndoLast }
    }

    /// The input has no place in this state.
    pub fn not_now(state: &dyn Session, input: Input<'_>, floor: &Floor<'_>) -> Self {
        match input {
            Input::Stranger(stranger, _) => {
                Self { next: Next::Stay, outcome: Outcome::Unknown(stranger.why) }
            }
            _ => Self::refused(format!("not now: {}", state.expected(floor))),
        }
    }
}

/// Nobody leaves a station for so long in the middle of a task; the next operator must not continue it unawares.
pub const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// A quantity that was scanned and forgotten must not multiply the next piece an hour later.
pub const QUANTITY_MAX: Duration = Duration::from_secs(60);
/// Long enough to lift a crate onto the scale and let it settle.
pub const WEIGHING_MAX: Duration = Duration::from_secs(60);
/// Long enough to read a question, look at the goods and find the barcode of the answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use stockwire_protocol::SiteId;

    use super::*;

    #[test]
    fn rows_are_found_by_name_and_names_are_unique() {
        for (at, row) in WORKFLOWS.iter().enumerate() {
            assert_eq!(
                WORKFLOWS.iter().position(|other| other.name() == row.name()),
                Some(at),
                "{}",
                row.name()
            );
            assert!(find(row.name()).is_some() && !row.title().is_empty());
        }
        assert!(find("receive").is_none(), "names are upper case, as printed");
    }

    #[test]
    fn every_workflow_begins_with_a_question_a_way_out_and_a_time_out() {
        let (station, site) = (StationId::new("bench-1").unwrap(), SiteId::new("HAM").unwrap());
        let (catalogue, picture) = (Catalogue::empty(site.clone()), Picture::new(site));
        let floor = Floor {
            station: &station,
            operator: None,
            scale: true,
            today: None,
            catalogue: &catalogue,
            picture: &picture,
            unknown: Unknown::Refuse,
        };
        for row in WORKFLOWS {
            let session = row.begin();
            assert!(!session.expected(&floor).is_empty() && session.patience() <= IDLE_MAX, "{}", row.name());
            for out in [Input::Cancel, Input::TimedOut] {
                assert!(matches!(session.step(out, &floor).next, Next::End), "{}", row.name());
            }
        }
    }
}
