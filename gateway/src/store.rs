//! The store: one durable home of events, books, outgoing work and devices.
//!
//! Each method is one transaction, and none needs a round trip per event, so that a database across a network is
//! as good as one in a file. Rules live in the pure cores; a store loads what they ask for and keeps what they
//! decide. One contract suite, `store/contract`, runs against every store.
//!
//! Calls block. The edge makes them on a blocking thread, and there is one writer.

use std::time::Duration;

use stockwire_protocol::{
    AccountId, Catalogue, ChannelId, ItemId, ItemRules, LocationId, MovementId, Quantity, SiteId, Sku, Task,
};

use crate::availability::{ChannelPolicy, ChannelResult, ChannelUpdate};
use crate::briefing::{Delta, Mark, Marks, Picture};
use crate::catalogue::{self, ErpId, Listing, ListingsChange, Snapshot};
use crate::code::{Alias, CodeKey, Meaning};
use crate::dead_letter::{DeadLetter, DeadLetterId, NewDeadLetter};
use crate::ingest::{Known, KnownEvent, Need, Negative, Writes};
use crate::lease::{Grant, Taken};
use crate::ledger::OpeningLine;
use crate::order::{self, OrderKey};
use crate::posting::{BatchResult, PostingBatch};
use crate::reconcile::{KnownLine, Snapshot as Cutoff};
use crate::reservation::{self, Quota, Refused, Reservation, Resolution, Shortage};
use crate::task::{TaskName, TaskRow};
use crate::trace::{Thread, TraceKey};

#[cfg(test)]
pub(crate) mod contract;
mod rows;

pub use rows::*;

/// Rows in one page of an answer, at most: what a screen shows and a reader holds without care.
pub const PAGE_ROWS_MAX: usize = 500;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed: nothing of the transaction happened.
    #[error("the store failed while {doing}")]
    Database {
        /// What we were doing.
        doing: &'static str,
        /// The database's own words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process holds the database. Nothing happened; try again.
    #[error("the store was busy while {doing}; is another gateway using this database?")]
    Busy {
        /// What we were doing.
        doing: &'static str,
    },
    /// Made by a newer build, or not by us.
    #[error("the database has schema version {found}, this build knows up to {known}")]
    Schema {
        /// What the file says.
        found: i64,
        /// What this build has migrations for.
        known: i64,
    },
    /// A row that this build can not have written.
    #[error("the store holds something unreadable: {what}")]
    Corrupt {
        /// Which row and why.
        what: String,
    },
    /// What was to be written belongs to work that another gateway has taken over; nothing happened.
    #[error("the lease {lease} is another gateway's by now: nothing was written")]
    Fenced {
        /// Which work.
        lease: String,
    },
    /// The request makes no sense in the present state; nothing happened.
    #[error("{reason}")]
    Refused {
        /// For people.
        reason: String,
    },
}

/// Reading. Never changes anything, so a second connection may serve it while the writer writes.
pub trait Reader: Send {
    /// What ingest looks up; loaded when its revision changed.
    ///
    /// # Errors
    /// [`StoreError`], as everywhere here.
    fn catalogue_index(&self) -> Result<catalogue::Index, StoreError>;

    /// Revision of the catalogue; 0 = none yet.
    fn catalogue_revision(&self) -> Result<u64, StoreError>;

    /// The parts to publish (retained) to each agent of a site. Empty for an unknown site.
    fn catalogue_parts(&self, site: &SiteId) -> Result<Vec<Catalogue>, StoreError>;

    /// What has changed of a site's catalogue since the state of that revision.
    fn catalogue_changes(&self, site: &SiteId, since: u64) -> Result<Delta<Catalogue>, StoreError>;

    /// How far everything has come that agents are told of; cheap, so that it can be asked every second.
    fn marks(&self) -> Result<Marks, StoreError>;

    /// What is to be done at a site and what lies there; all of it, or what was touched since.
    fn picture(&self, site: &SiteId, since: Option<Mark>) -> Result<Delta<Picture>, StoreError>;

    /// An item's rules; `None` = the catalogue has no such item.
    fn item_rules(&self, item: &ItemId) -> Result<Option<ItemRules>, StoreError>;

    /// What people said that codes mean: items' first, then by site.
    fn aliases(&self, after: Option<&str>, limit: usize) -> Result<Page<Alias>, StoreError>;

    /// One task with what came of it.
    fn task(&self, name: &TaskName) -> Result<Option<TaskRow>, StoreError>;

    /// Tasks, ordered by site, number and kind.
    fn tasks(&self, query: &TaskQuery) -> Result<Page<TaskRow>, StoreError>;

    /// Events that mention a word, in the order in which they came; at most `limit`.
    fn mentioning(&self, word: &str, limit: usize) -> Result<Vec<Mentioned>, StoreError>;

    /// Active sites, with their ERP reference; ordered by id.
    fn sites(&self) -> Result<Vec<catalogue::Site>, StoreError>;

    /// Items whose id, name or code contains `search` (all when empty), ordered by id, from after `after`.
    fn items(
        &self,
        search: &str,
        after: Option<&ItemId>,
        limit: usize,
    ) -> Result<Vec<catalogue::Item>, StoreError>;

    /// Stock on hand per site, location, item, lot and disposition; zero rows are left out.
    fn stock(&self, query: &StockQuery) -> Result<Page<StockRow>, StoreError>;

    /// Ledger rows, newest first.
    fn movements(&self, query: &MovementQuery) -> Result<Page<MovementRow>, StoreError>;

    /// What a channel is told about a SKU, with every term of the sum and what was published.
    fn availability(&self, channel: &ChannelId, sku: &Sku) -> Result<Option<OfferRow>, StoreError>;

    /// All offers of a channel (or of all channels), ordered by channel and SKU.
    fn offers(&self, query: &OfferQuery) -> Result<Page<OfferRow>, StoreError>;

    /// What changed since a cursor, oldest first; for live views. `Cursor::default()` starts at the beginning,
    /// [`Reader::changes_head`] at now.
    fn changes(&self, since: Cursor, limit: usize) -> Result<Changes, StoreError>;

    /// The cursor of this moment.
    fn changes_head(&self) -> Result<Cursor, StoreError>;

    /// Every agent that was ever heard, ordered by site and agent.
    fn devices(&self) -> Result<Vec<DeviceRow>, StoreError>;

    /// Dead letters, newest first; `None` = any state or class.
    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<DeadLetter>, StoreError>;

    /// One dead letter with its bytes.
    fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError>;

    /// One event as it is held.
    fn event(&self, movement: &MovementId) -> Result<Option<KnownEvent>, StoreError>;

    /// Everything known about a key, as rows for [`crate::trace::timeline`]; at most `limit` movements, newest.
    fn trace(&self, key: &TraceKey, limit: usize) -> Result<Vec<Thread>, StoreError>;

    /// Recent posting batches of an ERP, newest first.
    fn posting_batches(&self, erp: &ErpId, limit: usize) -> Result<Vec<PostingBatch>, StoreError>;

    /// Reservations, newest first.
    fn reservations(&self, query: &reservation::Query) -> Result<Page<Reservation>, StoreError>;

    /// What is kept for accounts, ordered by item, site and account.
    fn quotas(&self) -> Result<Vec<Quota>, StoreError>;

    /// Where less is there than was promised, and who should give way; ordered by item and site, at most
    /// [`SHORTAGES_MAX`](reservation::SHORTAGES_MAX).
    fn shortages(&self) -> Result<Vec<Shortage>, StoreError>;

    /// Whether the opening stock of an ERP's sites is booked, so that events can be.
    fn books_are_open(&self, erp: &ErpId) -> Result<bool, StoreError>;
    /// The history of an order, from its capture on; empty: there is none.
    fn order(&self, order: &OrderKey) -> Result<Vec<order::Entry>, StoreError>;

    /// How orders stand, the newest first.
    fn orders(&self, query: &OrderQuery) -> Result<Page<order::Head>, StoreError>;

    /// Orders that are to be looked at at a door, those that wait longest first; of one channel when one is named.
    fn due_orders(
        &self,
        now_ms: i64,
        door: order::Door,
        channel: Option<&ChannelId>,
        limit: usize,
    ) -> Result<Vec<OrderKey>, StoreError>;

    /// Up to which moment of a channel's own clock its orders were read; `None`: never.
    fn orders_through(&self, channel: &ChannelId) -> Result<Option<i64>, StoreError>;

    /// The ledger side of a reconciliation: balances at this moment's cut-off, and of each how much the ERP can not
    /// have yet (unposted) or may have (in flight). Physical places only, summed over lots and dispositions.
    fn reconcile_snapshot(&self, erp: &ErpId) -> Result<Cutoff, StoreError>;

    /// Our lines that touched these places and items, newest first, at most `limit` for each: evidence for the
    /// cause of a discrepancy.
    fn known_lines(
        &self,
        erp: &ErpId,
        keys: &[(SiteId, LocationId, ItemId)],
        limit: usize,
    ) -> Result<Vec<KnownLine>, StoreError>;

    /// Recomputes ledger rows from event bytes and balances from ledger rows, and compares.
    fn verify_books(&self) -> Result<BooksReport, StoreError>;

    /// Numbers for metrics and alarms.
    fn gauges(&self) -> Result<Gauges, StoreError>;

    /// API keys, ordered by name.
    fn api_keys(&self) -> Result<Vec<ApiKeyRow>, StoreError>;
}

/// Writing. Every method commits before it returns, or changes nothing.
pub trait Store: Reader {
    /// Loads what `need` names, lets `decide` think, and writes what it wants: the whole of ingest in one
    /// transaction. `decide` sees one consistent state, is pure and is called once. `None` changes nothing.
    /// Returns the physical balances that fell below zero by it.
    ///
    /// Use [`crate::ingest::Ingest`], which knows the rules.
    fn ingest(
        &mut self,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Option<Writes>,
    ) -> Result<Vec<Negative>, StoreError>;

    /// Takes a whole catalogue from an ERP. The revision grows only when something differs; what is missing from
    /// the snapshot becomes inactive. An item's unit never changes once it is booked: such a row is refused, whole.
    fn replace_catalogue(&mut self, erp: &ErpId, snapshot: &Snapshot) -> Result<u64, StoreError>;

    /// Says what a code means, in every later catalogue and for what is replayed. `false` = it was said before.
    /// Refused when the catalogue lacks the item or place, or when the code means another one.
    fn put_alias(
        &mut self,
        at_ms: i64,
        by: &str,
        key: &CodeKey,
        meaning: &Meaning,
    ) -> Result<bool, StoreError>;

    /// Takes that back: of an item's code, or of a site's. `false` = nobody had said it.
    fn remove_alias(&mut self, key: &CodeKey, site: Option<&SiteId>) -> Result<bool, StoreError>;

    /// Says what must be asked and checked when an item moves; they survive what the ERP says of the item. `false` =
    /// they were so before.
    fn put_item_rules(&mut self, item: &ItemId, rules: &ItemRules) -> Result<bool, StoreError>;

    /// Says whether all channels together may sell no more of an item than is there, see [`crate::escrow`]; `None` = as
    /// the channels that sell it are configured. `false` = it was so before.
    fn put_strict(&mut self, now_ms: i64, item: &ItemId, strict: Option<bool>) -> Result<bool, StoreError>;

    /// Asks for a task, or asks anew: what is asked is replaced, what was done is kept, that from before it was asked
    /// included. Asking twice is asking once.
    fn put_task(&mut self, at_ms: i64, site: &SiteId, task: &Task) -> Result<TaskRow, StoreError>;

    /// Nobody asks for a task any more. `false` = there is none, or it was withdrawn before.
    fn withdraw_task(&mut self, at_ms: i64, name: &TaskName) -> Result<bool, StoreError>;

    /// Holds stock for an order: checks and appends in one transaction, whole or not at all. Answers with everything
    /// that the order holds. The same request again changes nothing.
    fn reserve(
        &mut self,
        now_ms: i64,
        request: &reservation::Request,
    ) -> Result<Result<Vec<Reservation>, Refused>, StoreError>;

    /// Ends holds of an order, or makes them hard; answers as [`Store::reserve`]. The same key again changes nothing.
    fn resolve(
        &mut self,
        now_ms: i64,
        resolution: &Resolution,
    ) -> Result<Result<Vec<Reservation>, Refused>, StoreError>;

    /// Ends soft holds whose time is up; some of them when there are many. Returns how many; cheap when there are none.
    fn expire_reservations(&mut self, now_ms: i64) -> Result<usize, StoreError>;

    /// Works on an order: loads what it needs, lets `decide` think, and keeps what it wants, holds and tasks included, in
    /// one transaction. `decide` sees one consistent state and is pure; where a commit had to be made again, so has it.
    ///
    /// Use the functions of [`crate::order`], which know the rules.
    fn work_order(
        &mut self,
        now_ms: i64,
        need: &order::Need,
        decide: &mut dyn FnMut(&order::Known) -> order::Writes,
    ) -> Result<(), StoreError>;

    /// A channel's orders were read up to here; never moves back.
    fn put_orders_through(&mut self, channel: &ChannelId, through_ms: i64) -> Result<(), StoreError>;

    /// A channel has delivered a message of this id. `false` = it came before.
    fn note_delivery(&mut self, at_ms: i64, channel: &ChannelId, id: &str) -> Result<bool, StoreError>;

    /// Keeps so much of an item at a site for an account, counted from now; `None` ends that. `false` = it was so.
    fn put_quota(
        &mut self,
        now_ms: i64,
        account: &AccountId,
        at: (&ItemId, &SiteId),
        quantity: Option<Quantity>,
    ) -> Result<bool, StoreError>;

    /// Takes a channel's whole mapping of its SKUs to items.
    fn replace_listings(
        &mut self,
        channel: &ChannelId,
        listings: &[Listing],
    ) -> Result<ListingsChange, StoreError>;

    /// Takes the configuration of all channels. A changed policy makes that channel's offers due; a channel that is
    /// no longer configured keeps its rows and is no longer served.
    fn replace_channels(&mut self, policies: &[ChannelPolicy]) -> Result<(), StoreError>;

    /// Books the ERP's own quantities as the opening stock, once: rows from Loss into the places (or out of them
    /// when negative) that are never posted back. Must happen after the first [`Store::replace_catalogue`] and
    /// before the first event and posting; an empty list opens empty books. `false` = was open already.
    fn open_books(&mut self, at_ms: i64, erp: &ErpId, lines: &[OpeningLine]) -> Result<bool, StoreError>;

    /// The next batch to work on, marked [`Sent`](crate::posting::BatchState::Sent) before it is returned. Open
    /// batches come first, in order, and nothing overtakes them: `None` while the first of them waits for its
    /// time, when nothing is to be posted, or before [`Store::open_books`].
    ///
    /// A batch that comes with `state` other than `Planned` must be searched for by its reference first.
    fn take_posting_batch(
        &mut self,
        now_ms: i64,
        erp: &ErpId,
        lines_max: usize,
    ) -> Result<Option<PostingBatch>, StoreError>;

    /// What became of a batch.
    fn record_batch_result(
        &mut self,
        now_ms: i64,
        reference: &str,
        result: &BatchResult,
    ) -> Result<(), StoreError>;

    /// Numbers that a channel must be told, the scarcest first, each marked in flight before it is returned and not
    /// returned again until its result is recorded. Coalesced: one update per SKU, the newest number.
    fn take_channel_updates(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        max: usize,
    ) -> Result<Vec<ChannelUpdate>, StoreError>;

    /// What became of updates.
    fn record_channel_results(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        results: &[(Sku, ChannelResult)],
    ) -> Result<(), StoreError>;

    /// Whoever takes an ERP's work over calls this first: what an earlier holder had in flight has an unknown outcome.
    /// Returns how many batches.
    fn recover_postings(&mut self, now_ms: i64, erp: &ErpId) -> Result<usize, StoreError>;

    /// The same for a channel: how many numbers.
    fn recover_publications(&mut self, now_ms: i64, channel: &ChannelId) -> Result<usize, StoreError>;

    /// Takes a lease for so long, with a new token, when nobody has it, when it has lapsed, or when the holder is the
    /// same by name: that is an earlier life of this process. `now_ms` is for a store whose only clock is ours; one that
    /// several processes share goes by its own.
    fn take_lease(
        &mut self,
        now_ms: i64,
        name: &str,
        holder: &str,
        length: Duration,
    ) -> Result<Taken, StoreError>;

    /// Prolongs a lease, so long from now. `false` = somebody else has taken it since.
    fn renew_lease(&mut self, now_ms: i64, grant: &Grant, length: Duration) -> Result<bool, StoreError>;

    /// Ends a lease early. Nothing happens when somebody else has it by now.
    fn give_lease_back(&mut self, grant: &Grant) -> Result<(), StoreError>;

    /// From now on every writing transaction begins with a look whether the grant's token is still the newest, and is
    /// [`StoreError::Fenced`] when it is not. `None` ends that. See [`lease::under`](crate::lease::under).
    fn set_fence(&mut self, grant: Option<&Grant>);

    /// The same look by itself, before something is done outside that the store knows nothing of.
    fn check_fence(&mut self) -> Result<(), StoreError>;

    /// Sets a message aside. The same content again only counts. `None` = only counted, because there are
    /// [`REFUSED_LETTERS_MAX`](crate::dead_letter::REFUSED_LETTERS_MAX) of its kind.
    fn add_dead_letter(
        &mut self,
        at_ms: i64,
        letter: &NewDeadLetter,
    ) -> Result<Option<DeadLetterId>, StoreError>;

    /// Closes an open dead letter without effect; a person's decision, kept with `by` and `why`. `false` = was
    /// closed before. Discarding the last open conflict of a stream lets that stream go on.
    fn discard_dead_letter(
        &mut self,
        at_ms: i64,
        id: DeadLetterId,
        by: &str,
        why: &str,
    ) -> Result<bool, StoreError>;

    /// Puts the ledger row of an open [`Posting`](crate::dead_letter::DeadLetterClass::Posting) letter, or the SKU of an open
    /// [`Publication`](crate::dead_letter::DeadLetterClass::Publication) letter, back to work and closes the letter, once.
    /// Use [`crate::ingest::Ingest::replay`], which handles every class.
    fn requeue_dead_letter(&mut self, at_ms: i64, id: DeadLetterId, by: &str) -> Result<bool, StoreError>;

    /// Closes a letter whose content has taken effect. `false` = was closed before.
    fn close_replayed(&mut self, at_ms: i64, id: DeadLetterId, by: &str) -> Result<bool, StoreError>;

    /// Adds an API key by the SHA-256 of its secret. Names are unique.
    fn create_api_key(&mut self, at_ms: i64, name: &str, hash: &[u8; 32]) -> Result<(), StoreError>;

    /// Revokes by name; `false` = no such live key.
    fn revoke_api_key(&mut self, at_ms: i64, name: &str) -> Result<bool, StoreError>;

    /// Notes that a key was used, to the minute (so that reads rarely write). `None` = unknown or revoked.
    fn use_api_key(&mut self, at_ms: i64, hash: &[u8; 32]) -> Result<Option<ApiKeyRow>, StoreError>;
}
