//! What the API, the console and the commands read.

use postgres::Row;
use postgres::types::ToSql;
use stockwire_protocol::{ChannelId, ItemId, LocationId, Quantity, SiteId, Sku};

use super::catalogue::channels;
use super::column::{
    PLACE_AT, count, disposition, disposition_text, epoch, event, get, lot_text, movement as movement_id,
    optional, place, sequence, text, uom, word,
};
use super::escrow::strict;
use super::offers::{adrift, published, site_stock};
use super::postings::{attempts, erp_id};
use super::{Counter, Tx, books, counter, page_rows};
use crate::availability::compute;
use crate::dead_letter::DeadLetterClass;
use crate::ledger::{LedgerId, LedgerRow};
use crate::store::{
    ApiKeyRow, Changes, Cursor, DeviceClock, DeviceRow, DeviceStatus, Gauges, MovementQuery, MovementRow,
    OfferQuery, OfferRow, Page, StockQuery, StockRow, StoreError,
};

const READING: &str = "answering a query";

/// Position of the last row of a page: columns joined by a character that no id may contain.
const SEPARATOR: char = '\u{1f}';

pub(super) fn stock(tx: &Tx<'_>, query: &StockQuery) -> Result<Page<StockRow>, StoreError> {
    let limit = page_rows(query.limit);
    let after = query.after.as_deref().map(|after| after.split(SEPARATOR).collect::<Vec<_>>());
    let after: [&str; 5] = match after.as_deref() {
        Some(&[site, location, item, lot, disposition]) => [site, location, item, lot, disposition],
        _ => [""; 5],
    };
    let sql = "SELECT site.site, place.location, item.item, item.name, balance.lot, balance.disposition, balance.steps,
                   item.uom
               FROM balance JOIN place ON place.no = balance.place JOIN site ON site.no = place.site
               JOIN item ON item.no = balance.item
               WHERE place.kind = $1 AND balance.steps <> 0 AND ($2::text IS NULL OR site.site = $2)
                   AND ($3::text IS NULL OR place.location = $3) AND ($4::text IS NULL OR item.item = $4)
                   AND (NOT $5 OR balance.steps < 0)
                   AND (site.site, place.location, item.item, balance.lot, balance.disposition) > ($6, $7, $8, $9, $10)
               ORDER BY site.site, place.location, item.item, balance.lot, balance.disposition LIMIT $11";
    let rows = tx.query(
        READING,
        sql,
        &[
            &PLACE_AT,
            &query.site.as_ref().map(SiteId::as_str),
            &query.location.as_ref().map(LocationId::as_str),
            &query.item.as_ref().map(ItemId::as_str),
            &query.negative_only,
            &after[0],
            &after[1],
            &after[2],
            &after[3],
            &after[4],
            &(limit as i64),
        ],
    )?;
    let row = |row: &Row| {
        Ok(StockRow {
            site: text(row, 0)?,
            location: text(row, 1)?,
            item: text(row, 2)?,
            name: get(row, 3)?,
            lot: optional(row, 4)?,
            disposition: disposition(row, 5)?,
            on_hand: Quantity { steps: get(row, 6)?, uom: uom(row, 7)? },
        })
    };
    let rows: Vec<StockRow> = rows.iter().map(row).collect::<Result<_, StoreError>>()?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| {
        let lot = lot_text(row.lot.as_ref());
        let disposition = disposition_text(row.disposition);
        [row.site.as_str(), row.location.as_str(), row.item.as_str(), lot, disposition]
            .join(&SEPARATOR.to_string())
    });
    Ok(Page { rows, next })
}

pub(super) const MOVEMENT: &str =
    "SELECT ledger.id, stream.agent, stream.epoch, event.key, site.site, item.item, item.uom,
        ledger.steps, f.kind, f.location, t.kind, t.location, ledger.lot, ledger.disposition, fact.bytes,
        event.received_at
    FROM ledger JOIN event ON event.site = ledger.site AND event.key = ledger.event
    JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
    JOIN stream ON stream.no = event.key >> 40
    JOIN item ON item.no = ledger.item JOIN place f ON f.no = ledger.from_place
    JOIN place t ON t.no = ledger.to_place JOIN site ON site.no = f.site";

pub(super) fn movement(row: &Row) -> Result<MovementRow, StoreError> {
    Ok(MovementRow {
        row: LedgerRow {
            id: LedgerId(count(row, 0)?),
            movement: movement_id(row, 1)?,
            site: text(row, 4)?,
            item: text(row, 5)?,
            quantity: Quantity { steps: get(row, 7)?, uom: uom(row, 6)? },
            from: place(row, 8)?,
            to: place(row, 10)?,
            lot: optional(row, 12)?,
            disposition: disposition(row, 13)?,
        },
        event: event(row, 14)?,
        received_at_ms: get(row, 15)?,
    })
}

pub(super) fn movements(tx: &Tx<'_>, query: &MovementQuery) -> Result<Page<MovementRow>, StoreError> {
    let limit = page_rows(query.limit);
    let after: i64 = query.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(i64::MAX);
    let rows = match &query.item {
        Some(item) => {
            let wanted = ItemRows { item, site: query.site.as_ref(), location: None, before: after, limit };
            let sql = format!("{MOVEMENT} WHERE ledger.id = ANY($1) ORDER BY ledger.id DESC");
            tx.query(READING, &sql, &[&wanted.find(tx)?])?
        }
        None => {
            let sql = format!(
                "{MOVEMENT} WHERE ledger.id < $1 AND ($2::text IS NULL OR site.site = $2)
                 ORDER BY ledger.id DESC LIMIT $3"
            );
            tx.query(READING, &sql, &[&after, &query.site.as_ref().map(SiteId::as_str), &(limit as i64)])?
        }
    };
    let rows: Vec<MovementRow> = rows.iter().map(movement).collect::<Result<_, _>>()?;
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
    /// Their numbers, newest first.
    pub(super) fn find(&self, tx: &Tx<'_>) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT ledger.id FROM ledger
                   WHERE ledger.item = (SELECT no FROM item WHERE item = $1) AND ledger.id < $2
                       AND ($3::text IS NULL OR EXISTS (SELECT FROM place JOIN site ON site.no = place.site
                           WHERE place.no IN (ledger.from_place, ledger.to_place) AND site.site = $3
                               AND ($4::text IS NULL OR place.location = $4)))
                   ORDER BY ledger.id DESC LIMIT $5";
        let (site, location) = (self.site.map(SiteId::as_str), self.location.map(LocationId::as_str));
        let values: [&(dyn ToSql + Sync); 5] =
            [&self.item.as_str(), &self.before, &site, &location, &(self.limit as i64)];
        tx.query(READING, sql, &values)?.iter().map(|row| get(row, 0)).collect()
    }
}

/// Reads offers, each with its number as of now.
fn read_offers(
    tx: &Tx<'_>,
    condition: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<(OfferRow, i64)>, StoreError> {
    let sql = format!(
        "SELECT offer.channel, offer.sku, item.item, item.uom, offer.item, offer.unresolved, offer.fault,
             offer.attempts, offer.pub_number, offer.pub_revision, offer.pub_at, offer.pub_through, offer.change,
             offer.adrift, offer.number
         FROM offer JOIN item ON item.no = offer.item JOIN channel ON channel.channel = offer.channel
         WHERE offer.active AND channel.active {condition}"
    );
    let policies = channels(tx)?;
    let through = books::head(tx)?;
    let rows = tx.query(READING, &sql, values)?;
    let items: Vec<i64> = rows.iter().map(|row| get(row, 4)).collect::<Result<_, _>>()?;
    let stock = site_stock(tx, &items)?;
    // What stands in escrow for a channel is decided when numbers are computed, not when somebody looks.
    let strict = strict(tx, &items, &policies)?;
    let mut offers = Vec::new();
    for row in &rows {
        let channel: ChannelId = text(row, 0)?;
        let Some(policy) = policies.get(&channel) else { continue };
        let item: i64 = get(row, 4)?;
        let there = stock.get(&item).map_or(&[][..], Vec::as_slice);
        let escrow = if strict.contains(&item) { Some(get(row, 14)?) } else { None };
        let offer = OfferRow {
            availability: compute(policy, uom(row, 3)?, there, escrow, through),
            channel,
            sku: text(row, 1)?,
            item: text(row, 2)?,
            published: published(row, 8)?,
            unresolved: get(row, 5)?,
            fault: get(row, 6)?,
            attempts: attempts(row, 7)?,
            adrift: adrift(row, 13)?,
        };
        offers.push((offer, get(row, 12)?));
    }
    Ok(offers)
}

pub(super) fn availability(
    tx: &Tx<'_>,
    channel: &ChannelId,
    sku: &Sku,
) -> Result<Option<OfferRow>, StoreError> {
    let condition = "AND offer.channel = $1 AND offer.sku = $2";
    let found = read_offers(tx, condition, &[&channel.as_str(), &sku.as_str()])?;
    Ok(found.into_iter().next().map(|(offer, _)| offer))
}

pub(super) fn offers(tx: &Tx<'_>, query: &OfferQuery) -> Result<Page<OfferRow>, StoreError> {
    let limit = page_rows(query.limit);
    let (channel, sku) =
        query.after.as_deref().and_then(|after| after.split_once(SEPARATOR)).unwrap_or(("", ""));
    let condition = "AND ($1::text IS NULL OR offer.channel = $1) AND ($2::text IS NULL OR item.item = $2)
                     AND (offer.channel, offer.sku) > ($3, $4) ORDER BY offer.channel, offer.sku LIMIT $5";
    let wanted = query.channel.as_ref().map(ChannelId::as_str);
    let item = query.item.as_ref().map(ItemId::as_str);
    let found = read_offers(tx, condition, &[&wanted, &item, &channel, &sku, &(limit as i64)])?;
    let rows: Vec<OfferRow> = found.into_iter().map(|(offer, _)| offer).collect();
    let next = rows
        .last()
        .filter(|_| rows.len() == limit)
        .map(|row| format!("{}{SEPARATOR}{}", row.channel, row.sku));
    Ok(Page { rows, next })
}

pub(super) fn changes(tx: &Tx<'_>, since: Cursor, limit: usize) -> Result<Changes, StoreError> {
    let limit = page_rows(limit);
    let sql = format!("{MOVEMENT} WHERE ledger.id > $1 ORDER BY ledger.id LIMIT $2");
    let rows = tx.query(READING, &sql, &[&since.ledger.cast_signed(), &(limit as i64)])?;
    let movements: Vec<MovementRow> = rows.iter().map(movement).collect::<Result<_, _>>()?;
    let condition = "AND offer.change > $1 ORDER BY offer.change, offer.channel, offer.sku LIMIT $2";
    let mut offers = read_offers(tx, condition, &[&since.change.cast_signed(), &(limit as i64)])?;
    let head = counter(tx, Counter::Change)?;
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
    let devices = read_devices(tx, since.change.cast_signed(), through)?;
    let ledger = movements.last().map_or(since.ledger, |row| row.row.id.0);
    let offers = offers.into_iter().map(|(offer, _)| offer).collect();
    Ok(Changes { cursor: Cursor { ledger, change: through.unsigned_abs() }, movements, offers, devices })
}

pub(super) fn changes_head(tx: &Tx<'_>) -> Result<Cursor, StoreError> {
    Ok(Cursor { ledger: books::head(tx)?.0, change: counter(tx, Counter::Change)?.unsigned_abs() })
}

pub(super) fn devices(tx: &Tx<'_>) -> Result<Vec<DeviceRow>, StoreError> {
    read_devices(tx, -1, i64::MAX)
}

fn read_devices(tx: &Tx<'_>, after: i64, through: i64) -> Result<Vec<DeviceRow>, StoreError> {
    let sql = "SELECT device.site, device.agent, status, last_seen, device.epoch, coalesce(stream.watermark, 0), head,
                   lost, clock_at, clock_unix, clock_synced, boot, uptime, software,
                   EXISTS (SELECT FROM dead_letter WHERE class = 'conflict' AND state = 'open'
                       AND event >= stream.no << 40 AND event < (stream.no + 1) << 40)
               FROM device LEFT JOIN stream ON stream.agent = device.agent AND stream.epoch = device.epoch
               WHERE device.change > $1 AND device.change <= $2 ORDER BY device.site, device.agent";
    let device = |row: &Row| {
        let watermark = sequence(row, 5)?;
        let clock = match get::<Option<i64>>(row, 8)? {
            Some(received_at_ms) => Some(DeviceClock {
                unix_ms: get(row, 9)?,
                synced: get(row, 10)?,
                boot: attempts(row, 11)?,
                uptime_ms: count(row, 12)?,
                received_at_ms,
            }),
            None => None,
        };
        Ok(DeviceRow {
            site: text(row, 0)?,
            agent: text(row, 1)?,
            status: word(row, 2, DeviceStatus::from_name)?,
            last_seen_ms: get(row, 3)?,
            epoch: match get::<Option<&[u8]>>(row, 4)? {
                Some(_) => Some(epoch(row, 4)?),
                None => None,
            },
            watermark,
            head: sequence(row, 6)?.max(watermark),
            frozen: get(row, 14)?,
            lost: count(row, 7)?,
            clock,
            software: get(row, 13)?,
        })
    };
    tx.query(READING, sql, &[&after, &through])?.iter().map(device).collect()
}

pub(super) fn gauges(tx: &Tx<'_>) -> Result<Gauges, StoreError> {
    let number = |sql: &str| count(&tx.one(READING, sql, &[])?, 0);
    let mut gauges = Gauges {
        // Streams have no holes, so their watermarks count their events.
        events: number("SELECT coalesce(sum(watermark), 0)::bigint FROM stream")?,
        ledger_head: books::head(tx)?.0,
        negative_balances: number(
            "SELECT count(*) FROM balance JOIN place ON place.no = balance.place
             WHERE balance.steps < 0 AND place.kind = 0",
        )?,
        frozen_streams: number(
            "SELECT count(DISTINCT event >> 40) FROM dead_letter WHERE class = 'conflict' AND state = 'open'",
        )?,
        lost: number("SELECT least(coalesce(sum(lost), 0), 9223372036854775807)::bigint FROM device")?,
        ..Gauges::default()
    };
    let sql = "SELECT class, count(*) FROM dead_letter WHERE state = 'open' GROUP BY class ORDER BY class";
    for row in tx.query(READING, sql, &[])? {
        gauges.dead_letters.push((word(&row, 0, DeadLetterClass::from_name)?, count(&row, 1)?));
    }
    // Rows behind the cursor, and rows in batches that are not final.
    let sql = "SELECT erp.erp,
            (SELECT count(*) FROM ledger JOIN place ON place.no = ledger.from_place JOIN site ON site.no = place.site
                WHERE ledger.id > erp.through AND site.erp = erp.erp AND ledger.steps > 0)
            + (SELECT count(*) FROM batch JOIN posting ON posting.batch = batch.id
                WHERE batch.erp = erp.erp AND batch.state IN ('planned', 'sent', 'unknown', 'retry')),
            coalesce(
                (SELECT min(event.received_at) FROM batch JOIN posting ON posting.batch = batch.id
                    JOIN ledger ON ledger.id = posting.ledger
                    JOIN event ON event.site = ledger.site AND event.key = ledger.event
                    WHERE batch.erp = erp.erp AND batch.state IN ('planned', 'sent', 'unknown', 'retry')),
                (SELECT event.received_at FROM ledger
                    JOIN event ON event.site = ledger.site AND event.key = ledger.event
                    JOIN place ON place.no = ledger.from_place JOIN site ON site.no = place.site
                    WHERE ledger.id > erp.through AND site.erp = erp.erp AND ledger.steps > 0 ORDER BY ledger.id LIMIT 1))
        FROM erp ORDER BY erp.erp";
    for row in tx.query(READING, sql, &[])? {
        gauges.unposted.push((erp_id(&row, 0)?, count(&row, 1)?, get(&row, 2)?));
    }
    // Numbers that are due, and those whose stock has changed and that nobody has computed yet.
    let sql = "SELECT channel.channel, count(due.since), min(nullif(due.since, 0)) FROM channel
               LEFT JOIN (
                   SELECT channel, due_since AS since FROM offer WHERE due_since IS NOT NULL AND active
                   UNION ALL
                   SELECT channel, stale_item.since FROM stale_item JOIN offer ON offer.item = stale_item.item
                   WHERE offer.due_since IS NULL AND offer.active
               ) due ON due.channel = channel.channel
               WHERE channel.active GROUP BY channel.channel ORDER BY channel.channel";
    for row in tx.query(READING, sql, &[])? {
        gauges.unpublished.push((text(&row, 0)?, count(&row, 1)?, get(&row, 2)?));
    }
    for device in devices(tx)? {
        gauges.devices[device.status as usize] += 1;
        gauges.backlog += device.backlog();
    }
    Ok(gauges)
}

pub(super) fn api_keys(tx: &Tx<'_>) -> Result<Vec<ApiKeyRow>, StoreError> {
    let sql = "SELECT name, created_at, revoked_at, last_used_at FROM api_key ORDER BY name";
    tx.query(READING, sql, &[])?.iter().map(api_key).collect()
}

pub(super) fn api_key(row: &Row) -> Result<ApiKeyRow, StoreError> {
    Ok(ApiKeyRow {
        name: get(row, 0)?,
        created_at_ms: get(row, 1)?,
        revoked_at_ms: get(row, 2)?,
        last_used_at_ms: get(row, 3)?,
    })
}
