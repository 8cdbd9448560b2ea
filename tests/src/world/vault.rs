//! The gateway's database: the real store in memory, which outlives the gateway's process, fails now and then, and
//! lets the auditor see what was committed.

use std::collections::BTreeMap;
use std::time::Duration;

use stockwire_gateway::availability::{ChannelPolicy, ChannelResult, ChannelUpdate};
use stockwire_gateway::briefing::{Delta, Mark, Marks, Picture};
use stockwire_gateway::catalogue::{self, ErpId, Listing, ListingsChange, Snapshot};
use stockwire_gateway::code::{Alias, CodeKey, Meaning};
use stockwire_gateway::dead_letter::{DeadLetter, DeadLetterClass, DeadLetterId, NewDeadLetter};
use stockwire_gateway::ingest::{Known, KnownEvent, Need, Negative, Writes};
use stockwire_gateway::io::sqlite_store::SqliteStore;
use stockwire_gateway::lease::{Grant, Taken};
use stockwire_gateway::ledger::OpeningLine;
use stockwire_gateway::order::{self, OrderKey};
use stockwire_gateway::posting::{BatchResult, PostingBatch};
use stockwire_gateway::reconcile::{KnownLine, Snapshot as Cutoff};
use stockwire_gateway::reservation::{self, Quota, Refused, Reservation, Resolution, Shortage};
use stockwire_gateway::store::{
    ApiKeyRow, BooksReport, Changes, Cursor, DeadLetterQuery, DeviceRow, Gauges, Mentioned, MovementQuery,
    MovementRow, OfferQuery, OfferRow, OrderQuery, Page, Reader, StockQuery, StockRow, Store, StoreError,
    TaskQuery,
};
use stockwire_gateway::task::{TaskName, TaskRow};
use stockwire_gateway::trace::{Thread, TraceKey};
use stockwire_protocol::{
    AccountId, AgentId, Catalogue, ChannelId, Epoch, ItemId, ItemRules, LocationId, MovementId, Quantity,
    SiteId, Sku, Task,
};

use super::random::Random;

/// The store with its troubles.
pub(super) struct Vault {
    inner: SqliteStore,
    random: Random,
    /// How often a call fails.
    pub(super) busy_per_mille: u32,
    /// The process that uses it ends after so many further calls; from then on nothing of it happens any more.
    pub(super) dies_after: Option<u32>,
    /// What was committed and not yet looked at, one for each transaction.
    news: Vec<News>,
}

/// What one transaction of ingest brought.
#[derive(Default)]
pub(super) struct News {
    /// Identities that came with other bytes.
    pub(super) conflicts: Vec<MovementId>,
    /// Events, in the order of the books.
    pub(super) rows: Vec<Row>,
}

/// A committed event.
pub(super) struct Row {
    /// Whose.
    pub(super) agent: AgentId,
    /// Which life.
    pub(super) epoch: Epoch,
    /// Its place.
    pub(super) sequence: u64,
    /// As it is held.
    pub(super) bytes: Vec<u8>,
    /// Whether it is on the books.
    pub(super) applied: bool,
}

impl Vault {
    /// Empty.
    ///
    /// # Errors
    /// When SQLite fails.
    pub(super) fn new(random: Random) -> Result<Self, StoreError> {
        Ok(Self {
            inner: SqliteStore::memory()?,
            random,
            busy_per_mille: 0,
            dies_after: None,
            news: Vec::new(),
        })
    }

    /// What was committed since the last time.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether the process ended inside a call.
    pub(super) fn is_dead(&self) -> bool {
        self.dies_after == Some(0)
    }

    fn stumble(&mut self) -> Result<(), StoreError> {
        if self.is_dead() {
            return Err(StoreError::Busy { doing: "nothing any more" });
        }
        if let Some(calls) = &mut self.dies_after {
            *calls -= 1;
        }
        if self.random.chance(self.busy_per_mille) {
            return Err(StoreError::Busy { doing: "simulating" });
        }
        Ok(())
    }
}

macro_rules! read {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        impl Reader for Vault {
            $(fn $name(&self, $($argument: $kind),*) -> Result<$answer, StoreError> {
                self.inner.$name($($argument),*)
            })*
        }
    };
}

read! {
    catalogue_index() -> catalogue::Index;
    catalogue_revision() -> u64;
    catalogue_parts(site: &SiteId) -> Vec<Catalogue>;
    catalogue_changes(site: &SiteId, since: u64) -> Delta<Catalogue>;
    marks() -> Marks;
    picture(site: &SiteId, since: Option<Mark>) -> Delta<Picture>;
    item_rules(item: &ItemId) -> Option<ItemRules>;
    aliases(after: Option<&str>, limit: usize) -> Page<Alias>;
    task(name: &TaskName) -> Option<TaskRow>;
    tasks(query: &TaskQuery) -> Page<TaskRow>;
    mentioning(word: &str, limit: usize) -> Vec<Mentioned>;
    sites() -> Vec<catalogue::Site>;
    items(search: &str, after: Option<&ItemId>, limit: usize) -> Vec<catalogue::Item>;
    stock(query: &StockQuery) -> Page<StockRow>;
    movements(query: &MovementQuery) -> Page<MovementRow>;
    availability(channel: &ChannelId, sku: &Sku) -> Option<OfferRow>;
    offers(query: &OfferQuery) -> Page<OfferRow>;
    changes(since: Cursor, limit: usize) -> Changes;
    changes_head() -> Cursor;
    devices() -> Vec<DeviceRow>;
    dead_letters(query: &DeadLetterQuery) -> Page<DeadLetter>;
    dead_letter(id: DeadLetterId) -> Option<DeadLetter>;
    event(movement: &MovementId) -> Option<KnownEvent>;
    trace(key: &TraceKey, limit: usize) -> Vec<Thread>;
    posting_batches(erp: &ErpId, limit: usize) -> Vec<PostingBatch>;
    reservations(query: &reservation::Query) -> Page<Reservation>;
    quotas() -> Vec<Quota>;
    shortages() -> Vec<Shortage>;
    order(order: &OrderKey) -> Vec<order::Entry>;
    orders(query: &OrderQuery) -> Page<order::Head>;
    due_orders(now_ms: i64, door: order::Door, channel: Option<&ChannelId>, limit: usize) -> Vec<OrderKey>;
    orders_through(channel: &ChannelId) -> Option<i64>;
    books_are_open(erp: &ErpId) -> bool;
    reconcile_snapshot(erp: &ErpId) -> Cutoff;
    known_lines(erp: &ErpId, keys: &[(SiteId, LocationId, ItemId)], limit: usize) -> Vec<KnownLine>;
    verify_books() -> BooksReport;
    gauges() -> Gauges;
    api_keys() -> Vec<ApiKeyRow>;
}

macro_rules! write {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        impl Store for Vault {
            fn ingest(
                &mut self,
                need: &Need,
                decide: &mut dyn FnMut(&Known) -> Option<Writes>,
            ) -> Result<Vec<Negative>, StoreError> {
                self.commit(need, decide)
            }

            fn set_fence(&mut self, grant: Option<&Grant>) {
                self.inner.set_fence(grant);
            }

            $(fn $name(&mut self, $($argument: $kind),*) -> Result<$answer, StoreError> {
                self.stumble()?;
                self.inner.$name($($argument),*)
            })*
        }
    };
}

write! {
    replace_catalogue(erp: &ErpId, snapshot: &Snapshot) -> u64;
    put_alias(at_ms: i64, by: &str, key: &CodeKey, meaning: &Meaning) -> bool;
    remove_alias(key: &CodeKey, site: Option<&SiteId>) -> bool;
    put_item_rules(item: &ItemId, rules: &ItemRules) -> bool;
    put_strict(now_ms: i64, item: &ItemId, strict: Option<bool>) -> bool;
    put_task(at_ms: i64, site: &SiteId, task: &Task) -> TaskRow;
    withdraw_task(at_ms: i64, name: &TaskName) -> bool;
    reserve(now_ms: i64, request: &reservation::Request) -> std::result::Result<Vec<Reservation>, Refused>;
    resolve(now_ms: i64, resolution: &Resolution) -> std::result::Result<Vec<Reservation>, Refused>;
    expire_reservations(now_ms: i64) -> usize;
    put_quota(now_ms: i64, account: &AccountId, at: (&ItemId, &SiteId), quantity: Option<Quantity>) -> bool;
    work_order(
        now_ms: i64,
        need: &order::Need,
        decide: &mut dyn FnMut(&order::Known) -> order::Writes
    ) -> ();
    put_orders_through(channel: &ChannelId, through_ms: i64) -> ();
    note_delivery(at_ms: i64, channel: &ChannelId, id: &str) -> bool;
    replace_listings(channel: &ChannelId, listings: &[Listing]) -> ListingsChange;
    replace_channels(policies: &[ChannelPolicy]) -> ();
    open_books(at_ms: i64, erp: &ErpId, lines: &[OpeningLine]) -> bool;
    take_posting_batch(now_ms: i64, erp: &ErpId, lines_max: usize) -> Option<PostingBatch>;
    record_batch_result(now_ms: i64, reference: &str, result: &BatchResult) -> ();
    take_channel_updates(now_ms: i64, channel: &ChannelId, max: usize) -> Vec<ChannelUpdate>;
    record_channel_results(now_ms: i64, channel: &ChannelId, results: &[(Sku, ChannelResult)]) -> ();
    recover_postings(now_ms: i64, erp: &ErpId) -> usize;
    recover_publications(now_ms: i64, channel: &ChannelId) -> usize;
    take_lease(now_ms: i64, name: &str, holder: &str, length: Duration) -> Taken;
    renew_lease(now_ms: i64, grant: &Grant, length: Duration) -> bool;
    give_lease_back(grant: &Grant) -> ();
    check_fence() -> ();
    add_dead_letter(at_ms: i64, letter: &NewDeadLetter) -> Option<DeadLetterId>;
    discard_dead_letter(at_ms: i64, id: DeadLetterId, by: &str, why: &str) -> bool;
    requeue_dead_letter(at_ms: i64, id: DeadLetterId, by: &str) -> bool;
    close_replayed(at_ms: i64, id: DeadLetterId, by: &str) -> bool;
    create_api_key(at_ms: i64, name: &str, hash: &[u8; 32]) -> ();
    revoke_api_key(at_ms: i64, name: &str) -> bool;
    use_api_key(at_ms: i64, hash: &[u8; 32]) -> Option<ApiKeyRow>;
}

impl Vault {
    /// The one transaction. When it fails it does so as late as it can: after everything was decided.
    fn commit(
        &mut self,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Option<Writes>,
    ) -> Result<Vec<Negative>, StoreError> {
        let fails = self.stumble().is_err();
        let mut news = News::default();
        let negative = self.inner.ingest(need, &mut |known| {
            let writes = decide(known).filter(|_| !fails)?;
            for event in &writes.events {
                let key = &writes.streams[event.stream].key;
                news.rows.push(Row {
                    agent: key.agent.clone(),
                    epoch: key.epoch,
                    sequence: event.sequence.get(),
                    bytes: event.bytes.clone(),
                    applied: event.ledger.is_some(),
                });
            }
            let conflicts =
                writes.dead_letters.iter().filter(|letter| letter.class == DeadLetterClass::Conflict);
            news.conflicts.extend(conflicts.filter_map(|letter| letter.movement.clone()));
            Some(writes)
        })?;
        if fails {
            return Err(StoreError::Busy { doing: "simulating a commit that fails" });
        }
        self.news.push(news);
        Ok(negative)
    }
}

/// How far each journal is durable at the gateway.
pub(super) type Durable = BTreeMap<(AgentId, Epoch), u64>;
