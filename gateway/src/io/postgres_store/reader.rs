//! [`Reader`] on PostgreSQL: each answer is of one state of the database.

use stockwire_protocol::{Catalogue, ChannelId, ItemId, ItemRules, LocationId, MovementId, SiteId, Sku};

use super::{
    PostgresStore, books, catalogue, codes, ingest, letters, orders, picture, postings, queries, reconcile,
    reservations, tasks, trace,
};
use crate::briefing::{Delta, Mark, Marks, Picture};
use crate::catalogue::{ErpId, Index, Item, Site};
use crate::code::Alias;
use crate::dead_letter::{DeadLetter, DeadLetterId};
use crate::ingest::KnownEvent;
use crate::order::{Door, Entry, Head, OrderKey};
use crate::posting::PostingBatch;
use crate::reconcile::{KnownLine, Snapshot};
use crate::reservation::{self, Quota, Reservation, Shortage};
use crate::store::{
    ApiKeyRow, BooksReport, Changes, Cursor, DeadLetterQuery, DeviceRow, Gauges, Mentioned, MovementQuery,
    MovementRow, OfferQuery, OfferRow, OrderQuery, Page, Reader, StockQuery, StockRow, StoreError, TaskQuery,
};
use crate::task::{TaskName, TaskRow};
use crate::trace::{Thread, TraceKey};

impl Reader for PostgresStore {
    fn catalogue_index(&self) -> Result<Index, StoreError> {
        self.read(|tx| catalogue::index(tx, catalogue::Rows::Active))
    }

    fn catalogue_revision(&self) -> Result<u64, StoreError> {
        self.read(catalogue::revision)
    }

    fn catalogue_parts(&self, site: &SiteId) -> Result<Vec<Catalogue>, StoreError> {
        self.read(|tx| codes::catalogue_parts(tx, site))
    }

    fn catalogue_changes(&self, site: &SiteId, since: u64) -> Result<Delta<Catalogue>, StoreError> {
        self.read(|tx| codes::catalogue_changes(tx, site, since))
    }

    fn marks(&self) -> Result<Marks, StoreError> {
        self.read(picture::marks)
    }

    fn picture(&self, site: &SiteId, since: Option<Mark>) -> Result<Delta<Picture>, StoreError> {
        self.read(|tx| picture::picture(tx, site, since))
    }

    fn item_rules(&self, item: &ItemId) -> Result<Option<ItemRules>, StoreError> {
        self.read(|tx| codes::rules(tx, item))
    }

    fn aliases(&self, after: Option<&str>, limit: usize) -> Result<Page<Alias>, StoreError> {
        self.read(|tx| codes::aliases(tx, after, limit))
    }

    fn task(&self, name: &TaskName) -> Result<Option<TaskRow>, StoreError> {
        self.read(|tx| tasks::task(tx, name))
    }

    fn tasks(&self, query: &TaskQuery) -> Result<Page<TaskRow>, StoreError> {
        self.read(|tx| tasks::list(tx, query))
    }

    fn mentioning(&self, word: &str, limit: usize) -> Result<Vec<Mentioned>, StoreError> {
        self.read(|tx| trace::mentioning(tx, word, limit))
    }

    fn sites(&self) -> Result<Vec<Site>, StoreError> {
        self.read(catalogue::sites)
    }

    fn items(&self, search: &str, after: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.read(|tx| catalogue::items(tx, search, after, limit))
    }

    fn stock(&self, query: &StockQuery) -> Result<Page<StockRow>, StoreError> {
        self.read(|tx| queries::stock(tx, query))
    }

    fn movements(&self, query: &MovementQuery) -> Result<Page<MovementRow>, StoreError> {
        self.read(|tx| queries::movements(tx, query))
    }

    fn availability(&self, channel: &ChannelId, sku: &Sku) -> Result<Option<OfferRow>, StoreError> {
        self.read(|tx| queries::availability(tx, channel, sku))
    }

    fn offers(&self, query: &OfferQuery) -> Result<Page<OfferRow>, StoreError> {
        self.read(|tx| queries::offers(tx, query))
    }

    fn changes(&self, since: Cursor, limit: usize) -> Result<Changes, StoreError> {
        self.read(|tx| queries::changes(tx, since, limit))
    }

    fn changes_head(&self) -> Result<Cursor, StoreError> {
        self.read(queries::changes_head)
    }

    fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        self.read(queries::devices)
    }

    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<DeadLetter>, StoreError> {
        self.read(|tx| letters::list(tx, query))
    }

    fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.read(|tx| letters::show(tx, id))
    }

    fn event(&self, movement: &MovementId) -> Result<Option<KnownEvent>, StoreError> {
        self.read(|tx| ingest::event(tx, movement))
    }

    fn trace(&self, key: &TraceKey, limit: usize) -> Result<Vec<Thread>, StoreError> {
        self.read(|tx| trace::trace(tx, key, limit))
    }

    fn posting_batches(&self, erp: &ErpId, limit: usize) -> Result<Vec<PostingBatch>, StoreError> {
        self.read(|tx| postings::recent(tx, erp, limit))
    }

    fn reservations(&self, query: &reservation::Query) -> Result<Page<Reservation>, StoreError> {
        self.read(|tx| reservations::list(tx, query))
    }

    fn quotas(&self) -> Result<Vec<Quota>, StoreError> {
        self.read(reservations::quotas)
    }

    fn shortages(&self) -> Result<Vec<Shortage>, StoreError> {
        self.read(reservations::shortages)
    }

    fn books_are_open(&self, erp: &ErpId) -> Result<bool, StoreError> {
        self.read(|tx| books::are_open(tx, erp))
    }

    fn order(&self, order: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        self.read(|tx| orders::rows(tx, order))
    }

    fn orders(&self, query: &OrderQuery) -> Result<Page<Head>, StoreError> {
        self.read(|tx| orders::list(tx, query))
    }

    fn due_orders(
        &self,
        now_ms: i64,
        door: Door,
        channel: Option<&ChannelId>,
        limit: usize,
    ) -> Result<Vec<OrderKey>, StoreError> {
        self.read(|tx| orders::due(tx, now_ms, door, channel, limit))
    }

    fn orders_through(&self, channel: &ChannelId) -> Result<Option<i64>, StoreError> {
        self.read(|tx| orders::through(tx, channel))
    }

    fn reconcile_snapshot(&self, erp: &ErpId) -> Result<Snapshot, StoreError> {
        self.read(|tx| reconcile::snapshot_of(tx, erp))
    }

    fn known_lines(
        &self,
        erp: &ErpId,
        keys: &[(SiteId, LocationId, ItemId)],
        limit: usize,
    ) -> Result<Vec<KnownLine>, StoreError> {
        self.read(|tx| reconcile::known_lines(tx, erp, keys, limit))
    }

    fn verify_books(&self) -> Result<BooksReport, StoreError> {
        self.read(books::verify)
    }

    fn gauges(&self) -> Result<Gauges, StoreError> {
        self.read(queries::gauges)
    }

    fn api_keys(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        self.read(queries::api_keys)
    }
}

impl PostgresStore {
    fn read<T>(&self, work: impl FnMut(&super::Tx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.session.read("reading", work)
    }
}
