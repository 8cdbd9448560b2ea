//! Scrapping: out of a location for good, for a reason.
//!
//! The states are drawn in `shelf.rs`.

use stockwire_protocol::{BizStep, Body, Code, Place};

use super::shelf::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct Scrap;

static WAY: Way = Way {
    step: BizStep::Destroying,
    places: |shelf, _| (shelf, Code::Known(Place::Loss)),
    disposition: |_| None,
    needs_reason: true,
    order: "scrap",
    doing: "scrapping",
};

impl Workflow for Scrap {
    fn name(&self) -> &'static str {
        "SCRAP"
    }

    fn title(&self) -> &'static str {
        "Scrap goods"
    }

    fn begin(&self) -> Box<dyn Session> {
        shelf::begin(&WAY)
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        shelf::resume(&WAY, last)
    }
}
