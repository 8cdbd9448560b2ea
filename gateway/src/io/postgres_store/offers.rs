//! Outgoing work for channels in PostgreSQL: one row per channel and SKU holds what it must be told, what is in
//! flight, and what it has accepted.

use std::collections::HashMap;

use postgres::Row;
use postgres::types::ToSql;
use stockwire_protocol::{ChannelId, SiteId, Sku};

use super::catalogue::{channels, json};
use super::column::{PLACE_AT, clean, count, get, text, unreadable, uom};
use super::escrow::{self, Policies};
use super::postings::attempts;
use super::session::Lock;
use super::{Counter, PostgresStore, Tx, books, bump, letters, orders, reservations};
use crate::availability::{ChannelResult, ChannelUpdate, SiteNumber, SiteStock, compute};
use crate::io::sheet::Landing;
use crate::ledger::LedgerId;
use crate::store::{ADRIFT_MAX, Adrift, Published, StoreError};

const TAKING: &str = "taking channel updates";
const RECORDING: &str = "recording what became of channel updates";

/// Items whose numbers are computed in one transaction; the rest follows at the next take. It bounds how long
/// ingest waits after a change of a whole catalogue.
const STALE_ITEMS_MAX: i64 = 2_000;

impl PostgresStore {
    pub(super) fn take_updates(
        &mut self,
        now_ms: i64,
        channel: &ChannelId,
        max: usize,
    ) -> Result<Vec<ChannelUpdate>, StoreError> {
        loop {
            let (more, updates) =
                self.session.write(TAKING, Lock::Books, |tx| take(tx, now_ms, channel, max))?;
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
        self.session.write(RECORDING, Lock::Books, |tx| {
            let change = bump(tx, Counter::Change)?;
            let policies = channels(tx)?;
            results
                .iter()
                .try_for_each(|(sku, result)| record(tx, (now_ms, change), (channel, sku), result, &policies))
        })
    }

    pub(super) fn recover_updates(&mut self, now_ms: i64, channel: &ChannelId) -> Result<usize, StoreError> {
        self.session.write("recovering what was in flight", Lock::Books, |tx| {
            let channel = channel.as_str();
            // Whether it arrived nobody knows; numbers are absolute, so the newest one is sent and read back.
            set_adrift(tx, now_ms, "channel = $1 AND flight_revision IS NOT NULL", &[&channel], &channels(tx)?)?;
            let sql = "UPDATE offer SET flight_revision = NULL, unresolved = true, next_at = 0,
                           due_since = coalesce(due_since, $2) WHERE channel = $1 AND flight_revision IS NOT NULL";
            Ok(tx.execute(RECORDING, sql, &[&channel, &now_ms])? as usize)
        })
    }
}

/// One stretch of computing, and the updates that are due then; and whether more is to be computed.
fn take(
    tx: &Tx<'_>,
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
               WHERE channel = $1 AND due_since IS NOT NULL AND flight_revision IS NULL AND next_at <= $2
                   AND offer.active AND revision > 0
               ORDER BY number, due_since, sku LIMIT $3";
    let rows = tx.query(TAKING, sql, &[&channel.as_str(), &now_ms, &(max as i64)])?;
    let updates: Vec<ChannelUpdate> = rows.iter().map(read_update).collect::<Result<_, _>>()?;
    Ok((more, escrow::depart(tx, now_ms, channel, updates, &policies)?))
}

fn read_update(row: &Row) -> Result<ChannelUpdate, StoreError> {
    Ok(ChannelUpdate {
        sku: text(row, 0)?,
        reference: get(row, 1)?,
        item: text(row, 2)?,
        revision: count(row, 3)?,
        number: get(row, 4)?,
        sites: site_numbers(row, 5)?,
        through: LedgerId(count(row, 6)?),
        attempts: attempts(row, 7)?,
        unresolved: get(row, 8)?,
        published: published(row, 9)?,
        expects: None,
    })
}

/// From the columns number, revision, time and cut-off, side by side.
pub(super) fn published(row: &Row, at: usize) -> Result<Option<Published>, StoreError> {
    let Some(number) = get::<Option<i64>>(row, at)? else { return Ok(None) };
    Ok(Some(Published {
        number,
        revision: count(row, at + 1)?,
        at_ms: get(row, at + 2)?,
        through: LedgerId(count(row, at + 3)?),
    }))
}

/// What is in flight on these offers was sent and will not be heard of: it may still arrive, behind a newer number.
fn set_adrift(
    tx: &Tx<'_>,
    now_ms: i64,
    condition: &str,
    values: &[&(dyn ToSql + Sync)],
    policies: &Policies,
) -> Result<(), StoreError> {
    let sql = format!("SELECT channel, sku, adrift, flight_sites FROM offer WHERE {condition}");
    for row in tx.query(RECORDING, &sql, values)? {
        let mut adrift = adrift(&row, 2)?;
        adrift.push(Adrift { at_ms: now_ms, sites: site_numbers(&row, 3)? });
        let kept = &adrift[adrift.len().saturating_sub(ADRIFT_MAX)..];
        let text: Vec<(i64, SitePairs<'_>)> =
            kept.iter().map(|adrift| (adrift.at_ms, site_pairs(&adrift.sites))).collect();
        let (channel, sku): (ChannelId, Sku) = (self::text(&row, 0)?, self::text(&row, 1)?);
        let sql = "UPDATE offer SET adrift = $3 WHERE channel = $1 AND sku = $2";
        tx.execute(RECORDING, sql, &[&channel.as_str(), &sku.as_str(), &json(&text)?])?;
        escrow::land(tx, now_ms, (&channel, &sku), Landing::Lost, policies)?;
    }
    Ok(())
}

pub(super) type SitePairs<'a> = Vec<(&'a str, i64)>;

pub(super) fn adrift(row: &Row, at: usize) -> Result<Vec<Adrift>, StoreError> {
    let numbers: Vec<(i64, Vec<(String, i64)>)> =
        serde_json::from_str(get(row, at)?).map_err(|fault| unreadable(row, at, fault))?;
    let adrift = |(at_ms, pairs)| Ok(Adrift { at_ms, sites: sites(row, at, pairs)? });
    numbers.into_iter().map(adrift).collect()
}

fn site_numbers(row: &Row, at: usize) -> Result<Vec<SiteNumber>, StoreError> {
    let pairs = serde_json::from_str(get(row, at)?).map_err(|fault| unreadable(row, at, fault))?;
    sites(row, at, pairs)
}

fn sites(row: &Row, at: usize, pairs: Vec<(String, i64)>) -> Result<Vec<SiteNumber>, StoreError> {
    let site = |(site, number)| {
        let site = SiteId::new(site).map_err(|fault| unreadable(row, at, fault))?;
        Ok(SiteNumber { site, number })
    };
    pairs.into_iter().map(site).collect()
}

pub(super) fn site_pairs(sites: &[SiteNumber]) -> SitePairs<'_> {
    sites.iter().map(|site| (site.site.as_str(), site.number)).collect()
}

/// What of items lies at each site, and what of it is promised.
pub(super) fn site_stock(tx: &Tx<'_>, items: &[i64]) -> Result<HashMap<i64, Vec<SiteStock>>, StoreError> {
    let sql = "SELECT balance.item, site.site, sum(balance.steps)::bigint
               FROM balance JOIN place ON place.no = balance.place JOIN site ON site.no = place.site
               WHERE balance.item = ANY($1) AND place.kind = $2 AND balance.disposition = ''
               GROUP BY balance.item, site.no, site.site ORDER BY balance.item, site.no";
    let mut stock: HashMap<i64, Vec<SiteStock>> = HashMap::new();
    // A site where something is promised and nothing lies gives nothing, so it need not be listed.
    let (mut reserved, mut kept) = (reservations::reserved(tx, items)?, reservations::kept(tx, items)?);
    let mut out = orders::out(tx, items)?;
    for row in tx.query(TAKING, sql, &[&items, &PLACE_AT])? {
        let at: (i64, SiteId) = (get(&row, 0)?, text(&row, 1)?);
        let reserved_steps = reserved.remove(&at).unwrap_or_default();
        let kept_steps = kept.remove(&at).unwrap_or_default();
        let out_steps = out.remove(&at).unwrap_or_default();
        let (item, site) = at;
        let at_site = SiteStock { site, on_hand_steps: get(&row, 2)?, reserved_steps, kept_steps, out_steps };
        stock.entry(item).or_default().push(at_site);
    }
    // The last piece may have left while its order is still open at the channel.
    for (at, out_steps) in out {
        let reserved_steps = reserved.remove(&at).unwrap_or_default();
        let kept_steps = kept.remove(&at).unwrap_or_default();
        let (item, site) = at;
        let at_site = SiteStock { site, on_hand_steps: 0, reserved_steps, kept_steps, out_steps };
        stock.entry(item).or_default().push(at_site);
    }
    Ok(stock)
}

/// Computes the numbers of items whose stock changed, for every channel that lists them. `true` = there may be more.
fn refresh(tx: &Tx<'_>, now_ms: i64, policies: &Policies) -> Result<bool, StoreError> {
    let sql = "DELETE FROM stale_item WHERE item IN (SELECT item FROM stale_item ORDER BY item LIMIT $1)
               RETURNING item, since";
    let mut since: HashMap<i64, i64> = HashMap::new();
    for row in tx.query(TAKING, sql, &[&STALE_ITEMS_MAX])? {
        since.insert(get(&row, 0)?, get(&row, 1)?);
    }
    if since.is_empty() {
        return Ok(false);
    }
    let more = since.len() as i64 == STALE_ITEMS_MAX;
    let through = books::head(tx)?;
    let change = bump(tx, Counter::Change)?;
    let mut items: Vec<i64> = since.keys().copied().collect();
    let strict = escrow::strict(tx, &items, policies)?;
    for item in &strict {
        let since = since.get(item).copied().filter(|since| *since != 0).unwrap_or(now_ms);
        escrow::refresh(tx, *item, policies, (now_ms, since, change), through)?;
    }
    items.retain(|item| !strict.contains(item));
    if items.is_empty() {
        return Ok(more);
    }
    let stock = site_stock(tx, &items)?;
    let sql =
        "SELECT offer.channel, offer.sku, item.uom, offer.item FROM offer JOIN item ON item.no = offer.item
               WHERE offer.item = ANY($1) AND offer.active ORDER BY offer.channel, offer.sku";
    let (mut names, mut skus, mut numbers, mut sites, mut dues) = (vec![], vec![], vec![], vec![], vec![]);
    for row in tx.query(TAKING, sql, &[&items])? {
        let channel: ChannelId = text(&row, 0)?;
        let Some(policy) = policies.get(&channel) else { continue };
        let item: i64 = get(&row, 3)?;
        let there = stock.get(&item).map_or(&[][..], Vec::as_slice);
        let availability = compute(policy, uom(&row, 2)?, there, None, through);
        names.push(channel.as_str().to_owned());
        skus.push(get::<String>(&row, 1)?);
        numbers.push(availability.number);
        sites.push(json(&site_pairs(&availability.sites))?);
        dues.push(since.get(&item).copied().filter(|since| *since != 0).unwrap_or(now_ms));
    }
    let through = through.0.cast_signed();
    let new = "unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS new (channel, sku, number, sites)
               WHERE offer.channel = new.channel AND offer.sku = new.sku";
    // The same number: it holds for the newer rows too, and so does the accepted one if it is that.
    let sql = format!(
        "UPDATE offer SET through = $5, pub_through = CASE WHEN pub_revision = revision THEN $5 ELSE pub_through END,
             flight_through = CASE WHEN flight_revision = revision THEN $5 ELSE flight_through END
         FROM {new} AND revision > 0 AND offer.number = new.number AND offer.sites = new.sites"
    );
    tx.execute(TAKING, &sql, &[&names, &skus, &numbers, &sites, &through])?;
    // A new number: a new revision, due now whatever an older one is waiting for.
    let sql =
        "UPDATE offer SET revision = revision + 1, number = new.number, sites = new.sites, through = $5,
                   due_since = coalesce(due_since, new.since), next_at = 0, change = $7
               FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $6::bigint[])
                   AS new (channel, sku, number, sites, since)
               WHERE offer.channel = new.channel AND offer.sku = new.sku
                   AND (revision = 0 OR offer.number <> new.number OR offer.sites <> new.sites)";
    tx.execute(TAKING, sql, &[&names, &skus, &numbers, &sites, &through, &dues, &change])?;
    Ok(more)
}

/// A result that is not of the number in flight comes late: the offer is due still, and is settled by a newer one.
fn record(
    tx: &Tx<'_>,
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
    let sql = "SELECT EXISTS (SELECT FROM offer WHERE channel = $1 AND sku = $2 AND flight_revision = $3)";
    if !get::<bool>(&tx.one(RECORDING, sql, &[&channel, &sku, &revision.cast_signed()])?, 0)? {
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
                           pub_sites = flight_sites, pub_through = flight_through, pub_at = $4, flight_revision = NULL,
                           due_since = CASE WHEN revision = flight_revision THEN NULL ELSE due_since END,
                           unresolved = false, attempts = 0, next_at = 0, fault = NULL, change = $5
                       WHERE channel = $1 AND sku = $2 AND flight_revision = $3";
            let revision = revision.cast_signed();
            tx.execute(RECORDING, sql, &[&channel, &sku, &revision, &now_ms, &change]).map(drop)
        }
        ChannelResult::Retry { revision, at_ms, message } => {
            failed(tx, (channel, sku), *revision, (*at_ms, message), Unresolved::AsBefore, change)
        }
        ChannelResult::Unknown { revision, at_ms, message } => {
            let flight = "channel = $1 AND sku = $2 AND flight_revision = $3";
            set_adrift(tx, now_ms, flight, &[&channel, &sku, &revision.cast_signed()], policies)?;
            failed(tx, (channel, sku), *revision, (*at_ms, message), Unresolved::Yes, change)
        }
        ChannelResult::Dead { revision, reason } => {
            let revision = revision.cast_signed();
            let sql = "SELECT flight_number FROM offer WHERE channel = $1 AND sku = $2";
            let row = tx.one(RECORDING, sql, &[&channel, &sku])?;
            letters::add_publication(tx, now_ms, (channel, sku), revision, (get(&row, 0)?, reason))?;
            let sql = "UPDATE offer SET due_since = CASE WHEN revision = flight_revision THEN NULL ELSE due_since END,
                           flight_revision = NULL, attempts = 0, next_at = 0, fault = $3, change = $4
                       WHERE channel = $1 AND sku = $2";
            tx.execute(RECORDING, sql, &[&channel, &sku, &clean(reason), &change]).map(drop)
        }
    }
}

enum Unresolved {
    AsBefore,
    Yes,
}

fn failed(
    tx: &Tx<'_>,
    (channel, sku): (&str, &str),
    revision: u64,
    (at_ms, message): (i64, &str),
    unresolved: Unresolved,
    change: i64,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE offer SET flight_revision = NULL, next_at = $4, fault = $5, unresolved = unresolved OR $6,
                   change = $7 WHERE channel = $1 AND sku = $2 AND flight_revision = $3";
    let (unresolved, revision) = (matches!(unresolved, Unresolved::Yes), revision.cast_signed());
    let values: [&(dyn ToSql + Sync); 7] =
        [&channel, &sku, &revision, &at_ms, &clean(message), &unresolved, &change];
    tx.execute(RECORDING, sql, &values).map(drop)
}

/// Makes the present number of an offer due once more: after a dead letter was replayed.
pub(super) fn due_again(tx: &Tx<'_>, now_ms: i64, channel: &str, sku: &str) -> Result<(), StoreError> {
    let sql =
        "UPDATE offer SET due_since = coalesce(due_since, $3), next_at = 0 WHERE channel = $1 AND sku = $2
                   AND pub_revision IS DISTINCT FROM revision";
    tx.execute(RECORDING, sql, &[&channel, &sku, &now_ms]).map(drop)
}
