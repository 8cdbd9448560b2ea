//! Channels: one table, one file per system that sells.
//!
//! A connector translates our numbers into the channel's form and reads back what the channel then holds. It is
//! pure, see [`crate::exchange`]. Numbers are absolute and one sender serves a channel, so a number is sent at most
//! as often as it is needed and counts as accepted only when it was read back.

pub mod vendure;

use std::collections::BTreeMap;

use stockwire_protocol::{ChannelId, Reference, SiteId, Sku};

use crate::availability::{Basis, ChannelUpdate};
use crate::exchange::{Connector, Conversation, Secret};
use crate::order::{Cancellation, NotOffered, Order, OrdersRead, Shipment, Told};

/// The channels that we can speak to, in the order in which they are listed to people.
pub static CHANNELS: &[&dyn ChannelKind] = &[&vendure::Kind];

/// The row of that name.
///
/// # Errors
/// What the names are.
pub fn find(name: &str) -> Result<&'static dyn ChannelKind, String> {
    CHANNELS.iter().copied().find(|row| row.name() == name).ok_or_else(|| {
        let known: Vec<&str> = CHANNELS.iter().map(|row| row.name()).collect();
        format!("there is no channel connector named {name:?}; there are {}", known.join(", "))
    })
}

/// One row of [`CHANNELS`].
pub trait ChannelKind: Sync {
    /// For the configuration: lower case with dashes.
    fn name(&self) -> &'static str;

    /// For people.
    fn title(&self) -> &'static str;

    /// What such a channel does with a number.
    fn declares(&self) -> Declared;

    /// A connector for one shop of such a kind.
    fn connect(&self, access: ChannelAccess) -> Box<dyn ChannelConnector>;
}

/// What a channel does with a number that it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Declared {
    /// Which number it must be given.
    pub basis: Basis,
    /// Whether it takes [`ChannelUpdate::expects`] and refuses a number where it holds something else. One without is
    /// read back.
    pub compare_and_set: bool,
}

/// Where a channel is and how it knows us.
#[derive(Clone, Debug)]
pub struct ChannelAccess {
    /// Which of ours it is.
    pub channel: ChannelId,
    /// Base address.
    pub url: String,
    /// Who we are there.
    pub user: String,
    /// What proves it.
    pub password: Secret,
    /// The sites whose stock it sells.
    pub sites: Vec<SiteId>,
}

/// The translator for one channel.
pub trait ChannelConnector: Connector {
    /// How many updates one push carries.
    fn push_max(&self) -> usize;

    /// Reads what the channel sells, and its own keys for our sites.
    fn map_skus(&self) -> Box<dyn Conversation<Output = ChannelMap>>;

    /// Brings numbers to the channel. Each update gets an outcome, in the order of `updates`; a failure means that
    /// nothing is known of any.
    fn push(&self, map: &SiteMap, updates: &[ChannelUpdate]) -> Box<dyn Conversation<Output = Vec<Pushed>>>;

    /// Reads what the channel holds of these SKUs, site by site as in the map.
    fn read_back(&self, map: &SiteMap, skus: &[Sku]) -> Box<dyn Conversation<Output = Vec<(Sku, Shown)>>>;

    /// Whether orders are taken from here; the four methods below are asked for only then.
    fn offers_orders(&self) -> bool {
        false
    }

    /// Reads orders that were placed or changed at or after a moment of the channel's own clock, the oldest change
    /// first. Whoever asks begins a while before the last change known, so the same order may come again.
    fn read_orders(&self, _since_ms: i64) -> Box<dyn Conversation<Output = OrdersRead>> {
        NotOffered::conversation("reading orders")
    }

    /// Reads one order by the channel's id of it ([`Content::order`](crate::order::Content::order)). `None`: there is
    /// none, or it is still a basket.
    fn read_order(&self, _order: &Reference) -> Box<dyn Conversation<Output = Option<Order>>> {
        NotOffered::conversation("reading an order")
    }

    /// Tells that a parcel has left. It looks first whether the channel holds these lines as shipped already, and after
    /// each outcome that nobody knows.
    fn confirm_shipment(&self, _order: &Order, _shipment: &Shipment) -> Box<dyn Conversation<Output = Told>> {
        NotOffered::conversation("confirming a shipment")
    }

    /// Gives up an order, or lines of it, looking first in the same way.
    fn cancel_order(
        &self,
        _order: &Order,
        _cancellation: &Cancellation,
    ) -> Box<dyn Conversation<Output = Told>> {
        NotOffered::conversation("cancelling an order")
    }
}

/// The channel's keys of our sites.
pub type SiteMap = BTreeMap<SiteId, String>;

/// What a channel sells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChannelMap {
    /// Each SKU once.
    pub skus: Vec<ChannelSku>,
    /// Its keys of our sites.
    pub sites: SiteMap,
    /// What is of no use, for people.
    pub remarks: Vec<String>,
}

/// One thing that a channel sells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelSku {
    /// The channel's code.
    pub sku: Sku,
    /// The channel's key, in the connector's own form.
    pub reference: Option<String>,
}

/// What a channel holds of one SKU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// These numbers, per site of the map.
    Numbers(BTreeMap<SiteId, i64>),
    /// It does not know the SKU (any more).
    Nothing,
}

/// What became of one update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// The channel holds the number: it was read back.
    Held,
    /// It was told, and shows something else right after: somebody else changes the same number.
    Differs {
        /// For people.
        shows: String,
    },
    /// Nobody knows.
    Unknown {
        /// For people.
        message: String,
    },
    /// The channel refuses it, and will again.
    Refused {
        /// Its own words.
        reason: String,
    },
}
