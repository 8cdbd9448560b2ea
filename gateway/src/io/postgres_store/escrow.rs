//! What channels were sent, and what it allows, in PostgreSQL.

use std::collections::{BTreeMap, HashMap, HashSet};

use postgres::Row as DbRow;
use stockwire_protocol::{ChannelId, ItemId, Sku, Uom};

use super::Tx;
use super::catalogue::json;
use super::column::{get, text, uom};
use super::offers::{published, site_pairs, site_stock};
use crate::availability::{ChannelPolicy, ChannelUpdate};
use crate::escrow::Orders;
use crate::io::sheet::{self, Due, Landing, Row, Sheet};
use crate::ledger::LedgerId;
use crate::reservation::Escrowed;
use crate::store::StoreError;

const DOING: &str = "dividing stock between channels";

/// Offers that are looked at again in one transaction because their time has come; the rest follows at the next.
const SETTLED_MAX: i64 = 1_000;

pub(super) type Policies = HashMap<ChannelId, ChannelPolicy>;

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// Items of which time alone may have changed a number are to be computed anew.
pub(super) fn wake(tx: &Tx<'_>, now_ms: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO stale_item (item, since) SELECT DISTINCT item, $1::bigint FROM
                   (SELECT item FROM offer WHERE settle_at <= $1 ORDER BY settle_at LIMIT $2) AS due
               ON CONFLICT DO NOTHING";
    if tx.execute(DOING, sql, &[&now_ms, &SETTLED_MAX])? > 0 {
        let sql = "UPDATE offer SET settle_at = NULL
                   WHERE settle_at <= $1 AND item IN (SELECT item FROM stale_item)";
        tx.execute(DOING, sql, &[&now_ms])?;
    }
    Ok(())
}

/// Those of the items that are sold strictly.
pub(super) fn strict(tx: &Tx<'_>, items: &[i64], policies: &Policies) -> Result<HashSet<i64>, StoreError> {
    let by_channel: Vec<&str> = policies
        .values()
        .filter(|policy| sheet::is_strict(None, [*policy].into_iter()))
        .map(|policy| policy.channel.as_str())
        .collect();
    let sql = "SELECT no FROM item WHERE no = ANY($1) AND coalesce(strict, EXISTS (
                   SELECT FROM offer WHERE offer.item = item.no AND offer.active AND offer.channel = ANY($2)))";
    tx.query(DOING, sql, &[&items, &by_channel])?.iter().map(|row| get(row, 0)).collect()
}

/// Of an item, by channel.
fn orders(tx: &Tx<'_>, item: i64, uom: Uom) -> Result<BTreeMap<ChannelId, Orders>, StoreError> {
    let sql = "SELECT channel, steps, given_back,
                   (SELECT coalesce(sum(pending.steps), 0) FROM pending
                        WHERE pending.item = taken.item AND pending.channel = taken.channel)::bigint
                   + (SELECT coalesce(sum(order_out.steps), 0) FROM order_out JOIN order_head ON order_head.no = order_no
                        WHERE order_out.item = taken.item AND order_head.channel = taken.channel)::bigint
               FROM taken WHERE item = $1";
    let read =
        |row: &DbRow| Ok((text(row, 0)?, sheet::orders(uom, get(row, 3)?, get(row, 1)?, get(row, 2)?)));
    tx.query(DOING, sql, &[&item])?.iter().map(read).collect()
}

/// One offer: its item, what its channel was sent, as text, and the channel's orders for the item.
struct Known {
    item: i64,
    uom: Uom,
    grants: String,
    orders: Orders,
}

fn known(tx: &Tx<'_>, channel: &ChannelId, skus: &[&str]) -> Result<HashMap<Sku, Known>, StoreError> {
    let sql = "SELECT offer.sku, offer.item, item.uom, offer.grants, coalesce(taken.steps, 0), coalesce(taken.given_back, 0),
                   (SELECT coalesce(sum(pending.steps), 0) FROM pending
                        WHERE pending.item = offer.item AND pending.channel = offer.channel)::bigint
                   + (SELECT coalesce(sum(order_out.steps), 0) FROM order_out JOIN order_head ON order_head.no = order_no
                        WHERE order_out.item = offer.item AND order_head.channel = offer.channel)::bigint
               FROM offer JOIN item ON item.no = offer.item
               LEFT JOIN taken ON taken.item = offer.item AND taken.channel = offer.channel
               WHERE offer.channel = $1 AND offer.sku = ANY($2)";
    let read = |row: &DbRow| {
        let uom = uom(row, 2)?;
        let orders = sheet::orders(uom, get(row, 6)?, get(row, 4)?, get(row, 5)?);
        Ok((text(row, 0)?, Known { item: get(row, 1)?, uom, grants: get(row, 3)?, orders }))
    };
    tx.query(DOING, sql, &[&channel.as_str(), &skus])?.iter().map(read).collect()
}

/// Everything that decides about an item.
fn sheet(tx: &Tx<'_>, item: i64, uom: Uom, policies: &Policies) -> Result<Sheet, StoreError> {
    let sql = "SELECT channel, sku, revision, number, grants, pub_number, pub_revision, pub_at, pub_through
               FROM offer WHERE item = $1 AND active ORDER BY channel, sku";
    let mut rows = Vec::new();
    for row in tx.query(DOING, sql, &[&item])? {
        let channel: ChannelId = text(&row, 0)?;
        let Some(policy) = policies.get(&channel) else { continue };
        rows.push(Row {
            policy: policy.clone(),
            sku: text(&row, 1)?,
            revision: get(&row, 2)?,
            number: get(&row, 3)?,
            grants_text: get(&row, 4)?,
            published: published(&row, 5)?,
            grants: Default::default(),
        });
    }
    let stock = site_stock(tx, &[item])?.remove(&item).unwrap_or_default();
    Ok(Sheet { uom, stock, orders: orders(tx, item, uom)?, rows })
}

/// What an order may not take of an item because channels may sell it; nothing when it is not sold strictly.
pub(super) fn escrowed(
    tx: &Tx<'_>,
    now_ms: i64,
    buyer: &ChannelId,
    (no, item, uom): (i64, &ItemId, Uom),
    policies: &Policies,
) -> Result<Vec<Escrowed>, StoreError> {
    if strict(tx, &[no], policies)?.is_empty() {
        return Ok(Vec::new());
    }
    sheet(tx, no, uom, policies)?.escrow(now_ms, buyer, item).map_err(corrupt)
}

/// Computes the numbers of an item that is sold strictly.
pub(super) fn refresh(
    tx: &Tx<'_>,
    item: i64,
    policies: &Policies,
    (now_ms, since, change): (i64, i64, i64),
    through: LedgerId,
) -> Result<(), StoreError> {
    let uom = uom(&tx.one(DOING, "SELECT uom FROM item WHERE no = $1", &[&item])?, 0)?;
    let mut sheet = sheet(tx, item, uom, policies)?;
    let changes = sheet.refresh(now_ms, through).map_err(corrupt)?;
    for (row, new) in sheet.rows.iter().zip(changes) {
        let is_new = new.due == Due::Now;
        let is_changed = is_new || new.number != row.number;
        let sql =
            "UPDATE offer SET revision = revision + $3, number = $4, sites = $5, through = $6,
                       due_since = CASE $7::bigint WHEN 0 THEN NULL WHEN 1 THEN due_since ELSE coalesce(due_since, $8) END,
                       next_at = CASE WHEN $7 = 2 THEN 0 ELSE next_at END,
                       fault = CASE WHEN $7 = 0 THEN NULL ELSE fault END,
                       pub_through = CASE WHEN pub_revision = revision AND $3 = 0 THEN $6 ELSE pub_through END,
                       change = CASE WHEN $9 THEN $10 ELSE change END, grants = $11, settle_at = $12
                   WHERE channel = $1 AND sku = $2";
        let due: i64 = match new.due {
            Due::No => 0,
            Due::AsBefore => 1,
            Due::Now => 2,
        };
        let sites = json(&site_pairs(&new.sites))?;
        tx.execute(
            DOING,
            sql,
            &[
                &row.policy.channel.as_str(),
                &row.sku.as_str(),
                &i64::from(is_new),
                &new.number,
                &sites,
                &through.0.cast_signed(),
                &due,
                &since,
                &is_changed,
                &change,
                &new.grants,
                &new.settle_at,
            ],
        )?;
    }
    Ok(())
}

/// Marks numbers as sent, with what the channel is expected to hold; returns those that were. What must not be sent,
/// because there is less to give than when it was computed, is computed anew.
pub(super) fn depart(
    tx: &Tx<'_>,
    now_ms: i64,
    channel: &ChannelId,
    updates: Vec<ChannelUpdate>,
    policies: &Policies,
) -> Result<Vec<ChannelUpdate>, StoreError> {
    let Some(policy) = policies.get(channel).filter(|_| !updates.is_empty()) else { return Ok(Vec::new()) };
    let skus: Vec<&str> = updates.iter().map(|update| update.sku.as_str()).collect();
    let known = known(tx, channel, &skus)?;
    let items: Vec<i64> = known.values().map(|known| known.item).collect();
    let strict = strict(tx, &items, policies)?;
    let mut shared: (Vec<String>, Vec<String>) = Default::default();
    let mut sent = Vec::with_capacity(updates.len());
    for mut update in updates {
        let Some(Known { item, uom, grants, orders }) = known.get(&update.sku) else { continue };
        let (expects, grants) = if strict.contains(item) {
            let mut sheet = sheet(tx, *item, *uom, policies)?;
            let told = (update.number, update.attempts);
            let Some((expects, grants)) =
                sheet.depart(now_ms, (channel, &update.sku), told).map_err(corrupt)?
            else {
                stale(tx, now_ms, *item)?;
                continue;
            };
            // Before the next is looked at: it may be the same item.
            fly(tx, channel, &[update.sku.as_str()], &[grants.as_str()])?;
            (expects, None)
        } else {
            let held = (grants.as_str(), update.published.as_ref());
            let (expects, grants) =
                sheet::depart_shared(policy, now_ms, held, *orders, update.number).map_err(corrupt)?;
            (expects, Some(grants))
        };
        if let Some(grants) = grants {
            shared.0.push(update.sku.to_string());
            shared.1.push(grants);
        }
        update.expects = expects;
        sent.push(update);
    }
    let (skus, grants) = &shared;
    if !skus.is_empty() {
        let skus: Vec<&str> = skus.iter().map(String::as_str).collect();
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        fly(tx, channel, &skus, &grants)?;
    }
    Ok(sent)
}

fn fly(tx: &Tx<'_>, channel: &ChannelId, skus: &[&str], grants: &[&str]) -> Result<(), StoreError> {
    let sql = "UPDATE offer SET flight_revision = revision, flight_number = number, flight_sites = sites,
                   flight_through = through, attempts = attempts + 1, grants = new.grants
               FROM unnest($2::text[], $3::text[]) AS new (sku, grants)
               WHERE channel = $1 AND offer.sku = new.sku";
    tx.execute(DOING, sql, &[&channel.as_str(), &skus, &grants]).map(drop)
}

/// The number that is on its way on an offer has come to an end.
pub(super) fn land(
    tx: &Tx<'_>,
    now_ms: i64,
    (channel, sku): (&ChannelId, &Sku),
    landing: Landing,
    policies: &Policies,
) -> Result<(), StoreError> {
    let mut known = known(tx, channel, &[sku.as_str()])?;
    let Some(Known { item, grants, orders, .. }) = known.remove(sku) else { return Ok(()) };
    let strict = strict(tx, &[item], policies)?.contains(&item);
    let (grants, settle_at) =
        sheet::land(policies.get(channel), now_ms, &grants, orders, landing).map_err(corrupt)?;
    let sql = "UPDATE offer SET grants = $3, settle_at = $4 WHERE channel = $1 AND sku = $2";
    let settle_at = settle_at.filter(|_| strict);
    tx.execute(DOING, sql, &[&channel.as_str(), &sku.as_str(), &grants, &settle_at])?;
    // What was freed or used up by it may be another channel's number.
    if strict { stale(tx, now_ms, item) } else { Ok(()) }
}

fn stale(tx: &Tx<'_>, now_ms: i64, item: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO stale_item (item, since) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.execute(DOING, sql, &[&item, &now_ms]).map(drop)
}

/// Whether an item is sold strictly by its own word.
pub(super) fn put_mode(
    tx: &Tx<'_>,
    now_ms: i64,
    item: i64,
    strict: Option<bool>,
) -> Result<bool, StoreError> {
    let sql = "UPDATE item SET strict = $2 WHERE no = $1 AND strict IS DISTINCT FROM $2";
    let changed = tx.execute(DOING, sql, &[&item, &strict])? > 0;
    if changed {
        stale(tx, now_ms, item)?;
    }
    Ok(changed)
}
