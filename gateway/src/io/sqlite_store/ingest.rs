//! The transaction of ingest: load what is asked for, let it be decided, write what is wanted, commit.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use stockwire_protocol::{AgentId, Digest, Epoch, LocationId, Quantity, Sequence, SiteId, StateKind, Uom};

use super::schema::ITEM_ROWS_STRETCH;
use super::{
    SqliteStore, bump, codes, database, digest, disposition, disposition_text, epoch, event_key, find_event,
    letters, lot_text, meta, optional, orders, tasks, text, uom,
};
use crate::catalogue::{ItemNo, PlaceNo};
use crate::ingest::{
    BalanceWrite, DeviceWrite, Known, KnownEvent, KnownStream, Need, Negative, PlaceKind, StreamKey,
    StreamSpan, Writes,
};
use crate::ledger::{BalanceKey, LedgerId};
use crate::store::{DeviceStatus, StoreError};

const LOADING: &str = "looking up what a group of events needs";
const WRITING: &str = "writing a group of events";

impl SqliteStore {
    pub(super) fn ingest_group(
        &mut self,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Option<Writes>,
    ) -> Result<Vec<Negative>, StoreError> {
        self.write(WRITING, |transaction| {
            let known = load(transaction, need)?;
            match decide(&known) {
                Some(writes) => write(transaction, &writes),
                None => Ok(Vec::new()),
            }
        })
    }
}

fn load(tx: &Connection, need: &Need) -> Result<Known, StoreError> {
    let mut known = Known { catalogue_revision: meta(tx, "index_revision")? as u64, ..Known::default() };
    let mut head = tx.prepare_cached("SELECT coalesce(max(id), 0) FROM ledger").map_err(database(LOADING))?;
    known.ledger_head =
        LedgerId(head.query_row([], |row| row.get::<_, i64>(0)).map_err(database(LOADING))? as u64);
    for span in &need.streams {
        known.streams.push(load_stream(tx, span)?);
    }
    for agent in &need.latest {
        known.latest.push(load_latest(tx, agent)?);
    }
    let sql = "SELECT lot, disposition, steps FROM balance WHERE item = ?1 AND place = ?2";
    let mut balances = tx.prepare_cached(sql).map_err(database(LOADING))?;
    for (item, place) in &need.shelves {
        let rows = balances.query_map((item.0, place.0), |row| {
            let (lot, disposition) = (optional(row, 0)?, disposition(row, 1)?);
            Ok((BalanceKey { item: *item, place: *place, lot, disposition }, row.get(2)?))
        });
        for row in rows.map_err(database(LOADING))? {
            known.balances.push(row.map_err(database(LOADING))?);
        }
    }
    if let Some(movement) = &need.event {
        known.event = event(tx, movement)?;
    }
    if !need.codes.is_empty() {
        known.codes = codes::load(tx, &need.codes)?;
    }
    known.tasks = tasks::load(tx, &need.tasks)?;
    Ok(known)
}

fn stream_number(
    tx: &Connection,
    key: &StreamKey,
) -> Result<Option<(i64, SiteId, Sequence, Digest)>, StoreError> {
    let mut found = tx
        .prepare_cached("SELECT no, site, watermark, digest FROM stream WHERE agent = ?1 AND epoch = ?2")
        .map_err(database(LOADING))?;
    found
        .query_row((key.agent.as_str(), key.epoch.as_bytes()), |row| {
            Ok((row.get(0)?, text(row, 1)?, Sequence::new(row.get::<_, i64>(2)? as u64), digest(row, 3)?))
        })
        .optional()
        .map_err(database(LOADING))
}

fn load_stream(tx: &Connection, span: &StreamSpan) -> Result<KnownStream, StoreError> {
    let Some((stream, site, watermark, digest)) = stream_number(tx, &span.key)? else {
        return Ok(KnownStream::default());
    };
    let ends = (event_key(stream, Sequence::NONE), event_key(stream + 1, Sequence::NONE));
    let mut open = tx
        .prepare_cached(
            "SELECT 1 FROM dead_letter WHERE class = 'conflict' AND state = 'open' AND event >= ?1 AND event < ?2",
        )
        .map_err(database(LOADING))?;
    let frozen = open.exists(ends).map_err(database(LOADING))?;
    let mut held = Vec::new();
    if span.first <= watermark {
        let sql = "SELECT bytes FROM event WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
        let mut rows = tx.prepare_cached(sql).map_err(database(LOADING))?;
        let ends = (event_key(stream, span.first), event_key(stream, span.last.min(watermark)));
        let rows = rows.query_map(ends, |row| row.get(0)).map_err(database(LOADING))?;
        for row in rows {
            held.push(row.map_err(database(LOADING))?);
        }
        // Compared by position: a hole here would make a stranger of every event behind it.
        let expected = span.last.min(watermark).get() - span.first.get() + 1;
        if held.len() as u64 != expected {
            let what = format!(
                "{} events of {}/{}, the watermark says {expected}",
                held.len(),
                span.key.agent,
                span.key.epoch
            );
            return Err(StoreError::Corrupt { what });
        }
    }
    Ok(KnownStream { site: Some(site), watermark, digest, frozen, held })
}

fn load_latest(tx: &Connection, agent: &AgentId) -> Result<Option<(Epoch, Sequence, Digest)>, StoreError> {
    let mut found = tx
        .prepare_cached(
            "SELECT device.epoch, coalesce(stream.watermark, 0), coalesce(stream.digest, 0) FROM device
             LEFT JOIN stream ON stream.agent = device.agent AND stream.epoch = device.epoch
             WHERE device.agent = ?1 AND device.epoch IS NOT NULL",
        )
        .map_err(database(LOADING))?;
    found
        .query_row([agent.as_str()], |row| {
            Ok((epoch(row, 0)?, Sequence::new(row.get::<_, i64>(1)? as u64), digest(row, 2)?))
        })
        .optional()
        .map_err(database(LOADING))
}

pub(super) fn event(
    tx: &Connection,
    movement: &stockwire_protocol::MovementId,
) -> Result<Option<KnownEvent>, StoreError> {
    let Some(key) = find_event(tx, movement)? else { return Ok(None) };
    let mut found = tx
        .prepare_cached(
            "SELECT stream.site, event.bytes, event.ledger, event.received_at FROM event
             JOIN stream ON stream.no = event.key >> 40 WHERE event.key = ?1",
        )
        .map_err(database(LOADING))?;
    found
        .query_row([key], |row| {
            Ok(KnownEvent {
                site: text(row, 0)?,
                bytes: row.get(1)?,
                ledger: row.get::<_, Option<i64>>(2)?.map(|id| LedgerId(id as u64)),
                received_at_ms: row.get(3)?,
            })
        })
        .optional()
        .map_err(database(LOADING))
}

pub(super) fn write(tx: &Transaction<'_>, writes: &Writes) -> Result<Vec<Negative>, StoreError> {
    let at = writes.received_at_ms;
    let streams = write_streams(tx, writes)?;

    let sql = "INSERT INTO event (key, ledger, received_at, bytes) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    let mut keys = Vec::with_capacity(writes.events.len());
    for event in &writes.events {
        let stream = *streams.get(event.stream).ok_or_else(|| StoreError::Corrupt {
            what: "what was decided names a stream that it does not hold".into(),
        })?;
        let key = event_key(stream, event.sequence).ok_or_else(|| StoreError::Refused {
            reason: format!("stream {stream} has no room for sequence {}", event.sequence),
        })?;
        let ledger = event.ledger.map(|id| id.0 as i64);
        insert.execute(params![key, ledger, at, event.bytes]).map_err(database(WRITING))?;
        keep_resolved(tx, key, event.resolved.as_ref())?;
        keys.push(key);
    }
    let applied = match &writes.applied {
        Some(applied) => {
            let key = mark_applied(tx, &applied.movement, applied.ledger)?;
            keep_resolved(tx, key, applied.resolved.as_ref())?;
            Some(key)
        }
        None => None,
    };

    let sql = "INSERT INTO ledger (id, event, item, from_place, to_place, steps, lot, disposition)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let mut insert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    for row in &writes.rows {
        let key = row.event.and_then(|event| keys.get(event).copied()).or(applied);
        let transfer = &row.transfer;
        insert
            .execute(params![
                row.id.0 as i64,
                key,
                transfer.item.0,
                transfer.from.0,
                transfer.to.0,
                transfer.steps,
                lot_text(transfer.lot.as_ref()),
                disposition_text(transfer.disposition),
            ])
            .map_err(database(WRITING))?;
    }

    tasks::write(tx, at, &writes.tasks)?;
    index_items(tx, writes)?;
    let negative = write_balances(tx, writes)?;

    let mut insert = tx
        .prepare_cached("INSERT INTO stale_item (item, since) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET since = ?2 WHERE since = 0")
        .map_err(database(WRITING))?;
    for item in &writes.offers {
        insert.execute((item.0, at)).map_err(database(WRITING))?;
    }
    let mut insert = tx
        .prepare_cached("INSERT INTO mention (word, event) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .map_err(database(WRITING))?;
    for mention in &writes.mentions {
        insert.execute((&mention.word, keys.get(mention.event).copied())).map_err(database(WRITING))?;
    }
    orders::wake(tx, writes.mentions.iter().map(|mention| mention.word.as_str()), applied)?;
    for letter in &writes.dead_letters {
        letters::add(tx, at, letter)?;
    }
    if let Some((letter, by)) = &writes.close {
        letters::close(tx, at, *letter, letters::Closing::Replayed { by })?;
    }
    write_devices(tx, at, &writes.devices)?;
    Ok(negative)
}

/// Keeps what an event was taken for.
fn keep_resolved(tx: &Connection, key: i64, bytes: Option<&Vec<u8>>) -> Result<(), StoreError> {
    let Some(bytes) = bytes else { return Ok(()) };
    let sql = "INSERT INTO resolved (event, bytes) VALUES (?1, ?2)";
    let mut insert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    insert.execute(params![key, bytes]).map(drop).map_err(database(WRITING))
}

fn write_streams(tx: &Connection, writes: &Writes) -> Result<Vec<i64>, StoreError> {
    let sql = "INSERT INTO stream (agent, epoch, site, watermark, digest) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (agent, epoch) DO UPDATE SET watermark = excluded.watermark, digest = excluded.digest
               RETURNING no";
    let mut upsert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    let mut numbers = Vec::with_capacity(writes.streams.len());
    for stream in &writes.streams {
        let StreamKey { agent, epoch } = &stream.key;
        let values = params![
            agent.as_str(),
            epoch.as_bytes(),
            stream.site.as_str(),
            stream.watermark.get() as i64,
            stream.digest.bits().cast_signed()
        ];
        numbers.push(upsert.query_row(values, |row| row.get(0)).map_err(database(WRITING))?);
    }
    Ok(numbers)
}

/// Brings the index of rows by item up, when enough rows wait for it.
fn index_items(tx: &Connection, writes: &Writes) -> Result<(), StoreError> {
    let Some(head) = writes.rows.last().map(|row| row.id.0) else { return Ok(()) };
    let through = meta(tx, "item_rows_through")?;
    if head.saturating_sub(through as u64) < ITEM_ROWS_STRETCH {
        return Ok(());
    }
    let sql =
        "INSERT INTO item_row (item, ledger) SELECT item, id FROM ledger WHERE id > ?1 ORDER BY item, id";
    tx.execute(sql, [through]).map_err(database(WRITING))?;
    let sql = "UPDATE meta SET value = ?1 WHERE key = 'item_rows_through'";
    tx.execute(sql, [head as i64]).map(drop).map_err(database(WRITING))
}

/// Gives an event that is held its row in the books; only once, whatever was decided.
fn mark_applied(
    tx: &Connection,
    movement: &stockwire_protocol::MovementId,
    ledger: LedgerId,
) -> Result<i64, StoreError> {
    let key = find_event(tx, movement)?;
    let sql = "UPDATE event SET ledger = ?2 WHERE key = ?1 AND ledger IS NULL";
    let mut update = tx.prepare_cached(sql).map_err(database(WRITING))?;
    match key {
        Some(key) if update.execute((key, ledger.0 as i64)).map_err(database(WRITING))? == 1 => Ok(key),
        _ => Err(StoreError::Refused { reason: format!("event {movement} is applied already, or not held") }),
    }
}

fn write_balances(tx: &Connection, writes: &Writes) -> Result<Vec<Negative>, StoreError> {
    let sql = "INSERT INTO balance (item, place, lot, disposition, steps) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET steps = steps + excluded.steps";
    let mut upsert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    // Asked for apart, because RETURNING would build a table for each row; and only of what can have fallen.
    let sql = "SELECT steps FROM balance WHERE item = ?1 AND place = ?2 AND lot = ?3 AND disposition = ?4";
    let mut read = tx.prepare_cached(sql).map_err(database(WRITING))?;
    let mut negative = Vec::new();
    for BalanceWrite { key, steps, kind } in &writes.balances {
        let (lot, disposition) = (lot_text(key.lot.as_ref()), disposition_text(key.disposition));
        upsert
            .execute(params![key.item.0, key.place.0, lot, disposition, steps])
            .map_err(database(WRITING))?;
        if *kind == PlaceKind::Physical && *steps < 0 {
            let now: i64 = read
                .query_row(params![key.item.0, key.place.0, lot, disposition], |row| row.get(0))
                .map_err(database(WRITING))?;
            if now < 0 && now - steps >= 0 {
                negative.push(name_negative(tx, key.item, key.place, now)?);
            }
        }
    }
    Ok(negative)
}

/// Names for a balance that fell below zero.
fn name_negative(tx: &Connection, item: ItemNo, place: PlaceNo, steps: i64) -> Result<Negative, StoreError> {
    let sql = "SELECT site.site, place.location, item.item, item.uom FROM place JOIN site ON site.no = place.site, item
               WHERE place.no = ?1 AND item.no = ?2";
    let mut found = tx.prepare_cached(sql).map_err(database(WRITING))?;
    found
        .query_row((place.0, item.0), |row| {
            let uom: Uom = uom(row, 3)?;
            let location: LocationId = text(row, 1)?;
            Ok(Negative {
                site: text(row, 0)?,
                location,
                item: text(row, 2)?,
                quantity: Quantity { steps, uom },
            })
        })
        .map_err(database(WRITING))
}

fn write_devices(tx: &Connection, at: i64, devices: &[DeviceWrite]) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    let change = bump(tx, "change")?;
    // The clock, boot and software of the last birth stay when there is no news of them.
    let sql = "INSERT INTO device (agent, site, status, last_seen, epoch, head, lost, clock_at, clock_unix,
                   clock_synced, boot, uptime, software, change)
               VALUES (?1, ?2, coalesce(?3, 'online'), ?4, ?5, coalesce(?6, 0), ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
               ON CONFLICT DO UPDATE SET
                   site = ?2, status = coalesce(?3, status), last_seen = CASE ?15 WHEN 1 THEN last_seen ELSE ?4 END,
                   head = CASE WHEN ?5 IS NOT NULL AND ?5 IS NOT epoch THEN coalesce(?6, 0)
                               ELSE coalesce(?6, head) END,
                   epoch = coalesce(?5, epoch), lost = min(lost, 9223372036854775807 - ?7) + ?7, clock_at = coalesce(?8, clock_at),
                   clock_unix = coalesce(?9, clock_unix), clock_synced = coalesce(?10, clock_synced),
                   boot = coalesce(?11, boot), uptime = coalesce(?12, uptime), software = coalesce(?13, software),
                   change = ?14";
    let mut upsert = tx.prepare_cached(sql).map_err(database(WRITING))?;
    for device in devices {
        let status = match &device.state {
            Some(StateKind::Online { .. }) => Some(DeviceStatus::Online),
            Some(StateKind::Stopped) => Some(DeviceStatus::Stopped),
            Some(StateKind::Lost) => Some(DeviceStatus::Lost),
            // Whoever sends events is there.
            None => Some(DeviceStatus::Online),
        };
        let online = match &device.state {
            Some(StateKind::Online {
                epoch, head, boot, uptime_ms, unix_ms, clock_synced, software, ..
            }) => Some((epoch, head, boot, uptime_ms, unix_ms, clock_synced, software)),
            _ => None,
        };
        let epoch = online.map(|o| o.0).or(device.epoch.as_ref()).map(Epoch::as_bytes);
        let lost = i64::try_from(device.lost).unwrap_or(i64::MAX);
        let clock_at = online.is_some_and(|_| !device.retained).then_some(at);
        upsert
            .execute(params![
                device.agent.as_str(),
                device.site.as_str(),
                status.map(DeviceStatus::as_str),
                at,
                epoch,
                online.map(|o| i64::try_from(o.1.get()).unwrap_or(i64::MAX)),
                lost,
                clock_at,
                online.map(|o| *o.4),
                online.map(|o| *o.5),
                online.map(|o| *o.2),
                online.map(|o| i64::try_from(*o.3).unwrap_or(i64::MAX)),
                online.map(|o| o.6),
                change,
                device.retained,
            ])
            .map_err(database(WRITING))?;
    }
    Ok(())
}
