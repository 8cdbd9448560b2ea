//! Orders: what a channel has sold, in one form, and how it becomes parcels.
//!
//! [`Order`] is the canonical order, whatever channel it comes from; [`Sale`] is what an ERP is told of it, and
//! [`Shipment`] what a channel is told of a parcel. Connectors translate between these and their vendor's form
//! ([`crate::channel::ChannelConnector`], [`crate::erp::ErpConnector`]).

mod command;
mod content;
mod desk;
mod errand;
mod fact;
pub mod floor;
mod form;
mod policy;
mod price;
pub mod round;
mod source;
mod standing;
mod words;
mod work;

use std::marker::PhantomData;

use stockwire_protocol::{ItemId, Quantity, SiteId};

use crate::exchange::{Answer, Class, Conversation, Failure, Step};
pub use crate::reservation::OrderKey;

pub use command::{Captured, Command, Refused, advance, capture, command, hold_back};
pub use content::{
    AMOUNT_MAX, Amount, Charge, Content, Currency, FieldFault, LINES_MAX, Line, LineId, Order, Party, Payment,
};
pub use errand::{Errand, Load, Report, record, take};
pub use fact::{
    Allocation, AllocationSteps, AtSite, Considered, Door, Duty, Entry, Fact, ItemSteps, LineSteps, Mapped,
    Outcome, ShipmentRecord, Verdict,
};
pub use policy::{Check, Leaves, Policy, Rule, WhenShort};
pub use source::{Selection, Source, Want, select};
pub use standing::{Announced, CheckState, DutyState, Stage, Standing};
pub use work::{Ask, Head, HoldEnd, Known, KnownItem, Need, Writes};

/// Orders of one reading, at most: what a shop of medium size sells in an hour, and a few megabytes.
pub const READ_ORDERS_MAX: usize = 500;

/// What a channel has to tell since a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OrdersRead {
    /// Orders that were placed or changed, in the order of their change; at most [`READ_ORDERS_MAX`]. Those that are
    /// still baskets are left out.
    pub orders: Vec<Order>,
    /// Orders that cannot be told as one of ours.
    pub unreadable: Vec<Unreadable>,
    /// By the channel's clock, the change of the last order looked at, unix milliseconds; the moment asked for when
    /// there was none.
    pub through_ms: i64,
    /// There is more behind `through_ms`: ask again at once, from there.
    pub more: bool,
}

/// An order that is there and that we cannot take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The channel's id of it.
    pub order: String,
    /// Which field, what was expected and what came.
    pub reason: String,
}

/// A parcel or a part of an order that has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shipment {
    /// 1, 2, 3 ... within the order.
    pub number: u32,
    /// Names it everywhere and for ever: the order's reference, a dash and the number. A connector looks for it (or for
    /// the lines being shipped already) before it confirms.
    pub reference: String,
    /// Who carries it.
    pub carrier: Option<String>,
    /// The number under which it can be followed; the licence plate when the carrier gave none.
    pub tracking: Option<String>,
    /// What is in it; each line once.
    pub lines: Vec<ShippedLine>,
}

/// So much of one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShippedLine {
    /// The channel's id of the line.
    pub line: LineId,
    /// In the unit of the order's line; more than nothing.
    pub quantity: Quantity,
}

/// What is to be given up at a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cancellation {
    /// For the channel and its customer.
    pub reason: String,
    /// What is given up of each line; the whole order when it names everything.
    pub lines: Vec<ShippedLine>,
}

/// What a channel says to a confirmation or a cancellation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// It holds what it was told, now or since an earlier attempt: it was looked up.
    Held {
        /// The channel's own id of what it made, if any.
        document: Option<String>,
    },
    /// It refuses, and will again.
    Refused {
        /// Its own words.
        reason: String,
    },
}

/// An order as an ERP is told of it.
///
/// A sale never moves stock by itself: what leaves is posted from the books ([`crate::erp::ErpConnector::post`], with
/// the order's reference at each line), and would leave twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sale {
    /// The idempotency key, `channel/order`: search for it before creating.
    pub reference: String,
    /// What people call the order, as it stands on pick lists and in the postings of its goods.
    pub order_reference: String,
    /// The order.
    pub order: Order,
    /// The site that ships most of it, and the ERP's key of that.
    pub site: Option<(SiteId, Option<String>)>,
    /// Its lines, as we know them; in the order of `order.lines`.
    pub lines: Vec<SaleLine>,
    /// The ERP's own id of the sale, once known.
    pub document: Option<String>,
}

/// One line of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaleLine {
    /// The channel's id of the line: prices and tax stand there.
    pub line: LineId,
    /// What.
    pub item: ItemId,
    /// The ERP's key of the item, as its connector gave it.
    pub item_reference: String,
    /// In the item's own unit; more than nothing.
    pub quantity: Quantity,
}

/// How posting a sale ended, when the ERP has spoken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SalePosted {
    /// It stands in the ERP, binding.
    Booked {
        /// The ERP's id.
        document: String,
    },
    /// Refused for what is in it; nothing is left of it that could become binding later.
    Refused {
        /// The ERP's own words.
        reason: String,
    },
}

/// A sale as the ERP has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaleFound {
    /// The ERP's id.
    pub document: String,
    /// The ERP's own word for how it stands.
    pub state: String,
    /// Whether it is cancelled.
    pub cancelled: bool,
    /// The number of its invoice, once there is one.
    pub invoice: Option<String>,
}

/// How cancelling a sale ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SaleCancelled {
    /// It stands there cancelled.
    Cancelled {
        /// The ERP's id.
        document: String,
    },
    /// There is none. One whose creation was never answered may still come.
    Absent,
    /// The ERP refuses: it is delivered or invoiced already.
    Refused {
        /// Its own words.
        reason: String,
    },
}

/// The conversation of a connector that does not offer one: it ends at once, and a person must look.
pub(crate) struct NotOffered<T> {
    what: &'static str,
    output: PhantomData<fn() -> T>,
}

impl<T: 'static> NotOffered<T> {
    pub(crate) fn conversation(what: &'static str) -> Box<dyn Conversation<Output = T>> {
        Box::new(Self { what, output: PhantomData })
    }
}

impl<T> Conversation for NotOffered<T> {
    type Output = T;

    fn next(&mut self, _last: Option<Result<Answer, Failure>>) -> Step<T> {
        Step::Done(Err(Failure::new(Class::Setup, format!("this connector does not offer {}", self.what))))
    }
}

#[cfg(test)]
mod tests;
