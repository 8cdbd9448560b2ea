//! [`Reader`] for both kinds of connection.

use stockwire_protocol::{Catalogue, ChannelId, ItemId, ItemRules, LocationId, MovementId, SiteId, Sku};

use super::{
    Connected, books, catalogue, codes, ingest, letters, meta, orders, picture, postings, queries, reconcile,
    reservations, tasks,
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

impl<T: Connected> Reader for T {
    fn catalogue_index(&self) -> Result<Index, StoreError> {
        catalogue::index(self.connection())
    }

    fn catalogue_revision(&self) -> Result<u64, StoreError> {
        Ok(meta(self.connection(), "catalogue_revision")? as u64)
    }

    fn catalogue_parts(&self, site: &SiteId) -> Result<Vec<Catalogue>, StoreError> {
        codes::catalogue_parts(self.connection(), site)
    }

    fn catalogue_changes(&self, site: &SiteId, since: u64) -> Result<Delta<Catalogue>, StoreError> {
        codes::catalogue_changes(self.connection(), site, since)
    }

    fn marks(&self) -> Result<Marks, StoreError> {
        picture::marks(self.connection())
    }

    fn picture(&self, site: &SiteId, since: Option<Mark>) -> Result<Delta<Picture>, StoreError> {
        picture::picture(self.connection(), site, since)
    }

    fn item_rules(&self, item: &ItemId) -> Result<Option<ItemRules>, StoreError> {
        codes::rules(self.connection(), item)
    }

    fn aliases(&self, after: Option<&str>, limit: usize) -> Result<Page<Alias>, StoreError> {
        codes::aliases(self.connection(), after, limit)
    }

    fn task(&self, name: &TaskName) -> Result<Option<TaskRow>, StoreError> {
        tasks::task(self.connection(), name)
    }

    fn tasks(&self, query: &TaskQuery) -> Result<Page<TaskRow>, StoreError> {
        tasks::list(self.connection(), query)
    }

    fn mentioning(&self, word: &str, limit: usize) -> Result<Vec<Mentioned>, StoreError> {
        queries::mentioning(self.connection(), word, limit)
    }

    fn sites(&self) -> Result<Vec<Site>, StoreError> {
        catalogue::sites(self.connection())
    }

    fn items(&self, search: &str, after: Option<&ItemId>, limit: usize) -> Result<Vec<Item>, StoreError> {
        catalogue::items(self.connection(), search, after, limit)
    }

    fn stock(&self, query: &StockQuery) -> Result<Page<StockRow>, StoreError> {
        queries::stock(self.connection(), query)
    }

    fn movements(&self, query: &MovementQuery) -> Result<Page<MovementRow>, StoreError> {
        queries::movements(self.connection(), query)
    }

    fn availability(&self, channel: &ChannelId, sku: &Sku) -> Result<Option<OfferRow>, StoreError> {
        queries::availability(self.connection(), channel, sku)
    }

    fn offers(&self, query: &OfferQuery) -> Result<Page<OfferRow>, StoreError> {
        queries::offers(self.connection(), query)
    }

    fn changes(&self, since: Cursor, limit: usize) -> Result<Changes, StoreError> {
        queries::changes(self.connection(), since, limit)
    }

    fn changes_head(&self) -> Result<Cursor, StoreError> {
        queries::changes_head(self.connection())
    }

    fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        queries::devices(self.connection())
    }

    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Page<DeadLetter>, StoreError> {
        letters::list(self.connection(), query)
    }

    fn dead_letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        letters::show(self.connection(), id)
    }

    fn event(&self, movement: &MovementId) -> Result<Option<KnownEvent>, StoreError> {
        ingest::event(self.connection(), movement)
    }

    fn trace(&self, key: &TraceKey, limit: usize) -> Result<Vec<Thread>, StoreError> {
        queries::trace(self.connection(), key, limit)
    }

    fn posting_batches(&self, erp: &ErpId, limit: usize) -> Result<Vec<PostingBatch>, StoreError> {
        postings::recent(self.connection(), erp, limit)
    }

    fn reservations(&self, query: &reservation::Query) -> Result<Page<Reservation>, StoreError> {
        reservations::list(self.connection(), query)
    }

    fn quotas(&self) -> Result<Vec<Quota>, StoreError> {
        reservations::quotas(self.connection())
    }

    fn shortages(&self) -> Result<Vec<Shortage>, StoreError> {
        reservations::shortages(self.connection())
    }

    fn books_are_open(&self, erp: &ErpId) -> Result<bool, StoreError> {
        books::are_open(self.connection(), erp)
    }

    fn order(&self, order: &OrderKey) -> Result<Vec<Entry>, StoreError> {
        orders::rows(self.connection(), order)
    }

    fn orders(&self, query: &OrderQuery) -> Result<Page<Head>, StoreError> {
        orders::list(self.connection(), query)
    }

    fn due_orders(
        &self,
        now_ms: i64,
        door: Door,
        channel: Option<&ChannelId>,
        limit: usize,
    ) -> Result<Vec<OrderKey>, StoreError> {
        orders::due(self.connection(), now_ms, door, channel, limit)
    }

    fn orders_through(&self, channel: &ChannelId) -> Result<Option<i64>, StoreError> {
        orders::through(self.connection(), channel)
    }

    fn reconcile_snapshot(&self, erp: &ErpId) -> Result<Snapshot, StoreError> {
        reconcile::snapshot_of(self.connection(), erp)
    }

    fn known_lines(
        &self,
        erp: &ErpId,
        keys: &[(SiteId, LocationId, ItemId)],
        limit: usize,
    ) -> Result<Vec<KnownLine>, StoreError> {
        reconcile::known_lines(self.connection(), erp, keys, limit)
    }

    fn verify_books(&self) -> Result<BooksReport, StoreError> {
        books::verify(self.connection())
    }

    fn gauges(&self) -> Result<Gauges, StoreError> {
        queries::gauges(self.connection())
    }

    fn api_keys(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        queries::api_keys(self.connection())
    }
}
