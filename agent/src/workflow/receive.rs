//! Goods in, blind: from the supplier into a location, movement by movement.
//!
//! The states are drawn in `goods.rs`.

use stockwire_protocol::{BizStep, Place};

use super::goods::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct Receive;

static WAY: Way = Way {
    step: BizStep::Receiving,
    places: |shelf| (Place::Supplier, shelf),
    order: "receive",
    doing: "receiving",
    at: "receiving into",
    side: "into",
    counted: "go into",
    ask: "that receives",
};

impl Workflow for Receive {
    fn name(&self) -> &'static str {
        "RECEIVE"
    }

    fn title(&self) -> &'static str {
        "Receive goods"
    }

    fn begin(&self) -> Box<dyn Session> {
        goods::begin(&WAY)
    }
}
