//! What the API, the console and the commands read.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use stockwire_protocol::cbor::Message;
use stockwire_protocol::{
    Body, ChannelId, Event, ItemId, LocationId, MovementId, Quantity, Sequence, SiteId, Sku,
};

use super::catalogue::{channels, each};
use super::escrow::is_strict;
use super::offers::{adrift, published, site_stock};
use super::postings::{batch_state, erp_id, reference};
use super::{
    PLACE_AT, database, disposition, epoch, event_parts, find_event, meta, optional, page_rows, place,
    snapshot, text, unreadable, uom,
};
use crate::availability::compute;
use crate::dead_letter::DeadLetterClass;
use crate::ledger::{LedgerId, LedgerRow};
use crate::store::{
    ApiKeyRow, Changes, Cursor, DeviceClock, DeviceRow, DeviceStatus, Gauges, Mentioned, MovementQuery,
    MovementRow, OfferQuery, OfferRow, Page, StockQuery, StockRow, StoreError,
};
use crate::trace::{Thread, TraceKey, TracePosting, TracePublication};

const READING: &str = "answering a query";

/// Position of the last row of a page: columns joined by a character that no id may contain.
const SEPARATOR: char = '\u{1f}';

pub(super) fn stock(connection: &Connection, query: &StockQuery) -> Result<Page<StockRow>, StoreError> {
    let limit = page_rows(query.limit);
    let after = query.after.as_deref().map(|after| after.split(SEPARATOR).collect::<Vec<_>>());
    let after: [&str; 5] = match after.as_deref() {
        Some(&[site, location, item, lot, disposition]) => [site, location, item, lot, disposition],
        _ => [""; 5],
    };
    let sql = "SELECT site.site, place.location, item.item, item.name, balance.lot, balance.disposition, balance.steps, item.uom
               FROM balance JOIN place ON place.no = balance.place JOIN site ON site.no = place.site
               JOIN item ON item.no = balance.item
               WHERE place.kind = ?1 AND balance.steps <> 0 AND (?2 IS NULL OR site.site = ?2)
                   AND (?3 IS NULL OR place.location = ?3) AND (?4 IS NULL OR item.item = ?4)
                   AND (NOT ?5 OR balance.steps < 0)
                   AND (site.site, place.location, item.item, balance.lot, balance.disposition) > (?6, ?7, ?8, ?9, ?10)
               ORDER BY site.site, place.location, item.item, balance.lot, balance.disposition LIMIT ?11";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let values = params![
        PLACE_AT,
        query.site.as_ref().map(|site| site.as_str()),
        query.location.as_ref().map(|location| location.as_str()),
        query.item.as_ref().map(|item| item.as_str()),
        query.negative_only,
        after[0],
        after[1],
        after[2],
        after[3],
        after[4],
        limit as i64,
    ];
    let rows: Vec<StockRow> = statement
        .query_map(values, |row| {
            Ok(StockRow {
                site: text(row, 0)?,
                location: text(row, 1)?,
                item: text(row, 2)?,
                name: row.get(3)?,
                lot: optional(row, 4)?,
                disposition: disposition(row, 5)?,
                on_hand: Quantity { steps: row.get(6)?, uom: uom(row, 7)? },
            })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| {
        let lot = super::lot_text(row.lot.as_ref());
        let disposition = super::disposition_text(row.disposition);
        [row.site.as_str(), row.location.as_str(), row.item.as_str(), lot, disposition]
            .join(&SEPARATOR.to_string())
    });
    Ok(Page { rows, next })
}

const MOVEMENT: &str =
    "SELECT ledger.id, stream.agent, stream.epoch, event.key, site.site, item.item, item.uom,
        ledger.steps, f.kind, f.location, t.kind, t.location, ledger.lot, ledger.disposition, event.bytes,
        event.received_at
    FROM ledger JOIN event ON event.key = ledger.event JOIN stream ON stream.no = event.key >> 40
    JOIN item ON item.no = ledger.item JOIN place f ON f.no = ledger.from_place
    JOIN place t ON t.no = ledger.to_place JOIN site ON site.no = f.site";

fn movement(row: &Row<'_>) -> rusqlite::Result<MovementRow> {
    let movement =
        MovementId { agent: text(row, 1)?, epoch: epoch(row, 2)?, sequence: event_parts(row.get(3)?).1 };
    Ok(MovementRow {
        row: LedgerRow {
            id: LedgerId(row.get::<_, i64>(0)? as u64),
            movement,
            site: text(row, 4)?,
            item: text(row, 5)?,
            quantity: Quantity { steps: row.get(7)?, uom: uom(row, 6)? },
            from: place(row, 8)?,
            to: place(row, 10)?,
            lot: optional(row, 12)?,
            disposition: disposition(row, 13)?,
        },
        event: event(row, 14)?,
        received_at_ms: row.get(15)?,
    })
}

fn event(row: &Row<'_>, at: usize) -> rusqlite::Result<Event> {
    Event::decode(row.get_ref(at)?.as_blob()?).map_err(|fault| unreadable(at, Box::new(fault)))
}

pub(super) fn movements(
    connection: &Connection,
    query: &MovementQuery,
) -> Result<Page<MovementRow>, StoreError> {
    let limit = page_rows(query.limit);
    let after: i64 = query.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    let rows: Vec<MovementRow> = match &query.item {
        Some(item) => {
            let view = snapshot(connection)?;
            let wanted = ItemRows { item, site: query.site.as_ref(), location: None, before: after, limit };
            let sql = format!("{MOVEMENT} WHERE ledger.id = ?1");
            let mut statement = view.prepare_cached(&sql).map_err(database(READING))?;
            let mut row = |id: &i64| statement.query_row([id], movement).map_err(database(READING));
            wanted.find(&view)?.iter().map(&mut row).collect::<Result<_, _>>()?
        }
        None => {
            let sql = format!(
                "{MOVEMENT} WHERE ledger.id < ?1 AND (?2 IS NULL OR site.site = ?2) ORDER BY ledger.id DESC LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql).map_err(database(READING))?;
            let site = query.site.as_ref().map(|site| site.as_str());
            statement
                .query_map(params![after, site, limit as i64], movement)
                .and_then(Iterator::collect)
                .map_err(database(READING))?
        }
    };
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.row.id.0.to_string());
    Ok(Page { rows, next })
}

/// Which rows of an item are wanted.
pub(super) struct ItemRows<'a> {
    pub(super) item: &'a ItemId,
    pub(super) site: Option<&'a SiteId>,
    pub(super) location: Option<&'a LocationId>,
    /// Only rows below this one.
    pub(super) before: i64,
    pub(super) limit: usize,
}

impl ItemRows<'_> {
    /// Their numbers, newest first: those that are not indexed by item yet, then those that are.
    pub(super) fn find(&self, view: &Connection) -> Result<Vec<i64>, StoreError> {
        const TOUCHES: &str = "(?3 IS NULL OR EXISTS (SELECT 1 FROM place JOIN site ON site.no = place.site
            WHERE place.no IN (ledger.from_place, ledger.to_place) AND site.site = ?3
                AND (?4 IS NULL OR place.location = ?4)))";
        let newest = format!(
            "SELECT ledger.id FROM ledger WHERE ledger.id > (SELECT value FROM meta WHERE key = 'item_rows_through')
                 AND ledger.id < ?2 AND ledger.item = (SELECT no FROM item WHERE item = ?1) AND {TOUCHES}
             ORDER BY ledger.id DESC LIMIT ?5"
        );
        let indexed = format!(
            "SELECT item_row.ledger FROM item_row JOIN ledger ON ledger.id = item_row.ledger
             WHERE item_row.item = (SELECT no FROM item WHERE item = ?1) AND item_row.ledger < ?2 AND {TOUCHES}
             ORDER BY item_row.ledger DESC LIMIT ?5"
        );
        let mut found: Vec<i64> = Vec::new();
        for sql in [newest, indexed] {
            let (site, location) = (self.site.map(SiteId::as_str), self.location.map(LocationId::as_str));
            let rest = (self.limit - found.len()) as i64;
            found.extend(keys(view, &sql, params![self.item.as_str(), self.before, site, location, rest])?);
        }
        Ok(found)
    }
}

const OFFER: &str =
    "SELECT offer.channel, offer.sku, item.item, item.uom, offer.item, offer.unresolved, offer.fault,
        offer.attempts, offer.pub_number, offer.pub_revision, offer.pub_at, offer.pub_through, offer.change, offer.adrift, offer.number
    FROM offer JOIN item ON item.no = offer.item JOIN channel ON channel.channel = offer.channel
    WHERE offer.active = 1 AND channel.active = 1";

/// Reads offers, each with its number as of now.
fn read_offers(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<(OfferRow, i64)>, StoreError> {
    let view = snapshot(connection)?;
    let policies = channels(&view)?;
    let through = super::books::head(&view)?;
    let mut statement = view.prepare_cached(&format!("{OFFER} {condition}")).map_err(database(READING))?;
    let mut rows = statement.query(values).map_err(database(READING))?;
    let mut offers = Vec::new();
    while let Some(row) = rows.next().map_err(database(READING))? {
        let read = |row: &Row<'_>| -> rusqlite::Result<_> {
            Ok((
                text::<ChannelId>(row, 0)?,
                text(row, 1)?,
                text(row, 2)?,
                uom(row, 3)?,
                row.get::<_, i64>(4)?,
            ))
        };
        let (channel, sku, item, uom, item_no) = read(row).map_err(database(READING))?;
        let Some(policy) = policies.get(&channel) else { continue };
        // What stands in escrow for a channel is decided when numbers are computed, not when somebody looks.
        let strict = is_strict(&view, item_no, &policies)?;
        let escrow: i64 = row.get(14).map_err(database(READING))?;
        let stock = site_stock(&view, item_no)?;
        let availability = compute(policy, uom, &stock, strict.then_some(escrow), through);
        let rest = |row: &Row<'_>| -> rusqlite::Result<_> {
            let offer = OfferRow {
                channel,
                sku,
                item,
                availability,
                published: published(row, 8)?,
                unresolved: row.get(5)?,
                fault: row.get(6)?,
                attempts: row.get(7)?,
                adrift: adrift(row, 13)?,
            };
            Ok((offer, row.get(12)?))
        };
        offers.push(rest(row).map_err(database(READING))?);
    }
    Ok(offers)
}

pub(super) fn availability(
    connection: &Connection,
    channel: &ChannelId,
    sku: &Sku,
) -> Result<Option<OfferRow>, StoreError> {
    let condition = "AND offer.channel = ?1 AND offer.sku = ?2";
    let found = read_offers(connection, condition, (channel.as_str(), sku.as_str()))?;
    Ok(found.into_iter().next().map(|(offer, _)| offer))
}

pub(super) fn offers(connection: &Connection, query: &OfferQuery) -> Result<Page<OfferRow>, StoreError> {
    let limit = page_rows(query.limit);
    let (channel, sku) =
        query.after.as_deref().and_then(|after| after.split_once(SEPARATOR)).unwrap_or(("", ""));
    let condition = "AND (?1 IS NULL OR offer.channel = ?1) AND (?2 IS NULL OR item.item = ?2)
                     AND (offer.channel, offer.sku) > (?3, ?4) ORDER BY offer.channel, offer.sku LIMIT ?5";
    let wanted = query.channel.as_ref().map(|channel| channel.as_str());
    let item = query.item.as_ref().map(|item| item.as_str());
    let found = read_offers(connection, condition, params![wanted, item, channel, sku, limit as i64])?;
    let rows: Vec<OfferRow> = found.into_iter().map(|(offer, _)| offer).collect();
    let next = rows
        .last()
        .filter(|_| rows.len() == limit)
        .map(|row| format!("{}{SEPARATOR}{}", row.channel, row.sku));
    Ok(Page { rows, next })
}

pub(super) fn changes(connection: &Connection, since: Cursor, limit: usize) -> Result<Changes, StoreError> {
    let view = snapshot(connection)?;
    let limit = page_rows(limit);
    let sql = format!("{MOVEMENT} WHERE ledger.id > ?1 ORDER BY ledger.id LIMIT ?2");
    let mut statement = view.prepare_cached(&sql).map_err(database(READING))?;
    let movements: Vec<MovementRow> = statement
        .query_map((since.ledger as i64, limit as i64), movement)
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    let condition = "AND offer.change > ?1 ORDER BY offer.change, offer.channel, offer.sku LIMIT ?2";
    let mut offers = read_offers(&view, condition, (since.change as i64, limit as i64))?;
    let head = meta(&view, "change")?;
    // A page may end within one change. It is then told again from its beginning, unless it alone fills the page:
    // news of an offer may come twice, and none is left out for good.
    let through = match offers.last() {
        Some((_, last)) if offers.len() == limit => {
            let (last, first) = (*last, offers.first().map_or(0, |offer| offer.1));
            if first == last {
                last
            } else {
                offers.retain(|offer| offer.1 < last);
                last - 1
            }
        }
        _ => head,
    };
    let devices = read_devices(&view, since.change as i64, through)?;
    let ledger = movements.last().map_or(since.ledger, |row| row.row.id.0);
    let offers = offers.into_iter().map(|(offer, _)| offer).collect();
    Ok(Changes { cursor: Cursor { ledger, change: through as u64 }, movements, offers, devices })
}

pub(super) fn changes_head(connection: &Connection) -> Result<Cursor, StoreError> {
    let view = snapshot(connection)?;
    Ok(Cursor { ledger: super::books::head(&view)?.0, change: meta(&view, "change")? as u64 })
}

pub(super) fn devices(connection: &Connection) -> Result<Vec<DeviceRow>, StoreError> {
    read_devices(connection, -1, i64::MAX)
}

fn read_devices(connection: &Connection, after: i64, through: i64) -> Result<Vec<DeviceRow>, StoreError> {
    let sql = "SELECT device.site, device.agent, status, last_seen, device.epoch, coalesce(stream.watermark, 0), head, lost,
                   clock_at, clock_unix, clock_synced, boot, uptime, software,
                   EXISTS (SELECT 1 FROM dead_letter WHERE class = 'conflict' AND state = 'open'
                       AND event >= stream.no << 40 AND event < (stream.no + 1) << 40)
               FROM device LEFT JOIN stream ON stream.agent = device.agent AND stream.epoch = device.epoch
               WHERE device.change > ?1 AND device.change <= ?2 ORDER BY device.site, device.agent";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    statement
        .query_map((after, through), |row| {
            let status: String = row.get(2)?;
            let watermark = Sequence::new(row.get::<_, i64>(5)? as u64);
            let clock = match row.get::<_, Option<i64>>(8)? {
                Some(received_at_ms) => Some(DeviceClock {
                    unix_ms: row.get(9)?,
                    synced: row.get(10)?,
                    boot: row.get(11)?,
                    uptime_ms: row.get::<_, i64>(12)? as u64,
                    received_at_ms,
                }),
                None => None,
            };
            Ok(DeviceRow {
                site: text(row, 0)?,
                agent: text(row, 1)?,
                status: DeviceStatus::from_name(&status).ok_or_else(|| unreadable(2, status.into()))?,
                last_seen_ms: row.get(3)?,
                epoch: if row.get_ref(4)? == rusqlite::types::ValueRef::Null {
                    None
                } else {
                    Some(epoch(row, 4)?)
                },
                watermark,
                head: Sequence::new(row.get::<_, i64>(6)? as u64).max(watermark),
                frozen: row.get(14)?,
                lost: row.get::<_, i64>(7)? as u64,
                clock,
                software: row.get(13)?,
            })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

pub(super) fn trace(
    connection: &Connection,
    key: &TraceKey,
    limit: usize,
) -> Result<Vec<Thread>, StoreError> {
    let view = snapshot(connection)?;
    let limit = page_rows(limit);
    let keys: Vec<i64> = match key {
        TraceKey::Movement(movement) => find_event(&view, movement)?.into_iter().collect(),
        TraceKey::Item(item) => {
            let rows = ItemRows { item, site: None, location: None, before: i64::MAX, limit }.find(&view)?;
            let mut statement =
                view.prepare_cached("SELECT event FROM ledger WHERE id = ?1").map_err(database(READING))?;
            let mut event = |id: &i64| statement.query_row([id], |row| row.get(0)).map_err(database(READING));
            rows.iter().map(&mut event).collect::<Result<_, _>>()?
        }
        TraceKey::Mention(word) => keys(
            &view,
            "SELECT event FROM mention WHERE word = ?1 ORDER BY event DESC LIMIT ?2",
            (word, limit as i64),
        )?,
    };
    let mut threads = Vec::with_capacity(keys.len());
    for key in keys {
        threads.extend(thread(&view, key)?);
    }
    Ok(threads)
}

pub(super) fn mentioning(
    connection: &Connection,
    word: &str,
    limit: usize,
) -> Result<Vec<Mentioned>, StoreError> {
    let sql =
        "SELECT stream.site, stream.agent, stream.epoch, event.key, coalesce(resolved.bytes, event.bytes),
                   event.received_at, event.ledger IS NOT NULL FROM mention
               JOIN event ON event.key = mention.event JOIN stream ON stream.no = event.key >> 40
               LEFT JOIN resolved ON resolved.event = event.key
               WHERE mention.word = ?1 ORDER BY event.received_at, event.key LIMIT ?2";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    statement
        .query_map((word, limit as i64), |row| {
            let movement = MovementId {
                agent: text(row, 1)?,
                epoch: epoch(row, 2)?,
                sequence: event_parts(row.get(3)?).1,
            };
            let event = event(row, 4)?;
            let applied = row.get::<_, bool>(6)? || matches!(event.body, Body::Handling(_));
            Ok(Mentioned { site: text(row, 0)?, movement, event, received_at_ms: row.get(5)?, applied })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

fn keys(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<i64>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    statement.query_map(values, |row| row.get(0)).and_then(Iterator::collect).map_err(database(READING))
}

fn thread(connection: &Connection, key: i64) -> Result<Option<Thread>, StoreError> {
    let sql =
        "SELECT stream.agent, stream.epoch, event.bytes, event.received_at, event.ledger, dead_letter.id,
                   dead_letter.reason
               FROM event JOIN stream ON stream.no = event.key >> 40
               LEFT JOIN dead_letter ON dead_letter.event = event.key AND dead_letter.class = 'unappliable'
                   AND dead_letter.state <> 'replayed'
               WHERE event.key = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    let found = statement
        .query_row([key], |row| {
            let movement =
                MovementId { agent: text(row, 0)?, epoch: epoch(row, 1)?, sequence: event_parts(key).1 };
            let letter = row.get::<_, Option<i64>>(5)?.zip(row.get::<_, Option<String>>(6)?);
            let thread = Thread {
                movement,
                event: event(row, 2)?,
                received_at_ms: row.get(3)?,
                applied: None,
                dead_letter: letter,
                postings: Vec::new(),
                publications: Vec::new(),
            };
            Ok((thread, row.get::<_, Option<i64>>(4)?))
        })
        .optional()
        .map_err(database(READING))?;
    let Some((mut thread, ledger)) = found else { return Ok(None) };
    let Some(ledger) = ledger else { return Ok(Some(thread)) };
    let sql = format!("{MOVEMENT} WHERE ledger.id = ?1");
    let mut statement = connection.prepare_cached(&sql).map_err(database(READING))?;
    thread.applied = statement.query_row([ledger], movement).optional().map_err(database(READING))?;
    thread.postings = trace_postings(connection, ledger)?;
    // A number holds every row up to its own cut-off, so it tells of this one when that is not below it.
    let sql = "SELECT offer.channel, offer.sku, pub_number, pub_revision, pub_at, pub_through FROM offer
               JOIN ledger ON ledger.item = offer.item WHERE ledger.id = ?1 AND offer.active = 1
               ORDER BY offer.channel, offer.sku";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    thread.publications = statement
        .query_map([ledger], |row| {
            let published = published(row, 2)?.filter(|published| published.through.0 >= ledger as u64);
            Ok(TracePublication { channel: text(row, 0)?, sku: text(row, 1)?, published })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))?;
    Ok(Some(thread))
}

fn trace_postings(connection: &Connection, ledger: i64) -> Result<Vec<TracePosting>, StoreError> {
    let sql = "SELECT batch.erp, batch.id, batch.document, batch.state, batch.changed_at, meta.value
               FROM posting JOIN batch ON batch.id = posting.batch JOIN meta ON meta.key = 'instance'
               WHERE posting.ledger = ?1 AND batch.state <> 'split' ORDER BY batch.id";
    let mut statement = connection.prepare_cached(sql).map_err(database(READING))?;
    statement
        .query_map([ledger], |row| {
            let instance: String = row.get(5)?;
            Ok(TracePosting {
                erp: erp_id(row, 0)?,
                reference: reference(&instance, row.get(1)?),
                document: row.get(2)?,
                state: batch_state(row, 3)?,
                at_ms: row.get(4)?,
            })
        })
        .and_then(Iterator::collect)
        .map_err(database(READING))
}

pub(super) fn gauges(connection: &Connection) -> Result<Gauges, StoreError> {
    let view = snapshot(connection)?;
    let number = |sql: &str| -> Result<u64, StoreError> {
        let mut statement = view.prepare_cached(sql).map_err(database(READING))?;
        let number: i64 = statement.query_row([], |row| row.get(0)).map_err(database(READING))?;
        Ok(number as u64)
    };
    let mut gauges = Gauges {
        // Streams have no holes, so their watermarks count their events.
        events: number("SELECT coalesce(sum(watermark), 0) FROM stream")?,
        ledger_head: super::books::head(&view)?.0,
        negative_balances: number(
            "SELECT count(*) FROM balance JOIN place ON place.no = balance.place WHERE balance.steps < 0 AND place.kind = 0",
        )?,
        frozen_streams: number(
            "SELECT count(DISTINCT event >> 40) FROM dead_letter WHERE class = 'conflict' AND state = 'open'",
        )?,
        lost: number("SELECT coalesce(sum(lost), 0) FROM device")?,
        ..Gauges::default()
    };
    each(
        &view,
        "SELECT class, count(*) FROM dead_letter WHERE state = 'open' GROUP BY class ORDER BY class",
        |row| {
            let class: String = row.get(0)?;
            let class = DeadLetterClass::from_name(&class).ok_or_else(|| unreadable(0, class.into()))?;
            gauges.dead_letters.push((class, row.get::<_, i64>(1)? as u64));
            Ok(())
        },
    )?;
    // Rows behind the cursor, and rows in batches that are not final.
    let sql = "SELECT erp.erp,
            (SELECT count(*) FROM ledger JOIN place ON place.no = ledger.from_place JOIN site ON site.no = place.site
                WHERE ledger.id > erp.through AND site.erp = erp.erp AND ledger.steps > 0)
            + (SELECT count(*) FROM batch JOIN posting ON posting.batch = batch.id
                WHERE batch.erp = erp.erp AND batch.state IN ('planned', 'sent', 'unknown', 'retry')),
            coalesce(
                (SELECT min(event.received_at) FROM batch JOIN posting ON posting.batch = batch.id
                    JOIN ledger ON ledger.id = posting.ledger JOIN event ON event.key = ledger.event
                    WHERE batch.erp = erp.erp AND batch.state IN ('planned', 'sent', 'unknown', 'retry')),
                (SELECT event.received_at FROM ledger JOIN event ON event.key = ledger.event
                    JOIN place ON place.no = ledger.from_place JOIN site ON site.no = place.site
                    WHERE ledger.id > erp.through AND site.erp = erp.erp AND ledger.steps > 0 ORDER BY ledger.id LIMIT 1))
        FROM erp ORDER BY erp.erp";
    each(&view, sql, |row| {
        gauges.unposted.push((erp_id(row, 0)?, row.get::<_, i64>(1)? as u64, row.get(2)?));
        Ok(())
    })?;
    // Numbers that are due, and those whose stock has changed and that nobody has computed yet.
    let sql = "SELECT channel.channel, count(due.since), min(nullif(due.since, 0)) FROM channel
               LEFT JOIN (
                   SELECT channel, due_since AS since FROM offer WHERE due_since IS NOT NULL AND active = 1
                   UNION ALL
                   SELECT channel, stale_item.since FROM stale_item JOIN offer ON offer.item = stale_item.item
                   WHERE offer.due_since IS NULL AND offer.active = 1
               ) due ON due.channel = channel.channel
               WHERE channel.active = 1 GROUP BY channel.channel ORDER BY channel.channel";
    each(&view, sql, |row| {
        gauges.unpublished.push((text(row, 0)?, row.get::<_, i64>(1)? as u64, row.get(2)?));
        Ok(())
    })?;
    for device in devices(&view)? {
        gauges.devices[device.status as usize] += 1;
        gauges.backlog += device.backlog();
    }
    Ok(gauges)
}

pub(super) fn api_keys(connection: &Connection) -> Result<Vec<ApiKeyRow>, StoreError> {
    let mut keys = Vec::new();
    each(
        connection,
        "SELECT name, created_at, revoked_at, last_used_at FROM api_key ORDER BY name",
        |row| {
            keys.push(api_key(row)?);
            Ok(())
        },
    )?;
    Ok(keys)
}

pub(super) fn api_key(row: &Row<'_>) -> rusqlite::Result<ApiKeyRow> {
    Ok(ApiKeyRow {
        name: row.get(0)?,
        created_at_ms: row.get(1)?,
        revoked_at_ms: row.get(2)?,
        last_used_at_ms: row.get(3)?,
    })
}
