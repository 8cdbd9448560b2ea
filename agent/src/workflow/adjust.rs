//! Adjusting the stock for a reason: `SW:WHY:FOUND` adds, every other reason takes away.
//!
//! A count says how much is there; this says what has happened. The states are drawn in `shelf.rs`.

use stockwire_protocol::{BizStep, Body, Code, Place};

use super::shelf::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct Adjust;

static WAY: Way = Way {
    step: BizStep::CycleCounting,
    places: |shelf, reason| match reason {
        Some(reason) if reason.as_str() == super::reason::FOUND => (Code::Known(Place::Loss), shelf),
        _ => (shelf, Code::Known(Place::Loss)),
    },
    disposition: |_| None,
    needs_reason: true,
    order: "adjust",
    doing: "adjusting",
};

impl Workflow for Adjust {
    fn name(&self) -> &'static str {
        "ADJUST"
    }

    fn title(&self) -> &'static str {
        "Adjust the stock"
    }

    fn begin(&self) -> Box<dyn Session> {
        shelf::begin(&WAY)
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        shelf::resume(&WAY, last)
    }
}
