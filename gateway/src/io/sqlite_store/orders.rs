//! Orders in SQLite: rows that are only added, and a head for each order that follows from them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use stockwire_protocol::{ChannelId, ItemId, Reference, SiteId};

use super::catalogue::channels;
use super::escrow::escrowed;
use super::{
    PLACE_AT, SqliteStore, database, page_rows, queries, reservations, snapshot, tasks, text, unreadable, uom,
};
use crate::io::order_row::{self, DELIVERIES_MAX};
use crate::order::{Ask, Door, Entry, Head, Known, KnownItem, Need, OrderKey, Stage, Writes, floor};
use crate::store::{OrderQuery, Page, StoreError};

const READING: &str = "reading orders";
const WORKING: &str = "working on an order";

impl SqliteStore {
    pub(super) fn work(
        &mut self,
        now_ms: i64,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Writes,
    ) -> Result<(), StoreError> {
        self.write(WORKING, |tx| {
            let known = load(tx, now_ms, need)?;
            let writes = decide(&known);
            keep(tx, now_ms, &need.order, &writes)
        })
    }

    pub(super) fn put_through(&mut self, channel: &ChannelId, through_ms: i64) -> Result<(), StoreError> {
        self.write(WORKING, |tx| {
            let sql = "INSERT INTO order_cursor VALUES (?1, ?2) ON CONFLICT DO UPDATE SET through = ?2 WHERE through < ?2";
            tx.execute(sql, params![channel.as_str(), through_ms]).map(drop).map_err(database(WORKING))
        })
    }

    pub(super) fn note_order_delivery(
        &mut self,
        at_ms: i64,
        channel: &ChannelId,
        id: &str,
    ) -> Result<bool, StoreError> {
        self.write(WORKING, |tx| {
            let sql =
                "INSERT INTO order_delivery (channel, id, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            let new = tx.execute(sql, params![channel.as_str(), id, at_ms]).map_err(database(WORKING))? == 1;
            if new {
                let sql =
                    "DELETE FROM order_delivery WHERE channel = ?1 AND no <= (SELECT no FROM order_delivery
                               WHERE channel = ?1 ORDER BY no DESC LIMIT 1 OFFSET ?2)";
                tx.execute(sql, params![channel.as_str(), DELIVERIES_MAX]).map_err(database(WORKING))?;
            }
            Ok(new)
        })
    }
}

/// Has orders looked at that are found by what has just come: words of new events, and of one that is applied now.
pub(super) fn wake<'w>(
    tx: &Connection,
    words: impl Iterator<Item = &'w str>,
    applied: Option<i64>,
) -> Result<(), StoreError> {
    let mut any = tx.prepare_cached("SELECT 1 FROM order_head LIMIT 1").map_err(database(WORKING))?;
    // Whoever has no orders pays for none: this is in the way of every acknowledgement.
    if !any.exists([]).map_err(database(WORKING))? {
        return Ok(());
    }
    let sql =
        "UPDATE order_head SET desk_due = 0 WHERE no IN (SELECT order_no FROM order_watch WHERE word = ?1)";
    let mut due = tx.prepare_cached(sql).map_err(database(WORKING))?;
    for word in words {
        due.execute([word]).map_err(database(WORKING))?;
    }
    if let Some(event) = applied {
        let sql = "UPDATE order_head SET desk_due = 0 WHERE no IN (SELECT order_no FROM order_watch
                       WHERE word IN (SELECT word FROM mention WHERE event = ?1))";
        tx.execute(sql, [event]).map_err(database(WORKING))?;
    }
    Ok(())
}

fn number(connection: &Connection, key: &OrderKey) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT no FROM order_head WHERE channel = ?1 AND order_id = ?2";
    let mut find = connection.prepare_cached(sql).map_err(database(READING))?;
    find.query_row([key.channel.as_str(), key.order.as_str()], |row| row.get(0))
        .optional()
        .map_err(database(READING))
}

pub(super) fn rows(connection: &Connection, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
    let view = snapshot(connection)?;
    let Some(no) = number(&view, key)? else { return Ok(Vec::new()) };
    let sql = "SELECT sequence, at, said_by, fact FROM order_row WHERE order_no = ?1 ORDER BY sequence";
    let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
    let found: Vec<(i64, i64, String, String)> = statement
        .query_map([no], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    found.into_iter().map(|(sequence, at, by, fact)| order_row::read(sequence, at, by, &fact)).collect()
}

fn load(tx: &Connection, now_ms: i64, need: &Need) -> Result<Known, StoreError> {
    let mut known = Known { rows: rows(tx, &need.order)?, ..Known::default() };
    let ask = Ask::of(&known.rows, need);
    if let Some(code) = &ask.code {
        let sql = "SELECT 1 FROM order_head WHERE reference = ?1 AND NOT (channel = ?2 AND order_id = ?3)";
        let mut taken = tx.prepare_cached(sql).map_err(database(READING))?;
        let (channel, order) = (need.order.channel.as_str(), need.order.order.as_str());
        known.code_taken = taken.exists([code.as_str(), channel, order]).map_err(database(READING))?;
    }
    let sql = "SELECT item.item FROM offer JOIN item ON item.no = offer.item
               WHERE offer.channel = ?1 AND offer.sku = ?2 AND offer.active = 1
               UNION ALL SELECT item FROM item WHERE item = ?2 AND active = 1";
    let mut meant = tx.prepare_cached(sql).map_err(database(READING))?;
    for sku in ask.skus {
        let item: Option<ItemId> = meant
            .query_row([need.order.channel.as_str(), sku.as_str()], |row| text(row, 0))
            .optional()
            .map_err(database(READING))?;
        known.skus.extend(item.map(|item| (sku, item)));
    }
    let items: BTreeSet<ItemId> = ask.items.into_iter().chain(known.skus.values().cloned()).collect();
    let mut sites = BTreeMap::new();
    let mut find = tx
        .prepare_cached("SELECT no, reference FROM site WHERE site = ?1 AND active = 1")
        .map_err(database(READING))?;
    for site in &need.sites {
        let found: Option<(i64, Option<String>)> = find
            .query_row([site.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(database(READING))?;
        if let Some((no, reference)) = found {
            sites.insert(site.clone(), no);
            known.sites.insert(site.clone(), reference);
        }
    }
    let policies = channels(tx)?;
    let sql = "SELECT no, uom, reference, active FROM item WHERE item = ?1";
    let mut find = tx.prepare_cached(sql).map_err(database(READING))?;
    for item in items {
        let found: Option<(i64, KnownItem)> = find
            .query_row([item.as_str()], |row| {
                let (uom, reference, active) = (uom(row, 1)?, row.get(2)?, row.get(3)?);
                Ok((row.get(0)?, KnownItem { uom, reference, active }))
            })
            .optional()
            .map_err(database(READING))?;
        let Some((no, facts)) = found else { continue };
        let buyer = &need.order.channel;
        known.escrow.extend(escrowed(tx, now_ms, buyer, (no, &item, facts.uom), &policies)?);
        known.items.insert(item.clone(), facts);
        for (site, site_no) in &sites {
            let key = (item.clone(), site.clone());
            known.shelves.insert(key.clone(), reservations::current_shelf(tx, now_ms, no, *site_no)?);
            known.spots.insert(key, spots(tx, no, *site_no)?);
        }
    }
    known.held = reservations::of_order(tx, &need.order)?;
    if let Some(reference) = ask.reference {
        known.facts = facts(tx, &reference)?;
    }
    Ok(known)
}

/// Where ordinary stock of an item lies at a site, the most first.
fn spots(
    tx: &Connection,
    item: i64,
    site: i64,
) -> Result<Vec<(stockwire_protocol::LocationId, i64)>, StoreError> {
    let sql = "SELECT place.location, sum(balance.steps) AS steps FROM balance JOIN place ON place.no = balance.place
               WHERE balance.item = ?1 AND place.site = ?2 AND place.kind = ?3 AND place.active = 1
                   AND balance.disposition = ''
               GROUP BY place.location HAVING steps > 0 ORDER BY steps DESC, place.location";
    let mut statement = tx.prepare_cached(sql).map_err(database(READING))?;
    statement
        .query_map(params![item, site, PLACE_AT], |row| Ok((text(row, 0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

/// Everything that names an order, or a plate that was packed for it.
fn facts(tx: &Connection, reference: &Reference) -> Result<Vec<crate::store::Mentioned>, StoreError> {
    let mut read: BTreeSet<String> = BTreeSet::new();
    let mut wanted: BTreeSet<String> = BTreeSet::from([reference.to_string()]);
    let mut facts = BTreeMap::new();
    for _ in 0..=floor::DEPTH_MAX {
        for word in &wanted {
            for fact in queries::mentioning(tx, word, floor::FACTS_MAX)? {
                facts.insert((fact.received_at_ms, fact.movement.clone()), fact);
            }
        }
        read.append(&mut wanted);
        let all: Vec<_> = facts.values().cloned().collect();
        wanted = floor::words(reference, &all).difference(&read).cloned().collect();
        if wanted.is_empty() || all.len() > floor::FACTS_MAX {
            return Ok(all);
        }
    }
    Ok(facts.into_values().collect())
}

fn keep(tx: &Connection, now_ms: i64, key: &OrderKey, writes: &Writes) -> Result<(), StoreError> {
    let Some(head) = &writes.head else { return Ok(()) };
    let sql = "INSERT INTO order_head (channel, order_id, code, reference, stage, attention, placed_at, changed_at,
                   currency, gross, desk_due, erp_due, channel_due)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
               ON CONFLICT (channel, order_id) DO UPDATE SET code = ?3, stage = ?5, attention = ?6, placed_at = ?7,
                   changed_at = ?8, currency = ?9, gross = ?10, desk_due = ?11, erp_due = ?12, channel_due = ?13
               RETURNING no";
    let values = params![
        key.channel.as_str(),
        key.order.as_str(),
        head.code.as_str(),
        head.reference.as_str(),
        head.stage.as_str(),
        head.attention,
        head.placed_at_ms,
        head.changed_at_ms,
        head.currency.as_str(),
        head.gross,
        head.desk_due_ms,
        head.erp_due_ms,
        head.channel_due_ms,
    ];
    let mut upsert = tx.prepare_cached(sql).map_err(database(WORKING))?;
    let no: i64 = upsert.query_row(values, |row| row.get(0)).map_err(database(WORKING))?;
    let sql = "INSERT INTO order_row (order_no, sequence, at, said_by, fact) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = tx.prepare_cached(sql).map_err(database(WORKING))?;
    for entry in &writes.rows {
        let sequence = entry.sequence.cast_signed();
        insert
            .execute(params![no, sequence, entry.at_ms, entry.by, order_row::write(entry)?])
            .map_err(database(WORKING))?;
    }
    let sql = "INSERT INTO order_watch (word, order_no) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let mut watch = tx.prepare_cached(sql).map_err(database(WORKING))?;
    for word in &writes.words {
        watch.execute(params![word, no]).map_err(database(WORKING))?;
    }
    reservations::keep_of_order(tx, now_ms, key, writes)?;
    keep_out(tx, now_ms, no, writes)?;
    let sql = "UPDATE offer SET due_since = coalesce(due_since, ?3), next_at = 0
               WHERE channel = ?1 AND sku = ?2 AND active = 1 AND revision > 0";
    let mut again = tx.prepare_cached(sql).map_err(database(WORKING))?;
    for sku in &writes.told {
        again.execute(params![key.channel.as_str(), sku.as_str(), now_ms]).map_err(database(WORKING))?;
    }
    for (site, task) in &writes.tasks {
        tasks::put(tx, now_ms, site, task)?;
    }
    for name in &writes.withdraw {
        tasks::take_back(tx, now_ms, name)?;
    }
    Ok(())
}

/// Keeps what has left for an order and is open at its channel; the numbers of what changed are computed anew.
fn keep_out(tx: &Connection, now_ms: i64, no: i64, writes: &Writes) -> Result<(), StoreError> {
    let sql = "SELECT item.item, site.site, steps FROM order_out JOIN item ON item.no = order_out.item
               JOIN site ON site.no = order_out.site WHERE order_no = ?1";
    let mut statement = tx.prepare_cached(sql).map_err(database(WORKING))?;
    let kept: BTreeMap<(ItemId, SiteId), i64> = statement
        .query_map([no], |row| Ok(((text(row, 0)?, text(row, 1)?), row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(database(WORKING))?;
    if kept == writes.out {
        return Ok(());
    }
    tx.execute("DELETE FROM order_out WHERE order_no = ?1", [no]).map_err(database(WORKING))?;
    let sql = "INSERT INTO order_out (order_no, item, site, steps)
               SELECT ?1, item.no, site.no, ?4 FROM item, site WHERE item.item = ?2 AND site.site = ?3";
    let mut insert = tx.prepare_cached(sql).map_err(database(WORKING))?;
    for ((item, site), steps) in &writes.out {
        insert.execute(params![no, item.as_str(), site.as_str(), steps]).map_err(database(WORKING))?;
    }
    let sql = "INSERT INTO stale_item SELECT no, ?2 FROM item WHERE item = ?1
               ON CONFLICT DO UPDATE SET since = ?2 WHERE since = 0";
    let mut stale = tx.prepare_cached(sql).map_err(database(WORKING))?;
    for (item, _) in kept.keys().chain(writes.out.keys()) {
        stale.execute(params![item.as_str(), now_ms]).map_err(database(WORKING))?;
    }
    Ok(())
}

/// Of an item, by site: what has left for orders that are open at their channels, by channel, in steps.
pub(super) fn out_by_site(
    connection: &Connection,
    item: i64,
) -> Result<BTreeMap<SiteId, Vec<(ChannelId, i64)>>, StoreError> {
    let sql = "SELECT site.site, order_head.channel, sum(steps) FROM order_out
               JOIN order_head ON order_head.no = order_no JOIN site ON site.no = order_out.site
               WHERE item = ?1 GROUP BY site.no, order_head.channel ORDER BY order_head.channel";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let rows: Vec<(SiteId, ChannelId, i64)> = statement
        .query_map([item], |row| Ok((text(row, 0)?, text(row, 1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let mut out: BTreeMap<SiteId, Vec<(ChannelId, i64)>> = BTreeMap::new();
    for (site, channel, steps) in rows {
        out.entry(site).or_default().push((channel, steps));
    }
    Ok(out)
}

fn head(row: &Row<'_>) -> rusqlite::Result<(i64, Head)> {
    let stage = row.get_ref(5)?.as_str()?;
    let stage = Stage::from_name(stage).ok_or_else(|| unreadable(5, format!("no stage {stage:?}").into()))?;
    let currency = row.get_ref(9)?.as_str()?.parse();
    let head = Head {
        order: OrderKey { channel: text(row, 1)?, order: text(row, 2)? },
        code: text(row, 3)?,
        reference: text(row, 4)?,
        stage,
        attention: row.get(6)?,
        placed_at_ms: row.get(7)?,
        changed_at_ms: row.get(8)?,
        currency: currency.map_err(|fault: String| unreadable(9, fault.into()))?,
        gross: row.get(10)?,
        desk_due_ms: row.get(11)?,
        erp_due_ms: row.get(12)?,
        channel_due_ms: row.get(13)?,
    };
    Ok((row.get(0)?, head))
}

pub(super) fn list(connection: &Connection, query: &OrderQuery) -> Result<Page<Head>, StoreError> {
    let rows = page_rows(query.limit);
    let after = match &query.after {
        None => i64::MAX,
        Some(after) => after.parse().map_err(|_| StoreError::Refused {
            reason: format!("after: expected a number, got {after:?}"),
        })?,
    };
    let sql = "SELECT no, channel, order_id, code, reference, stage, attention, placed_at, changed_at, currency, gross,
                   desk_due, erp_due, channel_due
               FROM order_head WHERE no < ?1 AND (?2 IS NULL OR channel = ?2) AND (?3 IS NULL OR stage = ?3)
                   AND (?4 IS NULL OR code = ?4 OR reference = ?4 OR order_id = ?4)
                   AND (?5 = 0 OR attention IS NOT NULL)
               ORDER BY no DESC LIMIT ?6";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let values = params![
        after,
        query.channel.as_ref().map(|channel| channel.as_str()),
        query.stage.map(Stage::as_str),
        query.code.as_ref().map(|code| code.as_str()),
        query.attention_only,
        rows as i64 + 1
    ];
    let found: rusqlite::Result<Vec<(i64, Head)>> =
        statement.query_map(values, head).and_then(Iterator::collect);
    let mut found = found.map_err(database(READING))?;
    let more = found.len() > rows;
    found.truncate(rows);
    let next = found.last().filter(|_| more).map(|(no, _)| no.to_string());
    Ok(Page { rows: found.into_iter().map(|(_, head)| head).collect(), next })
}

pub(super) fn due(
    connection: &Connection,
    now_ms: i64,
    door: Door,
    channel: Option<&ChannelId>,
    limit: usize,
) -> Result<Vec<OrderKey>, StoreError> {
    let column = match door {
        Door::Desk => "desk_due",
        Door::Erp => "erp_due",
        Door::Channel => "channel_due",
    };
    let sql = format!(
        "SELECT channel, order_id FROM order_head WHERE {column} <= ?1 AND (?2 IS NULL OR channel = ?2)
         ORDER BY {column}, no LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(database(READING))?;
    let channel = channel.map(|channel| channel.as_str());
    statement
        .query_map(params![now_ms, channel, limit as i64], |row| {
            Ok(OrderKey { channel: text(row, 0)?, order: text(row, 1)? })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

pub(super) fn through(connection: &Connection, channel: &ChannelId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT through FROM order_cursor WHERE channel = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    statement.query_row([channel.as_str()], |row| row.get(0)).optional().map_err(database(READING))
}
