//! What channels were sent, and what it allows, in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};
use stockwire_protocol::{ChannelId, ItemId, Sku, Uom};

use super::offers::{self, published, site_stock};
use super::{database, text, uom};
use crate::availability::{ChannelPolicy, ChannelUpdate};
use crate::escrow::Orders;
use crate::io::sheet::{self, Due, Landing, Row, Sheet};
use crate::ledger::LedgerId;
use crate::reservation::Escrowed;
use crate::store::StoreError;

const DOING: &str = "dividing stock between channels";

/// Offers that are looked at again in one transaction because their time has come; the rest follows at the next.
const SETTLED_MAX: i64 = 1_000;

pub(super) type Policies = BTreeMap<ChannelId, ChannelPolicy>;

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// Items of which time alone may have changed a number are to be computed anew.
pub(super) fn wake(tx: &Connection, now_ms: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO stale_item SELECT DISTINCT item, ?1 FROM
                   (SELECT item FROM offer WHERE settle_at <= ?1 ORDER BY settle_at LIMIT ?2)
               WHERE true ON CONFLICT DO NOTHING";
    let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
    if statement.execute([now_ms, SETTLED_MAX]).map_err(database(DOING))? > 0 {
        let sql = "UPDATE offer SET settle_at = NULL
                   WHERE settle_at <= ?1 AND item IN (SELECT item FROM stale_item)";
        tx.execute(sql, [now_ms]).map_err(database(DOING))?;
    }
    Ok(())
}

/// Whether an item is sold strictly.
pub(super) fn is_strict(tx: &Connection, item: i64, policies: &Policies) -> Result<bool, StoreError> {
    let mut statement =
        tx.prepare_cached("SELECT strict FROM item WHERE no = ?1").map_err(database(DOING))?;
    let strict: Option<bool> = statement.query_row([item], |row| row.get(0)).map_err(database(DOING))?;
    if strict.is_some() || !policies.values().any(|policy| policy.selling.strict) {
        return Ok(strict == Some(true));
    }
    let mut statement = tx
        .prepare_cached("SELECT DISTINCT channel FROM offer WHERE item = ?1 AND active = 1")
        .map_err(database(DOING))?;
    let channels: Vec<ChannelId> = statement
        .query_map([item], |row| text(row, 0))
        .and_then(Iterator::collect)
        .map_err(database(DOING))?;
    Ok(sheet::is_strict(None, channels.iter().filter_map(|channel| policies.get(channel))))
}

/// Of an item, by channel.
fn orders(tx: &Connection, item: i64, uom: Uom) -> Result<BTreeMap<ChannelId, Orders>, StoreError> {
    let sql = "SELECT channel, steps, given_back,
                   (SELECT coalesce(sum(pending.steps), 0) FROM pending
                        WHERE pending.item = taken.item AND pending.channel = taken.channel)
                   + (SELECT coalesce(sum(order_out.steps), 0) FROM order_out JOIN order_head ON order_head.no = order_no
                        WHERE order_out.item = taken.item AND order_head.channel = taken.channel)
               FROM taken WHERE item = ?1";
    let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
    statement
        .query_map([item], |row| {
            Ok((text(row, 0)?, sheet::orders(uom, row.get(3)?, row.get(1)?, row.get(2)?)))
        })
        .and_then(Iterator::collect)
        .map_err(database(DOING))
}

/// One offer: its item, what its channel was sent, as text, and the channel's orders for the item.
fn known(tx: &Connection, channel: &ChannelId, sku: &Sku) -> Result<(i64, Uom, String, Orders), StoreError> {
    let sql = "SELECT offer.item, item.uom, offer.grants, coalesce(taken.steps, 0), coalesce(taken.given_back, 0),
                   (SELECT coalesce(sum(pending.steps), 0) FROM pending
                        WHERE pending.item = offer.item AND pending.channel = offer.channel)
                   + (SELECT coalesce(sum(order_out.steps), 0) FROM order_out JOIN order_head ON order_head.no = order_no
                        WHERE order_out.item = offer.item AND order_head.channel = offer.channel)
               FROM offer JOIN item ON item.no = offer.item
               LEFT JOIN taken ON taken.item = offer.item AND taken.channel = offer.channel
               WHERE offer.channel = ?1 AND offer.sku = ?2";
    let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
    let read = |row: &rusqlite::Row<'_>| {
        let uom = uom(row, 1)?;
        Ok((row.get(0)?, uom, row.get(2)?, sheet::orders(uom, row.get(5)?, row.get(3)?, row.get(4)?)))
    };
    statement.query_row((channel.as_str(), sku.as_str()), read).map_err(database(DOING))
}

/// Everything that decides about an item.
fn sheet(tx: &Connection, item: i64, uom: Uom, policies: &Policies) -> Result<Sheet, StoreError> {
    let sql = "SELECT channel, sku, revision, number, grants, pub_number, pub_revision, pub_at, pub_through
               FROM offer WHERE item = ?1 AND active = 1 ORDER BY channel, sku";
    let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
    let mut found = statement.query([item]).map_err(database(DOING))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(database(DOING))? {
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Option<Row>> {
            let Some(policy) = policies.get(&text::<ChannelId>(row, 0)?) else { return Ok(None) };
            Ok(Some(Row {
                policy: policy.clone(),
                sku: text(row, 1)?,
                revision: row.get(2)?,
                number: row.get(3)?,
                grants_text: row.get(4)?,
                published: published(row, 5)?,
                grants: Default::default(),
            }))
        };
        rows.extend(read(row).map_err(database(DOING))?);
    }
    Ok(Sheet { uom, stock: site_stock(tx, item)?, orders: orders(tx, item, uom)?, rows })
}

/// What an order may not take of an item because channels may sell it; nothing when it is not sold strictly.
pub(super) fn escrowed(
    tx: &Connection,
    now_ms: i64,
    buyer: &ChannelId,
    (no, item, uom): (i64, &ItemId, Uom),
    policies: &Policies,
) -> Result<Vec<Escrowed>, StoreError> {
    if !is_strict(tx, no, policies)? {
        return Ok(Vec::new());
    }
    sheet(tx, no, uom, policies)?.escrow(now_ms, buyer, item).map_err(corrupt)
}

/// Computes the numbers of an item that is sold strictly.
pub(super) fn refresh(
    tx: &Connection,
    item: i64,
    policies: &Policies,
    (now_ms, since, change): (i64, i64, i64),
    through: LedgerId,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached("SELECT uom FROM item WHERE no = ?1").map_err(database(DOING))?;
    let uom = statement.query_row([item], |row| uom(row, 0)).map_err(database(DOING))?;
    let mut sheet = sheet(tx, item, uom, policies)?;
    let changes = sheet.refresh(now_ms, through).map_err(corrupt)?;
    for (row, new) in sheet.rows.iter().zip(changes) {
        let sites = offers::sites_text(&new.sites)?;
        let (channel, sku) = (row.policy.channel.as_str(), row.sku.as_str());
        let is_new = new.due == Due::Now;
        let is_changed = is_new || new.number != row.number;
        let sql = "UPDATE offer SET revision = revision + ?3, number = ?4, sites = ?5, through = ?6,
                       due_since = CASE ?7 WHEN 0 THEN NULL WHEN 1 THEN due_since ELSE coalesce(due_since, ?8) END,
                       next_at = CASE WHEN ?7 = 2 THEN 0 ELSE next_at END,
                       fault = CASE WHEN ?7 = 0 THEN NULL ELSE fault END,
                       pub_through = CASE WHEN pub_revision = revision AND ?3 = 0 THEN ?6 ELSE pub_through END,
                       change = CASE WHEN ?9 THEN ?10 ELSE change END, grants = ?11, settle_at = ?12
                   WHERE channel = ?1 AND sku = ?2";
        let due = match new.due {
            Due::No => 0,
            Due::AsBefore => 1,
            Due::Now => 2,
        };
        let through = through.0 as i64;
        let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
        statement
            .execute(params![
                channel,
                sku,
                is_new,
                new.number,
                sites,
                through,
                due,
                since,
                is_changed,
                change,
                new.grants,
                new.settle_at
            ])
            .map_err(database(DOING))?;
    }
    Ok(())
}

/// Marks a number as sent, with what the channel is expected to hold. `false` = it must not be sent: there is less to
/// give than when it was computed, so it is computed anew.
pub(super) fn depart(
    tx: &Transaction<'_>,
    now_ms: i64,
    channel: &ChannelId,
    update: &mut ChannelUpdate,
    policies: &Policies,
) -> Result<bool, StoreError> {
    let Some(policy) = policies.get(channel) else { return Ok(false) };
    let (item, uom, text, orders) = known(tx, channel, &update.sku)?;
    let sent = if is_strict(tx, item, policies)? {
        let mut sheet = sheet(tx, item, uom, policies)?;
        sheet.depart(now_ms, (channel, &update.sku), (update.number, update.attempts)).map_err(corrupt)?
    } else {
        let held = (text.as_str(), update.published.as_ref());
        Some(sheet::depart_shared(policy, now_ms, held, orders, update.number).map_err(corrupt)?)
    };
    let Some((expects, grants)) = sent else {
        return stale(tx, now_ms, item).map(|()| false);
    };
    update.expects = expects;
    let sql = "UPDATE offer SET flight_revision = revision, flight_number = number, flight_sites = sites,
                   flight_through = through, attempts = attempts + 1, grants = ?3 WHERE channel = ?1 AND sku = ?2";
    let mut fly = tx.prepare_cached(sql).map_err(database(DOING))?;
    fly.execute((channel.as_str(), update.sku.as_str(), grants)).map_err(database(DOING))?;
    Ok(true)
}

/// The number that is on its way on an offer has come to an end.
pub(super) fn land(
    tx: &Connection,
    now_ms: i64,
    (channel, sku): (&ChannelId, &Sku),
    landing: Landing,
    policies: &Policies,
) -> Result<(), StoreError> {
    let (item, _, text, orders) = known(tx, channel, sku)?;
    let strict = is_strict(tx, item, policies)?;
    let (grants, settle_at) =
        sheet::land(policies.get(channel), now_ms, &text, orders, landing).map_err(corrupt)?;
    let sql = "UPDATE offer SET grants = ?3, settle_at = ?4 WHERE channel = ?1 AND sku = ?2";
    let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
    let settle_at = settle_at.filter(|_| strict);
    statement.execute(params![channel.as_str(), sku.as_str(), grants, settle_at]).map_err(database(DOING))?;
    // What was freed or used up by it may be another channel's number.
    if strict { stale(tx, now_ms, item) } else { Ok(()) }
}

fn stale(tx: &Connection, now_ms: i64, item: i64) -> Result<(), StoreError> {
    let mut statement = tx
        .prepare_cached("INSERT INTO stale_item VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .map_err(database(DOING))?;
    statement.execute([item, now_ms]).map(drop).map_err(database(DOING))
}

/// A channel's orders have taken so much of an item, or given it back.
pub(super) fn count_taken(tx: &Connection, item: i64, channel: &str, steps: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO taken (item, channel, steps, given_back) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET steps = steps + excluded.steps, given_back = given_back + excluded.given_back";
    let mut statement = tx.prepare_cached(sql).map_err(database(DOING))?;
    statement
        .execute(params![item, channel, steps, steps.min(0).saturating_neg()])
        .map(drop)
        .map_err(database(DOING))
}

/// Whether an item is sold strictly by its own word.
pub(super) fn put_mode(
    tx: &Connection,
    now_ms: i64,
    item: i64,
    strict: Option<bool>,
) -> Result<bool, StoreError> {
    let sql = "UPDATE item SET strict = ?2 WHERE no = ?1 AND strict IS NOT ?2";
    let changed = tx.execute(sql, params![item, strict]).map_err(database(DOING))? > 0;
    if changed {
        stale(tx, now_ms, item)?;
    }
    Ok(changed)
}
