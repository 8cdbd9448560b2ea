//! ERPs: one table, one file per system.
//!
//! A connector translates: our batches into documents, the ERP's rows into our catalogue and quantities. It is pure,
//! see [`crate::exchange`]. The ERP is the master of items and places; of movements the gateway's ledger is.

pub mod tryton;

use crate::catalogue::Snapshot;
use crate::exchange::{Connector, Conversation, Secret};
use crate::ledger::LedgerId;
use crate::order::{NotOffered, Sale, SaleCancelled, SaleFound, SalePosted};
use crate::posting::PostingBatch;
use crate::reconcile::ErpQuantity;

/// The ERPs that we can speak to, in the order in which they are listed to people.
pub static ERPS: &[&dyn ErpKind] = &[&tryton::Kind];

/// The row of that name.
///
/// # Errors
/// What the names are.
pub fn find(name: &str) -> Result<&'static dyn ErpKind, String> {
    ERPS.iter().copied().find(|row| row.name() == name).ok_or_else(|| {
        let known: Vec<&str> = ERPS.iter().map(|row| row.name()).collect();
        format!("there is no ERP connector named {name:?}; there are {}", known.join(", "))
    })
}

/// One row of [`ERPS`].
pub trait ErpKind: Sync {
    /// For the configuration: lower case with dashes.
    fn name(&self) -> &'static str;

    /// For people.
    fn title(&self) -> &'static str;

    /// A connector for one database of such an ERP.
    fn connect(&self, access: ErpAccess) -> Box<dyn ErpConnector>;
}

/// Where an ERP is, how it knows us, and what its documents need besides our movements.
#[derive(Clone, Debug)]
pub struct ErpAccess {
    /// Base address with everything that tells one database from another.
    pub url: String,
    /// What proves who we are.
    pub key: Secret,
    /// Which company, when it has several; its own id.
    pub company: Option<i64>,
    /// Name of the party on goods-in documents, since a movement names none. `None`: the first party that is not the
    /// company itself.
    pub supplier: Option<String>,
    /// The same on outgoing documents.
    pub customer: Option<String>,
    /// What to do when the ERP believes that there is too little for a movement that has happened.
    pub shortage: Shortage,
    /// Whether orders are posted there as sales.
    pub sales: bool,
}

/// What to do when the ERP believes that there is too little for a movement that has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shortage {
    /// Post it all the same: the goods have moved, and reconciliation shows the difference.
    #[default]
    Force,
    /// Refuse it: a dead letter tells a person.
    Refuse,
}

/// The translator for one ERP.
pub trait ErpConnector: Connector {
    /// Reads everything that is stocked, and where.
    fn read_catalogue(&self) -> Box<dyn Conversation<Output = CatalogueRead>>;

    /// Brings one batch to its end, from wherever an earlier attempt left it: it looks for the batch's reference
    /// before it creates anything. [`crate::exchange::Step::Note`] carries the document's id as soon as it is known.
    fn post(&self, batch: &PostingBatch) -> Box<dyn Conversation<Output = Posted>>;

    /// Reads what lies in each place by the ERP's books. What it answers is as of one moment only while nothing is
    /// being posted.
    fn read_quantities(&self) -> Box<dyn Conversation<Output = Vec<ErpQuantity>>>;

    /// Whether orders are posted here; the three methods below are asked for only then.
    fn offers_sales(&self) -> bool {
        false
    }

    /// Brings a sale to where it is binding, from wherever an earlier attempt left it: as [`ErpConnector::post`] does
    /// it, by looking for [`Sale::reference`] first. A sale that has `document` was seen before: a new one is never
    /// made in its place.
    fn post_sale(&self, _sale: &Sale) -> Box<dyn Conversation<Output = SalePosted>> {
        NotOffered::conversation("posting a sale")
    }

    /// Looks for a sale by [`Sale::reference`], and for its invoice. `None`: there is none.
    fn read_sale(&self, _sale: &Sale) -> Box<dyn Conversation<Output = Option<SaleFound>>> {
        NotOffered::conversation("reading a sale")
    }

    /// Cancels a sale, from wherever an earlier attempt left it; every one of its reference, should there be several.
    fn cancel_sale(&self, _sale: &Sale) -> Box<dyn Conversation<Output = SaleCancelled>> {
        NotOffered::conversation("cancelling a sale")
    }
}

/// What an ERP knows about goods and places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CatalogueRead {
    /// Everything that we can use.
    pub snapshot: Snapshot,
    /// What we can not, and why: for people, at most [`CatalogueRead::REMARKS_MAX`].
    pub remarks: Vec<String>,
}

impl CatalogueRead {
    /// Enough to see the pattern.
    pub const REMARKS_MAX: usize = 50;
}

/// How a batch ended, when the ERP has spoken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Posted {
    /// Booked.
    Booked {
        /// The ERP's id.
        document: String,
    },
    /// Refused for what is in it; nothing of it is booked, and nothing of it is left to be booked later.
    Refused {
        /// The ERP's own words.
        reason: String,
    },
    /// There is no such document at this ERP. Nothing was sent.
    Impossible {
        /// For people.
        reason: String,
    },
    /// Its lines do not fit into one document. Nothing was sent.
    Mixed {
        /// How they do; each line stands in exactly one part.
        parts: Vec<Vec<LedgerId>>,
    },
}
