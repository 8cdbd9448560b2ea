//! Goods that come back from customers, into a location. They are not sold again unless `SW:WHY:GOOD` says so.
//!
//! The states are drawn in `shelf.rs`.

use stockwire_protocol::{BizStep, Body, Code, Place};

use super::shelf::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct Return;

static WAY: Way = Way {
    step: BizStep::Receiving,
    places: |shelf, _| (Code::Known(Place::Customer), shelf),
    disposition: super::reason::returned,
    needs_reason: false,
    order: "take back",
    doing: "taking back",
};

impl Workflow for Return {
    fn name(&self) -> &'static str {
        "RETURN"
    }

    fn title(&self) -> &'static str {
        "Take goods back"
    }

    fn begin(&self) -> Box<dyn Session> {
        shelf::begin(&WAY)
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        shelf::resume(&WAY, last)
    }
}
