//! How orders are dealt with; from the configuration.

use super::fact::Verdict;
use super::source::Source;
use super::{Order, Payment};

/// How the orders of one channel are dealt with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Sites that may ship.
    pub sources: Vec<Source>,
    /// What is asked before anything leaves.
    pub checks: Vec<Check>,
    /// What happens when stock is missing.
    pub when_short: WhenShort,
    /// When a parcel has left.
    pub leaves: Leaves,
    /// Whether there is an ERP that takes sales.
    pub posts_sales: bool,
    /// Whether the channel is told what becomes of its orders.
    pub tells_channel: bool,
}

/// What happens to an order of which stock is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenShort {
    /// It waits until all of it is there, and holds what is there already.
    #[default]
    Backorder,
    /// What is there is sent; the rest waits.
    Partial,
    /// It is given up, and the channel is told.
    Cancel,
}

impl WhenShort {
    /// All, by name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("backorder", Self::Backorder), ("partial", Self::Partial), ("cancel", Self::Cancel)];
}

/// When a parcel has left, as far as the channel and its customer are concerned. The books let goods go when they are
/// picked, whatever stands here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leaves {
    /// When a site has picked everything that it was asked for: warehouses that hand parcels over at once.
    WhenPicked,
    /// When a plate that was packed for it is told shipped, or somebody says so through the API.
    #[default]
    WhenShipped,
}

impl Leaves {
    /// All, by name.
    pub const NAMES: [(&'static str, Self); 2] =
        [("when_picked", Self::WhenPicked), ("when_shipped", Self::WhenShipped)];
}

/// A question about an order that somebody outside answers through the API, or time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What it is called, `fraud` or `credit`.
    pub name: String,
    /// Which orders it is about.
    pub rule: Rule,
    /// How long an answer is waited for, milliseconds; `None`: for ever.
    pub wait_ms: Option<i64>,
    /// What is done when none came.
    pub otherwise: Verdict,
}

/// Which orders a check is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// All.
    Every,
    /// Those that come to more than this, in minor units, tax included.
    Above(i64),
    /// Those whose money is neither there nor promised. It passes by itself when it is.
    Unpaid,
}

impl Check {
    /// Why it wants a word about this order; `None`: it does not.
    pub fn asks(&self, order: &Order) -> Option<String> {
        match self.rule {
            Rule::Every => Some("every order is looked at".into()),
            Rule::Above(limit) => {
                let gross = order.total.gross();
                (gross > limit).then(|| {
                    format!("it comes to {gross} minor units of {}, more than {limit}", order.currency)
                })
            }
            Rule::Unpaid => (order.payment == Payment::Open).then(|| "it is not paid".into()),
        }
    }
}
