//! Replenishing: from the reserve to where goods are picked, by the open replenishments of the site or freely.
//!
//! The states are drawn in `carry.rs`.

use stockwire_protocol::{BizStep, Body};

use super::carry::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct Replenish;

static WAY: Way = Way { step: BizStep::Stocking, order: "take for filling", doing: "filling", by_task: true };

impl Workflow for Replenish {
    fn name(&self) -> &'static str {
        "REPLENISH"
    }

    fn title(&self) -> &'static str {
        "Fill a pick face"
    }

    fn begin(&self) -> Box<dyn Session> {
        carry::begin(&WAY)
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        carry::resume(&WAY, last)
    }
}
