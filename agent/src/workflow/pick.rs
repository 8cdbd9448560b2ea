//! Picking: out of a location to a customer, movement by movement, with the order's number when it is scanned.
//!
//! The states are drawn in `goods.rs`.

use stockwire_protocol::{BizStep, Place};

use super::goods::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct Pick;

static WAY: Way = Way {
    step: BizStep::Picking,
    places: |shelf| (shelf, Place::Customer),
    order: "pick",
    doing: "picking",
    at: "picking from",
    side: "out of",
    counted: "leave",
    ask: "to pick from",
};

impl Workflow for Pick {
    fn name(&self) -> &'static str {
        "PICK"
    }

    fn title(&self) -> &'static str {
        "Pick for customers"
    }

    fn begin(&self) -> Box<dyn Session> {
        goods::begin(&WAY)
    }
}
