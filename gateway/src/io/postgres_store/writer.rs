//! [`Store`] on PostgreSQL.

use std::time::Duration;

use stockwire_protocol::{AccountId, ChannelId, ItemId, ItemRules, Quantity, SiteId, Sku, Task};

use super::letters::Closing;
use super::session::Lock;
use super::{PostgresStore, letters, queries};
use crate::availability::{ChannelPolicy, ChannelResult, ChannelUpdate};
use crate::catalogue::{ErpId, Listing, ListingsChange, Snapshot};
use crate::code::{CodeKey, Meaning};
use crate::dead_letter::{DeadLetterId, NewDeadLetter};
use crate::ingest::{Known, Need, Negative, Writes};
use crate::lease::{Grant, Taken};
use crate::ledger::OpeningLine;
use crate::order::{Known as OrderKnown, Need as OrderNeed, Writes as OrderWrites};
use crate::posting::{BatchResult, PostingBatch};
use crate::reservation::{Refused, Request, Reservation, Resolution};
use crate::store::{ApiKeyRow, Store, StoreError};
use crate::task::{TaskName, TaskRow};

/// A key's last use is kept to this precision, so that reading does not write with every request.
const LAST_USED_PRECISION_MS: i64 = 60_000;

const KEYS: &str = "handling API keys";

impl Store for PostgresStore {
    fn ingest(
        &mut self,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Option<Writes>,
    ) -> Result<Vec<Negative>, StoreError> {
        let mut at_ms = None;
        let negative = self.ingest_group(need, &mut |known| {
            let writes = decide(known);
            at_ms = writes.as_ref().map(|writes| writes.received_at_ms);
            writes
        })?;
        if let Some(at_ms) = at_ms {
            self.look_at_partitions(at_ms);
        }
        Ok(negative)
    }

    fn replace_catalogue(&mut self, erp: &ErpId, snapshot: &Snapshot) -> Result<u64, StoreError> {
        self.put_catalogue(erp, snapshot)
    }

    fn put_alias(
        &mut self,
        at_ms: i64,
        by: &str,
        key: &CodeKey,
        meaning: &Meaning,
    ) -> Result<bool, StoreError> {
        self.put_alias_row(at_ms, by, key, meaning)
    }

    fn remove_alias(&mut self, key: &CodeKey, site: Option<&SiteId>) -> Result<bool, StoreError> {
        self.take_alias_back(key, site)
    }

    fn put_item_rules(&mut self, item: &ItemId, rules: &ItemRules) -> Result<bool, StoreError> {
        self.put_rules(item, rules)
    }

    fn put_strict(&mut self, now_ms: i64, item: &ItemId, strict: Option<bool>) -> Result<bool, StoreError> {
        self.put_mode(now_ms, item, strict)
    }

    fn put_task(&mut self, at_ms: i64, site: &SiteId, task: &Task) -> Result<TaskRow, StoreError> {
        self.put_task_row(at_ms, site, task)
    }

    fn withdraw_task(&mut self, at_ms: i64, name: &TaskName) -> Result<bool, StoreError> {
        self.withdraw(at_ms, name)
    }

    fn reserve(
        &mut self,
        now_ms: i64,
        request: &Request,
    ) -> Result<Result<Vec<Reservation>, Refused>, StoreError> {
        self.reserve_stock(now_ms, request)
    }

    fn resolve(
        &mut self,
        now_ms: i64,
        resolution: &Resolution,
    ) -> Result<Result<Vec<Reservation>, Refused>, StoreError> {
        self.resolve_order(now_ms, resolution)
    }

    fn expire_reservations(&mut self, now_ms: i64) -> Result<usize, StoreError> {
        self.expire_due(now_ms)
    }

    fn work_order(
        &mut self,
        now_ms: i64,
        need: &OrderNeed,
        decide: &mut dyn FnMut(&OrderKnown) -> OrderWrites,
    ) -> Result<(), StoreError> {
        self.work(now_ms, need, decide)
    }

    fn put_orders_through(&mut self, channel: &ChannelId, through_ms: i64) -> Result<(), StoreError> {
        self.put_through(channel, through_ms)
    }

    fn note_delivery(&mut self, at_ms: i64, channel: &ChannelId, id: &str) -> Result<bool, StoreError> {
        self.note_order_delivery(at_ms, channel, id)
    }

    fn put_quota(
        &mut self,
        now_ms: i64,
        account: &AccountId,
        at: (&ItemId, &SiteId),
        quantity: Option<Quantity>,
    ) -> Result<bool, StoreError> {
        self.set_quota(now_ms, account, at, quantity)
    }

    fn replace_listings(
        &mut self,
        channel: &ChannelId,
        listings: &[Listing],
    ) -> Result<ListingsChange, StoreError> {
        self.put_listings(channel, listings)
    }

    fn replace_channels(&mut self, policies: &[ChannelPolicy]) -> Result<(), StoreError> {
        self.put_channels(policies)
    }

    fn open_books(&mut self, at_ms: i64, erp: &ErpId, lines: &[OpeningLine]) -> Result<bool, StoreError> {
        self.put_opening(at_ms, erp, lines)
    }

    fn take_posting_batch(
        &mut self,
        now_ms: i64,
        erp: &ErpId,
        lines_max: usize,
    ) -> Result<Option<PostingBatch>, StoreError> {
        self.take_batch(now_ms, erp, lines_max)
    }

    fn record_batch_result(
        &mut self,
        now_ms: i64,
        reference: &str,
        result: &BatchResult,
    ) -> Result<(), StoreError> {
        self.record_batch(now_ms, reference, result)
    }

    fn take_channel_updates(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        max: usize,
    ) -> Result<Vec<ChannelUpdate>, StoreError> {
        self.take_updates(now_ms, channel, max)
    }

    fn record_channel_results(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        results: &[(Sku, ChannelResult)],
    ) -> Result<(), StoreError> {
        self.record_updates(now_ms, channel, results)
    }

    fn recover_postings(&mut self, now_ms: i64, erp: &ErpId) -> Result<usize, StoreError> {
        self.recover_batches(now_ms, erp)
    }

    fn recover_publications(&mut self, now_ms: i64, channel: &ChannelId) -> Result<usize, StoreError> {
        self.recover_updates(now_ms, channel)
    }

    fn take_lease(
        &mut self,
        _now_ms: i64,
        name: &str,
        holder: &str,
        length: Duration,
    ) -> Result<Taken, StoreError> {
        self.take(name, holder, length)
    }

    fn renew_lease(&mut self, _now_ms: i64, grant: &Grant, length: Duration) -> Result<bool, StoreError> {
        self.renew(grant, length)
    }

    fn give_lease_back(&mut self, grant: &Grant) -> Result<(), StoreError> {
        self.give_back(grant)
    }

    fn set_fence(&mut self, grant: Option<&Grant>) {
        self.put_fence(grant);
    }

    fn check_fence(&mut self) -> Result<(), StoreError> {
        self.look_at_fence()
    }

    fn add_dead_letter(
        &mut self,
        at_ms: i64,
        letter: &NewDeadLetter,
    ) -> Result<Option<DeadLetterId>, StoreError> {
        self.session.write("setting a message aside", Lock::Books, |tx| letters::add(tx, at_ms, letter))
    }

    fn discard_dead_letter(
        &mut self,
        at_ms: i64,
        id: DeadLetterId,
        by: &str,
        why: &str,
    ) -> Result<bool, StoreError> {
        self.close_letter(at_ms, id, Closing::Discarded { by, why })
    }

    fn requeue_dead_letter(&mut self, at_ms: i64, id: DeadLetterId, by: &str) -> Result<bool, StoreError> {
        self.requeue(at_ms, id, by)
    }

    fn close_replayed(&mut self, at_ms: i64, id: DeadLetterId, by: &str) -> Result<bool, StoreError> {
        self.close_letter(at_ms, id, Closing::Replayed { by })
    }

    fn create_api_key(&mut self, at_ms: i64, name: &str, hash: &[u8; 32]) -> Result<(), StoreError> {
        self.session.write(KEYS, Lock::None, |tx| {
            let sql = "INSERT INTO api_key (name, hash, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
            match tx.execute(KEYS, sql, &[&name, &&hash[..], &at_ms])? {
                0 => Err(StoreError::Refused { reason: format!("there is an API key named {name} already") }),
                _ => Ok(()),
            }
        })
    }

    fn revoke_api_key(&mut self, at_ms: i64, name: &str) -> Result<bool, StoreError> {
        self.session.write(KEYS, Lock::None, |tx| {
            let sql = "UPDATE api_key SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL";
            Ok(tx.execute(KEYS, sql, &[&name, &at_ms])? == 1)
        })
    }

    fn use_api_key(&mut self, at_ms: i64, hash: &[u8; 32]) -> Result<Option<ApiKeyRow>, StoreError> {
        let sql = "SELECT name, created_at, revoked_at, last_used_at FROM api_key
                   WHERE hash = $1 AND revoked_at IS NULL";
        let found = self.session.read(KEYS, |tx| {
            tx.optional(KEYS, sql, &[&&hash[..]])?.as_ref().map(queries::api_key).transpose()
        })?;
        let Some(key) = found else { return Ok(None) };
        if key.last_used_at_ms.is_some_and(|last| at_ms.saturating_sub(last) < LAST_USED_PRECISION_MS) {
            return Ok(Some(key));
        }
        self.session.write(KEYS, Lock::None, |tx| {
            let sql = "UPDATE api_key SET last_used_at = $2 WHERE hash = $1 AND revoked_at IS NULL";
            tx.execute(KEYS, sql, &[&&hash[..], &at_ms]).map(drop)
        })?;
        Ok(Some(ApiKeyRow { last_used_at_ms: Some(at_ms), ..key }))
    }
}
