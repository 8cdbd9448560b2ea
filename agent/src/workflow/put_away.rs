//! Putting away: from where goods came in to where they are kept.
//!
//! The states are drawn in `carry.rs`.

use stockwire_protocol::{BizStep, Body};

use super::carry::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct PutAway;

static WAY: Way = Way { step: BizStep::Storing, order: "put away", doing: "putting away", by_task: false };

impl Workflow for PutAway {
    fn name(&self) -> &'static str {
        "PUT_AWAY"
    }

    fn title(&self) -> &'static str {
        "Put goods away"
    }

    fn begin(&self) -> Box<dyn Session> {
        carry::begin(&WAY)
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        carry::resume(&WAY, last)
    }
}
