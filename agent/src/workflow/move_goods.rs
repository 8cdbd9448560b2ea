//! Moving: from one location to another, for whatever reason. In the books it is storing, as putting away is.
//!
//! The states are drawn in `carry.rs`. After a power cut PUT_AWAY goes on with it: the books do not tell the two apart.

use stockwire_protocol::BizStep;

use super::carry::{self, Way};
use super::{Session, Workflow};

/// The row of the table.
pub struct MoveGoods;

static WAY: Way = Way { step: BizStep::Storing, order: "move", doing: "moving", by_task: false };

impl Workflow for MoveGoods {
    fn name(&self) -> &'static str {
        "MOVE"
    }

    fn title(&self) -> &'static str {
        "Move goods"
    }

    fn begin(&self) -> Box<dyn Session> {
        carry::begin(&WAY)
    }
}
