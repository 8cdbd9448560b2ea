//! The transaction of ingest: load what is asked for, let it be decided, write what is wanted, commit. One statement
//! for each table, whatever the number of events.

use std::collections::{BTreeMap, HashMap};

use stockwire_protocol::{Digest, Epoch, LocationId, MovementId, Quantity, Sequence, StateKind, Uom};

use super::column::{
    clean, count, digest, disposition, disposition_text, epoch, event_key, find_event, get, lot_text,
    optional, sequence, text, uom,
};
use super::session::Lock;
use super::{Counter, PostgresStore, Tx, bump, codes, letters, orders, schema, tasks};
use crate::catalogue::{ItemNo, PlaceNo};
use crate::ingest::{
    DeviceWrite, Known, KnownEvent, KnownStream, Need, Negative, PlaceKind, StreamKey, StreamSpan, Writes,
};
use crate::ledger::{BalanceKey, LedgerId};
use crate::store::{DeviceStatus, StoreError};

const LOADING: &str = "looking up what a group of events needs";
const WRITING: &str = "writing a group of events";

/// An agent's latest stream; `None` = never heard.
type Latest = Option<(Epoch, Sequence, Digest)>;

/// Site and number of the streams that are known.
type Streams = HashMap<StreamKey, (i64, i64)>;

impl PostgresStore {
    pub(super) fn ingest_group(
        &mut self,
        need: &Need,
        decide: &mut dyn FnMut(&Known) -> Option<Writes>,
    ) -> Result<Vec<Negative>, StoreError> {
        self.session.write(WRITING, Lock::Books, |tx| {
            let (known, streams) = load(tx, need)?;
            match decide(&known) {
                Some(writes) => write(tx, &writes, &streams),
                None => Ok(Vec::new()),
            }
        })
    }

    /// Makes partitions for the months around `at_ms`, once a day.
    pub(super) fn look_at_partitions(&mut self, at_ms: i64) {
        const DAY_MS: i64 = 86_400_000;
        if (self.partitions_due_ms - DAY_MS..self.partitions_due_ms).contains(&at_ms) {
            return;
        }
        self.partitions_due_ms = at_ms.saturating_add(DAY_MS);
        if let Err(fault) = schema::coming_partitions(&self.session, at_ms) {
            // What was to be stored is stored; without a partition it is in the default one.
            let error = &fault as &dyn std::error::Error;
            tracing::warn!(error, "no partitions for the coming months; trying again tomorrow");
        }
    }
}

fn load(tx: &Tx<'_>, need: &Need) -> Result<(Known, Streams), StoreError> {
    let row = tx.one(LOADING, "SELECT index_revision, head FROM books", &[])?;
    let mut known = Known {
        catalogue_revision: count(&row, 0)?,
        ledger_head: LedgerId(count(&row, 1)?),
        ..Known::default()
    };
    let mut streams = Streams::new();
    known.streams = load_streams(tx, &need.streams, &mut streams)?;
    known.latest = load_latest(tx, need)?;
    if !need.shelves.is_empty() {
        let items: Vec<i64> = need.shelves.iter().map(|(item, _)| item.0).collect();
        let places: Vec<i64> = need.shelves.iter().map(|(_, place)| place.0).collect();
        let sql = "SELECT balance.item, balance.place, lot, disposition, steps
                   FROM unnest($1::bigint[], $2::bigint[]) AS shelf (item, place) JOIN place ON place.no = shelf.place
                   JOIN balance ON balance.site = place.site AND balance.item = shelf.item
                       AND balance.place = shelf.place";
        for row in tx.query(LOADING, sql, &[&items, &places])? {
            let (item, place) = (ItemNo(get(&row, 0)?), PlaceNo(get(&row, 1)?));
            let key = BalanceKey { item, place, lot: optional(&row, 2)?, disposition: disposition(&row, 3)? };
            known.balances.push((key, get(&row, 4)?));
        }
    }
    if let Some(movement) = &need.event {
        known.event = event(tx, movement)?;
    }
    if !need.codes.is_empty() {
        known.codes = codes::load(tx, &need.codes)?;
    }
    known.tasks = tasks::load(tx, &need.tasks)?;
    Ok((known, streams))
}

fn load_streams(
    tx: &Tx<'_>,
    spans: &[StreamSpan],
    streams: &mut Streams,
) -> Result<Vec<KnownStream>, StoreError> {
    let mut known = vec![KnownStream::default(); spans.len()];
    if spans.is_empty() {
        return Ok(known);
    }
    let agents: Vec<&str> = spans.iter().map(|span| span.key.agent.as_str()).collect();
    let epochs: Vec<&[u8]> = spans.iter().map(|span| &span.key.epoch.as_bytes()[..]).collect();
    let sql = "SELECT span.at, stream.no, stream.site, site.site, watermark, digest,
                   EXISTS (SELECT FROM dead_letter WHERE class = 'conflict' AND state = 'open'
                       AND event >= stream.no << 40 AND event < (stream.no + 1) << 40)
               FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS span (agent, epoch, at)
               JOIN stream ON stream.agent = span.agent AND stream.epoch = span.epoch
               JOIN site ON site.no = stream.site";
    let (mut sites, mut firsts, mut lasts, mut ats) = (vec![], vec![], vec![], vec![]);
    for row in tx.query(LOADING, sql, &[&agents, &epochs])? {
        let at: i64 = get(&row, 0)?;
        let Some((span, stream)) =
            usize::try_from(at - 1).ok().and_then(|at| spans.get(at).zip(known.get_mut(at)))
        else {
            continue;
        };
        let (no, site): (i64, i64) = (get(&row, 1)?, get(&row, 2)?);
        let watermark = sequence(&row, 4)?;
        streams.insert(span.key.clone(), (site, no));
        *stream = KnownStream {
            site: Some(text(&row, 3)?),
            watermark,
            digest: digest(&row, 5)?,
            frozen: get(&row, 6)?,
            held: Vec::new(),
        };
        if span.first <= watermark {
            sites.push(site);
            firsts.push(event_key(no, span.first));
            lasts.push(event_key(no, span.last.min(watermark)));
            ats.push(at);
        }
    }
    if ats.is_empty() {
        return Ok(known);
    }
    let sql = "SELECT span.at, fact.bytes
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS span (site, first, last, at)
               JOIN event ON event.site = span.site AND event.key BETWEEN span.first AND span.last
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               ORDER BY span.at, event.key";
    for row in tx.query(LOADING, sql, &[&sites, &firsts, &lasts, &ats])? {
        let at: i64 = get(&row, 0)?;
        if let Some(stream) = usize::try_from(at - 1).ok().and_then(|at| known.get_mut(at)) {
            stream.held.push(get(&row, 1)?);
        }
    }
    // Compared by position: a hole here would make a stranger of every event behind it.
    for (span, stream) in spans.iter().zip(&known) {
        let last = span.last.min(stream.watermark).get();
        let expected = (last + 1).saturating_sub(span.first.get());
        if stream.held.len() as u64 != expected {
            let (agent, epoch) = (&span.key.agent, &span.key.epoch);
            let what =
                format!("{} events of {agent}/{epoch}, the watermark says {expected}", stream.held.len());
            return Err(StoreError::Corrupt { what });
        }
    }
    Ok(known)
}

fn load_latest(tx: &Tx<'_>, need: &Need) -> Result<Vec<Latest>, StoreError> {
    if need.latest.is_empty() {
        return Ok(Vec::new());
    }
    let agents: Vec<&str> = need.latest.iter().map(|agent| agent.as_str()).collect();
    let sql = "SELECT wanted.at, device.epoch, coalesce(stream.watermark, 0), coalesce(stream.digest, 0)
               FROM unnest($1::text[]) WITH ORDINALITY AS wanted (agent, at)
               JOIN device ON device.agent = wanted.agent AND device.epoch IS NOT NULL
               LEFT JOIN stream ON stream.agent = device.agent AND stream.epoch = device.epoch";
    let mut latest = vec![None; agents.len()];
    for row in tx.query(LOADING, sql, &[&agents])? {
        let at: i64 = get(&row, 0)?;
        if let Some(place) = usize::try_from(at - 1).ok().and_then(|at| latest.get_mut(at)) {
            *place = Some((epoch(&row, 1)?, sequence(&row, 2)?, digest(&row, 3)?));
        }
    }
    Ok(latest)
}

pub(super) fn event(tx: &Tx<'_>, movement: &MovementId) -> Result<Option<KnownEvent>, StoreError> {
    let Some((site, key)) = find_event(tx, movement)? else { return Ok(None) };
    let sql = "SELECT site.site, fact.bytes, event.ledger, event.received_at FROM event
               JOIN fact ON fact.site = event.site AND fact.key = event.key AND fact.received_at = event.received_at
               JOIN site ON site.no = event.site WHERE event.site = $1 AND event.key = $2";
    let Some(row) = tx.optional(LOADING, sql, &[&site, &key])? else { return Ok(None) };
    let ledger: Option<i64> = get(&row, 2)?;
    Ok(Some(KnownEvent {
        site: text(&row, 0)?,
        bytes: get(&row, 1)?,
        ledger: ledger.map(|id| LedgerId(id.unsigned_abs())),
        received_at_ms: get(&row, 3)?,
    }))
}

/// Writes what was decided, outside of ingest: the opening stock.
pub(super) fn write_opening(tx: &Tx<'_>, writes: &Writes) -> Result<Vec<Negative>, StoreError> {
    write(tx, writes, &Streams::new())
}

/// What was decided names something that it does not hold: only a bug does that, and nothing of it may be written.
fn astray(what: &str) -> StoreError {
    StoreError::Corrupt { what: format!("what was decided names {what} that it does not hold") }
}

fn key_at(keys: &[(i64, i64)], at: usize) -> Result<(i64, i64), StoreError> {
    keys.get(at).copied().ok_or_else(|| astray("an event"))
}

fn write(tx: &Tx<'_>, writes: &Writes, known: &Streams) -> Result<Vec<Negative>, StoreError> {
    let at = writes.received_at_ms;
    let streams = write_streams(tx, writes, known)?;

    let mut keys = Vec::with_capacity(writes.events.len());
    for event in &writes.events {
        let (site, stream) = *streams.get(event.stream).ok_or_else(|| astray("a stream"))?;
        let key = event_key(stream, event.sequence).ok_or_else(|| StoreError::Refused {
            reason: format!("stream {stream} has no room for sequence {}", event.sequence),
        })?;
        keys.push((site, key));
    }
    if !keys.is_empty() {
        let (sites, numbers): (Vec<i64>, Vec<i64>) = keys.iter().copied().unzip();
        let ledgers: Vec<Option<i64>> =
            writes.events.iter().map(|event| event.ledger.map(|id| id.0.cast_signed())).collect();
        let sql = "INSERT INTO event (site, key, ledger, received_at)
                   SELECT site, key, ledger, $4 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
                       AS new (site, key, ledger)";
        tx.execute(WRITING, sql, &[&sites, &numbers, &ledgers, &at])?;
        let bytes: Vec<&[u8]> = writes.events.iter().map(|event| event.bytes.as_slice()).collect();
        let sql = "INSERT INTO fact (site, key, received_at, bytes)
                   SELECT site, key, $3, bytes FROM unnest($1::bigint[], $2::bigint[], $4::bytea[])
                       AS new (site, key, bytes)";
        tx.execute(WRITING, sql, &[&sites, &numbers, &at, &bytes])?;
    }
    let applied = match &writes.applied {
        Some(applied) => Some(mark_applied(tx, &applied.movement, applied.ledger)?),
        None => None,
    };
    write_resolved(tx, writes, &keys, applied)?;
    write_rows(tx, writes, &keys, applied)?;
    tasks::write(tx, at, &writes.tasks)?;
    let negative = write_balances(tx, writes)?;

    if !writes.offers.is_empty() {
        // In order, as everywhere: two transactions that touch the same rows must not meet head on.
        let mut items: Vec<i64> = writes.offers.iter().map(|item| item.0).collect();
        items.sort_unstable();
        items.dedup();
        let sql =
            "INSERT INTO stale_item (item, since) SELECT item, $2 FROM unnest($1::bigint[]) AS new (item)
                   ON CONFLICT (item) DO UPDATE SET since = $2 WHERE stale_item.since = 0";
        tx.execute(WRITING, sql, &[&items, &at])?;
    }
    if !writes.mentions.is_empty() {
        let words: Vec<String> =
            writes.mentions.iter().map(|mention| clean(&mention.word).into_owned()).collect();
        let events: Vec<i64> = writes
            .mentions
            .iter()
            .map(|mention| Ok(key_at(&keys, mention.event)?.1))
            .collect::<Result<_, StoreError>>()?;
        let sql = "INSERT INTO mention (word, event) SELECT word, event FROM unnest($1::text[], $2::bigint[])
                       AS new (word, event) ON CONFLICT DO NOTHING";
        tx.execute(WRITING, sql, &[&words, &events])?;
        orders::wake(tx, &words, None)?;
    }
    if let Some((_, event)) = applied {
        orders::wake(tx, &[], Some(event))?;
    }
    for letter in &writes.dead_letters {
        letters::add(tx, at, letter)?;
    }
    if let Some((letter, by)) = &writes.close {
        letters::close(tx, at, *letter, letters::Closing::Replayed { by })?;
    }
    write_devices(tx, at, &writes.devices)?;
    Ok(negative)
}

/// Site and number of each stream that is written.
fn write_streams(tx: &Tx<'_>, writes: &Writes, known: &Streams) -> Result<Vec<(i64, i64)>, StoreError> {
    let mut numbers = Vec::with_capacity(writes.streams.len());
    let (mut nos, mut watermarks, mut digests) = (vec![], vec![], vec![]);
    for stream in &writes.streams {
        let StreamKey { agent, epoch } = &stream.key;
        let (watermark, digest) = (stream.watermark.get().cast_signed(), stream.digest.bits().cast_signed());
        if let Some((site, no)) = known.get(&stream.key) {
            numbers.push((*site, *no));
            nos.push(*no);
            watermarks.push(watermark);
            digests.push(digest);
            continue;
        }
        // New ones are rare, and numbered without holes: there is room for eight million of them.
        let sql = "INSERT INTO stream (no, site, agent, epoch, watermark, digest)
                   SELECT (SELECT coalesce(max(no), 0) + 1 FROM stream), site.no, $2, $3, $4, $5 FROM site
                   WHERE site.site = $1 RETURNING site, no";
        let values = tx.optional(
            WRITING,
            sql,
            &[&stream.site.as_str(), &agent.as_str(), &&epoch.as_bytes()[..], &watermark, &digest],
        )?;
        let row = values.ok_or_else(|| StoreError::Refused {
            reason: format!("stream {agent}/{epoch} is of site {}, which is not known", stream.site),
        })?;
        numbers.push((get(&row, 0)?, get(&row, 1)?));
    }
    if !nos.is_empty() {
        let sql = "UPDATE stream SET watermark = new.watermark, digest = new.digest
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS new (no, watermark, digest)
                   WHERE stream.no = new.no";
        tx.execute(WRITING, sql, &[&nos, &watermarks, &digests])?;
    }
    Ok(numbers)
}

/// Keeps what events were taken for.
fn write_resolved(
    tx: &Tx<'_>,
    writes: &Writes,
    keys: &[(i64, i64)],
    applied: Option<(i64, i64)>,
) -> Result<(), StoreError> {
    let new = writes.events.iter().zip(keys).map(|(event, key)| (key.1, event.resolved.as_deref()));
    let held = writes.applied.as_ref().and_then(|applied| applied.resolved.as_deref());
    let all = new.chain(applied.map(|key| (key.1, held)));
    let (events, bytes): (Vec<i64>, Vec<&[u8]>) =
        all.filter_map(|(key, bytes)| bytes.map(|bytes| (key, bytes))).unzip();
    if events.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO resolved (event, bytes)
               SELECT event, bytes FROM unnest($1::bigint[], $2::bytea[]) AS new (event, bytes)";
    tx.execute(WRITING, sql, &[&events, &bytes]).map(drop)
}

/// Gives an event that is held its row in the books; only once, whatever was decided.
fn mark_applied(tx: &Tx<'_>, movement: &MovementId, ledger: LedgerId) -> Result<(i64, i64), StoreError> {
    let sql = "UPDATE event SET ledger = $3 WHERE site = $1 AND key = $2 AND ledger IS NULL";
    if let Some((site, key)) = find_event(tx, movement)?
        && tx.execute(WRITING, sql, &[&site, &key, &ledger.0.cast_signed()])? == 1
    {
        return Ok((site, key));
    }
    Err(StoreError::Refused { reason: format!("event {movement} is applied already, or not held") })
}

fn write_rows(
    tx: &Tx<'_>,
    writes: &Writes,
    keys: &[(i64, i64)],
    applied: Option<(i64, i64)>,
) -> Result<(), StoreError> {
    let Some(head) = writes.rows.last().map(|row| row.id.0.cast_signed()) else { return Ok(()) };
    let column = |of: fn(&crate::ledger::Transfer) -> i64| -> Vec<i64> {
        writes.rows.iter().map(|row| of(&row.transfer)).collect()
    };
    let ids: Vec<i64> = writes.rows.iter().map(|row| row.id.0.cast_signed()).collect();
    let events: Vec<(i64, i64)> = writes
        .rows
        .iter()
        .map(|row| match (row.event, applied) {
            (Some(event), _) => key_at(keys, event),
            (None, Some(applied)) => Ok(applied),
            (None, None) => Err(astray("an event")),
        })
        .collect::<Result<_, _>>()?;
    let (sites, events): (Vec<i64>, Vec<i64>) = events.into_iter().unzip();
    let (items, steps) = (column(|transfer| transfer.item.0), column(|transfer| transfer.steps));
    let (from, to) = (column(|transfer| transfer.from.0), column(|transfer| transfer.to.0));
    let lots: Vec<&str> = writes.rows.iter().map(|row| lot_text(row.transfer.lot.as_ref())).collect();
    let dispositions: Vec<&str> =
        writes.rows.iter().map(|row| disposition_text(row.transfer.disposition)).collect();
    let sql =
        "INSERT INTO ledger (id, booked_at, site, event, item, from_place, to_place, steps, lot, disposition)
               SELECT id, $1, site, event, item, from_place, to_place, steps, lot, disposition
               FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                   $8::bigint[], $9::text[], $10::text[])
                   AS new (id, site, event, item, from_place, to_place, steps, lot, disposition)";
    let at = writes.received_at_ms;
    tx.execute(
        WRITING,
        sql,
        &[&at, &ids, &sites, &events, &items, &from, &to, &steps, &lots, &dispositions],
    )?;
    tx.execute(WRITING, "UPDATE books SET head = $1", &[&head]).map(drop)
}

fn write_balances(tx: &Tx<'_>, writes: &Writes) -> Result<Vec<Negative>, StoreError> {
    if writes.balances.is_empty() {
        return Ok(Vec::new());
    }
    let all = &writes.balances;
    let items: Vec<i64> = all.iter().map(|write| write.key.item.0).collect();
    let places: Vec<i64> = all.iter().map(|write| write.key.place.0).collect();
    let lots: Vec<&str> = all.iter().map(|write| lot_text(write.key.lot.as_ref())).collect();
    let dispositions: Vec<&str> = all.iter().map(|write| disposition_text(write.key.disposition)).collect();
    let steps: Vec<i64> = all.iter().map(|write| write.steps).collect();
    let sql = "INSERT INTO balance (site, item, place, lot, disposition, steps)
               SELECT place.site, new.item, new.place, new.lot, new.disposition, new.steps
               FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
                   AS new (item, place, lot, disposition, steps) JOIN place ON place.no = new.place
               ON CONFLICT (site, item, place, lot, disposition) DO UPDATE SET steps = balance.steps + excluded.steps
               RETURNING item, place, lot, disposition, steps";
    let physical: BTreeMap<(i64, i64, &str, &str), i64> = all
        .iter()
        .filter(|write| write.kind == PlaceKind::Physical && write.steps < 0)
        .map(|write| {
            let (lot, disposition) =
                (lot_text(write.key.lot.as_ref()), disposition_text(write.key.disposition));
            ((write.key.item.0, write.key.place.0, lot, disposition), write.steps)
        })
        .collect();
    let mut fallen = Vec::new();
    for row in tx.query(WRITING, sql, &[&items, &places, &lots, &dispositions, &steps])? {
        let key = (get(&row, 0)?, get(&row, 1)?, get::<&str>(&row, 2)?, get::<&str>(&row, 3)?);
        let now: i64 = get(&row, 4)?;
        if physical.get(&key).is_some_and(|steps| now < 0 && now - steps >= 0) {
            fallen.push((key.0, key.1, now));
        }
    }
    fallen.sort_unstable();
    fallen.into_iter().map(|(item, place, steps)| name_negative(tx, item, place, steps)).collect()
}

/// Names for a balance that fell below zero.
fn name_negative(tx: &Tx<'_>, item: i64, place: i64, steps: i64) -> Result<Negative, StoreError> {
    let sql = "SELECT site.site, place.location, item.item, item.uom FROM place JOIN site ON site.no = place.site, item
               WHERE place.no = $1 AND item.no = $2";
    let row = tx.one(WRITING, sql, &[&place, &item])?;
    let (uom, location): (Uom, LocationId) = (uom(&row, 3)?, text(&row, 1)?);
    Ok(Negative { site: text(&row, 0)?, location, item: text(&row, 2)?, quantity: Quantity { steps, uom } })
}

fn write_devices(tx: &Tx<'_>, at: i64, devices: &[DeviceWrite]) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    let change = bump(tx, Counter::Change)?;
    // The clock, boot and software of the last birth stay when there is no news of them.
    let sql = "INSERT INTO device AS held (agent, site, status, last_seen, epoch, head, lost, clock_at, clock_unix,
                   clock_synced, boot, uptime, software, change)
               VALUES ($1, $2, coalesce($3, 'online'), $4, $5, coalesce($6::bigint, 0), $7, $8, $9, $10, $11, $12, $13, $14)
               ON CONFLICT (agent) DO UPDATE SET
                   site = $2, status = coalesce($3, held.status),
                   last_seen = CASE WHEN $15 THEN held.last_seen ELSE $4 END,
                   head = CASE WHEN $5::bytea IS NOT NULL AND $5 IS DISTINCT FROM held.epoch THEN coalesce($6, 0)
                               ELSE coalesce($6, held.head) END,
                   epoch = coalesce($5, held.epoch), lost = least(held.lost, 9223372036854775807 - $7) + $7,
                   clock_at = coalesce($8, held.clock_at), clock_unix = coalesce($9, held.clock_unix),
                   clock_synced = coalesce($10, held.clock_synced), boot = coalesce($11, held.boot),
                   uptime = coalesce($12, held.uptime), software = coalesce($13, held.software), change = $14";
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for device in devices {
        let status = match &device.state {
            Some(StateKind::Online { .. }) => DeviceStatus::Online,
            Some(StateKind::Stopped) => DeviceStatus::Stopped,
            Some(StateKind::Lost) => DeviceStatus::Lost,
            // Whoever sends events is there.
            None => DeviceStatus::Online,
        };
        let online = match &device.state {
            Some(StateKind::Online {
                epoch, head, boot, uptime_ms, unix_ms, clock_synced, software, ..
            }) => Some((epoch, head, boot, uptime_ms, unix_ms, clock_synced, software)),
            _ => None,
        };
        let epoch = online.map(|o| o.0).or(device.epoch.as_ref()).map(|epoch| epoch.as_bytes().to_vec());
        let clock_at = online.is_some_and(|_| !device.retained).then_some(at);
        tx.execute(
            WRITING,
            sql,
            &[
                &device.agent.as_str(),
                &device.site.as_str(),
                &status.as_str(),
                &at,
                &epoch,
                &online.map(|o| number(o.1.get())),
                &number(device.lost),
                &clock_at,
                &online.map(|o| *o.4),
                &online.map(|o| *o.5),
                &online.map(|o| i64::from(*o.2)),
                &online.map(|o| number(*o.3)),
                &online.map(|o| clean(o.6).into_owned()),
                &change,
                &device.retained,
            ],
        )?;
    }
    Ok(())
}
