//! What working on an order reads and writes: one transaction of the store. The store loads what [`Ask`] names, lets the
//! core decide, and keeps what it wants.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::{AccountId, ItemId, LocationId, Reference, SiteId, Sku, Task, Uom};

use super::fact::{Entry, Fact};
use super::standing::Stage;
use super::{Currency, Order, OrderKey};
use crate::reservation::{self, Escrowed, Reservation, Shelf};
use crate::store::Mentioned;
use crate::task::TaskName;

/// Which order is to be worked on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// Which.
    pub order: OrderKey,
    /// As it comes in now, when it does.
    pub incoming: Option<Order>,
    /// Sites that may ship it.
    pub sites: Vec<SiteId>,
}

/// What is to be loaded, once the order's rows are known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// The channel's codes whose items are wanted.
    pub skus: BTreeSet<Sku>,
    /// Items that are wanted besides.
    pub items: BTreeSet<ItemId>,
    /// What the order is called in the warehouse; `None`: it is new.
    pub reference: Option<Reference>,
    /// What it is to be called, if nobody else is.
    pub code: Option<Reference>,
}

impl Ask {
    /// What an order with these rows needs.
    pub fn of(rows: &[Entry], need: &Need) -> Self {
        let mut ask =
            Self { code: need.incoming.as_ref().map(|order| order.code.clone()), ..Self::default() };
        let mut orders: Vec<&Order> = need.incoming.iter().collect();
        for row in rows {
            match &row.fact {
                Fact::Captured { order, reference } => {
                    ask.reference = Some(reference.clone());
                    orders.push(order);
                }
                Fact::Revised { order } => orders.push(order),
                Fact::Validated { lines } => ask.items.extend(lines.iter().map(|line| line.item.clone())),
                _ => {}
            }
        }
        ask.skus.extend(orders.iter().flat_map(|order| &order.lines).map(|line| line.sku.clone()));
        ask
    }
}

/// What is known, from within the transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// The order's history; empty: there is none yet.
    pub rows: Vec<Entry>,
    /// What the channel's codes mean: by its listings, else by an item of the same name.
    pub skus: BTreeMap<Sku, ItemId>,
    /// Items by those codes and by [`Ask::items`], when the catalogue has them.
    pub items: BTreeMap<ItemId, KnownItem>,
    /// Another order is called by [`Ask::code`] already.
    pub code_taken: bool,
    /// Every hold of the order.
    pub held: Vec<Reservation>,
    /// Each of the items at each of the sites.
    pub shelves: BTreeMap<(ItemId, SiteId), Shelf>,
    /// What channels may sell already of items that are sold strictly, when the order's channel is none of them.
    pub escrow: Vec<Escrowed>,
    /// Where they lie there: ordinary stock by location, the most first.
    pub spots: BTreeMap<(ItemId, SiteId), Vec<(LocationId, i64)>>,
    /// The ERP's keys of the sites.
    pub sites: BTreeMap<SiteId, Option<String>>,
    /// The warehouse's facts, found by [`super::floor::words`]; in the order in which they came.
    pub facts: Vec<Mentioned>,
}

/// An item, as far as an order needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownItem {
    /// The unit in which it is booked.
    pub uom: Uom,
    /// The ERP's key of it.
    pub reference: Option<String>,
    /// Whether it may be sold still.
    pub active: bool,
}

/// What is to be kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Writes {
    /// New rows; their sequences follow those that are there.
    pub rows: Vec<Entry>,
    /// New hard holds of the order, already compared with the shelves.
    pub reserve: Vec<reservation::Line>,
    /// For whom.
    pub account: Option<AccountId>,
    /// Ends of holds, among them of those in `reserve`: by the hold's line number and site.
    pub ends: Vec<HoldEnd>,
    /// Tasks to ask for, or to ask anew.
    pub tasks: Vec<(SiteId, Task)>,
    /// Tasks to withdraw.
    pub withdraw: Vec<TaskName>,
    /// What has left its shelf for the order and is still the channel's own open order to it: in steps, all of it, in the
    /// place of what was kept before.
    pub out: BTreeMap<(ItemId, SiteId), i64>,
    /// What the channel has just been told of: its numbers for these are looked at again, for it may have counted
    /// otherwise than we.
    pub told: BTreeSet<Sku>,
    /// Words by which later facts find this order.
    pub words: BTreeSet<String>,
    /// How the order stands; `None`: nothing is kept at all.
    pub head: Option<Head>,
}

/// So much of a hold ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldEnd {
    /// Names it for ever: it holds the sequence of the row that says why, so that it is kept once.
    pub key: String,
    /// The allocation's number.
    pub number: u32,
    /// At which site.
    pub site: SiteId,
    /// How.
    pub end: reservation::End,
    /// How much of it.
    pub steps: i64,
}

/// How an order stands, for lists: follows from its rows and may be made anew from them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Whose order.
    pub order: OrderKey,
    /// What people call it.
    pub code: Reference,
    /// What the warehouse calls it.
    pub reference: Reference,
    /// How far it is.
    pub stage: Stage,
    /// What a person must look at.
    pub attention: Option<String>,
    /// When it was placed, unix milliseconds.
    pub placed_at_ms: i64,
    /// When something happened to it last.
    pub changed_at_ms: i64,
    /// Of its total.
    pub currency: Currency,
    /// What is paid for it, in minor units.
    pub gross: i64,
    /// When it is to be looked at here, unix milliseconds; `None`: when something comes.
    pub desk_due_ms: Option<i64>,
    /// When the ERP is to be told something.
    pub erp_due_ms: Option<i64>,
    /// When the channel is to be told something.
    pub channel_due_ms: Option<i64>,
}
