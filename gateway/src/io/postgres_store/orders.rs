//! Orders in PostgreSQL: rows that are only added, and a head for each order that follows from them.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Row;
use postgres::types::ToSql;
use stockwire_protocol::{ChannelId, ItemId, LocationId, Reference, SiteId, Sku};

use super::catalogue::{channels, refused};
use super::column::{clean, get, text, unreadable, uom, word};
use super::escrow::escrowed;
use super::session::Lock;
use super::{PostgresStore, Tx, page_rows, reservations, tasks, trace};
use crate::io::order_row::{self, DELIVERIES_MAX};
use crate::order::{Ask, Door, Entry, Head, Known, KnownItem, Need, OrderKey, Stage, Writes, floor};
use crate::store::{Mentioned, OrderQuery, Page, StoreError};

const READING: &str = "reading orders";
const WORKING: &str = "working on an order";
/// The kind of physical places.
const PLACE_AT: i64 = 0;

impl PostgresStore {
    pub(super) fn work(
        &mut self,
        now_ms: i64,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Writes,
    ) -> Result<(), StoreError> {
        self.session.write(WORKING, Lock::Books, |tx| {
            let known = load(tx, now_ms, need)?;
            let writes = decide(&known);
            keep(tx, now_ms, &need.order, &writes)
        })
    }

    pub(super) fn put_through(&mut self, channel: &ChannelId, through_ms: i64) -> Result<(), StoreError> {
        self.session.write(WORKING, Lock::None, |tx| {
            let sql = "INSERT INTO order_cursor (channel, through) VALUES ($1, $2)
                       ON CONFLICT (channel) DO UPDATE SET through = $2 WHERE order_cursor.through < $2";
            tx.execute(WORKING, sql, &[&channel.as_str(), &through_ms]).map(drop)
        })
    }

    pub(super) fn note_order_delivery(
        &mut self,
        at_ms: i64,
        channel: &ChannelId,
        id: &str,
    ) -> Result<bool, StoreError> {
        self.session.write(WORKING, Lock::None, |tx| {
            let sql =
                "INSERT INTO order_delivery (channel, id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            let channel = channel.as_str();
            let new = tx.execute(WORKING, sql, &[&channel, &clean(id), &at_ms])? == 1;
            if new {
                let sql =
                    "DELETE FROM order_delivery WHERE channel = $1 AND no <= (SELECT no FROM order_delivery
                               WHERE channel = $1 ORDER BY no DESC LIMIT 1 OFFSET $2)";
                tx.execute(WORKING, sql, &[&channel, &DELIVERIES_MAX])?;
            }
            Ok(new)
        })
    }
}

/// Has orders looked at that are found by what has just come: words of new events, and of one that is applied now.
pub(super) fn wake(tx: &Tx<'_>, words: &[String], applied: Option<i64>) -> Result<(), StoreError> {
    if !words.is_empty() {
        let sql = "UPDATE order_head SET desk_due = 0 WHERE no IN (SELECT order_no FROM order_watch WHERE word = ANY($1))";
        tx.execute(WORKING, sql, &[&words])?;
    }
    if let Some(event) = applied {
        let sql = "UPDATE order_head SET desk_due = 0 WHERE no IN (SELECT order_no FROM order_watch
                       WHERE word IN (SELECT word FROM mention WHERE event = $1))";
        tx.execute(WORKING, sql, &[&event])?;
    }
    Ok(())
}

pub(super) fn rows(tx: &Tx<'_>, key: &OrderKey) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT sequence, at, said_by, fact FROM order_row JOIN order_head ON order_head.no = order_no
               WHERE channel = $1 AND order_id = $2 ORDER BY sequence";
    let row = |row: &Row| {
        let fact: String = get(row, 3)?;
        order_row::read(get(row, 0)?, get(row, 1)?, get(row, 2)?, &fact)
    };
    tx.query(READING, sql, &[&key.channel.as_str(), &key.order.as_str()])?.iter().map(row).collect()
}

fn load(tx: &Tx<'_>, now_ms: i64, need: &Need) -> Result<Known, StoreError> {
    let mut known = Known { rows: rows(tx, &need.order)?, ..Known::default() };
    let ask = Ask::of(&known.rows, need);
    let (channel, order) = (need.order.channel.as_str(), need.order.order.as_str());
    if let Some(code) = &ask.code {
        let sql = "SELECT EXISTS (SELECT FROM order_head WHERE reference = $1 AND NOT (channel = $2 AND order_id = $3))";
        known.code_taken = get(&tx.one(READING, sql, &[&code.as_str(), &channel, &order])?, 0)?;
    }
    let skus: Vec<&str> = ask.skus.iter().map(Sku::as_str).collect();
    let sql = "SELECT wanted.sku, coalesce(listed.item, named.item)
               FROM unnest($2::text[]) AS wanted (sku)
               LEFT JOIN offer ON offer.channel = $1 AND offer.sku = wanted.sku AND offer.active
               LEFT JOIN item AS listed ON listed.no = offer.item
               LEFT JOIN item AS named ON named.item = wanted.sku AND named.active
               WHERE listed.item IS NOT NULL OR named.item IS NOT NULL";
    for row in tx.query(READING, sql, &[&channel, &skus])? {
        known.skus.insert(text(&row, 0)?, text(&row, 1)?);
    }
    let sites: Vec<&str> = need.sites.iter().map(SiteId::as_str).collect();
    let mut numbers: BTreeMap<SiteId, i64> = BTreeMap::new();
    let sql = "SELECT no, site, reference FROM site WHERE site = ANY($1) AND active";
    for row in tx.query(READING, sql, &[&sites])? {
        let site: SiteId = text(&row, 1)?;
        numbers.insert(site.clone(), get(&row, 0)?);
        known.sites.insert(site, get(&row, 2)?);
    }
    let items: BTreeSet<ItemId> = ask.items.into_iter().chain(known.skus.values().cloned()).collect();
    let items: Vec<&str> = items.iter().map(ItemId::as_str).collect();
    let policies = channels(tx)?;
    let sql = "SELECT no, item, uom, reference, active FROM item WHERE item = ANY($1) ORDER BY item";
    for row in tx.query(READING, sql, &[&items])? {
        let item: ItemId = text(&row, 1)?;
        let facts = KnownItem { uom: uom(&row, 2)?, reference: get(&row, 3)?, active: get(&row, 4)? };
        let no = get(&row, 0)?;
        let buyer = &need.order.channel;
        known.escrow.extend(escrowed(tx, now_ms, buyer, (no, &item, facts.uom), &policies)?);
        known.items.insert(item.clone(), facts);
        for (site, site_no) in &numbers {
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
fn spots(tx: &Tx<'_>, item: i64, site: i64) -> Result<Vec<(LocationId, i64)>, StoreError> {
    let sql = "SELECT place.location, sum(balance.steps)::bigint FROM balance JOIN place ON place.no = balance.place
               WHERE balance.item = $1 AND balance.site = $2 AND place.kind = $3 AND place.active
                   AND balance.disposition = ''
               GROUP BY place.location HAVING sum(balance.steps) > 0
               ORDER BY sum(balance.steps) DESC, place.location";
    let rows = tx.query(READING, sql, &[&item, &site, &PLACE_AT])?;
    rows.iter().map(|row| Ok((text(row, 0)?, get(row, 1)?))).collect()
}

/// Everything that names an order, or a plate that was packed for it.
fn facts(tx: &Tx<'_>, reference: &Reference) -> Result<Vec<Mentioned>, StoreError> {
    let mut read: BTreeSet<String> = BTreeSet::new();
    let mut wanted: BTreeSet<String> = BTreeSet::from([reference.to_string()]);
    let mut facts = BTreeMap::new();
    for _ in 0..=floor::DEPTH_MAX {
        for word in &wanted {
            for fact in trace::mentioning(tx, word, floor::FACTS_MAX)? {
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

fn keep(tx: &Tx<'_>, now_ms: i64, key: &OrderKey, writes: &Writes) -> Result<(), StoreError> {
    let Some(head) = &writes.head else { return Ok(()) };
    let sql = "INSERT INTO order_head (channel, order_id, code, reference, stage, attention, placed_at, changed_at,
                   currency, gross, desk_due, erp_due, channel_due)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
               ON CONFLICT (channel, order_id) DO UPDATE SET code = $3, stage = $5, attention = $6, placed_at = $7,
                   changed_at = $8, currency = $9, gross = $10, desk_due = $11, erp_due = $12, channel_due = $13
               RETURNING no";
    let attention = head.attention.as_deref().map(clean);
    let values: [&(dyn ToSql + Sync); 13] = [
        &key.channel.as_str(),
        &key.order.as_str(),
        &head.code.as_str(),
        &head.reference.as_str(),
        &head.stage.as_str(),
        &attention,
        &head.placed_at_ms,
        &head.changed_at_ms,
        &head.currency.as_str(),
        &head.gross,
        &head.desk_due_ms,
        &head.erp_due_ms,
        &head.channel_due_ms,
    ];
    let no: i64 = get(&tx.one(WORKING, sql, &values)?, 0)?;
    let (mut sequences, mut times, mut sayers, mut facts) = (vec![], vec![], vec![], vec![]);
    for entry in &writes.rows {
        sequences.push(entry.sequence.cast_signed());
        times.push(entry.at_ms);
        sayers.push(clean(&entry.by));
        facts.push(order_row::write(entry)?);
    }
    let sql = "INSERT INTO order_row (order_no, sequence, at, said_by, fact)
               SELECT $1, sequence, at, said_by, fact
               FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[]) AS new (sequence, at, said_by, fact)";
    tx.execute(WORKING, sql, &[&no, &sequences, &times, &sayers, &facts])?;
    let words: Vec<&str> = writes.words.iter().map(String::as_str).collect();
    let sql = "INSERT INTO order_watch (word, order_no) SELECT word, $2 FROM unnest($1::text[]) AS new (word)
               ON CONFLICT DO NOTHING";
    tx.execute(WORKING, sql, &[&words, &no])?;
    reservations::keep_of_order(tx, now_ms, key, writes)?;
    keep_out(tx, now_ms, no, writes)?;
    let told: Vec<&str> = writes.told.iter().map(Sku::as_str).collect();
    if !told.is_empty() {
        let sql = "UPDATE offer SET due_since = coalesce(due_since, $3), next_at = 0
                   WHERE channel = $1 AND sku = ANY($2) AND active AND revision > 0";
        tx.execute(WORKING, sql, &[&key.channel.as_str(), &told, &now_ms])?;
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
fn keep_out(tx: &Tx<'_>, now_ms: i64, no: i64, writes: &Writes) -> Result<(), StoreError> {
    let sql = "SELECT item.item, site.site, steps FROM order_out JOIN item ON item.no = order_out.item
               JOIN site ON site.no = order_out.site WHERE order_no = $1";
    let mut kept: BTreeMap<(ItemId, SiteId), i64> = BTreeMap::new();
    for row in tx.query(WORKING, sql, &[&no])? {
        kept.insert((text(&row, 0)?, text(&row, 1)?), get(&row, 2)?);
    }
    if kept == writes.out {
        return Ok(());
    }
    tx.execute(WORKING, "DELETE FROM order_out WHERE order_no = $1", &[&no])?;
    let items: Vec<&str> = writes.out.keys().map(|(item, _)| item.as_str()).collect();
    let sites: Vec<&str> = writes.out.keys().map(|(_, site)| site.as_str()).collect();
    let steps: Vec<i64> = writes.out.values().copied().collect();
    let sql = "INSERT INTO order_out (order_no, item, site, steps) SELECT $1, item.no, site.no, new.steps
               FROM unnest($2::text[], $3::text[], $4::bigint[]) AS new (item, site, steps)
               JOIN item ON item.item = new.item JOIN site ON site.site = new.site";
    tx.execute(WORKING, sql, &[&no, &items, &sites, &steps])?;
    let changed: Vec<&str> = kept.keys().chain(writes.out.keys()).map(|(item, _)| item.as_str()).collect();
    let sql =
        "INSERT INTO stale_item (item, since) SELECT DISTINCT no, $2::bigint FROM item WHERE item = ANY($1)
               ON CONFLICT (item) DO UPDATE SET since = $2 WHERE stale_item.since = 0";
    tx.execute(WORKING, sql, &[&changed, &now_ms]).map(drop)
}

/// Steps by channel, by item and site.
type Out = BTreeMap<(i64, SiteId), Vec<(ChannelId, i64)>>;

/// Of items, by site: what has left for orders that are open at their channels.
pub(super) fn out(tx: &Tx<'_>, items: &[i64]) -> Result<Out, StoreError> {
    let sql = "SELECT order_out.item, site.site, order_head.channel, sum(steps)::bigint FROM order_out
               JOIN order_head ON order_head.no = order_no JOIN site ON site.no = order_out.site
               WHERE order_out.item = ANY($1) GROUP BY order_out.item, site.site, order_head.channel
               ORDER BY order_head.channel";
    let mut out = Out::new();
    for row in tx.query(READING, sql, &[&items])? {
        out.entry((get(&row, 0)?, text(&row, 1)?)).or_default().push((text(&row, 2)?, get(&row, 3)?));
    }
    Ok(out)
}

fn head(row: &Row) -> Result<(i64, Head), StoreError> {
    let currency: String = get(row, 9)?;
    let head = Head {
        order: OrderKey { channel: text(row, 1)?, order: text(row, 2)? },
        code: text(row, 3)?,
        reference: text(row, 4)?,
        stage: word(row, 5, Stage::from_name)?,
        attention: get(row, 6)?,
        placed_at_ms: get(row, 7)?,
        changed_at_ms: get(row, 8)?,
        currency: currency.parse().map_err(|fault: String| unreadable(row, 9, fault))?,
        gross: get(row, 10)?,
        desk_due_ms: get(row, 11)?,
        erp_due_ms: get(row, 12)?,
        channel_due_ms: get(row, 13)?,
    };
    Ok((get(row, 0)?, head))
}

pub(super) fn list(tx: &Tx<'_>, query: &OrderQuery) -> Result<Page<Head>, StoreError> {
    let rows = page_rows(query.limit);
    let after = match &query.after {
        None => i64::MAX,
        Some(after) => match after.parse() {
            Ok(after) => after,
            Err(_) => return refused(format!("after: expected a number, got {after:?}")),
        },
    };
    let sql = "SELECT no, channel, order_id, code, reference, stage, attention, placed_at, changed_at, currency, gross,
                   desk_due, erp_due, channel_due
               FROM order_head WHERE no < $1 AND ($2::text IS NULL OR channel = $2) AND ($3::text IS NULL OR stage = $3)
                   AND ($4::text IS NULL OR code = $4 OR reference = $4 OR order_id = $4)
                   AND (NOT $5 OR attention IS NOT NULL)
               ORDER BY no DESC LIMIT $6";
    let values: [&(dyn ToSql + Sync); 6] = [
        &after,
        &query.channel.as_ref().map(|channel| channel.as_str()),
        &query.stage.map(Stage::as_str),
        &query.code.as_ref().map(|code| code.as_str()),
        &query.attention_only,
        &(rows as i64 + 1),
    ];
    let mut found: Vec<(i64, Head)> =
        tx.query(READING, sql, &values)?.iter().map(head).collect::<Result<_, _>>()?;
    let more = found.len() > rows;
    found.truncate(rows);
    let next = found.last().filter(|_| more).map(|(no, _)| no.to_string());
    Ok(Page { rows: found.into_iter().map(|(_, head)| head).collect(), next })
}

pub(super) fn due(
    tx: &Tx<'_>,
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
        "SELECT channel, order_id FROM order_head WHERE {column} <= $1 AND ($2::text IS NULL OR channel = $2)
         ORDER BY {column}, no LIMIT $3"
    );
    let channel = channel.map(|channel| channel.as_str());
    let key = |row: &Row| Ok(OrderKey { channel: text(row, 0)?, order: text(row, 1)? });
    tx.query(READING, &sql, &[&now_ms, &channel, &(limit as i64)])?.iter().map(key).collect()
}

pub(super) fn through(tx: &Tx<'_>, channel: &ChannelId) -> Result<Option<i64>, StoreError> {
    let row =
        tx.optional(READING, "SELECT through FROM order_cursor WHERE channel = $1", &[&channel.as_str()])?;
    row.map(|row| get(&row, 0)).transpose()
}
