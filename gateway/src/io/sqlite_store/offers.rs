//! Outgoing work for channels in SQLite: one row per channel and SKU holds what it must be told, what is in flight,
//! and what it has accepted.

use rusqlite::{Connection, Row, Transaction, params};
use stockwire_protocol::{ChannelId, SiteId, Sku};

use super::catalogue::{channels, json};
use super::escrow::{self, Policies};
use super::{
    PLACE_AT, SqliteStore, books, bump, database, letters, orders, reservations, text, unreadable, uom,
};
use crate::availability::{ChannelPolicy, ChannelResult, ChannelUpdate, SiteNumber, SiteStock, compute};
use crate::io::sheet::Landing;
use crate::ledger::LedgerId;
use crate::store::{ADRIFT_MAX, Adrift, Published, StoreError};

const TAKING: &str = "taking channel updates";
const RECORDING: &str = "recording what became of channel updates";

/// Items whose numbers are computed in one transaction; the rest follows at the next take. It bounds how long
/// ingest waits after a change of a whole catalogue.
const STALE_ITEMS_MAX: i64 = 2_000;

impl SqliteStore {
    pub(super) fn take_updates(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        max: usize,
    ) -> Result<Vec<ChannelUpdate>, StoreError> {
        loop {
            let (more, updates) = self.write(TAKING, |tx| take(tx, now_ms, channel, max))?;
            // A change of a whole catalogue is computed in stretches, and ingest gets its turn between them.
            if !updates.is_empty() || !more {
                return Ok(updates);
            }
        }
    }

    pub(super) fn record_updates(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        results: &[(Sku, ChannelResult)],
    ) -> Result<(), StoreError> {
        self.write(RECORDING, |tx| {
            let change = bump(tx, "change")?;
            let policies = channels(tx)?;
            results
                .iter()
                .try_for_each(|(sku, result)| record(tx, (now_ms, change), (channel, sku), result, &policies))
        })
    }

    pub(super) fn recover_updates(&mut self, now_ms: i64, channel: &ChannelId) -> Result<usize, StoreError> {
        self.write("recovering what was in flight", |tx| {
            let channel = channel.as_str();
            // Whether it arrived nobody knows; numbers are absolute, so the newest one is sent and read back.
            set_adrift(tx, now_ms, "channel = ?1 AND flight_revision IS NOT NULL", [channel], &channels(tx)?)?;
            let sql = "UPDATE offer SET flight_revision = NULL, unresolved = 1, next_at = 0,
                           due_since = coalesce(due_since, ?2) WHERE channel = ?1 AND flight_revision IS NOT NULL";
            tx.execute(sql, params![channel, now_ms]).map_err(database(RECORDING))
        })
    }
}

/// One stretch of computing, and the updates that are due then; and whether more is to be computed.
fn take(
    tx: &Transaction<'_>,
    now_ms: i64,
    channel: &ChannelId,
    max: usize,
) -> Result<(bool, Vec<ChannelUpdate>), StoreError> {
    let policies = channels(tx)?;
    escrow::wake(tx, now_ms)?;
    let more = refresh(tx, now_ms, &policies)?;
    // The scarcest first: a wrong number hurts most where little is left.
    let sql =
        "SELECT sku, offer.reference, item.item, revision, number, sites, through, attempts, unresolved,
                   pub_number, pub_revision, pub_at, pub_through
               FROM offer JOIN item ON item.no = offer.item
               WHERE channel = ?1 AND due_since IS NOT NULL AND flight_revision IS NULL AND next_at <= ?2
                   AND offer.active = 1 AND revision > 0
               ORDER BY number, due_since, sku LIMIT ?3";
    let mut statement = tx.prepare_cached(sql).map_err(database(TAKING))?;
    let due: Vec<ChannelUpdate> = statement
        .query_map(params![channel.as_str(), now_ms, max as i64], read_update)
        .and_then(Iterator::collect)
        .map_err(database(TAKING))?;
    let mut updates = Vec::with_capacity(due.len());
    for mut update in due {
        if escrow::depart(tx, now_ms, channel, &mut update, &policies)? {
            updates.push(update);
        }
    }
    Ok((more, updates))
}

fn read_update(row: &Row<'_>) -> rusqlite::Result<ChannelUpdate> {
    Ok(ChannelUpdate {
        sku: text(row, 0)?,
        reference: row.get(1)?,
        item: text(row, 2)?,
        revision: row.get::<_, i64>(3)? as u64,
        number: row.get(4)?,
        sites: site_numbers(row, 5)?,
        through: LedgerId(row.get::<_, i64>(6)? as u64),
        attempts: row.get(7)?,
        unresolved: row.get(8)?,
        published: published(row, 9)?,
        expects: None,
    })
}

/// From the columns number, revision, time and cut-off, side by side.
pub(super) fn published(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Published>> {
    let Some(number) = row.get::<_, Option<i64>>(at)? else { return Ok(None) };
    Ok(Some(Published {
        number,
        revision: row.get::<_, i64>(at + 1)? as u64,
        at_ms: row.get(at + 2)?,
        through: LedgerId(row.get::<_, i64>(at + 3)? as u64),
    }))
}

/// What is in flight on these offers was sent and will not be heard of: it may still arrive, behind a newer number.
fn set_adrift(
    tx: &Connection,
    now_ms: i64,
    condition: &str,
    values: impl rusqlite::Params,
    policies: &Policies,
) -> Result<(), StoreError> {
    let sql = format!("SELECT channel, sku, adrift, flight_sites FROM offer WHERE {condition}");
    let mut statement = tx.prepare_cached(&sql).map_err(database(RECORDING))?;
    let found: Vec<(ChannelId, Sku, Vec<Adrift>, Vec<SiteNumber>)> = statement
        .query_map(values, |row| Ok((text(row, 0)?, text(row, 1)?, adrift(row, 2)?, site_numbers(row, 3)?)))
        .and_then(Iterator::collect)
        .map_err(database(RECORDING))?;
    for (channel, sku, mut adrift, sites) in found {
        adrift.push(Adrift { at_ms: now_ms, sites });
        let kept = &adrift[adrift.len().saturating_sub(ADRIFT_MAX)..];
        let text: Vec<(i64, SitePairs<'_>)> =
            kept.iter().map(|adrift| (adrift.at_ms, site_pairs(&adrift.sites))).collect();
        let sql = "UPDATE offer SET adrift = ?3 WHERE channel = ?1 AND sku = ?2";
        execute(tx, sql, params![channel.as_str(), sku.as_str(), json(&text)?])?;
        escrow::land(tx, now_ms, (&channel, &sku), Landing::Lost, policies)?;
    }
    Ok(())
}

type SitePairs<'a> = Vec<(&'a str, i64)>;

pub(super) fn adrift(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<Adrift>> {
    let numbers: Vec<(i64, Vec<(String, i64)>)> =
        serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|fault| unreadable(at, Box::new(fault)))?;
    numbers.into_iter().map(|(at_ms, pairs)| Ok(Adrift { at_ms, sites: sites(at, pairs)? })).collect()
}

fn site_numbers(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<SiteNumber>> {
    let pairs =
        serde_json::from_str(row.get_ref(at)?.as_str()?).map_err(|fault| unreadable(at, Box::new(fault)))?;
    sites(at, pairs)
}

fn sites(at: usize, pairs: Vec<(String, i64)>) -> rusqlite::Result<Vec<SiteNumber>> {
    let site = |(site, number)| {
        let site = SiteId::new(site).map_err(|fault| unreadable(at, Box::new(fault)))?;
        Ok(SiteNumber { site, number })
    };
    pairs.into_iter().map(site).collect()
}

pub(super) fn sites_text(sites: &[SiteNumber]) -> Result<String, StoreError> {
    json(&site_pairs(sites))
}

fn site_pairs(sites: &[SiteNumber]) -> SitePairs<'_> {
    sites.iter().map(|site| (site.site.as_str(), site.number)).collect()
}

/// What of an item lies at each site, and what of it is promised.
pub(super) fn site_stock(connection: &Connection, item: i64) -> Result<Vec<SiteStock>, StoreError> {
    let sql = "SELECT site.site, sum(balance.steps) FROM balance JOIN place ON place.no = balance.place
               JOIN site ON site.no = place.site
               WHERE balance.item = ?1 AND place.kind = ?2 AND balance.disposition = '' GROUP BY site.no ORDER BY site.no";
    let mut statement = connection.prepare_cached(sql).map_err(database(TAKING))?;
    let mut on_hand: Vec<(SiteId, i64)> = statement
        .query_map((item, PLACE_AT), |row| Ok((text(row, 0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(database(TAKING))?;
    // A site where something is promised and nothing lies gives nothing, so it need not be listed.
    let mut reserved = reservations::reserved_by_site(connection, item)?;
    let mut kept = reservations::kept_by_site(connection, item)?;
    let mut out = orders::out_by_site(connection, item)?;
    // The last piece may have left while its order is still open at the channel.
    let empty = out.keys().filter(|site| on_hand.iter().all(|(known, _)| known != *site));
    let empty: Vec<(SiteId, i64)> = empty.map(|site| (site.clone(), 0)).collect();
    on_hand.extend(empty);
    let stock = |(site, on_hand_steps)| {
        let reserved_steps = reserved.remove(&site).unwrap_or_default();
        let kept_steps = kept.remove(&site).unwrap_or_default();
        let out_steps = out.remove(&site).unwrap_or_default();
        SiteStock { site, on_hand_steps, reserved_steps, kept_steps, out_steps }
    };
    Ok(on_hand.into_iter().map(stock).collect())
}

/// Computes the numbers of items whose stock changed, for every channel that lists them. `true` = there may be more.
fn refresh(tx: &Transaction<'_>, now_ms: i64, policies: &Policies) -> Result<bool, StoreError> {
    let sql = "DELETE FROM stale_item WHERE item IN (SELECT item FROM stale_item ORDER BY item LIMIT ?1) RETURNING item, since";
    let mut statement = tx.prepare_cached(sql).map_err(database(TAKING))?;
    let stale: Vec<(i64, i64)> = statement
        .query_map([STALE_ITEMS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(database(TAKING))?;
    if stale.is_empty() {
        return Ok(false);
    }
    let more = stale.len() as i64 == STALE_ITEMS_MAX;
    let through = books::head(tx)?;
    let change = bump(tx, "change")?;
    let sql = "SELECT offer.channel, offer.sku, item.uom FROM offer JOIN item ON item.no = offer.item
               WHERE offer.item = ?1 AND offer.active = 1";
    let mut listed = tx.prepare_cached(sql).map_err(database(TAKING))?;
    for (item, since) in stale {
        let since = if since == 0 { now_ms } else { since };
        if escrow::is_strict(tx, item, policies)? {
            escrow::refresh(tx, item, policies, (now_ms, since, change), through)?;
            continue;
        }
        let stock = site_stock(tx, item)?;
        let mut rows = listed.query([item]).map_err(database(TAKING))?;
        while let Some(row) = rows.next().map_err(database(TAKING))? {
            let channel: ChannelId = text(row, 0).map_err(database(TAKING))?;
            let Some(policy) = policies.get(&channel) else { continue };
            let sku: String = row.get(1).map_err(database(TAKING))?;
            let uom = uom(row, 2).map_err(database(TAKING))?;
            let offer = Offer { policy, sku: &sku, since, change };
            put_number(tx, &offer, &compute(policy, uom, &stock, None, through))?;
        }
    }
    Ok(more)
}

struct Offer<'a> {
    policy: &'a ChannelPolicy,
    sku: &'a str,
    since: i64,
    change: i64,
}

fn put_number(
    tx: &Connection,
    offer: &Offer<'_>,
    availability: &crate::availability::Availability,
) -> Result<(), StoreError> {
    let sites = sites_text(&availability.sites)?;
    let (channel, through) = (offer.policy.channel.as_str(), availability.through.0 as i64);
    // A new number: a new revision, due now whatever an older one is waiting for.
    let sql = "UPDATE offer SET revision = revision + 1, number = ?3, sites = ?4, through = ?5,
                   due_since = coalesce(due_since, ?6), next_at = 0, change = ?7
               WHERE channel = ?1 AND sku = ?2 AND (revision = 0 OR number <> ?3 OR sites <> ?4)";
    let mut update = tx.prepare_cached(sql).map_err(database(TAKING))?;
    let changed = update
        .execute(params![channel, offer.sku, availability.number, sites, through, offer.since, offer.change])
        .map_err(database(TAKING))?;
    if changed == 0 {
        // The same number: it holds for the newer rows too, and so does the accepted one if it is that.
        let sql = "UPDATE offer SET through = ?3, pub_through = CASE WHEN pub_revision = revision THEN ?3 ELSE pub_through END,
                       flight_through = CASE WHEN flight_revision = revision THEN ?3 ELSE flight_through END
                   WHERE channel = ?1 AND sku = ?2";
        let mut update = tx.prepare_cached(sql).map_err(database(TAKING))?;
        update.execute(params![channel, offer.sku, through]).map_err(database(TAKING))?;
    }
    Ok(())
}

/// A result that is not of the number in flight comes late: the offer is due still, and is settled by a newer one.
fn record(
    tx: &Connection,
    (now_ms, change): (i64, i64),
    (channel_id, sku_id): (&ChannelId, &Sku),
    result: &ChannelResult,
    policies: &Policies,
) -> Result<(), StoreError> {
    let (channel, sku) = (channel_id.as_str(), sku_id.as_str());
    let (ChannelResult::Accepted { revision }
    | ChannelResult::Retry { revision, .. }
    | ChannelResult::Unknown { revision, .. }
    | ChannelResult::Dead { revision, .. }) = result;
    let sql = "SELECT EXISTS (SELECT 1 FROM offer WHERE channel = ?1 AND sku = ?2 AND flight_revision = ?3)";
    let mut statement = tx.prepare_cached(sql).map_err(database(RECORDING))?;
    let is_flying: bool = statement
        .query_row(params![channel, sku, *revision as i64], |row| row.get(0))
        .map_err(database(RECORDING))?;
    if !is_flying {
        return Ok(());
    }
    let landing = match result {
        ChannelResult::Accepted { .. } => Some(Landing::Accepted),
        ChannelResult::Retry { .. } | ChannelResult::Dead { .. } => Some(Landing::Refused),
        // Noted with what is adrift.
        ChannelResult::Unknown { .. } => None,
    };
    if let Some(landing) = landing {
        escrow::land(tx, now_ms, (channel_id, sku_id), landing, policies)?;
    }
    match result {
        ChannelResult::Accepted { revision } => {
            // Still due when the number changed while this one was in flight.
            let sql = "UPDATE offer SET pub_revision = flight_revision, pub_number = flight_number,
                           pub_sites = flight_sites, pub_through = flight_through, pub_at = ?4, flight_revision = NULL,
                           due_since = CASE WHEN revision = flight_revision THEN NULL ELSE due_since END,
                           unresolved = 0, attempts = 0, next_at = 0, fault = NULL, change = ?5
                       WHERE channel = ?1 AND sku = ?2 AND flight_revision = ?3";
            execute(tx, sql, params![channel, sku, *revision as i64, now_ms, change])
        }
        ChannelResult::Retry { revision, at_ms, message } => {
            failed(tx, (channel, sku), *revision, (*at_ms, message), Unresolved::AsBefore, change)
        }
        ChannelResult::Unknown { revision, at_ms, message } => {
            let flight = "channel = ?1 AND sku = ?2 AND flight_revision = ?3";
            set_adrift(tx, now_ms, flight, params![channel, sku, *revision as i64], policies)?;
            failed(tx, (channel, sku), *revision, (*at_ms, message), Unresolved::Yes, change)
        }
        ChannelResult::Dead { revision, reason } => {
            let sql = "SELECT flight_number FROM offer WHERE channel = ?1 AND sku = ?2";
            let mut statement = tx.prepare_cached(sql).map_err(database(RECORDING))?;
            let number: i64 =
                statement.query_row([channel, sku], |row| row.get(0)).map_err(database(RECORDING))?;
            letters::add_publication(tx, now_ms, (channel, sku), *revision as i64, (number, reason))?;
            let sql = "UPDATE offer SET due_since = CASE WHEN revision = flight_revision THEN NULL ELSE due_since END,
                           flight_revision = NULL, attempts = 0, next_at = 0, fault = ?3, change = ?4
                       WHERE channel = ?1 AND sku = ?2";
            execute(tx, sql, params![channel, sku, reason, change])
        }
    }
}

enum Unresolved {
    AsBefore,
    Yes,
}

fn failed(
    tx: &Connection,
    (channel, sku): (&str, &str),
    revision: u64,
    (at_ms, message): (i64, &str),
    unresolved: Unresolved,
    change: i64,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE offer SET flight_revision = NULL, next_at = ?4, fault = ?5, unresolved = max(unresolved, ?6),
                   change = ?7 WHERE channel = ?1 AND sku = ?2 AND flight_revision = ?3";
    let unresolved = matches!(unresolved, Unresolved::Yes);
    execute(tx, sql, params![channel, sku, revision as i64, at_ms, message, unresolved, change])
}

fn execute(tx: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(sql).map_err(database(RECORDING))?;
    statement.execute(values).map(drop).map_err(database(RECORDING))
}

/// Makes the present number of an offer due once more: after a dead letter was replayed.
pub(super) fn due_again(tx: &Connection, now_ms: i64, channel: &str, sku: &str) -> Result<(), StoreError> {
    let sql =
        "UPDATE offer SET due_since = coalesce(due_since, ?3), next_at = 0 WHERE channel = ?1 AND sku = ?2
                   AND pub_revision IS NOT revision";
    execute(tx, sql, params![channel, sku, now_ms])
}
